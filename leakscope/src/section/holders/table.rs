//! Who holds what, in tables.

use std::io;

use super::model::{HeldHeap, HolderKind, HolderSite, Holders, ResidentKind, TypeSite};
use crate::human::{bytes, count, counted, duration, file_name, share, signed_bytes};
use crate::layout::grid::{EXTRA, Grid, Row, number, text};
use crate::layout::page::{Page, Paint};

/// Most holders whose places of allocation are listed.
const MOST_DETAILED: usize = 5;
/// An account that is younger is one of now.
const NOTABLE_AGE_NS: u64 = 1_000_000_000;

/// A holder in words.
pub(super) fn subject(site: &HolderSite) -> String {
    match (site.kind, &site.name) {
        (HolderKind::Pool, _) => "pools of what is to be used again (sync.Pool)".to_owned(),
        (HolderKind::Special, _) => "finalizers, cleanups and weak pointers".to_owned(),
        (HolderKind::Frame, Some(function)) => {
            let at = match (&site.file, site.line) {
                (Some(file), Some(line)) if line > 0 => format!(" {}:{line}", file_name(file)),
                _ => String::new(),
            };
            let tasks = site.tasks.filter(|tasks| *tasks > 0);
            let stacks = tasks.map(|n| format!(" on the stack of {}", counted(n, "goroutine")));
            format!("{function}{at}{}", stacks.unwrap_or_default())
        }
        (_, Some(name)) => name.clone(),
        (_, None) if !site.used_by.is_empty() => {
            let more = if site.used_by.len() > 1 { " and others" } else { "" };
            format!("a variable used by {}{more}", site.used_by[0])
        }
        _ => "variables that no name is known of".to_owned(),
    }
}

pub(super) const fn resident_name(kind: ResidentKind) -> &'static str {
    match kind {
        ResidentKind::Brk => "of brk (the heap of C)",
        ResidentKind::Anonymous => "mapped without a file (heaps, stacks of threads)",
        ResidentKind::Stack => "the main thread's stack",
        ResidentKind::File => "of files (code and data)",
        ResidentKind::Shared => "shared",
        ResidentKind::Other => "of the kernel",
    }
}

/// Sums, and how they were had.
pub(super) fn sentences(holders: &Holders) -> Vec<String> {
    let mut told = Vec::new();
    if !holders.resident.is_empty() {
        let resident = holders.resident.iter().filter(|part| part.rss_bytes > 0);
        let parts: Vec<String> =
            resident.map(|part| format!("{} {}", bytes(part.rss_bytes), resident_name(part.kind))).collect();
        let swap: u64 = holders.resident.iter().map(|part| part.swap_bytes).sum();
        let swap = if swap > 0 { format!("; {} swapped out", bytes(swap)) } else { String::new() };
        told.push(format!("Resident: {}{swap}", parts.join(", ")));
    }
    told.extend(holders.heap.as_ref().map(account));
    told
}

fn account(heap: &HeldHeap) -> String {
    let mut told = format!(
        "Held: {} in {} on the Go heap (the runtime counts {}): {} of known type, {} of unknown type, {} not reached",
        bytes(heap.live_bytes),
        counted(heap.live_objects, "object"),
        bytes(heap.runtime_bytes),
        bytes(heap.typed_bytes),
        bytes(heap.untyped_bytes),
        bytes(heap.unreached_bytes)
    );
    if heap.unread_bytes > 0 {
        told.push_str(&format!("; {} could not be read", bytes(heap.unread_bytes)));
    }
    if let Some(growth) = heap.growth_bytes {
        told.push_str(&format!("; {} since the first look", signed_bytes(growth)));
    }
    if !heap.named {
        told.push_str("; the program is stripped: variables are named by who uses them");
    }
    told.push_str(&format!("; read in {}", duration(heap.took_ns)));
    if heap.age_ns >= NOTABLE_AGE_NS {
        told.push_str(&format!(", {} ago", duration(heap.age_ns)));
    }
    told
}

/// Holders, and types.
pub(super) fn tables(holders: &Holders, page: &mut Page<'_>) -> io::Result<()> {
    let Some(heap) = &holders.heap else { return Ok(()) };
    by_holder(holders, heap, page)?;
    by_type(holders, heap, page)
}

