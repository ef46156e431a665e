//! Compares what `decode` writes with what other projects expect of the same lines.
//!
//! Needs the folder that `ROJE_DATA` names. The result is the section "Syslog" of
//! `docs/conformance.md`, whose numbers may only rise; `ROJE_BLESS=1` writes it anew. With
//! `ROJE_SHOW=source`, or `all`, the differences are printed: bodies, source, field, ours, theirs, line.
#![cfg(feature = "real-data")]

mod conformance;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roje::decode::syslog::{Bodies, Reference, decode, decode_bodies, header};
use roje::decode::{FieldId, Fields, ecs};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Columns of the table, and the ECS names that each stands for.
const COLUMNS: [(&str, &[&str]); 5] = [
    ("time", &["@timestamp"]),
    ("host", &["host.name", "host.hostname"]),
    ("app", &["process.name"]),
    ("pid", &["process.pid", "log.syslog.procid"]),
    ("message", &["message"]),
];

/// Values that indicators are matched with and alerts are assigned by.
const WANTED: [&str; 16] = [
    "source.ip",
    "source.port",
    "destination.ip",
    "destination.port",
    "user.name",
    "source.user.name",
    "url.original",
    "url.domain",
    "url.path",
    "dns.question.name",
    "network.transport",
    "file.name",
    "file.hash.md5",
    "file.hash.sha1",
    "file.hash.sha256",
    "email.from.address",
];

/// Why values are not equal: the sources (by the ends of their names), the fields (by their starts), and
/// the reason. The first that fits holds; a test refuses a deviation that none explains.
#[rustfmt::skip]
const REASONS: &[(&[&str], &[&str], &str)] = &[
    (&["beats system"], &["process.name"], "macOS writes `launchd[1] (subject): `: here app, process id and message id, there all of it is the app"),
    (&["apache", "iis"], &["url.original", "url.path", "url.query"], "escapes (`%20`, IIS's `+`) are undone there; a request that names no path has none here"),
    (&["beats-cef", "symantec_endpoint"], &["source.mac", "destination.mac"], "hardware addresses have the form of ECS here"),
    (&["cisco_asa"], &["process.name", "app"], "`<IP>` in place of a name is a host here, a program there"),
    (&["sophos"], &["@timestamp"], "the zone that the line names is obeyed here; a configured one overrides it there"),
    (&["apache", "cisco_nexus", "cisco_ios", "elastic system"], &["@timestamp"], "the zone is known from a configuration there; `CST` is US time here, `AEST` ten hours east and not a configured eleven"),
    (&["panw", "citrix_waf", "checkpoint", "cyberarkpas"], &["@timestamp"], "a header with year or zone is believed before the body's time, which is kept as a string"),
    (&["snort"], &["@timestamp"], "the day and month of 09/03/21 become the 4th of January there"),
    (&["forcepoint_web", "symantec_endpoint"], &["@timestamp", "time", "host", "user.name", "url.domain", "url.original", "url.path", "destination.ip", "file.hash.sha1"], "columns without names and in no order that is known; text in place of the host's name"),
    (&["symantec_endpoint", "zscaler_zia", "cisco_ise", "cisco_aironet", "netscout", "squid", "iptables", "panw", "juniper_srx", "sonicwall_firewall", "checkpoint", "suricata", "sophos", "cisco_ftd"], &["message"], "the message there is the whole line, what is left of it behind the columns that were read, or composed of several fields"),
    (&["cisco_aironet", "cisco_nexus", "cisco_secure_email_gateway"], &["pid", "process.pid", "host", "user.name", "url.path"], "the value stands inside a sentence of this product alone"),
    (&["pulse_connect_secure", "f5_bigip", "fortinet_fortigate", "zscaler_zia"], &["host"], "of several names in the line another is taken there: that of the relay, of the client"),
    (&["juniper_srx"], &["app"], "a second header inside the message is read there"),
    (&["checkpoint", "cisco_meraki", "cisco_asa", "cisco_ftd", "fortinet_fortigate", "juniper_srx", "panw", "qnap_nas", "sonicwall_firewall"], &["event.action"], "`event.action` is what the device did here, a class of events or another word for it there"),
    (&["panw"], &["event.outcome", "rule.name", "network.transport"], "a rule of another column; a tunnel in place of a transport"),
    (&["sophos"], &["event.code", "rule.id", "source.bytes", "network.transport"], "the last digits of `log_id` alone, the signature in place of the firewall rule, bytes the other way round, `0` as a transport"),
    (&["sophos"], &["observer.serial_number", "url.domain", "destination.ip"], "`source=` and `localip=` of one component, a value with a blank that has no quotes"),
    (&["auditd"], &["user.id", "source.ip"], "`user.id` is `uid` here, `auid` there; one address stands in a text that is no list of pairs"),
    (&["cisco_asa", "cisco_ftd"], &["source.ip", "source.port", "source.user.name", "destination.ip", "destination.port", "observer.egress.interface.name", "observer.ingress.interface.name", "user.name"], "an inbound ICMP connection goes from the foreign address here; a connection that is outbound between two interfaces from the inner one; where the firewall wrote a name there is no address here"),
    (&["cisco_ios", "cisco_nexus"], &["source.port", "source.user.name", "destination.port"], "who logs in is `user.name` here; the port of the device itself is no source port"),
    (&["checkpoint"], &["source.user.name", "dns.question.name", "rule.name", "network.direction", "event.start"], "the administrator is `user.name` here; the domain of an administrator is no DNS name; the first of two values; `event.start` stays a number there"),
    (&["cisco_ise", "fortinet_fortimail"], &["log.syslog.facility.code", "log.syslog.severity.code", "log.syslog.severity.name"], "the priority is that of the header here, of the body there"),
    (&["fortinet_fortigate", "fortinet_fortimail", "sophos", "juniper_srx", "zscaler_zia", "cyberarkpas"], &["source.user.name", "user.name"], "without two sides of a connection the user is `user.name` here"),
    (&["fortinet_fortigate", "cyberarkpas"], &["source.ip", "destination.ip"], "a lone `remip` is who connects here; `Station` is where the user sits here"),
    (&["barracuda", "barracuda_cloudgen_firewall"], &["rule.name", "http.request.referrer", "url.path", "url.query", "user.name", "destination.port"], "the kind of the attack is the rule here; columns that differ with the version; a bare `port` is nobody's"),
    (&["haproxy", "nginx", "sonicwall_firewall", "modsecurity"], &["source.ip", "source.port", "url.domain", "url.original", "url.path", "url.query"], "of a list of proxies the first is taken here, the first public one there; `-:22222` is no endpoint; URLs are composed of parts there"),
    (&["suricata", "pulse_connect_secure"], &["tls.client.server_name", "url.path", "user.domain"], "the outer of two values of the same meaning is taken here"),
    (&["pfsense", "coredns"], &["source.ip", "source.port", "destination.ip"], "the other party of a DHCP message"),
    (&["symantec_endpoint"], &["network.direction", "network.transport"], "`network.direction` is `ingress` or unknown there; `OTHERS` and `ETHERNET` are no transports"),
    (&["zeek", "zscaler_zia"], &["network.transport", "user.name", "url.original", "destination.ip"], "the transport is inferred from the kind of the log there; a key of one product; a scheme is added there"),
];

