//! Extraction: one pass over the bytes of a message that finds what looks like an address, a host
//! name, a URL, an e-mail address or a hash.
//!
//! Classes of 64 bytes at a time (see [`super::blocks`]) mark the few places that can matter: the
//! end of a run of label characters with a dot in it, a colon before a slash or another colon,
//! fifteen hexadecimal digits in a row. Only there are bytes looked at. Nothing is allocated unless
//! a name has letters that are not ASCII.
//!
//! Most names and addresses in logs are nobody's indicator. Whoever looks for known values says so
//! through [`Interest`], and a host of which no value is known is left as soon as its last two
//! labels, or its address, are read.

use super::Observable;
use super::blocks::{Classes, Masks, Pass, dispatch};
use super::hash::Seed;
use super::host::{self, MAX_HOST, MAX_LABEL};
use super::indicator::Kind;
use super::lexis::{
    at_sign, border_after, border_before, char_at, char_before, dot, escape, hex_digit, is_label, is_letter,
    is_word, joins,
};
use super::url::{self, MAX_URL, Refusal};
use crate::decode::Span;
use std::net::IpAddr;

/// Which hosts matter to whoever takes the observables.
///
/// What is refused is not emitted, nor are the e-mail addresses and URLs with that host. What has
/// an unusual form (defanged, escaped, not ASCII) is emitted without being asked for.
pub(super) trait Interest {
    /// Some value is, is in, or has a host with this [`host::mark`], hashed as a name.
    fn host(&self, mark: u64) -> bool;
    /// Some prefix touches the addresses that begin with these two octets.
    fn prefix(&self, octets: impl FnOnce() -> u32) -> bool;
}

/// Every host matters.
struct Everything;

impl Interest for Everything {
    #[inline(always)]
    fn host(&self, _: u64) -> bool {
        true
    }

    #[inline(always)]
    fn prefix(&self, _: impl FnOnce() -> u32) -> bool {
        true
    }
}

/// Calls `emit` for every address, domain suffix, URL, e-mail address and hash in the message.
///
/// One value may be emitted more than once where a text can be read in two ways.
pub fn extract(message: &[u8], emit: &mut impl FnMut(Observable)) {
    extract_for(message, &Everything, emit);
}

/// Calls `emit` for everything in the message that is of interest, and perhaps for more.
#[inline]
pub(super) fn extract_for(message: &[u8], interest: &impl Interest, emit: &mut impl FnMut(Observable)) {
    dispatch(Extractor::new(message, interest, emit));
}

/// As [`extract`], byte by byte on any processor.
#[cfg(any(test, feature = "oracle"))]
pub(super) fn extract_portable(message: &[u8], emit: &mut impl FnMut(Observable)) {
    Extractor::new(message, &Everything, emit).run(super::blocks::Portable);
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

struct Extractor<'m, I, E> {
    bytes: &'m [u8],
    interest: &'m I,
    emit: &'m mut E,
    seed: Seed,
    /// Names, addresses and hashes before these places have been read.
    host_done: usize,
    address_done: usize,
    hash_done: usize,
    url_work: usize,
    conversions: u32,
    /// The last URL with a scheme, while nothing is known of its host.
    waiting: Option<url::Delimiter>,
}

/// Bytes beside a name that need care: 1 before it (escapes), 2 behind it (defanged dots); 4: an
/// e-mail address may end with it, 8: a URL may go on with it.
static NEEDS_CARE: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'\\' => 1 | 2 | 8,
            b'%' => 1 | 2,
            b'#' => 1,
            b'@' | b']' | b')' | b'}' => 4,
            b'[' | b'(' | b'{' => 2,
            b'/' | b'?' | b':' | b'.' => 8,
            _ => 0,
        };
        at += 1;
    }
    table
};

/// The classes of the 64 bytes before the end of a run, its last byte highest, and those of the
/// run alone.
#[derive(Clone, Copy)]
struct Window {
    /// Length of the run; 64 if it is as long or longer.
    length: u32,
    dots: u64,
    digits: u64,
    high: u64,
}

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

/// The first two octets of a text if it is a dotted quad. Bit 0 of `dots` is its first byte.
#[inline(always)]
fn two_octets(text: &[u8], dots: u64) -> u32 {
    // Behind each of both stand four bytes at least. The last digit is shifted to the top.
    let octet = |from: u32, to: u32| {
        let four = text.get(from as usize..).and_then(|tail| tail.first_chunk()).copied().unwrap_or_default();
        let digits = u32::from_le_bytes(four).wrapping_shl(32u32.wrapping_sub(8 * (to - from))) & 0x0f0f_0f0f;
        (digits.wrapping_mul(10 << 8 | 1) >> 24) + (digits >> 8 & 15) * 100
    };
    let first = dots.trailing_zeros();
    let second = (dots & dots.wrapping_sub(1)).trailing_zeros();
    octet(0, first) << 8 | octet(first + 1, second)
}

