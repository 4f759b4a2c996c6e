//! The storage that the settings name.
//!
//! wal-g takes the first of OSS, S3, FILE, GS, AZ, SWIFT, SSH that has a prefix set, and so do we; one that we do not
//! know is an error, never passed over for another.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::storage::retry::RetryPolicy;
use crate::storage::s3::{
    Addressing, AssumeRole, Chain, Credentials, Encryption, Endpoint, EtagCheck, Headers, ListVersion,
    Network, S3Config, WebIdentity,
};
use crate::storage::{Prefix, StorageConfig};

use super::keys::{self, Key, Section};
use super::{Error, Settings, Source, value};

/// Keys of one batch delete that S3 takes.
const MAX_DELETE_BATCH: u64 = 1000;

impl Settings {
    /// Which storage, and where. [`Error::NoStorage`] when no setting names one.
    pub fn storage_config(&self) -> Result<StorageConfig, Error> {
        let types = [
            &keys::OSS_PREFIX,
            &keys::S3_PREFIX,
            &keys::FILE_PREFIX,
            &keys::GS_PREFIX,
            &keys::AZ_PREFIX,
            &keys::SWIFT_PREFIX,
            &keys::SSH_PREFIX,
        ];
        let chosen = types.into_iter().find(|key| self.text(key).is_some()).ok_or(Error::NoStorage)?;
        self.refuse_not_yet_of(&[chosen, &keys::FAILOVER_STORAGES])?;
        if chosen.name() == keys::S3_PREFIX.name() {
            self.refuse_not_yet(Section::S3)?;
            return Ok(StorageConfig::S3(Box::new(self.s3_config()?)));
        }
        Ok(StorageConfig::Directory { path: self.directory()?, prefix: self.below(Prefix::root())? })
    }

    /// How often to try again. The times are fixed.
    pub fn retry_policy(&self) -> Result<RetryPolicy, Error> {
        let retries = self.parsed(&keys::S3_MAX_RETRIES, |text| {
            text.parse::<u32>().map_err(|_| "expected a number of retries".to_owned())
        })?;
        let mut policy = RetryPolicy::default();
        if let Some(retries) = retries {
            policy.attempts = retries.saturating_add(1);
        }
        Ok(policy)
    }

