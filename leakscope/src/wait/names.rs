//! Function names in one form, whatever compiler, version of a library or debug info wrote them.

use std::borrow::Cow;

use crate::symbol::demangle;

/// Names longer than this are no primitive's.
const MAX_NAME: usize = 16 << 10;

/// A function's name without what differs between builds.
///
/// C: no `__GI_`, leading underscores, versions (`@@GLIBC_2.3.2`), parts that the compiler split off
/// (`.part.0`, `.constprop.1`) and no `64` that marks a variant for 64-bit time. C++ and Rust: no
/// parameters, template and generic arguments, hashes, and of `<T as Trait>::f` only `T::f`. Go: as
/// it is.
pub fn canonical(name: &str) -> Cow<'_, str> {
    if name.len() > MAX_NAME {
        return Cow::Borrowed(name);
    }
    if name.starts_with("_Z") || name.starts_with("_R") {
        let readable = demangle(name);
        if readable != name {
            return Cow::Owned(path(&readable));
        }
    }
    if name.contains("::") || name.contains('(') {
        return Cow::Owned(path(name));
    }
    Cow::Borrowed(c_name(name))
}

fn c_name(name: &str) -> &str {
    if name.starts_with("runtime.") || name.contains('/') {
        // Go.
        return name;
    }
    let inner = name.strip_prefix("__GI_").unwrap_or(name);
    let end = inner.find(['.', '@']).filter(|&at| at > 0).unwrap_or(inner.len());
    let bare = inner[..end].trim_start_matches('_');
    let bare = bare.strip_suffix("_time64").or_else(|| bare.strip_suffix("64")).unwrap_or(bare);
    if bare.is_empty() { name } else { bare }
}

/// The path of a C++ or Rust function.
fn path(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(128));
    let mut depth = 0usize;
    let mut rest = name;
    // `<T as Trait>::f` and `<T>::f` begin with their type.
    while let Some(inner) = rest.strip_prefix(['<', '&', '*']) {
        rest = inner.trim_start_matches("mut ").trim_start_matches("const ").trim_start_matches("dyn ");
    }
    let leading = rest.len() != name.len();
    let mut in_type = leading;
    let mut skipping_trait = false;
    let mut previous = '\0';
    for (at, c) in rest.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            // `->` closes nothing.
            '>' if previous == '-' => {}
            '>' if depth == 0 && in_type => {
                in_type = false;
                skipping_trait = false;
            }
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                if in_type && rest[at..].starts_with(" as ") {
                    skipping_trait = true;
                } else if !in_type {
                    // ` const`, ` [clone .part.0]`.
                    break;
                }
            }
            _ if depth == 0 && !skipping_trait => out.push(c),
            _ => {}
        }
        previous = c;
    }
    while let Some(at) = out.find("::::") {
        out.replace_range(at..at + 2, "");
    }
    let hash = out.rfind("::h").filter(|&at| {
        let digits = &out[at + 3..];
        digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    });
    if let Some(at) = hash {
        out.truncate(at);
    }
    while out.ends_with("::") {
        out.truncate(out.len() - 2);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(canonical(name), expected);
    }

    #[test]
    fn c() {
        for name in [
            "pthread_mutex_lock",
            "__pthread_mutex_lock",
            "___pthread_mutex_lock",
            "__GI___pthread_mutex_lock",
            "pthread_mutex_lock@@GLIBC_2.2.5",
            "__pthread_mutex_lock.part.0",
        ] {
            check(name, "pthread_mutex_lock");
        }
        check("pthread_cond_wait@GLIBC_2.3.2", "pthread_cond_wait");
        check("___pthread_cond_timedwait64", "pthread_cond_timedwait");
        check("__clock_nanosleep_time64", "clock_nanosleep");
        for (odd, expected) in
            [("", ""), ("_", "_"), ("64", "64"), (".x", ".x"), ("@", "@"), ("__GI_", "__GI_")]
        {
            assert!(!canonical(odd).is_empty() || expected.is_empty(), "{odd}");
        }
    }

    #[test]
    fn cpp() {
        check("std::mutex::lock()", "std::mutex::lock");
        check(
            "std::_V2::condition_variable_any::wait<std::unique_lock<std::mutex> >(std::unique_lock<std::mutex>&)",
            "std::_V2::condition_variable_any::wait",
        );
        check("std::__atomic_base<int>::wait(int, std::memory_order) const", "std::__atomic_base::wait");
        check("_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE", "std::condition_variable::wait");
        check("std::latch::wait() const [clone .part.0]", "std::latch::wait");
        check("os::PlatformEvent::park(long)", "os::PlatformEvent::park");
        check("Unsafe_Park(JNIEnv_*, _jobject*, unsigned char, long)", "Unsafe_Park");
        check("f(int (*)(char)->x)", "f");
    }

    #[test]
    fn rust() {
        check("std::sync::poison::mutex::Mutex<T>::lock", "std::sync::poison::mutex::Mutex::lock");
        check("std::sync::mutex::Mutex<T>::lock::h0123456789abcdef", "std::sync::mutex::Mutex::lock");
        check("<std::sync::mpmc::Receiver<T>>::recv", "std::sync::mpmc::Receiver::recv");
        check("<std::sync::mutex::Mutex<i32>>::lock::<>", "std::sync::mutex::Mutex::lock");
        check(
            "<parking_lot::raw_mutex::RawMutex as lock_api::mutex::RawMutex>::lock",
            "parking_lot::raw_mutex::RawMutex::lock",
        );
        check("std::thread::scope::<app::main::{closure#0}, ()>", "std::thread::scope");
        check("<&mut F as core::ops::FnOnce<A>>::call_once", "F::call_once");
        check("_ZN3std4sync5mutex5Mutex4lock17h0123456789abcdefE", "std::sync::mutex::Mutex::lock");
    }

    #[test]
    fn hostile() {
        let deep = "<".repeat(20_000);
        for name in
            ["::", "::::::", "<", "<<<<", ">", ")))", "(((", "< as >", "<é as 中>::f", "é::中(", &deep]
        {
            let _ = canonical(name);
        }
        check("::::a", "::a");
    }

    proptest::proptest! {
        #[test]
        fn any_text(name in ".{0,200}") {
            let _ = canonical(&name);
        }

        #[test]
        fn any_path(name in "[<>:()\\[\\]& aZ_h0-]{0,80}") {
            let _ = canonical(&name);
        }
    }
}
