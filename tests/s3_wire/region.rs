//! The region that requests are signed for, where the service says that it is another one.

use std::collections::BTreeMap;

use bytes::Bytes;
use seawall::storage::s3::{RegionIs, S3Config};
use seawall::storage::{Depth, ErrorKind, Prefix, PutMode, PutOutcome, get_bytes, list_all};

use super::{
    Answer, Request, Service, block_on, error_body, list_page, ok, retrying, segment, stores_anything,
};

const RIGHT: &str = "eu-west-3";

/// The region of a request's signature.
fn region(request: &Request) -> String {
    let authorization = request.header("authorization").unwrap();
    let scope = authorization.split_once("Credential=").unwrap().1.split('/').nth(2).unwrap();
    scope.to_owned()
}

/// Refuses with `refusal` what is not signed for [`RIGHT`].
fn service(mut refusal: impl FnMut(&Request) -> Answer + Send + 'static) -> Service {
    Service::start(move |request| match region(request) == RIGHT {
        false => refusal(request),
        true if request.method == "GET" && !request.target.contains("wal_005/0") => list_page(&[], None),
        true if request.target.contains("?delete") => {
            let sent = String::from_utf8_lossy(&request.body);
            let (_, key) = sent.split_once("<Key>").unwrap();
            let (key, _) = key.split_once("</Key>").unwrap();
            ok(&[], format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>"))
        }
        true => stores_anything(request),
    })
}

fn malformed(region: &str) -> Answer {
    let mut body = String::from_utf8(error_body("AuthorizationHeaderMalformed", "Some words.")).unwrap();
    body = body.replace("</Message>", &format!("</Message><Region>{region}</Region>"));
    Answer::Http(400, vec![], body.into())
}

fn redirect(status: u16, code: &str, region: &str) -> Answer {
    let elsewhere = ("Location", "http://127.0.0.2:1/elsewhere".to_owned());
    Answer::Http(
        status,
        vec![("x-amz-bucket-region", region.to_owned()), elsewhere],
        error_body(code, "Words."),
    )
}

fn guessing(service: &Service, region: &str) -> S3Config {
    let mut config = service.config();
    (config.region, config.region_is) = (Some(region.to_owned()), RegionIs::Guess);
    config
}

/// Each shape of a refusal, met by each kind of request: asked once, and what it names is used from then on, at the same host.
#[test]
fn a_region_that_the_service_names_is_used() {
    type Refusal = fn(&Request) -> Answer;
    let refusals: [(&str, Refusal, usize); 4] = [
        // As versitygw and MinIO: the answer to HEAD has no body, so a listing is asked for.
        ("in the body", |_| malformed(RIGHT), 1),
        ("moved for good", |_| redirect(301, "PermanentRedirect", RIGHT), 0),
        ("moved for now", |_| redirect(307, "TemporaryRedirect", RIGHT), 0),
        ("in a header", |_| Answer::Http(400, vec![("x-amz-bucket-region", RIGHT.to_owned())], vec![]), 0),
    ];
    for (name, refusal, asked) in refusals {
        for first in ["head", "get", "put", "create", "list", "upload", "exists", "delete"] {
            let service = service(refusal);
            let storage = retrying(service.config());
            let body = Bytes::from_static(b"x");
            block_on(async {
                match first {
                    "head" => drop(storage.head(&segment()).await.unwrap().unwrap()),
                    "get" => drop(get_bytes(&*storage, &segment()).await.unwrap().unwrap()),
                    "put" | "create" => {
                        let mode = if first == "put" { PutMode::Overwrite } else { PutMode::CreateOnly };
                        let outcome = storage.put(&segment(), body, mode).await.unwrap();
                        assert_eq!(outcome, PutOutcome::Stored);
                    }
                    "list" => drop(list_all(&*storage, &Prefix::root(), Depth::All).await.unwrap()),
                    "upload" => drop(storage.start_upload(&segment()).await.unwrap()),
                    "exists" => assert!(storage.exists().await.unwrap()),
                    _ => assert!(storage.delete(&[segment()]).await.unwrap().failed.is_empty()),
                }
                storage.head(&segment()).await.unwrap().unwrap();
            });
            let requests = service.requests();
            let signed: Vec<_> = requests.iter().map(region).collect();
            let wrong = if matches!(first, "head" | "exists") { 1 + asked } else { 1 };
            let expected = [vec!["us-east-1"; wrong], vec![RIGHT; 2]].concat();
            assert_eq!(signed, expected, "{name}, {first}");
            let host = service.address.to_string();
            assert!(requests.iter().all(|request| request.header("host") == Some(host.as_str())), "{name}");
        }
    }
}

#[test]
fn calls_that_are_refused_at_once_all_go_on() {
    let service = service(|_| malformed(RIGHT));
    let storage = retrying(service.config());
    block_on(async {
        let key = segment();
        let put = || storage.put(&key, Bytes::from_static(b"x"), PutMode::Overwrite);
        let outcomes = tokio::join!(put(), put(), put(), put());
        assert!(outcomes.0.is_ok() && outcomes.1.is_ok() && outcomes.2.is_ok() && outcomes.3.is_ok());
    });
    let mut signed: BTreeMap<String, usize> = BTreeMap::new();
    service.requests().iter().for_each(|request| *signed.entry(region(request)).or_default() += 1);
    assert_eq!(signed[RIGHT], 4);
    assert!(signed["us-east-1"] <= 4, "{signed:?}");
}

/// A set region counts: as in wal-g it is fixed, as in boto it is a guess.
#[test]
fn a_region_that_was_set() {
    let by_head = |request: &Request| match request.method.as_str() {
        "HEAD" => Answer::Http(400, vec![], vec![]),
        _ => malformed(RIGHT),
    };
    let fixed = service(by_head);
    let mut config = fixed.config();
    config.region = Some("us-west-2".to_owned());
    let storage = retrying(config);
    let hint = format!("`{RIGHT}`: set AWS_REGION");
    let listed = block_on(list_all(&*storage, &Prefix::root(), Depth::All)).unwrap_err();
    let headed = block_on(storage.head(&segment())).unwrap_err();
    for error in [listed, headed] {
        assert!(error.hint().unwrap().contains(&hint), "{error}: {:?}", error.hint());
    }
    let signed: Vec<_> = fixed.requests().iter().map(region).collect();
    assert_eq!(signed, ["us-west-2"; 3], "the listing, the HEAD, and what names the region");

    let guessed = service(by_head);
    let storage = retrying(guessing(&guessed, "us-west-2"));
    assert!(block_on(storage.head(&segment())).unwrap().is_some());
}

/// Nobody goes round in circles, and nobody is sent to another host.
#[test]
fn a_service_that_names_no_useful_region() {
    let circle = Service::start(|request| malformed(if region(request) == "a-1" { "b-1" } else { "a-1" }));
    let same = Service::start(|request| malformed(&region(request)));
    let host = Service::start(|_| malformed("127.0.0.1:1/"));
    let label = Service::start(|_| redirect(301, "PermanentRedirect", "evil.example.org"));
    let silent = Service::start(|_| Answer::Http(400, vec![], vec![]));
    for (service, listing, words) in [
        (&circle, 2, "b-1"),
        (&same, 1, "us-east-1"),
        (&host, 1, "AWS_REGION"),
        (&label, 1, "AWS_REGION"),
        (&silent, 2, "HTTP 400"),
    ] {
        let storage = retrying(service.config());
        let error = block_on(list_all(&*storage, &Prefix::root(), Depth::All)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Invalid), "{error}");
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(said.contains(words), "{said}");
        assert_eq!(service.requests().len(), listing, "{said}");
    }
    let again = block_on(list_all(&*retrying(circle.config()), &Prefix::root(), Depth::All)).unwrap_err();
    assert!(again.hint().unwrap().contains("b-1"), "{again}");
}

/// The check of a service goes where the service says.
#[test]
fn the_check_of_a_service_follows_too() {
    let service = Service::start(|request| match (region(request) == RIGHT, request.method.as_str()) {
        (false, "HEAD") => Answer::Http(400, vec![], vec![]),
        (false, _) => malformed(RIGHT),
        (true, "HEAD") => ok(&[], ""),
        (true, _) => Answer::Http(403, vec![], error_body("AccessDenied", "No.")),
    });
    let (findings, _) = super::checked(service.config());
    let place =
        findings.rows.iter().find(|row| row.ability == seawall::storage::check::Ability::Place).unwrap();
    assert_eq!(place.verdict, seawall::storage::check::Verdict::Works, "{place:?}");
}
