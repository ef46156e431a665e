//! `roje test`: the tests written inside rule sets.

use super::{TestArgs, loading, terminal};
use crate::decode::syslog::Reference;
use crate::detect::indicator::Mode;
use crate::detect::{Matcher, RuleSet, Validity};
use crate::diagnostic::Level;
use crate::input::now;
use crate::rules::{Generation, LoadedSet, TestLine};
use jiff::tz::TimeZone;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs every test; a line for each that fails.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let generation = loading::rules_or_configured(&args.paths, args.config.as_deref())?;
    loading::tell(&generation)?;
    // A set that was refused has tests that nobody ran.
    let refused = generation.diagnostics.iter().any(|problem| problem.level == Level::Error);
    let mut matcher = Matcher::default();
    let (mut passed, mut failed) = (0, 0);
    for set in &generation.sets {
        let rules = alone(&generation, set);
        for test in set.tests.iter() {
            let speaks = speaks(&rules, &mut matcher, test.text.as_bytes());
            if speaks == test.hit {
                passed += 1;
            } else {
                failed += 1;
                println!("{}", failure(set, test));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0 || refused)))
}

/// The set first, then the allow sets: what other sets list must not hide what this one says.
fn alone(generation: &Generation, set: &Arc<LoadedSet>) -> RuleSet {
    let allows = generation.sets.iter().filter(|other| other.info.mode != Mode::Indicators);
    let others = allows.filter(|other| !Arc::ptr_eq(other, set));
    RuleSet::new(std::iter::once(set).chain(others).map(|set| set.compiled.clone()).collect())
}

/// Whether the first set has anything to say about a line: an indicator of it matches, also one with
/// status test; an allow set speaks where one of its values stands, whether or not there is a match to allow.
fn speaks(rules: &RuleSet, matcher: &mut Matcher, line: &[u8]) -> bool {
    let indicators = rules.sets().first().is_some_and(|set| set.info.mode == Mode::Indicators);
    let reference = Reference { now: now(), timezone: TimeZone::UTC };
    if !indicators {
        return matcher.applies(rules, 0, line, &reference);
    }
    let mut found = false;
    matcher.message(rules, line, Validity::Mark(reference.now), &reference, &mut |matched| {
        found |= matched.contributors.iter().any(|entry| entry.set == 0);
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
