//! What is generated from the parser and from the table of settings: completions, the manual page, the list of
//! setting flags, and `docs/settings.md`.

use std::fmt::Write as _;

use clap_complete::Shell;
use clap_mangen::Man;

use crate::settings::value::Kind;
use crate::settings::{Key, Status, Visibility, keys};

use super::{Error, arguments, barman, printer};

/// The completion script for a shell.
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    let program = arguments::command("seawall");
    let hidden: Vec<_> = program
        .get_arguments()
        .filter(|flag| flag.is_global_set())
        .map(|flag| flag.clone().hide(true))
        .collect();
    let others = barman::described(&hidden);
    clap_complete::generate(shell, &mut program.subcommands(others), "seawall", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page, in roff: the program, then each command below its own heading.
pub fn manual() -> Result<String, Error> {
    let program = arguments::command("seawall");
    let commands = described(&program, program.get_name());
    let after = program.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = Man::new(program.subcommand_value_name("command"));
    let mut text = Vec::new();
    page.render_title(&mut text)
        .and_then(|()| page.render_name_section(&mut text))
        .and_then(|()| page.render_synopsis_section(&mut text))
        .and_then(|()| page.render_description_section(&mut text))
        .map_err(Error::Output)?;
    let mut manual = String::from_utf8_lossy(&text).into_owned();
    // What stands after the help is plain text.
    let _ = writeln!(manual, "{after}");
    text = Vec::new();
    page.render_options_section(&mut text).map_err(Error::Output)?;
    manual += &String::from_utf8_lossy(&text);
    manual += ".SH COMMANDS\n";
    for (name, command) in commands {
        let (mut synopsis, mut rest) = (Vec::new(), Vec::new());
        let command = Man::new(command);
        command
            .render_synopsis_section(&mut synopsis)
            .and_then(|()| command.render_description_section(&mut rest))
            .and_then(|()| command.render_options_section(&mut rest))
            .map_err(Error::Output)?;
        for section in [synopsis, rest] {
            // These are parts of a section of the page, and no sections themselves.
            let text = String::from_utf8_lossy(&section).into_owned();
            let heading = format!(".SS {}\n", name.replace('-', "\\-"));
            let text = text.replace(".SH SYNOPSIS\n", &heading);
            manual += &text.replace(".SH DESCRIPTION\n", ".PP\n").replace(".SH OPTIONS\n", "");
        }
    }
    Ok(manual)
}

/// The commands below `parent` that do something, each with its whole name.
fn described(parent: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
    let mut commands = Vec::new();
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{name} {}", command.get_name());
        if command.has_subcommands() {
            commands.extend(described(command, &name));
        } else {
            let command = command.clone().bin_name(&name).disable_help_flag(true);
            commands.push((name, command));
        }
    }
    commands
}

/// One line for each setting flag.
pub fn flags() -> String {
    let mut rows = Vec::new();
    for key in keys::ALL {
        for name in key.names {
            rows.push([format!("--{} {}", Key::flag(name), key.kind.name()), key.doc.to_owned()]);
        }
    }
    printer::columns(&rows)
}

/// The settings reference, `docs/settings.md`.
pub fn settings_page() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut section = None;
    for key in keys::ALL {
        if section.replace(key.section) != Some(key.section) {
            let title = key.section.title();
            // Writing into a String cannot fail, here and below.
            let _ = write!(page, "\n## {title}\n\n| name | kind | default | meaning |\n|---|---|---|---|\n");
        }
        let (first, others) = key.names.split_first().unwrap_or((&"", &[]));
        let others: String = others.iter().map(|name| format!(", `{name}`")).collect();
        let kind = match key.kind {
            Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" "),
            kind => kind.name().to_owned(),
        };
        let kind = match key.visibility {
            Visibility::Plain => kind,
            Visibility::Secret => format!("{kind}, secret"),
        };
        let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
        let status = match key.status {
            Status::Supported | Status::Foreign => String::new(),
            Status::NotYet(instead) => format!(". **An error when set**: {instead}"),
            Status::Ignored(reason) => format!(". *Without effect*: {reason}"),
        };
        let _ = writeln!(page, "| `{first}`{others} | {kind} | {default} | {}{status} |", key.doc);
    }
    page
}

const INTRODUCTION: &str = "\
# Settings

<!-- Made from the table in src/settings/keys.rs; SEAWALL_UPDATE_DOCS=1 cargo test reference makes it anew. -->

A setting is looked for under each of its names, in the order in which they stand here, and for each name on the command
line (`WALG_FILE_PREFIX` is `--walg-file-prefix`), then in the environment (an empty variable is an unset one), then in
the configuration file. The first value found counts. `seawall config show` prints what was found where.

The configuration file is named by `--config` or `WALG_CONFIG_PATH`; without these it is the first of `.walg.json`,
`.walg.toml`, `.walg.yaml`, `.walg.yml`, `.walg.env` in `$HOME`, or, when that has none, in the home directory that the
system has on record for the user, where wal-g looks. It is a flat map from names, in any case of letters, to values. A
file that is named and missing, or that cannot be read or parsed, is an error, unlike in wal-g.

- **bool**: `1 t T TRUE true True` or `0 f F FALSE false False`, as in Go.
- **duration**: `30s`, `1m30s`, `500ms`, as in Go.
- **bytes**: a number, also with PostgreSQL's units `kB`, `MB`, `GB`, `TB`, which are powers of 1024.
- **secret**: never printed, not by `config show` and not in the log. Flags can be seen in the list of processes, so give
  secrets in the environment or in the configuration file.

An unknown `WALG_` or `WALE_` name is a warning that names the nearest known one. A setting *without effect* is a warning
when it is given another value than its default and the command is one that it concerns.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        if std::env::var_os("SEAWALL_UPDATE_DOCS").is_some() {
            std::fs::write(path, settings_page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == settings_page(),
            "docs/settings.md is stale: SEAWALL_UPDATE_DOCS=1 cargo test reference"
        );
    }

    #[test]
    fn every_shell_and_the_manual_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell);
            for word in
                ["wal-push", "copy", "from-walg", "barman-cloud", "check-wal-archive", "retention-policy"]
            {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
        let manual = manual().unwrap();
        for line in
            [".SH COMMANDS", ".SS seawall wal\\-push", ".SS seawall delete retain", ".SS seawall config show"]
        {
            assert!(manual.lines().any(|known| known == line), "{line}\n{manual}");
        }
        assert!(!manual.contains("(1)\n") && !manual.contains("prefetch"), "{manual}");
        assert!(flags().contains("--walg-file-prefix path"));
    }
}
