//! Finds rule files: directories read recursively, dot-files left out, symbolic links followed
//! once.

use crate::diagnostic::{Diagnostic, Level};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Deeper folders are a mistake, or a file system that loops.
const MAX_DEPTH: usize = 32;

/// Rule directories hold hundreds of files; beyond this somebody named the wrong directory.
const MAX_FILES: usize = 100_000;

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// The tree it was found in: lists must lie in it.
    pub tree: PathBuf,
    /// It was named itself, not found in a directory.
    pub named: bool,
}

/// A place that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// Nothing is there: a file is gone, but a directory may be one that is not mounted.
    pub missing: bool,
}

impl Unreadable {
    /// Must what was loaded from the file be kept, because nobody took it away?
    pub fn hides(&self, file: &Path) -> bool {
        file.starts_with(&self.path) && !(self.missing && file == self.path)
    }
}

/// What lies under the paths of a configuration.
#[derive(Debug, Default)]
pub struct Files {
    /// The files, sorted.
    pub files: Vec<Found>,
    /// Places that could not be read; what was loaded from below them is kept.
    pub unreadable: Vec<Unreadable>,
    /// Problems.
    pub problems: Vec<Diagnostic>,
    /// What was passed over.
    pub notes: Vec<String>,
}

/// Walks files and directories.
pub fn find(paths: &[PathBuf]) -> Files {
    let mut walk = Walk { files: Files::default(), seen: BTreeMap::new(), full: false };
    for path in paths {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => walk.directory(path, path, &meta, 0),
            Ok(meta) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                walk.file(path, parent.unwrap_or(Path::new(".")), &meta, true);
            }
            Err(error) => walk.unreadable(path, &error),
        }
    }
    walk.files.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.files
}

struct Walk {
    files: Files,
    /// Device and inode of what was visited, with its path.
    seen: BTreeMap<(u64, u64), PathBuf>,
    full: bool,
}

impl Walk {
    fn directory(&mut self, path: &Path, tree: &Path, meta: &Metadata, depth: usize) {
        if !self.first_visit(path, meta) {
            return;
        }
        if depth > MAX_DEPTH {
            return self.refuse(path, format!("more than {MAX_DEPTH} folders deep: not read"), false);
        }
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, &error),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if self.full {
                return;
            }
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.directory(&path, tree, &meta, depth + 1),
                Ok(meta) => self.file(&path, tree, &meta, false),
                // A link to nothing, or a file removed meanwhile: not there.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.files.notes.push(format!("{}: links to nothing, ignored", path.display()));
                }
                Err(error) => self.unreadable(&path, &error),
            }
        }
    }

    fn file(&mut self, path: &Path, tree: &Path, meta: &Metadata, named: bool) {
        if !meta.is_file() {
            // Opening a pipe or a device could block for ever.
            if named {
                let message = "not a regular file";
                self.files.problems.push(Diagnostic::whole(Level::Error, "unreadable", path, message));
            } else {
                self.files.notes.push(format!("{}: not a regular file, ignored", path.display()));
            }
            return;
        }
        if !self.first_visit(path, meta) {
            return;
        }
        if self.files.files.len() >= MAX_FILES {
            self.full = true;
            return self.refuse(tree, format!("more than {MAX_FILES} files: the rest is not read"), false);
        }
        self.files.files.push(Found { path: path.to_owned(), tree: tree.to_owned(), named });
    }

    /// Links may lead to what was read already, or back to where they stand.
    fn first_visit(&mut self, path: &Path, meta: &Metadata) -> bool {
        match self.seen.insert((meta.dev(), meta.ino()), path.to_owned()) {
            None => true,
            Some(first) => {
                self.files.notes.push(format!(
                    "{}: the same as {}, read once",
                    path.display(),
                    first.display()
                ));
                self.seen.insert((meta.dev(), meta.ino()), first);
                false
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        match error.kind() {
            ErrorKind::NotFound => self.refuse(path, "no such file or directory".to_owned(), true),
            _ => self.refuse(path, format!("cannot be read: {error}"), false),
        }
    }

    fn refuse(&mut self, path: &Path, reason: String, missing: bool) {
        self.files.problems.push(Diagnostic::whole(Level::Error, "unreadable", path, reason.clone()));
        self.files.unreadable.push(Unreadable { path: path.to_owned(), reason, missing });
    }
}

/// What a file that is no native set seems to be, judged by its beginning.
pub fn sniff(head: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
    match text.chars().next()? {
        '{' | '[' => match () {
            () if has(&["\"bundle\"", "\"type\""]) || has(&["\"pattern_type\""]) => Some("STIX bundle"),
            () if has(&["\"spec_version\"", "\"type\""]) => Some("STIX bundle"),
            () if has(&["\"Event\""]) => Some("MISP event"),
            () if has(&["\"matching_attributes\""]) || has(&["\"list\"", "\"version\"", "\"name\""]) => {
                Some("MISP warninglist")
            }
            () if has(&["\"Orgc\""]) => Some("MISP feed manifest"),
            () => None,
        },
        _ => text.lines().any(|line| line.trim_end() == "schema: 1").then_some("native set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_read_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("b/c")).unwrap();
        fs::create_dir_all(at(".hidden")).unwrap();
        for file in ["z.yaml", "b/a.yaml", "b/c/x.txt", ".dot.yaml", ".hidden/y.yaml"] {
            fs::write(at(file), "x").unwrap();
        }
        symlink(dir.path(), at("b/loop")).unwrap();
        symlink(at("z.yaml"), at("zz.yaml")).unwrap();
        symlink(at("nothing"), at("dangling.yaml")).unwrap();
        let found = find(&[dir.path().to_owned(), at("missing")]);
        let names: Vec<_> =
            found.files.iter().map(|file| file.path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, [Path::new("b/a.yaml"), Path::new("b/c/x.txt"), Path::new("z.yaml")]);
        assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
        assert_eq!(found.problems.len(), 1);
        assert_eq!(found.unreadable.len(), 1);
        let missing = &found.unreadable[0];
        assert!(
            missing.hides(&at("missing/a.yaml"))
                && !missing.hides(&at("missing"))
                && !missing.hides(&at("z.yaml"))
        );
    }

    #[test]
    fn a_pipe_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("p.yaml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = find(&[dir.path().to_owned()]);
        assert!(found.files.is_empty() && found.notes.len() == 1);
        assert_eq!(find(&[pipe]).problems.len(), 1);
    }

    #[test]
    fn foreign_formats() {
        for (name, head, expected) in [
            ("stix", r#"{"type": "bundle", "objects": []}"#, Some("STIX bundle")),
            ("misp", r#" {"Event": {"info": "x"}}"#, Some("MISP event")),
            ("warninglist", r#"{"name": "x", "version": 1, "list": []}"#, Some("MISP warninglist")),
            ("manifest", r#"{"uuid": {"Orgc": {}}}"#, Some("MISP feed manifest")),
            ("json", r#"{"a": 1}"#, None),
            ("text", "hello", None),
            ("misnamed", "# c\nschema: 1\n", Some("native set")),
            ("empty", "", None),
        ] {
            assert_eq!(sniff(head.as_bytes()), expected, "{name}");
        }
    }
}
