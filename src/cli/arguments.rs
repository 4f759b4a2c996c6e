//! From the raw command line to typed arguments.
//!
//! Two levels, as in ripgrep: [`Arguments`] is what was typed, [`Invocation`] adds the setting flags. The parser is
//! wal-g's dialect ([`super::walg`]) plus one hidden flag for every name of the table of settings, before or after the
//! command. Go's flags take a value only after `=` when they are booleans, so `--confirm=true` is turned into
//! `--confirm` first, and `--confirm=false` takes an earlier `--confirm` back. A command's own flags may stand before it.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use secrecy::SecretString;

use crate::settings::{Key, keys, value};

use super::Error;
use super::walg::{Arguments, absent};

/// A parsed command line.
#[derive(Debug)]
pub struct Invocation {
    /// The dialect's arguments.
    pub arguments: Arguments,
    /// The setting flags: long name and value.
    pub settings: Vec<(String, SecretString)>,
}

/// The id of a setting flag in the parser is this, then its long name.
const SETTING: &str = "setting:";

/// Parses a command line, the program's name included. A command of wal-g that is not there is refused here.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parser = command(&program_name(arguments.first())).subcommands(absent::commands());
    // Each flag that the parser knows is made again for every command, which takes longer than all else before the
    // first byte: so it gets to know those that were typed. The error of a wrong line may suggest those that begin alike; a
    // slip in a flag of the command is none in a setting.
    let typed = with_setting_flags(parser.clone(), |flag| is_typed(flag, &arguments));
    let arguments = behind_the_command(&parser, without_boolean_values(&parser, arguments));
    let matches = typed.try_get_matches_from(&arguments).or_else(|error| match error.use_stderr() {
        true => {
            with_setting_flags(parser, |flag| may_be_meant(flag, &arguments)).try_get_matches_from(&arguments)
        }
        false => Err(error),
    })?;
    absent::refuse(&matches)?;
    Ok(Invocation { arguments: Arguments::from_arg_matches(&matches)?, settings: setting_flags(&matches) })
}

/// The parser without the setting flags, for help pages and completions.
pub fn command(program: &str) -> clap::Command {
    Arguments::command()
        .name(program.to_owned())
        .bin_name(program.to_owned())
        .display_name(program.to_owned())
        .version(concat!("version ", env!("CARGO_PKG_VERSION"), " (seawall, PostgreSQL)"))
        .max_term_width(100)
}

/// The name that the program goes by: `wal-g` when it was called so, else its own.
fn program_name(first: Option<&OsString>) -> String {
    let name = first.map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    name.filter(|name| *name == "wal-g").unwrap_or("seawall").to_owned()
}

fn is_typed(flag: &str, arguments: &[OsString]) -> bool {
    long_flags(arguments).any(|typed| typed == flag)
}

/// Whether what was typed begins with the word that this flag begins with, such as `walg` or `aws`, or both with `pg`.
fn may_be_meant(flag: &str, arguments: &[OsString]) -> bool {
    long_flags(arguments).any(|typed| {
        typed.split('-').next() == flag.split('-').next() || typed.starts_with("pg") && flag.starts_with("pg")
    })
}

/// What was typed after two dashes, up to its value.
fn long_flags(arguments: &[OsString]) -> impl Iterator<Item = &str> {
    let typed = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
    typed.filter_map(|flag| flag.split('=').next())
}

fn with_setting_flags(command: clap::Command, known: impl Fn(&str) -> bool) -> clap::Command {
    let flags =
        keys::ALL.iter().flat_map(|key| key.names).map(|name| Key::flag(name)).filter(|flag| known(flag));
    command.args(flags.map(|flag| {
        Arg::new(format!("{SETTING}{flag}"))
            .long(flag)
            .global(true)
            .hide(true)
            .action(ArgAction::Set)
            .allow_hyphen_values(true)
            .value_name("VALUE")
    }))
}

fn setting_flags(matches: &ArgMatches) -> Vec<(String, SecretString)> {
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let flags = innermost.ids().filter_map(|id| {
        let flag = id.as_str().strip_prefix(SETTING)?;
        let text = innermost.get_one::<String>(id.as_str())?;
        Some((flag.to_owned(), SecretString::from(text.as_str())))
    });
    flags.collect()
}