/// Blocks whose rows are kept at a time.
const BLOCKS: usize = 4;

/// What the classes of a block and of its neighbours say of it.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Label characters and the dots between them.
    run: u64,
    dots: u64,
    digits: u64,
    high: u64,
    /// Where a run with a dot in it has ended.
    ends: u64,
    /// Second bytes of signs.
    sign: u64,
    /// Hexadecimal digits and colons.
    hex: u64,
    /// Eight of them fill an aligned group of eight.
    group: bool,
}

/// Makes rows of masks; what it holds is carried from one block to the next.
#[derive(Clone, Copy, Default)]
struct Rows {
    /// 1: the last byte is a label character.
    label: u64,
    /// 1: a run with a dot in it reaches the end of the block.
    open: u64,
}

impl Rows {
    /// The row of the next block; `label_follows`: a label character stands behind the dot that
    /// ends it.
    #[inline(always)]
    fn next(&mut self, masks: Masks, label_follows: bool) -> Row {
        let Masks { label, dot, digit, high, sign, hex } = masks;
        let dots = dot & (label << 1 | self.label) & (label >> 1 | u64::from(label_follows) << 63);
        let run = label | dots;
        // A dot added to its run carries a bit to the place behind the end of the run.
        let (sum, open) = run.overflowing_add(dots);
        let (sum, still_open) = sum.overflowing_add(self.open);
        *self = Rows { label: label >> 63, open: u64::from(open | still_open) };
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let group = ((hex & LOW) + u64::MAX / 255) & hex & !LOW != 0;
        Row { run, dots, digits: digit, high, ends: sum & !run, sign, hex, group }
    }
}

impl Row {
    /// Where the fifteenth hexadecimal digit or colon in a row stands: an IPv6 address without
    /// `::` and a hash have at least as many.
    #[inline(always)]
    fn long(&self, before: &Row) -> u64 {
        // Fifteen fill some aligned group of eight.
        if !(self.group | before.group) {
            return 0;
        }
        let ones = u128::from(self.hex) << 64 | u128::from(before.hex);
        let twos = ones & ones << 1;
        let fours = twos & twos << 2;
        let eights = fours & fours << 4;
        let fifteens = eights & eights << 7;
        ((fifteens & !(fifteens << 1)) >> 64) as u64
    }
}

impl<I: Interest, E: FnMut(Observable)> Pass for Extractor<'_, I, E> {
    #[inline(always)]
    fn run(mut self, classes: impl Classes) {
        let bytes = self.bytes;
        let mut carried = Rows::default();
        let mut rows = [Row::default(); BLOCKS + 1];
        let (mut base, mut previous) = (0, 0);
        // What ends with the message may end behind its last block.
        while base <= bytes.len() {
            let blocks = ((bytes.len() - base) / 64 + 1).min(BLOCKS);
            for (index, row) in rows[1..=blocks].iter_mut().enumerate() {
                let at = base + 64 * index;
                let masks = classes.masks(bytes, at, previous);
                let next = bytes.get(at + 64).filter(|_| masks.dot >> 63 == 1);
                *row = carried.next(masks, next.is_some_and(|byte| is_label(*byte) || *byte >= 0x80));
                previous = bytes.get(at + 63).copied().unwrap_or(0);
            }
            for (index, pair) in rows[..=blocks].windows(2).enumerate() {
                self.block(base + 64 * index, &pair[0], &pair[1]);
            }
            rows[0] = rows[blocks];
            base += 64 * blocks;
        }
        self.waiting_url();
    }
}

impl<'m, I: Interest, E: FnMut(Observable)> Extractor<'m, I, E> {
    #[inline]
    fn new(message: &'m [u8], interest: &'m I, emit: &'m mut E) -> Self {
        let bytes = message.get(..u32::MAX as usize).unwrap_or(message);
        Extractor {
            bytes,
            interest,
            emit,
            seed: Seed::current(),
            host_done: 0,
            address_done: 0,
            hash_done: 0,
            url_work: URL_WORK + URL_WORK_FACTOR * bytes.len(),
            conversions: MAX_CONVERSIONS,
            waiting: None,
        }
    }

