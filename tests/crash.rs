//! Commands that are killed or told to end: whatever the moment, the repository and the data directory are whole, and the
//! same command again does its work.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[path = "crash/backups.rs"]
mod backups;
#[path = "soak/dice.rs"]
#[expect(dead_code, reason = "the soak needs more")]
mod dice;
#[path = "crash/durable.rs"]
mod durable;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/signals.rs"]
mod signals;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use backups::Names;
use kill::{Scenario, Tree, all, nothing, old_or_new, place};
use rustix::process::Signal;
use support::{Barman, Bucket, Cluster, Fixture, Gate, Postgres, Scratch, ServerBackup, Tool, next_second};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// A chain of two deltas on a full backup, of wal-g.
const CHAIN: &str = "brotli-sodium-hex";

/// One full backup of wal-g, with segments of 1 MiB.
const FULL: &str = "zstd-sodium-base64-seg1";

fn texts<const N: usize>(arguments: [&str; N]) -> Vec<String> {
    arguments.map(str::to_owned).into()
}

/// A template with the repository of a fixture of wal-g in `storage`.
fn repository(scratch: &Scratch, fixture: &str) -> PathBuf {
    let template = scratch.dir("template");
    scratch.copy(&Path::new(FIXTURES).join("wal-g").join(fixture).join("storage"), "template/storage");
    template
}

/// seawall with the settings of a fixture of wal-g, whose repository lies in `storage` of some place.
fn tool(scratch: &Scratch, fixture: &str, place: &Path) -> Tool {
    let env = Fixture::settings_of(fixture);
    let env = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Tool::seawall(scratch).with_all(env).with("WALG_FILE_PREFIX", place.join("storage").to_str().unwrap())
}

/// The files of a directory of the tree.
fn below(tree: &Tree, directory: &str) -> Tree {
    let files = tree.iter().filter(|(path, _)| path.starts_with(directory));
    files.map(|(path, content)| (path.clone(), content.clone())).collect()
}

