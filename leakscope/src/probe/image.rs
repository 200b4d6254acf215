//! The code of a file as the decoder sees it: bytes, extents of functions, imports.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use gimli::UnwindSection as _;
use object::read::elf::Sym as _;
use object::{
    LittleEndian, Object as _, ObjectSymbol as _, ObjectSymbolTable as _, RelocationFlags, RelocationTarget,
    elf,
};

use super::table;
use crate::process::ElfFile;

/// What decoding needs to know about the code around a function. Addresses are the file's own.
pub trait Image {
    /// The code from `address` on, at most `limit` bytes; empty where there is none.
    fn code(&self, address: u64, limit: usize) -> &[u8];
    /// The extent of the function that covers `address`, if it is known.
    fn extent(&self, address: u64) -> Option<Range<u64>>;
    /// The first function that starts past `address`.
    fn next_function(&self, address: u64) -> Option<u64>;
    /// The name of the function that the loader stores into the pointer at `slot`, and where this
    /// file itself defines it, if it does.
    fn import(&self, slot: u64) -> Option<(&str, Option<u64>)>;
    /// The name of the function at `address`, where it is one that the analysis knows by name.
    fn name_at(&self, address: u64) -> Option<&str>;
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
    imports: OnceLock<HashMap<u64, (String, Option<u64>)>>,
    by_address: HashMap<u64, String>,
}

impl<'a> ElfImage<'a> {
    /// `known` says which names the analysis will ask for.
    pub(crate) fn new(elf: &'a ElfFile, known: impl Fn(&str) -> bool) -> Self {
        let mut symbols = Vec::new();
        let mut by_address: HashMap<u64, String> = HashMap::new();
        for_each_function(elf, |&FunctionSymbol { name, address, size, .. }| {
            symbols.push((address, address.saturating_add(size)));
            if known(name) {
                let shown = by_address.entry(address).or_insert_with(|| name.to_owned());
                if table::rank(name) < table::rank(shown) {
                    *shown = name.to_owned();
                }
            }
        });
        symbols.sort_unstable();
        symbols.dedup();
        Self { elf, symbols, entries: OnceLock::new(), imports: OnceLock::new(), by_address }
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

    fn import(&self, slot: u64) -> Option<(&str, Option<u64>)> {
        let imports = self.imports.get_or_init(|| imports(self.elf).unwrap_or_default());
        imports.get(&slot).map(|(name, address)| (name.as_str(), *address))
    }

    fn name_at(&self, address: u64) -> Option<&str> {
        self.by_address.get(&address).map(String::as_str)
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

/// A defined function in a symbol table.
pub(crate) struct FunctionSymbol<'a> {
    /// Without a version.
    pub(crate) name: &'a str,
    /// Virtual address in the file.
    pub(crate) address: u64,
    /// Bytes; 0 where the symbol does not say.
    pub(crate) size: u64,
    /// Whether it is the resolver of an indirect function.
    pub(crate) indirect: bool,
    /// Whether it is invisible outside of its object file, or was made so by the linker.
    pub(crate) local: bool,
}

/// Calls `f` with every defined function in both symbol tables.
pub(crate) fn for_each_function(elf: &ElfFile, mut f: impl FnMut(&FunctionSymbol<'_>)) {
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
        f(&FunctionSymbol {
            name,
            address: raw.st_value(LittleEndian),
            size: raw.st_size(LittleEndian),
            indirect: kind == elf::STT_GNU_IFUNC,
            local: raw.st_bind() == elf::STB_LOCAL,
        });
    }
}

/// The extents that `.eh_frame` declares. They cover functions without symbols too.
fn unwind_entries(elf: &ElfFile) -> Option<Vec<(u64, u64)>> {
    let (address, bytes) = elf.section(".eh_frame").ok()??;
    let frame = gimli::EhFrame::new(bytes, gimli::LittleEndian);
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

/// Which pointer the loader fills with which function, and where this file defines it.
fn imports(elf: &ElfFile) -> Option<HashMap<u64, (String, Option<u64>)>> {
    let parsed = elf.parsed().ok()?;
    let symbols = parsed.dynamic_symbol_table()?;
    let mut names = HashMap::new();
    for (slot, relocation) in parsed.dynamic_relocations()?.take(MAX_ENTRIES) {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        if !matches!(r_type, elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT) {
            continue;
        }
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let Ok(symbol) = symbols.symbol_by_index(index) else { continue };
        if let Ok(name) = symbol.name() {
            let address = (!symbol.is_undefined()).then(|| symbol.address());
            names.insert(slot, (name.to_owned(), address));
        }
    }
    Some(names)
}
