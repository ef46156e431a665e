//! A stream cut anywhere gives the same messages as in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::input::framing::{Assembler, Delimiters};

const MAX_MESSAGE: usize = 256;

fn messages(stream: &[u8], delimiters: Delimiters, step: usize) -> Vec<(Vec<u8>, bool)> {
    let mut assembler = Assembler::new(delimiters, MAX_MESSAGE);
    let mut messages = Vec::new();
    for piece in stream.chunks(step) {
        assembler.push(piece, &mut |frame| messages.push((frame.bytes.to_vec(), frame.truncated)));
    }
    assembler.finish(&mut |frame| messages.push((frame.bytes.to_vec(), frame.truncated)));
    messages
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    for delimiters in [Delimiters::Stream, Delimiters::Lines] {
        let whole = messages(stream, delimiters, stream.len().max(1));
        assert!(whole.iter().all(|(bytes, _)| bytes.len() <= MAX_MESSAGE));
        assert!(whole.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() <= stream.len());
        assert_eq!(messages(stream, delimiters, usize::from(step).max(1)), whole);
    }
});