    #[inline(always)]
    fn block(&mut self, base: usize, before: &Row, here: &Row) {
        let rare = here.sign | here.long(before);
        let mut marks = here.ends | rare;
        while marks != 0 {
            let bit = marks.trailing_zeros();
            marks &= marks - 1;
            if here.ends >> bit & 1 == 1 {
                self.name_before(base, bit, before, here);
            }
            if rare >> bit & 1 == 1 {
                self.rare(base + bit as usize, here.sign >> bit & 1 == 1);
            }
        }
    }

    /// The second byte of a sign, or else the fifteenth digit of what may be an address or a hash.
    #[cold]
    fn rare(&mut self, at: usize, sign: bool) {
        if !sign {
            return self.digits(at);
        }
        let first = at.saturating_sub(1);
        match self.bytes.get(first..) {
            Some([b':', b':', ..]) => self.long_address(first),
            Some([b':', ..]) => self.scheme(first),
            Some([b'%', ..]) => {
                self.defanged(first);
                self.scheme(first);
            }
            _ => self.defanged(first),
        }
    }

    // Names ------------------------------------------------------------------------------------

    /// The name or address that ends before `bit` of this block.
    #[inline(always)]
    fn name_before(&mut self, base: usize, bit: u32, before: &Row, here: &Row) {
        // Rotated, since two shifts would become one double shift, which is slow.
        let keep = u64::MAX >> bit;
        let window = |before: u64, here: u64| before >> bit | here.rotate_right(bit) & !keep;
        let end = base + bit as usize;
        let length = window(before.run, here.run).leading_ones();
        let alone = !(u64::MAX >> (length & 63));
        let window = Window {
            length,
            dots: window(before.dots, here.dots) & alone,
            digits: window(before.digits, here.digits) & alone,
            high: window(before.high, here.high) & alone,
        };
        let start = end - (length & 63) as usize;
        if self.bytes.get(..start).is_some_and(|head| head.ends_with(b":")) && self.six_groups(start) {
            self.long_address(start - 1);
        }
        if !self.usual_name(end, window) {
            self.unusual_name(end);
        }
        self.host_done = self.host_done.max(end);
    }

    /// Reads a name of less than 64 bytes; false if it needs care.
    #[inline(always)]
    fn usual_name(&mut self, end: usize, window: Window) -> bool {
        let bytes = self.bytes;
        let Window { length, dots, digits, high } = window;
        let start = end - length as usize;
        if length == 64 || high != 0 || start < self.host_done {
            return false;
        }
        let Some((head, &[first, .., last])) = bytes.get(..end).and_then(|head| head.split_at_checked(start))
        else {
            return false;
        };
        let previous = head.last().copied().unwrap_or(b' ');
        let next = bytes.get(end).copied().unwrap_or(b' ');
        let beside = NEEDS_CARE[usize::from(previous)] & 5 | NEEDS_CARE[usize::from(next)] & 10;
        if first == b'-' || last == b'-' {
            return false;
        }
        if beside & 3 != 0 && self.needs_care(start, end) {
            return false;
        }

        // Each number of an address stands between digits and dots.
        let mut quad = (dots & digits << 1 & digits >> 1).count_ones() >= 3;
        let others = length - digits.count_ones();
        let last_dot = dots.leading_zeros();
        if quad && others > 3 {
            // Five numbers may be an address and a port, six are nothing; of a name, parts between
            // hyphens may be an address.
            if others == dots.count_ones() {
                return others > 4;
            }
            if bytes[start..end].contains(&b'-') {
                return false;
            }
            quad = false;
        }
        if !quad && digits.leading_ones() >= last_dot {
            return true;
        }

        let rest = dots & !(1 << (63 - last_dot));
        let mark = if quad { length } else { rest.leading_zeros().min(length) };
        let hash = self.mark_hash(end, mark as usize);
        let octets = || two_octets(&bytes[start..end], dots >> (64 - length));
        if self.interest.host(hash) || (quad && self.interest.prefix(octets)) {
            return self.host_of_interest(start, end, dots, quad, beside);
        }
        if self.waiting.is_some_and(|url| url.end == start && !url.encoded) && self.authority_ends(end) {
            self.waiting = None;
        }
        true
    }

    /// Reads a host that matters; false if it needs care.
    #[inline(never)]
    fn host_of_interest(&mut self, start: usize, end: usize, dots: u64, quad: bool, beside: u8) -> bool {
        if quad {
            match host::quad(&self.bytes[start..end]) {
                Some((address, length)) if length == end - start => self.address(start, end, address.into()),
                _ => return true,
            }
        } else {
            if beside & 4 != 0 && at_sign(self.bytes, start) > 0 {
                return false;
            }
            self.suffixes_of(start, end, dots);
        }
        if beside & 8 != 0 {
            self.perhaps_bare_url(start, end, quad, true, None);
        }
        true
    }

