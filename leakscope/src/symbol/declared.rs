//! Lines that functions are declared at, from the debug info of a symbol image.
//!
//! blazesym gives names and the lines of calls; the line that a function begins at, which pprof
//! files carry, is read here with gimli from the same image. What is in it is hostile: the caller
//! catches panics, and chains of references end after [`LONGEST_CHAIN`].
//!
//! addr2line could do it, but keeps the abbreviations and file names of all units: 130 MB for a
//! program with 70 MB of debug info. Here only units that were asked about are kept (module
//! `units`).

mod units;

use std::fs::File;
use std::io;
use std::rc::Rc;

use gimli::{AttributeValue, UnitOffset};

use self::units::{Known, Units};

/// Most references followed from a function to what it is an instance of. Compilers make three.
const LONGEST_CHAIN: usize = 8;

/// Knows where the functions of a file begin.
#[derive(Debug)]
pub(super) struct Declarations {
    main: Units,
    /// Those of the dwz file.
    supplement: Option<Units>,
}

impl Declarations {
    /// Reads which units there are in the image in `file`, and in that of the dwz file.
    pub(super) fn open(file: &File, supplement: Option<&File>) -> io::Result<Self> {
        let supplement = supplement.map(Units::open).transpose()?;
        Ok(Self { main: Units::open(file)?, supplement })
    }

    /// The lines that the functions at `at` are declared at, the innermost inlined one first; `None`
    /// for one whose entry does not tell. Empty if there is no entry, or if a linker has made one of equal
    /// functions, so that each has entries of its own.
    pub(super) fn lines(&mut self, at: u64) -> Vec<Option<u32>> {
        let mut found = Vec::new();
        for (unit, functions) in self.main.functions_at(at) {
            let functions = functions.into_iter().rev();
            let lines = functions.map(|offset| self.declaration(&unit, offset).ok().flatten());
            found.push(lines.collect::<Vec<_>>());
        }
        let first = found.pop().unwrap_or_default();
        if found.iter().all(|lines| *lines == first) { first } else { Vec::new() }
    }

    /// The line of a function's entry, or of what it is an instance or the definition of.
    fn declaration(&mut self, unit: &Rc<Known>, offset: UnitOffset) -> gimli::Result<Option<u32>> {
        let (mut here, mut offset) = (Rc::clone(unit), offset);
        let mut in_supplement = false;
        for _ in 0..LONGEST_CHAIN {
            let entry = here.unit.entry(offset)?;
            if let Some(line) = entry.attr_value(gimli::DW_AT_decl_line).and_then(|value| value.udata_value())
            {
                return Ok(u32::try_from(line).ok().filter(|&line| line != 0));
            }
            let origin = entry
                .attr_value(gimli::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(gimli::DW_AT_specification));
            let target = match origin {
                Some(AttributeValue::UnitRef(target)) => {
                    offset = target;
                    continue;
                }
                Some(AttributeValue::DebugInfoRef(target)) => target,
                Some(AttributeValue::DebugInfoRefSup(target)) => {
                    in_supplement = true;
                    target
                }
                _ => return Ok(None),
            };
            let units = if in_supplement { self.supplement.as_mut() } else { Some(&mut self.main) };
            let Some((unit, inside)) = units.and_then(|units| units.around(target.0)) else {
                return Ok(None);
            };
            (here, offset) = (unit, inside);
        }
        Ok(None)
    }
}
