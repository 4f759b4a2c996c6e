//! Layer `pg` against real servers of every version: the session, the walk, pages, control file, relations, TLS.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seawall::pg::data_dir::{Found, Member, MemberKind, WalkRules, walk};
use seawall::pg::page::{PageVerdict, check_pages};
use seawall::pg::relations::list_relations;
use seawall::pg::session::{ArchiveMode, Checkpoint, Error};
use seawall::pg::{
    BackupFrom, BackupLabel, ConnInfo, ControlFile, Lsn, Oid, RelationFile, SegmentHeader, Session,
    TablespaceMap, TimelineId, WalSegmentSize,
};
use support::{Cluster, Postgres, Scratch, block_on};

fn conninfo(env: &BTreeMap<String, String>) -> ConnInfo {
    ConnInfo::from_env(&|name| env.get(name).cloned()).unwrap()
}

fn backup_of_a_primary(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &["--data-checksums"]);
    cluster.configure("archive_mode", "on");
    cluster.configure("archive_command", "sleep 0.5");
    cluster.start();
    cluster.sql("CREATE ROLE hurried LOGIN SUPERUSER");
    cluster.sql("ALTER ROLE hurried SET statement_timeout = '400ms'");
    cluster.sql("CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS x");
    cluster.sql("CREATE TABLE logged AS SELECT g FROM generate_series(1, 20000) g");
    cluster.sql("CHECKPOINT");
    let file_of =
        |table: &str| format!("/{}", cluster.sql(&format!("SELECT pg_relation_filepath('{table}')")));
    let (logged, unlogged) = (file_of("logged"), file_of("unlogged"));
    let mut env = cluster.libpq_env();
    env.insert("PGUSER".into(), "hurried".into());

    block_on(async {
        let session = Session::connect(&conninfo(&env)).await.unwrap();
        let identity = session.identify().await.unwrap();
        assert_eq!(session.version().major(), version);
        assert_eq!(identity.data_directory, cluster.data());
        assert_eq!((identity.in_recovery, identity.data_checksums, identity.block_size), (false, true, 8192));
        assert_eq!(
            (identity.archive_mode, identity.archive_command.as_deref()),
            (ArchiveMode::On, Some("sleep 0.5"))
        );
        assert!(identity.archives());

        let control =
            ControlFile::parse(&fs::read(cluster.data().join("global/pg_control")).unwrap()).unwrap();
        assert_eq!(control.system_identifier, identity.system_identifier);
        assert_eq!(control.wal_segment_size, identity.segment_size);
        assert_eq!(control.checkpoint_timeline, identity.timeline);

        let started = session.start_backup("a 'label'", Checkpoint::Immediate).await.unwrap();
        session.check_alive().await.unwrap();
        let segment = started.segment.unwrap();
        assert_eq!(segment.number(identity.segment_size), Some(started.lsn.segment(identity.segment_size)));
        let on_disk = fs::read(cluster.data().join("pg_wal").join(segment.to_string())).unwrap();
        let header = SegmentHeader::parse(&on_disk).unwrap();
        header.check(segment, on_disk.len().try_into().unwrap()).unwrap();
        assert_eq!(header.pg_major, version);
        assert_eq!(header.system_identifier, identity.system_identifier);

        let members: Vec<Member> = walk(cluster.data(), &WalkRules::default())
            .unwrap()
            .map(|found| match found.unwrap() {
                Found::Member(member) => member,
                Found::Tablespace(tablespace) => panic!("{tablespace:?}"),
            })
            .collect();
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        for (name, present) in [
            ("/PG_VERSION", true),
            ("/pg_wal", true),
            ("/global/pg_control", false),
            ("/postmaster.pid", false),
            (logged.as_str(), true),
            (unlogged.as_str(), false),
            (&format!("{unlogged}_init"), true),
        ] {
            assert_eq!(names.contains(&name), present, "{name}");
        }
        assert!(!names.iter().any(|name| name.starts_with("/pg_wal/")));

        let mut good = 0;
        for member in &members {
            let Some(relation) = RelationFile::parse(member.name.as_str()) else { continue };
            let first = relation.first_block(control.blocks_per_segment).unwrap();
            let pages = fs::read(&member.path).unwrap();
            for (block, verdict) in check_pages(&pages, 8192, first, Lsn::new(u64::MAX)) {
                assert!(!verdict.is_corrupt(), "{} block {block}: {verdict:?}", member.name);
                good += u32::from(verdict == PageVerdict::Good);
            }
        }
        assert!(good > 1000, "{good} pages");

        let before = session.current_wal_lsn().await.unwrap();
        let stopped = session.stop_backup(Duration::from_secs(30)).await.unwrap();
        assert!(started.lsn < stopped.lsn && before <= stopped.lsn);
        let label = BackupLabel::parse(&stopped.label).unwrap();
        assert_eq!((label.start_lsn, label.start_segment), (started.lsn, segment));
        assert_eq!((label.from, label.label.as_str()), (BackupFrom::Primary, "a 'label'"));
        assert_eq!(stopped.tablespace_map, "");
        session.close().await;
    });
}

