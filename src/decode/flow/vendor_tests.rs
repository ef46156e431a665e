//! Records as the guides of vendors describe them, of exporters of which there are no captures here: each
//! field has a name, and its place in ECS where there is one.

use super::*;
use crate::decode::Value;
use std::collections::BTreeMap;

const EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 2055);
const RECEIVED: Nanos = 1_700_000_100_000_000_000;
/// 1,700,000,000 seconds since 1970.
const EXPORTED: [u8; 4] = [0x65, 0x53, 0xf1, 0x00];
/// A length that the value states.
const TEXT: u16 = u16::MAX;

/// A field: enterprise, number, length, value.
type Told = (u32, u16, u16, &'static [u8]);

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &(4 + body.len() as u16).to_be_bytes(), body].concat()
}

fn data(fields: &[Told]) -> Vec<u8> {
    let mut record = Vec::new();
    for (_, number, length, value) in fields {
        match *length {
            TEXT => record.push(value.len() as u8),
            length => assert_eq!(value.len(), usize::from(length), "{number}"),
        }
        record.extend_from_slice(value);
    }
    set(256, &record)
}

fn ipfix(fields: &[Told]) -> Vec<u8> {
    let mut template = [256u16.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
    for (enterprise, number, length, _) in fields {
        let bit = if *enterprise > 0 { 0x8000 } else { 0 };
        template.extend([(number | bit).to_be_bytes(), length.to_be_bytes()].concat());
        if *enterprise > 0 {
            template.extend(enterprise.to_be_bytes());
        }
    }
    let sets = [set(2, &template), data(fields)].concat();
    [&[0, 10][..], &(16 + sets.len() as u16).to_be_bytes(), &EXPORTED, &[0; 4], &[0, 0, 0, 9], &sets].concat()
}

fn netflow9(fields: &[Told]) -> Vec<u8> {
    let mut template = [256u16.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
    fields.iter().for_each(|(_, number, length, _)| {
        template.extend([number.to_be_bytes(), length.to_be_bytes()].concat());
    });
    let sets = [set(0, &template), data(fields)].concat();
    // version, count, uptime of 10,000 ms, seconds, sequence, source id
    [&[0, 9, 0, 2, 0, 0, 0x27, 0x10][..], &EXPORTED, &[0; 4], &[0, 0, 0, 9], &sets].concat()
}

/// Decodes the one record of a datagram to its flow and its fields in text.
fn read(datagram: &[u8]) -> (Flow, BTreeMap<String, String>) {
    let mut found = None;
    let mut each = |record: Record<'_>| {
        let mut fields = Fields::default();
        record.fields(&mut fields);
        let text = |value: Value| match value {
            Value::Text(_) | Value::Static(_) => {
                String::from_utf8_lossy(fields.bytes(&[], value)).into_owned()
            }
            Value::Unsigned(number) => number.to_string(),
            Value::Ip(address) => address.to_string(),
            other => format!("{other:?}"),
        };
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (id, value) in fields.entries() {
            all.entry(id.name().to_owned()).or_insert_with(|| text(*value));
        }
        for extra in fields.extras() {
            all.insert(format!("flow.{}", text(extra.key)), text(extra.value));
        }
        assert!(found.replace((record.flow(), all)).is_none(), "one record");
    };
    let told = Decoder::default().decode(datagram, EXPORTER, RECEIVED, &mut each).unwrap();
    assert!(told.losses.is_none() && told.missing_templates == 0);
    found.unwrap()
}

/// Asserts that a record has these fields, and none without a name.
#[track_caller]
fn check(datagram: &[u8], expected: &[(&str, &str)]) -> Flow {
    let (flow, fields) = read(datagram);
    for (name, value) in expected {
        assert_eq!(fields.get(*name).map(String::as_str), Some(*value), "{name} in {fields:?}");
    }
    let nameless: Vec<_> =
        fields.keys().filter(|name| name.contains("enterprise_") || name.contains("scope_")).collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    flow
}

const SOURCE: Told = (0, 8, 4, &[10, 0, 0, 1]);
const DESTINATION: Told = (0, 12, 4, &[198, 51, 100, 2]);
const SOURCE_PORT: Told = (0, 7, 2, &[0xc0, 0]);
const DESTINATION_PORT: Told = (0, 11, 2, &[1, 0xbb]);
const TCP: Told = (0, 4, 1, &[6]);

/// MikroTik's Traffic Flow: what NAT made of it stands in the same record, by v9 and IPFIX alike.
#[test]
fn mikrotik() {
    let fields = [
        (0, 22, 4, &[0, 0, 0x1f, 0x40][..]),
        (0, 21, 4, &[0, 0, 0x23, 0x28]),
        (0, 2, 4, &[0, 0, 0, 5]),
        (0, 1, 4, &[0, 0, 2, 0]),
        (0, 10, 4, &[0, 0, 0, 3]),
        (0, 14, 4, &[0, 0, 0, 4]),
        SOURCE,
        DESTINATION,
        TCP,
        (0, 5, 1, &[0]),
        SOURCE_PORT,
        DESTINATION_PORT,
        (0, 15, 4, &[192, 0, 2, 254]),
        (0, 13, 1, &[24]),
        (0, 9, 1, &[16]),
        (0, 6, 1, &[0x1b]),
        (0, 81, 6, &[2, 0, 0, 0, 0, 1]),
        (0, 80, 6, &[2, 0, 0, 0, 0, 2]),
        (0, 225, 4, &[203, 0, 113, 5]),
        (0, 226, 4, &[198, 51, 100, 2]),
        (0, 227, 2, &[0x30, 0x39]),
        (0, 228, 2, &[1, 0xbb]),
    ];
    for datagram in [netflow9(&fields), ipfix(&fields)] {
        let flow = check(
            &datagram,
            &[
                ("source.ip", "10.0.0.1"),
                ("source.nat.ip", "203.0.113.5"),
                ("source.nat.port", "12345"),
                ("destination.nat.ip", "198.51.100.2"),
                ("flow.input", "3"),
                ("flow.ipNextHopIPv4Address", "192.0.2.254"),
            ],
        );
        assert_eq!(flow.translated_source, Some("203.0.113.5".parse().unwrap()));
        assert_eq!((flow.bytes, flow.packets, flow.event), (512, 5, false));
    }
}

/// Juniper's inline services: the rate stands in an options record whose scope is the domain.
#[test]
fn juniper_inline_jflow() {
    let fields = [
        SOURCE,
        DESTINATION,
        (0, 5, 1, &[0][..]),
        TCP,
        SOURCE_PORT,
        DESTINATION_PORT,
        (0, 32, 2, &[0, 0]),
        (0, 10, 4, &[0, 0, 2, 1]),
        (0, 58, 2, &[0, 7]),
        (0, 9, 1, &[24]),
        (0, 13, 1, &[24]),
        (0, 16, 4, &[0, 0, 0xfd, 0xe8]),
        (0, 17, 4, &[0, 0, 0xfd, 0xe9]),
        (0, 15, 4, &[192, 0, 2, 254]),
        (0, 6, 1, &[0x12]),
        (0, 14, 4, &[0, 0, 2, 2]),
        (0, 1, 8, &[0, 0, 0, 0, 0, 0, 5, 0xdc]),
        (0, 2, 8, &[0, 0, 0, 0, 0, 0, 0, 1]),
        (0, 52, 1, &[60]),
        (0, 53, 1, &[61]),
        (0, 152, 8, &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]),
        (0, 153, 8, &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x6b, 0xe8]),
        (0, 136, 1, &[2]),
        (0, 243, 2, &[0, 8]),
        (0, 245, 2, &[0, 0]),
        (0, 54, 4, &[0, 0, 0x12, 0x34]),
        (2636, 137, 4, &[0, 0, 0, 1]),
    ];
    let message = ipfix(&fields);
    let told = [
        ("source.as.number", "65000"),
        ("network.vlan.id", "7"),
        ("flow.juniperCommonPropertiesId", "00000001"),
        ("flow.flowEndReason", "2"),
    ];
    assert_eq!(check(&message, &told).sampling, 0);
    // Options template 512: scope exportingProcessId, then the interval and the timeouts.
    let options = [2, 0, 0, 4, 0, 1, 0, 144, 0, 4, 0, 34, 0, 4, 0, 36, 0, 2, 0, 37, 0, 2];
    let record = [0, 0, 0, 2, 0, 0, 3, 0xe8, 0, 60, 0, 15];
    let sets = [set(3, &options), set(512, &record)].concat();
    let length = (16 + sets.len() as u16).to_be_bytes();
    let options = [&[0, 10][..], &length, &EXPORTED, &[0; 4], &[0, 0, 0, 9], &sets].concat();
    let mut decoder = Decoder::default();
    decoder.decode(&options, EXPORTER, RECEIVED, &mut |record| assert!(record.flow().state)).unwrap();
    let mut rate = 0;
    decoder.decode(&message, EXPORTER, RECEIVED, &mut |record| rate = record.flow().sampling).unwrap();
    assert_eq!(rate, 1000);
}

