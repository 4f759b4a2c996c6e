//! CloudNativePG as far as it runs barman-cloud's commands: the command lines it builds from an object store's resource, in
//! its order of arguments, and what its instance manager does as `archive_command` and `restore_command`.
//!
//! Source: `pkg/{archiver,restorer,command,catalog,backup}` of cloudnative-pg/barman-cloud and
//! `internal/management/{external,postgres}` of cloudnative-pg.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Barman, Bucket, Cluster, Run, Scratch, run};

/// Who builds the command lines. Only that of a restore differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// `barmanObjectStore` of a Cluster.
    InTree,
    /// The plugin barman-cloud.
    Plugin,
}

/// An object store as its resource describes it, and the commands to use it with.
#[derive(Clone)]
pub struct ObjectStore<'a> {
    pub scratch: &'a Scratch,
    pub barman: Barman,
    pub variant: Variant,
    /// `endpointURL`
    pub endpoint: Option<String>,
    /// `destinationPath`
    pub destination: String,
    /// `wal.compression`
    pub wal_compression: Option<&'static str>,
    /// `wal.maxParallel`
    pub max_parallel: usize,
    /// `wal.archiveAdditionalCommandArgs`
    pub archive_args: Vec<&'static str>,
    /// `wal.restoreAdditionalCommandArgs`
    pub wal_restore_args: Vec<&'static str>,
    /// `data.compression`
    pub data_compression: Option<&'static str>,
    /// `data.jobs`
    pub jobs: Option<u32>,
    /// `data.additionalCommandArgs`
    pub backup_args: Vec<&'static str>,
    /// `data.restoreAdditionalCommandArgs`
    pub restore_args: Vec<&'static str>,
    /// `tags`, as `key,value`
    pub tags: Vec<&'static str>,
    /// `historyTags`
    pub history_tags: Vec<&'static str>,
}

impl<'a> ObjectStore<'a> {
    /// The repository of a bucket, with nothing but what has to be set.
    pub fn new(scratch: &'a Scratch, barman: &Barman, bucket: &Bucket, variant: Variant) -> Self {
        ObjectStore {
            scratch,
            barman: barman.clone().for_bucket(bucket),
            variant,
            endpoint: Some(bucket.setting("AWS_ENDPOINT").to_owned()),
            destination: bucket.setting("WALG_S3_PREFIX").to_owned(),
            wal_compression: None,
            max_parallel: 1,
            archive_args: Vec::new(),
            wal_restore_args: Vec::new(),
            data_compression: None,
            jobs: None,
            backup_args: Vec::new(),
            restore_args: Vec::new(),
            tags: Vec::new(),
            history_tags: Vec::new(),
        }
    }

    pub fn check_wal_archive(&self, server: &str) -> Run {
        self.barman.run(self.scratch, "check-wal-archive", self.check_wal_archive_line(server))
    }

    fn check_wal_archive_line(&self, server: &str) -> Vec<String> {
        Line::default().store(self).add([&self.destination, server]).0
    }

    /// One file; the instance manager's working directory is the data directory.
    pub fn wal_archive(&self, directory: &Path, server: &str, path: &str) -> Run {
        self.run_in(directory, "wal-archive", Line(self.wal_archive_line(server)).add([path]))
    }

    /// Without the file.
    fn wal_archive_line(&self, server: &str) -> Vec<String> {
        let mut line = Line::default().flag(self.wal_compression).add(&self.archive_args);
        line = line.endpoint(self);
        if !self.tags.is_empty() {
            line = line.add(["--tags"]).add(&self.tags);
        }
        if !self.history_tags.is_empty() {
            line = line.add(["--history-tags"]).add(&self.history_tags);
        }
        line.provider().add([&self.destination, server]).0
    }

    pub fn wal_restore(&self, directory: &Path, server: &str, name: &str, destination: &str) -> Run {
        self.run_in(directory, "wal-restore", Line(self.wal_restore_line(server)).add([name, destination]))
    }

    /// Without the name and the destination.
    fn wal_restore_line(&self, server: &str) -> Vec<String> {
        Line::default().store(self).add([&self.destination, server]).add(&self.wal_restore_args).0
    }

    pub fn backup(&self, cluster: &Cluster<'_>, server: &str, name: &str) -> Run {
        run(self.backup_command(cluster, server, name).current_dir(cluster.data()))
    }

