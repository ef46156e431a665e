//! Any file ends: logs, compressed ones, captures.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::input::MAX_MESSAGE;
use roje::input::file::{Kind, from_bytes};
use roje::input::pcap::Capture;

fuzz_target!(|data: &[u8]| {
    let Ok(source) = from_bytes("fuzz", data.to_vec()) else { return };
    match source.kind {
        Kind::Log => {
            let mut blocks = source.blocks(MAX_MESSAGE);
            while let Ok(Some(block)) = blocks.read() {
                assert!(block.messages().all(|message| message.bytes.len() <= MAX_MESSAGE));
            }
        }
        Kind::Capture => {
            let Ok(mut capture) = Capture::new(source) else { return };
            while let Ok(true) = capture.read(&mut |datagram| assert!(datagram.bytes.len() <= MAX_MESSAGE)) {}
        }
    }
});
