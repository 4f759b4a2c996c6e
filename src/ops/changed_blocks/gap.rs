//! Why a source does not know all that changed.

use std::path::PathBuf;
use std::time::Duration;

use crate::ops::Error;
use crate::pg::wal::WalError;
use crate::pg::{Lsn, SegmentName, TimelineId, wal_summary};

/// Why a source cannot be used for a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// The server is too old for WAL summaries.
    #[error("PostgreSQL {major} has no WAL summaries")]
    NoSummaries {
        /// Its major version.
        major: u32,
    },
    /// The server does not summarize WAL.
    #[error("summarize_wal is off")]
    SummarizerOff,
    /// Some WAL was never summarized, or its summary was removed.
    #[error("no WAL summary covers {lsn} of timeline {timeline}")]
    NotSummarized {
        /// The timeline.
        timeline: TimelineId,
        /// The first position that is not covered.
        lsn: Lsn,
    },
    /// The summarizer does not get on.
    #[error("the WAL summarizer has stayed at {reached} for {} s, {needed} is needed", patience.as_secs())]
    SummarizerStuck {
        /// How far it has read.
        reached: Lsn,
        /// How far it should.
        needed: Lsn,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A summary does not hold what it should.
    #[error("`{}`: {source}", path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: wal_summary::Error,
    },
    /// A segment of WAL cannot be read.
    #[error("segment {segment}: {source}")]
    Wal {
        /// The segment.
        segment: SegmentName,
        /// What is wrong with it.
        source: WalError,
    },
    /// Fetching the WAL costs more than reading the cluster.
    #[error(
        "{} MiB of WAL would have to be fetched from the archive, the cluster has only {} MiB",
        to_fetch >> 20, data_bytes >> 20
    )]
    MuchWal {
        /// Bytes of the segments that are not in `pg_wal`.
        to_fetch: u64,
        /// Bytes of the cluster's data.
        data_bytes: u64,
    },
    /// A file, the storage or the server did not give what was asked for.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Gap {
    /// Whether the source is simply not in use here, which is nothing to warn of.
    pub fn is_expected(&self) -> bool {
        matches!(self, Gap::NoSummaries { .. } | Gap::SummarizerOff | Gap::MuchWal { .. })
    }
}
