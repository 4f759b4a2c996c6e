//! `backup-push`: a base backup of a running server's data directory, whole or as a delta to an earlier one.
//!
//! 1. Ask the server who it is; the directory given must be its own. Choose the parent of a delta (`parent`).
//! 2. Start a backup over SQL and hold that session: should it drop, the server forgets the backup and so do we.
//! 3. For a delta, find out which blocks changed since the parent's start (`changed_blocks`).
//! 4. Workers walk the data directory and its tablespaces and fill tars, each straight into an object (`pack`); what a
//!    delta takes of a file is said by `delta`.
//! 5. `pg_control` goes up after all data, then the backup is stopped, then the labels the server returned.
//! 6. The documents are written, the sentinel last of all: only now the backup exists.
//!
//! On any failure the uploads are given up, what was stored is deleted, and no sentinel was written.

mod delta;
mod delta_file;
mod file_reader;
mod increment_reader;
mod job;
mod leftovers;
mod options;
mod owners;
mod pack;
mod page_check;
mod page_scan;
mod parent;
mod prepare;
mod survey;
mod tails;
mod verify_delta;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::layout::walg::files_metadata::{DatabaseDescription, RelationDescription};
use crate::layout::walg::{Backup, BackupName, DeltaOrigin, FilesMetadata, TablespaceSpec, names};
use crate::pg::SegmentName;
use crate::pg::data_dir::walk;
use crate::pg::relations::{self, DatabaseRelations};
use crate::pg::session::{ServerIdentity, Session, StartedBackup};
use crate::pipeline::{PartPool, RateLimit, UploadSettings, run_blocking};
use crate::storage::{self, Depth};

use super::backup_mark::{self, Mark};
use super::changed_blocks::Cluster;
use super::error::RequestError;
use super::{Context, Error, control_file};

use delta::Delta;
use job::{Job, Packed};
use leftovers::remove_leftovers;
use prepare::{delta_options, start_delta};
use survey::{Survey, survey};

pub use options::{DeltaOptions, Options, VerifyPages, WithoutMap};
pub use parent::{Origin, ParentRules, Unfit};
pub use verify_delta::VerifyDelta;

/// Takes a backup. On return it exists, durably, and can be restored.
pub async fn run(ctx: &Context, options: Options) -> Result<Backup, Error> {
    let session = ctx.until_cancelled(Session::connect(&options.conninfo)).await?;
    let server = ctx.until_cancelled(session.identify()).await?;
    let data_dir = check_data_dir(&options.data_dir, &server.data_directory)?;
    let verify = check_verification(options.verify, &server);
    if !server.in_recovery && !server.archives() {
        tracing::warn!(
            "the server does not archive (archive_mode, archive_command): this backup needs WAL that nobody keeps"
        );
    }
    let control = control_file::read(&data_dir)?.parsed;
    let parent = match delta_options(&options, &control) {
        Some(delta) => {
            let choice =
                parent::choose(ctx, &delta.parent, options.is_permanent, &server, &control, &data_dir);
            ctx.until_cancelled(choice).await?.map(|parent| (delta, parent))
        }
        None => None,
    };
    let survey = survey(&data_dir, &control, &server, &options)?;
    ctx.progress.expect_bytes(survey.bytes);

    let start_time = Timestamp::now();
    tracing::info!("Calling pg_backup_start()");
    let started = ctx.until_cancelled(session.start_backup(&format!("seawall {start_time}"))).await?;
    let segment = start_segment(&started, &server);
    if !session.try_lock_backup(segment).await? {
        return Err(RequestError::BackupRunning(BackupName::full(segment)).into());
    }
    let cluster =
        Cluster { session: &session, identity: &server, data_dir: &data_dir, data_bytes: survey.bytes };
    let delta = match parent {
        Some((options, parent)) => start_delta(ctx, options, parent, cluster, started.lsn).await?,
        None => None,
    };
    let (origin, delta) = delta.unzip();
    let name = match &origin {
        Some(DeltaOrigin { parent, .. }) => BackupName::delta(segment, *parent),
        None => BackupName::full(segment),
    };
    if ctx.until_cancelled(ctx.storage.head(&names::sentinel_key(name))).await?.is_some() {
        return Err(RequestError::BackupExists(name).into());
    }
    // Two standbys that start from one restartpoint choose one name; and a killed backup can have left tars under it,
    // which a restore would take for ours.
    let prefix = names::backup_prefix(name);
    let other = ctx.until_cancelled(storage::list_all(ctx.storage.as_ref(), &prefix, Depth::All)).await?;
    if !other.objects.is_empty() {
        return Err(RequestError::BackupRunning(name).into());
    }
    tracing::info!("Started backup with name {name} at LSN {}", started.lsn);

    let taker = Taker {
        ctx,
        options: &options,
        session: &session,
        server: &server,
        data_dir: &data_dir,
        name,
        origin,
    };
    let taken = taker.take(started, start_time, survey, verify, delta).await;
    if taken.is_err() {
        // The session ends with this function, and with it the backup on the server.
        remove_leftovers(ctx, name).await;
    }
    taken
}

