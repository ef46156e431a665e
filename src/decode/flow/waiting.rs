//! Data sets that came before their template: kept for a while, within bounds, and read when it comes.
//!
//! Routers announce their templates every few minutes; until then a sensor that was just started would
//! be blind. Anybody can send sets that no template will ever explain, so that little is kept of each
//! exporter, and a stranger's sets give way to those of exporters that the operator has named. Within an
//! exporter, the sets of a template that has much give way to those of others: one that never comes does
//! not keep them out. Every set that was kept is replayed, given up for one of two reasons, or still waits.

use super::Flow;
use super::cache::{ExporterKey, Scope};
use super::clock::Clock;
use super::lru::Lru;
use super::status::AGAIN;
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
    exporters: Lru<ExporterKey, Share>,
    /// Octets of strangers, and of exporters that the operator has named.
    bytes: [usize; 2],
    counts: Counts,
}

/// The sets of one exporter.
#[derive(Debug, Default)]
struct Share {
    /// By the domain and the template that they wait for.
    sets: Lru<Key, Sets>,
    bytes: usize,
    /// Where its octets are booked.
    known: bool,
    /// When the first of them came.
    since: Nanos,
    /// The slot from which templates are compared next.
    next: usize,
}

/// Domain and template.
type Key = (u32, u16);

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
    /// Sets given up for want of room.
    pub full: u64,
    /// Sets given up because their template did not come in time, one came that is not theirs, or their
    /// connection ended.
    pub expired: u64,
}

/// Octets kept of one exporter: what a busy router sends in some seconds.
const MOST_OF_ONE: usize = 1 << 20;
/// Octets kept of all strangers, and of all exporters that the operator has named.
const MOST: usize = 8 << 20;
/// How long a set waits. Templates are announced every one to thirty minutes; what is older than ten is
/// no news, and likelier to be read by a template that has changed.
const PATIENCE: Nanos = 600 * super::clock::SECOND;
/// Templates of an exporter that are compared where one has to give way: with more, the one that has the most
/// is not looked for among all of them, since a datagram may have hundreds of sets.
const COMPARED: usize = 8;
/// What a set costs beside its octets.
const OVERHEAD: usize = size_of::<Set>();

impl Waiting {
    /// Keeps a set; what is in its way for its age or for want of room is given up.
    pub(super) fn keep(&mut self, set: Set) {
        let Set { scope: Scope { exporter, .. }, received, .. } = set;
        self.expire_oldest(exporter.known, received);
        let cost = set.cost();
        while self.bytes_of(exporter.known) + cost > MOST && self.give_up_oldest(exporter.known) {}
        let slot = self.exporters.touch_slot(&exporter).unwrap_or_else(|| {
            let share = Share { since: received, known: exporter.known, ..Share::default() };
            self.exporters.insert_slot(exporter, share).0
        });
        self.exporters.set_known(slot, exporter.known);
        let Some(share) = self.exporters.at(slot) else { return };
        if share.known != exporter.known {
            share.known = exporter.known;
            self.bytes[usize::from(!exporter.known)] -= share.bytes;
            self.bytes[usize::from(exporter.known)] += share.bytes;
        }
        let proven = received.saturating_sub(share.since) >= AGAIN;
        let (released, given_up) = share.make_room(set.key(), cost);
        share.push(set);
        self.counts.kept += 1;
        self.counts.full += given_up;
        let bytes = &mut self.bytes[usize::from(exporter.known)];
        *bytes = *bytes + cost - released;
        if proven {
            self.exporters.prove(slot);
        }
    }

    /// Takes out the sets that wait for a template of an exporter, in the order in which they came.
    pub(super) fn take(&mut self, exporter: &ExporterKey, domain: u32, id: u16, now: Nanos) -> VecDeque<Set> {
        if self.exporters.len() == 0 {
            return VecDeque::new();
        }
        let Some(share) = self.exporters.touch(exporter) else { return VecDeque::new() };
        let Some(mut sets) = share.sets.remove(&(domain, id)) else { return VecDeque::new() };
        share.bytes -= sets.bytes;
        self.bytes[usize::from(share.known)] -= sets.bytes;
        if share.bytes == 0 {
            self.exporters.remove(exporter);
        }
        self.counts.expired += sets.expire(now);
        sets.queue
    }

