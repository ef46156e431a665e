//! What an indicator is: its kind, its value in normal form, and what its producer says about it.
//!
//! Rule formats build a [`CompiledSet`](super::CompiledSet) with a [`SetBuilder`]; both sides,
//! rules and messages, share the normal forms of this module.

use super::CompiledSet;
use crate::input::Nanos;
use ipnet::IpNet;
use std::path::PathBuf;

/// The type of an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Address or prefix.
    Ip,
    /// Host name; itself and its subdomains.
    Domain,
    /// Whole URL.
    Url,
    /// E-mail address.
    Email,
    /// MD5 of a file.
    Md5,
    /// SHA-1 of a file.
    Sha1,
    /// SHA-256 of a file.
    Sha256,
    /// SHA-512 of a file.
    Sha512,
    /// Free text.
    Text,
}

impl Kind {
    /// Every kind, in the order of tables for people.
    pub const ALL: [Kind; 9] = [
        Kind::Ip,
        Kind::Domain,
        Kind::Url,
        Kind::Email,
        Kind::Md5,
        Kind::Sha1,
        Kind::Sha256,
        Kind::Sha512,
        Kind::Text,
    ];

    /// The name in rule files.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ip => "ip",
            Kind::Domain => "domain",
            Kind::Url => "url",
            Kind::Email => "email",
            Kind::Md5 => "md5",
            Kind::Sha1 => "sha1",
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
            Kind::Text => "text",
        }
    }

    /// The kind of a name in rule files.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Traffic Light Protocol 2.0, least strict first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tlp {
    /// No limit.
    Clear,
    /// The community.
    Green,
    /// The organisation and its clients.
    Amber,
    /// The organisation alone.
    AmberStrict,
    /// The named recipients alone.
    Red,
}

impl Tlp {
    /// Every marking, least strict first.
    pub const ALL: [Tlp; 5] = [Tlp::Clear, Tlp::Green, Tlp::Amber, Tlp::AmberStrict, Tlp::Red];

    /// The name in files: `amber+strict`.
    pub fn name(self) -> &'static str {
        match self {
            Tlp::Clear => "clear",
            Tlp::Green => "green",
            Tlp::Amber => "amber",
            Tlp::AmberStrict => "amber+strict",
            Tlp::Red => "red",
        }
    }

    /// The marking of a name in files.
    pub fn from_name(name: &str) -> Option<Tlp> {
        Tlp::ALL.into_iter().find(|tlp| tlp.name() == name)
    }
}

/// How grave a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// ECS 21
    Low,
    /// ECS 47
    Medium,
    /// ECS 73
    High,
    /// ECS 99
    Critical,
}

impl Severity {
    /// Every severity, least grave first.
    pub const ALL: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// The name in files and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity of a name in files.
    pub fn from_name(name: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.name() == name)
    }

    /// `event.severity`.
    pub fn ecs(self) -> u8 {
        match self {
            Severity::Low => 21,
            Severity::Medium => 47,
            Severity::High => 73,
            Severity::Critical => 99,
        }
    }
}

/// How repeated hits of one indicator are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Throttle {
    /// Every match is an alert.
    None,
    /// The first at once, then a summary at the end of each window.
    Window {
        /// One window for each source rather than one for all.
        by_source: bool,
        /// Its length.
        seconds: u32,
    },
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchMode {
    /// Domains: itself and its subdomains. Text: a border where its own edge is a word character. Others: whole.
    Default,
    /// Domains: itself alone.
    Exact,
    /// Text: anywhere.
    Substring,
}

