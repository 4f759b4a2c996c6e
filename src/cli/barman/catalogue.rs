//! The commands that look at the backups and delete them.

use crate::cli;

use super::commands::Session;
use super::flags::{BATCH_SIZE, MINIMUM_REDUNDANCY};
use super::values;

/// `backup-delete`
pub fn delete(session: &Session) -> Result<(), cli::Error> {
    session.parsed(&MINIMUM_REDUNDANCY, values::non_negative)?;
    session.parsed(&BATCH_SIZE, values::integer)?;
    other(session)
}

/// Those that are not there yet.
pub fn other(session: &Session) -> Result<(), cli::Error> {
    // Whatever it is, it begins with the storage.
    match session.probe() {
        Err(error) => Err(error),
        Ok(()) if session.only_tests() => Ok(()),
        Ok(()) => Err(cli::Error::Unsupported {
            what: session.grammar.program.to_owned(),
            hint: "it is not there yet",
        }),
    }
}
