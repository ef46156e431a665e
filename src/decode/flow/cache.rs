//! What is remembered of exporters: their templates, sampling rates and sequence numbers.
//!
//! [`Cache`] is keyed by the exporter's address, and within by domain, template and session. Everything
//! in it was told by datagrams whose source anybody can forge, so all of it is bounded: fields of a
//! template, templates and domains of an exporter, exporters, and octets altogether; what was used
//! longest ago goes, what came once goes before what came again, and what strangers said goes before what
//! an exporter said that the operator has named. A template that is not announced again in time expires.

use super::Limits;
use super::clock::SECOND;
use super::labels::Labels;
use super::lru::Lru;
use super::sampling::{Rate, Sampling};
use super::sequence::{Account, is_another_boot};
use super::status::{AGAIN, ExporterStatus, Seen, Track};
use super::template::{Spec, Template, Traits};
use crate::input::Nanos;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// Who exports, as far as templates are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExporterKey {
    pub(super) address: IpAddr,
    pub(super) version: u8,
    /// The sender's port where it stands for a connection, whose templates are its own (RFC 7011,
    /// section 8.1), else 0.
    pub(super) session: u16,
    /// The operator has named it. One that is named since, or no longer, is the same exporter.
    pub(super) known: bool,
}

impl ExporterKey {
    fn identity(&self) -> (IpAddr, u8, u16) {
        (self.address, self.version, self.session)
    }
}

impl PartialEq for ExporterKey {
    fn eq(&self, other: &ExporterKey) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ExporterKey {}

impl Hash for ExporterKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
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
struct Exporters(Lru<ExporterKey, Exporter>);

/// One template in the sessions that announced it, the latest last.
///
/// A session that did not announce it itself uses what the others agree on: routers send the data of
/// each line card from a port of its own and the templates from one of them, and address translation
/// changes ports at will. Where they disagree, several devices share the address, and no guess is made.
/// Anybody can forge one message of a new port: sessions that announced it time and again are not pushed
/// out by those that did once, and are asked before them.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Announced>);

/// A template as one session announced it.
#[derive(Debug)]
struct Announced {
    session: u16,
    template: Template,
    /// When the session first announced something under this number.
    first: Nanos,
    /// When it was announced last.
    at: Nanos,
    /// It was told by an earlier run of the sensor, and the exporter has not repeated it since.
    restored: bool,
}

/// Sessions that are told apart. More behind one address, and the one that announced longest ago has to
/// announce anew; one more has room where these have all announced time and again, so that whoever is new
/// can.
const MAX_SESSIONS: usize = 8;

/// The state of one observation domain (IPFIX) or source id (v9).
#[derive(Debug, Default)]
pub(super) struct Domain {
    /// Of the domain itself.
    pub(super) own: Told,
    /// Of the exporters that a relay named in it.
    named: Lru<IpAddr, Told>,
    /// Whose records these are, as a relay said of all of them.
    pub(super) exporter: Option<IpAddr>,
    /// What it calls its applications and interfaces.
    pub(super) labels: Labels,
    /// When an options record told the last of this.
    pub(super) told: Nanos,
    /// When its exporter started, in milliseconds since 1970, as the headers of an earlier run of the
    /// sensor said.
    pub(super) started: Option<i64>,
}

/// What options records told of an exporter, or of one that a relay names.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) sampling: Sampling,
    /// When it started.
    pub(super) boot: Option<Boot>,
}

/// A start-up time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot {
    pub(super) at: Nanos,
    /// It was told to an earlier run of the sensor, and not repeated since.
    pub(super) restored: bool,
}

/// Exporters that a relay may name in one domain and whose sampling is told apart.
const MAX_NAMED: usize = 256;
/// Octets that what was told of one domain may take, with all the exporters in it: more than twice what its
/// own rates can.
const MAX_TOLD: usize = 256 << 10;

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
    /// The rate of all domains of the exporter, if it is known.
    pub(super) default_rate: Option<Rate>,
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
const TOLD_BYTES: usize = size_of::<Told>() + ENTRY_BYTES;

