//! The load tools of `benches/peers/run`: input, senders, an empty receiver, measurements, the report.
//!
//! `cargo run --release --example peers -- --help` lists them. Without arguments it checks itself.

mod check;
mod corpus;
mod drive;
mod matching;
mod plot;
mod process;
mod report;
mod sink;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    tool: Option<Tool>,
}

#[derive(Subcommand)]
enum Tool {
    /// Writes log lines, flow records and indicator lists.
    Corpus(corpus::Options),
    /// Receives datagrams and does nothing.
    Sink(sink::Options),
    /// Sends a file at a rate and prints what the receiver used and lost.
    Send(drive::Options),
    /// Finds the highest rate of datagrams without loss.
    Highest(drive::Highest),
    /// Sends at a rate and measures from sending a listed value to reading its alert.
    Latency(drive::Latency),
    /// Matches lines in memory.
    Matching(matching::Options),
    /// Waits until a program is ready.
    Wait(process::Wait),
    /// Starts a program and prints when it was ready.
    Ready(process::Ready),
    /// Runs a program to its end and prints its time.
    Time(process::Time),
    /// Compares hits with what was planted.
    Check(check::Options),
    /// Counts the matches that alerts stand for.
    Sum(check::Sum),
    /// Writes tables and plots.
    Report(report::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().tool {
        Some(Tool::Corpus(options)) => corpus::run(&options),
        Some(Tool::Sink(options)) => sink::run(&options),
        Some(Tool::Send(options)) => drive::run(&options),
        Some(Tool::Highest(options)) => drive::highest(&options),
        Some(Tool::Latency(options)) => drive::latency(&options),
        Some(Tool::Matching(options)) => matching::run(&options),
        Some(Tool::Wait(options)) => process::wait(&options),
        Some(Tool::Ready(options)) => process::ready(&options),
        Some(Tool::Time(options)) => process::time(&options),
        Some(Tool::Check(options)) => check::run(&options),
        Some(Tool::Sum(options)) => check::sum(&options),
        Some(Tool::Report(options)) => report::run(&options),
        None => corpus::check(),
    }
}
