//! A map that knows which entry was used longest ago.
//!
//! The index is the standard library's, whose seeded hash keeps an exporter from choosing
//! collisions; the order of use is a list through the slots, so that every operation is constant.

use std::collections::HashMap;
use std::hash::Hash;

/// A map with its entries in the order of their last use.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    index: HashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    entry: Option<(K, V)>,
    newer: usize,
    older: usize,
}

impl<K: Eq, V> Slot<K, V> {
    fn is_of(&self, key: &K) -> bool {
        self.entry.as_ref().is_some_and(|(own, _)| own == key)
    }
}

/// The end of the list.
const NONE: usize = usize::MAX;

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        Lru { index: HashMap::new(), slots: Vec::new(), free: Vec::new(), newest: NONE, oldest: NONE }
    }
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// Entries held.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Looks an entry up and makes it the one used last.
    pub(super) fn touch(&mut self, key: &K) -> Option<&mut V> {
        let at = self.touch_slot(key)?;
        self.at(at)
    }

    /// Makes an entry the one used last; gives its slot, where it stays until it is removed.
    pub(super) fn touch_slot(&mut self, key: &K) -> Option<usize> {
        // What was used last is mostly used next: the exporter, its domain, the template of a set.
        if self.slots.get(self.newest).is_some_and(|slot| slot.is_of(key)) {
            return Some(self.newest);
        }
        let at = *self.index.get(key)?;
        self.unlink(at);
        self.link(at);
        Some(at)
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
        let at = *self.index.get(key)?;
        self.slots.get(at)?.entry.as_ref().map(|(_, value)| value)
    }

    /// Adds or replaces an entry; gives back what it replaced.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.insert_slot(key, value).1
    }

    /// Adds or replaces an entry; gives its slot, and what it replaced.
    pub(super) fn insert_slot(&mut self, key: K, value: V) -> (usize, Option<V>) {
        let replaced = self.remove(&key);
        let slot = Slot { entry: Some((key, value)), newer: NONE, older: NONE };
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

    /// The entry used longest ago.
    pub(super) fn oldest(&self) -> Option<K> {
        self.slots.get(self.oldest)?.entry.as_ref().map(|(key, _)| *key)
    }

    /// The value of the entry used longest ago, which it stays.
    pub(super) fn oldest_value(&mut self) -> Option<&mut V> {
        self.at(self.oldest)
    }

    /// Takes out the entry used longest ago.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, V)> {
        let key = self.oldest()?;
        self.remove(&key).map(|value| (key, value))
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref()).map(|(key, value)| (key, value))
    }

    fn link(&mut self, at: usize) {
        let older = self.newest;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.newer = NONE;
            slot.older = older;
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: usize) {
        let Some(slot) = self.slots.get(at) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
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
}
