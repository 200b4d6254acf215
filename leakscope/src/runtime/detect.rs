//! Which runtime a process has.

use std::borrow::Cow;
use std::path::Path;

use super::{RUNTIMES, Runtime};
use crate::process::{AddressSpace, ElfFile, Process};

/// What a process that has a runtime is known by.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// Names of programs, without their versions: `python` is `python3.11`, but not `pythonista`.
    pub programs: &'static [&'static str],
    /// Beginnings of the names of libraries that the runtime is, in programs that embed it: `libpython`.
    pub libraries: &'static [&'static str],
    /// Whether a file is of the runtime by what is in it. It is asked of programs, and of libraries that have
    /// section headers, and should read no more than a few pages of one that has these.
    pub contents: Option<fn(&ElfFile) -> bool>,
}

impl Signs {
    /// No sign at all.
    pub const NONE: Self = Self { programs: &[], libraries: &[], contents: None };
}

/// What is known of a process, as far as signs go. `attach` and `dump` have its address space, `top` has only
/// `/proc`, and remembers what files are: both give the same, so that [`detect()`] answers the same.
pub trait Clues {
    /// Name of the program's file, without its directory.
    fn program(&self) -> Cow<'_, str>;

    /// What [`by_contents`] says of the program's file; `None` also where that cannot be read.
    fn program_contents(&mut self) -> Option<&'static dyn Runtime>;

    /// Names of the files that are mapped executable, without their directories.
    fn libraries(&self) -> Vec<Cow<'_, str>>;

    /// What [`library_by_contents`] says of the first of these files that it knows; `None` also where they cannot
    /// be read.
    fn library_contents(&mut self) -> Option<&'static dyn Runtime>;
}

/// The runtime of a process: that of its program, by what is in its file or, failing that, by its name; else one
/// that is embedded, by the names of libraries or by what is in them; else the last of [`RUNTIMES`].
pub fn detect(clues: &mut dyn Clues) -> &'static dyn Runtime {
    if let Some(runtime) = clues.program_contents().or_else(|| by_program(&clues.program())) {
        return runtime;
    }
    let libraries = clues.libraries();
    let mapped = |runtime: &&dyn Runtime| {
        let begins = |file: &Cow<'_, str>| runtime.signs().libraries.iter().any(|l| file.starts_with(l));
        libraries.iter().any(begins)
    };
    let embedded = RUNTIMES.iter().copied().find(mapped);
    drop(libraries);
    embedded.or_else(|| clues.library_contents()).unwrap_or(&super::Native)
}

/// The runtime that a program's file name tells: `python3.11`.
fn by_program(file: &str) -> Option<&'static dyn Runtime> {
    let file = file.strip_suffix(" (deleted)").unwrap_or(file);
    let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is = |name: &&str| file.strip_prefix(name).is_some_and(is_version);
    RUNTIMES.iter().copied().find(|runtime| runtime.signs().programs.iter().any(is))
}

/// The runtime that a program's file tells by what is in it.
pub fn by_contents(elf: &ElfFile) -> Option<&'static dyn Runtime> {
    RUNTIMES.iter().copied().find(|runtime| runtime.signs().contents.is_some_and(|is_of| is_of(elf)))
}

/// The runtime that a library tells by what is in it. One without section headers would have to be searched whole,
/// and a process may have hundreds of them: it tells nothing.
pub fn library_by_contents(elf: &ElfFile) -> Option<&'static dyn Runtime> {
    elf.has_sections().then(|| by_contents(elf)).flatten()
}

/// The runtime of a process whose address space is known.
pub fn of(process: &Process, space: &AddressSpace) -> &'static dyn Runtime {
    detect(&mut Mapped { process, space })
}

/// The clues of a process whose address space is known.
#[derive(Clone, Copy, Debug)]
struct Mapped<'a> {
    process: &'a Process,
    space: &'a AddressSpace,
}