/// A backup of wal-g that is listed has all that it had.
fn listed_is_whole(before: &Tree, _: &Tree, now: &Tree) {
    for path in now.keys() {
        let Some(folder) = path.strip_suffix("_backup_stop_sentinel.json") else { continue };
        for part in below(before, &format!("{folder}/")).keys() {
            assert!(now.contains_key(part), "{path} is there, {part} is not");
        }
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A data directory with so many segments of 1 MiB, which wait to be archived; their names.
fn unarchived(scratch: &Scratch, segments: u32) -> Result<(PathBuf, Vec<String>), support::Missing> {
    let postgres = Postgres::version(15)?;
    let mut cluster = Cluster::create(scratch, &postgres, "source", &["--wal-segsize=1"]);
    cluster.configure("archive_mode", "on");
    cluster.configure("archive_command", "false");
    cluster.start();
    cluster.sql("CREATE TABLE t (i int)");
    for _ in 0..segments {
        cluster.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal()");
    }
    cluster.stop();
    let template = scratch.dir("template");
    fs::create_dir(template.join("storage")).unwrap();
    fs::create_dir_all(template.join("data/global")).unwrap();
    fs::create_dir_all(template.join("data/pg_wal/archive_status")).unwrap();
    fs::copy(cluster.data().join("global/pg_control"), template.join("data/global/pg_control")).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(cluster.data().join("pg_wal/archive_status")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(segment) = name.strip_suffix(".ready") else { continue };
        fs::copy(cluster.data().join("pg_wal").join(segment), template.join("data/pg_wal").join(segment))
            .unwrap();
        fs::write(template.join("data/pg_wal/archive_status").join(&name), "").unwrap();
        names.push(segment.to_owned());
    }
    scratch.own(&template);
    names.sort();
    Ok((template, names))
}

/// With look-ahead, marks, and the blocks that each segment changes.
#[test]
fn wal_push() {
    let scratch = Scratch::new();
    let (template, names) = require!(unarchived(&scratch, 5));
    let place = place(&scratch);
    let storage = place.join("storage");
    let seawall = Tool::seawall(&scratch)
        .with("WALG_FILE_PREFIX", path_text(&storage))
        .with("WALG_COMPRESSION_METHOD", "lz4")
        .with("WALG_USE_WAL_DELTA", "true");
    let segment = |name: &String| place.join("data/pg_wal").join(name);
    // As PostgreSQL goes on.
    let rest = || {
        for name in &names {
            seawall.run(&scratch, ["wal-push", path_text(&segment(name))]).success();
        }
    };
    Scenario {
        name: "wal-push",
        scratch: &scratch,
        template,
        tool: seawall.clone(),
        arguments: texts(["wal-push", path_text(&segment(&names[0]))]),
        intact: &|before, after, now| {
            // A mark is used up by the call that finds it.
            let (marks, others): (Tree, Tree) =
                now.clone().into_iter().partition(|(path, _)| path.contains("walg_archive_status/"));
            old_or_new(before, after, &others);
            for mark in marks.keys().filter(|mark| !mark.ends_with("/seawall_base_backup_check")) {
                let name = mark.rsplit('/').next().unwrap();
                assert!(now.contains_key(&format!("storage/wal_005/{name}.lz4")), "{mark} lies");
            }
        },
        done_says: None,
        afterwards: &rest,
        result: &all,
    }
    .survives();
}

/// The last segment of a group, whose changed blocks are stored.
#[test]
fn wal_push_that_stores_recorded_blocks() {
    let scratch = Scratch::new();
    let (template, names) = require!(unarchived(&scratch, 32));
    let place = place(&scratch);
    let pusher = |root: &Path| {
        Tool::seawall(&scratch)
            .with("WALG_FILE_PREFIX", path_text(&root.join("storage")))
            .with("WALG_COMPRESSION_METHOD", "lz4")
            .with("WALG_USE_WAL_DELTA", "true")
            .with("WALG_UPLOAD_CONCURRENCY", "1")
    };
    // Segments 0F to 1E are archived and recorded, and only 1F is left.
    let last = names.iter().find(|name| name.ends_with("1F")).unwrap();
    for name in names.iter().filter(|name| *name != last) {
        let path = template.join("data/pg_wal").join(name);
        if (0x0F..0x1F).contains(&u32::from_str_radix(&name[16..], 16).unwrap()) {
            pusher(&template).run(&scratch, ["wal-push", path_text(&path)]).success();
        }
        fs::remove_file(path).unwrap();
    }
    Scenario {
        name: "wal-push of the last segment of a group",
        scratch: &scratch,
        template,
        tool: pusher(&place),
        arguments: texts(["wal-push", path_text(&place.join("data/pg_wal").join(last))]),
        intact: &|before, after, now| {
            let repository = |tree: &Tree| below(tree, "storage/");
            old_or_new(&repository(before), &repository(after), &repository(now));
        },
        done_says: None,
        afterwards: &nothing,
        result: &|tree| {
            let deltas = tree.keys().filter(|path| path.ends_with("_delta.lz4")).count();
            assert_eq!(deltas, 1, "{:?}", tree.keys());
            below(&tree, "storage/")
        },
    }
    .survives();
}

#[test]
fn wal_fetch() {
    let scratch = Scratch::new();
    let template = repository(&scratch, FULL);
    let place = place(&scratch);
    let (target, destination) = (place.join("data"), place.join("data/RECOVERYXLOG"));
    fs::create_dir(template.join("data")).unwrap();
    scratch.own(&template);
    Scenario {
        name: "wal-fetch",
        scratch: &scratch,
        template,
        tool: tool(&scratch, FULL, &place).with("WALG_DOWNLOAD_CONCURRENCY", "1"),
        arguments: texts(["wal-fetch", "000000010000000000000007", path_text(&destination)]),
        intact: &old_or_new,
        // What a killed one has left is cleared away when it is old.
        done_says: None,
        afterwards: &|| {
            let old = SystemTime::now() - Duration::from_secs(3600);
            for entry in fs::read_dir(&target).unwrap() {
                fs::File::options()
                    .append(true)
                    .open(entry.unwrap().path())
                    .unwrap()
                    .set_modified(old)
                    .unwrap();
            }
            let fetch = ["wal-fetch", "000000010000000000000007", path_text(&destination)];
            tool(&scratch, FULL, &place)
                .with("WALG_DOWNLOAD_CONCURRENCY", "1")
                .run(&scratch, fetch)
                .success();
            let left: Vec<_> =
                fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["RECOVERYXLOG"]);
        },
        result: &all,
    }
    .survives();
}

/// After a promotion only wal-push comes by.
#[test]
fn wal_push_clears_away_what_wal_fetch_has_left() {
    let scratch = Scratch::new();
    let (_bucket, seawall) = support::repository(&scratch);
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let [old, young] =
        [1, 2].map(|process| scratch.file(&format!(".RECOVERYXLOG.{process}-0.seawall-tmp"), "half"));
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().append(true).open(&old).unwrap().set_modified(hour_ago).unwrap();
    seawall.run(&scratch, ["wal-push", path_text(&history)]).success();
    assert!(!old.exists() && young.exists());
}

#[test]
fn wal_prefetch() {
    let scratch = Scratch::new();
    let template = repository(&scratch, FULL);
    let place = place(&scratch);
    fs::create_dir(template.join("data")).unwrap();
    scratch.own(&template);
    // Where a segment came from is said with the time of the file.
    let is_segment = |path: &str| !path.contains("/running/") && !path.ends_with(".from");
    let brought =
        |tree: &Tree| -> Tree { tree.clone().into_iter().filter(|(path, _)| is_segment(path)).collect() };
    Scenario {
        name: "wal-prefetch",
        scratch: &scratch,
        template,
        tool: tool(&scratch, FULL, &place).with("WALG_DOWNLOAD_CONCURRENCY", "4"),
        arguments: texts([
            "wal-prefetch",
            "000000010000000000000006",
            path_text(&place.join("data/RECOVERYXLOG")),
        ]),
        intact: &|before, after, now| old_or_new(before, after, &brought(now)),
        done_says: None,
        afterwards: &nothing,
        result: &|tree| {
            let segment = "data/.wal-g/prefetch/000000010000000000000007";
            for file in [segment.to_owned(), format!("{segment}.from")] {
                assert!(tree.contains_key(&file), "{:?}", tree.keys());
            }
            brought(&tree)
        },
    }
    .survives();
}

/// All of a chain is made permanent, or a part of it from the oldest one on.
#[test]
fn backup_mark() {
    let scratch = Scratch::new();
    let template = repository(&scratch, CHAIN);
    Scenario {
        name: "backup-mark",
        scratch: &scratch,
        template,
        tool: tool(&scratch, CHAIN, &place(&scratch)),
        arguments: texts(["backup-mark", "base_000000010000000000000006_D_000000010000000000000004"]),
        intact: &old_or_new,
        done_says: None,
        afterwards: &nothing,
        result: &all,
    }
    .survives();
}

#[test]
fn delete() {
    let scratch = Scratch::new();
    let template = repository(&scratch, CHAIN);
    for arguments in [
        texts(["delete", "everything", "--confirm"]),
        texts(["delete", "target", "base_000000010000000000000004_D_000000010000000000000002", "--confirm"]),
    ] {
        Scenario {
            name: "delete",
            scratch: &scratch,
            template: template.clone(),
            tool: tool(&scratch, CHAIN, &place(&scratch)),
            arguments,
            intact: &listed_is_whole,
            done_says: Some("was not found"),
            afterwards: &nothing,
            result: &all,
        }
        .survives();
    }
}

/// By a rule: of a chain, a later full backup, and what an interrupted deletion has left of an earlier one.
#[test]
fn delete_by_a_rule() {
    const FIRST: &str = "base_000000010000000000000002";
    const NEWEST: &str = "base_000000010000000000000008";
    let scratch = Scratch::new();
    let template = repository(&scratch, CHAIN);
    let backups = template.join("storage/basebackups_005");
    for name in ["base_000000010000000000000001", NEWEST] {
        scratch.copy(&backups.join(FIRST), &format!("template/storage/basebackups_005/{name}"));
    }
    let sentinel = |name: &str| backups.join(format!("{name}_backup_stop_sentinel.json"));
    let later = fs::read_to_string(sentinel(FIRST)).unwrap();
    let later = later.replace("33554472", "134217768").replace("33554688", "134217984");
    fs::write(sentinel(NEWEST), later).unwrap();
    // An upload that was never finished, by its name and its time.
    let old = SystemTime::now() - Duration::from_secs(25 * 3600);
    let unfinished =
        backups.join(FIRST).join("tar_partitions/part_009.tar.br.tmp.20260101T000000Z-0123456789abcdef");
    fs::write(&unfinished, "half").unwrap();
    fs::File::options().append(true).open(&unfinished).unwrap().set_modified(old).unwrap();
    scratch.own(&template);
    let place = place(&scratch);
    for (rule, stays) in [("garbage", 4), ("retain 1", 1), (&format!("before {NEWEST}"), 1)] {
        let line = format!("delete {rule} --confirm");
        Scenario {
            name: "delete by a rule",
            scratch: &scratch,
            template: template.clone(),
            tool: tool(&scratch, CHAIN, &place),
            arguments: line.split(' ').map(str::to_owned).collect(),
            intact: &|before, after, now| {
                old_or_new(before, after, now);
                listed_is_whole(before, after, now);
            },
            done_says: None,
            afterwards: &|| {
                let is_there = place.join(unfinished.strip_prefix(&template).unwrap()).exists();
                assert_eq!(is_there, rule != "garbage", "what was never finished");
            },
            result: &|tree| {
                let listed = tree.keys().filter(|path| path.ends_with("_backup_stop_sentinel.json"));
                assert_eq!(listed.count(), stays, "{:?}", tree.keys());
                tree
            },
        }
        .survives();
    }
}

/// What is stored in a directory, or fetched from it, is synced before it gets its name, and the name before the end.
#[test]
fn files_are_synced_before_the_end() {
    let scratch = Scratch::new();
    let place = repository(&scratch, FULL);
    for directory in ["fetched", "new"] {
        fs::create_dir(place.join(directory)).unwrap();
    }
    scratch.own(&place);
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let (segment, fetched) = ("000000010000000000000007", place.join("fetched/000000010000000000000007"));
    let archive = tool(&scratch, FULL, &place).with("WALG_DOWNLOAD_CONCURRENCY", "1");
    let new = archive.clone().with("WALG_FILE_PREFIX", path_text(&place.join("new")));
    let url = format!("file://{}", place.join("new").display());
    let barman = |command| Barman::seawall(&scratch).tool(command);
    let wal = "srv/wals/0000000100000000/000000010000000000000007.gz";
    for (tool, line, path) in [
        (archive.clone(), vec!["wal-fetch", segment, path_text(&fetched)], fetched.clone()),
        (
            new.clone(),
            vec!["wal-push", path_text(&fetched)],
            place.join("new/wal_005").join(format!("{segment}.zst")),
        ),
        (new, vec!["wal-push", path_text(&history)], place.join("new/wal_005/00000002.history.zst")),
        (
            archive,
            vec!["backup-mark", "LATEST"],
            place.join("storage/basebackups_005/base_000000010000000000000007/metadata.json"),
        ),
        (
            barman("wal-archive"),
            vec!["--gzip", &url, "srv", path_text(&fetched)],
            place.join("new").join(wal),
        ),
        (
            barman("wal-restore"),
            vec![&url, "srv", segment, path_text(&place.join("fetched/RECOVERYXLOG"))],
            place.join("fetched/RECOVERYXLOG"),
        ),
    ] {
        let line: Vec<String> = line.into_iter().map(str::to_owned).collect();
        durable::holds(&require!(kill::traced(&scratch, &tool, &line)), &path);
        // Found by a call that comes again, it may be of one that was killed before it had synced anything.
        if path.starts_with(place.join("new")) {
            durable::still_holds(&require!(kill::traced(&scratch, &tool, &line)), &path);
        }
    }
}

/// A chain with its deltas. What was killed leaves no cluster, and is cleared away by the next one.
#[test]
fn backup_fetch() {
    let scratch = Scratch::new();
    let template = repository(&scratch, CHAIN);
    let place = place(&scratch);
    Scenario {
        name: "backup-fetch",
        scratch: &scratch,
        template,
        tool: tool(&scratch, CHAIN, &place),
        arguments: texts(["backup-fetch", path_text(&place.join("data")), "LATEST"]),
        intact: &|before, after, now| {
            assert!(below(now, "storage/") == below(before, "storage/"));
            if now.contains_key("data/global/pg_control") {
                let data = |tree: &Tree| -> Tree {
                    let mark = |path: &String| path.ends_with("seawall_restore_unfinished");
                    below(tree, "data/").into_iter().filter(|(path, _)| !mark(path)).collect()
                };
                assert!(data(now) == data(after), "a cluster that is not whole");
                // This one is done: the same command refuses to touch it, and says so.
                fs::remove_dir_all(place.join("data")).unwrap();
            }
        },
        done_says: None,
        afterwards: &nothing,
        result: &all,
    }
    .survives();
}

/// The repository of a fixture of barman-cloud, with its one backup three times: the first has WAL before the others.
fn barman_repository(scratch: &Scratch) -> PathBuf {
    let template = scratch.dir("template");
    scratch.copy(&Path::new(FIXTURES).join("barman-cloud/bzip2/storage/pfx"), "template/storage");
    let base = template.join("storage/srv/base");
    for (id, begin) in [("20261121T041421", "3"), ("20261121T051421", "4")] {
        fs::create_dir(base.join(id)).unwrap();
        fs::copy(base.join("20261121T031421/data.tar.bz2"), base.join(id).join("data.tar.bz2")).unwrap();
        let info = fs::read_to_string(base.join("20261121T031421/backup.info")).unwrap();
        let info = info.replace(
            "begin_wal=000000010000000000000002",
            &format!("begin_wal=00000001000000000000000{begin}"),
        );
        fs::write(base.join(id).join("backup.info"), info).unwrap();
    }
    scratch.own(&template);
    template
}

/// What a backup of barman's that is listed as complete has to have.
fn done_is_whole(before: &Tree, _: &Tree, now: &Tree) {
    for (path, content) in now {
        let Some(folder) = path.strip_suffix("backup.info") else { continue };
        if !String::from_utf8_lossy(content).contains("status=DONE") {
            continue;
        }
        for part in below(before, folder).keys() {
            assert!(now.contains_key(part), "{path} says DONE, {part} is not there");
        }
    }
}

fn barman<'a>(
    scratch: &'a Scratch,
    name: &'static str,
    template: &Path,
    command: &str,
    line: &str,
) -> Scenario<'a> {
    let place = place(scratch);
    let url = format!("file://{}", place.join("storage").display());
    let word = |word: &str| word.replace("URL", &url).replace("PLACE", path_text(&place));
    Scenario {
        name,
        scratch,
        template: template.to_owned(),
        tool: Barman::seawall(scratch).tool(command),
        arguments: line.split(' ').map(word).collect(),
        intact: &old_or_new,
        done_says: None,
        afterwards: &nothing,
        result: &all,
    }
}

