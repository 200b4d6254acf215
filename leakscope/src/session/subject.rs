//! Who is observed, and since when: what a session knows as recording begins.

use serde::{Deserialize, Serialize};

use crate::collect::Wishes;
use crate::failure::Failure;
use crate::process::{Host, Process};
use crate::runtime::{self, Runtime};

/// The target and the begin of the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) process: Process,
    /// The name of the program that runs another one inside itself, if the target is one.
    pub(super) host: Option<String>,
    /// The name of its runtime.
    pub(super) runtime: String,
    /// What is collected.
    pub(super) wishes: Wishes,
    /// When recording began, CLOCK_MONOTONIC in ns.
    pub(super) started_ns: u64,
    /// The same, RFC 3339.
    pub(super) started_at: String,
    /// Resident set then.
    pub(super) rss_start: Option<u64>,
}

impl Subject {
    /// The program that runs another one inside itself, if the target is one.
    pub(super) fn host(&self) -> Option<&'static Host> {
        self.host.as_deref().and_then(Host::named)
    }

    /// Its runtime; one that is not known here counts as none.
    pub(super) fn runtime(&self) -> &'static dyn Runtime {
        runtime::by_name(&self.runtime).unwrap_or(&runtime::Native)
    }
}

/// What only a recording can answer.
pub(super) fn expected<T>(answer: Option<T>) -> Result<T, Failure> {
    answer
        .ok_or_else(|| Failure::failed(anyhow::anyhow!("a target that runs was asked for what is recorded")))
}
