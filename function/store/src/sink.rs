//! The caller's memory, as seen by whoever reads into it.

/// Receives the bytes of one range, each exactly once, in ascending order.
pub trait Sink: Send + 'static {
    /// `bytes` are those of the object from `at` on.
    fn write(&mut self, at: u64, bytes: &[u8]);
}

/// A small object, gathered.
impl Sink for Vec<u8> {
    fn write(&mut self, _at: u64, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
