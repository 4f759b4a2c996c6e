//! The backups of a repository: the only I/O over a layout's names and documents.

pub mod walg;
