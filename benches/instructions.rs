//! Instructions, counted by valgrind: the same on every run, so that a change of the hot path shows
//! where clocks are too noisy. `benches/instructions` prints them beside the committed baseline.
//!
//! Each case asserts what it counted, so that a fast wrong answer fails.

// What the attributes of gungraun write, and how they hand over what was set up.
#![allow(missing_docs, unused_qualifications, clippy::needless_pass_by_value)]

use gungraun::{library_benchmark, library_benchmark_group, main};
use jiff::tz::TimeZone;
use roje::decode::flow::Decoder;
use roje::decode::syslog::{self, Reference};
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::detect::{Matcher, RuleSet, Validity, extract};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A time of receipt, in nanoseconds.
const NOW: i64 = 1_760_000_000_000_000_000;

const LINES: usize = 450;

/// Lines of 25 devices, over and over.
fn lines() -> Vec<&'static [u8]> {
    let text = concat!(
        include_str!("../tests/data/demo/syslog-udp.log"),
        include_str!("../tests/data/demo/syslog-tcp.log")
    );
    text.lines().map(str::as_bytes).cycle().take(LINES).collect()
}

/// Indicators of all shapes, none of which stands in the lines.
fn rules() -> RuleSet {
    let info = SetInfo {
        name: "bench".into(),
        producer: None,
        feed: None,
        reference: None,
        mode: Mode::Indicators,
        path: "bench".into(),
        digest: String::new(),
    };
    let mut builder = SetBuilder::new(info);
    let meta = builder.meta(&Meta { nocase: true, ..Meta::default() });
    for n in 0..10_000u32 {
        let (kind, value) = match n % 5 {
            0 => (Kind::Domain, format!("bad{n}.evil{}.example", n % 1000)),
            1 => (Kind::Ip, Ipv4Addr::from(0x5000_0000 | n.wrapping_mul(2_654_435_761) >> 6).to_string()),
            2 => (Kind::Md5, format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060))),
            3 => (Kind::Text, format!("tool{n}_unpack.exe")),
            _ => (Kind::Url, format!("http://bad{n}.evil.example/payload/{n}")),
        };
        builder.add(&normalise(kind, &value, true).expect("a good value"), meta, None);
    }
    RuleSet::new(vec![Arc::new(builder.build())])
}

/// NetFlow v9: the template, and 24 records with the addresses of each.
fn datagram() -> Vec<u8> {
    let fields: [(u16, u16); 8] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (6, 1)];
    let size: u16 = fields.iter().map(|(_, length)| length).sum();
    let mut bytes = Vec::new();
    bytes.extend(9u16.to_be_bytes()); // version
    bytes.extend(25u16.to_be_bytes()); // count
    bytes.extend([0; 12]); // sysUpTime, unix_secs, sequence
    bytes.extend(7u32.to_be_bytes()); // source id
    bytes.extend(0u16.to_be_bytes()); // template set
    bytes.extend((8 + 4 * fields.len() as u16).to_be_bytes());
    bytes.extend(256u16.to_be_bytes());
    bytes.extend((fields.len() as u16).to_be_bytes());
    for (element, length) in fields {
        bytes.extend(element.to_be_bytes());
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(256u16.to_be_bytes());
    let padding = (4 - size * 24 % 4) % 4;
    bytes.extend((4 + size * 24 + padding).to_be_bytes());
    for record in 0..24 {
        bytes.extend([10, 0, 1, record, 192, 0, 2, 2, 0xc0, 0, 0, 53, 17]); // addresses, ports, protocol
        bytes.extend([0; 9]); // bytes, packets, flags
    }
    bytes.resize(bytes.len() + usize::from(padding), 0);
    bytes
}

#[library_benchmark]
#[bench::lines_of_25_devices(lines())]
fn headers(lines: Vec<&[u8]>) {
    let decoded = lines.iter().filter(|line| syslog::header(black_box(line)).is_ok()).count();
    assert_eq!(decoded, LINES);
}

/// A decoder that has seen the template.
fn decoder() -> (Decoder, Vec<u8>) {
    let (mut decoder, datagram) = (Decoder::default(), datagram());
    decode(&mut decoder, &datagram);
    (decoder, datagram)
}

fn decode(decoder: &mut Decoder, datagram: &[u8]) {
    let exporter: SocketAddr = ([192, 0, 2, 1], 2055).into();
    let mut records = 0;
    let decoded = decoder.decode(black_box(datagram), exporter, NOW, &mut |record| {
        black_box(record.flow());
        records += 1;
    });
    assert!(decoded.is_ok() && records == 24, "{decoded:?}, {records} records");
}

#[library_benchmark]
#[bench::netflow9_template_and_24_records(decoder())]
fn flows((mut decoder, datagram): (Decoder, Vec<u8>)) {
    decode(&mut decoder, &datagram);
}

#[library_benchmark]
#[bench::lines_of_25_devices(lines())]
fn tokens(lines: Vec<&[u8]>) {
    let mut count = 0;
    for line in &lines {
        extract(black_box(line), &mut |observable| count += usize::from(observable.hash != 0));
    }
    assert!(count > 2 * LINES, "{count}");
}

#[library_benchmark]
#[bench::against_10000(rules(), lines())]
fn messages(rules: RuleSet, lines: Vec<&[u8]>) {
    let mut matcher = Matcher::default();
    let reference = Reference { now: NOW, timezone: TimeZone::UTC };
    let mut hits = 0;
    for line in &lines {
        matcher.message(&rules, black_box(line), Validity::At(NOW), &reference, &mut |_| hits += 1);
    }
    assert_eq!(hits, 0);
    // Taking the rules down is not what is counted.
    std::mem::forget(rules);
}

library_benchmark_group!(name = decode_stage, benchmarks = [headers, flows]);
library_benchmark_group!(name = tokenise, benchmarks = tokens);
library_benchmark_group!(name = look_up, benchmarks = messages);
main!(library_benchmark_groups = [decode_stage, tokenise, look_up]);
