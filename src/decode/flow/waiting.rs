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
use std::collections::{HashMap, VecDeque};

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
    /// By the template that they wait for.
    sets: Lru<Key, Sets>,
    /// Octets of each exporter.
    exporters: HashMap<ExporterKey, usize>,
    bytes: usize,
}

/// Exporter, domain and template.
type Key = (ExporterKey, u32, u16);

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
    /// Sets lost because their template did not come in time, or one came that is not theirs.
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
        let (key, cost) = (set.key(), set.cost());
        pool.expire_oldest(set.received, counts);
        if pool.exporters.get(&key.0).is_some_and(|bytes| bytes + cost > MOST_OF_ONE) {
            // The template that explains the first of them explains them all, so what is new goes.
            counts.full += 1;
            return;
        }
        while pool.bytes + cost > MOST {
            let Some((key, sets)) = pool.sets.pop_oldest() else { break };
            pool.release(&key.0, sets.bytes);
            counts.full += sets.queue.len() as u64;
        }
        let slot =
            pool.sets.touch_slot(&key).unwrap_or_else(|| pool.sets.insert_slot(key, Sets::default()).0);
        let Some(sets) = pool.sets.at(slot) else { return };
        sets.queue.push_back(set);
        sets.bytes += cost;
        pool.bytes += cost;
        *pool.exporters.entry(key.0).or_default() += cost;
        counts.kept += 1;
    }

    /// Takes out the sets that wait for a template of an exporter, in the order in which they came.
    pub(super) fn take(&mut self, exporter: &ExporterKey, domain: u32, id: u16, now: Nanos) -> VecDeque<Set> {
        let pool = if exporter.known { &mut self.known } else { &mut self.strangers };
        if pool.bytes == 0 {
            return VecDeque::new();
        }
        let Some(mut sets) = pool.sets.remove(&(*exporter, domain, id)) else { return VecDeque::new() };
        pool.release(exporter, sets.bytes);
        sets.expire(now, &mut self.counts);
        sets.queue
    }

    /// Forgets what waits for a session that has ended.
    pub(super) fn forget(&mut self, exporter: &ExporterKey) {
        let pool = if exporter.known { &mut self.known } else { &mut self.strangers };
        if !pool.exporters.contains_key(exporter) {
            return;
        }
        let keys: Vec<Key> = pool.sets.iter().map(|(key, _)| *key).filter(|key| key.0 == *exporter).collect();
        for key in keys {
            if let Some(sets) = pool.sets.remove(&key) {
                pool.release(exporter, sets.bytes);
                self.counts.expired += sets.queue.len() as u64;
            }
        }
    }

    /// Counts a set that was read after all.
    pub(super) fn count_replay(&mut self, records: u64) {
        self.counts.replayed += 1;
        self.counts.records += records;
    }

    /// Counts a set that the template which came does not explain.
    pub(super) fn count_unexplained(&mut self) {
        self.counts.expired += 1;
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
    /// Gives up the sets of the template that was asked for longest ago, as far as they are too old: so
    /// a set that nobody asks for again is given up when others come.
    fn expire_oldest(&mut self, now: Nanos, counts: &mut Counts) {
        let Some(key) = self.sets.oldest() else { return };
        let Some(sets) = self.sets.oldest_value() else { return };
        let before = sets.bytes;
        sets.expire(now, counts);
        let released = before - sets.bytes;
        if sets.queue.is_empty() {
            self.sets.pop_oldest();
        }
        self.release(&key.0, released);
    }

    fn release(&mut self, exporter: &ExporterKey, bytes: usize) {
        self.bytes -= bytes;
        if let Some(left) = self.exporters.get_mut(exporter) {
            *left -= bytes;
            if *left == 0 {
                self.exporters.remove(exporter);
            }
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
    fn key(&self) -> Key {
        (self.scope.exporter, self.scope.domain, self.id)
    }

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
        assert_eq!(
            waiting.known.bytes,
            1000 + OVERHEAD,
            "strangers do not push out what the operator has named"
        );
        for _ in 0..10_000 {
            waiting.keep(set(7, true, 257, 0, 1400));
        }
        assert!(waiting.known.bytes <= MOST_OF_ONE);
        let counts = waiting.counts();
        assert_eq!(counts.full, 110_001 - waiting_sets(&waiting));
        assert_eq!(waiting.take(&key, 0, 256, 0).len(), 1);
        assert!(waiting.take(&key, 1, 257, 0).is_empty(), "another domain");
        assert!(!waiting.take(&key, 0, 257, 0).is_empty());
        assert!(waiting.known.exporters.is_empty() && waiting.known.bytes == 0);
    }

    fn waiting_sets(waiting: &Waiting) -> u64 {
        let pools = [&waiting.known, &waiting.strangers];
        pools.iter().flat_map(|pool| pool.sets.iter()).map(|(_, sets)| sets.queue.len() as u64).sum()
    }

    #[test]
    fn what_waited_too_long_is_given_up_and_counted() {
        let mut waiting = Waiting::default();
        waiting.keep(set(1, false, 256, 0, 10));
        waiting.keep(set(1, false, 256, PATIENCE, 10));
        let key = set(1, false, 0, 0, 0).scope.exporter;
        assert_eq!(waiting.take(&key, 0, 256, PATIENCE + 1).len(), 1);
        assert_eq!(waiting.counts().expired, 1);
        waiting.keep(set(2, false, 256, 0, 10));
        waiting.keep(set(3, false, 256, PATIENCE + 1, 10));
        assert_eq!(waiting.counts().expired, 2);
        assert_eq!(waiting.bytes(), 10 + OVERHEAD);
    }
}
