//! A session with the server: who it is, start and stop of a backup, positions in WAL.
//!
//! | question | SQL |
//! |---|---|
//! | identity | `pg_control_system()`, `pg_control_checkpoint()`, `pg_control_init()`, settings |
//! | start of a backup | `pg_backup_start(label, fast)`; before 15 `pg_start_backup(label, fast, false)` |
//! | end of a backup | `pg_backup_stop(true)`, or `false` where its WAL is waited for here; before 15 `pg_stop_backup(false, …)` |
//!
//! A backup belongs to its session: when the session ends, the server gives the backup up. The manual's chapters are
//! "Making a Base Backup Using the Low Level API" and "System Administration Functions".

mod backup;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::pg::connection::{Driver, describe, open, within};
use crate::pg::conninfo::ConnInfo;
use crate::pg::{
    Lsn, ParseError, PgVersion, SegmentName, SystemIdentifier, TimelineId, WalFileName, WalSegmentSize,
};

pub use backup::{Checkpoint, StartedBackup, StoppedBackup};

/// The oldest server that is supported.
const OLDEST: PgVersion = PgVersion::new(130_000);

/// How long a server that is busy may take for what takes no time on one that is not.
const BUSY: Duration = Duration::from_secs(60);
/// How long one may take to write out what it has to for the end of a backup.
pub(super) const SLOW: Duration = Duration::from_secs(600);
/// So many in a row have to be missing.
const SIGNS_OF_LIFE: u32 = 3;
/// How long a lock on a catalog is waited for, as PostgreSQL writes it: who holds one may hold it for hours.
pub(super) const LOCK_TIMEOUT: &str = "10s";

/// A connection to a server, and the task that drives it. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    driver: Driver,
    server: String,
    version: PgVersion,
    /// How long the answer to a question may take that costs the server nothing.
    patience: Option<Duration>,
    /// How to reach the same server once more.
    again: ConnInfo,
}

impl Session {
    /// Connects to the first server that lets us in, and makes the session fit to be held open for hours: no timeouts
    /// set for the user or the database apply, and names mean those of the catalog.
    pub async fn connect(info: &ConnInfo) -> Result<Session, Error> {
        let mut failure = None;
        for attempt in info.attempts() {
            let server = attempt.server.clone();
            let limit = info.connect_timeout();
            let ready = async {
                let (client, driver) = open(attempt).await?;
                Ok(Session::prepare(client, driver, info.with_server(server.clone())).await)
            };
            match within(limit, ready).await.unwrap_or_else(Err) {
                Ok(ready) => return ready,
                Err(reason) => {
                    let (database, reason) = info.shown_database(&reason);
                    tracing::debug!(%server, reason, "connection attempt failed");
                    failure = Some(Error::Connect { server: server.to_string(), database, reason });
                }
            }
        }
        Err(failure.unwrap_or(Error::NoServer))
    }

    async fn prepare(client: Client, driver: Driver, again: ConnInfo) -> Result<Session, Error> {
        let (server, patience) = (again.server(), again.connect_timeout());
        let mut session = Session { client, driver, server, version: OLDEST, patience, again };
        let settings = "SET search_path = pg_catalog; SET statement_timeout = 0; SET lock_timeout = 0; \
                        SET idle_in_transaction_session_timeout = 0";
        session.execute("prepare session", settings).await?;

        let action = "read server version";
        let row = session.row(action, "SELECT current_setting('server_version_num')", &[]).await?;
        session.version = session.parsed(action, &row, 0)?;
        if session.version < OLDEST {
            return Err(Error::UnsupportedVersion {
                server: session.server.clone(),
                version: session.version,
            });
        }
        if session.version.major() >= 14 {
            session.execute("prepare session", "SET idle_session_timeout = 0").await?;
        }
        if session.version.major() >= 17 {
            session.execute("prepare session", "SET transaction_timeout = 0").await?;
        }
        // Lets the server notice in pg_backup_stop, which may wait for long, that we are gone. Not every system can.
        if session.version.major() >= 14
            && let Err(error) =
                session.execute("prepare session", "SET client_connection_check_interval = '10s'").await
        {
            tracing::debug!(%error, "the server will not notice a lost client while it waits");
        }
        Ok(session)
    }

    /// The server's version.
    pub fn version(&self) -> PgVersion {
        self.version
    }

    /// The server as messages name it: socket, or host and port.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether the connection is known to be lost; with it, a backup in progress.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks the server for a sign of life. Fails with [`Error::Lost`] if the connection is; a server that is busy may
    /// take its time.
    pub async fn check_alive(&self) -> Result<(), Error> {
        let action = "check connection";
        self.in_time(action, self.patience.map(|patience| patience.max(BUSY)), self.execute(action, "")).await
    }

