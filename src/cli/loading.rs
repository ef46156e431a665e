//! Rule sets for the verbs that work offline, and what a running sensor tells.

use super::{Exit, terminal};
use crate::config::{Config, Rules};
use crate::diagnostic::Level;
use crate::input::now;
use crate::rules::{EMBEDDED, Generation, Problem, Store};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit code of an offline verb that cannot do its work, as of grep.
const TROUBLE: u8 = 2;

/// Loads rule files; problems are told on standard error, and without a single set it is an error.
pub fn rules(paths: &[PathBuf]) -> anyhow::Result<Generation> {
    let generation = Store::new(paths.to_vec(), None, None).load(now());
    tell(&generation)?;
    if generation.sets.is_empty() {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(
            anyhow::anyhow!("no rule set could be loaded from {}", places.join(", ")).context(Exit(TROUBLE))
        );
    }
    Ok(generation)
}

/// Loads the named files, or else those of the configuration in force, whatever is wrong with them.
pub fn rules_or_configured(paths: &[PathBuf], config: Option<&Path>) -> anyhow::Result<Generation> {
    let mut store = match paths.is_empty() {
        false => Store::new(paths.to_vec(), None, None),
        true => match configuration(config)?.sensor.rules {
            Rules::Embedded => Store::embedded(EMBEDDED),
            Rules::Paths(paths) => Store::new(paths, None, None),
        },
    };
    Ok(store.load(now()))
}

/// Tells errors in rule files on standard error.
pub fn tell(generation: &Generation) -> anyhow::Result<()> {
    let grave = generation.problems.iter().filter(|problem| problem.diagnostic.level == Level::Error);
    terminal::problems(&mut std::io::stderr(), grave, terminal::colour_err())?;
    Ok(())
}

/// The configuration in force; its problems are told on standard error.
pub fn configuration(path: Option<&Path>) -> anyhow::Result<Config> {
    Config::load(path).map_err(|problems| {
        terminal::diagnostics(&mut std::io::stderr(), &problems, terminal::colour_err()).ok();
        anyhow::anyhow!("the configuration has errors").context(Exit(TROUBLE))
    })
}

/// How long the running sensor may take to answer on loopback.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;

/// Asks the sensor that serves metrics at this address, if one runs.
pub fn ask(address: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).ok()?;
    let body = memchr::memmem::find(&answer, b"\r\n\r\n")?;
    serde_json::from_slice(answer.get(body + 4..)?).ok()
}

/// Every problem of rule files.
pub fn problems(paths: &[PathBuf]) -> Vec<Problem> {
    Store::new(paths.to_vec(), None, None).load(now()).problems
}
