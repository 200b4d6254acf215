//! What answers "what are the goroutines stuck in?".

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use super::build::judge;
use super::group::add_goroutines;
use super::stuck::in_deadlock;
use super::words::{Doing, GoroutinesSaid, Grew, Group, Grown, Since};
use super::{growth, leaked, lock_answer, place_words};
use crate::human::cut;
use crate::runtime::go::goroutine::GoState;
use crate::runtime::go::named::without_path;
use crate::section::label::{LONGEST_NAME, place, short};
use crate::section::model::{Frame, GoroutineCreation, GoroutineSite, Goroutines};

/// So many goroutines in one place are worth a sentence, if they are [`SHARE`] of all.
const MANY: u64 = 100;
/// One in so many.
const SHARE: u64 = 4;
/// So many that wait in one place are worth asking whether they go on.
const SOME: u64 = 8;
/// A crowd comes before goroutines that can never run again if it is so many times as large.
const CROWD_OF_LEAKED: u64 = 10;
/// Second-rank findings.
const MORE: usize = 4;
/// So many new goroutines in all are worth a sentence, if they are a tenth of all.
const SCATTERED: i64 = 10;
/// Why a site is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Stuck,
    PilesUp,
    Crowded,
}

/// Why a site is told of. Deadlocks are told apart.
fn why(site: &GoroutineSite, all: &Goroutines) -> Option<Why> {
    if site.idle || site.system {
        return None;
    }
    let deadlocked = !all.deadlocks.is_empty() && in_deadlock(site);
    let blocked = site.state == GoState::Waiting.name() && !waits_for_the_world(site);
    let idle = all.sites.iter().filter(|site| site.idle && !site.system).map(|site| site.count).sum();
    let many = site.count > MANY && site.count >= all.total.saturating_sub(idle) / SHARE;
    match site {
        _ if leaked::is_told(site) && site.leaked >= site.count - site.count / 2 => None,
        GoroutineSite { stuck: 1.., .. } if !deadlocked && !leaked::is_told(site) => Some(Why::Stuck),
        GoroutineSite { piling_up: true, .. } => Some(Why::PilesUp),
        _ if blocked && many && site.stuck == 0 => Some(Why::Crowded),
        _ => None,
    }
}

/// Whether a site is told of with the others of its place, if that piles up as a whole.
fn is_told_with_place(site: &GoroutineSite, all: &Goroutines) -> bool {
    matches!(why(site, all), Some(Why::PilesUp | Why::Crowded))
}

/// The place that is told of with most goroutines, whose waits may end or not.
pub(crate) fn crowd(all: &Goroutines) -> Option<Frame> {
    let all = &*without_labels(all);
    let told = all.sites.iter().filter(|site| is_told_with_place(site, all));
    told.max_by_key(|site| site.count)?.stack.blamed().cloned()
}

/// Where goroutines wait for each other that may go on or not: the place that is told of with most, else where the most
/// are blocked, if these are some.
pub(crate) fn waiting_crowd(all: &Goroutines) -> Option<Frame> {
    crowd(all).or_else(|| {
        let all = &*without_labels(all);
        let blocked = |site: &&GoroutineSite| !site.idle && waits_for_others(site);
        let most = all.sites.iter().filter(blocked).min_by_key(|site| Reverse(site.count))?;
        most.stack.blamed().filter(|_| most.count >= SOME && most.leaked == 0 && most.stuck == 0).cloned()
    })
}

/// Goroutines that wait for each other at a line, if they have been as many as now since the first look.
pub(crate) fn stayed_at(all: &Goroutines, at: &Frame) -> Option<u64> {
    let there = all.sites.iter().filter(|site| {
        waits_for_others(site) && site.stack.blamed().is_some_and(|frame| same_line(frame, at))
    });
    there.map(|site| (site.growth_since_first == Some(0)).then_some(site.count)).sum()
}

/// Whether it waits for other goroutines, in ways that are all followed.
fn waits_for_others(site: &GoroutineSite) -> bool {
    const FOLLOWED: [&str; 8] = [
        "chan receive",
        "chan send",
        "select",
        "sync.Cond.Wait",
        "sync.Mutex.Lock",
        "sync.RWMutex.Lock",
        "sync.RWMutex.RLock",
        "sync.WaitGroup.Wait",
    ];
    let reason = site.wait_reason.as_deref().unwrap_or_default();
    let followed = FOLLOWED.contains(&reason) || reason.starts_with("semacquire");
    site.state == GoState::Waiting.name() && followed && !site.system
}

