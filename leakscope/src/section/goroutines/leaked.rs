//! Goroutines that can never run again: what is known of all of them together, and what is said of it.

use std::cmp::Reverse;

use super::answer::{doing, short_place};
use super::model::{GoroutineSite, Goroutines};
use super::words::{self, GoroutinesSaid, Group};
use crate::human::{bytes, count};
use crate::runtime::go::leaked::GoLeaks;

/// Tells what was found out; `None` if nobody looked.
pub(super) fn tell(all: &mut Goroutines, found: Option<&GoLeaks>) {
    let sites = all.sites.iter().filter(|site| !site.system);
    let leaked = sites.fold(0u64, |sum, site| sum.saturating_add(site.leaked));
    // Of some, the program's own collector may know.
    all.leaked = (leaked > 0).then_some(leaked);
    match found {
        None => all.leaked_unknown = (leaked == 0).then(|| "it was not looked for".to_owned()),
        Some(GoLeaks { unknown: Some(why), .. }) => all.leaked_unknown = (leaked == 0).then(|| why.clone()),
        Some(GoLeaks { held_bytes, .. }) => {
            all.leaked = Some(leaked);
            all.leaked_heap_bytes = Some(if leaked > 0 { *held_bytes } else { 0 });
        }
    }
}

/// Whether it is told of with the others that can never run again: that is all that makes it stuck.
pub(super) fn is_told(site: &GoroutineSite) -> bool {
    !site.system && site.leaked > 0 && site.leaked >= site.stuck
}

/// What is said of all of them; `None` if there are none.
pub(super) fn said(all: &Goroutines) -> Option<GoroutinesSaid> {
    let mut sites: Vec<&GoroutineSite> = all.sites.iter().filter(|site| is_told(site)).collect();
    sites.sort_by_key(|site| Reverse(site.leaked));
    let most = sites.first()?;
    Some(GoroutinesSaid::Leaked {
        count: sites.iter().fold(0, |sum, site| sum.saturating_add(site.leaked)),
        total: all.total,
        places: sites.len() as u64,
        most: Some(Group { count: most.leaked, doing: doing(most) }),
        created_by: most.created_by.as_ref().and_then(short_place),
        others: sites.iter().fold(0, |sum, site| sum.saturating_add(site.count.saturating_sub(site.leaked))),
        heap_bytes: all.leaked_heap_bytes.filter(|bytes| *bytes > 0),
    })
}

/// In words.
pub(super) fn text(said: &GoroutinesSaid) -> String {
    let GoroutinesSaid::Leaked { count: n, total, places, most, created_by, others, heap_bytes } = said
    else {
        return String::new();
    };
    let who = words::who(*n, *total, ["can never run again", "can never run again"]);
    let created = created_by.as_ref().map(|place| format!(", created by {place}")).unwrap_or_default();
    let where_ = match (most, *places) {
        (None, _) => String::new(),
        (Some(most), 1) => format!(", {}{created}", words::doing(&most.doing)),
        (Some(most), _) => format!(", {} of them {}{created}", count(most.count), words::doing(&most.doing)),
    };
    let held = match (heap_bytes, *n) {
        (None, _) => String::new(),
        (Some(held), 1) => format!(" About {} of the heap is reached by it alone.", bytes(*held)),
        (Some(held), _) => format!(" About {} of the heap is reached by them alone.", bytes(*held)),
    };
    let waits = if *n == 1 { "it waits" } else { "they wait" };
    let there = if *places == 1 { "there" } else { "in these places" };
    let others = match others {
        0 => String::new(),
        n => format!(" Of the other {} {there} that is not shown, or not yet.", count(*n)),
    };
    format!("{who}{where_}: nothing that can still run reaches what {waits} for.{held}{others}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::finding::Said as _;
    use crate::section::goroutines::answer;
    use crate::section::goroutines::build::tests::{look, section};
    use crate::section::goroutines::words::Since;

    fn with_leaks(leaked: &[u64]) -> Goroutines {
        let mut all = section(&[look(0, &[(500, "chan receive"), (40, "select"), (9, "IO wait")])]);
        for (site, leaked) in all.sites.iter_mut().zip(leaked) {
            (site.leaked, site.stuck) = (*leaked, *leaked);
        }
        tell(&mut all, Some(&GoLeaks { looks: 2, held_bytes: 3 << 20, unknown: None }));
        all
    }

    #[test]
    fn leaks_in_one_place_and_in_several() {
        let text = |all: &Goroutines| answer::goroutines(all, Since::FirstLook).map(|said| said.text());
        let all = with_leaks(&[500]);
        assert_eq!(all.leaked, Some(500));
        assert_eq!(
            text(&all).as_deref(),
            Some(
                "500 of 549 goroutines can never run again, blocked in chan receive at main.(*WebSocket).notifyFxn \
                 at websocket.go:156, created by main.(*Hub).add at hub.go:40: nothing that can still run reaches \
                 what they wait for. About 3.0 MiB of the heap is reached by them alone."
            )
        );
        let text = text(&with_leaks(&[400, 30])).expect("a headline");
        assert!(
            text.starts_with("430 of 549 goroutines can never run again, 400 of them blocked in chan"),
            "{text}"
        );
    }

    #[test]
    fn a_few_leaks_do_not_hide_a_crowd() {
        let all = with_leaks(&[0, 1]);
        let said = answer::all(&all, Since::FirstLook);
        assert!(said[0].text().starts_with("500 of 549 goroutines are blocked"), "{}", said[0].text());
        assert_eq!(
            said[1].text(),
            "1 of 549 goroutines can never run again, blocked in select at main.(*WebSocket).notifyFxn at \
             websocket.go:156, created by main.(*Hub).add at hub.go:40: nothing that can still run reaches what it \
             waits for. About 3.0 MiB of the heap is reached by it alone. Of the other 39 there that is not shown, or not \
             yet."
        );
    }

    #[test]
    fn a_profile_of_them_alone() {
        use crate::section::Section as _;
        use crate::section::profile::ProfileKind;
        let all = with_leaks(&[400, 30]);
        let mut samples = Vec::new();
        all.samples(ProfileKind::Goroutineleak, &mut samples);
        // Stacks that are equal are one.
        assert_eq!(samples.iter().map(|sample| sample.values[0]).sum::<u64>(), 430);
        assert!(all.has_profile(ProfileKind::Goroutineleak));
        let unknown = section(&[look(0, &[(5, "select")])]);
        assert!(!unknown.has_profile(ProfileKind::Goroutineleak));
    }

    #[test]
    fn what_is_not_known_is_null() {
        let mut all = section(&[look(0, &[(5, "select")])]);
        tell(&mut all, None);
        assert_eq!((all.leaked, all.leaked_unknown.is_some()), (None, true));
        tell(&mut all, Some(&GoLeaks { looks: 0, held_bytes: 0, unknown: Some("why".to_owned()) }));
        assert_eq!((all.leaked, all.leaked_unknown.as_deref()), (None, Some("why")));
        assert_eq!(with_leaks(&[]).leaked, Some(0));
        assert!(said(&with_leaks(&[])).is_none());
    }
}
