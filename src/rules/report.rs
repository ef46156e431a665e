//! What is loaded, as `roje rules --format json` prints it.

use super::{Generation, LoadedSet, Refused};
use crate::detect::indicator::Kind;
use crate::input::Nanos;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The object of `roje rules --format json`.
///
/// `tlp` is the marking of a set's `defaults`; rows may differ. `indicators` counts what is loaded,
/// expired entries included. A set that is stale, or a file refused whole, has one refusal with its
/// reason. In `totals`, `set` and `stale` are numbers, what cannot be summed is null. `hits` comes
/// from the running sensor, by set; without one it is null.
pub fn report(generation: &Generation, now: Nanos, hits: Option<&HashMap<String, u64>>) -> Value {
    let mut total = Row::default();
    let mut sets = Vec::new();
    for set in &generation.sets {
        let row = Row::of(set, now, hits);
        total.add(&row);
        sets.push(row.json(&Labels {
            set: json!(set.info.name),
            source: json!(set.info.path.to_string_lossy()),
            producer: json!(set.info.producer),
            tlp: json!(set.tlp.name()),
            stale: json!(set.stale.is_some()),
        }));
    }
    for file in &generation.refused {
        let row = Row { refused: vec![file.refused.clone()], hits: hits.map(|_| 0), ..Row::default() };
        total.add(&row);
        let name = file.set.clone().or_else(|| Some(file.path.file_name()?.to_string_lossy().into_owned()));
        let source = json!(file.path.to_string_lossy());
        sets.push(row.json(&Labels { set: json!(name), source, stale: json!(false), ..Labels::default() }));
    }
    let stale = generation.sets.iter().filter(|set| set.stale.is_some()).count();
    let count = generation.sets.len();
    let totals = total.json(&Labels { set: json!(count), stale: json!(stale), ..Labels::default() });
    json!({ "sets": sets, "totals": totals })
}

/// What stands before the numbers.
#[derive(Debug, Default)]
struct Labels {
    set: Value,
    source: Value,
    producer: Value,
    tlp: Value,
    stale: Value,
}

/// The numbers of a set, or of all.
#[derive(Debug, Default)]
struct Row {
    indicators: [usize; Kind::ALL.len()],
    allow: usize,
    expired: usize,
    refused: Vec<Refused>,
    hits: Option<u64>,
}

impl Row {
    fn of(set: &LoadedSet, now: Nanos, hits: Option<&HashMap<String, u64>>) -> Row {
        let refused = match &set.stale {
            Some(reason) => {
                let first = set.stale_at.clone().unwrap_or_default();
                vec![Refused { reason: reason.clone(), count: 1, first }]
            }
            None => set.refused.clone(),
        };
        Row {
            indicators: set.indicators,
            allow: set.allow,
            expired: set.expired(now),
            refused,
            hits: hits.map(|hits| hits.get(&set.info.name).copied().unwrap_or(0)),
        }
    }

    fn add(&mut self, other: &Row) {
        for (total, count) in self.indicators.iter_mut().zip(other.indicators) {
            *total += count;
        }
        self.allow += other.allow;
        self.expired += other.expired;
        for refused in &other.refused {
            match self.refused.iter_mut().find(|known| known.reason == refused.reason) {
                Some(known) => known.count += refused.count,
                None => self.refused.push(refused.clone()),
            }
        }
        self.hits = match (self.hits, other.hits) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
    }

    fn json(&self, labels: &Labels) -> Value {
        let indicators: Map<String, Value> = Kind::ALL
            .iter()
            .zip(self.indicators)
            .map(|(kind, count)| (kind.name().to_owned(), json!(count)))
            .collect();
        let refused: Vec<Value> = self
            .refused
            .iter()
            .map(
                |refused| json!({ "reason": refused.reason, "count": refused.count, "first": refused.first }),
            )
            .collect();
        json!({
            "set": labels.set,
            "source": labels.source,
            "producer": labels.producer,
            "tlp": labels.tlp,
            "stale": labels.stale,
            "indicators": indicators,
            "allow": self.allow,
            "expired": self.expired,
            "refused": refused,
            "hits": self.hits,
        })
    }
}
