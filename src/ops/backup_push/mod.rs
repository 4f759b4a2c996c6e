//! `backup-push`: a base backup of a running server's data directory, whole or as a delta to an earlier one.
//!
//! 1. Ask the server who it is; the directory given must be its own. Choose the parent of a delta (`parent`). The repository
//!    must be its own as well ([`ownership`]).
//! 2. Start a backup over SQL and hold that session: should it drop, the server forgets the backup and so do we.
//! 3. For a delta, find out which blocks changed since the parent's start (`changed_blocks`).
//! 4. Workers walk the data directory and its tablespaces and fill tars, each straight into an object (`pack`); what a
//!    delta takes of a file is said by `delta`.
//! 5. `pg_control` goes up after all data, then the backup is stopped, then the labels the server returned.
//! 6. The storage confirms each tar (`confirm`). The documents are written, the marker last of all: only now the backup
//!    exists.
//! 7. Where that is asked for, the archive is asked for the WAL that the backup needs (`archived_wal`).
//!
//! A backup that is made of snapshots of volumes has them in place of the third to the fifth step (`snapshots`).
//!
//! In what form, is said by the layout's [`NewBackup`]. On any failure the uploads are given up and what was stored is
//! deleted (`leftovers`).

mod archived_wal;
mod claim;
mod confirm;
mod delta;
mod delta_file;
mod file_reader;
mod format;
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
mod server_backup;
mod snapshots;
mod stopped_cluster;
mod survey;
mod tails;
mod unconfirmed;
mod verify_delta;
mod workers;

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalog;
use crate::layout::new_backup::{Beginning, Document, Taken};
use crate::layout::walg::files_metadata::{DatabaseDescription, RelationDescription};
use crate::layout::walg::{DeltaOrigin, FilesMetadata, names};
use crate::layout::{Name, NewBackup};
use crate::pg::data_dir::WalkRules;
use crate::pg::relations::{self, DatabaseRelations};
use crate::pg::server_settings::ServerSettings;
use crate::pg::session::{ServerIdentity, Session, StartedBackup, StoppedBackup};
use crate::pg::{ControlFile, Lsn, SegmentName};
use crate::storage;

use super::backup_mark::{self, Mark};
use super::changed_blocks::Cluster;
use super::error::RequestError;
use super::ownership::{self, Claimant};
use super::{Context, Error, control_file};

use claim::{Claim, Claimer, Holder};
use delta::Delta;
use job::Packed;
pub(in crate::ops) use leftovers::remove_remains;
use leftovers::{Documents, Stored, remove_leftovers};
use prepare::{delta_options, start_delta};
use snapshots::Snapshots;
use survey::Survey;
use workers::{Work, copy_data};

pub use format::Format;
pub use options::{
    DeltaOptions, Options, Packing, SnapshotFormat, VerifyPages, WalGFormat, WalWitness, WithoutMap,
};
pub use parent::{Origin, ParentRules, Unfit};
pub use server_backup::ServerBackup;
pub use stopped_cluster::StoppedCluster;
pub use unconfirmed::{Archiver, MissingWal, Unconfirmed};
pub use verify_delta::VerifyDelta;

/// Takes a backup; its name. On return it exists, durably, and can be restored.
///
/// [`Unconfirmed::NoWal`] says that it exists, and cannot be restored with what the archive has.
pub async fn run(ctx: &Context, options: Options) -> Result<Name, Error> {
    // In the heap, since either is too much for the stack of a thread.
    match &options.format {
        Format::WalG(_) | Format::Barman { .. } => Box::pin(push_files(ctx, &options)).await,
        Format::Snapshots(format) => Box::pin(snapshots::run(ctx, &options, format)).await,
    }
}

