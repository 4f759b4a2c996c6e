//! Connections of S3 requests: TLS trust and proxies.
//!
//! Certificates are loaded for https only, with the first request, and from one bundle. `http_proxy`,
//! `https_proxy` and `no_proxy` are read from the environment, as every HTTP program does.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::config::Scheme;
use crate::storage::{Error, ErrorKind, Location, Result};

/// Bundles of trusted certificates: Debian, Red Hat, SUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes connections, of which the first builds the connector. All requests of a client share it.
pub(super) fn http_client(scheme: Scheme, extra_certificates: Option<Vec<u8>>) -> SharedHttpClient {
    let connector = OnceLock::new();
    http_client_fn(move |settings, components| {
        let build = || {
            let mut builder = Connector::builder()
                .connector_settings(settings.clone())
                .proxy_config(ProxyConfig::from_env());
            builder.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(match scheme {
                Scheme::Http => builder.build_http(),
                Scheme::Https => builder
                    .tls_provider(Provider::Rustls(CryptoMode::Ring))
                    .tls_context(trust(extra_certificates.as_deref()))
                    .build(),
            })
        };
        connector.get_or_init(build).clone()
    })
}

/// The system's certificates and our own. The system's come from one bundle: reading the directory of single
/// certificates beside it costs more than a request.
fn trust(extra: Option<&[u8]>) -> TlsContext {
    let chosen = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = chosen.into_iter().chain(SYSTEM_BUNDLES.map(PathBuf::from));
    let system = bundles
        .filter_map(|path| std::fs::read(path).ok())
        .map(|pem| usable(&pem))
        .find(|pem| !pem.is_empty());
    let mut store = match system {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem),
        None => TrustStore::empty().with_native_roots(extra.is_none()),
    };
    if let Some(extra) = extra {
        store.add_pem_certificate(extra);
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    // The builder has no way to fail today; without trust every handshake fails, with a clear error.
    context.unwrap_or_default()
}

/// The certificates of a file that a setting names.
pub(super) fn read_certificates(path: &Path, location: &Location) -> Result<Vec<u8>> {
    let invalid = |detail: String| {
        Error::new(ErrorKind::Invalid, "open", None, location, detail)
            .with_hint("AWS_CA_BUNDLE or WALG_S3_CA_CERT_FILE names a file with certificates in PEM form")
    };
    let pem = std::fs::read(path)
        .map_err(|error| invalid(format!("certificates `{}`: {error}", path.display())))?;
    let certificates = usable(&pem);
    if certificates.is_empty() {
        return Err(invalid(format!("certificates `{}`: no certificate found in it", path.display())));
    }
    Ok(certificates)
}

/// The certificates of a PEM file that can be trust anchors, again in PEM: the TLS stack does not forgive others.
pub(super) fn usable(pem: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let mut anchors = rustls::RootCertStore::empty();
    let mut all_usable = true;
    let mut kept = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        match certificate.ok().filter(|certificate| anchors.add(certificate.clone()).is_ok()) {
            Some(certificate) => kept.push(certificate),
            None => all_usable = false,
        }
    }
    if all_usable && !kept.is_empty() {
        return pem.to_vec();
    }
    let mut text = String::new();
    for certificate in kept {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        text.push_str(&base64::engine::general_purpose::STANDARD.encode(&certificate));
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}
