//! Sets and their merged index.
//!
//! A [`CompiledSet`] keeps its entries in 12 bytes each, their text in one arena and their
//! policies interned. A [`RuleSet`] joins sets into one index over their keys: a value that several
//! sets name is one value with several entries.
//!
//! Both gather their rows first and sort them by hash once: to probe a table for each of a million
//! rows as it comes is a million cache misses.

use super::address::{self, Prefixes};
use super::hash::Seed;
use super::host;
use super::indicator::{Kind, MatchMode, Merged, Meta, Mode, Normal, SetInfo, same_scope};
use super::lexis;
use super::table::{Filter, Table};
use super::text::{Pattern, TextIndex};
use super::token::{Interest, unhex};
use super::url;
use super::{Contributor, EntryRef, Observable, ValueId};
use crate::input::Nanos;
use ipnet::IpNet;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// A compiled set: immutable, shared between generations of the [`RuleSet`].
#[derive(Debug)]
pub struct CompiledSet {
    /// What the file says about itself.
    pub info: SetInfo,
    metas: Vec<Meta>,
    rows: Vec<Row>,
    arena: Vec<u8>,
    /// Row, offset and length in `id_text`, by row; most rows of bulk lists have none.
    ids: Vec<(u32, u32, u32)>,
    id_text: String,
}

/// One entry: where its key lies, and its policy.
#[derive(Clone, Copy, Debug)]
struct Row {
    offset: u32,
    /// Length of the key, and in the lowest four bits the kind.
    length_and_kind: u32,
    meta: u32,
}

/// One entry of a set, for lists and differences between generations.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Type.
    pub kind: Kind,
    /// Normal form.
    pub value: Normal,
    /// The `id` of the indicator, if it has one.
    pub id: Option<&'a str>,
    /// Policy and context.
    pub meta: &'a Meta,
}

impl CompiledSet {
    pub(super) fn empty(info: SetInfo) -> CompiledSet {
        let (metas, rows, arena, ids, id_text) = Default::default();
        CompiledSet { info, metas, rows, arena, ids, id_text }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// It has no entries.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of entries of a kind that act: raise alerts, or in an allow set prevent or mark
    /// them. Revocations are not counted.
    pub fn count(&self, kind: Kind) -> usize {
        self.count_where(|row, meta| row.kind() == kind && !meta.revoked)
    }

    /// Number of entries that have expired at an instant.
    pub fn expired(&self, at: Nanos) -> usize {
        self.count_where(|_, meta| !meta.revoked && meta.valid_until.is_some_and(|until| until <= at))
    }

    fn count_where(&self, holds: impl Fn(&Row, &Meta) -> bool) -> usize {
        self.rows.iter().filter(|row| holds(row, self.meta(row.meta))).count()
    }

    /// The policy of every entry, in the order added.
    pub fn policies(&self) -> impl Iterator<Item = &Meta> {
        self.rows.iter().map(|row| self.meta(row.meta))
    }

    /// Every policy that some row has or had.
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }

    /// Number of entries of each kind, in the order of [`Kind::ALL`].
    pub fn counts(&self) -> [usize; Kind::ALL.len()] {
        let mut counts = [0; Kind::ALL.len()];
        for row in &self.rows {
            if let Some(count) = counts.get_mut(row.kind() as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Every entry, in the order added.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.rows.len() as u32).filter_map(|index| self.entry(index))
    }

    /// One entry.
    pub fn entry(&self, index: u32) -> Option<Entry<'_>> {
        let row = self.rows.get(index as usize)?;
        let (kind, key) = self.key(index);
        Some(Entry { kind, value: from_key(kind, key), id: self.id(index), meta: self.meta(row.meta) })
    }

    /// Resident bytes, estimated.
    pub fn memory(&self) -> usize {
        let meta = |meta: &Meta| {
            let texts = [&meta.rsit, &meta.description, &meta.reference, &meta.reason, &meta.producer];
            size_of::<Meta>()
                + texts.iter().map(|text| text.as_ref().map_or(0, String::len)).sum::<usize>()
                + meta.attack.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>()
                + meta.ports.len() * 2
        };
        size_of::<CompiledSet>()
            + self.metas.iter().map(meta).sum::<usize>()
            + self.rows.len() * size_of::<Row>()
            + self.arena.len()
            + self.ids.len() * 12
            + self.id_text.len()
    }

