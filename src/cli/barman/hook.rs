//! What barman tells a hook script of its own: the environment in which `barman-cloud-wal-archive` and `barman-cloud-backup`
//! do their work for a barman server. Source: barman `hooks.py`, `clients/cloud_walarchive.py`, `clients/cloud_backup.py`.

use std::fs;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::cli;
use crate::layout::barman::{self, BackupInfo};
use crate::ops::backup_push::ServerBackup;
use crate::ops::ownership::OwnershipError;
use crate::ops::{self, RequestError};

use super::Error;
use super::commands::Session;

/// Whether barman calls us as one of the hook scripts `names` in this phase; an error when it is another one.
pub fn is_called(session: &Session, phase: &str, names: [&str; 2]) -> Result<bool, cli::Error> {
    let called = (session.environment.text("BARMAN_HOOK")?, session.environment.text("BARMAN_PHASE")?);
    match called {
        (Some(name), Some(called)) if called == phase && names.contains(&name) => Ok(true),
        (Some(name), Some(phase)) => {
            let (program, phase, hook) = (session.grammar.program, phase.to_owned(), name.to_owned());
            Err(Error::Hook { program, phase, hook }.into())
        }
        _ => Ok(false),
    }
}

/// What a variable of the hook says, which has to say something.
pub fn variable<'a>(session: &'a Session, name: &'static str) -> Result<&'a str, cli::Error> {
    Ok(session.environment.text(name)?.ok_or(Error::HookWithout(name))?)
}

/// The backup that barman has taken. It cannot be given a `name`.
pub fn server_backup(session: &Session, name: Option<String>) -> Result<ServerBackup, cli::Error> {
    if name.is_some() {
        return Err(Error::HookName.into());
    }
    let (directory, id) = (variable(session, "BARMAN_BACKUP_DIR")?, variable(session, "BARMAN_BACKUP_ID")?);
    let status = session.environment.text("BARMAN_STATUS")?.unwrap_or("None");
    if status != "DONE" {
        return Err(Error::HookStatus { directory: directory.to_owned(), status: status.to_owned() }.into());
    }
    let path = PathBuf::from(variable(session, "BARMAN_BACKUP_INFO_PATH")?);
    let id = id.parse().map_err(|_| Error::Variable {
        name: "BARMAN_BACKUP_ID",
        value: id.to_owned(),
        expected: "the id of a backup, such as 20261122T100000",
    })?;
    let content = fs::read(&path).map_err(|source| Error::HookFile { path: path.clone(), source })?;
    let info = BackupInfo::parse(&content, &TimeZone::system())
        .map_err(|source| Error::HookInfo { path: path.clone(), source })?;
    if info.compression.is_some() {
        return Err(Error::HookCompressed.into());
    }
    if let Some(parent) = info.parent_backup_id {
        return Err(Error::HookIncremental(parent).into());
    }
    let backup = barman::ServerBackup { id, info: content.into() };
    Ok(ServerBackup { directory: PathBuf::from(directory), info, backup })
}

/// A retry script is called again until it ends with 0 or says that it need not be: so what will never be otherwise has to say
/// that, and nothing else: a storage that refuses, or a document that cannot be read, may have a better moment.
pub fn for_good(error: cli::Error) -> cli::Error {
    match error {
        cli::Error::Operation(
            error @ (ops::Error::Ownership(OwnershipError::AnotherCluster { .. })
            | ops::Error::Request(RequestError::BackupExists(..))),
        ) => Error::HookRefused(Box::new(error)).into(),
        other => other,
    }
}
