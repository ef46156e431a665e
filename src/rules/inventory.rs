//! What a set holds, in sixteen bytes an entry: enough to count, to compare with the version
//! before, and to find entries that an allow set covers.

use super::problems::Problems;
use super::{Change, ChangeKind, SetChanges};
use crate::detect::indicator::{Kind, MatchMode, Meta, Normal, same_scope};
use crate::diagnostic::{Diagnostic, Level, Source, printable};
use crate::input::Nanos;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;

/// Values are kept as text up to this many entries, so that what was removed can be named; of
/// larger sets only what was added or changed is.
const NAMED: usize = 100_000;

/// Changes listed for a set; the counts are always exact.
const LISTED: usize = 1000;

/// The least memory that an entry takes in the index: its hash. Stops a list that cannot fit before
/// it is read to its end.
const LEAST_BYTES: u64 = 8;

/// The key of values, one for the life of a store.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    seed: RandomState,
}

impl Stock {
    /// An empty inventory, bounded by the memory limit.
    pub fn inventory(&self, memory_limit: Option<u64>) -> Inventory {
        let most = memory_limit.map_or(u64::from(u32::MAX), |limit| limit / LEAST_BYTES);
        Inventory {
            seed: self.seed.clone(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
            entries: Vec::new(),
            metas: Vec::new(),
            names: HashMap::new(),
        }
    }
}

/// The entries of a set.
#[derive(Debug)]
pub struct Inventory {
    seed: RandomState,
    most: usize,
    /// Sorted by key once finished.
    entries: Vec<Entry>,
    metas: Vec<Meta>,
    names: HashMap<u64, Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The kind in the top four bits, then the hash of the value.
    key: u64,
    meta: u32,
    /// Byte of the set's file: the value, or the list it came from.
    at: u32,
}

impl Entry {
    fn kind(self) -> Kind {
        Kind::ALL.get((self.key >> 60) as usize).copied().unwrap_or(Kind::Text)
    }
}

impl Inventory {
    /// Adds an entry; none when the limit is reached.
    pub fn add(&mut self, value: &Normal, meta: u32, at: u32) -> Option<()> {
        if self.entries.len() >= self.most {
            return None;
        }
        let key = (kind_of(value) as u64) << 60 | self.seed.hash_one(value) >> 4;
        self.entries.push(Entry { key, meta, at });
        match self.entries.len() {
            count if count <= NAMED => drop(self.names.insert(key, text_of(value).into())),
            count if count == NAMED + 1 => self.names = HashMap::new(),
            _ => {}
        }
        Some(())
    }

    /// Sorts; of equal values that act at the same places the last one stands, as in the compiled
    /// set.
    pub fn finish(mut self, metas: Vec<Meta>, source: &Source, problems: &mut Problems) -> Inventory {
        self.metas = metas;
        // Stable, so that the last of equal values stays last.
        self.entries.sort_by_key(|entry| entry.key);
        let mut kept: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for &entry in &self.entries {
            let scope = self.meta(entry);
            let same = |other: &&mut Entry| {
                self.meta(**other).zip(scope).is_none_or(|(one, other)| same_scope(one, other))
            };
            match kept.iter_mut().rev().take_while(|other| other.key == entry.key).find(same) {
                Some(last) => {
                    if last.meta != entry.meta && last.at != entry.at {
                        let (line, column) = source.position(entry.at as usize);
                        let message =
                            format!("never acts: line {line}, column {column} has the same value and wins");
                        let at = token(source, last.at);
                        let problem = Diagnostic::at(Level::Warning, "duplicate-value", source, at, message);
                        problems.push(problem.help("keep one of the rows"), source);
                    }
                    *last = entry;
                }
                None => kept.push(entry),
            }
        }
        self.entries = kept;
        self
    }

