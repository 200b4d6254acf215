//! The fixture programs and how they are built.
//!
//! Each is built on demand from `programs/` into `fixtures/` of the target directory, once for a
//! given command and content of its sources.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::run_ok;
use crate::target_directory;

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// How long a compiler may take.
pub(crate) const BUILD_TIMEOUT: Duration = Duration::from_secs(600);
/// What tells the truth about blocked threads.
const WAITERS: &[&str] = &["waiters.c"];

/// An allocator that takes the place of glibc's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// jemalloc 5
    Jemalloc,
    /// gperftools' tcmalloc
    Tcmalloc,
    /// mimalloc 2
    Mimalloc,
}

impl Library {
    const fn shared(self) -> &'static str {
        match self {
            Self::Jemalloc => "libjemalloc.so.2",
            Self::Tcmalloc => "libtcmalloc_minimal.so.4",
            Self::Mimalloc => "libmimalloc.so.2",
        }
    }

    /// The static archive; Debian has none of mimalloc.
    const fn archive(self) -> Option<&'static str> {
        match self {
            Self::Jemalloc => Some("jemalloc_pic"),
            Self::Tcmalloc => Some("tcmalloc_minimal"),
            Self::Mimalloc => None,
        }
    }
}

/// Where the allocator of a fixture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocator {
    /// glibc, shared
    Glibc,
    /// glibc in a static binary
    GlibcStatic,
    /// musl, which has no unwind tables; programs in C alone
    Musl,
    /// musl in a static binary
    MuslStatic,
    /// By LD_PRELOAD
    Preloaded(Library),
    /// Linked into the program (mimalloc: as a shared library)
    Linked(Library),
}

/// What kind of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    C,
    Cpp,
    Rust,
    /// A Cargo package that lies under `programs/`.
    Cargo,
    /// A shared library in C.
    Shared,
    /// 32-bit assembly without libraries.
    Asm32,
}

/// A fixture in one of its variants.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    kind: Kind,
    name: &'static str,
    allocator: Allocator,
    debug: bool,
    flags: &'static [&'static str],
    /// Further sources in C.
    with: &'static [&'static str],
    needs: Option<&'static Program>,
}

/// A program ready to be run.
pub struct Built {
    /// The executable or library.
    pub path: PathBuf,
    /// What belongs into LD_PRELOAD.
    pub preload: Option<PathBuf>,
}

