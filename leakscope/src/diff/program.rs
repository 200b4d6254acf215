//! Whether two reports are of one program, and what makes them hard to compare.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::{Side, in_one};
use crate::human::{count, cut, duration, file_name, moment, sanitize_for_files};
use crate::report::Report;
use crate::report::model::Window;

/// Reports of different programs, which have no stacks in common.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reports are of different programs: {old} and {new}; name two reports of one program, or add \
     --any-program to compare them all the same"
)]
pub struct DifferentPrograms {
    old: String,
    new: String,
}

/// What a program is called wherever it runs: a Go program's main module, else the file's name.
fn name(report: &Report) -> &str {
    let target = &report.target;
    let module = target.go.as_ref().and_then(|go| go.main_module.as_deref());
    // What `go run` and tests are built from has no name of its own.
    if let Some(module) = module.filter(|module| !module.is_empty() && *module != "command-line-arguments") {
        return module;
    }
    let exe = target.exe.as_deref().map(|exe| file_name(exe.strip_suffix(" (deleted)").unwrap_or(exe)));
    exe.unwrap_or(&target.comm)
}

/// For messages.
fn told(report: &Report) -> String {
    format!("{} (PID {})", cut(&sanitize_for_files(name(report)), 60), report.target.pid)
}

/// A report in short.
pub(super) fn side(report: &Report) -> Side {
    Side {
        pid: report.target.pid,
        comm: report.target.comm.clone(),
        exe: report.target.exe.clone(),
        started_at: report.window.started_at.clone(),
        duration_ns: report.window.duration_ns,
        exact: exact(report),
    }
}

fn exact(report: &Report) -> bool {
    report.losses.is_empty() && report.sections().iter().all(|section| section.exact())
}

/// Whether two reports are of one program.
pub(super) fn same(old: &Report, new: &Report) -> bool {
    name(old) == name(new) && old.target.runtime == new.target.runtime
}

/// Whether the reports are of one observation that went on, in which addresses and names of sites stay.
pub(super) fn one_account(old: &Report, new: &Report) -> bool {
    old.target.pid == new.target.pid && old.window.started_at == new.window.started_at
}

/// Whether the reports are of two windows of one process, each of which counts what happened in it alone: to tell
/// one from the other is no growth.
pub(super) fn separate_windows(old: &Report, new: &Report) -> bool {
    let watched = |report: &Report| report.window.duration_ns > 0;
    old.target.pid == new.target.pid
        && (&old.target.exe, &old.target.build_id) == (&new.target.exe, &new.target.build_id)
        // Another process can have the number by now.
        && old.target.cmdline == new.target.cmdline
        && !one_account(old, new)
        && watched(old)
        && watched(new)
}

/// Whether both reports are of the same build of the program, so that its lines are the same.
pub(super) fn one_build(old: &Report, new: &Report) -> bool {
    one_account(old, new) || old.target.build_id.is_some() && old.target.build_id == new.target.build_id
}

/// From the end of the old report's window to that of the new one; `None` where that is not known.
pub(super) fn between(old: &Report, new: &Report) -> Option<u64> {
    let end = |window: &Window| {
        let started = OffsetDateTime::parse(&window.started_at, &Rfc3339).ok()?;
        started.unix_timestamp_nanos().checked_add(window.duration_ns.into())
    };
    u64::try_from(end(&new.window)?.checked_sub(end(&old.window)?)?).ok()
}

/// Refuses different programs; notes what else differs.
pub(super) fn check(
    old: &Report,
    new: &Report,
    any_program: bool,
    notes: &mut Vec<String>,
) -> Result<(), DifferentPrograms> {
    if !same(old, new) {
        let different = DifferentPrograms { old: told(old), new: told(new) };
        if !any_program {
            return Err(different);
        }
        notes.push(format!("these are different programs: {} and {}", different.old, different.new));
    } else if old.target.cmdline != new.target.cmdline {
        notes.push(format!("the command lines differ: `{}` and `{}`", command_line(old), command_line(new)));
    }
    for (what, was) in in_one(old, new) {
        let which = if was { "old" } else { "new" };
        notes.push(format!("{what}: only in the {which} report, so not compared"));
    }
    windows(old, new, notes);
    for (which, report) in [("old", old), ("new", new)] {
        // That a series is written while the target runs says nothing about what grew.
        let seen = report.heap.as_ref().is_none_or(|heap| heap.totals.alloc_objects > 0);
        let of_a_moment =
            one_account(old, new) && report.losses.is_empty() && report.goroutines.is_none() && seen;
        if !exact(report) && !of_a_moment {
            notes.push(format!("the {which} report is not exact: {}", inexact(report)));
        }
    }
    Ok(())
}

/// Most losses that a note names.
const MOST_LOSSES: usize = 3;

/// Why a report is not exact.
fn inexact(report: &Report) -> String {
    let losses = report.losses.iter().map(|(name, n)| format!("{name} {}", count(*n)));
    let sources = report.heap.iter().flat_map(|heap| &heap.sources).filter(|source| !source.exact);
    let sources = sources.map(|source| format!("heap, {}: {}", source.name, source.method));
    let others = report.sections().into_iter().filter(|section| !section.exact() && section.name() != "heap");
    let estimates = sources.chain(others.map(|section| format!("{} are an estimate", section.name())));
    let mut told: Vec<String> = losses.chain(estimates).collect();
    let more = told.len().saturating_sub(MOST_LOSSES);
    told.truncate(MOST_LOSSES);
    told.extend((more > 0).then(|| format!("{more} more")));
    format!("{} (`leakscope report` tells what that means)", told.join(", "))
}

fn command_line(report: &Report) -> String {
    cut(&sanitize_for_files(&report.target.cmdline.join(" ")), 60)
}

/// Windows that do not tell the same: of other lengths, or in the wrong order.
fn windows(old: &Report, new: &Report, notes: &mut Vec<String>) {
    let (was, is) = (&old.window, &new.window);
    if one_account(old, new) {
        if is.duration_ns < was.duration_ns {
            notes.push(
                "the first report is the newer one: what is told as growth was there before".to_owned(),
            );
        }
        return;
    }
    if is.started_at < was.started_at {
        notes.push(format!(
            "the first report is the newer one ({} and {}): what is told as growth was there before",
            moment(&was.started_at),
            moment(&is.started_at)
        ));
    }
    if old.heap.is_none() || new.heap.is_none() {
        return;
    }
    if separate_windows(old, new) {
        notes.push(
            "these are two windows of one process, and each counts what was allocated in it: that is no growth. \
             One `leakscope attach --interval 30s -o DIR/` tells what grows."
                .to_owned(),
        );
        return;
    }
    let (short, long) = (was.duration_ns.min(is.duration_ns), was.duration_ns.max(is.duration_ns));
    // Within a tenth.
    if long - short > long / 10 {
        notes.push(format!(
            "the windows are {} and {} long, and each counts what was allocated in it",
            duration(was.duration_ns),
            duration(is.duration_ns)
        ));
    }
}
