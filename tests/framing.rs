//! Framing and captures held against real vectors; `ROJE_DATA` names the folder that has them.
#![cfg(feature = "real-data")]

use roje::input::file::{self, Kind};
use roje::input::framing::{Assembler, Delimiters};
use roje::input::pcap::{Capture, CaptureStats};
use roje::input::stream::{self, Handler, Listener, Options};
use roje::input::{Format, MAX_MESSAGE, Message, Stop};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn data(path: &str) -> PathBuf {
    let root = std::env::var_os("ROJE_DATA").expect("ROJE_DATA must name the folder of test data");
    Path::new(&root).join(path)
}

fn json(path: &str) -> Vec<Value> {
    let path = data(path);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn cut(delimiters: Delimiters, max_message: usize, pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
    let mut found = Vec::new();
    let mut assembler = Assembler::new(delimiters, max_message);
    let mut each =
        |frame: roje::input::framing::Frame<'_>| found.push((frame.bytes.to_vec(), frame.truncated));
    pieces.iter().for_each(|piece| assembler.push(piece, &mut each));
    assembler.finish(&mut each);
    found
}

/// Frames a vector whole and cut at every byte; all give the same.
fn frames(max_message: usize, input: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let whole = cut(Delimiters::Stream, max_message, &[input]);
    for at in 0..=input.len() {
        let pieces = [&input[..at], &input[at..]];
        assert_eq!(cut(Delimiters::Stream, max_message, &pieces), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(cut(Delimiters::Stream, max_message, &bytes), whole, "byte by byte");
    whole
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn octet_counting_vectors() {
    let vectors = json("syslog/go-syslog/octet-counting.json");
    for vector in &vectors {
        let name = vector["description"].as_str().unwrap();
        let input = vector["input"].as_str().unwrap();
        let limit = vector["max_message_length"].as_u64().map_or(MAX_MESSAGE, |limit| limit as usize);
        let found = frames(limit, input.as_bytes());
        // Where their reader stops with an error, ours keeps what it has and goes on: the frames that
        // they accept are a prefix of ours.
        let accepted: Vec<&Value> = vector["results"]
            .as_array()
            .unwrap()
            .iter()
            .take_while(|result| result.get("error").is_none())
            .collect();
        assert!(found.len() >= accepted.len(), "{name}: {found:?}");
        for (frame, result) in found.iter().zip(&accepted) {
            let message = &result["message"];
            let start = format!("<{}>{} ", message["priority"], message["version"]);
            assert!(text(&frame.0).starts_with(&start) && !frame.1, "{name}: {}", text(&frame.0));
            if let Some(body) = message["message"].as_str() {
                assert!(text(&frame.0).ends_with(body), "{name}: {}", text(&frame.0));
            }
        }
        // Nothing is lost: what their reader rejects is a message of its own, cut if it is too long.
        let rest: Vec<String> = found[accepted.len()..].iter().map(|frame| text(&frame.0)).collect();
        let expected: &[&str] = match name {
            "1st ok/2nd ko" => &["xaaa"],
            "1st ko//missing WS found ILLEGAL" => &["16<1>1"],
            "MSGLEN gt max message length" => &["<1>1 - - -"],
            _ => &[],
        };
        assert_eq!(rest, expected, "{name}");
    }
    assert!(vectors.len() >= 6, "{}", vectors.len());
}

#[test]
fn non_transparent_vectors() {
    let vectors = json("syslog/go-syslog/non-transparent.json");
    for vector in &vectors {
        let name = vector["description"].as_str().unwrap();
        for trailer in ["\n", "\0"] {
            let input = vector["input"].as_str().unwrap().replace("%[1]s", trailer);
            let expected: Vec<&str> = input.split_terminator(trailer).collect();
            let found: Vec<String> =
                frames(MAX_MESSAGE, input.as_bytes()).iter().map(|f| text(&f.0)).collect();
            assert_eq!(found, expected, "{name}");
            assert_eq!(found.len(), vector["results"].as_array().unwrap().len(), "{name}");
        }
    }
    assert!(vectors.len() >= 3, "{}", vectors.len());
}

#[test]
fn telegraf_streams() {
    let mut streams = 0;
    for entry in std::fs::read_dir(data("syslog/telegraf")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(settings) = std::fs::read_to_string(folder.join("telegraf.conf")) else { continue };
        if !settings.contains("tcp://") {
            continue;
        }
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let input = std::fs::read(folder.join("input.txt")).unwrap();
        // The longest inputs take a second each when cut at every byte.
        let found = if input.len() < 2000 {
            frames(MAX_MESSAGE, &input)
        } else {
            cut(Delimiters::Stream, MAX_MESSAGE, &[&input])
        };
        let expected = std::fs::read_to_string(folder.join("expected.out")).unwrap_or_default();
        // An expected line has one metric for each message.
        let metrics = expected.lines().filter(|line| line.starts_with("syslog,")).count();
        let messages = match name.as_str() {
            // The first of two counts is false: its message has the count of the second one in it.
            "octet_counting_strict_tcp_1st_underflow_malfunction" => 2,
            _ => metrics,
        };
        assert_eq!(found.len(), messages, "{name}: {found:?}");
        let cut_short = name == "octet_counting_best_effort_tcp_1st_underflow_nok";
        assert!(found.iter().all(|frame| frame.1 == cut_short), "{name}");
        streams += 1;
    }
    assert!(streams >= 11, "{streams}");
}

/// What a listener hands on, by the port of the sender.
type Received = Arc<Mutex<HashMap<u16, Vec<(Vec<u8>, bool)>>>>;

struct Collector(Received);

impl Handler for Collector {
    fn messages(&mut self, messages: &[Message<'_>]) {
        let mut received = self.0.lock().unwrap();
        for message in messages {
            let port = message.peer.expect("a sender").port();
            received.entry(port).or_default().push((message.bytes.to_vec(), message.truncated));
        }
    }
}

/// Sends a vector to a listener, whole and cut at every byte, each on a connection of its own; every one
/// gives what the framer alone gives. Returns how many connections there were.
fn over_a_socket(name: &str, max_message: usize, input: &[u8], pieces: usize) -> usize {
    let expected = cut(Delimiters::Stream, max_message, &[input]);
    let listener = stream::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (received, stats, stop) = (Received::default(), Arc::default(), Stop::new());
    let server = {
        let (handler, stop) = (Collector(Arc::clone(&received)), stop.clone());
        let options = Options { max_message, ..Options::default() };
        std::thread::spawn(move || stream::run(Listener::Tcp(listener), options, handler, stop, stats))
    };
    let step = input.len().div_ceil(pieces).max(1);
    let cuts: Vec<usize> = (0..=input.len()).step_by(step).collect();
    for at in &cuts {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let port = client.local_addr().unwrap().port();
        client.write_all(&input[..*at]).unwrap();
        // The first piece is read before the second one comes.
        std::thread::sleep(Duration::from_millis(1));
        client.write_all(&input[*at..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        let found = received.lock().unwrap().remove(&port).unwrap_or_default();
        assert_eq!(found, expected, "{name} cut at {at}");
    }
    stop.set();
    server.join().unwrap().unwrap();
    assert!(received.lock().unwrap().is_empty(), "{name}: more came than was sent");
    cuts.len()
}

#[test]
fn every_vector_over_a_socket() {
    let mut connections = 0;
    for vector in &json("syslog/go-syslog/octet-counting.json") {
        let (name, input) = (vector["description"].as_str().unwrap(), vector["input"].as_str().unwrap());
        let limit = vector["max_message_length"].as_u64().map_or(MAX_MESSAGE, |limit| limit as usize);
        connections += over_a_socket(name, limit, input.as_bytes(), usize::MAX);
    }
    for vector in &json("syslog/go-syslog/non-transparent.json") {
        for trailer in ["\n", "\0"] {
            let input = vector["input"].as_str().unwrap().replace("%[1]s", trailer);
            let name = vector["description"].as_str().unwrap();
            connections += over_a_socket(name, MAX_MESSAGE, input.as_bytes(), usize::MAX);
        }
    }
    for entry in std::fs::read_dir(data("syslog/telegraf")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(settings) = std::fs::read_to_string(folder.join("telegraf.conf")) else { continue };
        if settings.contains("tcp://") {
            let input = std::fs::read(folder.join("input.txt")).unwrap();
            // The longest are cut in a thousand places.
            connections += over_a_socket(&folder.display().to_string(), MAX_MESSAGE, &input, 1000);
        }
    }
    assert!(connections > 1000, "{connections}");
}

/// Reads a capture to its end; the formats of its datagrams, and the counters.
fn read(path: &Path) -> (Vec<Format>, CaptureStats) {
    let source = file::open(path).unwrap();
    assert_eq!(source.kind, Kind::Capture, "{}", path.display());
    let mut capture = Capture::new(source).unwrap();
    let mut formats = Vec::new();
    loop {
        match capture.read(&mut |datagram| formats.push(datagram.format)) {
            Ok(true) => (),
            Ok(false) => return (formats, capture.stats()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn captures(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            found.push(path);
        }
    }
}

#[test]
fn every_packet_of_every_capture_is_accounted_for() {
    let mut paths = Vec::new();
    captures(&data(""), &mut paths);
    assert!(paths.len() >= 90, "{}", paths.len());
    for path in paths {
        let (formats, stats) = read(&path);
        let name = path.display();
        assert_eq!(formats.len() as u64, stats.datagrams + stats.stream_messages, "{name}");
        assert_eq!(stats.undecodable, 0, "{name}: {stats:?}");
        assert_eq!(stats.truncated, 0, "{name}: {stats:?}");
        if stats.incomplete == 0 {
            assert!(stats.datagrams + stats.other <= stats.packets, "{name}: {stats:?}");
        }
        // The captures of this folder hold other traffic on purpose.
        if name.to_string().contains("community-id") {
            continue;
        }
        let syslog = name.to_string().contains("syslog");
        let expected = if syslog { Format::Syslog } else { Format::Flow };
        assert!(formats.iter().all(|format| *format == expected), "{name}: {formats:?}");
        assert!(!formats.is_empty(), "{name}");
    }
}
