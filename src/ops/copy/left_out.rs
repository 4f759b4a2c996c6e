//! What could not be copied.

use std::fmt::{self, Display};

use crate::layout::Name;
use crate::storage::Key;

/// What a copy has left out; all else is copied.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct LeftOut {
    /// Archived files in a compression that is not known.
    pub wal: Vec<Key>,
    /// Backups that cannot be restored.
    pub unrestorable: Vec<Name>,
    /// Backups that need WAL which the source has not archived.
    pub without_wal: Vec<Name>,
}

/// More names than these are only counted: the log has them all.
const MOST_NAMES: usize = 20;

impl LeftOut {
    pub(super) fn is_empty(&self) -> bool {
        *self == LeftOut::default()
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            LeftOut { wal, unrestorable, .. } if wal.is_empty() && unrestorable.is_empty() => {
                "all else is copied; if it is still to be archived, the same command copies them later"
            }
            _ => "all else is copied; the log says why not these",
        }
    }
}

impl Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("their compression is not known", join(&self.wal)),
            ("they cannot be restored", join(&self.unrestorable)),
            ("WAL that they need is not archived", join(&self.without_wal)),
        ];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> =
            parts.map(|(reason, names)| format!("not copied, since {reason}: {names}")).collect();
        f.write_str(&parts.join("; "))
    }
}

fn join(names: &[impl Display]) -> String {
    let shown: Vec<String> = names.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named_and_many_are_counted() {
        let key = |number: usize| Key::parse(&format!("wal_005/{number}.lzo")).unwrap();
        let mut left_out = LeftOut { wal: vec![key(1)], ..LeftOut::default() };
        assert_eq!(left_out.to_string(), "not copied, since their compression is not known: wal_005/1.lzo");
        left_out.wal.extend((2..=22).map(key));
        assert!(left_out.to_string().ends_with("wal_005/20.lzo and 2 more"), "{left_out}");
        left_out.without_wal =
            vec!["20261121T030000".parse::<crate::layout::barman::BackupId>().unwrap().into()];
        let end = "2 more; not copied, since WAL that they need is not archived: 20261121T030000";
        assert!(left_out.to_string().ends_with(end), "{left_out}");
        assert!(!left_out.is_empty() && LeftOut::default().is_empty());
    }
}
