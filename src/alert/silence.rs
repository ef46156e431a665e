//! Sources that fall silent: a wiped host does not log.
//!
//! [`Silences`] is told now and then how much each source has sent, and tells which of those with
//! `expect_every` were not heard in time. One by one they are alerts of medium severity; many that
//! fall silent together are one alert of high severity. A silence is told once; it ends when the
//! source is heard. Such alerts stand for no match, so that their count is 0.
//!
//! Time is measured by a clock that nobody sets: a step of the clock of the day neither hides a
//! silence nor makes one.

use super::compose::hex;
use super::{Agent, Alert, Contribution, Directory, MAX_CLIENTS, Organization, Scope, ecs};
use crate::decode;
use crate::detect::indicator::{Severity, Tlp};
use crate::input::Nanos;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const SECOND: Nanos = 1_000_000_000;

/// So many that fall silent together are no coincidence.
const MANY: usize = 3;

/// Together is what happens within this time, or within twice what is expected of them.
const TOGETHER: Nanos = 60 * SECOND;

/// The first that falls silent is told after a tenth of what is expected of it, within these bounds:
/// others may follow it.
const HOLD: (Nanos, Nanos) = (SECOND, 60 * SECOND);

/// After many were told, others are gathered for half of what is expected of them, and no longer than
/// this: whoever is expected often need not wait for those who are not.
const GATHERED: Nanos = 300 * SECOND;

/// A sensor that was itself asleep for so long heard nobody, and that time counts for nobody.
const ASLEEP: Nanos = 30 * SECOND;

/// Sources that one alert names: more of them are more alerts, so that each is named somewhere.
const NAMED: usize = 500;

/// The set that such alerts name as their rule.
const SET: &str = "silent-sources";

/// The time of a look at the sources.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock of the day, to be told.
    pub day: Nanos,
    /// By a clock that only runs forward, to be measured.
    pub steady: Nanos,
    /// Of the time since the last look, how long the sensor itself did not read.
    pub deaf: Nanos,
}

/// What came of a source since the sensor started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Messages that were let in.
    pub messages: u64,
    /// When the last came, by the clock of the day; 0 for never.
    pub last: Nanos,
}

/// Watches the sources of which something is expected.
#[derive(Debug)]
pub struct Silences {
    agent: Agent,
    checked: Nanos,
    /// Those of which something is expected, by name.
    watched: HashMap<String, Watched>,
    /// Those that are silent, by name.
    silent: HashMap<String, Silent>,
    /// Many were told then.
    told_many: Option<Nanos>,
}

/// Times of these are steady.
#[derive(Clone, Copy, Debug)]
struct Watched {
    every: Nanos,
    messages: u64,
    /// When it was last heard, or when listening for it began.
    last: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Silent {
    /// When it was last heard, or when listening for it began, by the clock of the day.
    since: Nanos,
    /// When it was found out.
    found: Nanos,
    told: bool,
    /// It was told with many others.
    together: bool,
}

impl Silences {
    /// Begins to listen.
    pub fn new(agent: Agent, steady: Nanos) -> Silences {
        Silences { agent, checked: steady, watched: HashMap::new(), silent: HashMap::new(), told_many: None }
    }

    /// How many sources are silent.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        self.silent.keys().map(String::as_str)
    }

    /// Looks who was not heard in time; `heard` says what came of each source, in the order of the
    /// directory. Emits alerts, and tells the names of those that are heard again.
    pub fn check(
        &mut self,
        directory: &Directory,
        heard: &[Heard],
        now: Moment,
        emit: &mut impl FnMut(Alert),
        again: &mut impl FnMut(&str),
    ) {
        let passed = (now.steady - self.checked).max(0);
        self.checked = now.steady;
        let deaf = if passed > ASLEEP { passed } else { now.deaf.clamp(0, passed) };
        self.watched.values_mut().for_each(|watched| watched.last += deaf);
        let expected =
            |name: &str| directory.sources().iter().any(|one| one.name == name && one.expect_every.is_some());
        self.silent.retain(|name, _| expected(name));
        self.watched.retain(|name, _| expected(name));
        for (source, heard) in directory.sources().iter().zip(heard) {
            let Some(every) = source.expect_every.map(span) else { continue };
            let new = Watched { every, messages: heard.messages, last: now.steady };
            let watched = self.watched.entry(source.name.clone()).or_insert(new);
            if watched.every != every {
                // What was enough until now is no silence.
                (watched.every, watched.last) = (every, now.steady);
            }
            let spoke = heard.messages > watched.messages;
            watched.messages = heard.messages;
            if spoke {
                // It was between this look and the last one, whatever the clock of the day says.
                watched.last = now.steady - (now.day - heard.last).clamp(0, passed);
                if self.silent.remove(&source.name).is_some_and(|silent| silent.told) {
                    again(&source.name);
                }
            }
            let quiet = now.steady - watched.last;
            if quiet > every && !self.silent.contains_key(&source.name) {
                let silent =
                    Silent { since: now.day - quiet, found: now.steady, told: false, together: false };
                self.silent.insert(source.name.clone(), silent);
            }
        }
        self.tell(directory, now, emit);
    }