/// Takes a backup of the files of the data directory.
async fn push_files(ctx: &Context, options: &Options) -> Result<Name, Error> {
    let (session, server) = connect(ctx, options).await?;
    let data_dir = check_data_dir(options.data_dir.as_deref(), &server.data_directory)?;
    let verify = check_verification(options.verify, &server);
    let control = control_file::read(&data_dir)?.parsed;
    let survey = Survey::of(&data_dir, walk_rules(&control, &server, options))?;
    ctx.progress.expect_bytes(survey.bytes);
    let cluster =
        Cluster { session: &session, identity: &server, data_dir: &data_dir, data_bytes: survey.bytes };
    let parent = match delta_options(options, &control) {
        Some(delta) => {
            let is_permanent = options.format.is_permanent();
            let choice = parent::choose(ctx, &delta.parent, is_permanent, cluster, &control);
            ctx.until_cancelled(choice).await?.map(|parent| (delta, parent))
        }
        None => None,
    };
    own(ctx, options, &server).await?;

    let (time, settings, started) = start(ctx, options, &session, &server).await?;
    let segment = start_segment(&started, &server);
    let delta = match parent {
        Some((options, parent)) => start_delta(ctx, options, parent, cluster, started.lsn).await?,
        None => None,
    };
    let (origin, delta) = delta.unzip();
    let beginning = Beginning { server, data_dir, hostname: hostname(), time, started, segment };
    let backup = options.format.begin(&session, beginning.clone(), settings, origin.clone());
    let backup = ctx.until_cancelled(backup).await?;
    let name = backup.name();
    let taker =
        Taker { ctx, options, session: &session, beginning: &beginning, backup, origin, snapshots: None };
    let stop = Box::pin(taker.store(taker.take(survey, verify, delta))).await?;
    taker.check_parent_is_left().await?;
    // The server is not needed any more, and the wait may be long.
    drop(session);
    wait_for_wal(ctx, options, &name, &beginning, stop).await?;
    Ok(name)
}

/// A session with the server, and who it is.
async fn connect(ctx: &Context, options: &Options) -> Result<(Session, ServerIdentity), Error> {
    let session = ctx.until_cancelled(Session::connect(&options.conninfo)).await?;
    let server = ctx.until_cancelled(session.identify()).await?;
    if !server.in_recovery && !server.archives() {
        tracing::warn!(
            "the server does not archive (archive_mode, archive_command): this backup needs WAL that nobody keeps"
        );
    }
    Ok((session, server))
}

/// Makes sure that the repository is the server's.
async fn own(ctx: &Context, options: &Options, server: &ServerIdentity) -> Result<(), Error> {
    let claimant = Claimant { system_identifier: server.system_identifier, timeline: Some(server.timeline) };
    ctx.until_cancelled(ownership::claim(ctx, claimant, options.take_over)).await
}

/// Starts a backup on the server; when, what the documents will say of the server, and what it answered.
async fn start(
    ctx: &Context,
    options: &Options,
    session: &Session,
    server: &ServerIdentity,
) -> Result<(Timestamp, ServerSettings, StartedBackup), Error> {
    let time = Timestamp::now();
    let (label, mut settings) = (options.format.label(time), ServerSettings::default());
    let start = async {
        settings = options.format.settings(session).await?;
        tracing::info!("Calling pg_backup_start()");
        Ok::<_, Error>(session.start_backup(&label, options.checkpoint).await?)
    };
    match ctx.until_cancelled(start).await {
        Ok(started) => Ok((time, settings, started)),
        Err(error) => {
            let document = options.format.not_started(time, server, &settings, &error);
            leftovers::tell(ctx, document).await;
            Err(error)
        }
    }
}

/// Waits until the archive has the WAL that a backup needs, where it is asked for that.
async fn wait_for_wal(
    ctx: &Context,
    options: &Options,
    name: &Name,
    beginning: &Beginning,
    stop: Lsn,
) -> Result<(), Error> {
    let asks_archive = match options.wal_witness {
        _ if options.wal_timeout.is_zero() => false,
        WalWitness::Archive => true,
        WalWitness::Archiver => archived_wal::has_the_primarys(ctx, beginning).await?,
    };
    match asks_archive {
        true => archived_wal::wait(ctx, name, beginning, stop, options.wal_timeout).await,
        false => Ok(()),
    }
}

