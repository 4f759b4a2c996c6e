//! The first source: the server's own WAL summaries.
//!
//! The files in `pg_wal/summaries` have to cover the WAL between the backups, each stretch of it on the timeline that
//! the history says. Files that reach beyond are of use too: they name a few blocks more. The summarizer meets the
//! start of the new backup, a checkpoint's redo point, only when it next wakes up, on an idle server after half a
//! minute; so it is waited for, as long as it gets on. PostgreSQL's own incremental backup does the same
//! (`PrepareForIncrementalBackup`, `WaitForWalSummarization`).

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::ops::{Context, Error};
use crate::pg::wal_summary::{self, SummaryName};
use crate::pg::{BlockMap, Lsn, SummarizerState, TimelineId};
use crate::pipeline::run_blocking;

use super::{Cluster, Gap, Interval};

/// How often the summarizer's progress is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The first server with summaries.
const FIRST_MAJOR: u32 = 17;

/// Reads the map of an interval from the summaries, waiting up to `patience` for a summarizer that makes no progress.
pub(super) async fn read(
    ctx: &Context,
    cluster: Cluster<'_>,
    interval: &Interval,
    patience: Duration,
) -> Result<BlockMap, Gap> {
    let major = cluster.identity.version.major();
    if major < FIRST_MAJOR {
        return Err(Gap::NoSummaries { major });
    }
    if !ctx.until_cancelled(cluster.session.summarizes_wal()).await? {
        return Err(Gap::SummarizerOff);
    }
    let directory = cluster.data_dir.join("pg_wal/summaries");
    let stretches = stretches(interval);
    let files = wait_for_files(ctx, cluster, &directory, &stretches, patience).await?;
    tracing::debug!(files = files.len(), "reading WAL summaries");
    let paths: Vec<PathBuf> = files.iter().map(|name| directory.join(name.to_string())).collect();
    run_blocking("seawall-wal-0".to_owned(), move || read_files(&paths)).await.map_err(Error::from)?
}

fn read_files(paths: &[PathBuf]) -> Result<BlockMap, Gap> {
    let mut map = BlockMap::default();
    for path in paths {
        let file = fs::File::open(path).map_err(Error::file("open", path))?;
        wal_summary::read(BufReader::new(file), &mut map)
            .map_err(|source| Gap::Summary { path: path.clone(), source })?;
    }
    Ok(map)
}

/// The files that cover all stretches, waited for while the summarizer gets on.
async fn wait_for_files(
    ctx: &Context,
    cluster: Cluster<'_>,
    directory: &Path,
    stretches: &[Stretch],
    patience: Duration,
) -> Result<Vec<SummaryName>, Gap> {
    let mut progress = (None, Instant::now());
    loop {
        // Asked first: what it says is summarized has its files by then.
        let state = ctx.until_cancelled(cluster.session.summarizer_state()).await?;
        let missing = match covering(stretches, list(directory)?) {
            Ok(files) => return Ok(files),
            Err(missing) => missing,
        };
        if missing.is_past(&state) {
            return Err(Gap::NotSummarized { timeline: missing.timeline, lsn: missing.from });
        }
        let (seen, since) = progress;
        if seen != Some((state.timeline, state.pending)) {
            progress = (Some((state.timeline, state.pending)), Instant::now());
        } else if since.elapsed() >= patience {
            return Err(Gap::SummarizerStuck { reached: state.pending, needed: missing.until, patience });
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = ctx.cancel.cancelled() => return Err(Error::Cancelled.into()),
        }
    }
}

/// The summaries there are.
fn list(directory: &Path) -> Result<Vec<SummaryName>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::file("read", directory))? {
        let entry = entry.map_err(Error::file("read", directory))?;
        // Besides summaries there is one that is being written, under a name of its own.
        names.extend(entry.file_name().to_str().and_then(|name| name.parse::<SummaryName>().ok()));
    }
    Ok(names)
}

/// WAL of one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    timeline: TimelineId,
    from: Lsn,
    until: Lsn,
}

impl Stretch {
    /// Whether the summarizer has left the start of the stretch behind and will write no file for it any more.
    fn is_past(&self, state: &SummarizerState) -> bool {
        // Timelines' numbers ascend along a history.
        match state.timeline {
            None => false,
            Some(timeline) if timeline == self.timeline => state.summarized > self.from,
            Some(timeline) => timeline > self.timeline,
        }
    }
}

/// The interval, timeline by timeline.
fn stretches(interval: &Interval) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut from = interval.from;
    while from < interval.until {
        let timeline = interval.history.timeline_at(from);
        let until = interval.history.switch_point(timeline).unwrap_or(interval.until).min(interval.until);
        stretches.push(Stretch { timeline, from, until });
        from = until;
    }
    stretches
}

