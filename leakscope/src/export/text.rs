//! A profile as text, in the layout of Go's `debug=1`.
//!
//! What Go has no line for, such as exactness and losses, follows at the end in lines that begin with `# `.

use std::io::{self, Write};

use super::exporter::{ExportError, Exporter, Job, Sequence, Subject};
use super::names::bracketed;
use super::profile::location::{Location, Locations};
use super::profile::{Profile, ProfileKind, Sample, StackSum};
use crate::human::{columns, file_name, sanitize_for_files};
use crate::section::frame::Frame;
use crate::section::label::function;

/// What a tab goes to a multiple of.
const TAB: usize = 8;

/// `--format text`.
#[derive(Debug)]
pub struct Text;

impl Exporter for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn purpose(&self) -> &'static str {
        "The layout of Go's debug=1"
    }

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn subject(&self) -> Subject {
        Subject::Profile
    }

    fn sequence(&self) -> Sequence {
        Sequence::Follow
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(write(&job.profile()?, out)?)
    }
}

/// Writes `profile`.
pub fn write(profile: &Profile<'_>, out: &mut dyn Write) -> io::Result<()> {
    header(profile, out)?;
    let mut places = Locations::new(profile.processes() > 1);
    let mut rendered: Vec<RenderedLocation> = Vec::new();
    // Go tells of a goroutine where it called what it waits in, also in the innermost frame.
    let of_goroutines = matches!(profile.kind, ProfileKind::Goroutine | ProfileKind::Goroutineleak);
    let parked = of_goroutines && profile.reports.iter().all(|report| report.goroutines.is_some());
    let hides = !matches!(profile.kind, ProfileKind::Block | ProfileKind::Mutex);
    let mut buffer = Vec::new();
    for stack in profile.stacks() {
        let ids: Vec<u32> = places.enter(stack.sample.frames).collect();
        rendered
            .extend(places.all()[rendered.len()..].iter().map(|place| RenderedLocation::new(place, parked)));
        buffer.clear();
        values(profile.kind, &stack, &mut buffer)?;
        buffer.extend_from_slice(b" @");
        for place in ids.iter().map(|id| &rendered[*id as usize]) {
            buffer.push(b' ');
            buffer.extend_from_slice(place.address.as_bytes());
        }
        buffer.push(b'\n');
        if of_goroutines {
            labels(stack.sample, &mut buffer)?;
        }
        frames(ids.iter().map(|id| &rendered[*id as usize]), hides, &mut buffer);
        for note in stack.sample.notes() {
            writeln!(buffer, "#\t{}", bracketed(&note))?;
        }
        buffer.push(b'\n');
        out.write_all(&buffer)?;
    }
    for comment in &profile.comments {
        writeln!(out, "# {}", sanitize_for_files(comment))?;
    }
    Ok(())
}

fn header(profile: &Profile<'_>, out: &mut dyn Write) -> io::Result<()> {
    let totals = profile.totals();
    match profile.kind {
        ProfileKind::Heap | ProfileKind::Allocs => {
            let [allocs, alloc_bytes, objects, bytes] = totals;
            // Twice the sampling rate, which is one in one.
            writeln!(out, "heap profile: {objects}: {bytes} [{allocs}: {alloc_bytes}] @ heap/2")
        }
        ProfileKind::Block => writeln!(out, "--- contention:\ncycles/second=1000000000"),
        ProfileKind::Mutex => {
            writeln!(out, "--- mutex:\ncycles/second=1000000000\nsampling period=1")
        }
        kind => writeln!(out, "{} profile: total {}", kind.name(), totals[0]),
    }
}

fn values(kind: ProfileKind, stack: &StackSum<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let [first, second, objects, bytes] = stack.values;
    match kind {
        ProfileKind::Heap | ProfileKind::Allocs => write!(out, "{objects}: {bytes} [{first}: {second}]"),
        ProfileKind::Block | ProfileKind::Mutex => write!(out, "{second} {first}"),
        ProfileKind::Goroutine | ProfileKind::Goroutineleak | ProfileKind::Threadcreate => {
            write!(out, "{first}")
        }
        ProfileKind::Memory => write!(out, "{first}: {second}"),
    }
}

