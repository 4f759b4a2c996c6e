//! What `backup-list` and `backup-show` print, byte for byte as wal-g where it has the command.
//!
//! Scripts split the plain table at white space and read its times as text, so the header, the spaces between the
//! columns and UTC in whole seconds are part of the contract (`tests/fixtures/wal-g` has lists of the real one). What
//! deltas build on comes last, and only where there are deltas: what is parsed without them stays what it was.

use indicatif::BinaryBytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use crate::layout::walg::{Metadata, go_json};
use crate::ops::backup_list::{Detail, ListedBackup};
use crate::ops::backup_show::ShownBackup;
use crate::ops::backup_tree::{self, Chain, Node, TreeLine};
use crate::pg::Lsn;

use super::printer;
use super::table::{self, left, right};

/// The name of the only storage there is; wal-g has failover storages.
const STORAGE: &str = "default";

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Columns.
    Plain,
    /// A boxed table with written-out times.
    Pretty,
    /// One line of JSON.
    Json,
    /// Indented JSON.
    PrettyJson,
}

impl ListFormat {
    /// The format that the flags `--json` and `--pretty` ask for.
    pub fn from_flags(json: bool, pretty: bool) -> ListFormat {
        match (json, pretty) {
            (false, false) => ListFormat::Plain,
            (false, true) => ListFormat::Pretty,
            (true, false) => ListFormat::Json,
            (true, true) => ListFormat::PrettyJson,
        }
    }
}

/// The list of backups; nothing at all for an empty list, but `[]` in JSON.
pub fn list(backups: &[ListedBackup], detail: Detail, format: ListFormat) -> serde_json::Result<String> {
    match format {
        ListFormat::Json => Ok(json_of(backups)? + "\n"),
        ListFormat::PrettyJson => Ok(indented(&entries(backups))? + "\n"),
        _ if backups.is_empty() => Ok(String::new()),
        ListFormat::Plain => Ok(plain(backups, detail)),
        ListFormat::Pretty => Ok(pretty(backups, detail)),
    }
}

/// The list of backups as one line of JSON, without a final line break.
pub(super) fn json_of(backups: &[ListedBackup]) -> serde_json::Result<String> {
    go_json::to_string(&entries(backups))
}

const COLUMNS: [&str; 4] = ["backup_name", "modified", "wal_file_name", "storage_name"];
const DETAIL_COLUMNS: [&str; 8] = [
    "start_time",
    "finish_time",
    "hostname",
    "data_dir",
    "pg_version",
    "start_lsn",
    "finish_lsn",
    "is_permanent",
];

fn plain(backups: &[ListedBackup], detail: Detail) -> String {
    let columns = Columns::of(backups, detail);
    let mut header = COLUMNS.to_vec();
    if columns >= Columns::Details {
        header.extend(DETAIL_COLUMNS);
    }
    if columns == Columns::Parents {
        header.push("delta_from");
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
    rows.extend(backups.iter().map(|backup| cells(backup, columns, seconds)));
    printer::columns(&rows)
}

fn pretty(backups: &[ListedBackup], detail: Detail) -> String {
    let columns = Columns::of(backups, detail);
    let mut header =
        vec![right("#"), left("Backup name"), left("Modified"), left("WAL file name"), left("Storage name")];
    if columns >= Columns::Details {
        header.extend([
            left("Start time"),
            left("Finish time"),
            left("Hostname"),
            left("Datadir"),
            left("PG version"),
            left("Start LSN"),
            left("Finish LSN"),
            left("Permanent"),
        ]);
    }
    if columns == Columns::Parents {
        header.push(left("Delta from"));
    }
    let numbered = backups.iter().enumerate().map(|(number, backup)| {
        let mut row = vec![number.to_string()];
        row.extend(cells(backup, columns, written_out));
        row
    });
    table::boxed(&header, &numbered.collect::<Vec<_>>())
}

/// Which columns a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Columns {
    Short,
    Details,
    /// The details, and what deltas build on: wal-g has no such column.
    Parents,
}

impl Columns {
    fn of(backups: &[ListedBackup], detail: Detail) -> Columns {
        match detail {
            Detail::Names => Columns::Short,
            Detail::Documents if backups.iter().all(|backup| backup.delta_from.is_none()) => Columns::Details,
            Detail::Documents => Columns::Parents,
        }
    }
}

fn cells(backup: &ListedBackup, columns: Columns, time: fn(Timestamp) -> String) -> Vec<String> {
    let entry = &backup.entry;
    let mut cells = vec![
        entry.name.to_string(),
        time(entry.modified),
        entry.name.segment().to_string(),
        STORAGE.to_owned(),
    ];
    if columns >= Columns::Details {
        cells.extend(details(backup, time));
    }
    if columns == Columns::Parents {
        cells.push(backup.delta_from.map_or_else(|| "-".to_owned(), |parent| parent.to_string()));
    }
    cells
}

