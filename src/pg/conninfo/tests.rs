//! Variables and files, and what is connected to by them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn from(variables: &[(&str, &str)]) -> Result<ConnInfo, Error> {
    let variable = |name: &str| {
        let given = variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| (name == "HOME").then(|| String::from("/nonexistent")))
    };
    ConnInfo::from_env(&variable)
}

fn places(variables: &[(&str, &str)]) -> Vec<String> {
    from(variables).unwrap().servers.iter().map(ToString::to_string).collect()
}

#[test]
fn hosts_and_ports() {
    for (variables, expected) in [
        (&[("PGHOST", "db")][..], &["db:5432"][..]),
        (&[("PGHOST", "/run/pg"), ("PGPORT", "5433")], &["/run/pg/.s.PGSQL.5433"]),
        (&[("PGHOST", "a,b"), ("PGPORT", "5433")], &["a:5433", "b:5433"]),
        (&[("PGHOST", "a, /b"), ("PGPORT", "1,")], &["a:1", "/b/.s.PGSQL.5432"]),
        (&[("PGHOSTADDR", "::1")], &["::1:5432"]),
        (&[("PGHOST", "db"), ("PGHOSTADDR", "10.0.0.1")], &["db:5432"]),
        (&[("PGPORT", "59999")], &["localhost:59999"]),
    ] {
        assert_eq!(places(variables), expected, "{variables:?}");
    }
}

#[test]
fn values_libpq_refuses() {
    for (variable, value) in [
        ("PGPORT", "0"),
        ("PGPORT", "70000"),
        ("PGPORT", "1,2"),
        ("PGHOSTADDR", "localhost"),
        ("PGSSLMODE", "maybe"),
        ("PGCHANNELBINDING", "yes"),
        ("PGCONNECT_TIMEOUT", "soon"),
    ] {
        let error = from(&[(variable, value)]).unwrap_err();
        assert!(matches!(&error, Error::Invalid { variable: named, .. } if *named == variable), "{error}");
    }
}

#[test]
fn what_may_hold_a_password_is_not_shown() {
    for variable in
        ["PGHOST", "PGDATABASE", "PGPORT", "PGHOSTADDR", "PGSSLMODE", "PGSERVICE", "PGCONNECT_TIMEOUT"]
    {
        let error = from(&[(variable, "postgresql://bob:hidden@db/x,y")]).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
    }
    for host in ["bob:hidden@db", "host=/x password=hidden"] {
        assert_eq!(places(&[("PGHOST", host)]), ["(not shown):5432"]);
    }
    let info = from(&[("PGUSER", "bob:hidden"), ("PGDATABASE", "dbname=x password=hidden")]).unwrap();
    let said = "role \"bob:hidden\" is not permitted in database \"dbname=x password=hidden\"";
    let (database, said) = info.shown_database(said);
    assert!(!database.contains("hidden") && !said.contains("hidden"), "{database}: {said}");
}

