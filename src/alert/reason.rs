//! `event.reason`: one sentence on which an analyst can act without opening another tool.
//!
//! Who did what; what is listed, by whom, under which marking; since when and how often; what
//! speaks against it; whom to call. Everything in it is read from the alert, so that an alert
//! with less in it says less.

use super::{Alert, Indicator, MAX_CLIENTS, Scope, ecs, terminal_safe};
use crate::decode::flow::Flow;
use crate::detect::Side;
use crate::detect::indicator::Kind;
use crate::input::Nanos;
use serde_json::Value;
use std::fmt::Write;
use std::net::IpAddr;

/// Characters of any one value that the sentence repeats.
const MAX_VALUE: usize = 200;
/// Hosts and other sets that it names before it only counts them.
const MAX_NAMED: usize = 5;

pub(super) fn reason(alert: &Alert) -> String {
    if let Some((output, number)) = alert.heartbeat() {
        return format!("Heartbeat {number} for output {}: the way of alerts is open", value(output));
    }
    let mut out = String::new();
    if alert.exercise {
        out.push_str("EXERCISE: ");
    }
    match (&alert.indicator, alert.scope) {
        (Some(indicator), Scope::Match | Scope::Repeats) => {
            act(alert, indicator, &mut out);
            if alert.scope == Scope::Repeats || alert.count > 1 {
                repeats(alert, &mut out);
            }
            listing(alert, indicator, &mut out);
        }
        (_, Scope::Silence) => silence(alert, &mut out),
        _ => set_summary(alert, &mut out),
    }
    // Writing to a string cannot fail.
    match alert.scope {
        Scope::Silence => {}
        Scope::Match if alert.count == 1 => {
            let _ = write!(out, "; first seen {}", time(alert.first_seen));
        }
        _ => {
            let _ = write!(out, "; seen from {} to {}", time(alert.first_seen), time(alert.last_seen));
        }
    }
    doubts(alert, &mut out);
    call(alert, &mut out);
    out
}

/// Who did what: "Internal host 192.0.2.5 contacted 198.51.100.7 port 443/tcp".
fn act(alert: &Alert, indicator: &Indicator, out: &mut String) {
    let (source, destination) = (endpoint(alert, "source"), endpoint(alert, "destination"));
    let reporter = reporter(alert);
    let side = indicator.side;
    if [Flow::TUNNEL_SOURCE, Flow::TUNNEL_DESTINATION].contains(&&*indicator.field)
        && let (Some(from), Some(to)) =
            (tunnel_end(alert, Flow::TUNNEL_SOURCE), tunnel_end(alert, Flow::TUNNEL_DESTINATION))
    {
        tunnel(alert, &from, &to, out);
        return;
    }
    if indicator.kind == Kind::Ip
        && side != Side::Unknown
        && let (Some(source), Some(destination)) = (&source, &destination)
    {
        let verb = if alert.is_denied() { "was denied contact with" } else { "contacted" };
        let _ = write!(out, "{} {verb} {}{}", capital(source), destination, port(alert));
        if let Some(reporter) = reporter {
            let _ = write!(out, " (reported by {reporter})");
        }
        return;
    }
    let what = format!("{} {}", the(indicator.kind), value(&indicator.atomic));
    let _ = match reporter {
        Some(reporter) => write!(out, "{} reported {what}", capital(&reporter)),
        None => write!(out, "A message contains {what}"),
    };
    if indicator.kind == Kind::Ip && side == Side::Unknown {
        out.push_str(" (side unknown)");
    }
    let address = indicator.address();
    let other = |text: &&String| text.parse::<IpAddr>().is_ok_and(|ip| Some(ip.to_canonical()) != address);
    if let Some(client) = alert.clients.first().filter(other) {
        let _ = write!(out, " with {}", host(alert, client));
    }
    match (source, destination) {
        (Some(source), Some(destination)) => {
            let _ = write!(out, ", from {source} to {destination}{}", port(alert));
        }
        (Some(source), None)
            if alert.clients.first().is_none_or(|client| !source.contains(client.as_str())) =>
        {
            let _ = write!(out, ", from {source}");
        }
        _ => {}
    }
}

/// Which tunnel led where, and who talked inside: "A tunnel from 192.0.2.5 to 198.51.100.7 carried
/// traffic of 10.0.0.1 to 10.0.0.2 port 443/tcp".
fn tunnel(alert: &Alert, from: &str, to: &str, out: &mut String) {
    let _ = write!(out, "A tunnel from {from} to {to}");
    if let (Some(source), Some(destination)) = (endpoint(alert, "source"), endpoint(alert, "destination")) {
        let verb = if alert.is_denied() { "would have carried" } else { "carried" };
        let _ = write!(out, " {verb} traffic of {source} to {destination}{}", port(alert));
    }
    if let Some(reporter) = reporter(alert) {
        let _ = write!(out, " (reported by {reporter})");
    }
}

