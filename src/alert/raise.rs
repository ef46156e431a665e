//! Decides which matches become an alert now and which are folded into a summary.
//!
//! Every match offered to an [`Alerter`] ends in exactly one of three places: an alert of its own,
//! the window of its indicator, the tally of its set; windows and tallies leave as summaries. So
//! the sum of `roje.count` over what was emitted, counting alerts of equal `event.id` once,
//! equals the matches offered, once [`Alerter::flush`] has run.
//!
//! Time is an argument: spans are measured by the clock that only runs forward, so that no step of the
//! clock of the day opens a throttle or keeps it closed. [`Alerter::tick`] belongs on a timer of about a
//! second.

use super::budget::{BURST, Budget, REFILL};
use super::compose::{Facts, Resolved, repeat};
use super::throttle::{
    Folded, Key, MAX_TALLIES, MAX_WINDOW_BYTES, MAX_WINDOWS, Tallies, TallyInfo, TallyKey, Windows,
};
use super::{Agent, Alert, Composer, Directory, Evidence, Hit, MAX_CLIENTS, Raised, severity_of};
use crate::decode::flow::Flow;
use crate::detect::indicator::{Severity, Throttle, Tlp};
use crate::detect::{Match, RuleSet, Side};
use crate::input::{Nanos, Time};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Matches of one set that a worker only counted, because the channel to the alert thread was full.
#[derive(Clone, Debug)]
pub struct SetSummary {
    /// The rule set that `set` indexes.
    pub rules: Arc<RuleSet>,
    /// Index of the set in [`RuleSet::sets`].
    pub set: u32,
    /// Severity of the matches.
    pub severity: Severity,
    /// Marking of the matches.
    pub tlp: Tlp,
    /// How many there were.
    pub count: u64,
    /// When the first was received.
    pub first: Nanos,
    /// When the last was received.
    pub last: Nanos,
    /// Index of the input in the configuration.
    pub input: u16,
    /// Distinct clients, at most [`MAX_CLIENTS`].
    pub clients: Vec<IpAddr>,
}

impl SetSummary {
    /// Counts one hit instead of telling it; none for a match that raises no alert.
    pub fn of(hit: &Hit) -> Option<SetSummary> {
        let flow = match &hit.evidence {
            Evidence::Flow { flow, .. } => Some(flow),
            Evidence::Syslog { .. } => None,
        };
        let client = client(&hit.matched, flow, hit.peer);
        let denied = flow.is_some_and(|flow| flow.denied);
        let one = SetSummary::of_match(&hit.rules, &hit.matched, hit.input, client, denied, hit.received)?;
        Some(SetSummary { count: hit.count, last: hit.last.max(hit.received), ..one })
    }

    /// Counts one match that was received just now; `denied` if the contact was refused.
    pub fn of_match(
        rules: &Arc<RuleSet>,
        matched: &Match,
        input: u16,
        client: Option<IpAddr>,
        denied: bool,
        received: Nanos,
    ) -> Option<SetSummary> {
        if matched.suppressed.is_some() {
            return None;
        }
        let mut live = matched.contributors.iter().map(|entry| (entry.set, rules.contributor(*entry).meta));
        let (set, meta) = live.find(|(_, meta)| !meta.test)?;
        Some(SetSummary {
            rules: Arc::clone(rules),
            set,
            severity: severity_of(meta.severity, denied),
            tlp: meta.tlp,
            count: 1,
            first: received,
            last: received,
            input,
            clients: client.into_iter().collect(),
        })
    }

    fn equals(&self, other: &SetSummary) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
            && (self.set, self.severity, self.tlp, self.input)
                == (other.set, other.severity, other.tlp, other.input)
    }

    fn absorb(&mut self, other: SetSummary) {
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        for client in other.clients {
            if self.clients.len() < MAX_CLIENTS && !self.clients.contains(&client) {
                self.clients.push(client);
            }
        }
    }
}

/// The endpoint that did not match, else the exporter or whoever sent it.
pub fn client(matched: &Match, flow: Option<&Flow>, peer: Option<SocketAddr>) -> Option<IpAddr> {
    let endpoint = flow.and_then(|flow| match (matched.field, matched.side) {
        (Flow::TUNNEL_SOURCE, _) => flow.tunnel_destination,
        (Flow::TUNNEL_DESTINATION, _) => flow.tunnel_source,
        (_, Side::Source) => flow.destination,
        _ => flow.source,
    });
    let exporter = flow.map(|flow| flow.exporter).filter(|exporter| !exporter.is_unspecified());
    endpoint.or(exporter).or(peer.map(|peer| peer.ip())).map(|address| address.to_canonical())
}

