//! Layer `pg`'s reader of WAL and of WAL summaries against what servers of every version say themselves.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::Command;

use seawall::pg::data_dir::{Found, WalkRules, walk};
use seawall::pg::page::PageHeader;
use seawall::pg::wal::{SegmentChanges, WalError, WalReader, join};
use seawall::pg::wal_summary::{self, SummaryName};
use seawall::pg::{
    BlockMap, ControlFile, DatabasePlace, FileChanges, Lsn, Oid, RelationFile, RelationPlace, SegmentName,
    SegmentNumber, TimelineId,
};
use support::{Cluster, Postgres, Scratch, run};

/// What every kind of change to relations' files leaves in WAL. Prints `what|path` of relations made and gone.
const LOAD: &str = "
CREATE TABLE mixed (id int PRIMARY KEY, t text);
INSERT INTO mixed SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 20000) g;
UPDATE mixed SET t = upper(t) WHERE id % 7 = 0;
DELETE FROM mixed WHERE id % 5 = 0;
VACUUM mixed;
CREATE INDEX mixed_hash ON mixed USING hash (t);
CREATE INDEX mixed_gin ON mixed USING gin (to_tsvector('simple', left(t, 40)));
CREATE INDEX mixed_brin ON mixed USING brin (id);
CREATE INDEX mixed_gist ON mixed USING gist (point(id, id));
CREATE INDEX mixed_spgist ON mixed USING spgist (t);
INSERT INTO mixed SELECT g, repeat(md5(g::text), 20) FROM generate_series(20001, 25000) g;
CREATE SEQUENCE counter;
SELECT count(nextval('counter')) > 0 AND false AS ignored FROM generate_series(1, 100) \\gset

SELECT 'dropped', pg_relation_filepath('mixed');
VACUUM FULL mixed;
SELECT 'dropped', pg_relation_filepath('mixed_pkey');
REINDEX TABLE mixed;
SELECT 'dropped', pg_relation_filepath('mixed');
CLUSTER mixed USING mixed_pkey;

DELETE FROM before_5 WHERE id > 5000;
VACUUM before_5;
SELECT 'cut', pg_relation_filepath('before_5'), pg_relation_size('before_5') / 8192;
INSERT INTO before_5 SELECT g, 'again' FROM generate_series(1, 20000) g;

CREATE TABLE tail AS SELECT generate_series(1, 20000) AS id;
SELECT 'dropped', pg_relation_filepath('tail');
TRUNCATE tail;
INSERT INTO tail SELECT generate_series(1, 100);

BEGIN;
CREATE TABLE in_vain AS SELECT generate_series(1, 1000) AS id;
SELECT 'dropped', pg_relation_filepath('in_vain');
ROLLBACK;

BEGIN;
SELECT 'dropped', pg_relation_filepath('before_1');
SAVEPOINT one;
DROP TABLE before_1;
SAVEPOINT two;
CREATE TABLE in_savepoint AS SELECT generate_series(1, 100) AS id;
SELECT 'dropped', pg_relation_filepath('in_savepoint');
ROLLBACK TO two;
COMMIT;

BEGIN;
SELECT 'dropped', pg_relation_filepath('before_2');
SAVEPOINT one;
DROP TABLE before_2;
PREPARE TRANSACTION 'drops';
COMMIT PREPARED 'drops';

BEGIN;
CREATE TABLE prepared_in_vain AS SELECT generate_series(1, 1000) AS id;
SELECT 'dropped', pg_relation_filepath('prepared_in_vain');
PREPARE TRANSACTION 'makes';
ROLLBACK PREPARED 'makes';

CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 1000) AS id;
ALTER TABLE unlogged SET LOGGED;
UPDATE unlogged SET id = id + 1;
CREATE UNLOGGED TABLE stays_unlogged AS SELECT generate_series(1, 1000) AS id;
CREATE TEMPORARY TABLE temporary AS SELECT generate_series(1, 1000) AS id;

CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 1000) AS id;
UPDATE elsewhere SET id = id + 1;
SELECT 'dropped', pg_relation_filepath('before_3');
ALTER TABLE before_3 SET TABLESPACE space;
UPDATE before_3 SET t = t || '!' WHERE id < 10;

SELECT pg_switch_wal() IS NULL AS ignored \\gset
UPDATE before_4 SET t = t || '!' WHERE id % 100 = 0;
SELECT lo_from_bytea(0, decode(repeat('00ff', 100000), 'hex')) IS NULL AS ignored \\gset
SELECT pg_logical_emit_message(false, 'long', repeat('a message over two segments ', 1250000)) IS NULL AS ignored \\gset
UPDATE before_4 SET t = t || '?' WHERE id % 100 = 1;
SELECT pg_switch_wal() IS NULL AS ignored \\gset
SELECT pg_logical_emit_message(true, 'long', repeat('this one too', 2000000)) IS NULL AS ignored \\gset
";

/// Databases made and dropped; they need a statement each outside of transactions.
const DATABASES: &str = "
CREATE DATABASE plain;
CREATE DATABASE spaced TABLESPACE space;
CREATE DATABASE moved;
SELECT 'made', oid FROM pg_database WHERE datname = 'plain';
SELECT 'spaced', oid FROM pg_database WHERE datname = 'spaced';
SELECT 'moved', oid FROM pg_database WHERE datname = 'moved';
SELECT 'gone', oid FROM pg_database WHERE datname = 'before';
DROP DATABASE before;
ALTER DATABASE moved SET TABLESPACE space;
";

/// A cluster that was loaded and stopped, and the stretch of WAL that the load wrote.
struct Loaded<'a> {
    cluster: Cluster<'a>,
    control: ControlFile,
    from: Lsn,
    until: Lsn,
    /// The tablespace.
    space: Oid,
    /// What the load printed: a word, then what it is about.
    said: Vec<Vec<String>>,
}

impl<'a> Loaded<'a> {
    fn new(
        scratch: &'a Scratch,
        postgres: &Postgres,
        initdb_args: &[&str],
        settings: &[(&str, &str)],
    ) -> Self {
        let mut cluster = Cluster::create(scratch, postgres, "data", initdb_args);
        for (setting, value) in
            [("wal_keep_size", "4GB"), ("max_prepared_transactions", "5")].iter().chain(settings)
        {
            cluster.configure(setting, value);
        }
        cluster.start();
        let space = scratch.dir("space");
        cluster.sql(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display()));
        cluster.sql("CREATE DATABASE before");
        for table in ["before_1", "before_2", "before_3", "before_4", "before_5"] {
            cluster.sql(&format!(
                "CREATE TABLE {table} AS SELECT g AS id, 'row ' || g AS t FROM generate_series(1, 10000) g"
            ));
        }
        cluster.stop();
        let from = control(cluster.data()).redo_lsn;
        cluster.start();
        let mut script = format!("{LOAD}{DATABASES}");
        if postgres.major() >= 15 {
            script.push_str(
                "CREATE DATABASE copied STRATEGY file_copy;
                 CREATE DATABASE logged STRATEGY wal_log;
                 SELECT 'made', oid FROM pg_database WHERE datname = 'copied';
                 SELECT 'made', oid FROM pg_database WHERE datname = 'logged';",
            );
        }
        let script = scratch.file("load.sql", &script);
        let mut psql = cluster.client("psql");
        let said =
            run(psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script)).success().stdout;
        let said = said.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect();
        let space =
            Oid::parse(&cluster.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'space'")).unwrap();
        cluster.stop();
        let control = control(cluster.data());
        let until = control.redo_lsn;
        Self { cluster, control, from, until, space, said }
    }

    fn segment(&self, number: SegmentNumber) -> File {
        let name = SegmentName::new(TimelineId::FIRST, number, self.control.wal_segment_size).unwrap();
        File::open(self.cluster.data().join("pg_wal").join(name.to_string())).unwrap()
    }

    fn read(&self, mut reader: WalReader) -> BlockMap {
        while let Some(number) = reader.next_segment() {
            reader.read_segment(&mut self.segment(number)).unwrap();
        }
        reader.finish().unwrap()
    }

    fn map(&self) -> BlockMap {
        let size = self.control.wal_segment_size;
        self.read(WalReader::new(self.control.system_identifier, size, self.from, self.until))
    }

    /// Reads from the second segment on with what the first one left unfinished, then again every segment by itself up
    /// to the last. Both must say the same.
    fn check_segments(&self) {
        let (cluster, size) = (self.control.system_identifier, self.control.wal_segment_size);
        let (first, last) = (self.from.segment(size), self.until.segment(size));
        let mut tail = SegmentChanges::read(&mut self.segment(first), Lsn::INVALID).unwrap().tail;
        let second = first.next();
        let expected = self.read(WalReader::after_tail(cluster, size, second, &tail, self.until).unwrap());
        let mut map = BlockMap::default();
        let (mut number, mut tails, mut filled) = (second, 0, 0);
        while number < last {
            let changes = SegmentChanges::read(&mut self.segment(number), Lsn::INVALID).unwrap();
            filled += u32::from(changes.head.bytes.len() < changes.head.missing as usize);
            let header = changes.header;
            let longer = join(header.pg_major, header.page_address, tail, &changes.head, &mut map).unwrap();
            tail = longer.unwrap_or(changes.tail);
            tails += u32::from(!tail.is_empty());
            map.merge(changes.map);
            number = number.next();
        }
        map.merge(self.read(WalReader::after_tail(cluster, size, last, &tail, self.until).unwrap()));
        assert_eq!(map, expected);
        assert!(tails > 2 && filled > 0, "{tails} segments with a tail, {filled} filled by one record");
    }
}