#[test]
fn barman_cloud_wal() {
    let scratch = Scratch::new();
    let template = barman_repository(&scratch);
    let segment = "000000010000000000000003";
    let source = scratch.absent("segment");
    let url = format!("file://{}", template.join("storage").display());
    let fetched = Barman::seawall(&scratch).tool("wal-restore");
    fetched.run(&scratch, [url.as_str(), "srv", segment, path_text(&source)]).success();
    fs::create_dir(template.join("data")).unwrap();
    fs::rename(&source, template.join("data").join(segment)).unwrap();
    scratch.own(&template);

    let archive = format!("--gzip URL new PLACE/data/{segment}");
    barman(&scratch, "barman-cloud-wal-archive", &template, "wal-archive", &archive).survives();
    let restore = format!("URL srv {segment} PLACE/data/RECOVERYXLOG");
    barman(&scratch, "barman-cloud-wal-restore", &template, "wal-restore", &restore).survives();
}

#[test]
fn barman_cloud_backups() {
    let scratch = Scratch::new();
    let template = barman_repository(&scratch);
    let keep = "--target full URL srv 20261121T031421";
    barman(&scratch, "barman-cloud-backup-keep", &template, "backup-keep", keep).survives();
    for rule in ["-b 20261121T031421", "-r REDUNDANCY\u{a0}1"] {
        let line = format!("{rule} URL srv");
        let mut delete = barman(&scratch, "barman-cloud-backup-delete", &template, "backup-delete", &line);
        for argument in &mut delete.arguments {
            *argument = argument.replace('\u{a0}', " ");
        }
        delete.intact = &done_is_whole;
        delete.survives();
    }
    let place = place(&scratch);
    let mut restore =
        barman(&scratch, "barman-cloud-restore", &template, "restore", "URL srv 20261121T031421 PLACE/data");
    let intact = |before: &Tree, after: &Tree, now: &Tree| {
        assert!(below(now, "storage/") == below(before, "storage/"));
        if now.contains_key("data/global/pg_control") {
            assert!(after.keys().all(|path| now.contains_key(path)), "a cluster that is not whole");
            fs::remove_dir_all(place.join("data")).unwrap();
        }
    };
    restore.intact = &intact;
    restore.survives();
}

