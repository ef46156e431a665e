//! Every verb on real captures, compared with expected files.
//!
//! Expected output lies in `tests/golden/`; `ROJE_BLESS=1 cargo test --test verbs` writes it anew,
//! to be read before it is committed.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// Fixes the year of stamps that lack it, and the receive time of what files hold.
const REFERENCE: &str = "2022-07-16T00:00:00Z";

const UDP_LOG: &str = "tests/data/demo/syslog-udp.log";
const TCP_LOG: &str = "tests/data/demo/syslog-tcp.log";
const NETFLOW5: &str = "tests/data/demo/netflow5.pcap";
const NETFLOW9: &str = "tests/data/demo/netflow9.pcap";
const IPFIX: &str = "tests/data/demo/ipfix.pcap";
const RULES: &str = "tests/golden/rules.yaml";
const ALLOW: &str = "tests/golden/allow.yaml";

/// How long a test waits for what must come; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn roje(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roje"));
    command.current_dir(root()).args(args).env_remove("RUST_LOG").timeout(PATIENCE);
    command
}

/// What a verb printed, and its exit code.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().expect("roje runs");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
    }
}

fn run(args: &[&str]) -> Outcome {
    outcome(&mut roje(args))
}

fn decode(inputs: &[&str]) -> Outcome {
    run(&[&["decode", "--reference-time", REFERENCE], inputs].concat())
}

fn scan(args: &[&str]) -> Outcome {
    run(&[&["scan", "--reference-time", REFERENCE, "-r", RULES], args].concat())
}

/// Compares with the expected file, or writes it where `ROJE_BLESS` is set.
fn golden(name: &str, actual: &str) {
    let path = root().join("tests/golden").join(name);
    if std::env::var_os("ROJE_BLESS").is_some() {
        fs::write(&path, actual).expect("the expected file is written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(expected, actual, "{name}:{}", number + 1);
    }
    assert_eq!(expected.lines().count(), actual.lines().count(), "lines of {name}");
}

fn objects(ndjson: &str) -> Vec<Value> {
    ndjson
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// NDJSON without what differs from machine to machine and from version to version.
fn stable(ndjson: &str) -> String {
    let mut text = String::new();
    for mut object in objects(ndjson) {
        let agent = &mut object["agent"];
        assert!(agent["name"].as_str().is_some_and(|name| !name.is_empty()), "{agent}");
        assert_eq!(agent["version"], env!("CARGO_PKG_VERSION"));
        agent["name"] = "HOST".into();
        agent["version"] = "VERSION".into();
        text.push_str(&object.to_string());
        text.push('\n');
    }
    text
}

/// NDJSON without the name of the file it came from.
fn nameless(ndjson: &str) -> Vec<Value> {
    let mut objects = objects(ndjson);
    for object in &mut objects {
        let file = object["log"]["file"].as_object_mut().expect("log.file");
        assert!(file.remove("path").is_some());
    }
    objects
}

#[test]
fn decode_prints_every_event_of_logs_and_captures() {
    for (input, name, events) in [
        (UDP_LOG, "decode-syslog-udp.ndjson", 26),
        (TCP_LOG, "decode-syslog-tcp.ndjson", 19),
        (NETFLOW5, "decode-netflow5.ndjson", 8),
        (NETFLOW9, "decode-netflow9.ndjson", 17),
        (IPFIX, "decode-ipfix.ndjson", 58),
    ] {
        let decoded = decode(&[input]);
        assert_eq!(decoded.code, 0, "{}", decoded.stderr);
        assert_eq!(decoded.stdout.lines().count(), events, "{input}");
        golden(name, &stable(&decoded.stdout));
    }
}

#[test]
fn decode_keeps_the_order_of_its_inputs() {
    let one = decode(&[NETFLOW5]).stdout + &decode(&[UDP_LOG]).stdout + &decode(&[NETFLOW9]).stdout;
    assert_eq!(decode(&[NETFLOW5, UDP_LOG, NETFLOW9]).stdout, one);
}

#[test]
fn decode_reads_compressed_copies_and_standard_input_alike() {
    let plain = fs::read(root().join(UDP_LOG)).expect("a log");
    let expected = nameless(&decode(&[UDP_LOG]).stdout);
    let dir = tempfile::tempdir().expect("a folder");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).expect("compressed");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&plain).expect("compressed");
    let copies = [
        ("gzip", gzip.finish().expect("gzip")),
        ("zstd", zstd::encode_all(plain.as_slice(), 3).expect("zstd")),
        ("xz", xz.finish().expect("xz")),
    ];
    for (name, bytes) in copies {
        // No telling extension: the content decides.
        let path = dir.path().join(format!("messages-{name}"));
        fs::write(&path, &bytes).expect("a file");
        let from_file = decode(&[path.to_str().expect("UTF-8")]);
        assert_eq!((from_file.code, nameless(&from_file.stdout)), (0, expected.clone()), "{name}");
        let piped = outcome(roje(&["decode", "--reference-time", REFERENCE, "-"]).write_stdin(bytes));
        assert_eq!((piped.code, nameless(&piped.stdout)), (0, expected.clone()), "{name} on standard input");
    }
    let capture = fs::read(root().join(NETFLOW9)).expect("a capture");
    let piped = outcome(roje(&["decode", "-"]).write_stdin(capture));
    assert_eq!(nameless(&piped.stdout), nameless(&decode(&[NETFLOW9]).stdout));
}

