//! What is folded: windows of one indicator, and counts of one set.
//!
//! [`Windows`] remembers for each key that its first alert went out and counts what follows,
//! until the window's end or until memory is needed; either way the count leaves as a
//! [`Series`]. [`Tallies`] counts for each set what is not told singly. Both are bounded.

use super::MAX_CLIENTS;
use crate::detect::indicator::{Kind, Severity, Tlp};
use crate::input::Nanos;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Windows open at once: each stands for an alert that was sent, so an hour of the full budget
/// would fill six times as many; the ones nearest to their end leave first.
pub const MAX_WINDOWS: usize = 65_536;
/// Bytes of samples and clients held in windows.
pub const MAX_WINDOW_BYTES: usize = 64 << 20;
/// Bytes of a source or client in a key: host names are chosen by the sender.
const MAX_NAME: usize = 256;
/// Tallies open at once; sets times severities times constituents.
pub const MAX_TALLIES: usize = 4096;
/// A tally leaves after this long.
pub const TALLY_INTERVAL: Nanos = 60_000_000_000;

/// What a throttle tells apart. The touched constituents belong to it, so that a summary for one
/// never counts or names clients of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: Kind,
    pub value: Box<str>,
    pub source: Option<Box<str>>,
    pub touched: Vec<u16>,
    pub exercise: bool,
    /// What was refused must not hide what went through an hour later.
    pub denied: bool,
}

/// What a window or tally counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub count: u64,
    pub first: Nanos,
    pub last: Nanos,
    pub clients: Vec<String>,
}

impl Series {
    fn new(first: Nanos) -> Series {
        Series { count: 0, first, last: first, clients: Vec::new() }
    }

    fn add(&mut self, count: u64, first: Nanos, last: Nanos, client: Option<&str>) {
        self.count += count;
        self.first = self.first.min(first);
        self.last = self.last.max(last);
        let Some(client) = client.map(cut).filter(|client| !client.is_empty()) else {
            return;
        };
        if self.clients.len() < MAX_CLIENTS && !self.clients.iter().any(|known| known == client) {
            self.clients.push(client.to_owned());
        }
    }

    fn bytes(&self) -> usize {
        self.clients.iter().map(String::len).sum()
    }
}

/// The first bytes of a name, cut at a character.
pub fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

struct Window {
    ends: Nanos,
    length: Nanos,
    /// Orders windows that end together.
    serial: u64,
    series: Series,
    /// The alerts of the first match that was folded, one line each.
    sample: Vec<u8>,
}

impl Window {
    fn bytes(&self) -> usize {
        self.sample.len() + self.series.bytes()
    }
}

/// The open windows.
pub struct Windows {
    open: HashMap<Arc<Key>, Window>,
    ends: BTreeMap<(Nanos, u64), Arc<Key>>,
    serial: u64,
    bytes: usize,
    max_windows: usize,
    max_bytes: usize,
}

/// What a window counted beyond its first alert, and the alerts of the first match of that.
pub struct Folded {
    pub series: Series,
    pub sample: Vec<u8>,
}

impl Windows {
    pub fn new(max_windows: usize, max_bytes: usize) -> Windows {
        Windows { open: HashMap::new(), ends: BTreeMap::new(), serial: 0, bytes: 0, max_windows, max_bytes }
    }

    /// Opens a window for a key whose alert goes out now; returns what had to make room.
    pub fn open(&mut self, key: Key, first: Nanos, now: Nanos, length: Nanos) -> Option<Folded> {
        let evicted = if self.open.len() >= self.max_windows { self.evict() } else { None };
        let key = Arc::new(key);
        let window = Window { ends: 0, length, serial: 0, series: Series::new(first), sample: Vec::new() };
        self.insert(key, window, now);
        evicted
    }

    /// Counts a match in the window of its key, if it is open; `sample` is called for the first.
    pub fn fold(
        &mut self,
        key: &Key,
        (count, first, last): (u64, Nanos, Nanos),
        client: &str,
        sample: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        let Some(window) = self.open.get_mut(key) else { return false };
        let before = window.bytes();
        if window.series.count == 0 {
            window.sample = sample();
        }
        window.series.add(count, first, last, Some(client));
        self.bytes = self.bytes + window.bytes() - before;
        true
    }

    /// Something has to leave because the samples take too much memory.
    pub fn over_limit(&self) -> bool {
        self.bytes > self.max_bytes
    }

    /// The next window that has ended; it opens again if it counted anything.
    pub fn due(&mut self, now: Nanos) -> Option<Folded> {
        loop {
            let (&(ends, serial), _) = self.ends.first_key_value()?;
            if ends > now {
                return None;
            }
            let (key, mut window) = self.remove((ends, serial))?;
            if window.series.count == 0 {
                continue;
            }
            let series = std::mem::replace(&mut window.series, Series::new(0));
            window.series.first = series.first;
            window.series.last = series.last;
            let sample = std::mem::take(&mut window.sample);
            self.insert(key, window, now);
            return Some(Folded { series, sample });
        }
    }

