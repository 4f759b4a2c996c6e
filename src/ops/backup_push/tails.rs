//! The two small tars that come after all data: `pg_control`, and the labels the server returned.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::layout::walg::names::TarName;
use crate::ops::{Error, control_file};
use crate::pg::session::StoppedBackup;
use crate::pipeline::run_blocking;
use crate::tarball::Entry;

use super::job::{Job, Packed};
use super::owners::Owners;
use super::pack::send_tar;

/// Sizes of a tar that was stored.
pub(super) struct StoredTail {
    pub data_bytes: u64,
    pub stored_bytes: u64,
}

/// Stores `pg_control` as it is now, after all data was copied. Durable on return.
pub(super) async fn store_control(job: &Arc<Job>, data_dir: &Path) -> Result<StoredTail, Error> {
    let control = control_file::read(data_dir)?.content;
    let path = data_dir.join("global/pg_control");
    let metadata = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
    let entry = Owners::default().entry_of("/global/pg_control", &metadata);
    store(job, TarName::Control, vec![(entry, control)]).await
}

/// Stores `backup_label` and `tablespace_map`. Durable on return.
pub(super) async fn store_labels(
    job: &Arc<Job>,
    stopped: &StoppedBackup,
    packed: &mut Packed,
) -> Result<StoredTail, Error> {
    let labels = [("backup_label", &stopped.label), ("tablespace_map", &stopped.tablespace_map)];
    let files = labels.map(|(name, content)| (label_entry(name), content.clone().into_bytes()));
    packed.tar_file_sets.insert(
        TarName::Labels.object_name(job.compression.method()),
        labels.map(|(name, _)| name.to_owned()).to_vec(),
    );
    store(job, TarName::Labels, files.to_vec()).await
}

async fn store(job: &Arc<Job>, tar: TarName, files: Vec<(Entry, Vec<u8>)>) -> Result<StoredTail, Error> {
    let job = Arc::clone(job);
    let data_bytes = files.iter().map(|(_, content)| content.len() as u64).sum();
    let stored_bytes = run_blocking("seawall-codec-0".to_owned(), move || {
        let sent = send_tar(&job, tar, |writer| {
            for (entry, content) in &files {
                writer.file(entry, content.len() as u64, content.as_slice())?;
            }
            Ok(())
        })?;
        sent.wait(&job)
    })
    .await??;
    Ok(StoredTail { data_bytes, stored_bytes })
}

/// As wal-g writes them: nobody's, of no time (reference section 5.1, step 12).
fn label_entry(name: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        mode: 0o600,
        uid: 0,
        user: String::new(),
        gid: 0,
        group: String::new(),
        mtime_seconds: 0,
        mtime_nanoseconds: 0,
    }
}
