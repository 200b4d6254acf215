//! What is said of a heap follows from the rows beside it, whatever these are.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::collect::heap::Sort;
use crate::human::share;
use crate::layout::TableStyle;
use crate::layout::page::Page;
use crate::section::Section as _;
use crate::section::by::By;
use crate::section::finding::Said as _;
use crate::section::focus::Focus;
use crate::section::frame::Frame;
use crate::section::heap::place::{self, Place, stacks_of};
use crate::section::heap::words::Most;
use crate::section::heap::{group, select, table};
use crate::section::model::{Site, Stack, StackEnd, Totals};
use crate::section::site::StackSite as _;

fn frame(function: u64, line: u64) -> Frame {
    Frame {
        function: Some(format!("f{function}").into()),
        module: Some("/srv/app".into()),
        file: Some(format!("f{function}.c").into()),
        line: u32::try_from(line).ok(),
        ..Frame::default()
    }
}

/// What a site is made of: live blocks, their size, what was freed, growth, age, functions and lines.
type Seed = (u64, u64, u64, i64, u64, Vec<(u64, u64)>);

fn seed() -> impl Strategy<Value = Seed> {
    let objects = prop_oneof![Just(0), 1..5000_u64];
    let functions = vec((0..80_u64, 0..3_u64), 0..12);
    (objects, 1..4096_u64, 0..1_u64 << 20, -(1_i64 << 19)..1 << 19, 0..1_u64 << 40, functions)
}

/// A site; its stack is of so many functions, or of none.
fn site((live_objects, size, freed, growth_bytes, age, calls): Seed, rank: u64, functions: u64) -> Site {
    let mut frames: Vec<Frame> = calls.iter().map(|(f, line)| frame(f % functions, *line)).collect();
    let blame = (!frames.is_empty()).then_some(1);
    if blame.is_some() {
        frames.insert(0, Frame { function: Some("malloc".into()), ..Frame::default() });
    }
    Site {
        site_id: rank.to_string(),
        rank,
        label: "".into(),
        place: 0,
        source: super::super::MALLOC.to_owned(),
        live_bytes: live_objects * size,
        live_objects,
        alloc_bytes: live_objects * size + freed,
        alloc_objects: live_objects + freed,
        growth_bytes,
        oldest_age_ns: (live_objects > 0).then_some(age),
        older_blocks: 0,
        older_bytes: 0,
        youngest_age_ns: None,
        live_bytes_low: None,
        live_bytes_high: None,
        samples: None,
        goroutine: None,
        stack: Stack { frames: frames.into(), blame, end: Some(StackEnd::Root), ..Stack::default() },
    }
}

fn heaps() -> impl Strategy<Value = Heap> {
    let lost = prop_oneof![Just(0), 1..10_000_u64];
    (vec(seed(), 0..60), 1..80_u64, lost, 0..4_usize).prop_map(
        |(seeds, functions, lost_allocations, sort)| {
            let sites: Vec<Site> =
                seeds.into_iter().zip(1..).map(|(seed, rank)| site(seed, rank, functions)).collect();
            let sum = |of: fn(&Site) -> u64| sites.iter().map(of).sum();
            let totals = Totals {
                live_bytes: sum(|site| site.live_bytes),
                live_objects: sum(|site| site.live_objects),
                alloc_bytes: sum(|site| site.alloc_bytes),
                alloc_objects: sum(|site| site.alloc_objects),
                ..Totals::default()
            };
            let mut heap =
                Heap { exact: lost_allocations == 0, totals, sites, lost_allocations, ..Heap::default() };
            place::place(&mut heap, [Sort::LiveBytes, Sort::LiveObjects, Sort::Growth, Sort::Age][sort]);
            heap
        },
    )
}

fn shown(heap: &Heap, stacks: bool) -> String {
    let mut out = Vec::new();
    let style = TableStyle { top: 1000, stacks, ..TableStyle::plain(200) };
    let mut page = Page::new(&style, &mut out);
    table::table(heap, 1, &mut page).expect("memory takes all");
    table::stacks(heap, &mut page).expect("memory takes all");
    String::from_utf8(out).expect("UTF-8")
}

/// Places, stacks and totals add up to the same.
fn assert_adds_up(heap: &Heap) {
    let places = |of: fn(&Place) -> u64| heap.places.iter().map(of).sum::<u64>();
    assert_eq!(places(|place| place.live_bytes), heap.totals.live_bytes);
    assert_eq!(places(|place| place.live_objects), heap.totals.live_objects);
    let live = heap.sites.iter().filter(|site| site.live_objects > 0).count();
    assert_eq!(places(|place| place.stacks), live as u64);
    assert!(heap.places.iter().zip(1..).all(|(place, rank)| place.rank == rank));
    for (rank, sites) in stacks_of(heap) {
        let place = &heap.places[rank as usize - 1];
        assert_eq!(sites.iter().map(|site| site.live_bytes).sum::<u64>(), place.live_bytes);
        assert_eq!(sites[0].live_bytes, heap.sites[place.most.site].live_bytes, "the largest is first");
        assert!(sites.iter().all(|site| *site.label == *place.label));
    }
}

