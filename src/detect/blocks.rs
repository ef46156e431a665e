//! Classes of 64 bytes at a time, as bit masks.
//!
//! A byte is classified by two tables, one for each of its halves: on x86-64 with AVX2 both are
//! looked up for 32 bytes at once, elsewhere one table made of the two serves byte by byte. What
//! reads the masks is a [`Pass`]: it is compiled once for each instruction set, and chosen once
//! for each message. Only the loads and the calls into functions that name the
//! target features they need are unsafe.

use std::sync::atomic::{AtomicU8, Ordering};

/// One bit for each byte of a block, lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// Letter, digit, `_`, `-`, or not ASCII.
    pub label: u64,
    /// `.`
    pub dot: u64,
    /// Decimal digit.
    pub digit: u64,
    /// Hexadecimal digit or `:`.
    pub hex: u64,
    /// Not ASCII.
    pub high: u64,
    /// The second byte of what may be a sign: `:/`, `::`, `[.`, `(d`, `%2` and the like; see
    /// [`FIRST`].
    pub sign: u64,
}

/// Work over the masks of a message.
pub(super) trait Pass {
    /// Does the work; to be `inline(always)`, so that it is compiled for the instruction set.
    fn run(self, classes: impl Classes);
}

/// A way to classify blocks.
pub(super) trait Classes: Copy {
    /// The classes of a block that follows the byte `previous`.
    fn classify(self, block: &[u8; 64], previous: u8) -> Masks;

    /// The classes of the block that begins at `at`, behind the byte `previous`; what lies behind
    /// the end is of no class.
    #[inline(always)]
    fn masks(self, bytes: &[u8], at: usize, previous: u8) -> Masks {
        match bytes.get(at..).and_then(|tail| tail.first_chunk()) {
            Some(whole) => self.classify(whole, previous),
            None => self.last(bytes, at, previous),
        }
    }

    /// The classes of the last block, which is not whole.
    #[inline(never)]
    fn last(self, bytes: &[u8], at: usize, previous: u8) -> Masks {
        match (bytes.get(at..), bytes.last_chunk()) {
            (None | Some([]), _) => Masks::default(),
            // Cheaper than copying the rest: the last 64 bytes, without those before `at`.
            (Some(tail), Some(last)) => self.classify(last, previous).after(64 - tail.len()),
            (Some(_), None) => self.classify(&block(bytes, at), previous),
        }
    }
}

/// The block that begins at `at`; what lies behind the end counts as zero bytes.
#[inline(always)]
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

impl Masks {
    /// Without the first bytes.
    #[inline(always)]
    fn after(self, bytes: usize) -> Masks {
        Masks {
            label: self.label >> bytes,
            dot: self.dot >> bytes,
            digit: self.digit >> bytes,
            hex: self.hex >> bytes,
            high: self.high >> bytes,
            sign: self.sign >> bytes,
        }
    }
}

// Tables -----------------------------------------------------------------------------------------

/// Eight classes of ASCII bytes, one bit each: the bytes whose upper half and lower half are both
/// in the sets.
struct Halves {
    upper: [u8; 16],
    lower: [u8; 16],
}

impl Halves {
    const fn new(classes: &[(&[usize], std::ops::RangeInclusive<usize>); 8]) -> Halves {
        let mut halves = Halves { upper: [0; 16], lower: [0; 16] };
        let mut class = 0;
        while class < 8 {
            let (upper, lower) = &classes[class];
            let mut at = 0;
            while at < upper.len() {
                halves.upper[upper[at]] |= 1 << class;
                at += 1;
            }
            let mut at = *lower.start();
            while at <= *lower.end() {
                halves.lower[at] |= 1 << class;
                at += 1;
            }
            class += 1;
        }
        halves
    }

    const fn table(&self) -> [u8; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = self.upper[byte >> 4] & self.lower[byte & 15];
            byte += 1;
        }
        table
    }
}

/// What a byte is.
const KIND: Halves = Halves::new(&[
    (&[4, 6], 1..=15),
    (&[5, 7], 0..=10),
    (&[2], 13..=13),
    (&[5], 15..=15),
    (&[3], 0..=9),
    (&[4, 6], 1..=6),
    (&[3], 10..=10),
    (&[2], 14..=14),
]);
/// Letters, digits, `_` and `-`.
const LABEL: u8 = 0b0001_1111;
const DIGIT: u8 = 0b0001_0000;
/// Hexadecimal digits and `:`.
const HEX: u8 = 0b0111_0000;
const DOT: u8 = 0b1000_0000;

