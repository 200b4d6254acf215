//! The comparison of a report with the program's own profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::heap::HeapProfile;
use super::profile::{Frame, Goroutine, GoroutineProfile, Labels, without_types};

/// Depths at which a release cuts stacks off: to 1.22, and later.
const DEPTHS: [usize; 2] = [32, 128];
/// Go 1.19 stops after 100 frames, hidden ones included, and may not say so.
const SILENT_CUT: usize = 90;
/// Differences of one kind that are shown.
const SHOWN: usize = 8;

/// Goroutines of the report with the same stack, state, labels and creator.
#[derive(Clone, Debug)]
pub struct GoSite {
    /// How many.
    pub count: u64,
    /// What the runtime's own text calls it: what it waits for, else its status.
    pub state: String,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Where they were started.
    pub created_by: Option<Frame>,
    /// Whether the creator's function was inlined into another one.
    pub creator_inlined: bool,
    /// Where they begin.
    pub start_function: Option<String>,
    pub labels: Labels,
}

/// The sites of a report's goroutines, system goroutines left out.
///
/// # Errors
/// If the report has none.
pub fn sites(report: &Value) -> Result<Vec<GoSite>> {
    let sites = report["goroutines"]["sites"].as_array().context("the report has no goroutines")?;
    sites.iter().filter(|site| site["system"] != true).map(site).collect()
}

fn site(site: &Value) -> Result<GoSite> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let state = text(&site["wait_reason"]).or_else(|| text(&site["state"]));
    let frames = site["frames"].as_array().with_context(|| format!("no frames: {site}"))?;
    let creator = &site["created_by"];
    let labels = site["labels"].as_object().into_iter().flatten();
    Ok(GoSite {
        count: site["count"].as_u64().with_context(|| format!("no count: {site}"))?,
        state: state.with_context(|| format!("no state: {site}"))?,
        frames: frames.iter().map(frame).collect(),
        created_by: creator.is_object().then(|| frame(creator)),
        creator_inlined: creator["inlined"] == true,
        start_function: text(&site["start_function"]),
        labels: labels.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect(),
    })
}

fn frame(value: &Value) -> Frame {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let function = without_types(&text("function"));
    Frame { function, file: text("file"), line: value["line"].as_u64().unwrap_or(0) }
}

fn is_runtime(frame: &Frame) -> bool {
    frame.function.starts_with("runtime.") || frame.function.starts_with("internal/runtime/")
}

/// A stack as the text with debug=1 shows it: without the runtime's innermost functions, unless there
/// are no others, and without the function that every goroutine returns to.
fn visible(frames: &[Frame]) -> Vec<Frame> {
    let frames = frames.iter().filter(|frame| frame.function != "runtime.goexit");
    let shown: Vec<_> = frames.clone().skip_while(|frame| is_runtime(frame)).cloned().collect();
    if shown.is_empty() { frames.cloned().collect() } else { shown }
}

/// A stack without any function of the runtime: what debug=2 shows of them differs between releases. It
/// shows no function without a package, either; cgo makes some.
fn without_runtime(frames: &[Frame]) -> Vec<Frame> {
    let shown = |frame: &&Frame| !frame.function.starts_with("runtime.") && frame.function.contains('.');
    frames.iter().filter(shown).cloned().collect()
}

/// Whether it is the goroutine that answers the test: it writes the profile.
fn is_main(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.function == "main.main")
}

/// Compares stacks, labels and counts with the text with debug=1.
///
/// # Errors
/// All that differs.
pub fn compare_goroutines(report: &Value, own: &GoroutineProfile) -> Result<()> {
    let mut mains = 0;
    let mut wanted = BTreeMap::new();
    let mut cut = BTreeSet::new();
    for group in &own.groups {
        if is_main(&group.frames) {
            mains += group.count;
            continue;
        }
        let frames = visible(&group.frames);
        if DEPTHS.contains(&group.depth) {
            cut.insert(frames.clone());
        }
        *wanted.entry((frames, group.labels.clone())).or_insert(0) += group.count;
    }
    let mut found = BTreeMap::new();
    for site in sites(report)? {
        if is_main(&site.frames) {
            mains = mains.wrapping_sub(site.count);
            continue;
        }
        let mut frames = visible(&site.frames);
        if let Some(start) = cut.iter().find(|start| frames.starts_with(start)) {
            frames.truncate(start.len());
        }
        *found.entry((frames, site.labels)).or_insert(0) += site.count;
    }
    let mut differences = differences(&wanted, &found, |(frames, labels)| {
        format!("{}{}", shown(frames), if labels.is_empty() { String::new() } else { format!(" {labels:?}") })
    });
    if mains != 0 {
        writeln!(differences, "- the main goroutine is not in both")?;
    }
    let total = report["goroutines"]["total"].as_u64();
    if total != Some(own.total) {
        writeln!(differences, "- in all: reported {total:?}, true {}", own.total)?;
    }
    fail(&differences)
}

