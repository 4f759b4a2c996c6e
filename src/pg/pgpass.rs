//! The password file and the connection service file of libpq.
//!
//! | file | line | rules |
//! |---|---|---|
//! | `~/.pgpass` | `host:port:database:user:password` | `*` matches anything, backslash escapes, first match counts |
//! | `~/.pg_service.conf` | `[service]`, then `keyword=value` | first section of that name counts |
//!
//! Source: `interfaces/libpq/fe-connect.c`, `passwordFromFile` and `parseServiceFile`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

/// The lines of a password file.
#[derive(Debug, Clone, Default)]
pub(super) struct PasswordFile {
    entries: Vec<PasswordEntry>,
}

#[derive(Debug, Clone)]
struct PasswordEntry {
    /// Host, port, database and user, unescaped; `None` for `*`.
    keys: [Option<String>; 4],
    password: SecretString,
}

impl PasswordFile {
    /// Reads a password file; one that is absent, or that others may read, holds no passwords.
    ///
    /// As in libpq, a file with any permission for group or others is passed over with a warning.
    pub(super) fn read(path: &Path) -> PasswordFile {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                tracing::warn!(path = %path.display(), "password file ignored: not a plain file");
            }
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                tracing::warn!(path = %path.display(), "password file ignored: others have access, mode must be 0600");
            }
            Ok(_) => match fs::read_to_string(path) {
                Ok(text) => return PasswordFile::parse(&text),
                Err(error) => tracing::warn!(path = %path.display(), %error, "password file ignored"),
            },
            Err(error) => tracing::debug!(path = %path.display(), %error, "no password file"),
        }
        PasswordFile::default()
    }

    fn parse(text: &str) -> PasswordFile {
        PasswordFile { entries: text.lines().filter_map(parse_password_line).collect() }
    }

    /// The password of the first line that fits.
    pub(super) fn find(&self, host: &str, port: u16, database: &str, user: &str) -> Option<&SecretString> {
        let wanted = [host, &port.to_string(), database, user];
        let fits = |entry: &&PasswordEntry| {
            entry.keys.iter().zip(wanted).all(|(key, wanted)| key.as_deref().is_none_or(|key| key == wanted))
        };
        self.entries.iter().find(fits).map(|entry| &entry.password)
    }
}

fn parse_password_line(line: &str) -> Option<PasswordEntry> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut wildcards = vec![line.starts_with("*:")];
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let kept = match character {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                let rest: String = characters.clone().take(2).collect();
                wildcards.push(rest == "*:");
                continue;
            }
            '\\' => characters.next(),
            other => Some(other),
        };
        if let Some(field) = fields.last_mut() {
            field.extend(kept);
        }
    }
    let [host, port, database, user, password]: [String; 5] = fields.try_into().ok()?;
    let mut wildcards = wildcards.into_iter();
    let keys = [host, port, database, user].map(|key| match wildcards.next() {
        Some(true) => None,
        _ => Some(key),
    });
    (!password.is_empty()).then(|| PasswordEntry { keys, password: password.into() })
}

/// Reads one section of a service file: connection parameters by keyword. `None` if there is no such section.
pub(super) fn read_service(path: &Path, service: &str) -> io::Result<Option<BTreeMap<String, String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse_service(&text, service)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_service(text: &str, service: &str) -> Option<BTreeMap<String, String>> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(service))?;
    let mut parameters = BTreeMap::new();
    for line in lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#')) {
        if let Some((keyword, value)) = line.split_once('=') {
            parameters.insert(keyword.trim().to_owned(), value.trim().to_owned());
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_first_fitting_line_counts() {
        let file = PasswordFile::parse(
            "# comment\n\
             short:1:line\n\
             db.example.com:5432:app:me:one\n\
             db.example.com:*:*:me:two:with:colons\n\
             *:*:*:odd\\:user\\\\:th\\:ree\n\
             localhost:5432:*:\\*:four\n",
        );
        let find = |host, port, database, user| {
            file.find(host, port, database, user).map(|password| password.expose_secret().to_owned())
        };
        for (host, port, database, user, password) in [
            ("db.example.com", 5432, "app", "me", Some("one")),
            ("db.example.com", 5433, "app", "me", Some("two:with:colons")),
            ("db.example.com", 5432, "app", "you", None),
            ("other", 1, "x", "odd:user\\", Some("th:ree")),
            ("localhost", 5432, "x", "*", Some("four")),
            ("localhost", 5432, "x", "y", None),
        ] {
            assert_eq!(
                find(host, port, database, user).as_deref(),
                password,
                "{host} {port} {database} {user}"
            );
        }
        assert!(!format!("{file:?}").contains("with"), "no password in Debug");
    }

    #[test]
    fn a_file_others_can_read_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        assert!(PasswordFile::read(&path).entries.is_empty());
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        for (mode, entries) in [(0o640, 0), (0o604, 0), (0o600, 1), (0o400, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(PasswordFile::read(&path).entries.len(), entries, "{mode:o}");
        }
        assert!(PasswordFile::read(dir.path()).entries.is_empty());
    }

    #[test]
    fn services() {
        let text =
            "# all\n[one]\nhost = a\n\n[two]\nhost=b\n#port=1\nport=5433\noptions=-c x=y\n[one]\nhost=c\n";
        let one = parse_service(text, "one").unwrap();
        assert_eq!(one.get("host").unwrap(), "a");
        let two = parse_service(text, "two").unwrap();
        assert_eq!((two.len(), two.get("options").unwrap().as_str()), (3, "-c x=y"));
        assert_eq!(parse_service(text, "three"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[:*\\\\#a\né]{0,40}", service: String) {
            let _ = PasswordFile::parse(&text).find("a", 1, "a", "a");
            let _ = parse_service(&service, "a");
        }
    }
}
