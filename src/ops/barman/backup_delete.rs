//! `backup-delete`: removes a backup, or those that a policy gives up, and the WAL that nobody needs then.
//!
//! What goes is decided by [`crate::retention::barman`] from the whole catalogue and one listing of the archive, before
//! anything is deleted. Backups go oldest first. Before anything of a backup goes, its `backup.info` says that it failed
//! since it is being deleted: from then on nobody takes it for a backup. It goes last, after the tars and the WAL: as long
//! as it is there the same command, be it of a policy, finishes what an interruption left.
//!
//! The snapshots of a backup that is made of such go first, as barman deletes them. One that is locked ends the command; where
//! nothing of the backup is gone yet, it is one again.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::catalog::barman::{self as catalog, Annotations, BackupEntry};
use crate::layout::barman::{BackupId, SnapshotsInfo, Status, names};
use crate::ops::error::RequestError;
use crate::ops::removal::{Mode, Removal};
use crate::ops::{Context, Error};
use crate::retention::barman::{
    self as retention, ArchivedObject, BackupFacts, RUNNING_AGE, Refusal, Request, RetentionPolicy,
    RetentionStatus, WalRemoval,
};
use crate::storage::{self, Depth, ErrorKind, Key, PutMode};
use crate::volumes::{self, Deleted, Ec2};

use super::volumes::{Volumes, snapshots_of};

/// What to delete.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// By which rule.
    pub request: DeleteRequest,
    /// How many backups must stay.
    pub minimum_redundancy: usize,
    /// Whether locks are looked for first.
    pub locks: Locks,
    /// Whether to do it.
    pub mode: Mode,
}

/// What becomes of a backup whose objects the service keeps from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// Nobody asks: in such a bucket a delete hides an object, and what it held stays until the lock ends.
    Ignore,
    /// Nothing of it goes. That costs a request for each of its tars.
    Check,
}

/// Requests at once that ask for locks.
const LOCKS_AT_ONCE: usize = 16;

/// By which rule to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteRequest {
    /// One backup: its id, its name, or a word ([`catalog::resolve`]).
    Backup(String),
    /// Those that a policy gives up.
    Policy(RetentionPolicy),
}

/// A backup that goes, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRemoval {
    /// The backup.
    pub id: BackupId,
    /// The snapshots that it is made of, if it is.
    pub snapshots: Option<SnapshotsInfo>,
    /// Its `backup_label`, where that is an object of its own.
    pub label: Option<Key>,
    /// Its tars, those of the data directory first.
    pub tars: Vec<Key>,
    /// What says whose backup it is, where it was killed.
    pub claim: Option<Key>,
    /// Its `backup.info`.
    pub info: Key,
    /// What stands there when its deletion begins.
    pub announcement: String,
    /// The WAL that nobody needs without it.
    pub wal: WalRemoval,
}

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct Deletion {
    /// The backups that go, oldest first.
    pub backups: Vec<BackupRemoval>,
    /// What was deleted.
    pub removal: Removal,
}

/// Plans and, when confirmed, deletes. Objects that could not be deleted are in the result, not an error.
pub async fn run(
    ctx: &Context,
    annotations: &Annotations,
    volumes: &Volumes,
    options: Options,
) -> Result<Deletion, Error> {
    let backups = ctx.until_cancelled(plan(ctx, annotations, &options)).await?;
    let mut deletion = Deletion { backups, removal: Removal::default() };
    if options.mode == Mode::Confirmed {
        execute(ctx, volumes, &deletion.backups, options.locks, &mut deletion.removal).await?;
    }
    Ok(deletion)
}

async fn plan(
    ctx: &Context,
    annotations: &Annotations,
    options: &Options,
) -> Result<Vec<BackupRemoval>, Error> {
    let storage = ctx.storage.as_ref();
    let catalogue = catalog::list(storage).await?;
    if !catalogue.unreadable.is_empty() {
        return Err(RequestError::from(Refusal::Unreadable { ids: catalogue.unreadable }).into());
    }
    let request = match &options.request {
        DeleteRequest::Backup(text) => Request::Backup(catalogue.resolve(text, storage.location())?),
        DeleteRequest::Policy(policy) => Request::Policy(*policy),
    };
    let now = Timestamp::now();
    let keeps = annotations.keeps().await?;
    let facts =
        |entry: &BackupEntry| BackupFacts { keep: keeps.get(&entry.id).copied(), ..facts(entry, now) };
    let facts: Vec<BackupFacts> = catalogue.backups.iter().map(facts).collect();
    tell(&request, &facts, options.minimum_redundancy, now);
    let chosen =
        retention::choose(&request, &facts, options.minimum_redundancy, now).map_err(RequestError::from)?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let archive = storage::list_all(storage, &names::wal_prefix(), Depth::All).await?.objects;
    let archive: Vec<ArchivedObject> =
        archive.into_iter().map(|object| ArchivedObject::new(object.key)).collect();
    let wal = retention::wal_removals(&request, &chosen, &facts, &archive);
    let mut removals = Vec::new();
    for (id, wal) in chosen.into_iter().zip(wal) {
        let entry = catalogue.backups.iter().find(|entry| entry.id == id);
        let Data { tars, claim, label } = data(ctx, id).await?;
        let snapshots = entry.map(|entry| snapshots_of(id, &entry.info)).transpose()?.flatten();
        removals.push(BackupRemoval {
            id,
            label: label.or(snapshots.as_ref().map(|_| names::backup_label_key(id))),
            snapshots,
            tars,
            claim,
            info: names::backup_info_key(id),
            announcement: entry.map(|entry| entry.info.being_deleted().to_string()).unwrap_or_default(),
            wal,
        });
    }
    Ok(removals)
}