    /// A backup as the user of the instance, who is `postgres` for the server by `pg_ident.conf`.
    pub fn backup_command(&self, cluster: &Cluster<'_>, server: &str, name: &str) -> Command {
        let mut line =
            Line::default().add(["--user", "postgres", "--name", name]).flag(self.data_compression);
        line = line.add(["--immediate-checkpoint"]);
        if let Some(jobs) = self.jobs {
            line = line.add(["--jobs", &jobs.to_string()]);
        }
        line = line.add(&self.backup_args);
        if !self.tags.is_empty() {
            line = line.add(["--tags"]).add(&self.tags);
        }
        let line = line.store(self).add([&self.destination, server]).0;
        let mut command = self.barman.tool("backup").command(self.scratch, line);
        for name in ["PGHOST", "PGPORT"] {
            command.env(name, &cluster.libpq_env()[name]);
        }
        command.env("PGDATA", cluster.data()).env("TMPDIR", self.scratch.path());
        command
    }

    /// What the operator writes into the status of a Backup.
    pub fn show(&self, server: &str, name: &str) -> Value {
        serde_json::from_str(&self.try_show(server, name).success().stdout).unwrap()
    }

    pub fn try_show(&self, server: &str, name: &str) -> Run {
        let line =
            Line::default().add(["--format", "json"]).store(self).add([&self.destination, server, name]).0;
        self.barman.run(self.scratch, "backup-show", line)
    }

    pub fn list(&self, server: &str) -> Run {
        let line = Line::default().add(["--format", "json"]).store(self).add([&self.destination, server]).0;
        self.barman.run(self.scratch, "backup-list", line)
    }

