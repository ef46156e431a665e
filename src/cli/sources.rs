//! `roje sources`: who sends to the running sensor.

use super::{OutputFormat, SourcesArgs, loading, terminal};
use crate::alert::escape_json;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// Asks the running sensor and shows what it answers.
pub fn run(args: &SourcesArgs) -> anyhow::Result<ExitCode> {
    let address = loading::configuration(args.config.as_deref())?.metrics.listen;
    let path = format!("/sources?sort={}&top={}", args.sort, args.top);
    let report = loading::ask(address, &path).filter(|report| report["sources"].is_array());
    let report = report
        .ok_or_else(|| anyhow::anyhow!("no sensor answers on http://{address}; `roje run` starts one"))?;
    let mut out = std::io::stdout().lock();
    match args.format {
        OutputFormat::Json => out.write_all(&json(&report)?)?,
        OutputFormat::Text => writeln!(out, "{}", text(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON whose names, which senders choose, command no terminal.
fn json(report: &Value) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    for line in serde_json::to_string_pretty(report)?.lines() {
        escape_json(line.as_bytes(), &mut out);
        out.push(b'\n');
    }
    Ok(out)
}

fn text(report: &Value) -> String {
    let header = [
        "NAME",
        "ADDRESS",
        "input",
        "format",
        "messages",
        "per second",
        "last seen",
        "errors",
        "drops",
        "lost",
        "skew",
        "",
    ];
    let senders = report["sources"].as_array().map_or(&[][..], Vec::as_slice);
    let at = seconds(&report["at"]).unwrap_or_default();
    let rows: Vec<Vec<String>> = senders.iter().map(|sender| row(sender, at)).collect();
    let mut text = terminal::table(&header, &rows);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let more = number(&report["senders"]).saturating_sub(senders.len() as u64);
    if more > 0 {
        text.push_str(&format!("\n{} more; --top N shows more of them", terminal::count(more)));
    }
    let forgotten = &report["forgotten"];
    if number(&forgotten["senders"]) > 0 {
        text.push_str(&format!(
            "\nforgotten, because more sent than are remembered: {} senders with {} messages",
            terminal::count(number(&forgotten["senders"])),
            terminal::count(number(&forgotten["messages"])),
        ));
    }
    text
}

fn row(sender: &Value, at: i64) -> Vec<String> {
    let string = |key: &str| sender[key].as_str().map_or_else(|| "-".to_owned(), terminal::escape);
    let number = |key: &str| sender[key].as_u64().unwrap_or_default().to_string();
    let never = sender["messages"] == 0;
    let seen = seconds(&sender["last_seen"]).map_or_else(|| "never".to_owned(), |last| ago(at - last));
    let skew = sender["skew_seconds"].as_i64().map_or_else(|| "-".to_owned(), offset);
    let mut note = Vec::new();
    if sender["silent"] == true {
        note.push("silent".to_owned());
    }
    if let Some(zone) = sender["probable_timezone"].as_str() {
        note.push(format!("its stamps are probably {}", terminal::escape(zone)));
    }
    let exporter = &sender["exporter"];
    let count = |key: &str| exporter[key].as_u64().unwrap_or_default();
    if count("sampling_rate") > 0 {
        note.push(format!("samples 1 in {}", terminal::count(count("sampling_rate"))));
    }
    if count("restarts") > 0 {
        note.push(format!("started anew {} times", terminal::count(count("restarts"))));
    }
    if sender["late"].as_u64().unwrap_or_default() > 0 {
        note.push(format!("{} late", number("late")));
    }
    if count("lost_samples") > 0 {
        note.push(format!("{} samples lost", terminal::count(count("lost_samples"))));
    }
    if count("untrusted") > 0 {
        note.push("its sequence numbers make no sense, so that losses are not told".to_owned());
    }
    let (address, input) = match (sender["address"].is_null(), never) {
        (true, true) => ("-".to_owned(), "-".to_owned()),
        (true, false) => ("(local)".to_owned(), string("input")),
        _ => (string("address"), string("input")),
    };
    let rate = sender["rate"].as_f64().unwrap_or_default();
    vec![
        string("name"),
        address,
        input,
        string("format"),
        number("messages"),
        if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.2}") },
        seen,
        number("decode_errors"),
        number("drops"),
        number("lost"),
        skew,
        note.join("; "),
    ]
}

fn seconds(stamp: &Value) -> Option<i64> {
    stamp.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn ago(seconds: i64) -> String {
    format!("{} ago", span(seconds.max(0)))
}

/// A skew with its sign; hours to the nearest minute, since stamps have whole seconds.
fn offset(skew: i64) -> String {
    let rounded = if skew.abs() < 3600 - 30 { skew.abs() } else { (skew.abs() + 30) / 60 * 60 };
    format!("{}{}", if skew < 0 { "-" } else { "+" }, span(rounded))
}

/// The two largest units: `2h 5m`.
fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_forge_no_rows_and_command_no_terminal() {
        let name = "a\nforged  10.0.0.1  tcp\tx\u{1b}[2J\u{9b}1m\u{202e}b";
        let report = serde_json::json!({
            "at": "2026-01-15T12:00:00Z",
            "senders": 1,
            "forgotten": {"senders": 0},
            "sources": [{"name": name, "address": "192.0.2.1", "input": "tls", "messages": 1}],
        });
        let table = text(&report);
        assert_eq!(table.lines().count(), 2, "{table}");
        let printed = String::from_utf8(json(&report).unwrap()).unwrap();
        for printed in [&table, &printed] {
            let steers = |c: char| c != '\n' && crate::alert::commands_terminal(c);
            assert!(!printed.contains(steers), "{printed:?}");
        }
        let again: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(again, report, "the same JSON");
    }
}
