//! What a report is told of a process by its runtimes, as a recording keeps it.

use serde::{Deserialize, Serialize};

use super::{Observed, Runtime, go};

/// The runtimes of a process at the moment of a report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordedRuntime {
    version: Option<String>,
    go: Option<go::RecordedGo>,
}

impl RecordedRuntime {
    /// What the report was told.
    pub fn of(observed: &Observed<'_>) -> Self {
        Self {
            version: observed.version.map(ToOwned::to_owned),
            go: observed.go.as_ref().map(go::RecordedGo::of),
        }
    }

    /// The same again, of a process that is named by `runtime`.
    pub fn observed(&self, runtime: &'static dyn Runtime) -> Observed<'_> {
        Observed {
            version: self.version.as_deref(),
            go: self.go.as_ref().map(go::RecordedGo::observed),
            ..Observed::unread(runtime)
        }
    }
}
