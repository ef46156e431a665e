//! Every value that is found is found again in its own normal form.
//!
//! That extraction equals the plain tokeniser written from the specification is a property test of
//! the crate, beside that tokeniser, which is no part of the library.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::detect::{self, extract};

fuzz_target!(|message: &[u8]| {
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
