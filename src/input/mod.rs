//! Receives bytes and cuts them into messages: sockets for `run`, files for `scan` and `decode`.
//!
//! An input hands each [`Message`] to a callback and knows nothing of what becomes of it.
//! [`udp::Receiver`] and [`stream::serve`] read sockets that [`listen`] describes; [`file::Source`]
//! and [`pcap::Capture`] read files; [`framing::Framer`] cuts every stream of bytes, wherever it
//! came from, by one rule. [`send`] is the other end, for exercises and load tests.

pub mod file;
pub mod framing;
pub mod journal;
pub mod listen;
pub mod nats;
mod passed;
pub mod pcap;
pub mod proxy;
pub mod send;
pub mod stream;
pub mod tls;
pub mod udp;
pub mod unix;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type Nanos = i64;

/// A look at two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// By the clock of the day, which may be set back and forth: to be told.
    pub day: Nanos,
    /// By a clock that only runs forward, also while the machine sleeps: to be measured.
    pub steady: Nanos,
}

impl From<Nanos> for Time {
    /// Both clocks show the same.
    fn from(nanos: Nanos) -> Time {
        Time { day: nanos, steady: nanos }
    }
}

/// What both clocks show.
pub fn time() -> Time {
    let steady = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let steady = steady.map_or(0, |at| at.tv_sec().saturating_mul(1_000_000_000) + at.tv_nsec());
    Time { day: now(), steady }
}

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Syslog messages (RFC 5424, RFC 3164 and what calls itself that).
    Syslog,
    /// Flow datagrams: NetFlow, IPFIX, sFlow, told apart by their version field.
    Flow,
}

/// One syslog message or one flow datagram: a slice of the receiver's buffer, valid for one batch.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The bytes as received, without framing.
    pub bytes: &'a [u8],
    /// Who sent it; none for files.
    pub peer: Option<SocketAddr>,
    /// When it was received (for files: the reference time).
    pub received: Nanos,
    /// Its tail was cut off because it exceeded the limit.
    pub truncated: bool,
}

/// Some messages of one batch, handed on together.
#[derive(Debug)]
struct Group<'a> {
    messages: [Message<'a>; GROUP],
    count: usize,
}

/// Messages that are handed on, and sifted, together, at most: enough questions to hide the waiting for
/// memory, few enough to keep all messages in the first cache.
pub const GROUP: usize = 16;

impl<'a> Group<'a> {
    fn new() -> Group<'a> {
        let none = Message { bytes: &[], peer: None, received: 0, truncated: false };
        Group { messages: [none; GROUP], count: 0 }
    }

    /// Adds a message, and hands on the group when it is full.
    #[inline]
    fn push(&mut self, message: Message<'a>, each: &mut impl FnMut(&[Message<'a>])) {
        self.messages[self.count] = message;
        self.count += 1;
        if self.count == GROUP {
            self.hand_on(each);
        }
    }

    /// Hands on the messages, if there are any.
    fn hand_on(&mut self, each: &mut impl FnMut(&[Message<'a>])) {
        if self.count > 0 {
            each(&self.messages[..self.count]);
            self.count = 0;
        }
    }
}

/// The longest message by default; what exceeds it keeps its head.
///
/// 64 KiB is more than any UDP datagram holds, and what the common relays accept at most.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Tells every input of a sensor to stop; clones share one state.
#[derive(Clone, Debug)]
pub struct Stop {
    state: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// A signal that is not set.
    pub fn new() -> Stop {
        Stop { state: Arc::new(watch::Sender::new(false)) }
    }

    /// Tells everybody to stop.
    pub fn set(&self) {
        self.state.send_replace(true);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        *self.state.borrow()
    }

    /// Returns when it is set.
    pub async fn wait(&self) {
        // The sender lives in `self`, so the wait ends only with the value.
        let _ = self.state.subscribe().wait_for(|set| *set).await;
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop::new()
    }
}

/// The wall clock; each batch reads it once.
pub fn now() -> Nanos {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos::try_from(elapsed.as_nanos()).unwrap_or(Nanos::MAX)
}

/// An IPv4 peer of an IPv6 socket is an IPv4 peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}
