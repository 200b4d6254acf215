//! A profile as gzipped profile.proto, the format of `go tool pprof` and of what understands it.
//!
//! Ids run from 1 in the order of appearance; string 0 is empty. Every place has a function, if only one
//! that says why there is none: else readers would look for symbols by themselves.

mod drop;
mod mappings;
pub(crate) mod proto;

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::exporter::{Audience, ExportError, Exporter, Job, Subject};
use super::names::{bracketed, without_goexit};
use super::profile::location::Locations;
use super::profile::{Profile, Sample, ValueType};
use crate::human::sanitize_for_files;
use crate::section::growth::growth;
use crate::section::label::function;
use mappings::Mappings;

/// `--format pprof`.
#[derive(Debug)]
pub struct Pprof;

impl Exporter for Pprof {
    fn name(&self) -> &'static str {
        "pprof"
    }

    fn purpose(&self) -> &'static str {
        "For `go tool pprof` and what else reads profile.proto, gzipped"
    }

    fn extension(&self) -> &'static str {
        "pb.gz"
    }

    fn subject(&self) -> Subject {
        Subject::Profile
    }

    fn audience(&self) -> Audience {
        Audience::Programs
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(write(&job.profile()?, out)?)
    }
}

/// Writes `profile`.
pub fn write(profile: &Profile<'_>, out: &mut dyn Write) -> io::Result<()> {
    let encoded = message(profile).encode_to_vec();
    let mut gzip = GzEncoder::new(out, Compression::fast());
    gzip.write_all(&encoded)?;
    gzip.finish()?.flush()
}

/// The profile as a message.
pub(crate) fn message(profile: &Profile<'_>) -> proto::Profile {
    let mut builder = Builder::default();
    builder.strings.index("");
    let sample_type = profile.kind.value_types().iter().map(|of| builder.value_type(*of)).collect();
    let period_type = Some(builder.value_type(profile.kind.period_type()));
    let default_sample_type = profile.kind.default_value_type().map_or(0, |name| builder.strings.index(name));
    let mut places = Locations::new(profile.processes() > 1);
    let stacks: Vec<Vec<u64>> = profile
        .samples
        .iter()
        .map(|sample| places.enter(without_goexit(sample.frames)).map(|at| u64::from(at) + 1).collect())
        .collect();
    // Notes stand in for places, and are numbered after them.
    let first_note = places.all().len() as u64 + 1;
    let values = profile.kind.value_types().len();
    let samples = profile.samples.iter().zip(stacks);
    let sample = samples.map(|(sample, stack)| builder.sample(sample, stack, first_note, values)).collect();
    let target = profile.reports.first().map(|report| &report.target);
    let exe = target.and_then(|target| Some((target.exe.as_deref()?, target.build_id.as_deref())));
    let mut mappings = Mappings::new(places.all(), exe);
    let mut location: Vec<proto::Location> = Vec::with_capacity(places.all().len() + builder.notes.len());
    for (place, id) in places.all().iter().zip(1..) {
        let mut names_files = false;
        let mut lines = Vec::with_capacity(place.frames.len());
        for frame in place.frames {
            names_files |= frame.file.is_some();
            let function =
                builder.function(&function(frame), frame.file.as_deref(), frame.function_line.unwrap_or(0));
            lines.push(proto::Line { function_id: function, line: frame.line.unwrap_or(0).into() });
        }
        let mapping_id = mappings.id(place, names_files);
        location.push(proto::Location { id, mapping_id, address: place.instruction, line: lines });
    }
    for (note, id) in std::mem::take(&mut builder.notes).into_iter().zip(first_note..) {
        let function_id = builder.function(&note, None, 0);
        let line = vec![proto::Line { function_id, line: 0 }];
        location.push(proto::Location { id, mapping_id: 0, address: 0, line });
    }
    let comment =
        profile.comments.iter().map(|text| builder.strings.index(&sanitize_for_files(text))).collect();
    let mapping = mappings.messages(|text| builder.strings.index(&sanitize_for_files(text)));
    let drop_frames = match drop::drop_frames(profile) {
        none if none.is_empty() => 0,
        names => builder.strings.index(&names),
    };
    proto::Profile {
        drop_frames,
        sample_type,
        sample,
        mapping,
        location,
        function: builder.functions,
        string_table: builder.strings.all,
        time_nanos: profile.started_ns(),
        duration_nanos: clamped(profile.duration_ns()),
        period_type,
        period: 1,
        comment,
        default_sample_type,
    }
}

/// What the message's tables are filled with.
#[derive(Debug, Default)]
struct Builder {
    strings: Strings,
    functions: Vec<proto::Function>,
    known: HashMap<(i64, i64, i64), u64>,
    notes: Vec<String>,
}

impl Builder {
    fn value_type(&mut self, (of, unit): ValueType) -> proto::ValueType {
        proto::ValueType { r#type: self.strings.index(of), unit: self.strings.index(unit) }
    }

    fn sample(
        &mut self,
        sample: &Sample<'_>,
        mut location_id: Vec<u64>,
        first_note: u64,
        values: usize,
    ) -> proto::Sample {
        location_id.extend(sample.note.as_ref().map(|note| first_note + self.note(bracketed(note))));
        let cut = sample.cut.map(|why| ("stack_end", std::borrow::Cow::from(why.to_string())));
        let labels = sample.labels.iter().chain(&cut);
        proto::Sample {
            location_id,
            value: sample
                .values
                .iter()
                .zip(sample.base)
                .take(values)
                .map(|(n, base)| growth(base, *n))
                .collect(),
            label: labels
                .map(|(key, value)| proto::Label {
                    key: self.strings.index(&sanitize_for_files(key)),
                    str: self.strings.index(&sanitize_for_files(value)),
                })
                .collect(),
        }
    }

    /// The number of a note, from 0.
    fn note(&mut self, text: String) -> u64 {
        let known = self.notes.iter().position(|known| *known == text);
        let at = known.unwrap_or_else(|| {
            self.notes.push(text);
            self.notes.len() - 1
        });
        at as u64
    }

    fn function(&mut self, name: &str, file: Option<&str>, start_line: u32) -> u64 {
        let filename = file.map_or(0, |file| self.strings.index(&sanitize_for_files(file)));
        // Readers take what looks like parameters out of a C++ name that equals the linker's; of Rust's
        // names they leave nothing then.
        let system_name = if name.contains("::") { 0 } else { self.strings.index(name) };
        let name = self.strings.index(name);
        let start_line = i64::from(start_line);
        *self.known.entry((name, filename, start_line)).or_insert_with(|| {
            let id = self.functions.len() as u64 + 1;
            self.functions.push(proto::Function { id, name, system_name, filename, start_line });
            id
        })
    }
}

/// The string table.
#[derive(Debug, Default)]
struct Strings {
    known: HashMap<String, i64>,
    all: Vec<String>,
}

impl Strings {
    fn index(&mut self, text: &str) -> i64 {
        if let Some(index) = self.known.get(text) {
            return *index;
        }
        let index = i64::try_from(self.all.len()).unwrap_or(i64::MAX);
        self.all.push(text.to_owned());
        self.known.insert(text.to_owned(), index);
        index
    }
}

/// The nearest number that the format has.
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
