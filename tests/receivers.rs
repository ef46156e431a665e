//! Receivers that nobody here wrote, taking alerts from a sensor: rsyslog and syslog-ng over TLS with client
//! certificates, nats-server with JetStream, librdkafka's broker, an HTTPS server that asks for a client
//! certificate. Each is stopped, killed, frozen and slowed under load; what it has received in the end must
//! be all that was raised, in order. A program that is missing fails its test; `.ci/run` installs all.
#![cfg(feature = "real-tools")]

mod pki;
mod sensor;

use pki::Authority;
use sensor::{Sensor, Setup, free_tcp};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: name, type: domain, value: evil.example}
";

/// What may pass until a receiver that takes alerts again has all of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// The test's folder: certificates, and what the receiver keeps.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a folder") };
        let authority = Authority::new("Test authority");
        place.write("ca.pem", &authority.pem());
        for (number, name) in ["receiver.example", "sensor.example"].into_iter().enumerate() {
            let signed = authority.sign(name, 1 + number as u64, |_| ());
            let stem = name.split('.').next().expect("a name");
            place.write(&format!("{stem}.pem"), &signed.cert);
            place.write(&format!("{stem}.key"), &signed.key);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// The keys of an output that trusts the authority and shows the sensor's certificate.
    fn identity(&self) -> String {
        format!(
            "ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            self.shown("ca.pem"),
            self.shown("sensor.pem"),
            self.shown("sensor.key")
        )
    }
}

/// A receiver: how it is started, and how one knows that it listens.
struct Receiver {
    child: Option<Child>,
    command: Box<dyn Fn() -> Command>,
    address: SocketAddr,
    log: PathBuf,
}

impl Receiver {
    fn new(place: &Place, address: SocketAddr, command: impl Fn() -> Command + 'static) -> Receiver {
        let log = place.path("receiver.log");
        let mut receiver = Receiver { child: None, command: Box::new(command), address, log };
        receiver.start();
        receiver
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let mut command = (self.command)();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run ({error}); .ci/run installs it"));
        self.child = Some(child);
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "does not listen: {}", self.told());
            sleep(Duration::from_millis(50));
        }
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it by a signal, and waits until it has ended.
    fn end(&mut self, signal: &str) {
        self.signal(signal);
        let mut child = self.child.take().expect("it runs");
        let begun = Instant::now();
        while child.try_wait().expect("a child").is_none() {
            if begun.elapsed() > Duration::from_secs(20) {
                child.kill().ok();
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let told = self.told();
            eprintln!("{}", told.get(told.len().saturating_sub(4000)..).unwrap_or(&told));
        }
    }
}

/// Sends lines that match, some hundred a second, until it is told to stop; tells how many.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Load {
    fn start(to: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(to).expect("a connection");
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut lines = String::new();
                for _ in 0..5 {
                    lines.push_str(&format!(
                        "<34>1 - host app - - - query {count} of a{count}.evil.example\n"
                    ));
                    count += 1;
                }
                stream.write_all(lines.as_bytes()).expect("sent");
                sleep(Duration::from_millis(20));
            }
            count
        });
        Load { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("sent")
    }
}

/// What happens to a receiver.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// SIGTERM, a while of nothing, started again.
    Restarted,
    /// The same with SIGKILL.
    Killed,
    /// SIGSTOP for longer than the output waits, then SIGCONT.
    Frozen,
    /// SIGSTOP, then SIGKILL: what its kernel took and it never read is gone.
    FrozenToDeath,
    /// Stopped nine tenths of the time.
    Slowed,
}

