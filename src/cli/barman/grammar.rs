//! Command lines as Python's argparse reads them (3.11), which is what the callers of barman-cloud write for.
//!
//! | rule | |
//! |---|---|
//! | flags and positionals | in any order; positionals may be split by flags |
//! | `--flag value`, `--flag=value`, `-J4`, `-J=4`, `-zv` | all the same; `-zv` is `-z -v` |
//! | `--retention` | the beginning of one long flag is that flag, of several is an error |
//! | a flag that takes a list | takes all that follows, up to the next flag or `--`; given again, the last one counts |
//! | `--` | what follows is positional |
//! | `-5`, `-.5`, text with a blank in it, `-` alone | no flags, unless one has that name |
//!
//! It was written because clap has no word for some of this (a value that looks like a negative number, a blank that
//! makes a flag a positional, the exact order in which a wrong line is found wrong), and because the messages of
//! argparse are what users search for. One thing is read that argparse refuses: an optional positional after a flag.

use std::fmt;

use crate::layout::barman::quote;

/// A flag of a command. It is known by its address, so each is a `static`.
#[derive(Debug)]
pub struct Flag {
    /// Its spellings, the short one first.
    pub names: &'static [&'static str],
    /// What follows it.
    pub takes: Takes,
    /// The only values it may have; empty for any.
    pub choices: &'static [&'static str],
    /// The flags that it cannot stand together with.
    pub exclusive: Option<&'static Exclusive>,
    /// What becomes of it.
    pub support: Support,
    /// For the help page, which leaves it out when this is empty.
    pub help: &'static str,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// One value, of this name in the help page.
    Value(&'static str),
    /// Any number of values.
    List(&'static str),
    /// Nothing: it asks for the help page.
    Help,
    /// Nothing: it asks for the version.
    Version,
}

/// Flags that exclude each other.
#[derive(Debug)]
pub struct Exclusive {
    /// Whether one of them has to be given.
    pub required: bool,
}

/// What becomes of a flag that barman knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Full,
    /// It belongs to another provider, and says nothing about one at AWS, in barman as well.
    NoEffect,
}

/// An argument by its place.
#[derive(Debug)]
pub struct Positional {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether the line is wrong without it.
    pub required: bool,
    /// For the help page.
    pub help: &'static str,
}

/// What a command understands.
#[derive(Debug)]
pub struct Grammar {
    /// The name of the program in messages.
    pub program: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The positionals in their order; only the last one may be optional.
    pub positionals: &'static [&'static Positional],
    /// All flags.
    pub flags: &'static [&'static [&'static Flag]],
}

/// What a line asks for.
#[derive(Debug)]
pub enum Request {
    /// The work.
    Work(Line),
    /// The help page.
    Help,
    /// The version.
    Version,
}

/// A line that was understood. `Debug` shows its flags and none of their values: one may have a password.
#[derive(Default)]
pub struct Line {
    positionals: Vec<String>,
    flags: Vec<(&'static Flag, Vec<String>)>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.flags.iter().map(|(flag, _)| flag.names)).finish()
    }
}

/// A line that was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{usage}\n{program}: error: {message}")]
pub struct UsageError {
    usage: String,
    program: &'static str,
    message: String,
}

