//! Sources that fall silent: a wiped host does not log.
//!
//! [`Silences`] is told now and then when each source was last heard, and tells which of those with
//! `expect_every` were not heard in time. One by one they are alerts of medium severity; many that
//! fall silent together are one alert of high severity. A silence is told once; it ends when the
//! source is heard. Such alerts stand for no match, so that their count is 0.

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

/// After many were told, others are gathered for so long.
const PAUSE: Nanos = 300 * SECOND;

/// A sensor that was itself asleep for so long heard nobody, and starts to listen anew.
const ASLEEP: Nanos = 30 * SECOND;

/// The set that such alerts name as their rule.
const SET: &str = "silent-sources";

/// Watches the sources of which something is expected.
#[derive(Debug)]
pub struct Silences {
    agent: Agent,
    /// Nobody is silent for longer than since then.
    since: Nanos,
    checked: Nanos,
    /// Those that are silent, by name.
    silent: HashMap<String, Silent>,
    /// Many were told then.
    told_many: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Silent {
    /// When it was last heard, or when listening began.
    last: Nanos,
    /// When it was found out.
    found: Nanos,
    told: bool,
}

impl Silences {
    /// Begins to listen.
    pub fn new(agent: Agent, now: Nanos) -> Silences {
        Silences { agent, since: now, checked: now, silent: HashMap::new(), told_many: None }
    }

    /// How many sources are silent.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        self.silent.keys().map(String::as_str)
    }

    /// Looks who was not heard in time; `last` says when each source was, 0 for never, in the order of
    /// the directory. Emits alerts, and tells the names of those that are heard again.
    pub fn check(
        &mut self,
        directory: &Directory,
        last: &[Nanos],
        now: Nanos,
        emit: &mut impl FnMut(Alert),
        heard: &mut impl FnMut(&str),
    ) {
        if now - self.checked > ASLEEP || now < self.checked {
            self.since = now;
        }
        self.checked = now;
        let expected =
            |name: &str| directory.sources().iter().any(|one| one.name == name && one.expect_every.is_some());
        self.silent.retain(|name, _| expected(name));
        for (source, last) in directory.sources().iter().zip(last) {
            let Some(every) = source.expect_every.map(span) else { continue };
            let last = (*last).max(self.since);
            match self.silent.get(&source.name) {
                Some(silent) if last > silent.last => {
                    if silent.told {
                        heard(&source.name);
                    }
                    self.silent.remove(&source.name);
                }
                Some(_) => {}
                None if now - last > every => {
                    self.silent.insert(source.name.clone(), Silent { last, found: now, told: false });
                }
                None => {}
            }
        }
        self.tell(directory, now, emit);
    }

    /// Tells what is to be told by now.
    fn tell(&mut self, directory: &Directory, now: Nanos, emit: &mut impl FnMut(Alert)) {
        let every = |name: &str| {
            let source = directory.sources().iter().find(|source| source.name == name);
            source.and_then(|source| source.expect_every).map_or(0, span)
        };
        let due = |name: &String, silent: &Silent| {
            let hold = (every(name) / 10).clamp(HOLD.0, HOLD.1);
            !silent.told && now - silent.found >= hold
        };
        if !self.silent.iter().any(|(name, silent)| due(name, silent)) {
            return;
        }
        if self.told_many.is_some_and(|told| now - told < PAUSE) {
            return;
        }
        let recent = |name: &str, silent: &Silent| now - silent.found <= TOGETHER.max(2 * every(name));
        let untold: Vec<String> =
            self.silent.iter().filter(|(_, silent)| !silent.told).map(|(name, _)| name.clone()).collect();
        let together: Vec<String> = self
            .silent
            .iter()
            .filter(|(name, silent)| recent(name, silent))
            .map(|(name, _)| name.clone())
            .collect();
        if together.len() >= MANY {
            self.told_many = Some(now);
            let mut names = together;
            names.extend(
                untold.into_iter().filter(|name| !self.silent.get(name).is_some_and(|one| recent(name, one))),
            );
            self.alert(directory, names, Severity::High, now, emit);
            return;
        }
        for name in untold {
            let silent = self.silent.get(&name).is_some_and(|silent| due(&name, silent));
            if silent {
                self.alert(directory, vec![name], Severity::Medium, now, emit);
            }
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
        for (owner, group) in &groups {
            let organization = owner.and_then(|owner| directory.by_index(owner));
            let organization = organization.map(|one| Organization {
                name: one.name.clone(),
                sector: one.sector,
                contact: one.contact.clone(),
            });
            emit(self.one(directory, &id, group, organization, severity, groups.len() > 1, now));
        }
        for name in &names {
            if let Some(silent) = self.silent.get_mut(name) {
                silent.told = true;
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
        let first = names.iter().filter_map(|name| self.silent.get(*name)).map(|silent| silent.last).min();
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
        ecs::put(&mut event, "observer.name", json!(names.iter().take(MAX_CLIENTS).collect::<Vec<_>>()));
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
        last: Vec<Nanos>,
        alerts: Vec<Alert>,
        heard: Vec<String>,
    }

    impl Watch {
        fn new(sources: &[(&str, Option<u64>, Option<&str>)]) -> Watch {
            let agent = Agent { name: "sensor".to_owned(), version: "0".to_owned() };
            Watch {
                silences: Silences::new(agent, START),
                directory: directory(sources),
                last: vec![0; sources.len()],
                alerts: Vec::new(),
                heard: Vec::new(),
            }
        }

        /// Checks every second from one second to another.
        fn run(&mut self, seconds: std::ops::Range<i64>) -> Vec<Alert> {
            for second in seconds {
                let (alerts, heard) = (&mut self.alerts, &mut self.heard);
                self.silences.check(
                    &self.directory,
                    &self.last,
                    START + second * SECOND,
                    &mut |alert| alerts.push(alert),
                    &mut |name| heard.push(name.to_owned()),
                );
            }
            std::mem::take(&mut self.alerts)
        }
    }

    #[test]
    fn one_silence_is_one_alert_until_it_ends() {
        let mut watch = Watch::new(&[("fw", Some(600), Some("Grid")), ("other", None, None)]);
        watch.last[0] = START + 100 * SECOND;
        assert!(watch.run(0..700).is_empty());
        let alerts = watch.run(700..3000);
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
        watch.last[0] = START + 2999 * SECOND;
        assert!(watch.run(3000..3600).is_empty());
        assert_eq!(watch.heard, ["fw"]);
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
        for (number, last) in watch.last.iter_mut().enumerate() {
            *last = START + (1000 + number as i64) * SECOND;
        }
        let alerts = watch.run(0..5000);
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].severity(), Severity::High);
        assert_eq!(alerts[0].clients.len(), MAX_CLIENTS);
        assert!(
            alerts[0].reason().starts_with("At least 20 sources fell silent together"),
            "{}",
            alerts[0].reason()
        );
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
        watch.last[0] = START + 9 * SECOND;
        assert!(watch.run(0..10).is_empty());
        watch.run(4000..4050);
        assert!(watch.alerts.is_empty());
        assert_eq!(watch.run(4050..4100).len(), 1);
    }
}
