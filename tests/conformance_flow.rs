//! Compares decoded flows with what other projects expect of the same captures.
//!
//! The captures and expected results lie under `ROJE_DATA`; the section "Flows" of
//! `docs/conformance.md` is the report. `ROJE_BLESS=1` writes it anew; without, the test fails where it is
//! not as written there, and in any case where a deviation has no reason in [`KNOWN`].
#![cfg(feature = "real-data")]

mod conformance;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::{PcapBlockOwned, PcapError, create_reader};
use roje::decode::flow::{Decoder, Flow, Record};
use roje::decode::{Fields, Group, Value};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

#[test]
fn flows_are_as_others_expect() {
    let (report, open) = flow_report();
    assert!(open.is_empty(), "deviations without a reason, or not as many as known:\n{}", open.join("\n"));
    // Records that nobody expects, and ones that are no longer equal, change the numbers.
    let committed = conformance::committed("flows", &report);
    assert_eq!(committed.trim(), report.trim(), "docs/conformance.md; ROJE_BLESS=1 writes it anew");
}

/// Compares every source: a section in Markdown, and what is left to be looked into.
fn flow_report() -> (String, Vec<String>) {
    let mut report = String::from(
        "## Flows\n\n\
         Records that other projects decoded from the same captures, compared in count, addresses, ports,\n\
         protocol, bytes, packets, times and sampling as far as the expected result has them. \"Compared\"\n\
         counts records that only one side has too. Every deviation is named below with its number; the test\n\
         fails where there is another one, or another number.\n\n\
         | source | decoded | compared | equal | deviations |\n|---|---|---|---|---|\n",
    );
    let mut open = Vec::new();
    let mut reasons: Vec<(&str, &str, usize, &str)> = Vec::new();
    for (source, compare) in SOURCES {
        let comparison = compare();
        let known: Vec<&Known> = KNOWN.iter().filter(|known| known.source == *source).collect();
        let mut counts = vec![0; known.len()];
        for deviation in &comparison.deviations {
            let is = |known: &&Known| deviation.case.contains(known.case) && (known.is)(deviation);
            match known.iter().position(is) {
                Some(at) => counts[at] += 1,
                None => open.push(format!("{source}: {deviation}")),
            }
        }
        for (known, count) in known.iter().zip(counts) {
            if count != known.count {
                open.push(format!(
                    "{source}: {} {:?}, not {}: {}",
                    count, known.case, known.count, known.reason
                ));
            }
            reasons.push((source, known.case, count, known.reason));
        }
        let Comparison { decoded, compared, deviations } = comparison;
        let equal = compared - deviations.len();
        writeln!(report, "| {source} | {decoded} | {compared} | {equal} | {} |", deviations.len()).unwrap();
    }
    report.push_str("\nThe deviations:\n\n");
    for (source, case, count, reason) in reasons {
        writeln!(report, "- {source}, \"{case}\", {count}: {reason}").unwrap();
    }
    (report, open)
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
    ("nDPI", ndpi),
];