/// The first byte of a sign, one bit for each way to go on: a colon before a slash, a backslash or
/// a closing bracket, or before another colon; an opening bracket or backslash before a dot or a
/// `d`; a percent sign before 2 or 3. The classes have some bytes more than that.
const FIRST: Halves = Halves::new(&[
    (&[3], 10..=10),
    (&[3], 10..=10),
    (&[3], 10..=10),
    (&[5, 7], 11..=12),
    (&[5, 7], 11..=12),
    (&[2], 8..=8),
    (&[2], 8..=8),
    (&[2], 5..=5),
]);
/// The second byte of a sign, in the order of [`FIRST`].
const SECOND: Halves = Halves::new(&[
    (&[2, 5, 7], 12..=15),
    (&[3], 10..=10),
    (&[2], 9..=9),
    (&[2], 14..=14),
    (&[4, 6], 4..=4),
    (&[2], 14..=14),
    (&[4, 6], 4..=4),
    (&[3], 2..=3),
]);

static KINDS: [u8; 256] = KIND.table();
static FIRSTS: [u8; 256] = FIRST.table();
static SECONDS: [u8; 256] = SECOND.table();

/// The classes from the tables, byte by byte.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Classes for Portable {
    fn classify(self, block: &[u8; 64], mut previous: u8) -> Masks {
        let mut masks = Masks::default();
        for (at, byte) in block.iter().enumerate() {
            let kind = KINDS[usize::from(*byte)];
            let bit = |set: bool| u64::from(set) << at;
            masks.label |= bit(kind & LABEL != 0 || *byte >= 0x80);
            masks.dot |= bit(kind & DOT != 0);
            masks.digit |= bit(kind & DIGIT != 0);
            masks.hex |= bit(kind & HEX != 0);
            masks.high |= bit(*byte >= 0x80);
            masks.sign |= bit(FIRSTS[usize::from(previous)] & SECONDS[usize::from(*byte)] != 0);
            previous = *byte;
        }
        masks
    }
}

// Dispatch ---------------------------------------------------------------------------------------

/// What this processor has: unknown yet, nothing of use, or the features of [`Vector`].
static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const PORTABLE: u8 = 1;
#[cfg(target_arch = "x86_64")]
const VECTOR: u8 = 2;

