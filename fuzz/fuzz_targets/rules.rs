//! A rule file loads, or is refused with a place that lies in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::rules::Store;
use std::io::Write;

fuzz_target!(|text: &str| {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let generation =
        Store::new(vec![file.path().into()], None, Some(64 << 20)).load(1_760_000_000_000_000_000);
    let lines = text.lines().count().max(1) + 1;
    for problem in &generation.problems {
        assert!(problem.diagnostic.line as usize <= lines, "{:?}", problem.diagnostic);
    }
});
