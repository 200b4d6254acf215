//! Where memory ends: the machine, or a control group with a limit.
//!
//! What is used is what can't be had back without swapping: without the page cache (which fills every group
//! up to its limit, and harms nobody) and slabs that can be reclaimed. Swap counts as further room.

use std::path::{Path, PathBuf};

use super::history::History;
use super::stat::MemInfo;

/// What happens at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// The machine has no more.
    Machine,
    /// The kernel kills in the group (`memory.max`, `memory.limit_in_bytes`).
    Max,
    /// The kernel slows the group down (`memory.high`).
    High,
}

/// What is used, and of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What happens at the end.
    pub kind: LimitKind,
    /// Bytes that can't be had back.
    pub used: u64,
    /// Bytes there are.
    pub limit: u64,
}

impl Level {
    pub fn machine(info: &MemInfo) -> Self {
        let swapped = info.swap_total.saturating_sub(info.swap_free);
        Self {
            kind: LimitKind::Machine,
            used: info.total.saturating_sub(info.available).saturating_add(swapped),
            limit: info.total.saturating_add(info.swap_total),
        }
    }

    /// Bytes until the end.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// A pool that is watched.
#[derive(Clone, Debug)]
pub struct Pool {
    pub level: Level,
    history: History,
    /// Growth a second that one jump does not move.
    pub rate: Option<f64>,
}

/// Longer forecasts than a month are none.
const FARTHEST_S: f64 = 30.0 * 86400.0;

impl Pool {
    /// A pool at this level.
    pub fn new(level: Level) -> Self {
        Self { level, history: History::default(), rate: None }
    }

    /// Takes in the level at `at_ns`.
    pub fn update(&mut self, at_ns: u64, level: Level) {
        self.level = level;
        self.history.push(at_ns, level.used);
        self.rate = self.history.steady_slope();
    }

    /// When it is full at this rate, ns from now; `None` if it does not fill.
    pub fn full_in_ns(&self) -> Option<u64> {
        let rate = self.rate.filter(|rate| *rate >= 1.0)?;
        let seconds = self.level.room() as f64 / rate;
        (seconds <= FARTHEST_S).then_some((seconds * 1e9) as u64)
    }

    /// The same as a process has it, that grows by `own` a second: only what fills a pool notably is told.
    pub fn full_in_ns_for(&self, own: f64) -> Option<u64> {
        let rate = self.rate?;
        (own >= SLOWEST && own >= rate * LEAST_PART).then(|| self.full_in_ns()).flatten()
    }
}

/// Bytes a second below which a process' growth is no cause: a page now and then.
const SLOWEST: f64 = 1024.0;
/// Part of a pool's growth that a process must have to be told its forecast.
const LEAST_PART: f64 = 0.05;

/// Where control groups are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The unified hierarchy.
    pub unified: Option<PathBuf>,
    /// The one of the memory controller of version 1.
    pub memory: Option<PathBuf>,
}

impl Mounts {
    /// Reads the text of `/proc/self/mounts`.
    pub fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(path), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" if mounts.unified.is_none() => mounts.unified = Some(path.into()),
                "cgroup" if options.split(',').any(|o| o == "memory") => {
                    mounts.memory = Some(path.into());
                }
                _ => {}
            }
        }
        mounts
    }
}

/// Values from here on mean "no limit" in version 1.
const NO_LIMIT: u64 = 1 << 60;

/// Reads the level of a group of version 2; `None` if it has no limit or cannot be read.
pub fn unified_level(group: &Path, swap_free: u64) -> Option<Level> {
    let number = |file: &str| std::fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let (max, high) = (number("memory.max"), number("memory.high"));
    let (kind, limit) = match (max, high) {
        (Some(max), Some(high)) if high < max => (LimitKind::High, high),
        (Some(max), _) => (LimitKind::Max, max),
        (None, Some(high)) => (LimitKind::High, high),
        (None, None) => return None,
    };
    let stat = std::fs::read_to_string(group.join("memory.stat")).ok()?;
    let reclaimable = sum(&stat, &["inactive_file", "active_file", "slab_reclaimable"]);
    let used = number("memory.current")?.saturating_sub(reclaimable);
    let swapped = number("memory.swap.current").unwrap_or(0);
    let swap = match number("memory.swap.max") {
        Some(most) => most.saturating_sub(swapped).min(swap_free),
        None => swap_free,
    };
    // What is held back by `high` is slowed down before it is swapped out.
    let swap = if kind == LimitKind::High { 0 } else { swap };
    Some(Level { kind, used, limit: limit.saturating_add(swap) })
}