/// Makes this process classify byte by byte from now on, as a processor without AVX2 would, so
/// that tests can compare.
#[doc(hidden)]
pub fn use_portable() {
    LEVEL.store(PORTABLE, Ordering::Relaxed);
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn level() -> u8 {
    match LEVEL.load(Ordering::Relaxed) {
        UNKNOWN => detect(),
        level => level,
    }
}

#[cfg(target_arch = "x86_64")]
#[cold]
fn detect() -> u8 {
    let vector = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    let level = if vector { VECTOR } else { PORTABLE };
    LEVEL.store(level, Ordering::Relaxed);
    level
}

/// Runs a pass with the best instructions that this processor has.
#[inline]
#[allow(unsafe_code)]
pub(super) fn dispatch(pass: impl Pass) {
    #[cfg(target_arch = "x86_64")]
    if level() == VECTOR {
        // SAFETY: this processor has the features that `vector::run` names.
        return unsafe { vector::run(pass) };
    }
    pass.run(Portable);
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use super::{ByteSet, Classes, DIGIT, FIRST, FIRSTS, HEX, Halves, KIND, LABEL, Masks, Pass, SECOND};
    use std::arch::x86_64::{
        __m256i, _mm256_alignr_epi8, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8,
        _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_permute2x128_si256, _mm256_set_epi64x,
        _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    };

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn run(pass: impl Pass) {
        pass.run(Vector(()));
    }

    /// The classes 32 bytes at a time. Only [`run`] makes one, so the processor has AVX2.
    #[derive(Clone, Copy)]
    pub(super) struct Vector(());

    impl Classes for Vector {
        #[inline(always)]
        #[allow(unsafe_code)]
        fn classify(self, block: &[u8; 64], previous: u8) -> Masks {
            // SAFETY: this value exists, so the processor has AVX2.
            unsafe { classify(block, previous) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn classify(block: &[u8; 64], previous: u8) -> Masks {
        let some = |bytes, classes: u8| {
            _mm256_cmpgt_epi8(_mm256_and_si256(bytes, each(classes)), _mm256_setzero_si256())
        };
        let none = |bytes| _mm256_cmpeq_epi8(bytes, _mm256_setzero_si256());
        let mut masks = Masks::default();
        let mut before = each(FIRSTS[usize::from(previous)]);
        for shift in [0, 32] {
            let bytes = lane(block, shift);
            // Of bytes that are not ASCII the shuffles of lower halves make zero.
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), each(15));
            let kind = classes(&KIND, bytes, upper);
            let first = classes(&FIRST, bytes, upper);
            let second = classes(&SECOND, bytes, upper);
            let carried = _mm256_permute2x128_si256::<0x21>(before, first);
            let previous = _mm256_alignr_epi8::<15>(first, carried);
            before = first;
            let high = signs(bytes);
            masks.label |= (signs(some(kind, LABEL)) | high) << shift;
            // The mask takes the upper bit of each byte: shifted up, that of a class.
            masks.dot |= signs(kind) << shift;
            masks.digit |= signs(_mm256_slli_epi16::<{ DIGIT.leading_zeros() as i32 }>(kind)) << shift;
            masks.hex |= signs(some(kind, HEX)) << shift;
            masks.high |= high << shift;
            masks.sign |= (!signs(none(_mm256_and_si256(previous, second))) & 0xffff_ffff) << shift;
        }
        masks
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn members<const N: usize>(
        bytes: &[u8],
        sets: &[ByteSet; N],
        mut each: impl FnMut(usize, [u64; N]),
    ) {
        let mut tables = [_mm256_setzero_si256(); N];
        for (table_of, set) in tables.iter_mut().zip(sets) {
            *table_of = twice(&set.0);
        }
        let rows = twice(&super::ROWS);
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

    #[inline]
    #[target_feature(enable = "avx2")]
    fn classes(halves: &Halves, bytes: __m256i, upper: __m256i) -> __m256i {
        let lower = _mm256_shuffle_epi8(twice(&halves.lower), bytes);
        _mm256_and_si256(lower, _mm256_shuffle_epi8(twice(&halves.upper), upper))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn each(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte as i8)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn signs(bytes: __m256i) -> u64 {
        u64::from(_mm256_movemask_epi8(bytes) as u32)
    }

    /// A table for both halves of a vector.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn twice(table: &[u8; 16]) -> __m256i {
        let (low, high) = (eight(table, 0), eight(table, 8));
        _mm256_set_epi64x(high, low, high, low)
    }

    /// Thirty-two bytes of a block.
    #[inline]
    #[target_feature(enable = "avx2")]
    #[allow(unsafe_code)]
    fn lane(block: &[u8; 64], at: usize) -> __m256i {
        let lane: &[u8] = &block[at..at + 32];
        // SAFETY: the slice has the 32 bytes that are read; no alignment is needed.
        unsafe { _mm256_loadu_si256(lane.as_ptr().cast()) }
    }

    #[inline(always)]
    fn eight(bytes: &[u8; 16], at: usize) -> i64 {
        let mut copy = [0; 8];
        copy.copy_from_slice(&bytes[at..at + 8]);
        i64::from_le_bytes(copy)
    }
}

// Sets -------------------------------------------------------------------------------------------

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
    if level() == VECTOR {
        // SAFETY: this processor has AVX2.
        return unsafe { vector::members(bytes, sets, each) };
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
    use super::super::lexis::{is_label, is_word};
    use super::*;
    use proptest::prelude::*;

    /// The masks from the meaning of each class.
    fn plain(bytes: &[u8], from: usize) -> Masks {
        let mut masks = Masks::default();
        for at in 0..64 {
            let Some(byte) = bytes.get(from + at) else { break };
            let previous = (from + at).checked_sub(1).map(|before| bytes[before]);
            let bit = |set: bool| u64::from(set) << at;
            masks.label |= bit(is_label(*byte) || *byte >= 0x80);
            masks.dot |= bit(*byte == b'.');
            masks.digit |= bit(byte.is_ascii_digit());
            masks.hex |= bit(byte.is_ascii_hexdigit() || *byte == b':');
            masks.high |= bit(*byte >= 0x80);
            let sign = previous
                .is_some_and(|previous| FIRSTS[usize::from(previous)] & SECONDS[usize::from(*byte)] != 0);
            masks.sign |= bit(sign);
        }
        masks
    }

    struct Compare<'a>(&'a [u8]);

    impl Pass for Compare<'_> {
        fn run(self, classes: impl Classes) {
            for at in 0..=self.0.len() {
                let previous = at.checked_sub(1).map_or(0, |before| self.0[before]);
                assert_eq!(classes.masks(self.0, at, previous), plain(self.0, at), "{:?} at {at}", self.0);
            }
        }
    }

    #[test]
    fn every_pair_of_bytes() {
        for first in 0..=255u8 {
            let pairs: Vec<u8> = (0..=255).flat_map(|second| [first, second]).collect();
            dispatch(Compare(&pairs));
            Compare(&pairs).run(Portable);
        }
    }

    #[test]
    fn every_length() {
        let text: Vec<u8> = (0..200u32).map(|n| b"a1.:/%[_ \xc3"[(n * n % 10) as usize]).collect();
        for length in 0..text.len() {
            dispatch(Compare(&text[..length]));
            Compare(&text[..length]).run(Portable);
        }
    }

    /// Every sign that the tokeniser reads is marked.
    #[test]
    fn signs_are_marked() {
        for sign in [
            "://", "::", ":\\/\\/", ":]//", ":)", ":}", "%2e", "%2E", "%3A", "%3a", "[.]", "(.)", "{.}",
            "[dot]", "(DOT)", "{dot}", "\\.",
        ] {
            for at in 0..130 {
                let text = [" ".repeat(at), sign.into()].concat();
                let masks = plain(text.as_bytes(), (at + 1) / 64 * 64);
                assert_eq!(masks.sign >> ((at + 1) % 64) & 1, 1, "{sign} at {at}");
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