/// One word of a line.
#[derive(Debug, Clone, Copy)]
enum Word<'a> {
    /// A flag, as it was spelled, with what stood after `=` or was attached to it.
    Flag(&'static Flag, &'static str, Option<&'a str>),
    /// A flag that nobody knows.
    Unknown(&'a str),
    Text(&'a str),
    /// The first `--`.
    End,
}

impl Flag {
    /// A flag without a value.
    pub const fn switch(names: &'static [&'static str], help: &'static str) -> Flag {
        Flag { names, takes: Takes::Nothing, choices: &[], exclusive: None, support: Support::Full, help }
    }

    /// A flag with a value.
    pub const fn value(names: &'static [&'static str], value: &'static str, help: &'static str) -> Flag {
        Flag { takes: Takes::Value(value), ..Flag::switch(names, help) }
    }

    /// A flag with one of these values.
    pub const fn choice(
        names: &'static [&'static str],
        choices: &'static [&'static str],
        help: &'static str,
    ) -> Flag {
        Flag { choices, ..Flag::value(names, "", help) }
    }

    /// A flag with any number of values.
    pub const fn list(names: &'static [&'static str], value: &'static str, help: &'static str) -> Flag {
        Flag { takes: Takes::List(value), ..Flag::switch(names, help) }
    }

    /// The same flag, one of those that exclude each other.
    pub const fn among(self, exclusive: &'static Exclusive) -> Flag {
        Flag { exclusive: Some(exclusive), ..self }
    }

    /// The same flag, which says nothing here.
    pub const fn without_effect(self) -> Flag {
        Flag { support: Support::NoEffect, ..self }
    }

    /// The name in messages: all spellings.
    pub fn shown(&self) -> String {
        self.names.join("/")
    }

    /// The name of the value in the help page.
    fn value_name(&self) -> Option<String> {
        match self.takes {
            Takes::Nothing | Takes::Help | Takes::Version => None,
            Takes::Value(_) if !self.choices.is_empty() => Some(format!("{{{}}}", self.choices.join(","))),
            Takes::Value(name) => Some(name.to_owned()),
            Takes::List(name) => Some(format!("[{name} ...]")),
        }
    }
}

impl Flag {
    /// As clap describes a flag.
    fn described(&'static self) -> clap::Arg {
        let id = self.names.last().copied().unwrap_or_default();
        let flag = clap::Arg::new(id).help(self.help);
        let flag = match self.takes {
            Takes::Value(name) | Takes::List(name) => flag.value_name(name).action(clap::ArgAction::Append),
            Takes::Nothing | Takes::Help | Takes::Version => flag.action(clap::ArgAction::Count),
        };
        let flag = match self.choices {
            [] => flag,
            choices => flag.value_parser(choices.to_vec()),
        };
        self.names.iter().fold(flag, |flag, name| match (name.strip_prefix("--"), name.chars().nth(1)) {
            (Some(long), _) if flag.get_long().is_none() => flag.long(long),
            (Some(long), _) => flag.visible_alias(long),
            (None, Some(short)) => flag.short(short),
            (None, None) => flag,
        })
    }
}

impl Grammar {
    /// Its flags, but for those that the help page leaves out, as clap describes flags.
    pub fn described(&self) -> impl Iterator<Item = clap::Arg> {
        let flags = self.flags.iter().flat_map(|flags| flags.iter()).filter(|flag| !flag.help.is_empty());
        flags.map(|flag| flag.described())
    }