fn grown(growth: Option<i64>) -> String {
    growth.map(signed_bytes).unwrap_or_default()
}

fn by_holder(holders: &Holders, heap: &HeldHeap, page: &mut Page<'_>) -> io::Result<()> {
    if holders.sites.is_empty() {
        return Ok(());
    }
    let shown = page.style.shown(&holders.sites);
    let mut columns = vec![number("#", 1), number("held", 0), number("share", 2), number("objects", EXTRA)];
    let grows = heap.growth_bytes.is_some();
    if grows {
        columns.push(number("growth", 1));
    }
    columns.extend([number("entries", 2), text("held by", 0), text("most of it", EXTRA + 1)]);
    let row = |site: &HolderSite| {
        let entries = site.container.as_ref().map(|of| count(of.entries)).unwrap_or_default();
        let mut cells = vec![
            site.rank.to_string(),
            bytes(site.held_bytes),
            share(site.held_bytes, heap.live_bytes),
            count(site.held_objects),
        ];
        if grows {
            cells.push(grown(site.growth_bytes));
        }
        cells.extend([entries, subject(site), most(site)]);
        Row {
            cells,
            paint: if matches!(site.kind, HolderKind::Runtime | HolderKind::Pool) {
                Paint::Dim
            } else {
                Paint::Plain
            },
        }
    };
    let rows = shown.iter().map(row).collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(holders.sites.len() - shown.len(), "holder", "")
}

/// Where most of what a holder has is: the container, or the way as far as it is one.
pub(super) fn most(site: &HolderSite) -> String {
    let of_holder = |path: &str| {
        path.strip_prefix(site.name.as_deref().unwrap_or_default())
            .unwrap_or(path)
            .trim_start_matches(" → …")
            .to_owned()
    };
    match (&site.container, &site.type_name) {
        (Some(container), _) => {
            let many = if container.objects > 1 {
                format!("{} × ", count(container.objects))
            } else {
                String::new()
            };
            format!("{} {many}{}", of_holder(&container.path), container.type_name).trim_start().to_owned()
        }
        (None, Some(name)) => format!("{} {name}", of_holder(&site.path)).trim_start().to_owned(),
        (None, None) => of_holder(&site.path),
    }
}

fn by_type(holders: &Holders, heap: &HeldHeap, page: &mut Page<'_>) -> io::Result<()> {
    if holders.types.is_empty() {
        return Ok(());
    }
    let shown = page.style.shown(&holders.types);
    let mut columns = vec![number("#", 1), number("bytes", 0), number("share", 2), number("objects", 1)];
    let grows = heap.growth_bytes.is_some();
    if grows {
        columns.push(number("growth", 1));
    }
    columns.push(text("type", 0));
    let row = |of: &TypeSite| {
        let mut cells =
            vec![of.rank.to_string(), bytes(of.bytes), share(of.bytes, heap.live_bytes), count(of.objects)];
        if grows {
            cells.push(grown(of.growth_bytes));
        }
        let unknown = if of.pointers { "(unknown, with pointers)" } else { "(unknown, without pointers)" };
        cells.push(of.name.clone().unwrap_or_else(|| unknown.to_owned()));
        Row { cells, paint: if of.name.is_none() { Paint::Dim } else { Paint::Plain } }
    };
    let rows = shown.iter().map(row).collect();
    page.blank()?;
    Grid { columns, rows, parted: None }.draw(page)?;
    page.more(holders.types.len() - shown.len(), "type", "")
}

/// Where the first holders' objects were allocated.
pub(super) fn places(holders: &Holders, page: &mut Page<'_>) -> io::Result<()> {
    let known = holders.sites.iter().filter(|site| !site.allocated.is_empty());
    for site in known.take(MOST_DETAILED.min(page.style.top)) {
        page.blank()?;
        page.line(Paint::Bold, &format!("#{} {}, allocated at", site.rank, subject(site)))?;
        for at in &site.allocated {
            let samples = counted(at.samples, "sample");
            let line = format!("    {} {}:{} ({samples})", at.function, file_name(&at.file), at.line);
            page.line(Paint::Plain, &line)?;
        }
    }
    Ok(())
}
