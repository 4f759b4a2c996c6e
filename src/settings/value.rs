//! The kinds of values a setting can have, and how their text is read.
//!
//! Users bring files written for wal-g, a Go program, so text is read as Go reads it:
//!
//! | kind | accepted | source |
//! |---|---|---|
//! | bool | `1 t T TRUE true True`, `0 f F FALSE false False` | Go `strconv.ParseBool` |
//! | duration | `1m30s`, `1.5h`, `300ms`, `0` | Go `time.ParseDuration`, without a sign |
//! | bytes | `20971520`, and with PostgreSQL's units `20MB` (`kB`, `MB`, `GB`, `TB` are powers of 1024) | manual, 19.1.1 |

use std::time::Duration;

/// What the text of a setting means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Yes or no.
    Bool,
    /// A whole number, zero or more.
    Integer,
    /// A number of bytes.
    Bytes,
    /// A length of time.
    Duration,
    /// A path in the file system.
    Path,
    /// A JSON document.
    Json,
    /// A YAML document.
    Yaml,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// The word for this kind in the settings reference.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Bool => "bool",
            Kind::Integer => "integer",
            Kind::Bytes => "bytes",
            Kind::Duration => "duration",
            Kind::Path => "path",
            Kind::Json => "JSON",
            Kind::Yaml => "YAML",
            Kind::Choice(_) => "word",
        }
    }

    /// Says what is wrong with `text` as a value of this kind. The answer never repeats the text, which may be secret.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Text | Kind::Path => Ok(()),
            Kind::Bool => parse_bool(text).map(drop),
            Kind::Integer => parse_integer(text).map(drop),
            Kind::Bytes => parse_bytes(text).map(drop),
            Kind::Duration => parse_duration(text).map(drop),
            Kind::Json => parse_json(text).map(drop),
            Kind::Yaml => parse_yaml(text).map(drop),
            Kind::Choice(words) => parse_choice(words, text).map(drop),
        }
    }
}

/// Reads a Go boolean.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Reads a whole number, zero or more.
pub fn parse_integer(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number, zero or more".to_owned())
}

/// Reads a number of bytes, with an optional unit of PostgreSQL.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number of bytes, such as 20971520 or 20MB".to_owned();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(|| "the number of bytes is too large".to_owned())
}

/// Reads a Go duration without a sign.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration, such as 30s, 1m30s or 500ms".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = after.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        let (unit, next) = after.split_at_checked(letters).ok_or_else(wrong)?;
        let seconds_per_unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds_per_unit)
            .map_err(|_| "the duration is too long".to_owned())?;
        total = total.checked_add(part).ok_or_else(|| "the duration is too long".to_owned())?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Reads a JSON document.
pub fn parse_json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("expected JSON, which breaks at line {} column {}", error.line(), error.column())
    })
}

/// Reads a YAML document.
pub fn parse_yaml(text: &str) -> Result<serde_json::Value, String> {
    serde_norway::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!("expected YAML, which breaks at line {} column {}", at.line(), at.column()),
        None => "expected YAML".to_owned(),
    })
}

/// A URL without the user and password before its host; any other text as it is.
pub fn without_credentials(text: &str) -> String {
    // A connection string, where the name of a host or a database should be.
    if text.contains("password=") {
        return "(hidden)".to_owned();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.split_at_checked(end) {
        Some((authority, path)) => {
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

/// Finds the word, whatever the case of its letters.
pub fn parse_choice(words: &'static [&'static str], text: &str) -> Result<&'static str, String> {
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied()
        .ok_or_else(|| format!("expected one of {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn booleans_are_go_s() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "on", "tRUE", " true", "2"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_go_s() {
        let cases = [
            ("0", 0),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("2h45m", 9_900_000),
            ("1000µs", 1),
            ("1.s", 1_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "1x", "-1s", "1m 30s", ".s", "1..5s", "1e3s", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_take_postgresql_units() {
        let cases =
            [("0", 0), ("20971520", 20_971_520), ("20MB", 20_971_520), ("1 kB", 1024), ("1mb", 1 << 20)];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "-1", "1.5MB", "1 parsec", "18446744073709551615kB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_lose_their_credentials() {
        let cases = [
            ("https://key:secret@host:9000/a@b", "https://host:9000/a@b"),
            ("https://host", "https://host"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
            ("plain@text", "plain@text"),
        ];
        for (text, shown) in cases {
            assert_eq!(without_credentials(text), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            for kind in [Kind::Bool, Kind::Integer, Kind::Bytes, Kind::Duration, Kind::Json, Kind::Yaml, Kind::Choice(&["a"])] {
                let _ = kind.check(&text);
            }
        }

        #[test]
        fn durations_add_their_parts(minutes in 0u64..10_000, milliseconds in 0u64..100_000) {
            let text = format!("{minutes}m{milliseconds}ms");
            let expected = Duration::from_secs(minutes * 60) + Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&text), Ok(expected));
        }
    }
}
