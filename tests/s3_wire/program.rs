//! What the program says of its requests.

use super::credentials::seawall;

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
