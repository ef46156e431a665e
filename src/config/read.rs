//! Resolves the files as written to the typed [`Config`], reporting every mistake at its place.

use super::document::{Entry, File, Item, Node, Place, Table};
use super::value::{self, Refusal};
use super::{Config, Constituent, Destination, Encoding, Input, Listen, Metrics, Output, Rules, Sector};
use super::{DEFAULT_METRICS, Sensor, Source, Variables};
use crate::detect::indicator::Tlp;
use crate::diagnostic::{Diagnostic, Level};
use crate::input::Format;
use crate::input::nats;
use crate::input::tls::{self, ClientAuth, Role};
use crate::output::nats::check_credentials;
use crate::output::remote::{self, Body, Sasl};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

const SECTIONS: &[&str] = &["sensor", "input", "source", "constituent", "output", "metrics"];
const SENSOR: &[&str] =
    &["name", "data_dir", "rules", "workers", "memory_limit", "spool_limit", "spool_max_age", "log"];
const INPUT: &[&str] = &[
    "name",
    "listen",
    "format",
    "timezone",
    "allow",
    "receive_buffer",
    "exercise",
    "max_message",
    "max_connections",
    "max_connections_per_address",
    "idle_timeout",
    "handshake_timeout",
    "proxies",
    "cert_file",
    "key_file",
    "client_ca_file",
    "crl_file",
    "client_auth",
    "ca_file",
    "creds_file",
    "socket_type",
    "socket_mode",
    "socket_user",
    "socket_group",
];
const SOURCE: &[&str] = &[
    "name",
    "networks",
    "certificates",
    "expect_every",
    "timezone",
    "constituent",
    "sampling_rate",
    "relay",
];
const CONSTITUENT: &[&str] = &["name", "sector", "networks", "contact"];
const OUTPUT: &[&str] = &[
    "name",
    "to",
    "encoding",
    "tlp",
    "sectors",
    "heartbeat",
    "timeout",
    "ca_file",
    "cert_file",
    "key_file",
    "token_file",
    "hmac_file",
    "user",
    "password_file",
    "proxy",
    "compression",
    "index",
    "tls",
    "creds_file",
    "sasl",
];
const METRICS: &[&str] = &["listen"];

/// Keys that only some inputs know, and which.
const ONLY: &[(&str, &[Kind])] = &[
    ("receive_buffer", &[Kind::Udp]),
    ("max_message", &[Kind::Tcp, Kind::Tls, Kind::UnixDatagram, Kind::UnixStream, Kind::Nats]),
    ("max_connections", &[Kind::Tcp, Kind::Tls, Kind::UnixStream]),
    ("max_connections_per_address", &[Kind::Tcp, Kind::Tls]),
    ("idle_timeout", &[Kind::Tcp, Kind::Tls, Kind::UnixStream]),
    ("proxies", &[Kind::Tcp, Kind::Tls]),
    ("allow", &[Kind::Udp, Kind::Tcp, Kind::Tls]),
    ("cert_file", &[Kind::Tls, Kind::Nats]),
    ("key_file", &[Kind::Tls, Kind::Nats]),
    ("ca_file", &[Kind::Nats]),
    ("creds_file", &[Kind::Nats]),
    ("client_ca_file", &[Kind::Tls]),
    ("crl_file", &[Kind::Tls]),
    ("client_auth", &[Kind::Tls]),
    ("socket_type", &[Kind::UnixDatagram, Kind::UnixStream]),
    ("socket_mode", &[Kind::UnixDatagram, Kind::UnixStream]),
    ("socket_user", &[Kind::UnixDatagram, Kind::UnixStream]),
    ("socket_group", &[Kind::UnixDatagram, Kind::UnixStream]),
];

/// Keys that only some outputs know, and which.
const ONLY_OUTPUTS: &[(&str, &[&str])] = &[
    ("timeout", &["https", "http", "syslog+tls", "syslog+tcp", "nats", "kafka"]),
    ("ca_file", &["https", "syslog+tls", "nats", "kafka"]),
    ("cert_file", &["https", "syslog+tls", "nats", "kafka"]),
    ("key_file", &["https", "syslog+tls", "nats", "kafka"]),
    ("token_file", &["https", "http", "nats"]),
    ("hmac_file", &["https", "http"]),
    ("user", &["https", "http", "nats", "kafka"]),
    ("password_file", &["https", "http", "nats", "kafka"]),
    ("proxy", &["https"]),
    ("compression", &["https", "http", "kafka"]),
    ("index", &["https", "http"]),
    ("tls", &["nats", "kafka"]),
    ("creds_file", &["nats"]),
    ("sasl", &["kafka"]),
];

/// What an input listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
    Tls,
    UnixDatagram,
    UnixStream,
    Nats,
}

impl Kind {
    fn of(listen: &Listen) -> Kind {
        match listen {
            Listen::Udp(_) => Kind::Udp,
            Listen::Tcp(_) => Kind::Tcp,
            Listen::Tls(_) => Kind::Tls,
            Listen::UnixDatagram(_) => Kind::UnixDatagram,
            Listen::UnixStream(_) => Kind::UnixStream,
            Listen::Nats(_) => Kind::Nats,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Udp => "udp",
            Kind::Tcp => "tcp",
            Kind::Tls => "tls",
            Kind::UnixDatagram => "unix datagram",
            Kind::UnixStream => "unix stream",
            Kind::Nats => "nats",
        }
    }
}

/// Threads beyond the largest machines; a typing error, not a wish.
const WORKERS: RangeInclusive<i64> = 0..=1024;
/// One packet of so many; 1 is an exporter that takes every packet.
const SAMPLING_RATE: RangeInclusive<i64> = 1..=4_294_967_295;

/// Less holds no rule set worth the name.
const MEMORY_LIMIT: RangeInclusive<u64> = 16 << 20..=u64::MAX;

/// Less holds no minute of a burst of alerts; more is a typing error.
const SPOOL_LIMIT: RangeInclusive<u64> = 1 << 20..=1 << 44;

/// Shorter loses what a receiver misses while it is restarted; longer nobody reads.
const SPOOL_MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3660 * 86_400);

/// Shorter than the sensor looks; beyond a month nobody waits for it.
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);

/// SO_RCVBUF is a C int, of which the kernel takes twice the value.
const RECEIVE_BUFFER: RangeInclusive<u64> = 4 << 10..=1 << 30;

/// RFC 5424 §6.1: every receiver takes 480 octets; octet counting has at most seven digits.
const MAX_MESSAGE: RangeInclusive<u64> = 480..=9_999_999;

