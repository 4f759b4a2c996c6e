//! `--retention-policy`, and what it makes of each backup.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::layout::barman::{BackupId, Keep, Status};

use super::BackupFacts;

/// How long backups are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionPolicy {
    /// `REDUNDANCY n`: as long as they are among the newest.
    Redundancy(usize),
    /// `RECOVERY WINDOW OF n DAYS`, `WEEKS` or `MONTHS`: as long as recovery to a point within that time needs them. A
    /// month has 31 days.
    RecoveryWindow(SignedDuration),
}

/// A text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot understand the retention policy `{text}`: expected REDUNDANCY n, or RECOVERY WINDOW OF n DAYS, WEEKS or \
     MONTHS"
)]
pub struct InvalidPolicy {
    text: String,
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

impl FromStr for RetentionPolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<RetentionPolicy, InvalidPolicy> {
        parse(text).ok_or_else(|| InvalidPolicy { text: text.escape_debug().to_string() })
    }
}

fn parse(text: &str) -> Option<RetentionPolicy> {
    let text = text.to_ascii_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["redundancy", count] => Some(RetentionPolicy::Redundancy(number(count)?)),
        ["recovery", "window", "of", count, unit] => {
            let days = match unit.strip_suffix('s').unwrap_or(unit) {
                "day" => 1,
                "week" => 7,
                "month" => 31,
                _ => return None,
            };
            let count = i32::try_from(number(count)?).unwrap_or(i32::MAX);
            let window = DAY.checked_mul(days).and_then(|unit| unit.checked_mul(count));
            Some(RetentionPolicy::RecoveryWindow(window.unwrap_or(SignedDuration::MAX)))
        }
        _ => None,
    }
}

/// A number of digits only; what is too large to count is as large as can be.
fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}

/// What a policy makes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionStatus {
    /// It is needed.
    Valid,
    /// It is not, and goes.
    Obsolete,
    /// It is not, and stays because of the minimum redundancy.
    PotentiallyObsolete,
    /// It is kept, with all WAL after it.
    KeepFull,
    /// It is kept, alone.
    KeepStandalone,
    /// It is not complete, and no policy's business.
    None,
}

impl fmt::Display for RetentionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RetentionStatus::Valid => "VALID",
            RetentionStatus::Obsolete => "OBSOLETE",
            RetentionStatus::PotentiallyObsolete => "OBSOLETE*",
            RetentionStatus::KeepFull => "KEEP:FULL",
            RetentionStatus::KeepStandalone => "KEEP:STANDALONE",
            RetentionStatus::None => "-",
        })
    }
}

/// What `policy` makes of each backup, newest first. At least `minimum_redundancy` backups stay.
pub fn report(
    policy: &RetentionPolicy,
    backups: &[BackupFacts],
    minimum_redundancy: usize,
    now: Timestamp,
) -> Vec<(BackupId, RetentionStatus)> {
    let mut newest_first: Vec<&BackupFacts> = backups.iter().collect();
    newest_first.sort_by_key(|facts| std::cmp::Reverse(facts.id));
    let mut counter = Counter { minimum_redundancy, counted: 0, window_is_covered: false };
    newest_first
        .into_iter()
        .map(|facts| {
            let status = match facts.status {
                _ if facts.is_being_deleted => RetentionStatus::Obsolete,
                // An increment goes with what it builds on, which is the business of the server that made it.
                Status::Done if !facts.is_incremental => counter.status(policy, facts, now),
                _ => RetentionStatus::None,
            };
            (facts.id, status)
        })
        .collect()
}

/// What was seen on the way from the newest backup on.
struct Counter {
    minimum_redundancy: usize,
    /// Backups that count for the redundancy.
    counted: usize,
    /// A backup that ended before the window has been seen.
    window_is_covered: bool,
}

impl Counter {
    fn status(&mut self, policy: &RetentionPolicy, facts: &BackupFacts, now: Timestamp) -> RetentionStatus {
        let unkept = match policy {
            RetentionPolicy::Redundancy(count) => self.by_redundancy(*count),
            RetentionPolicy::RecoveryWindow(window) => self.by_window(*window, facts.end_time, now),
        };
        match facts.keep {
            None => unkept,
            Some(Keep::Full) => RetentionStatus::KeepFull,
            Some(Keep::Standalone) => RetentionStatus::KeepStandalone,
        }
    }

    /// A kept backup counts as well.
    fn by_redundancy(&mut self, count: usize) -> RetentionStatus {
        self.counted += 1;
        match self.counted <= count.max(self.minimum_redundancy) {
            true => RetentionStatus::Valid,
            false => RetentionStatus::Obsolete,
        }
    }

    /// The newest backup that ended before the window is what recovery to the window's beginning starts from.
    fn by_window(
        &mut self,
        window: SignedDuration,
        end: Option<Timestamp>,
        now: Timestamp,
    ) -> RetentionStatus {
        if !self.window_is_covered {
            self.counted += 1;
            let beginning = now.checked_sub(window).unwrap_or(Timestamp::MIN);
            self.window_is_covered = end.is_some_and(|end| end < beginning);
            RetentionStatus::Valid
        } else if self.counted < self.minimum_redundancy {
            self.counted += 1;
            RetentionStatus::PotentiallyObsolete
        } else {
            RetentionStatus::Obsolete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        let days = |days: i64| RetentionPolicy::RecoveryWindow(SignedDuration::from_hours(24 * days));
        for (text, policy) in [
            ("REDUNDANCY 2", RetentionPolicy::Redundancy(2)),
            (" redundancy\t0 ", RetentionPolicy::Redundancy(0)),
            ("redundancy 99999999999999999999999", RetentionPolicy::Redundancy(usize::MAX)),
            ("RECOVERY WINDOW OF 7 DAYS", days(7)),
            ("Recovery  Window of 1 day", days(1)),
            ("RECOVERY WINDOW OF 2 WEEKS", days(14)),
            ("RECOVERY WINDOW OF 3 month", days(93)),
            ("RECOVERY WINDOW OF 0 DAYS", days(0)),
        ] {
            assert_eq!(text.parse(), Ok(policy), "{text}");
        }
        let forever: RetentionPolicy = "recovery window of 99999999999999999999 months".parse().unwrap();
        assert!(
            matches!(forever, RetentionPolicy::RecoveryWindow(window) if window > DAY.checked_mul(36500).unwrap())
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2",
            "REDUNDANCY",
            "REDUNDANCY -1",
            "REDUNDANCY +1",
            "REDUNDANCY 1.5",
            "REDUNDANCY 2 DAYS",
            "RECOVERY WINDOW OF 7",
            "RECOVERY WINDOW OF DAYS",
            "RECOVERY WINDOW OF 7 YEARS",
            "RECOVERY WINDOW 7 DAYS",
            "RECOVERYWINDOW OF 7 DAYS",
            "RECOVERY WINDOW OF 7 DAYSS",
            "RECOVERY WINDOW OF -7 DAYS",
            "MAIN",
        ] {
            assert!(text.parse::<RetentionPolicy>().is_err(), "{text}");
        }
    }
}
