//! `wal-show`: the archived WAL by timeline, with its gaps and the backups that lie in it.
//!
//! A gap may be as wide as the address space, when a stray object has the name of a segment: it is kept as a range.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::catalog;
use crate::pg::{Lsn, SegmentName, SegmentNumber, TimelineId, WalSegmentSize};

use super::backup_list::{ListedBackup, with_documents};
use super::wal_archive::{self, WalArchive};
use super::{Context, Error, segment_size};

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to look for backups.
    pub backups: BackupLookup,
    /// The configured size of WAL segments.
    pub segment_size: WalSegmentSize,
}

/// Whether backups are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupLookup {
    /// They are listed with their timelines.
    Include,
    /// They are not looked at (`--without-backups`).
    Skip,
}

/// The archived WAL of one timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownTimeline {
    /// The timeline.
    pub timeline: TimelineId,
    /// What it was split from, and where; `None` without a history file.
    pub parent: Option<(TimelineId, Lsn)>,
    /// The first archived segment.
    pub first: SegmentName,
    /// The last archived segment.
    pub last: SegmentName,
    /// How many segments are archived.
    pub count: u64,
    /// How many there should be from the first to the last.
    pub range: u64,
    /// Those in between that are not archived, newest first.
    pub gaps: Vec<Gap>,
    /// The backups taken in this range, newest first; empty when they were not looked up.
    pub backups: Vec<ListedBackup>,
}

/// Consecutive segments of one timeline that are not archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    timeline: TimelineId,
    numbers: Range<u64>,
    size: WalSegmentSize,
}

impl Gap {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.numbers.end - self.numbers.start
    }

    /// Each of them, newest first.
    pub fn segments(&self) -> impl Iterator<Item = SegmentName> {
        let Gap { timeline, numbers, size } = self.clone();
        numbers.rev().filter_map(move |number| SegmentName::new(timeline, SegmentNumber::new(number), size))
    }
}

/// The gaps between these segments, newest first.
fn gaps(timeline: TimelineId, numbers: &BTreeSet<SegmentNumber>, size: WalSegmentSize) -> Vec<Gap> {
    let pairs = numbers.iter().zip(numbers.iter().skip(1)).rev();
    let between = pairs.map(|(before, after)| before.next().as_u64()..after.as_u64());
    between.filter(|numbers| !numbers.is_empty()).map(|numbers| Gap { timeline, numbers, size }).collect()
}

/// Looks at the archived WAL; timelines in ascending order.
pub async fn run(ctx: &Context, options: Options) -> Result<Vec<ShownTimeline>, Error> {
    let storage = ctx.storage.as_ref();
    let backups = match options.backups {
        BackupLookup::Include => with_documents(storage, catalog::walg::list(storage).await?).await?,
        BackupLookup::Skip => Vec::new(),
    };
    if backups.is_empty() && options.backups == BackupLookup::Include {
        tracing::info!("No backups found in storage.");
    }
    let size = segment_size::of_backups(options.segment_size, &backups);
    let archive = WalArchive::list(ctx, size).await?;
    let mut shown = Vec::new();
    for (timeline, numbers) in &archive.segments {
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { continue };
        let named = |number| SegmentName::new(*timeline, number, size);
        let (Some(first_name), Some(last_name)) = (named(*first), named(*last)) else { continue };
        let history = wal_archive::history(ctx, *timeline).await?;
        let parent = history.as_ref().and_then(|history| history.parent());
        shown.push(ShownTimeline {
            timeline: *timeline,
            parent: parent.map(|entry| (entry.timeline, entry.switch_lsn)),
            first: first_name,
            last: last_name,
            count: u64::try_from(numbers.len()).unwrap_or(u64::MAX),
            range: last.as_u64() - first.as_u64() + 1,
            gaps: gaps(*timeline, numbers, size),
            backups: backups
                .iter()
                .rev()
                .filter(|backup| lies_between(backup, first_name, last_name, size))
                .cloned()
                .collect(),
        });
    }
    Ok(shown)
}

fn lies_between(backup: &ListedBackup, first: SegmentName, last: SegmentName, size: WalSegmentSize) -> bool {
    let Some(metadata) = &backup.metadata else { return false };
    let timeline = backup.entry.name.segment().timeline();
    let segment = |lsn| SegmentName::containing(timeline, Lsn::new(lsn), size);
    timeline == first.timeline()
        && segment(metadata.start_lsn) >= first
        && segment(metadata.finish_lsn) <= last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::walg::WalG;
    use crate::ops::context;
    use crate::storage::Key;
    use crate::storage::memory::Memory;

    #[tokio::test]
    async fn a_gap_is_one_whatever_its_width() {
        let memory = Memory::new();
        for name in [
            "000000010000000000000001",
            "000000010000000000000002",
            "000000010000000000000005",
            "00000001FFFFFFFF000000FE",
        ] {
            memory.set(&Key::parse(&format!("wal_005/{name}.lz4")).unwrap(), "");
        }
        let options = Options { backups: BackupLookup::Skip, segment_size: WalSegmentSize::DEFAULT };
        let shown = run(&context(&memory, &WalG), options).await.unwrap();
        let [shown] = &shown[..] else { panic!("{shown:?}") };
        let last = 0x00FF_FFFF_FFFE;
        assert_eq!((shown.count, shown.range), (4, last));
        let [wide, narrow] = &shown.gaps[..] else { panic!("{:?}", shown.gaps) };
        assert_eq!(wide.count(), last - 6);
        assert_eq!(wide.segments().next().unwrap().to_string(), "00000001FFFFFFFF000000FD");
        let names: Vec<String> = narrow.segments().map(|name| name.to_string()).collect();
        assert_eq!(names, ["000000010000000000000004", "000000010000000000000003"]);
    }
}