/// Whether what is waited for comes from outside or from a clock, so that many do so in a healthy program.
fn waits_for_the_world(site: &GoroutineSite) -> bool {
    matches!(site.wait_reason.as_deref(), Some("IO wait" | "sleep"))
}

/// What is most worth telling; `None` if nothing is. Growth is told from `since` on.
pub(crate) fn goroutines(all: &Goroutines, since: Since) -> Option<GoroutinesSaid> {
    told(&without_labels(all), since).into_iter().next()
}

/// Goroutines in one place are told of as one site, whatever labels they have.
fn without_labels(all: &Goroutines) -> Cow<'_, Goroutines> {
    if all.sites.iter().all(|site| site.labels.is_none()) {
        return Cow::Borrowed(all);
    }
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut sites: Vec<GoroutineSite> = Vec::new();
    for site in &all.sites {
        let place = if site.place_id.is_empty() { &site.site_id } else { &site.place_id };
        let at = *known.entry(place).or_insert(sites.len());
        match sites.get_mut(at) {
            Some(sum) => add_goroutines(sum, site.clone()),
            None => sites.push(GoroutineSite { labels: None, ..site.clone() }),
        }
    }
    for site in &mut sites {
        site.growth_since_first = site.place_growth_since_first.or(site.growth_since_first);
    }
    let mut all = Goroutines { sites, ..all.clone() };
    judge(&mut all);
    Cow::Owned(all)
}

/// All that is worth telling: deadlocks, sites as they are ranked, locks.
fn told(all: &Goroutines, since: Since) -> Vec<GoroutinesSaid> {
    let told = all.sites.iter().filter_map(|site| {
        let why = why(site, all)?;
        let Some(place) = all.places.iter().find(|place| place.is_spread() && place.has(site)) else {
            // Of a crowd nothing is proven.
            let count = if why == Why::Crowded { site.count / CROWD_OF_LEAKED } else { site.count };
            return Some((count, many(why, site, all, since)));
        };
        (why == Why::Stuck).then(|| (site.count, many(why, site, all, since))).or_else(|| {
            // Told once, where its first site would be.
            let first = all.sites.iter().find(|other| place.has(other) && is_told_with_place(other, all))?;
            (first.site_id == site.site_id).then(|| (place.count, place_words::said(place, all, since)))
        })
    });
    let (counts, mut sites): (Vec<u64>, Vec<GoroutinesSaid>) = told.unzip();
    let hidden = all.places.iter().filter(|place| {
        place.is_spread() && !all.sites.iter().any(|site| place.has(site) && is_told_with_place(site, all))
    });
    sites.extend(hidden.map(|place| place_words::said(place, all, since)));
    if let Some(leaks) = leaked::said(all) {
        // Whoever are more come first.
        let most = counts.into_iter().max().unwrap_or(0);
        let first = matches!(leaks, GoroutinesSaid::Leaked { count, .. } if count >= most);
        sites.insert(usize::from(!first), leaks);
    }
    lock_answer::deadlocks(all).chain(sites).chain(lock_answer::most_wanted(all)).collect()
}

/// Facts of second rank, most important first; what [`goroutines()`] says is not repeated.
pub(crate) fn findings(all: &Goroutines, since: Since) -> Vec<GoroutinesSaid> {
    let none = (all.leaked == Some(0) && all.growth_since_first.is_none())
        .then_some(GoroutinesSaid::NoneLeaked { beside_deadlocks: !all.deadlocks.is_empty() });
    told(&without_labels(all), since).into_iter().skip(1).take(MORE).chain(none).collect()
}

/// All that is ever said of them: all that is worth it, and that all is well.
pub(crate) fn all(all: &Goroutines, since: Since) -> Vec<GoroutinesSaid> {
    told(&without_labels(all), since).into_iter().chain([calm(all, since)]).collect()
}

