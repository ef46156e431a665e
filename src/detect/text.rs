//! Free text: every pattern that stands in a message, overlapping ones too.
//!
//! A filter over the first bytes decides where a pattern may begin; there the sorted patterns are
//! narrowed byte by byte, which reports each of them that is a prefix of what follows. Patterns
//! that begin with a word character and need a border are tried at the beginnings of words only,
//! the others at every byte. An automaton walked over every byte would cost more than all the rest
//! of detection, and building it would delay each reload.

use super::blocks::{block, words};
use super::lexis::{border_after, border_before, char_at, char_before, escape, is_word, joins};
use hashbrown::HashMap;
use std::fmt;

/// A pattern to search for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern<'a> {
    /// Folded if `nocase`.
    pub text: &'a [u8],
    pub nocase: bool,
    /// Some entry wants it anywhere; otherwise a border is required where its edge is a word character.
    pub anywhere: bool,
    /// What to report.
    pub value: u32,
}

/// A pattern found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub value: u32,
    pub start: usize,
    pub end: usize,
    /// It stands between borders where it needs them.
    pub bordered: bool,
}

/// The patterns of all sets.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    words: Group,
    anywhere: Group,
}

impl TextIndex {
    /// Builds the index.
    pub fn new<'a>(patterns: impl Iterator<Item = Pattern<'a>>) -> TextIndex {
        let mut index = TextIndex::default();
        for pattern in patterns {
            for text in variants(pattern.text) {
                let group = match text.first().is_some_and(|byte| is_word(*byte)) && !pattern.anywhere {
                    true => &mut index.words,
                    false => &mut index.anywhere,
                };
                group.push(Pattern { text: &text, ..pattern });
            }
        }
        index.words.finish();
        index.anywhere.finish();
        index
    }

    /// Calls `each` with every pattern found.
    pub fn scan(&self, message: &[u8], each: &mut impl FnMut(Found)) {
        if self.words.width > 0 {
            self.scan_words(message, each);
        }
        if self.anywhere.width > 0 {
            let first = &self.anywhere.first;
            for (at, byte) in message.iter().enumerate() {
                if first[usize::from(*byte)] {
                    self.anywhere.probe(message, at, each);
                }
            }
        }
    }

    fn scan_words(&self, message: &[u8], each: &mut impl FnMut(Found)) {
        let mut before = 0;
        for base in (0..message.len()).step_by(64) {
            let here = words(&block(message, base));
            let mut starts = here & !(here << 1 | before >> 63);
            before = here;
            while starts != 0 {
                let at = base + starts.trailing_zeros() as usize;
                starts &= starts - 1;
                self.words.probe(message, at, each);
                if at > 0
                    && matches!(message[at - 1], b'\\' | b'%' | b'#')
                    && let Some(found) = escape(message, at)
                {
                    self.words.probe(message, at + found.skip, each);
                }
            }
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        self.words.memory() + self.anywhere.memory()
    }
}

/// The pattern as written, and as JSON escapes it.
fn variants(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![text.to_vec()];
    let escaped = |what: &[u8]| {
        let mut out = Vec::with_capacity(text.len() + 8);
        for byte in text {
            if what.contains(byte) {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out
    };
    if text.contains(&b'\\') {
        all.push(escaped(b"\\"));
    }
    if text.contains(&b'"') {
        all.push(escaped(b"\\\""));
    }
    all
}

/// Bits of the filter.
const FILTER_BITS: u32 = 16;

/// Patterns that are tried at the same places.
#[derive(Debug, Default)]
struct Group {
    /// First bytes that the filter looks at: as many as the shortest pattern has, eight at most.
    width: usize,
    mask: u64,
    /// Bytes that a pattern begins with.
    first: ByteSet,
    filter: Vec<u64>,
    /// From the first bytes, folded, to the patterns that begin so.
    buckets: HashMap<u64, (u32, u32)>,
    /// Sorted by folded text.
    patterns: Vec<Stored>,
    folded: Vec<u8>,
    /// The text of patterns whose case counts.
    exact: Vec<u8>,
}

/// A truth value for each byte.
struct ByteSet([bool; 256]);

impl Default for ByteSet {
    fn default() -> Self {
        ByteSet([false; 256])
    }
}

impl std::ops::Deref for ByteSet {
    type Target = [bool; 256];

    fn deref(&self) -> &[bool; 256] {
        &self.0
    }
}

impl fmt::Debug for ByteSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries((0..=255u8).filter(|byte| self.0[usize::from(*byte)])).finish()
    }
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    folded: u32,
    length: u32,
    /// Offset in `exact`, if case counts.
    exact: Option<u32>,
    value: u32,
    /// Its edges need a border.
    left: bool,
    right: bool,
    anywhere: bool,
}

