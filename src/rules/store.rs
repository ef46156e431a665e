//! Loads generation after generation: shares what did not change, keeps what was good.

use super::compare::{InForce, changes, never_firing};
use super::find::{self, Files, Found};
use super::foreign::{self, Feed, Format, Part};
use super::last_good::{LastGood, Saved};
use super::load::{self, Lists, Loaded};
use super::problems::Problems;
use super::{Generation, LoadedSet, Problem, Refused, RefusedFile, SetChanges, bulk};
use crate::detect::RuleSet;
use crate::diagnostic::{Diagnostic, Level, Source, printable};
use crate::input::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where rule sets come from, and what was loaded last.
#[derive(Debug)]
pub struct Store {
    paths: Vec<PathBuf>,
    embedded: &'static [(&'static str, &'static str)],
    data_dir: Option<PathBuf>,
    memory_limit: Option<u64>,
    last_good: Option<LastGood>,
    previous: Previous,
}

/// What the generation before left in force.
#[derive(Debug, Default)]
struct Previous {
    rules: Option<Arc<RuleSet>>,
    sets: BTreeMap<PathBuf, Arc<LoadedSet>>,
    files: Files,
}

impl Store {
    /// Sets from files and directories. Nothing is read before [`Store::load`].
    ///
    /// With a data directory, last good versions are kept there.
    pub fn new(paths: Vec<PathBuf>, data_dir: Option<PathBuf>, memory_limit: Option<u64>) -> Store {
        Store { paths, embedded: &[], data_dir, memory_limit, last_good: None, previous: Previous::default() }
    }

    /// Sets that are part of the program: pairs of a file name and its text.
    pub fn embedded(sets: &'static [(&'static str, &'static str)]) -> Store {
        Store { embedded: sets, ..Store::new(Vec::new(), None, None) }
    }

    /// Sets from other files and directories from the next load on.
    pub fn set_paths(&mut self, paths: Vec<PathBuf>) {
        self.paths = paths;
    }

    /// The files and directories to watch.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads what changed since the last call and builds the next generation.
    ///
    /// Never fails: what cannot be used is in the diagnostics, and what was in force stays.
    pub fn load(&mut self, now: Nanos) -> Generation {
        if let (None, Some(dir)) = (&self.last_good, &self.data_dir) {
            self.last_good = Some(LastGood::open(dir));
        }
        let mut files = find::find(&self.paths);
        let mut wanted = files.files.clone();
        let feeds = foreign::feeds(&mut wanted, &mut files.notes);
        let mut loading = Loading { notes: files.notes.clone(), ..Loading::default() };
        loading.problems.extend(files.problems.iter().cloned().map(Problem::whole));
        self.read_embedded(&mut loading);
        for file in &wanted {
            self.read(file, &mut loading);
        }
        for feed in &feeds {
            self.read_feed(feed, &mut loading);
        }
        loading.refuse_second_names(&self.previous);
        self.fall_back(&files, &mut loading);
        let rules = self.build(&mut loading);
        loading.problems.extend(never_firing(&rules, &loading.sets, now));
        self.finish(rules, files, loading)
    }

    /// Keeps copies of what was loaded last and is good, and drops those whose file is gone.
    ///
    /// Apart from [`Store::load`], because the disk may take longer than all the rest.
    pub fn keep(&mut self) -> Option<Diagnostic> {
        let Previous { rules: Some(_), sets, files } = &self.previous else { return None };
        let kept = self.last_good.as_mut()?;
        let mut result = Ok(());
        for set in sets.values().filter(|set| set.stale.is_none()) {
            let embedded = self.embedded.iter().any(|(name, _)| Path::new(name) == set.info.path);
            if !embedded {
                result = result.and(kept.save(set));
            }
        }
        let mut present: BTreeSet<&Path> = files.files.iter().map(|file| &*file.path).collect();
        present.extend(sets.keys().map(PathBuf::as_path));
        let keep =
            |path: &Path| present.contains(path) || files.unreadable.iter().any(|place| place.hides(path));
        result = result.and(kept.retain(keep));
        let (error, dir) = (result.err()?, self.data_dir.as_ref()?);
        let message = format!("last good versions of rule sets cannot be kept: {error}");
        Some(Diagnostic::whole(Level::Warning, "last-good", dir, message))
    }

    fn read_embedded(&self, loading: &mut Loading) {
        for (name, text) in self.embedded {
            let path = Path::new(name);
            match self.previous.sets.get(path) {
                Some(set) => loading.sets.push(set.clone()),
                None => {
                    let found = Found { path: path.to_owned(), tree: PathBuf::new(), named: true };
                    self.load_text(&found, Source::new(path, *text), &Lists::None, loading);
                }
            }
        }
    }

