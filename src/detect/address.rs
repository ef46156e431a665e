//! Prefixes: which of them can cover an address, behind a bitmap of what they touch.
//!
//! The bitmap has a bit for each value of the first sixteen bits of an address. Only where a
//! prefix touches them is the address masked to each length in use and looked up.

use ipnet::IpNet;
use std::net::IpAddr;

/// Values of the first sixteen bits.
const BLOCKS: u32 = 1 << 16;

/// The lengths in use and the blocks that they touch, for each family.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    v4: Family,
    v6: Family,
}

#[derive(Debug, Default)]
struct Family {
    /// Bit n: some prefix has n bits.
    lengths: u128,
    /// Empty while there is no prefix.
    touched: Vec<u64>,
}

impl Prefixes {
    /// Adds a prefix that is shorter than an address.
    pub fn insert(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.v4.insert(u32::from(prefix.network()) >> 16, prefix.prefix_len()),
            IpNet::V6(prefix) => {
                self.v6.insert((u128::from(prefix.network()) >> 112) as u32, prefix.prefix_len());
            }
        }
    }

    /// Calls `each` with the key of every prefix that would cover the address.
    #[inline]
    pub fn covering(&self, address: IpAddr, each: &mut impl FnMut(&[u8])) {
        match address {
            IpAddr::V4(address) => {
                let bits = u32::from(address);
                if !self.v4.touches(bits >> 16) {
                    return;
                }
                self.v4.lengths(|length| {
                    let mut key = [0; 5];
                    key[..4].copy_from_slice(&masked4(bits, length).to_be_bytes());
                    key[4] = length;
                    each(&key);
                });
            }
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                if !self.v6.touches((bits >> 112) as u32) {
                    return;
                }
                self.v6.lengths(|length| {
                    let mut key = [0; 17];
                    key[..16].copy_from_slice(&masked6(bits, length).to_be_bytes());
                    key[16] = length;
                    each(&key);
                });
            }
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        (self.v4.touched.len() + self.v6.touched.len()) * 8
    }
}

impl Family {
    fn insert(&mut self, block: u32, length: u8) {
        self.lengths |= 1 << length.min(127);
        self.touched.resize(BLOCKS as usize / 64, 0);
        let count = 1u32 << 16u8.saturating_sub(length);
        for block in block..(block + count).min(BLOCKS) {
            self.touched[block as usize / 64] |= 1 << (block % 64);
        }
    }

    #[inline]
    fn touches(&self, block: u32) -> bool {
        self.touched.get(block as usize / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Shortest first.
    fn lengths(&self, mut each: impl FnMut(u8)) {
        let mut rest = self.lengths;
        while rest != 0 {
            each(rest.trailing_zeros() as u8);
            rest &= rest - 1;
        }
    }
}

fn masked4(bits: u32, length: u8) -> u32 {
    bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn masked6(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The bytes under which an address or prefix is kept: octets, and the length of a shorter prefix.
pub(super) fn key(prefix: IpNet) -> ([u8; 17], usize) {
    let mut key = [0; 17];
    let octets = match prefix {
        IpNet::V4(prefix) => {
            key[..4].copy_from_slice(&prefix.network().octets());
            4
        }
        IpNet::V6(prefix) => {
            key[..16].copy_from_slice(&prefix.network().octets());
            16
        }
    };
    if prefix.prefix_len() == prefix.max_prefix_len() {
        return (key, octets);
    }
    key[octets] = prefix.prefix_len();
    (key, octets + 1)
}

/// The address or prefix of a key.
pub(super) fn from_key(key: &[u8]) -> Option<IpNet> {
    let (octets, length) = match key.len() {
        4 => (key, 32),
        16 => (key, 128),
        5 | 17 => (&key[..key.len() - 1], key[key.len() - 1]),
        _ => return None,
    };
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    IpNet::new(address, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_covering_prefix_and_no_other() {
        let written = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "192.0.2.0/31",
            "::/0",
            "2001:db8::/32",
            "2001:db8::/127",
        ];
        let mut prefixes = Prefixes::default();
        for prefix in written {
            prefixes.insert(prefix.parse().unwrap());
        }
        let all: Vec<IpNet> = written.iter().map(|text| text.parse().unwrap()).collect();
        for address in [
            "10.1.2.3",
            "10.1.3.3",
            "10.2.0.0",
            "192.0.2.1",
            "192.0.2.2",
            "8.8.8.8",
            "2001:db8::1",
            "2001:db8::2",
            "2001:db9::",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let mut found = Vec::new();
            prefixes.covering(address, &mut |key| found.extend(from_key(key)));
            found.retain(|prefix| all.contains(prefix));
            let mut expected: Vec<IpNet> =
                all.iter().copied().filter(|prefix| prefix.contains(&address)).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn keys_return() {
        for text in ["1.2.3.4/32", "1.2.3.0/24", "0.0.0.0/0", "2001:db8::1/128", "2001:db8::/32", "::/0"] {
            let prefix: IpNet = text.parse().unwrap();
            let (bytes, length) = key(prefix);
            assert_eq!(from_key(&bytes[..length]), Some(prefix));
        }
    }
}
