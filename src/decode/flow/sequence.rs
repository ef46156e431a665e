//! Accounts for what an exporter sent and we never saw, from its sequence numbers.
//!
//! The unit differs (NetFlow v5 counts flows, v9 packets, IPFIX data records, sFlow datagrams);
//! the arithmetic does not: a datagram bears a number, and says how far it moves the counter.

/// What one datagram's number tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Units skipped before this datagram.
    pub(super) skipped: u64,
    /// Units once counted as skipped that this datagram brings after all.
    pub(super) late: u64,
    /// The exporter started anew: its uptime stepped back, or the number jumped out of reach.
    pub(super) restarted: bool,
}

/// When a datagram was sent, as far as it says, and when it came, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Since the exporter started; its 32 bits wrap.
    pub(super) uptime: u32,
    /// Since 1970 by the exporter's own clock, if that was set.
    pub(super) exported: Option<i64>,
    /// Since 1970 by ours.
    pub(super) received: i64,
}

/// What two datagrams in a row tell of the run of their exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Same,
    Another,
    /// Their numbers must tell.
    Unknown,
}

/// The sequence of one exporter and domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    expected: Option<u32>,
    /// Of the last datagram.
    times: Option<Times>,
    /// The number of the last datagram.
    last: u32,
    /// None until something is missing, which for most exporters is never.
    gaps: Option<Box<[Gap; GAPS]>>,
    clock: u32,
    distrust: u8,
    /// How many more datagrams were out of order than were in order, of late.
    disorder: u8,
    untrusted: bool,
}

/// A range that was skipped, and the datagram at which that was noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    first: u32,
    length: u32,
    noticed: u32,
}

/// Gaps that late datagrams may still fill: one for each datagram that is waited for.
const GAPS: usize = REORDER as usize;
/// A datagram later than this many others is not waited for.
const REORDER: u32 = 64;
/// Uptimes may step back this much (ms) through reordering; more is a restart.
const UPTIME_SLACK: u32 = 60_000;
/// One jump that makes no sense costs 8, one datagram in order restores 1; at the limit the numbers
/// are noise (two processes behind one domain, for one) and nothing is reported until they settle.
const NONSENSE: u8 = 8;
const UNTRUSTED: u8 = 64;
/// Datagrams after which an exporter counts in another unit if nearly every one was out of order: such as
/// flows where packets are to be counted, or messages where records are.
const DISORDER: u8 = 64;
/// So many datagrams out of order weigh one that is in order.
const IN_ORDER: u8 = 4;

impl Sequence {
    /// What one takes in memory at most, the gaps included.
    pub(super) const BYTES: usize = size_of::<Sequence>() + size_of::<[Gap; GAPS]>();

    /// The numbers make no sense, so nothing is concluded from them. They are trusted again when
    /// [`NONSENSE`] times as many datagrams as there were senseless jumps have come in order.
    pub(super) fn is_untrusted(&self) -> bool {
        self.untrusted
    }

    /// When the exporter started, in milliseconds since 1970, by its own clock and the last datagram.
    pub(super) fn boot(&self) -> Option<i64> {
        self.times?.boot()
    }

    /// Takes up a datagram numbered `number` that moves the counter by `advance`; none when the
    /// advance cannot be known. A jump of more than `reach` is a restart, not a loss; but where the times
    /// tell that the exporter has not started anew, any jump ahead is a loss.
    pub(super) fn account(
        &mut self,
        number: u32,
        advance: Option<u32>,
        times: Option<Times>,
        reach: u32,
    ) -> Account {
        self.clock = self.clock.wrapping_add(1);
        let run = self.run(times);
        let (restarted, steady) = (run == Run::Another, run == Run::Same);
        self.times = times;
        let last = std::mem::replace(&mut self.last, number);
        let next = advance.map(|advance| number.wrapping_add(advance));
        let Some(expected) = self.expected.filter(|_| !restarted) else {
            self.expected = next;
            self.forget_gaps();
            return Account { restarted, ..Account::default() };
        };
        let ahead = number.wrapping_sub(expected);
        let behind = expected.wrapping_sub(number);
        if ahead == 0 {
            self.expected = next;
            self.distrust = self.distrust.saturating_sub(1);
            self.disorder = self.disorder.saturating_sub(IN_ORDER);
            self.untrusted &= self.distrust > 0;
            return Account::default();
        }
        // Two processes behind one domain jump far ahead time and again, and back between.
        if ahead <= reach || (steady && ahead < 1 << 31 && self.distrust == 0) {
            self.expected = next;
            self.remember(expected, ahead);
            self.doubt();
            let skipped = if self.untrusted { 0 } else { ahead.into() };
            return Account { skipped, ..Account::default() };
        }
        if behind <= reach {
            let late = self.fill(number, advance.unwrap_or(0));
            // A datagram that comes twice is as far behind as the units of those since.
            if late == 0 && number != last {
                self.doubt();
            }
            if late > 0 || behind <= REORDER.saturating_mul(advance.unwrap_or(1).max(1)) {
                return Account { late: if self.untrusted { 0 } else { late }, ..Account::default() };
            }
        }
        self.distrust = self.distrust.saturating_add(NONSENSE).min(2 * UNTRUSTED);
        self.untrusted |= self.distrust >= UNTRUSTED;
        self.expected = next;
        self.forget_gaps();
        Account { restarted: !self.untrusted, ..Account::default() }
    }

