//! [`Alert`] as ECS JSON, and back.
//!
//! The event's fields come first; what the alert adds is told from its typed parts. What ECS has
//! no name for stands under `roje`, and per contributing set under `threat.enrichments[].roje`,
//! so that [`Alert::from_json`] loses nothing.

use super::{Alert, Contribution, Indicator, Inform, Organization, Scope, Sector, heartbeat};
use crate::decode;
use crate::decode::flow::Flow;
use crate::detect::Side;
use crate::detect::indicator::{Kind, Severity, Tlp};
use crate::input::Nanos;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The version of this mapping, `roje.schema`; the reader refuses any other.
pub const SCHEMA: u64 = 1;

/// Why a JSON object is not an alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Written by another version.
    #[error("alert schema {0} is not supported")]
    Schema(u64),
    /// A field is missing or of another type.
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    /// Not a JSON object.
    #[error("not a JSON object")]
    Syntax,
}

/// Objects of an alert that the event part may not bring along: the alert itself tells them.
const OWN: [&str; 5] = ["rule", "threat", "related", "organization", "roje"];
/// What inside `roje` belongs to the event all the same.
const EVENTS_OWN: [&str; 2] = ["original_base64", "cut"];
/// The same as [`OWN`] inside `event`.
const OWN_EVENT: [&str; 5] = ["kind", "id", "severity", "hash", "reason"];

/// Removes from a decoded event what an alert tells itself.
pub(super) fn strip(event: &mut Map<String, Value>) {
    let mut roje = match event.get_mut("roje") {
        Some(Value::Object(roje)) => std::mem::take(roje),
        _ => Map::new(),
    };
    for name in OWN {
        event.remove(name);
    }
    roje.retain(|name, _| EVENTS_OWN.contains(&name.as_str()));
    if !roje.is_empty() {
        event.insert("roje".to_owned(), Value::Object(roje));
    }
    if let Some(Value::Object(inner)) = event.get_mut("event") {
        for name in OWN_EVENT {
            inner.remove(name);
        }
    }
}

impl Alert {
    /// The alert as nested ECS.
    pub fn to_json(&self) -> Map<String, Value> {
        self.complete(self.event.clone(), self.reason(), self.related())
    }

    /// The alert as one line of JSON, without the line's end.
    pub fn to_line(&self) -> Vec<u8> {
        // A map of strings, numbers and maps always has a JSON form.
        serde_json::to_vec(&self.to_json()).unwrap_or_default()
    }

    /// The line, or if it is longer than `limit`, one whose event is cut: what a body was taken apart
    /// into goes, and long texts keep their head. `event.hash` is that of all of the original.
    pub fn to_line_within(&self, limit: usize) -> Vec<u8> {
        let whole = self.to_line();
        if whole.len() <= limit {
            return whole;
        }
        let mut cut = self.clone();
        let size = |value: &Value| serde_json::to_vec(value).map_or(0, |text| text.len());
        cut.event.retain(|name, value| {
            matches!(name.as_str(), "event" | "roje") || value.is_string() || size(value) <= limit / 32
        });
        // A character may take six to escape, and three texts hold the whole message.
        cut.event.values_mut().for_each(|value| cut_texts(value, limit / 32));
        put(&mut cut.event, "roje.cut", json!(true));
        cut.to_line()
    }

    /// The line of an alert that is needed no longer: its event is not copied.
    pub fn into_line(mut self) -> Vec<u8> {
        let (reason, related) = (self.reason(), self.related());
        let event = std::mem::take(&mut self.event);
        serde_json::to_vec(&self.complete(event, reason, related)).unwrap_or_default()
    }

