//! Answers that have no end: all but objects are read into memory whole.

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use http_body_util::Limited;

/// What an answer has at the most, in bytes. A page of 1,000 names, the longest answer, has some 3 MiB.
pub(super) const ANSWER_BYTES: usize = 64 << 20;

/// Makes an answer of more than [`ANSWER_BYTES`] an error; objects, which are streamed, have any size.
#[derive(Debug)]
pub(super) struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let gets = config.load::<Metadata>().is_some_and(|operation| operation.name() == "GetObject");
        if !(gets && context.response().status().is_success()) {
            bound(context.response_mut());
        }
        Ok(())
    }
}

/// The same client, all of whose answers are bounded: those of the services for credentials.
pub(super) fn bounded(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(Connector(client.http_connector(settings, components)))
    })
}

#[derive(Debug)]
struct Connector(SharedHttpConnector);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            bound(&mut answer);
            Ok(answer)
        })
    }
}

fn bound(answer: &mut HttpResponse) {
    let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
    *answer.body_mut() = SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES));
}
