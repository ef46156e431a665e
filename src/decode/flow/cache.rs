//! What is remembered of exporters: their templates, sampling rates and sequence numbers.
//!
//! [`Cache`] is keyed by the exporter's address, and within by domain, template and session. Everything
//! in it was told by datagrams whose source anybody can forge, so all of it is bounded: fields of a
//! template, templates and domains of an exporter, exporters, and octets altogether; what was used
//! longest ago goes, and what strangers said goes before what an exporter said that the operator has
//! named. A template that is not announced again in time expires.

use super::Limits;
use super::clock::SECOND;
use super::lru::Lru;
use super::sampling::{self, Sampling};
use super::status::{ExporterStatus, Seen, Track};
use super::template::{Spec, Template, Traits};
use crate::input::Nanos;
use std::net::IpAddr;

/// Who exports, as far as templates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExporterKey {
    pub(super) address: IpAddr,
    pub(super) version: u8,
    /// The sender's port where it stands for a connection, whose templates are its own (RFC 7011,
    /// section 8.1), else 0.
    pub(super) session: u16,
    /// The operator has named it.
    pub(super) known: bool,
}

/// A domain of an exporter, and in which session it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) exporter: ExporterKey,
    /// The source port for IPFIX over UDP, where each port is a session with templates of its own
    /// (RFC 7011, section 8); 0 for NetFlow v9, which has no such rule.
    pub(super) session: u16,
    pub(super) domain: u32,
}

/// The exporters one decoder knows.
#[derive(Debug)]
pub(super) struct Cache {
    limits: Limits,
    exporters: Exporters,
    templates: usize,
    bytes: usize,
    counts: Counts,
}

/// One exporter.
#[derive(Debug, Default)]
struct Exporter {
    /// By domain and template id.
    templates: Lru<(u32, u16), Sessions>,
    domains: Lru<u32, Domain>,
    tracks: Lru<(u16, u32), Track>,
    bytes: usize,
}

/// Exporters that the operator has named, and all others, which go first.
#[derive(Debug, Default)]
struct Exporters {
    known: Lru<ExporterKey, Exporter>,
    strangers: Lru<ExporterKey, Exporter>,
}

/// One template in the sessions that announced it, the latest last.
///
/// A session that did not announce it itself uses what the others agree on: routers send the data of
/// each line card from a port of its own and the templates from one of them, and address translation
/// changes ports at will. Where they disagree, several devices share the address, and no guess is made.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Announced>);

/// A template as one session announced it.
#[derive(Debug)]
struct Announced {
    session: u16,
    template: Template,
    /// When it was announced last.
    at: Nanos,
    /// It was told by an earlier run of the sensor, and the exporter has not repeated it since.
    restored: bool,
}

/// Sessions that are told apart. More behind one address, and the oldest has to announce anew.
const MAX_SESSIONS: usize = 8;

/// The state of one observation domain (IPFIX) or source id (v9).
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) sampling: Sampling,
    /// When the exporter started, if an options record said so.
    pub(super) boot: Option<Nanos>,
    /// When an options record told the last of this.
    pub(super) told: Nanos,
    /// It was told to an earlier run of the sensor, and nothing of it has been told since.
    pub(super) restored: bool,
}

/// What happened to templates, since the decoder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Templates forgotten to make room for others.
    pub evicted: u64,
    /// Templates not taken: without length, or with more fields than allowed.
    pub refused: u64,
    /// Templates that their exporter withdrew.
    pub withdrawn: u64,
    /// Templates that were not announced again in time.
    pub expired: u64,
    /// Domains of exporters, and rates of parts of them, that were forgotten to make room for others.
    pub domains: u64,
}

/// How long a template holds that is not announced again. RFC 7011 (section 8.4) leaves it to the
/// collector; exporters repeat theirs every one to thirty minutes, but some are configured for hours, and
/// a few send them with the first traffic of the day.
const LIFETIME: Nanos = 24 * 3600 * SECOND;

/// A template, and what is known of it and around it.
pub(super) struct Found<'a> {
    pub(super) template: &'a Template,
    pub(super) restored: bool,
    pub(super) domain: &'a mut Domain,
    /// The rate of all domains of the exporter, 0 if it is not known.
    pub(super) default_rate: u32,
    pub(super) siblings: Siblings<'a>,
}

