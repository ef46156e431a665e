//! The whole path without sockets: what a worker of `run` does for each batch, and what a thread of
//! `scan` does for each block, from bytes to matches and alerts.
//!
//! Each case asserts what it counted, so that a fast wrong answer fails.

use arc_swap::ArcSwap;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_channel::Receiver;
use jiff::tz::TimeZone;
use roje::alert::{Agent, Composer, Directory, Evidence, Hit, Listener, Raised};
use roje::decode::syslog::Reference;
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::detect::{Matcher, RuleSet, Validity};
use roje::input::file::from_bytes;
use roje::input::{Format, MAX_MESSAGE, Message};
use roje::metrics::Metrics;
use roje::worker::{InputPolicy, Shared, Worker};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A time of receipt, in nanoseconds.
const NOW: i64 = 1_760_000_000_000_000_000;

/// Messages of a batch, as a UDP worker receives them.
const BATCH: usize = 64;

const MESSAGES: usize = 4096;

/// One message in so many holds an indicator.
const HIT_EVERY: usize = 1024;

/// A hundred thousand indicators of all shapes, and the one that is planted.
fn rules() -> Arc<RuleSet> {
    let mut builder = SetBuilder::new(info());
    let meta = builder.meta(&Meta { nocase: true, ..Meta::default() });
    let mut add =
        |kind, value: &str| builder.add(&normalise(kind, value, true).expect("a good value"), meta, None);
    for n in 0..100_000u32 {
        match n % 4 {
            0 => add(Kind::Domain, &format!("bad{n}.evil{}.example", n % 1000)),
            1 => add(Kind::Ip, &Ipv4Addr::from(0xcb00_7100 | (n & 0xff)).to_string()),
            2 => add(
                Kind::Md5,
                &format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            ),
            _ => add(Kind::Url, &format!("http://bad{n}.evil.example/payload/{n}")),
        };
    }
    add(Kind::Domain, "planted.example");
    add(Kind::Ip, "192.0.2.99");
    for word in ["disable_defender.exe", "vssadmin delete shadows", "pickers.aspx"] {
        add(Kind::Text, word);
    }
    Arc::new(RuleSet::new(vec![Arc::new(builder.build())]))
}

fn info() -> SetInfo {
    SetInfo {
        name: "bench".into(),
        producer: None,
        feed: None,
        reference: None,
        mode: Mode::Indicators,
        path: "bench".into(),
        digest: String::new(),
    }
}

/// Lines of many devices over and over, a planted one among them now and then.
fn lines() -> Vec<Vec<u8>> {
    let text = concat!(
        include_str!("../tests/data/demo/syslog-udp.log"),
        include_str!("../tests/data/demo/syslog-tcp.log")
    );
    let words = ["pickers.aspx", "203.0.113.77"];
    let clean = text.lines().filter(|line| !words.iter().any(|word| line.contains(word)));
    let mut lines: Vec<Vec<u8>> = clean.cycle().take(MESSAGES).map(|line| line.as_bytes().to_vec()).collect();
    for line in lines.iter_mut().step_by(HIT_EVERY) {
        *line =
            b"<30>Jul 15 22:00:19 ns2 named[812]: client 10.30.5.21#53214: query: a.planted.example IN A +"
                .to_vec();
    }
    lines
}

const DATAGRAMS: usize = 512;

/// The first record of one datagram in so many goes to the planted address; no other is listed.
const PLANTED_EVERY: usize = 128;

/// A hundred thousand addresses, so many prefixes of 20 to 28 bits, and the address that is planted.
fn flow_rules(prefixes: u32) -> Arc<RuleSet> {
    let mut random = Random(7);
    let mut values: Vec<String> = (0..100_000).map(|_| random.listed().to_string()).collect();
    values.extend((0..prefixes).map(|n| {
        let length = 20 + n % 9;
        let network = random.listed().to_bits() & u32::MAX << (32 - length);
        format!("{}/{length}", Ipv4Addr::from(network))
    }));
    values.push("192.0.2.99".into());
    let mut builder = SetBuilder::new(info());
    let meta = builder.meta(&Meta::default());
    for value in values {
        builder.add(&normalise(Kind::Ip, &value, true).expect("an address"), meta, None);
    }
    Arc::new(RuleSet::new(vec![Arc::new(builder.build())]))
}

