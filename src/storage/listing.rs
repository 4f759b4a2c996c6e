//! Listings that take long, or have no end: a service may name a next page for ever.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, ErrorKind, Location, Prefix, Result};

/// How often one says how far it is.
const TELL: Duration = Duration::from_secs(30);

/// How long one may take. A million objects take three to thirty minutes, by the service.
const LONGEST: Duration = Duration::from_secs(3600);

/// A listing that is under way.
#[derive(Debug)]
pub(super) struct Listing {
    since: Instant,
    told: Instant,
    entries: usize,
}

impl Listing {
    pub(super) fn start() -> Listing {
        let now = Instant::now();
        Listing { since: now, told: now, entries: 0 }
    }

    /// After a page of so many entries there is another one. An error when that takes too long by now.
    pub(super) fn goes_on(&mut self, entries: usize, prefix: &Prefix, location: &Location) -> Result<()> {
        self.entries += entries;
        let (entries, seconds) = (self.entries, self.since.elapsed().as_secs());
        if self.since.elapsed() >= LONGEST {
            let detail =
                format!("`{prefix}` has no end: {entries} entries after {seconds} s, and there are more");
            let error = Error::new(ErrorKind::Protocol, "list", None, location, detail);
            return Err(
                error.with_hint("the service is too slow, or names next pages for ever: look at its log")
            );
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            tracing::warn!("still listing `{prefix}` in {location}: {entries} entries after {seconds} s");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of so many entries, each after so long.
    fn listed(pages: u32, entries: usize, each: Duration) -> Result<()> {
        let mut listing = Listing::start();
        (0..pages).try_for_each(|_| {
            (listing.since, listing.told) = (listing.since - each, listing.told - each);
            listing.goes_on(entries, &Prefix::root(), &Location::new("s3://bucket"))
        })
    }

    #[test]
    fn a_listing_without_an_end_is_an_error() {
        listed(1000, 1000, Duration::from_millis(200)).unwrap();
        listed(1000, 1000, Duration::from_secs(3)).unwrap();
        let error = listed(u32::MAX, 1, Duration::from_secs(8)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("450 entries after 3600 s"), "{error}");
    }
}