    /// Hashes the last bytes of a host.
    #[inline(always)]
    fn mark_hash(&self, end: usize, length: usize) -> u64 {
        match self.bytes.get(..end).and_then(|head| head.last_chunk()) {
            Some(block) if length <= 16 => {
                self.seed.name_end(self.seed.name_start(), u128::from_le_bytes(*block), length, length)
            }
            _ => Suffixes::new(self.seed, self.bytes, end).hash(end - length),
        }
    }

    /// An escape seems to stand before `start`, or a defanged dot behind `end`.
    #[inline(never)]
    fn needs_care(&self, start: usize, end: usize) -> bool {
        escape(self.bytes, start).is_some() || self.dot_joins(end)
    }

    /// Each label suffix, the shortest first; the highest of the dots is the last.
    fn suffixes_of(&mut self, start: usize, end: usize, mut dots: u64) {
        let mut hasher = Suffixes::new(self.seed, self.bytes, end);
        while dots != 0 {
            let label = end - dots.leading_zeros() as usize;
            dots &= !(1 << (63 - dots.leading_zeros()));
            let hash = hasher.hash(label);
            self.domain(label, end, hash, false);
        }
        let hash = hasher.hash(start);
        self.domain(start, end, hash, true);
    }

    #[inline]
    fn domain(&mut self, start: usize, end: usize, hash: u64, whole: bool) {
        let span = Span { start: start as u32, end: end as u32 };
        (self.emit)(Observable { kind: Kind::Domain, span, hash, address: None, whole });
    }

    /// A name of any length, whatever stands in it and around it.
    #[inline(never)]
    fn unusual_name(&mut self, end: usize) {
        let bytes = self.bytes;
        let start = self.name_start(end);
        let text = bytes.get(start..end).unwrap_or_default();
        if !text.contains(&b'.') {
            return;
        }
        let defanged =
            matches!(bytes.get(end), Some(b'[' | b'(' | b'{' | b'%' | b'\\')) && self.dot_joins(end);
        if defanged || !text.is_ascii() {
            return self.segments(start);
        }
        self.host_done = end;
        self.name(Name { text, place: Place::Plain(start), left: Left::Border, right: true });
    }

