//! Removes what a check of a bucket wrote, also from a service that fails.

use std::sync::PoisonError;

use super::S3Check;
use crate::storage::check::{Ability, Row, Verdict};
use crate::storage::{Error, Key};

impl S3Check {
    /// Removes what was written, one by one where the service knows no batch.
    pub(in crate::storage) async fn clean_up(&self) -> Option<Row> {
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if written.is_empty() {
            return None;
        }
        let keys: Vec<Key> = written.into_iter().filter_map(|name| self.key(name).ok()).collect();
        let limit = self.budget / 4;
        match tokio::time::timeout(limit, Box::pin(self.remove(&keys))).await {
            Ok(left) => {
                let (_, error) = left.first()?;
                let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
                let detail = format!("left in the bucket: {}: {}", names.join(", "), error.detail());
                let hint = error.hint().map(str::to_owned);
                Some(Row { hint, ..Row::new(Ability::Removal, Verdict::Failed, detail) })
            }
            Err(_) => {
                let names: Vec<String> =
                    keys.iter().map(|key| format!("`{}`", self.s3.place.full(key))).collect();
                let (names, seconds) = (names.join(", "), limit.as_secs());
                let detail = format!("may be left in the bucket: {names}: not done within {seconds} s");
                Some(Row::new(Ability::Removal, Verdict::Failed, detail))
            }
        }
    }

    /// Removes uploads and these objects; what is left of them, and why.
    async fn remove(&self, keys: &[Key]) -> Vec<(String, Error)> {
        let mut left = Vec::new();
        for (key, id) in self.open_uploads().await.unwrap_or_default() {
            let call = self.s3.place.call("abort upload of", None);
            let aborted = async {
                let request = self.s3.place.client().await?.abort_multipart_upload();
                let request = request.bucket(&self.config.bucket).key(&key).upload_id(id);
                self.answer(call, request.send()).await
            }
            .await;
            left.extend(aborted.err().map(|error| (format!("an upload of `{key}`"), error)));
        }
        let failed = match self.storage.delete(keys).await {
            Ok(report) => report.failed.into_iter().map(|(key, _)| key).collect(),
            Err(_) => keys.to_vec(),
        };
        for key in failed {
            let call = self.s3.place.call("delete", Some(&key));
            let name = self.s3.place.full(&key);
            let deleted = async {
                let request = self.s3.place.client().await?.delete_object();
                self.answer(call, request.bucket(&self.config.bucket).key(&name).send()).await
            }
            .await;
            left.extend(deleted.err().map(|error| (format!("`{name}`"), error)));
        }
        left
    }
}
