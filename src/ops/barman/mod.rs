//! What only barman's dialect asks of the backups of a server. Their repository is the server's own prefix.

pub mod backup_delete;
pub mod backup_keep;
pub mod backup_list;
pub mod backup_show;
pub mod recovery_target;
pub mod snapshot_restore;
#[cfg(test)]
mod tests;
pub mod volumes;