/// The templates of the domain that a template belongs to: its lists refer to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Siblings<'a> {
    templates: &'a Lru<(u32, u16), Sessions>,
    domain: u32,
    session: u16,
}

impl<'a> Siblings<'a> {
    pub(super) fn find(self, id: u16) -> Option<&'a Template> {
        Some(&self.templates.peek(&(self.domain, id))?.find(self.session)?.template)
    }
}

/// About what an entry of a map costs beside its value.
const ENTRY_BYTES: usize = 96;
const EXPORTER_BYTES: usize = size_of::<Exporter>() + ENTRY_BYTES;
const DOMAIN_BYTES: usize = size_of::<Domain>() + ENTRY_BYTES;
const TRACK_BYTES: usize = Track::BYTES + ENTRY_BYTES;

impl Domain {
    /// Whether an options record told something of it.
    pub(super) fn is_told(&self) -> bool {
        self.boot.is_some() || self.sampling.rates().next().is_some()
    }

    /// Notes that an options record told something of it.
    pub(super) fn note(&mut self, at: Nanos) {
        self.told = at;
        self.restored = false;
    }
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Cache {
        Cache { limits, exporters: Exporters::default(), templates: 0, bytes: 0, counts: Counts::default() }
    }

    /// Templates held; one that several sessions announced counts once.
    pub(super) fn templates(&self) -> usize {
        self.templates
    }

    /// Memory held, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts a template that has too many fields. What an older one says of the records to come is
    /// wrong now.
    pub(super) fn refuse(&mut self, scope: Scope, id: u16) {
        self.counts.refused += 1;
        self.forget(scope, id);
    }

    /// The most fields that a template may have.
    pub(super) fn most_fields(&self) -> usize {
        self.limits.fields
    }

    /// Takes a template; false if it was refused. Of one that is known already only the time is noted.
    pub(super) fn learn(
        &mut self,
        scope: Scope,
        id: u16,
        specs: &[Spec],
        traits: Traits,
        at: Nanos,
        restored: bool,
    ) -> bool {
        if let Some(exporter) = self.exporters.touch(&scope.exporter)
            && let Some(sessions) = exporter.templates.touch(&(scope.domain, id))
            && let Some(known) = sessions.own_mut(scope.session)
            && known.template.is_of(specs, traits)
        {
            known.at = at;
            known.restored = restored;
            return true;
        }
        let template = if specs.len() > self.limits.fields { None } else { Template::compile(specs, traits) };
        let Some(template) = template else {
            self.refuse(scope, id);
            return false;
        };
        self.admit(scope.exporter);
        let Some(exporter) = self.exporters.touch(&scope.exporter) else { return false };
        let (mut added, mut removed) = (0, 0);
        if exporter.templates.peek(&(scope.domain, id)).is_none() {
            exporter.templates.insert((scope.domain, id), Sessions::default());
            self.templates += 1;
            added += ENTRY_BYTES;
        }
        if let Some(sessions) = exporter.templates.touch(&(scope.domain, id)) {
            removed += sessions.bytes();
            sessions.put(Announced { session: scope.session, template, at, restored });
            added += sessions.bytes();
        }
        while exporter.templates.len() > self.limits.templates.max(1)
            && let Some((_, old)) = exporter.templates.pop_oldest()
        {
            removed += old.bytes() + ENTRY_BYTES;
            self.templates -= 1;
            self.counts.evicted += 1;
        }
        self.charge(scope.exporter, added, removed);
        self.domain(scope);
        true
    }

    /// Withdraws one template.
    pub(super) fn withdraw(&mut self, scope: Scope, id: u16) {
        if self.forget(scope, id) {
            self.counts.withdrawn += 1;
        }
    }

    /// Withdraws every template, or every options template, that a session announced for a domain.
    pub(super) fn withdraw_all(&mut self, scope: Scope, options: bool) {
        let Some(exporter) = self.exporters.peek(&scope.exporter) else { return };
        let announced = exporter.templates.iter().filter(|((domain, _), sessions)| {
            *domain == scope.domain
                && sessions.own(scope.session).is_some_and(|known| known.template.traits().options == options)
        });
        let withdrawn: Vec<u16> = announced.map(|((_, id), _)| *id).collect();
        for id in withdrawn {
            self.withdraw(scope, id);
        }
    }