impl Domain {
    /// Whether an options record told something of it.
    pub(super) fn is_told(&self) -> bool {
        self.exporter.is_some() || self.own.is_something() || self.named.len() > 0
    }

    /// What was told of an exporter that a relay names.
    pub(super) fn named(&self, exporter: IpAddr) -> Option<&Told> {
        if self.named.len() == 0 { None } else { self.named.peek(&exporter) }
    }

    /// Every exporter that a relay named, and what was told of it.
    pub(super) fn each_named(&self) -> impl Iterator<Item = (IpAddr, &Told)> {
        self.named.iter().map(|(exporter, told)| (*exporter, told))
    }

    /// Where to put what is told of an exporter that a relay names, or of the domain itself.
    pub(super) fn about(&mut self, exporter: Option<IpAddr>) -> &mut Told {
        let Some(exporter) = exporter else { return &mut self.own };
        let slot = self.named.touch_slot(&exporter).unwrap_or_else(|| {
            while self.named.len() >= MAX_NAMED && self.named.pop_oldest().is_some() {}
            self.named.insert_slot(exporter, Told::default()).0
        });
        // The slot was touched or filled just now.
        self.named.at(slot).unwrap_or(&mut self.own)
    }

    /// The memory that it takes beside its own place, without its names.
    fn told_bytes(&self) -> usize {
        let named = self.named.iter().map(|(_, told)| TOLD_BYTES + told.sampling.bytes());
        self.own.sampling.bytes() + named.sum::<usize>()
    }

    /// The same with its names.
    pub(super) fn bytes(&self) -> usize {
        self.told_bytes() + self.labels.bytes()
    }

    /// Forgets what there is too much of; gives how many exporters that was told of.
    pub(super) fn limit(&mut self) -> u64 {
        let mut forgotten = 0;
        while self.told_bytes() > MAX_TOLD && self.named.pop_oldest().is_some() {
            forgotten += 1;
        }
        forgotten
    }

    /// Forgets what was told of one exporter, or one rate; gives the octets that it took.
    fn shrink(&mut self) -> Option<usize> {
        match self.named.pop_oldest() {
            Some((_, told)) => Some(TOLD_BYTES + told.sampling.bytes()),
            None => self.own.sampling.shrink(),
        }
    }

    /// Rates that were forgotten for want of room.
    pub(super) fn evicted(&self) -> u64 {
        self.own.sampling.evicted() + self.named.iter().map(|(_, told)| told.sampling.evicted()).sum::<u64>()
    }
}

impl Told {
    fn is_something(&self) -> bool {
        self.boot.is_some() || self.sampling.rates().next().is_some()
    }
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Cache {
        Cache { limits, exporters: Exporters::default(), templates: 0, bytes: 0, counts: Counts::default() }
    }