    /// Tells what is to be told by now.
    fn tell(&mut self, directory: &Directory, now: Moment, emit: &mut impl FnMut(Alert)) {
        let every = |name: &str| self.watched.get(name).map_or(0, |watched| watched.every);
        let due = |name: &str, silent: &Silent| {
            let hold = (every(name) / 10).clamp(HOLD.0, HOLD.1);
            let gathered = (every(name) / 2).clamp(HOLD.0, GATHERED);
            !silent.told
                && now.steady - silent.found >= hold
                && self.told_many.is_none_or(|told| now.steady - told >= gathered)
        };
        let first: Vec<String> = self
            .silent
            .iter()
            .filter(|(name, silent)| due(name, silent))
            .map(|(name, _)| name.clone())
            .collect();
        if first.is_empty() {
            return;
        }
        let recent = |(name, silent): &(&String, &Silent)| {
            now.steady - silent.found <= TOGETHER.max(every(name).saturating_mul(2))
        };
        if self.silent.iter().filter(recent).count() >= MANY {
            // Whoever was told alone is told again as one of many, and that once.
            let told = |(_, silent): &(&String, &Silent)| silent.together;
            let names: Vec<String> = self
                .silent
                .iter()
                .filter(|one| !told(one) && (recent(one) || !one.1.told))
                .map(|(name, _)| name.clone())
                .collect();
            self.told_many = Some(now.steady);
            self.alert(directory, names, Severity::High, now.day, emit);
            return;
        }
        for name in first {
            self.alert(directory, vec![name], Severity::Medium, now.day, emit);
        }
    }

