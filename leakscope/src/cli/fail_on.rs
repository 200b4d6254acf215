//! `--fail-on`: thresholds that make leakscope exit with 3.

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::progress::Progress;
use crate::report::Report;
use crate::threshold::{Outcome, Subject, Threshold};

/// The exit code of an exceeded threshold.
const EXCEEDED: u8 = 3;

/// The argument of one subcommand: what it says of several reports, and examples that it takes.
macro_rules! fail_on_args {
    ($(#[$doc:meta])* $name:ident of $subject:ident: $several:literal, $examples:expr) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        pub struct $name {
            /// Exit with 3 if this holds of the JSON's fields; may be repeated
            #[arg(
                long,
                value_name = "EXPR",
                long_help = concat!(
                    "Exit with 3, and say why, if this holds. What was asked for is written all the same. May be repeated", $several, ".\n\n\
                     EXPR is FIELD COMPARISON LIMIT. FIELD is a path in the JSON: summary.headline, waits.sites[0].rank, losses[\"stacks.ring_full\"]. \
                     [*] stands for all elements of a list, in one of any(…), all(…), max(…), min(…), sum(…), count(…). \
                     COMPARISON is > >= < <= == or !=. LIMIT is a number, with B kB MB GB KiB MiB GiB for fields in _bytes \
                     and ns us ms s m h d for fields in _ns, or true, false or \"text\". What is null exceeds nothing, and \
                     standard error says so.\n\n", $examples
                )
            )]
            fail_on: Vec<String>,
        }

        impl $name {
            /// Checks that what they name is there; `offered` refuses sections that will not be.
            pub(super) fn thresholds(
                &self,
                offered: impl Fn(&str) -> Result<(), String>,
            ) -> Result<Thresholds, Failure> {
                thresholds(&self.fail_on, Subject::$subject, offered)
            }
        }
    };
}

/// Examples of what whole reports take.
macro_rules! of_reports {
    () => {
        "heap.totals.live_bytes > 64MiB\n\
         max(heap.places[*].live_bytes) >= 1GiB\n\
         waits.longest_stuck_ns > 5m\n\
         count(waits.deadlocks) > 0\n\
         goroutines.total > 10000"
    };
}

fail_on_args!(
    /// Of `attach`.
    AttachFailOn of Report: "; with --interval each report is checked",
    of_reports!()
);
fail_on_args!(
    /// Of `dump`.
    DumpFailOn of Report: "",
    "waits.longest_stuck_ns > 5m\n\
     count(waits.deadlocks) > 0\n\
     waits.stuck_now > 100\n\
     goroutines.total > 10000\n\
     any(goroutines.sites[*].count) > 1000"
);
fail_on_args!(
    /// Of `memory`.
    MemoryFailOn of Report: "",
    "max(holders.sites[*].held_bytes) > 1GiB\n\
     holders.heap.live_bytes > 4GiB\n\
     any(holders.sites[*].growth_bytes) > 64MiB"
);
fail_on_args!(
    /// Of `report`.
    ReportFailOn of Report: "; of several files each report is checked",
    of_reports!()
);
fail_on_args!(
    /// Of `diff`.
    DiffFailOn of Diff: "",
    "heap.totals.growth_bytes > 64MiB\n\
     max(heap.places[*].growth_bytes) >= 1MiB\n\
     waits.growth_stuck > 10\n\
     goroutines.growth > 1000\n\
     threads.growth > 0"
);

/// Thresholds, and which of them were exceeded.
#[derive(Debug, Default)]
pub struct Thresholds {
    all: Vec<Threshold>,
    /// For each, whether it was exceeded, and whether it was said to be of a null.
    said: Vec<(bool, bool)>,
    /// Whether one is about a heap of which nothing can be known.
    blind: bool,
}

fn thresholds(
    texts: &[String],
    subject: Subject,
    offered: impl Fn(&str) -> Result<(), String>,
) -> Result<Thresholds, Failure> {
    let mut all = Vec::new();
    for text in texts {
        let threshold = Threshold::new(text, subject).map_err(Failure::usage)?;
        offered(threshold.section())
            .map_err(|why| Failure::usage(format!("--fail-on '{threshold}': {why}")))?;
        all.push(threshold);
    }
    let said = vec![(false, false); all.len()];
    Ok(Thresholds { all, said, blind: false })
}

impl Thresholds {
    /// Checks a report or a difference; says each reason once.
    pub(super) fn check(&mut self, subject: &impl Serialize, progress: &Progress) {
        for (threshold, (exceeded, unknown)) in self.all.iter().zip(&mut self.said) {
            match threshold.check(subject) {
                Outcome::Exceeded(why) if !*exceeded => {
                    *exceeded = true;
                    progress.say(&format!("leakscope: --fail-on: {why}"));
                }
                Outcome::Unknown(path) if !*unknown => {
                    *unknown = true;
                    progress.warn(&format!("--fail-on '{threshold}' was not checked: {path} is null"));
                }
                _ => {}
            }
        }
    }

    /// Checks a report; what is about a heap that cannot be traced holds nothing and is kept by nothing.
    pub(super) fn check_report(&mut self, report: &Report, progress: &Progress) {
        let why = report.heap_untraceable();
        if let Some(why) = why.filter(|_| !self.blind)
            && let Some(threshold) = self.all.iter().find(|threshold| threshold.section() == "heap")
        {
            self.blind = true;
            progress.warn(&format!("--fail-on '{threshold}' could not be checked: {why}"));
        }
        self.check(report, progress);
    }

    /// 3 if one was exceeded, 1 if one is about what cannot be traced, else 0.
    pub(super) fn code(&self) -> u8 {
        if self.said.iter().any(|(exceeded, _)| *exceeded) { EXCEEDED } else { u8::from(self.blind) }
    }
}
