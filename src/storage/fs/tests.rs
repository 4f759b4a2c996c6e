//! A directory as a storage, where it differs from others.

use super::*;
use crate::storage::{Part, PartReceipt, UploadId, get_bytes, list_all, list_unfinished};
use std::os::unix::fs::{PermissionsExt, symlink};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

async fn store(storage: &Directory, name: &str) {
    storage.put(&key(name), Bytes::from(name.to_owned()), PutMode::Overwrite).await.unwrap();
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_root_is_created_only_when_asked_for_and_never_its_parent() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("archive");
    let storage = Directory::new(&root, Prefix::parse("cluster").unwrap());
    let deep = Directory::new(scratch.path().join("no/such"), Prefix::root());
    runtime().block_on(async {
        assert!(!storage.exists().await.unwrap());
        storage.create().await.unwrap();
        assert!(storage.exists().await.unwrap());
        storage.create().await.unwrap();
        assert_eq!(deep.create().await.unwrap_err().kind(), ErrorKind::FileSystem);
        std::fs::write(scratch.path().join("file"), "x").unwrap();
        let file = Directory::new(scratch.path().join("file"), Prefix::root());
        assert!(!file.exists().await.unwrap());
        assert_eq!(file.create().await.unwrap_err().kind(), ErrorKind::NoBucket);
    });
    assert_eq!(names(scratch.path()), ["archive", "file"]);
}

#[test]
fn missing_root_is_an_error_and_stays_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("unmounted");
    let storage = Directory::new(&root, Prefix::parse("cluster").unwrap());
    let (wal, all) = (key("wal_005/a"), Prefix::root());
    runtime().block_on(async {
        let errors = [
            storage.head(&wal).await.unwrap_err(),
            storage.get(&wal, 0, None).await.unwrap_err(),
            storage.put(&wal, Bytes::new(), PutMode::Overwrite).await.unwrap_err(),
            storage.start_upload(&wal).await.err().unwrap(),
            list_all(&storage, &all, Depth::All).await.unwrap_err(),
            storage.delete(std::slice::from_ref(&wal)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NoBucket, "{error}");
            assert!(error.to_string().contains("does not exist"), "{error}");
            assert!(error.hint().unwrap().contains("WALG_FILE_PREFIX"));
        }
    });
    assert!(!root.exists());
}

#[test]
fn reading_creates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::parse("a/b").unwrap());
    runtime().block_on(async {
        assert_eq!(storage.head(&key("wal_005/x")).await.unwrap(), None);
        assert!(get_bytes(&storage, &key("wal_005/x")).await.unwrap().is_none());
        assert_eq!(list_all(&storage, &Prefix::root(), Depth::All).await.unwrap(), ListPage::default());
        assert!(storage.delete(&[key("wal_005/x")]).await.unwrap().failed.is_empty());
    });
    assert!(names(root.path()).is_empty());
}

#[test]
fn deleting_prunes_what_became_empty_only() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::root());
    runtime().block_on(async {
        store(&storage, "base/one/tar/part").await;
        store(&storage, "base/two").await;
        storage.delete(&[key("base/one/tar/part"), key("base/gone/x")]).await.unwrap();
        assert_eq!(names(&root.path().join("base")), ["two"]);
        storage.delete(&[key("base/two")]).await.unwrap();
    });
    assert!(root.path().exists());
    assert!(names(root.path()).is_empty());
}

#[test]
fn unfinished_files_are_not_listed_and_not_left() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::root());
    runtime().block_on(async {
        store(&storage, "whole").await;
        let upload = storage.start_upload(&key("partial")).await.unwrap();
        let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"x") };
        let receipt = upload.put_part(part).await.unwrap();
        assert_eq!(names(root.path()).len(), 2);
        let listed = list_all(&storage, &Prefix::root(), Depth::All).await.unwrap();
        assert_eq!(listed.objects.len(), 1);
        let missing = PartReceipt { number: 2, tag: receipt.tag.clone() };
        assert_eq!(
            upload.complete(&[receipt, missing], PutMode::Overwrite).await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
        drop(upload);
    });
    assert_eq!(names(root.path()), ["whole"]);
}

/// Whoever gives a put up and then looks must see what will be: a later rename would add to what was cleaned up.
#[test]
fn a_put_that_is_given_up_is_there_at_once_or_never() {
    for _ in 0..50 {
        let root = tempfile::tempdir().unwrap();
        let storage = Directory::new(root.path(), Prefix::root());
        let is_there = || names(root.path()).contains(&"object".to_owned());
        let runtime = runtime();
        let at_once = runtime.block_on(async {
            let object = key("object");
            let body = Bytes::from(vec![7; 64 * 1024]);
            let mut put = storage.put(&object, body, PutMode::Overwrite);
            // Until the file is being written or synced.
            while futures_util::poll!(&mut put).is_pending() && names(root.path()).is_empty() {
                tokio::task::yield_now().await;
            }
            drop(put);
            is_there()
        });
        drop(runtime); // waits for the blocking threads
        assert_eq!(is_there(), at_once);
    }
}

#[test]
fn new_directories_have_the_mode_of_wal_g() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::root());
    runtime().block_on(store(&storage, "wal_005/x"));
    let mode = std::fs::metadata(root.path().join("wal_005")).unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o700);
    assert_eq!(mode & 0o022, 0, "not writable by others");
}

