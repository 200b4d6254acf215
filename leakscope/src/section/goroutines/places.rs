//! Goroutines by place: those at one function that have one creator, whatever they do there.
//!
//! What one sees of a goroutine is a moment. Goroutines that go round between a lock, a channel and a timer are
//! in several sites, of which none need grow by much.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use super::growth;
use super::model::{GoroutineDoing, GoroutinePlace, GoroutineSite, Goroutines};
use crate::section::model::Frame;

/// What a place is known by: the function to blame, the `go` statement, and the first function.
type Key<'a> = (Option<&'a str>, Option<(Option<&'a str>, Option<u32>)>, Option<&'a str>);

fn function(frame: Option<&Frame>) -> Option<&str> {
    frame.and_then(|frame| frame.function.as_deref())
}

fn statement(frame: Option<&Frame>) -> Option<(Option<&str>, Option<u32>)> {
    frame.map(|frame| (frame.function.as_deref(), frame.line))
}

fn key(site: &GoroutineSite) -> Key<'_> {
    (function(site.stack.blamed()), statement(site.created_by.as_ref()), site.start_function.as_deref())
}

/// The places, most growth first; the runtime's own are left out.
pub(super) fn places(all: &Goroutines) -> Vec<GoroutinePlace> {
    let mut by_key: HashMap<Key<'_>, Vec<&GoroutineSite>> = HashMap::new();
    for site in all.sites.iter().filter(|site| !site.system && site.count > 0) {
        by_key.entry(key(site)).or_default().push(site);
    }
    let total = growth::total(all);
    let mut places: Vec<GoroutinePlace> = by_key.into_values().map(|sites| place(&sites, all)).collect();
    for place in &mut places {
        let grown = place.growth_since_first.unwrap_or(0);
        place.piling_up = growth::is_pile(grown, place.count, total);
    }
    places.sort_by(order);
    for (place, rank) in places.iter_mut().zip(1..) {
        place.rank = rank;
    }
    places
}

fn order(a: &GoroutinePlace, b: &GoroutinePlace) -> Ordering {
    let growth = |place: &GoroutinePlace| place.growth_since_first.filter(|_| place.piling_up);
    let names = |place: &GoroutinePlace| {
        [&place.frame, &place.created_by].map(|frame| function(frame.as_ref()).map(ToOwned::to_owned))
    };
    let numbers = (growth(b), b.count).cmp(&(growth(a), a.count));
    numbers.then_with(|| names(a).cmp(&names(b))).then_with(|| a.start_function.cmp(&b.start_function))
}

/// `sites` is not empty.
fn place(sites: &[&GoroutineSite], all: &Goroutines) -> GoroutinePlace {
    let largest = sites.iter().min_by_key(|site| Reverse(site.count));
    let mut doing: HashMap<(&str, Option<&str>), u64> = HashMap::new();
    for site in sites {
        let count = doing.entry((&site.state, site.wait_reason.as_deref())).or_default();
        *count = count.saturating_add(site.count);
    }
    let mut doing: Vec<GoroutineDoing> = doing
        .into_iter()
        .map(|((state, reason), count)| GoroutineDoing {
            state: state.to_owned(),
            wait_reason: reason.map(ToOwned::to_owned),
            count,
        })
        .collect();
    doing.sort_by(|a, b| {
        (Reverse(a.count), &a.state, &a.wait_reason).cmp(&(Reverse(b.count), &b.state, &b.wait_reason))
    });
    let (created, exited) = traced(sites, all).unzip();
    GoroutinePlace {
        rank: 0,
        count: sites.iter().fold(0, |sum, site| sum.saturating_add(site.count)),
        growth_since_first: largest.and_then(|site| growth::of_spot(site, all.growth_since_first)),
        piling_up: false,
        created,
        exited,
        frame: largest.and_then(|site| site.stack.blamed()).cloned(),
        created_by: largest.and_then(|site| site.created_by.clone()),
        start_function: largest.and_then(|site| site.start_function.clone()),
        doing,
        site_ids: sites.iter().map(|site| site.site_id.clone()).collect(),
    }
}

/// Goroutines that the statements of these sites created, and those that ended, if that was traced.
fn traced(sites: &[&GoroutineSite], all: &Goroutines) -> Option<(u64, u64)> {
    let creations = all.creations.as_ref()?;
    let made = |frame: &Frame| {
        sites
            .iter()
            .filter_map(|site| site.created_by.as_ref())
            .any(|by| (&by.function, &by.file, by.line) == (&frame.function, &frame.file, frame.line))
    };
    let of =
        creations.iter().filter(|creation| creation.stack.frames.first().is_some_and(|frame| made(frame)));
    Some(of.fold((0, 0), |(created, exited), one| {
        (created.saturating_add(one.created), exited.saturating_add(one.exited))
    }))
}

impl GoroutinePlace {
    /// Whether no site tells of it as a whole: it piles up, and no half of its goroutines do the same.
    pub(super) fn is_spread(&self) -> bool {
        let most = self.doing.first().map_or(0, |doing| doing.count);
        self.piling_up && most <= self.count / 2
    }

    /// Whether a site is one of its.
    pub(super) fn has(&self, site: &GoroutineSite) -> bool {
        (function(self.frame.as_ref()), statement(self.created_by.as_ref()), self.start_function.as_deref())
            == key(site)
    }
}

#[cfg(test)]
mod tests {
    use crate::section::goroutines::build::tests::{look, section};

    #[test]
    fn goroutines_that_go_round_are_one_place() {
        let before = look(0, &[(20, "select"), (30, "sleep"), (10, "chan send")]);
        let after = look(10, &[(60, "select"), (60, "sleep"), (40, "chan send")]);
        let all = section(&[before, after]);
        let [place] = &all.places[..] else { panic!("{:?}", all.places) };
        assert_eq!((place.rank, place.count, place.growth_since_first), (1, 160, Some(100)));
        assert!(place.piling_up && place.is_spread() && place.site_ids.len() == 3);
        let doing: Vec<_> =
            place.doing.iter().map(|doing| (doing.wait_reason.as_deref(), doing.count)).collect();
        assert_eq!(doing, [(Some("select"), 60), (Some("sleep"), 60), (Some("chan send"), 40)]);
        assert_eq!((place.created, place.exited), (None, None), "not traced");
        assert!(all.sites.iter().all(|site| place.has(site)));
    }

    #[test]
    fn one_that_most_do_the_same_in_is_told_as_a_site() {
        let all = section(&[look(0, &[(20, "select")]), look(10, &[(60, "select"), (10, "sleep")])]);
        assert!(all.places[0].piling_up && !all.places[0].is_spread());
        let steady = section(&[
            look(0, &[(60, "select")]),
            look(10, &[(20, "select"), (20, "sleep"), (20, "chan send")]),
        ]);
        assert_eq!((steady.places[0].growth_since_first, steady.places[0].piling_up), (Some(0), false));
    }
}