/// The same of version 1.
pub fn memory_level(group: &Path, swap_free: u64) -> Option<Level> {
    let number = |file: &str| std::fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.limit_in_bytes").filter(|n| *n < NO_LIMIT)?;
    let stat = std::fs::read_to_string(group.join("memory.stat")).ok()?;
    let reclaimable = sum(&stat, &["total_inactive_file", "total_active_file"]);
    let used = number("memory.usage_in_bytes")?.saturating_sub(reclaimable);
    let swap = match number("memory.memsw.limit_in_bytes").filter(|n| *n < NO_LIMIT) {
        Some(both) => both.saturating_sub(limit).min(swap_free),
        None => swap_free,
    };
    Some(Level { kind: LimitKind::Max, used, limit: limit.saturating_add(swap) })
}

/// The sum of these lines of a `memory.stat`.
fn sum(stat: &str, names: &[&str]) -> u64 {
    let values = stat.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        names.contains(&name).then(|| value.parse::<u64>().ok())?
    });
    values.fold(0, u64::saturating_add)
}

/// A group and those that it lies in, below the root, which has no limit.
pub fn ancestry(path: &str) -> impl Iterator<Item = &str> {
    let inside = path.starts_with('/') && !path.split('/').any(|part| part == "..");
    let mut rest = inside.then_some(path.trim_end_matches('/'));
    std::iter::from_fn(move || {
        let here = rest.filter(|p| !p.is_empty())?;
        rest = here.rfind('/').map(|at| &here[..at]);
        Some(here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn grown(rate: u64, room: u64) -> Pool {
        let level = |used| Level { kind: LimitKind::Max, used, limit: 100 * MIB };
        let mut pool = Pool::new(level(0));
        for i in 0..20 {
            let used = 100 * MIB - room - (19 - i) * rate;
            pool.update(i * 1_000_000_000, level(used));
        }
        pool
    }

    #[test]
    fn a_pool_is_full_when_its_room_is_used_up() {
        let pool = grown(MIB, 30 * MIB);
        assert_eq!(pool.full_in_ns(), Some(30_000_000_000));
        assert_eq!(pool.full_in_ns_for(MIB as f64), Some(30_000_000_000));
        assert_eq!(pool.full_in_ns_for(MIB as f64 / 2.0), Some(30_000_000_000), "others fill it, too");
        assert_eq!(pool.full_in_ns_for(MIB as f64 / 50.0), None, "hardly the cause");
        assert_eq!(grown(0, 30 * MIB).full_in_ns(), None);
        assert_eq!(grown(1, 90 * MIB).full_in_ns(), None, "in three years");
    }

    #[test]
    fn mounts_of_both_versions() {
        let text = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let mounts = Mounts::parse(text);
        assert_eq!(mounts.memory, Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(mounts.unified, Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn groups_lie_in_groups() {
        assert_eq!(ancestry("/a/b/c").collect::<Vec<_>>(), ["/a/b/c", "/a/b", "/a"]);
        assert_eq!(ancestry("/").count(), 0);
        assert_eq!(ancestry("/../x").count(), 0, "outside of what is mounted here");
        assert_eq!(ancestry("").count(), 0);
    }

    #[test]
    fn version_two() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let write = |file: &str, text: &str| std::fs::write(place.path().join(file), text).expect("a file");
        write("memory.max", "max\n");
        write("memory.high", "max\n");
        write("memory.current", "5000\n");
        write("memory.stat", "anon 1\ninactive_file 1000\nactive_file 500\nslab_reclaimable 100\n");
        assert_eq!(unified_level(place.path(), 0), None);
        write("memory.max", "10000\n");
        assert_eq!(
            unified_level(place.path(), 0),
            Some(Level { kind: LimitKind::Max, used: 3400, limit: 10_000 })
        );
        write("memory.swap.max", "300\n");
        assert_eq!(unified_level(place.path(), 1000).map(|l| l.limit), Some(10_300));
        write("memory.high", "8000\n");
        assert_eq!(
            unified_level(place.path(), 1000),
            Some(Level { kind: LimitKind::High, used: 3400, limit: 8000 })
        );
    }

    #[test]
    fn version_one() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let write = |file: &str, text: &str| std::fs::write(place.path().join(file), text).expect("a file");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "5000\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 1000\ntotal_active_file 500\n");
        assert_eq!(memory_level(place.path(), 0), None);
        write("memory.limit_in_bytes", "8192\n");
        assert_eq!(
            memory_level(place.path(), 0),
            Some(Level { kind: LimitKind::Max, used: 3500, limit: 8192 })
        );
    }
}