/// Palo Alto: App-ID and User-ID are texts of fixed length; a denied flow is event 3.
#[test]
fn palo_alto() {
    let fields = [
        SOURCE,
        DESTINATION,
        SOURCE_PORT,
        DESTINATION_PORT,
        TCP,
        (0, 1, 8, &[0, 0, 0, 0, 0, 0, 2, 0][..]),
        (0, 2, 8, &[0, 0, 0, 0, 0, 0, 0, 5]),
        (0, 61, 1, &[0]),
        (0, 148, 4, &[0, 0, 0, 77]),
        (0, 233, 1, &[3]),
        (0, 346, 4, &[0, 0, 0x63, 0x75]),
        (0, 56701, 32, b"web-browsing\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (0, 56702, 16, b"corp\\alice\0\0\0\0\0\0"),
        (0, 225, 4, &[203, 0, 113, 5]),
    ];
    let told = [
        ("network.application", "web-browsing"),
        ("user.name", "corp\\alice"),
        ("event.action", "flow_denied"),
        ("network.direction", "ingress"),
        ("flow.flowId", "77"),
        ("flow.privateEnterpriseNumber", "25461"),
        ("source.nat.ip", "203.0.113.5"),
    ];
    let flow = check(&netflow9(&fields), &told);
    assert!(flow.denied && flow.event);
}

/// FortiGate: the application is a number of the vendor's own, which options name.
#[test]
fn fortigate() {
    let fields = [
        (0, 1, 8, &[0, 0, 0, 0, 0, 0, 2, 0][..]),
        (0, 23, 8, &[0, 0, 0, 0, 0, 0, 4, 0]),
        (0, 2, 4, &[0, 0, 0, 5]),
        (0, 24, 4, &[0, 0, 0, 6]),
        (0, 22, 4, &[0, 0, 0x1f, 0x40]),
        (0, 21, 4, &[0, 0, 0x23, 0x28]),
        SOURCE_PORT,
        DESTINATION_PORT,
        (0, 10, 4, &[0, 0, 0, 3]),
        (0, 14, 4, &[0, 0, 0, 4]),
        TCP,
        // engine 20, the enterprise, the selector
        (0, 95, 9, &[20, 0, 0, 0x30, 0x44, 0, 0, 0x3c, 0x16]),
        (0, 65, 2, &[0x0c, 0x4c]),
        (0, 89, 1, &[64]),
        (0, 136, 1, &[3]),
        SOURCE,
        DESTINATION,
        (0, 225, 4, &[203, 0, 113, 5]),
        (0, 226, 4, &[0, 0, 0, 0]),
        (0, 227, 2, &[0x30, 0x39]),
        (0, 228, 2, &[0, 0]),
    ];
    let datagram = netflow9(&fields);
    let told = [
        ("source.bytes", "512"),
        ("flow.postOctetDeltaCount", "1024"),
        ("flow.applicationId", "140000304400003c16"),
        ("flow.flowFlags", "3148"),
        ("source.nat.ip", "203.0.113.5"),
    ];
    let flow = check(&datagram, &told);
    assert_eq!((flow.translated_destination, flow.denied), (None, false));
}

/// Huawei NetStream: IANA's elements, and the port of a GPON.
#[test]
fn huawei_netstream() {
    let fields = [
        SOURCE,
        DESTINATION,
        (0, 15, 4, &[192, 0, 2, 254][..]),
        (0, 10, 4, &[0, 0, 0, 3]),
        (0, 14, 4, &[0, 0, 0, 4]),
        (0, 2, 4, &[0, 0, 0, 5]),
        (0, 1, 4, &[0, 0, 2, 0]),
        (0, 22, 4, &[0, 0, 0x1f, 0x40]),
        (0, 21, 4, &[0, 0, 0x23, 0x28]),
        SOURCE_PORT,
        DESTINATION_PORT,
        TCP,
        (0, 6, 1, &[2]),
        (0, 5, 1, &[0]),
        (0, 16, 4, &[0, 0, 0xfd, 0xe8]),
        (0, 17, 4, &[0, 0, 0xfd, 0xe9]),
        (0, 9, 1, &[24]),
        (0, 13, 1, &[24]),
        (0, 61, 1, &[1]),
        (0, 48, 1, &[1]),
        (0, 34, 4, &[0, 0, 0, 100]),
        (0, 35, 1, &[1]),
        (0, 234, 4, &[0, 0, 0, 9]),
    ];
    let told = [("network.direction", "egress"), ("flow.sampling_rate", "100"), ("flow.ingressVRFID", "9")];
    assert_eq!(check(&netflow9(&fields), &told).sampling, 100);
    let port = [SOURCE, DESTINATION, (2011, 1, 2, &[0, 5][..])];
    check(&ipfix(&port), &[("flow.ingressGponGemPortId", "5")]);
}

/// Nokia's log of NAT: inside and outside services, and the subscriber.
#[test]
fn nokia_nat() {
    let fields = [
        (0, 323, 8, &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0][..]),
        (0, 230, 1, &[4]),
        SOURCE,
        (0, 225, 4, &[203, 0, 113, 5]),
        SOURCE_PORT,
        (0, 227, 2, &[0x30, 0x39]),
        TCP,
        (637, 91, 2, &[0, 10]),
        (637, 92, 2, &[0, 20]),
        (637, 93, TEXT, b"sub-4711"),
    ];
    let told = [
        ("event.action", "nat44_session_create"),
        ("source.nat.port", "12345"),
        ("flow.aluInsideServiceId", "10"),
        ("flow.aluNatSubString", "sub-4711"),
    ];
    let flow = check(&ipfix(&fields), &told);
    assert!(flow.event && flow.end == Some(1_700_000_000_000_000_000));
}

