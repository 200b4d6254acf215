//! All tables that stacks are judged by.

use super::idle::IdleRule;
use super::primitives::{Library, Primitives};
use super::workers::WORKERS;
use crate::symbol::Owners;

/// Whose code a frame is, which functions wait, and which of them wait for work. Made once: of the tables of
/// libraries, which stand here, and of those of the runtimes ([`crate::runtime::rules`]).
#[derive(Debug)]
pub struct Rules {
    /// Who owns which code.
    pub owners: Owners,
    /// Functions that wait.
    pub primitives: Primitives,
    /// Loops of workers.
    pub workers: Vec<IdleRule>,
    /// Functions that run the code of a language that has no frames of its own.
    pub interpreters: Vec<&'static str>,
}

/// Interpreters whose runtime is not told apart. Sources: Ruby 3.1 vm.c; Lua 5.4 lvm.c; PHP 8.2
/// Zend/zend_vm_execute.h; Perl 5.36 run.c; Guile 3 libguile/vm.c; Tcl 8.6 generic/tclBasic.c.
const INTERPRETERS: &[&str] = &[
    "rb_vm_exec",
    "vm_exec",
    "luaV_execute",
    "lua_callk",
    "lua_pcallk",
    "execute_ex",
    "zend_execute",
    "Perl_runops_standard",
    "perl_run",
    "scm_call_n",
    "Tcl_EvalObjEx",
];

impl Rules {
    /// The tables of libraries, with those of runtimes.
    pub fn with(
        owners: Owners,
        primitives: impl IntoIterator<Item = &'static Library>,
        workers: impl IntoIterator<Item = IdleRule>,
        interpreters: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        Self {
            owners,
            primitives: Primitives::with(primitives),
            workers: WORKERS.iter().copied().chain(workers).collect(),
            interpreters: INTERPRETERS.iter().copied().chain(interpreters).collect(),
        }
    }
}