#[test]
fn backup_of_a_primary_13() {
    backup_of_a_primary(13);
}

#[test]
fn backup_of_a_primary_14() {
    backup_of_a_primary(14);
}

#[test]
fn backup_of_a_primary_15() {
    backup_of_a_primary(15);
}

#[test]
fn backup_of_a_primary_16() {
    backup_of_a_primary(16);
}

#[test]
fn backup_of_a_primary_17() {
    backup_of_a_primary(17);
}

#[test]
fn backup_of_a_primary_18() {
    backup_of_a_primary(18);
}

#[test]
fn tablespaces_are_walked_and_mapped() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let target = cluster.data().with_file_name("a space\\dir");
    cluster.sql(&format!("COPY (SELECT 1) TO PROGRAM $$mkdir \"{}\"$$", target.display()));
    cluster.sql(&format!("CREATE TABLESPACE fast LOCATION $${}$$", target.display()));
    cluster.sql("CREATE TABLE t TABLESPACE fast AS SELECT 1 AS x");
    let file = format!("/{}", cluster.sql("SELECT pg_relation_filepath('t')"));
    let oid = Oid::parse(&cluster.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'fast'")).unwrap();
    block_on(async {
        let session = Session::connect(&conninfo(&cluster.libpq_env())).await.unwrap();
        session.start_backup("x", Checkpoint::Immediate).await.unwrap();
        let control =
            ControlFile::parse(&fs::read(cluster.data().join("global/pg_control")).unwrap()).unwrap();
        let rules = WalkRules {
            tablespace_directory: Some(control.tablespace_directory(session.version())),
            ..WalkRules::default()
        };
        let found: Vec<Found> = walk(cluster.data(), &rules).unwrap().map(Result::unwrap).collect();
        let is_table = |found: &Found| {
            matches!(found, Found::Member(Member { name, kind: MemberKind::File { size: 8192 }, .. })
                if name.as_str() == file)
        };
        let is_space = |found: &Found| matches!(found, Found::Tablespace(space) if space.oid == oid && space.target == target);
        assert!(found.iter().any(is_table) && found.iter().any(is_space), "{found:?}");
        assert!(RelationFile::parse(&file).unwrap().is_paged());

        let stopped = session.stop_backup(Duration::ZERO).await.unwrap();
        let map = TablespaceMap::parse(stopped.tablespace_map.as_bytes()).unwrap();
        assert_eq!(map.directory(oid), Some(target.as_path()));
        assert_eq!(map.format(), stopped.tablespace_map.as_bytes());
    });
}

#[test]
fn backup_of_a_standby() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let primary = Cluster::running(&scratch, &postgres, "primary", &[]);
    let mut standby = Cluster::restored(&scratch, &postgres, "standby");
    let mut copy = primary.client("pg_basebackup");
    let status = copy.args(["-X", "stream", "-c", "fast", "-R", "-D"]).arg(standby.data()).status().unwrap();
    assert!(status.success());
    standby.start();
    block_on(async {
        let session = Session::connect(&conninfo(&standby.libpq_env())).await.unwrap();
        let identity = session.identify().await.unwrap();
        assert!(identity.in_recovery);
        let started = session.start_backup("standby", Checkpoint::Immediate).await.unwrap();
        assert!(started.in_recovery && started.segment.is_none());
        assert!(session.current_wal_lsn().await.unwrap() >= started.lsn);
        let stopped = session.stop_backup(Duration::from_secs(30)).await.unwrap();
        let label = BackupLabel::parse(&stopped.label).unwrap();
        assert_eq!((label.from, label.timeline()), (BackupFrom::Standby, identity.timeline));
        let error = session.create_restore_point("none").await.unwrap_err();
        assert!(matches!(&error, Error::Failed { sqlstate: Some(code), .. } if code == "55000"), "{error}");

        standby.sql("SELECT pg_promote()");
        assert_eq!(session.timeline().await.unwrap().as_u32(), 2);
        assert_eq!(session.identify().await.unwrap().timeline.as_u32(), 2);
    });
}

