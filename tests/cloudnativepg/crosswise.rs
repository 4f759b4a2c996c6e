//! Two tools on one server name, by turns: what one writes the other reads, keeps and deletes, and both say the same of it.

use std::fs;

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Postgres, next_second};

const SERVER: &str = "cluster";

/// Compression of data and of WAL: each that there is.
const CODECS: [(Option<&str>, Option<&str>); 7] = [
    (None, None),
    (Some("gzip"), Some("gzip")),
    (Some("bzip2"), Some("bzip2")),
    (Some("snappy"), Some("snappy")),
    (Some("lz4"), Some("lz4")),
    (None, Some("xz")),
    (Some("gzip"), Some("zstd")),
];

/// A backup with WAL up to a restore point of the same name.
struct Written<'a> {
    name: String,
    id: String,
    content: String,
    reader: &'a ObjectStore<'a>,
}

/// `one` and `other` with each codec, in one bucket that is empty.
pub fn run(postgres: &Postgres, bucket: &Bucket, one: &ObjectStore<'_>, other: &ObjectStore<'_>) {
    let scratch = one.scratch;
    let mut source = instance(scratch, postgres, "source");
    let tablespace = scratch.dir("extra");
    one.archive_by_manager(&mut source, SERVER);
    source.start();
    source.sql(&format!("CREATE TABLESPACE extra LOCATION '{}'", tablespace.display()));
    source.sql("CREATE TABLE ledger (id serial PRIMARY KEY, note text)");
    source.sql("CREATE TABLE apart (id int PRIMARY KEY, note text) TABLESPACE extra");

    let mut written = Vec::new();
    for (data_compression, wal_compression) in CODECS {
        for (writer, reader) in [(one, other), (other, one)] {
            let name = format!("{}-{}", wal_compression.unwrap_or("none"), written.len());
            let writer = ObjectStore { data_compression, wal_compression, ..writer.clone() };
            writer.archive_by_manager(&mut source, SERVER);
            add_rows(&source);
            writer.backup(&source, SERVER, &name).fails(0);
            add_rows(&source);
            source.sql(&format!("SELECT pg_create_restore_point('{name}')"));
            let content = content(&source);
            add_rows(&source);
            source.switch_wal();
            let id = writer.show(SERVER, &name)["cloud"]["backup_id"].as_str().unwrap().to_owned();
            stores_by(bucket, &id, data_compression);
            written.push(Written { name, id, content, reader });
            next_second();
        }
    }
    source.stop();

    for pair in written.chunks(2) {
        assert_eq!(fields(bucket, &pair[0].id), fields(bucket, &pair[1].id));
    }
    both_say_the_same(one, other, &written);
    for backup in &written {
        restores(postgres, backup);
    }
    keep_each_others(one, other, &written);
    delete_each_others(bucket, one, other, &written);
}

fn add_rows(cluster: &Cluster<'_>) {
    cluster.sql("INSERT INTO ledger (note) SELECT md5(i::text) FROM generate_series(1, 100) i");
    cluster.sql("INSERT INTO apart SELECT id, note FROM ledger ON CONFLICT DO NOTHING");
}

fn content(cluster: &Cluster<'_>) -> String {
    cluster.sql("SELECT count(*), md5(string_agg(l.note || a.note, ',' ORDER BY id)) FROM ledger l JOIN apart a USING (id)")
}

/// The objects of a backup: its description, and at least one tar for the data and one for the tablespace.
fn stores_by(bucket: &Bucket, id: &str, compression: Option<&str>) {
    let extension = match compression {
        None => "",
        Some("gzip") => ".gz",
        Some("bzip2") => ".bz2",
        Some("snappy") => ".snappy",
        Some("lz4") => ".lz4",
        Some(other) => panic!("{other}"),
    };
    let below = format!("{SERVER}/base/{id}/");
    let keys = bucket.keys();
    let mut names: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix(&below)).collect();
    names.sort_unstable();
    let (info, tars): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| *name == "backup.info");
    assert!(info.len() == 1 && tars.len() >= 2, "{tars:?}");
    assert!(tars.contains(&format!("data.tar{extension}").as_str()), "{tars:?}");
    assert!(tars.iter().all(|name| name.ends_with(&format!(".tar{extension}"))), "{tars:?}");
}

/// What a backup's description says, and whether it says nothing.
fn fields(bucket: &Bucket, id: &str) -> Vec<(String, bool)> {
    let info = String::from_utf8(bucket.get(&format!("{SERVER}/base/{id}/backup.info"))).unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value == "None")
    };
    info.lines().map(field).collect()
}

#[track_caller]
fn both_print_the_same(
    one: &ObjectStore<'_>,
    other: &ObjectStore<'_>,
    command: &str,
    more: &[&str],
) -> String {
    let (one, other) = (one.run(command, SERVER, more).success(), other.run(command, SERVER, more).success());
    assert_eq!(one.stdout, other.stdout, "{command} {more:?}");
    one.stdout
}

