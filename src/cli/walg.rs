//! wal-g's command line: commands, flags and short forms as wal-g 3.0.9 has them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

/// The program's arguments; the setting flags are added from the table of settings.
#[derive(Debug, Parser)]
#[command(
    about = "Archives PostgreSQL WAL, takes base backups and restores them",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = false,
    args_override_self = true,
    after_help = "Every setting is a flag as well (WALG_FILE_PREFIX is --walg-file-prefix; `flags` lists them). \
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
    /// Show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List the setting flags
    Flags,
    /// Print a completion script
    Completion(CompletionArgs),
    /// Print the manual page
    Man,
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

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}
