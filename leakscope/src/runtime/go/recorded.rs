//! What a report is told of a Go program, as a recording keeps it.

use serde::{Deserialize, Serialize};

use super::Observed;
use super::aggregate::{GoHeapSnapshot, GoroutineSites};
use super::creations::GoCreation;
use super::held::GoHeld;
use super::leaked::GoLeaks;
use super::mem_stats::MemoryAccount;
use super::named::{GoCode, GoFile};
use super::several::GoRuntimeSeen;
use super::waits::GoWaits;

/// A Go program at the moment of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedGo {
    file: Option<String>,
    build_id: Option<String>,
    bias: u64,
    text: (u64, u64),
    main_module: Option<String>,
    #[serde(default)]
    others: Vec<GoFile>,
    settings: Vec<(String, String)>,
    snapshot: Option<GoroutineSites>,
    #[serde(default)]
    leaks: Option<GoLeaks>,
    creations: Option<Vec<GoCreation>>,
    refused: Option<String>,
    #[serde(default)]
    waits: Option<GoWaits>,
    heap: Option<GoHeapSnapshot>,
    #[serde(default)]
    memory: Option<MemoryAccount>,
    #[serde(default)]
    memory_refused: Option<String>,
    #[serde(default)]
    held: Option<GoHeld>,
    #[serde(default)]
    held_before: Option<GoHeld>,
    #[serde(default)]
    held_refused: Option<String>,
    #[serde(default)]
    godebug: Option<String>,
    #[serde(default)]
    has_c: bool,
    #[serde(default)]
    runtimes: Vec<GoRuntimeSeen>,
}

impl RecordedGo {
    /// What the report was told.
    pub fn of(observed: &Observed<'_>) -> Self {
        let GoCode { file, build_id, bias, text, main_module, others } = observed.code;
        Self {
            file: file.map(ToOwned::to_owned),
            build_id: build_id.map(ToOwned::to_owned),
            bias,
            text,
            main_module: main_module.map(ToOwned::to_owned),
            others: others.to_vec(),
            settings: observed.settings.to_vec(),
            snapshot: observed.snapshot.cloned(),
            leaks: observed.leaks.cloned(),
            creations: observed.creations.map(ToOwned::to_owned),
            refused: observed.refused.map(ToOwned::to_owned),
            waits: observed.waits.cloned(),
            heap: observed.heap.cloned(),
            memory: observed.memory.cloned(),
            memory_refused: observed.memory_refused.map(ToOwned::to_owned),
            held: observed.held.cloned(),
            held_before: observed.held_before.cloned(),
            held_refused: observed.held_refused.map(ToOwned::to_owned),
            godebug: observed.godebug.map(ToOwned::to_owned),
            has_c: observed.has_c,
            runtimes: observed.runtimes.to_vec(),
        }
    }

    /// The same again.
    pub fn observed(&self) -> Observed<'_> {
        Observed {
            code: GoCode {
                file: self.file.as_deref(),
                build_id: self.build_id.as_deref(),
                bias: self.bias,
                text: self.text,
                main_module: self.main_module.as_deref(),
                others: &self.others,
            },
            settings: &self.settings,
            snapshot: self.snapshot.as_ref(),
            leaks: self.leaks.as_ref(),
            creations: self.creations.as_deref(),
            refused: self.refused.as_deref(),
            waits: self.waits.as_ref(),
            heap: self.heap.as_ref(),
            memory: self.memory.as_ref(),
            memory_refused: self.memory_refused.as_deref(),
            held: self.held.as_ref(),
            held_before: self.held_before.as_ref(),
            held_refused: self.held_refused.as_deref(),
            godebug: self.godebug.as_deref(),
            has_c: self.has_c,
            runtimes: &self.runtimes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::goroutines::build::tests::{chat, look, seen};

    #[test]
    fn a_go_program_is_told_of_as_it_was() {
        let mut snapshot = seen(&[look(0, &[(3, "chan receive")]), look(9, &[(5, "chan receive")])]);
        snapshot.losses = vec![(crate::losses::GO_UNSETTLED, 2)];
        let heap = GoHeapSnapshot::default();
        let told =
            Observed { code: chat(), snapshot: Some(&snapshot), heap: Some(&heap), ..Observed::default() };
        let tape = serde_json::to_string(&RecordedGo::of(&told)).expect("JSON");
        let again: RecordedGo = serde_json::from_str(&tape).expect("the same");
        assert_eq!(format!("{:?}", again.observed()), format!("{told:?}"));
    }
}
