//! The operations, by `firstlight-kernels`.

/// The processor that runs this program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;
