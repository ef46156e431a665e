//! Data sets that came before their template: kept for a while, within bounds, and read when it comes.
//!
//! Routers announce their templates every few minutes; until then a sensor that was just started would
//! be blind. Anybody can send sets that no template will ever explain, so that little is kept of each
//! exporter, and a stranger's sets give way to those of exporters that the operator has named.

use super::Flow;
use super::cache::{ExporterKey, Scope};
use super::clock::Clock;
use super::lru::Lru;
use crate::input::Nanos;
use std::collections::VecDeque;

/// A data set, and of the message around it what its records need.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) scope: Scope,
    pub(super) id: u16,
    pub(super) clock: Clock,
    pub(super) base: Flow,
    /// Records, without the header of the set.
    pub(super) bytes: Box<[u8]>,
    pub(super) received: Nanos,
}

/// The sets of all exporters.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    known: Pool,
    strangers: Pool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Pool {
    exporters: Lru<ExporterKey, Sets>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Sets {
    queue: VecDeque<Set>,
    bytes: usize,
}

/// What became of sets that waited, since the decoder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sets kept until their template comes.
    pub kept: u64,
    /// Sets whose template came in time, and whose records were handed out.
    pub replayed: u64,
    /// Records handed out so.
    pub records: u64,
    /// Sets lost for want of room.
    pub full: u64,
    /// Sets lost because their template did not come in time.
    pub expired: u64,
}

/// Octets kept of one exporter: what a busy router sends in some seconds.
const MOST_OF_ONE: usize = 1 << 20;
/// Octets kept of all strangers, and of all exporters that the operator has named.
const MOST: usize = 8 << 20;
/// How long a set waits. Templates are announced every one to thirty minutes; what is older than ten is
/// no news, and likelier to be read by a template that has changed.
const PATIENCE: Nanos = 600 * super::clock::SECOND;
/// What a set costs beside its octets.
const OVERHEAD: usize = size_of::<Set>();

impl Waiting {
    /// Keeps a set; what is in its way for its age or for want of room is given up.
    pub(super) fn keep(&mut self, set: Set) {
        let counts = &mut self.counts;
        let pool = if set.scope.exporter.known { &mut self.known } else { &mut self.strangers };
        let (exporter, cost) = (set.scope.exporter, set.cost());
        pool.expire_oldest(set.received, counts);
        let others = pool.exporters.peek(&exporter).map_or(0, |sets| sets.bytes);
        if others + cost > MOST_OF_ONE {
            // The template that explains the first of them explains them all, so what is new goes.
            counts.full += 1;
            return;
        }
        while pool.bytes + cost > MOST {
            let Some((_, sets)) = pool.exporters.pop_oldest() else { break };
            pool.bytes -= sets.bytes;
            counts.full += sets.queue.len() as u64;
        }
        if pool.exporters.touch(&exporter).is_none() {
            pool.exporters.insert(exporter, Sets::default());
        }
        let Some(sets) = pool.exporters.touch(&exporter) else { return };
        sets.queue.push_back(set);
        sets.bytes += cost;
        pool.bytes += cost;
        counts.kept += 1;
    }

    /// Whether some set of an exporter waits.
    pub(super) fn has(&self, exporter: &ExporterKey) -> bool {
        let pool = if exporter.known { &self.known } else { &self.strangers };
        pool.bytes > 0 && pool.exporters.peek(exporter).is_some()
    }

    /// Takes out the sets of an exporter that `wanted` names, in the order in which they came.
    pub(super) fn take(
        &mut self,
        exporter: &ExporterKey,
        now: Nanos,
        mut wanted: impl FnMut(&Set) -> bool,
    ) -> Vec<Set> {
        let pool = if exporter.known { &mut self.known } else { &mut self.strangers };
        let Some(mut sets) = pool.exporters.remove(exporter) else { return Vec::new() };
        pool.bytes -= sets.bytes;
        sets.expire(now, &mut self.counts);
        let (taken, left) = sets.queue.into_iter().partition::<Vec<_>, _>(&mut wanted);
        if !left.is_empty() {
            let bytes = left.iter().map(Set::cost).sum();
            pool.bytes += bytes;
            pool.exporters.insert(*exporter, Sets { queue: left.into(), bytes });
        }
        taken
    }

