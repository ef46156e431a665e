//! Who sends, and how it goes: counted for each sender without the hot path noticing.
//!
//! A worker has a [`Count`]: a few slots, written without a lock while a batch is under way and added
//! to the worker's own [`Table`] at its end, whose lock nobody wants but a reader now and then. The
//! tables are bounded whoever sends: new senders pass through a ring in which a flood of spoofed ones
//! overwrites itself; those that come again, also after the ring has lost them, are kept beside it. What
//! leaves is added up, by the
//! `[[source]]` it belongs to, so that sums stay exact.
//!
//! [`report`] merges the tables of all workers into one [`Sender`] for each input, address and client
//! certificate. Skews of the clock are judged there, where the zone of each source is known.

use crate::alert::{Directory, Heard, Source};
use crate::decode::{FieldId, Fields, Value, syslog};
use crate::input::Nanos;
use crate::input::tls::Identity;
use foldhash::fast::RandomState;
use jiff::Timestamp;
use jiff::tz::{TimeZone, offset};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECOND: Nanos = 1_000_000_000;

/// Slots of a batch; a batch of UDP has at most 64 senders, so that few share a slot.
const SLOTS: usize = 128;

/// New senders that a table remembers at one time.
const RING: usize = 1024;

/// Senders that came again; with the ring, a megabyte and a half for each worker.
const KEPT: usize = 7168;

/// A sender that comes again after so long is more than an address that was made up once.
const AGAIN: Nanos = SECOND;

/// Bits that remember who left the ring, in two halves of which the older is emptied in turn. At a
/// hundred thousand spoofed senders a second, whoever sends every second is known again.
const TRACES: usize = 1 << 20;

/// Senders in a half before the other is emptied; an eighth of its bits.
const TRACED: usize = TRACES / 16;

/// How many senders are compared when one of those kept must leave: the quietest does.
const COMPARED: usize = 8;

/// The stamp of a sender is read this often, and the middle one of the last few is its skew: a message
/// that waited in a queue says nothing of the clock.
const SAMPLE_EVERY: Nanos = 10 * SECOND;
const SAMPLES: usize = 5;

/// Reading a stamp takes as long as decoding: a worker does it for a hundred senders a second at most.
const SAMPLE_PAUSE: Nanos = SECOND / 100;

/// A message without a stamp in front is decoded for the one in its body, if it is not longer than this;
/// a cut one would be no JSON.
const STAMPED: usize = 16 << 10;

/// Rates are of about the last minute, in seconds.
const MINUTE: f64 = 60.0;

/// What tells senders apart on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: IpAddr,
    /// Of its client certificate; 0 without.
    identity: u64,
}

/// The address of those who have none: Unix sockets.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What came of one sender in the batch under way.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Option<Key>,
    messages: u64,
    errors: u64,
    dropped: u64,
    lost: u64,
    late: u64,
    received: Nanos,
    format: &'static str,
    skew: Option<Skew>,
    /// A stamp of this sender is to be read.
    due: bool,
    /// One was looked for.
    looked: bool,
}

const EMPTY: Slot = Slot {
    key: None,
    messages: 0,
    errors: 0,
    dropped: 0,
    lost: 0,
    late: 0,
    received: 0,
    format: "",
    skew: None,
    due: true,
    looked: false,
};

/// How far a stamp was ahead of its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skew {
    /// Seconds; where the sender told no zone, those of its local time read as UTC.
    seconds: i32,
    zoned: bool,
}

/// Counts senders for one worker.
pub struct Count {
    slots: Box<[Slot; SLOTS]>,
    /// Slots with something in them.
    used: Vec<u8>,
    current: usize,
    hasher: RandomState,
    /// When a stamp was last read.
    sampled: Nanos,
    fields: Fields,
    table: Arc<Mutex<Table>>,
}

impl Count {
    /// A count that knows nobody.
    pub fn new() -> Count {
        Count {
            slots: Box::new([EMPTY; SLOTS]),
            used: Vec::with_capacity(SLOTS),
            current: 0,
            hasher: RandomState::default(),
            sampled: 0,
            fields: Fields::default(),
            table: Arc::default(),
        }
    }

    /// Where batches are added up.
    pub fn table(&self) -> Arc<Mutex<Table>> {
        Arc::clone(&self.table)
    }

    /// A message came; what is told next is of its sender.
    #[inline]
    pub fn message(&mut self, peer: Option<SocketAddr>, identity: Option<&Arc<Identity>>, received: Nanos) {
        let address = peer.map_or(LOCAL, |peer| peer.ip());
        let key = Key { address, identity: identity.map_or(0, |identity| identity.number()) };
        let current = &mut self.slots[self.current];
        if current.key == Some(key) && current.messages > 0 {
            current.messages += 1;
            current.received = received;
            return;
        }
        self.turn_to(key, identity, received);
    }