fn facts(entry: &BackupEntry, now: Timestamp) -> BackupFacts {
    let info = &entry.info;
    BackupFacts {
        id: entry.id,
        status: info.status,
        end_time: info.end_time.map(|time| time.timestamp()),
        timeline: info.timeline,
        begin_wal: info.begin_wal,
        end_wal: info.end_wal,
        keep: None,
        is_being_deleted: info.is_being_deleted(),
        may_be_running: info.status == Status::Started && now.duration_since(entry.modified) < RUNNING_AGE,
        is_incremental: info.parent_backup_id.is_some(),
        has_unknown_snapshots: snapshots_of(entry.id, info).is_err(),
    }
}

/// Tells what the policy makes of each backup, or that there is none.
fn tell(request: &Request, backups: &[BackupFacts], minimum_redundancy: usize, now: Timestamp) {
    match request {
        Request::Backup(id) => match backups.iter().find(|facts| facts.id == *id) {
            None => tracing::warn!("Backup {id} does not exist"),
            Some(facts) if facts.may_be_running => {
                tracing::warn!("Backup {id} may still be running; if it is, it will be broken");
            }
            Some(_) => {}
        },
        Request::Policy(policy) => {
            for (id, status) in retention::report(policy, backups, minimum_redundancy, now) {
                match status {
                    RetentionStatus::PotentiallyObsolete => {
                        tracing::warn!(
                            "keeping obsolete backup {id}: minimum redundancy is {minimum_redundancy}"
                        );
                    }
                    _ => tracing::info!("backup {id}: {status}"),
                }
            }
        }
    }
}

/// What lies in the folder of a backup, and goes with it.
struct Data {
    tars: Vec<Key>,
    claim: Option<Key>,
    label: Option<Key>,
}

/// The tars of a backup, each after those that come before it, its claim, and its label. What else lies in its folder stays.
async fn data(ctx: &Context, id: BackupId) -> Result<Data, Error> {
    let folder = names::backup_prefix(id);
    let objects = storage::list_all(ctx.storage.as_ref(), &folder, Depth::Children).await?.objects;
    let there = |key: Key| objects.iter().any(|object| object.key == key).then_some(key);
    let (claim, label) = (there(names::claim_key(id)), there(names::backup_label_key(id)));
    let named = objects.into_iter().filter_map(|object| {
        let (tar, _) = names::parse_tar_name(object.key.file_name())?;
        Some((tar, object.key))
    });
    let mut tars: Vec<_> = named.collect();
    tars.sort();
    Ok(Data { tars: tars.into_iter().map(|(_, key)| key).collect(), claim, label })
}

/// Its snapshots, its label and tars, what a killed process has left of it, its WAL, its `backup.info`; what is left undone is in
/// `removal`.
async fn delete_all_of(
    ctx: &Context,
    ec2: Option<&Ec2>,
    backup: &BackupRemoval,
    removal: &mut Removal,
) -> Result<(), Error> {
    let wal: Vec<Key> = backup.wal.keys().cloned().collect();
    if let Some((ec2, snapshots)) = ec2.zip(backup.snapshots.as_ref()) {
        delete_snapshots(ctx, ec2, snapshots, removal).await?;
    }
    removal.delete(ctx, backup.label.as_slice()).await?;
    removal.delete(ctx, &backup.tars).await?;
    if removal.is_complete() {
        delete_unfinished(ctx, backup).await;
    }
    for keys in [&wal, &vec![backup.info.clone()]] {
        if removal.is_complete() {
            removal.delete(ctx, keys).await?;
        }
    }
    Ok(())
}

/// Deletes the snapshots that a backup is made of. One that is gone already is as good as deleted.
async fn delete_snapshots(
    ctx: &Context,
    ec2: &Ec2,
    snapshots: &SnapshotsInfo,
    removal: &mut Removal,
) -> Result<(), Error> {
    for id in snapshots.ids() {
        match ctx.until_cancelled(ec2.delete_snapshot(id)).await? {
            Deleted::Now => tracing::info!("deleted snapshot {id}"),
            Deleted::Before => tracing::warn!("snapshot {id} could not be found"),
        }
        removal.deleted += 1;
        ctx.progress.add_pieces(1);
    }
    Ok(())
}

