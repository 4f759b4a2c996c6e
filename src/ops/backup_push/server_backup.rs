//! A backup that a barman server has taken, stored in barman-cloud's layout: `barman-cloud-backup` as barman's hook script.
//!
//! ```text
//! <directory>/data     the data directory, with its backup_label
//! <directory>/<oid>    the content of a tablespace
//! ```
//!
//! It goes the way of every backup, and nobody has to hold it on a server meanwhile. One that is there already stays as it is;
//! tars of an upload that was not finished are removed first, since the ones of another upload are cut elsewhere.

use std::future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layout::NewBackup;
use crate::layout::barman::{self, BackupInfo};
use crate::layout::new_backup::Document;
use crate::ops::error::NamedBy;
use crate::ops::ownership::{self, Claimant, TakeOver};
use crate::ops::{Context, Error, control_file};
use crate::pg::ControlFile;
use crate::pg::data_dir::{Tablespace, WalkRules};
use crate::storage;

use super::claim::{Claim, Claimer};
use super::leftovers::{self, Documents, Stored, remove_leftovers, remove_remains};
use super::options::{Packing, VerifyPages};
use super::survey::Survey;
use super::workers::{Work, copy_data};
use super::{confirm, tails};

/// A base backup in a directory of a barman server.
#[derive(Debug, Clone)]
pub struct ServerBackup {
    /// Where it lies.
    pub directory: PathBuf,
    /// Its description.
    pub info: BackupInfo,
    /// What is stored.
    pub backup: barman::ServerBackup,
}

impl ServerBackup {
    /// Stores the backup. On return it exists in the bucket, durably; on failure nothing is left of it.
    pub async fn store(&self, ctx: &Context, packing: Packing, take_over: TakeOver) -> Result<(), Error> {
        let backup: Arc<dyn NewBackup> = Arc::new(self.backup.clone());
        let name = backup.name();
        let control = control_file::read(&self.data())?.parsed;
        let survey = Survey::of(&self.data(), self.rules(&control))?;
        ctx.progress.expect_bytes(survey.bytes);
        let claimant =
            Claimant { system_identifier: control.system_identifier, timeline: self.info.timeline };
        ctx.until_cancelled(ownership::claim(ctx, claimant, take_over)).await?;
        let marker = backup.marker();
        match ctx.until_cancelled(storage::get_bytes(ctx.storage.as_ref(), &marker)).await? {
            Some((_, found)) if backup.is_complete(&found) => {
                tracing::info!("backup {name} is there already");
                return Ok(());
            }
            // Another backup, which the claim refuses.
            Some(_) => {}
            None => ctx.until_cancelled(remove_unclaimed(ctx, backup.as_ref())).await?,
        }
        let claimer = Claimer::of_backup(&self.directory, &name);
        let named_by = NamedBy::BarmanServer;
        let claim = Box::pin(Claim::take(ctx, backup.as_ref(), &claimer, named_by)).await?;
        let packed = async {
            let documents = self.pack(ctx, &backup, packing, survey, &control).await?;
            claim.check(ctx, &name, named_by).await?;
            Ok(documents)
        };
        let packed: Result<_, Error> = Box::pin(packed).await;
        let stored = Stored { backup: backup.as_ref(), claim: Some(&claim), snapshots: None };
        if let Err(error) = &packed {
            Box::pin(remove_leftovers(ctx, stored, Documents::Unsent, error)).await;
        }
        Box::pin(leftovers::commit(ctx, stored, packed?)).await?;
        claim.release(ctx).await;
        tracing::info!("Wrote backup with name {name}");
        Ok(())
    }

    /// Stores its data; the document that makes it exist.
    async fn pack(
        &self,
        ctx: &Context,
        backup: &Arc<dyn NewBackup>,
        packing: Packing,
        survey: Survey,
        control: &ControlFile,
    ) -> Result<Vec<Document>, Error> {
        let stop = ctx.cancel.child_token();
        let work = Work {
            data_dir: &self.data(),
            started_at: control.redo_lsn,
            block_size: control.block_size,
            backup,
            verify: VerifyPages::No,
            delta: None,
        };
        let job = work.job(ctx, packing, &survey, &stop)?;
        let mut packed = copy_data(ctx, &job, packing.workers, &stop, future::pending()).await?;
        tails::store_control(&job, &self.data(), &mut packed).await?;
        ctx.until_cancelled(confirm::tars(ctx.storage.as_ref(), &backup.folder(), &packed.tars)).await?;
        Ok(vec![self.backup.document()])
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What is copied. A tablespace that was inside of the data directory is not copied twice.
    fn rules(&self, control: &ControlFile) -> WalkRules {
        let pgdata = self.info.pgdata.as_deref().map(Path::new);
        let inside = self.info.tablespaces.iter().filter_map(|tablespace| {
            let below = Path::new(&tablespace.location).strip_prefix(pgdata?).ok()?;
            Some(self.data().join(below))
        });
        let tablespaces = self.info.tablespaces.iter().map(|tablespace| Tablespace {
            oid: tablespace.oid,
            target: self.directory.join(tablespace.oid.to_string()),
        });
        WalkRules {
            exclude: inside.collect(),
            tablespace_directory: self.info.version.map(|version| control.tablespace_directory(version)),
            backup: Some(tablespaces.collect()),
        }
    }
}

/// Removes what is stored under a name that has no backup, if nobody claims it: barman-cloud's own upload leaves such tars when
/// it fails.
async fn remove_unclaimed(ctx: &Context, backup: &dyn NewBackup) -> Result<(), Error> {
    match ctx.storage.head(&backup.claim()).await? {
        Some(_) => Ok(()),
        None => remove_remains(ctx, backup).await,
    }
}
