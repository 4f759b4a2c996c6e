//! seawall archives PostgreSQL WAL, takes base backups and restores them, in wal-g's repository layout or in barman-cloud's.
//!
//! The layers, top to bottom; a lower one never names a higher one (`docs/architecture.md` has the picture):
//!
//! | module | what it knows |
//! |---|---|
//! | [`cli`] | command lines of both dialects, environment, printing, exit codes |
//! | [`settings`] | the table of settings and where each value came from |
//! | [`ops`] | the stories: wal-push, wal-fetch, backup-push, backup-fetch, delete … |
//! | [`catalog`], [`retention`] | the backups of a repository; which of them a policy removes |
//! | [`layout`] | names and documents of a repository, wal-g's and barman's; pure |
//! | [`pipeline`] | codec threads on one side, objects on the other, one pool of buffers between |
//! | [`storage`] | objects by key: S3, a directory, memory |
//! | [`volumes`] | volumes of EBS and their snapshots, by EC2 |
//! | [`codec`], [`tarball`] | bytes to bytes: compression, encryption, tar |
//! | [`pg`] | facts of PostgreSQL: LSNs, timelines, WAL pages, control file, labels, its SQL session |
//! | [`checksum`] | size and SHA-256 of bytes that pass by |
//! | [`durable`] | files that survive a power cut |
//! | [`progress`] | counters of a running operation |

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod catalog;
pub mod checksum;
pub mod cli;
pub mod codec;
pub mod durable;
pub mod layout;
pub mod ops;
pub mod pg;
pub mod pipeline;
pub mod progress;
mod read_full;
pub mod retention;
pub mod settings;
pub mod storage;
pub mod tarball;
pub mod volumes;
