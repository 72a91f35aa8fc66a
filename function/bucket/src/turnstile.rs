//! Answers that wait until they are let go, all of them at once: what depends on what, without a clock.
//!
//! A client that is idle while requests of its wait has asked for all that it can ask for without
//! an answer. Let go then, and again when it is idle the next time, its requests fall into rounds,
//! which are the round trips that a start takes on a network of any speed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;

/// Where requests wait. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turnstile(Arc<State>);

#[derive(Debug, Default)]
struct State {
    waiting: AtomicUsize,
    answering: AtomicUsize,
    open: Notify,
}

impl Turnstile {
    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(SeqCst)
    }

    /// Requests that were let go, and whose answers are not out yet.
    #[must_use]
    pub fn answering(&self) -> usize {
        self.0.answering.load(SeqCst)
    }

    /// Lets all go that wait.
    pub fn release(&self) {
        self.0.open.notify_waiters();
    }

    /// Waits for the next release. What is returned is dropped when the answer is out.
    pub(crate) async fn pass(&self) -> Answering {
        let State { waiting, answering, open } = &*self.0;
        let released = open.notified();
        waiting.fetch_add(1, SeqCst);
        released.await;
        // In this order, so that a request is never in neither.
        answering.fetch_add(1, SeqCst);
        waiting.fetch_sub(1, SeqCst);
        Answering(Arc::clone(&self.0))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Arc<State>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_that_wait_are_let_go_and_later_ones_wait() {
        let turnstile = Turnstile::default();
        let pass = || {
            tokio::spawn({
                let turnstile = turnstile.clone();
                async move { turnstile.pass().await }
            })
        };
        let first = [pass(), pass()];
        tokio::task::yield_now().await;
        assert_eq!((turnstile.waiting(), turnstile.answering()), (2, 0));
        turnstile.release();
        let later = pass();
        let mut passed = Vec::new();
        for task in first {
            passed.push(task.await.unwrap());
        }
        assert_eq!((turnstile.waiting(), turnstile.answering()), (1, 2));
        drop(passed);
        assert_eq!((turnstile.answering(), later.is_finished()), (0, false));
    }
}
