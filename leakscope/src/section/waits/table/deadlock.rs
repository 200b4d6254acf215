//! Threads that wait for each other.

use std::io;

use crate::human::{count, counted, duration};
use crate::layout::page::{Page, Paint};
use crate::section::label::bracketed_line;
use crate::section::model::{Deadlock, DeadlockThread, WaitKind, WaitSite, Waits};

/// All deadlocks, each with its threads and their stacks.
pub(crate) fn all(waits: &Waits, page: &mut Page<'_>) -> io::Result<()> {
    for deadlock in waits.deadlocks.iter().take(page.style.top) {
        page.blank()?;
        page.paragraph(Paint::Alarm, 0, 3, &title(deadlock))?;
        let shown = threads(deadlock, page);
        for thread in shown {
            page.paragraph(Paint::Plain, 2, 4, &sentence(waits, deadlock, thread))?;
        }
        if deadlock.cycle.len() > shown.len() {
            let more = counted((deadlock.cycle.len() - shown.len()) as u64, "thread");
            page.line(Paint::Plain, &format!("  and {more} more (--top, or --format json for all)"))?;
        }
        for (i, thread) in shown.iter().enumerate() {
            let twin = shown[..i].iter().find(|t| t.site_id == thread.site_id);
            stack(waits, thread, twin, page)?;
        }
    }
    if waits.deadlocks.len() > page.style.top {
        let more = counted((waits.deadlocks.len() - page.style.top) as u64, "deadlock");
        page.blank()?;
        page.line(Paint::Alarm, &format!("and {more} more (--top, or --format json for all)"))?;
    }
    Ok(())
}

/// The threads of a cycle that are shown.
fn threads<'a>(deadlock: &'a Deadlock, page: &Page<'_>) -> &'a [DeadlockThread] {
    &deadlock.cycle[..deadlock.cycle.len().min(page.style.top.max(2))]
}

/// The threads whose stacks [`all`] shows.
pub(crate) fn shown<'a>(waits: &'a Waits, page: &Page<'_>) -> Vec<&'a DeadlockThread> {
    waits.deadlocks.iter().take(page.style.top).flat_map(|d| threads(d, page)).collect()
}

fn title(deadlock: &Deadlock) -> String {
    let what = match (deadlock.certain, deadlock.cycle.len()) {
        (true, 1) => "Deadlock: a thread waits for a lock that it holds itself".to_owned(),
        (false, 1) => {
            "Probably a deadlock: a thread waits for a lock that it seems to hold itself".to_owned()
        }
        (true, n) => format!("Deadlock of {} threads that wait for each other", count(n as u64)),
        (false, n) => {
            format!("Probably a deadlock of {} threads; an owner was inferred", count(n as u64))
        }
    };
    match deadlock.also_blocked {
        0 => what,
        1 => format!("{what}; 1 more thread waits for them"),
        n => format!("{what}; {} more threads wait for them", count(n)),
    }
}

fn site<'a>(waits: &'a Waits, thread: &DeadlockThread) -> Option<&'a WaitSite> {
    waits.sites.iter().find(|s| s.site_id == thread.site_id)
}

/// Whether who is blocked there waits for the end of a thread, not for a lock.
fn joins(site: Option<&WaitSite>) -> bool {
    site.is_some_and(|site| site.kind == WaitKind::Join)
}

/// What a thread waits for, where, and for how long.
fn sentence(waits: &Waits, deadlock: &Deadlock, thread: &DeadlockThread) -> String {
    let site = site(waits, thread);
    let lock = site.and_then(|s| s.locks.iter().find(|l| l.address == thread.waits_for));
    let holder = deadlock.cycle.iter().find(|t| t.tid == thread.held_by);
    let holder = holder.map(|t| format!(" \"{}\"", t.name)).unwrap_or_default();
    // How it was inferred stands at the lock.
    let inferred = if lock.is_some_and(|lock| lock.owner_inferred) { " (inferred)" } else { "" };
    let place = site.map(|s| format!(", in {}", s.stack.told(bracketed_line))).unwrap_or_default();
    let time = thread.blocked_ns.map(|ns| format!(", for {}", duration(ns))).unwrap_or_default();
    let what =
        if joins(site) { "the end of thread".to_owned() } else { format!("{} held by", thread.waits_for) };
    format!(
        "thread {} \"{}\" waits for {what} {}{holder}{inferred}{place}{time}",
        thread.tid, thread.name, thread.held_by
    )
}

/// The stack of a thread, with the locks that it wants and holds. A `twin` has the same stack.
fn stack(
    waits: &Waits,
    thread: &DeadlockThread,
    twin: Option<&DeadlockThread>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let holds = match thread.holds.as_slice() {
        [] => String::new(),
        [one] => format!(", holds {one}"),
        [one, more @ ..] => format!(", holds {one} and {}", counted(more.len() as u64, "other lock")),
    };
    page.blank()?;
    let site = site(waits, thread);
    let wants =
        if joins(site) { format!("the end of {}", thread.held_by) } else { thread.waits_for.to_string() };
    let title = format!("thread {} \"{}\": wants {wants}{holds}", thread.tid, thread.name);
    page.paragraph(Paint::Bold, 2, 3, &title)?;
    match (site, twin) {
        (Some(_), Some(twin)) => {
            page.line(Paint::Plain, &format!("    (the same stack as thread {})", twin.tid))
        }
        (Some(site), None) => page.stack(&site.stack, 4, Paint::Plain),
        (None, _) => page.line(Paint::Plain, "    (its stack is not known)"),
    }
}
