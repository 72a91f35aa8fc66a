//! Hashes of short byte strings and of pairs of numbers.
//!
//! Both are one or a few multiplications to 128 bits whose halves are folded together, as in the
//! wyhash family. They are not meant to withstand an attacker: the tables that use them bound how
//! far they search.

/// A hash of `bytes`, of any length.
#[inline]
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut seed = length as u64 ^ KEYS[0];
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let (low, high) = halves(head);
        seed = fold(low ^ KEYS[1], high ^ seed);
        rest = tail;
    }
    let (low, high) = ends(rest);
    fold(fold(low ^ KEYS[1], high ^ seed), KEYS[2])
}

/// A hash of two numbers.
#[inline]
pub(super) fn of_two(a: u64, b: u64) -> u64 {
    fold(fold(a ^ KEYS[1], b ^ KEYS[0]), KEYS[2])
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    let low = product as u64;
    low ^ (product >> 64) as u64
}

#[inline]
fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let (low, high) = bytes.split_at(8);
    (word(low), word(high))
}

/// All of up to 15 bytes in two words, which overlap where there are fewer than 16.
#[inline]
fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        let at = |place: usize| u64::from(bytes.get(place).copied().unwrap_or_default());
        (at(0) | at(1) << 8, at(2))
    }
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("half of sixteen bytes"))
}

/// Fractional digits of the golden ratio, of pi and of e: odd, and half of their bits are set.
const KEYS: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0x2437_54A8_885A_308D, 0xB7E1_5162_8AED_2A6B];
