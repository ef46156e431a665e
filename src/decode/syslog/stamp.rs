//! The stamps that syslog senders write.
//!
//! [`stamp`] recognises one at the start of its input without allocating, which is all that the hot
//! path needs; [`Stamp::resolve`] gives the instant, with the year and the zone of a [`Reference`]
//! where the stamp has none.

use super::{Reference, byte, digits, fail, one_byte};
use crate::input::Nanos;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span as Duration, Timestamp};
use nom::IResult;
use nom::error::{Error, ErrorKind};

/// A stamp as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// A date and a time of day.
    Civil(Civil),
    /// Nanoseconds since the epoch.
    Epoch(Nanos),
}

/// A date and a time of day, with what else the sender told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: Option<i16>,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    zone: Zone,
}

/// What a stamp says of its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    /// Nothing.
    Unsaid,
    /// Seconds east of UTC.
    Offset(i32),
    /// An abbreviation of [`ZONES`].
    Named(usize),
}

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Recognises a stamp at the start of the input.
pub(super) fn stamp(input: &[u8]) -> Parsed<'_, Stamp> {
    match input.first() {
        Some(b'0'..=b'9') => numeric(input),
        Some(b'A'..=b'Z' | b'a'..=b'z') => month_first(input).or_else(|_| weekday_first(input)),
        _ => fail(input),
    }
}

impl Stamp {
    /// Whether the sender named the year, so that nothing had to be inferred but perhaps the zone.
    pub(super) fn has_year(&self) -> bool {
        match self {
            Stamp::Civil(civil) => civil.year.is_some(),
            Stamp::Epoch(_) => true,
        }
    }

    /// The instant that the stamp means; `None` where there is no such date.
    pub(super) fn resolve(&self, reference: &Reference) -> Option<Nanos> {
        let civil = match self {
            Stamp::Epoch(nanos) => return Some(*nanos),
            Stamp::Civil(civil) => civil,
        };
        if let Some(year) = civil.year {
            return civil.instant(year, reference);
        }
        let now = Timestamp::from_nanosecond(i128::from(reference.now)).ok()?;
        let latest = reference.now.saturating_add(DAY);
        let this_year = now.to_zoned(reference.timezone.clone()).year();
        // One year ahead for a sender whose New Year came first; back over the longest gap between
        // two leap days (1896 to 1904 and 2096 to 2104), or a 29 February would not be found.
        (this_year.saturating_sub(8)..=this_year.saturating_add(1))
            .rev()
            .find_map(|year| civil.instant(year, reference).filter(|instant| *instant <= latest))
    }
}

const DAY: Nanos = 86_400 * 1_000_000_000;

impl Civil {
    fn instant(&self, year: i16, reference: &Reference) -> Option<Nanos> {
        let date = Date::new(year, self.month as i8, self.day as i8).ok()?;
        // A leap second is the last second before it, and one more.
        let leap = self.second == 60;
        let second = self.second.min(59);
        let time = jiff::civil::Time::new(
            self.hour as i8,
            self.minute as i8,
            second as i8,
            i32::try_from(self.nanos).ok()?,
        )
        .ok()?;
        let local = DateTime::from_parts(date, time);
        let instant = match self.zone {
            Zone::Unsaid => zoned(&reference.timezone, local)?,
            Zone::Offset(seconds) => Offset::from_seconds(seconds).ok()?.to_timestamp(local).ok()?,
            Zone::Named(index) => {
                let (name, seconds) = ZONES.get(index)?;
                // `IST` and `CST` mean several zones: the sender's own wins if it uses that name.
                let own = zoned(&reference.timezone, local)?;
                if reference.timezone.to_offset_info(own).abbreviation().eq_ignore_ascii_case(name) {
                    own
                } else {
                    Offset::from_seconds(*seconds).ok()?.to_timestamp(local).ok()?
                }
            }
        };
        let instant = if leap { instant.checked_add(Duration::new().seconds(1)).ok()? } else { instant };
        Nanos::try_from(instant.as_nanosecond()).ok()
    }
}

fn zoned(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(local).compatible().ok()
}

