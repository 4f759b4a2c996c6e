//! Every single request of an operation fails once: the operation then succeeds, or says why not and leaves nothing
//! half done, neither in the storage nor on the disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall::catalog;
use seawall::codec::{Cipher, Compression, KeyRing, KeySource, KeyTransform, Method, decode, encode};
use seawall::layout::Owner;
use seawall::layout::walg::{WalG, names};
use seawall::ops::backup_choice::BackupChoice;
use seawall::ops::backup_push::{
    DeltaOptions, Format, Origin, Packing, ParentRules, VerifyDelta, WalGFormat, WalWitness, WithoutMap,
};
use seawall::ops::changed_blocks::{Rules, Source};
use seawall::ops::ownership::TakeOver;
use seawall::ops::segment_check::SegmentCheck;
use seawall::ops::wal_fetch::Recovery;
use seawall::ops::wal_push::{ChangedBlocks, Overwrite, ReadMarks, ReadyFiles, WalMetadata};
use seawall::ops::{Class, Context, Error, backup_fetch, backup_push, wal_fetch, wal_push};
use seawall::pg::ConnInfo;
use seawall::pg::session::Checkpoint;
use seawall::storage::memory::{Fault, Memory, Operation};
use seawall::storage::{ErrorKind, Key, Prefix, Storage};
use support::{Cluster, Fixture, Postgres, Scratch, files_below};
use tokio_util::sync::CancellationToken;

const SEGMENT: &str = "000000010000000000000001";
const NEXT: &str = "000000010000000000000002";

/// Longer than any of these operations takes on a busy machine; a deadlock lasts longer still.
const LIMIT: Duration = Duration::from_secs(120);

/// Before its effect, and after it with the answer lost.
const FAULTS: [Fault; 2] = [Fault::Before(ErrorKind::Refused), Fault::After(ErrorKind::Network)];

/// As the faults, and a body that breaks off.
const READ_FAULTS: [Fault; 3] =
    [Fault::Before(ErrorKind::Refused), Fault::After(ErrorKind::Network), Fault::CutBody(100)];

const OPERATIONS: [Operation; 8] = [
    Operation::Head,
    Operation::Get,
    Operation::Put,
    Operation::StartUpload,
    Operation::PutPart,
    Operation::Complete,
    Operation::List,
    Operation::Delete,
];

fn context(memory: &Memory) -> Context {
    support::context(Arc::new(memory.clone()), &WalG)
}

/// As the command line runs wal-push and wal-fetch.
fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, future).await });
    runtime.shutdown_background();
    outcome.expect("the operation ends")
}

/// As the command line runs backup-push and backup-fetch.
fn on_two_threads<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, future).await });
    runtime.shutdown_background();
    outcome.expect("the operation ends")
}

/// Each request of `clean` once, with each of the faults.
fn each_step(clean: &Memory, faults: &[Fault], mut run: impl FnMut(&dyn Fn(&Memory), &str)) {
    for operation in OPERATIONS {
        for call in 1..=clean.calls(operation) {
            for fault in faults {
                run(
                    &|memory| memory.fail(operation, call, *fault),
                    &format!("{operation:?} {call} {fault:?}"),
                );
            }
        }
    }
}

