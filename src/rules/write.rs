//! Writes sets: as native YAML for `import`, as STIX, MISP or CSV for `export`.
//!
//! Only what is marked for the recipient leaves: [`export`] takes the strictest marking that may, and
//! leaves out what is revoked, tested only, or an allow entry. Each value keeps its producer. Objects
//! have ids that the same values get again, so that a recipient sees an update and no copy.

use super::LoadedSet;
use super::foreign::is_uuid;
use super::stix::marking_id;
use crate::detect::Entry;
use crate::detect::indicator::{Kind, MatchMode, Meta, Mode, Normal, Severity, Throttle, Tlp};
use crate::input::Nanos;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What others read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A STIX 2.1 bundle.
    Stix,
    /// MISP events, one for each producer.
    Misp,
    /// A table.
    Csv,
}

/// What was left out of an export, by reason.
pub type LeftOut = BTreeMap<&'static str, usize>;

/// The native form of a set.
pub fn native(set: &LoadedSet) -> String {
    let mut out = String::new();
    let entries: Vec<Entry<'_>> = set.compiled.entries().collect();
    let line = |out: &mut String, text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(text);
        out.push('\n');
    };
    line(&mut out, format_args!("schema: 1"));
    line(&mut out, format_args!("set: {}", quoted(&set.info.name)));
    let source: Vec<String> =
        [("producer", &set.info.producer), ("feed", &set.info.feed), ("reference", &set.info.reference)]
            .iter()
            .filter_map(|(key, value)| Some(format!("{key}: {}", quoted(value.as_deref()?))))
            .collect();
    if !source.is_empty() {
        line(&mut out, format_args!("source: {{{}}}", source.join(", ")));
    }
    let mode = match set.info.mode {
        Mode::Indicators => None,
        Mode::Block => Some("block"),
        Mode::Inform => Some("inform"),
    };
    if let Some(mode) = mode {
        let reason = entries.iter().find_map(|entry| entry.meta.reason.as_deref()).unwrap_or(&set.info.name);
        line(&mut out, format_args!("mode: {mode}"));
        line(&mut out, format_args!("reason: {}", quoted(reason)));
    }
    // What all say alike stands once.
    let mut shared: Option<BTreeMap<&'static str, String>> = None;
    for entry in &entries {
        let own = policy(entry.meta, entry.kind);
        match &mut shared {
            None => shared = Some(own),
            Some(shared) => shared.retain(|key, value| own.get(key) == Some(value)),
        }
    }
    let mut shared = shared.unwrap_or_default();
    // These have a meaning for some types only.
    ["where", "port", "match", "nocase"].iter().for_each(|key| drop(shared.remove(key)));
    if !shared.is_empty() {
        line(&mut out, format_args!("defaults:"));
        for (key, value) in &shared {
            line(&mut out, format_args!("  {key}: {value}"));
        }
    }
    if entries.is_empty() {
        line(&mut out, format_args!("indicators: []"));
        return out;
    }
    line(&mut out, format_args!("indicators:"));
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for entry in &entries {
        let mut row = String::new();
        if let Some(id) = entry.id {
            let _ = write!(row, "id: {}, ", quoted(&unique(id, &mut ids)));
        }
        let _ = write!(row, "type: {}, value: {}", entry.kind.name(), quoted(&entry.value.to_string()));
        for (key, value) in policy(entry.meta, entry.kind) {
            if shared.get(key) != Some(&value) {
                let _ = write!(row, ", {key}: {value}");
            }
        }
        line(&mut out, format_args!("  - {{{row}}}"));
    }
    out
}

/// One indicator of another format may be several rows here, whose ids must differ.
fn unique(id: &str, ids: &mut BTreeSet<String>) -> String {
    let mut name = id.to_owned();
    let mut number = 1;
    while !ids.insert(name.clone()) {
        number += 1;
        name = format!("{id}#{number}");
    }
    name
}

