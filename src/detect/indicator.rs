//! What an indicator is: its kind, its value in normal form, and what its producer says about it.
//!
//! Rule formats build a [`CompiledSet`] with a [`SetBuilder`]; both sides,
//! rules and messages, share the normal forms of this module.

use super::token::unhex;
use super::url::Refusal;
use super::{CompiledSet, host, lexis, ruleset, url};
use crate::input::Nanos;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
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
    /// Who made it, where that is not the set's producer.
    pub producer: Option<String>,
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
            producer: None,
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

/// Longest text that is searched for: no command line or path in a shared rule is longer.
pub const MAX_TEXT: usize = 4096;

/// Refangs a value as written and brings it into normal form.
pub fn normalise(kind: Kind, written: &str, nocase: bool) -> Result<Normal, ValueError> {
    if kind == Kind::Text {
        return text(written, nocase);
    }
    let written = written.trim();
    if written.is_empty() {
        return Err(ValueError::Empty);
    }
    match kind {
        Kind::Ip => address(&refang(written)).map(Normal::Ip),
        Kind::Domain => domain(&refang(written)).map(Normal::Domain),
        Kind::Url => url(written).map(Normal::Url),
        Kind::Email => email(&refang(written)).map(Normal::Email),
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => hash(kind, written),
        Kind::Text => text(written, nocase),
    }
}

/// Undoes `[.]`, `(dot)`, `[:]`, `[@]`, `[at]` and their like.
fn refang(written: &str) -> Cow<'_, str> {
    let bytes = written.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'[' | b'(' | b'{' | b'%' | b'\\')) {
        return Cow::Borrowed(written);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let dot = lexis::dot(bytes, at);
        if dot > 0 {
            out.push(b'.');
            at += dot;
            continue;
        }
        at += 1;
        out.push(byte);
        if out.ends_with(b"[:]") {
            out.truncate(out.len() - 3);
            out.push(b':');
        }
        let sign = lexis::at_sign(&out, out.len());
        if sign > 1 {
            out.truncate(out.len() - sign);
            out.push(b'@');
        }
    }
    // Only ASCII sequences were replaced by ASCII characters.
    String::from_utf8(out).unwrap_or_default().into()
}

fn text(written: &str, nocase: bool) -> Result<Normal, ValueError> {
    let mut bytes = written.as_bytes().to_vec();
    if bytes.is_empty() {
        return Err(ValueError::Empty);
    }
    if bytes.len() > MAX_TEXT {
        return Err(ValueError::TooLong(MAX_TEXT));
    }
    if nocase {
        bytes.make_ascii_lowercase();
    }
    Ok(Normal::Text(bytes))
}

fn address(written: &str) -> Result<IpNet, ValueError> {
    let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    let parsed = match bare.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => bare.parse::<IpNet>().map_err(|_| ValueError::Address)?,
    };
    let prefix = match parsed {
        // ::ffff:a.b.c.d/96 and longer is IPv4.
        IpNet::V6(prefix) if prefix.prefix_len() >= 96 => match prefix.addr().to_ipv4_mapped() {
            Some(mapped) => {
                IpNet::new(mapped.into(), prefix.prefix_len() - 96).map_err(|_| ValueError::Address)?
            }
            None => parsed,
        },
        _ => parsed,
    };
    if prefix.addr() != prefix.network() {
        return Err(ValueError::HostBits(prefix.trunc().to_string()));
    }
    Ok(prefix)
}

fn domain(written: &str) -> Result<String, ValueError> {
    let name = written.strip_suffix('.').unwrap_or(written);
    if name.contains("://") || name.contains('/') {
        return Err(ValueError::Domain("it has a path or scheme; is it a URL?"));
    }
    if name.starts_with("*.") {
        return Err(ValueError::Domain("leave out `*.`: subdomains are included"));
    }
    if name.contains('@') {
        return Err(ValueError::Domain("it has an `@`; is it an e-mail address?"));
    }
    let name = match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false => {
            host::to_ascii(name.as_bytes()).ok_or(ValueError::Domain("not an internationalised name"))?
        }
    };
    host::check(name.as_bytes()).map_err(ValueError::Domain)?;
    if name.starts_with('-') || name.ends_with('-') {
        return Err(ValueError::Domain("it begins or ends with a hyphen"));
    }
    Ok(name)
}

fn email(written: &str) -> Result<String, ValueError> {
    let (local, host) = written.rsplit_once('@').ok_or(ValueError::Email)?;
    let host = domain(host).map_err(|_| ValueError::Email)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-~!#$%&'*/=?^`{|}".contains(byte);
    let ends = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(byte);
    let local = local.as_bytes();
    let found = (1..=64).contains(&local.len())
        && local.iter().all(allowed)
        && local.first() != Some(&b'.')
        && local.last().is_some_and(ends)
        && host.contains('.');
    if !found {
        return Err(ValueError::Email);
    }
    Ok(format!("{}@{host}", String::from_utf8_lossy(local).to_ascii_lowercase()))
}

