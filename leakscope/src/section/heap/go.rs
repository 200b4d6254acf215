//! What the Go runtime says of its heap, as part of the section on the heap.

use std::cmp::{Ordering, Reverse};

use crate::collect::heap::Sort;
use crate::runtime::go::aggregate::GoHeapSnapshot;
use crate::runtime::go::blame::blame;
use crate::runtime::go::heap_account::{GoHeapSite, SizeClass};
use crate::runtime::go::named::{GoCode, frame};
use crate::section::model::{Cut, GoSizeClass, Heap, Site, Source, Stack, StackEnd, Totals};
use crate::section::site::rank;

/// What it is made from.
#[derive(Clone, Copy, Debug)]
pub struct GoHeapInputs<'a> {
    /// The account.
    pub snapshot: &'a GoHeapSnapshot,
    /// The order of sites, which those of the allocator's functions have already.
    pub sort: Sort,
}

/// What to say of an account that is the one before.
const UNCHANGED: &str =
    "it is as at the look before: since then no garbage collection has finished, or nothing changed";

/// One section of what was traced, if anything, and of the Go runtime's account. `code` is the program.
pub(crate) fn join(traced: Option<Heap>, inputs: &GoHeapInputs<'_>, code: GoCode<'_>) -> Heap {
    let GoHeapSnapshot { heap: go, sites, growth_bytes, unchanged } = inputs.snapshot;
    let mut heap = traced.unwrap_or_else(nothing);
    heap.exact &= go.exact;
    heap.sources.push(Source {
        name: super::GO.to_owned(),
        exact: go.exact,
        method: if *unchanged { format!("{}; {UNCHANGED}", go.method) } else { go.method.clone() },
        error_bytes: go.error_bytes.or(go.exact.then_some(0)),
    });
    let Totals {
        live_bytes,
        live_objects,
        alloc_bytes,
        alloc_objects,
        free_objects,
        growth_bytes: growth,
        ..
    } = &mut heap.totals;
    for site in &go.sites {
        let add = |sum: &mut u64, n: u64| *sum = sum.saturating_add(n);
        add(live_bytes, site.live_bytes);
        add(live_objects, site.live_objects);
        add(alloc_bytes, site.alloc_bytes);
        add(alloc_objects, site.alloc_objects);
        add(free_objects, site.alloc_objects.saturating_sub(site.live_objects));
    }
    *growth = growth.saturating_add(*growth_bytes);
    let named = go.sites.iter().zip(sites);
    heap.sites.extend(named.map(|(seen, (id, growth))| site(seen, *id, *growth, code)));
    // Stable: what is equal stays as it is.
    heap.sites.sort_by(|a, b| order(inputs.sort, a, b));
    rank(&mut heap.sites);
    heap.go_in_use_bytes = (go.heap_in_use_bytes > 0).then_some(go.heap_in_use_bytes);
    heap.go_unsampled_bytes = (go.unsampled_bytes > 0).then_some(go.unsampled_bytes);
    heap.go_size_classes = (!go.totals_by_class.is_empty()).then(|| {
        let mut classes: Vec<GoSizeClass> = go.totals_by_class.iter().map(size_class).collect();
        classes.sort_by_key(|class| (Reverse(class.bytes), class.size_bytes, class.scan));
        classes
    });
    heap.go_agreement.clone_from(&go.agreement);
    heap
}

/// The section before anything is in it.
fn nothing() -> Heap {
    Heap { exact: true, ..Heap::default() }
}

fn order(sort: Sort, a: &Site, b: &Site) -> Ordering {
    let primary = match sort {
        Sort::LiveBytes => Ordering::Equal,
        Sort::LiveObjects => b.live_objects.cmp(&a.live_objects),
        Sort::Growth => b.growth_bytes.cmp(&a.growth_bytes),
        // Go's objects have no age.
        Sort::Age => b.oldest_age_ns.cmp(&a.oldest_age_ns),
    };
    primary.then(b.live_bytes.cmp(&a.live_bytes))
}

fn site(seen: &GoHeapSite, id: u64, growth_bytes: i64, code: GoCode<'_>) -> Site {
    let (low, high) = seen.live_bytes_bounds.unzip();
    Site {
        site_id: format!("{id:016x}"),
        rank: 0,
        label: "".into(),
        place: 0,
        source: super::GO.to_owned(),
        live_bytes: seen.live_bytes,
        live_objects: seen.live_objects,
        older_blocks: 0,
        older_bytes: 0,
        alloc_bytes: seen.alloc_bytes,
        alloc_objects: seen.alloc_objects,
        growth_bytes,
        oldest_age_ns: None,
        youngest_age_ns: None,
        live_bytes_low: low,
        live_bytes_high: high,
        samples: seen.samples,
        goroutine: None,
        stack: Stack {
            blame: blame(&seen.frames, code.main_module),
            frames: seen.frames.iter().map(|go| frame(go, code).into()).collect(),
            // The runtime keeps as much of a stack as it does; the rest is not there to be read.
            end: Some(match (seen.frames.is_empty(), seen.samples) {
                (false, _) => StackEnd::Root,
                (true, None) => StackEnd::Cut(Cut::NoStack),
                (true, Some(_)) => StackEnd::Cut(Cut::NotSeen),
            }),
            ..Stack::default()
        },
    }
}

