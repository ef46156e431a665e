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

/// The letters, digits and `_` of a block.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
pub(super) fn words(block: &[u8; 64]) -> u64 {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        return unsafe { avx2::words(block) };
    }
    // SAFETY: SSE2 is part of the x86-64 instruction set.
    unsafe { sse2::words(block) }
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

        #[inline]
        #[target_feature(enable = $feature)]
        pub(super) fn words(block: &[u8; 64]) -> u64 {
            let each = |byte: u8| $set(byte as i8);
            let at_most = |bytes: $vector, limit: u8| $equal($least(bytes, each(limit)), bytes);
            let mut words = 0;
            for lane in 0..64 / $width {
                let shift = lane * $width;
                let bytes = $lane(block, shift);
                let letters = at_most($minus($or(bytes, each(0x20)), each(b'a')), 25);
                let digits = at_most($minus(bytes, each(b'0')), 9);
                let word = $or($or(letters, digits), $equal(bytes, each(b'_')));
                words |= u64::from($signs(word) as $bits) << shift;
            }
            words
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
    use std::arch::x86_64::_mm256_set_epi64x;

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
        masks.hyphen |= bit(*byte == b'-');
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
            assert_eq!(masks(&all, at), plain(&block), "at {at}");
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            // SAFETY: SSE2 is part of the x86-64 instruction set.
            unsafe {
                assert_eq!(sse2::classify(&block), plain(&block), "at {at}");
                assert_eq!(sse2::words(&block), plain_words(&block), "at {at}");
            }
            assert_eq!(words(&block), plain_words(&block), "at {at}");
        }
    }
}
