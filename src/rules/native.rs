//! The native format: `schema: 1`.
//!
//! [`read`] walks the tree of a file once and yields a [`Draft`]: every row checked and in normal
//! form, nothing built yet. It reports all mistakes. An unknown key or type, or a bad value outside
//! a row, is fatal to the set; a bad value inside a row refuses that row.

use super::bulk::ListRow;
use super::guard;
use super::problems::Problems;
use super::taxonomy::RSIT;
use super::yaml::{self, Entry, Node, Tree, Value};
use super::{Refused, TestLine};
use crate::detect::indicator::{
    Kind, MatchMode, Meta, Mode, Normal, Severity, Throttle, Tlp, ValueError, normalise,
};
use crate::diagnostic::{Diagnostic, Level, Source, nearest};
use crate::input::Nanos;
use hashbrown::HashMap;
use std::ops::Range;
use std::path::Path;

const TOP_KEYS: &[&str] =
    &["schema", "set", "source", "mode", "reason", "defaults", "indicators", "bulk", "tests"];
const SOURCE_KEYS: &[&str] = &["producer", "feed", "reference"];
const TEST_KEYS: &[&str] = &["hit", "miss"];
const THROTTLE_KEYS: &[&str] = &["by", "window"];
const POLICY_KEYS: &[&str] = &[
    "tlp",
    "severity",
    "confidence",
    "valid_from",
    "valid_until",
    "rsit",
    "attack",
    "status",
    "throttle",
    "where",
    "port",
    "match",
    "nocase",
    "description",
    "reference",
    "revoked",
    "force",
];
const ROW_KEYS: &[&str] = &["id", "type", "value"];
const BULK_KEYS: &[&str] = &["file", "type", "column"];

/// A set's name is a metric label and stands in every alert.
const LONGEST_NAME: usize = 128;
/// Texts that alerts carry; long enough for a paragraph.
const LONGEST_TEXT: usize = 4096;
/// Lists of a row: techniques, ports.
const LONGEST_LIST: usize = 64;
/// Summaries must come while somebody still cares.
const LONGEST_WINDOW: u32 = 30 * 86_400;
/// CSV columns; a larger number is a mistake.
const LAST_COLUMN: u32 = 1024;

/// A set as its file describes it, checked but not built.
#[derive(Debug)]
pub struct Draft {
    /// Its name; empty if it has none, which is fatal.
    pub name: String,
    /// Where the name stands.
    pub name_at: Range<usize>,
    /// Who made it.
    pub producer: Option<String>,
    /// Which feed of the producer.
    pub feed: Option<String>,
    /// Where it is described.
    pub reference: Option<String>,
    /// What its entries do.
    pub mode: Mode,
    /// The marking of `defaults`.
    pub tlp: Tlp,
    /// The policies that rows and lists name by index.
    pub metas: Metas,
    /// The rows that stand.
    pub rows: Vec<Row>,
    /// Lists in other files.
    pub bulk: Vec<Bulk>,
    /// Lines that must hit or miss.
    pub tests: Vec<TestLine>,
    /// Rows refused.
    pub refused: Tally,
    /// Rows read, refused or not.
    pub total: usize,
    /// The set must not be used.
    pub fatal: bool,
}

/// One row of `indicators`.
#[derive(Debug)]
pub struct Row {
    /// Its value in normal form.
    pub value: Normal,
    /// Its policy.
    pub meta: u32,
    /// Its `id`.
    pub id: Option<Box<str>>,
    /// Bytes of the value in the file.
    pub at: Range<u32>,
}

/// One item of `bulk`.
#[derive(Debug)]
pub struct Bulk {
    /// The file, relative to the set.
    pub file: String,
    /// Where its name stands.
    pub at: Range<usize>,
    /// What its values are.
    pub kind: Kind,
    /// The CSV column, from 1; none for a list of whole lines.
    pub column: Option<u32>,
    /// The policy of its rows.
    pub meta: u32,
    /// Guards are off.
    pub forced: bool,
}

/// Interned policies.
#[derive(Debug, Default)]
pub struct Metas {
    /// The policies, by index.
    pub list: Vec<Meta>,
    index: HashMap<Meta, u32>,
}

impl Metas {
    /// The index of a policy.
    pub fn intern(&mut self, meta: Meta) -> u32 {
        if let Some(&id) = self.index.get(&meta) {
            return id;
        }
        let id = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(meta.clone());
        self.index.insert(meta, id);
        id
    }
}

/// Refused rows by reason, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    list: Vec<Refused>,
    /// Rows refused in all.
    pub total: usize,
}

impl Tally {
    /// Counts a row; `first` is asked for the first of each reason only.
    pub fn add(&mut self, reason: &str, first: impl FnOnce() -> String) {
        self.total += 1;
        match self.list.iter_mut().find(|refused| refused.reason == reason) {
            Some(refused) => refused.count += 1,
            None => self.list.push(Refused { reason: reason.to_owned(), count: 1, first: first() }),
        }
    }

