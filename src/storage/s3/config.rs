//! Everything that says where an S3 bucket is and how to speak to it, as plain data.
//!
//! The settings layer fills this from `AWS_*`, `WALG_S3_*` and their aliases; nothing here reads the environment.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::storage::{Error, ErrorKind, Location, PART_BYTES, Prefix, Result};

/// What to do about a value that no request can carry.
pub(super) const PASTED: &str =
    "it was cut out or pasted wrongly, or a file with several lines was taken for it";

/// One bucket, or a part of it.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// The repository's place in the bucket (`WALG_S3_PREFIX` after the bucket).
    pub prefix: Prefix,
    /// `AWS_ENDPOINT`; `None` is AWS itself.
    pub endpoint: Option<Endpoint>,
    /// `AWS_REGION`. Without it: what the endpoint's host says, `us-east-1` at any other, without an endpoint what the
    /// profile or the bucket says; and then what the service says.
    pub region: Option<String>,
    /// Whether the service may name another region than this.
    pub region_is: RegionIs,
    /// `AWS_S3_FORCE_PATH_STYLE`.
    pub addressing: Addressing,
    /// `AWS_DUAL_STACK`.
    pub network: Network,
    /// Who we are.
    pub credentials: Credentials,
    /// The role to take with these credentials (`AWS_ROLE_ARN`, when no web identity is set).
    pub assume_role: Option<AssumeRole>,
    /// Certificates to trust besides the system's (`AWS_CA_BUNDLE`, `WALG_S3_CA_CERT_FILE`), PEM.
    pub ca_bundle: Option<PathBuf>,
    /// How the service encrypts what it stores (`WALG_S3_SSE` and the key settings); `None` sends no such header.
    pub encryption: Option<Encryption>,
    /// The tags of every object that is created (`--tags` of barman-cloud); none sends no such header.
    pub tags: Vec<Tag>,
    /// When checksums of content go with requests.
    pub request_checksums: Checksums,
    /// When checksums of content are asked for, and compared.
    pub response_checksums: Checksums,
    /// `WALG_S3_STORAGE_CLASS`; `None` sends no such header: wal-g always sends `STANDARD`, which is every
    /// service's default, and some services refuse the header.
    pub storage_class: Option<String>,
    /// `WALG_S3_MAX_PART_SIZE`: bytes in a part; more where an object would need too many parts.
    pub part_bytes: u64,
    /// Parts of one object: 1000, the default bound of Swift, unless the service is known to take more.
    pub max_parts: u32,
    /// Keys of one batch delete (`S3_DELETE_BATCH_SIZE`), at most 1000.
    pub delete_batch: usize,
    /// Which list request to begin with (`S3_USE_LIST_OBJECTS_V1`).
    pub list_version: ListVersion,
    /// How an object is created only when it is not there.
    pub create_only: CreateOnly,
    /// What the ETag of a stored object is compared with (`SEAWALL_S3_CHECK_ETAG`).
    pub etag_check: EtagCheck,
    /// `S3_REQUEST_ADDITIONAL_HEADERS`: sent with every request, and signed.
    pub headers: Headers,
}

/// Headers of requests: names and values, which may be keys and are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The address of a service: scheme, host, port, and sometimes a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    /// Host, port and path.
    rest: String,
}

/// Whether requests are encrypted on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear; request bodies are signed.
    Http,
    /// TLS; request bodies are not signed, TLS protects them.
    Https,
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no endpoint: {reason}")]
pub struct InvalidEndpoint {
    text: String,
    reason: &'static str,
}

/// What a region that was set counts for when the service names another one. What was not set is always a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionIs {
    /// The other one is an error, as in wal-g.
    Fixed,
    /// The service's is used, as in boto.
    Guess,
}

/// Where the bucket's name goes in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://bucket.host/key`
    VirtualHost,
    /// `https://host/bucket/key`
    Path,
}

/// Which addresses of AWS are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4 only.
    Ipv4,
    /// Also IPv6, by the dual-stack host names.
    DualStack,
}

