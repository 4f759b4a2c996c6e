//! Waits until the archive has the WAL that a backup needs: every segment from its start to its end.
//!
//! First for the server's own archiver, if it archives what the backup needs ([`archiver_is_done`]). `pg_backup_stop` can do
//! that as well, but its wait is bounded as a whole or not at all, and an archiver that has much to catch up with would
//! cost the backup although it works. Then the archive itself is asked ([`wait`]): the archiver may write to another one,
//! and the WAL of a standby's backup comes from its primary.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::layout::Name;
use crate::layout::new_backup::Beginning;
use crate::ops::{Context, Error};
use crate::ops::{archived, base_backups};
use crate::pg::session::Session;
use crate::pg::{Lsn, SegmentName, WalFileName};
use crate::storage::{self, Depth, Prefix};

use super::unconfirmed::{Archiver, MissingWal, Unconfirmed};

/// The pauses between two looks into the archive: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often the log says what is waited for.
const REPORT: Duration = Duration::from_secs(60);

/// The longest wait for the WAL of a primary: its archiver is done, or it has none. What still comes was streamed, and
/// is compressed and stored just now.
const PRIMARY: Duration = Duration::from_secs(60);

impl Archiver {
    fn of(beginning: &Beginning) -> Archiver {
        match (beginning.started.in_recovery, beginning.server.archives()) {
            (true, _) => Archiver::Primary,
            (false, true) => Archiver::Elsewhere,
            (false, false) => Archiver::Nobody,
        }
    }
}

/// Returns when the server's archiver has archived the WAL up to `stop`, or the archive has it;
/// [`Unconfirmed::NotArchived`] when nothing at all was archived for `limit`. At once where the server archives nothing of
/// the backup.
pub(super) async fn archiver_is_done(
    ctx: &Context,
    session: &Session,
    beginning: &Beginning,
    stop: Lsn,
    limit: Duration,
) -> Result<(), Error> {
    if Archiver::of(beginning) != Archiver::Elsewhere {
        return Ok(());
    }
    let needed = needed(beginning, stop);
    let Some(&last) = needed.last() else { return Ok(()) };
    let (mut archived, mut moved) = (None, Instant::now());
    let (mut pause, mut reported) = (PAUSES.0, Instant::now());
    loop {
        let archiver = session.archiver().await?;
        // The statistics may come late, and before 15 not at all.
        if archiver.is_done_with(last)
            || is_marked_done(&beginning.data_dir, last)
            || missing(ctx, &needed).await?.is_none()
        {
            return Ok(());
        }
        if archived != Some(archiver.archived) {
            (archived, moved) = (Some(archiver.archived), Instant::now());
        } else if moved.elapsed() >= limit {
            return Err(Unconfirmed::NotArchived(limit).into());
        }
        if reported.elapsed() >= REPORT {
            tracing::info!(
                "Waiting until the server has archived {last}, {} files so far",
                archiver.archived
            );
            reported = Instant::now();
        }
        rest(ctx, pause.min(limit)).await?;
        pause = (2 * pause).min(PAUSES.1);
    }
}

/// Whether the archiver has left its mark for a segment, which is what the server itself looks at
/// (`XLogArchiveIsBusy`). It goes with the segment at some later checkpoint.
fn is_marked_done(data_dir: &Path, segment: SegmentName) -> bool {
    data_dir.join("pg_wal/archive_status").join(format!("{segment}.done")).exists()
}

/// Whether the archive has to be asked although the server's own archiver is the witness: that of a standby's backup is
/// on the primary. An archive without any WAL is not where the primary's goes.
pub(super) async fn has_the_primarys(ctx: &Context, beginning: &Beginning) -> Result<bool, Error> {
    if Archiver::of(beginning) != Archiver::Primary {
        return Ok(false);
    }
    let any = ctx.until_cancelled(base_backups::any_wal(ctx)).await?;
    if !any {
        tracing::warn!("the WAL of this backup is not archived here: the primary has to keep it elsewhere");
    }
    Ok(any)
}

/// Returns when the archive has all WAL from the beginning of the backup to its end at `stop`;
/// [`Unconfirmed::NoWal`] when it lacks some after `limit`, or a minute where nothing more can be expected.
pub(super) async fn wait(
    ctx: &Context,
    backup: &Name,
    beginning: &Beginning,
    stop: Lsn,
    limit: Duration,
) -> Result<(), Error> {
    let archiver = Archiver::of(beginning);
    let limit = if archiver == Archiver::Primary { limit } else { limit.min(PRIMARY) };
    let needed = needed(beginning, stop);
    match come(ctx, &needed, limit).await? {
        None => Ok(()),
        Some(missing) => {
            Err(Unconfirmed::NoWal { backup: backup.clone(), missing, archiver, waited: limit }.into())
        }
    }
}

/// Waits for these segments; what is missing after `limit`.
async fn come(
    ctx: &Context,
    needed: &BTreeSet<SegmentName>,
    limit: Duration,
) -> Result<Option<MissingWal>, Error> {
    let started = Instant::now();
    let (mut pause, mut reported) = (PAUSES.0, None::<Instant>);
    loop {
        let Some(missing) = missing(ctx, needed).await? else { return Ok(None) };
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return not_there(ctx, missing).await;
        }
        if reported.is_none_or(|last| last.elapsed() >= REPORT) {
            tracing::info!("Waiting until the archive has {missing}, which the backup needs");
            reported = Some(Instant::now());
        }
        rest(ctx, pause.min(left)).await?;
        pause = (2 * pause).min(PAUSES.1);
    }
}

