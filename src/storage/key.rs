//! Names of objects below the root of a repository.
//!
//! A [`Key`] is relative to the configured prefix (`s3://bucket/path`, `/archive`): nothing in seawall can name an
//! object above it. It has no leading slash, no empty component except where a foreign writer made one, and
//! never a `.` or `..` component.

use std::fmt;
use std::str::FromStr;

/// The name of one object, relative to the repository's root: `wal_005/000000010000000000000001.br`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// The beginning of some keys: empty for all of them, else ending in `/` for those in a folder; a [stem](Prefix::stem)
/// ends anywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

/// A text that cannot name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot be an object name: {reason}")]
pub struct InvalidKey {
    text: String,
    reason: &'static str,
}

impl Key {
    /// Parses a key. The inverse of `Display`.
    pub fn parse(text: &str) -> Result<Key, InvalidKey> {
        let invalid = |reason| InvalidKey { text: text.escape_debug().to_string(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.ends_with('/') {
            return Err(invalid("it ends in a slash"));
        }
        check_components(text).map_err(invalid)?;
        Ok(Key(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The key below `prefix`, `None` when it lies elsewhere.
    pub fn below<'a>(&'a self, prefix: &Prefix) -> Option<&'a str> {
        self.0.strip_prefix(prefix.as_str())
    }
}

impl Prefix {
    /// The prefix of every key.
    pub fn root() -> Prefix {
        Prefix(String::new())
    }

    /// Parses a prefix: empty, or components separated by slashes; a final slash is added when missing.
    pub fn parse(text: &str) -> Result<Prefix, InvalidKey> {
        if text.is_empty() {
            return Ok(Prefix::root());
        }
        let invalid = |reason| InvalidKey { text: text.escape_debug().to_string(), reason };
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        check_components(trimmed).map_err(invalid)?;
        Ok(Prefix(format!("{trimmed}/")))
    }

    /// The prefix of all keys that begin with this text, such as a file's with whatever extension.
    pub fn stem(text: &str) -> Result<Prefix, InvalidKey> {
        Key::parse(text).map(|key| Prefix(key.0))
    }

    /// The prefix as text; a folder's with its final slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key `name` below this prefix.
    pub fn key(&self, name: &str) -> Result<Key, InvalidKey> {
        Key::parse(&format!("{}{name}", self.0))
    }

    /// The prefix `name/` below this one.
    pub fn child(&self, name: &str) -> Result<Prefix, InvalidKey> {
        Prefix::parse(&format!("{}{name}", self.0))
    }
}

fn check_components(text: &str) -> Result<(), &'static str> {
    if text.starts_with('/') {
        return Err("it starts with a slash");
    }
    if text.contains('\0') {
        return Err("it contains a zero byte");
    }
    if text.split('/').any(|component| component == "." || component == "..") {
        return Err("it has a `.` or `..` component");
    }
    Ok(())
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Key, InvalidKey> {
        Key::parse(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_could_leave_the_prefix() {
        for text in ["", "/a", "a/../b", "..", "./a", "a/.", "a\0b", "a/"] {
            assert!(Key::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn joins_and_splits() {
        let prefix = Prefix::parse("basebackups_005").unwrap();
        let key = prefix.key("base_000000010000000000000002/metadata.json").unwrap();
        assert_eq!(key.file_name(), "metadata.json");
        assert_eq!(key.below(&prefix), Some("base_000000010000000000000002/metadata.json"));
        assert_eq!(key.below(&Prefix::parse("wal_005").unwrap()), None);
        assert_eq!(Prefix::root().child("a").unwrap().as_str(), "a/");
    }

    proptest! {
        #[test]
        fn display_is_the_inverse_of_parse(text in ".*") {
            if let Ok(key) = Key::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
