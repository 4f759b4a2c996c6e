//! Exit codes: the only place that chooses one. `docs/exit-codes.md` is the table for users.
//!
//! PostgreSQL takes 1 to 125 of restore_command as "the archive has no such file", ends recovery and promotes; above
//! that it stops. So a `wal-fetch` that could not find out says 126 when that recovery would end for good: its working
//! directory is a data directory with `recovery.signal` and without `standby.signal`.

use std::path::Path;
use std::process::ExitCode;

use crate::ops::Class;

use super::Error;

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
}

/// The recovery that asks for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It takes a failure for the end of WAL and ends, losing what comes after.
    Ends,
    /// It asks again (a standby), or there is none.
    AsksAgain,
}

impl Recovery {
    /// What recovery `directory`, the working directory of restore_command, is in.
    pub fn of(directory: &Path) -> Recovery {
        let has = |name: &str| directory.join(name).exists();
        match has("PG_VERSION") && has("recovery.signal") && !has("standby.signal") {
            true => Recovery::Ends,
            false => Recovery::AsksAgain,
        }
    }
}

/// The exit code of a failure.
pub fn code(error: &Error, codes: Codes) -> ExitCode {
    let missing = matches!(error, Error::Operation(error) if error.class() == Class::Missing);
    let code = match (error, codes) {
        // Help and version are "errors" of the parser that are none.
        (Error::Usage(error), _) if !error.use_stderr() => 0,
        (_, Codes::WalFetch { .. }) if missing => MISSING,
        (_, Codes::WalFetch { recovery: Recovery::Ends }) => STOP_RECOVERY,
        _ => FAILURE,
    };
    ExitCode::from(code)
}

/// The exit code after a panic.
pub fn panicked(codes: Codes) -> ExitCode {
    match codes {
        Codes::WalFetch { recovery: Recovery::Ends } => ExitCode::from(STOP_RECOVERY),
        _ => ExitCode::from(FAILURE),
    }
}