    pub(super) fn push_meta(&mut self, meta: Meta) -> u32 {
        self.metas.push(meta);
        self.metas.len() as u32 - 1
    }

    /// Adds a row; none if the arena is full.
    pub(super) fn push(&mut self, kind: Kind, key: &[u8], meta: u32, id: Option<&str>) -> Option<u32> {
        let offset = u32::try_from(self.arena.len()).ok()?;
        u32::try_from(self.arena.len() + key.len()).ok()?;
        let index = u32::try_from(self.rows.len()).ok()?;
        self.arena.extend_from_slice(key);
        self.rows.push(Row { offset, length_and_kind: (key.len() as u32) << 4 | kind as u32, meta });
        self.push_id(index, id);
        Some(index)
    }

    /// Adds rows of one kind and policy; none that the arena has no room for.
    pub(super) fn extend(&mut self, kind: Kind, keys: &[u8], lengths: &[u32], meta: u32) {
        let room =
            u32::MAX as usize - self.rows.len().max(self.arena.len() + keys.len()).min(u32::MAX as usize);
        if room < lengths.len() {
            return;
        }
        let mut offset = self.arena.len() as u32;
        self.rows.extend(lengths.iter().map(|length| {
            let row = Row { offset, length_and_kind: length << 4 | kind as u32, meta };
            offset += length;
            row
        }));
        self.arena.extend_from_slice(keys);
    }

    fn push_id(&mut self, index: u32, id: Option<&str>) {
        let Some(id) = id else { return };
        if let Ok(offset) = u32::try_from(self.id_text.len()) {
            self.ids.push((index, offset, id.len() as u32));
            self.id_text.push_str(id);
        }
    }

    /// Makes rows with the same value and scope one, the last winning; gives back what growing took
    /// too much.
    pub(super) fn finish(mut self) -> (CompiledSet, Vec<Merged>) {
        let merged = self.merge_equal();
        self.drop_rows(&merged);
        self.ids.shrink_to_fit();
        self.rows.shrink_to_fit();
        self.arena.shrink_to_fit();
        self.id_text.shrink_to_fit();
        (self, merged)
    }

    /// Gives the first of equal rows what the last of them says.
    fn merge_equal(&mut self) -> Vec<Merged> {
        let seed = Seed::current();
        // The high half of the hash, then the row: equal values stand together, the last one last.
        let hash = |row: u32| {
            let (kind, key) = self.key(row);
            seed.hash(kind, key) & !0xffff_ffff | u64::from(row)
        };
        let mut order: Vec<u64> = (0..self.rows.len() as u32).into_par_iter().map(hash).collect();
        order.par_sort_unstable();
        let mut merged = Vec::new();
        for alike in order.chunk_by(|one, other| one >> 32 == other >> 32).filter(|alike| alike.len() > 1) {
            let mut first: Vec<u32> = Vec::new();
            for row in alike.iter().map(|row| *row as u32) {
                match first.iter().rev().find(|first| self.equal(**first, row)) {
                    Some(first) => merged.push(Merged { later: row, first: *first }),
                    None => first.push(row),
                }
            }
        }
        merged.sort_unstable();
        for pair in &merged {
            self.rows[pair.first as usize].meta = self.rows[pair.later as usize].meta;
        }
        merged
    }

    fn equal(&self, one: u32, other: u32) -> bool {
        let meta = |row| self.meta(self.meta_of(row));
        self.key(one) == self.key(other) && same_scope(meta(one), meta(other))
    }

    /// Drops the later rows of merged ones, and puts the ids in order, the last of a row winning.
    fn drop_rows(&mut self, merged: &[Merged]) {
        let CompiledSet { rows, arena, ids, .. } = self;
        let merged_at = |row: u32| merged.binary_search_by_key(&row, |pair| pair.later);
        for (row, ..) in ids.iter_mut() {
            let first = merged_at(*row).map_or(*row, |at| merged[at].first);
            *row = first - merged_at(first).unwrap_or_else(|before| before) as u32;
        }
        ids.reverse();
        ids.sort_by_key(|(row, ..)| *row);
        ids.dedup_by_key(|(row, ..)| *row);
        if merged.is_empty() {
            return;
        }
        let mut dropped = merged.iter().map(|pair| pair.later).peekable();
        let (mut index, mut end) = (0, 0);
        rows.retain_mut(|row| {
            let drops = dropped.next_if_eq(&index).is_some();
            index += 1;
            if !drops {
                let start = row.offset as usize;
                arena.copy_within(start..start + row.length(), end);
                row.offset = end as u32;
                end += row.length();
            }
            !drops
        });
        arena.truncate(end);
    }

