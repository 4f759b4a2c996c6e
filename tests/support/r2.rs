//! The limits of Cloudflare R2 that other services do not have, as its documentation of the S3 API and its users name them
//! (<https://developers.cloudflare.com/r2/api/s3/api/>).

use std::collections::BTreeMap;

use super::gate::RequestHead;

/// A refusal: the status and the code of S3.
pub type Refusal = (u16, &'static str);

/// Every part but the last is at least this long.
const MIN_PART: usize = 5 << 20;

/// Headers that R2 does not implement, by their beginning.
const UNKNOWN_HEADERS: [&str; 8] = [
    "x-amz-acl",
    "x-amz-grant-",
    "x-amz-tagging",
    "x-amz-object-lock-",
    "x-amz-website-redirect-location",
    "x-amz-server-side-encryption-aws-kms",
    "x-amz-server-side-encryption-context",
    "x-amz-trailer",
];

/// What has to be remembered to apply them.
#[derive(Default)]
pub struct R2 {
    /// The lengths of the parts of each upload, by number.
    uploads: BTreeMap<String, BTreeMap<u32, usize>>,
}

impl R2 {
    /// How R2 refuses a request that other services take.
    pub fn refuses(&mut self, request: &RequestHead, body: &[u8]) -> Option<Refusal> {
        self.header(request).or_else(|| self.token(request)).or_else(|| self.parts(request, body))
    }

    fn header(&self, request: &RequestHead) -> Option<Refusal> {
        let unknown = |(name, value): (&String, &String)| match name.as_str() {
            "x-amz-server-side-encryption" => value != "AES256",
            "x-amz-storage-class" => !["STANDARD", "STANDARD_IA"].contains(&value.as_str()),
            "x-amz-content-sha256" => value.ends_with("-TRAILER"),
            name => UNKNOWN_HEADERS.iter().any(|header| name.starts_with(header)),
        };
        if request.headers.iter().any(unknown) {
            return Some((501, "NotImplemented"));
        }
        let scope = request.headers.get("authorization")?.split('/').nth(2)?;
        (!["auto", "us-east-1"].contains(&scope)).then_some((400, "InvalidRegionName"))
    }

    /// What a token for one bucket may not do: list buckets, and make one.
    fn token(&self, request: &RequestHead) -> Option<Refusal> {
        let path = request.target.split('?').next().unwrap_or_default().trim_matches('/');
        let of_all = path.is_empty();
        let creates = request.method == "PUT" && !path.contains('/');
        (of_all || creates).then_some((403, "AccessDenied"))
    }

    /// All parts of an upload but the last have one size.
    fn parts(&mut self, request: &RequestHead, body: &[u8]) -> Option<Refusal> {
        let (_, query) = request.target.split_once('?')?;
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        let parts = self.uploads.entry(parameter("uploadId")?.to_owned()).or_default();
        match (request.method.as_str(), parameter("partNumber")) {
            ("PUT", Some(number)) => {
                parts.insert(number.parse().unwrap(), body.len());
                None
            }
            ("POST", None) => {
                let sizes: Vec<usize> = parts.values().copied().collect();
                let (last, others) = sizes.split_last()?;
                let first = *others.first()?;
                match first {
                    _ if others.iter().any(|size| *size != first) || *last > first => {
                        Some((400, "InvalidPart"))
                    }
                    ..MIN_PART => Some((400, "EntityTooSmall")),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
