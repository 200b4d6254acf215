//! leakscope attaches to a running process and tells what holds its memory.
//!
//! Data flows one way: [`target`] (process, mappings, ELF) -> [`probe`] (which functions, which
//! instruction) -> [`bpf`] (load, attach, maps, ring buffer; the only module that imports aya) ->
//! `stack` (interned stacks) -> `ledger` (the account, plain data) -> `report` (the model) ->
//! `export`. [`unwind`] builds the rows that the kernel side unwinds by. `session` wires everything
//! together; `symbol` is called while a report is built; `cli` holds the subcommands.

pub mod bpf;
pub mod probe;
pub mod target;
pub mod unwind;
