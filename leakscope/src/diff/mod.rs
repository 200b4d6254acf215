//! What changed between two reports: pure functions of them.
//!
//! [`compare`] is the whole of it. `program` tells whether the reports are of one program and what else
//! makes them hard to compare, `key` says which stacks are the same in another build or run, `pairs`
//! matches sites, `sections` takes their differences, `series` puts the growth since an earlier report into a
//! later one, `headline` finds the sentence, and `model` is the result and its JSON.

mod headline;
pub(crate) mod key;
pub mod model;
pub(crate) mod pairs;
mod program;
mod sections;
pub mod series;
pub mod words;

pub use model::Diff;
pub use program::DifferentPrograms;

use crate::report::Report;
use key::Keys;

/// What a comparison is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Reports of different programs are compared, too.
    pub any_program: bool,
    /// Sites of the heap are ranked by the growth of their objects, not of their bytes.
    pub by_objects: bool,
}

/// What `new` has more than `old`, and what less.
pub fn compare(old: &Report, new: &Report, options: Options) -> Result<Diff, DifferentPrograms> {
    let mut notes = Vec::new();
    program::check(old, new, options.any_program, &mut notes)?;
    notes.extend(old.unread.iter().chain(&new.unread).cloned());
    let mut keys = Keys::new(old, new);
    let mut diff = Diff {
        schema: model::SCHEMA.to_owned(),
        leakscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        old: program::side(old),
        new: program::side(new),
        notes: Vec::new(),
        summary: model::Summary::default(),
        memory: sections::memory(old, new),
        heap: sections::heap(old, new, &mut keys, options.by_objects),
        waits: sections::waits(old, new, &mut keys),
        goroutines: sections::goroutines(old, new, &mut keys),
        threads: sections::threads(old, new),
    };
    notes.extend(keys.note());
    diff.notes = notes;
    diff.summary = headline::summary(&diff);
    Ok(diff)
}

#[cfg(test)]
mod tests;
