//! The workers of a backup: what they work on, and what becomes of them together.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::layout::NewBackup;
use crate::ops::{Context, Error};
use crate::pg::Lsn;
use crate::pg::data_dir::walk;
use crate::pipeline::{Panicked, PartPool, RateLimit, UploadSettings, run_blocking};

use super::delta::Delta;
use super::job::{Job, Packed};
use super::options::{Packing, VerifyPages};
use super::pack;
use super::survey::Survey;
use super::tails;

/// What is to be packed.
pub(super) struct Work<'a> {
    /// Where the cluster lies.
    pub data_dir: &'a Path,
    /// Where the backup starts: pages from there on may be torn.
    pub started_at: Lsn,
    /// Bytes of a page.
    pub block_size: u32,
    pub backup: &'a Arc<dyn NewBackup>,
    pub verify: VerifyPages,
    /// What a delta goes by; `None` for a full backup.
    pub delta: Option<Delta>,
}

impl Work<'_> {
    /// What the workers share.
    pub fn job(
        self,
        ctx: &Context,
        packing: Packing,
        survey: &Survey,
        stop: &CancellationToken,
    ) -> Result<Arc<Job>, Error> {
        let workers = packing.workers.max(1);
        let uploads = packing.uploads.max(1);
        let tar_bytes = tar_bytes(packing.tar_bytes, survey.largest_file, ctx);
        let part_bytes = part_bytes(tar_bytes.saturating_add(survey.largest_file), ctx);
        // Each worker fills one part; about as many more are on their way, which keeps the network busy.
        let pool = PartPool::new(workers + uploads.min(workers + 2), part_bytes);
        Ok(Arc::new(Job {
            runtime: tokio::runtime::Handle::current(),
            walk: Mutex::new(walk(self.data_dir, &survey.rules)?),
            backup: Arc::clone(self.backup),
            tars: Mutex::default(),
            started_at: self.started_at,
            block_size: self.block_size,
            verify: self.verify,
            delta: self.delta,
            tar_bytes,
            compression: ctx.compression,
            cipher: ctx.cipher.clone(),
            disk_rate: packing.disk_rate.map(RateLimit::new),
            progress: ctx.progress.clone(),
            uploads: UploadSettings {
                storage: Arc::clone(&ctx.storage),
                pool,
                in_flight: Arc::new(Semaphore::new(uploads)),
                network_rate: packing.network_rate.map(|rate| Arc::new(RateLimit::new(rate))),
                cancel: stop.clone(),
                ending: ctx.cancel.clone(),
            },
        }))
    }
}

/// Lets the workers copy everything but `pg_control`, until they are done or the cluster is `lost`. On failure none of
/// them is left running.
pub(super) async fn copy_data(
    ctx: &Context,
    job: &Arc<Job>,
    count: usize,
    stop: &CancellationToken,
    lost: impl Future<Output = Error>,
) -> Result<Packed, Error> {
    let mut workers = JoinSet::new();
    for number in 0..count.max(1) {
        let job = Arc::clone(job);
        workers.spawn(run_blocking(format!("seawall-codec-{number}"), move || pack::work(&job)));
    }
    let copied = tokio::select! {
        copied = gather(&mut workers) => copied,
        lost = lost => Err(lost),
        () = ctx.cancel.cancelled() => Err(Error::Cancelled),
    };
    if copied.is_err() {
        stop.cancel();
        while workers.join_next().await.is_some() {}
    }
    let mut packed = copied?;
    tails::store_empty(job, &mut packed).await?;
    Ok(packed)
}

async fn gather(workers: &mut JoinSet<Result<Result<Packed, Error>, Panicked>>) -> Result<Packed, Error> {
    let mut all = Packed::default();
    while let Some(worker) = workers.join_next().await {
        let packed = worker.map_err(|error| Error::Panicked { message: error.to_string() })???;
        all.merge(packed);
    }
    Ok(all)
}

/// When a tar is closed: once it has what is wanted, or earlier, so that it fits into the parts that the storage takes
/// without making them larger, which would cost memory for each upload. Not even for files as large as that does a tar
/// become small, as there would be too many.
fn tar_bytes(wanted: u64, largest_file: u64, ctx: &Context) -> u64 {
    let limits = ctx.storage.limits();
    let object = limits.part_bytes.saturating_mul(u64::from(limits.max_parts));
    let fits = (object - object / 32).saturating_sub(largest_file);
    wanted.min(fits.max(object / 4))
}

/// The size of all parts of an object: the smallest doubling of what the storage asks for with which the largest object
/// needs no more parts than the storage allows, with room for data that grows when compressed.
fn part_bytes(largest_object: u64, ctx: &Context) -> usize {
    let limits = ctx.storage.limits();
    let largest_object = largest_object.saturating_add(largest_object / 64);
    let mut part = limits.part_bytes;
    while part.saturating_mul(u64::from(limits.max_parts)) < largest_object && part < 1 << 40 {
        part *= 2;
    }
    usize::try_from(part).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::walg::WalG;
    use crate::ops;
    use crate::storage::Storage as _;
    use crate::storage::memory::Memory;

    const GIB: u64 = 1 << 30;
    const PART: u64 = 8 << 20;

    /// Of a service that takes 1000 parts and wants them this large.
    fn sizes(wanted: u64, largest_file: u64) -> (u64, u64) {
        let memory = Memory::new();
        let limits = crate::storage::Limits { part_bytes: PART, max_parts: 1000, ..memory.limits() };
        let ctx = ops::context(&memory.with_limits(limits), &WalG);
        let tar = tar_bytes(wanted, largest_file, &ctx);
        (tar, u64::try_from(part_bytes(tar + largest_file, &ctx)).unwrap())
    }

    #[test]
    fn tars_are_closed_before_parts_have_to_be_larger() {
        assert_eq!(sizes(GIB, GIB), (GIB, PART));
        let (tar, part) = sizes(100 * GIB, GIB);
        assert_eq!(part, PART);
        assert!(tar > 6 * GIB, "{tar}");
        // A file is never split.
        let (tar, part) = sizes(100 * GIB, 20 * GIB);
        assert!(tar >= GIB && part > PART && part <= 4 * PART, "{tar} {part}");
    }
}