/// What a worker folds while the channel is full, and offers once there is room.
///
/// Bounded by the rule set: one entry for each set, severity, marking and input.
#[derive(Debug, Default)]
pub struct Overflow {
    summaries: Vec<SetSummary>,
}

impl Overflow {
    /// Counts a hit that found no room.
    pub fn fold(&mut self, hit: &Hit) {
        if let Some(summary) = SetSummary::of(hit) {
            self.put_back(summary);
        }
    }

    /// Counts a match that is not even made a hit.
    pub fn count(
        &mut self,
        rules: &Arc<RuleSet>,
        matched: &Match,
        input: u16,
        client: Option<IpAddr>,
        denied: bool,
        received: Nanos,
    ) {
        if let Some(summary) = SetSummary::of_match(rules, matched, input, client, denied, received) {
            self.put_back(summary);
        }
    }

    /// Takes in a summary, of a hit or one that found no room itself.
    pub fn put_back(&mut self, summary: SetSummary) {
        match self.summaries.iter_mut().find(|known| known.equals(&summary)) {
            Some(known) => known.absorb(summary),
            None => self.summaries.push(summary),
        }
    }

    /// The next summary to offer.
    pub fn take(&mut self) -> Option<SetSummary> {
        self.summaries.pop()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.summaries.is_empty()
    }
}

/// How hits of a match are folded: as the contributor wants that wants the least folding.
///
/// Workers ask it too, since a match with [`Throttle::None`] is not coalesced within a batch.
pub fn throttle(rules: &RuleSet, matched: &Match) -> Throttle {
    let each = matched.contributors.iter().map(|entry| rules.contributor(*entry).meta);
    let each = each.filter(|meta| !meta.test).map(|meta| meta.throttle);
    each.reduce(least_folding).unwrap_or(Throttle::None)
}

fn least_folding(one: Throttle, other: Throttle) -> Throttle {
    match (one, other) {
        (Throttle::Window { by_source: a, seconds: x }, Throttle::Window { by_source: b, seconds: y }) => {
            Throttle::Window { by_source: a || b, seconds: x.min(y) }
        }
        _ => Throttle::None,
    }
}

/// Bounds that tests make smaller.
struct Limits {
    windows: usize,
    window_bytes: usize,
    tallies: usize,
    burst: u32,
    refill: u32,
}

const LIMITS: Limits = Limits {
    windows: MAX_WINDOWS,
    window_bytes: MAX_WINDOW_BYTES,
    tallies: MAX_TALLIES,
    burst: BURST,
    refill: REFILL,
};

/// Turns what workers raise into alerts; one for the sensor, on the alert thread.
pub struct Alerter {
    composer: Composer,
    windows: Windows,
    tallies: Tallies,
    budget: Budget,
}

impl Alerter {
    /// An alerter that has seen nothing.
    pub fn new(agent: Agent, directory: Arc<Directory>) -> Alerter {
        Alerter::with_limits(agent, directory, &LIMITS)
    }

    fn with_limits(agent: Agent, directory: Arc<Directory>, limits: &Limits) -> Alerter {
        Alerter {
            composer: Composer::new(agent, directory),
            windows: Windows::new(limits.windows, limits.window_bytes),
            tallies: Tallies::new(limits.tallies),
            budget: Budget::new(limits.burst, limits.refill),
        }
    }

    /// Takes one match, or matches that were only counted, and emits what is to be told now.
    pub fn offer(&mut self, raised: Raised, now: impl Into<Time>, emit: &mut impl FnMut(Alert)) {
        let now = now.into();
        match raised {
            Raised::Hit(hit) => {
                if hit.matched.suppressed.is_some() {
                    return;
                }
                if let Some(resolved) = Resolved::of(&hit.rules, &hit.matched, now.day) {
                    self.raise(&hit, &resolved, now, emit);
                }
            }
            Raised::Summary(summary) => self.count(&summary, now, emit),
            Raised::Mark(_) => {}
        }
    }

