//! barman-cloud's command lines: nine commands, called by a name of their own (`barman-cloud-wal-archive`, a link or
//! a copy) or as `seawall barman-cloud wal-archive`.
//!
//! Grammar, messages, exit codes and output are those of barman 3.19; the operations are the same as in wal-g's
//! dialect, on a repository in barman's layout. Settings come from flags and from the environment as boto reads it.

mod backup;
mod catalogue;
mod commands;
mod copy;
mod error;
pub mod flags;
pub mod grammar;
mod hook;
pub mod links;
mod objects;
pub mod output;
mod place;
mod profile;
mod python_json;
mod values;
mod volumes;
mod wal;

use std::ffi::OsString;
use std::path::Path;

use crate::cli;
use crate::layout::barman::{Barman, Partials};
use crate::ops;

pub use commands::run;
pub use error::Error;

/// The version of barman whose command lines, formats and outputs these are.
pub const VERSION: &str = "3.19.1";

/// The layout, where a partial segment does not count as one.
const WHOLE_FILES: &Barman = &Barman { partials: Partials::Ignore };

/// A command of barman-cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Takes a base backup.
    Backup,
    /// Deletes backups.
    BackupDelete,
    /// Keeps a backup from being deleted.
    BackupKeep,
    /// Lists the backups.
    BackupList,
    /// Shows one.
    BackupShow,
    /// Checks that nothing is archived.
    CheckWalArchive,
    /// Restores a base backup.
    Restore,
    /// Archives a WAL file.
    WalArchive,
    /// Fetches one.
    WalRestore,
    /// Fetches the segments after one; `wal-restore --parallel` starts it. barman has no such command.
    WalPrefetch,
    /// Copies between the layouts; `seawall copy`, for `wal-g copy` is another. barman has no such command.
    Copy,
}

/// A call of barman-cloud, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The command, or what stands in its place.
    pub command: Result<Command, Option<String>>,
    /// What follows it.
    pub arguments: Vec<OsString>,
}

impl Command {
    /// Those of barman.
    pub const ALL: [Command; 9] = [
        Command::Backup,
        Command::BackupDelete,
        Command::BackupKeep,
        Command::BackupList,
        Command::BackupShow,
        Command::CheckWalArchive,
        Command::Restore,
        Command::WalArchive,
        Command::WalRestore,
    ];

    /// The name after `barman-cloud-`.
    pub fn name(self) -> &'static str {
        self.program().trim_start_matches(PREFIX)
    }

    /// The name of the program.
    pub fn program(self) -> &'static str {
        flags::grammar(self).program
    }

    fn named(name: &str) -> Option<Command> {
        let known = Command::ALL.into_iter().chain([Command::WalPrefetch]);
        known.into_iter().find(|command| command.name() == name)
    }
}

/// What all the names begin with.
const PREFIX: &str = "barman-cloud-";

/// Whether the arguments, the program's name first, call barman-cloud.
pub fn call(arguments: &[OsString]) -> Option<Call> {
    let (program, rest) = arguments.split_first()?;
    let program = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(name) = program.strip_prefix(PREFIX) {
        let command = Command::named(name).ok_or_else(|| Some(name.to_owned()));
        return Some(Call { command, arguments: rest.to_vec() });
    }
    let is_ours = |line: &[OsString]| program != "wal-g" && !is_copy_of_walg(line);
    if let Some((_, rest)) = rest.split_first().filter(|(first, line)| *first == "copy" && is_ours(line)) {
        return Some(Call { command: Ok(Command::Copy), arguments: rest.to_vec() });
    }
    let (_, rest) = rest.split_first().filter(|(first, _)| *first == "barman-cloud")?;
    let (command, rest) = match rest.split_first() {
        None => (Err(None), rest),
        Some((name, rest)) => {
            let name = name.to_string_lossy();
            (Command::named(&name).ok_or_else(|| Some(name.into_owned())), rest)
        }
    };
    Some(Call { command, arguments: rest.to_vec() })
}

/// Whether a line of `copy` names a configuration for either side, as `wal-g copy` does. None of `seawall copy` does: it
/// has no `-f`, and what begins with `--from` excludes what begins with `--to`.
fn is_copy_of_walg(line: &[OsString]) -> bool {
    let has = |flag: &str| {
        let mut words = line.iter().filter_map(|word| word.to_str());
        words.any(|word| word.split('=').next() == Some(flag))
    };
    has("-f") || has("--from") && has("--to")
}

/// `copy` and `barman-cloud` with its commands as clap describes commands, for completions: clap does not read their
/// lines. None of them takes what is in `hidden`, flags of all other commands.
pub fn described(hidden: &[clap::Arg]) -> Vec<clap::Command> {
    let plain = |name: &'static str, about: &'static str| {
        let command = clap::Command::new(name).about(about).args(hidden);
        command.disable_help_flag(true).disable_version_flag(true)
    };
    let described = |command: Command| {
        let grammar = flags::grammar(command);
        plain(command.name(), grammar.about).args(grammar.described())
    };
    let cloud = plain(PREFIX.trim_end_matches('-'), "barman-cloud's commands");
    let copy = flags::grammar(Command::Copy);
    vec![
        plain("copy", copy.about).args(copy.described()),
        cloud.disable_help_subcommand(true).subcommands(Command::ALL.map(described)),
    ]
}

/// What the messages of the storage call by the names of wal-g's settings, in the words of this dialect. A longer name
/// stands before those that it contains.
const WORDS: [(&str, &str); 15] = [
    ("AWS_CA_BUNDLE or WALG_S3_CA_CERT_FILE", "AWS_CA_BUNDLE"),
    ("WALG_S3_CA_CERT_FILE or AWS_CA_BUNDLE", "AWS_CA_BUNDLE"),
    ("AWS_S3_FORCE_PATH_STYLE", "--addressing-style path"),
    ("AWS_ENDPOINT", "--endpoint-url"),
    ("AWS_REGION", "AWS_DEFAULT_REGION"),
    ("WALG_S3_MAX_PART_SIZE", "--min-chunk-size"),
    ("WALG_S3_SSE_KMS_ID", "--sse-kms-key-id"),
    ("WALG_S3_PREFIX", "the URL"),
    ("WALG_FILE_PREFIX", "the URL"),
    (
        "SEAWALL_BACKUP_WAL_TIMEOUT and WALG_STOP_BACKUP_TIMEOUT bound the wait",
        "SEAWALL_BACKUP_WAL_TIMEOUT bounds the wait",
    ),
    ("storage prefix", "server name"),
    ("; SEAWALL_CHECK_WAL=false leaves that out", ""),
    ("; when you know that the archived file is worthless, WALG_PREVENT_WAL_OVERWRITE=false replaces it", ""),
    (
        "no key is configured (WALG_LIBSODIUM_KEY, WALG_LIBSODIUM_KEY_PATH)",
        "barman-cloud has no keys; `copy` takes them from the file with wal-g's settings",
    ),
    ("it is never created by itself", "only barman-cloud-check-wal-archive creates it"),
];

/// A failure with the names that the caller of barman-cloud knows.
pub fn in_its_words(error: &cli::Error) -> String {
    match error {
        // They are of this dialect alone, and have its names.
        cli::Error::Operation(ops::Error::Volumes(_) | ops::Error::NotBegun(_)) => error.report(),
        cli::Error::Operation(_) | cli::Error::Barman(Error::Storage(_)) => {
            WORDS.iter().fold(error.report(), |text, (theirs, ours)| text.replace(theirs, ours))
        }
        _ => error.report(),
    }
}

#[cfg(test)]
mod tests;
