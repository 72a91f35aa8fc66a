//! Threads that stand ready for the operations of one caller.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use super::board::Board;

/// Some threads, and the thread that calls them: what operations spread themselves over.
///
/// Operations use the team that their caller has [entered](Team::enter); outside of any, the
/// process's, which has a thread for each processor that this process may use. A caller works
/// itself, and while a team works for one caller, another finds its operations done by itself alone.
/// Dropping a team ends its threads.
pub struct Team {
    pub(super) board: Arc<Board>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of so many threads, the caller among them. Where the system gives fewer, it is as
    /// large as that.
    #[must_use]
    pub fn new(threads: NonZero<usize>) -> Self {
        let board = Arc::new(Board::default());
        let helper = |index: usize| {
            let board = Arc::clone(&board);
            let name = format!("compute-{index}");
            // A piece of work that is made of operations does them alone.
            let help = move || Arc::new(Self::alone()).enter(|| board.help());
            thread::Builder::new().name(name).spawn(help).ok()
        };
        let helpers = (1..threads.get()).map_while(helper).collect();
        Self { board, helpers }
    }

    fn alone() -> Self {
        Self::new(NonZero::<usize>::MIN)
    }

    /// As many threads as this process may use processors: those of its affinity, and no more than
    /// the CPU quota of its control groups has whole ones. What is left of a quota feeds the
    /// threads that fetch.
    #[must_use]
    pub fn default_threads() -> NonZero<usize> {
        thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
    }

    /// How many threads work, the caller among them.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `operations` with this team as that of the calling thread.
    pub fn enter<R>(self: &Arc<Self>, operations: impl FnOnce() -> R) -> R {
        let before = ENTERED.replace(Some(Arc::clone(self)));
        let _leave = Leave(before);
        operations()
    }

    /// The team of the calling thread.
    pub(super) fn current() -> Arc<Self> {
        ENTERED.with_borrow(Clone::clone).unwrap_or_else(|| Arc::clone(Self::of_process()))
    }

    fn of_process() -> &'static Arc<Self> {
        static PROCESS: OnceLock<Arc<Team>> = OnceLock::new();
        PROCESS.get_or_init(|| Arc::new(Self::new(Self::default_threads())))
    }

    /// Calls `work` with each number below `pieces`, on all threads that have time. Panics as the
    /// work does.
    pub(super) fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || pieces < 2 || !self.board.run(pieces, work) {
            (0..pieces).for_each(work);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.board.close();
        for helper in self.helpers.drain(..) {
            helper.join().expect("a helper catches the panics of its work");
        }
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads()).finish()
    }
}

/// Makes the thread leave a team on the way out, panicking or not.
struct Leave(Option<Arc<Team>>);

impl Drop for Leave {
    fn drop(&mut self) {
        ENTERED.set(self.0.take());
    }
}

thread_local! {
    static ENTERED: RefCell<Option<Arc<Team>>> = const { RefCell::new(None) };
}
