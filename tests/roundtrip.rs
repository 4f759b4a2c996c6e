//! Archive, back up, list, delete, restore: with seawall on both ends, and with the real wal-g on one of them.
//! On each PostgreSQL version, each storage, each compression and encryption.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::{Bucket, Cluster, Postgres, Scratch, Tool};

const KEY_HEX: &str = "4c9d2a7be1f3580642b7d9c8e5a1f03b6d7e8f9012a3b4c5d6e7f8091a2b3c4d";
const KEY_BASE64: &str = "UHV0IHRoZSBrZXkgb2YgdGhpcyB0ZXN0IGluIGhlcmU=";
const KEY_BARE: &str = "a key of thirty-two bytes, bare.";

/// Compression and encryption of a repository.
type Packing = &'static [(&'static str, &'static str)];

const LZ4: Packing = &[("WALG_COMPRESSION_METHOD", "lz4")];
const ZSTD_HEX: Packing = &[
    ("WALG_COMPRESSION_METHOD", "zstd"),
    ("WALG_LIBSODIUM_KEY", KEY_HEX),
    ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex"),
];
const BROTLI_BASE64: Packing = &[
    ("WALG_COMPRESSION_METHOD", "brotli"),
    ("WALG_LIBSODIUM_KEY", KEY_BASE64),
    ("WALG_LIBSODIUM_KEY_TRANSFORM", "base64"),
];
const LZMA_BARE: Packing = &[("WALG_COMPRESSION_METHOD", "lzma"), ("WALG_LIBSODIUM_KEY", KEY_BARE)];
const NONE: Packing = &[("WALG_COMPRESSION_METHOD", "none")];

/// Two backups with changes around them, made by `writer`; then `reader` lists them, deletes the older one and
/// restores to the moment before the last change.
fn roundtrip(scratch: &Scratch, postgres: &Postgres, writer: &Tool, reader: &Tool) {
    let mut source = Cluster::create(scratch, postgres, "source", &["--data-checksums"]);
    source.archive_with(writer);
    source.start();
    source.sql("CREATE TABLE ledger (id int PRIMARY KEY, note text)");
    let add = |count: u32| {
        source.sql(&format!(
            "INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(1, {count}) i \
             ON CONFLICT (id) DO UPDATE SET note = ledger.note || 'x'"
        ));
    };
    add(3000);
    source.push_backup(writer);
    add(6000);
    source.push_backup(writer);
    add(9000);
    let expected = ledger(&source);
    let target = source.sql("SELECT pg_current_wal_lsn()");
    source.sql("DELETE FROM ledger");
    source.switch_wal();
    source.stop();

    let names = backup_names(scratch, reader);
    assert_eq!(names.len(), 2, "{names:?}");
    reader.run(scratch, ["delete", "retain", "FULL", "1", "--confirm"]).success();
    assert_eq!(backup_names(scratch, reader), names[1..]);

    let mut restored = Cluster::restored(scratch, postgres, "restored");
    reader.run(scratch, ["backup-fetch", restored.data().to_str().unwrap(), "LATEST"]).success();
    restored.recover_with(reader);
    restored.configure("recovery_target_lsn", &target);
    restored.configure("recovery_target_inclusive", "off");
    restored.configure("recovery_target_action", "promote");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

fn ledger(cluster: &Cluster<'_>) -> String {
    cluster.sql("SELECT count(*), md5(string_agg(id || note, ',' ORDER BY id)) FROM ledger")
}

/// Oldest first.
fn backup_names(scratch: &Scratch, tool: &Tool) -> Vec<String> {
    let list = tool.run(scratch, ["backup-list", "--json"]).success().stdout;
    let backups: Vec<Value> = serde_json::from_str(&list).unwrap();
    backups.iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect()
}

/// seawall on both ends.
fn ours(version: u32, packing: Packing) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let seawall = Tool::seawall(&scratch).waiting_for_wal();
    let seawall = seawall.with_all(bucket.env()).with_all(packing.iter().copied());
    roundtrip(&scratch, &postgres, &seawall, &seawall);
}

/// Written by one of the two and read by the other, both ways.
fn with_walg(bucket: impl Fn(&Scratch, &str) -> Bucket, packing: Packing) {
    let postgres = require!(Postgres::version(15));
    for direction in ["walg-to-us", "us-to-walg"] {
        let scratch = Scratch::new();
        let bucket = bucket(&scratch, direction);
        let settings = |tool: Tool| tool.with_all(bucket.env()).with_all(packing.iter().copied());
        let walg = settings(require!(Tool::walg(&scratch)));
        let seawall = settings(Tool::seawall(&scratch).waiting_for_wal());
        let (writer, reader) = if direction == "walg-to-us" { (walg, seawall) } else { (seawall, walg) };
        roundtrip(&scratch, &postgres, &writer, &reader);
        // Of the two that seawall writes, wal-g has deleted the one with its backup.
        let records = bucket.keys().iter().filter(|key| key.ends_with("/checksums.json")).count();
        assert_eq!(records, usize::from(direction == "us-to-walg"));
    }
}

/// seawall on both ends of a bucket.
fn on_s3(bucket: &Bucket) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let seawall = Tool::seawall(&scratch).waiting_for_wal();
    let seawall = seawall.with_all(bucket.env()).with_all(BROTLI_BASE64.iter().copied());
    roundtrip(&scratch, &postgres, &seawall, &seawall);
}

#[test]
fn postgresql_13() {
    ours(13, LZ4);
}

#[test]
fn postgresql_14() {
    ours(14, ZSTD_HEX);
}

#[test]
fn postgresql_15() {
    ours(15, NONE);
}

#[test]
fn postgresql_16() {
    ours(16, BROTLI_BASE64);
}

#[test]
fn postgresql_17() {
    ours(17, LZMA_BARE);
}

#[test]
fn postgresql_18() {
    ours(18, LZ4);
}

#[test]
fn swift() {
    on_s3(&require!(Bucket::swift()));
}

#[test]
fn versitygw() {
    on_s3(&require!(Bucket::versitygw()));
}

#[test]
fn walg_lz4() {
    with_walg(Bucket::directory, LZ4);
}

#[test]
fn walg_zstd_hex() {
    with_walg(Bucket::directory, ZSTD_HEX);
}

#[test]
fn walg_brotli_base64() {
    with_walg(Bucket::directory, BROTLI_BASE64);
}

#[test]
fn walg_lzma_bare() {
    with_walg(Bucket::directory, LZMA_BARE);
}

#[test]
fn walg_none() {
    with_walg(Bucket::directory, NONE);
}

#[test]
fn walg_on_swift() {
    require!(Bucket::swift());
    with_walg(|_, _| Bucket::swift().unwrap(), BROTLI_BASE64);
}

#[test]
fn walg_on_versitygw() {
    require!(Bucket::versitygw());
    with_walg(|_, _| Bucket::versitygw().unwrap(), LZ4);
}
