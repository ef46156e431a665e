//! Who is behind an address: listeners, sources and constituents of the configuration.
//!
//! [`Directory`] answers for every hit which zone its stamp is in, whether it is an exercise, and
//! which constituents it touches; longest prefix first.

use crate::decode::syslog::Reference;
use crate::input::Nanos;
use crate::input::tls::Identity;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::net::IpAddr;

/// The sectors of a national directory; a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Sector {
    Energy,
    Transport,
    Banking,
    FinancialMarket,
    Health,
    Water,
    Digital,
    Government,
}

impl Sector {
    /// Every sector.
    pub const ALL: [Sector; 8] = [
        Sector::Energy,
        Sector::Transport,
        Sector::Banking,
        Sector::FinancialMarket,
        Sector::Health,
        Sector::Water,
        Sector::Digital,
        Sector::Government,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Sector::Energy => "energy",
            Sector::Transport => "transport",
            Sector::Banking => "banking",
            Sector::FinancialMarket => "financial-market",
            Sector::Health => "health",
            Sector::Water => "water",
            Sector::Digital => "digital",
            Sector::Government => "government",
        }
    }

    /// The sector of a name in files.
    pub fn from_name(name: &str) -> Option<Sector> {
        Sector::ALL.into_iter().find(|sector| sector.name() == name)
    }
}

/// One `[[input]]`, as far as alerts care.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listener {
    /// Zone of stamps that carry none.
    pub timezone: Option<TimeZone>,
    /// Everything from it is an exercise.
    pub exercise: bool,
}

/// One `[[source]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// The addresses it sends from.
    pub networks: Vec<IpNet>,
    /// Names in its client certificate, beside its own.
    pub certificates: Vec<String>,
    /// Seconds of silence that are an alert.
    pub expect_every: Option<u64>,
    /// Zone of its stamps that carry none.
    pub timezone: Option<TimeZone>,
    /// Name of the constituent it belongs to.
    pub constituent: Option<String>,
}

/// One `[[constituent]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constituent {
    /// Its name.
    pub name: String,
    /// Its sector.
    pub sector: Sector,
    /// Its addresses.
    pub networks: Vec<IpNet>,
    /// Whom to call there.
    pub contact: Option<String>,
}

/// A source names a constituent that is not configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source {source_name:?} names the constituent {constituent:?}, which is not configured")]
pub struct UnknownConstituent {
    /// The source.
    pub source_name: String,
    /// The name that no constituent has.
    pub constituent: String,
}

/// Resolves addresses to sources and constituents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    listeners: Vec<Listener>,
    sources: Vec<Source>,
    /// Constituent of each source.
    owners: Vec<Option<u16>>,
    senders: Prefixes,
    /// Names of client certificates, in lower case, as host names are compared.
    certificates: HashMap<String, u16>,
    constituents: Vec<Constituent>,
    networks: Prefixes,
}

impl Directory {
    /// Builds the tables; `listeners` stand in the order of the inputs of the configuration.
    pub fn new(
        listeners: Vec<Listener>,
        sources: Vec<Source>,
        constituents: Vec<Constituent>,
    ) -> Result<Directory, UnknownConstituent> {
        let mut directory = Directory { listeners, ..Directory::default() };
        for (index, constituent) in (0u16..).zip(&constituents) {
            constituent.networks.iter().for_each(|network| directory.networks.insert(*network, index));
        }
        for (index, source) in (0u16..).zip(&sources) {
            source.networks.iter().for_each(|network| directory.senders.insert(*network, index));
            for name in &source.certificates {
                directory.certificates.entry(name.to_lowercase()).or_insert(index);
            }
            let owner = match &source.constituent {
                None => None,
                Some(name) => match (0u16..).zip(&constituents).find(|(_, one)| one.name == *name) {
                    Some((owner, _)) => Some(owner),
                    None => {
                        return Err(UnknownConstituent {
                            source_name: source.name.clone(),
                            constituent: name.clone(),
                        });
                    }
                },
            };
            directory.owners.push(owner);
        }
        // A name that a source lists goes before the name of another. A source that is told by its address
        // alone is not given to whoever has a certificate with its name.
        let by_name = |source: &Source| !source.certificates.is_empty() || source.networks.is_empty();
        for (index, source) in (0u16..).zip(&sources).filter(|(_, source)| by_name(source)) {
            directory.certificates.entry(source.name.to_lowercase()).or_insert(index);
        }
        directory.sources = sources;
        directory.constituents = constituents;
        Ok(directory)
    }

