//! Host names and dotted quads in normal form.

use idna::AsciiDenyList;
use std::net::Ipv4Addr;

/// RFC 1035: 255 octets on the wire, 253 as text.
pub(super) const MAX_HOST: usize = 253;
/// RFC 1035, section 2.3.4.
pub(super) const MAX_LABEL: usize = 63;

/// Lower-case A-labels of a name with non-ASCII letters. Allocates; never called for ASCII.
pub(super) fn to_ascii(name: &[u8]) -> Option<String> {
    // Four bytes for each of 253 characters is the longest name that can have a short enough form.
    if name.len() > 4 * MAX_HOST {
        return None;
    }
    let ascii = idna::domain_to_ascii_cow(name, AsciiDenyList::EMPTY).ok()?;
    check(ascii.as_bytes()).ok()?;
    Some(ascii.into_owned())
}

/// Checks a folded ASCII name: lengths, characters, and that it cannot be an address.
pub(super) fn check(name: &[u8]) -> Result<(), &'static str> {
    if name.len() > MAX_HOST {
        return Err("longer than 253 bytes");
    }
    let mut label = 0;
    let mut numeric = true;
    for byte in name {
        match *byte {
            b'.' if label == 0 => return Err("empty label"),
            b'.' => (label, numeric) = (0, true),
            byte if super::lexis::is_label(byte) => {
                label += 1;
                numeric &= byte.is_ascii_digit();
            }
            _ => return Err("character that no host name has"),
        }
        if label > MAX_LABEL {
            return Err("label longer than 63 bytes");
        }
    }
    if label == 0 {
        return Err("empty label");
    }
    if numeric {
        return Err("the last label is a number");
    }
    Ok(())
}

/// Reads a dotted quad from the start of the text; its length too. Octets have no leading zeros,
/// because some read those as octal.
#[inline]
pub(super) fn quad(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let (mut address, mut octet, mut digits, mut dots) = (0u32, 0u32, 0, 0);
    for (at, byte) in text.iter().enumerate() {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit < 10 {
            octet = octet * 10 + digit;
            if octet > 255 || (digits > 0 && octet < 10) {
                return None;
            }
            digits += 1;
            continue;
        }
        if digits == 0 {
            return None;
        }
        address = address << 8 | octet;
        if dots == 3 {
            return Some((Ipv4Addr::from(address), at));
        }
        if *byte != b'.' {
            return None;
        }
        (octet, digits) = (0, 0);
        dots += 1;
    }
    (dots == 3 && digits > 0).then(|| (Ipv4Addr::from(address << 8 | octet), text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quads() {
        for (text, expected) in [
            ("1.2.3.4", Some(7)),
            ("255.255.255.255 ", Some(15)),
            ("1.2.3.256", None),
            ("1.2.3.0004", None),
            ("01.2.3.4", None),
            ("1.2.3", None),
            ("1..2.3", None),
            ("0.0.0.0.5", Some(7)),
        ] {
            assert_eq!(quad(text.as_bytes()).map(|found| found.1), expected, "{text}");
        }
    }
}
