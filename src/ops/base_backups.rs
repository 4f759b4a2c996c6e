//! Is there a base backup at all? Without one all archived WAL is worth nothing: after the backups were deleted, after a
//! change of the prefix (a major upgrade, a failover to another site), or before the first one was taken.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::catalog;
use crate::storage::{self, Depth, Location};

use super::{Context, Error};

/// How often a push looks for a base backup, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How long that may take.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// The file whose time is that of the last check.
const CHECKED: &str = "seawall_base_backup_check";

/// That there is WAL and no base backup; its text is the warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalAlone(Location);

impl fmt::Display for WalAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no base backup under {}: WAL alone cannot be restored", self.0)
    }
}

/// That the archive has WAL, asked where there is no backup.
pub(super) async fn wal_alone(ctx: &Context) -> Result<Option<WalAlone>, Error> {
    Ok(any_wal(ctx).await?.then(|| WalAlone(ctx.storage.location().clone())))
}

/// Whether the archive has any WAL.
pub(super) async fn any_wal(ctx: &Context) -> Result<bool, Error> {
    let first = ctx.storage.list_page(&ctx.layout.archive(), Depth::All, None).await?;
    Ok(first.objects.iter().any(|object| ctx.layout.archived_file(&object.key).is_some()))
}

/// For a push: whether a base backup is missing. Asked once in ten minutes, by the time of a file in `directory`,
/// and for a second at most; whatever cannot be found out is not told.
pub(super) async fn check_now_and_then(ctx: &Context, directory: &Path) -> Option<WalAlone> {
    if !is_due(&directory.join(CHECKED)) {
        return None;
    }
    match tokio::time::timeout(CHECK_LIMIT, any_complete(ctx)).await {
        Ok(Ok(false)) => Some(WalAlone(ctx.storage.location().clone())),
        Ok(Ok(true)) => None,
        Ok(Err(error)) => {
            tracing::debug!("could not look for a base backup: {error}");
            None
        }
        Err(_) => {
            tracing::debug!("looking for a base backup took too long");
            None
        }
    }
}

/// Whether it is time for another check, which then counts as made: one that fails is not repeated with every push.
fn is_due(mark: &Path) -> bool {
    let last = fs::metadata(mark).and_then(|metadata| metadata.modified());
    // A time in the future is that of a clock that was set back.
    let age = last.map(|last| SystemTime::now().duration_since(last).unwrap_or(CHECK_INTERVAL));
    if age.is_ok_and(|age| age < CHECK_INTERVAL) {
        return false;
    }
    let made = mark.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(mark));
    // Nothing is written to an empty file, and without that its time stays.
    made.and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

async fn any_complete(ctx: &Context) -> storage::Result<bool> {
    let storage = ctx.storage.as_ref();
    for key in catalog::markers(storage, ctx.layout).await? {
        let marker = storage::get_bytes(storage, &key).await?;
        if marker.and_then(|(_, content)| ctx.layout.read_marker(&content)).is_some_and(|it| it.is_complete) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::layout::barman::{BackupInfo, Barman, Partials, Status};
    use crate::layout::walg::WalG;
    use crate::layout::{Layout, Owner};
    use crate::ops::context;
    use crate::storage::memory::{Fault, Memory, Operation};
    use crate::storage::{ErrorKind, Key};

    const BARMAN: &Barman = &Barman { partials: Partials::Ignore };

    fn set(memory: &Memory, key: &str, body: &str) {
        memory.set(&Key::parse(key).unwrap(), body.to_owned());
    }

    #[tokio::test]
    async fn wal_alone_is_told() {
        for (layout, file) in [
            (&WalG as &'static dyn Layout, "wal_005/000000010000000000000001.br"),
            (BARMAN, "wals/0000000100000000/000000010000000000000001.gz"),
        ] {
            let memory = Memory::new();
            let ctx = context(&memory, layout);
            memory.set(&Owner::key(layout), "ours, and no WAL");
            assert_eq!(wal_alone(&ctx).await.unwrap(), None);
            set(&memory, file, "w");
            let told = wal_alone(&ctx).await.unwrap().unwrap().to_string();
            assert_eq!(told, "no base backup under memory: WAL alone cannot be restored");
        }
    }

    #[tokio::test]
    async fn only_a_complete_backup_counts() {
        let directory = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        let missing = async |memory: &Memory, layout| {
            number.set(number.get() + 1);
            let fresh = directory.path().join(number.get().to_string());
            check_now_and_then(&context(memory, layout), &fresh).await.is_some()
        };
        let info = |status| BackupInfo { status, ..BackupInfo::default() }.to_string();
        let memory = Memory::new();
        assert!(missing(&memory, &WalG).await && missing(&memory, BARMAN).await);
        set(&memory, "basebackups_005/base_000000010000000000000002/metadata.json", "{}");
        set(&memory, "base/20261121T010000/data.tar", "x");
        set(&memory, "base/20261121T020000/backup.info", &info(Status::Failed));
        assert!(missing(&memory, &WalG).await && missing(&memory, BARMAN).await);
        set(&memory, "basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json", "{}");
        set(&memory, "base/20261120T010000/backup.info", &info(Status::Done));
        assert!(!missing(&memory, &WalG).await && !missing(&memory, BARMAN).await);
    }

    #[tokio::test]
    async fn it_is_looked_for_now_and_then_and_not_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let marks = directory.path().join("not/there/yet");
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        assert!(check_now_and_then(&ctx, &marks).await.is_some());
        for _ in 0..3 {
            assert_eq!(check_now_and_then(&ctx, &marks).await, None);
        }
        assert_eq!(memory.calls(Operation::List), 1);
        let aged = |age: Duration| {
            File::options()
                .write(true)
                .open(marks.join(CHECKED))
                .unwrap()
                .set_modified(SystemTime::now() - age)
        };
        aged(CHECK_INTERVAL).unwrap();
        assert!(check_now_and_then(&ctx, &marks).await.is_some());

        for fault in [Fault::Hang, Fault::Before(ErrorKind::Network)] {
            aged(CHECK_INTERVAL).unwrap();
            memory.fail(Operation::List, memory.calls(Operation::List) + 1, fault);
            let begin = Instant::now();
            assert_eq!(check_now_and_then(&ctx, &marks).await, None, "{fault:?}");
            assert!(begin.elapsed() < 10 * CHECK_LIMIT);
            assert_eq!(check_now_and_then(&ctx, &marks).await, None, "it counts as made");
        }
    }
}