/// What one source came to: equal and compared.
#[derive(Default, Clone)]
struct Tally {
    lines: usize,
    /// Lines without header, matched raw and kept.
    headless: usize,
    /// Lines of which every byte can be read back from the event.
    kept: usize,
    columns: [(usize, usize); COLUMNS.len()],
    /// Times that differ by whole quarters of an hour: another zone.
    zones: usize,
    /// With every decoder of bodies, and with the generic ones alone.
    bodies: [Counts; 2],
}

#[derive(Default, Clone, Copy)]
struct Counts {
    /// ECS fields that both sides have.
    fields: (usize, usize),
    /// Of [`WANTED`], whether or not they were found.
    wanted: (usize, usize),
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        let sum = |to: &mut (usize, usize), from: &(usize, usize)| {
            to.0 += from.0;
            to.1 += from.1;
        };
        self.lines += other.lines;
        self.headless += other.headless;
        self.kept += other.kept;
        self.zones += other.zones;
        self.columns.iter_mut().zip(&other.columns).for_each(|(to, from)| sum(to, from));
        for (to, from) in self.bodies.iter_mut().zip(&other.bodies) {
            sum(&mut to.fields, &from.fields);
            sum(&mut to.wanted, &from.wanted);
        }
    }
}

impl Tally {
    /// Time, host, app and process id: what a header has.
    fn header(&self) -> (usize, usize) {
        let [header @ .., _message] = &self.columns;
        header.iter().fold((0, 0), |sum, column| (sum.0 + column.0, sum.1 + column.1))
    }

    /// The same, and the message, which other projects cut or compose in ways of their own.
    fn header_and_message(&self) -> (usize, usize) {
        let (header, [.., message]) = (self.header(), &self.columns);
        (header.0 + message.0, header.1 + message.1)
    }
}

const BODIES: [Bodies; 2] = [Bodies::All, Bodies::Generic];

struct Sources {
    root: PathBuf,
    tallies: BTreeMap<String, Tally>,
    /// Values that differ or are missing, with every decoder, by source and field.
    deviations: BTreeMap<(String, String), usize>,
    show: Option<String>,
}

/// The moment of receipt where the expected result tells none.
const NOW: i64 = 1_795_266_000_000_000_000;

impl Sources {
    fn open() -> Self {
        let root = std::env::var_os("ROJE_DATA").expect("ROJE_DATA names the folder of the data");
        let root = PathBuf::from(root).join("syslog");
        assert!(root.is_dir(), "no folder syslog under ROJE_DATA");
        Sources {
            root,
            tallies: BTreeMap::new(),
            deviations: BTreeMap::new(),
            show: std::env::var("ROJE_SHOW").ok(),
        }
    }

    fn json(&self, path: &str) -> Value {
        read_json(&self.root.join(path))
    }

