//! What a policy selects: the backup before which everything goes, or the backups that go.

use std::collections::BTreeSet;

use crate::layout::walg::BackupName;

use super::folders::Folders;
use super::policy::{Counting, Family, GarbageScope, Point, Policy, Refusal};
use super::{BackupFacts, Order, Repository};

/// What a policy selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Everything before this backup.
    Before(BackupName),
    /// These backups and nothing else.
    Backups(BTreeSet<BackupName>),
    /// No backup, but what belongs to none.
    Garbage(GarbageScope),
    /// All of it.
    Everything,
}

/// What `policy` selects; `None` when there is nothing it could apply to.
pub(super) fn choose(
    policy: &Policy,
    repository: &Repository<'_>,
    folders: &Folders,
) -> Result<Option<Choice>, Refusal> {
    let sequence = Sequence::new(repository);
    match policy {
        Policy::Retain { count, counting, after } => {
            sequence.check_time(after.as_ref())?;
            let Some(counted) = sequence.retain(count.get(), *counting) else { return Ok(None) };
            let after = match after {
                Some(point) => sequence.after(point, *counting)?,
                None => None,
            };
            sequence.before(after.map_or(counted, |after| after.min(counted)))
        }
        Policy::Before { point, find_full } => {
            sequence.check_time(Some(point))?;
            let Some(first) = sequence.find(point)? else { return Ok(None) };
            if *find_full {
                // Without a full backup at or before it there is nothing that could be kept whole.
                let full = sequence
                    .full_at_or_before(first)
                    .ok_or(Refusal::Incremental { name: sequence.name(first) })?;
                return sequence.before(full);
            }
            sequence.before(first)
        }
        Policy::Target { backup, family } => {
            // A folder without a sentinel is what an interrupted deletion of this very backup left behind.
            if repository.backups.iter().all(|facts| facts.name != *backup) && !folders.is_dead(*backup) {
                return Err(Refusal::NotFound { name: backup.to_string() });
            }
            let members = members(repository.backups, *backup, *family);
            refuse_permanent(repository.backups.iter().filter(|facts| members.contains(&facts.name)))?;
            refuse_running(members.iter().flat_map(|name| folders.running_on(name.segment())))?;
            Ok(Some(Choice::Backups(members)))
        }
        Policy::Everything { force } => {
            if !force {
                refuse_permanent(repository.backups.iter())?;
                refuse_running(folders.running())?;
            }
            Ok(Some(Choice::Everything))
        }
        Policy::Garbage { scope, without_backups } => {
            let any = repository.backups.iter().any(|facts| !facts.is_permanent);
            Ok((any || *without_backups).then_some(Choice::Garbage(*scope)))
        }
    }
}

/// The backups, oldest first by the repository's order.
struct Sequence<'a> {
    backups: Vec<&'a BackupFacts>,
    repository: &'a Repository<'a>,
}