/// From wal-g's layout to barman's, WAL and a backup.
#[test]
fn copy() {
    let scratch = Scratch::new();
    let template = repository(&scratch, FULL);
    fs::create_dir(template.join("barman")).unwrap();
    fs::create_dir(template.join("scratch")).unwrap();
    scratch.own(&template);
    let place = place(&scratch);
    let env = tool(&scratch, FULL, &place).env().clone();
    let config = scratch.file("walg.json", &serde_json::to_string(&env).unwrap());
    let url = format!("file://{}", place.join("barman").display());
    let restored = scratch.absent("restored");
    let restore = || {
        let _ = fs::remove_dir_all(&restored);
        let list = Barman::seawall(&scratch).run(&scratch, "backup-list", ["--format", "json", &url, "srv"]);
        let list: serde_json::Value = serde_json::from_str(&list.success().stdout).unwrap();
        let Some(id) = list["backups_list"].get(0).map(|backup| backup["backup_id"].as_str().unwrap()) else {
            return Tree::new();
        };
        let line = [url.as_str(), "srv", id, path_text(&restored)];
        Barman::seawall(&scratch).run(&scratch, "restore", line).success();
        kill::tree(&restored)
    };
    let is_done =
        |tree: &Tree| tree.values().any(|content| content.windows(11).any(|text| text == b"status=DONE"));
    let mut copy = Scenario {
        name: "copy",
        scratch: &scratch,
        template,
        tool: Tool::seawall(&scratch),
        arguments: texts(["copy", "--from-walg", path_text(&config), "--gzip", "--scratch"]),
        intact: &|before, after, now| {
            assert!(below(now, "storage/") == below(before, "storage/"));
            old_or_new(&Tree::new(), after, &below(now, "barman/srv/wals/"));
            if is_done(now) {
                assert!(restore().contains_key("global/pg_control"));
            }
        },
        done_says: None,
        afterwards: &nothing,
        result: &|tree| {
            assert!(below(&tree, "scratch/").is_empty(), "{:?}", tree.keys());
            let mut result = restore();
            result.extend(below(&tree, "barman/srv/wals/"));
            result
        },
    };
    copy.arguments.extend(texts([path_text(&place.join("scratch")), &url, "srv"]));
    copy.survives();

    // What a killed copy has stored is no part of the backup, and its scratch directory is not kept.
    let place = &copy.template;
    let id = kill::tree(&kill::place(&scratch))
        .into_keys()
        .find_map(|path| Some(path.strip_prefix("barman/srv/base/")?.split_once('/')?.0.to_owned()));
    let stored = Path::new("barman/srv/base").join(id.unwrap()).join("data_0007.tar.gz");
    fs::create_dir_all(place.join(&stored).parent().unwrap()).unwrap();
    fs::write(place.join(&stored), "half").unwrap();
    fs::create_dir(place.join("scratch/seawall-copy-1-0")).unwrap();
    fs::write(place.join("scratch/seawall-copy-1-0.lock"), "").unwrap();
    scratch.own(place);
    copy.reset();
    copy.run().success();
    assert!(!kill::place(&scratch).join(&stored).exists());
    assert_eq!(fs::read_dir(kill::place(&scratch).join("scratch")).unwrap().count(), 0);
}

