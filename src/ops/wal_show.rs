//! `wal-show`: the archived WAL by timeline, with its gaps and the backups that lie in it.

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
    pub missing: Vec<SegmentName>,
    /// The backups taken in this range, newest first; empty when they were not looked up.
    pub backups: Vec<ListedBackup>,
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
        let named = |number| wal_archive::name(*timeline, number, size);
        let (Some(first_name), Some(last_name)) = (named(*first), named(*last)) else { continue };
        let history = wal_archive::history(ctx, *timeline).await?;
        let parent = history.as_ref().and_then(|history| history.parent());
        let between = (first.as_u64()..last.as_u64()).rev().map(SegmentNumber::new);
        shown.push(ShownTimeline {
            timeline: *timeline,
            parent: parent.map(|entry| (entry.timeline, entry.switch_lsn)),
            first: first_name,
            last: last_name,
            count: u64::try_from(numbers.len()).unwrap_or(u64::MAX),
            range: last.as_u64() - first.as_u64() + 1,
            missing: between.filter(|number| !numbers.contains(number)).filter_map(named).collect(),
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
