//! Which value a setting has, and where it came from.
//!
//! For each name of a setting, in the order of the table: flag, environment (an empty variable is an unset one),
//! configuration file. The first value found counts, as in wal-g; the default comes last. The others found are kept,
//! so that `config show` can say what was overridden.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Error;
use super::file::{self, ConfigFile, EntryValue};
use super::keys::{self, Key, Section, Status, Visibility};
use super::value::{self, Kind};

/// Every setting of this run.
#[derive(Debug)]
pub struct Settings {
    found: BTreeMap<&'static str, Vec<Found>>,
    environment: Environment,
    file: Option<PathBuf>,
    notices: Vec<String>,
}

/// A value with the place it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it was set.
    pub source: Source,
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On the command line, by this flag.
    Flag(String),
    /// In the environment, by this variable.
    Env(&'static str),
    /// In a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The key, as written there.
        key: String,
    },
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag --{flag}"),
            Source::Env(name) => write!(f, "environment variable {name}"),
            Source::File { path, key } => write!(f, "{key} in {}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// One place where a setting was found. The text is held as a secret whatever the setting.
#[derive(Debug)]
struct Found {
    text: SecretString,
    source: Source,
}

impl Found {
    /// A text that was given for `key`; an empty one counts as unset. A line end after it, as of a file whose content
    /// became the value, does not belong to it, as for wal-g; a secret is taken as it is.
    fn of(key: &Key, text: &str, source: Source) -> Option<Found> {
        let text = match key.visibility {
            Visibility::Plain => text.trim_end_matches(['\r', '\n']),
            Visibility::Secret => text,
        };
        (!text.is_empty()).then(|| Found { text: text.into(), source })
    }
}

/// Where settings are looked for.
#[derive(Debug, Default)]
pub struct Sources {
    /// Setting flags of the command line: the flag's long name and its value.
    pub flags: Vec<(String, SecretString)>,
    /// The environment.
    pub environment: Environment,
    /// The file named by `--config`.
    pub config: Option<PathBuf>,
    /// The user's home directory as the system knows it, see [`user_home`]: looked into when `$HOME` holds no file.
    pub user_home: Option<PathBuf>,
}

/// The home directory of this process's user in passwd; a container's user may have none.
///
/// It is where wal-g looks. `$HOME` can be another: Debian's `pg_ctlcluster`, called by root, leaves it at `/root`.
pub fn user_home() -> Option<PathBuf> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.dir)
}

/// Environment variables. Their values are not shown by `Debug`.
#[derive(Default)]
pub struct Environment(HashMap<OsString, OsString>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Environment {
        Environment(std::env::vars_os().collect())
    }

    /// The text of a variable; an empty one counts as unset.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or_else(|| Error::NotText { name: name.to_owned() }),
        }
    }

    /// The value of a variable; an empty one counts as unset.
    fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
