//! Object identifiers.

use std::fmt;
use std::num::NonZeroU32;

/// The number of a database object: a database, a relation, a tablespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(NonZeroU32);

impl Oid {
    /// The first OID not reserved for the system's own objects (`FirstNormalObjectId`, `access/transam.h`).
    pub const FIRST_NORMAL: Oid = Oid(NonZeroU32::new(16384).unwrap());

    /// The OID with this number; `None` for 0, which PostgreSQL uses for "no object".
    pub fn new(number: u32) -> Option<Oid> {
        NonZeroU32::new(number).map(Oid)
    }

    /// The number itself.
    pub const fn as_u32(self) -> u32 {
        self.0.get()
    }

    /// Reads a number as it stands in file names: decimal, no sign, no leading zero.
    pub fn parse(text: &str) -> Option<Oid> {
        let canonical = text.starts_with(|first: char| matches!(first, '1'..='9'));
        if canonical { text.parse().ok().map(Oid) } else { None }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_what_postgresql_writes() {
        assert_eq!(Oid::parse("16384"), Some(Oid::FIRST_NORMAL));
        assert_eq!(Oid::parse("4294967295"), Oid::new(u32::MAX));
        for text in ["", "0", "01", "+1", "-1", "1 ", "4294967296", "1é"] {
            assert_eq!(Oid::parse(text), None, "{text:?}");
        }
    }
}
