//! `restore` of a backup that is made of snapshots. Whoever restores has made a volume of each snapshot, attached it to this machine
//! and mounted it where the snapshot's volume was; that is looked at, and then the `backup_label` is put into the data directory,
//! which recovery begins with. Source: barman `clients/cloud_restore.py` (`CloudBackupDownloaderSnapshot`),
//! `recovery_executor.py` (`SnapshotRecoveryExecutor`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use crate::durable::DurableFile;
use crate::layout::barman::{BackupId, Snapshot, SnapshotsInfo, names};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::storage;
use crate::volumes::mounts::{Mount, Mounts};
use crate::volumes::{self, Attached};

use super::volumes::Volumes;

/// What to restore.
#[derive(Debug, Clone)]
pub struct Options {
    /// The instance that has the volumes, which is this machine: its id or its name.
    pub instance: Option<String>,
    /// The data directory, on one of them.
    pub target: PathBuf,
}

/// Puts the `backup_label` of a backup into its data directory, once its volumes are where they were. Durable on return.
pub async fn run(
    ctx: &Context,
    volumes: &Volumes,
    backup: BackupId,
    snapshots: &SnapshotsInfo,
    options: &Options,
) -> Result<(), Error> {
    let instance = options.instance.as_ref().ok_or(RequestError::NoRecoveryInstance(backup))?;
    let ec2 = volumes.of(backup, snapshots)?;
    let attached = async {
        let instance = ec2.instance(instance).await?;
        Ok::<_, volumes::Error>(Attached::all(&instance, &ec2.volumes(&instance).await?))
    };
    let attached = ctx.until_cancelled(attached).await?;
    let recovered = recovered(instance, &attached, snapshots)?;
    let mounts = Mounts::read()?;
    check_mounts(&recovered, |volume| mounts.of(volume))?;
    let metadata =
        fs::metadata(&options.target).map_err(Error::file("open the data directory", &options.target))?;
    let key = names::backup_label_key(backup);
    let label = ctx.until_cancelled(storage::get_bytes(ctx.storage.as_ref(), &key)).await?;
    let (_, label) = label.ok_or(RequestError::NoBackupLabel(backup))?;
    write_label(&options.target.join("backup_label"), &label, &metadata)
}

/// Each snapshot with the volume that was made of it. All that lack one are one error.
fn recovered<'a>(
    instance: &str,
    attached: &'a [Attached],
    snapshots: &'a SnapshotsInfo,
) -> Result<Vec<(&'a Attached, &'a Snapshot)>, volumes::Error> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for snapshot in &snapshots.snapshots {
        let is_of = |volume: &&Attached| volume.snapshot_id.as_ref() == Some(&snapshot.snapshot_id);
        match attached.iter().find(is_of) {
            Some(volume) => found.push((volume, snapshot)),
            None => missing.push(snapshot.snapshot_id.clone()),
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(volumes::Error::NotRecovered { instance: instance.to_owned(), snapshots: missing }),
    }
}

/// Whether each volume is mounted as that one was of which its snapshot is. All that are not are one error.
fn check_mounts(
    recovered: &[(&Attached, &Snapshot)],
    mount: impl Fn(&Attached) -> Result<Mount, String>,
) -> Result<(), volumes::Error> {
    let mut problems = Vec::new();
    for (volume, snapshot) in recovered {
        let name = format!("{} of snapshot {}", volume.volume_id, snapshot.snapshot_id);
        match mount(volume) {
            Err(reason) => problems.push(format!("{name}: {reason}")),
            Ok(Mount { point, options }) => {
                for (is, was) in [(&point, &snapshot.mount_point), (&options, &snapshot.mount_options)] {
                    if Some(is) != was.as_ref() {
                        let was = was.as_deref().unwrap_or("nowhere");
                        problems.push(format!(
                            "{name} is mounted {} {is} and was {was}",
                            if is == &point { "at" } else { "with" }
                        ));
                    }
                }
            }
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(volumes::Error::WrongMounts { problems }),
    }
}

/// Writes the label for the owner of the data directory.
fn write_label(path: &Path, content: &[u8], directory: &fs::Metadata) -> Result<(), Error> {
    let mut file = DurableFile::create(path, 0o600)?;
    file.write_all(content).map_err(Error::file("write", path))?;
    if rustix::process::geteuid().is_root() {
        fchown(file.file(), Some(directory.uid()), Some(directory.gid()))
            .map_err(Error::file("change the owner of", path))?;
    }
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(id: &str, snapshot: Option<&str>) -> Attached {
        Attached {
            disk: id.to_owned(),
            volume_id: id.to_owned(),
            device: "/dev/sdf".to_owned(),
            device_name: "/dev/sdf".to_owned(),
            is_paravirtual: false,
            snapshot_id: snapshot.map(str::to_owned),
        }
    }

    fn snapshot(id: &str, point: &str) -> Snapshot {
        Snapshot {
            mount_options: Some("rw".to_owned()),
            mount_point: Some(point.to_owned()),
            device_name: None,
            snapshot_id: id.to_owned(),
            snapshot_name: None,
            lock_mode: None,
        }
    }

    #[test]
    fn each_snapshot_has_a_volume_mounted_as_it_was() {
        let snapshots = SnapshotsInfo {
            account_id: None,
            region: None,
            snapshots: vec![snapshot("snap-1", "/data"), snapshot("snap-2", "/wal")],
        };
        let attached =
            [volume("vol-0", None), volume("vol-2", Some("snap-2")), volume("vol-1", Some("snap-1"))];
        let found = recovered("i", &attached, &snapshots).unwrap();
        let ids: Vec<_> = found.iter().map(|(volume, _)| volume.volume_id.as_str()).collect();
        assert_eq!(ids, ["vol-1", "vol-2"]);
        let mounted = |options: &'static str| {
            move |volume: &Attached| {
                let point = if volume.volume_id == "vol-1" { "/data" } else { "/wal" };
                Ok(Mount { point: point.to_owned(), options: options.to_owned() })
            }
        };
        check_mounts(&found, mounted("rw")).unwrap();
        let problems = |mount: &dyn Fn(&Attached) -> Result<Mount, String>| match check_mounts(&found, mount)
        {
            Err(volumes::Error::WrongMounts { problems }) => problems,
            other => panic!("{other:?}"),
        };
        assert_eq!(problems(&mounted("ro"))[1], "vol-2 of snapshot snap-2 is mounted with ro and was rw");
        let elsewhere = |_: &Attached| Ok(Mount { point: "/data".to_owned(), options: "rw".to_owned() });
        assert_eq!(problems(&elsewhere), ["vol-2 of snapshot snap-2 is mounted at /data and was /wal"]);
        assert_eq!(problems(&|_: &Attached| Err("nowhere".to_owned())).len(), 2);

        let error = recovered("i", &attached[..2], &snapshots).unwrap_err();
        assert!(matches!(error, volumes::Error::NotRecovered { snapshots, .. } if snapshots == ["snap-1"]));
    }
}