/// Lets a sensor deliver to a receiver under load and trouble; `read` tells the ids that it received, in
/// order, again and again until they are all there.
fn deliver_through(
    output: &str,
    receiver: &mut Receiver,
    trouble: &[Trouble],
    read: impl Fn() -> Vec<String>,
) {
    let outputs = format!(
        "[[output]]\nname = \"file\"\nto = \"file://{{dir}}/alerts.ndjson\"\n\
         [[output]]\nname = \"receiver\"\ntlp = \"red\"\ntimeout = \"2s\"\n{output}"
    );
    let setup = Setup { rules: &[("planted.yaml", RULES)], outputs: Some(&outputs), ..Setup::default() };
    let mut sensor = Sensor::start(setup);
    let load = Load::start(sensor.tcp);
    let a_while = || sleep(Duration::from_millis(1500));
    a_while();
    for what in trouble {
        match what {
            Trouble::Restarted | Trouble::Killed => {
                receiver.end(if matches!(what, Trouble::Killed) { "KILL" } else { "TERM" });
                a_while();
                receiver.start();
            }
            Trouble::Frozen => {
                receiver.signal("STOP");
                sleep(Duration::from_secs(8));
                receiver.signal("CONT");
            }
            Trouble::FrozenToDeath => {
                receiver.signal("STOP");
                a_while();
                receiver.end("KILL");
                receiver.start();
            }
            Trouble::Slowed => {
                for _ in 0..15 {
                    receiver.signal("STOP");
                    sleep(Duration::from_millis(90));
                    receiver.signal("CONT");
                    sleep(Duration::from_millis(10));
                }
            }
        }
        a_while();
    }
    let sent = load.stop();
    sensor.wait("every alert is raised", |sensor| sensor.alerts().len() as u64 == sent);
    let raised: Vec<String> = sensor.alerts().iter().map(id).collect();
    let begun = Instant::now();
    let mut received = read();
    while received.iter().collect::<HashSet<_>>().len() < raised.len() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {} arrived\n{}\n{:?}\n{}",
            received.iter().collect::<HashSet<_>>().len(),
            raised.len(),
            sensor.log(),
            sensor.http("/readyz"),
            receiver.told()
        );
        sleep(Duration::from_millis(200));
        received = read();
    }
    let mut seen = HashSet::new();
    let first: Vec<String> = received.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
    println!(
        "{} raised, {} received, {} of them twice",
        raised.len(),
        received.len(),
        received.len() - first.len()
    );
    assert_eq!(first.len(), raised.len(), "nothing that was not raised");
    let differ = first.iter().zip(&raised).position(|(first, raised)| first != raised);
    assert_eq!(differ, None, "in order");
    sensor.wait("nothing is pending", |sensor| sensor.sum("roje_alerts_pending", "output=\"receiver\"") == 0);
    assert_eq!(sensor.sum("roje_alerts_rejected_total", ""), 0);
    // Each trouble was told.
    assert!(trouble.is_empty() || sensor.sum("roje_delivery_errors_total", "output=\"receiver\"") > 0);
    sensor.stop();
}

fn id(alert: &Value) -> String {
    alert["event"]["id"].as_str().expect("an id").to_owned()
}

/// The ids of a file of lines, each of which holds an alert behind something else; a line that is no alert
/// is what a broken connection left.
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let alerts = whole.lines().filter_map(|line| serde_json::from_str(&line[line.find('{')?..]).ok());
    alerts.map(|alert: Value| id(&alert)).collect()
}

fn https(place: &Place) -> Receiver {
    let address = free_tcp();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers/https.py");
    let mut arguments = vec![script.to_owned(), address.port().to_string()];
    arguments.extend(["ca.pem", "receiver.pem", "receiver.key", "received"].map(|name| place.shown(name)));
    Receiver::new(place, address, move || {
        let mut command = Command::new("python3");
        command.args(&arguments);
        command
    })
}

#[test]
fn an_https_server_that_asks_for_a_certificate() {
    let place = Place::new();
    let mut receiver = https(&place);
    let output = format!("to = \"https://{}/alerts\"\n{}", receiver.address, place.identity());
    use Trouble::{Frozen, FrozenToDeath, Killed, Restarted, Slowed};
    let trouble = [Restarted, Killed, Frozen, FrozenToDeath, Slowed];
    deliver_through(&output, &mut receiver, &trouble, || ids(&place.path("received")));
}

