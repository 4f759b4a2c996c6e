//! One request with its bounds: the attempts, the waits between them, and the time that each may take.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::RetryPolicy;
use super::progress::{Progress, Stage};
use crate::storage::{Error, ErrorKind, Key, Location, Result, RetryAdvice};

/// Which budget a request has.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    /// It only asks: [`RetryPolicy::ask_budget`].
    Ask,
    /// It carries content, or changes something: [`RetryPolicy::transfer_budget`].
    Transfer,
}

/// One request with its bounds.
pub(super) struct Call<'a> {
    pub(super) policy: &'a RetryPolicy,
    pub(super) location: &'a Location,
    pub(super) action: &'static str,
    pub(super) key: Option<&'a Key>,
    pub(super) budget: Duration,
    /// To answer, of one attempt; since it was made, or all that it sends has been sent.
    pub(super) limit: Duration,
    /// What the service may take beyond that, as it has much to do.
    pub(super) more: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        policy: &'a RetryPolicy,
        location: &'a Location,
        action: &'static str,
        key: Option<&'a Key>,
        class: Class,
    ) -> Self {
        let (budget, limit) = match class {
            Class::Ask => (policy.ask_budget, policy.ask_answer),
            Class::Transfer => (policy.transfer_budget, policy.first_byte),
        };
        Call { policy, location, action, key, budget, limit, more: Duration::ZERO }
    }

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
            match self.once(&mut tries, attempt()).await {
                Ok(value) => return Ok(value),
                Err(error) => tries.wait(self.policy, error).await?,
            }
        }
    }

    /// Makes one attempt, until it ends or nothing moves any more.
    pub(super) async fn once<T>(
        &self,
        tries: &mut Tries,
        attempt: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (left, progress) = (tries.left(), Progress::new());
        let mut attempt = std::pin::pin!(progress.of(attempt));
        let outcome = loop {
            let moved = progress.last();
            let limit = self.silence(moved.stage).min(left).saturating_add(self.more);
            match timeout(limit.saturating_sub(moved.at.elapsed()), attempt.as_mut()).await {
                Ok(outcome) => break outcome,
                Err(_) if progress.last() != moved => {}
                Err(_) => break Err(self.timed_out(moved.stage, limit)),
            }
        };
        tries.moved += progress.last().moving;
        outcome
    }

    /// The longest time without a sign of life.
    fn silence(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Identifying | Stage::Asking => self.limit,
            Stage::Sending(_) => self.policy.stalled_body,
            Stage::Sent(drain) => self.limit.saturating_add(drain),
        }
    }

    fn timed_out(&self, stage: Stage, limit: Duration) -> Error {
        let limit = limit.as_secs_f64();
        let hint = if stage == Stage::Identifying { NOT_GIVEN } else { SILENT };
        let detail = match stage {
            Stage::Identifying => format!("no credentials: none came within {limit:.0} s"),
            Stage::Asking => format!("no answer within {limit:.0} s"),
            Stage::Sending(_) => format!("the service took no more of the body for {limit:.0} s"),
            Stage::Sent(_) => format!("no answer within {limit:.0} s after the whole body was sent"),
        };
        Error::new(ErrorKind::Timeout, self.action, self.key, self.location, detail).with_hint(hint)
    }
}

/// What to do about a service that does not answer.
pub(in crate::storage) const SILENT: &str = "the address accepts connections but stays silent: check the service, and firewalls and proxies on the way";

/// What to do when nobody gives credentials.
const NOT_GIVEN: &str = "the service was not asked yet: check the program or file of the profile, the web identity, token service, \
                         container or instance that should give credentials";

/// The attempts at one request, or since a body that is read has last shown a sign of life.
pub(super) struct Tries {
    budget: Duration,
    pub(super) failed: u32,
    since: Instant,
    /// Since then, the time in which content moved: it does not count.
    moved: Duration,
}

impl Tries {
    pub(super) fn new(budget: Duration) -> Tries {
        Tries { budget, failed: 0, since: Instant::now(), moved: Duration::ZERO }
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.since.elapsed().saturating_sub(self.moved))
    }

    /// Leaves a time out of account.
    pub(super) fn leave_out(&mut self, time: Duration) {
        self.moved += time;
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