    /// Adds to the event what the alert tells itself.
    fn complete(
        &self,
        mut out: Map<String, Value>,
        reason: String,
        related: Map<String, Value>,
    ) -> Map<String, Value> {
        if self.scope == Scope::Heartbeat {
            heartbeat::complete(self, &mut out, reason);
            return out;
        }
        put(&mut out, "event.kind", json!("alert"));
        put(&mut out, "event.id", json!(self.id));
        put(&mut out, "event.severity", json!(self.severity().ecs()));
        put_some(&mut out, "event.hash", self.hash.as_deref());
        put(&mut out, "event.reason", Value::String(reason));
        out.insert("rule".to_owned(), Value::Object(self.rule()));
        out.insert("threat".to_owned(), Value::Object(self.threat()));
        out.insert("related".to_owned(), Value::Object(related));
        if let Some(organization) = &self.organization {
            put(&mut out, "organization.name", json!(organization.name));
        }
        self.put_roje(&mut out);
        out
    }

    /// Reads what [`Alert::to_line`] wrote.
    pub fn from_line(line: &[u8]) -> Result<Alert, AlertError> {
        Alert::from_json(serde_json::from_slice(line).map_err(|_| AlertError::Syntax)?)
    }

    /// Reads what [`Alert::to_json`] wrote.
    pub fn from_json(mut json: Map<String, Value>) -> Result<Alert, AlertError> {
        let schema = find(&json, "roje.schema").and_then(Value::as_u64);
        if schema != Some(SCHEMA) {
            return Err(AlertError::Schema(schema.unwrap_or(0)));
        }
        if find(&json, "roje.summary").and_then(Value::as_str) == Some("heartbeat") {
            return heartbeat::read(json);
        }
        let contributors = read_contributors(&json)?;
        let number = |path| find(&json, path).and_then(Value::as_u64).ok_or(AlertError::Field(path));
        let alert = Alert {
            event: Map::new(),
            id: text(&json, "event.id")?,
            hash: optional(&json, "event.hash"),
            scope: match find(&json, "roje.summary").and_then(Value::as_str) {
                None => Scope::Match,
                Some("indicator") => Scope::Repeats,
                Some("set") => Scope::Set,
                Some("silence") => Scope::Silence,
                Some(_) => return Err(AlertError::Field("roje.summary")),
            },
            indicator: read_indicator(&json)?,
            contributors,
            informs: list(&json, "roje.informs").map(read_inform).collect::<Result<_, _>>()?,
            organization: read_organization(&json)?,
            count: number("roje.count")?,
            first_seen: time(&json, "roje.first_seen")?.ok_or(AlertError::Field("roje.first_seen"))?,
            last_seen: time(&json, "roje.last_seen")?.ok_or(AlertError::Field("roje.last_seen"))?,
            clients: strings(&json, "roje.clients"),
            exercise: flag(&json, "roje.exercise"),
            masked: flag(&json, "roje.masked"),
            ruleset_digest: text(&json, "roje.ruleset_digest")?,
        };
        strip(&mut json);
        Ok(Alert { event: json, ..alert })
    }

    /// `rule.*`: of the highest severity, then by set name.
    fn rule(&self) -> Map<String, Value> {
        let mut rule = Map::new();
        let Some(first) = self.contributors.first() else { return rule };
        let (id, name) = match &self.indicator {
            Some(indicator) => (
                first.id.clone().unwrap_or_else(|| format!("{}/{}", first.set, indicator.value)),
                format!("{}: {} {}", first.set, indicator.kind.name(), indicator.value),
            ),
            None => (first.set.clone(), first.set.clone()),
        };
        put(&mut rule, "id", json!(id));
        put(&mut rule, "name", json!(name));
        put(&mut rule, "ruleset", json!(first.set));
        put_some(&mut rule, "category", first.rsit.as_deref());
        put_some(&mut rule, "reference", first.reference.as_deref());
        if let Some(producer) = &first.producer {
            put(&mut rule, "author", json!([producer]));
        }
        rule
    }

