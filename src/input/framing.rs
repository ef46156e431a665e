//! Cuts a stream of bytes into messages (RFC 6587), choosing the framing for each message anew.
//!
//! A message that begins with 1 to 7 digits, a space and `<` is counted: the digits say how many
//! bytes follow the space. Everything else ends at a delimiter. [`Framer`] looks at a slice and says
//! how much of it the next [`Frame`] takes; the caller keeps what is left over and comes again with
//! more behind it. Every decision depends on the bytes from the start of the message alone, never on
//! where the reads fell. [`Assembler`] keeps the left-over for callers without a buffer of their own.
//!
//! Messages of IPFIX are no text and state their length themselves: [`Delimiters::Ipfix`].
//!
//! An entry of a journal (`journalctl -o export`) is many lines and ends at the empty one: see
//! [`journal`].
//!
//! Senders err, and a connection outlives their error:
//! - A message over the limit keeps its head, and the rest is skipped: by its count, or to the
//!   delimiter.
//! - A count that is too large swallows what it covers, 10 MB at most, because it has seven digits.
//! - A count that is too small (characters counted instead of bytes is the usual reason) leaves the
//!   end of the message behind as a message of its own. It ends at the delimiter, or before the next
//!   counted header, since such senders often write no delimiter at all.

use super::journal::{self, Field};
use memchr::{memchr, memchr2, memmem};

/// What ends a message that is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiters {
    /// LF, CRLF or NUL: TCP and TLS.
    Stream,
    /// LF or CRLF; NUL is content: files and standard input.
    Lines,
    /// Nothing: each message states its length in the header of IPFIX (RFC 7011, section 3.1). A stream
    /// that does not go on with such a header cannot be followed any more ([`Framer::is_lost`]).
    Ipfix,
}

/// One message without its framing; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its bytes, or its head.
    pub bytes: &'a [u8],
    /// The message was longer than the limit, or the stream ended inside a counted one.
    pub truncated: bool,
}

/// What [`Framer::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the slice that are done with.
    pub consumed: usize,
    /// Where the bytes of the message begin in the slice.
    pub start: usize,
    /// The next message; none means that it needs more bytes behind those not consumed.
    pub frame: Option<Frame<'a>>,
}

/// Finds the next message in a slice; the state between two calls is a few words.
#[derive(Clone, Debug)]
pub struct Framer {
    delimiters: Delimiters,
    max_message: usize,
    position: Position,
    /// The message before was counted, so a delimiter is not to be expected.
    after_counted: bool,
    /// Bytes of the unfinished message that hold no delimiter, so that they are searched once.
    searched: usize,
    /// Where the next field of the unfinished entry of a journal begins.
    field: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// At the start of a message.
    Start,
    /// In the rest of a counted message whose head was handed out.
    SkipCounted(usize),
    /// In the rest of a delimited message whose head was handed out; `leftover` of a counted one.
    SkipDelimited { leftover: bool },
    /// In the rest of an entry of a journal whose head was handed out.
    SkipEntry(Rest),
    /// Behind something that is no message and says nothing of where the next one begins.
    Lost,
}