#[test]
fn decode_is_never_silent() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("broken");
    fs::write(&path, b"\x00\x05\x00\x1enot thirty records").expect("a file");
    let datagram = run(&["decode", "--as", "flow", path.to_str().expect("UTF-8")]);
    let events = objects(&datagram.stdout);
    assert_eq!((datagram.code, events.len()), (0, 1), "{}", datagram.stderr);
    assert!(events[0]["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", events[0]);
    assert!(
        events[0]["event"]["original"].as_str().is_some_and(|text| text.contains("not thirty")),
        "{}",
        events[0]
    );

    let raw = outcome(roje(&["decode", "-"]).write_stdin(&b"\xff\xfe nothing like a header\n"[..]));
    let events = objects(&raw.stdout);
    assert_eq!((raw.code, events.len()), (0, 1), "{}", raw.stderr);
    assert!(events[0]["event"]["original"].is_string(), "{}", events[0]);
    assert_eq!(events[0]["roje"]["original_base64"], "//4gbm90aGluZyBsaWtlIGEgaGVhZGVy");

    let missing = decode(&["no/such/file", UDP_LOG]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("no/such/file"), "{}", missing.stderr);
    assert_eq!(missing.stdout, decode(&[UDP_LOG]).stdout, "the other input is decoded all the same");
}

