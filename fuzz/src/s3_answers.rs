//! Answers of an S3 service, through the code that asks: the first byte says what is asked, the second the status, the rest is
//! the body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use seawall::storage::retry::RetryPolicy;
use seawall::storage::s3::{Addressing, Credentials, Endpoint, ListVersion, S3, S3Config};
use seawall::storage::{Depth, Key, Part, Prefix, PutMode, Storage, get_bytes};

const STATUSES: [u16; 8] = [200, 200, 200, 404, 403, 500, 301, 412];

/// What the service says to everything.
static ANSWER: Mutex<(u16, Vec<u8>)> = Mutex::new((200, Vec::new()));

fn service() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                std::thread::spawn(move || serve(connection));
            }
        });
        address
    })
}

/// Answers the requests of a connection until it ends.
fn serve(connection: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        std::io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut std::io::sink()).ok()?;
        let (status, body) = ANSWER.lock().unwrap().clone();
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\nETag: \"x\"\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !head.starts_with("HEAD ") {
            answer.extend(body);
        }
        reader.get_mut().write_all(&answer).ok()?;
    }
}

pub fn run(bytes: &[u8]) {
    let [question, status, body @ ..] = bytes else { return };
    *ANSWER.lock().unwrap() = (STATUSES[usize::from(*status) % STATUSES.len()], body.to_vec());
    let credentials = Credentials::Static {
        access_key: "key".to_owned(),
        secret_key: "secret".into(),
        session_token: None,
    };
    let mut config = S3Config::new("bucket", Prefix::parse("a/b").unwrap(), credentials);
    config.endpoint = Some(Endpoint::parse(&format!("http://{}", service())).unwrap().0);
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
