//! What is said of waits of goroutines, and in what words.

use serde::Serialize;

use crate::human::{count, counted, duration, share};
use crate::section::finding::findings;

/// A writer that had to wait for readers itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BehindReaders {
    /// How long on average.
    pub mean_ns: u64,
    /// Where readers ended the waits of writers, if that was in one place alone.
    pub only: Option<String>,
}

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
            readers: Option<BehindReaders>,
        },
        /// Waits of a place with many goroutines end.
        Note GoOn = "goroutines_go_on" {
            place: String,
            waits: u64,
            mean_ns: u64,
            still: Option<u64>,
            exact: bool,
        },
        /// They do not.
        Note NoneGoesOn = "no_goroutine_goes_on" { place: String, came: u64, },
        /// Those that were there are still there, and nobody came.
        Note AllStay = "goroutines_stay" { place: String, count: u64, },
    }
}

fn text(said: &GoroutineWaitsSaid) -> String {
    match said {
        GoroutineWaitsSaid::Contention { .. } => contention(said),
        GoroutineWaitsSaid::GoOn { place, waits, mean_ns, still: Some(still @ 1..), exact } => {
            let (about, each) = if *exact { ("", "after") } else { ("about ", "after about") };
            let average = if *waits == 1 { "" } else { " on average" };
            let have = if *still == 1 { "has" } else { "have" };
            format!(
                "Of the waits at {place} that began while leakscope watched, {about}{} ended, {each} {}{average}, and {about}{} {have} not.",
                count(*waits),
                duration(*mean_ns),
                count(*still)
            )
        }
        GoroutineWaitsSaid::GoOn { place, waits, mean_ns, exact, .. } => {
            let (about, each) = if *exact { ("", "after") } else { ("about ", "after about") };
            let (n, mean) = (count(*waits), duration(*mean_ns));
            match *waits {
                1 => format!(
                    "Waits at {place} do end: one began and ended while leakscope watched, {each} {mean}."
                ),
                _ => format!(
                    "Waits at {place} do end: {about}{n} began and ended while leakscope watched, {each} {mean} on average."
                ),
            }
        }
        GoroutineWaitsSaid::NoneGoesOn { place, came: 1 } => {
            format!("1 goroutine came to wait at {place} while leakscope watched, and it has not gone on.")
        }
        GoroutineWaitsSaid::AllStay { place, count: n } => format!(
            "None of the {} that wait at {place} has gone on while leakscope watched.",
            counted(*n, "goroutine")
        ),
        GoroutineWaitsSaid::NoneGoesOn { place, came } => format!(
            "{} came to wait at {place} while leakscope watched, and none has gone on.",
            counted(*came, "goroutine")
        ),
    }
}

fn contention(said: &GoroutineWaitsSaid) -> String {
    let GoroutineWaitsSaid::Contention { contentions, wait_ns, exact, place, place_ns, readers } = said
    else {
        return String::new();
    };
    let (first, about) = if *exact { ("", "") } else { ("About ", "about ") };
    let place = place.as_ref().map(|place| format!("; {} of that in {place}", share(*place_ns, *wait_ns)));
    let readers = readers.as_ref().map(|readers| {
        let only = readers.only.as_ref();
        let only = only.map(|place| format!("; the only readers that ended such waits are in {place}"));
        format!(
            ", which had to wait for readers itself, {about}{} on average{}",
            duration(readers.mean_ns),
            only.unwrap_or_default()
        )
    });
    format!(
        "{first}{} of a lock ended a goroutine's wait, {about}{} of waiting is charged to them{}{}.",
        counted(*contentions, "release"),
        duration(*wait_ns),
        place.unwrap_or_default(),
        readers.unwrap_or_default()
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
            readers: None,
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
        let mut writer = said(true, Some("main.reload (main.go:36)"));
        let GoroutineWaitsSaid::Contention { readers, .. } = &mut writer else { panic!("{writer:?}") };
        *readers =
            Some(BehindReaders { mean_ns: 2_300_000_000, only: Some("main.export (main.go:30)".to_owned()) });
        assert!(
            text(&writer).ends_with(
                "62 % of that in main.reload (main.go:36), which had to wait for readers itself, 2.3 s on average; the only \
                 readers that ended such waits are in main.export (main.go:30)."
            ),
            "{}",
            text(&writer)
        );
        let still = GoroutineWaitsSaid::GoOn {
            place: "main.watch (main.go:9)".to_owned(),
            waits: 3,
            mean_ns: 100_000,
            still: Some(864),
            exact: true,
        };
        assert_eq!(
            text(&still),
            "Of the waits at main.watch (main.go:9) that began while leakscope watched, 3 ended, after 100 us on average, \
             and 864 have not."
        );
        let on = |waits, exact| {
            let place = "main.Log (main.go:13)".to_owned();
            text(&GoroutineWaitsSaid::GoOn { place, waits, mean_ns: 3_000_000_000, still: None, exact })
        };
        assert_eq!(
            [on(1, true), on(321, true), on(321, false)],
            [
                "Waits at main.Log (main.go:13) do end: one began and ended while leakscope watched, after 3.0 s.",
                "Waits at main.Log (main.go:13) do end: 321 began and ended while leakscope watched, after 3.0 s on average.",
                "Waits at main.Log (main.go:13) do end: about 321 began and ended while leakscope watched, after about 3.0 s on average.",
            ]
        );
        let none = |came| text(&GoroutineWaitsSaid::NoneGoesOn { place: "main.Log".to_owned(), came });
        assert_eq!(
            none(1),
            "1 goroutine came to wait at main.Log while leakscope watched, and it has not gone on."
        );
        assert_eq!(
            none(5),
            "5 goroutines came to wait at main.Log while leakscope watched, and none has gone on."
        );
    }
}
