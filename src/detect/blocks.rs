//! Classes of 64 bytes at a time, as bit masks.
//!
//! On x86-64 the masks come from AVX2, or from SSE2 where a processor lacks it; elsewhere from a
//! table. Loads go through `from_le_bytes`, so that only the calls into functions that name the
//! target feature they need are unsafe.

/// One bit for each byte of a block, lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// Letter, digit, `_`, `-`, or not ASCII.
    pub label: u64,
    /// `.`
    pub dot: u64,
    /// `[ ( {` and `\`: what may stand before a defanged dot.
    pub open: u64,
    /// `] ) }`
    pub close: u64,
    /// `:`
    pub colon: u64,
    /// A slash, a backslash or a closing bracket: what follows the colon of a URL.
    pub slash: u64,
    /// `%`
    pub percent: u64,
    /// Hexadecimal digit.
    pub hex: u64,
    /// `d` or `D`.
    pub d: u64,
    /// `-`
    pub hyphen: u64,
    /// Not ASCII.
    pub high: u64,
}

/// The block that begins at `at`; what lies behind the end counts as zero bytes.
#[inline]
pub(super) fn block(bytes: &[u8], at: usize) -> [u8; 64] {
    let tail = bytes.get(at..).unwrap_or_default();
    match tail.first_chunk::<64>() {
        Some(whole) => *whole,
        None => {
            let mut padded = [0; 64];
            padded[..tail.len()].copy_from_slice(tail);
            padded
        }
    }
}

/// The classes of the block that begins at `at`.
#[inline]
pub(super) fn masks(bytes: &[u8], at: usize) -> Masks {
    let tail = bytes.get(at..).unwrap_or_default();
    match (tail.first_chunk::<64>(), bytes.last_chunk::<64>()) {
        (Some(whole), _) => classify(whole),
        // Cheaper than copying the rest: the last 64 bytes, without those before `at`.
        (None, Some(last)) if !tail.is_empty() => classify(last).after(64 - tail.len()),
        _ => classify(&block(bytes, at)),
    }
}

impl Masks {
    /// Without the first bytes.
    #[inline]
    fn after(self, bytes: usize) -> Masks {
        Masks {
            label: self.label >> bytes,
            dot: self.dot >> bytes,
            open: self.open >> bytes,
            close: self.close >> bytes,
            colon: self.colon >> bytes,
            slash: self.slash >> bytes,
            percent: self.percent >> bytes,
            hex: self.hex >> bytes,
            d: self.d >> bytes,
            hyphen: self.hyphen >> bytes,
            high: self.high >> bytes,
        }
    }
}

/// The classes of a block.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
fn classify(block: &[u8; 64]) -> Masks {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        return unsafe { avx2::classify(block) };
    }
    // SAFETY: SSE2 is part of the x86-64 instruction set.
    unsafe { sse2::classify(block) }
}

