//! From what a policy selects to the objects that go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::layout::walg::{BackupName, names};
use crate::pg::{Lsn, SegmentName, TimelineId, WalSegmentSize};
use crate::storage::{Key, ObjectMeta};

use super::choice::Choice;
use super::folders::Folders;
use super::policy::GarbageScope;
use super::{BackupFacts, Order, Repository};

/// What is removed and what is kept.
///
/// The lists of keys are in the order of deletion, so that an interruption at any point leaves no backup that is
/// listed but cannot be restored: sentinels first, deltas before what they build on; then data; then each
/// `metadata.json`, which until then tells the next `delete` that the folder is no backup being taken; then WAL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletePlan {
    /// The backup before which everything goes, where the policy has one.
    pub target: Option<BackupName>,
    /// The backups that go, oldest first.
    pub backups: Vec<BackupName>,
    /// The backups that stay, oldest first.
    pub kept: Vec<KeptBackup>,
    /// Backups that may be being taken right now: their data stays, and all WAL from their start on.
    pub running: Vec<BackupName>,
    /// The first segment that is still needed for more than a permanent backup; `None` when no backup says so.
    pub first_segment: Option<SegmentName>,
    /// Sentinels, in groups: one group must be gone before the next is touched.
    pub sentinels: Vec<Vec<Key>>,
    /// Tars and lists of files, and what else a backup's folder holds.
    pub data: Vec<Key>,
    /// The `metadata.json` of each folder.
    pub metadata: Vec<Key>,
    /// WAL and whatever is named after a segment; for [`super::Policy::Everything`] also all other objects.
    pub wal: Vec<Key>,
}

/// A backup that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBackup {
    /// The backup.
    pub name: BackupName,
    /// Why it stays.
    pub why: Kept,
}

/// Why a backup stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The policy keeps it.
    Policy,
    /// It is permanent.
    Permanent,
    /// A backup that is kept builds on it.
    NeededBy(BackupName),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kept::Policy => f.write_str("kept by the policy"),
            Kept::Permanent => f.write_str("permanent"),
            Kept::NeededBy(name) => write!(f, "{name} builds on it"),
        }
    }
}

impl DeletePlan {
    /// Every object that goes, in the order of deletion.
    pub fn objects(&self) -> impl Iterator<Item = &Key> {
        self.sentinels.iter().flatten().chain(&self.data).chain(&self.metadata).chain(&self.wal)
    }
}

/// The objects that `choice` removes.
pub(super) fn plan(choice: Choice, repository: &Repository<'_>, folders: &Folders) -> DeletePlan {
    match choice {
        Choice::Everything => everything(repository),
        Choice::Backups(gone) => {
            let mut plan = DeletePlan::default();
            plan.set_backups(repository, |facts| (!gone.contains(&facts.name)).then_some(Kept::Policy));
            let gone = folders.with_remains(gone);
            plan.remove_folders(folders, |name| gone.contains(&name));
            // By the one of the named backup the next run knows that there is something to finish; what builds on it has a
            // later name.
            plan.metadata.reverse();
            plan
        }
        Choice::Before(target) => before(target, repository, folders),
        Choice::Garbage(scope) => garbage(scope, repository, folders),
    }
}

fn everything(repository: &Repository<'_>) -> DeletePlan {
    let mut plan = DeletePlan::default();
    plan.set_backups(repository, |_| None);
    for object in repository.objects {
        plan.remove(object);
    }
    plan
}

fn before(target: BackupName, repository: &Repository<'_>, folders: &Folders) -> DeletePlan {
    let place = Place::of(target, repository);
    let by_policy: Vec<&BackupFacts> = repository
        .backups
        .iter()
        .filter(|facts| Place::of_backup(facts, repository.order) >= place)
        .collect();
    let needed = needed(repository.backups, by_policy.iter().map(|facts| facts.name), folders);

    let mut plan = DeletePlan { target: Some(target), ..DeletePlan::default() };
    plan.set_backups(repository, |facts| {
        if by_policy.iter().any(|kept| kept.name == facts.name) {
            Some(Kept::Policy)
        } else if facts.is_permanent {
            Some(Kept::Permanent)
        } else {
            needed.get(&facts.name).map(|child| Kept::NeededBy(*child))
        }
    });
    let gone: BTreeSet<BackupName> = plan.backups.iter().copied().collect();
    plan.remove_folders(folders, |name| gone.contains(&name) || (name < target && folders.is_dead(name)));
    plan.remove_wal(repository, by_policy.into_iter(), folders);
    plan
}

fn garbage(scope: GarbageScope, repository: &Repository<'_>, folders: &Folders) -> DeletePlan {
    let mut plan = DeletePlan::default();
    plan.set_backups(repository, |_| Some(Kept::Policy));
    let oldest = repository.backups.iter().filter(|facts| !facts.is_permanent).map(|facts| facts.name).min();
    if scope != GarbageScope::Archives {
        plan.remove_folders(folders, |name| {
            let below = oldest.is_some_and(|oldest| name < oldest);
            folders.is_abandoned(name) || (below && folders.is_dead(name))
        });
    }
    if scope != GarbageScope::Backups {
        plan.remove_wal(repository, repository.backups.iter().filter(|facts| !facts.is_permanent), folders);
    }
    plan
}

