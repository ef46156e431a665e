//! `roje run`: the sensor.

use super::{EX_CONFIG, RunArgs, terminal};
use crate::config::{Config, DEFAULT_PATH, Listen, Rules};
use crate::diagnostic::{Diagnostic, Level};
use crate::pipeline::{self, Options, Sensor, StartError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Runs the sensor until it is told to stop.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => {
            terminal::diagnostics(&mut std::io::stderr(), &problems, terminal::colour_err())?;
            return Ok(ExitCode::from(EX_CONFIG));
        }
    };
    log(config.sensor.log);
    tell(&config.warnings);
    let places: Vec<String> = match &config.sensor.rules {
        Rules::Embedded => vec!["the binary".into()],
        Rules::Paths(paths) => paths.iter().map(|path| path.display().to_string()).collect(),
    };
    let options = Options { config_path: path(args.config.as_deref()), ..Options::default() };
    let sensor = match Sensor::start(config, options) {
        Ok(sensor) => sensor,
        Err(StartError::NoRules(problems)) => {
            terminal::problems(&mut std::io::stderr(), &problems, terminal::colour_err())?;
            eprintln!("roje: error: no rule set could be loaded from {}", places.join(", "));
            return Ok(ExitCode::from(EX_CONFIG));
        }
        Err(StartError::Other(error)) => return Err(error),
    };
    tell(&sensor.generation().diagnostics);
    let entries: usize = sensor.generation().sets.iter().map(|set| set.entries()).sum();
    tracing::info!(sets = sensor.generation().sets.len(), entries, "rules loaded");
    for note in &sensor.generation().notes {
        tracing::info!("{note}");
    }
    if std::io::stderr().is_terminal() {
        welcome(&sensor);
    }
    let totals = pipeline::serve(sensor, std::future::pending())?;
    tracing::info!("stopped: {totals}");
    Ok(ExitCode::SUCCESS)
}

/// The file that SIGHUP reads again.
fn path(named: Option<&Path>) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_PATH);
    named.map(Path::to_path_buf).or_else(|| default.exists().then(|| default.to_path_buf()))
}

/// Logs to standard error; `RUST_LOG` overrides the configuration.
pub fn log(level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // The journal stamps each line itself and does not want colour.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal::colour_err() && !journal);
    match journal {
        true => builder.without_time().try_init().ok(),
        false => builder.try_init().ok(),
    };
}

fn tell(problems: &[Diagnostic]) {
    for problem in problems {
        match problem.level {
            Level::Error => tracing::error!("{}", problem.one_line()),
            Level::Warning => tracing::warn!("{}", problem.one_line()),
            Level::Note => tracing::info!("{}", problem.one_line()),
        }
    }
}

/// What a person at a terminal wants to know first.
fn welcome(sensor: &Sensor) {
    let (bold, plain) = if terminal::colour_err() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    eprintln!();
    for (name, listen) in sensor.inputs() {
        eprintln!("  {bold}{name:14}{plain} {listen}");
    }
    if let Some(address) = sensor.metrics_address() {
        eprintln!("  {bold}{:14}{plain} http://{address}/metrics", "metrics");
    }
    let generation = sensor.generation();
    let entries: usize = generation.sets.iter().map(|set| set.entries()).sum();
    eprintln!(
        "  {bold}{:14}{plain} {} sets, {} entries",
        "rules",
        generation.sets.len(),
        terminal::count(entries as u64)
    );
    let udp = |(_, listen): (&str, &Listen)| match listen {
        Listen::Udp(address) => Some(*address),
        _ => None,
    };
    if let Some(address) = sensor.inputs().find_map(udp) {
        eprintln!("\nTry:  logger -d -n {} -P {} 'POST /error4.aspx'", address.ip(), address.port());
        eprintln!("Stop: Ctrl-C\n");
    }
}
