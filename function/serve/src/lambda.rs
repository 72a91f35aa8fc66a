//! The same server as a Lambda function: events in, answers out, by the runtime API.
//!
//! ```text
//! event ──► by its shape ──┬─ HTTP ─────────────────────────► router ──► whole, or streamed
//!                          ├─ a request's body ─────────────► router ──► the answer's body
//!                          └─ objects, messages ──► entries ► router ──► lines in a bucket
//! ```
//!
//! The first event is asked for at once, so that the platform's limit for a start (10 s) does not
//! end one whose weights are still on their way: they go on across the first invocation, whose
//! request rides the load like any other. Whatever asks, the router answers: an entry of an object
//! and a client over HTTP meet the same checks and the same engine.
//!
//! An invocation ends before the platform would end it (`deadline`); what is then still computed
//! is given up. Where the load has failed, the invocation that meets it gets the reason, and the
//! process ends, so that the platform starts another.
//!
//! Where the platform takes a snapshot of the process (`SnapStart`), that is taken when the weights
//! are there, and connections and credentials are made anew behind it.
//!
//! # Layout
//!
//! - `event`: what happened, by its shape; `notice`: objects, in all their envelopes
//! - `http`: requests and responses, as the platform writes them; `stream`: streamed ones
//! - `direct`: bodies of requests without HTTP around them
//! - `batch`: objects and messages to lines in a bucket; `entry`: what there is to do in them;
//!   `objects`: how they are read and written; `together`: several at once
//! - `deadline`: until when; `error`: why there is no answer

mod batch;
mod deadline;
mod direct;
mod entry;
mod error;
mod event;
mod http;
mod notice;
mod objects;
mod stream;
mod together;

