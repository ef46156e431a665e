//! The whole path at the rate of a national sensor: a million syslog messages at 50,000/s and
//! 200,000 flow records, a known number of planted indicators of every type among them.
//!
//! Counts are asserted, times are printed: `cargo test --release --features real-tools --test load
//! -- --nocapture`.
#![cfg(feature = "real-tools")]

mod sensor;

use roje::input::send::{Framing, Sender, Summary};
use sensor::{Sensor, Setup};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: ip, type: ip, value: 198.51.100.7}
  - {id: prefix, type: ip, value: 203.0.113.0/24}
  - {id: six, type: ip, value: '2001:db8:bad::/48'}
  - {id: c2, type: ip, value: 192.0.2.99, where: [destination], port: [443]}
  - {id: domain, type: domain, value: 'evil[.]example'}
  - {id: url, type: url, value: 'hxxp://drop.example/Payload.bin?x=1'}
  - {id: email, type: email, value: 'phish@lure.example'}
  - {id: md5, type: md5, value: 9e107d9d372bb6826bd81d3542a419d6}
  - {id: sha1, type: sha1, value: 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12}
  - {id: sha256, type: sha256, value: d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592}
  - {id: sha512, type: sha512, value: 07e547d9586f6a73f73fbac0435ed76951218fb7d0c8d788a309d785436bbb642e93a252a954f23912547d1e8a3b5ed6e1bfd7097821233fa0538f3db854fee6}
  - {id: text, type: text, value: 'disable_defender.exe'}
";

/// One line for each indicator that syslog can hold; `HOST` is replaced.
const PLANTED: [(&str, &str); 11] = [
    ("ip", "<134>Oct 11 22:14:15 HOST kernel: DROP SRC=10.0.0.5 DST=198.51.100.7 PROTO=TCP SPT=4242 DPT=443"),
    ("prefix", "<134>Oct 11 22:14:15 HOST kernel: DROP SRC=203.0.113.77 DST=10.0.0.5 PROTO=TCP"),
    ("six", "<134>1 2026-10-11T22:14:15Z HOST - - - - connection to [2001:DB8:BAD::1]:443 refused"),
    ("domain", "<34>Oct 11 22:14:15 HOST named[7]: query: a.EVIL.example IN A"),
    ("url", "<34>Oct 11 22:14:15 HOST squid: GET http://Drop.Example:80/Payload.bin?x=1 200"),
    ("email", "<22>Oct 11 22:14:15 HOST postfix/smtp[9]: from=<Phish@lure.example>, size=12"),
    ("md5", "<13>1 2026-10-11T22:14:15Z HOST - - - - md5=9E107D9D372BB6826BD81D3542A419D6"),
    (
        "sha1",
        "<13>1 2026-10-11T22:14:15Z HOST - - - - {\"sha1\":\"2fd4e1c67a2d28fced849ee1bb76e7391b93eb12\"}",
    ),
    (
        "sha256",
        "<13>1 2026-10-11T22:14:15Z HOST - - - - hash d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592 seen",
    ),
    (
        "sha512",
        "<13>1 2026-10-11T22:14:15Z HOST - - - - 07e547d9586f6a73f73fbac0435ed76951218fb7d0c8d788a309d785436bbb642e93a252a954f23912547d1e8a3b5ed6e1bfd7097821233fa0538f3db854fee6",
    ),
    ("text", "<13>Oct 11 22:14:15 HOST Security: New process C:\\Windows\\Temp\\Disable_Defender.exe"),
];