/// Addresses in the upper half of each /16 are listed, those in the lower half are met: /16s are
/// touched as they are where lists and traffic share networks, and every count is known.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    fn listed(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(self.next() | 0x8000)
    }

    fn met(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(self.next() & !0x8000)
    }
}

/// NetFlow v5 of 30 records.
fn netflow5() -> Vec<Vec<u8>> {
    let mut random = Random(5);
    let datagram = |n: usize| {
        let mut datagram = Vec::new();
        datagram.extend(5u16.to_be_bytes()); // version
        datagram.extend(30u16.to_be_bytes()); // records
        datagram.extend(60_000u32.to_be_bytes()); // sysUpTime, ms
        datagram.extend(1_760_000_000u32.to_be_bytes()); // unix_secs
        datagram.extend([0; 4]); // unix_nsecs
        datagram.extend((30 * n as u32).to_be_bytes()); // flow_sequence
        datagram.extend([0; 4]); // engine, sampling
        for record in 0..30 {
            datagram.extend(random.met().octets());
            datagram.extend(destination(n, record, &mut random).octets());
            datagram.extend([0; 4]); // next hop
            datagram.extend([0, 1, 0, 2]); // input, output
            datagram.extend(10u32.to_be_bytes()); // packets
            datagram.extend(1000u32.to_be_bytes()); // octets
            datagram.extend(50_000u32.to_be_bytes()); // first
            datagram.extend(55_000u32.to_be_bytes()); // last
            datagram.extend([0xc0, 0x00, 0x01, 0xbb, 0, 0x1b, 6, 0]); // ports, pad, flags, protocol, tos
            datagram.extend([0; 8]); // AS numbers, masks, pad
        }
        datagram
    };
    (0..DATAGRAMS).map(datagram).collect()
}

fn destination(datagram: usize, record: usize, random: &mut Random) -> Ipv4Addr {
    let planted = datagram.is_multiple_of(PLANTED_EVERY) && record == 0;
    if planted { Ipv4Addr::new(192, 0, 2, 99) } else { random.met() }
}

/// NetFlow v9 or IPFIX of 24 records with the fields that routers export, the template in the first
/// datagram.
fn templated(version: u16) -> Vec<Vec<u8>> {
    const RECORDS: usize = 24;
    const FIELDS: [(u16, u16); 16] = [
        (8, 4),
        (12, 4),
        (15, 4),
        (10, 4),
        (14, 4),
        (2, 4),
        (1, 4),
        (22, 4),
        (21, 4),
        (7, 2),
        (11, 2),
        (6, 1),
        (4, 1),
        (5, 1),
        (9, 1),
        (61, 1),
    ];
    let mut random = Random(version.into());
    let datagram = |n: usize| {
        let mut sets = Vec::new();
        if n == 0 {
            sets.extend(if version == 9 { 0u16 } else { 2 }.to_be_bytes());
            sets.extend((8 + 4 * FIELDS.len() as u16).to_be_bytes());
            sets.extend(256u16.to_be_bytes());
            sets.extend((FIELDS.len() as u16).to_be_bytes());
            sets.extend(
                FIELDS.iter().flat_map(|(id, length)| [id.to_be_bytes(), length.to_be_bytes()].concat()),
            );
        }
        let size: u16 = FIELDS.iter().map(|(_, length)| length).sum();
        sets.extend(256u16.to_be_bytes());
        sets.extend((4 + size * RECORDS as u16).to_be_bytes());
        for record in 0..RECORDS {
            sets.extend(random.met().octets());
            sets.extend(destination(n, record, &mut random).octets());
            sets.extend([1; 37]);
        }
        let mut datagram = version.to_be_bytes().to_vec();
        if version == 9 {
            datagram.extend((RECORDS as u16).to_be_bytes());
            datagram.extend(60_000u32.to_be_bytes()); // sysUpTime, ms
        } else {
            datagram.extend((16 + sets.len() as u16).to_be_bytes());
        }
        let sequence = if version == 9 { n } else { n * RECORDS };
        datagram.extend(1_760_000_000u32.to_be_bytes());
        datagram.extend((sequence as u32).to_be_bytes());
        datagram.extend(7u32.to_be_bytes()); // source id, observation domain
        datagram.extend(sets);
        datagram
    };
    (0..DATAGRAMS).map(datagram).collect()
}

