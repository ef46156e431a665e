//! Free text: every pattern that stands in a message, overlapping ones too.
//!
//! Patterns are looked for where a word begins, at the last word of theirs that is long enough:
//! vectors find the beginnings of words whose first two bytes some pattern has, a map of their heads
//! ([`Heads`]) decides whether one may stand there, and only then the sorted patterns ([`Group`]) are
//! narrowed byte by byte. Patterns in which no word begins (`match: substring` of a part of a word,
//! little but punctuation) are looked for at every byte, behind the same filters.
//!
//! Sorted patterns verify, not an automaton, though that would serve as well behind the filter:
//! it would delay each reload. For a thousand names and commands of published intelligence,
//! aho-corasick built its contiguous anchored automaton in 14 ms, 378 KiB large, where sorting takes
//! 0.4 ms and 115 KiB; for a hundred thousand 898 ms against 153. Half a place in a line is verified,
//! so that it could not gain there what it costs. It is the oracle of the property tests.

use super::blocks::{ByteSet, members};
use super::lexis::{border_after, border_before, char_at, char_before, escape, is_word, joins};
use encoding_rs::{WINDOWS_1250, WINDOWS_1252};
use hashbrown::HashMap;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

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
    /// Tried where a word begins.
    words: Group,
    /// The same, of patterns that fill no whole head.
    short: Group,
    /// What both begin with.
    heads: Heads,
    /// Tried at every byte.
    anywhere: Group,
}

impl TextIndex {
    /// Builds the index.
    pub fn new<'a>(patterns: impl Iterator<Item = Pattern<'a>>) -> TextIndex {
        let mut index = TextIndex::default();
        for pattern in patterns {
            for form in forms(pattern.text, pattern.nocase) {
                let text = &form.text;
                let (group, anchor) = match anchor(text, pattern.anywhere) {
                    Some(at) if text.len() - at >= HEAD => (&mut index.words, at),
                    Some(at) => (&mut index.short, at),
                    None => (&mut index.anywhere, 0),
                };
                group.push(&pattern, &form, anchor);
            }
        }
        for group in [&mut index.words, &mut index.short, &mut index.anywhere] {
            group.finish();
        }
        index.heads = Heads::new(index.words.tails().chain(index.short.tails()));
        index
    }

    /// Calls `each` with every pattern found.
    pub fn scan(&self, message: &[u8], each: &mut impl FnMut(Found)) {
        // Each in a pass of its own: most rule sets have none that are tried everywhere.
        if self.heads.width > 0 {
            self.scan_words(message, each);
        }
        if self.anywhere.heads.width > 0 {
            self.scan_bytes(message, each);
        }
    }

    /// Tries patterns where a word begins.
    fn scan_words(&self, message: &[u8], each: &mut impl FnMut(Found)) {
        let heads = &self.heads;
        let sets = [*WORDS, *INTRODUCERS, heads.first, heads.second];
        let (mut word_before, mut introducer_before) = (0, 0);
        members(message, &sets, |base, [word, introducer, first, second]| {
            let starts = word & !(word << 1 | word_before);
            // The second byte of the last one stands in the next block.
            let mut likely = starts & first & (second >> 1 | 1 << 63 | heads.lone);
            while likely != 0 {
                let at = base + likely.trailing_zeros() as usize;
                likely &= likely - 1;
                if heads.may_begin(message, at) {
                    self.probe(message, at, each);
                }
            }
            let escapes = starts & (introducer << 1 | introducer_before);
            if escapes != 0 {
                self.probe_behind(message, base, escapes, each);
            }
            (word_before, introducer_before) = (word >> 63, introducer >> 63);
        });
    }

    /// Tries patterns at every byte.
    fn scan_bytes(&self, message: &[u8], each: &mut impl FnMut(Found)) {
        let heads = &self.anywhere.heads;
        members(message, &[heads.first, heads.second], |base, [first, second]| {
            let mut likely = first & (second >> 1 | 1 << 63 | heads.lone);
            while likely != 0 {
                let at = base + likely.trailing_zeros() as usize;
                likely &= likely - 1;
                if heads.may_begin(message, at) {
                    self.anywhere.candidates(message, at, each);
                }
            }
        });
    }

    /// Tries the patterns that are tried where a word begins.
    #[cold]
    fn probe(&self, message: &[u8], at: usize, each: &mut impl FnMut(Found)) {
        for group in [&self.words, &self.short] {
            if group.heads.may_begin(message, at) {
                group.candidates(message, at, each);
            }
        }
    }

    /// Tries patterns behind the escapes that words begin with.
    #[cold]
    fn probe_behind(&self, message: &[u8], base: usize, mut escapes: u64, each: &mut impl FnMut(Found)) {
        while escapes != 0 {
            let at = base + escapes.trailing_zeros() as usize;
            escapes &= escapes - 1;
            if let Some(found) = escape(message, at) {
                self.probe(message, at + found.skip, each);
            }
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        size_of::<Map>() + self.words.memory() + self.short.memory() + self.anywhere.memory()
    }
}