/// What surrounds them: the traffic of every day, with values that are almost the planted ones.
const CLEAN: [&str; 12] = [
    "<134>Oct 11 22:14:15 fw1 kernel: DROP IN=eth0 OUT= SRC=10.0.0.5 DST=198.51.100.70 PROTO=TCP SPT=4242 DPT=443",
    "<34>Oct 11 22:14:15 ns1 named[7]: client 192.0.2.44#5353: query: notevil.example IN A",
    "<34>Oct 11 22:14:15 proxy squid: GET http://drop.example/payload.bin?x=1 200",
    "<22>Oct 11 22:14:15 mx postfix/smtp[9]: from=<notphish@lure.example.org>, size=12",
    "<13>1 2026-10-11T22:14:15Z edr - - - - md5=9e107d9d372bb6826bd81d3542a419d60",
    "<13>Oct 11 22:14:15 pc7 Security: undisable_defender.exe ran",
    "<38>Oct 11 22:14:15 web3 sshd[2211]: Failed password for invalid user admin from 192.0.2.14 port 53122 ssh2",
    "<165>1 2026-10-11T22:14:15.003Z app7.gov.example billing 8710 ID47 [ex@32473 iut=\"3\" src=\"a\\\"b\"] invoice 4711 sent",
    "<189>date=2026-10-11 time=22:14:15 devname=\"FGT\" srcip=10.1.1.1 dstip=2001:db8::5 hostname=\"cdn.example.net\" action=\"accept\"",
    "<134>Oct 11 22:14:15 ids CEF:0|Vendor|Product|1.0|100|worm \\| stopped|10|src=10.0.0.1 dst=2.1.2.2 spt=1232 request=https://a.example/x",
    "<30>Oct 11 22:14:15 proxy squid[1]: 1665526455.1 10 10.1.1.1 TCP_MISS/200 GET https://www.example.org:443/a%2Fb?c=d - DIRECT/93.184.216.34",
    "no header at all: 2001:db8:bae::1 t.co 1.2.3 aa:bb:cc:dd:ee:ff",
];

/// Messages of each transport; together they are the million.
const MESSAGES: u64 = 500_000;

/// Messages a second of each transport; together 50,000.
const RATE: u64 = 25_000;

/// One message in so many is planted.
const EVERY: u64 = 1_000;

/// Sends [`MESSAGES`] to one listener.
fn send_syslog(transport: &str, target: SocketAddr) -> Summary {
    let to = format!("{transport}://{target}").parse().expect("an address");
    let planted: Vec<String> =
        PLANTED.iter().map(|(_, line)| line.replace("HOST", &format!("{transport}-host"))).collect();
    let mut sender = Sender::connect(&to, Framing::OctetCounting, RATE).expect("connected");
    let mut bad = planted.iter().cycle();
    let mut clean = CLEAN.iter().cycle();
    for number in 0..MESSAGES {
        let line =
            if number % EVERY == EVERY / 2 { bad.next().map(String::as_str) } else { clean.next().copied() };
        sender.push(line.expect("an endless cycle").as_bytes()).expect("sent");
    }
    sender.finish().expect("sent")
}

/// How often each indicator is planted in [`MESSAGES`].
fn planted_syslog() -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for (id, _) in PLANTED.iter().cycle().take((MESSAGES / EVERY) as usize) {
        *counts.entry(*id).or_default() += 1;
    }
    counts
}

/// Alerts by indicator, of those that `of` accepts.
fn by_indicator(alerts: &[Value], of: impl Fn(&Value) -> bool) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| of(alert)) {
        assert_eq!(alert["roje"]["count"], 1, "unthrottled: {alert:#}");
        *counts.entry(alert["rule"]["id"].as_str().expect("an id").to_string()).or_default() += 1;
    }
    counts
}

/// Asserts that what was planted raised its alerts: all of it, but for datagrams that the kernel
/// dropped, each of which held one planted value at most.
fn assert_planted(what: &str, planted: &BTreeMap<&str, u64>, found: &BTreeMap<String, u64>, dropped: u64) {
    let mut missing = 0;
    for (id, count) in found {
        let most = planted.get(id.as_str()).copied().unwrap_or(0);
        assert!(*count <= most, "{what}: {count} alerts for {id}, {most} planted");
    }
    for (id, count) in planted {
        missing += count - found.get(*id).copied().unwrap_or(0);
    }
    assert!(
        missing <= dropped,
        "{what}: {missing} alerts are missing, the kernel dropped {dropped}: {found:?}"
    );
    eprintln!(
        "{what}: {} planted, {missing} missing, {dropped} dropped by the kernel",
        planted.values().sum::<u64>()
    );
}

/// CPU seconds that the sensor has used.
fn cpu(sensor: &Sensor) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", sensor.child.id())).expect("a process");
    // Fields count from the state, behind the name in parentheses: utime and stime are 12th and 13th.
    let rest = stat.rsplit_once(')').expect("a name").1;
    let ticks: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    // USER_HZ is 100 on every architecture of Linux that runs Rust.
    ticks.iter().sum::<f64>() / 100.0
}