    /// Understands the arguments after the program's name.
    pub fn parse(&self, arguments: &[String]) -> Result<Request, UsageError> {
        let words = self.words(arguments)?;
        let mut line = Line::default();
        let mut unknown: Vec<&str> = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let (flag, name, attached) = match word {
                Word::End => continue,
                Word::Unknown(text) => {
                    unknown.push(text);
                    continue;
                }
                Word::Text(text) => {
                    match line.positionals.len() < self.positionals.len() {
                        true => line.positionals.push(text.to_owned()),
                        false => unknown.push(text),
                    }
                    continue;
                }
                Word::Flag(flag, name, attached) => (flag, name, attached),
            };
            let (cluster, flag, attached) = self.cluster(flag, name, attached)?;
            let values = match (flag.takes, attached) {
                (Takes::Value(_) | Takes::List(_), Some(value)) => vec![value.to_owned()],
                (Takes::Value(_), None) => match words.next_if(|word| matches!(word, Word::Text(_))) {
                    Some(Word::Text(value)) => vec![value.to_owned()],
                    _ => return Err(self.wrong_value(flag, "expected one argument")),
                },
                (Takes::List(_), None) => {
                    let mut values = Vec::new();
                    while let Some(Word::Text(value)) = words.next_if(|word| matches!(word, Word::Text(_))) {
                        values.push(value.to_owned());
                    }
                    values
                }
                _ => Vec::new(),
            };
            for (flag, values) in cluster.into_iter().map(|flag| (flag, Vec::new())).chain([(flag, values)]) {
                match flag.takes {
                    Takes::Help => return Ok(Request::Help),
                    Takes::Version => return Ok(Request::Version),
                    _ => self.take(&mut line, flag, values)?,
                }
            }
        }
        self.require(&line)?;
        match unknown.is_empty() {
            true => Ok(Request::Work(line)),
            false => Err(self.wrong(format!("unrecognized arguments: {}", unknown.join(" ")))),
        }
    }

    /// Says what is wrong with the value of a flag.
    pub fn wrong_value(&self, flag: &Flag, reason: impl fmt::Display) -> UsageError {
        self.wrong(format!("argument {}: {reason}", flag.shown()))
    }

    /// Says what is wrong with the line.
    pub fn wrong(&self, message: String) -> UsageError {
        UsageError { usage: self.usage(), program: self.program, message }
    }

    fn all(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().flat_map(|flags| flags.iter().copied())
    }

    /// The flag of exactly this name.
    fn named(&self, name: &str) -> Option<(&'static Flag, &'static str)> {
        self.all().find_map(|flag| Some((flag, *flag.names.iter().find(|known| **known == name)?)))
    }

    /// Tells flags from values, before anything is done with either.
    fn words<'a>(&self, arguments: &'a [String]) -> Result<Vec<Word<'a>>, UsageError> {
        let mut words = Vec::with_capacity(arguments.len());
        let mut ended = false;
        for argument in arguments {
            words.push(match argument.as_str() {
                text if ended => Word::Text(text),
                "--" => {
                    ended = true;
                    Word::End
                }
                text => self.word(text)?,
            });
        }
        Ok(words)
    }

    fn word<'a>(&self, text: &'a str) -> Result<Word<'a>, UsageError> {
        if !text.starts_with('-') {
            return Ok(Word::Text(text));
        }
        if let Some((flag, name)) = self.named(text) {
            return Ok(Word::Flag(flag, name, None));
        }
        if text.len() == 1 {
            return Ok(Word::Text(text));
        }
        let (before, value) = match text.split_once('=') {
            Some((before, value)) => (before, Some(value)),
            None => (text, None),
        };
        if let (Some((flag, name)), Some(_)) = (self.named(before), value) {
            return Ok(Word::Flag(flag, name, value));
        }
        let mut meant: Vec<Word<'a>> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for (flag, name) in self.all().flat_map(|flag| flag.names.iter().map(move |name| (flag, *name))) {
            let word = match text.starts_with("--") {
                true => name.starts_with(before).then_some(Word::Flag(flag, name, value)),
                // A short flag with its value, or with further flags.
                false => text
                    .strip_prefix(name)
                    .filter(|_| !name.starts_with("--"))
                    .map(|rest| Word::Flag(flag, name, Some(rest))),
            };
            names.extend(word.is_some().then_some(name));
            meant.extend(word);
        }
        match (meant.pop(), names.as_slice()) {
            (Some(word), [_]) => Ok(word),
            (Some(_), several) => {
                Err(self.wrong(format!("ambiguous option: {text} could match {}", several.join(", "))))
            }
            (None, _) if is_negative_number(text) || text.contains(' ') => Ok(Word::Text(text)),
            (None, _) => Ok(Word::Unknown(text)),
        }
    }

    /// Takes a word like `-zvJ4` apart: the flags without a value, then the last one with what is attached to it.
    fn cluster<'a>(
        &self,
        mut flag: &'static Flag,
        mut name: &'static str,
        mut attached: Option<&'a str>,
    ) -> Result<(Vec<&'static Flag>, &'static Flag, Option<&'a str>), UsageError> {
        let mut before = Vec::new();
        while let (Takes::Nothing | Takes::Help | Takes::Version, Some(rest)) = (flag.takes, attached) {
            let ignored = |flag| self.wrong_value(flag, format!("ignored explicit argument {}", quote(rest)));
            let mut letters = rest.chars();
            let next = letters.next().filter(|_| !name.starts_with("--"));
            let next = next.and_then(|letter| self.named(&format!("-{letter}")));
            before.push(flag);
            (flag, name) = next.ok_or_else(|| ignored(flag))?;
            attached = Some(letters.as_str()).filter(|rest| !rest.is_empty());
        }
        Ok((before, flag, attached))
    }

    fn take(&self, line: &mut Line, flag: &'static Flag, values: Vec<String>) -> Result<(), UsageError> {
        let wrong =
            values.iter().find(|value| !flag.choices.is_empty() && !flag.choices.contains(&value.as_str()));
        if let Some(value) = wrong {
            let choices: Vec<String> = flag.choices.iter().map(|choice| quote(choice)).collect();
            let reason = format!("invalid choice: {} (choose from {})", quote(value), choices.join(", "));
            return Err(self.wrong_value(flag, reason));
        }
        let excludes = |other: &Flag| match (flag.exclusive, other.exclusive) {
            (Some(one), Some(two)) => std::ptr::eq(one, two) && !std::ptr::eq(flag, other),
            _ => false,
        };
        if let Some((other, _)) = line.flags.iter().find(|(other, _)| excludes(other)) {
            return Err(self.wrong_value(flag, format!("not allowed with argument {}", other.shown())));
        }
        line.flags.push((flag, values));
        Ok(())
    }

    fn require(&self, line: &Line) -> Result<(), UsageError> {
        let missing = self.positionals.iter().skip(line.positionals.len());
        let missing: Vec<&str> =
            missing.filter(|positional| positional.required).map(|positional| positional.name).collect();
        if !missing.is_empty() {
            return Err(self.wrong(format!("the following arguments are required: {}", missing.join(", "))));
        }
        for (exclusive, flags) in self.exclusives() {
            let given =
                flags.iter().any(|flag| line.flags.iter().any(|(given, _)| std::ptr::eq(*given, *flag)));
            if exclusive.required && !given {
                let names: Vec<String> = flags.iter().map(|flag| flag.shown()).collect();
                return Err(self.wrong(format!("one of the arguments {} is required", names.join(" "))));
            }
        }
        Ok(())
    }

    /// The groups of flags that exclude each other.
    fn exclusives(&self) -> Vec<(&'static Exclusive, Vec<&'static Flag>)> {
        let mut groups: Vec<(&'static Exclusive, Vec<&'static Flag>)> = Vec::new();
        for flag in self.all() {
            let Some(exclusive) = flag.exclusive else { continue };
            match groups.iter_mut().find(|(known, _)| std::ptr::eq(*known, exclusive)) {
                Some((_, flags)) => flags.push(flag),
                None => groups.push((exclusive, vec![flag])),
            }
        }
        groups
    }

    /// The line that shows how to call the command, broken.
    fn usage(&self) -> String {
        let exclusives = self.exclusives();
        let mut parts: Vec<String> = Vec::new();
        for flag in self.all().filter(|flag| !flag.help.is_empty()) {
            let group = exclusives
                .iter()
                .find(|(known, _)| flag.exclusive.is_some_and(|exclusive| std::ptr::eq(*known, exclusive)));
            match group {
                None => parts.push(format!("[{}]", in_usage(flag))),
                Some((exclusive, flags)) if flags.first().is_some_and(|first| std::ptr::eq(*first, flag)) => {
                    let names: Vec<String> = flags.iter().map(|flag| in_usage(flag)).collect();
                    let names = names.join(" | ");
                    parts.push(if exclusive.required { format!("({names})") } else { format!("[{names}]") });
                }
                Some(_) => {}
            }
        }
        let positionals = self.positionals.iter().map(|positional| match positional.required {
            true => positional.name.to_owned(),
            false => format!("[{}]", positional.name),
        });
        parts.extend(positionals);
        let start = format!("usage: {}", self.program);
        wrapped(&start, start.len() + 1, parts.iter().map(String::as_str))
    }

    /// The help page.
    pub fn help(&self) -> String {
        let mut page = self.usage();
        page.push_str(&format!("\n\n{}\n\npositional arguments:\n", self.about));
        for positional in self.positionals {
            page.push_str(&entry(positional.name, positional.help));
        }
        page.push_str("\noptions:\n");
        for flag in self.all().filter(|flag| !flag.help.is_empty()) {
            let value = flag.value_name().map(|name| format!(" {name}")).unwrap_or_default();
            let names: Vec<String> = flag.names.iter().map(|name| format!("{name}{value}")).collect();
            page.push_str(&entry(&names.join(", "), flag.help));
        }
        page
    }
}

