//! JSON bodies: ECS of another collector, flat or nested objects of a vendor.
//!
//! Nested names are joined with dots. A name of ECS goes there if its value has the right form, then
//! a name that [`known`] knows, first of the whole path, then of its last part; the rest are strings.

use super::journal::Level;
use super::vocabulary::{Form, Names, Text, form_of, known};
use super::{NAME_MAX, PAIRS_MAX, copied_max};
use crate::decode::{FieldId, Fields, Group, charset};
use serde_json::Value;
use std::borrow::Cow;

/// Decodes a text that is an object, or that ends in one behind some words.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(start) = memchr::memchr(b'{', text) else { return false };
    let Some(object) = text.get(start..).filter(|_| start == 0 || text.last() == Some(&b'}')) else {
        return false;
    };
    if !super::body::is_json(object) {
        return false;
    }
    let Some(Value::Object(object)) = parsed(object) else { return false };
    let mut leaves = Leaves { flat: Vec::new(), budget: copied_max(names.message) };
    let is_journal = object.contains_key("__REALTIME_TIMESTAMP") || object.contains_key("__CURSOR");
    for (key, value) in object {
        let value = if is_journal { readable(value) } else { value };
        leaves.add(&key, value, 1);
    }
    let mut flat = leaves.flat;
    if is_journal {
        let mut level = Level::default();
        flat.retain(|(path, text)| !level.take(names.message, path.as_bytes(), text, out));
        level.finish(out);
    }
    // A program's own log tells the place in its source; a record of Zeek has a `uid` that is a connection's.
    let has = |names: &[&str]| flat.iter().any(|(path, _)| names.contains(&last_of(path)));
    let (is_log, is_zeek) = (has(&SOURCE_PLACES), has(&ZEEK));
    let is_other = |path: &str| match last_of(path) {
        "file" => is_log,
        "uid" => is_zeek,
        _ => false,
    };
    // `event.duration` of another schema has another unit; ECS events have a time or a version.
    let whole = flat.iter().any(|(path, _)| path == "@timestamp" || path == "ecs.version");
    // What carries a body is read last: the object's own values say more.
    let (mut left, mut said) = (Vec::new(), Vec::new());
    for (path, text) in flat {
        if (!whole && path.starts_with("event.")) || !ecs(&path, &text, names, out) {
            left.push((path, text));
        } else if path == "message" {
            said.push((path, text));
        }
    }
    // Shallow names before deep ones: `src_ip` of the event before `flow.src_ip`.
    let mut deep = Vec::new();
    for (path, text) in left {
        match known(path.as_bytes()).or_else(|| known(unwrapped(&path)?.as_bytes())) {
            Some((field, form)) if !is_other(&path) && put(field, form, &path, &text, names, out) => {
                if form == Form::Said {
                    said.push((path, text));
                }
            }
            _ => deep.push((path, text)),
        }
    }
    for (path, text) in deep {
        match suffix(&path) {
            Some((field, form)) if !is_other(&path) && put(field, form, &path, &text, names, out) => {}
            _ => {
                names.keep(out, Group::Json, &owned(&path), &text);
                said.push((path, text));
            }
        }
    }
    for (path, text) in said {
        inner(&path, &text, names, out);
    }
    true
}

/// A value that journald does not take for text is an array of its bytes.
fn readable(value: Value) -> Value {
    let Value::Array(items) = &value else { return value };
    let byte = |item: &Value| item.as_u64().and_then(|byte| u8::try_from(byte).ok());
    match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
        Some(bytes) if !bytes.is_empty() => Value::String(charset::text(&bytes).into_owned()),
        _ => value,
    }
}

/// What the end of a path means: `destination.address` as a whole, then `userName` of
/// `actor.userName`, if its value has a form that says what it is. A bare `ip` is that of the parent,
/// which must be somebody who asks for something.
fn suffix(path: &str) -> Option<(FieldId, Form)> {
    let (before, last) = path.rsplit_once('.')?;
    let parent = before.rsplit('.').next().unwrap_or(before);
    let both = path.get(before.len() - parent.len()..)?;
    if let Some(found) = known(both.as_bytes()) {
        return Some(found);
    }
    let bare = BARE.iter().any(|name| last.eq_ignore_ascii_case(name));
    let active = ACTIVE.iter().any(|name| parent.eq_ignore_ascii_case(name));
    known(last.as_bytes()).filter(|(field, form)| (sure(*form) && (active || !bare)) || telling(*field, last))
}

/// Whether a name says by itself what its value is, whatever the object.
fn telling(field: FieldId, name: &str) -> bool {
    let long = name.len() > "command".len();
    long && matches!(
        field,
        FieldId::FileName
            | FieldId::FilePath
            | FieldId::ProcessCommandLine
            | FieldId::UserAgentOriginal
            | FieldId::DnsQuestionName
            | FieldId::EmailSubject
            | FieldId::HttpRequestMethod
            | FieldId::HttpResponseStatusCode
    )
}

/// The last part of a path.
fn last_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Names beside which `file` is one of a program's source.
const SOURCE_PLACES: [&str; 8] =
    ["line", "lineno", "line_number", "lineNumber", "func", "funcName", "function", "caller"];

/// Names that Zeek alone has: the address of who opened the connection, and the kind of the record.
const ZEEK: [&str; 3] = ["orig_h", "id_orig_h", "_path"];

