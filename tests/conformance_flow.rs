//! Compares decoded flows with what other projects expect of the same captures.
//!
//! The captures and expected results lie under `ROJE_DATA`; the section "Flows" of
//! `docs/conformance.md` is the report. `ROJE_BLESS=1` writes it anew; without, the test fails where a
//! number is lower than there.
#![cfg(feature = "real-data")]

mod conformance;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};
use roje::decode::flow::{Decoder, Flow, Record};
use roje::decode::{Fields, Group, Value};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

#[test]
fn flows_are_as_others_expect() {
    let report = flow_report();
    let committed = numbers(&conformance::committed("flows", &report));
    assert_eq!(committed.len(), SOURCES.len(), "sources in docs/conformance.md");
    for (source, known) in committed {
        let now = numbers(&report).get(&source).copied().unwrap_or_default();
        assert!(
            now.0 >= known.0 && now.1 >= known.1,
            "{source}: {known:?} records were compared and equal, now {now:?}\n{report}"
        );
    }
}

/// Compared and equal records of each source in a report.
fn numbers(report: &str) -> BTreeMap<String, (usize, usize)> {
    let rows = report.lines().filter(|line| line.starts_with("| "));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.to_string(), (cells.get(2)?.parse().ok()?, cells.get(3)?.parse().ok()?)))
    };
    rows.filter_map(row).collect()
}

/// Compares every source; the report is a section in Markdown.
fn flow_report() -> String {
    let mut report = String::from(
        "## Flows\n\n\
         Records that other projects decoded from the same captures, compared in count, addresses, ports,\n\
         protocol, bytes, packets, times and sampling as far as the expected result has them.\n\n\
         | source | records compared | equal | deviations, and why |\n|---|---|---|---|\n",
    );
    for (name, source) in SOURCES {
        let comparison = source();
        for deviation in &comparison.deviations {
            println!("{name}: {deviation}");
        }
        let mut reasons: Vec<_> =
            comparison.reasons.iter().map(|(reason, n)| format!("{n}: {reason}")).collect();
        if comparison.deviations.len() > comparison.reasons.values().sum() {
            reasons.push("unexplained".to_string());
        }
        let reasons = if reasons.is_empty() { "none".to_string() } else { reasons.join("; ") };
        let equal = comparison.compared - comparison.deviations.len();
        writeln!(report, "| {name} | {} | {equal} | {reasons} |", comparison.compared).unwrap();
    }
    report
}