    fn threat(&self) -> Map<String, Value> {
        let mut threat = Map::new();
        let enrichments = self.contributors.iter().map(|one| Value::Object(self.enrichment(one)));
        put(&mut threat, "enrichments", Value::Array(enrichments.collect()));
        let techniques: BTreeSet<&str> =
            self.contributors.iter().flat_map(|one| one.attack.iter().map(String::as_str)).collect();
        if !techniques.is_empty() {
            put(&mut threat, "technique.id", json!(techniques));
        }
        threat
    }

    fn enrichment(&self, one: &Contribution) -> Map<String, Value> {
        let mut out = Map::new();
        if let Some(indicator) = &self.indicator {
            put(&mut out, "indicator", Value::Object(indicator.ecs()));
            put(&mut out, "matched.atomic", json!(indicator.atomic));
            put(&mut out, "matched.field", json!(indicator.field));
            put(&mut out, "matched.type", json!("indicator_match_rule"));
        }
        put(&mut out, "indicator.marking.tlp", json!(one.tlp.name().to_ascii_uppercase()));
        put_some(&mut out, "indicator.confidence", one.confidence.map(confidence));
        put_some(&mut out, "indicator.provider", one.producer.as_deref());
        put_some(&mut out, "indicator.description", one.description.as_deref());
        put_some(&mut out, "indicator.reference", one.reference.as_deref());
        put_some(&mut out, "feed.name", one.feed.as_deref());
        put(&mut out, "roje.ruleset", json!(one.set));
        put_some(&mut out, "roje.id", one.id.as_deref());
        put(&mut out, "roje.severity", json!(one.severity.name()));
        if let Some(confidence) = one.confidence {
            put(&mut out, "roje.confidence", json!(confidence));
        }
        put_some(&mut out, "roje.valid_from", one.valid_from.map(stamp));
        put_some(&mut out, "roje.valid_until", one.valid_until.map(stamp));
        put_some(&mut out, "roje.rsit", one.rsit.as_deref());
        if !one.attack.is_empty() {
            put(&mut out, "roje.attack", json!(one.attack));
        }
        if one.expired {
            put(&mut out, "roje.expired", json!(true));
        }
        out
    }

    fn put_roje(&self, out: &mut Map<String, Value>) {
        put(out, "roje.schema", json!(SCHEMA));
        put(out, "roje.tlp", json!(self.tlp().name().to_ascii_uppercase()));
        if let Some(organization) = &self.organization {
            put(out, "roje.sector", json!(organization.sector.name()));
            put_some(out, "roje.contact", organization.contact.as_deref());
        }
        put(out, "roje.count", json!(self.count));
        put(out, "roje.first_seen", json!(stamp(self.first_seen)));
        put(out, "roje.last_seen", json!(stamp(self.last_seen)));
        put(out, "roje.clients", json!(self.clients));
        match self.scope {
            Scope::Match | Scope::Heartbeat => {}
            Scope::Repeats => put(out, "roje.summary", json!("indicator")),
            Scope::Set => put(out, "roje.summary", json!("set")),
            Scope::Silence => put(out, "roje.summary", json!("silence")),
        }
        if let Some(indicator) = &self.indicator {
            put(out, "roje.indicator.type", json!(indicator.kind.name()));
            put(out, "roje.indicator.value", json!(indicator.value));
            put(out, "roje.side", json!(side_name(indicator.side)));
            if let Some(offset) = indicator.offset {
                put(out, "roje.offset", json!(offset));
            }
        }
        if let Some(confidence) = self.contributors.first().and_then(|one| one.confidence) {
            put(out, "roje.confidence", json!(confidence));
        }
        if !self.informs.is_empty() {
            let informs = self.informs.iter().map(|one| {
                let mut inform = Map::new();
                put(&mut inform, "ruleset", json!(one.set));
                put_some(&mut inform, "reason", one.reason.as_deref());
                put(&mut inform, "tlp", json!(one.tlp.name().to_ascii_uppercase()));
                Value::Object(inform)
            });
            put(out, "roje.informs", Value::Array(informs.collect()));
        }
        put(out, "roje.expired", json!(self.expired()));
        put(out, "roje.exercise", json!(self.exercise));
        if self.masked {
            put(out, "roje.masked", json!(true));
        }
        put(out, "roje.ruleset_digest", json!(self.ruleset_digest));
    }

