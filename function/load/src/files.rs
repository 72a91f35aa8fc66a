//! Files of this machine, read straight into the memory that a fetch lands in, by as many threads as fetches are in
//! flight.
//!
//! What lies in the page cache is copied from there. What does not is read past it (`O_DIRECT`), by whole blocks, into
//! memory that has room for them: twice as fast from a disk, with a fiftieth of the processor's time (benches/README.md).
//! Where the file system, the memory or the system cannot do that, the page cache is the way.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use firstlight_store::{Object, Reader, Sink};
use firstlight_timeline::{At, FetchRecord, Mark, Outcome, Timeline};
use tokio::task::spawn_blocking;

use crate::Error;

/// Memory that a range of a file lands in.
pub(crate) trait Blocks: Sink {
    /// The memory of all [blocks](around) that `range` has a part of, where there is room for all of them and the first
    /// begins at an address that a device of blocks can write.
    fn blocks(&mut self, range: &Range<u64>) -> Option<&mut [u8]>;
}

/// The whole blocks around a range.
pub(crate) fn around(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES * BLOCK_BYTES..range.end.next_multiple_of(BLOCK_BYTES)
}

/// A page: blocks of disks have 512 or 4096 bytes.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// One file.
pub(crate) struct LocalFile {
    file: File,
    /// The same, past the page cache, where there is such a way.
    direct: Option<File>,
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
            direct: past_the_cache(&file),
            file,
            object: object.clone(),
            name: reader.locate(&object.key),
            timeline: timeline.clone(),
        });
        Ok(file.map(Arc::new))
    }

    /// Reads `range` into `sink` and gives the sink back.
    pub(crate) async fn read<S: Blocks>(
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

    fn fill(&self, range: &Range<u64>, sink: &mut impl Blocks) -> Result<(), Error> {
        if let Some(direct) = self.direct.as_ref().filter(|_| !is_cached(&self.file, range))
            && let Some(blocks) = sink.blocks(range)
            && read_blocks(direct, range, blocks)
        {
            return Ok(());
        }
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

/// `file` once more, so that what is read of it is not left in the page cache.
#[cfg(target_os = "linux")]
fn past_the_cache(file: &File) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
    // By its descriptor: the name may be another file's by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn past_the_cache(_: &File) -> Option<File> {
    None
}

/// Whether the ends of a range are in the page cache, which is then taken to have all of it; also where nobody knows.
#[cfg(target_os = "linux")]
fn is_cached(file: &File, range: &Range<u64>) -> bool {
    use rustix::io::{Errno, IoSliceMut, ReadWriteFlags, preadv2};
    let is_there = |at: u64| {
        let (mut byte, only_at_once) = ([0], ReadWriteFlags::NOWAIT);
        preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, only_at_once) != Err(Errno::AGAIN)
    };
    is_there(range.start) && is_there(range.end.saturating_sub(1))
}

#[cfg(not(target_os = "linux"))]
fn is_cached(_: &File, _: &Range<u64>) -> bool {
    true
}

/// Reads all blocks [around] `range`, the last one as far as the file goes. Says whether all of `range` was read: where
/// not, it is for the page cache to try, or to fail.
fn read_blocks(direct: &File, range: &Range<u64>, blocks: &mut [u8]) -> bool {
    let mut at = around(range).start;
    let mut rest = blocks;
    while at < range.end {
        match direct.read_at(rest, at) {
            Ok(count) if count > 0 => {
                (at, rest) = (at + count as u64, &mut rest[count..]);
                // Within a block there is no going on; the file's last one need not be whole.
                if !at.is_multiple_of(BLOCK_BYTES) {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
    at >= range.end
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use firstlight_store::Version;

    use super::*;

    /// Memory for some blocks, in which a range lies as it lies in its own.
    struct Room {
        memory: Vec<u8>,
        /// Where the first whole block of `memory` is.
        lead: usize,
        start: u64,
    }

    impl Room {
        fn around(range: &Range<u64>, is_aligned: bool) -> Self {
            let around = around(range);
            let memory = vec![0xee; usize::try_from(around.end - around.start).unwrap() + 8192];
            let lead = memory.as_ptr().align_offset(4096) + usize::from(!is_aligned);
            Self { memory, lead, start: around.start }
        }
    }

    impl Sink for Room {
        fn memory(&mut self, missing: Range<u64>) -> &mut [u8] {
            let offset = |at: u64| self.lead + usize::try_from(at - self.start).unwrap();
            &mut self.memory[offset(missing.start)..offset(missing.end)]
        }
    }

    impl Blocks for Room {
        fn blocks(&mut self, range: &Range<u64>) -> Option<&mut [u8]> {
            Some(self.memory(around(range)))
        }
    }

    fn local(file: File) -> LocalFile {
        let version = Version::ETag("1".into());
        let object = Object { key: "a".into(), size: 0, version };
        let timeline = Timeline::start(None);
        LocalFile { direct: past_the_cache(&file), file, object, name: "a".into(), timeline }
    }

    /// Of a file that is in the page cache, and of one that was put out of it, as far as its file system does that.
    #[test]
    fn every_range_is_what_the_file_has_there_whichever_way_it_is_read() {
        let bytes: Vec<u8> =
            (0..100_001_u32).map(|n| (n.wrapping_mul(n) >> 3).to_le_bytes()[0]).collect();
        let binary = std::env::current_exe().unwrap();
        let folders = [binary.parent().unwrap(), Path::new("/dev/shm")];
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            let mut file = tempfile::tempfile_in(folder).unwrap();
            file.write_all(&bytes).unwrap();
            let file = local(file);
            for range in [0..1, 0..4096, 5..9, 4095..4097, 4096..8192, 777..70_003, 90_000..100_001]
            {
                let expected = &bytes
                    [usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
                for (cached, is_aligned) in [(true, true), (false, true), (false, false)] {
                    if !cached {
                        file.file.sync_all().unwrap();
                        #[cfg(target_os = "linux")]
                        rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed)
                            .unwrap();
                    }
                    let mut room = Room::around(&range, is_aligned);
                    file.fill(&range, &mut room).unwrap();
                    assert!(
                        room.memory(range.clone()) == expected,
                        "{folder:?}: {range:?}, {cached}"
                    );
                }
                if let Some(direct) = &file.direct {
                    let mut room = Room::around(&range, true);
                    if read_blocks(direct, &range, room.blocks(&range).unwrap()) {
                        assert!(
                            room.memory(range.clone()) == expected,
                            "{folder:?}: {range:?} by blocks"
                        );
                    }
                }
            }
            let behind = 100_000..100_002;
            let error = file.fill(&behind, &mut Room::around(&behind, true)).unwrap_err();
            assert!(error.to_string().contains("100001"), "{error}");
        }
    }
}