type Source = (&'static str, fn() -> Comparison);

const SOURCES: &[Source] = &[
    ("logstash-codec-netflow", logstash),
    ("beats, the captures of logstash", beats_dat),
    ("beats, captures of its own", beats_pcap),
    ("telegraf", telegraf),
    ("pmacct", pmacct),
    ("akvorado", akvorado),
    ("netflow_parser", netflow_parser),
    ("tcpdump", tcpdump),
];

/// Deviations that were looked into: what their description contains, and the reason.
const REASONS: &[(&[&str], &str)] = &[
    (
        &["Netflow 5 valid 01", "start"],
        "expected times are a second late where a second is borrowed, and wrong where the uptime wrapped",
    ),
    (&["end ", "start ", "expected"], "expected times are a second late where a second is borrowed"),
    (&["IPFIX: 0 records expected, 6 decoded"], "the datagram holds a second message, not expected there"),
    (&["Netflow 9 invalid 01: not expected"], "the records are sound; refused there as a whole"),
    (
        &["ipfix_cisco", "bytes", "packets"],
        "client and server are known, so their counters are not exchanged",
    ),
    (&["sflow_issue_15918", "flow.input"], "expected input of a packet sampled on its way out is its output"),
    (&["TestDecodeNFv5", "sampling 1 expected, 0 decoded"], "the header tells no rate; none is assumed"),
    (&["TestJuniperCPIDDrop"], "the packet inside the tunnel is reported, with the tunnel beside it"),
    (&["it_parses_0_length_fields_ipfix"], "a field without length is read as nothing; refused there"),
    (
        &["it_parses_ipfix_with_v9_options_template_packet"],
        "v9 options template in IPFIX is read; refused there",
    ),
    (&["it_parses_ipfix_multiple_flow_records"], "the templates are not among the files"),
];

#[derive(Default)]
struct Comparison {
    compared: usize,
    deviations: Vec<String>,
    reasons: BTreeMap<&'static str, usize>,
}

/// The values of a record that are compared, by name.
type Row = BTreeMap<&'static str, String>;

impl Comparison {
    /// Matches expected rows with decoded ones, each of which counts once.
    fn rows(&mut self, case: &str, expected: &[Row], decoded: &[Row]) {
        self.compared += expected.len();
        let mut free: Vec<&Row> = decoded.iter().collect();
        let mut unmatched = Vec::new();
        for row in expected {
            match free.iter().position(|candidate| differences(row, candidate).is_empty()) {
                Some(at) => drop(free.remove(at)),
                None => unmatched.push(row),
            }
        }
        for row in unmatched {
            let nearest =
                free.iter().enumerate().min_by_key(|(_, candidate)| differences(row, candidate).len());
            let text = match nearest {
                Some((at, candidate)) => {
                    let text = differences(row, candidate).join(", ");
                    free.remove(at);
                    text
                }
                None => format!("not decoded: {row:?}"),
            };
            self.deviate(format!("{case}: {text}"));
        }
        // The second record of a biflow is one that nobody else counts, and what came before its template
        // others give up.
        free.retain(|row| !row.contains_key("reversed") && !row.contains_key("replayed"));
        for row in free {
            self.compared += 1;
            self.deviate(format!("{case}: not expected: {row:?}"));
        }
    }

    fn count(&mut self, case: &str, expected: usize, decoded: usize) {
        self.compared += expected;
        for _ in 0..expected.abs_diff(decoded) {
            self.deviate(format!("{case}: {expected} records expected, {decoded} decoded"));
        }
    }

    fn deviate(&mut self, text: String) {
        if let Some((_, reason)) =
            REASONS.iter().find(|(parts, _)| parts.iter().all(|part| text.contains(part)))
        {
            *self.reasons.entry(reason).or_default() += 1;
        }
        self.deviations.push(text);
    }
}

fn differences(expected: &Row, decoded: &Row) -> Vec<String> {
    let differs = |(name, value): (&&str, &String)| {
        let found = decoded.get(*name).map(String::as_str).unwrap_or("nothing");
        (found != value).then(|| format!("{name} {value} expected, {found} decoded"))
    };
    expected.iter().filter_map(differs).collect()
}

fn data(path: &str) -> PathBuf {
    let root = std::env::var_os("ROJE_DATA").expect("ROJE_DATA names the folder of captures");
    Path::new(&root).join("flows").join(path)
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Decodes datagrams in order with one decoder.
fn decode(datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<Row> {
    let mut decoder = Decoder::default();
    let mut rows = Vec::new();
    for (exporter, bytes) in datagrams {
        // What cannot be decoded shows as records that are missing.
        let _ = decoder.decode(bytes, *exporter, RECEIVED, &mut |record| {
            let row = row(&record);
            if record.is_reverse() {
                add_totals(rows.last_mut().unwrap(), &row);
            }
            rows.push(row);
        });
    }
    rows
}

/// Others count both directions of a biflow in one record.
fn add_totals(forward: &mut Row, reverse: &Row) {
    for name in ["total bytes", "total packets"] {
        let sum: u64 = [&*forward, reverse].iter().map(|row| row[name].parse::<u64>().unwrap()).sum();
        forward.insert(name, sum.to_string());
    }
}

const RECEIVED: i64 = 1_700_000_000_000_000_000;

fn row(record: &Record<'_>) -> Row {
    let Flow { source, destination, source_port, destination_port, protocol, bytes, packets, .. } =
        record.flow();
    let flow = record.flow();
    let mut fields = Fields::default();
    record.fields(&mut fields);
    let mut row = Row::new();
    row.insert("kind", if flow.state { "state" } else { "flow" }.to_string());
    row.insert("sflow", flow.sflow.to_string());
    if record.is_reverse() {
        row.insert("reversed", "true".to_string());
    }
    if record.is_replayed() {
        row.insert("replayed", "true".to_string());
    }
    if let Some(source) = source {
        row.insert("source.ip", source.to_string());
    }
    if let Some(destination) = destination {
        row.insert("destination.ip", destination.to_string());
    }
    row.insert("source.port", source_port.to_string());
    row.insert("destination.port", destination_port.to_string());
    row.insert("protocol", protocol.to_string());
    row.insert("bytes", bytes.to_string());
    row.insert("packets", packets.to_string());
    row.insert("total bytes", (bytes + flow.reverse_bytes).to_string());
    row.insert("total packets", (packets + flow.reverse_packets).to_string());
    row.insert("sampling", flow.sampling.to_string());
    row.insert("tcp flags", flow.tcp_flags.to_string());
    if let Some(start) = flow.start {
        row.insert("start", milliseconds(start));
    }
    if let Some(end) = flow.end {
        row.insert("end", milliseconds(end));
    }
    for (id, value) in fields.entries() {
        let name = id.name();
        if let Value::Unsigned(number) = value
            && matches!(name, "flow.input" | "flow.output" | "source.as.number" | "destination.as.number")
        {
            row.insert(name, number.to_string());
        }
    }
    for extra in fields.extras() {
        assert_eq!(extra.group, Group::Flow);
        if let (Value::Static(key), Value::Unsigned(number)) = (extra.key, extra.value) {
            row.insert(key, number.to_string());
        }
    }
    row
}

fn milliseconds(time: i64) -> String {
    (time / 1_000_000).to_string()
}

/// The milliseconds of an instant in the format of RFC 3339.
fn instant(text: &str) -> String {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond().to_string()
}

fn payloads(paths: impl IntoIterator<Item = PathBuf>) -> Vec<(SocketAddr, Vec<u8>)> {
    let exporter = "192.0.2.1:4444".parse().unwrap();
    paths.into_iter().map(|path| (exporter, std::fs::read(&path).unwrap())).collect()
}

/// The UDP datagrams of a capture, and who sent them.
fn capture(path: &Path) -> Vec<(SocketAddr, Vec<u8>)> {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = create_reader(1 << 20, file).unwrap();
    let mut linux_cooked = false;
    let mut datagrams = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => linux_cooked = header.network.0 == 113,
                    PcapBlockOwned::Legacy(packet) => {
                        let sliced = if linux_cooked {
                            SlicedPacket::from_linux_sll(packet.data)
                        } else {
                            SlicedPacket::from_ethernet(packet.data)
                        };
                        datagrams.extend(sliced.ok().and_then(|sliced| datagram(&sliced)));
                    }
                    PcapBlockOwned::NG(_) => panic!("{} is not a plain capture", path.display()),
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof) => return datagrams,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

fn datagram(packet: &SlicedPacket<'_>) -> Option<(SocketAddr, Vec<u8>)> {
    let source: IpAddr = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        NetSlice::Arp(_) => return None,
    };
    match packet.transport.as_ref()? {
        TransportSlice::Udp(udp) => {
            Some((SocketAddr::new(source, udp.source_port()), udp.payload().to_vec()))
        }
        _ => None,
    }
}

/// Adds what JSON has under a pointer, numbers as their digits.
fn take(row: &mut Row, name: &'static str, value: Option<&Json>) {
    match value {
        Some(Json::String(text)) => drop(row.insert(name, text.clone())),
        Some(Json::Number(number)) => drop(row.insert(name, number.to_string())),
        _ => {}
    }
}

fn logstash() -> Comparison {
    let mut comparison = Comparison::default();
    for case in json(&data("netflow-dat/expected-logstash.json")).as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let files = case["files"].as_array().unwrap().iter();
        let paths = files.map(|file| data("netflow-dat/dat").join(file.as_str().unwrap()));
        let mut rows = decode(&payloads(paths));
        rows.retain(|row| !row.contains_key("reversed") && !row.contains_key("replayed"));
        let events = case["events"].as_array().unwrap();
        let expected: Vec<Row> =
            events.iter().map(|event| logstash_row(&event["event"]["netflow"])).collect();
        let unlisted = case["decode_size"].as_u64().map_or(events.len(), |size| size as usize);
        if case["decode_size"].is_u64() {
            comparison.count(
                name,
                unlisted.saturating_sub(events.len()),
                rows.len().saturating_sub(events.len()),
            );
        }
        // Only some of the records are spelled out: the others are counted above.
        let mut alone = Comparison::default();
        alone.rows(name, &expected, &rows);
        alone.deviations.retain(|text| !text.contains("not expected"));
        comparison.compared += expected.len();
        alone.deviations.into_iter().for_each(|text| comparison.deviate(text));
    }
    comparison
}

fn logstash_row(netflow: &Json) -> Row {
    let mut row = Row::new();
    for (name, keys) in [
        ("source.ip", &["ipv4_src_addr", "ipv6_src_addr", "sourceIPv4Address", "sourceIPv6Address"][..]),
        (
            "destination.ip",
            &["ipv4_dst_addr", "ipv6_dst_addr", "destinationIPv4Address", "destinationIPv6Address"],
        ),
        ("source.port", &["l4_src_port", "sourceTransportPort"]),
        ("destination.port", &["l4_dst_port", "destinationTransportPort"]),
        ("protocol", &["protocol", "protocolIdentifier"]),
        ("bytes", &["in_bytes", "octetDeltaCount", "fw_event_bytes"]),
        ("packets", &["in_pkts", "packetDeltaCount"]),
        ("flow.input", &["input_snmp", "ingressInterface"]),
        ("flow.output", &["output_snmp", "egressInterface"]),
    ] {
        keys.iter().for_each(|key| take(&mut row, name, netflow.get(*key)));
    }
    for (name, keys) in [
        (
            "start",
            &["first_switched", "flowStartMilliseconds", "flowStartMicroseconds", "flowStartSeconds"][..],
        ),
        ("end", &["last_switched", "flowEndMilliseconds", "flowEndMicroseconds", "flowEndSeconds"]),
    ] {
        let texts = keys.iter().filter_map(|key| netflow.get(*key)?.as_str());
        texts.for_each(|text| drop(row.insert(name, instant(text))));
    }
    row
}

fn beats_dat() -> Comparison {
    let mut comparison = Comparison::default();
    for case in json(&data("netflow-dat/cases-beats.json")).as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let files = case["files"].as_array().unwrap().iter();
        let paths = files.map(|file| data("netflow-dat/dat").join(file.as_str().unwrap()));
        let golden = json(&data("netflow-dat").join(case["golden"].as_str().unwrap()));
        comparison.rows(name, &beats_rows(&golden), &decode(&payloads(paths)));
    }
    comparison
}

