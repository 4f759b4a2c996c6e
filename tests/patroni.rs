//! What Patroni needs: the real one, with the files and commands of `docs/patroni.md`.
//!
//! Two sites as in a pair of data centres: the second follows the archive of the first, with no connection to it, is
//! promoted when the first is lost, and gives back. And two members of one site, of which one is made from the archive.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "patroni/site.rs"]
mod site;
mod support;

use std::fs;
use std::net::TcpListener;

use site::{Stage, below};
use support::{Tool, blocks, run};

const ROWS: &str = "SELECT count(*), sum(id) FROM ledger";

#[test]
fn every_block_is_run_here() {
    let blocks = blocks("docs/patroni.md");
    let blocks: Vec<&str> = blocks.keys().map(String::as_str).collect();
    let run_here = [
        "backup",
        "backup-after-promotion",
        "callback",
        "demote",
        "gold",
        "promote",
        "promote-back",
        "standby",
        "standby-method",
    ];
    assert_eq!(blocks, run_here);
}

#[test]
fn the_second_site_follows_the_archive_and_is_promoted() {
    let stage = require!(Stage::new());
    let (gold_archive, gold_tool) = stage.archive("gold.archive");
    let (dr_archive, dr_tool) = stage.archive("golddr.archive");

    let mut gold = stage.member("gold", &stage.primary_site());
    gold.configure("seawall.json", &gold_tool);
    gold.start();
    gold.wait_until_it_is("primary");
    gold.cluster.sql("CREATE TABLE ledger AS SELECT generate_series(1, 100) id");
    gold.shell("backup");
    gold.cluster.sql("INSERT INTO ledger SELECT generate_series(101, 200)");
    gold.cluster.switch_wal();

    let mut dr = stage.member("golddr", &stage.standby_site("golddr", "gold"));
    dr.configure("seawall.json", &dr_tool);
    dr.configure("seawall-gold.json", &gold_tool);
    dr.start();
    dr.wait_until_it_is("standby_leader");
    dr.wait_until_it_says("replica has been created using archive_of_gold");
    dr.cluster.wait_until(ROWS, "200|20100");
    gold.cluster.sql("INSERT INTO ledger SELECT generate_series(201, 300)");
    gold.cluster.switch_wal();
    dr.cluster.wait_until(ROWS, "300|45150");
    assert_eq!(
        dr.cluster.sql("SELECT count(*) FROM pg_stat_wal_receiver"),
        "0",
        "it has a connection to gold"
    );
    assert_eq!(dr_archive.keys(), [""; 0], "a standby archives nothing");
    gold.stop();
    let archived_by_gold = gold_archive.keys();
    dr.shell("promote");
    dr.wait_until_it_is("primary");
    dr.cluster.sql("INSERT INTO ledger SELECT generate_series(301, 400)");
    let segment = dr.cluster.switch_wal();
    assert!(segment.starts_with("00000002"), "{segment}");
    assert_eq!(dr.cluster.sql(ROWS), "400|80200");
    let warning = "no base backup under";
    // On a slow disk the look is given up after a second, and is made again by a push ten minutes later.
    let looked = dr.cluster.data().join("pg_wal/walg_data/walg_archive_status/seawall_base_backup_check");
    for _ in 0..20 {
        if !dr.log().contains(warning) {
            let _ = fs::remove_file(&looked);
            dr.cluster.switch_wal();
        }
    }
    dr.wait_until_it_says(warning);
    let log = dr.log();
    let first = log.split("archived file=").nth(1).unwrap();
    assert!(first.starts_with("00000002.history"), "archived first: {first}");
    run(&mut dr_tool.command(&stage.scratch, ["backup-list"])).success().stderr_has(warning);
    dr.shell("backup");
    let list =
        run(&mut dr_tool.command(&stage.scratch, ["backup-list"])).success().stdout_has("base_00000002");
    assert!(!list.stderr.contains(warning), "{list}");
    assert_eq!(gold_archive.keys(), archived_by_gold, "the archive of the first site was changed");

    // The way back.
    let mut gold = stage.member("gold-again", &stage.standby_site("gold", "golddr"));
    gold.configure("seawall.json", &gold_tool);
    gold.configure("seawall-golddr.json", &dr_tool);
    gold.start();
    gold.wait_until_it_is("standby_leader");
    gold.cluster.wait_until(ROWS, "400|80200");
    dr.cluster.sql("INSERT INTO ledger SELECT generate_series(401, 500)");
    dr.shell("demote");
    dr.wait_until_it_is("standby_leader");
    let replayed = "SELECT pg_last_wal_replay_lsn()";
    gold.cluster.wait_until(replayed, &dr.cluster.sql(replayed));
    assert_eq!(gold.cluster.sql(ROWS), "500|125250");
    gold.shell("promote-back");
    gold.wait_until_it_is("primary");
    gold.cluster.sql("INSERT INTO ledger SELECT generate_series(501, 600)");
    let segment = gold.cluster.switch_wal();
    assert!(segment.starts_with("00000003"), "{segment}");
    dr.cluster.wait_until(ROWS, "600|180300");
    gold.shell("backup");
    let list = run(&mut gold_tool.command(&stage.scratch, ["backup-list"])).success();
    list.stdout_has("base_00000001").stdout_has("base_00000003");
}

