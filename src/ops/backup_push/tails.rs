//! What comes after all data: a tar for each group that has none, `pg_control`, and the labels the server returned.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::layout::new_backup::{Group, LabelFile, Tar};
use crate::ops::{Error, control_file};
use crate::pg::session::StoppedBackup;
use crate::pipeline::run_blocking;
use crate::tarball::Entry;

use super::job::{Job, Packed, StoredTar};
use super::owners::Owners;
use super::pack::send_tar;

/// Stores an empty tar for every tablespace that should have tars of its own and of which nothing was found.
pub(super) async fn store_empty(job: &Arc<Job>, packed: &mut Packed) -> Result<(), Error> {
    let groups = packed.tablespaces.iter().map(|tablespace| job.backup.group(Some(tablespace.oid)));
    for group in groups.collect::<Vec<_>>() {
        if !job.has_tar(group) {
            let tar = Tar::Data(group, job.number_tar(group));
            packed.add(store(job, tar, Vec::new()).await?);
        }
    }
    Ok(())
}

/// Stores `pg_control` as it is now, after all data was copied. Durable on return.
pub(super) async fn store_control(job: &Arc<Job>, data_dir: &Path, packed: &mut Packed) -> Result<(), Error> {
    let control = control_file::read(data_dir)?.content;
    let path = data_dir.join("global/pg_control");
    let metadata = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
    let entry = Owners::default().entry_of(job.backup.control_name(), &metadata);
    packed.data_bytes += control.len() as u64;
    let tar = Tar::Control(job.number_tar(Group::Cluster));
    packed.add(store(job, tar, vec![(entry, control)]).await?);
    Ok(())
}

/// Stores the labels, and the files of the server that lie outside of its data directory where the layout keeps them.
/// Durable on return.
pub(super) async fn store_labels(
    job: &Arc<Job>,
    stopped: &StoppedBackup,
    packed: &mut Packed,
) -> Result<(), Error> {
    let mut files = Vec::new();
    for path in job.backup.outside_files() {
        let content = fs::read(&path).map_err(Error::file("read", &path))?;
        let metadata = fs::metadata(&path).map_err(Error::file("read", &path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((Owners::default().entry_of(name, &metadata), content));
    }
    for label in job.backup.labels(stopped) {
        let entry = label_entry(&label);
        files.push((entry, label.content));
    }
    packed.data_bytes += files.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
    let tar = Tar::Labels(job.number_tar(Group::Cluster));
    if job.backup.lists_files() {
        let members = files.iter().map(|(entry, _)| entry.name.clone()).collect();
        let key = job.backup.tar_key(tar, job.compression.method());
        packed.tar_file_sets.insert(key.file_name().to_owned(), members);
    }
    packed.add(store(job, tar, files).await?);
    Ok(())
}

/// Stores one tar of these files; what is in the storage then.
async fn store(job: &Arc<Job>, tar: Tar, files: Vec<(Entry, Vec<u8>)>) -> Result<StoredTar, Error> {
    let job = Arc::clone(job);
    run_blocking("seawall-codec-0".to_owned(), move || {
        let sent = send_tar(&job, tar, |writer| {
            for (entry, content) in &files {
                writer.file(entry, content.len() as u64, content.as_slice())?;
            }
            Ok(())
        })?;
        sent.wait(&job)
    })
    .await?
}

/// As wal-g and barman write them: nobody's, of no time (wal-g `bundle.go`, `UploadLabelFiles`).
fn label_entry(label: &LabelFile) -> Entry {
    Entry {
        name: label.name.to_owned(),
        mode: label.mode,
        uid: 0,
        user: String::new(),
        gid: 0,
        group: String::new(),
        mtime_seconds: 0,
        mtime_nanoseconds: 0,
    }
}
