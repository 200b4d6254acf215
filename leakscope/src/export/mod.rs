//! Reports as files and tables: pure functions of the report.
//!
//! [`json`], [`jsonl`], [`table`], [`firefox`] and [`html`] show a whole report. [`profile`] takes one question out of it, in the
//! terms of Go's profiles; [`pprof`], [`text`], [`folded`] and [`flamegraph`] write that. [`names`] makes
//! what comes from the target harmless in all of these. Each is an [`Exporter`], and [`EXPORTERS`] lists them.

pub mod exporter;
pub mod firefox;
pub mod flamegraph;
pub mod folded;
pub mod html;
pub mod json;
pub mod jsonl;
pub mod names;
pub mod people;
pub mod pprof;
pub mod profile;
pub mod table;
pub mod text;
mod tree;

#[cfg(test)]
mod tests;

pub use exporter::Exporter;

/// All formats, in the order of `--help`.
pub const EXPORTERS: &[&dyn Exporter] = &[
    &people::Table,
    &json::Json,
    &jsonl::JsonLines,
    &pprof::Pprof,
    &text::Text,
    &folded::Folded,
    &flamegraph::Flamegraph,
    &firefox::Firefox,
    &html::Html,
];