const fn size_class(class: &SizeClass) -> GoSizeClass {
    GoSizeClass {
        size_bytes: class.size_bytes,
        scan: class.scan,
        spans: class.spans,
        objects: class.objects,
        bytes: class.bytes,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::runtime::go::aggregate::GoHeapAggregate;
    use crate::runtime::go::aggregate::goroutine_sites::tests::frame as go;
    use crate::runtime::go::heap_account::{GoHeap, PROFILE_METHOD, SAMPLED_METHOD};
    use crate::section::finding::Said as _;
    use crate::section::goroutines::build::tests::chat;

    /// An estimate of two sites.
    pub(crate) fn account() -> GoHeap {
        let site = |function: &str, live: u64, bounds| GoHeapSite {
            live_bytes: live,
            live_objects: live / 1_000,
            alloc_bytes: live * 3,
            alloc_objects: live * 3 / 1_000,
            live_bytes_bounds: bounds,
            samples: bounds.map(|_| 512),
            frames: vec![go("runtime.mallocgc", 1), go(function, 31), go("main.main", 9)],
        };
        let class = |size_bytes, bytes| SizeClass { size_bytes, scan: true, spans: 4, objects: 7, bytes };
        GoHeap {
            exact: false,
            method: PROFILE_METHOD.to_owned(),
            error_bytes: Some(90_000),
            sites: vec![
                site("main.(*Hub).lock", 40_000, None),
                site("main.remember", 800_000, Some((700_000, 910_000))),
            ],
            totals_by_class: vec![class(Some(48), 20_000), class(None, 600_000), class(Some(64), 300_000)],
            heap_in_use_bytes: 920_000,
            unsampled_bytes: 0,
            agreement: Some("the sites explain 91 % of what is in use".to_owned()),
        }
    }

    fn go_heap(heap: &Heap) -> String {
        crate::section::heap::answer::go_heap(heap).text()
    }

    fn traced() -> Heap {
        let mut heap = nothing();
        heap.sources.push(Source {
            name: "malloc".to_owned(),
            exact: true,
            method: "counted".to_owned(),
            error_bytes: Some(0),
        });
        heap.totals.live_bytes = 100_000;
        heap.totals.growth_bytes = 100_000;
        let site =
            site(&GoHeapSite { live_bytes: 100_000, ..GoHeapSite::default() }, 1, 100_000, GoCode::default());
        heap.sites.push(Site { source: "malloc".to_owned(), oldest_age_ns: Some(5), ..site });
        heap
    }

    fn joined(traced: Option<Heap>, sort: Sort) -> Heap {
        let snapshot = GoHeapAggregate::default().snapshot(account());
        let mut heap = join(traced, &GoHeapInputs { snapshot: &snapshot, sort }, chat());
        crate::section::heap::place::place(&mut heap, sort);
        heap
    }

    #[test]
    fn one_section_of_two_sources() {
        let heap = joined(Some(traced()), Sort::LiveBytes);
        let sources = |heap: &Heap| heap.sites.iter().map(|s| s.source.clone()).collect::<Vec<_>>();
        assert_eq!(sources(&heap), ["go", "malloc", "go"]);
        assert_eq!(heap.sites.iter().map(|s| s.rank).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(!heap.exact && heap.sources[0].exact && !heap.sources[1].exact);
        assert_eq!((heap.totals.live_bytes, heap.totals.growth_bytes), (940_000, 940_000));
        assert_eq!((heap.totals.alloc_objects, heap.totals.free_objects), (2_520, 1_680));
        let first = &heap.sites[0];
        assert_eq!((first.live_bytes_low, first.live_bytes_high), (Some(700_000), Some(910_000)));
        assert_eq!((first.stack.blame, first.samples, first.growth_bytes), (Some(1), Some(512), 800_000));
        assert_eq!(heap.sites[2].live_bytes_low, None);
        assert_eq!(sources(&joined(Some(traced()), Sort::Age)), ["malloc", "go", "go"]);
        let classes = heap.go_size_classes.expect("classes");
        assert_eq!(classes.iter().map(|c| c.size_bytes).collect::<Vec<_>>(), [None, Some(64), Some(48)]);
    }

    #[test]
    fn headlines_of_go_heaps() {
        let alone = joined(None, Sort::LiveBytes);
        assert_eq!(
            go_heap(&alone),
            "898.4 KiB are in use on the Go heap; about 820.3 KiB in 840 objects are live by its last garbage \
             collection; 95 % of that from main.remember at server.go:31."
        );
        let mut few = alone.clone();
        few.go_in_use_bytes = Some(165 << 20);
        few.sources[0].method = SAMPLED_METHOD.to_owned();
        assert_eq!(
            go_heap(&few),
            "165.0 MiB are in use on the Go heap; about 820.3 KiB in 840 objects allocated on it while leakscope \
             watched are still live. No place of it is sure enough to be named. The rest of that heap is older, or \
             not yet collected."
        );
        // What is counted and what is estimated are no sum.
        let mut both = traced();
        both.totals.live_objects = 7;
        both.sites[0].live_objects = 7;
        let both = go_heap(&joined(Some(both), Sort::LiveBytes));
        assert!(both.starts_with("898.4 KiB are in use on the Go heap; about 820.3 KiB in 840"), "{both}");
        assert!(
            both.contains("server.go:31. 97.7 KiB in 7 blocks allocated by C code while leakscope"),
            "{both}"
        );
        let mut empty = joined(None, Sort::LiveBytes);
        empty.sites.clear();
        assert_eq!(
            go_heap(&empty),
            "Nothing that is live on the Go heap is known by its place, of 898.4 KiB in use."
        );
    }
}
