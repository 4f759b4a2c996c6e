//! libpq's connection URIs: `postgresql://user:password@host:5433,other/database?sslmode=require`. Source: the manual's chapter
//! "Connection Strings" of libpq, `conninfo_uri_parse_options` in `fe-connect.c`.
//!
//! | part | |
//! |---|---|
//! | scheme | `postgresql` or `postgres` |
//! | user, password | up to the first `@`, apart by `:`; all may be left out |
//! | hosts | a list with commas, each with a port after `:`; an address of IPv6 in brackets; `%2Frun%2Fpg` is a socket's directory |
//! | database | after `/` |
//! | parameters | after `?`, apart by `&`, by libpq's keywords; `ssl=true` is `sslmode=require` |
//!
//! Every part may have characters as `%` and two hexadecimal digits. libpq takes more: a `/` in the middle of a password ends it
//! there, and the rest would be the name of a database, which is shown. So `@` has to be written as `%40` in all that follows the
//! hosts, and a port is digits. No message holds anything of the text but a keyword.

use super::connection_string::{InvalidConnectionString, KNOWN, Keywords};

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Reads a URI.
pub(super) fn parse(text: &str) -> Result<Keywords, InvalidConnectionString> {
    let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        return Err(invalid("a URI begins with postgresql://"));
    };
    let mut keywords = Keywords::default();
    let (user, rest) = match rest.split_once(['@', '/']) {
        Some((user, after)) if rest.as_bytes().get(user.len()) == Some(&b'@') => (user, after),
        _ => ("", rest),
    };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (hosts, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if rest.contains('@') {
        return Err(invalid(NOT_ESCAPED));
    }
    let (hosts, ports) = places(hosts)?;
    let (database, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let database = database.strip_prefix('/').unwrap_or_default();
    for (keyword, value) in
        [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", database)]
    {
        if !value.is_empty() {
            keywords = keywords.with(keyword, decoded(value)?);
        }
    }
    parameters.split('&').filter(|parameter| !parameter.is_empty()).try_fold(keywords, with_parameter)
}

fn with_parameter(keywords: Keywords, parameter: &str) -> Result<Keywords, InvalidConnectionString> {
    let (keyword, value) =
        parameter.split_once('=').ok_or_else(|| invalid("a parameter of the URI without `=`"))?;
    if value.contains('=') {
        return Err(invalid("a parameter of the URI has `=` in its value; write it as %3D"));
    }
    let (keyword, value) = (decoded(keyword)?, decoded(value)?);
    match keyword.as_str() {
        // As JDBC says it.
        "ssl" if value == "true" => Ok(keywords.with("sslmode", "require")),
        known if KNOWN.contains(&known) => Ok(keywords.with(known, value)),
        word if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            Err(invalid(&format!("`{word}` is unknown or not supported")))
        }
        _ => Err(invalid(NOT_ESCAPED)),
    }
}

/// The hosts and the ports of a list, as the keywords have them.
fn places(list: &str) -> Result<(String, String), InvalidConnectionString> {
    let places: Vec<(&str, &str)> = list.split(',').map(place).collect::<Result<_, _>>()?;
    let (hosts, ports): (Vec<&str>, Vec<&str>) = places.into_iter().unzip();
    let ports = match ports.iter().all(|port| port.is_empty()) {
        true => String::new(),
        false => ports.join(","),
    };
    Ok((hosts.join(","), ports))
}

/// A host and its port, which may be empty.
fn place(text: &str) -> Result<(&str, &str), InvalidConnectionString> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(address) => {
            let (address, rest) = address.split_once(']').ok_or_else(|| invalid(NOT_ESCAPED))?;
            (address, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port,
        None if rest.is_empty() => "",
        None => return Err(invalid(NOT_ESCAPED)),
    };
    match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok((host, port)),
        false => Err(invalid(NOT_ESCAPED)),
    }
}

/// The text with each `%` and its two digits as the byte that they mean.
fn decoded(text: &str) -> Result<String, InvalidConnectionString> {
    let wrong = || invalid("a `%` of the URI is not followed by two hexadecimal digits that are text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                u8::try_from(high * 16 + low).ok().filter(|byte| *byte != 0).ok_or_else(wrong)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// What somebody has done who has not written a password as a URI wants it.
const NOT_ESCAPED: &str = "a part of the URI is not understood; in a name or a password write @ as %40, / as %2F, : as %3A, ? as %3F";

fn invalid(reason: &str) -> InvalidConnectionString {
    InvalidConnectionString(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each says was compared with libpq's (`PQconninfoParse`, 17).
    #[test]
    fn uris() {
        let cases: [(&str, &[(&str, &str)]); 11] = [
            ("postgresql://", &[]),
            ("postgres://db", &[("host", "db")]),
            (
                "postgresql://me@db:5433/app",
                &[("dbname", "app"), ("host", "db"), ("port", "5433"), ("user", "me")],
            ),
            ("postgresql://me:p%40%2F%3a%25@db/", &[("host", "db"), ("password", "p@/:%"), ("user", "me")]),
            ("postgresql://:p@db", &[("host", "db"), ("password", "p")]),
            ("postgresql://a:1,b/x", &[("dbname", "x"), ("host", "a,b"), ("port", "1,")]),
            ("postgresql://[::1]:5433,[fe80::1]", &[("host", "::1,fe80::1"), ("port", "5433,")]),
            ("postgresql://%2Frun%2Fpg/x", &[("dbname", "x"), ("host", "/run/pg")]),
            (
                "postgresql:///x?host=/run/pg&port=1&user=me",
                &[("dbname", "x"), ("host", "/run/pg"), ("port", "1"), ("user", "me")],
            ),
            ("postgresql://db?ssl=true", &[("host", "db"), ("sslmode", "require")]),
            (
                "postgresql://db?options=-c%20a%3Db&dbname=y",
                &[("dbname", "y"), ("host", "db"), ("options", "-c a=b")],
            ),
        ];
        for (text, expected) in cases {
            let keywords = Keywords::parse(text).unwrap().into_map();
            let keywords: Vec<_> =
                keywords.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())).collect();
            assert_eq!(keywords, expected, "{text}");
        }
    }

    #[test]
    fn what_may_be_of_a_password_is_not_shown() {
        for text in [
            "mysql://bob:hidden@db/x",
            "postgresql://bob:hidden/1@db/x",
            "postgresql://bob:1/hidden@db/x",
            "postgresql://bob:1/x?hidden@db",
            "postgresql://bob:hidden:1",
            "postgresql://bob:%4hidden@db/x",
            "postgresql://bob:%00hidden@db/x",
            "postgresql://bob:%FFhidden@db/x",
            "postgresql://[hidden",
            "postgresql://[::1]hidden",
            "postgresql://db?hidden",
            "postgresql://db?Hidden=1",
            "postgresql://db?user=hidden=1",
            "postgresql://db?a%3Dhidden=1",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.to_lowercase().contains("hidden"), "{text}: {error}");
        }
        let error = parse("postgresql://db?colour=red").unwrap_err().to_string();
        assert!(error.contains("`colour`"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*|[a-z@:/?&=%,\\[\\]0-9]*") {
            let _ = parse(&format!("postgresql://{text}"));
        }

        #[test]
        fn any_password_can_be_escaped(password in "[^\0]+") {
            let escaped: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let keywords = parse(&format!("postgresql://me:{escaped}@db:1/x?user=you")).unwrap();
            prop_assert_eq!(keywords.get("password"), Some(password.as_str()));
            prop_assert_eq!(keywords.get("user"), Some("you"));
        }
    }
}