    /// Whether a datagram would be the first of another run of its exporter, as far as its times tell; by
    /// what number there is, only if it has none and the numbers have made sense so far.
    pub(super) fn would_restart(&self, number: u32, times: Option<Times>, reach: u32) -> bool {
        match (times, self.expected) {
            (Some(_), _) => self.run(times) == Run::Another,
            (None, Some(expected)) => {
                let distance = number.wrapping_sub(expected).min(expected.wrapping_sub(number));
                distance > reach && self.distrust == 0
            }
            (None, None) => false,
        }
    }

    /// Notes a datagram that is out of order for no good reason.
    fn doubt(&mut self) {
        self.disorder = self.disorder.saturating_add(1).min(DISORDER);
        if self.disorder == DISORDER {
            self.distrust = self.distrust.max(UNTRUSTED);
            self.untrusted = true;
        }
    }

    fn forget_gaps(&mut self) {
        if let Some(gaps) = &mut self.gaps {
            **gaps = [Gap::default(); GAPS];
        }
    }

    fn run(&self, now: Option<Times>) -> Run {
        match (self.times, now) {
            (Some(before), Some(now)) => Run::of(before, now),
            _ => Run::Unknown,
        }
    }

    fn remember(&mut self, first: u32, length: u32) {
        let clock = self.clock;
        let gaps = self.gaps.get_or_insert_with(|| Box::new([Gap::default(); GAPS]));
        let oldest = gaps
            .iter_mut()
            .min_by_key(|gap| if gap.length == 0 { 0 } else { u32::MAX - clock.wrapping_sub(gap.noticed) });
        if let Some(gap) = oldest {
            *gap = Gap { first, length, noticed: clock };
        }
    }

    /// Takes a late range out of the gap that holds its beginning; gives the units it filled.
    fn fill(&mut self, number: u32, advance: u32) -> u64 {
        let clock = self.clock;
        let Some(gaps) = &mut self.gaps else { return 0 };
        let Some(gap) = gaps.iter_mut().find(|gap| {
            clock.wrapping_sub(gap.noticed) <= REORDER && number.wrapping_sub(gap.first) < gap.length
        }) else {
            return 0;
        };
        let offset = number.wrapping_sub(gap.first);
        let filled = advance.min(gap.length - offset);
        let after = Gap { first: number.wrapping_add(filled), length: gap.length - offset - filled, ..*gap };
        gap.length = offset;
        // What is still missing behind the late range is a gap of its own, as old as the one it was
        // part of; without room it is given up.
        if after.length > 0 {
            let free = if offset == 0 { Some(gap) } else { gaps.iter_mut().find(|gap| gap.length == 0) };
            if let Some(free) = free {
                *free = after;
            }
        }
        filled.into()
    }
}

impl Times {
    fn boot(self) -> Option<i64> {
        Some(self.exported?.saturating_sub(self.uptime.into()))
    }
}

impl Run {
    /// An uptime that falls is another run, but where its 32 bits wrap. So is one that rises by less than
    /// the time that went by, after a silence; there the exporter's clock and ours must agree on that time:
    /// the one alone was set, and the other alone is that of a capture, or was set itself. One that stands
    /// still is none: some exporters leave it zero.
    fn of(before: Times, now: Times) -> Run {
        let back = before.uptime.wrapping_sub(now.uptime);
        if back == 0 {
            return Run::Unknown;
        }
        if (UPTIME_SLACK..1 << 31).contains(&back) {
            return Run::Another;
        }
        let Some((exported_before, exported_now)) = before.boot().zip(now.boot()) else {
            return Run::Unknown;
        };
        let received = |times: Times| times.received.saturating_sub(times.uptime.into());
        let both = is_another_boot(exported_before, exported_now)
            && is_another_boot(received(before), received(now));
        if both { Run::Another } else { Run::Same }
    }
}

