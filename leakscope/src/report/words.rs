//! What is said of a report as a whole, and in what words.

use super::model::GoRuntime;
use crate::human::{bytes, counted, duration, moment};
use crate::section::finding::{Code, Said as _, findings};

/// Files that a finding names; the others are counted.
const NAMED_FILES: usize = 5;

findings! {
    /// What is said of a report as a whole.
    pub enum ReportSaid, in the words of text {
        /// The main thread ended, and with it what could be seen.
        Warning LeaderGone = "leader_gone" {},
        /// The target ended.
        Note TargetExit = "target_exit" {},
        /// The target runs another program.
        Note Exec = "exec" {},
        /// Names are still being read, so places are not told.
        Note NamesBeingRead = "names_being_read" { stacks: u64, },
        /// Some stacks do not reach their root.
        Warning StacksNotWhole = "stacks_not_whole" { stacks: u64, stacks_root: u64, },
        /// Mapped files that could not be read.
        Warning FilesUnread = "files_unread" { files: Vec<String>, },
        /// The target runs another program inside itself.
        Warning RunsInside = "runs_inside" { host: String, sentence: String, },
        /// What would be the answer of such a target.
        Note SeenFromOutside = "seen_from_outside" { host: String, code: Code, text: String, },
        /// A Go program has C code whose memory is not seen.
        Warning GoCUntraced = "go_c_untraced" {},
        /// Where Go runtimes are, if not in the program alone.
        Note GoRuntimes = "go_runtimes" { runtimes: Vec<GoRuntime>, },
        /// Only a part of the stacks is looked at.
        Note Selected = "selected" { focus: Option<String>, ignore: Option<String>, parts: Vec<String>, },
        /// The answer before that.
        Note Whole = "whole_process" { code: Code, text: String, },
        /// A saved report that is not whole.
        Warning LeftOut = "report_left_out" { what: String, },
        /// Files of a series that anybody may have written.
        Warning StrangersPassedOver = "files_of_others" { files: u64, },
        /// Growth is told from here on.
        Note GrowthSince = "growth_since" { pid: u32, started_at: String, duration_ns: u64, heap_apart: bool, },
        /// A series of several programs.
        Warning OtherProgram = "series_of_programs" {},
    }
}

/// The codes of all of it.
pub const fn codes() -> &'static [&'static str] {
    ReportSaid::CODES
}

fn text(said: &ReportSaid) -> String {
    match said {
        ReportSaid::LeaderGone {} => {
            "The target's main thread ended while others go on; the kernel ties the probes \
                                      to it, so this is what the target held then."
                .to_owned()
        }
        ReportSaid::TargetExit {} => "The target has ended; this is what it held at its end.".to_owned(),
        ReportSaid::Exec {} => {
            "The target replaced its program (exec); this is what it held before.".to_owned()
        }
        ReportSaid::NamesBeingRead { stacks } => format!(
            "The names of {} are still being read; what holds most is told when they are there.",
            counted(*stacks, "stack")
        ),
        ReportSaid::StacksNotWhole { stacks, stacks_root } => {
            let share = *stacks_root as f64 * 100.0 / *stacks as f64;
            format!("{share:.2} % of the stacks reached the thread's first function.")
        }
        ReportSaid::FilesUnread { files } => files_unread(files),
        ReportSaid::RunsInside { sentence, .. } => sentence.clone(),
        ReportSaid::SeenFromOutside { host, text, .. } => format!("What the kernel sees of {host}: {text}"),
        ReportSaid::GoCUntraced {} => {
            "The program has C code, but no allocator's function was found (it may be linked \
                                       statically and stripped): what C code allocates is not traced."
                .to_owned()
        }
        ReportSaid::GoRuntimes { runtimes } => go_runtimes(runtimes),
        ReportSaid::Selected { focus, ignore, parts } => {
            let focus = focus.as_ref().map(|pattern| format!("that match `{pattern}`"));
            let ignore = ignore.as_ref().map(|pattern| format!("that do not match `{pattern}`"));
            let stacks = focus.into_iter().chain(ignore).collect::<Vec<_>>().join(" and ");
            format!("Of stacks {stacks}: {}.", parts.join(", "))
        }
        ReportSaid::Whole { text, .. } => format!("Of the whole process: {text}"),
        ReportSaid::LeftOut { what } => {
            format!("{what}, which is left out: it was not written to its end.")
        }
        ReportSaid::StrangersPassedOver { files } => format!(
            "{} of other users, who can write to the series' directory, were passed over.",
            counted(*files, "file")
        ),
        ReportSaid::GrowthSince { pid, started_at, duration_ns, heap_apart } => {
            let apart = if *heap_apart {
                " The heap is that of the last window alone: each window counts what was allocated in it."
            } else {
                ""
            };
            format!(
                "Growth is told since the first report of the series: PID {pid}, window from {}, {} long.{apart}",
                moment(started_at),
                duration(*duration_ns)
            )
        }
        ReportSaid::OtherProgram {} => {
            "The series begins with a report of another program, so nothing is told of growth since then."
                .to_owned()
        }
    }
}

fn files_unread(files: &[String]) -> String {
    let named = files.get(..NAMED_FILES).unwrap_or(files).join(", ");
    let more = files.len().saturating_sub(NAMED_FILES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "Mapped files that could not be read for want of rights: {named}{more}. Allocators in them are not traced, and \
         their code has no names."
    )
}

fn go_runtimes(all: &[GoRuntime]) -> String {
    let late = |one: &GoRuntime| if one.late { ", loaded while leakscope watched" } else { "" };
    let [first, _, ..] = all else {
        let Some(one) = all.first() else { return String::new() };
        let missed = if one.late {
            ": its heap is not sampled, and its goroutines are not counted as they come and go"
        } else {
            ""
        };
        return format!("The Go runtime is that of {} ({}{}){missed}.", one.file, one.version, late(one));
    };
    let told = all.iter().take(NAMED_FILES).map(|one| {
        let goroutines = one.goroutines.map(|n| format!(", {}", counted(n, "goroutine")));
        let memory = one.memory_bytes.map(|n| format!(", {} of memory", bytes(n)));
        let (goroutines, memory) = (goroutines.unwrap_or_default(), memory.unwrap_or_default());
        format!("{} ({}{goroutines}{memory}{})", one.file, one.version, late(one))
    });
    let told = told.collect::<Vec<_>>().join(" and ");
    let more = all.len().saturating_sub(NAMED_FILES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let sampled = all.iter().find(|one| one.sampled);
    let sampled = sampled.map(|one| format!("; the heap is estimated by place of {} alone", one.file));
    format!(
        "{} Go runtimes are in this process: {told}{more}. Their goroutines and memory are told together; what is said \
         of the garbage collector is of {}{}.",
        all.len(),
        first.file,
        sampled.unwrap_or_default()
    )
}
