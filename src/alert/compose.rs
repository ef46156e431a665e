//! Makes one alert of one hit: decodes the evidence, resolves who lists the value, tells the event.
//!
//! [`Composer`] holds what does not change from hit to hit. [`Resolved`] is what the rule sets say,
//! owned, so that an alert outlives the rule set; [`Facts`] is what the evidence says about whom
//! the match touches.

use super::mask::{self, Reading};
use super::throttle::{Tally, cut};
use super::{
    Alert, Contribution, Directory, Evidence, Hit, Indicator, Inform, MAX_CLIENTS, Organization, Scope, ecs,
};
use crate::decode::{self, FieldId, Fields, Value as Decoded, charset};
use crate::detect::indicator::{Kind, Throttle};
use crate::detect::{Match, RuleSet, Side};
use crate::input::Nanos;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Constituents that one message can touch: a line listing every network of the country is
/// evidence for the first of them, not an alert for each.
const MAX_TOUCHED: usize = 8;
/// Bytes of the matched text repeated in the alert; a URL may be as long as its message.
const MAX_ATOMIC: usize = 2048;
/// Bytes of a domain name (RFC 1035).
const MAX_NAME: usize = 253;
/// A host name shorter than this occurs in too much other text to be blanked there.
const MIN_MASKED_NAME: usize = 3;

/// This sensor, as its alerts name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// `agent.name`
    pub name: String,
    /// `agent.version`
    pub version: String,
}

/// Makes alerts of hits, without folding anything.
#[derive(Clone, Debug)]
pub struct Composer {
    agent: Agent,
    directory: Arc<Directory>,
    fields: Fields,
}

/// What the rule sets say about a match.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub value: String,
    pub digest: String,
    pub contributors: Vec<Contribution>,
    pub informs: Vec<Inform>,
    pub throttle: Throttle,
}

/// What the evidence says about whom a match touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Constituents, the sender's own first.
    pub touched: Vec<u16>,
    /// What a throttle by source tells apart.
    pub source: String,
    /// Who a person would call the client.
    pub client: String,
    /// The address that matched, if it was one.
    observed: Option<IpAddr>,
}

impl Resolved {
    /// Copies what the contributors say; none when nobody is left whose word may be sent.
    pub fn of(rules: &RuleSet, matched: &Match, now: Nanos) -> Option<Resolved> {
        let mut contributors: Vec<Contribution> = Vec::new();
        for entry in &matched.contributors {
            let one = rules.contributor(*entry);
            // `status: test` is counted and logged by the worker, never sent.
            let producer = one.meta.producer.as_ref().or(one.set.producer.as_ref());
            let known =
                |known: &Contribution| known.set == one.set.name && known.producer.as_ref() == producer;
            if one.meta.test || contributors.iter().any(known) {
                continue;
            }
            contributors.push(Contribution {
                set: one.set.name.clone(),
                id: one.id.map(str::to_owned),
                producer: producer.cloned(),
                feed: one.set.feed.clone(),
                reference: one.meta.reference.clone().or_else(|| one.set.reference.clone()),
                tlp: one.meta.tlp,
                severity: one.meta.severity,
                confidence: one.meta.confidence,
                valid_from: one.meta.valid_from,
                valid_until: one.meta.valid_until,
                rsit: one.meta.rsit.clone(),
                attack: one.meta.attack.clone(),
                description: one.meta.description.clone(),
                expired: matched.expired && one.meta.valid_until.is_some_and(|until| until <= now),
            });
        }
        // Expired at an instant that is not known here: then whoever has an end may be meant.
        if matched.expired && !contributors.iter().any(|one| one.expired) {
            contributors.iter_mut().for_each(|one| one.expired = one.valid_until.is_some());
        }
        contributors.sort_by(|one, other| other.severity.cmp(&one.severity).then(one.set.cmp(&other.set)));
        let informs = matched.informs.iter().map(|entry| {
            let one = rules.contributor(*entry);
            Inform { set: one.set.name.clone(), reason: one.meta.reason.clone(), tlp: one.meta.tlp }
        });
        (!contributors.is_empty()).then(|| Resolved {
            value: rules.value(matched.value),
            digest: rules.digest().to_owned(),
            informs: informs.collect(),
            throttle: super::throttle(rules, matched),
            contributors,
        })
    }
}

impl Composer {
    /// A composer for this sensor.
    pub fn new(agent: Agent, directory: Arc<Directory>) -> Composer {
        Composer { agent, directory, fields: Fields::default() }
    }

    /// Makes one alert of one hit, for whoever reads files: nothing is folded and, since the
    /// reader has the file, nothing is masked. None for a match that raises no alert.
    pub fn compose(&mut self, hit: &Hit, now: Nanos) -> Option<Alert> {
        if hit.matched.suppressed.is_some() {
            return None;
        }
        let resolved = Resolved::of(&hit.rules, &hit.matched, now)?;
        Some(self.whole(hit, &resolved))
    }

    pub(super) fn whole(&mut self, hit: &Hit, resolved: &Resolved) -> Alert {
        let facts = self.read(hit, resolved);
        self.alert(hit, resolved, &facts, facts.touched.first().copied())
    }