impl Clues for Mapped<'_> {
    fn program(&self) -> Cow<'_, str> {
        let name = self.process.exe.as_ref().and_then(|path| path.file_name());
        name.map_or(Cow::Borrowed(""), |name| name.to_string_lossy())
    }

    fn program_contents(&mut self) -> Option<&'static dyn Runtime> {
        // The link says so if the file has lost its name; the mapping's path does without.
        let path = self.process.exe.as_ref()?.to_string_lossy();
        let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(&path));
        let (_, module) = self.space.modules().find(|(_, module)| module.path == path)?;
        by_contents(module.elf.as_ref().ok()?)
    }

    fn libraries(&self) -> Vec<Cow<'_, str>> {
        let names = self.space.modules().filter_map(|(_, module)| module.path.file_name());
        names.map(|name| name.to_string_lossy()).collect()
    }

    fn library_contents(&mut self) -> Option<&'static dyn Runtime> {
        let mut files = self.space.modules().filter_map(|(_, module)| module.elf.as_ref().ok());
        files.find_map(|elf| library_by_contents(elf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Java, Native, Node, Python, go};

    /// A process of the tests.
    #[derive(Clone, Copy, Default)]
    struct Made {
        program: &'static str,
        contents: Option<&'static dyn Runtime>,
        libraries: &'static [&'static str],
        library_contents: Option<&'static dyn Runtime>,
    }

    impl Clues for Made {
        fn program(&self) -> Cow<'_, str> {
            self.program.into()
        }

        fn program_contents(&mut self) -> Option<&'static dyn Runtime> {
            self.contents
        }

        fn libraries(&self) -> Vec<Cow<'_, str>> {
            self.libraries.iter().map(|name| Cow::Borrowed(*name)).collect()
        }

        fn library_contents(&mut self) -> Option<&'static dyn Runtime> {
            self.library_contents
        }
    }

    #[track_caller]
    fn check(mut made: Made, runtime: &dyn Runtime) {
        assert_eq!(detect(&mut made).name(), runtime.name());
    }

    #[test]
    fn names_of_programs() {
        let program = |program| Made { program, ..Made::default() };
        check(program("java"), &Java);
        for name in ["python", "python3.11", "pypy3", "python3.11 (deleted)"] {
            check(program(name), &Python);
        }
        for name in ["node", "nodejs", "node18"] {
            check(program(name), &Node);
        }
        for name in ["javac", "nodemon", "redis-server", "", "pythonista"] {
            check(program(name), &Native);
        }
    }

    #[test]
    fn what_is_in_a_program_tells_more_than_its_name() {
        check(Made { program: "node", contents: Some(&go::Go), ..Made::default() }, &go::Go);
    }

    #[test]
    fn embedded_runtimes() {
        let embeds = |libraries| Made { program: "app", libraries, ..Made::default() };
        check(embeds(&["libc.so.6", "libjvm.so"]), &Java);
        check(embeds(&["libpython3.11.so.1.0"]), &Python);
        check(embeds(&["libc.so.6", "libpythonic.so"]), &Python);
        check(embeds(&["libc.so.6", "notlibpython3.so"]), &Native);
        let library = Made { library_contents: Some(&go::Go), ..embeds(&["libc.so.6", "plugin.so"]) };
        check(library, &go::Go);
        // A program's own runtime counts before one that it has loaded.
        check(Made { program: "python3", ..library }, &Python);
    }

    #[test]
    fn this_program_is_native() {
        let pid = std::process::id();
        let space = AddressSpace::read(pid).expect("own address space");
        let process = Process {
            pid,
            through: pid,
            comm: String::new(),
            exe: std::env::current_exe().ok(),
            cmdline: Vec::new(),
            start_ticks: 0,
            seccomp: 0,
            tracer: None,
            container: None,
        };
        assert_eq!(of(&process, &space).name(), "native");
    }
}
