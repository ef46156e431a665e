//! `roje send`: traffic for exercises and load tests.

use super::{Exit, SendArgs, terminal};
use crate::input::Stop;
use crate::input::send::{self, Framing, Options, Target};
use crate::input::tls::ClientFiles;
use anyhow::Context;
use std::process::ExitCode;

/// Sends the inputs to a sensor.
pub fn run(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let target: Target =
        args.to.parse().map_err(|error| anyhow::Error::new(error).context(Exit(2))).context("--to")?;
    let tls = args.ca_file.clone().map(|ca| ClientFiles {
        ca,
        cert: args.cert_file.clone().zip(args.key_file.clone()),
        server_name: args.server_name.clone(),
    });
    if tls.is_none() && matches!(target, Target::Tls(_)) {
        let missing = anyhow::anyhow!(
            "tls:// needs --ca-file, the authorities that the sensor's certificate may come from"
        );
        return Err(missing.context(Exit(2)));
    }
    let options = Options {
        target,
        tls,
        rate: args.rate.unwrap_or(0),
        count: args.count,
        framing: if args.octet_counted { Framing::OctetCounting } else { Framing::Lf },
    };
    let summary = send::send(&args.inputs, &options, &Stop::new())?;
    eprintln!(
        "{} messages, {:.1} MB in {:.2} s ({} a second), {} errors{}",
        terminal::count(summary.sent),
        summary.bytes as f64 / 1e6,
        summary.elapsed.as_secs_f64(),
        terminal::count(summary.rate() as u64),
        summary.errors,
        summary.first_error.as_ref().map(|error| format!(", the first: {error}")).unwrap_or_default(),
    );
    Ok(ExitCode::from(u8::from(summary.errors > 0)))
}