/// A second leader while the first one goes on, and by mistake both have one archive: what comes first stays.
#[test]
fn two_leaders_of_one_archive() {
    let stage = require!(Stage::new());
    let (archive, tool) = stage.archive("archive");
    // Without a restore_command the first one does not notice that its archive has a later timeline.
    let mut gold = stage.member("gold", &stage.without("recovery_conf:", 2));
    gold.configure("seawall.json", &tool);
    gold.start();
    gold.wait_until_it_is("primary");
    gold.cluster.sql("CREATE TABLE ledger AS SELECT generate_series(1, 100) id");
    gold.shell("backup");
    gold.cluster.switch_wal();

    let standby = stage.standby_site("golddr", "gold");
    let mut dr = stage.member("golddr", &below(&standby, "postgresql:\n", &stage.blocks["callback"]));
    dr.configure("seawall.json", &tool);
    dr.configure("seawall-gold.json", &tool);
    dr.install("backup-after-promotion");
    dr.start();
    dr.wait_until_it_is("standby_leader");
    dr.cluster.wait_until(ROWS, "100|5050");
    dr.shell("promote");
    dr.wait_until_it_is("primary");
    let list = || run(&mut tool.command(&stage.scratch, ["backup-list"])).success().stdout;
    dr.wait("the backup after the promotion", || list().contains("base_00000002"));
    dr.cluster.sql("INSERT INTO ledger SELECT generate_series(1001, 1100)");
    dr.cluster.switch_wal();

    // The first one is on timeline 1 until its Patroni is started anew.
    gold.cluster.sql("INSERT INTO ledger SELECT generate_series(101, 200)");
    assert!(gold.cluster.switch_wal().starts_with("00000001"));
    let before: Vec<(String, Vec<u8>)> =
        archive.keys().into_iter().map(|key| (key.clone(), archive.get(&key))).collect();
    gold.stop();
    gold.start();
    gold.wait_until_it_is("primary");
    gold.cluster.sql("INSERT INTO ledger SELECT generate_series(201, 300)");
    gold.cluster.sql("SELECT pg_switch_wal()");
    gold.cluster
        .wait_until("SELECT failed_count > 0, last_failed_wal FROM pg_stat_archiver", "t|00000002.history");
    gold.wait_until_it_says("WAL file `00000002.history` is already archived");
    for (key, content) in before {
        assert!(archive.get(&key) == content, "{key} was changed");
    }
    // Both go on, and the archive with the one whose history it has.
    dr.cluster.sql("INSERT INTO ledger SELECT generate_series(1101, 1200)");
    dr.cluster.switch_wal();
    assert_eq!(gold.cluster.sql(ROWS), "300|45150");

    let mut restored = stage.restore(&tool, "restored");
    restored.recover_with(&tool);
    restored.configure("listen_addresses", "");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(restored.sql(ROWS), dr.cluster.sql(ROWS));
}

/// Called by wal-g's name, with settings in wal-g's file.
#[test]
fn members_of_one_site_take_turns() {
    let stage = require!(Stage::new());
    let (_archive, tool) = stage.archive("archive");
    let config = stage.primary_site().replace("seawall --config /etc/seawall.json", "wal-g");
    let [one, two, third] = [site::address(), site::address(), site::address()];
    let _controller = stage.controller(&third, &[&one, &two]);
    let mut first = stage.voter("one", &config, &one, &[&two, &third]);
    first.use_archive(&tool);
    first.start();
    first.wait_until_it_is("primary");
    first.cluster.sql("CREATE TABLE ledger AS SELECT generate_series(1, 100) id");
    first.cluster.push_backup(&tool);

    // A replica from the archive, though there is a primary to copy.
    let mut second = stage.voter("two", &config.replace("gold-1", "gold-2"), &two, &[&one, &third]);
    second.use_archive(&tool);
    second.start();
    second.wait_until_it_is("replica");
    second.wait_until_it_says("replica has been created using archive");
    first.cluster.sql("INSERT INTO ledger SELECT generate_series(101, 200)");
    second.cluster.wait_until(ROWS, "200|20100");
    first.cluster.wait_until("SELECT state FROM pg_stat_replication", "streaming");

    // Patroni of the primary dies and leaves it running: for a while there are two.
    first.kill_patroni();
    second.wait_until_it_is("primary");
    second.cluster.wait_until("SELECT pg_is_in_recovery()", "f");
    first.cluster.sql("INSERT INTO ledger SELECT generate_series(1001, 1100)");
    let lost = first.cluster.switch_wal();
    assert!(lost.starts_with("00000001"), "{lost}");
    first.cluster.sql("INSERT INTO ledger SELECT generate_series(1101, 1200)");
    second.cluster.sql("INSERT INTO ledger SELECT generate_series(201, 300)");
    assert!(second.cluster.switch_wal().starts_with("00000002"));
    first.kill_server();
    first.start();
    first.wait_until_it_is("replica");
    first.cluster.wait_until(ROWS, "300|45150");
    first.wait_until_it_says("pg_rewind exit code=0");

    // A new volume, and a storage that takes connections and never answers.
    first.stop();
    first.wipe();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let dead = Tool::seawall(&stage.scratch).with_all([
        ("WALG_S3_PREFIX", "s3://backups/gold"),
        ("AWS_ENDPOINT", &endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_S3_FORCE_PATH_STYLE", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]);
    first.use_archive(&dead);
    first.start();
    first.wait_until_it_says("Error creating replica using method archive");
    // It answers again. Without that the start would go on as well, with such a wait for each file that it asks for.
    first.use_archive(&tool);
    first.wait_until_it_says("replica has been created using basebackup");
    first.wait_until_it_is("replica");
    second.cluster.sql("INSERT INTO ledger SELECT generate_series(301, 400)");
    first.cluster.wait_until(ROWS, "400|80200");
}
