//! What leakscope itself costs, and what memory the target has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::model::Memory;
use crate::report::own_cost::{OwnCost, rss_bytes};

/// What this process has used until now, with the kernel side's maps, which take `map_bytes`.
pub(super) fn own(map_bytes: u64) -> OwnCost {
    // SAFETY: an all-zero `rusage` is valid, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let ns = |t: libc::timeval| t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_usec.cast_unsigned() * 1000;
    let max_rss_kib = u64::try_from(usage.ru_maxrss).ok().filter(|kib| *kib > 0);
    OwnCost {
        cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime),
        memory_bytes: rss_bytes().map(|rss| rss + map_bytes),
        max_rss_bytes: max_rss_kib.map(|kib| kib * 1024),
    }
}

/// Raises the soft limit of open files to the hard one: every mapped file and every probe takes some.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, opening fails later and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The target's resident set at the start and at the end.
pub(super) fn memory(start: Option<u64>, end: Option<u64>) -> Memory {
    Memory { rss_start_bytes: start, rss_end_bytes: end, untraced_reason: None }
}
