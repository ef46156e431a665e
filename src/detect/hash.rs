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

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    (whole as u64, (whole >> 64) as u64)
}

/// Under 16 bytes: reads that overlap in the middle cover each byte.
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

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
