//! A map that knows which entry was used longest ago, and which entries go first whatever their use.
//!
//! What datagrams tell can be forged: one that comes once must not push out what comes again and again.
//! So entries are in two ranks, that of newcomers and that of those that have proved themselves, and of
//! either there is what belongs to senders that the operator has named and what belongs to strangers.
//! Whoever makes no use of ranks has a plain map in the order of use.
//!
//! The index is the standard library's, whose seeded hash keeps an exporter from choosing
//! collisions; the order of use is a list through the slots, one for each rank, so that every operation
//! is constant.

use std::collections::HashMap;
use std::hash::Hash;

/// A map with its entries in the order of their last use.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    index: HashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    free: Vec<usize>,
    /// The slot used last.
    last: usize,
    /// Strangers, new and proven; then those that the operator has named.
    lists: [List; 4],
}

#[derive(Debug)]
struct Slot<K, V> {
    entry: Option<(K, V)>,
    rank: Rank,
    newer: usize,
    older: usize,
}

/// How much an entry is worth beside its use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rank {
    known: bool,
    proven: bool,
}

/// The entries of one rank.
#[derive(Clone, Copy, Debug)]
struct List {
    newest: usize,
    oldest: usize,
    length: usize,
}

impl Rank {
    fn list(self) -> usize {
        2 * usize::from(self.known) + usize::from(self.proven)
    }
}

impl<K: Eq, V> Slot<K, V> {
    fn is_of(&self, key: &K) -> bool {
        self.entry.as_ref().is_some_and(|(own, _)| own == key)
    }
}