    /// Back over label characters and single dots between them, not before what has been read.
    fn name_start(&self, mut start: usize) -> usize {
        let label = |at: usize| self.bytes.get(at).is_some_and(|byte| is_label(*byte) || *byte >= 0x80);
        while start > self.host_done
            && (label(start - 1)
                || (self.bytes[start - 1] == b'.' && label(start) && start > 1 && label(start - 2)))
        {
            start -= 1;
        }
        start
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

    /// A dot of any form stands at `at` and a label follows it.
    fn dot_joins(&self, at: usize) -> bool {
        let length = dot(self.bytes, at);
        length > 0 && self.bytes.get(at + length).is_some_and(|byte| is_label(*byte) || *byte >= 0x80)
    }

    /// A defanged dot at `at` whose name has no plain dot before it.
    fn defanged(&mut self, at: usize) {
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

    /// A scheme seems to stand before `at`. Its URL waits until its host is known not to matter,
    /// or for the next one.
    fn scheme(&mut self, at: usize) {
        if let Some(found) = url::delimiter(self.bytes, at) {
            self.waiting_url();
            self.waiting = Some(found);
        }
    }

    /// The URL that waits for its host, if one does.
    fn waiting_url(&mut self) {
        let Some(found) = self.waiting.take() else { return };
        if (found.encoded || self.authority_matters(found.end))
            && let Some(start) = url::scheme_start(self.bytes, found.start)
        {
            self.urls(start, found.end, found.encoded);
        }
    }

    /// Of a plain host as authority the last labels decide, of another nothing is known.
    fn authority_matters(&self, start: usize) -> bool {
        let tail = self.bytes.get(start..).unwrap_or_default();
        let length = tail.iter().position(|byte| !is_label(*byte) && *byte != b'.').unwrap_or(tail.len());
        let host = tail[..length].strip_suffix(b".").unwrap_or(&tail[..length]);
        let mark = host::mark(host);
        !self.authority_ends(start + length)
            || self.interest.host(self.mark_hash(start + mark.end, mark.len()))
    }

    /// Behind a host its authority ends here, or with a port.
    fn authority_ends(&self, end: usize) -> bool {
        let rest = match self.bytes.get(end..).unwrap_or_default() {
            [b':', port @ ..] => &port[port.iter().take_while(|byte| byte.is_ascii_digit()).count()..],
            rest => rest,
        };
        match rest {
            [] | [b'\\', b'/', ..] => true,
            [byte, ..] => *byte <= b' ' || b"/?#\"<>`|".contains(byte),
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

    fn long_address(&mut self, mark: usize) {
        if mark < self.address_done {
            return;
        }
        let start = self.run_start(mark, self.address_done);
        let end = self.run_end(mark);
        self.address_done = end;
        for (start, bordered) in self.readings(start).into_iter().flatten() {
            self.long_address_at(start, end, bordered);
        }
    }

    /// Six groups without `::` end before `at`; with a dotted quad behind them that is an IPv6 address,
    /// and may be too short to be noticed by its digits.
    fn six_groups(&self, at: usize) -> bool {
        /// Six groups with their colons.
        const LONGEST: usize = 6 * 5;
        let head = self.bytes.get(..at).unwrap_or_default();
        let row = head.iter().rev().take(LONGEST).take_while(|byte| is_hex(**byte));
        row.filter(|byte| **byte == b':').count() >= 6
    }

    /// Where the hexadecimal digits and colons before `at` begin, not before `least`.
    fn run_start(&self, at: usize, least: usize) -> usize {
        let head = self.bytes.get(least..at).unwrap_or_default();
        at - head.iter().rev().take_while(|byte| is_hex(**byte)).count()
    }

    /// Where the hexadecimal digits and colons from `at` on end.
    fn run_end(&self, at: usize) -> usize {
        let tail = self.bytes.get(at..).unwrap_or_default();
        at + tail.iter().take_while(|byte| is_hex(**byte)).count()
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
        // An address has up to eight, one more with a port; without `::` six at least. This is how the
        // addresses of network cards are left early.
        let colons = text.iter().filter(|byte| **byte == b':').count();
        let shortened = || text.windows(2).any(|pair| pair == b"::");
        if !(2..=9).contains(&colons) || (colons < 6 && !shortened()) {
            return;
        }
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
        if !text.contains(&b':') {
            return;
        }
        if let Some(address) = host::long(text) {
            return self.address(start, end, address.into());
        }
        // Eight groups and, behind one more colon, the port.
        let Some(colon) = text.iter().rposition(|byte| *byte == b':') else { return };
        let (head, port) = text.split_at(colon);
        let full = head.iter().filter(|byte| **byte == b':').count() == 7;
        if full
            && port[1..].iter().all(u8::is_ascii_digit)
            && let Some(address) = host::long(head)
        {
            self.address(start, start + colon, address.into());
        }
    }

    // Hashes -----------------------------------------------------------------------------------

    /// The address and the hashes in a long run of hexadecimal digits and colons, from what has been
    /// read of it.
    fn digits(&mut self, mark: usize) {
        let bytes = self.bytes;
        let start = self.run_start(mark, self.hash_done);
        let end = self.run_end(mark);
        let Some(run) = bytes.get(start..end) else { return };
        let mut colons = memchr::memchr_iter(b':', run).peekable();
        if colons.peek().is_some() {
            self.long_address(mark);
        }
        let mut from = start;
        for colon in colons {
            self.hash(from, start + colon);
            from = start + colon + 1;
        }
        self.hash(from, end);
        self.hash_done = end;
    }

    fn hash(&mut self, start: usize, end: usize) {
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

/// What IPv6 addresses and hashes are made of.
fn is_hex(byte: u8) -> bool {
    HEX_VALUES[usize::from(byte)] <= COLON
}

/// The value of each hexadecimal digit, [`COLON`], or more for what is neither.
static HEX_VALUES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut at = 0;
    while at < 256 {
        if let Some(value) = hex_digit(at as u8) {
            table[at] = value;
        }
        at += 1;
    }
    table[b':' as usize] = COLON;
    table
};
const COLON: u8 = 16;

/// Writes the bytes that hexadecimal digits stand for; returns how many.
pub(super) fn unhex(digits: &[u8], out: &mut [u8; 64]) -> usize {
    let mut length = 0;
    for (pair, slot) in digits.chunks_exact(2).zip(out.iter_mut()) {
        *slot = HEX_VALUES[usize::from(pair[0])] << 4 | HEX_VALUES[usize::from(pair[1])];
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
