//! Batch deletes. The service is asked to name what it has deleted: whoever answers that all is well need not be the service.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{
    Delete, DeletedObject, Error as S3Error, ObjectIdentifier, ObjectLockLegalHoldStatus,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};

use super::document::Whole;
use super::{Head, Place, modified, protocol};
use crate::storage::{DeleteReport, ErrorKind, Key, Lock, Result};

/// Keys of one request; more are refused.
pub(super) const MAX_KEYS: usize = 1000;

/// What to do when the answer leaves a key out.
const UNNAMED: &str = "look whether it is still there, at the service, and at a proxy in front of it";

/// Deletes all keys, batch by batch. After an error in a later batch the report names the keys that are left.
pub(super) async fn delete(place: &Place, keys: &[Key]) -> Result<DeleteReport> {
    let mut report = DeleteReport::default();
    let size = place.config.delete_batch.clamp(1, MAX_KEYS);
    for (index, batch) in keys.chunks(size).enumerate() {
        match delete_batch(place, batch, &mut report).await {
            Ok(()) => {}
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                let left = keys.iter().skip(index.saturating_mul(size));
                report.failed.extend(left.map(|key| (key.clone(), error.clone())));
                break;
            }
        }
    }
    Ok(report)
}

async fn delete_batch(place: &Place, keys: &[Key], report: &mut DeleteReport) -> Result<()> {
    let call = place.call("delete", keys.first());
    let names: BTreeMap<String, &Key> = keys.iter().map(|key| (place.full(key), key)).collect();
    let invalid = |error: aws_sdk_s3::error::BuildError| call.error(ErrorKind::Invalid, error.to_string());
    let mut batch = Delete::builder();
    for name in names.keys() {
        batch = batch.objects(ObjectIdentifier::builder().key(name).build().map_err(invalid)?);
    }
    let answer = place
        .client()
        .await?
        .delete_objects()
        .bucket(&place.config.bucket)
        .delete(batch.build().map_err(invalid)?)
        .customize()
        .interceptor(ContentMd5)
        .interceptor(Whole)
        .send()
        .await
        .map_err(|error| call.failed(error))?;
    place.saw_bucket();
    for failed in answer.errors() {
        match failed.key().and_then(|name| names.get(name)) {
            _ if failed.code() == Some("NoSuchKey") => {}
            Some(key) => {
                let error = place.call("delete", Some(key)).refused_key(failed.code(), failed.message());
                report.failed.push(((*key).clone(), error));
            }
            None => return Err(call.refused_key(failed.code(), failed.message())),
        }
    }
    let deleted = answer.deleted().iter().filter_map(DeletedObject::key);
    let named: BTreeSet<&str> = deleted.chain(answer.errors().iter().filter_map(S3Error::key)).collect();
    let unnamed = names.iter().filter(|(name, _)| !named.contains(name.as_str()));
    report.failed.extend(unnamed.map(|(_, key)| {
        let error = protocol(place.call("delete", Some(key)), "the service does not say that it was deleted");
        ((*key).clone(), error.with_hint(UNNAMED))
    }));
    Ok(())
}

/// What keeps an object from being deleted for good. The service tells whoever has the right to see it
/// (`s3:GetObjectRetention`, `s3:GetObjectLegalHold`), and says nothing to others.
pub(super) async fn lock(place: &Place, key: &Key) -> Result<Option<Lock>> {
    let Head::Found(answer) = place.head_object(key).await? else { return Ok(None) };
    let until = modified(answer.object_lock_retain_until_date());
    Ok(
        match (until.filter(|until| *until > jiff::Timestamp::now()), answer.object_lock_legal_hold_status())
        {
            (Some(until), _) => Some(Lock::Until(until)),
            (None, Some(ObjectLockLegalHoldStatus::On)) => Some(Lock::LegalHold),
            (None, _) => None,
        },
    )
}

/// Sends the MD5 of the body in place of the SDK's CRC: every service knows it, and some insist on it.
#[derive(Debug)]
struct ContentMd5;

impl Intercept for ContentMd5 {
    fn name(&self) -> &'static str {
        "ContentMd5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let request = context.request_mut();
        let body = request.body().bytes().ok_or("the body of a batch delete is not in memory")?;
        let md5 = BASE64.encode(Md5::digest(body));
        let headers = request.headers_mut();
        headers.remove("x-amz-checksum-crc32");
        headers.remove("x-amz-sdk-checksum-algorithm");
        headers.try_insert("content-md5", md5)?;
        Ok(())
    }
}
