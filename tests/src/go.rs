//! Fixtures in Go: every toolchain and every way to build.
//!
//! `cargo xtask setup --tests` installs some toolchains into `go/` of the target directory,
//! `cargo xtask go-matrix` all of them. Go 1.19 is Debian's.

pub mod compare;
pub mod heap;
pub mod profile;

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::fixture::Fixture;
use crate::process::run_ok;
use crate::programs::{self, BUILD_TIMEOUT, once};
use crate::target_directory;

/// A release of Go, such as `1.27`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toolchain(pub &'static str);

/// All that are tested.
pub const TOOLCHAINS: [Toolchain; 8] = [
    Toolchain("1.19"),
    Toolchain("1.21"),
    Toolchain("1.22"),
    Toolchain("1.23"),
    Toolchain("1.24"),
    Toolchain("1.25"),
    Toolchain("1.26"),
    NEWEST,
];
/// The oldest, Debian's.
pub const OLDEST: Toolchain = Toolchain("1.19");
pub const NEWEST: Toolchain = Toolchain("1.27");
/// Those of every run: setup installs them.
pub const USUAL: [Toolchain; 4] = [OLDEST, Toolchain("1.21"), Toolchain("1.24"), NEWEST];

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `go build`, without cgo.
    Normal,
    /// Without symbols and debug info.
    Stripped,
    /// Position-independent.
    Pie,
    /// Position-independent and stripped.
    PieStripped,
    /// With a part in C, and linked against libc.
    Cgo,
    /// With a part in C, stripped.
    CgoStripped,
    /// Nothing refers to the heap profiler.
    NoHeap,
    /// File names say nothing of the place where it was built.
    Trimpath,
    /// Stripped, and the section headers removed.
    NoSections,
    /// Nothing is inlined or optimised.
    NoOptimisation,
    /// With a part in C, linked statically.
    CgoStatic,
    /// A library with a runtime of its own, stripped.
    Library,
    /// A library that a program in Go loads.
    Plugin,
}

impl Variant {
    /// All that any program can be built as.
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::Stripped,
        Self::Pie,
        Self::PieStripped,
        Self::Cgo,
        Self::CgoStripped,
        Self::NoHeap,
        Self::Trimpath,
        Self::NoSections,
        Self::NoOptimisation,
    ];

    fn is_cgo(self) -> bool {
        matches!(self, Self::Cgo | Self::CgoStripped | Self::CgoStatic | Self::Library | Self::Plugin)
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Normal | Self::Cgo => &[],
            Self::Stripped | Self::CgoStripped | Self::NoSections => &["-ldflags=-s -w"],
            Self::Pie => &["-buildmode=pie"],
            Self::PieStripped => &["-buildmode=pie", "-ldflags=-s -w"],
            Self::NoHeap => &["-tags=noheap"],
            Self::Trimpath => &["-trimpath"],
            Self::NoOptimisation => &["-gcflags=-N -l"],
            Self::CgoStatic => &["-ldflags=-extldflags=-static"],
            Self::Library => &["-buildmode=c-shared", "-ldflags=-s -w"],
            Self::Plugin => &["-buildmode=plugin"],
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Stripped => "stripped",
            Self::Pie => "pie",
            Self::PieStripped => "pie-stripped",
            Self::Cgo => "cgo",
            Self::CgoStripped => "cgo-stripped",
            Self::NoHeap => "noheap",
            Self::Trimpath => "trimpath",
            Self::NoSections => "no-sections",
            Self::NoOptimisation => "no-optimisation",
            Self::CgoStatic => "cgo-static",
            Self::Library => "library",
            Self::Plugin => "plugin",
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "go{}", self.0)
    }
}

impl Toolchain {
    /// Where it lies, if it is installed.
    pub fn root(self) -> Option<PathBuf> {
        [
            target_directory().join("go").join(self.0).join("go"),
            Path::new("/usr/lib").join(format!("go-{}", self.0)),
        ]
        .into_iter()
        .find(|root| root.join("bin/go").exists())
    }
}

/// A program in Go, built by one toolchain in one way.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    tags: Option<&'static str>,
    /// What builds it.
    pub toolchain: Toolchain,
    /// How it is built.
    pub variant: Variant,
}

