//! The native format: `schema: 1`.
//!
//! [`read`] walks the tree of a file once and yields a [`Draft`]: every row checked and in normal
//! form, nothing built yet. It reports all mistakes. An unknown key or type, or a bad value outside
//! a row, is fatal to the set; a bad value inside a row refuses that row.

use super::bulk::{Column, Header, Layout, ListRow};
use super::guard;
use super::problems::Problems;
use super::taxonomy::RSIT;
use super::yaml::{self, Entry, Node, Tree, Value};
use super::{Refused, TestLine};
use crate::detect::indicator::{
    Keys, Kind, MatchMode, Meta, Mode, Normal, Severity, Throttle, Tlp, ValueError, normalise,
};
use crate::diagnostic::{Diagnostic, Level, Source, nearest, printable};
use crate::input::Nanos;
use hashbrown::HashMap;
use std::ops::Range;
use std::path::Path;

/// Keys of a set.
pub const TOP_KEYS: &[&str] =
    &["schema", "set", "source", "mode", "reason", "defaults", "indicators", "bulk", "tests"];
/// Keys of `source`.
pub const SOURCE_KEYS: &[&str] = &["producer", "feed", "reference"];
/// Keys of `tests`.
pub const TEST_KEYS: &[&str] = &["hit", "miss"];
const THROTTLE_KEYS: &[&str] = &["by", "window"];
/// Keys that rows, lists and `defaults` share.
pub const POLICY_KEYS: &[&str] = &[
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
    "producer",
    "revoked",
    "force",
];
/// Keys of a row alone.
pub const ROW_KEYS: &[&str] = &["id", "type", "value"];
/// Keys of a list alone.
pub const BULK_KEYS: &[&str] = &["file", "type", "column", "format", "delimiter"];

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
    /// Where its values stand.
    pub layout: Layout,
    /// Where the column is named, if it is.
    pub column_at: Range<usize>,
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

    /// Counts several rows of one reason.
    pub fn add_many(&mut self, reason: &str, count: usize, first: impl FnOnce() -> String) {
        self.total += count;
        match self.list.iter_mut().find(|refused| refused.reason == reason) {
            Some(refused) => refused.count += count,
            None => self.list.push(Refused { reason: reason.to_owned(), count, first: first() }),
        }
    }

    /// Takes over what was counted of the rows behind.
    pub fn absorb(&mut self, other: Tally) {
        self.total += other.total;
        for theirs in other.list {
            match self.list.iter_mut().find(|refused| refused.reason == theirs.reason) {
                Some(refused) => refused.count += theirs.count,
                None => self.list.push(theirs),
            }
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
        () if has("matching_attributes") => Some("MISP warninglist"),
        () if has("objects") && has("type") => Some("STIX bundle"),
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
    !text.trim().is_empty() && text.len() <= LONGEST_NAME && printable(text) == text
}

/// Checks a tree against the schema.
pub fn read(tree: &Tree, source: &Source, problems: &mut Problems) -> Draft {
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
        if find(entries, "indicators").is_none()
            && find(entries, "bulk").is_none()
            && self.problems.cause().is_none()
        {
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
        let layout = self.layout(entries, kind);
        let column_at = find(entries, "column").map_or(0..0, |entry| entry.value.range());
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
            self.draft.bulk.push(Bulk { file, at, kind, layout, column_at, meta, forced: policy.forced });
        }
    }

    /// Where the values of a list stand.
    fn layout(&mut self, entries: &[Entry], kind: Option<Kind>) -> Layout {
        let column = find(entries, "column");
        let formats = ["lines", "csv", "hosts", "json", "text"].map(|name| (name, name));
        let format = find(entries, "format").and_then(|entry| self.choice(&entry.value, &formats, "format"));
        let separator =
            find(entries, "delimiter").and_then(|entry| self.separator(&entry.value)).unwrap_or(b',');
        let layout = match format.unwrap_or(if column.is_some() { "csv" } else { "lines" }) {
            "hosts" => Layout::Hosts,
            "text" => Layout::Free(kind.unwrap_or(Kind::Text)),
            "lines" => Layout::Lines,
            other => {
                let Some(entry) = column else {
                    self.missing(entries, "column", "say which: `column: 2`, or by its name: `column: url`");
                    return Layout::Lines;
                };
                if other == "json" {
                    let path = self.text(&entry.value, LONGEST_TEXT).unwrap_or_default();
                    return Layout::Json { path: path.split('.').map(str::to_owned).collect() };
                }
                let number = match &entry.value.value {
                    Value::Scalar { text, plain: true } => text.bytes().all(|byte| byte.is_ascii_digit()),
                    _ => false,
                };
                let column = match number {
                    true => {
                        Column::Number(self.number(&entry.value, 1..=LAST_COLUMN, "a column").unwrap_or(1))
                    }
                    false => {
                        Column::Name(self.text(&entry.value, LONGEST_TEXT).unwrap_or_default().to_owned())
                    }
                };
                return Layout::Csv { column, separator };
            }
        };
        if let Some(entry) = column {
            let message = "`column` has no meaning without columns".to_owned();
            let diagnostic = self.error("bad-value", entry.key_range(), message);
            self.refuse(
                "column without columns",
                diagnostic.label("only for `format: csv` and `format: json`"),
            );
        }
        layout
    }

    fn separator(&mut self, node: &Node) -> Option<u8> {
        let text = self.text(node, LONGEST_TEXT)?;
        match text.as_bytes() {
            _ if text == "tab" => Some(b'\t'),
            [byte @ (b',' | b';' | b'|' | b'\t' | b':' | b' ')] => Some(*byte),
            _ => {
                let diagnostic =
                    self.error("bad-value", node.range(), format!("`{text}` is not a delimiter"));
                self.refuse("bad delimiter", diagnostic.label("expected one of , ; | : or tab"));
                None
            }
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
        let kinds = match &*entry.key {
            "where" | "port" => &[Kind::Ip][..],
            "match" => &[Kind::Domain, Kind::Text],
            "nocase" => &[Kind::Text],
            _ => &Kind::ALL,
        };
        if !self.only_for(entry, kind, kinds) {
            return;
        }
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
                if let Some(sides) = self.choices(node, &[("source", 0), ("destination", 1)], "side") {
                    meta.where_source = sides.contains(&0);
                    meta.where_destination = sides.contains(&1);
                }
            }
            "port" => set(&mut meta.ports, self.ports(node)),
            "match" => {
                let exact = ("exact", MatchMode::Exact);
                let (word, substring) = (("word", MatchMode::Default), ("substring", MatchMode::Substring));
                let known = match kind {
                    Some(Kind::Domain) => vec![exact],
                    Some(_) => vec![word, substring],
                    None => vec![exact, word, substring],
                };
                set(&mut meta.matching, self.choice(node, &known, "comparison"));
            }
            "nocase" => set(&mut meta.nocase, self.flag(node)),
            "description" => meta.description = self.text(node, LONGEST_TEXT).map(str::to_owned),
            "reference" => meta.reference = self.text(node, LONGEST_TEXT).map(str::to_owned),
            "producer" => meta.producer = self.text(node, LONGEST_TEXT).map(str::to_owned),
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
            Value::Scalar { text, plain } if !(text.is_empty() || *plain && &**text == "~") => {
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
        if self.broken || misspelt(entries, key) {
            return;
        }
        let diagnostic = self.error("missing-key", at, format!("`{key}` is missing"));
        self.refuse("missing key", diagnostic.help(help));
    }

    fn missing_in_row(&mut self, item: &Node, key: &str, help: &str) {
        if self.broken {
            return self.spoil(item);
        }
        if let Value::Map(entries) = &item.value
            && misspelt(entries, key)
        {
            return;
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
                self.problems.push(diagnostic, self.source);
            }
            None => self.problems.push_fatal(diagnostic, self.source),
        }
    }

    /// Refuses the set, also from inside a row.
    fn fatal(&mut self, reason: &'static str, diagnostic: Diagnostic) {
        if let Some(refused) = &mut self.row {
            refused.get_or_insert_with(|| (reason, diagnostic.place()));
        }
        self.problems.push_fatal(diagnostic, self.source);
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

    /// Is the value well formed, but would match far too much?
    pub fn is_guard(&self) -> bool {
        self.code == "guard"
    }

    /// What is wrong, and what to write instead.
    pub fn words(&self) -> (String, Option<String>) {
        (self.message.clone(), self.help.clone())
    }

    /// A value that is none of its kind.
    fn of(kind: Kind, written: &str, error: &ValueError) -> Fault {
        let reason = match error {
            ValueError::Empty => "empty value",
            ValueError::Address => "not an address or prefix",
            ValueError::HostBits(_) => "host bits are set",
            ValueError::Domain(_) => "not a domain name",
            ValueError::Url(_) => "not a URL",
            ValueError::Email => "not an e-mail address",
            ValueError::Hash { .. } => "not a hash of this type",
            ValueError::TooLong(_) => "value too long",
        };
        let help = match error {
            ValueError::HostBits(prefix) => Some(format!("write `{prefix}`")),
            ValueError::Empty => None,
            _ => meant(written)
                .filter(|meant| *meant != kind)
                .map(|kind| format!("is it `type: {}`?", kind.name())),
        };
        Fault { reason, code: "bad-value", message: error.to_string(), help }
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

/// The value of a line of a list; none where the line is the names of columns, or a comment of the kind
/// that block lists have.
pub fn listed<'r>(row: &'r ListRow<'_>, layout: &Layout, kind: Kind, header: &Header) -> Option<&'r str> {
    let value = row.value.as_deref().ok()?;
    if header.named && header.is_names(row) {
        return None;
    }
    if *layout != Layout::Lines || kind == Kind::Text {
        return Some(value);
    }
    if value.starts_with(';') || value.starts_with("//") {
        return None;
    }
    // `198.51.100.0/24 ; SBL1` and `evil.example # since May`.
    let end = value
        .find([' ', '\t'])
        .filter(|end| value.get(*end..).is_some_and(|rest| rest.trim_start().starts_with(['#', ';'])));
    value.get(..end.unwrap_or(value.len()))
}

/// Brings a value into normal form and asks the guards.
fn check_value(kind: Kind, written: &str, nocase: bool, forced: bool) -> Result<Normal, Fault> {
    let value = normalise(kind, written, nocase).map_err(|error| Fault::of(kind, written, &error))?;
    guarded(kind, &value.key(nocase), forced)?;
    Ok(value)
}

/// The same, but the value is one of many.
pub fn add_value(
    keys: &mut Keys,
    kind: Kind,
    written: &str,
    nocase: bool,
    forced: bool,
) -> Result<(), Fault> {
    keys.add(kind, written, nocase, |key| guarded(kind, key, forced).map_err(Unfit::Guarded)).map_err(
        |unfit| match unfit {
            Unfit::Guarded(fault) => fault,
            Unfit::Value(error) => Fault::of(kind, written, &error),
        },
    )
}

enum Unfit {
    Guarded(Fault),
    Value(ValueError),
}

impl From<ValueError> for Unfit {
    fn from(error: ValueError) -> Unfit {
        Unfit::Value(error)
    }
}

fn guarded(kind: Kind, key: &[u8], forced: bool) -> Result<(), Fault> {
    match guard::refusal(kind, key).filter(|_| !forced) {
        None => Ok(()),
        Some(reason) => Err(Fault {
            reason,
            code: "guard",
            message: format!("{reason}: it would match far too much"),
            help: Some("if it is meant, add `force: 'reason'` to the row".to_owned()),
        }),
    }
}

/// The kind that a value has by its shape.
pub fn meant(written: &str) -> Option<Kind> {
    let hashes = [Kind::Md5, Kind::Sha1, Kind::Sha256, Kind::Sha512];
    let shapes = hashes.into_iter().chain([Kind::Ip, Kind::Email]);
    let url =
        || (written.contains("://") && normalise(Kind::Url, written, true).is_ok()).then_some(Kind::Url);
    let domain =
        || (written.contains('.') && normalise(Kind::Domain, written, true).is_ok()).then_some(Kind::Domain);
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

/// Is this the id of an ATT&CK technique?
pub fn is_technique(text: &str) -> bool {
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

/// Whether a key that seems to be missing is there under a wrong name, which is reported as such: one
/// mistake, one problem.
fn misspelt(entries: &[Entry], key: &str) -> bool {
    let names = [POLICY_KEYS, ROW_KEYS, TOP_KEYS];
    let known = |name: &str| names.iter().any(|names| names.contains(&name));
    entries.iter().any(|entry| !known(&entry.key) && nearest(&entry.key, [key]) == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draft, whether the set must be refused, and the problems.
    fn judge(text: &str) -> (Draft, bool, Vec<String>) {
        let source = Source::new("f.yaml", text);
        let mut problems = Problems::default();
        let tree = yaml::parse(&source, &mut problems);
        let draft = read(&tree, &source, &mut problems);
        let fatal = problems.cause().is_some();
        (draft, fatal, problems.finish().iter().map(|problem| problem.diagnostic.one_line()).collect())
    }

    fn check(text: &str) -> (Draft, Vec<String>) {
        let (draft, _, problems) = judge(text);
        (draft, problems)
    }

    /// A set with one row, or with the given lines instead of the row's.
    fn row(row: &str) -> String {
        format!("schema: 1\nset: s\nindicators:\n  - {row}\n")
    }

    const FULL: &str = "\
schema: 1
set: nsoc-c2-weekly
source: {producer: NSOC, feed: c2, reference: 'https://nsoc.example/c2'}
defaults:
  tlp: amber+strict
  severity: high
  confidence: 75
  valid_from: 2026-08-20T00:00:00Z
  valid_until: 2026-11-20T00:00:00+02:00
  rsit: malicious-code/c2-server
  attack: [T1071.004, T1105]
  status: stable
  throttle: {by: [indicator, source], window: 2h}
indicators:
  - {id: c2-1, type: domain, value: 'evil[.]example', match: exact}
  - {type: ip, value: 198.51.100.0/24, where: [destination], port: [8443, 443]}
  - {type: url, value: 'hxxp://evil.example/a', tlp: red, throttle: none}
  - {type: sha256, value: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}
  - {type: email, value: x@evil.example, description: panel, reference: 'https://nsoc.example/1'}
  - {id: t, type: text, value: 1e2030, nocase: false, match: substring, status: test}
  - {type: ip, value: 10.1.2.3, force: 'our sinkhole'}
  - {id: c2-0, revoked: true}
  - {id: t, revoked: true}
bulk:
  - {file: hashes.csv, type: sha256, column: 2}
  - {file: names.txt, type: domain, force: 'checked by hand'}
tests:
  hit:  ['query: a.evil.example', 'b']
  miss: ['query: notevil.example']
";

    #[test]
    fn everything_the_format_has() {
        let (draft, fatal, problems) = judge(FULL);
        assert!(problems.is_empty() && !fatal, "{problems:?}");
        assert_eq!((draft.name.as_str(), draft.producer.as_deref()), ("nsoc-c2-weekly", Some("NSOC")));
        assert_eq!((draft.rows.len(), draft.total, draft.tlp), (7, 9, Tlp::AmberStrict));
        let meta = |row: usize| &draft.metas.list[draft.rows[row].meta as usize];
        assert_eq!(meta(0).matching, MatchMode::Exact);
        assert_eq!((meta(0).severity, meta(0).confidence), (Severity::High, Some(75)));
        assert_eq!(meta(0).valid_from, Some(1_787_184_000_000_000_000));
        assert_eq!(meta(0).valid_until, Some(1_795_125_600_000_000_000));
        assert_eq!(meta(0).attack, ["T1071.004", "T1105"]);
        assert_eq!(meta(0).throttle, Throttle::Window { by_source: true, seconds: 7200 });
        assert_eq!(
            (meta(1).ports.clone(), meta(1).where_destination, meta(1).where_source),
            (vec![443, 8443], true, false)
        );
        assert_eq!((meta(2).tlp, meta(2).throttle), (Tlp::Red, Throttle::None));
        assert_eq!(draft.rows[5].value, Normal::Text(b"1e2030".to_vec()));
        assert_eq!((meta(5).nocase, meta(5).matching, meta(5).test), (false, MatchMode::Substring, true));
        assert!(meta(5).revoked && !meta(0).revoked);
        assert_eq!(draft.bulk[0].layout, Layout::Csv { column: Column::Number(2), separator: b',' });
        assert_eq!(draft.bulk[1].layout, Layout::Lines);
        assert_eq!((draft.bulk[1].forced, draft.bulk[0].forced), (true, false));
        let tests: Vec<_> = draft.tests.iter().map(|test| (test.hit, test.line, test.column)).collect();
        assert_eq!(tests, [(true, 28, 10), (true, 28, 35), (false, 29, 10)]);
    }

    #[test]
    fn five_mistakes_are_five_problems() {
        let (_, fatal, problems) = judge(
            "\
schema: 1
set: broken
defaults:
  tpl: amber
  severity: hihg
indicators:
  - {type: domian, value: evil.example}
  - {type: ip, value: 198.51.100.7/24}
  - {type: text, value: 'çë', port: [80]}
  - type: sha256
    value: abc
tests:
  hits: ['x']
",
        );
        assert!(fatal);
        assert_eq!(
            problems,
            [
                "f.yaml:4:3: unknown key `tpl` in `defaults` (did you mean `tlp`?)",
                "f.yaml:5:13: `hihg` is not a severity (did you mean `high`?)",
                "f.yaml:7:12: unknown type `domian` (did you mean `domain`?)",
                "f.yaml:8:23: host bits are set; the prefix is 198.51.100.0/24 (write `198.51.100.0/24`)",
                "f.yaml:9:25: text under 6 bytes: it would match far too much (if it is meant, add `force: 'reason'` to the row)",
                "f.yaml:9:31: `port` has no meaning for type `text`",
                "f.yaml:11:12: expected 64 hexadecimal digits, found 3",
                "f.yaml:13:3: unknown key `hits` in `tests` (did you mean `hit`?)",
            ]
        );
    }

    #[test]
    fn mistakes_of_the_set() {
        for (name, text, expected) in [
            (
                "no schema",
                "set: s\nindicators: []\n",
                "f.yaml:1:1: `schema` is missing (a rule set begins with `schema: 1`)",
            ),
            (
                "a later schema",
                "schema: 2\nset: s\nbulk: []\n",
                "f.yaml:1:9: schema 2 is not supported in this version",
            ),
            (
                "quoted schema",
                "schema: '1'\nset: s\nbulk: []\n",
                "f.yaml:1:9: expected the number 1, found a single value",
            ),
            (
                "no name",
                "schema: 1\nbulk: []\n",
                "f.yaml:1:1: `set` is missing (give the set a unique name: `set: my-list`)",
            ),
            ("empty name", "schema: 1\nset:\nbulk: []\n", "f.yaml:2:4: expected text, found nothing"),
            (
                "unknown top key",
                "schema: 1\nset: s\nindicator: []\n",
                "f.yaml:3:1: unknown key `indicator` in a rule set (did you mean `indicators`?)",
            ),
            (
                "not a list",
                "schema: 1\nset: s\nindicators: {}\n",
                "f.yaml:3:13: expected a list, found a mapping",
            ),
            (
                "allow set without reason",
                "schema: 1\nset: s\nmode: block\nbulk: []\n",
                "f.yaml:3:1: an allow set needs a `reason` (say why: `reason: 'public resolvers'`)",
            ),
            (
                "unknown mode",
                "schema: 1\nset: s\nmode: allow\nreason: r\nbulk: []\n",
                "f.yaml:3:7: `allow` is not a mode",
            ),
            (
                "reason without mode",
                "schema: 1\nset: s\nreason: r\nbulk: []\n",
                "f.yaml:3:1: `reason` stands without `mode` (only allow sets have a reason: add `mode: block` or `mode: inform`)",
            ),
            (
                "bad default",
                "schema: 1\nset: s\ndefaults: {confidence: 101}\nbulk: []\n",
                "f.yaml:3:24: `101` is not a confidence",
            ),
            (
                "value as default",
                "schema: 1\nset: s\ndefaults: {type: ip}\nbulk: []\n",
                "f.yaml:3:12: `type` cannot have a default (write it in each row)",
            ),
            (
                "list without file",
                "schema: 1\nset: s\nbulk:\n  - {type: ip}\n",
                "f.yaml:4:6: `file` is missing (name the list: `file: hashes.csv`)",
            ),
            (
                "column 0",
                "schema: 1\nset: s\nbulk:\n  - {file: a, type: ip, column: 0}\n",
                "f.yaml:4:33: `0` is not a column",
            ),
            (
                "unknown source key",
                "schema: 1\nset: s\nsource: {producr: x}\nbulk: []\n",
                "f.yaml:3:10: unknown key `producr` in `source` (did you mean `producer`?)",
            ),
            (
                "unknown key in a row",
                &row("{type: domain, value: a.example, valu: x}"),
                "f.yaml:4:38: unknown key `valu` in an indicator (did you mean `value`?)",
            ),
            (
                "unknown type in a row",
                &row("{type: cidr, value: 192.0.2.0/24}"),
                "f.yaml:4:12: unknown type `cidr`",
            ),
        ] {
            let (_, fatal, problems) = judge(text);
            assert_eq!(problems, [expected], "{name}");
            assert!(fatal, "{name}");
        }
    }

    #[test]
    fn mistakes_of_a_row() {
        for (name, text, column, expected) in [
            ("not a mapping", "evil.example", 5, "expected a mapping, found a single value"),
            (
                "no type",
                "{value: evil.example}",
                5,
                "`type` is missing (say what the value is, such as `type: domain`)",
            ),
            ("no value", "{type: domain}", 5, "`value` is missing (a row needs a value, or `revoked: true`)"),
            ("empty value", "{type: domain, value: }", 25, "expected text, found nothing"),
            ("list as value", "{type: ip, value: [192.0.2.1]}", 23, "expected text, found a list"),
            (
                "unknown marking",
                "{type: ip, value: 192.0.2.1, tlp: amber-strict}",
                39,
                "`amber-strict` is not a marking (did you mean `amber+strict`?)",
            ),
            (
                "confidence in words",
                "{type: ip, value: 192.0.2.1, confidence: high}",
                46,
                "`high` is not a confidence",
            ),
            (
                "quoted number",
                "{type: ip, value: 192.0.2.1, confidence: '75'}",
                46,
                "`75` is not a confidence (write 75 without quotes)",
            ),
            (
                "date without time",
                "{type: ip, value: 192.0.2.1, valid_until: 2026-08-20}",
                47,
                "`2026-08-20` is not a time (write `2026-08-20T00:00:00Z`)",
            ),
            (
                "time without zone",
                "{type: ip, value: 192.0.2.1, valid_from: 2026-08-20T10:00:00}",
                46,
                "`2026-08-20T10:00:00` is not a time (write `2026-08-20T00:00:00Z`)",
            ),
            (
                "never valid",
                "{type: ip, value: 192.0.2.1, valid_from: 2026-08-20T00:00:00Z, valid_until: 2026-08-20T00:00:00Z}",
                81,
                "`valid_until` is not after `valid_from`: this can never fire",
            ),
            (
                "unknown class",
                "{type: ip, value: 192.0.2.1, rsit: malicious-code/c2server}",
                40,
                "`malicious-code/c2server` is not a class of the ENISA reference taxonomy (did you mean `malicious-code/c2-server`?)",
            ),
            (
                "technique as text",
                "{type: ip, value: 192.0.2.1, attack: T1071}",
                42,
                "expected a list, found a single value (write `[T1071]`)",
            ),
            (
                "bad technique",
                "{type: ip, value: 192.0.2.1, attack: [T1071.4]}",
                43,
                "`T1071.4` is not an ATT&CK technique",
            ),
            (
                "unknown status",
                "{type: ip, value: 192.0.2.1, status: tests}",
                42,
                "`tests` is not a status (did you mean `test`?)",
            ),
            (
                "throttle as window",
                "{type: ip, value: 192.0.2.1, throttle: 1h}",
                44,
                "expected `none` or `{by: [indicator, source], window: 1h}`, found a single value",
            ),
            (
                "bad window",
                "{type: ip, value: 192.0.2.1, throttle: {window: 1 hour}}",
                53,
                "`1 hour` is not a window",
            ),
            (
                "endless window",
                "{type: ip, value: 192.0.2.1, throttle: {window: 31d}}",
                53,
                "`31d` is not a window",
            ),
            (
                "throttle without indicator",
                "{type: ip, value: 192.0.2.1, throttle: {by: [source]}}",
                49,
                "`by` does not name `indicator`",
            ),
            (
                "side of a domain",
                "{type: domain, value: evil.example, where: [source]}",
                41,
                "`where` has no meaning for type `domain`",
            ),
            ("unknown side", "{type: ip, value: 192.0.2.1, where: [dst]}", 42, "`dst` is not a side"),
            ("port 0", "{type: ip, value: 192.0.2.1, port: [0]}", 41, "`0` is not a port"),
            ("port 65536", "{type: ip, value: 192.0.2.1, port: [65536]}", 41, "`65536` is not a port"),
            ("no ports", "{type: ip, value: 192.0.2.1, port: []}", 40, "expected 1 to 64 values, found 0"),
            (
                "substring of a domain",
                "{type: domain, value: evil.example, match: substring}",
                48,
                "`substring` is not a comparison",
            ),
            ("exact text", "{type: text, value: evil.exe, match: exact}", 42, "`exact` is not a comparison"),
            (
                "match of a hash",
                "{type: md5, value: 00000000000000000000000000000000, match: exact}",
                58,
                "`match` has no meaning for type `md5`",
            ),
            (
                "nocase of a URL",
                "{type: url, value: 'http://evil.example/', nocase: true}",
                48,
                "`nocase` has no meaning for type `url`",
            ),
            (
                "nocase in words",
                "{type: text, value: evil.exe, nocase: yes}",
                43,
                "expected true or false, found a single value",
            ),
            (
                "force without reason",
                "{type: domain, value: evil.example, force: }",
                46,
                "expected text, found nothing",
            ),
            (
                "md5 as sha256",
                "{type: sha256, value: 00000000000000000000000000000000}",
                27,
                "expected 64 hexadecimal digits, found 32 (is it `type: md5`?)",
            ),
            (
                "private address",
                "{type: ip, value: 10.0.0.1}",
                23,
                "special-purpose address space: it would match far too much (if it is meant, add `force: 'reason'` to the row)",
            ),
            ("revoked without id", "{revoked: true}", 5, "`id` is missing (name the row that is revoked)"),
        ] {
            let (draft, fatal, problems) = judge(&row(text));
            assert_eq!(problems, [format!("f.yaml:4:{column}: {expected}")], "{name}");
            assert!(!fatal, "{name}");
            assert_eq!((draft.rows.len(), draft.refused.total, draft.total), (0, 1, 1), "{name}");
            let refused = draft.refused.into_list();
            assert_eq!((refused.len(), refused[0].count), (1, 1), "{name}");
            assert_eq!(refused[0].first, format!("f.yaml:4:{column}"), "{name}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_recognised() {
        for (written, kind, meant) in [
            ("192.0.2.1", "domain", "ip"),
            ("x@evil.example", "domain", "email"),
            ("evil.example", "ip", "domain"),
            ("http://evil.example/a", "ip", "url"),
        ] {
            let (_, problems) = check(&row(&format!("{{type: {kind}, value: '{written}'}}")));
            assert_eq!(problems.len(), 1, "{written}");
            assert!(problems[0].ends_with(&format!("(is it `type: {meant}`?)")), "{problems:?}");
        }
    }

    #[test]
    fn ids_are_unique_and_revoked_once() {
        let (draft, problems) = check(
            "\
schema: 1
set: s
indicators:
  - {id: a, type: domain, value: a.example}
  - {id: a, type: domain, value: b.example}
  - {id: b, revoked: true}
  - {id: b, revoked: true}
  - {id: c, type: domain, value: c.example, revoked: true}
",
        );
        assert_eq!(
            problems,
            [
                "f.yaml:5:10: id `a` is taken by line 4, column 10 (ids are unique in a set)",
                "f.yaml:7:10: `b` is revoked already, in line 6 (remove one of the rows)",
            ]
        );
        assert_eq!((draft.rows.len(), draft.refused.total), (2, 1));
        assert!(draft.metas.list[draft.rows[1].meta as usize].revoked);
    }

    #[test]
    fn a_syntax_error_does_not_hide_the_rest() {
        let (_, fatal, problems) = judge(
            "\
schema: 1
set: s
indicators:
  - {type: domain, value: a.example, tlp: purple}
  - {type: domain, value: 'b.example}
  - {type: domain, value: c.example, severity: grave}
",
        );
        assert!(fatal);
        assert_eq!(problems.len(), 3, "{problems:?}");
        for (problem, place) in problems.iter().zip(["f.yaml:4:43", "f.yaml:5:", "f.yaml:6:48"]) {
            assert!(problem.starts_with(place), "{problem}");
        }
    }

    #[test]
    fn defaults_apply_where_they_have_a_meaning() {
        let (draft, problems) = check(
            "\
schema: 1
set: s
indicators:
  - {type: ip, value: 192.0.2.1}
  - {type: domain, value: a.example}
  - {type: text, value: Evil.exe}
defaults: {where: [source], port: [53], match: exact, nocase: false, force: 'lab'}
",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let meta = |row: usize| &draft.metas.list[draft.rows[row].meta as usize];
        assert!(meta(0).where_source && !meta(1).where_source && meta(1).ports.is_empty());
        assert_eq!(meta(0).matching, MatchMode::Default);
        assert_eq!(meta(1).matching, MatchMode::Exact);
        assert_eq!((meta(2).matching, meta(2).nocase), (MatchMode::Default, false));
        assert_eq!(draft.rows[2].value, Normal::Text(b"Evil.exe".to_vec()));
    }

    #[test]
    fn a_hundred_thousand_rows() {
        let mut text = String::from("schema: 1\nset: s\nindicators:\n");
        for row in 0..100_000 {
            text.push_str(&format!("  - {{id: r{row}, type: domain, value: 'h{row}[.]example'}}\n"));
        }
        let (draft, problems) = check(&text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((draft.rows.len(), draft.metas.list.len()), (100_000, 1));
    }

    #[test]
    fn problems_of_one_kind_are_capped_but_counted() {
        let mut text = String::from("schema: 1\nset: s\nindicators:\n");
        (0..5000).for_each(|_| text.push_str("  - {type: ip, value: x}\n"));
        let (draft, problems) = check(&text);
        assert_eq!(draft.refused.total, 5000);
        assert_eq!(problems.len(), 101);
        assert_eq!(problems[100], "f.yaml: 4900 more problems `bad-value` are not listed");
    }

    #[test]
    fn mutations_never_panic() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 16).unwrap_or(0)
        };
        for _ in 0..5000 {
            let mut bytes = FULL.as_bytes().to_vec();
            for _ in 0..1 + random() % 5 {
                let at = random() % bytes.len();
                let noise = b"\0\n\t {}[]:,-&*!|>'\"%@#?\\~0\xc3";
                match random() % 4 {
                    0 => bytes[at] = noise[random() % noise.len()],
                    1 => bytes.insert(at, noise[random() % noise.len()]),
                    2 => drop(bytes.remove(at)),
                    _ => drop(bytes.drain(at..(at + random() % 20).min(bytes.len()))),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            let (draft, problems) = check(&text);
            // A row is kept or refused or revokes; none vanishes.
            assert!(draft.rows.len() + draft.refused.total <= draft.total, "{problems:?}\n{text}");
        }
    }

    #[test]
    fn the_taxonomy_is_sorted_and_names_are_unique() {
        assert!(RSIT.is_sorted());
        assert_eq!(RSIT.len(), 39);
    }
}
