//! The configuration: `roje.toml`, then `conf.d/*.toml` beside it, in order of their names.
//!
//! Two steps: the files as written, every key and value with its place (`document`), then the
//! resolved [`Config`] of typed values. All mistakes of all files are reported together.
//!
//! How files are merged: tables merge key by key, the later file wins; `[[input]]`, `[[source]]`,
//! `[[constituent]]` and `[[output]]` append; a list that is a value (such as `rules`) replaces.
//! `${NAME}` in a string is the environment variable of that name, `$${` a literal `${`; it is
//! expanded after parsing, so that no value can add keys. Relative paths are relative to the file
//! they stand in.

mod diff;
mod document;
mod read;
mod value;

pub use diff::{Change, What, diff};

use crate::alert::{Constituent, Encoding, Sector};
use crate::detect::indicator::Tlp;
use crate::diagnostic::{Diagnostic, Level};
use crate::input::{Format, nats, tls, unix};
use crate::output::{Destination, Remote};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Where `run` and `check` look when no file is named.
pub const DEFAULT_PATH: &str = "/etc/roje/roje.toml";

/// The largest configuration file: tens of thousands of sources fit; a log given by mistake is
/// refused before it is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Default of `receive_buffer`: the kernel takes twice the value and counts about 1,280 bytes for a
/// small datagram, so that a second of 50,000 a second fits.
pub const DEFAULT_RECEIVE_BUFFER: u64 = 32 << 20;

/// Default of `max_message`.
pub const DEFAULT_MAX_MESSAGE: u64 = 64 << 10;

/// Default of `max_connections`.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;

/// The least share of them that one address has by default.
const FEW: usize = 16;

/// Default of `idle_timeout`.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Default of `handshake_timeout`: a few round trips over a satellite.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Default of `memory_limit`.
pub const DEFAULT_MEMORY_LIMIT: u64 = 2 << 30;

/// Default of `spool_limit`: no disk of a sensor is smaller.
pub const DEFAULT_SPOOL_LIMIT: u64 = 1 << 30;

/// Default of `spool_max_age`: a receiver may be down for weeks.
pub const DEFAULT_SPOOL_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Default of `[metrics] listen`.
pub const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7653);

/// The resolved configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This sensor.
    pub sensor: Sensor,
    /// Its listeners; never empty.
    pub inputs: Vec<Input>,
    /// Who is behind which address.
    pub sources: Vec<Source>,
    /// Whom alerts concern.
    pub constituents: Vec<Constituent>,
    /// Where alerts go; never empty.
    pub outputs: Vec<Output>,
    /// Where metrics and health are served.
    pub metrics: Metrics,
    /// The files it was read from, in order; empty for the built-in defaults.
    pub files: Vec<PathBuf>,
    /// Warnings and notes; errors are never among them.
    pub warnings: Vec<Diagnostic>,
}

/// `[sensor]`
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// `agent.name` in every alert.
    pub name: String,
    /// Spool, last good rule sets, template state.
    pub data_dir: PathBuf,
    /// The rule sets to load.
    pub rules: Rules,
    /// Worker threads; 0 is one for each core.
    pub workers: usize,
    /// Bytes beyond which rule sets are refused.
    pub memory_limit: u64,
    /// What the sensor logs about itself.
    pub log: LevelFilter,
    /// Bytes that the spool may keep.
    pub spool_limit: u64,
    /// How long the spool keeps an alert.
    pub spool_max_age: Duration,
}

/// Where rule sets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The sets inside the binary.
    Embedded,
    /// Files and folders, watched; never empty.
    Paths(Vec<PathBuf>),
}

/// `[[input]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The metric label `input`; unique.
    pub name: String,
    /// Its socket.
    pub listen: Listen,
    /// What it carries.
    pub format: Format,
    /// For stamps that carry none.
    pub timezone: TimeZone,
    /// Senders it takes; empty for all.
    pub allow: Vec<IpNet>,
    /// Bytes of SO_RCVBUF (UDP).
    pub receive_buffer: u64,
    /// Everything from here is an exercise.
    pub exercise: bool,
    /// Bytes of the longest message (all but UDP).
    pub max_message: u64,
    /// Connections at one time (streams).
    pub max_connections: usize,
    /// Connections at one time from one address (TCP, TLS); a share of all if none is given. A relay or an
    /// address translator that stands for all needs more.
    pub max_connections_per_address: Option<usize>,
    /// Time without a whole message after which a connection is closed (streams).
    pub idle_timeout: Duration,
    /// What a TLS handshake and a PROXY header may take.
    pub handshake_timeout: Duration,
    /// Whose connections begin with a PROXY header (TCP, TLS).
    pub proxies: Vec<IpNet>,
    /// Certificates (TLS).
    pub tls: Option<tls::Files>,
    /// Mode and owner of the socket (Unix).
    pub access: unix::Access,
    /// How the server is reached (NATS).
    pub nats: nats::Access,
}

