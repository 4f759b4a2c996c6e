//! What end-to-end tests are made of: a [`Cluster`] of real PostgreSQL, a [`Bucket`] on a real storage, and
//! the [`Tool`] under test. Every test has its own [`Scratch`] directory, its clusters listen on a socket in
//! it only, its bucket has a name of its own, so tests run beside each other.
//!
//! Where the servers are is said by the variables of `docs/testing.md`; `scripts/test` sets them. A test
//! that lacks one begins with [`require!`](crate::require), which says so and leaves the test, or fails
//! when `SEAWALL_TEST_REQUIRE=1`.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod available;
mod barman;
mod bucket;
mod cluster;
mod command;
mod context;
mod ec2;
mod fault_proxy;
mod files;
mod fixture;
mod front;
mod gate;
mod page;
mod r2;
mod runtime;
mod scratch;
mod server_backup;
mod site;
pub mod tls;
mod tool;

pub use available::{Missing, announce};
pub use barman::{Barman, next_second};
pub use bucket::Bucket;
pub use cluster::{Cluster, Postgres, wait_until_it_copies, wait_until_it_says};
pub use command::{Run, asks, run, run_within};
pub use context::context;
pub use ec2::{Moto, REGION, Script};
pub use fault_proxy::{Fault, FaultProxy};
pub use files::{files_below, paths_below};
pub use fixture::{Fixture, FixtureBackup, RestorePoint};
pub use front::Front;
pub use gate::{Gate, Moment, RequestHead};
pub use page::blocks;
pub use r2::R2;
pub use runtime::block_on;
pub use scratch::Scratch;
pub use server_backup::ServerBackup;
pub use site::{Site, repository};
pub use tls::CERTIFICATE;
pub use tool::Tool;
