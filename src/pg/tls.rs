//! TLS towards a server, with the meanings libpq gives to `sslmode`.
//!
//! | sslmode | encrypted | certificate |
//! |---|---|---|
//! | disable | no | |
//! | allow | only if the server insists | not checked |
//! | prefer | if the server can | not checked |
//! | require | yes | chain checked if there is a root certificate file |
//! | verify-ca | yes | chain checked |
//! | verify-full | yes | chain and host name checked |
//!
//! Source: the manual's chapter "SSL Support" of libpq. Unix sockets are never encrypted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// How far a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server takes no other.
    Allow,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted.
    Require,
    /// Encrypted, to a server with a trusted certificate.
    VerifyCa,
    /// Encrypted, to a server with a trusted certificate for its host name.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(text: &str) -> Result<SslMode, ()> {
        Ok(match text {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return Err(()),
        })
    }
}

/// Where a connection's certificates are.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    /// `sslrootcert`, or the default file if it exists.
    pub root_certificate: Option<PathBuf>,
    /// `sslcert` with `sslkey`, or the default files if they exist.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// The value of `sslrootcert` that stands for the operating system's trusted certificates.
const SYSTEM_ROOTS: &str = "system";
/// Where Linux distributions and macOS keep them in one file.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Prepares TLS for a mode other than [`SslMode::Disable`].
pub(super) fn client_config(mode: SslMode, files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain =
        match (&files.root_certificate, mode) {
            (Some(path), SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
                let roots = Arc::new(read_roots(path)?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                Some(verifier.map_err(|error| TlsError::Certificate {
                    path: path.clone(),
                    reason: error.to_string(),
                })?)
            }
            (None, SslMode::VerifyCa | SslMode::VerifyFull) => return Err(TlsError::NoRoots),
            _ => None,
        };
    let host_name = if mode == SslMode::VerifyFull { HostName::Checked } else { HostName::Any };
    let verifier = ServerCertificate { chain, host_name, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup { reason: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match &files.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(read_certificates(certificate)?, read_key(key)?)
            .map_err(|error| TlsError::Certificate { path: certificate.clone(), reason: error.to_string() }),
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let bundle = if path == Path::new(SYSTEM_ROOTS) {
        let found = SYSTEM_BUNDLES.iter().map(Path::new).find(|bundle| bundle.exists());
        found.ok_or(TlsError::NoSystemRoots)?
    } else {
        path
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read_certificates(bundle)?);
    if added == 0 {
        let reason = String::from("it holds no certificate that can be trusted");
        return Err(TlsError::Certificate { path: bundle.to_owned(), reason });
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::Certificate { path: path.to_owned(), reason: error.to_string() })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let refuse = |reason: String| TlsError::Key { path: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    // libpq lets a key of root's be readable for its group, which is how distributions install one.
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(refuse(format!("others have access, its mode is {:04o}", metadata.mode() & 0o7777)));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| refuse(error.to_string()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostName {
    Checked,
    Any,
}

/// Checks the server's certificate as far as the mode asks for it.
#[derive(Debug)]
struct ServerCertificate {
    chain: Option<Arc<WebPkiServerVerifier>>,
    host_name: HostName,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, so the chain is good when only the name is not.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.host_name == HostName::Any => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why TLS cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// `verify-ca` or `verify-full` without anything to verify with.
    #[error("prepare TLS: sslmode verify-ca and verify-full need a root certificate file (PGSSLROOTCERT)")]
    NoRoots,
    /// `sslrootcert=system` on a system whose certificates were not found.
    #[error("prepare TLS: the system's trusted certificates were not found")]
    NoSystemRoots,
    /// A certificate file that cannot be used.
    #[error("read certificates of {}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key file that cannot be used.
    #[error("read private key of {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The TLS library refused.
    #[error("prepare TLS: {reason}")]
    Setup {
        /// Why.
        reason: String,
    },
}