impl Group {
    fn push(&mut self, pattern: Pattern<'_>) {
        let text = pattern.text;
        let exact = (!pattern.nocase).then_some(self.exact.len() as u32);
        if exact.is_some() {
            self.exact.extend_from_slice(text);
        }
        let edge = |byte: Option<&u8>, character: Option<char>| match byte {
            Some(byte) if *byte < 0x80 => is_word(*byte),
            _ => character.is_some_and(joins),
        };
        self.patterns.push(Stored {
            folded: self.folded.len() as u32,
            length: text.len() as u32,
            exact,
            value: pattern.value,
            left: edge(text.first(), char_at(text, 0)),
            right: edge(text.last(), char_before(text, text.len())),
            anywhere: pattern.anywhere,
        });
        self.folded.extend(text.iter().map(u8::to_ascii_lowercase));
    }

    fn finish(&mut self) {
        let Group { folded, patterns, .. } = self;
        let text =
            |pattern: &Stored| &folded[pattern.folded as usize..(pattern.folded + pattern.length) as usize];
        patterns.sort_unstable_by(|one, other| text(one).cmp(text(other)));
        let Some(shortest) = patterns.iter().map(|pattern| pattern.length as usize).min() else { return };
        let width = shortest.min(8);
        if width == 0 {
            return;
        }
        let mask = u64::MAX >> (64 - 8 * width);
        let mut filter = vec![0; 1 << (FILTER_BITS - 6)];
        for (index, pattern) in patterns.iter().enumerate() {
            if let Some(first) = text(pattern).first() {
                self.first.0[usize::from(first.to_ascii_lowercase())] = true;
                self.first.0[usize::from(first.to_ascii_uppercase())] = true;
            }
            let head = load(text(pattern), 0) & mask;
            let bit = filter_bit(head | LOWER & mask);
            filter[bit / 64] |= 1 << (bit % 64);
            let bucket = self.buckets.entry(head).or_insert((index as u32, index as u32));
            bucket.1 = index as u32 + 1;
        }
        (self.width, self.mask, self.filter) = (width, mask, filter);
    }

    #[inline]
    fn probe(&self, message: &[u8], at: usize, each: &mut impl FnMut(Found)) {
        let head = load(message, at) & self.mask;
        let bit = filter_bit(head | LOWER & self.mask);
        if self.filter[bit / 64] >> (bit % 64) & 1 == 1 {
            self.candidates(message, at, head, each);
        }
    }

    #[cold]
    fn candidates(&self, message: &[u8], at: usize, head: u64, each: &mut impl FnMut(Found)) {
        let tail = message.get(at..).unwrap_or_default();
        if tail.len() < self.width {
            return;
        }
        let key = u64::from_le_bytes(head.to_le_bytes().map(|byte| byte.to_ascii_lowercase()));
        let Some(&(mut low, mut high)) = self.buckets.get(&key) else { return };
        let mut depth = self.width;
        while low < high {
            while low < high && self.length(low) == depth {
                self.report(message, at, low, each);
                low += 1;
            }
            let Some(next) = tail.get(depth).map(u8::to_ascii_lowercase) else { return };
            let range = &self.patterns[low as usize..high as usize];
            let byte = |pattern: &Stored| self.folded[pattern.folded as usize + depth];
            let from = range.partition_point(|pattern| byte(pattern) < next);
            let to = from + range[from..].partition_point(|pattern| byte(pattern) == next);
            (low, high) = (low + from as u32, low + to as u32);
            depth += 1;
        }
    }

    fn length(&self, index: u32) -> usize {
        self.patterns[index as usize].length as usize
    }

    fn report(&self, message: &[u8], start: usize, index: u32, each: &mut impl FnMut(Found)) {
        let pattern = &self.patterns[index as usize];
        let end = start + pattern.length as usize;
        if let Some(exact) = pattern.exact {
            let exact = exact as usize;
            if message[start..end] != self.exact[exact..exact + pattern.length as usize] {
                return;
            }
        }
        let bordered = (!pattern.left || border_before(message, start))
            && (!pattern.right || border_after(message, end));
        if bordered || pattern.anywhere {
            each(Found { value: pattern.value, start, end, bordered });
        }
    }

    fn memory(&self) -> usize {
        self.filter.len() * 8
            + self.buckets.capacity() * 17
            + self.patterns.capacity() * size_of::<Stored>()
            + self.folded.capacity()
            + self.exact.capacity()
    }
}

/// Folds letters, and some other bytes with them: enough for a filter.
const LOWER: u64 = 0x2020_2020_2020_2020;

