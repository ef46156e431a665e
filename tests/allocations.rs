//! A message that does not match, and a flow record that does not match, allocate nothing.
#![allow(unsafe_code)] // a global allocator that counts

use arc_swap::ArcSwap;
use roje::detect::RuleSet;
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::input::{Format, Message};
use roje::metrics::Metrics;
use roje::worker::{InputPolicy, Shared, Worker};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged; counting touches only a
// constant-initialised thread-local without destructor, which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECEIVED: i64 = 1_760_000_000_000_000_000;

fn rules() -> RuleSet {
    let info = SetInfo {
        name: "planted".into(),
        producer: None,
        feed: None,
        reference: None,
        mode: Mode::Indicators,
        path: "planted.yaml".into(),
        digest: "00".into(),
    };
    let mut set = SetBuilder::new(info);
    let meta = set.meta(&Meta::default());
    for (kind, value) in [
        (Kind::Ip, "198.51.100.7"),
        (Kind::Ip, "203.0.113.0/24"),
        (Kind::Ip, "2001:db8:bad::/48"),
        (Kind::Domain, "evil.example"),
        (Kind::Url, "http://drop.example/payload.bin"),
        (Kind::Email, "phish@lure.example"),
        (Kind::Md5, "9e107d9d372bb6826bd81d3542a419d6"),
        (Kind::Sha256, "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"),
        (Kind::Text, "disable_defender.exe"),
        (Kind::Text, "vssadmin delete shadows"),
    ] {
        let value = normalise(kind, value, true).expect("a value");
        set.add(&value, meta, None);
    }
    RuleSet::new(vec![Arc::new(set.build())])
}

fn worker(format: Format) -> (Worker, crossbeam_channel::Receiver<roje::alert::Raised>) {
    let (alerts, hits) = crossbeam_channel::bounded(16);
    let policy = InputPolicy {
        index: 0,
        format,
        allow: Vec::new(),
        timezone: jiff::tz::TimeZone::UTC,
        senders: Arc::default(),
    };
    let shared = Shared { rules: Arc::new(ArcSwap::from_pointee(rules())), alerts, metrics: Metrics::new() };
    (Worker::new(0, "test", Arc::new(ArcSwap::from_pointee(policy)), shared), hits)
}

fn feed(worker: &mut Worker, messages: &[Vec<u8>], times: usize) {
    let peer: SocketAddr = "192.0.2.10:2055".parse().expect("an address");
    for _ in 0..times {
        worker.begin();
        for bytes in messages {
            worker.messages(&[Message { bytes, peer: Some(peer), received: RECEIVED, truncated: false }]);
        }
        worker.end();
    }
}

fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    act();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_hundred_thousand_clean_messages_allocate_nothing() {
    let lines: Vec<Vec<u8>> = [
        "<134>Oct 11 22:14:15 fw1 kernel: DROP IN=eth0 SRC=10.0.0.5 DST=198.51.100.70 PROTO=TCP SPT=4242 DPT=443",
        "<34>1 2026-10-11T22:14:15.003Z host.example.com su - ID47 [ex@32473 iut=\"3\" source=\"A\\\"pp\"] failed for x@y.example",
        "<34>Oct 11 22:14:15 ns1 named[7]: client 192.0.2.44#5353: query: www.notevil.example.com IN AAAA",
        "<30>Oct 11 22:14:15 proxy squid[1]: 1665526455.1 10 10.1.1.1 TCP_MISS/200 GET https://www.example.org:443/a%2Fb?c=d#e - DIRECT/93.184.216.34",
        "<13>1 2026-10-11T22:14:15Z edr - - - - {\"md5\":\"00000000000000000000000000000001\",\"url\":\"http:\\/\\/drop.example\\/other\"}",
        "date=2026-10-11 time=22:14:15 devname=\"FGT\" srcip=10.1.1.1 dstip=2001:db8::5 hostname=\"cdn.example.net\" action=\"accept\"",
        "CEF:0|Vendor|Product|1.0|100|worm \\| stopped|10|src=10.0.0.1 dst=2.1.2.2 spt=1232 request=https://a.example/x",
        "hxxp://not-listed[.]example/x and phish(at)lure.example.org vssadmin list shadows",
        "2026-10-11 22:14:15 10.44.0.136 GET /a /c+d 443 CORP\\\\joe 10.50.6.188 Mozilla/4.0+(compatible) - 404 0 64 0",
        "2026-10-11 22:14:15 something else that begins with a stamp of this form and goes on for some words",
        "192.0.2.44 - joe doe [26/Dec/2026:16:16:29 +0200] \"GET /index.html HTTP/1.1\" 200 45 \"-\" \"curl/8.5\"",
        "<134>192.0.2.44 ident joe [26/Dec/2026:16:16:29 +0200] \"GET /index.html HTTP/1.1\" 200 45",
        "no header at all ëç \x00\x01 t.co 1.2.3 ::1 fe80::1%eth0 aa:bb:cc:dd:ee:ff",
    ]
    .iter()
    .map(|line| line.as_bytes().to_vec())
    .collect();
    let (mut worker, hits) = worker(Format::Syslog);
    feed(&mut worker, &lines, 3);
    let rounds = 100_000usize.div_ceil(lines.len());
    for line in &lines {
        let count = allocations(|| feed(&mut worker, std::slice::from_ref(line), rounds));
        assert_eq!(count, 0, "{}", String::from_utf8_lossy(line));
    }
    assert!(hits.is_empty(), "{:?}", hits.try_iter().collect::<Vec<_>>());
}

#[test]
fn a_million_clean_flow_records_allocate_nothing() {
    let datagrams =
        vec![netflow5(30), netflow9(24), ipfix_variable(24), ipfix_named(22, "www.clean.example")];
    let (mut worker, hits) = worker(Format::Flow);
    feed(&mut worker, &datagrams, 3);
    let rounds = 1_000_000usize.div_ceil(30 + 24 + 24 + 22);
    assert_eq!(allocations(|| feed(&mut worker, &datagrams, rounds)), 0);
    assert!(hits.is_empty(), "{:?}", hits.try_iter().collect::<Vec<_>>());
}

#[test]
fn the_same_worker_does_find_what_is_planted() {
    let (mut syslog, hits) = worker(Format::Syslog);
    feed(&mut syslog, &[b"<34>Oct 11 22:14:15 ns1 named: query: a.evil.example IN A".to_vec()], 1);
    assert_eq!(hits.try_iter().count(), 1);
    let (mut flows, hits) = worker(Format::Flow);
    let mut planted = netflow5(1);
    planted[24 + 4..24 + 8].copy_from_slice(&[198, 51, 100, 7]);
    feed(&mut flows, &[planted], 1);
    assert_eq!(hits.try_iter().count(), 1);
    feed(&mut flows, &[ipfix_named(1, "c2.evil.example")], 1);
    assert_eq!(hits.try_iter().count(), 1);
}

fn netflow5(records: u16) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(5u16.to_be_bytes()); // version
    datagram.extend(records.to_be_bytes());
    datagram.extend(60_000u32.to_be_bytes()); // sysUpTime, ms
    datagram.extend(1_760_000_000u32.to_be_bytes()); // unix_secs
    datagram.extend([0; 4]); // unix_nsecs
    datagram.extend(1u32.to_be_bytes()); // flow_sequence
    datagram.extend([0, 0, 0, 0]); // engine, sampling
    for record in 0..records {
        datagram.extend([10, 0, 0, record as u8, 192, 0, 2, 1, 0, 0, 0, 0]); // src, dst, next hop
        datagram.extend([0, 1, 0, 2]); // input, output
        datagram.extend(10u32.to_be_bytes()); // packets
        datagram.extend(1000u32.to_be_bytes()); // octets
        datagram.extend(50_000u32.to_be_bytes()); // first
        datagram.extend(55_000u32.to_be_bytes()); // last
        datagram.extend([0xc0, 0x00, 0x01, 0xbb, 0, 0x1b, 6, 0]); // ports, pad, flags, protocol, tos
        datagram.extend([0; 8]); // AS numbers, masks, pad
    }
    datagram
}

