//! The ladder of times: absolute, relative to the exporter's uptime, relative to a start-up time it
//! told, export time; and the receive time where an export names none.

use crate::input::Nanos;

/// What a datagram says about time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// When the datagram left the exporter, by its own clock; the receive time where it has none.
    pub(super) exported: Nanos,
    /// Milliseconds since the exporter started, if its header says.
    pub(super) uptime: Option<u32>,
    /// When the exporter started, if a record of its said so.
    pub(super) boot: Option<Nanos>,
    /// No flow of the datagram ends later.
    pub(super) latest: Nanos,
}

/// How a record writes an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// Not an instant.
    #[default]
    None,
    /// Milliseconds of the exporter's uptime.
    Uptime,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// The NTP format, or microseconds since 1970.
    Microseconds,
    /// The NTP format, or nanoseconds since 1970.
    Nanoseconds,
    /// Microseconds before the export.
    Delta,
}

pub(super) const SECOND: Nanos = 1_000_000_000;
pub(super) const MILLISECOND: Nanos = 1_000_000;
pub(super) const MICROSECOND: Nanos = 1_000;

/// Seconds from 1900, where NTP begins to count, to 1970.
const NTP_EPOCH: i128 = 2_208_988_800;

/// Of datagrams that are read as they come, nothing happened more than a day from now; a day, since some
/// exporters write local time.
const AHEAD: Nanos = 86_400 * SECOND;
/// Further after the export no flow ends: half of what 32 bits of uptime can tell, since clocks drift and
/// the uptime of an exporter with them.
const AFTER: Nanos = 25 * 86_400 * SECOND;
/// Further before the export no flow begins: connections of a year are met.
const BEFORE: Nanos = 400 * 86_400 * SECOND;
/// Milliseconds that a flow's uptime may be ahead of its header's: exporters fill the two at different
/// times. More, and it is from before the wrap.
const OUTRUN: Nanos = 3_600_000;
/// An exporter whose clock shows an earlier time was never set: 2000-01-01.
const NEVER_SET: Nanos = 946_684_800 * SECOND;

impl Clock {
    /// The clock of a datagram that says when it was exported; false if that is implausible, and the
    /// receive time stands for it. `live` says that the receive time is that of the datagram itself.
    pub(super) fn new(told: Nanos, uptime: Option<u32>, received: Nanos, live: bool) -> (Clock, bool) {
        let ahead = if live { received.saturating_add(AHEAD) } else { Nanos::MAX };
        let implausible = told < NEVER_SET || told > ahead;
        let set = !implausible || received < NEVER_SET;
        let exported = if set { told } else { received };
        let latest = exported.saturating_add(AFTER).min(ahead).max(exported);
        (Clock { exported, uptime, boot: None, latest }, set)
    }

    /// Keeps the times of a flow within reason; true if something was changed. A flow ends no later
    /// than about its export, and begins no later than it ends.
    pub(super) fn clamp(&self, start: &mut Option<Nanos>, end: &mut Option<Nanos>) -> bool {
        let (first, last) = (self.exported.saturating_sub(BEFORE), self.latest);
        let mut clamped = false;
        for time in [&mut *start, &mut *end] {
            if let Some(value) = time
                && !(first..=last).contains(value)
            {
                *value = if *value > last { self.exported } else { first };
                clamped = true;
            }
        }
        if let (Some(start), Some(end)) = (start, *end)
            && *start > end
        {
            *start = end;
            clamped = true;
        }
        clamped
    }

    /// Resolves an instant; none where the value is zero or outside of what can be represented.
    pub(super) fn resolve(&self, unit: Unit, raw: u64) -> Option<Nanos> {
        match unit {
            Unit::None => None,
            Unit::Uptime => self.at_uptime(raw),
            Unit::Delta => self.exported.checked_sub(Nanos::try_from(raw).ok()?.checked_mul(MICROSECOND)?),
            _ if raw == 0 => None,
            Unit::Seconds => scaled(raw, SECOND),
            Unit::Milliseconds => scaled(raw, MILLISECOND),
            Unit::Microseconds => self.ntp_or(raw, MICROSECOND),
            Unit::Nanoseconds => self.ntp_or(raw, 1),
        }
    }

    /// The instant of a value of the exporter's uptime, whose 32 bits wrap after 49.7 days: the last one
    /// before the export is meant, or one shortly behind.
    fn at_uptime(&self, raw: u64) -> Option<Nanos> {
        // Some exporters write milliseconds since 1970 in eight octets here.
        let Ok(switched) = u32::try_from(raw) else { return scaled(raw, MILLISECOND) };
        if let Some(uptime) = self.uptime {
            let before = Nanos::from(uptime.wrapping_sub(switched));
            let ahead = Nanos::from(switched.wrapping_sub(uptime));
            return match ahead <= OUTRUN {
                true => self.exported.checked_add(ahead * MILLISECOND),
                false => self.exported.checked_sub(before * MILLISECOND),
            };
        }
        let wrap = (1i128 << 32) * i128::from(MILLISECOND);
        let first = i128::from(self.boot?) + i128::from(switched) * i128::from(MILLISECOND);
        let wraps = (i128::from(self.exported) - first + wrap / 2).div_euclid(wrap);
        Nanos::try_from(first + wraps.max(0) * wrap).ok()
    }