#[test]
fn defaults() {
    let info = from(&[("PGHOST", "/x"), ("PGUSER", ""), ("PGPASSWORD", "")]).unwrap();
    assert_eq!((info.database(), info.application_name.as_str()), ("postgres", "seawall"));
    assert!(info.password.is_none() && !info.user.is_empty());
    assert_eq!(info.connect_timeout, Some(CONNECT_TIMEOUT), "nobody waits for ever");
    assert_eq!(info.ssl_mode, SslMode::Prefer);
    assert_eq!(from(&[("PGCONNECT_TIMEOUT", "5")]).unwrap().connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(from(&[("PGCONNECT_TIMEOUT", "0")]).unwrap().connect_timeout, None);
}

#[test]
fn the_zone_is_an_option() {
    let options = |variables: &[(&str, &str)]| from(variables).unwrap().options;
    assert_eq!(options(&[("PGTZ", "")]), None);
    assert_eq!(options(&[("PGTZ", "Asia/Tokyo")]).as_deref(), Some("-c TimeZone=Asia/Tokyo"));
    assert_eq!(
        options(&[("PGTZ", "a\\b c"), ("PGOPTIONS", "-c TimeZone=x")]).as_deref(),
        Some("-c TimeZone=x -c TimeZone=a\\\\b\\ c")
    );
}

#[test]
fn passwords() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pgpass");
    fs::write(&path, "localhost:5432:*:me:socket\ndb:5432:app:me:of-app\ndb:5432:*:me:of-db\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = path.to_str().unwrap();
    let password = |info: &ConnInfo| {
        let attempts = info.attempts();
        attempts[0].config.get_password().map(|password| String::from_utf8(password.to_vec()).unwrap())
    };
    let db = from(&[("PGHOST", "db"), ("PGUSER", "me"), ("PGPASSFILE", file)]).unwrap();
    assert_eq!(password(&db).as_deref(), Some("of-db"));
    assert_eq!(password(&db.with_database("app")).as_deref(), Some("of-app"));
    let socket = from(&[("PGHOST", "/tmp"), ("PGUSER", "me"), ("PGPASSFILE", file)]).unwrap();
    assert_eq!(password(&socket).as_deref(), Some("socket"));
    let given =
        from(&[("PGHOST", "db"), ("PGUSER", "me"), ("PGPASSFILE", file), ("PGPASSWORD", "env")]).unwrap();
    assert_eq!(password(&given).as_deref(), Some("env"));
    assert!(!format!("{given:?}").contains("\"env\""));
    let other = from(&[("PGHOST", "db"), ("PGUSER", "you"), ("PGPASSFILE", file)]).unwrap();
    assert_eq!(password(&other), None);
}

#[test]
fn services_come_before_variables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service");
    fs::write(&path, "[main]\nhost=db1,db2\nuser=svc\nsslmode=disable\n").unwrap();
    let file = path.to_str().unwrap();
    let variables = [("PGSERVICE", "main"), ("PGSERVICEFILE", file), ("PGUSER", "me"), ("PGDATABASE", "app")];
    let info = from(&variables).unwrap();
    assert_eq!((info.user.as_str(), info.database()), ("svc", "app"));
    assert_eq!(info.attempts().len(), 2);
    let given = Keywords::default().with("user", "given").with("application_name", "tool");
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let info = ConnInfo::new(given, &variable).unwrap();
    assert_eq!((info.user.as_str(), info.application_name.as_str()), ("given", "tool"));
    assert_eq!(info.attempts().len(), 2);
    let absent = from(&[("PGSERVICE", "other"), ("PGSERVICEFILE", file)]).unwrap_err();
    assert!(matches!(absent, Error::NoService { service } if service == "other"));
}

#[test]
fn attempts_by_sslmode() {
    use tokio_postgres::config::SslMode::{Disable, Prefer, Require};
    let modes = |host, mode| -> Vec<_> {
        let info = from(&[("PGHOST", host), ("PGSSLMODE", mode)]).unwrap();
        info.attempts().iter().map(|attempt| (attempt.config.get_ssl_mode(), attempt.tls.is_some())).collect()
    };
    assert_eq!(modes("db", "disable"), [(Disable, false)]);
    assert_eq!(modes("db", "allow"), [(Disable, false), (Require, true)]);
    assert_eq!(modes("db", "prefer"), [(Prefer, true)]);
    assert_eq!(modes("db", "require"), [(Require, true)]);
    assert_eq!(modes("/tmp", "require"), [(Disable, false)]);
}

#[test]
fn verification_needs_roots() {
    let error = from(&[("PGHOST", "db"), ("PGSSLMODE", "verify-full")]).unwrap_err();
    assert!(matches!(error, Error::Tls(TlsError::NoRoots)));
    let missing = [("PGHOST", "db"), ("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", "/nonexistent/root.crt")];
    let error = from(&missing).unwrap_err().to_string();
    assert!(error.starts_with("read certificates of /nonexistent/root.crt: "), "{error}");
}
