//! What lies in the folders of backups, and what folders without a sentinel are: a backup that may be running, or
//! what a dead one or a deletion has left behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::walg::{BackupName, names};
use crate::pg::SegmentName;
use crate::storage::Key;

use super::{Repository, UNFINISHED_AGE};

/// What lies in the folder of each backup.
pub(super) struct Folders(BTreeMap<BackupName, Folder>);

/// The objects of one backup, but for its sentinel.
#[derive(Default)]
pub(super) struct Folder {
    /// Tars and lists of files.
    pub(super) data: Vec<Key>,
    /// `metadata.json`, if it is there.
    pub(super) metadata: Vec<Key>,
    finished: bool,
    /// Whether somebody says that the backup is being taken. Its `metadata.json` is then there since a moment: the sentinel
    /// comes next.
    claimed: bool,
    /// Whether nothing was written to it for [`UNFINISHED_AGE`].
    is_old: bool,
}

impl Folder {
    /// Whether it has what only a complete backup has, or one that is about to be.
    fn was_finished(&self) -> bool {
        !self.metadata.is_empty() && !self.claimed
    }
}

impl Folders {
    /// Sorts the objects of a repository into the folders they lie in.
    pub(super) fn new(repository: &Repository<'_>) -> Folders {
        let finished: BTreeSet<BackupName> = repository.backups.iter().map(|facts| facts.name).collect();
        let mut folders: BTreeMap<BackupName, Folder> = BTreeMap::new();
        for object in repository.objects {
            let Some(name) = names::backup_of_object(&object.key) else { continue };
            if object.key == names::sentinel_key(name) {
                continue;
            }
            let folder = folders.entry(name).or_insert_with(|| Folder {
                finished: finished.contains(&name),
                is_old: true,
                ..Folder::default()
            });
            folder.claimed |= object.key == names::claim_key(name);
            folder.is_old &= repository.now.duration_since(object.modified) > UNFINISHED_AGE;
            let list =
                if object.key == names::metadata_key(name) { &mut folder.metadata } else { &mut folder.data };
            list.push(object.key.clone());
        }
        Folders(folders)
    }

    /// Every folder.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BackupName, &Folder)> {
        self.0.iter().map(|(name, folder)| (*name, folder))
    }

    /// Whether a folder without a sentinel is known not to be a running backup: it was finished once, or nobody has
    /// written to it for long.
    pub(super) fn is_dead(&self, name: BackupName) -> bool {
        self.0.get(&name).is_some_and(|folder| !folder.finished && (folder.is_old || folder.was_finished()))
    }

    /// `gone` with the dead folders of deltas that built on one of them: what an interrupted deletion left behind.
    pub(super) fn with_remains(&self, mut gone: BTreeSet<BackupName>) -> BTreeSet<BackupName> {
        loop {
            let segments: BTreeSet<SegmentName> = gone.iter().map(|name| name.segment()).collect();
            let builds_on =
                |name: &BackupName| name.parent_segment().is_some_and(|parent| segments.contains(&parent));
            let before = gone.len();
            gone.extend(self.0.keys().filter(|name| self.is_dead(**name) && builds_on(name)));
            if gone.len() == before {
                return gone;
            }
        }
    }

    /// Whether a folder has no sentinel and nobody has written to it for long.
    pub(super) fn is_abandoned(&self, name: BackupName) -> bool {
        self.0.get(&name).is_some_and(|folder| !folder.finished && folder.is_old)
    }

    /// The backups that may be being taken right now.
    pub(super) fn running(&self) -> impl Iterator<Item = BackupName> {
        self.0
            .iter()
            .filter(|(_, folder)| !folder.finished && !folder.is_old && !folder.was_finished())
            .map(|(name, _)| *name)
    }

    /// The deltas that may be being taken right now and build on a backup whose name begins with `segment`. More is
    /// not known of them: their sentinel names the parent, and is written last.
    pub(super) fn running_on(&self, segment: SegmentName) -> impl Iterator<Item = BackupName> {
        self.running().filter(move |name| name.parent_segment() == Some(segment))
    }
}