    /// Ends the session in order.
    pub async fn close(self) {
        let Session { client, mut driver, .. } = self;
        drop(client);
        if let Err(error) = (&mut driver.0).await {
            tracing::debug!(%error, "connection task");
        }
    }

    /// Who the server is.
    pub async fn identify(&self) -> Result<ServerIdentity, Error> {
        let action = "identify server";
        let sql = "SELECT s.system_identifier::text, c.timeline_id::text, i.bytes_per_wal_segment::bigint, \
                   i.database_block_size::bigint, i.data_page_checksum_version::bigint, \
                   current_setting('data_directory'), pg_is_in_recovery(), \
                   current_setting('archive_mode'), current_setting('archive_command'), \
                   coalesce(current_setting('archive_library', true), ''), \
                   current_setting('wal_log_hints'), \
                   to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
                   FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        let in_recovery: bool = self.get(action, &row, 6)?;
        let identifier: i64 = self.parsed_std(action, &row, 0)?;
        let size_of = |column| -> Result<u64, Error> {
            let value: i64 = self.get(action, &row, column)?;
            u64::try_from(value).map_err(|_| self.odd(action, value))
        };
        let block_size = size_of(3)?;
        let archive_mode: String = self.get(action, &row, 7)?;
        let archive_command: String = self.get(action, &row, 8)?;
        let archive_library: String = self.get(action, &row, 9)?;
        Ok(ServerIdentity {
            version: self.version,
            system_identifier: SystemIdentifier::new(identifier.cast_unsigned()),
            timeline: if in_recovery { self.parsed(action, &row, 1)? } else { self.timeline().await? },
            segment_size: WalSegmentSize::from_bytes(size_of(2)?).map_err(|error| self.odd(action, error))?,
            block_size: u32::try_from(block_size).map_err(|_| self.odd(action, block_size))?,
            data_directory: PathBuf::from(self.get::<String>(action, &row, 5)?),
            in_recovery,
            data_checksums: size_of(4)? != 0,
            wal_log_hints: self.get::<&str>(action, &row, 10)? == "on",
            started: self.parsed_std(action, &row, 11)?,
            archive_mode: match archive_mode.as_str() {
                "off" => ArchiveMode::Off,
                "always" => ArchiveMode::Always,
                _ => ArchiveMode::On,
            },
            // The server shows a command as "(disabled)" while archive_mode is off.
            archive_command: Some(archive_command)
                .filter(|command| !command.is_empty() && command != "(disabled)"),
            archive_library: Some(archive_library).filter(|library| !library.is_empty()),
        })
    }

