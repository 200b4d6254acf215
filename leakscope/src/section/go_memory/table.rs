//! The memory of the Go runtime in sentences.

use super::model::{GoCollector, GoMemory};
use crate::human::{bytes, count, counted, duration};
use crate::layout::narrow::size;

/// Less that is not the runtime's is not worth a word: each program has global variables.
const OUTSIDE: u64 = 4 << 20;

/// What tables say of it.
pub(super) fn sentences(memory: &GoMemory) -> Vec<String> {
    vec![format!("{}: {}", title(memory), parts(memory)), collector(&memory.gc)]
}

fn title(memory: &GoMemory) -> String {
    match &memory.old {
        Some(why) => format!("Go memory as it was read last ({why})"),
        None => "Go memory".to_owned(),
    }
}

fn parts(memory: &GoMemory) -> String {
    let room = match memory.heap_room_bytes {
        0 => String::new(),
        room => format!(" ({} of it free room between objects)", bytes(room)),
    };
    let mut told = format!(
        "{} in use on the heap{room}, {} idle, {} returned to the system, {} stacks, {} of the runtime's own",
        bytes(memory.heap_in_use_bytes),
        bytes(memory.heap_idle_bytes),
        bytes(memory.heap_released_bytes),
        bytes(memory.stack_bytes),
        bytes(memory.own_bytes)
    );
    if let Some(outside) = memory.outside_bytes.filter(|bytes| *bytes >= OUTSIDE) {
        told.push_str(&format!(
            "; about {} of RSS is not the Go runtime's (mmap, C or global variables)",
            bytes(outside)
        ));
    }
    if memory.off_by_bytes > 0 {
        let off = bytes(memory.off_by_bytes);
        told.push_str(&format!("; the program went on meanwhile: the parts are off by up to {off}"));
    }
    told
}

fn collector(gc: &GoCollector) -> String {
    let mut told = vec![match gc.since_last_gc_ns {
        None => "Go's garbage collector: no collection yet".to_owned(),
        Some(ns) => {
            let all = counted(gc.collections, "collection");
            let window = gc.collections_in_window.map(|n| format!(" ({n} while leakscope watched)"));
            let window = window.unwrap_or_default();
            format!("Go's garbage collector: {all}{window}, the last {} ago", duration(ns))
        }
    }];
    told.extend(gc.live_after_gc_bytes.map(|live| format!("{} was live then", bytes(live))));
    told.push(
        gc.next_gc_bytes
            .map_or("none is to come".to_owned(), |next| format!("the next at {} of objects", bytes(next))),
    );
    told.push(settings(gc));
    told.extend((gc.collections > 0).then(|| cpu(gc)));
    told.join("; ")
}

fn settings(gc: &GoCollector) -> String {
    let gogc = gc.gogc.map_or("GOGC=off".to_owned(), |percent| format!("GOGC={percent}"));
    let limit = gc.gomemlimit_bytes.map_or("no GOMEMLIMIT".to_owned(), |limit| {
        let governs = if gc.limit_governs { ", which governs" } else { "" };
        format!("GOMEMLIMIT={}{governs}", bytes(limit))
    });
    format!("{gogc}, {limit}")
}

/// What it costs.
fn cpu(gc: &GoCollector) -> String {
    let share = |part: u64, all: u64| format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64);
    match (gc.cpu_in_window, gc.cpu) {
        (Some(cpu), _) => format!(
            "it took {} of the CPU time that the program used while leakscope watched",
            share(cpu.collector_ns, cpu.used_ns)
        ),
        (None, Some(cpu)) => format!(
            "up to the last one it took {} of the CPU time that the program used",
            share(cpu.collector_ns, cpu.used_ns)
        ),
        (None, None) => {
            format!(
                "up to the last one it took {:.1} % of the time of all processors",
                100.0 * gc.cpu_fraction
            )
        }
    }
}

/// What `top` says of it, in lines of 80 columns or so.
pub(super) fn in_short(memory: &GoMemory) -> Vec<String> {
    let now = if memory.old.is_some() { " (not of now)" } else { "" };
    let mut heap = vec![
        format!("Go heap{now} {} in use", size(memory.heap_in_use_bytes)),
        format!("{} idle", size(memory.heap_idle_bytes)),
        format!("{} returned", size(memory.heap_released_bytes)),
        format!("stacks {}", size(memory.stack_bytes)),
        format!("own {}", size(memory.own_bytes)),
    ];
    let outside = memory.outside_bytes.filter(|bytes| *bytes >= OUTSIDE);
    heap.extend(outside.map(|bytes| format!("not Go's ~{}", size(bytes))));
    let gc = &memory.gc;
    let mut collector = vec![format!("Go GC {}", count(gc.collections))];
    collector.extend(gc.cpu_in_window.or(gc.cpu).map(|cpu| {
        let window = if gc.cpu_in_window.is_some() { " since attach" } else { "" };
        format!("{:.1} % of CPU used{window}", 100.0 * cpu.collector_ns as f64 / cpu.used_ns.max(1) as f64)
    }));
    collector.extend(gc.next_gc_bytes.map(|next| format!("next at {}", size(next))));
    collector.push(gc.gogc.map_or("GOGC=off".to_owned(), |percent| format!("GOGC={percent}")));
    collector.extend(gc.gomemlimit_bytes.map(|limit| format!("GOMEMLIMIT={}", size(limit))));
    vec![heap.join(" · "), collector.join(" · ")]
}