    /// Decodes one line and compares it with the expected flat names.
    fn compare(&mut self, source: &str, line: &[u8], expected: &Map<String, Value>, zone: Option<&str>) {
        let time = expected
            .get("@timestamp")
            .and_then(Value::as_str)
            .and_then(|text| text.parse::<Timestamp>().ok());
        // Received when it was sent, so that the year of a stamp without one is the expected one.
        let now = time.map_or(NOW, |time| time.as_nanosecond() as i64);
        let reference = Reference { now, timezone: zone_of(zone) };
        let shown = self.show.as_deref().is_some_and(|show| show == source || show == "all");
        let tally = self.tallies.entry(source.to_owned()).or_default();
        tally.lines += 1;
        tally.headless += usize::from(header(line).is_err());
        tally.kept += usize::from(is_kept(line));
        let lower = line.to_ascii_lowercase();
        // `-` says that there is none.
        let told = |(_, want): &(&String, &Value)| !["", "-"].contains(&scalar(want).as_str());
        let expected: Map<String, Value> =
            expected.iter().filter(told).map(|(name, want)| (name.clone(), want.clone())).collect();
        for (bodies, counts) in BODIES.into_iter().zip(&mut tally.bodies) {
            let got = flat(line, &reference, bodies);
            let deviations = &mut self.deviations;
            let mut differ = |name: &str, want: &Value| {
                if bodies == Bodies::All {
                    *deviations.entry((source.to_owned(), name.to_owned())).or_default() += 1;
                }
                if shown {
                    let have = got.get(name).unwrap_or(&Value::Null);
                    println!(
                        "{bodies:?}\t{source}\t{name}\t{have}\t{want}\t{}",
                        String::from_utf8_lossy(line)
                    );
                }
            };
            let columns = match bodies {
                Bodies::All => tally.columns.as_mut_slice(),
                // A header is one for all bodies.
                Bodies::Generic => &mut [],
            };
            for ((name, fields), counts) in COLUMNS.iter().zip(columns) {
                let Some(want) = fields.iter().find_map(|field| expected.get(*field)) else { continue };
                // A host that the line does not name comes from the configuration or the agent there.
                if *name == "host"
                    && memchr::memmem::find(&lower, scalar(want).to_ascii_lowercase().as_bytes()).is_none()
                {
                    continue;
                }
                let have = fields.iter().find_map(|field| got.get(*field));
                let equal = have.is_some_and(|have| same(have, want));
                add(counts, equal);
                if !equal {
                    tally.zones +=
                        usize::from(*name == "time" && have.is_some_and(|have| is_other_zone(have, want)));
                    differ(fields.iter().find(|field| got.contains_key(**field)).unwrap_or(name), want);
                }
            }
            for (name, want) in WANTED.iter().filter_map(|name| expected.get_key_value(*name)) {
                add(&mut counts.wanted, got.get(name).is_some_and(|have| same(have, want)));
                if !got.contains_key(name) {
                    differ(name, want);
                }
            }
            for (name, want) in expected.iter().filter(|(name, _)| compared(name)) {
                let Some(have) = got.get(name) else { continue };
                add(&mut counts.fields, same(have, want));
                if !same(have, want) {
                    differ(name, want);
                }
            }
        }
    }

    /// Reads a line for which nothing is expected: it has a header or a reason, and a message.
    fn read(&mut self, source: &str, line: &[u8]) {
        let tally = self.tallies.entry(source.to_owned()).or_default();
        tally.lines += 1;
        let mut fields = Fields::default();
        let decoded = decode(line, &Reference { now: NOW, timezone: TimeZone::UTC }, &mut fields);
        tally.headless += usize::from(decoded.is_err());
        tally.kept += usize::from(is_kept(line));
        // MSG may be missing (RFC 5424, 6).
        let silent = decoded.is_ok_and(|header| header.message.start == header.message.end);
        assert!(silent || line.trim_ascii().is_empty() || fields.find(FieldId::Message).is_some());
    }
}