/// Compares states, stacks and where the goroutines were started with the text with debug=2. Some
/// releases hide that the runtime started one.
///
/// # Errors
/// All that differs.
pub fn compare_stacks(report: &Value, own: &[Goroutine]) -> Result<()> {
    let mut found = BTreeMap::new();
    let mut creators = BTreeSet::new();
    for mut site in sites(report)?.into_iter().filter(|site| !is_main(&site.frames)) {
        site.created_by = site.created_by.filter(|frame| !is_runtime(frame));
        let creator = site.created_by.clone().map(|frame| (frame.file, frame.line));
        // Of an inlined creator the runtime's text names the function around it.
        creators.extend(site.created_by.filter(|_| !site.creator_inlined));
        *found.entry((site.state, without_runtime(&site.frames), creator)).or_insert(0) += site.count;
    }
    let mut wanted = BTreeMap::new();
    for goroutine in own.iter().filter(|goroutine| !is_main(&goroutine.frames)) {
        let created_by = goroutine.created_by.clone().filter(|frame| !is_runtime(frame));
        let creator = created_by.clone().map(|frame| (frame.file, frame.line));
        if let Some(frame) = &created_by {
            creators.remove(frame);
        }
        let mut frames = without_runtime(&goroutine.frames);
        let silent = (frames.len() > SILENT_CUT).then_some(goroutine.frames.len());
        if let Some(elided) = goroutine.elided.or(silent) {
            let hidden =
                goroutine.frames[..elided].len() - without_runtime(&goroutine.frames[..elided]).len();
            let (head, tail) = frames.split_at(elided - hidden);
            let whole = found.keys().find(|(state, frames, place)| {
                *state == goroutine.state
                    && *place == creator
                    && frames.starts_with(head)
                    && frames.ends_with(tail)
                    && frames.len() >= head.len() + tail.len()
            });
            frames = whole.map_or(frames, |(_, frames, _)| frames.clone());
        }
        *wanted.entry((goroutine.state.clone(), frames, creator)).or_insert(0) += 1;
    }
    let mut differences = differences(&wanted, &found, |(state, frames, creator)| {
        format!("[{state}] {} created at {creator:?}", shown(frames))
    });
    for frame in creators.iter().take(SHOWN) {
        writeln!(differences, "- nothing is created by {}", shown(std::slice::from_ref(frame)))?;
    }
    fail(&differences)
}

/// Compares what is live at each stack with the program's own heap profile; `sites` are those of the
/// report that come from the same source. Amounts may differ by rounding where the profile is sampled.
///
/// # Errors
/// All that differs.
pub fn compare_heap(sites: &[&Value], own: &HeapProfile) -> Result<()> {
    let mut wanted: BTreeMap<Vec<Frame>, (f64, f64, u32)> = BTreeMap::new();
    for bucket in own.buckets.iter().filter(|bucket| bucket.live_objects > 0.0) {
        let entry = wanted.entry(visible(&bucket.frames)).or_default();
        *entry = (entry.0 + bucket.live_objects, entry.1 + bucket.live_bytes, entry.2 + 1);
    }
    let mut found: BTreeMap<Vec<Frame>, (f64, f64)> = BTreeMap::new();
    for site in sites {
        let frames = site["frames"].as_array().with_context(|| format!("no frames: {site}"))?;
        let amount = |key: &str| site[key].as_f64().with_context(|| format!("no {key}: {site}"));
        let (objects, bytes) = (amount("live_objects")?, amount("live_bytes")?);
        if objects > 0.0 {
            let frames: Vec<_> = frames.iter().map(frame).collect();
            let entry = found.entry(visible(&frames)).or_default();
            *entry = (entry.0 + objects, entry.1 + bytes);
        }
    }
    let mut differences = String::new();
    for (frames, (objects, bytes, buckets)) in &wanted {
        let reported = found.remove(frames).unwrap_or_default();
        // Each bucket may be rounded by itself.
        let slack = if own.rate <= 1 { 0.0 } else { f64::from(*buckets) };
        if (reported.0 - objects).abs() > slack || (reported.1 - bytes).abs() > slack {
            writeln!(
                differences,
                "- reported {} objects, {} bytes, true {objects}, {bytes}: {}",
                reported.0,
                reported.1,
                shown(frames)
            )?;
        }
    }
    for (frames, (objects, bytes)) in &found {
        writeln!(differences, "- reported {objects} objects, {bytes} bytes, true none: {}", shown(frames))?;
    }
    fail(&differences)
}

/// A line for each key whose counts differ, and those of the same kind that are left out.
fn differences<K: Ord>(
    wanted: &BTreeMap<K, u64>,
    found: &BTreeMap<K, u64>,
    show: impl Fn(&K) -> String,
) -> String {
    let mut text = String::new();
    let count = |counts: &BTreeMap<K, u64>, key: &K| counts.get(key).copied().unwrap_or(0);
    for (what, keys, others) in [("missing", wanted, found), ("too much", found, wanted)] {
        let differing: Vec<_> = keys.iter().filter(|(key, n)| **n > count(others, key)).collect();
        for (key, _) in differing.iter().take(SHOWN) {
            let (true_count, reported) = (count(wanted, key), count(found, key));
            writeln!(text, "- {what}: reported {reported}, true {true_count}: {}", show(key))
                .expect("a String takes all");
        }
        if differing.len() > SHOWN {
            writeln!(text, "- {what}: {} more", differing.len() - SHOWN).expect("a String takes all");
        }
    }
    text
}

/// A stack in one line.
fn shown(frames: &[Frame]) -> String {
    let frames = frames.iter().map(|frame| format!("{} ({}:{})", frame.function, frame.file, frame.line));
    frames.collect::<Vec<_>>().join(" < ")
}

fn fail(differences: &str) -> Result<()> {
    if !differences.is_empty() {
        bail!("the report differs from the program's own profile:\n{differences}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