/// The length of a stamp in one of the two usual forms, where nothing but the form decides; `None`
/// says to ask [`stamp`], which would give the same. This is what most messages cost.
#[inline]
pub(super) fn quick(input: &[u8]) -> Option<usize> {
    match input.first()? {
        b'A'..=b'S' => quick_bsd(input),
        b'1' | b'2' => quick_iso(input),
        _ => None,
    }
}

/// `Oct 11 22:14:15`, unless a fraction, a year or a zone may follow.
fn quick_bsd(input: &[u8]) -> Option<usize> {
    let (head, rest) = input.split_first_chunk::<15>()?;
    let &[a, b, c, b' ', day, day_ones, b' ', ref time @ ..] = head else { return None };
    let month = matches!(
        &[a, b, c],
        b"Jan"
            | b"Feb"
            | b"Mar"
            | b"Apr"
            | b"May"
            | b"Jun"
            | b"Jul"
            | b"Aug"
            | b"Sep"
            | b"Oct"
            | b"Nov"
            | b"Dec"
    );
    let day = if day == b' ' { b'0' } else { day };
    let valid = month && within(day, day_ones, 1, 31) && clock(time);
    let plain = match rest {
        [] | [b' '] => true,
        [b' ', b'1', b'9', ..] | [b' ', b'2', b'0' | b'1', ..] => false,
        [b' ', first, second, ..] if first.is_ascii_uppercase() => !second.is_ascii_uppercase(),
        [b' ', first, ..] => first.is_ascii_alphanumeric(),
        _ => false,
    };
    (valid && plain).then_some(head.len())
}

/// `2003-10-11T22:14:15.003Z`, `2003-10-11T22:14:15+02:00`.
fn quick_iso(input: &[u8]) -> Option<usize> {
    let (head, rest) = input.split_first_chunk::<19>()?;
    let &[y, y1, y2, y3, b'-', o, o1, b'-', d, d1, b'T', ref time @ ..] = head else { return None };
    let year =
        matches!((y, y1), (b'1', b'9') | (b'2', b'0' | b'1')) && y2.is_ascii_digit() && y3.is_ascii_digit();
    if !year || !within(o, o1, 1, 12) || !within(d, d1, 1, 31) || !clock(time) {
        return None;
    }
    let fraction = match rest {
        [b'.', b'0'..=b'9', digits @ ..] => {
            2 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count()
        }
        _ => 0,
    };
    let zone = match rest.get(fraction..)? {
        [b'Z', b' ', ..] => 1,
        [b'+' | b'-', h, h1, b':', m, m1, b' ', ..] if within(*h, *h1, 0, 23) && within(*m, *m1, 0, 59) => 6,
        _ => return None,
    };
    Some(head.len() + fraction + zone)
}

/// Whether this is a time of day, `22:14:15`, at once for all digits; leap seconds are told as 60.
fn clock(time: &[u8; 8]) -> bool {
    // Digits become their values and colons zero; what is over the limit of its place sets the top bit.
    let values = u64::from_le_bytes(*time) ^ u64::from_le_bytes(*b"00:00:00");
    let limits = [2, 9, 0, 5, 9, 0, 6, 9].map(|limit| 0x7f - limit);
    if (values | values.wrapping_add(u64::from_le_bytes(limits))) & 0x8080_8080_8080_8080 != 0 {
        return false;
    }
    let [h, h1, .., s, s1] = values.to_le_bytes();
    10 * h + h1 < 24 && 10 * s + s1 <= 60
}

fn within(tens: u8, ones: u8, least: u8, most: u8) -> bool {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    tens < 10 && ones < 10 && (least..=most).contains(&(tens * 10 + ones))
}

/// A stamp that begins with a digit.
fn numeric(input: &[u8]) -> Parsed<'_, Stamp> {
    let (after, lead) = digits(input);
    match (lead.len(), after.first()) {
        (4, Some(b'-' | b'/' | b':')) => year_month_day(input),
        (4, Some(b' ')) => {
            let (rest, year) = year(input)?;
            let (rest, _) = blanks(rest)?;
            let (rest, stamp) = month_day_time(rest, Some(year))?;
            Ok((rest, Stamp::Civil(stamp)))
        }
        (1 | 2, Some(b'-' | b' ')) => day_month_year(input),
        (1 | 2, Some(b'/')) => day_month_year(input).or_else(|_| slashed(input)),
        (10 | 13 | 16 | 19, _) => epoch(input),
        _ => fail(input),
    }
}

