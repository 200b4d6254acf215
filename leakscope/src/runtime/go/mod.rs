//! Go programs, read from outside: nothing is stopped, written or injected.
//!
//! [`program`] finds a Go program and its tables: [`buildinfo`] (version and settings), [`moduledata`]
//! (the runtime's description of itself), [`pclntab`] (functions and lines, which stripping leaves),
//! [`offsets`] (layouts by version), [`code`] (variables, by what the runtime's functions refer to),
//! [`allgs`] and [`wait_reasons`]. [`goroutine_reader`] reads all goroutines with their stacks
//! ([`unwind`], [`frames`], [`labels`]) into plain data ([`goroutine`]), and [`heap`] what the heap holds into a
//! [`heap_account`]; [`aggregate`] adds both up by site. [`mem_stats`] reads what the runtime itself accounts for.
//! [`probes`] says where probes stand, `attach` attaches them; [`rows`] makes unwind rows of the tables, for threads
//! and live stacks, and [`named`] names their frames. [`mod@blame`] and [`idle`] judge stacks of goroutines, `rules`
//! those of threads. [`waits`] follows what goroutines wait for. `opened` is one runtime, and [`several`] all of a process, which the session holds. Every byte that is read ([`memory`], [`image`], [`bytes`]) may be a lie.
//!
//! No symbol is used, so a stripped program is read as any other. Offsets come from the table for the
//! versions that it has, which was made from their DWARF; for others from the program's own DWARF
//! ([`debug_info`]) or, where it has none, by [`calibrate`]; and what they lead to is checked each time
//! ([`error::GoError::SelfCheck`]).

pub mod aggregate;
pub mod allgs;
mod attach;
pub mod blame;
pub mod buildinfo;
pub mod bytes;
pub mod calibrate;
pub mod code;
pub mod creations;
pub mod debug_info;
mod defers;
pub mod error;
pub mod frames;
pub mod goroutine;
pub mod goroutine_reader;
pub mod heap;
pub mod heap_account;
pub mod held;
pub mod idle;
pub mod image;
pub mod labels;
pub mod leaked;
mod lock_circles;
mod locks;
pub mod mem_stats;
pub mod memory;
pub mod moduledata;
pub mod named;
pub mod offsets;
mod opened;
mod parked;
pub mod pclntab;
pub mod probes;
pub mod program;
mod recorded;
pub mod rows;
mod rules;
mod scheduling;
pub mod several;
#[cfg(any(test, feature = "test-support"))]
pub mod synthetic;
#[cfg(test)]
mod tests;
pub mod unwind;
pub mod wait_reasons;
pub mod waits;
mod windowed;

pub use opened::Observed;
pub use program::LayoutSource;
pub use recorded::RecordedGo;

use super::{Log, Opened, Options, Runtime, Signs};
use crate::process::{AddressSpace, Process};
use crate::symbol::BlameRules;
use crate::wait::idle::IdleRule;
use crate::wait::primitives::Library;

/// Programs and libraries that Go's own compiler has made.
#[derive(Debug)]
pub struct Go;

impl Runtime for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn signs(&self) -> Signs {
        Signs { contents: Some(|elf| buildinfo::find(elf).is_some()), ..Signs::NONE }
    }

    fn open(
        &self,
        process: &Process,
        space: &AddressSpace,
        options: Options,
        log: &mut dyn Log,
    ) -> Option<Box<dyn Opened>> {
        Some(Box::new(several::GoRuntimes::find(process.through, space, options, log)?))
    }

    fn describe(&self, process: &Process, space: &AddressSpace) -> Option<String> {
        opened::describe(process.through, space)
    }

    fn no_allocator(&self) -> Option<&'static str> {
        Some("a Go program: its heap is the Go runtime's own")
    }

    fn blame(&self) -> BlameRules {
        rules::BLAME
    }

    fn idle_rules(&self) -> &'static [IdleRule] {
        rules::IDLE
    }

    fn primitives(&self) -> &'static [Library] {
        rules::PRIMITIVES
    }
}
