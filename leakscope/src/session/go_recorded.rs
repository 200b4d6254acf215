//! What a report is told of a Go program, as a recording keeps it.

use serde::{Deserialize, Serialize};

use crate::collect::heap::Sort;
use crate::report::build::GoInputs;
use crate::report::go_frames::GoCode;
use crate::report::go_heap::GoHeapInputs;
use crate::runtime::go::aggregate::{GoHeapSnapshot, GoroutineSnapshot};
use crate::runtime::go::creations::GoCreation;

/// A Go program at the moment of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordedGo {
    version: String,
    file: Option<String>,
    build_id: Option<String>,
    bias: u64,
    text: (u64, u64),
    main_module: Option<String>,
    settings: Vec<(String, String)>,
    snapshot: Option<GoroutineSnapshot>,
    creations: Option<Vec<GoCreation>>,
    refused: Option<String>,
    heap: Option<GoHeapSnapshot>,
}

impl RecordedGo {
    /// What the report was told.
    pub(super) fn of(inputs: &GoInputs<'_>) -> Self {
        let GoCode { file, build_id, bias, text, main_module } = inputs.code;
        Self {
            version: inputs.version.to_owned(),
            file: file.map(ToOwned::to_owned),
            build_id: build_id.map(ToOwned::to_owned),
            bias,
            text,
            main_module: main_module.map(ToOwned::to_owned),
            settings: inputs.settings.to_vec(),
            snapshot: inputs.snapshot.cloned(),
            creations: inputs.creations.map(ToOwned::to_owned),
            refused: inputs.refused.map(ToOwned::to_owned),
            heap: inputs.heap.map(|heap| heap.snapshot.clone()),
        }
    }

    /// The same again.
    pub(super) fn inputs(&self, sort: Sort) -> GoInputs<'_> {
        GoInputs {
            version: &self.version,
            code: GoCode {
                file: self.file.as_deref(),
                build_id: self.build_id.as_deref(),
                bias: self.bias,
                text: self.text,
                main_module: self.main_module.as_deref(),
            },
            settings: &self.settings,
            snapshot: self.snapshot.as_ref(),
            creations: self.creations.as_deref(),
            refused: self.refused.as_deref(),
            heap: self.heap.as_ref().map(|snapshot| GoHeapInputs { snapshot, sort }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::goroutines::tests::{chat, look, seen};

    #[test]
    fn a_go_program_is_told_of_as_it_was() {
        let mut snapshot = seen(&[look(0, &[(3, "chan receive")]), look(9, &[(5, "chan receive")])]);
        snapshot.losses = vec![(crate::losses::GO_UNSETTLED, 2)];
        let heap = GoHeapSnapshot::default();
        let heap = Some(GoHeapInputs { snapshot: &heap, sort: Sort::Growth });
        let told = GoInputs {
            version: "go1.24",
            code: chat(),
            snapshot: Some(&snapshot),
            heap,
            ..GoInputs::default()
        };
        let tape = serde_json::to_string(&RecordedGo::of(&told)).expect("JSON");
        let again: RecordedGo = serde_json::from_str(&tape).expect("the same");
        assert_eq!(format!("{:?}", again.inputs(Sort::Growth)), format!("{told:?}"));
    }
}
