//! The table of settings: every name that wal-g's users may have set, and what this program does with it.
//!
//! From this one table come the look-up in environment and file, the setting flags of the command line, `config show`
//! and `docs/settings.md`. Names, look-up order and, but for the size of parts, defaults are wal-g 3.0.9's
//! (`internal/config/config.go`); a storage's own settings are found under the bare name, then with `WALG_`, then with `WALE_` in front.
//!
//! No name of ours may look like `WALG_*_PREFIX` or `WALE_*_PREFIX`: Spilo counts those and aborts a clone at the second.

use super::value::Kind;

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its names in the order in which they are looked up. The first one is the name for messages.
    pub names: &'static [&'static str],
    /// What its text means.
    pub kind: Kind,
    /// The text used when it is not set anywhere.
    pub default: Option<&'static str>,
    /// Whether its value may be shown.
    pub visibility: Visibility,
    /// What this program does with it.
    pub status: Status,
    /// Where it stands in the reference.
    pub section: Section,
    /// One line of meaning.
    pub doc: &'static str,
}

/// Whether the value of a setting may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It may be printed.
    Plain,
    /// It is never printed: a password or a key.
    Secret,
}

/// What this program does with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has the effect its doc says.
    Supported,
    /// Known, not done yet, and not to be ignored: an error as soon as it matters. The text says what to do instead.
    NotYet(&'static str),
    /// Known and without effect, with the reason; a warning when it is set to anything but its default.
    Ignored(&'static str),
    /// Meant for another program of the same environment (a script of Spilo); no warning.
    Foreign,
}

/// The sections of the settings reference, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Where the repository is.
    Storage,
    /// S3.
    S3,
    /// Compression.
    Compression,
    /// Encryption.
    Encryption,
    /// WAL archiving and fetching.
    Wal,
    /// Taking base backups.
    Backup,
    /// Restoring base backups.
    Restore,
    /// The connection to PostgreSQL.
    Postgres,
    /// Logs and the program itself.
    Program,
    /// Settings of other programs.
    Other,
}

impl Section {
    /// The heading of the section.
    pub fn title(self) -> &'static str {
        match self {
            Section::Storage => "Where the repository is",
            Section::S3 => "S3",
            Section::Compression => "Compression",
            Section::Encryption => "Encryption",
            Section::Wal => "Archiving and fetching WAL",
            Section::Backup => "Taking base backups",
            Section::Restore => "Restoring base backups",
            Section::Postgres => "The connection to PostgreSQL",
            Section::Program => "Logs and the program itself",
            Section::Other => "Settings of other programs",
        }
    }
}

impl Key {
    const fn new(section: Section, names: &'static [&'static str], kind: Kind, doc: &'static str) -> Key {
        let (visibility, status) = (Visibility::Plain, Status::Supported);
        Key { names, kind, default: None, visibility, status, section, doc: doc.trim_ascii() }
    }

    const fn default(mut self, text: &'static str) -> Key {
        self.default = Some(text);
        self
    }

    const fn secret(mut self) -> Key {
        self.visibility = Visibility::Secret;
        self
    }

    const fn not_yet(mut self, instead: &'static str) -> Key {
        self.status = Status::NotYet(instead);
        self
    }

    const fn ignored(mut self, reason: &'static str) -> Key {
        self.status = Status::Ignored(reason);
        self
    }

    const fn foreign(mut self) -> Key {
        self.status = Status::Foreign;
        self
    }

    /// The name for messages.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The long command-line flag of one of its names, without the dashes: `WALG_FILE_PREFIX` is `walg-file-prefix`.
    pub fn flag(name: &str) -> String {
        name.to_ascii_lowercase().replace('_', "-")
    }
}

/// The setting that has this name, in any case of letters.
pub fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().find(|key| key.names.iter().any(|known| known.eq_ignore_ascii_case(name))).copied()
}

/// The known name nearest to an unknown one, when it is near enough to be a slip of the pen.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let close_enough = (name.len() / 5).max(2);
    ALL.iter()
        .flat_map(|key| key.names)
        .map(|known| (edit_distance(&name, known), *known))
        .filter(|(distance, _)| *distance <= close_enough)
        .min()
        .map(|(_, known)| known)
}