/// `2003-10-11T22:14:15.003Z` and its relations: a space or a slash, a comma before the fraction,
/// no zone, a zone after a space.
fn year_month_day(input: &[u8]) -> Parsed<'_, Stamp> {
    let (rest, year) = year(input)?;
    let (rest, separator) = one_byte(rest, b"-/:")?;
    let (rest, month) = number(rest, 1, 12)?;
    let (rest, _) = byte(rest, separator)?;
    let (rest, day) = number(rest, 1, 31)?;
    // Sophos UTM writes `2019:04:08-11:21:55`.
    let (rest, _) = one_byte(rest, b"Tt _-")?;
    let (rest, (hour, minute, second)) = time_of_day(rest)?;
    let (rest, nanos) = fraction(rest)?;
    let (rest, zone) = zone(rest)?;
    boundary(rest)?;
    let year = Some(year);
    Ok((rest, Stamp::Civil(Civil { year, month, day, hour, minute, second, nanos, zone })))
}

/// `11-Oct-2003 22:14:15.003`, `11 Oct 2003 22:14:15 GMT`, `11/Oct/2003:22:14:15 +0200`.
fn day_month_year(input: &[u8]) -> Parsed<'_, Stamp> {
    let (rest, day) = number(input, 1, 31)?;
    let (rest, separator) = one_byte(rest, b"-/ ")?;
    let (rest, month) = month(rest)?;
    let (rest, _) = byte(rest, separator)?;
    let (rest, year) = year(rest)?;
    let (rest, _) = one_byte(rest, b": ")?;
    let (rest, (hour, minute, second)) = time_of_day(rest)?;
    let (rest, nanos) = fraction(rest)?;
    let (rest, zone) = zone(rest)?;
    boundary(rest)?;
    let year = Some(year);
    Ok((rest, Stamp::Civil(Civil { year, month, day, hour, minute, second, nanos, zone })))
}

/// `09/04-21:45:37.536335`, `09/04/23-21:45:37`, `6/5/2013 10:00:32 AM`: month and day as in America,
/// or the other way round where they can be nothing else.
fn slashed(input: &[u8]) -> Parsed<'_, Stamp> {
    let (rest, first) = number(input, 1, 31)?;
    let (rest, _) = byte(rest, b'/')?;
    let (rest, second) = number(rest, 1, 31)?;
    let (month, day) = if first > 12 { (second, first) } else { (first, second) };
    if month > 12 {
        return fail(input);
    }
    let (rest, year) = match rest {
        [b'/', after @ ..] => match year(after) {
            Ok((rest, year)) => (rest, Some(year)),
            Err(_) => {
                let (rest, year) = number(after, 0, 99)?;
                (rest, Some(2000 + i16::from(year)))
            }
        },
        _ => (rest, None),
    };
    let (rest, separator) = one_byte(rest, b"- ,:")?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (rest, (hour, minute, second)) = time_of_day(rest)?;
    let (rest, nanos) = fraction(rest)?;
    // NetScaler: `11/21/2026:13:00:05 GMT`.
    let (rest, zone) = if separator == b':' { zone(rest)? } else { (rest, Zone::Unsaid) };
    let (rest, hour) = match rest {
        [b' ', half @ (b'A' | b'P' | b'a' | b'p'), b'M' | b'm', after @ ..] if (1..=12).contains(&hour) => {
            (after, hour % 12 + if half.eq_ignore_ascii_case(&b'p') { 12 } else { 0 })
        }
        _ => (rest, hour),
    };
    boundary(rest)?;
    Ok((rest, Stamp::Civil(Civil { year, month, day, hour, minute, second, nanos, zone })))
}

