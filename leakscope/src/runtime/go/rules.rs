//! What of a Go program is never to blame, and what threads of its scheduler wait in.

use crate::symbol::{BlameRules, CodeTable};
use crate::wait::WaitKind::{Condvar, Mutex, Poll, Semaphore, Sleep};
use crate::wait::idle::{IdleRule, SLEEPS};
use crate::wait::primitives::Layout::{self, Elsewhere, Inherit, NoOwner};
use crate::wait::primitives::{Library, leads, on};

/// Files of the code that leads from Go to C and from C to Go: cgo makes the first two (`cmd/cgo/out.go`). Go's side
/// has names such as `main._Cfunc_CString` and `main._Cgo_ptr`.
pub(super) const CGO: &[&str] = &["_cgo_gotypes.go", "_cgo_export.c", "/runtime/cgo/"];

/// The runtime and the standard library, where a name alone tells. Code of a program that is known to be Go's is
/// judged by [`super::blame`].
#[rustfmt::skip]
pub(super) const BLAME: BlameRules = BlameRules {
    allocators: CodeTable {
        prefixes: &[
            // Go: runtime/malloc.go, runtime/mheap.go, runtime/slice.go, runtime/map.go.
            "runtime.malloc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.newarray",
            "runtime.persistentalloc", "runtime.sysAlloc", "runtime.sysMap", "runtime.(*mheap).",
            "runtime.(*mcache).", "runtime.(*mcentral).",
        ],
        ..CodeTable::NONE
    },
    runtime: CodeTable {
        prefixes: &[
            // Go: package runtime and the standard library (go.dev/pkg), whose paths have no dot in the
            // first segment.
            "runtime.", "runtime/", "internal/", "reflect.", "sync.", "sync/", "syscall.", "time.", "os.",
            "os/", "io.", "io/", "bufio.", "bytes.", "strings.", "strconv.", "fmt.", "errors.", "sort.",
            "slices.", "maps.", "math/", "net.", "net/", "crypto/", "encoding.", "encoding/", "compress/",
            "container/", "context.", "database/", "hash/", "html/", "log.", "log/", "mime.", "mime/", "path/",
            "regexp.", "regexp/", "testing.", "text/", "unicode/", "vendor/", "archive/", "type:.",
            // What cgo makes of calls, and what leads from C to Go: `cmd/cgo/out.go`, `runtime/cgo`.
            "_cgo_", "_cgoexp_", "x_cgo_", "crosscall2", "crosscall_amd64",
        ],
        sources: CGO,
        ..CodeTable::NONE
    },
    leads: &["runtime.asmcgocall"],
    ..BlameRules::NONE
};

const SCHEDULER: &str = "a thread of the Go scheduler waits for goroutines to run";

/// Go 1.22 src/runtime/proc.go, src/runtime/sigqueue.go.
pub(super) const IDLE: &[IdleRule] = &[
    IdleRule::new("runtime.stopm", SLEEPS, SCHEDULER),
    IdleRule::new("runtime.mPark", SLEEPS, SCHEDULER),
    IdleRule::new("runtime.stoplockedm", SLEEPS, SCHEDULER),
    IdleRule::new("runtime.templateThread", SLEEPS, SCHEDULER),
    IdleRule::new("os/signal.signal_recv", SLEEPS, "the Go runtime waits for signals"),
];

const LOCK: Layout = NoOwner("the Go runtime's locks store no owner");

/// What its threads wait in.
#[rustfmt::skip]
pub(super) const PRIMITIVES: &[Library] = &[
    Library {
        name: "Go runtime",
        source: "go 1.22 src/runtime/{lock_futex,os_linux,proc,netpoll_epoll,sys_linux_amd64}.go; internal/runtime since 1.23",
        modules: &[],
        primitives: &[
            leads("runtime.futex"), leads("runtime.futex.abi0"), leads("runtime.futexsleep"), leads("runtime.futexsleep1"),
            leads("runtime.notetsleep_internal"), leads("runtime.systemstack"), leads("runtime.mcall"),
            on("runtime.notesleep", Condvar, Inherit).wraps(), on("runtime.notetsleep", Condvar, Inherit).wraps(),
            on("runtime.notetsleepg", Condvar, Inherit).wraps(), on("runtime.mPark", Condvar, Inherit).wraps(),
            on("runtime.stopm", Condvar, Inherit).wraps(), on("runtime.stoplockedm", Condvar, Inherit).wraps(),
            on("runtime.templateThread", Condvar, Inherit).wraps(), on("runtime.semasleep", Semaphore, Elsewhere).wraps(),
            on("runtime.lock2", Mutex, LOCK).shown("runtime.lock").wraps(), on("runtime.lock", Mutex, LOCK).wraps(),
            on("runtime.lockWithRank", Mutex, LOCK).shown("runtime.lock").wraps(),
            on("runtime.usleep", Sleep, Inherit), on("runtime.usleep.abi0", Sleep, Inherit).shown("runtime.usleep"), on("runtime.sysmon", Sleep, Inherit),
            on("runtime.epollwait", Poll, Inherit).shown("runtime.netpoll"), on("runtime.netpoll", Poll, Inherit),
        ],
        files: &[],
    },
];