/// Nearly every URL fits.
const USUAL_URL: usize = 512;

fn url(written: &str) -> Result<String, ValueError> {
    match url_into(written, &mut [0; USUAL_URL]) {
        Err(Refusal::Overflow) => url_into(written, &mut vec![0; url::MAX_URL]),
        done => done,
    }
    .map_err(|refusal| match refusal {
        Refusal::Overflow => ValueError::TooLong(url::MAX_URL),
        Refusal::Malformed(reason) => ValueError::Url(reason),
    })
}

fn url_into(written: &str, buffer: &mut [u8]) -> Result<String, Refusal> {
    let form = url::normal(written.as_bytes(), buffer)?;
    let text = String::from_utf8_lossy(buffer.get(..form.length).unwrap_or_default());
    if !form.scheme().is_empty() {
        return Ok(format!("{}://{text}", String::from_utf8_lossy(form.scheme())));
    }
    if !written.contains(['/', '?']) {
        return Err(Refusal::Malformed("neither scheme nor path; is it a domain?"));
    }
    if !text.split('/').next().is_some_and(|host| host.contains('.') || host.starts_with('[')) {
        return Err(Refusal::Malformed("neither scheme nor dotted host"));
    }
    Ok(text.into_owned())
}

fn hash(kind: Kind, written: &str) -> Result<Normal, ValueError> {
    let expected = hash_digits(kind);
    if written.len() != expected || !written.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ValueError::Hash { expected, found: written.chars().count() });
    }
    Ok(Normal::Hash(kind, written.to_ascii_lowercase()))
}

impl Normal {
    /// The bytes under which the value is kept: octets of addresses and hashes, text of the others,
    /// behind a flag for `text` that says whether case counts.
    pub fn key(&self, nocase: bool) -> Vec<u8> {
        let mut key = Vec::new();
        ruleset::key_of(self, nocase, &mut key);
        key
    }

    /// The type of the value.
    pub fn kind(&self) -> Kind {
        match self {
            Normal::Ip(_) => Kind::Ip,
            Normal::Domain(_) => Kind::Domain,
            Normal::Url(_) => Kind::Url,
            Normal::Email(_) => Kind::Email,
            Normal::Hash(kind, _) => *kind,
            Normal::Text(_) => Kind::Text,
        }
    }
}

/// The address or prefix of a key.
pub fn address_of(key: &[u8]) -> Option<IpNet> {
    super::address::from_key(key)
}

/// As people write it: an address without its full length, text lossily.
impl fmt::Display for Normal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Normal::Ip(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                write!(out, "{}", prefix.addr())
            }
            Normal::Ip(prefix) => write!(out, "{prefix}"),
            Normal::Domain(text) | Normal::Url(text) | Normal::Email(text) | Normal::Hash(_, text) => {
                out.write_str(text)
            }
            Normal::Text(bytes) => out.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

/// Index of an interned [`Meta`] in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetaId(pub u32);

/// Builds one set from rows.
#[derive(Debug)]
pub struct SetBuilder {
    set: CompiledSet,
    interned: HashMap<Meta, u32>,
}

/// Keys one behind the other, of one kind: rows of a list that become entries together.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
}

impl Keys {
    /// Adds the key of a value as written, the one of its form under [`normalise`], unless `judge`
    /// has something against it.
    pub fn add<E: From<ValueError>>(
        &mut self,
        kind: Kind,
        written: &str,
        nocase: bool,
        judge: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if !plain_key(kind, written.as_bytes(), nocase, &mut self.bytes) {
            self.bytes.truncate(start);
            let value = normalise(kind, written, nocase)?;
            ruleset::key_of(&value, nocase, &mut self.bytes);
        }
        let key = self.bytes.get(start..).unwrap_or_default();
        let result = judge(key);
        match result {
            Ok(()) => self.lengths.push(key.len() as u32),
            Err(_) => self.bytes.truncate(start),
        }
        result
    }

    /// Forgets them and keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
    }

    /// Each of them, in the order added.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.lengths.iter().map(move |length| {
            let end = start + *length as usize;
            let key = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            key
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

