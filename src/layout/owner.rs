//! Whose repository this is: a small document of our own beside the backups.
//!
//! `seawall_owner.json` lies in the folder of the backups (`basebackups_005/`, `base/`) in either layout, is neither
//! compressed nor encrypted, and names the cluster by its system identifier, which `initdb` chose and which every
//! restore, clone and standby keeps. wal-g takes for backups only what is called a sentinel, barman only folders, so both
//! pass over it in silence; beside the WAL, wal-g's `wal-verify` would warn of it.
//!
//! ```json
//! {"system_identifier":"7710446856078919098","timeline":1,"since":"2026-11-21T14:30:00Z","program":"seawall 0.1.0","compressions":["lz4"]}
//! ```
//!
//! `compressions` are those in which WAL may be stored: the name of an archived file ends with its compression, so after
//! another one was configured a file has to be looked for by both names. Whoever stores with a new one adds it before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::Method;
use crate::pg::{SystemIdentifier, TimelineId};
use crate::storage::Key;

use super::Layout;

const FILE: &str = "seawall_owner.json";

/// The cluster that a repository belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Which cluster.
    pub system_identifier: SystemIdentifier,
    /// The timeline of what it stored first, as far as that is known.
    pub timeline: Option<TimelineId>,
    /// When it became the owner.
    pub since: Timestamp,
    /// The program that wrote this down.
    pub program: String,
    /// The compressions of its WAL, as far as seawall has stored it.
    pub compressions: Vec<Method>,
}

/// The document. The identifier is a text: as a number it is too large for what many readers of JSON keep.
#[derive(Serialize, Deserialize)]
struct Document {
    system_identifier: String,
    timeline: Option<u32>,
    since: Timestamp,
    program: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    compressions: Vec<String>,
}

/// Why an owner's document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOwner {
    /// It is no JSON, or a field is missing or of another type.
    #[error("not a valid document: {0}")]
    Json(String),
    /// The identifier is no number.
    #[error("`{0}` is no system identifier")]
    SystemIdentifier(String),
}

impl Owner {
    /// Where it lies.
    pub fn key(layout: &dyn Layout) -> Key {
        super::keys::key(format!("{}{FILE}", layout.backups()))
    }

    /// Reads the document.
    pub fn from_json(json: &[u8]) -> Result<Owner, InvalidOwner> {
        let Document { system_identifier, timeline, since, program, compressions } =
            serde_json::from_slice(json).map_err(|error| InvalidOwner::Json(error.to_string()))?;
        let Ok(identifier) = system_identifier.parse() else {
            return Err(InvalidOwner::SystemIdentifier(system_identifier.escape_debug().to_string()));
        };
        let timeline = timeline.and_then(TimelineId::new);
        let is_named = |name: &String| Method::ALL.into_iter().find(|method| method.to_string() == *name);
        Ok(Owner {
            system_identifier: SystemIdentifier::new(identifier),
            timeline,
            since,
            program,
            compressions: compressions.iter().filter_map(is_named).collect(),
        })
    }

    /// The document's bytes.
    pub fn to_json(&self) -> String {
        let document = Document {
            system_identifier: self.system_identifier.to_string(),
            timeline: self.timeline.map(TimelineId::as_u32),
            since: self.since,
            program: self.program.clone(),
            compressions: self.compressions.iter().map(Method::to_string).collect(),
        };
        // Texts and numbers always serialise.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Entry;
    use crate::layout::barman::{Barman, Partials};
    use crate::layout::walg::{WalG, names};

    #[test]
    fn reads_what_it_writes() {
        let json = r#"{"system_identifier":"18446744073709551615","timeline":3,"since":"2026-11-21T14:30:00Z","program":"seawall 0.1.0"}"#;
        let owner = Owner::from_json(json.as_bytes()).unwrap();
        assert_eq!(owner.system_identifier, SystemIdentifier::new(u64::MAX));
        assert_eq!(owner.timeline, TimelineId::new(3));
        assert_eq!(owner.to_json(), json);
        assert_eq!(owner.compressions, []);
        let compressions = vec![Method::Brotli, Method::None];
        let both = Owner { compressions, ..owner.clone() };
        assert!(both.to_json().ends_with(r#","compressions":["brotli","none"]}"#), "{}", both.to_json());
        assert_eq!(Owner::from_json(both.to_json().as_bytes()), Ok(both));
        let unknown = Owner { timeline: None, ..owner };
        assert_eq!(Owner::from_json(unknown.to_json().as_bytes()), Ok(unknown));
    }

    #[test]
    fn what_is_no_owner_is_an_error() {
        for wrong in ["", "{}", "[]", r#"{"system_identifier":7}"#, "\u{0}"] {
            assert!(matches!(Owner::from_json(wrong.as_bytes()), Err(InvalidOwner::Json(_))), "{wrong}");
        }
        let text = r#"{"system_identifier":"-1","timeline":1,"since":"2026-11-21T14:30:00Z","program":""}"#;
        assert_eq!(Owner::from_json(text.as_bytes()), Err(InvalidOwner::SystemIdentifier("-1".to_owned())));
    }

    #[test]
    fn it_is_no_part_of_a_backup_in_either_layout() {
        let walg = Owner::key(&WalG);
        assert_eq!(walg.as_str(), "basebackups_005/seawall_owner.json");
        assert!(names::backup_of_object(&walg).is_none() && WalG.marker(Entry::Object(&walg)).is_none());
        let barman = Barman { partials: Partials::Accept };
        let key = Owner::key(&barman);
        assert_eq!(key.as_str(), "base/seawall_owner.json");
        assert!(barman.marker(Entry::Object(&key)).is_none());
    }
}
