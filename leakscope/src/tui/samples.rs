//! Reports made by hand.

use crate::export::table::tests::samples::{S, empty, frame, whole};
use crate::report::Report;
use crate::report::model::{Heap, Site, Source, Totals};
use crate::section::Section as _;

/// A report after so many seconds, with sites of so many live bytes.
pub(crate) fn heap_report(seconds: u64, sites: &[(&str, u64)]) -> Report {
    let mut report = empty(seconds * S);
    report.memory.rss_start_bytes = Some(10 << 20);
    report.memory.rss_end_bytes = Some((10 + seconds) << 20);
    report.overhead.leakscope_cpu_ns = seconds * S / 50;
    let live = sites.iter().map(|(_, live)| live).sum();
    let sites = sites.iter().zip(1..).map(|(&(name, live), rank)| Site {
        site_id: name.to_owned(),
        rank,
        label: "".into(),
        place: 0,
        source: "malloc".to_owned(),
        live_bytes: live,
        live_objects: live.div_ceil(100),
        older_blocks: 0,
        older_bytes: 0,
        alloc_bytes: 2 * live,
        alloc_objects: live.div_ceil(50),
        growth_bytes: 0,
        oldest_age_ns: Some(seconds * S),
        youngest_age_ns: Some(S / 10),
        live_bytes_low: None,
        live_bytes_high: None,
        samples: None,
        goroutine: None,
        stack: whole(vec![
            frame("malloc", None),
            frame(name, Some((&format!("{name}.c"), 7))),
            frame("__libc_start_main", None),
        ]),
    });
    report.heap = Some(Heap {
        exact: true,
        sources: vec![Source {
            name: "malloc".to_owned(),
            exact: true,
            method: "every call was counted".to_owned(),
            error_bytes: None,
        }],
        totals: Totals {
            live_bytes: live,
            live_objects: live.div_ceil(100),
            alloc_bytes: 2 * live,
            alloc_objects: live.div_ceil(50),
            free_objects: 0,
            older_blocks: 0,
            older_bytes: 0,
            unknown_frees: 0,
            growth_bytes: 0,
        },
        sites: sites.collect(),
        ..Heap::default()
    });
    if let Some(heap) = &mut report.heap {
        heap.complete();
    }
    report
}
