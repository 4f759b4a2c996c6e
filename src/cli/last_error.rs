//! The last failure, kept in the file `.seawall-last-error` in `$HOME`, or in `$TMPDIR` where that cannot be written: callers such as Spilo's `wale_restore.sh` throw stderr away,
//! and of a pod that does not start there is no other word.
//!
//! The file says what stderr said: time and command, message, hints. Only its owner may read it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use clap::CommandFactory;
use jiff::Timestamp;

use super::walg::{Arguments, absent};

const NAME: &str = ".seawall-last-error";

/// The command among the arguments of wal-g's dialect. Other words are none of the file's: a flag may carry a key.
pub fn command(arguments: &[OsString]) -> Option<String> {
    let commands = Arguments::command().subcommands(absent::commands());
    let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.find(|word| names.contains(word)).map(str::to_owned)
}

/// Keeps `text`, the failure of `command`, in place of the failure before. Not durable; a failure to do so is nobody's.
pub fn keep(command: &str, text: &str) {
    let places = ["HOME", "TMPDIR"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    for place in places.filter(|place| place.is_absolute()) {
        match write(&place, command, text) {
            Ok(()) => return,
            Err(error) => tracing::debug!("cannot keep the error in {}: {error}", place.display()),
        }
    }
}

/// Several processes may fail at once: each writes a file of its own, and the last one stays.
fn write(directory: &Path, command: &str, text: &str) -> io::Result<()> {
    let temporary = directory.join(format!("{NAME}.{}", process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| writeln!(file, "{:.0} {command}\n{text}", Timestamp::now()))
        .and_then(|()| fs::rename(&temporary, directory.join(NAME)));
    if written.is_err() {
        // Nothing more can be done about it.
        let _ = fs::remove_file(&temporary);
    }
    written
}
