//! Rule files of other formats: told apart by content, read, and made into sets.
//!
//! [`identify`] names the [`Format`] of a text, [`feeds`] finds MISP feed directories, [`load`] reads
//! the files of one set. The importers ([`misp`], [`warninglist`] and the others) hand every value to
//! an [`Intake`], which normalises it, asks the guards, and counts what it refuses. An intake keeps
//! bytes of the text as places; lines and columns are counted at the end, for what is told.
//!
//! What a producer does not offer for detection, or what no message can show, is *skipped*: counted
//! with its reason, and nobody's mistake. What is malformed is *bad*; more than 5 % and 20 bad rows
//! refuse the set, as in native sets.

use super::find::Found;
use super::json::{Json, Malformed, Shape};
use super::load::{Loaded, Places, TOLERATED};
use super::native::{Metas, Tally, add_value};
use super::problems::{Problem, Problems};
use super::{BulkFile, LoadedSet, csv, hexadecimal, misp, stix, warninglist};
use crate::detect::indicator::{Keys, Kind, Meta, Mode, SetBuilder, SetInfo, Tlp};
use crate::diagnostic::{Diagnostic, Level, Source, printable};
use hashbrown::HashMap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A million indicators with all that is said of them take half of this.
pub const MAX_FILE: u64 = 1 << 30;

/// Files of one feed; the largest public one has a few thousand events.
const MAX_EVENTS: usize = 100_000;

/// A set's name is a metric label.
const LONGEST_NAME: usize = 128;

/// Problems of one kind that are listed for a file.
const LISTED: usize = 100;

/// Bytes of a line kept on each side of a problem.
const EXCERPT: usize = 400;

/// A format that is no native one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Format {
    /// One MISP event, or several.
    MispEvent,
    /// The list of a feed's events.
    MispManifest,
    /// A MISP warninglist: an allow set.
    Warninglist,
    /// A STIX bundle, a TAXII envelope, or objects of one.
    Stix,
    /// A table, for `import`.
    Table,
    /// Free text, for `import`.
    Plain,
}

impl Format {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Format::MispEvent => "MISP event",
            Format::MispManifest => "MISP feed manifest",
            Format::Warninglist => "MISP warninglist",
            Format::Stix => "STIX bundle",
            Format::Table => "table",
            Format::Plain => "text",
        }
    }

    /// What is said of a file that offers nothing.
    pub fn holds_nothing(self) -> &'static str {
        match self {
            Format::MispEvent | Format::MispManifest => "MISP event without attributes",
            Format::Warninglist => "empty MISP warninglist",
            Format::Stix => "STIX objects without an indicator",
            Format::Table | Format::Plain => "nothing in it",
        }
    }
}

/// The format of a text, by the keys at its top.
pub fn identify(text: &str) -> Result<Option<Format>, Malformed> {
    let mut json = Json::new(text);
    let mut found = None;
    let read = match json.shape()? {
        Shape::Object => object_format(&mut json, &mut found),
        Shape::Array => {
            let mut first = true;
            json.array(|json| match std::mem::take(&mut first) && json.shape()? == Shape::Object {
                true => object_format(json, &mut found),
                false => Ok(()),
            })
            .map(|_| found = found.filter(|format| matches!(format, Format::MispEvent | Format::Stix)))
        }
        _ => Ok(()),
    };
    match (read, found) {
        (Ok(()) | Err(KNOWN), Some(_)) => Ok(found),
        (Ok(()), None) => Ok(None),
        (Err(malformed), _) => Err(malformed),
    }
}

/// Stops the reading of a text whose format is known: the rest is its importer's, and may be long.
const KNOWN: Malformed = Malformed { at: usize::MAX, expected: "" };

fn object_format(json: &mut Json<'_>, found: &mut Option<Format>) -> Result<(), Malformed> {
    let mut keys: Vec<String> = Vec::new();
    let mut events = true;
    let mut stix = false;
    json.object(|key, json| {
        if key.text == "id" && json.shape()? == Shape::Text {
            stix = json.text()?.is_some_and(|id| is_stix_id(&id.text));
        } else if key.text == "type" && json.shape()? == Shape::Text {
            stix |= json.text()?.is_some_and(|kind| kind.text == "bundle");
        } else if key.text == "objects" && !stix && json.shape()? == Shape::Array {
            // The envelope of TAXII has neither type nor id.
            let mut first = true;
            json.clone().array(|json| {
                if !std::mem::take(&mut first) {
                    return Ok(());
                }
                json.object(|key, json| {
                    if key.text == "id" {
                        stix |= json.text()?.is_some_and(|id| is_stix_id(&id.text));
                    }
                    Ok(())
                })
                .map(drop)
            })?;
        }
        events &= is_uuid(&key.text) && json.shape()? == Shape::Object;
        *found = match &*key.text {
            _ if stix => Some(Format::Stix),
            "Event" | "response" => Some(Format::MispEvent),
            "matching_attributes" => Some(Format::Warninglist),
            _ => None,
        };
        if found.is_some() {
            return Err(KNOWN);
        }
        // What tells a format stands among the first keys, and a manifest has a key for each event.
        if keys.len() < 64 {
            keys.push(key.text.clone().into_owned());
        }
        Ok(())
    })?;
    let has = |name: &str| keys.iter().any(|key| key == name);
    *found = match () {
        () if has("list") && has("type") && has("name") => Some(Format::Warninglist),
        () if has("info") && (has("analysis") || has("threat_level_id") || has("Attribute")) => {
            Some(Format::MispEvent)
        }
        () if events && !keys.is_empty() => Some(Format::MispManifest),
        () => None,
    };
    Ok(())
}