fn beats_pcap() -> Comparison {
    let mut comparison = Comparison::default();
    for name in ["ipfix_cisco.pcap", "netflow9_ubiquiti_edgerouter.pcap"] {
        let golden = json(&data("beats-pcap").join(format!("{name}.golden.json")));
        let rows = decode(&capture(&data("beats-pcap").join(name)));
        comparison.rows(name, &beats_rows(&golden), &rows);
    }
    comparison
}

fn beats_rows(golden: &Json) -> Vec<Row> {
    let Some(events) = golden["events"].as_array() else { return Vec::new() };
    events.iter().map(|event| beats_row(&event["Fields"])).collect()
}

fn beats_row(fields: &Json) -> Row {
    let mut row = Row::new();
    let state = fields["netflow"]["type"] == "netflow_options";
    row.insert("kind", if state { "state" } else { "flow" }.to_string());
    for (name, pointer) in [
        ("source.ip", "/source/ip"),
        ("destination.ip", "/destination/ip"),
        ("source.port", "/source/port"),
        ("destination.port", "/destination/port"),
        ("bytes", "/source/bytes"),
        ("packets", "/source/packets"),
        ("protocol", "/network/iana_number"),
        ("total bytes", "/network/bytes"),
        ("total packets", "/network/packets"),
        ("flow.input", "/netflow/ingress_interface"),
        ("flow.output", "/netflow/egress_interface"),
        ("tcp flags", "/netflow/tcp_control_bits"),
    ] {
        take(&mut row, name, fields.pointer(pointer));
    }
    for (name, pointer) in [("start", "/event/start"), ("end", "/event/end")] {
        if let Some(text) = fields.pointer(pointer).and_then(Json::as_str) {
            row.insert(name, instant(text));
        }
    }
    row
}

