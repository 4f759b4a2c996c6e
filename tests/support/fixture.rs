//! The repositories in `tests/fixtures/wal-g`, written by the real wal-g; their README says what is in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::scratch::Scratch;

/// One repository with its settings, copied into a scratch directory.
pub struct Fixture {
    storage: PathBuf,
    env: Vec<(String, String)>,
    /// In the order in which they were made.
    pub points: Vec<RestorePoint>,
    /// Oldest first.
    pub backups: Vec<FixtureBackup>,
}

/// A moment to restore to, and what the table `ledger` held then.
#[derive(Clone, Debug, Deserialize)]
pub struct RestorePoint {
    pub restore_point: String,
    pub time: String,
    pub lsn: String,
    pub rows: u64,
    /// `md5(string_agg(id||note, ',' order by id))`
    pub md5: String,
}

/// What a sentinel says of a backup.
#[derive(Clone, Debug)]
pub struct FixtureBackup {
    pub name: String,
    pub finish_lsn: u64,
    /// The `Spec` field: where the data directory and its tablespaces were.
    spec: Option<Value>,
}

impl Fixture {
    pub fn open(scratch: &Scratch, name: &str) -> Self {
        let origin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wal-g").join(name);
        let read = |file: &str| fs::read_to_string(origin.join(file)).unwrap();
        let env = Self::settings_of(name);
        let points = read("states.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let storage = scratch.copy(&origin.join("storage"), &format!("{name}.storage"));
        Self { env, points, backups: backups(&storage), storage }
    }

    /// The settings that wrote one, but for its place.
    pub fn settings_of(name: &str) -> Vec<(String, String)> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wal-g").join(name).join("env");
        let text = fs::read_to_string(file).unwrap();
        let settings = text.lines().map(|line| line.split_once('=').unwrap());
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The same restore points in a copy of the repository, with the settings to read it.
    pub fn copied_to(&self, storage: &Path, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { env, points: self.points.clone(), backups: backups(storage), storage: storage.to_owned() }
    }

    /// A configuration file with [`Fixture::env`].
    pub fn config(&self, scratch: &Scratch, name: &str) -> PathBuf {
        let settings: serde_json::Map<_, _> =
            self.env().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        scratch.file(name, &Value::Object(settings).to_string())
    }

    /// The settings that wrote it, and where it is now.
    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        let place = std::iter::once(("WALG_FILE_PREFIX", self.storage.to_str().unwrap()));
        self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(place)
    }

    /// The newest backup that had ended at a restore point.
    pub fn backup_before(&self, point: &RestorePoint) -> Option<&FixtureBackup> {
        let lsn = parse_lsn(&point.lsn);
        self.backups.iter().rev().find(|backup| backup.finish_lsn <= lsn)
    }
}

impl FixtureBackup {
    /// What `--restore-spec` takes to restore into another place; `None` when the cluster had no tablespaces.
    pub fn spec_moved_to(&self, data: &str, tablespaces: &str) -> Option<Value> {
        let mut moved = self.spec.clone()?;
        moved["base_prefix"] = json!(data);
        for oid in moved["tablespaces"].as_array().unwrap().clone() {
            let oid = oid.as_str().unwrap();
            moved[oid]["loc"] = json!(format!("{tablespaces}/{oid}"));
        }
        Some(moved)
    }
}

fn backups(storage: &Path) -> Vec<FixtureBackup> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Sentinel {
        #[serde(rename = "FinishLSN")]
        finish_lsn: u64,
        spec: Option<Value>,
    }
    let mut backups = Vec::new();
    for entry in fs::read_dir(storage.join("basebackups_005")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        if let Some(name) = file.strip_suffix("_backup_stop_sentinel.json") {
            let Sentinel { finish_lsn, spec } = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            backups.push(FixtureBackup { name: name.to_owned(), finish_lsn, spec });
        }
    }
    backups.sort_by_key(|backup| backup.finish_lsn);
    backups
}

fn parse_lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    (u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap()
}