    /// Emits the summaries that are due.
    pub fn tick(&mut self, now: impl Into<Time>, emit: &mut impl FnMut(Alert)) {
        let now = now.into();
        self.close_windows(now, emit);
        while let Some(tally) = self.tallies.due(Some(now.steady)) {
            self.composer.tally(&tally, now.day).into_iter().for_each(&mut *emit);
        }
    }

    /// Emits everything that was folded, at a stop.
    pub fn flush(&mut self, now: impl Into<Time>, emit: &mut impl FnMut(Alert)) {
        let now = now.into();
        while !self.windows.is_empty() {
            if let Some(folded) = self.windows.evict() {
                self.tell(&folded, emit);
            }
        }
        while let Some(tally) = self.tallies.due(None) {
            self.composer.tally(&tally, now.day).into_iter().for_each(&mut *emit);
        }
    }

    /// Takes on another directory; what was folded under the old one is told first.
    pub fn set_directory(
        &mut self,
        directory: Arc<Directory>,
        now: impl Into<Time>,
        emit: &mut impl FnMut(Alert),
    ) {
        self.flush(now, emit);
        self.composer.set_directory(directory);
    }

    fn raise(&mut self, hit: &Hit, resolved: &Resolved, now: impl Into<Time>, emit: &mut impl FnMut(Alert)) {
        let now = now.into();
        self.close_windows(now, emit);
        let facts = self.composer.read(hit, resolved);
        let Throttle::Window { by_source, seconds } = resolved.throttle else {
            self.composer.alerts(hit, resolved, &facts).into_iter().for_each(&mut *emit);
            return;
        };
        let key = Key {
            kind: hit.matched.kind,
            value: resolved.value.as_str().into(),
            source: by_source.then(|| facts.source.as_str().into()),
            touched: facts.touched.clone(),
            exercise: self.composer.directory().exercise(hit.input),
            denied: matches!(&hit.evidence, Evidence::Flow { flow, .. } if flow.denied),
        };
        let seen = (hit.count, hit.received, hit.last.max(hit.received));
        let composer = &self.composer;
        if self.windows.fold(&key, seen, &facts.client, || sample(composer, hit, resolved, &facts)) {
            while self.windows.over_limit() && !self.windows.is_empty() {
                if let Some(folded) = self.windows.evict() {
                    self.tell(&folded, emit);
                }
            }
            return;
        }
        let sender = hit.sender();
        let source = self.composer.source(hit);
        let set = resolved.contributors.first().map_or("", |one| one.set.as_str());
        if !self.budget.admit(sender, source, set, now.steady) {
            self.tally(resolved, key, seen, &facts, now, emit);
            return;
        }
        let length = Nanos::from(seconds).saturating_mul(1_000_000_000).max(1);
        let evicted = self.windows.open(key, hit.received, now.steady, length);
        self.composer.alerts(hit, resolved, &facts).into_iter().for_each(&mut *emit);
        if let Some(folded) = evicted {
            self.tell(&folded, emit);
        }
    }

    /// Counts a match for which there is no budget.
    fn tally(
        &mut self,
        resolved: &Resolved,
        key: Key,
        seen: (u64, Nanos, Nanos),
        facts: &Facts,
        now: Time,
        emit: &mut impl FnMut(Alert),
    ) {
        let Some(first) = resolved.contributors.first() else { return };
        let key = TallyKey {
            set: first.set.as_str().into(),
            severity: severity_of(first.severity, key.denied),
            tlp: first.tlp,
            touched: key.touched,
            exercise: key.exercise,
        };
        let info = || TallyInfo {
            producer: first.producer.clone(),
            feed: first.feed.clone(),
            reference: None,
            digest: resolved.digest.clone(),
        };
        let client = std::iter::once(facts.client.clone());
        if let Some(tally) = self.tallies.add(key, info, seen, client, now.steady) {
            self.composer.tally(&tally, now.day).into_iter().for_each(&mut *emit);
        }
    }

