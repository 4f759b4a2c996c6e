//! `wal-verify`: whether the archive holds all WAL that recovery would need, and whether the cluster is on its
//! highest timeline.
//!
//! The integrity check walks from the cluster's current segment back to the start of the oldest backup, over the
//! timeline switches that the current timeline's history tells. The newest segments may be missing because they are
//! still to be archived; every other gap is lost WAL.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog;
use crate::layout::walg::BackupName;
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalSegmentSize};

use super::backup_choice::{BackupChoice, choose};
use super::backup_list::{ListedBackup, with_documents};
use super::error::RequestError;
use super::wal_archive::{self, WalArchive};
use super::{Context, Error, segment_size};

/// What to check.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which checks.
    pub checks: BTreeSet<Check>,
    /// The cluster's timeline.
    pub timeline: TimelineId,
    /// Where the cluster writes.
    pub lsn: Lsn,
    /// The size of the cluster's segments, unless the backups contradict it.
    pub segment_size: WalSegmentSize,
    /// From where on WAL must be whole; `None` for the oldest backup.
    pub backup: Option<BackupChoice>,
    /// How many of the newest segments may be missing without a warning of loss, because archiving is behind.
    pub delayed_segments: u64,
    /// How many segments after those may still be on their way.
    pub uploading_segments: u64,
}

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// No segment is missing.
    Integrity,
    /// The archive's highest timeline is the cluster's.
    Timeline,
}

/// The result of a check, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckStatus {
    /// All is well.
    Ok,
    /// What is missing may still arrive, or nothing tells what is needed.
    Warning,
    /// WAL is lost, or the cluster is not on the highest timeline.
    Failure,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The integrity check, if asked for.
    pub integrity: Option<Integrity>,
    /// The timeline check, if asked for.
    pub timeline: Option<TimelineCheck>,
}

impl Verification {
    /// The worst status.
    pub fn status(&self) -> CheckStatus {
        let integrity = self.integrity.as_ref().map(|check| check.status);
        let timeline = self.timeline.as_ref().map(TimelineCheck::status);
        integrity.max(timeline).unwrap_or(CheckStatus::Ok)
    }
}

/// The result of the integrity check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    /// Whether WAL is missing.
    pub status: CheckStatus,
    /// What was looked at, oldest first.
    pub sequences: Vec<SegmentSequence>,
    /// Whether there is a base backup that all this WAL is of use to.
    pub has_backup: bool,
}

/// Consecutive segments of one timeline in the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSequence {
    /// The first.
    pub first: SegmentName,
    /// The last.
    pub last: SegmentName,
    /// How many.
    pub count: u64,
    /// Their state.
    pub state: SegmentState,
}

/// The state of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Archived.
    Found,
    /// Missing, so new that archiving may be behind.
    Delayed,
    /// Missing, so new that it may be on its way.
    Uploading,
    /// Missing.
    Lost,
}

/// The result of the timeline check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineCheck {
    /// The cluster's timeline.
    pub current: TimelineId,
    /// The highest in the archive.
    pub highest: Option<TimelineId>,
}

impl TimelineCheck {
    /// Whether they are the same; with an empty archive that is not known.
    pub fn status(&self) -> CheckStatus {
        match self.highest {
            None => CheckStatus::Warning,
            Some(highest) if highest == self.current => CheckStatus::Ok,
            Some(_) => CheckStatus::Failure,
        }
    }
}

/// Runs the checks.
pub async fn run(ctx: &Context, mut options: Options) -> Result<Verification, Error> {
    let storage = ctx.storage.as_ref();
    let backups = match options.checks.contains(&Check::Integrity) {
        true => Some(with_documents(storage, catalog::walg::list(storage).await?).await?),
        false => None,
    };
    if let Some(backups) = &backups {
        options.segment_size = segment_size::of_backups(options.segment_size, backups);
    }
    let archive = WalArchive::list(ctx, options.segment_size).await?;
    let integrity = match &backups {
        Some(backups) => Some(check_integrity(ctx, &options, &archive, backups).await?),
        None => None,
    };
    let timeline = options
        .checks
        .contains(&Check::Timeline)
        .then_some(TimelineCheck { current: options.timeline, highest: archive.highest_timeline });
    Ok(Verification { integrity, timeline })
}

