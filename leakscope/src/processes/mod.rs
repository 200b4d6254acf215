//! The machine's processes by memory: what `leakscope top` lists.
//!
//! [`Sampler`] reads `/proc` and control groups; what it makes of them is pure: [`stat`] parses, [`history`]
//! keeps resident sets and tells how they grow, [`pool`] says where memory ends and when, [`place`] names
//! containers and units, [`find`] looks for processes by such names, `runtime` tells languages, [`threads`] counts blocked threads. The result is a
//! [`Snapshot`], which is also the JSON of `top --format json` (schema `leakscope.top/1`).
//!
//! What it costs: one `stat` and `statm` a process and refresh. Threads are looked at for the processes on the screen
//! and, in turn, for a bounded number of others; runtimes and control groups once a process, again only
//! after an exec or in long intervals.
//!
//! **Growth** is the least-squares slope over the last 15 seconds: it answers at once, and one jump fades.
//! **Forecasts** rest on the median of all slopes between two samples of half a minute (Theil and Sen), which one jump does
//! not move, of what is used in the whole pool (the machine, or the control group with the nearest end).

pub mod find;
pub mod history;
pub mod model;
pub mod place;
pub mod pool;
mod runtime;
mod sampler;
pub mod stat;
pub mod threads;

pub use model::{Order, Snapshot};
pub use sampler::{Sampler, Scope};