fn walk_rules(control: &ControlFile, server: &ServerIdentity, options: &Options) -> WalkRules {
    for path in options.exclude.iter().filter(|path| path.starts_with(&server.data_directory)) {
        tracing::warn!(path = %path.display(), "the archive lies inside the data directory; it is left out of the backup");
    }
    WalkRules {
        exclude: options.exclude.clone(),
        tablespace_directory: Some(control.tablespace_directory(server.version)),
        backup: None,
    }
}

/// The server's data directory, resolved; one from the command line has to be the same.
fn check_data_dir(given: Option<&Path>, server: &Path) -> Result<PathBuf, Error> {
    let resolve = |path: &Path| path.canonicalize().map_err(Error::file("open", path));
    let given = given.map(resolve).transpose()?;
    let server = resolve(server)?;
    match given {
        Some(given) if given != server => Err(Error::OtherDataDirectory { given, server }),
        _ => Ok(server),
    }
}

fn check_verification(verify: VerifyPages, server: &ServerIdentity) -> VerifyPages {
    if verify != VerifyPages::No && !server.data_checksums {
        tracing::warn!("the cluster has no data checksums; pages are not verified");
        return VerifyPages::No;
    }
    verify
}

/// On a primary the server names the segment of its start LSN; a standby's is that of the byte before, on the
/// timeline of the control file (wal-g `timeline.go`, `getWalFilename`).
fn start_segment(started: &StartedBackup, server: &ServerIdentity) -> SegmentName {
    let ending = || SegmentName::ending_at(server.timeline, started.lsn, server.segment_size);
    started.segment.unwrap_or_else(ending)
}

/// A backup being taken.
struct Taker<'a> {
    ctx: &'a Context,
    options: &'a Options,
    session: &'a Session,
    beginning: &'a Beginning,
    backup: Arc<dyn NewBackup>,
    origin: Option<DeltaOrigin>,
    snapshots: Option<&'a Snapshots<'a>>,
}

