//! ArcSight Common Event Format, version 0 (Implementation Standard, revision 25).
//!
//! Header fields escape `\` and `|`, extension values escape `\`, `=` and line ends; header fields
//! cannot hold a line end at all. `src` and `dst` are IPv4 by definition, IPv6 goes to `c6a2` and
//! `c6a3`.

use super::encode::commands_terminal;
use super::{Alert, Scope, ecs};
use crate::detect::indicator::{Kind, Severity};
use crate::input::Nanos;
use serde_json::Value;
use std::fmt::Write;
use std::net::IpAddr;

/// Characters of `rawEvent` and `msg`, as the standard bounds them.
const MAX_RAW: usize = 4000;
const MAX_MESSAGE: usize = 1023;

pub(super) fn cef(alert: &Alert) -> String {
    let first = alert.contributors.first();
    let mut out = String::from("CEF:0|Roje|roje|");
    header(&mut out, &find(alert, "agent.version").unwrap_or_default());
    header(&mut out, first.map_or("", |one| one.set.as_str()));
    let name = match (&alert.indicator, alert.scope) {
        (Some(indicator), Scope::Match) => format!("Indicator match: {}", indicator.kind.name()),
        (Some(indicator), _) => format!("Indicator matches: {}", indicator.kind.name()),
        (None, Scope::Silence) => "Source silent".to_owned(),
        (None, Scope::Heartbeat) => "Heartbeat".to_owned(),
        (None, _) => "Indicator matches of a set".to_owned(),
    };
    header(&mut out, &name);
    let _ = write!(out, "{}|", severity(alert.severity()));
    let mut extension = Extension { out, first: true };
    fill(alert, &mut extension);
    extension.out
}

fn fill(alert: &Alert, to: &mut Extension) {
    to.put("externalId", &alert.id);
    to.put("start", &millis(alert.first_seen).to_string());
    to.put("end", &millis(alert.last_seen).to_string());
    to.put("cnt", &alert.count.to_string());
    to.put("msg", &cut(&alert.reason(), MAX_MESSAGE));
    address(alert, to, "source.ip", "src", "c6a2", "Source IPv6 Address");
    to.field(alert, "spt", "source.port");
    address(alert, to, "destination.ip", "dst", "c6a3", "Destination IPv6 Address");
    to.field(alert, "dpt", "destination.port");
    to.field(alert, "proto", "network.transport");
    to.field(alert, "in", "source.bytes");
    to.field(alert, "out", "destination.bytes");
    to.field(alert, "suser", "user.name");
    to.field(alert, "request", "url.original");
    to.field(alert, "fname", "file.name");
    to.field(alert, "sproc", "process.name");
    to.field(alert, "dvchost", "host.name");
    to.field(alert, "deviceExternalId", "agent.name");
    if let Some(indicator) = &alert.indicator {
        if matches!(indicator.kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512) {
            to.put("fileHash", &indicator.value);
        }
        to.labelled("cs1", "Indicator", &indicator.value);
    }
    if let Some(first) = alert.contributors.first() {
        to.labelled("cs2", "Producer", first.producer.as_deref().unwrap_or(&first.set));
        if let Some(category) = &first.rsit {
            to.put("cat", category);
        }
        if let Some(confidence) = first.confidence {
            to.labelled("cn1", "Confidence", &confidence.to_string());
        }
        if !first.attack.is_empty() {
            to.labelled("flexString1", "Technique", &first.attack.join(" "));
        }
    }
    to.labelled("cs3", "TLP", &alert.tlp().name().to_ascii_uppercase());
    if let Some(organization) = &alert.organization {
        to.labelled("cs4", "Constituent", &organization.name);
        if let Some(contact) = &organization.contact {
            to.labelled("cs5", "Contact", contact);
        }
    }
    if alert.exercise {
        to.labelled("cs6", "Exercise", "true");
    }
    if let Some(original) = find(alert, "event.original") {
        to.put("rawEvent", &cut(&original, MAX_RAW));
    }
}

