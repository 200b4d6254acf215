//! All that is read of a Go program, and what must hold of it whatever the program says.

use std::time::Duration;

use super::{INLINED_AT, Synthetic};
use crate::process::ModuleId;
use crate::runtime::HoldersLimits;
use crate::runtime::go::buildinfo;
use crate::runtime::go::frames::Frames;
use crate::runtime::go::goroutine::GoroutineSnapshot;
use crate::runtime::go::goroutine_reader::GoroutineReader;
use crate::runtime::go::heap;
use crate::runtime::go::heap_account::GoHeap;
use crate::runtime::go::held::{self, GoHeld};
use crate::runtime::go::leaked;
use crate::runtime::go::mem_stats;
use crate::runtime::go::pclntab::Pclntab;
use crate::runtime::go::program::{LayoutSource, Program};
use crate::runtime::go::rows;
use crate::runtime::go::unwind::DEEPEST;

/// Most that reading so small a program may cost: pieces read, bytes asked for, bytes of one piece.
const MOST_READS: u64 = 1_000_000;
const MOST_BYTES: u64 = 8 << 30;
const LARGEST_READ: u64 = 16 << 20;

/// A look at what holds so small a heap ends soon.
const LIMITS: HoldersLimits<'_> =
    HoldersLimits { longest: Duration::from_secs(10), most_bytes: 1 << 30, go_on: &|| true, anew: true };

/// Reads a program and asserts that what comes of it is sane and was cheap enough.
pub fn exercise(program: &Synthetic) {
    if let Some(elf) = program.elf() {
        let _ = buildinfo::find(&elf);
    }
    for layouts in [LayoutSource::Best, LayoutSource::Calibration] {
        let Ok(opened) = program.open_as(&format!("go1.{}", program.minor), layouts) else { continue };
        let mut reader = GoroutineReader::default();
        for now in [1_000, 2_000] {
            if let Ok(snapshot) = reader.read(&opened, now) {
                assert_sane(&snapshot);
            }
        }
        let _ = leaked::look(&opened);
        if let Ok(held) = held::look(&opened, &mut Frames::default(), &LIMITS) {
            assert_held(&held);
        }
        if let Ok(heap) = heap::read(&opened, &mut Frames::default()) {
            assert_heap(&heap);
        }
        if let Ok(mut places) = mem_stats::find(&opened) {
            let _ = mem_stats::read(&opened, &mut places, 0);
        }
        assert_rows(&opened);
    }
    let (reads, bytes, largest) = program.space.cost();
    assert!(reads <= MOST_READS, "{reads} reads");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    assert!(largest <= LARGEST_READ, "{largest} bytes at once");
}

fn assert_sane(snapshot: &GoroutineSnapshot) {
    for goroutine in &snapshot.goroutines {
        assert!(goroutine.stack < snapshot.stacks.len());
        assert!(goroutine.labels.is_none_or(|labels| labels < snapshot.labels.len()));
    }
    assert!(snapshot.stacks.iter().all(|stack| stack.frames.len() <= DEEPEST));
    assert!(snapshot.labels.iter().all(|labels| !labels.is_empty()));
    assert!(snapshot.losses.iter().all(|(_, count)| *count > 0));
}

fn assert_heap(heap: &GoHeap) {
    let bytes = heap.totals_by_class.iter().fold(0u64, |sum, class| sum.saturating_add(class.bytes));
    assert_eq!(bytes, heap.heap_in_use_bytes);
    for site in &heap.sites {
        assert!(site.live_objects <= site.alloc_objects && site.live_bytes <= site.alloc_bytes, "{site:?}");
        assert!(site.live_bytes_bounds.is_none_or(|(low, high)| low <= high), "{site:?}");
    }
}

fn assert_held(held: &GoHeld) {
    assert_eq!(held.bytes, held.typed_bytes + held.untyped_bytes + held.unreached_bytes);
    let of_holders = held.holders.iter().fold(0u64, |sum, holder| sum.saturating_add(holder.bytes));
    assert!(of_holders <= held.bytes, "{of_holders} of {}", held.bytes);
}

fn assert_rows(program: &Program) {
    let place = rows::Place { module: ModuleId(0), bias: program.bias };
    for rows in program.parts.iter().filter_map(|part| rows::build(program, part, place)) {
        assert_eq!(rows.rows.first().map(|row| row.pc), Some(rows.text.0));
        assert!(rows.rows.windows(2).all(|w| w[0].pc < w[1].pc));
    }
}

/// A function table, for a test to damage.
pub fn table(go120: bool) -> Vec<u8> {
    super::pclntab::build(go120, TEXT).bytes
}

const TEXT: u64 = 0x1000;

/// Asks a table of any bytes for all that it can be asked for.
pub fn exercise_table(bytes: Vec<u8>) {
    let Some(table) = Pclntab::new(bytes, TEXT) else { return };
    let mut steps = table.size();
    let _ = table.by_name("runtime.main");
    for function in (0..table.functions().min(64)).filter_map(|i| table.function(i)) {
        assert!(table.end(function) >= function.entry);
        let _ = (table.name(function), table.kind(function), table.is_top(function));
        let _ = (table.switches_stacks(function), table.inline_tree(function));
        assert!(table.frame_sizes(function, &mut steps).count() <= table.size() + 1);
        for pc in [function.entry, function.entry.wrapping_add(INLINED_AT), u64::MAX] {
            let _ = table.find(pc).map(|found| assert!(found.entry <= pc));
            let _ = (table.frame_size(function, pc), table.line(function, pc));
            let _ = table.inline_index(function, pc);
        }
    }
    if let Some(call) = table.inlined_call(&[0x7f; 20]) {
        let _ = (table.is_name(call), table.inlined_name(call));
    }
}
