//! The operations, each a story read from top to bottom.
//!
//! Here and only here the layers meet: PostgreSQL's facts, the layout, the pipeline and the storage. An operation
//! takes what it needs as typed options, prints nothing and never ends the process.

pub mod archive_check;
mod archived;
pub mod backup_choice;
pub mod backup_fetch;
pub mod backup_list;
pub mod backup_mark;
pub mod backup_push;
pub mod backup_show;
pub mod backup_tree;
pub mod barman;
pub mod base_backups;
pub mod changed_blocks;
mod control_file;
pub mod copy;
pub mod delete;
mod encode;
mod error;
mod lock_file;
pub mod ownership;
mod prefetch_dir;
pub mod removal;
pub mod segment_check;
mod segment_size;
pub mod storage_check;
mod unfinished;
mod wal_archive;
pub mod wal_fetch;
pub mod wal_prefetch;
pub mod wal_push;
pub mod wal_show;
pub mod wal_verify;

use tokio_util::sync::CancellationToken;

use crate::codec::{Cipher, Compression};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::storage::SharedStorage;

pub use error::{Class, Error, RequestError};

/// What every operation works with; built once by the command line.
#[derive(Debug, Clone)]
pub struct Context {
    /// The repository.
    pub storage: SharedStorage,
    /// Its form.
    pub layout: &'static dyn Layout,
    /// How new objects are compressed; also the form looked for first.
    pub compression: Compression,
    /// How objects are encrypted.
    pub cipher: Cipher,
    /// Set when the process is asked to end.
    pub cancel: CancellationToken,
    /// What has been done so far, for whoever shows it.
    pub progress: Progress,
}

/// A repository in memory, for tests: neither compressed nor encrypted.
#[cfg(test)]
fn context(memory: &crate::storage::memory::Memory, layout: &'static dyn Layout) -> Context {
    Context {
        storage: std::sync::Arc::new(memory.clone()),
        layout,
        compression: Compression::None,
        cipher: Cipher::None,
        cancel: CancellationToken::new(),
        progress: Progress::new(),
    }
}

impl Context {
    /// What `work` returns, or [`Error::Cancelled`] as soon as the process is asked to end.
    async fn until_cancelled<T, E: Into<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done.map_err(Into::into),
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        }
    }
}
