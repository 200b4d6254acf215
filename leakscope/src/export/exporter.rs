//! What a format is to the rest of the program.
//!
//! [`EXPORTERS`](super::EXPORTERS) is the one list of formats. The values and the help of `--format` follow from it, as
//! do the names of files in a series and what is refused on the command line, so a new format is a file beside this one
//! and a line in the list.

use std::fmt;
use std::io::{self, Write};

use super::profile::{NoProfile, Profile, ProfileKind};
use super::table::TableStyle;
use crate::report::Report;

/// A format that reports are written in.
///
/// An exporter holds no state: it is a name for what it says about itself and for [`write`](Self::write), a pure
/// function of the reports. It opens no file, asks no clock and knows no terminal: its caller decides where the bytes
/// go and tells what is to be known of that place in [`Job`]. What comes from the target is hostile; an exporter lets
/// text of the target through [`super::names`], or through a library that escapes it.
///
/// The methods without a default are what every format has to decide. The others answer what only some formats are
/// asked, and their defaults are right for most.
pub trait Exporter: fmt::Debug + Sync {
    /// What `--format` calls it: one word in lower case, never changed, for scripts hold it.
    fn name(&self) -> &'static str;

    /// What it is for, as `--help` says it behind the name: a phrase with a capital letter and without a full stop.
    fn purpose(&self) -> &'static str;

    /// How the names of its files end, without the dot. A series in a directory is found again by it; several formats
    /// may share one.
    fn extension(&self) -> &'static str;

    /// Whether it shows whole reports, or one question taken out of them. Only the latter takes `--profile`.
    fn subject(&self) -> Subject;

    /// What becomes of several reports in one place.
    fn sequence(&self) -> Sequence {
        Sequence::Apart
    }

    /// Who reads it.
    fn audience(&self) -> Audience {
        Audience::Anybody
    }

    /// Writes the reports of `job`, of which there is at least one, as a whole: headers and ends included, so that
    /// `out` holds a valid file afterwards.
    ///
    /// Whole reports are written one after another. Profiles are added up to one. `out` may be slow to call: who
    /// writes many small parts collects them first.
    fn write(&self, job: &Job<'_>, out: &mut dyn Write) -> Result<(), ExportError>;
}

/// What a format shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All there is, or what of it a person wants to see.
    Reports,
    /// One profile, in the terms of Go's.
    Profile,
}

/// What becomes of reports of a format that come one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// A file of the format holds one.
    Apart,
    /// They can be read as they come, as on a terminal or in a pipe. A file holds the newest alone.
    Follow,
    /// The format is made for it: a file keeps all of them.
    Append,
}

/// Who reads a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// People, on a terminal: they get a first look before much is known.
    People,
    /// Programs, and people who want to see what programs get.
    Anybody,
    /// Programs alone: it is binary, and not for terminals.
    Programs,
}

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub reports: &'a [&'a Report],
    /// Which profile is asked for; `None` for what suits the reports.
    pub profile: Option<ProfileKind>,
    /// How tables look.
    pub style: TableStyle,
}

impl<'a> Job<'a> {
    /// The profile that is asked for, of all reports together.
    pub fn profile(&self) -> Result<Profile<'a>, ExportError> {
        let best = || self.reports.iter().find_map(|report| ProfileKind::of(report));
        let kind = self.profile.or_else(best).ok_or(ExportError::Empty)?;
        Ok(Profile::of_all(self.reports, kind)?)
    }

    /// Writes each report by itself, one after another.
    pub fn each(&self, mut write: impl FnMut(&Report) -> io::Result<()>) -> Result<(), ExportError> {
        self.reports.iter().copied().try_for_each(|report| Ok(write(report)?))
    }
}

/// Why reports were not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// They hold no profile.
    #[error("the report holds no profile at all")]
    Empty,
    /// One of them does not hold the profile that is asked for.
    #[error(transparent)]
    NoProfile(#[from] NoProfile),
    /// The output failed.
    #[error(transparent)]
    Output(#[from] io::Error),
}