pub use batch::{Batch, Options, Place, Task};
pub use entry::Template;
pub use error::Error;
pub use notice::Source;
pub use objects::{BoxError, Content, Found, Objects};

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{
    BoxFuture, FunctionResponse, LambdaEvent, LambdaInvocation, Runtime, SnapStartResource,
    service_fn,
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower_service::Service;

use crate::Server;
use crate::keys::Trusted;
use deadline::Deadline;
use direct::Direct;
use event::Event;
use http::Exchange;
use notice::Work;
use together::together;

/// A server as a function. Clones are the same one.
#[derive(Clone)]
pub struct Lambda(Arc<Inner>);

struct Inner {
    server: Server,
    router: Router,
    settings: Settings,
    /// The model has failed, and whoever met that was told.
    ended: Notify,
}

/// How the function is invoked, and what it does with objects.
#[derive(Clone, Default)]
pub struct Settings {
    /// Whether the platform takes streamed answers to HTTP requests: events do not tell.
    pub streams: bool,
    /// What is done with objects; nothing, where there is no place for results.
    pub batch: Option<Batch>,
}

/// What the runtime is told of an invocation.
type Told = FunctionResponse<Value, BodyDataStream>;

impl Lambda {
    /// `server` as a function.
    #[must_use]
    pub fn new(server: Server, settings: Settings) -> Self {
        let router = server.router();
        Self::over(router, server, settings)
    }

    /// With `router` for all that is asked.
    fn over(router: Router, server: Server, settings: Settings) -> Self {
        Self(Arc::new(Inner { server, router, settings, ended: Notify::new() }))
    }

    /// Answers one event after the other; several at once, where the platform says so
    /// (`AWS_LAMBDA_MAX_CONCURRENCY`). Ends when the model has failed.
    ///
    /// # Panics
    /// Where variables are missing that the platform sets for every function:
    /// `AWS_LAMBDA_RUNTIME_API`, `AWS_LAMBDA_FUNCTION_NAME`, `AWS_LAMBDA_FUNCTION_VERSION` and
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`.
    pub async fn run(self) -> Result<(), Error> {
        let answering = self.clone();
        let handler = service_fn(move |event| answering.clone().answer(event));
        let following = self.clone();
        let runtime = Runtime::new(handler)
            .layer(layer_fn(move |inner| Followed { inner, lambda: following.clone() }))
            .register_snapstart_resource(Arc::new(self.clone()));
        tokio::select! {
            ended = runtime.run_concurrent() => ended.map_err(Error::Runtime),
            () = self.0.ended.notified() => Err(self.failure()),
        }
    }

    async fn answer(self, event: LambdaEvent<Value>) -> Result<Told, Error> {
        let deadline = Deadline::of(&event.context);
        match Event::parse(event.payload)? {
            Event::Http(exchange) => self.exchange(*exchange, deadline).await,
            Event::Direct(direct) => self.direct(direct, deadline).await,
            Event::Work(works) => self.works(works, deadline).await,
            Event::Queue(messages) => self.queue(messages, deadline).await,
        }
    }

    async fn exchange(&self, exchange: Exchange, deadline: Deadline) -> Result<Told, Error> {
        let Exchange { dialect, request } = exchange;
        let response = match deadline.bound(self.route(request)).await {
            Ok(response) => response,
            Err(late) => late.response(),
        };
        if self.0.settings.streams && dialect.can_stream() {
            return Ok(FunctionResponse::StreamingResponse(stream::response(response, deadline)));
        }
        Ok(FunctionResponse::BufferedResponse(dialect.whole(response, deadline).await))
    }

    async fn direct(&self, direct: Direct, deadline: Deadline) -> Result<Told, Error> {
        direct.check_is_whole()?;
        let (status, body) = deadline.bound(self.ask(direct)).await??;
        if !status.is_success() {
            return Err(Error::of_refusal(&body));
        }
        http::check_length(&body, http::WHOLE_LIMIT_BYTES)?;
        Ok(FunctionResponse::BufferedResponse(body))
    }

    /// All of it, or the platform delivers it again: what is done by then is not done twice.
    async fn works(&self, works: Vec<Work>, deadline: Deadline) -> Result<Told, Error> {
        let batch = self.batch()?;
        let done = together(works.into_iter().map(|work| {
            let (lambda, batch) = (self.clone(), batch.clone());
            async move { deadline.bound(batch.work(&lambda, work)).await? }
        }));
        let (done, failed) = split(done.await);
        match Error::of_works(&failed, done.len() + failed.len()) {
            Some(error) => Err(error),
            None => Ok(FunctionResponse::BufferedResponse(json!({ "results": done }))),
        }
    }

    /// The platform keeps the messages that are named in the answer, and deletes the others.
    async fn queue(
        &self,
        messages: Vec<event::Message>,
        deadline: Deadline,
    ) -> Result<Told, Error> {
        let batch = self.batch()?;
        let done = together(messages.into_iter().map(|message| {
            let (lambda, batch) = (self.clone(), batch.clone());
            async move {
                let done = deadline.bound(batch.message(&lambda, message.works)).await;
                let error = done.and_then(|done| done).err()?;
                tracing::error!(message_id = message.id, %error, "message failed");
                Some(json!({ "itemIdentifier": message.id }))
            }
        }));
        let failed: Vec<_> = done.await.into_iter().flatten().collect();
        Ok(FunctionResponse::BufferedResponse(json!({ "batchItemFailures": failed })))
    }

    fn batch(&self) -> Result<Batch, Error> {
        self.0.settings.batch.clone().ok_or(Error::NoResults)
    }

    /// What the router says to the body of a request. Whoever may invoke the function may ask.
    async fn ask(&self, direct: Direct) -> Result<(StatusCode, Value), Error> {
        let mut request = direct.request(self.0.server.model().name());
        request.extensions_mut().insert(Trusted);
        direct::read(self.route(request).await).await
    }

    async fn route(&self, request: Request) -> Response {
        let response: Result<_, Infallible> = self.0.router.clone().call(request).await;
        response.unwrap_or_else(|never| match never {})
    }

    fn failure(&self) -> Error {
        let reason = self.0.server.model().error();
        Error::Ended { reason: reason.unwrap_or_else(|| "the engine has failed".into()) }
    }
}

/// Those that were done, and why the others were not.
fn split<T>(results: Vec<Result<T, Error>>) -> (Vec<T>, Vec<Error>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    (done, failed)
}

/// A snapshot without weights would save nothing.
impl SnapStartResource for Lambda {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), lambda_runtime::Error>> {
        Box::pin(async {
            self.0.server.model().settled().await;
            match self.0.server.model().error() {
                Some(_) => Err(self.failure().into()),
                None => Ok(()),
            }
        })
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), lambda_runtime::Error>> {
        Box::pin(async {
            match &self.0.settings.batch {
                Some(batch) => batch.renew().await,
                None => Ok(()),
            }
        })
    }
}

/// An invocation until its answer has left, after which a process whose model has failed ends.
#[derive(Clone)]
struct Followed<S> {
    inner: S,
    lambda: Lambda,
}

impl<S> Service<LambdaInvocation> for Followed<S>
where
    S: Service<LambdaInvocation, Response = (), Error = lambda_runtime::Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = lambda_runtime::Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), lambda_runtime::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let (answered, lambda) = (self.inner.call(invocation), self.lambda.clone());
        Box::pin(async move {
            let answered = answered.await;
            if !lambda.0.server.is_alive() {
                lambda.0.ended.notify_one();
            }
            answered
        })
    }
}

#[cfg(test)]
mod tests;
