//! An upload whose calls are repeated.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Retry;
use super::call::{Class, Tries};
use crate::storage::{ErrorKind, Key, Part, PartReceipt, PutMode, PutOutcome, Result, RetryAdvice, Upload};

/// An upload whose calls are repeated.
pub(super) struct RetryUpload {
    pub(super) storage: Retry,
    pub(super) key: Key,
    pub(super) upload: Box<dyn Upload>,
}

impl Upload for RetryUpload {
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>> {
        async move {
            let call = self.storage.call("put part of", Some(&self.key), Class::Transfer);
            call.run(|| self.upload.put_part(part.clone())).await
        }
        .boxed()
    }

    fn complete<'a>(
        &'a self,
        receipts: &'a [PartReceipt],
        mode: PutMode,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        async move {
            let call =
                self.storage.call("complete", Some(&self.key), Class::Transfer).longer(COMPLETE_LONGER);
            let policy = &self.storage.policy;
            let mut tries = Tries::new(policy.transfer_budget);
            loop {
                let answer = call.once(&mut tries, self.upload.complete(receipts, mode)).await;
                // An answer may have been lost, now or before; an upload that is gone may be one that succeeded, and an
                // object that is in the way may be this one.
                let lost = match &answer {
                    Ok(PutOutcome::Stored) => false,
                    Ok(PutOutcome::AlreadyExists) => tries.failed > 0,
                    Err(error) => tries.failed > 0 || error.retry() != RetryAdvice::Never,
                };
                if lost && self.is_complete(receipts).await? {
                    return Ok(PutOutcome::Stored);
                }
                match answer {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) => {
                        // Lost on its way, perhaps: hours of a backup hang on this one request, so it has another chance.
                        if tries.failed == 0 && error.kind() == ErrorKind::Timeout {
                            tries.leave_out(COMPLETE_LONGER);
                        }
                        tries.wait(policy, error).await?;
                    }
                }
            }
        }
        .boxed()
    }

    fn is_complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>> {
        async move {
            let call = self.storage.call("head", Some(&self.key), Class::Ask);
            call.run(|| self.upload.is_complete(receipts)).await
        }
        .boxed()
    }

    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>> {
        async move {
            let call = self.storage.call("abort upload of", Some(&self.key), Class::Ask);
            call.run(|| self.upload.abort()).await
        }
        .boxed()
    }
}

/// Joining a thousand parts takes a service some time.
const COMPLETE_LONGER: Duration = Duration::from_secs(100);
