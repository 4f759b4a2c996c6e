//! A backup whose data are snapshots of volumes: between its start and its stop each volume is snapshotted, and nothing is read.
//! What is stored beside its description is the `backup_label`, without which a volume that is made of a snapshot recovers from the wrong
//! place.
//!
//! Instance, volumes and mounts are looked at before the server is told of a backup. The backup is held until all snapshots are
//! stored, as barman does. Snapshots of a backup that fails are deleted: they are paid for, and no description names them.
//! Source: barman `cloud.py`, `CloudBackupSnapshot`.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, timeout_at};

use crate::layout::Name;
use crate::layout::barman::{Snapshot, SnapshotsInfo};
use crate::layout::new_backup::{Beginning, Document, Taken};
use crate::ops::{Context, Error};
use crate::pg::Lsn;
use crate::volumes::mounts::{Mount, Mounts};
use crate::volumes::{self, Attached, NewSnapshot, State};

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
    let random = getrandom::u64().map_err(io::Error::from);
    let random = random.map_err(Error::file("mark the snapshots of", &beginning.data_dir))?;
    let snapshots = Snapshots::new(format, &name, random, &volumes.found);
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
    begun: Mutex<Begun>,
}

/// What there may be of them.
#[derive(Default)]
struct Begun {
    /// The ids of those that were made.
    made: Vec<String>,
    /// The one that was asked for, as long as there is no answer.
    asked: Option<NewSnapshot>,
}

impl<'a> Snapshots<'a> {
    /// Those of a backup; `random` tells them from those of every other.
    fn new(format: &'a SnapshotFormat, backup: &Name, random: u64, volumes: &'a [(Attached, Mount)]) -> Self {
        let (id, mark) = (backup.to_string().to_lowercase(), format!("{random:016x}"));
        let planned = volumes.iter().map(|(volume, mount)| {
            let (name, mark) = (format!("{}-{id}", volume.disk), mark.clone());
            let new =
                NewSnapshot { volume_id: volume.volume_id.clone(), name, mark, tags: format.tags.clone() };
            (volume, mount, new)
        });
        Snapshots { format, volumes: planned.collect(), begun: Mutex::default() }
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes them, locks them where that is asked for, and waits until all are stored.
    async fn take(&self) -> Result<SnapshotsInfo, volumes::Error> {
        let SnapshotFormat { ec2, lock, .. } = self.format;
        let mut info =
            SnapshotsInfo { account_id: None, region: Some(ec2.region().to_owned()), snapshots: Vec::new() };
        for (volume, mount, new) in &self.volumes {
            tracing::info!("Taking snapshot '{}' of disk '{}' ({})", new.name, volume.disk, new.volume_id);
            self.begun().asked = Some(new.clone());
            let created = ec2.create_snapshot(new).await?;
            {
                let mut begun = self.begun();
                begun.made.push(created.id.clone());
                begun.asked = None;
            }
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

    /// Deletes what there is of them, and tells which stay.
    pub async fn delete(&self, until: Instant) {
        let all = async {
            loop {
                let Some(id) = self.begun().made.last().cloned() else { break };
                match self.format.ec2.delete_snapshot(&id).await {
                    Ok(_) => tracing::info!("Deleted snapshot {id} of the backup that failed"),
                    Err(error) => tracing::warn!("snapshot {id} is left, delete it: {error}"),
                }
                self.begun().made.pop();
            }
            let Some(asked) = self.begun().asked.clone() else { return };
            if let Ok(Some(found)) = self.format.ec2.find_snapshot(&asked).await
                && self.format.ec2.delete_snapshot(&found.id).await.is_ok()
            {
                tracing::info!("Deleted snapshot {} of the backup that failed", found.id);
                self.begun().asked = None;
            }
        };
        // What is left is told in either case.
        let _ = timeout_at(until, all).await;
        self.tell_left();
    }

    /// Tells which stay when nobody comes to deleting them.
    pub fn tell_left(&self) {
        let begun = self.begun();
        for id in &begun.made {
            tracing::warn!("snapshot {id} is left, delete it");
        }
        if let Some(NewSnapshot { name, volume_id, .. }) = &begun.asked {
            tracing::warn!("a snapshot `{name}` of {volume_id} may be left: look for it, and delete it");
        }
    }

    /// Their ids, as far as they were made.
    pub fn ids(&self) -> String {
        self.begun().made.join(", ")
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
