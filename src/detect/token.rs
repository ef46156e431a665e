//! Extraction: one pass over the bytes of a message that finds what looks like an address, a host
//! name, a URL, an e-mail address or a hash.
//!
//! Classes of 64 bytes at a time (see [`super::blocks`]) mark the few places that can matter: a
//! dot between label characters, a colon before a slash, two colons, sixteen hexadecimal digits in
//! a row. Only there are bytes looked at one by one. Nothing is allocated unless a name has
//! letters that are not ASCII.

use super::Observable;
use super::blocks::{Masks, masks};
use super::hash::Seed;
use super::host::{self, MAX_HOST, MAX_LABEL};
use super::indicator::Kind;
use super::lexis::{
    at_sign, border_after, border_before, char_at, char_before, dot, escape, hex_digit, is_label, is_letter,
    is_word, joins,
};
use super::url::{self, MAX_URL, Refusal};
use crate::decode::Span;
use std::net::{IpAddr, Ipv6Addr};

/// Calls `emit` for every address, domain suffix, URL, e-mail address and hash in the message.
///
/// One value may be emitted more than once where a text can be read in two ways.
pub fn extract(message: &[u8], emit: &mut impl FnMut(Observable)) {
    let bytes = message.get(..u32::MAX as usize).unwrap_or(message);
    let mut extractor = Extractor {
        bytes,
        emit,
        seed: Seed::current(),
        host_done: 0,
        address_done: 0,
        hash_done: 0,
        url_work: URL_WORK + URL_WORK_FACTOR * bytes.len(),
        conversions: MAX_CONVERSIONS,
    };
    extractor.run();
}

/// URLs inside URLs overlap. What is hashed of one message is bounded, so that a line of nothing
/// but `a://` costs no more than this many times its length.
const URL_WORK_FACTOR: usize = 8;
/// See [`URL_WORK_FACTOR`]; a short message may have several overlapping URLs.
const URL_WORK: usize = 64 * 1024;
/// Names with non-ASCII letters that are converted in one message: conversion allocates.
const MAX_CONVERSIONS: u32 = 64;
/// RFC 5321, section 4.5.3.1.1.
const MAX_LOCAL: usize = 64;
/// Logical bytes of a defanged or non-ASCII name that are kept; of a longer one the end.
const MAX_SEGMENT: usize = 1024;

/// The longest name and the dot before it, which shows that it is a suffix.
const WINDOW: usize = MAX_HOST + 1;

struct Extractor<'m, E> {
    bytes: &'m [u8],
    emit: &'m mut E,
    seed: Seed,
    /// Names, addresses and hashes before these places have been read.
    host_done: usize,
    address_done: usize,
    hash_done: usize,
    url_work: usize,
    conversions: u32,
}

/// Bytes beside a name that need care: 1 before it (escapes, `@`), 2 behind it (defanged dots);
/// 4: a URL may go on with it.
static NEEDS_CARE: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'\\' => 1 | 2 | 4,
            b'%' => 1 | 2,
            b'#' | b'@' | b']' | b')' | b'}' => 1,
            b'[' | b'(' | b'{' => 2,
            b'/' | b'?' | b':' | b'.' => 4,
            _ => 0,
        };
        at += 1;
    }
    table
};

/// Hashes the suffixes of the name that ends at a place, the shortest first.
struct Suffixes<'m> {
    seed: Seed,
    bytes: &'m [u8],
    end: usize,
    state: u64,
    /// Whole blocks already in the state.
    done: usize,
}

impl<'m> Suffixes<'m> {
    #[inline]
    fn new(seed: Seed, bytes: &'m [u8], end: usize) -> Suffixes<'m> {
        Suffixes { seed, bytes, end, state: seed.name_start(), done: 0 }
    }

    /// Each call with an earlier start.
    #[inline]
    fn hash(&mut self, start: usize) -> u64 {
        let length = self.end - start;
        while length - self.done > 16 {
            self.state = self.seed.name_block(self.state, self.block());
            self.done += 16;
        }
        self.seed.name_end(self.state, self.block(), length - self.done, length)
    }

    /// The sixteen bytes before those done.
    #[inline]
    fn block(&self) -> u128 {
        let head = self.bytes.get(..self.end - self.done).unwrap_or_default();
        match head.last_chunk::<16>() {
            Some(block) => u128::from_le_bytes(*block),
            None => {
                let mut block = [0; 16];
                block[16 - head.len()..].copy_from_slice(head);
                u128::from_le_bytes(block)
            }
        }
    }
}

/// What stands before a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// A border.
    Border,
    /// A letter that belongs to its first label.
    Joined,
    /// A dot and another label.
    Label,
}