    /// Entries by kind.
    pub fn counts(&self) -> [usize; Kind::ALL.len()] {
        let mut counts = [0; Kind::ALL.len()];
        for entry in &self.entries {
            if let Some(count) = counts.get_mut(entry.kind() as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Entries whose `valid_until` has come.
    pub fn expired(&self, now: Nanos) -> usize {
        let expired: Vec<bool> =
            self.metas.iter().map(|meta| meta.valid_until.is_some_and(|until| until <= now)).collect();
        if !expired.contains(&true) {
            return 0;
        }
        self.entries.iter().filter(|entry| expired.get(entry.meta as usize) == Some(&true)).count()
    }

    /// The policies in use.
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// How many entries there are.
    pub fn total(&self) -> usize {
        self.entries.len()
    }

    /// What differs from the version before.
    pub fn changes(&self, set: &str, before: Option<&Inventory>) -> SetChanges {
        let none = Stock { seed: self.seed.clone() }.inventory(None);
        let before = before.unwrap_or(&none);
        let mut changes = SetChanges { set: set.to_owned(), ..SetChanges::default() };
        let mut same: HashMap<(u32, u32), bool> = HashMap::new();
        let (mut old, mut new) = (before.entries.iter().peekable(), self.entries.iter().peekable());
        loop {
            match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(entry), other) if other.is_none_or(|other| entry.key < other.key) => {
                    changes.removed += 1;
                    changes.list(before, **entry, ChangeKind::Removed);
                    old.next();
                }
                (other, Some(entry)) if other.is_none_or(|other| entry.key < other.key) => {
                    changes.added += 1;
                    changes.list(self, **entry, ChangeKind::Added);
                    new.next();
                }
                (Some(a), Some(b)) => {
                    let equal =
                        *same.entry((a.meta, b.meta)).or_insert_with(|| before.meta(**a) == self.meta(**b));
                    if !equal {
                        changes.changed += 1;
                        changes.list(self, **b, ChangeKind::Changed);
                    }
                    old.next();
                    new.next();
                }
                // Not reached: one of the arms above holds whenever one side has an entry.
                _ => return changes,
            }
        }
    }

    /// Calls `each` with the place of every entry that a blocking allow set keeps from alerting at
    /// any time, and the place of the allow entry.
    pub fn covered_by(&self, allow: &Inventory, now: Nanos, mut each: impl FnMut(u32, u32)) {
        let (few, many, swapped) = match self.entries.len() < allow.entries.len() {
            true => (self, allow, true),
            false => (allow, self, false),
        };
        for &entry in &few.entries {
            let Ok(found) = many.entries.binary_search_by_key(&entry.key, |entry| entry.key) else {
                continue;
            };
            let Some(&other) = many.entries.get(found) else { continue };
            let (own, allowed) = if swapped { (entry, other) } else { (other, entry) };
            if let (Some(meta), Some(by)) = (self.meta(own), allow.meta(allowed))
                && covers(by, meta, now)
            {
                each(own.at, allowed.at);
            }
        }
    }

    fn meta(&self, entry: Entry) -> Option<&Meta> {
        self.metas.get(entry.meta as usize)
    }
}

impl SetChanges {
    /// Everything that a set held.
    pub(super) fn removed(set: &str, before: &Inventory) -> SetChanges {
        let none = Stock { seed: before.seed.clone() }.inventory(None);
        none.changes(set, Some(before))
    }

    fn list(&mut self, of: &Inventory, entry: Entry, change: ChangeKind) {
        if self.list.len() >= LISTED {
            return;
        }
        let value = of.names.get(&entry.key).map(|name| printable(name).into_owned());
        let tlp = of.meta(entry).map_or(Meta::default().tlp, |meta| meta.tlp);
        self.list.push(Change { kind: entry.kind(), value, change, tlp });
    }
}

/// Does the allow entry hold whenever the indicator acts, from now on?
fn covers(allow: &Meta, indicator: &Meta, now: Nanos) -> bool {
    let begins = indicator.valid_from.map_or(now, |from| from.max(now));
    let always = allow.valid_from.is_none_or(|from| from <= begins)
        && allow.valid_until.is_none_or(|until| indicator.valid_until.is_some_and(|own| own <= until));
    let anywhere = !allow.where_source && !allow.where_destination && allow.ports.is_empty();
    let as_wide = allow.matching == MatchMode::Default && indicator.matching != MatchMode::Substring
        || allow.matching == indicator.matching;
    always
        && anywhere
        && as_wide
        && !allow.revoked
        && !indicator.revoked
        && (allow.nocase || !indicator.nocase)
}

/// The word that begins at a byte of a set's file.
pub fn token(source: &Source, at: u32) -> Range<usize> {
    let at = at as usize;
    let rest = source.text.get(at..).unwrap_or_default();
    let end = match rest.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            rest.get(1..).and_then(|rest| rest.find([quote, '\n'])).map(|end| end + 2)
        }
        _ => rest.find([',', '}', ' ', '\n']),
    };
    at..at + end.unwrap_or(rest.len()).min(rest.len())
}

fn kind_of(value: &Normal) -> Kind {
    match value {
        Normal::Ip(_) => Kind::Ip,
        Normal::Domain(_) => Kind::Domain,
        Normal::Url(_) => Kind::Url,
        Normal::Email(_) => Kind::Email,
        Normal::Hash(kind, _) => *kind,
        Normal::Text(_) => Kind::Text,
    }
}

/// The normal form as people write it.
fn text_of(value: &Normal) -> String {
    match value {
        Normal::Ip(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Normal::Ip(net) => net.to_string(),
        Normal::Domain(text) | Normal::Url(text) | Normal::Email(text) | Normal::Hash(_, text) => {
            text.clone()
        }
        Normal::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
