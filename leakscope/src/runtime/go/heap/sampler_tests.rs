use super::*;
use crate::runtime::go::heap::spans::PAGE;

const SMALL: u8 = 10;

/// A span with room for 8 objects of 1 KiB.
fn span(at: u64, alloc_count: u64) -> Span {
    let start = 0xc0_0000_0000 + at * PAGE;
    Span::for_tests(start, SMALL, 1024, 8, alloc_count, 5)
}

fn site(number: u32) -> Site {
    Some(Stack { number, caller: 0 })
}

/// A span is taken while no window is open.
fn taken(at: u64, stack: u32, generation: u32) -> TakenSpan {
    TakenSpan {
        span: at,
        p: 1,
        object: None,
        phase: 0,
        site: site(stack),
        generation,
        marking: false,
        description: Span { sweep_generation: generation + 3, ..span(at, 0) },
        bits: vec![0],
    }
}

/// The next object of a span is taken in a window.
fn seen(at: u64, index: u64, stack: u32, phase: u64) -> TakenSpan {
    TakenSpan { object: Some(SMALL), phase, description: span(at, index), ..taken(at, stack, 4) }
}

/// Answers all that is due: a sample lives as `lives` says of its span.
fn collect(sampler: &mut Sampler, generation: u32, lives: impl Fn(u64) -> bool) {
    sampler.at_generation(generation);
    let fates: Vec<(u64, Fate)> = sampler
        .due()
        .into_iter()
        .map(|(number, at)| {
            let swept = Span { sweep_generation: generation, ..span(at, 0) };
            let fate = sampler.bit(number, &swept).map_or_else(|fate| fate, |_| Fate::Swept(lives(at)));
            (number, fate)
        })
        .collect();
    sampler.checked(&fates);
}

fn of(estimates: &Estimates, stack: u32) -> Estimate {
    let found = estimates.sites.iter().find(|(s, _)| *s == site(stack));
    found.map(|(_, site)| *site).unwrap_or_default()
}

#[test]
fn only_what_survived_a_collection_is_live() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    for at in 0..100 {
        // One in four leaks.
        sampler.take(&taken(at, u32::from(at % 4 == 0), 4));
    }
    let before = sampler.estimates();
    assert_eq!(before.sites.iter().map(|(_, s)| s.live_bytes).sum::<u64>(), 0);
    collect(&mut sampler, 6, |at| at % 4 == 0);
    let after = sampler.estimates();
    let leak = of(&after, 1);
    // The last batch is still open, and never looked at: half of it.
    let all = 99 * 8192 + 4096;
    assert_eq!((leak.live_bytes, leak.live_objects, leak.samples), (all / 4, 199, 25));
    assert_eq!(of(&after, 0).live_bytes, 0, "garbage is not listed");
    assert_eq!(of(&after, 0).alloc_bytes, all / 4 * 3);
    assert_eq!((after.batches, after.collections, after.odd), (100, 1, 0));
    // The first objects of batches tell no more than that it holds these, and may hold all that were not seen.
    assert_eq!(leak.bounds, (25 * 1024, (25 + 796 - 100) * 1024));
    assert!((0.87..0.88).contains(&after.by_first), "{}", after.by_first);
}

#[test]
fn an_open_batch_weighs_what_was_taken_from_it() {
    let mut sampler = Sampler::default();
    let allocated =
        |sampler: &Sampler| sampler.estimates().sites.iter().map(|(_, s)| s.alloc_bytes).sum::<u64>();
    sampler.at_generation(4);
    sampler.take(&taken(1, 7, 4));
    assert_eq!(sampler.open(), [((1, SMALL), 1)]);
    sampler.seen_open((1, SMALL), &Span { sweep_generation: 7, ..span(1, 3) });
    assert_eq!(allocated(&sampler), 3 * 1024);
    // A collection takes the span away, half used; then another one is taken.
    sampler.at_generation(6);
    sampler.seen_open((1, SMALL), &Span { sweep_generation: 6, ..span(1, 8) });
    sampler.take(&taken(2, 7, 6));
    assert_eq!(allocated(&sampler), 3 * 1024 + 4096);
    // Within a generation the next one is taken because this one is full.
    sampler.take(&taken(3, 7, 6));
    assert_eq!(allocated(&sampler), 3 * 1024 + 8192 + 4096);
}

#[test]
fn what_was_allocated_while_marking_survives_once_for_nothing() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    sampler.take(&TakenSpan { marking: true, ..taken(1, 7, 4) });
    collect(&mut sampler, 6, |_| true);
    assert_eq!(of(&sampler.estimates(), 7).live_bytes, 0);
    collect(&mut sampler, 8, |_| true);
    assert!(of(&sampler.estimates(), 7).live_bytes > 0);
}

