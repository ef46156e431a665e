//! Makes alerts of hits: throttled, assigned to the constituents they touch, told in ECS.
//!
//! A worker offers a [`Hit`]; the [`Alerter`] of the alert thread decodes it, asks the
//! [`Directory`] whom it touches, folds repetitions, and emits [`Alert`]s. Whatever is folded
//! leaves later in a summary, so that the sum of [`Alert::count`] equals the matches offered.
//! [`Composer`] makes the same alert without any folding, for `scan` and `explain`.

mod budget;
mod cef;
mod compose;
mod directory;
mod ecs;
mod encode;
mod heartbeat;
mod human;
mod mask;
mod raise;
mod reason;
mod silence;
mod throttle;

pub use compose::{Agent, Composer};
pub use directory::{Constituent, Directory, Listener, Sector, Source, UnknownConstituent};
pub use ecs::{AlertError, SCHEMA};
pub use encode::{Encoding, commands_terminal, escape_json};
pub use heartbeat::heartbeat;
pub use human::{human, terminal_safe};
pub use raise::{Alerter, Overflow, SetSummary, client, throttle};
pub use silence::{Heard, Moment, Silences};

use crate::decode::Fields;
use crate::decode::flow::Flow;
use crate::detect::indicator::{Kind, Severity, Tlp};
use crate::detect::{Match, RuleSet, Side};
use crate::input::Nanos;
use crate::input::tls::Identity;
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What was received, copied once out of the worker's buffer; matches of one message share it.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made for a hit, and most hits on flows are as large")]
pub enum Evidence {
    /// A syslog message; decoded by whoever makes the alert.
    Syslog {
        /// The bytes as received.
        bytes: Arc<[u8]>,
    },
    /// A flow record, decoded by the worker, which alone has its template.
    Flow {
        /// What every consumer needs.
        flow: Flow,
        /// Every field.
        fields: Arc<Fields>,
        /// The bytes of the record.
        bytes: Arc<[u8]>,
    },
}

impl Evidence {
    /// The bytes as received.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Evidence::Syslog { bytes } | Evidence::Flow { bytes, .. } => bytes,
        }
    }
}

/// One match on its way to becoming an alert.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The rule set that the match refers to.
    pub rules: Arc<RuleSet>,
    /// What matched.
    pub matched: Match,
    /// What was received.
    pub evidence: Evidence,
    /// Index of the input in the configuration.
    pub input: u16,
    /// Who sent it.
    pub peer: Option<SocketAddr>,
    /// Who that is by a client certificate.
    pub identity: Option<Arc<Identity>>,
    /// When the first was received.
    pub received: Nanos,
    /// When the last of the coalesced hits was received.
    pub last: Nanos,
    /// How many matches it stands for.
    pub count: u64,
    /// Worker and sequence: the identity of the message beside its receive time.
    pub worker: u16,
    /// See `worker`.
    pub sequence: u64,
}

impl Hit {
    /// Who tells it: the exporter of a flow record, whom a relay may have named, else whoever sent it.
    pub fn sender(&self) -> Option<IpAddr> {
        let exporter = match &self.evidence {
            Evidence::Flow { flow, .. } => Some(flow.exporter).filter(|exporter| !exporter.is_unspecified()),
            Evidence::Syslog { .. } => None,
        };
        exporter.or(self.peer.map(|peer| peer.ip())).map(|sender| sender.to_canonical())
    }

    /// The address of the relay that sent it for another.
    pub fn relay(&self) -> Option<IpAddr> {
        let peer = self.peer.map(|peer| peer.ip().to_canonical());
        peer.filter(|peer| self.sender() != Some(*peer))
    }
}

/// What a worker hands to the alert thread.
#[derive(Clone, Debug)]
pub enum Raised {
    /// One match with its evidence.
    Hit(Box<Hit>),
    /// Matches that were only counted, because the channel was full.
    Summary(SetSummary),
    /// Somebody wants to know whether everything before it is on disk.
    Mark(tokio::sync::mpsc::UnboundedSender<bool>),
}

/// What one alert stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One match (and those of its batch that equal it).
    Match,
    /// Matches of one indicator that the throttle folded; the evidence is that of the first of them.
    Repeats,
    /// Matches of one set that were only counted: overload, or the budget of alerts was used up.
    Set,
    /// No match at all: sources of which something is expected are silent.
    Silence,
    /// No alert at all: an event that shows that the way to an output is open.
    Heartbeat,
}