    fn read(&self, file: &Found, loading: &mut Loading) {
        if foreign::looks_like_json(&file.path) && self.read_foreign(file, loading) {
            return;
        }
        let extension = file.path.extension().and_then(|extension| extension.to_str());
        if !file.named && !matches!(extension, Some("yaml" | "yml")) {
            // Emptied, cut off, or an error page in its place.
            if self.held_a_set(&file.path) {
                return loading.fail(file, None, no_set_any_more(file));
            }
            return pass_over(file, loading);
        }
        let bytes = match load::read_file(&file.path) {
            Ok(bytes) => bytes,
            Err(reason) => {
                let problem = Diagnostic::whole(Level::Error, "unreadable", &file.path, reason);
                return loading.fail(file, None, Problem::whole(problem));
            }
        };
        let source = match load::text_of(&file.path, &bytes) {
            Ok(source) => source,
            Err(failed) => {
                let (problem, source) = *failed;
                let (line, start) = source.line(problem.line);
                return loading.fail(file, None, Problem::with_line(problem, line, start));
            }
        };
        drop(bytes);
        if let Some(set) = self.previous.sets.get(&file.path)
            && set.foreign.is_none()
            && set.source.text == source.text
            && lists_unchanged(set, file)
        {
            return loading.keep(set);
        }
        self.load_text(file, source, &Lists::Tree(&file.tree), loading);
    }

    /// Reads a file that begins as JSON does; false if it is of no format that is known.
    fn read_foreign(&self, file: &Found, loading: &mut Loading) -> bool {
        if let Some(set) = self.previous.sets.get(&file.path)
            && set.foreign.is_some()
            && foreign::unchanged(set, std::slice::from_ref(&file.path))
        {
            loading.keep(set);
            return true;
        }
        let Ok(text) = foreign::read_text(&file.path) else { return false };
        let format = match foreign::identify(&text) {
            Ok(Some(format)) => format,
            Ok(None) => return false,
            Err(malformed) => match foreign::meant(&text) {
                // A native set may be written in braces too.
                None => return false,
                Some(format) => {
                    loading.fail(file, None, foreign::syntax(&text, &file.path, format, &malformed));
                    return true;
                }
            },
        };
        drop(text);
        self.load_foreign(format, file, &[Part::own(&file.path)], loading);
        true
    }

    fn read_feed(&self, feed: &Feed, loading: &mut Loading) {
        let file = &feed.manifest;
        if let Some(reason) = &feed.broken {
            let problem = Diagnostic::whole(Level::Error, "feed", &file.path, reason.clone());
            return loading.fail(file, Some(foreign::set_name(file, true)), Problem::whole(problem));
        }
        let paths: Vec<PathBuf> = std::iter::once(&file.path).chain(&feed.events).cloned().collect();
        match self.previous.sets.get(&file.path) {
            Some(set) if set.foreign.is_some() && foreign::unchanged(set, &paths) => loading.keep(set),
            _ => {
                let parts: Vec<Part> = paths.iter().map(|path| Part::own(path)).collect();
                self.load_foreign(Format::MispManifest, file, &parts, loading);
            }
        }
    }

    fn load_foreign(&self, format: Format, file: &Found, parts: &[Part], loading: &mut Loading) {
        let name = foreign::set_name(file, format == Format::MispManifest);
        let mut problems = Problems::default();
        let loaded = foreign::load(format, &name, parts, self.memory_limit, &mut problems);
        self.settle(file, loaded, problems, format.holds_nothing(), loading);
    }

    fn load_text(&self, file: &Found, source: Source, lists: &Lists<'_>, loading: &mut Loading) {
        let mut problems = Problems::default();
        let loaded = load::load(source, lists, self.memory_limit, &mut problems);
        self.settle(file, loaded, problems, "no `schema`", loading);
    }

    /// Takes over what a file turned out to be.
    fn settle(&self, file: &Found, loaded: Loaded, problems: Problems, nothing: &str, loading: &mut Loading) {
        match loaded {
            Loaded::Set(mut set) => {
                set.problems = Arc::new(problems.finish());
                loading.sets.push(Arc::from(set));
            }
            Loaded::Refused { name, reason, first } => {
                loading.problems.extend(problems.finish());
                loading.failures.push(Failure { path: file.path.clone(), name, reason, first });
            }
            Loaded::Foreign(format) => loading.foreign(file, format),
            Loaded::Other if file.named => {
                let message = "not a rule set";
                let problem = Diagnostic::whole(Level::Error, "not-a-set", &file.path, message);
                loading.fail(file, None, Problem::whole(problem.help("a rule set begins with `schema: 1`")));
            }
            Loaded::Other if self.held_a_set(&file.path) => loading.fail(file, None, no_set_any_more(file)),
            Loaded::Other => loading.notes.push(format!("{}: {nothing}, ignored", file.path.display())),
        }
    }

    /// An emptied file must not disarm the sensor as a removed one does.
    fn held_a_set(&self, path: &Path) -> bool {
        self.previous.sets.contains_key(path)
            || self.last_good.as_ref().is_some_and(|kept| kept.of(path).is_some())
    }

    /// Puts the last good versions in the place of what failed or cannot be reached.
    fn fall_back(&self, files: &Files, loading: &mut Loading) {
        let present: BTreeSet<&Path> = files.files.iter().map(|file| &*file.path).collect();
        for failure in std::mem::take(&mut loading.failures) {
            let set = self.last_version(&failure.path).or_else(|| {
                // Renamed and broken at once.
                let name = failure.name.as_deref()?;
                let path = self.path_of(name).filter(|path| !present.contains(path.as_path()))?;
                self.last_version(&path)
            });
            match set.filter(|set| !loading.has(&set.info.name)) {
                Some(set) => loading.sets.push(stale(&set, failure.reason, failure.first)),
                None => loading.failures.push(failure),
            }
        }
        for place in &files.unreadable {
            let kept = self.last_good.iter().flat_map(LastGood::paths);
            let hidden: BTreeSet<PathBuf> =
                self.previous.sets.keys().chain(kept).filter(|path| place.hides(path)).cloned().collect();
            for path in hidden {
                if present.contains(path.as_path()) || loading.sets.iter().any(|set| set.info.path == path) {
                    continue;
                }
                if let Some(set) = self.last_version(&path).filter(|set| !loading.has(&set.info.name)) {
                    let first = place.path.display().to_string();
                    loading.sets.push(stale(&set, place.reason.clone(), first));
                }
            }
        }
        loading.sets.sort_by(|a, b| a.info.path.cmp(&b.info.path));
    }

