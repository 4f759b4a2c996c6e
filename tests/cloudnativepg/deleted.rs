//! A backup that somebody deletes while it is taken: it is listed already, and its tars would be gone.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Bucket, Postgres};

const SERVER: &str = "cluster";

pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>) {
    let store = &ObjectStore { backup_args: vec!["--max-bandwidth=5MB"], ..store.clone() };
    let mut source = instance(store.scratch, postgres, "source");
    store.archive_by_manager(&mut source, SERVER);
    source.start();
    let mut backup = store.backup_command(&source, SERVER, "backup-20261121010000");
    let backup = backup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = loop {
        match store.catalog(SERVER).pop() {
            Some(backup) => break backup["backup_id"].as_str().unwrap().to_owned(),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
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
    let [failed] = &store.catalog(SERVER)[..] else { panic!("{said}") };
    assert_eq!((failed["status"].as_str(), &failed["end_time"]), (Some("FAILED"), &Value::Null));
    let stored: Vec<String> =
        bucket.keys().into_iter().filter(|key| key.starts_with(&format!("{SERVER}/base/"))).collect();
    assert_eq!(stored, [format!("{SERVER}/base/{id}/backup.info")]);
    source.stop();
}