fn telegraf() -> Comparison {
    let mut comparison = Comparison::default();
    for case in [
        "ipfix_example",
        "ipfix_pen_35632",
        "issue_13305",
        "netflow_v5_example",
        "netflow_v9_example",
        "sflow_issue_15918",
        "sflow_v5_example",
    ] {
        let folder = data("telegraf").join(case);
        let expected = std::fs::read_to_string(folder.join("expected.out")).unwrap();
        let expected: Vec<Row> = expected.lines().filter(|line| !line.is_empty()).map(telegraf_row).collect();
        comparison.rows(case, &expected, &decode(&capture(&folder.join(format!("{case}.pcap")))));
    }
    comparison
}

/// Reads a line of InfluxDB's line protocol; no value here has an escaped comma outside of quotes.
fn telegraf_row(line: &str) -> Row {
    let mut quoted = false;
    let parts = line.split(|character: char| {
        quoted ^= character == '"';
        !quoted && (character == ',' || character == ' ')
    });
    let values: HashMap<&str, &str> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key, value.trim_matches('"').trim_end_matches('u')))
        .collect();
    let mut row = Row::new();
    let state = values.contains_key("interface") || line.starts_with("netflow_options");
    row.insert("kind", if state { "state" } else { "flow" }.to_string());
    let names: &[(&str, &[&str])] = if state {
        &[
            ("ifIndex", &["interface"]),
            ("ifInOctets", &["in_bytes"]),
            ("ifOutOctets", &["out_bytes"]),
            ("packetTotalCount", &["in_total_packets"]),
            ("ifInUcastPkts", &["in_unicast_packets_total"]),
            ("ifSpeed", &["speed"]),
            ("exportingProcessId", &["exporting_pid"]),
            ("exportedFlowRecordTotalCount", &["total_flows_exported"]),
        ]
    } else {
        &[
            ("source.ip", &["src"]),
            ("destination.ip", &["dst"]),
            ("source.port", &["src_port"]),
            ("destination.port", &["dst_port"]),
            ("bytes", &["in_total_bytes", "in_bytes", "ipv4_total_len"]),
            ("packets", &["in_packets"]),
            ("frameLength", &["l2_bytes"]),
            ("flow.input", &["in_snmp"]),
            ("flow.output", &["out_snmp"]),
            ("start", &["flow_start_ms"]),
            ("end", &["flow_end_ms"]),
            ("samplePool", &["in_total_packets"]),
        ]
    };
    let sflow = line.contains("sFlow");
    for (name, keys) in names {
        let value = keys.iter().find_map(|key| values.get(key));
        if let Some(value) = value
            && (sflow || *name != "samplePool")
        {
            row.insert(name, value.to_string());
        }
    }
    if !sflow
        && !state
        && let Some(packets) = values.get("in_total_packets")
    {
        row.insert("packets", packets.to_string());
    }
    if sflow && let Some(rate) = values.get("sampling_interval") {
        row.insert("sampling", rate.to_string());
    }
    if let Some(protocol) = values.get("protocol") {
        row.insert("protocol", protocol_number(protocol));
    }
    row
}