fn report(what: &str, count: u64, cpu: f64, elapsed: Duration) {
    let rate = count as f64 / elapsed.as_secs_f64();
    eprintln!(
        "{what}: {count} in {elapsed:.2?} ({rate:.0}/s), {:.2} CPU s per million",
        cpu * 1e6 / count as f64
    );
}

#[test]
fn a_million_messages_at_fifty_thousand_a_second() {
    let mut sensor = Sensor::start(Setup { rules: &[("planted.yaml", RULES)], ..Setup::default() });
    let (udp, tcp) = (sensor.udp, sensor.tcp);
    let (before, start) = (cpu(&sensor), Instant::now());
    let senders = [
        std::thread::spawn(move || send_syslog("udp", udp)),
        std::thread::spawn(move || send_syslog("tcp", tcp)),
    ];
    for sender in senders {
        let summary = sender.join().expect("a sender");
        assert_eq!((summary.sent, summary.errors), (MESSAGES, 0), "{summary:?}");
    }
    let elapsed = start.elapsed();
    sensor.wait("sent = received + kernel drops", |sensor| {
        sensor.received("udp") + sensor.sum("roje_input_kernel_dropped_total", "udp") == MESSAGES
            && sensor.received("tcp") == MESSAGES
    });
    let used = cpu(&sensor) - before;
    report("syslog over UDP and TCP", 2 * MESSAGES, used, elapsed);
    sensor.assert_ledger();
    let matches = sensor.sum("roje_matches_total", "");
    sensor.wait("every match is an alert", |sensor| sensor.alerts().len() as u64 == matches);
    let dropped = sensor.sum("roje_input_kernel_dropped_total", "udp");
    let alerts = sensor.alerts();
    let planted = planted_syslog();
    assert_planted("TCP", &planted, &by_indicator(&alerts, |alert| alert["host"]["name"] == "tcp-host"), 0);
    assert_planted(
        "UDP",
        &planted,
        &by_indicator(&alerts, |alert| alert["host"]["name"] == "udp-host"),
        dropped,
    );
    let strange = alerts
        .iter()
        .find(|alert| !["tcp-host", "udp-host"].contains(&alert["host"]["name"].as_str().unwrap_or("")));
    assert!(strange.is_none(), "a false alert: {strange:#?}");
    sensor.stop();
}

/// Flow records of the three protocols.
const V5: (u32, u32) = (2_000, 30);
const V9: (u32, u32) = (2_500, 28);
const IPFIX: (u32, u32) = (2_500, 28);

/// Datagrams a second: about 28,000 records.
const FLOW_RATE: u64 = 1_000;

/// One datagram in so many holds a planted record.
const FLOW_EVERY: u32 = 10;

/// The endpoints of a record: source, its port, destination, its port.
type Ends = (Ipv4Addr, u16, Ipv4Addr, u16);

/// Which indicator a datagram holds, and the record that holds it; the last two are near misses.
fn planted_record(datagram: u32) -> Option<(Option<&'static str>, Ends)> {
    let inside = Ipv4Addr::new(10, 0, 0, 5);
    let [ip, c2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(192, 0, 2, 99)];
    let records = [
        (Some("ip"), (inside, 4242, ip, 80)),
        (Some("ip"), (ip, 53, inside, 4242)),
        (Some("prefix"), (Ipv4Addr::new(203, 0, 113, 200), 53, inside, 4242)),
        (Some("c2"), (inside, 4242, c2, 443)),
        (None, (inside, 4242, c2, 80)),
        (None, (c2, 443, inside, 4242)),
    ];
    let number = datagram / FLOW_EVERY;
    (datagram % FLOW_EVERY == 3).then(|| records[number as usize % records.len()])
}

/// The records of one datagram: clean ones, and the planted one amid them.
fn records(datagram: u32, count: u32) -> Vec<Ends> {
    let mut records: Vec<Ends> = (0..count)
        .map(|number| {
            let [_, a, b, c] = (datagram * count + number).to_be_bytes();
            (Ipv4Addr::new(10, a, b, c), 40_000 + number as u16, Ipv4Addr::new(93, 184, b, c), 443)
        })
        .collect();
    if let Some((_, ends)) = planted_record(datagram) {
        records[count as usize / 2] = ends;
    }
    records
}

