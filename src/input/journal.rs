//! Entries of systemd's journal, as `journalctl -o export` writes them and as collectors send them on.
//!
//! An entry is a field after the other: `NAME=value` and a line end; or, where the value has line ends or
//! other control characters, `NAME`, a line end, 64 bits of length with the lowest byte first, the value, and
//! a line end. It ends at an empty line (systemd, Journal Export Format); or before what cannot be a field of
//! it, since some senders leave the empty line out, and what follows must not be swallowed.
//!
//! [`begins`] and `Field::of` are for the framer, which looks at one field after the other as they come;
//! [`fields`] is for the decoder, which has the whole entry.

use memchr::memchr;

/// journald refuses longer names.
pub const NAME_MAX: usize = 64;

/// Longer values are taken for text that is no length: as with counted messages, an error must not swallow
/// more than 10 MB.
const VALUE_MAX: u64 = 10_000_000;

/// The names by which an entry is known; `journalctl` writes both, in this order.
const FIRST: [&[u8]; 2] = [b"__CURSOR=", b"__REALTIME_TIMESTAMP="];

/// The name of the first field with its `=`, if an entry begins here.
pub fn begins(message: &[u8]) -> Option<&'static [u8]> {
    if message.first() != Some(&b'_') {
        return None;
    }
    FIRST.into_iter().find(|first| message.starts_with(first))
}

/// Whether an entry begins here if the right bytes follow.
pub(super) fn may_begin(message: &[u8]) -> bool {
    message.first() == Some(&b'_') && FIRST.iter().any(|first| first.starts_with(message))
}

/// What stands where a field may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `NAME=` and a line; the name has so many bytes.
    Text(usize),
    /// A value that begins `start` bytes behind the beginning of its name.
    Binary {
        /// Where it begins.
        start: usize,
        /// Its bytes, without the line end.
        length: usize,
    },
    /// The empty line.
    End,
    /// No field.
    None,
    /// It could still become any of these.
    Unfinished,
}

impl Field {
    pub(super) fn of(line: &[u8]) -> Field {
        let name = line
            .iter()
            .enumerate()
            .take(TOO_LONG)
            .take_while(|(index, byte)| in_name(**byte, *index > 0))
            .count();
        match (name, line.get(name)) {
            (0, Some(b'\n')) => Field::End,
            (0, Some(_)) | (TOO_LONG, _) => Field::None,
            (_, Some(b'=')) => Field::Text(name),
            (_, Some(b'\n')) => {
                let start = name + 1 + size_of::<u64>();
                let Some(length) = line.get(name + 1..start) else { return Field::Unfinished };
                let value = length.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                length_of(value).map_or(Field::None, |length| Field::Binary { start, length })
            }
            (_, Some(_)) => Field::None,
            (_, None) => Field::Unfinished,
        }
    }
}

const TOO_LONG: usize = NAME_MAX + 1;

pub(super) fn in_name(byte: u8, digits: bool) -> bool {
    byte.is_ascii_uppercase() || byte == b'_' || digits && byte.is_ascii_digit()
}

/// A length as a value may have it.
pub(super) fn length_of(length: u64) -> Option<usize> {
    usize::try_from(length).ok().filter(|_| length < VALUE_MAX)
}

/// Names and values of an entry, which may be cut short; lines that are no field are left out.
pub fn fields(entry: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = entry;
    std::iter::from_fn(move || {
        loop {
            let line = memchr(b'\n', rest).unwrap_or(rest.len());
            let (found, next) = match Field::of(rest) {
                _ if rest.is_empty() => return None,
                Field::Text(name) => (Some((rest.get(..name)?, rest.get(name + 1..line)?)), line + 1),
                Field::Binary { start, length } => {
                    let end = (start + length).min(rest.len());
                    (Some((rest.get(..line)?, rest.get(start..end)?)), end + 1)
                }
                Field::End | Field::None | Field::Unfinished => (None, line + 1),
            };
            rest = rest.get(next..).unwrap_or_default();
            if found.is_some() {
                return found;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_fields() {
        let entry = b"__CURSOR=s=1;i=2\nMESSAGE\n\x05\0\0\0\0\0\0\0a\nB=1\n_PID=7\nno field\nA\n\x09\0\0\0\0\0\0\0cut";
        let found: Vec<(&[u8], &[u8])> = fields(entry).collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"__CURSOR", b"s=1;i=2"), (b"MESSAGE", b"a\nB=1"), (b"_PID", b"7"), (b"A", b"cut")];
        assert_eq!(found, expected);
        for entry in
            [&b""[..], b"\n", b"A", b"A\n", b"A\n\x01", b"=\n", b"A\n\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(fields(entry).count(), 0, "{entry:?}");
        }
    }
}