/// A template (id 256) and records of it, as an exporter sends them together.
fn netflow9(records: u16) -> Vec<u8> {
    let fields: [(u16, u16); 8] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (6, 1)];
    let mut datagram = Vec::new();
    datagram.extend(9u16.to_be_bytes());
    datagram.extend((records + 1).to_be_bytes());
    datagram.extend(60_000u32.to_be_bytes());
    datagram.extend(1_760_000_000u32.to_be_bytes());
    datagram.extend(1u32.to_be_bytes());
    datagram.extend(7u32.to_be_bytes()); // source id
    datagram.extend(0u16.to_be_bytes()); // template set
    datagram.extend((8 + 4 * fields.len() as u16).to_be_bytes());
    datagram.extend(256u16.to_be_bytes());
    datagram.extend((fields.len() as u16).to_be_bytes());
    for (element, length) in fields {
        datagram.extend(element.to_be_bytes());
        datagram.extend(length.to_be_bytes());
    }
    let size: u16 = fields.iter().map(|(_, length)| length).sum();
    datagram.extend(256u16.to_be_bytes());
    datagram.extend((4 + size * records).to_be_bytes());
    for record in 0..records {
        datagram.extend([10, 0, 1, record as u8, 192, 0, 2, 2]);
        datagram.extend([0xc0, 0x00, 0x00, 0x35, 17]);
        datagram.extend(500u32.to_be_bytes());
        datagram.extend(5u32.to_be_bytes());
        datagram.push(0);
    }
    datagram
}

/// IPFIX whose records have a variable-length field (interfaceName, 82).
fn ipfix_variable(records: u16) -> Vec<u8> {
    let fields = [(27, 16), (28, 16), (4, 1), (1, 8), (82, 0xffff)];
    ipfix(257, &fields, records, |record, data| {
        data.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, record as u8]);
        data.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        data.push(6);
        data.extend(900u64.to_be_bytes());
        text(&"GigabitEthernet0/0/1"[..8 + (record as usize % 12)], data);
    })
}

/// IPFIX whose records name a host (httpRequestHost, 460) and a path there (httpRequestTarget, 461).
fn ipfix_named(records: u16, host: &str) -> Vec<u8> {
    ipfix(258, &[(8, 4), (12, 4), (460, 0xffff), (461, 0xffff)], records, |record, data| {
        data.extend([10, 0, 0, record as u8, 192, 0, 2, 1]);
        text(host, data);
        text("/index.html?page=7", data);
    })
}

/// A text behind its length.
fn text(text: &str, data: &mut Vec<u8>) {
    data.push(text.len() as u8);
    data.extend(text.as_bytes());
}

/// A message with a template of elements and lengths, and records of it.
fn ipfix(id: u16, fields: &[(u16, u16)], records: u16, each: impl Fn(u16, &mut Vec<u8>)) -> Vec<u8> {
    let mut template = Vec::new();
    template.extend(id.to_be_bytes());
    template.extend((fields.len() as u16).to_be_bytes());
    for (element, length) in fields {
        template.extend(element.to_be_bytes());
        template.extend(length.to_be_bytes());
    }
    let mut data = Vec::new();
    (0..records).for_each(|record| each(record, &mut data));
    let length = 16 + 4 + template.len() + 4 + data.len();
    let mut datagram = Vec::new();
    datagram.extend(10u16.to_be_bytes());
    datagram.extend((length as u16).to_be_bytes());
    datagram.extend(1_760_000_000u32.to_be_bytes());
    datagram.extend(1u32.to_be_bytes());
    datagram.extend(9u32.to_be_bytes()); // observation domain
    datagram.extend(2u16.to_be_bytes());
    datagram.extend((4 + template.len() as u16).to_be_bytes());
    datagram.extend(template);
    datagram.extend(id.to_be_bytes());
    datagram.extend((4 + data.len() as u16).to_be_bytes());
    datagram.extend(data);
    datagram
}