    /// The reasons with their counts.
    pub fn into_list(self) -> Vec<Refused> {
        self.list
    }
}

/// Is this a native set, or meant to be one?
pub fn looks_native(tree: &Tree) -> bool {
    let keys = ["schema", "set", "indicators", "bulk"];
    top(tree).iter().any(|entry| keys.contains(&&*entry.key))
}

/// The format that a YAML file seems to have, if it is one that a later version reads.
pub fn looks_foreign(tree: &Tree) -> Option<&'static str> {
    let has = |key: &str| top(tree).iter().any(|entry| &*entry.key == key);
    match () {
        () if has("correlation") && has("title") => Some("Sigma correlation"),
        () if has("title") && (has("detection") || has("logsource")) => Some("Sigma rule"),
        () if has("Event") || has("response") => Some("MISP event"),
        () => None,
    }
}

/// The name that a file gives its set, even if the rest of it is wrong.
pub fn name_of(tree: &Tree) -> Option<&str> {
    let entry = top(tree).iter().find(|entry| &*entry.key == "set")?;
    match &entry.value.value {
        Value::Scalar { text, .. } if is_name(text) => Some(text),
        _ => None,
    }
}

fn top(tree: &Tree) -> &[Entry] {
    match &tree.root {
        Some(Node { value: Value::Map(entries), .. }) => entries,
        _ => &[],
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

/// Checks a tree against the schema.
pub fn read(tree: &Tree, source: &Source, problems: &mut Problems) -> Draft {
    let errors = problems.errors();
    let mut reader = Reader {
        source,
        problems,
        broken: tree.broken,
        row: None,
        draft: Draft {
            name: String::new(),
            name_at: 0..0,
            producer: None,
            feed: None,
            reference: None,
            mode: Mode::Indicators,
            tlp: Meta::default().tlp,
            metas: Metas::default(),
            rows: Vec::new(),
            bulk: Vec::new(),
            tests: Vec::new(),
            refused: Tally::default(),
            total: 0,
            fatal: tree.broken || errors > 0,
        },
        defaults: Policy::default(),
        base: [None; Kind::ALL.len()],
    };
    match &tree.root {
        Some(Node { value: Value::Map(entries), .. }) => reader.top(entries),
        Some(node) if !tree.broken => {
            let diagnostic = reader.error(
                "wrong-kind",
                node.range(),
                format!("a rule set is a mapping, this is {}", node.describe()),
            );
            reader.refuse("wrong kind of value", diagnostic);
        }
        _ => {}
    }
    reader.draft
}

/// What a row, a list or `defaults` says beside its value.
#[derive(Clone, Debug, Default)]
struct Policy {
    meta: Meta,
    forced: bool,
}

struct Reader<'a> {
    source: &'a Source,
    problems: &'a mut Problems,
    broken: bool,
    /// Inside a row: why it is refused, if it is.
    row: Option<Option<(&'static str, String)>>,
    draft: Draft,
    defaults: Policy,
    /// The policy of rows that say nothing of their own, by kind.
    base: [Option<u32>; Kind::ALL.len()],
}

impl Reader<'_> {
    fn top(&mut self, entries: &[Entry]) {
        self.known_keys(entries, &[TOP_KEYS], "a rule set");
        match find(entries, "schema") {
            Some(entry) => self.schema(&entry.value),
            None => self.missing(entries, "schema", "a rule set begins with `schema: 1`"),
        }
        match find(entries, "set") {
            Some(entry) => self.name(&entry.value),
            None => self.missing(entries, "set", "give the set a unique name: `set: my-list`"),
        }
        if let Some(entry) = find(entries, "source") {
            self.source(&entry.value);
        }
        self.mode(entries);
        if let Some(entry) = find(entries, "defaults")
            && let Some(entries) = self.mapping(&entry.value)
        {
            self.defaults(entries);
        }
        self.draft.tlp = self.defaults.meta.tlp;
        if let Some(entry) = find(entries, "indicators")
            && let Some(items) = self.list(&entry.value)
        {
            self.indicators(items);
        }
        if let Some(entry) = find(entries, "bulk")
            && let Some(items) = self.list(&entry.value)
        {
            for item in items {
                self.bulk(item);
            }
        }
        if let Some(entry) = find(entries, "tests")
            && let Some(entries) = self.mapping(&entry.value)
        {
            self.tests(entries);
        }
        if find(entries, "indicators").is_none() && find(entries, "bulk").is_none() && !self.broken {
            let at = self.draft.name_at.clone();
            let diagnostic =
                Diagnostic::at(Level::Warning, "empty-set", self.source, at, "the set has no indicators")
                    .help("add `indicators:` or `bulk:`");
            self.problems.push(diagnostic, self.source);
        }
    }

    fn schema(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar { text, plain: true } if &**text == "1" => {}
            Value::Scalar { text, plain: true } if text.parse::<u32>().is_ok() => {
                let message = format!("schema {text} is not supported in this version");
                let diagnostic = self.error("not-supported", node.range(), message).label("expected 1");
                self.refuse("schema not supported in this version", diagnostic);
            }
            Value::Invalid => {}
            _ => self.wrong_kind(node, "the number 1"),
        }
    }

    fn name(&mut self, node: &Node) {
        let Some(name) = self.text(node, LONGEST_NAME) else { return };
        if is_name(name) {
            self.draft.name = name.to_owned();
            self.draft.name_at = node.range();
        } else {
            let diagnostic = self.error("bad-value", node.range(), "this is not a name for a set".to_owned());
            self.refuse("bad set name", diagnostic.label("expected printable text"));
        }
    }

    fn source(&mut self, node: &Node) {
        let Some(entries) = self.mapping(node) else { return };
        self.known_keys(entries, &[SOURCE_KEYS], "`source`");
        for entry in entries {
            let text = match &*entry.key {
                "producer" | "feed" | "reference" => self.text(&entry.value, LONGEST_TEXT).map(str::to_owned),
                _ => continue,
            };
            match &*entry.key {
                "producer" => self.draft.producer = text,
                "feed" => self.draft.feed = text,
                _ => self.draft.reference = text,
            }
        }
    }

    fn mode(&mut self, entries: &[Entry]) {
        let reason = find(entries, "reason");
        let text = reason.and_then(|entry| self.text(&entry.value, LONGEST_TEXT).map(str::to_owned));
        let Some(mode) = find(entries, "mode") else {
            if let Some(entry) = reason {
                let message = "`reason` stands without `mode`".to_owned();
                let diagnostic = self.error("bad-value", entry.key_range(), message);
                let help = "only allow sets have a reason: add `mode: block` or `mode: inform`";
                self.refuse("reason without mode", diagnostic.help(help));
            }
            return;
        };
        let modes = [("block", Mode::Block), ("inform", Mode::Inform)];
        if let Some(mode) = self.choice(&mode.value, &modes, "mode") {
            self.draft.mode = mode;
        }
        if reason.is_none() && !self.broken {
            let message = "an allow set needs a `reason`".to_owned();
            let diagnostic = self.error("missing-key", mode.key_range(), message);
            self.refuse("allow set without reason", diagnostic.help("say why: `reason: 'public resolvers'`"));
        }
        self.defaults.meta.reason = text;
    }

    fn defaults(&mut self, entries: &[Entry]) {
        for entry in entries {
            if ROW_KEYS.contains(&&*entry.key) {
                let message = format!("`{}` cannot have a default", entry.key);
                let diagnostic = self.error("unknown-key", entry.key_range(), message);
                self.refuse("unknown key", diagnostic.help("write it in each row"));
            }
        }
        self.known_keys(entries, &[POLICY_KEYS, ROW_KEYS], "`defaults`");
        let mut policy = self.defaults.clone();
        for entry in entries {
            self.policy_key(entry, None, &mut policy);
        }
        self.validity(entries, &policy.meta);
        self.defaults = policy;
    }

    fn indicators(&mut self, items: &[Node]) {
        self.draft.rows.reserve(items.len());
        let mut ids = HashMap::new();
        let mut revoked: HashMap<Box<str>, Range<usize>> = HashMap::new();
        for item in items {
            self.draft.total += 1;
            self.row = Some(None);
            let row = self.row(item, &mut ids, &mut revoked);
            match self.row.take().flatten() {
                Some((reason, first)) => self.draft.refused.add(reason, || first),
                None => self.draft.rows.extend(row),
            }
        }
        self.revoke(&revoked);
    }

    fn row(
        &mut self,
        item: &Node,
        ids: &mut HashMap<Box<str>, Range<usize>>,
        revoked: &mut HashMap<Box<str>, Range<usize>>,
    ) -> Option<Row> {
        let entries = self.mapping(item)?;
        self.known_keys(entries, &[ROW_KEYS, POLICY_KEYS], "an indicator");
        let kind = find(entries, "type").and_then(|entry| self.kind(&entry.value));
        let id = find(entries, "id").and_then(|entry| Some((entry, self.text(&entry.value, 256)?)));
        let value = find(entries, "value");
        let plain = entries.iter().all(|entry| ROW_KEYS.contains(&&*entry.key));
        let (meta, forced) = match kind {
            Some(kind) if plain => (self.base(kind), self.defaults.forced),
            _ => {
                let mut policy = self.defaults.clone();
                if let Some(kind) = kind {
                    policy.meta = for_kind(policy.meta, kind);
                }
                for entry in entries {
                    self.policy_key(entry, kind, &mut policy);
                }
                self.validity(entries, &policy.meta);
                if policy.meta.revoked && value.is_none() {
                    return self.tombstone(item, id, revoked);
                }
                (self.draft.metas.intern(policy.meta), policy.forced)
            }
        };
        if let Some((entry, id)) = id {
            self.unique(entry, id, ids);
        }
        if find(entries, "type").is_none() {
            self.missing_in_row(item, "type", "say what the value is, such as `type: domain`");
        }
        let Some(value) = value else {
            self.missing_in_row(item, "value", "a row needs a value, or `revoked: true`");
            return None;
        };
        let value = self.value(&value.value, kind?, meta, forced)?;
        Some(Row {
            value,
            meta,
            id: id.map(|(_, id)| id.into()),
            at: find(entries, "value")?.value.span.clone(),
        })
    }

    /// `{id, revoked: true}`: revokes the row of that id, which may be gone already.
    fn tombstone(
        &mut self,
        item: &Node,
        id: Option<(&Entry, &str)>,
        revoked: &mut HashMap<Box<str>, Range<usize>>,
    ) -> Option<Row> {
        let Some((entry, id)) = id else {
            self.missing_in_row(item, "id", "name the row that is revoked");
            return None;
        };
        if let Some(first) = revoked.get(id) {
            let (line, _) = self.source.position(first.start);
            let message = format!("`{id}` is revoked already, in line {line}");
            let at = entry.value.range();
            let diagnostic = Diagnostic::at(Level::Warning, "revoked-twice", self.source, at, message);
            self.problems.push(diagnostic.help("remove one of the rows"), self.source);
        } else {
            revoked.insert(id.into(), entry.value.range());
        }
        None
    }

    fn revoke(&mut self, revoked: &HashMap<Box<str>, Range<usize>>) {
        if revoked.is_empty() {
            return;
        }
        let Draft { rows, metas, .. } = &mut self.draft;
        for row in rows {
            if row.id.as_ref().is_some_and(|id| revoked.contains_key(id))
                && let Some(meta) = metas.list.get(row.meta as usize)
            {
                row.meta = metas.intern(Meta { revoked: true, ..meta.clone() });
            }
        }
    }

    fn unique(&mut self, entry: &Entry, id: &str, ids: &mut HashMap<Box<str>, Range<usize>>) {
        if let Some(first) = ids.get(id) {
            let (line, column) = self.source.position(first.start);
            let message = format!("id `{id}` is taken by line {line}, column {column}");
            let diagnostic = self.error("duplicate-id", entry.value.range(), message);
            self.refuse("duplicate id", diagnostic.help("ids are unique in a set"));
        } else {
            ids.insert(id.into(), entry.value.range());
        }
    }

    fn value(&mut self, node: &Node, kind: Kind, meta: u32, forced: bool) -> Option<Normal> {
        let text = self.text(node, usize::MAX)?;
        let nocase = self.draft.metas.list.get(meta as usize).is_some_and(|meta| meta.nocase);
        match check_value(kind, text, nocase, forced) {
            Ok(value) => Some(value),
            Err(fault) => {
                let diagnostic = fault.diagnose(self.source, node.range());
                self.refuse(fault.reason, diagnostic);
                None
            }
        }
    }

    fn bulk(&mut self, item: &Node) {
        let Some(entries) = self.mapping(item) else { return };
        self.known_keys(entries, &[BULK_KEYS, POLICY_KEYS], "a bulk list");
        let file = match find(entries, "file") {
            Some(entry) => {
                self.text(&entry.value, LONGEST_TEXT).map(|text| (text.to_owned(), entry.value.range()))
            }
            None => {
                self.missing(entries, "file", "name the list: `file: hashes.csv`");
                None
            }
        };
        let kind = match find(entries, "type") {
            Some(entry) => self.kind(&entry.value),
            None => {
                self.missing(entries, "type", "say what the values are, such as `type: sha256`");
                None
            }
        };
        let column =
            find(entries, "column").and_then(|entry| self.number(&entry.value, 1..=LAST_COLUMN, "a column"));
        let mut policy = self.defaults.clone();
        if let Some(kind) = kind {
            policy.meta = for_kind(policy.meta, kind);
        }
        for entry in entries {
            self.policy_key(entry, kind, &mut policy);
        }
        self.validity(entries, &policy.meta);
        if let (Some((file, at)), Some(kind)) = (file, kind) {
            let meta = self.draft.metas.intern(policy.meta);
            self.draft.bulk.push(Bulk { file, at, kind, column, meta, forced: policy.forced });
        }
    }

    fn tests(&mut self, entries: &[Entry]) {
        /// Lines beyond this belong into files for `scan`.
        const MOST: usize = 10_000;
        self.known_keys(entries, &[TEST_KEYS], "`tests`");
        for entry in entries.iter().filter(|entry| TEST_KEYS.contains(&&*entry.key)) {
            let Some(items) = self.list(&entry.value) else { continue };
            if items.len() > MOST {
                let diagnostic =
                    self.error("too-large", entry.key_range(), format!("more than {MOST} test lines"));
                self.refuse("too many tests", diagnostic);
                continue;
            }
            for item in items {
                let Some(text) = self.text(item, 65_536) else { continue };
                let (line, column) = self.source.position(item.range().start);
                self.draft.tests.push(TestLine {
                    hit: &*entry.key == "hit",
                    text: text.to_owned(),
                    line,
                    column,
                });
            }
        }
    }

    /// Reads a key that rows, lists and defaults share; others are left alone.
    fn policy_key(&mut self, entry: &Entry, kind: Option<Kind>, policy: &mut Policy) {
        let node = &entry.value;
        let meta = &mut policy.meta;
        match &*entry.key {
            "tlp" => set(&mut meta.tlp, self.choice(node, &Tlp::ALL.map(|tlp| (tlp.name(), tlp)), "marking")),
            "severity" => {
                let names = Severity::ALL.map(|severity| (severity.name(), severity));
                set(&mut meta.severity, self.choice(node, &names, "severity"));
            }
            "confidence" => {
                if let Some(confidence) = self.number(node, 0..=100, "a confidence") {
                    meta.confidence = u8::try_from(confidence).ok();
                }
            }
            "valid_from" => meta.valid_from = self.time(node).or(meta.valid_from),
            "valid_until" => meta.valid_until = self.time(node).or(meta.valid_until),
            "rsit" => {
                let names: Vec<(&str, &str)> = RSIT.iter().map(|name| (*name, *name)).collect();
                if let Some(class) = self.choice(node, &names, "class of the ENISA reference taxonomy") {
                    meta.rsit = Some(class.to_owned());
                }
            }
            "attack" => set(&mut meta.attack, self.attack(node)),
            "status" => {
                set(&mut meta.test, self.choice(node, &[("stable", false), ("test", true)], "status"));
            }
            "throttle" => set(&mut meta.throttle, self.throttle(node)),
            "where" => {
                if self.only_for(entry, kind, &[Kind::Ip])
                    && let Some(sides) = self.choices(node, &[("source", 0), ("destination", 1)], "side")
                {
                    meta.where_source = sides.contains(&0);
                    meta.where_destination = sides.contains(&1);
                }
            }
            "port" => {
                if self.only_for(entry, kind, &[Kind::Ip]) {
                    set(&mut meta.ports, self.ports(node));
                }
            }
            "match" => {
                if self.only_for(entry, kind, &[Kind::Domain, Kind::Text]) {
                    let exact = ("exact", MatchMode::Exact);
                    let (word, substring) =
                        (("word", MatchMode::Default), ("substring", MatchMode::Substring));
                    let known = match kind {
                        Some(Kind::Domain) => vec![exact],
                        Some(_) => vec![word, substring],
                        None => vec![exact, word, substring],
                    };
                    set(&mut meta.matching, self.choice(node, &known, "comparison"));
                }
            }
            "nocase" => {
                if self.only_for(entry, kind, &[Kind::Text]) {
                    set(&mut meta.nocase, self.flag(node));
                }
            }
            "description" => meta.description = self.text(node, LONGEST_TEXT).map(str::to_owned),
            "reference" => meta.reference = self.text(node, LONGEST_TEXT).map(str::to_owned),
            "revoked" => set(&mut meta.revoked, self.flag(node)),
            "force" => policy.forced = self.text(node, LONGEST_TEXT).is_some(),
            _ => {}
        }
    }

    fn only_for(&mut self, entry: &Entry, kind: Option<Kind>, kinds: &[Kind]) -> bool {
        let Some(kind) = kind.filter(|kind| !kinds.contains(kind)) else { return true };
        let names: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
        let message = format!("`{}` has no meaning for type `{}`", entry.key, kind.name());
        let diagnostic = self.error("wrong-type", entry.key_range(), message);
        self.refuse(
            "key without meaning for the type",
            diagnostic.label(format!("only for {}", names.join(" and "))),
        );
        false
    }

    fn validity(&mut self, entries: &[Entry], meta: &Meta) {
        let (Some(from), Some(until)) = (meta.valid_from, meta.valid_until) else { return };
        if from < until {
            return;
        }
        // Rows that inherit both are told once, at the defaults.
        let Some(entry) = find(entries, "valid_until").or(find(entries, "valid_from")) else { return };
        let message = "`valid_until` is not after `valid_from`: this can never fire".to_owned();
        let diagnostic = self.error("bad-value", entry.value.range(), message);
        self.refuse("never valid", diagnostic);
    }

    fn kind(&mut self, node: &Node) -> Option<Kind> {
        let text = self.text(node, LONGEST_TEXT)?;
        let kind = Kind::from_name(text);
        if kind.is_none() {
            let names = Kind::ALL.map(Kind::name);
            let diagnostic = self.error("unknown-type", node.range(), format!("unknown type `{text}`"));
            let diagnostic = diagnostic.label(format!("expected one of {}", names.join(" ")));
            self.fatal("unknown type", suggest(diagnostic, nearest(text, names)));
        }
        kind
    }

    fn time(&mut self, node: &Node) -> Option<Nanos> {
        let text = self.text(node, LONGEST_TEXT)?;
        let Ok(time) = text.parse::<jiff::Timestamp>() else {
            let diagnostic = self.error("bad-value", node.range(), format!("`{text}` is not a time"));
            let example = match text.parse::<jiff::civil::Date>() {
                Ok(date) => format!("{date}T00:00:00Z"),
                Err(_) => "2026-08-20T00:00:00Z".to_owned(),
            };
            self.refuse(
                "bad time",
                diagnostic.label("expected RFC 3339 with a zone").help(format!("write `{example}`")),
            );
            return None;
        };
        // The year 9999 means "for ever"; nanoseconds end in 2262.
        let nanos = time.as_nanosecond();
        Some(Nanos::try_from(nanos).unwrap_or(if nanos < 0 { Nanos::MIN } else { Nanos::MAX }))
    }

    fn attack(&mut self, node: &Node) -> Option<Vec<String>> {
        let mut techniques = Vec::new();
        for item in self.short_list(node)? {
            let Some(text) = self.text(item, LONGEST_TEXT) else { continue };
            if is_technique(text) {
                techniques.push(text.to_owned());
            } else {
                let diagnostic =
                    self.error("bad-value", item.range(), format!("`{text}` is not an ATT&CK technique"));
                self.refuse("bad ATT&CK id", diagnostic.label("expected such as T1071 or T1071.004"));
            }
        }
        Some(techniques)
    }

    fn ports(&mut self, node: &Node) -> Option<Vec<u16>> {
        let items = self.short_list(node)?;
        let mut ports: Vec<u16> = Vec::with_capacity(items.len());
        for item in items {
            if let Some(port) = self.number(item, 1..=65_535, "a port") {
                ports.extend(u16::try_from(port));
            }
        }
        ports.sort_unstable();
        ports.dedup();
        Some(ports)
    }

    fn throttle(&mut self, node: &Node) -> Option<Throttle> {
        match &node.value {
            Value::Scalar { text, .. } if &**text == "none" => return Some(Throttle::None),
            Value::Map(_) | Value::Invalid => {}
            _ => {
                self.wrong_kind(node, "`none` or `{by: [indicator, source], window: 1h}`");
                return None;
            }
        }
        let entries = self.mapping(node)?;
        self.known_keys(entries, &[THROTTLE_KEYS], "`throttle`");
        let (mut by_source, mut seconds) = (true, 3600);
        if let Some(entry) = find(entries, "by") {
            let by = self.choices(&entry.value, &[("indicator", 0), ("source", 1)], "key")?;
            if !by.contains(&0) {
                let message = "`by` does not name `indicator`".to_owned();
                let diagnostic = self.error("bad-value", entry.value.range(), message);
                self.refuse("bad throttle", diagnostic.label("expected [indicator] or [indicator, source]"));
            }
            by_source = by.contains(&1);
        }
        if let Some(entry) = find(entries, "window") {
            let text = self.text(&entry.value, LONGEST_TEXT)?;
            match duration(text).filter(|seconds| (1..=LONGEST_WINDOW).contains(seconds)) {
                Some(window) => seconds = window,
                None => {
                    let message = format!("`{text}` is not a window");
                    let diagnostic = self.error("bad-value", entry.value.range(), message);
                    self.refuse("bad throttle", diagnostic.label("expected 1s to 30d, such as 30s, 10m, 1h"));
                }
            }
        }
        Some(Throttle::Window { by_source, seconds })
    }

    // ---- what every value goes through

    /// Reports keys that are none; fatal to the set, because what they meant is unknown.
    fn known_keys(&mut self, entries: &[Entry], known: &[&[&'static str]], of: &str) {
        for entry in entries {
            if known.iter().any(|keys| keys.contains(&&*entry.key)) {
                continue;
            }
            let keys = || known.iter().flat_map(|keys| keys.iter().copied());
            let mut diagnostic =
                self.error("unknown-key", entry.key_range(), format!("unknown key `{}` in {of}", entry.key));
            if keys().count() <= TOP_KEYS.len() {
                let names: Vec<&str> = keys().collect();
                diagnostic = diagnostic.label(format!("expected one of {}", names.join(" ")));
            }
            self.fatal("unknown key", suggest(diagnostic, nearest(&entry.key, keys())));
        }
    }

    fn mapping<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => return Some(entries),
            Value::Invalid => self.spoil(node),
            _ => self.wrong_kind(node, "a mapping"),
        }
        None
    }

    fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => return Some(items),
            Value::Scalar { text, plain: true } if self.broken && yaml::is_null(text) => {}
            Value::Invalid => self.spoil(node),
            _ => self.wrong_kind(node, "a list"),
        }
        None
    }

    fn short_list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        if let Value::Scalar { text, .. } = &node.value
            && !yaml::is_null(text)
        {
            let diagnostic =
                self.error("wrong-kind", node.range(), "expected a list, found a single value".to_owned());
            self.refuse("wrong kind of value", diagnostic.help(format!("write `[{text}]`")));
            return None;
        }
        let items = self.list(node)?;
        if items.is_empty() || items.len() > LONGEST_LIST {
            let message = format!("expected 1 to {LONGEST_LIST} values, found {}", items.len());
            let diagnostic = self.error("bad-value", node.range(), message);
            self.refuse("bad length of a list", diagnostic);
            return None;
        }
        Some(items)
    }

    fn text<'n>(&mut self, node: &'n Node, longest: usize) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain } if !text.is_empty() && !(*plain && is_missing(text)) => {
                if text.len() <= longest {
                    return Some(text);
                }
                let diagnostic =
                    self.error("bad-value", node.range(), format!("longer than {longest} bytes"));
                self.refuse("value too long", diagnostic);
            }
            Value::Invalid => self.spoil(node),
            Value::Scalar { .. } if self.broken => self.spoil(node),
            _ => self.wrong_kind(node, "text"),
        }
        None
    }

    fn number(&mut self, node: &Node, range: std::ops::RangeInclusive<u32>, what: &str) -> Option<u32> {
        let (least, most) = (range.start(), range.end());
        match &node.value {
            Value::Scalar { text, plain } => {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                if let (true, true, Ok(number)) = (*plain, digits, text.parse::<u32>())
                    && range.contains(&number)
                {
                    return Some(number);
                }
                let message = format!("`{text}` is not {what}");
                let diagnostic = self.error("bad-value", node.range(), message);
                let diagnostic = diagnostic.label(format!("expected a number from {least} to {most}"));
                let quoted = !plain && digits && !text.is_empty();
                let diagnostic =
                    if quoted { diagnostic.help(format!("write {text} without quotes")) } else { diagnostic };
                self.refuse("bad number", diagnostic);
            }
            Value::Invalid => self.spoil(node),
            _ => self.wrong_kind(node, "a number"),
        }
        None
    }

    fn flag(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Scalar { text, plain: true } if &**text == "true" => return Some(true),
            Value::Scalar { text, plain: true } if &**text == "false" => return Some(false),
            Value::Invalid => self.spoil(node),
            _ => self.wrong_kind(node, "true or false"),
        }
        None
    }

    fn choice<T: Clone>(&mut self, node: &Node, known: &[(&'static str, T)], what: &str) -> Option<T> {
        let text = self.text(node, LONGEST_TEXT)?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return Some(value.clone());
        }
        let mut diagnostic = self.error("bad-value", node.range(), format!("`{text}` is not a {what}"));
        if known.len() <= 8 {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            diagnostic = diagnostic.label(format!("expected {}", alternatives(&names)));
        }
        let names = known.iter().map(|(name, _)| *name);
        self.refuse("unknown name", suggest(diagnostic, nearest(text, names)));
        None
    }

    fn choices<T: Clone>(&mut self, node: &Node, known: &[(&'static str, T)], what: &str) -> Option<Vec<T>> {
        let mut chosen = Vec::new();
        for item in self.short_list(node)? {
            chosen.extend(self.choice(item, known, what));
        }
        Some(chosen)
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str) {
        // Behind a line that could not be read, what is missing may have stood on it.
        if self.broken && node.describe() == "nothing" {
            return self.spoil(node);
        }
        let message = format!("expected {expected}, found {}", node.describe());
        let at = match &node.value {
            // A whole block would be underlined; its first character is place enough.
            Value::List(_) | Value::Map(_) => node.range().start..node.range().start + 1,
            _ => node.range(),
        };
        let diagnostic = self.error("wrong-kind", at, message);
        self.refuse("wrong kind of value", diagnostic);
    }

    fn missing(&mut self, entries: &[Entry], key: &str, help: &str) {
        let at = entries.first().map_or(0..0, Entry::key_range);
        if self.broken {
            return;
        }
        let diagnostic = self.error("missing-key", at, format!("`{key}` is missing"));
        self.refuse("missing key", diagnostic.help(help));
    }

    fn missing_in_row(&mut self, item: &Node, key: &str, help: &str) {
        if self.broken {
            return self.spoil(item);
        }
        let at = item.range().start..item.range().start + 1;
        let diagnostic = self.error("missing-key", at, format!("`{key}` is missing"));
        self.refuse("missing key", diagnostic.help(help));
    }

    fn error(&self, code: &'static str, at: Range<usize>, message: String) -> Diagnostic {
        Diagnostic::at(Level::Error, code, self.source, at, message)
    }

    /// Refuses the row that is being read, or the set outside of rows.
    fn refuse(&mut self, reason: &'static str, diagnostic: Diagnostic) {
        match &mut self.row {
            Some(refused) => {
                refused.get_or_insert_with(|| (reason, diagnostic.place()));
            }
            None => self.draft.fatal = true,
        }
        self.problems.push(diagnostic, self.source);
    }

    fn fatal(&mut self, reason: &'static str, diagnostic: Diagnostic) {
        self.draft.fatal = true;
        self.refuse(reason, diagnostic);
    }

    /// Refuses without a word what was reported before.
    fn spoil(&mut self, node: &Node) {
        if let Some(refused) = &mut self.row {
            let (line, column) = self.source.position(node.range().start);
            let place = format!("{}:{line}:{column}", self.source.path.display());
            refused.get_or_insert(("not readable", place));
        }
    }

    fn base(&mut self, kind: Kind) -> u32 {
        if let Some(meta) = self.base[kind as usize] {
            return meta;
        }
        let meta = self.draft.metas.intern(for_kind(self.defaults.meta.clone(), kind));
        self.base[kind as usize] = Some(meta);
        meta
    }
}

/// Why a value cannot be an indicator.
#[derive(Debug)]
pub struct Fault {
    /// Groups rows.
    pub reason: &'static str,
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Fault {
    /// A line of a list that holds no value.
    pub fn unreadable(reason: &'static str) -> Fault {
        Fault { reason, code: "bad-value", message: reason.to_owned(), help: None }
    }

    /// The diagnostic at a row of a list.
    pub fn in_list(&self, path: &Path, row: &ListRow<'_>) -> Diagnostic {
        let mut diagnostic = Diagnostic::whole(Level::Error, self.code, path, self.message.clone());
        (diagnostic.line, diagnostic.column) = (row.line, row.column());
        diagnostic.span = row.offset + row.span.start..row.offset + row.span.end;
        diagnostic.help.clone_from(&self.help);
        diagnostic
    }

    /// The diagnostic at the value.
    pub fn diagnose(&self, source: &Source, at: Range<usize>) -> Diagnostic {
        let diagnostic = Diagnostic::at(Level::Error, self.code, source, at, self.message.clone());
        Diagnostic { help: self.help.clone(), ..diagnostic }
    }
}

/// Brings a value into normal form and asks the guards.
pub fn check_value(kind: Kind, written: &str, nocase: bool, forced: bool) -> Result<Normal, Fault> {
    let value = normalise(kind, written, nocase).map_err(|error| {
        let reason = match &error {
            ValueError::Empty => "empty value",
            ValueError::Address => "not an address or prefix",
            ValueError::HostBits(_) => "host bits are set",
            ValueError::Domain(_) => "not a domain name",
            ValueError::Url(_) => "not a URL",
            ValueError::Email => "not an e-mail address",
            ValueError::Hash { .. } => "not a hash of this type",
            ValueError::TooLong(_) => "value too long",
        };
        let help = match &error {
            ValueError::HostBits(prefix) => Some(format!("write `{prefix}`")),
            ValueError::Empty => None,
            _ => meant(written)
                .filter(|meant| *meant != kind)
                .map(|kind| format!("is it `type: {}`?", kind.name())),
        };
        Fault { reason, code: "bad-value", message: error.to_string(), help }
    })?;
    if !forced && let Some(reason) = guard::refusal(&value) {
        return Err(Fault {
            reason,
            code: "guard",
            message: format!("{reason}: it would match far too much"),
            help: Some("if it is meant, add `force: 'reason'` to the row".to_owned()),
        });
    }
    Ok(value)
}

/// The kind that a value has by its shape.
fn meant(written: &str) -> Option<Kind> {
    let hashes = [Kind::Md5, Kind::Sha1, Kind::Sha256, Kind::Sha512];
    let shapes = hashes.into_iter().chain([Kind::Ip, Kind::Email]);
    let url =
        || (written.contains("://") && normalise(Kind::Url, written, true).is_ok()).then_some(Kind::Url);
    let domain = || normalise(Kind::Domain, written, true).is_ok().then_some(Kind::Domain);
    shapes.into_iter().find(|kind| normalise(*kind, written, true).is_ok()).or_else(url).or_else(domain)
}

/// Drops what the defaults say for other types.
fn for_kind(meta: Meta, kind: Kind) -> Meta {
    let plain = Meta::default();
    let ip = kind == Kind::Ip;
    let matching = match (kind, meta.matching) {
        (Kind::Domain, MatchMode::Exact) | (Kind::Text, MatchMode::Substring) => meta.matching,
        _ => plain.matching,
    };
    Meta {
        where_source: ip && meta.where_source,
        where_destination: ip && meta.where_destination,
        ports: if ip { meta.ports } else { plain.ports },
        matching,
        nocase: if kind == Kind::Text { meta.nocase } else { plain.nocase },
        ..meta
    }
}

fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| &*entry.key == key)
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn suggest(diagnostic: Diagnostic, nearest: Option<&str>) -> Diagnostic {
    match nearest {
        Some(name) => diagnostic.help(format!("did you mean `{name}`?")),
        None => diagnostic,
    }
}

/// `a`, `a or b`, `a, b or c`
fn alternatives(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// An unquoted `null` may be a file name, but `~` and nothing are not.
fn is_missing(plain: &str) -> bool {
    matches!(plain, "" | "~")
}

fn is_technique(text: &str) -> bool {
    let digits =
        |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = text.strip_prefix('T') else { return false };
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

/// Seconds of `30s`, `10m`, `1h`, `7d`.
fn duration(text: &str) -> Option<u32> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u32>().ok()?.checked_mul(unit)
}
