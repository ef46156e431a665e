//! An alert for a person at a terminal: a few aligned lines.

use super::encode::commands_terminal;
use super::{Alert, Scope, ecs};
use crate::detect::indicator::Severity;
use std::fmt::Write;

/// Characters of evidence shown; the rest is in the alert itself.
const MAX_EVIDENCE: usize = 240;

/// Renders an alert in a few lines, the last without a line's end.
///
/// Whatever a sender wrote is escaped, with or without colour.
pub fn human(alert: &Alert, colour: bool) -> String {
    let severity = alert.severity();
    let (on, off) = if colour { (code(severity), "\x1b[0m") } else { ("", "") };
    let mut out = String::new();
    let time = ecs::seconds(alert.last_seen);
    let word = severity.name().to_ascii_uppercase();
    // Writing to a string cannot fail.
    let _ = write!(out, "{on}{word:<8}{off}  {time}  {}", terminal_safe(&alert.reason(), usize::MAX));
    let producers: Vec<&str> = alert.contributors.iter().map(|one| one.set.as_str()).collect();
    let sets = terminal_safe(&producers.join(", "), MAX_EVIDENCE);
    let tlp = alert.tlp().name().to_ascii_uppercase();
    match &alert.indicator {
        Some(indicator) => {
            let value = terminal_safe(&indicator.value, MAX_EVIDENCE);
            let _ = write!(out, "\n  indicator  {} {value}   set {sets}   TLP:{tlp}", indicator.kind.name());
        }
        None if alert.scope == Scope::Heartbeat => {}
        None if alert.scope == Scope::Silence => {
            let names = terminal_safe(&alert.clients.join(", "), MAX_EVIDENCE);
            let _ = write!(out, "\n  silent     {names}   TLP:{tlp}");
        }
        None => {
            let _ = write!(out, "\n  summary    {} matches   set {sets}   TLP:{tlp}", alert.count);
        }
    }
    let original = ecs::find(&alert.event, "event.original").and_then(|value| value.as_str());
    if let Some(text) = readable(original) {
        let _ = write!(out, "\n  evidence   {}", terminal_safe(text, MAX_EVIDENCE));
    } else if let Some(flow) = flow(alert) {
        let _ = write!(out, "\n  evidence   {}", terminal_safe(&flow, MAX_EVIDENCE));
    }
    out
}

/// Escapes what would command a terminal and cuts what is longer than `max` characters.
pub fn terminal_safe(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    let mut characters = text.chars();
    for character in characters.by_ref().take(max) {
        if commands_terminal(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if characters.next().is_some() {
        out.push('…');
    }
    out
}

fn code(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "\x1b[36m",
        Severity::Medium => "\x1b[33m",
        Severity::High => "\x1b[31m",
        Severity::Critical => "\x1b[1;31m",
    }
}

/// A flow record is binary: its fields say more than its bytes.
fn readable(original: Option<&str>) -> Option<&str> {
    let text = original?;
    let odd = text.chars().filter(|character| commands_terminal(*character) || *character == '\u{fffd}');
    (odd.count() * 4 <= text.chars().count()).then_some(text)
}

fn flow(alert: &Alert) -> Option<String> {
    let part = |path: &str| {
        ecs::find(&alert.event, path).map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
    };
    let endpoint = |side: &str| match (part(&format!("{side}.ip")), part(&format!("{side}.port"))) {
        (Some(ip), Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(ip), None) => ip,
        _ => "?".to_owned(),
    };
    ecs::find(&alert.event, "flow")?;
    let mut out = format!("{} -> {}", endpoint("source"), endpoint("destination"));
    for (path, unit) in
        [("network.transport", ""), ("source.bytes", " bytes"), ("source.packets", " packets")]
    {
        if let Some(value) = part(path) {
            let _ = write!(out, "  {value}{unit}");
        }
    }
    if let Some(exporter) = part("observer.ip") {
        let _ = write!(out, "  exported by {exporter}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::sample;

    #[test]
    fn what_a_sender_wrote_is_escaped() {
        let mut alert = sample();
        let hostile = "\x1b]0;owned\x07 \u{9b}31m \u{202e}gpj \r\n ë";
        ecs::put(&mut alert.event, "event.original", hostile.into());
        ecs::put(&mut alert.event, "host.name", hostile.into());
        alert.indicator.as_mut().unwrap().atomic = hostile.to_owned();
        let text = human(&alert, false);
        assert_eq!(text.lines().count(), 3);
        assert!(!text.replace('\n', "").chars().any(commands_terminal), "{text:?}");
        assert!(text.contains("ë") && text.contains("\\u{1b}]0;owned"));
    }

    #[test]
    fn colour_is_only_ours() {
        let text = human(&sample(), true);
        assert!(text.starts_with("\x1b[31mHIGH    \x1b[0m  2026-08-20T10:00:00Z  "), "{text:?}");
        assert_eq!(text.matches('\x1b').count(), 2);
    }

    #[test]
    fn a_flow_shows_its_fields() {
        let text = human(&sample(), false);
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("  evidence   192.0.2.5:50123 -> 198.51.100.7:443  tcp"), "{text}");
    }
}
