//! A thread that waits for the events of one queue, in their order, and does what is due when each has happened.
//!
//! Whoever computes or fetches waits for no event; this thread does little else. What it is to do must be short, and must
//! not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::port::Event;
use crate::Error;

/// What is due when an event has happened, or cannot.
type Due = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The handle of the thread. Dropping it waits for all events that it was told of.
pub struct Watch<E> {
    awaited: Option<Sender<(Arc<E>, Due)>>,
    thread: Option<JoinHandle<()>>,
}

impl<E: Event> Watch<E> {
    /// Starts the thread.
    pub fn start(name: &str) -> Result<Self, Error> {
        let (sender, awaited) = channel();
        let builder = thread::Builder::new().name(name.into());
        let thread = builder.spawn(move || watch(&awaited));
        let thread = thread.map_err(|source| Error::NoThread { source })?;
        Ok(Self { awaited: Some(sender), thread: Some(thread) })
    }

    /// Has `due` done when `event` has happened, and what was asked for before.
    pub fn when(&self, event: Arc<E>, due: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let sender = self.awaited.as_ref().expect("taken by drop alone");
        sender.send((event, Box::new(due))).expect("the thread ends after its last sender");
    }
}

fn watch<E: Event>(awaited: &Receiver<(Arc<E>, Due)>) {
    for (event, due) in awaited {
        due(event.wait());
    }
}

impl<E> Drop for Watch<E> {
    fn drop(&mut self) {
        drop(self.awaited.take());
        let thread = self.thread.take().expect("taken by drop alone");
        // What is due may drop the last handle; then the thread ends by itself, after this.
        if thread.thread().id() != thread::current().id() {
            // A panic of what was due was printed when it happened.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct After(Mutex<Receiver<()>>);

    impl Event for After {
        fn wait(&self) -> Result<(), Error> {
            self.0.lock().unwrap().recv().map_err(|_| Error::AlreadyCarved)
        }
    }

    #[test]
    fn what_is_due_is_done_in_order_and_all_of_it_before_the_end() {
        let watch = Watch::start("test").unwrap();
        let (done, order) = channel();
        let happen: Vec<_> = (0..3)
            .map(|n| {
                let (happen, event) = channel();
                let done = done.clone();
                let due = move |result: Result<(), Error>| done.send((n, result.is_ok())).unwrap();
                watch.when(Arc::new(After(Mutex::new(event))), due);
                happen
            })
            .collect();
        happen[1].send(()).unwrap();
        assert!(order.try_recv().is_err(), "the second waits for the first");
        happen[0].send(()).unwrap();
        drop(happen); // the third can no longer happen
        drop(watch);
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [(0, true), (1, true), (2, false)]);
    }
}
