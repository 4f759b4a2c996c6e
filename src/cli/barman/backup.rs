//! `backup` and `restore`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::MultiProgress;
use jiff::tz::TimeZone;

use crate::cli;
use crate::cli::process::cores;
use crate::cli::session;
use crate::codec::{Compression, Method};
use crate::layout::barman::{RecoveryEnd, parse_any_time};
use crate::ops::RequestError;
use crate::ops::backup_fetch::{self, MovedTablespace, Plan, SyncFiles};
use crate::ops::backup_push::{self, Format, Packing, VerifyPages, WalWitness};
use crate::ops::barman::recovery_target::{self, TargetTimeline};
use crate::ops::barman::volumes::snapshots_of;
use crate::ops::barman::{backup_show, snapshot_restore};
use crate::pg::ConnInfo;
use crate::pg::connection_string::{Keywords, is_connection_string};
use crate::pg::session::Checkpoint;
use crate::settings::value::parse_duration;
use crate::settings::{self, keys};

use super::commands::Session;
use super::flags::{
    AWS_REGION, BZIP2, DBNAME, GZIP, HOST, IMMEDIATE_CHECKPOINT, JOBS, LZ4, MAX_ARCHIVE_SIZE, MAX_BANDWIDTH,
    MIN_CHUNK_SIZE, NAME, PORT, SNAPPY, SNAPSHOT_RECOVERY_INSTANCE, TABLESPACE, TAG, TAGS, TARGET_LSN,
    TARGET_TIME, TARGET_TLI, USER,
};
use super::grammar::Flag;
use super::objects::{encryption, tags};
use super::place::Objects;
use super::wal::take_over;
use super::{Error, WHOLE_FILES, catalogue, hook, values, volumes};

/// `--max-archive-size` where nothing is said.
const ARCHIVE_BYTES: u64 = 100 << 30;

/// A tar may not grow beyond that, whatever is said: S3 has no larger objects than 5 TiB, and files are never split.
const MOST_ARCHIVE_BYTES: u64 = 1 << 40;

/// `--jobs` where nothing is said.
const JOBS_AT_ONCE: u64 = 2;

/// Threads that compress one tar. A pod sees all cores of its node, and has little memory: each thread costs some 10 MiB.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Tars that are packed at the same time: a core each, and no more than are sent.
fn tars_at_once(uploads: usize) -> usize {
    cores().get().min(uploads)
}

/// How often the session that holds the backup is checked.
const ALIVE_CHECK: Duration = Duration::from_secs(60);

/// `backup`: of the server that the flags name, whose data directory must be on this machine; or, as barman's hook script, of
/// what barman has taken.
pub fn backup(session: &Session) -> Result<(), cli::Error> {
    let objects = Objects {
        tags: tags(session, &TAGS, &TAG)?,
        encryption: encryption(session)?,
        part_bytes: session.parsed(&MIN_CHUNK_SIZE, values::size)?,
        ..Objects::default()
    };
    let uploads = session.parsed(&JOBS, values::positive)?.unwrap_or(JOBS_AT_ONCE);
    let uploads = usize::try_from(uploads).unwrap_or(usize::MAX);
    let tar_bytes = session.parsed(&MAX_ARCHIVE_SIZE, values::size)?.unwrap_or(ARCHIVE_BYTES);
    let network_rate = session.parsed(&MAX_BANDWIDTH, values::size)?;
    let name = session.parsed(&NAME, values::backup_name)?;
    let compression = compression(session)?;
    let snapshots = volumes::format(session, &objects.tags)?;
    if session.only_tests() {
        return session.probe();
    }
    if tar_bytes > MOST_ARCHIVE_BYTES {
        tracing::warn!("--max-archive-size is more than 1TB: a tar is closed when it has that");
    }
    let packing = Packing {
        tar_bytes: tar_bytes.min(MOST_ARCHIVE_BYTES),
        workers: tars_at_once(uploads),
        uploads,
        disk_rate: None,
        network_rate,
    };
    if hook::is_called(session, "post", ["backup_script", "backup_retry_script"])? {
        let (backup, take_over) = (hook::server_backup(session, name)?, take_over(session)?);
        let context = session.context(WHOLE_FILES, compression, objects)?;
        let stored = session::run_shown(context, "backup", &MultiProgress::new(), async |context| {
            backup.store(&context, packing, take_over).await
        });
        return stored.map_err(hook::for_good);
    }
    let options = backup_push::Options {
        data_dir: None,
        conninfo: conninfo(session)?,
        format: snapshots.map_or(Format::Barman { name }, Format::Snapshots),
        take_over: take_over(session)?,
        checkpoint: match session.line.has(&IMMEDIATE_CHECKPOINT) {
            true => Checkpoint::Immediate,
            false => Checkpoint::Spread,
        },
        verify: VerifyPages::No,
        packing,
        stop_timeout: Duration::ZERO,
        wal_timeout: wal_timeout(session)?,
        wal_witness: WalWitness::Archiver,
        alive_check: ALIVE_CHECK,
        exclude: session.directory()?.into_iter().collect(),
    };
    let context = session.context(WHOLE_FILES, compression, objects)?;
    session::run_shown(context, "backup", &MultiProgress::new(), async |context| {
        backup_push::run(&context, options).await
    })?;
    Ok(())
}