/// Seconds, milliseconds, microseconds or nanoseconds, told apart by their number of digits.
fn epoch(input: &[u8]) -> Parsed<'_, Stamp> {
    let (rest, digits) = digits(input);
    let count =
        digits.iter().fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    let unit: u64 = match digits.len() {
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return fail(input),
    };
    let (rest, nanos) = if digits.len() == 10 { fraction(rest)? } else { (rest, 0) };
    boundary(rest)?;
    match count.checked_mul(unit).and_then(|whole| Nanos::try_from(whole).ok()) {
        Some(whole) => Ok((rest, Stamp::Epoch(whole.saturating_add(Nanos::from(nanos))))),
        None => fail(input),
    }
}

/// `Oct 11 22:14:15`, with a year behind the day, behind the time, or nowhere.
fn month_first(input: &[u8]) -> Parsed<'_, Stamp> {
    let (rest, civil) = month_day_time(input, None)?;
    Ok((rest, Stamp::Civil(civil)))
}

/// `Sat Oct 11 22:14:15 2003`, `Sat, 11 Oct 2003 22:14:15 GMT`, `Sat 2003-10-11 22:14:15 UTC` (journalctl).
fn weekday_first(input: &[u8]) -> Parsed<'_, Stamp> {
    let Some((name, rest)) = input.split_at_checked(3) else { return fail(input) };
    if !WEEKDAYS.iter().any(|day| name.eq_ignore_ascii_case(day)) {
        return fail(input);
    }
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    let (rest, _) = blanks(rest)?;
    match digits(rest).1.len() {
        0 => month_first(rest),
        4 => year_month_day(rest),
        _ => day_month_year(rest),
    }
}

const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

fn month_day_time(input: &[u8], first: Option<i16>) -> Parsed<'_, Civil> {
    let (rest, month) = month(input)?;
    let (rest, _) = blanks(rest)?;
    let (rest, day) = number(rest, 1, 31)?;
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    let (rest, _) = blanks(rest)?;
    let (rest, second_place) = match year(rest) {
        Ok((after, value)) if matches!(after.first(), Some(b' ')) => (blanks(after)?.0, Some(value)),
        _ => (rest, None),
    };
    let (rest, (hour, minute, second)) = time_of_day(rest)?;
    let (rest, nanos) = fraction(rest)?;
    // `date` writes the zone before the year, `ctime` has no zone.
    let (rest, zone_first) = zone(rest)?;
    let known = first.or(second_place);
    let (rest, year) = match (known, trailing_year(rest)) {
        (None, Ok((after, value))) => (after, Some(value)),
        _ => (rest, known),
    };
    let (rest, zone) = match zone_first {
        Zone::Unsaid if year.is_some() && known.is_none() => zone(rest)?,
        said => (rest, said),
    };
    Ok((rest, Civil { year, month, day, hour, minute, second, nanos, zone }))
}

fn trailing_year(input: &[u8]) -> Parsed<'_, i16> {
    let (rest, _) = byte(input, b' ')?;
    let (rest, year) = year(rest)?;
    match rest {
        // `2001:db8::1` is a host.
        [] | [b' ' | b']' | b'\t' | b',', ..] | [b':'] | [b':', b' ', ..] => Ok((rest, year)),
        _ => fail(input),
    }
}

fn month(input: &[u8]) -> Parsed<'_, u8> {
    let Some((head, mut rest)) = input.split_at_checked(3) else { return fail(input) };
    let &[a, b, c] = head else { return fail(input) };
    let index = match &[a | 0x20, b | 0x20, c | 0x20] {
        b"jan" => 0,
        b"feb" => 1,
        b"mar" => 2,
        b"apr" => 3,
        b"may" => 4,
        b"jun" => 5,
        b"jul" => 6,
        b"aug" => 7,
        b"sep" => 8,
        b"oct" => 9,
        b"nov" => 10,
        b"dec" => 11,
        _ => return fail(input),
    };
    // Netscout and some embedded systems write the name in full.
    if rest.first().is_some_and(u8::is_ascii_alphabetic) {
        let tail = MONTH_TAILS[index];
        rest = match rest.split_at_checked(tail.len()) {
            Some((word, after)) if word.eq_ignore_ascii_case(tail) => after,
            _ => return fail(input),
        };
    }
    Ok((rest, index as u8 + 1))
}