/// The end of a list.
const NONE: usize = usize::MAX;
/// The room that newcomers have at least, as a part of all: without it, those that have proved themselves
/// once would keep everybody else out for good.
const SHARE: usize = 8;

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        let empty = List { newest: NONE, oldest: NONE, length: 0 };
        Lru { index: HashMap::new(), slots: Vec::new(), free: Vec::new(), last: NONE, lists: [empty; 4] }
    }
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// Entries held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Entries held of senders that the operator has named, or of all others.
    pub(super) fn len_of(&self, known: bool) -> usize {
        let at = Rank { known, proven: false }.list();
        self.lists.iter().skip(at).take(2).map(|list| list.length).sum()
    }

    /// Looks an entry up and makes it the one used last.
    pub(super) fn touch(&mut self, key: &K) -> Option<&mut V> {
        let at = self.touch_slot(key)?;
        self.at(at)
    }

    /// Makes an entry the one used last; gives its slot, where it stays until it is removed.
    pub(super) fn touch_slot(&mut self, key: &K) -> Option<usize> {
        // What was used last is mostly used next: the exporter, its domain, the template of a set.
        if self.slots.get(self.last).is_some_and(|slot| slot.is_of(key)) {
            return Some(self.last);
        }
        let at = *self.index.get(key)?;
        self.unlink(at);
        self.link(at);
        Some(at)
    }

    /// The entry belongs to a sender that the operator has named, or not. It is the one used last.
    pub(super) fn set_known(&mut self, slot: usize, known: bool) {
        if let Some(Slot { rank, .. }) = self.slots.get(slot)
            && rank.known != known
        {
            self.set_rank(slot, Rank { known, ..*rank });
        }
    }

    /// The entry has proved itself. It is the one used last.
    pub(super) fn prove(&mut self, slot: usize) {
        if let Some(Slot { rank, .. }) = self.slots.get(slot)
            && !rank.proven
        {
            self.set_rank(slot, Rank { proven: true, ..*rank });
        }
    }

    /// Whether an entry belongs to a sender that the operator has named.
    pub(super) fn is_known(&self, key: &K) -> bool {
        let slot = self.index.get(key).and_then(|at| self.slots.get(*at));
        slot.is_some_and(|slot| slot.rank.known)
    }

    /// The entry in a slot.
    pub(super) fn at(&mut self, slot: usize) -> Option<&mut V> {
        self.slots.get_mut(slot)?.entry.as_mut().map(|(_, value)| value)
    }

    /// The entry in a slot, to be looked at.
    pub(super) fn get(&self, slot: usize) -> Option<&V> {
        self.slots.get(slot)?.entry.as_ref().map(|(_, value)| value)
    }

    /// Looks an entry up without counting it as use.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        if self.slots.get(self.last).is_some_and(|slot| slot.is_of(key)) {
            return self.get(self.last);
        }
        self.get(*self.index.get(key)?)
    }

    /// The same, to be changed.
    pub(super) fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = *self.index.get(key)?;
        self.at(at)
    }

    /// Adds or replaces an entry, which is a stranger's and new; gives back what it replaced.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert_slot(key, value).1
    }

    /// Adds or replaces an entry; gives its slot, and what it replaced.
    pub(super) fn insert_slot(&mut self, key: K, value: V) -> (usize, Option<V>) {
        let replaced = self.remove(&key);
        let slot = Slot { entry: Some((key, value)), rank: Rank::default(), newer: NONE, older: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(old) = self.slots.get_mut(at) {
                    *old = slot;
                }
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.index.insert(key, at);
        self.link(at);
        (at, replaced)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.index.remove(key)?;
        self.unlink(at);
        self.free.push(at);
        self.slots.get_mut(at)?.entry.take().map(|(_, value)| value)
    }

    /// The entry that goes first: of strangers before that of senders that the operator has named.
    pub(super) fn oldest(&self) -> Option<K> {
        self.oldest_of(false).or_else(|| self.oldest_of(true))
    }

    /// The entry that goes first of senders that the operator has named, or of all others: the newcomer
    /// used longest ago if newcomers have their share, else whichever was used longest ago of the rest.
    pub(super) fn oldest_of(&self, known: bool) -> Option<K> {
        let list = |proven| self.lists.get(Rank { known, proven }.list()).copied();
        let (new, proven) = (list(false)?, list(true)?);
        let enough = new.length * SHARE >= new.length + proven.length;
        let from = if proven.length == 0 || (new.length > 0 && enough) { new } else { proven };
        self.slots.get(from.oldest)?.entry.as_ref().map(|(key, _)| *key)
    }

    /// Takes out the entry that goes first.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = self.oldest()?;
        self.remove(&key).map(|value| (key, value))
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|(key, value)| (key, value))
    }

    /// The entries of some slots, from one on and then from the first again; at most as many as there are.
    pub(super) fn some_from(&self, slot: usize, most: usize) -> impl Iterator<Item = (&K, &V)> {
        let (before, after) = self.slots.split_at(slot % self.slots.len().max(1));
        let entries = after.iter().chain(before).filter_map(|slot| slot.entry.as_ref());
        entries.map(|(key, value)| (key, value)).take(most)
    }

    fn set_rank(&mut self, at: usize, rank: Rank) {
        self.unlink(at);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.rank = rank;
        }
        self.link(at);
    }

    fn link(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some(list) = self.lists.get_mut(slot.rank.list()) else { return };
        let older = std::mem::replace(&mut list.newest, at);
        list.length += 1;
        (slot.newer, slot.older) = (NONE, older);
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = at,
            None => list.oldest = at,
        }
        self.last = at;
    }

    fn unlink(&mut self, at: usize) {
        let Some(slot) = self.slots.get(at) else { return };
        let (newer, older) = (slot.newer, slot.older);
        let Some(list) = self.lists.get_mut(slot.rank.list()) else { return };
        list.length -= 1;
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => list.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => list.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let mut lru = Lru::default();
        for key in 0..4 {
            assert_eq!(lru.insert(key, key * 10), None);
        }
        assert_eq!(lru.touch(&0), Some(&mut 0));
        assert_eq!(lru.peek(&1), Some(&10));
        assert_eq!(lru.insert(2, 21), Some(20));
        assert_eq!(lru.remove(&3), Some(30));
        assert_eq!(lru.touch(&3), None);
        assert_eq!(lru.insert(5, 50), None);
        assert_eq!(lru.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| lru.pop_oldest()).collect();
        assert_eq!(order, [(1, 10), (0, 0), (2, 21), (5, 50)]);
        assert_eq!(lru.len(), 0);
    }

    #[test]
    fn newcomers_go_before_the_proven_and_strangers_before_the_known() {
        let mut lru = Lru::default();
        for key in 0..32 {
            let slot = lru.insert_slot(key, ()).0;
            lru.set_known(slot, key % 2 == 1);
            if key < 24 {
                lru.prove(slot);
            }
        }
        assert_eq!((lru.len_of(false), lru.len_of(true)), (16, 16));
        assert!(lru.is_known(&1) && !lru.is_known(&0));
        // Twelve strangers have proved themselves, four are new: an eighth of what is left is theirs.
        let mut order: Vec<_> = std::iter::from_fn(|| lru.pop_oldest().map(|(key, ())| key)).collect();
        let known = order.split_off(16);
        assert_eq!(order, [24, 26, 28, 0, 2, 4, 6, 8, 30, 10, 12, 14, 16, 18, 20, 22]);
        assert_eq!(known, order.iter().map(|key| key + 1).collect::<Vec<_>>());
    }

    #[test]
    fn newcomers_share_their_part_and_leave_the_rest() {
        let mut lru = Lru::default();
        for key in 0..64 {
            let slot = lru.insert_slot(key, ()).0;
            lru.prove(slot);
        }
        for key in 1000..100_000 {
            while lru.len() >= 64 && lru.pop_oldest().is_some() {}
            lru.insert(key, ());
        }
        let proven = lru.iter().filter(|(key, _)| **key < 64).count();
        assert_eq!((lru.len(), proven), (64, 56));
        assert!((8..64).all(|key| lru.peek(&key).is_some()), "those used longest ago made room");
    }
}
