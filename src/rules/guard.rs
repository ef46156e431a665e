//! Refuses values that would alert on half the Internet, unless the row says `force: 'reason'`.
//!
//! Shared lists contain public suffixes, private addresses and the hash of the empty file again
//! and again; one such row buries every real alert.

use crate::detect::indicator::{Kind, address_of};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Text shorter than this stands in ordinary messages by chance.
pub const SHORTEST_TEXT: usize = 6;

/// The widest prefixes that an attacker may plausibly own.
pub const WIDEST_IPV4: u8 = 8;
/// See [`WIDEST_IPV4`].
pub const WIDEST_IPV6: u8 = 19;

/// Why a value is refused, by its key; groups rows in `roje rules`.
pub fn refusal(kind: Kind, key: &[u8]) -> Option<&'static str> {
    match kind {
        Kind::Ip => match key {
            [a, b, c, d] => prefix_v4(u32::from_be_bytes([*a, *b, *c, *d]), 32),
            _ => prefix(&address_of(key)?),
        },
        Kind::Domain => domain(key),
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => {
            is_empty_hash(kind, key).then_some("hash of the empty file")
        }
        // The first byte says whether case counts.
        Kind::Text => (key.len() <= SHORTEST_TEXT).then_some("text under 6 bytes"),
        Kind::Url | Kind::Email => None,
    }
}

fn prefix(net: &IpNet) -> Option<&'static str> {
    match net {
        IpNet::V4(net) if net.prefix_len() < WIDEST_IPV4 => Some("prefix wider than /8"),
        IpNet::V6(net) if net.prefix_len() < WIDEST_IPV6 => Some("prefix wider than /19"),
        IpNet::V4(net) => prefix_v4(net.network().into(), net.prefix_len()),
        IpNet::V6(net) => {
            let overlaps = |special: &Ipv6Net| net.contains(special) || special.contains(net);
            special_name(MULTICAST_V6.iter().any(overlaps), SPECIAL_V6.iter().any(overlaps))
        }
    }
}

fn prefix_v4(bits: u32, length: u8) -> Option<&'static str> {
    // One lies in the other if they agree as far as the shorter reaches.
    let overlaps = |special: &Ipv4Net| {
        let shorter = u32::from(length.min(special.prefix_len()));
        (bits ^ u32::from(special.addr())) >> (32 - shorter) == 0
    };
    special_name(MULTICAST_V4.iter().any(overlaps), SPECIAL_V4.iter().any(overlaps))
}

fn special_name(multicast: bool, special: bool) -> Option<&'static str> {
    match (multicast, special) {
        (true, _) => Some("multicast address space"),
        (_, true) => Some("special-purpose address space"),
        _ => None,
    }
}

fn domain(name: &[u8]) -> Option<&'static str> {
    if !name.contains(&b'.') {
        return Some("single label");
    }
    // An unknown top-level label is a suffix of unknown type: not on the list.
    let suffix = psl::suffix(name)?;
    (suffix.is_known() && suffix.as_bytes().len() == name.len()).then_some("public suffix")
}

fn is_empty_hash(kind: Kind, key: &[u8]) -> bool {
    let digits = empty_hash(kind).unwrap_or_default().as_bytes().chunks_exact(2);
    let byte =
        |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    key.len() == digits.len() && key.iter().zip(digits).all(|(own, pair)| byte(pair) == Some(*own))
}

fn empty_hash(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Md5 => Some("d41d8cd98f00b204e9800998ecf8427e"),
        Kind::Sha1 => Some("da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        Kind::Sha256 => Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        Kind::Sha512 => Some(
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
             47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        _ => None,
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// The IANA registry that RFC 6890 founded, without the documentation prefixes of RFC 5737.
const SPECIAL_V4: [Ipv4Net; 14] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link local
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 31, 196, 0, 24), // AS112
    v4(192, 52, 193, 0, 24), // AMT
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(192, 175, 48, 0, 24), // AS112
    v4(198, 18, 0, 0, 15),   // benchmarking
    v4(240, 0, 0, 0, 4),     // reserved, limited broadcast
];

const MULTICAST_V4: [Ipv4Net; 1] = [v4(224, 0, 0, 0, 4)];

/// The same for IPv6, without `2001:db8::/32` and `3fff::/20`.
const SPECIAL_V6: [Ipv6Net; 12] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 127),             // unspecified, loopback
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),         // IPv4-mapped
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),      // IPv4-IPv6 translation
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),      // the same, local
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 63),          // discard, dummy
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),         // protocol assignments, Teredo
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),         // 6to4
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),         // segment routing
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),          // unique local
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),         // link local
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),         // site local, deprecated but in use
];

