//! Files that were never finished: what processes have left that were killed while they wrote, and what is being written.

use std::path::Path;

use super::new_file::{finished_name, sync_directory};
use super::{Place, Step, is_missing};
use crate::storage::{Key, Prefix, Result, Unfinished, UnfinishedPage, UploadId};

impl Place {
    /// All of them below a prefix, in one page. The id is the name of the file.
    pub(super) fn unfinished(&self, prefix: &Prefix) -> Result<UnfinishedPage> {
        let step = Step { action: "list unfinished files", key: None };
        let mut page = UnfinishedPage::default();
        let mut pending = vec![prefix.as_str().to_owned()];
        while let Some(name) = pending.pop() {
            let (folder, stem) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
            let path = self.root.join(format!("{}{folder}", self.prefix));
            let failed = |error| self.failed(step, &path, &error);
            let Some(entries) = self.find(step, &path, || std::fs::read_dir(&path))? else { continue };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let Ok(file_name) = entry.file_name().into_string() else { continue };
                if !file_name.starts_with(stem) {
                    continue;
                }
                let path = entry.path();
                let Some(metadata) = self.find(step, &path, || std::fs::metadata(&path))? else { continue };
                if metadata.is_dir() {
                    pending.push(format!("{folder}{file_name}/"));
                } else if let Some(finished) = finished_name(&file_name)
                    && let Ok(key) = Key::parse(&format!("{folder}{finished}"))
                {
                    let modified = super::meta(key.clone(), &metadata).modified;
                    page.objects.push(Unfinished { key, id: UploadId(file_name), modified });
                }
            }
        }
        Ok(page)
    }

    /// Removes one, and the directories that became empty.
    pub(super) fn remove_unfinished(&self, unfinished: &Unfinished) -> Result<()> {
        let Unfinished { key, id, .. } = unfinished;
        let step = Step { action: "remove what is unfinished of", key: Some(key) };
        let path = self.path(key).with_file_name(&id.0);
        if self.find(step, &path, || std::fs::remove_file(&path))?.is_none() {
            return Ok(());
        }
        match path.parent().and_then(|directory| self.prune(directory)).map(sync_directory) {
            Some(Err(error)) if !is_missing(&error) => {
                Err(self.failed(step, path.parent().unwrap_or(Path::new(".")), &error))
            }
            _ => Ok(()),
        }
    }
}