/// How many letters must be inserted, removed or replaced to turn one word into the other (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// `["A", "B"]` are these names; `{"A"}` is a storage's own setting: `A`, `WALG_A`, `WALE_A`.
macro_rules! names {
    ([$($name:literal),+]) => { &[$($name),+] };
    ({$($name:literal),+}) => {
        &[$($name,)+ $(concat!("WALG_", $name),)+ $(concat!("WALE_", $name),)+]
    };
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $id:ident in $section:ident $names:tt: $kind:ident $(($words:expr))?
       $(, $method:ident($($argument:expr)?))*;)+) => {
        $($(#[doc = $doc])+
        pub static $id: Key =
            Key::new(Section::$section, names!($names), Kind::$kind $(($words))?, concat!($($doc),+))
                $(.$method($($argument)?))*;)+

        /// Every setting, in the order of the reference.
        pub static ALL: &[&Key] = &[$(&$id),+];

        #[cfg(test)]
        static IDENTIFIERS: &[(&str, &Key)] = &[$((stringify!($id), &$id)),+];
    };
}

const OTHER_STORAGE: &str = "use a directory (WALG_FILE_PREFIX) or S3 (WALG_S3_PREFIX)";
const PGP: &str =
    "use libsodium (WALG_LIBSODIUM_KEY); objects encrypted by PGP cannot be read or written yet";
const KMS: &str = "use libsodium (WALG_LIBSODIUM_KEY); keys kept by a key service are not supported";
const METRICS: &str = "no metrics are sent";
const PROFILING: &str = "there is no profiler inside";

