//! Turns the bytes of a message into named values.
//!
//! Decoders write into one reused [`Fields`]: pairs of an ECS name ([`FieldId`]) and a [`Value`]
//! that is a span of the message, a span of scratch text, or a scalar. Nothing here does I/O,
//! reads a clock or logs.

pub mod charset;
pub mod ecs;
pub mod flow;
pub mod syslog;

use crate::input::Nanos;
use std::net::IpAddr;

/// Bytes `start..end` of the message or of the scratch text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A decoded value; text stays where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Bytes of the message.
    Raw(Span),
    /// Bytes of [`Fields::scratch`]: unescaped or composed text.
    Text(Span),
    /// Text known at compile time.
    Static(&'static str),
    /// An unsigned number.
    Unsigned(u64),
    /// A signed number.
    Signed(i64),
    /// A fraction.
    Float(f64),
    /// An address.
    Ip(IpAddr),
    /// A hardware address.
    Mac([u8; 6]),
    /// An instant.
    Time(Nanos),
    /// A truth value.
    Flag(bool),
    /// No value, where its place among others tells something.
    Absent,
}

/// Where a value lives that ECS has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// `log.syslog.structured_data`: SD-ID is the parent, PARAM-NAME the key.
    StructuredData,
    /// `cef`
    Cef,
    /// `leef`
    Leef,
    /// `json`
    Json,
    /// `kv`
    Kv,
    /// `flow`
    Flow,
}

/// A value under its own name in a [`Group`]; `parent` is the SD-ID of structured data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extra {
    /// The object it belongs to.
    pub group: Group,
    /// The object inside the group, if any.
    pub parent: Option<Value>,
    /// Its name there; empty for an SD-ELEMENT without parameters.
    pub key: Value,
    /// The value.
    pub value: Value,
}

/// The decoded values of one message, reused from message to message.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    entries: Vec<(FieldId, Value)>,
    extras: Vec<Extra>,
    scratch: Vec<u8>,
}

/// Scratch text that is kept from message to message; one with much to unescape is rare.
const SCRATCH_KEPT: usize = 64 * 1024;

macro_rules! fields {
    ($($variant:ident => $name:literal,)*) => {
        /// The ECS names that decoders write, interned.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[allow(missing_docs)]
        pub enum FieldId { $($variant,)* }

        impl FieldId {
            /// Every field, in the order of the table.
            pub const ALL: &[FieldId] = &[$(FieldId::$variant,)*];

            /// The dotted ECS name.
            pub fn name(self) -> &'static str {
                match self { $(FieldId::$variant => $name,)* }
            }

            /// The field of a dotted ECS name.
            pub fn from_name(name: &str) -> Option<FieldId> {
                match name { $($name => Some(FieldId::$variant),)* _ => None }
            }
        }
    };
}