#[test]
fn an_ordinary_user_learns_the_place_and_no_more() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    cluster.sql("CREATE ROLE ordinary LOGIN");
    cluster.sql("CREATE ROLE backup LOGIN IN ROLE pg_read_all_settings");
    let functions = "FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean)";
    cluster.sql(&format!("GRANT EXECUTE ON {functions} TO backup"));
    let info = |user: &str| {
        let mut env = cluster.libpq_env();
        env.insert("PGUSER".into(), user.into());
        conninfo(&env)
    };
    block_on(async {
        let session = Session::connect(&info("ordinary")).await.unwrap();
        assert_eq!(session.timeline().await.unwrap(), TimelineId::FIRST);
        assert_eq!(session.segment_size().await.unwrap(), WalSegmentSize::DEFAULT);
        session.current_wal_lsn().await.unwrap();
        for denied in [
            session.identify().await.unwrap_err(),
            session.start_backup("x", Checkpoint::Immediate).await.unwrap_err(),
        ] {
            let hint = seawall::ops::Error::from(denied.clone()).hint().unwrap();
            assert!(denied.is_denied() && hint.contains("pg_read_all_settings"), "{denied}: {hint}");
        }

        // What docs/backup.md grants is enough.
        let session = Session::connect(&info("backup")).await.unwrap();
        session.identify().await.unwrap();
        session.start_backup("x", Checkpoint::Immediate).await.unwrap();
        session.stop_backup_at_once().await.unwrap();
    });
}

#[test]
fn a_lost_server_and_an_absent_one_are_told_apart() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let info = conninfo(&cluster.libpq_env());
    block_on(async {
        let session = Session::connect(&info).await.unwrap();
        session.start_backup("doomed", Checkpoint::Immediate).await.unwrap();
        cluster.kill();
        let error = session.stop_backup(Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
        assert!(session.is_closed());
        assert!(matches!(session.check_alive().await, Err(Error::Lost { .. })));

        let error = Session::connect(&info).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        assert!(!error.to_string().contains("localhost"), "{error}");
    });
}

/// One that takes the connection and nothing else, and one that lets everybody in and answers no question.
#[test]
fn a_server_that_stays_silent_is_not_waited_for() {
    // AuthenticationOk and ReadyForQuery: the manual's chapter "Message Formats".
    let welcome = [&b"R\0\0\0\x08\0\0\0\0"[..], b"Z\0\0\0\x05I"].concat();
    for says in [Vec::new(), welcome] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                connection.write_all(&says).unwrap();
                kept.push(connection);
            }
        });
        let env = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGSSLMODE", "disable"),
            ("PGCONNECT_TIMEOUT", "1"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let error = block_on(Session::connect(&conninfo(&env))).unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        assert!(error.to_string().contains("no answer in 1 s"), "{error}");
    }
}

/// A proxy in front of the server that loses, from the start of a backup on, what is said there and, once it is told to, what
/// newcomers say.
struct Lossy {
    port: u16,
    loses_newcomers: Arc<AtomicBool>,
}

impl Lossy {
    fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let loses_newcomers = Arc::new(AtomicBool::new(false));
        let loses = loses_newcomers.clone();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for client in listener.incoming() {
                let client = client.unwrap();
                if loses.load(Ordering::SeqCst) {
                    kept.push(client);
                    continue;
                }
                let server = UnixStream::connect(&socket).unwrap();
                let (mut from_server, mut to_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
                std::thread::spawn(move || forward_until_backup(client, server));
            }
        });
        Self { port, loses_newcomers }
    }
}