fn both_say_the_same(one: &ObjectStore<'_>, other: &ObjectStore<'_>, written: &[Written<'_>]) {
    for format in ["console", "json"] {
        let list = both_print_the_same(one, other, "backup-list", &["--format", format]);
        assert!(written.iter().all(|backup| list.contains(&backup.name)), "{list}");
        for backup in [&written[0], &written[1]] {
            for name in [&backup.id, &backup.name] {
                both_print_the_same(one, other, "backup-show", &["--format", format, name]);
            }
        }
        for name in ["latest", "oldest", "first", "last"] {
            both_print_the_same(one, other, "backup-show", &["--format", format, name]);
        }
    }
}

/// The other tool restores it, on a host where its tablespace has to be elsewhere, and fetches the WAL.
fn restores(postgres: &Postgres, backup: &Written<'_>) {
    let scratch = backup.reader.scratch;
    let (data, tablespace) = (format!("r.{}", backup.name), scratch.absent(&format!("t.{}", backup.name)));
    let rule = format!("extra:{}", tablespace.display());
    let mut restored = Cluster::restored(scratch, postgres, &data);
    let target = restored.data().to_str().unwrap().to_owned();
    backup.reader.run("restore", SERVER, &["--tablespace", &rule, &backup.id, &target]).fails(0);
    backup.reader.restore_by_manager(&mut restored, SERVER);
    restored.configure("archive_mode", "off");
    restored.configure("recovery_target_name", &backup.name);
    restored.configure("recovery_target_action", "promote");
    restored.append("recovery.signal", "");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(content(&restored), backup.content, "{}", backup.name);
    assert_eq!(
        restored.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'extra'"),
        rule[6..]
    );
    restored.stop();
    fs::remove_dir_all(restored.data()).unwrap();
    fs::remove_dir_all(tablespace).unwrap();
}

fn keep_each_others(one: &ObjectStore<'_>, other: &ObjectStore<'_>, written: &[Written<'_>]) {
    for (by, reader, backup, target) in
        [(one, other, &written[1], "full"), (other, one, &written[2], "standalone")]
    {
        let id = backup.id.as_str();
        assert_eq!(both_print_the_same(one, other, "backup-keep", &[id, "--status"]), "Keep: nokeep\n");
        by.run("backup-keep", SERVER, &["--target", target, id]).fails(0);
        assert_eq!(
            both_print_the_same(one, other, "backup-keep", &[id, "--status"]),
            format!("Keep: {target}\n")
        );
        let list = both_print_the_same(one, other, "backup-list", &[]);
        assert!(list.contains(&format!("KEEP:{}", target.to_uppercase())), "{list}");
        reader.run("backup-delete", SERVER, &["--backup-id", id]).fails(1);
        would_delete_the_same(one, other, &["--retention-policy", "REDUNDANCY 2"]);
        would_delete_the_same(one, other, &["--retention-policy", "REDUNDANCY 13"]);
    }
    for (by, backup) in [(other, &written[1]), (one, &written[2])] {
        by.run("backup-keep", SERVER, &["--release", &backup.id]).fails(0);
    }
    assert!(!both_print_the_same(one, other, "backup-list", &[]).contains("KEEP"));
}

fn would_delete_the_same(one: &ObjectStore<'_>, other: &ObjectStore<'_>, what: &[&str]) {
    let mut line = what.to_vec();
    line.push("--dry-run");
    both_print_the_same(one, other, "backup-delete", &line);
}

/// The oldest, one in the middle, all but the last two, by turns.
fn delete_each_others(
    bucket: &Bucket,
    one: &ObjectStore<'_>,
    other: &ObjectStore<'_>,
    written: &[Written<'_>],
) {
    let oldest = written[1].id.as_str();
    for (by, what, gone) in [
        (one, ["--backup-id", written[0].id.as_str()], vec![0]),
        (other, ["--backup-id", written[4].id.as_str()], vec![4]),
        (one, ["--backup-id", written[5].id.as_str()], vec![5]),
        (other, ["--backup-id", oldest], vec![1]),
        (one, ["--retention-policy", "REDUNDANCY 6"], vec![2, 3, 6, 7]),
        (other, ["--retention-policy", "RECOVERY WINDOW OF 1 DAY"], vec![]),
        (other, ["--retention-policy", "REDUNDANCY 2"], vec![8, 9, 10, 11]),
    ] {
        would_delete_the_same(one, other, &what);
        by.run("backup-delete", SERVER, &what).success();
        let list = both_print_the_same(one, other, "backup-list", &[]);
        let keys = bucket.keys();
        for at in gone {
            let id = &written[at].id;
            assert!(
                !list.contains(id) && !keys.iter().any(|key| key.contains(id.as_str())),
                "{id}: {list}{keys:?}"
            );
        }
    }
    assert_eq!(both_print_the_same(one, other, "backup-list", &[]).lines().count(), 1 + 2);
    for backup in &written[12..] {
        let info = both_print_the_same(one, other, "backup-show", &[&backup.id]);
        assert!(info.contains("DONE"), "{info}");
    }
}
