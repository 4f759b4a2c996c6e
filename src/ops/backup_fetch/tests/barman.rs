//! Restores of backups in barman's layout.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::layout::barman::{BackupId, BackupInfo, Barman, Partials, names};
use crate::ops::backup_fetch::{self, Missing, MovedTablespace, Plan};
use crate::ops::error::RequestError;
use crate::ops::{Class, Context, Error};
use crate::pg::ControlFile;
use crate::storage::memory::{Memory, Operation};
use crate::storage::{Key, Prefix};

use super::chain::{context, on_a_runtime, options};

const CONTROL: &[u8] = include_bytes!("../../../../tests/golden/pg/pg_control.15.bin");
const OTHER_CONTROL: &[u8] = include_bytes!("../../../../tests/golden/pg/pg_control.16.bin");

fn id() -> BackupId {
    "20261121T031643".parse().unwrap()
}

fn key(tar: &str) -> Key {
    names::backup_prefix(id()).key(tar).unwrap()
}

/// A `backup.info` with these lines beside its status.
fn info(lines: &str) -> BackupInfo {
    BackupInfo::parse(format!("status=DONE\n{lines}\n").as_bytes(), &TimeZone::UTC).unwrap()
}

/// A member of a tar.
#[derive(Clone, Copy)]
enum Content<'a> {
    File(&'a [u8]),
    Directory,
    Symlink(&'a str),
    HardLink(&'a str),
}

use Content::{Directory, File, HardLink, Symlink};

/// A tar with the headers of GNU tar, whose long names are members of their own.
fn tar(members: &[(&str, Content<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let (kind, mode, body) = match content {
            File(body) if name.ends_with(".key") => (tar::EntryType::Regular, 0o400, *body),
            File(body) => (tar::EntryType::Regular, 0o640, *body),
            Directory => (tar::EntryType::Directory, 0o750, &[][..]),
            Symlink(_) => (tar::EntryType::Symlink, 0o777, &[][..]),
            HardLink(_) => (tar::EntryType::Link, 0o640, &[][..]),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        match content {
            Symlink(to) | HardLink(to) => builder.append_link(&mut header, name, to).unwrap(),
            _ if name.len() > 100 => builder.append_data(&mut header, name, body).unwrap(),
            _ => {
                // Exactly as it is, with the dot.
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                builder.append(&header, body).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// Stores tars by their names.
fn stored(tars: &[(&str, Vec<u8>)]) -> Memory {
    let memory = Memory::new();
    memory.set(&names::backup_info_key(id()), "status=DONE\n");
    for (name, content) in tars {
        memory.set(&key(name), content.clone());
    }
    memory
}

fn barman(memory: &Memory) -> Context {
    let layout = &Barman { partials: Partials::Accept };
    Context { layout, ..context(Arc::new(memory.clone())) }
}

fn restore_moved(
    memory: &Memory,
    info: &BackupInfo,
    moved: &[MovedTablespace],
    target: &Path,
    concurrency: usize,
) -> Result<(), Error> {
    let ctx = barman(memory);
    on_a_runtime(async {
        let plan = Plan::barman(&ctx, id(), info, moved).await?;
        backup_fetch::run(&ctx, plan, options(target, concurrency)).await
    })
}

fn restore(memory: &Memory, target: &Path, concurrency: usize) -> Result<(), Error> {
    restore_moved(memory, &info(""), &[], target, concurrency)
}

fn moved(name: &str, location: PathBuf) -> MovedTablespace {
    MovedTablespace { name: name.to_owned(), location }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

/// A cluster with a tablespace, in two tars each.
fn two_sequences() -> Memory {
    stored(&[
        ("data.tar", tar(&[(".", Directory), ("./PG_VERSION", File(b"15\n")), ("pg_tblspc/", Directory)])),
        (
            "data_0001.tar",
            tar(&[
                ("base/", Directory),
                ("base/5/1259", File(b"pages")),
                ("server.key", File(b"key")),
                ("global/pg_control", File(CONTROL)),
                ("backup_label", File(b"label")),
            ]),
        ),
        ("16384.tar", tar(&[("PG_15_202209061/", Directory), ("PG_15_202209061/5/1", File(b"one"))])),
        // What has the name of a label is none in a tablespace.
        ("16384_0001.tar", tar(&[("PG_15_202209061/5/2", File(b"two")), ("backup_label", File(b"no"))])),
        // Of another tablespace, by its name.
        ("163841.tar", tar(&[("PG_15_202209061/5/3", File(b"three"))])),
        ("notes", b"no tar".to_vec()),
    ])
}

#[test]
fn the_data_directory_and_its_tablespaces_are_restored() {
    let memory = two_sequences();
    for concurrency in 1..=4 {
        let place = tempfile::tempdir().unwrap();
        let (data, space) = (place.path().join("data"), place.path().join("space"));
        let info = info("tablespaces=[('fast', 16384, '/nowhere')]");
        let rules = [moved("slow", "/nowhere/slow".into()), moved("fast", space.clone())];
        restore_moved(&memory, &info, &rules, &data, concurrency).unwrap();

        let read = |path: &str| fs::read(data.join(path)).unwrap();
        assert_eq!(read("PG_VERSION"), b"15\n");
        assert_eq!(read("base/5/1259"), b"pages");
        assert_eq!(read("backup_label"), b"label");
        assert_eq!(read("global/pg_control"), CONTROL);
        assert_eq!(fs::read_link(data.join("pg_tblspc/16384")).unwrap(), space);
        assert_eq!(read("pg_tblspc/16384/PG_15_202209061/5/1"), b"one");
        assert_eq!(fs::read(space.join("PG_15_202209061/5/2")).unwrap(), b"two");
        assert!(!space.join("PG_15_202209061/5/3").exists());
        assert_eq!(fs::read_dir(data.join("pg_wal")).unwrap().count(), 0);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(data.clone()), 0o700);
        assert_eq!(mode(data.join("base")), 0o750);
        assert_eq!(mode(data.join("base/5/1259")), 0o640);
        assert_eq!((mode(data.join("server.key")), read("server.key")), (0o400, b"key".to_vec()));
    }
}

#[test]
fn tablespaces_go_where_they_were_unless_moved() {
    let place = tempfile::tempdir().unwrap();
    let (data, space) = (place.path().join("data"), place.path().join("space"));
    let at = |location: &str| info(&format!("tablespaces=[('fast', 16384, '{location}')]"));
    restore_moved(&two_sequences(), &at(space.to_str().unwrap()), &[], &data, 2).unwrap();
    assert_eq!(fs::read_link(data.join("pg_tblspc/16384")).unwrap(), space);

    // Where it was is not empty any more.
    let again = place.path().join("again");
    let restored = restore_moved(&two_sequences(), &at(space.to_str().unwrap()), &[], &again, 2);
    assert!(matches!(restored, Err(Error::Request(RequestError::TablespaceNotEmpty { .. }))), "{restored:?}");
    assert!(!again.exists());

    // One that is no link (allow_in_place_tablespaces).
    let in_place = place.path().join("in_place");
    restore_moved(&two_sequences(), &at("pg_tblspc/16384"), &[], &in_place, 2).unwrap();
    assert!(in_place.join("pg_tblspc/16384").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(in_place.join("pg_tblspc/16384/PG_15_202209061/5/1")).unwrap(), b"one");

    let relative = restore_moved(&two_sequences(), &at("space"), &[], &again, 2).unwrap_err();
    assert!(matches!(relative, Error::Request(RequestError::TablespaceWithoutPlace { .. })), "{relative}");
    assert!(!again.exists());
}

/// What is refused for lack of tars, before anything is read or written.
#[track_caller]
fn missing(lost: &[&str]) -> Vec<String> {
    let (all, memory) = (two_sequences(), Memory::new());
    for stored in all.keys().iter().filter(|stored| !lost.contains(&stored.file_name())) {
        memory.set(stored, all.content(stored).unwrap());
    }
    let place = tempfile::tempdir().unwrap();
    let (data, space) = (place.path().join("data"), place.path().join("space"));
    let info = info("tablespaces=[('fast', 16384, '/nowhere')]");
    let error = restore_moved(&memory, &info, &[moved("fast", space.clone())], &data, 2).unwrap_err();
    assert!(!data.exists() && !space.exists());
    assert_eq!(memory.calls(Operation::Get), 0);
    assert_eq!(error.class(), Class::Integrity);
    let Error::Incomplete(incomplete) = error else { panic!("{error}") };
    assert_eq!(incomplete.backup.to_string(), id().to_string());
    let folder: Prefix = names::backup_prefix(id());
    let tars = incomplete.missing.into_iter().map(|missing| match missing {
        Missing::Tar { folder: found, name } if found == folder => name,
        other => panic!("{other}"),
    });
    tars.collect()
}

#[test]
fn all_missing_tars_are_said_at_once() {
    assert_eq!(missing(&["data.tar"]), ["data.tar"]);
    assert_eq!(missing(&["16384.tar"]), ["16384.tar"]);
    assert_eq!(missing(&["data.tar", "data_0001.tar", "16384.tar"]), ["data.tar", "16384.tar"]);
    // That of the other tablespace does not count for it.
    assert_eq!(missing(&["16384.tar", "16384_0001.tar"]), ["16384.tar"]);
}

#[test]
fn a_gap_in_a_sequence_is_missing() {
    let memory = two_sequences();
    memory.set(&key("data_0004.tar"), tar(&[]));
    let place = tempfile::tempdir().unwrap();
    let error = restore(&memory, &place.path().join("data"), 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "backup `{0}` cannot be restored, it lacks the tar `base/{0}/data_0002.tar`; \
             the tar `base/{0}/data_0003.tar`",
            id()
        )
    );
    // However large the number is.
    memory.set(&key("data_4294967295.tar"), tar(&[]));
    assert!(restore(&memory, &place.path().join("data"), 2).is_err());
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let twice = two_sequences();
    twice.set(&key("data.tar.gz"), "x");
    let error = restore(&twice, &data, 2).unwrap_err();
    assert!(error.to_string().contains("the same tar as"), "{error}");
    assert_eq!(error.class(), Class::Integrity);

    let unknown = two_sequences();
    unknown.set(&key("data_0002.tar.lzo"), "x");
    let error = restore(&unknown, &data, 2).unwrap_err();
    assert!(error.to_string().contains("data_0002.tar.lzo") && error.hint().is_some(), "{error}");

    let snapshots = info("snapshots_info={'provider': 'aws'}");
    let error = restore_moved(&two_sequences(), &snapshots, &[], &data, 2).unwrap_err();
    assert!(matches!(error, Error::Request(RequestError::Snapshots(_))), "{error}");
    let incremental = info("parent_backup_id=20261120T031421");
    let error = restore_moved(&two_sequences(), &incremental, &[], &data, 2).unwrap_err();
    assert!(matches!(error, Error::Request(RequestError::Incremental(..))), "{error}");
    assert!(!data.exists());
}

#[test]
fn a_tar_that_is_cut_ends_the_restore() {
    let clean = two_sequences();
    let info = info("tablespaces=[('fast', 16384, '/nowhere')]");
    for name in ["data.tar", "data_0001.tar", "16384.tar", "16384_0001.tar"] {
        let whole = clean.content(&key(name)).unwrap();
        // The last two blocks are the end of the archive.
        for cut in [0, 300, 512, whole.len() - 1024, whole.len() - 512] {
            let memory = two_sequences();
            memory.set(&key(name), whole.slice(..cut));
            let place = tempfile::tempdir().unwrap();
            let (data, space) = (place.path().join("data"), place.path().join("space"));
            let error = restore_moved(&memory, &info, &[moved("fast", space.clone())], &data, 1 + cut % 4);
            let error = error.expect_err(&format!("{name} cut at {cut}"));
            assert!(matches!(&error, Error::Content { key: found, .. } if *found == key(name)), "{error}");
            assert!(is_empty(&data) && is_empty(&space), "{name} cut at {cut}");
        }
    }
}

#[test]
fn a_backup_without_label_or_control_file_is_refused() {
    let (label, control) = (("backup_label", File(b"label")), ("global/pg_control", File(CONTROL)));
    for (members, lacking) in [([control], "backup_label"), ([label], "global/pg_control")] {
        let memory = stored(&[
            ("data.tar", tar(&[("./PG_VERSION", File(b"15\n"))])),
            ("data_0001.tar", tar(&members)),
        ]);
        let place = tempfile::tempdir().unwrap();
        match restore(&memory, place.path(), 2) {
            Err(Error::Incomplete(incomplete)) => {
                let files = vec![lacking.to_owned()];
                assert_eq!(incomplete.missing, [Missing::Held { folder: names::backup_prefix(id()), files }]);
            }
            other => panic!("{other:?}"),
        }
        assert!(is_empty(place.path()));
    }
}

/// As when `postgresql.conf` lies elsewhere and the data directory has one too.
#[test]
fn of_two_files_by_one_name_the_later_counts() {
    let large = vec![b'x'; 3_000_000];
    let first: [(&str, Content<'_>); 5] = [
        ("./PG_VERSION", File(b"15\n")),
        ("./postgresql.conf", File(&large)),
        ("./backup_label", File(&large)),
        ("global/pg_control", File(OTHER_CONTROL)),
        ("./pg_hba.conf", File(b"inside")),
    ];
    let second: [(&str, Content<'_>); 3] = [
        ("global/pg_control", File(CONTROL)),
        ("postgresql.conf", File(b"outside")),
        ("backup_label", File(b"label")),
    ];
    let tars = [
        ("data.tar", tar(&first)),
        ("data_0001.tar", tar(&second)),
        ("data_0002.tar", tar(&[("x", Directory)])),
    ];
    let one = [("data.tar", tar(&[&first[..], &second].concat()))];
    for concurrency in 1..=4 {
        for tars in [&tars[..], &one] {
            let place = tempfile::tempdir().unwrap();
            restore(&stored(tars), place.path(), concurrency).unwrap();
            for (file, content) in [
                ("postgresql.conf", &b"outside"[..]),
                ("backup_label", b"label"),
                ("global/pg_control", CONTROL),
                ("pg_hba.conf", b"inside"),
            ] {
                assert!(
                    fs::read(place.path().join(file)).unwrap() == content,
                    "{file}, {concurrency} at once"
                );
            }
        }
    }
}

/// Python writes a file's further names as links to the first.
#[test]
fn links_are_restored() {
    let long = format!("base/5/{}", "1".repeat(120));
    let complete = [("global/pg_control", File(CONTROL)), ("backup_label", File(b"label"))];
    let members = [
        ("./PG_VERSION", File(b"15\n")),
        ("./first", File(b"content")),
        ("second", HardLink("./first")),
        (&long, File(b"deep")),
        ("base/6/other", HardLink(&long)),
        ("server.key", Symlink("/etc/ssl/server.key")),
    ];
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    restore(&stored(&[("data.tar", tar(&[&members[..], &complete].concat()))]), root, 2).unwrap();
    let inode = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode("first"), inode("second"));
    assert_eq!(inode(&long), inode("base/6/other"));
    assert_eq!(fs::read(root.join("base/6/other")).unwrap(), b"deep");
    assert_eq!(fs::read_link(root.join("server.key")).unwrap(), Path::new("/etc/ssl/server.key"));

    for (to, says) in
        [("third", "does not come before it"), ("../../x", "unsafe name"), ("/x", "come before it")]
    {
        let place = tempfile::tempdir().unwrap();
        let members = [&[("second", HardLink(to))], &complete[..]].concat();
        let error = restore(&stored(&[("data.tar", tar(&members))]), place.path(), 2).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(is_empty(place.path()));
    }
}

/// Files written by the real barman-cloud.
#[test]
fn fixtures_are_restored() {
    for (fixture, backup) in [
        ("bzip2", "20261121T031421"),
        ("plain-tablespace", "20261121T031643"),
        ("snappy-zstd", "20261121T031712"),
    ] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/barman-cloud").join(fixture);
        let root = root.join("storage/pfx/srv");
        let backup: BackupId = backup.parse().unwrap();
        let memory = Memory::new();
        for entry in fs::read_dir(root.join(names::backup_prefix(backup).as_str())).unwrap() {
            let path = entry.unwrap().path();
            let key = Key::parse(path.strip_prefix(&root).unwrap().to_str().unwrap()).unwrap();
            memory.set(&key, fs::read(path).unwrap());
        }
        let document = memory.content(&names::backup_info_key(backup)).unwrap();
        let info = BackupInfo::parse(&document, &TimeZone::UTC).unwrap();

        let place = tempfile::tempdir().unwrap();
        let (data, space) = (place.path().join("data"), place.path().join("space"));
        let ctx = barman(&memory);
        on_a_runtime(async {
            let plan = Plan::barman(&ctx, backup, &info, &[moved("extra", space.clone())]).await?;
            backup_fetch::run(&ctx, plan, options(&data, 4)).await
        })
        .unwrap();
        let label = fs::read_to_string(data.join("backup_label")).unwrap();
        assert_eq!(Some(label), info.backup_label, "{fixture}");
        let control = ControlFile::parse(&fs::read(data.join("global/pg_control")).unwrap()).unwrap();
        assert_eq!(Some(control.system_identifier), info.systemid, "{fixture}");
        assert_eq!(fs::read(data.join("PG_VERSION")).unwrap(), b"15\n", "{fixture}");
        for tablespace in &info.tablespaces {
            let version = space.join("PG_15_202209061");
            assert!(version.is_dir() && version.join("5").read_dir().unwrap().count() > 3, "{fixture}");
            assert_eq!(fs::read_link(data.join(format!("pg_tblspc/{}", tablespace.oid))).unwrap(), space);
        }
        assert_eq!(info.tablespaces.is_empty(), !space.exists(), "{fixture}");
    }
}

/// Who is not root gives nothing away.
#[test]
fn what_root_restores_belongs_to_the_owner_in_the_tar() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!(
            "SKIPPED what_root_restores_belongs_to_the_owner_in_the_tar: only root can give files away"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    // The name counts, if this machine knows it.
    for (user, uid) in [("nobody", nobody.uid.as_raw()), ("", 4711), ("of-another-machine", 4711)] {
        let mut builder = tar::Builder::new(Vec::new());
        let members = [("global/pg_control", CONTROL), ("backup_label", b"START"), ("PG_VERSION", b"15\n")];
        for (name, body) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_size(body.len() as u64);
            // barman's label is root's.
            if name != "backup_label" {
                header.set_uid(4711);
                header.set_gid(4712);
                header.set_username(user).unwrap();
            }
            builder.append_data(&mut header, name, body).unwrap();
        }
        let target = dir.path().join(format!("of {user}"));
        let memory = stored(&[
            ("data.tar", builder.into_inner().unwrap()),
            ("16384.tar", tar(&[(".", Directory), ("PG_15", Directory), ("PG_15/file", File(b"x"))])),
        ]);
        let space = dir.path().join(format!("space of {user}"));
        let info = info("tablespaces=[('space', 16384, '/space')]");
        restore_moved(&memory, &info, &[moved("space", space.clone())], &target, 2).unwrap();
        for place in ["", "PG_VERSION", "backup_label", "global", "global/pg_control", "pg_tblspc/16384"] {
            let metadata = fs::symlink_metadata(target.join(place)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (uid, 4712), "{place}");
        }
        for place in ["", "PG_15/file"] {
            assert_eq!(fs::metadata(space.join(place)).unwrap().uid(), uid, "{place}");
        }
    }
}