fn tunnel_end(alert: &Alert, name: &str) -> Option<String> {
    Some(host(alert, &text(alert, name)?))
}

fn repeats(alert: &Alert, out: &mut String) {
    let noun = match (alert.scope, alert.count) {
        (Scope::Repeats, 1) => "more match",
        (Scope::Repeats, _) => "more matches",
        (_, 1) => "match",
        _ => "matches",
    };
    let _ = write!(out, ", {} {noun}", alert.count);
    clients(alert, out);
}

fn clients(alert: &Alert, out: &mut String) {
    if alert.clients.is_empty() {
        return;
    }
    let named: Vec<String> = alert.clients.iter().take(MAX_NAMED).map(|client| value(client)).collect();
    let at_least = if alert.clients.len() >= MAX_CLIENTS { "at least " } else { "" };
    let noun = if alert.clients.len() == 1 { "client" } else { "clients" };
    let more = if alert.clients.len() > MAX_NAMED { ", …" } else { "" };
    let _ = write!(out, " from {at_least}{} {noun} ({}{more})", alert.clients.len(), named.join(", "));
}

/// What is listed and by whom: "198.51.100.0/24 is a prefix listed by NSOC in set …".
fn listing(alert: &Alert, indicator: &Indicator, out: &mut String) {
    let Some(first) = alert.contributors.first() else { return };
    let producer = first.producer.as_deref().unwrap_or("its author");
    let _ = write!(
        out,
        "; {} is {} listed by {} in set {} (TLP:{}, {} severity",
        value(&indicator.value),
        a(indicator),
        value(producer),
        value(&first.set),
        first.tlp.name().to_ascii_uppercase(),
        first.severity.name(),
    );
    if let Some(confidence) = first.confidence {
        let word = ecs::confidence(confidence).to_ascii_lowercase();
        let _ = write!(out, ", confidence {confidence}/100 {word}");
    }
    if let Some(class) = &first.rsit {
        let _ = write!(out, ", {}", value(class));
    }
    if !first.attack.is_empty() {
        let _ = write!(out, ", {}", value(&first.attack.join(" ")));
    }
    out.push(')');
    if let Some(description) = &first.description {
        let _ = write!(out, ": {}", value(description));
    }
    let others: Vec<String> =
        alert.contributors.iter().skip(1).take(MAX_NAMED).map(|one| value(&one.set)).collect();
    if !others.is_empty() {
        let more = alert.contributors.len() - 1;
        let noun = if more == 1 { "set" } else { "sets" };
        let dots = if more > MAX_NAMED { ", …" } else { "" };
        let _ = write!(out, ", and by {more} more {noun} ({}{dots})", others.join(", "));
    }
}

fn set_summary(alert: &Alert, out: &mut String) {
    let noun = if alert.count == 1 { "match" } else { "matches" };
    let _ = write!(out, "{} {noun}", alert.count);
    if let Some(first) = alert.contributors.first() {
        let producer = first.producer.as_deref().unwrap_or("its author");
        let _ = write!(
            out,
            " of set {} by {} (TLP:{}, {} severity)",
            value(&first.set),
            value(producer),
            first.tlp.name().to_ascii_uppercase(),
            first.severity.name()
        );
    }
    clients(alert, out);
    out.push_str(" were counted without an alert each, because more came than the sensor tells singly");
}

/// Who is silent since when: "Source edge-fw-2 has been silent since …".
fn silence(alert: &Alert, out: &mut String) {
    let since = time(alert.first_seen);
    let expected = alert.contributors.first().and_then(|one| one.description.as_deref()).unwrap_or_default();
    let named: Vec<String> = alert.clients.iter().take(MAX_NAMED).map(|name| value(name)).collect();
    let more = if alert.clients.len() > MAX_NAMED { ", …" } else { "" };
    // Writing to a string cannot fail.
    let _ = match alert.clients.as_slice() {
        [one] => write!(out, "Source {} has been silent since {since} ({expected})", value(one)),
        many => {
            let all = ecs::find(&alert.event, "observer.name").and_then(Value::as_array).map_or(0, Vec::len);
            write!(
                out,
                "{} sources fell silent together ({}{more}), the first after {since} ({expected}); \
                 wiped hosts do not log",
                all.max(many.len()),
                named.join(", ")
            )
        }
    };
}