/// How long the server's archiver may do nothing at all before the backup is given up: a variable of ours, by the name and
/// with the default of the setting in wal-g's dialect.
fn wal_timeout(session: &Session) -> Result<Duration, cli::Error> {
    let key = &keys::BACKUP_WAL_TIMEOUT;
    let text = session.environment.text(key.name())?.or(key.default).unwrap_or_default();
    parse_duration(text).map_err(|_| {
        let expected = "a duration, such as 1h or 90s; 0 is no limit";
        Error::Variable { name: key.name(), value: text.to_owned(), expected }.into()
    })
}

/// `restore`: into an empty directory, or of snapshots into the one that is on their volumes.
pub fn restore(session: &Session) -> Result<(), cli::Error> {
    let wrong = |reason| Error::Usage(session.grammar.wrong_value(&TABLESPACE, reason));
    let moved = session.line.values(&TABLESPACE).map(|rule| values::tablespace(rule).map_err(wrong));
    let moved: Vec<MovedTablespace> = moved.collect::<Result<_, _>>()?;
    let timeline = session.parsed(&TARGET_TLI, values::target_timeline)?;
    if session.only_tests() {
        return session.probe();
    }
    let target = match catalogue::backup(session) {
        "auto" => Some((end(session)?, timeline_of_target(timeline)?)),
        _ => {
            for flag in
                [&TARGET_TLI, &TARGET_LSN, &TARGET_TIME].into_iter().filter(|flag| session.line.has(flag))
            {
                tracing::warn!("{} chooses a backup only where its id is auto", flag.shown());
            }
            None
        }
    };
    let options = backup_fetch::Options {
        target: PathBuf::from(session.line.positional(3).unwrap_or_default()),
        concurrency: 2 * cores().get(),
        cores: cores().get(),
        network_rate: None,
        sync: SyncFiles::Yes,
    };
    let volumes = volumes::volumes(session);
    let on_volumes = snapshot_restore::Options {
        instance: session.line.value(&SNAPSHOT_RECOVERY_INSTANCE).map(str::to_owned),
        target: options.target.clone(),
    };
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    session::run_shown(context, "restore", &MultiProgress::new(), async |context| {
        let backup = match target {
            Some((end, timeline)) => recovery_target::choose(&context, end, timeline).await?,
            None => backup_show::run(&context, catalogue::backup(session)).await?,
        };
        if let Some(snapshots) = snapshots_of(backup.id, &backup.info)? {
            if !moved.is_empty() {
                return Err(RequestError::SnapshotTablespaces(backup.id).into());
            }
            return snapshot_restore::run(&context, &volumes, backup.id, &snapshots, &on_volumes).await;
        }
        for flag in
            [&SNAPSHOT_RECOVERY_INSTANCE, &AWS_REGION].into_iter().filter(|flag| session.line.has(flag))
        {
            tracing::warn!("{} has no effect: backup {} is not made of snapshots", flag.shown(), backup.id);
        }
        let plan = Plan::barman(&context, backup.id, &backup.info, &moved).await?;
        backup_fetch::run(&context, plan, options).await
    })
}

