//! A small Go program made of bytes, for tests and fuzzing: a file, the memory it would have, a few
//! goroutines and a heap, laid out as the version that is asked for lays them out.
//!
//! Every structure that is made is listed ([`Synthetic::structures`]), so that a test can damage it.

mod bytes;
mod edit;
mod exercise;
pub mod heap;
mod labels;
mod made_goroutines;
pub mod mem_stats;
pub(crate) mod pclntab;
mod space;

use std::io::Write as _;
use std::os::fd::FromRawFd as _;
use std::rc::Rc;

use super::buildinfo::BuildInfo;
use super::error::GoError;
use super::offsets::{GLayout, Offsets};
use super::program::{LayoutSource, Program, ProgramFile};
use crate::process::ElfFile;
use bytes::Bytes;
pub use edit::Edit;
pub use exercise::{exercise, exercise_table, table};
pub use made_goroutines::{Kind, Labels, Spec};
pub use space::Space;

/// Where the file is mapped.
pub const BASE: u64 = 0x40_0000;
const PAGE: u64 = 0x1000;
/// Where the heap begins.
pub const HEAP: u64 = 0xc000_0000;
/// Bytes of a stack.
pub const STACK: u64 = 2048;

/// The program's functions, in the order of their addresses.
pub const FUNCTIONS: [Func; 20] = [
    Func { name: "runtime.goexit", frame: 0, kind: 6, top: true, inlines: false },
    Func { name: "runtime.main", frame: 40, kind: 0, top: false, inlines: false },
    Func { name: "runtime.gopark", frame: 24, kind: 0, top: false, inlines: false },
    Func { name: "runtime.chanrecv", frame: 96, kind: 0, top: false, inlines: false },
    Func { name: "runtime.bgsweep", frame: 16, kind: 0, top: false, inlines: false },
    Func { name: "runtime.forEachGRace", frame: 0, kind: 0, top: false, inlines: false },
    Func { name: "runtime.waitReason.String", frame: 0, kind: 0, top: false, inlines: false },
    Func { name: "runtime.systemstack_switch", frame: 0, kind: 20, top: false, inlines: false },
    Func { name: "runtime.asmcgocall", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "syscall.read", frame: 56, kind: 0, top: false, inlines: false },
    Func { name: "main.main", frame: 64, kind: 0, top: false, inlines: false },
    Func { name: "main.(*Hub).run", frame: 72, kind: 0, top: false, inlines: true },
    Func { name: "main.worker", frame: 32, kind: 0, top: false, inlines: true },
    Func { name: "main.wrapped", frame: 16, kind: 21, top: false, inlines: false },
    Func { name: "main.recurse", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "runtime.profilealloc", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "runtime.mProf_PostSweep", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "runtime.gcControllerCommit", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "runtime.persistentalloc1", frame: 8, kind: 0, top: false, inlines: false },
    Func { name: "runtime.gcMarkTermination", frame: 8, kind: 0, top: false, inlines: false },
];
/// Bytes of code of each.
pub const CODE: u64 = 64;
/// Where in its code the address lies at which [`FUNCTIONS`] that inline do so.
pub const INLINED_AT: u64 = 40;
/// What they inline.
pub const INLINED: &str = "main.(*Hub).wait";

/// A function of the program.
#[derive(Clone, Copy, Debug)]
pub struct Func {
    pub name: &'static str,
    /// Bytes of its frame, from its fifth byte on.
    pub frame: u32,
    /// Its kind (`funcID`).
    pub kind: u8,
    /// Whether it is the outermost of its stack.
    pub top: bool,
    /// Whether [`INLINED`] is inlined into it.
    pub inlines: bool,
}

/// An address in a function's code.
pub fn code(name: &str, offset: u64) -> u64 {
    let index = FUNCTIONS.iter().position(|f| f.name == name).expect("a function of the program");
    BASE + PAGE + index as u64 * CODE + offset
}

