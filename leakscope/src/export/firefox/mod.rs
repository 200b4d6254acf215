//! A report for the Firefox Profiler (<https://profiler.firefox.com>), in its processed format.
//!
//! Each of Go's profiles that the report holds is a track: its stacks are samples at the end of the window, and their
//! weights are what the profile counts. Frames of the allocator and of the runtime are in a category of their own.
//! Allocations and waits are markers (`markers`). What is said of the whole is a marker, too.

mod markers;

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Profile as Whole,
    ReferenceTimestamp, SamplingInterval, StackHandle, ThreadHandle, Timestamp, WeightType,
};

use super::exporter::{Audience, ExportError, Exporter, Job, Subject};
use super::names::{bracketed, without_goexit};
use super::profile::{Profile, ProfileKind, Sample};
use crate::human::sanitize_for_files;
use crate::report::Report;
use crate::section::label::name;

/// Profiles that become tracks, the first one selected.
const TRACKS: [ProfileKind; 6] = [
    ProfileKind::Heap,
    ProfileKind::Goroutine,
    ProfileKind::Block,
    ProfileKind::Mutex,
    ProfileKind::Goroutineleak,
    ProfileKind::Memory,
];
/// Length of a look at one moment: the viewer shows nothing of a range of no length.
const MOMENT_NS: u64 = 1_000_000;
/// Samples that one stack becomes at most: of bytes 2 TiB.
const MOST_PARTS: u32 = 1024;

/// `--format firefox`.
#[derive(Debug)]
pub struct Firefox;

impl Exporter for Firefox {
    fn name(&self) -> &'static str {
        "firefox"
    }

    fn purpose(&self) -> &'static str {
        "For the Firefox Profiler (profiler.firefox.com), gzipped: all profiles, allocations and waits as markers"
    }

    fn extension(&self) -> &'static str {
        "json.gz"
    }

    fn subject(&self) -> Subject {
        Subject::Reports
    }

    fn audience(&self) -> Audience {
        Audience::Programs
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let [report] = job.reports else { return Err(ExportError::Empty) };
        let mut gzip = GzEncoder::new(out, Compression::fast());
        serde_json::to_writer(&mut gzip, &whole(report)?).map_err(std::io::Error::from)?;
        gzip.finish()?.flush()?;
        Ok(())
    }
}

/// A moment, in ns since recording began.
fn at(ns: u64) -> Timestamp {
    Timestamp::from_nanos_since_reference(ns)
}

/// A track while it is filled.
struct Track<'a> {
    profile: &'a mut Whole,
    thread: ThreadHandle,
    categories: Categories,
    /// Stacks by where their frames lie.
    stacks: HashMap<(usize, usize), Option<StackHandle>>,
    end_ns: u64,
}

/// Whose code a frame is.
#[derive(Clone, Copy)]
struct Categories {
    program: CategoryHandle,
    below: CategoryHandle,
    said: CategoryHandle,
}