    /// The set that a file held, from memory or from its copy.
    fn last_version(&self, path: &Path) -> Option<Arc<LoadedSet>> {
        if let Some(set) = self.previous.sets.get(path) {
            return Some(set.clone());
        }
        let saved = self.last_good.as_ref()?.of(path)?;
        if let Some(format) = saved.format {
            return self.last_foreign(format, path, saved);
        }
        let bytes = load::read_file(&saved.set).ok()?;
        let source = load::text_of(path, &bytes).ok()?;
        let mut problems = Problems::default();
        match load::load(source, &Lists::Copies(&saved.lists), self.memory_limit, &mut problems) {
            Loaded::Set(set) => Some(Arc::from(set)),
            _ => None,
        }
    }

    fn last_foreign(&self, format: Format, path: &Path, saved: &Saved) -> Option<Arc<LoadedSet>> {
        let dir = path.parent().unwrap_or(Path::new(""));
        let part = |(name, copy): (&String, &PathBuf)| Part { shown: dir.join(name), read: copy.clone() };
        let parts: Vec<Part> = saved.names.iter().zip(&saved.lists).map(part).collect();
        let mut problems = Problems::default();
        match foreign::load(format, &saved.name, &parts, self.memory_limit, &mut problems) {
            Loaded::Set(set) => Some(Arc::from(set)),
            _ => None,
        }
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        let held =
            self.previous.sets.values().find(|set| set.info.name == name).map(|set| set.info.path.clone());
        held.or_else(|| self.last_good.as_ref()?.named(name).map(|(path, _)| path.clone()))
    }

    /// Merges the sets; while they exceed the memory limit, the largest that is new stays out.
    fn build(&self, loading: &mut Loading) -> Arc<RuleSet> {
        loop {
            let compiled: Vec<_> = loading.sets.iter().map(|set| set.compiled.clone()).collect();
            let same = |rules: &&Arc<RuleSet>| {
                let old = rules.sets();
                old.len() == compiled.len()
                    && old.iter().zip(&compiled).all(|(old, new)| Arc::ptr_eq(old, new))
            };
            if let Some(rules) = self.previous.rules.as_ref().filter(same) {
                return rules.clone();
            }
            let rules = RuleSet::new(compiled);
            let limit = self.memory_limit.unwrap_or(u64::MAX);
            let needed = rules.memory() as u64;
            if needed <= limit {
                return Arc::new(rules);
            }
            drop(rules);
            let previous = |set: &LoadedSet| self.previous.sets.get(&set.info.path);
            let is_new =
                |set: &LoadedSet| previous(set).is_none_or(|old| !Arc::ptr_eq(&old.compiled, &set.compiled));
            let largest = loading
                .sets
                .iter()
                .enumerate()
                .filter(|(_, set)| is_new(set))
                .max_by_key(|(_, set)| set.entries());
            let Some((index, _)) = largest else {
                // Nothing is new: the limit itself was lowered. What is in force stays.
                let compiled = loading.sets.iter().map(|set| set.compiled.clone()).collect();
                return Arc::new(RuleSet::new(compiled));
            };
            let set = loading.sets.remove(index);
            let reason = format!("rule sets would take {needed} bytes, `memory_limit` is {limit}");
            let problem = Diagnostic::at(
                Level::Error,
                "memory-limit",
                &set.source,
                set.name_at.clone(),
                reason.clone(),
            );
            let first = problem.place();
            let (line, start) = set.source.line(problem.line);
            loading.problems.push(Problem::with_line(
                problem.help("shorten the set or raise the limit"),
                line,
                start,
            ));
            match previous(&set) {
                Some(old) => loading.sets.insert(index, stale(old, reason, first)),
                None => {
                    let (path, name) = (set.info.path.clone(), Some(set.info.name.clone()));
                    loading.failures.push(Failure { path, name, reason, first });
                }
            }
        }
    }

    fn finish(&mut self, rules: Arc<RuleSet>, files: Files, mut loading: Loading) -> Generation {
        let good = loading.sets.iter().filter(|set| set.stale.is_none());
        loading.problems.extend(good.flat_map(|set| set.problems.iter().cloned()));
        loading.problems.sort_by(|a, b| {
            let (a, b) = (&a.diagnostic, &b.diagnostic);
            (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column))
        });
        let notes = loading.notes(&self.previous);
        let changes = all_changes(&rules, &loading.sets, &self.previous);
        let by_path = loading.sets.iter().map(|set| (set.info.path.clone(), set.clone()));
        self.previous = Previous { rules: Some(rules.clone()), sets: by_path.collect(), files };
        Generation {
            rules,
            refused: loading.failures.into_iter().map(Failure::into_file).collect(),
            diagnostics: loading.problems.iter().map(|problem| problem.diagnostic.clone()).collect(),
            problems: loading.problems,
            notes,
            changes,
            sets: loading.sets,
        }
    }
}