/// What speaks against it: expired indicators, allow sets.
fn doubts(alert: &Alert, out: &mut String) {
    if alert.expired() {
        let until =
            alert.contributors.iter().filter(|one| one.expired).filter_map(|one| one.valid_until).max();
        let all = if alert.contributors.iter().all(|one| one.expired) { "the" } else { "one" };
        let _ = match until {
            Some(until) => write!(out, "; {all} indicator expired {}", time(until)),
            None => write!(out, "; {all} indicator has expired"),
        };
    }
    for inform in alert.informs.iter().take(MAX_NAMED) {
        let why = inform.reason.as_deref().map_or("no reason given".to_owned(), value);
        let _ = write!(out, "; allow set {} knows it: {why}", value(&inform.set));
    }
    if alert.masked {
        out.push_str("; data of another constituent is masked");
    }
}

/// Whom it concerns and whom to call.
fn call(alert: &Alert, out: &mut String) {
    let Some(organization) = &alert.organization else {
        if alert.scope == Scope::Silence {
            return;
        }
        out.push_str("; no constituent is configured for these addresses");
        return;
    };
    let _ = write!(out, "; concerns {} ({})", value(&organization.name), organization.sector.name());
    let _ = match &organization.contact {
        Some(contact) => write!(out, ", call {}", value(contact)),
        None => write!(out, ", no contact is configured"),
    };
}

fn endpoint(alert: &Alert, side: &str) -> Option<String> {
    let address = text(alert, &format!("{side}.ip"))?;
    Some(host(alert, &address))
}

/// An address that belongs to the constituent is called internal.
fn host(alert: &Alert, address: &str) -> String {
    let internal = alert.organization.is_some()
        && alert.clients.first().is_some_and(|client| client == address)
        && alert.indicator.as_ref().is_none_or(|indicator| indicator.atomic != address);
    let kind = if internal { "internal host " } else { "" };
    format!("{kind}{}", value(address))
}

fn port(alert: &Alert) -> String {
    let Some(port) = ecs::find(&alert.event, "destination.port").and_then(Value::as_u64) else {
        return String::new();
    };
    match text(alert, "network.transport") {
        Some(transport) => format!(" port {port}/{}", value(&transport)),
        None => format!(" port {port}"),
    }
}

/// The device that reports, as the analyst knows it: its name, its address, its program.
fn reporter(alert: &Alert) -> Option<String> {
    let program = text(alert, "process.name").or_else(|| text(alert, "log.syslog.appname"));
    let device = ["observer.name", "host.name", "observer.ip", "log.source.address"]
        .iter()
        .find_map(|path| text(alert, path))?;
    Some(match program {
        Some(program) => format!("{} on {}", value(&program), value(&device)),
        None => value(&device),
    })
}

fn text(alert: &Alert, path: &str) -> Option<String> {
    let value = ecs::find(&alert.event, path)?;
    let value = value.as_array().map_or(Some(value), |items| items.first())?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// With an article, for a value that was met.
fn the(kind: Kind) -> &'static str {
    match kind {
        Kind::Ip => "the address",
        Kind::Domain => "the domain",
        Kind::Url => "the URL",
        Kind::Email => "the e-mail address",
        Kind::Md5 => "a file with the MD5",
        Kind::Sha1 => "a file with the SHA-1",
        Kind::Sha256 => "a file with the SHA-256",
        Kind::Sha512 => "a file with the SHA-512",
        Kind::Text => "the text",
    }
}

/// With an article, for a value that is listed.
fn a(indicator: &Indicator) -> &'static str {
    match indicator.kind {
        Kind::Ip if indicator.value.contains('/') => "a prefix",
        Kind::Ip => "an address",
        Kind::Domain => "a domain",
        Kind::Url => "a URL",
        Kind::Email => "an e-mail address",
        Kind::Md5 => "an MD5",
        Kind::Sha1 => "a SHA-1",
        Kind::Sha256 => "a SHA-256",
        Kind::Sha512 => "a SHA-512",
        Kind::Text => "a text",
    }
}

fn value(text: &str) -> String {
    terminal_safe(text, MAX_VALUE)
}

/// "2026-08-20 10:00:00 UTC"
fn time(nanos: Nanos) -> String {
    ecs::seconds(nanos).replace('T', " ").replace('Z', " UTC")
}