/// The format that a text was meant to have, though it is no JSON.
pub fn meant(text: &str) -> Option<Format> {
    let mut head = text.len().min(64 * 1024);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    match super::find::sniff(text.get(..head).unwrap_or_default().as_bytes())? {
        "MISP event" => Some(Format::MispEvent),
        "MISP warninglist" => Some(Format::Warninglist),
        "MISP feed manifest" => Some(Format::MispManifest),
        "STIX bundle" => Some(Format::Stix),
        _ => None,
    }
}

/// The problem of a text that is no JSON.
pub fn syntax(text: &str, path: &Path, format: Format, malformed: &Malformed) -> Problem {
    let message = format!("{}: no JSON: expected {}", format.name(), malformed.expected);
    let mut problem = Diagnostic::whole(Level::Error, "syntax", path, message);
    (problem.line, problem.column) = positions(text, &[malformed.at]).pop().unwrap_or((1, 1));
    problem.span = malformed.at..(malformed.at + 1).min(text.len());
    let (line, start) = around(text, malformed.at);
    Problem::with_line(problem, line, start)
}

/// The form of a UUID, which MISP names its events by.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A type, `--` and a UUID.
fn is_stix_id(id: &str) -> bool {
    id.split_once("--").is_some_and(|(kind, uuid)| !kind.is_empty() && is_uuid(uuid))
}

/// Does a file begin as JSON does?
pub fn looks_like_json(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    read.is_ok()
        && head.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| b"{[".contains(byte))
}

/// A MISP feed: a directory with a manifest, which is one set.
#[derive(Debug)]
pub struct Feed {
    /// The manifest, which stands for the feed.
    pub manifest: Found,
    /// The files of its events, in the order of the manifest.
    pub events: Vec<PathBuf>,
    /// Why the feed cannot be used now.
    pub broken: Option<String>,
}

/// Takes feeds out of what was found: their manifests, their events, their `hashes.csv`. Event files
/// that a manifest does not name have been withdrawn; they are told in `notes`.
pub fn feeds(files: &mut Vec<Found>, notes: &mut Vec<String>) -> Vec<Feed> {
    let manifests: Vec<Found> = files
        .iter()
        .filter(|file| file.path.file_name().is_some_and(|name| name == "manifest.json"))
        .cloned()
        .collect();
    let mut feeds = Vec::new();
    for manifest in manifests {
        let Ok(text) = read_text(&manifest.path) else { continue };
        // A manifest that cannot be read is told as a file of its own.
        if !matches!(identify(&text), Ok(Some(Format::MispManifest))) {
            continue;
        }
        let Ok(names) = misp::manifest(&text) else { continue };
        let dir = manifest.path.parent().unwrap_or(Path::new("")).to_owned();
        let events: Vec<PathBuf> = names.iter().map(|name| dir.join(format!("{name}.json"))).collect();
        let mut broken = (events.len() > MAX_EVENTS).then(|| format!("more than {MAX_EVENTS} events"));
        // An update of a feed changes many files; half of one must not disarm.
        if let Some(missing) = events.iter().find(|event| !event.is_file()) {
            let name = missing.file_name().unwrap_or_default().to_string_lossy();
            broken = Some(format!("the manifest names {name}, which is not there"));
        }
        let named: BTreeSet<&PathBuf> = events.iter().collect();
        files.retain(|file| {
            if file.path.parent() != Some(&dir) {
                return true;
            }
            let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if named.contains(&file.path) || matches!(name, "manifest.json" | "hashes.csv") {
                return false;
            }
            let event = name.strip_suffix(".json").is_some_and(is_uuid);
            if event {
                notes.push(format!("{}: not in the manifest of its feed, ignored", file.path.display()));
            }
            !event
        });
        feeds.push(Feed { manifest, events, broken });
    }
    feeds
}

