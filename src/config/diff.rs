//! What differs between two configurations, for SIGHUP.

use super::Config;
use std::fmt;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `sensor`, `metrics`, or a section that stands many times: `input`, `source`,
    /// `constituent`, `output`.
    pub section: &'static str,
    /// The name of the entry; empty for `sensor` and `metrics`.
    pub name: String,
    /// What happened to it.
    pub what: What,
    /// It acts only after a restart.
    pub restart: bool,
}

/// What happened to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// These keys have other values. The values are not told: they may hold secrets.
    Changed(Vec<&'static str>),
}

/// Keys that are fixed when threads, sockets and folders are set up.
const RESTART: &[(&str, &str)] = &[
    ("sensor", "name"),
    ("sensor", "data_dir"),
    ("sensor", "workers"),
    ("sensor", "memory_limit"),
    ("sensor", "log"),
    ("sensor", "spool_limit"),
    ("sensor", "spool_max_age"),
    ("input", "listen"),
    ("input", "format"),
    ("input", "receive_buffer"),
    ("input", "max_message"),
    ("input", "max_connections"),
    ("input", "max_connections_per_address"),
    ("input", "idle_timeout"),
    ("input", "handshake_timeout"),
    ("input", "proxies"),
    ("input", "socket_mode"),
    ("input", "socket_user"),
    ("input", "socket_group"),
    ("input", "access"),
    ("output", "to"),
    ("output", "encoding"),
    ("output", "connection"),
    ("output", "heartbeat"),
    ("metrics", "listen"),
];

/// Sections whose entries are sockets and threads: they come and go with a restart.
const STANDING: &[&str] = &["input", "output"];

/// What differs; empty if nothing does. Entries are paired by their names.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let (a, b) = (&old.sensor, &new.sensor);
    changed(
        &mut changes,
        "sensor",
        "",
        &[
            ("name", a.name == b.name),
            ("data_dir", a.data_dir == b.data_dir),
            ("rules", a.rules == b.rules),
            ("workers", a.workers == b.workers),
            ("memory_limit", a.memory_limit == b.memory_limit),
            ("log", a.log == b.log),
            ("spool_limit", a.spool_limit == b.spool_limit),
            ("spool_max_age", a.spool_max_age == b.spool_max_age),
        ],
    );
    entries(
        &mut changes,
        "input",
        &old.inputs,
        &new.inputs,
        |input| &input.name,
        |a, b| {
            vec![
                ("listen", a.listen == b.listen),
                ("format", a.format == b.format),
                ("timezone", a.timezone == b.timezone),
                ("allow", a.allow == b.allow),
                ("receive_buffer", a.receive_buffer == b.receive_buffer),
                ("exercise", a.exercise == b.exercise),
                ("max_message", a.max_message == b.max_message),
                ("max_connections", a.max_connections == b.max_connections),
                (
                    "max_connections_per_address",
                    a.max_connections_per_address == b.max_connections_per_address,
                ),
                ("idle_timeout", a.idle_timeout == b.idle_timeout),
                ("handshake_timeout", a.handshake_timeout == b.handshake_timeout),
                ("proxies", a.proxies == b.proxies),
                ("certificates", a.tls == b.tls),
                ("socket_mode", a.access.mode == b.access.mode),
                ("socket_user", a.access.user == b.access.user),
                ("socket_group", a.access.group == b.access.group),
                ("access", a.nats == b.nats),
            ]
        },
    );
    entries(
        &mut changes,
        "source",
        &old.sources,
        &new.sources,
        |source| &source.name,
        |a, b| {
            // Indexes shift when a constituent is added; its name is what was written.
            let (before, after) = (old.constituent_of(a), new.constituent_of(b));
            vec![
                ("networks", a.networks == b.networks),
                ("certificates", a.certificates == b.certificates),
                ("expect_every", a.expect_every == b.expect_every),
                ("timezone", a.timezone == b.timezone),
                ("sampling_rate", a.sampling_rate == b.sampling_rate),
                ("relay", a.relay == b.relay),
                ("constituent", before.map(|other| &other.name) == after.map(|other| &other.name)),
            ]
        },
    );
    entries(
        &mut changes,
        "constituent",
        &old.constituents,
        &new.constituents,
        |entry| &entry.name,
        |a, b| {
            vec![
                ("sector", a.sector == b.sector),
                ("networks", a.networks == b.networks),
                ("contact", a.contact == b.contact),
            ]
        },
    );
    entries(
        &mut changes,
        "output",
        &old.outputs,
        &new.outputs,
        |output| &output.name,
        |a, b| {
            vec![
                ("to", a.to == b.to),
                ("encoding", a.encoding == b.encoding),
                ("connection", a.remote == b.remote),
                ("heartbeat", a.heartbeat == b.heartbeat),
                ("tlp", a.tlp == b.tlp),
                ("sectors", a.sectors == b.sectors),
            ]
        },
    );
    changed(&mut changes, "metrics", "", &[("listen", old.metrics.listen == new.metrics.listen)]);
    changes
}

fn entries<T>(
    changes: &mut Vec<Change>,
    section: &'static str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &String,
    keys: impl Fn(&T, &T) -> Vec<(&'static str, bool)>,
) {
    let other = |entry: &T, among: &[T]| among.iter().position(|other| name(other) == name(entry));
    let restart = STANDING.contains(&section);
    let whole = |entry: &T, what| Change { section, name: name(entry).clone(), what, restart };
    changes.extend(old.iter().filter(|a| other(a, new).is_none()).map(|a| whole(a, What::Removed)));
    for b in new {
        match other(b, old).and_then(|index| old.get(index)) {
            Some(a) => changed(changes, section, name(b), &keys(a, b)),
            None => changes.push(whole(b, What::Added)),
        }
    }
}

fn changed(changes: &mut Vec<Change>, section: &'static str, name: &str, keys: &[(&'static str, bool)]) {
    let keys: Vec<&'static str> = keys.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect();
    if keys.is_empty() {
        return;
    }
    let restart = keys.iter().any(|key| RESTART.contains(&(section, *key)));
    changes.push(Change { section, name: name.to_owned(), what: What::Changed(keys), restart });
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section)?;
        if !self.name.is_empty() {
            write!(f, " `{}`", self.name)?;
        }
        match &self.what {
            What::Added => f.write_str(": added")?,
            What::Removed => f.write_str(": removed")?,
            What::Changed(keys) => write!(f, ": {} changed", keys.join(", "))?,
        }
        if self.restart { f.write_str("; acts after a restart") } else { Ok(()) }
    }
}