const MULTICAST_V6: [Ipv6Net; 1] = [v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::indicator::Normal;

    fn refusal(value: &Normal) -> Option<&'static str> {
        super::refusal(value.kind(), &value.key(true))
    }

    #[test]
    fn addresses() {
        for (value, expected) in [
            ("198.51.100.0/24", None),
            ("192.0.2.1/32", None),
            ("203.0.113.7/32", None),
            ("198.51.0.0/16", None),
            ("8.8.8.8/32", None),
            ("5.0.0.0/8", None),
            ("4.0.0.0/7", Some("prefix wider than /8")),
            ("0.0.0.0/0", Some("prefix wider than /8")),
            ("0.0.0.0/32", Some("special-purpose address space")),
            ("10.1.2.3/32", Some("special-purpose address space")),
            ("100.127.255.255/32", Some("special-purpose address space")),
            ("100.128.0.0/32", None),
            ("127.0.0.1/32", Some("special-purpose address space")),
            ("169.254.169.254/32", Some("special-purpose address space")),
            ("172.32.0.1/32", None),
            ("172.31.0.1/32", Some("special-purpose address space")),
            ("192.0.0.0/8", Some("special-purpose address space")),
            ("192.88.99.1/32", Some("special-purpose address space")),
            ("198.19.0.0/24", Some("special-purpose address space")),
            ("224.0.0.251/32", Some("multicast address space")),
            ("239.255.255.250/32", Some("multicast address space")),
            ("255.255.255.255/32", Some("special-purpose address space")),
            ("2001:db8::/32", None),
            ("3fff::1/128", None),
            ("2606:4700::/32", None),
            ("2600::/19", None),
            ("2600::/18", Some("prefix wider than /19")),
            ("::/128", Some("special-purpose address space")),
            ("::1/128", Some("special-purpose address space")),
            ("2001::1/128", Some("special-purpose address space")),
            ("2002:c000:201::/48", Some("special-purpose address space")),
            ("64:ff9b::1/128", Some("special-purpose address space")),
            ("fd00::1/128", Some("special-purpose address space")),
            ("fe80::1/128", Some("special-purpose address space")),
            ("ff02::1/128", Some("multicast address space")),
        ] {
            assert_eq!(refusal(&Normal::Ip(value.parse().unwrap())), expected, "{value}");
        }
    }

    #[test]
    fn domains() {
        for (value, expected) in [
            ("evil.example", None),
            ("evil.com", None),
            ("com", Some("single label")),
            ("localhost", Some("single label")),
            ("co.uk", Some("public suffix")),
            ("com.al", Some("public suffix")),
            ("gov.al", Some("public suffix")),
            ("github.io", Some("public suffix")),
            ("evil.github.io", None),
            ("s3.amazonaws.com", Some("public suffix")),
            ("anything.ck", Some("public suffix")),
            ("www.ck", None),
            ("xn--55qx5d.cn", Some("public suffix")),
            ("evil.internal", None),
        ] {
            assert_eq!(refusal(&Normal::Domain(value.into())), expected, "{value}");
        }
    }

    #[test]
    fn hashes_and_text() {
        use sha2::Digest;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sha256 = hex(&sha2::Sha256::digest(b""));
        let sha512 = hex(&sha2::Sha512::digest(b""));
        for (name, value, expected) in [
            (
                "md5",
                Normal::Hash(Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e".into()),
                Some("hash of the empty file"),
            ),
            (
                "sha1",
                Normal::Hash(Kind::Sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709".into()),
                Some("hash of the empty file"),
            ),
            ("sha256", Normal::Hash(Kind::Sha256, sha256), Some("hash of the empty file")),
            ("sha512", Normal::Hash(Kind::Sha512, sha512), Some("hash of the empty file")),
            ("another", Normal::Hash(Kind::Md5, "d41d8cd98f00b204e9800998ecf8427f".into()), None),
            ("short text", Normal::Text(b"cmd.e".to_vec()), Some("text under 6 bytes")),
            ("six bytes", Normal::Text(b"cmd.ex".to_vec()), None),
            ("url", Normal::Url("http://10.0.0.1/a".into()), None),
            ("email", Normal::Email("a@com".into()), None),
        ] {
            assert_eq!(refusal(&value), expected, "{name}");
        }
    }
}