    /// The number of the source that a hit comes from. Where a relay names the exporter, that one's; the
    /// relay's own stands for exporters of which the configuration says nothing.
    pub(super) fn source(&self, hit: &Hit) -> Option<u16> {
        let (sender, directory) = (hit.sender(), &self.directory);
        let Some(relay) = hit.relay() else {
            return directory.source_of(sender, hit.identity.as_deref());
        };
        let named = directory.source_of(sender, None);
        if named.is_some() || sender.is_some_and(|sender| directory.network_of(sender).is_some()) {
            return named;
        }
        directory.source_of(Some(relay), hit.identity.as_deref())
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn set_directory(&mut self, directory: Arc<Directory>) {
        self.directory = directory;
    }

    /// Decodes the evidence and says whom the match touches.
    pub(super) fn read(&mut self, hit: &Hit, resolved: &Resolved) -> Facts {
        let source = self.source(hit);
        if let Evidence::Syslog { bytes } = &hit.evidence {
            self.fields.clear();
            let reference = self.directory.reference(hit.input, source, hit.received);
            // Undecodable messages are matched raw; whatever was read before the error stays.
            let _ = decode::syslog::decode(bytes, &reference, &mut self.fields);
        }
        facts(&self.directory, &self.evidence(hit), hit, resolved, source)
    }

    /// An alert for each touched constituent, or one for nobody; [`Composer::read`] came before.
    pub(super) fn alerts(&self, hit: &Hit, resolved: &Resolved, facts: &Facts) -> Vec<Alert> {
        let Some(first) = facts.touched.first() else {
            return vec![self.alert(hit, resolved, facts, None)];
        };
        if facts.touched.len() == 1 {
            return vec![self.alert(hit, resolved, facts, Some(*first))];
        }
        let each = facts.touched.iter().map(|index| {
            let mut alert = self.alert(hit, resolved, facts, Some(*index));
            self.mask(&mut alert, hit, facts, *index);
            alert
        });
        each.collect()
    }

    /// Alerts that tell what a tally counted.
    pub(super) fn tally(&self, tally: &Tally, now: Nanos) -> Vec<Alert> {
        let touched: Vec<Option<u16>> = match tally.key.touched.as_slice() {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        };
        let several = touched.len() > 1;
        let mut hasher = Sha256::new();
        for part in [&self.agent.name, &*tally.key.set, tally.key.severity.name(), tally.key.tlp.name()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        for number in [tally.series.first, tally.series.last, now, i64::from(tally.key.exercise)] {
            hasher.update(number.to_le_bytes());
        }
        tally.key.touched.iter().for_each(|index| hasher.update(index.to_le_bytes()));
        let id = hex(&hasher.finalize(), 16);
        let one = |index: Option<u16>| {
            let mut event = Map::new();
            ecs::put(&mut event, "@timestamp", json!(ecs::stamp(tally.series.last)));
            ecs::put(&mut event, "event.created", json!(ecs::stamp(now)));
            self.put_agent(&mut event);
            Alert {
                event,
                id: id.clone(),
                hash: None,
                scope: Scope::Set,
                indicator: None,
                contributors: vec![Contribution {
                    set: tally.key.set.to_string(),
                    id: None,
                    producer: tally.info.producer.clone(),
                    feed: tally.info.feed.clone(),
                    reference: tally.info.reference.clone(),
                    tlp: tally.key.tlp,
                    severity: tally.key.severity,
                    confidence: None,
                    valid_from: None,
                    valid_until: None,
                    rsit: None,
                    attack: Vec::new(),
                    description: None,
                    expired: false,
                }],
                informs: Vec::new(),
                organization: index.and_then(|index| self.organization(index)),
                count: tally.series.count,
                first_seen: tally.series.first,
                last_seen: tally.series.last,
                clients: match index {
                    Some(index) if several => self.visible(&tally.series.clients, index),
                    _ => tally.series.clients.clone(),
                },
                exercise: tally.key.exercise,
                masked: several,
                ruleset_digest: tally.info.digest.clone(),
            }
        };
        touched.into_iter().map(one).collect()
    }

    /// The clients that a constituent may learn of when another is touched too.
    pub(super) fn visible(&self, clients: &[String], index: u16) -> Vec<String> {
        let hidden = |address: IpAddr| self.belongs_to_another(address, index);
        let visible = |client: &&String| mask::mask_text(client, &hidden, &[]) == **client;
        clients.iter().filter(visible).cloned().collect()
    }

    pub(super) fn index_of(&self, organization: &Organization) -> Option<u16> {
        (0u16..)
            .map_while(|index| Some((index, self.directory.by_index(index)?)))
            .find_map(|(index, one)| (one.name == organization.name).then_some(index))
    }

    fn alert(&self, hit: &Hit, resolved: &Resolved, facts: &Facts, touched: Option<u16>) -> Alert {
        let evidence = self.evidence(hit);
        Alert {
            event: self.alert_event(hit, &evidence),
            id: id(hit, evidence.bytes, resolved),
            hash: Some(hex(&Sha256::digest(evidence.bytes), 32)),
            scope: Scope::Match,
            indicator: Some(indicator(hit, evidence.bytes, resolved, facts)),
            contributors: resolved.contributors.clone(),
            informs: resolved.informs.clone(),
            organization: touched.and_then(|index| self.organization(index)),
            count: hit.count,
            first_seen: hit.received,
            last_seen: hit.last.max(hit.received),
            clients: Some(facts.client.clone()).filter(|client| !client.is_empty()).into_iter().collect(),
            exercise: self.directory.exercise(hit.input),
            masked: false,
            ruleset_digest: resolved.digest.clone(),
        }
    }

    /// Takes out of an alert what belongs to constituents other than `index`.
    fn mask(&self, alert: &mut Alert, hit: &Hit, facts: &Facts, index: u16) {
        let hidden = |address: IpAddr| {
            // What matched is the producer's to share, and its marking rules that.
            Some(address.to_canonical()) != facts.observed && self.belongs_to_another(address, index)
        };
        let mut names = Vec::new();
        if self.comes_from_another(hit, index) {
            // The names in its client certificate.
            alert.event.remove("tls");
            for path in ["host.name", "log.syslog.hostname", "observer.name", "observer.hostname"] {
                let name = ecs::find(&alert.event, path).and_then(Value::as_str);
                names.extend(name.filter(|name| name.len() >= MIN_MASKED_NAME).map(str::to_owned));
            }
        }
        if matches!(hit.evidence, Evidence::Flow { .. }) {
            // A binary record cannot be masked in part.
            for (object, key) in [("event", "original"), ("roje", "original_base64")] {
                if let Some(Value::Object(inner)) = alert.event.get_mut(object) {
                    inner.remove(key);
                }
            }
        }
        mask::mask(&mut alert.event, &hidden, &names);
        ecs::strip(&mut alert.event);
        // A digest of the original would let the few possible addresses be tried out.
        alert.hash = None;
        alert.masked = true;
        if let Some(indicator) = &mut alert.indicator {
            indicator.offset = None;
        }
        alert.clients = self.visible(&alert.clients, index);
    }

    fn belongs_to_another(&self, address: IpAddr, index: u16) -> bool {
        let other = |owner: Option<u16>| owner.is_some_and(|owner| owner != index);
        let network = self.directory.network_of(address);
        let source = self.directory.source_of(Some(address), None);
        other(network)
            || (network.is_none() && other(source.and_then(|source| self.directory.owner_of(source))))
    }

    /// Whether the sender of a hit is another constituent's, or the exporter that a relay names.
    fn comes_from_another(&self, hit: &Hit, index: u16) -> bool {
        let peer = hit.peer.map(|peer| peer.ip().to_canonical());
        let another =
            |address: Option<IpAddr>| address.is_some_and(|address| self.belongs_to_another(address, index));
        let identity = hit.identity.as_deref();
        let certified = identity.and_then(|identity| self.directory.source_of(peer, Some(identity)));
        match certified.and_then(|source| self.directory.owner_of(source)) {
            Some(owner) => owner != index || (hit.relay().is_some() && another(hit.sender())),
            None => another(peer) || another(hit.sender()),
        }
    }

    fn organization(&self, index: u16) -> Option<Organization> {
        let one = self.directory.by_index(index)?;
        Some(Organization { name: one.name.clone(), sector: one.sector, contact: one.contact.clone() })
    }

    fn evidence<'a>(&'a self, hit: &'a Hit) -> Decoding<'a> {
        match &hit.evidence {
            Evidence::Syslog { bytes } => Decoding { fields: &self.fields, bytes },
            Evidence::Flow { fields, bytes, .. } => Decoding { fields, bytes },
        }
    }

    /// The event of an alert, without what the alert tells itself.
    fn alert_event(&self, hit: &Hit, evidence: &Decoding<'_>) -> Map<String, Value> {
        let mut event = self.event(evidence.fields, evidence.bytes, hit.received, hit.peer);
        if matches!(hit.evidence, Evidence::Syslog { .. }) && !event.contains_key("message") {
            event.insert("message".to_owned(), charset::text(evidence.bytes).into());
        }
        if let Some(identity) = &hit.identity {
            ecs::put(&mut event, "tls.client.x509.alternative_names", json!(identity.names()));
        }
        ecs::strip(&mut event);
        event
    }

    /// One decoded message or record with its envelope, as `decode` prints it and alerts carry it.
    pub fn event(
        &self,
        fields: &Fields,
        bytes: &[u8],
        received: Nanos,
        peer: Option<SocketAddr>,
    ) -> Map<String, Value> {
        let mut decoded = Map::new();
        decode::ecs::to_json(fields, bytes, &mut decoded);
        let stamp = decoded.remove("@timestamp").unwrap_or_else(|| json!(ecs::stamp(received)));
        // First, for whoever reads the lines.
        let mut event = Map::new();
        event.insert("@timestamp".to_owned(), stamp);
        event.extend(decoded);
        ecs::put(&mut event, "event.created", json!(ecs::stamp(received)));
        decode::ecs::original(bytes, &mut event);
        if ecs::find(&event, "observer").is_none()
            && let Some(name) = ecs::find(&event, "host.name").cloned()
        {
            ecs::put(&mut event, "observer.hostname", name);
        }
        if let Some(peer) = peer {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            ecs::put(&mut event, "log.source.address", json!(peer.to_string()));
        }
        self.put_agent(&mut event);
        event
    }

    fn put_agent(&self, event: &mut Map<String, Value>) {
        ecs::put(event, "agent.name", json!(self.agent.name));
        ecs::put(event, "agent.type", json!("roje"));
        ecs::put(event, "agent.version", json!(self.agent.version));
        ecs::put(event, "ecs.version", json!(decode::ecs::ecs_version()));
    }
}

/// Decoded values and the bytes they are spans of.
struct Decoding<'a> {
    fields: &'a Fields,
    bytes: &'a [u8],
}

impl Decoding<'_> {
    fn addresses(&self, id: FieldId) -> impl Iterator<Item = IpAddr> {
        let of = self.fields.entries().iter().filter(move |(other, _)| *other == id);
        of.filter_map(|(_, value)| match value {
            Decoded::Ip(address) => Some(address.to_canonical()),
            other => {
                let text = std::str::from_utf8(self.fields.bytes(self.bytes, *other)).ok()?;
                Some(text.trim().parse::<IpAddr>().ok()?.to_canonical())
            }
        })
    }

