//! Backups that are made of snapshots of EBS volumes: with moto for EC2, by seawall and the real barman-cloud by turns; and
//! what EC2 can do wrong, with one that answers what the test says.
//!
//! A volume's device is here what the machine has mounted where the cluster lies, or another mount that there is once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use support::{
    Barman, Bucket, Cluster, Missing, Moto, Postgres, REGION, Run, Scratch, Script, run, wait_until_it_says,
};

const SERVER: &str = "srv";

/// A cluster that runs, and a repository.
struct Stage<'a> {
    scratch: &'a Scratch,
    cluster: Cluster<'a>,
    /// Flags and URL of the repository.
    place: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(scratch: &'a Scratch, postgres: &Postgres, place: &[&str]) -> Self {
        let mut cluster = Cluster::create(scratch, postgres, "source", &[]);
        // Its files are copied while it runs.
        cluster.configure("checkpoint_timeout", "1h");
        cluster.start();
        cluster.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) AS id");
        Self { scratch, cluster, place: place.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn command(&self, barman: &Barman, command: &str, more: &[&str]) -> std::process::Command {
        let mut words: Vec<&str> = self.place.iter().map(String::as_str).collect();
        words.push(SERVER);
        words.extend(more);
        let mut command = barman.tool(command).command(self.scratch, words);
        let libpq = self.cluster.libpq_env();
        command.envs(["PGHOST", "PGPORT", "PGUSER"].map(|name| (name, &libpq[name])));
        command
    }

    fn run(&self, barman: &Barman, command: &str, more: &[&str]) -> Run {
        run(&mut self.command(barman, command, more))
    }

    /// The server has no backup running: its session is gone.
    fn no_backup_runs(&self) {
        self.cluster.wait_until(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'barman_cloud_backup'",
            "0",
        );
    }
}

/// The device, the directory and the options of a mount that there is once: if it can be, that of this directory.
fn mount(of: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts: Vec<(String, String)> = mounts
        .lines()
        .map(|line| {
            let (mount, system) = line.split_once(" - ").unwrap();
            (mount.split(' ').nth(4).unwrap().to_owned(), system.split(' ').nth(1).unwrap().to_owned())
        })
        .collect();
    let once = |(_, source): &&(String, String)| {
        mounts.iter().filter(|(_, other)| other == source).count() == 1 && source != "none"
    };
    let above = mounts.iter().filter(once).filter(|(point, _)| of.starts_with(point));
    let best = above.max_by_key(|(point, _)| point.len());
    best.or_else(|| mounts.iter().find(once)).unwrap().1.clone()
}

/// The fields of a `backup.info` that do not depend on time, with its ids replaced.
fn fields(info: &str, id: &str, snapshot: &str) -> BTreeMap<String, String> {
    let info = info.replace(id, "ID").replace(&id.to_lowercase(), "ID").replace(snapshot, "SNAP");
    let of_time =
        |name: &str| name.starts_with("begin_") || name.starts_with("end_") || name == "cluster_size";
    let fields = info.lines().map(|line| line.split_once('=').unwrap());
    let fields = fields.filter(|(name, _)| !of_time(name)).map(|(name, value)| {
        let value = match name {
            "copy_stats" => value.split([':', ',']).step_by(2).collect::<Vec<_>>().join(","),
            "backup_label" => value.rsplit_once("LABEL: ").unwrap().1.to_owned(),
            _ => value.to_owned(),
        };
        (name.to_owned(), value)
    });
    fields.collect()
}

