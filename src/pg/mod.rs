//! Facts of PostgreSQL: names, positions, file formats and its SQL session.
//!
//! Nothing here knows of storage or of the command line. Everything but the session is
//! plain code over bytes and text, and no parser panics whatever it is given.
//!
//! Supported servers are PostgreSQL 13 to 18 on little-endian machines with 64-bit longs; WAL, `pg_control` and
//! data pages are in the byte order of the machine that wrote them.

mod block_map;
mod connection;
pub mod connection_string;
mod connection_uri;
pub mod conninfo;
mod control;
pub mod data_dir;
mod labels;
mod lsn;
mod oid;
pub mod page;
mod pgpass;
mod relation_file;
pub mod relations;
pub mod server_settings;
pub mod session;
mod summarizer;
mod timeline;
mod tls;
mod version;
pub mod visibility_map;
pub mod wal;
mod wal_name;
mod wal_page;
pub mod wal_summary;

pub use block_map::{BLOCKS_PER_SEGMENT, BlockMap, DatabasePlace, FileChanges, RelationPlace};
pub use conninfo::ConnInfo;
pub use control::{ClusterState, ControlFile, ControlFileError};
pub use labels::{BackupFrom, BackupLabel, TablespaceMap};
pub use lsn::{Lsn, SegmentNumber, WalSegmentSize};
pub use oid::Oid;
pub use relation_file::{Fork, RelationFile};
pub use session::Session;
pub use summarizer::SummarizerState;
pub use timeline::{HistoryEntry, TimelineHistory, TimelineId};
pub use tls::{SslMode, TlsError};
pub use version::PgVersion;
pub use visibility_map::VisibilityMap;
pub use wal_name::{SegmentName, WalFileName};
pub use wal_page::{SegmentHeader, SystemIdentifier, WalPageError};

/// Text that is not what PostgreSQL would write in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not `X/X` with one to eight hexadecimal digits on each side.
    #[error("parse LSN {text:?}: expected two hexadecimal numbers as in 16/B374D848")]
    Lsn {
        /// What was given.
        text: String,
    },
    /// Not a power of two from 1 MiB to 1 GiB.
    #[error("WAL segment size of {bytes} bytes: expected a power of two from 1 MiB to 1 GiB")]
    WalSegmentSize {
        /// What was given.
        bytes: u64,
    },
    /// Not a number from 1 to 4294967295.
    #[error("parse timeline {text:?}: expected a number from 1 to 4294967295")]
    Timeline {
        /// What was given.
        text: String,
    },
    /// Not one of the four kinds of file that PostgreSQL archives.
    #[error(
        "parse WAL file name {text:?}: neither a segment, partial segment, history file nor backup history file"
    )]
    WalFileName {
        /// What was given.
        text: String,
    },
    /// Not timeline, start and end in 40 hexadecimal digits before `.summary`.
    #[error("parse name of WAL summary {text:?}: expected 40 hexadecimal digits and .summary")]
    WalSummaryName {
        /// What was given.
        text: String,
    },
    /// A timeline history file that PostgreSQL itself would refuse.
    #[error("parse history file of timeline {timeline}, line {line}: {problem}")]
    History {
        /// The timeline whose history this is.
        timeline: TimelineId,
        /// Counted from 1.
        line: usize,
        /// The rule that is broken.
        problem: &'static str,
    },
    /// Not a `server_version_num`.
    #[error("parse server version {text:?}: expected a number such as 150018")]
    Version {
        /// What was given.
        text: String,
    },
    /// A `backup_label` without a line that PostgreSQL needs, or with nonsense in it.
    #[error("parse backup_label: line {line:?} is missing or makes no sense")]
    BackupLabel {
        /// How the line starts.
        line: &'static str,
    },
    /// A `tablespace_map` that PostgreSQL would refuse.
    #[error("parse tablespace_map, line {line}: expected an OID and a directory")]
    TablespaceMap {
        /// Counted from 1.
        line: usize,
    },
}
