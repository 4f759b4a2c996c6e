//! Where the repository is, and how to speak to the service: from the URL, the flags, and the environment as boto
//! reads it. `WALG_*` settings count for nothing here.
//!
//! | what | from |
//! |---|---|
//! | bucket and path | `s3://bucket/path`; below it one directory for each server. `file:///directory` is ours |
//! | endpoint | `--endpoint-url`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile |
//! | keys | `--aws-profile`; else `AWS_ACCESS_KEY_ID` …; else `AWS_DEFAULT_PROFILE`, `AWS_PROFILE`, web identity, container, instance. A profile that is named has to exist |
//! | region | `AWS_DEFAULT_REGION` (never `AWS_REGION`, which is the cluster's and not the bucket's), the profile; else the endpoint's at AWS, us-east-1 at any other, else what the bucket says; and in place of all of them what a refusal of the service names |
//! | certificates | `AWS_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, besides the system's |
//! | checksums | `AWS_REQUEST_CHECKSUM_CALCULATION`, `AWS_RESPONSE_CHECKSUM_VALIDATION`; `when_required` unless set, for services that know none |
//! | ETags | `SEAWALL_S3_CHECK_ETAG`, ours, as in wal-g's dialect |
//! | attempts | `AWS_MAX_ATTEMPTS`; they wait as in boto's mode `standard`, whatever `AWS_RETRY_MODE` says |
//!
//! Source: botocore's `configprovider.py`, `credentials.py` and `args.py`.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::settings::Environment;
use crate::settings::keys;
use crate::settings::value::{parse_bool, without_credentials};
use crate::storage::retry::RetryPolicy;
use crate::storage::s3::{
    Addressing, Chain, Checksums, Credentials, Encryption, Endpoint, EtagCheck, RegionIs, S3Config, Tag,
    WebIdentity,
};
use crate::storage::{Prefix, StorageConfig};

use super::Error;
use super::flags::{ADDRESSING_STYLE, AWS_PROFILE, ENDPOINT_URL, READ_TIMEOUT};
use super::grammar::{Grammar, Line};
use super::profile::Profile;
use super::values;
use crate::cli;

/// Objects that one request deletes, at most.
const MAX_DELETE_BATCH: i64 = 1000;

/// What a command asks of the objects that it writes or deletes.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Their tags.
    pub tags: Vec<Tag>,
    /// How the service encrypts them.
    pub encryption: Option<Encryption>,
    /// The least size of a part.
    pub part_bytes: Option<u64>,
    /// `--batch-size`
    pub delete_batch: Option<i64>,
}

/// A bucket or a directory, and the server's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    root: Root,
    prefix: Prefix,
    annotations: AnnotationPlaces,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Root {
    Bucket(String),
    Directory(PathBuf),
}

/// A server's repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where it is.
    pub storage: StorageConfig,
    /// How often to try.
    pub policy: RetryPolicy,
    /// Where annotations of backups lie as well, or instead ([`Annotations`](crate::catalog::barman::Annotations)).
    pub annotations: AnnotationPlaces,
}

/// The places of annotations: `path//server/` and `path/server/`. One of them is the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationPlaces {
    /// Where barman would write one.
    pub place: Prefix,
    /// Where it would for the same URL with one slash more or less at its end.
    pub other: Option<Prefix>,
}

impl Repository {
    /// The same storage below another prefix.
    pub fn at(&self, prefix: Prefix) -> StorageConfig {
        match self.storage.clone() {
            StorageConfig::Directory { path, .. } => StorageConfig::Directory { path, prefix },
            StorageConfig::S3(config) => StorageConfig::S3(Box::new(S3Config { prefix, ..*config })),
        }
    }

    /// The server's place in the bucket or directory.
    pub fn prefix(&self) -> &Prefix {
        match &self.storage {
            StorageConfig::Directory { prefix, .. } => prefix,
            StorageConfig::S3(config) => &config.prefix,
        }
    }
}

