//! Unwind rows from `.eh_frame`, the table that the kernel side looks them up in, and the userspace walk.
//!
//! `rows` turns a file's call frame information into [`FileRows`] (`section` finds it, `rule` fits
//! one rule into a row, `wide` what no row can hold into a rule behind the rows,
//! `prologue` makes rows of code that has no such
//! information, `makecontext` ends coroutines); [`UnwindTable`] joins the rows of all mapped files into the two flat arrays
//! that are uploaded; [`mapping_entry`] ties a mapping of the target to its file's part of the table;
//! [`walk`] does in userspace what the kernel side does, with the same lookup and the same step.

mod makecontext;
mod mapping;
mod prologue;
mod rows;
mod rule;
mod section;
mod table;
mod walk;
mod wide;

#[cfg(test)]
mod tests;

#[cfg(test)]
use mapping::image_entry;
pub use mapping::{anonymous_entry, file_parts, mapping_entry};
pub use rows::{FileRows, RowStats, RowsError, build, build_from_sections};
#[cfg(test)]
use rows::{build_from_code, build_from_image};
pub use table::{FileSlot, Pending, TableFull, UnwindTable};
pub use walk::{PendingReturns, Walked, walk};
