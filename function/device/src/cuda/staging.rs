//! Small things on their way between host and device: token ids, weights that are not streamed, results.
//!
//! What is sent is laid behind what was sent before, so that nobody waits for a copy; where the room ends the stream is
//! awaited, and it begins anew. A prompt of a quarter million tokens would have to come for that.

use std::sync::Arc;

use super::memory::{Address, Memory};
use super::pinned::Pinned;
use super::stream::Stream;
use crate::Error;

/// Room on both sides for what one stream exchanges with the host.
#[derive(Debug)]
pub(super) struct Staging {
    stream: Arc<Stream>,
    outgoing: Pinned,
    /// The front of it, whose copies may be under way.
    used_bytes: usize,
    /// As large, for what has no other place on the device.
    device: Memory,
    incoming: Pinned,
}

impl Staging {
    pub(super) fn new(stream: &Arc<Stream>) -> Result<Self, Error> {
        let context = stream.context();
        Ok(Self {
            outgoing: Pinned::new(context, ROOM_BYTES)?,
            used_bytes: 0,
            device: Memory::new(context, ROOM_BYTES as u64, "token ids")?,
            incoming: Pinned::new(context, ROOM_BYTES)?,
            stream: Arc::clone(stream),
        })
    }

    /// Copies `bytes` to the device, behind what the stream has to do.
    pub(super) fn send(&mut self, bytes: &[u8], to: Address) -> Result<(), Error> {
        let mut to = to;
        for part in bytes.chunks(ROOM_BYTES) {
            let offset = self.room(part.len())?;
            self.outgoing.put(offset, part);
            self.outgoing.send(offset, part.len(), to, &self.stream)?;
            to += part.len() as u64;
        }
        Ok(())
    }

    /// Copies numbers to where they stay until the stream has used them.
    pub(super) fn stage(&mut self, numbers: &[u32]) -> Result<Address, Error> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let offset = self.room(bytes.len())?;
        let to = self.device.start() + offset as u64;
        self.outgoing.put(offset, &bytes);
        self.outgoing.send(offset, bytes.len(), to, &self.stream)?;
        Ok(to)
    }

    /// Copies from the device what is there when the stream has done everything.
    pub(super) fn receive(&mut self, from: Address, into: &mut [u8]) -> Result<(), Error> {
        let mut from = from;
        for part in into.chunks_mut(ROOM_BYTES) {
            self.incoming.receive(from, part.len(), &self.stream)?;
            self.await_all()?;
            self.incoming.take(part);
            from += part.len() as u64;
        }
        Ok(())
    }

    /// Where `bytes` can be put.
    fn room(&mut self, bytes: usize) -> Result<usize, Error> {
        assert!(bytes <= ROOM_BYTES, "{bytes} bytes to stage at once");
        if bytes > ROOM_BYTES - self.used_bytes {
            self.await_all()?;
        }
        let offset = self.used_bytes;
        self.used_bytes = (offset + bytes).next_multiple_of(ALIGN_BYTES);
        Ok(offset)
    }

    fn await_all(&mut self) -> Result<(), Error> {
        self.stream.synchronize()?;
        self.used_bytes = 0;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The pinned memory is given back, which no copy may be using. Where the device was lost, none is.
        let _ = self.stream.synchronize();
    }
}

/// The widest that a kernel reads at once.
const ALIGN_BYTES: usize = 16;

/// The logits of most models in one copy, a quarter million token ids.
const ROOM_BYTES: usize = 1 << 20;
