//! Reading of saved reports: with as much memory as is there, and a line that tells how far it has come.

use super::progress::Advance;
use crate::processes::stat::MemInfo;
use crate::report::own_cost::rss_bytes;
use crate::report::read::Reading;

/// Does `work` with what reads files.
pub(super) fn reading<T>(work: impl FnOnce(&Reading<'_>) -> T) -> T {
    let advance = Advance::begin();
    let progress = |file: &str, done: u64, all: u64| advance.at(&format!("reading {file}"), done, all);
    let memory_bytes = memory();
    // A report takes about as much as its text; text that somebody made for it takes some twenty times as much.
    let held_bytes = memory_bytes / 32;
    work(&Reading { memory_bytes, held_bytes, progress: &progress, ..Reading::default() })
}

/// Three quarters of what is free, so that reading ends with an error before the machine is out of memory.
fn memory() -> u64 {
    let free = std::fs::read_to_string("/proc/meminfo").map_or(0, |text| MemInfo::parse(&text).available);
    if free == 0 {
        return Reading::MOST_MEMORY;
    }
    let own = rss_bytes().unwrap_or(0);
    (own + free / 4 * 3).min(Reading::MOST_MEMORY)
}
