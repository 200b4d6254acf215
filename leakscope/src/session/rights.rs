//! Whether this process may read what it needs of a target, found by trying.
//!
//! Whose the target is, whether it is dumpable, the modes of its binaries and the kernel's version all change
//! which capability is needed for what, so none is asked for before something was refused.

use std::fs::File;
use std::io::{self, Read as _};

use crate::bpf::capability::{self, AnyOf, CHECKPOINT_RESTORE, DAC_READ_SEARCH, SYS_ADMIN, SYS_PTRACE};
use crate::bpf::facts::Facts;
use crate::bpf::verdict::{ELSEWHERE, GIVE};
use crate::process::maps::{self, Mapping, MappingKind};

/// What looking into a process of another user takes: its part of `/proc` is private.
const PRIVATE: &[AnyOf] = &[&[DAC_READ_SEARCH], &[SYS_PTRACE]];
/// What following the links to mapped files takes.
const FOLLOW: &[AnyOf] = &[&[CHECKPOINT_RESTORE, SYS_ADMIN]];
/// What reading a list of mappings takes.
const LOOK: &[AnyOf] = &[&[SYS_PTRACE]];

/// What is lost without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Everything.
    Nothing,
    /// Whatever needs the stacks of threads found blocked.
    NoThreads,
    /// A part, which the report names.
    Part,
}

/// Something that was tried.
#[derive(Debug)]
pub struct Trial {
    /// What was read.
    pub what: String,
    /// What it is read for.
    pub purpose: &'static str,
    /// Why it could not be read.
    pub refused: Option<Refused>,
    /// What is lost then.
    pub without: Without,
}

/// Why something could not be read.
#[derive(Debug)]
pub struct Refused {
    /// What the kernel said.
    pub error: String,
    /// Capabilities that are missing, if any are.
    pub missing: Option<String>,
}

impl Trial {
    fn new(
        facts: &Facts,
        what: String,
        purpose: &'static str,
        without: Without,
        result: io::Result<()>,
        needed: &[AnyOf],
    ) -> Self {
        // Only a lack of rights counts: a process that has just ended has nothing to read, either.
        let refused = result.err().filter(|e| e.kind() == io::ErrorKind::PermissionDenied).map(|error| {
            Refused { error: error.to_string(), missing: capability::missing(facts.capabilities, needed) }
        });
        Self { what, purpose, refused, without }
    }
}

/// Tries all that is read of the process reached through the thread `pid`. Changes nothing.
pub fn try_all(facts: &Facts, pid: u32) -> Vec<Trial> {
    let open = |what: &str| File::open(format!("/proc/{pid}/{what}"));
    let of = |what: &str| format!("/proc/{pid}/{what}");
    let mappings = open("maps").and_then(|mut file| file.read(&mut [0; 1])).map(drop);
    let mut trials =
        vec![Trial::new(facts, of("maps"), "to find its code", Without::Nothing, mappings, LOOK)];
    trials.extend(mapped_files(facts, pid));
    let stacks = "to read the stacks and locks of blocked threads";
    let pages = "to read only memory that is there";
    trials.push(Trial::new(facts, of("mem"), stacks, Without::NoThreads, open("mem").map(drop), PRIVATE));
    trials.push(Trial::new(
        facts,
        of("pagemap"),
        pages,
        Without::NoThreads,
        open("pagemap").map(drop),
        PRIVATE,
    ));
    trials
}

/// The files that are mapped executable: one trial for all, as they need the same, and one for each that is
/// refused alone.
fn mapped_files(facts: &Facts, pid: u32) -> Vec<Trial> {
    let mappings: Vec<Mapping> = maps::executable(pid).unwrap_or_default();
    let files = mappings.iter().filter(|m| matches!(m.kind, MappingKind::File { .. }));
    let mut refused = Vec::new();
    let mut opened = 0;
    for mapping in files {
        match crate::files::linked(&mapping.map_files_path(pid)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused.push((mapping.name(), error));
            }
            _ => opened += 1,
        }
    }
    // EPERM is the links' own, EACCES a directory's or the file's (fs/proc/base.c).
    let needed = |error: &io::Error| {
        if error.raw_os_error() == Some(libc::EPERM) { FOLLOW } else { PRIVATE }
    };
    let purpose = "to find allocators, unwind information and names";
    let all = format!("/proc/{pid}/map_files");
    if opened == 0
        && let Some((_, error)) = refused.pop()
    {
        let needed = needed(&error);
        return vec![Trial::new(facts, all, purpose, Without::Nothing, Err(error), needed)];
    }
    let mut trials = vec![Trial::new(facts, all, purpose, Without::Nothing, Ok(()), FOLLOW)];
    trials.extend(refused.into_iter().map(|(name, error)| {
        let needed = needed(&error);
        Trial::new(facts, name, purpose, Without::Part, Err(error), needed)
    }));
    trials
}

/// Why the target cannot be observed, if so. `threads` tells whether its threads are to be looked at.
pub fn refusal(facts: &Facts, trials: &[Trial], threads: bool) -> Option<String> {
    let forbids = |without| without == Without::Nothing || (threads && without == Without::NoThreads);
    let refused = trials.iter().filter(|t| forbids(t.without));
    refused.filter_map(|trial| Some(sentence(trial, trial.refused.as_ref()?, facts))).next()
}

/// What was refused, what is missing, and what to do.
pub fn sentence(trial: &Trial, refused: &Refused, facts: &Facts) -> String {
    let Trial { what, purpose, .. } = trial;
    let Refused { error, missing } = refused;
    let Some(missing) = missing else {
        return format!("cannot read {what} {purpose}: {error}; {ELSEWHERE}");
    };
    let advice = if facts.euid == 0 { GIVE } else { "run with sudo" };
    format!("cannot read {what} {purpose}: {error}; missing {missing}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_process_refuses_nothing_but_what_root_has() {
        let facts = Facts::gather();
        let trials = try_all(&facts, std::process::id());
        let refused =
            |what: &str| trials.iter().find(|t| t.what.ends_with(what)).expect(what).refused.is_some();
        assert!(!refused("/maps") && !refused("/mem") && !refused("/pagemap"));
    }

    #[test]
    fn what_forbids_what() {
        let facts = Facts { capabilities: 1 << SYS_PTRACE.number, euid: 1000, ..Facts::gather() };
        let denied = || Err(io::Error::from_raw_os_error(libc::EACCES));
        let trial =
            |what: &str, without| Trial::new(&facts, what.into(), "for tests", without, denied(), PRIVATE);
        let trials = [trial("part", Without::Part), trial("stacks", Without::NoThreads)];
        assert_eq!(refusal(&facts, &trials, false), None);
        let text = refusal(&facts, &trials, true).expect("refused");
        assert!(text.contains("stacks") && text.contains("missing CAP_DAC_READ_SEARCH;"), "{text}");
        let gone = Err(io::Error::from_raw_os_error(libc::ESRCH));
        let gone = Trial::new(&facts, "maps".into(), "for tests", Without::Nothing, gone, LOOK);
        assert_eq!(refusal(&facts, &[gone], true), None, "a process that ended lacks no rights");
    }
}
