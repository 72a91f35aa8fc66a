//! A load whose last range is held back.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use firstlight_load::Checkpoint;
use firstlight_store::folder::Folder;
use firstlight_store::{Body, Error, Limits, Object, Opened, Reader, Store};
use firstlight_timeline::Timeline;
use tokio::sync::Semaphore;

/// A folder whose last range cannot be read before the gate is open, and which shows no files.
pub(crate) struct Gated {
    folder: Arc<Folder>,
    /// Reads that reach to this byte wait.
    last_byte: u64,
    gate: Arc<Semaphore>,
}

impl Gated {
    /// The model in `folder`, whose final norm is the last stage's only tensor: the range that ends the load.
    pub(crate) async fn new(folder: Folder, gate: Arc<Semaphore>) -> Self {
        let folder = Arc::new(folder);
        let timeline = Timeline::start(None);
        let reader = Reader::new(Arc::clone(&folder) as _, Limits::default(), timeline.clone());
        let checkpoint = Checkpoint::open(&reader, &timeline).await.expect("it is a model");
        let (_, norm) = checkpoint.manifest.get("model.norm.weight").expect("it has one");
        Self { last_byte: norm.range.end - 1, folder, gate }
    }
}

#[async_trait]
impl Store for Gated {
    fn locate(&self, key: &str) -> String {
        self.folder.locate(key)
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        self.folder.open(key, head_bytes).await
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        if range.contains(&self.last_byte) {
            self.gate.acquire().await.expect("it is never closed").forget();
        }
        self.folder.read(object, range).await
    }
}
