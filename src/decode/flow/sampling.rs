//! What exporters tell about sampling, and which rate holds for a record.
//!
//! The ladder: what the operator configured, the record's own rate, its sampler, its interface, its template, the domain,
//! the whole exporter (domain 0 of IPFIX), else unknown. Nothing is ever taken for unsampled because nobody said otherwise.

use super::lru::Lru;
use serde::{Deserialize, Serialize};

/// The rates of one observation domain, or of one exporter in it that a relay names.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    domain: Option<Rate>,
    scoped: Lru<Scope, Rate>,
    /// Rates forgotten for want of room.
    evicted: u64,
}

/// A rate that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Packets that one sampled packet stands for.
    pub(super) value: u32,
    /// It was told to an earlier run of the sensor, and not repeated since.
    pub(super) restored: bool,
}

/// What a rate holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// The whole domain.
    Domain,
    /// A sampler (v9) or selector (IPFIX).
    Sampler(u64),
    /// An interface, whichever way packets pass it: NetFlow v9 has no other scope, and what its exporters
    /// become in IPFIX names the input where an interface is meant.
    Interface(u32),
    /// An interface that packets leave by.
    Output(u32),
    /// The records of a template.
    Template(u16),
}

/// What a record names that a rate may hold for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) sampler: Option<u64>,
    /// The interface that the packets came by; none if the record says that they were seen as they left.
    pub(super) input: Option<u32>,
    /// The interface that they left by; none if the record says that they were seen as they came.
    pub(super) output: Option<u32>,
    pub(super) template: u16,
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
    /// Remembers a rate.
    pub(super) fn learn(&mut self, scope: Scope, rate: Rate) {
        if scope == Scope::Domain {
            self.domain = Some(rate);
            return;
        }
        if let Some(known) = self.scoped.touch(&scope) {
            *known = rate;
            return;
        }
        // What was told longest ago goes, so that forged scopes do not shut out true ones for good.
        let full = self.scoped.len() >= MAX_SCOPES && self.scoped.pop_oldest().is_some();
        self.scoped.insert(scope, rate);
        self.evicted += u64::from(full);
    }

    /// Forgets the rate that was told longest ago; gives the memory that it took.
    pub(super) fn shrink(&mut self) -> Option<usize> {
        self.scoped.pop_oldest().map(|_| SCOPE_BYTES)
    }

    /// Rates that were forgotten for want of room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The rate of the whole domain.
    pub(super) fn of_domain(&self) -> Option<Rate> {
        self.domain
    }

    /// The rate of records of which nothing is known.
    pub(super) fn usual(&self) -> Option<Rate> {
        self.domain.or_else(|| self.only_sampler())
    }

    /// Whether a rate holds for some part of the domain, so that it matters what a record names.
    pub(super) fn has_scopes(&self) -> bool {
        self.scoped.len() > 0
    }

    /// The rate that holds for a record that states none itself.
    pub(super) fn rate(&self, asked: &Asked) -> Option<Rate> {
        if !self.has_scopes() {
            return self.domain;
        }
        let known = |scope: Option<Scope>| scope.and_then(|scope| self.scoped.peek(&scope).copied());
        known(asked.sampler.map(Scope::Sampler))
            .or_else(|| known(asked.input.map(Scope::Interface)))
            .or_else(|| known(asked.output.map(Scope::Output)))
            .or_else(|| known(asked.output.map(Scope::Interface)))
            .or_else(|| known(Some(Scope::Template(asked.template))))
            .or(self.domain)
            .or_else(|| if asked.sampler.is_none() { self.only_sampler() } else { None })
    }

    /// Every rate, and what it holds for.
    pub(super) fn rates(&self) -> impl Iterator<Item = (Scope, Rate)> {
        let domain = self.domain.map(|rate| (Scope::Domain, rate));
        domain.into_iter().chain(self.scoped.iter().map(|(scope, rate)| (*scope, *rate)))
    }

    /// The memory held.
    pub(super) fn bytes(&self) -> usize {
        self.scoped.len() * SCOPE_BYTES
    }

    /// The rate of the only sampler there is: records of such devices often do not name it.
    fn only_sampler(&self) -> Option<Rate> {
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

    fn told(value: u32) -> Rate {
        Rate { value, restored: false }
    }

    fn asked(sampler: Option<u64>, input: Option<u32>, output: Option<u32>) -> Asked {
        Asked { sampler, input, output, template: 256 }
    }

    #[test]
    fn the_nearest_rung_holds() {
        let mut sampling = Sampling::default();
        let rate = |sampling: &Sampling, asked: Asked| sampling.rate(&asked).map_or(0, |rate| rate.value);
        assert_eq!(rate(&sampling, asked(None, Some(1), None)), 0, "nothing known");
        sampling.learn(Scope::Sampler(7), told(100));
        assert_eq!(rate(&sampling, asked(None, None, None)), 100, "the only sampler");
        assert_eq!(rate(&sampling, asked(Some(8), None, None)), 0, "another sampler");
        sampling.learn(Scope::Interface(3), told(300));
        assert_eq!(rate(&sampling, asked(None, None, None)), 0, "no longer the only scope");
        sampling.learn(Scope::Domain, told(400));
        assert_eq!(rate(&sampling, asked(Some(7), Some(3), None)), 100, "sampler");
        assert_eq!(rate(&sampling, asked(Some(8), Some(3), None)), 300, "interface");
        assert_eq!(rate(&sampling, asked(Some(8), Some(4), None)), 400, "domain");
        for scope in 0..5000 {
            sampling.learn(Scope::Sampler(scope), told(1));
        }
        assert_eq!(sampling.bytes(), MAX_SCOPES * SCOPE_BYTES, "bounded");
        assert_eq!(sampling.evicted(), 5001 - MAX_SCOPES as u64);
        sampling.learn(Scope::Interface(4), told(500));
        assert_eq!(rate(&sampling, asked(None, Some(4), None)), 500, "a new one is taken all the same");
    }

    #[test]
    fn an_interface_is_that_of_either_side() {
        let mut sampling = Sampling::default();
        sampling.learn(Scope::Domain, told(1000));
        sampling.learn(Scope::Interface(3), told(300));
        sampling.learn(Scope::Interface(4), told(400));
        sampling.learn(Scope::Output(4), told(44));
        sampling.learn(Scope::Output(5), told(55));
        for (name, input, output, rate) in [
            ("in", Some(3), Some(9), 300),
            ("out", Some(9), Some(3), 300),
            ("the way in goes first", Some(3), Some(4), 300),
            ("seen as they leave", None, Some(3), 300),
            ("a rate of what leaves", None, Some(4), 44),
            ("is not that of what comes", Some(5), None, 1000),
            ("nothing of either", Some(8), Some(9), 1000),
        ] {
            assert_eq!(sampling.rate(&asked(None, input, output)), Some(told(rate)), "{name}");
        }
    }
}
