//! Whether intervals hold the truth, on streams of allocations that are made with fixed seeds.

use super::*;

/// Objects of a stream, and of a window.
const OBJECTS: u64 = 10_000;
const WINDOW: u64 = 48;
const RUNS: u64 = 100;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// Allocates a stream of sites from spans of 8 objects, with some windows at random. A collection then finds those
/// sites live that `lives` names. Returns the estimates, and the objects of each site.
fn run(
    random: &mut Random,
    mut next: impl FnMut(u64, &mut Random) -> u32,
    lives: impl Fn(u32) -> bool,
    mean_gap: u64,
) -> (Estimates, [u64; 4]) {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    let mut counts = [0; 4];
    let (mut phase, mut until) = (0, random.below(2 * mean_gap));
    for i in 0..OBJECTS {
        if i == until {
            phase += 1;
            until += if phase & 1 == 1 { WINDOW } else { 1 + random.below(2 * mean_gap) };
        }
        let site = next(i, random);
        counts[site as usize] += 1;
        let (at, index) = (i / 8, i % 8);
        if phase & 1 == 1 {
            // Of the first object of a span it is seen that the one before has no more room.
            let before = if index == 0 {
                seen(at.saturating_sub(1), 8, site, phase)
            } else {
                seen(at, index, site, phase)
            };
            sampler.take(&before);
        }
        if index == 0 {
            sampler.take(&TakenSpan { phase, ..taken(at, site, 4) });
        }
    }
    sampler.take(&TakenSpan { phase, ..taken(OBJECTS / 8, 3, 4) });
    sampler.at_generation(6);
    let due = sampler.due();
    let fates: Vec<_> = due
        .into_iter()
        .map(|(number, _)| {
            let site = sampler.find(number).and_then(|s| s.site).map_or(3, |stack| stack.number);
            (number, Fate::Swept(lives(site)))
        })
        .collect();
    sampler.checked(&fates);
    (sampler.estimates(), counts)
}

/// In how many runs of all the intervals of sites 0 and 1 hold the truth, and the mean of site 0's estimates by its truth.
fn coverage(mut next: impl FnMut(u64, &mut Random) -> u32, mean_gap: u64) -> (u64, f64) {
    let mut random = Random(7);
    let (mut held, mut of_all, mut ratio) = (0, 0, 0.0);
    for _ in 0..RUNS {
        let (estimates, counts) = run(&mut random, &mut next, |site| site < 2, mean_gap);
        for site in [0, 1].into_iter().filter(|site| counts[*site as usize] > 0) {
            let (found, truth) = (of(&estimates, site), counts[site as usize] * 1024);
            held += u64::from(found.bounds.0 <= truth && truth <= found.bounds.1);
            of_all += 1;
            assert!(found.bounds.0 < found.bounds.1, "{found:?}");
        }
        let of_one = of(&estimates, 0).live_bytes as f64 / (counts[0] * 1024) as f64;
        ratio += of_one / RUNS as f64;
        assert_eq!(of(&estimates, 2).live_bytes, 0, "garbage");
    }
    (held * 100 / of_all, ratio)
}

fn holds(what: &str, next: impl FnMut(u64, &mut Random) -> u32, mean_gap: u64) {
    let (held, ratio) = coverage(next, mean_gap);
    assert!(held >= 93, "{what}: {held} of 100 hold the truth");
    assert!((ratio - 1.0).abs() < 0.05, "{what}: {ratio:.3} of the truth on average");
}

#[test]
fn sites_by_turns() {
    holds("two sites by turns", |i, _| (i % 2) as u32, 1000);
    // As many as a span has objects: the first object of each is of one site.
    holds("eight objects by turns", |i, _| [0, 1, 1, 2, 2, 2, 1, 2][(i % 8) as usize], 1000);
    holds("kept and dropped", |i, _| [0, 2][(i % 2) as usize], 1000);
}

#[test]
fn sites_at_random() {
    holds("4:1", |_, random| u32::from(random.below(5) == 0), 1000);
    holds(
        "a tenth is garbage of another site",
        |_, random| [0, 0, 0, 0, 1, 1, 1, 1, 1, 2][random.below(10) as usize],
        300,
    );
}

#[test]
fn sites_in_bursts() {
    let mut site = 0;
    let bursts = |_, random: &mut Random| {
        if random.below(100) == 0 {
            site = [0, 0, 1, 2][random.below(4) as usize];
        }
        site
    };
    holds("bursts of a hundred", bursts, 400);
}

#[test]
fn a_mix_that_changes() {
    let drift = |i: u64, random: &mut Random| u32::from(random.below(OBJECTS) < i);
    holds("from one site to the other", drift, 1000);
}

#[test]
fn what_is_seen_as_a_whole_is_exact() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    for i in 0..80 {
        if i % 8 == 0 {
            sampler.take(&seen(i / 8 + 100, 8, 0, 1));
            sampler.take(&TakenSpan { phase: 1, ..taken(i / 8, 5, 4) });
        } else {
            sampler.take(&seen(i / 8, i % 8, (i % 2) as u32, 1));
        }
    }
    collect(&mut sampler, 6, |_| true);
    let estimates = sampler.estimates();
    assert_eq!(of(&estimates, 0).bounds, (40 * 1024, 40 * 1024));
    assert_eq!((of(&estimates, 1).samples, of(&estimates, 5).live_bytes), (40, 0));
    assert_eq!((estimates.windows, estimates.seen), (1, 80));
}

/// A goroutine may be held up between the entry of the allocator and the object.
#[test]
fn an_object_in_the_place_of_another_one_was_not_that_one() {
    let mut sampler = Sampler::default();
    sampler.at_generation(4);
    sampler.take(&taken(1, 9, 4));
    for site in [0, 1] {
        sampler.take(&seen(1, 3, site, 1));
    }
    sampler.take(&seen(1, 4, 0, 1));
    collect(&mut sampler, 6, |_| true);
    let estimates = sampler.estimates();
    // The one that was lost fared as the other one of its site.
    assert_eq!((of(&estimates, 0).samples, of(&estimates, 1).samples), (1, 1));
    assert!(of(&estimates, 0).live_objects >= 2 * of(&estimates, 1).live_objects);
}
