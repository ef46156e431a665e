//! Cisco ASA, FTD and IOS: messages behind a mnemonic, with addresses in their sentences.

use super::stamp::stamp;
use super::vocabulary::{Names, number};
use super::{kv, sentence};
use crate::decode::{FieldId, Fields, Value};
use memchr::memchr;

/// Decodes a message that stands behind a mnemonic such as `ASA-4-106023` or `SYS-5-CONFIG_I`.
pub(super) fn decode<'a>(
    mnemonic: &'a [u8],
    text: &'a [u8],
    names: &mut Names<'a>,
    out: &mut Fields,
) -> bool {
    let Some((level, code)) = parts(mnemonic) else { return false };
    out.push(FieldId::EventSeverity, Value::Unsigned(u64::from(level)));
    names.word(out, FieldId::EventCode, code);
    // Firepower's events 430001 to 430005 are pairs; so are some of IOS.
    if code.starts_with(b"43000") {
        return kv::decode(text, names, out);
    }
    // Huawei's are pairs: `(l):IPVer=4,Protocol=tcp,SourceIP=…`.
    let pairs = kv::begins(text, 2) && kv::decode(text, names, out);
    if !pairs || !names.has_endpoint(out) {
        sentence::decode(text, names, out);
    }
    true
}

/// ISE and ACS write the number and the parts of the message, then its stamp:
/// `0000081797 1 0 2022-03-03 06:43:59.935 +00:00 …`
pub(super) fn segment_stamp<'a>(app: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    if !app.starts_with(b"CISE_") && !app.starts_with(b"CSCOacs_") {
        return None;
    }
    let mut rest = text;
    for _ in 0..3 {
        let space = memchr(b' ', rest)?;
        number(&rest[..space])?;
        rest = &rest[space + 1..];
    }
    let (after, _) = stamp(rest).ok()?;
    rest.get(..rest.len() - after.len())
}

/// `ASA-session-4-106023` is level 4 and code 106023.
fn parts(mnemonic: &[u8]) -> Option<(u8, &[u8])> {
    let place = mnemonic
        .windows(3)
        .position(|window| matches!(window, [b'-', b'0'..=b'9', b'-'] | [b'/', b'0'..=b'9', b'/']))?;
    let level = mnemonic.get(place + 1)? - b'0';
    Some((level, mnemonic.get(place + 3..)?))
}
