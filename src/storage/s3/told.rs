//! A line for each request at the debug level: what was asked, the status, and how long it took. Headers hold keys and the
//! query may, so they are left out.

use std::time::Instant;

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Tells of each request that was sent, also when no answer came. Who gives it up before says so.
#[derive(Debug)]
pub(super) struct Told;

/// A request on its way: the connection takes the request itself.
#[derive(Debug)]
struct Sent {
    at: Instant,
    method: String,
    path: String,
}

impl Storable for Sent {
    type Storer = StoreReplace<Sent>;
}

impl Intercept for Told {
    fn name(&self) -> &'static str {
        "Told"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let (method, path) = (request.method().to_owned(), path(request.uri()).to_owned());
        config.interceptor_state().store_put(Sent { at: Instant::now(), method, path });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(sent) = config.load::<Sent>() else { return Ok(()) };
        let status = context.response().map(|answer| answer.status().as_u16());
        tracing::debug!(
            operation = config.load::<Metadata>().map_or("", |operation| operation.name()),
            method = sent.method,
            path = sent.path,
            status = status.map_or_else(|| "none".to_owned(), |status| status.to_string()),
            took_ms = sent.at.elapsed().as_millis(),
            "request"
        );
        Ok(())
    }
}

/// The path of a URL, without host and query.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/");
    path.split('?').next().unwrap_or_default()
}
