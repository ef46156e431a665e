//! Finds shared indicators in messages and flow records.
//!
//! [`extract`] turns bytes into [`Observable`]s, whether or not anyone asked for them;
//! [`RuleSet::lookup`] is their first consumer. [`Matcher`] joins both with the text automaton and
//! the judgement of validity and allow sets; `run`, `scan`, `test` and `explain` all call it.

mod address;
mod blocks;
pub mod hash;
mod host;
pub mod indicator;
mod lexis;
mod matcher;
mod ruleset;
mod sieve;
mod table;
mod text;
mod token;
mod url;

#[cfg(any(test, feature = "oracle"))]
#[doc(hidden)]
pub mod oracle;

#[doc(hidden)]
pub use blocks::use_portable;
pub use matcher::Matcher;
pub use ruleset::{CompiledSet, Entry, RuleSet, normal};
pub use token::extract;

use crate::decode::Span;
use crate::input::Nanos;
use indicator::{Kind, Meta, SetInfo};
use std::net::IpAddr;

/// A value found in a message, in the normal form of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observable {
    /// What it is; a domain suffix is a domain.
    pub kind: Kind,
    /// Where it stands in the message.
    pub span: Span,
    /// Seeded hash of the kind and the normal form.
    pub hash: u64,
    /// The address itself, for addresses; IPv4-mapped IPv6 is IPv4.
    pub address: Option<IpAddr>,
    /// For domains: the whole host name, not a suffix of it.
    pub whole: bool,
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

impl Suppression {
    /// Every reason.
    pub const ALL: [Suppression; 5] = [
        Suppression::Allowed,
        Suppression::Expired,
        Suppression::NotYetValid,
        Suppression::Revoked,
        Suppression::Test,
    ];

    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Suppression::Allowed => "allowed",
            Suppression::Expired => "expired",
            Suppression::NotYetValid => "not_yet_valid",
            Suppression::Revoked => "revoked",
            Suppression::Test => "test",
        }
    }
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