/// Appends the key of a value in its plainest spelling; false if it needs a closer look, with some of
/// it appended perhaps. Nearly every row of a list is plain, and a list has a million.
fn plain_key(kind: Kind, written: &[u8], nocase: bool, key: &mut Vec<u8>) -> bool {
    match kind {
        Kind::Ip => match host::quad(written) {
            Some((address, length)) if length == written.len() => {
                key.extend_from_slice(&address.octets());
                true
            }
            _ => false,
        },
        Kind::Domain => plain_name(written, key),
        Kind::Url => plain_url(written, key),
        Kind::Email => {
            let Some(at) = memchr::memrchr(b'@', written) else { return false };
            let (local, host) = (&written[..at], &written[at + 1..]);
            let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
            if !(1..=64).contains(&at) || local[0] == b'.' || !local.iter().all(usual) {
                return false;
            }
            push_folded(local, key);
            key.push(b'@');
            host.contains(&b'.') && plain_name(host, key)
        }
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 | Kind::Sha512 => {
            let mut binary = [0; 64];
            let digits = written.len() == hash_digits(kind) && written.iter().all(u8::is_ascii_hexdigit);
            let length = if digits { unhex(written, &mut binary) } else { 0 };
            key.extend_from_slice(binary.get(..length).unwrap_or_default());
            digits
        }
        Kind::Text => {
            key.push(nocase.into());
            match nocase {
                true => push_folded(written, key),
                false => key.extend_from_slice(written),
            }
            (1..=MAX_TEXT).contains(&written.len())
        }
    }
}

fn plain_name(written: &[u8], key: &mut Vec<u8>) -> bool {
    let start = key.len();
    push_folded(written, key);
    let name = key.get(start..).unwrap_or_default();
    host::check(name).is_ok() && name.first() != Some(&b'-') && name.last() != Some(&b'-')
}

fn push_folded(written: &[u8], key: &mut Vec<u8>) {
    let start = key.len();
    key.extend_from_slice(written);
    if let Some(written) = key.get_mut(start..) {
        written.make_ascii_lowercase();
    }
}

fn plain_url(written: &[u8], key: &mut Vec<u8>) -> bool {
    let mut buffer = [0; USUAL_URL];
    let plain = written.len() < USUAL_URL && written.iter().all(u8::is_ascii_graphic);
    let Some(form) = plain.then(|| url::normal(written, &mut buffer).ok()).flatten() else { return false };
    key.extend_from_slice(form.scheme());
    key.extend_from_slice(b"://");
    key.extend_from_slice(buffer.get(..form.length).unwrap_or_default());
    // Without a scheme it must show that it is no domain, and what is decoded need not be text.
    !form.scheme().is_empty() && buffer.get(..form.length).is_some_and(<[u8]>::is_ascii)
}

fn hash_digits(kind: Kind) -> usize {
    match kind {
        Kind::Md5 => 32,
        Kind::Sha1 => 40,
        Kind::Sha256 => 64,
        Kind::Sha512 => 128,
        _ => 0,
    }
}

impl SetBuilder {
    /// An empty set.
    pub fn new(info: SetInfo) -> SetBuilder {
        SetBuilder { set: CompiledSet::empty(info), interned: HashMap::new() }
    }

    /// Interns a policy.
    pub fn meta(&mut self, meta: &Meta) -> MetaId {
        if let Some(index) = self.interned.get(meta) {
            return MetaId(*index);
        }
        let index = self.set.push_meta(meta.clone());
        self.interned.insert(meta.clone(), index);
        MetaId(index)
    }

    /// Adds one entry. The same value twice in one set is one entry; the later meta wins, unless
    /// the two bind to other sides, ports or comparisons, so that both must be kept.
    pub fn add(&mut self, value: &Normal, meta: MetaId, id: Option<&str>) {
        let key = value.key(self.set.meta(meta.0).nocase);
        // Only a set of 4 GiB has no room; it exceeds every memory limit before.
        self.set.push(value.kind(), &key, meta.0, id);
    }

    /// Adds one entry by its key, the one of [`Normal::key`].
    pub fn add_key(&mut self, kind: Kind, key: &[u8], meta: MetaId, id: Option<&str>) {
        self.set.push(kind, key, meta.0, id);
    }

    /// Adds the rows of a list.
    pub fn add_keys(&mut self, kind: Kind, keys: &Keys, meta: MetaId) {
        self.set.extend(kind, &keys.bytes, &keys.lengths, meta.0);
    }

    /// Rows added so far, with those that a later one will replace.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set, immutable.
    pub fn build(self) -> CompiledSet {
        self.build_merged().0
    }

    /// The set, and which rows became one entry, in the order of the later ones.
    pub fn build_merged(self) -> (CompiledSet, Vec<Merged>) {
        self.set.finish()
    }
}

/// Two rows of a set that are one entry. Rows are numbered as they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Merged {
    /// The row that is no entry of its own; the last of these says what the entry says.
    pub later: u32,
    /// The first row of the value, whose place in the set the entry has.
    pub first: u32,
}

