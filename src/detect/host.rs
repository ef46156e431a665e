//! Host names and dotted quads in normal form.

use idna::AsciiDenyList;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

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

/// What of a host tells whether anyone cares for it: of a name the last two labels or the only
/// one, an address whole.
pub(super) fn mark(host: &[u8]) -> Range<usize> {
    let number = host.last().is_some_and(u8::is_ascii_digit);
    if number && quad(host).is_some_and(|(_, length)| length == host.len()) {
        return 0..host.len();
    }
    let dot = |host: &[u8]| host.iter().rposition(|byte| *byte == b'.');
    let start = dot(host).and_then(|last| dot(&host[..last])).map_or(0, |dot| dot + 1);
    start..host.len()
}

/// An address as a dotted quad: the text and its length.
pub(super) fn quad_text(octets: [u8; 4]) -> ([u8; 16], usize) {
    let (mut text, mut length) = ([b'.'; 16], 0);
    for octet in octets {
        for (divisor, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text[length] = b'0' + octet / divisor % 10;
                length += 1;
            }
        }
        length += 1;
    }
    (text, length - 1)
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

/// Reads an IPv6 address that fills the text, as the standard library does, but many times faster
/// where no dotted quad ends it.
pub(super) fn long(text: &[u8]) -> Option<Ipv6Addr> {
    if text.contains(&b'.') {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let (mut groups, mut count, mut gap) = ([0u16; 8], 0, None);
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix(b"::") {
        (gap, rest) = (Some(0), behind);
    }
    while !rest.is_empty() {
        let digits = rest.iter().take(5).map_while(|byte| super::lexis::hex_digit(*byte));
        let (group, length) =
            digits.fold((0, 0), |(group, length), digit| (group << 4 | u32::from(digit), length + 1));
        if !(1..=4).contains(&length) {
            return None;
        }
        *groups.get_mut(count)? = group as u16;
        count += 1;
        rest = match &rest[length..] {
            [] => &[],
            [b':', b':', behind @ ..] if gap.is_none() => {
                gap = Some(count);
                behind
            }
            [b':', behind @ ..] if !behind.is_empty() => behind,
            _ => return None,
        };
    }
    // The gap stands for one group at least.
    match gap {
        None if count == 8 => {}
        Some(at) if count < 8 => {
            groups[at..].rotate_right(8 - count);
        }
        _ => return None,
    }
    Some(Ipv6Addr::from(groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        for (host, expected) in [
            ("a.b.example", "b.example"),
            ("b.example", "b.example"),
            ("localhost", "localhost"),
            ("10.1.2.3", "10.1.2.3"),
            ("1.10.1.2.3", "2.3"),
            ("", ""),
        ] {
            assert_eq!(&host[mark(host.as_bytes())], expected, "{host}");
        }
    }

    #[test]
    fn quads_as_text() {
        for octets in (0..=255).map(|n: u8| [n, 255 - n, n / 10, n % 100]) {
            let (text, length) = quad_text(octets);
            assert_eq!(text[..length], *Ipv4Addr::from(octets).to_string().as_bytes());
        }
    }

    /// As the standard library reads them; it also takes dotted quads at the end.
    #[test]
    fn long_addresses() {
        for text in [
            "::",
            "::1",
            "1::",
            "1::8",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            ":::",
            "1:::2",
            ":1",
            "1:",
            "12345::",
            "ABCD:ef01::",
            "fe80::0001",
            "::ffff:1.2.3.4",
            "",
            ":",
        ] {
            assert_eq!(long(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_long_address(text in "([0-9a-fA-F]{0,5}(:|::)){0,9}[0-9a-f]{0,5}") {
            proptest::prop_assert_eq!(long(text.as_bytes()), text.parse().ok());
        }
    }

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
