use super::*;
use crate::runtime::rules;
use crate::wait::WaitKind::{Barrier, Condvar, Join, Mutex, Poll, Rwlock, Semaphore, Sleep};

/// A path that a pattern stands for.
fn example(pattern: &str) -> String {
    pattern.replace("..::", "some::module::")
}

#[test]
fn every_row_is_found_by_its_name() {
    for library in &rules().primitives.libraries {
        assert!(!library.source.is_empty());
        let module = library.modules.first().map(|module| format!("/usr/lib/{module}"));
        for primitive in library.primitives {
            let names = [primitive.pattern.replace("..::", ""), example(primitive.pattern)];
            for name in names {
                let Some((_, found)) = rules().primitives.find(&name, module.as_deref()) else {
                    panic!("{name} of {} is not found", library.name);
                };
                // Another row may describe the same function, but not another wait.
                let same = found.kind == primitive.kind || found.pattern != primitive.pattern;
                assert!(same && found.matches(&canonical(&name)), "{name}: {found:?}");
            }
            assert!(!primitive.name().is_empty() && !primitive.name().contains(".."));
            assert!(primitive.kind.is_some() || primitive.layout == Layout::Inherit);
            assert!(primitive.wraps || !primitive.polls);
        }
    }
}

#[test]
fn no_two_rows_contradict_each_other() {
    let all = || {
        rules()
            .primitives
            .libraries
            .iter()
            .flat_map(|library| library.primitives.iter().map(move |p| (library, p)))
    };
    for (library, primitive) in all() {
        for (other_library, other) in all() {
            let meet = library.modules.is_empty() && other_library.modules.is_empty();
            if meet && other.matches(&primitive.pattern.replace("..::", "")) {
                assert_eq!(other.kind, primitive.kind, "{} and {}", primitive.pattern, other.pattern);
            }
        }
    }
}

#[track_caller]
fn check(name: &str, kind: WaitKind, shown: &str) {
    let (_, row) = rules().primitives.find(name, None).unwrap_or_else(|| panic!("{name} is not found"));
    assert_eq!((row.kind, row.name().as_str()), (Some(kind), shown), "{name}");
}

#[test]
fn real_names() {
    for name in ["___pthread_mutex_lock", "__GI___pthread_mutex_lock", "pthread_mutex_lock@@GLIBC_2.2.5"] {
        check(name, Mutex, "pthread_mutex_lock");
    }
    check("___pthread_cond_clockwait64", Condvar, "pthread_cond_clockwait");
    check("__new_sem_wait_slow64.constprop.0", Semaphore, "sem_wait");
    check("__pthread_rwlock_wrlock_full64", Rwlock, "pthread_rwlock_wrlock");
    check("__pthread_clockjoin_ex", Join, "pthread_join");
    check("__libc_pause", Sleep, "pause");
    check(
        "std::condition_variable::wait_for<long, std::ratio<1l, 1l> >(std::unique_lock<std::mutex>&, std::chrono::duration<long> const&)",
        Condvar,
        "std::condition_variable::wait_for",
    );
    check("std::__1::mutex::lock()", Mutex, "std::mutex::lock");
    check(
        "std::barrier<std::__empty_completion>::arrive_and_wait()",
        Barrier,
        "std::barrier::arrive_and_wait",
    );
    check("std::__future_base::_State_baseV2::wait()", Condvar, "std::future::wait");
    check("std::sys::sync::mutex::futex::Mutex::lock_contended", Mutex, "std::sync::Mutex::lock");
    check(
        "std::sys::unix::locks::futex_mutex::Mutex::lock_contended::h0123456789abcdef",
        Mutex,
        "std::sync::Mutex::lock",
    );
    check("<std::sync::poison::mutex::Mutex<i32>>::lock", Mutex, "std::sync::Mutex::lock");
    check("std::sys::sync::rwlock::futex::RwLock::write_contended", Rwlock, "std::sync::RwLock::write");
    check("std::thread::functions::sleep", Sleep, "std::thread::sleep");
    check("std::thread::join_handle::JoinHandle<()>::join", Join, "std::thread::JoinHandle::join");
    check("std::sync::mpsc::Receiver<T>::recv", Condvar, "std::sync::mpsc::Receiver::recv");
    check("parking_lot::raw_mutex::RawMutex::lock_slow", Mutex, "parking_lot::Mutex::lock");
    check("uv__io_poll", Poll, "uv_run");
    check("take_gil", Mutex, "the GIL");
    check("absl::debian3::Mutex::Lock()", Mutex, "absl::Mutex::Lock");
}

#[test]
fn what_a_user_wrote_is_no_primitive() {
    for name in [
        "pool::Mutex::lock",
        "app::mutex::lock",
        "my_pthread_mutex_lock",
        "lock",
        "wait",
        "Worker::park",
        "std_mutex_lock",
        "stdx::Mutex::lock",
        "<app::Lock as std::sync::Mutex>::lock",
        "",
    ] {
        assert!(rules().primitives.find(name, Some("/srv/app")).is_none(), "{name}");
    }
    assert!(rules().primitives.find("ProcSleep", Some("/srv/app")).is_none());
    assert!(rules().primitives.find("ProcSleep", Some("/usr/lib/postgresql/15/bin/postgres")).is_some());
    assert!(rules().primitives.find("Mutex::lock", Some("/srv/app")).is_none());
    assert!(rules().primitives.find("Mutex::lock", Some("/usr/lib/jvm/lib/server/libjvm.so")).is_some());
}

#[test]
fn c_libraries() {
    let of =
        |module| Mark::new(&BlameInput { module: Some(module), ..BlameInput::default() }, rules()).c_library;
    assert_eq!(of("/lib/x86_64-linux-gnu/libc.so.6"), Some(CLibrary::Glibc));
    assert_eq!(of("/lib64/libc-2.31.so"), Some(CLibrary::Glibc));
    assert_eq!(of("/lib/x86_64-linux-gnu/libpthread-2.31.so"), Some(CLibrary::Glibc));
    assert_eq!(of("/lib/ld-musl-x86_64.so.1"), Some(CLibrary::Musl));
    assert_eq!(of("/usr/lib/x86_64-linux-musl/libc.so"), Some(CLibrary::Musl));
    assert_eq!([of("/srv/app"), of("/usr/lib/libcurl.so.4")], [None, None]);
}