#[test]
fn sophos() {
    let fields =
        [SOURCE, DESTINATION, (9789, 1, 2, &[0, 50][..]), (9789, 2, TEXT, b"dns"), (9789, 4, 1, &[1])];
    check(&ipfix(&fields), &[("flow.afcProtocol", "50"), ("flow.afcProtocolName", "dns")]);
}

/// VMware's distributed firewall.
#[test]
fn vmware_distributed_firewall() {
    let fields = [
        SOURCE,
        DESTINATION,
        SOURCE_PORT,
        DESTINATION_PORT,
        TCP,
        (0, 1, 8, &[0, 0, 0, 0, 0, 0, 2, 0][..]),
        (0, 2, 8, &[0, 0, 0, 0, 0, 0, 0, 5]),
        (0, 233, 1, &[3]),
        (6876, 950, 4, &[0, 0, 3, 0xe9]),
        (6876, 951, 16, &[0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (6876, 952, 4, &[0, 0, 0, 1]),
        (6876, 953, 1, &[1]),
        (6876, 954, 1, &[1]),
        (6876, 961, TEXT, b"vif-1"),
    ];
    let told = [
        ("event.action", "flow_denied"),
        ("flow.ruleId", "1001"),
        ("flow.vmUuid", "500102030405060708090a0b0c0d0e0f"),
        ("flow.vifId", "vif-1"),
    ];
    assert!(check(&ipfix(&fields), &told).denied);
}

/// softflowd with `-A micro` and the like: times of microseconds, and the sampling options.
#[test]
fn softflowd() {
    // Seconds since 1900 and fractions of 2^-32 (RFC 7011, section 6.1.9).
    let seconds = 1_700_000_000u64 + 2_208_988_800;
    let start: &'static [u8] = Box::leak(Box::new((seconds << 32 | 1 << 31).to_be_bytes()));
    let end: &'static [u8] = Box::leak(Box::new(((seconds + 1) << 32).to_be_bytes()));
    let fields = [
        SOURCE,
        DESTINATION,
        (0, 154, 8, start),
        (0, 155, 8, end),
        (0, 1, 4, &[0, 0, 2, 0]),
        (0, 2, 4, &[0, 0, 0, 5]),
        (0, 10, 4, &[0, 0, 0, 0]),
        (0, 14, 4, &[0, 0, 0, 0]),
        SOURCE_PORT,
        DESTINATION_PORT,
        TCP,
        (0, 6, 1, &[2]),
        (0, 60, 1, &[4]),
        (0, 5, 1, &[0]),
        (0, 32, 2, &[0, 0]),
        (0, 58, 2, &[0, 0]),
    ];
    let flow = check(&ipfix(&fields), &[("flow.ipVersion", "4")]);
    let second = 1_000_000_000;
    assert_eq!(flow.start, Some(1_700_000_000 * second + second / 2));
    assert_eq!(flow.end, Some(1_700_000_001 * second));
}

/// Cisco ASA's NSEL: a denied connection, with the access list and the user.
#[test]
fn cisco_asa() {
    let fields = [
        (0, 148, 4, &[0, 0, 0, 7][..]),
        SOURCE,
        SOURCE_PORT,
        (0, 10, 2, &[0, 3]),
        DESTINATION,
        DESTINATION_PORT,
        (0, 14, 2, &[0, 4]),
        TCP,
        (0, 176, 1, &[0]),
        (0, 177, 1, &[0]),
        (0, 40001, 4, &[203, 0, 113, 5]),
        (0, 40002, 4, &[0, 0, 0, 0]),
        (0, 40003, 2, &[0x30, 0x39]),
        (0, 40004, 2, &[0, 0]),
        (0, 40005, 1, &[3]),
        (0, 33002, 2, &[3, 0xe9]),
        (0, 323, 8, &[0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]),
        (0, 33000, 12, &[1; 12]),
        (0, 33001, 12, &[0; 12]),
        (0, 40000, 20, b"alice\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (0, 231, 4, &[0, 0, 0, 0]),
        (0, 232, 4, &[0, 0, 0, 0]),
    ];
    let told = [
        ("event.action", "flow_denied"),
        ("flow.firewallEventExtended", "1001"),
        ("flow.ingressAclId", "010101010101010101010101"),
        ("user.name", "alice"),
        ("source.nat.ip", "203.0.113.5"),
        ("source.nat.port", "12345"),
    ];
    let flow = check(&netflow9(&fields), &told);
    assert!(flow.denied && flow.event && flow.end == Some(1_700_000_000_000_000_000));
}

/// Citrix NetScaler: what a request was for.
#[test]
fn netscaler_appflow() {
    let fields = [
        SOURCE,
        DESTINATION,
        (5951, 129, 4, &[0, 0, 0, 9][..]),
        (5951, 130, TEXT, b"/login"),
        (5951, 141, TEXT, b"POST"),
        (5951, 142, TEXT, b"www.evil.example"),
        (5951, 143, TEXT, b"curl/8"),
        (5951, 144, 2, &[1, 0x94]),
    ];
    let told = [
        ("url.original", "/login"),
        ("url.domain", "www.evil.example"),
        ("http.request.method", "POST"),
        ("user_agent.original", "curl/8"),
        ("http.response.status_code", "404"),
        ("flow.transactionId", "9"),
    ];
    check(&ipfix(&fields), &told);
}

/// nProbe: by IPFIX with its enterprise, and by v9 counted from 57472.
#[test]
fn ntop() {
    let numbered = |base: u16, enterprise: u32| {
        [
            SOURCE,
            DESTINATION,
            (enterprise, base + 119, 8, &b"TLS.Evil"[..]),
            (enterprise, base + 187, 12, b"evil.example"),
            (enterprise, base + 188, 12, b"evil.example"),
            (enterprise, base + 489, 4, b"abcd"),
        ]
    };
    for datagram in [ipfix(&numbered(0, 35632)), netflow9(&numbered(57472, 0))] {
        let told = [
            ("network.application", "TLS.Evil"),
            ("url.domain", "evil.example"),
            ("tls.client.server_name", "evil.example"),
            ("tls.client.ja3", "abcd"),
        ];
        check(&datagram, &told);
    }
}
