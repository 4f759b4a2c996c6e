//! What most end-to-end tests begin with: PostgreSQL 15, a scratch directory, and a repository in it.

use super::available::Missing;
use super::bucket::Bucket;
use super::cluster::{Cluster, Postgres};
use super::scratch::Scratch;
use super::tool::Tool;

/// A place for the clusters of one test, with a repository for their backups and WAL.
pub struct Site {
    pub postgres: Postgres,
    pub bucket: Bucket,
    /// seawall with the settings for the repository.
    pub seawall: Tool,
    // Last: it is removed when nothing uses it any more.
    pub scratch: Scratch,
}

impl Site {
    pub fn new() -> Result<Self, Missing> {
        let postgres = Postgres::version(15)?;
        let scratch = Scratch::new();
        let (bucket, seawall) = repository(&scratch);
        Ok(Self { postgres, bucket, seawall, scratch })
    }

    /// A started primary that archives into the repository.
    pub fn primary(&self, initdb_args: &[&str]) -> Cluster<'_> {
        let mut source = Cluster::create(&self.scratch, &self.postgres, "source", initdb_args);
        source.archive_with(&self.seawall);
        source.start();
        source
    }

    /// The latest backup, not started.
    pub fn restore(&self, name: &str) -> Cluster<'_> {
        let restored = Cluster::restored(&self.scratch, &self.postgres, name);
        let data = restored.data().to_str().unwrap();
        self.seawall.run(&self.scratch, ["backup-fetch", data, "LATEST"]).success();
        restored
    }
}

/// A repository in a directory, and seawall with the settings for it.
pub fn repository(scratch: &Scratch) -> (Bucket, Tool) {
    let bucket = Bucket::directory(scratch, "storage");
    let seawall = Tool::seawall(scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", "lz4");
    (bucket, seawall)
}