    /// Counts what a worker only counted; whom it touches nobody knows.
    fn count(&mut self, summary: &SetSummary, now: Time, emit: &mut impl FnMut(Alert)) {
        let set = summary.rules.sets().get(summary.set as usize).map(|set| &set.info);
        let key = TallyKey {
            set: set.map_or("unknown", |set| set.name.as_str()).into(),
            severity: summary.severity,
            tlp: summary.tlp,
            touched: Vec::new(),
            exercise: self.composer.directory().exercise(summary.input),
        };
        let info = || TallyInfo {
            producer: set.and_then(|set| set.producer.clone()),
            feed: set.and_then(|set| set.feed.clone()),
            reference: set.and_then(|set| set.reference.clone()),
            digest: set.map(|_| summary.rules.digest().to_owned()).unwrap_or_default(),
        };
        let clients = summary.clients.iter().map(IpAddr::to_string);
        let seen = (summary.count, summary.first, summary.last);
        if let Some(tally) = self.tallies.add(key, info, seen, clients, now.steady) {
            self.composer.tally(&tally, now.day).into_iter().for_each(&mut *emit);
        }
    }

    fn close_windows(&mut self, now: Time, emit: &mut impl FnMut(Alert)) {
        while let Some(folded) = self.windows.due(now.steady) {
            self.tell(&folded, emit);
        }
    }

    /// Emits the summary of a window: the alerts of its first folded match, with the counts.
    fn tell(&self, folded: &Folded, emit: &mut impl FnMut(Alert)) {
        let lines = folded.sample.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for alert in lines.filter_map(|line| Alert::from_line(line).ok()) {
            let index = alert.organization.as_ref().and_then(|one| self.composer.index_of(one));
            let clients = match index {
                Some(index) if alert.masked => self.composer.visible(&folded.series.clients, index),
                _ => folded.series.clients.clone(),
            };
            emit(repeat(alert, &folded.series, clients));
        }
    }
}

