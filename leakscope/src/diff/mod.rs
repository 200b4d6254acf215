//! What changed between two reports: pure functions of them.
//!
//! [`compare`] is the whole of it. `program` tells whether the reports are of one program and what else
//! makes them hard to compare, the sections ([`crate::section`]) tell what changed in them, `headline` puts that in
//! order, `series` puts the growth since an earlier report into a later one, `model` is the result and its JSON, and
//! `words` has the sentences that are of no section.

mod headline;
pub mod model;
mod program;
pub mod series;
pub mod words;

pub use model::Diff;
pub use program::DifferentPrograms;

use crate::report::Report;
use crate::section::growth::growth;
use crate::section::key::Keys;
use crate::section::{Section, Sides};
use model::MemoryDiff;

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
    let mut diff = Diff::without_sections(
        model::SCHEMA.to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
        (program::side(old), program::side(new)),
        memory(old, new),
    );
    notes.extend(with_sides(old, new, options.by_objects, |sides, keys| {
        diff.compare_sections(sides, old, new, keys);
        keys.note()
    }));
    diff.notes = notes;
    diff.summary = headline::summary(&diff);
    Ok(diff)
}

/// The resident sets.
fn memory(old: &Report, new: &Report) -> Option<MemoryDiff> {
    let (old, new) = (old.memory.rss_end_bytes?, new.memory.rss_end_bytes?);
    Some(MemoryDiff { old_rss_bytes: old, new_rss_bytes: new, growth_bytes: growth(old, new) })
}

/// Numbers for the frames of two reports.
pub(crate) fn keys<'a>(old: &'a Report, new: &'a Report) -> Keys<'a> {
    let stacks = |report: &'a Report| {
        let mut stacks = Vec::new();
        report.sections().into_iter().for_each(|section| section.stacks(&mut |stack| stacks.push(stack)));
        stacks.into_iter()
    };
    Keys::new(program::one_account(old, new), stacks(old), stacks(new))
}

/// Calls `then` with what sections must know of two reports.
fn with_sides<'a, T>(
    old: &'a Report,
    new: &'a Report,
    by_objects: bool,
    then: impl FnOnce(&Sides<'_>, &mut Keys<'a>) -> T,
) -> T {
    let (all_old, all_new): (Vec<&dyn Section>, Vec<&dyn Section>) = (old.sections(), new.sections());
    let sides = Sides {
        by_objects,
        one_account: program::one_account(old, new),
        separate_windows: program::separate_windows(old, new),
        windows_ns: (old.window.duration_ns, new.window.duration_ns),
        one_build: program::one_build(old, new),
        old: &all_old,
        new: &all_new,
    };
    then(&sides, &mut keys(old, new))
}

#[cfg(test)]
mod tests;