/// Bytes by which a pattern may stand in a message.
struct Form {
    text: Vec<u8>,
    /// In a code page of one byte for each letter: then so is what stands around it.
    single_byte: bool,
}

/// The pattern as written, in what other bytes senders write its letters, and as JSON escapes it.
fn forms(text: &[u8], nocase: bool) -> Vec<Form> {
    let mut all = vec![Form { text: text.to_vec(), single_byte: false }];
    if let Ok(text) = std::str::from_utf8(text)
        && !text.is_ascii()
    {
        for text in cases(text, nocase) {
            national(&text, &mut all);
        }
    }
    for at in 0..all.len() {
        let Form { ref text, single_byte } = all[at];
        let escaped: Vec<Vec<u8>> = [b"\\".as_slice(), b"\\\""]
            .into_iter()
            .filter(|what| text.contains(what.last().unwrap_or(&0)))
            .map(|what| with_backslash(text, what))
            .collect();
        all.extend(escaped.into_iter().map(|text| Form { text, single_byte }));
    }
    all.sort_by(|one, other| one.text.cmp(&other.text));
    all.dedup_by(|one, other| one.text == other.text);
    all
}

fn with_backslash(text: &[u8], what: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text {
        if what.contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// Where case does not count, each of the first letters that are not ASCII in both cases; ASCII is
/// folded while searching. Of more letters, all or none are capitals.
fn cases(text: &str, nocase: bool) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    if !nocase {
        return all;
    }
    let turn = |text: &str, which: &dyn Fn(usize) -> bool| {
        let mut letters = 0;
        let mut turned = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_ascii() {
                turned.push(character);
            } else if which(letters) {
                turned.extend(character.to_uppercase());
                letters += 1;
            } else {
                turned.extend(character.to_lowercase());
                letters += 1;
            }
        }
        turned
    };
    let letters = text.chars().filter(|character| !character.is_ascii()).count();
    for combination in 0..1usize << letters.min(CASED_MAX) {
        all.push(turn(text, &|letter| letter < CASED_MAX && combination >> letter & 1 == 1));
    }
    all.push(turn(text, &|_| true));
    all
}

/// Eight combinations: a word of Albanian has seldom more than three letters that are not ASCII.
const CASED_MAX: usize = 3;

