//! The server's WAL summarizer (PostgreSQL 17 and later): whether it is on, and how far it has come.
//!
//! The background process writes which blocks the WAL between two checkpoints changed into files in
//! `pg_wal/summaries`. It reads WAL as it is flushed, and writes a file when it meets the next checkpoint's redo point.
//! The manual's chapters are "WAL Summarization" and "WAL Summarization Information Functions".

use super::session::{Error, Session};
use super::{Lsn, TimelineId};

/// How far the summarizer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummarizerState {
    /// The timeline it is on; `None` before it has begun.
    pub timeline: Option<TimelineId>,
    /// Up to here there are files, or never will be.
    pub summarized: Lsn,
    /// Up to here WAL was read.
    pub pending: Lsn,
}

impl Session {
    /// Whether the server summarizes its WAL (`summarize_wal`); never before PostgreSQL 17.
    pub async fn summarizes_wal(&self) -> Result<bool, Error> {
        let action = "read summarize_wal";
        let sql = "SELECT coalesce(current_setting('summarize_wal', true), 'off') = 'on'";
        self.get(action, &self.soon(action, self.row(action, sql, &[])).await?, 0)
    }

    /// How far the summarizer has come. Fails on servers before PostgreSQL 17.
    pub async fn summarizer_state(&self) -> Result<SummarizerState, Error> {
        let action = "ask the WAL summarizer";
        let sql = "SELECT summarized_tli, summarized_lsn::text, pending_lsn::text \
                   FROM pg_get_wal_summarizer_state()";
        let row = self.soon(action, self.row(action, sql, &[])).await?;
        let timeline: i64 = self.get(action, &row, 0)?;
        let timeline = u32::try_from(timeline).map_err(|_| self.odd(action, timeline))?;
        Ok(SummarizerState {
            timeline: TimelineId::new(timeline),
            summarized: self.parsed(action, &row, 1)?,
            pending: self.parsed(action, &row, 2)?,
        })
    }
}