/// A structure: what it is, where it lies, its bytes.
pub type Structure = (&'static str, u64, u64);

/// The program.
#[derive(Debug)]
pub struct Synthetic {
    /// The N of Go 1.N.
    pub minor: u32,
    pub layout: GLayout,
    /// Its file, which is mapped at [`BASE`].
    pub file: Vec<u8>,
    /// Its memory.
    pub space: Rc<Space>,
    /// What can be damaged.
    pub structures: Vec<Structure>,
}

impl Synthetic {
    /// A program of Go 1.`minor` with the goroutines of [`made_goroutines::typical`].
    pub fn new(minor: u32) -> Self {
        Self::with(minor, &made_goroutines::typical())
    }

    /// A program of Go 1.`minor` with these goroutines.
    pub fn with(minor: u32, goroutines: &[Spec]) -> Self {
        let offsets = Offsets::of(minor);
        let layout = GLayout::new(&offsets).expect("the table has it");
        let mut made = Self {
            minor,
            layout,
            file: Vec::new(),
            space: Rc::new(Space::default()),
            structures: Vec::new(),
        };
        made.lay_out_file(&offsets, minor >= 20);
        let file = made.file.clone();
        made.space.map(BASE, file);
        made_goroutines::add(&mut made, goroutines);
        heap::add(&mut made);
        made
    }

    /// Headers, constants, code, variables: each in a segment of its own.
    fn lay_out_file(&mut self, offsets: &Offsets, go120: bool) {
        let text = (BASE + PAGE, BASE + PAGE + FUNCTIONS.len() as u64 * CODE);
        let constants = BASE + 2 * PAGE;
        let variables = BASE + 4 * PAGE;
        let table = pclntab::build(go120, text.0);
        let mut file = Bytes::new(BASE);
        // Constants.
        file.pad_to(constants);
        let pclntab = self.put(&mut file, "pclntab", &table.bytes);
        let tree = self.put(&mut file, "inline tree", &table.tree);
        let reasons: Vec<(u64, u64)> = (0..40)
            .map(made_goroutines::reason)
            .map(|text| (file.push(text.as_bytes()), text.len() as u64))
            .collect();
        // Variables.
        file.pad_to(variables);
        let info = self.put(&mut file, "buildinfo", &build_info(self.minor));
        let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let strings: Vec<u64> = reasons.iter().flat_map(|(at, length)| [*at, *length]).collect();
        let strings = self.put(&mut file, "wait reasons", &words(&strings));
        let data = file.align(16);
        let slice = self.put(&mut file, "allgs", &words(&[0, 0, 0]));
        let pointer = self.put(&mut file, "allgptr", &words(&[0]));
        let length = self.put(&mut file, "allglen", &words(&[0]));
        let (rate, cycle) = heap::variables(self, &mut file, offsets);
        let [controller, stats, cpu] = mem_stats::variables(self, &mut file, offsets);
        let module = file.align(32);
        let mut description = vec![0; offsets.find("moduledata", "__size").expect("known").max(640)];
        let mut set = |at: usize, value: u64| description[at..at + 8].copy_from_slice(&value.to_le_bytes());
        set(0, pclntab);
        for (at, part) in [8, 32, 56, 80, 104].into_iter().zip(table.parts) {
            set(at, pclntab + part);
            set(at + 8, table.bytes.len() as u64 - part);
            set(at + 16, table.bytes.len() as u64 - part);
        }
        set(128, pclntab + table.parts[4]);
        set(136, FUNCTIONS.len() as u64 + 1);
        for (at, value) in [(160, text.0), (168, text.1), (176, text.0), (184, text.1)] {
            set(at, value);
        }
        let end = module + 0x800;
        for (at, value) in [(192, variables), (200, data), (208, data), (216, module)] {
            set(at, value);
        }
        for (at, value) in [(224, module), (232, end), (240, end), (248, end)] {
            set(at, value);
        }
        set(offsets.find("moduledata", "gofunc").expect("known"), tree);
        self.put(&mut file, "moduledata", &description);
        file.pad_to(end);
        debug_assert!(info == variables && slice == data && strings < data);
        // Code: nothing, but for the functions that refer to variables.
        file.write(text.0, &vec![0x90; (text.1 - text.0) as usize]);
        let refers = [
            ("runtime.forEachGRace", vec![length, pointer]),
            ("runtime.waitReason.String", vec![strings]),
            ("runtime.profilealloc", vec![rate]),
            ("runtime.mProf_PostSweep", vec![cycle]),
            ("runtime.gcControllerCommit", vec![controller]),
            ("runtime.persistentalloc1", vec![stats]),
            ("runtime.gcMarkTermination", vec![cpu]),
        ];
        for (function, targets) in refers {
            let mut at = code(function, 8);
            for target in targets {
                // lea rax, [rip + target]
                file.write(at, &[0x48, 0x8d, 0x05]);
                at += 7;
                file.write(at - 4, &((target.wrapping_sub(at)) as u32).to_le_bytes());
            }
        }
        self.structures.push(("code", text.0, text.1 - text.0));
        let segments =
            [(BASE, text.0, 4), (text.0, constants, 5), (constants, variables, 4), (variables, end, 6)];
        file.write(BASE, &elf_header(text.0, &segments));
        self.structures.push(("file header", BASE, 64 + 56 * segments.len() as u64));
        self.file = file.into_inner();
    }

    /// Lays bytes into a file and lists them.
    fn put(&mut self, file: &mut Bytes, what: &'static str, bytes: &[u8]) -> u64 {
        file.align(32);
        let at = file.push(bytes);
        self.structures.push((what, at, bytes.len() as u64));
        at
    }

    /// Maps bytes and lists them.
    fn map(&mut self, what: &'static str, at: u64, bytes: Vec<u8>) {
        self.structures.push((what, at, bytes.len() as u64));
        self.space.map(at, bytes);
    }

    /// Where the first structure of this kind lies.
    pub fn address_of(&self, what: &str) -> u64 {
        self.structures.iter().find(|s| s.0 == what).expect("a structure of the program").1
    }

    /// Where all structures of this kind lie.
    pub fn addresses_of<'a>(&'a self, what: &'a str) -> impl Iterator<Item = u64> + 'a {
        self.structures.iter().filter(move |s| s.0 == what).map(|s| s.1)
    }

    /// Overwrites bytes, in the file and in memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.space.write(address, bytes);
        if let Some(at) = address.checked_sub(BASE).map(|at| at as usize)
            && let Some(room) = at.checked_add(bytes.len()).and_then(|end| self.file.get_mut(at..end))
        {
            room.copy_from_slice(bytes);
        }
    }

    /// Overwrites a word.
    pub fn set(&mut self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes());
    }

    /// The file as the reader opens it; `None` if it is no ELF file any more.
    pub fn elf(&self) -> Option<Rc<ElfFile>> {
        // SAFETY: the name is a C string; the descriptor is new and nobody else's.
        let mut file = unsafe {
            let descriptor = libc::memfd_create(c"synthetic".as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0, "memfd_create");
            std::fs::File::from_raw_fd(descriptor)
        };
        file.write_all(&self.file).expect("memory");
        ElfFile::from_file(file).ok().map(Rc::new)
    }

    /// Opens the program as one of Go 1.`minor`.
    pub fn open_as(&self, version: &str, layouts: LayoutSource) -> Result<Program, GoError> {
        let info = BuildInfo { version: version.to_owned(), ..BuildInfo::default() };
        let elf = self.elf().ok_or(GoError::NotFound("its file"))?;
        let memory = Box::new(Rc::clone(&self.space));
        Program::open(info, ProgramFile { path: "/synthetic".to_owned(), elf, bias: 0, memory, layouts })
    }

    /// Opens the program.
    pub fn open(&self) -> Result<Program, GoError> {
        self.open_as(&format!("go1.{}", self.minor), LayoutSource::Best)
    }
}

/// The record of a build.
fn build_info(minor: u32) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    let module = format!("{0}path\texample.com/hub\nbuild\tCGO_ENABLED=0\n{0}", "0123456789abcdef");
    for text in [format!("go1.{minor}.1"), module] {
        bytes.extend([text.len() as u8]);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Headers of a file with these segments: start, end, flags. There are no section headers.
fn elf_header(entry: u64, segments: &[(u64, u64, u32)]) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [entry, 64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    for (start, end, flags) in segments {
        header.extend(1u32.to_le_bytes());
        header.extend(flags.to_le_bytes());
        for word in [start - BASE, *start, *start, end - start, end - start, PAGE] {
            header.extend(word.to_le_bytes());
        }
    }
    header
}
