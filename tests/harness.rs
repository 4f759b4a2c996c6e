//! The parts the end-to-end tests stand on, tried by themselves: every PostgreSQL version, every storage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Bucket, Cluster, Postgres, Scratch};

/// initdb, start, SQL, pgbench, a crash, a stop: on each version.
fn cluster_lives(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let mut cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    assert!(cluster.sql("SHOW server_version").starts_with(&version.to_string()));
    cluster.pgbench_init(1);
    cluster.kill();
    cluster.start();
    assert_eq!(cluster.sql("SELECT count(*) FROM pgbench_accounts"), "100000");
    cluster.stop();
    assert!(!cluster.data().join("postmaster.pid").exists());
}

#[test]
fn postgresql_13_lives() {
    cluster_lives(13);
}

#[test]
fn postgresql_14_lives() {
    cluster_lives(14);
}

#[test]
fn postgresql_15_lives() {
    cluster_lives(15);
}

#[test]
fn postgresql_16_lives() {
    cluster_lives(16);
}

#[test]
fn postgresql_17_lives() {
    cluster_lives(17);
}

#[test]
fn postgresql_18_lives() {
    cluster_lives(18);
}

#[test]
fn foreign_cluster_has_another_system_identifier() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let system_identifier = |mut cluster: Cluster<'_>| {
        cluster.start();
        cluster.sql("SELECT system_identifier FROM pg_control_system()")
    };
    let ours = system_identifier(Cluster::create(&scratch, &postgres, "ours", &[]));
    let same = system_identifier(Cluster::create(&scratch, &postgres, "same", &[]));
    let foreign = system_identifier(Cluster::foreign(&scratch, &postgres, "foreign"));
    assert_eq!(ours, same);
    assert_ne!(ours, foreign);
}

#[test]
fn cluster_that_cannot_start_says_why() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &[]);
    cluster.configure("shared_buffers", "plenty");
    assert!(cluster.try_start().unwrap_err().contains("shared_buffers"));
}

fn bucket_holds_objects(bucket: &Bucket, scratch: &Scratch) {
    assert!(bucket.keys().is_empty());
    bucket.put(scratch, "wal_005/b", b"two");
    bucket.put(scratch, "a", b"one");
    assert_eq!(bucket.keys(), ["a", "wal_005/b"]);
    assert_eq!(bucket.get("wal_005/b"), b"two");
    bucket.delete("a");
    assert_eq!(bucket.keys(), ["wal_005/b"]);
}

#[test]
fn directory_bucket_holds_objects() {
    let scratch = Scratch::new();
    bucket_holds_objects(&Bucket::directory(&scratch, "storage"), &scratch);
}

#[test]
fn swift_bucket_holds_objects() {
    let bucket = require!(Bucket::swift());
    bucket_holds_objects(&bucket, &Scratch::new());
}

#[test]
fn versitygw_bucket_holds_objects() {
    let bucket = require!(Bucket::versitygw());
    bucket_holds_objects(&bucket, &Scratch::new());
}
