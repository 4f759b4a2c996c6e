//! Backups of a running server that are killed: at steps on a directory, at requests on S3.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::dice::Dice;
use crate::kill;
use crate::support::{Barman, Bucket, Cluster, Gate, Moment, Postgres, Scratch, Tool, run};

/// How long a request may be waited for that comes in every run.
const LIMIT: Duration = Duration::from_secs(60);

/// Requests at which a backup is killed in an ordinary run of the tests.
const REQUESTS: u64 = 4;

/// A way to take backups of a server, and to read them.
pub struct Taker<'a> {
    pub scratch: &'a Scratch,
    pub take: &'a dyn Fn() -> Command,
    /// The names of those that are complete.
    pub complete: &'a dyn Fn() -> Vec<String>,
    /// Restores one into a directory.
    pub restore: &'a dyn Fn(&str, &Path),
    /// Removes all that is stored.
    pub clear: &'a dyn Fn(),
    /// How they are named.
    pub names: Names,
}

/// Who names backups, and so what one after a kill adds.
#[derive(Clone, Copy)]
pub enum Names {
    /// They themselves, by time or place: it is another one.
    OfTheirOwn,
    /// Barman, which has the one backup: it is the same.
    Given,
}

impl Taker<'_> {
    /// Every backup that counts as complete can be restored.
    fn complete_are_whole(&self, context: &str) -> usize {
        let complete = (self.complete)();
        for name in &complete {
            let target = self.scratch.absent("restored");
            (self.restore)(name, &target);
            for needed in ["global/pg_control", "backup_label", "PG_VERSION", "base/1/PG_VERSION"] {
                assert!(target.join(needed).exists(), "{name} has no {needed}; {context}");
            }
            fs::remove_dir_all(target).unwrap();
        }
        complete.len()
    }

    /// After a kill.
    fn survives(&self, context: &str) {
        let killed = self.complete_are_whole(context);
        run(&mut (self.take)()).success();
        let now = self.complete_are_whole(context);
        let expected = match self.names {
            Names::OfTheirOwn => killed + 1,
            Names::Given => 1,
        };
        assert_eq!(now, expected, "{context}");
    }

    /// Killed at requests of an S3 service behind a gate.
    pub fn survives_requests(&self, gate: &Gate) {
        let seed = kill::seed();
        let mut dice = Dice::from_seed(seed);
        gate.take_passed();
        run(&mut (self.take)()).success();
        let requests = gate.take_passed();
        let count = u64::try_from(requests.len()).unwrap();
        let chosen: Vec<u64> = match kill::steps_wanted() {
            None => (1..=count).collect(),
            Some(_) => {
                // The last ones are the documents and the marker.
                let others = (0..REQUESTS - 2).map(|_| 1 + dice.below(count - 2)).collect::<Vec<_>>();
                [others, vec![count - 1, count]].concat()
            }
        };
        for number in chosen {
            let moment = dice.one(&[Moment::Before, Moment::After]);
            (self.clear)();
            let context = format!("killed {moment:?} request {number} of {count}, SEAWALL_CRASH_SEED={seed}");
            let reached = gate.stop_at(usize::try_from(number).unwrap(), moment);
            let mut child = quiet(&mut (self.take)());
            // Parts go up in any order and number, so the last requests may not come.
            let was_reached = (0..LIMIT.as_millis() / 10).any(|_| {
                reached.recv_timeout(Duration::from_millis(10)).is_ok() || child.try_wait().unwrap().is_some()
            });
            assert!(was_reached, "{context}");
            child.kill().unwrap();
            child.wait().unwrap();
            gate.go_on();
            self.survives(&context);
        }
    }

    /// Killed at random moments.
    pub fn survives_moments(&self, times: u64) {
        let seed = kill::seed();
        let mut dice = Dice::from_seed(seed);
        let begin = std::time::Instant::now();
        run(&mut (self.take)()).success();
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap();
        for _ in 0..times {
            let moment = Duration::from_nanos(dice.below(nanos));
            (self.clear)();
            let mut child = quiet(&mut (self.take)());
            std::thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
            self.survives(&format!("killed after {moment:?}, SEAWALL_CRASH_SEED={seed}"));
        }
    }
}

fn quiet(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A started server that archives nothing, with 23 MB of data.
pub fn server<'a>(scratch: &'a Scratch, postgres: &Postgres) -> Cluster<'a> {
    Cluster::running(scratch, postgres, "source", &[])
}

/// wal-g's way.
pub fn walg_command(scratch: &Scratch, cluster: &Cluster<'_>, tool: &Tool, more: &[&str]) -> Command {
    let mut command =
        tool.command(scratch, [&["backup-push", cluster.data().to_str().unwrap()], more].concat());
    command.envs(cluster.libpq_env());
    command
}

pub fn walg_restore(scratch: &Scratch, tool: &Tool, name: &str, target: &Path) {
    tool.run(scratch, ["backup-fetch", target.to_str().unwrap(), name]).success();
}

/// barman's way; `place` is URL and server, with flags before.
pub fn barman_command(scratch: &Scratch, cluster: &Cluster<'_>, barman: &Barman, place: &[&str]) -> Command {
    let env = cluster.libpq_env();
    let mut command = barman.tool("backup").command(scratch, place);
    command.env("PGHOST", &env["PGHOST"]).env("PGPORT", &env["PGPORT"]).env("PGUSER", &env["PGUSER"]);
    command
}

/// The ids of barman's backups that say DONE.
pub fn barman_done(bucket: &Bucket) -> Vec<String> {
    let done = bucket.keys().into_iter().filter_map(|key| {
        let folder = key.strip_suffix("/backup.info")?.to_owned();
        let info = String::from_utf8(bucket.get(&key)).unwrap();
        info.contains("status=DONE").then(|| folder.rsplit('/').next().unwrap().to_owned())
    });
    done.collect()
}

pub fn clear(bucket: &Bucket) {
    for key in bucket.keys() {
        bucket.delete(&key);
    }
}
