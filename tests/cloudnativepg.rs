//! What CloudNativePG needs of commands called `barman-cloud-…`: its own command lines against a real S3 service.
//!
//! Each scenario takes any tool with these commands. Here it takes seawall, or for all of them the real barman-cloud with
//! `SEAWALL_TEST_BINARY=barman-cloud`: so a scenario is tried itself. Two are always run by both.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cloudnativepg/confined.rs"]
mod confined;
#[path = "cloudnativepg/crosswise.rs"]
mod crosswise;
#[path = "cloudnativepg/cycle.rs"]
mod cycle;
#[path = "cloudnativepg/exit_codes.rs"]
mod exit_codes;
#[path = "cloudnativepg/fixtures.rs"]
mod fixtures;
#[path = "cloudnativepg/library.rs"]
mod library;
#[path = "cloudnativepg/operator.rs"]
mod operator;
#[path = "cloudnativepg/requests.rs"]
mod requests;
mod support;
#[path = "cloudnativepg/switchover.rs"]
mod switchover;
#[path = "cloudnativepg/unfinished.rs"]
mod unfinished;

use operator::{ObjectStore, Variant};
use support::{Barman, Bucket, CERTIFICATE, Cluster, Front, Missing, Postgres, RequestHead, Scratch};

/// What a scenario is played on.
struct Stage {
    postgres: Postgres,
    bucket: Bucket,
    scratch: Scratch,
}

impl Stage {
    fn new() -> Result<Self, Missing> {
        Ok(Self { postgres: Postgres::version(15)?, bucket: Bucket::versitygw()?, scratch: Scratch::new() })
    }

    fn store(&self, barman: &Barman, variant: Variant) -> ObjectStore<'_> {
        ObjectStore::new(&self.scratch, barman, &self.bucket, variant)
    }

    /// The store used by the commands under test.
    fn tested(&self, variant: Variant) -> Result<ObjectStore<'_>, Missing> {
        Ok(self.store(&Barman::under_test(&self.scratch)?, variant))
    }
}

#[test]
fn cycle_with_barman() {
    let (barman, stage) = (require!(Barman::real()), require!(Stage::new()));
    cycle::run(&stage.postgres, &stage.bucket, &stage.store(&barman, Variant::InTree));
}

#[test]
fn exit_codes_of_barman() {
    let (barman, stage) = (require!(Barman::real()), require!(Stage::new()));
    exit_codes::run(&stage.postgres, &stage.bucket, &stage.store(&barman, Variant::InTree));
}

/// The token has a right to the objects of one bucket, and to nothing else.
#[test]
fn cycle_in_tree() {
    let stage = require!(Stage::new());
    let store = require!(stage.tested(Variant::InTree));
    // The real one needs to look for the bucket.
    let may_look = store.barman.is_real();
    let front = Front::refusing(store.endpoint.as_ref().unwrap(), move |request: &RequestHead| {
        let is_of_objects = request.target.trim_matches('/').contains(['/', '?']);
        !(is_of_objects || may_look && request.method == "HEAD")
    });
    let store = ObjectStore { endpoint: Some(front.endpoint()), ..store };
    cycle::run(&stage.postgres, &stage.bucket, &store);
}

/// The destination is a whole bucket, without a path; the service has a certificate of its own (`endpointCA`).
#[test]
fn cycle_of_the_plugin() {
    let stage = Stage { bucket: require!(Bucket::whole_versitygw()), ..require!(Stage::new()) };
    let store = require!(stage.tested(Variant::Plugin));
    let front = Front::tls(store.endpoint.as_ref().unwrap());
    let certificate = stage.scratch.file("ca.crt", &std::fs::read_to_string(CERTIFICATE).unwrap());
    let barman = store.barman.clone().with("AWS_CA_BUNDLE", certificate.to_str().unwrap());
    // By default the real one sends bodies of unknown length over TLS, which the front does not take.
    let barman = barman.with("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
    cycle::run(
        &stage.postgres,
        &stage.bucket,
        &ObjectStore { endpoint: Some(front.endpoint()), barman, ..store },
    );
}

#[test]
fn exit_codes() {
    let stage = require!(Stage::new());
    exit_codes::run(&stage.postgres, &stage.bucket, &require!(stage.tested(Variant::InTree)));
}

#[test]
fn beside_barman() {
    let (barman, stage) = (require!(Barman::real()), require!(Stage::new()));
    let (ours, theirs) = (require!(stage.tested(Variant::Plugin)), stage.store(&barman, Variant::InTree));
    crosswise::run(&stage.postgres, &stage.bucket, &ours, &theirs);
}

#[test]
fn switchover() {
    let stage = require!(Stage::new());
    switchover::run(&stage.postgres, &stage.bucket, &require!(stage.tested(Variant::InTree)));
}

#[test]
fn backup_that_does_not_come_to_its_end() {
    let stage = require!(Stage::new());
    let store = stage.store(&Barman::seawall(&stage.scratch), Variant::InTree);
    unfinished::run(&stage.postgres, &stage.bucket, &store);
}

#[test]
fn library_of_the_operator() {
    let (program, stage) = (require!(library::program()), require!(Stage::new()));
    library::run(&stage.postgres, &stage.bucket, &require!(stage.tested(Variant::Plugin)), program);
}

#[test]
fn requests() {
    let stage = require!(Stage::new());
    requests::run(&stage.postgres, &require!(stage.tested(Variant::Plugin)));
}

#[test]
fn user_without_a_name_on_a_root_that_is_read_only() {
    let stage = Stage { scratch: require!(Scratch::confined()), ..require!(Stage::new()) };
    Cluster::create(&Scratch::new(), &stage.postgres, "template", &[]);
    confined::run(&stage.postgres, &require!(stage.tested(Variant::InTree)));
}

/// bzip2 for both.
#[test]
fn fixture_bzip2() {
    let stage = require!(Stage::new());
    fixtures::run(&stage.postgres, &stage.bucket, &require!(stage.tested(Variant::Plugin)), "bzip2");
}

/// A tablespace, tags; WAL by gzip.
#[test]
fn fixture_plain_tablespace() {
    let stage = require!(Stage::new());
    fixtures::run(
        &stage.postgres,
        &stage.bucket,
        &require!(stage.tested(Variant::Plugin)),
        "plain-tablespace",
    );
}

#[test]
fn fixture_snappy_zstd() {
    let stage = require!(Stage::new());
    fixtures::run(&stage.postgres, &stage.bucket, &require!(stage.tested(Variant::Plugin)), "snappy-zstd");
}
