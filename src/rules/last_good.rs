//! Copies of the last good version of every set, so that a restart starts armed even if a file
//! was broken meanwhile.
//!
//! Each version is a folder `<file's hash>.<version's digest>` with the set, its lists and a
//! `meta.json`. It is written under another name, synced and renamed, so that a crash leaves
//! either the old or the new version.

use super::foreign::Format;
use super::{BulkFile, LoadedSet, hexadecimal};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of copies, and what it holds by file of origin.
#[derive(Debug)]
pub struct LastGood {
    dir: PathBuf,
    saved: HashMap<PathBuf, Saved>,
}

/// One version of one set.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The set's name.
    pub name: String,
    /// Where the set's copy lies.
    pub set: PathBuf,
    /// Where the copies of its lists lie, in their order.
    pub lists: Vec<PathBuf>,
    /// The format of a set that is no native one; its files are the lists.
    pub format: Option<Format>,
    /// The names of the lists, for such a set.
    pub names: Vec<String>,
    digest: String,
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    set: String,
    path: PathBuf,
    digest: String,
    lists: usize,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    names: Vec<String>,
}

impl LastGood {
    /// Reads what an earlier run left under the data directory. Unreadable copies are passed over:
    /// the sets themselves may be fine.
    pub fn open(data_dir: &Path) -> LastGood {
        let dir = data_dir.join("rules").join("last-good");
        let mut found: Vec<(SystemTime, PathBuf, Saved)> = Vec::new();
        for folder in fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if is_draft(&folder) {
                // A stop or a crash came before it was whole.
                let _ = fs::remove_dir_all(&folder);
            }
            if let Some((path, saved)) = read_record(&folder) {
                let written =
                    fs::metadata(&folder).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((written, path, saved));
            }
        }
        // Of two versions, as a crash between rename and removal leaves them, the newer counts.
        found.sort_by_key(|(written, ..)| *written);
        let saved = found.into_iter().map(|(_, path, saved)| (path, saved)).collect();
        LastGood { dir, saved }
    }

    /// The copy of the set that a file held.
    pub fn of(&self, path: &Path) -> Option<&Saved> {
        self.saved.get(path)
    }

    /// The copy of a set by its name, for a file that was renamed and broken at once.
    pub fn named(&self, name: &str) -> Option<(&PathBuf, &Saved)> {
        self.saved.iter().find(|(_, saved)| saved.name == name)
    }

    /// The files whose sets are kept.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.saved.keys()
    }

    /// Keeps a copy of a set, unless this version is kept already.
    pub fn save(&mut self, set: &LoadedSet) -> io::Result<()> {
        let path = &set.info.path;
        if self.saved.get(path).is_some_and(|saved| saved.digest == set.info.digest) {
            return Ok(());
        }
        private_dir(&self.dir)?;
        let origin = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let stem: String = hexadecimal(&origin).chars().take(32).collect();
        let version: String = set.info.digest.chars().take(32).collect();
        let folder = self.dir.join(format!("{stem}.{version}"));
        let draft = self.dir.join(format!(".{stem}.{}", std::process::id()));
        let written = write_version(&draft, set).and_then(|lists| {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::rename(&draft, &folder)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(lists)
        });
        let lists = match written {
            Ok(lists) => lists,
            Err(error) => {
                let _ = fs::remove_dir_all(&draft);
                return Err(error);
            }
        };
        let saved = Saved {
            name: set.info.name.clone(),
            set: folder.join("set.yaml"),
            lists: (0..lists).map(|index| folder.join(list_name(index))).collect(),
            format: set.foreign.as_ref().map(|foreign| foreign.format),
            names: names(set),
            digest: set.info.digest.clone(),
            folder: folder.clone(),
        };
        if let Some(old) = self.saved.insert(path.clone(), saved)
            && old.folder != folder
        {
            fs::remove_dir_all(old.folder)?;
        }
        Ok(())
    }

    /// Forgets the sets whose file is gone.
    pub fn retain(&mut self, keep: impl Fn(&Path) -> bool) -> io::Result<()> {
        let gone: Vec<PathBuf> = self.saved.keys().filter(|path| !keep(path)).cloned().collect();
        for path in gone {
            if let Some(saved) = self.saved.remove(&path) {
                fs::remove_dir_all(saved.folder)?;
            }
        }
        Ok(())
    }
}

fn is_draft(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read_record(folder: &Path) -> Option<(PathBuf, Saved)> {
    /// A record is a few hundred bytes, and 44 for each event of a feed.
    const LARGEST: u64 = 16 << 20;
    if is_draft(folder) {
        return None;
    }
    let mut text = String::new();
    File::open(folder.join("meta.json")).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    let record: Record = serde_json::from_str(&text).ok()?;
    let lists = (0..record.lists.min(LARGEST as usize)).map(|index| folder.join(list_name(index))).collect();
    let set = folder.join("set.yaml");
    let Record { set: name, path, digest, format, names, .. } = record;
    let saved = Saved { name, set, lists, format, names, digest, folder: folder.to_owned() };
    Some((path, saved))
}

/// Writes a version and returns the number of its lists.
fn write_version(folder: &Path, set: &LoadedSet) -> io::Result<usize> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    private_dir(folder)?;
    write_synced(&folder.join("set.yaml"), set.source.text.as_bytes())?;
    for (index, list) in set.bulk.iter().enumerate() {
        copy_list(list, &folder.join(list_name(index)))?;
    }
    let record = Record {
        set: set.info.name.clone(),
        path: set.info.path.clone(),
        digest: set.info.digest.clone(),
        lists: set.bulk.len(),
        format: set.foreign.as_ref().map(|foreign| foreign.format),
        names: names(set),
    };
    write_synced(&folder.join("meta.json"), &serde_json::to_vec(&record)?)?;
    File::open(folder)?.sync_all()?;
    Ok(set.bulk.len())
}

/// The names of the files of a set that is no native one.
fn names(set: &LoadedSet) -> Vec<String> {
    match set.foreign {
        Some(_) => set.bulk.iter().map(|list| list.name.clone()).collect(),
        None => Vec::new(),
    }
}

/// Copies a list, if it is still what was loaded.
fn copy_list(list: &BulkFile, to: &Path) -> io::Result<()> {
    let mut from = File::open(&list.path)?;
    let mut copy = File::create(to)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        hasher.update(bytes);
        copy.write_all(bytes)?;
    }
    let digest: [u8; 32] = hasher.finalize().into();
    if digest != list.digest {
        return Err(io::Error::other("the list changed while it was copied"));
    }
    copy.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn list_name(index: usize) -> String {
    format!("list-{index}")
}