    /// The server's timeline: on a primary the one it writes, on a standby that of its last restartpoint.
    ///
    /// A primary's control file still has the old timeline for a while after a promotion, so it is not asked there.
    pub async fn timeline(&self) -> Result<TimelineId, Error> {
        let action = "read timeline";
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN timeline_id::text END, \
                   CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_insert_lsn()) END \
                   FROM pg_control_checkpoint()";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        match self.get::<Option<String>>(action, &row, 1)? {
            None => self.parsed(action, &row, 0),
            Some(segment) => segment
                .parse()
                .map(SegmentName::timeline)
                .map_err(|error: ParseError| self.odd(action, error)),
        }
    }

    /// The size of the server's WAL segments.
    pub async fn segment_size(&self) -> Result<WalSegmentSize, Error> {
        let action = "read WAL segment size";
        let sql = "SELECT bytes_per_wal_segment::bigint FROM pg_control_init()";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        let bytes: i64 = self.get(action, &row, 0)?;
        let bytes = u64::try_from(bytes).map_err(|_| self.odd(action, bytes))?;
        WalSegmentSize::from_bytes(bytes).map_err(|error| self.odd(action, error))
    }

    /// How far WAL reaches: written on a primary, replayed on a standby.
    pub async fn current_wal_lsn(&self) -> Result<Lsn, Error> {
        let action = "read WAL position";
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                   ELSE pg_current_wal_lsn() END::text";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        self.parsed(action, &row, 0)
    }

    /// Takes the right to write the backup that starts in `segment`; `false` while another session has it. Kept until
    /// the session's end.
    ///
    /// On a standby two backups without a restartpoint between them start at the same place, and so have the same name.
    pub async fn try_lock_backup(&self, segment: SegmentName) -> Result<bool, Error> {
        let action = "lock the name of the backup";
        let sql = "SELECT pg_try_advisory_lock(hashtext('seawall backup'), hashtext($1))";
        let row = self.soon(action, self.row(action, sql, &[&segment.to_string()])).await?;
        self.get(action, &row, 0)
    }

    /// When the server was started, in its own words: with the directory of its data and the host what tells it from all
    /// others, and from itself before a restart.
    pub async fn server_start(&self) -> Result<String, Error> {
        let action = "ask when the server was started";
        let sql = "SELECT extract(epoch FROM pg_postmaster_start_time())::text";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        self.get(action, &row, 0)
    }

    /// What the server's archiver has done so far.
    pub async fn archiver(&self) -> Result<ArchiverState, Error> {
        let action = "ask for the archiver";
        let sql = "SELECT archived_count, last_archived_wal FROM pg_stat_archiver";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        let last: Option<String> = self.get(action, &row, 1)?;
        Ok(ArchiverState {
            archived: self.get(action, &row, 0)?,
            last: last.and_then(|name| name.parse().ok()),
        })
    }

    /// Writes a named restore point into WAL. Fails on a standby.
    pub async fn create_restore_point(&self, name: &str) -> Result<(), Error> {
        let action = "create restore point";
        let sql = "SELECT pg_create_restore_point($1)::text";
        self.soon(action, self.row(action, sql, &[&name])).await.map(drop)
    }

    /// Rows of a query; `action` is what it is for, in messages.
    pub(super) async fn rows(
        &self,
        action: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.client.query(sql, parameters).await.map_err(|error| self.failed(action, &error))
    }

    /// The one row of a query.
    pub(super) async fn row(
        &self,
        action: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.client.query_one(sql, parameters).await.map_err(|error| self.failed(action, &error))
    }

    /// Sets a parameter of this session.
    pub(super) async fn set(&self, parameter: &'static str, value: &str) -> Result<(), Error> {
        let action = "prepare session";
        self.soon(action, self.execute(action, &format!("SET {parameter} = '{value}'"))).await
    }

    /// The answer to `question`, which does not take long on a server that is well.
    pub(super) async fn soon<T>(
        &self,
        action: &'static str,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.in_time(action, self.patience, question).await
    }

    /// The answer to `question`, which may take any time on a server that is well. One counts as lost that meanwhile lets
    /// nobody in: a connection that is dead, and a host that is, are noticed before by the keepalives.
    async fn while_alive<T>(
        &self,
        action: &'static str,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(patience) = self.patience else { return question.await };
        let silence = async {
            let mut unanswered = 0;
            while unanswered < SIGNS_OF_LIFE {
                tokio::time::sleep(patience * 2).await;
                unanswered = if self.lets_somebody_in(patience).await { 0 } else { unanswered + 1 };
            }
        };
        tokio::select! {
            answer = question => answer,
            () = silence => Err(Error::Lost {
                action,
                server: self.server.clone(),
                reason: format!(
                    "no answer, nor had {SIGNS_OF_LIFE} other connections one in {} s each",
                    patience.as_secs()
                ),
            }),
        }
    }

    /// Whether the server says anything to one who comes to it now; a refusal is a sign of life.
    async fn lets_somebody_in(&self, patience: Duration) -> bool {
        match self.again.attempts().into_iter().next() {
            Some(attempt) => within(Some(patience), open(attempt)).await.is_ok(),
            None => true,
        }
    }

    /// The answer to `question`; a server that does not give it in time counts as lost.
    pub(super) async fn in_time<T>(
        &self,
        action: &'static str,
        limit: Option<Duration>,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let lost = |reason| Err(Error::Lost { action, server: self.server.clone(), reason });
        within(limit, question).await.unwrap_or_else(lost)
    }

    async fn execute(&self, action: &'static str, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|error| self.failed(action, &error))
    }

    /// A column of a row.
    pub(super) fn get<'row, T: tokio_postgres::types::FromSql<'row>>(
        &self,
        action: &'static str,
        row: &'row Row,
        column: usize,
    ) -> Result<T, Error> {
        row.try_get(column).map_err(|error| self.failed(action, &error))
    }

    /// A column of a row, which holds a text of ours.
    pub(super) fn parsed<T: std::str::FromStr<Err = ParseError>>(
        &self,
        action: &'static str,
        row: &Row,
        column: usize,
    ) -> Result<T, Error> {
        self.parsed_std(action, row, column)
    }

    fn parsed_std<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        action: &'static str,
        row: &Row,
        column: usize,
    ) -> Result<T, Error> {
        let text: &str = self.get(action, row, column)?;
        text.parse().map_err(|error| self.odd(action, error))
    }

    /// The server answered something that no PostgreSQL says.
    pub(super) fn odd(&self, action: &'static str, reason: impl std::fmt::Display) -> Error {
        Error::Failed { action, server: self.server.clone(), sqlstate: None, reason: reason.to_string() }
    }

    fn failed(&self, action: &'static str, error: &tokio_postgres::Error) -> Error {
        let server = self.server.clone();
        match error.as_db_error() {
            // A server that shuts down says so (class 57P, operator intervention) before it closes the connection.
            Some(db) if !self.client.is_closed() && !db.code().code().starts_with("57P") => Error::Failed {
                action,
                server,
                sqlstate: Some(db.code().code().to_owned()),
                reason: describe(error),
            },
            Some(_) => Error::Lost { action, server, reason: describe(error) },
            None if error.is_closed() || self.client.is_closed() => {
                Error::Lost { action, server, reason: describe(error) }
            }
            None => Error::Failed { action, server, sqlstate: None, reason: describe(error) },
        }
    }
}

