//! Command lines: those that CloudNativePG writes, and what is odd in argparse's grammar.

use super::flags::*;
use super::grammar::{Line, Request, UsageError};
use super::*;

fn understood(command: Command, words: &[&str]) -> Result<Request, UsageError> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    grammar(command).parse(&words)
}

fn line(command: Command, words: &str) -> Line {
    let words: Vec<&str> = words.split(' ').collect();
    match understood(command, &words) {
        Ok(Request::Work(line)) => line,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn positionals(line: &Line) -> Vec<&str> {
    (0..).map_while(|place| line.positional(place)).collect()
}

/// The lines of `pkg/archiver`, `pkg/restorer`, `pkg/backup` and `pkg/catalog` of cloudnative-pg/barman-cloud, in the
/// order of the reference's acceptance list.
#[test]
fn the_lines_of_cloudnativepg() {
    const DEST: &str = "s3://backups/team/";
    const WAL: &str = "000000010000000000000003";
    let archive = line(
        Command::WalArchive,
        &format!(
            "--bzip2 -e AES256 --read-timeout=60 -vv --compression-level=high --endpoint-url https://s3.example:9000 \
             --tags backupRetentionPolicy,expire owner,a --history-tags backupRetentionPolicy,keep \
             --cloud-provider aws-s3 {DEST} main pg_wal/{WAL}"
        ),
    );
    assert_eq!(positionals(&archive), [DEST, "main", &format!("pg_wal/{WAL}")]);
    assert!(archive.has(&BZIP2) && archive.count(&VERBOSE) == 2);
    assert_eq!(archive.list(&TAGS), ["backupRetentionPolicy,expire", "owner,a"]);
    assert_eq!(archive.list(&HISTORY_TAGS), ["backupRetentionPolicy,keep"]);
    assert_eq!(archive.value(&READ_TIMEOUT), Some("60"));
    assert_eq!(archive.value(&ENDPOINT_URL), Some("https://s3.example:9000"));

    let check = line(Command::CheckWalArchive, &format!("--cloud-provider aws-s3 {DEST} main"));
    assert_eq!(positionals(&check), [DEST, "main"]);

    let restore = line(
        Command::WalRestore,
        &format!(
            "--endpoint-url http://m:9000 --cloud-provider aws-s3 {DEST} main --no-partial -vv {WAL} pg_wal/RECOVERYXLOG"
        ),
    );
    assert_eq!(positionals(&restore), [DEST, "main", WAL, "pg_wal/RECOVERYXLOG"]);
    assert!(restore.has(&NO_PARTIAL));

    let backup = line(
        Command::Backup,
        &format!(
            "--user postgres --name backup-20261121100000 --gzip --encryption aws:kms --immediate-checkpoint --jobs 2 \
             --min-chunk-size=5MB --max-archive-size 1GB --tags a,b --endpoint-url http://m:9000 --cloud-provider aws-s3 {DEST} main"
        ),
    );
    assert_eq!(positionals(&backup), [DEST, "main"]);
    assert_eq!((backup.value(&USER), backup.value(&NAME)), (Some("postgres"), Some("backup-20261121100000")));
    assert_eq!((backup.value(&JOBS), backup.value(&MIN_CHUNK_SIZE)), (Some("2"), Some("5MB")));

    let show = line(
        Command::BackupShow,
        &format!("--format json --cloud-provider aws-s3 {DEST} main backup-20261121100000"),
    );
    assert_eq!(positionals(&show), [DEST, "main", "backup-20261121100000"]);
    let list = line(Command::BackupList, &format!("--format json --cloud-provider aws-s3 {DEST} main"));
    assert_eq!((positionals(&list), list.value(&FORMAT)), (vec![DEST, "main"], Some("json")));

    let delete =
        ["--cloud-provider", "aws-s3", "--retention-policy", "RECOVERY WINDOW OF 7 DAYS", DEST, "main"];
    let Ok(Request::Work(delete)) = understood(Command::BackupDelete, &delete) else { panic!("{delete:?}") };
    assert_eq!(delete.value(&RETENTION_POLICY), Some("RECOVERY WINDOW OF 7 DAYS"));
    assert_eq!(positionals(&delete), [DEST, "main"]);

    for words in [
        format!(
            "--endpoint-url http://m:9000 {DEST} main 20261121T100000 --cloud-provider aws-s3 --read-timeout=60 /pgdata"
        ),
        format!(
            "--cloud-provider aws-s3 --endpoint-url http://m:9000 --read-timeout=60 {DEST} main 20261121T100000 /pgdata"
        ),
    ] {
        let restore = line(Command::Restore, &words);
        assert_eq!(positionals(&restore), [DEST, "main", "20261121T100000", "/pgdata"], "{words}");
    }
}

#[test]
fn short_flags_stand_together_and_have_their_values_attached() {
    for words in ["-zvvJ4 u s", "-z -v -v -J 4 u s", "u -zvv s -J=4", "u s --gz --verb --verbose --job 4"] {
        let line = line(Command::Backup, words);
        assert!(line.has(&GZIP), "{words}");
        assert_eq!((line.count(&VERBOSE), line.value(&JOBS)), (2, Some("4")), "{words}");
        assert_eq!(positionals(&line), ["u", "s"], "{words}");
    }
}

#[test]
fn values_that_look_like_flags() {
    assert_eq!(
        line(Command::WalArchive, "u s w --compression-level -5").value(&COMPRESSION_LEVEL),
        Some("-5")
    );
    assert_eq!(
        line(Command::WalArchive, "u s w --compression-level=-x").value(&COMPRESSION_LEVEL),
        Some("-x")
    );
    assert_eq!(positionals(&line(Command::WalArchive, "u s -.5")), ["u", "s", "-.5"]);
    assert_eq!(positionals(&line(Command::WalArchive, "-z -- u -j w")), ["u", "-j", "w"]);
    assert_eq!(positionals(&line(Command::WalArchive, "u - --")), ["u", "-"]);
    let Ok(Request::Work(blank)) = understood(Command::BackupList, &["-not a flag", "s"]) else {
        panic!("a line")
    };
    assert_eq!(positionals(&blank), ["-not a flag", "s"]);
}

#[test]
fn a_list_takes_what_follows_it_up_to_the_next_flag() {
    let line = line(Command::WalArchive, "--tags a,1 b,2 --tags c,3 -z u s w");
    assert_eq!(line.list(&TAGS), ["c,3"]);
    assert_eq!(super::tests::line(Command::WalArchive, "--tags=a,1 u s w").list(&TAGS), ["a,1"]);
    assert!(super::tests::line(Command::WalArchive, "--tags -- u s w").list(&TAGS).is_empty());
    let single = super::tests::line(Command::WalArchive, "--tag a,1 u --tag b,2 s w");
    assert_eq!(single.values(&TAG).collect::<Vec<_>>(), ["a,1", "b,2"]);
}

/// Python up to 3.11 finds `wal_path` empty when a flag follows the server, and refuses the rest.
#[test]
fn an_optional_positional_may_follow_a_flag() {
    assert_eq!(positionals(&line(Command::WalArchive, "u s -v w")), ["u", "s", "w"]);
}

#[test]
fn flags_can_be_written_again() {
    let words: Vec<String> = line(Command::WalRestore, "-vp 8 u s --spool-dir=/a b c").flag_words().collect();
    assert_eq!(words, ["--verbose", "--parallel=8", "--spool-dir=/a"]);
}

#[test]
fn help_and_version_need_nothing_else() {
    for command in Command::ALL {
        assert!(matches!(understood(command, &["--help"]), Ok(Request::Help)));
        assert!(matches!(understood(command, &["-vV"]), Ok(Request::Version)));
        let page = grammar(command).help();
        assert!(page.starts_with(&format!("usage: {} [-V] [--help] [-v | -q]", command.program())), "{page}");
        let (_, entries) = page.split_once("positional arguments:").unwrap();
        assert!(entries.lines().all(|line| line.chars().count() <= 100), "{page}");
        assert!(!page.contains("gcp") && !page.contains("azure-c"), "{page}");
    }
}

#[test]
fn commands_are_known_by_the_program_or_by_the_first_words() {
    let called = |words: &[&str]| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        call(&words).map(|call| (call.command, call.arguments.len()))
    };
    assert_eq!(called(&["/usr/bin/barman-cloud-wal-archive", "a", "b"]), Some((Ok(Command::WalArchive), 2)));
    assert_eq!(called(&["seawall", "barman-cloud", "backup", "a"]), Some((Ok(Command::Backup), 1)));
    assert_eq!(called(&["barman-cloud-x"]), Some((Err(Some("x".to_owned())), 0)));
    assert_eq!(called(&["seawall", "barman-cloud"]), Some((Err(None), 0)));
    assert_eq!(called(&["seawall", "backup-list"]), None);
    assert_eq!(called(&["seawall", "copy", "--from-walg", "f"]), Some((Ok(Command::Copy), 2)));
    assert_eq!(called(&["seawall", "copy", "--from", "f", "-t"]), Some((Ok(Command::Copy), 3)));
    assert_eq!(called(&["/usr/bin/wal-g", "copy", "--from-walg", "f"]), None);
    assert_eq!(called(&["seawall", "copy", "-f", "a", "-t", "b"]), None);
    assert_eq!(called(&["seawall", "copy", "--to=b", "--from", "a"]), None);
    assert_eq!(called(&[]), None);
    for command in Command::ALL {
        assert_eq!(called(&[command.program()]), Some((Ok(command), 0)));
    }
}

#[test]
fn messages_name_what_the_caller_can_set() {
    let location = crate::storage::Location::new("s3://b");
    let error =
        crate::storage::Error::new(crate::storage::ErrorKind::Network, "list", None, &location, "gone");
    let error = error.with_hint("check AWS_ENDPOINT, AWS_S3_FORCE_PATH_STYLE and WALG_S3_PREFIX; AWS_REGION");
    assert_eq!(
        in_its_words(&cli::Error::Barman(Error::Storage(error))),
        "list in s3://b: gone\nhint: check --endpoint-url, --addressing-style path and the URL; AWS_DEFAULT_REGION"
    );
}

/// Messages of the lower layers as they are written, below these directories: without comments and tests, strings that
/// go on in the next line joined.
fn messages(directories: &[&str]) -> String {
    let mut text = String::new();
    let mut left: Vec<_> =
        directories.iter().map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)).collect();
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with("tests.rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]").next().unwrap_or_default();
                let lines = source.lines().map(str::trim).filter(|line| !line.starts_with("//"));
                for line in lines {
                    match line.strip_suffix('\\') {
                        Some(half) => text.push_str(half),
                        None => text.extend([line, "\n"]),
                    }
                }
            }
        }
    }
    text
}