    /// Closes the window nearest to its end; returns what it counted, if anything.
    pub fn evict(&mut self) -> Option<Folded> {
        let at = *self.ends.first_key_value()?.0;
        let (_, window) = self.remove(at)?;
        (window.series.count > 0).then_some(Folded { series: window.series, sample: window.sample })
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn insert(&mut self, key: Arc<Key>, mut window: Window, now: Nanos) {
        self.serial += 1;
        window.serial = self.serial;
        window.ends = now.saturating_add(window.length);
        self.bytes += window.bytes();
        self.ends.insert((window.ends, window.serial), Arc::clone(&key));
        self.open.insert(key, window);
    }

    fn remove(&mut self, at: (Nanos, u64)) -> Option<(Arc<Key>, Window)> {
        let key = self.ends.remove(&at)?;
        let window = self.open.remove(&key)?;
        self.bytes -= window.bytes();
        Some((key, window))
    }
}

/// What a tally tells apart: never two markings in one, so that none rides on the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TallyKey {
    pub set: Box<str>,
    pub severity: Severity,
    pub tlp: Tlp,
    pub touched: Vec<u16>,
    pub exercise: bool,
}

/// What the summary of a tally needs beside its key.
#[derive(Clone, Debug, Default)]
pub struct TallyInfo {
    pub producer: Option<String>,
    pub feed: Option<String>,
    pub reference: Option<String>,
    pub digest: String,
}

pub struct Tally {
    pub key: TallyKey,
    pub info: TallyInfo,
    pub series: Series,
    opened: Nanos,
}

/// The open tallies.
pub struct Tallies {
    open: HashMap<TallyKey, Tally>,
    max: usize,
}

impl Tallies {
    pub fn new(max: usize) -> Tallies {
        Tallies { open: HashMap::new(), max }
    }

    /// Counts matches; returns the tally that had to make room.
    pub fn add(
        &mut self,
        key: TallyKey,
        info: impl FnOnce() -> TallyInfo,
        (count, first, last): (u64, Nanos, Nanos),
        clients: impl Iterator<Item = String>,
        now: Nanos,
    ) -> Option<Tally> {
        let mut evicted = None;
        if !self.open.contains_key(&key) && self.open.len() >= self.max {
            evicted = self.oldest().and_then(|oldest| self.open.remove(&oldest));
        }
        let tally = self.open.entry(key.clone()).or_insert_with(|| Tally {
            key,
            info: info(),
            series: Series::new(first),
            opened: now,
        });
        tally.series.add(count, first, last, None);
        clients.for_each(|client| tally.series.add(0, first, last, Some(&client)));
        evicted
    }

    /// The next tally that is due, or at `None` any.
    pub fn due(&mut self, now: Option<Nanos>) -> Option<Tally> {
        let key = match now {
            Some(now) => self
                .open
                .values()
                .find(|tally| now.saturating_sub(tally.opened) >= TALLY_INTERVAL || now < tally.opened)?
                .key
                .clone(),
            None => self.oldest()?,
        };
        self.open.remove(&key)
    }

    fn oldest(&self) -> Option<TallyKey> {
        self.open.values().min_by_key(|tally| tally.opened).map(|tally| tally.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Key {
        Key {
            kind: Kind::Domain,
            value: value.into(),
            source: None,
            touched: vec![],
            exercise: false,
            denied: false,
        }
    }

    #[test]
    fn a_window_that_counted_opens_again_and_an_idle_one_closes() {
        let mut windows = Windows::new(10, 1000);
        assert!(windows.open(key("a"), 5, 5, 100).is_none());
        assert!(windows.fold(&key("a"), (2, 7, 9), "h1", || b"first".to_vec()));
        assert!(windows.fold(&key("a"), (3, 8, 11), "h2", || unreachable!()));
        assert!(!windows.fold(&key("b"), (1, 1, 1), "h", || unreachable!()));
        assert!(windows.due(104).is_none());
        let folded = windows.due(105).unwrap();
        let clients = vec!["h1".to_owned(), "h2".to_owned()];
        assert_eq!(folded.series, Series { count: 5, first: 5, last: 11, clients });
        assert_eq!(folded.sample, b"first");
        assert!(windows.open.contains_key(&key("a")));
        assert!(windows.due(300).is_none());
        assert!(windows.is_empty() && windows.bytes == 0 && windows.ends.is_empty());
    }

    #[test]
    fn room_is_made_by_whoever_ends_first() {
        let mut windows = Windows::new(2, 1000);
        windows.open(key("late"), 0, 0, 200);
        windows.open(key("soon"), 0, 0, 100);
        windows.fold(&key("soon"), (4, 1, 1), "", || vec![0; 2000]);
        assert!(windows.over_limit());
        let evicted = windows.open(key("new"), 0, 0, 300).unwrap();
        assert_eq!(evicted.series.count, 4);
        assert!(!windows.over_limit());
        assert!(windows.open.contains_key(&key("late")) && !windows.open.contains_key(&key("soon")));
    }

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(cut(&"ë".repeat(200)).len(), 256);
        assert_eq!(cut(&("x".to_owned() + &"ë".repeat(200))).len(), 255);
    }
}