fn control(data: &Path) -> ControlFile {
    ControlFile::parse(&fs::read(data.join("global/pg_control")).unwrap()).unwrap()
}

fn place(path: &str) -> RelationPlace {
    RelationPlace::of(&RelationFile::parse(path).unwrap()).unwrap()
}

/// What the load says of its relations and databases is in the map.
fn check_limits(loaded: &Loaded, map: &BlockMap) {
    let limits: BTreeMap<RelationPlace, Option<u32>> =
        map.relations().map(|(place, limit, _)| (place, limit)).collect();
    let replaced: BTreeSet<DatabasePlace> = map.replaced().collect();
    let default = |oid: &str| DatabasePlace { tablespace: None, database: Oid::parse(oid).unwrap() };
    let spaced = |oid: &str| DatabasePlace { tablespace: Some(loaded.space), ..default(oid) };
    let mut seen = BTreeSet::new();
    for line in &loaded.said {
        let (word, about) = (line[0].as_str(), line[1].as_str());
        seen.insert(word);
        match word {
            "dropped" => assert_eq!(limits.get(&place(about)), Some(&Some(0)), "{line:?}"),
            "cut" => assert_eq!(limits.get(&place(about)), Some(&Some(line[2].parse().unwrap())), "{line:?}"),
            "made" | "gone" => assert!(replaced.contains(&default(about)), "{line:?} {replaced:?}"),
            "spaced" => assert!(replaced.contains(&spaced(about)), "{line:?} {replaced:?}"),
            "moved" => {
                assert!(replaced.contains(&default(about)), "{line:?} {replaced:?}");
                assert!(replaced.contains(&spaced(about)), "{line:?} {replaced:?}");
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(seen, BTreeSet::from(["dropped", "cut", "made", "gone", "spaced", "moved"]));
}

/// Every page that carries an LSN of the stretch is in the map, and every block that the map names and that is still
/// there carries one. With checksums a page gets one with every change. Returns how many files and blocks were changed.
fn check_pages(loaded: &Loaded, map: &BlockMap) -> (usize, usize) {
    let mut lsns = BTreeMap::new();
    let mut files = 0;
    for found in walk(loaded.cluster.data(), &WalkRules::default()).unwrap() {
        let Found::Member(member) = found.unwrap() else { continue };
        let Some(file) = RelationFile::parse(member.name.as_str()) else { continue };
        let Some(relation) = RelationPlace::of(&file) else { continue };
        let pages = fs::read(&member.path).unwrap();
        let blocks = u32::try_from(pages.len() / 8192).unwrap();
        let changes = map.changes(relation, file.segment, blocks);
        let mut changed = Vec::new();
        for (block, page) in (0..).zip(pages.chunks_exact(8192)) {
            let header = PageHeader::parse(page).unwrap();
            if !header.is_new() && header.lsn > loaded.from {
                changed.push(block);
            }
            if !header.is_new() {
                lsns.insert((relation, file.first_block(131_072).unwrap() + block), header.lsn);
            }
        }
        match changes {
            FileChanges::Replaced => files += 1,
            FileChanges::Blocks(named) => {
                let missed: Vec<_> = changed.iter().filter(|block| !named.contains(block)).collect();
                assert!(missed.is_empty(), "{file:?}: {missed:?} changed, the map has {named:?}");
                files += usize::from(!named.is_empty());
            }
        }
    }
    let mut named = 0;
    for (relation, _, blocks) in map.relations() {
        for block in blocks {
            if let Some(&lsn) = lsns.get(&(relation, block)) {
                // A GiST index that is built has this LSN on its pages (`GistBuildLSN`, `access/gist.h`).
                let built = lsn == Lsn::new(1);
                assert!(
                    built || lsn > loaded.from && lsn <= loaded.until,
                    "{relation:?} block {block}: {lsn}"
                );
                named += 1;
            }
        }
    }
    (files, named)
}

/// The blocks that a line of `pg_waldump` or a `block_ref` of pg_walinspect names
/// (`XLogRecGetBlockRefInfo`, `access/rmgrdesc/xlogdesc.c`): `blkref #0: rel 1663/5/1259 [fork main] blk 7`.
fn named_blocks(text: &str, blocks: &mut BTreeSet<(RelationPlace, u32)>) {
    for reference in text.split("blkref #").skip(1) {
        let words: Vec<&str> = reference.split([' ', ';', ',', '\n']).collect();
        let after = |word: &str| words.iter().position(|found| *found == word).map(|at| words[at + 1]);
        if after("fork").is_some_and(|fork| fork != "main") {
            continue;
        }
        let numbers: Vec<u32> =
            after("rel").unwrap().split('/').map(|number| number.parse().unwrap()).collect();
        if let Some(relation) = RelationPlace::of_numbers(numbers[0], numbers[1], numbers[2]) {
            blocks.insert((relation, after("blk").unwrap().parse().unwrap()));
        }
    }
}

/// The blocks that PostgreSQL's own program or extension names of the stretch; none before 15 without the program.
fn told_blocks(loaded: &mut Loaded, postgres: &Postgres) -> Option<BTreeSet<(RelationPlace, u32)>> {
    let mut blocks = BTreeSet::new();
    let program = postgres.server_program("pg_waldump");
    if program.exists() {
        // Segments are named so that none that was only allocated is asked for the segment size.
        let segment = |lsn| SegmentName::containing(TimelineId::FIRST, lsn, loaded.control.wal_segment_size);
        let mut command = Command::new(program);
        command.arg("-p").arg(loaded.cluster.data().join("pg_wal"));
        command.args(["-s", &loaded.from.to_string(), "-e", &loaded.until.to_string()]);
        command.args([loaded.from, loaded.until].map(|lsn| segment(lsn).to_string()));
        let output = run(&mut command).success().stdout;
        output.lines().for_each(|line| named_blocks(line, &mut blocks));
    } else if postgres.major() >= 15 {
        loaded.cluster.start();
        loaded.cluster.sql("CREATE EXTENSION pg_walinspect");
        let output = loaded.cluster.sql(&format!(
            "SELECT block_ref FROM pg_get_wal_records_info('{}', '{}') WHERE start_lsn < '{}' AND block_ref <> ''",
            loaded.from, loaded.until, loaded.until
        ));
        output.lines().for_each(|line| named_blocks(line, &mut blocks));
        loaded.cluster.stop();
    } else {
        return None;
    }
    Some(blocks)
}

/// On each summary that the server wrote of the stretch, three agree: what SQL says of it, what is read from the file,
/// and what is read from WAL.
///
/// PostgreSQL forgets the blocks that a relation had from a limit on, and knows those changed later; ours keeps all.
/// From the limit on every block counts as changed, so there its blocks only have to be among ours.
fn check_summaries(loaded: &mut Loaded, map: &BlockMap) {
    let (from, until) = (loaded.from, loaded.until);
    loaded.cluster.start();
    let within =
        format!("FROM pg_available_wal_summaries() WHERE start_lsn >= '{from}' AND end_lsn <= '{until}'");
    loaded.cluster.wait_until(&format!("SELECT max(end_lsn) = '{until}' {within}"), "t");
    let names = loaded.cluster.sql(&format!("SELECT start_lsn, end_lsn {within} ORDER BY start_lsn"));
    let mut reached = from;
    let mut summaries = BlockMap::default();
    for line in names.lines() {
        let (start, end) = line.split_once('|').unwrap();
        let name = SummaryName {
            timeline: TimelineId::FIRST,
            from: start.parse().unwrap(),
            until: end.parse().unwrap(),
        };
        assert_eq!(name.from, reached);
        reached = name.until;
        let path = loaded.cluster.data().join("pg_wal/summaries").join(name.to_string());
        let mut read = BlockMap::default();
        wal_summary::read(BufReader::new(File::open(path).unwrap()), &mut read).unwrap();
        let told = told_of_summary(&loaded.cluster, name);
        assert_eq!(read, told, "{name}");
        let (cluster, size) = (loaded.control.system_identifier, loaded.control.wal_segment_size);
        let ours = loaded.read(WalReader::new(cluster, size, name.from, name.until));
        check_same(&ours, &told, name);
        summaries.merge(read);
    }
    assert_eq!(reached, until);
    loaded.cluster.stop();
    // What a delta backup asks either for is the same for every relation, of whatever length its file is.
    for (relation, ..) in map.relations() {
        for blocks in [1, 100, 10_000] {
            let (ours, theirs) = (map.changes(relation, 0, blocks), summaries.changes(relation, 0, blocks));
            assert_eq!(ours, theirs, "{relation:?}");
        }
    }
}

/// What SQL says of a summary's main forks.
fn told_of_summary(cluster: &Cluster, name: SummaryName) -> BlockMap {
    let mut told = BlockMap::default();
    let rows = cluster.sql(&format!(
        "SELECT reltablespace, reldatabase, relfilenode, relblocknumber, is_limit_block \
         FROM pg_wal_summary_contents({}, '{}', '{}') WHERE relforknumber = 0",
        name.timeline, name.from, name.until
    ));
    for row in rows.lines() {
        let (numbers, limit) = row.rsplit_once('|').unwrap();
        let numbers: Vec<u32> = numbers.split('|').map(|number| number.parse().unwrap()).collect();
        let [tablespace, database, filenode, block] = numbers[..] else { panic!("{row}") };
        if filenode == 0 {
            assert_eq!((block, limit), (0, "t"), "{row}");
            told.replace(DatabasePlace::of_numbers(tablespace, database).unwrap());
        } else if let Some(relation) = RelationPlace::of_numbers(tablespace, database, filenode) {
            match limit {
                "t" => told.cut(relation, block),
                _ => told.mark(relation, block),
            }
        }
    }
    told
}

fn check_same(ours: &BlockMap, theirs: &BlockMap, name: SummaryName) {
    let replaced = |map: &BlockMap| map.replaced().collect::<BTreeSet<_>>();
    assert_eq!(replaced(ours), replaced(theirs), "{name}");
    let relations = |map: &BlockMap| {
        map.relations()
            .map(|(relation, limit, blocks)| (relation, (limit, blocks.iter().collect::<BTreeSet<u32>>())))
            .collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (relations(ours), relations(theirs));
    assert!(ours.keys().eq(theirs.keys()), "{name}: {:?}, {:?}", ours.keys(), theirs.keys());
    for (relation, (limit, blocks)) in &theirs {
        let (our_limit, our_blocks) = &ours[relation];
        assert_eq!(our_limit, limit, "{name} {relation:?}");
        let below = |blocks: &BTreeSet<u32>| {
            blocks
                .iter()
                .copied()
                .filter(|&block| limit.is_none_or(|limit| block < limit))
                .collect::<Vec<_>>()
        };
        assert_eq!(below(our_blocks), below(blocks), "{name} {relation:?}");
        assert!(blocks.is_subset(our_blocks), "{name} {relation:?}");
    }
}

fn names_what_changed(version: u32, initdb_args: &[&str], settings: &[(&str, &str)]) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let mut loaded = Loaded::new(&scratch, &postgres, initdb_args, settings);
    let map = loaded.map();
    check_limits(&loaded, &map);
    let (files, named) = check_pages(&loaded, &map);
    assert!(files > 50 && named > 1000, "{files} files, {named} blocks");
    loaded.check_segments();
    if version >= 17 {
        check_summaries(&mut loaded, &map);
    }
    let ours: BTreeSet<(RelationPlace, u32)> = map
        .relations()
        .flat_map(|(relation, _, blocks)| blocks.iter().map(move |block| (relation, block)))
        .collect();
    if let Some(told) = told_blocks(&mut loaded, &postgres) {
        let missed: Vec<_> = told.difference(&ours).take(10).collect();
        let added: Vec<_> = ours.difference(&told).take(10).collect();
        assert!(missed.is_empty() && added.is_empty(), "missed {missed:?}, added {added:?}");
    }
    assert!(ours.len() > 3000, "{} blocks", ours.len());
}

/// The WAL of a server that lost the rest of a record in a crash, and was promoted later.
fn goes_on_after_a_crash_and_a_promotion(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "data", &["--data-checksums", "--wal-segsize=1"]);
    cluster.configure("wal_keep_size", "1GB");
    cluster.start();
    cluster.sql("CREATE TABLE rows AS SELECT generate_series(1, 1000) AS id");
    cluster.stop();
    let from = control(cluster.data()).redo_lsn;
    cluster.start();
    cluster.sql("INSERT INTO rows SELECT generate_series(1, 1000)");
    cluster.sql("SELECT pg_switch_wal()");
    let begins = cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    cluster.sql("SELECT pg_logical_emit_message(true, 'lost', repeat('x', 2500000))");
    cluster.kill();
    // The segment with the record's start is there, and with its middle; that with its end is not.
    let mut name: SegmentName = begins.parse().unwrap();
    let size = control(cluster.data()).wal_segment_size;
    name = name.next(size).unwrap().next(size).unwrap();
    while fs::remove_file(cluster.data().join("pg_wal").join(name.to_string())).is_ok() {
        name = name.next(size).unwrap();
    }
    cluster.start();
    cluster.sql("INSERT INTO rows SELECT generate_series(1, 2000)");
    cluster.stop();
    cluster.append("standby.signal", "");
    cluster.start();
    cluster.sql("SELECT pg_promote()");
    cluster.sql("UPDATE rows SET id = id + 1");
    cluster.stop();

    let control = control(cluster.data());
    assert_eq!(control.checkpoint_timeline.as_u32(), 2);
    let mut reader = WalReader::new(control.system_identifier, size, from, control.redo_lsn);
    let (mut dropped, mut newer) = (0, 0);
    while let Some(number) = reader.next_segment() {
        // From the segment on in which the server was promoted there is one of the new timeline.
        let path = [2, 1]
            .map(|timeline| SegmentName::new(TimelineId::new(timeline).unwrap(), number, size).unwrap())
            .map(|name| cluster.data().join("pg_wal").join(name.to_string()))
            .into_iter()
            .find(|path| path.exists())
            .unwrap();
        let bytes = fs::read(&path).unwrap();
        // XLP_FIRST_IS_OVERWRITE_CONTRECORD, in the header of a page whose address is right
        dropped += bytes.chunks_exact(8192).filter(|page| page[2] & 8 != 0).count();
        newer += usize::from(path.file_name().unwrap().to_str().unwrap().starts_with("00000002"));
        reader.read_segment(&mut &bytes[..]).unwrap();
    }
    assert!(dropped == 1 && newer > 0, "{dropped} records dropped, {newer} segments of the new timeline");
    let until = control.redo_lsn;
    let space = Oid::FIRST_NORMAL;
    let loaded = Loaded { cluster, control, from, until, space, said: Vec::new() };
    let (_, named) = check_pages(&loaded, &reader.finish().unwrap());
    // 4000 rows, updated, of 226 or less to a page
    assert!(named > 30, "{named} blocks");
}

/// With `wal_level = minimal` a table made in the same transaction is filled without WAL.
#[test]
fn a_time_with_minimal_wal_is_a_gap() {
    for version in Postgres::VERSIONS {
        let postgres = require!(Postgres::version(version));
        let scratch = Scratch::new();
        let mut cluster = Cluster::running(&scratch, &postgres, "data", &[]);
        cluster.stop();
        let from = control(cluster.data()).redo_lsn;
        cluster.configure("max_wal_senders", "0");
        cluster.configure("wal_level", "minimal");
        cluster.start();
        cluster.stop();
        cluster.configure("wal_level", "replica");
        cluster.start();
        cluster.stop();
        let control = control(cluster.data());
        let mut reader =
            WalReader::new(control.system_identifier, control.wal_segment_size, from, control.redo_lsn);
        let number = reader.next_segment().unwrap();
        let name = SegmentName::new(TimelineId::FIRST, number, control.wal_segment_size).unwrap();
        let mut segment = File::open(cluster.data().join("pg_wal").join(name.to_string())).unwrap();
        let error = reader.read_segment(&mut segment).unwrap_err();
        assert!(matches!(error, WalError::MinimalLevel { lsn } if lsn > from), "{version}: {error}");
    }
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_13() {
    goes_on_after_a_crash_and_a_promotion(13);
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_14() {
    goes_on_after_a_crash_and_a_promotion(14);
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_15() {
    goes_on_after_a_crash_and_a_promotion(15);
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_16() {
    goes_on_after_a_crash_and_a_promotion(16);
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_17() {
    goes_on_after_a_crash_and_a_promotion(17);
}

#[test]
fn goes_on_after_a_crash_and_a_promotion_18() {
    goes_on_after_a_crash_and_a_promotion(18);
}

#[test]
fn names_what_changed_13() {
    names_what_changed(13, &["--data-checksums"], &[("wal_compression", "on")]);
}

#[test]
fn names_what_changed_14() {
    names_what_changed(14, &["--data-checksums", "--wal-segsize=1"], &[("wal_compression", "on")]);
}

#[test]
fn names_what_changed_15() {
    names_what_changed(15, &["--data-checksums"], &[("wal_compression", "lz4")]);
}

#[test]
fn names_what_changed_16() {
    names_what_changed(16, &["--data-checksums"], &[("wal_compression", "pglz"), ("wal_level", "logical")]);
}

#[test]
fn names_what_changed_17() {
    names_what_changed(17, &["--data-checksums"], &[("summarize_wal", "on")]);
}

#[test]
fn names_what_changed_18() {
    names_what_changed(
        18,
        &["--data-checksums", "--wal-segsize=4"],
        &[("wal_compression", "on"), ("summarize_wal", "on")],
    );
}
