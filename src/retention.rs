//! Which backups and WAL a retention policy removes; pure.
