//! libpq's connection strings: `host=/run/pg user='o''neil'` … Source: the manual's chapter "Connection Strings" of libpq,
//! `conninfo_parse` in `fe-connect.c`.
//!
//! Values with blanks stand in single quotes; a backslash takes the special meaning of the next character. The other form
//! is a URI (`connection_uri`).
//!
//! What is not understood may be a part of a password, and is not shown.

use std::collections::BTreeMap;
use std::fmt;

use super::connection_uri;

/// Parameters of a connection, by libpq's keywords. `Debug` shows the keywords alone: one value may be a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keywords(BTreeMap<String, String>);

impl fmt::Debug for Keywords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The keywords that mean something here.
pub(super) const KNOWN: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "passfile",
    "password",
    "port",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// A text that is no connection string. It holds no value of it: one may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read connection string: {0}")]
pub struct InvalidConnectionString(pub(super) String);

impl Keywords {
    /// Reads a connection string. Of a keyword that is given twice the last value counts.
    pub fn parse(text: &str) -> Result<Keywords, InvalidConnectionString> {
        let mut keywords = Keywords::default();
        let mut rest = text.trim_start();
        if is_uri(rest) {
            return connection_uri::parse(rest.trim_end());
        }
        while !rest.is_empty() {
            let (keyword, after) = rest
                .split_once('=')
                .ok_or_else(|| InvalidConnectionString("a keyword without `=`".to_owned()))?;
            let keyword = keyword.trim_end();
            if !KNOWN.contains(&keyword) {
                return Err(InvalidConnectionString(match keywords.may_go_on_with(keyword) {
                    true => format!("`{keyword}` is unknown or not supported"),
                    false => {
                        "a part of it is not understood; quote a value with blanks: password='a b'".to_owned()
                    }
                }));
            }
            let (value, after) = value(after.trim_start())
                .ok_or_else(|| InvalidConnectionString(format!("the quotes of `{keyword}` do not end")))?;
            keywords.0.insert(keyword.to_owned(), value);
            rest = after.trim_start();
        }
        Ok(keywords)
    }

    /// Whether this looks like a keyword, and cannot be the rest of a password that should have been quoted.
    fn may_go_on_with(&self, keyword: &str) -> bool {
        let is_word =
            !keyword.is_empty() && keyword.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_word && !self.0.contains_key("password")
    }

    /// With this value, in place of an earlier one.
    pub fn with(mut self, keyword: &str, value: impl Into<String>) -> Keywords {
        self.0.insert(keyword.to_owned(), value.into());
        self
    }

    /// The value of a keyword.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str)
    }

    /// All of them.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Whether the text, where the name of a database may be, is a connection string: `recognized_connection_string` in
/// `fe-connect.c`.
pub fn is_connection_string(text: &str) -> bool {
    is_uri(text) || text.contains('=')
}

/// Of any scheme: others than libpq's two belong to other programs, and hold passwords as well.
pub(super) fn is_uri(text: &str) -> bool {
    let end_of_scheme = |byte: char| !byte.is_ascii_alphanumeric() && !"+-._".contains(byte);
    text.split_once(end_of_scheme).is_some_and(|(scheme, _)| {
        !scheme.is_empty() && text.get(scheme.len()..).is_some_and(|rest| rest.starts_with("://"))
    })
}

/// The name of a host or a database for messages. One that may be a URI, or the end of one, or a connection string, may
/// hold a password.
pub(super) fn shown(name: &str) -> &str {
    match name.contains(['@', '=']) || name.contains("://") {
        true => NOT_SHOWN,
        false => name,
    }
}

/// The name of a user for messages: one may have been given with its password.
pub(super) fn shown_user(name: &str) -> &str {
    if name.contains(':') { NOT_SHOWN } else { shown(name) }
}

const NOT_SHOWN: &str = "(not shown)";

/// The value at the beginning of `text`, and what follows it; `None` when its quotes do not end.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices();
    if quoted {
        characters.next();
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, characters.as_str())),
            blank if !quoted && blank.is_ascii_whitespace() => return Some((value, text.get(at..)?)),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn connection_strings() {
        let cases: [(&str, &[(&str, &str)]); 7] = [
            ("", &[]),
            ("host=/run/pg user=me", &[("host", "/run/pg"), ("user", "me")]),
            (" host = db\n port=  5433 ", &[("host", "db"), ("port", "5433")]),
            (r"user='o\'neil' dbname='a b'port=1", &[("dbname", "a b"), ("port", "1"), ("user", "o'neil")]),
            (r"password=a\ b\\", &[("password", r"a b\")]),
            ("user=a user=b", &[("user", "b")]),
            ("host='' dbname=x=y", &[("dbname", "x=y"), ("host", "")]),
        ];
        for (text, expected) in cases {
            let keywords = Keywords::parse(text).unwrap().into_map();
            let keywords: Vec<_> =
                keywords.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())).collect();
            assert_eq!(keywords, expected, "{text}");
        }
        for text in ["host", "host=a b", "user='x", "colour=red", "= x"] {
            assert!(Keywords::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_may_be_of_a_password_is_not_shown() {
        for text in [
            "postgresql+psycopg2://bob:hidden@db/x?sslmode=require",
            "POSTGRES://bob:hidden@db/x?sslmode=require",
            "bob:hidden@db/x?sslmode=require",
            "host=db password=a hidden=1",
            "password=a hidden",
            "Hidden=1",
        ] {
            let error = Keywords::parse(text).unwrap_err().to_string();
            assert!(!error.to_lowercase().contains("hidden"), "{error}");
        }
        let error = Keywords::parse("host=db colour=red").unwrap_err().to_string();
        assert!(error.contains("`colour`"), "{error}");
        for (name, is) in
            [("a://b", true), ("postgres+x://", true), ("://", false), ("a:/b", false), ("a b://", false)]
        {
            assert_eq!(is_uri(name), is, "{name}");
        }
    }

    #[test]
    fn values_are_not_shown() {
        let keywords = Keywords::parse("host=db password=hidden").unwrap();
        assert_eq!(format!("{keywords:?}"), r#"{"host", "password"}"#);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[a-z =\\\\']*") {
            let _ = Keywords::parse(&text);
        }

        #[test]
        fn any_value_can_be_quoted(value in "\\PC*") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let keywords = Keywords::parse(&format!("host=db password='{quoted}' port=1")).unwrap();
            prop_assert_eq!(keywords.get("password"), Some(value.as_str()));
        }
    }
}