const MONTH_TAILS: [&[u8]; 12] =
    [b"uary", b"ruary", b"ch", b"il", b"", b"e", b"y", b"ust", b"tember", b"ober", b"ember", b"ember"];

fn year(input: &[u8]) -> Parsed<'_, i16> {
    match input.split_first_chunk::<4>() {
        // Other centuries are sequence numbers, not years.
        Some((digits @ [b'1', b'9', ..] | digits @ [b'2', b'0' | b'1', ..], rest))
            if digits.iter().all(u8::is_ascii_digit) =>
        {
            Ok((rest, digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))))
        }
        _ => fail(input),
    }
}

/// `22:14:15`; one digit is enough for the hour.
fn time_of_day(input: &[u8]) -> Parsed<'_, (u8, u8, u8)> {
    let (rest, hour) = number(input, 0, 23)?;
    let (rest, _) = byte(rest, b':')?;
    let (rest, minute) = number(rest, 0, 59)?;
    let (rest, _) = byte(rest, b':')?;
    let (rest, second) = number(rest, 0, 60)?;
    Ok((rest, (hour, minute, second)))
}

/// One or two digits within bounds.
fn number(input: &[u8], least: u8, most: u8) -> Parsed<'_, u8> {
    let (value, rest) = match input {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => ((tens - b'0') * 10 + (ones - b'0'), rest),
        [ones @ b'0'..=b'9', rest @ ..] => (ones - b'0', rest),
        _ => return fail(input),
    };
    if (least..=most).contains(&value) { Ok((rest, value)) } else { fail(input) }
}

/// `.003` or `,003`: nanoseconds; digits beyond the ninth are dropped.
fn fraction(input: &[u8]) -> Parsed<'_, u32> {
    let [b'.' | b',', b'0'..=b'9', ..] = input else { return Ok((input, 0)) };
    let (mut rest, digits) = digits(&input[1..]);
    let mut nanos = 0u32;
    for place in 0..9 {
        nanos = nanos * 10 + digits.get(place).map_or(0, |digit| u32::from(digit - b'0'));
    }
    // `.515.1538`: some write the finer part apart.
    if let [b'.', b'0'..=b'9', ..] = rest {
        rest = super::digits(&rest[1..]).0;
    }
    Ok((rest, nanos))
}

/// `Z`, `+02:00`, `+0200`, `+02`, the same after a space, or a known abbreviation after a space.
fn zone(input: &[u8]) -> Parsed<'_, Zone> {
    match input {
        [b'Z' | b'z', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_alphanumeric) => {
            Ok((rest, Zone::Offset(0)))
        }
        [b'+' | b'-', ..] => Ok(offset(input).unwrap_or((input, Zone::Unsaid))),
        [b' ', rest @ ..] => match rest {
            [b'+' | b'-', b'0'..=b'9', ..] => match offset(rest) {
                Ok((after, zone)) if end_of_word(after).is_ok() => Ok((after, zone)),
                _ => Ok((input, Zone::Unsaid)),
            },
            [b'A'..=b'Z', ..] => Ok(named_zone(rest).unwrap_or((input, Zone::Unsaid))),
            _ => Ok((input, Zone::Unsaid)),
        },
        _ => Ok((input, Zone::Unsaid)),
    }
}

fn offset(input: &[u8]) -> Parsed<'_, Zone> {
    let (rest, sign) = one_byte(input, b"+-")?;
    // Check Point writes `--5:00`.
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    let (rest, hours) = number(rest, 0, 25)?;
    let (rest, minutes) = match rest {
        [b':', b'0'..=b'9', b'0'..=b'9', ..] => number(&rest[1..], 0, 59)?,
        [b'0'..=b'9', b'0'..=b'9', ..] => number(rest, 0, 59)?,
        _ => (rest, 0),
    };
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    Ok((rest, Zone::Offset(if sign == b'-' { -seconds } else { seconds })))
}

