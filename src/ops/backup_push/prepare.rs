//! From the parent to the delta: whether one can be taken, and what it goes by.

use crate::layout::walg::DeltaOrigin;
use crate::layout::walg::increment::PAGE_BYTES;
use crate::ops::changed_blocks::{self, ChangedBlocks, Cluster, Interval, Source};
use crate::ops::{Context, Error};
use crate::pg::{BLOCKS_PER_SEGMENT, ControlFile, Lsn};

use super::delta::Delta;
use super::hostname;
use super::options::{DeltaOptions, Options, WithoutMap};
use super::parent::Parent;
use super::verify_delta::VerifyDelta;

/// How to take a delta, if one is asked for and this cluster is built in the usual way: an increment has pages of 8 KiB,
/// and blocks are counted over segment files of 1 GiB.
pub(super) fn delta_options<'a>(options: &'a Options, control: &ControlFile) -> Option<&'a DeltaOptions> {
    let delta = options.format.delta()?;
    let (page_bytes, segment_pages) = (control.block_size, control.blocks_per_segment);
    if page_bytes as usize != PAGE_BYTES || segment_pages != BLOCKS_PER_SEGMENT {
        tracing::warn!(
            page_bytes,
            segment_pages,
            "Doing full backup: no deltas of a cluster built like this"
        );
        return None;
    }
    Some(delta)
}

/// Learns what a delta on `parent` has to take, now that it starts at `start`. `None` when a full backup has to do.
pub(super) async fn start_delta(
    ctx: &Context,
    options: &DeltaOptions,
    parent: Parent,
    cluster: Cluster<'_>,
    start: Lsn,
) -> Result<Option<(DeltaOrigin, Delta)>, Error> {
    let Some(mut parent) = parent.ended_before(start)? else { return Ok(None) };
    let interval = Interval { from: parent.start_lsn, until: start, history: parent.history.clone() };
    let find = changed_blocks::find(ctx, cluster, &interval, &options.changed_blocks);
    let changed = ctx.until_cancelled(find).await?.blocks;
    if let ChangedBlocks::PageLsns(since) = changed {
        if options.without_map == WithoutMap::Fail {
            return Err(Error::NoMap { since });
        }
        if !options.changed_blocks.sources.contains(&Source::PageLsns) {
            tracing::warn!(
                "Doing full backup: no source that SEAWALL_DELTA_SOURCES allows tells what changed"
            );
            return Ok(None);
        }
        if options.verify != VerifyDelta::OFF {
            tracing::info!("there is no map of changed blocks to prove: the pages are read anyway");
        }
    }
    let parent_start = parent.backup.start_time;
    let server = cluster.identity;
    let delta = Delta {
        parent_lsn: parent.start_lsn,
        parent_start,
        // The setting changes only by a restart.
        marks_have_lsns: server.data_checksums || server.wal_log_hints && server.started < parent_start,
        same_place: parent.backup.hostname == hostname() && parent.backup.data_dir == cluster.data_dir,
        changed,
        verify: options.verify,
        parent_files: std::mem::take(&mut parent.files),
    };
    Ok(Some((parent.origin(delta.source()), delta)))
}
