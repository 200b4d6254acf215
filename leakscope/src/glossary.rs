//! The words of this project: one meaning each. Documentation only.
//!
//! # Stacks and code
//!
//! - **Frame**: one function activation on a stack. As it is unwound it is an address
//!   ([`stack::StackFrame`](crate::stack::StackFrame)); in a report it has a function, file and line
//!   ([`section::frame::Frame`](crate::section::frame::Frame)). An inlined function is a frame of its own
//!   there.
//! - **Stack**: frames, innermost first, and its end; in a report also the frame to blame
//!   ([`section::stack::Stack`](crate::section::stack::Stack)).
//! - **Stack end**: why a stack has no more frames. `Root` alone means that it is whole, as the kernel side says it
//!   ([`StackEnd`](leakscope_common::unwind::StackEnd)) and as reports do
//!   ([`section::stack::StackEnd`](crate::section::stack::StackEnd)). It is a text in JSON only.
//! - **Stack ID**: the hash of a stack's frames. It is the key of the kernel's maps and the handle of an
//!   [interned stack](crate::stack::StackId).
//! - **Site**: a distinct stack that allocated, blocked, created a thread or holds goroutines, with its
//!   numbers. Wait sites are also distinct in system call and kind of object, goroutine sites in state and
//!   labels: several of them may share a stack.
//! - **Place**: the blame frame's function and line. Several sites may share one; a headline speaks of
//!   places.
//! - **Blame frame**: the frame that a stack is charged to, the first that is the user's own: no
//!   allocator, no runtime, no wrapper, no known framework and, where the program's own code lies further out, no
//!   library of the system ([`Owners::charge`](crate::symbol::Owners::charge)).
//! - **Wrapper**: a function that allocates on its callers' behalf, known by its name, found by what it does
//!   (`section::heap::wrappers`) or named by the user ([`Charging`](crate::symbol::Charging)).
//! - **Module**: a file that is mapped executable, or the vDSO ([`process::space`](crate::process)).
//! - **Build ID**: the GNU build ID in a file's notes. It names the same build of a file anywhere.
//! - **Load bias**: address in the process minus virtual address in the file. One number a mapping.
//! - **Unwind row**: from this address on, the caller's frame is found by this rule. Rows are made from
//!   `.eh_frame`, or from Go's function table ([`unwind`](crate::unwind)).
//! - **CFA** (canonical frame address): the value of the stack pointer before the call; rows lead to it.
//! - **Symbolizer**: turns an address in a module into function, file and line
//!   ([`symbol`](crate::symbol)).
//!
//! # Memory
//!
//! - **Live**, or **in use**: allocated and not freed. Of a garbage-collected heap: reachable as of the
//!   last collection. Reports say *live*, profiles in Go's terms say *inuse*.
//! - **Block**: what one call of an allocator returned. **Object** is the word where the Go heap is
//!   meant, too.
//! - **Older block**: one that is not in the account, as it was allocated before the attach or its allocation was lost,
//!   and is reallocated. It enters the account with a **base**, the size that it has then. If it gets smaller than that,
//!   so does the base. What it holds beyond the base is live at the site of its last reallocation; the base is
//!   counted apart (`older_bytes`). It is a live block (`live_objects`) while it holds more than its base. How old it is
//!   is not known: told is the age of the recording.
//! - **Allocated**, of totals: what was asked for by all calls that gave a block. A reallocation is an allocation of the
//!   new size and a free of the old block, as in the profiles of heaptrack and jemalloc. The old half of an older
//!   block's first reallocation is in no number, as its size is not known: so blocks that are allocated and not freed
//!   are those that are live, and the older ones that have not grown.
//! - **Account**: live blocks and totals by site, kept in the kernel's maps from the attach on.
//! - **Aggregate**: numbers that are added up in the kernel by a key, such as the totals of a site.
//!   Aggregates can't be dropped as events can.
//! - **In flight**: of an allocator's call, entered and not yet returned.
//! - **Source**: where a section's numbers come from: `malloc` (the allocator's functions) or `go` (the
//!   Go runtime).
//!
//! # Waits
//!
//! - **Blocked**: not running and not runnable. **Stuck**: blocked, and no rule says that it is idle.
//! - **Off-CPU**: any time in which a thread does not run, blocked or only preempted. leakscope counts
//!   blocked time only.
//! - **Wait**: one span of being blocked, from the switch away to the wake-up.
//! - **Wait kind**: what a wait is for: a mutex, a pipe, … ([`WaitKind`](crate::wait::WaitKind)).
//! - **Operation**: the system call that a thread waits in. **Primitive**: the function of a library that
//!   tells the kind, such as `pthread_mutex_lock`.
//! - **fd target**: what a file descriptor refers to, as the kernel's own file tells: a pipe, a socket, a
//!   terminal, events, a file ([`FdTarget`](crate::wait::fd_target::FdTarget)).
//! - **Idle rule**: a row of a table, or a test, by which a wait is taken for waiting for work
//!   ([`wait::idle`](crate::wait::idle)).
//! - **Waker**: who ended a wait: the stack of a thread, another process, or a timer or interrupt.
//! - **Lock holder**: who held a lock while others waited, told by its release: a wait has one waker, and may have had
//!   several holders.
//! - **Lock owner**, or **holder**: the thread that a lock is held by. *Read* if the lock stores it,
//!   *inferred* if only one thread's stack points to the lock ([`wait::owners`](crate::wait::owners)).
//! - **Deadlock**: a cycle of threads each of which waits for a lock, or for the end, of the next.
//! - **Peer**: what a thread waits for outside of the process, and who is at the other end: of a pipe or socket, a file
//!   lock, a child ([`peers`](crate::peers)).
//! - **Thread snapshot**: all threads with their state and stack at one moment, taken without stopping them
//!   ([`collect::snapshot`](crate::collect::snapshot)). A thread is **unsettled** if it changed
//!   each time it was looked at, and has **vanished** if it began or ended meanwhile.
//!
//! # Runtimes
//!
//! - **Runtime**: what runs the code of a language: Go's, CPython, a Java VM, Node; `native` where none is known. A
//!   process is named by one, that of its program or one that is embedded ([`runtime::detect`](crate::runtime::detect())),
//!   and may have code of several.
//! - **Sign**: what a runtime is known by: names of programs and libraries, or what is in files
//!   ([`Signs`](crate::runtime::Signs)). **Clues** are what is known of a process, to look for signs in.
//! - **Task**: what a runtime schedules on threads of its own accord: a goroutine.
//! - **Opened**: of a process, that something of its runtime can be read ([`Opened`](crate::runtime::Opened)).
//! - **Goroutine snapshot**: all goroutines as they were read, one after the other, while they ran. **Goroutine
//!   sites**: the same, added up by what they do and where ([`runtime::go`](crate::runtime::go)).
//!
//! # Tracing and reports
//!
//! - **Target**: the process under observation.
//! - **Probe**: a BPF program on an instruction of a function (uprobe) or on an event of the scheduler
//!   (tracepoint).
//! - **Attach**: all probes active and recording on. **Window**: from then to the end of recording.
//! - **Sampling window**: some ms in which every small object that a Go program allocates is seen
//!   (`runtime::go::heap`). What is between two of them is a **gap**.
//! - **Collector**: one source of facts: what it needs of the kernel side, where it probes, which events are its
//!   own, and what it gives to the report ([`collect`](crate::collect)).
//! - **Recording**: what a session has read of kernel and target, on a **tape**: the answers in the order in which
//!   they were asked for. A **replay** makes the same reports of it ([`recording`](crate::recording)).
//! - **Loss**: something that happened and is not in the numbers. Each has a number that is never reused,
//!   a name such as `heap.live_full`, and the domain that it makes inexact
//!   ([`Loss`](leakscope_common::counter::Loss)).
//! - **Tally**: something counted that is no loss ([`Tally`](leakscope_common::counter::Tally)).
//! - **Exact**: no loss of its domain occurred. **Estimate**: made from samples; it has an interval and a
//!   method.
//! - **Finding**: what a report's summary says, as data: a **code**, a severity, arguments, and the sentence that
//!   is made of them ([`section::finding`](crate::section::finding)). The **answer** is the first, its sentence the
//!   **headline**.
//! - **Section**: a part of a report: heap, waits, goroutines, threads. A folder each in
//!   [`section`](crate::section).
//! - **Tab**: a section's place on the screen of `top` ([`section::view`](crate::section::view)).
//! - **Profile**: one question taken out of a report, in Go's terms
//!   ([`export::profile`](crate::export::profile)).
//! - **Series**: reports of one process, one after another, in a directory or a file of JSON lines.
//! - **Threshold**: an expression over a report's fields, given by `--fail-on`
//!   ([`threshold`](crate::threshold)).
