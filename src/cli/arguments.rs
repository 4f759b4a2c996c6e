//! From the raw command line to typed arguments.
//!
//! Two levels, as in ripgrep: [`Arguments`] is what was typed, [`Invocation`] adds the setting flags. The parser is
//! wal-g's dialect ([`super::walg`]) plus one hidden flag for every name of the table of settings, before or after the
//! command. Go's flags take a value only after `=` when they are booleans, so `--confirm=true` is turned into
//! `--confirm` first.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};
use secrecy::SecretString;

use crate::settings::{Key, keys, value};

use super::walg::Arguments;

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

/// Parses a command line, the program's name included.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parser = command(&program_name(arguments.first()));
    // Each flag that the parser knows is made again for every command, which takes longer than all else before the
    // first byte: so it gets to know those that were typed. The error of a wrong line may suggest any of them.
    let typed = with_setting_flags(parser.clone(), |flag| is_typed(flag, &arguments));
    let arguments = without_boolean_values(&parser, arguments);
    let matches = typed.try_get_matches_from(&arguments).or_else(|error| match error.use_stderr() {
        true => with_setting_flags(parser, |_| true).try_get_matches_from(&arguments),
        false => Err(error),
    })?;
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
    arguments
        .iter()
        .filter_map(|argument| argument.to_str()?.strip_prefix("--"))
        .any(|typed| typed.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
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

/// Turns `--flag=true` into `--flag` and drops `--flag=false`, for every flag that takes no value.
fn without_boolean_values(parser: &clap::Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let booleans = boolean_flags(parser);
    let mut options_end = false;
    let keep = |argument: OsString| {
        options_end |= argument == "--";
        let given = argument.to_str().filter(|_| !options_end).and_then(|text| text.split_once('='));
        let Some((flag, text)) = given else { return Some(argument) };
        let known = flag.strip_prefix("--").is_some_and(|flag| booleans.iter().any(|known| known == flag));
        match value::parse_bool(text) {
            Ok(true) if known => Some(flag.into()),
            Ok(false) if known => None,
            _ => Some(argument),
        }
    };
    arguments.into_iter().filter_map(keep).collect()
}

fn boolean_flags(parser: &clap::Command) -> Vec<String> {
    let own = parser.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
    let own = own.filter_map(|argument| argument.get_long().map(str::to_owned));
    own.chain(parser.get_subcommands().flat_map(boolean_flags)).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::walg::{Command, ConfigCommand};
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_parser_is_consistent() {
        with_setting_flags(command("seawall"), |_| true).debug_assert();
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
            let Command::Config(ConfigCommand::Show(show)) = &invocation.arguments.command else {
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
    fn wrong_command_lines_are_refused() {
        for line in [
            "seawall",
            "seawall frobnicate",
            "seawall config show extra",
            "seawall config show --no-such-flag",
            "seawall config show --json=maybe",
            "seawall --walg-file-prefix",
        ] {
            assert!(parsed(line).is_err_and(|error| error.use_stderr()), "{line}");
        }
    }
}