impl Environment {
    /// With one more variable.
    pub(super) fn with(mut self, name: &str, value: &str) -> Environment {
        self.0.insert(name.into(), value.into());
        self
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Environment {
        Environment(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Settings {
    /// Looks for every setting of the table in all sources.
    ///
    /// A configuration file that cannot be used and a variable that is not text are errors here; a value that is not
    /// of its kind is one when it is asked for.
    pub fn load(sources: Sources) -> Result<Settings, Error> {
        let mut settings = Settings {
            found: BTreeMap::new(),
            environment: Environment::default(),
            file: None,
            notices: Vec::new(),
        };
        let file = settings.config_file(&sources)?;
        for key in keys::ALL {
            let mut found = Vec::new();
            for name in key.names {
                let flag = Key::flag(name);
                let flags = sources.flags.iter().filter(|(given, _)| given.eq_ignore_ascii_case(&flag));
                found.extend(flags.rev().filter_map(|(flag, text)| {
                    Found::of(key, text.expose_secret(), Source::Flag(flag.clone()))
                }));
                let text = sources.environment.text(name)?.unwrap_or_default();
                found.extend(Found::of(key, text, Source::Env(name)));
                if let Some(file) = &file {
                    found.extend(entries_of(file, key, name)?);
                }
            }
            if !found.is_empty() {
                settings.found.insert(key.name(), found);
            }
        }
        settings.notice_unknown(&sources.environment, file.as_ref());
        settings.file = file.map(|file| file.path);
        settings.environment = sources.environment;
        Ok(settings)
    }

    /// The configuration file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What the user should be told: unknown names, and settings of these sections that have no effect.
    pub fn warnings(&self, sections: &[Section]) -> Vec<String> {
        let ignored = keys::ALL.iter().filter(|key| sections.contains(&key.section)).filter_map(|key| {
            let Status::Ignored(reason) = key.status else { return None };
            let set = self.found.get(key.name())?.first()?;
            (Some(set.text.expose_secret()) != key.default)
                .then(|| format!("{} ({}) has no effect: {reason}", key.name(), set.source))
        });
        self.notices.iter().cloned().chain(ignored).collect()
    }

    /// An error for the first setting of a section that asks for something not done yet.
    pub fn refuse_not_yet(&self, section: Section) -> Result<(), Error> {
        let keys: Vec<_> = keys::ALL.iter().copied().filter(|key| key.section == section).collect();
        self.refuse_not_yet_of(&keys)
    }

    /// An error for the first of these settings that is set and asks for something not done yet.
    pub fn refuse_not_yet_of(&self, keys: &[&Key]) -> Result<(), Error> {
        for key in keys {
            let Status::NotYet(instead) = key.status else { continue };
            let Some(set) = self.found.get(key.name()).and_then(|found| found.first()) else { continue };
            if Some(set.text.expose_secret()) != key.default {
                return Err(Error::NotYet { name: key.name(), origin: set.source.clone(), instead });
            }
        }
        Ok(())
    }

    /// The text of a setting, its default included.
    pub fn text(&self, key: &Key) -> Option<Sourced<&str>> {
        self.all(key).next()
    }

    /// Every value a setting was given, the one that counts first, the default last.
    pub fn all<'a>(&'a self, key: &Key) -> impl Iterator<Item = Sourced<&'a str>> + use<'a> {
        let found = self.found.get(key.name()).into_iter().flatten();
        let set =
            found.map(|found| Sourced { value: found.text.expose_secret(), source: found.source.clone() });
        set.chain(key.default.map(|value| Sourced { value, source: Source::Default }))
    }

    /// The text of a secret setting.
    pub fn secret(&self, key: &Key) -> Option<SecretString> {
        self.text(key).map(|text| text.value.into())
    }

    /// What libpq would see under this name: the setting, else the variable of the environment.
    pub fn libpq_variable(&self, name: &str) -> Option<String> {
        match keys::find(name).and_then(|key| self.text(key)) {
            Some(text) => Some(text.value.to_owned()),
            None => self.environment.get(name)?.to_str().map(str::to_owned),
        }
    }

    /// The value of a path setting.
    pub fn path(&self, key: &Key) -> Option<PathBuf> {
        self.text(key).map(|text| PathBuf::from(text.value))
    }

    /// The value of a [`Kind::Bool`] setting; unset is false.
    pub fn bool(&self, key: &Key) -> Result<bool, Error> {
        Ok(self.parsed(key, value::parse_bool)?.unwrap_or_default())
    }

    /// The value of a [`Kind::Integer`] setting.
    pub fn integer(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.parsed(key, value::parse_integer)
    }

    /// The value of a [`Kind::Bytes`] setting.
    pub fn bytes(&self, key: &Key) -> Result<Option<u64>, Error> {
        self.parsed(key, value::parse_bytes)
    }

    /// The value of a [`Kind::Duration`] setting.
    pub fn duration(&self, key: &Key) -> Result<Option<Duration>, Error> {
        self.parsed(key, value::parse_duration)
    }

    /// The value of a [`Kind::Json`] setting.
    pub fn json(&self, key: &Key) -> Result<Option<serde_json::Value>, Error> {
        self.parsed(key, value::parse_json)
    }

    /// The value of a [`Kind::Choice`] setting, spelled as in the table.
    pub fn choice(&self, key: &Key) -> Result<Option<&'static str>, Error> {
        let Kind::Choice(words) = key.kind else { return Ok(None) };
        self.parsed(key, |text| value::parse_choice(words, text))
    }

    /// The value of a setting, read by `parse`; what is wrong is reported with the place it came from.
    pub fn parsed<T>(
        &self,
        key: &Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key) else { return Ok(None) };
        parse(text.value).map(Some).map_err(|reason| bad_value(key, &text, reason))
    }

    /// Says that the value of a setting cannot be used.
    pub fn bad(&self, key: &Key, reason: impl Into<String>) -> Error {
        let unset = Sourced { value: "", source: Source::Default };
        bad_value(key, &self.text(key).unwrap_or(unset), reason.into())
    }

    /// The file to read: the named one, else one of the home directories. One of these that cannot be searched is told
    /// when there is no other.
    fn config_file(&mut self, sources: &Sources) -> Result<Option<ConfigFile>, Error> {
        let flag = Key::flag(keys::CONFIG_PATH.name());
        let by_flag = sources.flags.iter().rfind(|(given, _)| *given == flag);
        let by_flag = by_flag.map(|(_, text)| PathBuf::from(text.expose_secret()));
        let by_variable = sources.environment.get(keys::CONFIG_PATH.name()).map(PathBuf::from);
        if let Some(path) = sources.config.clone().or(by_flag).or(by_variable) {
            return file::read(&path).map(Some);
        }
        let homes = [sources.environment.get("HOME").map(PathBuf::from), sources.user_home.clone()];
        let (mut searched, mut failed) = (false, None);
        for home in homes.into_iter().flatten() {
            match file::find_in_home(&home) {
                Ok(Some(path)) => return file::read(&path).map(Some),
                Ok(None) => searched = true,
                Err(error) => {
                    failed = Some(format!("cannot look for .walg.json in {}: {error}", home.display()));
                }
            }
        }
        self.notices.extend(failed.filter(|_| !searched));
        Ok(None)
    }

    fn notice_unknown(&mut self, environment: &Environment, file: Option<&ConfigFile>) {
        let variables = environment.0.keys().filter_map(|name| name.to_str());
        let variables = variables.filter(|name| name.starts_with("WALG_") || name.starts_with("WALE_"));
        let unknown_variables = variables.map(|name| (name.to_owned(), "environment variable".to_owned()));
        let entries = file.into_iter().flat_map(|file| {
            file.entries.iter().map(|entry| (entry.key.clone(), format!("key of {}", file.path.display())))
        });
        let mut unknown: Vec<_> =
            unknown_variables.chain(entries).filter(|(name, _)| keys::find(name).is_none()).collect();
        unknown.sort();
        for (name, place) in unknown {
            if is_of_client_libraries(&name) {
                self.notices.push(format!("{name} ({place}) has no effect there: set it in the environment"));
                continue;
            }
            let meant =
                keys::nearest(&name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            self.notices.push(format!("unknown setting {name} ({place}){meant}"));
        }
    }
}

/// The entries of a file that set a key by this name, the last one first.
fn entries_of(file: &ConfigFile, key: &'static Key, name: &'static str) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for entry in file.entries.iter().rev().filter(|entry| entry.key.eq_ignore_ascii_case(name)) {
        let source = Source::File { path: file.path.clone(), key: entry.key.clone() };
        let text = match &entry.value {
            EntryValue::Text(text) => text,
            EntryValue::Nested(text) if matches!(key.kind, Kind::Json | Kind::Yaml) => text,
            EntryValue::Fraction(text) if key.visibility == Visibility::Plain => text,
            EntryValue::Nested(_) => {
                let place = Sourced { value: "", source };
                return Err(bad_value(key, &place, "expected one value, not a list or map".to_owned()));
            }
            EntryValue::Fraction(_) => {
                let place = Sourced { value: "", source };
                return Err(bad_value(key, &place, "write it in quotes: it was read as a number".to_owned()));
            }
        };
        found.extend(Found::of(key, text.expose_secret(), source));
    }
    Ok(found)
}

/// Whether the libraries that speak to the storage may know the name: they look into the environment alone.
fn is_of_client_libraries(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("AWS_")
        || ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].contains(&name.as_str())
}

