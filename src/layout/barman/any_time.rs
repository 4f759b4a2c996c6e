//! Times as people give them for a recovery target, and as other programs write them into a `backup.info`. barman reads
//! whatever `dateutil` makes a time of; here the forms are read that leave no doubt, and others are refused.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{BackupTime, InvalidTime};

/// Reads a time; one without a zone is in the zone `local`, and one without a clock is midnight.
///
/// Besides what [`BackupTime::parse`] reads: a date alone, `20261122`, slashes between year, month and day, a zone by its name
/// (UTC, GMT or a name that `local` has), and with names of months what RFC 2822, `date` and people write.
pub fn parse_any_time(text: &str, local: &TimeZone) -> Result<BackupTime, InvalidTime> {
    parse(text, local).ok_or_else(|| InvalidTime::new(text))
}

fn parse(text: &str, local: &TimeZone) -> Option<BackupTime> {
    let text = text.replace(", ", " ");
    let words = text.split_whitespace().filter(|word| !is_weekday(word));
    let (names, words): (Vec<&str>, Vec<&str>) = words.partition(|word| is_name(word));
    let time = words.join(" ");
    match names.as_slice() {
        [] => read(&time, local),
        // Two zones are one too many.
        _ if read(&time, &TimeZone::UTC)? != read(&time, &FAR)? => match names.as_slice() {
            [name] if is_utc(name) => read(&time, &TimeZone::UTC),
            [name] => read(&time, local).filter(|time| has_name(local, time.timestamp(), name)),
            _ => None,
        },
        _ => None,
    }
}

/// A zone in which no time is the same as in UTC.
static FAR: TimeZone = TimeZone::fixed(jiff::tz::offset(14));

/// A time without names of zones.
fn read(text: &str, zone: &TimeZone) -> Option<BackupTime> {
    let dashes = with_dashes(text);
    let text = dashes.as_deref().unwrap_or(text);
    BackupTime::parse(text, zone).ok().or_else(|| by_words(text, zone))
}

/// `2026/11/22` as `2026-11-22`; the year goes first, or nobody knows which is the day.
fn with_dashes(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(text.find([' ', 'T']).unwrap_or(text.len()))?;
    let (year, rest_of_date) = date.split_once('/')?;
    (year.len() == 4).then(|| format!("{year}-{}{rest}", rest_of_date.replace('/', "-")))
}

/// A date in words or digits, and perhaps a clock and an offset, in any order: `22 Nov 2026 10:00:00 +0100`.
fn by_words(text: &str, zone: &TimeZone) -> Option<BackupTime> {
    let (mut date, mut clock, mut offset) = (Parts::default(), None, None);
    for word in text.split(' ') {
        let known = if word.starts_with(['+', '-']) {
            offset.replace(word).is_none()
        } else if word.contains(':') {
            clock.replace(word).is_none()
        } else {
            date.take(word)
        };
        known.then_some(())?;
    }
    let clock: Time = clock.map_or(Some(Time::midnight()), |clock| clock.parse().ok())?;
    let time = format!("{} {clock}{}", date.date()?, offset.unwrap_or_default());
    BackupTime::parse(&time, zone).ok()
}

/// What is known of a date.
#[derive(Default)]
struct Parts {
    whole: Option<Date>,
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
}

impl Parts {
    /// Whether the word is a part of the date that is not known yet.
    fn take(&mut self, word: &str) -> bool {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        match word.len() {
            _ if month(word).is_some() => self.month.replace(month(word).unwrap_or_default()).is_none(),
            1 | 2 if is_number => word.parse().is_ok_and(|day| self.day.replace(day).is_none()),
            4 if is_number => word.parse().is_ok_and(|year| self.year.replace(year).is_none()),
            8 if is_number => word.parse().is_ok_and(|date| self.whole.replace(date).is_none()),
            10 => word.parse().is_ok_and(|date| self.whole.replace(date).is_none()),
            _ => false,
        }
    }

