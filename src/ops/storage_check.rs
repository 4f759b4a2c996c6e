//! `storage check`: what the configured storage can do, found out on the storage itself.

use crate::layout::walg::names;
use crate::storage::check::{BUDGET, Check, Findings};
use crate::storage::retry::RetryPolicy;
use crate::storage::{Error as StorageError, ErrorKind, StorageConfig};

use super::{Context, Error};

/// Tries the storage that `config` describes, in a folder of its own in the repository's `wal_005/`, where wal-g and
/// seawall take no notice of it. What it wrote is gone on return, also when the process was asked to end; what could not be
/// removed is the last row.
///
/// It ends within [`BUDGET`] and a quarter of it, however slow the line is. An ability that is missing is a row and no error. Fails when certificates cannot be read, and when it is cancelled.
pub async fn run(context: &Context, config: StorageConfig, policy: RetryPolicy) -> Result<Findings, Error> {
    let invalid = |detail: String| {
        StorageError::new(ErrorKind::Invalid, "check", None, context.storage.location(), detail)
    };
    let random = getrandom::u64().map_err(|error| invalid(error.to_string()))?;
    let folder = names::wal_prefix().child(&format!("seawall-check-{random:016x}"));
    let folder = folder.map_err(|error| invalid(error.to_string()))?;
    let check = Check::new(config, policy, folder, BUDGET)?;
    let findings = context.until_cancelled(async { Ok::<_, Error>(check.run().await) }).await;
    let left = check.clean_up().await;
    if let (Err(_), Some(row)) = (&findings, &left) {
        tracing::warn!("{}", row.detail);
    }
    let mut findings = findings?;
    findings.rows.extend(left);
    Ok(findings)
}
