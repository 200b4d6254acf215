//! A profile as folded stacks, as Brendan Gregg's tools read them: a line a stack, outermost frame first.

use std::io::{self, Write};

use super::exporter::{ExportError, Exporter, Job, Subject};
use super::profile::Profile;
use super::tree::Paths;

/// `--format folded`.
#[derive(Debug)]
pub struct Folded;

impl Exporter for Folded {
    fn name(&self) -> &'static str {
        "folded"
    }

    fn purpose(&self) -> &'static str {
        "For flame graph tools: a line a stack"
    }

    fn extension(&self) -> &'static str {
        "folded"
    }

    fn subject(&self) -> Subject {
        Subject::Profile
    }

    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        Ok(write(&job.profile()?, out)?)
    }
}

/// Writes `profile`; stacks that weigh nothing are left out.
pub fn write(profile: &Profile<'_>, out: &mut dyn Write) -> io::Result<()> {
    let paths = Paths::of(profile);
    let mut line = String::new();
    for (path, weight) in &paths.paths {
        line.clear();
        paths.line(path, *weight, &mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}