/// Composed and decomposed letters (NFC, NFD), the code pages of Windows, which hold Latin-1's
/// letters, and the escapes of JSON.
fn national(text: &str, all: &mut Vec<Form>) {
    let composed: String = text.nfc().collect();
    let mut push = |text: Vec<u8>, single_byte| all.push(Form { text, single_byte });
    push(text.as_bytes().to_vec(), false);
    push(text.nfd().collect::<String>().into_bytes(), false);
    for page in [WINDOWS_1252, WINDOWS_1250] {
        let (bytes, _, unmappable) = page.encode(&composed);
        if !unmappable {
            push(bytes.into_owned(), true);
        }
    }
    let escaped = |upper: bool| {
        let mut out = String::with_capacity(composed.len() + 16);
        for character in composed.chars() {
            let mut units = [0; 2];
            match character.is_ascii() {
                true => out.push(character),
                false => out.extend(character.encode_utf16(&mut units).iter().map(|unit| match upper {
                    true => format!("\\u{unit:04X}"),
                    false => format!("\\u{unit:04x}"),
                })),
            }
        }
        out.into_bytes()
    };
    push(escaped(false), false);
    push(escaped(true), false);
    push(composed.into_bytes(), false);
}

/// Where in the pattern a word begins, in every message that holds it: the last place that leaves a
/// whole head, since paths and commands differ in their ends; else its beginning, or the first place
/// that leaves a head worth the name.
fn anchor(text: &[u8], anywhere: bool) -> Option<usize> {
    let begins = |at: &usize| match at.checked_sub(1) {
        Some(before) => is_word(text[*at]) && !is_word(text[before]),
        None => is_word(text[*at]) && !anywhere,
    };
    let (whole, enough) = (text.len().saturating_sub(HEAD - 1), text.len().saturating_sub(ENOUGH - 1));
    (0..whole.max(1)).rev().find(begins).or_else(|| (whole..enough).find(begins))
}

/// Bytes of a pattern that should stand behind its anchor.
const ENOUGH: usize = 6;

/// Bytes that the filter looks at, at most.
const HEAD: usize = 8;

/// The heads of some patterns: decides cheaply where none of them begins.
#[derive(Debug, Default)]
struct Heads {
    /// Bytes of a head: as many as the shortest pattern has behind its anchor, up to [`HEAD`]; 0 if
    /// there is no pattern.
    width: usize,
    mask: u64,
    /// Their first and their second bytes.
    first: ByteSet,
    second: ByteSet,
    /// Every bit, if some pattern has no second byte.
    lone: u64,
    map: Box<Map>,
}

impl Heads {
    /// The heads of patterns of which this is what stands from the anchor on, folded.
    fn new<'a>(tails: impl Iterator<Item = &'a [u8]> + Clone) -> Heads {
        let width = tails.clone().map(|tail| tail.len().min(HEAD)).min().unwrap_or(0);
        let mask = u64::MAX.checked_shr(64 - 8 * width as u32).unwrap_or(0);
        let lone = if width == 1 { u64::MAX } else { 0 };
        let mut heads = Heads { width, mask, lone, ..Heads::default() };
        for tail in tails {
            for (set, byte) in [&mut heads.first, &mut heads.second].into_iter().zip(tail) {
                set.insert(byte.to_ascii_lowercase());
                set.insert(byte.to_ascii_uppercase());
            }
            heads.map.insert(load(tail) & mask);
        }
        heads
    }

    /// Whether a pattern may stand with its anchor at a place.
    #[inline]
    fn may_begin(&self, message: &[u8], at: usize) -> bool {
        let head = match message.get(at..at.wrapping_add(HEAD)).and_then(<[u8]>::first_chunk) {
            Some(whole) => u64::from_le_bytes(*whole),
            None => load(message.get(at..).unwrap_or_default()),
        };
        self.map.may_contain(head & self.mask)
    }
}

/// A map of 64 Kbit that says which heads are none.
#[derive(Debug)]
struct Map([u64; 1 << (MAP_BITS - 6)]);

/// Bits of the map, as a power of two; it shares the first cache with the tokeniser's tables.
const MAP_BITS: u32 = 16;

impl Default for Map {
    fn default() -> Map {
        Map([0; 1 << (MAP_BITS - 6)])
    }
}