/// Text that hardly gets smaller.
fn content(size: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

fn encoded(plain: &[u8], compression: Compression, cipher: &Cipher) -> Vec<u8> {
    let mut encoder = encode(Vec::new(), compression, cipher).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn decoded(stored: &[u8], method: Method, cipher: &Cipher) -> Vec<u8> {
    let mut plain = Vec::new();
    decode(stored, method, cipher).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

fn push_options(overwrite: Overwrite) -> wal_push::Options {
    wal_push::Options {
        overwrite,
        concurrency: 4,
        files_at_most: 32,
        check: SegmentCheck::Skip,
        take_over: TakeOver::NEVER,
        marks: ReadMarks::Yes,
        ready_files: ReadyFiles::Keep,
        metadata: WalMetadata::None,
        blocks: ChangedBlocks::Forget,
        cores: 2,
    }
}

/// A `pg_wal` of a small file to push and a larger neighbour that goes up in parts.
fn pg_wal(directory: &Path) {
    fs::create_dir_all(directory.join("archive_status")).unwrap();
    for (name, size) in [(SEGMENT, 1000), (NEXT, 3 << 20)] {
        fs::write(directory.join(name), content(size)).unwrap();
        fs::write(directory.join(format!("archive_status/{name}.ready")), "").unwrap();
    }
}

#[test]
fn wal_push() {
    for overwrite in [Overwrite::Allow, Overwrite::PreventByName, Overwrite::Prevent] {
        let clean = Memory::new();
        let directory = tempfile::tempdir().unwrap();
        pg_wal(directory.path());
        let push = |memory: &Memory, directory: &Path| {
            let path = directory.join(SEGMENT);
            on_one_thread(wal_push::run(&context(memory), &path, push_options(overwrite)))
        };
        push(&clean, directory.path()).unwrap();
        assert!(clean.calls(Operation::PutPart) > 1, "the neighbour goes up in parts");
        each_step(&clean, &READ_FAULTS, |schedule, case| {
            let (memory, directory) = (Memory::new(), tempfile::tempdir().unwrap());
            pg_wal(directory.path());
            schedule(&memory);
            let outcome = push(&memory, directory.path());
            let stored = |name| {
                let key = names::wal_key(name, Method::Lz4);
                memory.content(&key).map(|object| decoded(&object, Method::Lz4, &Cipher::None))
            };
            assert!(outcome.is_err() || stored(SEGMENT).is_some(), "{case}");
            assert!(stored(SEGMENT).is_none_or(|plain| plain == content(1000)), "{case}");
            assert!(stored(NEXT).is_none_or(|plain| plain == content(3 << 20)), "{case}");
            let mark = directory.path().join("walg_data/walg_archive_status").join(NEXT);
            assert!(!mark.exists() || stored(NEXT).is_some(), "{case}: a mark without an object");
            if let Err(error) = outcome {
                assert_eq!(error.class(), Class::Storage, "{case}: {error}");
            }
            // PostgreSQL asks again, and for the next one.
            push(&memory, directory.path()).unwrap();
            let next = directory.path().join(NEXT);
            on_one_thread(wal_push::run(&context(&memory), &next, push_options(overwrite))).unwrap();
            assert_eq!((stored(SEGMENT).unwrap(), stored(NEXT).unwrap()), (content(1000), content(3 << 20)));
        });
    }
}

/// Two servers look at the same time, and find nothing: one of them stores the segment, and the other is refused.
#[test]
fn wal_push_that_is_overtaken() {
    let directory = tempfile::tempdir().unwrap();
    pg_wal(directory.path());
    let key = names::wal_key(SEGMENT, Method::Lz4);
    let large = content(41 << 20);
    // In one request, and in parts.
    for (plain, other, expected) in [
        (&large[..1000], &large[..1000], true),
        (&large[..1000], &large[..999], false),
        (&large, &large, true),
        (&large, &large[1..], false),
    ] {
        let path = directory.path().join(SEGMENT);
        fs::write(&path, plain).unwrap();
        let memory = Memory::new();
        let stored = encoded(other, Compression::default(), &Cipher::None);
        memory.set(&key, stored.clone());
        memory.fail(Operation::Head, 1, Fault::TooEarly);
        let mut options = push_options(Overwrite::PreventByName);
        options.files_at_most = 1;
        let pushed = on_one_thread(wal_push::run(&context(&memory), &path, options));
        assert_eq!(pushed.is_ok(), expected, "{pushed:?}");
        assert_eq!(memory.calls(Operation::PutPart) > 0, plain.len() > 1000);
        assert_eq!(memory.content(&key).unwrap(), stored);
    }
}

/// It was encoded while the archive was asked; nothing of that is left.
#[test]
fn wal_push_of_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    pg_wal(directory.path());
    let path = directory.path().join(SEGMENT);
    let key = names::wal_key(SEGMENT, Method::Lz4);
    // In one request, and in parts.
    for size in [1000, 41 << 20] {
        let plain = content(size);
        fs::write(&path, &plain).unwrap();
        for (other, expected) in [(&plain[..], true), (&plain[1..], false)] {
            let memory = Memory::new();
            let stored = encoded(other, Compression::default(), &Cipher::None);
            memory.set(&key, stored.clone());
            let mut options = push_options(Overwrite::Prevent);
            options.files_at_most = 1;
            let pushed = on_one_thread(wal_push::run(&context(&memory), &path, options));
            match expected {
                true => assert_eq!(pushed.unwrap(), wal_push::Outcome::AlreadyThere),
                false => assert!(matches!(pushed, Err(Error::AlreadyArchived { .. })), "{pushed:?}"),
            }
            assert_eq!(memory.content(&key).unwrap(), stored);
            assert_eq!((memory.calls(Operation::Put), memory.calls(Operation::Complete)), (0, 0));
            let unfinished = on_one_thread(memory.unfinished_page(&Prefix::root(), None)).unwrap();
            assert!(unfinished.objects.is_empty(), "{unfinished:?}");
        }
    }
}

/// A wrong key, a damaged or an unreachable object in place of the one to compare with: not "other content".
#[test]
fn wal_push_that_cannot_compare() {
    let directory = tempfile::tempdir().unwrap();
    pg_wal(directory.path());
    let path = directory.path().join(SEGMENT);
    let key = names::wal_key(SEGMENT, Method::Lz4);
    let whole = encoded(&content(1000), Compression::default(), &Cipher::None);
    for (object, fault, class) in [
        (whole[..500].to_vec(), None, Class::Integrity),
        (b"no lz4".to_vec(), None, Class::Integrity),
        (whole.clone(), Some(Fault::CutBody(500)), Class::Storage),
    ] {
        let memory = Memory::new();
        memory.set(&key, object.clone());
        if let Some(fault) = fault {
            memory.fail(Operation::Get, 1, fault);
        }
        let mut options = push_options(Overwrite::Prevent);
        options.files_at_most = 1;
        let error = on_one_thread(wal_push::run(&context(&memory), &path, options)).unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(key.as_str()), "{error}");
        assert!(error.to_string().contains("cannot be compared"), "{error}");
        let says_to_remove = error.hint().is_some_and(|hint| hint.contains("removed"));
        assert_eq!(says_to_remove, class == Class::Integrity, "{error}");
        assert_eq!(memory.content(&key).unwrap(), object);
    }
}

/// What hangs ends with the signal, and the neighbours end with it: in whichever of the two requests that hang the signal comes.
#[test]
fn wal_push_is_cancelled() {
    let (of_the_segment, of_its_neighbour) = ((Operation::Put, 1), (Operation::PutPart, 2));
    for (operation, call) in [of_the_segment, of_its_neighbour] {
        let directory = tempfile::tempdir().unwrap();
        pg_wal(directory.path());
        let memory = Memory::new();
        // Both, as the neighbour may be stored as soon as it is encoded.
        for (operation, call) in [of_the_segment, of_its_neighbour] {
            memory.fail(operation, call, Fault::Hang);
        }
        let context = context(&memory);
        let path = directory.path().join(SEGMENT);
        let outcome = on_one_thread(async {
            let cancel = async {
                while memory.calls(operation) < call {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                context.cancel.cancel();
            };
            tokio::join!(wal_push::run(&context, &path, push_options(Overwrite::Allow)), cancel).0
        });
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
        for name in [SEGMENT, NEXT] {
            assert!(memory.content(&names::wal_key(name, Method::Lz4)).is_none(), "{name}");
        }
    }
}

#[test]
fn wal_fetch() {
    let plain = content(300_000);
    // In the configured form, and in the one that is looked for last.
    for compression in [Compression::default(), Compression::None] {
        let object = encoded(&plain, compression, &Cipher::None);
        let key = names::wal_key(SEGMENT, compression.method());
        let fetch = |memory: &Memory, directory: &Path| {
            let options = wal_fetch::Options {
                check: SegmentCheck::Skip,
                prefetch: None,
                recovery: Recovery::AsksAgain,
            };
            let destination = directory.join("RECOVERYXLOG");
            on_one_thread(async { wal_fetch::run(&context(memory), SEGMENT, &destination, options).await })
        };
        let (clean, directory) = (Memory::new(), tempfile::tempdir().unwrap());
        clean.set(&key, object.clone());
        fetch(&clean, directory.path()).unwrap();
        each_step(&clean, &READ_FAULTS, |schedule, case| {
            let (memory, directory) = (Memory::new(), tempfile::tempdir().unwrap());
            memory.set(&key, object.clone());
            schedule(&memory);
            let outcome = fetch(&memory, directory.path());
            let files = files_below(directory.path());
            match outcome {
                Ok(()) => assert_eq!(files, BTreeMap::from([("RECOVERYXLOG".to_owned(), plain.clone())])),
                Err(error) => {
                    assert_eq!(error.class(), Class::Storage, "{case}: never 'missing'");
                    assert!(files.is_empty(), "{case}: {:?}", files.keys());
                }
            }
        });
    }
}

/// The fixture of two deltas on a full backup, in memory, with its key.
fn chain(scratch: &Scratch) -> (BTreeMap<String, Vec<u8>>, Cipher) {
    let fixture = Fixture::open(scratch, "brotli-sodium-hex");
    let env: BTreeMap<&str, &str> = fixture.env().collect();
    let key = env["WALG_LIBSODIUM_KEY"].as_bytes();
    let ring = KeyRing::parse(key, KeyTransform::Hex, KeySource::Inline).unwrap();
    let mut objects = files_below(Path::new(env["WALG_FILE_PREFIX"]));
    objects.retain(|name, _| name.starts_with("basebackups_005/"));
    (objects, Cipher::Sodium(ring))
}

fn repository(objects: &BTreeMap<String, Vec<u8>>) -> Memory {
    let memory = Memory::new();
    for (name, body) in objects {
        memory.set(&Key::parse(name).unwrap(), body.clone());
    }
    memory
}

const NEWEST: &str = "base_000000010000000000000006_D_000000010000000000000004";

fn restore(memory: &Memory, cipher: &Cipher, target: &Path) -> Result<(), Error> {
    let context = Context { cipher: cipher.clone(), ..context(memory) };
    let options = backup_fetch::Options {
        target: target.to_owned(),
        concurrency: 4,
        cores: 2,
        network_rate: None,
        sync: backup_fetch::SyncFiles::No,
    };
    let choice = BackupChoice::Name(NEWEST.parse().unwrap());
    on_two_threads(async {
        let plan = backup_fetch::Plan::walg(&context, &choice, None).await?;
        backup_fetch::run(&context, plan, options).await
    })
}

#[test]
fn backup_fetch() {
    let scratch = Scratch::new();
    let (objects, cipher) = chain(&scratch);
    let clean = repository(&objects);
    let directory = tempfile::tempdir().unwrap();
    restore(&clean, &cipher, directory.path()).unwrap();
    let expected = files_below(directory.path());
    assert!(expected.contains_key("global/pg_control"));
    each_step(&clean, &[Fault::Before(ErrorKind::Refused), Fault::CutBody(100)], |schedule, case| {
        let (memory, directory) = (repository(&objects), tempfile::tempdir().unwrap());
        schedule(&memory);
        match restore(&memory, &cipher, directory.path()) {
            Ok(()) => assert!(files_below(directory.path()) == expected, "{case}"),
            Err(error) => {
                assert_eq!(error.class(), Class::Storage, "{case}: {error}");
                assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{case}");
            }
        }
    });
}

/// One object of the chain missing, cut or altered at a time.
#[test]
fn backup_fetch_of_a_damaged_chain() {
    let scratch = Scratch::new();
    let (objects, cipher) = chain(&scratch);
    let directory = tempfile::tempdir().unwrap();
    restore(&repository(&objects), &cipher, directory.path()).unwrap();
    let expected = files_below(directory.path());
    for name in objects.keys() {
        for damage in ["missing", "cut", "altered"] {
            let case = format!("{name} {damage}");
            let mut objects = objects.clone();
            let body = objects.get_mut(name).unwrap();
            match damage {
                "missing" => drop(objects.remove(name)),
                "cut" => body.truncate(body.len() / 2),
                _ => {
                    let middle = body.len() / 2;
                    body[middle] ^= 0x80;
                }
            }
            let directory = tempfile::tempdir().unwrap();
            match restore(&repository(&objects), &cipher, directory.path()) {
                // Not needed, or a letter in the description of something that does not matter here.
                Ok(()) => assert!(files_below(directory.path()) == expected, "{case}"),
                Err(error) => {
                    let missing = damage == "missing" && error.class() == Class::Missing;
                    assert!(missing || error.class() == Class::Integrity, "{case}: {error}");
                    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{case}");
                }
            }
        }
    }
}

fn push_backup(memory: &Memory, cluster: &Cluster, cancel: &CancellationToken) -> Result<(), Error> {
    push(memory, cluster, cancel, None)
}

fn push(
    memory: &Memory,
    cluster: &Cluster,
    cancel: &CancellationToken,
    delta: Option<DeltaOptions>,
) -> Result<(), Error> {
    let context = Context { cancel: cancel.clone(), ..context(memory) };
    let env = cluster.libpq_env();
    let options = backup_push::Options {
        data_dir: Some(cluster.data().to_owned()),
        conninfo: ConnInfo::from_env(&|name| env.get(name).cloned()).unwrap(),
        format: Format::WalG(WalGFormat {
            is_permanent: false,
            user_data: None,
            delta,
            with_files_metadata: true,
            with_relations: false,
        }),
        take_over: TakeOver::NEVER,
        checkpoint: Checkpoint::Immediate,
        verify: backup_push::VerifyPages::No,
        packing: Packing { tar_bytes: 8 << 20, workers: 2, uploads: 2, disk_rate: None, network_rate: None },
        // An operation that ends, ends by something else.
        stop_timeout: 2 * LIMIT,
        wal_timeout: Duration::ZERO,
        wal_witness: WalWitness::Archive,
        alive_check: Duration::from_secs(60),
        exclude: Vec::new(),
    };
    on_two_threads(backup_push::run(&context, options)).map(drop)
}

/// A memory with the same objects, and no faults.
fn copy_of(memory: &Memory) -> Memory {
    let copy = Memory::new();
    for key in memory.keys() {
        copy.set(&key, memory.content(&key).unwrap());
    }
    copy
}

/// The backups that can be seen are whole: each tar that the list of files names is there and holds its members.
fn assert_whole_or_nothing(memory: &Memory, case: &str) -> usize {
    // Looked at past the faults, and without counting as requests of the operation.
    let memory = &copy_of(memory);
    let backups = on_one_thread(catalog::walg::list(memory)).unwrap();
    if backups.is_empty() {
        let mut left = memory.keys();
        left.retain(|key| *key != Owner::key(&WalG));
        assert!(left.is_empty(), "{case}: left {left:?}");
    }
    for backup in &backups {
        let files = on_one_thread(catalog::walg::files_metadata(memory, backup.name, None)).unwrap();
        for tar in files.tar_file_sets.keys() {
            let key = names::tars_prefix(backup.name).key(tar).unwrap();
            decoded(&memory.content(&key).unwrap(), Method::Lz4, &Cipher::None);
        }
        on_one_thread(catalog::walg::chain(memory, backup.name)).unwrap();
    }
    backups.len()
}

#[test]
fn backup_push() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let never = CancellationToken::new();
    let clean = Memory::new();
    push_backup(&clean, &cluster, &never).unwrap();
    assert_eq!(assert_whole_or_nothing(&clean, "clean"), 1);
    each_step(&clean, &FAULTS, |schedule, case| {
        let memory = Memory::new();
        schedule(&memory);
        let pushed = push_backup(&memory, &cluster, &never);
        assert_eq!(assert_whole_or_nothing(&memory, case), usize::from(pushed.is_ok()), "{case}");
        if let Err(error) = pushed {
            assert_eq!(error.class(), Class::Storage, "{case}: {error}");
        }
    });

    // The write of the marker may still come to the storage, and must find everything there.
    let memory = Memory::new();
    memory.overtake(Operation::Put, names::SENTINEL_SUFFIX, |memory| {
        let marker = memory.calls(Operation::Put) + 1;
        memory.fail(Operation::Put, marker, Fault::Before(ErrorKind::Network));
    });
    push_backup(&memory, &cluster, &never).unwrap_err();
    assert!(on_one_thread(catalog::walg::list(&memory)).unwrap().is_empty());
    assert!(memory.keys().iter().any(|key| key.as_str().contains("pg_control")), "{:?}", memory.keys());

    // A file that cannot be read any more, met by one of the workers.
    let memory = Memory::new();
    fs::create_dir(cluster.data().join("base/9")).unwrap();
    std::os::unix::net::UnixListener::bind(cluster.data().join("base/9/1")).unwrap();
    push_backup(&memory, &cluster, &never).unwrap();
    assert_eq!(assert_whole_or_nothing(&memory, "a socket is left out"), 1);
}

/// Another server takes the backup of this name, which ours has begun.
#[test]
fn backup_push_whose_name_is_taken() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let memory = Memory::new();
    let clean = Memory::new();
    push_backup(&clean, &cluster, &CancellationToken::new()).unwrap();
    assert!(clean.keys().iter().all(|key| !key.as_str().contains("running")), "{:?}", clean.keys());
    // The last look whose the name is comes when all tars are there.
    memory.overtake(Operation::Put, "pg_control.tar.lz4", |memory| {
        let mut claims = memory.keys();
        claims.retain(|key| key.as_str().ends_with("seawall_running.json"));
        memory.set(&claims[0], "another's");
    });
    let error = push_backup(&memory, &cluster, &CancellationToken::new()).unwrap_err();
    assert!(error.to_string().contains("another backup-push"), "{error}");
    let tars = memory.keys().iter().filter(|key| key.as_str().contains("tar_partitions")).count();
    assert!(on_one_thread(catalog::walg::list(&copy_of(&memory))).unwrap().is_empty());
    assert!(tars > 1, "the other's tars are left alone: {tars}");
}