/// The text of a name and where its bytes stand in the message.
#[derive(Clone, Copy)]
struct Name<'a> {
    text: &'a [u8],
    place: Place<'a>,
    left: Left,
    /// It ends with a border.
    right: bool,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Plain(usize),
    Mapped(&'a [u32]),
}

impl Place<'_> {
    #[inline]
    fn at(self, index: usize) -> usize {
        match self {
            Place::Plain(start) => start + index,
            Place::Mapped(places) => places.get(index).map_or(0, |place| *place as usize),
        }
    }
}

/// The bit before each bit.
#[inline(always)]
fn behind(before: u64, here: u64) -> u64 {
    here << 1 | before >> 63
}

/// The bit after each bit.
#[inline(always)]
fn ahead(here: u64, after: u64) -> u64 {
    here >> 1 | after << 63
}

impl<E: FnMut(Observable)> Extractor<'_, E> {
    fn run(&mut self) {
        let bytes = self.bytes;
        let mut before = Masks::default();
        let mut here = masks(bytes, 0);
        for base in (0..bytes.len()).step_by(64) {
            let after = match base + 64 < bytes.len() {
                true => masks(bytes, base + 64),
                false => Masks::default(),
            };
            self.names(base, &before, &here, &after);
            self.schemes(base, &here, &after);
            self.long_addresses(base, &here, &after);
            self.hashes(base, here.hex);
            before = here;
            here = after;
        }
    }

    // Names ------------------------------------------------------------------------------------

    #[inline]
    fn names(&mut self, base: usize, before: &Masks, here: &Masks, after: &Masks) {
        let plain = here.dot & behind(before.label, here.label) & ahead(here.label, after.label);
        let defanged = here.dot
            & behind(before.open, here.open)
            & ahead(here.close | here.label, after.close | after.label);
        let word = here.d & behind(before.open, here.open);
        let mut marks = plain | defanged | word | here.percent;
        while marks != 0 {
            let bit = marks.trailing_zeros() as usize;
            marks &= marks - 1;
            if base + bit < self.host_done {
                continue;
            }
            if plain >> bit & 1 == 1 {
                self.plain_name(base, bit, before, here, after, plain);
            } else {
                self.defanged_mark(base + bit);
            }
        }
    }

    /// A name with ordinary dots, around the dot at `bit` of this block.
    #[inline]
    fn plain_name(
        &mut self,
        base: usize,
        bit: usize,
        before: &Masks,
        here: &Masks,
        after: &Masks,
        plain: u64,
    ) {
        // The first dot of the run is this one, so only label characters stand before it.
        let behind = ((!(here.label << (63 - bit) << 1)).leading_zeros() as usize).min(bit);
        let back = match behind == bit {
            true => bit + (!before.label).leading_zeros() as usize,
            false => behind,
        };
        // Label characters and inner dots, in this block or in this and the next.
        let run = here.label | plain;
        let mut ahead = (!(run >> bit)).trailing_zeros() as usize;
        let mut dots = plain >> bit;
        let mut hyphens = here.hyphen >> bit;
        if bit + ahead >= 64 {
            let after_plain = after.dot & self::behind(here.label, after.label) & self::ahead(after.label, 0);
            let both = |here: u64, after: u64| (u128::from(here) | u128::from(after) << 64) >> bit;
            ahead = (!both(run, after.label | after_plain)).trailing_zeros() as usize;
            dots = both(plain, after_plain) as u64;
            hyphens = both(here.hyphen, after.hyphen) as u64;
        }
        let end = base + bit + ahead;
        let start = (base + bit).saturating_sub(back);
        let high = here.high | before.high | after.high;
        // Where the run leaves the blocks, or something unusual stands in or beside it, take care.
        let usual = high == 0
            && bit + ahead < 127
            && back < bit + 64
            && back + ahead <= 64
            && start >= self.host_done;
        if usual && self.usual_name(start, back, end, dots, hyphens) {
            self.host_done = end;
            return;
        }
        self.unusual_name(base + bit, high != 0);
    }

    /// Reads a name of at most 64 bytes; false if it needs care. Bit 0 of the masks is its first
    /// dot, `dot` bytes behind the start.
    #[inline]
    fn usual_name(&mut self, start: usize, dot: usize, end: usize, dots: u64, hyphens: u64) -> bool {
        let bytes = self.bytes;
        let Some(text) = bytes.get(start..end) else { return false };
        let (Some(&first), Some(&last)) = (text.first(), text.last()) else { return false };
        let next = bytes.get(end).copied().unwrap_or(b' ');
        let previous = start.checked_sub(1).and_then(|before| bytes.get(before)).copied().unwrap_or(b' ');
        if NEEDS_CARE[usize::from(previous)] & 1 != 0
            || NEEDS_CARE[usize::from(next)] & 2 != 0
            || first == b'-'
            || last == b'-'
        {
            return false;
        }
        let tail = u64::MAX >> (64 - (text.len() - dot));
        let mut inner = dots & tail;
        let mut quad = false;
        if inner.count_ones() >= 3
            && (first.is_ascii_digit() || hyphens & tail != 0 || text[..dot].contains(&b'-'))
        {
            match host::quad(text) {
                Some((address, length)) if length == text.len() => {
                    self.address(start, end, address.into());
                    quad = true;
                }
                _ => return false,
            }
        }
        if !quad {
            let last_label = dot + 64 - inner.leading_zeros() as usize;
            if last.is_ascii_digit() && text[last_label..].iter().all(u8::is_ascii_digit) {
                return true;
            }
            let mut hasher = Suffixes::new(self.seed, bytes, end);
            while inner != 0 {
                let at = start + dot + 64 - inner.leading_zeros() as usize;
                inner &= !(1 << (63 - inner.leading_zeros()));
                let hash = hasher.hash(at);
                self.domain(at, end, hash, false);
            }
            let hash = hasher.hash(start);
            self.domain(start, end, hash, true);
        }
        if NEEDS_CARE[usize::from(next)] & 4 != 0 {
            self.perhaps_bare_url(start, end, quad, true, None);
        }
        true
    }

    #[inline]
    fn domain(&mut self, start: usize, end: usize, hash: u64, whole: bool) {
        let span = Span { start: start as u32, end: end as u32 };
        (self.emit)(Observable { kind: Kind::Domain, span, hash, address: None, whole });
    }

    /// A name of any length, whatever stands in it and around it.
    #[inline(never)]
    fn unusual_name(&mut self, dot: usize, high: bool) {
        let bytes = self.bytes;
        let start = self.label_start(dot);
        let end = self.name_end(dot);
        let text = bytes.get(start..end).unwrap_or_default();
        let defanged =
            matches!(bytes.get(end), Some(b'[' | b'(' | b'{' | b'%' | b'\\')) && self.dot_joins(end);
        if defanged || ((high || text.len() > 64) && !text.is_ascii()) {
            return self.segments(start);
        }
        self.host_done = end;
        self.name(Name { text, place: Place::Plain(start), left: Left::Border, right: true });
    }

    /// Back over label characters, not before what has been read.
    fn label_start(&self, mut start: usize) -> usize {
        while start > self.host_done
            && self.bytes.get(start - 1).is_some_and(|byte| is_label(*byte) || *byte >= 0x80)
        {
            start -= 1;
        }
        start
    }

    /// On over label characters and single dots between them.
    fn name_end(&self, mut end: usize) -> usize {
        let label = |at: usize| self.bytes.get(at).is_some_and(|byte| is_label(*byte) || *byte >= 0x80);
        while label(end) || (self.bytes.get(end) == Some(&b'.') && label(end - 1) && label(end + 1)) {
            end += 1;
        }
        end
    }

    /// A dot of any form stands at `at` and a label follows it.
    fn dot_joins(&self, at: usize) -> bool {
        let length = dot(self.bytes, at);
        length > 0 && self.bytes.get(at + length).is_some_and(|byte| is_label(*byte) || *byte >= 0x80)
    }

    #[cold]
    fn defanged_mark(&mut self, mark: usize) {
        let at = match self.bytes.get(mark) {
            Some(b'%') => mark,
            _ => mark.saturating_sub(1),
        };
        if at >= self.host_done && self.dot_joins(at) {
            let start = self.label_start(at);
            if start < at {
                self.segments(start);
            }
        }
    }

    /// Reads names with defanged dots or non-ASCII letters, from `start` to where no name goes on.
    #[cold]
    fn segments(&mut self, start: usize) {
        let bytes = self.bytes;
        let mut segment = Segment::new();
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            if is_label(byte) {
                segment.push(byte, at);
                at += 1;
                continue;
            }
            if byte < 0x80 {
                let length = dot(bytes, at);
                if length == 0 || !self.dot_joins(at) || (length > 1 && !segment.takes_dot()) {
                    break;
                }
                if segment.takes_dot() {
                    segment.push(b'.', at);
                } else {
                    self.segment(&segment);
                    segment.clear();
                }
                at += length;
                continue;
            }
            let letter = char_at(bytes, at);
            match letter.filter(|letter| is_letter(*letter)) {
                Some(letter) => {
                    (0..letter.len_utf8()).for_each(|offset| segment.push(bytes[at + offset], at + offset));
                }
                None => {
                    self.segment(&segment);
                    segment.clear();
                }
            }
            at += letter.map_or(1, char::len_utf8);
        }
        self.segment(&segment);
        self.host_done = at;
    }

    fn segment(&mut self, segment: &Segment) {
        let text = segment.text();
        if text.is_ascii() {
            let left = if segment.clipped { Left::Joined } else { Left::Border };
            return self.name(Name { text, place: Place::Mapped(segment.places()), left, right: true });
        }
        self.international(segment);
        let mut at = 0;
        while at < text.len() {
            let length = text[at..].iter().take_while(|byte| byte.is_ascii()).count();
            if length > 0 {
                self.ascii_part(segment, at, at + length);
            }
            at += length;
            at += text[at..].iter().take_while(|byte| !byte.is_ascii()).count();
        }
    }

    /// The ASCII part of a name that also has other letters, read by itself where those are of a
    /// script that puts no space between words.
    fn ascii_part(&mut self, segment: &Segment, start: usize, end: usize) {
        let text = segment.text();
        let part = &text[start..end];
        let left = match (start, part.first()) {
            (0, _) if segment.clipped => Left::Joined,
            (0, _) => Left::Border,
            (_, Some(b'.')) => Left::Label,
            _ if char_before(text, start).is_some_and(joins) => Left::Joined,
            _ => Left::Border,
        };
        let right =
            end == text.len() || (part.last() != Some(&b'.') && !char_at(text, end).is_some_and(joins));
        self.name(Name { text: part, place: Place::Mapped(&segment.places()[start..end]), left, right });
    }

    /// Each suffix of a name with non-ASCII letters, converted to A-labels.
    fn international(&mut self, segment: &Segment) {
        /// Labels that are converted; a deeper name of this sort is not real.
        const MAX_SUFFIXES: usize = 8;
        let text = segment.text();
        let trimmed = text.len() - text.iter().rev().take_while(|byte| matches!(byte, b'-' | b'.')).count();
        let first = text.iter().take_while(|byte| matches!(byte, b'-' | b'.')).count();
        let Some(name) = text.get(first..trimmed) else { return };
        if segment.clipped || !name.contains(&b'.') || self.conversions == 0 {
            return;
        }
        self.conversions -= 1;
        let end = segment.place(first + name.len() - 1) + 1;
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at + 1);
        for start in std::iter::once(0).chain(dots).take(MAX_SUFFIXES) {
            let Some(ascii) = host::to_ascii(&name[start..]) else { continue };
            let from = segment.place(first + start);
            self.observe(Kind::Domain, from, end, ascii.as_bytes(), start == 0);
            if start == 0 {
                self.emails(from, end, ascii.as_bytes());
                if trimmed == text.len() && self.may_begin_url(from, None) {
                    self.bare_url(from, end, false);
                }
            }
        }
    }

    /// Everything that a dotted run of label characters can be.
    #[inline]
    fn name(&mut self, name: Name<'_>) {
        let bytes = self.bytes;
        let Name { text, place, left, right } = name;
        let mut hi = text.len();
        while hi > 0 && matches!(text[hi - 1], b'-' | b'.') {
            hi -= 1;
        }
        let first = place.at(0);
        let introduced = first > 0 && left == Left::Border && matches!(bytes[first - 1], b'\\' | b'%' | b'#');
        let escaped = match introduced {
            true => escape(bytes, first).filter(|found| found.skip < hi),
            false => None,
        };
        let skip_edges = |mut lo: usize| {
            while lo < hi && matches!(text[lo], b'-' | b'.') {
                lo += 1;
            }
            lo
        };
        let lo = skip_edges(escaped.filter(|found| found.only).map_or(0, |found| found.skip));
        if lo >= hi {
            return;
        }
        let end = place.at(hi - 1) + 1;

        let quad = self.quads(text, place, lo, hi, left == Left::Border, right);
        let numeric = text[lo..hi].iter().rev().take_while(|byte| **byte != b'.').all(u8::is_ascii_digit);
        let named = right && !numeric && self.suffixes(text, place, lo, hi, left);
        if left == Left::Border && right && (quad || named) {
            let code = escaped.filter(|found| found.only).map(|found| found.stands_for);
            let host = text[lo..hi].len() <= MAX_HOST && named;
            if host && at_sign(bytes, place.at(lo)) > 0 {
                let mut folded = [0; MAX_HOST];
                let folded = &mut folded[..hi - lo];
                folded.copy_from_slice(&text[lo..hi]);
                folded.make_ascii_lowercase();
                self.emails(place.at(lo), end, folded);
            }
            self.perhaps_bare_url(place.at(lo), end, quad, hi == text.len(), code);
        }
        if let Some(found) = escaped.filter(|found| !found.only) {
            let other = skip_edges(found.skip);
            self.other_reading(text, place, other, hi, right, numeric, found.stands_for);
        }
    }

    /// The name from `other` on, behind what may be an escape: what differs from the whole.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn other_reading(
        &mut self,
        text: &[u8],
        place: Place<'_>,
        other: usize,
        hi: usize,
        right: bool,
        numeric: bool,
        code: u32,
    ) {
        let Some(host) = text.get(other..hi).filter(|host| !host.is_empty()) else { return };
        let end = place.at(hi - 1) + 1;
        let piece = host.iter().position(|byte| *byte == b'-').map_or(hi, |dash| other + dash);
        let quad = (right || piece < hi) && self.quad(text, place, other, piece) && piece == hi;
        let label = host.iter().position(|byte| *byte == b'.');
        let named = right && !numeric && label.is_some();
        let labels_fit = host.split(|byte| *byte == b'.').all(|label| label.len() <= MAX_LABEL);
        if named && labels_fit && host.len() <= MAX_HOST {
            let mut folded = [0; MAX_HOST];
            let folded = &mut folded[..host.len()];
            folded.copy_from_slice(host);
            folded.make_ascii_lowercase();
            self.observe(Kind::Domain, place.at(other), end, folded, true);
        }
        if right && (named || quad) {
            self.perhaps_bare_url(place.at(other), end, quad, hi == text.len(), Some(code));
        }
    }

    #[inline]
    fn perhaps_bare_url(&mut self, start: usize, end: usize, quad: bool, untrimmed: bool, code: Option<u32>) {
        if untrimmed
            && matches!(self.bytes.get(end), Some(b'/' | b'?' | b':' | b'.' | b'\\'))
            && self.may_begin_url(start, code)
        {
            self.bare_url(start, end, quad);
        }
    }

    /// Addresses among the parts between hyphens; true if the whole is one.
    #[inline]
    fn quads(
        &mut self,
        text: &[u8],
        place: Place<'_>,
        lo: usize,
        hi: usize,
        left: bool,
        right: bool,
    ) -> bool {
        // Every address begins with a digit after a border.
        let Some(dash) = text[lo..hi].iter().position(|byte| *byte == b'-') else {
            return left && right && self.quad(text, place, lo, hi);
        };
        let mut from = lo;
        let mut to = lo + dash;
        loop {
            if (from > lo || left) && (to < hi || right) {
                self.quad(text, place, from, to);
            }
            if to >= hi {
                return false;
            }
            from = to + 1;
            to = text[from..hi].iter().position(|byte| *byte == b'-').map_or(hi, |dash| from + dash);
        }
    }

    /// The address that fills `lo..hi`, if one does. A fifth number that cannot be an octet is a
    /// port, as tcpdump writes it.
    #[inline]
    fn quad(&mut self, text: &[u8], place: Place<'_>, lo: usize, hi: usize) -> bool {
        let Some(piece) = text.get(lo..hi) else { return false };
        if piece.len() < 7 || !piece[0].is_ascii_digit() {
            return false;
        }
        let Some((address, length)) = host::quad(piece) else { return false };
        let fills = match &piece[length..] {
            [] => true,
            [b'.', port @ ..] => {
                let number = port.iter().try_fold(0u32, |sum, digit| {
                    (digit.is_ascii_digit() && sum < 100_000).then(|| sum * 10 + u32::from(digit - b'0'))
                });
                port.is_empty() || number.is_some_and(|number| (256..=65535).contains(&number))
            }
            _ => false,
        };
        if fills {
            self.address(place.at(lo), place.at(lo + length - 1) + 1, address.into());
        }
        fills && length == piece.len()
    }

    /// Each label suffix of `lo..hi`; false if it has one label only.
    #[inline]
    fn suffixes(&mut self, text: &[u8], place: Place<'_>, lo: usize, hi: usize, left: Left) -> bool {
        let end = place.at(hi - 1) + 1;
        let window = lo.max(hi.saturating_sub(WINDOW));
        let name = &text[window..hi];
        let length = name.len();
        let seed = self.seed;
        let mut observe = |start: usize, suffix: &[u8], whole: bool| {
            self.domain(start, end, seed.hash(Kind::Domain, suffix), whole);
        };
        let mut label_end = length;
        let mut dots = 0;
        for at in (0..length).rev() {
            if name[at] != b'.' {
                continue;
            }
            if label_end - at - 1 > MAX_LABEL {
                return true;
            }
            observe(place.at(window + at + 1), &name[at + 1..], false);
            label_end = at;
            dots += 1;
        }
        if dots == 0 {
            return false;
        }
        if length > MAX_HOST || label_end > MAX_LABEL {
            return true;
        }
        match left {
            Left::Border => observe(place.at(lo), name, true),
            Left::Label => observe(place.at(lo), name, false),
            Left::Joined => {}
        }
        true
    }

    // E-mail -----------------------------------------------------------------------------------

    /// The address whose host, normal in `host`, stands at `start..end`, if an `@` is before it.
    #[cold]
    fn emails(&mut self, start: usize, end: usize, host: &[u8]) {
        let bytes = self.bytes;
        let sign = at_sign(bytes, start);
        if sign == 0 || host.len() > MAX_HOST {
            return;
        }
        let local_end = start - sign;
        let core = |at: usize| matches!(bytes.get(at), Some(byte) if is_label(*byte) || matches!(byte, b'.' | b'+' | b'~'));
        let back = |mut at: usize| {
            while at > 0 && local_end - at <= MAX_LOCAL && core(at - 1) {
                at -= 1;
            }
            at
        };
        let mut from = back(local_end);
        if from == local_end {
            return;
        }
        for _ in 0..=MAX_LOCAL {
            if local_end - from > MAX_LOCAL {
                return;
            }
            if !(from > 0 && bytes[from - 1] >= 0x80 && char_before(bytes, from).is_some_and(joins)) {
                self.email_readings(from, local_end, end, host);
            }
            let separator = from.checked_sub(1).and_then(|before| bytes.get(before));
            if !separator.is_some_and(|byte| b"!#$%&'*/=?^`{|}".contains(byte)) {
                return;
            }
            from = back(from - 1);
        }
    }

    /// The local part at `from..to`, without an escape that it seems to begin with.
    fn email_readings(&mut self, from: usize, to: usize, end: usize, host: &[u8]) {
        let found = escape(self.bytes, from).filter(|found| found.skip < to - from);
        if !found.is_some_and(|found| found.only) {
            self.email(from, to, end, host);
        }
        if let Some(found) = found {
            self.email(from + found.skip, to, end, host);
        }
    }

    fn email(&mut self, mut from: usize, to: usize, end: usize, host: &[u8]) {
        while from < to && self.bytes[from] == b'.' {
            from += 1;
        }
        let local = &self.bytes[from..to];
        if local.is_empty() {
            return;
        }
        let mut normal = [0; MAX_LOCAL + 1 + MAX_HOST];
        let length = local.len() + 1 + host.len();
        let Some(normal) = normal.get_mut(..length) else { return };
        normal[..local.len()].copy_from_slice(local);
        normal[..local.len()].make_ascii_lowercase();
        normal[local.len()] = b'@';
        normal[local.len() + 1..].copy_from_slice(host);
        self.observe(Kind::Email, from, end, normal, false);
    }

    // URLs -------------------------------------------------------------------------------------

    #[inline]
    fn schemes(&mut self, base: usize, here: &Masks, after: &Masks) {
        let mut marks = (here.colon & ahead(here.slash, after.slash)) | here.percent;
        while marks != 0 {
            let at = base + marks.trailing_zeros() as usize;
            marks &= marks - 1;
            let Some(found) = url::delimiter(self.bytes, at) else { continue };
            if let Some(start) = url::scheme_start(self.bytes, found.start) {
                self.urls(start, found.end, found.encoded);
            }
        }
    }

    /// What stands before a host is not the path, the authority or the name of something else.
    fn may_begin_url(&self, start: usize, escaped: Option<u32>) -> bool {
        if let Some(code) = escaped {
            return code != u32::from(b'/') && code != u32::from(b'@');
        }
        match self.bytes.get(..start).unwrap_or_default() {
            [.., b'@' | b'\\'] => false,
            [.., before, b'/', b'/'] => before.is_ascii_whitespace() || b"\"'(=<[,".contains(before),
            [b'/', b'/'] => true,
            [.., b'/'] => false,
            _ => at_sign(self.bytes, start) == 0,
        }
    }

    /// A URL without scheme: a host, perhaps a port, and a path or query.
    #[cold]
    fn bare_url(&mut self, start: usize, end: usize, quad: bool) {
        let bytes = self.bytes;
        let mut at = end + usize::from(bytes.get(end) == Some(&b'.'));
        if bytes.get(at) == Some(&b':') {
            let digits = bytes[at + 1..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
            at += 1 + digits;
        }
        let slash = match bytes.get(at..) {
            Some([b'/', ..]) => 1,
            Some([b'?', ..]) => 0,
            Some([b'\\', b'/', ..]) => 2,
            _ => return,
        };
        // `10.0.0.0/8` and `10.0.0.1/443` are a prefix and an address with its port.
        let tail = bytes.get(at + slash..).unwrap_or_default();
        let digits = tail.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let number = slash > 0 && (1..=5).contains(&digits);
        let goes_on = |byte: &u8| is_word(*byte) || b"/.?%-=&#~+".contains(byte);
        if quad && number && !tail.get(digits).is_some_and(goes_on) {
            return;
        }
        self.urls(start, start, false);
    }

    #[cold]
    fn urls(&mut self, start: usize, authority: usize, encoded: bool) {
        if self.url_work == 0 {
            return;
        }
        let looked_at = url::ends(self.bytes, start, authority, encoded, &mut |end| self.url(start, end));
        self.url_work = self.url_work.saturating_sub(looked_at);
    }

    fn url(&mut self, start: usize, end: usize) {
        /// Nearly every URL fits, and clearing the buffer costs less than hashing it.
        const USUAL: usize = 512;
        let Some(text) = self.bytes.get(start..end) else { return };
        if text.len() > self.url_work {
            self.url_work = 0;
            return;
        }
        self.url_work -= text.len();
        if self.url_into(start, end, &mut [0; USUAL]) == Err(Refusal::Overflow) {
            let _ = self.url_into(start, end, &mut [0; MAX_URL]);
        }
    }

    fn url_into(&mut self, start: usize, end: usize, buffer: &mut [u8]) -> Result<(), Refusal> {
        let form = url::normal(&self.bytes[start..end], buffer)?;
        self.observe(Kind::Url, start, end, &buffer[..form.length], false);
        if let Some(implied) = form.imply_scheme(buffer) {
            self.observe(Kind::Url, start, end, &buffer[..implied.length], false);
        }
        Ok(())
    }

    // IPv6 -------------------------------------------------------------------------------------

    #[inline]
    fn long_addresses(&mut self, base: usize, here: &Masks, after: &Masks) {
        if here.colon == 0 {
            return;
        }
        let mut marks = here.colon & ahead(here.colon, after.colon);
        // The full form has 15 bytes at least, so it fills an aligned group of eight, and each
        // eight of its bytes hold a colon.
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let empty = |bits: u64| !(((bits & LOW) + LOW) | bits | LOW);
        marks |= (empty(!(here.hex | here.colon)) & !empty(here.colon)) >> 7;
        while marks != 0 {
            self.long_address(base + marks.trailing_zeros() as usize);
            marks &= marks - 1;
        }
    }

    #[cold]
    fn long_address(&mut self, mark: usize) {
        if mark < self.address_done {
            return;
        }
        let bytes = self.bytes;
        let inside = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':');
        let mut start = mark;
        while start > self.address_done && inside(start - 1) {
            start -= 1;
        }
        let mut end = mark;
        while inside(end) {
            end += 1;
        }
        self.address_done = end;
        for (start, bordered) in self.readings(start).into_iter().flatten() {
            self.long_address_at(start, end, bordered);
        }
    }

    /// The ways to read where a run of hexadecimal digits begins: there, or behind an escape.
    fn readings(&self, start: usize) -> [Option<(usize, bool)>; 2] {
        let bytes = self.bytes;
        let inside = escape(bytes, start);
        let across = match start.checked_sub(1).and_then(|before| bytes.get(before)) {
            Some(b'u' | b'x') => escape(bytes, start - 1).map(|found| start - 1 + found.skip),
            _ => None,
        };
        let plain = match inside {
            Some(found) if found.only => None,
            _ => Some((start, border_before(bytes, start))),
        };
        [plain, inside.map(|found| start + found.skip).or(across).map(|start| (start, true))]
    }

    fn long_address_at(&mut self, mut start: usize, mut end: usize, mut bordered: bool) {
        /// Eight groups, or six and a dotted quad, and a port.
        const MAX_TEXT: usize = 45 + 6;
        let bytes = self.bytes;
        let Some(run) = bytes.get(start..end) else { return };
        if run.starts_with(b":") && (!run.starts_with(b"::") || run.starts_with(b":::")) {
            start += 1;
            bordered = true;
        }
        if run.ends_with(b":") && (!run.ends_with(b"::") || run.ends_with(b":::")) {
            end -= 1;
        }
        if !bordered || start >= end || end - start > MAX_TEXT {
            return;
        }
        let text = &bytes[start..end];
        if bytes.get(end) == Some(&b'.') {
            let group = text.iter().rposition(|byte| *byte == b':').map_or(start, |colon| start + colon + 1);
            if let Some((_, length)) = bytes.get(group..).and_then(host::quad)
                && group + length > end
                && self.quad_ends(group + length)
            {
                return self.parse_long(start, group + length);
            }
            // A full stop, or a port as tcpdump writes it.
            let digits = bytes[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !self.quad_ends(end + 1 + digits) {
                return;
            }
        } else if !border_after(bytes, end) {
            return;
        }
        self.parse_long(start, end);
    }

    /// Neither a word nor a dot and a word follows.
    fn quad_ends(&self, end: usize) -> bool {
        border_after(self.bytes, end)
            && !(self.bytes.get(end) == Some(&b'.')
                && self.bytes.get(end + 1).is_some_and(|byte| is_word(*byte)))
    }

    fn parse_long(&mut self, start: usize, end: usize) {
        let Some(text) = self.bytes.get(start..end) else { return };
        let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok();
        if let Some(address) = parse(text) {
            return self.address(start, end, address.into());
        }
        // Eight groups and, behind one more colon, the port.
        let Some(colon) = text.iter().rposition(|byte| *byte == b':') else { return };
        let (head, port) = text.split_at(colon);
        let full = head.iter().filter(|byte| **byte == b':').count() == 7;
        if full
            && port[1..].iter().all(u8::is_ascii_digit)
            && let Some(address) = parse(head)
        {
            self.address(start, start + colon, address.into());
        }
    }

    // Hashes -----------------------------------------------------------------------------------

    #[inline]
    fn hashes(&mut self, base: usize, hex: u64) {
        // 31 digits in a row fill an aligned group of sixteen.
        for lane in 0..4 {
            if hex >> (lane * 16) & 0xffff == 0xffff {
                self.hash(base + lane * 16);
            }
        }
    }

    #[cold]
    fn hash(&mut self, mark: usize) {
        if mark < self.hash_done {
            return;
        }
        let digit = |at: usize| self.bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        let mut start = mark;
        while start > self.hash_done && digit(start - 1) {
            start -= 1;
        }
        let mut end = mark;
        while digit(end) {
            end += 1;
        }
        self.hash_done = end;
        if end - start < 32 || !border_after(self.bytes, end) {
            return;
        }
        for (start, bordered) in self.readings(start).into_iter().flatten() {
            let kind = match end.saturating_sub(start) {
                32 => Kind::Md5,
                40 => Kind::Sha1,
                64 => Kind::Sha256,
                128 => Kind::Sha512,
                _ => continue,
            };
            if bordered {
                let mut binary = [0; 64];
                let length = unhex(&self.bytes[start..end], &mut binary);
                self.observe(kind, start, end, &binary[..length], false);
            }
        }
    }

    // Out --------------------------------------------------------------------------------------

    fn address(&mut self, start: usize, end: usize, address: IpAddr) {
        let observable =
            address_observable(self.seed, address, Span { start: start as u32, end: end as u32 });
        (self.emit)(observable);
    }

    #[inline]
    fn observe(&mut self, kind: Kind, start: usize, end: usize, normal: &[u8], whole: bool) {
        let span = Span { start: start as u32, end: end as u32 };
        (self.emit)(Observable { kind, span, hash: self.seed.hash(kind, normal), address: None, whole });
    }
}

