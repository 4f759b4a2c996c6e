//! Where keys come from when the settings hold none: the program in an environment as a pod or a machine of a cloud has
//! it, and one listener that is the service for credentials, the token service and S3.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;

use super::{Answer, Request, Service, error, list_page, ok};

/// What the services give out, each by its own name, so that a request of S3 says where its key came from.
fn cloud(request: &Request) -> Answer {
    match request.operation().as_str() {
        "GET /container" => ok(&[], document("ASIACONTAINER", "container-token")),
        "PUT /latest/api/token" => ok(&[("x-aws-ec2-metadata-token-ttl-seconds", "600")], "imds-session"),
        "GET /latest/meta-data/iam/security-credentials/" => ok(&[], "node"),
        "GET /latest/meta-data/iam/security-credentials/node" => {
            ok(&[], document("ASIAINSTANCE", "instance-token"))
        }
        "POST /" => match String::from_utf8_lossy(&request.body) {
            form if form.contains("Action=AssumeRoleWithWebIdentity") => {
                ok(&[], role("AssumeRoleWithWebIdentity", "ASIAWEB", "web-token"))
            }
            form if form.contains("Action=AssumeRole&") => {
                ok(&[], role("AssumeRole", "ASIAROLE", "role-token"))
            }
            form => error(400, "InvalidAction", &form),
        },
        listing if listing.starts_with("GET /bucket") => list_page(&[], None),
        _ => Answer::Http(404, vec![], vec![]),
    }
}

/// As a container's and an instance's service answer.
fn document(access_key: &str, token: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2024-01-02T03:04:05Z","AccessKeyId":"{access_key}","SecretAccessKey":"secret","Token":"{token}","Expiration":"2999-01-01T00:00:00Z"}}"#
    )
}

/// As the token service answers.
fn role(action: &str, access_key: &str, token: &str) -> String {
    format!(
        "<{action}Response><{action}Result><Credentials><AccessKeyId>{access_key}</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    )
}

/// Lists the backups with `env`, where `{service}` stands for the listener; the requests that came.
fn listed_with(home: &Path, env: &[(&str, &str)]) -> Vec<Request> {
    let service = Service::start(cloud);
    let url = format!("http://{}", service.address);
    let mut seawall = seawall(home, &url);
    seawall.envs(env.iter().map(|(name, value)| (*name, value.replace("{service}", &url))));
    seawall.assert().success();
    service.requests()
}

pub(super) fn seawall(home: &Path, url: &str) -> Command {
    let mut seawall = Command::new(assert_cmd::cargo::cargo_bin!("seawall"));
    seawall.env_clear().env("HOME", home).env("WALG_S3_PREFIX", "s3://bucket/demo").env("AWS_ENDPOINT", url);
    seawall.env("AWS_S3_FORCE_PATH_STYLE", "true").env("AWS_REGION", "eu-central-1").arg("backup-list");
    seawall
}

fn home_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    home
}

/// The last request is that of S3: who signed it, and its session token.
fn signer(requests: &[Request]) -> (String, Option<String>) {
    let last = requests.last().unwrap();
    let authorization = last.header("authorization").unwrap();
    let (_, credential) = authorization.split_once("Credential=").unwrap();
    let (access_key, scope) = credential.split_once('/').unwrap();
    assert!(scope.contains("/eu-central-1/s3/aws4_request"), "{authorization}");
    (access_key.to_owned(), last.header("x-amz-security-token").map(str::to_owned))
}

fn form(request: &Request) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

#[test]
fn of_a_profile() {
    let home = home_with(&[(
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\n\
         [backup]\naws_access_key_id = AKIABACKUP\naws_secret_access_key = s\naws_session_token = of-the-profile\n",
    )]);
    let nowhere = ("AWS_EC2_METADATA_DISABLED", "true");
    let requests = listed_with(home.path(), &[nowhere]);
    assert_eq!(signer(&requests), ("AKIADEFAULT".to_owned(), None));
    let requests = listed_with(home.path(), &[nowhere, ("AWS_PROFILE", "backup")]);
    assert_eq!(signer(&requests), ("AKIABACKUP".to_owned(), Some("of-the-profile".to_owned())));
    assert!(requests.iter().all(|request| request.target.starts_with("/bucket")), "{requests:?}");

    let elsewhere =
        home_with(&[("keys", "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n")]);
    let file = elsewhere.path().join("keys");
    let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
    assert_eq!(signer(&listed_with(home.path(), &[nowhere, file])).0, "AKIAFILE");
}

#[test]
fn of_a_web_identity() {
    let home = home_with(&[("token", "eyJ.of.the.pod")]);
    let token = home.path().join("token");
    let requests = listed_with(
        home.path(),
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup"),
            ("AWS_ENDPOINT_URL_STS", "{service}"),
        ],
    );
    assert_eq!(signer(&requests), ("ASIAWEB".to_owned(), Some("web-token".to_owned())));
    let asked = form(&requests[0]);
    assert!(asked.contains("WebIdentityToken=eyJ.of.the.pod"), "{asked}");
    assert!(asked.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fbackup"), "{asked}");
}

