//! What reaches the S3 service: nothing beyond the prefix, no header that was not asked for, and those that were.

use std::collections::BTreeMap;

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Gate, Postgres, RequestHead, next_second};

const SERVER: &str = "cluster";
const SEGMENT: &str = "000000010000000000000001";
const TAGGING: &str = "x-amz-tagging";
const ENCRYPTION: &str = "x-amz-server-side-encryption";

pub fn run(postgres: &Postgres, store: &ObjectStore<'_>) {
    let scratch = store.scratch;
    let gate = Gate::to(store.endpoint.as_ref().unwrap());
    let plain = ObjectStore { endpoint: Some(gate.endpoint()), ..store.clone() };
    let real = store.barman.is_real();
    let mut source = instance(scratch, postgres, "source");
    // The first segment is sent again when the server has long gone on.
    source.configure("wal_keep_size", "1GB");
    source.append("pg_wal/00000002.history", "1\t0/3000000\tno recovery target specified\n");

    // As the operator asks for when nothing is configured. The server will go on writing the segment.
    plain.wal_archive(source.data(), "early", &format!("pg_wal/{SEGMENT}")).fails(0);
    plain.wal_restore(source.data(), "early", SEGMENT, "fetched").fails(0);
    plain.archive_by_manager(&mut source, SERVER);
    source.start();
    let small_parts =
        ObjectStore { backup_args: vec!["--min-chunk-size=5MB", "--max-archive-size=40MB"], ..plain.clone() };
    small_parts.backup(&source, SERVER, "backup-20261121010000").fails(0);
    plain.catalog(SERVER);
    plain.delete_by_policy(SERVER, "RECOVERY WINDOW OF 1 DAYS").success();
    let requests = gate.take_passed();
    for request in &requests {
        stays_below_the_prefix(request, store);
        for header in [TAGGING, ENCRYPTION, "x-amz-acl", "x-amz-storage-class"] {
            assert!(!request.headers.contains_key(header), "{request:?}");
        }
        // Not every service knows a checksum behind the body.
        assert!(real || !request.headers.contains_key("x-amz-trailer"), "{request:?}");
    }
    assert!(real || parts_are_equal(&requests), "R2 takes no others: {requests:?}");

    // Tags and encryption.
    let tagged = ObjectStore {
        archive_args: vec!["-e", "AES256"],
        backup_args: vec!["--encryption", "AES256"],
        tags: vec!["env,test", "team,data base"],
        history_tags: vec!["kind,history"],
        ..plain
    };
    for (name, tags) in [(SEGMENT, "env=test&team=data+base"), ("00000002.history", "kind=history")] {
        tagged.wal_archive(source.data(), "tagged", &format!("pg_wal/{name}")).fails(0);
        // The archiver may have been sending the history file of the backup.
        let is_it = |request: &RequestHead| request.method == "PUT" && request.target.contains("/tagged/");
        let put = gate.take_passed().into_iter().find(is_it).unwrap();
        asks_for(&put, tags);
    }
    next_second();
    tagged.backup(&source, SERVER, "backup-20261121020000").fails(0);
    let mut creations = 0;
    for request in gate.take_passed() {
        if request.target.contains("/base/") && is_creation(&request) {
            asks_for(&request, "env=test&team=data+base");
            creations += 1;
        }
    }
    assert!(creations >= 2, "a description and a tar: {creations}");
    source.stop();
}

/// The start of an upload in parts, or a put of an object.
fn is_creation(request: &RequestHead) -> bool {
    match request.method.as_str() {
        "POST" => request.target.contains("?uploads"),
        "PUT" => !request.target.contains("partNumber"),
        _ => false,
    }
}

#[track_caller]
fn asks_for(request: &RequestHead, tags: &str) {
    assert_eq!(request.headers.get(TAGGING).unwrap().replace("%20", "+"), tags, "{request:?}");
    assert_eq!(request.headers.get(ENCRYPTION).map(String::as_str), Some("AES256"), "{request:?}");
}

/// The key of an object below the prefix, or a list of what is below it.
fn stays_below_the_prefix(request: &RequestHead, store: &ObjectStore<'_>) {
    let (bucket, prefix) = store.destination.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let object = request.target.starts_with(&format!("/{bucket}/{prefix}/"));
    let query = request.target.replace("%2F", "/");
    let list = request.method == "GET" && query.contains(&format!("prefix={prefix}/"));
    let delete = request.method == "POST" && request.target.ends_with("?delete");
    assert!(object || list || delete, "{request:?}");
}

/// All parts of an upload but the last have one size.
fn parts_are_equal(requests: &[RequestHead]) -> bool {
    let mut uploads: BTreeMap<&str, BTreeMap<u32, usize>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.method == "PUT") {
        let Some((key, query)) = request.target.split_once('?') else { continue };
        let number = query.split('&').find_map(|pair| pair.strip_prefix("partNumber="));
        if let Some(number) = number {
            uploads.entry(key).or_default().insert(number.parse().unwrap(), request.length());
        }
    }
    let several = uploads.values().any(|parts| parts.len() > 2);
    several
        && uploads.values().all(|parts| {
            let sizes: Vec<usize> = parts.values().copied().collect();
            let (last, others) = sizes.split_last().unwrap();
            others.iter().all(|size| *size == sizes[0] && last <= size)
        })
}