    /// A template and the state of its domain, at the time `now`.
    pub(super) fn find(&mut self, scope: Scope, id: u16, now: Nanos) -> Option<Found<'_>> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let templates = &mut self.exporters.at(scope.exporter, slot)?.templates;
        let template = templates.touch_slot(&(scope.domain, id))?;
        let found = templates.get(template)?.find(scope.session)?;
        // A connection's templates hold as long as it does.
        if scope.exporter.session == 0 && now.saturating_sub(found.at) > LIFETIME {
            let of = Scope { session: found.session, ..scope };
            self.counts.expired += u64::from(self.forget(of, id));
            return None;
        }
        // Only now: data of a domain that never sent a template pushes out nothing.
        let domain = match self.exporters.at(scope.exporter, slot)?.domains.touch_slot(&scope.domain) {
            Some(domain) => domain,
            None => self.add_domain(scope)?,
        };
        let Exporter { templates, domains, .. } = self.exporters.at(scope.exporter, slot)?;
        // Domain 0 of IPFIX stands for the whole exporter (RFC 7011, section 3.1).
        let of_all = if scope.exporter.version == 10 && scope.domain != 0 { domains.peek(&0) } else { None };
        let default_rate = of_all.and_then(|of_all| of_all.sampling.of_domain()).unwrap_or(0);
        let found = templates.get(template)?.find(scope.session)?;
        Some(Found {
            template: &found.template,
            restored: found.restored,
            domain: domains.at(domain)?,
            default_rate,
            siblings: Siblings { templates, domain: scope.domain, session: scope.session },
        })
    }

    /// The track of a session; none if its domain never sent a template, so that forged messages push out
    /// nothing.
    pub(super) fn track(&mut self, scope: Scope) -> Option<&mut Track> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let key = (scope.session, scope.domain);
        let exporter = self.exporters.at(scope.exporter, slot)?;
        let track = match exporter.tracks.touch_slot(&key) {
            Some(track) => track,
            None if exporter.domains.peek(&scope.domain).is_none() => return None,
            None => self.add_track(scope)?,
        };
        self.exporters.at(scope.exporter, slot)?.tracks.at(track)
    }

    /// Before a message is read: one of another run of its exporter makes void what that has told of its
    /// sampling and its start, but not what this message will tell.
    pub(super) fn prepare(&mut self, scope: Scope, seen: &Seen) {
        let exporter = self.exporters.peek(&scope.exporter);
        let track = exporter.and_then(|exporter| exporter.tracks.peek(&(scope.session, scope.domain)));
        if track.is_some_and(|track| track.would_restart(seen)) {
            self.forget_told(scope);
        }
    }

    /// Forgets a session that has ended, with its templates.
    pub(super) fn close(&mut self, key: &ExporterKey) {
        if let Some(old) = self.exporters.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.templates -= old.templates.len();
        }
    }

    /// Calls `each` with the status of every exporter that has sent templates.
    pub(super) fn each(&self, each: &mut impl FnMut(ExporterStatus)) {
        for (key, exporter) in self.exporters.iter() {
            for ((port, domain), track) in exporter.tracks.iter() {
                let rate =
                    exporter.domains.peek(domain).map_or(0, |domain| domain.sampling.rate(None, None, 0));
                each(track.status(key, key.session.max(*port), *domain, rate));
            }
        }
    }

    /// Templates that an earlier run told and no exporter has repeated, and exporters whose numbers make
    /// no sense.
    pub(super) fn levels(&self) -> (usize, usize) {
        let exporters = || self.exporters.iter().map(|(_, exporter)| exporter);
        let restored = exporters()
            .flat_map(|exporter| exporter.templates.iter())
            .filter(|(_, sessions)| sessions.0.iter().any(|announced| announced.restored))
            .count();
        let tracks = exporters().flat_map(|exporter| exporter.tracks.iter());
        (restored, tracks.filter(|(_, track)| track.is_untrusted()).count())
    }

    /// Whether what was told at some time, and not since, holds no longer.
    pub(super) fn has_expired(&self, told: Nanos, now: Nanos) -> bool {
        now.saturating_sub(told) > LIFETIME
    }

    /// Forgets the templates, sampling rates and start-up times that were not told again in time.
    pub(super) fn expire(&mut self, now: Nanos) {
        let mut expired = Vec::new();
        for (key, exporter) in self.exporters.iter().filter(|(key, _)| key.session == 0) {
            for ((domain, id), sessions) in exporter.templates.iter() {
                let old = sessions.0.iter().filter(|announced| now.saturating_sub(announced.at) > LIFETIME);
                expired.extend(old.map(|announced| {
                    (Scope { exporter: *key, session: announced.session, domain: *domain }, *id)
                }));
            }
        }
        for (scope, id) in expired {
            self.counts.expired += u64::from(self.forget(scope, id));
        }
        let exporters = self.exporters.iter().filter(|(key, _)| key.session == 0);
        let old: Vec<Scope> = exporters
            .flat_map(|(key, exporter)| exporter.domains.iter().map(|(domain, state)| (*key, *domain, state)))
            .filter(|(_, _, state)| state.is_told() && now.saturating_sub(state.told) > LIFETIME)
            .map(|(exporter, domain, _)| Scope { exporter, session: 0, domain })
            .collect();
        old.into_iter().for_each(|scope| self.forget_told(scope));
    }

    /// Forgets the sampling rates and the start-up time of a domain, whose exporter has started anew or did
    /// not repeat them.
    pub(super) fn forget_told(&mut self, scope: Scope) {
        let Some(exporter) = self.exporters.touch(&scope.exporter) else { return };
        let Some(domain) = exporter.domains.touch(&scope.domain) else { return };
        let old = std::mem::take(domain);
        self.charge(scope.exporter, 0, old.sampling.bytes());
    }

    /// Takes up a rate that an options record states for another domain of its exporter, if that is known.
    pub(super) fn learn_for(&mut self, scope: Scope, rate: u32, at: Nanos) {
        if let Some(exporter) = self.exporters.touch(&scope.exporter)
            && let Some(domain) = exporter.domains.touch(&scope.domain)
        {
            domain.sampling.learn(sampling::Scope::Domain, rate);
            domain.note(at);
        }
    }

    /// Calls `each` with every template, its scope, its id and when it was announced.
    pub(super) fn each_template(&self, mut each: impl FnMut(Scope, u16, &Template, Nanos)) {
        for (key, exporter) in self.exporters.iter() {
            for ((domain, id), sessions) in exporter.templates.iter() {
                for announced in &sessions.0 {
                    let scope = Scope { exporter: *key, session: announced.session, domain: *domain };
                    each(scope, *id, &announced.template, announced.at);
                }
            }
        }
    }

    /// Calls `each` with the state of every domain.
    pub(super) fn each_domain(&self, mut each: impl FnMut(Scope, &Domain)) {
        for (key, exporter) in self.exporters.iter() {
            for (domain, state) in exporter.domains.iter() {
                each(Scope { exporter: *key, session: 0, domain: *domain }, state);
            }
        }
    }

    /// The state of a domain of an exporter that has templates, made if there is none.
    pub(super) fn domain(&mut self, scope: Scope) -> Option<&mut Domain> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let domain = match self.exporters.at(scope.exporter, slot)?.domains.touch_slot(&scope.domain) {
            Some(domain) => domain,
            None => self.add_domain(scope)?,
        };
        self.exporters.at(scope.exporter, slot)?.domains.at(domain)
    }

    /// Accounts for memory that a domain's sampling took, and for rates that were forgotten for others.
    pub(super) fn charge_sampling(&mut self, exporter: ExporterKey, bytes: usize, evicted: u64) {
        self.counts.domains += evicted;
        self.charge(exporter, bytes, 0);
    }

    /// Adds the state of a domain to a known exporter; gives its slot.
    fn add_domain(&mut self, scope: Scope) -> Option<usize> {
        let exporter = self.exporters.touch(&scope.exporter)?;
        let mut removed = 0;
        while exporter.domains.len() >= self.limits.domains.max(1)
            && let Some((_, old)) = exporter.domains.pop_oldest()
        {
            removed += DOMAIN_BYTES + old.sampling.bytes();
            self.counts.domains += 1;
        }
        let (slot, _) = exporter.domains.insert_slot(scope.domain, Domain::default());
        self.charge(scope.exporter, DOMAIN_BYTES, removed);
        Some(slot)
    }

    /// Adds a track to an exporter; gives its slot.
    fn add_track(&mut self, scope: Scope) -> Option<usize> {
        let exporter = self.exporters.touch(&scope.exporter)?;
        let mut removed = 0;
        while exporter.tracks.len() >= self.limits.domains.max(1) && exporter.tracks.pop_oldest().is_some() {
            removed += TRACK_BYTES;
            self.counts.domains += 1;
        }
        let key = (scope.session, scope.domain);
        let (slot, _) = exporter.tracks.insert_slot(key, Track::default());
        self.charge(scope.exporter, TRACK_BYTES, removed);
        Some(slot)
    }

    /// Makes an exporter known.
    fn admit(&mut self, key: ExporterKey) {
        if self.exporters.touch(&key).is_none() {
            while self.exporters.pool(key.known).len() >= self.limits.exporters.max(1)
                && let Some(oldest) = self.exporters.pool(key.known).oldest()
            {
                self.drop_exporter(&oldest);
            }
            self.exporters.insert(key, Exporter { bytes: EXPORTER_BYTES, ..Exporter::default() });
            self.bytes += EXPORTER_BYTES;
        }
    }

    /// Books memory to an exporter, then makes room if there is too much: in the exporter itself if it has
    /// more than its own share, else whole exporters that were heard longest ago.
    fn charge(&mut self, key: ExporterKey, added: usize, removed: usize) {
        if let Some(exporter) = self.exporters.touch(&key) {
            exporter.bytes = (exporter.bytes + added).saturating_sub(removed);
            self.bytes = (self.bytes + added).saturating_sub(removed);
        }
        while self.exporters.peek(&key).is_some_and(|own| own.bytes > self.limits.exporter_bytes)
            && self.shrink(&key)
        {}
        while self.bytes > self.limits.bytes
            && let Some(oldest) = self.exporters.oldest()
        {
            let own = self.exporters.peek(&key).map_or(0, |exporter| exporter.bytes);
            // Who takes much, and more than the others, pays for it, unless it is known and others are not. A
            // quarter of what one may have is not much: of millions of forged senders each has less.
            let share = (self.bytes / self.exporters.len().max(1)).max(self.limits.exporter_bytes / 4);
            let greedy = oldest.known == key.known && own > share;
            if (oldest == key || greedy) && self.shrink(&key) {
                continue;
            }
            if oldest == key {
                return;
            }
            self.drop_exporter(&oldest);
        }
    }

    /// Forgets what an exporter used longest ago, one template or, without any, one domain; false if nothing
    /// is left but the last.
    fn shrink(&mut self, key: &ExporterKey) -> bool {
        let Some(exporter) = self.exporters.touch(key) else { return false };
        let freed = if let Some((_, old)) = exporter.templates.pop_oldest() {
            self.templates -= 1;
            self.counts.evicted += 1;
            old.bytes() + ENTRY_BYTES
        } else if exporter.tracks.len() > 1
            && let Some(_) = exporter.tracks.pop_oldest()
        {
            self.counts.domains += 1;
            TRACK_BYTES
        } else if exporter.domains.len() > 1
            && let Some((_, old)) = exporter.domains.pop_oldest()
        {
            self.counts.domains += 1;
            DOMAIN_BYTES + old.sampling.bytes()
        } else {
            return false;
        };
        exporter.bytes = exporter.bytes.saturating_sub(freed);
        self.bytes = self.bytes.saturating_sub(freed);
        true
    }

    fn drop_exporter(&mut self, key: &ExporterKey) {
        if let Some(old) = self.exporters.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.templates -= old.templates.len();
            self.counts.evicted += old.templates.len() as u64;
        }
    }

    /// Forgets what a session announced; false if that was nothing.
    fn forget(&mut self, scope: Scope, id: u16) -> bool {
        let Some(exporter) = self.exporters.touch(&scope.exporter) else { return false };
        let Some(sessions) = exporter.templates.touch(&(scope.domain, id)) else { return false };
        let Some(old) = sessions.take(scope.session) else { return false };
        let mut removed = old.bytes();
        if sessions.0.is_empty() {
            exporter.templates.remove(&(scope.domain, id));
            removed += ENTRY_BYTES;
            self.templates -= 1;
        }
        self.charge(scope.exporter, 0, removed);
        true
    }
}

