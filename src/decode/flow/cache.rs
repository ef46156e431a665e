//! What is remembered of exporters: their templates, sampling rates and sequence numbers.
//!
//! [`Cache`] is keyed by [`Exporter`] identity and, within, by domain. Everything in it was told by
//! datagrams whose source anybody can forge, so all of it is bounded: fields of a template, templates
//! and domains of an exporter, exporters, and octets altogether; what was used longest ago goes.

use super::Limits;
use super::lru::Lru;
use super::sampling::{SCOPE_BYTES, Sampling};
use super::sequence::Sequence;
use super::template::{Spec, Template, Traits};
use crate::input::Nanos;
use std::net::IpAddr;

/// Who exports, as far as templates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExporterKey {
    pub(super) address: IpAddr,
    /// The source port for IPFIX over UDP, where each port is a session of its own (RFC 7011, section
    /// 8); 0 for NetFlow v9, whose devices may change it at any time.
    pub(super) port: u16,
    pub(super) version: u8,
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
pub(super) struct Exporter {
    templates: Lru<TemplateKey, Template>,
    domains: Lru<u32, Domain>,
    bytes: usize,
}

/// Domain and template id.
type TemplateKey = (u32, u16);

/// The state of one observation domain (IPFIX) or source id (v9).
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) sequence: Sequence,
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

impl Cache {
    pub(super) fn new(limits: Limits) -> Cache {
        Cache { limits, exporters: Lru::default(), templates: 0, bytes: 0, counts: Counts::default() }
    }

    /// Templates held.
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
    pub(super) fn learn(
        &mut self,
        key: ExporterKey,
        domain: u32,
        id: u16,
        specs: &[Spec],
        traits: Traits,
    ) -> bool {
        if let Some(exporter) = self.exporters.touch(&key)
            && let Some(known) = exporter.templates.touch(&(domain, id))
            && known.is_of(specs, traits)
        {
            return true;
        }
        let template = if specs.len() > self.limits.fields { None } else { Template::compile(specs, traits) };
        let Some(template) = template else {
            self.counts.refused += 1;
            // What the old one says of the records to come is wrong now.
            self.forget(key, domain, id);
            return false;
        };
        let added = template.bytes() + ENTRY_BYTES;
        let mut removed = 0;
        self.admit(key);
        let Some(exporter) = self.exporters.touch(&key) else { return false };
        match exporter.templates.insert((domain, id), template) {
            Some(old) => removed += old.bytes() + ENTRY_BYTES,
            None => self.templates += 1,
        }
        while exporter.templates.len() > self.limits.templates.max(1)
            && let Some((_, old)) = exporter.templates.pop_oldest()
        {
            removed += old.bytes() + ENTRY_BYTES;
            self.templates -= 1;
            self.counts.evicted += 1;
        }
        self.charge(key, added, removed);
        true
    }

    /// Withdraws one template.
    pub(super) fn withdraw(&mut self, key: ExporterKey, domain: u32, id: u16) {
        if self.forget(key, domain, id) {
            self.counts.withdrawn += 1;
        }
    }

    /// Withdraws every template, or every options template, of a domain.
    pub(super) fn withdraw_all(&mut self, key: ExporterKey, domain: u32, options: bool) {
        let Some(exporter) = self.exporters.peek(&key) else { return };
        let withdrawn: Vec<u16> = exporter
            .templates
            .iter()
            .filter(|((of, _), template)| *of == domain && template.traits().options == options)
            .map(|((_, id), _)| *id)
            .collect();
        for id in withdrawn {
            self.withdraw(key, domain, id);
        }
    }

    /// A template and the state of its domain.
    pub(super) fn find(
        &mut self,
        key: ExporterKey,
        domain: u32,
        id: u16,
    ) -> Option<(&Template, &mut Domain)> {
        self.domain(key, domain)?;
        let exporter = self.exporters.touch(&key)?;
        let template = exporter.templates.touch(&(domain, id))?;
        Some((template, exporter.domains.touch(&domain)?))
    }