    /// The kind of an entry and the bytes under which its value is kept.
    pub fn key(&self, index: u32) -> (Kind, &[u8]) {
        let Some(row) = self.rows.get(index as usize) else { return (Kind::Text, &[]) };
        let start = row.offset as usize;
        (row.kind(), self.arena.get(start..start + row.length()).unwrap_or_default())
    }

    pub(super) fn meta_of(&self, index: u32) -> u32 {
        self.rows.get(index as usize).map_or(0, |row| row.meta)
    }

    /// Panics if the index is not one that this set gave out.
    pub(super) fn meta(&self, index: u32) -> &Meta {
        &self.metas[index as usize]
    }

    fn id(&self, index: u32) -> Option<&str> {
        let at = self.ids.binary_search_by_key(&index, |(row, ..)| *row).ok()?;
        let (_, offset, length) = self.ids.get(at)?;
        self.id_text.get(*offset as usize..(*offset + *length) as usize)
    }
}

impl Row {
    fn kind(&self) -> Kind {
        Kind::ALL.get((self.length_and_kind & 15) as usize).copied().unwrap_or(Kind::Text)
    }

    fn length(&self) -> usize {
        (self.length_and_kind >> 4) as usize
    }
}

/// Every loaded set and one merged index: immutable, swapped atomically.
#[derive(Debug, Default)]
pub struct RuleSet {
    sets: Vec<Arc<CompiledSet>>,
    digest: String,
    /// The first global row of each set; a global row is a set and a row of it in 32 bits. The first
    /// row of a value is the value's number.
    bases: Vec<u32>,
    /// Global rows in all.
    rows: u32,
    /// Further global rows of values, by value.
    more: Vec<(u32, u32)>,
    table: Table,
    prefixes: Prefixes,
    text: TextIndex,
    url_hosts: Hosts,
    /// Hashes of [`host::mark`] of domains, of addresses, and of the hosts of URLs and e-mail
    /// addresses.
    marks: Filter,
    /// Some value is a domain of one label, so that every name may stand in it.
    every_name: bool,
}

impl Interest for RuleSet {
    #[inline]
    fn host(&self, mark: u64) -> bool {
        self.knows_mark(mark) || self.every_name
    }

    #[inline]
    fn prefix(&self, octets: impl FnOnce() -> u32) -> bool {
        self.prefixes.touches4(octets)
    }
}

impl RuleSet {
    /// Merges the sets into one index.
    pub fn new(sets: Vec<Arc<CompiledSet>>) -> RuleSet {
        let mut rules = RuleSet { digest: digest(&sets), ..RuleSet::default() };
        for set in sets {
            // Four thousand million entries exceed every memory limit long before.
            let Some(end) = rules.rows.checked_add(set.len() as u32) else { break };
            rules.bases.push(rules.rows);
            rules.sets.push(set);
            rules.rows = end;
        }
        rules.index_values();
        rules.index_kinds();
        rules.index_marks();
        rules
    }

    /// Puts every value into the table, in the order of hashes, which is the order of the slots.
    fn index_values(&mut self) {
        let seed = Seed::current();
        let hash = |row: u32| {
            let (kind, key) = self.key(ValueId(row));
            (key_hash(seed, kind, key), row)
        };
        let mut order: Vec<(u64, u32)> = (0..self.rows).into_par_iter().map(hash).collect();
        order.par_sort_unstable();
        let mut table = Table::with_capacity(order.len());
        let mut more = Vec::new();
        for (hash, row) in order {
            let same = |value: u32| self.key(ValueId(value)) == self.key(ValueId(row));
            if let Some(value) = table.insert(hash, row, same) {
                more.push((value, row));
            }
        }
        more.sort_unstable();
        more.shrink_to_fit();
        (self.table, self.more) = (table, more);
    }