#[test]
fn rsyslog_over_tls_with_a_certificate() {
    let place = Place::new();
    let address = free_tcp();
    let at = place.dir.path().display().to_string();
    fs::create_dir(place.path("work")).expect("a folder");
    // Without a queue of its own, what it has read is in its file.
    let config = format!(
        "global(workDirectory=\"{at}/work\" maxMessageSize=\"1m\" defaultNetstreamDriver=\"ossl\" \
         defaultNetstreamDriverCAFile=\"{at}/ca.pem\" defaultNetstreamDriverCertFile=\"{at}/receiver.pem\" \
         defaultNetstreamDriverKeyFile=\"{at}/receiver.key\")\nmain_queue(queue.type=\"Direct\")\n\
         module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" \
         StreamDriver.AuthMode=\"x509/name\" PermittedPeer=[\"sensor.example\"])\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\")\n\
         template(name=\"body\" type=\"string\" string=\"%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{at}/received\" template=\"body\")\n",
        address.port()
    );
    place.write("rsyslog.conf", &config);
    let (config, pid) = (place.path("rsyslog.conf"), place.path("rsyslog.pid"));
    let mut receiver = Receiver::new(&place, address, move || {
        // A kill leaves it behind.
        fs::remove_file(&pid).ok();
        let mut command = Command::new("rsyslogd");
        command.args(["-n", "-x", "-f"]).arg(&config).arg("-i").arg(&pid);
        command
    });
    let output = format!("to = \"syslog+tls://{address}\"\n{}", place.identity());
    use Trouble::{Frozen, FrozenToDeath, Killed, Restarted, Slowed};
    let trouble = [Restarted, Killed, Frozen, FrozenToDeath, Slowed];
    deliver_through(&output, &mut receiver, &trouble, || ids(&place.path("received")));
}

/// syslog-ng as a package, or unpacked by `.ci/run`, because its package conflicts with rsyslog's.
fn syslog_ng() -> Command {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/syslog-ng/usr");
    let program = unpacked.join("sbin/syslog-ng");
    if !program.exists() {
        return Command::new("syslog-ng");
    }
    let libraries = unpacked.join("lib/syslog-ng");
    let mut versions = fs::read_dir(&libraries).expect("the libraries of syslog-ng").flatten();
    // The folder of plug-ins carries the version as its name.
    let plugins = versions.find(|entry| entry.path().is_dir()).expect("the plug-ins of syslog-ng").path();
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", &libraries).arg(format!("--module-path={}", plugins.display()));
    command
}

#[test]
fn syslog_ng_over_tls_with_a_certificate() {
    let place = Place::new();
    let address = free_tcp();
    let at = place.dir.path().display().to_string();
    let config = format!(
        "@version: 3.35\noptions {{ keep-hostname(yes); use-dns(no); stats-freq(0); log-msg-size(1048576); }};\n\
         source s {{ syslog(ip(\"127.0.0.1\") port({}) transport(\"tls\") tls(ca-file(\"{at}/ca.pem\") \
         cert-file(\"{at}/receiver.pem\") key-file(\"{at}/receiver.key\") peer-verify(required-trusted))); }};\n\
         destination d {{ file(\"{at}/received\" template(\"$MSG\\n\")); }};\n\
         log {{ source(s); destination(d); flags(flow-control); }};\n",
        address.port()
    );
    place.write("syslog-ng.conf", &config);
    let dir = place.dir.path().to_owned();
    let mut receiver = Receiver::new(&place, address, move || {
        let mut command = syslog_ng();
        command.args(["--foreground", "--stderr", "--no-caps"]);
        for (option, file) in [("-f", "syslog-ng.conf"), ("-R", "persist"), ("-p", "pid"), ("-c", "control")]
        {
            command.arg(option).arg(dir.join(file));
        }
        command
    });
    let output = format!("to = \"syslog+tls://{address}\"\n{}", place.identity());
    // It reads into its memory first, so that a kill would lose what it has read.
    let trouble = [Trouble::Restarted, Trouble::Frozen, Trouble::Slowed];
    deliver_through(&output, &mut receiver, &trouble, || ids(&place.path("received")));
}

/// Python with what `.ci/run` installed for it.
fn python(script: &str) -> Command {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", format!("{root}/target/python"))
        .arg(format!("{root}/tests/receivers/{script}"));
    command
}

