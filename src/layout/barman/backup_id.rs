//! The id of a base backup: the local time at which it was started, `YYYYMMDDThhmmss`.
//!
//! barman takes any eight digits, `T` and six digits for an id (`utils.is_backup_id`), so ids are kept as digits, not as a time: one that no clock shows can still be listed and deleted. Two backups
//! started in one second, or in the hour that summer time repeats, have the same id.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;

/// The id of a base backup. Ids order as their texts do, which is by time but for a change of the local zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId {
    date: u32,
    time: u32,
}

/// A text that is no backup id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the id of a backup (YYYYMMDDThhmmss)")]
pub struct InvalidBackupId {
    text: String,
}

impl BackupId {
    /// The id of a backup that is started at this local time; fractions of a second are dropped.
    pub fn at(local: DateTime) -> BackupId {
        let digits = |number: i8| u32::try_from(number).unwrap_or(0);
        // A jiff year can be negative; no clock that takes backups shows one.
        let year = u32::try_from(local.year()).unwrap_or(0);
        BackupId {
            date: year * 10_000 + digits(local.month()) * 100 + digits(local.day()),
            time: digits(local.hour()) * 10_000 + digits(local.minute()) * 100 + digits(local.second()),
        }
    }
}

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<BackupId, InvalidBackupId> {
        parse(text).ok_or_else(|| InvalidBackupId { text: text.escape_debug().to_string() })
    }
}

fn parse(text: &str) -> Option<BackupId> {
    let (date, time) = text.split_once('T')?;
    Some(BackupId { date: digits(date, 8)?, time: digits(time, 6)? })
}

fn digits(text: &str, count: usize) -> Option<u32> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As one text, so that a width pads the whole.
        f.pad(&format!("{:08}T{:06}", self.date, self.time))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_a_local_time() {
        let local: DateTime = "2026-11-21T03:14:21.819412".parse().unwrap();
        assert_eq!(BackupId::at(local).to_string(), "20261121T031421");
        assert!(BackupId::at(local) < "20261121T031422".parse().unwrap());
        assert!(BackupId::at(local) < "20261122T000000".parse().unwrap());
    }

    #[test]
    fn ids_that_no_clock_shows_are_ids() {
        for text in ["00000000T000000", "99999999T999999"] {
            assert_eq!(text.parse::<BackupId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "20261121",
            "20261121T03142",
            "20261121T0314211",
            "20261121t031421",
            "+0261121T031421",
            "last",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_round_trips(text in "[0-9é]{7,9}T?[0-9]{5,7}") {
            if let Ok(id) = text.parse::<BackupId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn ids_order_as_their_texts(a in "[0-9]{8}T[0-9]{6}", b in "[0-9]{8}T[0-9]{6}") {
            let (x, y): (BackupId, BackupId) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
