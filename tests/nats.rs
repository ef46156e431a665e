//! A JetStream consumer as an input, with a real nats-server: shared by two sensors, one killed, over
//! TLS with client certificates.
#![cfg(feature = "real-tools")]

mod pki;
mod sensor;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use sensor::{Sensor, Setup, free_tcp, read_alerts};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: d, type: domain, value: 'evil[.]example'}
";

/// A nats-server with JetStream.
struct Server {
    address: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(arguments: &[String]) -> Server {
        let dir = tempfile::tempdir().expect("a folder");
        let address = free_tcp();
        let child = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &address.port().to_string(), "-sd"])
            .arg(dir.path())
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server, which .ci/run installs");
        let start = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { address, child, _dir: dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The relay: whoever publishes what it received.
struct Relay {
    runtime: tokio::runtime::Runtime,
    stream: jetstream::Context,
}

impl Relay {
    fn connect(server: &Server, options: async_nats::ConnectOptions) -> Relay {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let stream = runtime.block_on(async {
            let client = options
                .connect(format!("nats://localhost:{}", server.address.port()))
                .await
                .expect("connected");
            let context = jetstream::new(client);
            let config = jetstream::stream::Config {
                name: "logs".to_owned(),
                subjects: vec!["logs.>".to_owned()],
                ..Default::default()
            };
            context.create_stream(config).await.expect("a stream");
            context
        });
        Relay { runtime, stream }
    }

    /// Makes a consumer that gives a message to another sensor soon.
    fn consumer(&self, name: &str) {
        self.runtime.block_on(async {
            let stream = self.stream.get_stream("logs").await.expect("the stream");
            let config = pull::Config {
                durable_name: Some(name.to_owned()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: Duration::from_secs(2),
                ..Default::default()
            };
            stream.create_consumer(config).await.expect("a consumer");
        });
    }

    fn publish(&self, numbers: std::ops::Range<u32>) {
        self.runtime.block_on(async {
            for number in numbers {
                let line = format!("<34>Oct 11 22:14:15 ns1 named[7]: n={number} query: a.evil.example IN A");
                let sent = self.stream.publish("logs.syslog", line.into()).await.expect("published");
                sent.await.expect("stored");
            }
        });
    }

    /// Messages that nobody has acknowledged.
    fn left(&self, consumer: &str) -> u64 {
        self.runtime.block_on(async {
            let stream = self.stream.get_stream("logs").await.expect("the stream");
            let info = stream.consumer_info(consumer).await.expect("the consumer");
            info.num_pending + info.num_ack_pending as u64
        })
    }
}

fn sensor(server: &Server, consumer: &str, more: &str) -> Sensor {
    let input = format!(
        "[[input]]\nname = \"nats\"\nlisten = \"nats://localhost:{}/logs/{consumer}\"\nformat = \"syslog\"\n{more}",
        server.address.port()
    );
    Sensor::start(Setup { rules: &[("planted.yaml", RULES)], config: &input, ..Setup::default() })
}

/// The number of each message and the `event.id` of its alerts.
fn told(path: &Path) -> Vec<(u32, String)> {
    let each = read_alerts(path).into_iter().map(|alert| {
        let original = alert["event"]["original"].as_str().expect("an original").to_owned();
        let number = original.split("n=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a number");
        (number.parse().expect("a number"), alert["event"]["id"].as_str().expect("an id").to_owned())
    });
    each.collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_sensors_share_a_consumer_and_one_takes_over() {
    let server = Server::start(&[]);
    let relay = Relay::connect(&server, async_nats::ConnectOptions::new());
    relay.consumer("roje");
    let (one, mut two) = (sensor(&server, "roje", ""), sensor(&server, "roje", ""));
    let files = [one.dir.path().join("alerts.ndjson"), two.dir.path().join("alerts.ndjson")];
    let mut sent = 0;
    // Whoever asks first gets the first; over a while both do.
    while sent < 400 || files.iter().any(|file| told(file).is_empty()) {
        relay.publish(sent..sent + 40);
        sent += 40;
        assert!(sent < 20_000, "one sensor gets nothing");
        until("they are taken", || relay.left("roje") == 0);
    }
    let numbers =
        |file: &std::path::PathBuf| told(file).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    until("all is delivered", || files.iter().map(|file| told(file).len()).sum::<usize>() >= sent as usize);
    let (first, second): (BTreeSet<u32>, BTreeSet<u32>) =
        (numbers(&files[0]).into_iter().collect(), numbers(&files[1]).into_iter().collect());
    assert_eq!(first.union(&second).copied().collect::<Vec<_>>(), (0..sent).collect::<Vec<_>>());
    assert_eq!(first.intersection(&second).count(), 0, "each message is handled once");
    assert_eq!(one.received("nats") + two.received("nats"), u64::from(sent));
    eprintln!("{sent} messages: {} and {}", first.len(), second.len());

    // One is killed under load; what it had in hand comes to the other.
    let publisher = std::thread::spawn(move || {
        relay.publish(sent..sent + 2000);
        relay
    });
    until("the first is at work", || numbers(&files[0]).iter().any(|number| *number >= sent));
    let mut one = one;
    one.child.kill().expect("killed");
    one.child.wait().expect("ended");
    let relay = publisher.join().expect("published");
    until("the other has taken over", || relay.left("roje") == 0);
    let all = sent + 2000;
    two.wait("it delivers all", |sensor| sensor.sum("roje_alerts_pending", "") == 0);
    // What the killed one had raised and not delivered is in its spool; a start delivers it.
    let dir = std::mem::replace(&mut one.dir, tempfile::tempdir().expect("a folder"));
    drop(one);
    let mut one = Sensor::start_in(dir, Setup::default());
    one.wait("it delivers the rest", |sensor| sensor.sum("roje_alerts_pending", "") == 0);
    let mut ids: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in [one.dir.path().join("alerts.ndjson"), files[1].clone()] {
        told(&file).into_iter().for_each(|(number, id)| {
            ids.entry(number).or_default().insert(id);
        });
    }
    let missing: Vec<u32> = (0..all).filter(|number| !ids.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(ids.values().all(|ids| ids.len() == 1), "a second delivery has the same id");
    one.stop();
    two.stop();
}

#[test]
fn the_number_in_the_stream_is_the_identity_of_a_message() {
    let server = Server::start(&[]);
    let relay = Relay::connect(&server, async_nats::ConnectOptions::new());
    // Consumers of their own, which the sensors make: each message comes to both.
    let (mut one, mut two) = (sensor(&server, "a", ""), sensor(&server, "b", ""));
    relay.publish(0..50);
    // The same line twice is two messages.
    relay.publish(0..50);
    for sensor in [&mut one, &mut two] {
        sensor.wait("all is delivered", |sensor| sensor.alerts().len() == 100);
        sensor.assert_ledger();
    }
    let (first, second) =
        (told(&one.dir.path().join("alerts.ndjson")), told(&two.dir.path().join("alerts.ndjson")));
    assert_eq!(first, second);
    assert_eq!(first.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 100);
    one.stop();
    two.stop();
}

#[test]
fn a_server_that_asks_for_certificates_and_goes_and_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = pki::Authority::new("ca");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let ca = write("ca.pem", &authority.pem());
    let (mine, yours) = (authority.sign("localhost", 1, |_| {}), authority.sign("sensor", 2, |_| {}));
    let (cert, key) = (write("server.pem", &mine.cert), write("server.key", &mine.key));
    let (client, client_key) = (write("client.pem", &yours.cert), write("client.key", &yours.key));
    let text = |path: &std::path::PathBuf| path.display().to_string();
    let tls = [
        "--tls",
        "--tlsverify",
        "--tlscert",
        &text(&cert),
        "--tlskey",
        &text(&key),
        "--tlscacert",
        &text(&ca),
    ]
    .map(str::to_owned);
    let server = Server::start(&tls);
    let options = async_nats::ConnectOptions::new()
        .add_root_certificates(ca.clone())
        .add_client_certificate(client.clone(), client_key.clone())
        .require_tls(true);
    let relay = Relay::connect(&server, options);
    let keys = format!(
        "ca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        text(&ca),
        text(&client),
        text(&client_key)
    );
    let mut trusted = sensor(&server, "roje", &keys);
    let mut stranger = sensor(&server, "other", &format!("ca_file = \"{}\"\n", text(&ca)));
    relay.publish(0..20);
    trusted.wait("all is delivered", |sensor| sensor.alerts().len() == 20);
    stranger.wait("it is refused and tries again", |sensor| sensor.log().contains("trying again"));
    assert_eq!(stranger.received("nats"), 0);

    // Stopped for a while: what comes then is read afterwards.
    let signal = |name: &str| {
        let status = Command::new("kill").args([name, &server.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    };
    signal("-STOP");
    std::thread::sleep(Duration::from_secs(1));
    signal("-CONT");
    relay.publish(20..40);
    trusted.wait("the rest is delivered", |sensor| sensor.alerts().len() == 40);
    trusted.stop();
    stranger.stop();
}
