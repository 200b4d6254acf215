//! Who is at the other end of what a blocked thread waits for: the processes that have the other end of a pipe or
//! socket open, that hold a lock on a file, or that are the children waited for; and threads of other processes whose
//! IDs stand in locks.
//!
//! All of it is read from `/proc` and, for UNIX sockets, asked of the kernel by sock_diag(7). No file of the target's is
//! opened, and none is looked up by its name, so that no file system has to answer. [`find`] takes all questions of a
//! snapshot at once: descriptors of all processes are looked through once, within a [`Budget`]. What could not be seen
//! in it is said to be unknown.
//!
//! Another end that is open in no process, but on its way in a message or registered with an io_uring, is not seen.

mod budget;
mod child;
mod descriptor;
mod holders;
mod inet;
mod locks;
mod model;
mod proc;
mod socket;
#[cfg(test)]
mod tests;
mod threads;
mod unix;

pub use budget::Budget;
pub use model::{End, Peer, PeerProcess, PeerState, What};
pub use proc::is_in;
pub use threads::{OtherThread, Others, others};

use holders::{Seek, Wanted};
use socket::Sockets;

/// The process whose threads wait.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub pid: u32,
    /// The thread through which its descriptors are reached.
    pub through: u32,
}

/// What a thread waits for, as its system call tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// A descriptor of the target.
    Descriptor {
        fd: i32,
        /// What is known of its file besides.
        file: File,
    },
    /// A lock on the file of a descriptor.
    Lock { fd: i32, kind: locks::Kind },
    /// Children.
    Children(child::Which),
    /// A FIFO that it opens, until another process does.
    Opening {
        /// The thread.
        tid: u32,
        /// The directory from which the path is looked up; `None`: the current one.
        directory: Option<i32>,
        /// The path, as the program gave it.
        path: Vec<u8>,
        /// The end that the others have to open.
        end: End,
    },
}

/// The type of a file that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    Fifo,
    Terminal,
    MessageQueue,
    /// Not known, or another one.
    Other,
}

pub use child::Which as Children;
pub use locks::Kind as LockKind;

/// Answers questions, as far as they can be: `None` if it is not known what the thread waits for.
pub fn find(target: Target, questions: &[Question], budget: &Budget) -> Vec<Option<Peer>> {
    let mut sockets = Sockets::new(target);
    let seeks: Vec<Option<Seek>> =
        questions.iter().map(|question| begin(target, question, &mut sockets, budget)).collect();
    let mut wanted = Wanted::new(target, seeks.iter().flatten());
    wanted.scan(budget);
    seeks.into_iter().map(|seek| seek.map(|seek| wanted.finish(seek, budget))).collect()
}

/// Says what it is, and where its other end is to be looked for.
fn begin(target: Target, question: &Question, sockets: &mut Sockets, budget: &Budget) -> Option<Seek> {
    match question {
        Question::Descriptor { fd, file } => descriptor::begin(target, *fd, *file, sockets, budget),
        Question::Lock { fd, kind } => locks::begin(target, *fd, *kind, budget),
        Question::Children(which) => child::children(target, *which, budget).map(Seek::done),
        Question::Opening { tid, directory, path, end } => {
            descriptor::opening(target, *tid, *directory, path, *end).map(Seek::done)
        }
    }
}