    /// Indexes what is not found by its hash alone: prefixes, hosts of URLs, text.
    fn index_kinds(&mut self) {
        let seed = Seed::current();
        let mut nets: Vec<IpNet> = Vec::new();
        let mut hosts = Vec::new();
        let mut patterns = Vec::new();
        for (base, set) in self.bases.iter().zip(&self.sets) {
            for row in 0..set.len() as u32 {
                match set.key(row) {
                    // An address has no length in its key, a prefix has.
                    (Kind::Ip, key) if matches!(key.len(), 5 | 17) => {
                        nets.extend(address::from_key(key));
                    }
                    (Kind::Url, key) => hosts.push(url_host(seed, key)),
                    (Kind::Text, _) => patterns.push(base + row),
                    _ => {}
                }
            }
        }
        let mut later: Vec<u32> = self.more.iter().map(|(_, row)| *row).collect();
        later.sort_unstable();
        patterns.retain(|row| later.binary_search(row).is_err());
        (self.prefixes, self.url_hosts) = (Prefixes::new(&nets), Hosts::new(hosts));
        self.index_text(&patterns);
    }

    /// Notes what of a host tells that some value may concern it.
    fn index_marks(&mut self) {
        let seed = Seed::current();
        let mark = |row: u32| {
            let (kind, key) = self.key(ValueId(row));
            match (kind, key) {
                (Kind::Ip, &[a, b, c, d]) => {
                    let (text, length) = host::quad_text([a, b, c, d]);
                    Some(seed.hash(Kind::Domain, &text[..length]))
                }
                (Kind::Domain, name) => Some(mark_hash(seed, name)),
                (Kind::Email, address) => {
                    Some(mark_hash(seed, address.rsplit(|byte| *byte == b'@').next().unwrap_or_default()))
                }
                (Kind::Url, url) => Some(mark_hash(seed, url_name(split_scheme(url).1))),
                _ => None,
            }
        };
        let marks: Vec<u64> = (0..self.rows).into_par_iter().filter_map(mark).collect();
        let mut filter = Filter::with_capacity(marks.len());
        marks.into_iter().for_each(|hash| filter.insert(hash));
        filter.fold();
        self.marks = filter;
        self.every_name = self.sets.iter().any(|set| {
            (0..set.len() as u32).any(|row| {
                let (kind, key) = set.key(row);
                kind == Kind::Domain && !key.contains(&b'.')
            })
        });
    }

    fn index_text(&mut self, values: &[u32]) {
        let patterns = values.iter().filter_map(|value| {
            let (_, key) = self.key(ValueId(*value));
            let (nocase, text) = key.split_first()?;
            let anywhere =
                self.entries(ValueId(*value)).any(|entry| self.meta(entry).matching == MatchMode::Substring);
            Some(Pattern { text, nocase: *nocase != 0, anywhere, value: *value })
        });
        self.text = TextIndex::new(patterns);
    }

    /// The sets, in the order given.
    pub fn sets(&self) -> &[Arc<CompiledSet>] {
        &self.sets
    }

    /// SHA-256 over the digests of the sets, hexadecimal: `roje.ruleset_digest`.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Number of distinct values.
    pub fn len(&self) -> usize {
        self.rows as usize - self.more.len()
    }

    /// It has no values.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether some value covers the address, a number of IPv6 or of IPv4 mapped into it. A yes may be
    /// wrong, a no is not, and takes a few nanoseconds.
    #[inline]
    pub(super) fn may_cover(&self, address: u128) -> bool {
        let seed = Seed::current();
        let (covered, hash) = if address >> 32 == 0xffff {
            let four = address as u32;
            (self.prefixes.cover4(four), seed.hash(Kind::Ip, &four.to_be_bytes()))
        } else {
            (self.prefixes.cover6(address), seed.hash(Kind::Ip, &address.to_be_bytes()))
        };
        covered || (self.table.may_contain(hash) && self.seems_to_hold(hash))
    }

    /// Whether some value may cover an address, a number of IPv6 or of IPv4 mapped into it. One yes in
    /// twenty or so is wrong, a no is not; no branch waits for the memory, so that many addresses can be
    /// asked about at once.
    #[inline]
    pub fn may_know(&self, address: u128) -> bool {
        let seed = Seed::current();
        let (touched, hash) = if address >> 32 == 0xffff {
            let four = address as u32;
            (self.prefixes.may_cover4(four), seed.hash(Kind::Ip, &four.to_be_bytes()))
        } else {
            (self.prefixes.may_cover6(address), seed.hash(Kind::Ip, &address.to_be_bytes()))
        };
        touched | self.table.may_contain(hash)
    }

