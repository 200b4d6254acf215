//! The symbolizer: blazesym behind a cache, a memory bound and a panic guard.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use blazesym::helper::ElfResolver;
use blazesym::symbolize::{CodeInfo, FindSymOpts, Reason, ResolvedSym, Symbolize as _};

use super::declared::Declarations;
use super::find::DebugFiles;
use super::image::{Image, ImageError, MAX_IMAGE_BYTES, MAX_TOTAL_BYTES};
use super::{CodeFile, NoSymbol, Resolved, SymbolFrame, demangle};
use crate::process::{ElfFile, FileId};

/// Turns addresses in files into names and lines.
///
/// Answers are kept for the symbolizer's life, and so is every file that it was asked about: a
/// device and inode number, which tell files apart together with the build ID, cannot come to mean
/// another file while the first is open.
#[derive(Debug, Default)]
pub struct Symbolizer {
    files: HashMap<FileKey, FileSymbols>,
    /// Bytes of all images.
    bytes: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FileKey {
    id: FileId,
    build_id: Option<Vec<u8>>,
}

/// One file's resolvers, made when first asked for, and answers.
#[derive(Debug)]
struct FileSymbols {
    elf: Rc<ElfFile>,
    path: PathBuf,
    answers: HashMap<(u64, bool), Rc<Resolved>>,
    dwarf: Source,
    symbols: Source,
}

/// A resolver, or why there is none.
#[derive(Debug)]
enum Source {
    NotOpened,
    Open(Box<Opened>),
    /// There is nothing of this kind.
    Absent,
    Failed(String),
}

/// Where names come from.
#[derive(Debug)]
struct Opened {
    resolver: ElfResolver,
    /// Where functions begin. A file whose debug info addr2line does not take still has names.
    declarations: Option<Declarations>,
}

impl Symbolizer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The functions at `address`, a virtual address as the file has it (not a file offset).
    ///
    /// With `exact` false it is a return address: the call before it is looked up, while
    /// [`SymbolFrame::offset_in_function`] is that of the return address itself.
    pub fn resolve(&mut self, file: &CodeFile, address: u64, exact: bool) -> Rc<Resolved> {
        let key = FileKey { id: file.id(), build_id: file.build_id().map(<[u8]>::to_vec) };
        let state = self.files.entry(key).or_insert_with(|| FileSymbols::new(file));
        match state.answers.entry((address, exact)) {
            Entry::Occupied(known) => return Rc::clone(known.get()),
            Entry::Vacant(_) => {}
        }
        let resolved = Rc::new(state.lookup(file, address, exact, &mut self.bytes));
        state.answers.insert((address, exact), Rc::clone(&resolved));
        resolved
    }

    /// Files whose debug info could not be used, so that their frames have no lines, and why.
    pub fn unusable_debug_info(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.values().filter_map(|file| match &file.dwarf {
            Source::Failed(why) => Some((file.path.as_path(), why.as_str())),
            _ => None,
        })
    }

    /// Bytes held by symbol tables and debug info.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

impl FileSymbols {
    fn new(file: &CodeFile) -> Self {
        Self {
            elf: Rc::clone(file.elf()),
            path: file.path().to_owned(),
            answers: HashMap::new(),
            dwarf: Source::NotOpened,
            symbols: Source::NotOpened,
        }
    }