/// Full backups and deltas in a directory: at random moments.
#[test]
fn backup_push() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = support::repository(&scratch);
    let cluster = backups::server(&scratch, &postgres);
    backups::Taker {
        scratch: &scratch,
        take: &|| backups::walg_command(&scratch, &cluster, &seawall, &["--full"]),
        complete: &|| bucket.backups(),
        restore: &|name, target| backups::walg_restore(&scratch, &seawall, name, target),
        clear: &|| backups::clear(&bucket),
        names: Names::OfTheirOwn,
    }
    .survives_moments(3);

    // Deltas build on the one that stays.
    backups::clear(&bucket);
    support::run(&mut backups::walg_command(&scratch, &cluster, &seawall, &["--full"])).success();
    let full = bucket.backups();
    let seawall = seawall.clone().with("WALG_DELTA_MAX_STEPS", "5");
    backups::Taker {
        scratch: &scratch,
        take: &|| backups::walg_command(&scratch, &cluster, &seawall, &[]),
        complete: &|| bucket.backups(),
        restore: &|name, target| backups::walg_restore(&scratch, &seawall, name, target),
        clear: &|| {
            let stays =
                |key: &String| full.iter().any(|name| key.starts_with(&format!("basebackups_005/{name}")));
            for key in bucket.keys().iter().filter(|key| key.contains("_D_") || !stays(key)) {
                bucket.delete(key);
            }
        },
        names: Names::OfTheirOwn,
    }
    .survives_moments(3);

    // What the killed ones have left unfinished is found when it is old.
    let path = Path::new(bucket.setting("WALG_FILE_PREFIX"));
    let left = path.join("basebackups_005/base_000000010000000000000001/tar_partitions");
    fs::create_dir_all(&left).unwrap();
    let left = left.join("part_001.tar.lz4.tmp.20260101T000000Z-0123456789abcdef");
    fs::write(&left, "half").unwrap();
    scratch.own(path);
    let old = SystemTime::now() - Duration::from_secs(25 * 3600);
    fs::File::options().append(true).open(&left).unwrap().set_modified(old).unwrap();
    let before = bucket.unfinished();
    let garbage = seawall.run(&scratch, ["delete", "garbage"]).success();
    garbage
        .stderr_has("Unfinished object marked for deletion: basebackups_005/base_000000010000000000000001");
    assert_eq!(bucket.unfinished(), before, "a dry run");
    seawall.run(&scratch, ["delete", "garbage", "--confirm"]).success();
    assert_eq!(bucket.unfinished().len(), before.len() - 1, "the others may be being written");
    assert!(!left.exists() && !left.parent().unwrap().exists());
}

