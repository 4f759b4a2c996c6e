//! `copy`: between a wal-g repository, which a configuration file describes, and a server of barman-cloud.
//!
//! Of wal-g's side only what the file says counts, so that the environment can have the keys of the other side.

use std::path::PathBuf;

use indicatif::MultiProgress;

use crate::cli::process::cores;
use crate::cli::session::{self, Content, Program};
use crate::cli::{self, printer};
use crate::ops::Context;
use crate::ops::backup_push::Packing;
use crate::ops::copy::{self, Backups, Direction, Options};
use crate::ops::ownership::TakeOver;
use crate::settings::{Settings, Sources, keys};

use super::backup::compression;
use super::commands::Session;
use super::flags::{COPY_BACKUP, FROM_WALG, JOBS, ONLY_WAL, SCRATCH, TO_WALG};
use super::place::Objects;
use super::wal::take_over;
use super::{WHOLE_FILES, values};

/// Tars and archived files on their way at once, unless `--jobs` says otherwise.
const JOBS_AT_ONCE: u64 = 4;

/// A tar is closed once it holds this much: tars are read several at once.
const TAR_BYTES: u64 = 1 << 30;

/// `copy`
pub fn copy(session: &Session) -> Result<(), cli::Error> {
    let line = &session.line;
    let jobs = session.parsed(&JOBS, values::positive)?.unwrap_or(JOBS_AT_ONCE);
    let jobs = usize::try_from(jobs).unwrap_or(usize::MAX);
    let (direction, config) = match (line.value(&FROM_WALG), line.value(&TO_WALG)) {
        (Some(config), _) => (Direction::ToBarman, config),
        // The grammar wants one of them.
        (None, config) => (Direction::ToWalG, config.unwrap_or_default()),
    };
    let options = Options {
        direction,
        backups: match (line.value(&COPY_BACKUP), line.has(&ONLY_WAL)) {
            (Some(name), _) => Backups::Named(name.to_owned()),
            (None, true) => Backups::None,
            (None, false) => Backups::All,
        },
        scratch: line.value(&SCRATCH).map_or_else(std::env::temp_dir, PathBuf::from),
        downloads: jobs,
        packing: Packing {
            tar_bytes: TAR_BYTES,
            workers: cores().get(),
            uploads: jobs,
            disk_rate: None,
            network_rate: None,
        },
        take_over: take_over(session)?,
    };
    let barman = session.context(WHOLE_FILES, compression(session)?, Objects::default())?;
    let annotations = session.annotations()?;
    if session.only_tests() {
        return session.probe();
    }
    let (walg, take_over) = walg(config.into())?;
    let options = match direction {
        Direction::ToBarman => options,
        Direction::ToWalG => Options { take_over: take_over.unwrap_or(options.take_over), ..options },
    };
    // They end together and are shown together.
    let walg = Context { cancel: barman.cancel.clone(), progress: barman.progress.clone(), ..walg };
    let copied = session::run_shown(barman, "copy", &MultiProgress::new(), async |barman| match direction {
        Direction::ToBarman => copy::run(&walg, &barman, &annotations, &options).await,
        Direction::ToWalG => copy::run(&barman, &walg, &annotations, &options).await,
    })?;
    let lines = copied.backups.iter().map(|(from, to)| format!("{from} {to}\n"));
    printer::print(&lines.collect::<String>())
}

/// The repository that a configuration file describes, and from whom it may be taken over, if the file says that.
fn walg(config: PathBuf) -> Result<(Context, Option<TakeOver>), cli::Error> {
    let sources = Sources { config: Some(config), ..Sources::default() };
    let (settings, bars) = (Settings::load(sources)?, MultiProgress::new());
    let take_over = settings.parsed(&keys::TAKE_OVER_FROM, TakeOver::parse)?;
    let session = cli::session::Session { settings, bars, program: Program::default() };
    Ok((session.context(Content::Coded)?, take_over))
}
