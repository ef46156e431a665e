//! Sides, ports and fields of matches in syslog messages, through the real decoder.

use jiff::tz::TimeZone;
use roje::decode::syslog::Reference;
use roje::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use roje::detect::{Match, Matcher, RuleSet, Side, Validity};
use std::sync::Arc;

fn rules(kind: Kind, value: &str, meta: &Meta) -> RuleSet {
    let mut builder = SetBuilder::new(SetInfo {
        name: "s".into(),
        producer: None,
        feed: None,
        reference: None,
        mode: Mode::Indicators,
        path: "s.yaml".into(),
        digest: String::new(),
    });
    let id = builder.meta(meta);
    builder.add(&normalise(kind, value, meta.nocase).unwrap(), id, None);
    RuleSet::new(vec![Arc::new(builder.build())])
}

fn matches(rules: &RuleSet, message: &str) -> Vec<Match> {
    let reference = Reference { now: 1_790_000_000_000_000_000, timezone: TimeZone::UTC };
    let mut all = Vec::new();
    let validity = Validity::At(reference.now);
    Matcher::default().message(rules, message.as_bytes(), validity, &reference, &mut |found| all.push(found));
    all
}

const CEF: &str = "<134>Oct 11 22:14:15 fw1 CEF:0|Vendor|Firewall|1.0|100|Connection|5|\
    src=10.0.0.1 spt=50000 dst=198.51.100.7 dpt=443 act=allow";

#[test]
fn sides_and_ports_bind_in_a_known_body() {
    let policy = |source, destination, port: &[u16]| Meta {
        where_source: source,
        where_destination: destination,
        ports: port.to_vec(),
        ..Meta::default()
    };
    for (name, policy, hit) in [
        ("any", policy(false, false, &[]), true),
        ("destination", policy(false, true, &[]), true),
        ("destination and port", policy(false, true, &[443]), true),
        ("other port", policy(false, true, &[80]), false),
        ("source", policy(true, false, &[]), false),
    ] {
        let found = matches(&rules(Kind::Ip, "198.51.100.7", &policy), CEF);
        assert_eq!(found.len(), usize::from(hit), "{name}");
        for one in found {
            assert_eq!((one.side, one.field), (Side::Destination, "destination.ip"), "{name}");
        }
    }
}

#[test]
fn free_text_does_not_say_the_side() {
    let policy = Meta { where_destination: true, ports: vec![443], ..Meta::default() };
    let message = "<34>Oct 11 22:14:15 host app[7]: something about 198.51.100.7 here";
    let found = matches(&rules(Kind::Ip, "198.51.100.7", &policy), message);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].side, found[0].field), (Side::Unknown, "message"));
}

#[test]
fn what_cannot_be_decoded_is_matched_raw() {
    let found =
        matches(&rules(Kind::Domain, "evil.example", &Meta::default()), "\u{0}\u{1}evil.example\u{2}");
    assert_eq!(found.len(), 1);
}
