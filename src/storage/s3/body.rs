//! Bodies of requests, which say how far they have gone up, and of answers, counted while they come down.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::{Frame, SizeHint};
use sha2::{Digest, Sha256};

use super::Place;
use super::config::Scheme;
use crate::storage::retry::Progress;
use crate::storage::{ErrorKind, Key, Result};

/// Bytes handed to the connection at a time: each time is a sign of life.
const CHUNK_BYTES: usize = 64 * 1024;
/// Larger bodies are hashed beside the async world.
const HASH_INLINE_BYTES: usize = 256 * 1024;

/// Whether the signature of a request covers its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// It does.
    Signed,
    /// It does not; TLS protects the body.
    Unsigned,
}

impl Payload {
    /// What is sent over this.
    pub(super) fn over(scheme: Scheme) -> Payload {
        match scheme {
            Scheme::Http => Payload::Signed,
            Scheme::Https => Payload::Unsigned,
        }
    }
}

/// The body of one request, with what its signature needs.
pub(super) struct Signed {
    bytes: Bytes,
    sha256: Option<String>,
}

impl Signed {
    /// Hashes the body where the signature covers it.
    pub(super) async fn new(bytes: Bytes, payload: Payload) -> Signed {
        let sha256 = match payload {
            Payload::Unsigned => None,
            Payload::Signed => Some(hash::<Sha256>(bytes.clone()).await),
        };
        Signed { bytes, sha256 }
    }

    pub(super) fn length(&self) -> i64 {
        i64::try_from(self.bytes.len()).unwrap_or(i64::MAX)
    }

    /// The body as it is sent by the attempt that is being made, which hears of its progress.
    pub(super) fn stream(&self) -> ByteStream {
        let body = WatchedBody {
            rest: self.bytes.clone(),
            bytes: self.bytes.len(),
            progress: Progress::of_this_attempt(),
        };
        ByteStream::new(SdkBody::from_body_1_x(body))
    }

    pub(super) fn interceptor(&self) -> PayloadSignature {
        PayloadSignature(match &self.sha256 {
            Some(sha256) => PayloadSigningOverride::Precomputed(sha256.clone()),
            None => PayloadSigningOverride::UnsignedPayload,
        })
    }
}

/// The hash of a body, in hexadecimal digits. A large one is being taken from now on, whenever it is waited for.
pub(super) fn hash<D: Digest + 'static>(bytes: Bytes) -> impl Future<Output = String> + Send {
    let hashing = (bytes.len() > HASH_INLINE_BYTES).then(|| {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || hex::encode(D::digest(&bytes)))
    });
    async move {
        let hashed = match hashing {
            Some(hashing) => hashing.await.ok(),
            None => None,
        };
        // A task that could not run: the runtime ends, so it does not matter where the time goes.
        hashed.unwrap_or_else(|| hex::encode(D::digest(&bytes)))
    }
}

struct WatchedBody {
    rest: Bytes,
    /// Of the whole body.
    bytes: usize,
    progress: Progress,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(size);
        match self.rest.is_empty() {
            false => self.progress.sending(),
            true => self.progress.sent(self.bytes),
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Tells the signer what the body is, as it cannot look into a stream.
#[derive(Debug)]
pub(super) struct PayloadSignature(PayloadSigningOverride);

impl Intercept for PayloadSignature {
    fn name(&self) -> &'static str {
        "PayloadSignature"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        config.interceptor_state().store_put(self.0.clone());
        Ok(())
    }
}

/// The body of an answer; one that is shorter or longer than announced is an error.
pub(super) fn chunks(
    place: Arc<Place>,
    key: Key,
    announced: u64,
    body: ByteStream,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold((body, announced), move |(mut body, left)| {
        let (place, key) = (place.clone(), key.clone());
        async move {
            let call = place.call("get", Some(&key));
            match body.next().await {
                Some(Ok(chunk)) => {
                    let left = left.checked_sub(chunk.len() as u64);
                    let too_long = || call.error(ErrorKind::Protocol, "the body is longer than announced");
                    Ok(Some((chunk, (body, left.ok_or_else(too_long)?))))
                }
                // All has arrived, and its checksum is not the one that was sent with it.
                Some(Err(error)) if left == 0 => Err(call.wrong_content(&error)),
                Some(Err(error)) => Err(call.not_answered(&error, false)),
                None if left == 0 => Ok(None),
                None => Err(call.broken_off(format!("the body ended {left} bytes early"))),
            }
        }
    })
}
