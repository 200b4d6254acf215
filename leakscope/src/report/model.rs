//! The shape of a report, which is also its JSON (schema `leakscope.report/2`).
//!
//! snake_case; bytes and nanoseconds are integers with `_bytes` and `_ns`; times are RFC 3339;
//! addresses are hex strings; what is absent is null, never 0. Within /2 fields are only added.
//! The JSON Schema in `leakscope/schema/report.schema.json` is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::own_cost::{Meter, OwnCost};
use crate::losses;
use crate::runtime::RuntimeName;
use crate::section::made::{Facts, Made};
use crate::section::tables::{self, TablesHere};
use crate::section::view::{Tab, Tabbed, Viewed};
use crate::section::{Compared, Section, sections};

pub use super::summary::Summary;
pub use crate::section::model::*;

/// The schema of before: frames stand at each site. It is read, and not written.
pub const SCHEMA_1: &str = "leakscope.report/1";
/// The value of [`Report::schema`].
pub const SCHEMA: &str = "leakscope.report/2";

/// Makes the structure of all sections.
macro_rules! report {
    ($(
        $(#[doc = $doc:literal])* $field:ident: $section:path, $(#[doc = $diff_doc:literal])* $diff:path;
    )*) => {
        /// One report.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct Report {
            /// What was beside it in a saved file and could not be read. Not in the JSON; the findings tell it.
            #[serde(skip)]
            pub unread: Vec<String>,
            /// Stacks whose names are still being read, where it is shown before they are there. Not in
            /// the JSON; a finding tells it.
            #[serde(skip)]
            pub unnamed_stacks: u64,
            /// Always `leakscope.report/2`.
            pub schema: String,
            /// Version of the leakscope that wrote it.
            pub leakscope_version: String,
            /// The traced process.
            pub target: Target,
            /// When it was watched.
            pub window: Window,
            /// Its memory as the kernel counts it.
            pub memory: Memory,
            /// The answer in short.
            pub summary: Summary,
            $(
                $(#[doc = $doc])*
                pub $field: Option<$section>,
            )*
            /// What was lost, by name; empty if nothing was.
            pub losses: BTreeMap<String, u64>,
            /// The stacks of all sections, by number.
            #[serde(default, skip_serializing_if = "TablesHere::is_empty")]
            pub tables: TablesHere,
            /// What tracing cost.
            // It is measured while the report is written, so nothing may stand behind it.
            #[serde(serialize_with = "overhead_told")]
            #[schemars(with = "Overhead")]
            pub overhead: Overhead,
        }

        impl Report {
            /// A report in which no section is, and nothing was lost.
            pub fn without_sections(target: Target, window: Window, memory: Memory, overhead: Overhead) -> Self {
                Self {
                    unread: Vec::new(),
                    unnamed_stacks: 0,
                    schema: SCHEMA.to_owned(),
                    leakscope_version: env!("CARGO_PKG_VERSION").to_owned(),
                    target,
                    window,
                    memory,
                    summary: Summary::default(),
                    $($field: None,)*
                    losses: BTreeMap::new(),
                    tables: TablesHere,
                    overhead,
                }
            }

            /// Makes all sections of what was observed, and tells what was missed of that, by name.
            pub fn make_sections(&mut self, facts: &mut Facts<'_, '_>) -> Vec<(String, u64)> {
                let mut missing = 0;
                $(
                    self.$field = <$section as Made>::make(facts);
                    missing += self.$field.as_ref().map_or(0, Made::missing_stacks);
                )*
                let stacks = (missing > 0).then(|| (losses::STACKS_MISSING.to_owned(), missing));
                let read = [$(<$section as Made>::losses(facts)),*].concat();
                stacks.into_iter().chain(read).collect()
            }

            /// The sections that there are, in the order of the JSON.
            pub fn sections(&self) -> Vec<&dyn Section> {
                let all: Vec<Option<&dyn Section>> =
                    vec![$(self.$field.as_ref().map(|section| section as &dyn Section)),*];
                all.into_iter().flatten().collect()
            }

            /// A section by its tab on the screen of `top`.
            pub fn viewed(&self, tab: &Tab) -> Option<&dyn Viewed> {
                self.sections().into_iter().find(|section| section.name() == tab.section)?.viewed()
            }

            /// The codes of all that sections have to say.
            pub fn codes() -> Vec<&'static str> {
                [$(<$section as Compared>::CODES),*].concat()
            }

            /// The tabs of all sections that have one.
            pub fn tabs() -> Vec<&'static Tab> {
                [$(<$section as Tabbed>::TAB),*].into_iter().flatten().collect()
            }

            /// The sections, to be changed.
            pub fn sections_mut(&mut self) -> Vec<&mut dyn Section> {
                let all: Vec<Option<&mut dyn Section>> =
                    vec![$(self.$field.as_mut().map(|section| section as &mut dyn Section)),*];
                all.into_iter().flatten().collect()
            }
        }
    };
}
sections!(report);