/// The socket of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `udp://`
    Udp(SocketAddr),
    /// `tcp://`
    Tcp(SocketAddr),
    /// `tls://`
    Tls(SocketAddr),
    /// `unix://` with `socket_type = "datagram"`
    UnixDatagram(PathBuf),
    /// `unix://` with `socket_type = "stream"`
    UnixStream(PathBuf),
    /// `nats://`
    Nats(nats::Place),
}

/// `[[source]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Who it is; unique.
    pub name: String,
    /// Its addresses; the longest prefix wins.
    pub networks: Vec<IpNet>,
    /// Names in its client certificate, beside its own.
    pub certificates: Vec<String>,
    /// Silence that is an alert.
    pub expect_every: Option<Duration>,
    /// For its stamps that carry none; else that of the input.
    pub timezone: Option<TimeZone>,
    /// The sampling rate of its flow records, whatever they say themselves.
    pub sampling_rate: Option<NonZeroU32>,
    /// It relays flow records of other exporters, and may name them.
    pub relay: bool,
    /// Whose it is: an index of [`Config::constituents`].
    pub constituent: Option<usize>,
}

/// `[[output]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The metric label `output`; unique.
    pub name: String,
    /// Where alerts go.
    pub to: Destination,
    /// How they are written.
    pub encoding: Encoding,
    /// The strictest marking that may leave here.
    pub tlp: Tlp,
    /// Only alerts of constituents of these sectors; empty for all alerts.
    pub sectors: Vec<Sector>,
    /// What a network output needs beside its address.
    pub remote: Remote,
    /// How often it gets a heartbeat, if it asks for them.
    pub heartbeat: Option<Duration>,
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// `/metrics`, `/livez`, `/readyz`.
    pub listen: SocketAddr,
}

