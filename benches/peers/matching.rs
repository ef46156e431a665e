//! Matching alone, without sockets: lines in memory against rule sets, on one core.

use anyhow::Context;
use clap::Args;
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};
use roje::decode::syslog::Reference;
use roje::detect::{Matcher, Validity};
use roje::input::GROUP;
use roje::rules::Store;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub struct Options {
    /// Rule files or directories.
    #[arg(long, required = true)]
    rules: Vec<PathBuf>,
    /// Lines; all files together must fit into memory.
    #[arg(long, required = true)]
    input: Vec<PathBuf>,
    /// Passes over the input, after one that warms up.
    #[arg(long, default_value_t = 3)]
    passes: u32,
}

/// Prints bytes a second of CPU time, the best of all passes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let start = Instant::now();
    let generation = Store::new(options.rules.clone(), None, None).load(0);
    let loading = start.elapsed().as_secs_f64();
    anyhow::ensure!(generation.refused.is_empty() && !generation.sets.is_empty(), "no rules");
    let rules = &generation.rules;
    let mut text = Vec::new();
    for path in &options.input {
        text.extend(fs::read(path).with_context(|| path.display().to_string())?);
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let reference = Reference { now: 0, timezone: TimeZone::UTC };
    let mut matcher = Matcher::default();
    let mut pass = || {
        let start = cpu();
        let mut hits = 0u64;
        for group in lines.chunks(GROUP) {
            let suspects = matcher.sift(rules, group.iter().copied());
            for (number, line) in group.iter().enumerate() {
                if suspects >> number & 1 == 1 {
                    matcher.message(rules, line, Validity::Mark(0), &reference, &mut |_| hits += 1);
                }
            }
        }
        (cpu() - start, hits)
    };
    let (_, expected) = pass();
    let mut best = f64::MAX;
    for _ in 0..options.passes {
        let (seconds, hits) = pass();
        anyhow::ensure!(hits == expected, "{hits} hits, then {expected}");
        best = best.min(seconds);
    }
    println!(
        "{}",
        json!({
            "gb_per_second": text.len() as f64 / best / 1e9,
            "cpu_per_million": best * 1e6 / lines.len() as f64,
            "lines": lines.len(),
            "hits": expected,
            "indicators": rules.len(),
            "loading": loading,
        })
    );
    Ok(())
}

/// CPU seconds of this thread.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock that Linux has");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}
