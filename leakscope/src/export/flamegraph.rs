//! A profile as a flame graph: an SVG to zoom and search in.
//!
//! What would be too narrow to be seen is left out, and the picture says so; its parent is as wide as
//! with it.

use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, Palette};
use inferno::flamegraph::{Options, TextTruncateDirection, from_lines};

use super::exporter::{ExportError, Exporter, Job, Subject};
use super::profile::{Profile, ProfileKind};
use super::tree::Paths;
use crate::human::{bytes, count, cut, sanitize_for_files};

/// Frames are left out whose width is less than one part in so many.
const FINEST: u64 = 10_000;
/// Frames on top of each other that are drawn.
const MOST_DEEP: usize = 400;
/// Characters of a name.
const LONGEST_NAME: usize = 500;
/// Where floating-point numbers stop to be exact.
const MOST: u64 = 1 << 53;

/// `--format flamegraph`.
#[derive(Debug)]
pub struct Flamegraph;

impl Exporter for Flamegraph {
    fn name(&self) -> &'static str {
        "flamegraph"
    }

    fn purpose(&self) -> &'static str {
        "An SVG to zoom and search in"
    }

    fn extension(&self) -> &'static str {
        "svg"
    }

    fn subject(&self) -> Subject {
        Subject::Profile
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(write(&job.profile()?, out)?)
    }
}

/// Writes `profile`.
pub fn write(profile: &Profile<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut paths = Paths::of(profile);
    for name in &mut paths.names {
        *name = cut(name, LONGEST_NAME);
    }
    let total = paths.total();
    let title = sanitize_for_files(&title(profile));
    if total == 0 {
        return nothing(&title, profile.kind, out);
    }
    let drawn = draw(&mut paths, total);
    let mut options = Options::default();
    options.title = title;
    let sum = match profile.kind {
        ProfileKind::Heap | ProfileKind::Allocs => bytes(total),
        _ => count(total),
    };
    let left_out = if drawn.left_out { ", frames under 0.01 % are not drawn" } else { "" };
    options.subtitle = Some(format!("{sum} {}{left_out}", unit(profile.kind)));
    options.count_name = match profile.kind {
        ProfileKind::Heap | ProfileKind::Allocs => "bytes".to_owned(),
        _ => "threads".to_owned(),
    };
    if profile.kind == ProfileKind::Goroutine && profile.reports.iter().any(|r| r.goroutines.is_some()) {
        options.count_name = "goroutines".to_owned();
    }
    options.colors = Palette::Basic(match profile.kind {
        ProfileKind::Heap | ProfileKind::Allocs => BasicPalette::Mem,
        _ => BasicPalette::Io,
    });
    options.hash = true;
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    from_lines(&mut options, drawn.lines.iter().map(String::as_str), out)
}

fn unit(kind: ProfileKind) -> &'static str {
    match kind {
        ProfileKind::Heap => "in use",
        ProfileKind::Allocs => "allocated",
        kind => kind.weighs(),
    }
}

fn title(profile: &Profile<'_>) -> String {
    let Some(report) = profile.reports.first() else { return profile.kind.weighs().to_owned() };
    let others = match profile.reports.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    format!("{} (PID {}){others}: {}", report.target.comm, report.target.pid, profile.kind.weighs())
}

/// A picture of nothing.
fn nothing(title: &str, kind: ProfileKind, out: &mut dyn Write) -> io::Result<()> {
    let escaped = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(
        out,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"80\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <text x=\"600\" y=\"30\" text-anchor=\"middle\" font-family=\"monospace\">{escaped}</text>\n\
         <text x=\"600\" y=\"55\" text-anchor=\"middle\" font-family=\"monospace\">there are none: no {}</text>\n\
         </svg>",
        kind.weighs()
    )
}

struct Drawn {
    lines: Vec<String>,
    left_out: bool,
}

fn draw(paths: &mut Paths, total: u64) -> Drawn {
    // Sums of weights must stay exact.
    let scale = total / MOST + 1;
    for (path, weight) in &mut paths.paths {
        path.truncate(MOST_DEEP);
        *weight /= scale;
    }
    let mut sorted = std::mem::take(&mut paths.paths);
    sorted.sort_unstable();
    let mut drawn = Drawn { lines: Vec::new(), left_out: false };
    walk(paths, &sorted, 0, total / scale / FINEST, &mut drawn);
    drawn
}

/// Draws sorted paths that are equal up to `depth`; what is narrower than `least` is part of its parent.
fn walk(paths: &Paths, sorted: &[(Vec<u32>, u64)], depth: usize, least: u64, drawn: &mut Drawn) {
    let mut own = 0;
    for group in sorted.chunk_by(|a, b| a.0.get(depth) == b.0.get(depth)) {
        let weight: u64 = group.iter().map(|(_, weight)| weight).sum();
        match group[0].0.get(depth) {
            Some(_) if weight >= least.max(1) => walk(paths, group, depth + 1, least, drawn),
            Some(_) => {
                own += weight;
                drawn.left_out |= weight > 0;
            }
            None => own += weight,
        }
    }
    if own > 0 && depth > 0 {
        let mut line = String::new();
        paths.line(&sorted[0].0[..depth], own, &mut line);
        drawn.lines.push(line);
    } else if own > 0 {
        drawn.lines.push(format!("[many small stacks] {own}"));
    }
}