/// The traced process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Process ID.
    pub pid: u32,
    /// Short name.
    pub comm: String,
    /// Path of the program, as the target names it.
    pub exe: Option<String>,
    /// GNU build ID of the program.
    #[serde(default)]
    pub build_id: Option<String>,
    /// Command line.
    pub cmdline: Vec<String>,
    /// The language's runtime, by the name that `top` gives it, too; those of newer versions of leakscope may be
    /// others.
    pub runtime: RuntimeName,
    /// Version of the runtime, where it has one.
    pub runtime_version: Option<String>,
    /// Container ID (12 digits), where the process runs in one.
    pub container: Option<String>,
    /// What a Go program says of how it was built.
    pub go: Option<GoProgram>,
}

/// What a Go program says of how it was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoProgram {
    /// Path of its main module.
    pub main_module: Option<String>,
    /// Settings of the build, such as `CGO_ENABLED` and `-trimpath`.
    pub settings: BTreeMap<String, String>,
    /// GODEBUG, in the environment that the process began with.
    #[serde(default)]
    pub godebug: Option<String>,
    /// The Go runtimes of the process, the one with most memory first: usually one, and one more for each library
    /// that was built with `-buildmode=c-shared`.
    #[serde(default)]
    pub runtimes: Vec<GoRuntime>,
}

/// A Go runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoRuntime {
    /// Path of the program or library that it is in, as the target names it.
    pub file: String,
    /// `go1.21.4`
    pub version: String,
    /// Whether it was loaded after leakscope came: its heap is not sampled, and its goroutines are not counted as they
    /// come and go.
    pub late: bool,
    /// Its goroutines, those of the runtime itself apart; null where they could not be read.
    pub goroutines: Option<u64>,
    /// Memory that it has from the system, what was returned left out; null where that could not be read.
    pub memory_bytes: Option<u64>,
    /// Whether its heap was sampled; one at most is.
    pub sampled: bool,
}

/// The time of observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// When every probe was active.
    pub started_at: String,
    /// How long the account covers.
    pub duration_ns: u64,
    /// Why it ended; null in a report of a window that goes on (`--interval`).
    pub ended_by: Option<EndedBy>,
}

/// Why the observation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// `--duration` was over.
    Duration,
    /// A signal to leakscope.
    Interrupt,
    /// The target ended.
    TargetExit,
    /// The target replaced its program.
    Exec,
}

/// Resident memory against what was traced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Resident set at the start.
    pub rss_start_bytes: Option<u64>,
    /// Resident set at the end (the last one seen, if the target has ended).
    pub rss_end_bytes: Option<u64>,
    /// Why the resident set grew much more than the traced heap, where it did.
    pub untraced_reason: Option<String>,
}

/// What tracing cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// Hits of all probes.
    pub probe_hits: u64,
    /// CPU time of leakscope itself, the making and writing of this report included.
    pub leakscope_cpu_ns: u64,
    /// CPU time added to the target: an estimate.
    pub estimated_target_cpu_ns: u64,
    /// How that was estimated.
    pub method: String,
    /// Stacks taken.
    pub stacks: u64,
    /// Of these, stacks that reached the root.
    pub stacks_root: u64,
    /// Kernel memory of the maps and leakscope's own resident memory.
    pub leakscope_memory_bytes: Option<u64>,
    /// The most resident memory that leakscope itself has had; reports of older versions do not tell.
    #[serde(default)]
    pub leakscope_max_rss_bytes: Option<u64>,
    /// Measures what leakscope itself has used when it is told.
    #[serde(skip)]
    pub meter: Meter,
}

impl Overhead {
    /// What tracing has cost until now, if it is the first time that somebody asks.
    pub fn told(&self) -> Self {
        let mut told = self.clone();
        if let Some(own) = self.meter.read() {
            told.own(own);
        }
        told
    }

    /// Takes in what leakscope itself has used.
    pub fn own(&mut self, own: OwnCost) {
        self.leakscope_cpu_ns = own.cpu_ns;
        self.leakscope_memory_bytes = own.memory_bytes;
        self.leakscope_max_rss_bytes = own.max_rss_bytes;
    }
}

fn overhead_told<S: Serializer>(overhead: &Overhead, to: S) -> Result<S::Ok, S::Error> {
    overhead.told().serialize(to)
}

/// The JSON Schema of a report, as text.
pub fn json_schema() -> String {
    let schema = tables::describing(|| schemars::schema_for!(Report));
    schema_text(schema, [Report::codes(), super::words::codes().to_vec()].concat())
}

/// A schema as text, with the codes of findings that this version writes. Others may follow.
pub(crate) fn schema_text(mut schema: schemars::Schema, codes: Vec<&'static str>) -> String {
    if let Some(code) = schema.pointer_mut("/$defs/Finding/properties/code") {
        code["examples"] = codes.into();
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Findings are told apart by their codes alone.
    #[test]
    fn codes_are_names_of_their_own() {
        let all = [&Report::codes(), super::super::words::codes(), crate::diff::words::codes()];
        let mut all = all.concat();
        let plain = |code: &str| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(all.iter().all(|code| plain(code) && **code != *Code::UNNAMED.name()), "{all:?}");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_schema_in_the_repository_is_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(kept, super::json_schema(), "run `cargo xtask schema` and commit {path}");
    }
}
