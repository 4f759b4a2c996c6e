//! Trees of files, and what the walk makes of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::rules::{KEPT_EMPTY, LEFT_OUT};
use super::*;

/// Creates empty files below `root`, with their directories; a name that ends in a slash is a directory.
fn plant(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }
}

fn names(data_dir: &Path, rules: &WalkRules) -> Vec<String> {
    let describe = |found: Found| match found {
        Found::Tablespace(tablespace) => format!("tablespace {}", tablespace.oid),
        Found::Member(Member { name, kind, .. }) => match kind {
            MemberKind::Directory if name.as_str() == "/" => String::from("/"),
            MemberKind::Directory => format!("{name}/"),
            MemberKind::File { .. } => name.into(),
            MemberKind::Symlink { target, .. } => format!("{name} -> {}", target.display()),
        },
    };
    walk(data_dir, rules).unwrap().map(|found| describe(found.unwrap())).collect()
}

#[test]
fn order_and_left_out_files() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    plant(top, &["PG_VERSION", "base/1/112", "base/1/113", "base/4/1", "global/1262", "global/pg_control"]);
    plant(top, &["base/1/pg_internal.init", "global/pg_internal.init.77", "pg_xact/0000"]);
    plant(top, &LEFT_OUT);
    for kept_empty in KEPT_EMPTY {
        plant(top, &[&format!("{kept_empty}/content/deep")]);
    }
    plant(top, &["base/pgsql_tmp/pgsql_tmp1.0", "base/pgsql_tmp2/x", "pgsql_tmp9", "ext/log/standby.signal"]);

    let mut expected = vec![
        "/",
        "/PG_VERSION",
        "/base/",
        "/base/1/",
        "/base/1/112",
        "/base/1/113",
        "/base/4/",
        "/base/4/1",
        "/base/pgsql_tmp/",
        "/ext/",
        "/ext/log/",
        "/ext/log/standby.signal",
        "/global/",
        "/global/1262",
    ];
    let kept_empty = KEPT_EMPTY.map(|name| format!("/{name}/"));
    expected.extend(kept_empty.iter().map(String::as_str));
    expected.extend(["/pg_xact/", "/pg_xact/0000"]);
    expected.sort_unstable();
    assert_eq!(names(top, &WalkRules::default()), expected);
}

#[test]
fn unlogged_and_temporary_relations() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &["base/5/10", "base/5/10.1", "base/5/10_fsm", "base/5/10_vm", "base/5/10_init"]);
    plant(dir.path(), &["base/5/11", "base/5/11_fsm", "base/5/t3_12", "base/5/t3_12_fsm.1", "base/5/t_x"]);
    plant(dir.path(), &["other/10", "other/10_init", "other/t3_12"]);
    assert_eq!(
        names(dir.path(), &WalkRules::default()),
        [
            "/",
            "/base/",
            "/base/5/",
            "/base/5/10_init",
            "/base/5/11",
            "/base/5/11_fsm",
            "/base/5/t_x",
            "/other/",
            "/other/10",
            "/other/10_init",
            "/other/t3_12"
        ]
    );
}

#[test]
fn symlinks_and_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (dir.path().join("data"), dir.path().join("wal"));
    plant(&data, &["PG_VERSION"]);
    plant(&elsewhere, &["000000010000000000000001"]);
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o750)).unwrap();
    symlink(&elsewhere, data.join("pg_wal")).unwrap();
    symlink("nowhere", data.join("pg_stat_tmp")).unwrap();
    symlink("/etc/pg_hba.conf", data.join("pg_hba.conf")).unwrap();
    let _listener = UnixListener::bind(data.join(".s.PGSQL.5432")).unwrap();
    assert_eq!(
        names(&data, &WalkRules::default()),
        ["/", "/PG_VERSION", "/pg_hba.conf -> /etc/pg_hba.conf", "/pg_stat_tmp/", "/pg_wal/"]
    );
    let modes: Vec<u32> = walk(&data, &WalkRules::default())
        .unwrap()
        .filter_map(|found| match found.unwrap() {
            Found::Member(member) if member.name.as_str().starts_with("/pg_") => Some(member.mode),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [0o777, 0o700, 0o750]);
}

