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
    let mut octets = [0u8; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut value = 0u32;
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            value = value * 10 + u32::from(digit - b'0');
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || value > 255 || (at - start > 1 && text.get(start) == Some(&b'0')) {
            return None;
        }
        *octet = value as u8;
    }
    Some((Ipv4Addr::from(octets), at))
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
