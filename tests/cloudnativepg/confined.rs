//! A backup and a recovery as they run on OpenShift: by a user id without a name, on a root file system that is read-only.

use std::fs;

use crate::operator::ObjectStore;
use crate::support::{Cluster, Postgres, run as run_command};

const SERVER: &str = "cluster";

/// In the directory of [`Scratch::confined`](crate::support::Scratch::confined), which holds the volumes.
pub fn run(postgres: &Postgres, store: &ObjectStore<'_>) {
    let store =
        &ObjectStore { data_compression: Some("gzip"), wal_compression: Some("gzip"), ..store.clone() };
    let scratch = store.scratch;
    let written = run_command(scratch.command("touch").args([
        "/tmp/written",
        "/var/tmp/written",
        "/dev/shm/../written",
    ]));
    assert_eq!(written.exits(1).stderr.matches("Read-only file system").count(), 3);
    run_command(scratch.command("whoami").env("LC_ALL", "C")).fails(1).stderr_has("54321");

    let mut source = Cluster::create(scratch, postgres, "source", &[]);
    store.archive_by_manager(&mut source, SERVER);
    source.start();
    source.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) id");
    store.backup(&source, SERVER, "backup-20261121010000").fails(0);
    source.sql("INSERT INTO ledger SELECT generate_series(1001, 2000)");
    source.switch_wal();
    source.stop();
    let backup = store.catalog(SERVER).pop().unwrap();
    assert_eq!(store.show(SERVER, "backup-20261121010000")["cloud"], backup);

    let mut restored = Cluster::restored(scratch, postgres, "restored");
    store.restore(SERVER, backup["backup_id"].as_str().unwrap(), restored.data()).fails(0);
    store.restore_by_manager(&mut restored, SERVER);
    restored.configure("archive_mode", "off");
    restored.append("recovery.signal", "");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(restored.sql("SELECT count(*) FROM ledger"), "2000");
    restored.stop();
    store.delete_by_policy(SERVER, "RECOVERY WINDOW OF 1 DAYS").success();

    // The commands for WAL need no place for temporary files at all.
    let begin_wal = backup["begin_wal"].as_str().unwrap();
    let [fetch, archive] =
        ["wal-restore", "wal-archive"].map(|command| store.barman.tool(command).with("TMPDIR", "/tmp"));
    let place = ["--endpoint-url", store.endpoint.as_ref().unwrap(), &store.destination, SERVER];
    let fetched = scratch.absent(begin_wal);
    fetch.run(scratch, place.into_iter().chain([begin_wal, fetched.to_str().unwrap()])).fails(0);
    assert_eq!(fs::metadata(&fetched).unwrap().len(), 16 << 20);
    archive.run(scratch, ["--gzip"].into_iter().chain(place).chain([fetched.to_str().unwrap()])).fails(0);
}
