//! Multipart uploads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use md5::{Digest, Md5};

use super::body::{Payload, Signed};
use super::stored::HINT;
use super::{Checksums, Place, checksum, etag, protocol, status};
use crate::storage::{
    ETag, ErrorKind, Key, Part, PartReceipt, PutMode, PutOutcome, Result, RetryAdvice, Upload,
};

/// One multipart upload.
pub(super) struct S3Upload {
    place: Arc<Place>,
    key: Key,
    id: String,
    /// What was sent of each part, by its number.
    parts: Mutex<BTreeMap<u32, Sent>>,
}

/// What has to be known of a part after it was sent.
struct Sent {
    bytes: u64,
    /// The checksum that went with it.
    checksum: Option<String>,
}

/// Creates an object unless there is one, by an upload of one part.
pub(super) async fn create_only(place: &Arc<Place>, key: &Key, body: Bytes) -> Result<PutOutcome> {
    let upload = S3Upload::start(place.clone(), key.clone()).await?;
    let refused = match upload.put_part(Part { number: 1, offset: 0, body }).await {
        Ok(receipt) => match upload.complete_as(&[receipt], PutMode::CreateOnly).await {
            Ok(PutOutcome::Stored) => return Ok(PutOutcome::Stored),
            // It may be there after all, and on some services an abort would destroy it ([`Limits::shares_parts`]).
            Err(error) if error.retry() != RetryAdvice::Never => return Err(error),
            refused => refused,
        },
        Err(error) => Err(error),
    };
    // The upload stays open otherwise; what matters is the outcome.
    let _ = upload.abort().await;
    refused
}

impl S3Upload {
    pub(super) async fn start(place: Arc<Place>, key: Key) -> Result<S3Upload> {
        let call = place.call("start upload of", Some(&key));
        let request = place
            .client()
            .await?
            .create_multipart_upload()
            .bucket(&place.config.bucket)
            .key(place.full(&key))
            .set_checksum_algorithm(match place.config.request_checksums {
                Checksums::WhenRequired => None,
                Checksums::WhenSupported => Some(ChecksumAlgorithm::Crc32),
            });
        let answer = request.customize().interceptor(place.create_headers.clone()).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let id = answer.upload_id.ok_or_else(|| protocol(call, "the answer has no upload id"))?;
        place.saw_bucket();
        Ok(S3Upload { place, key, id, parts: Mutex::default() })
    }

