//! The configuration file: a flat map from names to values, in one of four formats.
//!
//! | found | format by extension |
//! |---|---|
//! | `--config FILE`, else `WALG_CONFIG_PATH` | `.json`, `.yaml` `.yml`, `.toml`, `.env` |
//! | else the first of `~/.walg.json`, `.toml`, `.yaml`, `.yml`, `.env` (the order of wal-g's library, viper), in `$HOME`, then in the home directory of passwd | |
//!
//! Unlike wal-g, which warns and goes on without its keys, a file that was named and is missing, or that cannot be
//! read or parsed, is an error: it may hold the encryption key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::Error;

/// A configuration file, read.
#[derive(Debug)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its entries, in the order of the file.
    pub entries: Vec<Entry>,
}

/// One entry of a configuration file.
#[derive(Debug)]
pub struct Entry {
    /// The key, as written.
    pub key: String,
    /// The value.
    pub value: EntryValue,
}

/// The value of an entry. Any of them may be a secret.
#[derive(Debug)]
pub enum EntryValue {
    /// A text, whole number or boolean, as text.
    Text(SecretString),
    /// A number that was written with a fraction or exponent: digits may have been lost (an unquoted key is read as a number).
    Fraction(SecretString),
    /// A list or map, as JSON.
    Nested(SecretString),
}

/// The names in the home directory, in the order in which they are looked for.
pub const HOME_NAMES: [&str; 5] = [".walg.json", ".walg.toml", ".walg.yaml", ".walg.yml", ".walg.env"];

/// The file of the home directory, if there is one. An error only when it could not be found out.
pub fn find_in_home(home: &Path) -> io::Result<Option<PathBuf>> {
    for name in HOME_NAMES {
        let path = home.join(name);
        match fs::metadata(&path) {
            Ok(_) => return Ok(Some(path)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The entries of a text, or why it cannot be parsed.
type Parse = fn(&str) -> Result<Vec<Entry>, String>;

/// Reads and parses a configuration file.
pub fn read(path: &Path) -> Result<ConfigFile, Error> {
    let unreadable = |source| Error::ReadFile { path: path.to_owned(), source };
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    let (format, parse): (_, Parse) = match extension.as_deref() {
        Some("json") => ("JSON", parse_json),
        Some("yaml" | "yml") => ("YAML", parse_yaml),
        Some("toml") => ("TOML", parse_toml),
        Some("env") => ("environment lines", parse_env),
        _ => {
            // One that is not there has another fault than its name.
            fs::metadata(path).map_err(unreadable)?;
            return Err(Error::UnknownFormat { path: path.to_owned() });
        }
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let entries =
        parse(&text).map_err(|detail| Error::ParseFile { path: path.to_owned(), format, detail })?;
    Ok(ConfigFile { path: path.to_owned(), entries })
}

const NOT_A_MAP: &str = "expected a map from names to values";

fn parse_json(text: &str) -> Result<Vec<Entry>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let serde_json::Value::Object(map) = value else { return Err(NOT_A_MAP.to_owned()) };
    Ok(map.into_iter().filter_map(|(key, value)| entry(key, value)).collect())
}

fn parse_yaml(text: &str) -> Result<Vec<Entry>, String> {
    let value: serde_json::Value = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    match value {
        serde_json::Value::Object(map) => {
            Ok(map.into_iter().filter_map(|(key, value)| entry(key, value)).collect())
        }
        serde_json::Value::Null => Ok(Vec::new()),
        _ => Err(NOT_A_MAP.to_owned()),
    }
}

fn parse_toml(text: &str) -> Result<Vec<Entry>, String> {
    // Only the message: the error's own text quotes the line, which may hold a secret.
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.lines().count().max(1), error.message())
    })?;
    let entry = |(key, value)| match serde_json::to_value::<toml::Value>(value) {
        Ok(value) => Ok(entry(key, value)),
        Err(_) => Err(format!("the value of {key} cannot be used")),
    };
    table.into_iter().map(entry).filter_map(Result::transpose).collect()
}

fn entry(key: String, value: serde_json::Value) -> Option<Entry> {
    let value = match value {
        serde_json::Value::Null => return None,
        serde_json::Value::String(text) => EntryValue::Text(text.into()),
        serde_json::Value::Bool(value) => EntryValue::Text(value.to_string().into()),
        serde_json::Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            // In Rust's own form, in which 4.0 is 4 and 1e6 is 1000000.
            Some(float) => EntryValue::Fraction(float.to_string().into()),
            None => EntryValue::Text(number.to_string().into()),
        },
        nested => EntryValue::Nested(nested.to_string().into()),
    };
    Some(Entry { key, value })
}