impl Map {
    fn insert(&mut self, head: u64) {
        let bit = Map::bit(head);
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    #[inline]
    fn may_contain(&self, head: u64) -> bool {
        let bit = Map::bit(head);
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// Heads that differ in case share a bit; what else this folding makes one does not matter here.
    #[inline]
    fn bit(head: u64) -> usize {
        let folded = head | 0x2020_2020_2020_2020;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - MAP_BITS)) as usize
    }
}

/// Patterns that are tried at the same places.
#[derive(Debug, Default)]
struct Group {
    heads: Heads,
    /// From the head, folded, to the patterns that have it at their anchor.
    buckets: HashMap<u64, (u32, u32)>,
    /// Sorted by folded text from the anchor on.
    patterns: Vec<Stored>,
    folded: Vec<u8>,
    /// The text of patterns whose case counts.
    exact: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    folded: u32,
    length: u32,
    /// Where in the text it is tried.
    anchor: u32,
    /// Offset in `exact`, if case counts.
    exact: Option<u32>,
    value: u32,
    /// Its edges need a border.
    left: bool,
    right: bool,
    anywhere: bool,
    single_byte: bool,
}

impl Group {
    fn push(&mut self, pattern: &Pattern<'_>, form: &Form, anchor: usize) {
        let (written, text) = (pattern.text, &form.text);
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
            anchor: anchor as u32,
            exact,
            value: pattern.value,
            left: edge(written.first(), char_at(written, 0)),
            right: edge(written.last(), char_before(written, written.len())),
            single_byte: form.single_byte,
            anywhere: pattern.anywhere,
        });
        self.folded.extend(text.iter().map(u8::to_ascii_lowercase));
    }

    fn finish(&mut self) {
        let Group { folded, patterns, .. } = self;
        patterns.sort_unstable_by(|one, other| one.tail(folded).cmp(other.tail(folded)));
        self.heads = Heads::new(self.tails());
        for (index, pattern) in (0..).zip(&self.patterns) {
            let head = load(pattern.tail(&self.folded)) & self.heads.mask;
            self.buckets.entry(head).or_insert((index, index)).1 = index + 1;
        }
    }

    /// What stands from the anchor on, for each pattern.
    fn tails(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.patterns.iter().map(|pattern| pattern.tail(&self.folded))
    }

    /// Narrows the patterns with their anchor at a place byte by byte, reporting what stands there.
    #[cold]
    fn candidates(&self, message: &[u8], at: usize, each: &mut impl FnMut(Found)) {
        let tail = message.get(at..).unwrap_or_default();
        if tail.len() < self.heads.width {
            return;
        }
        let head = load(tail).to_le_bytes().map(|byte| byte.to_ascii_lowercase());
        let key = u64::from_le_bytes(head) & self.heads.mask;
        let Some(&(mut low, mut high)) = self.buckets.get(&key) else { return };
        let mut depth = self.heads.width;
        while low < high {
            while low < high && self.patterns[low as usize].tail(&self.folded).len() == depth {
                self.report(message, at, low, each);
                low += 1;
            }
            let Some(next) = tail.get(depth).map(u8::to_ascii_lowercase) else { return };
            let range = &self.patterns[low as usize..high as usize];
            let byte = |pattern: &Stored| pattern.tail(&self.folded)[depth];
            // Sorted: what is alike at both ends is alike between them.
            let ends = (range.first().map(byte), range.last().map(byte));
            if ends == (Some(next), Some(next)) {
                depth += 1;
                continue;
            }
            let from = range.partition_point(|pattern| byte(pattern) < next);
            let to = from + range[from..].partition_point(|pattern| byte(pattern) == next);
            (low, high) = (low + from as u32, low + to as u32);
            depth += 1;
        }
    }

    /// Reports a pattern whose text from the anchor on stands at a place, if the rest does too.
    fn report(&self, message: &[u8], at: usize, index: u32, each: &mut impl FnMut(Found)) {
        let pattern = &self.patterns[index as usize];
        let (anchor, length) = (pattern.anchor as usize, pattern.length as usize);
        let Some(start) = at.checked_sub(anchor) else { return };
        let end = start + length;
        let text = &message[start..end];
        let folded = &self.folded[pattern.folded as usize..];
        if !text[..anchor].eq_ignore_ascii_case(&folded[..anchor]) {
            return;
        }
        if let Some(exact) = pattern.exact
            && *text != self.exact[exact as usize..exact as usize + length]
        {
            return;
        }
        let joined = |at: Option<usize>| {
            pattern.single_byte
                && at.and_then(|at| message.get(at)).is_some_and(|byte| is_single_letter(*byte))
        };
        let bordered = (!pattern.left || (border_before(message, start) && !joined(start.checked_sub(1))))
            && (!pattern.right || (border_after(message, end) && !joined(Some(end))));
        if bordered || pattern.anywhere {
            each(Found { value: pattern.value, start, end, bordered });
        }
    }

    fn memory(&self) -> usize {
        size_of::<Map>()
            + self.buckets.capacity() * 17
            + self.patterns.capacity() * size_of::<Stored>()
            + self.folded.capacity()
            + self.exact.capacity()
    }
}

