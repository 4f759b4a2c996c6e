//! `delete` with wal-g's words: `retain [FULL|FIND_FULL] N`, `before [FIND_FULL] NAME|TIME`, `everything [FORCE]`,
//! `target [FIND_FULL] NAME`, `garbage [ARCHIVES|BACKUPS]`.

use std::num::NonZeroUsize;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::Error;
use crate::layout::walg::names::SENTINEL_SUFFIX;
use crate::ops::backup_choice::BackupChoice;
use crate::ops::delete::{DeleteRequest, Options};
use crate::ops::removal::Mode;
use crate::retention::{Counting, Family, GarbageScope, Order, Point, Policy};
use crate::settings::Settings;

use super::wal::segment_size;

/// Arguments of `delete`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct DeleteArgs {
    /// Delete; without this flag only the plan is told
    #[arg(long, global = true)]
    pub confirm: bool,
    /// Order backups by the time they were started at, not by timeline and segment
    #[arg(long, global = true)]
    pub use_sentinel_time: bool,
    /// By which rule
    #[command(subcommand)]
    pub rule: DeleteRule,
}

/// By which rule to delete.
#[derive(Debug, Subcommand)]
pub enum DeleteRule {
    /// Keep the newest backups: `retain [FULL|FIND_FULL] COUNT`
    Retain(RetainArgs),
    /// Keep everything from a backup on: `before [FIND_FULL] NAME|TIME`
    Before(BeforeArgs),
    /// Delete all backups and WAL: `everything [FORCE]`
    Everything(EverythingArgs),
    /// Delete one backup and what builds on it: `target [FIND_FULL] NAME`
    Target(TargetArgs),
    /// Delete what belongs to no backup: `garbage [ARCHIVES|BACKUPS]`
    Garbage(GarbageArgs),
}

/// Arguments of `delete retain`.
#[derive(Debug, Args)]
pub struct RetainArgs {
    /// FULL: count full backups only; FIND_FULL: keep the full backup of the oldest one; then how many
    #[arg(value_name = "[FULL|FIND_FULL] COUNT", num_args = 1..=2, required = true)]
    pub words: Vec<String>,
    /// Keep the backups made at or after this time (RFC 3339) or backup as well
    #[arg(short, long, value_name = "TIME|NAME")]
    pub after: Option<String>,
}

/// Arguments of `delete before`.
#[derive(Debug, Args)]
pub struct BeforeArgs {
    /// FIND_FULL: keep the full backup of that one; then a backup's name or a time (RFC 3339)
    #[arg(value_name = "[FIND_FULL] NAME|TIME", num_args = 1..=2, required = true)]
    pub words: Vec<String>,
}

/// Arguments of `delete everything`.
#[derive(Debug, Args)]
pub struct EverythingArgs {
    /// Delete permanent backups too
    pub force: Option<ForceWord>,
}

/// The word of `delete everything`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ForceWord {
    /// Delete permanent backups too
    #[value(name = "FORCE")]
    Force,
}

/// Arguments of `delete target`.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// FIND_FULL: delete its full backup and all deltas of that; then the backup's name, or LATEST
    #[arg(value_name = "[FIND_FULL] NAME", num_args = 0..=2)]
    pub words: Vec<String>,
    /// Choose the backup by its user data
    #[arg(long, value_name = "JSON")]
    pub target_user_data: Option<String>,
}

/// Arguments of `delete garbage`.
#[derive(Debug, Args)]
pub struct GarbageArgs {
    /// What to look at; both when not given
    pub scope: Option<GarbageWord>,
    /// Go on when there is no backup that tells which WAL is needed
    #[arg(long)]
    pub without_backup_check: bool,
}

/// The words of `delete garbage`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GarbageWord {
    /// WAL before the oldest backup
    #[value(name = "ARCHIVES")]
    Archives,
    /// Data of backups that were never finished
    #[value(name = "BACKUPS")]
    Backups,
}

impl DeleteArgs {
    /// What to delete.
    pub fn options(&self, settings: &Settings) -> Result<Options, Error> {
        Ok(Options {
            request: self.rule.request()?,
            mode: if self.confirm { Mode::Confirmed } else { Mode::DryRun },
            order: if self.use_sentinel_time { Order::StartTime } else { Order::Segment },
            segment_size: segment_size(settings)?,
        })
    }
}

impl DeleteRule {
    fn request(&self) -> Result<DeleteRequest, Error> {
        let policy = match self {
            DeleteRule::Retain(retain) => retain.policy()?,
            DeleteRule::Before(before) => before.policy()?,
            DeleteRule::Everything(everything) => Policy::Everything { force: everything.force.is_some() },
            DeleteRule::Target(target) => return target.request(),
            DeleteRule::Garbage(garbage) => garbage.policy(),
        };
        Ok(DeleteRequest::Policy(policy))
    }
}

impl RetainArgs {
    fn policy(&self) -> Result<Policy, Error> {
        let (counting, count) = match self.words.as_slice() {
            [count] => (Counting::Any, count),
            [word, count] if word == "FULL" => (Counting::Full, count),
            [word, count] if word == "FIND_FULL" => (Counting::FindFull, count),
            words => return Err(wrong("retain", words, "[FULL|FIND_FULL] COUNT")),
        };
        let count = count.parse::<NonZeroUsize>();
        let count = count
            .map_err(|_| wrong("retain", &self.words, "[FULL|FIND_FULL] COUNT, with a COUNT of 1 or more"))?;
        Ok(Policy::Retain { count, counting, after: self.after.as_deref().map(Point::parse) })
    }
}