/// The keys of a policy that say something, as they are written.
fn policy(meta: &Meta, kind: Kind) -> BTreeMap<&'static str, String> {
    let plain = Meta::default();
    let mut keys = BTreeMap::new();
    keys.insert("tlp", meta.tlp.name().to_owned());
    if meta.severity != plain.severity {
        keys.insert("severity", meta.severity.name().to_owned());
    }
    let mut text = |key, value: &Option<String>| {
        if let Some(value) = value {
            keys.insert(key, quoted(value));
        }
    };
    text("description", &meta.description);
    text("reference", &meta.reference);
    text("producer", &meta.producer);
    text("rsit", &meta.rsit);
    text("valid_from", &meta.valid_from.map(stamp));
    text("valid_until", &meta.valid_until.map(stamp));
    if let Some(confidence) = meta.confidence {
        keys.insert("confidence", confidence.to_string());
    }
    if !meta.attack.is_empty() {
        keys.insert("attack", format!("[{}]", meta.attack.join(", ")));
    }
    if meta.test {
        keys.insert("status", "test".to_owned());
    }
    match meta.throttle {
        Throttle::None => drop(keys.insert("throttle", "none".to_owned())),
        throttle if throttle == plain.throttle => {}
        Throttle::Window { by_source, seconds } => {
            let by = if by_source { "indicator, source" } else { "indicator" };
            keys.insert("throttle", format!("{{by: [{by}], window: {seconds}s}}"));
        }
    }
    let sides: Vec<&str> = [(meta.where_source, "source"), (meta.where_destination, "destination")]
        .iter()
        .filter_map(|(bound, side)| bound.then_some(*side))
        .collect();
    if kind == Kind::Ip && !sides.is_empty() {
        keys.insert("where", format!("[{}]", sides.join(", ")));
    }
    if kind == Kind::Ip && !meta.ports.is_empty() {
        let ports: Vec<String> = meta.ports.iter().map(u16::to_string).collect();
        keys.insert("port", format!("[{}]", ports.join(", ")));
    }
    match (kind, meta.matching) {
        (Kind::Domain, MatchMode::Exact) => drop(keys.insert("match", "exact".to_owned())),
        (Kind::Text, MatchMode::Substring) => drop(keys.insert("match", "substring".to_owned())),
        _ => {}
    }
    if kind == Kind::Text && !meta.nocase {
        keys.insert("nocase", "false".to_owned());
    }
    if meta.revoked {
        keys.insert("revoked", "true".to_owned());
    }
    keys
}

