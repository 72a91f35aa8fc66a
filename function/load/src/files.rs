//! Files of this machine, read straight into the memory that a fetch lands in, by as many threads as fetches are in
//! flight.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use firstlight_store::{Object, Reader, Sink};
use firstlight_timeline::{At, FetchRecord, Mark, Outcome, Timeline};
use tokio::task::spawn_blocking;

use crate::Error;

/// One file.
pub(crate) struct LocalFile {
    file: File,
    object: Object,
    /// The file's full name.
    name: String,
    timeline: Timeline,
}

impl LocalFile {
    /// The file that `object` is, where it is one.
    pub(crate) fn open(
        reader: &Reader,
        object: &Object,
        timeline: &Timeline,
    ) -> Result<Option<Arc<Self>>, Error> {
        let file = reader.file(object)?.map(|file| Self {
            file,
            object: object.clone(),
            name: reader.locate(&object.key),
            timeline: timeline.clone(),
        });
        Ok(file.map(Arc::new))
    }

    /// Reads `range` into `sink` and gives the sink back.
    pub(crate) async fn read<S: Sink>(
        self: &Arc<Self>,
        range: Range<u64>,
        stage: &Arc<str>,
        mut sink: S,
    ) -> Result<S, Error> {
        let cancelled = Error::Cancelled { stage: stage.to_string() };
        let (file, stage) = (Arc::clone(self), Arc::clone(stage));
        let reading = spawn_blocking(move || {
            let requested = file.timeline.now();
            file.timeline.mark(Mark::FirstWeightByte);
            let read = file.fill(&range, &mut sink);
            file.record(range, stage, requested, read.as_ref().err());
            read.map(|()| sink)
        });
        reading.await.map_err(|_| cancelled)?
    }

    fn fill(&self, range: &Range<u64>, sink: &mut impl Sink) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            match self.file.read_at(sink.memory(at..range.end), at) {
                Ok(0) => return Err(self.unreadable(at)),
                Ok(count) => at += count as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.unreadable(at)),
            }
        }
        Ok(())
    }

    fn record(&self, range: Range<u64>, stage: Arc<str>, requested: At, error: Option<&Error>) {
        self.timeline.fetch(FetchRecord {
            object: Arc::clone(&self.object.key),
            bytes: range.end - range.start,
            range,
            stage,
            requested,
            // The kernel tells of the whole range only.
            first_byte: Some(requested),
            done: self.timeline.now(),
            attempt: 1,
            hedge: false,
            outcome: error.map_or(Outcome::Complete, |error| Outcome::Failed(error.to_string())),
        });
    }

    fn unreadable(&self, at: u64) -> Error {
        Error::Unreadable { object: self.name.clone(), at }
    }
}