/// Policy and context of indicators; interned, so that the rows of a list share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Marking.
    pub tlp: Tlp,
    /// Severity.
    pub severity: Severity,
    /// Confidence, 0 to 100.
    pub confidence: Option<u8>,
    /// First instant at which it acts.
    pub valid_from: Option<Nanos>,
    /// First instant at which it no longer acts.
    pub valid_until: Option<Nanos>,
    /// ENISA reference taxonomy class.
    pub rsit: Option<String>,
    /// ATT&CK technique ids.
    pub attack: Vec<String>,
    /// `status: test`: counted and logged, never sent.
    pub test: bool,
    /// Folding of repeated hits.
    pub throttle: Throttle,
    /// Addresses: the sides it binds to; empty for both.
    pub where_source: bool,
    /// See `where_source`; both false means either side.
    pub where_destination: bool,
    /// Addresses: the ports it binds to; empty for all.
    pub ports: Vec<u16>,
    /// Comparison.
    pub matching: MatchMode,
    /// Text: ASCII case is ignored.
    pub nocase: bool,
    /// What the analyst should know.
    pub description: Option<String>,
    /// Where to read more; the set's reference if none.
    pub reference: Option<String>,
    /// `revoked: true`.
    pub revoked: bool,
    /// Allow sets: why.
    pub reason: Option<String>,
}

impl Default for Meta {
    fn default() -> Self {
        Meta {
            tlp: Tlp::Amber,
            severity: Severity::Medium,
            confidence: None,
            valid_from: None,
            valid_until: None,
            rsit: None,
            attack: Vec::new(),
            test: false,
            throttle: Throttle::Window { by_source: true, seconds: 3600 },
            where_source: false,
            where_destination: false,
            ports: Vec::new(),
            matching: MatchMode::Default,
            nocase: true,
            description: None,
            reference: None,
            revoked: false,
            reason: None,
        }
    }
}

/// What the entries of a set do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They raise alerts.
    Indicators,
    /// They prevent alerts.
    Block,
    /// They mark alerts.
    Inform,
}

/// What a set says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetInfo {
    /// Its unique name.
    pub name: String,
    /// Who made it.
    pub producer: Option<String>,
    /// Which feed of the producer.
    pub feed: Option<String>,
    /// Where it is described.
    pub reference: Option<String>,
    /// What its entries do.
    pub mode: Mode,
    /// The file it came from.
    pub path: PathBuf,
    /// SHA-256 of the set and its bulk files, hexadecimal.
    pub digest: String,
}

/// A value in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Normal {
    /// An address is a prefix of full length; IPv4-mapped IPv6 is IPv4.
    Ip(IpNet),
    /// Lower-case A-labels without the root dot.
    Domain(String),
    /// Host folded, default port and fragment dropped; the scheme is kept if written.
    Url(String),
    /// Domain folded; local part folded too, as every mailbox in use is.
    Email(String),
    /// Lower-case hexadecimal, with its kind.
    Hash(Kind, String),
    /// Bytes as written; ASCII-folded when `nocase`.
    Text(Vec<u8>),
}

/// Why a value is not one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing is left of it.
    #[error("empty value")]
    Empty,
    /// Not an address or prefix.
    #[error("not an address or prefix")]
    Address,
    /// A prefix whose address has bits behind its length; the text is the prefix meant.
    #[error("host bits are set; the prefix is {0}")]
    HostBits(String),
    /// Not a host name.
    #[error("not a domain name: {0}")]
    Domain(&'static str),
    /// Not a URL with a host.
    #[error("not a URL: {0}")]
    Url(&'static str),
    /// Not an e-mail address.
    #[error("not an e-mail address")]
    Email,
    /// Not hexadecimal, or not of this length.
    #[error("expected {expected} hexadecimal digits, found {found}")]
    Hash {
        /// Digits that the kind has.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// Too long to be found.
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

/// Refangs a value as written and brings it into normal form.
pub fn normalise(_kind: Kind, _written: &str, _nocase: bool) -> Result<Normal, ValueError> {
    todo!()
}

/// Index of an interned [`Meta`] in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetaId(pub u32);

/// Builds one set from rows.
#[derive(Debug)]
pub struct SetBuilder {}

impl SetBuilder {
    /// An empty set.
    pub fn new(_info: SetInfo) -> SetBuilder {
        todo!()
    }

    /// Interns a policy.
    pub fn meta(&mut self, _meta: &Meta) -> MetaId {
        todo!()
    }

    /// Adds one entry. The same value twice in one set is one entry; the later meta wins.
    pub fn add(&mut self, _value: &Normal, _meta: MetaId, _id: Option<&str>) {
        todo!()
    }

    /// Entries added so far.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set, immutable.
    pub fn build(self) -> CompiledSet {
        todo!()
    }
}