#[test]
fn decode_takes_zone_and_year_from_its_arguments() {
    let at = |args: &[&str]| {
        let line = &b"<13>Jan  5 10:00:00 host app: text\n"[..];
        let decoded = outcome(roje(&[&["decode"], args, &["-"]].concat()).write_stdin(line));
        objects(&decoded.stdout)[0]["@timestamp"].as_str().expect("a stamp").to_string()
    };
    assert_eq!(at(&["--reference-time", "2021-03-01T00:00:00Z"]), "2021-01-05T10:00:00.000Z");
    assert_eq!(
        at(&["--reference-time", "2021-01-04T09:00:00Z"]),
        "2020-01-05T10:00:00.000Z",
        "over a day ahead"
    );
    assert_eq!(
        at(&["--reference-time", "2021-01-04T11:00:00Z"]),
        "2021-01-05T10:00:00.000Z",
        "under a day ahead"
    );
    let tirane = at(&["--reference-time", "2021-03-01T00:00:00Z", "--timezone", "Europe/Tirane"]);
    assert_eq!(tirane, "2021-01-05T09:00:00.000Z");
    let wrong = run(&["decode", "--timezone", "Europe/Tiran", "-"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("Europe/Tiran"), "{}", wrong.stderr);
}

#[test]
fn scan_prints_every_hit_as_an_alert() {
    let scanned = scan(&[UDP_LOG, TCP_LOG, NETFLOW5, NETFLOW9, IPFIX]);
    assert_eq!(scanned.code, 0, "{}", scanned.stderr);
    golden("scan.ndjson", &stable(&scanned.stdout));
    let alerts = objects(&scanned.stdout);
    let ids: Vec<&str> = alerts.iter().map(|alert| alert["rule"]["id"].as_str().expect("an id")).collect();
    for (id, count) in [
        ("g-ip", 2),
        ("g-domain", 3),
        ("g-url", 1),
        ("g-mail", 1),
        ("g-hash", 1),
        ("g-text", 1),
        ("g-old", 1),
        ("g-test", 0),
        ("g-gone", 0),
        ("g-v5", 1),
        ("g-v5-other-side", 0),
    ] {
        assert_eq!(ids.iter().filter(|found| **found == id).count(), count, "{id} in {ids:?}");
    }
    let mut unique: Vec<&str> =
        alerts.iter().map(|alert| alert["event"]["id"].as_str().expect("an id")).collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), alerts.len(), "no two alerts share an id");
    let expired = alerts.iter().filter(|alert| alert["roje"]["expired"] == true);
    assert_eq!(expired.map(|alert| &alert["rule"]["id"]).collect::<Vec<_>>(), ["g-old"]);
}

