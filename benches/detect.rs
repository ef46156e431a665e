//! Detection over syslog lines: extraction alone, and matching against sets of several sizes.
//!
//! Each case asserts how much it found, so that a fast wrong answer fails.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use roje::decode::flow::Flow;
use roje::decode::syslog::Reference;
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::detect::{CompiledSet, Matcher, RuleSet, Validity, extract};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const LINES: u32 = 4_000;

/// Lines of about 250 bytes in the manner of firewalls, resolvers, proxies and hosts.
fn corpus() -> Vec<String> {
    (0..LINES)
        .map(|n| {
            let (a, b, c) = (n % 251, n / 251 % 251, n % 60);
            match n % 4 {
                0 => format!("<134>Oct 11 22:14:{c:02} fw-{a} %ASA-6-302013: Built outbound TCP connection {n} for outside:203.0.{b}.{a}/443 (203.0.{b}.{a}/443) to inside:10.{a}.{b}.7/5{c:02}21 (192.0.2.10/5{c:02}21) duration 0:00:{c:02} bytes {n} TCP FINs from inside, user unknown, policy default-{b}"),
                1 => format!("<30>1 2026-10-11T22:14:{c:02}.003Z ns1.corp.example named 1234 - - client @0x7f{n:08x} 10.1.{b}.{a}#5{c:02}21 (host{n}.cdn{a}.example.net): query: host{n}.cdn{a}.example.net IN A +E(0)K (10.9.9.9) view internal, response 198.18.{b}.{a} ttl 300 recursion available"),
                2 => format!("<190>Oct 11 22:14:{c:02} proxy{b} squid[2211]: 1697033655.{c:03}    4{c} 10.2.{b}.{a} TCP_MISS/200 {n} GET http://site{a}.example.org/assets/app.{n}.js?v={b}&session=ab{n:x} - HIER_DIRECT/198.51.100.{a} application/javascript \"Mozilla/5.0 (X11; Linux x86_64)\""),
                _ => format!("<38>Oct 11 22:14:{c:02} web-{a} sshd[{n}]: Failed password for invalid user admin{b} from 10.3.{b}.{a} port 5{c:02}21 ssh2; attempt {n} of many, session kept open until the time limit has passed, see the manual for what to do in such a case; key md5 none given at all"),
            }
        })
        .collect()
}

fn set(indicators: u32) -> Arc<CompiledSet> {
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
    for n in 0..indicators {
        let (kind, value) = match n % 4 {
            0 => (Kind::Domain, format!("bad{n}.evil{}.example", n % 1000)),
            1 => (Kind::Ip, Ipv4Addr::from(0xc000_0000 | n.wrapping_mul(2_654_435_761) >> 6).to_string()),
            2 => (
                Kind::Md5,
                format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            ),
            _ => (Kind::Url, format!("http://bad{n}.evil.example/payload/{n}")),
        };
        builder.add(&normalise(kind, &value, true).expect("a good value"), meta, None);
    }
    Arc::new(builder.build())
}

fn detect(c: &mut Criterion) {
    let corpus = corpus();
    let bytes: usize = corpus.iter().map(String::len).sum();
    let reference = Reference { now: 0, timezone: TimeZone::UTC };
    let mut group = c.benchmark_group("detect");
    group.throughput(Throughput::Bytes(bytes as u64));
    let count = |lines: &[String]| {
        let mut count = 0u64;
        for line in lines {
            extract(line.as_bytes(), &mut |observable| count += u64::from(black_box(observable.hash) != 0));
        }
        count
    };
    let expected = count(&corpus);
    assert!(expected > u64::from(LINES) * 4);
    group.bench_function("extract/lines_of_250_bytes", |b| b.iter(|| assert_eq!(count(&corpus), expected)));
    for indicators in [1_000, 100_000, 1_000_000] {
        let rules = RuleSet::new(vec![set(indicators)]);
        let mut matcher = Matcher::default();
        group.bench_function(format!("message/no_hits_against_{indicators}"), |b| {
            b.iter(|| {
                let mut hits = 0;
                for line in &corpus {
                    matcher.message(&rules, line.as_bytes(), Validity::At(0), &reference, &mut |_| hits += 1);
                }
                assert_eq!(hits, 0);
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("flow");
    let rules = RuleSet::new(vec![set(1_000_000)]);
    let flows: Vec<Flow> = (0..10_000u32)
        .map(|n| Flow {
            source: Some(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | n))),
            destination: Some(IpAddr::V4(Ipv4Addr::from(0x6400_0000 | n))),
            ..Flow::default()
        })
        .collect();
    group.throughput(Throughput::Elements(flows.len() as u64));
    let mut matcher = Matcher::default();
    group.bench_function("no_hits_against_1000000", |b| {
        b.iter(|| {
            let mut hits = 0;
            for flow in &flows {
                matcher.flow(&rules, flow, Validity::At(0), &mut |_| hits += 1);
            }
            assert_eq!(hits, 0);
        });
    });
    group.finish();

    let mut group = c.benchmark_group("rules");
    group.sample_size(10);
    let set = set(1_000_000);
    group.bench_function("merge_1000000", |b| {
        b.iter_batched(
            || vec![set.clone()],
            |sets| assert_eq!(RuleSet::new(sets).len(), set.len()),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, detect);
criterion_main!(benches);