/// The repository of the line's server below its URL.
pub fn repository(
    grammar: &Grammar,
    line: &Line,
    environment: &Environment,
    objects: Objects,
) -> Result<Repository, cli::Error> {
    let url = line.positional(0).unwrap_or_default();
    let place = Place::parse(url, line.positional(1).unwrap_or_default())?;
    let policy = retry_policy(grammar, line, environment)?;
    let annotations = place.annotations;
    let bucket = match place.root {
        Root::Directory(path) => {
            let storage = StorageConfig::Directory { path, prefix: place.prefix };
            return Ok(Repository { storage, policy, annotations });
        }
        Root::Bucket(bucket) => bucket,
    };
    let flagged = line.value(&AWS_PROFILE);
    let named = profile_name(flagged, environment)?;
    let profile = Profile::of(named, environment)?;
    let mut config = S3Config::new(bucket, place.prefix, credentials(flagged, named, environment)?);
    config.endpoint = endpoint(line, environment, profile.endpoint.as_deref())?;
    config.take_profile();
    config.addressing = match (line.value(&ADDRESSING_STYLE), &config.endpoint) {
        (Some("path"), _) | (None | Some("auto"), Some(_)) => Addressing::Path,
        _ => Addressing::VirtualHost,
    };
    config.region = owned(environment.text("AWS_DEFAULT_REGION")?).or(profile.region);
    config.region_is = RegionIs::Guess;
    config.ca_bundle = ca_bundle(environment)?;
    config.request_checksums = checksums(environment, "AWS_REQUEST_CHECKSUM_CALCULATION")?;
    config.response_checksums = checksums(environment, "AWS_RESPONSE_CHECKSUM_VALIDATION")?;
    config.etag_check = etag_check(environment)?;
    config.tags = objects.tags;
    config.encryption = objects.encryption;
    if let Some(bytes) = objects.part_bytes {
        config.part_bytes = config.part_bytes.max(bytes);
    }
    if let Some(batch) = objects.delete_batch {
        config.delete_batch = usize::try_from(batch.clamp(1, MAX_DELETE_BATCH)).unwrap_or(1);
    }
    Ok(Repository { storage: StorageConfig::S3(Box::new(config)), policy, annotations })
}

impl Place {
    /// Understands the URL, and joins the server's name to its path as barman does: leading slashes are dropped, and
    /// a slash is put between only where none is.
    fn parse(url: &str, server: &str) -> Result<Place, Error> {
        let invalid = || Error::Url(without_credentials(url));
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        if rest.contains(['?', '#']) || authority.contains('@') {
            return Err(invalid());
        }
        let (host, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        let bad_server = || Error::Server(server.to_owned());
        if server.is_empty() || server.starts_with('/') {
            return Err(bad_server());
        }
        let join = |path: &str| {
            Prefix::parse(&format!("{path}{}/", server.trim_end_matches('/'))).map_err(|_| bad_server())
        };
        match (scheme.to_ascii_lowercase().as_str(), host) {
            ("s3", "") => Err(invalid()),
            ("s3", bucket) => {
                let path = path.trim_start_matches('/');
                Prefix::parse(path).map_err(|_| invalid())?;
                let (prefix, annotations) = match path.strip_suffix('/') {
                    _ if path.is_empty() => {
                        let prefix = join("")?;
                        (prefix.clone(), AnnotationPlaces { place: prefix, other: None })
                    }
                    None => {
                        let prefix = join(&format!("{path}/"))?;
                        let other = Some(join(&format!("{path}//"))?);
                        (prefix.clone(), AnnotationPlaces { place: prefix, other })
                    }
                    Some(_) => {
                        let (prefix, place) = (join(path)?, join(&format!("{path}/"))?);
                        (prefix.clone(), AnnotationPlaces { place, other: Some(prefix) })
                    }
                };
                Ok(Place { root: Root::Bucket(bucket.to_owned()), prefix, annotations })
            }
            ("file", "" | "localhost") if path.starts_with('/') => {
                let trimmed = path.trim_end_matches('/');
                let directory = PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed });
                let prefix = join("")?;
                let annotations = AnnotationPlaces { place: prefix.clone(), other: None };
                Ok(Place { root: Root::Directory(directory), prefix, annotations })
            }
            _ => Err(invalid()),
        }
    }
}

/// The variables with the address of S3, the first that is set counts.
const S3_ENDPOINT: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// The same of EC2.
pub(super) const EC2_ENDPOINT: [&str; 2] = ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"];

