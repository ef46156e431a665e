//! Makes alerts of hits: throttled, assigned to the constituents they touch, told in ECS.
//!
//! A worker offers a [`Hit`]; the alert thread turns it into [`Alert`]s.

use crate::decode::Fields;
use crate::decode::flow::Flow;
use crate::detect::{Match, RuleSet};
use crate::input::Nanos;
use std::net::SocketAddr;
use std::sync::Arc;

/// What was received, copied out of the worker's buffer.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// A syslog message; decoded by whoever makes the alert.
    Syslog {
        /// The bytes as received.
        bytes: Vec<u8>,
    },
    /// A flow record, decoded by the worker, which alone has its template.
    Flow {
        /// What every consumer needs.
        flow: Flow,
        /// Every field.
        fields: Box<Fields>,
        /// The bytes of the record.
        bytes: Vec<u8>,
    },
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