    /// RFC 7011 writes micro- and nanoseconds as an NTP timestamp (section 6.1.9), many exporters
    /// as a count since 1970; the reading nearer to the export time is meant.
    fn ntp_or(&self, raw: u64, unit: Nanos) -> Option<Nanos> {
        let fraction = (i128::from(raw & 0xffff_ffff) * i128::from(SECOND)) >> 32;
        let ntp = (i128::from(raw >> 32) - NTP_EPOCH) * i128::from(SECOND) + fraction;
        let count = i128::from(raw) * i128::from(unit);
        let exported = i128::from(self.exported);
        let nearer = if (ntp - exported).abs() <= (count - exported).abs() { ntp } else { count };
        Nanos::try_from(nearer).ok()
    }
}

fn scaled(raw: u64, unit: Nanos) -> Option<Nanos> {
    Nanos::try_from(raw).ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_within_reason() {
        const NOW: Nanos = 1_700_000_000 * SECOND;
        let (clock, _) = Clock::new(NOW, None, NOW + SECOND, true);
        let cases = [
            ("plausible", (Some(NOW - SECOND), Some(NOW)), (Some(NOW - SECOND), Some(NOW)), false),
            ("beyond a day", (None, Some(NOW + AHEAD + 2 * SECOND)), (None, Some(NOW)), true),
            ("local time", (None, Some(NOW + 7200 * SECOND)), (None, Some(NOW + 7200 * SECOND)), false),
            ("the future", (Some(NOW), Some(2 * NOW)), (Some(NOW), Some(NOW)), true),
            ("seconds of uptime", (Some(5 * SECOND), Some(NOW)), (Some(NOW - BEFORE), Some(NOW)), true),
            ("backwards", (Some(NOW), Some(NOW - SECOND)), (Some(NOW - SECOND), Some(NOW - SECOND)), true),
            ("none", (None, None), (None, None), false),
        ];
        for (name, (mut start, mut end), expected, clamped) in cases {
            assert_eq!(clock.clamp(&mut start, &mut end), clamped, "{name}");
            assert_eq!((start, end), expected, "{name}");
        }
        let exported = |told, received, live| {
            let (clock, set) = Clock::new(told, None, received, live);
            (clock.exported, set)
        };
        assert_eq!(exported(5, NOW, false), (NOW, false), "a clock that was never set");
        assert_eq!(exported(5, 7, true), (5, true), "nor is ours");
        assert_eq!(exported(2 * NOW, NOW, true), (NOW, false));
        assert_eq!(exported(2 * NOW, NOW, false), (2 * NOW, true), "a file has no receive time");
    }

    #[test]
    fn instants_are_resolved() {
        const NOW: Nanos = 1_700_000_000 * SECOND;
        let plain = Clock { exported: NOW, uptime: None, boot: None, latest: Nanos::MAX };
        let up = |uptime| Clock { uptime: Some(uptime), ..plain };
        let boot = |before: Nanos| Clock { boot: Some(NOW - before), ..plain };
        let ntp = ((1_700_000_000 + NTP_EPOCH as u64) << 32) | (1 << 31);
        let cases = [
            ("uptime", up(10_000), Unit::Uptime, 9_000, Some(NOW - SECOND)),
            ("uptime that wrapped", up(500), Unit::Uptime, u64::from(u32::MAX) - 499, Some(NOW - SECOND)),
            ("a flow that outruns the header", up(10_000), Unit::Uptime, 10_500, Some(NOW + SECOND / 2)),
            ("uptime of thirty days ago", up(2_592_000_000), Unit::Uptime, 0, Some(NOW - 2_592_000 * SECOND)),
            ("an hour ahead", up(0), Unit::Uptime, 3_600_000, Some(NOW + 3600 * SECOND)),
            (
                "more than an hour ahead is before the wrap",
                up(0),
                Unit::Uptime,
                3_600_001,
                Some(NOW - ((1 << 32) - 3_600_001) * MILLISECOND),
            ),
            ("uptime without anything to count from", plain, Unit::Uptime, 9_000, None),
            ("start-up time", boot(10 * SECOND), Unit::Uptime, 9_000, Some(NOW - SECOND)),
            (
                "start-up time more than one wrap ago",
                boot((1 << 32) * MILLISECOND + 10 * SECOND),
                Unit::Uptime,
                9_000,
                Some(NOW - SECOND),
            ),
            ("eight octets", up(1), Unit::Uptime, 1_700_000_000_500, Some(NOW + SECOND / 2)),
            ("seconds", plain, Unit::Seconds, 1_700_000_001, Some(NOW + SECOND)),
            ("milliseconds", plain, Unit::Milliseconds, 1_700_000_000_001, Some(NOW + MILLISECOND)),
            ("NTP", plain, Unit::Microseconds, ntp, Some(NOW + SECOND / 2)),
            ("plain microseconds", plain, Unit::Microseconds, 1_700_000_000_000_001, Some(NOW + MICROSECOND)),
            ("plain nanoseconds", plain, Unit::Nanoseconds, 1_700_000_000_000_000_001, Some(NOW + 1)),
            ("delta", plain, Unit::Delta, 1, Some(NOW - MICROSECOND)),
            ("zero", plain, Unit::Milliseconds, 0, None),
            ("too large", plain, Unit::Seconds, u64::MAX, None),
        ];
        for (name, clock, unit, raw, expected) in cases {
            assert_eq!(clock.resolve(unit, raw), expected, "{name}");
        }
    }
}
