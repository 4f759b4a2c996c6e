//! What goes over the wire to an S3 service, and what each answer means: against a listener that records requests
//! and says whatever a test wants, also what no real service would say on demand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "s3_wire/credentials.rs"]
mod credentials;
#[path = "s3_wire/program.rs"]
mod program;
#[path = "s3_wire/region.rs"]
mod region;
#[path = "support/runtime.rs"]
mod runtime;
#[path = "support/tls.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};
use runtime::block_on;
use seawall::storage::check::{Ability, Check, Verdict};
use seawall::storage::retry::RetryPolicy;
use seawall::storage::s3::{
    Addressing, Checksums, Credentials, Encryption, Endpoint, EtagCheck, Headers, S3, S3Config, Tag,
};
use seawall::storage::{
    Depth, Error, ErrorKind, Key, Part, Prefix, PutMode, SharedStorage, StorageConfig, get_at_most,
    get_bytes, list_all, list_unfinished, open,
};

/// A listener on loopback that answers as the test says.
struct Service {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Debug, Clone)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(Clone)]
enum Answer {
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Says that the body is longer than it is.
    Cut(u16, Vec<(&'static str, String)>, Vec<u8>, usize),
    /// Closes without a word.
    Close,
    /// Keeps the connection and says nothing.
    Silence,
    /// A body without an end, of an announced length or of none.
    Endless(u16, Option<u64>),
}

type Script = Arc<Mutex<dyn FnMut(&Request) -> Answer + Send>>;

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Plain,
    Tls,
    /// Accepts and reads nothing at all.
    Deaf,
}

impl Service {
    fn start(answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Service {
        Service::start_on(Wire::Plain, answer)
    }

    fn start_on(wire: Wire, answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(Mutex::new(answer));
        let seen = requests.clone();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                let (seen, script) = (seen.clone(), script.clone());
                match wire {
                    Wire::Deaf => kept.push(connection),
                    Wire::Plain => drop(std::thread::spawn(move || serve(connection, &seen, &script))),
                    Wire::Tls => {
                        drop(std::thread::spawn(move || serve(tls::accept(connection), &seen, &script)))
                    }
                }
            }
        });
        Service { address, requests }
    }

    /// One answer after the other; the last one stays.
    fn saying(answers: Vec<Answer>) -> Service {
        let mut answers = answers.into_iter().peekable();
        Service::start(move |_| {
            let answer = answers.next().unwrap();
            if answers.peek().is_none() {
                answers = vec![answer.clone()].into_iter().peekable();
            }
            answer
        })
    }

    fn config(&self) -> S3Config {
        config(&format!("http://{}", self.address))
    }

    fn storage(&self) -> SharedStorage {
        retrying(self.config())
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Sends until nobody reads it any more.
fn endless(connection: &mut impl Write, status: u16, length: Option<u64>) {
    const PIECE: usize = 1 << 20;
    let framing = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\n{framing}\r\nETag: \"t\"\r\nLast-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n\r\n"
    );
    let mut piece = vec![b' '; PIECE];
    if length.is_none() {
        piece.splice(0..0, format!("{PIECE:x}\r\n").into_bytes());
        piece.extend_from_slice(b"\r\n");
    }
    let mut sent = connection.write_all(head.as_bytes());
    while sent.is_ok() {
        sent = connection.write_all(&piece);
    }
}

