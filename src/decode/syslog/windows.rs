//! Windows events as text: the sentences that Snare, NXLog and other agents send as they are shown.
//!
//! Values stand behind their labels (`Source Network Address:`), with a tab, a line end or two blanks
//! behind them. A label may occur under several heads (`Subject:`, `New Logon:`); the last account is
//! the one that the event is about.

use super::vocabulary::Names;
use crate::decode::{FieldId, Fields, Group};
use aho_corasick::{AhoCorasick, MatchKind};
use memchr::{memchr, memmem};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Decodes a text with two labels of Windows or more, and what Snare puts in front of it.
pub(super) fn decode<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let snare = app == b"MSWinEventLog" || text.starts_with(b"MSWinEventLog");
    if snare {
        columns(text, names, out);
    }
    labels(text, names, out) || snare
}

/// Criticality, log, counter, time, id, source, user, type of SID, kind, computer, category, data, text.
fn columns<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    let text = text.strip_prefix(b"MSWinEventLog").unwrap_or(text).trim_ascii_start();
    // Relays write a tab as `#011`, which takes four bytes; some send blanks.
    let tab: &[u8] = if memchr(b'\t', text).is_some() { b"\t" } else { b"#011" };
    let mut rest = text;
    let mut next = || {
        let (column, after) = match memmem::find(rest, tab) {
            Some(at) => (&rest[..at], &rest[at + tab.len()..]),
            None => (rest, &[][..]),
        };
        rest = after;
        column.trim_ascii()
    };
    let [_, log, _, time, id, source, user, _, kind, computer] = std::array::from_fn(|_| next());
    if computer.is_empty() {
        return;
    }
    if !names.is_timed() {
        names.word_stamp(out, time);
    }
    names.word(out, FieldId::EventCode, id);
    names.word(out, FieldId::EventProvider, source);
    names.word(out, FieldId::HostName, computer);
    names.pair(out, Group::Kv, &Cow::Borrowed(b"log"), &Cow::Borrowed(log));
    names.pair(out, Group::Kv, &Cow::Borrowed(b"kind"), &Cow::Borrowed(kind));
    if !labels_of_user(text) {
        names.user(out, FieldId::UserName, user);
    }
}

fn labels_of_user(text: &[u8]) -> bool {
    memmem::find(text, b"Account Name:").is_some() || memmem::find(text, b"User Name:").is_some()
}

fn labels<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if memmem::find(text, b": ").is_none() && memmem::find(text, b":\t").is_none() {
        return false;
    }
    // One pass finds all labels, and each value ends at the next of them at the latest: what is read is
    // read once, whatever stands there.
    let mut told: [&'a [u8]; LABELS.len()] = [b""; LABELS.len()];
    let mut places = FINDER.find_iter(text).peekable();
    while let Some(place) = places.next() {
        let end = places.peek().map_or(text.len(), |next| next.start());
        let inside = place.start().checked_sub(1).is_some_and(|before| text[before].is_ascii_alphanumeric());
        let (Some(cell), false) = (told.get_mut(place.pattern().as_usize()), inside) else { continue };
        if let Some(value) = value(&text[place.end()..end]) {
            *cell = value;
        }
    }
    let found: Vec<(&'static [u8], &'a [u8])> =
        LABELS.iter().copied().zip(told).filter(|(_, told)| !told.is_empty()).collect();
    if found.len() < 2 {
        return false;
    }
    for (label, told) in found {
        let key = label.strip_suffix(b":").unwrap_or(label);
        names.pair(out, Group::Kv, &Cow::Borrowed(key), &Cow::Borrowed(told));
    }
    true
}

/// Finds labels, and what else ends a value; of those that begin alike the longest.
static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(LABELS.iter().chain(HEADS))
        .expect("a few short patterns")
});

/// The value behind a label, of the text up to the next one; none for `-`.
fn value(text: &[u8]) -> Option<&[u8]> {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let text = &text[start..];
    let text = text.strip_prefix(b"#011").unwrap_or(text);
    let end = text
        .iter()
        .enumerate()
        .position(|(at, byte)| {
            matches!(byte, b'\t' | b'\r' | b'\n')
                || text[at..].starts_with(b"  ")
                || text[at..].starts_with(b"#01")
                || text[at..].starts_with(b"\\r")
                || text[at..].starts_with(b"\\n")
        })
        .unwrap_or(text.len());
    let told = text[..end].trim_ascii();
    (!told.is_empty() && told != b"-" && told.len() <= VALUE_MAX).then_some(told)
}

