//! What is known of S3 services by name: what each of them can do beyond what all understand, and how it is recognised.
//!
//! A service is known by the host of its endpoint, or by its answers. The number of parts goes by the first alone, since
//! it has to be known before any request; how an object is created goes by the answers to earlier requests as well.
//! `seawall storage check` tries what is said here.
//! Sources: each service's documentation of its S3 interface; Swift and versitygw are tried by the tests.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::config::{CreateOnly, S3Config};

/// Parts of one object where a service says no more.
const PARTS: u32 = 1000;

/// Parts of one object at AWS, and wherever its limit was taken over
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const AWS_PARTS: u32 = 10_000;

/// A service, as far as it differs from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name, for people.
    pub name: &'static str,
    /// Ends of the host names of its endpoints.
    hosts: &'static [&'static str],
    /// Beginnings of what its answers have in the header `Server`.
    servers: &'static [&'static str],
    /// A header that only its answers have.
    header: Option<&'static str>,
    /// Whether the parts of an object may differ in size. seawall's never do, but for the last one.
    pub parts: PartSizes,
    /// Parts of one object.
    pub max_parts: u32,
    /// How it creates an object only when it is not there.
    pub create_only: CreateOnly,
}

/// Whether the parts of an object, but for the last one, may differ in size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartSizes {
    /// They may.
    Any,
    /// They may not: the upload cannot be completed.
    Equal,
}

/// Any other service: only what all understand.
pub const GENERIC: Profile = Profile {
    name: "any S3 service",
    hosts: &[],
    servers: &[],
    header: None,
    parts: PartSizes::Any,
    max_parts: PARTS,
    create_only: CreateOnly::Find,
};

/// AWS itself.
pub const AWS: Profile = Profile {
    name: "AWS",
    hosts: &["amazonaws.com", "amazonaws.com.cn"],
    servers: &["AmazonS3"],
    header: None,
    parts: PartSizes::Any,
    max_parts: AWS_PARTS,
    create_only: CreateOnly::Put,
};

/// The services that have a name here.
pub const NAMED: [Profile; 6] = [
    AWS,
    Profile {
        name: "Cloudflare R2",
        // `cloudflare` as the server is said of every site behind it.
        hosts: &["r2.cloudflarestorage.com"],
        servers: &[],
        header: None,
        parts: PartSizes::Equal,
        max_parts: AWS_PARTS,
        create_only: CreateOnly::Put,
    },
    Profile {
        name: "OpenStack Swift",
        hosts: &[],
        servers: &[],
        header: Some("x-trans-id"),
        parts: PartSizes::Any,
        // `max_upload_part_num` of the filter s3api.
        max_parts: PARTS,
        // A put with a condition is refused with 501.
        create_only: CreateOnly::Upload,
    },
    Profile {
        name: "MinIO",
        hosts: &["min.io"],
        servers: &["MinIO"],
        header: None,
        parts: PartSizes::Any,
        max_parts: AWS_PARTS,
        create_only: CreateOnly::Put,
    },
    Profile {
        name: "Ceph RGW",
        hosts: &[],
        servers: &["Ceph Object Gateway"],
        header: None,
        parts: PartSizes::Any,
        // `rgw_multipart_part_upload_limit`.
        max_parts: AWS_PARTS,
        create_only: CreateOnly::Put,
    },
    Profile {
        name: "versitygw",
        hosts: &[],
        servers: &["VERSITYGW"],
        header: None,
        parts: PartSizes::Any,
        max_parts: AWS_PARTS,
        create_only: CreateOnly::Put,
    },
];

impl Profile {
    /// The service that an endpoint's host belongs to; without an endpoint it is AWS.
    pub fn of_host(host: Option<&str>) -> Option<Profile> {
        let Some(host) = host else { return Some(AWS) };
        let host = host.to_ascii_lowercase();
        let is_below = |end: &&str| {
            host.strip_suffix(*end).is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        NAMED.into_iter().find(|profile| profile.hosts.iter().any(is_below))
    }

    /// The service that answered with these headers.
    pub fn of_answer<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Profile> {
        let server = header("server").unwrap_or_default();
        NAMED.into_iter().find(|profile| {
            profile.servers.iter().any(|beginning| server.starts_with(beginning))
                || profile.header.is_some_and(|name| header(name).is_some())
        })
    }
}

impl S3Config {
    /// Takes over what is known of the service by the host of its endpoint.
    pub fn take_profile(&mut self) {
        let host = self.endpoint.as_ref().map(|endpoint| endpoint.host());
        let profile = Profile::of_host(host).unwrap_or(GENERIC);
        self.max_parts = profile.max_parts;
        self.create_only = profile.create_only;
    }
}

/// The service that the answers are from, once one has said so.
#[derive(Debug, Clone, Default)]
pub(super) struct Answering(Arc<OnceLock<Profile>>);

impl Answering {
    pub(super) fn profile(&self) -> Option<Profile> {
        self.0.get().copied()
    }
}

impl Intercept for Answering {
    fn name(&self) -> &'static str {
        "Answering"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let headers = context.response().headers();
        if let Some(profile) = Profile::of_answer(|name| headers.get(name)) {
            // The first one counts.
            let _ = self.0.set(profile);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_host() {
        let name = |host| Profile::of_host(host).map(|profile| profile.name);
        for (host, expected) in [
            (None, Some("AWS")),
            (Some("s3.eu-central-1.amazonaws.com"), Some("AWS")),
            (Some("s3.cn-north-1.amazonaws.com.cn"), Some("AWS")),
            (Some("0123abcd.r2.cloudflarestorage.com"), Some("Cloudflare R2")),
            (Some("0123ABCD.eu.R2.CloudflareStorage.com"), Some("Cloudflare R2")),
            (Some("play.min.io"), Some("MinIO")),
            (Some("notamazonaws.com"), None),
            (Some("amazonaws.com.example.org"), None),
            (Some("127.0.0.1"), None),
        ] {
            assert_eq!(name(host), expected, "{host:?}");
        }
    }

    #[test]
    fn a_service_is_known_by_its_answers() {
        for (headers, expected) in [
            (vec![("server", "AmazonS3")], Some("AWS")),
            (vec![("server", "MinIO/RELEASE.2025-01-01")], Some("MinIO")),
            (vec![("server", "Ceph Object Gateway (squid)")], Some("Ceph RGW")),
            (vec![("server", "VERSITYGW")], Some("versitygw")),
            (vec![("x-trans-id", "tx0"), ("server", "nginx")], Some("OpenStack Swift")),
            (vec![("server", "cloudflare")], None),
            (vec![], None),
        ] {
            let header =
                |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            assert_eq!(Profile::of_answer(header).map(|profile| profile.name), expected, "{headers:?}");
        }
    }

    #[test]
    fn what_is_not_known_gets_what_all_understand() {
        use crate::storage::Prefix;
        use crate::storage::s3::{Chain, Credentials, Endpoint};
        for (endpoint, parts, create_only) in [
            (None, 10_000, CreateOnly::Put),
            (Some("https://s3.example.org"), 1000, CreateOnly::Find),
            (Some("https://0123.r2.cloudflarestorage.com"), 10_000, CreateOnly::Put),
        ] {
            let mut config = S3Config::new("b", Prefix::root(), Credentials::Chain(Chain::default()));
            config.endpoint = endpoint.map(|text| Endpoint::parse(text).unwrap().0);
            config.take_profile();
            assert_eq!((config.max_parts, config.create_only), (parts, create_only), "{endpoint:?}");
        }
    }
}