/// A deviation that was looked into.
struct Known {
    source: &'static str,
    /// Part of the name of the case.
    case: &'static str,
    /// Records that deviate so.
    count: usize,
    /// Whether a deviation is this one, judged by its values.
    is: fn(&Deviation) -> bool,
    reason: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        source: "logstash-codec-netflow",
        case: "Netflow 5 valid 01",
        count: 2,
        is: |it| {
            it.only(&["end", "start"])
                && it.excess("end") == Some(SECOND)
                && it.excess("start") == Some(1 << 32)
        },
        reason: "an instant is the export time less how much later than it the uptime was (header of v5: \
                 SysUptime, unix_secs, unix_nsecs). There one second is not borrowed where the milliseconds \
                 are less, and a start before the uptime wrapped at 32 bits (RFC 3954, section 5.1) is 2^32 ms late",
    },
    Known {
        source: "logstash-codec-netflow",
        case: "Netflow 9",
        count: 4,
        is: |it| {
            it.only(&["end", "start"])
                && it.excess("end") == Some(SECOND)
                && it.excess("start") == Some(SECOND)
        },
        reason: "both times are one second late there, as above; beats expects ours of the same datagrams",
    },
    Known {
        source: "logstash-codec-netflow",
        case: "IPFIX",
        count: 6,
        is: |it| it.case == "IPFIX" && it.is_unexpected(),
        reason: "a second message follows the first, whose length says where it ends (RFC 7011, section 3.1); it \
                 is not read there. beats expects its records, and they are equal",
    },
    Known {
        source: "logstash-codec-netflow",
        case: "IPFIX Netscaler with variable length fields",
        count: 3,
        is: |it| it.is_unexpected() && it.decoded("replayed") == Some("true"),
        reason: "the first datagram comes before its templates; its records are read when they come, and given up \
                 there (RFC 7011, section 9.1, leaves it to the collector to keep them)",
    },
    Known {
        source: "beats, the captures of logstash",
        case: "Netflow 9 invalid 01",
        count: 3,
        is: Deviation::is_unexpected,
        reason: "nothing is read there, though the sets are whole and fill the datagram (RFC 3954, sections 5 and \
                 6): two templates, an options template whose set is not filled up to a multiple of four octets, as \
                 it only should be, and a data set of each",
    },
    Known {
        source: "beats, captures of its own",
        case: "ipfix_cisco",
        count: 8,
        is: |it| {
            it.only(&["bytes", "packets"])
                && it.expected("bytes") == it.decoded("responder bytes")
                && it.expected("packets") == it.decoded("responder packets")
                && it.expected("source.ip").is_none()
        },
        reason: "biflowDirection 2 says that the destination began (RFC 5103, section 6.3); there the ends are not \
                 read, which Cisco names as client and server (9/12236, 9/12237), and the counters are exchanged. \
                 The source is the client here, and initiatorOctets (IE 231) are the client's",
    },
    Known {
        source: "telegraf",
        case: "sflow_issue_15918",
        count: 3,
        is: |it| it.only(&["flow.input"]) && it.expected("flow.input") == it.decoded("sourceIdIndex"),
        reason: "the input is the one that the sample names (sFlow v5, flow_sample.input); there it is the source \
                 of the sample, which for a packet sampled on its way out is its output",
    },
    Known {
        source: "telegraf",
        case: "sflow_issue_15918",
        count: 1,
        is: |it| {
            it.only(&["flow.input", "protocol"])
                && it.expected("flow.input") == it.decoded("sourceIdIndex")
                && (it.expected("protocol"), it.decoded("protocol")) == (Some("hopopt"), Some("58"))
        },
        reason: "the input as above; the protocol is that behind the hop-by-hop options (RFC 8200, section 4), \
                 there these options themselves",
    },
    Known {
        source: "akvorado",
        case: "TestDecodeNFv5",
        count: 1,
        is: |it| it.only(&["sampling"]) && it.decoded("sampling") == Some("0"),
        reason: "the sampling field of the header is zero, which tells no rate: unknown here, taken for 1 there",
    },
    Known {
        source: "akvorado",
        case: "TestJuniperCPIDDrop",
        count: 1,
        is: |it| {
            it.only(&["bytes", "destination.ip", "protocol", "source.ip"])
                && it.expected("source.ip") == it.decoded("tunnel source")
                && it.expected("destination.ip") == it.decoded("tunnel destination")
        },
        reason: "IPv4 in IPv6 (protocol 4, RFC 2473): the packet inside is the flow here, and what is expected is \
                 its tunnel",
    },
    Known {
        source: "netflow_parser",
        case: "it_parses_0_length_fields_ipfix",
        count: 1,
        is: Deviation::is_unexpected,
        reason: "the template has a field of length zero behind two addresses; it takes no octets (RFC 7011, \
                 section 3.2), and the addresses are read. There the template is refused",
    },
    Known {
        source: "netflow_parser",
        case: "it_parses_ipfix_with_v9_options_template_packet",
        count: 2,
        is: Deviation::is_unexpected,
        reason: "set 1, an options template in the manner of NetFlow v9, has no meaning in IPFIX (RFC 7011, section \
                 3.3.2); exporters that convert the header alone send it, and it is read as they mean it. There the \
                 whole message gives nothing",
    },
];

/// One second in milliseconds.
const SECOND: i64 = 1000;

