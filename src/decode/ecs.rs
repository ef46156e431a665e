//! Writes [`Fields`] as JSON in the Elastic Common Schema.
//!
//! Dotted names nest. A field that was written once is a scalar, written again it is an array;
//! `host.ip` is always an array, for ECS says so and consumers index it as one. Text is UTF-8; what was
//! written in a code page is converted, what cannot be read is marked ([`Charset`]).
//! `cef`, `leef`, `json` and `kv` are flat objects of strings (type `flattened`), so the dots of
//! their keys stay; `flow` keeps the types of its values.

use super::charset::{self, Charset};
use super::{Extra, FieldId, Fields, Group, Value};
use crate::input::Nanos;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

/// The version of ECS whose names are written.
pub fn ecs_version() -> &'static str {
    "8.17.0"
}

/// Writes every value of one message, or of one flow record, into `out`.
pub fn to_json(fields: &Fields, message: &[u8], out: &mut Map<String, Json>) {
    let charset = Charset::of(message);
    for (id, value) in fields.entries() {
        let json = to_value(fields, message, charset, *value);
        let json = if *id == FieldId::HostIp { Json::Array(vec![json]) } else { json };
        insert(out, id.name(), json);
    }
    for extra in fields.extras() {
        extras(fields, message, charset, extra, out);
    }
}

/// Writes `event.original`, and the bytes themselves where they are not UTF-8.
pub fn original(bytes: &[u8], out: &mut Map<String, Json>) {
    let text = charset::text(bytes);
    let other = matches!(text, std::borrow::Cow::Owned(_));
    insert(out, "event.original", Json::String(text.into_owned()));
    if other {
        insert(out, "roje.original_base64", Json::String(STANDARD.encode(bytes)));
    }
}

/// Writes a value under a dotted name; a name that is taken becomes an array.
pub fn insert(out: &mut Map<String, Json>, name: &str, json: Json) {
    match name.split_once('.') {
        Some((parent, rest)) => {
            // A scalar where an object must be: the object is the rule, the scalar was an error.
            let inner = out.entry(parent).or_insert_with(|| Json::Object(Map::new()));
            if !inner.is_object() {
                *inner = Json::Object(Map::new());
            }
            if let Json::Object(inner) = inner {
                insert(inner, rest, json);
            }
        }
        None => add(out, name.to_owned(), json),
    }
}

fn add(out: &mut Map<String, Json>, key: String, json: Json) {
    match out.get_mut(&key) {
        None => {
            out.insert(key, json);
        }
        Some(Json::Array(items)) => match json {
            Json::Array(more) => items.extend(more),
            one => items.push(one),
        },
        Some(present) => {
            let first = std::mem::take(present);
            *present = match json {
                Json::Array(more) => Json::Array(std::iter::once(first).chain(more).collect()),
                one => Json::Array(vec![first, one]),
            };
        }
    }
}

fn extras(fields: &Fields, message: &[u8], charset: Charset, extra: &Extra, out: &mut Map<String, Json>) {
    let text = |value| charset.text(fields.bytes(message, value)).into_owned();
    let key = text(extra.key);
    let (name, flat) = match extra.group {
        Group::StructuredData => ("log.syslog.structured_data", false),
        Group::Cef => ("cef", true),
        Group::Leef => ("leef", true),
        Group::Json => ("json", true),
        Group::Kv => ("kv", true),
        Group::Flow => ("flow", false),
    };
    let Some(mut object) = object(out, name.split('.')) else { return };
    if let Some(parent) = extra.parent {
        let Some(inner) = member(object, text(parent)) else { return };
        object = inner;
    }
    if key.is_empty() {
        return;
    }
    let json = to_value(fields, message, charset, extra.value);
    let json = if flat { Json::String(as_text(json)) } else { json };
    add(object, key, json);
}

fn object<'a, 'n>(
    out: &'a mut Map<String, Json>,
    names: impl Iterator<Item = &'n str>,
) -> Option<&'a mut Map<String, Json>> {
    let mut object = out;
    for name in names {
        object = member(object, name.to_owned())?;
    }
    Some(object)
}