/// Turns `--flag=true` into `--flag`, for every flag that takes no value. `--flag=false` goes, and with it what turned
/// the flag on before: the last one counts, as in Go.
fn without_boolean_values(parser: &clap::Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let booleans = boolean_flags(parser);
    let mut options_end = false;
    let mut kept: Vec<OsString> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        options_end |= argument == "--";
        let given = argument.to_str().filter(|_| !options_end).and_then(|text| text.split_once('='));
        let known = given.and_then(|(flag, text)| {
            let meant: Vec<_> = booleans.iter().copied().filter(|known| is(known, flag)).collect();
            let on = value::parse_bool(text).ok().filter(|_| !meant.is_empty())?;
            Some((flag.into(), on, meant))
        });
        match known {
            Some((flag, true, _)) => kept.push(flag),
            Some((_, false, meant)) => {
                kept =
                    kept.into_iter().filter_map(|earlier| turned_off(earlier, &meant, &booleans)).collect();
            }
            None => kept.push(argument),
        }
    }
    kept
}

/// Moves the flags of a command that stand before it to the place behind it. wal-g takes them there too, but for one
/// without a value: it takes the word that follows for that, and so misses its command (`--confirm delete …`).
fn behind_the_command(parser: &clap::Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let known = arguments_of(parser);
    let word = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let (mut early, mut at) = (Vec::new(), 1);
    let mut command = loop {
        let (flag, after) = (word(at).split('=').next().unwrap_or_default(), word(at + 1));
        if let Some(command) = parser.find_subcommand(flag) {
            break command;
        }
        if !flag.starts_with('-') || matches!(flag, "-" | "--" | "-h" | "--help") {
            return arguments;
        }
        let is_setting =
            || flag.strip_prefix("--").is_some_and(|flag| keys::find(&flag.replace('-', "_")).is_some());
        let is_general = parser.get_arguments().any(|argument| is(argument, flag)) || is_setting();
        let mut meant = known.iter().filter(|argument| is(argument, flag));
        let takes_value = match is_general {
            true => meant.next().is_none_or(|general| general.get_action().takes_values()),
            false => {
                meant.any(|meant| meant.get_action().takes_values())
                    && parser.find_subcommand(after).is_none()
            }
        };
        let words = if takes_value && flag == word(at) { 2 } else { 1 };
        if !is_general {
            early.extend(at..at + words);
        }
        at += words;
    };
    // The flag may be that of the rule of `delete`.
    while let Some(inner) = command.find_subcommand(word(at + 1)) {
        (command, at) = (inner, at + 1);
    }
    // Each one removed makes the places of the others one less, and so that of the command.
    let moved: Vec<_> = early.iter().enumerate().map(|(before, at)| arguments.remove(at - before)).collect();
    let behind = at + 1 - moved.len();
    arguments.splice(behind..behind, moved);
    arguments
}

/// Whether an argument is this flag, which is written with its dashes.
fn is(argument: &Arg, flag: &str) -> bool {
    match flag.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some_and(|short| flag.strip_prefix('-') == Some(&*short.to_string())),
    }
}

/// An argument without what turns one of the flags `meant` on; `None` when nothing else is left of it.
fn turned_off(argument: OsString, meant: &[&Arg], booleans: &[&Arg]) -> Option<OsString> {
    let Some(text) = argument.to_str() else { return Some(argument) };
    if meant.iter().any(|flag| is(flag, text)) {
        return None;
    }
    // Several short ones in one argument, as `-pf`.
    let letters = text.strip_prefix('-').filter(|letters| !letters.is_empty());
    let Some(letters) = letters else { return Some(argument) };
    if !letters.chars().all(|letter| booleans.iter().any(|flag| flag.get_short() == Some(letter))) {
        return Some(argument);
    }
    let others = letters.chars().filter(|letter| !meant.iter().any(|flag| flag.get_short() == Some(*letter)));
    let others: String = others.collect();
    (!others.is_empty()).then(|| format!("-{others}").into())
}