/// In parts, on S3: at requests.
#[test]
fn backup_push_on_s3() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let gate = Gate::to(bucket.setting("AWS_ENDPOINT"));
    let direct = Tool::seawall(&scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", "none");
    let gated = direct.clone().with("AWS_ENDPOINT", &gate.endpoint());
    let cluster = backups::server(&scratch, &postgres);
    backups::Taker {
        scratch: &scratch,
        take: &|| backups::walg_command(&scratch, &cluster, &gated, &["--full"]),
        complete: &|| bucket.backups(),
        restore: &|name, target| backups::walg_restore(&scratch, &direct, name, target),
        clear: &|| backups::clear(&bucket),
        names: Names::OfTheirOwn,
    }
    .survives_requests(&gate);
    let before = bucket.unfinished();
    direct.run(&scratch, ["delete", "garbage", "--confirm"]).success();
    assert_eq!(bucket.unfinished(), before, "young ones may be going on");
}

#[test]
fn barman_cloud_backup_on_s3() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let gate = Gate::to(bucket.setting("AWS_ENDPOINT"));
    let barman = Barman::seawall(&scratch).for_bucket(&bucket);
    let (url, endpoint) = (bucket.setting("WALG_S3_PREFIX"), gate.endpoint());
    let cluster = backups::server(&scratch, &postgres);
    let place = ["--endpoint-url", endpoint.as_str(), url, "srv"];
    backups::Taker {
        scratch: &scratch,
        take: &|| {
            next_second();
            backups::barman_command(&scratch, &cluster, &barman, &place)
        },
        complete: &|| backups::barman_done(&bucket),
        restore: &|id, target| {
            let line = ["--endpoint-url", bucket.setting("AWS_ENDPOINT"), url, "srv", id, path_text(target)];
            barman.run(&scratch, "restore", line).success();
        },
        clear: &|| backups::clear(&bucket),
        names: Names::OfTheirOwn,
    }
    .survives_requests(&gate);
}