    /// One alert of these sources, for each constituent that some of them belong to.
    fn alert(
        &mut self,
        directory: &Directory,
        mut names: Vec<String>,
        severity: Severity,
        now: Nanos,
        emit: &mut impl FnMut(Alert),
    ) {
        names.sort_unstable();
        let mut hasher = Sha256::new();
        hasher.update(self.agent.name.as_bytes());
        hasher.update(now.to_le_bytes());
        let mut groups: Vec<(Option<u16>, Vec<&String>)> = Vec::new();
        for name in &names {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            let index = (0u16..).zip(directory.sources()).find(|(_, source)| source.name == *name);
            let owner = index.and_then(|(index, _)| directory.owner_of(index));
            match groups.iter_mut().find(|(known, _)| *known == owner) {
                Some((_, group)) => group.push(name),
                None => groups.push((owner, vec![name])),
            }
        }
        let id = hex(&hasher.finalize(), 16);
        let masked = groups.len() > 1;
        for (owner, group) in &groups {
            let organization = owner.and_then(|owner| directory.by_index(owner));
            let organization = organization.map(|one| Organization {
                name: one.name.clone(),
                sector: one.sector,
                contact: one.contact.clone(),
            });
            for (number, names) in group.chunks(NAMED).enumerate() {
                let id = if number == 0 { id.clone() } else { format!("{id}-{number}") };
                emit(self.one(directory, &id, names, organization.clone(), severity, masked, now));
            }
        }
        for name in &names {
            if let Some(silent) = self.silent.get_mut(name) {
                silent.told = true;
                silent.together = severity == Severity::High;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what an alert is made of")]
    fn one(
        &self,
        directory: &Directory,
        id: &str,
        names: &[&String],
        organization: Option<Organization>,
        severity: Severity,
        masked: bool,
        now: Nanos,
    ) -> Alert {
        let first = names.iter().filter_map(|name| self.silent.get(*name)).map(|silent| silent.since).min();
        let first = first.unwrap_or(now);
        let spans: Vec<u64> = directory
            .sources()
            .iter()
            .filter(|source| names.contains(&&source.name))
            .filter_map(|source| source.expect_every)
            .collect();
        let (least, most) = (spans.iter().min().copied(), spans.iter().max().copied());
        let expected = match (least, most) {
            (Some(least), Some(most)) if least != most => {
                format!("expected every {} to {}", shown(least), shown(most))
            }
            _ => format!("expected every {}", shown(least.unwrap_or_default())),
        };
        let mut event = Map::new();
        ecs::put(&mut event, "@timestamp", json!(ecs::stamp(now)));
        ecs::put(&mut event, "event.created", json!(ecs::stamp(now)));
        ecs::put(&mut event, "event.action", json!("source-silent"));
        ecs::put(&mut event, "event.start", json!(ecs::stamp(first)));
        ecs::put(&mut event, "event.end", json!(ecs::stamp(now)));
        ecs::put(&mut event, "observer.name", json!(names));
        ecs::put(&mut event, "agent.name", json!(self.agent.name));
        ecs::put(&mut event, "agent.type", json!("roje"));
        ecs::put(&mut event, "agent.version", json!(self.agent.version));
        ecs::put(&mut event, "ecs.version", json!(decode::ecs::ecs_version()));
        Alert {
            event,
            id: id.to_owned(),
            hash: None,
            scope: Scope::Silence,
            indicator: None,
            contributors: vec![Contribution {
                set: SET.to_owned(),
                id: None,
                producer: None,
                feed: None,
                reference: None,
                tlp: Tlp::Amber,
                severity,
                confidence: None,
                valid_from: None,
                valid_until: None,
                rsit: None,
                attack: Vec::new(),
                description: Some(expected),
                expired: false,
            }],
            informs: Vec::new(),
            organization,
            count: 0,
            first_seen: first,
            last_seen: now,
            clients: names.iter().take(MAX_CLIENTS).map(|name| (*name).clone()).collect(),
            exercise: false,
            masked,
            ruleset_digest: String::new(),
        }
    }
}

fn span(seconds: u64) -> Nanos {
    Nanos::try_from(seconds).unwrap_or(Nanos::MAX).saturating_mul(SECOND)
}

/// `10m`, as the configuration writes it.
fn shown(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.iter().find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size));
    unit.map_or_else(|| format!("{seconds}s"), |(size, letter)| format!("{}{letter}", seconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Constituent, Sector, Source};

    const START: Nanos = 1_700_000_000 * SECOND;

    fn directory(sources: &[(&str, Option<u64>, Option<&str>)]) -> Directory {
        let source = |(name, every, constituent): &(&str, Option<u64>, Option<&str>)| Source {
            name: (*name).to_owned(),
            networks: Vec::new(),
            certificates: Vec::new(),
            expect_every: *every,
            timezone: None,
            constituent: constituent.map(str::to_owned),
        };
        let constituent = |name: &str| Constituent {
            name: name.to_owned(),
            sector: Sector::Energy,
            networks: Vec::new(),
            contact: None,
        };
        let constituents = vec![constituent("Grid"), constituent("Mine")];
        Directory::new(Vec::new(), sources.iter().map(source).collect(), constituents).unwrap()
    }

    struct Watch {
        silences: Silences,
        directory: Directory,
        /// The seconds in which each source says something.
        says: Vec<Vec<i64>>,
        /// What the clock of the day shows beside the right time, in seconds.
        off: i64,
        /// How much of each second the sensor does not read.
        deaf: Nanos,
        heard: Vec<Heard>,
        again: Vec<String>,
    }

    impl Watch {
        fn new(sources: &[(&str, Option<u64>, Option<&str>)]) -> Watch {
            let agent = Agent { name: "sensor".to_owned(), version: "0".to_owned() };
            Watch {
                silences: Silences::new(agent, 0),
                directory: directory(sources),
                says: vec![Vec::new(); sources.len()],
                off: 0,
                deaf: 0,
                heard: vec![Heard::default(); sources.len()],
                again: Vec::new(),
            }
        }

        /// Checks every second from one second to another.
        fn run(&mut self, seconds: std::ops::Range<i64>) -> Vec<Alert> {
            let mut alerts = Vec::new();
            for second in seconds {
                let day = START + (second + self.off) * SECOND;
                for (says, heard) in self.says.iter().zip(&mut self.heard) {
                    if says.contains(&second) {
                        // Of several senders the latest is told, also after the clock was set back.
                        *heard = Heard { messages: heard.messages + 1, last: heard.last.max(day) };
                    }
                }
                let again = &mut self.again;
                self.silences.check(
                    &self.directory,
                    &self.heard,
                    Moment { day, steady: second * SECOND, deaf: self.deaf },
                    &mut |alert| alerts.push(alert),
                    &mut |name| again.push(name.to_owned()),
                );
            }
            alerts
        }
    }

    fn names(alerts: &[Alert]) -> Vec<String> {
        alerts.iter().map(|alert| alert.clients.join(" ")).collect()
    }

    #[test]
    fn one_silence_is_one_alert_until_it_ends() {
        let mut watch = Watch::new(&[("fw", Some(600), Some("Grid")), ("other", None, None)]);
        watch.says[0] = vec![100, 2999];
        assert!(watch.run(0..700).is_empty());
        let alerts = watch.run(700..2999);
        assert_eq!(alerts.len(), 1);
        let alert = &alerts[0];
        assert_eq!((alert.scope, alert.severity(), alert.count), (Scope::Silence, Severity::Medium, 0));
        assert_eq!(alert.first_seen, START + 100 * SECOND);
        assert_eq!(alert.clients, ["fw"]);
        assert_eq!(alert.organization.as_ref().unwrap().name, "Grid");
        let reason = alert.reason();
        assert!(
            reason
                .starts_with("Source fw has been silent since 2023-11-14 22:15:00 UTC (expected every 10m)"),
            "{reason}"
        );
        assert_eq!(Alert::from_line(&alert.to_line()).as_ref(), Ok(alert));
        assert!(watch.run(2999..3600).is_empty());
        assert_eq!(watch.again, ["fw"]);
        assert_eq!(watch.run(3600..4000).len(), 1, "it may fall silent again");
    }

    #[test]
    fn one_that_never_spoke_is_silent_too() {
        let mut watch = Watch::new(&[("fw", Some(60), None)]);
        assert_eq!(watch.run(0..100).len(), 1);
    }

    #[test]
    fn many_together_are_one_alert_of_high_severity() {
        let names: Vec<String> = (0..30).map(|number| format!("host-{number:02}")).collect();
        let sources: Vec<_> = names.iter().map(|name| (name.as_str(), Some(600), None)).collect();
        let mut watch = Watch::new(&sources);
        // They logged at different times before they were wiped.
        for (number, says) in watch.says.iter_mut().enumerate() {
            *says = vec![500, 1000 + number as i64];
        }
        let alerts = watch.run(0..5000);
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].severity(), Severity::High);
        assert_eq!(alerts[0].clients.len(), MAX_CLIENTS);
        let all = alerts[0].event["observer"]["name"].as_array().unwrap();
        assert!(names.iter().all(|name| all.contains(&json!(name))));
        assert!(alerts[0].reason().starts_with("30 sources fell silent together"), "{}", alerts[0].reason());
    }