#[test]
fn a_stream_of_nats_with_certificates_and_a_key() {
    // The pair of keys in the documentation of nkeys.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let place = Place::new();
    let address = free_tcp();
    let at = place.dir.path().display().to_string();
    let config = format!(
        "listen: \"{address}\"\njetstream {{ store_dir: \"{at}/js\" }}\n\
         tls {{ cert_file: \"{at}/receiver.pem\", key_file: \"{at}/receiver.key\", ca_file: \"{at}/ca.pem\", verify: true }}\n\
         authorization {{ users: [ {{ nkey: {PUBLIC} }}, {{ user: admin, password: admin }} ] }}\n"
    );
    place.write("nats.conf", &config);
    place.write("seed", SEED);
    let path = place.path("nats.conf");
    let mut receiver = Receiver::new(&place, address, move || {
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(&path);
        command
    });
    let ask = |verb: &str| {
        let mut command = python("jetstream.py");
        command.arg(verb).arg(format!("tls://{address}"));
        command.args(["ca.pem", "sensor.pem", "sensor.key"].map(|name| place.path(name)));
        let output = command.output().expect("python3 runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let (created, _, told) = ask("create");
    assert!(created, "{}", String::from_utf8_lossy(&told));
    let dump = place.path("dump");
    let read = || {
        let (_, text, _) = ask("dump");
        let twice: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(twice.iter().collect::<HashSet<_>>().len(), twice.len(), "each once within the window");
        fs::write(&dump, &text).expect("written");
        ids(&dump)
    };
    let output = format!(
        "to = \"nats://{address}/alerts.soc\"\ntls = true\ncreds_file = \"{}\"\n{}",
        place.shown("seed"),
        place.identity()
    );
    use Trouble::{Frozen, FrozenToDeath, Killed, Restarted, Slowed};
    deliver_through(&output, &mut receiver, &[Restarted, Killed, Frozen, FrozenToDeath, Slowed], read);
}

#[test]
fn a_stream_of_nats_that_is_not_there_yet_and_takes_short_alerts_only() {
    let place = Place::new();
    let address = free_tcp();
    let (store, token) = (place.path("js"), place.path("token"));
    place.write("token", "a-token\n");
    let receiver = Receiver::new(&place, address, move || {
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "--auth", "a-token", "-p", &address.port().to_string()]);
        command.arg("-sd").arg(&store);
        command
    });
    let ask = |verb: &str| {
        let output = python("jetstream.py").arg(verb).arg(format!("nats://a-token@{address}")).output();
        let output = output.expect("python3 runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let outputs = format!(
        "[[output]]\nname = \"stream\"\ntlp = \"red\"\nto = \"nats://{address}/alerts.soc\"\ntoken_file = \"{}\"\n\
         [[constituent]]\nname = \"One\"\nsector = \"water\"\nnetworks = [\"192.0.2.0/25\"]\n\
         [[constituent]]\nname = \"Other\"\nsector = \"water\"\nnetworks = [\"192.0.2.128/25\"]\n",
        token.display()
    );
    let setup = Setup { rules: &[("planted.yaml", RULES)], outputs: Some(&outputs), ..Setup::default() };
    let mut sensor = Sensor::start(setup);
    let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
    stream.write_all(b"<34>1 - host app - - - query of a.evil.example\n").expect("sent");
    sensor.wait("nobody takes it", |sensor| {
        sensor.http("/readyz").is_some_and(|text| text.contains("no stream takes this subject"))
    });
    ask("create:20000");
    let long = format!("<34>1 - host app - - - {} of b.evil.example\n", "x".repeat(30_000));
    stream.write_all(long.as_bytes()).expect("sent");
    // One match that touches two constituents: two alerts of one event.id.
    let two = b"<34>1 - host app - - - SRC=192.0.2.1 DST=192.0.2.129 query of c.evil.example\n";
    stream.write_all(two).expect("sent");
    sensor.wait("all but the long one arrive", |sensor| {
        sensor.sum("roje_alerts_delivered_total", "stream") == 3
            && sensor.sum("roje_alerts_rejected_total", "stream") == 1
    });
    let dump = ask("dump");
    let keys: Vec<&str> = dump.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(keys.len(), 3, "{dump}");
    let (one, other) = (keys[1].split_once('-').expect("a key"), keys[2].split_once('-').expect("a key"));
    assert!(one.0 == other.0 && one.1 != other.1, "{keys:?}");
    let aside =
        fs::read_to_string(sensor.dir.path().join("state/rejected/stream.ndjson")).expect("set aside");
    let aside: Value = serde_json::from_str(&aside).expect("one line");
    assert!(aside["reason"].as_str().is_some_and(|reason| reason.contains("message size")), "{aside:#}");
    assert!(aside["alert"]["message"].as_str().is_some_and(|text| text.contains("b.evil.example")));
    sensor.stop();
    drop(receiver);
}

/// A proxy on this machine that asks for a name and a password, and is out of order at first.
fn proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut client = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                // roje:word
                let known = head.to_ascii_lowercase().contains("proxy-authorization: basic cm9qztp3b3jk");
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
                let (true, Some(target), true) = (known, target, index > 0) else {
                    let _ = client.write_all(b"HTTP/1.1 407 Who is it\r\nContent-Length: 0\r\n\r\n");
                    return;
                };
                let mut server = TcpStream::connect(target).expect("a connection");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
                let (mut from, mut to) =
                    (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut client, &mut server);
            });
        }
    });
    address
}