/// A server whose websockets pile up, and goroutines in every state.
pub const STORY: Program = Program::new("story");
/// Two sites that leak, and much garbage; nothing refers to the heap profiler.
pub const GARBAGE: Program = Program::new("garbage");
/// The same, with the heap profiler.
pub const GARBAGE_PROFILED: Program = Program { tags: Some("-tags=profile"), ..GARBAGE };
/// Sites that allocate by turns in one size class.
pub const LOCKSTEP: Program = Program::new("lockstep");
/// Goroutines that come and go at full speed.
pub const CHURN: Program = Program::new("churn");
/// Memory of every kind, on command, and what the runtime says of it.
pub const MEMORY: Program = Program::new("memory");
/// A heap of known holders: a map, a slice, a channel, a goroutine's frame.
pub const HOLDERS: Program = Program::new("holders");
/// Goroutines that can never run again, and some that look so.
pub const LEAKS: Program = Program::new("leaks");
/// Goroutines of one place that do now this, now that.
pub const ROUNDS: Program = Program::new("rounds");
/// Goroutines that wait in every way, on command, and the program's own profiles of that.
pub const WAITS: Program = Program::new("waits");

/// C called by Go called by C: each level allocates.
pub const LEVELS: Program = Program::new("levels");
/// A library for programs that are not in Go.
pub const LIBRARY: Program = Program { variant: Variant::Library, ..Program::new("library") };
/// A program that loads plugins, and whose main goroutine can end.
pub const HOST: Program = Program { variant: Variant::Cgo, ..Program::new("host") };
/// What it loads.
pub const PLUGIN: Program = Program { variant: Variant::Plugin, ..Program::new("plugin") };

impl Program {
    const fn new(name: &'static str) -> Self {
        Self { name, tags: None, toolchain: NEWEST, variant: Variant::Normal }
    }

    /// The same from another toolchain.
    #[must_use]
    pub const fn with(self, toolchain: Toolchain) -> Self {
        Self { toolchain, ..self }
    }

    /// The same in another variant.
    #[must_use]
    pub const fn variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// Builds it unless that was done before.
    ///
    /// # Errors
    /// If the toolchain is missing or refuses.
    pub fn build(&self) -> Result<PathBuf> {
        let root = self.toolchain.root().with_context(|| {
            format!("{} is not installed; cargo xtask setup --tests does it", self.toolchain)
        })?;
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.command(&root, Path::new("out"))).hash(&mut hasher);
        fs::read(root.join("VERSION"))?.hash(&mut hasher);
        (self.variant == Variant::NoSections).hash(&mut hasher);
        for directory in ["fixture", self.name] {
            hash_files(&directory_of(directory), &mut hasher)?;
        }
        let place = format!("{}-{}-{}-{:016x}", self.name, self.toolchain, self.variant, hasher.finish());
        once(&place, self.name, |unfinished| {
            let module = unfinished.with_file_name("go.mod");
            // The language and the defaults of the release that builds it.
            fs::write(module, format!("module leakscope.test/fixtures\n\ngo {}\n", self.toolchain.0))?;
            run_ok(&mut self.command(&root, unfinished), BUILD_TIMEOUT)?;
            if self.variant == Variant::NoSections {
                remove_section_headers(unfinished)?;
            }
            Ok(())
        })
        .with_context(|| format!("cannot build {self:?}"))
    }

    fn command(&self, root: &Path, out: &Path) -> Command {
        let mut go = Command::new(root.join("bin/go"));
        go.current_dir(directory_of(""));
        // Nothing of the user's settings, nothing from the network.
        for (name, value) in [
            ("GOENV", "off"),
            ("GOFLAGS", "-buildvcs=false"),
            ("GOPROXY", "off"),
            ("GOTELEMETRY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOWORK", "off"),
            ("GODEBUG", ""),
        ] {
            go.env(name, value);
        }
        go.env_remove("GOROOT");
        go.env("GOCACHE", target_directory().join("go/cache"));
        go.env("CGO_ENABLED", if self.variant.is_cgo() { "1" } else { "0" });
        go.arg("build").args(self.variant.arguments()).args(self.tags);
        go.arg(format!("-modfile={}", out.with_file_name("go.mod").display()));
        go.arg("-o").arg(out).arg(format!("./{}", self.name));
        go
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be built or does not become ready.
    pub fn start(&self, arguments: &[&str]) -> Result<GoFixture> {
        Self::start_command(Command::new(self.build()?).args(arguments))
    }

    /// Starts a program that answers as these do.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn start_command(command: &mut Command) -> Result<GoFixture> {
        let fixture = Fixture::start_command(command)?;
        let place = tempfile::Builder::new().prefix("leakscope-go-").tempdir()?;
        Ok(GoFixture { fixture, place })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.toolchain, self.variant)
    }
}

