//! Receives bytes and cuts them into messages: sockets for `run`, files for `scan` and `decode`.
//!
//! An input hands each [`Message`] to a callback and knows nothing of what becomes of it.

use std::net::SocketAddr;

/// Nanoseconds since 1970-01-01T00:00:00Z.
pub type Nanos = i64;

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
