//! Programs that nobody here wrote, sending to a sensor: logger, rsyslog, syslog-ng, systemd's journal,
//! softflowd, nfreplay, pmacctd; nfcapd, which counts the same flows; and promtool, reading its metrics. A program that is missing fails its test; `.ci/run` installs all.
#![cfg(feature = "real-tools")]

mod pki;
mod sensor;

use pki::{Authority, Signed};
use roje::decode::flow::Decoder;
use sensor::{Sensor, Setup, free_tcp, free_udp};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: address, type: ip, value: 198.51.100.7}
  - {id: six, type: ip, value: '2001:db8:bad::/48'}
  - {id: c2, type: ip, value: 203.0.113.9, where: [destination], port: [443]}
  - {id: name, type: domain, value: evil.example}
  - {id: tool, type: text, value: 'disable_defender.exe'}
";

/// Bodies of messages, and which indicators they hold.
const BODIES: [(&str, &[&str]); 5] = [
    ("query: a.EVIL.example IN A", &["name"]),
    ("DROP SRC=10.0.0.5 DST=198.51.100.7 PROTO=TCP", &["address"]),
    (r"new process C:\Windows\Temp\Disable_Defender.exe", &["tool"]),
    ("query: notevil.example IN A, DST=198.51.100.70", &[]),
    ("198.51.100.7 resolved evil.example", &["address", "name"]),
];

fn start() -> Sensor {
    Sensor::start(Setup { rules: &[("planted.yaml", RULES)], ..Setup::default() })
}

/// How many alerts one round of [`BODIES`] must raise.
fn expected() -> usize {
    BODIES.iter().map(|(_, ids)| ids.len()).sum()
}

/// Asserts that the alerts are those of `rounds` rounds, by indicator.
fn assert_planted(alerts: &[Value], rounds: usize) {
    for id in ["name", "address", "tool"] {
        let each = BODIES.iter().filter(|(_, ids)| ids.contains(&id)).count();
        let found = alerts.iter().filter(|alert| alert["rule"]["id"] == id).count();
        assert_eq!(found, rounds * each, "{id}: {alerts:#?}");
    }
    assert_eq!(alerts.len(), rounds * expected());
}

/// Runs a program to its end, which must be a good one.
fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}); .ci/run installs it"));
    assert!(
        output.status.success(),
        "{program}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A daemon in the foreground, ended with the test.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(mut command: Command, log: &Path) -> Daemon {
        let file = fs::File::create(log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run ({error}); .ci/run installs it"));
        Daemon { child, log: log.to_path_buf() }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.log());
        }
    }
}