/// Whether a field says the same thing on both sides: not about the pipeline, not of a column.
fn compared(name: &str) -> bool {
    !COLUMNS.iter().any(|(_, fields)| fields.contains(&name))
        && !["event.original", "event.kind", "host.ip", "tags", "log.level"].contains(&name)
        && !["related.", "ecs.", "event.category", "event.type", "json.", "kv.", "cef.", "leef."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A zone by name, `-02:00` or `-0500`.
fn zone_of(zone: Option<&str>) -> TimeZone {
    let Some(zone) = zone else { return TimeZone::UTC };
    let offset = jiff::fmt::strtime::parse("%:z", zone).or_else(|_| jiff::fmt::strtime::parse("%z", zone));
    match offset.ok().and_then(|parsed| parsed.offset()) {
        Some(offset) => TimeZone::fixed(offset),
        None => TimeZone::get(zone).unwrap_or(TimeZone::UTC),
    }
}

fn add((equal, compared): &mut (usize, usize), is_equal: bool) {
    *equal += usize::from(is_equal);
    *compared += 1;
}

/// Whether the event has every byte of the line.
fn is_kept(line: &[u8]) -> bool {
    let mut event = Map::new();
    ecs::original(line, &mut event);
    let event = Value::Object(event);
    let base64 = event.pointer("/roje/original_base64").and_then(Value::as_str);
    match base64 {
        Some(text) => STANDARD.decode(text).is_ok_and(|bytes| bytes == line),
        None => event["event"]["original"].as_str().is_some_and(|text| text.as_bytes() == line),
    }
}

fn flat(line: &[u8], reference: &Reference, bodies: Bodies) -> BTreeMap<String, Value> {
    let mut fields = Fields::default();
    // Without a header the message is still there to compare.
    let _ = decode_bodies(line, reference, bodies, &mut fields);
    let mut object = Map::new();
    ecs::to_json(&fields, line, &mut object);
    let mut flat = BTreeMap::new();
    flatten("", &Value::Object(object), &mut flat);
    flat
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        other => {
            out.insert(path.to_owned(), other.clone());
        }
    }
}

/// Equal, or the same instant, number or word in another notation.
fn same(have: &Value, want: &Value) -> bool {
    let (have, want) = (scalar(have), scalar(want));
    if have.trim() == want.trim() {
        return true;
    }
    if let (Ok(have), Ok(want)) = (have.parse::<IpAddr>(), want.parse::<IpAddr>()) {
        return have == want;
    }
    match (have.parse::<Timestamp>(), want.parse::<Timestamp>()) {
        // Most pipelines keep milliseconds only.
        (Ok(have), Ok(want)) => have.as_nanosecond() / 1_000_000 == want.as_nanosecond() / 1_000_000,
        _ => have.len() <= 32 && have.eq_ignore_ascii_case(&want),
    }
}

/// Whether two times are the same time of day in two zones.
fn is_other_zone(have: &Value, want: &Value) -> bool {
    let (Ok(have), Ok(want)) = (scalar(have).parse::<Timestamp>(), scalar(want).parse::<Timestamp>()) else {
        return false;
    };
    let apart = (have.as_millisecond() - want.as_millisecond()).abs();
    apart % (15 * 60_000) == 0 && apart <= 14 * 3_600_000
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() == 1 => scalar(&items[0]),
        other => other.to_string(),
    }
}

/// The pairs whose value is there.
fn expect(pairs: &[(&str, Option<&Value>)]) -> Map<String, Value> {
    pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.clone()))).collect()
}

fn syslog_report() -> String {
    let mut sources = Sources::open();
    for compare in [go_syslog, telegraf, vrl, beats_modules, elastic, sc4s, loghub, cef, unexpected] {
        compare(&mut sources);
    }
    let mut report = String::from(
        "## Syslog\n\n\
         Lines that other projects parsed, field by field. A cell is equal/compared: a\n\
         column is compared where the other side has it, a field where both sides have it. \"Wanted\" are\n\
         addresses, ports, users, URLs, names and hashes that the other side has, whether or not they were found.\n\
         \"Generic\" are the same lines with the decoders of vendors and programs off: CEF, LEEF, JSON,\n\
         key=value and sentences alone.\n\n\
         | source | lines | without header | bytes kept |",
    );
    for (name, _) in COLUMNS {
        let _ = write!(report, " {name} |");
    }
    report.push_str(" wanted | fields | wanted, generic | fields, generic |\n|---|---|---|---|");
    report.push_str(&"---|".repeat(COLUMNS.len() + 4));
    report.push('\n');
    let all_deviations = std::mem::take(&mut sources.deviations);
    let mut all = Tally::default();
    for (source, tally) in &sources.tallies {
        row(&mut report, source, tally);
        all.add(tally);
    }
    row(&mut report, "all", &all);
    let (header, whole) = (all.header(), all.header_and_message());
    let [vendors, generic] = all.bodies;
    let _ = writeln!(
        report,
        "\nAs shares: bytes kept {}, time, host, app and pid {} (with the message {}), fields that both sides have {} (generic {}), wanted {} (generic {}).",
        share((all.kept, all.lines)),
        share(header),
        share(whole),
        share(vendors.fields),
        share(generic.fields),
        share(vendors.wanted),
        share(generic.wanted),
    );
    let _ = writeln!(
        report,
        "\nOf the times that differ, {} are the same time of day in another zone, configured there; without them {} of \
         time, host, app and pid are equal, and {} with the message. Of the messages that differ, most are the whole \
         line there, or what is left of it behind the columns that were read. Hosts that a line does not name, and `-`, are not compared. go-syslog's invalid \
         vectors, rsyslog and wazuh expect no fields: every line is kept.",
        all.zones,
        share((header.0, header.1 - all.zones)),
        share((whole.0, whole.1 - all.zones)),
    );
    report.push_str("\nDeviations with every decoder, by reason (values; missing ones are of \"wanted\" fields and columns):\n\n");
    for (at, (.., reason)) in REASONS.iter().enumerate() {
        let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
        for ((source, field), count) in &all_deviations {
            if reason_of(source, field) == Some(at) {
                *sources.entry(source).or_default() += count;
            }
        }
        if !sources.is_empty() {
            let sources: Vec<String> =
                sources.iter().map(|(source, count)| format!("{source} {count}")).collect();
            let _ = writeln!(report, "- {reason}: {}", sources.join(", "));
        }
    }
    report
}