impl Exporters {
    fn pool(&self, known: bool) -> &Lru<ExporterKey, Exporter> {
        if known { &self.known } else { &self.strangers }
    }

    fn pool_mut(&mut self, known: bool) -> &mut Lru<ExporterKey, Exporter> {
        if known { &mut self.known } else { &mut self.strangers }
    }

    /// One that the operator has named since, or names no longer, keeps what it said.
    fn touch_slot(&mut self, key: &ExporterKey) -> Option<usize> {
        if let Some(slot) = self.pool_mut(key.known).touch_slot(key) {
            return Some(slot);
        }
        let other = ExporterKey { known: !key.known, ..*key };
        let exporter = self.pool_mut(other.known).remove(&other)?;
        Some(self.pool_mut(key.known).insert_slot(*key, exporter).0)
    }

    fn touch(&mut self, key: &ExporterKey) -> Option<&mut Exporter> {
        let slot = self.touch_slot(key)?;
        self.at(*key, slot)
    }

    fn at(&mut self, key: ExporterKey, slot: usize) -> Option<&mut Exporter> {
        self.pool_mut(key.known).at(slot)
    }

    fn peek(&self, key: &ExporterKey) -> Option<&Exporter> {
        self.pool(key.known).peek(key)
    }

    fn insert(&mut self, key: ExporterKey, exporter: Exporter) {
        self.pool_mut(key.known).insert(key, exporter);
    }

