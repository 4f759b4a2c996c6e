//! The first walk of a backup, which copies nothing: for the progress and for the size of parts.

use std::path::Path;

use tracing::subscriber::NoSubscriber;

use crate::ops::Error;
use crate::pg::data_dir::{Found, Member, MemberKind, WalkRules, walk};

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

impl Survey {
    /// Walks the data directory and sums up. What is left out is not told: the walk that copies does.
    pub fn of(data_dir: &Path, rules: WalkRules) -> Result<Survey, Error> {
        tracing::subscriber::with_default(NoSubscriber::new(), || Survey::walk(data_dir, rules))
    }

    fn walk(data_dir: &Path, rules: WalkRules) -> Result<Survey, Error> {
        let mut survey = Survey { bytes: 0, largest_file: 0, rules };
        for found in walk(data_dir, &survey.rules)? {
            if let Found::Member(Member { kind: MemberKind::File { size }, .. }) = found? {
                survey.bytes += size;
                survey.largest_file = survey.largest_file.max(size);
            }
        }
        Ok(survey)
    }
}