/// Looks up environment variables; a parameter, so that tests need not change the process.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads the named file; without one, [`DEFAULT_PATH`] if it exists, else the built-in
    /// defaults.
    ///
    /// # Errors
    ///
    /// Every problem of every file, warnings included, if at least one is an error.
    pub fn load(path: Option<&Path>) -> Result<Config, Vec<Diagnostic>> {
        let variables = |name: &str| std::env::var(name).ok();
        match path {
            Some(path) => Config::read(path, &variables),
            // A file that is there but cannot be looked at must not pass for none.
            None if Path::new(DEFAULT_PATH).try_exists().unwrap_or(true) => {
                Config::read(Path::new(DEFAULT_PATH), &variables)
            }
            None => Ok(Config::builtin()),
        }
    }

    /// Reads a file and the `conf.d` beside it.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn read(path: &Path, variables: Variables<'_>) -> Result<Config, Vec<Diagnostic>> {
        let mut unreadable = Vec::new();
        let mut files = Vec::new();
        for path in std::iter::once(path.to_path_buf()).chain(drop_ins(path, &mut unreadable)) {
            match read_bounded(&path) {
                Ok(bytes) => files.push((path, bytes)),
                Err(reason) => unreadable.push(no_place(&path, &reason)),
            }
        }
        if files.is_empty() || unreadable.iter().any(|problem| problem.path == path) {
            return Err(unreadable);
        }
        match Config::parse(files, variables) {
            Ok(config) if unreadable.is_empty() => Ok(config),
            Ok(config) => Err(unreadable.into_iter().chain(config.warnings).collect()),
            Err(problems) => Err(unreadable.into_iter().chain(problems).collect()),
        }
    }

    /// Resolves the files given as path and content, in order.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(
        files: Vec<(PathBuf, Vec<u8>)>,
        variables: Variables<'_>,
    ) -> Result<Config, Vec<Diagnostic>> {
        read::resolve(files, variables)
    }

    /// The defaults that act without any file.
    pub fn builtin() -> Config {
        let variables = |name: &str| std::env::var(name).ok();
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Config {
            sensor: Sensor::standard(&variables),
            inputs: vec![
                Input::standard("syslog-udp", Listen::Udp(loopback(5514)), Format::Syslog),
                Input::standard("syslog-tcp", Listen::Tcp(loopback(5514)), Format::Syslog),
                Input::standard("netflow", Listen::Udp(loopback(2055)), Format::Flow),
                Input::standard("ipfix", Listen::Udp(loopback(4739)), Format::Flow),
                Input::standard("sflow", Listen::Udp(loopback(6343)), Format::Flow),
            ],
            sources: Vec::new(),
            constituents: Vec::new(),
            outputs: vec![Output::standard("stdout", Destination::Stdout)],
            metrics: Metrics { listen: DEFAULT_METRICS },
            files: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The constituent of a source, if it names one.
    pub fn constituent_of(&self, source: &Source) -> Option<&Constituent> {
        source.constituent.and_then(|index| self.constituents.get(index))
    }
}

impl Sensor {
    fn standard(variables: Variables<'_>) -> Sensor {
        // systemd passes one folder for each StateDirectory=, separated by colons.
        let state = variables("STATE_DIRECTORY").unwrap_or_default();
        let state = state.split(':').next().filter(|folder| !folder.is_empty());
        Sensor {
            name: host_name(),
            data_dir: PathBuf::from(state.unwrap_or("./roje-data")),
            rules: Rules::Embedded,
            workers: 0,
            memory_limit: DEFAULT_MEMORY_LIMIT,
            log: LevelFilter::INFO,
            spool_limit: DEFAULT_SPOOL_LIMIT,
            spool_max_age: DEFAULT_SPOOL_MAX_AGE,
        }
    }
}

impl Input {
    /// An input with every default.
    pub fn standard(name: &str, listen: Listen, format: Format) -> Input {
        Input {
            name: name.to_owned(),
            listen,
            format,
            timezone: TimeZone::UTC,
            allow: Vec::new(),
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
            exercise: false,
            max_message: DEFAULT_MAX_MESSAGE,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_connections_per_address: None,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            proxies: Vec::new(),
            tls: None,
            access: unix::Access::default(),
            nats: nats::Access::default(),
        }
    }

    /// Connections at one time from one address: a quarter of all where nothing else is said, so that
    /// no one takes every place, but not so few that a site behind one address cannot connect.
    pub fn per_address(&self) -> usize {
        let share = (self.max_connections / 4).max(FEW).min(self.max_connections);
        self.max_connections_per_address.unwrap_or(share)
    }
}

impl Output {
    /// An output with every default.
    pub fn standard(name: &str, to: Destination) -> Output {
        Output {
            name: name.to_owned(),
            tlp: default_tlp(&to),
            to,
            encoding: Encoding::Ecs,
            sectors: Vec::new(),
            remote: Remote::default(),
            heartbeat: None,
        }
    }
}

/// What may leave to a destination unless the output says otherwise: what stays on this machine,
/// everything; over a network, what the whole world may see.
pub fn default_tlp(to: &Destination) -> Tlp {
    if to.is_remote() { Tlp::Clear } else { Tlp::Red }
}

impl Listen {
    /// Every scheme.
    pub const SCHEMES: [&'static str; 5] = ["udp", "tcp", "tls", "unix", "nats"];

    /// The address, unless it is a path.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listen::Udp(address) | Listen::Tcp(address) | Listen::Tls(address) => Some(*address),
            Listen::UnixDatagram(_) | Listen::UnixStream(_) | Listen::Nats(_) => None,
        }
    }

    /// The same at another address: the one that port 0 became.
    pub fn at(&self, address: SocketAddr) -> Listen {
        match self {
            Listen::Udp(_) => Listen::Udp(address),
            Listen::Tcp(_) => Listen::Tcp(address),
            Listen::Tls(_) => Listen::Tls(address),
            Listen::UnixDatagram(_) | Listen::UnixStream(_) | Listen::Nats(_) => self.clone(),
        }
    }

    /// The scheme of its URL.
    pub fn scheme(&self) -> &'static str {
        match self {
            Listen::Udp(_) => "udp",
            Listen::Tcp(_) => "tcp",
            Listen::Tls(_) => "tls",
            Listen::UnixDatagram(_) | Listen::UnixStream(_) => "unix",
            Listen::Nats(_) => "nats",
        }
    }

    /// Whether no other socket can be where this one is.
    pub fn clashes(&self, other: &Listen) -> bool {
        let tcp = |listen: &Listen| matches!(listen, Listen::Tcp(_) | Listen::Tls(_));
        match (self, other) {
            (
                Listen::UnixDatagram(path) | Listen::UnixStream(path),
                Listen::UnixDatagram(other) | Listen::UnixStream(other),
            ) => path == other,
            // Port 0 is whichever is free, so never the same twice.
            _ => {
                tcp(self) == tcp(other)
                    && self.address() == other.address()
                    && self.address().is_some_and(|address| address.port() != 0)
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Udp(address) | Listen::Tcp(address) | Listen::Tls(address) => {
                write!(f, "{}://{address}", self.scheme())
            }
            Listen::Nats(place) => place.fmt(f),
            Listen::UnixDatagram(path) | Listen::UnixStream(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// `conf.d/*.toml` beside the file, in byte order of the names, dot-files left out.
fn drop_ins(path: &Path, unreadable: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            unreadable.push(no_place(&folder, &error.to_string()));
            return Vec::new();
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => unreadable.push(no_place(&folder, &error.to_string())),
        }
    }
    paths.retain(|path| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    paths
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("larger than {} MiB, so surely not a configuration", MAX_FILE_BYTES >> 20));
    }
    Ok(bytes)
}

/// A problem of a file as a whole.
fn no_place(path: &Path, reason: &str) -> Diagnostic {
    Diagnostic {
        level: Level::Error,
        code: "unreadable",
        path: path.to_path_buf(),
        line: 0,
        column: 0,
        span: 0..0,
        message: format!("cannot be read: {reason}"),
        label: None,
        help: None,
    }
}

/// The name of this machine: the default of `agent.name`.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