    fn remove(&mut self, key: &ExporterKey) -> Option<Exporter> {
        self.pool_mut(key.known).remove(key)
    }

    fn len(&self) -> usize {
        self.known.len() + self.strangers.len()
    }

    /// Who goes first.
    fn oldest(&self) -> Option<ExporterKey> {
        self.strangers.oldest().or_else(|| self.known.oldest())
    }

    fn iter(&self) -> impl Iterator<Item = (&ExporterKey, &Exporter)> {
        self.known.iter().chain(self.strangers.iter())
    }
}

impl Sessions {
    /// What a session announced itself.
    fn own(&self, session: u16) -> Option<&Announced> {
        self.0.iter().find(|announced| announced.session == session)
    }

    fn own_mut(&mut self, session: u16) -> Option<&mut Announced> {
        self.0.iter_mut().find(|announced| announced.session == session)
    }

    /// What holds for a session.
    fn find(&self, session: u16) -> Option<&Announced> {
        if let Some(own) = self.own(session) {
            return Some(own);
        }
        let (first, others) = self.0.split_first()?;
        others.iter().all(|other| other.template.is_like(&first.template)).then_some(first)
    }

    fn put(&mut self, announced: Announced) {
        self.take(announced.session);
        if self.0.len() >= MAX_SESSIONS {
            self.0.remove(0);
        }
        self.0.push(announced);
    }

