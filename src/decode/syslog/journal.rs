//! What systemd's journal knows of a message: entries of its export, and the same fields in JSON.
//!
//! journald has facility and severity apart and as numbers, and tells the program thrice: as it calls itself
//! (`SYSLOG_IDENTIFIER`), as the kernel does (`_COMM`), and its file (`_EXE`).

use super::vocabulary::{Names, Text, number};
use super::{PAIRS_MAX, json, priority, value};
use crate::decode::{FieldId, Fields, Group, Value};
use crate::input::journal;
use std::borrow::Cow;

/// Decodes an entry of the export; its message is a body of its own.
pub(super) fn decode<'a>(entry: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if journal::begins(entry).is_none() {
        return false;
    }
    let mut level = Level::default();
    let mut said = None;
    for (name, text) in journal::fields(entry).take(PAIRS_MAX) {
        let text = Cow::Borrowed(text);
        if level.take(names.message, name, &text, out) {
            continue;
        }
        if name == b"MESSAGE" && said.is_none() {
            names.say(out, &text);
            said = Some(text);
            continue;
        }
        names.pair(out, Group::Kv, &Cow::Borrowed(name), &text);
    }
    level.finish(out);
    if let Some(text) = said {
        names.nested(&text, out, |text, names, out| {
            if !json::decode(text.trim_ascii(), names, out) {
                super::body::nested(text, names, out);
            }
        });
    }
    true
}

/// Facility and severity, which come apart and in any order, and who says it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    facility: Option<u8>,
    severity: Option<u8>,
}

impl Level {
    /// Takes a field that has a place among those of syslog.
    pub(super) fn take(&mut self, message: &[u8], name: &[u8], text: &Text<'_>, out: &mut Fields) -> bool {
        let code = |most| {
            number(text.trim_ascii()).and_then(|code| u8::try_from(code).ok()).filter(|code| *code <= most)
        };
        let (place, most) = match name {
            b"PRIORITY" => (&mut self.severity, 7),
            b"SYSLOG_FACILITY" => (&mut self.facility, 23),
            // The name also is a process's, unless it is taken; so the vocabulary has its turn.
            b"SYSLOG_IDENTIFIER" => {
                put(message, FieldId::SyslogAppname, text, out);
                return false;
            }
            b"SYSLOG_PID" => return put(message, FieldId::SyslogProcid, text, out),
            _ => return false,
        };
        let found = code(most).filter(|_| place.is_none());
        *place = found.or(*place);
        found.is_some()
    }

    /// Writes what was found.
    pub(super) fn finish(self, out: &mut Fields) {
        if out.find(FieldId::SyslogSeverityCode).is_some() {
            return;
        }
        match (self.facility, self.severity) {
            (Some(facility), Some(severity)) => priority::decode(Some(facility << 3 | severity), out),
            (facility, severity) => {
                facility.into_iter().for_each(|facility| priority::facility(facility, out));
                severity.into_iter().for_each(|severity| priority::severity(severity, out));
            }
        }
    }
}

fn put(message: &[u8], field: FieldId, text: &Text<'_>, out: &mut Fields) -> bool {
    if out.find(field).is_some() || text.is_empty() {
        return false;
    }
    let written: Value = value(message, text, out);
    out.push(field, written);
    true
}
