//! Any bytes have a header of the shape that is told without it, or an error, and fields that lie within the message.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use roje::decode::Fields;
use roje::decode::syslog::{self, Reference};

fuzz_target!(|message: &[u8]| {
    let header = syslog::header(message);
    assert_eq!(syslog::shape(message), header.map(|header| header.shape));
    let reference = Reference { now: 1_760_000_000_000_000_000, timezone: TimeZone::UTC };
    let mut fields = Fields::default();
    let decoded = syslog::decode(message, &reference, &mut fields);
    assert_eq!(header.is_ok(), decoded.is_ok());
    for (_, value) in fields.entries() {
        fields.bytes(message, *value);
    }
    let mut event = serde_json::Map::new();
    roje::decode::ecs::to_json(&fields, message, &mut event);
});
