//! Which backup a recovery begins with: `barman-cloud-restore … auto`.
//!
//! Recovery goes forward only, so it is the newest backup that had ended when the target was reached. Source: barman
//! `utils.py`, `get_backup_id_from_target_*`; other than there, a backup that failed or never ended is not chosen.

use jiff::Timestamp;

use crate::pg::{Lsn, TimelineId};

use super::{BackupId, BackupInfo, Status};

/// Where a recovery is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryTarget {
    /// `None` for the end of WAL.
    pub end: Option<RecoveryEnd>,
    /// The timeline of the backup; `None` for any.
    pub timeline: Option<TimelineId>,
}

/// A place in the history of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryEnd {
    /// `--target-time`
    Time(Timestamp),
    /// `--target-lsn`
    Lsn(Lsn),
}

impl RecoveryTarget {
    /// The newest of `backups`, by their ids, from which the target can be reached; `None` when there is none.
    pub fn choose<'a>(
        &self,
        backups: impl IntoIterator<Item = (BackupId, &'a BackupInfo)>,
    ) -> Option<BackupId> {
        let usable = backups.into_iter().filter(|(_, info)| self.is_reached_from(info));
        usable.map(|(id, _)| id).max()
    }

    fn is_reached_from(&self, info: &BackupInfo) -> bool {
        let is_complete = matches!(info.status, Status::Done | Status::WaitingForWals);
        let Some(ended) = info.end_time.filter(|_| is_complete) else { return false };
        let before_end = match self.end {
            None => true,
            Some(RecoveryEnd::Time(time)) => ended.timestamp() <= time,
            Some(RecoveryEnd::Lsn(lsn)) => info.end_xlog.is_some_and(|end| end <= lsn),
        };
        before_end && self.timeline.is_none_or(|timeline| info.timeline == Some(timeline))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn info(text: &str) -> BackupInfo {
        BackupInfo::parse(text.replace("; ", "\n").as_bytes(), &TimeZone::UTC).unwrap()
    }

    /// The hour of the id that is chosen; every backup ends half an hour after its id, but for those that do not.
    fn chosen(end: Option<RecoveryEnd>, timeline: Option<u32>) -> Option<String> {
        let backups = [
            ("10", "status=DONE; timeline=1; end_xlog=0/2000100; end_time=2026-11-21 10:30:00+00:00"),
            ("11", "status=DONE; timeline=1; end_xlog=0/3000100; end_time=2026-11-21 13:30:00+02:00"),
            (
                "12",
                "status=WAITING_FOR_WALS; timeline=2; end_xlog=0/4000100; end_time=2026-11-21 12:30:00+00:00",
            ),
            ("13", "status=DONE; timeline=1; end_xlog=0/5000100; end_time=2026-11-21 13:30:00+00:00"),
            ("14", "status=FAILED; timeline=2; end_xlog=0/6000100; end_time=2026-11-21 14:30:00+00:00"),
            ("15", "status=STARTED; timeline=2"),
            ("16", "status=DONE; timeline=2; end_xlog=0/7000100"),
            ("17", "timeline=2; end_time=2026-11-21 17:30:00+00:00"),
        ];
        let infos = backups.map(|(hour, text)| (format!("20261121T{hour}0000").parse().unwrap(), info(text)));
        let timeline = timeline.map(|timeline| TimelineId::new(timeline).unwrap());
        let target = RecoveryTarget { end, timeline };
        // Whatever the order.
        let found = target.choose(infos.iter().rev().map(|(id, info)| (*id, info)));
        assert_eq!(target.choose(infos.iter().map(|(id, info)| (*id, info))), found);
        found.map(|id: BackupId| id.to_string()[9..11].to_owned())
    }

    fn at(time: &str) -> Option<RecoveryEnd> {
        Some(RecoveryEnd::Time(format!("2026-11-21T{time}Z").parse().unwrap()))
    }

    fn lsn(text: &str) -> Option<RecoveryEnd> {
        Some(RecoveryEnd::Lsn(text.parse().unwrap()))
    }

    #[test]
    fn the_newest_backup_that_had_ended_is_chosen() {
        for (end, timeline, expected) in [
            (None, None, Some("13")),
            (None, Some(1), Some("13")),
            (None, Some(2), Some("12")),
            (None, Some(3), None),
            (at("10:29:59.999999"), None, None),
            (at("10:30:00"), None, Some("10")),
            (at("11:29:59"), None, Some("10")),
            (at("11:30:00"), None, Some("11")),
            (at("23:59:59"), Some(2), Some("12")),
            (at("12:00:00"), Some(2), None),
            (lsn("0/20000FF"), None, None),
            (lsn("0/2000100"), None, Some("10")),
            (lsn("0/4000100"), Some(1), Some("11")),
            (lsn("1/0"), None, Some("13")),
        ] {
            assert_eq!(chosen(end, timeline).as_deref(), expected, "{end:?} {timeline:?}");
        }
    }

    #[test]
    fn without_backups_there_is_none() {
        assert_eq!(RecoveryTarget::default().choose([]), None);
    }
}