fn whole(report: &Report) -> Result<Whole, ExportError> {
    let target = &report.target;
    let kinds: Vec<ProfileKind> = TRACKS.into_iter().filter(|kind| kind.is_in(report)).collect();
    let profiles: Vec<Profile<'_>> =
        kinds.iter().map(|kind| Profile::of_all(&[report], *kind)).collect::<Result<_, _>>()?;
    let started = profiles.first().map_or(0, Profile::started_ns);
    let started = Duration::from_nanos(u64::try_from(started).unwrap_or(0));
    let mut whole = Whole::new(
        &sanitize_for_files(&format!("leakscope: {} (PID {})", target.comm, target.pid)),
        ReferenceTimestamp::from_duration_since_unix_epoch(started),
        SamplingInterval::from_millis(1),
    );
    whole.set_os_name("Linux");
    // Names are in it: nobody is to look for symbols.
    whole.set_symbolicated(true);
    let categories = Categories {
        program: whole.add_category("Program", CategoryColor::Yellow),
        below: whole.add_category("Allocator, runtime and their wrappers", CategoryColor::Gray),
        said: whole.add_category("leakscope", CategoryColor::Blue),
    };
    let end_ns = report.window.duration_ns.max(MOMENT_NS);
    let process = whole.add_process(&sanitize_for_files(&target.comm), target.pid, at(0));
    whole.set_process_end_time(process, at(end_ns));
    for (profile, number) in profiles.iter().zip(0..) {
        let thread = whole.add_thread(process, target.pid.saturating_add(number), at(0), false);
        whole.set_thread_name(thread, profile.kind.weighs());
        whole.set_thread_end_time(thread, at(end_ns));
        whole.set_thread_show_markers_in_timeline(thread, true);
        if profile.samples.iter().any(|sample| sample.weight > 0) {
            whole.add_initial_visible_thread(thread);
        }
        if number == 0 {
            whole.add_initial_selected_thread(thread);
        }
        let mut track = Track { profile: &mut whole, thread, categories, stacks: HashMap::new(), end_ns };
        track.samples(profile);
        if number == 0 {
            track.said(report);
        }
        match profile.kind {
            ProfileKind::Heap => track.allocations(report),
            ProfileKind::Block => track.waits(report),
            _ => {}
        }
    }
    Ok(whole)
}

impl Track<'_> {
    fn samples(&mut self, profile: &Profile<'_>) {
        let weight_type = match profile.kind {
            ProfileKind::Heap | ProfileKind::Allocs | ProfileKind::Memory => WeightType::Bytes,
            _ => WeightType::Samples,
        };
        self.profile.set_thread_samples_weight_type(self.thread, weight_type);
        // The range that is shown begins with the first sample.
        self.profile.add_sample(self.thread, at(0), None, CpuDelta::ZERO, 0);
        let mut more = 0_u64;
        for sample in profile.samples.iter().filter(|sample| sample.weight > 0) {
            let stack = self.stack(sample);
            // A weight has 31 bits: a larger one is that of several samples.
            let mut left = sample.weight;
            for _ in 0..MOST_PARTS {
                let part = i32::try_from(left).unwrap_or(i32::MAX);
                left -= u64::from(part.unsigned_abs());
                self.profile.add_sample(self.thread, at(self.end_ns), stack, CpuDelta::ZERO, part);
                if left == 0 {
                    break;
                }
            }
            more = more.saturating_add(left);
        }
        if more > 0 {
            self.note(
                "Not shown",
                &format!("{more} more {}, of stacks with too much for this format", profile.kind.weighs()),
            );
        }
    }

    /// A stack, outermost frame first; notes stand at its root for what is not known.
    fn stack(&mut self, sample: &Sample<'_>) -> Option<StackHandle> {
        let frames = without_goexit(sample.frames);
        let key = (frames.as_ptr() as usize, frames.len());
        if let Some(known) = self.stacks.get(&key).filter(|_| !frames.is_empty()) {
            return *known;
        }
        let roots = sample.notes().map(|note| (bracketed(&note), self.categories.said));
        let named = frames.iter().enumerate().rev().map(|(i, frame)| {
            let below = sample.blame.is_some_and(|blame| i < blame);
            let category = if below { self.categories.below } else { self.categories.program };
            (sanitize_for_files(&name(frame)), category)
        });
        let all: Vec<(String, CategoryHandle)> = roots.chain(named).collect();
        let infos: Vec<FrameInfo> = all
            .into_iter()
            .map(|(text, category)| FrameInfo {
                frame: Frame::Label(self.profile.intern_string(&text)),
                category_pair: category.into(),
                flags: FrameFlags::empty(),
            })
            .collect();
        let stack = self.profile.intern_stack_frames(self.thread, infos.into_iter());
        if !frames.is_empty() {
            self.stacks.insert(key, stack);
        }
        stack
    }
}

#[cfg(test)]
mod tests;