impl Line {
    /// The positional at this place, from 0.
    pub fn positional(&self, place: usize) -> Option<&str> {
        self.positionals.get(place).map(String::as_str)
    }

    /// How often a flag was given.
    pub fn count(&self, flag: &'static Flag) -> usize {
        self.given(flag).count()
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &'static Flag) -> bool {
        self.count(flag) > 0
    }

    /// The value of a flag; the last one counts.
    pub fn value(&self, flag: &'static Flag) -> Option<&str> {
        self.list(flag).first().map(String::as_str)
    }

    /// The values that a flag was given together; the last time counts.
    pub fn list(&self, flag: &'static Flag) -> &[String] {
        self.given(flag).last().unwrap_or_default()
    }

    /// The values of a flag that may be repeated.
    pub fn values(&self, flag: &'static Flag) -> impl Iterator<Item = &str> {
        self.given(flag).flatten().map(String::as_str)
    }

    /// Every flag that was given.
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().map(|(flag, _)| *flag)
    }

    /// The flags and their values as words of another line.
    pub fn flag_words(&self) -> impl Iterator<Item = String> {
        let words = |(flag, values): &(&'static Flag, Vec<String>)| {
            let name = flag.names.last().copied().unwrap_or_default();
            match (flag.takes, values.as_slice()) {
                (Takes::Value(_), [value]) => vec![format!("{name}={value}")],
                _ => std::iter::once(name.to_owned()).chain(values.iter().cloned()).collect(),
            }
        };
        self.flags.iter().flat_map(words)
    }

    fn given(&self, flag: &'static Flag) -> impl Iterator<Item = &[String]> {
        self.flags
            .iter()
            .filter(move |(given, _)| std::ptr::eq(*given, flag))
            .map(|(_, values)| values.as_slice())
    }
}