    /// The number of the source that sends: the one that its certificate names, else the one that its
    /// address belongs to.
    pub fn source_of(&self, sender: Option<IpAddr>, identity: Option<&Identity>) -> Option<u16> {
        let named = |name: &String| self.certificates.get(&name.to_lowercase()).copied();
        let certified = identity.and_then(|identity| identity.names().iter().find_map(named));
        certified.or_else(|| self.senders.longest(sender?))
    }

    /// A source by its number.
    pub fn source(&self, index: u16) -> Option<&Source> {
        self.sources.get(usize::from(index))
    }

    /// Every source, in the order of their numbers.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The constituent whose network an address is in.
    pub fn constituent(&self, address: IpAddr) -> Option<&Constituent> {
        self.constituents.get(usize::from(self.network_of(address)?))
    }

    /// What stamps of a sender mean: the zone of its source, else of its input, else UTC.
    pub fn reference(&self, input: u16, source: Option<u16>, received: Nanos) -> Reference {
        let source = source.and_then(|index| self.source(index));
        let listener = self.listeners.get(usize::from(input));
        let timezone = source
            .and_then(|source| source.timezone.as_ref())
            .or_else(|| listener.and_then(|listener| listener.timezone.as_ref()));
        Reference { now: received, timezone: timezone.cloned().unwrap_or(TimeZone::UTC) }
    }

    /// Whether everything from an input is an exercise.
    pub fn exercise(&self, input: u16) -> bool {
        self.listeners.get(usize::from(input)).is_some_and(|listener| listener.exercise)
    }

    /// The constituent that a source belongs to.
    pub(super) fn owner_of(&self, source: u16) -> Option<u16> {
        self.owners.get(usize::from(source)).copied().flatten()
    }

    pub(super) fn network_of(&self, address: IpAddr) -> Option<u16> {
        self.networks.longest(address)
    }

    pub(super) fn has_constituents(&self) -> bool {
        !self.constituents.is_empty()
    }

    pub(super) fn by_index(&self, index: u16) -> Option<&Constituent> {
        self.constituents.get(usize::from(index))
    }
}

/// Prefixes to numbers, longest match first; a look-up costs one probe for each length in use.
#[derive(Clone, Debug, Default, PartialEq)]
struct Prefixes {
    /// Lengths in use, longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
    table: HashMap<IpNet, u16>,
}