impl BeforeArgs {
    fn policy(&self) -> Result<Policy, Error> {
        // wal-g takes the name of a sentinel for that of its backup here.
        let point = |word: &str| Point::parse(word.strip_suffix(SENTINEL_SUFFIX).unwrap_or(word));
        match self.words.as_slice() {
            [word] if word != "FIND_FULL" => Ok(Policy::Before { point: point(word), find_full: false }),
            [find, word] if find == "FIND_FULL" => Ok(Policy::Before { point: point(word), find_full: true }),
            words => Err(wrong("before", words, "[FIND_FULL] NAME|TIME")),
        }
    }
}

impl TargetArgs {
    fn request(&self) -> Result<DeleteRequest, Error> {
        const EXPECTED: &str = "[FIND_FULL] NAME, or [FIND_FULL] --target-user-data JSON";
        let (family, name) = match self.words.as_slice() {
            [] => (Family::Descendants, None),
            [word] if word == "FIND_FULL" => (Family::Whole, None),
            [name] => (Family::Descendants, Some(name)),
            [word, name] if word == "FIND_FULL" => (Family::Whole, Some(name)),
            words => return Err(wrong("target", words, EXPECTED)),
        };
        let backup = match (name, &self.target_user_data) {
            (Some(name), None) => super::backup_choice(name)?,
            (None, Some(data)) => BackupChoice::UserData(super::user_data("--target-user-data", data)?),
            _ => return Err(wrong("target", &self.words, EXPECTED)),
        };
        Ok(DeleteRequest::Target { backup, family })
    }
}

impl GarbageArgs {
    fn policy(&self) -> Policy {
        let scope = match self.scope {
            None => GarbageScope::All,
            Some(GarbageWord::Archives) => GarbageScope::Archives,
            Some(GarbageWord::Backups) => GarbageScope::Backups,
        };
        Policy::Garbage { scope, without_backups: self.without_backup_check }
    }
}

/// The words after a rule are not what it takes.
fn wrong(rule: &str, words: &[String], expected: &str) -> Error {
    let given = words.join(" ");
    let text = format!("delete {rule}: `{given}` is not {expected}\n");
    Error::Usage(clap::Error::raw(clap::error::ErrorKind::InvalidValue, text))
}

#[cfg(test)]
mod tests {
    use super::super::{Arguments, Command, Configured};
    use super::*;
    use crate::cli::arguments;

    fn request(line: &str) -> Result<DeleteRequest, Error> {
        let line = format!("wal-g delete {line}");
        let arguments: Arguments = arguments::parse(line.split(' ').map(Into::into))?.arguments;
        match arguments.command {
            Command::Configured(Configured::Delete(delete)) => delete.rule.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wal_g_s_words() {
        let count = |count| NonZeroUsize::new(count).unwrap();
        let name = || Point::Name("base_000000010000000000000002".to_owned());
        let retain = |n, counting| Policy::Retain { count: count(n), counting, after: None };
        let cases = [
            ("retain 5", retain(5, Counting::Any)),
            ("retain FULL 5 --confirm", retain(5, Counting::Full)),
            ("retain FIND_FULL 5", retain(5, Counting::FindFull)),
            (
                "retain 2 --after base_000000010000000000000002",
                Policy::Retain { count: count(2), counting: Counting::Any, after: Some(name()) },
            ),
            ("before base_000000010000000000000002", Policy::Before { point: name(), find_full: false }),
            (
                "before FIND_FULL base_000000010000000000000002 --confirm",
                Policy::Before { point: name(), find_full: true },
            ),
            (
                "before base_000000010000000000000002_backup_stop_sentinel.json",
                Policy::Before { point: name(), find_full: false },
            ),
            (
                "--confirm before base_000000010000000000000002",
                Policy::Before { point: name(), find_full: false },
            ),
            ("everything", Policy::Everything { force: false }),
            ("everything FORCE --confirm", Policy::Everything { force: true }),
            ("garbage", Policy::Garbage { scope: GarbageScope::All, without_backups: false }),
            (
                "garbage ARCHIVES --without-backup-check",
                Policy::Garbage { scope: GarbageScope::Archives, without_backups: true },
            ),
        ];
        for (line, policy) in cases {
            assert_eq!(request(line).unwrap(), DeleteRequest::Policy(policy), "{line}");
        }
        let backup = super::super::backup_choice("base_000000010000000000000002").unwrap();
        let target = DeleteRequest::Target { backup, family: Family::Whole };
        assert_eq!(request("target FIND_FULL base_000000010000000000000002").unwrap(), target);
        let backup = BackupChoice::UserData(serde_json::json!({"a":1}));
        let target = DeleteRequest::Target { backup, family: Family::Descendants };
        assert_eq!(request(r#"target --target-user-data {"a":1}"#).unwrap(), target);
    }

    #[test]
    fn other_words_are_refused() {
        for line in [
            "",
            "retain",
            "retain 0",
            "retain -1",
            "retain many",
            "retain full 2",
            "retain FULL",
            "retain FULL 1 2",
            "before",
            "before FIND_FULL",
            "before FULL base_000000010000000000000002",
            "everything force",
            "target",
            "target FIND_FULL",
            "target nonsense",
            "target base_000000010000000000000002 --target-user-data {}",
            "target --target-user-data {",
            "garbage WAL",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}
