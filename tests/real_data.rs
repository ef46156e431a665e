//! Captured logs and flows through the verbs, the library and a running sensor, which must agree;
//! `ROJE_DATA` names the folder that has them.
#![cfg(feature = "real-data")]

mod plain;
mod sensor;

use roje::config::Config;
use roje::decode::Fields;
use roje::decode::flow::{Decoder, Limits};
use roje::decode::syslog::{self, Reference};
use roje::detect::indicator::{self, Kind};
use roje::detect::{self, Matcher, RuleSet, Validity};
use roje::input::framing::{Assembler, Delimiters, Frame};
use roje::input::pcap::Capture;
use roje::input::{Format, MAX_MESSAGE, file, now};
use roje::metrics::Tally;
use roje::pipeline::{self, Options};
use roje::rules::Store;
use sensor::{Sensor, Setup, free_tcp, free_udp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn data(path: &str) -> PathBuf {
    let root = std::env::var_os("ROJE_DATA").expect("ROJE_DATA must name the folder of test data");
    let path = Path::new(&root).join(path);
    assert!(path.exists(), "{}: no such file", path.display());
    path
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn roje<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roje")).args(args).output().expect("roje runs")
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Runs `decode` over many files at once; what it printed, by file.
fn decode(kind: &str, inputs: &[PathBuf]) -> BTreeMap<PathBuf, Vec<Value>> {
    let mut printed: BTreeMap<PathBuf, Vec<Value>> = BTreeMap::new();
    let args = ["decode", "--as", kind].map(PathBuf::from);
    let output = roje(args.iter().chain(inputs));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for object in objects(&output) {
        let path = object["log"]["file"]["path"].as_str().expect("a path").into();
        printed.entry(path).or_default().push(object);
    }
    printed
}

/// The messages of a log, by the framing rule of files.
fn messages(path: &Path) -> Vec<(Vec<u8>, bool)> {
    let source = file::open(path).expect("it opens");
    assert_eq!(source.kind, file::Kind::Log);
    let mut blocks = source.blocks(MAX_MESSAGE);
    let mut found = Vec::new();
    while let Some(block) = blocks.read().expect("it reads") {
        found.extend(block.messages().map(|message| (message.bytes.to_vec(), message.truncated)));
    }
    found
}

/// Asserts that an object is what its message demands: the original is kept, an error is named.
fn assert_object(path: &Path, bytes: &[u8], object: &Value, good: bool) {
    let at = path.display();
    assert_eq!(object["event"]["original"], *String::from_utf8_lossy(bytes), "{at}: {object:#}");
    assert_eq!(object["error"]["message"].is_string(), !good, "{at}: {object:#}");
    assert_eq!(
        object["roje"]["original_base64"].is_string(),
        std::str::from_utf8(bytes).is_err(),
        "{at}: {object:#}"
    );
}

/// Files under `syslog/` that are no captures. Descriptions and expected results are lines too: no
/// input may upset the decoder.
fn logs() -> Vec<PathBuf> {
    files(&data("syslog")).into_iter().filter(|path| extension(path) != "pcap").collect()
}

#[test]
fn decode_prints_one_object_for_each_message_of_every_log() {
    let logs = logs();
    assert!(!logs.is_empty());
    let printed = decode("auto", &logs);
    let (mut all, mut bad) = (0, 0);
    for path in &logs {
        let messages = messages(path);
        let objects = printed.get(path).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(objects.len(), messages.len(), "{}", path.display());
        for ((bytes, truncated), object) in messages.iter().zip(objects) {
            let header = syslog::header(bytes);
            assert_eq!(syslog::shape(bytes), header.map(|header| header.shape), "{}", path.display());
            let good = header.is_ok();
            assert_object(path, bytes, object, good);
            assert_eq!(object["roje"]["truncated"] == true, *truncated, "{object:#}");
            all += 1;
            bad += usize::from(!good);
        }
    }
    eprintln!("{} logs: {all} messages, {bad} undecodable", logs.len());
}

#[test]
fn decode_prints_every_message_and_record_of_every_capture() {
    let captures: Vec<PathBuf> = [files(&data("flows")), files(&data("syslog"))]
        .concat()
        .into_iter()
        .filter(|path| extension(path) == "pcap")
        .collect();
    assert!(!captures.is_empty());
    let printed = decode("auto", &captures);
    let (mut datagrams, mut records, mut bad) = (0, 0, 0);
    // Captures of one exporter may be split into templates and data.
    let mut decoder = Decoder::default();
    for path in &captures {
        let mut capture = Capture::new(file::open(path).expect("it opens")).expect("a capture");
        // For each object: whether it is an error.
        let mut expected = Vec::new();
        loop {
            let more = capture.read(&mut |datagram| {
                datagrams += 1;
                match datagram.format {
                    Format::Syslog => expected.push(syslog::header(datagram.bytes).is_err()),
                    Format::Flow => {
                        let before = expected.len();
                        let decoded =
                            decoder.decode(datagram.bytes, datagram.source, datagram.time, &mut |_| {
                                expected.push(false);
                            });
                        records += expected.len() - before;
                        // Of what is damaged in part, that is told behind its records.
                        if !decoded.is_ok_and(|told| told.losses.is_none()) {
                            expected.push(true);
                        }
                    }
                }
            });
            if !more.unwrap_or_else(|error| panic!("{error}")) {
                break;
            }
        }
        let objects = printed.get(path).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(objects.len(), expected.len(), "{}", path.display());
        for (object, error) in objects.iter().zip(&expected) {
            assert_eq!(object["error"]["message"].is_string(), *error, "{}: {object:#}", path.display());
            assert!(object["event"]["original"].is_string(), "{}: {object:#}", path.display());
            bad += usize::from(*error);
        }
    }
    eprintln!("{} captures: {datagrams} messages, {records} flow records, {bad} undecodable", captures.len());
}

#[test]
fn decode_prints_every_record_of_every_payload() {
    let payloads: Vec<PathBuf> =
        files(&data("flows")).into_iter().filter(|path| ["dat", "bin"].contains(&extension(path))).collect();
    assert!(!payloads.is_empty());
    let (mut records, mut bad) = (0, 0);
    for path in &payloads {
        // Alone: templates of one file must not serve another.
        let printed = decode("flow", std::slice::from_ref(path));
        let objects = printed.get(path).map(Vec::as_slice).unwrap_or_default();
        let bytes = fs::read(path).expect("it reads");
        let mut expected = Vec::new();
        let exporter = "0.0.0.0:0".parse().expect("an address");
        let decoded = Decoder::default().decode(&bytes, exporter, now(), &mut |_| expected.push(false));
        records += expected.len();
        // Of what is damaged in part, that is told behind its records.
        if !decoded.is_ok_and(|told| told.losses.is_none()) {
            expected.push(true);
            bad += 1;
            assert_eq!(
                objects.last().map(|object| &object["event"]["original"]),
                Some(&Value::from(String::from_utf8_lossy(&bytes))),
                "{}",
                path.display()
            );
        }
        let found: Vec<bool> = objects.iter().map(|object| object["error"]["message"].is_string()).collect();
        assert_eq!(found, expected, "{}", path.display());
    }
    eprintln!("{} payloads: {records} flow records, {bad} undecodable", payloads.len());
}

/// Every flow datagram of every capture cut at every octet, by decoders that know its templates: each cut
/// is decoded or has a reason, gives no more records than the whole, and leaves memory within its bounds.
#[test]
fn a_flow_datagram_may_end_at_any_octet() {
    let (mut cuts, mut tally) = (0, Tally::default());
    for path in files(&data("flows")) {
        let datagrams: Vec<(SocketAddr, Vec<u8>)> = match extension(&path) {
            "dat" | "bin" => {
                vec![("192.0.2.1:2055".parse().expect("an address"), fs::read(&path).expect("it reads"))]
            }
            "pcap" => {
                let mut capture = Capture::new(file::open(&path).expect("it opens")).expect("a capture");
                let mut datagrams = Vec::new();
                while capture
                    .read(&mut |datagram| {
                        if datagram.format == Format::Flow {
                            datagrams.push((datagram.source, datagram.bytes.to_vec()));
                        }
                    })
                    .expect("it reads")
                {}
                datagrams
            }
            _ => continue,
        };
        let limits = Limits { bytes: 1 << 20, ..Limits::default() };
        let mut decoder = Decoder::new(limits);
        let mut fields = Fields::default();
        let mut read = |decoder: &mut Decoder, bytes: &[u8], from| {
            let mut records = 0;
            let decoded = decoder.decode(bytes, from, 1_800_000_000_000_000_000, &mut |record| {
                records += u64::from(!record.is_replayed());
                assert!(record.is_replayed() || bytes.as_ptr_range().contains(&record.bytes.as_ptr()));
                fields.clear();
                record.fields(&mut fields);
            });
            (decoded, records)
        };
        // Some captures are long; the shapes of their datagrams repeat.
        for (from, bytes) in datagrams.iter().take(40) {
            // Twice: what came before its template is read at once the second time.
            read(&mut decoder, bytes, *from).0.ok();
            let (_, whole) = read(&mut decoder, bytes, *from);
            for cut in 0..bytes.len() {
                let (decoded, records) = read(&mut decoder, &bytes[..cut], *from);
                assert!(records <= whole, "{} at {cut}: {records} records of {whole}", path.display());
                cuts += 1;
                tally.flow(&decoded);
                assert!(decoder.template_bytes() <= 1 << 20 && decoder.waiting_bytes() <= 2 << 20);
            }
        }
    }
    let counted: u64 = tally.decoded.iter().chain(&tally.undecoded).sum();
    assert_eq!(counted, cuts);
    assert!(tally.undecoded.iter().filter(|count| **count > 0).count() >= 3, "{:?}", tally.undecoded);
    eprintln!("{cuts} cuts");
}

/// Indicators that occur in the logs, as one rule set with an id for each value: one observable in
/// `every`, for each kind.
fn occurring(logs: &[PathBuf], every: usize) -> String {
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut values = BTreeSet::new();
    for path in logs {
        for (number, (bytes, _)) in messages(path).iter().enumerate() {
            detect::extract(bytes, &mut |observable| {
                let count = seen.entry(observable.kind.name()).or_default();
                *count += 1;
                if count.is_multiple_of(every) || *count < 3 {
                    values.insert((observable.kind.name(), detect::normal(bytes, &observable)));
                }
            });
            if number % every == every / 2 {
                let words = bytes.split(|byte| !byte.is_ascii_alphanumeric() && !b"._-\\/".contains(byte));
                // Long words alone: short ones are everywhere.
                let word = words.filter(|word| (12..60).contains(&word.len())).nth(1);
                values.extend(
                    word.map(|word| (Kind::Text.name(), String::from_utf8_lossy(word).to_lowercase())),
                );
            }
        }
    }
    let mut rules = String::from(
        "schema: 1\nset: occurring\nsource: {producer: NSOC}\n\
         defaults: {severity: low, tlp: green, throttle: none, force: 'what occurs in the data is matched'}\nindicators:\n",
    );
    for (number, (kind, value)) in values.iter().enumerate() {
        rules.push_str(&format!(
            "  - {{id: i{number}, type: {kind}, value: '{}'}}\n",
            value.replace('\'', "''")
        ));
    }
    rules
}

/// How often an indicator (by its id) was found in a message (by its hash).
type Found = BTreeMap<(String, String), usize>;

fn found<'a>(alerts: impl IntoIterator<Item = &'a Value>) -> Found {
    let mut found = Found::new();
    for alert in alerts {
        let [id, hash] = [&alert["rule"]["id"], &alert["event"]["hash"]]
            .map(|text| text.as_str().expect("text").to_string());
        *found.entry((id, hash)).or_default() += 1;
    }
    found
}

/// Fails with the first differences of two sets that must be one.
fn assert_same(what: &str, left: &Found, right: &Found) {
    let only = |one: &Found, other: &Found| -> Vec<String> {
        let differing = one.iter().filter(|(key, count)| other.get(*key) != Some(count));
        differing.take(5).map(|entry| format!("{entry:?}")).collect()
    };
    assert!(
        left == right,
        "{what}:\nonly left: {:#?}\nonly right: {:#?}",
        only(left, right),
        only(right, left)
    );
}

fn hash(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load(path: &Path) -> Arc<RuleSet> {
    let generation = Store::new(vec![path.to_path_buf()], None, None).load(now());
    assert!(
        generation.problems.is_empty(),
        "{:#?}",
        generation.diagnostics.iter().take(5).collect::<Vec<_>>()
    );
    generation.rules
}

/// What the matcher finds in messages, one by one with a matcher of its own as `explain` and `test`
/// do, under the validity of `run`.
fn matched<'a>(rules: &RuleSet, messages: impl IntoIterator<Item = &'a [u8]>) -> Found {
    let mut found = Found::new();
    let time = Reference { now: now(), timezone: jiff::tz::TimeZone::UTC };
    for bytes in messages {
        Matcher::default().message(rules, bytes, Validity::At(time.now), &time, &mut |matched| {
            assert_eq!(matched.suppressed, None);
            let id = rules.contributor(matched.contributors[0]).id.expect("an id");
            *found.entry((id.to_string(), hash(bytes))).or_default() += 1;
        });
    }
    found
}

#[test]
fn scan_explain_and_a_running_sensor_find_the_same_in_every_log() {
    let folder = tempfile::tempdir().expect("a folder");
    // A TCP stream ends messages at NUL, which is content in files: those logs cannot be compared.
    let (logs, with_nul): (Vec<PathBuf>, Vec<PathBuf>) = logs()
        .into_iter()
        .filter(|path| !["json", "yml", "csv", "md"].contains(&extension(path)))
        .partition(|path| !fs::read(path).expect("it reads").contains(&0));
    // A prime, so that no period of the data is met.
    let text = occurring(&logs, 61);
    let path = folder.path().join("occurring.yaml");
    fs::write(&path, &text).expect("written");
    let rules = load(&path);

    let args = ["scan", "-r"].map(PathBuf::from);
    let output = roje(args.iter().chain([&path]).chain(&logs));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let scanned = objects(&output);
    let by_scan = found(&scanned);

    let all: Vec<Vec<u8>> = logs.iter().flat_map(|path| messages(path)).map(|(bytes, _)| bytes).collect();
    let by_matcher = matched(&rules, all.iter().map(Vec::as_slice));
    assert_same("scan and the matcher", &by_scan, &by_matcher);

    // The verb itself, on some lines that match and some that do not.
    for bytes in all.iter().step_by(all.len() / 40) {
        let Ok(line) = std::str::from_utf8(bytes) else { continue };
        let output = roje(["explain", "-r", &path.display().to_string(), "--format", "json", "--", line]);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut ids: Vec<&str> = explained["matches"]
            .as_array()
            .expect("matches")
            .iter()
            .filter_map(|one| one["contributors"][0]["id"].as_str())
            .collect();
        ids.sort_unstable();
        let expected = matched(&rules, [bytes.as_slice()]);
        let mut expected: Vec<&str> = expected.keys().map(|(id, _)| id.as_str()).collect();
        expected.sort_unstable();
        assert_eq!(ids, expected, "{line}");
    }

    let mut sensor = Sensor::start(Setup { rules: &[("occurring.yaml", &text)], ..Setup::default() });
    for path in &logs {
        let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
        stream.write_all(&fs::read(path).expect("it reads")).expect("sent");
    }
    sensor.wait("all is received", |sensor| sensor.received("tcp") == all.len() as u64);
    sensor.assert_ledger();
    assert_eq!(sensor.sum("roje_matches_total", ""), by_scan.values().sum::<usize>() as u64);
    sensor.wait("every match is delivered", |sensor| {
        sensor.sum("roje_alerts_delivered_total", "") == by_scan.values().sum::<usize>() as u64
    });
    assert_same("scan and the sensor", &by_scan, &found(&sensor.alerts()));
    let kinds: BTreeSet<&str> =
        scanned.iter().filter_map(|alert| alert["roje"]["indicator"]["type"].as_str()).collect();
    eprintln!(
        "{} logs ({} with NUL left out), {} messages, {} indicators: {} matches of {kinds:?}",
        logs.len(),
        with_nul.len(),
        all.len(),
        rules.len(),
        scanned.len()
    );
    sensor.stop();
}

/// Values of each kind drawn from text by its look alone, some thousands at most: kind and normal form.
fn drawn(texts: &[PathBuf], logs: &[PathBuf]) -> Vec<(String, String)> {
    const EACH: usize = 4000;
    let mut values: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut add = |kind: Kind, written: &str| {
        let Ok(normal) = indicator::normalise(kind, written, true) else { return };
        let normal = normal.to_string();
        // The plain search knows one spelling: what has another in its normal form is left to the
        // tests of extraction.
        if kind == Kind::Ip || normal.eq_ignore_ascii_case(written) {
            values.entry(kind.name()).or_default().insert(normal);
        }
    };
    for path in texts {
        let bytes = fs::read(path).expect("it reads");
        let text = String::from_utf8_lossy(&bytes);
        let url = |c: char| c.is_ascii_alphanumeric() || "._:@/?=&+~-".contains(c);
        for token in text.split(|c: char| !url(c)).map(|token| token.trim_end_matches(['.', ':', '?'])) {
            if token.starts_with("http") && token.contains("://") {
                add(Kind::Url, token);
            }
            let name = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
            for part in token.split(|c: char| !name(c)).map(|part| part.trim_matches(['.', '-', ':'])) {
                let digits = part.chars().all(|c| c.is_ascii_hexdigit());
                match part.len() {
                    _ if part.parse::<IpAddr>().is_ok() => add(Kind::Ip, part),
                    32 if digits => add(Kind::Md5, part),
                    40 if digits => add(Kind::Sha1, part),
                    64 if digits => add(Kind::Sha256, part),
                    128 if digits => add(Kind::Sha512, part),
                    _ if part.contains('@') => add(Kind::Email, part),
                    _ if part.contains('.') => add(Kind::Domain, part),
                    _ => {}
                }
            }
        }
    }
    for path in logs {
        for (number, (bytes, _)) in messages(path).iter().enumerate() {
            let Ok(line) = std::str::from_utf8(bytes) else { continue };
            let words: Vec<&str> = line.split(' ').collect();
            let from = number % words.len();
            let phrase = words[from..words.len().min(from + 1 + number % 3)].join(" ").to_ascii_lowercase();
            if (8..60).contains(&phrase.len()) && phrase.chars().all(|c| matches!(c, ' '..='~')) {
                add(Kind::Text, &phrase);
            }
        }
    }
    let each = values.into_iter().flat_map(|(kind, values)| {
        let step = values.len().div_ceil(EACH);
        values.into_iter().step_by(step).map(move |value| (kind.to_string(), value))
    });
    each.collect()
}

/// The matches of a plain search, named as those of the matcher.
fn searched<'a>(plain: &plain::Plain, messages: impl IntoIterator<Item = &'a [u8]>) -> Found {
    let mut found = Found::new();
    for bytes in messages {
        for index in plain.find(bytes) {
            *found.entry((format!("i{index}"), hash(bytes))).or_default() += 1;
        }
    }
    found
}

