//! A connection to a server: how it is opened, and the task that moves its bytes.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use super::conninfo::Attempt;

/// The task that moves a session's bytes; it ends with the session.
#[derive(Debug)]
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What comes of `work` within `limit`; the error says that nothing did.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, String> {
    match limit {
        None => Ok(work.await),
        Some(limit) => {
            tokio::time::timeout(limit, work).await.map_err(|_| format!("no answer in {} s", limit.as_secs()))
        }
    }
}

/// One attempt to connect; the error is its reason.
pub(super) async fn open(attempt: Attempt) -> Result<(Client, Driver), String> {
    let Attempt { config, tls, .. } = attempt;
    match tls {
        None => {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| describe(&error))?;
            Ok((client, Driver(tokio::spawn(drive(connection)))))
        }
        Some(tls) => {
            let (client, connection) = config.connect(tls).await.map_err(|error| describe(&error))?;
            Ok((client, Driver(tokio::spawn(drive(connection)))))
        }
    }
}

/// Moves bytes until the connection ends, and logs what the server has to say meanwhile.
async fn drive<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.severity() == "WARNING" => {
                tracing::warn!(hint = notice.hint(), "server: {}", notice.message());
            }
            Ok(AsyncMessage::Notice(notice)) => {
                tracing::info!("server: {}: {}", notice.severity(), notice.message());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(reason = describe(&error), "connection lost");
                break;
            }
        }
    }
}

/// A driver's error as one line: the server's message and detail, or the chain of causes.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut text = db.message().to_owned();
        if let Some(detail) = db.detail() {
            let _ = write!(text, " ({detail})");
        }
        return text.replace('\n', " ");
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let next_text = next.to_string();
        // The driver repeats a cause in its own message.
        if !text.ends_with(&next_text) {
            let _ = write!(text, ": {next_text}");
        }
        cause = next.source();
    }
    text.replace('\n', " ")
}
