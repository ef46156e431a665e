//! Any sequence of datagrams, from senders known and unknown, over a restart and over connections:
//! records lie in their datagram or in one that came before its template, templates and waiting sets stay
//! within their limits, and nothing disappears uncounted.
//!
//! The input is a series of steps. Two octets say how long the next datagram is (ten bits), who sends it
//! (two), and what happens before it (four): mostly nothing; else time passes, the decoder is stored and
//! restored, or a connection ends. So templates meet their data early, late and twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roje::decode::Fields;
use roje::decode::flow::{Decoder, Limits, Sender, Senders, Stored};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

const LIMITS: Limits =
    Limits { exporters: 2, templates: 8, domains: 4, fields: 64, bytes: 1 << 16, exporter_bytes: 1 << 15 };
const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

fn decoder(streams: bool) -> Decoder {
    let mut decoder = Decoder::new(LIMITS);
    let sender = Sender { known: true, relays: true, sampling_rate: NonZeroU32::new(7) };
    decoder.set_senders(Arc::new(Senders::new([("192.0.2.1/32".parse().unwrap(), sender)])));
    decoder.set_live();
    if streams {
        decoder.set_streams(LIMITS.exporters);
    }
    decoder
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let streams = first & 1 != 0;
    let mut decoder = decoder(streams);
    let mut now = 1_760_000_000_000_000_000;
    let mut fields = Fields::default();
    while let Some((&[high, low], after)) = rest.split_first_chunk() {
        let word = u16::from_be_bytes([high, low]);
        let length = usize::from(word & 0x3ff).min(after.len());
        let who = word >> 10 & 3;
        let exporter = SocketAddr::new(IpAddr::V4([192, 0, 2, who as u8].into()), 2055 + (who & 1));
        match word >> 12 {
            12 => now += 2 * SECOND,
            13 => now += 13 * HOUR,
            14 => {
                let stored = Stored::from_json(&decoder.store().to_json()).expect("its own form");
                let templates = stored.templates();
                decoder = self::decoder(streams);
                assert!(decoder.restore(&stored, now) <= templates);
            }
            15 => decoder.close(exporter),
            _ => {}
        }
        let (datagram, after) = after.split_at(length);
        rest = after;
        let mut records = 0;
        let before = decoder.waiting_counts();
        let decoded = decoder.decode(datagram, exporter, now, &mut |record| {
            records += 1;
            if !record.is_replayed() {
                assert!(datagram.as_ptr_range().start <= record.bytes.as_ptr_range().start);
                assert!(record.bytes.as_ptr_range().end <= datagram.as_ptr_range().end);
            }
            let flow = record.flow();
            let mut offered = false;
            record.any_address(|address| {
                offered |= flow.addresses().any(|known| match known {
                    IpAddr::V4(known) => address == known.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(known) => address == known.to_bits(),
                });
                false
            });
            assert!(offered || flow.addresses().next().is_none(), "{flow:?}");
            if let (Some(start), Some(end)) = (flow.start, flow.end) {
                assert!(start <= end);
            }
            record.names(&mut |_, offset, name| {
                assert_eq!(record.bytes.get(offset as usize..offset as usize + name.len()), Some(name));
            });
            fields.clear();
            record.fields(&mut fields);
            for (_, value) in fields.entries() {
                fields.bytes(record.bytes, *value);
            }
        });
        if let Ok(told) = decoded {
            assert_eq!(told.records, records, "{told:?}");
        }
        let waited = decoder.waiting_counts();
        assert!(waited.kept >= before.kept);
        assert_eq!(waited.kept, waited.replayed + waited.full + waited.expired + decoder.waiting_sets());
        assert!(decoder.template_bytes() <= LIMITS.bytes && decoder.waiting_bytes() <= 16 << 20);
    }
    let mut exporters = 0;
    decoder.exporters(|_| exporters += 1);
    assert!(exporters <= data.len());
});