    fn text(&self, id: FieldId) -> Option<String> {
        let text = charset::text(self.fields.bytes(self.bytes, self.fields.find(id)?));
        (!text.is_empty()).then(|| text.into_owned())
    }
}

/// Fields that hold an endpoint, in the order in which one is taken for the internal one.
const ENDPOINTS: [FieldId; 5] = [
    FieldId::SourceIp,
    FieldId::DestinationIp,
    FieldId::SourceNatIp,
    FieldId::DestinationNatIp,
    FieldId::HostIp,
];

fn facts(
    directory: &Directory,
    evidence: &Decoding<'_>,
    hit: &Hit,
    resolved: &Resolved,
    source: Option<u16>,
) -> Facts {
    let sender = hit.sender();
    let observed = observed(hit, evidence.bytes, resolved);
    let mut decoded: Vec<IpAddr> = ENDPOINTS.iter().flat_map(|id| evidence.addresses(*id)).collect();
    if let Evidence::Flow { flow, .. } = &hit.evidence {
        // Whoever has an end of a tunnel is concerned as well.
        decoded.extend(flow.addresses().map(|address| address.to_canonical()));
    }
    let mut touched: Vec<u16> = Vec::new();
    let mut touch = |index: Option<u16>| {
        if let Some(index) = index
            && touched.len() < MAX_TOUCHED
            && !touched.contains(&index)
        {
            touched.push(index);
        }
    };
    touch(source.and_then(|source| directory.owner_of(source)));
    decoded.iter().for_each(|address| touch(directory.network_of(*address)));
    // Text that no decoder takes apart has addresses too.
    let mut mentioned = None;
    if directory.has_constituents() && matches!(hit.evidence, Evidence::Syslog { .. }) {
        mask::addresses(evidence.bytes, Reading::Strict, &mut |_, address| {
            let address = address.to_canonical();
            let index = directory.network_of(address);
            touch(index);
            if index.is_some() && Some(address) != observed {
                mentioned.get_or_insert(address);
            }
        });
    }
    touch(sender.and_then(|sender| directory.network_of(sender)));
    let internal = decoded
        .iter()
        .find(|address| Some(**address) != observed && directory.network_of(**address).is_some())
        .copied();
    let source_ip = evidence.addresses(FieldId::SourceIp).next().or(match &hit.evidence {
        Evidence::Flow { flow, .. } => flow.source.map(|address| address.to_canonical()),
        Evidence::Syslog { .. } => None,
    });
    let source = internal
        .or(source_ip)
        .map(|address| address.to_string())
        .or_else(|| evidence.text(FieldId::HostName))
        .or_else(|| sender.map(|sender| sender.to_string()))
        .unwrap_or_default();
    let opposite = decoded.iter().find(|address| Some(**address) != observed).copied();
    let client = internal.or(mentioned).or(if observed.is_some() { opposite } else { source_ip });
    let client = client.map_or_else(|| source.clone(), |address| address.to_string());
    Facts { touched, source: cut(&source).to_owned(), client: cut(&client).to_owned(), observed }
}

