//! What CloudNativePG needs of commands called `barman-cloud-…`: its own command lines against a real S3 service, with the
//! real barman-cloud, which tries the tests themselves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cloudnativepg/cycle.rs"]
mod cycle;
#[path = "cloudnativepg/exit_codes.rs"]
mod exit_codes;
#[path = "cloudnativepg/operator.rs"]
mod operator;
mod support;

use operator::{ObjectStore, Variant};
use support::{Barman, Bucket, Postgres, Scratch};

/// The life of a cluster by the real barman-cloud, which tries the test itself.
#[test]
fn cycle_with_barman() {
    let barman = require!(Barman::real());
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    cycle::run(&postgres, &bucket, &ObjectStore::new(&scratch, &barman, &bucket, Variant::Plugin));
}

#[test]
fn exit_codes_of_barman() {
    let barman = require!(Barman::real());
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    exit_codes::run(&postgres, &bucket, &ObjectStore::new(&scratch, &barman, &bucket, Variant::InTree));
}
