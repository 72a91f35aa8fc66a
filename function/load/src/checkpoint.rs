//! The shards' heads and the index, read speculatively, to a manifest.
//!
//! Whether a model is one file or many is not known before it is asked for: the head of the one file and the index of
//! the many are requested at the same time. A head is one request of a size that covers the usual header; only a longer
//! header costs a second one. What is read speculatively beyond the header is read again as weights, in its turn.

use std::sync::Arc;

use firstlight_device::DType;
use firstlight_plan::{HEAD_BYTES, Head, Header, Index, Manifest, Shard};
use firstlight_store::{Error as StoreError, Gather, Object, Priority, Reader};
use firstlight_timeline::{Lane, Mark, Timeline};
use tokio::task::JoinSet;

use crate::{Error, SUPPORTED, device_dtype};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The index of the largest published models has 10 MB.
const INDEX_LIMIT_BYTES: u64 = 64 << 20;
/// What a repository without safetensors holds instead.
const PICKLES: [&str; 4] =
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.ckpt"];

/// Every tensor of a model, and the versions of the objects that hold them.
#[derive(Debug)]
pub struct Checkpoint {
    /// Tensors by name.
    pub manifest: Manifest,
    /// The shards as they were found, in the manifest's order.
    pub objects: Vec<Object>,
}

impl Checkpoint {
    /// What a tensor is made of, if it is there and in one of the [`SUPPORTED`] types.
    #[must_use]
    pub fn dtype(&self, tensor: &str) -> Option<DType> {
        let (_, entry) = self.manifest.get(tensor)?;
        SUPPORTED.contains(&entry.dtype).then(|| device_dtype(entry.dtype))
    }

    /// Reads and checks the heads of all shards of the model that `reader`'s store holds.
    pub async fn open(reader: &Reader, timeline: &Timeline) -> Result<Self, Error> {
        let index = tokio::spawn({
            let reader = reader.clone();
            async move { reader.whole(INDEX, INDEX_LIMIT_BYTES).await }
        });
        let checkpoint = match open_shard(reader, SINGLE, timeline).await {
            Ok(shard) => {
                index.abort();
                Self::new(vec![shard], None)?
            }
            Err(Error::Store(missing)) if missing.may_be_missing() => {
                let index = index.await.map_err(|_| cancelled())?;
                sharded(reader, missing, index, timeline).await?
            }
            Err(error) => return Err(error),
        };
        timeline.mark(Mark::HeadersRead);
        Ok(checkpoint)
    }

    fn new(found: Vec<(Object, Header)>, index: Option<&Index>) -> Result<Self, Error> {
        let shard = |(object, header): &(Object, Header)| Shard {
            name: object.key.to_string(),
            size: object.size,
            header: header.clone(),
        };
        let manifest = Manifest::new(found.iter().map(shard).collect(), index)?;
        Ok(Self { manifest, objects: found.into_iter().map(|(object, _)| object).collect() })
    }
}

async fn sharded(
    reader: &Reader,
    missing: StoreError,
    index: Result<Vec<u8>, StoreError>,
    timeline: &Timeline,
) -> Result<Checkpoint, Error> {
    let index = match index {
        Ok(json) => Index::parse(&reader.locate(INDEX), &json)?,
        Err(error) if error.may_be_missing() => return Err(no_weights(reader, missing).await),
        Err(error) => return Err(error.into()),
    };
    let mut tasks = JoinSet::new();
    for (at, name) in index.shards().into_iter().enumerate() {
        let (reader, timeline) = (reader.clone(), timeline.clone());
        tasks.spawn(
            async move { open_shard(&reader, &name, &timeline).await.map(|shard| (at, shard)) },
        );
    }
    let mut found = Vec::with_capacity(tasks.len());
    while let Some(shard) = tasks.join_next().await {
        found.push(shard.map_err(|_| cancelled())??);
    }
    found.sort_by_key(|(at, _)| *at);
    Checkpoint::new(found.into_iter().map(|(_, shard)| shard).collect(), Some(&index))
}

async fn open_shard(
    reader: &Reader,
    key: &str,
    timeline: &Timeline,
) -> Result<(Object, Header), Error> {
    let name = reader.locate(key);
    let (object, mut head) = reader.open(key, HEAD_BYTES).await?;
    loop {
        let verify = timeline.span(Lane::Verify, "headers").bytes(head.len() as u64);
        let parsed = Header::parse(&name, &head, object.size)?;
        verify.end();
        match parsed {
            Head::Complete(header) => return Ok((object, header)),
            Head::More { needed } => {
                let rest = head.len() as u64..needed;
                let stage = Arc::from("headers");
                let turn = reader.turn(Priority::Urgent).await;
                let sink = Gather::after(head, rest.start);
                head = reader.fetch(turn, &object, rest, &stage, sink).await?.into_bytes();
            }
        }
    }
}

/// A task that ended by no fault of its own.
fn cancelled() -> Error {
    Error::Cancelled { stage: "the headers".into() }
}

/// Says what stands where the weights should: a pickle, nothing, or something that may not be read.
async fn no_weights(reader: &Reader, missing: StoreError) -> Error {
    for key in PICKLES {
        if reader.open(key, 1).await.is_ok() {
            return Error::Pickle { object: reader.locate(key) };
        }
    }
    match missing {
        StoreError::NotFound { .. } => {
            let location = reader.locate("").trim_end_matches('/').to_owned();
            Error::NoWeights { location }
        }
        denied => denied.into(),
    }
}
