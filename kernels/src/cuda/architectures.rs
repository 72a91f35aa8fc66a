/// The compute capabilities that [`FATBIN`] has machine code for, times ten: Ampere (A100; A10 and
/// RTX 30), Ada (L4, L40S and RTX 40), Hopper, and Blackwell (B200; RTX 50). Code for one runs on
/// those of the same ten that came later: that for 100 on 103 as well.
pub const ARCHITECTURES: &[u32] = &[80, 86, 89, 90, 100, 120];

/// The compute capability of its PTX, times ten: processors that are in no ten of [`ARCHITECTURES`]
/// run it after the driver has translated it, which takes seconds. The oldest, so that all others
/// can.
pub const PTX: u32 = 80;