/// Who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Keys from the settings: no file is read and no service is asked.
    Static {
        /// `AWS_ACCESS_KEY_ID`.
        access_key: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_key: SecretString,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<SecretString>,
    },
    /// The first that has any, asked with the first request: profile, web identity, container, instance. The last two
    /// read `AWS_CONTAINER_*` and `AWS_EC2_METADATA_*` from the environment themselves.
    Chain(Chain),
}

/// What the chain of credential providers is told.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `AWS_SHARED_CREDENTIALS_FILE`.
    pub credentials_file: Option<PathBuf>,
    /// `AWS_CONFIG_FILE`.
    pub config_file: Option<PathBuf>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`.
    pub web_identity: Option<WebIdentity>,
}

/// A role for the bearer of a token.
#[derive(Debug, Clone)]
pub struct WebIdentity {
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`; read again whenever credentials expire.
    pub token_file: PathBuf,
    /// `AWS_ROLE_ARN`.
    pub role_arn: String,
    /// `AWS_ROLE_SESSION_NAME`.
    pub session_name: Option<String>,
}

/// A role to take.
#[derive(Debug, Clone)]
pub struct AssumeRole {
    /// `AWS_ROLE_ARN`.
    pub role_arn: String,
    /// `AWS_ROLE_SESSION_NAME`.
    pub session_name: Option<String>,
}

/// How the service encrypts what it stores.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// With a key of the service: `AES256`.
    Aes256,
    /// With a key of the key management service: `aws:kms`.
    Kms {
        /// `WALG_S3_SSE_KMS_ID`; `None` is the account's key for S3.
        key_id: Option<String>,
    },
    /// With our key, which goes with every request (`WALG_S3_SSE_C`), over https only.
    Customer {
        /// 32 bytes, as they are.
        key: SecretString,
    },
}

/// A tag of an object, by which buckets have rules for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// When content has a checksum beside the signature or TLS (`AWS_REQUEST_CHECKSUM_CALCULATION` and
/// `AWS_RESPONSE_CHECKSUM_VALIDATION` of AWS's tools).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Only where the protocol wants one: many services know no more.
    WhenRequired,
    /// Wherever S3 has one. Requests have it in a plain header, never behind the body.
    WhenSupported,
}

/// The two list requests of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListVersion {
    /// ListObjects, by marker: older services know only this one.
    V1,
    /// ListObjectsV2, by token; falls back to V1 where the service does not know it.
    V2,
}

/// What the ETag of an object that was put is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtagCheck {
    /// With the MD5 of its bytes, if it looks like one.
    Md5,
    /// With nothing: the service's ETags look like MD5s and are none.
    Off,
}

/// How an object is created only when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOnly {
    /// It is not known which way the service takes: the first one, and where that is refused the other. Some services
    /// ignore the condition.
    Find,
    /// PutObject with `If-None-Match: *` (AWS, MinIO, versitygw, R2).
    Put,
    /// An upload of one part, completed with `If-None-Match: *` (Swift refuses the condition on a put).
    Upload,
}

impl Credentials {
    /// The setting whose value no request can carry, and what it has.
    pub(super) fn unfit(&self) -> Option<(&'static str, &'static str)> {
        let Credentials::Static { access_key, secret_key, session_token } = self else { return None };
        // It signs, and is in no header.
        if !is_line(secret_key.expose_secret().trim()) {
            return Some(("AWS_SECRET_ACCESS_KEY", "a control character"));
        }
        let token = session_token.as_ref().map_or("", |token| token.expose_secret());
        let in_headers = [("AWS_ACCESS_KEY_ID", access_key.as_str()), ("AWS_SESSION_TOKEN", token)];
        let (name, _) = in_headers.into_iter().find(|(_, text)| !is_ascii_line(text))?;
        Some((name, "a control character, or one that is not ASCII"))
    }
}

fn is_line(text: &str) -> bool {
    text.chars().all(|c| !c.is_control())
}

fn is_ascii_line(text: &str) -> bool {
    text.trim().is_ascii() && is_line(text.trim())
}