/// Above it file descriptors run out first.
const MAX_CONNECTIONS: RangeInclusive<i64> = 1..=1_000_000;

/// Shorter closes connections between two messages of a quiet device, longer keeps dead ones.
const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// Shorter cuts off slow machines, longer lets silent peers hold their places.
const HANDSHAKE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Shorter takes a slow receiver for a frozen one, longer a frozen one for a slow one.
const OUTPUT_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Bytes under which the key of an HMAC could be guessed.
const WEAK_KEY: usize = 16;

/// Silence is looked for every second; beyond a month nobody waits for it.
const EXPECT_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);

/// Names are metric labels and folder names (NAME_MAX is 255; room is left for what is appended).
const MAX_LABEL: usize = 64;

/// Names of people's things: sensors, sources, constituents.
const MAX_NAME: usize = 256;

pub(super) fn resolve(
    contents: Vec<(PathBuf, Vec<u8>)>,
    variables: Variables<'_>,
) -> Result<Config, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut roots = Vec::new();
    for (index, (path, bytes)) in contents.into_iter().enumerate() {
        let (file, table) = File::parse(index, path, bytes, &mut problems);
        files.push(file);
        roots.push(table);
    }
    let mut reader = Reader { files: &files, variables, problems };
    let config = reader.config(&roots);
    let mut problems = reader.problems;
    // In the order in which a person goes through the files.
    let order = |problem: &Diagnostic| files.iter().position(|file| file.path == problem.path);
    problems.sort_by_key(|problem| (order(problem), problem.line, problem.column));
    if problems.iter().any(|problem| problem.level == Level::Error) {
        return Err(problems);
    }
    Ok(Config { warnings: problems, ..config })
}

struct Reader<'a> {
    files: &'a [File],
    variables: Variables<'a>,
    problems: Vec<Diagnostic>,
}

/// A value that other parts of the configuration are compared with, and where it stands.
struct Placed<'t, T> {
    value: T,
    table: &'t Table,
    place: &'t Place,
}

impl<T> Placed<'_, T> {
    /// Where the value of a key stands; the table if it has none.
    fn key(&self, key: &str) -> &Place {
        self.table.find(key).map_or(self.place, |node| &node.place)
    }

    /// Where a network of the list `networks` stands; the list if a variable hides it.
    fn network(&self, net: &IpNet) -> &Place {
        let Some(Node { item: Item::List(elements), .. }) = self.table.find("networks") else {
            return self.place;
        };
        let stands = |node: &&Node| match &node.item {
            Item::Text(text) => value::network(text).is_ok_and(|other| other == *net),
            _ => false,
        };
        elements.iter().find(stands).map_or(self.key("networks"), |node| &node.place)
    }
}

