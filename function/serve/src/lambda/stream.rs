//! A response whose body leaves as it comes: bounded by the invocation's time, and by what the
//! platform streams.
//!
//! The status is out by then. What ends too early says so in its last event, where it is made of
//! events.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use lambda_runtime::{MetadataPrelude, StreamResponse};
use tokio::time::Sleep;

use super::Error;
use super::deadline::Deadline;
use super::http::cookies;

/// `response`, as the runtime wants it.
pub(crate) fn response(response: Response, deadline: Deadline) -> StreamResponse<BodyDataStream> {
    let (parts, body) = response.into_parts();
    let cookies = cookies(&parts.headers);
    let mut headers = parts.headers;
    headers.remove(axum::http::header::SET_COOKIE);
    let has_events = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let body = Bounded::new(body, deadline, has_events);
    let metadata_prelude = MetadataPrelude { status_code: parts.status, headers, cookies };
    StreamResponse { metadata_prelude, stream: Body::new(body).into_data_stream() }
}

/// A body with an end.
struct Bounded {
    /// None when it has come to its end, so that whatever it was made of is given up.
    body: Option<Body>,
    end: Pin<Box<Sleep>>,
    left_bytes: usize,
    has_events: bool,
}

impl Bounded {
    fn new(body: Body, deadline: Deadline, has_events: bool) -> Self {
        let end = Box::pin(deadline.sleep());
        Self { body: Some(body), end, left_bytes: STREAM_LIMIT_BYTES, has_events }
    }

    /// Ends it, with a word where there is a way to say it.
    fn break_off(&mut self, error: &Error) -> Option<Result<Frame<Bytes>, axum::Error>> {
        tracing::error!(%error, "stream broken off");
        self.body = None;
        let event = format!("data: {}\n\n", error.object());
        self.has_events.then(|| Ok(Frame::data(event.into())))
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            ready!(self.end.as_mut().poll(context));
            return Poll::Ready(self.break_off(&Error::Late));
        };
        // The runtime would write an error into the body as if it were text.
        let Some(Ok(frame)) = frame else {
            self.body = None;
            return Poll::Ready(None);
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > self.left_bytes {
            let limit_bytes = STREAM_LIMIT_BYTES;
            let error = Error::AnswerTooLong { bytes: limit_bytes + 1, limit_bytes };
            return Poll::Ready(self.break_off(&error));
        }
        self.left_bytes -= bytes;
        Poll::Ready(Some(Ok(frame)))
    }
}

/// What the platform streams at most
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>), less
/// some for a last word.
const STREAM_LIMIT_BYTES: usize = (200 << 20) - (64 << 10);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;

    use super::*;

    /// A body that never goes on after its first piece.
    struct Stuck(Option<&'static str>);

    impl HttpBody for Stuck {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            match self.0.take() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
                None => Poll::Pending,
            }
        }
    }

    async fn read(body: Bounded) -> String {
        let bytes = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_that_are_late_say_so_and_end() {
        let deadline = Deadline::within(Duration::from_millis(20));
        let body = || Body::new(Stuck(Some("data: {}\n\n")));
        let told = read(Bounded::new(body(), deadline, true)).await;
        assert!(told.starts_with("data: {}\n\ndata: {\"error\":"), "{told}");
        assert!(told.contains("\"code\":\"deadline\"") && told.ends_with("\n\n"), "{told}");
        assert_eq!(read(Bounded::new(body(), deadline, false)).await, "data: {}\n\n");
    }

    #[tokio::test]
    async fn what_comes_in_time_is_not_changed_and_what_is_too_long_is_cut() {
        let deadline = Deadline::within(Duration::from_mins(1));
        assert_eq!(read(Bounded::new(Body::from("all"), deadline, true)).await, "all");
        let mut body = Bounded::new(Body::from("more than is allowed"), deadline, true);
        body.left_bytes = 3;
        let told = read(body).await;
        assert!(told.starts_with("data: ") && told.contains("answer_too_long"), "{told}");
    }
}
