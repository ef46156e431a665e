//! Delivers alerts: on disk first, then to each output at its own pace.
//!
//! [`Delivery`] appends alerts to the [`spool`] and runs one thread for each output, which reads
//! at its own cursor, lets [`mod@release`] decide what may leave, and hands the rest to its
//! [`Output`]. A slow or dead output holds up neither the input nor another output.

pub mod delivery;
mod file;
pub mod heartbeat;
mod http;
mod kafka;
pub mod nats;
pub mod release;
pub mod remote;
pub mod spool;
mod stdout;
mod stream;
mod syslog;

pub use delivery::{Delivery, OutputSpec, OutputStats, OutputStatus, Settings, Undelivered};
pub use file::File;
pub use http::Http;
pub use kafka::Kafka;
pub use nats::Nats;
pub use release::{Release, Withheld, release};
pub use remote::Remote;
pub use stdout::Stdout;
pub use syslog::Syslog;

use crate::alert::{Alert, Encoding, escape_json};
use std::path::PathBuf;
use std::time::Duration;

/// Where alerts go.
///
/// Implementations know one protocol. What may leave was decided before, what comes back decides
/// whether to try again; order, backoff and bookkeeping are the caller's.
pub trait Output: Send {
    /// Delivers alerts in order; `Ok(n)` says that the first `n` arrived, and the caller comes again
    /// with the rest. An error says that none of them did, and concerns the first.
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError>;

    /// Whether it writes ECS lines as the spool holds them: then those of which nothing is held back
    /// come to [`Output::deliver_lines`], and nobody reads them in between.
    fn takes_lines(&self) -> bool {
        false
    }

    /// [`Output::deliver`] for lines of the spool.
    fn deliver_lines(&mut self, _lines: &[Line]) -> Result<usize, DeliveryError> {
        Err(DeliveryError::retry("takes no lines"))
    }

    /// Makes sure of what arrived, where somebody between could still lose it. The caller asks about
    /// once a second; after an error it delivers again what arrived since it last asked.
    fn settle(&mut self) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// How often the caller asks [`Output::settle`] while alerts are delivered.
    fn settles_every(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Opens its destination anew, after SIGHUP.
    fn reopen(&mut self) {}
}

/// An alert as ECS JSON, as the spool holds it.
pub type Line = std::sync::Arc<[u8]>;

/// What writers of lines take: an alert, or what it is in the spool.
trait Encode {
    /// Appends the line without its end.
    fn encode(&self, encoding: Encoding, out: &mut Vec<u8>);
}

impl Encode for Alert {
    fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        encoding.encode(self, out);
    }
}

impl Encode for Line {
    /// It is ECS already, whatever the encoding: who takes lines writes ECS.
    fn encode(&self, _encoding: Encoding, out: &mut Vec<u8>) {
        escape_json(self, out);
    }
}

/// Why a batch, or its next alert, was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The output cannot take it now; try again, not before `after` if given.
    #[error("{reason}")]
    Retry {
        /// What happened.
        reason: String,
        /// The receiver's wish.
        after: Option<Duration>,
    },
    /// As [`DeliveryError::Retry`], and what it took since it last made sure may be lost too: deliver all
    /// of that again.
    #[error("{reason}")]
    Lost {
        /// What happened.
        reason: String,
    },
    /// The output will never take this alert; set it aside.
    #[error("{reason}")]
    Reject {
        /// What happened.
        reason: String,
    },
}

impl DeliveryError {
    fn retry(reason: impl Into<String>) -> DeliveryError {
        DeliveryError::Retry { reason: reason.into(), after: None }
    }

    fn lost(reason: impl Into<String>) -> DeliveryError {
        DeliveryError::Lost { reason: reason.into() }
    }
}

/// Where an output writes; the destinations of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `stdout:`
    Stdout,
    /// `file:///…`
    File(PathBuf),
    /// `https://…`, and `http://…` on this machine: the URL
    Http(String),
    /// `syslog+tls://HOST:PORT`, `syslog+tcp://HOST:PORT`
    Syslog {
        /// Encrypted or not.
        tls: bool,
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// `nats://HOST:PORT,…/SUBJECT`
    Nats {
        /// Servers of one cluster, by name or address and port.
        hosts: Vec<(String, u16)>,
        /// The subject to publish to.
        subject: String,
    },
    /// `kafka://HOST:PORT,…/TOPIC`
    Kafka {
        /// Brokers of one cluster, by name or address and port.
        hosts: Vec<(String, u16)>,
        /// The topic to produce into.
        topic: String,
    },
}

impl Destination {
    /// Whether alerts leave the process for another one's socket.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Destination::Stdout | Destination::File(_))
    }

    /// The scheme of its URL.
    pub fn scheme(&self) -> &'static str {
        match self {
            Destination::Stdout => "stdout",
            Destination::File(_) => "file",
            Destination::Http(url) if url.starts_with("https:") => "https",
            Destination::Http(_) => "http",
            Destination::Syslog { tls: true, .. } => "syslog+tls",
            Destination::Syslog { tls: false, .. } => "syslog+tcp",
            Destination::Nats { .. } => "nats",
            Destination::Kafka { .. } => "kafka",
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Stdout => f.write_str("stdout:"),
            Destination::File(path) => write!(f, "file://{}", path.display()),
            Destination::Http(url) => f.write_str(url),
            Destination::Syslog { host, port, .. } => write!(f, "{}://{}", self.scheme(), place(host, *port)),
            Destination::Nats { hosts, subject: path } | Destination::Kafka { hosts, topic: path } => {
                let hosts: Vec<String> = hosts.iter().map(|(host, port)| place(host, *port)).collect();
                write!(f, "{}://{}/{path}", self.scheme(), hosts.join(","))
            }
        }
    }
}

/// A host and a port as they stand in a URL.
fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