/// The address that matched: inside a prefix, the one that was met.
fn observed(hit: &Hit, bytes: &[u8], resolved: &Resolved) -> Option<IpAddr> {
    if hit.matched.kind != Kind::Ip {
        return None;
    }
    let listed = resolved
        .value
        .parse::<IpNet>()
        .or_else(|_| resolved.value.parse::<IpAddr>().map(IpNet::from))
        .ok()?;
    if let Evidence::Flow { flow, .. } = &hit.evidence {
        let source = [flow.source, flow.translated_source, flow.tunnel_source];
        let destination = [flow.destination, flow.translated_destination, flow.tunnel_destination];
        let ends = match hit.matched.side {
            Side::Destination => [destination, source],
            Side::Source | Side::Unknown => [source, destination],
        };
        let mut ends = ends.into_iter().flatten().flatten().map(|address| address.to_canonical());
        return ends.find(|address| listed.contains(address));
    }
    let mut found = None;
    mask::addresses(spanned(hit, bytes), Reading::Loose, &mut |_, address| {
        let address = address.to_canonical();
        if listed.contains(&address) {
            found.get_or_insert(address);
        }
    });
    found.or_else(|| (listed.prefix_len() == listed.max_prefix_len()).then(|| listed.addr()))
}

fn spanned<'a>(hit: &Hit, bytes: &'a [u8]) -> &'a [u8] {
    let span = hit.matched.span;
    bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
}

fn indicator(hit: &Hit, bytes: &[u8], resolved: &Resolved, facts: &Facts) -> Indicator {
    let start = match (hit.matched.kind, &hit.evidence) {
        (Kind::Domain, Evidence::Syslog { .. }) => name_start(bytes, hit.matched.span.start as usize),
        _ => hit.matched.span.start as usize,
    };
    let text = bytes.get(start..hit.matched.span.end as usize).unwrap_or_default();
    let atomic = match (&hit.evidence, facts.observed) {
        (Evidence::Flow { .. }, Some(address)) => address.to_string(),
        _ if text.is_empty() => resolved.value.clone(),
        _ => {
            let text = charset::text(text.get(..MAX_ATOMIC).unwrap_or(text));
            text.trim_end_matches('\u{fffd}').to_owned()
        }
    };
    Indicator {
        kind: hit.matched.kind,
        value: resolved.value.clone(),
        atomic,
        field: match hit.matched.field {
            "" => "event.original".to_owned(),
            field => field.to_owned(),
        },
        side: hit.matched.side,
        offset: u32::try_from(start).ok().filter(|_| !text.is_empty()),
    }
}

/// Where the name begins that ends in a listed domain: the analyst wants all of it.
fn name_start(bytes: &[u8], domain: usize) -> usize {
    let mut start = domain.min(bytes.len());
    while domain - start.min(domain) < MAX_NAME {
        let before = bytes.get(..start).unwrap_or_default();
        match before {
            [.., b'[', b'.', b']'] => start -= 3,
            [.., byte] if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | 0x80..) => {
                start -= 1;
            }
            _ => break,
        }
    }
    let dots = bytes.get(start..domain).unwrap_or_default().iter().take_while(|byte| **byte == b'.');
    start + dots.count()
}