/// What of an entry of a journal is skipped next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// A field, from its first byte.
    Field,
    /// The rest of a name, of which there were so many bytes.
    Name(usize),
    /// The rest of a line.
    Line,
    /// The rest of a length: how many bytes of it were there, and what they say.
    Length(u32, u64),
    /// So many bytes of a value.
    Value(usize),
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(delimiters: Delimiters, max_message: usize) -> Framer {
        let max_message = max_message.max(1);
        let position = Position::Start;
        Framer { delimiters, max_message, position, after_counted: false, searched: 0, field: 0 }
    }

    /// More bytes than [`Framer::next`] leaves unconsumed when it finds no message.
    pub fn max_tail(&self) -> usize {
        self.max_message + HEADER + 1
    }

    /// Nothing more can be read of the stream; whoever reads it closes it (RFC 7011, section 10.3).
    pub fn is_lost(&self) -> bool {
        self.position == Position::Lost
    }

    /// Whether no message is under way, as far as the bytes before those not consumed tell.
    pub fn is_between(&self) -> bool {
        self.position == Position::Start
    }

    /// Finds the next message at the start of `buffer`, which begins with what the last call left.
    ///
    /// With `end` nothing will follow: an unfinished message is handed out as it is.
    #[inline]
    pub fn next<'a>(&mut self, buffer: &'a [u8], end: bool) -> Step<'a> {
        self.line(buffer).unwrap_or_else(|| self.any(buffer, end))
    }

    /// The message that most are: it begins with `<`, stands whole in the buffer and follows one that
    /// was not counted. `None` says to ask [`Framer::any`], which would find the same.
    #[inline]
    fn line<'a>(&self, buffer: &'a [u8]) -> Option<Step<'a>> {
        let fresh = self.position == Position::Start && !self.after_counted && self.searched == 0;
        if !fresh || buffer.first() != Some(&b'<') {
            return None;
        }
        // For IPFIX there is none to find, so that it goes on to be refused.
        let delimiter = self.find(head(buffer, self.max_tail()))?;
        Some(self.cut(self.trim(head(buffer, delimiter), buffer.get(delimiter)), delimiter + 1))
    }

    fn any<'a>(&mut self, buffer: &'a [u8], end: bool) -> Step<'a> {
        let mut at = self.skip(buffer, end);
        if self.position != Position::Start {
            return Step { consumed: at, start: at, frame: None };
        }
        if self.delimiters == Delimiters::Ipfix {
            let step = self.ipfix(rest(buffer, at), end);
            return Step { consumed: at + step.consumed, start: at + step.start, ..step };
        }
        let empty = self.skip_empty(rest(buffer, at), end);
        if empty > 0 {
            // A lone CR was searched before its LF came.
            self.searched = 0;
        }
        at += empty;
        let message = rest(buffer, at);
        let step = match header(message) {
            Header::Unfinished if !end => Step { consumed: 0, start: 0, frame: None },
            Header::Counted { start, count } => self.counted(rest(message, start), start, count, end),
            // With a limit under a few names there are no entries but lines.
            Header::Unknown if self.max_message >= journal::NAME_MAX => match journal::begins(message) {
                Some(first) => self.entry(first, message, end),
                None if end || !journal::may_begin(message) => self.delimited(message, end),
                None => Step { consumed: 0, start: 0, frame: None },
            },
            _ => self.delimited(message, end),
        };
        Step { consumed: at + step.consumed, start: at + step.start, ..step }
    }

    fn counted<'a>(&mut self, body: &'a [u8], start: usize, count: usize, end: bool) -> Step<'a> {
        let kept = count.min(self.max_message);
        if let Some(bytes) = body.get(..kept) {
            self.after_counted = true;
            if kept < count {
                self.position = Position::SkipCounted(count - kept);
            }
            let frame = (count > 0).then_some(Frame { bytes, truncated: kept < count });
            if frame.is_none() {
                // "0 <": the empty message is skipped, and what follows it stands for itself.
                let step = self.next(body, end);
                return Step { consumed: start + step.consumed, start: start + step.start, ..step };
            }
            return Step { consumed: start + kept, start, frame };
        }
        if end {
            return Step {
                consumed: start + body.len(),
                start,
                frame: Some(Frame { bytes: body, truncated: true }),
            };
        }
        Step { consumed: 0, start: 0, frame: None }
    }

    /// A message of IPFIX; what is none is handed out as far as it is here, and is the last.
    fn ipfix<'a>(&mut self, message: &'a [u8], end: bool) -> Step<'a> {
        const VERSION: u8 = 10;
        const HEADER: u16 = 16;
        match *message {
            [] => return Step { consumed: 0, start: 0, frame: None },
            [0] | [0, VERSION] | [0, VERSION, _] if !end => {
                return Step { consumed: 0, start: 0, frame: None };
            }
            [0, VERSION, high, low, ..] => {
                let length = u16::from_be_bytes([high, low]);
                if length >= HEADER {
                    return self.counted(message, 0, length.into(), end);
                }
            }
            _ => {}
        }
        self.position = Position::Lost;
        self.cut(message, message.len())
    }

    fn delimited<'a>(&mut self, message: &'a [u8], end: bool) -> Step<'a> {
        if message.is_empty() {
            return Step { consumed: 0, start: 0, frame: None };
        }
        // A message of the full length may be followed by CRLF or a counted header; looking no further
        // than that makes the outcome independent of how much happens to be in the buffer.
        let window = head(message, self.max_tail());
        let delimiter = self.find(rest(window, self.searched)).map(|found| found + self.searched);
        let leftover = self.after_counted && message.first() != Some(&b'<');
        let limit = delimiter.unwrap_or(window.len());
        if leftover && let Some(next) = find_header(head(window, limit)) {
            self.searched = 0;
            return self.cut(head(window, next), next);
        }
        if let Some(delimiter) = delimiter {
            self.searched = 0;
            self.after_counted = false;
            return self.cut(self.trim(head(window, delimiter), message.get(delimiter)), delimiter + 1);
        }
        if window.len() == self.max_tail() {
            self.searched = 0;
            self.position = Position::SkipDelimited { leftover };
            // A header may begin at the end of the window; it is found while skipping.
            return self.cut(window, window.len() - unfinished_header(window));
        }
        if end {
            self.searched = 0;
            return self.cut(self.trim(message, Some(&b'\n')), message.len());
        }
        self.searched = message.len();
        Step { consumed: 0, start: 0, frame: None }
    }

    /// An entry of a journal, whose first field has the name `first`.
    fn entry<'a>(&mut self, first: &[u8], message: &'a [u8], end: bool) -> Step<'a> {
        let window = head(message, self.max_tail());
        let is_full = window.len() == self.max_tail();
        loop {
            let at = self.field;
            let line = rest(window, at);
            let field = if at > 0 && line.starts_with(first) { Field::None } else { Field::of(line) };
            let next = match field {
                Field::End => return self.entry_ends(head(window, at), at + 1),
                Field::None => return self.entry_ends(head(window, at), at),
                Field::Text(_) => match memchr(b'\n', rest(window, self.searched.max(at))) {
                    Some(found) => Some(self.searched.max(at) + found + 1),
                    None => {
                        self.searched = window.len();
                        None
                    }
                },
                // The value counts its bytes, and a line end follows it.
                Field::Binary { start, length } => match window.get(at + start + length) {
                    Some(b'\n') => Some(at + start + length + 1),
                    Some(_) => return self.entry_ends(head(window, at), at),
                    None if !is_full => None,
                    None => {
                        let there = window.len().saturating_sub(at + start);
                        return self.entry_overflows(window, Rest::Value(length.saturating_sub(there)));
                    }
                },
                Field::Unfinished => None,
            };
            match next {
                Some(next) => self.field = next,
                None if is_full => {
                    let (rest, taken) = match field {
                        Field::Text(_) => (Rest::Line, window.len()),
                        // What is left unconsumed is shorter than a name and a length.
                        _ => (Rest::Field, at),
                    };
                    let step = self.entry_overflows(window, rest);
                    return Step { consumed: taken, ..step };
                }
                None if end => {
                    let mut step = self.entry_ends(window, window.len());
                    if matches!(field, Field::Binary { .. }) {
                        // A line end at the end is the value's.
                        step.frame = Some(Frame { bytes: head(window, self.max_message), truncated: true });
                    }
                    return step;
                }
                None => return Step { consumed: 0, start: 0, frame: None },
            }
        }
    }

    /// Hands out an entry without the line end of its last field.
    fn entry_ends<'a>(&mut self, entry: &'a [u8], consumed: usize) -> Step<'a> {
        (self.field, self.searched, self.after_counted) = (0, 0, false);
        self.cut(entry.strip_suffix(b"\n").unwrap_or(entry), consumed)
    }

    /// Hands out the head of an entry that is longer than the limit.
    fn entry_overflows<'a>(&mut self, window: &'a [u8], rest: Rest) -> Step<'a> {
        self.position = Position::SkipEntry(rest);
        self.entry_ends(window, window.len())
    }

    #[inline]
    fn cut<'a>(&self, bytes: &'a [u8], consumed: usize) -> Step<'a> {
        let frame = Frame { bytes: head(bytes, self.max_message), truncated: bytes.len() > self.max_message };
        Step { consumed, start: 0, frame: Some(frame) }
    }

    /// Drops the CR of a CRLF.
    #[inline]
    fn trim<'a>(&self, bytes: &'a [u8], delimiter: Option<&u8>) -> &'a [u8] {
        match bytes {
            [line @ .., b'\r'] if delimiter == Some(&b'\n') && !line.is_empty() => line,
            _ => bytes,
        }
    }

    /// Skips the rest of a message whose head was handed out; returns how much of it is here.
    fn skip(&mut self, buffer: &[u8], end: bool) -> usize {
        match self.position {
            Position::Start => 0,
            Position::Lost => buffer.len(),
            Position::SkipCounted(left) if left > buffer.len() => {
                self.position = Position::SkipCounted(left - buffer.len());
                buffer.len()
            }
            Position::SkipCounted(left) => {
                self.position = Position::Start;
                left
            }
            Position::SkipDelimited { leftover } => {
                let delimiter = self.find(buffer);
                let limit = delimiter.unwrap_or(buffer.len());
                let next = if leftover { find_header(head(buffer, limit)) } else { None };
                if let Some(next) = next {
                    self.position = Position::Start;
                    return next;
                }
                if let Some(delimiter) = delimiter {
                    self.position = Position::Start;
                    self.after_counted = false;
                    return delimiter + 1;
                }
                if end || !leftover {
                    return buffer.len();
                }
                // The end may be the beginning of a header.
                buffer.len() - unfinished_header(buffer)
            }
            Position::SkipEntry(rest) => self.skip_entry(rest, buffer),
        }
    }

    /// Skips the rest of an entry of a journal: to the empty line, or to what is no field.
    fn skip_entry(&mut self, mut part: Rest, buffer: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = buffer.get(at) {
            part = match part {
                Rest::Field | Rest::Name(_) if journal::in_name(*byte, part != Rest::Field) => match part {
                    Rest::Name(length) if length >= journal::NAME_MAX => Rest::Line,
                    Rest::Name(length) => Rest::Name(length + 1),
                    _ => Rest::Name(1),
                },
                Rest::Field => {
                    self.position = Position::Start;
                    return at + usize::from(*byte == b'\n');
                }
                Rest::Name(_) if *byte == b'\n' => Rest::Length(0, 0),
                Rest::Name(_) => Rest::Line,
                Rest::Line => match memchr(b'\n', rest(buffer, at)) {
                    Some(found) => {
                        at += found;
                        Rest::Field
                    }
                    None => {
                        at = buffer.len();
                        break;
                    }
                },
                Rest::Length(count, length) => {
                    let length = length | u64::from(*byte) << (8 * count);
                    match (count, journal::length_of(length)) {
                        (7, Some(length)) => Rest::Value(length),
                        // No length of a value: text follows, and the next line may be a field.
                        (7, None) => Rest::Line,
                        _ => Rest::Length(count + 1, length),
                    }
                }
                // The line end behind it.
                Rest::Value(0) if *byte == b'\n' => Rest::Field,
                Rest::Value(0) => {
                    part = Rest::Line;
                    continue;
                }
                Rest::Value(left) => {
                    let taken = left.min(buffer.len() - at);
                    at += taken;
                    part = Rest::Value(left - taken);
                    continue;
                }
            };
            at += 1;
        }
        self.position = Position::SkipEntry(part);
        at
    }

    /// Counts the delimiters before a message: empty messages, or LF written after a counted one.
    fn skip_empty(&self, buffer: &[u8], end: bool) -> usize {
        let mut at = 0;
        loop {
            match rest(buffer, at) {
                [b'\n', ..] => at += 1,
                [0, ..] if self.delimiters == Delimiters::Stream => at += 1,
                [b'\r', b'\n', ..] => at += 2,
                [b'\r'] if end => at += 1,
                _ => return at,
            }
        }
    }

    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match self.delimiters {
            Delimiters::Stream => memchr2(b'\n', 0, bytes),
            Delimiters::Lines => memchr(b'\n', bytes),
            Delimiters::Ipfix => None,
        }
    }
}

