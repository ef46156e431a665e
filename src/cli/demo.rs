//! `roje demo`: the real sensor, real traffic through real sockets, readable alerts.

use super::{DemoArgs, Exit, terminal};
use crate::alert;
use crate::config::{Config, Listen, Rules};
use crate::input::listen::{Address, Transport};
use crate::input::pcap::Capture;
use crate::input::send::{Framing, Sender};
use crate::input::{MAX_MESSAGE, file};
use crate::output::Destination;
use crate::pipeline::{self, Options, Sensor, StartError, Totals};
use crate::rules::EMBEDDED;
use anyhow::Context;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

macro_rules! sample {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/demo/", $name)))
    };
}

const CONFIGURATION: &[u8] = sample!("roje.toml").1;

/// The sets of the binary, and one that knows the sample traffic.
const RULES: &[(&str, &str)] = &{
    let mut sets = [("demo.yaml", include_str!("../../tests/data/demo/rules/demo.yaml")); EMBEDDED.len() + 1];
    let mut index = 0;
    while index < EMBEDDED.len() {
        sets[index] = EMBEDDED[index];
        index += 1;
    }
    sets
};

/// A file for an input: the input's name, the file's name, its bytes.
type Traffic<'a> = (&'a str, (&'a str, &'a [u8]));

/// Which traffic goes to which input.
const TRAFFIC: &[Traffic<'_>] = &[
    ("syslog-udp", sample!("syslog-udp.log")),
    ("syslog-tcp", sample!("syslog-tcp.log")),
    ("netflow", sample!("netflow5.pcap")),
    ("netflow", sample!("netflow9.pcap")),
    ("ipfix", sample!("ipfix.pcap")),
];

/// How long the sensor may take for a few hundred messages; reached only on a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages a second: slow enough for the smallest receive buffer.
const RATE: u64 = 2000;

/// Runs the demonstration.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    super::run::log(tracing::level_filters::LevelFilter::WARN);
    let folder = Folder::new()?;
    let config = configuration(&folder.0)?;
    let colour = terminal::colour_out();
    let print = move |alert: &alert::Alert| {
        let mut out = std::io::stdout().lock();
        // A reader that has gone does not stop the sensor.
        writeln!(out, "{}\n", alert::human(alert, colour).trim_end()).ok();
    };
    let options = Options { embedded: RULES, observe: Some(Box::new(print)), ..Options::default() };
    let sensor = Sensor::start(config, options).map_err(|error| match error {
        StartError::Other(error) => error,
        StartError::NoRules(_) => anyhow::anyhow!("no rule set could be loaded"),
    })?;
    eprintln!("The sensor listens on loopback; sample traffic goes through its sockets.\n");
    for (name, listen) in sensor.inputs() {
        eprintln!("  {name:12} {listen}");
    }
    let metrics = sensor.metrics_address();
    if let Some(address) = metrics {
        eprintln!("  {:12} http://{address}/metrics\n", "metrics");
    }
    let inputs = targets(&sensor);
    let (done, until) = tokio::sync::oneshot::channel::<()>();
    let totals = sensor.counter();
    let stay = args.stay;
    let sender = std::thread::spawn(move || -> anyhow::Result<u64> {
        let sent = send(&inputs, TRAFFIC)?;
        let start = Instant::now();
        let arrived = |totals: Totals| totals.received + totals.kernel_dropped >= sent;
        while !arrived(totals()) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        if stay {
            // Let the alert thread tell what it holds before the totals are printed.
            std::thread::sleep(Duration::from_millis(500));
            summary(sent, totals());
            eprintln!("\nThe sensor stays up. Stop it with Ctrl-C.");
            std::mem::forget(done);
        }
        Ok(sent)
    });
    let totals = pipeline::serve(sensor, async {
        until.await.ok();
    })?;
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    if !stay {
        summary(sent, totals);
    }
    let closed = totals.received == totals.decoded + totals.undecodable + totals.dropped;
    anyhow::ensure!(
        stay || (closed && totals.received + totals.kernel_dropped >= sent && totals.alerts > 0),
        Exit(1)
    );
    Ok(ExitCode::SUCCESS)
}

/// Name, transport and address of each input.
fn targets(sensor: &Sensor) -> Vec<(String, Transport, SocketAddr)> {
    let target = |(name, listen): (&str, &Listen)| match listen {
        Listen::Udp(address) => Some((name.to_string(), Transport::Udp, *address)),
        Listen::Tcp(address) => Some((name.to_string(), Transport::Tcp, *address)),
        // The bundled configuration has no others.
        _ => None,
    };
    sensor.inputs().filter_map(target).collect()
}

