//! The commands that look at the backups and delete them.

use crate::catalog::barman::BackupEntry;
use crate::cli;
use crate::cli::printer;
use crate::cli::session::{self, Threads};
use crate::codec::Compression;
use crate::layout::barman::Keep;
use crate::ops::barman::backup_delete::{self, DeleteRequest, Locks};
use crate::ops::barman::backup_keep::{self, Action};
use crate::ops::barman::backup_list::{self, BackupList};
use crate::ops::barman::backup_show;
use crate::ops::removal::Mode;
use crate::retention::barman::RetentionPolicy;

use super::commands::Session;
use super::flags::{
    BACKUP_ID, BATCH_SIZE, CHECK_OBJECT_LOCK, DRY_RUN, FORMAT, KEEP_TARGET, MINIMUM_REDUNDANCY, RELEASE,
    RETENTION_POLICY,
};
use super::place::Objects;
use super::{WHOLE_FILES, output, values, volumes};

/// `backup-list`
pub fn list(session: &Session) -> Result<(), cli::Error> {
    if session.only_tests() {
        return session.probe();
    }
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    let annotations = session.annotations()?;
    // JSON does not say what is kept.
    let format = format(session);
    let BackupList { backups, wal_alone } = session::run(context, Threads::One, async |context| {
        backup_list::run(&context, (format == Format::Console).then_some(&annotations)).await
    })?;
    if let Some(wal_alone) = wal_alone {
        tracing::warn!("{wal_alone}");
    }
    printer::print(&match format {
        Format::Console => output::list(&backups),
        Format::Json => output::list_json(backups.iter().map(|backup| &backup.entry)),
    })
}

/// `backup-show`
pub fn show(session: &Session) -> Result<(), cli::Error> {
    if session.only_tests() {
        return session.probe();
    }
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    let backup: BackupEntry = session::run(context, Threads::One, async |context| {
        backup_show::run(&context, backup(session)).await
    })?;
    printer::print(&match format(session) {
        Format::Console => output::show(&backup),
        Format::Json => output::show_json(&backup),
    })
}

/// `backup-keep`
pub fn keep(session: &Session) -> Result<(), cli::Error> {
    let action = match session.line.value(&KEEP_TARGET) {
        Some("standalone") => Action::Keep(Keep::Standalone),
        Some(_) => Action::Keep(Keep::Full),
        None if session.line.has(&RELEASE) => Action::Release,
        None => Action::Status,
    };
    if session.only_tests() {
        return session.probe();
    }
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    let annotations = session.annotations()?;
    let keep = session::run(context, Threads::One, async |context| {
        backup_keep::run(&context, &annotations, backup(session), action).await
    })?;
    match action {
        Action::Status => printer::print(&output::keep_status(keep)),
        Action::Keep(_) | Action::Release => Ok(()),
    }
}

/// `backup-delete`
pub fn delete(session: &Session) -> Result<(), cli::Error> {
    let policy = |text: &str| text.parse::<RetentionPolicy>().map_err(|error| error.to_string());
    let request = match session.parsed(&RETENTION_POLICY, policy)? {
        Some(policy) => DeleteRequest::Policy(policy),
        None => DeleteRequest::Backup(session.line.value(&BACKUP_ID).unwrap_or_default().to_owned()),
    };
    let redundancy = session.parsed(&MINIMUM_REDUNDANCY, values::non_negative)?.unwrap_or_default();
    let options = backup_delete::Options {
        request,
        minimum_redundancy: usize::try_from(redundancy).unwrap_or(usize::MAX),
        locks: if session.line.has(&CHECK_OBJECT_LOCK) { Locks::Check } else { Locks::Ignore },
        mode: if session.line.has(&DRY_RUN) { Mode::DryRun } else { Mode::Confirmed },
    };
    let objects =
        Objects { delete_batch: session.parsed(&BATCH_SIZE, values::integer)?, ..Objects::default() };
    if session.only_tests() {
        return session.probe();
    }
    let (mode, volumes) = (options.mode, volumes::volumes(session));
    let root = session.root()?;
    let context = session.context(WHOLE_FILES, Compression::None, objects)?;
    let annotations = session.annotations()?;
    let deletion = session::run(context, Threads::Two, async |context| {
        backup_delete::run(&context, &annotations, &volumes, options).await
    })?;
    if mode == Mode::DryRun {
        printer::print(&output::delete_dry_run(&deletion, &root))?;
    }
    match deletion.removal.failed.len() {
        0 => Ok(()),
        failed => Err(cli::Error::NotDeleted(failed)),
    }
}

/// The backup that is meant, as it was written.
pub fn backup(session: &Session) -> &str {
    session.line.positional(2).unwrap_or_default()
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Console,
    Json,
}

/// As in barman, all that is not `console` is JSON.
fn format(session: &Session) -> Format {
    match session.line.value(&FORMAT) {
        None | Some("console") => Format::Console,
        Some(_) => Format::Json,
    }
}
