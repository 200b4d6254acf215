//! leakscope attaches to a running process and tells what holds its memory.
//!
//! Data flows one way: [`process`] (process, mappings, ELF) -> [`probe`] (which functions, which instruction) -> [`bpf`]
//! (load, attach, maps, ring buffer; the only module that imports aya) -> [`stack`] (interned stacks) -> [`collect`]
//! (where facts come from, one folder each) -> [`section`] (heap, waits, goroutines, threads: a folder each, behind one
//! trait, in one list) -> [`report`] (what is around them) -> [`export`] and [`tui`]. `tests/sources.rs` has the order of
//! all modules and fails on an import against it.
//!
//! Beside the stream: [`unwind`] builds the rows that the kernel side unwinds by, [`symbol`] names frames, [`wait`] knows
//! what blocked threads wait for and [`peers`] who is at the other end, [`runtime`] has what each language adds (one folder and one row of a list each), and
//! sections and exporters write on what [`layout`] offers. [`session`] arms, polls and asks, and alone sees both ends;
//! [`recording`] keeps what it has read, to be replayed. [`diff`] compares two reports, [`threshold`] tells when to fail,
//! [`processes`] samples what all processes of the machine hold, [`cli`] holds the subcommands. [`failure`] says what an
//! error means for the exit code, [`losses`] names what was missed, [`human`] writes numbers for people. [`files`] is the
//! only module that opens or makes what others have a say in, [`interrupt`] counts the signals that ask for the end,
//! [`zstandard`] packs and unpacks.
//!
//! [`glossary`] has the words of all of them, one meaning each.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a test lists its cases, made data its members"))]

pub mod bpf;
pub mod cli;
pub mod collect;
pub mod diff;
pub mod export;
pub mod failure;
pub mod files;
pub mod glossary;
pub mod human;
pub mod interrupt;
pub mod layout;
pub mod losses;
pub mod peers;
pub mod probe;
pub mod process;
pub mod processes;
pub mod recording;
pub mod report;
pub mod runtime;
pub mod section;
pub mod session;
pub mod stack;
pub mod symbol;
pub mod threshold;
pub mod tui;
pub mod unwind;
pub mod wait;
pub mod zstandard;