fn capital(text: &str) -> String {
    // Names of devices are case-sensitive to a reader; only our own word is raised.
    match text.strip_prefix("internal host") {
        Some(rest) => format!("Internal host{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::sample;
    use crate::alert::{Contribution, Inform};
    use crate::detect::indicator::{Severity, Tlp};
    use serde_json::{Map, json};

    fn syslog(kind: Kind, listed: &str, atomic: &str) -> Alert {
        let Value::Object(event) = json!({
            "host": {"name": "ns1"}, "process": {"name": "named"},
        }) else {
            unreachable!()
        };
        let indicator = Indicator {
            kind,
            value: listed.to_owned(),
            atomic: atomic.to_owned(),
            field: "message".to_owned(),
            side: Side::Unknown,
            offset: Some(4),
        };
        Alert { event, indicator: Some(indicator), clients: vec![], ..sample() }
    }

    #[test]
    fn sentences() {
        let tail = "; first seen 2026-08-20 10:00:00 UTC; concerns Distribution operator (energy), \
                    call soc@operator.example";
        let listed = "listed by NSOC in set c2 (TLP:AMBER+STRICT, high severity, confidence 75/100 high, \
                      malicious-code/c2-server, T1071.004): weekly list";
        let mut inbound = sample();
        inbound.event = {
            let Value::Object(event) = json!({
                "source": {"ip": "198.51.100.7"},
                "destination": {"ip": "192.0.2.5", "port": 22},
            }) else {
                unreachable!()
            };
            event
        };
        inbound.indicator.as_mut().unwrap().side = Side::Source;
        let mut client = syslog(Kind::Domain, "evil.example", "a.evil.example");
        client.clients = vec!["192.0.2.5".to_owned()];
        for (name, alert, start) in [
            (
                "flow out",
                sample(),
                "Internal host 192.0.2.5 contacted 198.51.100.7 port 443/tcp (reported by 10.1.2.3); \
                 198.51.100.0/24 is a prefix ",
            ),
            (
                "flow in",
                inbound,
                "198.51.100.7 contacted internal host 192.0.2.5 port 22; 198.51.100.0/24 is a prefix ",
            ),
            (
                "domain",
                client,
                "named on ns1 reported the domain a.evil.example with internal host 192.0.2.5; \
                 evil.example is a domain ",
            ),
            (
                "address in text",
                syslog(Kind::Ip, "198.51.100.7", "198.51.100.7"),
                "named on ns1 reported the address 198.51.100.7 (side unknown); 198.51.100.7 is an address ",
            ),
            (
                "url",
                syslog(Kind::Url, "http://evil.example/a", "evil.example/a"),
                "named on ns1 reported the URL evil.example/a; http://evil.example/a is a URL ",
            ),
            (
                "email",
                syslog(Kind::Email, "x@evil.example", "x@evil.example"),
                "named on ns1 reported the e-mail address x@evil.example; x@evil.example is an e-mail address ",
            ),
            (
                "hash",
                syslog(Kind::Md5, "aa", "AA"),
                "named on ns1 reported a file with the MD5 AA; aa is an MD5 ",
            ),
            (
                "text",
                syslog(Kind::Text, "disable_defender.exe", "Disable_Defender.exe"),
                "named on ns1 reported the text Disable_Defender.exe; disable_defender.exe is a text ",
            ),
        ] {
            assert_eq!(alert.reason(), format!("{start}{listed}{tail}"), "{name}");
        }
    }

    #[test]
    fn what_speaks_against_it_is_said() {
        let mut alert = sample();
        alert.contributors[0].expired = true;
        alert.contributors[0].valid_until = Some(1_000_000_000_000_000_000);
        alert.informs =
            vec![Inform { set: "known".into(), reason: Some("own scanner".into()), tlp: Tlp::Clear }];
        alert.exercise = true;
        alert.organization = None;
        let reason = alert.reason();
        assert!(reason.starts_with("EXERCISE: 192.0.2.5 contacted"), "{reason}");
        for part in [
            "the indicator expired 2001-09-09 01:46:40 UTC",
            "allow set known knows it: own scanner",
            "no constituent is configured for these addresses",
        ] {
            assert!(reason.contains(part), "{part} in {reason}");
        }
    }

    #[test]
    fn summaries_count() {
        let mut alert = sample();
        alert.scope = Scope::Repeats;
        alert.count = 37;
        alert.clients = (0..7).map(|n| format!("192.0.2.{n}")).collect();
        let reason = alert.reason();
        assert!(
            reason.contains(
                ", 37 more matches from 7 clients (192.0.2.0, 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, …)"
            ),
            "{reason}"
        );
        alert.scope = Scope::Set;
        alert.indicator = None;
        alert.event = Map::new();
        let reason = alert.reason();
        assert!(
            reason
                .starts_with("37 matches of set c2 by NSOC (TLP:AMBER+STRICT, high severity) from 7 clients"),
            "{reason}"
        );
    }

    #[test]
    fn several_sets_are_named() {
        let mut alert = sample();
        let second =
            Contribution { set: "feed-b".into(), severity: Severity::Low, ..alert.contributors[0].clone() };
        alert.contributors.push(second);
        assert!(alert.reason().contains(", and by 1 more set (feed-b); first seen"));
    }
}