/// A text in quotes, which YAML reads as it is.
fn quoted(text: &str) -> String {
    match text.chars().any(|c| c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'))
    {
        true => json!(text).to_string(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

fn stamp(at: Nanos) -> String {
    Timestamp::from_nanosecond(at.into()).unwrap_or(Timestamp::MAX).to_string()
}

/// What STIX asks of its times: milliseconds.
fn stix_stamp(at: Nanos) -> String {
    let time = Timestamp::from_nanosecond(at.into()).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

/// One value that may leave, with whose it is.
struct Shared<'a> {
    entry: Entry<'a>,
    producer: &'a str,
}

/// The values of sets that may be told to whom a marking allows, and how many may not, by reason.
pub fn export(sets: &[&LoadedSet], tlp: Tlp, shape: Shape, now: Nanos) -> (String, LeftOut) {
    let mut left = LeftOut::new();
    let mut shared = Vec::new();
    for set in sets {
        if set.info.mode != Mode::Indicators {
            *left.entry("an allow entry").or_default() += set.entries();
            continue;
        }
        for entry in set.compiled.entries() {
            let reason = match () {
                () if entry.meta.tlp > tlp => Some("marked more strictly"),
                () if entry.meta.revoked => Some("revoked"),
                () if entry.meta.test => Some("`status: test`"),
                () if shape != Shape::Csv && entry.kind == Kind::Text => {
                    Some("text, which the format has no type for")
                }
                () => None,
            };
            match reason {
                Some(reason) => *left.entry(reason).or_default() += 1,
                None => {
                    let own = entry.meta.producer.as_deref().or(set.info.producer.as_deref());
                    shared.push(Shared { producer: own.unwrap_or("unknown"), entry });
                }
            }
        }
    }
    let written = match shape {
        Shape::Stix => pretty(&stix(&shared, now)),
        Shape::Misp => pretty(&misp(&shared, now)),
        Shape::Csv => csv(&shared),
    };
    (written, left)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A UUID that the same parts get again (version 8 of RFC 9562).
fn uuid(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes: Vec<u8> = hasher.finalize().iter().take(16).copied().collect();
    if let Some(byte) = bytes.get_mut(6) {
        *byte = *byte & 0x0f | 0x80;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = *byte & 0x3f | 0x80;
    }
    let digits = super::hexadecimal(&bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// What tells an entry from the others of its producer.
fn scope(meta: &Meta) -> String {
    format!("{:?}{:?}{}{}", meta.matching, meta.ports, meta.where_source, meta.where_destination)
}

fn stix(shared: &[Shared<'_>], now: Nanos) -> Value {
    const BEGINNING: &str = "2022-10-01T00:00:00.000Z";
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let mut indicators = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for one in shared {
        let (entry, meta) = (&one.entry, one.entry.meta);
        let value = entry.value.to_string();
        let identity = format!("identity--{}", uuid(&["identity", one.producer]));
        objects.entry(identity.clone()).or_insert_with(|| {
            json!({
                "type": "identity", "spec_version": "2.1", "id": identity, "created": BEGINNING,
                "modified": BEGINNING, "name": one.producer, "identity_class": "organization",
            })
        });
        let marking = marking_id(meta.tlp);
        objects.entry(marking.to_owned()).or_insert_with(|| {
            json!({
                "type": "marking-definition", "spec_version": "2.1", "id": marking, "created": BEGINNING,
                "name": format!("TLP:{}", meta.tlp.name().to_uppercase()),
                "extensions": {"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": {
                    "extension_type": "property-extension", "tlp_2_0": meta.tlp.name(),
                }},
            })
        });
        // Its own id, if it has one and no other part of it was written.
        let own = entry.id.filter(|id| id.strip_prefix("indicator--").is_some_and(is_uuid));
        let id = own.filter(|id| !taken.contains(*id)).map_or_else(
            || format!("indicator--{}", uuid(&[one.producer, entry.kind.name(), &value, &scope(meta)])),
            str::to_owned,
        );
        taken.insert(id.clone());
        let from = stix_stamp(meta.valid_from.unwrap_or(now));
        let mut object = json!({
            "type": "indicator", "spec_version": "2.1", "id": id, "created": from, "modified": from,
            "created_by_ref": identity, "object_marking_refs": [marking],
            "pattern": pattern(entry, &value), "pattern_type": "stix", "valid_from": from,
        });
        let mut put = |key: &str, value: Value| {
            if let Value::Object(object) = &mut object {
                object.insert(key.to_owned(), value);
            }
        };
        if let Some(until) = meta.valid_until {
            put("valid_until", json!(stix_stamp(until)));
        }
        if let Some(confidence) = meta.confidence {
            put("confidence", json!(confidence));
        }
        if let Some(description) = &meta.description {
            put("description", json!(description));
        }
        if let Some(reference) = &meta.reference {
            put("external_references", json!([{"source_name": one.producer, "url": reference}]));
        }
        indicators.push(object);
        for technique in &meta.attack {
            let target = format!("attack-pattern--{}", uuid(&["attack-pattern", technique]));
            objects.entry(target.clone()).or_insert_with(|| {
                json!({
                    "type": "attack-pattern", "spec_version": "2.1", "id": target, "created": BEGINNING,
                    "modified": BEGINNING, "name": technique,
                    "external_references": [{"source_name": "mitre-attack", "external_id": technique}],
                })
            });
            let relation = format!("relationship--{}", uuid(&[&id, "indicates", technique]));
            indicators.push(json!({
                "type": "relationship", "spec_version": "2.1", "id": relation, "created": from, "modified": from,
                "created_by_ref": identity, "relationship_type": "indicates", "source_ref": id,
                "target_ref": target, "object_marking_refs": [marking],
            }));
        }
    }
    let all: Vec<Value> = objects.into_values().chain(indicators).collect();
    let ids: String = all.iter().filter_map(|object| object["id"].as_str()).collect();
    json!({ "type": "bundle", "id": format!("bundle--{}", uuid(&["bundle", &ids])), "objects": all })
}

/// The pattern that says of an entry what it matches.
fn pattern(entry: &Entry<'_>, value: &str) -> String {
    let text = value.replace('\\', "\\\\").replace('\'', "\\'");
    let meta = entry.meta;
    let path = match entry.kind {
        Kind::Ip => return address_pattern(entry, &text),
        Kind::Domain if meta.matching == MatchMode::Exact => "domain-name:value",
        Kind::Domain => {
            return format!("[domain-name:value = '{text}' OR domain-name:value LIKE '%.{text}']");
        }
        Kind::Url => "url:value",
        Kind::Email => "email-addr:value",
        Kind::Md5 => "file:hashes.MD5",
        Kind::Sha1 => "file:hashes.'SHA-1'",
        Kind::Sha256 => "file:hashes.'SHA-256'",
        Kind::Sha512 => "file:hashes.'SHA-512'",
        Kind::Text => "file:name",
    };
    format!("[{path} = '{text}']")
}

fn address_pattern(entry: &Entry<'_>, text: &str) -> String {
    let meta = entry.meta;
    let (object, operator) = match &entry.value {
        Normal::Ip(net) => (
            if matches!(net, ipnet::IpNet::V4(_)) { "ipv4-addr" } else { "ipv6-addr" },
            if net.prefix_len() == net.max_prefix_len() { "=" } else { "ISSUBSET" },
        ),
        _ => ("ipv4-addr", "="),
    };
    if !meta.where_source && !meta.where_destination && meta.ports.is_empty() {
        return format!("[{object}:value {operator} '{text}']");
    }
    let ports: Vec<String> = meta.ports.iter().map(u16::to_string).collect();
    let either = meta.where_source == meta.where_destination;
    let sides = [("src", meta.where_source || either), ("dst", meta.where_destination || either)];
    let parts: Vec<String> = sides
        .iter()
        .filter(|(_, bound)| *bound)
        .map(|(side, _)| {
            let address = format!("network-traffic:{side}_ref.value {operator} '{text}'");
            match ports.is_empty() {
                true => format!("[{address}]"),
                false => format!("[{address} AND network-traffic:{side}_port IN ({})]", ports.join(", ")),
            }
        })
        .collect();
    parts.join(" OR ")
}

fn misp(shared: &[Shared<'_>], now: Nanos) -> Value {
    let mut producers: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for one in shared {
        let attributes = producers.entry(one.producer).or_default();
        let meta = one.entry.meta;
        let value = one.entry.value.to_string();
        // MISP has a port in a value of its own.
        let ports: Vec<Option<u16>> = match meta.ports.is_empty() {
            true => vec![None],
            false => meta.ports.iter().copied().map(Some).collect(),
        };
        for port in ports {
            let side = if meta.where_source && !meta.where_destination { "ip-src" } else { "ip-dst" };
            let kind = match one.entry.kind {
                Kind::Ip if port.is_some() => format!("{side}|port"),
                Kind::Ip => side.to_owned(),
                Kind::Domain if meta.matching == MatchMode::Exact => "hostname".to_owned(),
                Kind::Email => "email".to_owned(),
                kind => kind.name().to_owned(),
            };
            let value = port.map_or_else(|| value.clone(), |port| format!("{value}|{port}"));
            let id = one.entry.id.filter(|id| is_uuid(id) && !taken.contains(*id));
            let id = id.map_or_else(|| uuid(&[one.producer, &kind, &value]), str::to_owned);
            taken.insert(id.clone());
            let mut tags = vec![json!({ "name": format!("tlp:{}", meta.tlp.name()) })];
            tags.extend(meta.attack.iter().map(|technique| {
                json!({ "name": format!("misp-galaxy:mitre-attack-pattern=\"{technique} - {technique}\"") })
            }));
            tags.extend(meta.rsit.iter().filter_map(|class| {
                let (class, kind) = class.split_once('/')?;
                Some(json!({ "name": format!("rsit:{class}=\"{kind}\"") }))
            }));
            tags.extend(meta.confidence.map(|confidence| {
                json!({ "name": format!("misp:confidence-level=\"{}\"", confidence_name(confidence)) })
            }));
            // An end counts as one only if it is after the time of writing.
            let written = meta.valid_until.map_or(now, |until| now.min(until.saturating_sub(1_000_000_000)));
            attributes.push(json!({
                "type": kind, "category": category(one.entry.kind), "uuid": id, "value": value, "to_ids": true,
                "deleted": false, "comment": meta.description, "timestamp": (written / 1_000_000_000).to_string(),
                "first_seen": meta.valid_from.map(stamp), "last_seen": meta.valid_until.map(stamp), "Tag": tags,
            }));
        }
    }
    let threat = |of: &str| {
        let gravest = shared.iter().filter(|one| one.producer == of).map(|one| one.entry.meta.severity).max();
        match gravest {
            Some(Severity::High | Severity::Critical) => "1",
            Some(Severity::Low) => "3",
            _ => "2",
        }
    };
    let events: Vec<Value> = producers
        .into_iter()
        .map(|(producer, attributes)| {
            let date = stamp(now).get(..10).unwrap_or_default().to_owned();
            json!({ "Event": {
                "uuid": uuid(&["event", producer]), "info": format!("Indicators of {producer}"), "date": date,
                "threat_level_id": threat(producer), "analysis": "2", "published": true,
                "timestamp": (now / 1_000_000_000).to_string(),
                "Orgc": { "name": producer, "uuid": uuid(&["organisation", producer]) },
                "attribute_count": attributes.len().to_string(), "Attribute": attributes,
            }})
        })
        .collect();
    json!({ "response": events })
}

fn category(kind: Kind) -> &'static str {
    match kind {
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => "Payload delivery",
        _ => "Network activity",
    }
}

fn confidence_name(confidence: u8) -> &'static str {
    match confidence {
        88.. => "completely-confident",
        63..88 => "usually-confident",
        38..63 => "fairly-confident",
        13..38 => "rarely-confident",
        _ => "unconfident",
    }
}

fn csv(shared: &[Shared<'_>]) -> String {
    let mut out = String::from(
        "type,value,match,port,producer,tlp,severity,confidence,valid_from,valid_until,id,description\n",
    );
    for one in shared {
        let meta = one.entry.meta;
        let ports: Vec<String> = meta.ports.iter().map(u16::to_string).collect();
        let matching = policy(meta, one.entry.kind).remove("match").unwrap_or_default();
        let cells = [
            one.entry.kind.name().to_owned(),
            one.entry.value.to_string(),
            matching,
            ports.join(" "),
            one.producer.to_owned(),
            meta.tlp.name().to_owned(),
            meta.severity.name().to_owned(),
            meta.confidence.map(|confidence| confidence.to_string()).unwrap_or_default(),
            meta.valid_from.map(stamp).unwrap_or_default(),
            meta.valid_until.map(stamp).unwrap_or_default(),
            one.entry.id.unwrap_or_default().to_owned(),
            meta.description.clone().unwrap_or_default(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        out.push_str(&cells.join(","));
        out.push('\n');
    }
    out
}

/// A cell that no spreadsheet takes for a formula, and no reader for two.
fn csv_cell(cell: &str) -> String {
    let cell: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let formula = cell.starts_with(['=', '+', '@']) || cell.starts_with('-') && cell.parse::<f64>().is_err();
    let cell = if formula { format!("'{cell}") } else { cell };
    match cell.contains([',', '"']) || cell.starts_with(' ') || cell.ends_with(' ') {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Store;
    use crate::rules::foreign::{self, Format, Part};
    use crate::rules::load::Loaded;
    use crate::rules::problems::Problems;
    use std::path::Path;

    const NOW: Nanos = 1_790_000_000_000_000_000;

    const SET: &str = "\
schema: 1
set: one
source: {producer: NSOC}
defaults: {tlp: green, severity: high, confidence: 75, valid_from: 2026-01-01T00:00:00Z, valid_until: 2027-01-01T00:00:00Z}
indicators:
  - {id: a, type: domain, value: evil.example, attack: [T1071.004], description: 'it''s a panel, \"so\"'}
  - {type: domain, value: host.evil.example, match: exact}
  - {type: ip, value: 198.51.100.0/24, where: [destination], port: [443, 8443]}
  - {type: ip, value: 203.0.113.9, tlp: clear}
  - {type: ip, value: '2001:db8::1', tlp: amber}
  - {type: url, value: 'http://evil.example/it''s?a=b'}
  - {type: email, value: x@evil.example, producer: Another}
  - {type: sha256, value: aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f}
  - {type: text, value: evil.exe}
";

    fn load(dir: &Path, name: &str, text: &str) -> std::sync::Arc<LoadedSet> {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        let generation = Store::new(vec![path], None, None).load(NOW);
        let problems: Vec<String> = generation.diagnostics.iter().map(|one| one.one_line()).collect();
        generation.sets.first().unwrap_or_else(|| panic!("{problems:?}\n{text}")).clone()
    }

    /// Every value with what must survive the way there and back.
    fn told(set: &LoadedSet) -> BTreeSet<String> {
        set.compiled
            .entries()
            .map(|entry| {
                let meta = entry.meta;
                let producer = meta.producer.as_ref().or(set.info.producer.as_ref());
                format!(
                    "{} {} {:?} {:?} {:?} {} {:?} {:?} {:?} {:?}",
                    entry.kind.name(),
                    entry.value,
                    meta.matching,
                    meta.ports,
                    producer,
                    meta.tlp.name(),
                    meta.valid_from,
                    meta.valid_until,
                    meta.attack,
                    meta.confidence,
                )
            })
            .collect()
    }

    #[test]
    fn there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let set = load(dir.path(), "one.yaml", SET);
        let again = load(dir.path(), "again.yaml", &native(&set));
        assert_eq!(told(&again), told(&set), "native");
        let allowed = |set: &LoadedSet| {
            let mut told = told(set);
            told.retain(|one| !one.contains(" amber ") && !one.starts_with("text"));
            told
        };
        for (name, shape) in [("x.stix.json", Shape::Stix), ("x.misp.json", Shape::Misp)] {
            let (written, left) = export(&[&set], Tlp::Green, shape, NOW);
            assert_eq!(left.values().sum::<usize>(), 2, "{left:?}");
            assert!(!written.contains("2001:db8::1"), "{written}");
            let again = load(dir.path(), name, &written);
            assert!(again.refused.is_empty(), "{:?}", again.refused);
            // MISP has one attribute for each port, and five words for confidence, of which 75 is one.
            let wanted: BTreeSet<String> = match shape {
                Shape::Misp => allowed(&set)
                    .iter()
                    .flat_map(|one| match one.contains("[443, 8443]") {
                        true => {
                            vec![one.replace("[443, 8443]", "[443]"), one.replace("[443, 8443]", "[8443]")]
                        }
                        false => vec![one.clone()],
                    })
                    .collect(),
                _ => allowed(&set),
            };
            assert_eq!(allowed(&again), wanted, "{name}");
            // The same again, to the letter.
            assert_eq!(export(&[&set], Tlp::Green, shape, NOW).0, written, "{name}");
        }
        let (table, _) = export(&[&set], Tlp::Green, Shape::Csv, NOW);
        assert_eq!(table.lines().count(), 9, "{table}");
        assert!(table.contains("domain,host.evil.example,exact,,NSOC,green,high,75,"), "{table}");
    }

    #[test]
    fn tables_and_texts_are_imported() {
        for (name, format, text, expected, skipped) in [
            (
                "abuse.ch",
                Format::Table,
                "# URLhaus\n#\n# \"id\",\"dateadded\",\"url\",\"urlhaus_link\"\n\"1\",\"2026-01-01\",\"http://evil.example/a,b\",\"https://urlhaus.abuse.ch/url/1/\"\n",
                &["url http://evil.example/a,b"][..],
                0,
            ),
            (
                "no header",
                Format::Table,
                "2026-01-01,@who,ip,203.0.113.7,#x,https://t.example/1\n2026-01-01,@who,domain,evil[.]com,#x,https://t.example/1\n",
                &["ip 203.0.113.7", "domain evil.com"],
                0,
            ),
            (
                "a header",
                Format::Table,
                "type;indicator;note\ndomain;a[.]com;x\nasn;AS1;y\n",
                &["domain a.com"],
                1,
            ),
            (
                "hosts",
                Format::Plain,
                "# hosts\n127.0.0.1 localhost\n0.0.0.0 evil.com\n",
                &["domain evil.com"],
                1,
            ),
            (
                "a report",
                Format::Plain,
                "Hosts:\nfront[.]evil[.]com, 203.0.113.7:8080\n",
                &["domain front.evil.com", "ip 203.0.113.7"],
                1,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("list.csv");
            std::fs::write(&path, text).unwrap();
            let loaded = foreign::load(format, "list", &[Part::own(&path)], None, &mut Problems::default());
            let Loaded::Set(set) = loaded else { panic!("{name}: {loaded:?}") };
            let values: Vec<String> = set
                .compiled
                .entries()
                .map(|entry| format!("{} {}", entry.kind.name(), entry.value))
                .collect();
            assert_eq!(values, expected, "{name}");
            assert_eq!(
                set.refused.iter().map(|one| one.count).sum::<usize>(),
                skipped,
                "{name}: {:?}",
                set.refused
            );
            let again = load(dir.path(), "again.yaml", &native(&set));
            assert_eq!(told(&again), told(&set), "{name}");
        }
    }
}