impl Program {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self { kind, name, allocator: Allocator::Glibc, debug: true, flags: &[], with: &[], needs: None }
    }

    /// The same with another allocator.
    pub const fn allocator(self, allocator: Allocator) -> Self {
        Self { allocator, ..self }
    }

    /// The same with or without debug info.
    pub const fn debug(self, debug: bool) -> Self {
        Self { debug, ..self }
    }

    /// Whether it is in C.
    pub fn is_c(&self) -> bool {
        self.kind == Kind::C
    }

    /// Where its sources lie.
    fn directory(&self) -> PathBuf {
        let language = match self.kind {
            Kind::C | Kind::Shared | Kind::Asm32 => "c",
            Kind::Cpp => "cpp",
            Kind::Rust | Kind::Cargo => "rust",
        };
        directory().join(language)
    }

    fn sources(&self) -> Vec<PathBuf> {
        let own = self.directory();
        let c = directory().join("c");
        let mut sources = match self.kind {
            Kind::C => vec![own.join(self.name).with_extension("c"), c.join("fixture.c")],
            Kind::Cpp => vec![own.join(self.name).with_extension("cpp"), c.join("fixture.c")],
            Kind::Rust => vec![own.join(self.name).with_extension("rs")],
            Kind::Cargo => {
                vec![
                    own.join(self.name).join("Cargo.toml"),
                    own.join("sites.rs"),
                    own.join("rjem/Cargo.lock"),
                ]
            }
            Kind::Shared => vec![own.join(self.name).with_extension("c")],
            Kind::Asm32 => vec![own.join(self.name).with_extension("S")],
        };
        sources.extend(self.with.iter().map(|name| c.join(name)));
        sources
    }

    /// Builds it unless that was done before.
    ///
    /// # Errors
    /// If the compiler or a source is missing, or the compiler refuses.
    pub fn build(&self) -> Result<Built> {
        let preload = match self.allocator {
            Allocator::Preloaded(library) => Some(Path::new(LIBRARIES).join(library.shared())),
            _ => None,
        };
        let needed = self.needs.map(Program::build).transpose()?;
        let needed = needed.as_ref().map(|needed| needed.path.as_path());
        let path = self.build_once(needed).with_context(|| format!("cannot build {self:?}"))?;
        Ok(Built { path, preload })
    }

    fn build_once(&self, needed: Option<&Path>) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.command(Path::new("out"), needed)).hash(&mut hasher);
        for source in self
            .sources()
            .iter()
            .chain(&["fixture.h", "hook.h", "waiters.h"].map(|name| directory().join("c").join(name)))
        {
            fs::read(source).with_context(|| source.display().to_string())?.hash(&mut hasher);
        }
        let file =
            if self.kind == Kind::Shared { format!("lib{}.so", self.name) } else { self.name.to_owned() };
        once(&format!("{}-{:016x}", self.name, hasher.finish()), &file, |unfinished| {
            run_ok(&mut self.command(unfinished, needed), BUILD_TIMEOUT)?;
            if self.kind == Kind::Cargo {
                let place = unfinished.parent().context("it lies in a directory")?;
                fs::copy(place.join("cargo/release/rust_sites"), unfinished)?;
            }
            Ok(())
        })
    }

    fn command(&self, out: &Path, needed: Option<&Path>) -> Command {
        match self.kind {
            Kind::C | Kind::Cpp | Kind::Shared => self.gcc(out, needed),
            Kind::Rust => self.rustc(out),
            Kind::Cargo => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]);
                cargo.arg(self.directory().join(self.name).join("Cargo.toml"));
                cargo.arg("--target-dir").arg(out.with_file_name("cargo"));
                // What cargo sets for this test run is not meant for another workspace.
                cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
                cargo
            }
            Kind::Asm32 => {
                let mut gcc = Command::new("gcc");
                gcc.args(["-m32", "-nostdlib", "-static"]).args(self.sources()).arg("-o").arg(out);
                gcc
            }
        }
    }

    fn gcc(&self, out: &Path, needed: Option<&Path>) -> Command {
        let is_musl = matches!(self.allocator, Allocator::Musl | Allocator::MuslStatic);
        let mut gcc = Command::new(match self.kind {
            Kind::Cpp => "g++",
            _ if is_musl => "musl-gcc",
            _ => "gcc",
        });
        if is_musl {
            // The kernel's headers, behind musl's own.
            gcc.args(["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]);
        }
        gcc.args([
            "-O2",
            "-fomit-frame-pointer",
            "-fno-optimize-sibling-calls",
            "-pthread",
            "-Wall",
            "-Wextra",
        ]);
        if self.debug {
            gcc.arg("-g");
        }
        match self.kind {
            Kind::Shared => {
                gcc.args(["-fPIC", "-shared", "-fno-builtin"]);
            }
            Kind::Cpp => {
                gcc.args(["-std=c++17", "-Wno-missing-field-initializers"]);
            }
            _ => {
                gcc.arg("-Wno-missing-field-initializers");
            }
        }
        gcc.args(self.sources());
        if let Some(library) = needed {
            let place = library.parent().unwrap_or(Path::new("/"));
            gcc.arg(library).arg(format!("-Wl,-rpath,{}", place.display()));
        }
        gcc.args(self.flags);
        match self.allocator {
            Allocator::Glibc | Allocator::Preloaded(_) | Allocator::Musl => {}
            Allocator::GlibcStatic | Allocator::MuslStatic => {
                gcc.arg("-static");
            }
            Allocator::Linked(library) => match library.archive() {
                Some(archive) => {
                    gcc.args([&format!("-l:lib{archive}.a"), "-lstdc++", "-lm"]);
                }
                None => {
                    gcc.args(["-Wl,--no-as-needed", "-lmimalloc"]);
                }
            },
        }
        gcc.arg("-o").arg(out);
        gcc
    }

    fn rustc(&self, out: &Path) -> Command {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-name", &format!("rust_{}", self.name)]);
        rustc.args(["-C", "opt-level=2"]);
        rustc.args(["-C", "force-frame-pointers=no", "--check-cfg", "cfg(feature, values(\"jemalloc\"))"]);
        if self.debug {
            rustc.arg("-g");
        }
        match self.allocator {
            // Rust's own musl target would be another toolchain.
            Allocator::Glibc | Allocator::Preloaded(_) | Allocator::Musl => {}
            Allocator::GlibcStatic | Allocator::MuslStatic => {
                rustc.args(["-C", "target-feature=+crt-static"]);
            }
            Allocator::Linked(library) => match library.archive() {
                Some(archive) => {
                    rustc.args(["-L", LIBRARIES, "-l", &format!("static:+whole-archive,-bundle={archive}")]);
                    rustc.args(["-C", "link-arg=-lstdc++", "-C", "link-arg=-lm"]);
                }
                None => {
                    rustc.args(["-C", "link-arg=-Wl,--no-as-needed", "-C", "link-arg=-lmimalloc"]);
                }
            },
        }
        rustc.args(self.sources()).arg("-o").arg(out);
        rustc
    }
}

/// The file in that place under `fixtures/`, built if it is not there; `build` writes where it is told.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn once(place: &str, file: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let fixtures = target_directory().join("fixtures");
    fs::create_dir_all(&fixtures)?;
    let place = fixtures.join(place);
    let built = place.join(file);
    if built.exists() {
        return Ok(built);
    }
    // One at a time: the lock is for other test processes, too.
    let lock = fs::File::create(fixtures.join("lock"))?;
    lock.lock()?;
    if built.exists() {
        return Ok(built);
    }
    fs::create_dir_all(&place)?;
    // What a build leaves that was broken off does not count as built.
    let unfinished = place.join(format!("unfinished-{file}"));
    build(&unfinished)?;
    fs::rename(&unfinished, &built)?;
    Ok(built)
}

