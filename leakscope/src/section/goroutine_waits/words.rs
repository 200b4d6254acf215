//! What is said of waits of goroutines, and in what words.

use crate::human::{counted, duration, share};
use crate::section::finding::findings;

findings! {
    /// What is said of waits of goroutines.
    pub enum GoroutineWaitsSaid, in the words of text {
        /// Goroutines waited notably for locks.
        Note Contention = "goroutine_lock_contention" {
            contentions: u64,
            wait_ns: u64,
            exact: bool,
            place: Option<String>,
            place_ns: u64,
        },
    }
}

fn text(said: &GoroutineWaitsSaid) -> String {
    let GoroutineWaitsSaid::Contention { contentions, wait_ns, exact, place, place_ns } = said;
    let (first, about) = if *exact { ("", "") } else { ("About ", "about ") };
    let place = place.as_ref().map(|place| format!("; {} of that in {place}", share(*place_ns, *wait_ns)));
    format!(
        "{first}{} of a lock ended a goroutine's wait, {about}{} of waiting is charged to them{}.",
        counted(*contentions, "release"),
        duration(*wait_ns),
        place.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let said = |exact, place: Option<&str>| GoroutineWaitsSaid::Contention {
            contentions: 7092,
            wait_ns: 13_300_000_000,
            exact,
            place: place.map(ToOwned::to_owned),
            place_ns: 8_200_000_000,
        };
        assert_eq!(
            text(&said(true, Some("main.rwWrite at main.go:43"))),
            "7,092 releases of a lock ended a goroutine's wait, 13.3 s of waiting is charged to them; 62 % of that in \
             main.rwWrite at main.go:43."
        );
        assert_eq!(
            text(&said(false, None)),
            "About 7,092 releases of a lock ended a goroutine's wait, about 13.3 s of waiting is charged to them."
        );
    }
}
