//! PRI: facility and severity.

use super::{byte, digits, fail};
use crate::decode::{FieldId, Fields, Value};
use nom::IResult;

/// Takes PRI off the front. Zeros before the number and numbers over 191 are tolerated, the latter
/// as no priority; of two in a row the second counts, for a relay put its own before the sender's.
pub(super) fn parse(input: &[u8]) -> (&[u8], Option<u8>) {
    let Ok((mut rest, mut priority)) = one(input) else { return (input, None) };
    if let [b'<', b'0'..=b'9', ..] = rest
        && let Ok((after, inner)) = one(rest)
    {
        (rest, priority) = (after, inner.or(priority));
    }
    (rest, priority)
}

/// What follows a priority as the RFCs have it, where it is no second one; `None` says to ask [`parse`].
#[inline]
pub(super) fn common(input: &[u8]) -> Option<&[u8]> {
    let rest = match input {
        [b'<', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'>', rest @ ..]
        | [b'<', b'0'..=b'9', b'0'..=b'9', b'>', rest @ ..]
        | [b'<', b'0'..=b'9', b'>', rest @ ..] => rest,
        _ => return None,
    };
    (rest.first() != Some(&b'<')).then_some(rest)
}

fn one(input: &[u8]) -> IResult<&[u8], Option<u8>> {
    let (rest, _) = byte(input, b'<')?;
    let (rest, digits) = digits(rest);
    let (rest, _) = byte(rest, b'>')?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return fail(input);
    }
    let value = digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok((rest, u8::try_from(value).ok().filter(|value| *value <= 191)))
}

/// Three are legal; some pad with zeros.
const DIGITS_MAX: usize = 5;

/// Writes the numbers and names of facility and severity.
pub(super) fn decode(priority: Option<u8>, out: &mut Fields) {
    let Some(priority) = priority else { return };
    let (facility, severity) = (priority >> 3, priority & 7);
    out.push(FieldId::SyslogPriority, Value::Unsigned(u64::from(priority)));
    self::facility(facility, out);
    self::severity(severity, out);
}

/// Writes number and name of a facility.
pub(super) fn facility(code: u8, out: &mut Fields) {
    out.push(FieldId::SyslogFacilityCode, Value::Unsigned(u64::from(code)));
    if let Some(name) = FACILITIES.get(usize::from(code)) {
        out.push(FieldId::SyslogFacilityName, Value::Static(name));
    }
}

/// Writes number and name of a severity.
pub(super) fn severity(code: u8, out: &mut Fields) {
    out.push(FieldId::SyslogSeverityCode, Value::Unsigned(u64::from(code)));
    if let Some(name) = SEVERITIES.get(usize::from(code)) {
        out.push(FieldId::SyslogSeverityName, Value::Static(name));
    }
}

/// The keywords of RFC 5427, which `logger`, rsyslog and most tools write, too.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "console", "cron2", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The keywords of RFC 5427.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
