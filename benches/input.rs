//! Input: messages cut out of a stream, by line ends and by counts, in reads of 64 KiB.
//!
//! Each case asserts how many messages it saw, so that a fast wrong answer fails.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use roje::input::MAX_MESSAGE;
use roje::input::framing::{Assembler, Delimiters};
use std::hint::black_box;

const MESSAGES: usize = 4096;

/// What a read takes from a busy connection.
const READ: usize = 64 << 10;

fn framing(c: &mut Criterion) {
    let text = concat!(
        include_str!("../tests/data/demo/syslog-udp.log"),
        include_str!("../tests/data/demo/syslog-tcp.log")
    );
    // Only what begins with a priority can be counted.
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('<')).cycle().take(MESSAGES).collect();
    let delimited: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let counted: String = lines.iter().map(|line| format!("{} {line}", line.len())).collect();
    let mut group = c.benchmark_group("framing");
    for (name, stream) in [("line_ends", delimited), ("octet_counting", counted)] {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut assembler = Assembler::new(Delimiters::Stream, MAX_MESSAGE);
                let (mut messages, mut bytes) = (0, 0);
                for read in stream.as_bytes().chunks(READ) {
                    assembler.push(black_box(read), &mut |frame| {
                        messages += 1;
                        bytes += frame.bytes.len();
                    });
                }
                assembler.finish(&mut |_| messages += 1);
                assert_eq!((messages, bytes), (MESSAGES, lines.iter().map(|line| line.len()).sum()));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, framing);
criterion_main!(benches);