impl S3Config {
    /// A bucket at AWS, with defaults that every service understands.
    pub fn new(bucket: impl Into<String>, prefix: Prefix, credentials: Credentials) -> S3Config {
        S3Config {
            bucket: bucket.into(),
            prefix,
            endpoint: None,
            region: None,
            region_is: RegionIs::Fixed,
            addressing: Addressing::VirtualHost,
            network: Network::Ipv4,
            credentials,
            assume_role: None,
            ca_bundle: None,
            encryption: None,
            tags: Vec::new(),
            request_checksums: Checksums::WhenRequired,
            response_checksums: Checksums::WhenRequired,
            storage_class: None,
            part_bytes: PART_BYTES,
            max_parts: 1000,
            delete_batch: 1000,
            list_version: ListVersion::V2,
            create_only: CreateOnly::Find,
            etag_check: EtagCheck::Md5,
            headers: Headers::default(),
        }
    }

    /// Refuses what no request can carry: the SDK panics over a key that is no header, and takes others for failures of the
    /// network.
    pub(super) fn check(&self) -> Result<()> {
        let is_token = |name: &str| {
            let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
        };
        let mut bad = Vec::new();
        bad.extend(self.credentials.unfit().map(|(name, what)| (name.to_owned(), what)));
        if self.region.as_deref().is_some_and(|region| !is_ascii_line(region)) {
            bad.push(("AWS_REGION".to_owned(), "a control character, or one that is not ASCII"));
        }
        if self.storage_class.as_deref().is_some_and(|class| !is_line(class)) {
            bad.push(("WALG_S3_STORAGE_CLASS".to_owned(), "a control character"));
        }
        if let Some(Encryption::Kms { key_id: Some(key_id) }) = &self.encryption
            && !is_line(key_id)
        {
            bad.push(("WALG_S3_SSE_KMS_ID".to_owned(), "a control character"));
        }
        for (name, value) in &self.headers.0 {
            if !is_token(name) {
                let name = format!("the header {name:?} of S3_REQUEST_ADDITIONAL_HEADERS");
                bad.push((name, "a character in its name that no header can have"));
            } else if !is_line(value) {
                let name = format!("the header `{name}` of S3_REQUEST_ADDITIONAL_HEADERS");
                bad.push((name, "a control character"));
            }
        }
        let Some((name, what)) = bad.into_iter().next() else { return Ok(()) };
        let detail = format!("{name} has {what}");
        Err(Error::new(ErrorKind::Invalid, "open", None, &self.location(), detail).with_hint(PASTED))
    }

    /// Where this is, for messages.
    pub fn location(&self) -> Location {
        let place = format!("s3://{}/{}", self.bucket, self.prefix);
        let place = place.trim_end_matches('/');
        match &self.endpoint {
            Some(endpoint) => Location::new(format!("{place} at {endpoint}")),
            None => Location::new(place),
        }
    }

    /// Whether requests are encrypted on the way.
    pub fn scheme(&self) -> Scheme {
        self.endpoint.as_ref().map_or(Scheme::Https, |endpoint| endpoint.scheme)
    }
}

