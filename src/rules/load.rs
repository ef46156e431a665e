//! Loads one set: text, tree, draft, bulk lists, compiled set.

use super::inventory::{Inventory, Stock};
use super::native::{self, Bulk, Draft, check_value};
use super::problems::Problems;
use super::{BulkFile, LoadedSet, bulk, hexadecimal, yaml};
use crate::detect::indicator::{MetaId, Mode, Normal, SetBuilder, SetInfo};
use crate::diagnostic::{Diagnostic, Level, Source};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set of 64 MiB has half a million rows; longer lists belong into bulk files, which are
/// streamed. The tree of a file takes several times its size while it is read.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// A set is refused when more than 5 % of its rows and more than this many are bad.
const TOLERATED: usize = 20;

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
    let explain = |error: std::io::Error| format!("cannot be read: {error}");
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
pub fn load(
    source: Source,
    lists: &Lists<'_>,
    stock: &Stock,
    memory_limit: Option<u64>,
    problems: &mut Problems,
) -> Loaded {
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
        None => compile(draft, source, lists, stock, memory_limit, &mut inner),
    };
    match set {
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
    stock: &Stock,
    memory_limit: Option<u64>,
    problems: &mut Problems,
) -> Option<LoadedSet> {
    let files = open_lists(&draft, &source, lists, problems)?;
    let info = SetInfo {
        name: draft.name.clone(),
        producer: draft.producer.clone(),
        feed: draft.feed.clone(),
        reference: draft.reference.clone(),
        mode: draft.mode,
        path: source.path.clone(),
        digest: digest_of(&source, &files),
    };
    let mut building = Building {
        builder: SetBuilder::new(info.clone()),
        ids: Vec::new(),
        inventory: stock.inventory(memory_limit),
    };
    for row in std::mem::take(&mut draft.rows) {
        if building.add(&draft, &row.value, row.meta, row.id.as_deref(), row.at.start).is_none() {
            let message = "the set alone would exceed `memory_limit`";
            let at = draft.name_at.clone();
            problems.push_fatal(Diagnostic::at(Level::Error, "memory-limit", &source, at, message), &source);
            return None;
        }
    }
    let bulk = std::mem::take(&mut draft.bulk);
    for (list, file) in bulk.iter().zip(&files) {
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
    let inventory = building.inventory.finish(std::mem::take(&mut draft.metas.list), &source, problems);
    let counts = inventory.counts();
    let (indicators, allow) = match draft.mode {
        Mode::Indicators => (counts, 0),
        Mode::Block | Mode::Inform => (Default::default(), counts.iter().sum()),
    };
    Some(LoadedSet {
        compiled: Arc::new(building.builder.build()),
        info,
        tlp: draft.tlp,
        indicators,
        allow,
        refused: draft.refused.into_list(),
        tests: draft.tests.into(),
        stale: None,
        stale_at: None,
        name_at: draft.name_at,
        source: Arc::new(source),
        inventory: Arc::new(inventory),
        bulk: files,
        problems: Arc::new(Vec::new()),
    })
}

/// Where the lists of a set lie, and their digests; none if one of them cannot be read.
fn open_lists(
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
        let read = path.map_err(Cow::Borrowed).and_then(|path| match bulk::digest(&path) {
            Ok(digest) => Ok(BulkFile { name: list.file.clone(), path, digest }),
            Err(error) => Err(Cow::Owned(format!("cannot be read: {error}"))),
        });
        match read {
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
    inventory: Inventory,
}

impl Building {
    /// Adds an entry; none if there are more than the memory limit can hold.
    fn add(&mut self, draft: &Draft, value: &Normal, meta: u32, id: Option<&str>, at: u32) -> Option<()> {
        let index = meta as usize;
        if self.ids.len() <= index {
            self.ids.resize(draft.metas.list.len().max(index + 1), None);
        }
        let interned = match self.ids.get(index).copied().flatten() {
            Some(interned) => interned,
            None => {
                let interned = self.builder.meta(draft.metas.list.get(index)?);
                if let Some(place) = self.ids.get_mut(index) {
                    *place = Some(interned);
                }
                interned
            }
        };
        self.builder.add(value, interned, id);
        self.inventory.add(value, meta, at)
    }

    /// Streams a list; none if the set must be refused.
    fn list(
        &mut self,
        draft: &mut Draft,
        list: &Bulk,
        file: &BulkFile,
        source: &Source,
        problems: &mut Problems,
    ) -> Option<()> {
        let at = u32::try_from(list.at.start).unwrap_or(u32::MAX);
        let nocase = draft.metas.list.get(list.meta as usize).is_none_or(|meta| meta.nocase);
        // Diagnostics name the list as the set does, also when a copy is read.
        let shown = source.path.parent().unwrap_or(Path::new("")).join(&list.file);
        let mut full = false;
        let mut each = |row: bulk::ListRow<'_>| {
            draft.total += 1;
            let checked = match &row.value {
                Ok(value) => check_value(list.kind, value, nocase, list.forced),
                Err(reason) => Err(native::Fault::unreadable(reason)),
            };
            match checked {
                Ok(value) => full = self.add(draft, &value, list.meta, None, at).is_none(),
                Err(fault) => {
                    let problem = fault.in_list(&shown, &row);
                    draft.refused.add(fault.reason, || problem.place());
                    problems.push_line(problem, row.text, row.offset);
                }
            }
            !full
        };
        let digest =
            File::open(&file.path).and_then(|mut file| bulk::rows(&mut file, list.column, &mut each));
        let message = match digest {
            _ if full => "the list alone would exceed `memory_limit`".to_owned(),
            Ok(digest) if digest == file.digest => return Some(()),
            Ok(_) => format!("bulk file `{}` changed while it was read", list.file),
            Err(error) => format!("bulk file `{}` cannot be read: {error}", list.file),
        };
        let code = if full { "memory-limit" } else { "bulk-file" };
        problems.push_fatal(Diagnostic::at(Level::Error, code, source, list.at.clone(), message), source);
        None
    }
}