    fn turn_to(&mut self, key: Key, identity: Option<&Arc<Identity>>, received: Nanos) {
        let at = self.hasher.hash_one(key) as usize % SLOTS;
        if self.slots[at].key != Some(key) {
            if self.slots[at].messages > 0 {
                let mut table = lock(&self.table);
                table.add(&self.slots[at], identity);
            } else {
                self.used.push(at as u8);
            }
            self.slots[at] = Slot { key: Some(key), ..EMPTY };
        } else if self.slots[at].messages == 0 {
            self.used.push(at as u8);
        }
        self.slots[at].messages += 1;
        self.slots[at].received = received;
        self.current = at;
    }

    /// It was dropped.
    pub fn dropped(&mut self) {
        self.slots[self.current].dropped += 1;
    }

    /// It was decoded, or could not be.
    #[inline]
    pub fn decoded(&mut self, format: Option<&'static str>) {
        let slot = &mut self.slots[self.current];
        match format {
            Some(format) => slot.format = format,
            None => slot.errors += 1,
        }
    }

    /// Before it, so many units of its protocol were missing; and with it came so many of those that were
    /// missing before.
    pub fn lost(&mut self, missing: u64, late: u64) {
        let slot = &mut self.slots[self.current];
        slot.lost += missing;
        slot.late += late;
    }

    /// Whether the clock of the sender is to be looked at.
    #[inline]
    pub fn wants_time(&self) -> bool {
        let slot = &self.slots[self.current];
        // Nor if the clock was set back meanwhile.
        slot.due && !(0..SAMPLE_PAUSE).contains(&slot.received.saturating_sub(self.sampled))
    }

    /// Looks at the stamp of a syslog message.
    pub fn stamp(&mut self, message: &[u8], received: Nanos) {
        self.looked(received);
        // What a sender writes behind its stamp must not cost more.
        let header = syslog::header(message).ok().filter(|header| header.stamp.is_some());
        let message = match header {
            Some(header) => message.get(..header.message.start as usize).unwrap_or(message),
            None if message.len() <= STAMPED => message,
            None => return,
        };
        let mut read = |timezone: TimeZone| {
            let reference = syslog::Reference { now: received, timezone };
            syslog::decode(message, &reference, &mut self.fields).ok()?;
            match self.fields.find(FieldId::Timestamp) {
                Some(Value::Time(instant)) => Some(instant),
                _ => None,
            }
        };
        // A stamp that means another instant in another zone carries none itself.
        let (Some(utc), Some(other)) = (read(TimeZone::UTC), read(TimeZone::fixed(offset(1)))) else {
            return;
        };
        self.time(utc, received, utc == other);
    }

    /// Notes what the sender's clock said when a message was received.
    pub fn time(&mut self, sent: Nanos, received: Nanos, zoned: bool) {
        self.looked(received);
        let slot = &mut self.slots[self.current];
        let seconds = sent.saturating_sub(received) / SECOND;
        let seconds = i32::try_from(seconds).unwrap_or(if seconds < 0 { i32::MIN } else { i32::MAX });
        slot.skew = Some(Skew { seconds, zoned });
    }

    /// A stamp was looked for; one that is not there is not looked for in each message.
    fn looked(&mut self, received: Nanos) {
        self.sampled = received;
        let slot = &mut self.slots[self.current];
        (slot.due, slot.looked) = (false, true);
    }

    /// The batch ends: adds it to the table.
    pub fn flush(&mut self, identity: Option<&Arc<Identity>>) {
        if self.used.is_empty() {
            return;
        }
        let mut table = lock(&self.table);
        for at in self.used.drain(..) {
            let slot = &mut self.slots[usize::from(at)];
            let due = table.add(slot, identity);
            // Who it was is kept, so that a flood of others is not needed to know that nothing is due.
            *slot = Slot { key: slot.key, due, ..EMPTY };
        }
    }
}

impl Default for Count {
    fn default() -> Count {
        Count::new()
    }
}

/// The lock of a table. A panic elsewhere leaves counts that are still worth showing.
pub fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One sender, since the sensor started or the sender was last forgotten.
#[derive(Clone, Debug)]
struct Row {
    key: Key,
    identity: Option<Arc<Identity>>,
    source: Option<u16>,
    totals: Totals,
    format: &'static str,
    rate: Rate,
    skews: Skews,
    /// When a stamp was last looked for.
    looked: Option<Nanos>,
}

/// What is added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages received.
    pub messages: u64,
    /// Of these, not decoded.
    pub errors: u64,
    /// Of these, dropped.
    pub dropped: u64,
    /// Units of a flow protocol that did not come in their place, by its sequence numbers.
    pub lost: u64,
    /// Of these, those that came after all.
    pub late: u64,
    /// When the first came; 0 if none did.
    pub first: Nanos,
    /// When the last came.
    pub last: Nanos,
}

impl Totals {
    /// Adds others.
    pub fn add(&mut self, other: &Totals) {
        self.messages += other.messages;
        self.errors += other.errors;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.late += other.late;
        if other.messages > 0 {
            self.first = if self.first == 0 { other.first } else { self.first.min(other.first) };
            self.last = self.last.max(other.last);
        }
    }
}

/// A number of messages that fades with time.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    weight: f64,
    at: Nanos,
}

