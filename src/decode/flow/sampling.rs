//! What exporters tell about sampling, and which rate holds for a record.
//!
//! The ladder: what the operator configured, the record's own rate, its sampler, its input interface, its template, the domain,
//! the whole exporter (domain 0 of IPFIX), else unknown (0). Nothing is ever taken for unsampled because nobody said otherwise.

use super::lru::Lru;
use serde::{Deserialize, Serialize};

/// The rates of one observation domain.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    domain: Option<u32>,
    scoped: Lru<Scope, u32>,
    /// Rates forgotten for want of room.
    evicted: u64,
}

/// What a rate holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// The whole domain.
    Domain,
    /// A sampler (v9) or selector (IPFIX).
    Sampler(u64),
    /// An input interface.
    Interface(u32),
    /// The records of a template.
    Template(u16),
}

/// The ways in which a record states a rate; zero where it does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stated {
    /// One packet out of this many (34, 50).
    pub(super) interval: u64,
    /// Packets taken in a row, and then left out (305, 306).
    pub(super) taken: u64,
    pub(super) skipped: Option<u64>,
    /// Packets taken out of so many (309, 310).
    pub(super) size: u64,
    pub(super) population: u64,
    /// The chance of a packet (311).
    pub(super) probability: f64,
}

/// Rates kept for one domain. Line cards have a sampler or two; a chassis, hundreds of interfaces.
const MAX_SCOPES: usize = 1024;
/// What one of them costs in memory, about.
const SCOPE_BYTES: usize = 96;

impl Sampling {
    /// Remembers a rate; gives the memory that took.
    pub(super) fn learn(&mut self, scope: Scope, rate: u32) -> usize {
        if scope == Scope::Domain {
            self.domain = Some(rate);
            return 0;
        }
        if let Some(known) = self.scoped.touch(&scope) {
            *known = rate;
            return 0;
        }
        // What was told longest ago goes, so that forged scopes do not shut out true ones for good.
        let full = self.scoped.len() >= MAX_SCOPES && self.scoped.pop_oldest().is_some();
        self.scoped.insert(scope, rate);
        self.evicted += u64::from(full);
        if full { 0 } else { SCOPE_BYTES }
    }

    /// Rates that were forgotten for want of room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The rate of the whole domain.
    pub(super) fn of_domain(&self) -> Option<u32> {
        self.domain
    }

    /// The rate that holds for a record that states none itself.
    pub(super) fn rate(&self, sampler: Option<u64>, interface: Option<u32>, template: u16) -> u32 {
        if self.scoped.len() == 0 {
            return self.domain.unwrap_or(0);
        }
        let known = |scope: Option<Scope>| scope.and_then(|scope| self.scoped.peek(&scope).copied());
        known(sampler.map(Scope::Sampler))
            .or_else(|| known(interface.map(Scope::Interface)))
            .or_else(|| known(Some(Scope::Template(template))))
            .or(self.domain)
            .or_else(|| if sampler.is_none() { self.only_sampler() } else { None })
            .unwrap_or(0)
    }

    /// Every rate, and what it holds for.
    pub(super) fn rates(&self) -> impl Iterator<Item = (Scope, u32)> {
        let domain = self.domain.map(|rate| (Scope::Domain, rate));
        domain.into_iter().chain(self.scoped.iter().map(|(scope, rate)| (*scope, *rate)))
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.scoped.len() * SCOPE_BYTES
    }

    /// The rate of the only sampler there is: records of such devices often do not name it.
    fn only_sampler(&self) -> Option<u32> {
        let mut scopes = self.scoped.iter();
        match (scopes.next(), scopes.next()) {
            (Some((Scope::Sampler(_), rate)), None) => Some(*rate),
            _ => None,
        }
    }
}

impl Stated {
    /// The rate, 0 where none or nonsense is stated.
    pub(super) fn rate(&self) -> u32 {
        let rate = if self.interval > 0 {
            self.interval
        } else if let (1.., Some(skipped)) = (self.taken, self.skipped) {
            self.taken.saturating_add(skipped) / self.taken
        } else if let Some(rate) = self.population.checked_div(self.size) {
            rate
        } else if self.probability > 0.0 && self.probability <= 1.0 {
            // The quotient is at least one, and the cast saturates.
            (1.0 / self.probability).round() as u64
        } else {
            0
        };
        u32::try_from(rate).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_computed() {
        let none = Stated::default();
        let cases = [
            ("nothing", none, 0),
            ("interval", Stated { interval: 1000, ..none }, 1000),
            ("taken and skipped", Stated { taken: 1, skipped: Some(3999), ..none }, 4000),
            ("taken alone says nothing", Stated { taken: 100, ..none }, 0),
            ("size and population", Stated { size: 1, population: 512, ..none }, 512),
            ("probability", Stated { probability: 0.001, ..none }, 1000),
            ("not a probability", Stated { probability: f64::NAN, ..none }, 0),
            ("beyond 32 bits", Stated { interval: 1 << 40, ..none }, 0),
        ];
        for (name, stated, rate) in cases {
            assert_eq!(stated.rate(), rate, "{name}");
        }
    }

    #[test]
    fn the_nearest_rung_holds() {
        let mut sampling = Sampling::default();
        assert_eq!(sampling.rate(None, Some(1), 256), 0, "nothing known");
        sampling.learn(Scope::Sampler(7), 100);
        assert_eq!(sampling.rate(None, None, 256), 100, "the only sampler");
        assert_eq!(sampling.rate(Some(8), None, 256), 0, "another sampler");
        sampling.learn(Scope::Interface(3), 300);
        assert_eq!(sampling.rate(None, None, 256), 0, "no longer the only scope");
        sampling.learn(Scope::Domain, 400);
        assert_eq!(sampling.rate(Some(7), Some(3), 256), 100, "sampler");
        assert_eq!(sampling.rate(Some(8), Some(3), 256), 300, "interface");
        assert_eq!(sampling.rate(Some(8), Some(4), 256), 400, "domain");
        for scope in 0..5000 {
            sampling.learn(Scope::Sampler(scope), 1);
        }
        assert_eq!(sampling.bytes(), MAX_SCOPES * SCOPE_BYTES, "bounded");
        assert_eq!(sampling.evicted(), 5001 - MAX_SCOPES as u64);
        sampling.learn(Scope::Interface(4), 500);
        assert_eq!(sampling.rate(None, Some(4), 256), 500, "a new one is taken all the same");
    }
}
