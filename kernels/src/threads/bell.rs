//! Waiting that costs little where it is short.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Wakes those who wait for a condition.
///
/// Who waits looks at the condition again and again for [`SPIN`], and then sleeps; who makes it
/// true rings. No ring is lost: the sleeper counts itself and then looks once more, the ringer
/// makes the condition true and then looks for sleepers, and of the two fences between these steps
/// one comes first, so that one of the two sees what the other did.
#[derive(Debug, Default)]
pub(super) struct Bell {
    sleepers: AtomicUsize,
    /// Held from the last look at the condition until asleep, and while ringing.
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// Comes back when `condition` holds.
    pub(super) fn wait_until(&self, condition: impl Fn() -> bool) {
        if !spin_until(&condition) {
            self.sleep_until(&condition);
        }
    }

    /// For whoever has just made the condition true.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.rung.notify_all();
        }
    }

    #[cold]
    fn sleep_until(&self, condition: &impl Fn() -> bool) {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.rung.wait_while(lock, |()| !condition());
        drop(woken.unwrap_or_else(PoisonError::into_inner));
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether it came true in time. After some looks the core is offered to others before each: to
/// a thread that fetches, or to the very one that is waited for.
fn spin_until(condition: &impl Fn() -> bool) -> bool {
    if look(condition) {
        return true;
    }
    let begun = Instant::now();
    while begun.elapsed() < SPIN {
        thread::yield_now();
        if look(condition) {
            return true;
        }
    }
    false
}

fn look(condition: &impl Fn() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        hint::spin_loop();
        condition()
    })
}

/// How long a thread looks before it sleeps. Between two products of a token lie up to 20
/// microseconds in which one thread norms, turns and asks a short context; waking a sleeper takes
/// about 50. More would be taken from the threads that fetch.
const SPIN: Duration = Duration::from_micros(50);

/// Looks in a row: about two microseconds. Offering the core costs half of one where nobody wants
/// it. Where one does, it halves a region's time (measured with both threads on one core: 14
/// microseconds where 13 are work, and 24 without).
const LOOKS: usize = 128;