    fn take(&mut self, session: u16) -> Option<Template> {
        let at = self.0.iter().position(|announced| announced.session == session)?;
        Some(self.0.remove(at).template)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|announced| announced.template.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Traits = Traits { netflow9: false, options: false };
    const SPEC: Spec = Spec { enterprise: 0, id: 8, length: 4, scope: false };

    fn scope(exporter: u32, session: u16, domain: u32) -> Scope {
        let address = IpAddr::V4(exporter.into());
        let exporter = ExporterKey { address, version: 10, session: 0, known: false };
        Scope { exporter, session, domain }
    }

    #[test]
    fn everything_is_bounded() {
        let limits = Limits {
            exporters: 10,
            templates: 5,
            domains: 3,
            fields: 4,
            bytes: usize::MAX,
            exporter_bytes: usize::MAX,
        };
        let mut cache = Cache::new(limits);
        for source in 0..100 {
            for id in 256..300u16 {
                let scope = scope(source, id, id.into());
                assert!(cache.learn(scope, id, &[SPEC], DATA, 0, false));
                assert!(cache.find(scope, id, 0).is_some());
                assert!(cache.track(scope).is_some());
            }
        }
        assert_eq!(cache.templates(), 50);
        assert_eq!(cache.counts().evicted, 100 * 44 - 50);
        assert!(cache.find(scope(99, 299, 299), 299, 0).is_some());
        assert!(cache.find(scope(0, 299, 299), 299, 0).is_none());
        assert!(cache.track(scope(0, 299, 299)).is_none());
        assert!(!cache.learn(scope(99, 299, 299), 299, &[SPEC; 5], DATA, 0, false), "too many fields");
        assert!(cache.find(scope(99, 299, 299), 299, 0).is_none(), "the old one is void");
        assert!(!cache.learn(scope(99, 0, 0), 300, &[], DATA, 0, false), "no fields");
        assert_eq!(cache.counts().refused, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = Cache::new(Limits { bytes: 100_000, ..Limits::default() });
        for source in 0..1000 {
            for id in 256..400 {
                cache.learn(scope(source, id, 0), id, &[SPEC; 100], DATA, 0, false);
                assert!(cache.bytes() <= 100_000);
            }
        }
        assert!(cache.templates() > 0);
        for session in 0..1000 {
            cache.learn(scope(999, session, 0), 256, &[SPEC; 100], DATA, 0, false);
        }
        assert!(cache.bytes() <= 100_000);
    }

    #[test]
    fn who_takes_much_pays_for_it() {
        let mut cache = Cache::new(Limits { bytes: 1 << 20, exporter_bytes: 128 << 10, ..Limits::default() });
        for modest in 0..20 {
            assert!(cache.learn(scope(modest, 0, 0), 256, &[SPEC; 20], DATA, 0, false));
        }
        // One takes its own share and no more; twenty together do not push out the others either.
        for greedy in [1000..1001, 2000..2020] {
            for id in 256..456 {
                for source in greedy.clone() {
                    cache.learn(scope(source, 0, 0), id, &[SPEC; 100], DATA, 0, false);
                    let own = cache.exporters.peek(&scope(source, 0, 0).exporter).map(|one| one.bytes);
                    assert!(own.is_some_and(|own| own <= 128 << 10), "{own:?}");
                    assert!(cache.bytes() <= 1 << 20);
                }
            }
        }
        assert!(cache.counts().evicted > 1000);
        for modest in 0..20 {
            assert!(cache.find(scope(modest, 0, 0), 256, 0).is_some(), "{modest}");
        }
    }

    #[test]
    fn templates_are_withdrawn() {
        let mut cache = Cache::new(Limits::default());
        let options = Traits { options: true, ..DATA };
        for id in 256..260 {
            cache.learn(scope(1, 0, 1), id, &[SPEC], if id == 256 { options } else { DATA }, 0, false);
            cache.learn(scope(1, 0, 2), id, &[SPEC], DATA, 0, false);
        }
        let full = cache.bytes();
        cache.withdraw(scope(1, 0, 1), 257);
        assert_eq!(cache.templates(), 7);
        cache.withdraw_all(scope(1, 0, 1), false);
        assert_eq!(cache.templates(), 5);
        cache.withdraw_all(scope(1, 0, 1), true);
        assert_eq!(cache.templates(), 4);
        assert_eq!(cache.counts().withdrawn, 4);
        assert!(cache.bytes() < full);
    }

    #[test]
    fn sessions_share_what_they_agree_on() {
        let mut cache = Cache::new(Limits::default());
        let other = Spec { id: 12, ..SPEC };
        cache.learn(scope(1, 1000, 7), 256, &[SPEC], DATA, 0, false);
        assert!(cache.find(scope(1, 2000, 7), 256, 0).is_some(), "one announced it");
        assert!(cache.find(scope(1, 2000, 8), 256, 0).is_none(), "another domain");
        cache.learn(scope(1, 3000, 7), 256, &[SPEC], DATA, 0, false);
        assert!(cache.find(scope(1, 2000, 7), 256, 0).is_some(), "two agree");
        cache.learn(scope(1, 3000, 7), 256, &[other], DATA, 0, false);
        assert!(cache.find(scope(1, 2000, 7), 256, 0).is_none(), "two disagree");
        assert!(cache.find(scope(1, 1000, 7), 256, 0).is_some(), "its own");
        cache.withdraw(scope(1, 1000, 7), 256);
        assert!(cache.find(scope(1, 1000, 7), 256, 0).is_some(), "what remains");
    }
}
