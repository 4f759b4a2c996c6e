//! The first walk of a backup, which copies nothing: for the progress and for the size of parts.

use std::path::Path;

use crate::ops::Error;
use crate::pg::ControlFile;
use crate::pg::data_dir::{Found, Member, MemberKind, WalkRules, walk};
use crate::pg::session::ServerIdentity;

use super::Options;

/// What a first walk tells of the data directory.
#[derive(Debug)]
pub(super) struct Survey {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the largest one.
    pub largest_file: u64,
    /// What the walk that copies leaves out.
    pub rules: WalkRules,
}

/// Walks the data directory and sums up.
pub(super) fn survey(
    data_dir: &Path,
    control: &ControlFile,
    server: &ServerIdentity,
    options: &Options,
) -> Result<Survey, Error> {
    let rules = walk_rules(control, server, options);
    let mut survey = Survey { bytes: 0, largest_file: 0, rules };
    for found in walk(data_dir, &survey.rules)? {
        if let Found::Member(Member { kind: MemberKind::File { size }, .. }) = found? {
            survey.bytes += size;
            survey.largest_file = survey.largest_file.max(size);
        }
    }
    Ok(survey)
}

fn walk_rules(control: &ControlFile, server: &ServerIdentity, options: &Options) -> WalkRules {
    for path in options.exclude.iter().filter(|path| path.starts_with(&server.data_directory)) {
        tracing::warn!(path = %path.display(), "the archive lies inside the data directory; it is left out of the backup");
    }
    WalkRules {
        exclude: options.exclude.clone(),
        tablespace_directory: Some(format!("PG_{}_{}", server.version.major(), control.catalog_version)),
    }
}
