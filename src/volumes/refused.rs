//! What a refusal of EC2 means. Source: "Error codes for the Amazon EC2 API".

use crate::storage::s3::Answer;
use crate::storage::{self, ErrorKind, Location};

use super::answer::refusal;

/// No instance can have this id.
pub(super) const MALFORMED_INSTANCE: &str = "InvalidInstanceID.Malformed";
/// No instance has this id.
pub(super) const NO_INSTANCE: &str = "InvalidInstanceID.NotFound";
/// No snapshot has this id.
pub(super) const NO_SNAPSHOT: &str = "InvalidSnapshot.NotFound";
/// The snapshot is kept from being deleted.
pub(super) const LOCKED: &str = "SnapshotLocked";

/// The longest text of the service that is shown.
const TEXT_CHARS: usize = 300;

/// A call that the service refused, and would refuse again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action} in {location}: {code}: {detail}")]
pub struct Refused {
    /// The call.
    pub action: &'static str,
    /// Where.
    pub location: Location,
    /// The service's word for it.
    pub code: String,
    /// Its text, with the status and the number of the request.
    pub detail: String,
}

impl Refused {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.code.as_str() {
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
                return Some(format!(
                    "these keys may not do this: their policy has to allow ec2:{}",
                    self.action
                ));
            }
            "AuthFailure"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => {
                "check the keys, the profile, and the region (--aws-region, AWS_DEFAULT_REGION); keys are taken as for the bucket"
            }
            "ExpiredToken" | "RequestExpired" | "InvalidToken" => {
                "the token has expired, or the clock of this machine is wrong: renew AWS_SESSION_TOKEN, or let it be renewed"
            }
            "OptInRequired" => "this account may not use this region: check --aws-region, AWS_DEFAULT_REGION",
            "InvalidSnapshot.InUse" => "an image (AMI) is made of this snapshot: deregister that first",
            "SnapshotLimitExceeded" | "ResourceCountExceeded" => {
                "the account has as many snapshots as it may have: delete some, or ask AWS for more"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What an answer that is no success means: an error that may pass, or a refusal for good.
pub(super) fn of<T>(
    answer: &Answer,
    action: &'static str,
    location: &Location,
) -> storage::Result<Result<T, Refused>> {
    let status = answer.status;
    let failed = |kind, detail| storage::Error::new(kind, action, None, location, detail);
    let Some(refusal) = refusal(answer) else {
        return Err(match status {
            408 | 429 | 500.. => failed(ErrorKind::Busy, format!("the service failed (HTTP {status})")),
            _ => unreadable(action, location, format!("HTTP {status}: {}", line(&answer.body))),
        });
    };
    let request = refusal.request.map(|id| format!(", request {}", line(&id))).unwrap_or_default();
    let (code, detail) =
        (line(&refusal.code), format!("{} (HTTP {status}{request})", line(&refusal.message)));
    match status >= 500 || may_pass(&code) {
        true => Err(failed(ErrorKind::Busy, format!("{code}: {detail}"))),
        false => Ok(Err(Refused { action, location: location.clone(), code, detail })),
    }
}

/// An answer that is none of EC2.
pub(super) fn unreadable(action: &'static str, location: &Location, detail: String) -> storage::Error {
    storage::Error::new(ErrorKind::Protocol, action, None, location, format!("not an answer of EC2: {detail}"))
        .with_hint(
            "something else answered: check AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, http_proxy, https_proxy, no_proxy",
        )
}

/// Whether a later attempt may succeed: what AWS's own tools repeat, and the limit of one snapshot of a volume in 15 s.
/// Source: botocore `retries/standard.py`.
fn may_pass(code: &str) -> bool {
    [
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "RequestThrottledException",
        "EC2ThrottledException",
        "TooManyRequestsException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "PriorRequestNotComplete",
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "InternalFailure",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "ConcurrentCreateVolumePermissionLimitExceeded",
    ]
    .contains(&code)
}

/// One line, bounded, without control characters.
fn line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RetryAdvice;

    fn outcome(status: u16, body: &str) -> storage::Result<Result<(), Refused>> {
        let answer = Answer { status, body: body.to_owned() };
        of(&answer, "DescribeVolumes", &Location::new("ec2"))
    }

    #[test]
    fn passing_and_final_refusals() {
        let error = |code: &str| {
            format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"
            )
        };
        for (status, body, may_pass) in [
            (503, error("RequestLimitExceeded"), true),
            (400, error("RequestLimitExceeded"), true),
            (400, error("SnapshotCreationPerVolumeRateExceeded"), true),
            (500, error("Whatever"), true),
            (502, "<html>bad gateway</html>".to_owned(), true),
            (404, "<html>not found</html>".to_owned(), false),
            (200, String::new(), false),
        ] {
            let failed = outcome(status, &body).unwrap_err();
            assert_eq!(failed.retry() != RetryAdvice::Never, may_pass, "{status} {body}: {failed}");
        }
        let refused = outcome(403, &error("UnauthorizedOperation")).unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "DescribeVolumes in ec2: UnauthorizedOperation: m (HTTP 403)");
        assert!(refused.hint().unwrap().ends_with("ec2:DescribeVolumes"));
    }
}