/// A generation in the making.
#[derive(Debug, Default)]
struct Loading {
    sets: Vec<Arc<LoadedSet>>,
    failures: Vec<Failure>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    /// Files that are no sets; lists are among them.
    passed: Vec<PathBuf>,
}

#[derive(Debug)]
struct Failure {
    path: PathBuf,
    name: Option<String>,
    reason: String,
    first: String,
}

impl Failure {
    fn into_file(self) -> RefusedFile {
        let refused = Refused { reason: self.reason, count: 1, first: self.first };
        RefusedFile { path: self.path, set: self.name, refused }
    }
}

impl Loading {
    fn has(&self, name: &str) -> bool {
        self.sets.iter().any(|set| set.info.name == name)
    }

    /// Takes over a set whose files did not change, or are again what they were.
    fn keep(&mut self, set: &Arc<LoadedSet>) {
        let fresh = LoadedSet { stale: None, stale_at: None, ..LoadedSet::clone(set) };
        self.sets.push(if set.stale.is_none() { set.clone() } else { Arc::new(fresh) });
    }

    fn fail(&mut self, file: &Found, name: Option<String>, problem: Problem) {
        let reason = printable(&problem.diagnostic.message).into_owned();
        let first = problem.diagnostic.place();
        self.failures.push(Failure { path: file.path.clone(), name, reason, first });
        self.problems.push(problem);
    }

    fn foreign(&mut self, file: &Found, format: &str) {
        let message = format!("{format}: not supported in this version");
        let problem = Diagnostic::whole(Level::Warning, "not-supported", &file.path, message);
        self.fail(file, None, Problem::whole(problem));
    }

    /// Of two sets with one name the one that has it already stands, else the first.
    fn refuse_second_names(&mut self, previous: &Previous) {
        let established = |set: &LoadedSet| {
            previous.sets.get(&set.info.path).is_some_and(|old| old.info.name == set.info.name)
        };
        let mut sets = std::mem::take(&mut self.sets);
        sets.sort_by_key(|set| !established(set));
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for set in sets {
            let problem = |message| {
                Diagnostic::at(Level::Error, "duplicate-set", &set.source, set.name_at.clone(), message)
            };
            let own = problem(String::new()).place();
            let Some(other) = names.get(&set.info.name) else {
                names.insert(set.info.name.clone(), own);
                self.sets.push(set);
                continue;
            };
            let problem = problem(format!("set `{}` is defined already at {other}", set.info.name));
            let problem = problem.help("set names are unique: give one of them another name");
            let (line, start) = set.source.line(problem.line);
            let (path, name) = (set.info.path.clone(), Some(set.info.name.clone()));
            self.failures.push(Failure { path, name, reason: problem.message.clone(), first: own });
            self.problems.push(Problem::with_line(problem, line, start));
        }
    }

    /// The notes, with the files passed over that are no lists of a set.
    fn notes(&mut self, previous: &Previous) -> Vec<String> {
        /// A directory of something else must not flood the log.
        const LISTED: usize = 100;
        let sets = self.sets.iter().chain(previous.sets.values());
        let lists: BTreeSet<PathBuf> =
            sets.flat_map(|set| &set.bulk).filter_map(|list| list.path.canonicalize().ok()).collect();
        let is_list = |path: &PathBuf| path.canonicalize().is_ok_and(|path| lists.contains(&path));
        let mut notes = std::mem::take(&mut self.notes);
        for path in self.passed.iter().filter(|path| !is_list(path)) {
            notes.push(format!("{}: not a rule file, ignored", path.display()));
        }
        for note in &mut notes {
            *note = printable(note).into_owned();
        }
        if notes.len() > LISTED {
            let more = notes.len() - LISTED;
            notes.truncate(LISTED);
            notes.push(format!("{more} more files are ignored"));
        }
        notes
    }
}

/// A file whose name is not that of a set.
fn pass_over(file: &Found, loading: &mut Loading) {
    /// Formats show themselves at their beginning.
    const HEAD: u64 = 64 * 1024;
    let mut head = Vec::new();
    // A file that cannot be read is passed over like one that says nothing.
    let _ = File::open(&file.path).and_then(|opened| opened.take(HEAD).read_to_end(&mut head));
    match find::sniff(&head) {
        Some("native set") => {
            let message = "looks like a rule set, but its name does not end in .yaml: ignored";
            let problem = Diagnostic::whole(Level::Warning, "not-a-set", &file.path, message);
            loading.problems.push(Problem::whole(problem.help("rename the file")));
        }
        // Formats that are read were told by what they hold; their words alone say nothing.
        _ => loading.passed.push(file.path.clone()),
    }
}

/// What is wrong with a file that held a set.
fn no_set_any_more(file: &Found) -> Problem {
    let problem = Diagnostic::whole(Level::Error, "not-a-set", &file.path, "no rule set any more");
    Problem::whole(problem.help("remove the file to remove its set"))
}

fn lists_unchanged(set: &LoadedSet, file: &Found) -> bool {
    set.bulk.iter().all(|list| {
        let path = bulk::resolve(&file.path, &file.tree, &list.name);
        path.is_ok_and(|path| bulk::digest(&path).is_ok_and(|digest| digest == list.digest))
    })
}

