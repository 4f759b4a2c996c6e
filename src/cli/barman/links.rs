//! `seawall install-links`: the names by which barman-cloud is called, in one directory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::cli;

use super::{Command, Error};

/// Makes a link to this program for each command in `directory`. Those that are there already stay; a file or a link
/// to something else is an error, and nothing is made then.
///
/// A link in the program's own directory is relative, so that both can be moved together.
pub fn install(directory: &Path) -> Result<(), cli::Error> {
    let system = |action| move |source| cli::Error::System { action, source };
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let beside = match (fs::canonicalize(directory), program.parent()) {
        (Ok(directory), Some(parent)) => directory == parent,
        _ => false,
    };
    let target = match program.file_name() {
        Some(name) if beside => PathBuf::from(name),
        _ => program.clone(),
    };
    let links = Command::ALL.map(|command| directory.join(command.program()));
    let mut missing = Vec::new();
    for link in links {
        match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(link),
            _ if fs::canonicalize(&link).is_ok_and(|found| found == program) => {}
            _ => return Err(Error::NotOurLink(link).into()),
        }
    }
    for link in missing {
        symlink(&target, &link).map_err(|source| Error::Link { path: link, source })?;
    }
    Ok(())
}
