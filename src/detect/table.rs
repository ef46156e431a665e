//! The exact table: from the hash of a normal form to values, behind a small filter.
//!
//! A slot holds 32 bits of the hash and the index of a value; whoever looks up verifies the bytes.

/// An open-addressing table of value indices, built once for a known number of values.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// 0 is empty; else the low half of the hash, and the index plus one.
    slots: Box<[u64]>,
    filter: Filter,
}

impl Table {
    /// Room for `values` values.
    pub fn with_capacity(values: usize) -> Table {
        // Two thirds full at most: a miss that passes the filter ends after two slots or so.
        let slots = values + values / 2 + 8;
        Table { slots: vec![0; slots].into_boxed_slice(), filter: Filter::with_capacity(values) }
    }

    /// Adds a value unless `same` says that one with this hash is equal; returns that one then.
    pub fn insert(&mut self, hash: u64, value: u32, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.slots[at] = (hash << 32) | (u64::from(value) + 1);
                self.filter.insert(hash);
                return None;
            }
            if slot >> 32 == hash & 0xffff_ffff && same(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
            at = self.next(at);
        }
    }

    /// Some value may have this hash.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// Calls `each` with every value that seems to have this hash.
    pub fn find(&self, hash: u64, mut each: impl FnMut(u32)) {
        if self.slots.is_empty() {
            return;
        }
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return;
            }
            if slot >> 32 == hash & 0xffff_ffff {
                each(slot as u32 - 1);
            }
            at = self.next(at);
        }
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        self.slots.len() * 8 + self.filter.memory()
    }

    /// The high half of the hash chooses the slot, the low half is kept in it.
    fn start(&self, hash: u64) -> usize {
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// A blocked Bloom filter: sixteen bits for each value, four of one word set; of hashes that
/// were not added, fewer than one in fifty pass. It stays in the cache where the table does not.
#[derive(Debug, Default)]
pub(super) struct Filter {
    words: Box<[u64]>,
}

impl Filter {
    /// Room for `values` values.
    pub fn with_capacity(values: usize) -> Filter {
        /// So that it can be folded a few times.
        const STEP: usize = 64;
        Filter { words: vec![0; values.div_ceil(4 * STEP) * STEP].into_boxed_slice() }
    }

    /// Halves the filter as long as it has room for twice what was added: many values were the same.
    pub fn fold(&mut self) {
        let set: usize = self.words.iter().map(|word| word.count_ones() as usize).sum();
        let mut words = std::mem::take(&mut self.words).into_vec();
        // A third full, one hash in eighty passes by chance.
        while words.len().is_multiple_of(2) && set * 6 < words.len() * 64 {
            for at in 0..words.len() / 2 {
                words[at] = words[2 * at] | words[2 * at + 1];
            }
            words.truncate(words.len() / 2);
        }
        self.words = words.into_boxed_slice();
    }

    /// Adds a hash.
    pub fn insert(&mut self, hash: u64) {
        let at = self.word(hash);
        if let Some(word) = self.words.get_mut(at) {
            *word |= bits(hash);
        }
    }

    /// The hash may have been added.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.words.get(self.word(hash)).is_some_and(|word| word & bits(hash) == bits(hash))
    }

    /// Bytes on the heap.
    pub fn memory(&self) -> usize {
        self.words.len() * 8
    }

    #[inline]
    fn word(&self, hash: u64) -> usize {
        (((hash >> 32) * self.words.len() as u64) >> 32) as usize
    }
}

#[inline]
fn bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::hash::Seed;
    use crate::detect::indicator::Kind;

    #[test]
    fn a_folded_filter_has_what_it_had() {
        let hash = |n: usize| Seed::current().hash(Kind::Email, &n.to_le_bytes());
        for added in [0usize, 1, 100, 3_000, 50_000] {
            let mut filter = Filter::with_capacity(50_000);
            (0..added).for_each(|n| filter.insert(hash(n)));
            let memory = filter.memory();
            filter.fold();
            assert!((0..added).all(|n| filter.may_contain(hash(n))), "{added}");
            let passed = (added..added + 10_000).filter(|n| filter.may_contain(hash(*n))).count();
            assert!(passed < 300, "{passed} of 10000 pass where {added} were added");
            assert_eq!(filter.memory() == memory, added == 50_000, "{added}");
        }
    }

    #[test]
    fn finds_what_was_inserted() {
        for count in [0usize, 1, 2, 100, 10_000] {
            let hash = |n: usize| Seed::current().hash(Kind::Email, &n.to_le_bytes());
            let mut table = Table::with_capacity(count);
            for n in 0..count {
                assert_eq!(table.insert(hash(n), n as u32, |other| other == n as u32), None);
                assert_eq!(table.insert(hash(n), n as u32, |other| other == n as u32), Some(n as u32));
            }
            let mut passed = 0;
            for n in 0..2 * count {
                let mut found = false;
                table.find(hash(n), |value| found |= value == n as u32);
                assert_eq!(found, n < count, "{n} of {count}");
                assert!(!found || table.may_contain(hash(n)));
                passed += usize::from(n >= count && table.may_contain(hash(n)));
            }
            assert!(passed * 50 <= count + 50, "{passed} of {count} pass the filter");
        }
    }
}
