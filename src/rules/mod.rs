//! Rule files: read, checked with line and column, compiled to the types of `detect`.
//!
//! A [`Store`] knows where the files lie and yields one [`Generation`] after another. Sets whose
//! files did not change are shared between generations; one that fails keeps its last good
//! version, also across a restart. [`native`] holds the schema, [`bulk`] the lists, [`guard`] what
//! is refused for matching too much, [`watch`] tells when to load again.

pub mod bulk;
pub mod compare;
pub mod csv;
pub mod find;
pub mod foreign;
pub mod guard;
pub mod json;
pub mod last_good;
pub mod load;
pub mod misp;
pub mod native;
pub mod pattern;
pub mod plain;
pub mod problems;
pub mod report;
pub mod schema;
pub mod stix;
pub mod store;
pub mod taxonomy;
pub mod warninglist;
pub mod watch;
pub mod write;
pub mod yaml;

pub use problems::Problem;
pub use report::report;
pub use store::Store;

use crate::detect::indicator::{Kind, Meta, SetInfo, Tlp};
use crate::detect::{CompiledSet, RuleSet};
use crate::diagnostic::{Diagnostic, Source};
use crate::input::Nanos;
use load::Places;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The sets inside the binary: file name and text.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("homeland-justice-c0038.yaml", include_str!("../../rules/homeland-justice-c0038.yaml")),
    ("destructive-commands.yaml", include_str!("../../rules/destructive-commands.yaml")),
    ("web-shells.yaml", include_str!("../../rules/web-shells.yaml")),
    ("public-resolvers.yaml", include_str!("../../rules/public-resolvers.yaml")),
    ("update-hosts.yaml", include_str!("../../rules/update-hosts.yaml")),
];

/// A set in force.
#[derive(Clone, Debug)]
pub struct LoadedSet {
    /// What the matcher sees.
    pub compiled: Arc<CompiledSet>,
    /// What the file says about itself; `digest` covers its lists.
    pub info: SetInfo,
    /// The marking of `defaults`; rows may differ.
    pub tlp: Tlp,
    /// Entries by kind, in the order of [`Kind::ALL`]; none in allow sets.
    pub indicators: [usize; Kind::ALL.len()],
    /// Entries of an allow set.
    pub allow: usize,
    /// Rows refused, by reason.
    pub refused: Vec<Refused>,
    /// Lines that must hit or miss.
    pub tests: Arc<[TestLine]>,
    /// Why this is the last good version and not what the file holds.
    pub stale: Option<String>,
    /// Where the problem is that keeps the file from being used: `file:line:column`.
    pub stale_at: Option<String>,
    /// What else is known of a set that is no native one.
    pub foreign: Option<foreign::Foreign>,
    /// The text it was loaded from; empty for one that is no native one.
    pub source: Arc<Source>,
    name_at: Range<usize>,
    /// Entries by kind, of any set.
    counts: [usize; Kind::ALL.len()],
    markings: Vec<Tlp>,
    places: Arc<Places>,
    bulk: Vec<BulkFile>,
    problems: Arc<Vec<Problem>>,
}

impl LoadedSet {
    /// Entries whose `valid_until` has come.
    pub fn expired(&self, now: Nanos) -> usize {
        let expired = |meta: &&Meta| meta.valid_until.is_some_and(|until| until <= now);
        match self.compiled.metas().iter().find(expired) {
            Some(_) => self.compiled.policies().filter(expired).count(),
            None => 0,
        }
    }

    /// The markings of its entries' policies, least strict first.
    pub fn markings(&self) -> &[Tlp] {
        &self.markings
    }

    /// Entries of any kind, allow entries included.
    pub fn entries(&self) -> usize {
        self.compiled.len()
    }
}

/// Rows refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: usize,
    /// The first: `file:line:column`.
    pub first: String,
}

/// One line of `tests:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestLine {
    /// It must hit; else it must miss.
    pub hit: bool,
    /// The message.
    pub text: String,
    /// Line in the set's file.
    pub line: usize,
    /// Column in the set's file.
    pub column: usize,
}

/// A file that was refused whole and has no last good version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedFile {
    /// The file.
    pub path: PathBuf,
    /// The name of its set, as far as it can be read.
    pub set: Option<String>,
    /// Why; `count` is 1.
    pub refused: Refused,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its policy is another.
    Changed,
}

impl ChangeKind {
    /// The word in a log line.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        }
    }
}

/// One value that differs from the generation before. Values stricter than `clear` must be masked
/// before they are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub kind: Kind,
    /// Its normal form.
    pub value: String,
    /// What became of it.
    pub change: ChangeKind,
    /// Its marking.
    pub tlp: Tlp,
}

/// What differs in one set from the generation before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetChanges {
    /// The set.
    pub set: String,
    /// Values that are new.
    pub added: usize,
    /// Values that are gone.
    pub removed: usize,
    /// Values whose policy is another.
    pub changed: usize,
    /// The first of them by name.
    pub list: Vec<Change>,
}

/// The list of a set, as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkFile {
    /// As the set names it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256.
    pub digest: [u8; 32],
}

/// Everything that was in force from one load to the next.
#[derive(Clone, Debug)]
pub struct Generation {
    /// For the workers.
    pub rules: Arc<RuleSet>,
    /// The sets, parallel to `rules.sets()`.
    pub sets: Vec<Arc<LoadedSet>>,
    /// Files refused whole that leave nothing in force.
    pub refused: Vec<RefusedFile>,
    /// Problems, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    /// The same with what [`Problem::render`] needs.
    pub problems: Vec<Problem>,
    /// Files passed over, and why.
    pub notes: Vec<String>,
    /// What differs from the generation before; sets that do not differ are left out.
    pub changes: Vec<SetChanges>,
}

/// Lower-case hexadecimal.
fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}
