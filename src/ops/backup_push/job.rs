//! What the workers of one backup share, and what they bring back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use tokio::runtime::Handle;

use crate::codec::{Cipher, Compression};
use crate::layout::walg::BackupName;
use crate::layout::walg::files_metadata::FileDescription;
use crate::pg::Lsn;
use crate::pg::data_dir::{Member, Tablespace, Walk};
use crate::pipeline::{RateLimit, UploadSettings};
use crate::progress::Progress;

use super::VerifyPages;
use super::delta::{Delta, Take};

/// What the workers of one backup share.
pub(super) struct Job {
    pub runtime: Handle,
    pub walk: Mutex<Walk>,
    pub next_part: AtomicU32,
    pub backup: BackupName,
    pub started_at: Lsn,
    pub block_size: u32,
    pub verify: VerifyPages,
    /// What a delta goes by; `None` for a full backup.
    pub delta: Option<Delta>,
    pub tar_bytes: u64,
    pub compression: Compression,
    pub cipher: Cipher,
    pub disk_rate: Option<RateLimit>,
    pub progress: Progress,
    pub uploads: UploadSettings,
}

impl Job {
    /// What to take of a member of the walk.
    pub fn take(&self, member: &Member) -> Take {
        self.delta.as_ref().map_or(Take::Whole, |delta| delta.take(member))
    }
}

/// What was packed.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Bytes of files, as stored in tars before compression.
    pub data_bytes: u64,
    /// Bytes of the objects.
    pub stored_bytes: u64,
    /// Every member, by its name in the tar.
    pub files: BTreeMap<String, FileDescription>,
    /// The members of each tar.
    pub tar_file_sets: BTreeMap<String, Vec<String>>,
    /// What the walk found outside of the data directory.
    pub tablespaces: Vec<Tablespace>,
}

impl Packed {
    pub fn merge(&mut self, other: Packed) {
        self.data_bytes += other.data_bytes;
        self.stored_bytes += other.stored_bytes;
        self.files.extend(other.files);
        self.tar_file_sets.extend(other.tar_file_sets);
        self.tablespaces.extend(other.tablespaces);
    }
}
