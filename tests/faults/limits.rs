//! Services with limits that others do not have: Cloudflare R2, and those that do not know the token of a list.

use crate::case::{Ground, Objects};
use crate::require;
use crate::support::{Barman, Bucket, Cluster, Fault, FaultProxy, Postgres, R2, RequestHead, run};
use crate::walg::Repository;

const SERVER: &str = "cluster";
/// The first segment of every cluster.
const FIRST: &str = "000000010000000000000001";

/// What R2 takes of parts, and what it does not.
#[test]
fn r2_wants_equal_parts() {
    const MIB: usize = 1 << 20;
    for (parts, refused) in [
        (vec![6, 6, 6], None),
        (vec![6, 6, 1], None),
        (vec![1], None),
        (vec![6, 5, 6], Some((400, "InvalidPart"))),
        (vec![6, 7], Some((400, "InvalidPart"))),
        (vec![4, 4, 4], Some((400, "EntityTooSmall"))),
    ] {
        let mut r2 = R2::default();
        for (number, part) in parts.iter().enumerate() {
            let head = format!("PUT /b/key?partNumber={}&uploadId=u HTTP/1.1", number + 1);
            assert_eq!(r2.refuses(&RequestHead::parse(&head), &vec![0; part * MIB]), None);
        }
        let complete = RequestHead::parse("POST /b/key?uploadId=u HTTP/1.1");
        assert_eq!(r2.refuses(&complete, b""), refused, "{parts:?}");
    }
}

/// Parts of each upload that was seen.
fn most_parts(requests: &[RequestHead]) -> usize {
    let of_upload = |head: &&RequestHead| head.method == "PUT" && head.target.contains("partNumber=");
    let mut parts = std::collections::BTreeMap::<&str, usize>::new();
    for part in requests.iter().filter(of_upload) {
        *parts.entry(part.target.split('?').next().unwrap()).or_default() += 1;
    }
    parts.into_values().max().unwrap_or_default()
}

/// Everything that is done with a repository, in both dialects.
#[test]
fn on_r2() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let ground = Ground::new();
    let scratch = &ground.scratch;
    let r2 = FaultProxy::as_r2(bucket.setting("AWS_ENDPOINT"));
    let endpoint = r2.endpoint();
    let cluster = Cluster::running(scratch, &postgres, "source", &[]);
    cluster.sql("SELECT pg_switch_wal()");
    // The server needs it no longer, and takes its file for another one.
    let segment = scratch.dir("wal").join(FIRST);
    std::fs::copy(cluster.data().join("pg_wal").join(FIRST), &segment).unwrap();
    scratch.own(&segment);
    // Enough for several parts of each tar.
    cluster.pgbench_init(3);

    let tool = ground.seawall.clone().with_all(bucket.env()).with("AWS_ENDPOINT", &endpoint);
    let tool = tool.with("WALG_COMPRESSION_METHOD", "none").with("WALG_S3_MAX_PART_SIZE", "5242880");
    let seawall = |words: &[&str]| run(tool.command(scratch, words).envs(cluster.libpq_env()));
    let restored = scratch.absent("restored");
    seawall(&["wal-push", segment.to_str().unwrap()]).success();
    seawall(&["wal-fetch", FIRST, scratch.absent("fetched").to_str().unwrap()]).success();
    seawall(&["backup-push", cluster.data().to_str().unwrap()]).success();
    assert!(most_parts(&r2.take_seen()) > 2, "parts were never put to the test");
    seawall(&["backup-list"]).success().stdout_has("base_");
    seawall(&["backup-fetch", restored.to_str().unwrap(), "LATEST"]).success();
    seawall(&["delete", "everything", "FORCE", "--confirm"]).success();
    assert_eq!(bucket.keys(), [""; 0]);

    let commands = Barman::seawall(scratch).for_bucket(&bucket);
    let barman = |command: &str, flags: &[&str], words: &[&str]| {
        let mut line = vec!["--endpoint-url", &endpoint];
        line.extend(flags);
        line.extend([bucket.setting("WALG_S3_PREFIX"), SERVER]);
        line.extend(words);
        run(commands.tool(command).command(scratch, line).envs(cluster.libpq_env()))
    };
    barman("check-wal-archive", &[], &[]).success();
    barman("wal-archive", &["--bzip2"], &[segment.to_str().unwrap()]).success();
    barman("wal-restore", &[], &[FIRST, scratch.absent("restored.wal").to_str().unwrap()]).success();
    // A tar that may become large has large parts.
    let small = ["--min-chunk-size=5MB", "--max-archive-size=100MB"];
    barman("backup", &[&small[..], &["--name=nightly", "--immediate-checkpoint"]].concat(), &[]).success();
    assert!(most_parts(&r2.take_seen()) > 1, "parts were never put to the test");
    barman("backup-list", &[], &[]).success().stdout_has("nightly");
    let restored = scratch.absent("restored.barman");
    barman("restore", &[], &["nightly", restored.to_str().unwrap()]).success();
    barman("backup-keep", &["--target=full"], &["nightly"]).success();
    barman("backup-keep", &["--release"], &["nightly"]).success();
    barman("backup-delete", &["--backup-id=nightly"], &[]).success();
    assert!(!bucket.keys().iter().any(|key| key.contains("/base/")), "{:?}", bucket.keys());
}