    /// `WALG_FILE_PREFIX`, also in wal-e's form `file://localhost/dir`.
    fn directory(&self) -> Result<PathBuf, Error> {
        let text = self.text(&keys::FILE_PREFIX).map(|text| text.value).unwrap_or_default();
        let path = match text.strip_prefix("file://") {
            Some(rest) => rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest),
            None => text,
        };
        if path != text && !path.starts_with('/') {
            return Err(self.bad(&keys::FILE_PREFIX, "expected file:///path or file://localhost/path"));
        }
        let trimmed = path.trim_end_matches('/');
        match (path, trimmed) {
            ("", _) => Err(self.bad(&keys::FILE_PREFIX, "expected the path of a directory")),
            (_, "") => Ok(PathBuf::from("/")),
            _ => Ok(PathBuf::from(trimmed)),
        }
    }

    /// `prefix`, with `WALG_STORAGE_PREFIX` below it.
    fn below(&self, prefix: Prefix) -> Result<Prefix, Error> {
        let key = &keys::STORAGE_PREFIX;
        let Some(text) = self.text(key) else { return Ok(prefix) };
        match text.value.trim_matches('/') {
            "" => Ok(prefix),
            name => prefix.child(name).map_err(|error| self.bad(key, error.to_string())),
        }
    }

    fn s3_config(&self) -> Result<S3Config, Error> {
        let key = &keys::S3_PREFIX;
        let text = self.text(key).map(|text| text.value).unwrap_or_default();
        let place = text.strip_prefix("s3://").ok_or_else(|| self.bad(key, "expected s3://bucket/path"))?;
        let (bucket, path) = bucket_and_path(place).map_err(|reason| self.bad(key, reason))?;
        if bucket.is_empty() {
            return Err(self.bad(key, "expected s3://bucket/path"));
        }
        if bucket.contains('@') {
            return Err(self.bad(key, "keys do not belong into it"));
        }
        let prefix =
            Prefix::parse(path.trim_matches('/')).map_err(|error| self.bad(key, error.to_string()))?;

        let mut config = S3Config::new(bucket, self.below(prefix)?, self.s3_credentials()?);
        let (endpoint, addressing) = self.s3_endpoint()?;
        config.endpoint = endpoint;
        config.take_profile();
        config.addressing = addressing;
        config.region = self.trimmed(&keys::AWS_REGION);
        if self.bool(&keys::AWS_DUAL_STACK)? {
            config.network = Network::DualStack;
        }
        config.assume_role = match self.path(&keys::AWS_WEB_IDENTITY_TOKEN_FILE) {
            Some(_) => None,
            None => self.trimmed(&keys::AWS_ROLE_ARN).map(|role_arn| AssumeRole {
                role_arn,
                session_name: self.trimmed(&keys::AWS_ROLE_SESSION_NAME),
            }),
        };
        config.ca_bundle = self.path(&keys::S3_CA_CERT_FILE).or_else(|| self.path(&keys::AWS_CA_BUNDLE));
        config.encryption = self.s3_encryption()?;
        let class = self.text(&keys::S3_STORAGE_CLASS).filter(|class| class.source != Source::Default);
        config.storage_class = class.map(|class| class.value.to_owned());
        if let Some(bytes) = self.bytes(&keys::S3_MAX_PART_SIZE)? {
            config.part_bytes = bytes;
        }
        if let Some(batch) = self.integer(&keys::S3_DELETE_BATCH_SIZE)? {
            config.delete_batch = usize::try_from(batch.clamp(1, MAX_DELETE_BATCH)).unwrap_or(1);
        }
        if self.bool(&keys::S3_USE_LIST_OBJECTS_V1)? {
            config.list_version = ListVersion::V1;
        }
        if !self.bool(&keys::S3_CHECK_ETAG)? {
            config.etag_check = EtagCheck::Off;
        }
        config.headers =
            Headers(self.parsed(&keys::S3_REQUEST_ADDITIONAL_HEADERS, headers)?.unwrap_or_default());
        Ok(config)
    }

    /// `AWS_ENDPOINT`, else `WALE_S3_ENDPOINT`, with the addressing that either of the settings asks for.
    fn s3_endpoint(&self) -> Result<(Option<Endpoint>, Addressing), Error> {
        let key = match self.text(&keys::AWS_ENDPOINT) {
            Some(_) => &keys::AWS_ENDPOINT,
            None => &keys::WALE_S3_ENDPOINT,
        };
        let parse = |text: &str| Endpoint::parse(text.trim()).map_err(|error| error.to_string());
        let (endpoint, named) = match self.parsed(key, parse)? {
            Some((endpoint, named)) => (Some(endpoint), named),
            None => (None, None),
        };
        let addressing = match self.bool(&keys::AWS_S3_FORCE_PATH_STYLE)? {
            true => Addressing::Path,
            false => named.unwrap_or(Addressing::VirtualHost),
        };
        Ok((endpoint, addressing))
    }

    fn s3_credentials(&self) -> Result<Credentials, Error> {
        let access_key = self.trimmed(&keys::AWS_ACCESS_KEY_ID);
        let secret_key = self.trimmed_secret(&keys::AWS_SECRET_ACCESS_KEY);
        match (access_key, secret_key) {
            (Some(access_key), Some(secret_key)) => Ok(Credentials::Static {
                access_key,
                secret_key,
                session_token: self.trimmed_secret(&keys::AWS_SESSION_TOKEN),
            }),
            (Some(_), None) => Err(self.bad(&keys::AWS_ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY is not set")),
            (None, Some(_)) => Err(self.bad(&keys::AWS_SECRET_ACCESS_KEY, "AWS_ACCESS_KEY_ID is not set")),
            (None, None) => Ok(Credentials::Chain(Chain {
                profile: self.trimmed(&keys::AWS_PROFILE),
                credentials_file: self.path(&keys::AWS_SHARED_CREDENTIALS_FILE),
                config_file: self.path(&keys::AWS_CONFIG_FILE),
                web_identity: self.web_identity(),
            })),
        }
    }

    fn web_identity(&self) -> Option<WebIdentity> {
        Some(WebIdentity {
            token_file: self.path(&keys::AWS_WEB_IDENTITY_TOKEN_FILE)?,
            role_arn: self.trimmed(&keys::AWS_ROLE_ARN)?,
            session_name: self.trimmed(&keys::AWS_ROLE_SESSION_NAME),
        })
    }

    /// Encryption at rest. wal-g refuses `aws:kms` without a key id and the reverse, and so do we.
    fn s3_encryption(&self) -> Result<Option<Encryption>, Error> {
        let sse = self.trimmed(&keys::S3_SSE);
        let customer = self.secret(&keys::S3_SSE_C);
        let kms = self.trimmed(&keys::S3_SSE_KMS_ID);
        match (sse.as_deref(), customer, kms) {
            (None, None, None) => Ok(None),
            (Some("AES256"), None, None) => Ok(Some(Encryption::Aes256)),
            (Some("AES256") | None, Some(key), None) => Ok(Some(Encryption::Customer { key })),
            (Some("aws:kms"), None, Some(key_id)) => Ok(Some(Encryption::Kms { key_id: Some(key_id) })),
            (Some("aws:kms"), _, None) => Err(self.bad(&keys::S3_SSE, "aws:kms needs S3_SSE_KMS_ID")),
            (_, Some(_), Some(_)) => Err(self.bad(&keys::S3_SSE_C, "S3_SSE_KMS_ID is set as well")),
            (Some("AES256") | None, None, Some(_)) => {
                Err(self.bad(&keys::S3_SSE_KMS_ID, "it needs S3_SSE to be aws:kms"))
            }
            (Some(_), _, _) => Err(self.bad(&keys::S3_SSE, "expected AES256 or aws:kms")),
        }
    }

    fn trimmed(&self, key: &Key) -> Option<String> {
        let text = self.text(key)?.value.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn trimmed_secret(&self, key: &Key) -> Option<SecretString> {
        let secret = self.secret(key)?;
        let text = secret.expose_secret().trim();
        (!text.is_empty()).then(|| text.into())
    }
}

/// The bucket, and the path as wal-g reads it: what stands after `s3://` is a URL (Go's `url.Parse`), whose query and
/// fragment are not used.
fn bucket_and_path(place: &str) -> Result<(&str, String), String> {
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let (bucket, path) = place.split_once('/').unwrap_or((place, ""));
    let mut bytes = Vec::with_capacity(path.len());
    let mut pieces = path.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let code = piece.get(..2).filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.ok_or("% needs two hexadecimal digits; the sign itself is %25")?);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    let path = String::from_utf8(bytes).map_err(|_| "the path is not UTF-8 text")?;
    Ok((bucket, path))
}

/// `S3_REQUEST_ADDITIONAL_HEADERS`: a YAML map from names to values, or a list of such maps.
fn headers(text: &str) -> Result<Vec<(String, String)>, String> {
    let expected = || "expected a map from header names to values".to_owned();
    let maps = match value::parse_yaml(text)? {
        serde_json::Value::Array(maps) => maps,
        map => vec![map],
    };
    let mut headers = Vec::new();
    for map in maps {
        let serde_json::Value::Object(map) = map else { return Err(expected()) };
        for (name, value) in map {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                serde_json::Value::Bool(value) => value.to_string(),
                _ => return Err(expected()),
            };
            headers.push((name, value));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Sources};
    use super::*;
    use crate::storage::s3::S3;
    use crate::storage::{PART_BYTES, Storage};

    fn settings<const N: usize>(pairs: [(&str, &str); N]) -> Settings {
        let environment = Environment::from(pairs).with("HOME", "/nonexistent");
        Settings::load(Sources { environment, ..Sources::default() }).unwrap()
    }

    fn s3<const N: usize>(pairs: [(&str, &str); N]) -> Result<S3Config, Error> {
        let mut environment = Environment::from(pairs).with("HOME", "/nonexistent");
        if !pairs.iter().any(|(name, _)| name.ends_with("_S3_PREFIX")) {
            environment = environment.with("WALG_S3_PREFIX", "s3://b/p");
        }
        let settings = Settings::load(Sources { environment, ..Sources::default() })?;
        match settings.storage_config()? {
            StorageConfig::S3(config) => Ok(*config),
            StorageConfig::Directory { .. } => panic!("a directory"),
        }
    }

    #[test]
    fn directories() {
        let cases = [
            ("/archive/", "", "/archive", ""),
            ("file://localhost/archive", "/a//", "/archive", "a/"),
            ("file:///archive", "a/b", "/archive", "a/b/"),
            ("/", "", "/", ""),
            ("relative", "", "relative", ""),
        ];
        for (text, below, path, prefix) in cases {
            let settings = settings([("WALE_FILE_PREFIX", text), ("WALG_STORAGE_PREFIX", below)]);
            let StorageConfig::Directory { path: found, prefix: below } = settings.storage_config().unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!((found.to_str(), below.as_str()), (Some(path), prefix), "{text}");
        }
        for bad in ["file://", "file://repository", "file://localhostile/archive"] {
            assert!(settings([("WALG_FILE_PREFIX", bad)]).storage_config().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_place_in_s3_is_a_url() {
        let cases = [
            ("s3://b", "b", ""),
            ("s3://b/p//", "b", "p/"),
            ("s3://b/a%20b/%C3%BC", "b", "a b/ü/"),
            ("s3://b/a+b%25", "b", "a+b%/"),
            ("s3://b/p?x=1", "b", "p/"),
            ("s3://b/p#f?", "b", "p/"),
            ("s3://b?x=/p", "b", ""),
            ("s3://b/p%3Fx%23", "b", "p?x#/"),
        ];
        for (text, bucket, prefix) in cases {
            let config = s3([("WALG_S3_PREFIX", text)]).unwrap();
            assert_eq!((config.bucket.as_str(), config.prefix.as_str()), (bucket, prefix), "{text}");
        }
        for bad in ["s3://b/%", "s3://b/%2", "s3://b/%zz", "s3://b/%+1", "s3://b/%ff", "s3://?x"] {
            assert!(s3([("WALG_S3_PREFIX", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_set_is_said_at_once() {
        let error = settings([]).storage_config().unwrap_err();
        assert!(error.to_string().contains("no storage configured"));
        assert!(error.hint().unwrap().contains("WALG_FILE_PREFIX"));
    }

    #[test]
    fn other_storages_are_refused_in_wal_g_s_order() {
        for name in
            ["WALG_GS_PREFIX", "WALE_AZ_PREFIX", "WALG_SWIFT_PREFIX", "WALG_SSH_PREFIX", "WALG_OSS_PREFIX"]
        {
            let error = settings([(name, "x://y")]).storage_config().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not supported"), "{error}");
        }
        settings([("WALG_FILE_PREFIX", "/x"), ("WALG_GS_PREFIX", "gs://y")]).storage_config().unwrap();
        settings([("WALG_FILE_PREFIX", "/x"), ("WALG_OSS_PREFIX", "oss://y")]).storage_config().unwrap_err();
        let failover = [("WALG_FILE_PREFIX", "/x"), ("WALG_FAILOVER_STORAGES", "{\"a\":{}}")];
        settings(failover).storage_config().unwrap_err();
    }

    #[test]
    fn what_spilo_sets_for_an_endpoint() {
        let config = s3([
            ("WALE_S3_PREFIX", "s3://bucket/spilo/demo/wal/15/"),
            ("AWS_ACCESS_KEY_ID", " id\n"),
            ("AWS_SECRET_ACCESS_KEY", "secret\n"),
            ("WALE_S3_ENDPOINT", "https+path://pbss.example.com:443"),
            ("AWS_ENDPOINT", "https://pbss.example.com"),
            ("AWS_S3_FORCE_PATH_STYLE", "true"),
            ("WALG_DISABLE_S3_SSE", "true"),
        ])
        .unwrap();
        assert_eq!(
            config.location().to_string(),
            "s3://bucket/spilo/demo/wal/15 at https://pbss.example.com"
        );
        assert_eq!((config.addressing, config.max_parts), (Addressing::Path, 1000));
        assert!(config.region.is_none() && config.encryption.is_none() && config.storage_class.is_none());
        let Credentials::Static { access_key, secret_key, session_token: None } = config.credentials else {
            panic!("keys expected")
        };
        assert_eq!((access_key.as_str(), secret_key.expose_secret()), ("id", "secret"));
    }

    #[test]
    fn wal_e_s_endpoint_names_the_addressing() {
        let config = s3([("WALE_S3_ENDPOINT", "http+path://h:1")]).unwrap();
        assert_eq!(config.addressing, Addressing::Path);
        assert_eq!(config.endpoint.unwrap().to_string(), "http://h:1");
    }

    #[test]
    fn roles() {
        let role = ("AWS_ROLE_ARN", "arn:x");
        let config = s3([role, ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]).unwrap();
        let Credentials::Chain(chain) = config.credentials else { panic!("chain expected") };
        assert!(
            config.assume_role.is_none() && chain.web_identity.is_some_and(|web| web.role_arn == "arn:x")
        );
        assert_eq!(s3([role]).unwrap().assume_role.unwrap().role_arn, "arn:x");
    }

    #[test]
    fn encryption_at_rest() {
        assert!(matches!(s3([("S3_SSE", "AES256")]).unwrap().encryption, Some(Encryption::Aes256)));
        let kms = [("WALG_S3_SSE", "aws:kms"), ("WALG_S3_SSE_KMS_ID", "k")];
        assert!(
            matches!(s3(kms).unwrap().encryption, Some(Encryption::Kms { key_id: Some(id) }) if id == "k")
        );
        let customer = [("WALG_S3_SSE", "AES256"), ("WALG_S3_SSE_C", "k")];
        assert!(matches!(s3(customer).unwrap().encryption, Some(Encryption::Customer { .. })));
        for bad in [("S3_SSE", "aws:kms"), ("S3_SSE_KMS_ID", "k"), ("S3_SSE", "rot13")] {
            assert!(s3([bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn odd_settings_are_errors() {
        for bad in [
            ("WALG_S3_PREFIX", "http://b"),
            ("WALG_S3_PREFIX", "s3:///p"),
            ("WALG_S3_PREFIX", "s3://b/../c"),
            ("AWS_ENDPOINT", "ftp://h"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("S3_DELETE_BATCH_SIZE", "all"),
            ("S3_RETENTION_PERIOD", "60"),
            ("S3_USE_YC_SESSION_TOKEN", "true"),
            ("S3_REQUEST_ADDITIONAL_HEADERS", "[x]"),
        ] {
            assert!(s3([bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn additional_headers() {
        for text in ["x-a: b\nx-c: 1", "- x-a: b\n- x-c: 1", r#"{"x-a": "b", "x-c": "1"}"#] {
            let expected =
                [("x-a", "b"), ("x-c", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(s3([("S3_REQUEST_ADDITIONAL_HEADERS", text)]).unwrap().headers.0, expected, "{text}");
        }
    }

    #[test]
    fn parts() {
        assert_eq!(s3([]).unwrap().part_bytes, PART_BYTES);
        let limits = |size| {
            let config = s3([
                ("AWS_ACCESS_KEY_ID", "i"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("WALG_S3_MAX_PART_SIZE", size),
            ]);
            S3::open(config.unwrap(), RetryPolicy::default()).unwrap().limits()
        };
        for (size, bytes) in [("33554432", 32 << 20), ("64MB", 64 << 20), ("1", 5 << 20), ("1TB", 5 << 30)] {
            assert_eq!(limits(size).part_bytes, bytes, "{size}");
        }
    }

    #[test]
    fn retries() {
        assert_eq!(settings([]).retry_policy().unwrap(), RetryPolicy::default());
        assert_eq!(settings([("WALG_S3_MAX_RETRIES", "0")]).retry_policy().unwrap().attempts, 1);
    }
}
