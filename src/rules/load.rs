//! Loads one set: text, tree, draft, bulk lists, compiled set.

use super::bulk::{Column, Header, Layout};
use super::compare::token;
use super::native::{self, Bulk, Draft, Tally, add_value};
use super::problems::Problems;
use super::{BulkFile, LoadedSet, bulk, hexadecimal, yaml};
use crate::detect::CompiledSet;
use crate::detect::indicator::{Keys, MetaId, Mode, SetBuilder, SetInfo};
use crate::diagnostic::{Diagnostic, Level, Source, nearest};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set of 64 MiB has half a million rows; longer lists belong into bulk files, which are
/// streamed. The tree of a file takes several times its size while it is read.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A set is refused when more than 5 % of its rows and more than this many are bad.
pub const TOLERATED: usize = 20;

/// What a file turned out to be.
#[derive(Debug)]
pub enum Loaded {
    /// A set.
    Set(Box<LoadedSet>),
    /// A set that must not be used.
    Refused {
        /// Its name, as far as it can be read.
        name: Option<String>,
        /// Why, in one line.
        reason: String,
        /// Where: `file:line:column`.
        first: String,
    },
    /// Not a set, and what it is.
    Foreign(&'static str),
    /// Not a set.
    Other,
}

/// The bytes of a file, unless it is too large or no regular file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let explain = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(explain)?;
    if file.metadata().map_err(explain)?.len() > MAX_FILE {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > MAX_FILE { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> String {
    format!("larger than {} MiB; put long lists into files named under `bulk`", MAX_FILE >> 20)
}

/// The text of a file, or the diagnostic at the first byte that is none, with the text before it.
pub fn text_of(path: &Path, bytes: &[u8]) -> Result<Source, Box<(Diagnostic, Source)>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(path, text)),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let source = Source::new(path, String::from_utf8_lossy(valid));
            let at = source.text.len();
            let message = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16 text".to_owned(),
                _ => "not UTF-8".to_owned(),
            };
            let problem = Diagnostic::at(Level::Error, "encoding", &source, at..at, message);
            Err(Box::new((problem.help("save the file as UTF-8"), source)))
        }
    }
}

