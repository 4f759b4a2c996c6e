//! A primary and its replicas, which come and go: one archive for all that are primary in turn, and replicas that follow by it.

use std::fs;

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Postgres};

const SERVER: &str = "cluster";

pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>) {
    let store = &ObjectStore { wal_compression: Some("gzip"), max_parallel: 2, ..store.clone() };
    let scratch = store.scratch;
    let mut first = instance(scratch, postgres, "first");
    store.archive_by_manager(&mut first, SERVER);
    first.start();
    first.sql("CREATE TABLE ledger AS SELECT i id, md5(i::text) note FROM generate_series(1, 100) i");
    store.backup(&first, SERVER, "backup-20261121010000").fails(0);

    // A replica in another place, which only the archive reaches; with archive_mode = always it archives the same again.
    let mut second = replica(postgres, store, "second");
    store.archive_by_manager(&mut second, SERVER);
    second.configure("archive_mode", "always");
    second.start();
    add_rows_and_archive(&first);
    second.wait_until("SELECT count(*) FROM ledger", "200");
    add_rows_and_archive(&first);
    second.wait_until("SELECT count(*) FROM ledger", "300");
    second.wait_until("SELECT archived_count >= 2 FROM pg_stat_archiver", "t");
    assert_eq!(second.sql("SELECT failed_count FROM pg_stat_archiver"), "0", "{}", second.log());

    // The primary dies with WAL that it has not archived, and that the replica has by streaming, the last segment in part;
    // the replica is promoted and archives under the same name.
    first.append("hold", "");
    let libpq = first.libpq_env();
    let address = format!("host={} port={} user=postgres", libpq["PGHOST"], libpq["PGPORT"]);
    second.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{address}'"));
    second.sql("SELECT pg_reload_conf()");
    first.sql("INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(301, 400) i");
    first.sql("SELECT pg_switch_wal()");
    first.sql("INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(401, 500) i");
    second.wait_until("SELECT count(*) FROM ledger", "500");
    first.kill();
    second.sql("SELECT pg_promote()");
    second.wait_until("SELECT pg_is_in_recovery()", "f");
    second.sql("INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(501, 600) i");
    second.switch_wal();
    second.wait_until("SELECT failed_count FROM pg_stat_archiver", "0");
    let keys = bucket.keys();
    assert!(keys.contains(&format!("{SERVER}/wals/00000002.history.gz")), "{keys:?}");
    let partial: Vec<&String> = keys.iter().filter(|key| key.ends_with(".partial.gz")).collect();
    assert_eq!(partial.len(), 1, "{keys:?}");

    // The former primary comes back and archives what it has ready. The replica has archived the same.
    let status = first.data().join("pg_wal/archive_status");
    let mut flushed = 0;
    for entry in fs::read_dir(&status).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(name) = name.strip_suffix(".ready") {
            store.wal_archive(first.data(), SERVER, &format!("pg_wal/{name}")).fails(0);
            flushed += 1;
        }
    }
    assert_eq!(flushed, 1);
    assert_eq!(bucket.keys(), keys);

    // Its volume is deleted and it is made anew, under another name, from the backup of before and all timelines.
    let mut third = replica(postgres, store, "third");
    third.configure("archive_mode", "off");
    third.start();
    third.wait_until("SELECT count(*) FROM ledger", "600");
    let checksum = "SELECT md5(string_agg(note, ',' ORDER BY id)) FROM ledger";
    assert_eq!(third.sql(checksum), second.sql(checksum));

    store.backup(&second, SERVER, "backup-20261121020000").fails(0);
    assert_eq!(store.show(SERVER, "backup-20261121020000")["cloud"]["timeline"], 2);
    third.stop();
    second.stop();
}

fn replica<'a>(postgres: &Postgres, store: &ObjectStore<'a>, name: &str) -> Cluster<'a> {
    let mut replica = Cluster::restored(store.scratch, postgres, name);
    let latest = store.catalog(SERVER).pop().unwrap();
    store.restore(SERVER, latest["backup_id"].as_str().unwrap(), replica.data()).fails(0);
    store.restore_by_manager(&mut replica, SERVER);
    replica.append("standby.signal", "");
    replica
}

fn add_rows_and_archive(primary: &Cluster<'_>) {
    primary.sql("INSERT INTO ledger SELECT max(id) + i, md5(i::text) FROM ledger, generate_series(1, 100) i GROUP BY i");
    primary.switch_wal();
}