const SECONDS: u32 = 1_790_000_000;

fn netflow5(datagram: u32) -> Vec<u8> {
    let (_, count) = V5;
    let mut out = Vec::new();
    // Version, count; uptime, seconds, nanoseconds, sequence in flows; engine, sampling.
    out.extend(5u16.to_be_bytes());
    out.extend((count as u16).to_be_bytes());
    for word in [3_600_000, SECONDS, 0, datagram * count, 0] {
        out.extend(word.to_be_bytes());
    }
    for (source, sport, destination, dport) in records(datagram, count) {
        out.extend(source.octets());
        out.extend(destination.octets());
        // Next hop; input and output; packets, bytes, first and last.
        out.extend([0; 4]);
        out.extend([0, 1, 0, 2]);
        for word in [3u32, 300, 3_590_000, 3_599_000] {
            out.extend(word.to_be_bytes());
        }
        out.extend(sport.to_be_bytes());
        out.extend(dport.to_be_bytes());
        // Padding, TCP flags, protocol, TOS; AS numbers, masks, padding.
        out.extend([0, 0x1b, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0]);
    }
    out
}

/// The fields of a template: sourceIPv4Address, sourceTransportPort, destinationIPv4Address,
/// destinationTransportPort, protocolIdentifier, octetDeltaCount, packetDeltaCount.
const FIELDS: [(u16, u16); 7] = [(8, 4), (7, 2), (12, 4), (11, 2), (4, 1), (1, 4), (2, 4)];

/// The same with IPv6 addresses.
const FIELDS6: [(u16, u16); 7] = [(27, 16), (7, 2), (28, 16), (11, 2), (4, 1), (1, 4), (2, 4)];

/// A set with its header; `padding` to a border of four bytes.
fn set(id: u16, mut body: Vec<u8>) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(4), 0);
    [&id.to_be_bytes()[..], &(4 + body.len() as u16).to_be_bytes(), &body].concat()
}

fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut out = [id.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
    for (element, length) in fields {
        out.extend(element.to_be_bytes());
        out.extend(length.to_be_bytes());
    }
    out
}

fn data(records: &[Ends]) -> Vec<u8> {
    let mut out = Vec::new();
    for (source, sport, destination, dport) in records {
        out.extend(source.octets());
        out.extend(sport.to_be_bytes());
        out.extend(destination.octets());
        out.extend(dport.to_be_bytes());
        out.push(6);
        out.extend(300u32.to_be_bytes());
        out.extend(3u32.to_be_bytes());
    }
    out
}

/// One IPv6 record; in the datagrams where it is planted it matches.
fn data6(datagram: u32) -> Vec<u8> {
    let third: u16 = if is_six(datagram) { 0x0bad } else { 0x0bae };
    let mut out = Vec::new();
    for (group, port) in [(0x600du16, 4242u16), (third, 443)] {
        for part in [0x2001, 0x0db8, group, 0, 0, 0, 0, 1] {
            out.extend(part.to_be_bytes());
        }
        out.extend(port.to_be_bytes());
    }
    out.push(17);
    out.extend(300u32.to_be_bytes());
    out.extend(3u32.to_be_bytes());
    out
}

/// Never in a datagram that holds another planted record.
fn is_six(datagram: u32) -> bool {
    datagram % FLOW_EVERY == 7
}

/// A template is sent again so often, as exporters do.
const REFRESH: u32 = 100;

/// The sets of one datagram: templates now and then, 27 IPv4 records, one IPv6 record.
fn sets(datagram: u32, count: u32, template_set: u16) -> (Vec<u8>, u16) {
    let mut out = Vec::new();
    let mut items = count as u16;
    if datagram.is_multiple_of(REFRESH) {
        out.extend(set(template_set, [template(256, &FIELDS), template(257, &FIELDS6)].concat()));
        items += 2;
    }
    out.extend(set(256, data(&records(datagram, count - 1))));
    out.extend(set(257, data6(datagram)));
    (out, items)
}

