//! The SDK's client for one bucket: connections, trust, proxy, credentials, region.
//!
//! Everything costly waits until it is needed: certificates are loaded for https only and from one bundle,
//! credential providers are asked with the first request, the region is looked up only where nothing names it.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, IdentityCache, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;

use super::answer::{Call, header};
use super::bounded::Bounded;
use super::config::{Addressing, Checksums, Credentials, Network, S3Config};
use super::profile::Answering;
use super::told::Told;
use super::{credentials, region};
use crate::storage::retry::RetryPolicy;
use crate::storage::{ErrorKind, Location, Result};

/// The region that a service which has none is signed for, and where the region of a bucket can be asked.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// Builds the client, whose answers `answering` looks at. Asks the service for the region of the bucket when nothing names it.
pub(super) async fn connect(
    config: &S3Config,
    location: &Location,
    policy: &RetryPolicy,
    http: &SharedHttpClient,
    answering: &Answering,
) -> Result<Client> {
    let region = match (&config.region, &config.endpoint, &config.credentials) {
        (Some(region), _, _) => Some(region.trim().to_owned()),
        (None, Some(endpoint), _) => {
            Some(region::of_host(endpoint.host()).unwrap_or_else(|| DEFAULT_REGION.to_owned()))
        }
        (None, None, Credentials::Chain(chain)) => credentials::profile_region(chain).await,
        (None, None, Credentials::Static { .. }) => None,
    };
    if let Some(region) = region {
        return Ok(client(config, policy, http, answering, region).await);
    }
    let anywhere = client(config, policy, http, answering, DEFAULT_REGION.to_owned()).await;
    let region = bucket_region(&anywhere, config, location).await?;
    tracing::debug!(region, bucket = config.bucket, "looked up the region");
    Ok(client(config, policy, http, answering, region).await)
}

/// The region that the service names in any answer about a bucket, also in a refusal.
async fn bucket_region(client: &Client, config: &S3Config, location: &Location) -> Result<String> {
    let call = Call { action: "look up the region of the bucket", key: None, location, config };
    let named = match client.head_bucket().bucket(&config.bucket).send().await {
        Ok(answer) => answer.bucket_region().map(str::to_owned),
        Err(error) => match error.raw_response().and_then(|raw| header(raw, region::HEADER)) {
            Some(region) => Some(region.to_owned()),
            None if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => {
                let detail = format!("the bucket `{}` does not exist (HTTP 404)", config.bucket);
                return Err(call
                    .error(ErrorKind::NoBucket, detail)
                    .with_hint("check the bucket in WALG_S3_PREFIX"));
            }
            None => return Err(call.failed(error)),
        },
    };
    named.ok_or_else(|| call.error(ErrorKind::Protocol, "the answer names none").with_hint("set AWS_REGION"))
}

/// The same client, which signs for another region.
pub(super) fn in_region(client: &Client, region: String) -> Client {
    Client::from_conf(client.config().to_builder().region(Region::new(region)).build())
}

async fn client(
    config: &S3Config,
    policy: &RetryPolicy,
    http: &SharedHttpClient,
    answering: &Answering,
    region: String,
) -> Client {
    let region = Region::new(region);
    let (role, bundle) = (config.assume_role.as_ref(), config.ca_bundle.as_deref());
    let credentials = credentials::provider(&config.credentials, role, bundle, region.clone()).await;
    let timeouts = TimeoutConfig::builder().connect_timeout(policy.connect).build();
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http.clone())
        .credentials_provider(credentials)
        .region(region)
        .force_path_style(config.addressing == Addressing::Path)
        .timeout_config(timeouts)
        // `storage::retry` repeats and watches; two layers of it would multiply.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The SDK would send them behind the body, which Swift and others refuse; ours are plain headers.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(match config.response_checksums {
            Checksums::WhenRequired => ResponseChecksumValidation::WhenRequired,
            Checksums::WhenSupported => ResponseChecksumValidation::WhenSupported,
        })
        .interceptor(ExtraHeaders(config.headers.0.clone()))
        .interceptor(answering.clone())
        .interceptor(Told)
        .interceptor(Bounded)
        // `storage::retry` bounds this as well.
        .identity_cache(IdentityCache::lazy().load_timeout(policy.transfer_budget).build());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint.to_string());
    } else {
        builder = builder.use_dual_stack(config.network == Network::DualStack);
    }
    Client::from_conf(builder.build())
}

/// Adds headers before the request is signed. Their values may be keys.
#[derive(Clone)]
pub(super) struct ExtraHeaders(pub(super) Vec<(String, String)>);

impl fmt::Debug for ExtraHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Intercept for ExtraHeaders {
    fn name(&self) -> &'static str {
        "ExtraHeaders"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in &self.0 {
            headers.try_insert(name.clone(), value.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Prefix;
    use crate::storage::s3::{Endpoint, transport};
    use std::io::{Read, Write};

    /// A service that answers one request.
    fn service(answer: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(connection.read(&mut request).unwrap() > 0);
            connection.write_all(answer.as_bytes()).unwrap();
        });
        format!("http://{address}")
    }

    fn keys() -> Credentials {
        Credentials::Static { access_key: "key".to_owned(), secret_key: "secret".into(), session_token: None }
    }

    fn region_from(answer: &'static str) -> Result<String> {
        let mut config = S3Config::new("bucket", Prefix::root(), keys());
        config.endpoint = Some(Endpoint::parse(&service(answer)).unwrap().0);
        config.addressing = Addressing::Path;
        let (policy, http) = (RetryPolicy::default(), transport::http_client(config.scheme(), None));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client =
                client(&config, &policy, &http, &Answering::default(), DEFAULT_REGION.to_owned()).await;
            bucket_region(&client, &config, &config.location()).await
        })
    }

    #[test]
    fn an_endpoint_of_aws_names_its_region() {
        for (endpoint, expected) in [
            ("https://s3.eu-west-3.amazonaws.com", "eu-west-3"),
            ("https://s3.eu-west-3.example.org", "us-east-1"),
        ] {
            let mut config = S3Config::new("bucket", Prefix::root(), keys());
            config.endpoint = Some(Endpoint::parse(endpoint).unwrap().0);
            let (policy, http) = (RetryPolicy::default(), transport::http_client(config.scheme(), None));
            let location = config.location();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client =
                runtime.block_on(connect(&config, &location, &policy, &http, &Answering::default())).unwrap();
            assert_eq!(client.config().region().map(Region::as_ref), Some(expected));
        }
    }

    #[test]
    fn any_answer_about_a_bucket_names_its_region() {
        for (answer, expected) in [
            (
                "HTTP/1.1 200 OK\r\nx-amz-bucket-region: eu-central-1\r\ncontent-length: 0\r\n\r\n",
                Ok("eu-central-1"),
            ),
            (
                "HTTP/1.1 301 M\r\nx-amz-bucket-region: eu-west-3\r\ncontent-length: 0\r\n\r\n",
                Ok("eu-west-3"),
            ),
            (
                "HTTP/1.1 403 F\r\nx-amz-bucket-region: ap-south-1\r\ncontent-length: 0\r\n\r\n",
                Ok("ap-south-1"),
            ),
            ("HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n", Err(ErrorKind::NoBucket)),
            ("HTTP/1.1 403 F\r\ncontent-length: 0\r\n\r\n", Err(ErrorKind::Refused)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Err(ErrorKind::Protocol)),
        ] {
            let region = region_from(answer).map_err(|error| error.kind());
            assert_eq!(region, expected.map(str::to_owned), "{answer}");
        }
    }
}