/// `event.id`: the same on every redelivery, different for equal messages.
fn id(hit: &Hit, bytes: &[u8], resolved: &Resolved) -> String {
    let mut hasher = Sha256::new();
    for part in [bytes, hit.matched.kind.name().as_bytes(), resolved.value.as_bytes()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(hit.received.to_le_bytes());
    hasher.update(hit.worker.to_le_bytes());
    hasher.update(hit.sequence.to_le_bytes());
    hex(&hasher.finalize(), 16)
}

/// The first `bytes` of a digest, hexadecimal.
pub(super) fn hex(digest: &[u8], bytes: usize) -> String {
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// What a summary shows: its clients, at most [`MAX_CLIENTS`].
pub(super) fn repeat(mut alert: Alert, series: &super::throttle::Series, clients: Vec<String>) -> Alert {
    alert.scope = Scope::Repeats;
    alert.count = series.count;
    alert.first_seen = series.first;
    alert.last_seen = series.last;
    alert.clients = clients;
    alert.clients.truncate(MAX_CLIENTS);
    alert
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::alert::Encoding;
    use crate::alert::directory::tests::directory;
    use crate::decode::flow::Flow;
    use crate::detect::ValueId;
    use crate::detect::indicator::{Severity, Tlp};

    pub const NOON: Nanos = 1_787_220_000_000_000_000;

    pub fn composer() -> Composer {
        let agent = Agent { name: "tirana-dc1".into(), version: "0.1.0".into() };
        Composer::new(agent, Arc::new(directory()))
    }

    pub fn contribution(set: &str) -> Contribution {
        Contribution {
            set: set.into(),
            id: Some("c2-1".into()),
            producer: Some("NSOC".into()),
            feed: Some("c2".into()),
            reference: Some("https://nsoc.example/c2".into()),
            tlp: Tlp::AmberStrict,
            severity: Severity::High,
            confidence: Some(75),
            valid_from: Some(NOON - 5),
            valid_until: Some(NOON + 7),
            rsit: Some("malicious-code/c2-server".into()),
            attack: vec!["T1071.004".into()],
            description: Some("weekly list".into()),
            expired: false,
        }
    }

    pub fn resolved(value: &str) -> Resolved {
        Resolved {
            value: value.into(),
            digest: "d1".into(),
            contributors: vec![contribution("c2")],
            informs: vec![],
            throttle: Throttle::Window { by_source: true, seconds: 3600 },
        }
    }

    /// A flow of which the destination matched.
    pub fn flow_hit(source: &str, destination: &str, sender: &str) -> Hit {
        let (source, destination): (IpAddr, IpAddr) = (source.parse().unwrap(), destination.parse().unwrap());
        let sender: IpAddr = sender.parse().unwrap();
        let mut fields = Fields::default();
        for (id, value) in [
            (FieldId::SourceIp, Decoded::Ip(source)),
            (FieldId::SourcePort, Decoded::Unsigned(50123)),
            (FieldId::DestinationIp, Decoded::Ip(destination)),
            (FieldId::DestinationPort, Decoded::Unsigned(443)),
            (FieldId::NetworkTransport, Decoded::Static("tcp")),
            (FieldId::ObserverIp, Decoded::Ip(sender)),
            (FieldId::FlowVersion, Decoded::Unsigned(10)),
        ] {
            fields.push(id, value);
        }
        Hit {
            rules: Arc::new(RuleSet::default()),
            matched: Match {
                value: ValueId(0),
                kind: Kind::Ip,
                span: decode::Span::default(),
                side: Side::Destination,
                field: "destination.ip",
                contributors: vec![],
                informs: vec![],
                expired: false,
                suppressed: None,
            },
            evidence: Evidence::Flow {
                flow: Flow { source: Some(source), destination: Some(destination), ..Flow::default() },
                fields: Arc::new(fields),
                bytes: b"\x00\x01\xff\xfe record"[..].into(),
            },
            input: 0,
            peer: Some(SocketAddr::new(sender, 4739)),
            identity: None,
            received: NOON,
            last: NOON,
            count: 1,
            worker: 0,
            sequence: 1,
        }
    }

    /// The alert of a flow from a host of the distribution operator.
    pub fn sample() -> Alert {
        let hit = flow_hit("192.0.2.5", "198.51.100.7", "10.1.2.3");
        composer().whole(&hit, &resolved("198.51.100.0/24"))
    }

    #[test]
    fn an_alert_round_trips() {
        let mut alert = sample();
        assert_eq!(Alert::from_line(&alert.to_line()).unwrap(), alert);
        alert.informs = vec![Inform { set: "known".into(), reason: None, tlp: Tlp::Green }];
        alert.contributors.push(Contribution { id: None, confidence: None, ..contribution("other") });
        alert.contributors[0].expired = true;
        alert.organization = None;
        alert.scope = Scope::Repeats;
        alert.exercise = true;
        alert.first_seen = -1;
        assert_eq!(Alert::from_line(&alert.to_line()).unwrap(), alert);
        for kind in Kind::ALL {
            let indicator = alert.indicator.as_mut().unwrap();
            indicator.kind = kind;
            indicator.offset = Some(7);
            assert_eq!(Alert::from_line(&alert.to_line()).unwrap(), alert, "{}", kind.name());
        }
    }

    #[test]
    fn what_is_relayed_concerns_the_exporter_that_is_named() {
        let mut composer = composer();
        for (name, relay, exporter, expected) in [
            ("its own source", "10.9.0.1", "10.1.2.3", vec!["Distribution operator"]),
            ("its own source without constituent", "10.1.2.3", "10.9.0.1", vec![]),
            ("its network", "10.1.2.3", "203.0.113.9", vec!["Central bank"]),
            ("nothing: the relay's", "10.1.2.3", "10.66.0.9", vec!["Distribution operator"]),
            ("the sender itself", "10.1.2.3", "10.1.2.3", vec!["Distribution operator"]),
            ("mapped", "::ffff:10.1.2.3", "::ffff:10.1.2.3", vec!["Distribution operator"]),
        ] {
            let mut hit = flow_hit("10.66.0.1", "198.51.100.7", relay);
            if let Evidence::Flow { flow, .. } = &mut hit.evidence {
                flow.exporter = exporter.parse().unwrap();
            }
            assert_eq!(hit.relay().is_some(), relay != exporter, "{name}");
            let facts = composer.read(&hit, &resolved("198.51.100.7"));
            let touched = facts.touched.iter().filter_map(|index| composer.directory.by_index(*index));
            assert_eq!(touched.map(|one| one.name.as_str()).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_alert_is_refused() {
        for (name, line) in [
            ("no JSON", "x"),
            ("no schema", "{}"),
            ("other schema", r#"{"roje":{"schema":2}}"#),
            ("no id", r#"{"roje":{"schema":1}}"#),
        ] {
            assert!(Alert::from_line(line.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_contact_that_was_refused_is_one_level_less_severe() {
        let mut alert = sample();
        assert_eq!(alert.severity(), Severity::High);
        // Only the word of an exporter counts.
        alert.event["event"]["type"] = json!(["connection", "denied"]);
        let flow = alert.event.remove("flow").unwrap();
        assert_eq!(alert.severity(), Severity::High);
        alert.event.insert("flow".into(), flow);
        assert_eq!(alert.severity(), Severity::Medium);
        assert_eq!(alert.to_json()["event"]["severity"], 47);
        assert!(alert.reason().contains("was denied contact with"), "{}", alert.reason());
        let again = Alert::from_line(&alert.clone().into_line()).unwrap();
        assert_eq!(again.severity(), Severity::Medium);
    }

    #[test]
    fn an_alert_has_every_field_of_the_interface() {
        let mut alert = sample();
        alert.contributors[0].confidence = Some(29);
        let json = Value::Object(alert.to_json());
        let enrichment = "/threat/enrichments/0";
        for (path, expected) in [
            ("/@timestamp", json!("2026-08-20T10:00:00.000Z")),
            ("/event/kind", json!("alert")),
            ("/event/severity", json!(73)),
            ("/event/created", json!("2026-08-20T10:00:00.000Z")),
            ("/rule/id", json!("c2-1")),
            ("/rule/name", json!("c2: ip 198.51.100.0/24")),
            ("/rule/ruleset", json!("c2")),
            ("/rule/category", json!("malicious-code/c2-server")),
            ("/rule/reference", json!("https://nsoc.example/c2")),
            ("/rule/author", json!(["NSOC"])),
            (&format!("{enrichment}/indicator/type"), json!("ipv4-addr")),
            (&format!("{enrichment}/indicator/ip"), json!("198.51.100.7")),
            (&format!("{enrichment}/indicator/name"), json!("198.51.100.0/24")),
            (&format!("{enrichment}/indicator/marking/tlp"), json!("AMBER+STRICT")),
            (&format!("{enrichment}/indicator/confidence"), json!("Low")),
            (&format!("{enrichment}/indicator/provider"), json!("NSOC")),
            (&format!("{enrichment}/indicator/description"), json!("weekly list")),
            (&format!("{enrichment}/matched/atomic"), json!("198.51.100.7")),
            (&format!("{enrichment}/matched/field"), json!("destination.ip")),
            (&format!("{enrichment}/matched/type"), json!("indicator_match_rule")),
            ("/threat/technique/id", json!(["T1071.004"])),
            ("/related/ip", json!(["10.1.2.3", "192.0.2.5", "198.51.100.7"])),
            ("/organization/name", json!("Distribution operator")),
            ("/roje/tlp", json!("AMBER+STRICT")),
            ("/roje/sector", json!("energy")),
            ("/roje/contact", json!("soc@operator.example")),
            ("/roje/count", json!(1)),
            ("/roje/first_seen", json!("2026-08-20T10:00:00.000Z")),
            ("/roje/last_seen", json!("2026-08-20T10:00:00.000Z")),
            ("/roje/clients", json!(["192.0.2.5"])),
            ("/roje/confidence", json!(29)),
            ("/roje/expired", json!(false)),
            ("/roje/exercise", json!(false)),
            ("/roje/ruleset_digest", json!("d1")),
            ("/agent/name", json!("tirana-dc1")),
            ("/agent/type", json!("roje")),
            ("/observer/ip", json!("10.1.2.3")),
            ("/log/source/address", json!("10.1.2.3:4739")),
        ] {
            assert_eq!(json.pointer(path), Some(&expected), "{path}");
        }
        assert_eq!(json["event"]["id"].as_str().unwrap().len(), 32);
        assert_eq!(json["event"]["hash"].as_str().unwrap().len(), 64);
        assert!(json["ecs"]["version"].is_string());
        assert!(json["roje"]["original_base64"].is_string());
    }

    #[test]
    fn indicator_objects_follow_their_kind() {
        let mut alert = sample();
        for (kind, value, kind_name, path) in [
            (Kind::Ip, "2001:db8::/32", "ipv6-addr", "ip"),
            (Kind::Domain, "evil.example", "domain-name", "url/domain"),
            (Kind::Url, "http://evil.example/a", "url", "url/full"),
            (Kind::Email, "x@evil.example", "email-addr", "email/address"),
            (Kind::Md5, "aa", "file", "file/hash/md5"),
            (Kind::Sha512, "bb", "file", "file/hash/sha512"),
            (Kind::Text, "x.exe", "artifact", "name"),
        ] {
            let indicator = alert.indicator.as_mut().unwrap();
            (indicator.kind, indicator.value) = (kind, value.to_owned());
            indicator.atomic = if kind == Kind::Ip { "2001:db8::9".into() } else { value.to_owned() };
            let json = Value::Object(alert.to_json());
            let indicator = &json["threat"]["enrichments"][0]["indicator"];
            assert_eq!(indicator["type"], kind_name);
            let expected = if kind == Kind::Ip { "2001:db8::9" } else { value };
            assert_eq!(indicator.pointer(&format!("/{path}")), Some(&json!(expected)), "{kind_name}");
        }
    }

    #[test]
    fn identity_separates_equal_messages_only() {
        let id = |change: &dyn Fn(&mut Hit)| {
            let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.1.2.3");
            change(&mut hit);
            composer().whole(&hit, &resolved("198.51.100.7")).id
        };
        let same = id(&|_| {});
        assert_eq!(same, id(&|hit| hit.count = 9));
        for (name, change) in [
            ("time", &(|hit: &mut Hit| hit.received += 1) as &dyn Fn(&mut Hit)),
            ("worker", &|hit| hit.worker += 1),
            ("sequence", &|hit| hit.sequence += 1),
        ] {
            assert_ne!(same, id(change), "{name}");
        }
    }

    #[test]
    fn an_event_cannot_bring_fields_of_the_alert() {
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.1.2.3");
        if let Evidence::Flow { fields, .. } = &mut hit.evidence {
            let fields = Arc::make_mut(fields);
            fields.push(FieldId::RuleName, Decoded::Static("forged"));
            fields.push(FieldId::EventSeverity, Decoded::Unsigned(1));
            fields.push(FieldId::EventKind, Decoded::Static("state"));
        }
        let alert = composer().whole(&hit, &resolved("198.51.100.7"));
        let json = alert.to_json();
        assert_eq!(json["event"]["kind"], "alert");
        assert_eq!(json["event"]["severity"], 73);
        assert_eq!(json["rule"]["name"], "c2: ip 198.51.100.7");
        assert_eq!(Alert::from_json(json).unwrap(), alert);
    }

    #[test]
    fn two_touched_constituents_get_an_alert_each_without_the_other_s_data() {
        let mut composer = composer();
        // The bank's host talks to a listed address; the operator's device reports it.
        let mut hit = flow_hit("203.0.113.9", "198.51.100.7", "10.1.2.3");
        if let Evidence::Flow { fields, .. } = &mut hit.evidence {
            let fields = Arc::make_mut(fields);
            let text = fields.text(b"edge-fw of 203.0.113.9 at 192.0.2.77");
            fields.push(FieldId::Message, text);
            let text = fields.text(b"fw.operator.example");
            fields.push(FieldId::ObserverName, text);
        }
        let resolved = resolved("198.51.100.7");
        let facts = composer.read(&hit, &resolved);
        assert_eq!(facts.touched, [0, 1]);
        let alerts = composer.alerts(&hit, &resolved, &facts);
        let names: Vec<_> =
            alerts.iter().map(|alert| alert.organization.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(names, ["Distribution operator", "Central bank"]);
        assert_eq!(alerts[0].id, alerts[1].id, "one match");
        let texts: Vec<String> =
            alerts.iter().map(|alert| String::from_utf8(alert.to_line()).unwrap()).collect();
        assert!(!texts[0].contains("203.0.113.9") && texts[0].contains("192.0.2.77"), "{}", texts[0]);
        assert!(texts[0].contains("fw.operator.example"));
        for hidden in ["192.0.2.77", "10.1.2.3", "fw.operator.example", "original"] {
            assert!(!texts[1].contains(hidden), "{hidden} in {}", texts[1]);
        }
        assert!(texts[1].contains("203.0.113.9") && texts[1].contains("198.51.100.7"));
        let mut line = Vec::new();
        Encoding::Cef.encode(&alerts[1], &mut line);
        assert!(!String::from_utf8(line).unwrap().contains("10.1.2.3"));
    }

    fn syslog_hit(line: &[u8], matched: &[u8], kind: Kind, sender: &str) -> Hit {
        let start = memchr::memmem::find(line, matched).unwrap() as u32;
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", sender);
        hit.evidence = Evidence::Syslog { bytes: line.to_vec().into() };
        hit.matched.kind = kind;
        hit.matched.span = decode::Span { start, end: start + matched.len() as u32 };
        (hit.matched.side, hit.matched.field) = (Side::Unknown, "message");
        hit
    }

    #[test]
    fn a_line_is_decoded_and_its_client_found_in_the_text() {
        let line = b"<34>Oct 11 22:14:15 ns1 named[7]: client 192.0.2.5#53: query: a.evil.example IN A \xff";
        let hit = syslog_hit(line, b"a.evil.example", Kind::Domain, "10.9.0.1");
        let alert = composer().whole(&hit, &resolved("evil.example"));
        let json = Value::Object(alert.to_json());
        for (path, expected) in [
            ("/host/name", json!("ns1")),
            ("/process/name", json!("named")),
            // The input's zone is two hours ahead; the year is the latest that is not ahead.
            ("/@timestamp", json!("2025-10-11T20:14:15.000Z")),
            ("/event/created", json!("2026-08-20T10:00:00.000Z")),
            ("/roje/offset", json!(62)),
            ("/roje/clients", json!(["192.0.2.5"])),
            ("/roje/side", json!("unknown")),
            ("/organization/name", json!("Distribution operator")),
            ("/threat/enrichments/0/matched/atomic", json!("a.evil.example")),
            ("/threat/enrichments/0/indicator/url/domain", json!("evil.example")),
        ] {
            assert_eq!(json.pointer(path), Some(&expected), "{path}");
        }
        assert!(json["roje"]["original_base64"].is_string());
        let start = "named on ns1 reported the domain a.evil.example with internal host 192.0.2.5; ";
        assert!(alert.reason().starts_with(start), "{}", alert.reason());
        assert_eq!(Alert::from_line(&alert.to_line()).unwrap(), alert);
    }

    #[test]
    fn text_with_another_constituent_s_address_is_masked_down_to_the_bytes() {
        let mut composer = composer();
        let line =
            b"<34>Oct 11 22:14:15 fw1 app: 192.0.2.5 to 203.0.113.9 (203-0-113-9.bank) a.evil.example \xff";
        let hit = syslog_hit(line, b"a.evil.example", Kind::Domain, "10.9.0.1");
        let resolved = resolved("evil.example");
        let facts = composer.read(&hit, &resolved);
        assert_eq!(facts.touched, [0, 1]);
        let alerts = composer.alerts(&hit, &resolved, &facts);
        for (alert, own, other) in
            [(&alerts[0], "192.0.2.5", "203.0.113.9"), (&alerts[1], "203.0.113.9", "192.0.2.5")]
        {
            let text = String::from_utf8(alert.to_line()).unwrap();
            assert!(text.contains(own) && !text.contains(other), "{text}");
            assert!(!text.contains("203-0-113-9") || own == "203.0.113.9");
            let base64 = alert.event["roje"]["original_base64"].as_str().unwrap();
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
            assert!(memchr::memmem::find(&bytes, other.as_bytes()).is_none());
            assert!(memchr::memmem::find(&bytes, own.as_bytes()).is_some());
            assert_eq!((alert.hash.as_ref(), alert.indicator.as_ref().unwrap().offset), (None, None));
        }
    }

    #[test]
    fn the_whole_name_is_told() {
        for (text, name) in [
            ("a.b.evil.example", "a.b.evil.example"),
            ("http://a-1.evil.example/", "a-1.evil.example"),
            ("x@evil.example", "evil.example"),
            ("..evil.example", "evil.example"),
            ("=a[.]evil.example", "a[.]evil.example"),
            ("evil.example", "evil.example"),
        ] {
            let at = text.find("evil.example").unwrap();
            assert_eq!(&text[name_start(text.as_bytes(), at)..at + 12], name);
        }
        name_start(&[b'a'; 2000], 1900);
        name_start(b"a", 9);
    }

    #[test]
    fn what_cannot_be_decoded_is_told_raw() {
        for line in [&b"\x00\x01 a.evil.example \x1b[2J"[..], b"a.evil.example"] {
            let hit = syslog_hit(line, b"a.evil.example", Kind::Domain, "10.9.0.1");
            let alert = composer().whole(&hit, &resolved("evil.example"));
            let message = alert.event["message"].as_str().unwrap();
            assert!(message.contains("a.evil.example"));
            assert_eq!(alert.clients, ["10.9.0.1"]);
            assert_eq!(Alert::from_line(&alert.to_line()).unwrap(), alert);
        }
    }

    #[test]
    fn a_listed_address_of_a_constituent_stays_readable() {
        let mut composer = composer();
        let hit = flow_hit("192.0.2.5", "203.0.113.9", "10.9.0.1");
        let resolved = resolved("203.0.113.9");
        let facts = composer.read(&hit, &resolved);
        assert_eq!((facts.touched.as_slice(), facts.source.as_str()), ([0, 1].as_slice(), "192.0.2.5"));
        let alerts = composer.alerts(&hit, &resolved, &facts);
        assert!(alerts[0].reason().contains("contacted 203.0.113.9 port 443/tcp"), "{}", alerts[0].reason());
        assert!(!String::from_utf8(alerts[1].to_line()).unwrap().contains("192.0.2.5"));
        assert!(alerts[1].clients.is_empty());
    }

    /// A listed end of a tunnel is told as such: not as who talks inside, whom the record names too.
    #[test]
    fn an_end_of_a_tunnel_has_a_name_of_its_own() {
        let mut composer = composer();
        let mut hit = flow_hit("10.0.0.1", "10.0.0.2", "10.9.0.1");
        (hit.matched.field, hit.matched.side) = (Flow::TUNNEL_DESTINATION, Side::Destination);
        let (from, to): (IpAddr, IpAddr) = ("192.0.2.5".parse().unwrap(), "198.51.100.7".parse().unwrap());
        if let Evidence::Flow { flow, fields, .. } = &mut hit.evidence {
            (flow.tunnel_source, flow.tunnel_destination) = (Some(from), Some(to));
            let fields = Arc::make_mut(fields);
            for (key, address) in [("tunnelSourceAddress", from), ("tunnelDestinationAddress", to)] {
                fields.push_extra(decode::Extra {
                    group: decode::Group::Flow,
                    parent: None,
                    key: Decoded::Static(key),
                    value: Decoded::Ip(address),
                });
            }
        }
        let resolved = resolved("198.51.100.0/24");
        let facts = composer.read(&hit, &resolved);
        assert_eq!((facts.touched.as_slice(), facts.client.as_str()), ([0].as_slice(), "192.0.2.5"));
        let alert = composer.whole(&hit, &resolved);
        let reason = alert.reason();
        let told = "A tunnel from internal host 192.0.2.5 to 198.51.100.7 carried traffic of 10.0.0.1 to \
                    10.0.0.2 port 443/tcp";
        assert!(reason.starts_with(told), "{reason}");
        let json = alert.to_json();
        let matched = &json["threat"]["enrichments"][0]["matched"];
        assert_eq!(matched["field"], "flow.tunnelDestinationAddress");
        assert_eq!(matched["atomic"], "198.51.100.7");
        assert!(json["related"]["ip"].as_array().unwrap().contains(&json!("192.0.2.5")));
        assert_eq!(json["source"]["ip"], "10.0.0.1");
    }

    /// A name in a record, of which the listed domain is the end, is told whole, and nothing beside it.
    #[test]
    fn a_name_in_a_record_is_told_whole() {
        let mut hit = flow_hit("192.0.2.5", "198.51.100.7", "10.9.0.1");
        (hit.matched.kind, hit.matched.field, hit.matched.side) = (Kind::Domain, "url.domain", Side::Unknown);
        hit.matched.span = decode::Span { start: 1, end: 17 };
        if let Evidence::Flow { bytes, .. } = &mut hit.evidence {
            *bytes = b"0www.evil.example"[..].into();
        }
        let alert = composer().whole(&hit, &resolved("evil.example"));
        assert_eq!(alert.indicator.as_ref().unwrap().atomic, "www.evil.example");
        assert!(alert.reason().contains("reported the domain www.evil.example"), "{}", alert.reason());
    }

    #[test]
    fn the_source_of_a_throttle() {
        let mut composer = composer();
        for (name, source, destination, expected, touched) in [
            ("internal source", "192.0.2.5", "198.51.100.7", "192.0.2.5", vec![0u16]),
            ("internal destination", "198.51.100.9", "203.0.113.1", "203.0.113.1", vec![1]),
            ("nobody internal", "198.51.100.9", "198.51.100.7", "198.51.100.9", vec![]),
        ] {
            let hit = flow_hit(source, destination, "10.9.0.1");
            let facts = composer.read(&hit, &resolved("198.51.100.7"));
            assert_eq!((facts.source.as_str(), facts.touched), (expected, touched), "{name}");
        }
    }
}