fn bad_value(key: &Key, text: &Sourced<&str>, reason: String) -> Error {
    let shown = match key.visibility {
        Visibility::Plain => format!("{:?}", value::without_credentials(text.value)),
        Visibility::Secret => "(hidden)".to_owned(),
    };
    Error::BadValue { name: key.name(), shown, origin: text.source.clone(), reason }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// Settings from an environment alone, with no home directory.
    fn from_environment<const N: usize>(pairs: [(&str, &str); N]) -> Settings {
        let environment = Environment::from(pairs).with("HOME", "/nonexistent");
        Settings::load(Sources { environment, ..Sources::default() }).unwrap()
    }

    #[test]
    fn flag_then_environment_then_file_then_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        fs::write(&path, "walg_compression_method: zstd\nwalg_file_prefix: /file\n").unwrap();
        let sources = Sources {
            flags: vec![("walg-compression-method".to_owned(), "none".into())],
            environment: Environment::from([
                ("WALG_COMPRESSION_METHOD", "brotli"),
                ("WALG_FILE_PREFIX", ""),
                ("WALG_CONFIG_PATH", "/nonexistent.json"),
            ]),
            config: Some(path.clone()),
            user_home: None,
        };
        let settings = Settings::load(sources).unwrap();
        let all: Vec<_> = settings.all(&keys::COMPRESSION_METHOD).map(|found| found.value).collect();
        assert_eq!(all, ["none", "brotli", "zstd", "lz4"]);
        let prefix = settings.text(&keys::FILE_PREFIX).unwrap();
        assert_eq!(prefix.value, "/file");
        assert_eq!(prefix.source, Source::File { path, key: "walg_file_prefix".to_owned() });
        assert_eq!(settings.choice(&keys::COMPRESSION_METHOD).unwrap(), Some("none"));
        assert_eq!(settings.integer(&keys::UPLOAD_CONCURRENCY).unwrap(), Some(16));
        assert!(settings.text(&keys::S3_PREFIX).is_none());
    }

    #[test]
    fn the_first_name_counts_wherever_it_is_set() {
        let settings = from_environment([("WALE_S3_PREFIX", "s3://old"), ("WALG_S3_PREFIX", "s3://new")]);
        assert_eq!(settings.text(&keys::S3_PREFIX).unwrap().value, "s3://new");
        let settings = from_environment([("WALE_S3_SSE", "AES256")]);
        assert_eq!(settings.text(&keys::S3_SSE).unwrap().source, Source::Env("WALE_S3_SSE"));
    }

    #[test]
    fn a_line_end_does_not_belong_to_a_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        fs::write(&path, r#"{"WALG_DELTA_MAX_STEPS": "3\n"}"#).unwrap();
        let settings = Settings::load(Sources {
            flags: vec![("walg-verify-page-checksums".to_owned(), "true\r\n".into())],
            environment: Environment::from([
                ("WALG_STOP_BACKUP_TIMEOUT", "5s\n"),
                ("WALG_UPLOAD_CONCURRENCY", "4\n\n"),
                ("WALG_FILE_PREFIX", "\n"),
                ("PGPASSWORD", "sesame\n"),
            ]),
            config: Some(path),
            ..Sources::default()
        })
        .unwrap();
        assert_eq!(settings.duration(&keys::STOP_BACKUP_TIMEOUT).unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(settings.integer(&keys::UPLOAD_CONCURRENCY).unwrap(), Some(4));
        assert_eq!(settings.integer(&keys::DELTA_MAX_STEPS).unwrap(), Some(3));
        assert!(settings.bool(&keys::VERIFY_PAGE_CHECKSUMS).unwrap());
        assert!(settings.text(&keys::FILE_PREFIX).is_none());
        assert_eq!(settings.secret(&keys::PGPASSWORD).unwrap().expose_secret(), "sesame\n");
    }

    #[test]
    fn a_bad_value_says_where_it_was_set() {
        let settings = from_environment([("WALG_UPLOAD_CONCURRENCY", "many")]);
        let error = settings.integer(&keys::UPLOAD_CONCURRENCY).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bad value \"many\" of WALG_UPLOAD_CONCURRENCY (environment variable WALG_UPLOAD_CONCURRENCY): \
             expected a whole number, zero or more"
        );
    }

    #[test]
    fn unknown_and_ineffective_settings_are_told() {
        let settings = from_environment([
            ("WALG_FILE_PREFX", "/x"),
            ("WALG_UPLOAD_QUEUE", "5"),
            ("WALG_S3_SKIP_VALIDATION", "true"),
            ("WALG_DISABLE_S3_SSE", "true"),
        ]);
        assert_eq!(
            settings.warnings(&[Section::Backup, Section::S3, Section::Other]),
            [
                "unknown setting WALG_FILE_PREFX (environment variable); did you mean WALG_FILE_PREFIX?",
                "WALG_UPLOAD_QUEUE (environment variable WALG_UPLOAD_QUEUE) has no effect: \
                 memory is bounded by a pool of buffers instead",
            ]
        );
        assert_eq!(settings.warnings(&[Section::Wal]).len(), 1);
    }

    #[test]
    fn what_only_libraries_know_belongs_into_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.json");
        fs::write(&path, r#"{"https_proxy": "http://p", "AWS_EC2_METADATA_DISABLED": "true"}"#).unwrap();
        let settings = Settings::load(Sources { config: Some(path.clone()), ..Sources::default() }).unwrap();
        let expected = ["AWS_EC2_METADATA_DISABLED", "https_proxy"].map(|name| {
            let path = path.display();
            format!("{name} (key of {path}) has no effect there: set it in the environment")
        });
        assert_eq!(settings.warnings(&[]), expected);
    }

    #[test]
    fn encryption_that_is_not_done_yet_is_refused() {
        for name in
            ["WALG_PGP_KEY", "WALG_PGP_KEY_PATH", "WALE_GPG_KEY_ID", "WALG_CSE_KMS_ID", "YC_CSE_KMS_KEY_ID"]
        {
            let error = from_environment([(name, "sesame")]).refuse_not_yet(Section::Encryption).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(name) && !shown.contains("sesame"), "{shown}");
            assert!(error.hint().unwrap().contains("WALG_LIBSODIUM_KEY"));
        }
        from_environment([]).refuse_not_yet(Section::Encryption).unwrap();
    }

    #[test]
    fn a_named_file_must_be_there() {
        let sources = Sources { config: Some("/nonexistent/c.json".into()), ..Sources::default() };
        let error = Settings::load(sources).unwrap_err();
        assert_eq!(error.to_string(), "cannot read configuration file /nonexistent/c.json");
    }

    #[test]
    fn the_home_directory_of_passwd_is_the_second_to_be_searched() {
        let directory = tempfile::tempdir().unwrap();
        let [home, passwd] = ["home", "passwd"].map(|name| directory.path().join(name));
        fs::create_dir(&passwd).unwrap();
        // A name too long to exist fails as /root does for who is not root, and for root too.
        let unsearchable = directory.path().join("x".repeat(300));
        let found = |home: &Path, user_home: Option<&Path>| {
            let environment = Environment::from([("HOME", home.to_str().unwrap())]);
            let user_home = user_home.map(Path::to_owned);
            let settings = Settings::load(Sources { environment, user_home, ..Sources::default() }).unwrap();
            (settings.file().map(Path::to_owned), settings.warnings(&[]).len())
        };
        assert_eq!(found(&unsearchable, None), (None, 1));
        assert_eq!(found(&unsearchable, Some(&passwd)), (None, 0));
        fs::write(passwd.join(".walg.json"), "{}").unwrap();
        for first in [&unsearchable, &home] {
            assert_eq!(found(first, Some(&passwd)), (Some(passwd.join(".walg.json")), 0));
        }
        fs::create_dir(&home).unwrap();
        fs::write(home.join(".walg.env"), "").unwrap();
        assert_eq!(found(&home, Some(&passwd)), (Some(home.join(".walg.env")), 0));
    }

    #[test]
    fn a_key_read_as_a_number_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        fs::write(&path, "WALG_LIBSODIUM_KEY: 1234e56\n").unwrap();
        let error = Settings::load(Sources { config: Some(path), ..Sources::default() }).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("write it in quotes") && !shown.contains("1234"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(secret in "[a-z]{12}") {
            let secret_keys = keys::ALL.iter().filter(|key| key.visibility == Visibility::Secret);
            for key in secret_keys {
                let environment = Environment::from([(key.name(), secret.as_str()), ("HOME", "/nonexistent")]);
                let flags = vec![(Key::flag(key.name()), SecretString::from(secret.as_str()))];
                let sources = Sources { flags, environment, ..Sources::default() };
                let mut shown = format!("{sources:?}");
                let settings = Settings::load(sources).unwrap();
                shown += &format!("{settings:?} {:?}", settings.secret(key));
                shown += &settings.warnings(&[key.section]).join(" ");
                shown += &format!("{:?}", settings.refuse_not_yet(key.section));
                let bad = settings.bad(key, "no good");
                shown += &format!("{bad} {bad:?}");
                prop_assert!(!shown.contains(&secret), "{}", shown);
            }
        }
    }
}
