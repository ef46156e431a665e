//! A real sensor in a process of its own, on free loopback ports, for the tests.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `roje run` and the folder it lives in.
pub struct Sensor {
    pub dir: tempfile::TempDir,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    pub flow: SocketAddr,
    pub metrics: SocketAddr,
    pub child: Child,
}

/// What differs from test to test.
#[derive(Default)]
pub struct Setup<'a> {
    /// Rule files: name and text.
    pub rules: &'a [(&'a str, &'a str)],
    /// Appended to the configuration.
    pub config: &'a str,
    /// Keys of `[sensor]`.
    pub sensor: &'a str,
    /// `[[output]]` tables; alerts.ndjson by default.
    pub outputs: Option<&'a str>,
    /// Where standard output goes.
    pub stdout: Option<Stdio>,
}

impl Sensor {
    pub fn start(setup: Setup<'_>) -> Sensor {
        let dir = tempfile::tempdir().expect("a folder");
        let rules = dir.path().join("rules.d");
        fs::create_dir(&rules).expect("a folder");
        for (name, text) in setup.rules {
            fs::write(rules.join(name), text).expect("a rule file");
        }
        Sensor::start_in(dir, setup)
    }

    /// Starts in a folder that has its rules (and state) already.
    pub fn start_in(dir: tempfile::TempDir, setup: Setup<'_>) -> Sensor {
        let (udp, tcp, flow, metrics) = (free_udp(), free_tcp(), free_udp(), free_tcp());
        let at = dir.path().display();
        let default_output = format!("[[output]]\nname = \"file\"\nto = \"file://{at}/alerts.ndjson\"\n");
        let config = format!(
            "[sensor]\nname = \"test\"\ndata_dir = \"{at}/state\"\nrules = [\"{at}/rules.d\"]\n{}\n\
             [[input]]\nname = \"udp\"\nlisten = \"udp://{udp}\"\nformat = \"syslog\"\n\
             [[input]]\nname = \"tcp\"\nlisten = \"tcp://{tcp}\"\nformat = \"syslog\"\n\
             [[input]]\nname = \"flow\"\nlisten = \"udp://{flow}\"\nformat = \"flow\"\n\
             {}\n[metrics]\nlisten = \"{metrics}\"\n{}\n",
            setup.sensor,
            setup.outputs.map_or(default_output, |outputs| outputs.replace("{dir}", &at.to_string())),
            setup.config,
        );
        let path = dir.path().join("roje.toml");
        fs::write(&path, config).expect("a configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_roje"))
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(setup.stdout.unwrap_or_else(Stdio::null))
            .stderr(fs::File::create(dir.path().join("stderr.log")).expect("a log"))
            .spawn()
            .expect("roje starts");
        let mut sensor = Sensor { dir, udp, tcp, flow, metrics, child };
        sensor.wait("the sensor is ready", |sensor| {
            sensor.http("/readyz").is_some_and(|text| text.contains("200 OK"))
        });
        sensor
    }

    /// Waits until `done`, or fails saying for what.
    pub fn wait(&mut self, what: &str, done: impl Fn(&Sensor) -> bool) {
        let start = Instant::now();
        while !done(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("waiting until {what}: the sensor ended with {status}\n{}", self.log());
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain until {what}\n{}\n{:#?}",
                self.log(),
                self.samples()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The answer to a GET, headers included.
    pub fn http(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Every sample of `/metrics`, by name and labels as written.
    pub fn samples(&self) -> BTreeMap<String, f64> {
        let text = self.http("/metrics").unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with("roje_") || line.starts_with("process_"))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_string(), value.parse().ok()?)))
            .collect()
    }

    /// The sum of all samples of a metric whose labels contain `label`.
    pub fn sum(&self, metric: &str, label: &str) -> u64 {
        self.samples()
            .iter()
            .filter(|(name, _)| name.split('{').next() == Some(metric) && name.contains(label))
            .map(|(_, value)| *value as u64)
            .sum()
    }

    /// Messages received by an input.
    pub fn received(&self, input: &str) -> u64 {
        self.sum("roje_input_messages_total", &format!("input=\"{input}\""))
    }

    /// Asserts that received = decoded + undecodable + dropped for every input.
    pub fn assert_ledger(&self) {
        for input in ["udp", "tcp", "flow"] {
            let label = format!("input=\"{input}\"");
            let sum = self.sum("roje_decoded_total", &label)
                + self.sum("roje_decode_errors_total", &label)
                + self.sum("roje_input_dropped_total", &label);
            assert_eq!(self.received(input), sum, "the ledger of {input} closes: {:#?}", self.samples());
        }
    }

    /// Alerts in the output file, as JSON.
    pub fn alerts(&self) -> Vec<serde_json::Value> {
        read_alerts(&self.dir.path().join("alerts.ndjson"))
    }

    /// Sum of `roje.count` over alerts and summaries.
    pub fn counted(&self) -> u64 {
        self.alerts().iter().map(|alert| alert["roje"]["count"].as_u64().expect("a count")).sum()
    }

    pub fn rules(&self) -> PathBuf {
        self.dir.path().join("rules.d")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Stops it with SIGTERM; its exit code must be 0. Returns the folder, alerts included.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.signal("TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert!(status.success(), "{status}\n{}", self.log());
                break;
            }
            assert!(start.elapsed() < PATIENCE, "does not stop\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a folder"))
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Alerts of an NDJSON file.
pub fn read_alerts(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub fn free_udp() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}

pub fn free_tcp() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}
