//! What a restart should not lose: templates, sampling rates, and when exporters started.
//!
//! [`Stored`] is plain data with a JSON form; who writes it to disk and reads it again is not decided
//! here. What is restored holds, and is marked, until the exporter says otherwise; it went through the
//! same limits as what comes by the network, for a file may be anything.

use super::cache::{Boot, Cache, ExporterKey, Scope, Told};
use super::sampling::{self, Rate};
use super::template::{Spec, Traits};
use crate::input::Nanos;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// The state of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The shape of what follows; another one is not read.
    version: u32,
    templates: Vec<StoredTemplate>,
    domains: Vec<StoredDomain>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredTemplate {
    exporter: IpAddr,
    protocol: u8,
    session: u16,
    domain: u32,
    id: u16,
    options: bool,
    netflow9: bool,
    announced: Nanos,
    /// Enterprise, element, length, whether it is a scope.
    fields: Vec<(u32, u16, u16, bool)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredDomain {
    exporter: IpAddr,
    protocol: u8,
    domain: u32,
    boot: Option<Nanos>,
    /// When the exporter told the last of it.
    #[serde(default)]
    told: Nanos,
    rates: Vec<(sampling::Scope, u32)>,
    /// When the exporter started, in milliseconds since 1970, as its headers say.
    #[serde(default)]
    started: Option<i64>,
    /// Whose records these are, as a relay said.
    #[serde(default)]
    named: Option<IpAddr>,
    /// What was told of exporters that a relay named.
    #[serde(default)]
    of_named: Vec<StoredNamed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredNamed {
    exporter: IpAddr,
    boot: Option<Nanos>,
    rates: Vec<(sampling::Scope, u32)>,
}

/// The shape that this version writes.
const VERSION: u32 = 1;

/// Why stored state cannot be read.
#[derive(Debug)]
pub enum StoreError {
    /// It is no JSON, or not of this shape.
    Json(serde_json::Error),
    /// Another version of the sensor wrote it.
    Version(u32),
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Json(error) => write!(out, "stored templates are damaged: {error}"),
            StoreError::Version(version) => {
                write!(out, "stored templates have version {version}, this program reads {VERSION}")
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl Stored {
    /// Reads what [`Stored::to_json`] wrote.
    pub fn from_json(text: &[u8]) -> Result<Stored, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(text).map_err(StoreError::Json)?;
        if version != VERSION {
            return Err(StoreError::Version(version));
        }
        serde_json::from_slice(text).map_err(StoreError::Json)
    }

    /// Its JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        // Numbers, addresses and lists always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Templates in it.
    pub fn templates(&self) -> usize {
        self.templates.len()
    }
}

/// Everything of a cache but what belongs to connections, which a restart ends.
pub(super) fn store(cache: &Cache) -> Stored {
    let mut stored = Stored { version: VERSION, templates: Vec::new(), domains: Vec::new() };
    cache.each_template(|scope, id, template, announced| {
        if scope.exporter.session == 0 {
            let fields = template.specs().map(|spec| (spec.enterprise, spec.id, spec.length, spec.scope));
            let Traits { netflow9, options } = template.traits();
            stored.templates.push(StoredTemplate {
                exporter: scope.exporter.address,
                protocol: scope.exporter.version,
                session: scope.session,
                domain: scope.domain,
                id,
                options,
                netflow9,
                announced,
                fields: fields.collect(),
            });
        }
    });
    // The order in which they were announced, so that with less room the latest are kept.
    stored.templates.sort_by_key(|template| template.announced);
    cache.each_domain(|scope, domain, started| {
        if scope.exporter.session == 0 && domain.is_told() {
            let of_named = domain.each_named().map(|(exporter, told)| StoredNamed {
                exporter,
                boot: told.boot.map(|boot| boot.at),
                rates: rates(told),
            });
            stored.domains.push(StoredDomain {
                exporter: scope.exporter.address,
                protocol: scope.exporter.version,
                domain: scope.domain,
                boot: domain.own.boot.map(|boot| boot.at),
                told: domain.told,
                rates: rates(&domain.own),
                started,
                named: domain.exporter,
                of_named: of_named.collect(),
            });
        }
    });
    stored
}

fn rates(told: &Told) -> Vec<(sampling::Scope, u32)> {
    told.sampling.rates().map(|(of, rate)| (of, rate.value)).collect()
}

fn put(told: &mut Told, boot: Option<Nanos>, rates: &[(sampling::Scope, u32)]) {
    told.boot = boot.map(|at| Boot { at, restored: true });
    rates.iter().for_each(|(of, value)| told.sampling.learn(*of, Rate { value: *value, restored: true }));
}

/// Takes up stored state; gives the number of templates that were still of use.
pub(super) fn restore(
    cache: &mut Cache,
    stored: &Stored,
    now: Nanos,
    known: impl Fn(IpAddr) -> bool,
) -> usize {
    let key = |address: IpAddr, version| ExporterKey { address, version, session: 0, known: known(address) };
    let mut restored = 0;
    for one in &stored.templates {
        let exporter = key(one.exporter, one.protocol);
        let scope = Scope { exporter, session: one.session, domain: one.domain };
        let spec = |&(enterprise, id, length, scope)| Spec { enterprise, id, length, scope };
        let specs: Vec<Spec> = one.fields.iter().map(spec).collect();
        let traits = Traits { netflow9: one.netflow9, options: one.options };
        // A clock that was set back must not make a template immortal.
        let announced = one.announced.min(now);
        restored += usize::from(cache.learn(scope, one.id, &specs, traits, announced, true));
    }
    let before = cache.counts().expired;
    cache.expire(now);
    let expired = usize::try_from(cache.counts().expired - before).unwrap_or(usize::MAX);
    for one in &stored.domains {
        let exporter = key(one.exporter, one.protocol);
        let scope = Scope { exporter, session: 0, domain: one.domain };
        let told = one.told.min(now);
        if cache.has_expired(told, now) {
            continue;
        }
        let Some(domain) = cache.domain(scope) else { continue };
        let before = domain.bytes();
        (domain.told, domain.started, domain.exporter) = (told, one.started, one.named);
        put(&mut domain.own, one.boot, &one.rates);
        for named in &one.of_named {
            put(domain.about(Some(named.exporter)), named.boot, &named.rates);
        }
        let bytes = (before, domain.bytes());
        cache.charge_sampling(exporter, bytes, 0);
    }
    restored.saturating_sub(expired)
}