    /// Some value may have this hash.
    #[inline]
    pub(super) fn knows(&self, hash: u64) -> bool {
        self.table.may_contain(hash)
    }

    /// Some value may concern the hosts with this mark.
    #[inline]
    pub(super) fn knows_mark(&self, mark: u64) -> bool {
        self.marks.may_contain(mark)
    }

    /// Some value is a domain of one label, so that every name may stand in it.
    #[inline]
    pub(super) fn every_name(&self) -> bool {
        self.every_name
    }

    /// Whether some prefix covers the address.
    #[inline]
    pub(super) fn prefix_covers(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.prefixes.cover4(address.to_bits()),
            IpAddr::V6(address) => self.prefixes.cover6(address.to_bits()),
        }
    }

    #[cold]
    fn seems_to_hold(&self, hash: u64) -> bool {
        let mut likely = false;
        self.table.find(hash, |_| likely = true);
        likely
    }

    /// Every value that covers the observable.
    #[inline]
    pub fn lookup(&self, message: &[u8], observable: &Observable, each: &mut impl FnMut(ValueId)) {
        if let Some(address) = observable.address {
            self.prefixes.covering(address, &mut |key| {
                let hash = Seed::current().hash(Kind::Ip, key);
                if self.table.may_contain(hash) {
                    self.find(Kind::Ip, hash, key, each);
                }
            });
        }
        if self.table.may_contain(observable.hash) {
            self.verify(message, observable, each);
        }
    }

    #[cold]
    fn verify(&self, message: &[u8], observable: &Observable, each: &mut impl FnMut(ValueId)) {
        if !self.seems_to_hold(observable.hash) {
            return;
        }
        with_key(message, observable, |scheme, key| match observable.kind {
            Kind::Url => self.find_url(observable.hash, scheme, key, each),
            kind => self.find(kind, observable.hash, key, each),
        });
    }

    fn find(&self, kind: Kind, hash: u64, key: &[u8], each: &mut impl FnMut(ValueId)) {
        self.table.find(hash, |value| {
            if self.key(ValueId(value)) == (kind, key) {
                each(ValueId(value));
            }
        });
    }

    /// A scheme counts where both have one.
    fn find_url(&self, hash: u64, scheme: &[u8], key: &[u8], each: &mut impl FnMut(ValueId)) {
        self.table.find(hash, |value| {
            let (kind, written) = self.key(ValueId(value));
            let (written_scheme, rest) = split_scheme(written);
            let agrees = scheme.is_empty() || written_scheme.is_empty() || scheme == written_scheme;
            if kind == Kind::Url && agrees && rest == key {
                each(ValueId(value));
            }
        });
    }

    /// The observable is the host of some URL value, or seems to be.
    #[inline]
    pub(super) fn is_url_host(&self, observable: &Observable) -> bool {
        observable.whole && self.url_hosts.contains(observable.hash)
    }

    pub(super) fn text(&self) -> &TextIndex {
        &self.text
    }

    /// What an entry says.
    ///
    /// Panics if the entry is not one that this rule set gave out.
    pub fn contributor(&self, entry: EntryRef) -> Contributor<'_> {
        let set = &self.sets[entry.set as usize];
        Contributor { set: &set.info, meta: self.meta(entry), id: set.id(entry.entry) }
    }

    /// Every entry that names a value, in the order of the sets.
    pub fn entries(&self, value: ValueId) -> impl Iterator<Item = EntryRef> {
        let first = (value.0 < self.rows).then_some(value.0);
        let from = self.more.partition_point(|(other, _)| *other < value.0);
        let more = self.more[from..].iter().take_while(move |(other, _)| *other == value.0);
        first.into_iter().chain(more.map(|(_, row)| *row)).map(|row| {
            let (set, entry) = locate(&self.bases, row);
            EntryRef { set: set as u32, entry }
        })
    }

    /// The value with a key.
    pub fn value_of(&self, kind: Kind, key: &[u8]) -> Option<ValueId> {
        let mut found = None;
        self.table.find(key_hash(Seed::current(), kind, key), |value| {
            if self.key(ValueId(value)) == (kind, key) {
                found = Some(ValueId(value));
            }
        });
        found
    }

    /// Every value that more than one entry names.
    pub fn shared(&self) -> impl Iterator<Item = ValueId> {
        self.more.chunk_by(|one, other| one.0 == other.0).filter_map(|same| Some(ValueId(same.first()?.0)))
    }

    /// What the set of an entry does.
    pub(super) fn mode(&self, entry: EntryRef) -> Mode {
        self.sets[entry.set as usize].info.mode
    }

    pub(super) fn meta(&self, entry: EntryRef) -> &Meta {
        let set = &self.sets[entry.set as usize];
        set.meta(set.meta_of(entry.entry))
    }

    pub(super) fn key(&self, value: ValueId) -> (Kind, &[u8]) {
        let (set, row) = locate(&self.bases, value.0);
        self.sets.get(set).map_or((Kind::Text, &[]), |set| set.key(row))
    }

    /// The normal form of a value.
    pub fn normal(&self, id: ValueId) -> Normal {
        let (kind, key) = self.key(id);
        from_key(kind, key)
    }

    /// The normal form of a value, as text.
    pub fn value(&self, id: ValueId) -> String {
        self.normal(id).to_string()
    }

    /// Resident bytes of the index and the sets, estimated.
    pub fn memory(&self) -> usize {
        self.sets.iter().map(|set| set.memory()).sum::<usize>()
            + self.more.len() * 8
            + self.table.memory()
            + self.prefixes.memory()
            + self.text.memory()
            + self.url_hosts.memory()
            + self.marks.memory()
    }
}