    /// `related.*`: every address, host name and hash of the event and of what matched.
    fn related(&self) -> Map<String, Value> {
        let (mut ips, mut hosts, mut hashes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (paths, found) in [(IPS, &mut ips), (HOSTS, &mut hosts), (HASHES, &mut hashes)] {
            for path in paths {
                match find(&self.event, path) {
                    Some(Value::String(text)) => {
                        found.insert(text.clone());
                    }
                    Some(Value::Array(items)) => {
                        found.extend(items.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
            }
        }
        if let Some(indicator) = &self.indicator {
            match indicator.kind {
                Kind::Ip => ips.extend(indicator.address().map(|address| address.to_string())),
                Kind::Domain => {
                    hosts.insert(indicator.value.clone());
                    hosts.insert(indicator.atomic.to_ascii_lowercase());
                }
                Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => {
                    hashes.insert(indicator.value.clone());
                }
                Kind::Url => hosts.extend(url_host(&indicator.value).map(str::to_owned)),
                Kind::Email | Kind::Text => {}
            }
        }
        // The mapping of `related.ip` takes addresses only, whatever a decoder put in its field; the
        // unspecified one, as exporters send for "not translated", is related to nothing.
        ips.retain(|text| text.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified()));
        // Hashes are one value whatever their letters' case.
        let hashes: BTreeSet<String> = hashes.iter().map(|hash| hash.to_ascii_lowercase()).collect();
        let mut related = Map::new();
        for (name, found) in [("ip", ips), ("hosts", hosts), ("hash", hashes)] {
            if !found.is_empty() {
                put(&mut related, name, json!(found));
            }
        }
        related
    }
}

const IPS: &[&str] = &[
    "source.ip",
    "source.nat.ip",
    "destination.ip",
    "destination.nat.ip",
    "host.ip",
    "observer.ip",
    Flow::TUNNEL_SOURCE,
    Flow::TUNNEL_DESTINATION,
];
const HOSTS: &[&str] = &[
    "host.name",
    "observer.name",
    "observer.hostname",
    "source.domain",
    "destination.domain",
    "url.domain",
    "dns.question.name",
];
const HASHES: &[&str] = &["file.hash.md5", "file.hash.sha1", "file.hash.sha256", "file.hash.sha512"];

impl Indicator {
    /// The address that was met, where it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let of = |text: &str| text.replace("[.]", ".").parse::<IpAddr>().ok();
        of(&self.atomic).or_else(|| of(self.value.split('/').next()?)).map(|address| address.to_canonical())
    }

    /// `threat.enrichments[].indicator` as far as the value decides it.
    fn ecs(&self) -> Map<String, Value> {
        let mut out = Map::new();
        let kind = match self.kind {
            Kind::Ip if self.address().is_some_and(|address| address.is_ipv6()) => "ipv6-addr",
            Kind::Ip => "ipv4-addr",
            Kind::Domain => "domain-name",
            Kind::Url => "url",
            Kind::Email => "email-addr",
            Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => "file",
            // Bytes without a shape; ECS has no nearer type.
            Kind::Text => "artifact",
        };
        put(&mut out, "type", json!(kind));
        put(&mut out, "name", json!(self.value));
        match self.kind {
            // A prefix is no value of the type `ip`: the address that was met stands for it.
            Kind::Ip => {
                put_some(&mut out, "ip", self.address().map(|address| address.to_string()));
            }
            Kind::Domain => put(&mut out, "url.domain", json!(self.value)),
            Kind::Url => {
                put(&mut out, "url.full", json!(self.value));
                put_some(&mut out, "url.domain", url_host(&self.value));
            }
            Kind::Email => put(&mut out, "email.address", json!(self.value)),
            Kind::Md5 => put(&mut out, "file.hash.md5", json!(self.value)),
            Kind::Sha1 => put(&mut out, "file.hash.sha1", json!(self.value)),
            Kind::Sha256 => put(&mut out, "file.hash.sha256", json!(self.value)),
            Kind::Sha512 => put(&mut out, "file.hash.sha512", json!(self.value)),
            Kind::Text => {}
        }
        out
    }
}

/// The host of a URL in normal form; its scheme may be missing.
fn url_host(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host.split(':').next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

/// The word that ECS has for a STIX confidence: the "None, Low, Med, High" scale of STIX 2.1.
pub(super) fn confidence(value: u8) -> &'static str {
    match value {
        0 => "None",
        1..=29 => "Low",
        30..=69 => "Medium",
        _ => "High",
    }
}

/// RFC 3339 in UTC, as the decoders write it.
pub(super) fn stamp(nanos: Nanos) -> String {
    decode::ecs::time(nanos)
}

/// RFC 3339 in UTC, to the second: for people.
pub(super) fn seconds(nanos: Nanos) -> String {
    // Every i64 of nanoseconds lies within the range of years that can be told.
    let time = jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000));
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
        Side::Unknown => "unknown",
    }
}

