//! Names and contents of PostgreSQL's WAL summaries.

use seawall::pg::BlockMap;
use seawall::pg::wal_summary::{self, SummaryName};

pub fn run(bytes: &[u8]) {
    let _ = wal_summary::read(bytes, &mut BlockMap::default());
    if let Ok(name) = String::from_utf8_lossy(bytes).parse::<SummaryName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}