impl DeletePlan {
    /// Splits the backups into those that stay, as `why` says, and those that go.
    fn set_backups(&mut self, repository: &Repository<'_>, why: impl Fn(&BackupFacts) -> Option<Kept>) {
        for facts in repository.backups {
            match why(facts) {
                Some(why) => self.kept.push(KeptBackup { name: facts.name, why }),
                None => self.backups.push(facts.name),
            }
        }
        self.kept.sort_by_key(|kept| kept.name);
        self.backups.sort();
        let mut by_depth: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
        for name in &self.backups {
            let sentinel = names::sentinel_key(*name);
            by_depth.entry(depth(repository.backups, *name)).or_default().push(sentinel);
        }
        self.sentinels = by_depth.into_values().rev().collect();
    }

    fn remove_folders(&mut self, folders: &Folders, goes: impl Fn(BackupName) -> bool) {
        for (name, folder) in folders.iter() {
            if goes(name) {
                self.data.extend(folder.data.iter().cloned());
                self.metadata.extend(folder.metadata.iter().cloned());
            }
        }
    }

    /// Removes WAL that lies before every one of `live`, but for what another backup needs.
    fn remove_wal<'a>(
        &mut self,
        repository: &Repository<'_>,
        live: impl Iterator<Item = &'a BackupFacts>,
        folders: &Folders,
    ) {
        let position = |segment: SegmentName| match repository.order {
            Order::Segment => segment,
            Order::StartTime => segment.on_timeline(TimelineId::FIRST),
        };
        self.first_segment = live.map(|facts| facts.name.segment()).min_by_key(|segment| position(*segment));
        let first = self.first_segment.map(position);

        let kept: BTreeSet<BackupName> = self.kept.iter().map(|kept| kept.name).collect();
        let kept = repository.backups.iter().filter(|facts| kept.contains(&facts.name));
        let mut spans: Vec<Span> =
            kept.map(|facts| Span::of_backup(facts, repository.segment_size)).collect();
        self.running = folders.running().collect();
        spans.extend(self.running.iter().map(|name| Span { first: name.segment(), last: None }));

        for object in repository.objects {
            let Some(segment) = names::segment_of_wal_object(&object.key) else { continue };
            let before = first.is_none_or(|first| position(segment) < first);
            if before && !spans.iter().any(|span| span.contains(segment)) {
                self.wal.push(object.key.clone());
            }
        }
    }

    fn remove(&mut self, object: &ObjectMeta) {
        if let Some(name) = names::backup_of_object(&object.key) {
            if object.key == names::metadata_key(name) {
                self.metadata.push(object.key.clone());
                return;
            }
            // Those of finished backups are among the sentinels already.
            if object.key == names::sentinel_key(name) {
                return;
            }
            self.data.push(object.key.clone());
        } else {
            self.wal.push(object.key.clone());
        }
    }
}

/// Where a backup stands in the repository's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Segment(SegmentName),
    Time(Option<jiff::Timestamp>),
}

impl Place {
    fn of(name: BackupName, repository: &Repository<'_>) -> Place {
        let facts = repository.backups.iter().find(|facts| facts.name == name);
        facts.map_or(Place::Segment(name.segment()), |facts| Place::of_backup(facts, repository.order))
    }

    fn of_backup(facts: &BackupFacts, order: Order) -> Place {
        match order {
            Order::Segment => Place::Segment(facts.name.segment()),
            Order::StartTime => Place::Time(facts.start_time),
        }
    }
}

/// The backups on which `kept` or permanent ones build, or deltas that may be being taken, each with one that builds
/// on it.
fn needed(
    backups: &[BackupFacts],
    kept: impl Iterator<Item = BackupName>,
    folders: &Folders,
) -> BTreeMap<BackupName, BackupName> {
    let parent = |name: BackupName| backups.iter().find(|facts| facts.name == name)?.parent;
    let mut needed: BTreeMap<BackupName, BackupName> = backups
        .iter()
        .filter_map(|facts| Some((facts.name, folders.running_on(facts.name.segment()).next()?)))
        .collect();
    let parents_of_running: Vec<BackupName> = needed.keys().copied().collect();
    let permanent = backups.iter().filter(|facts| facts.is_permanent).map(|facts| facts.name);
    for mut child in kept.chain(permanent).chain(parents_of_running) {
        while let Some(name) = parent(child)
            && needed.insert(name, child).is_none()
        {
            child = name;
        }
    }
    needed
}

/// How many backups a backup builds on.
fn depth(backups: &[BackupFacts], name: BackupName) -> usize {
    let mut depth = 0;
    let mut current = name;
    while let Some(parent) = backups.iter().find(|facts| facts.name == current).and_then(|facts| facts.parent)
        && depth < backups.len()
    {
        depth += 1;
        current = parent;
    }
    depth
}

/// WAL on one timeline that must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: SegmentName,
    /// `None`: to the end of the timeline.
    last: Option<SegmentName>,
}

impl Span {
    /// From the start of a backup to its finish: recovery to the state of the backup itself. The segments are those
    /// of the last bytes before both addresses, as in wal-g's `GetPermanentBackupsAndWals`.
    fn of_backup(facts: &BackupFacts, size: WalSegmentSize) -> Span {
        let timeline = facts.name.segment().timeline();
        let segment = |lsn: Lsn| SegmentName::new(timeline, lsn.previous_segment(size), size);
        let named = facts.name.segment();
        Span {
            first: facts.start_lsn.and_then(segment).map_or(named, |first| first.min(named)),
            last: facts.finish_lsn.filter(|lsn| lsn.is_valid()).and_then(segment).map(|last| last.max(named)),
        }
    }

    fn contains(&self, segment: SegmentName) -> bool {
        segment.timeline() == self.first.timeline()
            && segment >= self.first
            && self.last.is_none_or(|last| segment <= last)
    }
}
