//! Any sequence of datagrams: records lie in their datagram, and templates within their limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::decode::Fields;
use roje::decode::flow::{Decoder, Limits};
use std::net::SocketAddr;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(Limits::default());
    let exporter: SocketAddr = ([192, 0, 2, 1], 2055).into();
    let mut rest = data;
    // Two bytes of length before each datagram, so that templates meet their data.
    while let Some((&[high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (datagram, after) = after.split_at(length);
        rest = after;
        let mut fields = Fields::default();
        let mut records = 0;
        let decoded = decoder.decode(datagram, exporter, 1_760_000_000_000_000_000, &mut |record| {
            records += 1;
            assert!(datagram.as_ptr_range().start <= record.bytes.as_ptr_range().start);
            assert!(record.bytes.as_ptr_range().end <= datagram.as_ptr_range().end);
            fields.clear();
            record.fields(&mut fields);
            for (_, value) in fields.entries() {
                fields.bytes(record.bytes, *value);
            }
        });
        if let Ok(told) = decoded {
            assert!(told.records <= records, "{told:?}");
        }
    }
});
