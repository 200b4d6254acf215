//! Texts of `/proc` that are read at every refresh.
//!
//! Not by the crate `procfs`: it reads all 52 fields of each process, which takes three times as long.

/// The part of `/proc/PID/stat` (proc_pid_stat(5)) that is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Short name; it may hold anything.
    pub comm: String,
    /// State of the main thread: `R`, `S`, `D`, `Z`…
    pub state: u8,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    pub threads: u64,
    /// Start in clock ticks since boot; together with the PID it names the process for good.
    pub start_ticks: u64,
    /// Resident pages.
    pub rss_pages: u64,
}

/// `PF_KTHREAD` of include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    /// Reads the text; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&b| b == b'(')?;
        let close = text.iter().rposition(|&b| b == b')')?;
        let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        // From field 3 on.
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        let rss: i64 = fields.nth(1)?.parse().ok()?;
        Some(Self {
            comm,
            state,
            kernel: flags & KERNEL_THREAD != 0,
            threads,
            start_ticks,
            rss_pages: u64::try_from(rss).unwrap_or(0),
        })
    }
}

/// Resident pages by the text of `/proc/PID/statm`.
pub fn resident_pages(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.split(' ').nth(1)?.parse().ok()
}

/// The part of `/proc/meminfo` that is of interest, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    /// All memory.
    pub total: u64,
    /// What programs can have without swapping, as the kernel estimates it.
    pub available: u64,
    pub swap_total: u64,
    /// Unused swap.
    pub swap_free: u64,
}

impl MemInfo {
    /// Reads the text; what is missing is 0.
    pub fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0).saturating_mul(1024)
        };
        Self {
            total: value("MemTotal"),
            available: value("MemAvailable"),
            swap_total: value("SwapTotal"),
            swap_free: value("SwapFree"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "812 (redis-server) S 1 812 812 0 -1 4194560 11289 0 21 0 5123 2917 0 0 20 0 5 0 \
        8123 67108864 3152 18446744073709551615 1 1 0 0 0 0 0 4097 17642 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_process() {
        let stat = Stat::parse(REDIS.as_bytes()).expect("a stat");
        assert_eq!((stat.comm.as_str(), stat.state, stat.kernel), ("redis-server", b'S', false));
        assert_eq!((stat.threads, stat.start_ticks, stat.rss_pages), (5, 8123, 3152));
    }

    #[test]
    fn names_may_hold_anything() {
        let text = REDIS.replace("redis-server", "a) R (b");
        let stat = Stat::parse(text.as_bytes()).expect("a stat");
        assert_eq!((stat.comm.as_str(), stat.state, stat.rss_pages), ("a) R (b", b'S', 3152));
        let kernel = REDIS.replace("4194560", "69238880");
        assert!(Stat::parse(kernel.as_bytes()).expect("a stat").kernel);
        for length in 0..REDIS.len() - 150 {
            let _ = Stat::parse(&REDIS.as_bytes()[..length]);
        }
    }

    #[test]
    fn resident_memory() {
        assert_eq!(resident_pages(b"587 366 344 2 0 56 0\n"), Some(366));
        assert_eq!(resident_pages(b"587\n"), None);
    }

    #[test]
    fn memory_of_the_machine() {
        let text =
            "MemTotal:        8123456 kB\nMemFree: 1 kB\nMemAvailable:    4000000 kB\nSwapTotal: 10 kB\n";
        let info = MemInfo::parse(text);
        assert_eq!((info.total, info.available), (8_123_456 << 10, 4_000_000 << 10));
        assert_eq!((info.swap_total, info.swap_free), (10 << 10, 0));
        assert_eq!(MemInfo::parse("?"), MemInfo::default());
    }
}
