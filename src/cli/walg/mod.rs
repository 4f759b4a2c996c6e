//! wal-g's command line: commands, flags and short forms as wal-g 3.0.9 has them.

pub mod absent;
mod backup;
mod backup_fetch;
mod backup_push;
mod delete;
mod wal;
mod wal_checks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::settings::{Key, Settings, keys};

use crate::ops::backup_choice::BackupChoice;

use super::Error;

pub use backup::{BackupListArgs, BackupMarkArgs, BackupShowArgs, FormatArgs};
pub use backup_fetch::BackupFetchArgs;
pub use backup_push::BackupPushArgs;
pub use delete::{DeleteArgs, DeleteRule};
pub use wal::{WalFetchArgs, WalPrefetchArgs, WalPushArgs};
pub use wal_checks::{WalPlace, WalShowArgs, WalVerifyArgs};

/// The program's arguments; the setting flags are added from the table of settings.
#[derive(Debug, Parser)]
#[command(
    about = "Archives PostgreSQL WAL, takes base backups and restores them",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = false,
    args_override_self = true,
    after_help = "`barman-cloud COMMAND …` is barman-cloud's dialect: barman-cloud-wal-archive and its eight sisters.\n\
                  `seawall copy` brings a repository of wal-g's layout into barman-cloud's, or back.\n\n\
                  Every setting is a flag as well (WALG_FILE_PREFIX is --walg-file-prefix; `flags` lists them). \
                  Keys and passwords belong into the environment or the configuration file: \
                  flags can be seen in the list of processes."
)]
pub struct Arguments {
    /// Configuration file (JSON, YAML, TOML or environment lines) instead of ~/.walg.json
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Ignore the rate limits
    #[arg(long, global = true)]
    pub turbo: bool,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// By the settings.
    #[command(flatten)]
    Configured(Configured),
    /// Without any.
    #[command(flatten)]
    Local(Local),
}

/// What is done by the settings.
#[derive(Debug, Subcommand)]
pub enum Configured {
    /// Archive a WAL file (archive_command)
    WalPush(WalPushArgs),
    /// Fetch an archived WAL file (restore_command)
    WalFetch(WalFetchArgs),
    /// Fetch the WAL segments that recovery will ask for next; wal-fetch starts this
    #[command(hide = true)]
    WalPrefetch(WalPrefetchArgs),
    /// Take a base backup
    BackupPush(BackupPushArgs),
    /// Restore a base backup
    BackupFetch(BackupFetchArgs),
    /// List the backups
    BackupList(BackupListArgs),
    /// Show what is known of one backup
    BackupShow(BackupShowArgs),
    /// Make a backup permanent, so that retention never deletes it, or impermanent again
    BackupMark(BackupMarkArgs),
    /// Delete old backups and WAL
    Delete(DeleteArgs),
    /// Show the archived WAL by timeline, with its gaps
    WalShow(WalShowArgs),
    /// Check that the archive holds all WAL that recovery needs; fails when it does not
    WalVerify(WalVerifyArgs),
    /// Try the configured storage
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What needs no settings, so that a broken configuration file does not stand in its way.
#[derive(Debug, Subcommand)]
pub enum Local {
    /// Link this program under the names of barman-cloud
    InstallLinks(InstallLinksArgs),
    /// List the setting flags
    Flags,
    /// Print a completion script
    Completion(CompletionArgs),
    /// Print the manual page
    Man,
}

/// What to do with the storage.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Try what the storage can do, in a folder of its own that is removed again; fails when something needed does not work
    Check(StorageCheckArgs),
}

/// Arguments of `storage check`.
#[derive(Debug, Args)]
pub struct StorageCheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every setting, where it came from and what it overrode
    Show(ConfigShowArgs),
}

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ConfigShowArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `install-links`.
#[derive(Debug, Args)]
pub struct InstallLinksArgs {
    /// Where: a directory of PATH
    #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}

/// The flag of the commands that read or write WAL and backups.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// The storage to use; there is one, `default`
    #[arg(long, value_name = "NAME")]
    pub target_storage: Option<String>,
}

impl StorageArgs {
    /// Refuses a storage other than the only one.
    pub fn refuse_other(&self, settings: &Settings) -> Result<(), Error> {
        let setting = settings.text(&keys::TARGET_STORAGE).map(|text| text.value);
        match self.target_storage.as_deref().or(setting) {
            None | Some("" | "default") => Ok(()),
            Some(other) => Err(Error::Unsupported {
                what: format!("storage `{other}`"),
                hint: "there is one storage, called default",
            }),
        }
    }
}

/// `LATEST` or the name of a backup.
fn backup_choice(text: &str) -> Result<BackupChoice, Error> {
    match text {
        "LATEST" => Ok(BackupChoice::Latest),
        name => Ok(BackupChoice::Name(name.parse()?)),
    }
}

/// The JSON of a flag.
fn user_data(flag: &str, text: &str) -> Result<serde_json::Value, Error> {
    serde_json::from_str(text).map_err(|error| {
        let text = format!("the value of {flag} is not JSON: {error}\n");
        Error::Usage(clap::Error::raw(clap::error::ErrorKind::InvalidValue, text))
    })
}

/// Whether the rate limits count (`--turbo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimits {
    /// They do.
    Respect,
    /// They do not.
    Ignore,
}

impl RateLimits {
    /// The limit that a setting gives, in bytes per second.
    pub fn of(self, settings: &Settings, key: &Key) -> Result<Option<u64>, Error> {
        match self {
            RateLimits::Respect => Ok(settings.bytes(key)?.filter(|rate| *rate > 0)),
            RateLimits::Ignore => Ok(None),
        }
    }
}
