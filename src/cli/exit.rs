//! Exit codes: the only place that chooses one. `docs/exit-codes.md` is the table for users.

use std::process::ExitCode;

use super::Error;

/// Every failure that has no code of its own, as in wal-g.
const FAILURE: u8 = 1;

/// The exit code of a failure.
pub fn code(error: &Error) -> ExitCode {
    match error {
        // Help and version are "errors" of the parser that are none.
        Error::Usage(error) if !error.use_stderr() => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILURE),
    }
}

/// The exit code after a panic.
pub fn panicked() -> ExitCode {
    ExitCode::from(FAILURE)
}
