//! aws-sdk-s3's way to the wire. The SDK signs a request and makes sense of the answer's head; the body of an answer that
//! somebody waits for does not pass through it, but is left in the [`Handover`] that came with the request, so that it
//! can be received straight into its place.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use crate::client::{Body, Client, Request, Response, Target};

/// Errors of S3 and credentials of roles: documents of a few KiB.
const LIMIT_DOCUMENT_BYTES: usize = 1 << 20;

/// The client, as the SDK wants to see it.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: Client,
    /// How long an answer may take, where the SDK says so: it asks for a machine's role where there may be none.
    patience: Option<Duration>,
}

/// Where the body of a successful answer is left.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Body>>>);

impl Connector {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, patience: None }
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let handover = request.extension::<Handover>().cloned();
        let request = plain(&request)?;
        let response = self.client.send(&request).await.map_err(failed)?;
        let Response { head, body } = response;
        let document = match handover {
            Some(handover) if (200..300).contains(&head.status) => {
                handover.leave(body);
                SdkBody::empty()
            }
            _ => body.collect(LIMIT_DOCUMENT_BYTES).await.map_err(failed)?.into(),
        };
        let status = head.status.try_into().map_err(|error| other(Box::new(error)))?;
        let mut response = HttpResponse::new(status, document);
        for (name, value) in head.headers() {
            // What cannot be a header there is none that anybody asks for.
            let _ = response.headers_mut().try_append(name.to_lowercase(), value.to_owned());
        }
        Ok(response)
    }
}

impl Handover {
    /// The body, if the answer was a success.
    pub(crate) fn take(&self) -> Option<Body> {
        self.0.lock().expect("no holder panics").take()
    }

    fn leave(&self, body: Body) {
        *self.0.lock().expect("no holder panics") = Some(body);
    }
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or_default();
        let patience = settings.read_timeout().map(|read| connect + read);
        SharedHttpConnector::new(Self { client: self.client.clone(), patience })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.clone();
        HttpConnectorFuture::new(async move {
            let Some(patience) = connector.patience else { return connector.answer(request).await };
            let answer = tokio::time::timeout(patience, connector.answer(request)).await;
            answer.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())))
        })
    }
}

fn plain(request: &HttpRequest) -> Result<Request, ConnectorError> {
    let target = Target::parse(request.uri()).map_err(|error| other(Box::new(error)))?;
    let headers = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = request.body().bytes().ok_or_else(|| other("the body is not in memory".into()))?;
    let method = request.method().to_owned();
    Ok(Request { method, target, headers: headers.collect(), body: body.to_vec() })
}

fn failed(error: std::io::Error) -> ConnectorError {
    ConnectorError::io(error.into())
}

fn other(error: Box<dyn std::error::Error + Send + Sync>) -> ConnectorError {
    ConnectorError::other(error, None)
}
