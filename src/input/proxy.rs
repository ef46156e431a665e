//! The PROXY protocol, versions 1 and 2: who is behind a load balancer.
//!
//! [`parse`] reads the header that a proxy puts before the bytes of a connection. It says whom the
//! proxy speaks for and nothing about whether that is true: only listed proxies are asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What stands at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Something else.
    Absent,
    /// What may become a header once more bytes are there.
    Partial,
    /// A header that breaks the rules of its version.
    Invalid,
    /// A header of this many bytes.
    Present {
        /// Its length; the bytes of the sender follow.
        length: usize,
        /// Whom the proxy speaks for; none where it speaks for itself (health checks) or does not know.
        source: Option<SocketAddr>,
    },
}

/// Bytes that [`parse`] needs at most: the longest line of version 1, or the fixed part of version 2
/// with two IPv6 addresses.
pub const WINDOW: usize = MAX_LINE;

/// Version 1, section 2.1: "a 108-byte buffer is always enough", the closing NUL included.
const MAX_LINE: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The part of version 2 before the addresses.
const FIXED: usize = 16;

/// Addresses and what proxies append to them (names, the client's certificate); a length beyond it is
/// no header that anybody sends.
const MAX_LENGTH: usize = 4096;

/// Reads the header at the start of `bytes`, of which the first [`WINDOW`] are enough.
pub fn parse(bytes: &[u8]) -> Header {
    if bytes.is_empty() {
        return Header::Partial;
    }
    if starts(bytes, SIGNATURE) {
        return binary(bytes);
    }
    if starts(bytes, b"PROXY ") {
        return line(bytes);
    }
    Header::Absent
}

