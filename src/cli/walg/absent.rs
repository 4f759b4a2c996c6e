//! The commands of wal-g 3.0.9 that are not there: each is known by its name and refused, whatever follows it, with what
//! to do instead. Without that clap takes the name for a slip of the pen and proposes another command.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::cli::Error;

/// Their names.
const NAMES: [&str; 11] = [
    "catchup-fetch",
    "catchup-list",
    "catchup-push",
    "catchup-receive",
    "catchup-send",
    "copy",
    "daemon",
    "pgbackrest",
    "st",
    "wal-receive",
    "wal-restore",
];

/// The id of what follows the name.
const WORDS: &str = "words";

/// Them as commands that no help page shows and that take any words.
pub fn commands() -> impl Iterator<Item = Command> {
    NAMES.into_iter().map(|name| {
        let words = Arg::new(WORDS)
            .num_args(0..)
            .action(ArgAction::Append)
            .value_parser(value_parser!(OsString))
            .trailing_var_arg(true)
            .allow_hyphen_values(true);
        Command::new(name).hide(true).disable_help_flag(true).arg(words)
    })
}

/// Refuses a line that calls one of them.
pub fn refuse(matches: &ArgMatches) -> Result<(), Error> {
    let Some((name, inner)) = matches.subcommand().filter(|(name, _)| NAMES.contains(name)) else {
        return Ok(());
    };
    let first = inner.get_many::<OsString>(WORDS).into_iter().flatten().next();
    let hint = match name {
        "copy" => {
            "`seawall copy` goes between wal-g's layout and barman-cloud's; copy objects of one layout by the service's own \
             client, such as `aws s3 sync`, sentinels last"
        }
        "daemon" => {
            "let archive_command and restore_command call this program itself: `wal-push %p`, `wal-fetch %f %p`"
        }
        "pgbackrest" => "read pgBackRest's repositories with pgBackRest itself",
        "st" if first.is_some_and(|word| word == "check") => "`storage check` tries what the storage can do",
        "st" => {
            "use the service's own client, such as `aws s3 ls` or s5cmd; `storage check` tries what the storage can do"
        }
        "wal-receive" => {
            "archive by archive_command: `wal-push %p`; pg_receivewal streams WAL into a directory"
        }
        "wal-restore" => {
            "set restore_command to `wal-fetch %f %p` and call pg_rewind with --restore-target-wal"
        }
        _ => {
            "take a delta by `backup-push` and restore it by `backup-fetch`; a server that went another way is brought back \
             by pg_rewind"
        }
    };
    let what = match name {
        "copy" => "copy between two repositories of wal-g".to_owned(),
        name => format!("`{name}`"),
    };
    Err(Error::Unsupported { what, hint })
}
