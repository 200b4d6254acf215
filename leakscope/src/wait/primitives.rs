//! Which functions wait for what.

use std::collections::HashMap;

use super::names::canonical;
use super::primitive_tables::{LIBRARIES, ONCE};
use super::{Rules, WaitKind};
use crate::symbol::{BlameInput, FrameOwner};

/// Where a lock's memory lies, seen from the futex word, and what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Whatever an inner function says; if there is none, no lock.
    Inherit,
    /// `pthread_mutex_t`, of glibc or musl.
    PthreadMutex,
    /// `pthread_rwlock_t`, of glibc or musl.
    PthreadRwlock,
    /// glibc's thread descriptor: the word holds the TID of the thread that is joined.
    Join,
    /// Rust's std RwLock; the word is its state.
    RustRwLockState,
    /// Rust's std RwLock; the word is the one that writers wait on, 4 bytes after the state.
    RustRwLockNotify,
    /// The word is the lock, or in it, and no owner is stored, for this reason.
    NoOwner(&'static str),
    /// The word belongs to the waiting thread: it does not tell which lock it is.
    Elsewhere,
}

/// A function that waits, or that leads to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Primitive {
    /// Its name in [`canonical`] form. `std::..::Mutex::lock` stands for every path that begins with
    /// `std::` and ends with `::Mutex::lock`.
    pub pattern: &'static str,
    /// What it is called in a report; if empty, by its pattern.
    pub shown: &'static str,
    /// What it waits for; `None` for what only leads to a wait, whichever that is.
    pub kind: Option<WaitKind>,
    /// Where the lock is.
    pub layout: Layout,
    /// Whether it is made from a condition variable, semaphore or parker, and so outranks that.
    pub wraps: bool,
    /// Whether it outranks poll and sleep as well.
    pub polls: bool,
    /// Whether it is a condition that is made from a lock, and so outranks that.
    pub over_lock: bool,
    /// Whether it is a condition rather than a lock if it waits with a time limit.
    pub condition_if_timed: bool,
    /// Whether conditions are made from it, so that who waits in it need not want a lock.
    pub may_be_condition: bool,
}

/// The memory of a semaphore.
pub const SEMAPHORE: Layout = Layout::NoOwner("a semaphore has no owner");

/// A row of a function that waits.
pub const fn on(pattern: &'static str, kind: WaitKind, layout: Layout) -> Primitive {
    Primitive { kind: Some(kind), layout, ..leads(pattern) }
}

/// A row of a function that leads to a wait, whichever it is.
pub const fn leads(pattern: &'static str) -> Primitive {
    Primitive {
        pattern,
        shown: "",
        kind: None,
        layout: Layout::Inherit,
        wraps: false,
        polls: false,
        over_lock: false,
        condition_if_timed: false,
        may_be_condition: false,
    }
}

impl Primitive {
    /// What it is called in a report.
    pub fn name(&self) -> String {
        if self.shown.is_empty() { self.pattern.replace("..::", "") } else { self.shown.to_owned() }
    }

    /// What it is called in a report, where that is not its pattern.
    #[must_use]
    pub const fn shown(self, shown: &'static str) -> Self {
        Self { shown, ..self }
    }

    /// It is made from a condition variable, semaphore or parker.
    #[must_use]
    pub const fn wraps(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// It outranks poll and sleep as well.
    #[must_use]
    pub const fn polls(self) -> Self {
        Self { wraps: true, polls: true, ..self }
    }

    /// It is a condition that is made from a lock.
    #[must_use]
    pub const fn over_lock(self) -> Self {
        Self { wraps: true, over_lock: true, ..self }
    }

    /// It is a condition rather than a lock if it waits with a time limit.
    #[must_use]
    pub const fn condition_if_timed(self) -> Self {
        Self { condition_if_timed: true, ..self }
    }

    /// Conditions are made from it.
    #[must_use]
    pub const fn may_be_condition(self) -> Self {
        Self { may_be_condition: true, ..self }
    }

    fn matches(&self, path: &str) -> bool {
        match self.pattern.split_once("..::") {
            None => path == self.pattern,
            Some((root, tail)) => path
                .strip_prefix(root)
                .and_then(|rest| rest.strip_suffix(tail))
                .is_some_and(|between| between.is_empty() || between.ends_with("::")),
        }
    }
}

/// A library and what in it waits.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    pub name: &'static str,
    /// Where its functions are found.
    pub source: &'static str,
    /// Beginnings of the names of the files that it can be in; empty if in any.
    pub modules: &'static [&'static str],
    /// Its functions.
    pub primitives: &'static [Primitive],
    /// Files all of whose code waits in this way, known by the beginning of their names.
    pub files: &'static [(&'static str, Primitive)],
}

