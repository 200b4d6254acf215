//! Goroutines that can never run again: what could wake them is reached by nothing that can still run.
//!
//! It is what Go's own collector does for its goroutine leak profile (`runtime/mgc.go`, Go 1.27,
//! `findGoroutineLeaks`), from outside and for versions that have none. Goroutines that can run are the beginning
//! (`scan`), with variables and finalizers (`roots`); what they reach is followed through the heap
//! (`objects`). Whoever waits for something that is reached (`notes`, `reasons`) can run, too, and so on until
//! nothing is added. Stacks of parked goroutines count by the compiler's maps alone (`stack_maps`): a variable that
//! is not used any more keeps nothing.
//!
//! The program goes on while it is read, so that one look is no proof: a pointer may move from what is yet to be read
//! to what was. Each look ends with another one at what has changed, and a goroutine is told of only if two of
//! up to six looks find it and it has not moved since (`proof`).

pub(super) mod goroutines;
mod notes;
mod objects;
mod proof;
mod reasons;
pub(super) mod roots;
mod scan;
pub(super) mod stack_maps;
pub(super) mod stacks;
mod watch;

#[cfg(any(test, feature = "test-support"))]
pub use proof::look;
pub use proof::{GoLeaks, Proof, prove};
pub use watch::LeakWatch;
