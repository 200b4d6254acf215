//! Reads `/proc` once a refresh.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::history::History;
use super::model::{Limit, LimitKind, Machine, Process, SCHEMA, Snapshot, Unseen};
use super::place::ControlGroups;
use super::pool::{self, Level, Mounts, Pool, ancestry};
use super::runtime::Detector;
use super::stat::{MemInfo, Stat, resident_pages};
use super::threads::{self, Blocked};
use crate::runtime::RuntimeName;

/// Processes outside the screen whose details are looked at in one refresh.
const DETAILS: usize = 40;
/// Threads outside the screen that are looked at in one refresh.
const THREADS: u64 = 100;
/// Threads on the screen that are looked at in one refresh.
const THREADS_SHOWN: u64 = 1000;
/// The same for a snapshot of everything.
const THREADS_EVERYTHING: u64 = 20_000;
/// Refreshes after which a control group is read again: processes are moved now and then.
const PLACE_AGE: u64 = 30;
/// Refreshes after which it is checked whether the PID of a kernel thread has become a process.
const KERNEL_AGE: u64 = 30;
/// Bytes of a command line that are kept.
const CMDLINE: usize = 256;

/// Whose threads and details are looked at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All processes, as far as the budget goes.
    Everything,
    /// These, because they are on the screen; others in turn.
    Shown(Vec<u32>),
}

/// What is remembered of a process.
#[derive(Debug)]
struct Tracked {
    stat: Stat,
    history: History,
    seen: u64,
    details: Option<Details>,
    blocked: Option<Blocked>,
}

/// What is read once.
#[derive(Clone, Debug)]
struct Details {
    read: u64,
    comm: String,
    cmdline: Option<String>,
    uid: Option<u32>,
    runtime: Option<RuntimeName>,
    place: ControlGroups,
    name: Option<String>,
}

/// Samples the machine's processes.
#[derive(Debug)]
pub struct Sampler {
    proc: PathBuf,
    mounts: Mounts,
    begun: Instant,
    page: u64,
    refreshes: u64,
    tracked: HashMap<u32, Tracked>,
    kernel: HashMap<u32, u64>,
    detector: Detector,
    machine: Pool,
    groups: HashMap<Group, Option<Pool>>,
    turn: u32,
    buffer: Vec<u8>,
}

/// A control group; `true` where it is one of version 2.
type Group = (bool, String);

impl Default for Sampler {
    fn default() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self::of("/proc".into(), Mounts::parse(&mounts))
    }
}

