//! Every flag and positional of the nine commands, as barman 3.19 knows them.
//!
//! Those without a text are left out of the help page: they belong to another provider.

use super::Command;
use super::grammar::{Exclusive, Flag, Grammar, Positional, Takes};

macro_rules! flags {
    ($($(#[doc = $doc:literal])+ $name:ident = $flag:expr;)+) => {
        $($(#[doc = $doc])+ pub static $name: Flag = $flag;)+
    };
}

static VERBOSITY: Exclusive = Exclusive { required: false };
static COMPRESSION: Exclusive = Exclusive { required: false };
static TAG_FLAGS: Exclusive = Exclusive { required: false };
static HISTORY_TAG_FLAGS: Exclusive = Exclusive { required: false };
static SNAPSHOT_LOCK: Exclusive = Exclusive { required: false };
static DELETE_WHAT: Exclusive = Exclusive { required: true };
static KEEP_WHAT: Exclusive = Exclusive { required: true };
static TARGET: Exclusive = Exclusive { required: false };
static DIRECTION: Exclusive = Exclusive { required: true };
static COPIED: Exclusive = Exclusive { required: false };

const PROVIDERS: [&str; 3] = ["aws-s3", "azure-blob-storage", "google-cloud-storage"];
const AZURE_CREDENTIALS: [&str; 3] = ["azure-cli", "managed-identity", "default"];

flags! {
    /// The version.
    VERSION = Flag { takes: Takes::Version, ..Flag::switch(&["-V", "--version"], "print the version") };
    /// The help page.
    HELP = Flag { takes: Takes::Help, ..Flag::switch(&["--help"], "print this page") };
    /// More log lines.
    VERBOSE = Flag::switch(&["-v", "--verbose"], "log more (twice: everything)").among(&VERBOSITY);
    /// Fewer log lines.
    QUIET = Flag::switch(&["-q", "--quiet"], "log less (twice: nothing)").among(&VERBOSITY);
    /// Only look whether the bucket can be reached.
    TEST = Flag::switch(&["-t", "--test"], "only check that the bucket can be reached and exists");
    /// The provider.
    CLOUD_PROVIDER = Flag::choice(&["--cloud-provider"], &PROVIDERS, "aws-s3, the only one that is supported");
    /// The address of the service.
    ENDPOINT_URL = Flag::value(&["--endpoint-url"], "URL", "address of an S3 service other than AWS");
    /// The profile of AWS's files.
    AWS_PROFILE = Flag::value(
        &["-P", "--aws-profile", "--profile"],
        "NAME",
        "profile of the AWS configuration; keys in the environment do not count then",
    );
    /// The longest silence of the service.
    READ_TIMEOUT = Flag::value(&["--read-timeout"], "SECONDS", "longest silence of the service");
    /// Where the bucket's name goes.
    ADDRESSING_STYLE = Flag::choice(
        &["--addressing-style"],
        &["auto", "virtual", "path"],
        "where the bucket's name goes: into the host's name (virtual) or the path; auto is virtual at AWS, path at \
         an endpoint",
    );
    /// Azure's credentials.
    AZURE_CREDENTIAL =
        Flag::choice(&["--azure-credential", "--credential", "--default"], &AZURE_CREDENTIALS, "").without_effect();

    /// gzip.
    GZIP = Flag::switch(&["-z", "--gzip"], "compress with gzip").among(&COMPRESSION);
    /// bzip2.
    BZIP2 = Flag::switch(&["-j", "--bzip2"], "compress with bzip2").among(&COMPRESSION);
    /// xz.
    XZ = Flag::switch(&["--xz"], "compress with xz").among(&COMPRESSION);
    /// snappy.
    SNAPPY = Flag::switch(&["--snappy"], "compress with snappy").among(&COMPRESSION);
    /// zstd.
    ZSTD = Flag::switch(&["--zstd"], "compress with zstd").among(&COMPRESSION);
    /// lz4.
    LZ4 = Flag::switch(&["--lz4"], "compress with lz4").among(&COMPRESSION);
    /// How hard to compress.
    COMPRESSION_LEVEL = Flag::value(
        &["--compression-level"],
        "LEVEL",
        "low, medium, high, or a number as the compression counts (the nearest that it has)",
    );

    /// Tags, several at once.
    TAGS = Flag::list(&["--tags"], "KEY,VALUE", "tags of the objects").among(&TAG_FLAGS);
    /// One tag.
    TAG = Flag::value(&["--tag"], "KEY,VALUE", "a tag of the objects, may be repeated").among(&TAG_FLAGS);
    /// Tags of history files, several at once.
    HISTORY_TAGS = Flag::list(&["--history-tags"], "KEY,VALUE", "tags of history files, instead of the others")
        .among(&HISTORY_TAG_FLAGS);
    /// One tag of history files.
    HISTORY_TAG = Flag::value(&["--history-tag"], "KEY,VALUE", "a tag of history files, may be repeated")
        .among(&HISTORY_TAG_FLAGS);
    /// How the service encrypts.
    ENCRYPTION =
        Flag::choice(&["-e", "--encryption"], &["AES256", "aws:kms"], "how the service encrypts what it stores");
    /// With which key.
    SSE_KMS_KEY_ID = Flag::value(&["--sse-kms-key-id"], "ID", "the key of `--encryption aws:kms`");
    /// Google's key.
    KMS_KEY_NAME = Flag::value(&["--kms-key-name"], "NAME", "").without_effect();
    /// Azure's scope.
    ENCRYPTION_SCOPE = Flag::value(&["--encryption-scope"], "SCOPE", "").without_effect();
    /// Azure's blocks.
    MAX_BLOCK_SIZE = Flag::value(&["--max-block-size"], "SIZE", "").without_effect();
    /// Azure's uploads.
    MAX_CONCURRENCY = Flag::value(&["--max-concurrency"], "N", "").without_effect();
    /// Azure's puts.
    MAX_SINGLE_PUT_SIZE = Flag::value(&["--max-single-put-size"], "SIZE", "").without_effect();

    /// Take no partial segment.
    NO_PARTIAL = Flag::switch(&["--no-partial"], "never take a partial segment");
    /// Segments fetched at once.
    PARALLEL = Flag::value(&["-p", "--parallel"], "N", "fetch up to N segments at once, the further ones into the spool");
    /// Where further segments wait.
    SPOOL_DIR = Flag::value(&["--spool-dir"], "DIR", "where segments that were fetched ahead wait");
    /// From which timeline on files are in the way.
    TIMELINE = Flag::value(&["--timeline"], "N", "only files of timeline N and later are in the way");

    /// The server.
    HOST = Flag::value(&["-h", "--host"], "HOST", "the server's host or socket directory (default: as in libpq)");
    /// Its port.
    PORT = Flag::value(&["-p", "--port"], "PORT", "the server's port (default: as in libpq)");
    /// Who we are there.
    USER = Flag::value(&["-U", "--user"], "USER", "the database user (default: as in libpq)");
    /// The database.
    DBNAME = Flag::value(&["-d", "--dbname"], "NAME", "database, or a whole connection string (default: postgres)");
    /// No slow checkpoint.
    IMMEDIATE_CHECKPOINT = Flag::switch(&["--immediate-checkpoint"], "make the first checkpoint fast");
    /// Uploads at once.
    JOBS = Flag::value(&["-J", "--jobs"], "N", "uploads at once (default: 2; of copy: 4)");
    /// Bytes of a tar.
    MAX_ARCHIVE_SIZE = Flag::value(
        &["-S", "--max-archive-size"],
        "SIZE",
        "a tar is closed when it has so many bytes (default: 100GB)",
    );
    /// Bytes of a part.
    MIN_CHUNK_SIZE = Flag::value(&["--min-chunk-size"], "SIZE", "least size of the parts of an upload (default: 5MB)");
    /// Bytes per second.
    MAX_BANDWIDTH = Flag::value(&["--max-bandwidth"], "SIZE", "upload no more than so much per second");
    /// The backup's name.
    NAME = Flag::value(&["-n", "--name"], "NAME", "a name by which other commands find the backup");
    /// Snapshots: the machine.
    SNAPSHOT_INSTANCE = Flag::value(
        &["--snapshot-instance"],
        "NAME",
        "make the backup of snapshots of EBS volumes: id or name of the instance, which is this machine",
    );
    /// Snapshots: the disks.
    SNAPSHOT_DISK = Flag::value(
        &["--snapshot-disk"],
        "NAME",
        "a volume to snapshot: its id or name; once for each volume that the server has files on",
    );
    /// Google's zone.
    GCP_ZONE = Flag::value(&["--snapshot-zone", "--gcp-zone"], "ZONE", "").without_effect();
    /// Google's project.
    GCP_PROJECT = Flag::value(&["--snapshot-gcp-project", "--gcp-project"], "PROJECT", "").without_effect();
    /// Snapshots: the region.
    AWS_REGION = Flag::value(
        &["--aws-region"],
        "REGION",
        "region of instance and volumes (default: that of the backup, else AWS_DEFAULT_REGION, else the profile's)",
    );
    /// Snapshots: how long to wait.
    SNAPSHOTS_TIMEOUT = Flag::value(
        &["--aws-await-snapshots-timeout"],
        "SECONDS",
        "how long to wait until the snapshots are stored (default: 3600)",
    );
    /// Snapshots: the lock.
    SNAPSHOT_LOCK_MODE = Flag::choice(
        &["--aws-snapshot-lock-mode"],
        &["governance", "compliance"],
        "lock the snapshots; in compliance nobody can end that",
    );
    /// Snapshots: how long the lock can be taken back.
    SNAPSHOT_LOCK_COOL_OFF = Flag::value(
        &["--aws-snapshot-lock-cool-off-period"],
        "HOURS",
        "hours in which a lock in compliance can be changed, 1 to 72 (default: none)",
    );
    /// Snapshots: until when.
    SNAPSHOT_LOCK_DATE = Flag::value(
        &["--aws-snapshot-lock-expiration-date"],
        "DATE",
        "until when the lock lasts: YYYY-MM-DDThh:mm:ss.sssZ",
    )
    .among(&SNAPSHOT_LOCK);
    /// Snapshots: for how long.
    SNAPSHOT_LOCK_DURATION = Flag::value(
        &["--aws-snapshot-lock-duration"],
        "DAYS",
        "how many days the lock lasts, 1 to 36500",
    )
    .among(&SNAPSHOT_LOCK);
    /// Azure's subscription.
    AZURE_SUBSCRIPTION = Flag::value(&["--azure-subscription-id"], "ID", "").without_effect();
    /// Azure's group.
    AZURE_GROUP = Flag::value(&["--azure-resource-group"], "NAME", "").without_effect();

    /// Where a tablespace goes.
    TABLESPACE = Flag::value(&["--tablespace"], "NAME:LOCATION", "put a tablespace elsewhere, may be repeated");
    /// Snapshots: the machine that is restored to.
    SNAPSHOT_RECOVERY_INSTANCE = Flag::value(
        &["--snapshot-recovery-instance"],
        "NAME",
        "of a backup of snapshots: id or name of this machine, which has volumes made of them",
    );
    /// Google's zone of it.
    SNAPSHOT_RECOVERY_ZONE =
        Flag::value(&["--snapshot-recovery-zone", "--gcp-zone"], "ZONE", "").without_effect();
    /// `auto`: of which timeline.
    TARGET_TLI = Flag::value(&["--target-tli"], "N", "with backup id auto: a backup of timeline N, or of the latest");
    /// `auto`: ended before this LSN.
    TARGET_LSN = Flag::value(&["--target-lsn"], "LSN", "with backup id auto: a backup that ended at this LSN or before")
        .among(&TARGET);
    /// `auto`: ended before this time.
    TARGET_TIME =
        Flag::value(
            &["--target-time"],
            "TIME",
            "with backup id auto: a backup that ended at this time or before: 2026-11-22 10:00:00+01:00, 2026-11-22 10:00 \
             CET, 2026/11/22, Nov 22 2026 10:00, or as date and RFC 2822 write it; local time unless it says another zone",
        )
        .among(&TARGET);

    /// console or JSON.
    FORMAT = Flag::value(&["--format"], "FORMAT", "console or json (default: console)");
    /// Keep: give it free.
    RELEASE = Flag::switch(&["-r", "--release"], "keep the backup no longer").among(&KEEP_WHAT);
    /// Keep: tell.
    STATUS = Flag::switch(&["-s", "--status"], "print whether the backup is kept").among(&KEEP_WHAT);
    /// Keep: for what.
    KEEP_TARGET = Flag::choice(
        &["--target"],
        &["full", "standalone"],
        "keep the backup: full with all WAL after it, standalone with what makes it consistent",
    )
    .among(&KEEP_WHAT);
    /// Delete: one backup.
    BACKUP_ID = Flag::value(&["-b", "--backup-id"], "ID", "delete this backup").among(&DELETE_WHAT);
    /// Delete: never below this number.
    MINIMUM_REDUNDANCY =
        Flag::value(&["-m", "--minimum-redundancy"], "N", "never leave fewer backups than this (default: 0)");
    /// Delete: by a policy.
    RETENTION_POLICY = Flag::value(
        &["-r", "--retention-policy"],
        "POLICY",
        "delete what is obsolete by REDUNDANCY n, or RECOVERY WINDOW OF n DAYS, WEEKS or MONTHS",
    )
    .among(&DELETE_WHAT);
    /// Delete: only tell.
    DRY_RUN = Flag::switch(&["--dry-run"], "print what would be deleted");
    /// Delete: keys of one request.
    BATCH_SIZE = Flag::value(&["--batch-size"], "N", "objects deleted by one request (default: 1000)");
    /// Delete: look for locks.
    CHECK_OBJECT_LOCK = Flag::switch(
        &["--check-object-lock"],
        "delete nothing of a backup that the service keeps from being deleted (S3 Object Lock): asks for each of its files",
    );
}

flags! {
    /// Copy: the wal-g repository to read.
    FROM_WALG = Flag::value(&["--from-walg"], "CONFIG", "copy from the wal-g repository of this configuration file to the server")
        .among(&DIRECTION);
    /// Copy: the wal-g repository to write.
    TO_WALG = Flag::value(&["--to-walg"], "CONFIG", "copy from the server to the wal-g repository of this configuration file")
        .among(&DIRECTION);
    /// Copy: only this backup.
    COPY_BACKUP = Flag::value(&["--backup"], "NAME", "copy only this backup, and all WAL").among(&COPIED);
    /// Copy: no backups.
    ONLY_WAL = Flag::switch(&["--only-wal"], "copy no backups").among(&COPIED);
    /// Copy: where backups are unpacked.
    SCRATCH = Flag::value(&["--scratch"], "DIR", "directory with room for the cluster (default: TMPDIR)");
}

/// Those of every command.
static COMMON: [&Flag; 11] = [
    &VERSION,
    &HELP,
    &VERBOSE,
    &QUIET,
    &TEST,
    &CLOUD_PROVIDER,
    &ENDPOINT_URL,
    &AWS_PROFILE,
    &READ_TIMEOUT,
    &ADDRESSING_STYLE,
    &AZURE_CREDENTIAL,
];

static SOURCE: Positional =
    Positional { name: "source_url", required: true, help: "s3://bucket/path, or file:///directory" };
static DESTINATION: Positional = Positional { name: "destination_url", ..SOURCE };
static SERVER: Positional =
    Positional { name: "server_name", required: true, help: "name of the server: a directory below the URL" };
static BACKUP: Positional =
    Positional { name: "backup_id", required: true, help: "id or name of the backup, or latest, oldest …" };
static RECOVERY_DIR: Positional = Positional {
    name: "recovery_dir",
    required: true,
    help: "directory to restore into: empty or absent, but for a backup of snapshots, whose volume is there",
};
static WAL_PATH: Positional =
    Positional { name: "wal_path", required: false, help: "the file to archive: %p of archive_command" };
static WAL_NAME: Positional =
    Positional { name: "wal_name", required: true, help: "the file's name: %f of restore_command" };
static WAL_DEST: Positional =
    Positional { name: "wal_dest", required: true, help: "where to put it: %p of restore_command" };

/// What a command understands.
pub fn grammar(command: Command) -> &'static Grammar {
    match command {
        Command::Backup => &BACKUP_GRAMMAR,
        Command::BackupDelete => &DELETE_GRAMMAR,
        Command::BackupKeep => &KEEP_GRAMMAR,
        Command::BackupList => &LIST_GRAMMAR,
        Command::BackupShow => &SHOW_GRAMMAR,
        Command::CheckWalArchive => &CHECK_GRAMMAR,
        Command::Restore => &RESTORE_GRAMMAR,
        Command::WalArchive => &ARCHIVE_GRAMMAR,
        Command::WalRestore => &WAL_RESTORE_GRAMMAR,
        Command::WalPrefetch => &WAL_PREFETCH_GRAMMAR,
        Command::Copy => &COPY_GRAMMAR,
    }
}

static BACKUP_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-backup",
    about: "Takes a base backup of a server on this machine and stores it, or snapshots its volumes.",
    positionals: &[&DESTINATION, &SERVER],
    flags: &[
        &COMMON,
        &[&GZIP, &BZIP2, &SNAPPY, &LZ4],
        &[&HOST, &PORT, &USER, &IMMEDIATE_CHECKPOINT, &JOBS, &MAX_ARCHIVE_SIZE, &MIN_CHUNK_SIZE],
        &[&MAX_BANDWIDTH, &DBNAME, &NAME, &TAGS, &TAG, &ENCRYPTION, &SSE_KMS_KEY_ID],
        &[&SNAPSHOT_INSTANCE, &SNAPSHOT_DISK, &GCP_ZONE, &GCP_PROJECT, &KMS_KEY_NAME, &AWS_REGION],
        &[&SNAPSHOTS_TIMEOUT, &SNAPSHOT_LOCK_MODE, &SNAPSHOT_LOCK_COOL_OFF, &SNAPSHOT_LOCK_DATE],
        &[&SNAPSHOT_LOCK_DURATION, &ENCRYPTION_SCOPE, &AZURE_SUBSCRIPTION, &AZURE_GROUP],
    ],
};

static DELETE_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-backup-delete",
    about: "Deletes a backup, or all that a retention policy makes obsolete, and the WAL that only they need.",
    positionals: &[&SOURCE, &SERVER],
    flags: &[
        &COMMON,
        &[&BACKUP_ID, &RETENTION_POLICY, &MINIMUM_REDUNDANCY, &DRY_RUN, &BATCH_SIZE, &CHECK_OBJECT_LOCK],
    ],
};

static KEEP_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-backup-keep",
    about: "Keeps a backup from being deleted, or lets it go again.",
    positionals: &[&SOURCE, &SERVER, &BACKUP],
    flags: &[&COMMON, &[&RELEASE, &STATUS, &KEEP_TARGET]],
};

