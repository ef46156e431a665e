//! Rule files to rule set, and files through `roje scan`: what a start and a search cost as a whole.
//!
//! Each case asserts what it loaded or found, so that a fast wrong answer fails.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use roje::rules::Store;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Rows of each kind in the set of a million.
const ROWS: u32 = 250_000;
/// Lines of the log; one in a thousand names an indicator.
const LINES: u32 = 200_000;

fn value(kind: &str, n: u32) -> String {
    let scattered = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    match kind {
        "domain" => format!("bad{n}.evil{}.example", n % 1000),
        "ip" => format!("{}.{}.{}.{}", 11 + n % 80, n / 80 % 256, n / 20_480 % 256, 1 + n % 7),
        "url" => format!("http://bad{n}.evil.example/payload/{n}.php?id={n}"),
        _ => format!("{scattered:032x}{:032x}", !scattered),
    }
}

/// A native set whose values stand in CSV files.
fn write_set(dir: &Path, rows: u32) {
    let mut set = String::from("schema: 1\nset: bench\ndefaults: {tlp: green, severity: high}\nbulk:\n");
    for kind in ["domain", "ip", "url", "sha256"] {
        writeln!(set, "  - {{file: {kind}.csv, type: {kind}, column: 2}}").expect("a string");
        let list: String = (0..rows).map(|n| format!("{n},{},2026-08-20\n", value(kind, n))).collect();
        std::fs::write(dir.join(format!("{kind}.csv")), list).expect("a list");
    }
    std::fs::write(dir.join("set.yaml"), set).expect("a set");
}

fn rules(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    write_set(dir.path(), ROWS);
    let mut group = c.benchmark_group("rules");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(4 * ROWS)));
    group.bench_function("load/a_million_rows_of_csv", |b| {
        b.iter(|| {
            let generation = Store::new(vec![dir.path().to_owned()], None, None).load(0);
            assert_eq!((generation.rules.len(), generation.problems.len()), (4 * ROWS as usize, 0));
        });
    });
    group.finish();
}

fn scan(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    write_set(dir.path(), 2500);
    let mut log = String::new();
    for n in 0..LINES {
        let host = if n % 1000 == 0 { value("domain", n / 1000) } else { format!("host{n}.example.net") };
        writeln!(
            log,
            "<30>1 2026-10-11T22:14:15.003Z ns1.corp.example named 1234 - - client @0x7f{n:08x} 10.1.2.3#53121 ({host}): query: {host} IN A +E(0)K (10.9.9.9) view internal, response 198.18.4.5 ttl 300 recursion available, answered from the cache",
        )
        .expect("a string");
    }
    let file = dir.path().join("log");
    std::fs::write(&file, &log).expect("a log");
    let mut group = c.benchmark_group("scan");
    group.sample_size(10).throughput(Throughput::Bytes(log.len() as u64));
    for workers in ["1", "2"] {
        group.bench_function(format!("dns_log_against_10000/{workers}_workers"), |b| {
            b.iter(|| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_roje"));
                let rules = dir.path().join("set.yaml");
                command.args(["scan", "--workers", workers, "--rules"]).arg(rules).arg(&file);
                let output = command.output().expect("a scan");
                assert_eq!(memchr::memchr_iter(b'\n', &output.stdout).count(), (LINES / 1000) as usize);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rules, scan);
criterion_main!(benches);
