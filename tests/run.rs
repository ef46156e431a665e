//! `roje run` as operators meet it: real sockets, real signals, real files.

mod sensor;

use sensor::{Sensor, Setup, free_tcp, read_alerts};
use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: a, type: ip, value: 198.51.100.7}
  - {id: n, type: ip, value: 203.0.113.0/24}
  - {id: six, type: ip, value: '2001:db8:bad::/48'}
  - {id: d, type: domain, value: 'evil[.]example'}
  - {id: u, type: url, value: 'hxxp://drop.example/Payload.bin?x=1'}
  - {id: m, type: email, value: 'phish@lure.example'}
  - {id: h5, type: md5, value: 9e107d9d372bb6826bd81d3542a419d6}
  - {id: h1, type: sha1, value: 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12}
  - {id: h256, type: sha256, value: d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592}
  - {id: h512, type: sha512, value: 07e547d9586f6a73f73fbac0435ed76951218fb7d0c8d788a309d785436bbb642e93a252a954f23912547d1e8a3b5ed6e1bfd7097821233fa0538f3db854fee6}
  - {id: t, type: text, value: 'disable_defender.exe'}
";

/// One line for each indicator of [`RULES`].
const PLANTED: [&str; 11] = [
    "<134>Oct 11 22:14:15 fw1 kernel: DROP SRC=10.0.0.5 DST=198.51.100.7 PROTO=TCP SPT=4242 DPT=443",
    "<134>Oct 11 22:14:15 fw1 kernel: DROP SRC=203.0.113.77 DST=10.0.0.5 PROTO=TCP",
    "<134>1 2026-10-11T22:14:15Z fw2 - - - - connection to [2001:DB8:BAD::1]:443 refused",
    "<34>Oct 11 22:14:15 ns1 named[7]: query: a.EVIL.example IN A",
    "<34>Oct 11 22:14:15 proxy squid: GET http://Drop.Example:80/Payload.bin?x=1 200",
    "<22>Oct 11 22:14:15 mx postfix/smtp[9]: from=<Phish@lure.example>, size=12",
    "<13>1 2026-10-11T22:14:15Z edr - - - - md5=9E107D9D372BB6826BD81D3542A419D6",
    "<13>1 2026-10-11T22:14:15Z edr - - - - {\"sha1\":\"2fd4e1c67a2d28fced849ee1bb76e7391b93eb12\"}",
    "<13>1 2026-10-11T22:14:15Z edr - - - - hash d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592 seen",
    "<13>1 2026-10-11T22:14:15Z edr - - - - 07e547d9586f6a73f73fbac0435ed76951218fb7d0c8d788a309d785436bbb642e93a252a954f23912547d1e8a3b5ed6e1bfd7097821233fa0538f3db854fee6",
    "<13>Oct 11 22:14:15 pc7 Security: New process C:\\Windows\\Temp\\Disable_Defender.exe",
];

/// Lines that look alike and must not match.
const CLEAN: [&str; 6] = [
    "<134>Oct 11 22:14:15 fw1 kernel: DROP SRC=10.0.0.5 DST=198.51.100.70 PROTO=TCP",
    "<34>Oct 11 22:14:15 ns1 named[7]: query: notevil.example IN A",
    "<34>Oct 11 22:14:15 proxy squid: GET http://drop.example/payload.bin?x=1 200",
    "<22>Oct 11 22:14:15 mx postfix/smtp[9]: from=<notphish@lure.example.org>, size=12",
    "<13>1 2026-10-11T22:14:15Z edr - - - - md5=9e107d9d372bb6826bd81d3542a419d60",
    "<13>Oct 11 22:14:15 pc7 Security: undisable_defender.exe ran",
];

fn planted() -> Setup<'static> {
    Setup { rules: &[("planted.yaml", RULES)], ..Setup::default() }
}

