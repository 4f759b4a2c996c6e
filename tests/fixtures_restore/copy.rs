//! `copy` of repositories of which something cannot be copied, and what it is told.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Barman, Fixture, Run, Scratch, Tool};

/// A wal-g repository and a directory for barman's.
struct Copy<'a> {
    scratch: &'a Scratch,
    fixture: Fixture,
    tool: Tool,
}

impl<'a> Copy<'a> {
    fn new(scratch: &'a Scratch, fixture: &str) -> Self {
        let server = scratch.absent("server");
        fs::create_dir_all(&server).unwrap();
        scratch.own(&server);
        Self { scratch, fixture: Fixture::open(scratch, fixture), tool: Tool::seawall(scratch) }
    }

    fn repository(&self) -> PathBuf {
        self.fixture.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1.into()
    }

    fn url(&self) -> String {
        format!("file://{}", self.scratch.path().join("server").display())
    }

    /// To barman's layout.
    fn there(&self, flags: &[&str], server: &str) -> Run {
        let config = self.fixture.config(self.scratch, "source.json");
        let line = [&["copy", "--from-walg", config.to_str().unwrap(), "--gzip"], flags].concat();
        self.tool.run(self.scratch, line.into_iter().chain([self.url().as_str(), server]))
    }

    /// From there into another repository of wal-g's.
    fn back(&self, flags: &[&str], storage: &str) -> Run {
        let storage = self.scratch.path().join(storage);
        fs::create_dir_all(storage.join("basebackups_005")).unwrap();
        self.scratch.own(&storage);
        let config = self.fixture.copied_to(&storage, &[]).config(self.scratch, "target.json");
        let line = [&["copy", "--to-walg", config.to_str().unwrap()], flags].concat();
        self.tool.run(self.scratch, line.into_iter().chain([self.url().as_str(), "srv"]))
    }