/// The same code for vectors of 16 and of 32 bytes.
#[cfg(target_arch = "x86_64")]
macro_rules! classes {
    ($feature:literal, $width:literal, $lane:ident, $vector:ident, $bits:ty,
     $set:ident, $equal:ident, $least:ident, $minus:ident, $or:ident, $signs:ident) => {
        use super::Masks;
        use std::arch::x86_64::{$equal, $least, $minus, $or, $set, $signs, $vector};

        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn classify(block: &[u8; 64]) -> Masks {
            let each = |byte: u8| $set(byte as i8);
            let equal = |bytes: $vector, byte: u8| $equal(bytes, each(byte));
            let or = |one: $vector, other: $vector| $or(one, other);
            let at_most = |bytes: $vector, limit: u8| $equal($least(bytes, each(limit)), bytes);
            let signs = |bytes: $vector| u64::from($signs(bytes) as $bits);
            let mut masks = Masks::default();
            for lane in 0..64 / $width {
                let shift = lane * $width;
                let bytes = $lane(block, shift);
                let folded = or(bytes, each(0x20));
                let letter = $minus(folded, each(b'a'));
                let digit = at_most($minus(bytes, each(b'0')), 9);
                let letters = at_most(letter, 25);
                let hyphen = equal(bytes, b'-');
                let joint = or(equal(bytes, b'_'), hyphen);
                let backslash = equal(bytes, b'\\');
                let close = or(equal(folded, b'}'), equal(bytes, b')'));
                // The mask takes the sign bit, which is the byte's own where it is not ASCII.
                masks.label |= signs(or(or(letters, digit), or(joint, bytes))) << shift;
                masks.dot |= signs(equal(bytes, b'.')) << shift;
                masks.open |= signs(or(or(equal(folded, b'{'), equal(bytes, b'(')), backslash)) << shift;
                masks.close |= signs(close) << shift;
                masks.colon |= signs(equal(bytes, b':')) << shift;
                masks.slash |= signs(or(or(equal(bytes, b'/'), backslash), close)) << shift;
                masks.percent |= signs(equal(bytes, b'%')) << shift;
                masks.hex |= signs(or(digit, at_most(letter, 5))) << shift;
                masks.d |= signs(equal(folded, b'd')) << shift;
                masks.hyphen |= signs(hyphen) << shift;
                masks.high |= signs(bytes) << shift;
            }
            masks
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::_mm_set_epi64x;

    classes!(
        "sse2",
        16,
        lane,
        __m128i,
        u16,
        _mm_set1_epi8,
        _mm_cmpeq_epi8,
        _mm_min_epu8,
        _mm_sub_epi8,
        _mm_or_si128,
        _mm_movemask_epi8
    );

    /// Sixteen bytes; the loads compile to one.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn lane(block: &[u8; 64], at: usize) -> __m128i {
        _mm_set_epi64x(super::eight(block, at + 8), super::eight(block, at))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::ByteSet;
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_set_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16,
    };

    classes!(
        "avx2",
        32,
        lane,
        __m256i,
        u32,
        _mm256_set1_epi8,
        _mm256_cmpeq_epi8,
        _mm256_min_epu8,
        _mm256_sub_epi8,
        _mm256_or_si256,
        _mm256_movemask_epi8
    );

    #[target_feature(enable = "avx2")]
    pub(super) fn members<const N: usize>(
        bytes: &[u8],
        sets: &[ByteSet; N],
        mut each: impl FnMut(usize, [u64; N]),
    ) {
        let table = |columns: &[u8; 16]| {
            let whole = u128::from_le_bytes(*columns);
            let (low, high) = (whole as i64, (whole >> 64) as i64);
            _mm256_set_epi64x(high, low, high, low)
        };
        let mut tables = [_mm256_setzero_si256(); N];
        for (table_of, set) in tables.iter_mut().zip(sets) {
            *table_of = table(&set.0);
        }
        let rows = table(&super::ROWS);
        let half = _mm256_set1_epi8(15);
        for (number, chunk) in bytes.chunks(64).enumerate() {
            let padded;
            // Cheaper than copying the rest: the last 64 bytes, without those before it.
            let (block, behind) = match (chunk.first_chunk(), bytes.last_chunk()) {
                (Some(whole), _) => (whole, 0),
                (None, Some(last)) => (last, 64 - chunk.len()),
                (None, None) => {
                    padded = super::block(chunk, 0);
                    (&padded, 0)
                }
            };
            let lanes = [lane(block, 0), lane(block, 32)].map(|bytes| {
                let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half);
                (_mm256_and_si256(bytes, half), _mm256_shuffle_epi8(rows, upper))
            });
            let mut masks = [0; N];
            for (mask, table) in masks.iter_mut().zip(tables) {
                let [low, high] = lanes.map(|(column, row)| {
                    let common = _mm256_and_si256(_mm256_shuffle_epi8(table, column), row);
                    u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(common, row)) as u32)
                });
                *mask = (low | high << 32) >> behind;
            }
            if chunk.len() < 64 {
                masks = masks.map(|mask| mask & ((1 << chunk.len()) - 1));
            }
            each(64 * number, masks);
        }
    }

    /// Thirty-two bytes; the loads compile to one.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn lane(block: &[u8; 64], at: usize) -> __m256i {
        let eight = |at: usize| super::eight(block, at);
        _mm256_set_epi64x(eight(at + 24), eight(at + 16), eight(at + 8), eight(at))
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn eight(block: &[u8; 64], at: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block[at..at + 8]);
    i64::from_le_bytes(bytes)
}

