//! Compares what a program wrote about hits with what was planted.

use crate::corpus;
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

#[derive(Args)]
pub struct Options {
    /// `planted.tsv`.
    #[arg(long)]
    truth: PathBuf,
    /// Lines that quote the lines found, as they are or inside JSON.
    #[arg(long)]
    hits: PathBuf,
    /// Only so many lines of the corpus were sent.
    #[arg(long, default_value_t = u64::MAX)]
    first: u64,
}

/// Prints what was planted, found, and found without being planted; by type as well.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let truth = corpus::truth(&options.truth)?;
    let text = String::from_utf8_lossy(&fs::read(&options.hits)?).into_owned();
    let lines: BTreeSet<u64> = text.lines().filter_map(quoted).collect();
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut planted = BTreeSet::new();
    for (number, kind, _) in truth.iter().filter(|(number, ..)| *number < options.first) {
        planted.insert(*number);
        let (all, found) = kinds.entry(kind.clone()).or_default();
        *all += 1;
        *found += u64::from(lines.contains(number));
    }
    let found = lines.intersection(&planted).count();
    let by_kind: BTreeMap<String, Value> =
        kinds.iter().map(|(kind, (all, found))| (kind.clone(), json!([found, all]))).collect();
    println!(
        "{}",
        json!({"planted": planted.len(), "found": found, "false": lines.len() - found, "kinds": by_kind})
    );
    Ok(())
}

/// The number of the line that is quoted.
fn quoted(line: &str) -> Option<u64> {
    match serde_json::from_str::<Value>(line) {
        Ok(alert) if alert.get("event").is_some() => corpus::number_of(alert["event"]["original"].as_str()?),
        _ => corpus::number_of(line),
    }
}

#[derive(Args)]
pub struct Sum {
    /// Alerts of Roje.
    #[arg(long)]
    hits: PathBuf,
}

/// Prints how many alerts there are and how many matches they stand for.
pub fn sum(options: &Sum) -> anyhow::Result<()> {
    let text = fs::read_to_string(&options.hits)?;
    let (mut alerts, mut matches) = (0u64, 0u64);
    for line in text.lines() {
        let alert: Value = serde_json::from_str(line)?;
        alerts += 1;
        matches += alert["roje"]["count"].as_u64().unwrap_or(1);
    }
    println!("{}", json!({"alerts": alerts, "matches": matches}));
    Ok(())
}