/// As the hook script of a barman server, which calls it again for the same backup.
#[test]
fn barman_cloud_backup_as_a_hook_on_s3() {
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let gate = Gate::to(bucket.setting("AWS_ENDPOINT"));
    let barman = Barman::seawall(&scratch).for_bucket(&bucket);
    let backup = ServerBackup::of_fixture(&scratch);
    let hook = barman.tool("backup").with_all(backup.hook());
    let (url, endpoint) = (bucket.setting("WALG_S3_PREFIX"), gate.endpoint());
    backups::Taker {
        scratch: &scratch,
        take: &|| hook.command(&scratch, ["--endpoint-url", endpoint.as_str(), url, "srv"]),
        complete: &|| backups::barman_done(&bucket),
        restore: &|id, target| {
            let place = ["--endpoint-url", bucket.setting("AWS_ENDPOINT"), url, "srv"];
            let extra = scratch.absent("restored.extra");
            let tablespace = format!("extra:{}", path_text(&extra));
            let line = [&["--tablespace", &tablespace], &place[..], &[id, path_text(target)]].concat();
            barman.run(&scratch, "restore", line).success();
            fs::remove_dir_all(extra).unwrap();
        },
        clear: &|| backups::clear(&bucket),
        names: Names::Given,
    }
    .survives_requests(&gate);
}