#[test]
fn a_directory_is_no_object() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::root());
    runtime().block_on(async {
        store(&storage, "base/x").await;
        assert!(storage.delete(&[key("base")]).await.unwrap().failed.is_empty());
        let error = storage.put(&key("base/x/y"), Bytes::new(), PutMode::Overwrite).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileSystem, "{error}");
    });
}

/// A part of an archive that lies on another disk, which is not mounted.
#[test]
fn what_lies_behind_a_link_to_nothing_is_not_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let [root, disk] = ["root", "disk"].map(|name| scratch.path().join(name));
    std::fs::create_dir_all(root.join("cluster")).unwrap();
    std::fs::create_dir_all(disk.join("wal")).unwrap();
    symlink(disk.join("wal"), root.join("cluster/wal_005")).unwrap();
    let storage = Directory::new(&root, Prefix::parse("cluster").unwrap());
    let (wal, all) = (key("wal_005/x"), Prefix::root());
    runtime().block_on(async {
        store(&storage, "wal_005/x").await;
        assert!(storage.head(&wal).await.unwrap().is_some());
        assert_eq!(storage.head(&key("wal_005/y")).await.unwrap(), None);
        assert_eq!(list_all(&storage, &all, Depth::All).await.unwrap().objects.len(), 1);

        std::fs::remove_dir_all(&disk).unwrap();
        let unfinished = Unfinished {
            key: wal.clone(),
            id: UploadId("x.tmp.20240102T030405Z-0123456789abcdef".to_owned()),
            modified: jiff::Timestamp::now(),
        };
        let errors = [
            storage.head(&wal).await.unwrap_err(),
            storage.get(&wal, 0, None).await.unwrap_err(),
            list_all(&storage, &all, Depth::All).await.unwrap_err(),
            list_all(&storage, &all, Depth::Children).await.unwrap_err(),
            list_all(&storage, &Prefix::parse("wal_005").unwrap(), Depth::All).await.unwrap_err(),
            list_unfinished(&storage, &all).await.unwrap_err(),
            storage.remove_unfinished(&unfinished).await.unwrap_err(),
            storage.delete(std::slice::from_ref(&wal)).await.unwrap().failed.remove(0).1,
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::FileSystem, "{error}");
            assert!(error.to_string().contains("/wal_005` is a link to what is not there"), "{error}");
            assert!(error.hint().unwrap().contains("mount"), "{error}");
        }
    });
}

/// Neither an object nor missing; nobody waits for the writer of a FIFO.
#[test]
fn what_is_no_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let storage = Directory::new(root.path(), Prefix::root());
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        root.path().join("fifo"),
        rustix::fs::Mode::from_bits_truncate(0o600),
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    symlink("nowhere", root.path().join("link")).unwrap();
    runtime().block_on(async {
        store(&storage, "base/x").await;
        for name in ["fifo", "socket", "link", "base", "base/x/y"] {
            let head = storage.head(&key(name)).await.unwrap_err();
            let get = storage.get(&key(name), 0, None).await.unwrap_err();
            assert_eq!((head.kind(), get.kind()), (ErrorKind::FileSystem, ErrorKind::FileSystem), "{name}");
            assert_eq!(head.detail(), get.detail());
        }
        for name in ["fifo", "socket", "link", "base/x/y"] {
            let listed = list_all(&storage, &Prefix::stem(name).unwrap(), Depth::Children).await.unwrap_err();
            assert_eq!(listed.kind(), ErrorKind::FileSystem, "{name}");
        }
    });
}

#[test]
fn errors_name_the_path_and_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let place = Directory::new(root.path(), Prefix::root()).place;
    let object = key("wal_005/x");
    let step = Step { action: "put", key: Some(&object) };
    let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    let error = place.failed(step, &place.path(&object), &full);
    let shown = root.path().display();
    assert_eq!(
        error.to_string(),
        format!("put `wal_005/x` in {shown}: `{shown}/wal_005/x`: No space left on device (os error 28)")
    );
    assert_eq!(error.hint(), Some(format!("free space on the file system of `{shown}`").as_str()));
}

/// Another process may have made it and be on the way to sync it.
#[test]
fn a_directory_that_was_there_is_synced_once() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("prefix/wal_005")).unwrap();
    let directory = Directory::new(root.path(), Prefix::parse("prefix").unwrap());
    let step = Step { action: "put", key: None };
    let unsynced = |file: &str| {
        let path = root.path().join(file);
        directory.place.create_parents(step, &path).unwrap()
    };
    let [above, folder, made] =
        ["prefix", "prefix/wal_005", "prefix/made"].map(|name| root.path().join(name));
    assert_eq!(unsynced("prefix/wal_005/a"), [folder.clone(), above.clone()]);
    for name in ["wal_005/a", "wal_005/b"] {
        let key = Key::parse(name).unwrap();
        let put = directory.put(&key, Bytes::from_static(b"x"), PutMode::Overwrite);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(put).unwrap();
        assert_eq!(*directory.place.durable_directories(), BTreeSet::from([above.clone(), folder.clone()]));
    }
    assert!(unsynced("prefix/wal_005/c").is_empty());
    assert_eq!(unsynced("prefix/made/a"), [made]);
    // Somebody has removed it meanwhile.
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(unsynced("prefix/wal_005/c"), [folder]);
}