/// A silence may be as long as `--read-timeout`, and there are as many attempts as `AWS_MAX_ATTEMPTS`.
pub(super) fn retry_policy(
    grammar: &Grammar,
    line: &Line,
    environment: &Environment,
) -> Result<RetryPolicy, cli::Error> {
    let mut policy = RetryPolicy::default();
    if let Some(seconds) = line.value(&READ_TIMEOUT) {
        let seconds = values::integer(seconds).and_then(|_| values::positive(seconds));
        let silence = Duration::from_secs(
            seconds.map_err(|reason| grammar.wrong_value(&READ_TIMEOUT, reason)).map_err(Error::Usage)?,
        );
        policy = policy.with_silence(silence);
    }
    if let Some(text) = environment.text("AWS_MAX_ATTEMPTS")? {
        let attempts = values::positive(text).ok().and_then(|attempts| u32::try_from(attempts).ok());
        policy.attempts =
            attempts.ok_or_else(|| bad_variable("AWS_MAX_ATTEMPTS", text, "a number from 1 on"))?;
    }
    Ok(policy)
}

fn endpoint(
    line: &Line,
    environment: &Environment,
    of_profile: Option<&str>,
) -> Result<Option<Endpoint>, cli::Error> {
    match line.value(&ENDPOINT_URL) {
        Some(text) => parse_endpoint(text, "--endpoint-url").map(Some),
        None => configured_endpoint(environment, S3_ENDPOINT, of_profile),
    }
}

fn parse_endpoint(text: &str, name: &'static str) -> Result<Endpoint, cli::Error> {
    let parsed = Endpoint::parse(text.trim());
    parsed.map(|(endpoint, _)| endpoint).map_err(|source| Error::Endpoint { name, source }.into())
}

/// The address of a service as the environment or the profile has it.
pub(super) fn configured_endpoint(
    environment: &Environment,
    variables: [&'static str; 2],
    of_profile: Option<&str>,
) -> Result<Option<Endpoint>, cli::Error> {
    let ignored = environment.text("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")?;
    if ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    for name in variables {
        if let Some(text) = environment.text(name)? {
            return parse_endpoint(text, name).map(Some);
        }
    }
    of_profile.map(|text| parse_endpoint(text, "endpoint_url of the profile")).transpose()
}

/// Certificates to trust besides the system's.
pub(super) fn ca_bundle(environment: &Environment) -> Result<Option<PathBuf>, cli::Error> {
    let bundle = match environment.text("AWS_CA_BUNDLE")? {
        None => environment.text("REQUESTS_CA_BUNDLE")?,
        bundle => bundle,
    };
    Ok(bundle.map(PathBuf::from))
}

/// The profile that counts.
pub(super) fn profile_name<'a>(
    flagged: Option<&'a str>,
    environment: &'a Environment,
) -> Result<Option<&'a str>, cli::Error> {
    Ok(match (flagged, environment.text("AWS_DEFAULT_PROFILE")?) {
        (Some(name), _) | (None, Some(name)) => Some(name),
        (None, None) => environment.text("AWS_PROFILE")?,
    })
}

/// The keys of the environment, if no profile is asked for by a flag.
pub(super) fn credentials(
    flagged: Option<&str>,
    profile: Option<&str>,
    environment: &Environment,
) -> Result<Credentials, cli::Error> {
    let access_key = environment.text("AWS_ACCESS_KEY_ID")?;
    let secret_key = environment.text("AWS_SECRET_ACCESS_KEY")?;
    match (flagged, access_key, secret_key) {
        (None, Some(access_key), Some(secret_key)) => Ok(Credentials::Static {
            access_key: access_key.to_owned(),
            secret_key: SecretString::from(secret_key),
            session_token: session_token(environment)?,
        }),
        (None, Some(_), None) => {
            Err(Error::HalfAKey { set: "AWS_ACCESS_KEY_ID", unset: "AWS_SECRET_ACCESS_KEY" }.into())
        }
        (None, None, Some(_)) => {
            Err(Error::HalfAKey { set: "AWS_SECRET_ACCESS_KEY", unset: "AWS_ACCESS_KEY_ID" }.into())
        }
        _ => Ok(Credentials::Chain(Chain {
            profile: owned(profile),
            credentials_file: environment.text("AWS_SHARED_CREDENTIALS_FILE")?.map(PathBuf::from),
            config_file: environment.text("AWS_CONFIG_FILE")?.map(PathBuf::from),
            web_identity: match flagged {
                Some(_) => None,
                None => web_identity(environment)?,
            },
        })),
    }
}

