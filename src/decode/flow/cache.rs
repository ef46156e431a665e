//! What is remembered of exporters: their templates, sampling rates and sequence numbers.
//!
//! [`Cache`] is keyed by the exporter's address, and within by domain, template and session. Everything in it was told by
//! datagrams whose source anybody can forge, so all of it is bounded: fields of a template, templates
//! and domains of an exporter, exporters, and octets altogether; what was used longest ago goes.

use super::Limits;
use super::lru::Lru;
use super::sampling::Sampling;
use super::sequence::Sequence;
use super::template::{Spec, Template, Traits};
use crate::input::Nanos;
use std::net::IpAddr;

/// Who exports, as far as templates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExporterKey {
    pub(super) address: IpAddr,
    pub(super) version: u8,
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
    exporters: Lru<ExporterKey, Exporter>,
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
    sequences: Lru<(u16, u32), Sequence>,
    bytes: usize,
}

/// One template in the sessions that announced it, the latest last.
///
/// A session that did not announce it itself uses what the others agree on: routers send the data of
/// each line card from a port of its own and the templates from one of them, and address translation
/// changes ports at will. Where they disagree, several devices share the address, and no guess is made.
#[derive(Debug, Default)]
struct Sessions(Vec<(u16, Template)>);

/// Sessions that are told apart. More behind one address, and the oldest has to announce anew.
const MAX_SESSIONS: usize = 8;

/// The state of one observation domain (IPFIX) or source id (v9).
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) sampling: Sampling,
    /// When the exporter started, if an options record said so.
    pub(super) boot: Option<Nanos>,
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
}

/// About what an entry of a map costs beside its value.
const ENTRY_BYTES: usize = 96;
const EXPORTER_BYTES: usize = size_of::<Exporter>() + ENTRY_BYTES;
const DOMAIN_BYTES: usize = size_of::<Domain>() + ENTRY_BYTES;
const SEQUENCE_BYTES: usize = size_of::<Sequence>() + ENTRY_BYTES;

impl Cache {
    pub(super) fn new(limits: Limits) -> Cache {
        Cache { limits, exporters: Lru::default(), templates: 0, bytes: 0, counts: Counts::default() }
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

    /// Counts a template that could not be taken.
    pub(super) fn refuse(&mut self) {
        self.counts.refused += 1;
    }

    /// The most fields that a template may have.
    pub(super) fn most_fields(&self) -> usize {
        self.limits.fields
    }

    /// Takes a template; false if it was refused. One that is known already only counts as used.
    pub(super) fn learn(&mut self, scope: Scope, id: u16, specs: &[Spec], traits: Traits) -> bool {
        if let Some(exporter) = self.exporters.touch(&scope.exporter)
            && let Some(sessions) = exporter.templates.touch(&(scope.domain, id))
            && sessions.own(scope.session).is_some_and(|known| known.is_of(specs, traits))
        {
            return true;
        }
        let template = if specs.len() > self.limits.fields { None } else { Template::compile(specs, traits) };
        let Some(template) = template else {
            self.counts.refused += 1;
            // What the old one says of the records to come is wrong now.
            self.forget(scope, id);
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
            sessions.put(scope.session, template);
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
                && sessions.own(scope.session).is_some_and(|known| known.traits().options == options)
        });
        let withdrawn: Vec<u16> = announced.map(|((_, id), _)| *id).collect();
        for id in withdrawn {
            self.withdraw(scope, id);
        }
    }

