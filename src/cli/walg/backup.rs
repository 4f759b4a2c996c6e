//! The commands that look at backups and mark them: `backup-list`, `backup-show`, `backup-mark`.

use clap::Args;

use crate::cli::Error;
use crate::cli::backup_output::ListFormat;
use crate::ops::backup_list::Detail;
use crate::ops::backup_mark::{self, Mark};
use crate::ops::{backup_list, backup_show};
use crate::settings::Settings;

use super::{StorageArgs, backup_choice};

/// How a list is printed.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print a table with borders, or indented JSON
    #[arg(long)]
    pub pretty: bool,
}

/// Arguments of `backup-list`.
#[derive(Debug, Args)]
pub struct BackupListArgs {
    /// Print what the documents of each backup say as well
    #[arg(long)]
    pub detail: bool,
    /// Print a tree: each delta below what it builds on
    #[arg(long, conflicts_with_all = ["detail", "json", "pretty"])]
    pub tree: bool,
    /// In which form
    #[command(flatten)]
    pub format: FormatArgs,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// Arguments of `backup-show`.
#[derive(Debug, Args)]
pub struct BackupShowArgs {
    /// The backup's name, or LATEST
    #[arg(value_name = "NAME|LATEST")]
    pub name: String,
    /// In which form
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Arguments of `backup-mark`.
#[derive(Debug, Args)]
pub struct BackupMarkArgs {
    /// The backup's name, or LATEST
    #[arg(value_name = "NAME|LATEST")]
    pub name: String,
    /// Let retention delete it again
    #[arg(short, long)]
    pub impermanent: bool,
}

impl FormatArgs {
    /// The format of the output.
    pub fn format(&self) -> ListFormat {
        ListFormat::from_flags(self.json, self.pretty)
    }
}

impl BackupListArgs {
    /// What to list.
    pub fn options(&self, settings: &Settings) -> Result<backup_list::Options, Error> {
        self.storage.refuse_other(settings)?;
        let detail = if self.detail || self.tree { Detail::Documents } else { Detail::Names };
        Ok(backup_list::Options { detail })
    }
}

impl BackupShowArgs {
    /// What to show.
    pub fn options(&self) -> Result<backup_show::Options, Error> {
        Ok(backup_show::Options { backup: backup_choice(&self.name)? })
    }
}

impl BackupMarkArgs {
    /// What to mark.
    pub fn options(&self) -> Result<backup_mark::Options, Error> {
        let mark = if self.impermanent { Mark::Impermanent } else { Mark::Permanent };
        Ok(backup_mark::Options { backup: backup_choice(&self.name)?, mark })
    }
}