fn end(session: &Session) -> Result<Option<RecoveryEnd>, Error> {
    if let Some(text) = session.line.value(&TARGET_LSN) {
        let lsn = text.parse().map_err(|_| Error::Target { value: text.to_owned(), expected: "an LSN" })?;
        return Ok(Some(RecoveryEnd::Lsn(lsn)));
    }
    let Some(text) = session.line.value(&TARGET_TIME) else { return Ok(None) };
    match parse_any_time(text, &TimeZone::system()) {
        Ok(time) => Ok(Some(RecoveryEnd::Time(time.timestamp()))),
        Err(_) => Err(Error::Target {
            value: text.to_owned(),
            expected: "a time such as 2026-11-22 10:00:00+01:00, 2026-11-22 10:00 UTC, 2026-11-22, 2026/11/22, 20261122, \
                       Nov 22 2026 10:00, Sun Nov 22 10:00:00 UTC 2026 or Sun, 22 Nov 2026 10:00:00 +0100; names of zones \
                       are UTC, GMT and those of the local zone",
        }),
    }
}

fn timeline_of_target(timeline: Option<values::TargetTimeline>) -> Result<Option<TargetTimeline>, Error> {
    use values::TargetTimeline as Given;
    match timeline {
        None => Ok(None),
        Some(Given::Number(timeline)) => Ok(Some(TargetTimeline::Number(timeline))),
        Some(Given::Latest) => Ok(Some(TargetTimeline::Latest)),
        // It is the timeline of a backup that is yet to be chosen.
        Some(Given::Current) => Err(Error::Target {
            value: "current".to_owned(),
            expected: "a timeline or latest, for backup id auto",
        }),
    }
}

/// How to reach the server: by the flags, or a whole connection string; then by libpq's variables.
fn conninfo(session: &Session) -> Result<ConnInfo, cli::Error> {
    let variable = |name: &str| session.environment.text(name).ok().flatten().map(str::to_owned);
    let line = &session.line;
    let database = line.value(&DBNAME).unwrap_or("postgres");
    let keywords = match database.is_empty() || is_connection_string(database) {
        true => Keywords::parse(database).map_err(Error::ConnectionString)?,
        false => {
            let flags = [("host", &HOST), ("port", &PORT), ("user", &USER)];
            let given = flags.into_iter().filter_map(|(keyword, flag)| Some((keyword, line.value(flag)?)));
            let given = given.filter(|(_, value)| !value.is_empty());
            let keywords =
                given.fold(Keywords::default(), |keywords, (keyword, value)| keywords.with(keyword, value));
            keywords.with("dbname", database)
        }
    };
    let keywords = match keywords.get("application_name") {
        Some(_) => keywords,
        None => keywords.with("application_name", APPLICATION),
    };
    Ok(ConnInfo::new(keywords, &variable)?)
}

/// barman's, by which its sessions are known in `pg_stat_activity`.
const APPLICATION: &str = "barman_cloud_backup";

/// The compressions of base backups, by their flags.
static METHODS: [(&Flag, Method); 4] =
    [(&GZIP, Method::Gzip), (&BZIP2, Method::Bzip2), (&SNAPPY, Method::Snappy), (&LZ4, Method::Lz4)];

/// The compression that a flag names.
pub fn method(session: &Session) -> Option<Method> {
    METHODS.into_iter().find(|(flag, _)| session.line.has(flag)).map(|(_, method)| method)
}

/// How base backups are compressed.
pub fn compression(session: &Session) -> Result<Compression, cli::Error> {
    let method = method(session).unwrap_or(Method::None);
    // Each tar may use all cores: the last one, often that of the largest table, has them alone.
    Compression::of_barman_backup(method, cores().min(MOST_THREADS))
        .map_err(|error| settings::Error::from(error).into())
}
