//! .NET: told apart, never blamed. Its frames and objects are not read.

use super::{OwnHeap, Runtime, Signs};
use crate::symbol::{BlameRules, CodeTable};

/// Programs that CoreCLR runs.
#[derive(Debug)]
pub struct DotNet;

impl Runtime for DotNet {
    fn name(&self) -> &'static str {
        "dotnet"
    }

    fn signs(&self) -> Signs {
        Signs { programs: &["dotnet"], libraries: &["libcoreclr.so"], ..Signs::NONE }
    }

    fn own_heap(&self) -> Option<OwnHeap> {
        Some(OwnHeap { files: &["libcoreclr"], why: ".NET's heap is mapped by its runtime" })
    }

    fn blame(&self) -> BlameRules {
        BlameRules {
            // What it runs is the user's, but has no frames of its own.
            frameworks: CodeTable { modules: &["libcoreclr", "libclrjit"], ..CodeTable::NONE },
            ..BlameRules::NONE
        }
    }
}
