//! A backup whose data are snapshots of volumes: between its start and its stop each volume is snapshotted, and nothing is read.
//! What is stored beside its description is the `backup_label`, without which a volume that is made of a snapshot recovers from the wrong
//! place.
//!
//! Instance, volumes and mounts are looked at before the server is told of a backup. The backup is held until all snapshots are
//! stored, as barman does. Snapshots of a backup that fails are deleted: they are paid for, and no description names them.
//! Source: barman `cloud.py`, `CloudBackupSnapshot`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::layout::Name;
use crate::layout::barman::{Snapshot, SnapshotsInfo};
use crate::layout::new_backup::{Beginning, Document, Taken};
use crate::ops::{Context, Error};
use crate::pg::Lsn;
use crate::volumes::mounts::{Mount, Mounts};
use crate::volumes::{self, Attached, Ec2, NewSnapshot, State};

use super::options::{Options, SnapshotFormat};
use super::{Taker, connect, hostname, own, start, start_segment, wait_for_wal};

/// Takes the backup; see [`super::run`].
pub(super) async fn run(ctx: &Context, options: &Options, format: &SnapshotFormat) -> Result<Name, Error> {
    let (session, server) = connect(ctx, options).await?;
    let volumes = ctx.until_cancelled(async { find(format).await.map_err(Error::NotBegun) }).await?;
    own(ctx, options, &server).await?;

    let (time, settings, started) = start(ctx, options, &session, &server).await?;
    let directories = settings.tablespace_locations.values().map(Path::new);
    warn_of_others(&volumes, directories.chain([server.data_directory.as_path()]));
    let segment = start_segment(&started, &server);
    // It need not be readable for whoever takes the backup.
    let data_dir = server.data_directory.canonicalize().unwrap_or_else(|_| server.data_directory.clone());
    let beginning = Beginning { server, data_dir, hostname: hostname(), time, started, segment };
    let backup =
        ctx.until_cancelled(options.format.begin(&session, beginning.clone(), settings, None)).await?;
    let name = backup.name();
    let snapshots = Snapshots::new(format, &name, &volumes.found);
    let taker = Taker {
        ctx,
        options,
        session: &session,
        beginning: &beginning,
        backup,
        origin: None,
        snapshots: Some(&snapshots),
    };
    let stop = Box::pin(taker.store(taker.take_snapshots(&snapshots))).await?;
    // The server is not needed any more, and the wait may be long.
    drop(session);
    wait_for_wal(ctx, options, &name, &beginning, stop).await?;
    Ok(name)
}

/// The volumes, and what is mounted besides.
struct Volumes {
    found: Vec<(Attached, Mount)>,
    mounts: Mounts,
}

/// The volumes that are asked for: attached to the instance, and mounted here.
async fn find(format: &SnapshotFormat) -> Result<Volumes, volumes::Error> {
    let instance = format.ec2.instance(&format.instance).await?;
    let attached = Attached::chosen(&instance, &format.ec2.volumes(&instance).await?, &format.disks)?;
    let mounts = Mounts::read()?;
    let (mut found, mut unmounted) = (Vec::new(), Vec::new());
    for volume in attached {
        match mounts.of(&volume) {
            Ok(mount) => found.push((volume, mount)),
            Err(reason) => unmounted.push(format!("{} ({reason})", volume.disk)),
        }
    }
    match unmounted.is_empty() {
        true => Ok(Volumes { found, mounts }),
        false => Err(volumes::Error::NotMounted { instance: format.instance.clone(), disks: unmounted }),
    }
}

/// Tells which directories of the cluster are on none of the volumes: a backup without them cannot be restored from its
/// snapshots alone.
fn warn_of_others<'a>(volumes: &Volumes, directories: impl Iterator<Item = &'a Path>) {
    for path in directories {
        let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let point = volumes.mounts.holding(&resolved).map(|mount| &mount.point);
        if !volumes.found.iter().any(|(_, mount)| Some(&mount.point) == point) {
            tracing::warn!(path = %path.display(), "not in the backup: it is on none of the disks that are snapshotted");
        }
    }
}

/// The snapshots of one backup, which are being made.
pub(super) struct Snapshots<'a> {
    format: &'a SnapshotFormat,
    volumes: Vec<(&'a Attached, &'a Mount, NewSnapshot)>,
    /// The ids of those that were made.
    made: Mutex<Vec<String>>,
}

