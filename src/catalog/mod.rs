//! The backups of a repository: the only I/O over a layout's names and documents.

pub mod barman;
pub mod walg;

use crate::layout::new_backup::Document;
use crate::layout::{Entry, Layout};
use crate::storage::{self, Depth, Key, PutMode, RetryAdvice, Storage};

/// Documents of backups that are read at a time.
pub const DOCUMENTS_AT_ONCE: usize = 8;

/// Why a backup was not made to exist.
#[derive(Debug)]
pub struct NotCommitted {
    /// What failed.
    pub error: storage::Error,
    /// Whether the write of the marker had no answer, so that it may still come to the storage.
    pub may_come: bool,
}

/// Makes a backup exist: writes its documents in their order, its marker last. Durable on return.
///
/// Every tar must have been stored before. When the marker's own write fails, its answer may be what was lost: the
/// backup exists if the marker is found there as it was written.
pub async fn commit(storage: &dyn Storage, documents: Vec<Document>) -> Result<(), NotCommitted> {
    let last = documents.len();
    for (number, Document { key, body }) in (1..).zip(documents) {
        if let Err(error) = storage.put(&key, body.clone(), PutMode::Overwrite).await {
            let is_there = number == last
                && matches!(storage::get_bytes(storage, &key).await, Ok(Some((_, stored))) if stored == body);
            if !is_there {
                let may_come = number == last && error.retry() != RetryAdvice::Never;
                return Err(NotCommitted { error, may_come });
            }
        }
    }
    Ok(())
}

/// The markers of all backups, newest first: by the time of the marker where a listing tells it, else by name.
pub async fn markers(storage: &dyn Storage, layout: &dyn Layout) -> storage::Result<Vec<Key>> {
    let listing = storage::list_all(storage, &layout.backups(), Depth::Children).await?;
    let objects = listing.objects.iter().map(|object| (Some(object.modified), Entry::Object(&object.key)));
    let folders = listing.prefixes.iter().map(|prefix| (None, Entry::Folder(prefix)));
    let markers = objects.chain(folders).filter_map(|(time, entry)| Some((time, layout.marker(entry)?)));
    let mut markers: Vec<_> = markers.collect();
    markers.sort();
    Ok(markers.into_iter().rev().map(|(_, key)| key).collect())
}