impl Reader<'_> {
    fn config(&mut self, roots: &[Table]) -> Config {
        for root in roots {
            self.unknown_keys(root, SECTIONS, "section");
        }
        let sensor = self.sensor(roots);
        let inputs = self.inputs(roots);
        let constituents = self.each(roots, "constituent", Reader::constituent);
        self.unique(&constituents, "constituent", |constituent| &constituent.name);
        let sources = self.sources(roots, &constituents);
        self.networks_of_constituents(&constituents, &sources);
        let outputs = self.outputs(roots, &constituents);
        let metrics = self.metrics(roots, &inputs);
        let plain = |file: &File| file.path.clone();
        Config {
            sensor,
            inputs: inputs.into_iter().map(|input| input.value).collect(),
            sources,
            constituents: constituents.into_iter().map(|constituent| constituent.value).collect(),
            outputs,
            metrics,
            files: self.files.iter().map(plain).collect(),
            warnings: Vec::new(),
        }
    }

    fn sensor(&mut self, roots: &[Table]) -> Sensor {
        let mut sensor = Sensor::standard(self.variables);
        for table in self.tables(roots, "sensor") {
            self.unknown_keys(table, SENSOR, "key of [sensor]");
            self.assign(table, "name", &mut sensor.name, |text| name(text, MAX_NAME));
            if let Some(path) = table.find("data_dir").and_then(|node| self.path(node)) {
                sensor.data_dir = path;
            }
            if let Some(node) = table.find("rules") {
                let paths = self.list(node, "file or folder", Reader::rules_path);
                sensor.rules = if paths.is_empty() { Rules::Embedded } else { Rules::Paths(paths) };
            }
            if let Some(workers) = self.integer(table, "workers", WORKERS) {
                sensor.workers = usize::try_from(workers).unwrap_or(0);
            }
            if let Some(limit) = self.size(table, "memory_limit", MEMORY_LIMIT) {
                sensor.memory_limit = limit;
            }
            if let Some(limit) = self.size(table, "spool_limit", SPOOL_LIMIT) {
                sensor.spool_limit = limit;
            }
            self.assign(table, "spool_max_age", &mut sensor.spool_max_age, |text| span(text, SPOOL_MAX_AGE));
            self.assign(table, "log", &mut sensor.log, log_level);
        }
        sensor
    }

    fn inputs<'t>(&mut self, roots: &'t [Table]) -> Vec<Placed<'t, Input>> {
        let inputs = self.each(roots, "input", Reader::input);
        self.unique(&inputs, "input", |input| &input.name);
        for (index, input) in inputs.iter().enumerate() {
            let before = inputs.iter().take(index);
            let clashing = before.rev().find(|first| first.value.listen.clashes(&input.value.listen));
            let Some(first) = clashing else { continue };
            let message = format!("input `{}` listens there already", first.value.name);
            self.problem(
                "duplicate-address",
                input.key("listen"),
                message,
                "expected another address or port",
            );
        }
        let written = roots.iter().any(|root| root.find("input").is_some());
        let misspelt = roots.iter().flat_map(|root| &root.entries).any(|entry| {
            !SECTIONS.contains(&entry.key.as_str())
                && value::nearest(&entry.key, SECTIONS.iter().copied()) == Some("input")
        });
        let broken = self.files.iter().any(|file| file.broken);
        if let (false, false, false, Some(file)) = (written, misspelt, broken, self.files.first()) {
            self.problems.push(Diagnostic {
                help: Some(
                    "[[input]]\nname = \"syslog-udp\"\nlisten = \"udp://0.0.0.0:514\"\nformat = \"syslog\""
                        .into(),
                ),
                ..file.problem(
                    "no-input",
                    0..0,
                    "no `[[input]]`: the sensor would receive nothing",
                    "expected at least one",
                )
            });
        }
        inputs
    }

    fn input(&mut self, table: &Table, place: &Place) -> Option<Input> {
        self.unknown_keys(table, INPUT, "key of [[input]]");
        let label = self.required(table, place, INPUT, "name", |text| name(text, MAX_LABEL));
        let listen = self.required(table, place, INPUT, "listen", value::listen);
        let format = self.required(table, place, INPUT, "format", format);
        let known = listen.is_some() && format.is_some();
        let listen = listen.unwrap_or(Listen::Udp(DEFAULT_METRICS));
        let mut input = Input::standard("", listen, format.unwrap_or(Format::Syslog));
        self.assign(table, "timezone", &mut input.timezone, timezone);
        if let Some(node) = table.find("allow") {
            input.allow = self.list(node, "network", Reader::network);
        }
        if let Some(bytes) = self.size(table, "receive_buffer", RECEIVE_BUFFER) {
            input.receive_buffer = bytes;
        }
        if let Some(exercise) = self.flag(table, "exercise") {
            input.exercise = exercise;
        }
        if let Some(bytes) = self.size(table, "max_message", MAX_MESSAGE) {
            input.max_message = bytes;
        }
        if let Some(count) = self.integer(table, "max_connections", MAX_CONNECTIONS) {
            input.max_connections = usize::try_from(count).unwrap_or(input.max_connections);
        }
        if let Some(count) = self.integer(table, "max_connections_per_address", MAX_CONNECTIONS) {
            input.max_connections_per_address = usize::try_from(count).ok();
        }
        self.assign(table, "idle_timeout", &mut input.idle_timeout, |text| span(text, IDLE_TIMEOUT));
        self.assign(table, "handshake_timeout", &mut input.handshake_timeout, |text| {
            span(text, HANDSHAKE_TIMEOUT)
        });
        if let Some(node) = table.find("proxies") {
            input.proxies = self.list(node, "network", Reader::network);
        }
        self.unix(table, &mut input);
        if matches!(input.listen, Listen::Tls(_)) {
            input.tls = self.tls(table, place);
        }
        if matches!(input.listen, Listen::Nats(_)) {
            input.nats = self.nats(table, place);
        }
        if known {
            self.meaningless(table, &input);
        }
        input.name = label?;
        known.then_some(input)
    }

    /// Keys that are well written but change nothing for this input.
    fn meaningless(&mut self, table: &Table, input: &Input) {
        let kind = Kind::of(&input.listen);
        for entry in &table.entries {
            let only = ONLY.iter().find(|(key, _)| *key == entry.key);
            if only.is_some_and(|(_, kinds)| !kinds.contains(&kind)) {
                let message = format!("`{}` has no effect on a {} input", entry.key, kind.name());
                self.warn("no-effect", &entry.place, message);
            }
            if entry.key == "handshake_timeout" && kind != Kind::Tls && input.proxies.is_empty() {
                let message = "`handshake_timeout` has no effect without TLS and without `proxies`";
                self.warn("no-effect", &entry.place, message.to_owned());
            }
        }
        if input.format == Format::Flow {
            if let Some(entry) = table.entries.iter().find(|entry| entry.key == "timezone") {
                self.warn(
                    "no-effect",
                    &entry.place,
                    "flow records carry UTC: `timezone` has no effect".into(),
                );
            }
            if let (true, Some(node)) =
                (matches!(kind, Kind::UnixDatagram | Kind::UnixStream), table.find("listen"))
            {
                let place = node.place.clone();
                let message = format!(
                    "flow records over {}:// are not supported in this version",
                    input.listen.scheme()
                );
                self.problem(
                    "not-supported",
                    &place,
                    message,
                    "expected udp://, tcp:// or tls://ADDRESS:PORT",
                );
            }
        }
    }

    /// What kind of Unix socket an input has, and who may write to it.
    fn unix(&mut self, table: &Table, input: &mut Input) {
        let mut stream = false;
        self.assign(table, "socket_type", &mut stream, |text| match text {
            "datagram" => Ok(false),
            "stream" => Ok(true),
            _ => Err(choice("an unknown kind of socket", text, ["datagram", "stream"])),
        });
        if let (true, Listen::UnixDatagram(path)) = (stream, &input.listen) {
            input.listen = Listen::UnixStream(path.clone());
        }
        if let Some(node) = table.find("socket_mode").filter(|node| matches!(node.item, Item::Integer(_))) {
            // As a TOML number, 0660 is an error and 660 is another mode.
            self.wrong_type(node, "a string such as \"0660\"");
        } else {
            self.assign(table, "socket_mode", &mut input.access.mode, value::mode);
        }
        self.assign(table, "socket_user", &mut input.access.user, |text| name(text, MAX_NAME).map(Some));
        self.assign(table, "socket_group", &mut input.access.group, |text| name(text, MAX_NAME).map(Some));
    }

    /// How the server of a NATS input is reached.
    fn nats(&mut self, table: &Table, place: &Place) -> nats::Access {
        let mut path = |key: &str| {
            let node = table.find(key)?;
            let path = self.path(node)?;
            if let Err(error) = std::fs::File::open(&path) {
                let message = format!("cannot be read: {error}");
                self.problem("unreadable", &node.place, message, "expected a file that the sensor can read");
            }
            Some(path)
        };
        let (ca, credentials) = (path("ca_file"), path("creds_file"));
        let certificate = match (path("cert_file"), path("key_file")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) if table.find("key_file").is_none() => {
                self.missing(table, place, INPUT, "key_file");
                None
            }
            (None, Some(_)) if table.find("cert_file").is_none() => {
                self.missing(table, place, INPUT, "cert_file");
                None
            }
            _ => None,
        };
        for (key, path) in
            [("creds_file", &credentials), ("key_file", &certificate.as_ref().map(|both| both.1.clone()))]
        {
            if let (Some(node), Some(path)) = (table.find(key), path)
                && world_readable(path)
            {
                let message = format!("everybody on this machine can read `{key}`");
                self.warn("exposed-key", &node.place, message).help =
                    Some(format!("chmod 600 {}", path.display()));
            }
        }
        nats::Access { ca, certificate, credentials }
    }

    /// The certificates of a TLS input; read here, so that `check` finds what is wrong with them.
    fn tls(&mut self, table: &Table, place: &Place) -> Option<tls::Files> {
        let mut path = |key: &str, required: bool| match table.find(key) {
            Some(node) => self.path(node),
            None if required => {
                self.missing(table, place, INPUT, key);
                None
            }
            None => None,
        };
        let (cert, key) = (path("cert_file", true), path("key_file", true));
        let (client_ca, crl) = (path("client_ca_file", false), path("crl_file", false));
        let asked = |node: &Node| matches!(&node.item, Item::Text(text) if text != "none");
        if let Some(node) = table.find("client_auth").filter(|node| client_ca.is_none() && asked(node)) {
            let place = node.place.clone();
            let label =
                "expected `client_ca_file` beside it, the authorities that certificates may come from";
            self.problem("missing-key", &place, "nobody is named whose certificates are good", label);
        }
        if let Some(node) = table.find("crl_file").filter(|_| client_ca.is_none()) {
            let place = node.place.clone();
            self.warn("no-effect", &place, "`crl_file` has no effect without `client_ca_file`".to_owned());
        }
        // Whoever names an authority means it.
        let mut client_auth = if client_ca.is_some() { ClientAuth::Required } else { ClientAuth::None };
        self.assign(table, "client_auth", &mut client_auth, |text| {
            let found = ClientAuth::ALL.into_iter().find(|auth| auth.name() == text);
            found.ok_or_else(|| choice("an unknown answer", text, ClientAuth::ALL.map(ClientAuth::name)))
        });
        let files = tls::Files { cert: cert?, key: key?, client_ca, crl, client_auth };
        let warnings = match files.check() {
            Ok(warnings) => warnings,
            Err(error) => {
                let stem = error.role.name();
                let node = table.find(&format!("{stem}_file"));
                let place = node.map_or(place, |node| &node.place).clone();
                let expected = match error.role {
                    Role::Cert => "expected a certificate and its chain, in PEM",
                    Role::Key => "expected the private key of the certificate, in PEM",
                    Role::ClientCa => "expected the certificates of authorities, in PEM",
                    Role::Crl => "expected revocation lists of these authorities",
                };
                self.problem("bad-certificate", &place, error.reason, expected);
                return Some(files);
            }
        };
        for warning in warnings {
            let node = table.find(&format!("{}_file", warning.role.name()));
            let place = node.map_or(place, |node| &node.place).clone();
            self.warn("revocation", &place, warning.reason);
        }
        if let Some(node) = table.find("key_file")
            && world_readable(&files.key)
        {
            let place = node.place.clone();
            let message = "everybody on this machine can read the private key".to_owned();
            self.warn("exposed-key", &place, message).help =
                Some(format!("chmod 600 {}", files.key.display()));
        }
        Some(files)
    }

    fn constituent(&mut self, table: &Table, place: &Place) -> Option<Constituent> {
        self.unknown_keys(table, CONSTITUENT, "key of [[constituent]]");
        let label = self.required(table, place, CONSTITUENT, "name", |text| name(text, MAX_NAME));
        let sector = self.required(table, place, CONSTITUENT, "sector", sector);
        let mut contact = None;
        self.assign(table, "contact", &mut contact, |text| name(text, MAX_NAME).map(Some));
        let networks = match table.find("networks") {
            Some(node) => self.list(node, "network", Reader::network),
            None => Vec::new(),
        };
        // One that is half wrong still counts, so that naming it is not a mistake of its own.
        Some(Constituent { name: label?, sector: sector.unwrap_or(Sector::Government), networks, contact })
    }

    fn sources(&mut self, roots: &[Table], constituents: &[Placed<'_, Constituent>]) -> Vec<Source> {
        let sources = self.each(roots, "source", |reader, table, place| {
            reader.unknown_keys(table, SOURCE, "key of [[source]]");
            let label = reader.required(table, place, SOURCE, "name", |text| name(text, MAX_NAME));
            let networks = match table.find("networks") {
                Some(node) => reader.list(node, "network", Reader::network),
                // A certificate with its name is enough.
                None if table.find("certificates").is_some() => Vec::new(),
                None => {
                    reader.missing(table, place, SOURCE, "networks");
                    Vec::new()
                }
            };
            let certificates = match table.find("certificates") {
                Some(node) => {
                    reader.list(node, "name", |reader, node| reader.parsed(node, |text| name(text, MAX_NAME)))
                }
                None => Vec::new(),
            };
            let mut expect_every = None;
            reader
                .assign(table, "expect_every", &mut expect_every, |text| span(text, EXPECT_EVERY).map(Some));
            let mut zone = None;
            reader.assign(table, "timezone", &mut zone, |text| timezone(text).map(Some));
            let mut constituent = None;
            reader.assign(table, "constituent", &mut constituent, |text| {
                let names = || constituents.iter().map(|constituent| constituent.value.name.as_str());
                names().position(|name| name == text.trim()).map(Some).ok_or_else(|| {
                    let refusal = Refusal {
                        code: "unknown-constituent",
                        ..Refusal::new("no `[[constituent]]` has this name", "expected the name of one")
                    };
                    match value::nearest(text, names()) {
                        Some(name) => refusal.help(format!("\"{name}\"")),
                        None => refusal,
                    }
                })
            });
            let sampling_rate = reader.integer(table, "sampling_rate", SAMPLING_RATE);
            let sampling_rate = sampling_rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).ok()?));
            let relay = reader.flag(table, "relay").unwrap_or(false);
            Some(Source {
                name: label?,
                networks,
                certificates,
                expect_every,
                timezone: zone,
                sampling_rate,
                relay,
                constituent,
            })
        });
        self.unique(&sources, "source", |source| &source.name);
        self.claimed_twice(&sources, "source", |source| (&source.name, &source.networks));
        self.certified_twice(&sources);
        sources.into_iter().map(|source| source.value).collect()
    }

    /// Constituents that own the same network, that lie inside each other, or that own nothing.
    fn networks_of_constituents(&mut self, constituents: &[Placed<'_, Constituent>], sources: &[Source]) {
        self.claimed_twice(constituents, "constituent", |constituent| {
            (&constituent.name, &constituent.networks)
        });
        self.nested(constituents);
        // A source that names none of them meant one.
        if self.problems.iter().any(|problem| problem.code == "unknown-constituent") {
            return;
        }
        for (index, constituent) in constituents.iter().enumerate() {
            let keys = || constituent.table.entries.iter().map(|entry| entry.key.as_str());
            let meant = keys().any(|key| value::nearest(key, ["networks"]).is_some());
            if !meant && !sources.iter().any(|source| source.constituent == Some(index)) {
                let message = "no alert can concern it: it has no `networks`, and no `[[source]]` names it";
                self.warn("never-touched", constituent.key("name"), message.to_owned());
            }
        }
    }

    /// The same network twice: which one is meant could only be guessed.
    fn claimed_twice<T>(
        &mut self,
        all: &[Placed<'_, T>],
        section: &str,
        claims: impl Fn(&T) -> (&String, &Vec<IpNet>),
    ) {
        let mut owners: HashMap<&IpNet, usize> = HashMap::new();
        for (index, placed) in all.iter().enumerate() {
            for net in claims(&placed.value).1 {
                let first = owners.insert(net, index).filter(|first| *first != index);
                let Some(first) = first.and_then(|first| all.get(first)) else { continue };
                let message = format!("{section} `{}` has {net} too", claims(&first.value).0);
                self.problem(
                    "duplicate-network",
                    placed.network(net),
                    message,
                    "expected one owner of a network",
                );
            }
        }
    }

    /// The same name in the certificates of two sources.
    fn certified_twice(&mut self, sources: &[Placed<'_, Source>]) {
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for (index, placed) in sources.iter().enumerate() {
            for name in &placed.value.certificates {
                let first = owners.insert(name, index).filter(|first| *first != index);
                let Some(first) = first.and_then(|first| sources.get(first)) else { continue };
                let message = format!("source `{}` has this certificate too", first.value.name);
                let place = placed.key("certificates");
                self.problem("duplicate-certificate", place, message, "expected one owner of a certificate");
            }
        }
    }

    /// Networks inside each other are legitimate (the longest prefix wins) but worth a note.
    fn nested(&mut self, constituents: &[Placed<'_, Constituent>]) {
        let mut all: Vec<(&IpNet, usize)> = Vec::new();
        for (index, constituent) in constituents.iter().enumerate() {
            all.extend(constituent.value.networks.iter().map(|net| (net, index)));
        }
        all.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
        let mut around: Vec<(&IpNet, usize)> = Vec::new();
        for (net, index) in all {
            while around.last().is_some_and(|(outer, _)| !outer.contains(net)) {
                around.pop();
            }
            if let Some((outer, owner)) =
                around.last().filter(|(outer, owner)| *owner != index && *outer != net)
                && let (Some(inner), Some(owner)) = (constituents.get(index), constituents.get(*owner))
            {
                let owner = &owner.value.name;
                let message = format!("{net} lies inside {outer} of `{owner}`; the longer prefix wins");
                self.warn("overlap", inner.network(net), message).level = Level::Note;
            }
            around.push((net, index));
        }
    }

    fn outputs(&mut self, roots: &[Table], constituents: &[Placed<'_, Constituent>]) -> Vec<Output> {
        let outputs =
            self.each(roots, "output", |reader, table, place| reader.output(table, place, constituents));
        self.unique(&outputs, "output", |output| &output.name);
        let mut files: HashMap<&PathBuf, usize> = HashMap::new();
        for (index, output) in outputs.iter().enumerate() {
            let Destination::File(path) = &output.value.to else { continue };
            let Some(first) = files.insert(path, index).and_then(|first| outputs.get(first)) else {
                continue;
            };
            let message = format!("output `{}` writes to this file too", first.value.name);
            self.warn("duplicate-destination", output.key("to"), message);
        }
        if !roots.iter().any(|root| root.find("output").is_some()) {
            return vec![Output::standard("stdout", Destination::Stdout)];
        }
        outputs.into_iter().map(|output| output.value).collect()
    }

    fn output(
        &mut self,
        table: &Table,
        place: &Place,
        constituents: &[Placed<'_, Constituent>],
    ) -> Option<Output> {
        self.unknown_keys(table, OUTPUT, "key of [[output]]");
        let label = self.required(table, place, OUTPUT, "name", |text| name(text, MAX_LABEL));
        let to = self.required(table, place, OUTPUT, "to", value::destination);
        let known = to.is_some();
        let mut output = Output::standard("", to.unwrap_or(Destination::Stdout));
        if known {
            self.remote(table, place, &mut output);
        }
        let http = matches!(output.to, Destination::Http(_)) || !known;
        let mut written = (output.encoding, Body::Lines);
        self.assign(table, "encoding", &mut written, |text| encoding(text, http));
        (output.encoding, output.remote.body) = written;
        self.assign(table, "tlp", &mut output.tlp, tlp);
        self.assign(table, "heartbeat", &mut output.heartbeat, |text| span(text, HEARTBEAT).map(Some));
        if let Some(node) = table.find("sectors") {
            output.sectors = self.list(node, "sector", |reader, node| reader.parsed(node, sector));
            let served = |sector: &Sector| constituents.iter().any(|other| other.value.sector == *sector);
            let place = node.place.clone();
            // A constituent whose sector is misspelt may be the one that was meant.
            let unsure =
                constituents.iter().any(|other| match other.table.find("sector").map(|node| &node.item) {
                    Some(Item::Text(text)) => Sector::from_name(text).is_none(),
                    _ => true,
                });
            if !unsure && !output.sectors.is_empty() && !output.sectors.iter().any(served) {
                let message = "this output gets nothing: no `[[constituent]]` is of these sectors".to_owned();
                self.warn("gets-nothing", &place, message).help =
                    Some("leave `sectors` out for alerts of every sector".into());
            }
        }
        output.name = label?;
        known.then_some(output)
    }

    /// What a network output needs beside its address. Files that cannot be used are warned of, no more:
    /// they are read when they are needed, and a sensor that cannot deliver yet must not be deaf.
    fn remote(&mut self, table: &Table, place: &Place, output: &mut Output) {
        let scheme = output.to.scheme();
        for entry in &table.entries {
            let only = ONLY_OUTPUTS.iter().find(|(key, _)| *key == entry.key);
            if only.is_some_and(|(_, schemes)| !schemes.contains(&scheme)) {
                let message = format!("`{}` has no effect on a {scheme} output", entry.key);
                self.warn("no-effect", &entry.place, message);
            }
        }
        let mut to = std::mem::take(&mut output.remote);
        self.assign(table, "timeout", &mut to.timeout, |text| span(text, OUTPUT_TIMEOUT));
        self.assign(table, "proxy", &mut to.proxy, |text| value::proxy(text).map(Some));
        self.assign(table, "index", &mut to.index, |text| index(text).map(Some));
        self.assign(table, "compression", &mut to.gzip, |text| match text {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err(choice("an unknown compression", text, ["gzip", "none"])),
        });
        to.token = self.secret(table, "token_file", 1);
        to.hmac = self.secret(table, "hmac_file", WEAK_KEY);
        to.login = self.login(table, place);
        if let Some(node) = table.find("creds_file")
            && let Some(path) = self.secret(table, "creds_file", 1)
        {
            if let (true, Err(reason)) = (remote::secret(&path).is_ok(), check_credentials(&path)) {
                self.warn("no-secret", &node.place, reason);
            }
            to.creds = Some(path);
        }
        self.assign(table, "sasl", &mut to.sasl, |text| {
            let found = Sasl::ALL.into_iter().find(|sasl| sasl.name() == text);
            found.ok_or_else(|| choice("an unknown mechanism", text, Sasl::ALL.map(Sasl::name)))
        });
        if let Some(node) = table.find("sasl").filter(|_| scheme == "kafka" && to.login.is_none()) {
            self.warn("no-effect", &node.place, "`sasl` has no effect without `user`".to_owned());
        }
        to.tls = self.flag(table, "tls").unwrap_or(false);
        if let (Some(node), false, true) =
            (table.find("ca_file").or(table.find("cert_file")), to.tls, matches!(scheme, "nats" | "kafka"))
        {
            let message = "certificates have no effect without `tls = true`".to_owned();
            self.warn("no-effect", &node.place, message);
        }
        if to.login.is_some()
            && let Some(node) = table.find("token_file")
        {
            self.warn("no-effect", &node.place, "`token_file` has no effect beside `user`".to_owned());
        }
        self.identity(table, place, &mut to.identity, scheme);
        let plain = unencrypted(&output.to, to.tls).find(|host| !value::is_loopback(host));
        if let Some(host) = plain {
            let place = table.find("to").map_or(place, |node| &node.place);
            let message = format!("alerts leave this machine unencrypted, to {host}");
            let help = if scheme == "syslog+tcp" { "syslog+tls://" } else { "tls = true" };
            self.warn("unencrypted", place, message).help = Some(help.into());
        }
        output.remote = to;
    }

    /// A name and the file of its password: both, or none.
    fn login(&mut self, table: &Table, place: &Place) -> Option<(String, PathBuf)> {
        let mut user = None;
        self.assign(table, "user", &mut user, |text| name(text, MAX_NAME).map(Some));
        let password = self.secret(table, "password_file", 1);
        for (key, other) in [("user", "password_file"), ("password_file", "user")] {
            if table.find(key).is_some() && table.find(other).is_none() {
                self.missing(table, place, OUTPUT, other);
            }
        }
        Some((user?, password?))
    }

    /// The path of a file that holds a secret.
    fn secret(&mut self, table: &Table, key: &str, least: usize) -> Option<PathBuf> {
        let node = table.find(key)?;
        let path = self.path(node)?;
        match remote::secret(&path) {
            Err(reason) => _ = self.warn("no-secret", &node.place, reason),
            Ok(secret) if secret.len() < least => {
                let message = format!("{} bytes of a key can be guessed", secret.len());
                self.warn("weak-key", &node.place, message).help = Some("openssl rand -hex 32".into());
            }
            Ok(_) => {}
        }
        self.exposed(node, &path);
        Some(path)
    }

    fn exposed(&mut self, node: &Node, path: &Path) {
        if world_readable(path) {
            let message = "everybody on this machine can read this secret".to_owned();
            self.warn("exposed-key", &node.place, message).help =
                Some(format!("chmod 600 {}", path.display()));
        }
    }

    /// Whom an output trusts, and the certificate that it shows.
    fn identity(&mut self, table: &Table, place: &Place, to: &mut remote::Identity, scheme: &str) {
        let mut path = |key: &str| table.find(key).and_then(|node| self.path(node));
        to.ca = path("ca_file");
        let (cert, key) = (path("cert_file"), path("key_file"));
        for (key, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            if table.find(key).is_some() && table.find(other).is_none() {
                self.missing(table, place, OUTPUT, other);
            }
        }
        if let (Some(node), Some(key)) = (table.find("key_file"), &key) {
            self.exposed(node, key);
        }
        to.client = cert.zip(key);
        // What no key names is not looked at here: whether this machine knows authorities may differ from
        // the one that it is for.
        let named = to.ca.is_some() || to.client.is_some();
        if named
            && scheme != "http"
            && let Err(error) = to.check()
        {
            let node = table.find(&format!("{}_file", error.role.name()));
            let place = node.map_or(place, |node| &node.place).clone();
            self.warn("bad-certificate", &place, error.reason);
        }
    }

    fn metrics(&mut self, roots: &[Table], inputs: &[Placed<'_, Input>]) -> Metrics {
        let mut metrics = Metrics { listen: DEFAULT_METRICS };
        let mut place = None;
        for table in self.tables(roots, "metrics") {
            self.unknown_keys(table, METRICS, "key of [metrics]");
            self.assign(table, "listen", &mut metrics.listen, value::socket);
            place = table.find("listen").map(|node| node.place.clone()).or(place);
        }
        let taken = |input: &&Placed<'_, Input>| input.value.listen.clashes(&Listen::Tcp(metrics.listen));
        if let Some(input) = inputs.iter().find(taken) {
            let place = place.unwrap_or_else(|| input.key("listen").clone());
            let message = format!("input `{}` listens on the address of metrics", input.value.name);
            self.problem("duplicate-address", &place, message, "expected another port");
        }
        metrics
    }
}

/// The parts that all sections share.
impl<'a> Reader<'a> {
    fn problem(
        &mut self,
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Diagnostic {
        // Every place was made with the index of a file that is there.
        let problem = self.files[place.file].problem(code, place.span.clone(), message, label);
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn warn(&mut self, code: &'static str, place: &Place, message: String) -> &mut Diagnostic {
        let problem = self.problem(code, place, message, "");
        problem.level = Level::Warning;
        problem.label = None;
        problem
    }

    fn refused(&mut self, place: &Place, refusal: Refusal) {
        let help = refusal.help;
        self.problem(refusal.code, place, refusal.message, refusal.expected).help = help;
    }

    fn wrong_type(&mut self, node: &Node, expected: &str) -> &mut Diagnostic {
        let message = format!("{} where {expected} belongs", node.item.kind());
        self.problem("wrong-type", &node.place, message, format!("expected {expected}"))
    }

    fn unknown_keys(&mut self, table: &Table, known: &[&str], what: &str) {
        for Entry { key, place, .. } in &table.entries {
            if known.contains(&key.as_str()) {
                continue;
            }
            let nearest = value::nearest(key, known.iter().copied());
            let label = match nearest {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("expected one of: {}", known.join(", ")),
            };
            let message = format!("unknown {what} `{}`", key.escape_debug());
            self.problem("unknown-key", place, message, label).help = nearest.map(str::to_owned);
        }
    }

    /// A key that must be there; one that is misspelt was reported as unknown.
    fn missing(&mut self, table: &Table, place: &Place, known: &[&str], key: &str) {
        let misspelt = table.entries.iter().any(|entry| {
            !known.contains(&entry.key.as_str())
                && value::nearest(&entry.key, known.iter().copied()) == Some(key)
        });
        if !misspelt && !self.files.get(place.file).is_some_and(|file| file.broken) {
            self.problem(
                "missing-key",
                place,
                format!("`{key}` is missing"),
                format!("expected `{key}` under it"),
            );
        }
    }

    fn required<T>(
        &mut self,
        table: &Table,
        place: &Place,
        known: &[&str],
        key: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        match table.find(key) {
            Some(node) => self.parsed(node, parse),
            None => {
                self.missing(table, place, known, key);
                None
            }
        }
    }

    fn assign<T>(
        &mut self,
        table: &Table,
        key: &str,
        to: &mut T,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) {
        if let Some(value) = table.find(key).and_then(|node| self.parsed(node, parse)) {
            *to = value;
        }
    }

    fn parsed<T>(&mut self, node: &Node, parse: impl Fn(&str) -> Result<T, Refusal>) -> Option<T> {
        let text = self.text(node)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refused(&node.place, refusal);
                None
            }
        }
    }

    /// A string with its variables expanded.
    fn text(&mut self, node: &Node) -> Option<String> {
        let Item::Text(text) = &node.item else {
            self.wrong_type(node, "a string");
            return None;
        };
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text.as_str();
        let mut complete = true;
        while let Some(at) = rest.find("${") {
            let (before, reference) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = reference.get(2..).unwrap_or_default();
                continue;
            }
            expanded.push_str(before);
            let name = reference.get(2..).and_then(|reference| reference.split_once('}'));
            let Some((name, after)) = name else {
                let place = self.within(node, reference);
                self.problem("undefined-variable", &place, "`${` without `}`", "expected ${NAME}").help =
                    Some("$${ for a literal ${".into());
                return None;
            };
            let whole = reference.get(..name.len() + 3).unwrap_or(reference);
            match (self.variables)(name).filter(|_| !name.is_empty()) {
                Some(value) => expanded.push_str(&value),
                None => {
                    complete = false;
                    let place = self.within(node, whole);
                    let message = format!("the environment has no variable `{}`", name.escape_debug());
                    self.problem(
                        "undefined-variable",
                        &place,
                        message,
                        "expected the name of one that is set",
                    );
                }
            }
            rest = after;
        }
        expanded.push_str(rest);
        complete.then_some(expanded)
    }

    /// Where a part of a string stands; the whole string if escapes moved it.
    fn within(&self, node: &Node, part: &str) -> Place {
        let found = self.files.get(node.place.file).and_then(|file| file.slice(&node.place.span).find(part));
        match found {
            Some(at) => {
                let start = node.place.span.start + at;
                Place { file: node.place.file, span: start..start + part.len() }
            }
            None => node.place.clone(),
        }
    }

    fn size(&mut self, table: &Table, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = table.find(key)?;
        let bytes = match &node.item {
            Item::Integer(number) => u64::try_from((*number)?).unwrap_or(0),
            Item::Text(_) => self.parsed(node, value::size)?,
            _ => {
                self.wrong_type(node, "a size such as \"32MiB\"");
                return None;
            }
        };
        if range.contains(&bytes) {
            return Some(bytes);
        }
        let (low, high) = (range.start(), range.end());
        let expected = if *high == u64::MAX {
            format!("expected at least {low} bytes")
        } else {
            format!("expected {low} to {high} bytes")
        };
        self.problem("bad-value", &node.place, "out of range", expected);
        None
    }

    fn integer(&mut self, table: &Table, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let node = table.find(key)?;
        let Item::Integer(number) = &node.item else {
            self.wrong_type(node, "a number");
            return None;
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let expected = format!("expected {} to {}", range.start(), range.end());
            self.problem("bad-value", &node.place, "out of range", expected);
        }
        number
    }

    fn flag(&mut self, table: &Table, key: &str) -> Option<bool> {
        let node = table.find(key)?;
        let Item::Flag(flag) = node.item else {
            self.wrong_type(node, "true or false");
            return None;
        };
        Some(flag)
    }

    /// A list with at least one element: an empty one would say nothing, or everything.
    fn list<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Vec<T> {
        let Item::List(elements) = &node.item else {
            let problem = self.wrong_type(node, "a list");
            if let Item::Text(text) = &node.item {
                problem.help = Some(format!("[\"{}\"]", text.escape_debug()));
            }
            return Vec::new();
        };
        if elements.is_empty() {
            let expected = format!("expected at least one {what}, or the key left out");
            self.problem("bad-value", &node.place, "an empty list", expected);
        }
        elements.iter().filter_map(|element| each(self, element)).collect()
    }

    fn network(&mut self, node: &Node) -> Option<IpNet> {
        self.parsed(node, value::network)
    }

    /// A path; a relative one is relative to the file it stands in.
    fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let path = self.parsed(node, |text| match text {
            "" => Err(Refusal::new("an empty path", "expected a path")),
            _ if text.contains('\0') => Err(Refusal::new("a path cannot hold a NUL", "expected a path")),
            _ => Ok(PathBuf::from(text)),
        })?;
        let folder = self.files.get(node.place.file).and_then(|file| file.path.parent());
        Some(folder.map_or(path.clone(), |folder| folder.join(path)))
    }

    fn rules_path(&mut self, node: &Node) -> Option<PathBuf> {
        let path = self.path(node)?;
        // Not an error: the last good versions of its sets may still be at hand.
        if matches!(path.try_exists(), Ok(false)) {
            self.warn("no-such-file", &node.place, "no such file or folder".into()).label =
                Some("expected rule sets there".into());
        }
        Some(path)
    }

    /// The `[name]` tables of all files.
    fn tables<'t>(&mut self, roots: &'t [Table], name: &str) -> Vec<&'t Table> {
        let mut tables = Vec::new();
        for node in roots.iter().filter_map(|root| root.find(name)) {
            match &node.item {
                Item::Table(table) => tables.push(table),
                _ => self.wrong_type(node, "a table").help = Some(format!("[{name}]")),
            }
        }
        tables
    }

    /// Reads each `[[name]]` of all files.
    fn each<'t, T>(
        &mut self,
        roots: &'t [Table],
        name: &str,
        mut read: impl FnMut(&mut Self, &Table, &Place) -> Option<T>,
    ) -> Vec<Placed<'t, T>> {
        for node in roots.iter().filter_map(|root| root.find(name)) {
            if !matches!(node.item, Item::List(_)) {
                self.wrong_type(node, "a list of tables").help = Some(format!("[[{name}]]"));
            }
        }
        let mut found = Vec::new();
        for node in elements(roots, name) {
            match &node.item {
                Item::Table(table) => {
                    let value = read(self, table, &node.place);
                    found.extend(value.map(|value| Placed { value, table, place: &node.place }));
                }
                _ => self.wrong_type(node, "a table").help = Some(format!("[[{name}]]")),
            }
        }
        found
    }

    /// Names that stand twice.
    fn unique<T>(&mut self, all: &[Placed<'_, T>], what: &str, name: impl Fn(&T) -> &str) {
        let mut seen: HashMap<&str, &Place> = HashMap::new();
        for placed in all {
            let Some(first) = seen.insert(name(&placed.value), placed.place) else { continue };
            let at = self
                .files
                .get(first.file)
                .map(|file| format!("{}:{}", file.path.display(), file.position(first.span.start).0));
            let message = format!("another {what} has this name");
            self.problem("duplicate-name", placed.key("name"), message, "expected a name of its own").help =
                at.map(|at| format!("the other stands at {at}"));
        }
    }
}

/// Every element of the `[[name]]` lists of all files.
fn elements<'t>(roots: &'t [Table], name: &str) -> impl Iterator<Item = &'t Node> {
    roots.iter().filter_map(move |root| root.find(name)).flat_map(|node| match &node.item {
        Item::List(elements) => elements.as_slice(),
        _ => &[],
    })
}

