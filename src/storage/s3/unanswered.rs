//! What it means when no answer comes: name not found, no connection, no trust, no credentials, reset.

use std::error::Error as StdError;
use std::io;

use aws_credential_types::provider::error::CredentialsError;

use super::answer::{BROKEN_OFF, bounded, causes, chain};
use crate::storage::ErrorKind;

/// What stands before the words of a `credential_process` that failed (`aws-config`, `credential_process.rs`).
const PROGRAM_SAID: &str = ". Stderr:";

/// The way to a service, as messages name it.
pub(super) struct Way {
    /// The setting with its address.
    pub(super) endpoint: &'static str,
    /// What the name of its host is made of.
    pub(super) host: &'static str,
    /// The settings with certificates to trust.
    pub(super) certificates: &'static str,
    /// Host and port of the proxy that requests go through.
    pub(super) proxy: Option<String>,
}

/// A request without an answer.
pub(super) struct Unanswered {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    pub(super) hint: String,
}

impl Way {
    /// What a request that was not answered met with.
    pub(super) fn unanswered(&self, error: &(dyn StdError + 'static), timed_out: bool) -> Unanswered {
        let mut refused = false;
        let mut reset = false;
        for cause in causes(error) {
            if let Some(credentials) = cause.downcast_ref::<CredentialsError>() {
                return no_credentials(credentials);
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return self.no_trust(tls);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                refused |= io.kind() == io::ErrorKind::ConnectionRefused;
                reset |= matches!(io.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            }
        }
        let (endpoint, detail) = (self.endpoint, chain(error));
        let (kind, hint) = if detail.contains("dns error") || detail.contains("failed to lookup address") {
            let hint = format!("the host's name could not be resolved: check {}", self.host);
            let of_proxy = |proxy: &str| format!("the name of the proxy `{proxy}` could not be resolved");
            (ErrorKind::Network, self.of_proxy(of_proxy, hint))
        } else if refused {
            let hint = format!("nothing listens there: check {endpoint} and whether the service runs");
            let of_proxy = |proxy: &str| format!("nothing listens at the proxy `{proxy}`");
            (ErrorKind::Network, self.of_proxy(of_proxy, hint))
        } else if detail.contains("tunnel") {
            let hint = "the proxy makes no connection there: check https_proxy and no_proxy";
            (ErrorKind::Network, hint.to_owned())
        } else if detail.contains("handshake") {
            let hint = format!("does the service speak TLS there? check the scheme and port of {endpoint}");
            (ErrorKind::Network, hint)
        } else if !reset && (timed_out || detail.contains("timed out") || detail.contains("timeout")) {
            (ErrorKind::Timeout, format!("check {endpoint}, and firewalls and proxies on the way"))
        } else {
            (ErrorKind::Network, BROKEN_OFF.to_owned())
        };
        Unanswered { kind, detail, hint }
    }

    /// What to do where no connection was made: with a proxy, that is the proxy's matter.
    fn of_proxy(&self, why: impl Fn(&str) -> String, without: String) -> String {
        match &self.proxy {
            Some(proxy) => format!("{}: check http_proxy, https_proxy, no_proxy", why(proxy)),
            None => without,
        }
    }

    fn no_trust(&self, error: &rustls::Error) -> Unanswered {
        let (kind, hint) = match error {
            rustls::Error::InvalidCertificate(_) => (
                ErrorKind::Refused,
                format!(
                    "the certificate of the service is not trusted: name its CA in {}, and use the host name it is made for",
                    self.certificates
                ),
            ),
            rustls::Error::InvalidMessage(_) => (
                ErrorKind::Protocol,
                format!(
                    "the service does not speak TLS there: check the scheme and port of {}",
                    self.endpoint
                ),
            ),
            _ => (ErrorKind::Network, BROKEN_OFF.to_owned()),
        };
        Unanswered { kind, detail: format!("TLS: {}", bounded(&error.to_string())), hint }
    }
}

fn no_credentials(error: &CredentialsError) -> Unanswered {
    let kind = match error {
        CredentialsError::ProviderTimedOut(_) => ErrorKind::Timeout,
        _ => ErrorKind::Refused,
    };
    let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or check the profile, web identity, container or \
                instance that should give them";
    let text = chain(error);
    // What the program has said may be a secret.
    let text = text.split(PROGRAM_SAID).next().unwrap_or_default();
    Unanswered { kind, detail: format!("no credentials: {text}"), hint: hint.to_owned() }
}