    /// The folders of barman's backups, the oldest first.
    fn backups(&self, server: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.scratch.path().join("server").join(server).join("base")).unwrap();
        let mut folders: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    }

    /// The names of wal-g's.
    fn sentinels(&self, storage: &str) -> Vec<String> {
        let entries = fs::read_dir(self.scratch.path().join(storage).join("basebackups_005")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| Some(name.strip_suffix("_backup_stop_sentinel.json")?.to_owned())).collect()
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn changed(path: &Path, change: impl FnOnce(String) -> String) {
    fs::write(path, change(fs::read_to_string(path).unwrap())).unwrap();
}

/// Links to tablespaces in it lead from where they are.
#[test]
fn a_relative_scratch_directory() {
    let scratch = Scratch::new();
    let mut copy = Copy::new(&scratch, "lz4-plain-tablespace");
    scratch.dir("unpacked");
    copy.there(&["--scratch", "unpacked"], "flag").success();
    copy.tool = copy.tool.with("TMPDIR", "unpacked");
    copy.there(&[], "variable").success();
    for server in ["flag", "variable"] {
        let backups = copy.backups(server);
        assert_eq!(backups.len(), copy.fixture.backups.len());
        for folder in backups {
            assert!(folder.join("16384.tar.gz").exists(), "{}", folder.display());
            let restored = scratch.absent(&format!("{server}-{}", name(&folder)));
            let tablespace = restored.with_added_extension("tablespace");
            let moved = format!("16384:{}", tablespace.display());
            let line =
                ["--tablespace", &moved, &copy.url(), server, name(&folder), restored.to_str().unwrap()];
            Barman::seawall(&scratch).run(&scratch, "restore", line).success();
            assert!(fs::read_dir(tablespace).unwrap().count() > 0);
        }
    }
    assert_eq!(fs::read_dir(scratch.path().join("unpacked")).unwrap().count(), 0);
}

/// As WAL-E wrote it: no hole without a word.
#[test]
fn wal_in_an_unknown_compression() {
    let scratch = Scratch::new();
    let copy = Copy::new(&scratch, "lz4-plain-tablespace");
    let archived = copy.repository().join("wal_005/000000010000000000000001");
    let [known, unknown] = ["lz4", "lzo"].map(|extension| archived.with_extension(extension));
    fs::rename(&known, &unknown).unwrap();
    fs::write(archived.with_extension("json"), "{}").unwrap();
    for flags in [&["--only-wal"][..], &[]] {
        copy.there(flags, "srv")
            .fails(1)
            .stderr_has("their compression is not known: wal_005/000000010000000000000001.lzo\n");
    }
    assert_eq!(copy.backups("srv").len(), copy.fixture.backups.len(), "all else is copied");
    fs::copy(&unknown, &known).unwrap();
    copy.there(&[], "srv").success();
}

/// The others are copied, and the end says which were not.
#[test]
fn a_backup_that_cannot_be_restored_is_not_copied() {
    let scratch = Scratch::new();
    let copy = Copy::new(&scratch, "brotli-sodium-hex");
    copy.there(&[], "srv").success();
    let backups = copy.backups("srv");
    let [damaged, unreadable, _] = backups.as_slice() else { panic!("{backups:?}") };
    let tar = damaged.join("data.tar.gz");
    let content = fs::read(&tar).unwrap();
    fs::write(&tar, &content[..content.len() / 2]).unwrap();
    fs::write(unreadable.join("backup.info"), "no backup.info").unwrap();
    let names = format!("since they cannot be restored: {}, {}\n", name(unreadable), name(damaged));
    copy.back(&[], "back")
        .fails(1)
        .stderr_has(&names)
        .stderr_has(&format!("backup {} is not copied: cannot read the content of `base/", name(damaged)));
    assert_eq!(copy.sentinels("back").len(), 1);
    copy.back(&["--backup", name(unreadable)], "back").fails(1);
    fs::remove_file(&tar).unwrap();
    copy.back(&["--backup", name(damaged)], "back").fails(1).stderr_has("it lacks the tar");
    fs::write(&tar, content).unwrap();
    copy.back(&["--backup", name(damaged)], "back").success();
    assert_eq!(copy.sentinels("back").len(), 2);

    let first = &copy.fixture.backups.first().unwrap().name;
    let last = &copy.fixture.backups.last().unwrap().name;
    let sentinel = format!("basebackups_005/{last}_backup_stop_sentinel.json");
    fs::write(copy.repository().join(sentinel), "{").unwrap();
    copy.there(&[], "other").fails(1).stderr_has(&format!("they cannot be restored: {last}\n"));
    assert_eq!(copy.backups("other").len(), 2);
    copy.there(&["--backup", first], "other").success();
}

#[test]
fn a_backup_is_named_as_its_catalogue_does() {
    let scratch = Scratch::new();
    let copy = Copy::new(&scratch, "brotli-sodium-hex");
    let last = copy.there(&["--backup", "LATEST"], "latest").success().stdout;
    assert!(last.starts_with(&copy.fixture.backups.last().unwrap().name), "{last}");
    assert_eq!(copy.backups("latest").len(), 1);

    copy.there(&[], "srv").success();
    let backups = copy.backups("srv");
    let called = |info: String| format!("{}backup_name=nightly\n", info.replace("backup_name=None\n", ""));
    changed(&backups[1].join("backup.info"), called);
    for (text, meant) in [("oldest", 0), ("nightly", 1), ("latest", 2)] {
        let copied = copy.back(&["--backup", text], text).success().stdout;
        assert!(copied.starts_with(name(&backups[meant])), "{text}: {copied}");
        assert_eq!(copy.sentinels(text).len(), 1);
    }
    copy.back(&["--backup", "weekly"], "weekly").fails(4).stderr_has("no backup is called `weekly`");
    copy.there(&["--backup", "weekly"], "srv").fails(1).stderr_has("no finished backup `weekly`");
}

/// barman's ids are seconds.
#[test]
fn two_backups_of_one_second() {
    let scratch = Scratch::new();
    let copy = Copy::new(&scratch, "brotli-sodium-hex");
    let folder = copy.repository().join("basebackups_005");
    for backup in &copy.fixture.backups {
        let at = |time: &str, text: String| {
            let mut json: Value = serde_json::from_str(&text).unwrap();
            assert!(json.get(time).is_some(), "{json}");
            json[time] = json!("2026-11-21T02:00:00.123456Z");
            json.to_string()
        };
        let sentinel = folder.join(format!("{}_backup_stop_sentinel.json", backup.name));
        changed(&sentinel, |text| at("StartTime", text));
        changed(&folder.join(&backup.name).join("metadata.json"), |text| at("start_time", text));
    }
    for _ in 0..2 {
        copy.there(&[], "srv").success();
        let backups = copy.backups("srv");
        let ids: Vec<&str> = backups.iter().map(|folder| name(folder)).collect();
        assert_eq!(ids, ["20261121T020000", "20261121T020001", "20261121T020002"]);
    }
    let begins = |folder: &PathBuf| {
        let info = fs::read_to_string(folder.join("backup.info")).unwrap();
        info.lines().find(|line| line.starts_with("begin_xlog=")).unwrap().to_owned()
    };
    let begins: std::collections::BTreeSet<_> = copy.backups("srv").iter().map(begins).collect();
    assert_eq!(begins.len(), 3, "{begins:?}");
}

#[test]
fn a_repository_is_taken_over_from_the_cluster_that_is_named() {
    let scratch = Scratch::new();
    Copy::new(&scratch, "brotli-sodium-hex").there(&["--only-wal"], "srv").success();
    let mut copy = Copy::new(&scratch, "lz4-plain-tablespace");
    let refused = copy.there(&["--only-wal"], "srv").fails(1).stderr_has("SEAWALL_TAKE_OVER_FROM=");
    let (_, owner) = refused.stderr.split_once("SEAWALL_TAKE_OVER_FROM=").unwrap();
    let owner: String = owner.chars().take_while(char::is_ascii_digit).collect();
    copy.tool = copy.tool.with("SEAWALL_TAKE_OVER_FROM", &owner);
    copy.there(&["--only-wal"], "srv").success().stderr_has("took");
}