/// What R2 does not know is refused by it, and told in one line.
#[test]
fn what_r2_does_not_know() {
    let bucket = require!(Bucket::versitygw());
    let ground = Ground::new();
    let segment = Repository::new(&ground).segment;
    let segment = segment.to_str().unwrap();
    let r2 = FaultProxy::as_r2(bucket.setting("AWS_ENDPOINT"));
    let endpoint = r2.endpoint();
    let tool = ground.seawall.clone().with_all(bucket.env()).with("AWS_ENDPOINT", &endpoint);
    let kms = [("WALG_S3_SSE", "aws:kms"), ("WALG_S3_SSE_KMS_ID", "key")];
    for settings in [&kms[..], &[("WALG_S3_STORAGE_CLASS", "GLACIER")]] {
        let run = tool.clone().with_all(settings.iter().copied()).run(&ground.scratch, ["wal-push", segment]);
        run.fails(1).stderr_has("NotImplemented").stderr_has("(HTTP 501");
    }
    let url = bucket.setting("WALG_S3_PREFIX");
    let line = ["--endpoint-url", &endpoint, "--tag", "env,test", url, SERVER, segment];
    let run = Barman::seawall(&ground.scratch).for_bucket(&bucket).run(&ground.scratch, "wal-archive", line);
    run.fails(4).stderr_has("NotImplemented");
    assert_eq!(bucket.keys(), [""; 0]);
}

/// Pages that end early, with a word that there is more and no token to ask for it: as services do that know only the
/// first version of the request.
#[test]
fn lists_without_a_token() {
    let bucket = require!(Bucket::versitygw());
    let ground = Ground::new();
    let document = br#"{"LSN":117440552,"PgVersion":150018,"FinishLSN":117440816,"SystemIdentifier":7,"UncompressedSize":1,"CompressedSize":1}"#;
    let mut objects = Objects::new();
    for segment in 2..9 {
        let name = format!("00000001000000000000000{segment}");
        objects.insert(format!("basebackups_005/base_{name}_backup_stop_sentinel.json"), document.to_vec());
        objects.insert(format!("basebackups_005/base_{name}/tar_partitions/part_001.tar.lz4"), Vec::new());
        objects.insert(format!("wal_005/{name}.lz4"), vec![0]);
    }
    for (key, body) in &objects {
        bucket.put(&ground.scratch, key, body);
    }
    let proxy = FaultProxy::to(bucket.setting("AWS_ENDPOINT"));
    let is_list = |request: &RequestHead| request.method == "GET" && request.target.contains("prefix=");
    proxy.fail(usize::MAX, is_list, Fault::NoToken(3));
    let tool = ground.seawall.clone().with_all(bucket.env());
    let distant = tool.clone().with("AWS_ENDPOINT", &proxy.endpoint());
    for line in [&["backup-list"][..], &["wal-show", "--detailed-json"]] {
        let expected = tool.run(&ground.scratch, line).success().stdout;
        let listed = distant.run(&ground.scratch, line).success();
        assert_eq!(listed.stdout, expected, "{listed}");
        let pages = proxy.take_seen().len();
        assert!(pages > 3, "{pages} pages only");
    }
    distant.run(&ground.scratch, ["delete", "everything", "FORCE", "--confirm"]).success();
    assert_eq!(bucket.keys(), [""; 0]);
}