fn forward_until_backup(mut client: TcpStream, mut server: UnixStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        if bytes[..count].windows(15).any(|words| words == b"pg_backup_start") {
            // Both ends stay open.
            std::thread::park();
        }
        server.write_all(&bytes[..count]).unwrap();
    }
}

/// A checkpoint may take long, so the start of a backup has no bound while the server lets somebody in.
#[test]
fn a_start_is_waited_for_as_long_as_the_server_shows_signs_of_life() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    let mut env = cluster.libpq_env();
    let socket = Path::new(&env["PGHOST"]).join(format!(".s.PGSQL.{}", env["PGPORT"]));
    let lossy = Lossy::start(socket);
    env.insert("PGHOST".into(), "127.0.0.1".into());
    env.insert("PGPORT".into(), lossy.port.to_string());
    env.insert("PGSSLMODE".into(), "disable".into());
    env.insert("PGCONNECT_TIMEOUT".into(), "2".into());
    block_on(async {
        let session = Session::connect(&conninfo(&env)).await.unwrap();
        let mut start = Box::pin(session.start_backup("slow", Checkpoint::Immediate));
        // Longer than a server that says nothing to anybody is waited for.
        tokio::time::timeout(Duration::from_secs(25), &mut start).await.expect_err("it is waited for");
        lossy.loses_newcomers.store(true, Ordering::SeqCst);
        let error = tokio::time::timeout(Duration::from_secs(60), start).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
        assert!(error.to_string().contains("nor had 3 other connections one in 2 s each"), "{error}");
    });
}

/// Somebody has locked a catalog and went to lunch.
#[test]
fn a_database_whose_catalog_is_locked_is_left_out() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    cluster.sql("CREATE DATABASE locked");
    let info = conninfo(&cluster.libpq_env());
    let mut psql = cluster.client("psql");
    psql.env("PGDATABASE", "locked").args(["-X", "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    stdin.write_all(b"BEGIN; LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n").unwrap();
    let mut said = String::new();
    BufReader::new(psql.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "locked\n");
    let databases = block_on(async {
        tokio::time::timeout(Duration::from_secs(60), list_relations(&info)).await.unwrap()
    });
    let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    assert_eq!(names, ["postgres", "template1"]);
    drop(stdin);
    psql.wait().unwrap();
}

#[test]
fn a_stop_that_takes_too_long_ends() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &[]);
    cluster.archive_in_vain();
    cluster.start();
    block_on(async {
        let session = Session::connect(&conninfo(&cluster.libpq_env())).await.unwrap();
        session.start_backup("stuck", Checkpoint::Immediate).await.unwrap();
        let error = session.stop_backup(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(&error, Error::Failed { sqlstate: Some(code), .. } if code == "57014"), "{error}");
    });
    cluster.kill();
}

#[test]
fn relations_are_listed_below_their_ancestors() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "data", &[]);
    cluster.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false");
    cluster.sql("CREATE DATABASE full_ CONNECTION LIMIT 0");
    cluster.sql("CREATE ROLE plain LOGIN");
    cluster.sql("CREATE TABLE p (a int PRIMARY KEY, b text) PARTITION BY RANGE (a)");
    cluster.sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (a)");
    cluster.sql("CREATE TABLE p11 PARTITION OF p1 FOR VALUES FROM (0) TO (5)");
    cluster.sql("CREATE VIEW v AS SELECT 1");
    let filenode =
        |name: &str| Oid::parse(&cluster.sql(&format!("SELECT pg_relation_filenode('{name}')"))).unwrap();
    let mut env = cluster.libpq_env();
    env.insert("PGUSER".into(), "plain".into());
    let databases = block_on(async {
        let info = conninfo(&env);
        list_relations(&info).await
    });
    let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    assert_eq!(names, ["postgres", "template1"]);
    let relations = &databases[0].relations;
    let top = &relations["public.p"];
    assert_eq!(top.file.filenode, None);
    assert_eq!(top.descendants.keys().collect::<Vec<_>>(), ["public.p1", "public.p11"]);
    assert_eq!(top.descendants["public.p11"].filenode, Some(filenode("p11")));
    assert!(relations["public.p_pkey"].descendants.contains_key("public.p11_pkey"));
    assert_eq!(relations["pg_catalog.pg_class"].file.filenode, Some(filenode("pg_class")));
    assert!(!relations.contains_key("public.v") && !relations.contains_key("public.p11"));
}

