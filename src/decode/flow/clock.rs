//! The ladder of times: absolute, relative to the exporter's uptime, relative to a start-up time it
//! told, export time; and the receive time where an export names none.

use crate::input::Nanos;

/// What a datagram says about time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When the datagram left the exporter, by its own clock; the receive time where it has none.
    pub(super) exported: Nanos,
    /// Milliseconds since the exporter started, if its header says.
    pub(super) uptime: Option<u32>,
    /// When the exporter started, if a record of its said so.
    pub(super) boot: Option<Nanos>,
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

impl Clock {
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

    /// The instant of a value of the exporter's uptime, whose 32 bits wrap after 49.7 days: the
    /// occurrence nearest to the export is meant.
    fn at_uptime(&self, raw: u64) -> Option<Nanos> {
        // Some exporters write milliseconds since 1970 in eight octets here.
        let Ok(switched) = u32::try_from(raw) else { return scaled(raw, MILLISECOND) };
        if let Some(uptime) = self.uptime {
            let before = uptime.wrapping_sub(switched) as i32;
            return self.exported.checked_sub(Nanos::from(before) * MILLISECOND);
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
    fn instants_are_resolved() {
        const NOW: Nanos = 1_700_000_000 * SECOND;
        let plain = Clock { exported: NOW, uptime: None, boot: None };
        let up = |uptime| Clock { uptime: Some(uptime), ..plain };
        let boot = |before: Nanos| Clock { boot: Some(NOW - before), ..plain };
        let ntp = ((1_700_000_000 + NTP_EPOCH as u64) << 32) | (1 << 31);
        let cases = [
            ("uptime", up(10_000), Unit::Uptime, 9_000, Some(NOW - SECOND)),
            ("uptime that wrapped", up(500), Unit::Uptime, u64::from(u32::MAX) - 499, Some(NOW - SECOND)),
            ("a flow that outruns the header", up(10_000), Unit::Uptime, 10_500, Some(NOW + SECOND / 2)),
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