/// Somebody deletes everything right before the marker is written, as one who has seen no marker may.
#[test]
fn backup_push_that_is_deleted_meanwhile() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let never = CancellationToken::new();
    let memory = Memory::new();
    memory.overtake(Operation::Put, names::SENTINEL_SUFFIX, |memory| {
        memory.keys().iter().filter(|key| **key != Owner::key(&WalG)).for_each(|key| memory.remove(key));
    });
    let error = push_backup(&memory, &cluster, &never).unwrap_err();
    assert!(error.to_string().contains("somebody deleted it meanwhile"), "{error}");
    assert_eq!(memory.keys(), [Owner::key(&WalG)]);
}

/// A delta is taken, or nothing: a parent that cannot be read is no reason for a full backup.
#[test]
fn backup_push_of_a_delta() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let never = CancellationToken::new();
    let options = DeltaOptions {
        parent: ParentRules { max_steps: 1, from: BackupChoice::Latest, origin: Origin::Latest },
        changed_blocks: Rules { sources: vec![Source::PageLsns], summarizer_patience: Duration::ZERO },
        without_map: WithoutMap::ReadPages,
        verify: VerifyDelta::OFF,
    };
    let push =
        |memory: &Memory, options: &DeltaOptions| push(memory, &cluster, &never, Some(options.clone()));
    let full = Memory::new();
    push(&full, &options).unwrap();
    let clean = copy_of(&full);
    push(&clean, &options).unwrap();
    assert_eq!(assert_whole_or_nothing(&clean, "clean"), 2);
    each_step(&clean, &READ_FAULTS, |schedule, case| {
        let memory = copy_of(&full);
        schedule(&memory);
        match push(&memory, &options) {
            Ok(()) => {
                assert_eq!(assert_whole_or_nothing(&memory, case), 2, "{case}");
                let latest = on_one_thread(catalog::walg::latest(&copy_of(&memory))).unwrap();
                assert!(latest.name.is_delta(), "{case}: {}", latest.name);
            }
            Err(error) => {
                assert_eq!(error.class(), Class::Storage, "{case}: {error}");
                assert_eq!(memory.keys(), full.keys(), "{case}");
            }
        }
    });

    let forced = DeltaOptions { without_map: WithoutMap::Fail, ..options };
    let memory = copy_of(&full);
    let error = push(&memory, &forced).unwrap_err();
    assert!(matches!(error, Error::NoMap { .. }), "{error}");
    assert_eq!(memory.keys(), full.keys());
}

#[test]
fn backup_push_is_cancelled() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &[]);
    cluster.archive_in_vain();
    cluster.start();
    for hanging in [Some(1), Some(3), None] {
        let (memory, cancel) = (Memory::new(), CancellationToken::new());
        if let Some(call) = hanging {
            memory.fail(Operation::Put, call, Fault::Hang);
        }
        let canceller = std::thread::spawn({
            let (memory, cancel) = (memory.clone(), cancel.clone());
            move || {
                let keys =
                    |memory: &Memory| memory.keys().iter().any(|key| key.as_str().contains("pg_control"));
                let reached = || match hanging {
                    Some(call) => memory.calls(Operation::Put) >= call,
                    None => keys(&memory),
                };
                let begin = std::time::Instant::now();
                while !reached() && begin.elapsed() < LIMIT {
                    std::thread::sleep(Duration::from_millis(5));
                }
                cancel.cancel();
            }
        });
        let pushed = push_backup(&memory, &cluster, &cancel);
        canceller.join().unwrap();
        assert!(matches!(pushed, Err(Error::Cancelled)), "{hanging:?}: {pushed:?}");
        assert_eq!(assert_whole_or_nothing(&memory, "cancelled"), 0);
    }
}
