//! A backup in the directory of a barman server, with what barman tells its hook script of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::scratch::Scratch;

/// One that barman has finished.
pub struct ServerBackup {
    /// With `data` and a directory for each tablespace, by its OID.
    pub directory: PathBuf,
    /// Its `backup.info`.
    pub info: PathBuf,
}

impl ServerBackup {
    /// What barman names it.
    pub const ID: &str = "20261121T031421";

    /// Where barman puts it.
    pub fn place(scratch: &Scratch) -> PathBuf {
        scratch.dir("base").join(Self::ID)
    }

    /// As it may have been before barman-cloud stored it: the fixture with a tablespace.
    pub fn of_fixture(scratch: &Scratch) -> Self {
        let directory = Self::place(scratch);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/barman-cloud");
        let stored = fixtures.join("plain-tablespace/storage/pfx/srv/base/20261121T031643");
        for tar in ["data", "16384"] {
            let place = directory.join(tar);
            fs::create_dir_all(&place).unwrap();
            let file = fs::File::open(stored.join(format!("{tar}.tar"))).unwrap();
            tar::Archive::new(file).unpack(place).unwrap();
        }
        scratch.own(&directory);
        Self { info: scratch.copy(&stored.join("backup.info"), "backup.info"), directory }
    }

    /// The environment of the hook script.
    pub fn hook(&self) -> [(&'static str, &str); 6] {
        [
            ("BARMAN_HOOK", "backup_retry_script"),
            ("BARMAN_PHASE", "post"),
            ("BARMAN_STATUS", "DONE"),
            ("BARMAN_BACKUP_DIR", self.directory.to_str().unwrap()),
            ("BARMAN_BACKUP_ID", Self::ID),
            ("BARMAN_BACKUP_INFO_PATH", self.info.to_str().unwrap()),
        ]
    }
}