impl Prefixes {
    /// The first owner of a prefix keeps it.
    fn insert(&mut self, network: IpNet, index: u16) {
        let network = canonical(network).trunc();
        self.table.entry(network).or_insert(index);
        let lengths = match network {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        if !lengths.contains(&network.prefix_len()) {
            lengths.push(network.prefix_len());
            lengths.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    fn longest(&self, address: IpAddr) -> Option<u16> {
        let find = |network: IpNet| self.table.get(&network.trunc()).copied();
        match address.to_canonical() {
            IpAddr::V4(address) => {
                self.v4.iter().find_map(|length| find(IpNet::V4(Ipv4Net::new(address, *length).ok()?)))
            }
            IpAddr::V6(address) => {
                self.v6.iter().find_map(|length| find(IpNet::V6(Ipv6Net::new(address, *length).ok()?)))
            }
        }
    }
}

/// An IPv4-mapped IPv6 prefix is the IPv4 prefix.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(address), Some(length)) => Ipv4Net::new(address, length).map_or(network, IpNet::V4),
        _ => network,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two constituents, one nested in the other's prefix, and a source.
    pub fn directory() -> Directory {
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        Directory::new(
            vec![
                Listener { timezone: Some(TimeZone::fixed(jiff::tz::offset(2))), exercise: false },
                Listener { timezone: None, exercise: true },
            ],
            vec![
                Source {
                    name: "edge-fw-2".into(),
                    networks: vec![network("10.1.2.3/32")],
                    certificates: vec!["Fw2.Example".into()],
                    expect_every: Some(600),
                    timezone: Some(TimeZone::UTC),
                    constituent: Some("Distribution operator".into()),
                },
                Source {
                    name: "relay".into(),
                    networks: vec![network("10.9.0.0/16")],
                    certificates: Vec::new(),
                    expect_every: None,
                    timezone: None,
                    constituent: None,
                },
            ],
            vec![
                Constituent {
                    name: "Distribution operator".into(),
                    sector: Sector::Energy,
                    networks: vec![network("192.0.2.0/24"), network("2001:db8:1::/48")],
                    contact: Some("soc@operator.example".into()),
                },
                Constituent {
                    name: "Central bank".into(),
                    sector: Sector::Banking,
                    networks: vec![network("203.0.113.0/24"), network("192.0.2.128/25")],
                    contact: None,
                },
            ],
        )
        .unwrap()
    }

    #[test]
    fn the_longest_prefix_decides() {
        let directory = directory();
        for (name, address, expected) in [
            ("wide", "192.0.2.1", Some("Distribution operator")),
            ("nested", "192.0.2.129", Some("Central bank")),
            ("mapped", "::ffff:192.0.2.1", Some("Distribution operator")),
            ("IPv6", "2001:db8:1::7", Some("Distribution operator")),
            ("nobody's", "198.51.100.1", None),
        ] {
            let found = directory.constituent(address.parse().unwrap());
            assert_eq!(found.map(|one| one.name.as_str()), expected, "{name}");
        }
    }

    #[test]
    fn the_zone_is_the_source_s_then_the_input_s_then_utc() {
        let directory = directory();
        let zone = |input, sender: &str| {
            let source = directory.source_of(sender.parse().ok(), None);
            directory.reference(input, source, 5).timezone
        };
        assert_eq!(zone(0, "10.1.2.3"), TimeZone::UTC);
        assert_eq!(zone(0, "10.9.1.1"), TimeZone::fixed(jiff::tz::offset(2)));
        assert_eq!(zone(1, "10.9.1.1"), TimeZone::UTC);
        assert_eq!(zone(7, "10.9.1.1"), TimeZone::UTC);
        assert!(directory.exercise(1) && !directory.exercise(0) && !directory.exercise(9));
    }

    fn source(name: &str) -> Source {
        Source {
            name: name.into(),
            networks: vec![],
            certificates: vec![],
            expect_every: None,
            timezone: None,
            constituent: None,
        }
    }

    #[test]
    fn a_certificate_goes_before_an_address() {
        let directory = directory();
        for (name, sender, names, expected) in [
            ("listed", Some("10.9.1.1"), &["fw2.example"][..], Some("edge-fw-2")),
            ("its own name beside those listed", None, &["other.example", "Edge-FW-2"], Some("edge-fw-2")),
            ("of one told by its address", None, &["Relay"], None),
            ("of another told by its address", Some("10.1.2.3"), &["Relay"], Some("edge-fw-2")),
            ("of nobody", Some("10.9.1.1"), &["other.example"], Some("relay")),
            ("no name", Some("10.1.2.3"), &[], Some("edge-fw-2")),
            ("unknown", None, &["other.example"], None),
        ] {
            let identity = Identity::named(names.iter().map(|name| name.to_string()).collect());
            let sender = sender.map(|sender| sender.parse().unwrap());
            let found = directory.source_of(sender, identity.as_ref());
            let found = found.and_then(|index| directory.source(index));
            assert_eq!(found.map(|source| source.name.as_str()), expected, "{name}");
        }
        let alone = Directory::new(vec![], vec![source("fw2.example")], vec![]).unwrap();
        let identity = Identity::named(vec!["FW2.example".to_owned()]);
        assert_eq!(alone.source_of(None, identity.as_ref()), Some(0), "nothing but its name");
    }

    #[test]
    fn a_source_of_nobody_is_refused() {
        let source = Source { constituent: Some("b".into()), ..source("a") };
        let error = Directory::new(vec![], vec![source], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "source \"a\" names the constituent \"b\", which is not configured");
    }

    #[test]
    fn sectors_have_names() {
        for sector in Sector::ALL {
            assert_eq!(Sector::from_name(sector.name()), Some(sector));
        }
    }
}