/// "1 to 7 digits": a count has at most this many.
const MAX_DIGITS: usize = 7;

/// The bytes that may have to be seen again to recognise a header: a digit that would make the count
/// too long, the longest count, space and `<`.
const HEADER: usize = MAX_DIGITS + 3;

enum Header {
    Counted {
        start: usize,
        count: usize,
    },
    Delimited,
    /// No digit comes first.
    Unknown,
    /// It could still become a count.
    Unfinished,
}

/// Reads the count at the start of a message.
fn header(message: &[u8]) -> Header {
    let mut count = 0;
    for (index, byte) in message.iter().enumerate().take(MAX_DIGITS + 1) {
        match byte {
            b'0'..=b'9' if index < MAX_DIGITS => count = count * 10 + usize::from(byte - b'0'),
            b' ' if index > 0 => {
                return match message.get(index + 1) {
                    Some(b'<') => Header::Counted { start: index + 1, count },
                    Some(_) => Header::Delimited,
                    None => Header::Unfinished,
                };
            }
            _ if index == 0 => return Header::Unknown,
            _ => return Header::Delimited,
        }
    }
    Header::Unfinished
}

/// Finds where a counted message begins inside `bytes`: digits, space, `<` and a digit.
///
/// The digit after `<` is asked for because here the header is searched for, not expected.
fn find_header(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, b" <").find_map(|space| {
        let follows = bytes.get(space + 2).is_some_and(u8::is_ascii_digit);
        let before = head(bytes, space);
        let digits =
            before.iter().rev().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        (follows && (1..=MAX_DIGITS).contains(&digits)).then_some(space - digits)
    })
}

