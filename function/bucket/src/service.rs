//! One request from head to body: the journal, the faults, s3s, the first byte, the shaped body.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body as _, Incoming},
    http::request::Parts,
};
use s3s::service::S3Service;
use tokio::time::Instant;

use crate::{
    body::{Course, Cut, Outgoing},
    fault::{Action, Faults},
    journal::Journal,
    link::{Clock, Link, Pace, wait_until},
    objects::Objects,
    refusal,
    request::{Target, signed_region},
    socket::{Ending, Hangup},
    turnstile::Turnstile,
};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) objects: Objects,
    pub(crate) faults: RwLock<Arc<Faults>>,
    pub(crate) turnstile: Option<Turnstile>,
    pub(crate) journal: Journal,
    pub(crate) link: Link,
    pub(crate) line: Option<Arc<Clock>>,
    pub(crate) region: String,
    pub(crate) s3: S3Service,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::Acceptor>,
}

/// One connection's view of the server.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    number: u64,
    line: Option<Arc<Clock>>,
    hangup: Hangup,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, hangup: Hangup) -> Self {
        let number = shared.journal.connection();
        let line = shared.link.connection_rate.map(Clock::new);
        Self { shared, number, line, hangup }
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Outgoing>, s3s::HttpError> {
        let arrived = Instant::now();
        let (head, body) = request.into_parts();
        let target = Target::of(&head, &self.shared.objects);
        let entry = self.shared.journal.request(&target, self.number);
        let answering = match &self.shared.turnstile {
            Some(turnstile) => Some(turnstile.pass().await),
            None => None,
        };
        let faults = Arc::clone(&self.shared.faults.read().unwrap_or_else(PoisonError::into_inner));
        let action = faults.decide(&target);
        if let Some(Action::Replace(data)) = action {
            self.replace(&target, data);
        }
        let response = match self.refusal(&head, action) {
            Some(refusal) => refusal,
            None => self.shared.s3.call(Request::from_parts(head, body.into())).await?,
        };
        wait_until(arrived + self.first_byte(action)).await;
        entry.answered(response.status());
        let (pace, cut) = (self.pace(action), self.cut(action, response.body()));
        let course = |source| Course { source, piece: Bytes::new(), pace, cut, entry, answering };
        Ok(response.map(|body| Outgoing::new(course(body))))
    }

    fn replace(&self, target: &Target, data: &Bytes) {
        let objects = &self.shared.objects;
        if objects.find(&target.bucket, &target.key).is_ok() {
            objects.insert(&target.bucket, &target.key, data.clone());
        }
    }

    /// The answer that a fault or a wrong region gives in place of s3s.
    fn refusal(&self, head: &Parts, action: Option<&Action>) -> Option<Response<s3s::Body>> {
        let ours = self.shared.region.as_str();
        let signed = signed_region(head).unwrap_or(ours);
        match action {
            Some(Action::Error { status, code }) => Some(refusal::error(*status, code)),
            Some(Action::WrongRegion(region)) => Some(refusal::wrong_region(signed, region)),
            Some(Action::Redirect(region)) => Some(refusal::redirect(region)),
            _ if signed != ours => Some(refusal::wrong_region(signed, ours)),
            _ => None,
        }
    }

    fn first_byte(&self, action: Option<&Action>) -> Duration {
        let usual = self.shared.link.first_byte;
        match action {
            Some(Action::Slower { factor }) => usual.mul_f64(*factor),
            Some(Action::Delay(more)) => usual.saturating_add(*more).min(FIRST_BYTE_MAX),
            _ => usual,
        }
    }

    /// The lines a body crosses: one of its own if it is to be slow, its connection's, everyone's.
    fn pace(&self, action: Option<&Action>) -> Pace {
        let own = match action {
            Some(Action::Slower { factor }) => Some(self.shared.link.alone().slower(*factor)),
            _ => None,
        };
        let lines = [own.map(Clock::new), self.line.clone(), self.shared.line.clone()];
        Pace::new(lines.into_iter().flatten().collect())
    }

    fn cut(&self, action: Option<&Action>, body: &s3s::Body) -> Option<Cut> {
        let (bytes, ending) = match action? {
            Action::ResetAfter(bytes) => (*bytes, Some(Ending::Reset)),
            Action::TruncateAfter(bytes) => (*bytes, Some(Ending::Close)),
            Action::StallAfter(bytes) => (*bytes, None),
            _ => return None,
        };
        let half = body.size_hint().exact().map_or(u64::MAX, |length| length / 2);
        Some(Cut { bytes_left: bytes.min(half), ending, hangup: self.hangup.clone() })
    }
}

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Outgoing>;
    type Error = s3s::HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// No client waits for a day; and a delay of `Duration::MAX`, for ever, has no moment at which it
/// ends.
const FIRST_BYTE_MAX: Duration = Duration::from_hours(24);
