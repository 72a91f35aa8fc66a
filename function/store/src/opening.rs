//! The first request for an object: its head, its size and its version in one.
//!
//! One attempt asks (and asks again beside itself where the answer is late, see `race`) and
//! receives the head as a range of the version that was found, so that whoever goes on where it
//! broke knows what to ask for.

use tokio::time::timeout;

use crate::attempt::{Landing, Wire};
use crate::log::{Label, Log};
use crate::settings::CONNECT;
use crate::{Error, Gather, Opened};

/// What is opened, and how much of it is wanted.
pub(crate) struct Opening<'a> {
    pub(crate) key: &'a str,
    /// What the timeline calls it.
    pub(crate) stage: &'static str,
    pub(crate) head_bytes: u64,
    /// A larger object is refused before it is read.
    pub(crate) size_limit: u64,
}

impl Opening<'_> {
    /// Asks for an object's head and receives it; also says how the latter went.
    pub(crate) async fn attempt(
        &self,
        wire: &Wire,
        attempt: u32,
    ) -> Result<(Landing<Gather>, Result<(), Error>), Error> {
        let request = |hedge| self.request(wire, attempt, hedge);
        let (opened, log) = wire.race(request, || wire.until_overdue()).await?;
        Ok(self.receive(wire, opened, log).await)
    }

    /// One request, whose answer is not waited for longer than a connection and a stall take.
    pub(crate) async fn request<'w>(
        &self,
        wire: &'w Wire,
        attempt: u32,
        hedge: bool,
    ) -> Result<(Opened, Log<'w>), Error> {
        let label = Label { stage: self.stage.into(), attempt, hedge, is_weights: false };
        let mut log = Log::new(&wire.timeline, self.key.into(), 0..self.head_bytes, label);
        match self.answer(wire).await {
            Ok(opened) => {
                wire.hedging.first_byte(log.age());
                Ok((opened, log))
            }
            Err(error) => {
                let failed = Err(error);
                log.conclude(&failed);
                failed
            }
        }
    }

    async fn answer(&self, wire: &Wire) -> Result<Opened, Error> {
        let patience = wire.stall + CONNECT;
        let answer = timeout(patience, wire.store.open(self.key, self.head_bytes)).await;
        let opened = answer.unwrap_or_else(|_| {
            let object = wire.store.locate(self.key);
            Err(Error::Stalled { object, at: 0, after_s: patience.as_secs_f64() })
        })?;
        let (size, limit) = (opened.object.size, self.size_limit);
        if size > limit {
            return Err(Error::TooLarge { object: wire.store.locate(self.key), size, limit });
        }
        Ok(opened)
    }

    /// Receives the head of what was found.
    pub(crate) async fn receive(
        &self,
        wire: &Wire,
        Opened { object, mut head }: Opened,
        mut log: Log<'_>,
    ) -> (Landing<Gather>, Result<(), Error>) {
        let expected = 0..object.size.min(self.head_bytes);
        let landing = Landing::new(object, expected, Gather::default());
        let received = tokio::select! {
            biased;
            received = wire.receive(&landing, 0, &mut *head, &mut log) => received,
            // Goes on from the byte reached, over another connection.
            () = wire.until_late(&landing) => Err(wire.slow(&landing)),
        };
        log.conclude(&received);
        (landing, received)
    }
}