#[derive(Default)]
struct Comparison {
    /// Records that were decoded.
    decoded: usize,
    compared: usize,
    deviations: Vec<Deviation>,
}

/// The values of a record that are compared, by name.
type Row = BTreeMap<&'static str, String>;

/// A record that differs, is missing, or is one too many.
struct Deviation {
    case: String,
    expected: Option<Row>,
    decoded: Option<Row>,
}

impl Deviation {
    /// The names of the values that differ.
    fn fields(&self) -> Vec<&'static str> {
        let (Some(expected), Some(decoded)) = (&self.expected, &self.decoded) else { return Vec::new() };
        expected
            .iter()
            .filter(|(name, value)| decoded.get(*name) != Some(value))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Whether only these values differ.
    fn only(&self, names: &[&str]) -> bool {
        self.fields() == names
    }

    fn is_unexpected(&self) -> bool {
        self.expected.is_none()
    }

    fn expected(&self, name: &str) -> Option<&str> {
        self.expected.as_ref()?.get(name).map(String::as_str)
    }

    fn decoded(&self, name: &str) -> Option<&str> {
        self.decoded.as_ref()?.get(name).map(String::as_str)
    }

    /// By how much the expected number is greater.
    fn excess(&self, name: &str) -> Option<i64> {
        Some(self.expected(name)?.parse::<i64>().ok()? - self.decoded(name)?.parse::<i64>().ok()?)
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.expected, &self.decoded) {
            (Some(expected), Some(decoded)) => {
                write!(out, "{}: {}; of {decoded:?}", self.case, differences(expected, decoded).join(", "))
            }
            (Some(expected), None) => write!(out, "{}: not decoded: {expected:?}", self.case),
            (None, decoded) => write!(out, "{}: not expected: {decoded:?}", self.case),
        }
    }
}

impl Comparison {
    /// Matches expected rows with decoded ones, each of which counts once. `unlisted` are records that are
    /// expected without being spelled out.
    fn rows(&mut self, case: &str, expected: &[Row], unlisted: usize, decoded: &[Row]) {
        self.decoded += decoded.len();
        self.compared += expected.len() + unlisted;
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
            let nearest = nearest.map(|(at, _)| at).map(|at| free.remove(at).clone());
            self.deviate(case, Some(row.clone()), nearest);
        }
        // The second record of a biflow was added to the first, as others count.
        free.retain(|row| !row.contains_key("reversed"));
        // What is not spelled out is expected of the records that came behind their template.
        free.sort_by_key(|row| row.contains_key("replayed"));
        for _ in free.len()..unlisted {
            self.deviate(case, Some(Row::new()), None);
        }
        for row in free.iter().skip(unlisted) {
            self.compared += 1;
            self.deviate(case, None, Some((*row).clone()));
        }
    }

    fn deviate(&mut self, case: &str, expected: Option<Row>, decoded: Option<Row>) {
        self.deviations.push(Deviation { case: case.to_string(), expected, decoded });
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
    row.insert("responder bytes", flow.reverse_bytes.to_string());
    row.insert("responder packets", flow.reverse_packets.to_string());
    for (name, end) in
        [("tunnel source", flow.tunnel_source), ("tunnel destination", flow.tunnel_destination)]
    {
        if let Some(address) = end {
            row.insert(name, address.to_string());
        }
    }
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
        let rows = decode(&payloads(paths));
        let events = case["events"].as_array().unwrap();
        let expected: Vec<Row> =
            events.iter().map(|event| logstash_row(&event["event"]["netflow"])).collect();
        if events.is_empty() && case["decode_size"].is_null() {
            // Nothing but that no exception is raised; beats expects records of the same captures.
            continue;
        }
        // Only some of the records are spelled out.
        let all = case["decode_size"].as_u64().map_or(events.len(), |size| size as usize);
        comparison.rows(name, &expected, all - events.len(), &rows);
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
        comparison.rows(name, &beats_rows(&golden), 0, &decode(&payloads(paths)));
    }
    comparison
}

