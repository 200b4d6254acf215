//! Who is blocked at a site, and who holds what they wait for.

use std::collections::{HashMap, HashSet};
use std::io;

use super::kind as kind_name;
use crate::human::{count, counted, duration};
use crate::layout::page::{Page, Paint};
use crate::section::label::{bracketed_line, line_first};
use crate::section::model::{Since, WaitKind, WaitLock, WaitSite, WaitThread, Waits};

/// Locks of a site that are shown.
const MOST_LOCKS: usize = 4;
/// Threads that are told one by one.
const FEW_THREADS: usize = 3;

/// A time of blocking.
pub(crate) fn span(ns: u64, at_least: bool) -> String {
    format!("{}{}", if at_least { "at least " } else { "" }, duration(ns))
}

/// The threads of a site in a sentence.
pub(crate) fn threads(site: &WaitSite) -> String {
    if site.threads.len() <= FEW_THREADS {
        let each: Vec<String> = site.threads.iter().map(thread).collect();
        return format!("{}: {}", if each.len() == 1 { "thread" } else { "threads" }, each.join(", "));
    }
    let before = site.threads.iter().filter(|t| t.since == Since::BeforeAttach).count();
    // Where all were blocked before, as in `dump`, there is nothing to tell apart.
    let before = if before > 0 && before < site.threads.len() {
        format!(" ({} since before the attach)", count(before as u64))
    } else {
        String::new()
    };
    let times = || site.threads.iter().filter_map(|t| t.blocked_ns);
    let times = match (times().min(), times().max()) {
        (Some(least), Some(most)) if duration(least) == duration(most) => {
            format!(", blocked for {}", duration(most))
        }
        (Some(least), Some(most)) => format!(", blocked for {} to {}", duration(least), duration(most)),
        _ => String::new(),
    };
    let names: Vec<&str> = site.threads.iter().map(|t| t.name.as_str()).collect();
    format!("{} threads{before}{times}: {}", count(site.threads.len() as u64), folded(&names))
}

fn thread(thread: &WaitThread) -> String {
    let time = thread.blocked_ns.map(|ns| format!(" for {}", span(ns, thread.at_least))).unwrap_or_default();
    let again =
        thread.again_ns.map(|ns| format!(" (looks again every {})", duration(ns))).unwrap_or_default();
    format!("{} \"{}\"{time}{again}", thread.tid, thread.name)
}

/// The threads that run, and where samples found them.
pub(crate) fn running(waits: &Waits) -> Option<String> {
    let all = &waits.running;
    let told = all.iter().take(FEW_THREADS).map(|thread| {
        let place = thread.stack.blamed().and_then(line_first).filter(|_| thread.sampled);
        let place = place.map_or(String::new(), |place| format!(" at {place}"));
        format!("{} \"{}\"{place}", thread.tid, thread.name)
    });
    let told: Vec<String> = told.collect();
    let more = all.len().saturating_sub(told.len());
    let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
    let sampled = if all.iter().any(|thread| thread.sampled) { " (sampled)" } else { "" };
    (!all.is_empty()).then(|| {
        format!("Running: {}: {}{more}{sampled}", counted(all.len() as u64, "thread"), told.join(", "))
    })
}

