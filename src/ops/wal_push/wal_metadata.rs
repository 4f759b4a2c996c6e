//! The small JSON description that wal-g can store beside each segment.
//!
//! `{"<segment>":{"created_time":"<modification time>","date_fmt":"…"}}`, one object per segment, or one per 16 of
//! them: those that share all but the last digit of their names. Source: wal-g `wal_metadata_uploader.go`.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::layout::walg::{go_json, names};
use crate::ops::{Context, Error};
use crate::pg::SegmentName;
use crate::storage::PutMode;

use super::marks::Marks;

/// `WALG_UPLOAD_WAL_METADATA`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalMetadata {
    /// None.
    None,
    /// `<segment>.json` for each segment.
    Individual,
    /// `<first 23 characters>.json` when the last segment of 16 is archived.
    Bulk,
}

/// Stores the description of a segment; other files have none.
pub(super) async fn upload(
    ctx: &Context,
    mode: &WalMetadata,
    marks: &Marks,
    name: &str,
    path: &Path,
) -> Result<(), Error> {
    if *mode == WalMetadata::None || name.parse::<SegmentName>().is_err() {
        return Ok(());
    }
    let description = describe(name, path)?;
    match mode {
        WalMetadata::None => Ok(()),
        WalMetadata::Individual => put(ctx, name, description).await,
        WalMetadata::Bulk => {
            let directory = marks.directory();
            let group = name.split_at_checked(23).map_or(name, |(group, _)| group);
            if !name.ends_with('F') {
                fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
                let kept = directory.join(format!("{name}.json"));
                return fs::write(&kept, Value::Object(description).to_string())
                    .map_err(Error::file("write", kept));
            }
            let (merged, kept) = merge(directory, group, description)?;
            put(ctx, group, merged).await?;
            for path in kept {
                fs::remove_file(&path).map_err(Error::file("remove", path))?;
            }
            Ok(())
        }
    }
}

fn describe(name: &str, path: &Path) -> Result<Map<String, Value>, Error> {
    let modified =
        path.metadata().and_then(|metadata| metadata.modified()).map_err(Error::file("read", path))?;
    let created = Timestamp::try_from(modified).unwrap_or_default();
    let description = json!({ "created_time": created.to_string(), "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ" });
    Ok(Map::from_iter([(name.to_owned(), description)]))
}

/// The descriptions kept of a group, with the last one; and the files they were kept in.
fn merge(
    directory: &Path,
    group: &str,
    last: Map<String, Value>,
) -> Result<(Map<String, Value>, Vec<std::path::PathBuf>), Error> {
    let mut merged = Map::new();
    let mut kept = Vec::new();
    for digit in "0123456789ABCDE".chars() {
        let path = directory.join(format!("{group}{digit}.json"));
        if let Ok(json) = fs::read(&path)
            && let Ok(Value::Object(description)) = serde_json::from_slice(&json)
        {
            merged.extend(description);
            kept.push(path);
        }
    }
    merged.extend(last);
    Ok((merged, kept))
}

async fn put(ctx: &Context, name: &str, description: Map<String, Value>) -> Result<(), Error> {
    let key = names::wal_metadata_key(name);
    // A map of texts always serialises.
    let json = go_json::to_string(&description).unwrap_or_default();
    ctx.storage.put(&key, json.into(), PutMode::Overwrite).await?;
    Ok(())
}