#[test]
fn by_way_of_a_proxy_that_asks_for_a_name() {
    let place = Place::new();
    let receiver = https(&place);
    let outputs = format!(
        "[[output]]\nname = \"receiver\"\ntlp = \"red\"\nto = \"https://{}/\"\nproxy = \"http://roje:word@{}\"\n{}",
        receiver.address,
        proxy(),
        place.identity()
    );
    let setup = Setup { rules: &[("planted.yaml", RULES)], outputs: Some(&outputs), ..Setup::default() };
    let mut sensor = Sensor::start(setup);
    let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
    stream.write_all(b"<34>1 - host app - - - query of a.evil.example\n").expect("sent");
    sensor.wait("it arrives", |_| ids(&place.path("received")).len() == 1);
    assert!(sensor.sum("roje_delivery_errors_total", "output=\"receiver\"") > 0, "407 was an error");
    assert!(!sensor.log().contains("word"), "{}", sensor.log());
    sensor.stop();
}

#[test]
fn a_broker_of_kafka() {
    let place = Place::new();
    let (address, received) = (place.path("address"), place.path("received"));
    let mut command = python("kafka.py");
    command.arg("alerts").args([&address, &received]);
    let log = fs::File::create(place.path("kafka.log")).expect("a log");
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).spawn();
    let child = child.expect("python3 runs");
    let mut receiver = Receiver {
        child: Some(child),
        command: Box::new(|| unreachable!("its topics are in its memory: it is not restarted")),
        address: free_tcp(),
        log: place.path("kafka.log"),
    };
    let begun = Instant::now();
    while !address.exists() {
        assert!(begun.elapsed() < PATIENCE, "{}", receiver.told());
        sleep(Duration::from_millis(50));
    }
    let brokers = fs::read_to_string(&address).expect("an address");
    let output = format!("to = \"kafka://{brokers}/alerts\"\n");
    deliver_through(&output, &mut receiver, &[Trouble::Frozen, Trouble::Slowed], || {
        merged(&fs::read_to_string(&received).unwrap_or_default())
    });
}