#[test]
fn crosswise_with_barman() {
    let (postgres, barman) = (require!(Postgres::version(15)), require!(Barman::real()));
    let (bucket, moto) = (require!(Bucket::versitygw()), require!(Moto::start()));
    let scratch = Scratch::new();
    let device = mount(scratch.path());
    let instance = moto.instance("db");
    let volume = moto.volume(&instance, "named", &device, None);
    let url = bucket.setting("WALG_S3_PREFIX");
    let stage = Stage::new(&scratch, &postgres, &["--endpoint-url", bucket.setting("AWS_ENDPOINT"), url]);
    let in_ec2 = |barman: Barman| barman.for_bucket(&bucket).with("AWS_ENDPOINT_URL_EC2", &moto.endpoint());
    let (ours, barmans) = (in_ec2(Barman::seawall(&scratch)), in_ec2(barman));

    let mut described = Vec::new();
    for (round, (writer, reader)) in [(&ours, &barmans), (&barmans, &ours)].into_iter().enumerate() {
        // By name, and by id.
        let (instance, disk) = [("db", "named"), (&instance, &volume)][round];
        let line = [
            &["--immediate-checkpoint", "--aws-region", REGION, "--tag", "a,b"][..],
            &["--snapshot-instance", instance, "--snapshot-disk", disk],
        ];
        stage.run(writer, "backup", &line.concat()).fails(0);
        let [snapshot] = &moto.snapshots(&volume)[..] else { panic!("{:?}", moto.snapshots(&volume)) };
        let shown = both(&stage, reader, writer, "backup-show", &["latest"]);
        assert!(shown.contains(snapshot.as_str()), "{shown}");
        both(&stage, reader, writer, "backup-show", &["latest", "--format", "json"]);
        let list = both(&stage, reader, writer, "backup-list", &[]);
        let id = list.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();

        let info = String::from_utf8(bucket.get(&format!("{SERVER}/base/{id}/backup.info"))).unwrap();
        described.push(fields(&info.replace(disk, "DISK"), &id, snapshot));
        let label = bucket.get(&format!("{SERVER}/base/{id}/backup_label"));
        restores(&stage, &moto, reader, &device, &id, snapshot, &label, &postgres);

        let deletes = ["--backup-id", &id];
        let told = both(&stage, reader, writer, "backup-delete", &["--backup-id", &id, "--dry-run"]);
        assert!(told.starts_with("Skipping deletion of snapshots due to --dry-run option\n"), "{told}");
        assert_eq!(moto.snapshots(&volume).len(), 1);
        stage.run(reader, "backup-delete", &deletes).fails(0);
        assert_eq!((moto.snapshots(&volume), bucket.keys()), (Vec::<String>::new(), Vec::new()));
    }
    assert_eq!(described[0], described[1]);
    assert_eq!(described[0]["server_name"], SERVER);
}

/// What both print.
#[track_caller]
fn both(stage: &Stage<'_>, one: &Barman, other: &Barman, command: &str, more: &[&str]) -> String {
    let one = stage.run(one, command, more).success().stdout;
    assert_eq!(one, stage.run(other, command, more).success().stdout, "{command} {more:?}");
    one
}

/// The label comes when the volume is there, as it was; and recovery begins with it.
#[expect(clippy::too_many_arguments, reason = "all of a backup")]
fn restores(
    stage: &Stage<'_>,
    moto: &Moto,
    reader: &Barman,
    device: &str,
    id: &str,
    snapshot: &str,
    label: &[u8],
    postgres: &Postgres,
) {
    let name = format!("recovery-{id}");
    let recovery = moto.instance(&name);
    let data = stage.scratch.absent(&name);
    let target = data.to_str().unwrap();
    let restore = |more: &[&str]| stage.run(reader, "restore", &[&[id, target][..], more].concat());
    restore(&[]).fails(4);
    restore(&["--snapshot-recovery-instance", "nobody"]).fails(4);
    let here = ["--snapshot-recovery-instance", name.as_str()];
    restore(&here).fails(4).stderr_has(snapshot);
    moto.volume(&recovery, "other", "/dev/sdx", Some(snapshot));
    restore(&here).fails(4).stderr_has("/dev/sdx");
    let recovery = moto.instance(&format!("{name}-2"));
    moto.volume(&recovery, "data", device, Some(snapshot));
    let here = ["--snapshot-recovery-instance", recovery.as_str()];
    restore(&[&here[..], &["--tablespace", "t:/x"]].concat()).fails(4);
    restore(&here).fails(4);

    stage.scratch.copy(stage.cluster.data(), &name);
    fs::remove_file(data.join("postmaster.pid")).unwrap();
    restore(&here).fails(0);
    assert_eq!(fs::read(data.join("backup_label")).unwrap(), label);
    let mut restored = Cluster::restored(stage.scratch, postgres, &name);
    restored.start();
    assert_eq!(restored.sql("SELECT count(*) FROM ledger"), "1000");
    assert!(restored.log().contains("redo starts at "), "{}", restored.log());
    restored.stop();
}

/// A stage with a repository in a directory.
fn in_directory(scratch: &Scratch) -> Result<(Stage<'_>, Bucket), Missing> {
    let postgres = Postgres::version(15)?;
    let bucket = Bucket::directory(scratch, "storage");
    let url = format!("file://{}", bucket.setting("WALG_FILE_PREFIX"));
    Ok((Stage::new(scratch, &postgres, &[&url]), bucket))
}

fn seawall(scratch: &Scratch, script: &Script) -> Barman {
    Barman::seawall(scratch)
        .with("AWS_ACCESS_KEY_ID", "key")
        .with("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        .with("AWS_DEFAULT_REGION", REGION)
        .with("AWS_ENDPOINT_URL", script.endpoint())
}

fn error(code: &str) -> (u16, String) {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"
    );
    (400, body)
}

