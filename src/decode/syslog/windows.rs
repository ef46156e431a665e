//! Windows events as text: the sentences that Snare, NXLog and other agents send as they are shown.
//!
//! Values stand behind their labels (`Source Network Address:`), with a tab, a line end or two blanks
//! behind them. A label may occur under several heads (`Subject:`, `New Logon:`); the last account is
//! the one that the event is about.

use super::vocabulary::Names;
use crate::decode::{FieldId, Fields, Group};
use memchr::{memchr, memmem};
use std::borrow::Cow;

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
    let found: Vec<(&'static [u8], &'a [u8])> = LABELS
        .iter()
        .filter_map(|label| {
            let finder = memmem::Finder::new(label);
            let told = finder
                .find_iter(text)
                .take(OCCURRENCES_MAX)
                .filter(|at| at.checked_sub(1).is_none_or(|before| !text[before].is_ascii_alphanumeric()))
                .filter_map(|at| value(text.get(at + label.len()..)?))
                .last()?;
            Some((*label, told))
        })
        .collect();
    if found.len() < 2 {
        return false;
    }
    for (label, told) in found {
        let key = label.strip_suffix(b":").unwrap_or(label);
        names.pair(out, Group::Kv, &Cow::Borrowed(key), &Cow::Borrowed(told));
    }
    true
}

/// Heads repeat a label twice or three times.
const OCCURRENCES_MAX: usize = 8;

/// The value behind a label; none for `-`.
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
    // Where everything is parted by one blank, the next label ends the value.
    let next =
        LABELS.iter().chain(HEADS).filter_map(|label| memmem::find(told, label)).min().unwrap_or(told.len());
    let told = told[..next].trim_ascii();
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
];