/// Where the sources of all fixtures lie.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// One allocator call a scenario.
pub const CASES: Program = Program::new(Kind::C, "cases");
/// What many threads do.
pub const THREADS: Program = Program::new(Kind::C, "threads");
/// Coroutines of makecontext.
pub const COROUTINES: Program = Program::new(Kind::C, "coroutines");
/// Code that was moved to memory without a file.
pub const MOVES_TEXT: Program = Program::new(Kind::C, "moves_text");
/// Names of 5,000 bytes.
pub const LONG_NAMES: Program = Program::new(Kind::C, "long_names");
/// fork, vfork, posix_spawn, exec, exit.
pub const PROCESSES: Program = Program::new(Kind::C, "processes");
/// Stacks that are hard to unwind.
pub const STACKS: Program = Program::new(Kind::C, "stacks");
/// Every function that only glibc has.
pub const GLIBC_ONLY: Program = Program::new(Kind::C, "glibc_only");
/// Full speed until its input ends.
pub const LOAD: Program = Program::new(Kind::C, "load");
/// A server that forks workers.
pub const WORKERS: Program = Program::new(Kind::C, "workers");
/// Grows at the rate that it is told.
pub const GROWS: Program = Program::new(Kind::C, "grows");
/// A process with a zombie for a child.
pub const ZOMBIE: Program = Program::new(Kind::C, "zombie");
/// A 32-bit process.
pub const I386: Program = Program::new(Kind::Asm32, "i386");
/// An allocator that sometimes leaves without returning.
pub const HOOK: Program = Program::new(Kind::Shared, "hook");
/// Allocator calls that never return.
pub const ESCAPES: Program = Program { needs: Some(&HOOK), ..Program::new(Kind::C, "escapes") };
/// An allocator in front of another.
pub const WRAPPER: Program = Program::new(Kind::Shared, "wrapper");
/// What the account in the kernel has to stand.
pub const ACCOUNT: Program = Program::new(Kind::C, "account");
/// Heaps of which one sentence must say the right thing.
pub const ANSWERS: Program = Program::new(Kind::C, "answers");
/// A heap that no probe sees: a static C library without its symbols.
pub const UNSEEN: Program = Program {
    flags: &["-s"],
    ..Program::new(Kind::C, "answers").allocator(Allocator::GlibcStatic).debug(false)
};
/// Each form of `operator delete`.
pub const DELETES: Program = Program { flags: &["-lstdc++"], ..Program::new(Kind::Cpp, "deletes") };
/// What [`STACKS`] loads.
pub const PLUGIN: Program = Program::new(Kind::Shared, "plugin");
/// A Python extension module.
pub const PYTHON_EXTENSION: Program =
    Program { flags: &["-I/usr/include/python3.11"], ..Program::new(Kind::Shared, "pyleak") };