fn stale(set: &LoadedSet, reason: String, first: String) -> Arc<LoadedSet> {
    Arc::new(LoadedSet { stale: Some(reason), stale_at: Some(first), ..set.clone() })
}

fn all_changes(rules: &RuleSet, sets: &[Arc<LoadedSet>], previous: &Previous) -> Vec<SetChanges> {
    let before: BTreeMap<&str, &Arc<LoadedSet>> =
        previous.sets.values().map(|set| (&*set.info.name, set)).collect();
    let in_force = |set: &LoadedSet| InForce::find(previous.rules.as_deref()?, set);
    let mut all = Vec::new();
    for set in sets {
        let old = before.get(&*set.info.name);
        if old.is_none_or(|old| !Arc::ptr_eq(&old.compiled, &set.compiled)) {
            let old = old.and_then(|old| in_force(old));
            all.push(changes(&set.info.name, InForce::find(rules, set), old));
        }
    }
    let names: BTreeSet<&str> = sets.iter().map(|set| &*set.info.name).collect();
    for (name, old) in before.into_iter().filter(|(name, _)| !names.contains(name)) {
        all.push(changes(name, None, in_force(old)));
    }
    all.retain(|changes| changes.added + changes.removed + changes.changed > 0);
    all
}

#[cfg(test)]
mod tests {
    use super::super::{ChangeKind, report};
    use super::*;
    use crate::detect::indicator::Tlp;
    use std::fs;

    /// 2026-09-01T00:00:00Z
    const NOW: Nanos = 1_788_220_800_000_000_000;

    struct Site {
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Site {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("rules.d")).unwrap();
            Site { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join("rules.d").join(name)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        /// A sensor that starts: nothing in memory, the data directory as it was left.
        fn store(&self) -> Store {
            Store::new(vec![self.path("")], Some(self.dir.path().join("data")), None)
        }

        fn lines(&self, generation: &Generation) -> Vec<String> {
            let root = format!("{}", self.path("").display());
            generation.diagnostics.iter().map(|problem| problem.one_line().replace(&root, "")).collect()
        }
    }

    fn loaded(store: &mut Store) -> Generation {
        let generation = store.load(NOW);
        assert_eq!(store.keep(), None);
        generation
    }

    fn set(name: &str, domains: &[&str]) -> String {
        let mut text = format!("schema: 1\nset: {name}\nindicators:\n");
        for domain in domains {
            text += &format!("  - {{type: domain, value: {domain}}}\n");
        }
        text
    }

    fn in_force(generation: &Generation) -> Vec<(&str, usize, bool)> {
        generation.sets.iter().map(|set| (&*set.info.name, set.entries(), set.stale.is_some())).collect()
    }

    #[test]
    fn unchanged_sets_are_shared_and_changes_are_told() {
        let site = Site::new();
        site.write("a.yaml", set("a", &["one.example", "two.example"]));
        site.write("b/b.yml", set("b", &["three.example"]));
        let mut store = site.store();
        let first = loaded(&mut store);
        assert_eq!(in_force(&first), [("a", 2, false), ("b", 1, false)]);
        assert_eq!(first.rules.sets().len(), 2);
        let second = loaded(&mut store);
        assert!(Arc::ptr_eq(&first.rules, &second.rules) && second.changes.is_empty());
        site.write("a.yaml", set("a", &["two.example", "four.example"]) + "defaults: {tlp: clear}\n");
        let third = loaded(&mut store);
        assert!(
            Arc::ptr_eq(&second.sets[1], &third.sets[1]) && !Arc::ptr_eq(&second.sets[0], &third.sets[0])
        );
        let [changes] = &third.changes[..] else { panic!("{:?}", third.changes) };
        assert_eq!((changes.added, changes.removed, changes.changed), (1, 1, 1));
        let mut list: Vec<_> =
            changes.list.iter().map(|change| (change.value.as_str(), change.change, change.tlp)).collect();
        list.sort_unstable_by_key(|(value, ..)| *value);
        assert_eq!(
            list,
            [
                ("four.example", ChangeKind::Added, Tlp::Clear),
                ("one.example", ChangeKind::Removed, Tlp::Amber),
                ("two.example", ChangeKind::Changed, Tlp::Clear),
            ]
        );
        fs::remove_file(site.path("a.yaml")).unwrap();
        let fourth = loaded(&mut store);
        assert_eq!(in_force(&fourth), [("b", 1, false)]);
        assert_eq!((fourth.changes[0].set.as_str(), fourth.changes[0].removed), ("a", 2));
    }