/// What there is to say if [`goroutines()`] has nothing.
pub(crate) fn calm(all: &Goroutines, since: Since) -> GoroutinesSaid {
    let all = &*without_labels(all);
    if all.total == 0 {
        return GoroutinesSaid::Nothing {};
    }
    let grown_by = all.growth_since_first.unwrap_or(0).max(0);
    let now = i64::try_from(all.total).unwrap_or(i64::MAX);
    if grown_by >= SCATTERED && grown_by >= now / 10 && growth::exceeds_chance(grown_by, now) {
        let growth = grown(all.growth_since_first, all.since_first_ns, since);
        return GoroutinesSaid::Scattered { total: all.total, growth };
    }
    let own = || all.sites.iter().filter(|site| !site.system);
    // The first of the largest ones, as they are ranked.
    let largest = own().filter(|site| !site.idle).min_by_key(|site| Reverse(site.count));
    GoroutinesSaid::Calm {
        total: all.total,
        idle: own().filter(|site| site.idle).map(|site| site.count).sum(),
        largest: largest.map(|site| Group { count: site.count, doing: doing(site) }),
        watched: all.growth_since_first.is_some(),
        grown: grown_most(all),
        want_locks: lock_answer::want_locks(all),
    }
}

/// The place that has grown most, if any has.
fn grown_most(all: &Goroutines) -> Option<Grew> {
    let own = all.sites.iter().filter(|site| !site.system && !site.idle);
    let grown = own.filter_map(|site| Some((site, growth::of(site, all.growth_since_first)?)));
    let (site, more) = grown.filter(|(_, more)| *more > 0).max_by_key(|(_, more)| *more)?;
    let same = |statement: &&GoroutineCreation| {
        statement.stack.blamed().zip(site.created_by.as_ref()).is_some_and(|(a, b)| same_line(a, b))
    };
    let statements: Vec<&GoroutineCreation> = all.creations.iter().flatten().filter(same).collect();
    let sum =
        |of: fn(&GoroutineCreation) -> u64| statements.iter().map(|one| of(one)).fold(0, u64::saturating_add);
    let now = i64::try_from(site.count).unwrap_or(i64::MAX);
    Some(Grew {
        more,
        doing: doing(site),
        began_and_ended: (!statements.is_empty()).then(|| (sum(|one| one.created), sum(|one| one.exited))),
        few: !growth::is_notable(more, now),
    })
}

/// The same line of the same function.
pub(crate) fn same_line(one: &Frame, other: &Frame) -> bool {
    one.function == other.function && one.line == other.line && one.file == other.file
}

fn many(why: Why, site: &GoroutineSite, all: &Goroutines, since: Since) -> GoroutinesSaid {
    let (count, total, doing) = (site.count, all.total, doing(site));
    let created_by = site.created_by.as_ref().and_then(short_place);
    let longest_blocked_ns = site.longest_blocked_ns;
    let growth = grown(growth::of(site, all.growth_since_first), all.since_first_ns, since);
    match why {
        Why::Stuck => GoroutinesSaid::Stuck {
            count: site.stuck,
            total,
            doing,
            created_by,
            longest_blocked_ns,
            growth,
            why: site.stuck_rule.clone(),
        },
        Why::PilesUp => {
            GoroutinesSaid::PilingUp { count, total, doing, created_by, longest_blocked_ns, growth }
        }
        Why::Crowded => {
            GoroutinesSaid::Crowded { count, total, doing, created_by, longest_blocked_ns, growth }
        }
    }
}

pub(super) fn doing(site: &GoroutineSite) -> Doing {
    let start = || Some(cut(without_path(site.start_function.as_deref()?), LONGEST_NAME));
    Doing {
        state: site.state.clone(),
        wait_reason: site.wait_reason.clone(),
        woken_by: site.woken_by.clone(),
        place: site.stack.blamed().and_then(short_place).or_else(start),
    }
}

/// Function, file and line of a frame.
pub(super) fn short_place(frame: &Frame) -> Option<String> {
    place(&short(frame))
}