    /// The state of a domain; none if the exporter never sent a template, so that forged data sets
    /// cost nothing.
    pub(super) fn domain(&mut self, key: ExporterKey, domain: u32) -> Option<&mut Domain> {
        let exporter = self.exporters.touch(&key)?;
        if exporter.domains.peek(&domain).is_none() {
            let mut removed = 0;
            while exporter.domains.len() >= self.limits.domains.max(1)
                && let Some((_, old)) = exporter.domains.pop_oldest()
            {
                removed += DOMAIN_BYTES + old.sampling.bytes();
            }
            exporter.domains.insert(domain, Domain::default());
            self.charge(key, DOMAIN_BYTES, removed);
        }
        self.exporters.touch(&key)?.domains.touch(&domain)
    }

    /// Accounts for memory that a domain's sampling took.
    pub(super) fn charge_scopes(&mut self, key: ExporterKey, bytes: usize) {
        debug_assert_eq!(bytes % SCOPE_BYTES, 0);
        self.charge(key, bytes, 0);
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

    fn forget(&mut self, key: ExporterKey, domain: u32, id: u16) -> bool {
        let Some(exporter) = self.exporters.touch(&key) else { return false };
        let Some(old) = exporter.templates.remove(&(domain, id)) else { return false };
        self.templates -= 1;
        self.charge(key, 0, old.bytes() + ENTRY_BYTES);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Traits = Traits { netflow9: false, options: false };
    const SPEC: Spec = Spec { enterprise: 0, id: 8, length: 4, scope: false };

    fn exporter(last: u32) -> ExporterKey {
        ExporterKey { address: IpAddr::V4(last.into()), port: 0, version: 9 }
    }

    #[test]
    fn everything_is_bounded() {
        let limits = Limits { exporters: 10, templates: 5, domains: 3, fields: 4, bytes: usize::MAX };
        let mut cache = Cache::new(limits);
        for source in 0..100 {
            for id in 256..300u16 {
                assert!(cache.learn(exporter(source), id.into(), id, &[SPEC], DATA));
                assert!(cache.find(exporter(source), id.into(), id).is_some());
            }
        }
        assert_eq!(cache.templates(), 50);
        assert_eq!(cache.counts().evicted, 100 * 44 - 50);
        assert!(cache.find(exporter(99), 299, 299).is_some());
        assert!(cache.find(exporter(0), 299, 299).is_none());
        assert!(!cache.learn(exporter(99), 299, 299, &[SPEC; 5], DATA), "too many fields");
        assert!(cache.find(exporter(99), 299, 299).is_none(), "the old one is void");
        assert!(!cache.learn(exporter(99), 0, 300, &[], DATA), "no fields");
        assert_eq!(cache.counts().refused, 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut cache = Cache::new(Limits { bytes: 100_000, ..Limits::default() });
        for source in 0..1000 {
            for id in 256..400 {
                cache.learn(exporter(source), 0, id, &[SPEC; 100], DATA);
                assert!(cache.bytes() <= 100_000);
            }
        }
        assert!(cache.templates() > 0);
    }

    #[test]
    fn templates_are_withdrawn() {
        let mut cache = Cache::new(Limits::default());
        let key = exporter(1);
        let options = Traits { options: true, ..DATA };
        for id in 256..260 {
            cache.learn(key, 1, id, &[SPEC], if id == 256 { options } else { DATA });
            cache.learn(key, 2, id, &[SPEC], DATA);
        }
        let full = cache.bytes();
        cache.withdraw(key, 1, 257);
        assert_eq!(cache.templates(), 7);
        cache.withdraw_all(key, 1, false);
        assert_eq!(cache.templates(), 5);
        cache.withdraw_all(key, 1, true);
        assert_eq!(cache.templates(), 4);
        assert_eq!(cache.counts().withdrawn, 4);
        assert!(cache.bytes() < full);
    }
}
