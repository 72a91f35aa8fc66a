//! Intervals packed into slots, as connections are: no two intervals of a slot overlap.

/// Which slot each interval got, and how many slots there are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(crate) slots: Vec<usize>,
    pub(crate) count: usize,
}

/// Gives each interval, in order of their beginnings, the first slot that is free.
pub(crate) fn pack(intervals: impl IntoIterator<Item = (f64, f64)>) -> Packing {
    let mut busy_to_ms: Vec<f64> = Vec::new();
    let mut slots = Vec::new();
    for (from_ms, to_ms) in intervals {
        let free = busy_to_ms.iter().position(|busy_to_ms| *busy_to_ms <= from_ms);
        let slot = free.unwrap_or(busy_to_ms.len());
        busy_to_ms.resize(busy_to_ms.len().max(slot + 1), 0.0);
        busy_to_ms[slot] = to_ms;
        slots.push(slot);
    }
    Packing { slots, count: busy_to_ms.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_once_it_is_free() {
        let packing = pack([(0.0, 10.0), (1.0, 4.0), (2.0, 3.0), (4.0, 6.0), (10.0, 11.0)]);
        assert_eq!(packing, Packing { slots: vec![0, 1, 2, 1, 0], count: 3 });
    }

    #[test]
    fn nothing_needs_no_slot() {
        assert_eq!(pack([]), Packing { slots: vec![], count: 0 });
    }
}
