//! Written by the real wal-g, restored by us: every restore point of every repository in `tests/fixtures/wal-g`
//! comes back with exactly the rows it had.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Cluster, Fixture, FixtureBackup, Postgres, RestorePoint, Scratch, Tool};

/// What ends the recovery; both must stop at the same rows.
#[derive(Clone, Copy)]
enum Target {
    Lsn,
    Time,
}

/// brotli, libsodium with a hex key, a full backup and two deltas.
#[test]
fn brotli_sodium_hex() {
    restores_every_point("brotli-sodium-hex", 6);
}

/// lz4, no encryption, a tablespace, data checksums, a full backup and a delta.
#[test]
fn lz4_plain_tablespace() {
    restores_every_point("lz4-plain-tablespace", 4);
}

/// zstd, libsodium with a base64 key, segments of 1 MiB, no `files_metadata.json`.
#[test]
fn zstd_sodium_base64_seg1() {
    restores_every_point("zstd-sodium-base64-seg1", 2);
}

/// lzma, libsodium with a bare key, a full backup and two deltas.
#[test]
fn lzma_sodium_none_waldelta() {
    restores_every_point("lzma-sodium-none-waldelta", 6);
}

/// `reachable` is the number of restore points after the first backup.
fn restores_every_point(fixture: &str, reachable: usize) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, fixture);
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let mut restored = 0;
    for point in &fixture.points {
        let Some(backup) = fixture.backup_before(point) else { continue };
        // by time the recovery ends at the first later commit, which the last point has none of
        let by_time = restored == 0;
        restores(&scratch, &postgres, &tool, backup, point, if by_time { Target::Time } else { Target::Lsn });
        restored += 1;
    }
    assert_eq!(restored, reachable);
}

fn restores(
    scratch: &Scratch,
    postgres: &Postgres,
    tool: &Tool,
    backup: &FixtureBackup,
    point: &RestorePoint,
    target: Target,
) {
    let name = &point.restore_point;
    let mut cluster = Cluster::restored(scratch, postgres, name);
    let data = cluster.data().to_str().unwrap().to_owned();

    let mut fetch = vec!["backup-fetch".to_owned(), data.clone(), backup.name.clone()];
    if let Some(spec) = backup.spec_moved_to(&data, &format!("{data}.tablespaces")) {
        let file = scratch.file(&format!("{name}.spec.json"), &spec.to_string());
        fetch.extend(["--restore-spec".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    tool.run(scratch, &fetch).success();

    cluster.recover_with(tool);
    match target {
        Target::Lsn => {
            cluster.configure("recovery_target_lsn", &point.lsn);
            cluster.configure("recovery_target_inclusive", "off");
        }
        Target::Time => cluster.configure("recovery_target_time", &point.time),
    }
    cluster.configure("recovery_target_action", "promote");
    cluster.start();
    cluster.wait_until("SELECT pg_is_in_recovery()", "f");

    let ledger = cluster.sql("SELECT count(*), md5(string_agg(id||note, ',' ORDER BY id)) FROM ledger");
    assert_eq!(ledger, format!("{}|{}", point.rows, point.md5), "at {name}, from {}", backup.name);
    cluster.amcheck();
    cluster.stop();
}
