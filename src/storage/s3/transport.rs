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
use hyper_util::client::proxy::matcher::Matcher;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::config::{Addressing, S3Config, Scheme};
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

/// Host and port of the proxy that requests go through, if they do: chosen as the connector chooses it.
pub(super) fn proxy(config: &S3Config) -> Option<String> {
    let host = match (&config.endpoint, config.addressing) {
        (None, _) => format!("{}.s3.amazonaws.com", config.bucket),
        (Some(endpoint), Addressing::VirtualHost) => format!("{}.{}", config.bucket, endpoint.host()),
        (Some(endpoint), Addressing::Path) => endpoint.host().to_owned(),
    };
    proxy_to(config.scheme(), &host)
}

/// The same, of requests to a host.
pub(super) fn proxy_to(scheme: Scheme, host: &str) -> Option<String> {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let chosen = Matcher::from_env().intercept(&format!("{scheme}://{host}").parse().ok()?)?;
    let (host, port) = (chosen.uri().host()?, chosen.uri().port_u16());
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Refuses a proxy that cannot be used: the connector would pass it over without a word. `variable` reads the environment.
/// Where `no_proxy` may except the service, it is only said.
pub(super) fn check_proxy(
    scheme: Scheme,
    location: &Location,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    // The first that is set counts, as in the connector (`hyper-util`, `Builder::from_env`).
    let first = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, variable(name)?))).filter(|(_, url)| !url.is_empty())
    };
    let own = match scheme {
        Scheme::Http => ["HTTP_PROXY", "http_proxy"],
        Scheme::Https => ["HTTPS_PROXY", "https_proxy"],
    };
    let Some((name, url)) = first(own).or_else(|| first(["ALL_PROXY", "all_proxy"])) else { return Ok(()) };
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    // What follows these would be cut off, the host with it.
    if !url.contains(['#', '?']) && ProxyConfig::all(url).is_ok() {
        return Ok(());
    }
    let detail = format!("the environment variable {name} is not the URL of a proxy");
    if first(["NO_PROXY", "no_proxy"]).is_some() {
        tracing::warn!("{detail}, no proxy is used");
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "open", None, location, detail).with_hint(
        "expected http://host:port or http://user:password@host:port, with special characters of the password \
         percent-encoded",
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused() {
        let location = Location::new("s3://bucket");
        let checked = |scheme, variables: &[(&str, &str)]| {
            let value = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            check_proxy(scheme, &location, value)
        };
        for url in ["", "http://proxy:3128", "proxy:3128", "proxy", "http://user:pa%20ss@proxy:3128/"] {
            checked(Scheme::Http, &[("http_proxy", url)]).unwrap();
            checked(Scheme::Https, &[("https_proxy", url)]).unwrap();
        }
        for url in [
            "http://user:secret word@proxy",
            "http://user:secret#1@proxy:1",
            "socks5://secret@p:1",
            "/secret",
        ] {
            for (scheme, name) in [
                (Scheme::Http, "HTTP_PROXY"),
                (Scheme::Http, "http_proxy"),
                (Scheme::Https, "https_proxy"),
                (Scheme::Https, "ALL_PROXY"),
            ] {
                let error = checked(scheme, &[(name, url)]).unwrap_err();
                assert!(error.to_string().contains(&format!("variable {name} ")), "{url}: {error}");
                let shown = format!("{error} {}", error.hint().unwrap());
                assert!(!shown.contains("secret"), "{shown}");
                checked(scheme, &[(name, url), ("no_proxy", "localhost")]).unwrap();
            }
            // Not asked of this scheme.
            checked(Scheme::Http, &[("https_proxy", url)]).unwrap();
            checked(Scheme::Http, &[("HTTP_PROXY", "http://proxy"), ("ALL_PROXY", url)]).unwrap();
        }
    }
}
