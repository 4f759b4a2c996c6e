//! SQL that changes a cluster in every way that matters to a delta backup.

use std::path::PathBuf;

use super::dice::Dice;
use super::support::{Cluster, Postgres, Run, Scratch, run};

/// Tables that a statement may name, whether they exist or not.
const TABLES: u64 = 8;

/// A source of statements. Those that fail, because what they name is not there or is locked, have no effect and do
/// not matter.
pub struct Load<'a> {
    scratch: &'a Scratch,
    psql: PathBuf,
    major: u32,
    scripts: u32,
}

impl<'a> Load<'a> {
    /// Makes the tablespace `space` and the first tables.
    pub fn begin(scratch: &'a Scratch, cluster: &Cluster<'_>, postgres: &Postgres) -> Self {
        let space = scratch.dir("space");
        cluster.sql(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display()));
        let psql = postgres.client_program("psql");
        let load = Load { scratch, psql, major: postgres.major(), scripts: 0 };
        for table in 0..TABLES / 2 {
            cluster.sql(&create(&format!("t{table}"), "", 400 * (table + 1)));
            cluster.sql(&format!("CREATE INDEX ON t{table} (k)"));
        }
        load
    }

    /// Runs statements to their end.
    pub fn run(&mut self, cluster: &Cluster<'_>, dice: &mut Dice, statements: u64) {
        let script = self.script(dice, statements);
        run(cluster.client("psql").args(["-X", "-q", "-f"]).arg(script)).success();
    }

    /// Writes statements into a file.
    pub fn script(&mut self, dice: &mut Dice, statements: u64) -> PathBuf {
        let mut text = "SET lock_timeout = '1s';\nSET client_min_messages = 'error';\n".to_owned();
        for _ in 0..statements {
            text += &self.statement(dice);
            text += ";\n";
        }
        self.scripts += 1;
        self.scratch.file(&format!("load-{}.sql", self.scripts), &text)
    }

    fn statement(&self, dice: &mut Dice) -> String {
        let table = format!("t{}", dice.below(TABLES));
        let rows = 1 + dice.below(1500);
        let part = 2 + dice.below(30);
        match dice.below(34) {
            0..=4 => format!(
                "INSERT INTO {table} (k, note, body) SELECT i, md5(i::text), repeat(md5(random()::text), 1 + i % 40) FROM \
                 generate_series(1, {rows}) i"
            ),
            5 | 6 => format!("UPDATE {table} SET note = md5(note), k = k + 1 WHERE id % {part} = 0"),
            7 => format!("DELETE FROM {table} WHERE id % {part} = 1"),
            8 => format!(
                "DELETE FROM {table} WHERE id > (SELECT max(id) * 2 / 3 FROM {table}); VACUUM {table}"
            ),
            9 => format!("VACUUM {table}"),
            10 => format!("VACUUM FULL {table}"),
            11 => format!("TRUNCATE {table}"),
            12 => format!("DROP TABLE {table}"),
            13 => create(&table, "", rows),
            14 => create(&table, "UNLOGGED", rows),
            15 => format!("{}; ALTER TABLE {table} SET TABLESPACE space", create(&table, "", rows)),
            16 => format!("ALTER TABLE {table} SET TABLESPACE {}", dice.one(&["space", "pg_default"])),
            17 => format!("ALTER TABLE {table} SET {}", dice.one(&["LOGGED", "UNLOGGED"])),
            18 => format!(
                "CREATE INDEX ON {table} USING {}",
                dice.one(&[
                    "btree (k)",
                    "hash (k)",
                    "brin (k)",
                    "gin ((ARRAY[k]))",
                    "gist (point(k, k))",
                    "spgist (note)"
                ])
            ),
            19 => format!("REINDEX TABLE {table}"),
            20 => format!("CLUSTER {table} USING {table}_pkey"),
            21 => "CHECKPOINT".to_owned(),
            22 => "SELECT pg_switch_wal()".to_owned(),
            23 => format!("BEGIN; {}; DELETE FROM {table}; ROLLBACK", create("undone", "", rows)),
            24 => format!(
                "BEGIN; TRUNCATE {table}; INSERT INTO {table} (k) SELECT generate_series(1, {rows}); ROLLBACK"
            ),
            25 => format!(
                "BEGIN; INSERT INTO {table} (k) SELECT generate_series(1, {rows}); PREPARE TRANSACTION 'p'"
            ),
            26 => format!("BEGIN; DROP TABLE {table}; PREPARE TRANSACTION 'p'"),
            27 => format!("{} PREPARED 'p'", dice.one(&["COMMIT", "ROLLBACK"])),
            28 => format!("CREATE TEMP TABLE {table}_temp AS SELECT * FROM {table}"),
            29 => "DROP DATABASE d".to_owned(),
            30 | 31 => self.create_database(dice),
            32 => format!("SELECT count(*) FROM (SELECT * FROM {table} FOR SHARE) s"),
            _ => format!("SELECT pg_logical_emit_message(false, 'soak', repeat('x', {}))", 1000 * rows),
        }
    }

    /// From 15 on a database can be made again under the number of one that was dropped.
    fn create_database(&self, dice: &mut Dice) -> String {
        let template = dice.one(&["template1", "template0"]);
        let made = match self.major {
            13 | 14 => format!("CREATE DATABASE d TEMPLATE {template}"),
            _ => format!(
                "CREATE DATABASE d OID 50000 STRATEGY {} TEMPLATE {template}",
                dice.one(&["file_copy", "wal_log"])
            ),
        };
        let space = if dice.chance(3) { " TABLESPACE space" } else { "" };
        let again = if dice.chance(2) { "DROP DATABASE IF EXISTS d;\n" } else { "" };
        // Not by \connect, which ends the script when the database is not there.
        let inside = create("inside", "", 500).replace('\n', " ");
        format!("{again}{made}{space};\n\\! '{}' -X -q -d d -c \"{inside}\" 2>/dev/null", self.psql.display())
    }

    /// Ends what is open, so that the digest waits for nothing.
    pub fn settle(&self, cluster: &Cluster<'_>) {
        if cluster.sql("SELECT count(*) FROM pg_prepared_xacts") != "0" {
            cluster.sql("COMMIT PREPARED 'p'");
        }
    }

    /// What a reader of the cluster sees: each database with its permanent tables and their rows, by a checksum, and
    /// that unlogged tables can be read.
    pub fn digest(&self, cluster: &Cluster<'_>) -> Vec<String> {
        let databases = cluster.sql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname");
        let mut digest = Vec::new();
        for database in databases.lines() {
            let ask = |sql: &str| {
                let asked: Run = run(cluster.client("psql").args([
                    "-X",
                    "-q",
                    "-At",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-d",
                    database,
                    "-c",
                    sql,
                ]));
                asked.success().stdout
            };
            let tables = ask(
                "SELECT oid::regclass, relpersistence FROM pg_class WHERE relkind = 'r' AND relnamespace = \
                 'public'::regnamespace ORDER BY relname",
            );
            for (table, persistence) in tables.lines().filter_map(|line| line.split_once('|')) {
                let all =
                    format!("SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t");
                let rows = ask(&all);
                let seen = if persistence == "p" { rows.trim_end() } else { "unlogged" };
                digest.push(format!("{database} {table} {seen}"));
            }
        }
        digest
    }
}

fn create(table: &str, kind: &str, rows: u64) -> String {
    format!(
        "CREATE {kind} TABLE IF NOT EXISTS {table} AS SELECT i AS id, i AS k, md5(i::text) AS note, \
         repeat(md5(random()::text), 1 + i % 20) AS body FROM generate_series(1, {rows}) i; \
         ALTER TABLE {table} ADD PRIMARY KEY (id); CREATE SEQUENCE IF NOT EXISTS {table}_ids START {start}; \
         ALTER TABLE {table} ALTER id SET DEFAULT nextval('{table}_ids')",
        start = rows + 1
    )
}