/// One file of a set.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file as it is shown.
    pub shown: PathBuf,
    /// Where it is read: the file itself, or a copy.
    pub read: PathBuf,
}

impl Part {
    /// A file that is read where it lies.
    pub fn own(path: &Path) -> Part {
        Part { shown: path.to_owned(), read: path.to_owned() }
    }
}

/// The name of a set: that of the file, or of the feed's folder, below the rules tree.
pub fn set_name(file: &Found, feed: bool) -> String {
    let place =
        if feed { file.path.parent().unwrap_or(&file.path).to_owned() } else { file.path.with_extension("") };
    let below = place.strip_prefix(&file.tree).ok().filter(|below| below.file_name().is_some());
    let own = || {
        let whole = place.canonicalize().unwrap_or_else(|_| place.clone());
        PathBuf::from(whole.file_name().unwrap_or_default())
    };
    let name = below.map_or_else(own, Path::to_owned);
    let name = printable(&name.to_string_lossy()).into_owned();
    let mut start = name.len().saturating_sub(LONGEST_NAME);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    let name = name.get(start..).unwrap_or_default();
    if name.trim().is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

/// The text of a file, or why there is none.
pub fn read_text(path: &Path) -> Result<String, String> {
    let explain = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(explain)?;
    let length = file.metadata().map_err(explain)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_FILE)).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("larger than {} MiB", MAX_FILE >> 20));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .map_or(0, |read| memchr::memchr_iter(b'\n', read).count());
        format!("not UTF-8 in line {line}")
    })
}

/// Have the files of a set changed since it was loaded?
pub fn unchanged(set: &LoadedSet, parts: &[PathBuf]) -> bool {
    set.bulk.len() == parts.len()
        && set.bulk.iter().zip(parts).all(|(known, path)| known.path == *path)
        && set
            .bulk
            .par_iter()
            .all(|known| super::bulk::digest(&known.path).is_ok_and(|digest| digest == known.digest))
}

/// Reads the files of a set, in parallel, and builds it. The first file stands for the set.
pub fn load(
    format: Format,
    name: &str,
    parts: &[Part],
    memory_limit: Option<u64>,
    problems: &mut Problems,
) -> Loaded {
    let Some(first) = parts.first() else { return Loaded::Other };
    // The manifest of a feed names the events behind it.
    let format_of =
        |index| if index > 0 && format == Format::MispManifest { Format::MispEvent } else { format };
    let taken: Vec<_> =
        parts.par_iter().enumerate().map(|(index, part)| take(format_of(index), part)).collect();
    let mut refusal = None;
    let mut whole = Vec::new();
    for (part, taken) in parts.iter().zip(taken) {
        match taken {
            Ok(taken) => whole.push(taken),
            Err(reason) => {
                let problem = Diagnostic::whole(Level::Error, "unreadable", &part.shown, reason.clone());
                refusal.get_or_insert((reason, problem.place()));
                problems.push_whole(problem);
            }
        }
    }
    for taken in &mut whole {
        if let Some((reason, place)) = taken.fatal.take() {
            refusal.get_or_insert((reason, place));
        }
        problems.absorb(std::mem::take(&mut taken.problems));
    }
    let refused =
        |reason: String, first: String| Loaded::Refused { name: Some(name.to_owned()), reason, first };
    if let Some((reason, first)) = refusal {
        return refused(reason, first);
    }
    let rows: usize = whole.iter().map(|taken| taken.rows.len()).sum();
    let (bad, offered) =
        whole.iter().fold((0, 0), |(bad, all), taken| (bad + taken.bad, all + taken.offered));
    if offered == 0 {
        // A file that offers nothing is no set, but its mistakes are told.
        return match problems.first_error() {
            Some((reason, first)) => refused(reason, first),
            None => Loaded::Other,
        };
    }
    let fatal = |message: String| {
        (message.clone(), Diagnostic::whole(Level::Error, "too-many-bad-rows", &first.shown, message))
    };
    let fault = match () {
        () if bad > TOLERATED && bad.saturating_mul(20) > offered => {
            Some(fatal(format!("{bad} of {offered} rows are bad: the set is refused")))
        }
        () if memory_limit.is_some_and(|limit| rows as u64 > limit / 8) => {
            Some(fatal("the set alone would exceed `memory_limit`".to_owned()))
        }
        () => None,
    };
    if let Some((reason, problem)) = fault {
        let place = problem.place();
        problems.push_whole(problem);
        return refused(reason, place);
    }
    Loaded::Set(Box::new(build(format, name, parts, whole)))
}

