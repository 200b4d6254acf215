//! The sections of a report. A section is a folder: its shape ([`model`]), how it is made (`build`), what it has to
//! say (`answer` decides, `words` puts it), a part of it (`select`), its sums (`group`), what changed (`diff`), its
//! samples for profiles (`samples`), its tables (`table`) and how `top` shows it (`view`).
//!
//! The list is the macro `sections!` at the end of this file: one row a section. Of it come the fields of
//! [`Report`](crate::report::Report) and [`Diff`](crate::diff::Diff), and all that goes through sections without
//! naming one. What all of them do alike stands in this folder: sites and their ranks (`site`), `--focus` ([`focus`]),
//! `--by` ([`by`], `group`), growth (`growth`, `key`, `pairs`), stacks on a page (`drawn`), names of frames
//! ([`label`]), findings ([`finding`]).
//!
//! Sections know neither reports nor differences, neither formats nor screens: these ask them, through [`Section`]
//! and [`Compared`], and hand in what they need of the rest ([`Context`], [`Sides`]).

pub mod by;
pub(crate) mod drawn;
pub mod finding;
pub mod focus;
pub mod frame;
pub mod go_memory;
pub mod goroutine_waits;
pub mod goroutines;
pub(crate) mod group;
pub(crate) mod growth;
pub mod heap;
pub mod holders;
pub(crate) mod json;
pub mod key;
pub mod label;
pub mod made;
pub mod model;
pub(crate) mod pairs;
pub mod profile;
pub mod shared;
pub mod site;
pub mod stack;
pub mod tables;
pub mod threads;
pub mod view;
pub mod waits;

use std::io;

use self::by::By;
use self::finding::{Code, Finding};
use self::focus::Focus;
use self::key::Keys;
use self::profile::{ProfileKind, Sample};
use self::stack::Stack;
use self::view::Viewed;
use crate::layout::page::Page;

/// A section that a report has.
pub trait Section {
    /// The field of the report that it is.
    fn name(&self) -> &'static str;

    /// Whether its numbers are exact.
    fn exact(&self) -> bool {
        true
    }

    /// Hands out the stacks of its sites.
    fn stacks<'a>(&'a self, each: &mut dyn FnMut(&'a Stack));

    /// Fills in what reports of older versions do not have, from what they have.
    fn complete(&mut self) {}

    /// Leaves the sites whose stacks are asked for; sums are those of what is left. Says how much that is.
    fn select(&mut self, focus: &Focus) -> Option<Finding>;

    /// Adds up sites whose stacks are the same as far as `by` goes.
    fn group(&mut self, by: By);

    /// What is to be said instead of a finding that was said of other rows, as before `--by`; none of what stands.
    fn again(&self, _said: &Finding) -> Option<Finding> {
        None
    }

    /// Where a part of it stands among that of other sections: the lowest is first.
    fn order(&self, part: Part) -> u8;

    /// Writes a part of it for people.
    fn print(&self, part: Part, context: &Context<'_>, page: &mut Page<'_>) -> io::Result<()>;

    /// What it tells of the resident set, behind that.
    fn beside_memory(&self) -> Option<String> {
        None
    }

    /// How many threads there are, where it knows.
    fn threads(&self) -> Option<u64> {
        None
    }

    /// Whether it tells of a runtime's own tasks, so that idle threads are only what these run on.
    fn has_tasks(&self) -> bool {
        false
    }

    /// Whether a profile can be made of it. Where several sections have one, the first in the order of tables
    /// gives it.
    fn has_profile(&self, kind: ProfileKind) -> bool;

    /// Adds the samples of a profile that it has. Their values add up to its totals.
    fn samples<'a>(&'a self, kind: ProfileKind, out: &mut Vec<Sample<'a>>);

    /// What a reader of that profile must know.
    fn profile_comments(&self, kind: ProfileKind, context: &Context<'_>) -> Vec<String>;

    /// Lines that `top` shows above the rows, whichever section these are of.
    fn on_screen(&self) -> Vec<String> {
        Vec::new()
    }

    /// How `top` shows it; none where it does not.
    fn viewed(&self) -> Option<&dyn Viewed> {
        None
    }
}

/// A part of a section, as tables show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sums and how sure they are; in the header.
    Totals,
    /// What comes before all tables.
    Urgent,
    /// The sites in short.
    Tables,
    /// The sites with their stacks.
    Stacks,
}

/// What a section is told of the report around it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Length of the window; 0 of a look at one moment.
    pub window_ns: u64,
    /// All sections of the report.
    pub all: &'a [&'a dyn Section],
}

impl Context<'_> {
    /// Whether some section tells of a runtime's tasks.
    pub fn has_tasks(&self) -> bool {
        self.all.iter().any(|section| section.has_tasks())
    }
}

/// Sections in the order in which a part of them is shown.
pub fn in_order<'a>(all: &[&'a dyn Section], part: Part) -> Vec<&'a dyn Section> {
    let mut all = all.to_vec();
    all.sort_by_key(|section| section.order(part));
    all
}

