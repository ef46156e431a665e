//! `roje check`: everything that is wrong, before it is in force.

use super::{CheckArgs, CheckFormat, loading, terminal};
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Level, sarif};
use crate::pipeline;
use std::io::Write;
use std::process::ExitCode;

/// Checks a configuration and the rules it names, or rule files alone.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (configuration, rules) = match args.paths.is_empty() {
        true => pipeline::check(args.config.as_deref()),
        false => {
            let configuration = match &args.config {
                Some(path) => {
                    Config::load(Some(path)).map_or_else(|problems| problems, |config| config.warnings)
                }
                None => Vec::new(),
            };
            (configuration, loading::problems(&args.paths))
        }
    };
    let problems: Vec<&Diagnostic> =
        configuration.iter().chain(rules.iter().map(|problem| &problem.diagnostic)).collect();
    let mut out = std::io::stdout().lock();
    match args.format {
        CheckFormat::Json => {
            let list: Vec<_> = problems.iter().map(|problem| problem.json()).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        }
        CheckFormat::Sarif => writeln!(out, "{}", serde_json::to_string_pretty(&sarif(&problems))?)?,
        CheckFormat::Text => {
            terminal::diagnostics(&mut out, &configuration, terminal::colour_out())?;
            terminal::problems(&mut out, &rules, terminal::colour_out())?;
        }
    }
    let count = |level| problems.iter().filter(|problem| problem.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    match errors + warnings {
        0 => eprintln!("no problems"),
        _ => eprintln!("{errors} errors, {warnings} warnings"),
    }
    Ok(ExitCode::from(u8::from(errors + warnings > 0)))
}
