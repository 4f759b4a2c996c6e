//! Exit codes: the only place that chooses one. `docs/exit-codes.md` is the table for users.
//!
//! PostgreSQL takes 1 to 125 of restore_command as "the archive has no such file", ends recovery and promotes; above
//! that it stops. So a `wal-fetch` that could not find out says 126 when that recovery would end for good: its working
//! directory is a data directory with `recovery.signal` and without `standby.signal`.
//!
//! barman-cloud's codes are those of `barman/clients/cloud_cli.py`; CloudNativePG asks again after 2 and 4, and takes 1 of
//! wal-restore for the end of WAL. A code above 4 would be final for it, so there is no 126 here.

use std::process::ExitCode;

use crate::catalog;
use crate::ops::wal_fetch::Recovery;
use crate::ops::{self, Class, RequestError};
use crate::storage::ErrorKind;
use crate::volumes;

use super::Error;
use super::barman::{self, Command};

/// Every failure that has no code of its own, as in wal-g.
const FAILURE: u8 = 1;

/// `wal-fetch`: the archive has no such file (wal-g's code, EX_IOERR).
const MISSING: u8 = 74;

/// `wal-fetch`: stop recovery, for it is not known whether the file exists.
const STOP_RECOVERY: u8 = 126;

/// Which exit codes a failure may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// Those of every command.
    Plain,
    /// Those of `wal-fetch`.
    WalFetch {
        /// What the caller makes of a failure.
        recovery: Recovery,
    },
    /// barman-cloud's. The command is none when it was not understood.
    Barman(Option<Command>),
}

/// barman-cloud: the store answered, and what was asked for is not there or not possible.
const OPERATION: u8 = 1;

/// barman-cloud: no connection to the store.
const NETWORK: u8 = 2;

/// barman-cloud: the line is wrong.
const LINE: u8 = 3;

/// barman-cloud: everything else.
const GENERAL: u8 = 4;

/// barman-cloud-backup as a hook script: barman must not call again (`EXIT_ABORT_STOP`).
const HOOK_STOP: u8 = 63;

/// The exit code of a failure.
pub fn code(error: &Error, codes: Codes) -> ExitCode {
    let missing = matches!(error, Error::Operation(error) if error.class() == Class::Missing);
    let code = match (error, codes) {
        // Help and version are "errors" of the parser that are none.
        (Error::Usage(error), _) if !error.use_stderr() => 0,
        (_, Codes::WalFetch { .. }) if missing => MISSING,
        (_, Codes::WalFetch { recovery: Recovery::Ends }) => STOP_RECOVERY,
        (Error::Operation(error), Codes::Barman(command)) => barman_operation(error, command),
        (error, Codes::Barman(command)) => barman_call(error, command),
        _ => FAILURE,
    };
    ExitCode::from(code)
}

/// The code of an operation of barman-cloud that failed.
fn barman_operation(error: &ops::Error, command: Option<Command>) -> u8 {
    match (command, error.class()) {
        _ if matches!(error, ops::Error::NotBegun(_)) => GENERAL,
        // Whatever goes wrong with a backup that was begun.
        (Some(Command::Backup), _) => OPERATION,
        (Some(Command::BackupKeep), Class::Missing) => GENERAL,
        _ if error.storage_kind().is_some_and(is_silent) => NETWORK,
        _ if is_general(error) => GENERAL,
        (_, Class::Missing) => OPERATION,
        (Some(Command::WalArchive | Command::WalRestore), _) => match error {
            ops::Error::NotAWalFile { .. } => LINE,
            _ => GENERAL,
        },
        // Refused, or a backup that is not whole.
        (_, Class::Usage | Class::Integrity) => OPERATION,
        _ => GENERAL,
    }
}

/// What barman does not expect: a name that stands for no backup or for several, where an id that does not exist is another
/// failure; what is stored is damaged, which another attempt may find whole; all about volumes but a lock.
fn is_general(error: &ops::Error) -> bool {
    use catalog::barman::Error as Catalog;
    match error {
        ops::Error::BarmanCatalog(error) => matches!(
            error,
            Catalog::UnknownName { .. } | Catalog::AmbiguousName { .. } | Catalog::Info { .. }
        ),
        ops::Error::Content { .. } => true,
        ops::Error::Volumes(error) => !matches!(error, volumes::Error::Locked(_)),
        ops::Error::Request(error) => matches!(
            error,
            RequestError::Snapshots(_)
                | RequestError::UnknownSnapshots { .. }
                | RequestError::NoRegion(_)
                | RequestError::NoAccount(..)
                | RequestError::Incremental(..)
                | RequestError::NoRecoveryInstance(_)
                | RequestError::SnapshotTablespaces(_)
        ),
        _ => false,
    }
}

/// The code of a call of barman-cloud that came to no operation.
fn barman_call(error: &Error, command: Option<Command>) -> u8 {
    use barman::Error as Call;
    match error {
        Error::Barman(error) => match error {
            Call::Usage(_) | Call::NoSuchCommand(_) | Call::NotText(_) | Call::WalName(_) => LINE,
            Call::NoWalPath | Call::NoBucket(_) | Call::ArchiveInUse { .. } => OPERATION,
            Call::Hook { .. } | Call::HookWithout(_) if command == Some(Command::WalArchive) => OPERATION,
            Call::HookStatus { .. } | Call::HookIncremental(_) | Call::HookRefused(_) => HOOK_STOP,
            Call::Storage(error) if is_silent(error.kind()) => NETWORK,
            _ => GENERAL,
        },
        Error::Unsupported { .. } => LINE,
        Error::NotDeleted(_) => OPERATION,
        _ => GENERAL,
    }
}

/// Whether no answer came.
fn is_silent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Network | ErrorKind::Timeout)
}

/// The exit code after a panic.
pub fn panicked(codes: Codes) -> ExitCode {
    match codes {
        Codes::WalFetch { recovery: Recovery::Ends } => ExitCode::from(STOP_RECOVERY),
        Codes::Barman(_) => ExitCode::from(GENERAL),
        Codes::WalFetch { recovery: Recovery::AsksAgain } | Codes::Plain => ExitCode::from(FAILURE),
    }
}