fn protocol_number(name: &str) -> String {
    let known = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipip", 4),
        ("ip-encap", 4),
        ("tcp", 6),
        ("udp", 17),
        ("ipv6", 41),
        ("gre", 47),
        ("esp", 50),
        ("ipv6-icmp", 58),
        ("icmp6", 58),
        ("ospf", 89),
        ("pim", 103),
        ("vrrp", 112),
    ];
    known.iter().find(|(known, _)| *known == name).map_or(name.to_string(), |(_, number)| number.to_string())
}

fn pmacct() -> Comparison {
    let mut comparison = Comparison::default();
    for case in [
        "100-IPFIXv10-CISCO",
        "101-NFv9-CISCO-cust_primitives",
        "102-NFv9-CISCO-f2rd-pretag-sampling-reload",
        "103-IPFIXv10-CISCO-pretag-JSON_encoding",
        "106-IPFIXv10-HUAWEI-vrf_name",
        "110-IPFIXv10-NFv9-multiple-sources",
        "112-IPFIXv10-CISCO-options-map-reassignment",
        "500-IPFIXv10-BGP-CISCO-SRv6",
        "502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms",
    ] {
        let folder = data("pmacct").join(case);
        let lines = std::fs::read_to_string(folder.join("output-flow-00.json")).unwrap();
        let lines = lines.lines().filter(|line| !line.is_empty());
        let expected = aggregate(lines.map(|line| pmacct_row(&serde_json::from_str(line).unwrap())));
        let mut rows = Vec::new();
        for number in 0..3 {
            let path = folder.join(format!("traffic-0{number}.pcap"));
            if path.exists() {
                rows.extend(decode(&capture(&path)));
            }
        }
        let flows = rows.into_iter().filter(|row| row["kind"] == "flow");
        comparison.rows(case, &expected, &aggregate(flows));
    }
    comparison
}

