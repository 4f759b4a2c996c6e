//! Marking and deleting in a bucket that `backup-push` filled from a live server, and recovering from what is left: what
//! wal-g's own integration scripts `backup_mark_*` and `delete_*` do.

use serde_json::Value;

use crate::require;
use crate::support::{Bucket, Cluster, Postgres, Run, Scratch, Tool};

/// Full backups and a delta on each.
struct Chains<'a> {
    scratch: &'a Scratch,
    tool: Tool,
    /// Names, oldest first: full, delta, full, delta …
    taken: Vec<String>,
    /// What the table held at the end of each backup.
    rows: Vec<String>,
    /// The server's time after each backup, in whole seconds, as `delete` takes it.
    times: Vec<String>,
}

impl Chains<'_> {
    fn delete(&self, words: &str) -> Run {
        self.tool.run(self.scratch, ["delete"].into_iter().chain(words.split(' ')))
    }

    /// The places in `taken` of the backups that a dry run would delete.
    #[track_caller]
    fn planned(&self, words: &str) -> Vec<usize> {
        let plan = self.delete(words).success();
        assert_eq!(plan.stdout, "", "{plan}");
        let gone: Vec<usize> = (0..self.taken.len())
            .filter(|at| plan.stderr.contains(&format!("delete backup {}\n", self.taken[*at])))
            .collect();
        assert!(gone.is_empty() || !plan.stderr.contains("No backup found for deletion"), "{plan}");
        gone
    }

    fn list(&self) -> Vec<Value> {
        let list = self.tool.run(self.scratch, ["backup-list", "--detail", "--json"]).success().stdout;
        serde_json::from_str(&list).unwrap()
    }

    #[track_caller]
    fn left(&self, expected: &[usize]) {
        let left: Vec<String> =
            self.list().iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect();
        let expected: Vec<String> = expected.iter().map(|at| self.taken[*at].clone()).collect();
        assert_eq!(left, expected);
    }

    fn mark(&self, flags: &[&str], at: usize) -> Run {
        let words = ["backup-mark"].iter().chain(flags).copied();
        self.tool.run(self.scratch, words.chain([self.taken[at].as_str()]))
    }

    fn permanent(&self) -> Vec<bool> {
        self.list().iter().map(|backup| backup["is_permanent"].as_bool().unwrap()).collect()
    }

    /// Restores one of the backups and recovers no further than it is consistent; what the table holds then.
    fn restored(&self, postgres: &Postgres, at: usize, target: &str) -> String {
        let mut restored = Cluster::restored(self.scratch, postgres, &format!("restored-{at}-{target}"));
        let data = restored.data().to_str().unwrap().to_owned();
        self.tool.run(self.scratch, ["backup-fetch", &data, &self.taken[at]]).success();
        restored.recover_with(&self.tool);
        restored.configure("recovery_target", target);
        restored.configure("recovery_target_action", "promote");
        restored.start();
        restored.wait_until("SELECT pg_is_in_recovery()", "f");
        restored.amcheck();
        table(&restored)
    }
}

fn table(cluster: &Cluster<'_>) -> String {
    cluster.sql("SELECT count(*), sum(id) FROM ledger")
}

#[test]
fn chains_are_marked_deleted_and_restored() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let tool = Tool::seawall(&scratch).with_all(bucket.env()).with("WALG_DELTA_MAX_STEPS", "1");
    let mut source = Cluster::create(&scratch, &postgres, "source", &[]);
    source.archive_with(&tool);
    source.start();
    source.sql("CREATE TABLE ledger AS SELECT generate_series(1, 20000) id");
    let mut chains = Chains { scratch: &scratch, tool, taken: vec![], rows: vec![], times: vec![] };
    for at in 1..=6 {
        source.sql(&format!("INSERT INTO ledger VALUES ({at})"));
        source.push_backup(&chains.tool);
        chains.rows.push(table(&source));
        // A backup's time in the list is in whole seconds.
        source.sql("SELECT pg_sleep(1.1)");
        let time = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
        chains.times.push(source.sql(time));
    }
    source.sql("INSERT INTO ledger VALUES (7)");
    source.switch_wal();
    let latest = table(&source);
    source.stop();
    chains.taken =
        chains.list().iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect();
    let deltas: Vec<bool> = chains.taken.iter().map(|name| name.contains("_D_")).collect();
    assert_eq!(deltas, [false, true, false, true, false, true]);

    // Without --confirm the plan is told, and nothing happens.
    let before = bucket.keys();
    let (name, time) = (|at: usize| &chains.taken[at], |at: usize| &chains.times[at]);
    for (words, gone) in [
        ("retain FULL 1".to_owned(), &[0, 1, 2, 3][..]),
        ("retain FIND_FULL 3".to_owned(), &[0, 1]),
        ("retain 2".to_owned(), &[0, 1, 2, 3]),
        (format!("retain 2 --after {}", time(1)), &[0, 1]),
        (format!("before {}", name(2)), &[0, 1]),
        (format!("before FIND_FULL {}", name(3)), &[0, 1]),
        (format!("before FIND_FULL {}", time(2)), &[0, 1]),
        (format!("before {}", time(3)), &[0, 1, 2, 3]),
        (format!("target {}", name(2)), &[2, 3]),
        (format!("target {}", name(3)), &[3]),
        (format!("target FIND_FULL {}", name(3)), &[2, 3]),
        ("retain FULL 3".to_owned(), &[]),
    ] {
        assert_eq!(chains.planned(&words), gone, "{words}");
    }
    for (words, why) in [("retain 3".to_owned(), "FIND_FULL"), (format!("before {}", name(1)), "FIND_FULL")] {
        chains.delete(&words).fails(1).stderr_has(why);
    }
    assert_eq!(bucket.keys(), before);

    // What is permanent stays, with what it builds on and the WAL from its start to its finish.
    chains.mark(&[], 1).success();
    assert_eq!(chains.permanent(), [true, true, false, false, false, false]);
    chains.mark(&[], 1).success();
    chains.mark(&["-i"], 0).fails(1).stderr_has(&chains.taken[1]);
    chains.delete("retain FULL 1 --confirm").success();
    chains.left(&[0, 1, 4, 5]);
    chains.delete("garbage --confirm").success();
    chains.left(&[0, 1, 4, 5]);
    chains.delete(&format!("target {} --confirm", chains.taken[0])).fails(1).stderr_has("permanent");
    chains.delete("everything --confirm").fails(1).stderr_has("permanent");
    let wal: Vec<String> = bucket.keys().into_iter().filter(|key| key.starts_with("wal_005/")).collect();
    let between = chains.taken[3].split('_').nth(1).unwrap();
    assert!(!wal.iter().any(|key| key.contains(&format!("/{between}."))), "{between} in {wal:?}");
    for at in [0, 1] {
        assert_eq!(chains.restored(&postgres, at, "immediate"), chains.rows[at]);
    }
    assert_eq!(chains.restored(&postgres, 5, ""), latest);

    // No longer permanent, it goes.
    for at in [1, 0] {
        chains.mark(&["-i"], at).success();
    }
    let rule = format!("before FIND_FULL {} --confirm", chains.taken[5]);
    chains.delete(&rule).success();
    chains.left(&[4, 5]);
    chains.delete(&rule).success().stderr_has("No objects matched the deletion criteria");
    chains.delete("everything --confirm").success();
    assert_eq!(bucket.keys(), [""; 0]);
    let none = chains.tool.run(&scratch, ["backup-list"]).success().stderr_has("No backups found");
    assert_eq!(none.stdout, "");
}