keys! {
    /// directory that holds the repository; it must exist
    FILE_PREFIX in Storage ["WALG_FILE_PREFIX", "WALE_FILE_PREFIX"]: Path;
    /// bucket and path that hold the repository: `s3://bucket/path`
    S3_PREFIX in Storage ["WALG_S3_PREFIX", "WALE_S3_PREFIX"]: Text;
    /// one more folder below the directory or bucket path
    STORAGE_PREFIX in Storage ["WALG_STORAGE_PREFIX"]: Text;
    /// repository in Alibaba's object storage
    OSS_PREFIX in Storage ["WALG_OSS_PREFIX", "WALE_OSS_PREFIX"]: Text, not_yet(OTHER_STORAGE);
    /// repository in Google Cloud Storage
    GS_PREFIX in Storage ["WALG_GS_PREFIX", "WALE_GS_PREFIX"]: Text, not_yet(OTHER_STORAGE);
    /// repository in Azure's blob storage
    AZ_PREFIX in Storage ["WALG_AZ_PREFIX", "WALE_AZ_PREFIX"]: Text, not_yet(OTHER_STORAGE);
    /// repository in Swift by its own protocol; its S3 layer works
    SWIFT_PREFIX in Storage ["WALG_SWIFT_PREFIX", "WALE_SWIFT_PREFIX"]: Text, not_yet(OTHER_STORAGE);
    /// repository on a host reached by SSH
    SSH_PREFIX in Storage ["WALG_SSH_PREFIX", "WALE_SSH_PREFIX"]: Text, not_yet(OTHER_STORAGE);
    /// further storages to use when the first one is down (a map in the configuration file)
    FAILOVER_STORAGES in Storage ["WALG_FAILOVER_STORAGES"]: Json,
        not_yet("remove it and name the one storage to use: objects in the other ones would not be seen");
    /// storage to use among several
    TARGET_STORAGE in Storage ["WALG_TARGET_STORAGE"]: Text;

    /// access key id; whitespace around it is dropped
    AWS_ACCESS_KEY_ID in S3 {"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"}: Text;
    /// secret access key; whitespace around it is dropped
    AWS_SECRET_ACCESS_KEY in S3 {"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"}: Text, secret();
    /// token of temporary credentials
    AWS_SESSION_TOKEN in S3 {"AWS_SESSION_TOKEN"}: Text, secret();
    /// region; `us-east-1` when unset with an endpoint of one's own
    AWS_REGION in S3 {"AWS_REGION", "AWS_DEFAULT_REGION"}: Text;
    /// URL of the S3 service when it is not Amazon's
    AWS_ENDPOINT in S3 {"AWS_ENDPOINT"}: Text;
    /// the same in wal-e's form `https+path://host:port`
    WALE_S3_ENDPOINT in S3 ["WALE_S3_ENDPOINT"]: Text;
    /// put the bucket into the path instead of the host name
    AWS_S3_FORCE_PATH_STYLE in S3 {"AWS_S3_FORCE_PATH_STYLE"}: Bool, default("false");
    /// use Amazon's IPv4 and IPv6 endpoints
    AWS_DUAL_STACK in S3 {"AWS_DUAL_STACK"}: Bool, default("false");
    /// profile of the shared credentials file
    AWS_PROFILE in S3 {"AWS_PROFILE"}: Text;
    /// path of the shared credentials file
    AWS_SHARED_CREDENTIALS_FILE in S3 {"AWS_SHARED_CREDENTIALS_FILE"}: Path;
    /// path of the shared configuration file
    AWS_CONFIG_FILE in S3 {"AWS_CONFIG_FILE"}: Path;
    /// role to assume
    AWS_ROLE_ARN in S3 {"AWS_ROLE_ARN"}: Text;
    /// name of the session with that role
    AWS_ROLE_SESSION_NAME in S3 {"AWS_ROLE_SESSION_NAME"}: Text;
    /// file with the token of a Kubernetes service account (web identity)
    AWS_WEB_IDENTITY_TOKEN_FILE in S3 ["AWS_WEB_IDENTITY_TOKEN_FILE"]: Path;
    /// bundle of certificate authorities to trust besides the system's
    S3_CA_CERT_FILE in S3 {"S3_CA_CERT_FILE"}: Path;
    /// the same by the name the SDKs know
    AWS_CA_BUNDLE in S3 {"AWS_CA_BUNDLE"}: Path;
    /// storage class of new objects
    S3_STORAGE_CLASS in S3 {"S3_STORAGE_CLASS"}: Text, default("STANDARD");
    /// encryption at rest by the service: `AES256` or `aws:kms`
    S3_SSE in S3 {"S3_SSE"}: Text;
    /// key for encryption at rest that the client sends with each request
    S3_SSE_C in S3 {"S3_SSE_C"}: Text, secret();
    /// key of the service for `aws:kms`
    S3_SSE_KMS_ID in S3 {"S3_SSE_KMS_ID"}: Text;
    /// size of the parts of an upload, 5 MiB at least; doubled as often as an object would need too many parts
    S3_MAX_PART_SIZE in S3 {"S3_MAX_PART_SIZE"}: Bytes, default("8388608");
    /// attempts after the first one that a request may take
    S3_MAX_RETRIES in S3 {"S3_MAX_RETRIES"}: Integer, default("9");
    /// first pause, in milliseconds, after the service asked to slow down
    S3_MIN_THROTTLING_RETRY_DELAY in S3 {"S3_MIN_THROTTLING_RETRY_DELAY"}: Integer, default("500"),
        ignored("the pauses between attempts grow from 100 ms to 20 s, and the service's own wish is followed");
    /// longest pause, in milliseconds, after the service asked to slow down
    S3_MAX_THROTTLING_RETRY_DELAY in S3 {"S3_MAX_THROTTLING_RETRY_DELAY"}: Integer, default("300000"),
        ignored("the pauses between attempts grow from 100 ms to 20 s, and the service's own wish is followed");
    /// resume interrupted downloads where they broke
    S3_RANGE_BATCH_ENABLED in S3 {"S3_RANGE_BATCH_ENABLED"}: Bool, default("false"),
        ignored("interrupted downloads are always resumed");
    /// how often to resume one download
    S3_RANGE_MAX_RETRIES in S3 {"S3_RANGE_MAX_RETRIES"}: Integer, default("10"),
        ignored("WALG_S3_MAX_RETRIES counts for these as well");
    /// list with version 1 of the request
    S3_USE_LIST_OBJECTS_V1 in S3 {"S3_USE_LIST_OBJECTS_V1"}: Bool, default("false");
    /// compare the ETag of an object that was put with its MD5; `false` for a service whose ETags look like MD5s and are none
    S3_CHECK_ETAG in S3 ["SEAWALL_S3_CHECK_ETAG"]: Bool, default("true");
    /// whether the bucket keeps old versions: `enabled`, `disabled`
    S3_ENABLE_VERSIONING in S3 {"S3_ENABLE_VERSIONING"}: Text, default("auto"),
        ignored("only current versions are listed and deleted; old ones are left to the bucket's lifecycle rules");
    /// keys in one delete request
    S3_DELETE_BATCH_SIZE in S3 {"S3_DELETE_BATCH_SIZE"}: Integer, default("1000");
    /// seconds for which the service locks a new object
    S3_RETENTION_PERIOD in S3 {"S3_RETENTION_PERIOD"}: Text, default("-1"),
        not_yet("remove it, or give the bucket a default retention: objects are not locked by this program");
    /// kind of that lock
    S3_RETENTION_MODE in S3 {"S3_RETENTION_MODE"}: Text, default("GOVERNANCE"),
        ignored("objects are not locked by this program");
    /// skip the listing that checks the bucket at the start
    S3_SKIP_VALIDATION in S3 {"S3_SKIP_VALIDATION"}: Bool, default("true"),
        ignored("the first real request checks the bucket");
    /// URL that answers with the host to use
    S3_ENDPOINT_SOURCE in S3 {"S3_ENDPOINT_SOURCE"}: Text, ignored("AWS_ENDPOINT is used as it is");
    /// port for that host
    S3_ENDPOINT_PORT in S3 {"S3_ENDPOINT_PORT"}: Text, default("443"), ignored("AWS_ENDPOINT is used as it is");
    /// protocol for that host
    S3_ENDPOINT_PROTOCOL in S3 {"S3_ENDPOINT_PROTOCOL"}: Text, ignored("AWS_ENDPOINT is used as it is");
    /// headers to add to every request: a map from names to values
    S3_REQUEST_ADDITIONAL_HEADERS in S3 {"S3_REQUEST_ADDITIONAL_HEADERS"}: Yaml, secret();
    /// log of the SDK
    S3_LOG_LEVEL in S3 {"S3_LOG_LEVEL"}: Text, ignored("WALG_LOG_LEVEL=DEVEL shows every request");
    /// do not wait for the service's consent before sending a body
    S3_DISABLE_100_CONTINUE in S3 {"S3_DISABLE_100_CONTINUE"}: Bool, default("false"),
        ignored("bodies are sent without waiting");
    /// take credentials from Yandex's metadata service
    S3_USE_YC_SESSION_TOKEN in S3 {"S3_USE_YC_SESSION_TOKEN"}: Bool, default("false"),
        not_yet("give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");

    /// how new objects are compressed; every method can be read
    COMPRESSION_METHOD in Compression ["WALG_COMPRESSION_METHOD"]:
        Choice(&["lz4", "zstd", "brotli", "lzma", "none"]), default("lz4");
    /// effort of zstd: `fastest`, `default`, `better`, `best`, or a level of its library, 1 to 19
    ZSTD_LEVEL in Compression ["WALG_ZSTD_LEVEL"]: Text;

    /// key, or several with a comma or a new line between: the first encrypts, each decrypts
    LIBSODIUM_KEY in Encryption ["WALG_LIBSODIUM_KEY"]: Text, secret();
    /// file that holds the key or keys
    LIBSODIUM_KEY_PATH in Encryption ["WALG_LIBSODIUM_KEY_PATH"]: Path;
    /// how the text of a key becomes its 32 bytes
    LIBSODIUM_KEY_TRANSFORM in Encryption ["WALG_LIBSODIUM_KEY_TRANSFORM"]:
        Choice(&["none", "hex", "base64"]), default("none");
    /// PGP key
    PGP_KEY in Encryption ["WALG_PGP_KEY"]: Text, secret(), not_yet(PGP);
    /// file of the PGP key
    PGP_KEY_PATH in Encryption ["WALG_PGP_KEY_PATH"]: Path, not_yet(PGP);
    /// pass phrase of the PGP key
    PGP_KEY_PASSPHRASE in Encryption ["WALG_PGP_KEY_PASSPHRASE"]: Text, secret(), not_yet(PGP);
    /// key of the gpg key ring
    GPG_KEY_ID in Encryption ["WALG_GPG_KEY_ID", "WALE_GPG_KEY_ID", "GPG_KEY_ID"]: Text, not_yet(PGP);
    /// PGP key, itself encrypted by a key service
    ENVELOPE_PGP_KEY in Encryption ["WALG_ENVELOPE_PGP_KEY"]: Text, secret(), not_yet(PGP);
    /// file of that key
    ENVELOPE_PGP_KEY_PATH in Encryption ["WALG_ENVELOPE_PGP_KEY_PATH"]: Path, not_yet(PGP);
    /// Yandex key that encrypts it
    ENVELOPE_PGP_YC_CSE_KMS_KEY_ID in Encryption ["WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID"]: Text, not_yet(KMS);
    /// Yandex service account for it
    ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE in Encryption
        ["WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE"]: Path, not_yet(KMS);
    /// Yandex endpoint for it
    ENVELOPE_PGP_YC_ENDPOINT in Encryption ["WALG_ENVELOPE_PGP_YC_ENDPOINT"]: Text, not_yet(KMS);
    /// how long its keys are kept in memory
    ENVELOPE_CACHE_EXPIRATION in Encryption ["WALG_ENVELOPE_CACHE_EXPIRATION"]: Duration, default("0"), ignored(KMS);
    /// Amazon key that encrypts the objects
    CSE_KMS_ID in Encryption ["WALG_CSE_KMS_ID"]: Text, not_yet(KMS);
    /// its region
    CSE_KMS_REGION in Encryption ["WALG_CSE_KMS_REGION"]: Text, not_yet(KMS);
    /// Yandex key that encrypts the objects
    YC_CSE_KMS_KEY_ID in Encryption ["YC_CSE_KMS_KEY_ID"]: Text, not_yet(KMS);
    /// Yandex service account
    YC_SERVICE_ACCOUNT_KEY_FILE in Encryption ["YC_SERVICE_ACCOUNT_KEY_FILE"]: Path, not_yet(KMS);

    /// uploads at once, over all objects of the process
    UPLOAD_CONCURRENCY in Wal ["WALG_UPLOAD_CONCURRENCY"]: Integer, default("16");
    /// tars fetched at once; number of WAL segments fetched ahead, where 1 means none
    DOWNLOAD_CONCURRENCY in Wal ["WALG_DOWNLOAD_CONCURRENCY"]: Integer, default("10");
    /// WAL files that one wal-push may upload, the named one included
    TOTAL_BG_UPLOADED_LIMIT in Wal ["TOTAL_BG_UPLOADED_LIMIT"]: Integer, default("32");
    /// `true`: before a WAL file is archived, look for it in every form, since one with other content is never replaced;
    /// unset: in the compressions that its repository has had from seawall; `false`: replace it, as wal-g does. History
    /// files are never replaced
    PREVENT_WAL_OVERWRITE in Wal ["WALG_PREVENT_WAL_OVERWRITE"]: Bool;
    /// rename `.ready` to `.done` for WAL pushed ahead of PostgreSQL's request
    PG_READY_RENAME in Wal ["PG_READY_RENAME"]: Bool, default("false");
    /// a JSON object beside the WAL with its times: `NOMETADATA`, `INDIVIDUAL`, `BULK`
    UPLOAD_WAL_METADATA in Wal ["WALG_UPLOAD_WAL_METADATA"]: Choice(&["NOMETADATA", "INDIVIDUAL", "BULK"]),
        default("NOMETADATA");
    /// record which blocks the archived WAL changes, so that delta backups need not read it again
    USE_WAL_DELTA in Wal ["WALG_USE_WAL_DELTA"]: Bool, default("false");
    /// directory for WAL fetched ahead, instead of the one that the segment is wanted in
    PREFETCH_DIR in Wal ["WALG_PREFETCH_DIR"]: Path;
    /// size of a WAL segment in MiB, where neither the server nor the segment itself tells
    PG_WAL_SIZE in Wal ["WALG_PG_WAL_SIZE"]: Integer, default("16");
    /// size of a WAL page
    PG_WAL_PAGE_SIZE in Wal ["WALG_PG_WAL_PAGE_SIZE"]: Bytes, default("8192"),
        ignored("a WAL page has 8192 bytes here");
    /// missing segments at the end of the archive that wal-verify takes for being on their way
    INTEGRITY_MAX_DELAYED_WALS in Wal ["WALG_INTEGRITY_MAX_DELAYED_WALS"]: Integer, default("0");
    /// replication slot of wal-receive
    SLOTNAME in Wal ["WALG_SLOTNAME"]: Text, default("walg"), ignored("there is no wal-receive yet");
    /// longest time of an upload by the daemon
    DAEMON_WAL_UPLOAD_TIMEOUT in Wal ["WALG_DAEMON_WAL_UPLOAD_TIMEOUT"]: Duration, default("60s"),
        ignored("there is no daemon yet");
    /// check that WAL files have their names and headers before they are archived and after they were fetched
    CHECK_WAL in Wal ["SEAWALL_CHECK_WAL"]: Bool, default("true");
    /// system identifier of the cluster whose repository this one takes over, after pg_upgrade for example; otherwise a push
    /// of another cluster is refused
    TAKE_OVER_FROM in Wal ["SEAWALL_TAKE_OVER_FROM"]: Text;
    /// stop recovery (exit code 126) instead of ending it when wal-fetch could not ask the storage
    RECOVERY_EXIT_126 in Wal ["SEAWALL_RECOVERY_EXIT_126"]: Bool, default("true");

    /// tars filled at once; unset means as many as there are cores
    UPLOAD_DISK_CONCURRENCY in Backup ["WALG_UPLOAD_DISK_CONCURRENCY"]: Integer;
    /// finished tars that may wait for their upload
    UPLOAD_QUEUE in Backup ["WALG_UPLOAD_QUEUE"]: Integer, default("2"),
        ignored("memory is bounded by a pool of buffers instead");
    /// data bytes after which a tar is closed
    TAR_SIZE_THRESHOLD in Backup ["WALG_TAR_SIZE_THRESHOLD"]: Bytes, default("1073741823");
    /// bytes per second read from, or written to, the data directory
    DISK_RATE_LIMIT in Backup ["WALG_DISK_RATE_LIMIT"]: Bytes;
    /// bytes per second sent to, or received from, the storage
    NETWORK_RATE_LIMIT in Backup ["WALG_NETWORK_RATE_LIMIT"]: Bytes;
    /// delta backups in a row before a full one; 0 takes full backups only
    DELTA_MAX_STEPS in Backup ["WALG_DELTA_MAX_STEPS"]: Integer, default("0");
    /// which backup a delta builds on: the latest one, or the full one of its chain
    DELTA_ORIGIN in Backup ["WALG_DELTA_ORIGIN"]: Choice(&["LATEST", "LATEST_FULL"]), default("LATEST");
    /// name of the backup a delta builds on instead of the latest one
    DELTA_FROM_NAME in Backup ["WALG_DELTA_FROM_NAME"]: Text;
    /// user data of the backup a delta builds on instead of the latest one
    DELTA_FROM_USER_DATA in Backup ["WALG_DELTA_FROM_USER_DATA"]: Json;
    /// where a delta learns which blocks changed, the first choice first: the server's WAL `summaries` (PostgreSQL 17
    /// and later), the `wal` itself, the LSNs of all `pages`
    DELTA_SOURCES in Backup ["SEAWALL_DELTA_SOURCES"]: Text, default("summaries,wal,pages");
    /// how long the server's WAL summarizer is waited for when it makes no progress, before the next source is asked
    SUMMARIZER_TIMEOUT in Backup ["SEAWALL_SUMMARIZER_TIMEOUT"]: Duration, default("60s");
    /// files of a delta whose pages are all read to prove what the first two sources say: `off`, `on`, or a share such
    /// as `5%` by lot
    VERIFY_DELTA in Backup ["SEAWALL_VERIFY_DELTA"]: Text, default("off");
    /// fail a delta when neither summaries nor WAL tell what changed, in place of reading every page
    FORCE_WAL_DELTA in Backup ["WALG_FORCE_WAL_DELTA"]: Bool, default("false");
    /// wal-g packs files by how often they change; here the packing stays the same
    USE_RATING_COMPOSER in Backup ["WALG_USE_RATING_COMPOSER"]: Bool, default("false");
    /// wal-g copies unchanged tars of the last backup; here, as there, the backup is a full one, and nothing is copied
    USE_COPY_COMPOSER in Backup ["WALG_USE_COPY_COMPOSER"]: Bool, default("false");
    /// wal-g packs each database apart; here the packing stays the same
    USE_DATABASE_COMPOSER in Backup ["WALG_USE_DATABASE_COMPOSER"]: Bool, default("false");
    /// do not store the list of files; no delta can build on the backup then
    WITHOUT_FILES_METADATA in Backup ["WALG_WITHOUT_FILES_METADATA"]: Bool, default("false");
    /// verify page checksums while reading
    VERIFY_PAGE_CHECKSUMS in Backup ["WALG_VERIFY_PAGE_CHECKSUMS"]: Bool, default("false");
    /// record every corrupt block, not only ten of a file
    STORE_ALL_CORRUPT_BLOCKS in Backup ["WALG_STORE_ALL_CORRUPT_BLOCKS"]: Bool, default("false");
    /// do not record the names of databases and tables
    DISABLE_PARTIAL_RESTORE in Backup ["WALG_DISABLE_PARTIAL_RESTORE"]: Bool, default("false");
    /// JSON to keep with a backup
    SENTINEL_USER_DATA in Backup ["WALG_SENTINEL_USER_DATA"]: Json;
    /// how often to check that the server still answers during a backup
    ALIVE_CHECK_INTERVAL in Backup ["WALG_ALIVE_CHECK_INTERVAL"]: Duration, default("1m");
    /// how long the WAL that a backup needs may take into the archive, as long as nothing is archived; 0 does not look for it
    BACKUP_WAL_TIMEOUT in Backup ["SEAWALL_BACKUP_WAL_TIMEOUT"]: Duration, default("1h");
    /// longest time the server may take to stop a backup, and to archive its WAL then; 0 is no such bound
    STOP_BACKUP_TIMEOUT in Backup ["WALG_STOP_BACKUP_TIMEOUT"]: Duration, default("0");
    /// size of a data page
    PG_BLOCK_SIZE in Backup ["WALG_PG_BLOCK_SIZE"]: Bytes, default("8192"),
        ignored("a data page has 8192 bytes here");
    /// read past the cache of the operating system
    DIRECT_IO in Backup ["WALG_DIRECT_IO"]: Bool, default("false"), ignored("files are read in the ordinary way");
    /// blocks per direct read
    DIRECT_IO_BLOCK_COUNT in Backup ["WALG_DIRECT_IO_BLOCK_COUNT"]: Integer, default("32"),
        ignored("files are read in the ordinary way");

    /// user data of the backup to restore
    FETCH_TARGET_USER_DATA in Restore ["WALG_FETCH_TARGET_USER_DATA"]: Json;
    /// rounds in which failed tars are fetched again
    DOWNLOAD_FILE_RETRIES in Restore ["WALG_DOWNLOAD_FILE_RETRIES"]: Integer, default("15"),
        ignored("a download is resumed where it broke; WALG_S3_MAX_RETRIES bounds the attempts");
    /// do not sync restored files to the disk
    TAR_DISABLE_FSYNC in Restore ["WALG_TAR_DISABLE_FSYNC"]: Bool, default("false");
    /// restore the newest delta first
    USE_REVERSE_UNPACK in Restore ["WALG_USE_REVERSE_UNPACK"]: Bool, default("false"),
        ignored("a chain is always restored newest backup first");
    /// do not fetch tars without a wanted file
    SKIP_REDUNDANT_TARS in Restore ["WALG_SKIP_REDUNDANT_TARS"]: Bool, default("false"),
        ignored("tars without a wanted file are never fetched");

    /// host, or directory of the Unix socket
    PGHOST in Postgres ["PGHOST"]: Text;
    /// address of the host, where its name must not be looked up
    PGHOSTADDR in Postgres ["PGHOSTADDR"]: Text;
    /// port
    PGPORT in Postgres ["PGPORT"]: Text;
    /// user
    PGUSER in Postgres ["PGUSER"]: Text;
    /// password
    PGPASSWORD in Postgres ["PGPASSWORD"]: Text, secret();
    /// password file
    PGPASSFILE in Postgres ["PGPASSFILE"]: Path;
    /// database
    PGDATABASE in Postgres ["PGDATABASE"]: Text;
    /// service of the service file
    PGSERVICE in Postgres ["PGSERVICE"]: Text;
    /// service file
    PGSERVICEFILE in Postgres ["PGSERVICEFILE"]: Path;
    /// whether TLS is used and what is checked
    PGSSLMODE in Postgres ["PGSSLMODE"]: Text;
    /// certificate of the client
    PGSSLCERT in Postgres ["PGSSLCERT"]: Path;
    /// key of that certificate
    PGSSLKEY in Postgres ["PGSSLKEY"]: Path;
    /// certificate authorities that may vouch for the server
    PGSSLROOTCERT in Postgres ["PGSSLROOTCERT"]: Path;
    /// whether the password is bound to the TLS channel
    PGCHANNELBINDING in Postgres ["PGCHANNELBINDING"]: Text;
    /// server settings for the session
    PGOPTIONS in Postgres ["PGOPTIONS"]: Text;
    /// name of the session in the server's views
    PGAPPNAME in Postgres ["PGAPPNAME"]: Text, default("wal-g");
    /// seconds to wait for a connection, and for an answer to a question that costs the server nothing; 0 waits for ever
    PGCONNECT_TIMEOUT in Postgres ["PGCONNECT_TIMEOUT"]: Text, default("30");
    /// data directory of the server; the directory of the WAL file, or of the argument, is used instead
    PGDATA in Postgres ["PGDATA"]: Path, foreign();

    /// how much is logged: `NORMAL`, `DEVEL` (also debug lines), `ERROR` (errors alone)
    LOG_LEVEL in Program ["WALG_LOG_LEVEL"]: Choice(&["NORMAL", "DEVEL", "ERROR"]), default("NORMAL");
    /// file to append the log to, or `stderr`
    LOG_DESTINATION in Program ["WALG_LOG_DESTINATION"]: Path, default("stderr");
    /// configuration file, when `--config` is not given
    CONFIG_PATH in Program ["WALG_CONFIG_PATH"]: Path;
    /// format of the documents
    SERIALIZER_TYPE in Program ["WALG_SERIALIZER_TYPE"]: Text, ignored("there is one way to write JSON");
    /// address for metrics
    STATSD_ADDRESS in Program ["WALG_STATSD_ADDRESS"]: Text, ignored(METRICS);
    /// tags of the metrics
    STATSD_EXTRA_TAGS in Program ["WALG_STATSD_EXTRA_TAGS"]: Json, ignored(METRICS);
    /// address of a web server for metrics
    HTTP_LISTEN in Program ["HTTP_LISTEN"]: Text, ignored(METRICS);
    /// profiler on that web server
    HTTP_EXPOSE_PPROF in Program ["HTTP_EXPOSE_PPROF"]: Bool, default("false"), ignored(PROFILING);
    /// variables on that web server
    HTTP_EXPOSE_EXPVAR in Program ["HTTP_EXPOSE_EXPVAR"]: Bool, default("false"), ignored(METRICS);
    /// share of the calls to profile
    PROFILE_SAMPLING_RATIO in Program ["PROFILE_SAMPLING_RATIO"]: Text, ignored(PROFILING);
    /// what to profile
    PROFILE_MODE in Program ["PROFILE_MODE"]: Text, ignored(PROFILING);
    /// where to put the profile
    PROFILE_PATH in Program ["PROFILE_PATH"]: Path, ignored(PROFILING);
    /// processors of the Go runtime
    GOMAXPROCS in Program ["GOMAXPROCS"]: Integer, ignored("WALG_UPLOAD_DISK_CONCURRENCY sets the number of threads");
    /// command that makes a backup stream
    STREAM_CREATE_COMMAND in Program ["WALG_STREAM_CREATE_COMMAND"]: Text,
        ignored("PostgreSQL is backed up from its files");
    /// command that restores a backup stream
    STREAM_RESTORE_COMMAND in Program ["WALG_STREAM_RESTORE_COMMAND"]: Text,
        ignored("PostgreSQL is backed up from its files");
    /// stanza of a pgBackRest repository
    PGBACKREST_STANZA in Program ["PGBACKREST_STANZA"]: Text, default("main"),
        ignored("pgBackRest's repositories are not read");

    /// Spilo: send no request for encryption at rest; WALG_S3_SSE unset does that
    DISABLE_S3_SSE in Other ["WALG_DISABLE_S3_SSE", "WALE_DISABLE_S3_SSE"]: Bool, foreign();
    /// Spilo: which backups a replica takes
    BACKUP_FROM_REPLICA in Other ["WALG_BACKUP_FROM_REPLICA"]: Bool, foreign();
    /// Spilo: compression of base backups, which its script puts into WALG_COMPRESSION_METHOD
    BACKUP_COMPRESSION_METHOD in Other ["WALG_BACKUP_COMPRESSION_METHOD"]: Text, foreign();
    /// Spilo: directory of the environment
    WALE_ENV_DIR in Other ["WALE_ENV_DIR", "WALG_ENV_DIR"]: Path, foreign();
    /// Spilo: where the scripts find the program
    WALE_CMD in Other ["WALE_CMD", "WALG_CMD"]: Text, foreign();
    /// wal-e: where its log goes, a list such as `stderr,syslog`
    WALE_LOG_DESTINATION in Other ["WALE_LOG_DESTINATION"]: Text, foreign();
    /// wal-e: credentials of the machine
    AWS_INSTANCE_PROFILE in Other ["AWS_INSTANCE_PROFILE"]: Text, foreign();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_known_once() {
        let mut seen = BTreeSet::new();
        for key in ALL {
            for name in key.names {
                assert!(seen.insert(*name), "{name} stands twice in the table");
                assert_eq!(find(&name.to_lowercase()).map(Key::name), Some(key.name()));
            }
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for key in ALL {
            if let Some(default) = key.default {
                assert_eq!(key.kind.check(default), Ok(()), "{}", key.name());
            }
            assert!(!key.doc.is_empty() && !key.doc.ends_with('.'), "{}", key.name());
        }
    }

    #[test]
    fn every_supported_setting_is_read_somewhere() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut sources = String::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("settings/keys.rs") {
                    sources += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        // Those of libpq are looked up by their names, those not done yet may be read to be refused.
        let checked = IDENTIFIERS
            .iter()
            .filter(|(_, key)| key.section != Section::Postgres && !matches!(key.status, Status::NotYet(_)));
        let wrong: Vec<_> = checked
            .filter(|(identifier, key)| {
                // The character after it is not one of a longer name.
                let name = format!("keys::{identifier}");
                let read = sources.match_indices(&name).any(|(at, _)| {
                    let next = sources.as_bytes().get(at + name.len());
                    !next.is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_')
                });
                read != (key.status == Status::Supported)
            })
            .map(|(identifier, _)| identifier)
            .collect();
        assert!(wrong.is_empty(), "supported and not read, or read and not supported: {wrong:?}");
    }

    #[test]
    fn own_names_do_not_look_like_a_prefix_setting() {
        for name in ALL.iter().flat_map(|key| key.names).filter(|name| name.starts_with("SEAWALL")) {
            assert!(!name.ends_with("_PREFIX"), "{name}");
        }
    }

    #[test]
    fn storage_settings_have_three_names() {
        assert_eq!(S3_SSE.names, ["S3_SSE", "WALG_S3_SSE", "WALE_S3_SSE"]);
        assert_eq!(AWS_ENDPOINT.names, ["AWS_ENDPOINT", "WALG_AWS_ENDPOINT", "WALE_AWS_ENDPOINT"]);
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let cases = [
            ("WALG_FILE_PREFX", Some("WALG_FILE_PREFIX")),
            ("WALG_COMPRESION_METHOD", Some("WALG_COMPRESSION_METHOD")),
            ("walg_s3_prefix", Some("WALG_S3_PREFIX")),
            ("WALG_SOMETHING_ELSE_ALTOGETHER", None),
        ];
        for (written, meant) in cases {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }
}