fn take(format: Format, part: &Part) -> Result<Taken, String> {
    let text = read_text(&part.read)?;
    let mut intake = Intake::new(&text);
    let read = match format {
        Format::MispEvent => misp::events(&mut intake),
        Format::MispManifest => Ok(()),
        Format::Warninglist => warninglist::read(&mut intake),
        Format::Stix => stix::read(&mut intake),
        Format::Table => {
            csv::table(&mut intake);
            Ok(())
        }
        Format::Plain => {
            csv::text(&mut intake);
            Ok(())
        }
    };
    let mut taken = intake.finish(&part.shown, read);
    taken.digest = Sha256::digest(text.as_bytes()).into();
    Ok(taken)
}

fn build(format: Format, name: &str, parts: &[Part], whole: Vec<Taken>) -> LoadedSet {
    let path = parts.first().map(|part| part.shown.clone()).unwrap_or_default();
    let mut hasher = Sha256::new();
    whole.iter().for_each(|taken| hasher.update(taken.digest));
    let producer = whole.iter().flat_map(|taken| &taken.metas.list).find_map(|meta| meta.producer.clone());
    let info = SetInfo {
        name: name.to_owned(),
        producer: producer.clone(),
        feed: (parts.len() > 1).then(|| name.to_owned()),
        reference: None,
        mode: if format == Format::Warninglist { Mode::Inform } else { Mode::Indicators },
        path: path.clone(),
        digest: hexadecimal(&hasher.finalize()),
    };
    let mut builder = SetBuilder::new(info.clone());
    let mut refused = Tally::default();
    let mut account: BTreeMap<&'static str, Offered> = BTreeMap::new();
    let mut bulk = Vec::new();
    for (part, taken) in parts.iter().zip(whole) {
        let Taken { metas, rows, keys, ids, refused: tally, account: offered, digest, .. } = taken;
        let metas: Vec<_> = metas
            .list
            .into_iter()
            .map(|mut meta| {
                if meta.producer == producer {
                    meta.producer = None;
                }
                builder.meta(&meta)
            })
            .collect();
        for (row, key) in rows.iter().zip(keys.iter()) {
            let id = ids.get(row.id.start as usize..row.id.end as usize).filter(|id| !id.is_empty());
            if let Some(meta) = metas.get(row.meta as usize) {
                builder.add_key(row.kind, key, *meta, id);
            }
        }
        refused.absorb(tally);
        for (kind, count) in offered {
            account.entry(kind).or_default().add(count);
        }
        let name = part.shown.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bulk.push(BulkFile { name, path: part.shown.clone(), digest });
    }
    let (mut compiled, merged) = builder.build_merged();
    compiled.info = info.clone();
    let counts = compiled.counts();
    let (indicators, allow) = match info.mode {
        Mode::Indicators => (counts, 0),
        Mode::Block | Mode::Inform => (Default::default(), compiled.len()),
    };
    let mut markings: Vec<Tlp> = compiled.metas().iter().map(|meta| meta.tlp).collect();
    markings.sort_unstable();
    markings.dedup();
    LoadedSet {
        compiled: Arc::new(compiled),
        // Rows differ; whoever asks for one marking of all must not be told too little.
        tlp: markings.last().copied().unwrap_or(Meta::default().tlp),
        info,
        indicators,
        allow,
        refused: refused.into_list(),
        tests: Arc::new([]),
        stale: None,
        stale_at: None,
        foreign: Some(Foreign { format, account, duplicates: merged.len() }),
        name_at: 0..0,
        // The text of a feed is not kept: it may be as large as all the rest.
        source: Arc::new(Source::new(path, "")),
        counts,
        markings,
        places: Arc::new(Places::default()),
        bulk,
        problems: Arc::new(Vec::new()),
    }
}

/// What is known of a set of another format.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its format.
    pub format: Format,
    /// What was offered, by the type that the format gives it.
    pub account: BTreeMap<&'static str, Offered>,
    /// Values that the set held already.
    pub duplicates: usize,
}

/// What became of the values of one type: rows are attributes, indicators or lines; a composite row
/// has several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Rows.
    pub rows: usize,
    /// Values that are in the set, duplicates included.
    pub loaded: usize,
    /// Values, or whole rows, that are not.
    pub refused: usize,
}

impl Offered {
    fn add(&mut self, other: Offered) {
        self.rows += other.rows;
        self.loaded += other.loaded;
        self.refused += other.refused;
    }
}

/// What an importer has taken out of one file.
#[derive(Debug, Default)]
pub struct Taken {
    /// Policies, by index.
    pub metas: Metas,
    rows: Vec<Row>,
    keys: Keys,
    ids: String,
    refused: Tally,
    account: HashMap<&'static str, Offered>,
    bad: usize,
    offered: usize,
    problems: Problems,
    fatal: Option<(String, String)>,
    digest: [u8; 32],
}

