//! `roje spool`: what waits for outputs, whether it checks, and putting it in order.

use super::{OutputFormat, SpoolArgs, SpoolVerb, loading, terminal};
use crate::input::{Nanos, now};
use crate::output::spool::inspect::{Contents, Repaired, inspect, repair};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// Exit code of a verb that cannot do its work, as of grep.
const TROUBLE: u8 = 2;

/// Looks into the spool of the data directory.
pub fn run(args: &SpoolArgs) -> anyhow::Result<ExitCode> {
    let (dir, metrics) = match &args.data_dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let config = loading::configuration(args.config.as_deref())?;
            (config.sensor.data_dir, Some(config.metrics.listen))
        }
    };
    let dir = dir.join("spool");
    match args.verb {
        SpoolVerb::Status => {
            let Some(contents) = look(&dir) else { return Ok(ExitCode::from(TROUBLE)) };
            let live = metrics.filter(|_| contents.in_use).and_then(|at| loading::ask(at, "/readyz"));
            let live = live.map_or(Value::Null, |report| report["outputs"].clone());
            print(args.format, &contents_json(&dir, &contents, &live), || status(&dir, &contents, &live))?;
            Ok(ExitCode::SUCCESS)
        }
        SpoolVerb::Check => {
            let Some(contents) = look(&dir) else { return Ok(ExitCode::from(TROUBLE)) };
            print(args.format, &contents_json(&dir, &contents, &Value::Null), || check(&contents))?;
            Ok(ExitCode::from(u8::from(!contents.problems.is_empty())))
        }
        SpoolVerb::Repair => match repair(&dir) {
            Ok(repaired) => {
                print(args.format, &repaired_json(&repaired), || told(&repaired))?;
                Ok(ExitCode::from(u8::from(!repaired.problems.is_empty())))
            }
            Err(error) => {
                let hint = match error.kind() {
                    ErrorKind::AddrInUse => {
                        "; stop the sensor first: it repairs its spool itself when it starts"
                    }
                    _ => "",
                };
                eprintln!("roje: error: {}: {error}{hint}", dir.display());
                Ok(ExitCode::from(TROUBLE))
            }
        },
    }
}

fn look(dir: &Path) -> Option<Contents> {
    match inspect(dir) {
        Ok(contents) => Some(contents),
        Err(error) => {
            eprintln!("roje: error: {}: {error}; expected the spool of a data directory", dir.display());
            None
        }
    }
}

fn print(format: OutputFormat, json: &Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        OutputFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(json)?)?,
        OutputFormat::Text => writeln!(out, "{}", text())?,
    }
    Ok(())
}

fn contents_json(dir: &Path, contents: &Contents, live: &Value) -> Value {
    let stamp = |at: Nanos| jiff::Timestamp::from_nanosecond(at.into()).map(|at| at.to_string()).ok();
    let segments = contents.segments.iter().map(|one| {
        json!({
            "path": one.path,
            "bytes": one.bytes,
            "first": one.numbers.map(|(first, _)| first),
            "last": one.numbers.map(|(_, last)| last),
            "records": one.records,
            "heartbeats": one.heartbeats,
            "oldest": one.appended.and_then(|(first, _)| stamp(first)),
            "newest": one.appended.and_then(|(_, last)| stamp(last)),
            "state": one.state.name(),
        })
    });
    let outputs = contents.outputs.iter().map(|one| {
        json!({
            "output": one.output,
            "next": one.next,
            "pending": one.pending,
            "oldest": one.oldest.and_then(stamp),
            "live": of_output(live, &one.output),
        })
    });
    let set_aside = contents.set_aside.iter().map(|(path, bytes)| json!({ "path": path, "bytes": bytes }));
    json!({
        "path": dir,
        "in_use": contents.in_use,
        "bytes": contents.bytes(),
        "records": contents.records(),
        "segments": segments.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
        "set_aside": set_aside.collect::<Vec<_>>(),
        "problems": contents.problems,
    })
}

/// What the running sensor tells of an output.
fn of_output(live: &Value, output: &str) -> Value {
    let found = live.as_array().into_iter().flatten().find(|one| one["output"] == output);
    found.cloned().unwrap_or(Value::Null)
}

fn status(dir: &Path, contents: &Contents, live: &Value) -> String {
    let used = if contents.in_use { "a sensor runs" } else { "no sensor runs" };
    let mut text = format!(
        "{}: {} records in {} segments, {} bytes; {used}\n",
        dir.display(),
        terminal::count(contents.records()),
        contents.segments.len(),
        terminal::count(contents.bytes()),
    );
    let rows: Vec<Vec<String>> = contents
        .outputs
        .iter()
        .map(|one| {
            let age = one.oldest.filter(|_| one.pending > 0);
            let age =
                age.map_or_else(|| "-".to_owned(), |at| format!("{} s", (now() - at).max(0) / 1_000_000_000));
            let live = of_output(live, &one.output);
            let doing = live["reason"].as_str().map_or_else(|| "-".to_owned(), terminal::escape);
            let next = one.next.map_or_else(|| "does not check".to_owned(), |next| next.to_string());
            vec![terminal::escape(&one.output), next, one.pending.to_string(), age, doing]
        })
        .collect();
    text.push_str(&terminal::table(&["OUTPUT", "next", "pending", "oldest", "running sensor"], &rows));
    for (path, bytes) in &contents.set_aside {
        text.push_str(&format!("\nset aside: {} ({bytes} bytes)", path.display()));
    }
    for problem in &contents.problems {
        text.push_str(&format!("\nproblem: {problem}"));
    }
    text
}

fn check(contents: &Contents) -> String {
    let rows: Vec<Vec<String>> = contents
        .segments
        .iter()
        .map(|one| {
            let name = one.path.file_name().unwrap_or_default().to_string_lossy();
            let (first, last) = one.numbers.map_or(("-".to_owned(), "-".to_owned()), |(first, last)| {
                (first.to_string(), last.to_string())
            });
            let records = one.records.to_string();
            vec![
                terminal::escape(&name),
                first,
                last,
                records,
                one.bytes.to_string(),
                one.state.name().to_owned(),
            ]
        })
        .collect();
    let mut text = terminal::table(&["SEGMENT", "first", "last", "records", "bytes", "state"], &rows);
    for problem in &contents.problems {
        text.push_str(&format!("\nproblem: {problem}"));
    }
    match contents.problems.len() {
        0 => text.push_str("\neverything checks"),
        count => text.push_str(&format!("\n{count} problems; `roje spool repair` puts them in order")),
    }
    text
}

fn repaired_json(repaired: &Repaired) -> Value {
    json!({
        "torn_bytes": repaired.torn,
        "set_aside": repaired.set_aside,
        "cursors": repaired.cursors,
        "problems": repaired.problems,
    })
}

fn told(repaired: &Repaired) -> String {
    let mut lines = Vec::new();
    if repaired.torn > 0 {
        lines.push(format!("{} bytes of unfinished records were cut off", repaired.torn));
    }
    for path in &repaired.set_aside {
        lines.push(format!("{} was set aside; what checks in it stays", path.display()));
    }
    for name in &repaired.cursors {
        lines.push(format!("output {} begins again with the oldest record", terminal::escape(name)));
    }
    lines.extend(repaired.problems.iter().map(|problem| format!("problem: {problem}")));
    if lines.is_empty() {
        lines.push("nothing to repair".to_owned());
    }
    lines.join("\n")
}