/// `NAME=value` per line; `export` before it, `#` comments, and quotes around the value as in a shell.
fn parse_env(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) =
            line.split_once('=').ok_or_else(|| format!("line {number}: expected NAME=value"))?;
        let value = unquote(value.trim()).ok_or_else(|| format!("line {number}: the quote is not closed"))?;
        entries.push(Entry { key: key.trim().to_owned(), value: EntryValue::Text(value.into()) });
    }
    Ok(entries)
}

/// The text inside the quotes; unquoted text up to a ` #` comment. `None` when a quote is not closed.
fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.split_once('\'').map(|(inside, _)| inside.to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return value.get(..end).map(|text| text.trim_end().to_owned());
    };
    let mut inside = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(inside),
            '\\' => match characters.next()? {
                'n' => inside.push('\n'),
                other => inside.push(other),
            },
            other => inside.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn flat(entries: Vec<Entry>) -> Vec<(String, String)> {
        let text = |value| match value {
            EntryValue::Text(text) => text.expose_secret().to_owned(),
            EntryValue::Fraction(text) => format!("fraction {}", text.expose_secret()),
            EntryValue::Nested(text) => format!("nested {}", text.expose_secret()),
        };
        entries.into_iter().map(|entry| (entry.key, text(entry.value))).collect()
    }

    #[test]
    fn every_format_reads_the_same() {
        type Parse = fn(&str) -> Result<Vec<Entry>, String>;
        let cases: [(&str, Parse, &str); 4] = [
            ("json", parse_json, r#"{"A":"x","B":true,"C":5,"D":null}"#),
            ("yaml", parse_yaml, "A: x\nB: true\nC: 5\nD:\n"),
            ("toml", parse_toml, "A = 'x'\nB = true\nC = 5\n"),
            ("env", parse_env, "# all\nA=x\nexport B=true\n\nC = 5 # five\n"),
        ];
        for (name, parse, text) in cases {
            let expected = [("A", "x"), ("B", "true"), ("C", "5")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(parse(text).map(flat), Ok(expected.to_vec()), "{name}");
        }
    }

    #[test]
    fn quotes_of_env_lines() {
        let cases = [
            ("A='x # y'", Some("x # y")),
            (r#"A="x\n\"y\"""#, Some("x\n\"y\"")),
            ("A=x#y", Some("x#y")),
            ("A=", Some("")),
            ("A='x", None),
            ("A", None),
        ];
        for (line, value) in cases {
            let read = parse_env(line).ok().map(flat);
            assert_eq!(read, value.map(|value| vec![("A".to_owned(), value.to_owned())]), "{line}");
        }
    }

    #[test]
    fn numbers_that_lose_digits_and_nested_values_are_told_apart() {
        let read = parse_yaml("A: 1e5\nB: {x: [1]}\nC: 4.0\nD: 0.50\n").map(flat);
        let expected = [
            ("A", "fraction 100000"),
            ("B", r#"nested {"x":[1]}"#),
            ("C", "fraction 4"),
            ("D", "fraction 0.5"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(read, Ok(expected.to_vec()));
    }

    #[test]
    fn a_broken_file_does_not_show_its_values() {
        let directory = tempfile::tempdir().unwrap();
        let cases = [
            ("a.json", r#"{"WALG_LIBSODIUM_KEY": "sesame" "#),
            ("a.toml", "WALG_LIBSODIUM_KEY = sesame\n"),
            ("a.yaml", "WALG_LIBSODIUM_KEY: \"sesame\n"),
            ("b.yaml", "- sesame\n"),
            ("a.env", "WALG_LIBSODIUM_KEY='sesame\n"),
            ("a.txt", "WALG_LIBSODIUM_KEY=sesame\n"),
        ];
        for (name, text) in cases {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(name) && !shown.contains("sesame"), "{shown}");
        }
    }

    #[test]
    fn the_home_directory_may_hold_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(find_in_home(home.path()).unwrap(), None);
        assert_eq!(find_in_home(Path::new("/nonexistent/home")).unwrap(), None);
        fs::write(home.path().join(".walg.yaml"), "").unwrap();
        fs::write(home.path().join(".walg.json"), "{}").unwrap();
        assert_eq!(find_in_home(home.path()).unwrap(), Some(home.path().join(".walg.json")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            for parse in [parse_json, parse_yaml, parse_toml, parse_env] {
                let _ = parse(&text);
            }
        }
    }
}