#[derive(Clone, Debug)]
struct Row {
    kind: Kind,
    meta: u32,
    /// Bytes of the ids.
    id: Range<u32>,
}

/// Why a value is not in the set.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Groups values.
    pub reason: Cow<'static, str>,
    /// What is wrong with this one; the reason, if there is nothing to add.
    pub message: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// How it counts.
    pub fault: FaultOf,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOf {
    /// Nobody's: it is not offered for detection.
    Nobody,
    /// The sensor cannot hold it, which who shares it should know.
    Sensor,
    /// The row is malformed.
    Row,
}

impl Refusal {
    /// Something not offered for detection.
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reason: reason.into(), message: None, help: None, fault: FaultOf::Nobody }
    }

    /// Something that the sensor cannot hold.
    pub fn unheld(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { fault: FaultOf::Sensor, ..Refusal::skip(reason) }
    }

    /// Something malformed.
    pub fn bad(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { fault: FaultOf::Row, ..Refusal::skip(reason) }
    }

    /// The same with what is wrong with this value.
    pub fn because(self, message: impl Into<String>) -> Refusal {
        Refusal { message: Some(message.into()), ..self }
    }
}

/// Takes the values of one file.
pub struct Intake<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// Policies, by index.
    pub metas: Metas,
    /// Values of any form are expected, so that one of a form that is not known is nobody's mistake.
    pub lenient: bool,
    rows: Vec<Row>,
    keys: Keys,
    ids: String,
    /// By reason: how many, and where the first stands.
    reasons: HashMap<Cow<'static, str>, (usize, usize)>,
    account: HashMap<&'static str, Offered>,
    bad: usize,
    offered: usize,
    findings: Vec<Finding>,
    listed: HashMap<&'static str, usize>,
}

struct Finding {
    level: Level,
    code: &'static str,
    at: Range<usize>,
    message: String,
    help: Option<String>,
    fatal: bool,
}

