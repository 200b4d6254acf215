//! A report as text for people: the answer, the table of sites, the stacks of the top ones, and
//! what was lost and what it cost.

use std::io::{self, Write};

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

use crate::human::{bytes, count, counted, cut, duration, printable, share, signed_bytes};
use crate::ledger::losses;
use crate::report::Report;
use crate::report::model::{Frame, Heap, Site};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether to use colour.
    pub color: bool,
    /// Sites in the table and with stacks.
    pub top: usize,
    /// Frames of each stack.
    pub frames: usize,
}

/// Writes `report`.
pub fn write(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    header(report, style, out)?;
    if let Some(heap) = &report.heap {
        sites(heap, report.window.duration_ns, style, out)?;
        for site in heap.sites.iter().filter(|s| s.live_objects > 0).take(style.top) {
            stack(site, style, out)?;
        }
    }
    footer(report, style, out)
}

fn header(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let target = &report.target;
    let container = target.container.as_ref().map(|c| format!(" in container {c}")).unwrap_or_default();
    writeln!(
        out,
        "leakscope {} · {} (PID {}){container} · watched for {}",
        report.leakscope_version,
        printable(&target.comm),
        target.pid,
        duration(report.window.duration_ns)
    )?;
    writeln!(out)?;
    writeln!(out, "{}", paint(style, Paint::Bold, &printable(&report.summary.headline)))?;
    for finding in &report.summary.findings {
        writeln!(out, "{}", printable(finding))?;
    }
    writeln!(out)?;
    if let (Some(start), Some(end)) = (report.memory.rss_start_bytes, report.memory.rss_end_bytes) {
        let change = signed_bytes(end.cast_signed().wrapping_sub(start.cast_signed()));
        write!(out, "RSS {} → {} ({change})", bytes(start), bytes(end))?;
        if let Some(heap) = &report.heap {
            write!(out, "; of what was traced, {} is live", bytes(heap.totals.live_bytes))?;
        }
        writeln!(out)?;
    }
    if let Some(heap) = &report.heap {
        let totals = &heap.totals;
        writeln!(
            out,
            "Heap: {} live of {} allocated ({}), {} freed, {} of older or unknown blocks",
            counted(totals.live_objects, "block"),
            count(totals.alloc_objects),
            bytes(totals.alloc_bytes),
            count(totals.free_objects),
            counted(totals.unknown_frees, "free"),
        )?;
        for source in &heap.sources {
            let exact = if source.exact { "exact" } else { "not exact" };
            writeln!(out, "Source {}: {exact}, {}", source.name, source.method)?;
        }
    }
    if let Some(threads) = &report.threads {
        let alive = threads.alive.map(|n| format!(", {} alive", count(n))).unwrap_or_default();
        writeln!(out, "Threads: {} began, {} ended{alive}", count(threads.created), count(threads.exited))?;
    }
    Ok(())
}

fn sites(heap: &Heap, window_ns: u64, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<&Site> = heap.sites.iter().filter(|s| s.live_objects > 0).take(style.top).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let seconds = (window_ns as f64 / 1e9).max(1e-9);
    let mut rows: Vec<[String; 7]> =
        vec![["#", "live", "objects", "share", "allocated", "oldest", "site"].map(String::from)];
    rows.extend(shown.iter().map(|site| {
        [
            site.rank.to_string(),
            bytes(site.live_bytes),
            count(site.live_objects),
            share(site.live_bytes, heap.totals.live_bytes),
            format!("{}/s", bytes((site.alloc_bytes as f64 / seconds) as u64)),
            site.oldest_age_ns.map_or("-".into(), duration),
            blame(site),
        ]
    }));
    // The rate is the first to go where the terminal is narrow.
    let narrow = style.width < 100;
    let columns: Vec<usize> = (0..7).filter(|c| !(narrow && *c == 4)).collect();
    // Borders and padding take 3 columns a cell and one at the end.
    let fixed: usize = columns[..columns.len() - 1]
        .iter()
        .map(|&c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0))
        .sum();
    let room = style.width.saturating_sub(fixed + columns.len() * 3 + 1).max(16);
    let mut builder = Builder::default();
    for mut row in rows {
        row[6] = cut(&row[6], room);
        builder.push_record(columns.iter().map(|&c| row[c].clone()));
    }
    let mut table = builder.build();
    table
        .with(Style::sharp())
        .with(Padding::new(1, 1, 0, 0))
        .modify(Columns::new(0..columns.len() - 1), Alignment::right());
    writeln!(out)?;
    writeln!(out, "{table}")?;
    let live = heap.sites.iter().filter(|s| s.live_objects > 0).count();
    if live > shown.len() {
        writeln!(
            out,
            "and {} more (--top, or --format json for all)",
            counted((live - shown.len()) as u64, "site")
        )?;
    }
    Ok(())
}