/// Whether two datagrams, by the start-up times that they tell, come from different runs of an exporter. The
/// 32 bits of uptime wrap, which moves the start-up time by as much; and a clock that is set back is no start.
pub(super) fn is_another_boot(before: i64, now: i64) -> bool {
    const WRAP: i64 = 1 << 32;
    let slack = i64::from(UPTIME_SLACK);
    let moved = now.saturating_sub(before);
    moved > slack && !(WRAP - slack..=WRAP + slack).contains(&moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_up_time_tells_loss_from_restart() {
        const DAY: u32 = 86_400_000;
        const NOW: i64 = 1_700_000_000_000;
        // Uptime and number before and after, milliseconds between by the exporter's clock and by ours: units
        // lost, restarted.
        type Case = (&'static str, (u32, u32), (u32, u32), (i64, i64), u64, bool);
        let both = |between: i64| (between, between);
        let day = i64::from(DAY);
        let cases: [Case; 15] = [
            ("a long loss", (9 * DAY, 100), (9 * DAY + 60_000, 1_000_100), both(60_000), 999_999, false),
            ("a restart", (9 * DAY, 100), (1000, 0), both(200_000), 0, true),
            ("a restart whose number is ahead", (9 * DAY, 100), (1000, 200), both(200_000), 0, true),
            ("a restart after thirty days", (30 * DAY, 100), (1000, 200), both(200_000), 0, true),
            ("a restart after thirty days in a file", (30 * DAY, 100), (1000, 200), (200_000, 0), 0, true),
            ("a restart that sets the clock back", (9 * DAY, 100), (1000, 0), (-20 * day, 200_000), 0, true),
            ("an uptime that nobody fills in", (0, 100), (0, 102), both(day), 1, false),
            ("a wrap", (u32::MAX - 500, 100), (499, 102), both(1000), 1, false),
            ("a silence", (DAY, 100), (2 * DAY, 101), both(day), 0, false),
            ("a restart in a silence", (DAY, 100), (2 * DAY, 101), both(3 * day), 0, true),
            ("a number that falls", (9 * DAY, 900_000), (9 * DAY + 1000, 5), both(1000), 0, true),
            ("its clock is set forward", (DAY, 100), (DAY + 1000, 103), (3 * day, 1000), 2, false),
            ("its clock is set back", (DAY, 100), (DAY + 1000, 103), (-3 * day, 1000), 2, false),
            ("our clock is set forward", (DAY, 100), (DAY + 1000, 103), (1000, 3 * day), 2, false),
            ("a capture that is played fast", (DAY, 100), (2 * DAY, 9000), (day, 1000), 8899, false),
        ];
        for (name, (uptime, number), (uptime_after, number_after), (theirs, ours), skipped, restarted) in
            cases
        {
            let mut sequence = Sequence::default();
            let at = |uptime, theirs: i64, ours: i64| {
                Some(Times { uptime, exported: Some(NOW + theirs), received: NOW + ours })
            };
            sequence.account(number, Some(1), at(uptime, 0, 0), 4096);
            let after = at(uptime_after, theirs, ours);
            let would = sequence.would_restart(number_after, after, 4096);
            let account = sequence.account(number_after, Some(1), after, 4096);
            assert_eq!(account, Account { skipped, late: 0, restarted }, "{name}");
            // What a number alone tells is known only when it is taken up.
            assert_eq!(would, restarted && name != "a number that falls", "{name}");
        }
    }

    #[test]
    fn another_unit_is_not_loss() {
        // Flows counted where packets are meant; messages counted where records are.
        for (name, step, advance) in [("flows", 24, 1), ("messages", 1, 24)] {
            let mut sequence = Sequence::default();
            let mut skipped = 0;
            for turn in 0..1000 {
                let account = sequence.account(turn * step, Some(advance), None, 4096);
                skipped += if turn < 200 { 0 } else { account.skipped };
            }
            assert!(sequence.is_untrusted(), "{name}");
            assert_eq!(skipped, 0, "{name}");
        }
        // Every second datagram lost, or every one doubled, is believed.
        for doubled in [false, true] {
            let mut sequence = Sequence::default();
            for turn in 0..1000 {
                let number = if doubled { turn / 2 } else { turn + turn / 2 };
                sequence.account(number, Some(1), None, 4096);
            }
            assert!(!sequence.is_untrusted(), "doubled {doubled}");
        }
    }

    /// The uptime of a datagram whose exporter has no clock.
    fn up(uptime: Option<u32>) -> Option<Times> {
        uptime.map(|uptime| Times { uptime, exported: None, received: 0 })
    }

    /// `(number, advance, uptime)` to `(skipped, late)`.
    type Row = (u32, Option<u32>, Option<u32>, (u64, u64));

    #[test]
    fn numbers_are_accounted_for() {
        let cases: &[(&str, &[Row])] = &[
            ("in order", &[(7, Some(1), None, (0, 0)), (8, Some(1), None, (0, 0))]),
            (
                "a gap",
                &[(7, Some(2), None, (0, 0)), (12, Some(1), None, (3, 0)), (13, Some(1), None, (0, 0))],
            ),
            ("a wrap", &[(u32::MAX, Some(2), None, (0, 0)), (1, Some(1), None, (0, 0))]),
            (
                "reordered",
                &[
                    (1, Some(1), None, (0, 0)),
                    (4, Some(1), None, (2, 0)),
                    (2, Some(1), None, (0, 1)),
                    (2, Some(1), None, (0, 0)),
                    (3, Some(1), None, (0, 1)),
                    (5, Some(1), None, (0, 0)),
                ],
            ),
            (
                "restarted by uptime",
                &[(900, Some(1), Some(9_000_000), (0, 0)), (903, Some(1), Some(10), (0, 0))],
            ),
            (
                "an uptime that wraps is no restart",
                &[(900, Some(1), Some(u32::MAX - 5), (0, 0)), (903, Some(1), Some(10), (2, 0))],
            ),
            (
                "restarted by number",
                &[(900_000, Some(1), None, (0, 0)), (3, Some(1), None, (0, 0)), (5, Some(1), None, (1, 0))],
            ),
            (
                "an advance nobody knows",
                &[(10, None, None, (0, 0)), (19, Some(1), None, (0, 0)), (21, Some(1), None, (1, 0))],
            ),
        ];
        for (name, rows) in cases {
            let mut sequence = Sequence::default();
            for (row, &(number, advance, uptime, (skipped, late))) in rows.iter().enumerate() {
                let account = sequence.account(number, advance, up(uptime), 4096);
                assert_eq!((account.skipped, account.late), (skipped, late), "{name}, row {row}");
            }
        }
    }

    #[test]
    fn noise_is_not_loss() {
        let mut sequence = Sequence::default();
        let mut skipped = 0;
        // Two processes number the same domain independently, each losing nothing.
        for turn in 0..1000u32 {
            skipped += sequence.account(turn, Some(1), None, 4096).skipped;
            skipped += sequence.account(5_000_000 + turn, Some(1), None, 4096).skipped;
        }
        assert_eq!(skipped, 0);
        assert!(sequence.is_untrusted());
        // One of them ends; what the other loses is told again once its numbers have settled.
        for number in 1000..1000 + 2 * u32::from(UNTRUSTED) + 1 {
            sequence.account(number, Some(1), None, 4096);
        }
        assert!(!sequence.is_untrusted());
        let number = 1000 + 2 * u32::from(UNTRUSTED) + 1;
        assert_eq!(sequence.account(number + 3, Some(1), None, 4096).skipped, 3);
    }

    #[test]
    fn sixty_four_datagrams_may_come_in_any_order() {
        let mut sequence = Sequence::default();
        let mut sum = Account::default();
        let mut take = |number| {
            let account = sequence.account(number, Some(1), None, 4096);
            sum.skipped += account.skipped;
            sum.late += account.late;
            assert!(!account.restarted);
            (sum.skipped, sum.late)
        };
        take(0);
        // Every second one first, then those left out, from both ends in turn.
        for turn in 0..REORDER / 2 {
            take(2 + 2 * turn);
        }
        for turn in 0..REORDER / 4 {
            take(1 + 2 * turn);
            take(REORDER - 1 - 2 * turn);
        }
        assert_eq!(take(REORDER + 1), (32, 32));
    }

    #[test]
    fn restarts_are_told() {
        let mut sequence = Sequence::default();
        let mut take = |number, uptime| sequence.account(number, Some(1), up(uptime), 4096).restarted;
        assert!(!take(900, Some(9_000_000)));
        assert!(take(0, Some(10)), "by uptime");
        assert!(!take(1, Some(20)));
        assert!(take(900_000, Some(30)), "by number");
    }
}