async fn check_integrity(
    ctx: &Context,
    options: &Options,
    archive: &WalArchive,
    backups: &[ListedBackup],
) -> Result<Integrity, Error> {
    let switches = Switches::read(ctx, options).await?;
    let stop = match &options.backup {
        Some(choice) => {
            let name = choose(ctx, choice).await?;
            Some(named_backup(ctx, backups, name, &switches, options)?)
        }
        None => oldest_backup(backups, &switches, options),
    };
    if stop.is_none() {
        tracing::warn!("no backup tells from where on WAL is needed, looking back to the first segment");
    }
    let scan = Scan { options, archive, switches: &switches };
    let sequences = scan.run(stop.unwrap_or(SegmentNumber::new(1)));
    let has_backup = stop.is_some();
    Ok(Integrity { status: status(&sequences, has_backup), sequences, has_backup })
}

/// Where the current timeline and its ancestors were split off.
struct Switches {
    /// The ancestor that a segment's predecessor belongs to, by the segment that holds the switch.
    by_segment: BTreeMap<SegmentNumber, TimelineId>,
    /// The segment in which an ancestor was left.
    by_timeline: BTreeMap<TimelineId, SegmentNumber>,
}

impl Switches {
    async fn read(ctx: &Context, options: &Options) -> Result<Switches, Error> {
        let history = wal_archive::history(ctx, options.timeline).await?;
        let entries = history.as_ref().map_or(&[][..], |history| history.entries());
        let switch = |lsn: Lsn| lsn.segment(options.segment_size);
        Ok(Switches {
            by_segment: entries.iter().map(|entry| (switch(entry.switch_lsn), entry.timeline)).collect(),
            by_timeline: entries.iter().map(|entry| (entry.timeline, switch(entry.switch_lsn))).collect(),
        })
    }

    /// Whether recovery from a backup that starts in segment `number` of `timeline` can reach `current`.
    fn allow(&self, timeline: TimelineId, number: SegmentNumber, current: TimelineId) -> bool {
        if self.by_timeline.is_empty() {
            return true;
        }
        let before = timeline.as_u32().checked_sub(1).and_then(TimelineId::new);
        let start = before.and_then(|before| self.by_timeline.get(&before));
        if start.is_some_and(|start| number < *start) {
            return false;
        }
        timeline == current || self.by_timeline.get(&timeline).is_some_and(|end| number < *end)
    }
}

fn named_backup(
    ctx: &Context,
    backups: &[ListedBackup],
    name: BackupName,
    switches: &Switches,
    options: &Options,
) -> Result<SegmentNumber, Error> {
    if !backups.iter().any(|backup| backup.entry.name == name) {
        let location = ctx.storage.location().clone();
        return Err(catalog::walg::Error::NoSuchBackup { name, location }.into());
    }
    start_segment(name, switches, options)
        .ok_or_else(|| RequestError::NotInHistory { name, timeline: options.timeline }.into())
}

/// The start of the oldest backup from which recovery can reach the current timeline. Permanent backups do not
/// count: the WAL after them is not kept.
fn oldest_backup(backups: &[ListedBackup], switches: &Switches, options: &Options) -> Option<SegmentNumber> {
    let eligible = backups.iter().filter(|backup| {
        let permanent = backup.metadata.as_ref().is_some_and(|metadata| metadata.is_permanent);
        if permanent {
            tracing::info!(
                "backup {} is permanent, WAL is not expected to be whole from there",
                backup.entry.name
            );
        }
        !permanent
    });
    let starts = eligible.filter_map(|backup| {
        let start = start_segment(backup.entry.name, switches, options);
        if start.is_none() {
            tracing::warn!(
                "backup {} is not in the history of timeline {}",
                backup.entry.name,
                options.timeline
            );
        }
        Some((start?, backup.entry.name))
    });
    let (start, name) = starts.min()?;
    tracing::info!("Detected earliest available backup: {name}");
    Some(start)
}

