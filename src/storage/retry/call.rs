//! One request with its bounds: the attempts, the waits between them, and the time that each may take.

use std::time::{Duration, Instant};

use super::RetryPolicy;
use crate::storage::{Error, ErrorKind, Key, Location, Result, RetryAdvice};

tokio::task_local! {
    /// What is left of the budget of the request that is being made.
    static LEFT: Duration;
}

/// How long the attempt that is being made may be without a sign of life: as long as is `usual`, but not beyond its
/// budget. A storage asks that watches a body going up, since [`Retry`] does not see it move.
pub fn patience(usual: Duration) -> Duration {
    LEFT.try_with(|left| usual.min(*left)).unwrap_or(usual)
}

/// Which budget a request has.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Ask,
    Transfer,
}

/// One request with its bounds.
pub(super) struct Call<'a> {
    pub(super) policy: &'a RetryPolicy,
    pub(super) location: &'a Location,
    pub(super) action: &'static str,
    pub(super) key: Option<&'a Key>,
    pub(super) budget: Duration,
    /// To answer, of one attempt.
    pub(super) limit: Duration,
    /// What an attempt may take beyond that, as it has much to do.
    pub(super) more: Duration,
}

impl Call<'_> {
    /// Gives each attempt `more` time.
    pub(super) fn longer(mut self, more: Duration) -> Self {
        self.more = more;
        self
    }

    /// Runs `attempt` until it succeeds, fails for good, or the bounds are reached.
    pub(super) async fn run<T, F: Future<Output = Result<T>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let mut tries = Tries::new(self.budget);
        loop {
            match self.once(&tries, attempt()).await {
                Ok(value) => return Ok(value),
                Err(error) => tries.wait(self.policy, error).await?,
            }
        }
    }

    pub(super) async fn once<T>(&self, tries: &Tries, attempt: impl Future<Output = Result<T>>) -> Result<T> {
        let left = tries.left();
        let limit = self.limit.min(left).saturating_add(self.more);
        match tokio::time::timeout(limit, LEFT.scope(left, attempt)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(self.action, self.key, self.location, limit)),
        }
    }
}

/// What to do about a service that does not answer.
pub(in crate::storage) const SILENT: &str = "the address accepts connections but stays silent: check the service, and firewalls and proxies on the way";

fn timed_out(action: &'static str, key: Option<&Key>, location: &Location, limit: Duration) -> Error {
    let detail = format!("no answer within {:.0} s", limit.as_secs_f64());
    Error::new(ErrorKind::Timeout, action, key, location, detail).with_hint(SILENT)
}

/// The attempts since the last progress.
pub(super) struct Tries {
    pub(super) budget: Duration,
    pub(super) failed: u32,
    pub(super) since: Instant,
}

impl Tries {
    pub(super) fn new(budget: Duration) -> Tries {
        Tries { budget, failed: 0, since: Instant::now() }
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.since.elapsed())
    }

    /// Waits before the next attempt, or returns the error that ends the trying.
    pub(super) async fn wait(&mut self, policy: &RetryPolicy, error: Error) -> Result<()> {
        self.failed += 1;
        let RetryAdvice::After(asked) = error.retry() else {
            return Err(match self.failed {
                1 => error,
                _ => error.with_spent(self.failed, self.since.elapsed()),
            });
        };
        let longest =
            policy.first_backoff.saturating_mul(1u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX));
        let wait =
            jitter(longest.min(policy.max_backoff)).max(asked.unwrap_or_default()).min(policy.max_backoff);
        if self.failed >= policy.attempts || wait >= self.left() {
            return Err(error.with_spent(self.failed, self.since.elapsed()));
        }
        tracing::info!(attempt = self.failed, wait_ms = wait.as_millis(), "retrying: {error}");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A random part of `longest`.
fn jitter(longest: Duration) -> Duration {
    // Without randomness the whole wait is the safe choice.
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    longest.mul_f64(share)
}
