//! Times in `backup.info`: with the offset of the zone in which they were written.
//!
//! barman writes `str(datetime)`, such as `2026-11-21 02:34:20.407048+00:00`: microseconds, left out when zero. Read is ISO
//! 8601 in all its usual forms, and C's `ctime`, which older files have; for more there is
//! [`parse_any_time`](super::parse_any_time). A time without an offset is one of the local zone.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use jiff::tz::{Offset, TimeZone};

/// A point in time and the offset in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackupTime {
    timestamp: Timestamp,
    offset: Offset,
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time")]
pub struct InvalidTime {
    text: String,
}

impl InvalidTime {
    pub(super) fn new(text: &str) -> InvalidTime {
        InvalidTime { text: text.escape_debug().to_string() }
    }
}

impl BackupTime {
    /// A time, shown with this offset. What is finer than a microsecond is dropped.
    pub fn new(timestamp: Timestamp, offset: Offset) -> BackupTime {
        let microseconds = Timestamp::from_microsecond(timestamp.as_microsecond());
        BackupTime { timestamp: microseconds.unwrap_or(timestamp), offset }
    }

    /// Reads a time; one without an offset is in the zone `local`.
    pub fn parse(text: &str, local: &TimeZone) -> Result<BackupTime, InvalidTime> {
        let read = iso(text, local).or_else(|| ctime(text, local));
        read.ok_or_else(|| InvalidTime::new(text))
    }

    /// The point in time.
    pub fn timestamp(self) -> Timestamp {
        self.timestamp
    }

    /// The offset in which it is shown.
    pub fn offset(self) -> Offset {
        self.offset
    }

    /// What a clock showed there.
    pub fn civil(self) -> DateTime {
        self.offset.to_datetime(self.timestamp)
    }
}

/// ISO 8601: date and time with a space or a `T` between them, and an offset, `Z` or `UTC`.
fn iso(text: &str, local: &TimeZone) -> Option<BackupTime> {
    let (text, utc) = match text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")) {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    // A blank before the offset is PostgreSQL's and people's.
    let compact = match text.rsplit_once([' ']) {
        Some((rest, offset)) if offset.starts_with(['+', '-']) => format!("{rest}{offset}"),
        _ => text.to_owned(),
    };
    let pieces = Pieces::parse(&compact).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    match pieces.offset() {
        _ if utc => at(civil, Offset::UTC),
        Some(PiecesOffset::Numeric(offset)) => at(civil, offset.offset()),
        Some(_) => at(civil, Offset::UTC),
        None => in_zone(civil, local),
    }
}

/// C's `ctime`: `Sat Nov 21 02:34:20 2026`.
fn ctime(text: &str, local: &TimeZone) -> Option<BackupTime> {
    in_zone(DateTime::strptime("%a %b %e %H:%M:%S %Y", text).ok()?, local)
}

fn at(civil: DateTime, offset: Offset) -> Option<BackupTime> {
    Some(BackupTime::new(offset.to_timestamp(civil).ok()?, offset))
}

fn in_zone(civil: DateTime, local: &TimeZone) -> Option<BackupTime> {
    let zoned = local.to_ambiguous_zoned(civil).compatible().ok()?;
    Some(BackupTime::new(zoned.timestamp(), zoned.offset()))
}

/// What Python's `str(datetime)` writes.
impl fmt::Display for BackupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, *self, ' ')
    }
}

impl BackupTime {
    /// What Python's `datetime.isoformat()` writes: the same with a `T`.
    pub fn iso_format(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write_time(f, self, 'T'))
    }
}

fn write_time(f: &mut fmt::Formatter<'_>, time: BackupTime, separator: char) -> fmt::Result {
    let civil = time.civil();
    write!(f, "{:04}-{:02}-{:02}{separator}", civil.year(), civil.month(), civil.day())?;
    write!(f, "{:02}:{:02}:{:02}", civil.hour(), civil.minute(), civil.second())?;
    let microseconds = civil.subsec_nanosecond() / 1000;
    if microseconds != 0 {
        write!(f, ".{microseconds:06}")?;
    }
    let seconds = time.offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
    match seconds % 60 {
        0 => Ok(()),
        rest => write!(f, ":{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<BackupTime, InvalidTime> {
        BackupTime::parse(text, &TimeZone::fixed(jiff::tz::offset(2)))
    }

    #[test]
    fn what_python_writes_is_read_and_written() {
        for text in [
            "2026-11-21 02:34:20.407048+00:00",
            "2026-11-21 02:34:20+00:00",
            "2026-11-21 02:34:20.000001-03:30",
            "2026-11-21 02:34:20+05:30:15",
            "0001-01-02 00:00:00+00:00",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let time = parse("2026-11-21 02:34:20.407048+01:00").unwrap();
        assert_eq!(time.iso_format().to_string(), "2026-11-21T02:34:20.407048+01:00");
        assert_eq!(time.timestamp(), "2026-11-21T01:34:20.407048Z".parse().unwrap());
    }

    #[test]
    fn other_forms_are_read() {
        for (text, written) in [
            ("2026-11-21T02:34:20Z", "2026-11-21 02:34:20+00:00"),
            ("2026-11-21 02:34:20 UTC", "2026-11-21 02:34:20+00:00"),
            ("2026-11-21 02:34:20+01", "2026-11-21 02:34:20+01:00"),
            ("2026-11-21 02:34:20 -0130", "2026-11-21 02:34:20-01:30"),
            ("2026-11-21 02:34:20.407048999+00:00", "2026-11-21 02:34:20.407048+00:00"),
            ("20261121T023420Z", "2026-11-21 02:34:20+00:00"),
            ("2026-11-21 02:34:20.5", "2026-11-21 02:34:20.500000+02:00"),
            ("Sat Nov 21 02:34:20 2026", "2026-11-21 02:34:20+02:00"),
            ("Sun Nov  1 02:34:20 2026", "2026-11-01 02:34:20+02:00"),
        ] {
            assert_eq!(parse(text).map(|time| time.to_string()), Ok(written.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_without_offset_is_local() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (text, written) in [
            ("2026-07-01 12:00:00", "2026-07-01 12:00:00+02:00"),
            ("2026-01-01 12:00:00", "2026-01-01 12:00:00+01:00"),
        ] {
            assert_eq!(BackupTime::parse(text, &berlin).unwrap().to_string(), written);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "None",
            "now",
            "2026-11-21",
            "2026-13-21 00:00:00",
            "2026-11-21 25:00:00+00:00",
            "1790000000",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            microseconds in -62_000_000_000_000_000_i64..250_000_000_000_000_000,
            seconds in -80_000..80_000,
        ) {
            let time = BackupTime::new(
                Timestamp::from_microsecond(microseconds).unwrap(),
                Offset::from_seconds(seconds).unwrap(),
            );
            prop_assert_eq!(parse(&time.to_string()), Ok(time));
            prop_assert_eq!(parse(&time.iso_format().to_string()), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:. +-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
