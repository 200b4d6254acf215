//! CPython: told apart, never blamed, its locks known. Its own frames and objects are not read.

use super::{OwnHeap, Runtime, Signs};
use crate::symbol::{BlameRules, CodeTable};
use crate::wait::WaitKind::{Condvar, Mutex, Semaphore};
use crate::wait::primitives::Layout::{self, Elsewhere, NoOwner};
use crate::wait::primitives::{Library, on};

/// Programs that CPython (or PyPy) runs.
#[derive(Debug)]
pub struct Python;

impl Runtime for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn signs(&self) -> Signs {
        Signs { programs: &["python", "pypy"], libraries: &["libpython"], ..Signs::NONE }
    }

    fn own_heap(&self) -> Option<OwnHeap> {
        Some(OwnHeap { files: &["libpython", "python"], why: OWN_HEAP })
    }

    fn blame(&self) -> BlameRules {
        BLAME
    }

    fn primitives(&self) -> &'static [Library] {
        PRIMITIVES
    }

    fn interpreters(&self) -> &'static [&'static str] {
        INTERPRETERS
    }
}

/// CPython's pymalloc, Objects/obmalloc.c.
const OWN_HEAP: &str =
    "Python keeps small objects in arenas of its own; start it with PYTHONMALLOC=malloc to see them";

/// CPython 3.11 Python/ceval.c, Objects/call.c; without leading underscores.
const INTERPRETERS: &[&str] =
    &["PyEval_EvalFrameDefault", "PyEval_Vector", "PyFunction_Vectorcall", "PyEval_EvalCode"];

#[rustfmt::skip]
const BLAME: BlameRules = BlameRules {
    allocators: CodeTable {
        names: &[
            // CPython: Objects/obmalloc.c, Modules/gcmodule.c (Python/gc.c), Objects/object.c, Objects/typeobject.c.
            "PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_RawMalloc", "PyMem_RawCalloc",
            "PyMem_RawRealloc", "PyMem_New", "_PyMem_RawMalloc", "_PyMem_RawCalloc", "_PyMem_RawRealloc",
            "_PyMem_DebugRawAlloc", "_PyMem_DebugRawMalloc", "_PyMem_DebugRawCalloc", "_PyMem_DebugRawRealloc",
            "_PyMem_DebugMalloc", "_PyMem_DebugCalloc", "_PyMem_DebugRealloc", "_PyMem_ArenaAlloc",
            "_PyMem_ArenaMmap", "_PyMem_Strdup", "_PyMem_RawStrdup", "_PyMem_RawWcsdup", "_PyMem_MiMalloc",
            "_PyMem_MiCalloc", "_PyMem_MiRealloc", "_PyObject_MiMalloc", "_PyObject_MiCalloc",
            "_PyObject_MiRealloc", "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "_PyObject_Malloc",
            "_PyObject_Calloc", "_PyObject_Realloc", "pymalloc_alloc", "pymalloc_realloc",
            "allocate_from_new_pool", "new_arena", "_PyObject_New", "_PyObject_NewVar", "_PyObject_GC_New",
            "_PyObject_GC_NewVar", "_PyObject_GC_Alloc", "_PyObject_GC_Malloc", "_PyObject_GC_Calloc",
            "_PyObject_GC_Resize", "gc_alloc", "PyType_GenericAlloc", "_PyType_AllocNoTrack",
            "_PyObject_MallocWithType",
        ],
        ..CodeTable::NONE
    },
    runtime: CodeTable {
        names: &[
            // CPython: Python/ceval.c, Objects/call.c, Modules/main.c (where the interpreter is linked statically).
            "_PyEval_EvalFrameDefault", "_PyEval_Vector", "_PyFunction_Vectorcall", "_PyObject_Call",
            "_PyObject_MakeTpCall", "_PyObject_Vectorcall", "PyObject_Vectorcall", "PyObject_Call",
            "PyEval_EvalCode", "Py_RunMain", "Py_BytesMain", "pymain_run_python",
            "_PyObject_FastCallDictTstate", "cfunction_call", "method_vectorcall",
        ],
        ..CodeTable::NONE
    },
    // What it runs is the user's, but has no frames of its own.
    frameworks: CodeTable { modules: &["python", "libpython", "_ctypes"], ..CodeTable::NONE },
    ..BlameRules::NONE
};

const LOCK: Layout =
    NoOwner("CPython's locks store no owner (Condition, Event and Queue wait on such a lock, too)");
const GIL: Layout = Elsewhere;

#[rustfmt::skip]
const PRIMITIVES: &[Library] = &[
    Library {
        name: "CPython",
        source: "CPython 3.11 Python/thread_pthread.h, Python/ceval_gil.h, Modules/_threadmodule.c; 3.13 Python/parking_lot.c, Python/lock.c",
        modules: &[],
        primitives: &[
            on("PyThread_acquire_lock_timed", Mutex, LOCK).shown("threading.Lock.acquire").wraps().condition_if_timed().may_be_condition(),
            on("PyThread_acquire_lock", Mutex, LOCK).shown("threading.Lock.acquire").wraps().condition_if_timed().may_be_condition(),
            on("PyThread_acquire_lock_timed_with_retries", Mutex, LOCK).shown("threading.Lock.acquire").wraps().condition_if_timed().may_be_condition(),
            on("queue_SimpleQueue_get_impl", Condvar, Elsewhere).shown("queue.SimpleQueue.get").over_lock(),
            on("queue_SimpleQueue_get", Condvar, Elsewhere).shown("queue.SimpleQueue.get").over_lock(),
            on("PySemaphore_Wait", Semaphore, Elsewhere).shown("_PySemaphore_Wait").wraps(),
            on("PyParkingLot_Park", Semaphore, Elsewhere).shown("_PyParkingLot_Park").wraps(),
            on("PyMutex_LockTimed", Mutex, Elsewhere).shown("PyMutex_Lock").wraps(),
            on("PyMutex_LockSlow", Mutex, Elsewhere).shown("PyMutex_Lock").wraps(),
            on("PyMutex_Lock", Mutex, Elsewhere).wraps(),
            on("PyRawMutex_LockSlow", Mutex, Elsewhere).shown("PyMutex_Lock").wraps(),
            on("take_gil", Mutex, GIL).shown("the GIL").wraps(),
            on("PyEval_RestoreThread", Mutex, GIL).shown("the GIL").wraps(),
            on("PyEval_AcquireThread", Mutex, GIL).shown("the GIL").wraps(),
            on("PyEval_AcquireLock", Mutex, GIL).shown("the GIL").wraps(),
            on("PyGILState_Ensure", Mutex, GIL).shown("the GIL").wraps(),
        ],
        files: &[("_queue.cpython", on("queue.SimpleQueue.get", Condvar, Elsewhere).over_lock())],
    },
];