    /// Forgets what waits for a session that has ended.
    pub(super) fn forget(&mut self, exporter: &ExporterKey) {
        let pool = if exporter.known { &mut self.known } else { &mut self.strangers };
        if let Some(sets) = pool.exporters.remove(exporter) {
            pool.bytes -= sets.bytes;
            self.counts.expired += sets.queue.len() as u64;
        }
    }

    /// Counts sets that were read after all.
    pub(super) fn count_replay(&mut self, records: u64) {
        self.counts.replayed += 1;
        self.counts.records += records;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        self.known.bytes + self.strangers.bytes
    }
}

impl Pool {
    /// Gives up the sets of the exporter that was heard longest ago, if they are too old: so a set that
    /// nobody asks for again is given up when others come.
    fn expire_oldest(&mut self, now: Nanos, counts: &mut Counts) {
        let Some(sets) = self.exporters.oldest_value() else { return };
        let before = sets.bytes;
        sets.expire(now, counts);
        self.bytes -= before - sets.bytes;
        if sets.queue.is_empty() {
            self.exporters.pop_oldest();
        }
    }
}

impl Sets {
    fn expire(&mut self, now: Nanos, counts: &mut Counts) {
        while let Some(first) = self.queue.front()
            && now.saturating_sub(first.received) > PATIENCE
        {
            self.bytes -= first.cost();
            self.queue.pop_front();
            counts.expired += 1;
        }
    }
}

impl Set {
    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn set(exporter: u32, known: bool, id: u16, received: Nanos, length: usize) -> Set {
        let address = IpAddr::V4(exporter.into());
        let exporter = ExporterKey { address, version: 9, session: 0, known };
        Set {
            scope: Scope { exporter, session: 0, domain: 0 },
            id,
            clock: Clock::default(),
            base: Flow::default(),
            bytes: vec![0; length].into(),
            received,
        }
    }

    #[test]
    fn sets_wait_within_bounds() {
        let mut waiting = Waiting::default();
        let own = set(7, true, 256, 0, 1000);
        let key = own.scope.exporter;
        waiting.keep(own);
        for number in 0..100_000 {
            waiting.keep(set(number, false, 256, 0, 1400));
            assert!(waiting.bytes() <= 2 * MOST);
        }
        assert!(waiting.has(&key), "strangers do not push out what the operator has named");
        for _ in 0..10_000 {
            waiting.keep(set(7, true, 257, 0, 1400));
        }
        assert!(waiting.known.bytes <= MOST_OF_ONE);
        let counts = waiting.counts();
        assert_eq!(counts.full, 110_001 - waiting_sets(&waiting));
        assert_eq!(waiting.take(&key, 0, |set| set.id == 256).len(), 1);
        assert!(waiting.has(&key));
        assert!(!waiting.take(&key, 0, |_| true).is_empty());
        assert!(!waiting.has(&key) && waiting.known.bytes == 0);
    }

    fn waiting_sets(waiting: &Waiting) -> u64 {
        let pools = [&waiting.known, &waiting.strangers];
        pools.iter().flat_map(|pool| pool.exporters.iter()).map(|(_, sets)| sets.queue.len() as u64).sum()
    }

    #[test]
    fn what_waited_too_long_is_given_up_and_counted() {
        let mut waiting = Waiting::default();
        waiting.keep(set(1, false, 256, 0, 10));
        waiting.keep(set(1, false, 256, PATIENCE, 10));
        let key = set(1, false, 0, 0, 0).scope.exporter;
        assert_eq!(waiting.take(&key, PATIENCE + 1, |_| true).len(), 1);
        assert_eq!(waiting.counts().expired, 1);
        waiting.keep(set(2, false, 256, 0, 10));
        waiting.keep(set(3, false, 256, PATIENCE + 1, 10));
        assert_eq!(waiting.counts().expired, 2);
        assert_eq!(waiting.bytes(), 10 + OVERHEAD);
    }
}