impl Taker<'_> {
    /// Claims the name of the backup, lets its data be stored by `take`, which tells the documents that make it exist and where
    /// it is consistent, and makes it exist, durably on return; where it is consistent. On failure nothing is left of it.
    async fn store(
        &self,
        take: impl Future<Output = Result<(Vec<Document>, Lsn), Error>>,
    ) -> Result<Lsn, Error> {
        let (ctx, name) = (self.ctx, self.backup.name());
        let named_by = self.options.format.named_by(&self.beginning.started);
        let claimer = ctx.until_cancelled(Claimer::of_server(self.session, self.beginning)).await?;
        let claim = Box::pin(Claim::take(ctx, self.backup.as_ref(), &claimer, named_by)).await?;
        tracing::info!("Started backup with name {name} at LSN {}", self.beginning.started.lsn);
        let taken = async {
            let taken = take.await?;
            claim.check(ctx, &name, named_by).await?;
            Ok(taken)
        };
        // Apart, since together they are too much for the stack of a thread.
        let taken: Result<_, Error> = Box::pin(taken).await;
        let stored = self.stored(Some(&claim));
        if let Err(error) = &taken {
            // The session ends with the operation, and with it the backup on the server.
            Box::pin(remove_leftovers(ctx, stored, Documents::Unsent, error)).await;
        }
        let (documents, stop) = taken?;
        Box::pin(leftovers::commit(ctx, stored, documents)).await?;
        Box::pin(self.check_is_left(&claim)).await?;
        claim.release(ctx).await;
        tracing::info!("Wrote backup with name {name}");
        Ok(stop)
    }

    /// What there is of it.
    fn stored<'a>(&'a self, claim: Option<&'a Claim>) -> Stored<'a> {
        Stored { backup: self.backup.as_ref(), claim, snapshots: self.snapshots }
    }

    /// Stores its data; the documents that make it exist, and where it is consistent.
    async fn take(
        &self,
        survey: Survey,
        verify: VerifyPages,
        delta: Option<Delta>,
    ) -> Result<(Vec<Document>, Lsn), Error> {
        let storage = self.ctx.storage.as_ref();
        self.open().await?;
        let stop = self.ctx.cancel.child_token();
        let packing = self.options.packing;
        let work = Work {
            data_dir: &self.beginning.data_dir,
            started_at: self.beginning.started.lsn,
            block_size: self.beginning.server.block_size,
            backup: &self.backup,
            verify,
            delta,
        };
        let job = work.job(self.ctx, packing, &survey, &stop)?;
        let mut packed = copy_data(self.ctx, &job, packing.workers, &stop, self.session_lost()).await?;
        tails::store_control(&job, &self.beginning.data_dir, &mut packed).await?;
        let (stopped, finish_time) = self.end().await?;
        tails::store_labels(&job, &stopped, &mut packed).await?;
        self.check_timeline().await?;

        let files = match self.backup.lists_files() {
            true => Some(self.files_metadata(&mut packed).await?),
            false => None,
        };
        self.check_parent().await?;
        self.check_not_deleted().await?;
        self.ctx.until_cancelled(confirm::tars(storage, &self.backup.folder(), &packed.tars)).await?;
        let documents = self.backup.documents(&Taken {
            stopped: &stopped,
            finish_time,
            data_bytes: packed.data_bytes,
            tars: &packed.tars,
            copy_times: &packed.copy_times,
            uploads: packing.uploads,
            cluster_bytes: survey.bytes,
            tablespaces: &packed.tablespaces,
            files: files.as_ref(),
            snapshots: None,
        })?;
        Ok((documents, stopped.lsn))
    }

    /// Tells of the backup that it is being taken, where the layout does.
    async fn open(&self) -> Result<(), Error> {
        let Some(opening) = self.backup.opening() else { return Ok(()) };
        let opened = catalog::commit(self.ctx.storage.as_ref(), vec![opening]);
        self.ctx.until_cancelled(async { opened.await.map_err(|failed| failed.error) }).await
    }

    /// Ends the backup on the server; what that said, and when.
    async fn end(&self) -> Result<(StoppedBackup, Timestamp), Error> {
        tracing::info!("Calling pg_backup_stop()");
        let ended = self.ctx.until_cancelled(self.stop()).await?;
        self.create_restore_point().await;
        Ok(ended)
    }

    /// Ends the backup on the server, and waits for its archiver: the server does, for `stop_timeout` as a whole, or we
    /// do, as long as it archives anything at all in `wal_timeout`. A standby that archives by itself is left to the server
    /// where nobody asks the archive. With it the time at which the backup was over: before our own wait.
    async fn stop(&self) -> Result<(StoppedBackup, Timestamp), Error> {
        let (timeout, limit) = (self.options.stop_timeout, self.options.wal_timeout);
        let by_itself =
            self.beginning.started.in_recovery && self.options.wal_witness == WalWitness::Archiver;
        if timeout.is_zero() && !limit.is_zero() && !by_itself {
            let stopped = self.session.stop_backup_at_once().await?;
            let finish_time = Timestamp::now();
            archived_wal::archiver_is_done(self.ctx, self.session, self.beginning, stopped.lsn, limit)
                .await?;
            return Ok((stopped, finish_time));
        }
        match self.session.stop_backup(timeout).await {
            Ok(stopped) => Ok((stopped, Timestamp::now())),
            Err(error) if error.is_timeout() => Err(Unconfirmed::NotArchived(timeout).into()),
            Err(error) => Err(error.into()),
        }
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
    async fn check_timeline(&self) -> Result<(), Error> {
        if !self.beginning.started.in_recovery {
            return Ok(());
        }
        let (before, after) = (self.beginning.server.timeline, self.session.timeline().await?);
        if after != before {
            return Err(Error::TimelineChanged { before, after });
        }
        Ok(())
    }

    /// Makes the end of the backup a target of recovery, where the layout wants that. The backup is as good without.
    async fn create_restore_point(&self) {
        let Some(name) = self.backup.restore_point() else { return };
        if !self.beginning.started.in_recovery
            && let Err(error) = self.session.create_restore_point(&name).await
        {
            tracing::warn!("{error}");
        }
    }

    /// What a delta builds on must be there still, and permanent if the delta is.
    async fn check_parent(&self) -> Result<(), Error> {
        let Some(DeltaOrigin { parent, .. }) = self.origin else { return Ok(()) };
        let chain = match catalog::walg::chain(self.ctx.storage.as_ref(), parent).await {
            Err(catalog::walg::Error::NoSuchBackup { .. }) => {
                return Err(RequestError::ParentGone { parent }.into());
            }
            chain => chain?,
        };
        match self.options.format.is_permanent() {
            true => backup_mark::mark_all(self.ctx, &chain, Mark::Permanent).await.map(drop),
            false => Ok(()),
        }
    }

    /// A deletion that has not seen the delta may have taken what it builds on. It cannot be restored then, so it goes too.
    async fn check_parent_is_left(&self) -> Result<(), Error> {
        let Some(DeltaOrigin { parent, .. }) = self.origin else { return Ok(()) };
        let storage = self.ctx.storage.as_ref();
        match storage.head(&names::sentinel_key(parent)).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            // It was there a moment ago.
            Err(error) => {
                tracing::warn!(
                    "could not look whether backup {parent}, which this one builds on, is still there: {error}"
                );
                return Ok(());
            }
        }
        self.delete_marker().await?;
        let error = RequestError::ParentGone { parent }.into();
        remove_leftovers(self.ctx, self.stored(None), Documents::Sent, &error).await;
        Err(error)
    }

    /// A deletion that has seen the backup before its marker was there may have taken its tars, and the claim with them.
    async fn check_is_left(&self, claim: &Claim) -> Result<(), Error> {
        match claim.holder(self.ctx).await {
            Ok(Holder::Us) => Ok(()),
            Ok(Holder::Another | Holder::Nobody) => {
                self.delete_marker().await?;
                let error = RequestError::DeletedMeanwhile(self.backup.name()).into();
                remove_leftovers(self.ctx, self.stored(Some(claim)), Documents::Sent, &error).await;
                Err(error)
            }
            // It was there a moment ago.
            Err(error) => {
                tracing::warn!("could not look whether somebody deleted the backup meanwhile: {error}");
                Ok(())
            }
        }
    }

    /// Takes back a backup that exists and cannot be restored.
    async fn delete_marker(&self) -> Result<(), Error> {
        Ok(storage::delete_all(self.ctx.storage.as_ref(), &[self.backup.marker()]).await?)
    }

    /// A backup that is listed while it is taken can be deleted like any other, and its tars are gone then.
    async fn check_not_deleted(&self) -> Result<(), Error> {
        let Some(opening) = self.backup.opening() else { return Ok(()) };
        match self.ctx.until_cancelled(self.ctx.storage.head(&opening.key)).await? {
            Some(_) => Ok(()),
            None => Err(RequestError::DeletedMeanwhile(self.backup.name()).into()),
        }
    }

    async fn files_metadata(&self, packed: &mut Packed) -> Result<FilesMetadata, Error> {
        let databases = match self.options.format.lists_relations() {
            true => {
                let list = relations::list_relations(&self.options.conninfo);
                self.ctx.until_cancelled(async { Ok::<_, Error>(list.await) }).await?
            }
            false => Vec::new(),
        };
        Ok(FilesMetadata {
            files: mem::take(&mut packed.files),
            tar_file_sets: mem::take(&mut packed.tar_file_sets),
            databases_by_names: databases.into_iter().map(describe_database).collect(),
        })
    }
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
