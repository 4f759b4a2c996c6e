//! A backup that is being taken, as its layout sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::checksum::Checksum;
use crate::codec::Method;
use crate::pg::data_dir::{Member, Tablespace};
use crate::pg::session::{ServerIdentity, StartedBackup, StoppedBackup};
use crate::pg::{Oid, SegmentName};
use crate::storage::{Key, Prefix};

use super::Name;
use super::barman::SnapshotsInfo;
use super::walg::{DocumentError, FilesMetadata};

/// The object in a backup's folder that says, while the backup is being taken, whose it is: seawall's own.
pub(super) const CLAIM: &str = "seawall_running.json";

/// How a backup is packed into tars, and what makes it exist.
pub trait NewBackup: fmt::Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> Name;

    /// The folder of everything that is stored of it; its marker may lie elsewhere.
    fn folder(&self) -> Prefix;

    /// The object that makes it exist.
    fn marker(&self) -> Key;

    /// The object that says, while the backup is being taken, whose it is. wal-g and barman-cloud pass over it.
    fn claim(&self) -> Key {
        super::keys::key(format!("{}{CLAIM}", self.folder()))
    }

    /// Whether a marker with this content says that the backup is complete.
    fn is_complete(&self, marker: &[u8]) -> bool;

    /// Whether a list of its files is one of its documents.
    fn lists_files(&self) -> bool;

    /// The group of tars that what lies in a tablespace goes to, or in the data directory itself.
    fn group(&self, tablespace: Option<Oid>) -> Group;

    /// The name of a member in the tars of its group; `None` when the layout does not keep it.
    fn member_name(&self, member: &Member) -> Option<String>;

    /// The name of `global/pg_control` in its tar.
    fn control_name(&self) -> String;

    /// Where a tar is stored.
    fn tar_key(&self, tar: Tar, method: Method) -> Key;

    /// Files from outside of the data directory that the backup has at its top.
    fn outside_files(&self) -> Vec<PathBuf>;

    /// What the server returned at the end, as files at the top.
    fn labels(&self, stopped: &StoppedBackup) -> Vec<LabelFile>;

    /// The document that tells of the backup while it is being taken.
    fn opening(&self) -> Option<Document>;

    /// The documents of the complete backup in the order in which to write them, the marker last.
    fn documents(&self, taken: &Taken<'_>) -> Result<Vec<Document>, EncodeError>;

    /// The document that tells that the backup failed.
    fn failure(&self, reason: &str) -> Option<Document>;

    /// The name of a restore point to write into WAL when the backup has been stopped.
    fn restore_point(&self) -> Option<String>;

    /// Who removes what is left of it when it failed and that could not be done at once, for messages.
    fn remains_go_by(&self) -> &'static str;
}

/// A document cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{key}`: {source}")]
pub struct EncodeError {
    /// The document.
    pub key: Key,
    /// What is wrong with what it should say.
    pub source: DocumentError,
}

/// Tars that hold one part of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The data directory, and tablespaces that have no group of their own.
    Cluster,
    /// A tablespace.
    Tablespace(Oid),
}

/// One tar of a backup. The tars of each group are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tar {
    /// Data.
    Data(Group, u32),
    /// `global/pg_control`, written after all data; the next one of the cluster's group.
    Control(u32),
    /// What the server returned at the end; the last one of the cluster's group.
    Labels(u32),
}

impl Tar {
    /// Its group.
    pub fn group(self) -> Group {
        match self {
            Tar::Data(group, _) => group,
            Tar::Control(_) | Tar::Labels(_) => Group::Cluster,
        }
    }
}

/// A small file at the top of the data directory that the server does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFile {
    /// Its name.
    pub name: &'static str,
    /// Its permission bits.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

/// An object that is written in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where.
    pub key: Key,
    /// Its bytes.
    pub body: Bytes,
}

/// What is known of a backup when it has started.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The server.
    pub server: ServerIdentity,
    /// Its data directory, resolved.
    pub data_dir: PathBuf,
    /// The host that takes the backup.
    pub hostname: String,
    /// When it was started.
    pub time: Timestamp,
    /// What the server said.
    pub started: StartedBackup,
    /// The segment that holds the start.
    pub segment: SegmentName,
}

/// What is known of a backup when all its data are stored.
#[derive(Debug)]
pub struct Taken<'a> {
    /// What the server returned at the end.
    pub stopped: &'a StoppedBackup,
    /// When it had done so.
    pub finish_time: Timestamp,
    /// Bytes of all files as stored in tars, before compression.
    pub data_bytes: u64,
    /// The tars, as they are stored.
    pub tars: &'a BTreeMap<Key, Checksum>,
    /// How long each group of tars took.
    pub copy_times: &'a BTreeMap<Group, CopyTime>,
    /// Requests to the storage at once.
    pub uploads: usize,
    /// Bytes of everything in the data directory.
    pub cluster_bytes: u64,
    /// What was found outside of the data directory.
    pub tablespaces: &'a [Tablespace],
    /// The list of the backup's files, where it is kept.
    pub files: Option<&'a FilesMetadata>,
    /// The snapshots of volumes that it is made of, in place of tars.
    pub snapshots: Option<&'a SnapshotsInfo>,
}

/// How long tars took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTime {
    /// When the first one was begun.
    pub began: Timestamp,
    /// When the last one was stored.
    pub ended: Timestamp,
    /// All of them, one after another.
    pub serialized: Duration,
}

impl CopyTime {
    /// Both together.
    pub fn and(self, other: CopyTime) -> CopyTime {
        CopyTime {
            began: self.began.min(other.began),
            ended: self.ended.max(other.ended),
            serialized: self.serialized.saturating_add(other.serialized),
        }
    }
}

impl Taken<'_> {
    /// Bytes of all tars, as they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.tars.values().map(|tar| tar.size).sum()
    }
}
