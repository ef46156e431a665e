//! A PROXY header that arrives in pieces: what was decided stays decided, and the window is enough.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::input::proxy::{Header, WINDOW, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    if let Header::Present { length, .. } = whole {
        assert!((1..=16 + 4096).contains(&length));
    }
    for cut in 0..data.len().min(2 * WINDOW) {
        let found = parse(&data[..cut]);
        assert!(found == Header::Partial || found == whole, "cut at {cut}: {found:?}, {whole:?}");
    }
    let window = &data[..data.len().min(WINDOW)];
    assert_eq!(parse(window), whole);
    // Whoever waits for more never waits behind the window.
    assert!(whole != Header::Partial || data.len() < WINDOW);
});
