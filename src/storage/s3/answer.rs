//! What a failed request means: from the status, the code and the error chain of the SDK to our classes.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use http_body_util::LengthLimitError;

use super::bounded::ANSWER_BYTES;
use super::config::S3Config;
use super::unanswered::{Unanswered, Way};
use super::{region, transport};
use crate::storage::error::WrongRegion;
use crate::storage::{Error, ErrorKind, Key, Location};

/// The longest text of a service that is shown.
const TEXT_CHARS: usize = 300;

/// What to do about a connection that broke, a request or an answer that was spoiled.
pub(super) const BROKEN_OFF: &str =
    "the connection broke: check the service, and proxies, load balancers and firewalls on the way";

/// What to do about an answer that is none of S3.
pub(super) const FOREIGN: &str =
    "something else than an S3 service answered: check AWS_ENDPOINT, http_proxy, https_proxy, no_proxy";

/// A request, for messages.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) action: &'static str,
    pub(super) key: Option<&'a Key>,
    pub(super) location: &'a Location,
    pub(super) config: &'a S3Config,
}

impl Call<'_> {
    /// An error of our own finding.
    pub(super) fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error::new(kind, self.action, self.key, self.location, detail)
    }

    /// An answer that ended early.
    pub(super) fn broken_off(&self, detail: impl Into<String>) -> Error {
        self.error(ErrorKind::Network, detail).with_hint(BROKEN_OFF)
    }

    /// What the SDK reports.
    pub(super) fn failed<E>(&self, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        if causes(&error).any(|cause| cause.is::<LengthLimitError>()) {
            let detail = format!("the answer has more than {} MiB", ANSWER_BYTES >> 20);
            return self.error(ErrorKind::Protocol, detail).with_hint(FOREIGN);
        }
        match error.raw_response() {
            Some(raw) => self.refused(raw, error.code(), error.message(), &error),
            None => self.not_answered(&error, matches!(error, SdkError::TimeoutError(_))),
        }
    }

    /// A key of a batch that could not be deleted.
    pub(super) fn refused_key(&self, code: Option<&str>, message: Option<&str>) -> Error {
        let kind = code.and_then(kind_of_code).unwrap_or(ErrorKind::Invalid);
        let detail = [code, message].into_iter().flatten().map(bounded).collect::<Vec<_>>().join(": ");
        with_hint(self.error(kind, detail), hint(kind, code))
    }

    /// The service answered with an error, or with something that is no answer.
    fn refused(
        &self,
        raw: &HttpResponse,
        code: Option<&str>,
        message: Option<&str>,
        error: &(dyn StdError + 'static),
    ) -> Error {
        let status = raw.status().as_u16();
        // A body that broke off was never kept.
        let cut = raw.body().bytes().is_none();
        let by_status = || match kind_of_status(status) {
            // What it would have said is not known.
            ErrorKind::Protocol if cut => ErrorKind::Network,
            kind => kind,
        };
        let kind = code.and_then(kind_of_code).unwrap_or_else(by_status);
        let mut detail = match (code, message) {
            (Some(code), Some(message)) if !message.is_empty() => {
                format!("{}: {}", bounded(code), bounded(message))
            }
            (Some(code), _) => bounded(code),
            (None, _) if (200..300).contains(&status) => innermost(error),
            (None, _) => body_text(raw).unwrap_or_else(|| reason(status).to_owned()),
        };
        detail.push_str(&format!(" (HTTP {status}"));
        // Swift names its own id as well; the S3 one is what both logs have.
        if let Some(id) = header(raw, "x-amz-request-id").or_else(|| header(raw, "x-trans-id")) {
            detail.push_str(&format!(", request {}", bounded(id)));
        }
        detail.push(')');
        let asked = header(raw, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let foreign = code.is_none() && raw.body().bytes().is_some_and(|body| !body.is_empty());
        let hint = match foreign {
            true => Some(FOREIGN),
            false => hint(kind, code),
        };
        let error = self.error(kind, detail).with_retry_after(asked);
        match region::wrong(raw, code) {
            Some(WrongRegion::Named(region)) => {
                let hint = region::hint(&region);
                error.with_wrong_region(Some(WrongRegion::Named(region))).with_hint(hint)
            }
            wrong => with_hint(error.with_wrong_region(wrong), hint),
        }
    }

    /// No answer came.
    pub(super) fn not_answered(&self, error: &(dyn StdError + 'static), timed_out: bool) -> Error {
        let way = Way {
            endpoint: "AWS_ENDPOINT",
            host: "AWS_ENDPOINT, AWS_S3_FORCE_PATH_STYLE (without it the bucket is a part of the host's name) and the name \
                   service",
            certificates: "WALG_S3_CA_CERT_FILE or AWS_CA_BUNDLE",
            proxy: transport::proxy(self.config),
        };
        let Unanswered { kind, detail, hint } = way.unanswered(error, timed_out);
        self.error(kind, detail).with_hint(hint)
    }

    /// The content of an answer is not what the service said of it.
    pub(super) fn wrong_content(&self, error: &(dyn StdError + 'static)) -> Error {
        self.error(ErrorKind::Protocol, chain(error)).with_hint(
            "the object was spoiled in the service or on the way: read it again, look at the service",
        )
    }
}

/// The value of a header of an answer.
pub(super) fn header<'a>(raw: &'a HttpResponse, name: &str) -> Option<&'a str> {
    raw.headers().get(name)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, and codes seen from other services.
fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchBucket" => ErrorKind::NoBucket,
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "InvalidSecurity"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "TokenRefreshRequired"
        | "AuthorizationHeaderMalformed"
        | "Forbidden"
        | "XAdminUserNotFound"
        | "NotSignedUp"
        | "Unauthorized" => ErrorKind::Refused,
        "SlowDown"
        | "ServiceUnavailable"
        | "InternalError"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "OperationAborted"
        | "ConditionalRequestConflict" => ErrorKind::Busy,
        // The connection or something on the way spoiled the request.
        "RequestTimeout"
        | "IncompleteBody"
        | "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch" => ErrorKind::Network,
        "PreconditionFailed" | "NoSuchUpload" => ErrorKind::Changed,
        _ => return None,
    })
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Refused,
        408 | 409 | 429 | 499 => ErrorKind::Busy,
        412 => ErrorKind::Changed,
        501 => ErrorKind::Invalid,
        500.. => ErrorKind::Busy,
        // A missing object says so by code; without one it may be any web server.
        404 | 200..300 => ErrorKind::Protocol,
        _ => ErrorKind::Invalid,
    }
}

