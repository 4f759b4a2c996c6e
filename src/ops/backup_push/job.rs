//! What the workers of one backup share, and what they bring back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::checksum::Checksum;
use crate::codec::{Cipher, Compression};
use crate::layout::NewBackup;
use crate::layout::new_backup::{CopyTime, Group};
use crate::layout::walg::files_metadata::FileDescription;
use crate::pg::Lsn;
use crate::pg::data_dir::{Member, Tablespace, Walk};
use crate::pipeline::{RateLimit, UploadSettings};
use crate::progress::Progress;
use crate::storage::Key;

use super::VerifyPages;
use super::delta::{Delta, Take};

/// What the workers of one backup share.
pub(super) struct Job {
    pub runtime: Handle,
    pub walk: Mutex<Walk>,
    /// The backup, which says how it is packed.
    pub backup: Arc<dyn NewBackup>,
    /// Tars begun in each group.
    pub tars: Mutex<BTreeMap<Group, u32>>,
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

    /// The group of tars that a member goes to.
    pub fn group(&self, member: &Member) -> Group {
        self.backup.group(member.tablespace)
    }

    /// The number of a new tar of this group.
    pub fn number_tar(&self, group: Group) -> u32 {
        // Nothing panics while it is locked.
        let mut tars = self.tars.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = tars.entry(group).or_default();
        let number = *begun;
        *begun = number.saturating_add(1);
        number
    }

    /// Whether a tar of this group was begun.
    pub fn has_tar(&self, group: Group) -> bool {
        self.tars.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&group)
    }
}

/// A tar that is stored.
#[derive(Debug)]
pub(super) struct StoredTar {
    pub key: Key,
    pub group: Group,
    pub checksum: Checksum,
    pub time: CopyTime,
}

/// What was packed.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Bytes of files, as stored in tars before compression.
    pub data_bytes: u64,
    /// The tars, as they are stored.
    pub tars: BTreeMap<Key, Checksum>,
    /// How long each group of them took.
    pub copy_times: BTreeMap<Group, CopyTime>,
    /// Every member, by its name in the tar, if files are listed.
    pub files: BTreeMap<String, FileDescription>,
    /// The members of each tar, if files are listed.
    pub tar_file_sets: BTreeMap<String, Vec<String>>,
    /// What the walk found outside of the data directory.
    pub tablespaces: Vec<Tablespace>,
}

impl Packed {
    /// Adds a tar that is stored.
    pub fn add(&mut self, tar: StoredTar) {
        self.add_time(tar.group, tar.time);
        self.tars.insert(tar.key, tar.checksum);
    }

    fn add_time(&mut self, group: Group, time: CopyTime) {
        self.copy_times.entry(group).and_modify(|known| *known = known.and(time)).or_insert(time);
    }

    pub fn merge(&mut self, other: Packed) {
        self.data_bytes += other.data_bytes;
        self.tars.extend(other.tars);
        for (group, time) in other.copy_times {
            self.add_time(group, time);
        }
        self.files.extend(other.files);
        self.tar_file_sets.extend(other.tar_file_sets);
        self.tablespaces.extend(other.tablespaces);
    }
}
