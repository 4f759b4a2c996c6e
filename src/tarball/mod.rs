//! Tar archives with exactly the headers wal-g writes, and a checked reader.
