//! What lies under a name, and what is positively not there.
//!
//! A part of an archive may lie on another disk, behind a symbolic link. Of what lies there the kernel says "no such file"
//! as well when that disk is gone. So what was not found is looked for component by component: it is missing where a
//! directory that is there has no such entry. A link to what is not there is an error, and so is a file in the place of a
//! directory.

use std::io;
use std::path::Path;

use super::{Place, Step, is_missing};
use crate::storage::{Error, ErrorKind, Result};

impl Place {
    /// What `look` finds at `path`; `None` when that is missing.
    pub(super) fn find<T>(
        &self,
        step: Step<'_>,
        path: &Path,
        look: impl Fn() -> io::Result<T>,
    ) -> Result<Option<T>> {
        let mut looks = 0;
        loop {
            looks += 1;
            match look() {
                Ok(found) => return Ok(Some(found)),
                Err(error) if is_missing(&error) => match self.lacks(step, path)? {
                    true => return Ok(None),
                    // It has appeared in between.
                    false if looks == 1 => {}
                    false => return Err(self.failed(step, path, &error)),
                },
                Err(error) => return Err(self.failed(step, path, &error)),
            }
        }
    }

    /// Whether a directory on the way to `path` has no such entry.
    fn lacks(&self, step: Step<'_>, path: &Path) -> Result<bool> {
        self.check_root(step)?;
        let mut place = self.root.clone();
        for component in path.strip_prefix(&self.root).unwrap_or(Path::new("")).components() {
            place.push(component);
            match std::fs::symlink_metadata(&place) {
                Ok(found) if found.is_symlink() => self.check_link(step, &place)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(self.failed(step, &place, &error)),
            }
        }
        Ok(false)
    }

    fn check_link(&self, step: Step<'_>, link: &Path) -> Result<()> {
        match std::fs::metadata(link) {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => {
                let target = std::fs::read_link(link).unwrap_or_default();
                let detail =
                    format!("`{}` is a link to what is not there, `{}`", link.display(), target.display());
                Err(Error::new(ErrorKind::FileSystem, step.action, step.key, &self.location, detail)
                    .with_hint("mount the file system that the link leads to, or remove the link"))
            }
            Err(error) => Err(self.failed(step, link, &error)),
        }
    }

    /// Something lies at `path`, and it is no file.
    pub(super) fn no_file(&self, step: Step<'_>, path: &Path) -> Error {
        let detail = format!("`{}` is no regular file", path.display());
        Error::new(ErrorKind::FileSystem, step.action, step.key, &self.location, detail)
    }
}
