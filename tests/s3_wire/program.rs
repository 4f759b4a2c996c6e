//! What the program says of its requests.

use super::credentials::seawall;
use super::{Service, list_page};

/// The program that lists backups at `url`, with keys.
fn listing(home: &tempfile::TempDir, url: &str) -> assert_cmd::Command {
    let mut seawall = seawall(home.path(), url);
    seawall.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "canarySecret");
    seawall.env("AWS_SESSION_TOKEN", "canaryToken").env("S3_MAX_RETRIES", "0");
    seawall
}

fn said(seawall: &mut assert_cmd::Command) -> String {
    let output = seawall.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A connection that is refused is the proxy's, where one is used.
#[test]
fn a_proxy_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let proxy = "http://somebody:canaryPassword@127.0.0.1:2";
    let ask = |url: &str, env: &[(&str, &str)]| said(listing(&home, url).envs(env.iter().copied()));
    for (url, variable) in [
        ("http://127.0.0.1:1", "http_proxy"),
        ("https://127.0.0.1:1", "https_proxy"),
        ("https://127.0.0.1:1", "ALL_PROXY"),
    ] {
        let said = ask(url, &[(variable, proxy)]);
        assert!(said.contains("hint: nothing listens at the proxy `127.0.0.1:2`"), "{said}");
        assert!(!said.contains("canary") && !said.contains("somebody"), "{said}");
    }
    for env in [&[("http_proxy", proxy), ("no_proxy", "127.0.0.1")][..], &[("https_proxy", proxy)], &[]] {
        let said = ask("http://127.0.0.1:1", env);
        assert!(said.contains("hint: nothing listens there: check AWS_ENDPOINT"), "{said}");
    }
    let said = ask("http://127.0.0.1:1", &[("http_proxy", "http://u:canary@seawall.invalid:3128")]);
    assert!(said.contains("hint: the name of the proxy `seawall.invalid:3128` could not be"), "{said}");
}

/// One line for each, without its headers.
#[test]
fn each_request_is_a_line_for_those_who_develop() {
    let home = tempfile::tempdir().unwrap();
    let service = Service::start(|_| list_page(&[], None));
    let url = format!("http://{}", service.address);
    let lines = |level: &str| {
        let said = said(listing(&home, &url).env("WALG_LOG_LEVEL", level));
        assert!(!said.contains("canary") && !said.contains("AKIATEST"), "{said}");
        said.lines().filter(|line| line.contains(" request ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines("NORMAL").is_empty());
    let lines = lines("DEVEL");
    assert_eq!(lines.len() * 2, service.requests().len(), "{lines:?}");
    for line in &lines {
        let (_, fields) = line.split_once(" request ").unwrap();
        let (fields, took) = fields.split_once(" took_ms=").unwrap();
        assert_eq!(fields, "operation=ListObjectsV2 method=GET path=/bucket/ status=200", "{line}");
        took.parse::<u32>().unwrap();
    }

    let said = said(listing(&home, "http://127.0.0.1:1").env("WALG_LOG_LEVEL", "DEVEL"));
    let line = said.lines().find(|line| line.contains(" request ")).unwrap();
    assert!(line.contains("path=/bucket/ status=none took_ms="), "{line}");
}
