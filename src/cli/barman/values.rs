//! Values of flags, as barman reads them.

use std::path::PathBuf;

use crate::layout::barman::{BackupId, quote};
use crate::ops::backup_fetch::MovedTablespace;
use crate::pg::TimelineId;
use crate::storage::s3::Tag;

/// The longest key and value of a tag, and what they may hold beside letters and digits (S3's rules, and barman's).
const TAG_KEY_CHARS: usize = 128;
const TAG_VALUE_CHARS: usize = 256;
const TAG_PUNCTUATION: &str = "_.:/=+-@";

/// A whole number as Python's `int` reads one: with a sign, blanks around it and `_` between digits.
pub fn integer(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid int value: '{text}'");
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let fits = |digit: &str| !digit.is_empty() && digit.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(fits) {
        return Err(invalid());
    }
    trimmed.replace('_', "").parse().map_err(|_| invalid())
}

/// A whole number from 1 on.
pub fn positive(text: &str) -> Result<u64, String> {
    let number = integer(text).map_err(|_| format!("'{text}' is not a valid input"))?;
    u64::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("'{text}' is not a valid positive integer"))
}

/// A whole number from 1 to `most`.
pub fn up_to(text: &str, most: u64) -> Result<u64, String> {
    let number = integer(text).map_err(|_| format!("'{text}' is not a valid input"))?;
    let number = u64::try_from(number).ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("'{text}' is not from 1 to {most}"))
}

/// A timeline.
pub fn timeline(text: &str) -> Result<TimelineId, String> {
    let number = u32::try_from(positive(text)?).ok().and_then(TimelineId::new);
    number.ok_or_else(|| format!("'{text}' is not the number of a timeline"))
}

/// A whole number from 0 on.
pub fn non_negative(text: &str) -> Result<u64, String> {
    let number = integer(text).ok().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("'{text}' is not a valid non negative integer"))
}

/// A size in bytes: a number, or with a unit in any case. `KB`, `MB` … are powers of 1024 and `KiB`, `MiB` … of 1000:
/// barman has them the wrong way round, and stored backups are cut by that.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: &str = "KMGTPEZY";
    let upper = text.to_ascii_uppercase();
    let invalid = || format!("'{upper}' is not a valid size string");
    let Some(number) = upper.strip_suffix('B') else {
        return bytes(integer(&upper).map_err(|_| invalid())? as f64).ok_or_else(invalid);
    };
    let (number, base) = match number.strip_suffix('I') {
        Some(number) => (number, 1000_f64),
        None => (number, 1024_f64),
    };
    let unit = number.chars().last().and_then(|unit| UNITS.find(unit));
    let (number, factor) = match unit {
        Some(power) => {
            let number = number.get(..number.len() - 1).unwrap_or_default().trim();
            let number: f64 = number.parse().map_err(|_| invalid())?;
            (number, base.powi(i32::try_from(power).unwrap_or(i32::MAX) + 1))
        }
        None => (integer(number).map_err(|_| invalid())? as f64, 1.0),
    };
    if !number.is_finite() {
        return Err(invalid());
    }
    bytes(number * factor).ok_or_else(invalid)
}

/// Whole bytes, at least one. What is beyond every disk is as good as the largest number there is.
#[expect(
    clippy::cast_possible_truncation,
    reason = "fractions of a byte are dropped, and what is too large saturates"
)]
fn bytes(number: f64) -> Option<u64> {
    (number >= 1.0).then_some(number as u64)
}

/// The timeline of `--target-tli`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetTimeline {
    /// This one.
    Number(TimelineId),
    /// The highest of the archive.
    Latest,
    /// The backup's own, which means nothing as long as none is chosen.
    Current,
}

/// A number, `latest` or `current`.
pub fn target_timeline(text: &str) -> Result<TargetTimeline, String> {
    match text {
        "latest" => Ok(TargetTimeline::Latest),
        "current" => Ok(TargetTimeline::Current),
        number => timeline(number).map(TargetTimeline::Number),
    }
}

/// Words that mean a backup wherever an id or a name can stand.
const RESERVED_NAMES: [&str; 8] =
    ["latest", "last", "oldest", "first", "last-failed", "latest-full", "last-full", "auto"];

/// The name of a new backup: nothing that would be taken for something else.
pub fn backup_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("Backup name cannot be empty".to_owned());
    }
    if text.parse::<BackupId>().is_ok() {
        return Err(format!("Backup name '{text}' is not allowed: backup ID"));
    }
    if RESERVED_NAMES.contains(&text) {
        return Err(format!("Backup name '{text}' is not allowed: reserved word"));
    }
    // It is a line of backup.info.
    match text.contains(['\n', '\r']) || text.trim() != text {
        true => {
            Err(format!("Backup name {} is not allowed: blanks around it or a line feed in it", quote(text)))
        }
        false => Ok(text.to_owned()),
    }
}