impl Error {
    /// Whether a statement took longer than the server was told to let it (`query_canceled`).
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Failed { sqlstate: Some(code), .. } if code == "57014")
    }

    /// Whether the user may not do what was asked for (`insufficient_privilege`).
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Failed { sqlstate: Some(code), .. } if code == "42501")
    }
}

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Its version.
    pub version: PgVersion,
    /// Its cluster.
    pub system_identifier: SystemIdentifier,
    /// Its timeline, see [`Session::timeline`].
    pub timeline: TimelineId,
    /// The size of its WAL segments.
    pub segment_size: WalSegmentSize,
    /// Bytes in a data page.
    pub block_size: u32,
    /// Its data directory, as the server names it.
    pub data_directory: PathBuf,
    /// Whether it is a standby, or replays WAL for another reason.
    pub in_recovery: bool,
    /// Whether data pages have checksums.
    pub data_checksums: bool,
    /// Whether changes of hint bits are in WAL also without checksums.
    pub wal_log_hints: bool,
    /// When it was started.
    pub started: Timestamp,
    /// Whether it archives WAL.
    pub archive_mode: ArchiveMode,
    /// `archive_command`, if there is one that is used.
    pub archive_command: Option<String>,
    /// `archive_library` (PostgreSQL 15 on), if there is one.
    pub archive_library: Option<String>,
}

/// `pg_stat_archiver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiverState {
    /// How many files were archived, since the counter was reset.
    pub archived: i64,
    /// The last one.
    pub last: Option<WalFileName>,
}

impl ArchiverState {
    /// Whether this segment, and so all before it, were archived: files are archived in the order of their names.
    pub fn is_done_with(&self, segment: SegmentName) -> bool {
        match self.last {
            Some(WalFileName::Segment(last)) => last.timeline() == segment.timeline() && last >= segment,
            _ => false,
        }
    }
}

impl ServerIdentity {
    /// Whether WAL this server writes as a primary reaches an archive at all.
    pub fn archives(&self) -> bool {
        self.archive_mode != ArchiveMode::Off
            && (self.archive_command.is_some() || self.archive_library.is_some())
    }
}

/// The setting `archive_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveMode {
    /// WAL is not archived.
    Off,
    /// A primary archives its WAL.
    On,
    /// A standby does too.
    Always,
}

/// What can go wrong between us and a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing to connect to.
    #[error("connect to PostgreSQL: no server is named")]
    NoServer,
    /// The last server tried did not let us in.
    #[error("connect to database {database:?} at {server}: {reason}")]
    Connect {
        /// Socket, or host and port.
        server: String,
        /// The database.
        database: String,
        /// Why not.
        reason: String,
    },
    /// The server is older than PostgreSQL 13.
    #[error("connect to {server}: PostgreSQL {version} is not supported, the oldest is 13")]
    UnsupportedVersion {
        /// Socket, or host and port.
        server: String,
        /// Its version.
        version: PgVersion,
    },
    /// The connection is gone, and with it a backup in progress.
    #[error("{action} on {server}: connection lost: {reason}")]
    Lost {
        /// What was attempted.
        action: &'static str,
        /// Socket, or host and port.
        server: String,
        /// What the driver says.
        reason: String,
    },
    /// The server refused, or answered nonsense.
    #[error("{action} on {server}: {reason}{}", .sqlstate.as_ref().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default())]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// Socket, or host and port.
        server: String,
        /// The class of error, if the server named one.
        sqlstate: Option<String>,
        /// What the server says.
        reason: String,
    },
}
