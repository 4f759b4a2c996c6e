//! Volumes of EBS and their snapshots, by the API of EC2: what a backup that is made of snapshots has in place of objects.
//!
//! | module | |
//! |---|---|
//! | `ec2` | the six calls: DescribeInstances, DescribeVolumes, CreateSnapshot, DescribeSnapshots, LockSnapshot, DeleteSnapshot |
//! | `request`, `answer`, `xml` | their form and what comes back; pure |
//! | `refused` | what a refusal means, and what to do about it |
//! | `attached` | which volumes of an instance are meant; pure |
//! | [`mounts`] | where a volume is mounted on this machine |
//!
//! Connections, keys and signatures are those of [`crate::storage::s3`], waits between attempts those of
//! [`crate::storage::retry`]. It is no SDK of EC2, which would be most of the program.

mod answer;
mod attached;
mod ec2;
mod error;
pub mod mounts;
mod refused;
mod request;
mod xml;

use std::path::PathBuf;

use jiff::civil;

use crate::storage::retry::RetryPolicy;
use crate::storage::s3::{Credentials, Endpoint, Tag};

pub use attached::Attached;
pub use ec2::{Deleted, Ec2};
pub use error::Error;

/// The tag that tells a snapshot from those of other backups: two that begin in the same second have the same names.
pub const MARK: &str = "seawall-backup";

/// Who asks EC2, and where it is.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who we are.
    pub credentials: Credentials,
    /// The address of the service, where it is not AWS's own for the region.
    pub endpoint: Option<Endpoint>,
    /// Certificates to trust besides the system's, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// How often and how long to try.
    pub policy: RetryPolicy,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// The device that it was started from.
    pub root_device: Option<String>,
    /// Whether its devices have the names of Xen's old kind of machines.
    pub is_paravirtual: bool,
    /// Its volumes.
    pub devices: Vec<BlockDevice>,
}

/// A volume, as an instance has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// `/dev/sdf`, which is not always what it is called on the machine.
    pub device_name: String,
    /// `vol-…`
    pub volume_id: String,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// Its tag `Name`.
    pub name: Option<String>,
    /// The snapshot that it was made from.
    pub snapshot_id: Option<String>,
    /// The instances that have it.
    pub attachments: Vec<Attachment>,
}

/// That an instance has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance_id: String,
    /// `/dev/sdf`
    pub device: String,
}

/// A snapshot that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Of this volume.
    pub volume_id: String,
    /// Its tag `Name`.
    pub name: String,
    /// Its tag [`MARK`], by which it is found where the answer is lost: a value that no other snapshot of the volume has.
    pub mark: String,
    /// Its other tags.
    pub tags: Vec<Tag>,
}

/// A snapshot that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSnapshot {
    /// `snap-…`
    pub id: String,
    /// The account.
    pub owner_id: Option<String>,
    /// How far it is.
    pub state: State,
}

/// A snapshot as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotState {
    /// `snap-…`
    pub id: String,
    /// The account.
    pub owner_id: Option<String>,
    /// How far it is.
    pub state: State,
    /// The share that is stored: `42%`.
    pub progress: Option<String>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its time is that of the call; its blocks are still being stored.
    Pending,
    /// All is stored.
    Completed,
    /// It failed, with what the service says of it.
    Failed(String),
}

/// How a snapshot is kept from being deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLock {
    /// Who may end it before its time.
    pub mode: LockMode,
    /// How long it lasts.
    pub lasts: LockTime,
    /// Hours in which a lock in mode compliance can still be changed.
    pub cool_off_hours: Option<u64>,
}

/// Who may end a lock before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Users with the right to.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        }
    }
}

/// How long a lock lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockTime {
    /// So many days.
    Days(u64),
    /// Until then, in UTC.
    Until(civil::DateTime),
}