fn configuration(folder: &Path) -> anyhow::Result<Config> {
    let files = vec![(PathBuf::from("roje.toml"), CONFIGURATION.to_vec())];
    let mut config = Config::parse(files, &|_| None).map_err(|problems| {
        let first = problems.first().map(|problem| problem.one_line()).unwrap_or_default();
        anyhow::anyhow!("the bundled configuration: {first}")
    })?;
    config.sensor.rules = Rules::Embedded;
    config.sensor.data_dir = folder.to_path_buf();
    for output in &mut config.outputs {
        output.to = Destination::File(folder.join("alerts.ndjson"));
    }
    Ok(config)
}

/// Sends traffic; returns the number of messages.
fn send(inputs: &[(String, Transport, SocketAddr)], traffic: &[Traffic<'_>]) -> anyhow::Result<u64> {
    let mut sent = 0;
    for (input, (name, bytes)) in traffic {
        let (_, transport, address) =
            inputs.iter().find(|(name, ..)| name == input).with_context(|| format!("no input {input}"))?;
        let target = Address { transport: *transport, host: address.ip().to_string(), port: address.port() };
        let mut sender = Sender::connect(&target, Framing::OctetCounting, RATE)?;
        let source = file::from_bytes(name, bytes.to_vec())?;
        match source.kind {
            file::Kind::Log => {
                let mut blocks = source.blocks(MAX_MESSAGE);
                while let Some(block) = blocks.read()? {
                    for message in block.messages() {
                        sender.push(message.bytes)?;
                    }
                }
            }
            file::Kind::Capture => {
                let mut capture = Capture::new(source)?;
                let mut failed = None;
                while capture
                    .read(&mut |datagram| failed = sender.push(datagram.bytes).err().or(failed.take()))?
                {
                }
                if let Some(error) = failed {
                    return Err(error.into());
                }
            }
        }
        sent += sender.finish()?.sent;
    }
    Ok(sent)
}

/// The totals, as the ledger has them.
fn summary(sent: u64, totals: Totals) {
    let rows = [
        ("sent", sent),
        ("received", totals.received),
        ("  decoded", totals.decoded),
        ("  undecodable", totals.undecodable),
        ("  dropped", totals.dropped),
        ("dropped by the kernel", totals.kernel_dropped),
        ("flow records", totals.records),
        ("matches", totals.matches),
        ("  suppressed", totals.suppressed),
        ("alerts", totals.alerts),
    ];
    eprintln!("The ledger: received = decoded + undecodable + dropped\n");
    for (name, count) in rows {
        eprintln!("  {name:22} {:>8}", terminal::count(count));
    }
}

/// A folder for the spool, gone when the demonstration ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("roje-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// The indicators that alert when only this traffic is sent, by id, sorted.
    fn alerts_of(traffic: &[Traffic<'_>]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observe = {
            let seen = seen.clone();
            move |alert: &alert::Alert| {
                let line: serde_json::Value = serde_json::from_slice(&alert.to_line()).expect("JSON");
                let id = line["rule"]["id"].as_str().expect("an id").to_string();
                seen.lock().expect("no panic").push(id);
            }
        };
        let config = configuration(folder.path()).expect("the bundled configuration");
        let options = Options { embedded: RULES, observe: Some(Box::new(observe)), ..Options::default() };
        let Ok(sensor) = Sensor::start(config, options) else { panic!("the sensor starts") };
        let totals = sensor.counter();
        let sent = send(&targets(&sensor), traffic).expect("sent");
        let start = Instant::now();
        while totals().received + totals().kernel_dropped < sent {
            assert!(start.elapsed() < PATIENCE, "{} of {sent}", totals());
            std::thread::sleep(Duration::from_millis(5));
        }
        let totals = sensor.stop().expect("nothing is lost");
        assert_eq!(totals.received, totals.decoded + totals.undecodable + totals.dropped, "{totals}");
        let mut ids = std::mem::take(&mut *seen.lock().expect("no panic"));
        ids.sort();
        ids
    }

    #[test]
    fn other_traffic_gives_other_alerts() {
        assert_eq!(alerts_of(&TRAFFIC[2..3]), ["demo-netflow5"]);
        assert_eq!(alerts_of(&TRAFFIC[3..4]), ["demo-netflow9"]);
        assert_eq!(alerts_of(&TRAFFIC[4..5]), ["demo-ipfix"]);
        let one = b"<13>Oct 11 22:14:15 host app: from 203.0.113.77 to a.cdn-sync.example\n";
        assert_eq!(alerts_of(&[("syslog-udp", ("one.log", one))]), ["demo-c2", "demo-dns"]);
        let other = b"<13>Oct 11 22:14:15 host app: from 203.0.113.78 to notcdn-sync.example\n";
        assert_eq!(alerts_of(&[("syslog-tcp", ("other.log", other))]), Vec::<String>::new());
    }
}
