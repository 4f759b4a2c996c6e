//! What every command begins with: the line is understood, the log started, the storage known.

use std::ffi::OsString;
use std::path::PathBuf;

use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;

use crate::catalog::barman::Annotations;
use crate::cli::{self, log, printer, process, session};
use crate::codec::{Cipher, Compression};
use crate::layout::Layout;
use crate::ops::Context;
use crate::progress::Progress;
use crate::settings::Environment;
use crate::storage::{self, Prefix, StorageConfig};

use super::flags::{self, CLOUD_PROVIDER, QUIET, TEST, VERBOSE};
use super::grammar::{Flag, Grammar, Line, Request, Support};
use super::place::{self, AnnotationPlaces, Objects, Repository};
use super::{Call, Command, Error, VERSION, backup, catalogue, copy, wal};

/// Runs a command.
pub fn run(call: Call) -> Result<(), cli::Error> {
    let command = call.command.map_err(Error::NoSuchCommand)?;
    let grammar = flags::grammar(command);
    let line = match grammar.parse(&texts(call.arguments)?).map_err(Error::Usage)? {
        Request::Help => return printer::print(&grammar.help()),
        // Nothing else on the line: CloudNativePG 1.24 and older take its last word for the version.
        Request::Version => return printer::print(&format!("{} {VERSION}\n", grammar.program)),
        Request::Work(line) => line,
    };
    log::start(log::LogConfig::barman(verbosity(&line)), MultiProgress::new());
    let session = Session { grammar, line, environment: Environment::of_process() };
    session.refuse_what_is_not_supported()?;
    match command {
        Command::WalArchive => wal::archive(&session),
        Command::WalRestore => wal::restore(&session),
        Command::WalPrefetch => wal::prefetch(&session),
        Command::Copy => copy::copy(&session),
        Command::CheckWalArchive => wal::check(&session),
        Command::Backup => backup::backup(&session),
        Command::Restore => backup::restore(&session),
        Command::BackupDelete => catalogue::delete(&session),
        Command::BackupKeep => catalogue::keep(&session),
        Command::BackupList => catalogue::list(&session),
        Command::BackupShow => catalogue::show(&session),
    }
}

fn texts(arguments: Vec<OsString>) -> Result<Vec<String>, Error> {
    let text = |(at, argument): (usize, OsString)| argument.into_string().map_err(|_| Error::NotText(at + 1));
    arguments.into_iter().enumerate().map(text).collect()
}

fn verbosity(line: &Line) -> i64 {
    let count = |flag| i64::try_from(line.count(flag)).unwrap_or(i64::MAX);
    count(&VERBOSE) - count(&QUIET)
}

/// A line with what it was called in.
pub struct Session {
    /// What the command understands.
    pub grammar: &'static Grammar,
    /// What was said.
    pub line: Line,
    /// The environment.
    pub environment: Environment,
}

impl Session {
    /// The value of a flag; what is wrong with it is said as of any wrong line.
    pub fn parsed<T>(
        &self,
        flag: &'static Flag,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let value = self.line.value(flag).map(parse).transpose();
        value.map_err(|reason| Error::Usage(self.grammar.wrong_value(flag, reason)))
    }

    /// Whether only the connection is to be tried.
    pub fn only_tests(&self) -> bool {
        self.line.has(&TEST)
    }

    /// How to start this program for the same server with the same flags: all but its further arguments.
    pub fn again(&self, command: Command) -> Vec<OsString> {
        let mut words = vec![process::own_path(), "barman-cloud".into(), command.name().into()];
        words.extend(self.line.flag_words().map(OsString::from));
        words.push("--".into());
        words.extend((0..2).filter_map(|place| self.line.positional(place)).map(OsString::from));
        words
    }

    /// Tells whether the bucket or directory is there.
    pub fn probe(&self) -> Result<(), cli::Error> {
        let repository = self.repository(Objects::default())?;
        let name = match &repository.storage {
            StorageConfig::S3(config) => config.bucket.clone(),
            StorageConfig::Directory { path, .. } => path.display().to_string(),
        };
        let storage = storage::open(repository.storage, repository.policy).map_err(Error::Storage)?;
        match session::block_on(session::Threads::One, storage.exists())? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NoBucket(name).into()),
            Err(error) => Err(Error::Storage(error).into()),
        }
    }

    /// What an operation works with.
    pub fn context(
        &self,
        layout: &'static dyn Layout,
        compression: Compression,
        objects: Objects,
    ) -> Result<Context, cli::Error> {
        let repository = self.repository(objects)?;
        Ok(Context {
            storage: storage::open(repository.storage, repository.policy).map_err(Error::Storage)?,
            layout,
            compression,
            cipher: Cipher::None,
            cancel: CancellationToken::new(),
            progress: Progress::new(),
        })
    }

    /// Where annotations of backups are.
    pub fn annotations(&self) -> Result<Annotations, cli::Error> {
        let repository = self.repository(Objects::default())?;
        let open = |prefix: &Prefix| storage::open(repository.at(prefix.clone()), repository.policy);
        let AnnotationPlaces { place, other } = &repository.annotations;
        Ok(Annotations {
            place: open(place).map_err(Error::Storage)?,
            other: other.as_ref().map(open).transpose().map_err(Error::Storage)?,
        })
    }

    /// The server's place in the bucket or directory.
    pub fn root(&self) -> Result<Prefix, cli::Error> {
        Ok(self.repository(Objects::default())?.prefix().clone())
    }

    /// The directory that holds the repository, if one does.
    pub fn directory(&self) -> Result<Option<PathBuf>, cli::Error> {
        Ok(session::archive_directory(&self.repository(Objects::default())?.storage))
    }

    fn repository(&self, objects: Objects) -> Result<Repository, cli::Error> {
        place::repository(self.grammar, &self.line, &self.environment, objects)
    }

    fn refuse_what_is_not_supported(&self) -> Result<(), cli::Error> {
        if let Some(provider) = self.line.value(&CLOUD_PROVIDER).filter(|provider| *provider != "aws-s3") {
            return Err(cli::Error::Unsupported {
                what: format!("the cloud provider {provider}"),
                hint: "the one that is supported is aws-s3, and everything that speaks its protocol",
            });
        }
        for flag in self.line.flags() {
            let name = flag.shown();
            match flag.support {
                Support::Full => {}
                Support::NoEffect => {
                    tracing::warn!("{name} has no effect: it is for another provider");
                }
            }
        }
        Ok(())
    }
}
