//! How many requests are being answered, so that an instance nobody needs can end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// A count of requests.
#[derive(Debug, Default)]
pub(crate) struct Activity(watch::Sender<usize>);

impl Activity {
    /// Counts a request until what is returned is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.0.send_modify(|count| *count += 1);
        Busy(self.0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// When there was none for `time`.
    pub(crate) async fn idle(&self, time: Duration) {
        let mut count = self.0.subscribe();
        loop {
            drop(count.wait_for(|count| *count == 0).await);
            tokio::select! {
                () = sleep(time) => return,
                // A request that came and went is a change too.
                _ = count.changed() => {}
            }
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
