//! What can go wrong with a storage, in the classes that callers act upon.

use std::fmt;
use std::time::Duration;

use super::{Key, Location};

/// A storage operation that failed. *Missing* is not here: it is a value.
#[derive(Debug, Clone)]
pub struct Error(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    kind: ErrorKind,
    action: &'static str,
    object: Option<Key>,
    location: Location,
    detail: String,
    hint: Option<String>,
    retry_after: Option<Duration>,
    spent: Option<Spent>,
    wrong_region: Option<WrongRegion>,
}

/// Why a storage operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection, DNS, TLS handshake, reset, a stalled or cut body, an early end.
    Network,
    /// No answer within the deadline.
    Timeout,
    /// 500, 503, 429, SlowDown: the service is there and asks for patience.
    Busy,
    /// 401, 403, bad key, bad signature, expired token, no credentials at all, a certificate that is not trusted.
    Refused,
    /// The bucket or the root directory does not exist.
    NoBucket,
    /// The object was replaced while it was being read, or a conditional request failed.
    Changed,
    /// The storage answered something that its protocol does not allow, or a wrong checksum.
    Protocol,
    /// The file system refused: permission, full disk, I/O error.
    FileSystem,
    /// The request itself was wrong (400, 405, 501).
    Invalid,
}

/// Whether the same request may succeed when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAdvice {
    /// It will fail again.
    Never,
    /// After the usual backoff, and not before the given time when the service named one.
    After(Option<Duration>),
}

/// What a refusal says of the region that the request was signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WrongRegion {
    /// The bucket is in this one.
    Named(String),
    /// It may be another one; the answer could not say more.
    Unnamed,
}

/// What was spent on retries before giving up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spent {
    attempts: u32,
    elapsed: Duration,
}

impl Error {
    /// A failure of `action` ("get", "list" …) with the storage's own words in `detail` (no secrets).
    pub fn new(
        kind: ErrorKind,
        action: &'static str,
        object: Option<&Key>,
        location: &Location,
        detail: impl Into<String>,
    ) -> Error {
        Error(Box::new(Facts {
            kind,
            action,
            object: object.cloned(),
            location: location.clone(),
            detail: detail.into(),
            hint: None,
            retry_after: None,
            spent: None,
            wrong_region: None,
        }))
    }

    /// Adds what a person can do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the wait that the service asked for.
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Error {
        self.0.retry_after = wait;
        self
    }

    /// Adds what was spent before giving up.
    pub fn with_spent(mut self, attempts: u32, elapsed: Duration) -> Error {
        self.0.spent = Some(Spent { attempts, elapsed });
        self
    }

    /// Adds what the refusal says of the region.
    pub(super) fn with_wrong_region(mut self, wrong: Option<WrongRegion>) -> Error {
        self.0.wrong_region = wrong;
        self
    }

    /// What the refusal says of the region.
    pub(super) fn wrong_region(&self) -> Option<&WrongRegion> {
        self.0.wrong_region.as_ref()
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The storage's own words, without what was done and where.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The same with what was spent before giving up.
    pub fn detail_and_spent(&self) -> String {
        match &self.0.spent {
            None => self.0.detail.clone(),
            Some(Spent { attempts, elapsed }) => {
                let (plural, seconds) = (if *attempts == 1 { "" } else { "s" }, elapsed.as_secs_f64());
                format!("{} (gave up after {attempts} attempt{plural} in {seconds:.1} s)", self.0.detail)
            }
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether to send the same request again.
    pub fn retry(&self) -> RetryAdvice {
        match self.0.kind {
            ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Busy => {
                RetryAdvice::After(self.0.retry_after)
            }
            _ => RetryAdvice::Never,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.action)?;
        if let Some(object) = &self.0.object {
            write!(f, " `{object}`")?;
        }
        write!(f, " in {}: {}", self.0.location, self.detail_and_spent())
    }
}

impl std::error::Error for Error {}