/// A growth that is worth being told.
pub(super) fn grown(growth: Option<i64>, in_ns: Option<u64>, since: Since) -> Option<Grown> {
    let goroutines = growth.filter(|growth| *growth != 0)?;
    Some(Grown { goroutines, in_ns: in_ns?, since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::named::GoCode;
    use crate::section::finding::Said as _;
    use crate::section::goroutines::build::tests::{look, section, seen};
    use crate::section::goroutines::{build, words};

    fn goroutines(all: &Goroutines) -> Option<String> {
        super::goroutines(all, Since::FirstLook).map(|said| said.text())
    }

    fn findings(all: &Goroutines) -> Vec<String> {
        super::findings(all, Since::FirstLook).iter().map(|said| said.text()).collect()
    }

    fn calm(all: &Goroutines) -> String {
        super::calm(all, Since::FirstLook).text()
    }

    fn grown(growth: Option<i64>, in_ns: Option<u64>) -> String {
        words::grown(super::grown(growth, in_ns, Since::FirstLook))
    }

    fn doing(site: &GoroutineSite) -> String {
        words::doing(&super::doing(site))
    }

    const STORY: &str = "11,274 of 13,647 goroutines are blocked in chan receive at \
                         main.(*WebSocket).notifyFxn at websocket.go:156, created by main.(*Hub).add at hub.go:40";

    #[test]
    fn the_story() {
        let story = section(&[look(0, &[(11_274, "chan receive"), (2_373, "IO wait")])]);
        assert_eq!(goroutines(&story), Some(format!("{STORY}.")));
        assert_eq!(findings(&story), [] as [&str; 0]);
    }

    #[test]
    fn what_grows() {
        let looks =
            [look(0, &[(10_334, "chan receive")]), look(20, &[(11_274, "chan receive"), (2_373, "IO wait")])];
        let mut all = section(&looks);
        let text = goroutines(&all).expect("a headline");
        assert!(
            text.starts_with("2,373 of 13,647 goroutines are blocked in IO wait"),
            "most growth first: {text}"
        );
        assert_eq!(findings(&all), [format!("{STORY}, 940 more since leakscope came (47 a second).")]);
        all.sites.retain(|site| site.wait_reason.as_deref() == Some("chan receive"));
        all.sites[0].longest_blocked_ns = Some(600_000_000_000);
        assert_eq!(
            goroutines(&all),
            Some(format!(
                "{STORY}, the longest for at least 10 m 0 s, 940 more since leakscope came (47 a second)."
            ))
        );
    }

    #[test]
    fn labels_do_not_hide_a_crowd() {
        let mut snapshot = look(0, &[(120, "chan receive"), (20, "IO wait")]);
        snapshot.labels = (0..10).map(|n| [("request".to_owned(), n.to_string())].into()).collect();
        for (goroutine, n) in snapshot.goroutines.iter_mut().zip(0..) {
            goroutine.labels = Some(n % 10);
        }
        let all = section(&[snapshot]);
        assert!(all.sites.len() == 20);
        let text = goroutines(&all).expect("a headline");
        assert!(text.starts_with("120 of 140 goroutines are blocked in chan receive"), "{text}");
        assert_eq!(super::all(&all, Since::FirstLook)[0].text(), text);
    }

    /// As many as before, each with a label of its own, which was not there before.
    #[test]
    fn labels_that_come_and_go_are_no_growth() {
        let labelled = |seconds, count: u64, first: u64| {
            let mut snapshot = look(seconds, &[(count, "chan receive")]);
            snapshot.labels =
                (first..first + count).map(|n| [("request".to_owned(), n.to_string())].into()).collect();
            for (goroutine, n) in snapshot.goroutines.iter_mut().zip(0..) {
                goroutine.labels = Some(n);
            }
            snapshot
        };
        let steady = section(&[labelled(0, 25, 0), labelled(6, 25, 100)]);
        assert_eq!(steady.sites.len(), 25);
        assert!(goroutines(&steady).is_none() && steady.sites.iter().all(|site| !site.piling_up));
        assert!(calm(&steady).starts_with("At the last look, all 25 goroutines are"), "{}", calm(&steady));
        let grown = section(&[labelled(0, 5, 0), labelled(6, 25, 100)]);
        let text = goroutines(&grown).expect("a headline");
        assert!(
            text.contains("All 25 goroutines") && text.contains("20 more since leakscope came"),
            "{text}"
        );
    }

    #[test]
    fn growth_in_words() {
        let s = 1_000_000_000;
        assert_eq!(grown(Some(940), Some(20 * s)), ", 940 more since leakscope came (47 a second)");
        assert_eq!(grown(Some(10), Some(20 * s)), ", 10 more since leakscope came (30 a minute)");
        assert_eq!(grown(Some(1), Some(120 * s)), ", 1 more since leakscope came (30 an hour)");
        assert_eq!(grown(Some(-5), Some(s)), ", 5 fewer since leakscope came");
        assert_eq!([grown(Some(0), Some(s)), grown(None, Some(s)), grown(Some(4), None)], ["", "", ""]);
        assert_eq!(grown(Some(i64::MIN), Some(0)), ", 9,223,372,036,854,775,808 fewer since leakscope came");
        assert!(grown(Some(i64::MAX), Some(0)).ends_with("since leakscope came"));
    }

    #[test]
    fn what_is_not_a_headline() {
        let none = |all: &Goroutines| assert_eq!(goroutines(all), None);
        none(&section(&[look(0, &[(100, "chan receive")])]));
        none(&section(&[look(0, &[(101, "chan receive"), (500, "IO wait")])]));
        none(&section(&[look(0, &[(5_000, "IO wait")])]));
        let ends = section(&[look(0, &[(90, "select")]), look(9, &[(20, "select")])]);
        none(&ends);
        assert_eq!(
            calm(&ends),
            "At the last look, all 20 goroutines are blocked in select at main.(*WebSocket).notifyFxn at \
             websocket.go:156 (what for is not visible). No place has more of them than when leakscope came."
        );
        assert_eq!(calm(&section(&[look(0, &[])])), "The program has no goroutines of its own.");
        assert_eq!(calm(&section(&[look(0, &[(3, "sleep")])])), "All 3 goroutines are idle.");
        assert_eq!(calm(&section(&[look(0, &[(1, "sleep")])])), "The only goroutine is idle.");
        let at = "at main.(*WebSocket).notifyFxn at websocket.go:156 (what for is not visible)";
        for (groups, text) in [
            (
                &[(2, "sleep"), (1, "select")][..],
                format!("2 of 3 goroutines are idle; the other one is blocked in select {at}"),
            ),
            (
                &[(1, "sleep"), (4, "select")],
                format!("1 of 5 goroutines is idle; the other 4 are blocked in select {at}"),
            ),
            (
                &[(1, "sleep"), (1, "select"), (1, "chan send")],
                "1 of 3 goroutines is idle; each of the other 2 is in a place of its own".to_owned(),
            ),
            (
                &[(1, "sleep"), (5, "select"), (2, "chan send")],
                format!(
                    "1 of 8 goroutines is idle; 5 of the other 7 are blocked in select {at}, the most in one place"
                ),
            ),
            (
                &[(5, "select"), (2, "chan send")],
                format!("5 of 7 goroutines are blocked in select {at}, the most in one place"),
            ),
            (&[(1, "select")], format!("The only goroutine is blocked in select {at}")),
        ] {
            assert_eq!(calm(&section(&[look(0, groups)])), format!("{text}."));
        }
    }

    #[test]
    fn growth_everywhere() {
        let reasons: Vec<String> = (0..40).map(|n| format!("reason {n}")).collect();
        let all = |each: u64| reasons.iter().map(|reason| (each, reason.as_str())).collect::<Vec<_>>();
        let grown = section(&[look(0, &all(2)), look(10, &all(6))]);
        assert_eq!(
            goroutines(&grown).as_deref(),
            Some(
                "All 240 goroutines are in main.(*WebSocket).notifyFxn, created by main.(*Hub).add at hub.go:40, 160 more since \
                 leakscope came (16 a second): 6 blocked in reason 0, 6 blocked in reason 1, 6 blocked in reason 10, 222 do \
                 something else."
            )
        );
        assert_eq!(
            calm(&grown),
            "240 goroutines are there, 160 more since leakscope came (16 a second), but they pile up in no single place."
        );
    }

    #[test]
    fn states_in_words() {
        let mut site = section(&[look(0, &[(200, "select")])]).sites.remove(0);
        let mut doing_in = |state: &str, reason: Option<&str>| {
            site.state = state.to_owned();
            site.wait_reason = reason.map(ToOwned::to_owned);
            doing(&site).split(" at ").next().unwrap_or_default().to_owned()
        };
        assert_eq!(doing_in("leaked", Some("chan send")), "blocked for ever in chan send");
        assert_eq!(doing_in("waiting", None), "blocked");
        assert_eq!(doing_in("syscall", None), "in a system call or C code");
        assert_eq!(doing_in("running", None), "running");
        assert!(doing_in("waiting", Some(&"x".repeat(9_999))).len() < 100);
        site.stack.frames = Default::default();
        assert!(doing(&site).ends_with(" at main.(*WebSocket).run"));
    }

    #[test]
    fn one_that_leaks() {
        let mut all = seen(&[look(0, &[(1, "chan send"), (9, "select")])]);
        for site in &mut all.sites {
            if site.count == 1 {
                site.state = GoState::Leaked;
            }
        }
        let all = build::goroutines(&all, None, GoCode::default());
        assert!(
            goroutines(&all).is_some_and(|text| text.starts_with("1 of 10 goroutines can never run again"))
        );
    }
}