/// What came by several partitions, each of which has an order of its own, put together by the number in
/// each alert's message.
fn merged(text: &str) -> Vec<String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut partitions: std::collections::BTreeMap<String, Vec<(u64, String)>> = Default::default();
    let mut seen = HashSet::new();
    for line in whole.lines() {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let alert: Value = serde_json::from_str(parts[3]).expect("an alert");
        assert_eq!(parts[0], id(&alert), "the key");
        let message = alert["message"].as_str().expect("a message");
        let number = message.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a number");
        if seen.insert(id(&alert)) {
            partitions.entry(parts[2].to_owned()).or_default().push((number, id(&alert)));
        }
    }
    assert!(seen.len() < 100 || partitions.len() > 1, "keys are spread over partitions");
    for (partition, of) in &partitions {
        assert!(of.is_sorted_by_key(|(number, _)| *number), "order in partition {partition}");
    }
    let mut together: Vec<(u64, String)> = partitions.into_values().flatten().collect();
    together.sort();
    together.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn one_dead_output_of_four_holds_up_none() {
    let place = Place::new();
    let receiver = https(&place);
    // One refuses connections, one takes them and never says a word.
    let refusing = free_tcp();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let outputs = |dead: bool| {
        let dead = if dead {
            format!(
                "[[output]]\nname = \"refusing\"\nto = \"syslog+tcp://{refusing}\"\ntlp = \"red\"\n\
                 [[output]]\nname = \"silent\"\nto = \"http://{}/\"\ntlp = \"red\"\n",
                silent.local_addr().expect("an address")
            )
        } else {
            String::new()
        };
        format!(
            "[[output]]\nname = \"file\"\nto = \"file://{{dir}}/alerts.ndjson\"\n\
             [[output]]\nname = \"https\"\nto = \"https://{}/\"\ntlp = \"red\"\n{}{dead}",
            receiver.address,
            place.identity()
        )
    };
    const COUNT: usize = 100;
    for dead in [false, true] {
        fs::write(place.path("received"), "").expect("written");
        let outputs = outputs(dead);
        let setup = Setup { rules: &[("planted.yaml", RULES)], outputs: Some(&outputs), ..Setup::default() };
        let mut sensor = Sensor::start(setup);
        let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
        let mut took = Vec::new();
        for count in 0..COUNT {
            let begun = Instant::now();
            let line = format!("<34>1 - host app - - - query {count} of a{count}.evil.example\n");
            stream.write_all(line.as_bytes()).expect("sent");
            while ids(&place.path("received")).len() <= count {
                assert!(begun.elapsed() < PATIENCE, "{}", sensor.log());
                sleep(Duration::from_millis(1));
            }
            took.push(begun.elapsed());
        }
        took.sort();
        println!(
            "dead outputs: {dead}; median {:?}, 95 of 100 {:?}",
            took[COUNT / 2],
            took[COUNT * 95 / 100]
        );
        sensor.wait("the file has all", |sensor| sensor.alerts().len() == COUNT);
        if dead {
            for output in ["refusing", "silent"] {
                let label = format!("output=\"{output}\"");
                assert_eq!(sensor.sum("roje_alerts_pending", &label), COUNT as u64);
                sensor.wait(output, |sensor| sensor.sum("roje_delivery_errors_total", &label) > 0);
                assert_eq!(sensor.sum("roje_alerts_delivered_total", &label), 0);
            }
            let ready = sensor.http("/readyz").expect("an answer");
            assert!(ready.contains("retrying, 100 pending"), "{ready}");
        }
        drop(stream);
        drop(sensor);
    }
}

#[test]
fn a_certificate_that_is_renewed_is_used_without_a_restart() {
    let place = Place::new();
    let authority = Authority::new("Test authority");
    place.write("ca.pem", &authority.pem());
    for (name, serial, ends) in [("receiver", 1, 2040), ("sensor", 2, 2020)] {
        let signed = authority.sign(&format!("{name}.example"), serial, |params| {
            params.not_before = rcgen::date_time_ymd(2010, 1, 1);
            params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        });
        place.write(&format!("{name}.pem"), &signed.cert);
        place.write(&format!("{name}.key"), &signed.key);
    }
    let receiver = https(&place);
    let outputs = format!(
        "[[output]]\nname = \"receiver\"\ntlp = \"red\"\nto = \"https://{}/\"\n{}",
        receiver.address,
        place.identity()
    );
    let setup = Setup { rules: &[("planted.yaml", RULES)], outputs: Some(&outputs), ..Setup::default() };
    let mut sensor = Sensor::start(setup);
    let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
    stream.write_all(b"<34>1 - host app - - - query of a.evil.example\n").expect("sent");
    sensor
        .wait("it is refused", |sensor| sensor.sum("roje_delivery_errors_total", "output=\"receiver\"") > 1);
    assert!(ids(&place.path("received")).is_empty());
    let signed = authority.sign("sensor.example", 3, |_| ());
    place.write("sensor.key", &signed.key);
    place.write("sensor.pem", &signed.cert);
    sensor.wait("it arrives", |_| ids(&place.path("received")).len() == 1);
    sensor.stop();
}