impl Rate {
    fn add(&mut self, messages: u64, at: Nanos) {
        // A clock that was set back makes nothing fade until it is where it was; it begins there anew.
        *self = Rate { weight: self.weight_at(at) + messages as f64, at };
    }

    fn weight_at(&self, now: Nanos) -> f64 {
        let seconds = (now.saturating_sub(self.at).max(0)) as f64 / SECOND as f64;
        self.weight * (-seconds / MINUTE).exp()
    }

    /// Messages a second; of a sender that is new, since it began.
    fn per_second(&self, first: Nanos, now: Nanos) -> f64 {
        let age = ((now.saturating_sub(first)) as f64 / SECOND as f64).max(1.0);
        self.weight_at(now) / (MINUTE * (1.0 - (-age / MINUTE).exp()))
    }
}

/// The last skews that were looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Skews {
    last: [i32; SAMPLES],
    count: u8,
    next: u8,
    zoned: bool,
    at: Nanos,
}

impl Skews {
    fn add(&mut self, skew: Skew, at: Nanos) {
        if skew.zoned != self.zoned {
            // Another stamp, another measure.
            *self = Skews { zoned: skew.zoned, ..Skews::default() };
        }
        if let Some(place) = self.last.get_mut(usize::from(self.next)) {
            *place = skew.seconds;
        }
        self.next = (self.next + 1) % SAMPLES as u8;
        self.count = (self.count + 1).min(SAMPLES as u8);
        self.at = at;
    }

    fn median(&self) -> Option<Skew> {
        let mut sorted = self.last;
        let known = sorted.get_mut(..usize::from(self.count))?;
        known.sort_unstable();
        known.get(known.len() / 2).map(|seconds| Skew { seconds: *seconds, zoned: self.zoned })
    }
}

/// The senders of one worker.
#[derive(Debug, Default)]
pub struct Table {
    directory: Arc<Directory>,
    /// The ring first, then those that are kept.
    ring: Vec<Row>,
    next: usize,
    kept: Vec<Row>,
    /// In the ring below [`RING`], then in `kept`.
    places: HashMap<Key, usize, RandomState>,
    traces: Traces,
    /// Of senders that were forgotten, by the source they belong to.
    forgotten: HashMap<Option<u16>, (u64, Totals)>,
    /// Picks whom to compare.
    dice: u64,
}

impl Table {
    /// Takes on the sources of another configuration.
    pub fn set_directory(&mut self, directory: Arc<Directory>) {
        let name = |index: u16| self.directory.source(index).map(|source| source.name.as_str());
        let renumbered = |index: u16| {
            let name = name(index)?;
            let found = directory.sources().iter().position(|source| source.name == name)?;
            u16::try_from(found).ok()
        };
        let mut forgotten: HashMap<Option<u16>, (u64, Totals)> = HashMap::new();
        for (source, (senders, totals)) in &self.forgotten {
            let entry = forgotten.entry(source.and_then(renumbered)).or_default();
            entry.0 += senders;
            entry.1.add(totals);
        }
        self.forgotten = forgotten;
        for row in self.ring.iter_mut().chain(&mut self.kept) {
            row.source = source_of(&directory, row.key, row.identity.as_deref());
        }
        self.directory = directory;
    }

    /// Adds, for each source, what came of it and was let in.
    pub fn heard(&self, heard: &mut [Heard]) {
        let mut add = |source: Option<u16>, totals: &Totals| {
            if let Some(heard) = source.and_then(|source| heard.get_mut(usize::from(source))) {
                heard.messages += totals.messages.saturating_sub(totals.dropped);
                heard.last = heard.last.max(totals.last);
            }
        };
        self.rows().for_each(|row| add(row.source, &row.totals));
        self.forgotten.iter().for_each(|(source, (_, totals))| add(*source, totals));
    }

    /// Adds what came in a batch; true if a stamp of this sender is to be read soon.
    fn add(&mut self, slot: &Slot, identity: Option<&Arc<Identity>>) -> bool {
        let Some(key) = slot.key else { return false };
        let place = match self.places.get(&key) {
            Some(place) => self.settle(*place, slot.received),
            None => self.insert(key, identity.filter(|_| key.identity != 0), slot.received),
        };
        let Some(row) = self.row(place) else { return false };
        row.totals.add(&Totals {
            messages: slot.messages,
            errors: slot.errors,
            dropped: slot.dropped,
            lost: slot.lost,
            late: slot.late,
            first: slot.received,
            last: slot.received,
        });
        // The clock may have been set back.
        row.totals.last = slot.received;
        row.rate.add(slot.messages, slot.received);
        if !slot.format.is_empty() {
            row.format = slot.format;
        }
        if let Some(skew) = slot.skew {
            row.skews.add(skew, slot.received);
        }
        if slot.looked {
            row.looked = Some(slot.received);
        }
        row.looked.is_none_or(|at| !(0..SAMPLE_EVERY).contains(&slot.received.saturating_sub(at)))
    }

    fn row(&mut self, place: usize) -> Option<&mut Row> {
        match place.checked_sub(RING) {
            Some(kept) => self.kept.get_mut(kept),
            None => self.ring.get_mut(place),
        }
    }

