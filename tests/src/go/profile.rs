//! The text of Go's `goroutine` profile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// A function and where in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// With its package; empty where the runtime knew no name.
    pub function: String,
    /// The path as it was compiled in.
    pub file: String,
    pub line: u64,
}

/// Labels that `pprof.Do` gave.
pub type Labels = BTreeMap<String, String>;

/// Goroutines with the same stack and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// How many program counters the profile holds.
    pub depth: usize,
    pub labels: Labels,
    /// What the text shows of the stack, innermost first.
    pub frames: Vec<Frame>,
}

/// `pprof.Lookup("goroutine")` with debug=1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoroutineProfile {
    /// How many goroutines there are.
    pub total: u64,
    /// By stack and labels.
    pub groups: Vec<Group>,
}

/// A goroutine of the text with debug=2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goroutine {
    /// Its number.
    pub id: u64,
    /// Its status, or what it waits for.
    pub state: String,
    /// How long; 0 where the text says nothing.
    pub minutes: u64,
    /// Whether it is locked to a thread.
    pub locked: bool,
    /// What the text shows of the stack, innermost first.
    pub frames: Vec<Frame>,
    /// Where frames are left out: before this index.
    pub elided: Option<usize>,
    /// Where it was started; the main one has none.
    pub created_by: Option<Frame>,
}

/// Reads the text with debug=1.
///
/// # Errors
/// If it is something else.
pub fn parse_groups(text: &str) -> Result<GoroutineProfile> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let total = first.strip_prefix("goroutine profile: total ").context("no goroutine profile")?;
    let mut profile = GoroutineProfile { total: total.parse()?, groups: Vec::new() };
    for line in lines.filter(|line| !line.is_empty()) {
        let entered = match (line.strip_prefix('#'), profile.groups.last_mut()) {
            (Some(comment), Some(group)) => group.enter(comment),
            (Some(_), None) => bail!("a frame of no group: {line}"),
            (None, _) => Group::begin(line).map(|group| profile.groups.push(group)),
        };
        entered.with_context(|| line.to_owned())?;
    }
    Ok(profile)
}

impl Group {
    /// Reads `600 @ 0x485b0a 0x461fb2`.
    fn begin(line: &str) -> Result<Self> {
        let (count, addresses) = line.split_once(" @").context("no group")?;
        let depth = addresses.split_whitespace().count();
        Ok(Self { count: count.parse()?, depth, labels: Labels::new(), frames: Vec::new() })
    }

    /// Reads what follows `#`: a frame or the labels.
    fn enter(&mut self, comment: &str) -> Result<()> {
        match comment.strip_prefix(" labels: ") {
            Some(labels) => self.labels = serde_json::from_str(labels)?,
            None => self.frames.push(frame_of(comment)?),
        }
        Ok(())
    }
}

/// Reads `\t0x5335ef\tmain.labelled+0xaf\t\t/src/waiters.go:234`.
pub(super) fn frame_of(comment: &str) -> Result<Frame> {
    let mut parts = comment.split('\t').filter(|part| !part.is_empty());
    parts.next().context("no address")?;
    let Some(function) = parts.next() else {
        return Ok(Frame { function: String::new(), file: String::new(), line: 0 });
    };
    let (function, _) = function.rsplit_once("+0x").context("no offset")?;
    place(function, parts.next().context("no file")?)
}

/// A frame at `file:line`.
fn place(function: &str, place: &str) -> Result<Frame> {
    let (file, line) = place.rsplit_once(':').context("no line")?;
    Ok(Frame { function: without_types(function), file: file.to_owned(), line: line.parse()? })
}

/// A name without the types that a generic function was made for: since Go 1.21 the texts leave them out
/// (`funcNameForPrint`).
pub(super) fn without_types(name: &str) -> String {
    match (name.find('['), name.rfind(']')) {
        (Some(open), Some(close)) if open < close => format!("{}[...]{}", &name[..open], &name[close + 1..]),
        _ => name.to_owned(),
    }
}

/// Reads the text with debug=2.
///
/// # Errors
/// If it is something else.
pub fn parse_stacks(text: &str) -> Result<Vec<Goroutine>> {
    text.split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
        .map(|paragraph| parse_stack(paragraph).with_context(|| paragraph.to_owned()))
        .collect()
}

fn parse_stack(paragraph: &str) -> Result<Goroutine> {
    let mut lines = paragraph.trim_start_matches('\n').lines();
    let mut goroutine = parse_header(lines.next().unwrap_or_default())?;
    while let Some(line) = lines.next() {
        if line.starts_with("...") {
            goroutine.elided = Some(goroutine.frames.len());
            continue;
        }
        let at = lines.next().and_then(|line| line.strip_prefix('\t')).context("a function without place")?;
        // An inlined frame has no offset.
        let at = at.rsplit_once(" +0x").map_or(at, |(at, _)| at);
        if let Some(creator) = line.strip_prefix("created by ") {
            let creator = creator.split_once(" in goroutine ").map_or(creator, |(function, _)| function);
            goroutine.created_by = Some(place(creator, at)?);
        } else {
            goroutine.frames.push(place(function_of(line)?, at)?);
        }
    }
    Ok(goroutine)
}

/// Reads `goroutine 7 [chan receive, 2 minutes, locked to thread]:`; labels may stand before the colon.
fn parse_header(line: &str) -> Result<Goroutine> {
    let (id, rest) =
        line.strip_prefix("goroutine ").and_then(|rest| rest.split_once(" [")).context("no goroutine")?;
    let (inside, _) = rest.split_once(']').context("no state")?;
    let mut parts = inside.split(", ");
    let state = parts.next().unwrap_or_default();
    let state = state.strip_suffix(" (scan)").unwrap_or(state);
    let mut goroutine = Goroutine {
        id: id.parse()?,
        state: state.to_owned(),
        minutes: 0,
        locked: false,
        frames: Vec::new(),
        elided: None,
        created_by: None,
    };
    for part in parts {
        match part.strip_suffix(" minutes") {
            Some(minutes) => goroutine.minutes = minutes.parse()?,
            None => goroutine.locked |= part == "locked to thread",
        }
    }
    Ok(goroutine)
}

/// The name before the arguments; the text calls one function differently than every other place.
fn function_of(line: &str) -> Result<&str> {
    match line.rsplit_once('(').context("no arguments")?.0 {
        "panic" => Ok("runtime.gopanic"),
        function => Ok(function),
    }
}

#[cfg(test)]
mod tests;