    #[test]
    fn a_broken_set_keeps_its_last_good_version_across_a_restart() {
        let site = Site::new();
        let good = set("a", &["one.example"]) + "bulk: [{file: list.csv, type: domain, column: 1}]\n";
        site.write("a.yaml", &good);
        site.write("list.csv", "two.example,x\nthree.example,x\n");
        let mut store = site.store();
        assert_eq!(in_force(&loaded(&mut store)), [("a", 3, false)]);
        site.write("a.yaml", good.replace("indicators", "indicator"));
        site.write("list.csv", "gone.example\n");
        for (name, mut store) in [("in memory", store), ("after a restart", site.store())] {
            let generation = loaded(&mut store);
            assert_eq!(in_force(&generation), [("a", 3, true)], "{name}");
            assert_eq!(
                site.lines(&generation),
                ["a.yaml:3:1: unknown key `indicator` in a rule set (did you mean `indicators`?)"],
                "{name}"
            );
            let set = &generation.sets[0];
            assert_eq!(set.stale.as_deref(), Some("unknown key `indicator` in a rule set"), "{name}");
            assert!(set.stale_at.as_ref().unwrap().ends_with("a.yaml:3:1"), "{name}");
            assert_eq!(set.info.path, site.path("a.yaml"), "{name}");
            assert!(generation.refused.is_empty(), "{name}");
            // It stays so until the file is good again.
            assert_eq!(in_force(&loaded(&mut store)), [("a", 3, true)], "{name}");
        }
        // The cause is what refuses the set, not the bad row before it.
        let row = "indicators:\n  - {type: ip, value: x}\nfoo: 1";
        site.write("a.yaml", good.replace("indicators:", row));
        let mut store = site.store();
        let generation = loaded(&mut store);
        assert!(
            generation.sets[0].stale_at.as_ref().unwrap().ends_with("a.yaml:5:1"),
            "{:?}",
            generation.sets[0].stale_at
        );
        site.write("a.yaml", &good);
        let generation = loaded(&mut store);
        assert_eq!(in_force(&generation), [("a", 2, false)]);
        assert_eq!((generation.changes[0].added, generation.changes[0].removed), (1, 2));
    }

