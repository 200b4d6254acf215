//! The code of a file as the decoder sees it: bytes, extents of functions, imports.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use gimli::UnwindSection as _;
use object::read::elf::Sym as _;
use object::{LittleEndian, Object as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, elf};

use crate::target::ElfFile;

/// What decoding needs to know about the code around a function. Addresses are the file's own.
pub trait Image {
    /// The code from `address` on, at most `limit` bytes; empty where there is none.
    fn code(&self, address: u64, limit: usize) -> &[u8];
    /// The extent of the function that covers `address`, if it is known.
    fn extent(&self, address: u64) -> Option<Range<u64>>;
    /// The first function that starts past `address`.
    fn next_function(&self, address: u64) -> Option<u64>;
    /// The name of the function that the loader stores into the pointer at `slot`.
    fn import(&self, slot: u64) -> Option<&str>;
    /// The name of the function at `address`, where it is one that the analysis knows by name.
    fn name_at(&self, address: u64) -> Option<&str>;
    /// Where this file itself defines the function `name`, if it is one known by name.
    fn definition(&self, name: &str) -> Option<u64>;
    /// The file offset of `address`.
    fn offset(&self, address: u64) -> Option<u64>;
}

/// Symbols, relocations and unwind entries looked at in one file.
const MAX_ENTRIES: usize = 8_000_000;

/// An [`ElfFile`] as an [`Image`].
pub(crate) struct ElfImage<'a> {
    elf: &'a ElfFile,
    /// Start and end of every sized function symbol, sorted; the end is the start where unsized.
    symbols: Vec<(u64, u64)>,
    /// Start and end of every unwind entry, sorted; read on first use.
    entries: OnceLock<Vec<(u64, u64)>>,
    imports: OnceLock<HashMap<u64, String>>,
    by_address: HashMap<u64, String>,
    by_name: HashMap<String, u64>,
}

impl<'a> ElfImage<'a> {
    /// `known` says which names the analysis will ask for.
    pub(crate) fn new(elf: &'a ElfFile, known: impl Fn(&str) -> bool) -> Self {
        let mut symbols = Vec::new();
        let mut by_address = HashMap::new();
        let mut by_name = HashMap::new();
        for_each_function(elf, |name, address, size, _| {
            symbols.push((address, address.saturating_add(size)));
            if known(name) {
                by_address.entry(address).or_insert_with(|| name.to_owned());
                by_name.entry(name.to_owned()).or_insert(address);
            }
        });
        symbols.sort_unstable();
        symbols.dedup();
        Self { elf, symbols, entries: OnceLock::new(), imports: OnceLock::new(), by_address, by_name }
    }
}

impl Image for ElfImage<'_> {
    fn code(&self, address: u64, limit: usize) -> &[u8] {
        let segment = self.elf.segments().iter().find_map(|s| {
            let into = address.checked_sub(s.address)?;
            (s.executable && into < s.file_size).then(|| (s.offset.wrapping_add(into), s.file_size - into))
        });
        let Some((offset, available)) = segment else { return &[] };
        self.elf.bytes_at(offset, available.min(limit as u64)).unwrap_or_default()
    }

    fn extent(&self, address: u64) -> Option<Range<u64>> {
        let entries = self.entries.get_or_init(|| unwind_entries(self.elf).unwrap_or_default());
        covering(entries, address).or_else(|| covering(&self.symbols, address))
    }

    fn next_function(&self, address: u64) -> Option<u64> {
        let next = self.symbols.partition_point(|&(start, _)| start <= address);
        self.symbols.get(next).map(|&(start, _)| start)
    }

    fn import(&self, slot: u64) -> Option<&str> {
        let imports = self.imports.get_or_init(|| imports(self.elf).unwrap_or_default());
        imports.get(&slot).map(String::as_str)
    }

    fn name_at(&self, address: u64) -> Option<&str> {
        self.by_address.get(&address).map(String::as_str)
    }

    fn definition(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    fn offset(&self, address: u64) -> Option<u64> {
        self.elf.offset_of_address(address)
    }
}

/// The last of the sorted ranges that starts at or before `address`, if it covers it.
fn covering(ranges: &[(u64, u64)], address: u64) -> Option<Range<u64>> {
    let after = ranges.partition_point(|&(start, _)| start <= address);
    let &(start, end) = ranges.get(after.checked_sub(1)?)?;
    (address < end).then_some(start..end)
}

/// Calls `f` with name (without version), address, size and `st_type` of every defined function in
/// both symbol tables.
pub(crate) fn for_each_function(elf: &ElfFile, mut f: impl FnMut(&str, u64, u64, u8)) {
    let Ok(parsed) = elf.parsed() else { return };
    for symbol in parsed.dynamic_symbols().chain(parsed.symbols()).take(MAX_ENTRIES) {
        let raw = symbol.elf_symbol();
        let kind = raw.st_type();
        if symbol.is_undefined() || !matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC) {
            continue;
        }
        // A linker leaves `name@@VERSION` in .symtab; .dynsym has plain names.
        let Ok(name) = symbol.name() else { continue };
        let name = name.split('@').next().unwrap_or(name);
        f(name, raw.st_value(LittleEndian).into(), raw.st_size(LittleEndian).into(), kind);
    }
}

/// The extents that `.eh_frame` declares. They cover functions without symbols too.
fn unwind_entries(elf: &ElfFile) -> Option<Vec<(u64, u64)>> {
    let (address, bytes) = elf.section(".eh_frame").ok()??;
    let frame = gimli::EhFrame::new(&bytes, gimli::LittleEndian);
    let bases = gimli::BaseAddresses::default().set_eh_frame(address);
    let mut entries = frame.entries(&bases);
    let mut ranges = Vec::new();
    let mut cies = HashMap::new();
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(|section, bases, offset| {
            if let Some(cie) = cies.get(&offset.0) {
                return Ok(gimli::CommonInformationEntry::clone(cie));
            }
            let cie = section.cie_from_offset(bases, offset)?;
            cies.insert(offset.0, cie.clone());
            Ok(cie)
        });
        if let Ok(fde) = fde {
            ranges.push((fde.initial_address(), fde.initial_address().saturating_add(fde.len())));
        }
        if ranges.len() >= MAX_ENTRIES {
            break;
        }
    }
    ranges.sort_unstable();
    Some(ranges)
}

/// Which GOT slot is bound to which function.
fn imports(elf: &ElfFile) -> Option<HashMap<u64, String>> {
    let parsed = elf.parsed().ok()?;
    let symbols = parsed.dynamic_symbol_table()?;
    let mut names = HashMap::new();
    for (slot, relocation) in parsed.dynamic_relocations()?.take(MAX_ENTRIES) {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        if !matches!(r_type, elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT) {
            continue;
        }
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        if let Ok(name) = object::ObjectSymbolTable::symbol_by_index(&symbols, index).and_then(|s| s.name()) {
            names.insert(slot, name.to_owned());
        }
    }
    Some(names)
}