/// The hosts of URL values. Each message that names one is decoded, so a filter alone, which takes
/// some hosts for one of them, would decode messages for nothing.
#[derive(Debug, Default)]
struct Hosts {
    filter: Filter,
    /// High halves of the hashes, sorted.
    hashes: Box<[u32]>,
}

impl Hosts {
    fn new(hosts: Vec<u64>) -> Hosts {
        let mut filter = Filter::with_capacity(hosts.len());
        hosts.iter().for_each(|hash| filter.insert(*hash));
        let mut hashes: Vec<u32> = hosts.into_iter().map(|hash| (hash >> 32) as u32).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Hosts { filter, hashes: hashes.into_boxed_slice() }
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        self.filter.may_contain(hash) && self.hashes.binary_search(&((hash >> 32) as u32)).is_ok()
    }

    fn memory(&self) -> usize {
        self.filter.memory() + self.hashes.len() * 4
    }
}

/// The set and row of a global row.
fn locate(bases: &[u32], row: u32) -> (usize, u32) {
    let set = bases.partition_point(|base| *base <= row).saturating_sub(1);
    // An empty set shares its base with the next one; the last with that base has the row.
    (set, row - bases.get(set).copied().unwrap_or(0))
}

fn digest(sets: &[Arc<CompiledSet>]) -> String {
    let mut hasher = Sha256::new();
    for set in sets {
        hasher.update(set.info.digest.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Appends the bytes under which a value is kept: octets of addresses and hashes, text of the
/// others, behind a flag for `text` that says whether case counts.
pub(super) fn key_of(value: &Normal, nocase: bool, key: &mut Vec<u8>) {
    match value {
        Normal::Ip(prefix) => {
            let (octets, length) = address::key(*prefix);
            key.extend_from_slice(&octets[..length]);
        }
        Normal::Hash(_, digits) => {
            let mut binary = [0; 64];
            let length = unhex(digits.as_bytes(), &mut binary);
            key.extend_from_slice(&binary[..length]);
        }
        Normal::Text(bytes) => {
            key.push(nocase.into());
            key.extend_from_slice(bytes);
        }
        Normal::Domain(text) | Normal::Url(text) | Normal::Email(text) => {
            key.extend_from_slice(text.as_bytes());
        }
    }
}

fn from_key(kind: Kind, key: &[u8]) -> Normal {
    let text = || String::from_utf8_lossy(key).into_owned();
    match kind {
        Kind::Ip => Normal::Ip(address::from_key(key).unwrap_or_default()),
        Kind::Domain => Normal::Domain(text()),
        Kind::Url => Normal::Url(text()),
        Kind::Email => Normal::Email(text()),
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => Normal::Hash(kind, hexadecimal(key)),
        Kind::Text => Normal::Text(key.get(1..).unwrap_or_default().to_vec()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// URLs are found by what follows the scheme, since logs may leave that out.
fn key_hash(seed: Seed, kind: Kind, key: &[u8]) -> u64 {
    match kind {
        Kind::Url => seed.hash(kind, split_scheme(key).1),
        _ => seed.hash(kind, key),
    }
}

fn split_scheme(url: &[u8]) -> (&[u8], &[u8]) {
    let letters = url.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    match url.get(letters..) {
        Some([b':', b'/', b'/', rest @ ..]) => (&url[..letters], rest),
        _ => (&[], url),
    }
}

/// The hash that the host of a URL has as an observable.
fn url_host(seed: Seed, url: &[u8]) -> u64 {
    let (_, rest) = split_scheme(url);
    if let [b'[', inside @ ..] = rest {
        let address = inside.split(|byte| *byte == b']').next().unwrap_or_default();
        let address =
            std::str::from_utf8(address).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
        return seed.hash(Kind::Ip, &address.map_or([0; 16], |address| address.octets()));
    }
    let host = url_name(rest);
    match host::quad(host) {
        Some((address, length)) if length == host.len() => seed.hash(Kind::Ip, &address.octets()),
        _ => seed.hash(Kind::Domain, host),
    }
}

/// The host of a URL without scheme, unless it stands in brackets.
fn url_name(url: &[u8]) -> &[u8] {
    url.split(|byte| matches!(byte, b'/' | b':')).next().unwrap_or_default()
}

fn mark_hash(seed: Seed, host: &[u8]) -> u64 {
    seed.hash(Kind::Domain, &host[host::mark(host)])
}

/// The normal form of an observable, as text; empty if it is none of the message's.
pub fn normal(message: &[u8], observable: &Observable) -> String {
    let mut text = String::new();
    with_key(message, observable, |scheme, key| {
        text = match scheme {
            [] => from_key(observable.kind, key).to_string(),
            _ => format!("{}://{}", String::from_utf8_lossy(scheme), String::from_utf8_lossy(key)),
        };
    });
    text
}

/// Calls `use_key` with the scheme (of URLs) and the key of an observable, built anew from its
/// span and confirmed by its hash.
fn with_key(message: &[u8], observable: &Observable, mut use_key: impl FnMut(&[u8], &[u8])) {
    let span = observable.span.start as usize..observable.span.end as usize;
    let seed = Seed::current();
    let kind = observable.kind;
    if let Some(address) = observable.address {
        let (key, length) = address::key(address.into());
        return use_key(&[], &key[..length]);
    }
    let Some(raw) = message.get(span) else { return };
    match kind {
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => {
            let mut binary = [0; 64];
            let length = unhex(raw, &mut binary);
            use_key(&[], &binary[..length]);
        }
        Kind::Url => {
            let mut buffer = [0; url::MAX_URL];
            let Ok(form) = url::normal(raw, &mut buffer) else { return };
            if seed.hash(kind, &buffer[..form.length]) == observable.hash {
                return use_key(form.scheme(), &buffer[..form.length]);
            }
            if let Some(implied) = form.imply_scheme(&mut buffer) {
                use_key(implied.scheme(), &buffer[..implied.length]);
            }
        }
        Kind::Domain => {
            if let Some(name) = host_name(raw) {
                use_key(&[], &name);
            }
        }
        Kind::Email => {
            let Some((end, sign)) =
                (1..=raw.len()).rev().map(|end| (end, lexis::at_sign(raw, end))).find(|(_, sign)| *sign > 0)
            else {
                return;
            };
            let Some(host) = host_name(&raw[end..]) else { return };
            let mut text = raw[..end - sign].to_ascii_lowercase();
            text.push(b'@');
            text.extend_from_slice(&host);
            use_key(&[], &text);
        }
        Kind::Ip | Kind::Text => {}
    }
}

/// Undoes what defangs a host name; lower-case A-labels.
fn host_name(raw: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let dot = lexis::dot(raw, at);
        name.push(if dot > 0 { b'.' } else { byte.to_ascii_lowercase() });
        at += dot.max(1);
    }
    match name.is_ascii() {
        true => Some(name),
        false => host::to_ascii(&name).map(String::into_bytes),
    }
}