/// Names that say nothing without their object's.
const BARE: [&str; 12] = [
    "ip",
    "addr",
    "address",
    "ipaddress",
    "ip_address",
    "ipaddr",
    "account",
    "user",
    "hash",
    "url",
    "localaddress",
    "to",
];

/// Objects that are the one who does something.
const ACTIVE: [&str; 22] = [
    "actor",
    "attacker",
    "caller",
    "client",
    "connection",
    "context",
    "event_data",
    "eventdata",
    "file",
    "initiator",
    "login",
    "object",
    "origin",
    "params",
    "process",
    "remote",
    "request",
    "requester",
    "session",
    "subject",
    "target_file",
    "user",
];

/// Decodes text that carries a body of its own: a line that a collector wrapped, JSON inside JSON.
fn inner(path: &str, text: &Text<'static>, names: &Names<'_>, out: &mut Fields) {
    let last = path.rsplit('.').next().unwrap_or(path);
    if CARRIERS.iter().any(|name| last.eq_ignore_ascii_case(name)) && text.len() >= CARRIED_MIN {
        names.nested(text, out, super::body::nested);
    }
}

/// Names under which collectors put what they received.
const CARRIERS: [&str; 14] = [
    "message",
    "msg",
    "log",
    "raw",
    "_raw",
    "rawdata",
    "original",
    "event",
    "payload",
    "rawmessage",
    "raw_message",
    "full_message",
    "rawevent",
    "xml",
];

/// Shorter text holds no address and its name.
const CARRIED_MIN: usize = 10;

/// The object; of a text that goes on behind it, what comes first.
fn parsed(text: &[u8]) -> Option<Value> {
    // serde_json stops at 128 levels, and what it builds is bounded by the message.
    let readable = charset::text(text);
    let mut stream = serde_json::Deserializer::from_str(&readable).into_iter::<Value>();
    stream.next()?.ok()
}

/// The leaves of an object under their paths. A path is copied to each of its leaves, so that bytes are
/// counted beside the leaves: a long key over many leaves would be as long as both multiplied.
struct Leaves {
    flat: Vec<(String, Text<'static>)>,
    /// Bytes of paths and values that may still be copied.
    budget: usize,
}

impl Leaves {
    /// Collects the leaves; an array of scalars gives a leaf each under the same name.
    fn add(&mut self, path: &str, value: Value, depth: usize) {
        if path.len() > NAME_MAX {
            return;
        }
        match value {
            Value::Object(object) if depth < DEPTH_MAX => {
                for (key, value) in object {
                    if self.is_full() {
                        return;
                    }
                    // What would be too long is not composed.
                    if path.len() + 1 + key.len() <= NAME_MAX {
                        self.add(&format!("{path}.{key}"), value, depth + 1);
                    }
                }
            }
            Value::Array(items) if depth < DEPTH_MAX => {
                for item in items {
                    if self.is_full() {
                        return;
                    }
                    self.add(path, item, depth + 1);
                }
            }
            Value::Null => {}
            Value::String(text) => self.leaf(path, text),
            other => self.leaf(path, other.to_string()),
        }
    }

    fn is_full(&self) -> bool {
        self.flat.len() >= PAIRS_MAX || self.budget == 0
    }

    fn leaf(&mut self, path: &str, text: String) {
        if self.is_full() {
            return;
        }
        match self.budget.checked_sub(path.len() + text.len()) {
            Some(left) => {
                self.budget = left;
                self.flat.push((path.to_owned(), Cow::Owned(text.into_bytes())));
            }
            None => self.budget = 0,
        }
    }
}

/// An index refuses objects nested deeper than twenty; what lies deeper is kept as text.
const DEPTH_MAX: usize = 16;

/// The path without the object that wraps the whole event.
fn unwrapped(path: &str) -> Option<&str> {
    let (wrapper, rest) = path.split_once('.')?;
    WRAPPERS.contains(&wrapper).then_some(rest)
}

const WRAPPERS: [&str; 16] = [
    "event",
    "data",
    "result",
    "record",
    "fields",
    "_source",
    "payload",
    "properties",
    "transaction",
    "Records",
    "records",
    "detail",
    "entry",
    "alert",
    "details",
    "attributes",
];

fn ecs(path: &str, text: &Text<'static>, names: &mut Names<'_>, out: &mut Fields) -> bool {
    match FieldId::from_name(path) {
        Some(field) => put(field, form_of(field), path, text, names, out),
        None => false,
    }
}

fn put(
    field: FieldId,
    form: Form,
    path: &str,
    text: &Text<'static>,
    names: &mut Names<'_>,
    out: &mut Fields,
) -> bool {
    names.put(out, Some(Group::Json), field, form, &owned(path), text)
}

/// Whether the last part of a path is enough: its value has a form that says what it is.
fn sure(form: Form) -> bool {
    matches!(
        form,
        Form::Endpoint(..)
            | Form::Port
            | Form::Digest
            | Form::Target
            | Form::Request
            | Form::Peer(_)
            | Form::SureSite
            | Form::User(_)
            | Form::Mac
            | Form::Email
            | Form::Digests
            | Form::Program
            | Form::Image
            | Form::Protocol
    )
}

fn owned(path: &str) -> Text<'static> {
    Cow::Owned(path.as_bytes().to_vec())
}