    fn lookup(&mut self, file: &CodeFile, address: u64, exact: bool, bytes: &mut u64) -> Resolved {
        let at = if exact { address } else { address.wrapping_sub(1) };
        if self.elf.offset_of_address(at).is_none() {
            return Resolved::unknown(NoSymbol::Unmapped);
        }
        let debug = file.locate_debug();
        self.dwarf.open(bytes, |limit, bytes| open_dwarf(&self.elf, debug, limit, bytes));
        let lines = match self.dwarf.find(at, address) {
            // The image has the symbol tables too, and blazesym has looked there.
            Answer::Found(resolved)
                if resolved.frames.iter().all(|f| f.function.is_some()) && !lacks_path(&resolved) =>
            {
                return resolved;
            }
            Answer::Unknown(why) => return Resolved::unknown(why),
            // A function whose debug info has no name for it, or only the last part of it.
            Answer::Found(resolved) => Some(resolved),
            Answer::Nothing => None,
        };
        self.symbols.open(bytes, |limit, bytes| {
            let image = Image::symbols_only(&self.elf, debug, limit)?;
            let resolver = open_image(&image, bytes)?;
            Ok(Some(Opened { resolver, declarations: None }))
        });
        match (self.symbols.find(at, address), lines) {
            (Answer::Found(named), Some(lines)) => with_name(lines, Some(named)),
            (_, Some(lines)) => with_name(lines, None),
            (Answer::Found(named), None) => with_name(named, None),
            (Answer::Unknown(why), None) => Resolved::unknown(why),
            (Answer::Nothing, None) => Resolved::unknown(match &self.symbols {
                Source::Failed(why) => NoSymbol::Unreadable(why.clone()),
                _ => NoSymbol::Stripped,
            }),
        }
    }
}

/// Whether the function's name may be but the last part of it: debug info for lines only has no more, and that
/// of C++ none for members of templates and closures. The symbol table has the rest.
fn lacks_path(resolved: &Resolved) -> bool {
    resolved.frames.last().is_some_and(|frame| {
        let file = frame.file.as_deref().unwrap_or_default();
        let no_paths = [".c", ".S", ".s", ".go"].iter().any(|suffix| file.ends_with(suffix));
        !no_paths
            && frame.function.as_deref().is_some_and(|name| {
                let last = last_part(name);
                name != "main" && !last.is_empty() && !last.contains("::")
            })
    })
}

/// A name without its parameters and those of its template; empty if it begins with a type or an unnamed
/// namespace, behind which a path follows.
fn last_part(name: &str) -> &str {
    name.split(['<', '(']).next().unwrap_or_default()
}

/// Whether `full` is `name` with its path, and perhaps its parameters: not the name of another
/// function at the same address.
fn is_path_of(full: Option<&str>, name: Option<&str>) -> bool {
    let (Some(full), Some(name)) = (full, name) else { return false };
    if last_part(name).is_empty() {
        return false;
    }
    let last = format!("::{}", last_part(name));
    full.match_indices(&last)
        .any(|(at, _)| matches!(full[at + last.len()..].chars().next(), None | Some('<' | '(')))
}

/// The lines that the functions at `at` are declared at, the innermost first. Where debug info does not
/// tell, the last one is the line of the function's first instruction, at `entry`.
fn declared(
    resolver: &ElfResolver,
    declarations: &mut Declarations,
    at: u64,
    entry: u64,
) -> Vec<Option<u32>> {
    let mut lines = declarations.lines(at);
    if let Some(last @ None) = lines.last_mut() {
        let first = resolver.find_sym(entry, &FindSymOpts::CodeInfo);
        *last = first.ok().and_then(Result::ok).and_then(|symbol| line(symbol.code_info.as_deref()));
    }
    lines
}

/// What a source says about an address.
enum Answer {
    Found(Resolved),
    Unknown(NoSymbol),
    /// The source is absent or failed.
    Nothing,
}

type OpenResult = Result<Option<Opened>, OpenError>;

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{0:#}")]
    Blazesym(#[from] blazesym::Error),
}

impl Source {
    fn open(&mut self, bytes: &mut u64, open: impl FnOnce(u64, &mut u64) -> OpenResult) {
        if !matches!(self, Self::NotOpened) {
            return;
        }
        let limit = MAX_IMAGE_BYTES.min(MAX_TOTAL_BYTES.saturating_sub(*bytes));
        *self = match guarded(|| open(limit, bytes)) {
            Ok(Ok(Some(opened))) => Self::Open(Box::new(opened)),
            Ok(Ok(None)) => Self::Absent,
            Ok(Err(error)) => Self::Failed(error.to_string()),
            Err(Panicked) => Self::Failed(MALFORMED.to_owned()),
        };
    }

    /// Looks `at` up; offsets in functions are those of `address`.
    fn find(&mut self, at: u64, address: u64) -> Answer {
        let Self::Open(opened) = self else { return Answer::Nothing };
        let Opened { resolver, declarations } = &mut **opened;
        let found = guarded(|| {
            resolver.find_sym(at, &FindSymOpts::CodeInfoAndInlined).map(|found| match found {
                Ok(symbol) => {
                    let known = declarations.as_mut();
                    let lines = known.map(|known| declared(resolver, known, at, symbol.addr));
                    Answer::Found(convert(&symbol, address, &lines.unwrap_or_default()))
                }
                Err(Reason::MissingSyms) => Answer::Unknown(NoSymbol::Stripped),
                Err(_) => Answer::Unknown(NoSymbol::NotCovered),
            })
        });
        match found {
            Ok(Ok(answer)) => answer,
            // This address alone may be at fault (one unit's debug info, one symbol's name).
            Ok(Err(_)) => Answer::Nothing,
            Err(Panicked) => {
                *self = Self::Failed(MALFORMED.to_owned());
                Answer::Nothing
            }
        }
    }
}

const MALFORMED: &str = "malformed symbols or debug info";

struct Panicked;

/// Runs `work` on hostile data. What it leaves behind on a panic must not be used again.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

fn open_dwarf(elf: &ElfFile, debug: &DebugFiles, limit: u64, bytes: &mut u64) -> OpenResult {
    let supplement = match &debug.supplement {
        Some(file) => Some(Image::supplement(file, limit / 2)?),
        None => None,
    };
    let extra = supplement.as_ref().map_or(0, |image| image.size);
    let Some(image) = Image::with_dwarf(elf, debug, supplement.as_ref(), limit.saturating_sub(extra))? else {
        return Ok(None);
    };
    let resolver = open_image(&image, bytes)?;
    *bytes += extra;
    let declarations = Declarations::open(image.file(), supplement.as_ref().map(Image::file)).ok();
    Ok(Some(Opened { resolver, declarations }))
}

/// The only directory that blazesym may search holds our own descriptors: the link to the image of
/// a dwz file names one.
fn open_image(image: &Image, bytes: &mut u64) -> Result<ElfResolver, OpenError> {
    let resolver = ElfResolver::open_with_debug_dirs(image.path(), ["/proc/self/fd"])?;
    *bytes += image.size;
    Ok(resolver)
}

/// Line 0 is code that belongs to no line.
fn line(info: Option<&CodeInfo<'_>>) -> Option<u32> {
    info.and_then(|info| info.line).filter(|&line| line != 0)
}

/// `declared` are the lines that the functions are declared at, if known: the innermost first.
fn convert(symbol: &ResolvedSym<'_>, address: u64, declared: &[Option<u32>]) -> Resolved {
    let named = |name: &str| (!name.is_empty()).then(|| demangle(name).into_owned());
    let place = |info: Option<&CodeInfo<'_>>| {
        let file = info.map(|info| info.to_path().to_string_lossy().into_owned());
        (file, line(info))
    };
    let mut frames: Vec<SymbolFrame> = symbol
        .inlined
        .iter()
        .rev()
        .map(|inlined| {
            let (file, line) = place(inlined.code_info.as_ref());
            SymbolFrame {
                function: named(&inlined.name),
                file,
                line,
                inlined: true,
                ..SymbolFrame::default()
            }
        })
        .collect();
    let (file, line) = place(symbol.code_info.as_deref());
    frames.push(SymbolFrame {
        function: named(symbol.name),
        offset_in_function: address.checked_sub(symbol.addr),
        file,
        line,
        ..SymbolFrame::default()
    });
    // Both readers follow the same entries; if they do not agree, only the outer one is certain.
    let agree = declared.len() == frames.len();
    for (back, frame) in frames.iter_mut().rev().enumerate().take(if agree { usize::MAX } else { 1 }) {
        frame.function_line = declared.iter().rev().nth(back).copied().flatten();
    }
    Resolved { frames }
}

/// Puts the symbol table's name on a function that the debug info leaves nameless, and the reason
/// on frames that stay so.
fn with_name(mut lines: Resolved, named: Option<Resolved>) -> Resolved {
    if let (Some(outer), Some(named)) =
        (lines.frames.last_mut(), named.and_then(|n| n.frames.into_iter().next()))
        && (outer.function.is_none() || is_path_of(named.function.as_deref(), outer.function.as_deref()))
    {
        outer.function = named.function;
        outer.offset_in_function = named.offset_in_function;
    }
    for frame in lines.frames.iter_mut().filter(|frame| frame.function.is_none()) {
        frame.why_unknown = Some(NoSymbol::Nameless);
    }
    lines
}