/// Paths and command lines of Windows have up to 32,767 characters; what is longer is not one value.
const VALUE_MAX: usize = 32_767;

/// Heads and labels that end a value and have none that ECS names.
const HEADS: &[&[u8]] = &[
    b"Subject:",
    b"Creator Process",
    b"Creator Subject:",
    b"Target Subject:",
    b"Token Elevation Type:",
    b"Mandatory Label:",
    b"Process Information:",
    b"Network Information:",
    b"Failure Information:",
    b"Detailed Authentication Information:",
    b"Additional Information:",
    b"Security ID:",
    b"Logon ID:",
    b"Logon GUID:",
    b"Logon Type:",
    b"Logon Process:",
    b"Process ID:",
    b"New Process ID:",
    b"Failure Reason:",
    b"Status:",
    b"Authentication Package:",
];

/// What Windows and Sysmon call what ECS has a name for.
const LABELS: &[&[u8]] = &[
    b"Source Network Address:",
    b"Source Address:",
    b"Client Address:",
    b"SourceIp:",
    b"Source IP:",
    b"Source Port:",
    b"Client Port:",
    b"SourcePort:",
    b"Destination Address:",
    b"DestinationIp:",
    b"Destination Port:",
    b"DestinationPort:",
    b"DestinationHostname:",
    b"Protocol:",
    b"Account Name:",
    b"User Name:",
    b"Account Domain:",
    b"User:",
    b"Workstation Name:",
    b"Source Workstation:",
    b"New Process Name:",
    b"Process Name:",
    b"Application Name:",
    b"Image:",
    b"Process Command Line:",
    b"CommandLine:",
    b"Hashes:",
    b"QueryName:",
    b"TargetFilename:",
    b"File Name:",
    b"Object Name:",
    b"Caller Computer Name:",
    b"Logon Account:",
    b"Creator Process Name:",
];

#[cfg(test)]
mod tests {
    use super::super::{Reference, decode};
    use super::*;

    #[test]
    fn values_end_at_the_next_label() {
        let text = "Subject: Account Name: SYSTEM Logon ID: 0x3e7 Account Name: joe Process Name: - \
                    New Process Name: C:\\a b.exe Creator Process Name: C:\\c.exe Source Network Address: 10.0.0.1 Source Port: 22";
        let line = format!("<13>Nov 21 13:00:05 h agent: {text}");
        let reference = Reference { now: 1_795_266_000_000_000_000, timezone: jiff::tz::TimeZone::UTC };
        let mut out = Fields::default();
        decode(line.as_bytes(), &reference, &mut out).unwrap();
        for (field, expected) in [(FieldId::UserName, "joe"), (FieldId::ProcessExecutable, "C:\\a b.exe")] {
            let found = out.find(field).map(|value| out.bytes(line.as_bytes(), value)).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(found), expected);
        }
        assert_eq!(out.find(FieldId::SourcePort), Some(crate::decode::Value::Unsigned(22)));
    }

    /// A long text behind many labels is read as often as behind two.
    #[test]
    fn every_byte_is_read_once() {
        let reference = Reference { now: 1_795_266_000_000_000_000, timezone: jiff::tz::TimeZone::UTC };
        let mut out = Fields::default();
        let mut time = |labels: &str| {
            let line = format!("<13>Nov 21 13:00:05 h a: {labels}{}", "x ".repeat(30_000));
            let times = (0..3).map(|_| {
                let begun = std::time::Instant::now();
                let _ = decode(line.as_bytes(), &reference, &mut out);
                begun.elapsed()
            });
            times.min().unwrap_or_default()
        };
        let all: String = LABELS.iter().map(|label| String::from_utf8_lossy(label) + " ").collect();
        let (few, many) = (time("Image: a User: "), time(&all.repeat(8)));
        assert!(many < few * 10, "{few:?} and {many:?}");
    }
}