/// Waits until somebody listens on a UDP port of this machine.
fn wait_for_udp(daemon: &mut Daemon, ports: &[SocketAddr]) {
    let start = Instant::now();
    // A port that can be bound is one where nobody listens.
    while ports.iter().any(|port| UdpSocket::bind(port).is_ok()) {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody listens: {}", daemon.log());
        assert!(daemon.child.try_wait().is_ok_and(|ended| ended.is_none()), "ended: {}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn logger() {
    let cases: [(&str, &[&str], &str); 8] = [
        ("udp, RFC 3164", &["-d", "--rfc3164"], "rfc3164"),
        ("udp, RFC 5424", &["-d", "--rfc5424"], "rfc5424"),
        ("tcp, RFC 3164, newline", &["-T", "--rfc3164"], "rfc3164"),
        ("tcp, RFC 5424, newline", &["-T", "--rfc5424"], "rfc5424"),
        ("tcp, RFC 3164, octet-counted", &["-T", "--rfc3164", "--octet-count"], "rfc3164"),
        ("tcp, RFC 5424, octet-counted", &["-T", "--rfc5424", "--octet-count"], "rfc5424"),
        (
            "tcp, RFC 5424 without host and time",
            &["-T", "--rfc5424=nohost,notime", "--octet-count"],
            "rfc5424",
        ),
        (
            "udp, RFC 5424 with structured data",
            &["-d", "--rfc5424", "--sd-id", "zone@32473", "--sd-param", "name=\"dmz\""],
            "rfc5424",
        ),
    ];
    for (name, options, format) in cases {
        let mut sensor = start();
        let (input, target) = if options[0] == "-d" { ("udp", sensor.udp) } else { ("tcp", sensor.tcp) };
        let port = target.port().to_string();
        // One run for each body, then all of them from a file, over one connection.
        let file = sensor.dir.path().join("bodies.txt");
        fs::write(&file, BODIES.map(|(body, _)| format!("{body}\n")).concat()).expect("written");
        let file = file.display().to_string();
        let common = ["-n", "127.0.0.1", "-P", &port, "-p", "auth.warning", "-t", "ns1d"];
        for (body, _) in BODIES {
            run("logger", common.iter().chain(options).chain(&["--", body]));
        }
        run("logger", common.iter().chain(options).chain(&["-f", &file]));
        let sent = 2 * BODIES.len() as u64;
        sensor.wait(name, |sensor| sensor.received(input) == sent && sensor.alerts().len() >= 2 * expected());
        sensor.assert_ledger();
        assert_eq!(sensor.sum("roje_decoded_total", &format!("format=\"{format}\"")), sent, "{name}");
        let alerts = sensor.alerts();
        assert_planted(&alerts, 2);
        for alert in &alerts {
            let syslog = &alert["log"]["syslog"];
            assert_eq!(syslog["priority"], 36, "{name}: {alert:#}");
            assert_eq!(syslog["facility"]["name"], "auth", "{name}: {alert:#}");
            assert_eq!(syslog["severity"]["name"], "warning", "{name}: {alert:#}");
            assert_eq!(syslog["appname"], "ns1d", "{name}: {alert:#}");
            assert!(BODIES.iter().any(|(body, _)| alert["message"] == *body), "{name}: {alert:#}");
            assert_eq!(
                alert["host"]["name"].is_string(),
                !name.contains("without host"),
                "{name}: {alert:#}"
            );
            if name.contains("structured data") {
                assert_eq!(syslog["structured_data"]["zone@32473"]["name"], "dmz", "{name}: {alert:#}");
            }
        }
        sensor.stop();
    }
}

/// Sends [`BODIES`] from a device to a relay.
fn send_bodies(relay: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for (body, _) in BODIES {
        let line = format!("<36>Oct 11 22:14:15 ns1.gov.example ns1d[77]: {body}");
        socket.send_to(line.as_bytes(), relay).expect("sent");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts what a relay must have kept of [`send_bodies`].
fn assert_relayed(alerts: &[Value]) {
    for alert in alerts {
        let syslog = &alert["log"]["syslog"];
        assert_eq!(syslog["priority"], 36, "{alert:#}");
        assert_eq!(syslog["hostname"], "ns1.gov.example", "{alert:#}");
        assert_eq!(syslog["appname"], "ns1d", "{alert:#}");
        assert_eq!(syslog["procid"], "77", "{alert:#}");
        assert_eq!(
            alert["log"]["source"]["address"].as_str().map(|at| at.starts_with("127.0.0.1")),
            Some(true),
            "{alert:#}"
        );
        let message = alert["message"].as_str().unwrap_or_default();
        assert!(BODIES.iter().any(|(body, _)| message.contains(body)), "{alert:#}");
    }
}

#[test]
fn rsyslog_forwards_octet_counted_newline_and_udp() {
    let mut sensor = start();
    let dir = sensor.dir.path().to_path_buf();
    let work = dir.join("rsyslog");
    fs::create_dir(&work).expect("a folder");
    let ports = [free_udp(), free_udp(), free_udp()];
    let (udp, tcp) = (sensor.udp.port(), sensor.tcp.port());
    // Tail of the action, for each port; the LF inside a message survives octet counting alone.
    let actions = [
        format!(
            "port=\"{tcp}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\" template=\"RSYSLOG_SyslogProtocol23Format\""
        ),
        format!(
            "port=\"{tcp}\" protocol=\"tcp\" TCP_Framing=\"traditional\" template=\"RSYSLOG_ForwardFormat\""
        ),
        format!("port=\"{udp}\" protocol=\"udp\" template=\"RSYSLOG_TraditionalForwardFormat\""),
    ];
    let mut config = format!(
        "global(workDirectory=\"{}\" parser.escapeControlCharactersOnReceive=\"off\")\nmodule(load=\"imudp\")\n",
        work.display()
    );
    for (number, (port, action)) in ports.iter().zip(&actions).enumerate() {
        config.push_str(&format!(
            "ruleset(name=\"r{number}\") {{ action(type=\"omfwd\" target=\"127.0.0.1\" {action}) }}\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"r{number}\")\n",
            port.port()
        ));
    }
    let path = dir.join("rsyslog.conf");
    fs::write(&path, config).expect("written");
    let mut command = Command::new("rsyslogd");
    command.args(["-n", "-x", "-f"]).arg(&path).arg("-i").arg(dir.join("rsyslog.pid"));
    let mut daemon = Daemon::start(command, &dir.join("rsyslog.log"));
    wait_for_udp(&mut daemon, &ports);
    for port in ports {
        send_bodies(port);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let lines = b"<36>Oct 11 22:14:15 ns1.gov.example ns1d[77]: first line\nresolved evil.example";
    socket.send_to(lines, ports[0]).expect("sent");
    let count = BODIES.len() as u64;
    sensor.wait("all is received", |sensor| {
        sensor.received("udp") == count && sensor.received("tcp") == 2 * count + 1
    });
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() > 3 * expected());
    sensor.assert_ledger();
    let (lines, alerts): (Vec<Value>, Vec<Value>) = sensor
        .alerts()
        .into_iter()
        .partition(|alert| alert["message"].as_str().is_some_and(|text| text.contains('\n')));
    assert_eq!(lines.len(), 1, "one message of two lines: {alerts:#?}");
    assert_eq!(lines[0]["rule"]["id"], "name");
    assert_planted(&alerts, 3);
    assert_relayed(&alerts);
    assert_eq!(
        sensor.sum("roje_decoded_total", "input=\"tcp\",format=\"rfc5424\"")
            + sensor.sum("roje_decoded_total", "format=\"rfc5424\",input=\"tcp\""),
        count + 1
    );
    sensor.stop();
}

#[test]
fn rsyslog_reads_a_file_and_forwards_every_line() {
    let mut sensor = start();
    let dir = sensor.dir.path().to_path_buf();
    fs::create_dir(dir.join("rsyslog")).expect("a folder");
    let log = dir.join("named.log");
    fs::write(&log, BODIES.map(|(body, _)| format!("{body}\n")).concat()).expect("written");
    let config = format!(
        "global(workDirectory=\"{work}/rsyslog\")\nmodule(load=\"imfile\" mode=\"polling\" pollingInterval=\"1\")\n\
         input(type=\"imfile\" file=\"{log}\" tag=\"named:\" severity=\"notice\" facility=\"local3\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\")\n",
        work = dir.display(),
        log = log.display(),
        port = sensor.tcp.port(),
    );
    let path = dir.join("rsyslog.conf");
    fs::write(&path, config).expect("written");
    let mut command = Command::new("rsyslogd");
    command.args(["-n", "-x", "-f"]).arg(&path).arg("-i").arg(dir.join("rsyslog.pid"));
    let _daemon = Daemon::start(command, &dir.join("rsyslog.log"));
    sensor.wait("the alerts are delivered", |sensor| {
        sensor.received("tcp") == BODIES.len() as u64 && sensor.alerts().len() >= expected()
    });
    let alerts = sensor.alerts();
    assert_planted(&alerts, 1);
    assert!(alerts.iter().all(|alert| alert["log"]["syslog"]["priority"] == 19 * 8 + 5), "{alerts:#?}");
    assert!(alerts.iter().all(|alert| alert["log"]["syslog"]["appname"] == "named"), "{alerts:#?}");
    sensor.assert_ledger();
    sensor.stop();
}

/// syslog-ng as a package, or unpacked by `.ci/run`, because its package conflicts with rsyslog's.
fn syslog_ng() -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/syslog-ng/usr");
    let program = unpacked.join("sbin/syslog-ng");
    if !program.exists() {
        return Command::new("syslog-ng");
    }
    let libraries = unpacked.join("lib/syslog-ng");
    let versions = fs::read_dir(&libraries).expect("the libraries of syslog-ng");
    // The folder of plug-ins carries the version as its name.
    let plugins = versions
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .expect("the plug-ins of syslog-ng");
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", &libraries).arg(format!("--module-path={}", plugins.display()));
    command
}

#[test]
fn syslog_ng_forwards_by_both_its_drivers() {
    let mut sensor = start();
    let dir = sensor.dir.path().to_path_buf();
    let relay = free_udp();
    let (udp, tcp) = (sensor.udp.port(), sensor.tcp.port());
    // syslog() is RFC 5424, octet-counted on TCP; network() is RFC 3164, ended by a newline.
    let config = format!(
        "@version: 3.35\noptions {{ keep-hostname(yes); use-dns(no); stats-freq(0); }};\n\
         source device {{ network(ip(\"127.0.0.1\") port({}) transport(\"udp\")); }};\n\
         destination d1 {{ syslog(\"127.0.0.1\" port({tcp}) transport(\"tcp\") persist-name(\"d1\")); }};\n\
         destination d2 {{ network(\"127.0.0.1\" port({tcp}) transport(\"tcp\") persist-name(\"d2\")); }};\n\
         destination d3 {{ syslog(\"127.0.0.1\" port({udp}) transport(\"udp\") persist-name(\"d3\")); }};\n\
         destination d4 {{ network(\"127.0.0.1\" port({udp}) transport(\"udp\") persist-name(\"d4\")); }};\n\
         log {{ source(device); destination(d1); destination(d2); destination(d3); destination(d4); }};\n",
        relay.port()
    );
    let path = dir.join("syslog-ng.conf");
    fs::write(&path, config).expect("written");
    let mut command = syslog_ng();
    command.args(["--foreground", "--stderr", "--no-caps"]);
    for (option, file) in [("-f", "syslog-ng.conf"), ("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
        command.arg(option).arg(dir.join(file));
    }
    let mut daemon = Daemon::start(command, &dir.join("syslog-ng.log"));
    wait_for_udp(&mut daemon, &[relay]);
    send_bodies(relay);
    let count = BODIES.len() as u64;
    sensor.wait("all is received", |sensor| {
        sensor.received("udp") == 2 * count && sensor.received("tcp") == 2 * count
    });
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() >= 4 * expected());
    sensor.assert_ledger();
    let alerts = sensor.alerts();
    assert_planted(&alerts, 4);
    assert_relayed(&alerts);
    assert_eq!(sensor.sum("roje_decoded_total", "format=\"rfc5424\""), 2 * count);
    assert_eq!(sensor.sum("roje_decoded_total", "format=\"rfc3164\""), 2 * count);
    sensor.stop();
}

/// A sensor that listens on TLS and wants a certificate, and what its peers need to know.
struct TlsSensor {
    sensor: Sensor,
    port: u16,
    ca: String,
    cert: String,
    key: String,
}

fn start_tls() -> TlsSensor {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules.d");
    fs::create_dir(&rules).expect("a folder");
    fs::write(rules.join("planted.yaml"), RULES).expect("written");
    let at = folder.path().display().to_string();
    let authority = Authority::new("Test authority");
    let write = |name: &str, text: &str| {
        let path = format!("{at}/{name}");
        fs::write(&path, text).expect("written");
        path
    };
    let Signed { cert, key } = authority.sign("sensor.example", 1, |_| ());
    let (own_cert, own_key) = (write("sensor.pem", &cert), write("sensor.key", &key));
    let Signed { cert, key } = authority.sign("relay.example", 2, |_| ());
    let (cert, key) = (write("relay.pem", &cert), write("relay.key", &key));
    let ca = write("ca.pem", &authority.pem());
    let crl = write("crl.pem", &authority.revoke(&[3]));
    let tls = free_tcp();
    let config = format!(
        "[[input]]\nname = \"tls\"\nlisten = \"tls://{tls}\"\nformat = \"syslog\"\ncert_file = \"{own_cert}\"\n\
         key_file = \"{own_key}\"\nclient_ca_file = \"{ca}\"\ncrl_file = \"{crl}\"\n\
         [[constituent]]\nname = \"Relay owner\"\nsector = \"digital\"\n\
         [[source]]\nname = \"relay\"\ncertificates = [\"relay.example\"]\nconstituent = \"Relay owner\"\n"
    );
    let sensor = Sensor::start_in(folder, Setup { config: &config, ..Setup::default() });
    TlsSensor { sensor, port: tls.port(), ca, cert, key }
}

/// Asserts what came over TLS from a relay that showed its certificate.
fn assert_relayed_by_tls(mut server: TlsSensor, rounds: usize) {
    let count = (rounds * BODIES.len()) as u64;
    server.sensor.wait("all is received", |sensor| sensor.received("tls") == count);
    server.sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() >= rounds * expected());
    let alerts = server.sensor.alerts();
    assert_planted(&alerts, rounds);
    assert_relayed(&alerts);
    for alert in &alerts {
        assert_eq!(alert["organization"]["name"], "Relay owner", "{alert:#}");
    }
    assert_eq!(server.sensor.sum("roje_input_connections_closed_total", "input=\"tls\""), 0);
    assert_eq!(server.sensor.sum("roje_source_messages_total", "source=\"relay\""), count);
    server.sensor.stop();
}

#[test]
fn rsyslog_forwards_over_tls_with_a_certificate() {
    let server = start_tls();
    let dir = server.sensor.dir.path().to_path_buf();
    fs::create_dir(dir.join("rsyslog")).expect("a folder");
    let TlsSensor { port, ca, cert, key, .. } = &server;
    let relays = [free_udp(), free_udp()];
    let mut config = format!(
        "global(workDirectory=\"{}/rsyslog\" defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{ca}\" \
         defaultNetstreamDriverCertFile=\"{cert}\" defaultNetstreamDriverKeyFile=\"{key}\")\nmodule(load=\"imudp\")\n",
        dir.display(),
    );
    for (number, (relay, framing)) in relays.iter().zip(["octet-counted", "traditional"]).enumerate() {
        config.push_str(&format!(
            "ruleset(name=\"r{number}\") {{ action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" \
             StreamDriver=\"ossl\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" \
             StreamDriverPermittedPeers=\"sensor.example\" TCP_Framing=\"{framing}\" \
             template=\"RSYSLOG_SyslogProtocol23Format\") }}\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"r{number}\")\n",
            relay.port(),
        ));
    }
    let path = dir.join("rsyslog.conf");
    fs::write(&path, config).expect("written");
    let mut command = Command::new("rsyslogd");
    command.args(["-n", "-x", "-f"]).arg(&path).arg("-i").arg(dir.join("rsyslog.pid"));
    let mut daemon = Daemon::start(command, &dir.join("rsyslog.log"));
    wait_for_udp(&mut daemon, &relays);
    relays.into_iter().for_each(send_bodies);
    assert_relayed_by_tls(server, 2);
}

#[test]
fn syslog_ng_forwards_over_tls_with_a_certificate() {
    let server = start_tls();
    let dir = server.sensor.dir.path().to_path_buf();
    let relay = free_udp();
    let TlsSensor { port, ca, cert, key, .. } = &server;
    let config = format!(
        "@version: 3.35\noptions {{ keep-hostname(yes); use-dns(no); stats-freq(0); }};\n\
         source device {{ network(ip(\"127.0.0.1\") port({}) transport(\"udp\")); }};\n\
         destination d {{ syslog(\"127.0.0.1\" port({port}) transport(\"tls\") tls(ca-file(\"{ca}\") \
         cert-file(\"{cert}\") key-file(\"{key}\") peer-verify(required-trusted))); }};\n\
         log {{ source(device); destination(d); }};\n",
        relay.port()
    );
    let path = dir.join("syslog-ng.conf");
    fs::write(&path, config).expect("written");
    let mut command = syslog_ng();
    command.args(["--foreground", "--stderr", "--no-caps"]);
    for (option, file) in [("-f", "syslog-ng.conf"), ("-R", "persist"), ("-p", "pid"), ("-c", "control")] {
        command.arg(option).arg(dir.join(file));
    }
    let mut daemon = Daemon::start(command, &dir.join("syslog-ng.log"));
    wait_for_udp(&mut daemon, &[relay]);
    send_bodies(relay);
    assert_relayed_by_tls(server, 1);
}

#[test]
fn logger_writes_to_a_socket_like_dev_log() {
    for kind in ["datagram", "stream"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log").display().to_string();
        let config = format!(
            "[[input]]\nname = \"local\"\nlisten = \"unix://{path}\"\nformat = \"syslog\"\nsocket_type = \"{kind}\"\n"
        );
        let setup = Setup { rules: &[("planted.yaml", RULES)], config: &config, ..Setup::default() };
        let mut sensor = Sensor::start(setup);
        for (body, _) in BODIES {
            run("logger", ["-u", &path, "-p", "auth.warning", "-t", "ns1d", "--", body]);
        }
        let count = BODIES.len() as u64;
        sensor.wait(kind, |sensor| sensor.received("local") == count && sensor.alerts().len() >= expected());
        let alerts = sensor.alerts();
        assert_planted(&alerts, 1);
        for alert in &alerts {
            assert_eq!(alert["log"]["syslog"]["priority"], 36, "{alert:#}");
            assert_eq!(alert["log"]["syslog"]["appname"], "ns1d", "{alert:#}");
        }
        sensor.stop();
    }
}

/// A sensor whose sockets systemd opens: by their names they find inputs that say other addresses.
/// An entry as a sender writes it for systemd-journal-remote; a body of several lines is a binary field.
fn entry(number: usize, body: &str) -> Vec<u8> {
    let microseconds = 1_795_266_005_000_000 + number;
    let mut entry = format!(
        "__REALTIME_TIMESTAMP={microseconds}\n__MONOTONIC_TIMESTAMP={}\n\
         _BOOT_ID=0123456789abcdef0123456789abcdef\n_MACHINE_ID=fedcba98765432100123456789abcdef\n\
         _TRANSPORT=syslog\nPRIORITY=4\nSYSLOG_FACILITY=4\nSYSLOG_IDENTIFIER=ns1d\n_PID=78\n_UID=0\n\
         _COMM=ns1d\n_HOSTNAME=srv1\n_SYSTEMD_UNIT=ns1d.service\n",
        1000 + number
    )
    .into_bytes();
    match body.contains('\n') {
        true => {
            entry.extend(b"MESSAGE\n");
            entry.extend((body.len() as u64).to_le_bytes());
            entry.extend(body.bytes());
        }
        false => entry.extend(format!("MESSAGE={body}").bytes()),
    }
    entry.extend(b"\n\n");
    entry
}

#[test]
fn journalctl_exports_its_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let bodies: Vec<String> = BODIES
        .iter()
        .flat_map(|(body, _)| [(*body).to_owned(), format!("a stack:\n\n  {body}\n<13>end")])
        .collect();
    let entries: Vec<u8> = bodies.iter().enumerate().flat_map(|(number, body)| entry(number, body)).collect();
    fs::write(at("entries"), entries).expect("a file");
    // systemd writes the journal, and reads it.
    run("/lib/systemd/systemd-journal-remote", ["-o", &at("x.journal"), &at("entries")]);
    let journalctl = |format: &str| {
        let options = ["--file", &at("x.journal"), "--all", "-o", format];
        let output = Command::new("journalctl").args(options).output().expect("journalctl runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for (format, label) in [("export", "journal"), ("json", "json"), ("json-seq", "json")] {
        let exported = journalctl(format);
        let mut sensor = start();
        // Over TCP, as `journalctl -o export | nc` does, in pieces that end anywhere.
        let mut stream = std::net::TcpStream::connect(sensor.tcp).expect("a connection");
        for piece in exported.chunks(997) {
            stream.write_all(piece).expect("sent");
        }
        drop(stream);
        let sent = bodies.len() as u64;
        sensor
            .wait(format, |sensor| sensor.received("tcp") == sent && sensor.alerts().len() >= 2 * expected());
        sensor.assert_ledger();
        assert_eq!(sensor.sum("roje_decoded_total", &format!("format=\"{label}\"")), sent, "{format}");
        let alerts = sensor.alerts();
        assert_planted(&alerts, 2);
        for alert in &alerts {
            let syslog = &alert["log"]["syslog"];
            assert_eq!(syslog["priority"], 36, "{format}: {alert:#}");
            assert_eq!(syslog["appname"], "ns1d", "{format}: {alert:#}");
            assert_eq!(alert["host"]["name"], "srv1", "{format}: {alert:#}");
            assert_eq!(alert["process"]["pid"], 78, "{format}: {alert:#}");
            assert!(bodies.iter().any(|body| alert["message"] == **body), "{format}: {alert:#}");
            let time = alert["@timestamp"].as_str().unwrap_or_default();
            assert!(time.starts_with("2026-11-21T13:00:05.000"), "{format}: {alert:#}");
        }
        sensor.stop();

        // From a file, every entry in its order.
        fs::write(at(format), &exported).expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_roje")).args(["decode", &at(format)]).output();
        let output = String::from_utf8(output.expect("roje runs").stdout).expect("text");
        let messages: Vec<String> = output
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).expect("JSON")["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        assert_eq!(messages, bodies, "{format}");
    }
}

fn activated(options: &[String], names: &str) -> Sensor {
    let dir = tempfile::tempdir().expect("a folder");
    let at = dir.path().display().to_string();
    let authority = Authority::new("Test authority");
    let signed = authority.sign("sensor.example", 1, |_| ());
    fs::write(dir.path().join("cert.pem"), &signed.cert).expect("written");
    fs::write(dir.path().join("key.pem"), &signed.key).expect("written");
    fs::write(dir.path().join("planted.yaml"), RULES).expect("written");
    let metrics = free_tcp();
    let mut config = format!(
        "[sensor]\ndata_dir = \"{at}/state\"\nrules = [\"{at}/planted.yaml\"]\n[metrics]\nlisten = \"{metrics}\"\n\
         [[output]]\nname = \"file\"\nto = \"file://{at}/alerts.ndjson\"\n"
    );
    for (name, listen, more) in [
        ("udp", "udp://127.0.0.1:0".to_owned(), String::new()),
        ("tcp", "tcp://127.0.0.1:0".to_owned(), String::new()),
        (
            "tls",
            "tls://127.0.0.1:0".to_owned(),
            format!("cert_file = \"{at}/cert.pem\"\nkey_file = \"{at}/key.pem\"\n"),
        ),
        ("datagrams", format!("unix://{at}/d"), String::new()),
        ("stream", format!("unix://{at}/s"), "socket_type = \"stream\"\n".to_owned()),
    ] {
        config.push_str(&format!(
            "[[input]]\nname = \"{name}\"\nlisten = \"{listen}\"\nformat = \"syslog\"\n{more}"
        ));
    }
    fs::write(dir.path().join("roje.toml"), config).expect("written");
    let child = Command::new("systemd-socket-activate")
        .args(options)
        .arg(format!("--fdname={names}"))
        .arg(env!("CARGO_BIN_EXE_roje"))
        .args(["run", "-c"])
        .arg(dir.path().join("roje.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr.log")).expect("a log"))
        .spawn()
        .unwrap_or_else(|error| {
            panic!("systemd-socket-activate cannot be run ({error}); .ci/run installs it")
        });
    let nowhere: SocketAddr = ([127, 0, 0, 1], 0).into();
    Sensor { dir, udp: nowhere, tcp: nowhere, flow: nowhere, metrics, child }
}

#[test]
fn every_listener_is_handed_over_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tcp, tls, stream) = (free_tcp(), free_tcp(), folder.path().join("stream"));
    let line = b"<36>Oct 11 22:14:15 ns1 ns1d[77]: query: a.evil.example\n";
    let listen = |address: &dyn std::fmt::Display| format!("--listen={address}");
    let options = [listen(&tcp), listen(&tls), listen(&stream.display())];
    let mut sensor = activated(&options, "tcp:tls:stream");
    let connect = |address: SocketAddr| {
        let start = Instant::now();
        loop {
            match std::net::TcpStream::connect(address) {
                Ok(stream) => return stream,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    connect(tcp).write_all(line).expect("sent");
    connect(tls).write_all(line).expect("sent");
    let mut unix = std::os::unix::net::UnixStream::connect(&stream).expect("a connection");
    unix.write_all(line).expect("sent");
    drop(unix);
    sensor.wait("both are heard", |sensor| sensor.received("tcp") == 1 && sensor.received("stream") == 1);
    sensor.wait("TLS is what it is", |sensor| {
        sensor.sum("roje_input_connections_closed_total", "input=\"tls\",reason=\"not_tls\"") == 1
    });
    sensor.stop();
    assert!(stream.exists(), "the socket is systemd's");

    let (udp, datagrams) = (free_udp(), folder.path().join("datagrams"));
    let options = ["--datagram".to_owned(), listen(&udp), listen(&datagrams.display())];
    let mut sensor = activated(&options, "udp:datagrams");
    let start = Instant::now();
    while !datagrams.exists() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(line, udp)).expect("sent");
    let unix = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    unix.send_to(line, &datagrams).expect("sent");
    sensor.wait("both are heard", |sensor| sensor.received("udp") == 1 && sensor.received("datagrams") == 1);
    sensor.wait("alerts are written", |sensor| sensor.alerts().len() == 2);
    sensor.stop();
}

/// One packet that an exporter shall see.
struct Packet {
    source: &'static str,
    destination: &'static str,
    ports: (u16, u16),
    tcp: bool,
}

/// Traffic of one direction, so that each line is one flow record; IPv6 comes last.
const PACKETS: [Packet; 8] = [
    Packet { source: "10.0.0.5", destination: "198.51.100.7", ports: (40_001, 80), tcp: true },
    Packet { source: "198.51.100.7", destination: "10.0.0.6", ports: (53, 40_002), tcp: false },
    Packet { source: "10.0.0.5", destination: "203.0.113.9", ports: (40_003, 443), tcp: true },
    // The other port, then the other side: neither is what the indicator says.
    Packet { source: "10.0.0.5", destination: "203.0.113.9", ports: (40_004, 80), tcp: true },
    Packet { source: "203.0.113.9", destination: "10.0.0.5", ports: (443, 40_005), tcp: true },
    Packet { source: "10.0.0.5", destination: "198.51.100.70", ports: (40_006, 53), tcp: false },
    Packet { source: "2001:db8::5", destination: "2001:db8:bad::1", ports: (40_007, 443), tcp: true },
    Packet { source: "2001:db8::5", destination: "2001:db8:900d::1", ports: (40_008, 443), tcp: false },
];

/// When they were captured, and the same as alerts write it; v9 rounds to a second.
const SECONDS: u32 = 1_790_000_000;
const CAPTURED: &str = "2026-09-21T14:13:";

/// A pcap file of Ethernet frames.
fn capture(packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 1] {
        // Version 2.4 is two 16-bit numbers.
        match word {
            0x0002_0004 => out.extend([2u16.to_le_bytes(), 4u16.to_le_bytes()].concat()),
            word => out.extend(word.to_le_bytes()),
        }
    }
    for (number, packet) in packets.iter().enumerate() {
        let (sport, dport) = packet.ports;
        let payload = [b'x'; 100];
        let mut transport = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        if packet.tcp {
            // Sequence, acknowledgement, offset and PSH|ACK, window, checksum, urgent.
            transport.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
        } else {
            transport.extend((8 + payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend(payload);
        let protocol = if packet.tcp { 6 } else { 17 };
        let source: std::net::IpAddr = packet.source.parse().expect("an address");
        let destination: std::net::IpAddr = packet.destination.parse().expect("an address");
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match (source, destination) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
                let length = 20 + transport.len() as u16;
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([0, number as u8, 0x40, 0, 64, protocol, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((transport.len() as u16).to_be_bytes());
                frame.extend([protocol, 64]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => panic!("one family for each packet"),
        }
        frame.extend(transport);
        let micros = 1_000 * number as u32;
        for word in [SECONDS, micros, frame.len() as u32, frame.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// Name, options, format, flow records, and the indicators in them.
type Export = (&'static str, &'static [&'static str], &'static str, u64, &'static [&'static str]);

#[test]
fn softflowd_exports_netflow_5_9_and_ipfix() {
    let four = PACKETS.len() as u64 - 2;
    let cases: [Export; 3] = [
        ("NetFlow v5 has IPv4 alone", &["-v", "5"], "netflow5", four, &["address", "address", "c2"]),
        ("NetFlow v9", &["-v", "9"], "netflow9", four + 2, &["address", "address", "c2", "six"]),
        ("IPFIX", &["-v", "10"], "ipfix", four + 2, &["address", "address", "c2", "six"]),
    ];
    for (name, options, format, records, ids) in cases {
        let mut sensor = start();
        let pcap = sensor.dir.path().join("traffic.pcap");
        fs::write(&pcap, capture(&PACKETS)).expect("written");
        let pid = sensor.dir.path().join("softflowd.pid").display().to_string();
        let target = sensor.flow.to_string();
        let pcap = pcap.display().to_string();
        // -a: times are those of the capture.
        // With a control socket, the end of a capture sometimes leaves softflowd waiting for a controller.
        let common = ["-d", "-a", "-r", &pcap, "-n", &target, "-c", "none", "-p", &pid];
        run("softflowd", common.iter().chain(options));
        let label = format!("format=\"{format}\"");
        sensor.wait(name, |sensor| {
            sensor.sum("roje_decoded_total", &label) > 0 && sensor.alerts().len() >= ids.len()
        });
        sensor.assert_ledger();
        assert_eq!(sensor.sum("roje_decode_errors_total", ""), 0, "{name}");
        assert_eq!(sensor.sum("roje_flow_missing_template_total", ""), 0, "{name}");
        let alerts = sensor.alerts();
        // Options records are counted too; softflowd sends one with IPFIX and v9.
        let counted = sensor.sum("roje_flow_records_total", "");
        assert!((records..=records + 1).contains(&counted), "{name}: {counted} records, {alerts:#?}");
        let mut found: Vec<&str> = alerts.iter().filter_map(|alert| alert["rule"]["id"].as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ids, "{name}: {alerts:#?}");
        for alert in &alerts {
            let source = alert["source"]["ip"].as_str().expect("a source");
            let packet = PACKETS.iter().find(|packet| {
                packet.source == source
                    && packet.destination == alert["destination"]["ip"]
                    && packet.ports.1 == alert["destination"]["port"]
            });
            let packet = packet.unwrap_or_else(|| panic!("{name}: no such packet: {alert:#}"));
            assert_eq!(alert["source"]["port"], packet.ports.0, "{name}");
            assert_eq!(alert["network"]["transport"], if packet.tcp { "tcp" } else { "udp" }, "{name}");
            // The IP packet: headers and a hundred bytes.
            let headers = if source.contains(':') { 40 } else { 20 } + if packet.tcp { 20 } else { 8 };
            assert_eq!(alert["source"]["bytes"], headers + 100, "{name}: {alert:#}");
            assert_eq!(alert["source"]["packets"], 1, "{name}");
            assert!(
                alert["@timestamp"].as_str().is_some_and(|at| at.starts_with(CAPTURED)),
                "{name}: {alert:#}"
            );
            assert_eq!(
                alert["observer"]["ip"][0].as_str().or(alert["observer"]["ip"].as_str()),
                Some("127.0.0.1"),
                "{name}: {alert:#}"
            );
        }
        sensor.stop();
    }
}

#[test]
fn softflowd_exports_ipfix_over_tcp() {
    let listen = free_tcp();
    let config = format!("[[input]]\nname = \"ipfix\"\nlisten = \"tcp://{listen}\"\nformat = \"flow\"\n");
    let setup = Setup { rules: &[("planted.yaml", RULES)], config: &config, ..Setup::default() };
    let mut sensor = Sensor::start(setup);
    let pcap = sensor.dir.path().join("traffic.pcap");
    fs::write(&pcap, capture(&PACKETS)).expect("written");
    let pid = sensor.dir.path().join("softflowd.pid").display().to_string();
    let (pcap, target) = (pcap.display().to_string(), listen.to_string());
    let common = ["-d", "-a", "-r", &pcap, "-n", &target, "-c", "none", "-p", &pid];
    run("softflowd", common.iter().chain(&["-v", "10", "-P", "tcp"]));
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == 4);
    let label = "input=\"ipfix\"";
    assert_eq!(sensor.sum("roje_decode_errors_total", label), 0);
    assert_eq!(sensor.sum("roje_decoded_total", label), sensor.received("ipfix"));
    // One options record, as over UDP.
    let records = sensor.sum("roje_flow_records_total", label);
    assert!((8..=9).contains(&records), "{records}");
    sensor.wait("its templates end with the connection", |sensor| {
        sensor.sum("roje_flow_templates", label) == 0
    });
    sensor.stop();
}

/// A socket between an exporter and those who read it: passes every datagram on to each of them, and
/// decodes it too.
struct Tap {
    address: SocketAddr,
    rows: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    fn start(readers: Vec<SocketAddr>) -> Tap {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let (rows, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (told, stopped) = (rows.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut decoder = Decoder::default();
            let mut buffer = [0; 65_535];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
                let datagram = &buffer[..length];
                readers.iter().for_each(|reader| drop(socket.send_to(datagram, reader)));
                let now = roje::input::now();
                let mut each = |record: roje::decode::flow::Record<'_>| {
                    let flow = record.flow();
                    if let (false, Some(source), Some(destination)) =
                        (flow.state, flow.source, flow.destination)
                    {
                        told.lock().expect("rows").push(format!(
                            "{source} {destination} {} {} {} {} {}",
                            flow.source_port, flow.destination_port, flow.protocol, flow.packets, flow.bytes
                        ));
                    }
                };
                decoder.decode(datagram, address, now, &mut each).expect("a flow datagram");
            }
        });
        Tap { address, rows, stop, thread: Some(thread) }
    }

    /// Waits until so many flows came; gives them in order.
    fn flows(&self, expected: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let mut rows = self.rows.lock().expect("rows").clone();
            if rows.len() >= expected {
                rows.sort();
                return rows;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{expected} flows expected: {rows:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is one of the test.
            assert!(thread.join().is_ok() || std::thread::panicking(), "the tap panicked");
        }
    }
}

/// The flows of [`PACKETS`], as a [`Tap`] writes them.
fn packets_as_flows(four: bool) -> Vec<String> {
    let packets = PACKETS.iter().filter(|packet| !four || !packet.source.contains(':'));
    let mut rows: Vec<String> = packets
        .map(|packet| {
            let headers = if packet.source.contains(':') { 40 } else { 20 } + if packet.tcp { 20 } else { 8 };
            let (sport, dport) = packet.ports;
            let protocol = if packet.tcp { 6 } else { 17 };
            format!("{} {} {sport} {dport} {protocol} 1 {}", packet.source, packet.destination, headers + 100)
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn nfcapd_counts_the_same_and_nfreplay_sends_it_again() {
    for (version, format) in [("5", "netflow5"), ("9", "netflow9"), ("10", "ipfix")] {
        let four = version == "5";
        let expected = packets_as_flows(four);
        let mut sensor = start();
        let dir = sensor.dir.path().to_path_buf();
        let (folder, port) = (dir.join("nfcapd"), free_udp());
        fs::create_dir(&folder).expect("a folder");
        let mut command = Command::new("nfcapd");
        let number = port.port().to_string();
        command.args(["-b", "127.0.0.1", "-t", "3600", "-p", &number, "-l"]).arg(&folder);
        let mut nfcapd = Daemon::start(command, &dir.join("nfcapd.log"));
        wait_for_udp(&mut nfcapd, &[port]);
        let tap = Tap::start(vec![port, sensor.flow]);

        let pcap = dir.join("traffic.pcap");
        fs::write(&pcap, capture(&PACKETS)).expect("written");
        let pid = dir.join("softflowd.pid");
        let target = tap.address.to_string();
        run(
            "softflowd",
            [
                "-d",
                "-a",
                "-r",
                &pcap.display().to_string(),
                "-n",
                &target,
                "-c",
                "none",
                "-p",
                &pid.display().to_string(),
                "-v",
                version,
            ],
        );
        assert_eq!(tap.flows(expected.len()), expected, "version {version}");
        let counted = |sensor: &Sensor| sensor.sum("roje_flow_records_total", "");
        sensor.wait("every flow is counted", |sensor| counted(sensor) >= expected.len() as u64);
        // With a signal it closes its file.
        let pid = nfcapd.child.id().to_string();
        run("kill", ["-TERM", &pid]);
        nfcapd.child.wait().expect("nfcapd ends");
        assert_eq!(nfdump(&folder), expected, "nfcapd, version {version}");

        // nfreplay has a sequence and templates of its own.
        let replayed = Tap::start(vec![sensor.flow]);
        let port = replayed.address.port().to_string();
        let file = fs::read_dir(&folder).expect("a folder").next().expect("a file").expect("a file").path();
        let before = counted(&sensor);
        run("nfreplay", ["-r", &file.display().to_string(), "-H", "127.0.0.1", "-p", &port]);
        assert_eq!(replayed.flows(expected.len()), expected, "nfreplay, version {version}");
        sensor
            .wait("every flow is counted again", |sensor| counted(sensor) >= before + expected.len() as u64);
        assert_eq!(sensor.sum("roje_decode_errors_total", ""), 0, "{format}");
        assert!(sensor.sum("roje_decoded_total", &format!("format=\"{format}\"")) > 0, "{format}");
        // Indicators once for each of the two times.
        let planted = if four { 3 } else { 4 };
        sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == 2 * planted);
        sensor.assert_ledger();
        sensor.stop();
    }
}

/// The flows in the files of a folder, as nfdump reads them.
fn nfdump(folder: &Path) -> Vec<String> {
    let output = Command::new("nfdump")
        .args(["-q", "-N", "-6", "-o", "fmt:%sa %da %sp %dp %pr %pkt %byt", "-R"])
        .arg(folder)
        .output()
        .unwrap_or_else(|error| panic!("nfdump cannot be run ({error}); .ci/run installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let row = |line: &str| {
        let words = line.split_whitespace().map(|word| match word.parse::<std::net::IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => word.to_string(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(row).collect();
    rows.sort();
    rows
}

#[test]
fn pmacctd_exports_netflow_5_9_and_ipfix() {
    for version in ["5", "9", "10"] {
        let expected = packets_as_flows(version == "5");
        let mut sensor = start();
        let dir = sensor.dir.path().to_path_buf();
        let pcap = dir.join("traffic.pcap");
        fs::write(&pcap, capture(&PACKETS)).expect("written");
        let tap = Tap::start(vec![sensor.flow]);
        let config = format!(
            "daemonize: false\nplugins: nfprobe\nnfprobe_receiver: {}\nnfprobe_version: {version}\n\
             nfprobe_timeouts: tcp=1:udp=1:icmp=1:general=1:maxlife=1:expint=1\n\
             aggregate: src_host,dst_host,src_port,dst_port,proto\n\
             pcap_savefile: {}\npcap_savefile_wait: 1\n",
            tap.address,
            pcap.display()
        );
        let path = dir.join("pmacctd.conf");
        fs::write(&path, config).expect("written");
        let mut command = Command::new("pmacctd");
        command.arg("-f").arg(&path);
        let pmacctd = Daemon::start(command, &dir.join("pmacctd.log"));
        assert_eq!(tap.flows(expected.len()), expected, "version {version}: {}", pmacctd.log());
        let planted = if version == "5" { 3 } else { 4 };
        sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == planted);
        assert_eq!(sensor.sum("roje_decode_errors_total", ""), 0, "version {version}");
        assert_eq!(sensor.sum("roje_flow_sequence_gaps_total", ""), 0, "version {version}");
        sensor.assert_ledger();
        sensor.stop();
    }
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let mut sensor = start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for (body, _) in BODIES {
        socket.send_to(format!("<36>Oct 11 22:14:15 ns1 ns1d: {body}").as_bytes(), sensor.udp).expect("sent");
    }
    // What cannot be decoded has metrics of its own.
    socket.send_to(b"\x00\x09", sensor.flow).expect("sent");
    sensor.wait("the alerts are delivered", |sensor| {
        sensor.alerts().len() == expected() && sensor.received("flow") == 1
    });
    let answer = sensor.http("/metrics").expect("metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(
        head.contains("200 OK") && head.to_lowercase().contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool cannot be run ({error}); .ci/run installs it"));
    child.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("promtool ends");
    let words = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && words.is_empty(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&words)
    );
    sensor.stop();
}