#[test]
fn scan_drops_expired_indicators_when_told() {
    let all = objects(&scan(&[TCP_LOG]).stdout);
    let valid = objects(&scan(&["--valid-only", TCP_LOG]).stdout);
    let expected: Vec<&Value> = all.iter().filter(|alert| alert["rule"]["id"] != "g-old").collect();
    assert_eq!(expected.len(), all.len() - 1);
    assert_eq!(valid.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn scan_with_any_number_of_workers_prints_the_same_in_the_same_order() {
    // Enough for several blocks, so that workers do meet.
    let lines = fs::read_to_string(root().join(UDP_LOG)).expect("a log")
        + &fs::read_to_string(root().join(TCP_LOG)).expect("a log");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("long.log");
    fs::write(&path, lines.repeat(400)).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let one = scan(&["--workers", "1", path, NETFLOW9]);
    let four = scan(&["--workers", "4", path, NETFLOW9]);
    let offsets: Vec<u64> =
        objects(&one.stdout).iter().filter_map(|alert| alert["log"]["offset"].as_u64()).collect();
    assert!(offsets.len() > 400 * 8, "{}", offsets.len());
    assert!(offsets.is_sorted(), "in input order");
    assert!(one.stdout == four.stdout, "one worker and four differ");
}

#[test]
fn scan_exits_like_grep() {
    assert_eq!(scan(&[UDP_LOG]).code, 0);
    let none = outcome(
        roje(&["scan", "-r", RULES, "-"])
            .write_stdin("<13>Oct 11 22:14:15 host app: query notcdn-sync.example\n"),
    );
    assert_eq!((none.code, none.stdout.as_str()), (1, ""), "{}", none.stderr);
    let missing = scan(&[UDP_LOG, "no/such/file"]);
    assert_eq!(missing.code, 2);
    assert!(!missing.stdout.is_empty(), "what can be read is matched");
    assert!(missing.stderr.contains("no/such/file"), "{}", missing.stderr);
    assert_eq!(run(&["scan", "-r", "no/such/rules", UDP_LOG]).code, 2);
    assert_eq!(run(&["scan", "-r", "tests/golden/mistakes.yaml", UDP_LOG]).code, 2, "no rules, no verdict");
}

#[test]
fn scan_obeys_allow_sets() {
    let scanned = scan(&["-r", ALLOW, UDP_LOG]);
    assert_eq!(scanned.code, 0, "{}", scanned.stderr);
    assert!(objects(&scanned.stdout).iter().all(|alert| alert["rule"]["id"] != "g-ip"), "{}", scanned.stdout);
    assert!(scanned.stderr.contains("suppressed"), "{}", scanned.stderr);
}

#[test]
fn explain_tells_what_matched_and_why_not() {
    let text = fs::read_to_string(root().join(TCP_LOG)).expect("a log");
    let line = |word: &str| text.lines().find(|line| line.contains(word)).expect("a line").to_string();
    let explain = |line: &str, format: &str| {
        run(&["explain", "-r", RULES, "--reference-time", REFERENCE, "--format", format, line])
    };
    for (word, name) in
        [("stage2", "hit"), ("update-help.com", "expired"), ("deb.debian.org", "test"), ("UI_DBASE", "none")]
    {
        let as_text = explain(&line(word), "text");
        assert_eq!(as_text.code, 0, "{}", as_text.stderr);
        golden(&format!("explain-{name}.txt"), &as_text.stdout);
        let as_json = explain(&line(word), "json");
        assert_eq!(as_json.code, 0, "{}", as_json.stderr);
        golden(&format!("explain-{name}.json"), &as_json.stdout);
    }
    let piped = outcome(
        roje(&["explain", "-r", RULES, "--reference-time", REFERENCE])
            .write_stdin(format!("{}\nnext\n", line("stage2"))),
    );
    assert_eq!(piped.stdout, explain(&line("stage2"), "text").stdout, "the first line of standard input");
    let allowed = run(&["explain", "-r", RULES, "-r", ALLOW, "--format", "json", "from 203.0.113.77 port 1"]);
    let allowed: Value = serde_json::from_str(&allowed.stdout).expect("JSON");
    assert_eq!(allowed["matches"][0]["alert"], false, "{allowed:#}");
    assert_eq!(allowed["matches"][0]["suppressed"], "allowed", "{allowed:#}");
}

#[test]
fn test_counts_what_passes_and_names_what_fails() {
    let good = run(&["test", RULES, ALLOW]);
    assert_eq!((good.code, good.stdout.as_str()), (0, "5 passed, 0 failed\n"), "{}", good.stderr);
    let bad = run(&["test", "tests/golden/failing.yaml"]);
    assert_eq!(bad.code, 1, "{}", bad.stderr);
    golden("test-failing.txt", &bad.stdout);
    assert!(bad.stdout.ends_with("\n2 passed, 2 failed\n"), "{}", bad.stdout);
    assert!(bad.stdout.contains("tests/golden/failing.yaml:10:7: "), "{}", bad.stdout);
    let shipped = run(&["test", "rules", "tests/data/demo/rules"]);
    assert_eq!(shipped.code, 0, "{}", shipped.stdout);
    assert!(shipped.stdout.ends_with(" passed, 0 failed\n"), "{}", shipped.stdout);
}

#[test]
fn rules_shows_what_is_loaded() {
    let table = run(&["rules", RULES, ALLOW, "tests/golden/mistakes.yaml"]);
    assert_eq!(table.code, 0, "{}", table.stderr);
    golden("rules.txt", &table.stdout);
    let json = run(&["rules", "--format", "json", RULES, ALLOW, "tests/golden/mistakes.yaml"]);
    assert_eq!(json.code, 0, "{}", json.stderr);
    golden("rules.json", &json.stdout);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let set =
        ["set", "source", "producer", "tlp", "stale", "indicators", "allow", "expired", "refused", "hits"];
    let kinds = ["ip", "domain", "url", "email", "md5", "sha1", "sha256", "sha512", "text"];
    assert_eq!(keys(&report), ["sets", "totals"]);
    let sets = report["sets"].as_array().expect("a list");
    for entry in sets.iter().chain([&report["totals"]]) {
        assert_eq!(keys(entry), set);
        assert_eq!(keys(&entry["indicators"]), kinds);
        assert!(entry["hits"].is_null(), "no sensor was asked");
    }
    let golden = sets.iter().find(|entry| entry["set"] == "golden").expect("the set");
    assert_eq!(golden["producer"], "Test producer");
    assert_eq!(golden["source"], RULES);
    assert_eq!(golden["expired"], 1);
    assert_eq!(golden["indicators"]["domain"], 3);
    let refused =
        sets.iter().find(|entry| entry["source"] == "tests/golden/mistakes.yaml").expect("the refused file");
    let counts: u64 = refused["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|group| group["count"].as_u64())
        .sum();
    assert_eq!(counts, 1, "a file refused whole counts 1: {refused:#}");
    assert_eq!(keys(&refused["refused"][0]), ["reason", "count", "first"]);
}

#[test]
fn check_reports_every_mistake_at_its_line_and_column() {
    let places = |args: &[&str]| {
        let checked = run(&[&["check", "--format", "json"], args].concat());
        assert_eq!(checked.code, 1, "{}", checked.stderr);
        let problems: Vec<Value> = serde_json::from_str(&checked.stdout).expect("a list");
        problems
            .iter()
            .map(|p| (p["line"].as_u64().expect("a line"), p["column"].as_u64().expect("a column")))
            .collect::<Vec<_>>()
    };
    let rules = "tests/golden/mistakes.yaml";
    assert_eq!(places(&[rules]), [(4, 35), (6, 8), (9, 19), (10, 30), (11, 66)]);
    let config = "tests/golden/mistakes.toml";
    assert_eq!(places(&["-c", config]), [(3, 1), (4, 16), (9, 10), (10, 12), (15, 7)]);
    for (args, name) in [(&[rules][..], "check-rules"), (&["-c", config], "check-config")] {
        let text = run(&[&["check"], args].concat());
        assert_eq!(text.code, 1, "{}", text.stderr);
        golden(&format!("{name}.txt"), &text.stdout);
        let json = run(&[&["check", "--format", "json"], args].concat());
        golden(&format!("{name}.json"), &json.stdout);
    }
    let good = run(&["check", RULES]);
    assert_eq!((good.code, good.stdout.as_str()), (0, ""), "{}", good.stderr);
    let none = run(&["check", "--format", "json", RULES]);
    assert_eq!((none.code, none.stdout.trim()), (0, "[]"));
    let missing = run(&["check", "-c", "no/such/file.toml"]);
    assert_eq!(missing.code, 1);
    assert!((missing.stdout + &missing.stderr).contains("no/such/file.toml"));
}

#[test]
fn check_knows_sets_that_no_output_may_carry() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = |tlp: &str| {
        format!(
            "[sensor]\nrules = [\"{}\"]\n[[input]]\nname = \"udp\"\nlisten = \"udp://127.0.0.1:0\"\nformat = \"syslog\"\n\
             [[output]]\nname = \"out\"\nto = \"stdout:\"\ntlp = \"{tlp}\"\n",
            root().join(RULES).display()
        )
    };
    let path = dir.path().join("roje.toml");
    fs::write(&path, config("clear")).expect("a file");
    let check = || run(&["check", "-c", path.to_str().expect("UTF-8")]);
    let refused = check();
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stdout.contains("no output may carry") && refused.stdout.contains("golden"),
        "{}",
        refused.stdout
    );
    fs::write(&path, config("red")).expect("a file");
    let fine = check();
    assert_eq!(fine.code, 0, "{}{}", fine.stdout, fine.stderr);
}

#[test]
fn send_delivers_lines_and_datagrams() {
    let text = fs::read_to_string(root().join(UDP_LOG)).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let udp = format!("udp://{}", socket.local_addr().expect("an address"));
    let receive = |count: usize| -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        (0..count)
            .map(|_| {
                let length = socket.recv(&mut buffer).expect("a datagram");
                buffer[..length].to_vec()
            })
            .collect()
    };
    let sent = run(&["send", UDP_LOG, "--to", &udp, "--rate", "2000"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    assert!(sent.stderr.starts_with("26 messages"), "{}", sent.stderr);
    assert_eq!(receive(26), lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());

    let sent = run(&["send", UDP_LOG, "--to", &udp, "--count", "30"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    let repeated = receive(30);
    assert_eq!(repeated[26..], repeated[..4], "the input again, from its start");

    let sent = run(&["send", NETFLOW9, "--to", &udp]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    for datagram in receive(2) {
        assert_eq!(datagram[..2], [0, 9], "the payload alone, version first");
    }

    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let tcp = format!("tcp://{}", listener.local_addr().expect("an address"));
    for octet_counted in [false, true] {
        let mut command = roje(&["send", UDP_LOG, "--to", &tcp]);
        if octet_counted {
            command.arg("--octet-counted");
        }
        let received = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("all bytes");
                String::from_utf8(bytes).expect("text")
            });
            assert_eq!(outcome(&mut command).code, 0);
            reader.join().expect("received")
        });
        let framed: String = match octet_counted {
            false => lines.iter().map(|line| format!("{line}\n")).collect(),
            // A counted message must begin with `<`; others go delimited, so that they are told apart.
            true => lines
                .iter()
                .map(|line| match line.starts_with('<') {
                    true => format!("{} {line}", line.len()),
                    false => format!("{line}\n"),
                })
                .collect(),
        };
        assert_eq!(received, framed);
    }

    let unknown = run(&["send", UDP_LOG, "--to", "upd://127.0.0.1:1"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("expected udp, tcp"), "names what is expected: {}", unknown.stderr);
    assert_ne!(run(&["send", "no/such/file", "--to", &udp]).code, 0);
}

const VERBS: [&str; 13] = [
    "run",
    "demo",
    "check",
    "test",
    "rules",
    "scan",
    "decode",
    "explain",
    "import",
    "export",
    "send",
    "completions",
    "man",
];

#[test]
fn completions_and_manual_pages_know_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let completions = run(&["completions", shell]);
        assert_eq!(completions.code, 0, "{}", completions.stderr);
        for verb in VERBS {
            assert!(completions.stdout.contains(verb), "{verb} for {shell}");
        }
    }
    let manual = run(&["man"]);
    assert_eq!(manual.code, 0, "{}", manual.stderr);
    assert!(manual.stdout.contains(".TH roje 1"), "{}", manual.stdout);
    let dir = tempfile::tempdir().expect("a folder");
    let pages = run(&["man", "--directory", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(pages.code, 0, "{}", pages.stderr);
    for verb in VERBS {
        assert!(manual.stdout.contains(verb), "{verb} in the manual");
        let page = fs::read_to_string(dir.path().join(format!("roje-{verb}.1"))).expect("a page of its own");
        assert!(page.contains("Example"), "{verb}: {page}");
    }
}

#[test]
fn help_of_every_verb_has_an_example() {
    for verb in VERBS {
        let help = run(&[verb, "--help"]);
        assert_eq!(help.code, 0, "{}", help.stderr);
        assert!(help.stdout.contains("Example"), "{verb}: {}", help.stdout);
        assert!(
            help.stdout.contains(&format!("  roje {verb}"))
                || help.stdout.contains(&format!("| roje {verb}")),
            "{verb}"
        );
    }
}

const EVENT: &str = r#"{"Event": {"info": "C2", "Orgc": {"name": "CERT"}, "Tag": [{"name": "tlp:green"}], "Attribute": [
  {"type": "domain", "value": "evil.example", "to_ids": true, "uuid": "d177856e-6e46-44ee-8eb5-83ef1c7452c7"},
  {"type": "ip-dst", "value": "203.0.113.300", "to_ids": true},
  {"type": "comment", "value": "x", "to_ids": false}]}}"#;

