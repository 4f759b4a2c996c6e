//! The built program against faults: a fault at every request of each command, endpoints that are dead in every way, and
//! services with limits of their own. What a command does then is bounded, told, and leaves nothing half done.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[path = "faults/barman.rs"]
mod barman;
#[path = "faults/barman_backups.rs"]
mod barman_backups;
#[path = "faults/call.rs"]
mod call;
#[path = "faults/case.rs"]
mod case;
#[path = "faults/catalogue.rs"]
mod catalogue;
#[path = "faults/copy.rs"]
mod copy;
#[path = "faults/dead.rs"]
mod dead;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/servers.rs"]
mod servers;
#[path = "faults/silence.rs"]
mod silence;
mod support;
#[path = "faults/walg.rs"]
mod walg;
