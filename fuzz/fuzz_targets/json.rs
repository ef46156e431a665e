//! JSON is accepted where another parser accepts it, and mistakes have a place in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::rules::json::Json;

fuzz_target!(|text: &str| {
    let mut json = Json::new(text);
    let read = json.skip().and_then(|()| json.end());
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match read {
        // Theirs knows numbers that do not fit a float, lone surrogates and depths of its own.
        Ok(()) => assert!(theirs.is_ok() || text.contains(['e', 'E', 'u', '[', '{']), "{text}"),
        Err(malformed) => {
            assert!(malformed.at <= text.len() && text.is_char_boundary(malformed.at), "{malformed:?}");
            assert!(theirs.is_err() || malformed.expected == "fewer levels", "{text}: {malformed:?}");
        }
    }
});