/// Where a tablespace goes: `NAME:LOCATION`.
pub fn tablespace(text: &str) -> Result<MovedTablespace, String> {
    let (name, location) =
        text.split_once(':').ok_or_else(|| format!("{} is not NAME:LOCATION", quote(text)))?;
    Ok(MovedTablespace { name: name.to_owned(), location: PathBuf::from(location) })
}

/// A tag of `--tag`: what stands before the first comma, and after it. Checked, since the service would refuse it
/// much later.
pub fn tag(text: &str) -> Result<Tag, String> {
    let (key, value) = text.split_once(',').ok_or_else(|| format!("'{text}' is not KEY,VALUE"))?;
    let (key, value) = (key.trim(), value.trim());
    if !(1..=TAG_KEY_CHARS).contains(&key.chars().count()) {
        return Err(format!("the key of tag '{text}' has not 1 to {TAG_KEY_CHARS} characters"));
    }
    if value.chars().count() > TAG_VALUE_CHARS {
        return Err(format!("the value of tag '{text}' has more than {TAG_VALUE_CHARS} characters"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(format!("the key of tag '{text}' begins with aws:, which is reserved"));
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || TAG_PUNCTUATION.contains(c);
    match key.chars().chain(value.chars()).find(|c| !allowed(*c)) {
        Some(other) => Err(format!("tag '{text}' holds '{}', which a tag may not", other.escape_debug())),
        None => Ok(Tag { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// A tag of `--tags`: a line of CSV with two fields.
pub fn csv_tag(text: &str) -> Result<Tag, String> {
    match <[String; 2]>::try_from(csv_fields(text)) {
        Ok([key, value]) => Ok(Tag { key, value }),
        Err(_) => Err(format!("'{text}' is not KEY,VALUE")),
    }
}

/// The fields of a line of CSV. A field that begins with a quote ends with one, and has each of its own doubled.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        let mut field = String::new();
        let mut quoted = characters.next_if_eq(&'"').is_some();
        let more = loop {
            match characters.next() {
                None => break false,
                Some('"') if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
                Some('"') if quoted => quoted = false,
                Some(',') if !quoted => break true,
                Some(other) => field.push(other),
            }
        };
        fields.push(field);
        if !more {
            return fields;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, number) in [("4", Some(4)), (" +1_000 ", Some(1000)), ("-3", Some(-3))] {
            assert_eq!(integer(text).ok(), number, "{text}");
        }
        for text in ["", "x", "1.0", "1__0", "_1", "- 1", "--1", "99999999999999999999"] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert_eq!(positive("2"), Ok(2));
        assert_eq!(positive("0"), Err("'0' is not a valid positive integer".to_owned()));
        assert_eq!(positive("x"), Err("'x' is not a valid input".to_owned()));
        assert_eq!(non_negative("0"), Ok(0));
        assert_eq!(non_negative("-1"), Err("'-1' is not a valid non negative integer".to_owned()));
    }

    /// Each was given to barman's own function.
    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("100GB", 107_374_182_400),
            ("5MB", 5 << 20),
            ("5mib", 5_000_000),
            ("1.5gb", 3 << 29),
            ("20971520", 20 << 20),
            ("1234B", 1234),
            ("10IB", 10),
            ("1e1KB", 10240),
            (" 7 ", 7),
            ("9EB", 9 << 60),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "B", "MB", "x", "1.5", "1.5B", "0", "0KB", "-1", "-5MB", "infGB", "nanGB", "1QB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_backups() {
        assert_eq!(backup_name("backup-20261121100000").as_deref(), Ok("backup-20261121100000"));
        for bad in ["", "latest", "auto", "last-full", "20261121T100000", "a\nb", " a"] {
            assert!(backup_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_of_tablespaces() {
        let fast = MovedTablespace { name: "fast".to_owned(), location: PathBuf::from("/a:b") };
        assert_eq!(tablespace("fast:/a:b"), Ok(fast));
        assert!(tablespace("/a").is_err());
    }

    #[test]
    fn tags() {
        let tag_of = |key: &str, value: &str| Ok(Tag { key: key.to_owned(), value: value.to_owned() });
        assert_eq!(tag(" backup , daily run "), tag_of("backup", "daily run"));
        assert_eq!(tag("owner,"), tag_of("owner", ""));
        let long = "x".repeat(129);
        for bad in ["", "key", ",v", "k,a,b", "aws:x,v", "AWS:x,v", "k,ä", "k,a&b", &format!("{long},v")] {
            assert!(tag(bad).is_err(), "{bad}");
        }
        assert_eq!(csv_tag("a,b c"), tag_of("a", "b c"));
        assert_eq!(csv_tag(r#""a,b","say ""yes""""#), tag_of("a,b", r#"say "yes""#));
        assert_eq!(csv_tag("a, b"), tag_of("a", " b"));
        for bad in ["", "a", "a,b,c", r#""a,b""#] {
            assert!(csv_tag(bad).is_err(), "{bad}");
        }
    }
}
