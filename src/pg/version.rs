//! PostgreSQL's version numbers.

use std::fmt;
use std::str::FromStr;

use super::ParseError;

/// A server version as `server_version_num` tells it: major times 10000 plus minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgVersion(u32);

impl PgVersion {
    /// The version with this `server_version_num`, such as 150018.
    pub const fn new(server_version_num: u32) -> PgVersion {
        PgVersion(server_version_num)
    }

    /// The number itself; the form of versions in wal-g's JSON documents.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The major version, such as 15.
    pub const fn major(self) -> u32 {
        self.0 / 10000
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10000)
    }
}

impl FromStr for PgVersion {
    type Err = ParseError;

    /// Reads a `server_version_num`.
    fn from_str(text: &str) -> Result<PgVersion, ParseError> {
        text.parse().map(PgVersion).map_err(|_| ParseError::Version { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let version: PgVersion = "150018".parse().unwrap();
        assert_eq!((version.major(), version.to_string().as_str()), (15, "15.18"));
        assert_eq!("15.18".parse::<PgVersion>(), Err(ParseError::Version { text: "15.18".into() }));
    }
}
