//! Heartbeats: events that go the way of alerts, so that a receiver knows that the way is open.
//!
//! An output that asks for them gets one at the start and one every interval: raised like an alert,
//! written to the spool, delivered in order. One that was not delivered when the next is due is
//! missed. A heartbeat is never counted as an alert: its `event.kind` is `event`, its `event.action`
//! `heartbeat`, and what it says stands under `roje.heartbeat`:
//!
//! ```json
//! {"roje": {"heartbeat": {"output": "soc", "number": 7, "interval_seconds": 3600},
//!           "schema": 1, "tlp": "CLEAR", "summary": "heartbeat"},
//!  "@timestamp": "…", "event": {"action": "heartbeat", "created": "…", "kind": "event", "id": "…",
//!  "reason": "…"}, "agent": {"name": "…", "type": "roje", "version": "…"}, "ecs": {"version": "…"}}
//! ```
//!
//! `number` counts from 1 since the sensor started; `event.id` is another one each time, and the same
//! on a second delivery.

use crate::alert::{Agent, Alert, heartbeat};
use crate::input::{Nanos, Time};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// How the line of a heartbeat begins, and no alert's: an alert's `roje` has no such key.
const PREFIX: &[u8] = br#"{"roje":{"heartbeat":{"#;

/// Whether a record of the spool is a heartbeat.
pub fn is_line(payload: &[u8]) -> bool {
    payload.starts_with(PREFIX)
}

/// The heartbeat of one output.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    /// When the last was raised, by the steady clock.
    last: Option<Nanos>,
}

/// What was counted of the heartbeats of one output; read by the metrics at any time.
#[derive(Debug, Default)]
pub struct PulseStats {
    /// `roje_heartbeats_total`
    pub raised: AtomicU64,
    /// `roje_heartbeats_missed_total`
    pub missed: AtomicU64,
    /// `roje_heartbeat_delivered_timestamp_seconds`; 0 for never.
    pub delivered_at: AtomicI64,
    /// Number of the last that was delivered.
    delivered: AtomicU64,
}

impl Pulse {
    /// One every so often.
    pub fn new(interval: Duration) -> Pulse {
        Pulse { interval, last: None }
    }

    /// The next heartbeat, if it is time; the one before counts as missed if it is not delivered.
    pub fn beat(&mut self, agent: &Agent, output: &str, stats: &PulseStats, now: Time) -> Option<Alert> {
        let interval = Nanos::try_from(self.interval.as_nanos()).unwrap_or(Nanos::MAX);
        if self.last.is_some_and(|last| now.steady.saturating_sub(last) < interval) {
            return None;
        }
        self.last = Some(now.steady);
        let before = stats.raised.fetch_add(1, Ordering::Relaxed);
        if stats.delivered.load(Ordering::Acquire) < before {
            stats.missed.fetch_add(1, Ordering::Relaxed);
        }
        Some(heartbeat(agent, output, before + 1, self.interval.as_secs(), now.day))
    }
}

impl PulseStats {
    /// Notes that a heartbeat arrived. Those of an earlier run have numbers of their own and say
    /// nothing of this one.
    pub fn arrived(&self, heartbeat: &Alert, started: Nanos, now: Nanos) {
        if heartbeat.first_seen < started {
            return;
        }
        let number = heartbeat.heartbeat().map_or(0, |(_, number)| number);
        self.delivered.fetch_max(number, Ordering::Release);
        self.delivered_at.store(now / 1_000_000_000, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Encoding, Scope, human};
    use crate::detect::indicator::Tlp;

    const NOON: Nanos = 1_760_000_000_000_000_000;
    const SECOND: Nanos = 1_000_000_000;

    fn agent() -> Agent {
        Agent { name: "tirana".to_owned(), version: "1".to_owned() }
    }

    #[test]
    fn a_heartbeat_is_an_event_and_reads_back() {
        let stats = PulseStats::default();
        let now = Time { day: NOON, steady: 5 };
        let alert = Pulse::new(Duration::from_secs(3600)).beat(&agent(), "soc", &stats, now).unwrap();
        let line = alert.to_line();
        assert!(is_line(&line), "{}", String::from_utf8_lossy(&line));
        assert_eq!(Alert::from_line(&line).as_ref(), Ok(&alert));
        assert_eq!(Alert::from_line(&line).unwrap().to_line(), line);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["event"]["kind"], "event");
        assert_eq!(json["event"]["action"], "heartbeat");
        assert_eq!(json["roje"]["heartbeat"]["output"], "soc");
        assert_eq!(json["roje"]["heartbeat"]["number"], 1);
        assert_eq!(json["roje"]["heartbeat"]["interval_seconds"], 3600);
        assert_eq!((json["rule"].is_null(), json["threat"].is_null()), (true, true));
        assert_eq!((alert.scope, alert.tlp()), (Scope::Heartbeat, Tlp::Clear));
        let mut cef = Vec::new();
        Encoding::Cef.encode(&alert, &mut cef);
        assert!(String::from_utf8(cef).unwrap().contains("|Heartbeat|"));
        assert!(human(&alert, false).contains("eartbeat"));
    }

    #[test]
    fn one_that_is_not_delivered_when_the_next_is_due_is_missed() {
        let stats = PulseStats::default();
        let mut pulse = Pulse::new(Duration::from_secs(60));
        let mut beat = |second: Nanos, day: Nanos| {
            pulse.beat(&agent(), "soc", &stats, Time { day, steady: second * SECOND })
        };
        let first = beat(0, NOON).expect("at the start");
        // The clock of the day is set far ahead, and back.
        assert!(beat(59, NOON + 9_000_000 * SECOND).is_none());
        stats.arrived(&first, NOON, NOON + SECOND);
        let second = beat(60, NOON - 9_000 * SECOND).expect("an interval later");
        assert_ne!(first.id, second.id);
        assert_eq!(stats.missed.load(Ordering::Relaxed), 0);
        let third = beat(125, NOON + 125 * SECOND).expect("another");
        assert_eq!(stats.missed.load(Ordering::Relaxed), 1);
        // Of an earlier run.
        stats.arrived(&third, NOON + 200 * SECOND, NOON);
        assert!(beat(190, NOON).is_some());
        assert_eq!((stats.missed.load(Ordering::Relaxed), stats.raised.load(Ordering::Relaxed)), (2, 4));
    }
}
