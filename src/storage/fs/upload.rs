//! An object written in parts: one unfinished file, each part at its offset.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::new_file::NewFile;
use super::{Place, Step, blocking, publishing};
use crate::storage::{ETag, Error, ErrorKind, Key, Part, PartReceipt, PutMode, PutOutcome, Result, Upload};

/// One object in the making.
pub(super) struct FileUpload {
    place: Arc<Place>,
    key: Key,
    file: Arc<File>,
    state: Mutex<UploadState>,
}

struct UploadState {
    /// `None` once it was completed or aborted.
    new: Option<NewFile>,
    /// Offset and length of each part by number.
    parts: BTreeMap<u32, (u64, u64)>,
}

impl FileUpload {
    pub(super) fn start(place: Arc<Place>, key: Key) -> Result<FileUpload> {
        let new = NewFile::create(place.clone(), key.clone(), "upload")?;
        let file = Arc::new(new.file.try_clone().map_err(|error| new.failed(&error))?);
        let state = Mutex::new(UploadState { new: Some(new), parts: BTreeMap::new() });
        Ok(FileUpload { place, key, file, state })
    }

    fn state(&self) -> MutexGuard<'_, UploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload for FileUpload {
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>> {
        async move {
            let file = self.file.clone();
            let (number, offset, length) = (part.number, part.offset, part.body.len() as u64);
            let written = blocking(move || file.write_all_at(&part.body, part.offset)).await;
            let step = Step { action: "upload", key: Some(&self.key) };
            written.map_err(|error| self.place.failed(step, &self.place.path(&self.key), &error))?;
            self.state().parts.insert(number, (offset, length));
            Ok(PartReceipt { number, tag: ETag(format!("{offset}-{length}")) })
        }
        .boxed()
    }

    fn complete<'a>(
        &'a self,
        receipts: &'a [PartReceipt],
        mode: PutMode,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        async move {
            let invalid = |kind, detail: String| {
                Err(Error::new(kind, "upload", Some(&self.key), &self.place.location, detail))
            };
            let new = {
                let mut state = self.state();
                if let Some(number) = first_gap(&state.parts, receipts) {
                    return invalid(ErrorKind::Invalid, format!("part {number} is missing or does not fit"));
                }
                state.new.take()
            };
            let Some(new) = new else {
                return invalid(ErrorKind::Changed, "the upload has ended already".to_owned());
            };
            publishing(move |wanted| new.publish(mode, wanted)).await
        }
        .boxed()
    }

    fn is_complete<'a>(&'a self, _receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>> {
        // An answer of the file system is not lost: `complete` has said all there is to say.
        async { Ok(false) }.boxed()
    }

    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>> {
        let new = self.state().new.take();
        blocking(move || drop(new)).map(Ok).boxed()
    }
}

/// The first part that does not follow the one before it, or that was not stored, or that has no receipt.
fn first_gap(parts: &BTreeMap<u32, (u64, u64)>, receipts: &[PartReceipt]) -> Option<u32> {
    let mut end = 0u64;
    for (expected, receipt) in (1..).zip(receipts) {
        match parts.get(&receipt.number) {
            Some((offset, length)) if receipt.number == expected && *offset == end => {
                end = end.saturating_add(*length);
            }
            _ => return Some(expected),
        }
    }
    parts.keys().nth(receipts.len()).copied()
}
