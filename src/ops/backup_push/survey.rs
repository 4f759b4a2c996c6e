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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// Counts events.
    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_odd_is_told_by_the_walk_that_copies_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("base")).unwrap();
        fs::write(dir.path().join("base/1"), b"12345").unwrap();
        symlink("nowhere", dir.path().join("base/linked")).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Count(Arc::clone(&told)));
        tracing::subscriber::with_default(subscriber, || {
            let survey = Survey::of(dir.path(), WalkRules::default()).unwrap();
            assert_eq!((survey.bytes, survey.largest_file), (5, 5));
            assert_eq!(told.load(Ordering::Relaxed), 0);
            assert!(walk(dir.path(), &survey.rules).unwrap().all(|found| found.is_ok()));
        });
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