/// malloc's family in C, for all allocators.
pub const SITES_C: Program = Program::new(Kind::C, "sites");
/// Operators, containers and exceptions in C++.
pub const SITES_CPP: Program = Program::new(Kind::Cpp, "sites");
/// Rust's std.
pub const SITES_RUST: Program = Program::new(Kind::Rust, "sites");
/// The same over jemalloc with the prefix `_rjem_`.
pub const SITES_RUST_JEMALLOC: Program = Program::new(Kind::Cargo, "rjem");
/// A wrapper of malloc, and what looks like one.
pub const WRAPPERS: Program = Program::new(Kind::C, "wrappers");
/// Operators and allocators of a program's own.
pub const OWN_NEW: Program = Program::new(Kind::Cpp, "own_new");
/// Exceptions of operator new. `-lstdc++` keeps libstdc++'s operator in front of mimalloc's.
pub const BAD_ALLOC: Program = Program { flags: &["-lstdc++"], ..Program::new(Kind::Cpp, "bad_alloc") };
/// jemalloc's own functions.
pub const JEMALLOC_API: Program = Program { flags: &["-ljemalloc"], ..Program::new(Kind::C, "jemalloc_api") };
/// tcmalloc's own functions.
pub const TCMALLOC_API: Program =
    Program { flags: &["-ltcmalloc_minimal"], ..Program::new(Kind::C, "tcmalloc_api") };
/// mimalloc's own functions.
pub const MIMALLOC_API: Program = Program { flags: &["-lmimalloc"], ..Program::new(Kind::C, "mimalloc_api") };
/// A mutex whose holder is another process.
pub const SHARED_MUTEX: Program = Program::new(Kind::C, "shared_mutex");
/// Threads that are blocked: a scenario for each kind of wait.
pub const BLOCKED: Program = Program { with: WAITERS, ..Program::new(Kind::C, "blocked") };
/// One stack that waits in many ways.
pub const ONESITE: Program = Program { with: WAITERS, ..Program::new(Kind::C, "onesite") };
/// Deadlocks of pthread's locks.
pub const DEADLOCK_C: Program = Program { with: WAITERS, ..Program::new(Kind::C, "deadlock") };
/// Deadlocks of C++'s locks, and its other primitives.
pub const DEADLOCK_CPP: Program = Program { with: WAITERS, ..Program::new(Kind::Cpp, "deadlock") };
/// Deadlocks of Rust's locks, and its other primitives.
pub const DEADLOCK_RUST: Program = Program::new(Kind::Rust, "deadlock");
/// What must not be judged by more than is seen, with pthread's locks.
pub const VERDICTS_C: Program = Program::new(Kind::C, "verdicts");
/// The same with Rust's.
pub const VERDICTS_RUST: Program = Program::new(Kind::Rust, "verdicts");
/// Waits of known number and length.
pub const PINGPONG: Program = Program { with: WAITERS, ..Program::new(Kind::C, "pingpong") };
/// Threads that queue behind one that holds a lock.
pub const CONVOY: Program = Program { with: WAITERS, ..Program::new(Kind::C, "convoy") };
/// Threads that are created and stay, or end.
pub const SPAWN: Program = Program { with: WAITERS, ..Program::new(Kind::C, "spawn") };
/// Threads that come and go at full speed.
pub const CHURN: Program = Program { with: WAITERS, ..Program::new(Kind::C, "churn") };
/// Blocked threads with broken stacks.
pub const HOSTILE: Program = Program { with: WAITERS, ..Program::new(Kind::C, "hostile") };
/// Blocked threads whose stacks are paged out at `go`.
pub const SWAPPED: Program = Program { with: WAITERS, ..Program::new(Kind::C, "swapped") };
