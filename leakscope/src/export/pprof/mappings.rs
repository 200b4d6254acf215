//! Files in the target's memory, as far as stacks tell.

use std::collections::HashMap;

use super::proto;
use crate::export::profile::location::Location;

const PAGE: u64 = 4096;

/// A file at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<'a> {
    file: &'a str,
    build_id: Option<&'a str>,
    /// What is added to an address of the file to have one in memory.
    bias: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mapping<'a> {
    key: Key<'a>,
    start: u64,
    limit: u64,
    has_lines: bool,
}

/// The files, the program first.
#[derive(Debug)]
pub(super) struct Mappings<'a> {
    known: HashMap<Key<'a>, usize>,
    all: Vec<Mapping<'a>>,
}

fn key<'a>(place: &Location<'a>) -> Option<Key<'a>> {
    let frame = place.frames.first()?;
    let offset = frame.offset.map(|offset| offset.0);
    // A program that is not moved has no bias; what is not whole pages is none.
    let bias = offset.and_then(|offset| place.address.checked_sub(offset)).filter(|bias| bias % PAGE == 0);
    Some(Key { file: frame.module.as_deref()?, build_id: frame.build_id.as_deref(), bias: bias.unwrap_or(0) })
}

impl<'a> Mappings<'a> {
    /// `exe` is the program's path and build ID. It is there even if no frame is in it: readers take the first
    /// file for the program.
    pub(super) fn new(places: &[Location<'a>], exe: Option<(&'a str, Option<&'a str>)>) -> Self {
        let mut mappings = Self { known: HashMap::new(), all: Vec::new() };
        if let Some((file, build_id)) = exe {
            let in_exe = |place: &&Location<'a>| key(place).is_some_and(|key| key.file == file);
            match places.iter().find(in_exe) {
                Some(place) => mappings.enter(place),
                None => {
                    let key = Key { file, build_id, bias: 0 };
                    mappings.all.push(Mapping { key, start: 0, limit: 0, has_lines: false });
                }
            }
        }
        places.iter().for_each(|place| mappings.enter(place));
        mappings
    }

    fn enter(&mut self, place: &Location<'a>) {
        let Some(key) = key(place) else { return };
        let at = *self.known.entry(key).or_insert_with(|| {
            self.all.push(Mapping { key, start: u64::MAX, limit: 0, has_lines: false });
            self.all.len() - 1
        });
        let mapping = &mut self.all[at];
        let start = if key.bias > 0 { key.bias } else { place.instruction - place.instruction % PAGE };
        mapping.start = mapping.start.min(start);
        let end = place.address.saturating_add(1).checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        mapping.limit = mapping.limit.max(end);
    }

    /// The id of the file of a place; 0 for code in none.
    pub(super) fn id(&mut self, place: &Location<'a>, has_lines: bool) -> u64 {
        let Some(at) = key(place).and_then(|key| self.known.get(&key)) else { return 0 };
        self.all[*at].has_lines |= has_lines;
        *at as u64 + 1
    }

    pub(super) fn messages(&self, mut string: impl FnMut(&str) -> i64) -> Vec<proto::Mapping> {
        let message = |(mapping, id): (&Mapping<'_>, u64)| proto::Mapping {
            id,
            memory_start: mapping.start,
            memory_limit: mapping.limit,
            filename: string(mapping.key.file),
            build_id: mapping.key.build_id.map_or(0, &mut string),
            // Said of all: there is nothing more to be found out.
            has_functions: true,
            has_filenames: mapping.has_lines,
            has_line_numbers: mapping.has_lines,
            has_inline_frames: true,
        };
        self.all.iter().zip(1..).map(message).collect()
    }
}