fn worker(format: Format, rules: &Arc<RuleSet>) -> (Worker, Receiver<Raised>) {
    let (alerts, hits) = crossbeam_channel::bounded(1024);
    let policy =
        InputPolicy { index: 0, format, allow: Vec::new(), timezone: TimeZone::UTC, senders: Arc::default() };
    let shared = Shared { rules: Arc::new(ArcSwap::new(rules.clone())), alerts, metrics: Metrics::new() };
    (Worker::new(0, "bench", Arc::new(ArcSwap::from_pointee(policy)), shared), hits)
}

/// Runs all messages through a worker in batches; returns the matches that it handed on.
fn through(worker: &mut Worker, hits: &Receiver<Raised>, messages: &[Vec<u8>]) -> u64 {
    let peer: SocketAddr = "192.0.2.10:514".parse().expect("an address");
    for batch in messages.chunks(BATCH) {
        worker.begin();
        for bytes in batch {
            worker.messages(&[Message { bytes, peer: Some(peer), received: NOW, truncated: false }]);
        }
        worker.end();
    }
    hits.try_iter()
        .map(|raised| match raised {
            Raised::Hit(hit) => hit.count,
            Raised::Summary(_) | Raised::Mark(_) => panic!("the channel had room"),
        })
        .sum()
}

fn run(c: &mut Criterion) {
    let mut group = c.benchmark_group("run");
    let lines = lines();
    group.throughput(Throughput::Bytes(lines.iter().map(Vec::len).sum::<usize>() as u64));
    let (mut syslog, hits) = worker(Format::Syslog, &rules());
    group.bench_function("syslog/mixed_devices_one_hit_in_1024", |b| {
        b.iter(|| assert_eq!(through(&mut syslog, &hits, &lines), (MESSAGES / HIT_EVERY) as u64));
    });
    for (against, rules) in [("100k", flow_rules(0)), ("100k_and_10k_prefixes", flow_rules(10_000))] {
        let cases = [
            ("netflow5/30_records", netflow5(), 30),
            ("netflow9/24_records", templated(9), 24),
            ("ipfix/24_records", templated(10), 24),
        ];
        for (name, datagrams, records) in cases {
            group.throughput(Throughput::Elements((DATAGRAMS * records) as u64));
            let (mut worker, hits) = worker(Format::Flow, &rules);
            group.bench_function(format!("{name}_against_{against}"), |b| {
                let expected = (DATAGRAMS / PLANTED_EVERY) as u64;
                b.iter(|| assert_eq!(through(&mut worker, &hits, &datagrams), expected));
            });
        }
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let rules = rules();
    let log: Vec<u8> = lines().iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
    let listener = Listener { timezone: None, exercise: false };
    let directory = Directory::new(vec![listener], Vec::new(), Vec::new()).expect("no sources");
    let agent = Agent { name: "bench".into(), version: "0".into() };
    let mut composer = Composer::new(agent, Arc::new(directory));
    let reference = Reference { now: NOW, timezone: TimeZone::UTC };
    let mut matcher = Matcher::default();
    let mut alerts = || {
        let mut count = 0;
        let mut blocks = from_bytes("bench.log", log.clone()).expect("a log").blocks(MAX_MESSAGE);
        while let Some(block) = blocks.read().expect("readable") {
            for message in block.messages() {
                let mut found = Vec::new();
                matcher.message(&rules, message.bytes, Validity::Mark(NOW), &reference, &mut |matched| {
                    found.push(matched);
                });
                for matched in found {
                    let hit = Hit {
                        rules: rules.clone(),
                        matched,
                        evidence: Evidence::Syslog { bytes: message.bytes.into() },
                        input: 0,
                        peer: None,
                        identity: None,
                        received: NOW,
                        last: NOW,
                        count: 1,
                        worker: 0,
                        sequence: message.number,
                    };
                    let alert = composer.compose(&hit, NOW).expect("an alert");
                    count += usize::from(!alert.to_line().is_empty());
                }
            }
        }
        count
    };
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("log/mixed_devices_one_hit_in_1024", |b| {
        b.iter(|| assert_eq!(alerts(), MESSAGES / HIT_EVERY));
    });
    group.finish();
}

criterion_group!(benches, run, scan);
criterion_main!(benches);
