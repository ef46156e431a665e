//! The characters of a message: classes, borders, escapes and defanged forms.
//!
//! Logs carry text that was escaped on its way (JSON, percent-encoding, the octal codes of
//! rsyslog). An escape sequence is a border, though its last bytes look like letters or digits.

/// Letter, digit or `_`: what needs a border.
#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & WORD != 0
}

/// What a label of a host name is made of.
#[inline]
pub(super) fn is_label(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & LABEL != 0
}

const WORD: u8 = 1;
const LABEL: u8 = 2;

static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => WORD | LABEL,
            b'-' => LABEL,
            _ => 0,
        };
        at += 1;
    }
    table
};

/// A non-ASCII letter or digit that continues a word. Scripts that are written without spaces
/// (Chinese, Japanese, Thai, …) do not: there a Latin word ends where they begin.
pub(super) fn joins(character: char) -> bool {
    let spaceless =
        matches!(character as u32, 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x2e80..);
    is_letter(character) && !spaceless
}

/// What words and host names are made of beyond ASCII: letters, digits, and combining marks.
pub(super) fn is_letter(character: char) -> bool {
    let mark = matches!(character as u32, 0x0300..=0x036f | 0x0483..=0x0487 | 0x0591..=0x05bd | 0x064b..=0x0652
        | 0x0900..=0x0903 | 0x093a..=0x094f | 0x0e31..=0x0e4e | 0x200c | 0x200d | 0x3099 | 0x309a);
    mark || character.is_alphanumeric()
}

/// The character that begins at a byte that is not ASCII; none if it is not UTF-8.
pub(super) fn char_at(bytes: &[u8], at: usize) -> Option<char> {
    let tail = bytes.get(at..)?;
    let length = match tail.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    std::str::from_utf8(tail.get(..length)?).ok()?.chars().next()
}

/// The non-ASCII character that ends before `at`.
pub(super) fn char_before(bytes: &[u8], at: usize) -> Option<char> {
    (2..=4usize).find_map(|length| {
        let start = at.checked_sub(length)?;
        char_at(bytes, start).filter(|character| character.len_utf8() == length)
    })
}

/// A word may begin at `at`: what stands before does not continue into it.
pub(super) fn border_before(bytes: &[u8], at: usize) -> bool {
    let Some(&previous) = at.checked_sub(1).and_then(|before| bytes.get(before)) else { return true };
    if previous < 0x80 {
        return !is_word(previous) || escape_ends(bytes, at);
    }
    !char_before(bytes, at).is_some_and(joins)
}

/// A word may end before `at`.
pub(super) fn border_after(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at) {
        None => true,
        Some(&next) if next < 0x80 => !is_word(next),
        Some(_) => !char_at(bytes, at).is_some_and(joins),
    }
}

/// An escape sequence whose tail looks like the beginning of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Escape {
    /// Bytes of the word that belong to the escape.
    pub skip: usize,
    /// It cannot be read otherwise; `\n` may also be a path.
    pub only: bool,
    /// What it stands for.
    pub stands_for: u32,
}

/// The escape that the word at `at` begins with; its introducer (`\`, `%`, `#`) stands before it.
pub(super) fn escape(bytes: &[u8], at: usize) -> Option<Escape> {
    let tail = bytes.get(at..)?;
    match bytes.get(at.checked_sub(1)?)? {
        b'\\' => backslash(bytes, at - 1, tail),
        b'%' => {
            let code = u32::from(hex_byte(tail)?);
            Some(Escape { skip: 2, only: code < 0x80, stands_for: code })
        }
        b'#' => octal(tail).map(|code| Escape { skip: 3, only: true, stands_for: code }),
        _ => None,
    }
}

fn backslash(bytes: &[u8], at: usize, tail: &[u8]) -> Option<Escape> {
    if !odd_backslashes(bytes, at) {
        return None;
    }
    match tail.first()? {
        letter @ (b'n' | b'r' | b't') => {
            let code = match letter {
                b'n' => 10,
                b'r' => 13,
                _ => 9,
            };
            Some(Escape { skip: 1, only: false, stands_for: code })
        }
        b'u' => {
            let high = hex_byte(tail.get(1..)?)?;
            let low = hex_byte(tail.get(3..)?)?;
            Some(Escape { skip: 5, only: true, stands_for: u32::from(high) << 8 | u32::from(low) })
        }
        b'x' => Some(Escape { skip: 3, only: true, stands_for: hex_byte(tail.get(1..)?)?.into() }),
        _ => None,
    }
}

