//! How many alerts may leave singly: a global budget that no one sender can use up.
//!
//! The budget is a pool of [`BURST`] grants, of which [`REFILL`] a second come back. A sender is
//! granted another alert while it holds fewer grants than are free (the dynamic threshold of
//! shared-memory switches): alone it gets half of the pool, of *n* floods each gets a share of
//! 1/(n+1), and as much is left for whoever has been quiet. Grants come back round robin, so
//! that a flood does not take the refill of the others either. The sender is the address that
//! the packet came from, never anything it wrote.
//!
//! A flood from very many forged addresses can still drain the pool. Against that each
//! configured `[[source]]` and each rule set has a small [`GUARANTEE`] of its own, which others
//! cannot touch: its first alerts go out whatever else happens.
//!
//! Memory is bounded by construction: a sender is only known while it holds a grant.

use crate::input::Nanos;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Grants in the pool: an outbreak's worth of distinct alerts, 30 MB in the spool.
pub const BURST: u32 = 10_000;
/// Grants that come back each second: more than people read, less than harms a receiver.
pub const REFILL: u32 = 100;
/// Alerts that a configured source, and a set, may raise when the pool is empty.
pub const GUARANTEE: u32 = 10;
/// Nanoseconds until one alert of a guarantee comes back.
pub const GUARANTEE_REFILL: Nanos = 10_000_000_000;
/// Sets and sources with a guarantee in use; both come from configuration, the bound is a belt.
const MAX_GUARANTEES: usize = 65_536;

/// Whose guarantee an alert may use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Beneficiary {
    Source(u16),
    Set(Box<str>),
}

#[derive(Debug)]
pub struct Budget {
    burst: u32,
    refill: u32,
    /// Grants held; the rest of `burst` is free.
    held: u32,
    holders: HashMap<Option<IpAddr>, u32>,
    /// Every holder once, in the order in which grants come back.
    turns: VecDeque<Option<IpAddr>>,
    refilled: Option<Nanos>,
    /// Uses and the instant from which they come back.
    guarantees: HashMap<Beneficiary, (u32, Nanos)>,
}

impl Budget {
    pub fn new(burst: u32, refill: u32) -> Budget {
        Budget {
            burst,
            refill: refill.max(1),
            held: 0,
            holders: HashMap::new(),
            turns: VecDeque::new(),
            refilled: None,
            guarantees: HashMap::new(),
        }
    }

    /// Whether one more alert may leave singly; `source` is the index of the sender's `[[source]]`.
    pub fn admit(&mut self, sender: Option<IpAddr>, source: Option<u16>, set: &str, now: Nanos) -> bool {
        self.advance(now);
        if self.grant(sender) {
            return true;
        }
        source.is_some_and(|index| self.guaranteed(Beneficiary::Source(index), now))
            || self.guaranteed(Beneficiary::Set(set.into()), now)
    }

    fn grant(&mut self, sender: Option<IpAddr>) -> bool {
        let free = self.burst - self.held;
        let holds = self.holders.get(&sender).copied().unwrap_or(0);
        if holds >= free {
            return false;
        }
        if holds == 0 {
            self.turns.push_back(sender);
        }
        self.holders.insert(sender, holds + 1);
        self.held += 1;
        true
    }

    /// Gives grants back, one to each holder in turn.
    fn advance(&mut self, now: Nanos) {
        let interval = 1_000_000_000 / Nanos::from(self.refill);
        let since = *self.refilled.get_or_insert(now);
        // A clock that was set back must not stop the refill until it catches up.
        if now < since {
            self.refilled = Some(now);
            return;
        }
        let due = (now - since) / interval;
        self.refilled = Some(since + due * interval);
        for _ in 0..due.min(Nanos::from(self.held)) {
            let Some(holder) = self.turns.pop_front() else { return };
            self.held -= 1;
            match self.holders.get_mut(&holder) {
                Some(held) if *held > 1 => {
                    *held -= 1;
                    self.turns.push_back(holder);
                }
                _ => {
                    self.holders.remove(&holder);
                }
            }
        }
    }

    fn guaranteed(&mut self, who: Beneficiary, now: Nanos) -> bool {
        if self.guarantees.len() >= MAX_GUARANTEES {
            self.guarantees.retain(|_, (_, since)| now.saturating_sub(*since) < GUARANTEE_REFILL);
            if self.guarantees.len() >= MAX_GUARANTEES {
                return false;
            }
        }
        let (used, since) = self.guarantees.entry(who).or_insert((0, now));
        let back = now.saturating_sub(*since).max(0) / GUARANTEE_REFILL;
        *since = if now < *since { now } else { *since + back * GUARANTEE_REFILL };
        *used = used.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
        let granted = *used < GUARANTEE;
        *used += u32::from(granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn sender(last: u32) -> Option<IpAddr> {
        Some(IpAddr::from(last.to_be_bytes()))
    }

    /// Grants of the pool alone, without the guarantees.
    fn granted(budget: &mut Budget, who: Option<IpAddr>, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(budget.grant(who))).sum()
    }

    #[test]
    fn one_flood_takes_half_and_the_others_still_get_in() {
        let mut budget = Budget::new(1000, 100);
        assert_eq!(granted(&mut budget, sender(1), 100_000), 500);
        assert_eq!(granted(&mut budget, sender(2), 100_000), 250);
        assert_eq!(granted(&mut budget, sender(3), 10), 10);
    }

    #[test]
    fn the_whole_refill_serves_a_single_sender() {
        let mut budget = Budget::new(1000, 100);
        budget.advance(0);
        granted(&mut budget, sender(1), 100_000);
        for second in 1..10 {
            budget.advance(second * SECOND);
            assert!((50..=100).contains(&granted(&mut budget, sender(1), 1000)));
        }
    }

    #[test]
    fn forged_senders_cannot_touch_a_guarantee() {
        let mut budget = Budget::new(1000, 100);
        let mut flood = 0;
        for last in 0..100_000 {
            flood += u32::from(budget.admit(sender(last), None, "flooded", 0));
        }
        assert_eq!(flood, 1000 + GUARANTEE);
        assert!(budget.admit(sender(7), Some(3), "flooded", 0), "a configured source");
        assert!(budget.admit(sender(7), None, "other", 0), "another set");
        assert!(!budget.admit(sender(7), None, "flooded", 0));
        assert!(budget.holders.len() <= 1000 && budget.turns.len() == budget.holders.len());
    }

    #[test]
    fn guarantees_come_back() {
        let mut budget = Budget::new(0, 1);
        let mut now = 0;
        let drain = |budget: &mut Budget, now| (0..99).filter(|_| budget.admit(None, None, "a", now)).count();
        assert_eq!(drain(&mut budget, now), GUARANTEE as usize);
        now += 3 * GUARANTEE_REFILL;
        assert_eq!(drain(&mut budget, now), 3);
        assert_eq!(drain(&mut budget, now - GUARANTEE_REFILL), 0, "clock set back");
    }

    #[test]
    fn everything_comes_back() {
        let mut budget = Budget::new(1000, 100);
        for last in 0..2000 {
            budget.admit(sender(last % 7), None, "a", 0);
        }
        budget.advance(1000 * SECOND);
        assert_eq!((budget.held, budget.holders.len(), budget.turns.len()), (0, 0, 0));
    }
}