    /// Puts a new sender into the ring, in the place of the oldest of them, or where those are kept that
    /// came again.
    fn insert(&mut self, key: Key, identity: Option<&Arc<Identity>>, received: Nanos) -> usize {
        let row = Row {
            key,
            identity: identity.cloned(),
            source: source_of(&self.directory, key, identity.map(Arc::as_ref)),
            totals: Totals { first: received, ..Totals::default() },
            format: "",
            rate: Rate::default(),
            skews: Skews::default(),
            looked: None,
        };
        if !self.traces.is_empty() && self.traces.contains(self.trace(key)) {
            return self.keep(row, received);
        }
        let place = self.next;
        self.next = (self.next + 1) % RING;
        match self.ring.get_mut(place) {
            Some(old) => {
                let old = std::mem::replace(old, row);
                // Its place may have been left for one among those kept.
                if self.places.get(&old.key) == Some(&place) {
                    self.places.remove(&old.key);
                    let trace = self.trace(old.key);
                    self.traces.insert(trace);
                    self.forget(&old);
                }
            }
            None => self.ring.push(row),
        }
        self.places.insert(key, place);
        place
    }

    /// Takes a sender that has come again out of the ring.
    fn settle(&mut self, place: usize, received: Nanos) -> usize {
        let Some(row) = self.ring.get(place).filter(|_| place < RING) else { return place };
        if received.saturating_sub(row.totals.first) < AGAIN {
            return place;
        }
        let row = row.clone();
        self.keep(row, received)
    }

    /// Keeps a sender, in the place of a quiet one if there is none free.
    fn keep(&mut self, row: Row, now: Nanos) -> usize {
        let key = row.key;
        let kept = if self.kept.len() < KEPT {
            self.kept.push(row);
            self.kept.len() - 1
        } else {
            let quietest = self.quietest(now);
            if let Some(old) = self.kept.get_mut(quietest) {
                let old = std::mem::replace(old, row);
                self.places.remove(&old.key);
                self.forget(&old);
            }
            quietest
        };
        self.places.insert(key, RING + kept);
        RING + kept
    }

    fn trace(&self, key: Key) -> usize {
        self.places.hasher().hash_one(key) as usize
    }

    /// The quietest of a few that are kept.
    fn quietest(&mut self, now: Nanos) -> usize {
        let mut found = (0, f64::INFINITY);
        for _ in 0..COMPARED {
            // Any sequence will do that a sender cannot time: xorshift.
            self.dice = (self.dice | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.dice >> 29) ^ now as u64;
            let at = (self.dice >> 16) as usize % self.kept.len().max(1);
            let weight = self.kept.get(at).map_or(f64::INFINITY, |row| row.rate.weight_at(now));
            if weight < found.1 {
                found = (at, weight);
            }
        }
        found.0
    }

    fn forget(&mut self, row: &Row) {
        let entry = self.forgotten.entry(row.source).or_default();
        entry.0 += 1;
        entry.1.add(&row.totals);
    }

    /// Every row that is in force: a place of the ring that was left is not.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        let in_ring =
            self.ring.iter().enumerate().filter(|(place, row)| self.places.get(&row.key) == Some(place));
        in_ring.map(|(_, row)| row).chain(&self.kept)
    }
}

/// Who was here, in bits: it errs in saying yes to one in a dozen at worst, never in saying no.
#[derive(Debug, Default)]
struct Traces {
    halves: [Vec<u64>; 2],
    current: usize,
    count: usize,
}

impl Traces {
    fn is_empty(&self) -> bool {
        self.halves.iter().all(Vec::is_empty)
    }

    fn contains(&self, hash: usize) -> bool {
        let (word, bit) = Traces::place(hash);
        self.halves.iter().any(|half| half.get(word).is_some_and(|bits| bits & bit != 0))
    }

    fn insert(&mut self, hash: usize) {
        if self.count == TRACED {
            self.current = 1 - self.current;
            self.count = 0;
            self.halves[self.current].fill(0);
        }
        self.count += 1;
        let half = &mut self.halves[self.current];
        half.resize(TRACES / 2 / 64, 0);
        let (word, bit) = Traces::place(hash);
        if let Some(bits) = half.get_mut(word) {
            *bits |= bit;
        }
    }

    fn place(hash: usize) -> (usize, u64) {
        let bit = hash % (TRACES / 2);
        (bit / 64, 1 << (bit % 64))
    }
}

fn source_of(directory: &Directory, key: Key, identity: Option<&Identity>) -> Option<u16> {
    directory.source_of(Some(key.address).filter(|address| *address != LOCAL), identity)
}

/// One sender on one input, as all workers together saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sender {
    /// Its `[[source]]`.
    pub source: Option<u16>,
    /// The name of that, or of its client certificate.
    pub name: Option<String>,
    /// Whence it sends; none for Unix sockets, and for a source that never sent.
    pub address: Option<IpAddr>,
    /// Index of the input; none for a source that never sent.
    pub input: Option<usize>,
    /// The last that was decoded.
    pub format: Option<&'static str>,
    /// What came.
    pub totals: Totals,
    /// Messages a second, over the last minute or so.
    pub rate: f64,
    /// Seconds that its clock is ahead; none where it tells no time.
    pub skew: Option<i64>,
    /// The zone that its stamps are probably in, where they are off by what zones are.
    pub zone: Option<String>,
}

