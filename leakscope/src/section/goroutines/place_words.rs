//! What is said of a place whose goroutines do this and that.

use super::answer::grown;
use super::model::{GoroutineDoing, GoroutinePlace, Goroutines};
use super::words::{self, Doing, GoroutinesSaid, Group, Since, who};
use crate::human::{count, cut};
use crate::runtime::go::named::without_path;
use crate::section::label::{LONGEST_NAME, place as placed, short};

/// So many things that they do are told.
const MOST: usize = 3;

/// A place that piles up as a whole.
pub(super) fn said(place: &GoroutinePlace, all: &Goroutines, since: Since) -> GoroutinesSaid {
    let named = |name: &str| cut(without_path(name), LONGEST_NAME);
    let function = place.frame.as_ref().and_then(|frame| frame.function.as_deref());
    let function = function.or(place.start_function.as_deref()).map_or("?".to_owned(), named);
    // Where both reports of a series are compared, what one of them traced does not tell.
    let traced = since == Since::FirstLook;
    GoroutinesSaid::Spread {
        count: place.count,
        total: all.total,
        function,
        created_by: place.created_by.as_ref().and_then(|frame| placed(&short(frame))),
        growth: grown(place.growth_since_first, all.since_first_ns, since),
        created: place.created.filter(|_| traced),
        exited: place.exited.filter(|_| traced),
        doing: place.doing.iter().map(group).collect(),
    }
}

fn group(doing: &GoroutineDoing) -> Group {
    let GoroutineDoing { state, wait_reason, count } = doing;
    let doing = Doing { state: state.clone(), wait_reason: wait_reason.clone(), woken_by: None, place: None };
    Group { count: *count, doing }
}

/// The sentence.
pub(super) fn spread(said: &GoroutinesSaid) -> String {
    let GoroutinesSaid::Spread { count: n, total, function, created_by, growth, created, exited, doing } =
        said
    else {
        return String::new();
    };
    let by = created_by.as_ref().map(|place| format!(", created by {place}")).unwrap_or_default();
    let traced = match (created, exited) {
        (Some(created), Some(0)) => format!("; {} were created, and none ended", count(*created)),
        (Some(created), Some(exited)) => {
            format!("; {} were created there, and {} ended", count(*created), count(*exited))
        }
        _ => String::new(),
    };
    let told: Vec<String> = doing
        .iter()
        .take(MOST)
        .map(|group| format!("{} {}", count(group.count), words::doing(&group.doing)))
        .collect();
    let rest: u64 = doing.iter().skip(MOST).map(|group| group.count).sum();
    let rest = (rest > 0).then(|| format!("{} do something else", count(rest)));
    let told = told.into_iter().chain(rest).collect::<Vec<_>>().join(", ");
    format!("{} in {function}{by}{}{traced}: {told}.", who(*n, *total, ["is", "are"]), words::grown(*growth))
}
