//! Which backup to restore for a recovery target: [`RecoveryTarget`] chooses, once it is known which timeline is meant.

use crate::catalog::barman::{self as catalog, BackupEntry};
use crate::layout::barman::names::{self, HashDir};
use crate::layout::barman::{RecoveryEnd, RecoveryTarget, Status};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::pg::TimelineId;
use crate::storage::{self, Depth};

/// A timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetTimeline {
    /// This one.
    Number(TimelineId),
    /// The highest of which segments are archived.
    Latest,
}

/// The backup from which to recover to this end, on this timeline if one is given. [`RequestError::NoBackupBefore`] when
/// there is none.
pub async fn choose(
    ctx: &Context,
    end: Option<RecoveryEnd>,
    timeline: Option<TargetTimeline>,
) -> Result<BackupEntry, Error> {
    ctx.until_cancelled(async {
        let mut backups = catalog::list(ctx.storage.as_ref()).await?.backups;
        // In a bucket no other backup is complete.
        backups.retain(|entry| entry.info.status == Status::Done);
        let timeline = match timeline {
            None => None,
            Some(TargetTimeline::Number(timeline)) => Some(timeline),
            Some(TargetTimeline::Latest) => Some(latest_timeline(ctx).await?.ok_or(RequestError::NoWal)?),
        };
        let target = RecoveryTarget { end, timeline };
        let chosen = target.choose(backups.iter().map(|entry| (entry.id, &entry.info)));
        let chosen = backups.into_iter().find(|entry| Some(entry.id) == chosen);
        Ok::<_, Error>(chosen.ok_or(RequestError::NoBackupBefore)?)
    })
    .await
}

async fn latest_timeline(ctx: &Context) -> Result<Option<TimelineId>, storage::Error> {
    let folders =
        storage::list_all(ctx.storage.as_ref(), &names::wal_prefix(), Depth::Children).await?.prefixes;
    Ok(folders.iter().filter_map(HashDir::parse).map(|directory| directory.timeline).max())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::Offset;

    use super::*;
    use crate::layout::barman::{BackupId, BackupInfo, BackupTime, Barman, Partials};
    use crate::pg::Lsn;
    use crate::storage::Key;
    use crate::storage::memory::Memory;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn id(number: u32) -> BackupId {
        format!("20261121T{number:06}").parse().unwrap()
    }

    fn time(number: u32) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + i64::from(number)).unwrap()
    }

    /// Backups 1 and 2 on timeline 1, 3 on timeline 2; 4 has failed; WAL of timelines 1 to 2.
    fn context() -> Context {
        let memory = Memory::new();
        for (number, on, status) in
            [(1, 1, Status::Done), (2, 1, Status::Done), (3, 2, Status::Done), (4, 2, Status::Failed)]
        {
            let mut info = BackupInfo { status, ..BackupInfo::default() };
            info.set_begin(timeline(on), Lsn::new(u64::from(number) << 24));
            if status == Status::Done {
                info.set_end(timeline(on), Lsn::new((u64::from(number) << 24) + 256));
                info.end_time = Some(BackupTime::new(time(number), Offset::UTC));
            }
            memory.set(&names::backup_info_key(id(number)), info.to_string());
        }
        for key in ["wals/0000000200000000/x", "wals/0000000100000007/x", "wals/00000009.history"] {
            memory.set(&Key::parse(key).unwrap(), "");
        }
        crate::ops::context(&memory, &Barman { partials: Partials::Ignore })
    }

    #[tokio::test]
    async fn the_last_complete_backup_before_the_target() {
        let ctx = context();
        let lsn = |number: u64, beyond: u64| Some(RecoveryEnd::Lsn(Lsn::new((number << 24) + beyond)));
        let on = |number| Some(TargetTimeline::Number(timeline(number)));
        for (end, timeline, expected) in [
            (None, None, Some(3)),
            (None, on(1), Some(2)),
            (None, Some(TargetTimeline::Latest), Some(3)),
            (None, on(3), None),
            (Some(RecoveryEnd::Time(time(2))), None, Some(2)),
            (Some(RecoveryEnd::Time(time(0))), None, None),
            (Some(RecoveryEnd::Time(time(9))), on(1), Some(2)),
            (lsn(3, 255), None, Some(2)),
            (lsn(3, 256), None, Some(3)),
            (lsn(1, 0), None, None),
        ] {
            match (choose(&ctx, end, timeline).await, expected) {
                (Ok(found), Some(number)) => assert_eq!(found.id, id(number), "{end:?} {timeline:?}"),
                (Err(Error::Request(RequestError::NoBackupBefore)), None) => {}
                (other, _) => panic!("{end:?} {timeline:?}: {other:?}"),
            }
        }
    }
}
