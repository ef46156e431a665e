//! Finds shared indicators in messages and flow records.
//!
//! [`extract`] turns bytes into [`Observable`]s, whether or not anyone asked for them;
//! [`RuleSet::lookup`] is their first consumer. [`Matcher`] joins both with the text automaton and
//! the judgement of validity and allow sets; `run`, `scan`, `test` and `explain` all call it.

pub mod indicator;

use crate::decode::Span;
use crate::decode::flow::Flow;
use crate::decode::syslog::Reference;
use crate::input::Nanos;
use indicator::{Kind, Meta, SetInfo};
use std::sync::Arc;

/// A value found in a message, in the normal form of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observable {
    /// What it is; a domain suffix is a domain.
    pub kind: Kind,
    /// Where it stands in the message.
    pub span: Span,
    /// Seeded hash of the kind and the normal form.
    pub hash: u64,
}

/// Calls `emit` for every address, domain suffix, URL, e-mail address and hash in the message.
pub fn extract(_message: &[u8], _emit: &mut impl FnMut(Observable)) {
    todo!()
}

/// One indicator value (kind and normal form) of a [`RuleSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// One entry of one set: what a set says about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryRef {
    /// Index of the set in [`RuleSet::sets`].
    pub set: u32,
    /// Index of the entry in its set.
    pub entry: u32,
}

/// Which endpoint the value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The record, or the decoded body, names it as source.
    Source,
    /// The record, or the decoded body, names it as destination.
    Destination,
    /// Found in text that does not say.
    Unknown,
}

/// Why a match raises no alert; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suppression {
    /// An allow set with `mode: block` covers it.
    Allowed,
    /// Every contributing indicator has expired.
    Expired,
    /// Every contributing indicator is not valid yet.
    NotYetValid,
    /// Every contributing indicator was revoked.
    Revoked,
    /// Every contributing indicator has `status: test`.
    Test,
}

/// One indicator value found in one message or flow record.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The value.
    pub value: ValueId,
    /// Its kind.
    pub kind: Kind,
    /// First place where it stands in the message; empty for flows.
    pub span: Span,
    /// Which endpoint it was.
    pub side: Side,
    /// The ECS field it stood in, where known: `source.ip`, `destination.ip`, `message`, …
    pub field: &'static str,
    /// The entries that apply, highest severity first, then by set name; never empty.
    pub contributors: Vec<EntryRef>,
    /// Entries of `mode: inform` allow sets that cover it.
    pub informs: Vec<EntryRef>,
    /// Some contributor has expired (only under [`Validity::Mark`]).
    pub expired: bool,
    /// Why it raises no alert.
    pub suppressed: Option<Suppression>,
}

/// What validity means for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// `run`: an indicator acts from `valid_from` until `valid_until`, at this instant.
    At(Nanos),
    /// `scan`: `valid_from` is ignored and what has expired at this instant is marked.
    Mark(Nanos),
}

/// A compiled set: immutable, shared between generations of the [`RuleSet`].
#[derive(Debug)]
pub struct CompiledSet {
    /// What the file says about itself.
    pub info: SetInfo,
}

/// What one entry of one set says.
#[derive(Clone, Copy, Debug)]
pub struct Contributor<'a> {
    /// The set.
    pub set: &'a SetInfo,
    /// Policy and context.
    pub meta: &'a Meta,
    /// The `id` of the indicator, if it has one.
    pub id: Option<&'a str>,
}

/// Every loaded set and one merged index: immutable, swapped atomically.
#[derive(Debug, Default)]
pub struct RuleSet {
    sets: Vec<Arc<CompiledSet>>,
}

impl RuleSet {
    /// Merges the sets into one index.
    pub fn new(_sets: Vec<Arc<CompiledSet>>) -> RuleSet {
        todo!()
    }

    /// The sets, in the order given.
    pub fn sets(&self) -> &[Arc<CompiledSet>] {
        &self.sets
    }

    /// SHA-256 over the digests of the sets, hexadecimal: `roje.ruleset_digest`.
    pub fn digest(&self) -> &str {
        todo!()
    }

    /// Every value that covers the observable.
    pub fn lookup(&self, _message: &[u8], _observable: &Observable, _each: &mut impl FnMut(ValueId)) {
        todo!()
    }

    /// What an entry says.
    pub fn contributor(&self, _entry: EntryRef) -> Contributor<'_> {
        todo!()
    }

    /// The normal form of a value, as text.
    pub fn value(&self, _id: ValueId) -> String {
        todo!()
    }

    /// Resident bytes of the index and the sets, estimated.
    pub fn memory(&self) -> usize {
        todo!()
    }
}

/// The matching function and its reused memory; one for each worker.
#[derive(Debug, Default)]
pub struct Matcher {}

impl Matcher {
    /// Calls `each` once for every indicator value found in a syslog message.
    ///
    /// `reference` serves the decoding that a hit may need (sides, separate host and path).
    pub fn message(
        &mut self,
        _rules: &RuleSet,
        _message: &[u8],
        _validity: Validity,
        _reference: &Reference,
        _each: &mut impl FnMut(Match),
    ) {
        todo!()
    }

    /// Calls `each` once for every indicator value found among the addresses of a flow.
    pub fn flow(
        &mut self,
        _rules: &RuleSet,
        _flow: &Flow,
        _validity: Validity,
        _each: &mut impl FnMut(Match),
    ) {
        todo!()
    }
}
