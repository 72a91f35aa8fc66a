//! Where a thread puts up work, and others help.
//!
//! A job is a number of pieces. The caller writes it down and opens the pieces; whoever stands by,
//! and the caller as well, takes one after the other until none is open, and the caller stays until
//! all that were taken are done. A helper that comes late, because its core was busy, finds nothing
//! open and has held up nobody.
//!
//! The counters carry the memory: taking a piece acquires what opening it released, which is the
//! job, and the end acquires what each piece released when it was done, which is its results. Who
//! holds a piece knows that the job will stay, for the caller waits for that piece.
#![expect(
    unsafe_code,
    reason = "a job is borrowed from the caller's stack by threads that outlive it"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::bell::Bell;

/// What the threads of a team share.
#[derive(Default)]
pub(super) struct Board {
    /// Pieces that nobody has taken.
    open: OwnLine<AtomicUsize>,
    /// Pieces that are not done.
    undone: OwnLine<AtomicUsize>,
    /// Written by the caller while no piece is undone, read by those who hold a piece.
    job: UnsafeCell<Option<Job>>,
    /// No more work will come.
    closed: AtomicBool,
    /// Rung when pieces are opened, or the board is closed.
    opened: Bell,
    /// Rung when the last piece is done.
    finished: Bell,
    /// Of whoever puts up a job.
    caller: Mutex<()>,
    /// What a piece of this job panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    pieces: usize,
    /// Lives until the job is finished, whatever the type says.
    work: &'static Work<'static>,
}

/// Does the piece of this number.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// A counter that shares its cache line, and the one that is fetched with it, with nothing.
#[derive(Default)]
#[repr(align(128))]
struct OwnLine<T>(T);

// SAFETY: `job` is the only part that is not `Sync` by itself. It is written under the lock of
// `caller` while no piece is undone, and read by those who hold a piece; opening and finishing order
// the two. What it holds may be used by all threads, as `Work` is `Sync`.
unsafe impl Sync for Board {}

impl Board {
    /// Does all pieces, with whoever helps, and says whether it did: not while another job is up,
    /// which may be the one that this call is a part of. A panic of a piece is passed on when all
    /// are done.
    pub(super) fn run(&self, pieces: usize, work: &Work<'_>) -> bool {
        let caller = match self.caller.try_lock() {
            Ok(caller) => caller,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        // SAFETY: only the lifetime changes. Nobody uses the work who does not hold a piece, and
        // below we wait for all pieces.
        let work = unsafe { mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        // SAFETY: no piece is undone, as the last caller waited for that and we hold the lock, so
        // nobody reads the job.
        unsafe { *self.job.get() = Some(Job { pieces, work }) };
        self.undone.0.store(pieces, Ordering::Relaxed); // released by the next line
        self.open.0.store(pieces, Ordering::Release);
        self.opened.ring();
        self.do_open_pieces();
        self.finished.wait_until(|| self.undone.0.load(Ordering::Acquire) == 0);
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(caller);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        true
    }

    /// Does pieces of all jobs, until the board is closed.
    pub(super) fn help(&self) {
        loop {
            self.opened.wait_until(|| {
                self.open.0.load(Ordering::Relaxed) > 0 || self.closed.load(Ordering::Relaxed)
            });
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            self.do_open_pieces();
        }
    }

    /// Sends the helpers home.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.opened.ring();
    }

    fn do_open_pieces(&self) {
        while let Some((number, job)) = self.take() {
            // What a piece leaves broken is its caller's, who sees the panic.
            let done = catch_unwind(AssertUnwindSafe(|| (job.work)(number)));
            if let Err(panic) = done {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            if self.undone.0.fetch_sub(1, Ordering::Release) == 1 {
                self.finished.ring();
            }
        }
    }

    /// The next piece of the job that is up, in the order of their numbers.
    fn take(&self) -> Option<(usize, Job)> {
        let one_less = |open: usize| open.checked_sub(1);
        let open = self.open.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_less).ok()?;
        // SAFETY: the piece is now ours and undone, so that the caller, who wrote the job before
        // opening it, waits for us before another is written.
        let job = unsafe { *self.job.get() }.expect("what is open has a job");
        Some((job.pieces - open, job))
    }
}
