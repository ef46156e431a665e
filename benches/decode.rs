//! Decoding: headers and all fields of syslog lines from many devices, and flow records by protocol.
//!
//! Each case asserts how much it saw, so that a fast wrong answer fails.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use roje::decode::Fields;
use roje::decode::flow::{Decoder, Record};
use roje::decode::syslog::{self, Reference};
use roje::input::MAX_MESSAGE;
use roje::input::file::from_bytes;
use roje::input::pcap::Capture;
use std::hint::black_box;
use std::net::SocketAddr;

/// A time of receipt, in nanoseconds.
const NOW: i64 = 1_760_000_000_000_000_000;

const EXPORTER: &str = "192.0.2.1:2055";

fn syslog_lines(c: &mut Criterion) {
    let text = concat!(
        include_str!("../tests/data/demo/syslog-udp.log"),
        include_str!("../tests/data/demo/syslog-tcp.log")
    );
    let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    assert_eq!(lines.len(), 45);
    let mut group = c.benchmark_group("syslog");
    group.throughput(Throughput::Elements(lines.len() as u64));
    group.bench_function("header/45_lines_of_25_devices", |b| {
        b.iter(|| {
            let decoded = lines.iter().filter(|line| syslog::header(black_box(line)).is_ok()).count();
            assert_eq!(decoded, 45);
        });
    });
    group.bench_function("shape/45_lines_of_25_devices", |b| {
        b.iter(|| {
            let decoded = lines.iter().filter(|line| syslog::shape(black_box(line)).is_ok()).count();
            assert_eq!(decoded, 45);
        });
    });
    let reference = Reference { now: NOW, timezone: TimeZone::UTC };
    let mut fields = Fields::default();
    let mut all = || {
        let mut count = 0;
        for line in &lines {
            fields.clear();
            assert!(syslog::decode(black_box(line), &reference, &mut fields).is_ok());
            count += fields.entries().len() + fields.extras().len();
        }
        count
    };
    let expected = all();
    // Priority, facility, severity, stamp and message of each at least, and bodies on top.
    assert!(expected > 45 * 8, "{expected}");
    group.bench_function("fields/45_lines_of_25_devices", |b| b.iter(|| assert_eq!(all(), expected)));
    group.finish();
}

fn flow_records(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow");
    let exporter: SocketAddr = EXPORTER.parse().expect("an address");
    let cases = [
        ("netflow5/8_records", payloads(include_bytes!("../tests/data/demo/netflow5.pcap")), 8),
        ("netflow9/template_then_20_records", vec![netflow9(20)], 20),
        ("netflow9/fortigate_17_records", payloads(include_bytes!("../tests/data/demo/netflow9.pcap")), 17),
        ("ipfix/58_records", payloads(include_bytes!("../tests/data/demo/ipfix.pcap")), 58),
    ];
    for (name, datagrams, records) in cases {
        group.throughput(Throughput::Elements(records));
        let mut decoder = Decoder::default();
        let mut all = |each: &mut dyn FnMut(&Record<'_>)| {
            let mut count = 0;
            for datagram in &datagrams {
                let decoded = decoder.decode(black_box(datagram), exporter, NOW, &mut |record| {
                    count += 1;
                    each(&record);
                });
                assert!(decoded.is_ok(), "{decoded:?}");
            }
            count
        };
        // What is done of a record that does not match, of one that does, and of one that is shown.
        let mut addresses = |record: &Record<'_>| {
            black_box(record.any_address(|address| black_box(address) == 0));
        };
        assert_eq!(all(&mut addresses), records, "{name}");
        group.bench_function(format!("{name}/addresses"), |b| {
            b.iter(|| assert_eq!(all(&mut addresses), records));
        });
        let mut flow = |record: &Record<'_>| {
            black_box(record.flow());
        };
        group.bench_function(format!("{name}/flow"), |b| b.iter(|| assert_eq!(all(&mut flow), records)));
        let mut fields = Fields::default();
        let mut show = |record: &Record<'_>| {
            fields.clear();
            record.fields(&mut fields);
        };
        group.bench_function(format!("{name}/fields"), |b| b.iter(|| assert_eq!(all(&mut show), records)));
    }
    group.finish();
}

/// The payloads of the datagrams in a capture.
fn payloads(capture: &[u8]) -> Vec<Vec<u8>> {
    let source = from_bytes("capture", capture.to_vec()).expect("a capture");
    let mut capture = Capture::new(source).expect("a capture");
    let mut payloads = Vec::new();
    while capture.read(&mut |datagram| payloads.push(datagram.bytes.to_vec())).expect("readable") {}
    assert!(payloads.iter().all(|payload| payload.len() <= MAX_MESSAGE));
    payloads
}

/// A template (id 256) and records of it, as an exporter sends them together.
fn netflow9(records: u16) -> Vec<u8> {
    let fields: [(u16, u16); 8] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (6, 1)];
    let mut datagram = Vec::new();
    datagram.extend(9u16.to_be_bytes()); // version
    datagram.extend((records + 1).to_be_bytes()); // count
    datagram.extend(60_000u32.to_be_bytes()); // sysUpTime, ms
    datagram.extend(1_760_000_000u32.to_be_bytes()); // unix_secs
    datagram.extend(1u32.to_be_bytes()); // sequence
    datagram.extend(7u32.to_be_bytes()); // source id
    datagram.extend(0u16.to_be_bytes()); // template set
    datagram.extend((8 + 4 * fields.len() as u16).to_be_bytes());
    datagram.extend(256u16.to_be_bytes());
    datagram.extend((fields.len() as u16).to_be_bytes());
    for (element, length) in fields {
        datagram.extend(element.to_be_bytes());
        datagram.extend(length.to_be_bytes());
    }
    let size: u16 = fields.iter().map(|(_, length)| length).sum();
    datagram.extend(256u16.to_be_bytes());
    datagram.extend((4 + size * records).to_be_bytes());
    for record in 0..records {
        datagram.extend([10, 0, 1, record as u8, 192, 0, 2, 2]); // source, destination
        datagram.extend([0xc0, 0x00, 0x00, 0x35, 17]); // ports, protocol
        datagram.extend(500u32.to_be_bytes()); // bytes
        datagram.extend(5u32.to_be_bytes()); // packets
        datagram.push(0); // flags
    }
    datagram
}

criterion_group!(benches, syslog_lines, flow_records);
criterion_main!(benches);
