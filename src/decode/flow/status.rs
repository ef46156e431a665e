//! What each exporter sent and what of it never came: its sequence, and the counts beside it.

use super::cache::ExporterKey;
use super::clock::MILLISECOND;
use super::lru::Lru;
use super::sequence::{Account, Sequence};
use crate::input::Nanos;
use std::net::IpAddr;

/// What one domain of one exporter has sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExporterStatus {
    /// Who sent it.
    pub address: IpAddr,
    /// The sender's port, where each port numbers its records itself (IPFIX); else 0.
    pub port: u16,
    /// Source id (v9), observation domain (IPFIX), sub-agent (sFlow), engine (v5).
    pub domain: u32,
    /// `netflow5`, `netflow7`, `netflow9`, `ipfix`, `sflow5`.
    pub format: &'static str,
    /// Datagrams, or messages of a session.
    pub messages: u64,
    /// Records, options records and counter samples included.
    pub records: u64,
    /// What its sequence numbers skipped and did not come later: flows (v5, v7), packets (v9), data
    /// records (IPFIX), datagrams (sFlow).
    pub lost: u64,
    /// What came behind its place.
    pub late: u64,
    /// Samples that the numbers of an sFlow agent's sources skipped.
    pub lost_samples: u64,
    /// How often it started anew.
    pub restarts: u64,
    /// Its numbers make no sense, so losses are not told.
    pub untrusted: bool,
    /// The sampling rate that holds for its records, unless they or their interface say otherwise; 0 if
    /// it is not known.
    pub sampling_rate: u32,
    /// When the last of it was received.
    pub last_seen: Nanos,
}

/// The sequence of one domain, and what was counted beside it.
#[derive(Debug, Default)]
pub(super) struct Track {
    sequence: Sequence,
    messages: u64,
    records: u64,
    skipped: u64,
    late: u64,
    lost_samples: u64,
    restarts: u64,
    sampling_rate: u32,
    last_seen: Nanos,
}

/// One message, as far as it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Its number.
    pub(super) number: u32,
    /// How far it moves the counter, if that is known.
    pub(super) advance: Option<u32>,
    /// The exporter's uptime in milliseconds.
    pub(super) uptime: Option<u32>,
    /// When it was exported by the exporter's own clock, if it says.
    pub(super) exported: Option<Nanos>,
    /// A greater jump of the number is a restart.
    pub(super) reach: u32,
    pub(super) records: u64,
    pub(super) received: Nanos,
    /// The rate that the message states for all its records.
    pub(super) sampling_rate: u32,
}

impl Track {
    /// What one takes in memory, at most.
    pub(super) const BYTES: usize = size_of::<Track>() + Sequence::BYTES;

    /// Takes up a message.
    pub(super) fn take(&mut self, seen: Seen) -> Account {
        let exported = seen.exported.map(|exported| exported / MILLISECOND);
        let account =
            self.sequence.account_exported(seen.number, seen.advance, seen.uptime, exported, seen.reach);
        self.messages += 1;
        self.records += seen.records;
        self.skipped += account.skipped;
        self.late += account.late;
        self.restarts += u64::from(account.restarted);
        self.last_seen = seen.received;
        if seen.sampling_rate > 0 {
            self.sampling_rate = seen.sampling_rate;
        }
        account
    }

    pub(super) fn is_untrusted(&self) -> bool {
        self.sequence.is_untrusted()
    }

    /// Whether a message would be the first of another run of its exporter.
    pub(super) fn would_restart(&self, seen: &Seen) -> bool {
        let exported = seen.exported.map(|exported| exported / MILLISECOND);
        self.sequence.would_restart(seen.number, seen.uptime, exported, seen.reach)
    }

    /// What is told of it; `sampling_rate` is what its options records say.
    pub(super) fn status(
        &self,
        exporter: &ExporterKey,
        port: u16,
        domain: u32,
        sampling_rate: u32,
    ) -> ExporterStatus {
        ExporterStatus {
            address: exporter.address,
            port,
            domain,
            format: match exporter.version {
                0 => "sflow5",
                5 => "netflow5",
                7 => "netflow7",
                9 => "netflow9",
                _ => "ipfix",
            },
            messages: self.messages,
            records: self.records,
            lost: self.skipped.saturating_sub(self.late),
            late: self.late,
            lost_samples: self.lost_samples,
            restarts: self.restarts,
            untrusted: self.sequence.is_untrusted(),
            sampling_rate: if sampling_rate > 0 { sampling_rate } else { self.sampling_rate },
            last_seen: self.last_seen,
        }
    }
}

/// The tracks of exporters without templates: NetFlow v5, v7 and sFlow.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    of: Lru<(ExporterKey, u32), Track>,
    /// sFlow numbers the samples of each source too.
    samples: Lru<(ExporterKey, u32, SampleSource), Sequence>,
}

/// A source of samples within an agent: whether it counts, its class and its index.
pub(super) type SampleSource = (bool, u32, u32);

/// Tracks kept of exporters without templates, strangers and known ones alike; one takes a kilobyte with
/// all its gaps, and 300 octets without.
const MAX_TRACKS: usize = 16_384;
/// Sources of samples: interfaces of switches.
const MAX_SAMPLE_SOURCES: usize = 16_384;

impl Tracks {
    /// Takes up a datagram.
    pub(super) fn take(&mut self, exporter: ExporterKey, domain: u32, seen: Seen) -> Account {
        let key = (exporter, domain);
        let slot = self.of.touch_slot(&key).unwrap_or_else(|| {
            while self.of.len() >= MAX_TRACKS && self.of.pop_oldest().is_some() {}
            self.of.insert_slot(key, Track::default()).0
        });
        self.of.at(slot).map(|track| track.take(seen)).unwrap_or_default()
    }

    /// Takes up a sample of an sFlow agent; gives how many its source skipped.
    pub(super) fn sample(
        &mut self,
        exporter: ExporterKey,
        sub_agent: u32,
        source: SampleSource,
        number: u32,
        reach: u32,
    ) -> u64 {
        let key = (exporter, sub_agent, source);
        let slot = self.samples.touch_slot(&key).unwrap_or_else(|| {
            while self.samples.len() >= MAX_SAMPLE_SOURCES && self.samples.pop_oldest().is_some() {}
            self.samples.insert_slot(key, Sequence::default()).0
        });
        let Some(sequence) = self.samples.at(slot) else { return 0 };
        let account = sequence.account(number, Some(1), None, reach);
        if account != Account::default()
            && let Some(track) = self.of.touch(&(exporter, sub_agent))
        {
            track.lost_samples = (track.lost_samples + account.skipped).saturating_sub(account.late);
        }
        account.skipped
    }

    /// Calls `each` with the status of every exporter.
    pub(super) fn each(&self, each: &mut impl FnMut(ExporterStatus)) {
        for ((exporter, domain), track) in self.of.iter() {
            each(track.status(exporter, 0, *domain, 0));
        }
    }

    /// Exporters whose numbers make no sense.
    pub(super) fn untrusted(&self) -> usize {
        self.of.iter().filter(|(_, track)| track.is_untrusted()).count()
    }
}