    /// The backups of a server, oldest first.
    pub fn catalog(&self, server: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.list(server).success().stdout).unwrap();
        list["backups_list"].as_array().unwrap().clone()
    }

    /// `policy` such as `RECOVERY WINDOW OF 7 DAYS`.
    pub fn delete_by_policy(&self, server: &str, policy: &str) -> Run {
        let line =
            Line::default().store(self).add(["--retention-policy", policy, &self.destination, server]).0;
        self.barman.run(self.scratch, "backup-delete", line)
    }

    /// Restores into the data directory of a cluster that was not there yet.
    pub fn restore(&self, server: &str, id: &str, data: &Path) -> Run {
        let data = data.to_str().unwrap();
        let place = [&self.destination, server, id];
        let line = match self.variant {
            Variant::InTree => Line::default().endpoint(self).add(place).provider().add(&self.restore_args),
            Variant::Plugin => Line::default().provider().endpoint(self).add(&self.restore_args).add(place),
        };
        self.barman.run(self.scratch, "restore", line.add([data]).0)
    }

    /// A command about a server name, as a person types it.
    pub fn run(&self, command: &str, server: &str, more: &[&str]) -> Run {
        let line = Line::default().store(self).add([&self.destination, server]).add(more).0;
        self.barman.run(self.scratch, command, line)
    }

    fn run_in(&self, directory: &Path, command: &str, line: Line) -> Run {
        run(self.barman.tool(command).command(self.scratch, line.0).current_dir(directory))
    }

    /// Lets a cluster archive as the instance manager does, from its next start on; from now on, if it did before.
    ///
    /// The manager archives up to `max_parallel` files that are ready at once, and remembers those that PostgreSQL did not
    /// ask for yet by empty files in its spool. With a file `.check-empty-wal-archive` in the data directory it wants an
    /// empty archive for the first file; while there is a file `hold`, it waits.
    pub fn archive_by_manager(&self, cluster: &mut Cluster<'_>, server: &str) {
        let script = format!(
            r#"
while [ -e hold ]; do sleep 0.05; done
name=${{1##*/}}
if [ -e "$SPOOL/$name" ]; then exec rm "$SPOOL/$name"; fi
if [ -e .check-empty-wal-archive ]; then {check} || exit 1; fi
count=1
for ready in pg_wal/archive_status/*.ready; do
    other=${{ready##*/}}
    other=${{other%.ready}}
    if [ $count -ge {parallel} ] || [ "$other" = "$name" ] || [ -e "$SPOOL/$other" ] || [ ! -e "$ready" ]; then continue; fi
    count=$((count + 1))
    {{ {archive} "$PWD/pg_wal/$other" && touch "$SPOOL/$other"; }} &
done
echo "manager: $count at once" >&2
{archive} "$1"
code=$?
wait
[ $code != 0 ] || rm -f .check-empty-wal-archive
exit $code
"#,
            check = quoted("check-wal-archive", &self.check_wal_archive_line(server)),
            archive = quoted("wal-archive", &self.wal_archive_line(server)),
            parallel = self.max_parallel,
        );
        let manager = self.manager(cluster, "wal-archive", &script);
        cluster.configure("archive_mode", "on");
        cluster.configure("archive_command", &format!("{manager} %p"));
    }

    /// Lets a cluster fetch WAL as the instance manager does, from its next start on.
    ///
    /// The manager fetches the segments that follow at the same time into its spool. When one of those is missing it
    /// remembers that the archive ends there, and says so without asking when the spool has been used up.
    pub fn restore_by_manager(&self, cluster: &mut Cluster<'_>, server: &str) {
        let script = format!(
            r#"
if [ -e "$SPOOL/$1" ]; then exec mv "$SPOOL/$1" "$2"; fi
case $1 in *.*) exec {restore} "$1" "$2" ;; esac
if [ -e "$SPOOL/end-of-wal-stream" ]; then
    rm "$SPOOL/end-of-wal-stream"
    exit 1
fi
timeline=$(printf %.8s "$1")
segment=${{1#????????????????}}
log=${{1#????????}}
log=${{log%????????}}
log=$((0x$log))
segment=$((0x$segment))
count=1
while [ $count -lt {parallel} ]; do
    count=$((count + 1))
    segment=$((segment + 1))
    if [ $segment = 256 ]; then log=$((log + 1)) segment=0; fi
    next=$(printf %s%08X%08X "$timeline" $log $segment)
    {{
        {restore} "$next" "$SPOOL/$next.tmp"
        case $? in
            0) mv "$SPOOL/$next.tmp" "$SPOOL/$next" ;;
            1) touch "$SPOOL/end-of-wal-stream" ;;
        esac
    }} &
done
{restore} "$1" "$2"
code=$?
wait
exit $code
"#,
            restore = quoted("wal-restore", &self.wal_restore_line(server)),
            parallel = self.max_parallel,
        );
        let manager = self.manager(cluster, "wal-restore", &script);
        cluster.configure("restore_command", &format!("{manager} %f %p"));
        cluster.configure("recovery_target_timeline", "latest");
        cluster.configure("wal_retrieve_retry_interval", "200ms");
    }

    /// Writes the manager's script for a cluster, with a spool of its own; returns its path.
    fn manager(&self, cluster: &mut Cluster<'_>, command: &str, script: &str) -> String {
        let name = format!("{}.{command}", cluster.data().file_name().unwrap().to_str().unwrap());
        let spool = self.scratch.absent(&format!("{name}.spool"));
        if !spool.exists() {
            fs::create_dir(&spool).unwrap();
            self.scratch.own(&spool);
        }
        let head = format!(
            "#!/bin/sh\nPATH='{}':$PATH\nSPOOL='{}'",
            self.barman.directory().display(),
            spool.display()
        );
        let path: PathBuf = self.scratch.file(&name, &format!("{head}{script}"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        cluster.set_env(self.barman.env());
        path.to_str().unwrap().to_owned()
    }
}

/// A command line under construction.
#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn add<T: AsRef<str>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    fn flag(self, name: Option<&str>) -> Self {
        self.add(name.map(|name| format!("--{name}")))
    }

    fn endpoint(self, store: &ObjectStore<'_>) -> Self {
        match &store.endpoint {
            Some(url) => self.add(["--endpoint-url", url]),
            None => self,
        }
    }

    fn provider(self) -> Self {
        self.add(["--cloud-provider", "aws-s3"])
    }

    fn store(self, store: &ObjectStore<'_>) -> Self {
        self.endpoint(store).provider()
    }
}

/// A command by its bare name with its arguments, for a shell.
fn quoted(command: &str, arguments: &[String]) -> String {
    let mut line = format!("barman-cloud-{command}");
    for argument in arguments {
        write!(line, " '{argument}'").unwrap();
    }
    line
}
