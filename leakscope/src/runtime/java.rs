//! The Java VM: told apart, never blamed, its monitors and its own threads known. Its frames and objects are not
//! read.

use super::{OwnHeap, Runtime, Signs};
use crate::symbol::{BlameRules, CodeTable};
use crate::wait::WaitKind::{Condvar, Mutex, Semaphore, Sleep};
use crate::wait::idle::{IdleRule, SLEEPS};
use crate::wait::primitives::Layout::{Elsewhere, Inherit};
use crate::wait::primitives::{Library, SEMAPHORE, on};

/// Programs that a Java VM runs.
#[derive(Debug)]
pub struct Java;

impl Runtime for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn signs(&self) -> Signs {
        Signs { programs: &["java"], libraries: &["libjvm.so"], ..Signs::NONE }
    }

    fn own_heap(&self) -> Option<OwnHeap> {
        Some(OwnHeap { files: &["libjvm"], why: "Java's heap is mapped by the JVM itself" })
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

/// OpenJDK 17 src/hotspot/share/runtime/javaCalls.cpp.
const INTERPRETERS: &[&str] = &["JavaCalls::call_helper", "JavaCalls::call"];

const BLAME: BlameRules = BlameRules {
    // What it runs is the user's, but has no frames of its own.
    frameworks: CodeTable { modules: &["java", "libjvm", "libjli", "libjava"], ..CodeTable::NONE },
    ..BlameRules::NONE
};

const VM_THREAD: &str = "a thread of the Java VM waits for its next task";

/// OpenJDK 17 src/hotspot.
const IDLE: &[IdleRule] = &[
    IdleRule::new("WorkerThread::run", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("GangWorker::run", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("VMThread::run", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("WatcherThread::run", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("CompileBroker::compiler_thread_loop", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("ServiceThread::service_thread_entry", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("ConcurrentGCThread::run", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("signal_thread_entry", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("JVM_WaitForReferencePendingList", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("NMethodSweeper::sweeper_loop", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("NotificationThread::notification_thread_entry", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("MonitorDeflationThread::monitor_deflation_thread_entry", SLEEPS, VM_THREAD).of("libjvm"),
    IdleRule::new("Threads::destroy_vm", SLEEPS, "the Java VM waits for its threads to end").of("libjvm"),
];

#[rustfmt::skip]
const PRIMITIVES: &[Library] = &[
    Library {
        name: "HotSpot JVM",
        source: "OpenJDK 17 src/hotspot/os/posix/os_posix.cpp, share/runtime/{objectMonitor,mutex,park}.cpp, share/prims/unsafe.cpp",
        modules: &["libjvm"],
        primitives: &[
            on("Parker::park", Condvar, Elsewhere).shown("LockSupport.park").wraps(),
            on("Unsafe_Park", Condvar, Elsewhere).shown("LockSupport.park").wraps(),
            on("os::PlatformEvent::park", Condvar, Elsewhere).wraps(), on("PlatformEvent::park", Condvar, Elsewhere).wraps(),
            on("os::PlatformEvent::park_nanos", Condvar, Elsewhere).wraps(), on("PlatformEvent::park_nanos", Condvar, Elsewhere).wraps(),
            on("ObjectMonitor::enter", Mutex, Elsewhere).shown("synchronized").wraps(),
            on("ObjectMonitor::EnterI", Mutex, Elsewhere).shown("synchronized").wraps(),
            on("ObjectMonitor::ReenterI", Mutex, Elsewhere).shown("synchronized").wraps(),
            on("InstanceKlass::initialize_impl", Mutex, Elsewhere).shown("class initialisation").wraps(),
            on("ObjectMonitor::wait", Condvar, Elsewhere).shown("Object.wait").wraps(),
            on("JavaThread::sleep", Sleep, Elsewhere).shown("Thread.sleep").polls(), on("JVM_Sleep", Sleep, Elsewhere).shown("Thread.sleep").polls(),
            on("Monitor::wait", Condvar, Inherit).wraps(), on("Monitor::wait_without_safepoint_check", Condvar, Inherit).wraps(),
            on("PlatformMonitor::wait", Condvar, Inherit), on("os::PlatformMonitor::wait", Condvar, Inherit),
            on("Mutex::lock", Mutex, Inherit), on("Mutex::lock_without_safepoint_check", Mutex, Inherit),
            on("PosixSemaphore::wait", Semaphore, SEMAPHORE), on("Semaphore::wait", Semaphore, SEMAPHORE),
            on("PosixSemaphore::timedwait", Semaphore, SEMAPHORE),
        ],
        files: &[],
    },
];