fn details(backup: &ListedBackup, time: fn(Timestamp) -> String) -> [String; 8] {
    let Some(metadata) = &backup.metadata else { return std::array::from_fn(|_| "-".to_owned()) };
    [
        time(metadata.start_time),
        time(metadata.finish_time),
        metadata.hostname.clone(),
        metadata.data_dir.clone(),
        metadata.pg_version.to_string(),
        Lsn::new(metadata.start_lsn).to_string(),
        Lsn::new(metadata.finish_lsn).to_string(),
        metadata.is_permanent.to_string(),
    ]
}

/// The backups as trees: each delta below what it builds on, indented by two spaces; nothing for an empty list.
pub fn tree(backups: &[ListedBackup]) -> String {
    if backups.is_empty() {
        return String::new();
    }
    let header = ["backup_name", "start_time", "uncompressed_size", "compressed_size", "start_lsn", "chain"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(backup_tree::lines(backups).iter().map(tree_row));
    printer::columns(&rows)
}

fn tree_row(line: &TreeLine<'_>) -> [String; 6] {
    let name = format!("{}{}", "  ".repeat(line.depth), line.node.name());
    let (metadata, chain) = match line.node {
        Node::Backup(backup, Chain::Complete) => (backup.metadata.as_ref(), "complete"),
        Node::Backup(backup, Chain::Broken) => (backup.metadata.as_ref(), "unrestorable"),
        Node::Missing(_) => (None, "missing"),
    };
    let cell = |text: fn(&Metadata) -> String| metadata.map_or_else(|| "-".to_owned(), text);
    [
        name,
        cell(|metadata| seconds(metadata.start_time)),
        cell(|metadata| size(metadata.uncompressed_size)),
        cell(|metadata| size(metadata.compressed_size)),
        cell(|metadata| Lsn::new(metadata.start_lsn).to_string()),
        chain.to_owned(),
    ]
}

/// A size for people, without the space that would make two cells of it.
fn size(bytes: i64) -> String {
    BinaryBytes(u64::try_from(bytes).unwrap_or(0)).to_string().replace(' ', "")
}

/// UTC in whole seconds: `2026-11-21T02:47:58Z`.
fn seconds(time: Timestamp) -> String {
    if is_unset(time) { "-".to_owned() } else { time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() }
}

/// RFC 850, as Go writes it: `Saturday, 21-Nov-26 02:47:58 UTC`.
fn written_out(time: Timestamp) -> String {
    if is_unset(time) {
        return "-".to_owned();
    }
    time.to_zoned(TimeZone::UTC).strftime("%A, %d-%b-%y %H:%M:%S UTC").to_string()
}

/// Documents without a time read as the epoch; Go's own zero time is the year 1.
fn is_unset(time: Timestamp) -> bool {
    time <= Timestamp::UNIX_EPOCH
}

/// A backup in wal-g's JSON lists.
#[derive(Serialize)]
struct JsonEntry<'a> {
    backup_name: String,
    time: Timestamp,
    wal_file_name: String,
    storage_name: &'static str,
    #[serde(flatten)]
    metadata: Option<JsonMetadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta_from: Option<String>,
}

/// The fields of `metadata.json` that wal-g lists.
#[derive(Serialize)]
struct JsonMetadata<'a> {
    start_time: Timestamp,
    finish_time: Timestamp,
    date_fmt: &'a str,
    hostname: &'a str,
    data_dir: &'a str,
    pg_version: u32,
    start_lsn: u64,
    finish_lsn: u64,
    is_permanent: bool,
    system_identifier: Option<u64>,
    uncompressed_size: i64,
    compressed_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a Value>,
}

fn entries(backups: &[ListedBackup]) -> Vec<JsonEntry<'_>> {
    backups.iter().map(JsonEntry::new).collect()
}

impl<'a> JsonEntry<'a> {
    fn new(backup: &'a ListedBackup) -> JsonEntry<'a> {
        let entry = &backup.entry;
        JsonEntry {
            backup_name: entry.name.to_string(),
            time: entry.modified,
            wal_file_name: entry.name.segment().to_string(),
            storage_name: STORAGE,
            metadata: backup.metadata.as_ref().map(|metadata| JsonMetadata {
                start_time: metadata.start_time,
                finish_time: metadata.finish_time,
                date_fmt: &metadata.date_fmt,
                hostname: &metadata.hostname,
                data_dir: &metadata.data_dir,
                pg_version: metadata.pg_version,
                start_lsn: metadata.start_lsn,
                finish_lsn: metadata.finish_lsn,
                is_permanent: metadata.is_permanent,
                system_identifier: metadata.system_identifier,
                uncompressed_size: metadata.uncompressed_size,
                compressed_size: metadata.compressed_size,
                user_data: metadata.user_data.as_ref(),
            }),
            delta_from: backup.delta_from.map(|parent| parent.to_string()),
        }
    }
}

/// JSON indented by four spaces, with Go's escapes.
fn indented<T: Serialize>(document: &T) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(go_json::escape_for_html(&String::from_utf8_lossy(&bytes)))
}