/// A control character as rsyslog writes it: `#011`.
fn octal(tail: &[u8]) -> Option<u32> {
    let mut code = 0;
    for digit in tail.get(..3)? {
        code = code * 8 + char::from(*digit).to_digit(8)?;
    }
    (code < 0x20 || code == 0x7f).then_some(code)
}

/// Longest row of backslashes that is counted: a bound, no real text has more.
const MAX_BACKSLASHES: usize = 255;

/// The backslash at `at` is not itself escaped by another before it.
fn odd_backslashes(bytes: &[u8], at: usize) -> bool {
    let row = bytes.get(..=at).unwrap_or_default();
    row.iter().rev().take(MAX_BACKSLASHES).take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// An escape sequence ends before `at`.
fn escape_ends(bytes: &[u8], at: usize) -> bool {
    (1..=5usize).any(|skip| {
        at.checked_sub(skip).and_then(|start| escape(bytes, start)).is_some_and(|found| found.skip == skip)
    })
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let (high, low) = (hex_digit(*digits.first()?)?, hex_digit(*digits.get(1)?)?);
    Some(high << 4 | low)
}

/// The value of a hexadecimal digit.
pub(super) const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The length of a dot at `at`, plain or defanged (`[.]`, `(.)`, `{.}`, `[dot]`, …, `\.`, `%2E`);
/// 0 if there is none.
pub(super) fn dot(bytes: &[u8], at: usize) -> usize {
    let Some(tail) = bytes.get(at..) else { return 0 };
    match tail {
        [b'.', ..] => 1,
        [b'\\', b'.', ..] => 2,
        [b'%', b'2', b'e' | b'E', ..] => 3,
        [open @ (b'[' | b'(' | b'{'), rest @ ..] => bracketed(*open, rest, b".", b"dot"),
        _ => 0,
    }
}

/// The length of `open`, one of two words, and the closing bracket.
fn bracketed(open: u8, rest: &[u8], sign: &[u8], word: &[u8]) -> usize {
    let close = closing(open);
    for inner in [sign, word] {
        let matches = rest.get(..inner.len()).is_some_and(|text| text.eq_ignore_ascii_case(inner));
        if matches && rest.get(inner.len()) == Some(&close) {
            return inner.len() + 2;
        }
    }
    0
}

/// The bracket that closes `open`.
pub(super) fn closing(open: u8) -> u8 {
    match open {
        b'[' => b']',
        b'(' => b')',
        b'{' => b'}',
        other => other,
    }
}

/// The length of an `@` that ends before `end`: plain, `[@]`, `[at]`, … or `%40`; 0 if there is none.
pub(super) fn at_sign(bytes: &[u8], end: usize) -> usize {
    let Some(head) = bytes.get(..end) else { return 0 };
    match head {
        [.., b'@'] => 1,
        [.., b'%', b'4', b'0'] => 3,
        [.., b']' | b')' | b'}'] => [3usize, 4]
            .into_iter()
            .find(|length| {
                let Some((open, rest)) =
                    end.checked_sub(*length).and_then(|at| head.get(at..)?.split_first())
                else {
                    return false;
                };
                matches!(open, b'[' | b'(' | b'{') && bracketed(*open, rest, b"@", b"at") == *length
            })
            .unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders() {
        for (name, text, at, before) in [
            ("start", "evil", 0, true),
            ("letter", "xevil", 1, false),
            ("underscore", "_evil", 1, false),
            ("hyphen", "-evil", 1, true),
            ("quote", "„evil", 3, true),
            ("joining letter", "éevil", 2, false),
            ("Chinese", "访evil", 3, true),
            ("json newline", r"\nevil", 2, true),
            ("escaped backslash", r"\\nevil", 3, false),
            ("percent", "%20evil", 3, true),
            ("rsyslog tab", "#011evil", 4, true),
            ("number sign", "#999evil", 4, false),
            ("json unicode", r"\u003devil", 6, true),
        ] {
            assert_eq!(border_before(text.as_bytes(), at), before, "{name}");
        }
    }

    #[test]
    fn signs() {
        for (text, length) in [
            (".", 1),
            ("[.]", 3),
            ("(.)", 3),
            ("[dot]x", 5),
            ("{DOT}", 5),
            ("%2e", 3),
            ("\\.", 2),
            ("[.)", 0),
            ("x", 0),
        ] {
            assert_eq!(dot(text.as_bytes(), 0), length, "{text}");
        }
        for (text, length) in
            [("a@", 1), ("a[@]", 3), ("a(at)", 4), ("a[AT]", 4), ("a%40", 3), ("a]", 0), ("t]", 0)]
        {
            assert_eq!(at_sign(text.as_bytes(), text.len()), length, "{text}");
        }
    }
}