fn netflow9(datagram: u32) -> Vec<u8> {
    let (sets, items) = sets(datagram, V9.1, 0);
    let mut out = [9u16.to_be_bytes(), items.to_be_bytes()].concat();
    // Uptime, seconds, sequence in datagrams, source.
    for word in [3_600_000, SECONDS, datagram, 7] {
        out.extend(word.to_be_bytes());
    }
    out.extend(sets);
    out
}

fn ipfix(datagram: u32) -> Vec<u8> {
    let (sets, _) = sets(datagram, IPFIX.1, 2);
    let mut out = [10u16.to_be_bytes(), (16 + sets.len() as u16).to_be_bytes()].concat();
    // Seconds, sequence in records, domain.
    for word in [SECONDS, datagram * IPFIX.1, 7] {
        out.extend(word.to_be_bytes());
    }
    out.extend(sets);
    out
}

/// Name, number of datagrams, and what makes one of them.
type Protocol = (&'static str, u32, fn(u32) -> Vec<u8>);

#[test]
fn two_hundred_thousand_flow_records() {
    let mut sensor = Sensor::start(Setup { rules: &[("planted.yaml", RULES)], ..Setup::default() });
    let total: u32 = [V5, V9, IPFIX].iter().map(|(datagrams, records)| datagrams * records).sum();
    assert_eq!(total, 200_000);
    let protocols: [Protocol; 3] =
        [("netflow5", V5.0, netflow5), ("netflow9", V9.0, netflow9), ("ipfix", IPFIX.0, ipfix)];
    let to = format!("udp://{}", sensor.flow).parse().expect("an address");
    let mut sent = 0;
    let mut planted = BTreeMap::new();
    let (before, start) = (cpu(&sensor), Instant::now());
    for (name, datagrams, datagram) in protocols {
        // An exporter of its own for each protocol.
        let mut sender = Sender::connect(&to, Framing::Lf, FLOW_RATE).expect("a socket");
        for number in 0..datagrams {
            sender.push(&datagram(number)).expect("sent");
            if let Some((Some(id), _)) = planted_record(number) {
                *planted.entry(id).or_default() += 1;
            }
            if name != "netflow5" && is_six(number) {
                *planted.entry("six").or_default() += 1;
            }
        }
        let summary = sender.finish().expect("sent");
        assert_eq!((summary.sent, summary.errors), (u64::from(datagrams), 0), "{summary:?}");
        sent += summary.sent;
    }
    let elapsed = start.elapsed();
    sensor.wait("sent = received + kernel drops", |sensor| {
        sensor.received("flow") + sensor.sum("roje_input_kernel_dropped_total", "flow") == sent
    });
    report("flow records", u64::from(total), cpu(&sensor) - before, elapsed);
    let matches = sensor.sum("roje_matches_total", "");
    sensor.wait("every match is an alert", |sensor| sensor.alerts().len() as u64 == matches);
    let dropped = sensor.sum("roje_input_kernel_dropped_total", "flow");
    sensor.assert_ledger();
    if dropped == 0 {
        assert_eq!(sensor.sum("roje_flow_records_total", "flow"), u64::from(total));
        assert_eq!(sensor.sum("roje_flow_sequence_gaps_total", "flow"), 0);
        assert_eq!(sensor.sum("roje_decode_errors_total", "flow"), 0);
        for (name, datagrams, _) in protocols {
            assert_eq!(sensor.sum("roje_decoded_total", name), u64::from(datagrams), "{name}");
        }
    }
    let alerts = sensor.alerts();
    assert_planted("flow", &planted, &by_indicator(&alerts, |_| true), dropped);
    sensor.stop();
}

#[test]
fn undecodable_datagrams_among_good_ones_are_counted_each() {
    let mut sensor = Sensor::start(Setup { rules: &[("planted.yaml", RULES)], ..Setup::default() });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let good = netflow5(1);
    let mut sent = 0;
    // Every prefix of a good datagram, which announces more records than it has.
    for length in 1..good.len() {
        socket.send_to(&good[..length], sensor.flow).expect("sent");
        sent += 1;
        if length % 64 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sensor.wait("sent = received + kernel drops", |sensor| {
        sensor.received("flow") + sensor.sum("roje_input_kernel_dropped_total", "flow") == sent
    });
    sensor.assert_ledger();
    assert!(sensor.sum("roje_decode_errors_total", "flow") > 0);
    assert!(sensor.alerts().is_empty());
    sensor.stop();
}