/// The token of temporary keys, by its old name before the one that all tools of AWS know, as in boto.
fn session_token(environment: &Environment) -> Result<Option<SecretString>, cli::Error> {
    let token = match environment.text("AWS_SECURITY_TOKEN")? {
        None => environment.text("AWS_SESSION_TOKEN")?,
        token => token,
    };
    Ok(token.map(SecretString::from))
}

fn web_identity(environment: &Environment) -> Result<Option<WebIdentity>, cli::Error> {
    let token_file = environment.text("AWS_WEB_IDENTITY_TOKEN_FILE")?.map(PathBuf::from);
    let (Some(token_file), Some(role_arn)) = (token_file, environment.text("AWS_ROLE_ARN")?) else {
        return Ok(None);
    };
    let session_name = owned(environment.text("AWS_ROLE_SESSION_NAME")?);
    Ok(Some(WebIdentity { token_file, role_arn: role_arn.to_owned(), session_name }))
}

fn checksums(environment: &Environment, name: &'static str) -> Result<Checksums, cli::Error> {
    match environment.text(name)?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("when_required") => Ok(Checksums::WhenRequired),
        Some("when_supported") => Ok(Checksums::WhenSupported),
        Some(other) => Err(bad_variable(name, other, "when_required or when_supported")),
    }
}

/// What an ETag is compared with: a variable of ours, by the name and with the default of the setting in wal-g's dialect.
fn etag_check(environment: &Environment) -> Result<EtagCheck, cli::Error> {
    let key = &keys::S3_CHECK_ETAG;
    let text = environment.text(key.name())?.or(key.default).unwrap_or_default();
    match parse_bool(text) {
        Ok(true) => Ok(EtagCheck::Md5),
        Ok(false) => Ok(EtagCheck::Off),
        Err(_) => Err(bad_variable(key.name(), text, "true or false")),
    }
}

fn bad_variable(name: &'static str, value: &str, expected: &'static str) -> cli::Error {
    Error::Variable { name, value: value.to_owned(), expected }.into()
}

