//! What barman keeps of a server's settings with a backup.

use std::collections::BTreeMap;

use super::Oid;
use super::session::{Error, LOCK_TIMEOUT, SLOW, Session};

/// Settings of a server and what else it says of itself. What the user may not see is `None`, or missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// `config_file`.
    pub config_file: Option<String>,
    /// `hba_file`.
    pub hba_file: Option<String>,
    /// `ident_file`.
    pub ident_file: Option<String>,
    /// `data_directory`.
    pub data_directory: Option<String>,
    /// `data_checksums`: on or off.
    pub data_checksums: Option<String>,
    /// `summarize_wal`, from PostgreSQL 17 on: on or off.
    pub summarize_wal: Option<String>,
    /// The files that settings come from, besides `config_file`, sorted.
    pub included_files: Vec<String>,
    /// Bytes of all tablespaces.
    pub cluster_size: Option<u64>,
    /// Names of the tablespaces.
    pub tablespaces: BTreeMap<Oid, String>,
    /// Where those lie that are outside of the data directory.
    pub tablespace_locations: BTreeMap<Oid, String>,
}

impl Session {
    /// The server's settings.
    pub async fn server_settings(&self) -> Result<ServerSettings, Error> {
        let action = "read settings";
        let sql = "SELECT name::text, setting, sourcefile FROM pg_settings";
        let mut settings = ServerSettings::default();
        for row in self.soon(action, self.rows(action, sql, &[])).await? {
            let name: String = self.get(action, &row, 0)?;
            let value: Option<String> = self.get(action, &row, 1)?;
            match name.as_str() {
                "config_file" => settings.config_file = value,
                "hba_file" => settings.hba_file = value,
                "ident_file" => settings.ident_file = value,
                "data_directory" => settings.data_directory = value,
                "data_checksums" => settings.data_checksums = value,
                "summarize_wal" => settings.summarize_wal = value,
                _ => {}
            }
            settings.included_files.extend(self.get::<Option<String>>(action, &row, 2)?);
        }
        settings.included_files.sort();
        settings.included_files.dedup();
        settings.included_files.retain(|file| Some(file) != settings.config_file.as_ref());

        self.set("lock_timeout", LOCK_TIMEOUT).await?;
        let action = "list tablespaces";
        let rows = self.rows(action, "SELECT oid::text, spcname::text FROM pg_tablespace", &[]);
        for row in self.in_time(action, Some(SLOW), rows).await? {
            let oid: &str = self.get(action, &row, 0)?;
            if let Some(oid) = Oid::parse(oid) {
                settings.tablespaces.insert(oid, self.get(action, &row, 1)?);
            }
        }
        settings.tablespace_locations = self.tablespace_locations().await;
        settings.cluster_size = self.cluster_size().await;
        self.set("lock_timeout", "0").await?;
        Ok(settings)
    }

    /// Where tablespaces lie outside of the data directory; none when one of them cannot be found, as while it is dropped.
    async fn tablespace_locations(&self) -> BTreeMap<Oid, String> {
        let action = "find tablespaces";
        let sql = "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace";
        let located = async {
            let mut locations = BTreeMap::new();
            for row in self.in_time(action, Some(SLOW), self.rows(action, sql, &[])).await? {
                let (oid, location): (&str, String) =
                    (self.get(action, &row, 0)?, self.get(action, &row, 1)?);
                if let Some(oid) = Oid::parse(oid).filter(|_| location.starts_with('/')) {
                    locations.insert(oid, location);
                }
            }
            Ok::<_, Error>(locations)
        };
        located.await.unwrap_or_else(|error| {
            tracing::warn!("the places of tablespaces are not in the description of the backup: {error}");
            BTreeMap::new()
        })
    }

    /// Bytes of all tablespaces; `None` when the user may not ask.
    async fn cluster_size(&self) -> Option<u64> {
        let action = "read the size of the cluster";
        let sql = "SELECT sum(pg_tablespace_size(oid))::bigint FROM pg_tablespace";
        let row = self.in_time(action, Some(SLOW), self.row(action, sql, &[])).await;
        let size = row.and_then(|row| self.get::<Option<i64>>(action, &row, 0));
        match size {
            Ok(size) => size.and_then(|bytes| u64::try_from(bytes).ok()),
            Err(error) => {
                tracing::debug!("{error}");
                None
            }
        }
    }
}
