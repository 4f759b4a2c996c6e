//! Names and documents of a repository, without any I/O.

pub mod walg;
