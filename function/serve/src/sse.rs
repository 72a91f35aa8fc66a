//! An answer as server-sent events: a line of JSON for each piece, and `[DONE]` after the last. While
//! the first is waited for, comments.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

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
    /// Whether the first piece was written.
    is_open: bool,
    is_done: bool,
    /// How long it may say nothing before that.
    quiet_time: Duration,
    /// When it has said nothing for so long.
    quiet: Option<Pin<Box<Sleep>>>,
}

impl Events {
    pub(crate) fn new(
        letterhead: Letterhead,
        choices: Choices,
        progress: Progress,
        quiet_time: Duration,
    ) -> Self {
        let (is_open, is_done) = (false, false);
        let lines = Vec::new();
        Self { letterhead, choices, progress, lines, is_open, is_done, quiet_time, quiet: None }
    }

    /// With the first piece of a choice, if there is one already.
    pub(crate) fn after(mut self, first: Option<(usize, Choice)>) -> Self {
        match first {
            Some((index, piece)) => self.piece(index, &piece),
            None => self.say_something(),
        }
        self.end_if_over();
        self
    }

    /// A comment, which readers of events skip.
    fn say_something(&mut self) {
        self.lines.extend_from_slice(b": the answer has not begun\n\n");
        self.quiet = Some(Box::pin(sleep(self.quiet_time)));
    }

    /// What all choices begin with.
    fn open(&mut self) {
        for index in 0..self.progress.choices() {
            if let Some(opening) = self.letterhead.opening(index) {
                self.line(&opening);
            }
        }
        self.is_open = true;
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
        if !self.is_open {
            self.open();
        }
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

    /// When it has said nothing for long, and the first piece is not there.
    fn has_been_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.quiet {
            Some(quiet) if !self.is_open => quiet.as_mut().poll(context),
            _ => Poll::Pending,
        }
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
                Poll::Pending if self.lines.is_empty() => {
                    ready!(self.has_been_quiet(context));
                    self.say_something();
                }
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