#[test]
fn every_planted_indicator_raises_one_alert_on_udp_and_tcp() {
    let mut sensor = Sensor::start(planted());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut tcp = TcpStream::connect(sensor.tcp).expect("a connection");
    for line in PLANTED.iter().chain(&CLEAN) {
        udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
        writeln!(tcp, "{line}").expect("sent");
    }
    drop(tcp);
    let lines = (PLANTED.len() + CLEAN.len()) as u64;
    sensor
        .wait("all is received", |sensor| sensor.received("udp") == lines && sensor.received("tcp") == lines);
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == 2 * PLANTED.len());
    sensor.assert_ledger();
    let ids: Vec<String> = sensor
        .alerts()
        .iter()
        .map(|alert| alert["rule"]["id"].as_str().expect("an id").to_string())
        .collect();
    for id in ["a", "n", "six", "d", "u", "m", "h5", "h1", "h256", "h512", "t"] {
        assert_eq!(ids.iter().filter(|found| *found == id).count(), 2, "{id} in {ids:?}");
    }
    sensor.stop();
}

#[test]
fn octet_counting_and_newlines_mix_on_one_connection() {
    let mut sensor = Sensor::start(planted());
    let mut tcp = TcpStream::connect(sensor.tcp).expect("a connection");
    for (number, line) in PLANTED.iter().enumerate() {
        match number % 3 {
            0 => write!(tcp, "{} {line}", line.len()).expect("sent"),
            1 => writeln!(tcp, "{line}").expect("sent"),
            _ => write!(tcp, "{line}\0").expect("sent"),
        }
    }
    drop(tcp);
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == PLANTED.len());
    assert_eq!(sensor.received("tcp"), PLANTED.len() as u64);
    sensor.assert_ledger();
    sensor.stop();
}

