//! The bandwidth cap: bytes are accounted when they arrive, and whoever read them waits until the cap allows them.
//! Reading no further is what slows the sender: its window closes.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How far reality may run ahead of the cap before anybody waits: below a timer's resolution waiting is noise.
const SLACK: Duration = Duration::from_millis(5);

pub(crate) struct Throttle {
    bytes_per_s: u64,
    /// When the bytes accounted so far would have arrived at exactly the cap.
    paid_until: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid_until: Mutex::new(None) }
    }

    pub(crate) async fn take(&self, bytes: u64) {
        let due = self.account(Instant::now(), bytes);
        if due > Instant::now() + SLACK {
            tokio::time::sleep_until(due).await;
        }
    }

    fn account(&self, now: Instant, bytes: u64) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        let mut paid_until = self.paid_until.lock().expect("no holder panics");
        let due = paid_until.map_or(now, |paid| paid.max(now)) + cost;
        *paid_until = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_due_at_the_rate_and_idle_time_is_not_saved_up() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        assert_eq!(throttle.account(start, 500), start + Duration::from_millis(500));
        assert_eq!(throttle.account(start, 500), start + Duration::from_secs(1));
        let later = start + Duration::from_secs(9);
        assert_eq!(throttle.account(later, 1000), later + Duration::from_secs(1));
    }
}