fields! {
    Timestamp => "@timestamp",
    Message => "message",
    SyslogVersion => "log.syslog.version",
    SyslogPriority => "log.syslog.priority",
    SyslogFacilityCode => "log.syslog.facility.code",
    SyslogFacilityName => "log.syslog.facility.name",
    SyslogSeverityCode => "log.syslog.severity.code",
    SyslogSeverityName => "log.syslog.severity.name",
    SyslogHostname => "log.syslog.hostname",
    SyslogAppname => "log.syslog.appname",
    SyslogProcid => "log.syslog.procid",
    SyslogMsgid => "log.syslog.msgid",
    LogLevel => "log.level",
    HostName => "host.name",
    HostIp => "host.ip",
    ProcessName => "process.name",
    ProcessPid => "process.pid",
    ProcessCommandLine => "process.command_line",
    ProcessExecutable => "process.executable",
    EventKind => "event.kind",
    EventAction => "event.action",
    EventType => "event.type",
    EventCode => "event.code",
    EventOutcome => "event.outcome",
    EventProvider => "event.provider",
    EventDataset => "event.dataset",
    EventSeverity => "event.severity",
    EventStart => "event.start",
    EventEnd => "event.end",
    EventDuration => "event.duration",
    SourceIp => "source.ip",
    SourcePort => "source.port",
    SourceBytes => "source.bytes",
    SourcePackets => "source.packets",
    SourceMac => "source.mac",
    SourceDomain => "source.domain",
    SourceUserName => "source.user.name",
    SourceNatIp => "source.nat.ip",
    SourceNatPort => "source.nat.port",
    SourceAsNumber => "source.as.number",
    DestinationIp => "destination.ip",
    DestinationPort => "destination.port",
    DestinationBytes => "destination.bytes",
    DestinationPackets => "destination.packets",
    DestinationMac => "destination.mac",
    DestinationDomain => "destination.domain",
    DestinationUserName => "destination.user.name",
    DestinationNatIp => "destination.nat.ip",
    DestinationNatPort => "destination.nat.port",
    DestinationAsNumber => "destination.as.number",
    NetworkTransport => "network.transport",
    NetworkIanaNumber => "network.iana_number",
    NetworkBytes => "network.bytes",
    NetworkPackets => "network.packets",
    NetworkType => "network.type",
    NetworkProtocol => "network.protocol",
    NetworkApplication => "network.application",
    NetworkDirection => "network.direction",
    NetworkVlanId => "network.vlan.id",
    ObserverIp => "observer.ip",
    ObserverName => "observer.name",
    ObserverHostname => "observer.hostname",
    ObserverVendor => "observer.vendor",
    ObserverProduct => "observer.product",
    ObserverVersion => "observer.version",
    ObserverSerialNumber => "observer.serial_number",
    RuleName => "rule.name",
    RuleId => "rule.id",
    UserName => "user.name",
    UserDomain => "user.domain",
    UserId => "user.id",
    UserEmail => "user.email",
    UrlOriginal => "url.original",
    UrlFull => "url.full",
    UrlDomain => "url.domain",
    UrlPath => "url.path",
    UrlQuery => "url.query",
    HttpRequestMethod => "http.request.method",
    HttpResponseStatusCode => "http.response.status_code",
    HttpRequestReferrer => "http.request.referrer",
    UserAgentOriginal => "user_agent.original",
    DnsQuestionName => "dns.question.name",
    DnsQuestionType => "dns.question.type",
    FileName => "file.name",
    FilePath => "file.path",
    FileSize => "file.size",
    FileHashMd5 => "file.hash.md5",
    FileHashSha1 => "file.hash.sha1",
    FileHashSha256 => "file.hash.sha256",
    FileHashSha512 => "file.hash.sha512",
    EmailFromAddress => "email.from.address",
    EmailToAddress => "email.to.address",
    EmailSubject => "email.subject",
    GroupName => "group.name",
    HttpVersion => "http.version",
    HttpResponseBytes => "http.response.body.bytes",
    TlsServerName => "tls.client.server_name",
    TlsJa3 => "tls.client.ja3",
    ObserverIngressInterface => "observer.ingress.interface.name",
    ObserverEgressInterface => "observer.egress.interface.name",
    UserEffectiveName => "user.effective.name",
    FlowVersion => "flow.version",
    FlowDomain => "flow.domain",
    FlowSamplingRate => "flow.sampling_rate",
    FlowTcpFlags => "flow.tcp_flags",
    FlowInput => "flow.input",
    FlowOutput => "flow.output",
}

impl Fields {
    /// Forgets everything, keeping the memory that messages usually need.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.extras.clear();
        self.scratch.clear();
        if self.scratch.capacity() > SCRATCH_KEPT {
            self.scratch.shrink_to(SCRATCH_KEPT);
        }
    }

    /// Adds a value; the first value written for a field is the one that [`Fields::find`] gives.
    pub fn push(&mut self, id: FieldId, value: Value) {
        self.entries.push((id, value));
    }

    /// Replaces the value of a field, or adds it.
    pub fn set(&mut self, id: FieldId, value: Value) {
        match self.entries.iter_mut().find(|(other, _)| *other == id) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((id, value)),
        }
    }

    /// Adds a value that ECS has no name for.
    pub fn push_extra(&mut self, extra: Extra) {
        self.extras.push(extra);
    }

    /// Copies text into the scratch and returns it as a value.
    pub fn text(&mut self, text: &[u8]) -> Value {
        let start = self.scratch.len() as u32;
        self.scratch.extend_from_slice(text);
        Value::Text(Span { start, end: self.scratch.len() as u32 })
    }

    /// The scratch text, to append to while a value is composed.
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    /// The first value of a field.
    pub fn find(&self, id: FieldId) -> Option<Value> {
        self.entries.iter().find(|(other, _)| *other == id).map(|(_, value)| *value)
    }

    /// The bytes of a textual value; empty for scalars.
    pub fn bytes<'a>(&'a self, message: &'a [u8], value: Value) -> &'a [u8] {
        match value {
            Value::Raw(span) => message.get(span.start as usize..span.end as usize).unwrap_or_default(),
            Value::Text(span) => self.scratch.get(span.start as usize..span.end as usize).unwrap_or_default(),
            Value::Static(text) => text.as_bytes(),
            _ => &[],
        }
    }

    /// Every named value, in the order written.
    pub fn entries(&self) -> &[(FieldId, Value)] {
        &self.entries
    }

    /// Every value without an ECS name.
    pub fn extras(&self) -> &[Extra] {
        &self.extras
    }
}
