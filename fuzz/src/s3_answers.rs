//! Answers of an S3 service, through the code that asks: the first byte says what is asked, the second the status, the rest is
//! the body.

use std::sync::OnceLock;

use bytes::Bytes;
use seawall::storage::retry::RetryPolicy;
use seawall::storage::s3::{Addressing, ListVersion, S3, S3Config};
use seawall::storage::{Depth, Key, Part, Prefix, PutMode, Storage, get_bytes};

use super::service::{Service, credentials};

const STATUSES: [u16; 8] = [200, 200, 200, 404, 403, 500, 301, 412];

pub fn run(bytes: &[u8]) {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    let service = SERVICE.get_or_init(Service::start);
    let [question, status, body @ ..] = bytes else { return };
    service.answer(STATUSES[usize::from(*status) % STATUSES.len()], body);
    let mut config = S3Config::new("bucket", Prefix::parse("a/b").unwrap(), credentials());
    config.endpoint = Some(service.endpoint());
    config.addressing = Addressing::Path;
    if question & 0x80 != 0 {
        config.list_version = ListVersion::V1;
    }
    let storage = S3::open(config, RetryPolicy::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&storage, question & 0x7f));
}

async fn ask(storage: &S3, question: u8) {
    let keys = ["wal_005/one", "wal_005/two"].map(|text| Key::parse(text).unwrap());
    let [key, _] = &keys;
    match question % 6 {
        depth @ (0 | 1) => {
            let depth = if depth == 0 { Depth::All } else { Depth::Children };
            let folder = Prefix::parse("wal_005").unwrap();
            let mut next = None;
            // The same page again is noticed, so there is no second next one.
            for page in 0..3 {
                let Ok(answer) = storage.list_page(&folder, depth, next.as_ref()).await else { return };
                next = answer.next;
                if next.is_none() {
                    return;
                }
                assert!(page < 2, "the listing goes round");
            }
        }
        2 => {
            if let Ok(report) = storage.delete(&keys).await {
                assert!(report.failed.iter().all(|(key, _)| keys.contains(key)));
            }
        }
        3 => {
            let Ok(upload) = storage.start_upload(key).await else { return };
            let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"content") };
            let Ok(receipt) = upload.put_part(part).await else { return };
            let _ = upload.complete(&[receipt], PutMode::Overwrite).await;
            let _ = upload.abort().await;
        }
        4 => drop(get_bytes(storage, key).await),
        _ => {
            let _ = storage.exists().await;
            let _ = storage.head(key).await;
            let _ = storage.put(key, Bytes::from_static(b"content"), PutMode::Overwrite).await;
        }
    }
}
