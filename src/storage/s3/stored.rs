//! Whether a service has stored what it was sent, by its own word.
//!
//! The ETag of a single put is the MD5 of what was stored, at nearly every service; not where the service encrypts with a
//! key of the customer or of KMS, and not where it has 32 hexadecimal digits of another kind, which a setting says. Over
//! http a service has checked the SHA-256 of the signature itself. What remains are such objects over https: TLS has
//! protected them on the way, and the service is asked for their size. So it is, and over http too, when an answer has no
//! tag at all: it may be somebody else's.
//!
//! The MD5 takes 1.9 ms of CPU time for each MiB (the SHA-256 of a signature 0.7), on another thread while the body goes
//! up. Parts are not compared: several services have tags of another kind for them (Cloudflare R2, Google). The service
//! compares the tags that complete an upload with its own. The tag of the whole is that of its parts, or else the service
//! is asked for its size; and a backup asks for the sizes of all its tars before it writes its marker.

use std::pin::Pin;

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use md5::Md5;

use super::body::hash;
use super::config::{Encryption, S3Config, Scheme};
use super::{EtagCheck, Place};
use crate::storage::{ErrorKind, Key, Result};

/// What to do when a service has stored something else.
pub(super) const HINT: &str = "the service, or a proxy in front of it, spoiled the object; if its ETags are no MD5, set \
                    SEAWALL_S3_CHECK_ETAG=false";

/// What was sent in a put.
pub(super) struct Sent {
    bytes: u64,
    md5: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
}

impl Sent {
    /// Begins to hash the body where the answer may be compared with it.
    pub(super) fn new(config: &S3Config, body: &Bytes) -> Sent {
        let has_md5 = match config.encryption {
            None | Some(Encryption::Aes256) => config.etag_check == EtagCheck::Md5,
            Some(Encryption::Kms { .. } | Encryption::Customer { .. }) => false,
        };
        let md5 = has_md5
            .then(|| -> Pin<Box<dyn Future<Output = String> + Send>> { Box::pin(hash::<Md5>(body.clone())) });
        Sent { bytes: body.len() as u64, md5 }
    }

    /// Compares what the service says with what was sent. What differs is a passing fault: sent again it may be stored.
    pub(super) async fn confirm(self, place: &Place, key: &Key, answer: &PutObjectOutput) -> Result<()> {
        let other = |detail| place.call("put", Some(key)).error(ErrorKind::Network, detail).with_hint(HINT);
        let tag = answer.e_tag().map(|tag| tag.trim_matches('"')).filter(|tag| may_be_md5(tag, answer));
        if let (Some(md5), Some(tag)) = (self.md5, tag) {
            let md5 = md5.await;
            return match tag.eq_ignore_ascii_case(&md5) {
                true => Ok(()),
                false => Err(other(format!(
                    "the service stored other bytes: its ETag is {tag}, the MD5 of ours {md5}"
                ))),
            };
        }
        // Whoever gives it a tag has it.
        if place.config.scheme() == Scheme::Http && answer.e_tag().is_some() {
            return Ok(());
        }
        match place.head(key).await? {
            Some(meta) if meta.size == self.bytes => Ok(()),
            Some(meta) => {
                Err(other(format!("the service stored {} bytes, {} were sent", meta.size, self.bytes)))
            }
            None => Err(other("the service says that it was stored, and does not have it".to_owned())),
        }
    }
}

/// Whether the tag looks like an MD5 and the service says nothing of an encryption that makes it another one.
fn may_be_md5(tag: &str, answer: &PutObjectOutput) -> bool {
    let is_plain = matches!(answer.server_side_encryption(), None | Some(ServerSideEncryption::Aes256))
        && answer.sse_customer_algorithm().is_none();
    is_plain && tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}