/// Whether `bytes` begins with `what`, as far as it goes.
fn starts(bytes: &[u8], what: &[u8]) -> bool {
    bytes.iter().zip(what).all(|(byte, expected)| byte == expected)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 1024 601\r\n`.
fn line(bytes: &[u8]) -> Header {
    let window = bytes.get(..MAX_LINE).unwrap_or(bytes);
    // Text that only begins like a header is none.
    if ![&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"].iter().any(|known| starts(window, known)) {
        return Header::Absent;
    }
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if window.len() < MAX_LINE { Header::Partial } else { Header::Invalid };
    };
    let length = end + 2;
    let text = window.get(..end).and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Header::Present { length, source: None };
    }
    let rest: [Option<&str>; 5] = std::array::from_fn(|_| words.next());
    let [Some(source), Some(destination), Some(port), Some(to), None] = rest else { return Header::Invalid };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    // `parse` alone would take "+514".
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    match (address(source), address(destination), number(port), number(to)) {
        (Some(ip), Some(_), Some(port), Some(_)) => {
            Header::Present { length, source: Some(SocketAddr::new(ip, port)) }
        }
        _ => Header::Invalid,
    }
}

/// Version 2: signature, version and command, family and transport, length, addresses, more.
fn binary(bytes: &[u8]) -> Header {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Header::Partial };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Header::Invalid;
    }
    let own = Header::Present { length: FIXED + length, source: None };
    match command {
        // LOCAL: the proxy itself, which looks whether we are there.
        0x20 => return own,
        0x21 => {}
        _ => return Header::Invalid,
    }
    let body = bytes.get(FIXED..).unwrap_or_default();
    // Section 2.2: what is neither TCP over IPv4 nor over IPv6 is accepted as the proxy's own.
    let needed = match family {
        0x11 => 12,
        0x21 => 36,
        _ => return own,
    };
    if length < needed {
        return Header::Invalid;
    }
    if body.len() < needed {
        return Header::Partial;
    }
    let source = match family {
        0x11 => body.first_chunk::<4>().map(|ip| IpAddr::from(*ip)).zip(port(body, 8)),
        _ => body.first_chunk::<16>().map(|ip| IpAddr::from(*ip)).zip(port(body, 32)),
    };
    Header::Present { length: FIXED + length, source: source.map(|(ip, port)| SocketAddr::new(ip, port)) }
}

fn port(body: &[u8], at: usize) -> Option<u16> {
    body.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn present(length: usize, source: Option<&str>) -> Header {
        Header::Present { length, source: source.map(|text| text.parse().unwrap()) }
    }

    fn version2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, body].concat()
    }

    #[test]
    fn headers() {
        let v4 = [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[0x04, 0, 0x02, 0x59]].concat();
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9], &[0; 16], &[0x04, 0, 0x02, 0x59]].concat();
        let named = [&v4[..], &[0x02, 0, 3], b"a.b"].concat();
        for (name, bytes, expected) in [
            (
                "v1 IPv4",
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 601\r\n<1>a\n".to_vec(),
                present(41, Some("192.0.2.1:1024")),
            ),
            (
                "v1 IPv6",
                b"PROXY TCP6 2001:db8::9 ::1 1024 601\r\n".to_vec(),
                present(37, Some("[2001:db8::9]:1024")),
            ),
            ("v1 unknown", b"PROXY UNKNOWN\r\n".to_vec(), present(15, None)),
            (
                "v1 unknown with addresses",
                b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
                present(35, None),
            ),
            ("v1 wrong family", b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Header::Invalid),
            ("v1 port", b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(), Header::Invalid),
            ("v1 too much", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(), Header::Invalid),
            ("v1 without end", [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(), Header::Invalid),
            ("text", b"PROXY error: no such host\r\n".to_vec(), Header::Absent),
            ("text without end", b"PROXY error".to_vec(), Header::Absent),
            ("v2 IPv4", version2(0x21, 0x11, &v4), present(28, Some("192.0.2.1:1024"))),
            ("v2 IPv6", version2(0x21, 0x21, &v6), present(52, Some("[2001:db8::9]:1024"))),
            ("v2 with a name", version2(0x21, 0x11, &named), present(34, Some("192.0.2.1:1024"))),
            ("v2 local", version2(0x20, 0, &[]), present(16, None)),
            ("v2 Unix", version2(0x21, 0x31, &[0; 216]), present(232, None)),
            ("v2 short addresses", version2(0x21, 0x11, &v4[..11]), Header::Invalid),
            ("v2 unknown command", version2(0x22, 0x11, &v4), Header::Invalid),
            ("v2 version 3", version2(0x31, 0x11, &v4), Header::Invalid),
            ("v2 too long", version2(0x21, 0x11, &[0; 5000]), Header::Invalid),
            ("syslog", b"<34>1 - - - - - -".to_vec(), Header::Absent),
            ("TLS", b"\x16\x03\x01\x02\x00".to_vec(), Header::Absent),
            ("nothing", Vec::new(), Header::Partial),
        ] {
            assert_eq!(parse(&bytes), expected, "{name}");
            let Header::Present { length, .. } = expected else { continue };
            for cut in 0..length.min(bytes.len()) {
                let found = parse(&bytes[..cut]);
                assert!(found == Header::Partial || found == expected, "{name} cut at {cut}: {found:?}");
            }
        }
    }

    proptest! {
        /// What was decided stays decided, however the bytes arrive.
        #[test]
        fn more_bytes_change_no_verdict(
            start in prop_oneof![
                Just(&b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 601\r\n"[..]),
                Just(&b"PROXY TCP6 ::1 ::2 1 2\r\n"[..]),
                Just(&b"PROXY UNKNOWN\r\n"[..]),
                Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x04\0\x02\x59"[..]),
            ],
            change in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            more in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = [start, &more].concat();
            for (at, byte) in change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let whole = parse(&bytes);
            for cut in 0..bytes.len() {
                let found = parse(&bytes[..cut]);
                prop_assert!(found == Header::Partial || found == whole, "cut at {}: {:?}, {:?}", cut, found, whole);
            }
        }
    }

    #[test]
    fn the_window_is_enough() {
        let v6 = [&[1; 36][..], &[0; 1000]].concat();
        let bytes = version2(0x21, 0x21, &v6);
        assert_eq!(parse(&bytes[..WINDOW]), parse(&bytes));
    }
}