fn start_segment(name: BackupName, switches: &Switches, options: &Options) -> Option<SegmentNumber> {
    let number = name.segment().number(options.segment_size)?;
    switches.allow(name.segment().timeline(), number, options.timeline).then_some(number)
}

/// A walk over the segments, newest first. What is missing in a row is one step: the address space is far wider than any
/// archive.
struct Scan<'a> {
    options: &'a Options,
    archive: &'a WalArchive,
    switches: &'a Switches,
}

impl Scan<'_> {
    /// From the segment before the current one down to `stop`; what was found, oldest first.
    fn run(&self, stop: SegmentNumber) -> Vec<SegmentSequence> {
        let Options { timeline, lsn, segment_size, .. } = *self.options;
        let (mut timeline, mut number) = (timeline, lsn.previous_segment(segment_size));
        let mut delayed = self.options.delayed_segments;
        let mut uploading = self.options.uploading_segments;
        let mut sequences: Vec<SegmentSequence> = Vec::new();
        while number > stop
            && let Some(before) = number.checked_prev()
        {
            timeline = self.timeline_before(timeline, number, before);
            let newest = before;
            let found = self.archive.contains(timeline, newest);
            let (missing, at_most) = match (delayed, uploading) {
                (0, 0) => (SegmentState::Lost, u64::MAX),
                (0, left) => (SegmentState::Uploading, left),
                (left, _) => (SegmentState::Delayed, left),
            };
            let (state, count) = match found {
                true => (SegmentState::Found, 1),
                false => (missing, self.missing_in_a_row(timeline, newest, stop).min(at_most)),
            };
            match missing {
                // The first archived segment ends the time in which archiving may be behind.
                SegmentState::Delayed => delayed = if found { 0 } else { delayed - count },
                SegmentState::Uploading => uploading -= count,
                _ => {}
            }
            number = SegmentNumber::new(newest.as_u64() - (count - 1));
            let named = |number| SegmentName::new(timeline, number, segment_size);
            let (Some(first), Some(name)) = (named(number), named(newest)) else { continue };
            match sequences.last_mut() {
                Some(last) if last.state == state && last.first.timeline() == timeline => {
                    last.first = first;
                    last.count += count;
                }
                _ => sequences.push(SegmentSequence { first, last: name, count, state }),
            }
        }
        sequences.reverse();
        sequences
    }

    /// How many segments are missing from `newest`, which is, down to `stop` or to a switch, before which another timeline
    /// may go on.
    fn missing_in_a_row(&self, timeline: TimelineId, newest: SegmentNumber, stop: SegmentNumber) -> u64 {
        let archived = self.archive.segments.get(&timeline);
        let archived = archived.and_then(|numbers| numbers.range(..newest).next_back());
        let switch = self.switches.by_segment.range(..=newest).next_back().map(|(number, _)| *number);
        let oldest = archived.map(|number| number.next()).max(switch).max(Some(stop)).unwrap_or(stop);
        newest.as_u64().saturating_sub(oldest.as_u64()).saturating_add(1)
    }

    /// The timeline of the segment before `number`. A switch that the archive contradicts is not of this history.
    fn timeline_before(
        &self,
        timeline: TimelineId,
        number: SegmentNumber,
        before: SegmentNumber,
    ) -> TimelineId {
        match self.switches.by_segment.get(&number) {
            Some(ancestor) if !self.archive.contains(timeline, before) => *ancestor,
            _ => timeline,
        }
    }
}