impl<'a> Intake<'a> {
    /// An empty intake.
    pub fn new(text: &'a str) -> Intake<'a> {
        Intake {
            text,
            metas: Metas::default(),
            lenient: false,
            rows: Vec::new(),
            keys: Keys::default(),
            ids: String::new(),
            reasons: HashMap::new(),
            account: HashMap::new(),
            bad: 0,
            offered: 0,
            findings: Vec::new(),
            listed: HashMap::new(),
        }
    }

    /// Counts a row of a type of the format.
    pub fn row(&mut self, of: &'static str) {
        self.account.entry(of).or_default().rows += 1;
        self.offered += 1;
    }

    /// Takes a value as written, with its policy and id; false if it is refused, and counted so.
    pub fn value(
        &mut self,
        of: &'static str,
        (kind, written): (Kind, &str),
        meta: u32,
        id: Option<&str>,
        at: Range<usize>,
    ) -> bool {
        let nocase = self.metas.list.get(meta as usize).is_none_or(|meta| meta.nocase);
        match add_value(&mut self.keys, kind, written, nocase, false) {
            Ok(()) => {
                let start = self.ids.len() as u32;
                self.ids.push_str(id.unwrap_or_default());
                self.rows.push(Row { kind, meta, id: start..self.ids.len() as u32 });
                self.account.entry(of).or_default().loaded += 1;
                true
            }
            Err(fault) => {
                // A producer's whole view is shared; what the guards keep out is expected in it.
                let by = if fault.is_guard() || self.lenient { FaultOf::Sensor } else { FaultOf::Row };
                let (message, help) = fault.words();
                let help = help.filter(|_| by == FaultOf::Row);
                self.refuse(
                    of,
                    Refusal { reason: fault.reason.into(), message: Some(message), help, fault: by },
                    at,
                );
                false
            }
        }
    }

    /// Counts what is not taken.
    pub fn refuse(&mut self, of: &'static str, refusal: Refusal, at: Range<usize>) {
        self.account.entry(of).or_default().refused += 1;
        let (level, code) = match refusal.fault {
            FaultOf::Nobody => (None, ""),
            FaultOf::Sensor => (Some(Level::Warning), "not-held"),
            FaultOf::Row => {
                self.bad += 1;
                (Some(Level::Error), "bad-value")
            }
        };
        if let Some(level) = level {
            let message = refusal.message.unwrap_or_else(|| refusal.reason.clone().into_owned());
            self.tell(Finding { level, code, at: at.clone(), message, help: refusal.help, fatal: false });
        }
        let (count, first) = self.reasons.entry(refusal.reason).or_insert((0, at.start));
        *count += 1;
        *first = at.start.min(*first);
    }

    /// Tells what is wrong beside the values.
    pub fn mistake(&mut self, at: Range<usize>, message: impl Into<String>) {
        let message = message.into();
        self.tell(Finding { level: Level::Error, code: "bad-object", at, message, help: None, fatal: false });
    }

    fn tell(&mut self, finding: Finding) {
        let listed = self.listed.entry(finding.code).or_default();
        *listed += 1;
        if *listed <= LISTED || finding.fatal {
            self.findings.push(finding);
        }
    }

    /// Counts lines and columns of what is told.
    pub fn finish(mut self, shown: &Path, read: Result<(), Malformed>) -> Taken {
        if let Err(malformed) = read {
            let message = format!("no JSON: expected {}", malformed.expected);
            let at = malformed.at..(malformed.at + 1).min(self.text.len());
            self.tell(Finding { level: Level::Error, code: "syntax", at, message, help: None, fatal: true });
        }
        let places = self.findings.iter().map(|finding| finding.at.start);
        let mut places: Vec<usize> = places.chain(self.reasons.values().map(|(_, first)| *first)).collect();
        places.sort_unstable();
        places.dedup();
        let positions = positions(self.text, &places);
        let position = |at: usize| {
            let found = places.binary_search(&at).ok().and_then(|index| positions.get(index));
            found.copied().unwrap_or((1, 1))
        };
        let mut problems = Problems::default();
        let mut fatal = None;
        for finding in self.findings {
            let mut problem = Diagnostic::whole(finding.level, finding.code, shown, finding.message);
            (problem.line, problem.column) = position(finding.at.start);
            problem.span = finding.at;
            problem.help = finding.help;
            if finding.fatal {
                fatal = Some((problem.message.clone(), problem.place()));
            }
            let (line, start) = around(self.text, problem.span.start);
            problems.push_problem(Problem::with_line(problem, line, start));
        }
        for (code, count) in self.listed {
            problems.count_more(code, count.saturating_sub(LISTED));
        }
        let mut reasons: Vec<_> = self.reasons.into_iter().collect();
        reasons.sort_by(|one, other| one.1.1.cmp(&other.1.1).then(one.0.cmp(&other.0)));
        let mut refused = Tally::default();
        for (reason, (count, first)) in reasons {
            let (line, column) = position(first);
            refused.add_many(&reason, count, || {
                format!("{}:{line}:{column}", printable(&shown.to_string_lossy()))
            });
        }
        Taken {
            metas: self.metas,
            rows: self.rows,
            keys: self.keys,
            ids: self.ids,
            refused,
            account: self.account,
            bad: self.bad,
            offered: self.offered,
            problems,
            fatal,
            digest: [0; 32],
        }
    }
}

/// Lines and columns of places in ascending order, counted in one pass.
fn positions(text: &str, places: &[usize]) -> Vec<(usize, usize)> {
    let (mut line, mut column, mut passed) = (1, 1, 0);
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        let mut place = (*place).min(text.len());
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        let piece = text.get(passed..place).unwrap_or_default();
        let breaks = memchr::memchr_iter(b'\n', piece.as_bytes()).count();
        let last = memchr::memrchr(b'\n', piece.as_bytes()).map_or(0, |last| last + 1);
        if breaks > 0 {
            (line, column) = (line + breaks, 1);
        }
        column += piece.get(last..).map_or(0, |rest| rest.chars().count());
        passed = place.max(passed);
        found.push((line, column));
    }
    found
}

