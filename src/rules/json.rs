//! Reads JSON by pulling: what is asked for is handed over with its place, the rest is skipped, and
//! no tree is built, because a feed of a million indicators has hundreds of megabytes.
//!
//! A [`Json`] walks a text once. Its [`object`](Json::object) and [`array`](Json::array) call back
//! for each member, which must be read or is skipped. Places are bytes of the text; lines and
//! columns are counted only for what is told.

use std::borrow::Cow;
use std::ops::Range;

/// Real documents nest a dozen levels; what nests deeper attacks whoever follows.
pub const MAX_DEPTH: usize = 100;

/// Where a text is no JSON, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte of the text.
    pub at: usize,
    /// What was expected.
    pub expected: &'static str,
}

type Read<T> = Result<T, Malformed>;

/// A string and the bytes it takes in the text, its quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Its characters, escapes resolved; borrowed where it has none.
    pub text: Cow<'a, str>,
    /// Bytes of the text.
    pub span: Range<usize>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{}`
    Object,
    /// `[]`
    Array,
    /// `""`
    Text,
    /// A number, a truth value or null.
    Other,
}

/// A cursor in a text.
#[derive(Clone, Debug)]
pub struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Json<'a> {
    /// A cursor at the beginning.
    pub fn new(text: &'a str) -> Json<'a> {
        Json { text, at: 0, depth: 0 }
    }

    /// A cursor at a value that another has passed.
    pub fn at(text: &'a str, at: usize) -> Json<'a> {
        Json { text, at, depth: 0 }
    }

    /// What the next value is.
    pub fn shape(&mut self) -> Read<Shape> {
        match self.peek() {
            Some(b'{') => Ok(Shape::Object),
            Some(b'[') => Ok(Shape::Array),
            Some(b'"') => Ok(Shape::Text),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(Shape::Other),
            _ => self.fail("a value"),
        }
    }

    /// Where the next value begins.
    pub fn place(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Calls `each` with every key of an object, the cursor at its value; a value that `each` leaves
    /// is skipped. Another value is skipped whole: then it is false.
    pub fn object(&mut self, mut each: impl FnMut(&Text<'a>, &mut Json<'a>) -> Read<()>) -> Read<bool> {
        if self.shape()? != Shape::Object {
            return self.skip().map(|()| false);
        }
        self.enter()?;
        if self.take(b'}') {
            return self.leave();
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fail("a key in quotes");
            }
            let key = self.string()?;
            if !self.take(b':') {
                return self.fail("`:`");
            }
            let before = self.place();
            each(&key, self)?;
            if self.at == before {
                self.skip()?;
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.fail("`,` or `}`"),
            }
        }
        self.at += 1;
        self.leave()
    }

    /// Calls `each` at every element of an array; what `each` leaves is skipped. Another value is
    /// skipped whole: then it is false.
    pub fn array(&mut self, mut each: impl FnMut(&mut Json<'a>) -> Read<()>) -> Read<bool> {
        if self.shape()? != Shape::Array {
            return self.skip().map(|()| false);
        }
        self.enter()?;
        if self.take(b']') {
            return self.leave();
        }
        loop {
            let before = self.place();
            each(self)?;
            if self.at == before {
                self.skip()?;
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.fail("`,` or `]`"),
            }
        }
        self.at += 1;
        self.leave()
    }

    /// The next value as text: a string, or a number or truth value as written. None, and skipped, if
    /// it is null, an object or an array.
    pub fn text(&mut self) -> Read<Option<Text<'a>>> {
        match self.shape()? {
            Shape::Text => self.string().map(Some),
            Shape::Other => {
                let start = self.at;
                self.skip()?;
                let written = self.text.get(start..self.at).unwrap_or_default();
                Ok((written != "null").then_some(Text { text: Cow::Borrowed(written), span: start..self.at }))
            }
            _ => self.skip().map(|()| None),
        }
    }

    /// The next value as a truth value, as which MISP also writes `"1"` and `"0"`.
    pub fn flag(&mut self) -> Read<Option<bool>> {
        Ok(self.text()?.and_then(|text| match &*text.text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }))
    }

    /// Passes over the next value.
    pub fn skip(&mut self) -> Read<()> {
        /// The bits say which of the open brackets are braces.
        const ROOM: usize = MAX_DEPTH;
        let mut braces = [false; ROOM];
        let mut open = 0;
        loop {
            let mut closed = true;
            match self.peek() {
                Some(b'"') => self.string_end()?,
                Some(bracket @ (b'{' | b'[')) => {
                    let brace = bracket == b'{';
                    if self.depth + open >= ROOM {
                        return self.fail("fewer levels");
                    }
                    braces[open] = brace;
                    open += 1;
                    self.at += 1;
                    let end = if brace { b'}' } else { b']' };
                    if self.take(end) {
                        open -= 1;
                    } else {
                        if brace {
                            self.key()?;
                        }
                        closed = false;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return self.fail("a value"),
            }
            while closed && open > 0 {
                let brace = braces[open - 1];
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if brace {
                            self.key()?;
                        }
                        closed = false;
                    }
                    Some(b'}') if brace => {
                        self.at += 1;
                        open -= 1;
                    }
                    Some(b']') if !brace => {
                        self.at += 1;
                        open -= 1;
                    }
                    _ => return self.fail(if brace { "`,` or `}`" } else { "`,` or `]`" }),
                }
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail("the end of the file"),
        }
    }

    // ---- the lexis

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => return Some(*other),
            }
        }
        None
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn fail<T>(&self, expected: &'static str) -> Read<T> {
        Err(Malformed { at: self.at, expected })
    }

    fn enter(&mut self) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return self.fail("fewer levels");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) -> Read<bool> {
        self.depth -= 1;
        Ok(true)
    }

    fn key(&mut self) -> Read<()> {
        if self.peek() != Some(b'"') {
            return self.fail("a key in quotes");
        }
        self.string_end()?;
        if self.take(b':') { Ok(()) } else { self.fail("`:`") }
    }

    /// A string, the cursor at its quote.
    fn string(&mut self) -> Read<Text<'a>> {
        let start = self.at;
        let inside = self.string_end_and_escapes()?;
        let written = self.text.get(start + 1..self.at - 1).unwrap_or_default();
        let text = match inside {
            false => Cow::Borrowed(written),
            true => Cow::Owned(unescape(written).map_err(|at| Malformed {
                at: start + 1 + at,
                expected: "an escape such as \\n or \\u00eb",
            })?),
        };
        Ok(Text { text, span: start..self.at })
    }

    fn string_end(&mut self) -> Read<()> {
        let start = self.at;
        if self.string_end_and_escapes()? {
            let written = self.text.get(start + 1..self.at - 1).unwrap_or_default();
            check_escapes(written).map_err(|at| Malformed {
                at: start + 1 + at,
                expected: "an escape such as \\n or \\u00eb",
            })?;
        }
        Ok(())
    }

    /// Passes over a string and tells whether it has escapes.
    fn string_end_and_escapes(&mut self) -> Read<bool> {
        let bytes = self.bytes();
        let start = self.at;
        let mut at = start + 1;
        let mut escapes = false;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            // Most strings are short: a call to search them costs more than a look at each byte.
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) else {
                self.at = start;
                return self.fail("a closing quote");
            };
            at += found;
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escapes = true;
                    at += 2;
                }
                _ => {
                    self.at = at;
                    return self.fail("no control character in a string");
                }
            }
        }
        self.at = at + 1;
        Ok(escapes)
    }

    fn word(&mut self, word: &'static str) -> Read<()> {
        match self.bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => self.fail("a value"),
        }
    }

    fn number(&mut self) -> Read<()> {
        let digits = |json: &mut Json<'a>| {
            let start = json.at;
            while json.bytes().get(json.at).is_some_and(u8::is_ascii_digit) {
                json.at += 1;
            }
            match json.at > start {
                true => Ok(()),
                false => json.fail("a digit"),
            }
        };
        if self.bytes().get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let zero = self.bytes().get(self.at) == Some(&b'0');
        let start = self.at;
        digits(self)?;
        if zero && self.at > start + 1 {
            self.at = start + 1;
            return self.fail("no digit behind a leading zero");
        }
        if self.bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            digits(self)?;
        }
        if matches!(self.bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes().get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self)?;
        }
        Ok(())
    }
}

/// The byte of a text where a byte of one of its strings stands, escapes counted as they are written.
pub fn raw_offset(text: &str, span: &Range<usize>, offset: usize) -> usize {
    let written = text.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
    if !written.contains('\\') {
        return (span.start + 1 + offset).min(span.end.saturating_sub(1));
    }
    let mut passed = 0;
    let mut at = 0;
    while at < written.len() && passed < offset {
        let (length, character) = match written.as_bytes().get(at) {
            Some(b'\\') => {
                next_escape(written, at).map_or((2, '?'), |(character, end)| (end - at, character))
            }
            _ => {
                let character = written.get(at..).and_then(|rest| rest.chars().next()).unwrap_or('?');
                (character.len_utf8(), character)
            }
        };
        passed += character.len_utf8();
        at += length;
    }
    span.start + 1 + at.min(written.len())
}

/// Resolves escapes; the error is the place of one that is none.
fn unescape(written: &str) -> Result<String, usize> {
    let mut text = String::with_capacity(written.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', written.as_bytes().get(at..).unwrap_or_default()) {
        text.push_str(written.get(at..at + found).unwrap_or_default());
        let (character, end) = next_escape(written, at + found).ok_or(at + found)?;
        text.push(character);
        at = end;
    }
    text.push_str(written.get(at..).unwrap_or_default());
    Ok(text)
}

fn check_escapes(written: &str) -> Result<(), usize> {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', written.as_bytes().get(at..).unwrap_or_default()) {
        (_, at) = next_escape(written, at + found).ok_or(at + found)?;
    }
    Ok(())
}

/// The character of an escape, and where it ends. A lone surrogate is the replacement character, as
/// some writers cut texts inside a pair.
fn next_escape(written: &str, at: usize) -> Option<(char, usize)> {
    let plain = |character| Some((character, at + 2));
    match written.as_bytes().get(at + 1)? {
        b'"' => plain('"'),
        b'\\' => plain('\\'),
        b'/' => plain('/'),
        b'b' => plain('\u{8}'),
        b'f' => plain('\u{c}'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'u' => {
            let unit = code_unit(written, at)?;
            if (0xd800..0xdc00).contains(&unit)
                && let Some(low) = code_unit(written, at + 6).filter(|low| (0xdc00..0xe000).contains(low))
            {
                let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Some((char::from_u32(scalar)?, at + 12));
            }
            Some((char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), at + 6))
        }
        _ => None,
    }
}

fn code_unit(written: &str, at: usize) -> Option<u32> {
    let digits = written.get(at..at + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn skip(text: &str) -> Result<(), Malformed> {
        let mut json = Json::new(text);
        json.skip()?;
        json.end()
    }

    /// Walks everything through the callbacks.
    fn walk(json: &mut Json<'_>, seen: &mut Vec<String>) -> Read<()> {
        match json.shape()? {
            Shape::Object => json
                .object(|key, json| {
                    seen.push(key.text.clone().into_owned());
                    walk(json, seen)
                })
                .map(drop),
            Shape::Array => json.array(|json| walk(json, seen)).map(drop),
            _ => {
                seen.extend(json.text()?.map(|text| text.text.into_owned()));
                Ok(())
            }
        }
    }

    #[test]
    fn values_are_read_and_skipped() {
        let text = r#" {"a": [1, -2.5e+3, true, null, {"b": "x\"\u00eb\ud83d\ude00\/"}], "c": {}, "d": []} "#;
        let mut seen = Vec::new();
        let mut json = Json::new(text);
        walk(&mut json, &mut seen).unwrap();
        json.end().unwrap();
        assert_eq!(seen, ["a", "1", "-2.5e+3", "true", "b", "x\"ë😀/", "c", "d"]);
        assert_eq!(skip(text), Ok(()));
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, at, expected) in [
            ("", 0, "a value"),
            ("{", 1, "a key in quotes"),
            ("{\"a\" 1}", 5, "`:`"),
            ("{\"a\": 1,}", 8, "a key in quotes"),
            ("{\"a\": 1 \"b\": 2}", 8, "`,` or `}`"),
            ("[1, 2", 5, "`,` or `]`"),
            ("[1, ]", 4, "a value"),
            ("\"a", 0, "a closing quote"),
            ("\"a\\x\"", 2, "an escape such as \\n or \\u00eb"),
            ("\"a\nb\"", 2, "no control character in a string"),
            ("01", 1, "no digit behind a leading zero"),
            ("-", 1, "a digit"),
            ("1.", 2, "a digit"),
            ("tru", 0, "a value"),
            ("{} x", 3, "the end of the file"),
            ("[1}", 2, "`,` or `]`"),
        ] {
            let expected = Err(Malformed { at, expected });
            assert_eq!(skip(text), expected, "{text}");
            let mut json = Json::new(text);
            let walked = walk(&mut json, &mut Vec::new()).and_then(|()| json.end());
            assert_eq!(walked, expected, "walked {text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(skip(&deep).unwrap_err().expected, "fewer levels");
        assert_eq!(walk(&mut Json::new(&deep), &mut Vec::new()).unwrap_err().expected, "fewer levels");
    }

    #[test]
    fn places_inside_strings_count_escapes() {
        let text = r#"["a\/\u00ebc"]"#;
        let mut json = Json::new(text);
        let mut span = 0..0;
        json.array(|json| {
            span = json.text()?.unwrap().span;
            Ok(())
        })
        .unwrap();
        // a, /, ë (two bytes), c
        let places: Vec<usize> = [0, 1, 2, 4, 5].map(|offset| raw_offset(text, &span, offset)).into();
        assert_eq!(places, [2, 3, 5, 11, 12]);
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_accepts(text in r#"[\[\]{}:,"a0-9\\ntrue.e-]{0,24}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skip(&text).is_ok(), theirs, "{}", text);
        }
    }
}