/// The files that cover all stretches; the error is the first part that none covers.
fn covering(stretches: &[Stretch], mut files: Vec<SummaryName>) -> Result<Vec<SummaryName>, Stretch> {
    files.sort_unstable_by_key(|file| file.from);
    let mut chosen = Vec::new();
    for stretch in stretches {
        let mut covered = stretch.from;
        for file in files.iter().filter(|file| file.timeline == stretch.timeline) {
            if file.from <= covered && file.until > covered && covered < stretch.until {
                covered = file.until;
                chosen.push(*file);
            }
        }
        if covered < stretch.until {
            return Err(Stretch { from: covered, ..*stretch });
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use crate::pg::TimelineHistory;

    use super::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn stretch((number, from, until): (u32, u64, u64)) -> Stretch {
        Stretch { timeline: timeline(number), from: Lsn::new(from), until: Lsn::new(until) }
    }

    fn interval(from: u64, until: u64) -> Interval {
        let history =
            TimelineHistory::parse(timeline(5), b"1\t0/100\tx\n3\t0/100\tx\n4\t0/300\tx\n").unwrap();
        Interval { from: Lsn::new(from), until: Lsn::new(until), history }
    }

    #[test]
    fn an_interval_falls_into_stretches_of_one_timeline() {
        for (from, until, expected) in [
            (0x10, 0x80, vec![(1, 0x10, 0x80)]),
            (0x10, 0x100, vec![(1, 0x10, 0x100)]),
            // Timeline 3 was left where it began.
            (0x10, 0x101, vec![(1, 0x10, 0x100), (4, 0x100, 0x101)]),
            (0x10, 0x900, vec![(1, 0x10, 0x100), (4, 0x100, 0x300), (5, 0x300, 0x900)]),
            (0x100, 0x900, vec![(4, 0x100, 0x300), (5, 0x300, 0x900)]),
            (0x80, 0x80, vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(stretch).collect();
            assert_eq!(stretches(&interval(from, until)), expected, "{from:X} {until:X}");
        }
    }

    #[test]
    fn every_hole_is_found() {
        let wanted = [stretch((1, 0x10, 0x100)), stretch((4, 0x100, 0x300))];
        let whole = [(1, 0x8, 0x20), (1, 0x20, 0x90), (1, 0x90, 0x100), (4, 0x100, 0x180), (4, 0x180, 0x380)];
        let names = |files: &[(u32, u64, u64)]| -> Vec<SummaryName> {
            let name = |file| {
                let Stretch { timeline, from, until } = stretch(file);
                SummaryName { timeline, from, until }
            };
            files.iter().rev().copied().map(name).collect()
        };
        let mut chosen = names(&whole);
        chosen.reverse();
        assert_eq!(covering(&wanted, names(&whole)), Ok(chosen));

        for missing in 0..whole.len() {
            let mut files = whole.to_vec();
            let (number, from, _) = files.remove(missing);
            let hole = covering(&wanted, names(&files)).unwrap_err();
            assert_eq!((hole.timeline, hole.from), (timeline(number), Lsn::new(from.max(0x10))));
        }
        // Adjacent by position only, and of no use at all.
        let other = [&whole[..3], &[(2, 0x100, 0x300), (4, 0x300, 0x400), (4, 0x80, 0x100)]].concat();
        assert_eq!(covering(&wanted, names(&other)), Err(wanted[1]));
        // Those that lie in others are not needed.
        let overlapping = [(1, 0x0, 0x200), (1, 0x20, 0x90), (4, 0x0, 0x180), (4, 0x90, 0x300)];
        let chosen: Vec<_> =
            [names(&overlapping[..1]), names(&overlapping[2..3]), names(&overlapping[3..])].concat();
        assert_eq!(covering(&wanted, names(&overlapping)), Ok(chosen));
    }

    #[test]
    fn what_the_summarizer_left_behind_is_not_waited_for() {
        let missing = stretch((3, 0x100, 0x300));
        let state = |number: u32, summarized| SummarizerState {
            timeline: TimelineId::new(number),
            summarized: Lsn::new(summarized),
            pending: Lsn::new(0x900),
        };
        for (state, past) in [
            (state(0, 0), false),
            (state(1, 0x80), false),
            (state(3, 0x100), false),
            (state(3, 0x101), true),
            (state(4, 0x300), true),
        ] {
            assert_eq!(missing.is_past(&state), past, "{state:?}");
        }
    }
}
