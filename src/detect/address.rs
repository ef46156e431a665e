//! Prefixes: whether one of them covers an address, and which can.
//!
//! The first question is asked for every address of every flow record, and the answer is nearly
//! always no: a bitmap of the blocks that prefixes touch gives it in a nanosecond or two. Where it
//! does not, a finer one is asked (thousands of prefixes touch one /16 in six, but few /20s), and then
//! the address is searched among the ranges that all prefixes cover together, so that
//! thousands of them spread over the whole space cost little more than one. Only a covered address
//! is masked to each length in use and looked up.

use ipnet::IpNet;
use std::net::IpAddr;

/// Blocks of addresses that are told apart.
const BLOCKS: u32 = 1 << 16;

/// What the prefixes of each family cover.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    v4: Family<u32>,
    v6: Family<u128>,
}

/// The prefixes of one family.
#[derive(Debug, Default)]
struct Family<T> {
    /// Bit n: some prefix has n bits.
    lengths: u128,
    /// A bit for each block; empty while there is no prefix.
    touched: Box<[u64]>,
    /// The same for blocks of IPv4 a sixteenth as large; empty for IPv6.
    finer: Box<[u64]>,
    /// First and last address of what is covered, in order and apart from each other.
    ranges: Vec<(T, T)>,
}

/// An address as a number.
trait Bits: Copy + Ord {
    /// Finer blocks that are told apart: 0 if none.
    const FINER: u32;
    /// The finer block of an address.
    fn finer(self) -> u32;
    /// What the addresses of one block, and perhaps of others, have in common.
    fn head(self) -> u32;
    /// The block of a head.
    fn block(head: u32) -> u32;
}

impl Bits for u32 {
    const FINER: u32 = 1 << 20;

    fn finer(self) -> u32 {
        self >> 12
    }

    fn head(self) -> u32 {
        self >> 16
    }

    fn block(head: u32) -> u32 {
        head
    }
}

/// The first sixteen bits of most IPv6 addresses are one of a dozen values, so that twice as many are
/// taken and mixed. Whoever chooses prefixes so that their blocks collide gains nothing.
impl Bits for u128 {
    const FINER: u32 = 0;

    fn finer(self) -> u32 {
        0
    }

    fn head(self) -> u32 {
        (self >> 96) as u32
    }

    fn block(head: u32) -> u32 {
        head.wrapping_mul(0x9e37_79b1) >> 16
    }
}

