//! Dates and times: how they travel, and the mask `format` for them.
//!
//! A date becomes another day of its year, a moment another moment of its year, a time another time of day. What
//! is whole (a day, a second, a millisecond) stays as whole, so that a column's precision loses nothing.
//! A text is read in the style ISO only; another style, another era and infinity have no such form.

use std::io::Write as _;

use super::types::Format;
use crate::mask::{MaskKey, Purpose, permute};

/// Microseconds.
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH: i64 = 10_957;

/// A type of dates and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Date,
    Time,
    Timestamp,
    /// A moment in UTC.
    TimestampTz,
}

/// Appends another value of the type; `None` if there is none.
pub(super) fn shape_moment(
    key: &MaskKey,
    value: &[u8],
    moment: Moment,
    format: Format,
    out: &mut Vec<u8>,
) -> Option<()> {
    match (moment, format) {
        (Moment::Date, Format::Text) => {
            let [year, month, day] = read_date(value)?;
            let (year, month, day) = civil(shape_day(key, days(year, month, day))?);
            let _ = write!(out, "{year:04}-{month:02}-{day:02}");
        }
        (Moment::Date, Format::Binary) => {
            let day = i64::from(i32::from_be_bytes(value.try_into().ok()?)) + EPOCH;
            let hidden = i32::try_from(shape_day(key, day)? - EPOCH).ok()?;
            out.extend(hidden.to_be_bytes());
        }
        (Moment::Time, Format::Text) => {
            write_time(shape_time(key, read_time(value)?)?, out);
        }
        (Moment::Time, Format::Binary) => {
            let time = i64::from_be_bytes(value.try_into().ok()?);
            out.extend(shape_time(key, u64::try_from(time).ok()?)?.to_be_bytes());
        }
        (Moment::Timestamp | Moment::TimestampTz, Format::Binary) => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            let (day, time) = (micros.div_euclid(DAY as i64), micros.rem_euclid(DAY as i64));
            let (day, time) = shape_timestamp(key, day + EPOCH, time.cast_unsigned())?;
            let hidden = (day - EPOCH) * DAY as i64 + time.cast_signed();
            out.extend(hidden.to_be_bytes());
        }
        (Moment::Timestamp | Moment::TimestampTz, Format::Text) => {
            let (date, rest) = value.split_at_checked(10)?;
            let [year, month, day] = read_date(date)?;
            let rest = rest.strip_prefix(b" ")?;
            let (time, offset) = match moment {
                Moment::TimestampTz => {
                    let at = rest.iter().position(|byte| matches!(byte, b'+' | b'-'))?;
                    let (time, offset) = rest.split_at_checked(at)?;
                    (time, read_offset(offset)?)
                }
                Moment::Date | Moment::Time | Moment::Timestamp => (rest, 0),
            };
            let micros = read_time(time)?.cast_signed() - offset * SECOND as i64;
            let day = days(year, month, day) + micros.div_euclid(DAY as i64);
            let time = micros.rem_euclid(DAY as i64).cast_unsigned();
            let (day, time) = shape_timestamp(key, day, time)?;
            let (year, month, day) = civil(day);
            let _ = write!(out, "{year:04}-{month:02}-{day:02} ");
            write_time(time, out);
            if moment == Moment::TimestampTz {
                out.extend_from_slice(b"+00");
            }
        }
    }
    Some(())
}

/// The year of a day, its first day, and how many it has.
fn year_of(day: i64) -> Option<(u16, i64, u64)> {
    let (year, _, _) = civil(day);
    // Texts of other years have more digits or an era.
    let known = u16::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
    let first = days(year, 1, 1);
    Some((known, first, u64::try_from(days(year + 1, 1, 1) - first).ok()?))
}

fn shape_day(key: &MaskKey, day: i64) -> Option<i64> {
    let (year, first, count) = year_of(day)?;
    let place = u64::try_from(day - first).ok()?;
    Some(first + permute(key, Purpose::Moment(year), place, count).cast_signed())
}

fn shape_time(key: &MaskKey, time: u64) -> Option<u64> {
    (time < DAY).then(|| whole(key, Purpose::Time, time, DAY))
}

fn shape_timestamp(key: &MaskKey, day: i64, time: u64) -> Option<(i64, u64)> {
    let (year, first, count) = year_of(day)?;
    let place = u64::try_from(day - first).ok()? * DAY + time;
    let hidden = whole(key, Purpose::Moment(year), place, count * DAY);
    Some((first + (hidden / DAY).cast_signed(), hidden % DAY))
}

/// Another multiple of the same unit.
fn whole(key: &MaskKey, purpose: Purpose, micros: u64, size: u64) -> u64 {
    let unit = unit_of(micros);
    if size == unit {
        return micros;
    }
    let mut hidden = micros;
    // Walking on while it is a multiple of a larger unit keeps those apart.
    loop {
        hidden = permute(key, purpose, hidden / unit, size / unit) * unit;
        if unit_of(hidden) == unit {
            return hidden;
        }
    }
}

/// The largest unit that a number of microseconds is a multiple of.
fn unit_of(micros: u64) -> u64 {
    let units = [DAY, SECOND, 100_000, 10_000, 1_000, 100, 10];
    units.into_iter().find(|unit| micros.is_multiple_of(*unit)).unwrap_or(1)
}

fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 6 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0')))
}

/// `YYYY-MM-DD`.
fn read_date(text: &[u8]) -> Option<[i64; 3]> {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = text else { return None };
    let [year, month, day] = [digits(&[*a, *b, *c, *d])?, digits(&[*e, *f])?, digits(&[*g, *h])?];
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some([year, month, day])
}

/// `HH:MM:SS`, with up to six digits behind a point.
fn read_time(text: &[u8]) -> Option<u64> {
    let (clock, fraction) = text.split_at_checked(8)?;
    let [a, b, b':', c, d, b':', e, f] = clock else { return None };
    let seconds = digits(&[*a, *b])? * 3600 + digits(&[*c, *d])? * 60 + digits(&[*e, *f])?;
    let micros = match fraction {
        [] => 0,
        [b'.', fraction @ ..] => {
            (fraction.len()..6).fold(digits(fraction)?, |micros, _| micros * 10)
        }
        _ => return None,
    };
    u64::try_from(seconds * SECOND as i64 + micros).ok()
}

/// `+HH`, `+HH:MM` or `+HH:MM:SS`, in seconds.
fn read_offset(text: &[u8]) -> Option<i64> {
    let (sign, text) = text.split_first()?;
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text.split(|byte| *byte == b':') {
        seconds += digits(part)? * unit;
        unit /= 60;
    }
    Some(if *sign == b'-' { -seconds } else { seconds })
}

/// As the server writes it: without zeros at the end.
fn write_time(time: u64, out: &mut Vec<u8>) {
    let (seconds, micros) = (time / SECOND, time % SECOND);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros > 0 {
        let _ = write!(out, ".{micros:06}");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Days from 1970-01-01 in the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    fn text(moment: Moment, value: &str) -> Option<String> {
        let mut out = Vec::new();
        let key = MaskKey::new(b"key");
        shape_moment(&key, value.as_bytes(), moment, Format::Text, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_day_of_a_year_becomes_one_of_it() {
        for (year, count) in [(2023, 365), (2024, 366), (1900, 365)] {
            let first = days(year, 1, 1);
            let hidden: HashSet<String> = (first..first + count)
                .map(|day| {
                    let (year, month, day) = civil(day);
                    text(Moment::Date, &format!("{year:04}-{month:02}-{day:02}")).unwrap()
                })
                .collect();
            assert_eq!(hidden.len() as i64, count);
            assert!(hidden.iter().all(|hidden| hidden.starts_with(&year.to_string())));
        }
    }

    #[test]
    fn what_is_whole_stays_whole() {
        for (value, unit) in [
            ("12:34:56", SECOND),
            ("00:00:00.5", 100_000),
            ("12:34:56.789", 1_000),
            ("12:34:56.789012", 1),
        ] {
            let hidden = text(Moment::Time, value).unwrap();
            assert_eq!(unit_of(read_time(hidden.as_bytes()).unwrap()), unit, "{hidden}");
            assert_ne!(hidden, value);
        }
        let hidden = text(Moment::Timestamp, "2020-02-29 00:00:00").unwrap();
        assert!(hidden.starts_with("2020-") && hidden.ends_with(" 00:00:00"), "{hidden}");
        assert_eq!(text(Moment::Time, "00:00:00").as_deref(), Some("00:00:00"));
    }

    #[test]
    fn a_moment_is_the_same_in_every_zone_and_format() {
        let utc = text(Moment::TimestampTz, "2020-02-29 10:34:56.5+00");
        assert!(utc.is_some());
        assert_eq!(text(Moment::TimestampTz, "2020-02-29 12:34:56.5+02"), utc);
        assert_eq!(text(Moment::TimestampTz, "2020-02-28 22:04:56.5-12:30"), utc);
        let key = MaskKey::new(b"key");
        for (moment, value) in [
            (Moment::Timestamp, "1983-07-09 12:34:56.789"),
            (Moment::Timestamp, "2024-12-31 23:59:59"),
        ] {
            let (date, time) = value.split_at(10);
            let [year, month, day] = read_date(date.as_bytes()).unwrap();
            let time = read_time(time.trim().as_bytes()).unwrap().cast_signed();
            let micros = (days(year, month, day) - EPOCH) * DAY as i64 + time;
            let mut out = Vec::new();
            shape_moment(&key, &micros.to_be_bytes(), moment, Format::Binary, &mut out).unwrap();
            let hidden = i64::from_be_bytes(out.try_into().unwrap());
            let (year, month, day) = civil(hidden.div_euclid(DAY as i64) + EPOCH);
            let expected = text(moment, value).unwrap();
            assert!(expected.starts_with(&format!("{year:04}-{month:02}-{day:02}")), "{expected}");
        }
    }

    #[test]
    fn what_is_not_understood_has_no_form() {
        for value in ["infinity", "0044-03-15 BC", "29.02.2020", "12020-01-01", "2020-13-01", ""] {
            assert_eq!(text(Moment::Date, value), None, "{value}");
            assert_eq!(text(Moment::Timestamp, value), None, "{value}");
        }
        assert_eq!(text(Moment::Time, "24:00:00"), None);
        assert_eq!(text(Moment::Time, "12:34:56.1234567"), None);
    }
}