/// EC2 with one instance and one volume, whose snapshots are in this state.
fn sound(form: &str, device: &str, state: &str) -> (u16, String) {
    let action = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap();
    let snapshot = format!(
        "<snapshotId>snap-1</snapshotId><ownerId>1</ownerId><status>{state}</status><progress>42%</progress>"
    );
    let body = match action {
        "DescribeInstances" => format!(
            "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><rootDeviceName>/dev/sda1</rootDeviceName>\
             <blockDeviceMapping><item><deviceName>{device}</deviceName><ebs><volumeId>vol-1</volumeId></ebs></item>\
             </blockDeviceMapping></item></instancesSet></item></reservationSet>"
        ),
        "DescribeVolumes" => format!(
            "<volumeSet><item><volumeId>vol-1</volumeId><attachmentSet><item><instanceId>i-1</instanceId>\
             <device>{device}</device></item></attachmentSet></item></volumeSet>"
        ),
        "CreateSnapshot" => snapshot.replace(state, "pending"),
        "DescribeSnapshots" => format!("<snapshotSet><item>{snapshot}</item></snapshotSet>"),
        _ => String::new(),
    };
    (200, format!("<{action}Response>{body}</{action}Response>"))
}

const SNAPSHOTS: [&str; 5] =
    ["--immediate-checkpoint", "--snapshot-instance", "i-1", "--snapshot-disk", "vol-1"];

fn info(bucket: &Bucket) -> String {
    let infos: Vec<String> = bucket.keys().into_iter().filter(|key| key.ends_with("backup.info")).collect();
    let [info] = &infos[..] else { panic!("{infos:?}") };
    String::from_utf8(bucket.get(info)).unwrap()
}

#[test]
fn locked_and_patient() {
    let scratch = Scratch::new();
    let (stage, bucket) = require!(in_directory(&scratch));
    let device = mount(scratch.path());
    // The snapshot is made and the answer lost, so it is looked for: the first question about snapshots. Not by its name, which
    // the snapshot of another cluster on this volume has that began in the same second.
    let script = Script::new(move |form, before| {
        match (form.split('&').next().unwrap().split_once('=').unwrap().1, before) {
            ("CreateSnapshot", 0) => (503, String::new()),
            ("DescribeSnapshots", 2..) => sound(form, &device, "completed"),
            (_, 0) if !form.contains("DescribeSnapshots") => error("RequestLimitExceeded"),
            _ => sound(form, &device, "pending"),
        }
    });
    let ours = seawall(&scratch, &script);
    let tablespace = scratch.dir("extra");
    stage.cluster.sql(&format!("CREATE TABLESPACE extra LOCATION '{}'", tablespace.display()));
    let lock = ["--aws-snapshot-lock-mode", "compliance", "--aws-snapshot-lock-cool-off-period", "2"];
    let more = ["--aws-snapshot-lock-expiration-date", "2036-12-31T23:59:59.000Z", "--tag", "k, v w"];
    stage.run(&ours, "backup", &[&SNAPSHOTS[..], &lock, &more].concat()).fails(0);
    let info = info(&bucket);
    assert!(info.contains("status=DONE") && info.contains("'snapshot_lock_mode': 'compliance'"), "{info}");
    let tablespaces = info.lines().find(|line| line.starts_with("tablespaces=")).unwrap();
    assert!(
        tablespaces.starts_with("tablespaces=[('extra', ") && tablespaces.contains("/extra')]"),
        "{info}"
    );
    let [create] = &script.asked("CreateSnapshot")[..] else { panic!("made twice") };
    assert!(create.contains("TagSpecification.1.Tag.3.Key=k&TagSpecification.1.Tag.3.Value=v+w"), "{create}");
    let mark = "TagSpecification.1.Tag.2.Key=seawall-backup&TagSpecification.1.Tag.2.Value=";
    let mark = create.split_once(mark).unwrap().1.split('&').next().unwrap();
    assert_eq!(mark.len(), 16, "{create}");
    let asked = &script.asked("DescribeSnapshots")[0];
    assert!(
        asked.contains(&format!("Filter.2.Name=tag%3Aseawall-backup&Filter.2.Value.1={mark}")),
        "{asked}"
    );
    assert_eq!(
        script.asked("LockSnapshot").pop().unwrap(),
        "Action=LockSnapshot&Version=2016-11-15&SnapshotId=snap-1&LockMode=compliance&ExpirationDate=2036-12-31T23%3A59%3A59Z&\
         CoolOffPeriod=2"
    );
    assert_eq!(script.asked("DeleteSnapshot").len(), 0);
    stage.no_backup_runs();
}

