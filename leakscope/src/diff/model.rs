//! The shape of a difference, which is also its JSON (schema `leakscope.diff/2`).
//!
//! The rules are those of a report: snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`;
//! what is absent is null, never 0. `growth_…` is new less old. Within /2 fields are only added. The JSON
//! Schema in `leakscope/schema/diff.schema.json` is generated from these types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::report::model::schema_text;
use crate::section::key::Keys;
use crate::section::tables::{self, TablesHere};
use crate::section::{Between, Changed, Compared as _, Retold, Sides, sections};

pub use crate::report::model::{Frame, Stack, StackEnd, Summary, WaitKind};
pub use crate::section::growth::Change;

/// The value of [`Diff::schema`].
pub const SCHEMA: &str = "leakscope.diff/2";

/// Makes the structure of all sections.
macro_rules! diff {
    ($(
        $(#[doc = $doc:literal])* $field:ident: $section:path, $(#[doc = $diff_doc:literal])* $diff:path;
    )*) => {
        /// What changed from one report to another.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct Diff {
            /// Always `leakscope.diff/2`.
            pub schema: String,
            /// Version of the leakscope that wrote it.
            pub leakscope_version: String,
            /// The report that is compared with.
            pub old: Side,
            /// The report that is compared.
            pub new: Side,
            /// What makes the two hard to compare; empty if nothing does.
            pub notes: Vec<String>,
            /// The answer in short.
            pub summary: Summary,
            /// Memory as the kernel counts it.
            pub memory: Option<MemoryDiff>,
            $(
                $(#[doc = $diff_doc])*
                pub $field: Option<$diff>,
            )*
            /// The stacks of all sections, by number.
            #[serde(default, skip_serializing_if = "TablesHere::is_empty")]
            pub tables: TablesHere,
        }

        impl Diff {
            /// The sections that there are, in the order of the JSON.
            pub fn sections(&self) -> Vec<&dyn Changed> {
                let all: Vec<Option<&dyn Changed>> =
                    vec![$(self.$field.as_ref().map(|section| section as &dyn Changed)),*];
                all.into_iter().flatten().collect()
            }

            /// Compares all sections.
            pub(super) fn compare_sections<'a>(
                &mut self,
                sides: &Sides<'_>,
                old: &'a Report,
                new: &'a Report,
                keys: &mut Keys<'a>,
            ) {
                $(self.$field = <$section>::compare(sides, old.$field.as_ref(), new.$field.as_ref(), keys);)*
            }

            /// A difference in which no section is.
            pub(super) fn without_sections(
                schema: String,
                leakscope_version: String,
                (old, new): (Side, Side),
                memory: Option<MemoryDiff>,
            ) -> Self {
                Self {
                    schema,
                    leakscope_version,
                    old,
                    new,
                    notes: Vec::new(),
                    summary: Summary::default(),
                    memory,
                    $($field: None,)*
                    tables: TablesHere,
                }
            }
        }

        /// What is in one report alone: what it is called, and whether it is in the old one.
        pub(super) fn in_one(old: &Report, new: &Report) -> Vec<(&'static str, bool)> {
            let mut found = Vec::new();
            $(
                let (was, is) = (old.$field.is_some(), new.$field.is_some());
                found.extend(<$section>::CALLED.filter(|_| was != is).map(|called| (called, was)));
            )*
            found
        }

        /// Puts the growth of all sections since the first report into the last one. Returns what is to be said
        /// anew.
        pub(super) fn grow(first: &Report, last: &mut Report, between: Between) -> Vec<Retold> {
            let mut retold = Vec::new();
            $(
                let before = super::with_sides(first, last, false, |sides, keys| {
                    let both = first.$field.as_ref().zip(last.$field.as_ref());
                    both.map(|(was, is)| <$section>::before(sides, was, is, keys)).unwrap_or_default()
                });
                if let (Some(was), Some(is)) = (&first.$field, &mut last.$field) {
                    retold.extend(is.grow(was, &before, between));
                }
            )*
            retold
        }
    };
}
sections!(diff);

/// One of the two reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Process ID.
    pub pid: u32,
    /// Short name of the process.
    pub comm: String,
    /// Path of the program.
    pub exe: Option<String>,
    /// When the window began.
    pub started_at: String,
    /// How long the window is; 0 of a `dump`.
    pub duration_ns: u64,
    /// Whether nothing was lost and all that is compared is exact.
    pub exact: bool,
}

/// Resident sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryDiff {
    /// At the end of the old report's window.
    pub old_rss_bytes: u64,
    /// At the end of the new report's window.
    pub new_rss_bytes: u64,
    /// New less old.
    pub growth_bytes: i64,
}

/// The JSON Schema of a difference, as text.
pub fn json_schema() -> String {
    let schema = tables::describing(|| schemars::schema_for!(Diff));
    schema_text(schema, [Report::codes(), super::words::codes().to_vec()].concat())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_in_the_repository_is_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/diff.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, super::json_schema(), "run `cargo xtask schema` and commit {path}");
    }
}
