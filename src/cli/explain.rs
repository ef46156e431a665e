//! `roje explain`: why a line alerts, or why it does not.

use super::{ExplainArgs, OutputFormat, loading, terminal};
use crate::alert::escape_json;
use crate::decode::syslog::{self, Reference};
use crate::decode::{Fields, charset, ecs};
use crate::detect::indicator::Mode;
use crate::detect::{self, EntryRef, Match, Matcher, Observable, RuleSet, Validity};
use crate::input::now;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::process::ExitCode;

/// Standard input may be a whole log by mistake; a line is never longer.
const MAX_LINE: u64 = crate::input::MAX_MESSAGE as u64;

/// Explains one line.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let generation = loading::rules(&args.rules)?;
    let line = match &args.line {
        Some(line) => line.clone().into_bytes(),
        None => first_line()?,
    };
    let time = args.time.reference(now());
    let explanation = explain(&generation.rules, &line, &time);
    let mut out = std::io::stdout().lock();
    match args.format {
        OutputFormat::Json => {
            let mut json = Vec::new();
            for line in serde_json::to_vec_pretty(&explanation)?.split(|byte| *byte == b'\n') {
                escape_json(line, &mut json);
                json.push(b'\n');
            }
            out.write_all(&json)?;
        }
        OutputFormat::Text => out.write_all(text(&explanation, terminal::colour_out()).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn first_line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    std::io::stdin().lock().take(MAX_LINE).read_to_end(&mut line)?;
    let end = memchr::memchr(b'\n', &line).unwrap_or(line.len());
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Everything that happens to a line, as JSON; the text for people is made from it.
fn explain(rules: &RuleSet, line: &[u8], time: &Reference) -> Value {
    let mut fields = Fields::default();
    let decoded = syslog::decode(line, time, &mut fields);
    let mut event = Map::new();
    ecs::to_json(&fields, line, &mut event);
    let mut observables = Vec::new();
    detect::extract(line, &mut |observable| observables.push(observable));
    // As they stand in the line, the longest first, whatever the order in which they are found.
    observables.sort_by_key(|observable| (observable.span.start, std::cmp::Reverse(observable.span.end)));
    let looked_up: Vec<Value> =
        observables.iter().map(|observable| look_up(rules, line, observable)).collect();
    let mut matches = Vec::new();
    let validity = Validity::At(time.now);
    Matcher::default().message(rules, line, validity, time, &mut |matched| {
        matches.push(explain_match(rules, line, &matched));
    });
    json!({
        "decoded": {
            "format": decoded.as_ref().map_or_else(|error| error.name(), |header| header.shape.name()),
            "error": decoded.is_err(),
            "fields": event,
        },
        "observables": looked_up,
        "matches": matches,
        "ruleset_digest": rules.digest(),
    })
}

fn look_up(rules: &RuleSet, line: &[u8], observable: &Observable) -> Value {
    let mut covering = Vec::new();
    rules.lookup(line, observable, &mut |value| covering.push(rules.value(value)));
    json!({
        "type": observable.kind.name(),
        "value": detect::normal(line, observable),
        "offset": observable.span.start,
        "found": covering,
    })
}

fn explain_match(rules: &RuleSet, line: &[u8], matched: &Match) -> Value {
    let entry = |entry: &EntryRef| {
        let contributor = rules.contributor(*entry);
        let instant = |nanos: Option<i64>| {
            nanos.and_then(|nanos| Timestamp::from_nanosecond(nanos.into()).ok()).map(|at| at.to_string())
        };
        json!({
            "set": contributor.set.name,
            "id": contributor.id,
            "producer": contributor.meta.producer.as_ref().or(contributor.set.producer.as_ref()),
            "mode": match contributor.set.mode {
                Mode::Indicators => "indicators",
                Mode::Block => "block",
                Mode::Inform => "inform",
            },
            "severity": contributor.meta.severity.name(),
            "tlp": contributor.meta.tlp.name(),
            "confidence": contributor.meta.confidence,
            "valid_from": instant(contributor.meta.valid_from),
            "valid_until": instant(contributor.meta.valid_until),
            "reason": contributor.meta.reason,
        })
    };
    let span = line.get(matched.span.start as usize..matched.span.end as usize).unwrap_or_default();
    json!({
        "type": matched.kind.name(),
        "value": rules.value(matched.value),
        "offset": matched.span.start,
        "matched": charset::text(span),
        "side": match matched.side {
            detect::Side::Source => "source",
            detect::Side::Destination => "destination",
            detect::Side::Unknown => "unknown",
        },
        "field": matched.field,
        "alert": matched.suppressed.is_none(),
        "suppressed": matched.suppressed.map(detect::Suppression::name),
        "contributors": matched.contributors.iter().map(entry).collect::<Vec<_>>(),
        "informs": matched.informs.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// The explanation for people.
fn text(explanation: &Value, colour: bool) -> String {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_string(),
    };
    let word = |value: &Value| terminal::escape(value.as_str().unwrap_or_default());
    let mut out = String::new();
    let decoded = &explanation["decoded"];
    let error = if decoded["error"] == true { "could not be decoded; matched raw: " } else { "" };
    out.push_str(&format!("{}  {error}{}\n", paint("1", "decoded"), word(&decoded["format"])));
    let mut fields = Vec::new();
    flatten("", &decoded["fields"], &mut fields);
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in &fields {
        out.push_str(&format!("  {name:width$}  {}\n", terminal::escape(value)));
    }
    let observables = explanation["observables"].as_array().map_or(&[][..], Vec::as_slice);
    out.push_str(&format!("\n{}  {}\n", paint("1", "looked up"), observables.len()));
    let width =
        observables.iter().filter_map(|o| o["value"].as_str()).map(|v| v.chars().count()).max().unwrap_or(0);
    for observable in observables {
        let found: Vec<String> = observable["found"].as_array().into_iter().flatten().map(word).collect();
        let found = match found.is_empty() {
            true => "not listed".to_string(),
            false => paint("33", &format!("listed: {}", found.join(", "))),
        };
        let value = word(&observable["value"]);
        out.push_str(&format!(
            "  {:6}  {value:width$}  byte {:>4}  {found}\n",
            word(&observable["type"]),
            observable["offset"],
        ));
    }
    let matches = explanation["matches"].as_array().map_or(&[][..], Vec::as_slice);
    out.push_str(&format!("\n{}  {}\n", paint("1", "matches"), matches.len()));
    for matched in matches {
        let verdict = match matched["suppressed"].as_str() {
            None => paint("1;31", "ALERT"),
            Some(reason) => paint("36", &format!("no alert: {}", why(reason))),
        };
        // Only an address has a side.
        let side = match matched["type"] == "ip" {
            true => format!(", side {}", word(&matched["side"])),
            false => String::new(),
        };
        out.push_str(&format!(
            "  {verdict}  {} {}  in {:?} at byte {}, field {}{side}\n",
            word(&matched["type"]),
            word(&matched["value"]),
            word(&matched["matched"]),
            matched["offset"],
            word(&matched["field"]),
        ));
        for contributor in matched["contributors"].as_array().into_iter().flatten() {
            let id =
                contributor["id"].as_str().map(|id| format!("/{}", terminal::escape(id))).unwrap_or_default();
            let until =
                contributor["valid_until"].as_str().map(|at| format!(", until {at}")).unwrap_or_default();
            out.push_str(&format!(
                "    because {}{id} of {}: {}, TLP:{}{until}\n",
                word(&contributor["set"]),
                contributor["producer"].as_str().map_or("an unnamed producer".into(), terminal::escape),
                word(&contributor["severity"]),
                word(&contributor["tlp"]).to_uppercase(),
            ));
        }
        for inform in matched["informs"].as_array().into_iter().flatten() {
            out.push_str(&format!(
                "    allow set {} says: {}\n",
                word(&inform["set"]),
                word(&inform["reason"])
            ));
        }
    }
    if matches.is_empty() {
        let listed =
            observables.iter().any(|one| one["found"].as_array().is_some_and(|found| !found.is_empty()));
        out.push_str(match listed {
            true => {
                "  what is listed does not apply here: see its `match`, `where`, `port`, or its allow set\n"
            }
            false => "  nothing in this line is an indicator of these rules\n",
        });
    }
    out
}

fn why(reason: &str) -> &'static str {
    match reason {
        "allowed" => "an allow set with mode block covers it",
        "expired" => "the indicator has expired",
        "not_yet_valid" => "the indicator is not valid yet",
        "revoked" => "the indicator was revoked",
        "test" => "the indicator has status test: counted, never sent",
        _ => "suppressed",
    }
}

fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, value, out);
            }
        }
        Value::String(text) => out.push((prefix.to_string(), text.clone())),
        other => out.push((prefix.to_string(), other.to_string())),
    }
}
