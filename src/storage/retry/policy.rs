//! How often and how long to try.

use std::time::Duration;

/// How often and how long to try. The default is right without tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one request, the first included (`S3_MAX_RETRIES` + 1).
    pub attempts: u32,
    /// The longest wait before the second attempt; doubles with each further one.
    pub first_backoff: Duration,
    /// The longest wait between attempts, also when the service asks for more.
    pub max_backoff: Duration,
    /// To get a connection. The storage applies it to its own connections.
    pub connect: Duration,
    /// To get the beginning of the answer to a request that only asks: short enough for a second attempt, which a
    /// balancer may send to another host.
    pub ask_answer: Duration,
    /// To get the beginning of the answer to a request that carries content.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub stalled_body: Duration,
    /// For all attempts of a request that only asks. Such a command ends in 15 s, also when it has to leave a name service
    /// behind that does not answer, which takes two.
    pub ask_budget: Duration,
    /// For all attempts of a request that carries content, without the time in which it moved; two less than a minute, as
    /// above.
    pub transfer_budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts: 10,
            first_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(20),
            connect: Duration::from_secs(5),
            ask_answer: Duration::from_secs(10),
            first_byte: Duration::from_secs(20),
            stalled_body: Duration::from_secs(20),
            ask_budget: Duration::from_secs(13),
            transfer_budget: Duration::from_secs(58),
        }
    }
}

impl RetryPolicy {
    /// The same, where any answer and any piece of a body may take `silence`, and each request that long at least.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> RetryPolicy {
        self.ask_answer = silence;
        self.first_byte = silence;
        self.stalled_body = silence;
        self.ask_budget = self.ask_budget.max(silence);
        self.transfer_budget = self.transfer_budget.max(silence);
        self
    }
}