impl Sampler {
    /// Samples what lies below `proc` and the control groups at `mounts`.
    pub fn of(proc: PathBuf, mounts: Mounts) -> Self {
        Self {
            proc,
            mounts,
            begun: Instant::now(),
            page: rustix::param::page_size() as u64,
            refreshes: 0,
            tracked: HashMap::new(),
            kernel: HashMap::new(),
            detector: Detector::default(),
            machine: Pool::new(Level::machine(&MemInfo::default())),
            groups: HashMap::new(),
            turn: 0,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Looks at everything now.
    pub fn sample(&mut self, scope: &Scope) -> std::io::Result<Snapshot> {
        let at_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sample_at(scope, at_ns)
    }

    fn sample_at(&mut self, scope: &Scope, at_ns: u64) -> std::io::Result<Snapshot> {
        self.refreshes += 1;
        self.read_processes(at_ns)?;
        let chosen = self.chosen(scope);
        self.read_details(&chosen);
        self.read_threads(scope, &chosen);
        let info = std::fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let info = MemInfo::parse(&info);
        self.machine.update(at_ns, Level::machine(&info));
        self.read_groups(at_ns, info.swap_free);
        let now = time::OffsetDateTime::now_utc();
        let mut snapshot = Snapshot {
            schema: SCHEMA.to_owned(),
            leakscope_version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
            machine: Machine {
                memory_total_bytes: info.total,
                memory_available_bytes: info.available,
                swap_total_bytes: info.swap_total,
                swap_free_bytes: info.swap_free,
                growth_bytes_per_min: self.machine.rate.map(per_minute),
                full_in_ns: self.machine.full_in_ns(),
            },
            unseen: Unseen {
                // Hidden processes show in nothing else than that PID 1 is missing.
                processes_hidden: !self.tracked.contains_key(&1),
                ..Unseen::default()
            },
            processes: Vec::with_capacity(self.tracked.len()),
        };
        for (&pid, tracked) in &self.tracked {
            snapshot.processes.push(self.process(pid, tracked, info.total));
            if let Some(details) = &tracked.details {
                snapshot.unseen.runtimes += u64::from(details.runtime.is_none());
            }
            let unseen = tracked.blocked.is_some_and(|b| b.locks.is_none());
            snapshot.unseen.lock_waits += u64::from(unseen);
        }
        Ok(snapshot)
    }

    /// Reads the `stat` of each process; forgets those that are gone.
    fn read_processes(&mut self, at_ns: u64) -> std::io::Result<()> {
        let refresh = self.refreshes;
        let mut path = self.proc.clone();
        for entry in std::fs::read_dir(&self.proc)?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if self.kernel.get(&pid).is_some_and(|checked| refresh - checked < KERNEL_AGE) {
                continue;
            }
            path.push(entry.file_name());
            path.push("stat");
            let mut stat = read(&path, &mut self.buffer).and_then(|()| Stat::parse(&self.buffer));
            path.pop();
            if let Some(stat) = stat.as_mut().filter(|stat| !stat.kernel) {
                // `stat` adds up only what the processors have told each other; `statm`, since Linux 6.16, all.
                path.push("statm");
                let resident = read(&path, &mut self.buffer).and_then(|()| resident_pages(&self.buffer));
                stat.rss_pages = resident.unwrap_or(stat.rss_pages);
                path.pop();
            }
            path.pop();
            // It has ended meanwhile.
            let Some(stat) = stat else { continue };
            if stat.kernel {
                // Spread over the refreshes to come.
                self.kernel.insert(pid, refresh.saturating_sub(u64::from(pid) % (KERNEL_AGE / 2)));
                continue;
            }
            self.kernel.remove(&pid);
            // A zombie holds no memory.
            if matches!(stat.state, b'Z' | b'X') && stat.threads <= 1 {
                continue;
            }
            let rss = stat.rss_pages.saturating_mul(self.page);
            let tracked = self.tracked.entry(pid).or_insert_with(|| Tracked::new(stat.clone()));
            if tracked.stat.start_ticks != stat.start_ticks {
                *tracked = Tracked::new(stat.clone());
            }
            tracked.stat = stat;
            tracked.seen = refresh;
            tracked.history.push(at_ns, rss);
        }
        self.tracked.retain(|_, tracked| tracked.seen == refresh);
        // Kernel threads come and go, too.
        if refresh.is_multiple_of(KERNEL_AGE) {
            self.kernel.retain(|_, checked| refresh - *checked < 2 * KERNEL_AGE);
        }
        Ok(())
    }

    /// The processes that are looked at closely: those asked for, then some others in turn.
    fn chosen(&mut self, scope: &Scope) -> Vec<u32> {
        let mut all: Vec<u32> = self.tracked.keys().copied().collect();
        let Scope::Shown(shown) = scope else { return all };
        all.sort_unstable();
        let mut chosen: Vec<u32> =
            shown.iter().copied().filter(|pid| self.tracked.contains_key(pid)).collect();
        let from = all.partition_point(|pid| *pid <= self.turn);
        let in_turn = all[from..].iter().chain(&all[..from]).copied().take(DETAILS.min(all.len()));
        let in_turn: Vec<u32> = in_turn.collect();
        self.turn = in_turn.last().copied().unwrap_or(0);
        chosen.extend(in_turn.into_iter().filter(|pid| !shown.contains(pid)));
        chosen
    }

    fn read_details(&mut self, chosen: &[u32]) {
        for pid in chosen {
            let Some(tracked) = self.tracked.get_mut(pid) else { continue };
            let known = tracked.details.as_ref();
            // Another name: mostly another program, after an exec.
            let same = known.filter(|details| details.comm == tracked.stat.comm);
            let fresh = same.is_some_and(|details| self.refreshes - details.read < PLACE_AGE);
            if fresh {
                continue;
            }
            let directory = self.proc.join(pid.to_string());
            let place = std::fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
            let place = ControlGroups::parse(&place);
            let name = place.name();
            let details = match same {
                Some(details) => Details { read: self.refreshes, place, name, ..details.clone() },
                None => Details {
                    read: self.refreshes,
                    comm: tracked.stat.comm.clone(),
                    cmdline: cmdline(&directory, &mut self.buffer),
                    uid: std::fs::metadata(&directory).ok().map(|m| m.uid()),
                    runtime: self.detector.detect(&directory),
                    place,
                    name,
                },
            };
            tracked.details = Some(details);
        }
    }

    fn read_threads(&mut self, scope: &Scope, chosen: &[u32]) {
        let shown = match scope {
            Scope::Everything => chosen.len(),
            Scope::Shown(shown) => shown.iter().filter(|pid| self.tracked.contains_key(pid)).count(),
        };
        let mut budget = if *scope == Scope::Everything { THREADS_EVERYTHING } else { THREADS_SHOWN };
        let mut budget_in_turn = THREADS;
        for (i, pid) in chosen.iter().enumerate() {
            let Some(tracked) = self.tracked.get_mut(pid) else { continue };
            let budget = if i < shown { &mut budget } else { &mut budget_in_turn };
            let task = self.proc.join(pid.to_string()).join("task");
            if let Some(blocked) = threads::look(&task, tracked.stat.threads, budget) {
                tracked.blocked = Some(blocked);
            }
        }
    }

    /// Reads the groups that processes lie in, as far as they are known.
    fn read_groups(&mut self, at_ns: u64, swap_free: u64) {
        let mut wanted: HashMap<Group, Option<Pool>> = HashMap::new();
        for tracked in self.tracked.values() {
            let Some(details) = &tracked.details else { continue };
            for group in groups(&details.place) {
                let Entry::Vacant(entry) = wanted.entry(group) else { continue };
                let known = self.groups.remove(entry.key()).flatten();
                let pool = level(&self.mounts, entry.key(), swap_free).map(|level| {
                    let mut pool = known.unwrap_or_else(|| Pool::new(level));
                    pool.update(at_ns, level);
                    pool
                });
                entry.insert(pool);
            }
        }
        self.groups = wanted;
    }

    fn process(&self, pid: u32, tracked: &Tracked, total: u64) -> Process {
        let rss = tracked.history.last().unwrap_or(0);
        let slope = tracked.history.slope();
        // The median of slopes is dear: only for what grows.
        let own = slope.filter(|slope| *slope >= 1.0).and_then(|_| tracked.history.steady_slope());
        let details = tracked.details.as_ref();
        let of_place = details.into_iter().flat_map(|details| groups(&details.place));
        let own_groups: Vec<(Group, &Pool)> =
            of_place.filter_map(|group| Some((group.clone(), self.groups.get(&group)?.as_ref()?))).collect();
        let pools = own_groups.iter().map(|(group, pool)| (Some(&group.1), *pool));
        let forecasts = pools
            .chain([(None, &self.machine)])
            .filter_map(|(group, pool)| Some((pool.full_in_ns_for(own?)?, group, pool)));
        let nearest = forecasts.min_by_key(|(at, ..)| *at);
        let limit = nearest.map(|(_, group, pool)| (group, pool)).or_else(|| {
            let least = own_groups.iter().min_by_key(|(_, pool)| pool.level.room())?;
            Some((Some(&least.0.1), least.1))
        });
        let blocked = tracked.blocked;
        Process {
            pid,
            comm: tracked.stat.comm.clone(),
            cmdline: details.and_then(|d| d.cmdline.clone()),
            uid: details.and_then(|d| d.uid),
            rss_bytes: rss,
            growth_bytes_per_min: slope.map(per_minute),
            memory_share: if total == 0 { 0.0 } else { rss as f64 / total as f64 },
            full_in_ns: nearest.map(|(at, ..)| at),
            limit: limit.map(|(group, pool)| Limit {
                kind: match pool.level.kind {
                    pool::LimitKind::Machine => LimitKind::Machine,
                    pool::LimitKind::Max => LimitKind::CgroupMax,
                    pool::LimitKind::High => LimitKind::CgroupHigh,
                },
                cgroup: group.cloned(),
                used_bytes: pool.level.used,
                limit_bytes: pool.level.limit,
                growth_bytes_per_min: pool.rate.map(per_minute),
            }),
            threads: tracked.stat.threads,
            blocked: blocked.and_then(|b| Some(b.uninterruptible + b.locks?)),
            blocked_uninterruptible: blocked.map(|b| b.uninterruptible),
            blocked_locks: blocked.and_then(|b| b.locks),
            runtime: details.and_then(|d| d.runtime.clone()),
            container: details.and_then(|d| d.place.container.clone()),
            unit: details.and_then(|d| d.place.unit.clone()),
            cgroup: details.and_then(|d| d.place.memory.clone().or_else(|| d.place.unified.clone())),
            history: tracked.history.values(),
            place: details.and_then(|d| d.name.clone()),
        }
    }
}

impl Tracked {
    fn new(stat: Stat) -> Self {
        Self { stat, history: History::default(), seen: 0, details: None, blocked: None }
    }
}

/// The level of a group, if it has a limit.
fn level(mounts: &Mounts, (unified, path): &Group, swap_free: u64) -> Option<Level> {
    let mount = if *unified { &mounts.unified } else { &mounts.memory };
    if path.split('/').any(|part| part == "..") {
        // A group outside of our cgroup namespace: below the mount, that path leads elsewhere.
        return None;
    }
    let directory = mount.as_ref()?.join(path.trim_start_matches('/'));
    if *unified {
        pool::unified_level(&directory, swap_free)
    } else {
        pool::memory_level(&directory, swap_free)
    }
}

/// The groups of a process that may have limits, innermost first.
fn groups(place: &ControlGroups) -> impl Iterator<Item = Group> {
    let unified = place.unified.as_deref().unwrap_or("");
    let memory = place.memory.as_deref().unwrap_or("");
    let of = |version: bool, path: &str| ancestry(path).map(move |p| (version, p.to_owned())).collect();
    let (a, b): (Vec<Group>, Vec<Group>) = (of(true, unified), of(false, memory));
    a.into_iter().chain(b)
}

fn per_minute(rate: f64) -> i64 {
    (rate * 60.0) as i64
}

/// Reads a small file of `/proc` in one call.
fn read(path: &Path, buffer: &mut Vec<u8>) -> Option<()> {
    buffer.resize(4096, 0);
    let read = File::open(path).ok()?.read(buffer).ok()?;
    buffer.truncate(read);
    Some(())
}

fn cmdline(directory: &Path, buffer: &mut Vec<u8>) -> Option<String> {
    read(&directory.join("cmdline"), buffer)?;
    buffer.truncate(CMDLINE);
    let words = buffer.split(|&b| b == 0).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().expect("a temporary directory"));
            machine.write("meminfo", "MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n");
            machine
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }

        fn process(&self, pid: u32, comm: &str, start: u64, pages: u64, flags: u64) {
            let text = format!(
                "{pid} ({comm}) S 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 3 0 {start} 1000 {pages} 1 1\n"
            );
            self.write(&format!("{pid}/stat"), &text);
        }

        fn sampler(&self) -> Sampler {
            let mounts = Mounts { unified: Some(self.0.path().join("groups")), memory: None };
            Sampler::of(self.0.path().to_owned(), mounts)
        }
    }

    fn find(snapshot: &Snapshot, pid: u32) -> Option<&Process> {
        snapshot.processes.iter().find(|p| p.pid == pid)
    }

    #[test]
    fn growth_and_what_becomes_of_pids() {
        let machine = Machine::new();
        machine.process(1, "init", 1, 100, 0);
        machine.process(7, "grows", 5, 1000, 0);
        machine.process(8, "kthread", 1, 0, 0x0020_0000);
        machine.write("7/cmdline", "grows\0--much\0");
        let mut sampler = machine.sampler();
        let first = sampler.sample_at(&Scope::Everything, 0).expect("a snapshot");
        assert_eq!(first.processes.len(), 2);
        let page = sampler.page;
        let process = find(&first, 7).expect("the process");
        assert_eq!((process.rss_bytes, process.growth_bytes_per_min), (1000 * page, None));
        assert_eq!(process.cmdline.as_deref(), Some("grows --much"));
        machine.process(7, "grows", 5, 1010, 0);
        let second = sampler.sample_at(&Scope::Everything, SECOND).expect("a snapshot");
        let grown = find(&second, 7).and_then(|p| p.growth_bytes_per_min);
        assert_eq!(grown, Some(600 * page.cast_signed()));
        // Another process under the same PID begins anew.
        machine.process(7, "other", 99, 5, 0);
        std::fs::remove_dir_all(machine.0.path().join("1")).expect("init ends");
        let third = sampler.sample_at(&Scope::Everything, 2 * SECOND).expect("a snapshot");
        let process = find(&third, 7).expect("the process");
        assert_eq!((process.comm.as_str(), process.growth_bytes_per_min), ("other", None));
        assert!(find(&third, 1).is_none() && third.unseen.processes_hidden);
    }

    #[test]
    fn the_nearest_end_is_told() {
        let machine = Machine::new();
        machine.write("7/cgroup", "0::/jobs/a.service\n");
        machine.write("groups/jobs/a.service/memory.max", "max\n");
        machine.write("groups/jobs/memory.max", "104857600\n");
        let mut sampler = machine.sampler();
        let mut last = None;
        for i in 0..10 {
            let mib = 10 + i * 2;
            machine.process(7, "grows", 5, mib * 256, 0);
            machine.write("groups/jobs/memory.current", &((mib << 20) + 4096).to_string());
            machine.write("groups/jobs/memory.stat", "inactive_file 4096\n");
            last = Some(sampler.sample_at(&Scope::Everything, i * SECOND).expect("a snapshot"));
        }
        let last = last.expect("a snapshot");
        let process = find(&last, 7).expect("the process");
        assert_eq!(process.unit.as_deref(), Some("a.service"));
        let limit = process.limit.as_ref().expect("a limit");
        assert_eq!((limit.kind, limit.cgroup.as_deref()), (LimitKind::CgroupMax, Some("/jobs")));
        // 100 MiB less 28 MiB, at 2 MiB a second.
        assert_eq!(process.full_in_ns, Some(36 * SECOND));
    }

    #[test]
    fn every_process_has_its_turn() {
        let machine = Machine::new();
        (1..=100).for_each(|pid| machine.process(pid, "x", 1, 1, 0));
        let mut sampler = machine.sampler();
        let shown = Scope::Shown(vec![50, 4711]);
        for _ in 0..3 {
            let snapshot = sampler.sample_at(&shown, 0).expect("a snapshot");
            assert!(find(&snapshot, 50).is_some_and(|p| p.uid.is_some()));
        }
        let snapshot = sampler.sample_at(&shown, 0).expect("a snapshot");
        assert!(snapshot.processes.iter().all(|p| p.uid.is_some()));
    }
}