/// The observable of an address; IPv4-mapped IPv6 is IPv4.
pub(super) fn address_observable(seed: Seed, address: IpAddr, span: Span) -> Observable {
    let address = address.to_canonical();
    let hash = match address {
        IpAddr::V4(address) => seed.hash(Kind::Ip, &address.octets()),
        IpAddr::V6(address) => seed.hash(Kind::Ip, &address.octets()),
    };
    Observable { kind: Kind::Ip, span, hash, address: Some(address), whole: true }
}

/// Writes the bytes that hexadecimal digits stand for; returns how many.
pub(super) fn unhex(digits: &[u8], out: &mut [u8; 64]) -> usize {
    let mut length = 0;
    for (pair, slot) in digits.chunks_exact(2).zip(out.iter_mut()) {
        *slot = hex_digit(pair[0]).unwrap_or(0) << 4 | hex_digit(pair[1]).unwrap_or(0);
        length += 1;
    }
    length
}

/// A name read character by character.
struct Segment {
    text: [u8; MAX_SEGMENT],
    places: [u32; MAX_SEGMENT],
    length: usize,
    clipped: bool,
}

impl Segment {
    fn new() -> Segment {
        Segment { text: [0; MAX_SEGMENT], places: [0; MAX_SEGMENT], length: 0, clipped: false }
    }

    fn clear(&mut self) {
        self.length = 0;
        self.clipped = false;
    }

    fn push(&mut self, byte: u8, place: usize) {
        if self.length == MAX_SEGMENT {
            // Only the end of a name can match: the longest has 253 bytes, four for each of its
            // characters where they are not ASCII.
            self.text.copy_within(MAX_SEGMENT / 2.., 0);
            self.places.copy_within(MAX_SEGMENT / 2.., 0);
            self.length = MAX_SEGMENT / 2;
            self.clipped = true;
        }
        self.text[self.length] = byte;
        self.places[self.length] = place as u32;
        self.length += 1;
    }

    fn takes_dot(&self) -> bool {
        self.length > 0 && self.text[self.length - 1] != b'.'
    }

    fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }

    fn places(&self) -> &[u32] {
        &self.places[..self.length]
    }

    fn place(&self, index: usize) -> usize {
        self.places().get(index).map_or(0, |place| *place as usize)
    }
}