fn pmacct_row(line: &Json) -> Row {
    let mut row = Row::new();
    for (name, key) in [
        ("source.ip", "ip_src"),
        ("destination.ip", "ip_dst"),
        ("source.port", "port_src"),
        ("destination.port", "port_dst"),
        ("flow.input", "iface_in"),
        ("flow.output", "iface_out"),
        ("bytes", "bytes"),
        ("packets", "packets"),
    ] {
        take(&mut row, name, line.get(key));
    }
    row.insert("protocol", protocol_number(line["ip_proto"].as_str().unwrap()));
    row
}

/// pmacct adds up what has one key, and this does the same.
fn aggregate(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    const KEY: &[&str] = &[
        "source.ip",
        "destination.ip",
        "source.port",
        "destination.port",
        "protocol",
        "flow.input",
        "flow.output",
    ];
    let mut sums: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let key = KEY.iter().map(|name| row.get(name).cloned().unwrap_or_default()).collect();
        let sum = sums.entry(key).or_default();
        sum.0 += row["bytes"].parse::<u64>().unwrap();
        sum.1 += row["packets"].parse::<u64>().unwrap();
    }
    let row = |(key, (bytes, packets)): (Vec<String>, (u64, u64))| {
        let mut row: Row = KEY.iter().copied().zip(key).collect();
        row.insert("bytes", bytes.to_string());
        row.insert("packets", packets.to_string());
        row
    };
    sums.into_iter().map(row).collect()
}

fn akvorado() -> Comparison {
    let mut comparison = Comparison::default();
    for folder in ["akvorado/netflow", "akvorado/sflow"] {
        for case in json(&data(folder).join("expected.json")).as_array().unwrap() {
            let name = case["test"].as_str().unwrap();
            let files = case["files"].as_array().unwrap().iter();
            let datagrams: Vec<_> =
                files.flat_map(|file| capture(&data(folder).join(file.as_str().unwrap()))).collect();
            let expected: Vec<Row> =
                case["expected_flows"].as_array().unwrap().iter().map(akvorado_row).collect();
            if expected.is_empty() {
                continue;
            }
            let rows = decode(&datagrams).into_iter().filter(|row| row["kind"] == "flow");
            let first = case["compare_first"].as_u64().unwrap_or(u64::MAX);
            let rows: Vec<Row> = rows.take(first as usize).collect();
            comparison.rows(name, &expected, &rows);
        }
    }
    comparison
}

fn akvorado_row(flow: &Json) -> Row {
    let mut row = Row::new();
    for (name, key) in [
        ("source.ip", "SrcAddr"),
        ("destination.ip", "DstAddr"),
        ("source.port", "SrcPort"),
        ("destination.port", "DstPort"),
        ("bytes", "Bytes"),
        ("packets", "Packets"),
        ("sampling", "SamplingRate"),
        ("tcp flags", "TCPFlags"),
    ] {
        take(&mut row, name, flow.get(key));
    }
    let protocol = match flow["Proto"].as_str() {
        Some("ProtoTCP") => "6",
        Some("ProtoUDP") => "17",
        Some("ProtoICMPv4") => "1",
        Some("ProtoICMPv6") => "58",
        Some("ProtoIPv4") => "4",
        other => panic!("a protocol the test does not know: {other:?}"),
    };
    row.insert("protocol", protocol.to_string());
    row
}

fn netflow_parser() -> Comparison {
    let mut comparison = Comparison::default();
    let mut folders: Vec<_> =
        std::fs::read_dir(data("netflow-parser")).unwrap().map(|entry| entry.unwrap()).collect();
    folders.sort_by_key(|entry| entry.file_name());
    for folder in folders {
        let path = folder.path();
        let name = folder.file_name().into_string().unwrap();
        let snapshot = path.join("expected.snap");
        // What it refuses on purpose, or writes back as octets, proves nothing here.
        if !snapshot.exists() || name.contains("doesnt_allow") || name.contains("re_exports") {
            continue;
        }
        let mut files: Vec<_> =
            std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "bin"));
        files.sort();
        let expected = snapshot_rows(&std::fs::read_to_string(&snapshot).unwrap());
        let mut rows = decode(&payloads(files.iter().cloned()));
        if files.len() > 1 && !expected.is_empty() {
            // The snapshot is of the last packet alone.
            let before = decode(&payloads(files[..files.len() - 1].iter().cloned())).len();
            if rows.len() - before >= expected.len() {
                rows.drain(..before);
            }
        }
        comparison.rows(&name, &expected, &rows);
    }
    comparison
}

