//! Which blocks a delta backup has to take: what changed between the start of its parent and its own start.
//!
//! Every change since the parent's start LSN counts, also those made while the parent was being copied: its copy of a
//! page may be from before them. What changes after the delta's own start is repaired by WAL replay, as for a full
//! backup.

mod gap;
mod summaries;
mod wal;
mod wal_plan;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::pg::session::{ServerIdentity, Session};
use crate::pg::{BlockMap, Lsn, TimelineHistory};

use super::{Context, Error};

pub use gap::Gap;

/// The WAL between two backups, on the way that leads to the later one.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Start LSN of the parent.
    pub from: Lsn,
    /// Start LSN of the new backup.
    pub until: Lsn,
    /// The new backup's timeline with its ancestors, the parent's among them.
    pub history: TimelineHistory,
}

/// The running server that is being backed up.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// A session that may ask it.
    pub session: &'a Session,
    /// Who it is.
    pub identity: &'a ServerIdentity,
    /// Its data directory.
    pub data_dir: &'a Path,
    /// The size of its data in bytes: what a scan of all pages would read at most.
    pub data_bytes: u64,
}

/// How to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The sources that may be used, the first choice first (`SEAWALL_DELTA_SOURCES`). The pages are what is left in
    /// the end, named or not.
    pub sources: Vec<Source>,
    /// How long the server's WAL summarizer is waited for while it makes no progress.
    pub summarizer_patience: Duration,
}

/// Where the knowledge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The server's own WAL summaries (PostgreSQL 17 and later, `summarize_wal`).
    Summaries,
    /// The WAL of the interval, from `pg_wal` and the archive, or what was recorded of it while it was archived.
    Wal,
    /// The LSNs of the pages: every page is read.
    PageLsns,
}

impl Source {
    /// All of them, in the order in which they are tried by default.
    pub const ALL: [Source; 3] = [Source::Summaries, Source::Wal, Source::PageLsns];
}

impl fmt::Display for Source {
    /// As in the setting `SEAWALL_DELTA_SOURCES` and in the sentinel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Summaries => "summaries",
            Source::Wal => "wal",
            Source::PageLsns => "pages",
        })
    }
}

/// What a delta backup goes by.
#[derive(Debug)]
pub enum ChangedBlocks {
    /// A complete map of the interval, from this source.
    Map(Source, BlockMap),
    /// Nothing is known beforehand: the pages' LSNs decide, a page that changed since this LSN is taken.
    PageLsns(Lsn),
}

/// What was found out.
#[derive(Debug)]
pub struct Found {
    /// What changed.
    pub blocks: ChangedBlocks,
    /// The sources that were tried before and do not know all of it, with the reason, in the order of the trials.
    pub gaps: Vec<(Source, Gap)>,
}

/// Finds out which blocks changed, by the first source that is allowed and knows it without a gap.
///
/// Never an error for want of knowledge: the pages themselves always tell. Fails when the process is asked to end or
/// the session is lost, and with it the backup.
pub async fn find(
    ctx: &Context,
    cluster: Cluster<'_>,
    interval: &Interval,
    rules: &Rules,
) -> Result<Found, Error> {
    let mut gaps = Vec::new();
    for source in rules.sources.iter().copied() {
        let read = match source {
            Source::Summaries => summaries::read(ctx, cluster, interval, rules.summarizer_patience).await,
            Source::Wal => wal::read(ctx, cluster, interval).await,
            Source::PageLsns => break,
        };
        match read {
            Ok(map) => return Ok(found(ChangedBlocks::Map(source, map), source, gaps)),
            Err(Gap::Failed(error)) if ctx.cancel.is_cancelled() || cluster.session.is_closed() => {
                return Err(error);
            }
            Err(gap) => gaps.push((source, gap)),
        }
    }
    Ok(found(ChangedBlocks::PageLsns(interval.from), Source::PageLsns, gaps))
}

/// Tells which source was chosen, and why not those before it.
fn found(blocks: ChangedBlocks, source: Source, gaps: Vec<(Source, Gap)>) -> Found {
    let reasons: Vec<String> =
        gaps.iter().map(|(source, gap)| format!("; not from {source}: {gap}")).collect();
    let reasons = reasons.concat();
    match gaps.iter().all(|(_, gap)| gap.is_expected()) {
        true => tracing::info!("Changed blocks are known from {source}{reasons}"),
        false => tracing::warn!("Changed blocks are known from {source}{reasons}"),
    }
    Found { blocks, gaps }
}