/// Counts the bytes at the end of `bytes` that may be the beginning of a header.
///
/// One digit more than a count has belongs to them, so that a number which is too long stays too long.
/// A header that was complete, and refused, does not: with its digits cut off it would look different.
fn unfinished_header(bytes: &[u8]) -> usize {
    let before = bytes.strip_suffix(b" <").or(bytes.strip_suffix(b" ")).unwrap_or(bytes);
    let digits = before.iter().rev().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { 0 } else { bytes.len() - before.len() + digits }
}

fn head(bytes: &[u8], end: usize) -> &[u8] {
    bytes.get(..end).unwrap_or(bytes)
}

fn rest(bytes: &[u8], start: usize) -> &[u8] {
    bytes.get(start..).unwrap_or_default()
}

/// A [`Framer`] with the unfinished message in its keeping.
#[derive(Clone, Debug)]
pub struct Assembler {
    framer: Framer,
    tail: Vec<u8>,
}

impl Assembler {
    /// An assembler at the start of a stream.
    pub fn new(delimiters: Delimiters, max_message: usize) -> Assembler {
        Assembler { framer: Framer::new(delimiters, max_message), tail: Vec::new() }
    }

    /// Hands out every message that `bytes` finishes.
    pub fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) {
        if self.tail.is_empty() {
            let consumed = frames(&mut self.framer, bytes, false, each);
            self.tail.extend_from_slice(rest(bytes, consumed));
            return;
        }
        self.tail.extend_from_slice(bytes);
        let consumed = frames(&mut self.framer, &self.tail, false, each);
        self.tail.drain(..consumed);
    }

    /// Hands out the unfinished message at the end of the stream; the next byte starts a new one.
    pub fn finish(&mut self, each: &mut impl FnMut(Frame<'_>)) {
        frames(&mut self.framer, &self.tail, true, each);
        self.tail = Vec::new();
        self.framer = Framer::new(self.framer.delimiters, self.framer.max_message);
    }
}