async fn rest(ctx: &Context, pause: Duration) -> Result<(), Error> {
    let wait = async {
        tokio::time::sleep(pause).await;
        Ok::<(), Error>(())
    };
    ctx.until_cancelled(wait).await
}

/// All segments that replay reads, from the beginning of the backup until it has come to `stop`.
fn needed(beginning: &Beginning, stop: Lsn) -> BTreeSet<SegmentName> {
    beginning.segment.until(stop, beginning.server.segment_size).collect()
}

/// Those that the archive does not have in any form; `None` when it has all.
async fn missing(ctx: &Context, needed: &BTreeSet<SegmentName>) -> Result<Option<MissingWal>, Error> {
    let mut missing = needed.clone();
    let logs: BTreeSet<Prefix> = needed.iter().map(|segment| ctx.layout.wal_of_log(*segment)).collect();
    for log in logs {
        let list = storage::list_all(ctx.storage.as_ref(), &log, Depth::Children);
        for object in ctx.until_cancelled(list).await?.objects {
            if let Some((WalFileName::Segment(segment), _)) = ctx.layout.archived_file(&object.key) {
                missing.remove(&segment);
            }
        }
    }
    Ok((!missing.is_empty()).then_some(MissingWal(missing)))
}

/// Those of `missing` that are not there by their names either: some services list late.
async fn not_there(ctx: &Context, missing: MissingWal) -> Result<Option<MissingWal>, Error> {
    let mut absent = BTreeSet::new();
    for segment in missing.0 {
        // One that is not there is enough to say so; more than a few are no late list.
        if absent.len() > 10 || archived::open(ctx, &segment.to_string()).await?.is_none() {
            absent.insert(segment);
        }
    }
    Ok((!absent.is_empty()).then_some(MissingWal(absent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::layout::barman::{Barman, Partials};
    use crate::layout::walg::WalG;
    use crate::ops::context;
    use crate::pg::WalSegmentSize;
    use crate::storage::memory::{Fault, Memory, Operation};
    use crate::storage::{ErrorKind, Key};

    fn from(first: &str, stop: u64) -> BTreeSet<SegmentName> {
        let first: SegmentName = first.parse().unwrap();
        first.until(Lsn::new(stop), WalSegmentSize::DEFAULT).collect()
    }

    #[tokio::test]
    async fn segments_are_found_in_any_form_and_partial_ones_are_none() {
        let needed = from("0000000100000000000000FE", 0x1_0000_0001);
        for (layout, folder, other, extensions) in [
            (&WalG as &'static dyn Layout, ["wal_005", "wal_005"], "wal_005", [".br", "", ".zst"]),
            (
                &Barman { partials: Partials::Ignore },
                ["wals/0000000100000000", "wals/0000000100000001"],
                "wals/0000000100000001",
                [".gz", "", ".bz2"],
            ),
        ] {
            let memory = Memory::new();
            let ctx = context(&memory, layout);
            let put = |text: String| memory.set(&Key::parse(&text).unwrap(), "");
            put(format!("{}/0000000100000000000000FE{}", folder[0], extensions[0]));
            put(format!("{other}/000000010000000100000000.partial{}", extensions[0]));
            put(format!("{other}/000000010000000100000000.00000028.backup{}", extensions[0]));
            put(format!("{other}/000000010000000100000001{}", extensions[0]));
            let missing = come(&ctx, &needed, Duration::ZERO).await.unwrap().unwrap();
            assert_eq!(
                missing.to_string(),
                "2 WAL segments of 0000000100000000000000FF to 000000010000000100000000"
            );
            put(format!("{}/0000000100000000000000FF{}", folder[0], extensions[1]));
            let missing = come(&ctx, &needed, Duration::from_millis(1)).await.unwrap().unwrap();
            assert_eq!(missing.to_string(), "WAL segment 000000010000000100000000");
            put(format!("{}/000000010000000100000000{}", folder[1], extensions[2]));
            assert_eq!(come(&ctx, &needed, Duration::ZERO).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_comes_later_is_waited_for_and_no_answer_is_not_missing() {
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        let needed = from("000000010000000000000002", 0x200_0130);
        let archived = async {
            while memory.calls(Operation::List) < 2 {
                tokio::task::yield_now().await;
            }
            memory.set(&Key::parse("wal_005/000000010000000000000002.lz4").unwrap(), "");
        };
        let (came, ()) = tokio::join!(come(&ctx, &needed, Duration::from_secs(60)), archived);
        assert_eq!(came.unwrap(), None);
        memory.fail(Operation::List, memory.calls(Operation::List) + 1, Fault::Before(ErrorKind::Refused));
        assert!(matches!(come(&ctx, &needed, Duration::ZERO).await, Err(Error::Storage(_))));
        ctx.cancel.cancel();
        let cancelled =
            come(&ctx, &from("000000010000000000000002", 0x300_0130), Duration::from_secs(60)).await;
        assert!(matches!(cancelled, Err(Error::Cancelled)));
    }
}
