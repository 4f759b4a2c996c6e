//! Snapshots of volumes: what the flags say of them, and how EC2 is reached, as boto does.
//!
//! | what | from |
//! |---|---|
//! | endpoint | `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL`, the profile; never `--endpoint-url`, which is the bucket's |
//! | keys, certificates, attempts | as for the bucket |
//! | region | `--aws-region`; of a backup that is there, its own; `AWS_DEFAULT_REGION`, the profile |
//!
//! Source: barman `clients/cloud_backup.py`, `cloud_providers/__init__.py`.

use std::time::Duration;

use jiff::civil;

use crate::cli;
use crate::ops::backup_push::SnapshotFormat;
use crate::ops::barman::volumes::Volumes;
use crate::storage::s3::Tag;
use crate::volumes::{Account, LockMode, LockTime, SnapshotLock};

use super::Error;
use super::commands::Session;
use super::flags::{
    AWS_PROFILE, AWS_REGION, NAME, SNAPSHOT_DISK, SNAPSHOT_INSTANCE, SNAPSHOT_LOCK_COOL_OFF,
    SNAPSHOT_LOCK_DATE, SNAPSHOT_LOCK_DURATION, SNAPSHOT_LOCK_MODE, SNAPSHOTS_TIMEOUT,
};
use super::grammar::Flag;
use super::place::{self, EC2_ENDPOINT};
use super::profile::Profile;
use super::{backup, values};

/// `--aws-await-snapshots-timeout` where nothing is said.
const AWAIT_SECONDS: u64 = 3600;

/// The most days that a lock may last, and the most hours in which it may be changed (EC2's rules, and barman's).
const MOST_DAYS: u64 = 36_500;
const MOST_HOURS: u64 = 72;

/// Flags that say something of snapshots only.
static OF_SNAPSHOTS: [&Flag; 6] = [
    &AWS_REGION,
    &SNAPSHOTS_TIMEOUT,
    &SNAPSHOT_LOCK_MODE,
    &SNAPSHOT_LOCK_COOL_OFF,
    &SNAPSHOT_LOCK_DATE,
    &SNAPSHOT_LOCK_DURATION,
];

/// How EC2 is reached for backups that are there.
pub fn volumes(session: &Session) -> Volumes {
    let region = session.line.value(&AWS_REGION).map(str::to_owned);
    match account(session) {
        Ok((account, default_region)) => Volumes { account: Ok(account), region, default_region },
        Err(error) => Volumes { account: Err(error.to_string()), region, default_region: None },
    }
}

/// Who asks EC2, and in which region where nothing else says one.
fn account(session: &Session) -> Result<(Account, Option<String>), cli::Error> {
    let (line, environment) = (&session.line, &session.environment);
    let flagged = line.value(&AWS_PROFILE);
    let named = place::profile_name(flagged, environment)?;
    let profile = Profile::of(named, environment)?;
    let account = Account {
        credentials: place::credentials(flagged, named, environment)?,
        endpoint: place::configured_endpoint(environment, EC2_ENDPOINT, profile.ec2_endpoint.as_deref())?,
        ca_bundle: place::ca_bundle(environment)?,
        policy: place::retry_policy(session.grammar, line, environment)?,
    };
    let default_region = place::owned(environment.text("AWS_DEFAULT_REGION")?).or(profile.region);
    Ok((account, default_region))
}

/// The snapshots that a new backup is to be made of, if it is. Snapshots get the tags that objects get.
pub fn format(session: &Session, tags: &[Tag]) -> Result<Option<SnapshotFormat>, cli::Error> {
    let line = &session.line;
    let seconds = session.parsed(&SNAPSHOTS_TIMEOUT, values::positive)?.unwrap_or(AWAIT_SECONDS);
    let lock = lock(session)?;
    let disks: Vec<String> = line.values(&SNAPSHOT_DISK).map(str::to_owned).collect();
    let instance = line.value(&SNAPSHOT_INSTANCE).filter(|instance| !instance.is_empty());
    let missing = match (instance, disks.is_empty()) {
        (Some(instance), false) => return some(session, tags, instance, disks, lock, seconds).map(Some),
        (None, true) => {
            for flag in OF_SNAPSHOTS.into_iter().filter(|flag| line.has(flag)) {
                tracing::warn!(
                    "{} has no effect: without --snapshot-disk the backup is not made of snapshots",
                    flag.shown()
                );
            }
            return Ok(None);
        }
        (None, false) => "--snapshot-instance",
        (Some(_), true) => "--snapshot-disk",
    };
    Err(Error::HalfASnapshot { missing }.into())
}

