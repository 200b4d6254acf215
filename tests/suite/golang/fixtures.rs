//! The fixtures in Go themselves, without leakscope.

use leakscope_tests::go::{GARBAGE, GARBAGE_PROFILED, USUAL};

use super::*;

/// What the story says of itself is the story.
#[test]
fn the_story_is_what_it_should_be() -> Result<()> {
    for toolchain in USUAL {
        need!(toolchain);
        let mut fixture = STORY.with(toolchain).start(&["-rate", "1", "-gc-percent", "-1"])?;
        assert!(fixture.fixture.said("fixture: version go")?.starts_with(toolchain.0));
        assert_eq!(fixture.number("goroutines")?, 13647);
        let stats = fixture.collect()?;
        let own = fixture.dump()?;
        let groups = own.goroutines.context("its own profile")?;
        assert_eq!((groups.total, own.stacks.len()), (13647, 13647));
        let first = &groups.groups[0];
        assert_eq!(first.count, 11274);
        let place = &first.frames[0];
        assert_eq!((place.function.as_str(), place.line), ("main.(*WebSocket).notifyFxn", 156));
        assert!(place.file.ends_with("/websocket.go"));
        let labelled: u64 = groups.groups.iter().filter(|g| !g.labels.is_empty()).map(|g| g.count).sum();
        assert_eq!(labelled, 60);
        let live: f64 = own.heap.context("its own profile")?.buckets.iter().map(|b| b.live_bytes).sum();
        // The runtime itself allocates before the rate is set, and rounds up to size classes.
        assert!((live - stats.bytes as f64).abs() < 100_000.0, "{live} of {stats:?}");
    }
    Ok(())
}

#[test]
fn every_variant_of_the_story_starts() -> Result<()> {
    need!(NEWEST);
    for variant in Variant::ALL {
        let mut fixture = STORY.variant(variant).start(&[])?;
        assert_eq!(fixture.number("goroutines")?, 13647, "{variant}");
        let off = fixture.number("mem_profile_rate")? == 0;
        assert_eq!(off, variant == Variant::NoHeap, "{variant}");
        let own = fixture.dump()?;
        assert_eq!(own.stacks.len(), 13647, "{variant}");
        assert_eq!(own.heap.is_none(), variant == Variant::NoHeap, "{variant}");
        let built = std::fs::read(STORY.variant(variant).build()?)?;
        // e_shoff, e_shnum
        let sections = built[0x28..0x30] != [0; 8] && built[0x3c..0x3e] != [0; 2];
        assert_eq!(sections, variant != Variant::NoSections, "{variant}");
        // ET_DYN
        let pie = matches!(variant, Variant::Pie | Variant::PieStripped);
        assert_eq!(built[0x10] == 3, pie, "{variant}");
    }
    Ok(())
}

#[test]
fn the_map_of_locks_grows_by_a_hundred_a_second() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&["-growth", "100"])?;
    let mut locks = || -> Result<u64> { Ok(fixture.ask("locks", "locks ")?.parse()?) };
    let (before, started) = (locks()?, Instant::now());
    let mut now = before;
    while now < before + 100 {
        now = locks()?;
    }
    let took = started.elapsed().as_secs_f64();
    assert!(took > 0.7, "{} in {took} s", now - before);
    Ok(())
}

/// The truth about leaks and the runtime's own account of them agree.
#[test]
fn garbage_is_known_to_the_byte() -> Result<()> {
    need!(NEWEST);
    assert_eq!(GARBAGE.start(&[])?.number("mem_profile_rate")?, 0);
    let mut fixture = GARBAGE_PROFILED.start(&["-rate", "1", "-gc-percent", "-1"])?;
    assert_eq!(fixture.ask("work 500", "worked ")?, "500");
    fixture.collect()?;
    let heap = fixture.dump()?.heap.context("its own profile")?;
    let truth = truth(&mut fixture)?;
    assert_eq!(truth[0].1, (0, 0), "{truth:?}");
    assert_eq!(truth[1].1.1, 3 * truth[2].1.1, "{truth:?}");
    for (function, (objects, bytes)) in &truth[1..] {
        let here = heap.buckets.iter().filter(|b| b.frames.first().is_some_and(|f| f.function == *function));
        let live: (f64, f64) = here.fold((0.0, 0.0), |sum, b| (sum.0 + b.live_objects, sum.1 + b.live_bytes));
        assert_eq!(live, (*objects as f64, *bytes as f64), "{function}");
    }
    Ok(())
}

/// Objects and bytes that are live at each site.
pub(super) fn truth(fixture: &mut GoFixture) -> Result<Vec<(String, (u64, u64))>> {
    fixture.fixture.say("truth")?;
    (0..3)
        .map(|_| {
            let line = fixture.fixture.expect("site ")?;
            let words: Vec<_> = line.split_whitespace().collect();
            let [_, name, objects, bytes] = words[..] else { anyhow::bail!("{line}") };
            Ok((name.to_owned(), (objects.parse()?, bytes.parse()?)))
        })
        .collect()
}
