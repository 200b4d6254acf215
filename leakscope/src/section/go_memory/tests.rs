use super::answer::{collector, resident};
use super::build::go_memory;
use super::parts::Part;
use super::table;
use super::*;
use crate::runtime::go::mem_stats::{CpuTime, MemStats, MemoryAccount};
use crate::section::finding::Said as _;

const MIB: u64 = 1 << 20;

/// 20 MiB of objects, 2 of room, 3 idle, 4 of stacks, 1 of its own, 6 that are not the runtime's.
fn stats() -> MemStats {
    MemStats {
        at_ns: 5_000_000_000,
        heap_alloc_bytes: 20 * MIB,
        heap_in_use_bytes: 22 * MIB,
        heap_free_bytes: 3 * MIB,
        heap_released_bytes: 7 * MIB,
        stack_bytes: 4 * MIB,
        mspan_bytes: MIB,
        ready_bytes: 30 * MIB,
        marked_bytes: Some(15 * MIB),
        next_gc_bytes: Some(30 * MIB),
        gc_percent: Some(100),
        collections: 12,
        last_gc_ns: Some(2_000_000_000),
        gc_cpu_fraction: 0.02,
        cpu: Some(CpuTime { collector_ns: 20_000_000, used_ns: 400_000_000, all_ns: 1_000_000_000 }),
        anonymous_bytes: Some(36 * MIB),
        ..MemStats::default()
    }
}

fn one_look(last: MemStats) -> GoMemory {
    go_memory(&MemoryAccount { first: last, last, old: None })
}

/// The same after a while.
fn watched(last: MemStats) -> GoMemory {
    go_memory(&MemoryAccount { first: MemStats { at_ns: 0, ..stats() }, last, old: None })
}

fn said(memory: &GoMemory, rss: (u64, u64)) -> Option<String> {
    resident(memory, (Some(rss.0 * MIB), Some(rss.1 * MIB))).map(|said| said.text())
}