/// The classes of a block.
#[cfg(not(target_arch = "x86_64"))]
fn classify(block: &[u8; 64]) -> Masks {
    plain(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain(block: &[u8; 64]) -> Masks {
    let mut masks = Masks::default();
    for (at, byte) in block.iter().enumerate() {
        let bit = |set: bool| u64::from(set) << at;
        masks.label |= bit(super::lexis::is_label(*byte) || *byte >= 0x80);
        masks.dot |= bit(*byte == b'.');
        masks.open |= bit(matches!(byte, b'[' | b'(' | b'{' | b'\\'));
        masks.close |= bit(matches!(byte, b']' | b')' | b'}'));
        masks.colon |= bit(*byte == b':');
        masks.slash |= bit(matches!(byte, b'/' | b'\\' | b']' | b')' | b'}'));
        masks.percent |= bit(*byte == b'%');
        masks.hex |= bit(byte.is_ascii_hexdigit());
        masks.d |= bit(matches!(byte, b'd' | b'D'));
        masks.hyphen |= bit(*byte == b'-');
        masks.high |= bit(*byte >= 0x80);
    }
    masks
}

/// A set of bytes, as tests of many bytes at a time want it: one bit for each row of 16 bytes, in the
/// column that the lower half of the byte selects. Control characters share a row, and so does all
/// that is not ASCII: bytes of one column there are in the set together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet([u8; 16]);

/// The bit of a row, by the upper half of the byte.
const ROWS: [u8; 16] = [1, 1, 4, 8, 16, 32, 64, 128, 2, 2, 2, 2, 2, 2, 2, 2];

impl ByteSet {
    /// The bytes that satisfy a condition.
    pub fn of(condition: impl Fn(u8) -> bool) -> ByteSet {
        let mut set = ByteSet::default();
        (0..=255).filter(|byte| condition(*byte)).for_each(|byte| set.insert(byte));
        set
    }

    /// Adds a byte.
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte & 15)] |= ROWS[usize::from(byte >> 4)];
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte & 15)] & ROWS[usize::from(byte >> 4)] != 0
    }
}

/// Calls `each` with the beginning of every block and which of its bytes are in each of the sets; what
/// lies behind the end is in none.
#[inline]
#[allow(unsafe_code)]
pub(super) fn members<const N: usize>(bytes: &[u8], sets: &[ByteSet; N], each: impl FnMut(usize, [u64; N])) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        return unsafe { avx2::members(bytes, sets, each) };
    }
    plain_members(bytes, sets, each);
}

/// The same byte by byte, for processors without AVX2.
fn plain_members<const N: usize>(bytes: &[u8], sets: &[ByteSet; N], mut each: impl FnMut(usize, [u64; N])) {
    for (number, block) in bytes.chunks(64).enumerate() {
        let among = |set: &ByteSet| {
            block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(set.contains(*byte)))
        };
        each(64 * number, std::array::from_fn(|at| among(&sets[at])));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexis::is_word;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_equal_the_table() {
        let all: Vec<u8> = (0..=255).collect();
        for at in 0..256 {
            let block = block(&all, at);
            assert_eq!(classify(&block), plain(&block), "at {at}");
            assert_eq!(masks(&all, at), plain(&block), "at {at}");
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: SSE2 is part of the x86-64 instruction set.
            unsafe {
                assert_eq!(sse2::classify(&block), plain(&block), "at {at}");
            }
        }
    }
    #[test]
    fn sets_hold_their_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        for byte in 0..=255 {
            let only = ByteSet::of(|other| other == byte);
            assert!(only.contains(byte));
            let alike = (0..=255).filter(|other| only.contains(*other)).count();
            assert_eq!(
                alike,
                if (32..128).contains(&byte) {
                    1
                } else if byte < 32 {
                    2
                } else {
                    8
                }
            );
        }
        members(&all, &[ByteSet::of(is_word)], |base, [words]| {
            for (at, byte) in all[base..base + 64].iter().enumerate() {
                assert_eq!(words >> at & 1 == 1, is_word(*byte));
            }
        });
    }

    proptest! {
        #[test]
        fn sets_by_vectors_equal_those_byte_by_byte(
            message in prop::collection::vec(any::<u8>(), 0..400),
            inside in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let sets = [
                ByteSet::default(),
                ByteSet::of(is_word),
                ByteSet::of(|byte| inside.contains(&byte)),
                ByteSet::of(|_| true),
            ];
            let (mut fast, mut plain) = (Vec::new(), Vec::new());
            members(&message, &sets, |at, masks| fast.push((at, masks)));
            plain_members(&message, &sets, |at, masks| plain.push((at, masks)));
            prop_assert_eq!(fast, plain);
        }
    }
}
