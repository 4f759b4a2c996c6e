//! The service's clock, by the header of an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use crate::storage::check::{Ability, Row, Verdict};

/// The services of S3 refuse a signature that is older or newer.
const MAX_SKEW: Duration = Duration::from_secs(15 * 60);

/// The service's clock minus ours in seconds, by the last answer that had a date.
#[derive(Debug, Clone, Default)]
pub(super) struct Skew(Arc<Mutex<Option<i64>>>);

impl Skew {
    pub(super) fn seconds(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Skew {
    fn name(&self) -> &'static str {
        "Skew"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok()) {
            let skew = date.secs() - jiff::Timestamp::now().as_second();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
        }
        Ok(())
    }
}

/// How far the service's clock is from ours; its answers have whole seconds.
pub(super) fn clock(skew: i64) -> Row {
    let detail = match skew {
        -1..=1 => "the same as here".to_owned(),
        2.. => format!("{skew} s ahead of this machine's"),
        _ => format!("{} s behind this machine's", skew.unsigned_abs()),
    };
    match skew.unsigned_abs() < MAX_SKEW.as_secs() {
        true => Row::new(Ability::Clock, Verdict::Works, detail),
        false => {
            let hint =
                Some("set the clock of this machine: requests signed 15 minutes off are refused".to_owned());
            Row { hint, ..Row::new(Ability::Clock, Verdict::Failed, detail) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        for (skew, verdict, detail) in [
            (0, Verdict::Works, "the same as here"),
            (-1, Verdict::Works, "the same as here"),
            (30, Verdict::Works, "30 s ahead of this machine's"),
            (-899, Verdict::Works, "899 s behind this machine's"),
            (900, Verdict::Failed, "900 s ahead of this machine's"),
            (i64::MIN, Verdict::Failed, "9223372036854775808 s behind this machine's"),
        ] {
            let row = clock(skew);
            assert_eq!((row.verdict, row.detail.as_str()), (verdict, detail));
            assert_eq!(row.hint.is_some(), verdict == Verdict::Failed);
        }
    }
}
