use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn team(threads: usize) -> Arc<Team> {
    Arc::new(Team::new(NonZero::new(threads).unwrap()))
}

/// Enough to be spread.
const COST: usize = usize::MAX;

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn each_piece_is_done_once(
        threads in 1_usize..6,
        regions in prop::collection::vec((1_usize..300, 1_usize..40), 1..60),
    ) {
        team(threads).enter(|| {
            for (items, length) in regions {
                let mut out = vec![0; items];
                for_each_piece(&mut out, length, COST, |index, piece| {
                    for (offset, item) in piece.iter_mut().enumerate() {
                        *item += index * length + offset + 1;
                    }
                });
                let expected: Vec<_> = (1..=items).collect();
                assert_eq!(out, expected, "{items} in pieces of {length}");
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_when_all_is_done(
        threads in 2_usize..5,
        pieces in 2_usize..50,
        bad in 0_usize..50,
    ) {
        let team = team(threads);
        for round in 0..10 {
            let bad = (bad + round) % pieces;
            let done = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.run(pieces, &|index| {
                    if index == bad {
                        // No message on the terminal for it.
                        resume_unwind(Box::new(index));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&bad));
            assert_eq!(done.load(Ordering::Relaxed), pieces - 1);
        }
    }
}

/// Tens of thousands of meetings, some of threads that were asleep.
#[test]
fn nobody_is_missed() {
    for threads in [2, 3, 8] {
        let team = team(threads);
        let sum = AtomicUsize::new(0);
        for round in 0..20_000 {
            team.run(1 + round % 7, &|index| {
                sum.fetch_add(index + 1, Ordering::Relaxed);
            });
            if round % 2_000 == 0 {
                thread::sleep(Duration::from_millis(1)); // much longer than a thread spins
            }
        }
        let expected = (0..20_000).map(|round| (1..=1 + round % 7).sum::<usize>()).sum();
        assert_eq!(sum.into_inner(), expected, "{threads} threads");
    }
}

#[test]
fn all_threads_take_part() {
    let team = team(3);
    let meeting = std::sync::Barrier::new(3);
    team.run(3, &|_| {
        meeting.wait();
    });
}

#[test]
fn regions_inside_regions_are_done_alone() {
    let team = team(3);
    let sum = AtomicUsize::new(0);
    team.enter(|| {
        for_each_piece(&mut [0; 20], 1, COST, |_, _| {
            let here = thread::current().id();
            for_each_piece(&mut [0; 10], 1, COST, |_, _| {
                assert_eq!(thread::current().id(), here);
                sum.fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    assert_eq!(sum.into_inner(), 200);
}

#[test]
fn callers_at_the_same_time_get_their_work_done() {
    let team = team(2);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for items in 2..500 {
                    let mut out = vec![0; items];
                    team.enter(|| for_each_piece(&mut out, 3, COST, |_, piece| piece.fill(1)));
                    assert_eq!(out, vec![1; items]);
                }
            });
        }
    });
}

#[test]
fn a_thread_leaves_the_team_that_it_entered() {
    let (two, three) = (team(2), team(3));
    let outside = count();
    two.enter(|| {
        assert_eq!(count(), 2);
        let three = AssertUnwindSafe(&three);
        let left = catch_unwind(|| three.enter(|| resume_unwind(Box::new(count()))));
        assert_eq!(left.unwrap_err().downcast_ref(), Some(&3_usize));
        assert_eq!(count(), 2);
    });
    assert_eq!(count(), outside);
    assert_eq!(Team::default_threads().get(), thread::available_parallelism().unwrap().get());
}

#[test]
fn threads_of_a_team_end_with_it() {
    let team = team(4);
    let board = Arc::downgrade(&team.board);
    team.run(9, &|_| {});
    assert_eq!(board.strong_count(), 4);
    drop(team);
    assert_eq!(board.strong_count(), 0, "each thread held the board");
}