/// Names that differ only in a number at their end, folded: `pool-1 … pool-8, flush, 3 × io`.
fn folded(names: &[&str]) -> String {
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = |name: &str| name[stem(name)..].parse::<u64>().ok();
    let quoted = |name: &str| if name.is_empty() { "\"\"".to_owned() } else { name.to_owned() };
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut index = HashMap::new();
    for name in names {
        let at = *index.entry(&name[..stem(name)]).or_insert_with(|| {
            groups.push((&name[..stem(name)], Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(name);
    }
    groups.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let told = groups.into_iter().map(|(_, mut names)| {
        names.sort_by_key(|name| (name.len(), *name));
        let (n, first, last) = (names.len(), names[0], names[names.len() - 1]);
        match (first == last, n) {
            (true, 1) => quoted(first),
            (true, n) => format!("{} × {}", count(n as u64), quoted(first)),
            (false, 2) => format!("{}, {last}", quoted(first)),
            (false, n) => {
                names.dedup();
                let whole = number(last).zip(number(first)).and_then(|(l, f)| l.checked_sub(f));
                // With gaps the range alone would say too much.
                let gaps = whole != Some(n as u64 - 1) || names.len() != n;
                let n = if gaps { format!("{} of ", count(n as u64)) } else { String::new() };
                format!("{n}{} … {last}", quoted(first))
            }
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The locks that threads of a site wait for. `listed` sites are shown with their stacks; the stack
/// of an owner elsewhere is shown once.
pub(crate) fn locks(
    waits: &Waits,
    site: &WaitSite,
    listed: &[&WaitSite],
    owners: &mut HashSet<u32>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let mut locks: Vec<&WaitLock> = site.locks.iter().collect();
    locks.sort_by_key(|lock| std::cmp::Reverse(lock.waiters));
    for lock in locks.iter().take(MOST_LOCKS) {
        let mut text = format!("{}, {}", waiters(site.kind, lock), owner(site.kind, lock));
        let stack = lock.owner_stack.as_ref().filter(|stack| !stack.frames.is_empty());
        let blocked_at = waits.sites.iter().find(|s| s.threads.iter().any(|t| Some(t.tid) == lock.owner_tid));
        if let Some(stack) = stack.filter(|_| lock.owner_tid.is_some()) {
            text.push_str(&format!(", in {}", stack.told(bracketed_line)));
        }
        let listed = blocked_at.filter(|at| listed.iter().any(|s| s.site_id == at.site_id));
        if let Some(at) = listed {
            text.push_str(&format!(", see #{}", at.rank));
        }
        let paint = if lock.owner_tid.is_some() && !site.idle { Paint::Warn } else { Paint::Plain };
        page.paragraph(paint, 2, 4, &text)?;
        let fresh = lock.owner_tid.is_some_and(|tid| owners.insert(tid));
        if let Some(stack) = stack.filter(|_| listed.is_none() && fresh) {
            page.stack(stack, 4, Paint::Plain)?;
        }
    }
    let more: u64 = locks.iter().skip(MOST_LOCKS).map(|lock| lock.waiters).sum();
    if let Some(n @ 1..) = locks.len().checked_sub(MOST_LOCKS) {
        let text = format!("and {} more with {}", counted(n as u64, "lock"), counted(more, "waiter"));
        page.paragraph(Paint::Plain, 2, 2, &text)?;
    }
    Ok(())
}

/// A lock and who waits for it. Who joins a thread waits for its end.
fn waiters(kind: WaitKind, lock: &WaitLock) -> String {
    let waiters = counted(lock.waiters, "waiter");
    match kind {
        WaitKind::Join => format!("end of a thread: {waiters}"),
        kind if kind.is_lock() => format!("lock {}: {waiters}", lock.address),
        kind => format!("{} {}: {waiters}", kind_name(kind), lock.address),
    }
}

/// Who holds a lock, as far as that is known.
fn owner(kind: WaitKind, lock: &WaitLock) -> String {
    let Some(tid) = lock.owner_tid else {
        let why = lock.owner_unknown.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        return format!("owner unknown{why}");
    };
    let name = lock.owner_name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let state = lock.owner_state.as_ref().map(|state| format!(" ({state})")).unwrap_or_default();
    let (held, how) = match (lock.owner_inferred, &lock.owner_method) {
        (false, _) if kind == WaitKind::Join => ("for thread", String::new()),
        (false, _) => ("held by thread", String::new()),
        // It begins with that word.
        (true, Some(method)) => ("perhaps held by thread", format!(", {method}")),
        (true, None) => ("perhaps held by thread", ", inferred".to_owned()),
    };
    let process = lock.owner_process.as_ref().map(|process| format!(" {process}")).unwrap_or_default();
    format!("{held} {tid}{name}{process}{state}{how}")
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn names_are_folded() {
        assert_eq!(folded(&["pool-2", "pool-1", "flush", "pool-3"]), "pool-1 … pool-3, flush");
        assert_eq!(folded(&["pool-9", "pool-10", "pool-20"]), "3 of pool-9 … pool-20");
        assert_eq!(folded(&["io", "io", "io", "x"]), "3 × io, x");
        assert_eq!(folded(&["a1", "a2"]), "a1, a2");
        assert_eq!(folded(&["a1", "a1", "a2"]), "3 of a1 … a2");
        assert_eq!(folded(&["", "1", "99999999999999999999999"]), "3 of \"\" … 99999999999999999999999");
    }
}