/// Where bulk lists come from.
pub enum Lists<'a> {
    /// Beside the set, inside this tree.
    Tree(&'a Path),
    /// From copies, in the order of `bulk`.
    Copies(&'a [PathBuf]),
    /// The set is built in and has none.
    None,
}

/// Loads a set from its text. Everything found goes to `problems`.
pub fn load(source: Source, lists: &Lists<'_>, memory_limit: Option<u64>, problems: &mut Problems) -> Loaded {
    let mut inner = Problems::default();
    let tree = yaml::parse(&source, &mut inner);
    if !native::looks_native(&tree) {
        if !tree.broken {
            return native::looks_foreign(&tree).map_or(Loaded::Other, Loaded::Foreign);
        }
        // It may be a set whose head cannot be read; what else it says is not judged.
        return refused(None, inner, problems);
    }
    let draft = native::read(&tree, &source, &mut inner);
    let name = native::name_of(&tree).map(str::to_owned);
    drop(tree);
    let set = match inner.cause() {
        Some(_) => None,
        None => compile(draft, source, lists, memory_limit, &mut inner),
    };
    match set.filter(|_| inner.cause().is_none()) {
        Some(set) => {
            problems.absorb(inner);
            Loaded::Set(Box::new(set))
        }
        None => refused(name, inner, problems),
    }
}

fn refused(name: Option<String>, inner: Problems, problems: &mut Problems) -> Loaded {
    let cause = inner.cause().cloned().unwrap_or_default();
    problems.absorb(inner);
    Loaded::Refused { name, reason: cause.reason, first: cause.first }
}

fn compile(
    mut draft: Draft,
    source: Source,
    lists: &Lists<'_>,
    memory_limit: Option<u64>,
    problems: &mut Problems,
) -> Option<LoadedSet> {
    let mut files = resolve_lists(&draft, &source, lists, problems)?;
    let mut info = SetInfo {
        name: draft.name.clone(),
        producer: draft.producer.clone(),
        feed: draft.feed.clone(),
        reference: draft.reference.clone(),
        mode: draft.mode,
        path: source.path.clone(),
        digest: String::new(),
    };
    let mut building = Building::new(info.clone(), memory_limit);
    for row in std::mem::take(&mut draft.rows) {
        let meta = building.meta(&draft, row.meta);
        building.places.add(building.builder.len(), row.at.start, row.meta);
        building.builder.add(&row.value, meta, row.id.as_deref());
        if building.is_full() {
            let message = "the set alone would exceed `memory_limit`";
            let at = draft.name_at.clone();
            problems.push_fatal(Diagnostic::at(Level::Error, "memory-limit", &source, at, message), &source);
            return None;
        }
    }
    let bulk = std::mem::take(&mut draft.bulk);
    for (list, file) in bulk.iter().zip(&mut files) {
        building.list(&mut draft, list, file, &source, problems)?;
    }
    let (bad, total) = (draft.refused.total, draft.total);
    if bad > TOLERATED && bad.saturating_mul(20) > total {
        let message = format!("{bad} of {total} rows are bad: the set is refused");
        let at = draft.name_at.clone();
        let problem = Diagnostic::at(Level::Error, "too-many-bad-rows", &source, at, message);
        problems.push_fatal(problem.help("at most 5 % or 20 rows may be bad"), &source);
        return None;
    }
    info.digest = digest_of(&source, &files);
    let (compiled, places) = building.finish(&info, &source, problems);
    let counts = compiled.counts();
    let (indicators, allow) = match draft.mode {
        Mode::Indicators => (counts, 0),
        Mode::Block | Mode::Inform => (Default::default(), compiled.len()),
    };
    let mut markings: Vec<_> = draft.metas.list.iter().map(|meta| meta.tlp).collect();
    markings.sort_unstable();
    markings.dedup();
    Some(LoadedSet {
        compiled: Arc::new(compiled),
        info,
        tlp: draft.tlp,
        indicators,
        allow,
        refused: draft.refused.into_list(),
        tests: draft.tests.into(),
        stale: None,
        stale_at: None,
        foreign: None,
        name_at: draft.name_at,
        source: Arc::new(source),
        counts,
        markings,
        places: Arc::new(places),
        bulk: files,
        problems: Arc::new(Vec::new()),
    })
}

/// Where the lists of a set lie, their digests to be filled in; none if one of them cannot be opened.
fn resolve_lists(
    draft: &Draft,
    source: &Source,
    lists: &Lists<'_>,
    problems: &mut Problems,
) -> Option<Vec<BulkFile>> {
    let mut files = Vec::new();
    for (index, list) in draft.bulk.iter().enumerate() {
        let path = match lists {
            Lists::Tree(tree) => bulk::resolve(&source.path, tree, &list.file),
            Lists::Copies(copies) => copies.get(index).cloned().ok_or("no copy was kept"),
            Lists::None => Err("sets that are built in have no lists"),
        };
        let opened = path.map_err(str::to_owned).and_then(|path| match File::open(&path) {
            Ok(_) => Ok(BulkFile { name: list.file.clone(), path, digest: [0; 32] }),
            Err(error) => Err(format!("cannot be read: {error}")),
        });
        match opened {
            Ok(file) => files.push(file),
            Err(reason) => {
                let message = format!("bulk file `{}`: {reason}", list.file);
                let problem = Diagnostic::at(Level::Error, "bulk-file", source, list.at.clone(), message);
                problems.push_fatal(problem, source);
            }
        }
    }
    (files.len() == draft.bulk.len()).then_some(files)
}

/// SHA-256 of the set and its lists.
fn digest_of(source: &Source, files: &[BulkFile]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(Sha256::digest(source.text.as_bytes()));
    for file in files {
        hasher.update(file.digest);
    }
    hexadecimal(&hasher.finalize())
}

/// A set in the making.
struct Building {
    builder: SetBuilder,
    /// Ids of the builder, by index of the draft's policies.
    ids: Vec<Option<MetaId>>,
    places: Places,
    /// Rows that the memory limit can hold.
    most: usize,
}

/// The least memory that an entry takes in the index: its slot. Stops a list that cannot fit before
/// it is read to its end.
const LEAST_BYTES: u64 = 8;

/// Pieces of a list that are worked on at once; some for each core of a large machine.
const ROUND: usize = 16;

/// What became of the rows of a piece.
#[derive(Default)]
struct Part {
    keys: Keys,
    total: usize,
    refused: Tally,
    problems: Problems,
}

impl Building {
    fn new(info: SetInfo, memory_limit: Option<u64>) -> Building {
        let most = memory_limit.map_or(u64::from(u32::MAX), |limit| limit / LEAST_BYTES);
        Building {
            builder: SetBuilder::new(info),
            ids: Vec::new(),
            places: Places::default(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    fn is_full(&self) -> bool {
        self.builder.len() > self.most
    }

    /// The builder's id of a policy of the draft.
    fn meta(&mut self, draft: &Draft, meta: u32) -> MetaId {
        let index = meta as usize;
        if self.ids.len() <= index {
            self.ids.resize(draft.metas.list.len().max(index + 1), None);
        }
        let known = self.ids.get(index).copied().flatten();
        known.unwrap_or_else(|| {
            let interned = self.builder.meta(draft.metas.list.get(index).unwrap_or(&Default::default()));
            self.ids[index] = Some(interned);
            interned
        })
    }

    /// Reads a list and fills in its digest; none if the set must be refused.
    fn list(
        &mut self,
        draft: &mut Draft,
        list: &Bulk,
        file: &mut BulkFile,
        source: &Source,
        problems: &mut Problems,
    ) -> Option<()> {
        let at = u32::try_from(list.at.start).unwrap_or(u32::MAX);
        self.places.add(self.builder.len(), at, list.meta);
        let meta = self.meta(draft, list.meta);
        let message = match self.read(draft, list, meta, file, source, problems) {
            _ if self.is_full() => "the list alone would exceed `memory_limit`".to_owned(),
            Ok(true) => return Some(()),
            Ok(false) => format!("bulk file `{}` changed while it was read", list.file),
            Err(error) => format!("bulk file `{}` cannot be read: {error}", list.file),
        };
        let code = if self.is_full() { "memory-limit" } else { "bulk-file" };
        problems.push_fatal(Diagnostic::at(Level::Error, code, source, list.at.clone(), message), source);
        None
    }

    /// Reads a list in rounds of pieces, on all cores. False if it changed meanwhile.
    fn read(
        &mut self,
        draft: &mut Draft,
        list: &Bulk,
        meta: MetaId,
        file: &mut BulkFile,
        source: &Source,
        problems: &mut Problems,
    ) -> io::Result<bool> {
        let nocase = draft.metas.list.get(list.meta as usize).is_none_or(|meta| meta.nocase);
        // Diagnostics name the list as the set does, also when a copy is read.
        let shown = source.path.parent().unwrap_or(Path::new("")).join(&list.file);
        let (layout, header) = match list.layout.resolve(File::open(&file.path)?)? {
            Ok(found) => found,
            Err(names) => return Ok(self.no_column(list, &names, source, problems)),
        };
        let opened = File::open(&file.path)?;
        let before = opened.metadata()?;
        let mut reader = bulk::Reader::new(&opened);
        let mut hasher = Sha256::new();
        let mut length = 0;
        let mut pieces: Vec<_> = std::iter::repeat_with(bulk::Piece::default).take(ROUND).collect();
        let mut parts: Vec<_> = std::iter::repeat_with(Part::default).take(ROUND).collect();
        loop {
            let mut filled = 0;
            for piece in &mut pieces {
                if !reader.read(piece)? {
                    break;
                }
                filled += 1;
            }
            let round = pieces.get(..filled).unwrap_or_default();
            if round.is_empty() || self.is_full() {
                break;
            }
            let check = || {
                let parts = parts.par_iter_mut().zip(round);
                parts.for_each(|(part, piece)| part.check(piece, list, (&layout, &header), nocase, &shown));
            };
            rayon::join(check, || round.iter().for_each(|piece| hasher.update(piece.bytes())));
            for (part, piece) in parts.iter_mut().zip(round) {
                length += piece.bytes().len() as u64;
                draft.total += part.total;
                draft.refused.absorb(std::mem::take(&mut part.refused));
                problems.absorb(std::mem::take(&mut part.problems));
                self.builder.add_keys(list.kind, &part.keys, meta);
            }
        }
        file.digest = hasher.finalize().into();
        let after = opened.metadata()?;
        Ok(length == after.len() && before.modified()? == after.modified()?)
    }

    /// Tells that a list has no such column. The list has not changed, but the set is refused.
    fn no_column(&self, list: &Bulk, names: &[String], source: &Source, problems: &mut Problems) -> bool {
        let Layout::Csv { column: Column::Name(name), .. } = &list.layout else { return true };
        let message = format!("bulk file `{}` has no column `{name}`", list.file);
        let at = list.column_at.clone();
        let mut problem = Diagnostic::at(Level::Error, "bulk-file", source, at, message);
        let known = names.iter().map(String::as_str);
        problem = match nearest(name, known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None if names.is_empty() => problem.help("the file is empty"),
            None => problem.help(format!("it has {}", names.join(", "))),
        };
        problems.push_fatal(problem, source);
        true
    }

    /// The set, and where its entries stand. Warns of rows that another row of the set replaced.
    fn finish(self, info: &SetInfo, source: &Source, problems: &mut Problems) -> (CompiledSet, Places) {
        let (mut compiled, merged) = self.builder.build_merged();
        compiled.info = info.clone();
        let mut standing: HashMap<u32, Run> = HashMap::new();
        for pair in &merged {
            let now = self.places.run(pair.later);
            let last = standing.insert(pair.first, now).unwrap_or_else(|| self.places.run(pair.first));
            if last.meta != now.meta && last.at != now.at {
                let (line, column) = source.position(now.at as usize);
                let message = format!("never acts: line {line}, column {column} has the same value and wins");
                let at = token(source, last.at);
                let problem = Diagnostic::at(Level::Warning, "duplicate-value", source, at, message);
                problems.push(problem.help("keep one of the rows"), source);
            }
        }
        if merged.is_empty() {
            return (compiled, self.places);
        }
        let mut places = Places::default();
        let mut dropped = merged.iter().map(|pair| pair.later).peekable();
        let mut index = 0;
        for row in 0..(compiled.len() + merged.len()) as u32 {
            if dropped.next_if_eq(&row).is_none() {
                let run = standing.get(&row).copied().unwrap_or_else(|| self.places.run(row));
                places.add(index, run.at, run.meta);
                index += 1;
            }
        }
        (compiled, places)
    }
}

impl Part {
    /// Checks every row and brings it into normal form.
    fn check(
        &mut self,
        piece: &bulk::Piece,
        list: &Bulk,
        (layout, header): (&Layout, &Header),
        nocase: bool,
        shown: &Path,
    ) {
        let Part { keys, total, refused, problems } = self;
        keys.clear();
        *total = 0;
        piece.rows(layout, &mut |row| {
            let added = match &row.value {
                Ok(_) => match native::listed(&row, layout, list.kind, header) {
                    Some(value) => add_value(keys, list.kind, value, nocase, list.forced),
                    None => return,
                },
                Err(reason) => Err(native::Fault::unreadable(reason)),
            };
            if added.is_err() && header.is_names(&row) {
                return;
            }
            *total += 1;
            if let Err(fault) = added {
                let problem = fault.in_list(shown, &row);
                refused.add(fault.reason, || problem.place());
                problems.push_line(problem, row.text, row.offset);
            }
        });
    }
}

/// Where the entries of a set stand in its file: each at its value, those of a list at the name of the
/// list. A run begins where the place changes.
#[derive(Debug, Default)]
pub struct Places {
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    row: u32,
    at: u32,
    /// The policy, as the draft has it.
    meta: u32,
}

impl Places {
    fn add(&mut self, row: usize, at: u32, meta: u32) {
        if self.runs.last().is_none_or(|last| (last.at, last.meta) != (at, meta)) {
            self.runs.push(Run { row: row as u32, at, meta });
        }
    }

    /// Byte of the set's file where an entry stands.
    pub fn of(&self, row: u32) -> u32 {
        self.run(row).at
    }

    fn run(&self, row: u32) -> Run {
        let next = self.runs.partition_point(|run| run.row <= row);
        next.checked_sub(1).and_then(|at| self.runs.get(at)).copied().unwrap_or_default()
    }
}
