//! Deleting many objects.

use crate::storage::{self, Key};

use super::{Context, Error};

/// Whether to delete or to tell what would be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Tell.
    DryRun,
    /// Delete.
    Confirmed,
}

/// Objects that were deleted, and those that were not.
#[derive(Debug, Default)]
pub struct Removal {
    /// How many objects were deleted.
    pub deleted: u64,
    /// The objects that could not be deleted, and why.
    pub failed: Vec<(Key, storage::Error)>,
}

impl Removal {
    /// Whether every object that had to go is gone.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// Deletes `keys` in batches, and logs those that stay. An error means that nothing is known of some of them.
    pub(super) async fn delete(&mut self, ctx: &Context, keys: &[Key]) -> Result<(), Error> {
        let batch = ctx.storage.limits().delete_batch.max(1);
        for keys in keys.chunks(batch) {
            if ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let report = ctx.storage.delete(keys).await?;
            let done = u64::try_from(keys.len().saturating_sub(report.failed.len())).unwrap_or(0);
            self.deleted += done;
            ctx.progress.add_pieces(done);
            for (key, error) in &report.failed {
                tracing::error!("cannot delete `{key}`: {error}");
            }
            self.failed.extend(report.failed);
        }
        Ok(())
    }
}
