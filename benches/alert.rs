//! Alerts: a hit becomes an alert, the alert a line, the line a record of the spool.
//!
//! Each case asserts what it made, so that a fast wrong answer fails.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use roje::alert::{Agent, Composer, Directory, Encoding, Evidence, Hit, Listener};
use roje::decode::syslog::Reference;
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::detect::{Matcher, RuleSet, Validity};
use roje::output::spool::{Limits, Spool};
use std::hint::black_box;
use std::sync::Arc;

/// A time of receipt, in nanoseconds.
const NOW: i64 = 1_760_000_000_000_000_000;

const LINE: &[u8] =
    b"<30>Jul 15 22:00:19 ns2 named[812]: client 10.30.5.21#53214: query: a.planted.example IN A +";

fn rules() -> Arc<RuleSet> {
    let info = SetInfo {
        name: "bench".into(),
        producer: Some("Example CSIRT".into()),
        feed: None,
        reference: None,
        mode: Mode::Indicators,
        path: "bench".into(),
        digest: String::new(),
    };
    let mut builder = SetBuilder::new(info);
    let meta = builder.meta(&Meta::default());
    builder.add(&normalise(Kind::Domain, "planted.example", true).expect("a good value"), meta, None);
    Arc::new(RuleSet::new(vec![Arc::new(builder.build())]))
}

fn hit(rules: &Arc<RuleSet>) -> Hit {
    let reference = Reference { now: NOW, timezone: TimeZone::UTC };
    let mut found = Vec::new();
    Matcher::default()
        .message(rules, LINE, Validity::At(NOW), &reference, &mut |matched| found.push(matched));
    assert_eq!(found.len(), 1);
    Hit {
        rules: rules.clone(),
        matched: found.remove(0),
        evidence: Evidence::Syslog { bytes: LINE.into() },
        input: 0,
        peer: Some(([192, 0, 2, 10], 514).into()),
        identity: None,
        received: NOW,
        last: NOW,
        count: 1,
        worker: 0,
        sequence: 1,
    }
}

fn alert(c: &mut Criterion) {
    let rules = rules();
    let hit = hit(&rules);
    let listener = Listener { timezone: None, exercise: false };
    let directory = Directory::new(vec![listener], Vec::new(), Vec::new()).expect("no sources");
    let agent = Agent { name: "bench".into(), version: "0".into() };
    let mut composer = Composer::new(agent, Arc::new(directory));
    let mut group = c.benchmark_group("alert");
    group.throughput(Throughput::Elements(1));
    group.bench_function("compose/dns_query", |b| {
        b.iter(|| assert_eq!(composer.compose(black_box(&hit), NOW).expect("an alert").count, 1));
    });
    let alert = composer.compose(&hit, NOW).expect("an alert");
    for (name, encoding) in [("encode/ecs", Encoding::Ecs), ("encode/cef", Encoding::Cef)] {
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                encoding.encode(black_box(&alert), &mut out);
                assert!(out.windows(15).any(|window| window == b"planted.example"));
            });
        });
    }
    group.finish();
}

/// Alerts that the alert thread appends together.
const BATCH: usize = 64;

fn spool(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let outputs = ["bench".to_string()];
    let (mut spool, mut readers, _) =
        Spool::open(directory.path(), &outputs, Limits::default()).expect("a spool");
    let reader = readers.first_mut().expect("one for each output");
    let payload = vec![b'x'; 2048];
    let mut group = c.benchmark_group("spool");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("append_and_read_64", |b| {
        b.iter(|| {
            spool.append(vec![payload.clone(); BATCH], NOW).expect("durable");
            let records = reader.read(BATCH, usize::MAX).expect("readable");
            assert_eq!(records.len(), BATCH);
            let next = records.last().expect("64 of them").sequence + 1;
            reader.advance(next);
            reader.settle().expect("durable");
        });
    });
    group.finish();
}

criterion_group!(benches, alert, spool);
criterion_main!(benches);
