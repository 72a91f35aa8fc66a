//! What the bandwidth cap makes of a store that gives everything at once: the same bytes, later, and not a request more.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use async_trait::async_trait;
use firstlight_store::{
    Body, Error, Gather, Limits, Object, Opened, Priority, Reader, Store, Version,
};
use firstlight_timeline::{Counter, Timeline};

/// At the cap it takes ten times the wait after which a silent request is hedged.
const SIZE: u64 = 10_000;
const CAP_BYTES_PER_S: u64 = 20_000;

/// Objects of [`SIZE`] zeros, whatever they are called, and the ranges that were asked for.
#[derive(Default)]
struct Zeros {
    asked: Mutex<Vec<Range<u64>>>,
}

impl Zeros {
    /// What was asked for since the last time.
    fn asked(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn answer(&self, range: Range<u64>) -> Box<dyn Body> {
        let left = range.end.saturating_sub(range.start);
        self.asked.lock().unwrap().push(range);
        Box::new(Rest(left))
    }
}

#[async_trait]
impl Store for Zeros {
    fn locate(&self, key: &str) -> String {
        key.into()
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let object = Object { key: key.into(), size: SIZE, version: Version::Unknown };
        Ok(Opened { object, head: self.answer(0..head_bytes.min(SIZE)) })
    }

    async fn read(&self, _: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        Ok(self.answer(range))
    }
}

/// So many bytes, all there.
struct Rest(u64);

impl Body for Rest {
    fn poll_receive(
        &mut self,
        _: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let count = memory.len().min(usize::try_from(self.0).unwrap());
        memory[..count].fill(0);
        self.0 -= count as u64;
        Poll::Ready(Ok(count))
    }

    fn copied_bytes(&self) -> u64 {
        0
    }
}

/// A reader that knows already how soon this store answers.
async fn reader() -> (Reader, Arc<Zeros>, Timeline) {
    let (store, timeline) = (Arc::new(Zeros::default()), Timeline::start(None));
    let limits = Limits { bandwidth_bytes_per_s: Some(CAP_BYTES_PER_S), ..Limits::default() };
    let reader = Reader::new(Arc::clone(&store) as _, limits, timeline.clone());
    for _ in 0..8 {
        reader.open("known", 1).await.unwrap();
    }
    store.asked();
    (reader, store, timeline)
}

#[tokio::test]
async fn a_file_that_has_landed_is_not_asked_for_again() {
    let (reader, store, timeline) = reader().await;
    reader.open("another", 1).await.unwrap();
    assert_eq!(reader.whole("small", SIZE).await.unwrap().len() as u64, SIZE);
    assert_eq!(store.asked(), [0..1, 0..SIZE]);
    assert_eq!(timeline.counted(Counter::Retries), 0);
}

#[tokio::test]
async fn a_range_that_has_landed_is_not_hedged() {
    let (reader, store, timeline) = reader().await;
    let (object, _) = reader.open("weights", 1).await.unwrap();
    for priority in [Priority::Weights, Priority::Urgent] {
        let turn = reader.turn(priority).await;
        let sink = Gather::after(Vec::new(), 5);
        let filled = reader.fetch(turn, &object, 5..SIZE, &Arc::from("test"), sink).await.unwrap();
        assert_eq!(filled.into_bytes().len() as u64, SIZE - 5);
    }
    assert_eq!(store.asked(), [0..1, 5..SIZE, 5..SIZE]);
    assert_eq!(timeline.counted(Counter::Hedges), 0);
}

#[tokio::test]
async fn of_an_empty_range_nothing_is_asked() {
    let (reader, store, _) = reader().await;
    let (object, _) = reader.open("weights", 1).await.unwrap();
    let turn = reader.turn(Priority::Weights).await;
    let sink = Gather::after(Vec::new(), SIZE);
    let filled = reader.fetch(turn, &object, SIZE..SIZE, &Arc::from("test"), sink).await.unwrap();
    assert!(filled.into_bytes().is_empty());
    assert_eq!(store.asked().len(), 1, "the opening");
}
