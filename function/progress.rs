//! How far the load is, on a terminal; nothing where standard error is not one.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use firstlight_store::Reader;
use indicatif::{ProgressBar, ProgressStyle};

/// Ten times a second: what an eye follows.
const EVERY: Duration = Duration::from_millis(100);

/// A bar that is drawn until it is dropped.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    ended: Arc<AtomicBool>,
}

impl Progress {
    /// Follows the weights that `reader` fetches, `total_bytes` of them, if any.
    pub(crate) fn follow(reader: &Reader, total_bytes: Option<u64>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let Some(total_bytes) = total_bytes.filter(|_| stderr().is_terminal()) else {
            return Self { bar: None, ended };
        };
        let bar = ProgressBar::new(total_bytes).with_style(style());
        let (reader, drawn, stop) = (reader.clone(), bar.clone(), Arc::clone(&ended));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                drawn.set_position(reader.landed_bytes());
                thread::sleep(EVERY);
            }
        });
        Self { bar: Some(bar), ended }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30.cyan} {bytes} of {total_bytes}  {bytes_per_sec}  {eta}")
        .expect("the template is a constant")
}