/// The directory from the command line, resolved, if it is the server's.
fn check_data_dir(given: &Path, server: &Path) -> Result<PathBuf, Error> {
    let resolved = given.canonicalize().map_err(Error::file("open", given))?;
    let expected = server.canonicalize().map_err(Error::file("open", server))?;
    if resolved != expected {
        return Err(Error::OtherDataDirectory { given: resolved, server: expected });
    }
    Ok(resolved)
}

fn check_verification(verify: VerifyPages, server: &ServerIdentity) -> VerifyPages {
    if verify != VerifyPages::No && !server.data_checksums {
        tracing::warn!("the cluster has no data checksums; pages are not verified");
        return VerifyPages::No;
    }
    verify
}

/// On a primary the server names the segment of its start LSN; a standby's is that of the byte before, on the
/// timeline of the control file (reference section 1).
fn start_segment(started: &StartedBackup, server: &ServerIdentity) -> SegmentName {
    started.segment.unwrap_or_else(|| {
        let before = started.lsn.checked_sub(1).unwrap_or(started.lsn);
        SegmentName::containing(server.timeline, before, server.segment_size)
    })
}

/// A backup being taken.
struct Taker<'a> {
    ctx: &'a Context,
    options: &'a Options,
    session: &'a Session,
    server: &'a ServerIdentity,
    data_dir: &'a Path,
    name: BackupName,
    origin: Option<DeltaOrigin>,
}

impl Taker<'_> {
    async fn take(
        &self,
        started: StartedBackup,
        start_time: Timestamp,
        survey: Survey,
        verify: VerifyPages,
        delta: Option<Delta>,
    ) -> Result<Backup, Error> {
        let stop = self.ctx.cancel.child_token();
        let job = self.job(&started, &survey, verify, delta, stop.clone())?;
        let mut packed = self.copy_data(Arc::clone(&job), &stop).await?;

        let control = tails::store_control(&job, self.data_dir).await?;
        tracing::info!("Calling pg_backup_stop()");
        let stopped = self.ctx.until_cancelled(self.session.stop_backup(self.options.stop_timeout)).await?;
        let finish_time = Timestamp::now();
        let labels = tails::store_labels(&job, &stopped, &mut packed).await?;
        self.check_timeline(&started).await?;

        let backup = Backup {
            name: self.name,
            delta: self.origin.clone(),
            start_lsn: Some(started.lsn),
            finish_lsn: Some(stopped.lsn),
            pg_version: self.server.version,
            system_identifier: Some(self.server.system_identifier),
            start_time,
            finish_time,
            hostname: hostname(),
            data_dir: self.data_dir.to_owned(),
            is_permanent: self.options.is_permanent,
            uncompressed_size: signed(packed.data_bytes + control.data_bytes + labels.data_bytes),
            compressed_size: signed(packed.stored_bytes + control.stored_bytes + labels.stored_bytes),
            data_catalog_size: signed(survey.bytes),
            tablespaces: self.tablespaces(&packed),
            user_data: self.options.user_data.clone(),
            files_metadata_disabled: !self.options.with_files_metadata,
        };
        let files = match self.options.with_files_metadata {
            true => Some(self.files_metadata(packed).await?),
            false => None,
        };
        self.check_parent().await?;
        catalog::walg::commit(self.ctx.storage.as_ref(), &backup, files.as_ref()).await?;
        tracing::info!("Wrote backup with name {}", self.name);
        Ok(backup)
    }

    fn job(
        &self,
        started: &StartedBackup,
        survey: &Survey,
        verify: VerifyPages,
        delta: Option<Delta>,
        stop: CancellationToken,
    ) -> Result<Arc<Job>, Error> {
        let workers = self.options.workers.max(1);
        let uploads = self.options.uploads.max(1);
        let part_bytes = part_bytes(self.options.tar_bytes.saturating_add(survey.largest_file), self.ctx);
        // Each worker fills one part; about as many more are on their way, which keeps the network busy.
        let pool = PartPool::new(workers + uploads.min(workers + 2), part_bytes);
        Ok(Arc::new(Job {
            runtime: tokio::runtime::Handle::current(),
            walk: std::sync::Mutex::new(walk(self.data_dir, &survey.rules)?),
            next_part: 1.into(),
            backup: self.name,
            started_at: started.lsn,
            block_size: self.server.block_size,
            verify,
            delta,
            tar_bytes: self.options.tar_bytes,
            compression: self.ctx.compression,
            cipher: self.ctx.cipher.clone(),
            disk_rate: self.options.disk_rate.map(RateLimit::new),
            progress: self.ctx.progress.clone(),
            uploads: UploadSettings {
                storage: Arc::clone(&self.ctx.storage),
                pool,
                in_flight: Arc::new(Semaphore::new(uploads)),
                network_rate: self.options.network_rate.map(|rate| Arc::new(RateLimit::new(rate))),
                cancel: stop,
            },
        }))
    }

    /// Lets the workers copy everything but `pg_control`. On failure none of them is left running.
    async fn copy_data(&self, job: Arc<Job>, stop: &CancellationToken) -> Result<Packed, Error> {
        let mut workers = JoinSet::new();
        for number in 0..self.options.workers.max(1) {
            let job = Arc::clone(&job);
            workers.spawn(run_blocking(format!("seawall-codec-{number}"), move || pack::work(&job)));
        }
        let copied = tokio::select! {
            copied = gather(&mut workers) => copied,
            lost = self.session_lost() => Err(lost),
            () = self.ctx.cancel.cancelled() => Err(Error::Cancelled),
        };
        if copied.is_err() {
            stop.cancel();
            while workers.join_next().await.is_some() {}
        }
        copied
    }

    /// Returns when the session that holds the backup is gone.
    async fn session_lost(&self) -> Error {
        loop {
            tokio::time::sleep(self.options.alive_check).await;
            if let Err(error) = self.session.check_alive().await {
                return error.into();
            }
        }
    }

    /// A promotion during the backup of a standby leaves a backup that belongs to no timeline.
    async fn check_timeline(&self, started: &StartedBackup) -> Result<(), Error> {
        if !started.in_recovery {
            return Ok(());
        }
        let after = self.session.timeline().await?;
        if after != self.server.timeline {
            return Err(Error::TimelineChanged { before: self.server.timeline, after });
        }
        Ok(())
    }

    /// What a delta builds on must be there still, and permanent if the delta is.
    async fn check_parent(&self) -> Result<(), Error> {
        let Some(DeltaOrigin { parent, .. }) = self.origin else { return Ok(()) };
        let chain = match catalog::walg::chain(self.ctx.storage.as_ref(), parent).await {
            Err(catalog::walg::Error::NoSuchBackup { .. }) => {
                return Err(catalog::walg::Error::MissingParent { name: self.name, parent }.into());
            }
            chain => chain?,
        };
        match self.options.is_permanent {
            true => backup_mark::mark_all(self.ctx, &chain, Mark::Permanent).await.map(drop),
            false => Ok(()),
        }
    }

    fn tablespaces(&self, packed: &Packed) -> Option<TablespaceSpec> {
        let locations: BTreeMap<String, PathBuf> = packed
            .tablespaces
            .iter()
            .map(|tablespace| (tablespace.oid.to_string(), tablespace.target.clone()))
            .collect();
        (!locations.is_empty()).then(|| TablespaceSpec { base_prefix: self.data_dir.to_owned(), locations })
    }

    async fn files_metadata(&self, packed: Packed) -> Result<FilesMetadata, Error> {
        let databases = match self.options.with_relations {
            true => {
                let list = relations::list_relations(&self.options.conninfo, self.session);
                self.ctx.until_cancelled(list).await?
            }
            false => Vec::new(),
        };
        Ok(FilesMetadata {
            files: packed.files,
            tar_file_sets: packed.tar_file_sets,
            databases_by_names: databases.into_iter().map(describe_database).collect(),
        })
    }
}