fn beats_pcap() -> Comparison {
    let mut comparison = Comparison::default();
    for name in ["ipfix_cisco.pcap", "netflow9_ubiquiti_edgerouter.pcap"] {
        let golden = json(&data("beats-pcap").join(format!("{name}.golden.json")));
        let rows = decode(&capture(&data("beats-pcap").join(name)));
        comparison.rows(name, &beats_rows(&golden), 0, &rows);
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
        comparison.rows(case, &expected, 0, &decode(&capture(&folder.join(format!("{case}.pcap")))));
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
        comparison.rows(case, &expected, 0, &aggregate(flows));
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
            let rows = decode(&datagrams).into_iter().filter(|row| row["kind"] == "flow");
            // Their tests look at templates, or at one flow of ten.
            let (expected, unlisted) = match name {
                "TestTemplatesMixedWithData" => continue,
                "TestDecodeEVPN" => (vec![flow_of_evpn()], 9),
                _ => (expected, 0),
            };
            assert!(!expected.is_empty(), "{name} expects nothing");
            let first = case["compare_first"].as_u64().unwrap_or(u64::MAX);
            let rows: Vec<Row> = rows.take(first as usize).collect();
            comparison.rows(name, &expected, unlisted, &rows);
        }
    }
    comparison
}

/// The flow that the test of Ethernet over MPLS looks at: inside a pseudowire with a control word.
fn flow_of_evpn() -> Row {
    let values = [
        ("source.ip", "198.51.100.1"),
        ("destination.ip", "198.51.100.2"),
        ("source.port", "443"),
        ("destination.port", "55427"),
        ("protocol", "6"),
        ("tcp flags", "16"),
        ("bytes", "1492"),
        ("packets", "1"),
        ("flow.input", "1022"),
    ];
    values.into_iter().map(|(name, value)| (name, value.to_string())).collect()
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
        if name == "it_parses_ipfix_multiple_flow_records" {
            // The two messages that come before it there, which the folder lacks.
            let templates = |number| {
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(format!("tests/data/flows/netflow_parser_netscaler_tpl{number}.dat"))
            };
            files.splice(0..0, [templates(0), templates(1)]);
        }
        let expected = snapshot_rows(&std::fs::read_to_string(&snapshot).unwrap());
        let mut rows = decode(&payloads(files.iter().cloned()));
        if files.len() > 1 && !expected.is_empty() {
            // The snapshot is of the last packet alone.
            let before = decode(&payloads(files[..files.len() - 1].iter().cloned())).len();
            if rows.len() - before >= expected.len() {
                rows.drain(..before);
            }
        }
        comparison.rows(&name, &expected, 0, &rows);
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
    comparison.rows(name, &expected, 0, &rows);
    let name = "sflow_print-segv";
    let text = std::fs::read_to_string(data("tcpdump").join(format!("{name}.out"))).unwrap();
    let expected: Vec<Row> = text
        .lines()
        .filter(|line| line.contains("sFlowv5"))
        .map(|line| verdict(!line.contains("(invalid)")))
        .collect();
    comparison.rows(name, &expected, 0, &verdicts(&capture(&data("tcpdump").join(format!("{name}.pcap")))));
    comparison
}

/// nDPI tells protocols apart, and what their packets hold is not its business: each is one record here.
fn ndpi() -> Comparison {
    let mut comparison = Comparison::default();
    let text = std::fs::read_to_string(data("ndpi/sflow.pcap.out")).unwrap();
    let packets = text.lines().find_map(|line| line.strip_prefix("sFlow\t")).unwrap();
    let packets: usize = packets.split('\t').next().unwrap().parse().unwrap();
    let rows = verdicts(&capture(&data("ndpi/sflow.pcap")));
    comparison.rows("sflow.pcap, by datagram", &vec![verdict(true); packets], 0, &rows);
    comparison
}

/// Whether a datagram is whole.
fn verdict(whole: bool) -> Row {
    Row::from([("whole sFlow", whole.to_string())])
}

fn verdicts(datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<Row> {
    let mut decoder = Decoder::default();
    let mut one = |(exporter, bytes): &(SocketAddr, Vec<u8>)| {
        let decoded = decoder.decode(bytes, *exporter, RECEIVED, &mut |_| {});
        verdict(
            decoded.is_ok_and(|told| told.format == "sflow5" && told.records > 0 && told.losses.is_none()),
        )
    };
    datagrams.iter().map(&mut one).collect()
}
