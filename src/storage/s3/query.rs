//! Another service of AWS, by its Query protocol: each call is one POST of a form, signed as requests of S3 are, over the same
//! kind of connections and with keys from the same places. One attempt per call, and no look at what an answer says.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RuntimeComponentsBuilder, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{BoxError, SdkError};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::runtime_plugin::{SharedRuntimePlugin, StaticRuntimePlugin};
use aws_smithy_types::config_bag::Layer;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use http_body_util::LengthLimitError;
use tokio::sync::OnceCell;

use super::answer::causes;
use super::bounded::{ANSWER_BYTES, bounded};
use super::config::{Credentials, Endpoint, PASTED, Scheme};
use super::told::Told;
use super::unanswered::{Unanswered, Way};
use super::{credentials, region, transport};
use crate::storage::retry::RetryPolicy;
use crate::storage::{Error, ErrorKind, Location, Result};

/// Where a service is, and who asks it.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// Its name in hosts and signatures: `ec2`.
    pub service: &'static str,
    /// The region that is asked, and signed for.
    pub region: String,
    /// Its address, where it is not AWS's own.
    pub endpoint: Option<Endpoint>,
    /// The setting with that address, for messages.
    pub endpoint_setting: &'static str,
    /// Who we are.
    pub credentials: Credentials,
    /// Certificates to trust besides the system's, PEM.
    pub ca_bundle: Option<PathBuf>,
}

/// What a service answered, also when that is a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its text.
    pub body: String,
}

/// A service that can be called. Clones share its connections and keys.
#[derive(Debug, Clone)]
pub struct QueryService(Arc<Reached>);

#[derive(Debug)]
struct Reached {
    config: QueryConfig,
    endpoint: Endpoint,
    location: Location,
    http: SharedHttpClient,
    connect: Duration,
    keys_within: Duration,
    signing: OnceCell<SharedRuntimePlugin>,
}

impl QueryService {
    /// The service that `config` describes. Makes no request; fails when none could be made with it.
    ///
    /// Of `policy` it takes the times to connect and to get keys; [`crate::storage::retry::call`] repeats.
    pub fn open(config: QueryConfig, policy: &RetryPolicy) -> Result<QueryService> {
        let own = own_host(config.service, &config.region);
        let place = match &config.endpoint {
            Some(endpoint) => format!("{endpoint} ({})", config.region),
            None => own.clone(),
        };
        let location = Location::new(place);
        let invalid = |detail: String| Error::new(ErrorKind::Invalid, "open", None, &location, detail);
        if !region::is_name(&config.region) {
            return Err(invalid(format!("{:?} is not the name of a region", config.region)));
        }
        if let Some((name, what)) = config.credentials.unfit() {
            return Err(invalid(format!("{name} has {what}")).with_hint(PASTED));
        }
        let endpoint = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::parse(&own).map_err(|error| invalid(error.to_string()))?.0,
        };
        transport::check_proxy(endpoint.scheme(), &location, |name| std::env::var(name).ok())?;
        let certificates = match (&config.ca_bundle, endpoint.scheme()) {
            (Some(path), Scheme::Https) => Some(transport::read_certificates(path, &location)?),
            _ => None,
        };
        Ok(QueryService(Arc::new(Reached {
            http: bounded(transport::http_client(endpoint.scheme(), certificates)),
            config,
            endpoint,
            location,
            connect: policy.connect,
            keys_within: policy.transfer_budget,
            signing: OnceCell::new(),
        })))
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Calls `action` with the parameters in `form`, which names the action as well.
    pub async fn call(&self, action: &'static str, form: String) -> Result<Answer> {
        let signing = self.0.signing.get_or_init(|| self.0.signing()).await;
        let timeouts = TimeoutConfig::builder().connect_timeout(self.0.connect).build();
        let operation = Operation::builder()
            .service_name(self.0.config.service)
            .operation_name(action)
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(self.0.http.clone())
            .endpoint_url(&self.0.endpoint.to_string())
            .timeout_config(timeouts)
            .no_retry()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(Told)
            .runtime_plugin(signing.clone())
            .serializer(request)
            .deserializer(answer)
            .build();
        // In the heap: it is large, and callers lie deep.
        Box::pin(operation.invoke(form)).await.map_err(|error| self.0.failed(action, &error))
    }
}

impl Reached {
    /// How requests are signed: who signs, and for what.
    async fn signing(&self) -> SharedRuntimePlugin {
        let QueryConfig { service, region, credentials, ca_bundle, .. } = &self.config;
        let region = Region::new(region.clone());
        let keys = credentials::provider(credentials, None, ca_bundle.as_deref(), region.clone()).await;
        let mut settings = Layer::new("signing");
        settings.store_put(SigV4OperationSigningConfig::default());
        settings.store_put(SigningName::from_static(service));
        settings.store_put(SigningRegion::from(region));
        settings.store_put(AuthSchemeOptionResolverParams::new(()));
        let components = RuntimeComponentsBuilder::new("signing")
            .with_auth_scheme(SigV4AuthScheme::new())
            .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
            .with_identity_cache(Some(IdentityCache::lazy().load_timeout(self.keys_within).build()))
            .with_identity_resolver(SCHEME_ID, keys);
        let plugin = StaticRuntimePlugin::new().with_config(settings.freeze());
        SharedRuntimePlugin::new(plugin.with_runtime_components(components))
    }

    /// What the SDK reports: no whole answer came.
    fn failed(&self, action: &'static str, error: &SdkError<Infallible, HttpResponse>) -> Error {
        let failed = |kind, detail| Error::new(kind, action, None, &self.location, detail);
        let setting = self.config.endpoint_setting;
        if causes(error).any(|cause| cause.is::<LengthLimitError>()) {
            let detail = format!("the answer has more than {} MiB", ANSWER_BYTES >> 20);
            let hint = format!("something else answered: check {setting}, http_proxy, https_proxy, no_proxy");
            return failed(ErrorKind::Protocol, detail).with_hint(hint);
        }
        let way = Way {
            endpoint: setting,
            host: "the region, the endpoint and the name service",
            certificates: "AWS_CA_BUNDLE",
            proxy: transport::proxy_to(self.endpoint.scheme(), self.endpoint.host()),
        };
        let timed_out = matches!(error, SdkError::TimeoutError(_));
        let Unanswered { kind, detail, hint } = way.unanswered(error, timed_out);
        failed(kind, detail).with_hint(hint)
    }
}

/// AWS's own address of a service. Source: botocore's `endpoints.json`, the partitions `aws`, `aws-us-gov` and `aws-cn`.
fn own_host(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}")
}

fn request(form: String) -> std::result::Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(form));
    request.set_method("POST")?;
    request.set_uri("/")?;
    let content = "application/x-www-form-urlencoded; charset=utf-8";
    request.headers_mut().try_insert("content-type", content)?;
    Ok(request)
}

fn answer(answer: &HttpResponse) -> std::result::Result<Answer, OrchestratorError<Infallible>> {
    let body = answer.body().bytes().unwrap_or_default();
    Ok(Answer { status: answer.status().as_u16(), body: String::from_utf8_lossy(body).into_owned() })
}

/// Names and values as the query of a URL, as HTML forms write it.
pub fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encoded = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            match byte {
                b' ' => encoded.push('+'),
                byte if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => {
                    encoded.push(char::from(byte));
                }
                byte => encoded.push_str(&format!("%{byte:02X}")),
            }
            encoded
        })
    };
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