fn named_zone(input: &[u8]) -> Parsed<'_, Zone> {
    let letters = input.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
    let (name, rest) = input.split_at(letters);
    end_of_word(rest)?;
    match ZONES.iter().position(|(known, _)| known.as_bytes() == name) {
        Some(index) => Ok((rest, Zone::Named(index))),
        None => fail(input),
    }
}

/// Abbreviations that devices write, with seconds east of UTC. Where one means several zones, the
/// sender's own zone is preferred (see [`Civil::instant`]); what is not listed is taken for a host.
const ZONES: &[(&str, i32)] = &[
    ("UTC", 0),
    ("GMT", 0),
    ("UCT", 0),
    ("WET", 0),
    ("WEST", 3600),
    ("BST", 3600),
    ("CET", 3600),
    ("MET", 3600),
    ("CEST", 7200),
    ("MEST", 7200),
    ("EET", 7200),
    ("SAST", 7200),
    ("EEST", 10_800),
    ("MSK", 10_800),
    ("TRT", 10_800),
    ("AST", -14_400),
    ("ADT", -10_800),
    ("NST", -12_600),
    ("NDT", -9_000),
    ("EST", -18_000),
    ("EDT", -14_400),
    ("CST", -21_600),
    ("CDT", -18_000),
    ("MST", -25_200),
    ("MDT", -21_600),
    ("PST", -28_800),
    ("PDT", -25_200),
    ("AKST", -32_400),
    ("AKDT", -28_800),
    ("HST", -36_000),
    ("BRT", -10_800),
    ("ART", -10_800),
    ("GST", 14_400),
    ("PKT", 18_000),
    ("IST", 19_800),
    ("ICT", 25_200),
    ("WIB", 25_200),
    ("HKT", 28_800),
    ("SGT", 28_800),
    ("AWST", 28_800),
    ("JST", 32_400),
    ("KST", 32_400),
    ("ACST", 34_200),
    ("ACDT", 37_800),
    ("AEST", 36_000),
    ("AEDT", 39_600),
    ("NZST", 43_200),
    ("NZDT", 46_800),
];

/// At least one blank.
fn blanks(input: &[u8]) -> Parsed<'_, ()> {
    match input {
        [b' ', b' ', ..] => Ok((input.trim_ascii_start(), ())),
        [b' ', rest @ ..] => Ok((rest, ())),
        _ => fail(input),
    }
}

/// A stamp made of digits must not be the head of a longer word.
fn boundary(rest: &[u8]) -> Result<(), nom::Err<Error<&[u8]>>> {
    match rest.first() {
        Some(byte) if byte.is_ascii_alphanumeric() => {
            Err(nom::Err::Error(Error::new(rest, ErrorKind::Verify)))
        }
        _ => Ok(()),
    }
}