/// 0–3 low, 4–6 medium, 7–8 high, 9–10 very high.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

fn address(alert: &Alert, to: &mut Extension, path: &str, v4: &str, v6: &str, label: &str) {
    let Some(text) = find(alert, path) else { return };
    match text.parse() {
        Ok(IpAddr::V4(_)) => to.put(v4, &text),
        Ok(IpAddr::V6(_)) => to.labelled(v6, label, &text),
        Err(_) => {}
    }
}

fn find(alert: &Alert, path: &str) -> Option<String> {
    match ecs::find(&alert.event, path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => items.first()?.as_str().map(str::to_owned),
        _ => None,
    }
}

fn millis(nanos: Nanos) -> i64 {
    nanos.div_euclid(1_000_000)
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

struct Extension {
    out: String,
    first: bool,
}

impl Extension {
    fn put(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        if !std::mem::take(&mut self.first) {
            self.out.push(' ');
        }
        self.out.push_str(key);
        self.out.push('=');
        for character in value.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '=' => self.out.push_str("\\="),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                other => self.out.push(plain(other)),
            }
        }
    }

    fn labelled(&mut self, key: &str, label: &str, value: &str) {
        if !value.is_empty() {
            self.put(&format!("{key}Label"), label);
            self.put(key, value);
        }
    }

    fn field(&mut self, alert: &Alert, key: &str, path: &str) {
        if let Some(value) = find(alert, path) {
            self.put(key, &value);
        }
    }
}

fn header(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '|' => out.push_str("\\|"),
            '\n' | '\r' => out.push(' '),
            other => out.push(plain(other)),
        }
    }
    out.push('|');
}

/// CEF has no escape for other control characters; the original keeps them.
fn plain(character: char) -> char {
    if commands_terminal(character) { '\u{fffd}' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::sample;

    /// Splits at unescaped `|`, as a receiver does.
    fn split(line: &str) -> Vec<String> {
        let (mut parts, mut escaped) = (vec![String::new()], false);
        for character in line.chars() {
            if parts.len() == 8 {
                parts[7].push(character);
            } else if escaped {
                parts.last_mut().unwrap().push(character);
                escaped = false;
            } else if character == '\\' {
                escaped = true;
            } else if character == '|' {
                parts.push(String::new());
            } else {
                parts.last_mut().unwrap().push(character);
            }
        }
        parts
    }

    #[test]
    fn hostile_values_stay_inside_their_field() {
        let mut alert = sample();
        alert.contributors[0].set = "a|b\\c\nd".to_owned();
        ecs::put(&mut alert.event, "event.original", "x=1\\2|3\r\ncs1=forged \u{1b}[0m".into());
        let line = cef(&alert);
        assert!(!line.chars().any(char::is_control));
        let parts = split(&line);
        assert_eq!(parts.len(), 8);
        assert_eq!(parts[4], "a|b\\c d");
        assert_eq!(parts[6], "8");
        assert!(parts[7].ends_with("rawEvent=x\\=1\\\\2|3\\r\\ncs1\\=forged \u{fffd}[0m"), "{line}");
    }

    #[test]
    fn the_extension_tells_who_and_what() {
        let line = cef(&sample());
        for part in [
            "cs1Label=Indicator cs1=198.51.100.0/24",
            " src=192.0.2.5 ",
            " dst=198.51.100.7 dpt=443 proto=tcp ",
            "cs3Label=TLP cs3=AMBER+STRICT",
            "cs4=Distribution operator cs5Label=Contact cs5=soc@operator.example",
            "cnt=1 ",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn ipv6_endpoints_use_their_own_keys() {
        let mut alert = sample();
        ecs::put(&mut alert.event, "source.ip", "2001:db8::1".into());
        let line = cef(&alert);
        assert!(line.contains("c6a2Label=Source IPv6 Address c6a2=2001:db8::1"), "{line}");
        assert!(!line.contains(" src="));
    }
}