/// Everybody who sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Those that are remembered one by one, and the sources that never sent.
    pub senders: Vec<Sender>,
    /// How many were forgotten, and what came of them.
    pub forgotten: (u64, Totals),
    /// What came of each source, by its number, whoever of it is remembered.
    pub sources: Vec<Totals>,
}

/// Merges the tables of all workers; each comes with the index of its input.
///
/// `zones` are those that inputs give to stamps without one.
pub fn report<'a>(
    tables: impl Iterator<Item = (usize, &'a Mutex<Table>)>,
    directory: &Directory,
    zones: &[TimeZone],
    at: Nanos,
) -> Report {
    let mut rows: HashMap<(usize, Key), Row> = HashMap::new();
    let mut report =
        Report { sources: vec![Totals::default(); directory.sources().len()], ..Report::default() };
    for (input, table) in tables {
        // The worker waits while its table is copied, and no longer.
        let (copied, forgotten) = {
            let table = lock(table);
            (table.rows().cloned().collect::<Vec<Row>>(), table.forgotten.clone())
        };
        for mut row in copied {
            // Nobody was heard in the future: the clock was set back since.
            row.totals.last = row.totals.last.min(at);
            rows.entry((input, row.key)).and_modify(|known| known.merge(&row)).or_insert(row);
        }
        for (source, (senders, totals)) in &forgotten {
            report.forgotten.0 += senders;
            report.forgotten.1.add(totals);
            if let Some(of) = source.and_then(|source| report.sources.get_mut(usize::from(source))) {
                of.add(&Totals { last: totals.last.min(at), ..*totals });
            }
        }
    }
    let known = Zones::new(directory, zones, at);
    for ((input, key), row) in rows {
        if let Some(of) = row.source.and_then(|source| report.sources.get_mut(usize::from(source))) {
            of.add(&row.totals);
        }
        let source = row.source.and_then(|source| directory.source(source));
        let own = row.identity.as_ref().map(|identity| identity.name().to_owned());
        let skew = row.skews.median().map(|skew| known.skew(skew, source, input));
        report.senders.push(Sender {
            source: row.source,
            name: source.map(|source| source.name.clone()).or(own),
            address: Some(key.address).filter(|address| *address != LOCAL),
            input: Some(input),
            format: Some(row.format).filter(|format| !format.is_empty()),
            totals: row.totals,
            rate: row.rate.per_second(row.totals.first, at),
            zone: skew.and_then(|skew| known.probable(skew, source, input, row.skews.zoned)),
            skew,
        });
    }
    for (index, source) in (0u16..).zip(directory.sources()) {
        if report.sources.get(usize::from(index)).is_some_and(|totals| totals.messages == 0) {
            report.senders.push(silent(index, source));
        }
    }
    report
}

/// A source that never sent.
fn silent(index: u16, source: &Source) -> Sender {
    Sender {
        source: Some(index),
        name: Some(source.name.clone()),
        address: None,
        input: None,
        format: None,
        totals: Totals::default(),
        rate: 0.0,
        skew: None,
        zone: None,
    }
}

impl Row {
    fn merge(&mut self, other: &Row) {
        if other.totals.last > self.totals.last {
            self.format = other.format;
        }
        self.totals.add(&other.totals);
        self.rate = Rate {
            weight: self.rate.weight_at(other.rate.at) + other.rate.weight_at(self.rate.at),
            at: self.rate.at.max(other.rate.at),
        };
        if other.skews.at > self.skews.at {
            self.skews = other.skews;
        }
    }
}

/// What zones mean now.
struct Zones<'a> {
    inputs: &'a [TimeZone],
    at: Timestamp,
    /// Those that the configuration names, in order: one of them is the likeliest.
    named: Vec<(String, i64)>,
}

/// Offsets of zones are multiples of it, from UTC-12 to UTC+14.
const QUARTER: i64 = 900;
const MAX_OFFSET: i64 = 14 * 3600;

/// A clock that is off by less is off for another reason than its zone.
const MIN_OFFSET: i64 = 1800;

/// A clock that is set by hand may be a minute or two beside its zone.
const TOLERANCE: i64 = 120;