/// The sentence is of the rows that are shown: the place in it, and its share.
fn assert_follows(heap: &Heap) {
    assert_adds_up(heap);
    let said = super::heap(heap, 0);
    let (text, rows) = (said.text(), shown(heap, false));
    let (live, all) = (heap.totals.live_objects, heap.totals.live_bytes);
    let HeapSaid::Live { most, lost, .. } = &said else {
        assert_eq!(live, 0, "{text}");
        return;
    };
    let largest = heap.places.iter().filter(|place| place.stack().shown().is_some());
    let largest = largest.map(|place| place.live_bytes).max();
    match most {
        Some(Most::Place { bytes, place, .. }) => {
            assert_eq!(Some(*bytes), largest);
            assert!(is_notable(*bytes, all));
            let row = rows.lines().find(|row| {
                row.contains(&format!(" {} ", place.replace(" at ", " ")))
                    && row.contains(&share(*bytes, all))
            });
            assert!(row.is_some(), "{text}\n{rows}");
        }
        Some(Most::Function { bytes, function, lines, line, line_bytes, .. }) => {
            let name = function.split(' ').next().unwrap_or_default();
            let of =
                || heap.places.iter().filter(|p| p.function.as_deref() == Some(name) && p.live_bytes > 0);
            assert_eq!(*bytes, of().map(|place| place.live_bytes).sum::<u64>(), "{text}");
            assert_eq!(*lines, of().count() as u64);
            assert_eq!(Some(*line_bytes), of().map(|place| place.live_bytes).max());
            assert!(is_notable(*bytes, all) && Some(bytes - bytes / 5) >= largest, "{text}");
            let shown =
                |row: &&str| row.contains(&format!(" {line} ")) && row.contains(&share(*line_bytes, all));
            assert!(rows.lines().any(|row| shown(&row)), "{text}\n{rows}");
        }
        Some(Most::Spread { largest_bytes, below, .. }) => {
            assert_eq!(Some(*largest_bytes), largest);
            assert!(!is_notable(*largest_bytes, all));
            assert_eq!(below.is_some(), !heap.callers.is_empty());
            for caller in &heap.callers {
                let name = caller.label.split(' ').next().unwrap_or_default();
                let on = |site: &&Site| {
                    site.stack.frames.iter().skip(1).any(|frame| frame.function.as_deref() == Some(name))
                };
                let bytes: u64 = heap.sites.iter().filter(on).map(|site| site.live_bytes).sum();
                assert_eq!(caller.live_bytes, bytes, "{name}");
                assert!(is_notable(bytes, all) && rows.contains(name));
            }
        }
        None => assert_eq!(largest, None),
    }
    if let Some(HeapSaid::Callers { function, callers, bytes, .. }) = callers_of_most(heap) {
        let charged =
            |site: &&Site| site.stack.shown().and_then(|f| f.function.as_deref()) == Some(&function);
        assert_eq!(bytes, heap.sites.iter().filter(charged).map(|site| site.live_bytes).sum::<u64>());
        assert!(!callers.is_empty() && callers.iter().map(|(_, bytes)| bytes).sum::<u64>() <= bytes);
        assert!(text.contains(&function), "{text}: {function}");
    }
    // A known loss is never passed over in silence, and no share is called exact beside it.
    let notable = heap.lost_allocations * NOTABLE_LOSS >= live && heap.lost_allocations > 0;
    assert_eq!(lost.allocations > 0, notable);
    assert_eq!(text.starts_with("At least "), notable, "{text}");
    assert_eq!(rows.contains('~'), notable && all > 0, "{rows}");
}

proptest! {
    #[test]
    fn sentences_follow_from_the_rows(heap in heaps()) {
        assert_follows(&heap);
        // As saved and read again.
        let mut again = heap.clone();
        again.complete();
        let sums = |heap: &Heap| {
            let mut all: Vec<_> = heap.places.iter().map(|p| (p.place_id.clone(), p.live_bytes)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sums(&heap), sums(&again));
        for by in [By::Place, By::Function, By::Module] {
            let mut grouped = heap.clone();
            group::group(&mut grouped, by);
            assert_follows(&grouped);
            assert_eq!(grouped.totals, heap.totals);
        }
        let focus = Focus { focus: regex::Regex::new("^f[0-7]$").ok(), ignore: None };
        let mut part = heap.clone();
        select::select(&mut part, &focus);
        assert_follows(&part);
        let live = heap.sites.iter().filter(|site| site.live_objects > 0).count();
        let stacks = shown(&heap, true);
        assert_eq!(stacks.lines().filter(|line| line.starts_with('#')).count(), live);
    }
}
