//! Flow records: NetFlow v5, v7, v9, IPFIX and sFlow v5, told apart by the version field.
//!
//! [`Decoder`] owns the templates of the exporters that one worker reads and hands each
//! [`Record`] to a callback: the [`Flow`] that every consumer needs, and on demand the rest.

use super::Fields;
use crate::input::Nanos;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The values of a flow record that every consumer needs; fixed size, filled for every record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Source address (before translation).
    pub source: Option<IpAddr>,
    /// Destination address (before translation).
    pub destination: Option<IpAddr>,
    /// Source address after translation.
    pub translated_source: Option<IpAddr>,
    /// Destination address after translation.
    pub translated_destination: Option<IpAddr>,
    /// Source port, 0 where the record has none.
    pub source_port: u16,
    /// Destination port, 0 where the record has none.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// TCP control bits seen.
    pub tcp_flags: u16,
    /// Octets from the source, as exported.
    pub bytes: u64,
    /// Packets from the source, as exported.
    pub packets: u64,
    /// Octets from the destination (initiator and responder counters in one record).
    pub reverse_bytes: u64,
    /// Packets from the destination.
    pub reverse_packets: u64,
    /// First packet, if known.
    pub start: Option<Nanos>,
    /// Last packet, if known.
    pub end: Option<Nanos>,
    /// Packets that one sampled packet stands for; 0 when unknown.
    pub sampling: u32,
    /// The device that exported it.
    pub exporter: IpAddr,
    /// Source id (v9), observation domain (IPFIX), sub-agent (sFlow), engine (v5).
    pub domain: u32,
    /// 5, 7, 9 or 10 (IPFIX); sFlow is 5 with [`Flow::sflow`] set.
    pub version: u8,
    /// The record came by sFlow.
    pub sflow: bool,
    /// An options record or counter sample: state of the exporter, not traffic.
    pub state: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            source: None,
            destination: None,
            translated_source: None,
            translated_destination: None,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            tcp_flags: 0,
            bytes: 0,
            packets: 0,
            reverse_bytes: 0,
            reverse_packets: 0,
            start: None,
            end: None,
            sampling: 0,
            exporter: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            domain: 0,
            version: 0,
            sflow: false,
            state: false,
        }
    }
}

/// What one datagram held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// `netflow5`, `netflow7`, `netflow9`, `ipfix`, `sflow5`: the label `format`.
    pub format: &'static str,
    /// Records handed out, options records and counter samples included.
    pub records: u64,
    /// Sets that at least one record or template was read from.
    pub sets: u64,
    /// Sets whose template has not been seen.
    pub missing_templates: u64,
    /// Sequence numbers skipped before this datagram.
    pub sequence_gap: u64,
}

/// One decoded record.
pub struct Record<'a> {
    /// What every consumer needs.
    pub flow: &'a Flow,
    /// The bytes of the record.
    pub bytes: &'a [u8],
}

impl Record<'_> {
    /// Writes every field of the record, named and unnamed, into `out`.
    pub fn fields(&self, _out: &mut Fields) {
        todo!()
    }
}

/// Why a datagram could not be decoded at all; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Shorter than its header, or than its header says.
    Truncated,
    /// A version that is not decoded.
    Version,
    /// Every set in it lacks its template.
    MissingTemplate,
    /// A length or count contradicts another.
    Malformed,
}

/// Decodes the datagrams of the exporters that one worker reads.
#[derive(Default)]
pub struct Decoder {}

impl Decoder {
    /// Decodes one datagram; records found before an error were handed out.
    pub fn decode(
        &mut self,
        _datagram: &[u8],
        _exporter: SocketAddr,
        _received: Nanos,
        _each: &mut impl FnMut(Record<'_>),
    ) -> Result<Datagram, DecodeError> {
        todo!()
    }

    /// Templates held now, of all exporters.
    pub fn templates(&self) -> usize {
        todo!()
    }
}