impl<'a> Zones<'a> {
    fn new(directory: &Directory, inputs: &'a [TimeZone], at: Nanos) -> Zones<'a> {
        let at = Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
        let of_sources = directory.sources().iter().filter_map(|source| source.timezone.as_ref());
        let mut named: Vec<(String, i64)> = Vec::new();
        for zone in inputs.iter().chain(of_sources).chain(&[TimeZone::system()]) {
            let name = zone.iana_name().unwrap_or_default();
            if !name.is_empty() && !named.iter().any(|(known, _)| known == name) {
                named.push((name.to_owned(), i64::from(zone.to_offset(at).seconds())));
            }
        }
        Zones { inputs, at, named }
    }

    /// Seconds east of UTC that stamps without a zone are taken for.
    fn assumed(&self, source: Option<&Source>, input: usize) -> i64 {
        let zone = source.and_then(|source| source.timezone.as_ref()).or_else(|| self.inputs.get(input));
        zone.map_or(0, |zone| i64::from(zone.to_offset(self.at).seconds()))
    }

    /// How far a clock is ahead, its stamps read as they are.
    fn skew(&self, skew: Skew, source: Option<&Source>, input: usize) -> i64 {
        let assumed = if skew.zoned { 0 } else { self.assumed(source, input) };
        i64::from(skew.seconds) - assumed
    }

    /// The zone that stamps are in, where they are off by what zones are.
    fn probable(&self, skew: i64, source: Option<&Source>, input: usize, zoned: bool) -> Option<String> {
        let whole = (skew + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        if (skew - whole).abs() > TOLERANCE || whole.abs() < MIN_OFFSET {
            return None;
        }
        // A sender that writes Z behind its local time is as far off as its zone is.
        let offset = whole + if zoned { 0 } else { self.assumed(source, input) };
        if offset.abs() > MAX_OFFSET {
            return None;
        }
        let sign = if offset < 0 { '-' } else { '+' };
        let hours = format!("UTC{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() % 3600 / 60);
        let named = self.named.iter().find(|(_, seconds)| *seconds == offset);
        Some(named.map_or(hours.clone(), |(name, _)| format!("{name} ({hours})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Constituent, Listener};

    const START: Nanos = 1_700_000_000 * SECOND;

    fn peer(number: u32) -> Option<SocketAddr> {
        Some(SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 514)))
    }

    fn directory(sources: &[(&str, &str, Option<&str>)]) -> Arc<Directory> {
        let sources = sources.iter().map(|(name, network, zone)| Source {
            name: (*name).to_owned(),
            networks: vec![network.parse().unwrap()],
            certificates: Vec::new(),
            expect_every: None,
            timezone: zone.map(|zone| TimeZone::get(zone).unwrap()),
            constituent: None,
        });
        Arc::new(
            Directory::new(Vec::<Listener>::new(), sources.collect(), Vec::<Constituent>::new()).unwrap(),
        )
    }

    fn report_of(counts: &[&Count], directory: &Directory, zone: &TimeZone, at: Nanos) -> Report {
        let tables: Vec<_> = counts.iter().map(|count| count.table()).collect();
        let zones = [zone.clone()];
        let mut report = report(tables.iter().map(|table| (0, table.as_ref())), directory, &zones, at);
        report.senders.sort_by_key(|sender| sender.address);
        report
    }

    #[test]
    fn what_workers_counted_is_one_sender() {
        let directory = directory(&[("fw", "10.0.0.1/32", None), ("mute", "10.9.0.0/16", None)]);
        let mut counts = [Count::new(), Count::new()];
        for count in &mut counts {
            lock(&count.table()).set_directory(Arc::clone(&directory));
            for second in 0..120 {
                for _ in 0..5 {
                    count.message(peer(1), None, START + second * SECOND);
                    count.decoded(Some("rfc3164"));
                    count.message(peer(2), None, START + second * SECOND);
                    count.decoded(None);
                }
                count.message(peer(3), None, START + second * SECOND);
                count.dropped();
                count.flush(None);
            }
        }
        let at = START + 120 * SECOND;
        let report = report_of(&[&counts[0], &counts[1]], &directory, &TimeZone::UTC, at);
        let told: Vec<_> = report
            .senders
            .iter()
            .map(|one| {
                (one.name.as_deref(), one.format, one.totals.messages, one.totals.errors, one.totals.dropped)
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("mute"), None, 0, 0, 0),
                (Some("fw"), Some("rfc3164"), 1200, 0, 0),
                (None, None, 1200, 1200, 0),
                (None, None, 240, 0, 240),
            ]
        );
        assert!((report.senders[1].rate - 10.0).abs() < 0.5, "{}", report.senders[1].rate);
        assert_eq!(report.senders[1].totals.last, START + 119 * SECOND);
        assert_eq!((report.sources[0].messages, report.sources[1].messages), (1200, 0));
        // An hour later it is silent.
        let later = report_of(&[&counts[0]], &directory, &TimeZone::UTC, at + 3600 * SECOND);
        assert!(later.senders[1].rate < 1e-9);
    }

    #[test]
    fn a_million_spoofed_senders_are_bounded_and_displace_nobody() {
        let directory = directory(&[("rare", "10.0.0.7/32", None)]);
        let mut count = Count::new();
        lock(&count.table()).set_directory(Arc::clone(&directory));
        let real = 500;
        let mut sent = 0;
        for batch in 0..20_000u32 {
            let now = START + Nanos::from(batch) * SECOND / 1000;
            for number in 0..50 {
                count.message(peer(0x10_0000 + batch * 50 + number), None, now);
                count.decoded(Some("rfc3164"));
                sent += 1;
            }
            count.message(peer(0x1000 + batch % real), None, now);
            sent += 1;
            if batch == 5 {
                count.message(peer(7), None, now);
                sent += 1;
            }
            count.flush(None);
        }
        {
            let table = count.table();
            let table = lock(&table);
            assert!(table.ring.len() == RING && table.kept.len() <= KEPT);
            assert_eq!(table.places.len(), table.rows().count());
            let known = |number: u32| {
                peer(number)
                    .is_some_and(|peer| table.places.contains_key(&Key { address: peer.ip(), identity: 0 }))
            };
            let displaced = (0..real).filter(|number| !known(0x1000 + number)).count();
            assert_eq!(displaced, 0);
        }
        let report = report_of(&[&count], &directory, &TimeZone::UTC, START + 20 * SECOND);
        let remembered: u64 = report.senders.iter().map(|one| one.totals.messages).sum();
        assert_eq!(remembered + report.forgotten.1.messages, sent);
        // The source that spoke once was forgotten, but not when it spoke.
        assert_eq!(report.sources[0].last, START + 5 * SECOND / 1000);
        let mut heard = [Heard::default()];
        lock(&count.table()).heard(&mut heard);
        assert_eq!(heard, [Heard { messages: 1, last: START + 5 * SECOND / 1000 }]);
    }

    #[test]
    fn whoever_is_kept_makes_room_for_those_who_come_again() {
        let mut count = Count::new();
        let senders = (KEPT + 500) as u32;
        for round in 0..20 {
            for first in (0..senders).step_by(500) {
                for number in first..(first + 500).min(senders) {
                    let now = START + (Nanos::from(round) * 20 + Nanos::from(first / 500)) * SECOND;
                    // Two rounds within the time that the ring remembers them.
                    count.message(peer(number), None, now);
                    count.message(peer(number), None, now + 2 * SECOND);
                    count.flush(None);
                    count.message(peer(number), None, now + 3 * SECOND);
                    count.flush(None);
                }
            }
        }
        let table = count.table();
        let table = lock(&table);
        assert!(table.kept.len() <= KEPT);
        let (_, forgotten) = table.forgotten.get(&None).copied().unwrap_or_default();
        let remembered: u64 = table.rows().map(|row| row.totals.messages).sum();
        assert_eq!(remembered + forgotten.messages, u64::from(senders) * 20 * 3);
    }

    #[test]
    fn skews_and_probable_zones() {
        let received: Nanos = 1_768_478_400 * SECOND; // 2026-01-15T12:00:00Z
        let tirane = TimeZone::get("Europe/Tirane").unwrap();
        for (name, line, zone, of_source, skew, probable) in [
            ("right", "<34>Jan 15 12:00:03 h a: x", &TimeZone::UTC, None, Some(3), None),
            (
                "local time taken for UTC",
                "<34>Jan 15 13:00:01 h a: x",
                &TimeZone::UTC,
                None,
                Some(3601),
                Some("UTC+01:00"),
            ),
            (
                "UTC taken for local time",
                "<34>Jan 15 12:00:00 h a: x",
                &tirane,
                None,
                Some(-3600),
                Some("UTC+00:00"),
            ),
            ("local time read right", "<34>Jan 15 13:00:00 h a: x", &tirane, None, Some(0), None),
            (
                "of its source",
                "<34>Jan 15 13:00:00 h a: x",
                &TimeZone::UTC,
                Some("Europe/Tirane"),
                Some(0),
                None,
            ),
            (
                "named by another",
                "<34>Jan 15 13:00:00 h a: x",
                &tirane,
                Some("UTC"),
                Some(3600),
                Some("Europe/Tirane (UTC+01:00)"),
            ),
            (
                "half hours",
                "<34>Jan 15 17:30:00 h a: x",
                &TimeZone::UTC,
                None,
                Some(19_800),
                Some("UTC+05:30"),
            ),
            ("minutes are no zone", "<34>Jan 15 12:40:00 h a: x", &TimeZone::UTC, None, Some(2400), None),
            ("west", "<34>Jan 15 07:00:00 h a: x", &TimeZone::UTC, None, Some(-18_000), Some("UTC-05:00")),
            (
                "days are no zone",
                "<34>1 2026-01-10T12:00:00Z h a - - - x",
                &TimeZone::UTC,
                None,
                Some(-432_000),
                None,
            ),
            (
                "Z behind local time",
                "<34>1 2026-01-15T13:00:00Z h a - - - x",
                &tirane,
                None,
                Some(3600),
                Some("Europe/Tirane (UTC+01:00)"),
            ),
            ("zoned", "<34>1 2026-01-15T13:00:00+01:00 h a - - - x", &TimeZone::UTC, None, Some(0), None),
            ("no stamp", "<34>h a: x", &TimeZone::UTC, None, None, None),
        ] {
            let directory = directory(&[("s", "10.0.0.1/32", of_source)]);
            let mut count = Count::new();
            lock(&count.table()).set_directory(Arc::clone(&directory));
            for sample in 0..SAMPLES as Nanos {
                let received = received + sample * SAMPLE_EVERY;
                count.message(peer(1), None, received);
                if count.wants_time() {
                    // The clock goes on, and the stamp of this test does not.
                    count.stamp(line.as_bytes(), received - sample * SAMPLE_EVERY);
                }
                count.flush(None);
            }
            let report = report_of(&[&count], &directory, zone, received);
            let found = &report.senders[0];
            assert_eq!(found.skew, skew, "{name}");
            let zone = found.zone.as_deref();
            // This machine's own zone may be UTC, and then lends its name.
            let same = zone == probable
                || zone
                    .zip(probable)
                    .is_some_and(|(zone, probable)| zone.ends_with(&format!("({probable})")));
            assert!(same, "{name}: {zone:?}, expected {probable:?}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_is_gone_along_with() {
        const DAY: Nanos = 86_400 * SECOND;
        let directory = directory(&[("fw", "10.0.0.1/32", None)]);
        let mut count = Count::new();
        lock(&count.table()).set_directory(Arc::clone(&directory));
        count.message(peer(1), None, START + DAY);
        count.stamp(b"<34>1 2023-11-15T22:13:20Z h a - - - x", START + DAY);
        count.flush(None);
        let back = report_of(&[&count], &directory, &TimeZone::UTC, START);
        assert_eq!(back.senders[0].totals.last, START, "not in the future");
        let mut sampled = 0;
        for second in 0..120 {
            count.message(peer(1), None, START + second * SECOND);
            if count.wants_time() {
                count.stamp(b"<34>1 2023-11-14T22:13:20Z h a - - - x", START + second * SECOND);
                sampled += 1;
            }
            count.flush(None);
        }
        let report = report_of(&[&count], &directory, &TimeZone::UTC, START + 120 * SECOND);
        assert_eq!(report.senders[0].totals.last, START + 119 * SECOND);
        assert_eq!(report.sources[0].last, START + 119 * SECOND);
        assert!((report.senders[0].rate - 1.0).abs() < 0.2, "{}", report.senders[0].rate);
        assert!((10..=13).contains(&sampled), "{sampled}");
    }

    #[test]
    fn messages_that_are_not_let_in_break_no_silence() {
        let directory = directory(&[("fw", "10.0.0.1/32", None)]);
        let mut count = Count::new();
        lock(&count.table()).set_directory(directory);
        for number in 0..5 {
            count.message(peer(1), None, START);
            if number < 3 {
                count.dropped();
            }
        }
        count.flush(None);
        let mut heard = [Heard::default()];
        lock(&count.table()).heard(&mut heard);
        assert_eq!(heard[0].messages, 2);
    }

    #[test]
    fn long_messages_have_a_stamp_and_one_that_is_not_there_is_not_looked_for_each_time() {
        let long = "x".repeat(60_000);
        for (name, line, skew) in [
            (
                "JSON behind a header",
                format!("<34>1 2023-11-14T22:14:20Z h a - - - {{\"a\":\"{long}\"}}"),
                Some(60),
            ),
            ("text behind a header", format!("<34>Nov 14 22:14:20 h a: {long}"), Some(60)),
            (
                "JSON alone",
                format!("{{\"@timestamp\":\"2023-11-14T22:14:20Z\",\"message\":\"{}\"}}", "x".repeat(8000)),
                Some(60),
            ),
            ("no stamp", "<34>h a: x".to_owned(), None),
            ("no stamp in much", format!("<34>h a: {long}"), None),
        ] {
            let mut count = Count::new();
            let mut looked = 0;
            for second in 0..30 {
                for part in 0..10 {
                    let received = START + second * SECOND + part * SECOND / 10;
                    count.message(peer(1), None, received);
                    if count.wants_time() {
                        looked += 1;
                        count.stamp(line.as_bytes(), received - second * SECOND - part * SECOND / 10);
                    }
                    count.flush(None);
                }
            }
            let report = report_of(&[&count], &Arc::default(), &TimeZone::UTC, START + 30 * SECOND);
            assert_eq!(report.senders[0].skew, skew, "{name}");
            assert!((3..=30).contains(&looked), "{name}: {looked}");
        }
    }

    #[test]
    fn one_late_message_is_no_skew() {
        let mut skews = Skews::default();
        for seconds in [0, 1, -7200, 0, 1] {
            skews.add(Skew { seconds, zoned: true }, START);
        }
        assert_eq!(skews.median(), Some(Skew { seconds: 0, zoned: true }));
    }

    #[test]
    fn sources_are_renumbered_with_the_configuration() {
        let before = directory(&[("a", "10.0.0.1/32", None), ("b", "10.0.0.2/32", None)]);
        let after = directory(&[("b", "10.0.0.2/32", None), ("c", "10.0.0.1/32", None)]);
        let mut count = Count::new();
        lock(&count.table()).set_directory(before);
        count.message(peer(2), None, START);
        count.flush(None);
        for number in 0..2 * RING as u32 {
            count.message(peer(100 + number), None, START);
            count.flush(None);
        }
        lock(&count.table()).set_directory(Arc::clone(&after));
        let report = report_of(&[&count], &after, &TimeZone::UTC, START);
        assert_eq!((report.sources[0].messages, report.sources[1].messages), (1, 0));
    }
}
