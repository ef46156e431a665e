//! `roje rules`: what is loaded.

use super::{OutputFormat, RulesArgs, loading, terminal};
use crate::detect::indicator::Kind;
use crate::input::now;
use crate::rules;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// Shows rule sets: those named, or those of the running sensor, or those it would load.
pub fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    if args.schema {
        let schema = serde_json::to_string_pretty(&rules::schema::schema())?;
        writeln!(std::io::stdout().lock(), "{schema}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let running = match args.paths.is_empty() {
        true => loading::ask(loading::configuration(args.config.as_deref())?.metrics.listen, "/rules")
            .filter(|report| report["sets"].is_array()),
        false => None,
    };
    let report = match running {
        Some(report) => report,
        None => {
            let generation = loading::rules_or_configured(&args.paths, args.config.as_deref())?;
            rules::report(&generation, now(), None)
        }
    };
    let mut out = std::io::stdout().lock();
    match args.format {
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        OutputFormat::Text => writeln!(out, "{}", text(&report))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Value) -> String {
    let mut header = vec!["SET", "PRODUCER", "TLP"];
    header.extend(Kind::ALL.map(Kind::name));
    header.extend(["allow", "expired", "refused", "hits", ""]);
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_string(), |number| number.to_string());
    let row = |entry: &Value, name: &str| {
        let mut row = vec![
            name.to_string(),
            entry["producer"].as_str().unwrap_or_default().to_string(),
            entry["tlp"].as_str().unwrap_or_default().to_string(),
        ];
        row.extend(Kind::ALL.map(|kind| number(&entry["indicators"][kind.name()])));
        let refused: u64 = match &entry["refused"] {
            Value::Array(groups) => groups.iter().filter_map(|group| group["count"].as_u64()).sum(),
            other => other.as_u64().unwrap_or_default(),
        };
        row.extend([
            number(&entry["allow"]),
            number(&entry["expired"]),
            refused.to_string(),
            number(&entry["hits"]),
        ]);
        row.push(if entry["stale"] == true { "stale".to_string() } else { String::new() });
        row
    };
    let sets = report["sets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows: Vec<_> = sets.iter().map(|set| row(set, set["set"].as_str().unwrap_or("-"))).collect();
    rows.push(row(&report["totals"], "total"));
    let mut text = terminal::table(&header, &rows);
    for set in sets {
        for refused in set["refused"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "\nrefused in {}: {} × {} (first at {})",
                terminal::escape(set["set"].as_str().or(set["source"].as_str()).unwrap_or("-")),
                refused["count"],
                terminal::escape(refused["reason"].as_str().unwrap_or_default()),
                terminal::escape(refused["first"].as_str().unwrap_or_default()),
            ));
        }
    }
    text
}
