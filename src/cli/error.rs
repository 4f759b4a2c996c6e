//! Whatever ends the program without success, and how it is told.

use std::io;
use std::path::PathBuf;

use crate::layout::walg::InvalidBackupName;
use crate::{ops, pg, settings};

use super::barman;

/// Why the program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong; the error holds its own text with the usage.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A setting or the configuration file cannot be used.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// A call of barman-cloud is wrong.
    #[error(transparent)]
    Barman(#[from] barman::Error),
    /// The operation failed.
    #[error(transparent)]
    Operation(#[from] ops::Error),
    /// The connection's settings cannot be used.
    #[error(transparent)]
    Connection(#[from] pg::conninfo::Error),
    /// What was given as the name of a backup is none.
    #[error(transparent)]
    BackupName(#[from] InvalidBackupName),
    /// `wal-verify` found what must not be.
    #[error("the archive failed the check")]
    VerificationFailed,
    /// `wal-verify` found WAL, or none, and nothing that it could be replayed on.
    #[error("there is no base backup of this history: WAL alone cannot be restored")]
    NoBaseBackup,
    /// `storage check` found something that does not work and is needed.
    #[error("the storage failed the check")]
    StorageUnfit,
    /// Some objects could not be deleted; each has been reported.
    #[error("{0} objects could not be deleted")]
    NotDeleted(usize),
    /// A document cannot be printed.
    #[error("cannot print JSON")]
    Json(#[from] serde_json::Error),
    /// A command, flag or argument asks for something that is not done yet.
    #[error("{what} is not supported")]
    Unsupported {
        /// The command, flag or argument.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The file of `--restore-spec` cannot be used.
    #[error("cannot read restore spec `{}`", path.display())]
    RestoreSpec {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("cannot open log file `{}`", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The operating system refused something the program needs before it starts to work.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Settings have bad values; each has been reported.
    #[error("{0} settings have bad values")]
    BadSettings(usize),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Settings(error) => error.hint(),
            Error::Operation(error) => error.hint(),
            Error::Barman(error) => error.hint(),
            Error::BackupName(_) => Some("`backup-list` shows the backups; LATEST is the newest".to_owned()),
            Error::NotDeleted(_) => Some("the same command again goes on where this one stopped".to_owned()),
            Error::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Error::RestoreSpec { source, .. } if source.kind() == io::ErrorKind::InvalidData => Some(
                "`tablespaces` of `backup-show --json` is such a document; every `loc` has to be an absolute path"
                    .to_owned(),
            ),
            Error::RestoreSpec { .. } => {
                Some("check the path given as --restore-spec, and who may read the file".to_owned())
            }
            Error::LogFile { .. } => {
                Some("set WALG_LOG_DESTINATION to a file that this user may write, or to stderr".to_owned())
            }
            _ => None,
        }
    }

    /// One line with the causes joined, then a line for the hint.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let reason = error.to_string();
            // An error may have told its cause already.
            if !text.ends_with(&reason) {
                text.push_str(": ");
                text.push_str(&reason);
            }
            cause = error.source();
        }
        let mut text = text.replace('\n', " ");
        if let Some(hint) = self.hint() {
            text.push_str("\nhint: ");
            text.push_str(&hint);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_causes_then_the_hint() {
        let missing = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let file = settings::Error::ReadFile { path: "/c.json".into(), source: missing };
        let report = Error::Settings(file).report();
        let hint = report.strip_prefix("cannot read configuration file /c.json: no such file\nhint: ");
        assert!(hint.is_some_and(|hint| hint.contains("--config")), "{report}");
        let report = Error::Settings(settings::Error::NoStorage).report();
        assert!(report.starts_with("no storage configured\nhint: set WALG_FILE_PREFIX"), "{report}");
    }
}