impl Endpoint {
    /// Parses `https://host:port`, also without a scheme (then https, as in wal-g), and WAL-E's forms
    /// `https+path://…` and `https+virtualhost://…`, which name the addressing as well.
    pub fn parse(text: &str) -> std::result::Result<(Endpoint, Option<Addressing>), InvalidEndpoint> {
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let invalid = |reason| InvalidEndpoint { text: shown.escape_debug().to_string(), reason };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let (scheme, addressing) = match scheme.split_once('+') {
            None => (scheme, None),
            Some((scheme, "path")) => (scheme, Some(Addressing::Path)),
            Some((scheme, "virtualhost")) => (scheme, Some(Addressing::VirtualHost)),
            Some(_) => {
                return Err(invalid("after the `+` of its scheme only `path` or `virtualhost` may stand"));
            }
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(invalid("its scheme is neither http nor https")),
        };
        let rest = rest.trim_end_matches('/');
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        if authority.contains('@') {
            return Err(invalid("keys do not belong into it"));
        }
        if rest.contains(['?', '#']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid("it has a query, a fragment or a blank"));
        }
        // An IPv6 address stands in brackets and has colons of its own.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(invalid("its port is no number from 1 to 65535"));
        }
        Ok((Endpoint { scheme, rest: rest.to_owned() }, addressing))
    }

    /// Whether requests are encrypted on the way.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without port and path; an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        let authority = self.rest.split_once('/').map_or(self.rest.as_str(), |(authority, _)| authority);
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_can_carry_is_refused_and_never_shown() {
        let config = |access_key: &str, secret_key: &str, token: &str, headers: &[(&str, &str)]| {
            let credentials = Credentials::Static {
                access_key: access_key.to_owned(),
                secret_key: secret_key.into(),
                session_token: Some(token.into()),
            };
            let mut config = S3Config::new("bucket", Prefix::root(), credentials);
            let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            config.headers = Headers(owned.collect());
            config
        };
        config("key", "s3cr3t/+=", "token", &[("x-name", "va lue\u{e9}")]).check().unwrap();
        config("key\n", " s3cr3t\n", "token\n", &[]).check().unwrap();
        for (config, says) in [
            (config("key\ndef", "s3cr3t", "", &[]), "AWS_ACCESS_KEY_ID has a control character"),
            (config("k\u{e9}y", "s3cr3t", "", &[]), "AWS_ACCESS_KEY_ID has "),
            (config("key", "s3cr3t\0x", "", &[]), "AWS_SECRET_ACCESS_KEY has "),
            (config("key", "s3cr3t", "to\rken", &[]), "AWS_SESSION_TOKEN has "),
            (config("key", "s3cr3t", "", &[("x y", "value")]), "the header \"x y\" of S3_"),
            (config("key", "s3cr3t", "", &[("", "value")]), "the header \"\" of S3_"),
            (config("key", "s3cr3t", "", &[("x", "value\n")]), "the header `x` of S3_"),
        ] {
            let error = config.check().unwrap_err();
            assert!(error.detail().starts_with(says), "{error}");
            assert!(error.hint().is_some());
            let shown = format!("{error} {config:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("value"), "{shown}");
        }
    }

    #[test]
    fn endpoints() {
        use Addressing::{Path, VirtualHost};
        for (text, expected) in [
            ("http://127.0.0.1:9000", Some(("http://127.0.0.1:9000", None))),
            ("https://s3.example.com/", Some(("https://s3.example.com", None))),
            ("minio:9000", Some(("https://minio:9000", None))),
            ("s3.example.com", Some(("https://s3.example.com", None))),
            ("https+path://pbss.example.com:443", Some(("https://pbss.example.com:443", Some(Path)))),
            ("http+virtualhost://h", Some(("http://h", Some(VirtualHost)))),
            ("http://[::1]:9000", Some(("http://[::1]:9000", None))),
            ("http://[::1]", Some(("http://[::1]", None))),
            ("https://gateway/s3", Some(("https://gateway/s3", None))),
            ("", None),
            ("http://", None),
            ("ftp://h", None),
            ("https+odd://h", None),
            ("http://h:port", None),
            ("http://h:0", None),
            ("http://h?x", None),
            ("http://a b", None),
        ] {
            let parsed = Endpoint::parse(text).ok().map(|(endpoint, style)| (endpoint.to_string(), style));
            assert_eq!(parsed, expected.map(|(url, style)| (url.to_owned(), style)), "{text:?}");
        }
    }

    #[test]
    fn the_host_of_an_endpoint() {
        for (text, expected) in [
            ("http://127.0.0.1:9000", "127.0.0.1"),
            ("http://[::1]:1/x", "[::1]"),
            ("https://[::1]", "[::1]"),
            ("h/p:1", "h"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().0.host(), expected);
        }
    }

    #[test]
    fn keys_in_an_endpoint_are_refused_and_not_shown() {
        let error = Endpoint::parse("https://key:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let credentials = Credentials::Static {
            access_key: "key".to_owned(),
            secret_key: "hidden".into(),
            session_token: Some("hidden".into()),
        };
        let mut config = S3Config::new("bucket", Prefix::parse("a/b").unwrap(), credentials);
        config.encryption = Some(Encryption::Customer { key: "hidden".into() });
        assert!(!format!("{config:?}").contains("hidden"));
        assert_eq!(config.location().to_string(), "s3://bucket/a/b");
    }
}