/// Labels of goroutines, as Go writes them.
fn labels(sample: &Sample<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    // Of a native process they differ within a stack.
    let own = !sample.labels.iter().any(|(key, _)| *key == "kind");
    if !own || sample.labels.is_empty() {
        return Ok(());
    }
    let quoted = |text: &str| serde_json::to_string(&sanitize_for_files(text));
    let mut all = Vec::new();
    for (key, value) in &sample.labels {
        all.push(format!("{}:{}", quoted(key)?, quoted(value)?));
    }
    writeln!(out, "# labels: {{{}}}", all.join(", "))
}

/// A place, rendered once.
struct RenderedLocation {
    address: String,
    /// The address that lines tell: of the call, not of where it returns to.
    instruction: String,
    lines: Vec<Line>,
}

/// A frame of a place.
struct Line {
    /// Name and offset.
    name: String,
    /// Columns of these.
    width: usize,
    /// What follows.
    position: String,
    /// Whether it belongs to the Go runtime, which Go leaves out where a stack begins.
    runtime: bool,
    /// Whether it is what all goroutines begin in, which Go leaves out everywhere.
    goexit: bool,
}

impl RenderedLocation {
    fn new(place: &Location<'_>, parked: bool) -> Self {
        let innermost = place.address == place.instruction;
        let instruction = place.instruction.saturating_sub(u64::from(parked && innermost));
        // Inlined functions have no begin of their own: offsets are those in the function around them.
        let back = place.address - instruction;
        let offset = place.frames.last().and_then(|frame| frame.function_offset);
        let offset = offset.map(|offset| format!("+{:#x}", offset.saturating_sub(back))).unwrap_or_default();
        let lines = place.frames.iter().map(|frame| {
            let name = format!("{}{offset}", function(frame));
            let go = frame.file.as_deref().is_some_and(|file| file.ends_with(".go") || file.ends_with(".s"));
            Line {
                width: columns(&name),
                name,
                position: position(frame),
                runtime: go && frame.function.as_deref().is_some_and(|name| name.starts_with("runtime.")),
                goexit: go && frame.function.as_deref() == Some("runtime.goexit"),
            }
        });
        Self {
            address: format!("{:#x}", place.address),
            instruction: format!("{instruction:#x}"),
            lines: lines.collect(),
        }
    }
}

/// File and line, or the module.
fn position(frame: &Frame) -> String {
    match (&frame.file, &frame.module) {
        (Some(file), _) => format!("{}:{}", sanitize_for_files(file), frame.line.unwrap_or(0)),
        (None, Some(module)) => format!("({})", sanitize_for_files(file_name(module))),
        (None, None) => "?".to_owned(),
    }
}

/// The lines of a stack, in columns that tabs make: without `runtime.goexit` and, where Go `hides` it, what a
/// stack begins with of the Go runtime, unless there is nothing else.
fn frames<'a>(places: impl Iterator<Item = &'a RenderedLocation> + Clone, hides: bool, out: &mut Vec<u8>) {
    let all = places.flat_map(|place| place.lines.iter().map(|line| (place.instruction.as_str(), line)));
    let all = all.filter(|(_, line)| !line.goexit);
    let own = all.clone().skip_while(|(_, line)| hides && line.runtime);
    if own.clone().next().is_some() { table(own, out) } else { table(all, out) }
}

fn table<'a>(lines: impl Iterator<Item = (&'a str, &'a Line)> + Clone, out: &mut Vec<u8>) {
    let cell = |width: usize| (width + 1).next_multiple_of(TAB);
    let wide = lines.clone().map(|(address, _)| cell(address.len())).max().unwrap_or(0);
    let names = lines.clone().map(|(_, line)| cell(line.width)).max().unwrap_or(0);
    let tabs = |out: &mut Vec<u8>, missing: usize| out.resize(out.len() + missing.div_ceil(TAB), b'\t');
    for (address, line) in lines {
        out.extend_from_slice(b"#\t");
        out.extend_from_slice(address.as_bytes());
        tabs(out, wide - address.len());
        out.extend_from_slice(line.name.as_bytes());
        tabs(out, names - line.width);
        out.extend_from_slice(line.position.as_bytes());
        out.push(b'\n');
    }
}