/// Answers the requests of one connection until it ends.
fn serve(connection: impl Read + Write, seen: &Mutex<Vec<Request>>, script: &Script) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = receive(&mut reader) {
        let answer = {
            seen.lock().unwrap().push(request.clone());
            (script.lock().unwrap())(&request)
        };
        let (status, headers, body, missing) = match answer {
            Answer::Http(status, headers, body) => (status, headers, body, 0),
            Answer::Cut(status, headers, body, missing) => (status, headers, body, missing),
            Answer::Close => return,
            Answer::Endless(status, length) => return endless(reader.get_mut(), status, length),
            Answer::Silence => {
                std::thread::sleep(Duration::from_secs(60));
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        if !headers.iter().any(|(name, _)| *name == "Content-Length") && status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", body.len() + missing));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut out = head.into_bytes();
        out.extend_from_slice(b"\r\n");
        if request.method != "HEAD" {
            out.extend_from_slice(&body);
        }
        if reader.get_mut().write_all(&out).is_err() || missing > 0 {
            return;
        }
    }
    // What is no HTTP, as a TLS client's first words; or nothing more came, and nobody reads this.
    let _ = reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

fn receive(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn operation(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

fn config(endpoint: &str) -> S3Config {
    let credentials = Credentials::Static {
        access_key: " AKIATEST\n".to_owned(),
        secret_key: "topsecret\n".to_owned().into(),
        session_token: None,
    };
    let mut config = S3Config::new("bucket", Prefix::parse("spilo/demo/wal/15").unwrap(), credentials);
    config.endpoint = Some(Endpoint::parse(endpoint).unwrap().0);
    config.addressing = Addressing::Path;
    config
}

/// Few attempts, close together, with time for a machine that is busy.
fn patient() -> RetryPolicy {
    let silence = Duration::from_secs(10);
    RetryPolicy {
        attempts: 3,
        first_backoff: Duration::from_millis(1),
        ask_answer: silence,
        first_byte: silence,
        stalled_body: silence,
        connect: silence,
        ask_budget: silence * 3,
        transfer_budget: silence * 3,
        ..RetryPolicy::default()
    }
}

/// For a service that says nothing.
fn hasty() -> RetryPolicy {
    let silence = Duration::from_millis(500);
    RetryPolicy {
        ask_answer: silence,
        first_byte: silence,
        stalled_body: silence,
        ask_budget: silence * 4,
        transfer_budget: silence * 4,
        ..patient()
    }
}

fn with_policy(config: S3Config, policy: RetryPolicy) -> SharedStorage {
    open(StorageConfig::S3(Box::new(config)), policy).unwrap()
}

fn retrying(config: S3Config) -> SharedStorage {
    with_policy(config, patient())
}

fn segment() -> Key {
    Key::parse("wal_005/000000010000000000000001.br").unwrap()
}

fn ok(headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    Answer::Http(200, headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), body.into())
}

fn stored() -> Answer {
    ok(&[("ETag", "\"tag\"")], "")
}

/// As a service says it that has stored these bytes.
fn stored_as(content: &[u8]) -> Answer {
    ok(&[("ETag", &format!("\"{}\"", hex::encode(Md5::digest(content))))], "")
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    let id = ("x-amz-request-id", "REQ123".to_owned());
    Answer::Http(status, vec![id], error_body(code, message))
}

fn error_body(code: &str, message: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>").into()
}

fn list_error(service: &Service) -> Error {
    block_on(list_all(&*service.storage(), &Prefix::root(), Depth::All)).unwrap_err()
}

/// Its first answer says what the service is, and with that how it creates an object.
#[test]
fn a_service_is_known_by_its_answers() {
    for (name, value, known) in
        [("Server", "MinIO", true), ("X-Trans-Id", "tx0", false), ("Server", "nginx", false)]
    {
        let service = Service::start(move |request| {
            let mut answer = stores_anything(request);
            if let Answer::Http(_, headers, _) = &mut answer {
                headers.push((name, value.to_owned()));
            }
            answer
        });
        let storage = service.storage();
        assert!(!storage.limits().conditional_put);
        block_on(storage.put(&segment(), Bytes::from_static(b"x"), PutMode::Overwrite)).unwrap();
        assert_eq!(storage.limits().conditional_put, known, "{name}: {value}");
    }
}

#[test]
fn a_put_is_one_plain_signed_request() {
    let service = Service::saying(vec![stored()]);
    let mut config = service.config();
    let Credentials::Static { session_token, .. } = &mut config.credentials else { unreachable!() };
    *session_token = Some(" token\n".to_owned().into());
    config.headers = Headers(vec![("X-Site".to_owned(), "one".to_owned())]);
    let body = Bytes::from(vec![7; 400_000]);
    block_on(retrying(config).put(&segment(), body.clone(), PutMode::Overwrite)).unwrap();
    let requests = service.requests();
    assert_eq!(requests.len(), 1, "no other request before it");
    let put = &requests[0];
    let path = "/bucket/spilo/demo/wal/15/wal_005/000000010000000000000001.br";
    assert_eq!(put.target.split('?').next().unwrap(), path);
    assert_eq!(put.body, body);
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body));
    assert_eq!(put.header("x-amz-content-sha256"), Some(sha256.as_str()));
    assert_eq!(put.header("x-amz-security-token"), Some("token"));
    assert_eq!(put.header("x-site"), Some("one"));
    assert_eq!(put.header("content-length"), Some("400000"));
    let authorization = put.header("authorization").unwrap();
    assert!(authorization.contains("Credential=AKIATEST/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
    assert!(authorization.contains("x-site"), "signed too: {authorization}");
    for name in [
        "content-encoding",
        "transfer-encoding",
        "x-amz-trailer",
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc64nvme",
        "if-none-match",
        "x-amz-acl",
    ] {
        assert_eq!(put.header(name), None, "{name}");
    }
}

#[test]
fn encryption_and_storage_class_are_sent_when_set() {
    const SSE: &str = "x-amz-server-side-encryption";
    const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
    let key = "0123456789abcdef0123456789abcdef";
    for (encryption, create, content) in [
        (Encryption::Aes256, vec![(SSE.to_owned(), "AES256".to_owned())], vec![]),
        (
            Encryption::Kms { key_id: Some("arn:key".to_owned()) },
            vec![
                (SSE.to_owned(), "aws:kms".to_owned()),
                (format!("{SSE}-aws-kms-key-id"), "arn:key".to_owned()),
            ],
            vec![],
        ),
        (Encryption::Kms { key_id: None }, vec![(SSE.to_owned(), "aws:kms".to_owned())], vec![]),
        (
            Encryption::Customer { key: key.to_owned().into() },
            vec![],
            vec![
                (format!("{CUSTOMER}algorithm"), "AES256".to_owned()),
                (format!("{CUSTOMER}key"), BASE64.encode(key)),
                (format!("{CUSTOMER}key-md5"), BASE64.encode(Md5::digest(key))),
            ],
        ),
    ] {
        let created =
            "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
        let time = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
        let service = Service::start(move |request| match request.method.as_str() {
            "POST" => ok(&[], created),
            _ => ok(&[("ETag", "\"tag\""), time], "x"),
        });
        let mut config = service.config();
        config.encryption = Some(encryption);
        config.storage_class = Some("STANDARD_IA".to_owned());
        let storage = retrying(config);
        block_on(async {
            storage.put(&segment(), Bytes::from_static(b"x"), PutMode::Overwrite).await.unwrap();
            let upload = storage.start_upload(&segment()).await.unwrap();
            upload.put_part(Part { number: 1, offset: 0, body: Bytes::from_static(b"x") }).await.unwrap();
            storage.head(&segment()).await.unwrap().unwrap();
            get_bytes(&*storage, &segment()).await.unwrap().unwrap();
        });
        let requests = service.requests();
        for (index, request) in requests.iter().enumerate() {
            let creates = index == 0 || index == 1;
            let class = creates.then_some("STANDARD_IA");
            assert_eq!(request.header("x-amz-storage-class"), class, "{}", request.operation());
            for (name, value) in &create {
                assert_eq!(
                    request.header(name),
                    creates.then_some(value.as_str()),
                    "{}",
                    request.operation()
                );
            }
            for (name, value) in &content {
                assert_eq!(request.header(name), Some(value.as_str()), "{}", request.operation());
            }
        }
        assert_eq!(requests.len(), 5);
    }
}

/// Answers that let an object be put, uploaded in one part, looked at and read.
fn stores_anything(request: &Request) -> Answer {
    let created = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let part = Md5::digest(b"x");
    let whole = hex::encode(Md5::digest(part));
    let completed =
        format!("<CompleteMultipartUploadResult><ETag>{whole}-1</ETag></CompleteMultipartUploadResult>");
    let time = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
    match (request.method.as_str(), request.target.contains("uploadId=")) {
        ("POST", false) => ok(&[], created),
        ("POST", true) => ok(&[], completed),
        _ => ok(&[("ETag", &format!("\"{}\"", hex::encode(part))), time], "x"),
    }
}

/// Puts an object, uploads one in a part, looks at it and reads it: five requests.
fn store_and_read(config: S3Config) {
    let storage = retrying(config);
    let body = Bytes::from_static(b"x");
    block_on(async {
        storage.put(&segment(), body.clone(), PutMode::Overwrite).await.unwrap();
        let upload = storage.start_upload(&segment()).await.unwrap();
        let receipt = upload.put_part(Part { number: 1, offset: 0, body }).await.unwrap();
        upload.complete(&[receipt], PutMode::Overwrite).await.unwrap();
        get_bytes(&*storage, &segment()).await.unwrap().unwrap();
    });
}

#[test]
fn tags_go_with_what_creates_an_object() {
    let service = Service::start(stores_anything);
    let mut config = service.config();
    let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
    config.tags = vec![tag("kind", "daily run"), tag("a+b=c", "x/y@z:ü"), tag("empty", "")];
    store_and_read(config);
    let sent: Vec<_> = service
        .requests()
        .iter()
        .map(|request| (request.method.clone(), request.header("x-amz-tagging").map(str::to_owned)))
        .collect();
    // As Python's urlencode writes them.
    let tagging = Some("kind=daily+run&a%2Bb%3Dc=x%2Fy%40z%3A%C3%BC&empty=".to_owned());
    let request = |method: &str, tagging: &Option<String>| (method.to_owned(), tagging.clone());
    assert_eq!(
        sent,
        [
            request("PUT", &tagging),
            request("POST", &tagging),
            request("PUT", &None),
            request("POST", &None),
            request("GET", &None)
        ]
    );
}

#[test]
fn checksums_are_plain_headers_and_only_when_wanted() {
    const CRC: &str = "x-amz-checksum-crc32";
    let service = Service::start(stores_anything);
    let mut config = service.config();
    config.request_checksums = Checksums::WhenSupported;
    config.response_checksums = Checksums::WhenSupported;
    store_and_read(config);
    let requests = service.requests();
    let [put, start, part, complete, get] = &requests[..] else { panic!("{requests:?}") };
    // Of `x`: 8CDC1683.
    for request in [put, part] {
        assert_eq!(request.header(CRC), Some("jNwWgw=="), "{}", request.operation());
        assert_eq!(request.header("x-amz-trailer"), None);
        assert_eq!(request.header("content-encoding"), None);
        assert_eq!(request.body, b"x");
    }
    assert_eq!(start.header("x-amz-checksum-algorithm"), Some("CRC32"));
    let complete = String::from_utf8(complete.body.clone()).unwrap();
    assert!(complete.contains("<ChecksumCRC32>jNwWgw==</ChecksumCRC32>"), "{complete}");
    assert_eq!(get.header("x-amz-checksum-mode"), Some("ENABLED"));
}

#[test]
fn a_wrong_checksum_of_an_answer_is_an_error() {
    let time = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
    let service = Service::start(move |_| ok(&[time, ("x-amz-checksum-crc32", "AAAAAA==")], "x"));
    let mut config = service.config();
    assert!(block_on(get_bytes(&*retrying(config.clone()), &segment())).is_ok(), "nobody has asked for it");
    config.response_checksums = Checksums::WhenSupported;
    let error = block_on(get_bytes(&*retrying(config), &segment())).unwrap_err();
    assert!(error.to_string().to_ascii_lowercase().contains("checksum"), "{error}");
}

#[test]
fn a_bucket_is_looked_for_and_created() {
    let not_found = Answer::Http(404, vec![], vec![]);
    for (answer, expected) in [
        (ok(&[], ""), Ok(true)),
        (not_found, Ok(false)),
        (Answer::Http(403, vec![], vec![]), Err(ErrorKind::Refused)),
        (Answer::Close, Err(ErrorKind::Network)),
    ] {
        let service = Service::saying(vec![answer]);
        let exists = block_on(service.storage().exists()).map_err(|error| error.kind());
        assert_eq!(exists, expected);
        assert!(service.requests().iter().all(|request| request.operation() == "HEAD /bucket/"));
    }
    for (region, body) in [("us-east-1", ""), ("eu-central-1", "<LocationConstraint>eu-central-1<")] {
        let service = Service::saying(vec![ok(&[], "")]);
        let mut config = service.config();
        config.region = Some(region.to_owned());
        block_on(retrying(config).create()).unwrap();
        let requests = service.requests();
        assert_eq!(requests[0].operation(), "PUT /bucket/");
        let sent = String::from_utf8(requests[0].body.clone()).unwrap();
        assert!(sent.contains(body) && sent.is_empty() == body.is_empty(), "{sent}");
        assert_eq!(requests[0].header("x-amz-acl"), None);
    }
    block_on(Service::saying(vec![error(409, "BucketAlreadyOwnedByYou", "m")]).storage().create()).unwrap();
}

#[test]
fn a_batch_delete_has_an_md5_and_its_errors_count() {
    let result = |inner: &str| ok(&[], format!("<DeleteResult>{inner}</DeleteResult>"));
    let failed = |name: &str, code: &str| {
        format!("<Error><Key>spilo/demo/wal/15/{name}</Key><Code>{code}</Code><Message>m</Message></Error>")
    };
    let deleted = |name: &str| format!("<Deleted><Key>spilo/demo/wal/15/{name}</Key></Deleted>");
    let all =
        [failed("a", "AccessDenied"), failed("b", "InternalError"), failed("c", "NoSuchKey"), deleted("d")];
    let service = Service::saying(vec![result(&all.concat()), result(&deleted("b"))]);
    let keys: Vec<Key> = ["a", "b", "c", "d"].map(|name| Key::parse(name).unwrap()).into();
    let report = block_on(service.storage().delete(&keys)).unwrap();
    let failed: Vec<_> = report.failed.iter().map(|(key, error)| (key.as_str(), error.kind())).collect();
    assert_eq!(failed, [("a", ErrorKind::Refused)]);
    let requests = service.requests();
    assert_eq!(requests.len(), 2, "the passing failure is tried again");
    let again = String::from_utf8(requests[1].body.clone()).unwrap();
    assert!(again.contains("/b</Key>") && !again.contains("/a</Key>"), "{again}");
    for request in requests {
        assert_eq!(request.header("content-md5"), Some(BASE64.encode(Md5::digest(&request.body)).as_str()));
        assert_eq!(request.header("x-amz-checksum-crc32"), None);
        assert_eq!(request.header("x-amz-sdk-checksum-algorithm"), None);
        assert!(request.target.starts_with("/bucket/?delete"), "{}", request.target);
    }
}

/// A proxy or a half-hearted service may say that all is well.
#[test]
fn what_is_not_said_to_be_deleted_is_not() {
    let keys: Vec<Key> = ["a", "b"].map(|name| Key::parse(name).unwrap()).into();
    for (answer, left) in [
        ("<DeleteResult/>", &["a", "b"][..]),
        ("<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>", &["a", "b"]),
        ("<DeleteResult><Deleted><Key>spilo/demo/wal/15/b</Key></Deleted></DeleteResult>", &["a"]),
    ] {
        let service = Service::saying(vec![ok(&[], answer)]);
        let report = block_on(service.storage().delete(&keys)).unwrap();
        let failed: Vec<_> = report.failed.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(failed, left, "{answer}");
        for (key, error) in &report.failed {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            assert!(error.to_string().starts_with(&format!("delete `{key}` in ")), "{error}");
        }
        let sent = String::from_utf8(service.requests()[0].body.clone()).unwrap();
        assert!(!sent.contains("Quiet"), "{sent}");
    }
}

/// A page of a listing; `next` in the words of the request's version.
fn list_page(names: &[&str], next: Option<&str>) -> Answer {
    let objects = names.iter().map(|name| {
        format!(
            "<Contents><Key>spilo/demo/wal/15/{name}</Key><Size>5</Size><ETag>\"t\"</ETag>\
             <LastModified>2024-01-02T03:04:05.000Z</LastModified></Contents>"
        )
    });
    let objects: String = objects.collect();
    let next = next.unwrap_or_default();
    let more = !next.is_empty();
    ok(&[], format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{next}{objects}</ListBucketResult>"))
}

fn listed(service: &Service) -> Vec<String> {
    let page = block_on(list_all(&*service.storage(), &Prefix::root(), Depth::All)).unwrap();
    page.objects.iter().map(|object| object.key.to_string()).collect()
}

#[test]
fn listings_fall_back_to_the_older_request() {
    type Says = fn(&Request) -> Answer;
    let services: [(&str, Says); 4] = [
        ("knows both", |request| match request.target.contains("continuation-token=T") {
            true => list_page(&["c"], None),
            false => list_page(&["a", "b"], Some("<NextContinuationToken>T</NextContinuationToken>")),
        }),
        ("refuses V2", |request| {
            match (request.target.contains("list-type=2"), request.target.contains("marker=")) {
                (true, _) => error(501, "NotImplemented", "not here"),
                (_, true) => list_page(&["c"], None),
                _ => list_page(&["a", "b"], Some("<NextMarker>ignored</NextMarker>")),
            }
        }),
        ("takes V2 for V1", |request| match request.target.contains("marker=") {
            true => list_page(&["c"], None),
            false => list_page(&["a", "b"], Some("<Marker></Marker>")),
        }),
        ("ignores the token", |request| match request.target.contains("marker=") {
            true => list_page(&["c"], None),
            false => list_page(&["a", "b"], Some("<NextContinuationToken>T</NextContinuationToken>")),
        }),
    ];
    for (name, says) in services {
        let service = Service::start(says);
        assert_eq!(listed(&service), ["a", "b", "c"], "{name}");
        let last = service.requests().pop().unwrap().target;
        assert!(last.contains("prefix=spilo%2Fdemo%2Fwal%2F15%2F"), "{last}");
    }
}

#[test]
fn unfinished_uploads_come_in_pages_and_only_ours_count() {
    let upload = |key: &str, id: &str| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>2026-11-20T10:00:00.000Z</Initiated></Upload>"
        )
    };
    let page = |more: &str, uploads: String| {
        let root = "ListMultipartUploadsResult";
        ok(&[], format!("<{root}><IsTruncated>{}</IsTruncated>{more}{uploads}</{root}>", !more.is_empty()))
    };
    let (below, beside) = ("spilo/demo/wal/15/base/x", "spilo/demo/wal/16/base/x");
    let service = Service::start(move |request| match request.target.contains("upload-id-marker=1") {
        true => page("", upload(below, "2")),
        false => {
            let markers =
                format!("<NextKeyMarker>{below}</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>");
            page(&markers, upload(below, "1") + &upload(beside, "3"))
        }
    });
    let found = block_on(list_unfinished(&*service.storage(), &Prefix::parse("base").unwrap())).unwrap();
    assert_eq!(found.len(), 2);
    for unfinished in &found {
        assert_eq!(
            (unfinished.key.as_str(), unfinished.modified.to_string().as_str()),
            ("base/x", "2026-11-20T10:00:00Z")
        );
        block_on(service.storage().remove_unfinished(unfinished)).unwrap();
    }
    let targets: Vec<_> =
        service.requests().iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    assert!(
        targets[..2].iter().all(|target| target.contains("prefix=spilo%2Fdemo%2Fwal%2F15%2Fbase%2F")),
        "{targets:?}"
    );
    for (target, id) in targets[2..].iter().zip(["1", "2"]) {
        assert!(target.starts_with("DELETE ") && target.contains(&format!("uploadId={id}")), "{target}");
    }

    let endless = Service::start(move |_| {
        page("<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>", upload(below, "1"))
    });
    let error = block_on(list_unfinished(&*endless.storage(), &Prefix::root())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let unknown = Service::start(|_| self::error(501, "NotImplemented", "not here"));
    let error = block_on(list_unfinished(&*unknown.storage(), &Prefix::root())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_listing_that_never_ends_is_an_error() {
    let service = Service::start(|_| list_page(&["a", "b"], Some("<NextMarker>b</NextMarker>")));
    let error = list_error(&service);
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

/// S3 may give pages without entries before the last one, as long as the token moves.
#[test]
fn a_page_without_entries_may_have_a_next_one() {
    let next = |token: usize| format!("<NextContinuationToken>T{token}</NextContinuationToken>");
    let token_of = |request: &Request| -> usize {
        let token = request.target.split("continuation-token=T").nth(1);
        token.map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap())
    };
    let service = Service::start(move |request| match token_of(request) {
        2 => list_page(&["a"], Some(&next(3))),
        5 => list_page(&["b"], None),
        token => list_page(&[], Some(&next(token + 1))),
    });
    assert_eq!(listed(&service), ["a", "b"]);

    let unchanged = Service::start(move |_| list_page(&[], Some(&next(1))));
    let error = list_error(&unchanged);
    assert!(error.kind() == ErrorKind::Protocol && error.to_string().contains("without entries"), "{error}");
    assert_eq!(unchanged.requests().len(), 2);

    let endless = Service::start(move |request| list_page(&[], Some(&next(token_of(request) + 1))));
    let error = list_error(&endless);
    assert!(error.kind() == ErrorKind::Protocol && error.to_string().contains("without entries"), "{error}");
    assert_eq!(endless.requests().len(), 1001);

    let version_1 = Service::start(move |request| match request.target.contains("list-type=2") {
        true => self::error(501, "NotImplemented", "not here"),
        false => list_page(&[], Some("<NextMarker>m</NextMarker>")),
    });
    let error = list_error(&version_1);
    assert!(error.kind() == ErrorKind::Protocol && error.to_string().contains("without entries"), "{error}");
}

/// Whatever is not streamed has an end, or is an error after some MiB.
#[test]
fn an_answer_without_an_end_is_an_error() {
    for status in [200, 404, 500] {
        let service = Service::start(move |_| Answer::Endless(status, None));
        let error = list_error(&service);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("the answer has more than 64 MiB"), "{error}");
        assert_eq!(service.requests().len(), 1, "{status}");
    }
    let service = Service::start(|_| Answer::Endless(500, None));
    let error = block_on(get_bytes(&*service.storage(), &segment())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

/// Somebody stored a disk image under the name of a document.
#[test]
fn a_document_is_not_read_beyond_what_one_can_have() {
    let service = Service::start(|_| Answer::Endless(200, Some(100 << 30)));
    let error = block_on(get_bytes(&*service.storage(), &segment())).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Protocol && error.to_string().contains("at most 268435456"),
        "{error}"
    );
    assert_eq!(service.requests().len(), 1);
    let error =
        block_on(get_at_most(&*object_service(b"content", vec![]).storage(), &segment(), 6)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(
        block_on(get_at_most(&*object_service(b"content", vec![]).storage(), &segment(), 7))
            .unwrap()
            .is_some()
    );
}

#[test]
fn what_is_no_listing_is_never_an_empty_one() {
    let entry = |key: &str| {
        format!(
            "<Contents>{key}<Size>5</Size><LastModified>2024-01-02T03:04:05.000Z</LastModified></Contents>"
        )
    };
    let of = |inner: String| {
        ok(&[], format!("<ListBucketResult><IsTruncated>false</IsTruncated>{inner}</ListBucketResult>"))
    };
    for (answer, kind) in [
        // Of other names than those that were asked for.
        (of(entry("<Key>other/x</Key>")), ErrorKind::Protocol),
        (of(entry("<Key>/spilo/demo/wal/15/x</Key>")), ErrorKind::Protocol),
        (of(entry("<Key>x</Key>")), ErrorKind::Protocol),
        (of(entry("")), ErrorKind::Protocol),
        (
            of("<CommonPrefixes><Prefix>spilo/demo/wal/1</Prefix></CommonPrefixes>".into()),
            ErrorKind::Protocol,
        ),
        (of("<CommonPrefixes></CommonPrefixes>".into()), ErrorKind::Protocol),
        (ok(&[], "<html>welcome</html>"), ErrorKind::Protocol),
        (ok(&[], "not xml"), ErrorKind::Protocol),
        (ok(&[], ""), ErrorKind::Protocol),
        (ok(&[], "<?xml version=\"1.0\"?><ListBucketResult><Name>bucket</Name><Cont"), ErrorKind::Protocol),
        (Answer::Http(404, vec![], b"<html>nginx</html>".to_vec()), ErrorKind::Protocol),
        (Answer::Http(302, vec![("Location", "http://127.0.0.1:1/".to_owned())], vec![]), ErrorKind::Invalid),
        (Answer::Cut(200, vec![], b"<ListBucketResult>".to_vec(), 100), ErrorKind::Network),
        (Answer::Cut(404, vec![], b"<Error><Code>NoSuchB".to_vec(), 100), ErrorKind::Network),
        (Answer::Close, ErrorKind::Network),
        (Answer::Silence, ErrorKind::Timeout),
    ] {
        let policy = if matches!(answer, Answer::Silence) { hasty() } else { patient() };
        let service = Service::start(move |_| answer.clone());
        let storage = with_policy(service.config(), policy);
        let error = block_on(list_all(&*storage, &Prefix::root(), Depth::All)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn refusals_say_what_where_and_why() {
    let cases = [
        (403, "AccessDenied", ErrorKind::Refused, "policy"),
        (403, "SignatureDoesNotMatch", ErrorKind::Refused, "AWS_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", ErrorKind::Refused, "AWS_ACCESS_KEY_ID"),
        (404, "XAdminUserNotFound", ErrorKind::Refused, "AWS_ACCESS_KEY_ID"),
        (403, "RequestTimeTooSkewed", ErrorKind::Refused, "clock"),
        (400, "ExpiredToken", ErrorKind::Refused, "AWS_SESSION_TOKEN"),
        (400, "AuthorizationHeaderMalformed", ErrorKind::Refused, "AWS_REGION"),
        (301, "PermanentRedirect", ErrorKind::Invalid, "AWS_REGION"),
        (404, "NoSuchBucket", ErrorKind::NoBucket, "WALG_S3_PREFIX"),
        (400, "EntityTooLarge", ErrorKind::Invalid, "lower WALG_S3_MAX_PART_SIZE"),
        (400, "EntityTooSmall", ErrorKind::Invalid, "raise WALG_S3_MAX_PART_SIZE"),
    ];
    for (status, code, kind, hint) in cases {
        let service = Service::start(move |_| error(status, code, "Some words."));
        let error = list_error(&service);
        assert_eq!(service.requests().len(), 1, "{code} is not tried again");
        assert_eq!(error.kind(), kind, "{code}");
        assert!(error.hint().unwrap().contains(hint), "{code}: {:?}", error.hint());
        let expected = format!(
            "list in s3://bucket/spilo/demo/wal/15 at http://{}: {code}: Some words. (HTTP {status}, request REQ123)",
            service.address
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn long_and_dirty_words_of_a_service_are_cut_and_cleaned() {
    let service =
        Service::start(|_| Answer::Http(400, vec![], format!("a\r\n\x1b[31m{}", "x".repeat(5000)).into()));
    let text = list_error(&service).to_string();
    assert!(text.len() < 500 && !text.contains('\n') && !text.contains('\x1b'), "{text}");
}

#[test]
fn patience_is_bounded_and_said() {
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (502, "")] {
        let service = Service::start(move |_| match code {
            "" => Answer::Http(status, vec![], b"<html>Bad Gateway</html>".to_vec()),
            code => error(status, code, "Later."),
        });
        let error = list_error(&service);
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert_eq!(service.requests().len(), 3);
        assert!(error.to_string().contains("(gave up after 3 attempts in"), "{error}");
    }
}

#[test]
fn retry_after_is_respected() {
    let later = Answer::Http(503, vec![("Retry-After", "1".to_owned())], error_body("SlowDown", "Later."));
    let service = Service::saying(vec![later, stored()]);
    let begin = Instant::now();
    block_on(service.storage().put(&segment(), Bytes::new(), PutMode::Overwrite)).unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(service.requests().len(), 2);
}

#[test]
fn only_the_service_can_say_that_an_object_is_missing() {
    for (get, kind) in [
        (error(404, "NoSuchBucket", "gone"), ErrorKind::NoBucket),
        (Answer::Http(404, vec![], b"<html>nginx</html>".to_vec()), ErrorKind::Protocol),
        (error(403, "AccessDenied", "no"), ErrorKind::Refused),
        (error(403, "NoSuchKey", "none"), ErrorKind::Refused),
    ] {
        let service = Service::start(move |request| match request.method.as_str() {
            "HEAD" => Answer::Http(404, vec![], vec![]),
            _ => get.clone(),
        });
        let storage = service.storage();
        assert_eq!(block_on(storage.head(&segment())).unwrap_err().kind(), kind);
        assert_eq!(block_on(storage.get(&segment(), 0, None)).unwrap_err().kind(), kind);
    }
    let service = Service::start(|request| match request.method.as_str() {
        "HEAD" => Answer::Http(404, vec![], vec![]),
        _ => error(404, "NoSuchKey", "none"),
    });
    let storage = service.storage();
    assert_eq!(block_on(storage.head(&segment())).unwrap(), None);
    assert_eq!(block_on(storage.head(&segment())).unwrap(), None);
    let asked: Vec<_> = service.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(asked, ["HEAD", "GET", "HEAD", "GET"], "anybody may have said that");
    let service = Service::start(|request| match request.method.as_str() {
        "HEAD" => Answer::Http(404, vec![("x-amz-request-id", "1".to_owned())], vec![]),
        _ => error(404, "NoSuchKey", "none"),
    });
    let storage = service.storage();
    assert_eq!(block_on(storage.head(&segment())).unwrap(), None);
    assert_eq!(block_on(storage.head(&segment())).unwrap(), None);
    let asked: Vec<_> = service.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(asked, ["HEAD", "GET", "HEAD"], "the bucket is asked for once");
    // A proxy that has lost the service, after that.
    let service =
        Service::start(|request| match (request.method.as_str(), request.target.contains("lost")) {
            ("HEAD", _) => Answer::Http(404, vec![("Server", "nginx".to_owned())], vec![]),
            (_, true) => Answer::Http(404, vec![], b"<html>nginx</html>".to_vec()),
            _ => error(404, "NoSuchKey", "none"),
        });
    let storage = service.storage();
    assert_eq!(block_on(storage.head(&segment())).unwrap(), None);
    let lost = Key::parse("wal_005/lost").unwrap();
    assert_eq!(block_on(storage.head(&lost)).unwrap_err().kind(), ErrorKind::Protocol);
    for code in [401, 403] {
        let service = Service::start(move |_| Answer::Http(code, vec![], vec![]));
        assert_eq!(block_on(service.storage().head(&segment())).unwrap_err().kind(), ErrorKind::Refused);
    }
}

/// Serves `body` with ranges, a tag, and the scheduled number of cut answers.
fn object_service(body: &'static [u8], mut cuts: Vec<usize>) -> Service {
    Service::start(move |request| {
        let from = request.header("range").map_or(0, |range| {
            range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
        let (status, mut headers) = (if from > 0 { 206 } else { 200 }, vec![("ETag", "\"tag\"".to_owned())]);
        headers.push(("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT".to_owned()));
        if from > 0 {
            headers.push(("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
        }
        match cuts.pop() {
            Some(after) => {
                Answer::Cut(status, headers, body[from..from + after].to_vec(), body.len() - from - after)
            }
            None => Answer::Http(status, headers, body[from..].to_vec()),
        }
    })
}

#[test]
fn a_short_body_is_never_a_success() {
    let service = object_service(b"0123456789", vec![4]);
    let storage = S3::open(service.config(), patient()).unwrap();
    let error = block_on(get_bytes(&storage, &segment())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
}

/// A proxy in between has encoded the answer anew.
#[test]
fn an_answer_without_its_length_says_who_may_have_taken_it() {
    let service = Service::start(|_| Answer::Endless(200, None));
    let error = block_on(service.storage().get(&segment(), 0, None)).unwrap_err();
    assert!(error.to_string().contains("no Content-Length"), "{error}");
    assert!(error.hint().unwrap().contains("a proxy"), "{:?}", error.hint());
}

#[test]
fn a_cut_body_goes_on_by_range() {
    let service = object_service(b"0123456789", vec![3, 4]);
    let (meta, body) = block_on(get_bytes(&*service.storage(), &segment())).unwrap().unwrap();
    assert_eq!(body, "0123456789");
    assert_eq!(meta.size, 10);
    let requests = service.requests();
    let ranges: Vec<_> = requests.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=4-"), Some("bytes=7-")]);
    assert_eq!(requests[1].header("if-match"), Some("\"tag\""));
}

/// MD5s of the two parts `aa` and `b`, and the tag of an object made of them.
fn multipart() -> ([String; 2], String) {
    let parts = [Md5::digest(b"aa"), Md5::digest(b"b")];
    let whole = hex::encode(Md5::digest(parts.concat()));
    (parts.map(hex::encode), format!("\"{whole}-2\""))
}

fn complete(completing: Vec<Answer>, found: Option<String>) -> (Result<(), ErrorKind>, Vec<String>) {
    let mut completing = completing.into_iter();
    let service = Service::start(move |request| {
        let (parts, _) = multipart();
        match (request.method.as_str(), request.target.contains("uploads")) {
            ("POST", true) => ok(
                &[],
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            ),
            ("PUT", _) => {
                let tag = &parts[usize::from(request.body == b"b")];
                ok(&[("ETag", &format!("\"{tag}\""))], "")
            }
            ("POST", false) => completing.next().unwrap(),
            ("HEAD", _) => match &found {
                Some(tag) => {
                    ok(&[("ETag", tag.as_str()), ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")], "aab")
                }
                None => Answer::Http(404, vec![], vec![]),
            },
            _ => error(404, "NoSuchKey", "none"),
        }
    });
    let storage = service.storage();
    let completed = block_on(async {
        let upload = storage.start_upload(&segment()).await.unwrap();
        let first =
            upload.put_part(Part { number: 1, offset: 0, body: Bytes::from_static(b"aa") }).await.unwrap();
        let second =
            upload.put_part(Part { number: 2, offset: 2, body: Bytes::from_static(b"b") }).await.unwrap();
        let receipts = [first, second];
        upload.complete(&receipts, PutMode::Overwrite).await.map(drop).map_err(|error| error.kind())
    });
    let asked = service.requests().iter().skip(3).map(|request| request.method.clone()).collect();
    (completed, asked)
}

#[test]
fn a_lost_answer_to_complete() {
    let (_, ours) = multipart();
    let completed = |tag: &str| {
        ok(&[], format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
    };
    let done = || completed(&ours);
    let (result, asked) = complete(vec![done()], None);
    assert_eq!((result, asked), (Ok(()), vec!["POST".to_owned()]));
    // A tag of another kind: the service is asked for the size, and it may not even have the object.
    let (result, asked) = complete(vec![completed("x")], Some("\"x\"".to_owned()));
    assert_eq!((result, asked), (Ok(()), vec!["POST".to_owned(), "HEAD".to_owned()]));
    let (result, _) = complete(vec![completed("x"), completed("x"), completed("x")], None);
    assert_eq!(result, Err(ErrorKind::Network));
    // It was done: the object is there, made of our parts.
    let (result, asked) = complete(vec![Answer::Close], Some(ours.clone()));
    assert_eq!((result, asked), (Ok(()), vec!["POST".to_owned(), "HEAD".to_owned()]));
    // It was not: another object of the same size is there.
    let other = format!("\"{}-2\"", "0".repeat(32));
    let (result, asked) = complete(vec![Answer::Close, done()], Some(other));
    assert_eq!(result, Ok(()));
    assert_eq!(asked, ["POST", "HEAD", "POST"]);
    // An error inside a success.
    let inside = ok(&[], error_body("InternalError", "We failed."));
    let (result, _) = complete(vec![inside.clone(), done()], None);
    assert_eq!(result, Ok(()));
    let (result, _) = complete(vec![inside.clone(), inside.clone(), inside], None);
    assert_eq!(result, Err(ErrorKind::Busy));
    // The upload is gone, and nothing of it is there.
    let (result, asked) = complete(vec![error(404, "NoSuchUpload", "gone")], None);
    assert_eq!((result, asked), (Err(ErrorKind::Changed), vec!["POST".to_owned()]));
}

fn fails(storage: &SharedStorage, kind: ErrorKind, words: &str, hint: &str) {
    let error = block_on(storage.head(&segment())).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some_and(|text| text.contains(hint)), "{:?}", error.hint());
}

#[test]
fn a_closed_port() {
    // Where nothing listens, whatever else runs.
    fails(&retrying(config("http://127.0.0.1:1")), ErrorKind::Network, "Connection refused", "AWS_ENDPOINT");
}

#[test]
fn a_connection_that_breaks_off() {
    for answer in [Answer::Close, Answer::Cut(200, vec![], b"<ListBucketResult>".to_vec(), 100)] {
        let service = Service::start(move |_| answer.clone());
        let error = list_error(&service);
        assert!(error.hint().unwrap().contains("on the way"), "{error}: {:?}", error.hint());
    }
    // A connection that is dropped while there is something to read is reset.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(&format!("http://{}", listener.local_addr().unwrap()));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            connection.unwrap().peek(&mut [0]).unwrap();
        }
    });
    fails(&retrying(config), ErrorKind::Network, "reset", "on the way");
}

#[test]
fn a_name_that_does_not_resolve() {
    fails(
        &retrying(config("http://seawall.invalid")),
        ErrorKind::Network,
        "failed to lookup",
        "AWS_ENDPOINT",
    );
}

#[test]
fn a_listener_that_never_answers() {
    let service = Service::start_on(Wire::Deaf, |_| Answer::Silence);
    fails(&with_policy(service.config(), hasty()), ErrorKind::Timeout, "no answer within", "stays silent");
}

#[test]
fn a_put_that_nobody_reads() {
    let service = Service::start_on(Wire::Deaf, |_| Answer::Silence);
    let body = Bytes::from(vec![0; 64 << 20]);
    // With time for its hash.
    let policy = RetryPolicy {
        first_byte: patient().first_byte,
        transfer_budget: patient().transfer_budget,
        ..hasty()
    };
    let error = block_on(with_policy(service.config(), policy).put(&segment(), body, PutMode::Overwrite))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("took no more of the body"), "{error}");
}

/// For longer than an attempt may be silent and than the whole budget, and then it breaks off: it is sent again.
#[test]
fn a_put_over_a_slow_line_has_another_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(&format!("http://{}", listener.local_addr().unwrap()));
    let body = Bytes::from(vec![7; 24 << 20]);
    let sent = body.clone();
    // The kernel asks for more each time when a third of its buffer has left, here 0.8 MiB.
    let silence = Duration::from_millis(1500);
    let policy = RetryPolicy { first_byte: silence, stalled_body: silence, ..hasty() };
    let slow = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let (begin, mut piece) = (Instant::now(), vec![0; 256 << 10]);
        while begin.elapsed() < policy.transfer_budget + Duration::from_secs(1) {
            connection.read_exact(&mut piece).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(connection);
        let (connection, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(connection);
        let request = receive(&mut reader).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\nContent-Length: 0\r\n\r\n";
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        request.body == sent
    });
    block_on(with_policy(config, policy).put(&segment(), body, PutMode::Overwrite)).unwrap();
    assert!(slow.join().unwrap());
}

#[test]
fn certificates_are_checked() {
    let service = Service::start_on(Wire::Tls, |request| stored_as(&request.body));
    let endpoint = format!("https://{}", service.address);
    fails(
        &retrying(config(&endpoint)),
        ErrorKind::Refused,
        "TLS: invalid peer certificate",
        "WALG_S3_CA_CERT_FILE",
    );

    let mut trusting = config(&endpoint);
    trusting.ca_bundle = Some(tls::CERTIFICATE.into());
    block_on(retrying(trusting).put(&segment(), Bytes::from_static(b"x"), PutMode::Overwrite)).unwrap();
    let put = service.requests().pop().unwrap();
    assert_eq!(put.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_eq!(put.header("content-length"), Some("1"));
    assert_eq!(put.header("transfer-encoding"), None);

    let plain = Service::saying(vec![stored()]);
    let config = config(&format!("https://{}", plain.address));
    fails(&retrying(config), ErrorKind::Protocol, "TLS:", "scheme and port");
}

fn put_to(config: S3Config) -> Result<(), Error> {
    block_on(retrying(config).put(&segment(), Bytes::from(vec![7; 400_000]), PutMode::Overwrite)).map(drop)
}

/// The service spoils what it gets, or something in front of it.
#[test]
fn a_put_of_which_the_service_stored_other_bytes_is_an_error() {
    let service = Service::saying(vec![stored_as(b"other")]);
    let error = put_to(service.config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    for md5 in [b"other".as_slice(), &[7; 400_000]].map(|bytes| hex::encode(Md5::digest(bytes))) {
        assert!(error.to_string().contains(&md5), "{error}");
    }
    assert!(error.hint().unwrap().contains("SEAWALL_S3_CHECK_ETAG"));
    assert_eq!(service.requests().len(), 3, "each attempt anew");

    // It was a passing fault.
    let service = Service::saying(vec![stored_as(b"other"), stored_as(&[7; 400_000])]);
    put_to(service.config()).unwrap();
    assert_eq!(service.requests().len(), 2);
}

/// Tags that are no MD5 say nothing, and the signature has covered the body.
#[test]
fn a_tag_of_another_kind_is_no_error() {
    let kms = ("x-amz-server-side-encryption", "aws:kms");
    let customer = ("x-amz-server-side-encryption-customer-algorithm", "AES256");
    let etag = ("ETag", "\"0123456789abcdef0123456789abcdef\"");
    for answer in [ok(&[etag, kms], ""), ok(&[etag, customer], ""), stored()] {
        let service = Service::saying(vec![answer]);
        put_to(service.config()).unwrap();
        assert_eq!(service.requests().len(), 1);
    }
    let service = Service::saying(vec![ok(&[etag], "")]);
    let mut config = service.config();
    config.etag_check = EtagCheck::Off;
    put_to(config).unwrap();
}

/// Somebody in front of the service may say that all is well.
#[test]
fn a_put_without_a_tag_is_asked_for() {
    let service = Service::start(|request| match request.method.as_str() {
        "PUT" => ok(&[], ""),
        "HEAD" => Answer::Http(404, vec![], vec![]),
        _ => error(404, "NoSuchKey", "none"),
    });
    let error = put_to(service.config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("does not have it"), "{error}");
}

/// Over https the body is not signed: where the tag says nothing, the service is asked for the size.
#[test]
fn without_a_signature_and_a_tag_the_size_is_asked_for() {
    let time = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT");
    for (size, outcome) in [("400000", Ok(())), ("399999", Err(ErrorKind::Network))] {
        let service = Service::start_on(Wire::Tls, move |request| match request.method.as_str() {
            "HEAD" => ok(&[time, ("ETag", "\"tag\""), ("Content-Length", size)], ""),
            _ => stored(),
        });
        let mut config = config(&format!("https://{}", service.address));
        config.ca_bundle = Some(format!("{}/tests/tls/server.pem", env!("CARGO_MANIFEST_DIR")).into());
        assert_eq!(put_to(config).map_err(|error| error.kind()), outcome);
        let methods: Vec<_> = service.requests().into_iter().map(|request| request.method).take(2).collect();
        assert_eq!(methods, ["PUT", "HEAD"]);
    }
}

#[test]
fn certificates_that_cannot_be_used_are_refused_at_once() {
    for (path, words) in [("/nonexistent/ca.pem", "No such file"), ("/dev/null", "no certificate found")] {
        let mut config = config("https://127.0.0.1:1");
        config.ca_bundle = Some(path.into());
        let error = open(StorageConfig::S3(Box::new(config)), patient()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint().unwrap().contains("AWS_CA_BUNDLE"));
    }
}

/// `storage check`, first the trial, then the removal.
fn checked(config: S3Config) -> (seawall::storage::check::Findings, Option<seawall::storage::check::Row>) {
    checked_within(config, seawall::storage::check::BUDGET)
}

fn checked_within(
    config: S3Config,
    budget: Duration,
) -> (seawall::storage::check::Findings, Option<seawall::storage::check::Row>) {
    let folder = Prefix::parse("wal_005/check").unwrap();
    let check = Check::new(StorageConfig::S3(Box::new(config)), patient(), folder, budget).unwrap();
    block_on(async { (check.run().await, check.clean_up().await) })
}

#[test]
fn a_check_removes_what_it_wrote_from_a_service_that_fails_half_way() {
    const CREATED: &str =
        "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let service = Service::start(|request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match request.method.as_str() {
            "PUT" => stored(),
            "POST" if query.contains("uploads") => ok(&[], CREATED),
            "POST" => error(501, "NotImplemented", "no"),
            "DELETE" => Answer::Http(204, Vec::new(), Vec::new()),
            "GET" if query.contains("uploads") => ok(
                &[],
                "<ListMultipartUploadsResult><Upload><Key>spilo/demo/wal/15/wal_005/check/left</Key>\
                 <UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>",
            ),
            _ if path == "/bucket" || path == "/bucket/" => error(501, "NotImplemented", "no"),
            _ => error(404, "NoSuchKey", "no"),
        }
    });
    let (findings, left) = checked(service.config());
    assert_eq!(left, None);
    assert!(!findings.all_needed_works());
    let verdict = |ability| findings.rows.iter().find(|row| row.ability == ability).unwrap().verdict;
    for (ability, expected) in [
        (Ability::SignedPut, Verdict::Works),
        (Ability::ListV2, Verdict::Failed),
        (Ability::ListV1, Verdict::Failed),
        (Ability::Read, Verdict::Failed),
        // A condition that is ignored.
        (Ability::CreateByPut, Verdict::Without),
        (Ability::Checksum, Verdict::Without),
        (Ability::EqualParts, Verdict::Failed),
        (Ability::Throughput, Verdict::NotTried),
        (Ability::BatchDelete, Verdict::Failed),
    ] {
        assert_eq!(verdict(ability), expected, "{ability:?}");
    }
    let requests = service.requests();
    let path = |request: &Request| request.target.split('?').next().unwrap().to_owned();
    let puts =
        requests.iter().filter(|request| request.method == "PUT" && !request.target.contains("uploadId"));
    let mut written: Vec<String> = puts.map(path).collect();
    written.sort();
    written.dedup();
    for name in &written {
        assert!(name.starts_with("/bucket/spilo/demo/wal/15/wal_005/check/"), "{name}");
        let deleted = |request: &Request| {
            request.method == "DELETE" && path(request) == *name && !request.target.contains("uploadId")
        };
        assert!(requests.iter().any(deleted), "{name} is not deleted by itself");
    }
    assert!(written.len() >= 5, "{written:?}");
    for upload in ["uploadId=u1", "uploadId=u2"] {
        let aborted = |request: &Request| request.method == "DELETE" && request.target.contains(upload);
        assert!(requests.iter().any(aborted), "{upload} is not given up");
    }
}

#[test]
fn a_check_names_what_it_could_not_remove() {
    let service = Service::start(|request| match request.method.as_str() {
        "PUT" => stored(),
        "HEAD" if request.target == "/bucket" || request.target == "/bucket/" => ok(&[], ""),
        _ => error(403, "AccessDenied", "no"),
    });
    let (findings, left) = checked(service.config());
    let delete = findings.rows.iter().find(|row| row.ability == Ability::BatchDelete).unwrap();
    assert_eq!(delete.verdict, Verdict::Failed);
    assert!(delete.detail.contains("AccessDenied"), "{delete:?}");
    let left = left.unwrap();
    assert_eq!((left.ability, left.verdict), (Ability::Removal, Verdict::Failed));
    assert!(left.detail.contains("`spilo/demo/wal/15/wal_005/check/signed`"), "{left:?}");
    assert!(left.hint.unwrap().contains("policy"));
}

/// Of a service that takes ten seconds for each request, and of one that falls silent.
#[test]
fn a_check_ends_when_its_time_is_over() {
    for last_answers in [1, 2] {
        let mut asked = 0;
        let service = Service::start(move |request| {
            asked += 1;
            match request.method.as_str() {
                _ if asked > last_answers => Answer::Silence,
                "PUT" => stored(),
                _ => ok(&[], ""),
            }
        });
        let (findings, left) = checked_within(service.config(), Duration::from_secs(5));
        let over: Vec<_> = findings.rows.iter().filter(|row| row.detail.contains("were over")).collect();
        let [row] = over[..] else { panic!("{findings:?}") };
        assert_eq!((row.ability, row.verdict), (Ability::SignedPut, Verdict::Failed));
        let tried = findings.rows.iter().filter(|row| row.verdict != Verdict::NotTried);
        assert_eq!(tried.count(), 3, "there, clock, put: {findings:?}");
        let left = left.unwrap();
        assert_eq!((left.ability, left.verdict), (Ability::Removal, Verdict::Failed));
        assert!(
            left.detail.contains("may be left in the bucket: `spilo/demo/wal/15/wal_005/check/signed`"),
            "{left:?}"
        );
    }
}

/// A name that was stored once is removed, also when it is refused the second time.
#[test]
fn a_check_removes_what_it_stored_and_was_refused_then() {
    let mut puts = 0;
    let service = Service::start(move |request| match request.method.as_str() {
        "PUT" => {
            puts += 1;
            if puts == 1 { stored() } else { error(403, "AccessDenied", "no") }
        }
        "DELETE" => Answer::Http(204, Vec::new(), Vec::new()),
        "HEAD" if request.target == "/bucket" || request.target == "/bucket/" => ok(&[], ""),
        _ => error(403, "AccessDenied", "no"),
    });
    let (_, left) = checked(service.config());
    assert_eq!(left, None);
    let requests = service.requests();
    let deleted = |request: &Request| request.method == "DELETE" && request.target.contains("check/signed");
    assert!(requests.iter().any(deleted), "it is still there");
}