static LIST_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-backup-list",
    about: "Lists the backups of a server.",
    positionals: &[&SOURCE, &SERVER],
    flags: &[&COMMON, &[&FORMAT]],
};

static SHOW_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-backup-show",
    about: "Shows what is known of a backup.",
    positionals: &[&SOURCE, &SERVER, &BACKUP],
    flags: &[&COMMON, &[&FORMAT]],
};

static CHECK_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-check-wal-archive",
    about: "Checks that a new server may archive its WAL here: that there is none. Creates a missing bucket.",
    positionals: &[&DESTINATION, &SERVER],
    flags: &[&COMMON, &[&TIMELINE]],
};

static RESTORE_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-restore",
    about: "Restores a base backup into an empty directory, or completes one of snapshots on its volumes.",
    positionals: &[&SOURCE, &SERVER, &BACKUP, &RECOVERY_DIR],
    flags: &[
        &COMMON,
        &[&TABLESPACE, &TARGET_TLI, &TARGET_LSN, &TARGET_TIME],
        &[&SNAPSHOT_RECOVERY_INSTANCE, &SNAPSHOT_RECOVERY_ZONE, &AWS_REGION, &AZURE_GROUP],
    ],
};

static ARCHIVE_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-wal-archive",
    about: "Archives a WAL file; for archive_command.",
    positionals: &[&DESTINATION, &SERVER, &WAL_PATH],
    flags: &[
        &COMMON,
        &[&GZIP, &BZIP2, &XZ, &SNAPPY, &ZSTD, &LZ4, &COMPRESSION_LEVEL],
        &[&TAGS, &TAG, &HISTORY_TAGS, &HISTORY_TAG, &ENCRYPTION, &SSE_KMS_KEY_ID],
        &[&KMS_KEY_NAME, &ENCRYPTION_SCOPE, &MAX_BLOCK_SIZE, &MAX_CONCURRENCY, &MAX_SINGLE_PUT_SIZE],
    ],
};

static WAL_RESTORE_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-wal-restore",
    about: "Fetches an archived WAL file; for restore_command.",
    positionals: &[&SOURCE, &SERVER, &WAL_NAME, &WAL_DEST],
    flags: &[&COMMON, &[&NO_PARTIAL, &PARALLEL, &SPOOL_DIR]],
};

static COPY_GRAMMAR: Grammar = Grammar {
    program: "seawall copy",
    about: "Copies WAL and base backups between a wal-g repository and a server of barman-cloud, either way.",
    positionals: &[&DESTINATION, &SERVER],
    flags: &[
        &COMMON,
        &[&FROM_WALG, &TO_WALG, &COPY_BACKUP, &ONLY_WAL, &SCRATCH, &GZIP, &BZIP2, &SNAPPY, &LZ4, &JOBS],
    ],
};

static WAL_PREFETCH_GRAMMAR: Grammar = Grammar {
    program: "barman-cloud-wal-prefetch",
    about: "Fetches the WAL segments that recovery will ask for next; barman-cloud-wal-restore starts it.",
    positionals: &[&SOURCE, &SERVER, &WAL_NAME, &WAL_DEST],
    flags: &[&COMMON, &[&NO_PARTIAL, &PARALLEL, &SPOOL_DIR]],
};