/// `-5`, `-5.5`, `-.5`.
fn is_negative_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = text.strip_prefix('-') else { return false };
    match number.split_once('.') {
        None => digits(number),
        Some((whole, fraction)) => (whole.is_empty() || digits(whole)) && digits(fraction),
    }
}

fn in_usage(flag: &Flag) -> String {
    let name = flag.names.first().copied().unwrap_or_default();
    flag.value_name().map_or_else(|| name.to_owned(), |value| format!("{name} {value}"))
}

/// Columns of a help page.
const WIDTH: usize = 100;
/// Where the text of a help page begins.
const INDENT: usize = 26;

/// `start` and the words, in lines; all but the first one are indented.
fn wrapped<'a>(start: &str, indent: usize, words: impl Iterator<Item = &'a str>) -> String {
    let mut text = start.to_owned();
    let mut column = start.chars().count();
    for word in words {
        let length = word.chars().count();
        if column + 1 + length > WIDTH && column > indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// An argument and its text on the help page.
fn entry(name: &str, help: &str) -> String {
    let width = INDENT - 1;
    let name = format!("  {name}");
    let (line, start) = match name.chars().count() < width {
        true => (String::new(), format!("{name:<width$}")),
        false => (format!("{name}\n"), " ".repeat(width)),
    };
    format!("{line}{}\n", wrapped(&start, INDENT, help.split_whitespace()))
}