    /// Makes room for so many exporters at least, and for as much of each as the limits had for each.
    pub(super) fn expect_exporters(&mut self, exporters: usize) {
        /// What a machine has for a hundred thousand connections.
        const LARGEST: usize = 1 << 30;
        let limits = &mut self.limits;
        let each = limits.bytes / limits.exporters.max(1);
        limits.exporters = limits.exporters.max(exporters);
        limits.bytes = limits.bytes.max(each.saturating_mul(exporters).min(LARGEST));
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
        if let Some(proven) = self.repeat(scope, id, specs, traits, at, restored) {
            if proven {
                self.prove(scope, id);
            }
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
            sessions.put(Announced { session: scope.session, template, first: at, at, restored });
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

    /// Takes up what a session announces again; says whether it has done so for a while, or none if it is
    /// not what it announced before.
    fn repeat(
        &mut self,
        scope: Scope,
        id: u16,
        specs: &[Spec],
        traits: Traits,
        at: Nanos,
        restored: bool,
    ) -> Option<bool> {
        let exporter = self.exporters.touch(&scope.exporter)?;
        let sessions = exporter.templates.touch(&(scope.domain, id))?;
        let known = sessions.repeat(scope.session, |template| template.is_of(specs, traits))?;
        known.at = at;
        known.restored = restored;
        Some(!restored && known.is_proven())
    }

    /// An exporter, a domain and a template of it that came time and again are not pushed out by those that
    /// came once.
    fn prove(&mut self, scope: Scope, id: u16) {
        let Some(slot) = self.exporters.touch_slot(&scope.exporter) else { return };
        self.exporters.0.prove(slot);
        let Some(exporter) = self.exporters.0.at(slot) else { return };
        if let Some(template) = exporter.templates.touch_slot(&(scope.domain, id)) {
            exporter.templates.prove(template);
        }
        if let Some(domain) = exporter.domains.touch_slot(&scope.domain) {
            exporter.domains.prove(domain);
        }
    }

    /// Withdraws one template.
    pub(super) fn withdraw(&mut self, scope: Scope, id: u16) {
        if self.forget(scope, id) {
            self.counts.withdrawn += 1;
        }
    }

    /// Withdraws every template, or every options template, that a session announced for a domain.
    pub(super) fn withdraw_all(&mut self, scope: Scope, options: bool) {
        let Some(exporter) = self.exporters.0.peek(&scope.exporter) else { return };
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
        let templates = &mut self.exporters.0.at(slot)?.templates;
        let template = templates.touch_slot(&(scope.domain, id))?;
        let found = templates.get(template)?.find(scope.session)?;
        // A connection's templates hold as long as it does.
        if scope.exporter.session == 0 && now.saturating_sub(found.at) > LIFETIME {
            let of = Scope { session: found.session, ..scope };
            self.counts.expired += u64::from(self.forget(of, id));
            return None;
        }
        // Only now: data of a domain that never sent a template pushes out nothing.
        let domain = match self.exporters.0.at(slot)?.domains.touch_slot(&scope.domain) {
            Some(domain) => domain,
            None => self.add_domain(scope)?,
        };
        let Exporter { templates, domains, .. } = self.exporters.0.at(slot)?;
        // Domain 0 of IPFIX stands for the whole exporter (RFC 7011, section 3.1).
        let of_all = if scope.exporter.version == 10 && scope.domain != 0 { domains.peek(&0) } else { None };
        let default_rate = of_all.and_then(|of_all| of_all.own.sampling.of_domain());
        let found = templates.get(template)?.find(scope.session)?;
        Some(Found {
            template: &found.template,
            restored: found.restored,
            domain: domains.at(domain)?,
            default_rate,
            siblings: Siblings { templates, domain: scope.domain, session: scope.session },
        })
    }

    /// Takes up a message of a session; none if its domain never sent a template, so that forged messages
    /// push out nothing. Nor do those of ports that come once push out those that come time and again.
    pub(super) fn account(&mut self, scope: Scope, seen: Seen) -> Option<Account> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let key = (scope.session, scope.domain);
        let exporter = self.exporters.0.at(slot)?;
        let track = match exporter.tracks.touch_slot(&key) {
            Some(track) => track,
            None if exporter.domains.peek(&scope.domain).is_none() => return None,
            None => self.add_track(scope)?,
        };
        let tracks = &mut self.exporters.0.at(slot)?.tracks;
        let taken = tracks.at(track)?;
        let account = taken.take(seen);
        if taken.is_proven() {
            tracks.prove(track);
        }
        Some(account)
    }

    /// Before a message is read: one of another run of its exporter makes void what that has told of its
    /// sampling and its start, but not what this message will tell.
    pub(super) fn prepare(&mut self, scope: Scope, seen: &Seen) {
        let Some(exporter) = self.exporters.0.peek(&scope.exporter) else { return };
        let restarts = match exporter.tracks.peek(&(scope.session, scope.domain)) {
            // A port that came just now tells nothing of the others.
            Some(track) => (scope.session == 0 || track.is_proven()) && track.would_restart(seen),
            None => {
                let before = exporter.domains.peek(&scope.domain).and_then(|domain| domain.started);
                before.zip(seen.boot()).is_some_and(|(before, now)| is_another_boot(before, now))
            }
        };
        if restarts {
            self.forget_told(scope);
        }
    }

    /// Forgets a session that has ended, with its templates.
    pub(super) fn close(&mut self, key: &ExporterKey) {
        if let Some(old) = self.exporters.0.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.templates -= old.templates.len();
        }
    }