#[test]
fn passwords_and_tls() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &[]);
    let data = cluster.data().to_owned();
    let certificates = [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=seawall-test-ca -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt",
    ];
    fs::write(data.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    fs::write(data.join("foreign.crt"), include_str!("golden/pg/foreign-ca.crt")).unwrap();
    for arguments in certificates {
        let status = Command::new("openssl").args(arguments.split(' ')).current_dir(&data).output();
        assert!(status.unwrap().status.success(), "openssl {arguments}");
    }
    let owner = fs::metadata(&data).unwrap();
    let ids = {
        use std::os::unix::fs::MetadataExt;
        (owner.uid(), owner.gid())
    };
    for name in ["server.key", "server.crt"] {
        std::os::unix::fs::chown(data.join(name), Some(ids.0), Some(ids.1)).unwrap();
    }
    // The harness has one port for all clusters, so this one gets an address of its own.
    let pid = std::process::id();
    let address = format!("127.{}.{}.{}", 1 + pid / 65536 % 200, pid / 256 % 256, 1 + pid % 250);
    cluster.configure("listen_addresses", &address);
    cluster.configure("ssl", "on");
    let hba = fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    let rules = "hostssl all secret 127.0.0.0/8 scram-sha-256\nhostnossl all plain 127.0.0.0/8 trust\n\
                 host all all 127.0.0.0/8 reject\n";
    fs::write(data.join("pg_hba.conf"), format!("{rules}{hba}")).unwrap();
    cluster.start();
    cluster.sql("CREATE ROLE secret LOGIN SUPERUSER PASSWORD 'pass word'");
    cluster.sql("CREATE ROLE plain LOGIN");

    let connect = |user: &str, host: &str, password: &str, mode: &str, root: Option<&str>| {
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        let root = root.map(|name| data.join(name).to_str().unwrap().to_owned()).unwrap_or_default();
        for (name, value) in [
            ("PGHOST", host),
            ("PGHOSTADDR", &address),
            ("PGUSER", user),
            ("PGPASSWORD", password),
            ("PGSSLMODE", mode),
            ("PGSSLROOTCERT", &root),
            ("HOME", "/nonexistent"),
        ] {
            env.insert(name.into(), value.into());
        }
        block_on(async { Session::connect(&conninfo(&env)).await?.identify().await.map(drop) })
    };
    let ca = Some("ca.crt");
    for (name, result, works) in [
        ("prefer", connect("secret", "localhost", "pass word", "prefer", None), true),
        ("allow", connect("secret", "localhost", "pass word", "allow", None), true),
        ("require", connect("secret", "localhost", "pass word", "require", None), true),
        ("disable", connect("secret", "localhost", "pass word", "disable", None), false),
        ("wrong password", connect("secret", "localhost", "wrong", "prefer", None), false),
        ("no password", connect("secret", "localhost", "", "prefer", None), false),
        ("verify-ca", connect("secret", "other.example", "pass word", "verify-ca", ca), true),
        ("verify-full", connect("secret", "localhost", "pass word", "verify-full", ca), true),
        (
            "verify-full, other name",
            connect("secret", "other.example", "pass word", "verify-full", ca),
            false,
        ),
        (
            "require, wrong root",
            connect("secret", "localhost", "pass word", "require", Some("foreign.crt")),
            false,
        ),
        (
            "verify-ca, wrong root",
            connect("secret", "localhost", "pass word", "verify-ca", Some("foreign.crt")),
            false,
        ),
        ("disable in the clear", connect("plain", "localhost", "", "disable", None), true),
    ] {
        match result {
            Ok(()) => assert!(works, "{name} must fail"),
            // An unprivileged role cannot read data_directory, but it did connect.
            Err(Error::Failed { sqlstate: Some(code), .. }) if code == "42501" => assert!(works, "{name}"),
            Err(error) => {
                assert!(!works, "{name}: {error}");
                assert!(matches!(error, Error::Connect { .. }), "{name}: {error:?}");
                assert!(!error.to_string().contains("pass word"), "{error}");
            }
        }
    }
}
