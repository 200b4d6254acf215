//! A runtime as reports and `top` name it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{RUNTIMES, Runtime, by_name};

/// The name of a runtime, as it was written. A report of a newer leakscope may name one that this one does not
/// have, and keeps that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuntimeName(Cow<'static, str>);

impl RuntimeName {
    /// The runtime, where this leakscope has it.
    pub fn runtime(&self) -> Option<&'static dyn Runtime> {
        by_name(&self.0)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<R: Runtime + ?Sized> From<&R> for RuntimeName {
    fn from(runtime: &R) -> Self {
        Self(Cow::Borrowed(runtime.name()))
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for RuntimeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("RuntimeName")
    }

    /// No `enum`: within a version of the JSON runtimes are added, and who validates by an older schema shall
    /// take them.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = RUNTIMES.iter().map(|runtime| runtime.name()).collect();
        json_schema!({ "type": "string", "examples": names })
    }
}
