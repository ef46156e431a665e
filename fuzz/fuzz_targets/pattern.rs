//! A STIX pattern is read, or refused with a place that lies in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::rules::pattern::parse;

fuzz_target!(|text: &str| {
    if let Err(mistake) = parse(text) {
        assert!(mistake.at <= text.len() && text.is_char_boundary(mistake.at), "{mistake:?}");
        assert!(!mistake.expected.is_empty(), "{mistake:?}");
    }
});