    fn date(&self) -> Option<Date> {
        match (self.whole, self.year, self.month, self.day) {
            (Some(date), None, None, None) => Some(date),
            (None, Some(year), Some(month), Some(day)) => Date::new(year, month, day).ok(),
            _ => None,
        }
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A month by its name or the first three letters of it.
fn month(word: &str) -> Option<i8> {
    let at = MONTHS.iter().position(|name| is_or_abbreviates(word, name))?;
    i8::try_from(at + 1).ok()
}

/// The date says which day of the week it is.
fn is_weekday(word: &str) -> bool {
    WEEKDAYS.iter().any(|name| is_or_abbreviates(word, name))
}

fn is_or_abbreviates(word: &str, name: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word == name || name.get(..3) == Some(word.as_str())
}

/// A word of letters that is no month.
fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphabetic()) && month(word).is_none()
}

fn is_utc(name: &str) -> bool {
    ["UTC", "GMT", "Z"].contains(&name)
}

/// Whether a zone is called so around a time, in winter or in summer.
fn has_name(zone: &TimeZone, time: Timestamp, name: &str) -> bool {
    let half_a_year = SignedDuration::from_hours(182 * 24);
    let times = [Some(time), time.checked_add(half_a_year).ok(), time.checked_sub(half_a_year).ok()];
    times.into_iter().flatten().any(|time| zone.to_offset_info(time).abbreviation() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn what_people_write() {
        for (text, expected) in [
            ("2026-11-22 10:00:00+03:00", "2026-11-22 10:00:00+03:00"),
            ("2026-11-22 10:00:00.25", "2026-11-22 10:00:00.250000+01:00"),
            ("2026-11-22T10:00:00Z", "2026-11-22 10:00:00+00:00"),
            ("2026-11-22T10:00:00.5-03", "2026-11-22 10:00:00.500000-03:00"),
            ("2026-11-22T10:00", "2026-11-22 10:00:00+01:00"),
            ("Sun Nov 22 10:00:00 2026", "2026-11-22 10:00:00+01:00"),
            ("2026-11-22", "2026-11-22 00:00:00+01:00"),
            ("2026-07-22", "2026-07-22 00:00:00+02:00"),
            ("20261122", "2026-11-22 00:00:00+01:00"),
            ("20261122 10:00", "2026-11-22 10:00:00+01:00"),
            ("20261122T100000", "2026-11-22 10:00:00+01:00"),
            ("2026/11/22", "2026-11-22 00:00:00+01:00"),
            ("2026/11/22 10:00", "2026-11-22 10:00:00+01:00"),
            ("2026/11/22 10:00:00 UTC", "2026-11-22 10:00:00+00:00"),
            ("2026-11-22 10:00:00 GMT", "2026-11-22 10:00:00+00:00"),
            ("2026-11-22 10:00 CET", "2026-11-22 10:00:00+01:00"),
            ("2026-07-22 10:00 CEST", "2026-07-22 10:00:00+02:00"),
            ("2026-11-22 UTC", "2026-11-22 00:00:00+00:00"),
            ("Sun, 22 Nov 2026 10:00:00 +0000", "2026-11-22 10:00:00+00:00"),
            ("22 Nov 2026 10:00:00 GMT", "2026-11-22 10:00:00+00:00"),
            ("Nov 22 2026 10:00", "2026-11-22 10:00:00+01:00"),
            ("November 22, 2026", "2026-11-22 00:00:00+01:00"),
            ("Sun Nov 22 10:00:00 UTC 2026", "2026-11-22 10:00:00+00:00"),
            ("Sun Nov  1 10:00:00 CET 2026", "2026-11-01 10:00:00+01:00"),
            ("Sunday 1 november 2026", "2026-11-01 00:00:00+01:00"),
        ] {
            let read = parse_any_time(text, &berlin()).map(|time| time.to_string());
            assert_eq!(read.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_refused() {
        for text in [
            "",
            "now",
            "UTC",
            "1790000000",
            "10:00",
            "11/22/2026",
            "22.11.2026",
            "2026-11-22 10:00 EST",
            "2026-11-22 10:00 PM",
            "2026-11-22 10:00 CET UTC",
            "2026-11-22 10:00:00+03:00 UTC",
            "2026-11-22 10:00:00Z CET",
            "Nov 2026",
            "Nov 22 10:00",
            "Nov 31 2026",
            "Nov Dec 22 2026",
            "2026-11-22 10:00 11:00",
            "2026-11-22 20261122",
        ] {
            assert!(parse_any_time(text, &berlin()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|([0-9]{1,4}|Nov|UTC|[/:, +-]){0,12}") {
            let _ = parse_any_time(&text, &berlin());
        }
    }
}