    /// Calls `each` with the status of every exporter that has sent templates.
    pub(super) fn each(&self, each: &mut impl FnMut(ExporterStatus)) {
        for (key, exporter) in self.exporters.iter() {
            for ((port, domain), track) in exporter.tracks.iter() {
                let told = exporter.domains.peek(domain);
                let rate = told.and_then(|told| told.own.sampling.usual()).map_or(0, |rate| rate.value);
                let port = key.session.max(*port);
                each(track.status((key.address, key.address), port, key.version, *domain, rate));
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
        self.charge(scope.exporter, 0, old.bytes());
    }

    /// Takes up what an options record states for another domain of its exporter, if that is known.
    pub(super) fn learn_for(&mut self, scope: Scope, learn: impl FnOnce(&mut Domain)) {
        if let Some(exporter) = self.exporters.touch(&scope.exporter)
            && let Some(domain) = exporter.domains.touch(&scope.domain)
        {
            let (bytes, evicted) = (domain.bytes(), domain.evicted());
            learn(domain);
            let forgotten = domain.limit();
            let evicted = domain.evicted().saturating_sub(evicted) + forgotten;
            let bytes = (bytes, domain.bytes());
            self.charge_sampling(scope.exporter, bytes, evicted);
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

    /// Calls `each` with the state of every domain, and when its exporter started as far as its headers say.
    pub(super) fn each_domain(&self, mut each: impl FnMut(Scope, &Domain, Option<i64>)) {
        for (key, exporter) in self.exporters.iter() {
            for (domain, state) in exporter.domains.iter() {
                let started = exporter.tracks.peek(&(0, *domain)).and_then(Track::boot);
                let scope = Scope { exporter: *key, session: 0, domain: *domain };
                each(scope, state, started.or(state.started));
            }
        }
    }

    /// The state of a domain of an exporter that has templates, made if there is none.
    pub(super) fn domain(&mut self, scope: Scope) -> Option<&mut Domain> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let domain = match self.exporters.0.at(slot)?.domains.touch_slot(&scope.domain) {
            Some(domain) => domain,
            None => self.add_domain(scope)?,
        };
        self.exporters.0.at(slot)?.domains.at(domain)
    }

    /// Accounts for memory that was told to a domain took before and takes now, and for rates that were
    /// forgotten for others.
    pub(super) fn charge_sampling(
        &mut self,
        exporter: ExporterKey,
        (before, now): (usize, usize),
        evicted: u64,
    ) {
        self.counts.domains += evicted;
        if before != now {
            self.charge(exporter, now, before);
        }
    }

    /// Adds the state of a domain to a known exporter; gives its slot.
    fn add_domain(&mut self, scope: Scope) -> Option<usize> {
        let exporter = self.exporters.touch(&scope.exporter)?;
        let mut removed = 0;
        while exporter.domains.len() >= self.limits.domains.max(1)
            && let Some((_, old)) = exporter.domains.pop_oldest()
        {
            removed += DOMAIN_BYTES + old.bytes();
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
            while self.exporters.0.len_of(key.known) >= self.limits.exporters.max(1)
                && let Some(oldest) = self.exporters.0.oldest_of(key.known)
            {
                self.drop_exporter(&oldest);
            }
            let exporter = Exporter { bytes: EXPORTER_BYTES, ..Exporter::default() };
            let (slot, _) = self.exporters.0.insert_slot(key, exporter);
            self.exporters.0.set_known(slot, key.known);
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
        while self.exporters.0.peek(&key).is_some_and(|own| own.bytes > self.limits.exporter_bytes)
            && self.shrink(&key)
        {}
        while self.bytes > self.limits.bytes
            && let Some(oldest) = self.exporters.0.oldest()
        {
            let own = self.exporters.0.peek(&key).map_or(0, |exporter| exporter.bytes);
            // Who takes much, and more than the others, pays for it, unless it is known and others are not. A
            // quarter of what one may have is not much: of millions of forged senders each has less.
            let share = (self.bytes / self.exporters.0.len().max(1)).max(self.limits.exporter_bytes / 4);
            let greedy = own > share && self.exporters.0.is_known(&oldest) == self.exporters.0.is_known(&key);
            if (oldest == key || greedy) && self.shrink(&key) {
                continue;
            }
            if oldest == key {
                return;
            }
            self.drop_exporter(&oldest);
        }
    }

    /// Forgets what an exporter used longest ago, one template or, without any, one domain, or a rate of the
    /// last; false if nothing is left.
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
            DOMAIN_BYTES + old.bytes()
        } else if let Some(last) = exporter.domains.oldest()
            && let Some(freed) = exporter.domains.peek_mut(&last).and_then(Domain::shrink)
        {
            self.counts.domains += 1;
            freed
        } else {
            return false;
        };
        exporter.bytes = exporter.bytes.saturating_sub(freed);
        self.bytes = self.bytes.saturating_sub(freed);
        true
    }

    fn drop_exporter(&mut self, key: &ExporterKey) {
        if let Some(old) = self.exporters.0.remove(key) {
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
    /// One that the operator has named since, or names no longer, keeps what it said.
    fn touch_slot(&mut self, key: &ExporterKey) -> Option<usize> {
        let slot = self.0.touch_slot(key)?;
        self.0.set_known(slot, key.known);
        Some(slot)
    }

    fn touch(&mut self, key: &ExporterKey) -> Option<&mut Exporter> {
        let slot = self.touch_slot(key)?;
        self.0.at(slot)
    }

    fn iter(&self) -> impl Iterator<Item = (&ExporterKey, &Exporter)> {
        self.0.iter()
    }
}

impl Announced {
    /// It was announced time and again.
    fn is_proven(&self) -> bool {
        self.at.saturating_sub(self.first) >= AGAIN
    }
}

impl Sessions {
    /// What a session announced itself.
    fn own(&self, session: u16) -> Option<&Announced> {
        self.0.iter().find(|announced| announced.session == session)
    }

    /// What a session announces again, which is the latest now; none if it did not announce such a template.
    fn repeat(&mut self, session: u16, is_it: impl Fn(&Template) -> bool) -> Option<&mut Announced> {
        let is_it = |known: &Announced| known.session == session && is_it(&known.template);
        let place = self.0.iter().position(is_it)?;
        if let Some(latest) = self.0.get_mut(place..) {
            latest.rotate_left(1);
        }
        self.0.last_mut()
    }

    /// What holds for a session: what it announced itself, else what those agree on that announced it time
    /// and again, or all of them where none did.
    fn find(&self, session: u16) -> Option<&Announced> {
        if let Some(own) = self.own(session) {
            return Some(own);
        }
        let proven = self.0.iter().any(Announced::is_proven);
        let mut asked = self.0.iter().filter(|announced| announced.is_proven() == proven);
        let first = asked.next()?;
        asked.all(|other| other.template.is_like(&first.template)).then_some(first)
    }

    /// Adds what a session announced, in the place of what it announced before.
    fn put(&mut self, mut announced: Announced) {
        if let Some(before) = self.own(announced.session) {
            announced.first = before.first;
        }
        self.take(announced.session);
        if self.0.len() >= MAX_SESSIONS {
            let newcomer = self.0.iter().position(|announced| !announced.is_proven());
            let longest_ago = (self.0.len() > MAX_SESSIONS).then_some(0);
            if let Some(place) = newcomer.or(longest_ago) {
                self.0.remove(place);
            }
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
                assert!(cache.account(scope, Seen::default()).is_some());
            }
        }
        assert_eq!(cache.templates(), 50);
        assert_eq!(cache.counts().evicted, 100 * 44 - 50);
        assert!(cache.find(scope(99, 299, 299), 299, 0).is_some());
        assert!(cache.find(scope(0, 299, 299), 299, 0).is_none());
        assert!(cache.account(scope(0, 299, 299), Seen::default()).is_none());
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
                    let own = cache.exporters.0.peek(&scope(source, 0, 0).exporter).map(|one| one.bytes);
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
