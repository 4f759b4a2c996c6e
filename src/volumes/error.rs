//! What can go wrong with volumes and snapshots.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::{self, Location};

use super::refused::Refused;

/// Why volumes are not as they should be, or cannot be asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// EC2 could not do or could not answer.
    #[error(transparent)]
    Service(#[from] storage::Error),
    /// EC2 refused.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// No instance has this id or name.
    #[error("there is no instance `{instance}` in {location}")]
    NoInstance {
        /// As it was written.
        instance: String,
        /// Where.
        location: Location,
    },
    /// Several instances have this name.
    #[error("several instances have the name `{name}`: {}", ids.join(", "))]
    SeveralInstances {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Several volumes of an instance have this name.
    #[error("several volumes of the instance have the name `{name}`: {}", ids.join(", "))]
    SeveralVolumes {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// An instance does not have these volumes.
    #[error("disks not attached to instance `{instance}`: {}", disks.join(", "))]
    NotAttached {
        /// The instance.
        instance: String,
        /// As they were written.
        disks: Vec<String>,
    },
    /// Volumes are not mounted here.
    #[error("disks not mounted on instance `{instance}`: {}", disks.join(", "))]
    NotMounted {
        /// The instance.
        instance: String,
        /// As they were written, each with the reason.
        disks: Vec<String>,
    },
    /// The system does not say what is mounted.
    #[error("cannot read `{path}`: {source}")]
    Mounts {
        /// The file or directory.
        path: &'static str,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// A snapshot was begun and could not be stored.
    #[error("snapshot {snapshot} failed: {}", if reason.is_empty() { "EC2 does not say why" } else { reason })]
    SnapshotFailed {
        /// The snapshot.
        snapshot: String,
        /// What EC2 says of it.
        reason: String,
    },
    /// Snapshots took too long.
    #[error("snapshots are not completed after {} s: {}", limit.as_secs(), progress(snapshots))]
    NotCompleted {
        /// The snapshots, and how far they are.
        snapshots: Vec<(String, Option<String>)>,
        /// How long they were waited for.
        limit: Duration,
    },
    /// A snapshot is kept from being deleted.
    #[error("snapshot {0} is locked")]
    Locked(String),
    /// An instance has no volumes that were made from these snapshots.
    #[error("no volumes made from these snapshots are attached to recovery instance `{instance}`: {}", snapshots.join(", "))]
    NotRecovered {
        /// The instance.
        instance: String,
        /// The snapshots.
        snapshots: Vec<String>,
    },
    /// Volumes are not mounted as those were that the snapshots are of.
    #[error("volumes are not mounted as they were: {}", problems.join(", "))]
    WrongMounts {
        /// What is wrong with each.
        problems: Vec<String>,
    },
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Service(error) => return error.hint().map(str::to_owned),
            Error::Refused(refused) => return refused.hint(),
            Error::NoInstance { .. } => {
                "it is an id (i-…) or the value of the tag Name of one instance; check the region (--aws-region, AWS_DEFAULT_REGION) and the profile"
            }
            Error::SeveralInstances { .. } => "name the instance by its id",
            Error::SeveralVolumes { .. } => "name the disk by the id of its volume",
            Error::NotAttached { .. } => {
                "a disk is the id of a volume (vol-…) or the value of its tag Name; the root volume is none"
            }
            Error::NotMounted { .. } => {
                "run it on the instance itself, with the volumes mounted; those below LVM or RAID are not mounted by themselves"
            }
            Error::SnapshotFailed { .. } => {
                "see what EC2 says of the volume and its key, and take the backup anew"
            }
            Error::NotCompleted { .. } => {
                "the first snapshot of a large volume takes long, later ones store only what changed: raise \
                 --aws-await-snapshots-timeout"
            }
            Error::Locked(_) => "it can be deleted when its lock has expired or was taken away",
            Error::NotRecovered { .. } => {
                "make a volume of each snapshot, attach it to the instance, and mount it where the snapshot's volume was"
            }
            Error::WrongMounts { .. } => {
                "`barman-cloud-backup-show` says where the volumes were mounted, and with which options"
            }
            Error::Mounts { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

fn progress(snapshots: &[(String, Option<String>)]) -> String {
    let one = |(id, progress): &(String, Option<String>)| match progress {
        Some(progress) => format!("{id} ({progress})"),
        None => id.clone(),
    };
    snapshots.iter().map(one).collect::<Vec<_>>().join(", ")
}
