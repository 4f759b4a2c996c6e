//! What can be wrong with the settings, and where.

use std::io;
use std::path::PathBuf;

use crate::codec;

use super::Source;

/// A setting or a configuration file that cannot be used. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is not of its kind.
    #[error("bad value {shown} of {name} ({source_text}): {reason}", source_text = .origin)]
    BadValue {
        /// The setting.
        name: &'static str,
        /// The value, or a word in place of a secret one.
        shown: String,
        /// Where the value was set.
        origin: Source,
        /// What was expected.
        reason: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read configuration file {path}", path = .path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file breaks the rules of its format.
    #[error("cannot parse configuration file {path} as {format}: {detail}", path = .path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// The format, from the file's extension.
        format: &'static str,
        /// What is wrong, and on which line.
        detail: String,
    },
    /// The configuration file has no extension that names a format.
    #[error("cannot tell the format of configuration file {path}", path = .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// An environment variable is not UTF-8.
    #[error("environment variable {name} is not UTF-8 text")]
    NotText {
        /// The variable.
        name: String,
    },
    /// The file of an encryption key cannot be read.
    #[error("cannot read key file {path}", path = .path.display())]
    ReadKeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Compression or encryption cannot be as configured.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// No setting names a storage.
    #[error("no storage configured")]
    NoStorage,
    /// A setting asks for something that is not done yet and must not be ignored.
    #[error("{name} ({origin}) asks for something that is not supported")]
    NotYet {
        /// The setting.
        name: &'static str,
        /// Where it was set.
        origin: Source,
        /// What to do instead.
        instead: &'static str,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::BadValue { .. } => Some(
                "correct or unset it there; `flags` tells what each setting means, `config show` what is set where"
                    .to_owned(),
            ),
            Error::ReadFile { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the user that runs this command, which PostgreSQL does as its own, must be able to read it".to_owned())
            }
            Error::ReadFile { .. } => {
                Some("check --config and WALG_CONFIG_PATH; a relative path starts at the working directory".to_owned())
            }
            Error::ParseFile { .. } => {
                Some("the file is one flat map from the names of settings to their values".to_owned())
            }
            Error::NotText { .. } => Some("set it to UTF-8 text, or unset it".to_owned()),
            Error::ReadKeyFile { .. } => Some("check WALG_LIBSODIUM_KEY_PATH and who may read the file".to_owned()),
            Error::Codec(error) => error.hint().map(str::to_owned),
            Error::UnknownFormat { .. } => {
                Some("give it one of the extensions .json, .yaml, .yml, .toml, .env".to_owned())
            }
            Error::NoStorage => Some(
                "set WALG_FILE_PREFIX (a directory) or WALG_S3_PREFIX (s3://bucket/path) in the environment or the \
                 configuration file"
                    .to_owned(),
            ),
            Error::NotYet { instead, .. } => Some((*instead).to_owned()),
        }
    }
}
