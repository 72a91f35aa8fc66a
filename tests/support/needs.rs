//! Trials that need something from outside.
//!
//! A test that was skipped in silence looks like one that passed. Here the need is asked for first: where it is
//! missing, the trial is reported as `ignored (reason)`, and where `CI` is `true` it fails, so that a
//! registry that went away is noticed.

use std::{env, fmt};

use libtest_mimic::{Completion, Failed, Trial};

/// Something from outside that is not here, and why. Never a bug of ours: those panic.
#[derive(Debug)]
pub(crate) struct Missing {
    /// As the person who would install it names it.
    pub(crate) what: String,
    /// One line.
    pub(crate) why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs `{}`: {}", self.what, self.why)
    }
}

/// A test named `name` that runs `body` with what `need` gives.
pub(crate) fn trial<N>(
    name: &str,
    need: impl FnOnce() -> Result<N, Missing> + Send + 'static,
    body: impl FnOnce(N) + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match need() {
        Ok(needed) => {
            body(needed);
            Ok(Completion::Completed)
        }
        Err(missing) if on_ci() => Err(Failed::from(missing)),
        Err(missing) => Ok(Completion::ignored_with(missing)),
    })
}

fn on_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}