#[test]
fn what_others_share_is_read_converted_and_shared() {
    let dir = tempfile::tempdir().unwrap();
    let event = dir.path().join("event.json");
    fs::write(&event, EVENT).unwrap();
    let event = event.to_str().unwrap();
    let hit = run(&["scan", "-r", event, "-"]);
    assert_eq!(hit.code, 1, "{}", hit.stderr);
    let imported = run(&["import", "--from", "misp", event]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    assert!(
        imported.stderr.contains("skipped: 1 × not an address or prefix (first at "),
        "{}",
        imported.stderr
    );
    assert!(imported.stderr.contains("event.json:3:"), "{}", imported.stderr);
    assert!(imported.stderr.contains("1 indicators, 2 skipped, 0 duplicates"), "{}", imported.stderr);
    let native = dir.path().join("native.yaml");
    fs::write(&native, &imported.stdout).unwrap();
    assert_eq!(run(&["check", native.to_str().unwrap()]).code, 0, "{}", imported.stdout);
    let checked = run(&["check", "--format", "sarif", event]);
    assert_eq!(checked.code, 1);
    let sarif: Value = serde_json::from_str(&checked.stdout).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&Value::from("bad-value"), &Value::from("error")));
    let region = &result["locations"][0]["physicalLocation"]["region"];
    assert_eq!((&region["startLine"], &region["startColumn"]), (&Value::from(3), &Value::from(31)));
    let exported = run(&["export", "--tlp", "green", "--format", "stix", native.to_str().unwrap()]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    assert!(
        exported.stdout.contains("evil.example") && exported.stdout.contains("CERT"),
        "{}",
        exported.stdout
    );
    let withheld = run(&["export", "--tlp", "clear", native.to_str().unwrap()]);
    assert!(!withheld.stdout.contains("evil.example"), "{}", withheld.stdout);
    assert!(withheld.stderr.contains("left out: 1 × marked more strictly"), "{}", withheld.stderr);
    let schema: Value = serde_json::from_str(&run(&["rules", "--schema"]).stdout).unwrap();
    assert_eq!(schema["properties"]["schema"]["const"], 1);
    assert_eq!(run(&["import", "--from", "stix", event]).code, 1);
}