/// Without a backup nothing tells whether what is missing at the beginning was ever needed.
fn status(sequences: &[SegmentSequence], has_backup: bool) -> CheckStatus {
    let mut status = CheckStatus::Ok;
    let mut found = false;
    for sequence in sequences {
        let one = match sequence.state {
            SegmentState::Found => {
                found = true;
                CheckStatus::Ok
            }
            SegmentState::Lost if has_backup || found => CheckStatus::Failure,
            _ => CheckStatus::Warning,
        };
        status = status.max(one);
    }
    status
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the walk finds, one segment after the other.
    fn one_by_one(scan: &Scan<'_>, stop: u64) -> Vec<(TimelineId, u64, SegmentState)> {
        let Options { mut timeline, lsn, segment_size, .. } = *scan.options;
        let (mut delayed, mut uploading) = (scan.options.delayed_segments, scan.options.uploading_segments);
        let mut found = Vec::new();
        for number in (stop..lsn.previous_segment(segment_size).as_u64()).rev() {
            let number = SegmentNumber::new(number);
            timeline = scan.timeline_before(timeline, number.next(), number);
            let is_there = scan.archive.contains(timeline, number);
            let missing = if delayed > 0 {
                delayed = if is_there { 0 } else { delayed - 1 };
                SegmentState::Delayed
            } else if uploading > 0 {
                uploading -= 1;
                SegmentState::Uploading
            } else {
                SegmentState::Lost
            };
            found.push((timeline, number.as_u64(), if is_there { SegmentState::Found } else { missing }));
        }
        found.reverse();
        found
    }

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn options(current: u32, lsn: u64, delayed_segments: u64, uploading_segments: u64) -> Options {
        Options {
            checks: BTreeSet::new(),
            timeline: timeline(current),
            lsn: Lsn::new(lsn),
            segment_size: WalSegmentSize::DEFAULT,
            backup: None,
            delayed_segments,
            uploading_segments,
        }
    }

    fn archive(segments: &BTreeSet<(u32, u64)>) -> WalArchive {
        let mut archive = WalArchive::default();
        for (of, number) in segments {
            archive.segments.entry(timeline(*of)).or_default().insert(SegmentNumber::new(*number));
        }
        archive
    }

    fn switches(at: &BTreeMap<u64, u32>) -> Switches {
        Switches {
            by_segment: at.iter().map(|(number, of)| (SegmentNumber::new(*number), timeline(*of))).collect(),
            by_timeline: BTreeMap::new(),
        }
    }

    proptest! {
        #[test]
        fn what_is_missing_in_a_row_is_what_is_missing_one_by_one(
            segments in prop::collection::btree_set((1..4_u32, 0..30_u64), 0..40),
            at in prop::collection::btree_map(0..30_u64, 1..3_u32, 0..3),
            current in 1..32_u64,
            stop in 0..10_u64,
            delayed in 0..5_u64,
            uploading in 0..5_u64,
        ) {
            let options = options(3, current << 24, delayed, uploading);
            let (archive, switches) = (archive(&segments), switches(&at));
            let scan = Scan { options: &options, archive: &archive, switches: &switches };
            let each = scan.run(SegmentNumber::new(stop)).into_iter().flat_map(|sequence| {
                let number = |name: SegmentName| name.number(WalSegmentSize::DEFAULT).unwrap().as_u64();
                let (first, last) = (number(sequence.first), number(sequence.last));
                assert_eq!(sequence.count, last - first + 1);
                (first..=last).map(move |number| (sequence.first.timeline(), number, sequence.state))
            });
            prop_assert_eq!(each.collect::<Vec<_>>(), one_by_one(&scan, stop));
        }
    }

    #[test]
    fn the_whole_address_space_is_looked_at() {
        let (archive, switches) = (archive(&BTreeSet::from([(1, 5)])), switches(&BTreeMap::new()));
        let options = options(1, 0xFFFF_FFFF_FF00_0000, 0, 2);
        let scan = Scan { options: &options, archive: &archive, switches: &switches };
        let found: Vec<_> =
            scan.run(SegmentNumber::new(1)).iter().map(|found| (found.state, found.count)).collect();
        assert_eq!(
            found,
            [
                (SegmentState::Lost, 4),
                (SegmentState::Found, 1),
                (SegmentState::Lost, 0x00FF_FFFF_FFFC - 6),
                (SegmentState::Uploading, 2),
            ]
        );
    }
}
