//! How a backup is taken.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::ops::changed_blocks;
use crate::ops::ownership::TakeOver;
use crate::pg::ConnInfo;
use crate::pg::session::Checkpoint;
use crate::storage::s3::Tag;
use crate::volumes::{Ec2, SnapshotLock};

use super::format::Format;
use super::parent::ParentRules;
use super::verify_delta::VerifyDelta;

/// How `backup-push` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's data directory; `None` takes what the server says.
    pub data_dir: Option<PathBuf>,
    /// How to reach the server.
    pub conninfo: ConnInfo,
    /// In what form the backup is stored.
    pub format: Format,
    /// From whom the repository may be taken over (`SEAWALL_TAKE_OVER_FROM`).
    pub take_over: TakeOver,
    /// How the server makes the checkpoint with which the backup starts.
    pub checkpoint: Checkpoint,
    /// Whether page checksums are verified while reading.
    pub verify: VerifyPages,
    /// How the data are packed.
    pub packing: Packing,
    /// How long the end of the backup may take on the server; zero means without limit.
    pub stop_timeout: Duration,
    /// How long to wait for the WAL that the backup needs without any of it being archived; zero leaves the wait to the
    /// server and asks nobody else.
    pub wal_timeout: Duration,
    /// Who says that this WAL is archived.
    pub wal_witness: WalWitness,
    /// How often the session is checked.
    pub alive_check: Duration,
    /// The archive itself, when it lies in the data directory.
    pub exclude: Vec<PathBuf>,
}

/// Who says that the WAL of a backup is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalWitness {
    /// The server's archiver, wherever it archives to; for a standby, whose primary archives, the archive if it has WAL.
    Archiver,
    /// The archive itself, after the archiver.
    Archive,
}

/// How the data of a cluster are packed and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// A tar is closed once it holds more data than this many bytes.
    pub tar_bytes: u64,
    /// Threads that read, compress and encrypt.
    pub workers: usize,
    /// Requests to the storage at once.
    pub uploads: usize,
    /// Bytes per second read from disk.
    pub disk_rate: Option<u64>,
    /// Bytes per second sent to the storage.
    pub network_rate: Option<u64>,
}

/// A backup in wal-g's form.
#[derive(Debug, Clone, PartialEq)]
pub struct WalGFormat {
    /// Never to be deleted by retention.
    pub is_permanent: bool,
    /// What the user attaches.
    pub user_data: Option<Value>,
    /// How to take a delta; `None` for a full backup.
    pub delta: Option<DeltaOptions>,
    /// Whether the list of files is stored; without it no delta can build on the backup.
    pub with_files_metadata: bool,
    /// Whether databases and relations are listed, for restores of a part.
    pub with_relations: bool,
}

/// A backup in barman-cloud's form that is made of snapshots of volumes.
#[derive(Debug, Clone)]
pub struct SnapshotFormat {
    /// The name that the user gives the backup.
    pub name: Option<String>,
    /// The server, as the backup is described.
    pub server_name: String,
    /// Where the volumes are.
    pub ec2: Ec2,
    /// The instance that has them, which is this machine: its id or its name.
    pub instance: String,
    /// The volumes: their ids or their names.
    pub disks: Vec<String>,
    /// Tags of the snapshots, besides their name.
    pub tags: Vec<Tag>,
    /// How the snapshots are kept from being deleted, if they are.
    pub lock: Option<SnapshotLock>,
    /// How long it may take until all of them are stored.
    pub await_timeout: Duration,
}

/// How a delta backup is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaOptions {
    /// What it builds on.
    pub parent: ParentRules,
    /// How to learn which blocks changed.
    pub changed_blocks: changed_blocks::Rules,
    /// What to do when nothing but the pages themselves tells.
    pub without_map: WithoutMap,
    /// How much of a map of changed blocks is proved.
    pub verify: VerifyDelta,
}

/// What to do when no map of the changed blocks can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutMap {
    /// Read every page.
    ReadPages,
    /// Fail (`WALG_FORCE_WAL_DELTA`).
    Fail,
}

/// Whether page checksums are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyPages {
    /// They are not.
    No,
    /// They are; of each file some corrupt blocks are named.
    Yes,
    /// They are; every corrupt block is named.
    NameAll,
}