    #[test]
    fn every_way_to_break_a_file_leaves_its_set_armed() {
        for (name, broken) in [
            ("emptied", &b""[..]),
            ("other content", b"hello: world\n"),
            ("cut", b"schema: 1\nset: a\nindicators:\n  - {type: dom"),
            ("NUL", b"schema: 1\nset: a\0\n"),
            ("UTF-16", b"\xff\xfes\0c\0"),
            ("not UTF-8", b"schema: 1\nset: \xc3\x28\n"),
            ("without schema", b"set: a\nindicators: []\n"),
            ("JSON", br#"{"type": "bundle", "objects": []}"#),
            ("a missing list", b"schema: 1\nset: a\nbulk: [{file: none.csv, type: ip}]\n"),
        ] {
            let site = Site::new();
            site.write("a.yaml", set("a", &["one.example"]));
            loaded(&mut site.store());
            site.write("a.yaml", broken);
            let generation = loaded(&mut site.store());
            assert_eq!(in_force(&generation), [("a", 1, true)], "{name}");
            assert_eq!(generation.diagnostics.len(), 1, "{name}: {:?}", site.lines(&generation));
        }
    }

    #[test]
    fn every_way_to_break_a_foreign_file_leaves_its_set_armed() {
        const EVENT: &str = r#"{"Event": {"uuid": "5c1ac5c5-6a2c-4f6e-9f0d-0a0a0a0a0a0a", "info": "i", "Attribute":
            [{"type": "domain", "value": "one.example", "to_ids": true}]}}"#;
        for (name, broken) in [
            ("emptied", &b""[..]),
            ("blank", b"  \n"),
            ("nothing in it", b"{}"),
            ("an error", br#"{"name": "Authentication failed"}"#),
            ("a page", b"<!doctype html>"),
            ("cut", br#"{"Ev"#),
            ("cut in its middle", &EVENT.as_bytes()[..EVENT.len() / 2]),
            ("not UTF-8", b"{\"Event\": {\"info\": \"\xc3\"}}"),
        ] {
            let site = Site::new();
            site.write("a.json", EVENT);
            assert_eq!(in_force(&loaded(&mut site.store())), [("a", 1, false)], "{name}");
            site.write("a.json", broken);
            let generation = loaded(&mut site.store());
            assert_eq!(in_force(&generation), [("a", 1, true)], "{name}: {:?}", site.lines(&generation));
        }
    }

    #[test]
    fn what_vanished_is_removed_and_what_is_hidden_is_kept() {
        let site = Site::new();
        site.write("a.yaml", set("a", &["one.example"]));
        site.write("sub/b.yaml", set("b", &["two.example"]));
        loaded(&mut site.store());
        let copies = || fs::read_dir(site.dir.path().join("data/rules/last-good")).unwrap().count();
        assert_eq!(copies(), 2);
        // The whole tree is not mounted: nobody took the sets away.
        fs::rename(site.path(""), site.dir.path().join("away")).unwrap();
        let generation = loaded(&mut site.store());
        assert_eq!(in_force(&generation), [("a", 1, true), ("b", 1, true)]);
        assert_eq!(copies(), 2);
        fs::rename(site.dir.path().join("away"), site.path("")).unwrap();
        fs::remove_file(site.path("a.yaml")).unwrap();
        assert_eq!(in_force(&loaded(&mut site.store())), [("b", 1, false)]);
        assert_eq!(copies(), 1);
        // Renamed and broken at once.
        fs::remove_file(site.path("sub/b.yaml")).unwrap();
        site.write("c.yaml", "schema: 1\nset: b\nindicators: [{type: domian, value: x.example}]\n");
        for _ in 0..2 {
            assert_eq!(in_force(&loaded(&mut site.store())), [("b", 1, true)]);
        }
    }

    #[test]
    fn one_version_of_each_set_is_kept() {
        let site = Site::new();
        let mut store = site.store();
        for domain in ["one.example", "two.example", "three.example"] {
            site.write("a.yaml", set("a", &[domain]));
            loaded(&mut store);
        }
        let folders: Vec<_> = fs::read_dir(site.dir.path().join("data/rules/last-good")).unwrap().collect();
        assert_eq!(folders.len(), 1);
        let folder = folders.into_iter().next().unwrap().unwrap().path();
        assert_eq!(fs::read_to_string(folder.join("set.yaml")).unwrap(), set("a", &["three.example"]));
        // A damaged copy is passed over.
        fs::write(folder.join("meta.json"), "{").unwrap();
        site.write("a.yaml", "schema: 1\nset: [\n");
        let generation = loaded(&mut site.store());
        assert!(generation.sets.is_empty());
        assert_eq!(generation.refused.len(), 1);
    }

    #[test]
    fn set_names_are_unique() {
        let site = Site::new();
        site.write("b.yaml", set("same", &["one.example"]));
        let mut store = site.store();
        loaded(&mut store);
        site.write("a.yaml", set("same", &["two.example"]));
        let generation = loaded(&mut store);
        // The one that stands stays, though the other is first by name.
        assert_eq!(generation.sets[0].info.path, site.path("b.yaml"));
        let root = site.path("");
        let expected = format!(
            "a.yaml:2:6: set `same` is defined already at {}b.yaml:2:6 (set names are unique: give one of them another name)",
            root.display()
        )
        .replace(&format!("{}", root.display()), "");
        assert_eq!(site.lines(&generation), [expected]);
        assert_eq!(generation.refused[0].set.as_deref(), Some("same"));
    }

    #[test]
    fn bad_rows_refuse_themselves_until_they_are_too_many() {
        for (good, bad, kept) in
            [(10, 10, true), (10, 20, true), (10, 21, false), (420, 21, true), (398, 21, false)]
        {
            let site = Site::new();
            let mut text = set("a", &[]) + "bulk:\n  - {file: list.txt, type: ip}\n";
            text = text.replace("indicators:\n", "");
            let mut list = String::from("# addresses\n");
            (0..good).for_each(|row| list += &format!("192.0.2.{}/32\n", row % 256));
            (0..bad).for_each(|_| list += "  not an address\n");
            site.write("a.yaml", text);
            site.write("list.txt", list);
            let generation = loaded(&mut site.store());
            assert_eq!(generation.sets.len(), usize::from(kept), "{good} good, {bad} bad");
            let place = format!("list.txt:{}:3: not an address or prefix", good + 2);
            assert!(
                site.lines(&generation).iter().any(|line| line.starts_with(&place)),
                "{:?}",
                site.lines(&generation)
            );
            match generation.sets.first() {
                Some(set) => {
                    assert_eq!(
                        (set.refused[0].reason.as_str(), set.refused[0].count),
                        ("not an address or prefix", bad)
                    );
                    assert!(set.refused[0].first.ends_with(&format!("list.txt:{}:3", good + 2)));
                }
                None => assert!(
                    site.lines(&generation)[0].starts_with("a.yaml:2:6: "),
                    "{:?}",
                    site.lines(&generation)
                ),
            }
        }
    }

    #[test]
    fn problems_of_lists_show_their_line() {
        let site = Site::new();
        site.write("a.yaml", "schema: 1\nset: a\nbulk:\n  - {file: l.csv, type: sha256, column: 2}\n");
        site.write("l.csv", "x,\"abc\"\n");
        let generation = loaded(&mut site.store());
        let shown = generation.problems[0].render(false).replace(&format!("{}", site.path("").display()), "");
        assert_eq!(
            shown,
            "error[bad-value]: expected 64 hexadecimal digits, found 3
 --> l.csv:1:3
  |
1 | x,\"abc\"
  |   ^^^^^
"
        );
    }

    #[test]
    fn files_that_are_no_sets() {
        let site = Site::new();
        site.write("README.md", "# rules\n");
        site.write("other.yaml", "a: &x 1\nb: *x\n");
        site.write("stix.json", r#"{"type": "bundle", "id": "bundle--1", "objects": []}"#);
        site.write("sigma.yml", "title: x\nlogsource: {}\ndetection: {}\n");
        site.write("set.txt", "schema: 1\nset: x\n");
        site.write("list.csv", "192.0.2.1\n");
        site.write("a.yaml", "schema: 1\nset: a\nbulk: [{file: list.csv, type: ip}]\n");
        let generation = loaded(&mut site.store());
        assert_eq!(
            site.lines(&generation),
            [
                "set.txt: looks like a rule set, but its name does not end in .yaml: ignored (rename the file)",
                "sigma.yml: Sigma rule: not supported in this version",
            ]
        );
        let notes: Vec<&str> = generation.notes.iter().map(|note| note.rsplit('/').next().unwrap()).collect();
        assert_eq!(
            notes,
            [
                "other.yaml: no `schema`, ignored",
                "stix.json: STIX objects without an indicator, ignored",
                "README.md: not a rule file, ignored",
            ]
        );
        assert_eq!(generation.refused.len(), 1);
        let named = Store::new(vec![site.path("README.md")], None, None).load(NOW);
        assert_eq!(site.lines(&named), ["README.md: not a rule set (a rule set begins with `schema: 1`)"]);
    }

    #[test]
    fn rules_that_can_never_fire() {
        let site = Site::new();
        site.write(
            "a.yaml",
            "schema: 1
set: a
indicators:
  - {type: domain, value: good.example}
  - {type: domain, value: sub.good.example}
  - {type: ip, value: 192.0.2.1, tlp: red}
  - {type: ip, value: 192.0.2.1}
  - {type: ip, value: 192.0.2.53}
",
        );
        site.write(
            "b.yaml",
            "schema: 1
set: b
mode: block
reason: ours
indicators:
  - {type: domain, value: good.example}
  - {type: ip, value: 192.0.2.53, port: [53]}
  - {type: ip, value: 192.0.2.1, valid_until: 2030-01-01T00:00:00Z}
",
        );
        let generation = loaded(&mut site.store());
        assert_eq!(
            site.lines(&generation),
            [
                "a.yaml:4:27: can never fire: allow set `b` blocks it (b.yaml:6:27) (remove it here or there)",
                "a.yaml:6:23: never acts: line 7, column 23 has the same value and wins (keep one of the rows)",
            ]
        );
        assert_eq!((generation.sets[1].allow, generation.sets[1].indicators), (3, [0; 9]));
    }

    #[test]
    fn memory_is_bounded() {
        let site = Site::new();
        site.write("a.yaml", set("a", &["one.example"]));
        let mut unbounded = site.store();
        let needed = loaded(&mut unbounded).rules.memory() as u64;
        let mut store = Store::new(vec![site.path("")], None, Some(needed));
        assert_eq!(in_force(&loaded(&mut store)), [("a", 1, false)]);
        let names: Vec<String> = (0..10_000).map(|name| format!("h{name}.example")).collect();
        site.write("a.yaml", set("a", &names.iter().map(String::as_str).collect::<Vec<_>>()));
        let generation = loaded(&mut store);
        assert_eq!(in_force(&generation), [("a", 1, true)]);
        assert_eq!(generation.diagnostics[0].code, "memory-limit");
        let mut store = Store::new(vec![site.path("")], None, Some(1));
        let generation = loaded(&mut store);
        assert!(generation.sets.is_empty() && generation.rules.sets().is_empty());
        assert_eq!(generation.refused.len(), 1);
    }

    #[test]
    fn embedded_sets() {
        const SETS: &[(&str, &str)] =
            &[("default/a.yaml", "schema: 1\nset: a\nindicators:\n  - {type: domain, value: a.example}\n")];
        let mut store = Store::embedded(SETS);
        let first = loaded(&mut store);
        assert_eq!((in_force(&first), first.diagnostics.len()), (vec![("a", 1, false)], 0));
        assert!(Arc::ptr_eq(&first.rules, &loaded(&mut store).rules));
    }

    #[test]
    fn the_report_has_the_keys_of_the_interface() {
        let site = Site::new();
        site.write(
            "a.yaml",
            "schema: 1
set: a
source: {producer: NSOC}
defaults: {tlp: green}
indicators:
  - {type: domain, value: a.example, valid_until: 2026-08-01T00:00:00Z}
  - {type: ip, value: 192.0.2.1}
  - {type: ip, value: 10.0.0.1}
",
        );
        site.write("b.yaml", "schema: 1\nset: b\nunknown: 1\n");
        let generation = loaded(&mut site.store());
        let shown = report(&generation, NOW, None);
        let place = |name: &str| site.path(name).to_string_lossy().into_owned();
        assert_eq!(
            shown,
            serde_json::json!({
                "sets": [
                    {
                        "set": "a", "source": place("a.yaml"), "producer": "NSOC", "tlp": "green", "stale": false,
                        "indicators": {"ip": 1, "domain": 1, "url": 0, "email": 0, "md5": 0, "sha1": 0, "sha256": 0, "sha512": 0, "text": 0},
                        "allow": 0, "expired": 1,
                        "refused": [{"reason": "special-purpose address space", "count": 1, "first": place("a.yaml") + ":8:23"}],
                        "hits": null,
                    },
                    {
                        "set": "b", "source": place("b.yaml"), "producer": null, "tlp": null, "stale": false,
                        "indicators": {"ip": 0, "domain": 0, "url": 0, "email": 0, "md5": 0, "sha1": 0, "sha256": 0, "sha512": 0, "text": 0},
                        "allow": 0, "expired": 0,
                        "refused": [{"reason": "unknown key `unknown` in a rule set", "count": 1, "first": place("b.yaml") + ":3:1"}],
                        "hits": null,
                    },
                ],
                "totals": {
                    "set": 1, "source": null, "producer": null, "tlp": null, "stale": 0,
                    "indicators": {"ip": 1, "domain": 1, "url": 0, "email": 0, "md5": 0, "sha1": 0, "sha256": 0, "sha512": 0, "text": 0},
                    "allow": 0, "expired": 1,
                    "refused": [
                        {"reason": "special-purpose address space", "count": 1, "first": place("a.yaml") + ":8:23"},
                        {"reason": "unknown key `unknown` in a rule set", "count": 1, "first": place("b.yaml") + ":3:1"},
                    ],
                    "hits": null,
                },
            })
        );
        let hits = std::collections::HashMap::from([("a".to_owned(), 3)]);
        assert_eq!(report(&generation, NOW, Some(&hits))["totals"]["hits"], 3);
    }
}
