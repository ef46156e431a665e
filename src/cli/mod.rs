//! The verbs: what is typed, what is done, what the exit code says.
//!
//! Data goes to standard output, words for people to standard error. Each verb has a file of its
//! own; `run`, `scan`, `test` and `explain` call one matching function and never disagree.

mod check;
mod decode;
mod demo;
mod explain;
mod export;
mod import;
mod loading;
mod offline;
mod rules;
mod run;
mod scan;
mod send;
mod sources;
mod spool;
mod terminal;
mod test;

use crate::decode::syslog::Reference;
use crate::input::Nanos;
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Bad configuration (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// Runs the verb given on the command line.
pub fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = match command.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::Scan(args) => scan::run(&args),
        Verb::Decode(args) => decode::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Send(args) => send::run(&args),
        Verb::Sources(args) => sources::run(&args),
        Verb::Spool(args) => spool::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Command::command(), "roje", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Man { directory } => manual(directory.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        let code = error.downcast_ref::<Exit>().map_or(1, |exit| exit.0);
        if !terminal::is_broken_pipe(&error) {
            terminal::error(&error);
        }
        ExitCode::from(code)
    })
}

/// The exit code of an error, where it is not 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// Reads syslog and flow records, matches shared indicators, delivers alerts, loses none.
#[derive(Parser, Debug)]
#[command(
    name = "roje",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Examples:
  roje demo                                 see it work, with real traffic
  roje check -c /etc/roje/roje.toml         is everything in order?
  roje run -c /etc/roje/roje.toml           run the sensor
  roje scan -r rules/ /var/log/syslog.*.gz  look for indicators in files
  tail -1 syslog | roje explain -r rules/   why does this line alert?

