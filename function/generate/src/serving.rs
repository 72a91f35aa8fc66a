//! What an engine and an embedder have in common: from the first job that is taken to the reason why
//! none is taken any more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Error;
use crate::engine::Refusal;

/// Whether jobs are taken.
pub(crate) enum Phase {
    Serving,
    /// Nothing is taken any more, and nothing goes on past this moment.
    Stopping {
        deadline: Instant,
    },
    Failed(Arc<Error>),
}

impl Phase {
    /// Refuses where nothing is taken.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Serving => Ok(()),
            Self::Stopping { .. } => Err(Refusal::Stopping),
            Self::Failed(error) => Err(Refusal::Failed(Arc::clone(error))),
        }
    }

    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        match self {
            Self::Failed(error) => Some(Arc::clone(error)),
            Self::Serving | Self::Stopping { .. } => None,
        }
    }

    /// Says whether this changes anything: who stops a second time may wish it sooner, not later.
    pub(crate) fn stop(&mut self, drain: Duration) -> bool {
        let now = Instant::now();
        let asked = now.checked_add(drain.min(LONGEST_DRAIN)).unwrap_or(now);
        let is_sooner = match self {
            Self::Serving => true,
            Self::Stopping { deadline } => asked < *deadline,
            Self::Failed(_) => false,
        };
        if is_sooner {
            *self = Self::Stopping { deadline: asked };
        }
        is_sooner
    }

    /// The reason for all who ask from now on, where nothing else is said to them already.
    pub(crate) fn fail(&mut self, error: &Arc<Error>) {
        if matches!(self, Self::Serving) {
            *self = Self::Failed(Arc::clone(error));
        }
    }

    /// What a worker does that has something to compute or not, for which jobs have arrived or not,
    /// and whose weights are still loading or not.
    pub(crate) fn next(&self, is_busy: bool, has_arrived: bool, is_loading: bool) -> Next {
        if self.is_over(!is_busy) {
            Next::End
        } else if is_busy {
            Next::Pass
        } else if has_arrived {
            Next::LetIn
        } else if is_loading {
            Next::Pull
        } else {
            Next::Sleep
        }
    }

    /// Whether a worker that was told to stop does, now that it has nothing more to do or has.
    pub(crate) fn is_over(&self, is_idle: bool) -> bool {
        matches!(self, Self::Stopping { deadline } if is_idle || Instant::now() >= *deadline)
    }

    /// Why there is no answer where the worker is gone.
    pub(crate) fn without_worker(&self) -> Error {
        match self {
            Self::Serving => Error::EngineGone,
            Self::Stopping { .. } | Self::Failed(_) => Error::EngineStopped,
        }
    }
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Computes what there is.
    Pass,
    /// Takes in who came meanwhile.
    LetIn,
    /// Takes weights as they arrive.
    Pull,
    Sleep,
    End,
}

/// Does `serve`, whose panic is an error like others.
pub(crate) fn guarded(serve: impl FnOnce() -> Result<(), Error>) -> Result<(), Arc<Error>> {
    let ended = catch_unwind(AssertUnwindSafe(serve));
    ended.unwrap_or_else(|panic| Err(panicked(&*panic))).map_err(Arc::new)
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::EnginePanicked { message: text.unwrap_or("it did not say why").to_owned() }
}

/// A year, which every clock can be asked for.
const LONGEST_DRAIN: Duration = Duration::from_hours(24 * 365);

/// What the model says of itself.
pub(crate) fn failed(error: firstlight_model::Error) -> Error {
    Error::Model(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_again_may_wish_it_sooner_and_never_later() {
        let mut phase = Phase::Serving;
        assert!(phase.stop(Duration::MAX), "any time can be asked for");
        assert!(!phase.is_over(false) && phase.is_over(true));
        assert!(phase.stop(Duration::ZERO) && phase.is_over(false));
        assert!(!phase.stop(Duration::MAX) && phase.is_over(false));
        let mut failed = Phase::Failed(Arc::new(Error::EngineGone));
        assert!(!failed.stop(Duration::ZERO) && failed.failure().is_some());
    }
}
