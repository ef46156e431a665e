//! Classes of 64 bytes at a time, as bit masks.
//!
//! On x86-64 the masks come from SSE2, which every such processor has, so nothing is dispatched;
//! elsewhere from a table. This is the one module with `unsafe`: two calls into functions that
//! name the target feature they need.

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

/// The classes of a block.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
pub(super) fn classify(block: &[u8; 64]) -> Masks {
    // SAFETY: SSE2 is part of the x86-64 instruction set.
    unsafe { classify_sse2(block) }
}

/// The letters, digits and `_` of a block.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
pub(super) fn words(block: &[u8; 64]) -> u64 {
    // SAFETY: SSE2 is part of the x86-64 instruction set.
    unsafe { words_sse2(block) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn classify_sse2(block: &[u8; 64]) -> Masks {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_sub_epi8,
    };
    let each = |byte: u8| _mm_set1_epi8(byte as i8);
    let equal = |vector: __m128i, byte: u8| _mm_cmpeq_epi8(vector, each(byte));
    let or = |a: __m128i, b: __m128i| _mm_or_si128(a, b);
    let at_most = |vector: __m128i, limit: u8| _mm_cmpeq_epi8(_mm_min_epu8(vector, each(limit)), vector);
    let mask = |vector: __m128i| u64::from(_mm_movemask_epi8(vector) as u16);
    let mut masks = Masks::default();
    for lane in 0..4 {
        let bytes = lane_of(block, lane);
        let shift = lane * 16;
        let folded = or(bytes, each(0x20));
        let letter = _mm_sub_epi8(folded, each(b'a'));
        let digit = at_most(_mm_sub_epi8(bytes, each(b'0')), 9);
        let letters = at_most(letter, 25);
        let joint = or(equal(bytes, b'_'), equal(bytes, b'-'));
        let backslash = equal(bytes, b'\\');
        let close = or(equal(folded, b'}'), equal(bytes, b')'));
        // The mask takes the sign bit, which is the byte's own where it is not ASCII.
        masks.label |= mask(or(or(letters, digit), or(joint, bytes))) << shift;
        masks.dot |= mask(equal(bytes, b'.')) << shift;
        masks.open |= mask(or(or(equal(folded, b'{'), equal(bytes, b'(')), backslash)) << shift;
        masks.close |= mask(close) << shift;
        masks.colon |= mask(equal(bytes, b':')) << shift;
        masks.slash |= mask(or(or(equal(bytes, b'/'), backslash), close)) << shift;
        masks.percent |= mask(equal(bytes, b'%')) << shift;
        masks.hex |= mask(or(digit, at_most(letter, 5))) << shift;
        masks.d |= mask(equal(folded, b'd')) << shift;
        masks.high |= mask(bytes) << shift;
    }
    masks
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn words_sse2(block: &[u8; 64]) -> u64 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_sub_epi8,
    };
    let each = |byte: u8| _mm_set1_epi8(byte as i8);
    let at_most = |vector: __m128i, limit: u8| _mm_cmpeq_epi8(_mm_min_epu8(vector, each(limit)), vector);
    let mut words = 0;
    for lane in 0..4 {
        let bytes = lane_of(block, lane);
        let letters = at_most(_mm_sub_epi8(_mm_or_si128(bytes, each(0x20)), each(b'a')), 25);
        let digits = at_most(_mm_sub_epi8(bytes, each(b'0')), 9);
        let word = _mm_or_si128(_mm_or_si128(letters, digits), _mm_cmpeq_epi8(bytes, each(b'_')));
        words |= u64::from(_mm_movemask_epi8(word) as u16) << (lane * 16);
    }
    words
}

/// Sixteen bytes; the two loads compile to one.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn lane_of(block: &[u8; 64], lane: usize) -> std::arch::x86_64::__m128i {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&block[lane * 16..lane * 16 + 16]);
    let whole = u128::from_le_bytes(bytes);
    std::arch::x86_64::_mm_set_epi64x((whole >> 64) as i64, whole as i64)
}

/// The classes of a block.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn classify(block: &[u8; 64]) -> Masks {
    plain(block)
}

/// The words of a block.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn words(block: &[u8; 64]) -> u64 {
    plain_words(block)
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
        masks.high |= bit(*byte >= 0x80);
    }
    masks
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain_words(block: &[u8; 64]) -> u64 {
    block.iter().enumerate().map(|(at, byte)| u64::from(super::lexis::is_word(*byte)) << at).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_equal_the_table() {
        let all: Vec<u8> = (0..=255).collect();
        for at in 0..256 {
            let block = block(&all, at);
            assert_eq!(classify(&block), plain(&block), "at {at}");
            assert_eq!(words(&block), plain_words(&block), "at {at}");
        }
    }
}