/// A name: printable, not empty, bounded.
fn name(text: &str, longest: usize) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::new("an empty name", "expected a name"));
    }
    if text.len() > longest || text.chars().any(char::is_control) {
        let expected = format!("expected at most {longest} bytes without control characters");
        return Err(Refusal::new("not usable as a name", expected));
    }
    // Labels name folders of the spool and file descriptors of systemd too.
    if longest == MAX_LABEL && (text.contains(['/', ':', '\\']) || text.starts_with('.')) {
        let expected = "expected none of `/`, `:`, `\\`, and no dot in front";
        return Err(Refusal::new("not usable as the name of an input or output", expected));
    }
    Ok(text.to_owned())
}

fn timezone(text: &str) -> Result<TimeZone, Refusal> {
    TimeZone::get(text.trim()).map_err(|_| {
        let refusal = Refusal::new(
            "an unknown time zone",
            "expected a name of the IANA database, such as \"Europe/Tirane\"",
        );
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        match value::nearest(text, names.iter().map(String::as_str)) {
            Some(name) => refusal.help(format!("\"{name}\"")),
            None => refusal,
        }
    })
}

/// A span of time within bounds.
fn span(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Refusal> {
    let span = value::duration(text)?;
    if range.contains(&span) {
        return Ok(span);
    }
    let shown = |span: &Duration| match span.as_secs() {
        days if days >= 86_400 && days % 86_400 == 0 => format!("{}d", days / 86_400),
        minutes if minutes >= 60 && minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    };
    let expected = format!("expected \"{}\" to \"{}\"", shown(range.start()), shown(range.end()));
    Err(Refusal::new("out of range", expected))
}

/// Whether the permissions of a file let everybody read it.
fn world_readable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

fn format(text: &str) -> Result<Format, Refusal> {
    match text {
        "syslog" => Ok(Format::Syslog),
        "flow" => Ok(Format::Flow),
        _ => {
            let refusal = choice("an unknown format", text, ["syslog", "flow"]);
            let flow = ["netflow", "netflow5", "netflow9", "ipfix", "sflow"]
                .contains(&text.to_ascii_lowercase().as_str());
            Err(if flow { refusal.help("\"flow\" tells NetFlow, IPFIX and sFlow apart") } else { refusal })
        }
    }
}

fn sector(text: &str) -> Result<Sector, Refusal> {
    Sector::from_name(text).ok_or_else(|| choice("an unknown sector", text, Sector::ALL.map(Sector::name)))
}

fn tlp(text: &str) -> Result<Tlp, Refusal> {
    Tlp::from_name(text).ok_or_else(|| choice("an unknown marking", text, Tlp::ALL.map(Tlp::name)))
}

/// How alerts are written, and what is made of them where they go over HTTP.
fn encoding(text: &str, http: bool) -> Result<(Encoding, Body), Refusal> {
    if let Some(encoding) = Encoding::from_name(text) {
        return Ok((encoding, Body::Lines));
    }
    match Body::NAMED.into_iter().find(|body| body.name() == text) {
        Some(body) if http => Ok((Encoding::Ecs, body)),
        Some(_) => Err(Refusal::new(
            "an encoding of https:// outputs alone",
            format!("expected one of: {}", Encoding::ALL.map(Encoding::name).join(", ")),
        )),
        None => {
            let known = ["ecs", "cef", "elasticsearch", "opensearch", "splunk"];
            Err(choice("an unknown encoding", text, known))
        }
    }
}

/// The name of an index or data stream, as Elasticsearch and OpenSearch want it, Splunk too.
fn index(text: &str) -> Result<String, Refusal> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if begins && text.len() <= 255 && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    let expected = "expected small letters, digits, `-`, `_` and `.`, a letter or digit first";
    Err(Refusal::new("not the name of an index", expected))
}

/// The hosts that an output would speak to without encryption.
fn unencrypted(to: &Destination, tls: bool) -> impl Iterator<Item = &str> {
    let (one, many) = match to {
        Destination::Syslog { tls: false, host, .. } => (Some(host), [].as_slice()),
        Destination::Nats { hosts, .. } | Destination::Kafka { hosts, .. } if !tls => {
            (None, hosts.as_slice())
        }
        _ => (None, [].as_slice()),
    };
    one.into_iter().chain(many.iter().map(|(host, _)| host)).map(String::as_str)
}

fn log_level(text: &str) -> Result<LevelFilter, Refusal> {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let found = LEVELS.iter().find(|(name, _)| *name == text).map(|(_, level)| *level);
    found.ok_or_else(|| choice("an unknown log level", text, LEVELS.map(|(name, _)| name)))
}

fn choice<const N: usize>(message: &str, text: &str, known: [&'static str; N]) -> Refusal {
    let refusal = Refusal::new(message, format!("expected one of: {}", known.join(", ")));
    match value::nearest(text, known) {
        Some(name) => refusal.help(format!("\"{name}\"")),
        None => refusal,
    }
}