    /// Forgets what waits for a session that has ended.
    pub(super) fn forget(&mut self, exporter: &ExporterKey) {
        if let Some(share) = self.exporters.remove(exporter) {
            self.bytes[usize::from(share.known)] -= share.bytes;
            self.counts.expired += share.len();
        }
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&mut self, now: Nanos) {
        let keys: Vec<ExporterKey> = self.exporters.iter().map(|(key, _)| *key).collect();
        for key in keys {
            let ids = self.exporters.peek(&key).map(|share| share.sets.iter().map(|(id, _)| *id).collect());
            let ids: Vec<Key> = ids.unwrap_or_default();
            ids.into_iter().for_each(|id| self.expire_sets(&key, id, now));
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

    /// Sets held.
    pub(super) fn len(&self) -> u64 {
        self.exporters.iter().map(|(_, share)| share.len()).sum()
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.iter().sum()
    }

    fn bytes_of(&self, known: bool) -> usize {
        self.bytes[usize::from(known)]
    }

    /// Gives up the sets of the template that was asked for longest ago; false if there is none.
    fn give_up_oldest(&mut self, known: bool) -> bool {
        let Some(key) = self.exporters.oldest_of(known) else { return false };
        let Some(share) = self.exporters.peek_mut(&key) else { return false };
        let Some((_, sets)) = share.sets.pop_oldest() else { return false };
        self.counts.full += sets.queue.len() as u64;
        self.release(&key, sets.bytes);
        true
    }

    /// Gives up the sets of the template that was asked for longest ago, as far as they are too old: so
    /// a set that nobody asks for again is given up when others come.
    fn expire_oldest(&mut self, known: bool, now: Nanos) {
        let Some(key) = self.exporters.oldest_of(known) else { return };
        let oldest = self.exporters.peek(&key).and_then(|share| share.sets.oldest());
        if let Some(id) = oldest {
            self.expire_sets(&key, id, now);
        }
    }

    fn expire_sets(&mut self, exporter: &ExporterKey, id: Key, now: Nanos) {
        let Some(share) = self.exporters.peek_mut(exporter) else { return };
        let Some(sets) = share.sets.peek_mut(&id) else { return };
        let before = sets.bytes;
        self.counts.expired += sets.expire(now);
        let released = before - sets.bytes;
        if sets.queue.is_empty() {
            share.sets.remove(&id);
        }
        self.release(exporter, released);
    }

    /// Books octets that an exporter holds no longer.
    fn release(&mut self, exporter: &ExporterKey, bytes: usize) {
        let Some(share) = self.exporters.peek_mut(exporter) else { return };
        share.bytes -= bytes;
        self.bytes[usize::from(share.known)] -= bytes;
        if share.bytes == 0 {
            self.exporters.remove(exporter);
        }
    }
}

impl Share {
    fn len(&self) -> u64 {
        self.sets.iter().map(|(_, sets)| sets.queue.len() as u64).sum()
    }

    fn push(&mut self, set: Set) {
        let (key, cost) = (set.key(), set.cost());
        let slot =
            self.sets.touch_slot(&key).unwrap_or_else(|| self.sets.insert_slot(key, Sets::default()).0);
        if let Some(sets) = self.sets.at(slot) {
            sets.queue.push_back(set);
            sets.bytes += cost;
            self.bytes += cost;
        }
    }

    /// Gives up sets until one more has room; gives the octets that they had, and their number.
    fn make_room(&mut self, key: Key, cost: usize) -> (usize, u64) {
        let (mut released, mut given_up) = (0, 0);
        while self.bytes + cost > MOST_OF_ONE
            && let Some(greedy) = self.greedy(key)
            && let Some(sets) = self.sets.peek_mut(&greedy)
        {
            let bytes = sets.queue.pop_front().map_or(0, |set| set.cost());
            sets.bytes -= bytes;
            if sets.queue.is_empty() {
                self.sets.remove(&greedy);
            }
            self.bytes -= bytes;
            released += bytes;
            given_up += 1;
        }
        (released, given_up)
    }

    /// The template that gives way for a set of some template: this one if it has its part of what there is,
    /// else the one that has the most of some.
    fn greedy(&mut self, key: Key) -> Option<Key> {
        let own = self.sets.peek(&key).map_or(0, |sets| sets.bytes);
        if own > 0 && own * self.sets.len() >= self.bytes {
            return Some(key);
        }
        let compared = self.sets.some_from(self.next, COMPARED);
        let greedy = compared.max_by_key(|(_, sets)| sets.bytes).map(|(key, _)| *key);
        self.next = self.next.wrapping_add(COMPARED);
        greedy
    }
}

impl Sets {
    /// Gives up the sets that are too old; gives their number.
    fn expire(&mut self, now: Nanos) -> u64 {
        let mut expired = 0;
        while let Some(first) = self.queue.front()
            && now.saturating_sub(first.received) > PATIENCE
        {
            self.bytes -= first.cost();
            self.queue.pop_front();
            expired += 1;
        }
        expired
    }
}

impl Set {
    fn key(&self) -> Key {
        (self.scope.domain, self.id)
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

    /// Whether every set that was kept is accounted for.
    fn add_up(waiting: &Waiting) -> bool {
        let Counts { kept, replayed, full, expired, .. } = waiting.counts();
        kept == replayed + full + expired + waiting.len()
    }

    #[test]
    fn sets_wait_within_bounds() {
        let mut waiting = Waiting::default();
        let own = set(7, true, 256, 0, 1000);
        let key = own.scope.exporter;
        waiting.keep(own);
        for number in 100..100_000 {
            waiting.keep(set(number, false, 256, 0, 1400));
            assert!(waiting.bytes_of(false) <= MOST);
        }
        assert_eq!(
            waiting.bytes_of(true),
            1000 + OVERHEAD,
            "strangers do not push out what the operator has named"
        );
        for _ in 0..10_000 {
            waiting.keep(set(7, true, 257, 0, 1400));
        }
        assert!(waiting.bytes_of(true) <= MOST_OF_ONE && add_up(&waiting));
        assert_eq!(waiting.counts().kept, 109_901);
        assert_eq!(waiting.take(&key, 0, 256, 0).len(), 1);
        assert!(waiting.take(&key, 1, 257, 0).is_empty(), "another domain");
        assert!(!waiting.take(&key, 0, 257, 0).is_empty());
        assert!(waiting.bytes_of(true) == 0 && waiting.exporters.len_of(true) == 0);
    }

    #[test]
    fn a_template_that_never_comes_leaves_room_for_others() {
        let mut waiting = Waiting::default();
        let key = set(1, false, 0, 0, 0).scope.exporter;
        for round in 0..2000 {
            // Five that never come, of which one sends the most by far; and one that comes at the end.
            for id in 300..305 {
                waiting.keep(set(1, false, id, round, 300));
            }
            (0..5).for_each(|_| waiting.keep(set(1, false, 299, round, 1400)));
            if round % 20 == 0 {
                waiting.keep(set(1, false, 256, round, 1000));
            }
        }
        assert!(waiting.bytes() <= MOST_OF_ONE && waiting.counts().full > 5000 && add_up(&waiting));
        assert_eq!(waiting.take(&key, 0, 256, 2000).len(), 100, "all of them");
        // What is left of the others is the latest.
        let first = waiting.take(&key, 0, 299, 2000).front().map(|set| set.received);
        assert!(first > Some(1000), "{first:?}");
    }

    #[test]
    fn one_who_is_named_later_keeps_what_waits() {
        let mut waiting = Waiting::default();
        waiting.keep(set(1, false, 256, 0, 10));
        waiting.keep(set(1, true, 256, 0, 10));
        assert_eq!((waiting.bytes_of(false), waiting.bytes_of(true)), (0, 2 * (10 + OVERHEAD)));
        let key = set(1, false, 0, 0, 0).scope.exporter;
        assert_eq!(waiting.take(&key, 0, 256, 0).len(), 2);
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn what_waited_too_long_is_given_up_and_counted() {
        let mut waiting = Waiting::default();
        waiting.keep(set(1, false, 256, 0, 10));
        waiting.keep(set(1, false, 256, PATIENCE, 10));
        let key = set(1, false, 0, 0, 0).scope.exporter;
        assert_eq!(waiting.take(&key, 0, 256, PATIENCE + 1).len(), 1);
        assert_eq!(waiting.counts().expired, 1);
        waiting.count_replay(1);
        waiting.keep(set(2, false, 256, 0, 10));
        waiting.keep(set(3, false, 256, PATIENCE + 1, 10));
        assert_eq!(waiting.counts().expired, 2);
        assert_eq!(waiting.bytes(), 10 + OVERHEAD);
        waiting.keep(set(4, true, 256, 0, 10));
        waiting.expire(2 * PATIENCE + 2);
        assert_eq!((waiting.bytes(), waiting.counts().expired), (0, 4), "without others too");
        assert!(add_up(&waiting));
    }

    /// Whatever comes, is taken, ends and grows old: no set disappears uncounted, and no octet.
    #[test]
    fn counts_add_up() {
        use proptest::prelude::*;
        let step = (0..6u32, any::<bool>(), 256..270u16, 0..4000usize, 0..8u8, 0..PATIENCE / 8);
        proptest!(ProptestConfig::with_cases(32), |(steps in proptest::collection::vec(step, 1..4000))| {
            let (mut waiting, mut now) = (Waiting::default(), 0);
            for (exporter, known, id, length, act, pause) in steps {
                let set = set(exporter, known, id, now, length);
                let key = set.scope.exporter;
                match act {
                    0 if id == 256 => now += pause,
                    0 if id == 257 => waiting.forget(&key),
                    0 if id == 258 => waiting.expire(now),
                    0 => waiting.take(&key, 0, id, now).iter().for_each(|_| waiting.count_replay(1)),
                    _ => (0..8).for_each(|_| waiting.keep(self::set(exporter, known, id, now, length))),
                }
                prop_assert!(add_up(&waiting));
                prop_assert!(waiting.bytes_of(true) <= MOST && waiting.bytes_of(false) <= MOST);
            }
            let held = waiting.exporters.iter().flat_map(|(_, share)| share.sets.iter());
            let held: usize = held.flat_map(|(_, sets)| &sets.queue).map(Set::cost).sum();
            prop_assert_eq!(held, waiting.bytes());
        });
    }
}
