//! The shapes of all sections, which are also their JSON.

pub use super::finding::{Code, Finding, Severity};
pub use super::frame::{Address, Frame};
pub use super::go_memory::model::{GoCollector, GoCpu, GoMemory, PartGrowth};
pub use super::goroutine_waits::model::{
    GoroutineRelease, GoroutineWaitKind, GoroutineWaitSite, GoroutineWaits,
};
pub use super::goroutines::model::{GoroutineCreation, GoroutinePlace, GoroutineSite, Goroutines};
pub use super::heap::model::{GoSizeClass, Heap, Site, Source, Totals};
pub use super::stack::{Cut, Stack, StackEnd};
pub use super::threads::model::{ThreadSite, Threads};
pub use super::waits::model::{
    Deadlock, DeadlockThread, HeldUp, LockHolder, LongWait, OwnerProcess, OwnerState, RunningThread, Since,
    WaitLock, WaitSite, WaitThread, Waits, Waker, WakerKind,
};
pub use crate::wait::WaitKind;
