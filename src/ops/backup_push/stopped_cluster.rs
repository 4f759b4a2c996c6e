//! A cluster that nobody runs, such as one that was just restored, stored as the backup that it came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, future};

use jiff::Timestamp;

use crate::layout::NewBackup;
use crate::layout::new_backup::{Beginning, Document, Taken};
use crate::layout::walg::FilesMetadata;
use crate::ops::{Context, Error, control_file};
use crate::pg::data_dir::{Tablespace, WalkRules};
use crate::pg::session::StoppedBackup;

use super::confirm;
use super::leftovers::{self, Documents, Stored, remove_leftovers};
use super::options::{Packing, VerifyPages};
use super::survey::Survey;
use super::tails;
use super::workers::{Work, copy_data};

/// A cluster in a directory as a backup left it, and what is known of that backup.
#[derive(Debug, Clone)]
pub struct StoppedCluster {
    /// Where it lies.
    pub place: PathBuf,
    /// How the backup began.
    pub beginning: Beginning,
    /// What the server returned at its end.
    pub stopped: StoppedBackup,
    /// When that was.
    pub finish_time: Timestamp,
    /// Where its tablespaces were.
    pub tablespaces: Vec<Tablespace>,
}

impl StoppedCluster {
    /// Stores the cluster as `backup`. On return that exists, durably; on failure nothing is left of it.
    pub async fn store(
        &self,
        ctx: &Context,
        backup: Arc<dyn NewBackup>,
        packing: Packing,
    ) -> Result<(), Error> {
        let stored = Stored { backup: backup.as_ref(), claim: None, snapshots: None };
        match self.pack(ctx, &backup, packing).await {
            Ok(documents) => leftovers::commit(ctx, stored, documents).await,
            Err(error) => {
                remove_leftovers(ctx, stored, Documents::Unsent, &error).await;
                Err(error)
            }
        }
    }

    /// Stores its data; the documents that make it exist.
    async fn pack(
        &self,
        ctx: &Context,
        backup: &Arc<dyn NewBackup>,
        packing: Packing,
    ) -> Result<Vec<Document>, Error> {
        let control = control_file::read(&self.place)?.parsed;
        let directory = control.tablespace_directory(self.beginning.server.version);
        let rules = WalkRules { tablespace_directory: Some(directory), ..WalkRules::default() };
        check_tablespaces(&self.place, &self.tablespaces)?;
        let survey = Survey::of(&self.place, rules)?;
        let stop = ctx.cancel.child_token();
        let verify = VerifyPages::No;
        let (started_at, block_size) = (self.beginning.started.lsn, self.beginning.server.block_size);
        let work = Work { data_dir: &self.place, started_at, block_size, backup, verify, delta: None };
        let job = work.job(ctx, packing, &survey, &stop)?;
        let mut packed = copy_data(ctx, &job, packing.workers, &stop, future::pending()).await?;
        tails::store_control(&job, &self.place, &mut packed).await?;
        tails::store_labels(&job, &self.stopped, &mut packed).await?;
        let files = backup.lists_files().then(|| FilesMetadata {
            files: std::mem::take(&mut packed.files),
            tar_file_sets: std::mem::take(&mut packed.tar_file_sets),
            databases_by_names: Default::default(),
        });
        ctx.until_cancelled(confirm::tars(ctx.storage.as_ref(), &backup.folder(), &packed.tars)).await?;
        Ok(backup.documents(&Taken {
            stopped: &self.stopped,
            finish_time: self.finish_time,
            data_bytes: packed.data_bytes,
            tars: &packed.tars,
            copy_times: &packed.copy_times,
            uploads: packing.uploads,
            cluster_bytes: survey.bytes,
            tablespaces: &self.tablespaces,
            files: files.as_ref(),
            snapshots: None,
        })?)
    }
}

/// A running server may drop a tablespace while it is walked; here each has to be there, for nobody else tells that one is
/// missing.
fn check_tablespaces(place: &Path, tablespaces: &[Tablespace]) -> Result<(), Error> {
    tablespaces.iter().try_for_each(|tablespace| {
        let link = place.join("pg_tblspc").join(tablespace.oid.to_string());
        fs::read_dir(&link).map(drop).map_err(Error::file("open the tablespace", &link))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::pg::Oid;

    #[test]
    fn a_tablespace_that_is_not_there_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let links = dir.path().join("pg_tblspc");
        fs::create_dir_all(links.join("16384")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), links.join("16385")).unwrap();
        // As seen from the link, not from here.
        symlink("elsewhere", links.join("16386")).unwrap();
        for (oid, is_there) in [(16384, true), (16385, true), (16386, false), (16387, false)] {
            let tablespace = Tablespace { oid: Oid::new(oid).unwrap(), target: "/was/there".into() };
            let checked = check_tablespaces(dir.path(), &[tablespace]);
            assert_eq!(checked.is_ok(), is_there, "{oid}: {checked:?}");
        }
    }
}
