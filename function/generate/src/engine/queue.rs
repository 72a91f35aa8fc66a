//! Those who wait, in the order in which they came.

use std::collections::VecDeque;

/// A bounded queue that its members may leave at any place.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<T>,
    limit: usize,
}

impl<T> Queue<T> {
    /// For at most `limit` members.
    pub(super) fn new(limit: usize) -> Self {
        Self { waiting: VecDeque::new(), limit }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Takes `member`, or gives it back where there is no room.
    pub(super) fn push(&mut self, member: T) -> Result<(), T> {
        if self.is_full() {
            return Err(member);
        }
        self.waiting.push_back(member);
        Ok(())
    }

    /// Who came first.
    pub(super) fn front(&self) -> Option<&T> {
        self.waiting.front()
    }

    /// Who came first leaves.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    /// Those for whom `stays` is false leave.
    pub(super) fn keep(&mut self, stays: impl Fn(&T) -> bool) -> Vec<T> {
        if self.waiting.iter().all(&stays) {
            return Vec::new();
        }
        let (staying, leaving): (Vec<_>, _) = self.take_all().into_iter().partition(stays);
        self.waiting = VecDeque::from(staying);
        leaving
    }

    /// All leave.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Push,
        Pop,
        Leave(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => Just(Act::Push),
            2 => Just(Act::Pop),
            1 => (0usize..8).prop_map(Act::Leave),
        ]
    }

    proptest! {
        #[test]
        fn those_who_stay_leave_in_the_order_in_which_they_came(
            acts in vec(act(), 0..100), limit in 1usize..6,
        ) {
            let mut queue = Queue::new(limit);
            let mut model: Vec<usize> = Vec::new();
            for (member, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Push if model.len() < limit => {
                        prop_assert_eq!(queue.push(member), Ok(()));
                        model.push(member);
                    }
                    Act::Push => prop_assert_eq!(queue.push(member), Err(member)),
                    Act::Pop => {
                        prop_assert_eq!(queue.front(), model.first());
                        let first = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(queue.pop(), first);
                    }
                    Act::Leave(place) => {
                        let leaves = model.get(place).copied();
                        model.retain(|&member| Some(member) != leaves);
                        let left = queue.keep(|&member| Some(member) != leaves);
                        prop_assert_eq!(left, Vec::from_iter(leaves));
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_full(), model.len() == limit);
            }
            prop_assert_eq!(queue.take_all(), model);
            prop_assert!(queue.is_empty());
        }
    }
}