`roje VERB --help` tells more. Data goes to standard output, words to standard error."
)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Run(RunArgs),
    Demo(DemoArgs),
    Check(CheckArgs),
    Test(TestArgs),
    Rules(RulesArgs),
    Sources(SourcesArgs),
    Spool(SpoolArgs),
    Scan(ScanArgs),
    Decode(DecodeArgs),
    Explain(ExplainArgs),
    Import(ImportArgs),
    Export(ExportArgs),
    Send(SendArgs),
    /// Print shell completions
    #[command(after_help = "Example:\n  roje completions bash > /etc/bash_completion.d/roje")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page for each verb
    #[command(
        after_help = "Examples:\n  roje man | man -l -\n  roje man --directory /usr/local/share/man/man1"
    )]
    Man {
        /// Write roje.1 and roje-VERB.1 there instead of printing
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Run the sensor
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje run                                           built-in defaults
  roje run -c /etc/roje/roje.toml
  logger -n 127.0.0.1 -P 5514 -d 'GET /error4.aspx'  a line to try

Built-in defaults: syslog on UDP and TCP 127.0.0.1:5514, flows on UDP
127.0.0.1:2055, :4739 and :6343, the bundled rule sets, alerts on standard
output, metrics on http://127.0.0.1:7653/metrics.

Signals: HUP reloads rules and configuration and reopens files; USR1 logs what
each output holds up and why; TERM and INT drain and stop.

Exit: 0 after a clean stop, 78 for a bad configuration or if no rule set loads,
1 otherwise.")]
pub struct RunArgs {
    /// Configuration file [default: /etc/roje/roje.toml if it exists, else built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// See it work: real traffic through real sockets, readable alerts, the totals
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje demo
  roje demo --stay    then look at /metrics, or send it something

Exit: 0 if alerts came and every message is accounted for.")]
pub struct DemoArgs {
    /// Keep the sensor up when the traffic has been sent
    #[arg(long)]
    pub stay: bool,
}

/// Validate configuration and rule files
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje check                    the configuration in force and its rules
  roje check -c roje.toml
  roje check rules/weekly.yaml  rule files alone
  roje check --format json rules/ | jq .

Exit: 0 without problems, 1 with.")]
pub struct CheckArgs {
    /// Configuration file [default: /etc/roje/roje.toml if it exists, else built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rule files or directories, instead of those of the configuration
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How problems are printed: text, json or sarif
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: CheckFormat,
}

/// Run the tests written inside rule sets
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje test rules/
  roje test         the rules of the configuration in force

Exit: 0 if all pass, 1 if one fails.")]
pub struct TestArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rule files or directories [default: those of the configuration in force]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Show what is loaded: sets, marking, indicators by type, expired, stale, refused
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje rules         of the running sensor, with hits; else what it would load
  roje rules rules/
  roje rules --format json | jq .totals
  roje rules --schema > roje-set.schema.json

Exit: 0, also with refused files; 2 if no rule set loads.")]
pub struct RulesArgs {
    /// Configuration file [default: /etc/roje/roje.toml if it exists, else built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rule files or directories [default: the running sensor, else the configuration in force]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How they are printed: text or json
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: OutputFormat,
    /// Print the JSON Schema of native sets instead, for editors
    #[arg(long, conflicts_with_all = ["paths", "config"])]
    pub schema: bool,
}

/// Show who sends to the running sensor: rate, last seen, decode errors, drops, clock skew
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje sources
  roje sources --sort last-seen --top 20   who has been silent the longest
  roje sources --sort skew                 whose clock or zone is off
  roje sources --format json | jq '.sources[] | select(.decode_errors > 0)'

Exit: 0, or 1 if no sensor answers on the address of its metrics.")]
pub struct SourcesArgs {
    /// Configuration file that tells where metrics are [default: /etc/roje/roje.toml if it exists, else built-in defaults]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Order: messages, rate, last-seen, errors, drops, skew or name
    #[arg(long, value_name = "KEY", default_value = "messages", hide_default_value = true, value_parser = order)]
    pub sort: String,
    /// Show the first N
    #[arg(long, value_name = "N", default_value_t = crate::admin::TOP)]
    pub top: usize,
    /// How they are printed: text or json
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: OutputFormat,
}

/// Match files offline: logs (plain, gzip, zstd, xz), captures (pcap, pcapng), `-` for standard input
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje scan -r rules/ /var/log/syslog /var/log/syslog.*.gz
  journalctl | roje scan -r rules/ -
  roje scan -r rules/ flows.pcapng | jq -r .event.reason

Exit, like grep: 0 hits, 1 none, 2 error.")]
pub struct ScanArgs {
    /// Rule file or directory; may be repeated
    #[arg(short = 'r', long = "rules", value_name = "PATH", required = true)]
    pub rules: Vec<PathBuf>,
    /// Files to match; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Drop hits of expired indicators instead of marking them
    #[arg(long)]
    pub valid_only: bool,
    /// How stamps are read
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Print every decoded event as ECS, one JSON object a line
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje decode messages.log | jq .log.syslog
  roje decode --as flow netflow.pcap
  roje decode --timezone Europe/Tirane --reference-time 2022-07-15T12:00:00Z -

Exit: 0, also with messages that cannot be decoded; 2 if an input cannot be
read.")]
pub struct DecodeArgs {
    /// What the messages are: syslog, flow (NetFlow, IPFIX, sFlow) or auto (by content)
    #[arg(long = "as", value_enum, default_value_t, hide_possible_values = true)]
    pub kind: As,
    /// Files to decode; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// How stamps are read
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Show how a line is decoded, what was extracted, looked up and matched, and what suppressed it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje explain -r rules/ '<34>Oct 11 22:14:15 ns1 named: query: a.evil.example'
  tail -1 /var/log/syslog | roje explain -r rules/

Exit: 0 if the line was explained, whether it alerts or not.")]
pub struct ExplainArgs {
    /// Rule file or directory; may be repeated
    #[arg(short = 'r', long = "rules", value_name = "PATH", required = true)]
    pub rules: Vec<PathBuf>,
    /// The line [default: the first of standard input]
    pub line: Option<String>,
    /// How it is printed: text or json
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: OutputFormat,
    /// How stamps are read
    #[command(flatten)]
    pub time: TimeArgs,
}

/// Convert indicators of other formats to a native rule set
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje import --from misp event.json > rules/event.yaml
  roje import --from misp feeds/circl/ > rules/circl.yaml
  roje import --from stix bundle.json other.json --name partner > rules/partner.yaml
  roje import --from plain report.txt

What is skipped is counted on standard error, with the reason. The sensor reads
MISP and STIX files as they are; convert to edit, or to keep a part.

Exit: 0, or 1 if nothing could be read.")]
pub struct ImportArgs {
    /// What the files are: misp, stix, csv (tables) or plain (lists, hosts files, reports)
    #[arg(long, value_enum, hide_possible_values = true)]
    pub from: ImportFormat,
    /// The name of the set [default: that of the first file]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The files; for a MISP feed its directory
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Write indicators that may be shared, as STIX, MISP or CSV
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje export --tlp green --format stix rules/ > share.json
  roje export --tlp clear --format misp rules/weekly.yaml
  roje export --format csv rules/

Only what the marking allows is written, each with its producer; what is left
out is counted on standard error. Revoked and tested indicators and allow sets
stay here.

Exit: 0, or 2 if no rule set loads.")]
pub struct ExportArgs {
    /// The strictest marking that may leave: clear, green, amber, amber+strict or red
    #[arg(long, value_name = "TLP", default_value = "clear", value_parser = export::marking)]
    pub tlp: crate::detect::indicator::Tlp,
    /// The format: stix, misp or csv
    #[arg(long, value_enum, default_value = "stix", hide_possible_values = true)]
    pub format: ExportFormat,
    /// Rule files or directories
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Send log lines or captured datagrams to a sensor, at a rate
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje send messages.log --to udp://127.0.0.1:5514 --rate 1000
  roje send messages.log --to tcp://127.0.0.1:5514 --count 100000
  roje send netflow9.pcap --to udp://127.0.0.1:2055
  roje send messages.log --to tls://sensor.example:6514 --ca-file ca.pem --cert-file me.pem --key-file me.key
  journalctl -o export --since today | roje send - --to unix:///run/roje/log

Exit: 0 if everything was sent, 1 otherwise.")]
pub struct SendArgs {
    /// Log files or captures; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Where to: udp://, tcp:// or tls://HOST:PORT, or unix:///PATH (datagrams or a stream, as the socket is)
    #[arg(long, value_name = "ADDR")]
    pub to: String,
    /// For tls://, the authorities that the sensor's certificate may come from (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// For tls://, the certificate to show, and those that lead to its root (PEM)
    #[arg(long, value_name = "FILE", requires = "key_file", requires = "ca_file")]
    pub cert_file: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// The name that the sensor's certificate must have [default: the host of ADDR]
    #[arg(long, value_name = "NAME", requires = "ca_file")]
    pub server_name: Option<String>,
    /// Messages a second [default: as fast as possible]
    #[arg(long, value_name = "N")]
    pub rate: Option<u64>,
    /// On a stream, frame messages by octet counting (RFC 6587) instead of newlines
    #[arg(long)]
    pub octet_counted: bool,
    /// Stop after so many messages, repeating the input as often as needed [default: the input once]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Show, check or repair what waits for outputs
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  roje spool status                       what waits for which output, also while a sensor runs
  roje spool check --format json          does every segment check? changes nothing
  roje spool repair --data-dir /var/lib/roje

`repair` cuts off unfinished records and sets damaged segments aside under
damaged/, as `roje run` does when it starts; it needs the spool for itself.

Exit: 0 if shown, sound, or in order now; 1 if `check` finds problems or `repair`
leaves some; 2 if there is no spool, it cannot be read, or a sensor uses it
(`repair`).")]
pub struct SpoolArgs {
    /// What to do
    #[arg(value_enum, value_name = "status|check|repair")]
    pub verb: SpoolVerb,
    /// Configuration file, for `data_dir` [default: as of `roje run`]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory, instead of that of the configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub data_dir: Option<PathBuf>,
    /// Text, or JSON for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: OutputFormat,
}

/// What `roje spool` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpoolVerb {
    /// What waits for which output
    Status,
    /// Whether everything checks; changes nothing
    Check,
    /// Puts in order what does not check
    Repair,
}

/// How stamps without year or zone are read.
#[derive(Args, Debug, Default)]
pub struct TimeArgs {
    /// Zone of stamps that carry none, such as Europe/Tirane
    #[arg(long, value_name = "TZ", default_value = "UTC", value_parser = timezone)]
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Stamps without year mean the latest year not over a day after T [default: the file's modification time, else now]
    #[arg(long, value_name = "T", value_parser = instant)]
    pub reference_time: Option<jiff::Timestamp>,
}

/// Text for people, or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// How `check` prints problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For code hosts and editors: SARIF 2.1.0
    Sarif,
}

/// What `import` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Events, feeds, warninglists
    Misp,
    /// Bundles
    Stix,
    /// Tables
    Csv,
    /// Lists and reports
    Plain,
}

/// What `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A bundle
    Stix,
    /// Events
    Misp,
    /// A table
    Csv,
}

/// What datagrams of a capture are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum As {
    /// Syslog
    Syslog,
    /// NetFlow, IPFIX, sFlow
    Flow,
    /// By content
    #[default]
    Auto,
}

impl TimeArgs {
    /// What stamps mean where `otherwise` is the reference, unless one was given.
    pub fn reference(&self, otherwise: Nanos) -> Reference {
        let given = self.reference_time.and_then(|at| Nanos::try_from(at.as_nanosecond()).ok());
        Reference {
            now: given.unwrap_or(otherwise),
            timezone: self.timezone.clone().unwrap_or(jiff::tz::TimeZone::UTC),
        }
    }
}

fn timezone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    jiff::tz::TimeZone::get(name)
        .map_err(|_| format!("no time zone {name:?}; expected a name such as Europe/Tirane or UTC"))
}

fn order(name: &str) -> Result<String, String> {
    let known = crate::pipeline::SORTS.map(|(known, _)| known);
    match known.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("no such order; expected one of: {}", known.join(", "))),
    }
}

fn instant(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| format!("not an instant: {text:?}; expected such as 2022-07-15T12:00:00Z"))
}

fn manual(directory: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    let command = Command::command();
    match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command, directory))
            .with_context(|| directory.display().to_string())?,
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}
