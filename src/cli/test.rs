//! `roje test`: the tests written inside rule sets.

use super::{TestArgs, loading, terminal};
use crate::decode::syslog::Reference;
use crate::detect::{Matcher, RuleSet, Validity};
use crate::input::now;
use crate::rules::{LoadedSet, TestLine};
use jiff::tz::TimeZone;
use std::process::ExitCode;

/// Runs every test; a line for each that fails.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let generation = loading::rules_or_configured(&args.paths, None)?;
    let mut matcher = Matcher::default();
    let (mut passed, mut failed) = (0, 0);
    for (index, set) in generation.sets.iter().enumerate() {
        for test in set.tests.iter() {
            let speaks = speaks(&generation.rules, index as u32, &mut matcher, test.text.as_bytes());
            if speaks == test.hit {
                passed += 1;
            } else {
                failed += 1;
                println!("{}", failure(set, test));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Whether a set has anything to say about a line: an indicator of it matches, also one with status
/// test, or an allow set covers the match of another.
fn speaks(rules: &RuleSet, set: u32, matcher: &mut Matcher, line: &[u8]) -> bool {
    let reference = Reference { now: now(), timezone: TimeZone::UTC };
    let mut found = false;
    matcher.message(rules, line, Validity::Mark(reference.now), &reference, &mut |matched| {
        let entries = matched.contributors.iter().chain(&matched.informs);
        found |= entries.into_iter().any(|entry| entry.set == set);
    });
    found
}

fn failure(set: &LoadedSet, test: &TestLine) -> String {
    format!(
        "{}:{}:{}: set {}: {} {}",
        set.info.path.display(),
        test.line,
        test.column,
        set.info.name,
        if test.hit { "should hit and does not:" } else { "should miss and hits:" },
        terminal::escape(&test.text),
    )
}
