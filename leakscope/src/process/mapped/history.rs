//! What was mapped where, and from when on.

use std::cell::Cell;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::space::MappedModule;
use super::record::{MappedCode, MappedFile};

/// Most changes that are remembered.
const MOST: usize = 1024;

/// Files that were mapped since somebody follows that. One that is mapped again and again at the same addresses is
/// one change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct History {
    /// By their first address.
    changes: Vec<Change>,
    /// Bytes of the longest.
    longest: u64,
    /// Changes that found no room.
    left_out: u64,
    /// Times that a file came where stacks had been seen in another one.
    replaced: u64,
}

/// From a moment on, something was mapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Change {
    since_ns: u64,
    start: u64,
    end: u64,
    /// `None`: no file.
    mapped: Option<MappedModule>,
    /// What the kernel told.
    #[serde(skip)]
    file: Option<MappedFile>,
    /// Whether an address in it was asked for.
    #[serde(skip)]
    asked: Cell<bool>,
}

impl History {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All that was mapped.
    pub(in super::super) fn mapped(&self) -> impl Iterator<Item = &MappedModule> {
        self.changes.iter().filter_map(|change| change.mapped.as_ref())
    }

    /// How many changes were forgotten.
    pub(in super::super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// How often a file came where stacks had been seen in another one.
    pub(in super::super) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Adds what was mapped; `module` tells of which module a file is.
    pub(in super::super) fn add(
        &mut self,
        code: &MappedCode,
        module: impl FnOnce(&MappedFile) -> MappedModule,
    ) {
        let before = self.latest(code.at_ns, code.start..code.end);
        let same = |change: &Change| {
            (change.start, change.end) == (code.start, code.end) && change.file == code.file
        };
        if before.map_or(code.file.is_none(), same) {
            return;
        }
        let other = |change: &Change| change.asked.get() && change.file != code.file;
        if code.file.is_some() && self.touching(code.start..code.end).any(other) {
            self.replaced += 1;
        }
        if self.changes.len() >= MOST {
            self.left_out += 1;
            return;
        }
        let change = Change {
            since_ns: code.at_ns,
            start: code.start,
            end: code.end,
            mapped: code.file.as_ref().map(module),
            file: code.file.clone(),
            asked: Cell::new(false),
        };
        self.longest = self.longest.max(code.end - code.start);
        let at = self.changes.partition_point(|known| known.start <= code.start);
        self.changes.insert(at, change);
    }

    /// The file that was mapped at an address at a moment, as far as that is known.
    pub(in super::super) fn at(&self, address: u64, at_ns: u64) -> Option<&MappedModule> {
        let change = self.latest(at_ns, address..address.checked_add(1)?)?;
        change.asked.set(true);
        change.mapped.as_ref()
    }

    /// The latest change until a moment that touches these addresses.
    fn latest(&self, at_ns: u64, addresses: Range<u64>) -> Option<&Change> {
        self.touching(addresses)
            .filter(|change| change.since_ns <= at_ns)
            .max_by_key(|change| change.since_ns)
    }

    fn touching(&self, addresses: Range<u64>) -> impl Iterator<Item = &Change> {
        let until = self.changes.partition_point(|change| change.start < addresses.end);
        let near = move |change: &&Change| change.start.saturating_add(self.longest) > addresses.start;
        let touching = self.changes[..until].iter().rev().take_while(near);
        touching.filter(move |change| change.end > addresses.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::maps::{FileId, Mapping, MappingKind};
    use super::super::super::space::ModuleId;
    use super::super::record::Identity;
    use super::*;

    fn code(at_ns: u64, start: u64, end: u64, name: &str) -> MappedCode {
        let identity = Identity::Printed(FileId { device: 1, inode: 1 });
        let file = MappedFile { path: name.into(), deleted: false, offset: 0, identity };
        MappedCode { at_ns, start, end, file: (!name.is_empty()).then_some(file) }
    }

    /// The module's number is the name's length.
    fn history(all: &[MappedCode]) -> History {
        let mut history = History::default();
        for code in all {
            history.add(code, |file| MappedModule {
                mapping: Mapping {
                    start: code.start,
                    end: code.end,
                    offset: 0,
                    kind: MappingKind::Anonymous,
                },
                module: Some(ModuleId(file.path.as_os_str().len())),
                bias: code.start,
            });
        }
        history
    }

    fn at(history: &History, address: u64, at_ns: u64) -> Option<usize> {
        history.at(address, at_ns).and_then(|mapped| mapped.module).map(|id| id.0)
    }

    #[test]
    fn the_latest_until_then_counts() {
        let history = history(&[
            code(10, 100, 200, "a"),
            code(20, 150, 300, "bb"),
            code(30, 100, 200, "ccc"),
            code(40, 120, 130, ""),
        ]);
        assert_eq!(at(&history, 100, 9), None);
        assert_eq!([10, 25, 30].map(|at_ns| at(&history, 160, at_ns)), [Some(1), Some(2), Some(3)]);
        assert_eq!([25, 35].map(|at_ns| at(&history, 110, at_ns)), [Some(1), Some(3)]);
        assert_eq!([35, 40].map(|at_ns| at(&history, 125, at_ns)), [Some(3), None]);
        assert_eq!(
            [299, 300, 99, u64::MAX].map(|address| at(&history, address, 50)),
            [Some(2), None, None, None]
        );
    }

    #[test]
    fn files_that_come_where_others_were_seen() {
        let mut history = history(&[code(10, 100, 200, "a"), code(20, 100, 200, "bb")]);
        let add = |history: &mut History, code: MappedCode| {
            history.add(&code, |_| MappedModule {
                mapping: Mapping { start: 100, end: 200, offset: 0, kind: MappingKind::Anonymous },
                module: None,
                bias: 0,
            });
            history.replaced()
        };
        assert_eq!(add(&mut history, code(30, 100, 200, "a")), 0, "nobody asked");
        history.at(150, 15);
        assert_eq!(add(&mut history, code(40, 100, 200, "a")), 0, "the same");
        assert_eq!(add(&mut history, code(50, 150, 160, "bb")), 1);
        assert_eq!(add(&mut history, code(60, 200, 300, "bb")), 1, "elsewhere");
    }

    #[test]
    fn what_comes_again_is_one_change() {
        let again: Vec<_> = (0..10_000).map(|n| code(n, 100, 200, "a")).collect();
        assert_eq!(history(&again).changes.len(), 1);
        let anonymous: Vec<_> = (0..10_000).map(|n| code(n, n * 10, n * 10 + 10, "")).collect();
        assert!(history(&anonymous).is_empty(), "it takes no file's place");
        let many: Vec<_> = (0..10_000).map(|n| code(n, n * 10, n * 10 + 10, "a")).collect();
        let history = history(&many);
        assert_eq!((history.changes.len(), history.left_out()), (MOST, 10_000 - MOST as u64));
    }
}