impl Stored {
    /// What stands from the anchor on.
    fn tail<'a>(&self, folded: &'a [u8]) -> &'a [u8] {
        let start = self.folded as usize;
        &folded[start + self.anchor as usize..start + self.length as usize]
    }
}

/// A letter in the code pages of Windows; the two signs among them are × and ÷.
fn is_single_letter(byte: u8) -> bool {
    matches!(byte, 0x8a | 0x8c | 0x8e | 0x9a | 0x9c | 0x9e | 0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0xff)
}

/// Letters, digits and `_`.
static WORDS: LazyLock<ByteSet> = LazyLock::new(|| ByteSet::of(is_word));

/// What an escape begins with.
static INTRODUCERS: LazyLock<ByteSet> =
    LazyLock::new(|| ByteSet::of(|byte| matches!(byte, b'\\' | b'%' | b'#')));

/// The first eight bytes; zeros behind the end.
#[inline(never)]
fn load(bytes: &[u8]) -> u64 {
    bytes.iter().take(HEAD).rev().fold(0, |head, byte| head << 8 | u64::from(*byte))
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
            let forms = forms(text, *nocase);
            let automaton = AhoCorasick::builder()
                .ascii_case_insensitive(*nocase)
                .match_kind(MatchKind::Standard)
                .build(forms.iter().map(|form| &form.text))
                .unwrap();
            for found in automaton.find_overlapping_iter(message) {
                let (start, end) = (found.start(), found.end());
                let single_byte = forms[found.pattern().as_usize()].single_byte;
                let letter = |at: Option<usize>| {
                    single_byte
                        && at.and_then(|at| message.get(at)).is_some_and(|byte| is_single_letter(*byte))
                };
                let first = char_at(text, 0).map_or(is_word(text[0]), joins);
                let last = char_before(text, text.len()).map_or(is_word(text[text.len() - 1]), joins);
                let bordered = (!first || (border_before(message, start) && !letter(start.checked_sub(1))))
                    && (!last || (border_after(message, end) && !letter(Some(end))));
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

    #[test]
    fn national_letters() {
        let word = "vjedhës çelësash";
        for (name, pattern, nocase, message, hit) in [
            ("as written", word, true, "a vjedhës çelësash b".as_bytes(), true),
            ("decomposed", word, true, "a vjedhe\u{308}s c\u{327}ele\u{308}sash b".as_bytes(), true),
            ("decomposed pattern", "vjedhe\u{308}s", true, "vjedhës".as_bytes(), true),
            ("windows", word, true, b"a vjedh\xebs \xe7el\xebsash b", true),
            ("windows, capitals", word, true, b"A VJEDH\xcbS \xc7EL\xcbSASH", true),
            ("one capital", word, true, "Vjedhës Çelësash".as_bytes(), true),
            ("capitals", word, true, "VJEDHËS ÇELËSASH".as_bytes(), true),
            ("case counts", "Çelës", false, "çelës".as_bytes(), false),
            ("windows 1250", "ključ", true, b"klju\xe8", true),
            ("not in this page", "ключ evil", true, b"\xea\xeb\xfe\xf7 evil", false),
            ("json", word, true, br"{'a':'vjedh\u00ebs \u00e7el\u00EBsash'}", true),
            ("json, lower", word, true, br"{'a':'vjedh\u00ebs \u00e7el\u00ebsash'}", true),
            ("json, upper", word, true, br"{'a':'vjedh\u00EBs \u00E7el\u00EBsash'}", true),
            ("border on the right", "pagesë", true, b"pages\xeb.", true),
            ("no border on the right", "pagesë", true, b"pages\xebn", false),
            ("letter on the right", "pages\u{eb}", true, b"pages\xeb\xeb", false),
            ("letter on the left", "ëndërr", true, b"\xe7\xebnd\xebrr", false),
            ("border on the left", "ëndërr", true, b" \xebnd\xebrr", true),
        ] {
            let pattern = if nocase { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
            let patterns = [(pattern.into_bytes(), nocase, false)];
            let found = fast(&patterns, message);
            assert_eq!(!found.is_empty(), hit, "{name}");
            assert_eq!(found, plain(&patterns, message), "{name}");
        }
    }

    /// Parts of messages and patterns: words, edges, escapes, letters that are not ASCII.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let parts = [
            "a",
            "b",
            "A",
            "B",
            "_",
            "1",
            " ",
            ".",
            "-",
            "/",
            "\\",
            "\\\\",
            "\"",
            "\\\"",
            "%",
            "%20",
            "%2e",
            "#011",
            "#",
            "\\n",
            "\\u003d",
            "\\x2f",
            "n",
            "u",
            "é",
            "访",
            "\u{301}",
            "\0",
            "ab",
            "evil",
            "Evil.exe",
            "power shell",
            "c:\\temp\\",
            "--enc ",
            "aaaaaaaa",
            "aaaaaaab",
            "delete shadows",
        ];
        prop_oneof![
            20 => prop::sample::select(parts.to_vec()).prop_map(|part| part.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ]
    }

    fn text(parts: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(part(), parts).prop_map(|parts| parts.concat())
    }

    /// A pattern, whether its case counts not, whether it may stand anywhere.
    fn pattern() -> impl Strategy<Value = (Vec<u8>, bool, bool)> {
        (text(1..6), any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(mut text, nocase, anywhere)| {
            if nocase {
                text.make_ascii_lowercase();
            }
            (text, nocase, anywhere)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn equals_the_automaton(
            patterns in prop::collection::vec(pattern(), 1..24),
            pieces in prop::collection::vec((text(0..12), any::<prop::sample::Index>(), any::<bool>()), 0..8),
        ) {
            let mut message = Vec::new();
            for (piece, planted, upper) in pieces {
                message.extend(piece);
                let (planted, ..) = planted.get(&patterns);
                message.extend(if upper { planted.to_ascii_uppercase() } else { planted.clone() });
            }
            prop_assert_eq!(fast(&patterns, &message), plain(&patterns, &message));
        }

        #[test]
        fn finds_what_is_planted_at_every_offset(pattern in pattern(), before in text(0..3)) {
            let patterns = [pattern];
            for at in 0..130 {
                let mut message = vec![b' '; at];
                message.extend(&before);
                message.extend(&patterns[0].0);
                prop_assert_eq!(fast(&patterns, &message), plain(&patterns, &message));
                message.extend([b' '; 70]);
                prop_assert_eq!(fast(&patterns, &message), plain(&patterns, &message));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn many_patterns_equal_the_automaton(
            patterns in prop::collection::vec(pattern(), 100),
            message in text(0..200),
        ) {
            prop_assert_eq!(fast(&patterns, &message), plain(&patterns, &message));
        }
    }
}
