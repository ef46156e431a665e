//! The event of a heartbeat: made here, so that every encoding and every output knows it.

use super::compose::hex;
use super::ecs::{self, AlertError};
use super::{Agent, Alert, Scope};
use crate::decode;
use crate::input::Nanos;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// A heartbeat for one output.
pub fn heartbeat(agent: &Agent, output: &str, number: u64, interval_seconds: u64, now: Nanos) -> Alert {
    let mut hasher = Sha256::new();
    for part in [agent.name.as_bytes(), output.as_bytes()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(now.to_le_bytes());
    hasher.update(number.to_le_bytes());
    let mut event = Map::new();
    let told = json!({ "output": output, "number": number, "interval_seconds": interval_seconds });
    // First in the line, where the spool looks for it.
    ecs::put(&mut event, "roje.heartbeat", told);
    ecs::put(&mut event, "@timestamp", json!(ecs::stamp(now)));
    ecs::put(&mut event, "event.action", json!("heartbeat"));
    ecs::put(&mut event, "event.created", json!(ecs::stamp(now)));
    ecs::put(&mut event, "agent.name", json!(agent.name));
    ecs::put(&mut event, "agent.type", json!("roje"));
    ecs::put(&mut event, "agent.version", json!(agent.version));
    ecs::put(&mut event, "ecs.version", json!(decode::ecs::ecs_version()));
    bare(event, hex(&hasher.finalize(), 16), now)
}

fn bare(event: Map<String, Value>, id: String, at: Nanos) -> Alert {
    Alert {
        event,
        id,
        hash: None,
        scope: Scope::Heartbeat,
        indicator: None,
        contributors: Vec::new(),
        informs: Vec::new(),
        organization: None,
        count: 0,
        first_seen: at,
        last_seen: at,
        clients: Vec::new(),
        exercise: false,
        masked: false,
        ruleset_digest: String::new(),
    }
}

impl Alert {
    /// Of a heartbeat: the output that it is for, and its number.
    pub fn heartbeat(&self) -> Option<(&str, u64)> {
        if self.scope != Scope::Heartbeat {
            return None;
        }
        let output = ecs::find(&self.event, "roje.heartbeat.output")?.as_str()?;
        Some((output, ecs::find(&self.event, "roje.heartbeat.number")?.as_u64()?))
    }
}

/// Adds to the event what a heartbeat tells beside it.
pub(super) fn complete(alert: &Alert, out: &mut Map<String, Value>, reason: String) {
    ecs::put(out, "event.kind", json!("event"));
    ecs::put(out, "event.id", json!(alert.id));
    ecs::put(out, "event.reason", Value::String(reason));
    ecs::put(out, "roje.schema", json!(ecs::SCHEMA));
    ecs::put(out, "roje.tlp", json!(alert.tlp().name().to_ascii_uppercase()));
    ecs::put(out, "roje.summary", json!("heartbeat"));
}

/// Reads what [`complete`] made.
pub(super) fn read(mut json: Map<String, Value>) -> Result<Alert, AlertError> {
    let id = ecs::text(&json, "event.id")?;
    let at = ecs::time(&json, "event.created")?.ok_or(AlertError::Field("event.created"))?;
    if let Some(Value::Object(roje)) = json.get_mut("roje") {
        roje.retain(|name, _| name == "heartbeat");
    }
    if let Some(Value::Object(event)) = json.get_mut("event") {
        event.retain(|name, _| !matches!(name.as_str(), "kind" | "id" | "reason"));
    }
    let alert = bare(json, id, at);
    alert.heartbeat().ok_or(AlertError::Field("roje.heartbeat"))?;
    Ok(alert)
}