/// Hands out every message in `buffer`; returns the bytes that are done with.
#[inline]
pub fn frames<'a>(
    framer: &mut Framer,
    buffer: &'a [u8],
    end: bool,
    each: &mut impl FnMut(Frame<'a>),
) -> usize {
    let mut at = 0;
    loop {
        let step = framer.next(rest(buffer, at), end);
        at += step.consumed;
        let Some(frame) = step.frame else { return at };
        each(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 32;

    fn cut(delimiters: Delimiters, pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        cut_at(MAX, delimiters, pieces)
    }

    fn cut_at(max: usize, delimiters: Delimiters, pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        let mut assembler = Assembler::new(delimiters, max);
        let mut each = |frame: Frame<'_>| found.push((frame.bytes.to_vec(), frame.truncated));
        for piece in pieces {
            assembler.push(piece, &mut each);
            assert!(assembler.tail.len() <= assembler.framer.max_tail());
        }
        assembler.finish(&mut each);
        found
    }

    /// Name, input, messages; a trailing `~` marks a truncated message.
    type Case = (&'static str, &'static [u8], &'static [&'static str]);

    const BOTH: &[Case] = &[
        ("nothing", b"", &[]),
        ("one line", b"<1>a\n", &["<1>a"]),
        ("line without delimiter", b"<1>a", &["<1>a"]),
        ("CRLF", b"<1>a\r\n<1>b\r\n", &["<1>a", "<1>b"]),
        ("CR inside a line is content", b"<1>a\rb\n", &["<1>a\rb"]),
        ("empty lines", b"\n\n<1>a\n\r\n\n<1>b\n\n", &["<1>a", "<1>b"]),
        ("a CR at the end", b"<1>a\n\r", &["<1>a"]),
        ("counted", b"4 <1>a4 <1>b", &["<1>a", "<1>b"]),
        ("counted with LF after", b"4 <1>a\n4 <1>b\n", &["<1>a", "<1>b"]),
        ("counted holds LF", b"6 <1>a\nb4 <1>c", &["<1>a\nb", "<1>c"]),
        ("counted, then line, then counted", b"4 <1>a<2>line\n4 <1>b", &["<1>a", "<2>line", "<1>b"]),
        ("line, then counted", b"<2>line\n4 <1>b", &["<2>line", "<1>b"]),
        ("leading zero", b"004 <1>a<1>b\n", &["<1>a", "<1>b"]),
        ("seven digits", b"0000004 <1>a<1>b\n", &["<1>a", "<1>b"]),
        ("eight digits are text", b"00000004 <1>a\n", &["00000004 <1>a"]),
        ("digits without space", b"16<1>1\n", &["16<1>1"]),
        ("digits and space without <", b"16 x<1>\n<1>b\n", &["16 x<1>", "<1>b"]),
        ("digits at the end", b"<1>a\n16", &["<1>a", "16"]),
        ("digits and space at the end", b"<1>a\n16 ", &["<1>a", "16 "]),
        ("digits alone on a line", b"16\n<1>a\n", &["16", "<1>a"]),
        ("space first", b" <1>a\n", &[" <1>a"]),
        ("count of nothing", b"0 <1>a\n<1>b\n", &["<1>a", "<1>b"]),
        ("count too large, end of stream", b"9 <1>a", &["<1>a~"]),
        ("count too large swallows", b"9 <1>a\n<1>bcd\n<1>e\n", &["<1>a\n<1>b", "cd", "<1>e"]),
        ("count too small, then line", b"4 <1>abc\n<1>d\n", &["<1>a", "bc", "<1>d"]),
        ("count too small, then counted", b"4 <1>abc4 <1>d4 <1>e", &["<1>a", "bc", "<1>d", "<1>e"]),
        ("too small, header across a delimiter", b"4 <1>ab 4\n <1>d\n", &["<1>a", "b 4", " <1>d"]),
        ("a line may look like a header", b"<1>x 4 <1>a\n4 <1>b", &["<1>x 4 <1>a", "<1>b"]),
        (
            "a line after a counted one may look like a header",
            b"4 <1>a<1>x 4 <1>a\n4 <1>b",
            &["<1>a", "<1>x 4 <1>a", "<1>b"],
        ),
        (
            "the full length",
            b"<1>45678901234567890123456789012\r\n<1>b\n",
            &["<1>45678901234567890123456789012", "<1>b"],
        ),
        (
            "one too many",
            b"<1>456789012345678901234567890123\r\n<1>b\n",
            &["<1>45678901234567890123456789012~", "<1>b"],
        ),
        (
            "many too many",
            b"<1>4567890123456789012345678901234567890123456789012345678901234567890\n<1>b\n",
            &["<1>45678901234567890123456789012~", "<1>b"],
        ),
        (
            "too many at the end",
            b"<1>4567890123456789012345678901234567890",
            &["<1>45678901234567890123456789012~"],
        ),
        (
            "counted too many",
            b"40 <1>45678901234567890123456789012345678904 <1>b\n",
            &["<1>45678901234567890123456789012~", "<1>b"],
        ),
        (
            "too long a line is skipped to its end, whatever it says",
            b"4 <1>a<1>45678901234567890123456789012345678904 <1>b x 4 <1>b\n<1>c",
            &["<1>a", "<1>45678901234567890123456789012~", "<1>c"],
        ),
        (
            "too long a leftover is skipped to the next header",
            b"4 <1>a--------------------------------------------4 <1>b4 <1>c",
            &["<1>a", "--------------------------------~", "<1>b", "<1>c"],
        ),
        (
            "too long a number in a skipped leftover is no count, wherever the reads fall",
            b"4 <1>a-------------------------------------------1234567860 <1>c4 <1>b",
            &["<1>a", "--------------------------------~", "<1>b"],
        ),
        (
            "a header across the limit of a leftover",
            b"4 <1>a-------------------------------4 <1>b4 <1>c",
            &["<1>a", "-------------------------------", "<1>b", "<1>c"],
        ),
    ];

    const STREAM: &[Case] = &[
        ("NUL", b"<1>a\0<1>b\0", &["<1>a", "<1>b"]),
        ("empty between NUL", b"\0\0<1>a\0\n", &["<1>a"]),
        ("counted with NUL after", b"4 <1>a\x004 <1>b\0", &["<1>a", "<1>b"]),
        ("counted holds NUL", b"6 <1>a\0b4 <1>b", &["<1>a\0b", "<1>b"]),
    ];

    const LINES: &[Case] = &[("NUL is content", b"<1>a\0b\n\0\n", &["<1>a\0b", "\0"])];

    fn cases() -> impl Iterator<Item = (Delimiters, Case)> {
        let both = BOTH.iter().flat_map(|case| [(Delimiters::Stream, *case), (Delimiters::Lines, *case)]);
        let stream = STREAM.iter().map(|case| (Delimiters::Stream, *case));
        both.chain(stream).chain(LINES.iter().map(|case| (Delimiters::Lines, *case)))
    }

    fn expected(messages: &[&str]) -> Vec<(Vec<u8>, bool)> {
        let message = |text: &&str| match text.strip_suffix('~') {
            Some(head) => (head.as_bytes().to_vec(), true),
            None => (text.as_bytes().to_vec(), false),
        };
        messages.iter().map(message).collect()
    }

    #[test]
    fn tables() {
        for (delimiters, (name, input, messages)) in cases() {
            assert_eq!(cut(delimiters, &[input]), expected(messages), "{name}, {delimiters:?}");
        }
    }

    #[test]
    fn splits_change_nothing() {
        for (delimiters, (name, input, messages)) in cases() {
            let expected = expected(messages);
            for first in 0..=input.len() {
                for second in first..=input.len() {
                    let pieces = [&input[..first], &input[first..second], &input[second..]];
                    assert_eq!(cut(delimiters, &pieces), expected, "{name} at {first} and {second}");
                }
            }
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(cut(delimiters, &bytes), expected, "{name} byte by byte");
        }
    }

    proptest::proptest! {
        /// Streams made of what framing reacts to, cut anywhere.
        #[test]
        fn any_stream_any_split(
            parts in proptest::collection::vec(0usize..14, 0..60),
            max in 1usize..40,
            splits in proptest::collection::vec(0usize..400, 0..8),
        ) {
            const PARTS: [&[u8]; 14] = [
                b"\n", b"\r\n", b"\0", b"\r", b"4 <1>a", b"16 <", b"<1>b", b"5", b"12345678", b" <2", b" ",
                b"text", b"--------------------", b"60 <1>c",
            ];
            let input: Vec<u8> = parts.iter().flat_map(|part| PARTS[*part]).copied().collect();
            let mut splits: Vec<usize> = splits.into_iter().map(|at| at.min(input.len())).collect();
            splits.extend([0, input.len()]);
            splits.sort_unstable();
            let pieces: Vec<&[u8]> = splits.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
            for delimiters in [Delimiters::Stream, Delimiters::Lines] {
                let whole = cut_at(max, delimiters, &[&input]);
                proptest::prop_assert_eq!(&cut_at(max, delimiters, &pieces), &whole);
                proptest::prop_assert!(whole.iter().all(|(bytes, _)| !bytes.is_empty() && bytes.len() <= max));
            }
        }
    }

    /// With the limit of [`ENTRY_MAX`].
    const ENTRIES: &[Case] = &[
        (
            "two entries",
            b"__CURSOR=s\nMESSAGE=a\n\n__CURSOR=t\nMESSAGE=b\n\n",
            &["__CURSOR=s\nMESSAGE=a", "__CURSOR=t\nMESSAGE=b"],
        ),
        ("the other first field", b"__REALTIME_TIMESTAMP=1\nA=1\n\n", &["__REALTIME_TIMESTAMP=1\nA=1"]),
        ("the stream ends", b"__CURSOR=s\nMESSAGE=a", &["__CURSOR=s\nMESSAGE=a"]),
        ("the stream ends behind a name", b"__CURSOR=s\nMESSA", &["__CURSOR=s\nMESSA"]),
        (
            "a value with line ends and NUL",
            b"__CURSOR=s\nMESSAGE\n\x06\0\0\0\0\0\0\0a\n\n<1>\n_PID=1\n\n<1>b\n",
            &["__CURSOR=s\nMESSAGE\n\x06\0\0\0\0\0\0\0a\n\n<1>\n_PID=1", "<1>b"],
        ),
        (
            "the stream ends within a value",
            b"__CURSOR=s\nMESSAGE\n\x06\0\0\0\0\0\0\0a\n",
            &["__CURSOR=s\nMESSAGE\n\x06\0\0\0\0\0\0\0a\n~"],
        ),
        (
            "an empty value",
            b"__CURSOR=s\nA\n\0\0\0\0\0\0\0\0\n\n<1>b\n",
            &["__CURSOR=s\nA\n\0\0\0\0\0\0\0\0", "<1>b"],
        ),
        (
            "a message follows without the empty line",
            b"__CURSOR=s\nA=1\n<1>b\n4 <1>c",
            &["__CURSOR=s\nA=1", "<1>b", "<1>c"],
        ),
        (
            "an entry follows without the empty line",
            b"__CURSOR=s\nA=1\n__CURSOR=t\nB=2\n\n",
            &["__CURSOR=s\nA=1", "__CURSOR=t\nB=2"],
        ),
        ("line ends of Windows", b"__CURSOR=s\r\nA=1\r\n\r\n<1>b\r\n", &["__CURSOR=s\r\nA=1\r", "<1>b"]),
        (
            "a length beyond belief is none",
            b"__CURSOR=s\nERROR\n<1>text follows\n<1>b\n",
            &["__CURSOR=s", "ERROR", "<1>text follows", "<1>b"],
        ),
        (
            "a value that no line end follows is none",
            b"__CURSOR=s\nA\n\x01\0\0\0\0\0\0\0xyz\n<1>b\n",
            &["__CURSOR=s", "A", "\x01\0\0\0\0\0\0\0xyz", "<1>b"],
        ),
        (
            "what only begins like one",
            b"__CURSO\n__CURSORS=1\n_x\n<1>b\n",
            &["__CURSO", "__CURSORS=1", "_x", "<1>b"],
        ),
        (
            "too long a line",
            b"__CURSOR=s\nA=123456789 123456789 123456789 123456789 123456789 123456789 \
              123456789 123456789\nB=2\n\n<1>b\n",
            &["__CURSOR=s\nA=123456789 123456789 123456789 123456789 123456789 1~", "<1>b"],
        ),
        (
            "too many fields",
            b"__CURSOR=s\nA=123456789\nB=123456789\nC=123456789\nD=123456789\nE=123456789\nF=123456789\n\
              G=1\n\n<1>b\n",
            &["__CURSOR=s\nA=123456789\nB=123456789\nC=123456789\nD=123456789\nE=123~", "<1>b"],
        ),
        (
            "too long a value",
            b"__CURSOR=s\nA\n\x50\0\0\0\0\0\0\0................................................\
              ......................\n\n<1>b\n_B=2\n\n<1>b\n",
            &["__CURSOR=s\nA\n\x50\0\0\0\0\0\0\0...........................................~", "<1>b"],
        ),
        (
            "values behind too long a line",
            b"__CURSOR=s\nA=123456789 123456789 123456789 123456789 123456789 123456789 123456789\n\
              B\n\x05\0\0\0\0\0\0\0\n<1>b\nC=2\n<1>b\n",
            &["__CURSOR=s\nA=123456789 123456789 123456789 123456789 123456789 1~", "<1>b"],
        ),
    ];

    const ENTRY_MAX: usize = 64;

    #[test]
    fn entries_of_a_journal_end_at_the_empty_line() {
        for (name, input, messages) in ENTRIES {
            let expected = expected(messages);
            for delimiters in [Delimiters::Lines, Delimiters::Stream] {
                // Behind an entry that ends early, NUL is what it is in any line.
                if delimiters == Delimiters::Stream && messages.iter().skip(1).any(|m| m.contains('\0')) {
                    continue;
                }
                assert_eq!(cut_at(ENTRY_MAX, delimiters, &[input]), expected, "{name}");
                for first in 0..=input.len() {
                    for second in first..=input.len() {
                        let pieces = [&input[..first], &input[first..second], &input[second..]];
                        let found = cut_at(ENTRY_MAX, delimiters, &pieces);
                        assert_eq!(found, expected, "{name} at {first} and {second}");
                    }
                }
                let bytes: Vec<&[u8]> = input.chunks(1).collect();
                assert_eq!(cut_at(ENTRY_MAX, delimiters, &bytes), expected, "{name} byte by byte");
            }
        }
    }

    proptest::proptest! {
        /// Entries and what goes wrong with them, cut anywhere.
        #[test]
        fn any_entries_any_split(
            parts in proptest::collection::vec(0usize..16, 0..60),
            max in 60usize..120,
            splits in proptest::collection::vec(0usize..600, 0..8),
        ) {
            const PARTS: [&[u8]; 16] = [
                b"\n", b"\n\n", b"__CURSOR=s\n", b"__REALTIME_TIMESTAMP=1\n", b"MESSAGE=text\n", b"MESSAGE\n",
                b"\x05\0\0\0\0\0\0\0", b"\x50\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0", b"12345\n", b"_A", b"4 <1>a",
                b"<1>b", b"----------------------------------------", b"\0", b"\xff\0\0\0\0\0\0\0",
            ];
            let input: Vec<u8> = parts.iter().flat_map(|part| PARTS[*part]).copied().collect();
            let mut splits: Vec<usize> = splits.into_iter().map(|at| at.min(input.len())).collect();
            splits.extend([0, input.len()]);
            splits.sort_unstable();
            let pieces: Vec<&[u8]> = splits.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            for delimiters in [Delimiters::Stream, Delimiters::Lines] {
                let whole = cut_at(max, delimiters, &[&input]);
                proptest::prop_assert_eq!(&cut_at(max, delimiters, &pieces), &whole);
                proptest::prop_assert_eq!(&cut_at(max, delimiters, &bytes), &whole);
                proptest::prop_assert!(whole.iter().all(|(bytes, _)| !bytes.is_empty() && bytes.len() <= max));
            }
        }
    }

    #[test]
    fn messages_of_ipfix_state_their_length() {
        let message =
            |length: u16, body: &[u8]| [&[0, 10][..], &length.to_be_bytes(), &[7; 12], body].concat();
        let (short, long) = (message(20, b"data"), message(60, &[9; 44]));
        let text = |bytes: &[u8]| (bytes.to_vec(), false);
        let cases = [
            ("one", short.clone(), vec![text(&short)], false),
            ("two", [&short[..], &short].concat(), vec![text(&short), text(&short)], false),
            (
                "one too long keeps its head",
                [&long[..], &short].concat(),
                vec![(long[..MAX].to_vec(), true), text(&short)],
                false,
            ),
            ("the stream ends within", short[..18].to_vec(), vec![(short[..18].to_vec(), true)], false),
            ("shorter than its header", message(15, b""), vec![text(&message(15, b""))], true),
            (
                "another version",
                [&short[..], b"\x00\x09\x00\x14"].concat(),
                vec![text(&short), text(b"\x00\x09\x00\x14")],
                true,
            ),
            ("syslog", b"<1>a\n".to_vec(), vec![text(b"<1>a\n")], true),
        ];
        for (name, input, expected, lost) in cases {
            assert_eq!(cut(Delimiters::Ipfix, &[&input]), expected, "{name}");
            let mut framer = Framer::new(Delimiters::Ipfix, MAX);
            frames(&mut framer, &input, true, &mut |_| {});
            assert_eq!(framer.is_lost(), lost, "{name}");
            if !lost {
                let bytes: Vec<&[u8]> = input.chunks(1).collect();
                assert_eq!(cut(Delimiters::Ipfix, &bytes), expected, "{name}, byte by byte");
            }
        }
    }
}