#[test]
fn what_is_translated_is_said_somewhere() {
    let said = messages(&["storage", "ops", "codec"]);
    for (theirs, _) in WORDS {
        assert!(said.contains(theirs), "nothing says {theirs:?} any more");
    }
}

#[test]
fn settings_of_wal_g_are_not_named_to_the_caller_of_barman() {
    // Ours that count here too, and wal-g's of what barman-cloud does not have: deltas, storage classes, user data.
    let known = [
        "SEAWALL_BACKUP_WAL_TIMEOUT",
        "SEAWALL_S3_CHECK_ETAG",
        "SEAWALL_TAKE_OVER_FROM",
        "SEAWALL_DELTA_SOURCES",
        "WALG_FORCE_WAL_DELTA",
        "WALG_S3_STORAGE_CLASS",
        "WALG_FETCH_TARGET_USER_DATA",
    ];
    let said =
        WORDS.iter().fold(messages(&["storage", "ops"]), |text, (theirs, ours)| text.replace(theirs, ours));
    let words = said.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let named: std::collections::BTreeSet<&str> =
        words.filter(|word| word.starts_with("WALG_") || word.starts_with("SEAWALL_")).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} need an entry in WORDS");
    assert_eq!(named.len(), known.len(), "not all are named any more: {named:?}");
}

#[test]
fn a_key_is_not_asked_for_where_none_can_be_set() {
    use crate::codec::{Error as CodecError, Format, Method};
    let hint = CodecError::Truncated(Format::Compressed(Method::Gzip)).hint().unwrap();
    assert!(
        WORDS.iter().any(|(theirs, _)| theirs.contains("WALG_LIBSODIUM_KEY") && hint.contains(theirs)),
        "{hint}"
    );
}

proptest::proptest! {
    #[test]
    fn no_line_panics(words in proptest::collection::vec("-{0,2}[a-z=,. \u{e4}]{0,8}|--tags|-[a-zJ]{1,3}[0-9]?", 0..8)) {
        for command in Command::ALL {
            let _ = grammar(command).parse(&words);
        }
    }
}
