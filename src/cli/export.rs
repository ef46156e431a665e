//! `roje export`: what may be shared, in the format of others.

use super::{ExportArgs, ExportFormat, loading};
use crate::detect::indicator::Tlp;
use crate::input::now;
use crate::rules::LoadedSet;
use crate::rules::write::{self, Shape};
use std::io::Write;
use std::process::ExitCode;

/// Writes every value that a marking allows.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let generation = loading::rules(&args.paths)?;
    let shape = match args.format {
        ExportFormat::Stix => Shape::Stix,
        ExportFormat::Misp => Shape::Misp,
        ExportFormat::Csv => Shape::Csv,
    };
    let sets: Vec<&LoadedSet> = generation.sets.iter().map(|set| &**set).collect();
    let (written, left) = write::export(&sets, args.tlp, shape, now());
    for (reason, count) in left {
        eprintln!("left out: {count} × {reason}");
    }
    std::io::stdout().lock().write_all(written.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A marking as it is typed.
pub fn marking(name: &str) -> Result<Tlp, String> {
    Tlp::from_name(name).ok_or_else(|| {
        let known = Tlp::ALL.map(Tlp::name);
        format!("no such marking; expected one of: {}", known.join(", "))
    })
}
