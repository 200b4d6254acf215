//! Node: told apart, V8 never blamed, the workers of its platform known. JavaScript frames and objects are not read.

use super::{OwnHeap, Runtime, Signs};
use crate::symbol::{BlameRules, CodeTable};
use crate::wait::WaitKind::{Condvar, Join, Mutex, Semaphore};
use crate::wait::idle::{IdleRule, SLEEPS};
use crate::wait::primitives::Layout::Inherit;
use crate::wait::primitives::{Library, SEMAPHORE, on};

/// Programs that Node runs.
#[derive(Debug)]
pub struct Node;

impl Runtime for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn signs(&self) -> Signs {
        Signs { programs: &["node", "nodejs"], libraries: &["libnode.so"], ..Signs::NONE }
    }

    fn own_heap(&self) -> Option<OwnHeap> {
        Some(OwnHeap { files: &["node", "libnode"], why: "V8's heap is mapped by V8 itself" })
    }

    fn blame(&self) -> BlameRules {
        BLAME
    }

    fn idle_rules(&self) -> &'static [IdleRule] {
        IDLE
    }

    fn primitives(&self) -> &'static [Library] {
        PRIMITIVES
    }

    fn interpreters(&self) -> &'static [&'static str] {
        INTERPRETERS
    }
}

/// V8 10 src/execution/execution.cc, src/builtins.
const INTERPRETERS: &[&str] = &["v8::internal::Execution::Call", "v8::Function::Call", "Builtins_JSEntry"];

const BLAME: BlameRules = BlameRules {
    runtime: CodeTable {
        prefixes: &[
            // V8 and Node.js (src/ of each); V8's generated builtins.
            "v8::",
            "node::",
            "Builtins_",
            "cppgc::",
            "icu_",
        ],
        ..CodeTable::NONE
    },
    // What it runs is the user's, but has no frames of its own.
    frameworks: CodeTable { modules: &["node", "libnode", "nodejs"], ..CodeTable::NONE },
    // V8 10 `src/builtins/builtins-definitions.h`, `builtins-api.cc`, `src/api/api-arguments-inl.h`.
    trampolines: &[
        "Builtins_",
        "v8::internal::Builtin_",
        "v8::internal::Builtins::",
        "v8::internal::FunctionCallbackArguments::Call",
        "v8::internal::(anonymous namespace)::HandleApiCallHelper",
    ],
    ..BlameRules::NONE
};

const WORKER: &str = "a worker of Node's platform waits for tasks";

/// Node 18 src/node_platform.cc, src/inspector_agent.cc; V8 10 src/libplatform.
const IDLE: &[IdleRule] = &[
    IdleRule::new("node::PlatformWorkerThread", SLEEPS, WORKER),
    IdleRule::new("node::WorkerThreadsTaskRunner::", SLEEPS, WORKER),
    IdleRule::new("node::inspector::StartIoThreadMain", SLEEPS, "Node's inspector thread waits for a signal"),
    IdleRule::new("v8::platform::", SLEEPS, "a worker of V8's platform waits for tasks"),
];

#[rustfmt::skip]
const PRIMITIVES: &[Library] = &[
    Library {
        name: "V8",
        source: "V8 10 src/base/platform",
        modules: &[],
        primitives: &[
            on("v8::base::Mutex::Lock", Mutex, Inherit), on("v8::base::RecursiveMutex::Lock", Mutex, Inherit),
            on("v8::base::ConditionVariable::Wait", Condvar, Inherit), on("v8::base::ConditionVariable::WaitFor", Condvar, Inherit),
            on("v8::base::Semaphore::Wait", Semaphore, SEMAPHORE), on("v8::base::Thread::Join", Join, Inherit),
        ],
        files: &[],
    },
];