/// The later of two such entries may stand for both.
pub fn same_scope(one: &Meta, other: &Meta) -> bool {
    one.where_source == other.where_source
        && one.where_destination == other.where_destination
        && one.ports == other.ports
        && one.matching == other.matching
        && one.producer == other.producer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_forms() {
        for (kind, written, expected) in [
            (Kind::Ip, "198.51.100[.]7", "198.51.100.7"),
            (Kind::Ip, " 198.51.100.0/24 ", "198.51.100.0/24"),
            (Kind::Ip, "198.51.100.7/32", "198.51.100.7"),
            (Kind::Ip, "2001:DB8:0:0::1", "2001:db8::1"),
            (Kind::Ip, "2001[:]db8[:][:]1", "2001:db8::1"),
            (Kind::Ip, "[2001:db8::1]", "2001:db8::1"),
            (Kind::Ip, "::ffff:198.51.100.7", "198.51.100.7"),
            (Kind::Ip, "::ffff:198.51.100.0/120", "198.51.100.0/24"),
            (Kind::Domain, "Evil[.]Example.", "evil.example"),
            (Kind::Domain, "evil(dot)example", "evil.example"),
            (Kind::Domain, "_x.Bücher.example", "_x.xn--bcher-kva.example"),
            (Kind::Url, "hxxp://Evil[.]example:80", "http://evil.example/"),
            (Kind::Url, "evil.example/a b", "evil.example/a%20b"),
            (Kind::Email, "X[@]Evil[.]example", "x@evil.example"),
            (Kind::Email, "a.b+c[at]evil.example", "a.b+c@evil.example"),
            (Kind::Md5, "D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e"),
            (Kind::Text, "Disable_Defender.exe", "disable_defender.exe"),
        ] {
            let normal = normalise(kind, written, true).unwrap();
            assert_eq!(normal.to_string(), expected, "{written}");
            assert_eq!(normalise(kind, expected, true).unwrap(), normal, "{written} is not stable");
        }
        assert_eq!(normalise(Kind::Text, "Ab", false), Ok(Normal::Text(b"Ab".to_vec())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        /// What is taken to be plain has the key of its normal form, and no other is refused.
        #[test]
        fn plain_keys_are_those_of_the_normal_form(
            kind in prop::sample::select(&Kind::ALL),
            nocase: bool,
            written in prop_oneof![
                "[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128}",
                "([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?",
                "[a-zA-Z0-9._+@%-]{0,12}@?[A-Za-z0-9_-]{0,5}(\\.|\\[\\.\\])[a-zA-Z0-9-]{0,4}\\.?",
                "(hxxp|HTTP|https|x)?(://|\\[:\\]//)?[a-zA-Z0-9@.-]{0,12}(:[0-9]{0,4})?([/?#][ -~]{0,20})?",
                "[ -~]{0,40}",
                ".{0,12}",
            ],
        ) {
            let mut keys = Keys::default();
            let added = keys.add(kind, &written, nocase, |_| Ok::<(), ValueError>(()));
            match normalise(kind, &written, nocase) {
                Ok(value) => {
                    let key = value.key(nocase);
                    prop_assert_eq!((&keys.bytes, added), (&key, Ok(())));
                    prop_assert_eq!(keys.lengths, [key.len() as u32]);
                }
                Err(error) => {
                    prop_assert_eq!(added, Err(error));
                    prop_assert!(keys.bytes.is_empty() && keys.is_empty());
                }
            }
        }
    }

    #[test]
    fn refusals() {
        for (kind, written, expected) in [
            (Kind::Ip, " ", "empty value"),
            (Kind::Ip, "198.51.100.7:443", "not an address or prefix"),
            (Kind::Ip, "198.51.100.07", "not an address or prefix"),
            (Kind::Ip, "198.51.100.7/24", "host bits are set; the prefix is 198.51.100.0/24"),
            (Kind::Domain, "evil..example", "not a domain name: empty label"),
            (Kind::Domain, "198.51.100.7", "not a domain name: the last label is a number"),
            (Kind::Domain, "evil.example/a", "not a domain name: it has a path or scheme; is it a URL?"),
            (Kind::Domain, "*.evil.example", "not a domain name: leave out `*.`: subdomains are included"),
            (Kind::Domain, "ev il.example", "not a domain name: character that no host name has"),
            (Kind::Url, "http://", "not a URL: no host"),
            (Kind::Url, "evil.example", "not a URL: neither scheme nor path; is it a domain?"),
            (Kind::Url, "/a/b", "not a URL: no host"),
            (Kind::Email, "evil.example", "not an e-mail address"),
            (Kind::Email, "x@localhost", "not an e-mail address"),
            (Kind::Sha1, "d41d8c", "expected 40 hexadecimal digits, found 6"),
        ] {
            assert_eq!(normalise(kind, written, true).unwrap_err().to_string(), expected, "{written}");
        }
        let long = "a".repeat(MAX_TEXT + 1);
        assert_eq!(normalise(Kind::Text, &long, true), Err(ValueError::TooLong(MAX_TEXT)));
    }
}
