//! The seeded hash of a kind and a normal form.
//!
//! The seed is drawn once for each process, so that neither an indicator list nor a sender can
//! choose collisions. A hit is verified byte for byte all the same.

use super::indicator::Kind;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;

/// The keys of the hash.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 3]);

static SEED: OnceLock<Seed> = OnceLock::new();

impl Seed {
    /// The seed of this process.
    #[inline]
    pub fn current() -> Seed {
        *SEED.get_or_init(|| {
            let state = RandomState::new();
            Seed([state.hash_one(1u8) | 1, state.hash_one(2u8) | 1, state.hash_one(3u8) | 1])
        })
    }

    /// Fixes the seed of this process, for reproducible measurements. False if it was drawn before.
    pub fn fix(value: u64) -> bool {
        let odd = |k: u64| value.wrapping_add(k).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        SEED.set(Seed([odd(1), odd(2), odd(3)])).is_ok()
    }

    /// Hashes a normal form.
    #[inline]
    pub fn hash(self, kind: Kind, bytes: &[u8]) -> u64 {
        if kind == Kind::Domain {
            return self.name(bytes);
        }
        let Seed([first, second, third]) = self;
        let mut state = first ^ (kind as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut rest = bytes;
        while let Some((block, tail)) = rest.split_first_chunk::<16>() {
            if tail.is_empty() {
                break;
            }
            let (low, high) = halves(block);
            state = fold(low ^ second, high ^ state);
            rest = tail;
        }
        let (low, high) = match bytes.last_chunk::<16>() {
            Some(block) => halves(block),
            None => short(bytes),
        };
        fold(fold(low ^ second, high ^ state) ^ bytes.len() as u64, third)
    }
}

/// Host names are hashed from the right, sixteen bytes at a time, case folded on the way: each
/// suffix costs little more than its length, and the bytes are read where they stand.
impl Seed {
    fn name(self, name: &[u8]) -> u64 {
        let mut rest = name;
        let mut state = self.name_start();
        while let Some((head, block)) = rest.split_last_chunk::<16>() {
            if head.is_empty() {
                break;
            }
            state = self.name_block(state, u128::from_le_bytes(*block));
            rest = head;
        }
        let mut head = [0; 16];
        if let Some(slot) = head.get_mut(16 - rest.len()..) {
            slot.copy_from_slice(rest);
        }
        self.name_end(state, u128::from_le_bytes(head), rest.len(), name.len())
    }

    /// The state before the last bytes of a name.
    #[inline]
    pub(super) fn name_start(self) -> u64 {
        self.0[0]
    }

    /// The state behind a whole block with more bytes before it.
    #[inline]
    pub(super) fn name_block(self, state: u64, block: u128) -> u64 {
        let (low, high) = folded(block);
        fold(low ^ self.0[1], high ^ state)
    }

    /// The hash, of a name of `length` bytes whose first `count`, 1 to 16, are the last of `block`.
    #[inline]
    pub(super) fn name_end(self, state: u64, block: u128, count: usize, length: usize) -> u64 {
        let (low, high) = folded(block & LAST[count.min(16)]);
        fold(fold(low ^ self.0[1], high ^ state) ^ length as u64, self.0[2])
    }
}

/// The last bytes of a block, as many as the index says.
static LAST: [u128; 17] = {
    let mut masks = [0; 17];
    let mut count = 1;
    while count <= 16 {
        masks[count] = u128::MAX << (8 * (16 - count));
        count += 1;
    }
    masks
};

/// Lower case for letters; `_` becomes a byte that no name has.
#[inline]
fn folded(block: u128) -> (u64, u64) {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    (block as u64 | LOWER, (block >> 64) as u64 | LOWER)
}

#[inline]
fn halves(block: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    (whole as u64, (whole >> 64) as u64)
}

/// Under 16 bytes: reads that overlap in the middle cover each byte.
#[inline]
fn short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return (u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return (u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into());
    }
    match bytes {
        [] => (0, 0),
        [only] => (u64::from(*only), 1 << 32),
        [head, .., tail] => {
            (u64::from(*head) | u64::from(bytes[bytes.len() / 2]) << 8, u64::from(*tail) | 2 << 32)
        }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_fold_case() {
        for name in ["a.b", "Evil.Example", "a.rather-LONG.name.of.Some.Host.example"] {
            let hash = |text: &str| Seed::current().hash(Kind::Domain, text.as_bytes());
            assert_eq!(hash(name), hash(&name.to_lowercase()), "{name}");
            assert_ne!(hash(name), hash(&name[1..]), "{name}");
        }
    }

    #[test]
    fn every_byte_length_and_kind_counts() {
        let seed = Seed::current();
        let mut seen = HashSet::new();
        for length in 0..80usize {
            let mut bytes = vec![0u8; length];
            assert!(seen.insert(seed.hash(Kind::Domain, &bytes)), "length {length}");
            assert!(seen.insert(seed.hash(Kind::Url, &bytes)), "length {length}");
            for at in 0..length {
                bytes[at] = 1;
                assert!(seen.insert(seed.hash(Kind::Domain, &bytes)), "byte {at} of {length}");
                bytes[at] = 0;
            }
        }
    }
}