#[inline]
fn filter_bit(head: u64) -> usize {
    (head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

/// Eight bytes from `at`; zeros behind the end.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let tail = bytes.get(at..).unwrap_or_default();
    match tail.first_chunk::<8>() {
        Some(whole) => u64::from_le_bytes(*whole),
        None => {
            let mut padded = [0; 8];
            padded[..tail.len()].copy_from_slice(tail);
            u64::from_le_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aho_corasick::{AhoCorasick, MatchKind};
    use proptest::prelude::*;

    /// The automaton over every byte, then the boundary check.
    fn plain(patterns: &[(Vec<u8>, bool, bool)], message: &[u8]) -> Vec<Found> {
        let mut all = Vec::new();
        for (value, (text, nocase, anywhere)) in patterns.iter().enumerate() {
            let automaton = AhoCorasick::builder()
                .ascii_case_insensitive(*nocase)
                .match_kind(MatchKind::Standard)
                .build(variants(text))
                .unwrap();
            for found in automaton.find_overlapping_iter(message) {
                let (start, end) = (found.start(), found.end());
                let first = char_at(text, 0).map_or(is_word(text[0]), joins);
                let last = char_before(text, text.len()).map_or(is_word(text[text.len() - 1]), joins);
                let bordered =
                    (!first || border_before(message, start)) && (!last || border_after(message, end));
                if bordered || *anywhere {
                    all.push(Found { value: value as u32, start, end, bordered });
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }

    fn fast(patterns: &[(Vec<u8>, bool, bool)], message: &[u8]) -> Vec<Found> {
        let index = TextIndex::new(patterns.iter().enumerate().map(|(value, (text, nocase, anywhere))| {
            Pattern { text, nocase: *nocase, anywhere: *anywhere, value: value as u32 }
        }));
        let mut all = Vec::new();
        index.scan(message, &mut |found| all.push(found));
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn meaning() {
        for (name, pattern, nocase, anywhere, message, hit) in [
            ("word", "evil.exe", true, false, "run Evil.EXE now", true),
            ("left border", "evil.exe", true, false, "devil.exe", false),
            ("right border", "evil.exe", true, false, "evil.exec", false),
            ("underscore", "evil.exe", true, false, "_evil.exe", false),
            ("hyphen", "evil.exe", true, false, "-evil.exe-", true),
            ("case", "Evil", false, false, "evil", false),
            ("exact case", "Evil", false, false, "Evil", true),
            ("own edge", "/evil/", true, false, "x/evil/y", true),
            ("substring", "evil", true, true, "xevily", true),
            ("json path", r"c:\x\evil.exe", true, false, r#""C:\\x\\Evil.exe""#, true),
            ("plain path", r"c:\x\evil.exe", true, false, r"C:\x\evil.exe", true),
            ("json quotes", r#"cmd "a\b""#, true, false, r#""cmd \"a\\b\"""#, true),
            ("json newline", "evil -enc", true, false, r"a\nevil -enc", true),
            ("percent", "evil", true, false, "a%20evil%20b", true),
            ("joining letter", "evil", true, false, "éevil", false),
            ("Chinese", "evil", true, false, "访evil时", true),
            ("non-ASCII edge", "vjedhës", true, false, "vjedhësi", false),
            ("at the end", "evil", true, false, "evil", true),
            ("cut", "evil", true, false, "evi", false),
        ] {
            let found = fast(&[(pattern.as_bytes().to_vec(), nocase, anywhere)], message.as_bytes());
            assert_eq!(!found.is_empty(), hit, "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn equals_the_automaton(
            patterns in prop::collection::vec(
                (prop::collection::vec(prop::sample::select(b"abAB_ .\\\"\xc3\xa9".to_vec()), 1..12), any::<bool>(), prop::bool::weighted(0.2)),
                1..12,
            ),
            message in prop::collection::vec(prop::sample::select(b"abnABu003%2_ .\\\"\xc3\xa9#1".to_vec()), 0..200),
        ) {
            let patterns: Vec<_> = patterns.into_iter().map(|(mut text, nocase, anywhere)| {
                if nocase { text.make_ascii_lowercase(); }
                (text, nocase, anywhere)
            }).collect();
            prop_assert_eq!(fast(&patterns, &message), plain(&patterns, &message));
        }

        #[test]
        fn finds_what_is_planted(at in 0usize..130, text in "[a-z_][a-z ._\\\\-]{5,30}[a-z]", upper in any::<bool>()) {
            let mut message = vec![b' '; at];
            message.extend(if upper { text.to_ascii_uppercase() } else { text.clone() }.bytes());
            let bare = fast(&[(text.clone().into_bytes(), true, false)], &message);
            prop_assert!(!bare.is_empty());
            message.extend(vec![b' '; 70]);
            prop_assert_eq!(fast(&[(text.into_bytes(), true, false)], &message), bare);
        }
    }
}
