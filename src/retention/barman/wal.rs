//! Which WAL goes with a backup.

use std::collections::BTreeMap;

use crate::layout::barman::names::{self, HashDir};
use crate::layout::barman::{BackupId, Keep};
use crate::pg::{SegmentName, TimelineId, WalFileName};
use crate::storage::Key;

use super::{BackupFacts, Need, Request};

/// An object below `wals/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedObject {
    /// The object.
    pub key: Key,
    /// What it is; `None` when its name is not that of an archived file.
    file: Option<WalFileName>,
    /// The folder of `wals/` in which it lies.
    pub(super) folder: Option<HashDir>,
}

impl ArchivedObject {
    /// Reads the name of an object.
    pub fn new(key: Key) -> ArchivedObject {
        let file = names::parse_wal_key(&key).map(|(file, _)| file);
        let folder = HashDir::of_object(&key);
        ArchivedObject { key, file, folder }
    }

    /// The segment that an archived file belongs to. History files belong to none, and never go.
    fn segment(&self) -> Option<SegmentName> {
        match self.file? {
            WalFileName::Segment(segment)
            | WalFileName::Partial(segment)
            | WalFileName::BackupHistory(segment, _) => Some(segment),
            WalFileName::History(_) => None,
        }
    }
}

/// What WAL goes with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WalRemoval {
    /// Folders that are emptied whole, whatever they hold.
    pub folders: Vec<WalFolder>,
    /// Files elsewhere, sorted.
    pub files: Vec<Key>,
    /// Folders that are emptied with this backup as well, and were with an earlier one: there is nothing left in them.
    pub emptied_before: Vec<HashDir>,
}

/// A folder that is emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFolder {
    /// The folder.
    pub folder: HashDir,
    /// What it holds.
    pub keys: Vec<Key>,
}

impl WalRemoval {
    /// Every key that goes.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.folders.iter().flat_map(|folder| &folder.keys).chain(&self.files)
    }
}

/// What WAL goes with the backup `id`, which is still among `backups`. In `emptied` is what the folders held that went with
/// earlier backups.
pub(super) fn removal(
    id: BackupId,
    backups: &[BackupFacts],
    archive: &[&ArchivedObject],
    emptied: &BTreeMap<HashDir, Vec<&ArchivedObject>>,
    request: &Request,
) -> WalRemoval {
    let Some(rules) = Rules::new(id, backups, request) else { return WalRemoval::default() };
    let again = emptied.iter().filter(|(folder, objects)| rules.empties(**folder, objects));
    WalRemoval { emptied_before: again.map(|(folder, _)| *folder).collect(), ..rules.apply(archive) }
}

/// Which WAL goes.
struct Rules {
    /// Whatever sorts before this segment may go.
    cutoff: SegmentName,
    /// On these timelines nothing goes: backups lie there.
    protected_timelines: Vec<TimelineId>,
    /// What the other backups need.
    needs: Vec<Need>,
}

impl Rules {
    /// `None` when no WAL goes: an older backup recovers through all of it.
    fn new(id: BackupId, backups: &[BackupFacts], request: &Request) -> Option<Rules> {
        let deleted = backups.iter().find(|facts| facts.id == id)?;
        let others = || backups.iter().filter(|facts| facts.id != id);
        let is_alone = |facts: &BackupFacts| match request {
            // A person who deletes one backup has not said that the WAL before a standalone one may go.
            Request::Backup(_) => false,
            Request::Policy(_) => facts.keep == Some(Keep::Standalone),
        };
        if others().any(|facts| facts.id < id && facts.is_copied() && !is_alone(facts)) {
            return None;
        }
        let until = others().find(|facts| facts.id > id && facts.is_copied()).unwrap_or(deleted);
        // That of the backup that goes as well, as in barman: its WAL goes with the next one.
        let timelines = backups.iter().filter_map(|facts| facts.timeline);
        let protected = timelines.filter(|timeline| Some(*timeline) != until.timeline);
        Some(Rules {
            cutoff: until.begin_wal?,
            protected_timelines: protected.collect(),
            needs: others().map(BackupFacts::needs).collect(),
        })
    }

    fn apply(&self, archive: &[&ArchivedObject]) -> WalRemoval {
        let mut folders: BTreeMap<Option<HashDir>, Vec<&ArchivedObject>> = BTreeMap::new();
        for object in archive {
            folders.entry(object.folder).or_default().push(object);
        }
        let mut removal = WalRemoval::default();
        for (folder, objects) in folders {
            match folder.filter(|folder| self.empties(*folder, &objects)) {
                Some(folder) => {
                    let keys = objects.into_iter().map(|object| object.key.clone()).collect();
                    removal.folders.push(WalFolder { folder, keys });
                }
                None => {
                    let gone = objects
                        .into_iter()
                        .filter(|object| object.segment().is_some_and(|s| self.removes(s)));
                    removal.files.extend(gone.map(|object| object.key.clone()));
                }
            }
        }
        removal.files.sort();
        removal
    }

    /// Whether everything in a folder goes, also what is no WAL.
    fn empties(&self, folder: HashDir, objects: &[&ArchivedObject]) -> bool {
        let before = folder.timeline == self.cutoff.timeline() && folder.log < self.cutoff.log();
        let all_go = || {
            objects.iter().all(|object| match object.file {
                None => true,
                Some(WalFileName::History(_)) => false,
                Some(_) => object.segment().is_some_and(|segment| self.removes(segment)),
            })
        };
        before
            && !self.is_protected(folder.timeline)
            && !self.needs.iter().any(|need| need.has_range_in(folder))
            && all_go()
    }

    fn removes(&self, segment: SegmentName) -> bool {
        segment < self.cutoff
            && !self.is_protected(segment.timeline())
            && !self.needs.iter().any(|need| need.contains(segment))
    }

    fn is_protected(&self, timeline: TimelineId) -> bool {
        self.protected_timelines.contains(&timeline)
    }
}
