//! A backup that does not come to its end: ended by a signal, or deleted by somebody, since it is listed while it is taken.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Postgres};

const SERVER: &str = "cluster";

pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>) {
    let store = &ObjectStore { backup_args: vec!["--max-bandwidth=2MB"], ..store.clone() };
    let mut source = instance(store.scratch, postgres, "source");
    store.archive_by_manager(&mut source, SERVER);
    source.start();
    let mut backup = start(store, &source);
    let id = id_of_next(store, 0, &mut backup);
    let place = ["--endpoint-url", store.endpoint.as_ref().unwrap(), &store.destination, SERVER];
    let delete = ["--backup-id", &id].into_iter().chain(place);
    store.barman.run(store.scratch, "backup-delete", delete).fails(0).stderr_has("may still be running");
    assert_eq!(store.catalog(SERVER), [Value::Null; 0]);

    let ended = backup.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("backup `{id}` cannot be completed: somebody deleted it meanwhile")),
        "{said}"
    );
    has_failed(store, bucket, &id);

    let mut backup = start(store, &source);
    let id = id_of_next(store, 1, &mut backup);
    kill_process(Pid::from_child(&backup), Signal::TERM).unwrap();
    let ended = backup.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(Signal::TERM.as_raw()), "{ended:?}");
    has_failed(store, bucket, &id);
    source.stop();
}

/// A slow backup.
fn start(store: &ObjectStore<'_>, source: &Cluster<'_>) -> Child {
    let mut command = store.backup_command(source, SERVER, "backup-20261121010000");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The id of a backup that is listed after so many others, once it is.
fn id_of_next(store: &ObjectStore<'_>, others: usize, backup: &mut Child) -> String {
    loop {
        if let Some(listed) = store.catalog(SERVER).get(others) {
            return listed["backup_id"].as_str().unwrap().to_owned();
        }
        assert_eq!(backup.try_wait().unwrap(), None, "it ended and is not listed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The backup is listed as failed, without an end, and nothing but that is left of it.
#[track_caller]
fn has_failed(store: &ObjectStore<'_>, bucket: &Bucket, id: &str) {
    let failed = store.catalog(SERVER).pop().unwrap();
    assert_eq!((failed["backup_id"].as_str(), failed["status"].as_str()), (Some(id), Some("FAILED")));
    assert_eq!(failed["end_time"], Value::Null);
    let below = format!("{SERVER}/base/{id}/");
    let stored: Vec<String> = bucket.keys().into_iter().filter(|key| key.starts_with(&below)).collect();
    assert_eq!(stored, [format!("{below}backup.info")]);
}