fn read_contributors(json: &Map<String, Value>) -> Result<Vec<Contribution>, AlertError> {
    list(json, "threat.enrichments").map(read_contribution).collect()
}

fn read_contribution(value: &Value) -> Result<Contribution, AlertError> {
    let one = value.as_object().ok_or(AlertError::Field("threat.enrichments"))?;
    Ok(Contribution {
        set: text(one, "roje.ruleset")?,
        id: optional(one, "roje.id"),
        producer: optional(one, "indicator.provider"),
        feed: optional(one, "feed.name"),
        reference: optional(one, "indicator.reference"),
        tlp: read_tlp(one, "indicator.marking.tlp")?,
        severity: find(one, "roje.severity")
            .and_then(Value::as_str)
            .and_then(Severity::from_name)
            .ok_or(AlertError::Field("roje.severity"))?,
        confidence: find(one, "roje.confidence")
            .and_then(Value::as_u64)
            .and_then(|value| u8::try_from(value).ok()),
        valid_from: time(one, "roje.valid_from")?,
        valid_until: time(one, "roje.valid_until")?,
        rsit: optional(one, "roje.rsit"),
        attack: strings(one, "roje.attack"),
        description: optional(one, "indicator.description"),
        expired: flag(one, "roje.expired"),
    })
}

fn read_indicator(json: &Map<String, Value>) -> Result<Option<Indicator>, AlertError> {
    let Some(kind) = optional(json, "roje.indicator.type") else { return Ok(None) };
    let matched = list(json, "threat.enrichments").next().and_then(Value::as_object);
    let matched = matched.ok_or(AlertError::Field("threat.enrichments"))?;
    Ok(Some(Indicator {
        kind: Kind::from_name(&kind).ok_or(AlertError::Field("roje.indicator.type"))?,
        value: text(json, "roje.indicator.value")?,
        atomic: text(matched, "matched.atomic")?,
        field: text(matched, "matched.field")?,
        side: match optional(json, "roje.side").as_deref() {
            Some("source") => Side::Source,
            Some("destination") => Side::Destination,
            Some("unknown") => Side::Unknown,
            _ => return Err(AlertError::Field("roje.side")),
        },
        offset: find(json, "roje.offset").and_then(Value::as_u64).and_then(|at| u32::try_from(at).ok()),
    }))
}

fn read_inform(value: &Value) -> Result<Inform, AlertError> {
    let one = value.as_object().ok_or(AlertError::Field("roje.informs"))?;
    Ok(Inform { set: text(one, "ruleset")?, reason: optional(one, "reason"), tlp: read_tlp(one, "tlp")? })
}