#[test]
fn of_a_role_that_is_assumed() {
    let home = home_with(&[]);
    let requests = listed_with(
        home.path(),
        &[
            ("AWS_ACCESS_KEY_ID", "AKIABASE"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup"),
            ("AWS_ROLE_SESSION_NAME", "nightly"),
            ("AWS_ENDPOINT_URL_STS", "{service}"),
        ],
    );
    assert_eq!(signer(&requests), ("ASIAROLE".to_owned(), Some("role-token".to_owned())));
    assert!(requests[0].header("authorization").unwrap().contains("Credential=AKIABASE/"));
    assert!(form(&requests[0]).contains("RoleSessionName=nightly"), "{}", form(&requests[0]));
}

#[test]
fn of_a_container() {
    let home = home_with(&[]);
    let requests = listed_with(
        home.path(),
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "{service}/container"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
        ],
    );
    assert_eq!(signer(&requests), ("ASIACONTAINER".to_owned(), Some("container-token".to_owned())));
    assert_eq!(requests[0].header("authorization"), Some("let me in"));
}

#[test]
fn of_an_instance() {
    let home = home_with(&[]);
    let requests = listed_with(home.path(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "{service}")]);
    assert_eq!(signer(&requests), ("ASIAINSTANCE".to_owned(), Some("instance-token".to_owned())));
    let session = requests.iter().find(|request| request.target.ends_with("/node")).unwrap();
    assert_eq!(session.header("x-aws-ec2-metadata-token"), Some("imds-session"));
}

/// Whoever should give them hangs: the command ends in its time, and does not say that S3 is silent.
#[test]
fn of_somebody_who_does_not_answer() {
    let home = home_with(&[
        (".aws/config", "[profile program]\ncredential_process = sleep 600.8642\n"),
        ("token", "eyJ.of.the.pod"),
    ]);
    let [fifo, token] = ["fifo", "token"].map(|name| home.path().join(name));
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let [fifo, token] = [&fifo, &token].map(|path| path.to_str().unwrap());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sts = format!("http://{}", silent.local_addr().unwrap());
    let (role, sts) =
        (("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup"), ("AWS_ENDPOINT_URL_STS", sts.as_str()));
    let nowhere = ("AWS_EC2_METADATA_DISABLED", "true");
    let cases: [&[(&str, &str)]; 5] = [
        &[nowhere, ("AWS_PROFILE", "program")],
        &[nowhere, role, sts, ("AWS_WEB_IDENTITY_TOKEN_FILE", fifo)],
        &[nowhere, role, sts, ("AWS_WEB_IDENTITY_TOKEN_FILE", token)],
        &[role, sts, ("AWS_ACCESS_KEY_ID", "AKIABASE"), ("AWS_SECRET_ACCESS_KEY", "s")],
        &[nowhere, ("AWS_SHARED_CREDENTIALS_FILE", fifo)],
    ];
    std::thread::scope(|scope| {
        for env in cases {
            let home = home.path();
            scope.spawn(move || {
                let service = Service::start(cloud);
                let mut seawall = seawall(home, &format!("http://{}", service.address));
                let begin = Instant::now();
                let output = seawall.envs(env.iter().copied()).output().unwrap();
                let (said, took) = (String::from_utf8(output.stderr).unwrap(), begin.elapsed());
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("no credentials") && !said.contains("stays silent"), "{env:?}: {said}");
                // Fifteen seconds are promised; the rest is for a machine that is busy. The program would take ten minutes.
                assert!(took < Duration::from_secs(60), "{env:?}: {took:?}\n{said}");
                assert!(service.requests().is_empty());
            });
        }
    });
    let goes_on = || {
        fs::read_dir("/proc").unwrap().flatten().any(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("600.8642")
        })
    };
    // It was told to end, and may not have come to it.
    let begin = Instant::now();
    while goes_on() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the program goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What it says may be a secret: its end is told alone.
#[test]
fn of_a_program_that_fails() {
    let home = home_with(&[(
        ".aws/config",
        "[default]\ncredential_process = sh -c 'echo canaryOfTheProgram; echo canaryOfTheProgram >&2; exit 3'\n",
    )]);
    let service = Service::start(cloud);
    let mut seawall = seawall(home.path(), &format!("http://{}", service.address));
    seawall.env("AWS_EC2_METADATA_DISABLED", "true").env("WALG_LOG_LEVEL", "DEVEL");
    let output = seawall.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("no credentials") && said.contains("exit status: 3"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

/// Nobody has any: told, and no request goes to S3 unsigned.
#[test]
fn of_nobody() {
    let home = home_with(&[]);
    let service = Service::start(cloud);
    let mut seawall = seawall(home.path(), &format!("http://{}", service.address));
    let output = seawall.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("AWS_ACCESS_KEY_ID"), "{said}");
    assert!(service.requests().is_empty());
}