impl<'a> Snapshots<'a> {
    fn new(format: &'a SnapshotFormat, backup: &Name, volumes: &'a [(Attached, Mount)]) -> Self {
        let id = backup.to_string().to_lowercase();
        let planned = volumes.iter().map(|(volume, mount)| {
            let name = format!("{}-{id}", volume.disk);
            let new = NewSnapshot { volume_id: volume.volume_id.clone(), name, tags: format.tags.clone() };
            (volume, mount, new)
        });
        Snapshots { format, volumes: planned.collect(), made: Mutex::default() }
    }

    /// Makes them, locks them where that is asked for, and waits until all are stored.
    async fn take(&self) -> Result<SnapshotsInfo, volumes::Error> {
        let SnapshotFormat { ec2, lock, .. } = self.format;
        let mut info =
            SnapshotsInfo { account_id: None, region: Some(ec2.region().to_owned()), snapshots: Vec::new() };
        for (volume, mount, new) in &self.volumes {
            tracing::info!("Taking snapshot '{}' of disk '{}' ({})", new.name, volume.disk, new.volume_id);
            let created = ec2.create_snapshot(new).await?;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(created.id.clone());
            if let State::Failed(reason) = created.state {
                return Err(volumes::Error::SnapshotFailed { snapshot: created.id, reason });
            }
            if let Some(lock) = lock {
                ec2.lock_snapshot(&created.id, lock).await?;
                tracing::info!("Locked snapshot {} in mode {}", created.id, lock.mode.word());
            }
            info.account_id = created.owner_id;
            info.snapshots.push(Snapshot {
                mount_options: Some(mount.options.clone()),
                mount_point: Some(mount.point.clone()),
                device_name: Some(volume.device_name.clone()),
                snapshot_id: created.id,
                snapshot_name: Some(new.name.clone()),
                lock_mode: lock.as_ref().map(|lock| lock.mode.word().to_owned()),
            });
        }
        let ids: Vec<String> = info.ids().map(str::to_owned).collect();
        tracing::info!("Waiting for completion of snapshots: {}", ids.join(", "));
        ec2.completed(&ids, self.format.await_timeout).await?;
        Ok(info)
    }

    /// Deletes those that were made, also where the answer that named one was lost. Tells which stay.
    pub async fn delete(&self) {
        let ec2: &Ec2 = &self.format.ec2;
        let mut ids = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (_, _, new) in &self.volumes {
            match ec2.snapshots_named(&new.volume_id, &new.name).await {
                Ok(found) => ids.extend(found.into_iter().map(|snapshot| snapshot.id)),
                Err(error) => {
                    tracing::warn!("a snapshot with the name `{}` may be left: {error}", new.name);
                }
            }
        }
        ids.sort();
        ids.dedup();
        for id in ids {
            match ec2.delete_snapshot(&id).await {
                Ok(_) => tracing::info!("Deleted snapshot {id} of the backup that failed"),
                Err(error) => tracing::warn!("snapshot {id} is left, delete it: {error}"),
            }
            self.made.lock().unwrap_or_else(PoisonError::into_inner).retain(|made| *made != id);
        }
    }

    /// Tells which stay when nobody came to deleting them.
    pub fn tell_left(&self) {
        for id in self.made.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            tracing::warn!("snapshot {id} is left, delete it");
        }
    }
}

impl Taker<'_> {
    /// Makes the snapshots; the documents that make the backup exist, and where it is consistent.
    async fn take_snapshots(&self, snapshots: &Snapshots<'_>) -> Result<(Vec<Document>, Lsn), Error> {
        self.open().await?;
        let info = tokio::select! {
            info = self.ctx.until_cancelled(snapshots.take()) => info?,
            lost = self.session_lost() => return Err(lost),
        };
        let (stopped, finish_time) = self.end().await?;
        self.check_timeline().await?;
        self.check_not_deleted().await?;
        let documents = self.backup.documents(&Taken {
            stopped: &stopped,
            finish_time,
            data_bytes: 0,
            tars: &Default::default(),
            copy_times: &Default::default(),
            uploads: 0,
            cluster_bytes: 0,
            tablespaces: &[],
            files: None,
            snapshots: Some(&info),
        })?;
        Ok((documents, stopped.lsn))
    }
}