fn some(
    session: &Session,
    tags: &[Tag],
    instance: &str,
    disks: Vec<String>,
    lock: Option<SnapshotLock>,
    seconds: u64,
) -> Result<SnapshotFormat, cli::Error> {
    if backup::method(session).is_some() {
        return Err(Error::CompressedSnapshots.into());
    }
    let (account, default_region) = account(session)?;
    let region = session.line.value(&AWS_REGION).map(str::to_owned);
    let region = region.or(default_region).ok_or(Error::NoRegion)?;
    Ok(SnapshotFormat {
        name: session.parsed(&NAME, values::backup_name)?,
        server_name: session.line.positional(1).unwrap_or_default().to_owned(),
        ec2: account.in_region(&region).map_err(Error::Volumes)?,
        instance: instance.to_owned(),
        disks,
        tags: tags.to_vec(),
        lock,
        await_timeout: Duration::from_secs(seconds),
    })
}

/// How snapshots are kept from being deleted. EC2 wants a time; barman finds that out when the snapshot is there.
fn lock(session: &Session) -> Result<Option<SnapshotLock>, cli::Error> {
    let line = &session.line;
    let up_to = |most| move |text: &str| values::up_to(text, most);
    let cool_off_hours = session.parsed(&SNAPSHOT_LOCK_COOL_OFF, up_to(MOST_HOURS))?;
    let days = session.parsed(&SNAPSHOT_LOCK_DURATION, up_to(MOST_DAYS))?;
    let until = session.parsed(&SNAPSHOT_LOCK_DATE, expiration_date)?;
    let mode = match line.value(&SNAPSHOT_LOCK_MODE) {
        None => return Ok(None),
        Some("compliance") => LockMode::Compliance,
        Some(_) => LockMode::Governance,
    };
    if mode == LockMode::Governance && cool_off_hours.is_some() {
        return Err(Error::CoolOffInGovernance.into());
    }
    let lasts = days.map(LockTime::Days).or(until.map(LockTime::Until)).ok_or(Error::LockWithoutEnd)?;
    Ok(Some(SnapshotLock { mode, lasts, cool_off_hours }))
}

