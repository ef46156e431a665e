//! Compares a set with its version before, and finds entries that an allow set covers.
//!
//! The merged index of each generation answers what the other holds, so that nothing is kept for it.

use super::problems::Problems;
use super::{Change, ChangeKind, LoadedSet, SetChanges};
use crate::detect::indicator::{Kind, MatchMode, Meta, Mode};
use crate::detect::{EntryRef, RuleSet, ValueId};
use crate::diagnostic::{Diagnostic, Level, Source, printable};
use crate::input::Nanos;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Changes listed for a set; the counts are always exact.
const LISTED: usize = 1000;

/// A set where it is in force.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    /// The generation.
    pub rules: &'a RuleSet,
    /// Its position there.
    pub set: u32,
}

/// The entries of one value in one set, as numbers of them: the first and the others.
type Rows<'a> = (u32, &'a [u32]);

/// What differs from the version before.
pub fn changes(name: &str, now: Option<InForce<'_>>, before: Option<InForce<'_>>) -> SetChanges {
    let mut changes = SetChanges { set: name.to_owned(), ..SetChanges::default() };
    if let (Some(now), None) = (now, before) {
        let rows = now.rules.sets().get(now.set as usize).map_or(0, |set| set.len());
        (0..rows.min(LISTED) as u32).for_each(|row| changes.count(now, row, ChangeKind::Added));
        changes.added = rows;
        return changes;
    }
    each_value(now, &mut |of, value, (first, others)| {
        let rows = std::iter::once(first).chain(others.iter().copied());
        let mut old = entries(before, value);
        for row in rows {
            let change = match old.next() {
                None => ChangeKind::Added,
                Some(entry) if meta(before, entry) != of.meta(row) => ChangeKind::Changed,
                Some(_) => continue,
            };
            changes.count(of, row, change);
        }
    });
    each_value(before, &mut |of, value, (first, others)| {
        let rows = std::iter::once(first).chain(others.iter().copied());
        for row in rows.skip(entries(now, value).count()) {
            changes.count(of, row, ChangeKind::Removed);
        }
    });
    changes
}

/// Calls `each` once for every value of a set, with all its entries there.
fn each_value(of: Option<InForce<'_>>, each: &mut impl FnMut(InForce<'_>, (Kind, &[u8]), Rows<'_>)) {
    let Some((of, set)) = of.and_then(|of| Some((of, of.rules.sets().get(of.set as usize)?))) else { return };
    // Values with several entries in one set are rare: the same address for two ports.
    let mut others: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut later = Vec::new();
    for value in of.rules.shared() {
        let mut rows = of.rules.entries(value).filter(|entry| entry.set == of.set).map(|entry| entry.entry);
        let (Some(first), more) = (rows.next(), rows.collect::<Vec<u32>>()) else { continue };
        later.extend_from_slice(&more);
        others.insert(first, more);
    }
    later.sort_unstable();
    for row in (0..set.len() as u32).filter(|row| later.binary_search(row).is_err()) {
        each(of, set.key(row), (row, others.get(&row).map_or(&[], Vec::as_slice)));
    }
}

/// The entries that a set has for a value.
fn entries<'a>(of: Option<InForce<'a>>, (kind, key): (Kind, &[u8])) -> impl Iterator<Item = EntryRef> + 'a {
    let value = of.and_then(|of| Some((of, of.rules.value_of(kind, key)?)));
    value.into_iter().flat_map(|(of, value)| of.rules.entries(value).filter(move |entry| entry.set == of.set))
}

fn meta(of: Option<InForce<'_>>, entry: EntryRef) -> Option<&Meta> {
    of.and_then(|of| of.meta(entry.entry))
}

impl<'a> InForce<'a> {
    /// The set that a generation holds at a position.
    pub fn find(rules: &'a RuleSet, set: &LoadedSet) -> Option<InForce<'a>> {
        let at = rules.sets().iter().position(|other| Arc::ptr_eq(other, &set.compiled))?;
        Some(InForce { rules, set: at as u32 })
    }

    fn meta(self, row: u32) -> Option<&'a Meta> {
        Some(self.rules.contributor(EntryRef { set: self.set, entry: row }).meta)
    }
}

impl SetChanges {
    fn count(&mut self, of: InForce<'_>, row: u32, change: ChangeKind) {
        *match change {
            ChangeKind::Added => &mut self.added,
            ChangeKind::Removed => &mut self.removed,
            ChangeKind::Changed => &mut self.changed,
        } += 1;
        if self.list.len() < LISTED
            && let Some(entry) = of.rules.sets().get(of.set as usize).and_then(|set| set.entry(row))
        {
            let value = printable(&entry.value.to_string()).into_owned();
            self.list.push(Change { kind: entry.kind, value, change, tlp: entry.meta.tlp });
        }
    }
}

/// Reports entries that a blocking allow set of the same generation covers entirely.
pub fn never_firing(rules: &RuleSet, sets: &[Arc<LoadedSet>], now: Nanos) -> Vec<super::Problem> {
    let mode = |entry: &EntryRef| sets.get(entry.set as usize).map(|set| set.info.mode);
    let mut found: BTreeMap<(u32, u32), Problems> = BTreeMap::new();
    let mut pair = |allowed: ValueId, covered: ValueId| {
        for own in rules.entries(covered).filter(|entry| mode(entry) == Some(Mode::Indicators)) {
            let mut last = None;
            for by in rules.entries(allowed).filter(|entry| mode(entry) == Some(Mode::Block)) {
                let (allow, meta) = (rules.contributor(by).meta, rules.contributor(own).meta);
                if last != Some(by.set) && covers(allow, meta, now) {
                    last = Some(by.set);
                    tell_covered(sets, own, by, found.entry((by.set, own.set)).or_default());
                }
            }
        }
    };
    for value in rules.shared() {
        pair(value, value);
    }
    // Text that is allowed in any case is another value than the same in lower case alone.
    for (set, compiled) in sets.iter().zip(rules.sets()).filter(|(set, _)| set.info.mode == Mode::Block) {
        if set.counts[Kind::Text as usize] == 0 {
            continue;
        }
        for row in 0..compiled.len() as u32 {
            let (kind, key) = compiled.key(row);
            let [1, text @ ..] = key else { continue };
            let cased: Vec<u8> = [&[0], text].concat();
            if kind == Kind::Text
                && let (Some(any), Some(cased)) = (rules.value_of(kind, key), rules.value_of(kind, &cased))
            {
                pair(any, cased);
            }
        }
    }
    found.into_values().flat_map(Problems::finish).collect()
}

fn tell_covered(sets: &[Arc<LoadedSet>], own: EntryRef, by: EntryRef, problems: &mut Problems) {
    let (Some(set), Some(allow)) = (sets.get(own.set as usize), sets.get(by.set as usize)) else { return };
    let place = match allow.foreign {
        Some(_) => allow.info.path.display().to_string(),
        None => {
            let (line, column) = allow.source.position(allow.places.of(by.entry) as usize);
            format!("{}:{line}:{column}", allow.info.path.display())
        }
    };
    let message = format!("can never fire: allow set `{}` blocks it ({place})", allow.info.name);
    const CODE: &str = "covered-by-allow";
    // The text of other formats is not kept.
    let problem = match set.foreign {
        Some(_) => Diagnostic::whole(Level::Warning, CODE, &set.info.path, message),
        None => {
            let at = token(&set.source, set.places.of(own.entry));
            Diagnostic::at(Level::Warning, CODE, &set.source, at, message)
        }
    };
    problems.push(problem.help("remove it here or there"), &set.source);
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