/// One backup: `key: value` lines, or the object of `backup-list --detail --json` with what the sentinel adds.
pub fn show(shown: &ShownBackup, format: ListFormat) -> serde_json::Result<String> {
    match format {
        ListFormat::Json => Ok(go_json::to_string(&JsonBackup::new(shown))? + "\n"),
        ListFormat::PrettyJson => Ok(indented(&JsonBackup::new(shown))? + "\n"),
        ListFormat::Plain | ListFormat::Pretty => show_text(shown),
    }
}

/// What `backup-show --json` prints.
#[derive(Serialize)]
struct JsonBackup {
    backup_name: String,
    time: Timestamp,
    wal_file_name: String,
    storage_name: &'static str,
    #[serde(flatten)]
    metadata: Metadata,
    delta_from: Option<String>,
    delta_full_name: Option<String>,
    delta_count: Option<u32>,
    delta_lsn: Option<u64>,
    delta_source: Option<String>,
    data_catalog_size: i64,
    tablespaces: Option<Value>,
    files_metadata_disabled: bool,
}

impl JsonBackup {
    fn new(shown: &ShownBackup) -> JsonBackup {
        let sentinel = shown.backup.sentinel();
        JsonBackup {
            backup_name: shown.entry.name.to_string(),
            time: shown.entry.modified,
            wal_file_name: shown.entry.name.segment().to_string(),
            storage_name: STORAGE,
            metadata: shown.backup.metadata(),
            delta_from: sentinel.delta_from,
            delta_full_name: sentinel.delta_full_name,
            delta_count: sentinel.delta_count,
            delta_lsn: sentinel.delta_lsn,
            delta_source: sentinel.delta_source,
            data_catalog_size: sentinel.data_catalog_size,
            tablespaces: sentinel.spec.map(|spec| Value::Object(spec.into())),
            files_metadata_disabled: sentinel.files_metadata_disabled,
        }
    }
}

fn show_text(shown: &ShownBackup) -> serde_json::Result<String> {
    let backup = &shown.backup;
    let lsn = |lsn: Option<Lsn>| lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    let mut lines = vec![
        ("backup_name", backup.name.to_string()),
        ("modified", seconds(shown.entry.modified)),
        ("wal_file_name", backup.name.segment().to_string()),
        ("start_time", seconds(backup.start_time)),
        ("finish_time", seconds(backup.finish_time)),
        ("hostname", backup.hostname.clone()),
        ("data_dir", backup.data_dir.display().to_string()),
        ("pg_version", backup.pg_version.as_u32().to_string()),
        ("start_lsn", lsn(backup.start_lsn)),
        ("finish_lsn", lsn(backup.finish_lsn)),
        ("is_permanent", backup.is_permanent.to_string()),
        (
            "system_identifier",
            backup.system_identifier.map_or_else(|| "-".to_owned(), |identifier| identifier.to_string()),
        ),
        ("uncompressed_size", backup.uncompressed_size.to_string()),
        ("compressed_size", backup.compressed_size.to_string()),
        ("data_catalog_size", backup.data_catalog_size.to_string()),
    ];
    if let Some(delta) = &backup.delta {
        lines.push(("delta_from", delta.parent.to_string()));
        lines.push(("delta_full_name", delta.full.to_string()));
        lines.push(("delta_count", delta.count.to_string()));
        lines.push(("delta_lsn", delta.lsn.to_string()));
        if let Some(source) = &delta.source {
            lines.push(("delta_source", source.clone()));
        }
    }
    if let Some(spec) = &backup.tablespaces {
        for (oid, location) in &spec.locations {
            lines.push(("tablespace", format!("{oid} {}", location.display())));
        }
    }
    if let Some(user_data) = &backup.user_data {
        lines.push(("user_data", go_json::to_string(user_data)?));
    }
    Ok(lines.into_iter().map(|(key, value)| format!("{key}: {value}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_go_writes_them() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        for (text, plain, pretty) in [
            ("2026-11-21T02:47:58.288915783Z", "2026-11-21T02:47:58Z", "Saturday, 21-Nov-26 02:47:58 UTC"),
            ("2026-01-02T00:00:00+02:00", "2026-01-01T22:00:00Z", "Thursday, 01-Jan-26 22:00:00 UTC"),
            ("0001-01-01T00:00:00Z", "-", "-"),
        ] {
            assert_eq!((seconds(time(text)), written_out(time(text))), (plain.to_owned(), pretty.to_owned()));
        }
    }
}
