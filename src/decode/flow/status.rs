//! What each exporter sent and what of it never came: its sequence, and the counts beside it.

use super::clock::{MILLISECOND, SECOND};
use super::lru::Lru;
use super::sequence::{Account, Sequence, Times};
use crate::input::Nanos;
use std::net::IpAddr;

/// What one domain of one exporter has sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExporterStatus {
    /// Who exported it.
    pub address: IpAddr,
    /// Who sent it: the same, or a relay that named the exporter (the agent of sFlow).
    pub sender: IpAddr,
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
    first_seen: Nanos,
    last_seen: Nanos,
}

/// Anybody can forge a message of an exporter or a port that was not heard before; what comes again after
/// so long is worth more than what came once.
pub(super) const AGAIN: Nanos = SECOND;

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

impl Seen {
    /// When the exporter started, in milliseconds since 1970 by its own clock.
    pub(super) fn boot(&self) -> Option<i64> {
        Some((self.exported? / MILLISECOND).saturating_sub(self.uptime?.into()))
    }

    fn times(&self) -> Option<Times> {
        Some(Times {
            uptime: self.uptime?,
            exported: self.exported.map(|exported| exported / MILLISECOND),
            received: self.received / MILLISECOND,
        })
    }
}

impl Track {
    /// What one takes in memory, at most.
    pub(super) const BYTES: usize = size_of::<Track>() + Sequence::BYTES;

    /// Takes up a message.
    pub(super) fn take(&mut self, seen: Seen) -> Account {
        let account = self.sequence.account(seen.number, seen.advance, seen.times(), seen.reach);
        if self.messages == 0 {
            self.first_seen = seen.received;
        }
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
        self.sequence.would_restart(seen.number, seen.times(), seen.reach)
    }

    /// When its exporter started, in milliseconds since 1970, if its headers say.
    pub(super) fn boot(&self) -> Option<i64> {
        self.sequence.boot()
    }

    /// Messages came time and again.
    pub(super) fn is_proven(&self) -> bool {
        self.last_seen.saturating_sub(self.first_seen) >= AGAIN
    }

    /// What is told of it; `sampling_rate` is what its options records say.
    pub(super) fn status(
        &self,
        (sender, address): (IpAddr, IpAddr),
        port: u16,
        version: u8,
        domain: u32,
        sampling_rate: u32,
    ) -> ExporterStatus {
        ExporterStatus {
            address,
            sender,
            port,
            domain,
            format: match version {
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
    of: Lru<TrackKey, Track>,
    /// sFlow numbers the samples of each source too.
    samples: Lru<(TrackKey, SampleSource), Samples>,
}

/// Who numbers datagrams. Whether the operator has named the sender is no part of it, since that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TrackKey {
    pub(super) sender: IpAddr,
    /// The sender, or whom a relay names.
    pub(super) exporter: IpAddr,
    pub(super) version: u8,
    /// Sub-agent (sFlow), engine (v5).
    pub(super) domain: u32,
}

/// A source of samples within an agent: what it samples, its class and its index.
pub(super) type SampleSource = (u32, u32, u32);

/// The numbers of one source of samples.
#[derive(Debug, Default)]
struct Samples {
    sequence: Sequence,
    first_seen: Option<Nanos>,
}

/// Tracks kept of exporters without templates, strangers and known ones alike, of which strangers go
/// first; one takes a kilobyte with all its gaps, and 300 octets without.
const MAX_TRACKS: usize = 16_384;
/// Sources of samples: interfaces of switches.
const MAX_SAMPLE_SOURCES: usize = 16_384;

impl Tracks {
    /// Takes up a datagram; `known` says that the operator has named its sender.
    pub(super) fn take(&mut self, key: TrackKey, known: bool, seen: Seen) -> Account {
        let slot = self.of.touch_slot(&key).unwrap_or_else(|| {
            while self.of.len() >= MAX_TRACKS && self.of.pop_oldest().is_some() {}
            self.of.insert_slot(key, Track::default()).0
        });
        self.of.set_known(slot, known);
        let Some(track) = self.of.at(slot) else { return Account::default() };
        let account = track.take(seen);
        if track.is_proven() {
            self.of.prove(slot);
        }
        account
    }

    /// Takes up a sample of an sFlow agent.
    pub(super) fn sample(
        &mut self,
        key: TrackKey,
        known: bool,
        source: SampleSource,
        number: u32,
        reach: u32,
        received: Nanos,
    ) -> Account {
        let of = (key, source);
        let slot = self.samples.touch_slot(&of).unwrap_or_else(|| {
            while self.samples.len() >= MAX_SAMPLE_SOURCES && self.samples.pop_oldest().is_some() {}
            self.samples.insert_slot(of, Samples::default()).0
        });
        self.samples.set_known(slot, known);
        let Some(samples) = self.samples.at(slot) else { return Account::default() };
        let account = samples.sequence.account(number, Some(1), None, reach);
        if received.saturating_sub(*samples.first_seen.get_or_insert(received)) >= AGAIN {
            self.samples.prove(slot);
        }
        if account != Account::default()
            && let Some(track) = self.of.touch(&key)
        {
            track.lost_samples = (track.lost_samples + account.skipped).saturating_sub(account.late);
        }
        account
    }

    /// Calls `each` with the status of every exporter.
    pub(super) fn each(&self, each: &mut impl FnMut(ExporterStatus)) {
        for (key, track) in self.of.iter() {
            each(track.status((key.sender, key.exporter), 0, key.version, key.domain, 0));
        }
    }

    /// Exporters whose numbers make no sense.
    pub(super) fn untrusted(&self) -> usize {
        self.of.iter().filter(|(_, track)| track.is_untrusted()).count()
    }
}