/// Whether nothing can be deleted here, today or by these keys.
fn is_refused(error: &Error) -> bool {
    error.storage_kind() == Some(ErrorKind::Refused)
        || matches!(error, Error::Volumes(volumes::Error::Locked(_) | volumes::Error::Refused(_)))
}

/// Removes what is no tar of a backup, and would be found by nobody once the backup is gone: the uploads that were never
/// finished, and the claim. barman leaves the uploads too, so where they cannot be looked for, or not be ended, that is no failure.
async fn delete_unfinished(ctx: &Context, backup: &BackupRemoval) {
    let storage = ctx.storage.as_ref();
    let ended = async {
        let uploads = storage::list_unfinished(storage, &names::backup_prefix(backup.id)).await?;
        let now = Timestamp::now();
        // Without one that is under way a backup that is still being taken could not tell that it was deleted.
        for upload in uploads.iter().filter(|upload| now.duration_since(upload.modified) > RUNNING_AGE) {
            storage.remove_unfinished(upload).await?;
        }
        match &backup.claim {
            Some(claim) => storage.delete(std::slice::from_ref(claim)).await.map(drop),
            None => Ok(()),
        }
    };
    if let Err(error) = ended.await {
        tracing::info!("what was left unfinished of backup {} is not removed: {error}", backup.id);
    }
}

/// Lets the `backup.info` say that the backup is being deleted; what it said before. Keys that may delete and not write are
/// no reason to keep it.
async fn announce(ctx: &Context, backup: &BackupRemoval) -> Result<Option<Bytes>, Error> {
    let before = storage::get_bytes(ctx.storage.as_ref(), &backup.info).await?;
    let announcement = backup.announcement.clone().into();
    match ctx.storage.put(&backup.info, announcement, PutMode::Overwrite).await {
        Err(error) if error.kind() == ErrorKind::Refused => {
            tracing::warn!("backup {} is listed as it was until it is deleted: {error}", backup.id);
            Ok(None)
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(before.map(|(_, content)| content)),
    }
}

/// Keys that may write and not delete: the backup is whole, so it is one again.
async fn renounce(ctx: &Context, backup: &BackupRemoval, before: Bytes) -> Result<(), Error> {
    ctx.storage.put(&backup.info, before, PutMode::Overwrite).await?;
    tracing::warn!("backup {} stays as it was, as nothing of it could be deleted", backup.id);
    Ok(())
}

/// Refuses a backup of which a tar is locked.
async fn refuse_locked(ctx: &Context, backup: &BackupRemoval) -> Result<(), Error> {
    let asked = backup.tars.iter().map(|key| async move { Ok((key, ctx.storage.lock(key).await?)) });
    let mut asked = stream::iter(asked).buffered(LOCKS_AT_ONCE);
    while let Some((key, lock)) = asked.try_next().await.map_err(Error::Storage)? {
        if let Some(lock) = lock {
            return Err(RequestError::Locked { id: backup.id, key: key.clone(), lock }.into());
        }
    }
    Ok(())
}

/// Deletes in the plan's order. What stays keeps its `backup.info`, and all newer backups.
async fn execute(
    ctx: &Context,
    volumes: &Volumes,
    backups: &[BackupRemoval],
    locks: Locks,
    removal: &mut Removal,
) -> Result<(), Error> {
    let pieces = backups.iter().map(|backup| {
        let snapshots = backup.snapshots.iter().flat_map(SnapshotsInfo::ids).count();
        snapshots + backup.label.iter().count() + backup.tars.len() + 1 + backup.wal.keys().count()
    });
    ctx.progress.expect_pieces(u64::try_from(pieces.sum::<usize>()).unwrap_or(u64::MAX));
    for backup in backups {
        if ctx.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if locks == Locks::Check {
            ctx.until_cancelled(refuse_locked(ctx, backup)).await?;
        }
        let ec2 = backup.snapshots.as_ref().map(|snapshots| volumes.of(backup.id, snapshots)).transpose()?;
        let before = announce(ctx, backup).await?;
        let deleted = removal.deleted;
        let outcome = delete_all_of(ctx, ec2.as_ref(), backup, removal).await;
        let refused = match &outcome {
            Err(error) => is_refused(error),
            Ok(()) => removal.failed.iter().any(|(_, error)| error.kind() == ErrorKind::Refused),
        };
        if let Some(before) = before.filter(|_| refused && removal.deleted == deleted) {
            renounce(ctx, backup, before).await?;
        }
        outcome?;
        if !removal.is_complete() {
            return Ok(());
        }
        tracing::info!("deleted backup {}", backup.id);
    }
    Ok(())
}