/// A program in Go that waits for commands.
pub struct GoFixture {
    /// The fixture itself.
    pub fixture: Fixture,
    place: TempDir,
}

/// What is live after a collection, as the runtime says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// `HeapAlloc`.
    pub bytes: u64,
    /// `HeapObjects`.
    pub objects: u64,
    /// `NumGC`.
    pub collections: u64,
}

/// What the runtime's own profiler says.
#[derive(Clone, Debug)]
pub struct OwnProfiles {
    /// `goroutine` with debug=1; a program without the profiler has none.
    pub goroutines: Option<profile::GoroutineProfile>,
    /// `goroutine` with debug=2.
    pub stacks: Vec<profile::Goroutine>,
    /// `heap` with debug=1.
    pub heap: Option<heap::HeapProfile>,
}

impl GoFixture {
    /// Ends it.
    ///
    /// # Errors
    /// If it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.fixture.guard().signal(libc::SIGKILL)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.fixture.pid()
    }

    /// A number that it printed before it was ready.
    ///
    /// # Errors
    /// If it did not.
    pub fn number(&self, name: &str) -> Result<i64> {
        Ok(self.fixture.said(&format!("fixture: {name} "))?.parse()?)
    }

    /// Lets it write its own profiles, and reads them.
    ///
    /// # Errors
    /// If it does not answer, or they cannot be read.
    pub fn dump(&mut self) -> Result<OwnProfiles> {
        let place = self.place.path();
        self.fixture.say(&format!("dump {}", place.display()))?;
        self.fixture.expect("dumped")?;
        let read = |name: &str| {
            let path = place.join(name);
            path.exists().then(|| fs::read_to_string(&path)).transpose()
        };
        Ok(OwnProfiles {
            goroutines: read("goroutine.1")?.map(|text| profile::parse_groups(&text)).transpose()?,
            stacks: profile::parse_stacks(&read("goroutine.2")?.unwrap_or_default())?,
            heap: read("heap.1")?.map(|text| heap::parse(&text)).transpose()?,
        })
    }

    /// Has it write a profile (`heap` or `goroutine`) as `go tool pprof` reads it, and tells where.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn own_profile(&mut self, name: &str) -> Result<PathBuf> {
        self.dump()?;
        Ok(self.place.path().join(format!("{name}.0")))
    }

    /// Lets it collect garbage.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn collect(&mut self) -> Result<HeapStats> {
        self.fixture.say("gc")?;
        let mut number = |name: &str| -> Result<u64> {
            let start = format!("fixture: {name} ");
            Ok(self.fixture.expect(&start)?[start.len()..].trim().parse()?)
        };
        let objects = number("heap_objects")?;
        let collections = number("num_gc")?;
        Ok(HeapStats { bytes: number("heap_alloc")?, objects, collections })
    }

    /// Gives it a command and returns the rest of the line that it answers with.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn ask(&mut self, command: &str, answer: &str) -> Result<String> {
        self.fixture.say(command)?;
        Ok(self.fixture.expect(answer)?[answer.len()..].trim().to_owned())
    }
}

fn directory_of(program: &str) -> PathBuf {
    programs::directory().join("go").join(program)
}

fn hash_files(directory: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        path.file_name().hash(hasher);
        fs::read(&path)?.hash(hasher);
    }
    Ok(())
}

/// Takes from a 64-bit ELF file every mention of its section headers.
fn remove_section_headers(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    ensure!(bytes.len() > 64 && bytes.starts_with(b"\x7fELF\x02"), "no 64-bit ELF file");
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let half = |bytes: &[u8], at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"));
    let start = usize::try_from(word(&bytes, 0x28))?;
    let size = usize::from(half(&bytes, 0x3a)) * usize::from(half(&bytes, 0x3c));
    let Some(table) = bytes.get_mut(start..start + size) else { bail!("the headers lie outside the file") };
    table.fill(0);
    // e_shoff; then e_shentsize, e_shnum and e_shstrndx.
    bytes[0x28..0x30].fill(0);
    bytes[0x3a..0x40].fill(0);
    fs::write(path, bytes)?;
    Ok(())
}