#[test]
fn spans_that_serve_something_else() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    sampler.take(&taken(1, 7, 4));
    sampler.at_generation(6);
    let now = Span { sweep_generation: 6, ..span(1, 0) };
    assert_eq!(sampler.bit(0, &now), Ok(0));
    assert_eq!(sampler.bit(0, &Span { sweep_generation: 9, ..now }), Ok(0));
    assert_eq!(sampler.bit(0, &Span { sweep_generation: 4, ..now }), Err(Fate::Pending));
    assert_eq!(sampler.bit(0, &Span { element_size: 512, ..now }), Err(Fate::Gone));
    assert_eq!(sampler.bit(0, &Span { start: now.start + PAGE, ..now }), Err(Fate::Gone));
    assert_eq!(sampler.bit(0, &Span { state: 0, ..now }), Err(Fate::Gone));
    assert_eq!(sampler.bit(99, &now), Err(Fate::Gone));
    sampler.checked(&[(0, Fate::Pending)]);
    assert_eq!(sampler.due().len(), 1);
    sampler.at_generation(8);
    sampler.checked(&[(0, Fate::Swept(true))]);
    assert_eq!(sampler.due().len(), 0);
}

#[test]
fn another_object_in_its_place_is_not_taken_for_it() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    sampler.take(&taken(1, 7, 4));
    sampler.take(&taken(2, 8, 4));
    // The next collection finds both dead, but nobody looks; the first span is taken again, and what then
    // lies in the place of the first object survives.
    let again = taken(1, 9, 6);
    sampler.take(&again);
    collect(&mut sampler, 8, |at| at == 1);
    let estimates = sampler.estimates();
    assert_eq!((of(&estimates, 7).samples, of(&estimates, 8).samples, of(&estimates, 9).samples), (0, 0, 1));
    // Taken again with the object still in its place: it lives.
    let description = Span { alloc_cache: !1, ..again.description };
    sampler.take(&TakenSpan { bits: vec![1], description, ..taken(1, 10, 10) });
    assert_eq!(of(&sampler.estimates(), 9).samples, 1);
}

#[test]
fn large_objects_are_exact() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    for at in 0..10 {
        let start = 0xc0_0000_0000 + 32 * at * PAGE;
        let description = Span::for_tests(start, 1, 16 * PAGE, 1, 1, 16);
        sampler.take(&TakenSpan { span: at, description, bits: Vec::new(), ..taken(at, 7, 4) });
    }
    sampler.at_generation(6);
    sampler.checked(&(0..10).map(|i| (i, Fate::Swept(i < 3))).collect::<Vec<_>>());
    let site = of(&sampler.estimates(), 7);
    assert_eq!((site.live_bytes, site.bounds), (48 * PAGE, (48 * PAGE, 48 * PAGE)));
    assert_eq!(site.alloc_bytes, 160 * PAGE);
}

/// Of a size that has a span for each object, no window is needed.
#[test]
fn spans_of_one_object_are_exact() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    for at in 0..10 {
        let description = Span::for_tests(0xc0_0000_0000 + at * PAGE, 101, 8192, 1, 0, 1);
        let one = TakenSpan { span: at, description, ..taken(at, (at % 2) as u32, 4) };
        sampler.take(&TakenSpan { object: Some(101), phase: 1, ..one.clone() });
        sampler.take(&one);
    }
    assert_eq!(sampler.classes_seen(), [0; 3]);
    sampler.at_generation(6);
    let due: Vec<_> = sampler.due().into_iter().map(|(number, _)| (number, Fate::Swept(true))).collect();
    sampler.checked(&due);
    let site = of(&sampler.estimates(), 1);
    assert_eq!((site.live_bytes, site.bounds, site.samples), (5 * 8192, (5 * 8192, 5 * 8192), 5));
}

#[test]
fn lies_are_counted() {
    let mut sampler = Sampler::default();
    let good = taken(1, 7, 4);
    let mut take = |description| sampler.take(&TakenSpan { description, ..good.clone() });
    take(Span { alloc_cache: 0, ..span(1, 0) });
    take(Span { free_index: u64::MAX, ..span(1, 0) });
    take(span(1, 8));
    take(Span { state: 2, ..span(1, 0) });
    take(Span { elements: u64::MAX, ..span(1, 0) });
    assert_eq!((sampler.estimates().odd, sampler.estimates().sites.len()), (5, 0));
}