/// The line around a place, as far as an excerpt needs it, and where it begins.
fn around(text: &str, at: usize) -> (&str, usize) {
    let at = at.min(text.len());
    let mut from = at.saturating_sub(2 * EXCERPT);
    let mut to = (at + 2 * EXCERPT).min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    let bytes = text.as_bytes();
    let before = bytes.get(from..at).and_then(|before| memchr::memrchr(b'\n', before));
    let from = before.map_or(from, |found| from + found + 1);
    let to = bytes.get(at..to).and_then(|after| memchr::memchr(b'\n', after)).map_or(to, |found| at + found);
    (text.get(from..to).unwrap_or_default(), from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_keys() {
        for (name, text, expected) in [
            ("event", r#" {"Event": {"info": "x"}}"#, Some(Format::MispEvent)),
            ("answer", r#"{"response": [{"Event": {}}]}"#, Some(Format::MispEvent)),
            ("events", r#"[{"Event": {}}, {"Event": {}}]"#, Some(Format::MispEvent)),
            ("bare event", r#"{"Attribute": [], "info": "x", "analysis": "0"}"#, Some(Format::MispEvent)),
            ("warninglist", r#"{"name": "x", "type": "cidr", "list": []}"#, Some(Format::Warninglist)),
            (
                "manifest",
                r#"{"d177856e-6e46-44ee-8eb5-83ef1c7452c7": {"Orgc": {}}}"#,
                Some(Format::MispManifest),
            ),
            ("other", r#"{"a": {"Event": 1}}"#, None),
            ("nothing", "{}", None),
            ("number", "1", None),
        ] {
            assert_eq!(identify(text).unwrap(), expected, "{name}");
        }
        assert_eq!(identify("{\"a\": {}").unwrap_err().at, 8);
    }

    #[test]
    fn places_are_counted_in_one_pass() {
        let text = "ab\n\nc\u{eb}d\ne";
        let places = [0, 1, 3, 4, 7, 9, 99];
        assert_eq!(positions(text, &places), [(1, 1), (1, 2), (2, 1), (3, 1), (3, 3), (4, 1), (4, 2)]);
        assert_eq!(around(text, 5), ("c\u{eb}d", 4));
    }

    #[test]
    fn names_come_from_the_place_below_the_tree() {
        let found = |path: &str, tree: &str| Found { path: path.into(), tree: tree.into(), named: false };
        assert_eq!(set_name(&found("/r/a/list.json", "/r"), false), "a/list");
        assert_eq!(set_name(&found("/r/feed/manifest.json", "/r"), true), "feed");
        assert_eq!(set_name(&found("/r/feed/manifest.json", "/r/feed"), true), "feed");
        assert_eq!(set_name(&found("x.json", ""), false), "x");
        let long = format!("/r/{}.json", "ë".repeat(100));
        assert!(set_name(&found(&long, "/r"), false).len() <= LONGEST_NAME);
    }

    const UUID: [&str; 2] = ["d177856e-6e46-44ee-8eb5-83ef1c7452c7", "6a10e5d8-f1cd-42b0-8240-a4650efd83d6"];

    fn event(producer: &str, tag: &str, attributes: &[(&str, &str)]) -> String {
        let attributes: Vec<_> = attributes
            .iter()
            .map(|(kind, value)| serde_json::json!({"type": kind, "value": value, "to_ids": true}))
            .collect();
        serde_json::json!({"Event": {
            "Attribute": attributes, "info": "i", "Orgc": {"name": producer}, "Tag": [{"name": tag}],
        }})
        .to_string()
    }

    struct Site {
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Site {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("rules/feed")).unwrap();
            Site { dir }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.dir.path().join("rules").join(name), text).unwrap();
        }

        fn store(&self) -> crate::rules::Store {
            let rules = vec![self.dir.path().join("rules")];
            crate::rules::Store::new(rules, Some(self.dir.path().join("data")), None)
        }
    }

    fn in_force(generation: &crate::rules::Generation) -> Vec<(String, usize, bool)> {
        let sets = generation.sets.iter();
        sets.map(|set| (set.info.name.clone(), set.entries(), set.stale.is_some())).collect()
    }

    #[test]
    fn a_feed_is_one_set_that_survives_half_an_update_and_a_restart() {
        let site = Site::new();
        let manifest = |ids: &[&str]| {
            let all: serde_json::Map<String, serde_json::Value> =
                ids.iter().map(|id| (id.to_string(), serde_json::json!({"info": "i"}))).collect();
            serde_json::Value::from(all).to_string()
        };
        let file = |index: usize| format!("feed/{}.json", UUID[index]);
        site.write("feed/manifest.json", &manifest(&UUID));
        site.write("feed/hashes.csv", "x,y\n");
        site.write(&file(0), &event("A", "tlp:green", &[("domain", "a.example"), ("ip-dst", "203.0.113.1")]));
        let mut store = site.store();
        // The second event is still to come: nothing is loaded in its place, and it is said.
        let generation = store.load(0);
        assert!(generation.sets.is_empty());
        assert!(generation.refused[0].refused.reason.contains(UUID[1]), "{:?}", generation.refused);
        site.write(&file(1), &event("B", "tlp:amber", &[("domain", "b.example")]));
        let generation = store.load(0);
        assert_eq!(in_force(&generation), [("feed".to_owned(), 3, false)]);
        assert!(generation.notes.is_empty(), "{:?}", generation.notes);
        assert!(store.keep().is_none());
        // Nothing changed: the same set.
        let again = store.load(0);
        assert!(Arc::ptr_eq(&again.sets[0], &generation.sets[0]));
        std::fs::remove_file(site.dir.path().join("rules").join(file(1))).unwrap();
        for mut store in [store, site.store()] {
            assert_eq!(in_force(&store.load(0)), [("feed".to_owned(), 3, true)]);
        }
        // Withdrawn, it vanishes.
        site.write("feed/manifest.json", &manifest(&UUID[..1]));
        let mut store = site.store();
        assert_eq!(in_force(&store.load(0)), [("feed".to_owned(), 2, false)]);
        // Broken, the last good version stays, across a restart too.
        store.keep();
        site.write(&file(0), "{\"Event\": {\"Attribute\": [");
        for mut store in [store, site.store()] {
            let generation = store.load(0);
            assert_eq!(in_force(&generation), [("feed".to_owned(), 2, true)]);
            let told = generation.diagnostics[0].one_line();
            assert!(told.contains(":1:26: no JSON: expected a value"), "{told}");
        }
    }

    #[test]
    fn a_value_of_several_producers_names_them_all() {
        let site = Site::new();
        site.write("a.json", &event("A", "tlp:green", &[("domain", "evil.example")]));
        site.write("b.yaml", "schema: 1\nset: b\nsource: {producer: B}\nindicators: [{type: domain, value: 'EVIL[.]example'}]\n");
        let stix = serde_json::json!({"type": "bundle", "objects": [
            {"type": "identity", "id": format!("identity--{}", UUID[0]), "name": "C",
             "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z"},
            {"type": "indicator", "id": format!("indicator--{}", UUID[0]),
             "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z",
             "created_by_ref": format!("identity--{}", UUID[0]),
             "pattern": "[domain-name:value = 'evil.example']", "valid_from": "2026-01-01T00:00:00Z"},
        ]});
        site.write("c.json", &stix.to_string());
        // Of one feed, two producers too.
        let manifest = serde_json::json!({UUID[0]: {"info": "i"}, UUID[1]: {"info": "i"}});
        site.write("feed/manifest.json", &manifest.to_string());
        for (id, producer) in UUID.iter().zip(["D", "E"]) {
            site.write(
                &format!("feed/{id}.json"),
                &event(producer, "tlp:clear", &[("domain", "evil.example")]),
            );
        }
        let generation = site.store().load(0);
        let rules = &generation.rules;
        assert_eq!(rules.len(), 1, "{:?}", generation.refused);
        let value = rules.value_of(Kind::Domain, b"evil.example").unwrap();
        let producers: Vec<String> = rules
            .entries(value)
            .map(|entry| {
                let one = rules.contributor(entry);
                one.meta.producer.clone().or(one.set.producer.clone()).unwrap_or_default()
            })
            .collect();
        assert_eq!(producers, ["A", "B", "C", "D", "E"]);
    }

    #[test]
    fn names_compare_equal_in_every_spelling_and_look_alikes_do_not() {
        for (unicode, ascii) in [
            ("d\u{eb}shir\u{eb}.al", "xn--dshir-nsae.al"),
            ("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{431}\u{433}", "xn--e1afmkfd.xn--90ae"),
            ("D\u{cb}SHIR\u{cb}.al", "xn--dshir-nsae.al"),
            ("de\u{308}shire\u{308}.al", "xn--dshir-nsae.al"),
        ] {
            let site = Site::new();
            site.write("a.json", &event("A", "tlp:green", &[("hostname", unicode), ("hostname", ascii)]));
            let generation = site.store().load(0);
            assert_eq!(generation.rules.len(), 1, "{unicode} {:?}", generation.sets[0].refused);
            assert!(generation.rules.value_of(Kind::Domain, ascii.as_bytes()).is_some(), "{unicode}");
        }
        let site = Site::new();
        // The first letter is Cyrillic.
        site.write(
            "a.json",
            &event("A", "tlp:green", &[("domain", "\u{430}pple.com"), ("domain", "apple.com")]),
        );
        assert_eq!(site.store().load(0).rules.len(), 2);
    }

    #[test]
    fn guards_and_types_are_counted_and_do_not_refuse_an_event() {
        let site = Site::new();
        let private: Vec<String> = (1..=40).map(|host| format!("10.0.0.{host}")).collect();
        let mut attributes: Vec<(&str, &str)> = private.iter().map(|one| ("ip-dst", one.as_str())).collect();
        attributes.extend([
            ("domain", "evil.example"),
            ("domain|ip", "two.example|203.0.113.9"),
            ("yara", "rule x"),
            ("ip-dst|port", "203.0.113.8|443"),
            ("filename|md5", "a.exe|44D88612FEA8A8F36DE82E1278ABB02F"),
            ("nonsense", "x"),
        ]);
        site.write("a.json", &event("A", "TLP:WHITE", &attributes));
        let generation = site.store().load(0);
        let set = &generation.sets[0];
        assert_eq!((set.entries(), set.tlp), (5, Tlp::Clear));
        let refused: Vec<_> = set.refused.iter().map(|one| (one.reason.as_str(), one.count)).collect();
        assert_eq!(
            refused,
            [
                ("special-purpose address space", 40),
                ("messages do not show the type `yara`", 1),
                ("unknown attribute type", 1),
            ]
        );
        let ports: Vec<u16> = set.compiled.entries().flat_map(|entry| entry.meta.ports.clone()).collect();
        assert_eq!(ports, [443]);
    }
}
