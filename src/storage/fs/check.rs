//! Tries what a directory and its file system can do: [`crate::storage::check`].

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::new_file::sync_directory;
use super::{Directory, Place, Step, blocking, is_missing};
use crate::storage::check::{Ability, Row, Transfer, Verdict, content};
use crate::storage::{Error, ErrorKind, Key, PART_BYTES, Prefix, Result, Storage};

/// Bytes of the object whose time is taken.
const MEASURED_BYTES: usize = 32 << 20;

/// Less room than this is none: one WAL segment of PostgreSQL's default size.
const LEAST_ROOM: u64 = 16 << 20;

/// A check of a directory.
#[derive(Debug)]
pub struct DirectoryCheck {
    storage: Directory,
    folder: Prefix,
    /// The folder may be there.
    begun: AtomicBool,
}

impl DirectoryCheck {
    /// Touches nothing yet.
    pub(in crate::storage) fn new(root: PathBuf, prefix: Prefix, folder: Prefix) -> DirectoryCheck {
        DirectoryCheck { storage: Directory::new(root, prefix), folder, begun: AtomicBool::new(false) }
    }

    /// Tries everything.
    pub(in crate::storage) async fn run(&self) -> Vec<Row> {
        let (place, folder) = (self.storage.place.clone(), self.path());
        let step = Step { action: "look for", key: None };
        let there = place.check_root(step).map(|()| self.storage.location().to_string());
        let mut rows = vec![Row::needed(Ability::Place, there)];
        if rows.iter().any(|row| row.verdict == Verdict::Failed) {
            rows.extend(REST.map(Row::not_tried));
            return rows;
        }
        self.begun.store(true, Ordering::Relaxed);
        let steps = blocking(move || steps(&place, &folder)).await;
        let can_write = steps.iter().all(|row| row.verdict != Verdict::Failed);
        rows.extend(steps);
        rows.push(match can_write {
            true => Row::needed(Ability::Throughput, self.measure().await),
            false => Row::not_tried(Ability::Throughput),
        });
        rows
    }

    fn path(&self) -> PathBuf {
        let place = &self.storage.place;
        place.root.join(format!("{}{}", place.prefix, self.folder))
    }

    async fn measure(&self) -> Result<String> {
        let invalid = |error: crate::storage::InvalidKey| {
            Error::new(ErrorKind::Invalid, "check", None, self.storage.location(), error.to_string())
        };
        let key: Key = self.folder.key("measured").map_err(invalid)?;
        let part = usize::try_from(PART_BYTES).unwrap_or(MEASURED_BYTES);
        let transfer = Transfer::measure(&self.storage, &key, &content(MEASURED_BYTES), part).await?;
        Ok(transfer.text())
    }

    /// Removes the folder, and those above it that the check made.
    pub(in crate::storage) async fn clean_up(&self) -> Option<Row> {
        if !self.begun.load(Ordering::Relaxed) {
            return None;
        }
        let (place, folder) = (self.storage.place.clone(), self.path());
        blocking(move || {
            let removed = match std::fs::remove_dir_all(&folder) {
                Err(error) if is_missing(&error) => Ok(()),
                removed => removed,
            };
            if let Some(parent) = folder.parent().filter(|_| removed.is_ok()) {
                place.prune(parent);
            }
            let error = removed.err()?;
            let detail = format!("left in `{}`: {error}", folder.display());
            Some(Row::new(Ability::Removal, Verdict::Failed, detail))
        })
        .await
    }
}

/// What is tried in a directory that is there.
const REST: [Ability; 6] =
    [Ability::Write, Ability::Sync, Ability::Rename, Ability::Link, Ability::Space, Ability::Throughput];

/// What storing a file does, step by step.
fn steps(place: &Place, folder: &Path) -> Vec<Row> {
    let step = Step { action: "check", key: None };
    let (first, second) = (folder.join("first"), folder.join("second"));
    let tried = |path: &Path, outcome: io::Result<&str>| {
        outcome.map(str::to_owned).map_err(|error| place.failed(step, path, &error))
    };
    let written = place.create_parents(step, &first).and_then(|_| {
        let write = || File::create(&first)?.write_all(b"first").map(|()| "a directory and a file");
        tried(&first, write())
    });
    let can_write = written.is_ok();
    let mut rows = vec![Row::needed(Ability::Write, written)];
    if can_write {
        let sync = || {
            let file = File::options().write(true).open(&first)?;
            file.write_all_at(b"First", 0)?;
            file.sync_all()?;
            sync_directory(folder)?;
            Ok("of a file and of a directory")
        };
        rows.push(Row::needed(Ability::Sync, tried(&first, sync())));
        let rename = || {
            std::fs::write(&second, "second")?;
            std::fs::rename(&first, &second)?;
            match std::fs::read(&second)? == b"First" && !first.exists() {
                true => Ok("a file takes another one's place"),
                false => Err(io::Error::other("the renamed file is not in the other one's place")),
            }
        };
        rows.push(Row::needed(Ability::Rename, tried(&second, rename())));
        let link = || {
            std::fs::hard_link(&second, &first)?;
            match std::fs::hard_link(&second, &first) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Ok("a name that is taken is refused")
                }
                Err(error) => Err(error),
                Ok(()) => Err(io::Error::other("a second link took a name that was taken")),
            }
        };
        rows.push(Row::optional(Ability::Link, tried(&first, link())));
    } else {
        rows.extend([Ability::Sync, Ability::Rename, Ability::Link].map(Row::not_tried));
    }
    rows.push(space(place, step));
    rows
}

/// The room that this user has, in bytes and in files.
fn space(place: &Place, step: Step<'_>) -> Row {
    let found = match rustix::fs::statvfs(&place.root) {
        Ok(found) => found,
        Err(error) => {
            let error = place.failed(step, &place.root, &error.into());
            return Row::optional(Ability::Space, Err(error));
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let whole = found.f_blocks.saturating_mul(found.f_frsize);
    let mut detail = format!("{:.1} GiB of {:.1} GiB", gib(free), gib(whole));
    // File systems that make inodes as they need them say 0.
    let no_files = found.f_files > 0 && found.f_favail == 0;
    if no_files {
        detail.push_str(", but no more files");
    }
    if free >= LEAST_ROOM && !no_files {
        return Row::new(Ability::Space, Verdict::Works, detail);
    }
    let hint = Some(format!("free space on the file system of `{}`", place.root.display()));
    Row { hint, ..Row::new(Ability::Space, Verdict::Failed, detail) }
}