#[test]
fn memory_is_bounded_and_the_estimate_stays() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    let batches = 10 * MOST as u64;
    for at in 0..batches {
        sampler.take(&taken(at, u32::from(at % 4 == 0), 4));
    }
    assert!(sampler.samples.len() <= 2 * MOST);
    collect(&mut sampler, 6, |at| at % 4 == 0);
    let estimates = sampler.estimates();
    let (leak, truth) = (of(&estimates, 1), batches / 4 * 8192);
    assert!(leak.live_bytes.abs_diff(truth) < truth / 50, "{} of {truth}", leak.live_bytes);
    assert!(leak.bounds.0 <= truth && truth <= leak.bounds.1, "{:?} {truth}", leak.bounds);
    let all: u64 = estimates.sites.iter().map(|(_, s)| s.alloc_bytes).sum();
    assert!(all.abs_diff(batches * 8192) < batches * 8192 / 50, "{all}");
    assert_eq!(estimates.one_in, 16);
}

/// Among many small batches no large object is given up, nor counted for others.
#[test]
fn large_objects_stay_exact_among_many_samples() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    let large = |at: u64| TakenSpan {
        description: Span::for_tests(0xd0_0000_0000 + 256 * at * PAGE, 1, 200 * PAGE, 1, 1, 200),
        bits: Vec::new(),
        ..taken(1 << 32 | at, 9, 4)
    };
    let batches = 3 * MOST as u64;
    for at in 0..batches {
        sampler.take(&taken(at, 1, 4));
        if at % 10_000 == 0 {
            sampler.take(&large(at));
        }
    }
    sampler.at_generation(6);
    let all: Vec<_> = sampler.due().into_iter().map(|(number, _)| (number, Fate::Swept(true))).collect();
    sampler.checked(&all);
    let estimates = sampler.estimates();
    let (site, truth) = (of(&estimates, 9), batches.div_ceil(10_000) * 200 * PAGE);
    assert_eq!((site.live_bytes, site.bounds), (truth, (truth, truth)));
    assert!(estimates.one_in > 1);
}

/// Large objects alone: of too many of those, too, some are drawn, the largest ones last.
#[test]
fn large_objects_are_drawn_by_their_size() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    let (mut truth, mut start) = (0, 0xd0_0000_0000);
    for at in 0..6 * MOST as u64 {
        let pages = if at % 10_000 == 0 { 2000 } else { 5 + at % 7 };
        let description = Span::for_tests(start, 1, pages * PAGE, 1, 1, pages);
        start += pages * PAGE;
        truth += pages * PAGE;
        sampler.take(&TakenSpan { description, bits: Vec::new(), ..taken(at, 9, 4) });
    }
    assert!(sampler.samples.len() <= MOST);
    assert_eq!(sampler.samples.iter().filter(|s| s.size == 2000 * PAGE && s.factor == 1).count(), 20);
    sampler.at_generation(6);
    let all: Vec<_> = sampler.due().into_iter().map(|(number, _)| (number, Fate::Swept(true))).collect();
    sampler.checked(&all);
    let site = of(&sampler.estimates(), 9);
    assert!(site.live_bytes.abs_diff(truth) < truth / 50, "{} of {truth}", site.live_bytes);
    assert!(site.bounds.0 <= truth && truth <= site.bounds.1, "{:?} {truth}", site.bounds);
    assert!(site.bounds.1 - site.bounds.0 < truth / 20, "{:?} {truth}", site.bounds);
}

#[path = "sampler/coverage.rs"]
mod coverage;