    #[test]
    fn every_one_of_very_many_is_named() {
        let names: Vec<String> = (0..1234).map(|number| format!("host-{number:04}")).collect();
        let sources: Vec<_> = names.iter().map(|name| (name.as_str(), Some(60), None)).collect();
        let alerts = Watch::new(&sources).run(0..500);
        let told: Vec<&serde_json::Value> =
            alerts.iter().flat_map(|one| one.event["observer"]["name"].as_array().unwrap()).collect();
        assert_eq!(told, names.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert_eq!(alerts.len(), 3);
        assert!(alerts.iter().all(|one| one.severity() == Severity::High));
        assert!(alerts[0].id != alerts[1].id && alerts[1].id != alerts[2].id);
    }

    #[test]
    fn who_was_told_among_many_is_not_told_again_and_others_need_not_wait() {
        let mut watch = Watch::new(&[
            ("a", Some(600), None),
            ("b", Some(600), None),
            ("c", Some(600), None),
            ("late", Some(600), None),
            ("often", Some(20), None),
        ]);
        watch.says[3] = vec![150];
        // It speaks until 40 seconds after the others were told.
        watch.says[4] = (0..70).map(|number| 10 * number).collect();
        let alerts = watch.run(0..680);
        assert_eq!(names(&alerts), ["a b c"]);
        assert_eq!(alerts[0].severity(), Severity::High);
        let alerts = watch.run(680..730);
        assert_eq!(names(&alerts), ["often"], "half a minute after it should have spoken");
        let alerts = watch.run(730..5000);
        assert_eq!(names(&alerts), ["late"]);
    }

    #[test]
    fn each_constituent_learns_of_its_own_sources() {
        let sources =
            ["a", "b", "c", "d"].map(|name| (name, Some(60), Some(if name < "c" { "Grid" } else { "Mine" })));
        let mut watch = Watch::new(&sources);
        let alerts = watch.run(0..1000);
        let told: Vec<_> = alerts.iter().map(|one| (one.clients.join(""), one.severity(), &one.id)).collect();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].0.as_str(), told[1].0.as_str()), ("ab", "cd"));
        assert!(told.iter().all(|(_, severity, id)| *severity == Severity::High && *id == told[0].2));
    }

    #[test]
    fn a_sensor_that_slept_heard_nobody() {
        let mut watch = Watch::new(&[("fw", Some(60), None)]);
        watch.says[0] = vec![9];
        assert!(watch.run(0..10).is_empty());
        assert!(watch.run(4000..4050).is_empty());
        assert_eq!(watch.run(4050..4100).len(), 1);
    }

    #[test]
    fn a_sensor_that_does_not_read_hears_nobody() {
        let mut watch = Watch::new(&[("fw", Some(60), None)]);
        watch.says[0] = vec![9];
        assert!(watch.run(0..50).is_empty());
        watch.deaf = SECOND;
        assert!(watch.run(50..500).is_empty());
        watch.deaf = 0;
        // 41 seconds of silence were heard before.
        assert!(watch.run(500..515).is_empty());
        assert_eq!(watch.run(515..530).len(), 1);
    }

    #[test]
    fn a_source_that_is_declared_later_is_listened_for_from_then_on() {
        let mut watch = Watch::new(&[("old", Some(60), None), ("new", None, None)]);
        watch.says[0] = (0..200).map(|number| number * 50).collect();
        assert!(watch.run(0..5000).is_empty());
        // SIGHUP: another is declared, and more is expected of one that was.
        watch.directory = directory(&[("old", Some(60), None), ("new", Some(600), None)]);
        assert!(watch.run(5000..5590).is_empty());
        assert_eq!(names(&watch.run(5590..5700)), ["new"]);
        watch.directory = directory(&[("old", Some(70), None), ("new", Some(700), None)]);
        assert!(watch.run(5700..6000).is_empty(), "it is silent, and that was told");
        watch.directory = directory(&[("old", Some(70), None)]);
        watch.heard.truncate(1);
        assert!(watch.run(6000..7000).is_empty());
        watch.directory = directory(&[("fresh", Some(40), None), ("old", Some(70), None)]);
        watch.heard.insert(0, Heard::default());
        watch.says.insert(0, Vec::new());
        assert!(watch.run(7000..7039).is_empty());
        assert_eq!(names(&watch.run(7039..7060)), ["fresh"]);
    }

    #[test]
    fn a_step_of_the_clock_neither_hides_a_silence_nor_makes_one() {
        const DAY: i64 = 86_400;
        for off in [-DAY, DAY, -3600, 3600] {
            let mut watch = Watch::new(&[("fw", Some(60), None), ("other", Some(60), None)]);
            watch.says[0] = (0..20).map(|number| number * 10).collect();
            watch.says[1] = (0..40).map(|number| number * 10).collect();
            assert!(watch.run(0..100).is_empty());
            watch.off = off;
            assert!(watch.run(100..250).is_empty(), "{off}");
            // One glimpse of another day, and back.
            let alerts = watch.run(250..300);
            assert_eq!(names(&alerts), ["fw"], "{off}");
            assert_eq!(alerts[0].first_seen, START + (190 + off) * SECOND, "{off}");
            watch.off = 0;
            assert!(watch.run(300..449).is_empty(), "{off}");
            assert_eq!(names(&watch.run(449..500)), ["other"], "{off}");
        }
    }
}