/// The reason of a deviation, as an index of [`REASONS`].
fn reason_of(source: &str, field: &str) -> Option<usize> {
    REASONS.iter().position(|(sources, fields, _)| {
        sources.iter().any(|end| source.ends_with(end)) && fields.iter().any(|start| field.starts_with(start))
    })
}

#[test]
fn every_deviation_has_a_reason() {
    let mut sources = Sources::open();
    for compare in [go_syslog, telegraf, vrl, beats_modules, elastic, sc4s, loghub, cef] {
        compare(&mut sources);
    }
    assert!(sources.deviations.len() > 50, "{}", sources.deviations.len());
    let unexplained: Vec<_> =
        sources.deviations.iter().filter(|((source, field), _)| reason_of(source, field).is_none()).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn nothing_is_lost_and_the_aims_are_met() {
    let mut sources = Sources::open();
    for compare in [go_syslog, telegraf, vrl, beats_modules, elastic, sc4s, loghub, cef, unexpected] {
        compare(&mut sources);
    }
    let mut all = Tally::default();
    sources.tallies.values().for_each(|tally| all.add(tally));
    assert_eq!(all.kept, all.lines);
    let share = |(equal, compared): (usize, usize)| equal * 1000 / compared.max(1);
    let [vendors, generic] = all.bodies;
    // A zone that is told by a configuration there is in no line.
    let (header, whole) = (all.header(), all.header_and_message());
    for (name, counts, aim) in [
        ("header fields", (header.0, header.1 - all.zones), 990),
        // Not the aim of 99 %: of the messages one in eight is another text there, for the reasons above.
        ("header fields with the message", (whole.0, whole.1 - all.zones), 960),
        ("fields", vendors.fields, 900),
        ("wanted", vendors.wanted, 900),
        ("fields, generic", generic.fields, 750),
        ("wanted, generic", generic.wanted, 750),
    ] {
        assert!(share(counts) >= aim, "{name}: {counts:?}");
    }
}

fn row(report: &mut String, source: &str, tally: &Tally) {
    let _ = write!(
        report,
        "| {source} | {} | {} | {}/{} |",
        tally.lines, tally.headless, tally.kept, tally.lines
    );
    let [vendors, generic] = &tally.bodies;
    let bodies = [&vendors.wanted, &vendors.fields, &generic.wanted, &generic.fields];
    for (equal, compared) in tally.columns.iter().chain(bodies) {
        let _ = match compared {
            0 => write!(report, " – |"),
            _ => write!(report, " {equal}/{compared} |"),
        };
    }
    report.push('\n');
}

fn share((equal, compared): (usize, usize)) -> String {
    // Cut, not rounded: 99.97 is not 100.
    let permille = equal * 1000 / compared.max(1);
    format!("{}.{} %", permille / 10, permille % 10)
}

#[test]
fn numbers_only_rise() {
    let report = syslog_report();
    println!("{report}");
    let committed = conformance::committed("syslog", &report);
    let equal = |cell: &str| {
        cell.split('/').next().and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    let rows = || committed.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| source"));
    assert_ne!(rows().count(), 0, "no row in docs/conformance.md");
    for line in rows() {
        let before: Vec<_> = line.split('|').collect();
        let now = report.lines().find(|line| line.split('|').nth(1) == before.get(1).copied());
        let now = now.unwrap_or_else(|| panic!("{} is no longer compared", before[1]));
        for (before, now) in line.split('|').zip(now.split('|')).skip(4) {
            assert!(equal(now) >= equal(before), "{line}\nhad {before}, now {now}");
        }
    }
}

#[test]
fn every_valid_vector_of_go_syslog_is_equal() {
    let mut sources = Sources::open();
    go_syslog(&mut sources);
    for (source, tally) in sources.tallies {
        assert!(tally.lines > 3, "{source}");
        assert!(tally.headless == 0 || source.ends_with("invalid"), "{source}");
        for ((equal, compared), (column, _)) in tally.columns.iter().zip(COLUMNS) {
            assert_eq!(equal, compared, "{source}: {column}");
        }
        assert_eq!(tally.bodies[0].fields.0, tally.bodies[0].fields.1, "{source}: fields");
    }
}

fn go_syslog(sources: &mut Sources) {
    for (file, source) in [("rfc5424", "go-syslog rfc5424"), ("rfc3164", "go-syslog rfc3164")] {
        for row in sources.json(&format!("go-syslog/{file}.json")).as_array().unwrap() {
            let line = bytes_of(row["input_hex"].as_str().unwrap());
            let message = &row["message"];
            if row["valid"] != json!(true) {
                // Invalid is tolerated or refused, either is right; it must not be lost.
                sources.read("go-syslog invalid", &line);
                continue;
            }
            let mut expected = expect(&[
                ("host.name", message.get("hostname")),
                ("process.name", message.get("appname")),
                ("log.syslog.procid", message.get("procid")),
                ("log.syslog.msgid", message.get("msgid")),
                ("log.syslog.version", message.get("version")),
                ("log.syslog.priority", message.get("priority")),
                ("log.syslog.facility.code", message.get("facility")),
                ("log.syslog.severity.code", message.get("severity")),
            ]);
            if let Some(text) = message.get("message").and_then(Value::as_str) {
                expected.insert("message".into(), json!(text.strip_prefix('\u{feff}').unwrap_or(text)));
            }
            if let Some(time) = message.get("timestamp").and_then(Value::as_str) {
                let known = time.parse::<Timestamp>().is_ok();
                let time = if known { time.to_owned() } else { with_year(time, 2026) };
                expected.insert("@timestamp".into(), json!(time));
            }
            if let Some(Value::Object(data)) = message.get("structured_data") {
                for (id, parameters) in data {
                    for (name, text) in parameters.as_object().unwrap() {
                        let plain = unescaped(text.as_str().unwrap());
                        expected.insert(format!("log.syslog.structured_data.{id}.{name}"), json!(plain));
                    }
                }
            }
            sources.compare(source, &line, &expected, None);
        }
    }
}

/// RFC 5424, 6.3.3.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('"' | '\\' | ']')) => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// `Jan 12 06:30:00` in a year.
fn with_year(stamp: &str, year: i16) -> String {
    let time = jiff::civil::DateTime::strptime("%Y %b %d %H:%M:%S", format!("{year} {stamp}")).unwrap();
    time.to_zoned(TimeZone::UTC).unwrap().timestamp().to_string()
}

fn telegraf(sources: &mut Sources) {
    for case in entries(&sources.root.join("telegraf")).into_iter().filter(|path| path.is_dir()) {
        let expected = std::fs::read_to_string(case.join("expected.out")).unwrap_or_default();
        let input = std::fs::read(case.join("input.txt")).unwrap_or_default();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let messages = match name.as_str() {
            name if name.contains("octet_counting") => counted(&input),
            name if name.contains("non_transparent") => lines(&input),
            _ => vec![input],
        };
        let rows: Vec<_> = expected.lines().filter(|line| line.starts_with("syslog,")).collect();
        // Of broken frames it keeps fewer; those are the framer's matter.
        if messages.len() < rows.len() {
            continue;
        }
        for (message, row) in messages.iter().zip(&rows) {
            sources.compare("telegraf", message, &line_protocol(row), None);
        }
    }
}

fn counted(input: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = input.trim_ascii_start();
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let Ok(length) = std::str::from_utf8(&rest[..space]).unwrap_or("").parse::<usize>() else { break };
        let frame = &rest[space + 1..];
        found.push(frame[..length.min(frame.len())].to_vec());
        rest = frame.get(length..).unwrap_or_default().trim_ascii_start();
    }
    found
}

/// Tags and fields of a line of InfluxDB's protocol under the names of ECS.
fn line_protocol(row: &str) -> Map<String, Value> {
    let mut pairs = vec![String::new()];
    let mut quoted = false;
    let mut characters = row.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped });
                pairs.last_mut().unwrap().extend(escaped);
            }
            '"' => quoted = !quoted,
            ',' | ' ' if !quoted => pairs.push(String::new()),
            other => pairs.last_mut().unwrap().push(other),
        }
    }
    let mut expected = Map::new();
    for (name, value) in pairs.iter().filter_map(|pair| pair.split_once('=')) {
        let number = value.trim_end_matches(['i', 'u']).parse::<i64>();
        let (name, value) = match (name, number) {
            ("hostname", _) => ("host.name", json!(value)),
            ("appname", _) => ("process.name", json!(value)),
            ("procid", _) => ("log.syslog.procid", json!(value)),
            ("msgid", _) => ("log.syslog.msgid", json!(value)),
            ("message", _) => ("message", json!(value.strip_prefix('\u{feff}').unwrap_or(value))),
            ("facility", _) => ("log.syslog.facility.name", json!(value)),
            ("severity", _) => ("log.syslog.severity.name", json!(value)),
            ("version", Ok(number)) => ("log.syslog.version", json!(number)),
            ("timestamp", Ok(number)) => {
                ("@timestamp", json!(Timestamp::from_nanosecond(i128::from(number)).unwrap().to_string()))
            }
            _ => continue,
        };
        expected.insert(name.to_owned(), value);
    }
    expected
}