impl Prefixes {
    /// Takes prefixes that are shorter than an address.
    pub fn new(prefixes: &[IpNet]) -> Prefixes {
        let v4 = prefixes.iter().filter_map(|prefix| match prefix {
            IpNet::V4(net) => Some((net.prefix_len(), net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(_) => None,
        });
        let v6 = prefixes.iter().filter_map(|prefix| match prefix {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some((net.prefix_len(), net.network().to_bits(), net.broadcast().to_bits())),
        });
        Prefixes { v4: Family::new(v4), v6: Family::new(v6) }
    }

    /// Whether some prefix covers an IPv4 address.
    #[inline]
    pub fn cover4(&self, address: u32) -> bool {
        self.v4.covers(address)
    }

    /// Whether some prefix covers an IPv6 address.
    #[inline]
    pub fn cover6(&self, address: u128) -> bool {
        self.v6.covers(address)
    }

    /// Whether some prefix may cover an IPv4 address, without a branch.
    #[inline]
    pub fn may_cover4(&self, address: u32) -> bool {
        holds(&self.v4.finer, address.finer())
    }

    /// Whether some prefix may cover an IPv6 address, without a branch.
    #[inline]
    pub fn may_cover6(&self, address: u128) -> bool {
        self.v6.touches(u128::block(address.head()))
    }

    /// Whether some IPv4 prefix touches the addresses that begin with these two octets, which are
    /// asked for only where there are prefixes.
    #[inline]
    pub fn touches4(&self, octets: impl FnOnce() -> u32) -> bool {
        !self.v4.touched.is_empty() && self.v4.touches(octets())
    }

    /// Calls `each` with the key of every prefix that would cover the address, shortest first.
    #[inline]
    pub fn covering(&self, address: IpAddr, each: &mut impl FnMut(&[u8])) {
        match address {
            IpAddr::V4(address) if self.v4.covers(address.to_bits()) => self.v4.lengths(|length| {
                let mut key = [0; 5];
                key[..4].copy_from_slice(&masked4(address.to_bits(), length).to_be_bytes());
                key[4] = length;
                each(&key);
            }),
            IpAddr::V6(address) if self.v6.covers(address.to_bits()) => self.v6.lengths(|length| {
                let mut key = [0; 17];
                key[..16].copy_from_slice(&masked6(address.to_bits(), length).to_be_bytes());
                key[16] = length;
                each(&key);
            }),
            _ => {}
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}

impl<T: Bits> Family<T> {
    /// Takes the length, the first and the last address of each prefix.
    fn new(prefixes: impl Iterator<Item = (u8, T, T)>) -> Family<T> {
        let mut lengths = 0;
        let mut ranges: Vec<(T, T)> = prefixes
            .map(|(length, first, last)| {
                lengths |= 1 << length.min(127);
                (first, last)
            })
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = next.0 <= range.1;
            if joins {
                range.1 = range.1.max(next.1);
            }
            joins
        });
        ranges.shrink_to_fit();
        let finer = bitmap(&ranges, T::FINER, T::finer, |block| block);
        Family { lengths, touched: bitmap(&ranges, BLOCKS, T::head, T::block), finer, ranges }
    }

    #[inline]
    fn covers(&self, address: T) -> bool {
        self.touches(T::block(address.head())) && self.ranges_hold(address)
    }

    #[inline]
    fn touches(&self, block: u32) -> bool {
        holds(&self.touched, block)
    }

    #[cold]
    fn ranges_hold(&self, address: T) -> bool {
        if T::FINER > 0 && !holds(&self.finer, address.finer()) {
            return false;
        }
        let at = self.ranges.partition_point(|(_, last)| *last < address);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= address)
    }

    /// Shortest first.
    fn lengths(&self, mut each: impl FnMut(u8)) {
        let mut rest = self.lengths;
        while rest != 0 {
            each(rest.trailing_zeros() as u8);
            rest &= rest - 1;
        }
    }

    fn memory(&self) -> usize {
        (self.touched.len() + self.finer.len()) * 8 + self.ranges.len() * size_of::<(T, T)>()
    }
}

#[inline]
fn holds(bitmap: &[u64], block: u32) -> bool {
    bitmap.get(block as usize / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
}

/// The bitmap of the blocks that ranges touch: the heads from that of the first address of a range to
/// that of the last. Empty if there is none.
fn bitmap<T: Copy>(
    ranges: &[(T, T)],
    blocks: u32,
    head: impl Fn(T) -> u32,
    block: impl Fn(u32) -> u32,
) -> Box<[u64]> {
    if ranges.is_empty() || blocks == 0 {
        return Box::default();
    }
    let mut bitmap = vec![0; blocks as usize / 64].into_boxed_slice();
    let heads = ranges.iter().flat_map(|(first, last)| head(*first)..=head(*last));
    for (count, head) in heads.enumerate() {
        // Short prefixes of IPv6 have more heads than there are blocks, and marking each would take long.
        if count > 4 * blocks as usize {
            bitmap.fill(u64::MAX);
            break;
        }
        let block = block(head);
        bitmap[block as usize / 64] |= 1 << (block % 64);
    }
    bitmap
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
    use proptest::prelude::*;

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
        let all: Vec<IpNet> = written.iter().map(|text| text.parse().unwrap()).collect();
        let prefixes = Prefixes::new(&all);
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

    /// Against a search through all of them, where prefixes nest, join and touch the ends of the space.
    #[test]
    fn covering_is_as_a_search_through_all() {
        let address = (any::<bool>(), 0u8..4, any::<[u8; 16]>(), any::<u8>());
        // Few different octets, so that prefixes meet each other and the addresses.
        let address = address.prop_map(|(six, head, octets, tail)| {
            let few = |octet: u8| [0, 1, 127, 255][usize::from(octet % 4)];
            let mut octets = octets.map(few);
            octets[0] = [0x0a, 0x20, 0xff, 0][usize::from(head)];
            octets[15] = tail;
            match six {
                true => IpAddr::from(octets),
                false => IpAddr::from([octets[0], octets[1], octets[2], tail]),
            }
        });
        let length = 0u8..128;
        let prefix = (address.clone(), length).prop_map(|(address, length)| {
            let most = if address.is_ipv4() { 31 } else { 127 };
            IpNet::new(address, length.min(most)).unwrap().trunc()
        });
        let prefixes = proptest::collection::vec(prefix, 0..40);
        proptest!(|(all in prefixes, addresses in proptest::collection::vec(address, 1..40))| {
            let prefixes = Prefixes::new(&all);
            let ends = all.iter().flat_map(|prefix| [prefix.network(), prefix.broadcast()]);
            for address in addresses.into_iter().chain(ends) {
                let mut found = Vec::new();
                prefixes.covering(address, &mut |key| found.extend(from_key(key)));
                found.retain(|prefix| all.contains(prefix));
                let mut expected: Vec<IpNet> =
                    all.iter().copied().filter(|prefix| prefix.contains(&address)).collect();
                expected.sort_by_key(IpNet::prefix_len);
                expected.dedup();
                let covered = match address {
                    IpAddr::V4(address) => prefixes.cover4(address.to_bits()),
                    IpAddr::V6(address) => prefixes.cover6(address.to_bits()),
                };
                prop_assert_eq!(covered, !expected.is_empty());
                prop_assert_eq!(found, expected);
            }
        });
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