/// A library and a row of it.
pub type Row = (&'static Library, &'static Primitive);

/// All rows, to be searched.
#[derive(Debug)]
pub struct Primitives {
    libraries: Vec<&'static Library>,
    /// The rows by the last part of their patterns.
    by_last: HashMap<&'static str, Vec<Row>>,
}

impl Primitives {
    /// The rows of the C libraries and of widely used others, and then `more`.
    pub fn with(more: impl IntoIterator<Item = &'static Library>) -> Self {
        let libraries: Vec<&'static Library> = LIBRARIES.iter().chain(more).collect();
        let mut by_last: HashMap<_, Vec<Row>> = HashMap::new();
        for library in &libraries {
            for primitive in library.primitives {
                by_last.entry(last(primitive.pattern)).or_default().push((*library, primitive));
            }
        }
        Self { libraries, by_last }
    }

    /// The row of a function in a file.
    pub fn find(&self, function: &str, module: Option<&str>) -> Option<Row> {
        let path = canonical(function);
        let file = module.map(file_name);
        self.by_last.get(last(&path))?.iter().copied().find(|(library, primitive)| {
            let here = library.modules.is_empty()
                || file.is_none_or(|file| library.modules.iter().any(|module| file.starts_with(module)));
            here && primitive.matches(&path)
        })
    }

    /// The row of a file that has one as a whole.
    fn find_file(&self, file: &str) -> Option<Row> {
        let of =
            |library: &'static Library| library.files.iter().map(move |(name, row)| (name, (library, row)));
        let mut rows = self.libraries.iter().copied().flat_map(of);
        rows.find(|(name, _)| file.starts_with(**name)).map(|(_, row)| row)
    }
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A C library, by the file that a frame is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CLibrary {
    Glibc,
    Musl,
}

/// What is known of a frame, for the search of what a stack waits for.
#[derive(Clone, Debug)]
pub struct Mark {
    pub row: Option<Row>,
    /// Who wrote it.
    pub owner: FrameOwner,
    /// The C library that it is in, where that is a shared one.
    pub c_library: Option<CLibrary>,
    /// Its name, in [`canonical`] form.
    pub function: Option<String>,
    /// The name of its file; empty if it is in none.
    pub file: String,
    /// Whether it runs the code of an interpreter: functions of the program that have no frames of their own.
    pub interpreter: bool,
}

impl Mark {
    /// Looks a frame up.
    pub fn new(frame: &BlameInput<'_>, rules: &Rules) -> Self {
        let file = frame.module.map(file_name).unwrap_or_default();
        // Debian has musl at lib/x86_64-linux-musl/libc.so.
        let c_library = if frame.module.is_some_and(|module| module.contains("musl")) {
            Some(CLibrary::Musl)
        } else if file.starts_with("libc.so") || file.starts_with("libc-2") || file.starts_with("libpthread")
        {
            Some(CLibrary::Glibc)
        } else {
            None
        };
        let function = frame.function.map(|function| canonical(function).into_owned());
        let interpreter = function.as_deref().is_some_and(|name| rules.interpreters.contains(&name));
        Self {
            row: frame
                .function
                .and_then(|function| rules.primitives.find(function, frame.module))
                .or_else(|| rules.primitives.find_file(file)),
            owner: rules.owners.owner(frame),
            c_library,
            function,
            file: file.to_owned(),
            interpreter,
        }
    }

    /// Whether it is a function that initialises something once.
    pub fn is_once(&self) -> bool {
        self.row.is_some_and(|(_, row)| row.layout == ONCE)
    }

    /// Whether it is code of the program, or runs some.
    pub fn runs_code(&self) -> bool {
        self.is_user() || self.interpreter
    }

    /// Whether it is the user's own code, and no known function that waits.
    pub fn is_user(&self) -> bool {
        self.row.is_none() && self.owner == FrameOwner::User
    }
}

#[cfg(test)]
mod tests;