fn hint(kind: ErrorKind, code: Option<&str>) -> Option<&'static str> {
    Some(match code {
        Some("InvalidAccessKeyId" | "XAdminUserNotFound") => "check AWS_ACCESS_KEY_ID and AWS_ENDPOINT",
        Some("SignatureDoesNotMatch") => {
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a wrong AWS_REGION or a proxy that changes headers does this too"
        }
        Some("RequestTimeTooSkewed") => "set the clock of this machine",
        Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            "check AWS_SESSION_TOKEN, or let it be renewed"
        }
        Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => {
            "check AWS_REGION: it is the region of the bucket"
        }
        Some("AccessDenied") => {
            "these keys may not do this here: check the policy of the bucket, and AWS_ACCESS_KEY_ID"
        }
        Some("EntityTooLarge") => "the service wants smaller parts: lower WALG_S3_MAX_PART_SIZE",
        Some("EntityTooSmall") => "the service wants larger parts: raise WALG_S3_MAX_PART_SIZE",
        Some("InvalidStorageClass") => "check WALG_S3_STORAGE_CLASS",
        _ => match kind {
            ErrorKind::NoBucket => {
                "check the bucket in WALG_S3_PREFIX and AWS_ENDPOINT; it is never created by itself"
            }
            ErrorKind::Refused => "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and what they may do",
            ErrorKind::Network => BROKEN_OFF,
            _ => return None,
        },
    })
}

fn with_hint(error: Error, hint: Option<&str>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        301 | 307 | 308 => "redirected elsewhere",
        401 => "not authenticated",
        403 => "forbidden",
        404 => "not found",
        429 => "too many requests",
        500.. => "the service failed",
        _ => "refused without a reason",
    }
}

/// The beginning of a body that is no S3 error, as of a proxy.
fn body_text(raw: &HttpResponse) -> Option<String> {
    let text = String::from_utf8_lossy(raw.body().bytes()?).trim().to_owned();
    (!text.is_empty()).then(|| format!("not an answer of S3: {}", bounded(&text)))
}

/// One line, bounded, without control characters.
pub(super) fn bounded(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    shown
}

/// An error, its cause, the cause of that, and so on.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |current| cause(*current))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An I/O error hides what it wraps: its `source` is the cause of that already.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The messages of an error and its causes, without those that only repeat or say that there is a cause.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    const EMPTY: [&str; 5] = ["", "dispatch failure", "io error", "other", "failed to construct request"];
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !EMPTY.contains(&text.as_str()) && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    if parts.is_empty() {
        parts.push(error.to_string());
    }
    bounded(&parts.join(": "))
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    bounded(&causes(error).last().unwrap_or(error).to_string())
}