#[test]
fn what_tables_say() {
    let told = table::sentences(&one_look(stats()));
    assert_eq!(
        told,
        [
            "Go memory: 22.0 MiB in use on the heap (2.0 MiB of it free room between objects), 3.0 MiB idle, 7.0 MiB \
             returned to the system, 4.0 MiB stacks, 1.0 MiB of the runtime's own; about 6.0 MiB of RSS is not the Go \
             runtime's (mmap, C or global variables)",
            "Go's garbage collector: 12 collections, the last 3.0 s ago; 15.0 MiB was live then; the next at 30.0 MiB \
             of objects; GOGC=100, no GOMEMLIMIT; up to the last one it took 5.0 % of the CPU time that \
             the program used",
        ]
    );
    let account = MemoryAccount {
        first: stats(),
        last: MemStats { off_by_bytes: MIB, gc_percent: None, next_gc_bytes: None, ..stats() },
        old: Some("it has ended".to_owned()),
    };
    let memory = go_memory(&account);
    assert!(!memory.exact);
    let told = table::sentences(&memory).join("\n");
    for part in ["as it was read last (it has ended)", "off by up to 1.0 MiB", "none is to come", "GOGC=off"]
    {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let none = MemStats { collections: 0, last_gc_ns: None, marked_bytes: None, cpu: None, ..stats() };
    let told = table::sentences(&one_look(none)).join("\n");
    assert!(told.contains("no collection yet") && !told.contains("CPU"), "{told}");
    assert_eq!(
        table::in_short(&one_look(stats())),
        [
            "Go heap 22.0M in use · 3.00M idle · 7.00M returned · stacks 4.00M · own 1.00M · not Go's ~6.00M",
            "Go GC 12 · 5.0 % of CPU used · next at 30.0M · GOGC=100",
        ]
    );
}

#[test]
fn the_part_that_holds_most_is_named() {
    assert_eq!(said(&one_look(stats()), (40, 40)), None, "objects are told by their places");
    for (last, part) in [
        (MemStats { heap_free_bytes: 400 * MIB, ..stats() }, "400.0 MiB on the Go heap is idle"),
        (MemStats { heap_in_use_bytes: 214 * MIB, ..stats() }, "194.0 MiB of the 214.0 MiB in use"),
        (MemStats { stack_bytes: 111 * MIB, ..stats() }, "111.0 MiB is stacks of goroutines"),
        (MemStats { other_bytes: 99 * MIB, ..stats() }, "takes 100.0 MiB for itself"),
        (MemStats { anonymous_bytes: Some(330 * MIB), ..stats() }, "About 300.0 MiB of memory is not"),
    ] {
        let text = said(&one_look(last), (440, 320)).expect("something to say");
        assert!(text.contains(part) && text.contains("RSS is 320.0 MiB"), "{part:?} is not in {text}");
        assert_eq!(said(&one_look(last), (440, 4000)), None, "little of all");
    }
    let off =
        MemStats { gc_percent: None, heap_alloc_bytes: 315 * MIB, heap_in_use_bytes: 316 * MIB, ..stats() };
    let text = said(&one_look(off), (20, 330)).expect("something to say");
    assert!(text.starts_with("300.0 MiB on the Go heap was allocated since the last collection"), "{text}");
    let limited = MemStats { limit_bytes: Some(1 << 40), ..off };
    assert_eq!(said(&one_look(limited), (20, 330)), None, "it will be collected");
}

#[test]
fn the_part_that_grew_most_is_named() {
    for (last, part) in [
        (MemStats { heap_free_bytes: 403 * MIB, ..stats() }, "400.0 MiB more that is idle"),
        (MemStats { stack_bytes: 404 * MIB, ..stats() }, "400.0 MiB more in stacks"),
        (MemStats { anonymous_bytes: Some(436 * MIB), ..stats() }, "about 400.0 MiB more that is not"),
        (
            MemStats {
                heap_alloc_bytes: 420 * MIB,
                heap_in_use_bytes: 422 * MIB,
                gc_percent: None,
                ..stats()
            },
            "400.0 MiB more in objects on the Go heap, garbage included. The collector is off",
        ),
    ] {
        let text = said(&watched(last), (40, 441)).expect("something to say");
        assert!(text.starts_with(&format!("RSS grew by 401.0 MiB: {part}")), "{part:?} is not in {text}");
    }
    let text = said(&watched(MemStats { stack_bytes: 504 * MIB, ..stats() }), (40, 441)).unwrap_or_default();
    assert!(text.ends_with("500.0 MiB more in stacks of goroutines, not all of it resident."), "{text}");
    assert_eq!(said(&watched(stats()), (40, 441)), None, "nothing of it is known");
    assert_eq!(said(&watched(MemStats { stack_bytes: 18 * MIB, ..stats() }), (40, 400)), None, "too little");
    assert_eq!(watched(stats()).growth.map(|all| all.len()), Some(Part::ALL.len()));
}

#[test]
fn a_collector_that_takes_much_is_told() {
    let busy = |collector_ns: u64| MemStats {
        collections: 400,
        cpu: Some(CpuTime { collector_ns, used_ns: 2_400_000_000, all_ns: 9_000_000_000 }),
        ..stats()
    };
    let said = |memory: GoMemory| collector(&memory).map(|said| said.text());
    assert_eq!(said(one_look(stats())), None);
    assert_eq!(said(watched(busy(220_000_000))), None, "a tenth");
    let text = said(watched(busy(1_020_000_000))).expect("busy");
    assert_eq!(
        text,
        "Garbage collection took 50 % of the CPU time that the program used while leakscope watched: 388 collections \
         by GOGC=100, the last left 15.0 MiB live."
    );
    let limit = MemStats {
        limit_bytes: Some(64 * MIB),
        limit_governs: true,
        marked_bytes: Some(60 * MIB),
        ..busy(520_000_000)
    };
    let far = MemStats { limit_bytes: Some(1 << 40), ..limit };
    assert_eq!(said(one_look(far)), None, "there is much room");
    let text = said(watched(MemStats { cpu: busy(1_020_000_000).cpu, ..far })).expect("busy");
    assert!(text.contains("by GOMEMLIMIT=1.0 TiB, the last left 60.0 MiB live"), "{text}");
    let text = said(watched(limit)).expect("at the limit");
    assert!(text.contains("took 25 %") && text.contains("GOMEMLIMIT=64.0 MiB"), "{text}");
    let text = said(one_look(limit)).expect("since it began");
    assert!(text.contains("took 22 %") && text.contains("since it began"), "{text}");
    let old = MemStats { cpu: None, gc_cpu_fraction: 0.3, ..limit };
    let text = said(one_look(old)).expect("of all");
    assert!(text.contains("30 % of the time of all processors since it began"), "{text}");
    assert_eq!(said(watched(old)), said(one_look(old)), "of the window nothing is known");
    assert_eq!(said(watched(MemStats { collections: 13, ..old })), None, "it rests");
    let asked = MemStats { forced_collections: 395, ..busy(2_000_000_000) };
    assert_eq!(said(one_look(asked)), None, "the program asked for them");
}