/// The alerts of a match, one line each: a tenth of the memory that their maps take.
fn sample(composer: &Composer, hit: &Hit, resolved: &Resolved, facts: &Facts) -> Vec<u8> {
    let mut lines = Vec::new();
    for alert in composer.alerts(hit, resolved, facts) {
        lines.extend_from_slice(&alert.to_line());
        lines.push(b'\n');
    }
    lines.shrink_to_fit();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::compose::tests::{NOON, contribution, flow_hit, resolved};
    use crate::alert::directory::tests::directory;
    use crate::alert::{Scope, compose};
    use crate::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
    use crate::detect::{Matcher, Suppression, Validity};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SECOND: Nanos = 1_000_000_000;

    fn alerter(limits: &Limits) -> Alerter {
        let agent = Agent { name: "test".into(), version: "0".into() };
        Alerter::with_limits(agent, Arc::new(directory()), limits)
    }

    fn total(alerts: &[Alert]) -> u64 {
        // Alerts of one match to two constituents share their id.
        let counts: HashMap<&str, u64> =
            alerts.iter().map(|alert| (alert.id.as_str(), alert.count)).collect();
        counts.values().sum()
    }

    #[test]
    fn the_first_goes_at_once_then_exact_summaries() {
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        let resolved = resolved("198.51.100.7");
        for n in 0..50u64 {
            let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
            hit.sequence = n;
            hit.received = NOON + n as Nanos * SECOND;
            hit.last = hit.received;
            alerter.raise(&hit, &resolved, hit.received, &mut |alert| out.push(alert));
        }
        assert_eq!(out.len(), 1);
        alerter.tick(NOON + 3599 * SECOND, &mut |alert| out.push(alert));
        assert_eq!(out.len(), 1);
        alerter.tick(NOON + 3600 * SECOND, &mut |alert| out.push(alert));
        assert_eq!(out.len(), 2);
        let summary = &out[1];
        assert_eq!((summary.scope, summary.count), (Scope::Repeats, 49));
        assert_eq!((summary.first_seen, summary.last_seen), (NOON, NOON + 49 * SECOND));
        assert_eq!(summary.clients, ["192.0.2.5"]);
        assert_ne!(summary.id, out[0].id);
        // The series goes on: folded, not alerted again.
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
        hit.sequence = 99;
        alerter.raise(&hit, &resolved, NOON + 3700 * SECOND, &mut |alert| out.push(alert));
        assert_eq!(out.len(), 2);
        alerter.flush(NOON + 3701 * SECOND, &mut |alert| out.push(alert));
        assert_eq!((out.len(), total(&out)), (3, 51));
        // A quiet series starts anew.
        alerter.raise(&hit, &resolved, NOON + 9000 * SECOND, &mut |alert| out.push(alert));
        assert_eq!(out.last().unwrap().scope, Scope::Match);
    }

    #[test]
    fn steps_of_the_clock_of_the_day_neither_open_a_throttle_nor_keep_it_closed() {
        const YEAR: Nanos = 365 * 86_400 * SECOND;
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        let resolved = resolved("198.51.100.7");
        let at =
            |second: Nanos, step: Nanos| Time { day: NOON + step + second * SECOND, steady: second * SECOND };
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
        for (number, (second, step)) in
            [(0, 0), (10, YEAR), (20, -YEAR), (3599, YEAR)].into_iter().enumerate()
        {
            let now = at(second, step);
            (hit.sequence, hit.received, hit.last) = (number as u64, now.day, now.day);
            alerter.raise(&hit, &resolved, now, &mut |alert| out.push(alert));
            alerter.tick(now, &mut |alert| out.push(alert));
        }
        assert_eq!(out.len(), 1, "folded");
        alerter.tick(at(3600, -YEAR), &mut |alert| out.push(alert));
        assert_eq!((out.len(), total(&out)), (2, 4), "the summary comes an hour later");
    }

    #[test]
    fn throttle_by_indicator_names_the_clients() {
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        let mut resolved = resolved("198.51.100.7");
        resolved.throttle = Throttle::Window { by_source: false, seconds: 60 };
        for n in 0..40u8 {
            let mut hit = flow_hit(&format!("192.0.2.{n}"), "198.51.100.7", "10.9.0.1");
            hit.sequence = u64::from(n);
            alerter.raise(&hit, &resolved, NOON, &mut |alert| out.push(alert));
        }
        alerter.tick(NOON + 60 * SECOND, &mut |alert| out.push(alert));
        assert_eq!(out.iter().map(|alert| alert.count).collect::<Vec<_>>(), [1, 39]);
        assert_eq!(out[1].clients.len(), MAX_CLIENTS);
    }

    #[test]
    fn none_bypasses_everything() {
        let mut alerter = alerter(&Limits { burst: 0, ..LIMITS });
        let mut out = Vec::new();
        let mut resolved = resolved("198.51.100.7");
        resolved.throttle = Throttle::None;
        for n in 0..100 {
            let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
            hit.sequence = n;
            alerter.raise(&hit, &resolved, NOON, &mut |alert| out.push(alert));
        }
        assert_eq!(out.iter().filter(|alert| alert.scope == Scope::Match).count(), 100);
    }

    #[test]
    fn a_flood_from_one_source_hides_nobody_and_counts_exactly() {
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        let flood = 60_000u32;
        for n in 0..flood {
            let listed = format!("198.51.{}.{}", n / 256 % 256, n % 256);
            let mut hit = flow_hit(&format!("172.16.{}.{}", n / 200 % 200, n % 200), &listed, "10.66.6.6");
            hit.sequence = u64::from(n);
            alerter.raise(&hit, &resolved(&listed), NOON, &mut |alert| out.push(alert));
        }
        assert!(out.len() <= BURST as usize / 2 + crate::alert::budget::GUARANTEE as usize);
        let before = out.len();
        let hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
        alerter.raise(&hit, &resolved("203.0.113.77"), NOON, &mut |alert| out.push(alert));
        assert_eq!(out.len(), before + 1, "another source's alert goes out at once");
        assert_eq!(out[before].scope, Scope::Match);
        alerter.flush(NOON, &mut |alert| out.push(alert));
        assert_eq!(total(&out), u64::from(flood) + 1);
        let summaries: Vec<_> = out.iter().filter(|alert| alert.scope == Scope::Set).collect();
        assert_eq!(summaries.len(), 1);
        assert_eq!(summaries[0].clients.len(), MAX_CLIENTS);
    }

    #[test]
    fn a_summary_for_two_constituents_tells_each_its_own_clients() {
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        for n in 0..3 {
            let mut hit = flow_hit("192.0.2.5", "203.0.113.9", "10.9.0.1");
            hit.sequence = n;
            alerter.raise(&hit, &resolved("203.0.113.9"), NOON, &mut |alert| out.push(alert));
        }
        alerter.flush(NOON, &mut |alert| out.push(alert));
        assert_eq!(out.len(), 4);
        assert_eq!(total(&out), 3);
        for alert in &out {
            let bank = alert.organization.as_ref().unwrap().name == "Central bank";
            let text = String::from_utf8(alert.to_line()).unwrap();
            assert_eq!(text.contains("192.0.2.5"), !bank, "{text}");
        }
    }

    #[test]
    fn what_workers_counted_is_told_by_set() {
        let mut alerter = alerter(&LIMITS);
        let rules = Arc::new(RuleSet::default());
        let mut overflow = Overflow::default();
        for n in 0..30u8 {
            overflow.put_back(SetSummary {
                rules: Arc::clone(&rules),
                set: 0,
                severity: Severity::High,
                tlp: if n < 20 { Tlp::Green } else { Tlp::Red },
                count: 3,
                first: NOON + Nanos::from(n),
                last: NOON + Nanos::from(n),
                input: 1,
                clients: vec![IpAddr::from([10, 0, 0, n])],
            });
        }
        let mut out = Vec::new();
        while let Some(summary) = overflow.take() {
            alerter.offer(Raised::Summary(summary), NOON, &mut |alert| out.push(alert));
        }
        assert!(out.is_empty() && overflow.is_empty());
        alerter.tick(NOON + 61 * SECOND, &mut |alert| out.push(alert));
        out.sort_by_key(Alert::tlp);
        assert_eq!(out.iter().map(|alert| alert.count).collect::<Vec<_>>(), [60, 30]);
        assert_eq!((out[0].first_seen, out[0].last_seen), (NOON, NOON + 19));
        assert_eq!((out[0].clients.len(), out[1].clients.len()), (20, 10));
        assert!(out.iter().all(|alert| alert.exercise));
        for alert in &out {
            assert_eq!(Alert::from_line(&alert.to_line()).as_ref(), Ok(alert));
        }
    }

    /// Two sets that list one domain, a third that only tests it, and one that knows it.
    fn rules() -> Arc<RuleSet> {
        let set = |name: &str, mode, meta: Meta| {
            let mut set = SetBuilder::new(SetInfo {
                name: name.into(),
                producer: Some("NSOC".into()),
                feed: None,
                reference: Some("https://nsoc.example".into()),
                mode,
                path: "rules.yaml".into(),
                digest: name.into(),
            });
            let meta = set.meta(&meta);
            set.add(&normalise(Kind::Domain, "evil.example", true).unwrap(), meta, None);
            Arc::new(set.build())
        };
        let meta = |severity, tlp| Meta { severity, tlp, ..Meta::default() };
        let unfolded = Meta { throttle: Throttle::None, ..meta(Severity::Low, Tlp::Clear) };
        let reason = Some("our scanner".to_owned());
        Arc::new(RuleSet::new(vec![
            set("b", Mode::Indicators, meta(Severity::High, Tlp::Amber)),
            set("a", Mode::Indicators, unfolded),
            set("t", Mode::Indicators, Meta { test: true, ..meta(Severity::Critical, Tlp::Red) }),
            set("known", Mode::Inform, Meta { reason, ..meta(Severity::Low, Tlp::Green) }),
        ]))
    }

    fn hits(rules: &Arc<RuleSet>, line: &[u8]) -> Vec<Hit> {
        let reference = directory().reference(0, None, NOON);
        let mut hits = Vec::new();
        Matcher::default().message(rules, line, Validity::At(NOON), &reference, &mut |matched| {
            let hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
            let evidence = Evidence::Syslog { bytes: line.to_vec().into() };
            hits.push(Hit { rules: Arc::clone(rules), matched, evidence, ..hit });
        });
        hits
    }

    #[test]
    fn a_match_of_real_rules_is_told() {
        let rules = rules();
        let line = b"<34>Oct 11 22:14:15 ns1 named[7]: client 192.0.2.5#53: query: a.evil.example IN A";
        let hits = hits(&rules, line);
        assert_eq!(hits.len(), 1);
        assert_eq!(throttle(&rules, &hits[0].matched), Throttle::None);
        let mut alerter = alerter(&LIMITS);
        let mut out = Vec::new();
        for _ in 0..2 {
            alerter.offer(Raised::Hit(Box::new(hits[0].clone())), NOON, &mut |alert| out.push(alert));
        }
        assert_eq!(out.len(), 2, "a set wants every match told");
        let sets: Vec<&str> = out[0].contributors.iter().map(|one| one.set.as_str()).collect();
        assert_eq!(sets, ["b", "a"]);
        assert_eq!(out[0].severity(), Severity::High);
        assert_eq!(out[0].informs[0].reason.as_deref(), Some("our scanner"));
        assert_eq!(out[0].indicator.as_ref().unwrap().atomic, "a.evil.example");
        assert_eq!(out[0].contributors[0].reference.as_deref(), Some("https://nsoc.example"));
        let mut composer = compose::tests::composer();
        assert_eq!(composer.compose(&hits[0], NOON).unwrap().id, out[0].id);
        let refused = SetSummary::of_match(&hits[0].rules, &hits[0].matched, 0, None, true, NOON).unwrap();
        assert_eq!(refused.severity, Severity::Medium, "as its alert would be");
        let summary = SetSummary::of(&hits[0]).unwrap();
        assert_eq!((summary.severity, summary.tlp, summary.count), (Severity::High, Tlp::Amber, 1));
        out.clear();
        alerter.offer(Raised::Summary(summary), NOON, &mut |alert| out.push(alert));
        alerter.flush(NOON, &mut |alert| out.push(alert));
        assert_eq!((out[0].contributors[0].set.as_str(), out[0].count), ("b", 1));
        let mut suppressed = hits[0].clone();
        suppressed.matched.suppressed = Some(Suppression::Allowed);
        assert!(SetSummary::of(&suppressed).is_none());
        assert!(composer.compose(&suppressed, NOON).is_none());
    }

    #[test]
    fn the_least_folding_wins() {
        let window = |by_source, seconds| Throttle::Window { by_source, seconds };
        assert_eq!(least_folding(window(true, 60), window(false, 30)), window(true, 30));
        assert_eq!(least_folding(window(false, 60), Throttle::None), Throttle::None);
    }

    #[derive(Clone, Debug)]
    struct Offer {
        source: u8,
        listed: u8,
        sender: u8,
        set: u8,
        count: u64,
        step: u16,
        throttle: u8,
    }

    fn offers() -> impl Strategy<Value = Vec<Offer>> {
        let one = (0..8u8, 0..12u8, 0..3u8, 0..3u8, 1..5u64, 0..30u16, 0..8u8).prop_map(
            |(source, listed, sender, set, count, step, throttle)| Offer {
                source,
                listed,
                sender,
                set,
                count,
                step,
                throttle,
            },
        );
        proptest::collection::vec(one, 1..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn counts_are_exact_under_any_flood(offers in offers(), windows in 1..6usize, bytes in 0..20_000usize, burst in 0..20u32) {
            let limits = Limits { windows, window_bytes: bytes, tallies: 2, burst, refill: 1 };
            let mut alerter = alerter(&limits);
            let mut out: Vec<Alert> = Vec::new();
            let (mut now, mut fed) = (NOON, 0);
            for (sequence, offer) in (0u64..).zip(&offers) {
                now += Nanos::from(offer.step) * SECOND;
                // Even sources touch one constituent, odd ones two.
                let source = if offer.source % 2 == 0 { "192.0.2" } else { "203.0.113" };
                let listed = format!("198.51.100.{}", offer.listed);
                let peer = ["10.1.2.3", "10.9.0.1", "10.66.0.1"][usize::from(offer.sender)];
                let mut hit = flow_hit(&format!("{source}.{}", offer.source), &listed, peer);
                (hit.sequence, hit.count, hit.received, hit.last) = (sequence, offer.count, now, now);
                let mut resolved = resolved(&listed);
                resolved.contributors = vec![contribution(&format!("set-{}", offer.set))];
                resolved.throttle = match offer.throttle {
                    0 => Throttle::None,
                    n => Throttle::Window { by_source: n % 2 == 0, seconds: u32::from(n) * 20 },
                };
                alerter.raise(&hit, &resolved, now, &mut |alert| out.push(alert));
                fed += offer.count;
                if offer.step % 5 == 0 {
                    alerter.tick(now, &mut |alert| out.push(alert));
                }
            }
            alerter.flush(now, &mut |alert| out.push(alert));
            prop_assert_eq!(total(&out), fed);
            for alert in &out {
                prop_assert!(alert.clients.len() <= MAX_CLIENTS);
                prop_assert!(!alert.reason().is_empty());
                let back = Alert::from_line(&alert.to_line()).unwrap();
                prop_assert_eq!(&back, alert);
            }
        }
    }

    #[test]
    fn an_exercise_is_marked_by_its_input() {
        let mut composer = compose::tests::composer();
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
        hit.input = 1;
        assert!(composer.whole(&hit, &resolved("198.51.100.7")).exercise);
    }
}