#[test]
fn tablespaces() {
    let dir = tempfile::tempdir().unwrap();
    let (data, fast) = (dir.path().join("data"), dir.path().join("fast"));
    plant(&data, &["pg_tblspc/17000/PG_15_202209061/5/17001"]);
    plant(
        &fast,
        &["PG_15_202209061/5/16390", "PG_15_202209061/5/t1_2", "PG_15_202209061/pgsql_tmp/pgsql_tmp1.0"],
    );
    plant(&fast, &["PG_14_202107181/5/16390", "stray"]);
    symlink(&fast, data.join("pg_tblspc/16384")).unwrap();
    symlink(dir.path().join("gone"), data.join("pg_tblspc/16385")).unwrap();

    let every_version = names(&data, &WalkRules::default());
    let own = WalkRules { tablespace_directory: Some("PG_15_202209061".into()), ..WalkRules::default() };
    let own_version = names(&data, &own);
    assert_eq!(
        own_version,
        [
            "/",
            "/pg_tblspc/",
            "tablespace 16384",
            "/pg_tblspc/16384/PG_15_202209061/",
            "/pg_tblspc/16384/PG_15_202209061/5/",
            "/pg_tblspc/16384/PG_15_202209061/5/16390",
            "/pg_tblspc/16384/PG_15_202209061/pgsql_tmp/",
            "/pg_tblspc/17000/",
            "/pg_tblspc/17000/PG_15_202209061/",
            "/pg_tblspc/17000/PG_15_202209061/5/",
            "/pg_tblspc/17000/PG_15_202209061/5/17001",
        ]
    );
    assert_eq!(every_version.len(), own_version.len() + 4);

    let found: Vec<Found> = walk(&data, &own).unwrap().map(Result::unwrap).collect();
    let target = Tablespace { oid: Oid::new(16384).unwrap(), target: fast.clone() };
    assert!(found.contains(&Found::Tablespace(target)));
    let path = fast.canonicalize().unwrap().join("PG_15_202209061/5/16390");
    assert!(found.iter().any(|found| matches!(found, Found::Member(member) if member.path == path)));
}

#[test]
fn a_directory_that_is_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (data, fast) = (dir.path().join("data"), dir.path().join("16384"));
    plant(
        &data,
        &["backup_label", "backup_label.old", "backup_manifest", "tablespace_map", "base/backup_label"],
    );
    plant(&data, &["pg_tblspc/16385/PG_15_202209061/5/16390", "pg_tblspc/17000/PG_15_202209061/5/17001"]);
    plant(&fast, &["PG_15_202209061/5/16391", "stray"]);
    plant(&dir.path().join("16385"), &["PG_15_202209061/"]);
    // Where it was on the server, and one that the backup does not know.
    symlink("/nowhere", data.join("pg_tblspc/16384")).unwrap();
    symlink(&fast, data.join("pg_tblspc/16386")).unwrap();
    let tablespace =
        |oid| Tablespace { oid: Oid::new(oid).unwrap(), target: dir.path().join(oid.to_string()) };
    let rules = |oids: &[u32]| WalkRules {
        tablespace_directory: Some("PG_15_202209061".into()),
        backup: Some(oids.iter().map(|oid| tablespace(*oid)).collect()),
        ..WalkRules::default()
    };
    assert_eq!(
        names(&data, &rules(&[16384, 16385])),
        [
            "tablespace 16384",
            "tablespace 16385",
            "/",
            "/backup_label",
            "/backup_manifest",
            "/base/",
            "/base/backup_label",
            "/pg_tblspc/",
            "/pg_tblspc/17000/",
            "/pg_tblspc/17000/PG_15_202209061/",
            "/pg_tblspc/17000/PG_15_202209061/5/",
            "/pg_tblspc/17000/PG_15_202209061/5/17001",
            "/pg_tblspc/16384/PG_15_202209061/",
            "/pg_tblspc/16384/PG_15_202209061/5/",
            "/pg_tblspc/16384/PG_15_202209061/5/16391",
            "/pg_tblspc/16385/PG_15_202209061/",
        ]
    );
    let error = walk(&data, &rules(&[17001])).unwrap_err().to_string();
    assert!(error.starts_with("resolve tablespace /") && error.contains("/17001: "), "{error}");
}

#[test]
fn an_archive_inside_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    plant(dir.path(), &["archive/wal_005/x", "archived", "deep/archive/y"]);
    let rules = WalkRules {
        exclude: vec![dir.path().join("archive"), dir.path().join("absent")],
        ..WalkRules::default()
    };
    assert_eq!(names(dir.path(), &rules), ["/", "/archived", "/deep/", "/deep/archive/", "/deep/archive/y"]);
}

#[test]
fn size_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("PG_VERSION");
    fs::write(&path, "15\n").unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let Some(Ok(Found::Member(member))) = walk(dir.path(), &WalkRules::default()).unwrap().nth(1) else {
        panic!("a member")
    };
    assert_eq!(member.kind, MemberKind::File { size: 3 });
    assert_eq!(member.mtime, Timestamp::new(1_700_000_000, 123_456_789).unwrap());
}

#[test]
fn names_that_are_not_utf8_are_left_out_and_failures_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("odd")).unwrap();
    let odd = dir.path().canonicalize().unwrap().join("odd").join(OsStr::from_bytes(b"\xFF"));
    fs::write(&odd, "").unwrap();
    assert!(walk(dir.path(), &WalkRules::default()).unwrap().all(|found| found.is_ok()));

    let missing = dir.path().join("missing");
    let error = walk(&missing, &WalkRules::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("resolve {}: No such file", missing.display())), "{error}");
}