/// Files of documented examples, with the names of what they return and those of ECS.
const VRL: &[(&str, &[(&str, &str)])] = &[
    (
        "parse_syslog",
        &[
            ("hostname", "host.name"),
            ("appname", "process.name"),
            ("procid", "process.pid"),
            ("message", "message"),
            ("msgid", "log.syslog.msgid"),
            ("facility", "log.syslog.facility.name"),
            ("severity", "log.syslog.severity.name"),
            ("timestamp", "@timestamp"),
        ],
    ),
    (
        "parse_linux_authorization",
        &[
            ("hostname", "host.name"),
            ("appname", "process.name"),
            ("procid", "process.pid"),
            ("message", "message"),
        ],
    ),
    (
        "parse_apache_log",
        &[
            ("host", "source.ip"),
            ("method", "http.request.method"),
            ("status", "http.response.status_code"),
            ("path", "url.original"),
            ("agent", "user_agent.original"),
            ("referrer", "http.request.referrer"),
        ],
    ),
    (
        "parse_cef",
        &[
            ("src", "source.ip"),
            ("dst", "destination.ip"),
            ("deviceVendor", "observer.vendor"),
            ("deviceProduct", "observer.product"),
            ("deviceVersion", "observer.version"),
            ("deviceEventClassId", "event.code"),
            ("shost", "source.domain"),
            ("dhost", "destination.domain"),
            ("suser", "source.user.name"),
            ("duser", "destination.user.name"),
            ("spt", "source.port"),
            ("request", "url.original"),
        ],
    ),
];