/// The blame frame, or the innermost one if none is the user's own.
fn blame(site: &Site) -> String {
    let frame = site.blame.and_then(|i| site.frames.get(i as usize)).or(site.frames.first());
    frame.map_or_else(|| site.stack_end.clone().unwrap_or_else(|| "(stack not captured)".into()), name)
}

/// A frame in a line.
fn name(frame: &Frame) -> String {
    let module = frame.module.as_deref().map(|m| m.rsplit('/').next().unwrap_or(m));
    let text = match (&frame.function, module) {
        (Some(function), _) => match (&frame.file, frame.line) {
            (Some(file), Some(line)) => {
                format!("{function} {}:{line}", file.rsplit('/').next().unwrap_or(file))
            }
            _ => {
                let offset = frame.function_offset.map(|o| format!("+{o:#x}")).unwrap_or_default();
                let module = module.map(|m| format!(" ({m})")).unwrap_or_default();
                format!("{function}{offset}{module}")
            }
        },
        (None, Some(module)) => format!(
            "{module}+{} ({})",
            frame.offset.as_deref().unwrap_or("?"),
            frame.why_unknown.as_deref().unwrap_or("no symbols")
        ),
        (None, None) => {
            format!(
                "{} ({})",
                frame.address,
                frame.why_unknown.as_deref().unwrap_or("no code is mapped there")
            )
        }
    };
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    printable(&format!("{text}{inlined}"))
}

fn stack(site: &Site, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    let title =
        format!("#{} {} in {}", site.rank, bytes(site.live_bytes), counted(site.live_objects, "block"));
    writeln!(out, "{}", paint(style, Paint::Bold, &title))?;
    // The blame frame is shown whatever the limit.
    let shown = style.frames.max(site.blame.map_or(0, |b| b as usize + 1));
    for (i, frame) in site.frames.iter().enumerate().take(shown) {
        let is_blame = site.blame == Some(i as u64);
        let line = cut(&name(frame), style.width.saturating_sub(4));
        if is_blame {
            writeln!(out, "  {} {}", paint(style, Paint::Accent, "▶"), paint(style, Paint::Accent, &line))?;
        } else {
            writeln!(out, "    {line}")?;
        }
    }
    if site.frames.len() > shown {
        writeln!(out, "    … {} more (--frames)", counted((site.frames.len() - shown) as u64, "frame"))?;
    }
    match site.stack_end.as_deref() {
        Some("root") => {}
        Some(why) => writeln!(out, "    … the stack ends here: {why}")?,
        None => writeln!(out, "    … the stack was not captured")?,
    }
    Ok(())
}

fn footer(report: &Report, style: &TableStyle, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    if report.losses.is_empty() {
        writeln!(out, "Lost: nothing")?;
    } else {
        writeln!(out, "{}", paint(style, Paint::Warn, "Lost:"))?;
        for (name, n) in &report.losses {
            writeln!(out, "  {} × {name}: {}", count(*n), losses::meaning(name))?;
        }
    }
    let cost = &report.overhead;
    writeln!(
        out,
        "Cost: {}, about {} of the target's CPU time ({}); leakscope used {} of CPU time{}",
        counted(cost.probe_hits, "probe hit"),
        duration(cost.estimated_target_cpu_ns),
        cost.method,
        duration(cost.leakscope_cpu_ns),
        cost.leakscope_memory_bytes.map(|b| format!(" and {} of memory", bytes(b))).unwrap_or_default(),
    )
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Accent,
    Warn,
}

fn paint(style: &TableStyle, paint: Paint, text: &str) -> String {
    if !style.color {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Bold => "1",
        Paint::Accent => "1;36",
        Paint::Warn => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