    async fn upload_part(&self, part: Part) -> Result<PartReceipt> {
        let place = &self.place;
        let call = place.call("put part of", Some(&self.key));
        let number = i32::try_from(part.number);
        let number = number.map_err(|_| call.error(ErrorKind::Invalid, "the part's number is too high"))?;
        let sent = Sent { bytes: part.body.len() as u64, checksum: checksum(&place.config, &part.body) };
        let client = place.client().await?;
        let signed = Signed::new(part.body, Payload::over(place.config.scheme())).await;
        let request = client
            .upload_part()
            .bucket(&place.config.bucket)
            .key(place.full(&self.key))
            .upload_id(&self.id)
            .part_number(number)
            .set_checksum_crc32(sent.checksum.clone())
            .content_length(signed.length())
            .body(signed.stream())
            .customize()
            .interceptor(place.content_headers.clone())
            .interceptor(signed.interceptor());
        let answer = request.send().await.map_err(|error| call.failed(error))?;
        let tag = etag(answer.e_tag()).ok_or_else(|| protocol(call, "the answer has no ETag"))?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part.number, sent);
        Ok(PartReceipt { number: part.number, tag })
    }

    async fn complete_as(&self, receipts: &[PartReceipt], mode: PutMode) -> Result<PutOutcome> {
        let place = &self.place;
        let call = place.call("complete", Some(&self.key));
        let parts = {
            let sent = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let parts = receipts.iter().map(|receipt| {
                let number = i32::try_from(receipt.number).ok();
                let checksum = sent.get(&receipt.number).and_then(|sent| sent.checksum.clone());
                let part = CompletedPart::builder().set_part_number(number).e_tag(&receipt.tag.0);
                part.set_checksum_crc32(checksum).build()
            });
            CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build()
        };
        let request = place
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(&place.config.bucket)
            .key(place.full(&self.key))
            .upload_id(&self.id)
            .multipart_upload(parts)
            .set_if_none_match((mode == PutMode::CreateOnly).then(|| "*".to_owned()));
        match request.customize().interceptor(place.content_headers.clone()).send().await {
            Ok(answer) => {
                self.confirm(receipts, etag(answer.e_tag()).as_ref()).await?;
                Ok(PutOutcome::Stored)
            }
            Err(error) if mode == PutMode::CreateOnly && status(&error) == Some(412) => {
                Ok(PutOutcome::AlreadyExists)
            }
            Err(error) => Err(call.failed(error)),
        }
    }

    /// Makes sure that the object is there, whose tag the answer says, where it is of the usual kind.
    async fn confirm(&self, receipts: &[PartReceipt], answered: Option<&ETag>) -> Result<()> {
        let answered = answered.map(|tag| tag.0.trim_matches('"'));
        if answered.is_some() && answered == multipart_tag(receipts).as_deref() {
            return Ok(());
        }
        let call = self.place.call("complete", Some(&self.key));
        let other = |detail: String| Err(call.error(ErrorKind::Network, detail).with_hint(HINT));
        match self.place.head(&self.key).await? {
            Some(found) if found.size == self.bytes(receipts) => Ok(()),
            Some(found) => {
                let sent = self.bytes(receipts);
                other(format!("the service stored {} bytes, {sent} were sent", found.size))
            }
            None => other("the service says that it was stored, and does not have it".to_owned()),
        }
    }

    /// How many bytes these parts have.
    fn bytes(&self, receipts: &[PartReceipt]) -> u64 {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        receipts.iter().filter_map(|receipt| parts.get(&receipt.number)).map(|sent| sent.bytes).sum()
    }

    /// Whether `found`, of an object of `size` bytes, is the tag of one made of these parts. Services that encrypt
    /// have tags of their own; then the number of parts and the size must do.
    fn is_ours(&self, receipts: &[PartReceipt], found: Option<&ETag>, size: u64) -> bool {
        let Some(found) = found.filter(|_| self.bytes(receipts) == size) else { return false };
        let found = found.0.trim_matches('"');
        match multipart_tag(receipts) {
            Some(tag) if is_multipart_md5(found) => found == tag,
            _ => found.ends_with(&format!("-{}", receipts.len())),
        }
    }
}

/// The tag that S3 gives to an object of these parts: the MD5 of their MD5s, and their number.
fn multipart_tag(receipts: &[PartReceipt]) -> Option<String> {
    let mut whole = Md5::new();
    for receipt in receipts {
        let md5 = hex::decode(receipt.tag.0.trim_matches('"')).ok().filter(|md5| md5.len() == 16)?;
        whole.update(md5);
    }
    Some(format!("{}-{}", hex::encode(whole.finalize()), receipts.len()))
}

fn is_multipart_md5(tag: &str) -> bool {
    tag.split_once('-').is_some_and(|(md5, _)| md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Upload for S3Upload {
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>> {
        self.upload_part(part).boxed()
    }

    fn complete<'a>(
        &'a self,
        receipts: &'a [PartReceipt],
        mode: PutMode,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        self.complete_as(receipts, mode).boxed()
    }

    fn is_complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>> {
        async move {
            let found = self.place.head(&self.key).await?;
            Ok(found.is_some_and(|meta| self.is_ours(receipts, meta.etag.as_ref(), meta.size)))
        }
        .boxed()
    }

    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>> {
        abort(&self.place, &self.key, &self.id).boxed()
    }
}

/// Ends an upload and removes its parts.
pub(super) async fn abort(place: &Place, key: &Key, id: &str) -> Result<()> {
    let call = place.call("abort upload of", Some(key));
    let request = place.client().await?.abort_multipart_upload();
    let request = request.bucket(&place.config.bucket).key(place.full(key)).upload_id(id);
    match request.send().await {
        Ok(_) => Ok(()),
        // Aborted by an attempt whose answer was lost, or completed.
        Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
        Err(error) => Err(call.failed(error)),
    }
}