/// A section that can be compared with that of another report, and grow from report to report.
pub trait Compared: Section + Sized {
    /// What changed.
    type Diff: Changed;

    /// What it is called where only one report has it; none where that is no loss.
    const CALLED: Option<&'static str>;

    /// The codes of what it has to say.
    const CODES: &'static [&'static str];

    /// What the new one has more than the old one, and what less; none where that cannot be told.
    fn compare<'a>(
        sides: &Sides<'_>,
        old: Option<&'a Self>,
        new: Option<&'a Self>,
        keys: &mut Keys<'a>,
    ) -> Option<Self::Diff>;

    /// What each site of `last` had in `first`, in the order of its sites.
    fn before<'a>(sides: &Sides<'_>, first: &'a Self, last: &'a Self, keys: &mut Keys<'a>) -> Vec<u64>;

    /// Puts the growth since `first` into the last report's section. Returns what is to be said anew.
    fn grow(&mut self, first: &Self, before: &[u64], between: Between) -> Option<Retold>;
}

/// What is known of two reports that are compared.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// Sites are ranked by the growth of what they count, not by that of bytes.
    pub by_objects: bool,
    /// Whether they are of one observation that went on, in which addresses and names of sites stay.
    pub one_account: bool,
    /// Whether they are two windows of one process, each of which counts what happened in it alone.
    pub separate_windows: bool,
    /// How long the windows are; 0 of a look at one moment.
    pub windows_ns: (u64, u64),
    /// Whether they are of the same build of the program, so that its lines are the same.
    pub one_build: bool,
    /// All sections of the old report.
    pub old: &'a [&'a dyn Section],
    /// All sections of the new report.
    pub new: &'a [&'a dyn Section],
}

/// What lies between the first report of a series and the last.
#[derive(Clone, Copy, Debug)]
pub struct Between {
    /// From the end of one window to that of the other; none where that is not known.
    pub ns: Option<u64>,
    /// Whether these are two windows of one process, each of which counts what happened in it.
    pub separate_windows: bool,
}

/// Findings that take the place of others.
pub struct Retold {
    /// Whether a finding of that code is replaced.
    pub replaces: fn(&Code) -> bool,
    /// The sentences of what is replaced, as they would be today: for findings without codes.
    pub told: Vec<String>,
    /// What comes before all else.
    pub answer: Option<Finding>,
    /// What stands where something stood, if there is no such answer.
    pub calm: Finding,
    /// What comes behind the answer.
    pub more: Vec<Finding>,
}

/// What changed in a section.
pub trait Changed {
    /// Where a part of it stands among that of other sections: the lowest is first.
    fn order(&self, part: Part) -> u8;

    /// Writes a part of it for people.
    fn print(&self, part: Part, page: &mut Page<'_>) -> io::Result<()>;

    /// What grew most; none if nothing did.
    fn finding(&self) -> Option<Finding>;

    /// What has not grown, if nothing has: `no more goroutines`.
    fn nothing(&self) -> Option<&'static str>;
}

/// Calls a macro with all sections: their fields, types, types of differences, and what the JSON Schemas say of both.
/// The order is that of the JSON.
macro_rules! sections {
    ($then:ident) => {
        $then! {
            /// The account of the heap.
            heap: crate::section::heap::model::Heap,
            /// The heap; null unless both reports have it.
            crate::section::heap::diff::HeapDiff;

            /// The memory of the Go runtime; null where the target is no Go program, or it could not be read (a finding says
            /// why).
            go_memory: crate::section::go_memory::model::GoMemory,
            /// The memory of the Go runtime; null unless both reports have it.
            crate::section::go_memory::diff::GoMemoryDiff;

            /// Blocked threads.
            waits: crate::section::waits::model::Waits,
            /// Blocked threads; null unless both reports have them.
            crate::section::waits::diff::WaitsDiff;

            /// Goroutines; null where the target is no Go program, or they could not be read (a finding says why).
            goroutines: crate::section::goroutines::model::Goroutines,
            /// Goroutines; null unless both reports have them.
            crate::section::goroutines::diff::GoroutinesDiff;

            /// Waits of goroutines that have ended; null where they were not followed.
            goroutine_waits: crate::section::goroutine_waits::model::GoroutineWaits,
            /// Waits of goroutines; null unless both reports have them.
            crate::section::goroutine_waits::diff::GoroutineWaitsDiff;

            /// Threads that came and went.
            threads: crate::section::threads::model::Threads,
            /// How many threads there are; null unless both reports know.
            crate::section::threads::diff::ThreadsDiff;

            /// What holds the memory now; null where nobody looked.
            holders: crate::section::holders::model::Holders,
            /// What holds the memory; null unless both reports tell.
            crate::section::holders::diff::HoldersDiff;
        }
    };
}
pub(crate) use sections;