fn vrl(sources: &mut Sources) {
    for (file, names) in VRL {
        for example in sources.json(&format!("vrl/{file}.json"))["examples"].as_array().unwrap() {
            let Some(line) = vrl_string(example["source"].as_str().unwrap()) else { continue };
            let Value::Object(returned) = &example["return"] else { continue };
            let pairs: Vec<_> = names.iter().map(|(theirs, ours)| (*ours, returned.get(*theirs))).collect();
            sources.compare(&format!("vrl {file}"), line.as_bytes(), &expect(&pairs), None);
        }
    }
}

/// The first string of an expression: `"…"` with escapes or `s'…'`.
fn vrl_string(source: &str) -> Option<String> {
    if let Some(start) = source.find("s'") {
        let text = &source[start + 2..];
        return Some(text[..text.rfind('\'')?].to_owned());
    }
    let mut out = String::new();
    let mut characters = source[source.find('"')? + 1..].chars();
    loop {
        match characters.next()? {
            '\\' => match characters.next()? {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            '"' => return Some(out),
            other => out.push(other),
        }
    }
}

fn beats_modules(sources: &mut Sources) {
    for path in files(&sources.root.join("beats-modules"), "-expected.json") {
        let log = path.to_str().unwrap().trim_end_matches("-expected.json").to_owned();
        let Ok(bytes) = std::fs::read(log) else { continue };
        for event in read_json(&path).as_array().unwrap() {
            // Lines that the pipeline joined are not lines here.
            if event.get("log.flags").is_some() {
                continue;
            }
            let Some(offset) = event["log.offset"].as_u64() else { continue };
            let Some(rest) = bytes.get(offset as usize..) else { continue };
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let mut expected = event.as_object().unwrap().clone();
            expected.retain(|_, value| !value.is_null());
            let folder = path.strip_prefix(sources.root.join("beats-modules")).unwrap();
            let module = folder.iter().next().unwrap().to_str().unwrap().to_owned();
            sources.compare(&format!("beats {module}"), line, &expected, event["event.timezone"].as_str());
        }
    }
}

fn elastic(sources: &mut Sources) {
    let folder = sources.root.join("elastic-integrations");
    for case in sources.json("elastic-integrations/cases.json").as_array().unwrap() {
        let input = case["input"].as_str().unwrap();
        let expected = read_json(&folder.join(format!("{input}-expected.json")));
        let bytes = std::fs::read(folder.join(input)).unwrap_or_default();
        let lines = lines(&bytes);
        let package = input.split('/').next().unwrap();
        let line_per_event = case["line_per_event"] == json!(true) && input.ends_with(".log");
        for (index, event) in expected["expected"].as_array().unwrap().iter().enumerate() {
            let original = event.pointer("/event/original").and_then(Value::as_str).map(str::as_bytes);
            let line = original.or(lines.get(index).map(Vec::as_slice).filter(|_| line_per_event));
            let Some(line) = line.filter(|_| !event.is_null()) else { continue };
            let mut expected = BTreeMap::new();
            flatten("", event, &mut expected);
            let expected: Map<_, _> = expected.into_iter().filter(|(_, value)| !value.is_null()).collect();
            let zone = event.pointer("/event/timezone").and_then(Value::as_str);
            sources.compare(&format!("elastic {package}"), line, &expected, zone);
        }
    }
}

/// Marks of the templates and what fills them.
const MARKS: &[(&str, &str)] = &[
    ("bsd", "Nov 21 13:00:05"),
    ("bsdyear", "Nov 21 13:00:05 2026"),
    ("iso_header", "2026-11-21T13:00:05"),
    ("iso", "2026-11-21T13:00:05"),
    ("timestamp", "2026-11-21T13:00:05Z"),
    ("host", "alpha-host"),
    ("epoch", "1795266005"),
    ("date", "2026-11-21"),
    ("time", "13:00:05"),
    ("pid", "4242"),
    ("year", "2026"),
    ("millisec", "123"),
    ("microsec", "123456"),
    ("tzname", "UTC"),
    ("seq", "4711"),
    ("node_id", "RP/0/RSP0/CPU0"),
    ("app", "mail_logs"),
];

fn sc4s(sources: &mut Sources) {
    for path in files(&sources.root.join("sc4s"), ".json") {
        for test in read_json(&path).as_array().unwrap() {
            let mark = test["mark"].as_str().unwrap_or("<134>");
            for template in test["templates"].as_array().unwrap() {
                let mut line = template.as_str().unwrap().to_owned();
                for (name, text) in MARKS.iter().chain(&[("mark", mark)]) {
                    for spelling in ["{{ % }}", "{{%}}", "{{% }}"] {
                        line = line.replace(&spelling.replace('%', name), text);
                    }
                }
                let mut expected = Map::new();
                let stamp = line.find("Nov 21").or(line.find("2026-11-21T")).filter(|stamp| *stamp < 16);
                // Where the template adds a zone or a fraction, what follows is not the plain stamp.
                let plain = |stamp: usize| {
                    let rest = line[stamp..]
                        .trim_start_matches("Nov 21 13:00:05")
                        .trim_start_matches("2026-11-21T13:00:05");
                    rest.starts_with([':', 'Z'])
                        || (rest.starts_with(' ') && !rest[1..].starts_with(|c: char| c.is_ascii_uppercase()))
                };
                let year = line.find("2020 Nov").is_none();
                if let Some(stamp) = stamp.filter(|stamp| plain(*stamp) && year) {
                    expected.insert("@timestamp".into(), json!("2026-11-21T13:00:05Z"));
                    // Right behind the stamp it is the host; elsewhere it is text.
                    let host = line.find(" alpha-host ").filter(|host| (stamp..stamp + 24).contains(host));
                    if host.is_some() {
                        expected.insert("host.name".into(), json!("alpha-host"));
                    }
                }
                sources.compare("sc4s", line.as_bytes(), &expected, None);
            }
        }
    }
}

fn loghub(sources: &mut Sources) {
    let table = |sources: &Sources, system: &str| {
        let folder = sources.root.join("loghub");
        let rows =
            csv(&std::fs::read_to_string(folder.join(format!("{system}_2k.log_structured.csv"))).unwrap());
        let lines = lines(&std::fs::read(folder.join(format!("{system}_2k.log"))).unwrap());
        rows.into_iter().skip(1).zip(lines).collect::<Vec<_>>()
    };
    for (row, line) in table(sources, "Linux") {
        let time = with_year(&format!("{} {} {}", row[1], row[2], row[3]), 2025);
        let mut expected = Map::from_iter([
            ("@timestamp".into(), json!(time)),
            ("host.name".into(), json!(row[4])),
            ("process.name".into(), json!(row[5])),
            ("process.pid".into(), json!(row[6])),
            ("message".into(), json!(row[7])),
        ]);
        expected.retain(|_, value| value != "");
        sources.compare("loghub Linux", &line, &expected, None);
    }
    for (row, line) in table(sources, "Apache") {
        let time = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", &row[1]).unwrap();
        let time = time.to_zoned(TimeZone::UTC).unwrap().timestamp().to_string();
        let expected = Map::from_iter([("@timestamp".into(), json!(time))]);
        sources.compare("loghub Apache", &line, &expected, None);
    }
}

fn csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut row, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => cell.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    rows
}

