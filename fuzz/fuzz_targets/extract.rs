//! Extraction equals the plain tokeniser, and every value that is found is found again in its own
//! normal form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::detect::{self, extract, oracle};

fuzz_target!(|message: &[u8]| {
    oracle::hold(message);
    let mut found = Vec::new();
    extract(message, &mut |observable| found.push(observable));
    for observable in found {
        assert!(observable.span.start < observable.span.end);
        assert!(observable.span.end as usize <= message.len());
        let normal = detect::normal(message, &observable);
        let mut again = false;
        extract(normal.as_bytes(), &mut |other| {
            again |= other.kind == observable.kind && other.hash == observable.hash;
        });
        assert!(again, "{:?} as {normal:?}", observable.kind);
    }
});