fn end_of_word(rest: &[u8]) -> Parsed<'_, ()> {
    match rest.first() {
        None | Some(b' ' | b':' | b'\t' | b']' | b',' | b';' | b'"') => Ok((rest, ())),
        _ => fail(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(now: &str, zone: &str) -> Reference {
        let now: Timestamp = now.parse().unwrap();
        Reference { now: now.as_nanosecond() as Nanos, timezone: TimeZone::get(zone).unwrap() }
    }

    fn resolved(text: &str, reference: &Reference) -> Option<String> {
        let (rest, stamp) = stamp(text.as_bytes()).ok()?;
        assert!(
            rest.is_empty() || !rest[0].is_ascii_digit(),
            "{text}: left {}",
            String::from_utf8_lossy(rest)
        );
        let nanos = stamp.resolve(reference)?;
        Some(Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string())
    }

    #[test]
    fn times_of_day() {
        let number = |text: &[u8]| -> Option<u8> {
            let digits = text.iter().all(u8::is_ascii_digit);
            digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
        };
        let plain = |time: &[u8; 8]| {
            let &[h, h1, a, m, m1, b, s, s1] = time;
            let numbers = [[h, h1], [m, m1], [s, s1]].map(|pair| number(&pair));
            let [Some(hour), Some(minute), Some(second)] = numbers else { return false };
            [a, b] == *b"::" && hour < 24 && minute < 60 && second <= 60
        };
        for number in 0..1_000_000 {
            let text = format!("{:02}:{:02}:{:02}", number / 10_000, number / 100 % 100, number % 100);
            let time = text.as_bytes().try_into().unwrap();
            assert_eq!(clock(time), plain(time), "{text}");
        }
        for place in 0..8 {
            for byte in 0..=255 {
                for base in [b"22:14:15", b"00:00:00", b"23:59:60", b"19:59:59"] {
                    let mut time = *base;
                    time[place] = byte;
                    time[7 - place] ^= byte & 0x80;
                    assert_eq!(clock(&time), plain(&time), "{time:?}");
                }
            }
        }
    }

    #[test]
    fn shapes() {
        let reference = reference("2026-06-01T00:00:00Z", "UTC");
        for (name, text, expected) in [
            ("rfc 5424", "2003-10-11T22:14:15.003Z", "2003-10-11T22:14:15.003Z"),
            ("offset", "2003-08-24T05:14:15.000003-07:00", "2003-08-24T12:14:15.000003Z"),
            ("offset of a whole day", "2018-12-31T23:59:59.999999-23:59", "2019-01-01T23:58:59.999999Z"),
            ("offset without colon", "1986-04-26T01:23:45.101+0400", "1986-04-25T21:23:45.101Z"),
            ("space", "2023-03-20 17:24:08.959 +0100  host", "2023-03-20T16:24:08.959Z"),
            ("comma", "2020-11-18 19:55:58,980", "2020-11-18T19:55:58.98Z"),
            ("slashes", "2016/10/25 14:49:34", "2016-10-25T14:49:34Z"),
            ("no zone", "2019-06-14T10:40:20.912134 localhost", "2019-06-14T10:40:20.912134Z"),
            ("check point", "2023-01-13T10:10:16--5:00", "2023-01-13T15:10:16Z"),
            ("year in the middle", "Apr 15 2013 09:36:50", "2013-04-15T09:36:50Z"),
            ("year first", "2023 May  2 12:55:19 UTC", "2023-05-02T12:55:19Z"),
            ("year last", "Sun Dec 04 04:47:44 2005", "2005-12-04T04:47:44Z"),
            ("journalctl short-full", "Sat 2026-11-21 13:00:04 UTC", "2026-11-21T13:00:04Z"),
            ("netscaler", "11/21/2026:13:00:05 GMT", "2026-11-21T13:00:05Z"),
            ("year last, fraction", "Mon Dec 26 16:15:55.103522 2016", "2016-12-26T16:15:55.103522Z"),
            ("zone before the year", "Thu Jan 27 07:57:58 CET 2022", "2022-01-27T06:57:58Z"),
            ("zone name", "Jan 16 2022 22:11:43 AEST", "2022-01-16T12:11:43Z"),
            ("month in full", "January 29 06:09:59", "2026-01-29T06:09:59Z"),
            ("one digit", "Mar 3 6:43:59", "2026-03-03T06:43:59Z"),
            ("epoch", "1647479604.334549372", "2022-03-17T01:13:24.334549372Z"),
            ("epoch in milliseconds", "1647479604334", "2022-03-17T01:13:24.334Z"),
            ("epoch in nanoseconds", "1587230269052907555", "2020-04-18T17:17:49.052907555Z"),
            ("access log", "26/Dec/2016:16:16:29 +0200", "2016-12-26T14:16:29Z"),
            ("named", "18-Apr-2023 05:02:05.123", "2023-04-18T05:02:05.123Z"),
            ("month/day", "09/04-21:45:37.536335", "2025-09-04T21:45:37.536335Z"),
            ("month/day/year", "09/04/23-21:45:37.5", "2023-09-04T21:45:37.5Z"),
            ("half of the day", "6/5/2013 10:00:32 PM", "2013-06-05T22:00:32Z"),
            ("midnight", "6/5/2013 12:00:32 AM", "2013-06-05T00:00:32Z"),
            ("day/month/year", "25/6/2013 10:00:32", "2013-06-25T10:00:32Z"),
            ("leap second", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("finer part apart", "2021-01-16 00:38:18.515.1538", "2021-01-16T00:38:18.515Z"),
        ] {
            assert_eq!(resolved(text, &reference).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn the_quick_way_agrees() {
        let mut quick_ones = 0;
        for stamp_text in [
            "Oct 11 22:14:15",
            "Oct  1 02:14:60",
            "Oct 41 22:14:15",
            "2003-10-11T22:14:15.003Z",
            "2003-13-11T22:14:15Z",
            "2003-10-11T22:14:15+02:00",
            "2003-10-11T22:14:15-07:30",
            "2003-10-11T22:14:15",
            "Foo 11 22:14:15",
            "2003-10-11T22:14:15.Z",
        ] {
            for rest in [
                "",
                " ",
                " host",
                " HOST",
                " UTC host",
                " 2003 host",
                " 2001:db8::1 a",
                " 10.0.0.1 a",
                ": x",
                ".123 x",
                " +0200 x",
                " 1",
                "Z x",
                " - x",
            ] {
                let text = format!("{stamp_text}{rest}");
                if let Some(length) = quick(text.as_bytes()) {
                    let full = stamp(text.as_bytes()).map(|(rest, _)| text.len() - rest.len());
                    assert_eq!(full, Ok(length), "{text}");
                    quick_ones += 1;
                }
            }
        }
        assert!(quick_ones > 20, "{quick_ones}");
    }

    #[test]
    fn not_a_stamp() {
        for text in [
            "",
            "1",
            "12:00",
            "Foo 11 22:14:15",
            "Oct 41 22:14:15",
            "Oct 11 25:14:15",
            "20261 Oct",
            "1,2021/10/25",
        ] {
            assert!(stamp(text.as_bytes()).is_err(), "{text}");
        }
        let reference = reference("2026-06-01T00:00:00Z", "UTC");
        assert_eq!(resolved("2003-09-31T22:14:16Z", &reference), None, "no 31 September");
        assert_eq!(resolved("Feb 30 00:00:00", &reference), None, "no 30 February");
    }

    #[test]
    fn year_inferred() {
        for (name, now, zone, text, expected) in [
            ("this year", "2026-06-01T00:00:00Z", "UTC", "May 31 12:00:00", "2026-05-31T12:00:00Z"),
            ("last year", "2026-01-02T00:00:00Z", "UTC", "Dec 31 23:59:59", "2025-12-31T23:59:59Z"),
            ("sender ahead", "2025-12-31T23:59:50Z", "UTC", "Jan  1 00:00:05", "2026-01-01T00:00:05Z"),
            ("24 hours ahead", "2026-03-01T00:00:00Z", "UTC", "Mar  2 00:00:00", "2026-03-02T00:00:00Z"),
            ("over 24 hours ahead", "2026-03-01T00:00:00Z", "UTC", "Mar  2 00:00:01", "2025-03-02T00:00:01Z"),
            ("leap day", "2026-06-01T00:00:00Z", "UTC", "Feb 29 10:00:00", "2024-02-29T10:00:00Z"),
            (
                "leap day before 2104",
                "2104-01-01T00:00:00Z",
                "UTC",
                "Feb 29 10:00:00",
                "2096-02-29T10:00:00Z",
            ),
            ("east of UTC", "2025-12-31T20:00:00Z", "Asia/Tokyo", "Jan  1 05:00:00", "2025-12-31T20:00:00Z"),
            (
                "west of UTC",
                "2026-01-01T03:00:00Z",
                "America/New_York",
                "Dec 31 22:00:00",
                "2026-01-01T03:00:00Z",
            ),
            (
                "summer time",
                "2026-07-01T12:00:00Z",
                "Europe/Tirane",
                "Jul  1 14:00:00",
                "2026-07-01T12:00:00Z",
            ),
            (
                "own abbreviation",
                "2026-07-01T12:00:00Z",
                "Asia/Jerusalem",
                "Jan  1 14:00:00 IST",
                "2026-01-01T12:00:00Z",
            ),
        ] {
            assert_eq!(resolved(text, &reference(now, zone)).as_deref(), Some(expected), "{name}");
        }
    }
}