/// The first signal ends every command, within five seconds and as the signal's.
#[test]
fn every_command_dies_by_the_signal() {
    let scratch = Scratch::new();
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let config = scratch.file("walg.json", r#"{"WALG_FILE_PREFIX":"/"}"#);
    let segment = "000000010000000000000007";
    let walg = [
        format!("wal-push {}", history.display()),
        format!("wal-fetch {segment} fetched"),
        format!("wal-prefetch {segment} prefetched/RECOVERYXLOG"),
        "backup-list".to_owned(),
        "backup-show LATEST".to_owned(),
        "backup-mark LATEST".to_owned(),
        "backup-fetch data LATEST".to_owned(),
        "delete retain 1 --confirm".to_owned(),
        "delete garbage --confirm".to_owned(),
        "wal-show".to_owned(),
        "wal-verify integrity --timeline 1 --lsn 0/3000000".to_owned(),
        "storage check".to_owned(),
    ];
    let barman = [
        format!("wal-archive PLACE {}", history.display()),
        format!("wal-restore PLACE {segment} restored"),
        "check-wal-archive PLACE".to_owned(),
        "backup-list PLACE".to_owned(),
        "backup-show PLACE latest".to_owned(),
        "backup-keep -s PLACE latest".to_owned(),
        "backup-delete -b latest PLACE".to_owned(),
        "restore PLACE latest data".to_owned(),
    ];
    let walg = walg.iter().map(|line| line.split(' ').map(str::to_owned).collect());
    let barman = barman.iter().map(|line| {
        let words = ["barman-cloud"].into_iter().chain(line.split(' '));
        words
            .flat_map(|word| if word == "PLACE" { vec!["s3://bucket/prefix", "srv"] } else { vec![word] })
            .map(str::to_owned)
            .collect()
    });
    let copy =
        ["copy", "--to-walg", path_text(&config), "s3://bucket/prefix", "srv"].map(str::to_owned).into();
    let lines: Vec<Vec<String>> = walg.chain(barman).chain([copy]).collect();
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        std::thread::scope(|scope| {
            for line in &lines {
                scope.spawn(|| {
                    let work = scratch.dir(&line.join("-").replace('/', "-"));
                    signals::dies(&scratch, &work, line, signal);
                    let left: Vec<_> = kill::tree(&work).into_keys().collect();
                    assert!(left.is_empty(), "{left:?}");
                    fs::remove_dir_all(work).unwrap();
                });
            }
        });
    }
}

/// A backup that is told to end ends its uploads, too.
#[test]
fn a_terminated_backup_leaves_no_uploads() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let tool = Tool::seawall(&scratch)
        .with_all(bucket.env())
        .with("WALG_COMPRESSION_METHOD", "none")
        .with("WALG_S3_MAX_PART_SIZE", "5242880");
    let cluster = backups::server(&scratch, &postgres);
    let mut backup = cluster.start_slow_backup(&tool, 1_000_000);
    support::wait_until_it_copies(&mut backup);
    while bucket.unfinished().is_empty() {
        assert!(backup.try_wait().unwrap().is_none(), "it ended before it sent a part");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The echo of a signal is not the order to leave everything.
    signals::send_twice(&backup, Signal::TERM);
    let ended = signals::wait(backup);
    assert_eq!(ended, Some(Signal::TERM.as_raw()));
    assert_eq!((bucket.unfinished(), bucket.keys()), (Vec::new(), Vec::new()));
}

/// A restore that is told to end leaves the directory as it found it.
#[test]
fn a_terminated_restore_leaves_nothing() {
    let scratch = Scratch::new();
    let template = repository(&scratch, CHAIN);
    let data = scratch.absent("data");
    let slow = tool(&scratch, CHAIN, &template).with("WALG_NETWORK_RATE_LIMIT", "200000");
    let mut child = signals::start(&mut slow.command(&scratch, ["backup-fetch", path_text(&data), "LATEST"]));
    while !data.join("seawall_restore_unfinished").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it restored anything");
        std::thread::sleep(Duration::from_millis(5));
    }
    signals::send_twice(&child, Signal::TERM);
    assert_eq!(signals::wait(child), Some(Signal::TERM.as_raw()));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}