/// The flags that take no value, of all commands.
fn boolean_flags(parser: &clap::Command) -> Vec<&Arg> {
    let mut flags = arguments_of(parser);
    flags.retain(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
    flags
}

/// What a command and all those below it take, its own first.
fn arguments_of(command: &clap::Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(arguments_of)).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::walg::{Command, ConfigCommand, Configured};
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_parser_is_consistent() {
        let parser = command("seawall").subcommands(absent::commands());
        with_setting_flags(parser, |_| true).debug_assert();
    }

    #[test]
    fn setting_flags_stand_anywhere() {
        for line in [
            "seawall --walg-file-prefix /x config show --json",
            "seawall --walg-file-prefix=/x config show --json",
            "seawall config --walg-file-prefix /x show --json=true",
            "wal-g config show --walg-file-prefix /x --json",
            "/usr/bin/wal-g config show --json --walg-file-prefix=/y --walg-file-prefix=/x",
        ] {
            let invocation = parsed(line).unwrap();
            let Command::Configured(Configured::Config(ConfigCommand::Show(show))) =
                &invocation.arguments.command
            else {
                panic!("{line}")
            };
            assert!(show.json, "{line}");
            let settings: Vec<_> = invocation
                .settings
                .iter()
                .map(|(flag, text)| (flag.as_str(), text.expose_secret()))
                .collect();
            assert_eq!(settings, [("walg-file-prefix", "/x")], "{line}");
        }
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [
            "seawall --config c.json --turbo config show",
            "seawall config show --turbo=1 --config=c.json",
            "seawall config --turbo --config c.json show --json=false",
        ] {
            let arguments = parsed(line).unwrap().arguments;
            assert!(arguments.turbo, "{line}");
            assert_eq!(arguments.config.as_deref(), Some(Path::new("c.json")), "{line}");
        }
    }

    #[test]
    fn flags_of_a_command_may_come_before_it() {
        for (line, same) in [
            (
                "--timeline 1 --lsn 0/1000000 wal-verify integrity",
                "wal-verify --timeline 1 --lsn 0/1000000 integrity",
            ),
            ("--turbo --full backup-push /data", "backup-push /data --turbo --full"),
            ("--config wal-push -p backup-push /data", "backup-push -p /data --config wal-push"),
            (
                "--walg-file-prefix /x --target-user-data {} --config=c delete target",
                "delete target --walg-file-prefix /x --config c --target-user-data {}",
            ),
            ("--confirm=true delete retain 1", "delete --confirm retain 1"),
            (
                "--after base_000000010000000000000002 --confirm delete retain 1",
                "delete retain 1 --confirm --after base_000000010000000000000002",
            ),
            ("--detail=false --json backup-list", "backup-list --json"),
        ] {
            let [early, late] = [line, same].map(|line| {
                let invocation = parsed(&format!("seawall {line}")).unwrap_or_else(|error| panic!("{error}"));
                format!("{:?} {:?}", invocation.arguments, invocation.settings)
            });
            assert_eq!(early, late, "{line}");
        }
        for line in
            ["--timeline", "--no-such-flag backup-list", "--json", "-- backup-list", "--detail wal-show"]
        {
            assert!(parsed(&format!("seawall {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn the_last_word_on_a_flag_counts() {
        for (flags, permanent, full) in [
            ("--permanent --permanent=false", false, false),
            ("-p --full --permanent=false", false, true),
            ("-pf --permanent=0", false, true),
            ("-pf --full=f -p=false", false, false),
            ("--permanent=false --permanent", true, false),
            ("-f=true --permanent=true --permanent=false --permanent=true", true, true),
        ] {
            let arguments = parsed(&format!("seawall backup-push /data {flags}")).unwrap().arguments;
            let Command::Configured(Configured::BackupPush(push)) = arguments.command else {
                panic!("{flags}")
            };
            assert_eq!((push.permanent, push.full), (permanent, full), "{flags}");
        }
        let delete = |flags: &str| {
            let line = format!("seawall delete retain 1 {flags}");
            let Command::Configured(Configured::Delete(delete)) = parsed(&line).unwrap().arguments.command
            else {
                panic!("{line}")
            };
            delete.confirm
        };
        assert!(delete("--confirm") && delete("--confirm=false --confirm"));
        assert!(!delete("--confirm --confirm=false") && !delete("--confirm=true --confirm=0"));
    }

    #[test]
    fn a_setting_is_suggested_only_where_one_was_meant() {
        for (line, suggested) in [
            ("backup-list --version", None),
            ("backup-list --regio x", None),
            ("backup-list --detial", Some("--detail")),
            ("wal-push x --walg-file-prefx=/y", Some("--walg-file-prefix")),
            ("--aws-regio x wal-push y", Some("--aws-region")),
            ("wal-push x --pghos y", Some("--pghost")),
            ("wal-push x --walg-file-prefix /y --no-such-flag", None),
        ] {
            let error = parsed(&format!("seawall {line}")).unwrap_err().to_string();
            match suggested {
                Some(flag) => {
                    assert!(error.contains(&format!("similar argument exists: '{flag}'")), "{error}")
                }
                None => assert!(!error.contains("similar argument"), "{error}"),
            }
        }
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "seawall",
            "seawall frobnicate",
            "seawall config show extra",
            "seawall config show --no-such-flag",
            "seawall config show --json=maybe",
            "seawall --walg-file-prefix",
        ] {
            assert!(matches!(parsed(line), Err(Error::Usage(error)) if error.use_stderr()), "{line}");
        }
    }
}