/// `2026-12-31T23:59:59.000Z`
fn expiration_date(text: &str) -> Result<civil::DateTime, String> {
    civil::DateTime::strptime("%Y-%m-%dT%H:%M:%S.%fZ", text)
        .map_err(|_| format!("Invalid date: '{text}'. Expected format is 'YYYY-MM-DDThh:mm:ss.sssZ'."))
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::flags::grammar;
    use super::super::grammar::Request;
    use super::*;
    use crate::settings::Environment;

    const REGION: (&str, &str) = ("AWS_DEFAULT_REGION", "eu-west-1");

    fn session<const N: usize>(command: Command, arguments: &str, variables: [(&str, &str); N]) -> Session {
        let grammar = grammar(command);
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let Request::Work(line) = grammar.parse(&arguments).unwrap() else { panic!("work expected") };
        Session { grammar, line, environment: Environment::from(variables) }
    }

    fn backup<const N: usize>(
        flags: &str,
        variables: [(&str, &str); N],
    ) -> Result<Option<SnapshotFormat>, String> {
        let line = format!("{flags} s3://b srv").trim_start().to_owned();
        format(&session(Command::Backup, &line, variables), &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn instance_and_disks_belong_together() {
        let both = "--snapshot-instance i --snapshot-disk a --snapshot-disk b";
        let format = backup(both, [REGION]).unwrap().unwrap();
        assert_eq!(
            (format.instance.as_str(), format.disks.as_slice()),
            ("i", &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!((format.server_name.as_str(), format.await_timeout.as_secs()), ("srv", 3600));
        assert_eq!(format.ec2.region(), "eu-west-1");
        assert_eq!(
            backup(&format!("{both} --aws-region us-east-2"), [REGION]).unwrap().unwrap().ec2.region(),
            "us-east-2"
        );
        assert!(backup("", [REGION]).unwrap().is_none());
        assert!(backup("--aws-region r --aws-snapshot-lock-duration 1", []).unwrap().is_none());
        for (flags, missing) in
            [("--snapshot-disk d", "--snapshot-instance"), ("--snapshot-instance i", "--snapshot-disk")]
        {
            assert!(backup(flags, [REGION]).unwrap_err().ends_with(missing));
        }
        assert!(backup(both, []).unwrap_err().contains("region"));
        assert!(backup(&format!("{both} --gzip"), [REGION]).unwrap_err().starts_with("Compression"));
        assert!(backup(&format!("{both} --aws-region evil.org/"), [REGION]).is_err());
    }

    #[test]
    fn locks() {
        let lock = |flags: &str| {
            let line = format!("--snapshot-instance i --snapshot-disk a {flags}");
            backup(&line, [REGION]).map(|format| format.unwrap().lock)
        };
        assert_eq!(lock("--aws-snapshot-lock-duration 3"), Ok(None));
        let governance =
            SnapshotLock { mode: LockMode::Governance, lasts: LockTime::Days(3), cool_off_hours: None };
        assert_eq!(
            lock("--aws-snapshot-lock-mode governance --aws-snapshot-lock-duration 3"),
            Ok(Some(governance))
        );
        let until = civil::date(2026, 12, 31).at(23, 59, 59, 500_000_000);
        let compliance = SnapshotLock {
            mode: LockMode::Compliance,
            lasts: LockTime::Until(until),
            cool_off_hours: Some(72),
        };
        let date = "--aws-snapshot-lock-expiration-date 2026-12-31T23:59:59.500Z";
        let cool_off = "--aws-snapshot-lock-cool-off-period 72";
        assert_eq!(
            lock(&format!("--aws-snapshot-lock-mode compliance {date} {cool_off}")),
            Ok(Some(compliance))
        );
        for wrong in [
            "--aws-snapshot-lock-mode compliance",
            "--aws-snapshot-lock-mode governance --aws-snapshot-lock-duration 3 --aws-snapshot-lock-cool-off-period 1",
            "--aws-snapshot-lock-cool-off-period 73",
            "--aws-snapshot-lock-duration 0",
            "--aws-snapshot-lock-duration 36501",
            "--aws-snapshot-lock-expiration-date 2026-12-31",
            "--aws-await-snapshots-timeout 0",
        ] {
            assert!(lock(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ec2_has_endpoints_of_its_own() {
        let endpoint = |flags: &str, variables: &[(&str, &str)]| {
            let variables: [(&str, &str); 2] =
                std::array::from_fn(|at| variables.get(at).copied().unwrap_or(("LANG", "C")));
            let session = session(Command::Restore, &format!("{flags}s3://b srv id dir"), variables);
            volumes(&session).account.unwrap().endpoint.map(|endpoint| endpoint.to_string())
        };
        let (general, ec2) = (("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_EC2", "http://ec2"));
        assert_eq!(endpoint("--endpoint-url http://s3 ", &[]), None);
        assert_eq!(endpoint("", &[general]).as_deref(), Some("http://all"));
        assert_eq!(endpoint("", &[general, ec2]).as_deref(), Some("http://ec2"));
        assert_eq!(endpoint("", &[ec2, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]), None);
    }

    /// A backup of tars is restored and deleted whatever is wrong with the settings of EC2.
    #[test]
    fn settings_of_ec2_matter_only_where_there_are_snapshots() {
        let variables = [("AWS_ENDPOINT_URL_EC2", "ftp://nowhere"), ("LANG", "C")];
        let session = session(Command::Restore, "s3://b srv id dir", variables);
        assert!(volumes(&session).account.unwrap_err().contains("AWS_ENDPOINT_URL_EC2"));
    }
}