    /// A template and the state of its domain.
    pub(super) fn find(&mut self, scope: Scope, id: u16) -> Option<(&Template, &mut Domain)> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let domain = match self.exporters.at(slot)?.domains.touch_slot(&scope.domain) {
            Some(domain) => domain,
            None => self.add_domain(scope)?,
        };
        let exporter = self.exporters.at(slot)?;
        let template = exporter.templates.touch(&(scope.domain, id))?.find(scope.session)?;
        Some((template, exporter.domains.at(domain)?))
    }

    /// The sequence of a session; none if the exporter never sent a template, so that forged data
    /// sets cost nothing.
    pub(super) fn sequence(&mut self, scope: Scope) -> Option<&mut Sequence> {
        let slot = self.exporters.touch_slot(&scope.exporter)?;
        let key = (scope.session, scope.domain);
        let sequence = match self.exporters.at(slot)?.sequences.touch_slot(&key) {
            Some(sequence) => sequence,
            None => self.add_sequence(scope)?,
        };
        self.exporters.at(slot)?.sequences.at(sequence)
    }

    /// Accounts for memory that a domain's sampling took.
    pub(super) fn charge_sampling(&mut self, exporter: ExporterKey, bytes: usize) {
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
        }
        let (slot, _) = exporter.domains.insert_slot(scope.domain, Domain::default());
        self.charge(scope.exporter, DOMAIN_BYTES, removed);
        Some(slot)
    }

    /// Adds a sequence to a known exporter; gives its slot.
    fn add_sequence(&mut self, scope: Scope) -> Option<usize> {
        let exporter = self.exporters.touch(&scope.exporter)?;
        let mut removed = 0;
        while exporter.sequences.len() >= self.limits.domains.max(1)
            && exporter.sequences.pop_oldest().is_some()
        {
            removed += SEQUENCE_BYTES;
        }
        let key = (scope.session, scope.domain);
        let (slot, _) = exporter.sequences.insert_slot(key, Sequence::default());
        self.charge(scope.exporter, SEQUENCE_BYTES, removed);
        Some(slot)
    }

    /// Makes an exporter known.
    fn admit(&mut self, key: ExporterKey) {
        if self.exporters.peek(&key).is_none() {
            while self.exporters.len() >= self.limits.exporters.max(1)
                && let Some(oldest) = self.exporters.oldest()
            {
                self.drop_exporter(&oldest);
            }
            self.exporters.insert(key, Exporter { bytes: EXPORTER_BYTES, ..Exporter::default() });
            self.bytes += EXPORTER_BYTES;
        }
    }

    /// Books memory to an exporter, then makes room if there is too much: whole exporters first, the
    /// one at hand last and template by template.
    fn charge(&mut self, key: ExporterKey, added: usize, removed: usize) {
        if let Some(exporter) = self.exporters.touch(&key) {
            exporter.bytes = (exporter.bytes + added).saturating_sub(removed);
            self.bytes = (self.bytes + added).saturating_sub(removed);
        }
        while self.bytes > self.limits.bytes
            && let Some(oldest) = self.exporters.oldest()
        {
            if oldest != key {
                self.drop_exporter(&oldest);
                continue;
            }
            let Some(exporter) = self.exporters.touch(&key) else { return };
            let Some((_, old)) = exporter.templates.pop_oldest() else { return };
            let freed = old.bytes() + ENTRY_BYTES;
            exporter.bytes = exporter.bytes.saturating_sub(freed);
            self.bytes = self.bytes.saturating_sub(freed);
            self.templates -= 1;
            self.counts.evicted += 1;
        }
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

impl Sessions {
    /// What a session announced itself.
    fn own(&self, session: u16) -> Option<&Template> {
        self.0.iter().find(|(of, _)| *of == session).map(|(_, template)| template)
    }

    /// What holds for a session.
    fn find(&self, session: u16) -> Option<&Template> {
        if let Some(own) = self.own(session) {
            return Some(own);
        }
        let ((_, first), others) = self.0.split_first()?;
        others.iter().all(|(_, other)| other.is_like(first)).then_some(first)
    }

    fn put(&mut self, session: u16, template: Template) {
        self.take(session);
        if self.0.len() >= MAX_SESSIONS {
            self.0.remove(0);
        }
        self.0.push((session, template));
    }

    fn take(&mut self, session: u16) -> Option<Template> {
        let at = self.0.iter().position(|(of, _)| *of == session)?;
        Some(self.0.remove(at).1)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, template)| template.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Traits = Traits { netflow9: false, options: false };
    const SPEC: Spec = Spec { enterprise: 0, id: 8, length: 4, scope: false };

    fn scope(exporter: u32, session: u16, domain: u32) -> Scope {
        let exporter = ExporterKey { address: IpAddr::V4(exporter.into()), version: 10 };
        Scope { exporter, session, domain }
    }

    #[test]
    fn everything_is_bounded() {
        let limits = Limits { exporters: 10, templates: 5, domains: 3, fields: 4, bytes: usize::MAX };
        let mut cache = Cache::new(limits);
        for source in 0..100 {
            for id in 256..300u16 {
                let scope = scope(source, id, id.into());
                assert!(cache.learn(scope, id, &[SPEC], DATA));
                assert!(cache.find(scope, id).is_some());
                assert!(cache.sequence(scope).is_some());
            }
        }
        assert_eq!(cache.templates(), 50);
        assert_eq!(cache.counts().evicted, 100 * 44 - 50);
        assert!(cache.find(scope(99, 299, 299), 299).is_some());
        assert!(cache.find(scope(0, 299, 299), 299).is_none());
        assert!(cache.sequence(scope(0, 299, 299)).is_none());
        assert!(!cache.learn(scope(99, 299, 299), 299, &[SPEC; 5], DATA), "too many fields");
        assert!(cache.find(scope(99, 299, 299), 299).is_none(), "the old one is void");
        assert!(!cache.learn(scope(99, 0, 0), 300, &[], DATA), "no fields");
        assert_eq!(cache.counts().refused, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = Cache::new(Limits { bytes: 100_000, ..Limits::default() });
        for source in 0..1000 {
            for id in 256..400 {
                cache.learn(scope(source, id, 0), id, &[SPEC; 100], DATA);
                assert!(cache.bytes() <= 100_000);
            }
        }
        assert!(cache.templates() > 0);
        for session in 0..1000 {
            cache.learn(scope(999, session, 0), 256, &[SPEC; 100], DATA);
        }
        assert!(cache.bytes() <= 100_000);
    }

    #[test]
    fn templates_are_withdrawn() {
        let mut cache = Cache::new(Limits::default());
        let options = Traits { options: true, ..DATA };
        for id in 256..260 {
            cache.learn(scope(1, 0, 1), id, &[SPEC], if id == 256 { options } else { DATA });
            cache.learn(scope(1, 0, 2), id, &[SPEC], DATA);
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
        cache.learn(scope(1, 1000, 7), 256, &[SPEC], DATA);
        assert!(cache.find(scope(1, 2000, 7), 256).is_some(), "one announced it");
        assert!(cache.find(scope(1, 2000, 8), 256).is_none(), "another domain");
        cache.learn(scope(1, 3000, 7), 256, &[SPEC], DATA);
        assert!(cache.find(scope(1, 2000, 7), 256).is_some(), "two agree");
        cache.learn(scope(1, 3000, 7), 256, &[other], DATA);
        assert!(cache.find(scope(1, 2000, 7), 256).is_none(), "two disagree");
        assert!(cache.find(scope(1, 1000, 7), 256).is_some(), "its own");
        cache.withdraw(scope(1, 1000, 7), 256);
        assert!(cache.find(scope(1, 1000, 7), 256).is_some(), "what remains");
    }
}
