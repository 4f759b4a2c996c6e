//! Who we are: keys from the settings, or the first provider that has any.

use std::path::Path;

use aws_config::SdkConfig;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::config::{BehaviorVersion, Region, SharedCredentialsProvider, SharedHttpClient};
use secrecy::ExposeSecret;

use super::apart::{self, Apart};
use super::bounded::bounded;
use super::config::{AssumeRole, Chain, Credentials, Scheme};
use super::transport;

/// The name of our sessions where no setting gives one.
const SESSION_NAME: &str = "seawall";

/// The provider that these settings ask for. It reads files and asks services with its first use only.
pub(super) async fn provider(
    credentials: &Credentials,
    role: Option<&AssumeRole>,
    ca_bundle: Option<&Path>,
    region: Region,
) -> SharedCredentialsProvider {
    // A service for credentials is trusted by the same certificates; unreadable ones were refused before.
    let extra = ca_bundle.and_then(|path| std::fs::read(path).ok());
    let http = || bounded(transport::http_client(Scheme::Https, extra.as_deref().map(transport::usable)));
    let base = match credentials {
        Credentials::Static { access_key, secret_key, session_token } => {
            let token = session_token.as_ref().map(|token| token.expose_secret().trim().to_owned());
            SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
                access_key.trim(),
                secret_key.expose_secret().trim(),
                token.filter(|token| !token.is_empty()),
                None,
                "settings",
            ))
        }
        Credentials::Chain(chain) => SharedCredentialsProvider::new(providers(chain, http(), region.clone())),
    };
    let Some(role) = role else {
        return match credentials {
            Credentials::Static { .. } => base,
            Credentials::Chain(_) => SharedCredentialsProvider::new(Apart(base)),
        };
    };
    let mut sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http())
        .region(region)
        .time_source(aws_smithy_async::time::SystemTimeSource::new());
    // The SDK's own providers read it from the environment, too.
    sdk.set_endpoint_url(std::env::var("AWS_ENDPOINT_URL_STS").ok());
    let sdk = sdk.build();
    let session = role.session_name.as_deref().unwrap_or(SESSION_NAME);
    let role = AssumeRoleProvider::builder(&role.role_arn).session_name(session).configure(&sdk);
    let role = SharedCredentialsProvider::new(role.build_from_provider(base).await);
    SharedCredentialsProvider::new(Apart(role))
}

/// The providers in the order of AWS's own tools; each is asked only when those before it have nothing.
fn providers(chain: &Chain, http: SharedHttpClient, region: Region) -> CredentialsProviderChain {
    let config = ProviderConfig::empty()
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_region(Some(region))
        .with_http_client(http);
    let mut profile =
        ProfileFileCredentialsProvider::builder().configure(&config).profile_files(files(chain));
    if let Some(name) = &chain.profile {
        profile = profile.profile_name(name);
    }
    let mut web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config);
    if let Some(role) = &chain.web_identity {
        web_identity = web_identity.static_configuration(StaticConfiguration {
            web_identity_token_file: role.token_file.clone(),
            role_arn: role.role_arn.clone(),
            session_name: role.session_name.clone().unwrap_or_else(|| SESSION_NAME.to_owned()),
        });
    }
    CredentialsProviderChain::first_try("profile", profile.build())
        .or_else("web identity", web_identity.build())
        .or_else("container", EcsCredentialsProvider::builder().configure(&config).build())
        .or_else("instance", ImdsCredentialsProvider::builder().configure(&config).build())
}

/// The region of the profile.
pub(super) async fn profile_region(chain: &Chain) -> Option<String> {
    let mut builder = ProfileFileRegionProvider::builder().profile_files(files(chain));
    if let Some(name) = &chain.profile {
        builder = builder.profile_name(name);
    }
    let region = apart::run(async move { builder.build().region().await }).await.ok().flatten();
    region.map(|region| region.as_ref().to_owned())
}

fn files(chain: &Chain) -> EnvConfigFiles {
    let mut files = EnvConfigFiles::builder();
    files = match &chain.config_file {
        Some(path) => files.with_file(EnvConfigFileKind::Config, path),
        None => files.include_default_config_file(true),
    };
    files = match &chain.credentials_file {
        Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
        None => files.include_default_credentials_file(true),
    };
    files.build()
}