#[test]
fn a_termination_under_load_closes_the_ledger_within_ten_seconds() {
    let mut sensor = Sensor::start(planted());
    let target = sensor.udp;
    let sender = std::thread::spawn(move || {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(6) {
            for line in PLANTED.iter().chain(&CLEAN) {
                // Refused once the sensor has gone.
                udp.send_to(line.as_bytes(), target).ok();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    sensor.wait("traffic flows", |sensor| sensor.received("udp") > 1000);
    let start = Instant::now();
    let dir = sensor.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    sender.join().expect("the sender ends");
    // The last words of the sensor are its totals.
    let log = fs::read_to_string(dir.path().join("stderr.log")).expect("a log");
    let totals = log
        .lines()
        .rev()
        .find(|line| line.contains("received="))
        .unwrap_or_else(|| panic!("totals in {log}"));
    let value = |key: &str| -> u64 {
        let rest = totals.split(&format!("{key}=")).nth(1).unwrap_or_else(|| panic!("{key} in {totals}"));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
    };
    assert!(value("received") > 1000);
    assert_eq!(value("received"), value("decoded") + value("undecodable") + value("dropped"));
    let counted: u64 = read_alerts(&dir.path().join("alerts.ndjson"))
        .iter()
        .map(|alert| alert["roje"]["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(value("matches"), counted + value("suppressed"));
}

#[test]
fn a_rule_file_edited_under_traffic_takes_effect_and_a_broken_one_changes_nothing() {
    let mut sensor = Sensor::start(planted());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |line: &str| udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
    send("<13>Oct 11 22:14:15 h app: new.example.net");
    let path = sensor.rules().join("planted.yaml");
    let extended = format!("{RULES}  - {{id: new, type: domain, value: new.example.net}}\n");
    fs::write(&path, &extended).expect("written");
    let start = Instant::now();
    let mut sent = 1;
    let target = sensor.udp;
    while sensor.alerts().is_empty() {
        udp.send_to(b"<13>Oct 11 22:14:15 h app: new.example.net", target).expect("sent");
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(30), "{}", sensor.log());
    }
    sensor.wait("all is received", |sensor| sensor.received("udp") == sent);

    fs::write(&path, extended.replace("type: sha1", "typ: sha1")).expect("written");
    sensor.wait("the set is stale", |sensor| {
        sensor.http("/readyz").is_some_and(|text| text.contains("\"set\":\"planted\""))
    });
    assert_eq!(sensor.sum("roje_ruleset_stale", "planted"), 1);
    assert!(sensor.log().contains("planted.yaml:13:"), "{}", sensor.log());
    let before = sensor.alerts().len();
    udp.send_to(b"<13>Oct 11 22:14:15 h app: new.example.net", target).expect("sent");
    sensor.wait("the last good version still acts", |sensor| sensor.alerts().len() == before + 1);

    fs::write(&path, RULES).expect("written");
    sensor.wait("the mended set is in force", |sensor| sensor.sum("roje_ruleset_stale", "planted") == 0);
    sensor.assert_ledger();
    sensor.stop();
}

#[test]
fn senders_outside_allow_are_dropped_and_counted() {
    let mut sensor = Sensor::start(Setup {
        config: "[[input]]\nname = \"strict\"\nlisten = \"udp://127.0.0.1:0\"\nformat = \"syslog\"\nallow = [\"10.0.0.0/8\"]\n",
        ..planted()
    });
    // The port was chosen by the kernel; the log tells it.
    sensor.wait("the port is known", |sensor| sensor.log().contains("strict"));
    let log = sensor.log();
    let line = log.lines().find(|line| line.contains("strict") && line.contains("udp://")).expect("a line");
    let port: u16 = line
        .rsplit("127.0.0.1:")
        .next()
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("a port in {line}"));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.send_to(PLANTED[0].as_bytes(), ("127.0.0.1", port)).expect("sent");
    sensor.wait("it is dropped", |sensor| sensor.sum("roje_input_dropped_total", "denied") == 1);
    assert_eq!(sensor.received("strict"), 1);
    assert!(sensor.alerts().is_empty());
    sensor.stop();
}

#[test]
fn an_unread_standard_output_and_a_full_disk_do_not_stop_input() {
    let mut sensor = Sensor::start(Setup {
        outputs: Some(
            "[[output]]\nname = \"unread\"\nto = \"stdout:\"\n[[output]]\nname = \"full\"\nto = \"file:///dev/full\"\n\
             [[output]]\nname = \"file\"\nto = \"file://{dir}/alerts.ndjson\"\n",
        ),
        stdout: Some(Stdio::piped()),
        ..planted()
    });
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..20 {
        for line in PLANTED {
            udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = 20 * PLANTED.len();
    sensor.wait("the healthy output has all", |sensor| sensor.alerts().len() == sent);
    sensor.wait("the full disk is counted", |sensor| sensor.sum("roje_delivery_errors_total", "full") > 0);
    assert_eq!(sensor.sum("roje_alerts_pending", "full"), sent as u64);
    assert_eq!(sensor.received("udp"), sent as u64);
    assert!(sensor.http("/readyz").is_some_and(|text| text.contains("\"output\":\"full\"")));
    sensor.stop();
}

#[test]
fn what_was_raised_survives_a_kill_and_is_delivered_after_the_restart() {
    let outputs = "[[output]]\nname = \"later\"\nto = \"file://{dir}/missing/alerts.ndjson\"\n";
    let mut sensor = Sensor::start(Setup { outputs: Some(outputs), ..planted() });
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for line in PLANTED {
        udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
    }
    sensor
        .wait("the alerts are raised", |sensor| sensor.sum("roje_alerts_total", "") == PLANTED.len() as u64);
    sensor.child.kill().expect("killed");
    sensor.child.wait().expect("ended");
    let dir = std::mem::replace(&mut sensor.dir, tempfile::tempdir().expect("a folder"));
    drop(sensor);

    fs::create_dir(dir.path().join("missing")).expect("a folder");
    let mut sensor = Sensor::start_in(dir, Setup { outputs: Some(outputs), ..planted() });
    let path = sensor.dir.path().join("missing/alerts.ndjson");
    sensor.wait("they are delivered", |_| read_alerts(&path).len() == PLANTED.len());
    sensor.stop();
}

#[test]
fn stopped_and_continued_nothing_disappears_uncounted() {
    let mut sensor = Sensor::start(planted());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut sent = 0;
    let send = |count: u64| {
        for number in 0..count {
            let line = CLEAN[number as usize % CLEAN.len()];
            udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
            if number % 64 == 0 {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        count
    };
    sent += send(5_000);
    sensor.signal("STOP");
    sent += send(200_000);
    sensor.signal("CONT");
    sent += send(5_000);
    sensor.wait("sent = received + kernel drops", |sensor| {
        sensor.received("udp") + sensor.sum("roje_input_kernel_dropped_total", "udp") == sent
    });
    sensor.assert_ledger();
    sensor.stop();
}

#[test]
fn a_flood_with_planted_hits_does_not_hide_another_source() {
    let rules = RULES.replace("throttle: none", "throttle: {by: [indicator, source], window: 1h}");
    let mut sensor = Sensor::start(Setup { rules: &[("planted.yaml", rules.as_str())], ..Setup::default() });
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let ministry = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    // Every line matches, every line claims to come from another host.
    let mut sent: u64 = 0;
    for number in 0..60_000u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let line =
            format!("<134>Oct 11 22:14:15 spoof-{a}-{b}-{c} kernel: SRC=10.{a}.{b}.{c} DST=198.51.100.7");
        udp.send_to(line.as_bytes(), sensor.udp).expect("sent");
        sent += 1;
        if number == 40_000 {
            ministry
                .send_to(b"<34>Oct 11 22:14:15 ministry named: query: evil.example IN A", sensor.udp)
                .expect("sent");
            sent += 1;
        }
        if number % 32 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    sensor.wait("all is accounted for", |sensor| {
        sensor.received("udp") + sensor.sum("roje_input_kernel_dropped_total", "udp") == sent
    });
    sensor.wait("the other source's alert arrives", |sensor| {
        sensor.alerts().iter().any(|alert| alert["host"]["name"] == "ministry")
    });
    let matches = sensor.sum("roje_matches_total", "");
    let resident = sensor.samples()["process_resident_memory_bytes"];
    assert!(resident < 512.0 * 1024.0 * 1024.0, "{resident}");
    assert!(matches > 0);
    let dir = sensor.stop();
    let counted: u64 = read_alerts(&dir.path().join("alerts.ndjson"))
        .iter()
        .map(|alert| alert["roje"]["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(counted, matches, "the totals stay exact");
}

#[test]
fn four_thousand_idle_connections_cost_little() {
    let listen = free_tcp();
    let config = format!(
        "[[input]]\nname = \"idle\"\nlisten = \"tcp://{listen}\"\nformat = \"syslog\"\n\
         max_connections_per_address = 4096\n"
    );
    let mut sensor = Sensor::start(Setup { config: &config, ..planted() });
    let resident = |sensor: &Sensor| sensor.samples()["process_resident_memory_bytes"];
    let before = resident(&sensor);
    // Each side of a connection is a descriptor; a default limit of 1024 does not allow the test.
    let limit = Command::new("sh").args(["-c", "ulimit -n"]).output().expect("sh runs");
    let limit = String::from_utf8_lossy(&limit.stdout).trim().parse().unwrap_or(u64::MAX);
    let connections = 4096.min(limit.saturating_sub(200));
    let held: Vec<TcpStream> =
        (0..connections).map(|_| TcpStream::connect(listen).expect("a connection")).collect();
    sensor.wait("all are open", |sensor| sensor.sum("roje_input_connections", "idle") == connections);
    let added = resident(&sensor) - before;
    assert!(added < 64.0 * 1024.0 * 1024.0, "{connections} idle connections add {added} bytes");
    drop(held);
    sensor.wait("all are closed", |sensor| sensor.sum("roje_input_connections", "idle") == 0);
    sensor.stop();
}

#[test]
fn an_oversize_message_keeps_its_head_and_the_connection() {
    let mut sensor = Sensor::start(planted());
    let mut tcp = TcpStream::connect(sensor.tcp).expect("a connection");
    let long = format!("<13>Oct 11 22:14:15 h app: evil.example {}\n", "x".repeat(200_000));
    tcp.write_all(long.as_bytes()).expect("sent");
    writeln!(tcp, "{}", PLANTED[0]).expect("sent");
    sensor.wait("both are received", |sensor| sensor.received("tcp") == 2);
    sensor.wait("both alert", |sensor| sensor.alerts().len() == 2);
    assert_eq!(sensor.sum("roje_input_truncated_total", "tcp"), 1);
    sensor.assert_ledger();
    sensor.stop();
}

/// A message of IPFIX: sequence and sets, each its id and its content.
fn ipfix(sequence: u32, sets: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, content) in sets {
        body.extend(id.to_be_bytes());
        body.extend((4 + content.len() as u16).to_be_bytes());
        body.extend(*content);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let mut message = vec![0, 10];
    message.extend((16 + body.len() as u16).to_be_bytes());
    message.extend((now.as_secs() as u32).to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend([0, 0, 0, 1]);
    message.extend(body);
    message
}

/// Template 256: source, destination, who exported it, what a firewall did.
#[rustfmt::skip]
const TEMPLATE: (u16, &[u8]) =
    (2, &[1, 0, 0, 4, 0, 8, 0, 4, 0, 12, 0, 4, 0, 130, 0, 4, 0, 233, 0, 1]);
/// A connection to 198.51.100.7 that ended, behind the relay.
const ENDED: (u16, &[u8]) = (256, &[10, 0, 0, 5, 198, 51, 100, 7, 192, 0, 2, 99, 2]);
/// One that was refused.
const REFUSED: (u16, &[u8]) = (256, &[10, 0, 0, 5, 198, 51, 100, 7, 192, 0, 2, 99, 3]);

#[test]
fn ipfix_over_tcp_keeps_templates_for_each_connection() {
    let listen = free_tcp();
    let config = format!(
        "[[input]]\nname = \"ipfix\"\nlisten = \"tcp://{listen}\"\nformat = \"flow\"\nmax_connections = 2\n"
    );
    let mut sensor = Sensor::start(Setup { config: &config, ..planted() });
    let mut first = TcpStream::connect(listen).expect("a connection");
    let mut second = TcpStream::connect(listen).expect("a connection");
    sensor.wait("both are open", |sensor| sensor.sum("roje_input_connections", "ipfix") == 2);
    // In pieces, and two messages in one.
    let both = [ipfix(0, &[TEMPLATE]), ipfix(0, &[ENDED])].concat();
    for piece in both.chunks(11) {
        first.write_all(piece).expect("sent");
        first.flush().expect("sent");
        std::thread::sleep(Duration::from_millis(2));
    }
    sensor.wait("the alert is delivered", |sensor| sensor.alerts().len() == 1);
    second.write_all(&ipfix(0, &[ENDED])).expect("sent");
    sensor.wait("the other's template does not serve", |sensor| {
        sensor.sum("roje_flow_missing_template_total", "ipfix") == 1
    });
    // A third is one too many.
    let third = TcpStream::connect(listen).expect("a connection");
    sensor.wait("it is refused", |sensor| {
        sensor.sum("roje_input_connections_closed_total", "input=\"ipfix\",reason=\"limit\"") == 1
    });
    drop(third);
    // What is no IPFIX ends the connection, counted and matched like any other.
    first.write_all(b"\x00\x09 198.51.100.7 ").expect("sent");
    sensor.wait("the connection is closed", |sensor| {
        sensor.sum("roje_input_connections_closed_total", "input=\"ipfix\",reason=\"unframed\"") == 1
            && sensor.sum("roje_input_connections", "ipfix") == 1
    });
    sensor.wait("its template is gone with it", |sensor| sensor.sum("roje_flow_templates", "ipfix") == 0);
    second.write_all(&ipfix(1, &[TEMPLATE])).expect("sent");
    sensor.wait("the set that came first is read", |sensor| {
        sensor.sum("roje_flow_replayed_records_total", "ipfix") == 1
    });
    let label = "input=\"ipfix\"";
    let counted = sensor.sum("roje_decoded_total", label) + sensor.sum("roje_decode_errors_total", label);
    assert_eq!((sensor.received("ipfix"), counted), (5, 5), "{:#?}", sensor.samples());
    sensor.wait("every match is told", |sensor| sensor.counted() == 3);
    sensor.stop();
}

/// What an exporter tells of itself, and what of it was lost, stands in what `roje sources` prints.
#[test]
fn sources_show_what_exporters_lost() {
    let sensor = Sensor::start(planted());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |sequence: u32, uptime: u32| {
        let mut datagram = vec![0, 5, 0, 1];
        datagram.extend(uptime.to_be_bytes());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        datagram.extend((now.as_secs() as u32).to_be_bytes());
        datagram.extend([0; 4]);
        datagram.extend(sequence.to_be_bytes());
        // Engine, sampling one in 100, and a record.
        datagram.extend([0, 0, 0x40, 100]);
        datagram.extend([0; 48]);
        socket.send_to(&datagram, sensor.flow).expect("sent");
    };
    // Three are missing, of which one comes late; then the exporter starts anew.
    for (sequence, uptime) in [(10, 9_000_000), (14, 9_000_001), (12, 9_000_002), (0, 1), (1, 2)] {
        send(sequence, uptime);
    }
    let exporter = || {
        let answer = sensor.http("/sources").expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let report: serde_json::Value = serde_json::from_str(body).expect("JSON");
        report["sources"].as_array().and_then(|all| all.first()).cloned().unwrap_or_default()
    };
    // Exporters are told every few seconds, while something comes.
    let start = Instant::now();
    for sequence in 2.. {
        let one = exporter();
        if one["exporter"]["restarts"] == 1 {
            assert_eq!((&one["lost"], &one["late"]), (&2.into(), &1.into()), "{one:#}");
            assert_eq!(one["exporter"]["sampling_rate"], 100, "{one:#}");
            assert_eq!((&one["exporter"]["domains"], &one["exporter"]["untrusted"]), (&1.into(), &0.into()));
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{one:#}");
        std::thread::sleep(Duration::from_millis(200));
        send(sequence, sequence);
    }
    sensor.stop();
}

#[test]
fn templates_outlive_a_restart_and_a_relay_names_its_exporters() {
    let config =
        "[[source]]\nname = \"relay\"\nnetworks = [\"127.0.0.0/8\"]\nrelay = true\nsampling_rate = 512\n";
    let setup = || Setup { config, ..planted() };
    let mut sensor = Sensor::start(setup());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.send_to(&ipfix(0, &[TEMPLATE]), sensor.flow).expect("sent");
    sensor.wait("the template is known", |sensor| sensor.sum("roje_flow_templates", "flow") == 1);
    let dir = sensor.stop();
    let mut sensor = Sensor::start_in(dir, setup());
    socket.send_to(&ipfix(0, &[ENDED, REFUSED]), sensor.flow).expect("sent");
    sensor.wait("the alerts are delivered", |sensor| sensor.alerts().len() == 2);
    assert_eq!(sensor.sum("roje_flow_templates_restored", "flow"), 1);
    let alerts = sensor.alerts();
    for (alert, action, severity) in [(&alerts[0], "flow_deleted", 73), (&alerts[1], "flow_denied", 47)] {
        assert_eq!(alert["observer"]["ip"], "192.0.2.99", "{alert:#}");
        let sender = alert["log"]["source"]["address"].as_str().expect("a sender");
        assert!(sender.starts_with("127.0.0.1:"), "{alert:#}");
        assert_eq!(alert["flow"]["sampling_rate"], 512, "{alert:#}");
        assert_eq!(alert["flow"]["templateRestored"], true, "{alert:#}");
        assert_eq!(
            (&alert["event"]["action"], &alert["event"]["severity"]),
            (&action.into(), &severity.into())
        );
    }
    sensor.assert_ledger();
    sensor.stop();
}
