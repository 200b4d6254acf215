//! Go programs, read from outside: nothing is stopped, written or injected.
//!
//! [`program`] finds a Go program and its tables: [`buildinfo`] (version and settings), [`moduledata`]
//! (the runtime's description of itself), [`pclntab`] (functions and lines, which stripping leaves),
//! [`offsets`] (layouts by version), [`code`] (variables, by what the runtime's functions refer to),
//! [`all_goroutines`] and [`wait_reasons`]. [`goroutines`] reads all goroutines with their stacks
//! ([`unwind`], [`frames`], [`labels`]) into a [`census`], and [`heap`] what the heap holds into a
//! [`heap_account`]: plain data, which `report` takes. [`probes`] says where
//! probes stand; [`rows`] makes unwind rows of the tables, for
//! threads and live stacks. Every byte that is read ([`memory`], [`image`], [`bytes`]) may be a lie.
//!
//! No symbol is used, so a stripped program is read as any other. Offsets come from the table for the
//! versions that it has, which was made from their DWARF; for others from the program's own DWARF
//! ([`debug_info`]) or, where it has none, by [`calibrate`]; and what they lead to is checked each time
//! ([`error::GoError::SelfCheck`]).

pub mod aggregate;
pub mod all_goroutines;
pub mod buildinfo;
pub mod bytes;
pub mod calibrate;
pub mod census;
pub mod code;
pub mod creations;
pub mod debug_info;
pub mod error;
pub mod frames;
pub mod goroutines;
pub mod heap;
pub mod heap_account;
pub mod image;
pub mod labels;
pub mod memory;
pub mod moduledata;
pub mod offsets;
pub mod pclntab;
pub mod probes;
pub mod program;
pub mod rows;
#[cfg(any(test, feature = "test-support"))]
pub mod synthetic;
#[cfg(test)]
mod tests;
pub mod unwind;
pub mod wait_reasons;