pub(super) fn owned(text: Option<&str>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::Command;
    use super::super::flags::grammar;
    use super::super::grammar::Request;
    use super::*;

    fn resolved<const N: usize>(
        arguments: &str,
        variables: [(&str, &str); N],
    ) -> Result<Repository, cli::Error> {
        let grammar = grammar(Command::BackupList);
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let Request::Work(line) = grammar.parse(&arguments).unwrap() else { panic!("work expected") };
        repository(grammar, &line, &Environment::from(variables), Objects::default())
    }

    fn s3<const N: usize>(arguments: &str, variables: [(&str, &str); N]) -> S3Config {
        match resolved(arguments, variables).unwrap().storage {
            StorageConfig::S3(config) => *config,
            StorageConfig::Directory { .. } => panic!("a bucket expected"),
        }
    }

    #[test]
    fn urls() {
        for (url, server, expected) in [
            ("s3://b", "srv", Some(("b", "srv/"))),
            ("s3://b/", "srv", Some(("b", "srv/"))),
            ("s3://b/a", "srv", Some(("b", "a/srv/"))),
            ("s3://b/a/", "srv", Some(("b", "a/srv/"))),
            ("S3://b///a//", "srv", Some(("b", "a//srv/"))),
            ("s3://b/a/c", "x/y", Some(("b", "a/c/x/y/"))),
            ("file:///backups/", "srv", Some(("/backups", "srv/"))),
            ("file://localhost/", "srv", Some(("/", "srv/"))),
            ("s3:///a", "srv", None),
            ("s3:b/a", "srv", None),
            ("/a/b", "srv", None),
            ("https://b/a", "srv", None),
            ("file://host/a", "srv", None),
            ("s3://b/../a", "srv", None),
            ("s3://b/a?x", "srv", None),
            ("s3://user:secret@b/a", "srv", None),
            ("s3://b/a", "..", None),
            ("s3://b/a", "/srv", None),
            ("s3://b/a", "", None),
        ] {
            let place = Place::parse(url, server).ok();
            let place = place.as_ref().map(|place| {
                let root = match &place.root {
                    Root::Bucket(bucket) => bucket.as_str(),
                    Root::Directory(path) => path.to_str().unwrap(),
                };
                (root, place.prefix.as_str())
            });
            assert_eq!(place, expected, "{url} {server}");
        }
    }

    #[test]
    fn keys_in_a_url_are_not_shown() {
        let error = Place::parse("s3://user:hidden@b/a", "srv").unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
    }

    /// As barman 3.19.1 writes them.
    #[test]
    fn annotations_have_a_slash_of_their_own() {
        for (url, prefix, place, other) in [
            ("s3://b", "srv/", "srv/", None),
            ("s3://b/a", "a/srv/", "a/srv/", Some("a//srv/")),
            ("s3://b/a/", "a/srv/", "a//srv/", Some("a/srv/")),
            ("s3://b/a//", "a//srv/", "a///srv/", Some("a//srv/")),
            ("file:///a/", "srv/", "srv/", None),
        ] {
            let found = Place::parse(url, "srv").unwrap();
            let annotations = &found.annotations;
            let other_found = annotations.other.as_ref().map(Prefix::as_str);
            assert_eq!(
                (found.prefix.as_str(), annotations.place.as_str(), other_found),
                (prefix, place, other),
                "{url}"
            );
        }
    }

    #[test]
    fn endpoints_and_addressing() {
        const SET: (&str, &str) = ("AWS_ENDPOINT_URL", "https://general");
        const S3_SET: (&str, &str) = ("AWS_ENDPOINT_URL_S3", "https://s3");
        let shown =
            |config: S3Config| (config.endpoint.map(|endpoint| endpoint.to_string()), config.addressing);
        let (path, virtual_host) = (Addressing::Path, Addressing::VirtualHost);
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(shown(s3("s3://b srv", [])), (None, virtual_host));
        assert_eq!(shown(s3("s3://b srv --addressing-style path", [])), (None, path));
        assert_eq!(shown(s3("s3://b srv", [SET])), (url("https://general"), path));
        assert_eq!(shown(s3("s3://b srv", [SET, S3_SET])), (url("https://s3"), path));
        let flagged = "s3://b srv --endpoint-url http://flag:9000 --addressing-style virtual";
        assert_eq!(shown(s3(flagged, [SET, S3_SET])), (url("http://flag:9000"), virtual_host));
        assert_eq!(
            shown(s3("s3://b srv", [SET, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True")])),
            (None, virtual_host)
        );
        assert!(resolved("s3://b srv --endpoint-url ftp://x", []).is_err());
    }

    #[test]
    fn keys_and_profiles() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"[profile p]\n[profile q]\n[profile d]\n").unwrap();
        let path = ("AWS_CONFIG_FILE", file.path().to_str().unwrap());
        let named = ("AWS_PROFILE", "p");
        let (id, secret) = (("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"));
        assert!(
            matches!(s3("s3://b srv", [path, id, secret, named]).credentials, Credentials::Static { access_key, .. } if access_key == "id")
        );
        let profile = |config: S3Config| match config.credentials {
            Credentials::Chain(chain) => chain.profile,
            Credentials::Static { .. } => panic!("a chain expected"),
        };
        assert_eq!(profile(s3("s3://b srv -P q", [path, id, secret, named])).as_deref(), Some("q"));
        assert_eq!(profile(s3("s3://b srv --profile=q", [path, id, secret, named])).as_deref(), Some("q"));
        assert_eq!(
            profile(s3("s3://b srv", [path, named, ("AWS_DEFAULT_PROFILE", "d")])).as_deref(),
            Some("d")
        );
        assert!(resolved("s3://b srv", [id]).is_err());
        // No profile of this name, whatever else has keys.
        for line in ["s3://b srv", "s3://b srv -P q"] {
            let error = resolved(line, [id, secret, named]).unwrap_err().to_string();
            assert!(
                error.starts_with("The config profile (") && error.ends_with(") could not be found"),
                "{error}"
            );
        }
        let web = [path, ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn:x")];
        let chain = |config: S3Config| match config.credentials {
            Credentials::Chain(chain) => chain.web_identity.map(|web| web.role_arn),
            Credentials::Static { .. } => panic!("a chain expected"),
        };
        assert_eq!(chain(s3("s3://b srv", web)).as_deref(), Some("arn:x"));
        assert_eq!(chain(s3("s3://b srv -P q", web)), None);
    }

    #[test]
    fn the_token_has_two_names() {
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        for (name, expected) in [("AWS_SECURITY_TOKEN", "old"), ("AWS_SESSION_TOKEN", "new")] {
            let others = [keys[0], keys[1], (name, expected), ("AWS_SESSION_TOKEN", "new")];
            let Credentials::Static { session_token, .. } = s3("s3://b srv", others).credentials else {
                panic!("keys expected")
            };
            assert_eq!(session_token.unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn a_profile_names_endpoint_and_region() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "[default]\nregion = eu-west-1\n[profile p]\nendpoint_url = http://profile:9000\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let path = ("AWS_CONFIG_FILE", file.path().to_str().unwrap());
        let shown = |config: S3Config| (config.endpoint.map(|endpoint| endpoint.to_string()), config.region);
        let (endpoint, region) = (Some("http://profile:9000".to_owned()), Some("eu-west-1".to_owned()));
        assert_eq!(shown(s3("s3://b srv", [path])), (None, region.clone()));
        assert_eq!(shown(s3("s3://b srv -P p", [path])), (endpoint.clone(), None));
        assert_eq!(shown(s3("s3://b srv", [path, ("AWS_PROFILE", "p")])), (endpoint, None));
        let set = [path, ("AWS_ENDPOINT_URL", "http://set"), ("AWS_DEFAULT_REGION", "r")];
        assert_eq!(shown(s3("s3://b srv -P p", set)), (Some("http://set".to_owned()), Some("r".to_owned())));
        let ignored = [path, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert_eq!(shown(s3("s3://b srv -P p", ignored)).0, None);
    }

    #[test]
    fn the_other_variables_of_boto() {
        let config = s3(
            "s3://b srv",
            [
                ("AWS_DEFAULT_REGION", "eu-central-1"),
                ("AWS_REGION", "us-west-2"),
                ("AWS_CA_BUNDLE", "/ca.crt"),
                ("REQUESTS_CA_BUNDLE", "/other.crt"),
                ("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_SUPPORTED"),
                ("WALG_S3_SSE", "AES256"),
                ("WALG_S3_STORAGE_CLASS", "STANDARD_IA"),
            ],
        );
        assert_eq!(config.region.as_deref(), Some("eu-central-1"));
        assert_eq!(config.ca_bundle, Some(PathBuf::from("/ca.crt")));
        assert_eq!(config.request_checksums, Checksums::WhenSupported);
        assert_eq!(config.response_checksums, Checksums::WhenRequired);
        assert!(config.encryption.is_none() && config.storage_class.is_none());
        assert_eq!(s3("s3://b srv", [("AWS_REGION", "us-west-2")]).region, None);
        assert!(resolved("s3://b srv", [("AWS_REQUEST_CHECKSUM_CALCULATION", "never")]).is_err());
    }

    #[test]
    fn etags_are_compared_unless_told_otherwise() {
        let check = |value| s3("s3://b srv", [("SEAWALL_S3_CHECK_ETAG", value)]).etag_check;
        assert_eq!(s3("s3://b srv", []).etag_check, EtagCheck::Md5);
        assert_eq!((check("true"), check("false")), (EtagCheck::Md5, EtagCheck::Off));
        assert!(resolved("s3://b srv", [("SEAWALL_S3_CHECK_ETAG", "no")]).is_err());
    }

    #[test]
    fn how_long_and_how_often() {
        let patient = resolved("s3://b srv --read-timeout=60", [("AWS_MAX_ATTEMPTS", "3")]).unwrap().policy;
        assert_eq!(
            (patient.first_byte, patient.stalled_body),
            (Duration::from_secs(60), Duration::from_secs(60))
        );
        assert_eq!(patient.attempts, 3);
        for wrong in ["x", "0", "1.5"] {
            let line = format!("s3://b srv --read-timeout {wrong}");
            assert!(resolved(&line, []).is_err(), "{wrong}");
        }
        assert!(resolved("s3://b srv", [("AWS_MAX_ATTEMPTS", "0")]).is_err());
    }
}