impl<'a> Sequence<'a> {
    fn new(repository: &'a Repository<'a>) -> Sequence<'a> {
        let mut backups: Vec<&BackupFacts> = repository.backups.iter().collect();
        match repository.order {
            Order::Segment => backups.sort_by_key(|facts| facts.name),
            Order::StartTime => backups.sort_by_key(|facts| (facts.start_time, facts.name)),
        }
        Sequence { backups, repository }
    }

    fn name(&self, index: usize) -> BackupName {
        #[expect(clippy::indexing_slicing, reason = "indexes come from searches in this very list")]
        self.backups[index].name
    }

    fn check_time(&self, point: Option<&Point>) -> Result<(), Refusal> {
        match point {
            Some(Point::Time(time)) if *time > self.repository.now => Err(Refusal::Future { time: *time }),
            _ => Ok(()),
        }
    }

    /// The backup that `count` newest ones reach back to.
    fn retain(&self, count: usize, counting: Counting) -> Option<usize> {
        let mut newest = self.backups.iter().enumerate().rev();
        let index = match counting {
            Counting::Any => newest.nth(count - 1),
            Counting::Full => newest.filter(|(_, facts)| facts.is_full()).nth(count - 1),
            Counting::FindFull => newest.skip(count - 1).find(|(_, facts)| facts.is_full()),
        };
        index.map(|(index, _)| index)
    }

    /// The first backup from `point` on; with `FULL` and `FIND_FULL` the first full one.
    fn after(&self, point: &Point, counting: Counting) -> Result<Option<usize>, Refusal> {
        let counts = |facts: &BackupFacts| counting == Counting::Any || facts.is_full();
        let numbered = || self.backups.iter().enumerate();
        let found = match point {
            Point::Time(time) => {
                numbered().find(|(_, facts)| self.time(facts) >= Some(*time) && counts(facts))
            }
            Point::Name(_) => {
                let first = self.find(point)?;
                numbered().find(|(index, facts)| Some(*index) >= first && counts(facts))
            }
        };
        Ok(found.map(|(index, _)| index))
    }

    fn time(&self, facts: &BackupFacts) -> Option<jiff::Timestamp> {
        match self.repository.order {
            Order::Segment => Some(facts.modified),
            Order::StartTime => facts.start_time,
        }
    }

    /// The backup that `point` means; `None` when all backups are older than a time.
    fn find(&self, point: &Point) -> Result<Option<usize>, Refusal> {
        match point {
            Point::Time(time) => Ok(self.backups.iter().position(|facts| self.time(facts) >= Some(*time))),
            Point::Name(name) => {
                let named = |facts: &&BackupFacts| facts.name.to_string() == *name;
                if let Some(index) = self.backups.iter().position(named) {
                    return Ok(Some(index));
                }
                let mut fitting = self
                    .backups
                    .iter()
                    .enumerate()
                    .filter(|(_, facts)| facts.name.to_string().starts_with(name.as_str()));
                match (fitting.next(), fitting.next()) {
                    (Some((index, _)), None) => Ok(Some(index)),
                    (None, _) => Err(Refusal::NotFound { name: name.clone() }),
                    (Some((_, one)), Some((_, other))) => {
                        let mut names = vec![one.name, other.name];
                        names.extend(fitting.map(|(_, facts)| facts.name));
                        Err(Refusal::Ambiguous { prefix: name.clone(), names })
                    }
                }
            }
        }
    }

    fn full_at_or_before(&self, index: usize) -> Option<usize> {
        let older = self.backups.iter().take(index + 1);
        older.enumerate().rev().find(|(_, facts)| facts.is_full()).map(|(index, _)| index)
    }

    /// Everything before the backup at `index`, which must be a full one.
    fn before(&self, index: usize) -> Result<Option<Choice>, Refusal> {
        let Some(facts) = self.backups.get(index) else { return Ok(None) };
        if facts.is_full() {
            Ok(Some(Choice::Before(facts.name)))
        } else {
            Err(Refusal::Incremental { name: facts.name })
        }
    }
}

fn members(backups: &[BackupFacts], target: BackupName, family: Family) -> BTreeSet<BackupName> {
    let mut members = BTreeSet::from([target]);
    if family == Family::Whole {
        let root =
            backups.iter().find(|facts| facts.name == target).and_then(|facts| facts.full).unwrap_or(target);
        let related = |facts: &&BackupFacts| facts.name == root || facts.full == Some(root);
        members.extend(backups.iter().filter(related).map(|facts| facts.name));
    }
    loop {
        let before = members.len();
        for facts in backups {
            if facts.parent.is_some_and(|parent| members.contains(&parent)) {
                members.insert(facts.name);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

fn refuse_permanent<'a>(backups: impl Iterator<Item = &'a BackupFacts>) -> Result<(), Refusal> {
    let names: Vec<BackupName> = backups.filter(|facts| facts.is_permanent).map(|facts| facts.name).collect();
    if names.is_empty() { Ok(()) } else { Err(Refusal::Permanent { names }) }
}

fn refuse_running(names: impl Iterator<Item = BackupName>) -> Result<(), Refusal> {
    let names: BTreeSet<BackupName> = names.collect();
    if names.is_empty() { Ok(()) } else { Err(Refusal::Running { names: names.into_iter().collect() }) }
}