/// Matches of URLs whose host and path stand in fields of their own, which only decoding can tell;
/// both must stand in the message somewhere.
fn in_fields<'a>(rules: &RuleSet, messages: impl IntoIterator<Item = &'a [u8]>) -> Found {
    let mut found = Found::new();
    let time = Reference { now: now(), timezone: jiff::tz::TimeZone::UTC };
    for bytes in messages {
        Matcher::default().message(rules, bytes, Validity::At(time.now), &time, &mut |matched| {
            if matched.kind != Kind::Url || bytes.get(matched.span.start as usize) != Some(&b'/') {
                return;
            }
            let (url, text) = (rules.value(matched.value), String::from_utf8_lossy(bytes));
            let (_, rest) = url.split_once("://").expect("a scheme");
            let (host, path) = rest.split_at(rest.find('/').expect("a path"));
            assert!(text.to_ascii_lowercase().contains(host) && text.contains(path), "{url} in {text}");
            let id = rules.contributor(matched.contributors[0]).id.expect("an id");
            found.insert((id.to_string(), hash(bytes)), 1);
        });
    }
    found
}

#[test]
fn scan_finds_what_a_plain_search_finds_and_nothing_else() {
    let corpus = logs();
    let mut texts = files(&data("intel"));
    texts.extend(corpus.iter().cloned());
    // What other programs made of the logs is text too, but scanned in this process: its alerts are many.
    let told = ["json", "yml", "csv", "md"];
    let (others, lines): (Vec<PathBuf>, Vec<PathBuf>) =
        corpus.into_iter().partition(|path| told.contains(&extension(path)));
    let values = drawn(&texts, &lines);
    let mut rules = String::from(
        "schema: 1\nset: drawn\nsource: {producer: NSOC}\n\
         defaults: {severity: low, tlp: green, throttle: none, force: 'what the data has is matched'}\nindicators:\n",
    );
    for (number, (kind, value)) in values.iter().enumerate() {
        rules.push_str(&format!(
            "  - {{id: i{number}, type: {kind}, value: '{}'}}\n",
            value.replace('\'', "''")
        ));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("drawn.yaml");
    fs::write(&path, &rules).expect("written");
    let rules = load(&path);
    let plain = plain::Plain::new(values.clone());

    let args = ["scan", "-r"].map(PathBuf::from);
    let output = roje(args.iter().chain([&path]).chain(&lines));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |paths: &[PathBuf]| -> Vec<Vec<u8>> {
        paths.iter().flat_map(|path| messages(path)).map(|(bytes, _)| bytes).collect()
    };
    let (lines, others) = (read(&lines), read(&others));
    // Named by what they are, so that a failure tells more than numbers.
    let named = |found: Found| -> Found {
        let name = |id: &str| values[id[1..].parse::<usize>().expect("a number")].clone();
        let named = found.into_iter().map(|((id, hash), count)| {
            let (kind, value) = name(&id);
            ((format!("{id} {kind} {value}"), hash), count)
        });
        named.collect()
    };
    let expected = searched(&plain, lines.iter().map(Vec::as_slice));
    let fields = in_fields(&rules, lines.iter().chain(&others).map(Vec::as_slice));
    let mut scanned = found(&objects(&output));
    scanned.retain(|key, _| !fields.contains_key(key));
    assert_same("scan and a plain search", &named(scanned), &named(expected.clone()));
    let further = searched(&plain, others.iter().map(Vec::as_slice));
    let mut matched = matched(&rules, others.iter().map(Vec::as_slice));
    matched.retain(|key, _| !fields.contains_key(key));
    assert_same("the matcher and a plain search", &named(matched), &named(further.clone()));

    let hit: BTreeSet<&str> = expected.keys().chain(further.keys()).map(|(id, _)| id.as_str()).collect();
    let mut kinds = BTreeMap::<&str, (usize, usize)>::new();
    for (number, (kind, _)) in values.iter().enumerate() {
        let counts = kinds.entry(kind).or_default();
        counts.0 += 1;
        counts.1 += usize::from(hit.contains(format!("i{number}").as_str()));
    }
    assert!(kinds.values().all(|(drawn, found)| drawn > &0 && found > &0), "{kinds:?}");
    eprintln!(
        "{} messages, {} matches, {} of URLs in fields beside; indicators drawn and found: {kinds:?}",
        lines.len() + others.len(),
        expected.values().chain(further.values()).sum::<usize>(),
        fields.len()
    );
}

/// A few kilobytes of real lines, every other counted, the rest ended by LF or CRLF.
fn corpus() -> Vec<u8> {
    let mut out = Vec::new();
    let logs = logs().into_iter().filter(|path| extension(path) == "log");
    let lines: Vec<Vec<u8>> = logs
        .flat_map(|path| messages(&path).into_iter().map(|(bytes, _)| bytes).take(2).collect::<Vec<_>>())
        .filter(|bytes| bytes.len() < 250 && !bytes.contains(&0))
        .collect();
    let step = lines.len() / 18;
    for (number, line) in lines.iter().step_by(step.max(1)).take(18).enumerate() {
        let line = match line.first() {
            Some(b'<') => line.clone(),
            _ => [b"<13>", line.as_slice()].concat(),
        };
        match number % 4 {
            0 | 2 => {
                out.extend(format!("{} ", line.len()).as_bytes());
                out.extend(line);
            }
            1 => out.extend([&line[..], b"\n"].concat()),
            _ => out.extend([&line[..], b"\r\n"].concat()),
        }
    }
    // A counted message may hold what ends others.
    let lines = "<13>first line\nsecond line\r\nthird line";
    out.extend(format!("{} {lines}", lines.len()).as_bytes());
    out
}

/// The corpus in a file, rules for what occurs in it, and what `scan` finds.
struct Case {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    rules: String,
    messages: Vec<Vec<u8>>,
    scanned: Found,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("corpus.log");
        let bytes = corpus();
        fs::write(&log, &bytes).expect("written");
        let mut rules = occurring(std::slice::from_ref(&log), 3);
        // In the first line of the counted message, and in its last.
        rules.push_str("  - {id: head, type: text, value: 'first line'}\n  - {id: tail, type: text, value: 'third line'}\n");
        let path = folder.path().join("rules.yaml");
        fs::write(&path, &rules).expect("written");
        let output = roje(["scan".as_ref(), "-r".as_ref(), path.as_path(), log.as_path()]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let scanned = found(&objects(&output));
        let messages = messages(&log).into_iter().map(|(bytes, _)| bytes).collect();
        Case { folder, bytes, rules, messages, scanned }
    }

    fn total(&self) -> usize {
        self.scanned.values().sum()
    }
}

#[test]
fn a_stream_cut_at_every_byte_gives_the_alerts_of_scan() {
    let case = Case::new();
    let rules = load(&case.folder.path().join("rules.yaml"));
    assert!(case.total() > 10, "{:?}", case.scanned);
    eprintln!("{} bytes, {} messages, {} matches", case.bytes.len(), case.messages.len(), case.total());
    let cut = |pieces: &[&[u8]]| {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut assembler = Assembler::new(Delimiters::Stream, MAX_MESSAGE);
        let mut each = |frame: Frame<'_>| frames.push(frame.bytes.to_vec());
        pieces.iter().for_each(|piece| assembler.push(piece, &mut each));
        assembler.finish(&mut each);
        frames
    };
    assert_same("the stream", &matched(&rules, case.messages.iter().map(Vec::as_slice)), &case.scanned);
    for at in 0..=case.bytes.len() {
        let (head, tail) = case.bytes.split_at(at);
        assert_eq!(cut(&[head, tail]), case.messages, "cut at {at}");
    }
    assert_eq!(cut(&case.bytes.chunks(1).collect::<Vec<_>>()), case.messages, "byte by byte");

    // The same through sockets, where the pause makes it two reads.
    let mut sensor = Sensor::start(Setup { rules: &[("rules.yaml", &case.rules)], ..Setup::default() });
    let cuts = (1..case.bytes.len()).step_by(3);
    let connections = cuts.len();
    for at in cuts {
        let mut stream = TcpStream::connect(sensor.tcp).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.write_all(&case.bytes[..at]).expect("sent");
        std::thread::sleep(Duration::from_micros(500));
        stream.write_all(&case.bytes[at..]).expect("sent");
    }
    sensor.wait("all is received", |sensor| {
        sensor.received("tcp") == (connections * case.messages.len()) as u64
    });
    sensor.wait("every match is delivered", |sensor| {
        sensor.sum("roje_alerts_delivered_total", "") == (connections * case.total()) as u64
    });
    sensor.assert_ledger();
    let expected = case.scanned.iter().map(|(key, count)| (key.clone(), count * connections)).collect();
    assert_same("scan and the sockets", &found(&sensor.alerts()), &expected);
    sensor.stop();
}

/// A sensor in this process, fed by UDP and TCP with `in_flight` messages at once; what it raised.
fn run_with(case: &Case, workers: usize, batch: usize, in_flight: usize) -> Found {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    let [udp, tcp, metrics]: [SocketAddr; 3] = [free_udp(), free_tcp(), free_tcp()];
    let text = format!(
        "[sensor]\nname = \"test\"\ndata_dir = \"{at}/state\"\nrules = [\"{rules}\"]\nworkers = {workers}\n\
         [[input]]\nname = \"udp\"\nlisten = \"udp://{udp}\"\nformat = \"syslog\"\n\
         [[input]]\nname = \"tcp\"\nlisten = \"tcp://{tcp}\"\nformat = \"syslog\"\n\
         [[output]]\nname = \"file\"\nto = \"file://{at}/alerts.ndjson\"\n[metrics]\nlisten = \"{metrics}\"\n",
        rules = case.folder.path().join("rules.yaml").display(),
    );
    let path = folder.path().join("roje.toml");
    fs::write(&path, text).expect("written");
    let config = Config::load(Some(&path)).expect("a configuration");
    let raised = Arc::new(Mutex::new(Vec::new()));
    let sink = raised.clone();
    let options = Options {
        batch,
        observe: Some(Box::new(move |alert| {
            sink.lock().expect("a list").push(serde_json::from_slice(&alert.to_line()).expect("JSON"));
        })),
        ..Options::default()
    };
    let sensor = pipeline::Sensor::start(config, options).unwrap_or_else(|error| panic!("{error:?}"));
    let counter = sensor.counter();
    let wait = |count: usize| {
        let start = Instant::now();
        while counter().received < count as u64 {
            assert!(start.elapsed() < Duration::from_secs(30), "{count} sent: {}", counter());
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    // The lines that match stand among others, so that a thousand messages are not a thousand hits,
    // which a full channel would fold into summaries.
    let others = in_flight.div_ceil(SENDERS * case.messages.len()) - 1;
    let messages: Vec<&[u8]> = case
        .messages
        .iter()
        .flat_map(|message| [message.as_slice()].into_iter().chain(OTHERS.into_iter().cycle().take(others)))
        .collect();
    // Several senders, so that several workers have work.
    let datagrams: Vec<UdpSocket> =
        (0..SENDERS).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    let mut streams: Vec<TcpStream> =
        (0..SENDERS).map(|_| TcpStream::connect(tcp).expect("a connection")).collect();
    let mut sent = 0;
    for socket in &datagrams {
        for message in &messages {
            socket.send_to(message, udp).expect("sent");
            sent += 1;
            if in_flight == 1 {
                wait(sent);
            }
        }
    }
    wait(sent);
    for stream in &mut streams {
        let mut burst = Vec::new();
        for message in &messages {
            // Messages that hold line ends are counted; the counted ones begin with a priority.
            match message.first() {
                Some(b'<') => burst.extend(format!("{} ", message.len()).as_bytes()),
                _ => burst.push(b'\n'),
            }
            burst.extend(*message);
            if message.first() != Some(&b'<') {
                burst.push(b'\n');
            }
            sent += 1;
            if in_flight == 1 {
                stream.write_all(&std::mem::take(&mut burst)).expect("sent");
                wait(sent);
            }
        }
        stream.write_all(&burst).expect("sent");
    }
    wait(sent);
    let totals = sensor.stop().expect("nothing is lost");
    let decoded = messages.iter().filter(|message| syslog::header(message).is_ok()).count() * 2 * SENDERS;
    let expected = (sent, decoded, sent - decoded, case.total() * 2 * SENDERS);
    let expected = (expected.0 as u64, expected.1 as u64, expected.2 as u64, expected.3 as u64);
    assert_eq!((totals.received, totals.decoded, totals.undecodable, totals.matches), expected, "{totals}");
    assert_eq!((totals.dropped, totals.kernel_dropped), (0, 0), "{totals}");
    let raised = raised.lock().expect("a list");
    found(raised.iter())
}

const SENDERS: usize = 8;

/// Messages in which nothing is found, with and without a header.
const OTHERS: [&[u8]; 2] =
    [b"<13>Oct 11 22:14:15 host app: nothing of note", b"neither header nor anything of note"];

#[test]
fn workers_batches_bursts_and_tokenisers_do_not_change_the_totals() {
    let case = Case::new();
    let expected = case.scanned.iter().map(|(key, count)| (key.clone(), count * 2 * SENDERS)).collect();
    for tokeniser in ["of the processor", "portable"] {
        if tokeniser == "portable" {
            // For the whole process, from now on: other tests may change over in their midst, which must
            // not change what they find either.
            detect::use_portable();
        }
        for workers in [1, 2, 4] {
            for (batch, in_flight) in [(1, 1), (1, 1000), (64, 1), (64, 1000)] {
                let found = run_with(&case, workers, batch, in_flight);
                let what = format!(
                    "tokeniser {tokeniser}, {workers} workers, batches of {batch}, {in_flight} in flight"
                );
                assert_same(&what, &found, &expected);
            }
        }
    }
}