/// Reads the records of a snapshot: fixed ones as mappings, others as lists of name and value.
fn snapshot_rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut name = "";
    for line in text.lines() {
        let line = line.trim();
        if let Some(first) = line.strip_prefix("- src_addr: ") {
            rows.push(Row::from([("source.ip", first.to_string())]));
        } else if let Some(field) = line.strip_prefix("- - - ") {
            rows.push(Row::new());
            name = field;
        } else if line.starts_with("- scope_fields:") {
            rows.push(Row::from([("kind", "state".to_string())]));
        } else if let Some(field) = line.strip_prefix("- - ") {
            name = field;
        }
        let Some(row) = rows.last_mut() else { continue };
        let Some((key, value)) = line.trim_start_matches("- ").split_once(": ") else { continue };
        let compared = match (key, name.trim_start_matches("IANA: ")) {
            ("dst_addr", _) => "destination.ip",
            ("src_port", _) => "source.port",
            ("dst_port", _) => "destination.port",
            ("protocol_number", _) => "protocol",
            ("d_pkts", _) => "packets",
            ("d_octets", _) => "bytes",
            (
                "Ip4Addr" | "Ip6Addr",
                "Ipv4SrcAddr" | "Ipv6SrcAddr" | "SourceIpv4address" | "SourceIpv6address",
            ) => "source.ip",
            (
                "Ip4Addr" | "Ip6Addr",
                "Ipv4DstAddr" | "Ipv6DstAddr" | "DestinationIpv4address" | "DestinationIpv6address",
            ) => "destination.ip",
            ("U16" | "U32", "L4SrcPort" | "SourceTransportPort") => "source.port",
            ("U16" | "U32", "L4DstPort" | "DestinationTransportPort") => "destination.port",
            ("U8" | "U16" | "U32" | "U64", "InBytes" | "OctetDeltaCount") => "bytes",
            ("U8" | "U16" | "U32" | "U64", "InPkts" | "PacketDeltaCount") => "packets",
            _ => continue,
        };
        row.insert(compared, value.to_string());
    }
    rows
}

fn tcpdump() -> Comparison {
    let mut comparison = Comparison::default();
    let name = "sflow_multiple_counter_30_pdus";
    let text = std::fs::read_to_string(data("tcpdump").join(format!("{name}.out"))).unwrap();
    let mut expected: Vec<Row> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.trim().split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let after = |label: &[&str]| {
            let at = words.windows(label.len()).position(|window| window == label)?;
            words.get(at + label.len()).map(|word| word.to_string())
        };
        if line.contains("counter sample (") {
            expected.push(Row::from([("kind", "state".to_string())]));
        } else if line.contains("flow sample (") {
            expected.push(Row::from([("kind", "flow".to_string())]));
        }
        let Some(row) = expected.last_mut() else { continue };
        for (name, label) in [
            ("sampleSequence", &["seqnum"][..]),
            ("ifIndex", &["ifindex"]),
            ("ifType", &["iftype"]),
            ("ifSpeed", &["ifspeed"]),
            ("ifInOctets", &["In", "octets"]),
            ("ifOutOctets", &["Out", "octets"]),
            ("dot3StatsAlignmentErrors", &["align", "errors"]),
            ("dot3StatsSymbolErrors", &["symbol", "errors"]),
        ] {
            if let Some(value) = after(label)
                && !line.contains("sFlowv5")
            {
                row.insert(name, value);
            }
        }
    }
    let mut rows = decode(&capture(&data("tcpdump").join(format!("{name}.pcap"))));
    // The capture has NetFlow on the same port, which tcpdump does not print.
    rows.retain(|row| row["sflow"] == "true");
    comparison.rows(name, &expected, &rows);
    comparison
}
