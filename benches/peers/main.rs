//! The load tools of `benches/peers/run`: input, senders, an empty receiver, measurements, the report.
//!
//! `cargo run --release --example peers -- --help` lists them. Without arguments it checks itself.

mod corpus;
mod drive;
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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().tool {
        Some(Tool::Corpus(options)) => corpus::run(&options),
        Some(Tool::Sink(options)) => sink::run(&options),
        Some(Tool::Send(options)) => drive::run(&options),
        Some(Tool::Highest(options)) => drive::highest(&options),
        None => corpus::check(),
    }
}
