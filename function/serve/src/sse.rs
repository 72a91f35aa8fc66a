//! An answer as server-sent events: a line of JSON for each piece, and `[DONE]` after the last.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::Refusal;
use crate::answer::Progress;
use crate::choices::Choices;
use crate::form::{Choice, Letterhead};

/// The body of a streamed answer. Dropping it cancels what is still to be computed.
pub(crate) struct Events {
    letterhead: Letterhead,
    choices: Choices,
    progress: Progress,
    /// What was written and not sent yet.
    lines: Vec<u8>,
    is_done: bool,
}

impl Events {
    pub(crate) fn new(letterhead: Letterhead, choices: Choices, progress: Progress) -> Self {
        Self { letterhead, choices, progress, lines: Vec::new(), is_done: false }
    }

    /// With the openings of all choices and the first piece of one.
    pub(crate) fn after(mut self, (index, piece): (usize, Choice)) -> Self {
        for index in 0..self.progress.choices() {
            if let Some(opening) = self.letterhead.opening(index) {
                self.line(&opening);
            }
        }
        self.piece(index, &piece);
        self.end_if_over();
        self
    }

    fn take(&mut self, event: Option<(usize, firstlight_generate::engine::Event)>) {
        match self.progress.take(event) {
            Ok((index, Some(piece))) => self.piece(index, &piece),
            Ok((_, None)) => {}
            Err(refusal) => self.fail(&refusal),
        }
        self.end_if_over();
    }

    fn piece(&mut self, index: usize, piece: &Choice) {
        let says = !piece.text.is_empty() || !piece.logprobs.is_empty() || piece.finish.is_some();
        if says {
            let json = self.letterhead.piece(index, piece);
            self.line(&json);
        }
    }

    fn end_if_over(&mut self) {
        if self.is_done || !self.progress.is_over() {
            return;
        }
        if self.letterhead.promises_usage {
            let last = self.letterhead.last(self.progress.usage());
            self.line(&last);
        }
        self.line(b"[DONE]");
        self.is_done = true;
    }

    /// The status is out already: what went wrong is the last event, and `[DONE]` does not come.
    fn fail(&mut self, refusal: &Refusal) {
        let json = serde_json::to_vec(&refusal.object()).expect("an error object has string keys");
        self.line(&json);
        self.is_done = true;
    }

    fn line(&mut self, json: &[u8]) {
        for part in [b"data: ".as_slice(), json, b"\n\n"] {
            self.lines.extend_from_slice(part);
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    /// All events that are there, as one frame.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while !self.is_done && self.lines.len() < FRAME_BYTES {
            match self.choices.poll_next(context) {
                Poll::Ready(event) => self.take(event),
                Poll::Pending if self.lines.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let lines = std::mem::take(&mut self.lines);
        Poll::Ready((!lines.is_empty()).then(|| Ok(Frame::data(lines.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.lines.is_empty()
    }
}

/// Some hundred tokens: what a client that was slow for a moment gets at once.
const FRAME_BYTES: usize = 32 << 10;