fn member(object: &mut Map<String, Json>, name: String) -> Option<&mut Map<String, Json>> {
    object.entry(name).or_insert_with(|| Json::Object(Map::new())).as_object_mut()
}

fn as_text(json: Json) -> String {
    match json {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn to_value(fields: &Fields, message: &[u8], charset: Charset, value: Value) -> Json {
    match value {
        Value::Raw(_) | Value::Text(_) | Value::Static(_) => {
            Json::String(charset.text(fields.bytes(message, value)).into_owned())
        }
        Value::Unsigned(number) => number.into(),
        Value::Signed(number) => number.into(),
        // JSON has no NaN.
        Value::Float(number) => serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number),
        Value::Ip(address) => Json::String(address.to_string()),
        Value::Mac([a, b, c, d, e, f]) => {
            Json::String(format!("{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{f:02X}"))
        }
        Value::Time(instant) => Json::String(time(instant)),
        Value::Flag(truth) => truth.into(),
        Value::Absent => Json::Null,
    }
}

/// RFC 3339 in UTC with milliseconds, which ECS consumers expect, or as many digits more as needed.
pub fn time(instant: Nanos) -> String {
    let Ok(stamp) = Timestamp::from_nanosecond(i128::from(instant)) else { return instant.to_string() };
    let nanos = instant.rem_euclid(1_000_000_000);
    let digits = if nanos % 1_000_000 == 0 {
        3
    } else if nanos % 1_000 == 0 {
        6
    } else {
        9
    };
    format!("{stamp:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;
    use serde_json::json;

    #[test]
    fn nests_types_and_arrays() {
        let message = b"host \xff evil";
        let mut fields = Fields::default();
        fields.push(FieldId::Timestamp, Value::Time(1_795_266_000_123_000_000));
        fields.push(FieldId::HostName, Value::Raw(Span { start: 0, end: 6 }));
        fields.push(FieldId::HostIp, Value::Ip([192, 0, 2, 1].into()));
        fields.push(FieldId::SourceMac, Value::Mac([0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]));
        fields.push(FieldId::SourcePort, Value::Unsigned(443));
        fields.push(FieldId::EmailToAddress, Value::Static("a@example.org"));
        fields.push(FieldId::EmailToAddress, Value::Static("b@example.org"));
        let parent = Some(Value::Static("id@1"));
        let pair = |group, parent, key, value| Extra { group, parent, key: Value::Static(key), value };
        fields.push_extra(pair(Group::StructuredData, parent, "x", Value::Static("1")));
        fields.push_extra(pair(Group::StructuredData, parent, "x", Value::Static("2")));
        fields.push_extra(pair(Group::StructuredData, Some(Value::Static("empty")), "", Value::Static("")));
        fields.push_extra(pair(Group::Json, None, "a.b", Value::Static("c")));
        fields.push_extra(pair(Group::Flow, None, "ttl", Value::Unsigned(64)));
        let mut out = Map::new();
        to_json(&fields, message, &mut out);
        original(message, &mut out);
        assert_eq!(
            Json::Object(out),
            json!({
                "@timestamp": "2026-11-21T13:00:00.123Z",
                "host": {"name": "host \u{fffd}", "ip": ["192.0.2.1"]},
                "source": {"mac": "00-1B-44-11-3A-B7", "port": 443},
                "email": {"to": {"address": ["a@example.org", "b@example.org"]}},
                "log": {"syslog": {"structured_data": {"id@1": {"x": ["1", "2"]}, "empty": {}}}},
                "json": {"a.b": "c"},
                "flow": {"ttl": 64},
                "event": {"original": "host \u{fffd} evil"},
                "roje": {"original_base64": "aG9zdCD/IGV2aWw="},
            })
        );
    }

    #[test]
    fn time_has_the_digits_it_needs() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_500_000, "1970-01-01T00:00:00.001500Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(time(nanos), expected);
        }
    }
}