mod any {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..70, any::<u64>(), (0u32..64).prop_map(|bits| 1 << bits)]
    }

    prop_compose! {
        fn span()(
            words in prop::array::uniform8(number()),
            start in 0u64..4,
            state in 0u8..4,
            class in any::<u8>(),
            generation in 0u32..12,
            size in prop_oneof![Just(1024), number()],
        ) -> Span {
            let [pages, elements, free_index, alloc_count, alloc_bits, alloc_cache, limit, _] = words;
            let start = 0xc0_0000_0000 + start * PAGE;
            Span {
                start,
                pages,
                state,
                class,
                element_size: size,
                elements,
                free_index,
                alloc_count,
                sweep_generation: generation,
                alloc_bits,
                specials: 0,
                large_type: 0,
                alloc_cache,
                limit: start.wrapping_add(limit),
            }
        }
    }

    /// A sound span as often as any.
    fn described() -> impl Strategy<Value = Span> {
        prop_oneof![(0u64..4, 0u64..8).prop_map(|(at, count)| super::span(at, count)), span()]
    }

    proptest! {
        /// Whatever the target says, in whatever order: nothing overflows, and what comes of it is sane.
        #[test]
        fn spans(
            steps in prop::collection::vec(
                (0u8..6, described(), 0u64..4, 0u32..12, any::<bool>(), prop::collection::vec(any::<u8>(), 0..3)),
                0..60,
            ),
        ) {
            let mut sampler = Sampler::default();
            for (step, description, at, generation, marking, bits) in steps {
                match step {
                    0 => sampler.at_generation(generation),
                    1 => {
                        let open = sampler.open();
                        open.iter().for_each(|(batch, _)| sampler.seen_open(*batch, &description));
                    }
                    2 => {
                        let due: Vec<_> = sampler.due().into_iter().map(|(number, _)| {
                            let bit = sampler.bit(number, &description);
                            (number, bit.map_or_else(|fate| fate, |index| Fate::Swept(index & 1 == 0)))
                        }).collect();
                        sampler.checked(&due);
                    }
                    _ => sampler.take(&TakenSpan {
                        span: at,
                        p: at & 1,
                        object: (step > 3).then_some(description.class),
                        phase: if at == 3 { u64::MAX } else { at },
                        site: super::site(generation),
                        generation,
                        marking,
                        description,
                        bits,
                    }),
                }
            }
            let estimates = sampler.estimates();
            for (_, site) in estimates.sites {
                prop_assert!(site.bounds.0 <= site.live_bytes && site.live_bytes <= site.bounds.1, "{site:?}");
                prop_assert!(site.live_bytes <= site.alloc_bytes, "{site:?}");
            }
        }
    }
}

/// Counts of the class that the tests use.
fn counts(objects: u64) -> Counts {
    let mut counts = [0; CLASSES as usize];
    counts[usize::from(SMALL)] = objects;
    counts
}

/// Before the first window there was a burst of site 0; then windows see site 1.
fn burst(sampler: &mut Sampler) {
    sampler.at_generation(4);
    sampler.began_with(Some(counts(0)));
    (0..100).for_each(|at| sampler.take(&taken(at, 0, 4)));
    for at in 100..103 {
        (0..8).for_each(|i| sampler.take(&seen(at, i, 1, 1)));
        sampler.take(&TakenSpan { phase: 2, ..taken(at + 1, 1, 4) });
    }
}

#[test]
fn a_burst_that_windows_have_missed_is_of_those_that_took_its_spans() {
    let mut sampler = Sampler::default();
    burst(&mut sampler);
    collect(&mut sampler, 6, |at| at < 100);
    sampler.counted(6, counts(800));
    let estimates = sampler.estimates();
    let (burst, later) = (of(&estimates, 0), of(&estimates, 1));
    assert_eq!((burst.live_objects, burst.samples, later.live_bytes), (800, 100, 0));
    assert_eq!(burst.bounds, (100 * 1024, 800 * 1024));
    // It is known without that of the spans, too.
    sampler.at_generation(8);
    assert_eq!(of(&sampler.estimates(), 0).live_objects, 800);
}

#[test]
fn what_no_sample_tells_of_is_of_no_site() {
    let mut sampler = Sampler::default();
    burst(&mut sampler);
    collect(&mut sampler, 6, |at| at >= 100);
    sampler.counted(6, counts(2000));
    let estimates = sampler.estimates();
    let later = of(&estimates, 1);
    let unknown = estimates.sites.iter().find(|(site, _)| site.is_none()).map(|(_, found)| *found).unwrap();
    assert_eq!(unknown.live_objects + later.live_objects, 2000);
    assert!(later.bounds.1 >= 2000 * 1024, "what is missing may be its own: {later:?}");
    assert_eq!((unknown.bounds.0, unknown.samples), (0, 0));
}

#[test]
fn a_class_with_one_site_is_as_sure_as_its_spans() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    sampler.began_with(Some(counts(30)));
    for window in 0..40 {
        let at = 10 * window;
        (0..8).for_each(|i| sampler.take(&seen(at, i, 0, 2 * window + 1)));
        (1..10).for_each(|i| sampler.take(&TakenSpan { phase: 2 * window + 2, ..taken(at + i, 0, 4) }));
    }
    collect(&mut sampler, 6, |_| true);
    sampler.counted(6, counts(3000));
    let site = of(&sampler.estimates(), 0);
    let objects = |bytes: u64| bytes / 1024;
    assert!((2970..=3000).contains(&site.live_objects), "{site:?}");
    assert!(objects(site.bounds.0) >= 2850 && objects(site.bounds.1) <= 3150, "{site:?}");
    // Counts of another collection tell nothing.
    collect(&mut sampler, 8, |_| true);
    assert!(of(&sampler.estimates(), 0).live_objects > 3060);
}
