//! Start and end of a backup.

use std::time::Duration;

use jiff::Zoned;
use tokio_postgres::Row;

use crate::pg::{Lsn, ParseError, SegmentName};

use super::{BUSY, Error, SLOW, Session};

impl Session {
    /// Starts a backup. It lasts until [`Session::stop_backup`] or the session's end.
    ///
    /// The checkpoint for it may take as long as it likes, while the server shows signs of life.
    pub async fn start_backup(&self, label: &str, checkpoint: Checkpoint) -> Result<StartedBackup, Error> {
        let action = "start backup";
        let fast = checkpoint == Checkpoint::Immediate;
        let function = match self.version.major() {
            15.. => "pg_backup_start($1, $2)",
            _ => "pg_start_backup($1, $2, false)",
        };
        let sql = format!(
            "SELECT lsn::text, pg_is_in_recovery(), \
             CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(lsn) END, {} FROM {function} AS lsn",
            shown("now()")
        );
        let row = self.while_alive(action, self.row(action, &sql, &[&label, &fast])).await?;
        let segment: Option<String> = self.get(action, &row, 2)?;
        let segment = segment.map(|name| name.parse()).transpose();
        Ok(StartedBackup {
            lsn: self.parsed(action, &row, 0)?,
            segment: segment.map_err(|error: ParseError| self.odd(action, error))?,
            in_recovery: self.get(action, &row, 1)?,
            time: self.zoned(action, &row, 3)?,
        })
    }

    /// Ends the backup and waits until the last WAL it needs is archived, if the server archives at all.
    ///
    /// Gives up after `statement_timeout`, zero meaning never; the backup is lost then. The server reports progress of
    /// the wait as warnings, which are logged.
    pub async fn stop_backup(&self, statement_timeout: Duration) -> Result<StoppedBackup, Error> {
        let action = "stop backup";
        let milliseconds = statement_timeout.as_millis().min(i32::MAX.unsigned_abs().into());
        self.set("statement_timeout", &milliseconds.to_string()).await?;
        // A server that does not even cancel the statement is lost.
        let limit =
            self.patience.filter(|_| milliseconds > 0).map(|patience| patience.max(BUSY) + statement_timeout);
        let stopped = self.in_time(action, limit, self.stop(WalArchived::Waited)).await?;
        self.set("statement_timeout", "0").await?;
        Ok(stopped)
    }

    /// Ends the backup and waits for nothing: the WAL it needs may not be archived yet.
    pub async fn stop_backup_at_once(&self) -> Result<StoppedBackup, Error> {
        let limit = self.patience.map(|patience| patience.max(SLOW));
        self.in_time("stop backup", limit, self.stop(WalArchived::NotWaited)).await
    }

    async fn stop(&self, archived: WalArchived) -> Result<StoppedBackup, Error> {
        let action = "stop backup";
        let function = match self.version.major() {
            15.. => "pg_backup_stop($1)",
            _ => "pg_stop_backup(false, $1)",
        };
        let time = shown("clock_timestamp()");
        let sql = format!("SELECT lsn::text, labelfile, spcmapfile, {time} FROM {function}");
        let row = self.row(action, &sql, &[&(archived == WalArchived::Waited)]).await?;
        Ok(StoppedBackup {
            lsn: self.parsed(action, &row, 0)?,
            label: self.get(action, &row, 1)?,
            tablespace_map: self.get::<Option<String>>(action, &row, 2)?.unwrap_or_default(),
            time: self.zoned(action, &row, 3)?,
        })
    }

    /// A time that was [`shown`].
    fn zoned(&self, action: &'static str, row: &Row, column: usize) -> Result<Zoned, Error> {
        let text: &str = self.get(action, row, column)?;
        Zoned::strptime(ISO_8601, text).map_err(|error| self.odd(action, error))
    }
}

/// The time of an SQL expression with the offset of the session's zone, whatever `DateStyle` says.
fn shown(time: &str) -> String {
    format!("to_char({time}, 'YYYY-MM-DD\"T\"HH24:MI:SS.USTZH:TZM')")
}

/// That form for `strptime`.
const ISO_8601: &str = "%Y-%m-%dT%H:%M:%S%.f%:z";

/// How the server makes the checkpoint with which a backup starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// At once, writing as fast as it can.
    Immediate,
    /// Spread over time, as the server's own checkpoints are (`checkpoint_completion_target`).
    Spread,
}

/// Whether the end of a backup waits for its WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalArchived {
    /// Until the server has archived it, if it archives at all.
    Waited,
    /// It may not be archived yet.
    NotWaited,
}

/// What the server says when a backup starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedBackup {
    /// Where replay of the backup will start.
    pub lsn: Lsn,
    /// The segment that holds that place; a standby does not tell it.
    pub segment: Option<SegmentName>,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// When, by the server's clock and in the session's zone.
    pub time: Zoned,
}

/// What the server says when a backup ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedBackup {
    /// Up to where WAL must be replayed for the backup to be consistent.
    pub lsn: Lsn,
    /// The content of the backup's `backup_label`.
    pub label: String,
    /// The content of its `tablespace_map`, empty without tablespaces.
    pub tablespace_map: String,
    /// When it had ended, by the server's clock and in the session's zone.
    pub time: Zoned,
}
