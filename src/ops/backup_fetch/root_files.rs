//! The files right in the data directory, of which a backup may have two by one name.
//!
//! barman adds configuration files that lie elsewhere under their own names, after all that is in the data directory.
//! Unpacked one after the other, the later of two would replace the earlier one; tars are unpacked several at once.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::ops::Error;

/// Which tar each of these files is of.
#[derive(Debug, Default)]
pub(super) struct RootFiles {
    orders: Mutex<HashMap<PathBuf, usize>>,
}

impl RootFiles {
    /// Makes the file of the tar with this [order](super::plan::Tar::order) and this checked relative path, at `place`,
    /// where an earlier tar's makes way for it. `None` when a later tar has the file. Of other files than those right in the data directory there is one.
    pub fn make<T>(
        &self,
        order: usize,
        path: &Path,
        place: &Path,
        make: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if path.components().count() != 1 {
            return make().map(Some);
        }
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.get(path).is_some_and(|other| *other > order) {
            return Ok(None);
        }
        if orders.insert(path.to_owned(), order).is_some() {
            // Whoever is still writing the other one goes on writing what has no name any more.
            match fs::remove_file(place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", place)(error));
                }
                _ => {}
            }
        }
        make().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn the_file_of_the_later_tar_stays_whoever_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let name = Path::new("postgresql.conf");
        let place = dir.path().join(name);
        let files = RootFiles::default();
        let make = |order| {
            files
                .make(order, name, &place, || File::create_new(&place).map_err(Error::file("create", &place)))
        };
        // The first is being written while the second comes.
        let mut earlier = make(1).unwrap().unwrap();
        earlier.write_all(b"ear").unwrap();
        let mut later = make(2).unwrap().unwrap();
        earlier.write_all(b"lier").unwrap();
        later.write_all(b"later").unwrap();
        assert!(make(0).unwrap().is_none() && make(1).unwrap().is_none());
        assert_eq!(fs::read(&place).unwrap(), b"later");
        // A tar may have it twice.
        make(2).unwrap().unwrap().write_all(b"last").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"last");
    }
}
