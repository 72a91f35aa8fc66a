//! Steps that recur, each as one launch.
//!
//! A token of a small model is some hundred kernels, each over in less time than it takes to launch it. But the kernels
//! of one token are those of the next: what changes lies in memory at the same addresses. So the operations of a step
//! are held back and noted until all are known, and compared with those of earlier steps:
//!
//! - a step that is new is issued as it is;
//! - one that was seen once is captured as a [`Graph`], and launched;
//! - one that was captured is launched.
//!
//! What is launched is therefore always what was asked for, whatever it depended on: rows, buffers, parts of an
//! attention. A step that never comes again is never captured; the first pass, which waits for its weights, is not even
//! noted.

use std::cell::{Cell, RefCell};

use firstlight_kernels::cuda::Launch;

use super::graph::Graph;
use super::launch::Arguments;
use super::memory::Address;
use super::stream::Stream;
use crate::Error;

/// What a stream is told to do.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are launches")]
pub(super) enum Operation {
    Launch { launch: Launch, arguments: Arguments },
    Copy { from: Address, to: Address, bytes: usize },
}

/// The steps that were seen, and the one that is being noted.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Of the step that is being noted, if one is.
    noted: RefCell<Option<Vec<Operation>>>,
    /// The latest first.
    seen: RefCell<Vec<Step>>,
    /// They are issued as they come.
    are_plain: Cell<bool>,
}

#[derive(Debug)]
struct Step {
    operations: Vec<Operation>,
    /// Once it has come twice.
    graph: Option<Graph>,
}

impl Steps {
    /// From now on nothing is noted.
    pub(super) fn make_plain(&self) {
        self.are_plain.set(true);
    }

    /// Begins to note, unless steps are issued as they come.
    pub(super) fn begin(&self) -> bool {
        if self.are_plain.get() {
            return false;
        }
        let before = self.noted.replace(Some(Vec::with_capacity(self.usual_operations())));
        debug_assert!(before.is_none_or(|_| std::thread::panicking()), "a step within a step");
        true
    }

    /// Notes what would be issued; gives it back if nothing is being noted.
    pub(super) fn note(&self, operation: Operation) -> Option<Operation> {
        match &mut *self.noted.borrow_mut() {
            Some(noted) => {
                noted.push(operation);
                None
            }
            None => Some(operation),
        }
    }

    /// Whether what is issued now would come before what was noted.
    pub(super) fn are_noting(&self) -> bool {
        self.noted.borrow().is_some()
    }

    /// What was noted.
    pub(super) fn end(&self) -> Vec<Operation> {
        self.noted.take().expect("a step has begun")
    }

    /// Has `operations` done on `stream`: by `issue`, or by the graph of a step that was the same.
    pub(super) fn run(
        &self,
        operations: Vec<Operation>,
        stream: &Stream,
        issue: impl Fn(&Operation) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let issue_all = |operations: &[Operation]| operations.iter().try_for_each(&issue);
        let mut seen = self.seen.borrow_mut();
        let Some(index) = seen.iter().position(|step| step.operations == operations) else {
            issue_all(&operations)?;
            seen.insert(0, Step { operations, graph: None });
            seen.truncate(MOST_STEPS);
            return Ok(());
        };
        seen[..=index].rotate_right(1);
        let step = &mut seen[0];
        if step.graph.is_none() {
            match Graph::capture(stream, || issue_all(&step.operations)) {
                Ok(graph) => step.graph = Some(graph),
                Err(error) => self.give_up(&error),
            }
        }
        match &step.graph {
            Some(graph) => graph.launch(stream),
            None => issue_all(&step.operations),
        }
    }

    /// It costs time and nothing else. What is wrong with the device, if that is it, the plain launches will show.
    fn give_up(&self, error: &Error) {
        tracing::warn!(
            "each kernel is launched by itself, since a step cannot be captured: {error}"
        );
        self.make_plain();
    }

    fn usual_operations(&self) -> usize {
        self.seen.borrow().first().map_or(0, |step| step.operations.len())
    }
}

/// Steps differ by their number of rows, and by the length of their contexts in coarse steps: so many pairs come and go
/// while a dozen answers are written at once. A step's notes take 0.1 MB, and its graph some of the driver's memory.
const MOST_STEPS: usize = 32;
