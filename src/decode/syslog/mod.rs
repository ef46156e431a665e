//! Syslog: RFC 5424, and RFC 3164 as devices send it.
//!
//! [`header`] is what the hot path needs of every message; [`decode`] writes everything into
//! [`Fields`] for a hit, for `decode`, or for a rule that needs a field.

use super::{Fields, Span};
use crate::input::Nanos;
use jiff::tz::TimeZone;

/// What a message looks like; the name is the label `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164, or what calls itself that.
    Rfc3164,
    /// No syslog header, but a body that is recognised (JSON, CEF, LEEF, key=value).
    Body,
}

/// The parts of a header, as spans of the message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// What it looks like.
    pub shape: Shape,
    /// PRI, 0 to 191, if present.
    pub priority: Option<u8>,
    /// The stamp as written.
    pub stamp: Option<Span>,
    /// HOSTNAME.
    pub host: Option<Span>,
    /// APP-NAME, or the tag.
    pub app: Option<Span>,
    /// PROCID, or what stands in brackets behind the tag.
    pub procid: Option<Span>,
    /// MSGID.
    pub msgid: Option<Span>,
    /// STRUCTURED-DATA as written.
    pub structured_data: Option<Span>,
    /// MSG, without the BOM.
    pub message: Span,
}

/// Why a message has no header; it is matched raw and kept. The name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// No bytes, or white space only.
    Empty,
    /// Neither a priority nor a stamp nor a body that is known.
    NoHeader,
}

/// What a stamp without year or zone means.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The latest instant that the stamp may mean, less a day (INTERFACE: latest year not over 24 h after it).
    pub now: Nanos,
    /// The zone of stamps that carry none.
    pub timezone: TimeZone,
}

/// Reads the header of one message. Allocates nothing.
pub fn header(_message: &[u8]) -> Result<Header, DecodeError> {
    todo!()
}

/// Decodes one message entirely into `out`: header, stamp, body.
pub fn decode(_message: &[u8], _reference: &Reference, _out: &mut Fields) -> Result<Header, DecodeError> {
    todo!()
}