fn read_organization(json: &Map<String, Value>) -> Result<Option<Organization>, AlertError> {
    let Some(name) = optional(json, "organization.name") else { return Ok(None) };
    let sector = optional(json, "roje.sector").and_then(|name| Sector::from_name(&name));
    Ok(Some(Organization {
        name,
        sector: sector.ok_or(AlertError::Field("roje.sector"))?,
        contact: optional(json, "roje.contact"),
    }))
}

fn read_tlp(json: &Map<String, Value>, path: &'static str) -> Result<Tlp, AlertError> {
    let name = text(json, path)?.to_ascii_lowercase();
    Tlp::from_name(&name).ok_or(AlertError::Field(path))
}

pub(super) fn text(json: &Map<String, Value>, path: &'static str) -> Result<String, AlertError> {
    optional(json, path).ok_or(AlertError::Field(path))
}

fn optional(json: &Map<String, Value>, path: &str) -> Option<String> {
    find(json, path)?.as_str().map(str::to_owned)
}

fn flag(json: &Map<String, Value>, path: &str) -> bool {
    find(json, path).and_then(Value::as_bool).unwrap_or(false)
}

fn list<'a>(json: &'a Map<String, Value>, path: &str) -> std::slice::Iter<'a, Value> {
    find(json, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

fn strings(json: &Map<String, Value>, path: &str) -> Vec<String> {
    list(json, path).filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn time(json: &Map<String, Value>, path: &'static str) -> Result<Option<Nanos>, AlertError> {
    let Some(text) = find(json, path).and_then(Value::as_str) else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|_| AlertError::Field(path))?;
    i64::try_from(time.as_nanosecond()).map(Some).map_err(|_| AlertError::Field(path))
}

/// The value at a dotted path.
pub(super) fn find<'a>(json: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = json.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_object()?.get(part))
}

/// Sets the value at a dotted path; what stands in the way of an object on the path is replaced.
pub(super) fn put(json: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((head, rest)) = path.split_once('.') else {
        json.insert(path.to_owned(), value);
        return;
    };
    // Most often it is there; an entry would copy its name first.
    if let Some(Value::Object(inner)) = json.get_mut(head) {
        return put(inner, rest, value);
    }
    let mut inner = Map::new();
    put(&mut inner, rest, value);
    json.insert(head.to_owned(), Value::Object(inner));
}

fn put_some(json: &mut Map<String, Value>, path: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(json, path, value.into());
    }
}

/// Cuts every text to so many bytes.
fn cut_texts(value: &mut Value, length: usize) {
    match value {
        Value::String(text) => {
            let border = (0..=length.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(border.unwrap_or(0));
        }
        Value::Object(map) => map.values_mut().for_each(|value| cut_texts(value, length)),
        Value::Array(list) => list.iter_mut().for_each(|value| cut_texts(value, length)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::sample;

    #[test]
    fn an_alert_on_an_enormous_message_is_cut_until_it_fits() {
        let mut alert = sample();
        let text = "\u{1}".repeat(2 << 20);
        alert.event.insert("message".to_owned(), json!(text));
        alert.event.insert("json".to_owned(), json!({ "a": { "b": text } }));
        put(&mut alert.event, "event.original", json!(text));
        let line = alert.to_line_within(1 << 20);
        assert!(line.len() <= 1 << 20, "{}", line.len());
        let read = Alert::from_line(&line).expect("its own form");
        assert_eq!((read.id, read.hash), (alert.id, alert.hash));
        assert_eq!(read.contributors, alert.contributors);
        assert_eq!(find(&read.event, "roje.cut"), Some(&json!(true)));
        assert!(!read.event.contains_key("json"));
        let small = sample();
        assert_eq!(small.to_line_within(1 << 20), small.to_line());
    }
}
