//! wal-g's layout: `basebackups_005/` and `wal_005/`.

pub mod increment;