async fn gather(
    workers: &mut JoinSet<Result<Result<Packed, Error>, crate::pipeline::Panicked>>,
) -> Result<Packed, Error> {
    let mut all = Packed::default();
    while let Some(worker) = workers.join_next().await {
        let packed = worker.map_err(|error| Error::Panicked { message: error.to_string() })???;
        all.merge(packed);
    }
    Ok(all)
}

/// The size of all parts of an object: the smallest doubling of what the storage asks for with which the largest object needs no more
/// parts than the storage allows, with room for data that grows when compressed.
fn part_bytes(largest_object: u64, ctx: &Context) -> usize {
    let limits = ctx.storage.limits();
    let largest_object = largest_object.saturating_add(largest_object / 64);
    let mut part = limits.part_bytes;
    while part.saturating_mul(u64::from(limits.max_parts)) < largest_object && part < 1 << 40 {
        part *= 2;
    }
    usize::try_from(part).unwrap_or(usize::MAX)
}

fn describe_database(database: DatabaseRelations) -> (String, DatabaseDescription) {
    let describe = |file: relations::RelationIdentity| RelationDescription {
        oid: file.oid.as_u32(),
        relfilenode: file.filenode.map_or(0, crate::pg::Oid::as_u32),
        subtables: BTreeMap::new(),
    };
    let relations = database.relations.into_iter().map(|(name, relation)| {
        let subtables = relation.descendants.into_iter().map(|(name, file)| (name, describe(file))).collect();
        (name, RelationDescription { subtables, ..describe(relation.file) })
    });
    (database.name, DatabaseDescription { oid: database.oid.as_u32(), relations: relations.collect() })
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
