use super::reading::{Controller, CpuStats};
use super::*;

const MIB: u64 = 1 << 20;
const MS: u64 = 1_000_000;
const CPU: [u64; 11] =
    [100 * MS, 120 * MS, 50 * MS, 30 * MS, 300 * MS, MS, 2 * MS, 3 * MS, 200 * MS, 497 * MS, 1000 * MS];

/// An account that adds up: 6 MiB in use, 2 free, 1 of stacks, 1 of the runtime's own.
fn reading() -> Reading {
    Reading {
        controller: Controller {
            percent: 100,
            limit: 64 * MIB,
            goal: 8 * MIB,
            least_goal: 0,
            triggered: u64::MAX,
            marked: 4 * MIB,
            in_use: 6 * MIB,
            released: 3 * MIB,
            free: 2 * MIB,
            allocated: 30 * MIB,
            freed: 25 * MIB,
            ready: 10 * MIB,
        },
        stats: Some(Stats {
            own: [0, MIB / 4, MIB / 8, MIB / 8, MIB / 8, MIB / 8],
            last_unix_ns: 5,
            pause_ns: 7,
            collections: 3,
            forced: 1,
            cpu_fraction: 0.25,
            last_ns: 9,
            released: 3 * MIB,
            in_heap: 6 * MIB,
            stacks: MIB,
            work: MIB / 4,
        }),
        heap_in_use: 6 * MIB,
        descriptions: [MIB / 5, MIB],
        cpu: Some(CpuStats(CPU)),
    }
}

#[test]
fn an_account_that_adds_up() {
    let reading = reading();
    assert_eq!(reading.off_by(), Some(0));
    assert!(reading.has_account());
    let stats = told(&reading, &reading.stats.expect("statistics"), 27);
    assert_eq!(stats.own_bytes(), MIB);
    assert_eq!((stats.heap_alloc_bytes, stats.marked_bytes), (5 * MIB, Some(4 * MIB)));
    assert_eq!((stats.gc_percent, stats.limit_bytes), (Some(100), Some(64 * MIB)));
    assert_eq!((stats.mspan_in_use_bytes, stats.mcache_in_use_bytes), (MIB / 5, MIB / 8));
    assert_eq!(stats.cpu, Some(CpuTime { collector_ns: 250 * MS, used_ns: 750 * MS, all_ns: 1000 * MS }));
}

#[test]
fn what_is_off_is_told_or_refused() {
    let mut reading = reading();
    reading.controller.ready += MIB;
    assert_eq!(reading.off_by(), Some(MIB));
    assert!(reading.has_account(), "it may have gone on");
    reading.controller.ready += 20 * MIB;
    assert!(!reading.has_account());
    reading.stats = None;
    assert_eq!(reading.off_by(), None);
    assert!(!reading.has_account());
}

#[test]
fn what_cannot_be_the_collector() {
    let sound = reading();
    assert!(sound.has_controller());
    for odd in [
        Controller { percent: -2, ..sound.controller },
        Controller { limit: u64::MAX, ..sound.controller },
        Controller { in_use: 6 * MIB + 1, ..sound.controller },
        Controller { in_use: 60 * MIB, ready: 90 * MIB, ..sound.controller },
        Controller { in_use: 0, ..sound.controller },
        Controller { free: 1 << 50, ready: u64::MAX, ..sound.controller },
        Controller { ready: MIB, ..sound.controller },
        Controller { freed: 31 * MIB, ..sound.controller },
    ] {
        assert!(!Reading { controller: odd, ..sound }.has_controller(), "{odd:?}");
    }
}

#[test]
fn cpu_time_whose_parts_do_not_add_up_is_not_told() {
    let mut reading = reading();
    let stats = reading.stats.expect("statistics");
    let with = |changes: &[(usize, u64)]| {
        let mut words = CPU;
        changes.iter().for_each(|(at, value)| words[*at] = *value);
        words
    };
    for odd in [
        with(&[(3, 31 * MS)]),
        with(&[(7, 4 * MS)]),
        with(&[(8, 2000 * MS)]),
        with(&[(9, 400 * MS)]),
        with(&[(1, 121 * MS), (4, 301 * MS), (9, 496 * MS)]),
        CPU.map(|ns| ns / MS),
        [0; 11],
        [u64::MAX; 11],
    ] {
        reading.cpu = Some(CpuStats(odd));
        assert_eq!(told(&reading, &stats, 27).cpu, None, "{odd:?}");
    }
    // A pause of the collection that goes on.
    reading.cpu = Some(CpuStats(with(&[(3, 31 * MS), (4, 301 * MS)])));
    assert_eq!(told(&reading, &stats, 27).cpu.map(|cpu| cpu.collector_ns), Some(251 * MS));
    let nan = Stats { cpu_fraction: f64::NAN, collections: 0, ..stats };
    let told = told(&super::tests::reading(), &nan, 27);
    assert_eq!((told.cpu, told.gc_cpu_fraction, told.marked_bytes, told.last_gc_ns), (None, 0.0, None, None));
}

#[test]
fn memory_of_no_file() {
    let status =
        "Name:\tx\nVmRSS:\t    5000 kB\nRssAnon:\t    3000 kB\nRssFile:\t 1900 kB\nRssShmem:\t     100 kB\n";
    assert_eq!(sum_of(status), Some(3100 << 10));
    assert_eq!(sum_of("Name:\tx\n"), None);
    assert_eq!(sum_of("RssAnon:\t 18446744073709551615 kB\n"), None);
    assert!(anonymous(std::process::id()).is_some_and(|bytes| bytes > 4096));
}