fn cef(sources: &mut Sources) {
    for event in sources.json("beats-cef/samples.log.golden.json").as_array().unwrap() {
        let Some(line) = event.pointer("/event/original").and_then(Value::as_str) else { continue };
        let mut expected = BTreeMap::new();
        flatten("", event, &mut expected);
        sources.compare("beats-cef", line.as_bytes(), &expected.into_iter().collect(), None);
    }
    for vector in sources.json("logstash-cef/cef-vectors.json").as_array().unwrap() {
        let line = vector["input"].as_str().unwrap();
        let reference = Reference { now: NOW, timezone: TimeZone::UTC };
        let tally = sources.tallies.entry("logstash-cef".into()).or_default();
        tally.lines += 1;
        tally.headless += usize::from(header(line.as_bytes()).is_err());
        tally.kept += usize::from(is_kept(line.as_bytes()));
        for (name, want) in vector["expect"].as_object().unwrap() {
            // Long names there, short ones here: by value, for each occurs once. Empty is absent, and
            // what precedes CEF is in no field of its own.
            let want = scalar(want);
            if want.is_empty() || name == "syslog" {
                continue;
            }
            for (bodies, counts) in BODIES.into_iter().zip(&mut tally.bodies) {
                let got = flat(line.as_bytes(), &reference, bodies);
                let equal = got.values().any(|have| scalar(have) == want);
                add(&mut counts.fields, equal);
                if !equal && sources.show.as_deref() == Some("logstash-cef") {
                    println!("{name}: {want}\n    {line}\n    {got:?}");
                }
            }
        }
    }
}

fn unexpected(sources: &mut Sources) {
    for path in files(&sources.root.join("rsyslog"), "") {
        for line in lines(&std::fs::read(path).unwrap()) {
            sources.read("rsyslog", &line);
        }
    }
    for path in files(&sources.root.join("wazuh"), ".ini") {
        for line in lines(&std::fs::read(path).unwrap()) {
            let text = String::from_utf8_lossy(&line);
            if let Some((_, log)) = text.split_once("pass = ").filter(|_| text.starts_with("log")) {
                sources.read("wazuh", log.as_bytes());
            }
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Every file under a folder whose name ends so, licences apart.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if name.ends_with(suffix) && !name.starts_with("LICENSE") && !name.starts_with("COPYING") {
            found.push(path);
        }
    }
    found
}