#[test]
fn run_refuses_a_bad_configuration_with_78() {
    let refused = run(&["run", "-c", "tests/golden/mistakes.toml"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (78, ""));
    for place in [
        "mistakes.toml:3:1",
        "mistakes.toml:4:16",
        "mistakes.toml:9:10",
        "mistakes.toml:10:12",
        "mistakes.toml:15:7",
    ] {
        assert!(refused.stderr.contains(place), "{place} in {}", refused.stderr);
    }
    assert!(refused.stderr.contains("workers"), "names the nearest key: {}", refused.stderr);
    let missing = run(&["run", "-c", "no/such/file.toml"]);
    assert_eq!(missing.code, 78, "{}", missing.stderr);
    assert!(missing.stderr.contains("no/such/file.toml"), "{}", missing.stderr);
}

#[test]
fn run_without_a_loadable_rule_set_exits_78() {
    let dir = tempfile::tempdir().expect("a folder");
    let rules = dir.path().join("rules.d");
    fs::create_dir(&rules).expect("a folder");
    let config = dir.path().join("roje.toml");
    let text = format!(
        "[sensor]\ndata_dir = \"{0}/state\"\nrules = [\"{0}/rules.d\"]\n[[input]]\nname = \"udp\"\n\
         listen = \"udp://127.0.0.1:0\"\nformat = \"syslog\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n",
        dir.path().display()
    );
    fs::write(&config, text).expect("a file");
    let start = || run(&["run", "-c", config.to_str().expect("UTF-8")]);
    let empty = start();
    assert_eq!(empty.code, 78, "{}", empty.stderr);
    assert!(empty.stderr.contains("rules.d"), "says where it looked: {}", empty.stderr);
    fs::copy(root().join("tests/golden/mistakes.yaml"), rules.join("mistakes.yaml")).expect("a file");
    let broken = start();
    assert_eq!(broken.code, 78, "{}", broken.stderr);
    assert!(broken.stderr.contains("mistakes.yaml:4:35"), "{}", broken.stderr);
}

/// The numbers of the ledger that the demonstration prints, by name.
fn ledger(stderr: &str) -> impl Fn(&str) -> u64 {
    let rows: Vec<(String, u64)> = stderr
        .lines()
        .filter_map(|line| line.trim().rsplit_once("  "))
        .filter_map(|(name, count)| {
            Some((name.trim().to_string(), count.trim().replace(',', "").parse().ok()?))
        })
        .collect();
    move |name| rows.iter().find(|(row, _)| row == name).unwrap_or_else(|| panic!("no {name} in {rows:?}")).1
}

#[test]
fn demo_shows_alerts_and_a_closed_ledger() {
    let demo = run(&["demo"]);
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    let count = ledger(&demo.stderr);
    assert_eq!(count("sent"), 26 + 19 + 1 + 2 + 7);
    assert_eq!(count("sent"), count("received") + count("dropped by the kernel"));
    assert_eq!(count("received"), count("decoded") + count("undecodable") + count("dropped"));
    assert_eq!(count("flow records"), 8 + 17 + 58);
    let alerts = demo.stdout.lines().filter(|line| {
        ["LOW ", "MEDIUM ", "HIGH ", "CRITICAL "].iter().any(|severity| line.starts_with(severity))
    });
    assert_eq!(alerts.count() as u64, count("alerts"));
    for indicator in [
        "ip 203.0.113.77",
        "domain cdn-sync.example",
        "url http://updates.example.net/a/stage2.ps1",
        "email invoice@billing-desk.example",
        "sha256 275a021b",
        "text pickers.aspx",
        "ip 140.82.112.22",
        "ip 182.50.136.239",
        "ip 34.149.140.181",
    ] {
        assert!(demo.stdout.contains(&format!("indicator  {indicator}")), "{indicator} in {}", demo.stdout);
    }
    assert!(demo.stderr.contains("http://127.0.0.1:") && demo.stderr.contains("/metrics"), "{}", demo.stderr);
    assert!(!demo.stdout.contains('\x1b') && !demo.stderr.contains('\x1b'), "no colour off a terminal");
}

#[test]
fn demo_stays_until_interrupted_and_serves_metrics() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_roje"))
        .args(["demo", "--stay"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("roje starts");
    let mut told = BufReader::new(child.stderr.take().expect("standard error"));
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        let read = told.read_line(&mut text).expect("a line");
        assert!(read > 0, "ended early: {text}");
    }
    let address =
        text.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address of metrics");
    let mut stream = std::net::TcpStream::connect(address).expect("metrics are served");
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).expect("answered");
    let value = |metric: &str, labels: &[&str]| -> f64 {
        metrics
            .lines()
            .filter(|line| {
                line.split('{').next() == Some(metric) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(value("roje_input_messages_total", &["input=\"syslog-udp\""]), 26.0, "{metrics}");
    assert_eq!(value("roje_input_messages_total", &["input=\"syslog-tcp\""]), 19.0, "{metrics}");
    for (format, datagrams) in [("netflow5", 1.0), ("netflow9", 2.0), ("ipfix", 7.0)] {
        let label = format!("format=\"{format}\"");
        assert_eq!(value("roje_decoded_total", &[&label]), datagrams, "{format} in {metrics}");
    }
    assert_eq!(value("roje_flow_records_total", &[]), 83.0, "{metrics}");
    assert!(value("roje_alerts_total", &[]) > 0.0, "{metrics}");
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().ok();
            panic!("does not stop");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn nothing_a_sender_wrote_reaches_the_terminal_unescaped() {
    let line = "<13>Oct 11 22:14:15 host app: \x1b[31m cdn-sync.example \x07";
    let explained = run(&["explain", "-r", RULES, line]);
    assert_eq!(explained.code, 0);
    assert!(!explained.stdout.contains(['\x1b', '\x07']), "{:?}", explained.stdout);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_roje"))
        .current_dir(root())
        .args(["decode", UDP_LOG, TCP_LOG, IPFIX, UDP_LOG, TCP_LOG, IPFIX])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("roje starts");
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().expect("standard error").read_to_string(&mut told).expect("text");
    child.wait().expect("an end");
    assert!(!told.contains("panicked") && !told.contains("error"), "{told}");
}