#[test]
fn what_fails_leaves_nothing() {
    let scratch = Scratch::new();
    let (stage, bucket) = require!(in_directory(&scratch));
    let device = mount(scratch.path());
    for (state, more, says) in [
        ("error", &[][..], "snapshot snap-1 failed: EC2 does not say why"),
        (
            "pending",
            &["--aws-await-snapshots-timeout", "1"],
            "snap-1 (42%)\nhint: the first snapshot of a large",
        ),
    ] {
        let device = device.clone();
        let script = Script::new(move |form, _| sound(form, &device, state));
        let ours = seawall(&scratch, &script);
        let failed = stage.run(&ours, "backup", &[&SNAPSHOTS[..], more].concat()).fails(1).stderr_has(says);
        assert!(!failed.stderr.contains("s3cr3t"), "{failed}");
        assert!(info(&bucket).contains("status=FAILED") && !info(&bucket).contains("snap-1'"));
        assert_eq!(script.asked("DeleteSnapshot").len(), 1);
        stage.no_backup_runs();
        bucket.keys().iter().for_each(|key| bucket.delete(key));
    }

    // It is not known whether there is one.
    let named = device.clone();
    let script = Script::new(move |form, _| match form.contains("Action=CreateSnapshot") {
        true => (503, String::new()),
        false if form.contains("Action=DescribeSnapshots") => {
            (200, "<DescribeSnapshotsResponse><snapshotSet/></DescribeSnapshotsResponse>".to_owned())
        }
        false => sound(form, &named, "completed"),
    });
    let ours = seawall(&scratch, &script).with("AWS_MAX_ATTEMPTS", "2");
    stage
        .run(&ours, "backup", &SNAPSHOTS)
        .fails(1)
        .stderr_has("WARNING: a snapshot `vol-1-")
        .stderr_has("` of vol-1 may be left");
    assert!(info(&bucket).contains("status=FAILED"));
    assert_eq!(script.asked("DeleteSnapshot").len(), 0);
    bucket.keys().iter().for_each(|key| bucket.delete(key));

    // Before anything is begun.
    for (refusal, says) in [
        ("UnauthorizedOperation", "their policy has to allow ec2:DescribeInstances"),
        ("AuthFailure", "hint: check the keys"),
        ("InvalidInstanceID.NotFound", "there is no instance `i-1` in http://127.0.0.1"),
    ] {
        let script = Script::new(move |_, _| error(refusal));
        stage.run(&seawall(&scratch, &script), "backup", &SNAPSHOTS).fails(4).stderr_has(says);
    }
    let script = Script::new(|_, _| (200, String::new()));
    let nobody = seawall(&scratch, &script)
        .with("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
        .with("AWS_MAX_ATTEMPTS", "2");
    stage
        .run(&nobody, "backup", &SNAPSHOTS)
        .fails(4)
        .stderr_has("hint: nothing listens there: check AWS_ENDPOINT_URL_EC2");
    assert_eq!(bucket.keys(), [""; 0]);
}

#[test]
fn one_that_is_interrupted_leaves_no_snapshot() {
    let scratch = Scratch::new();
    let (stage, bucket) = require!(in_directory(&scratch));
    let device = mount(scratch.path());
    let script = Script::new(move |form, _| sound(form, &device, "pending"));
    let ours = seawall(&scratch, &script);
    let mut command = stage.command(&ours, "backup", &[&SNAPSHOTS[..], &["-v"]].concat());
    let mut backup =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_it_says(&mut backup, "Waiting for completion of snapshots: snap-1");
    kill_process(Pid::from_child(&backup), Signal::TERM).unwrap();
    assert_eq!(backup.wait().unwrap().code(), None);
    assert!(info(&bucket).contains("status=FAILED"));
    assert_eq!(script.asked("DeleteSnapshot").len(), 1);
    stage.no_backup_runs();
}

#[test]
fn deletion_minds_locks() {
    let scratch = Scratch::new();
    let (stage, bucket) = require!(in_directory(&scratch));
    let device = mount(scratch.path());
    let script = Script::new(move |form, before| match (form.contains("Action=DeleteSnapshot"), before) {
        (true, 0) => error("SnapshotLocked"),
        (true, 1) => error("UnauthorizedOperation"),
        (true, _) => error("InvalidSnapshot.NotFound"),
        (false, _) => sound(form, &device, "completed"),
    });
    let ours = seawall(&scratch, &script);
    stage.run(&ours, "backup", &SNAPSHOTS).fails(0);
    let (before, keys) = (info(&bucket), bucket.keys());
    let delete = || stage.run(&ours, "backup-delete", &["--backup-id", "latest"]);
    delete().fails(1).stderr_has("snapshot snap-1 is locked\nhint: it can be deleted when its lock");
    delete().fails(4).stderr_has("ec2:DeleteSnapshot");
    assert_eq!((info(&bucket), bucket.keys()), (before, keys));
    delete().fails(0).stderr_has("snapshot snap-1 could not be found");
    assert_eq!(bucket.keys(), [""; 0]);
}
