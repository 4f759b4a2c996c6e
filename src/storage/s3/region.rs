//! The region that requests are signed for: where nobody says it, a guess that the service may put right.
//!
//! A request that is signed for another region than the bucket's is refused, and the refusal names the right one: in a
//! header, or in its body (`AuthorizationHeaderMalformed`). The answer to a HEAD has no body, so a listing is asked for
//! then. What the service names is used from there on, for as long as the process lives; it is believed once.
//!
//! Only the region changes. An endpoint stays what it is; without one the SDK makes the name of a host of AWS from the
//! region's name, which therefore has to be a label of a host. Source: botocore's `S3RegionRedirectorv2` and
//! `validate_region_name`.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::ProvideErrorMetadata;

use super::answer::header;
use super::config::RegionIs;
use super::{Place, client};
use crate::storage::error::WrongRegion;
use crate::storage::{Error, Result};

/// Where answers about a bucket say its region.
pub(super) const HEADER: &str = "x-amz-bucket-region";

/// The longest label of a host's name (RFC 1035).
const LABEL_BYTES: usize = 63;

/// What a refusal says of the region. An answer without a body may be one because of it.
pub(super) fn wrong(raw: &HttpResponse, code: Option<&str>) -> Option<WrongRegion> {
    let body = raw.body().bytes().unwrap_or_default();
    let may_be = match raw.status().as_u16() {
        301 | 302 | 307 => true,
        400 if body.is_empty() => true,
        _ => {
            matches!(code, Some("AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"))
        }
    };
    let text = String::from_utf8_lossy(body);
    let in_body = || text.split_once("<Region>").and_then(|(_, rest)| rest.split_once("</Region>"));
    let named = header(raw, HEADER).or_else(|| in_body().map(|(region, _)| region));
    match named.map(str::trim) {
        _ if !may_be => None,
        Some(name) => is_name(name).then(|| WrongRegion::Named(name.to_owned())),
        None => body.is_empty().then_some(WrongRegion::Unnamed),
    }
}

/// What to do where the service names another region.
pub(super) fn hint(region: &str) -> String {
    format!(
        "the bucket is in the region `{region}`: set AWS_REGION to it, and AWS_ENDPOINT to an address of this region"
    )
}

/// Whether a text may be the name of a region, and so a label of a host.
pub(super) fn is_name(text: &str) -> bool {
    (1..=LABEL_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The region that a host of AWS serves: `s3.eu-west-1.amazonaws.com`, `s3-eu-west-1…`, `s3.dualstack.eu-west-1…`,
/// `bucket.vpce-1a2b.s3.eu-west-1.vpce…`. `None` for `s3.amazonaws.com`, which serves several.
/// Source: <https://docs.aws.amazon.com/general/latest/gr/s3.html>.
pub(super) fn of_host(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let below = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let below = below.strip_suffix(".vpce").unwrap_or(below);
    if !below.split('.').any(|label| label == "s3" || label.starts_with("s3-")) {
        return None;
    }
    let last = below.rsplit('.').next()?;
    let region = last.strip_prefix("s3-").unwrap_or(last);
    let looks_like_one = is_name(region)
        && region.split('-').count() >= 3
        && region.ends_with(|end: char| end.is_ascii_digit());
    looks_like_one.then(|| region.to_owned())
}

impl Place {
    /// Makes a call; where the service refuses it since the bucket is in another region than the one that was guessed,
    /// makes it again for that one.
    pub(super) async fn anywhere<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let may_move = !self.moved.initialized();
        match call().await {
            Err(refused) if may_move && refused.wrong_region().is_some() => {
                self.move_to_region(refused).await?;
                call().await
            }
            outcome => outcome,
        }
    }

    /// Signs for the region that a refusal names from now on. Gives the refusal back, with what to do, if it names none
    /// or the region was set.
    pub(super) async fn move_to_region(&self, refused: Error) -> Result<()> {
        let named = match refused.wrong_region() {
            Some(WrongRegion::Named(region)) => Some(region.clone()),
            Some(WrongRegion::Unnamed) => self.ask_region().await,
            None => None,
        };
        let Some(first) = self.client.get() else { return Err(refused) };
        let used = first.config().region().map(Region::as_ref);
        let Some(region) = named.filter(|region| Some(region.as_str()) != used) else { return Err(refused) };
        if self.config.region.is_some() && self.config.region_is == RegionIs::Fixed {
            return Err(refused.with_hint(hint(&region)));
        }
        self.moved
            .get_or_init(async || {
                tracing::info!(
                    region,
                    bucket = self.config.bucket,
                    "the service names this region; set, it would save requests"
                );
                client::in_region(first, region)
            })
            .await;
        Ok(())
    }

    /// The region that the service names when it refuses a request whose answer has a body.
    async fn ask_region(&self) -> Option<String> {
        let client: &Client = self.client().await.ok()?;
        let request = client.list_objects().bucket(&self.config.bucket).max_keys(1);
        let refused = request.send().await.err()?;
        match wrong(refused.raw_response()?, refused.code())? {
            WrongRegion::Named(region) => Some(region),
            WrongRegion::Unnamed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::SdkBody;

    #[test]
    fn hosts_of_aws() {
        for (host, expected) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("S3-EU-West-1.amazonaws.com", Some("eu-west-1")),
            ("s3.dualstack.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("s3-fips.us-east-2.amazonaws.com", Some("us-east-2")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("bucket.s3.ap-southeast-4.amazonaws.com", Some("ap-southeast-4")),
            ("bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("s3.amazonaws.com", None),
            ("s3-accelerate.amazonaws.com", None),
            ("s3-external-1.amazonaws.com", None),
            ("ec2.eu-west-1.amazonaws.com", None),
            ("s3.eu-west-1.amazonaws.com.example.org", None),
            ("s3.eu-west-1.example.org", None),
            ("amazonaws.com", None),
        ] {
            assert_eq!(of_host(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("eu-west-1", true),
            ("garage", true),
            ("", false),
            ("1", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
            ("evil.example.org/", false),
            ("a@b", false),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    #[test]
    fn refusals() {
        const BODY: &str = "<Error><Code>C</Code><Region> eu-west-3 </Region></Error>";
        let malformed = Some("AuthorizationHeaderMalformed");
        let named = || Some(WrongRegion::Named("eu-west-3".to_owned()));
        let unnamed = Some(WrongRegion::Unnamed);
        for (status, code, region, body, expected) in [
            (400, malformed, "", BODY, named()),
            (400, malformed, "eu-west-3", "<Error/>", named()),
            (301, Some("PermanentRedirect"), "eu-west-3", "<Error/>", named()),
            (307, Some("TemporaryRedirect"), "eu-west-3", "<Error/>", named()),
            (400, Some("IllegalLocationConstraintException"), "eu-west-3", "<Error/>", named()),
            (301, None, "eu-west-3", "", named()),
            (400, None, "eu-west-3", "", named()),
            (301, None, "", "", unnamed.clone()),
            (400, None, "", "", unnamed),
            (400, malformed, "", "<Error/>", None),
            (400, malformed, "evil.org/", "", None),
            (400, Some("InvalidArgument"), "eu-west-3", BODY, None),
            (403, Some("AccessDenied"), "eu-west-3", BODY, None),
            (404, None, "eu-west-3", "", None),
        ] {
            let mut answer =
                HttpResponse::new(u16::try_from(status).unwrap().try_into().unwrap(), SdkBody::from(body));
            if !region.is_empty() {
                answer.headers_mut().insert(HEADER, region);
            }
            assert_eq!(wrong(&answer, code), expected, "{status} {code:?} {region} {body}");
        }
    }
}