/// One alert, owned and complete: it round-trips through ECS JSON ([`Alert::to_json`]).
///
/// What follows from the contributors (`event.severity`, `event.reason`, `rule`, `threat`,
/// `related`, `roje.tlp`) is not stored but told each time, so that an alert from which a
/// contributor was removed cannot still speak of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The event: decoded fields, `@timestamp`, `event.original`, `agent`, `observer`, `log`.
    pub event: Map<String, Value>,
    /// `event.id`
    pub id: String,
    /// `event.hash`; none where the original is not shown in full, nor for set summaries.
    pub hash: Option<String>,
    /// What it stands for.
    pub scope: Scope,
    /// What was found; none for set summaries.
    pub indicator: Option<Indicator>,
    /// Who lists it, one for each set, highest severity first, then by set name.
    pub contributors: Vec<Contribution>,
    /// Allow sets that know it.
    pub informs: Vec<Inform>,
    /// Whom it concerns.
    pub organization: Option<Organization>,
    /// Matches that it stands for.
    pub count: u64,
    /// When the first match of the series was received.
    pub first_seen: Nanos,
    /// When the last match was received.
    pub last_seen: Nanos,
    /// Distinct clients, at most [`MAX_CLIENTS`].
    pub clients: Vec<String>,
    /// It comes from an input that serves an exercise.
    pub exercise: bool,
    /// Another constituent's data was taken out of it.
    pub masked: bool,
    /// Digest of the rule set that matched.
    pub ruleset_digest: String,
}

/// Distinct clients that a summary names (INTERFACE, throttle).
pub const MAX_CLIENTS: usize = 20;

/// The value that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// Its kind.
    pub kind: Kind,
    /// Its normal form.
    pub value: String,
    /// What stood in the message: the subdomain, the address inside a prefix.
    pub atomic: String,
    /// The ECS field it stood in.
    pub field: String,
    /// Which endpoint it was.
    pub side: Side,
    /// Byte offset in `event.original`.
    pub offset: Option<u32>,
}

/// What one set says about the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The set.
    pub set: String,
    /// The indicator's id in it.
    pub id: Option<String>,
    /// Who made the set.
    pub producer: Option<String>,
    /// Which feed of the producer.
    pub feed: Option<String>,
    /// Where to read more.
    pub reference: Option<String>,
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
    /// What the analyst should know.
    pub description: Option<String>,
    /// It had expired when it matched.
    pub expired: bool,
}

/// What an allow set with `mode: inform` says about the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inform {
    /// The set.
    pub set: String,
    /// Why the value is allowed.
    pub reason: Option<String>,
    /// Marking of the remark itself.
    pub tlp: Tlp,
}

/// The constituent that an alert concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organization {
    /// Its name.
    pub name: String,
    /// Its sector.
    pub sector: Sector,
    /// Whom to call there.
    pub contact: Option<String>,
}

/// What a match of some severity is told as: one less for a contact that was refused.
fn severity_of(severity: Severity, denied: bool) -> Severity {
    match severity {
        _ if !denied => severity,
        Severity::Critical => Severity::High,
        Severity::High => Severity::Medium,
        Severity::Medium | Severity::Low => Severity::Low,
    }
}

impl Alert {
    /// The highest severity among its contributors; one less for a contact that was refused.
    pub fn severity(&self) -> Severity {
        let highest = self.contributors.iter().map(|one| one.severity).max().unwrap_or(Severity::Low);
        severity_of(highest, self.is_denied())
    }

    /// The exporter of the flow says that it refused or dropped it.
    pub fn is_denied(&self) -> bool {
        let kinds = self.event.get("event").and_then(|event| event.get("type")).and_then(Value::as_array);
        self.event.contains_key("flow")
            && kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "denied"))
    }

    /// The strictest marking among its contributors and remarks.
    pub fn tlp(&self) -> Tlp {
        if self.scope == Scope::Heartbeat {
            return Tlp::Clear;
        }
        let contributors = self.contributors.iter().map(|one| one.tlp);
        contributors.chain(self.informs.iter().map(|one| one.tlp)).max().unwrap_or(Tlp::Red)
    }

    /// Some contributor had expired.
    pub fn expired(&self) -> bool {
        self.contributors.iter().any(|one| one.expired)
    }

    /// One sentence on which an analyst can act.
    pub fn reason(&self) -> String {
        reason::reason(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::compose::tests::sample;
}
