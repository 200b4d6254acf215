//! Programs that run another program inside their own process.
//!
//! The kernel knows such a process as the host: valgrind or qemu, not what they run. What runs inside has no
//! frames that could be unwound, and its code is not executed where its file is mapped: a translator reads it,
//! and writes code of its own. A breakpoint in such a file is read as an instruction of the program, which then
//! dies of SIGTRAP. So no probe is placed in a host that reads code.

use std::path::{Path, PathBuf};

use super::elf::ElfFile;
use super::inspect::Process;
use super::space::AddressSpace;

/// A program that runs others inside itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    pub name: &'static str,
    /// Whether probes on allocators do no harm there.
    pub probes: bool,
    /// What it does. Completes "This process is NAME, which …".
    what: &'static str,
    mark: Mark,
}

/// How it is known.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// The program's name is one of these.
    Exe(&'static [&'static str]),
    /// A file whose name begins so is mapped, or the program is called so.
    Mapped(&'static [&'static str]),
    /// One of valgrind's tools, which are called after what they do.
    Valgrind,
    /// qemu's emulators of one process, one for each architecture.
    QemuUser,
    /// rr traces the process, or has put its library there.
    Rr,
}

const TRANSLATES: &str = "runs another program by translating its code";

/// The hosts that are known.
///
/// Tried are Valgrind 3.19 and qemu-user 7.2, that one under another name, too. The others are told by the names in their documentation and sources: rr
/// (`rr` as tracer, `librrpreload.so`), gVisor (`runsc`), DynamoRIO (`libdynamorio.so`), Pin (`pinbin`), FEX
/// (`FEXInterpreter`, `FEXLoader`), Box64, Wine.
static HOSTS: [Host; 9] = [
    Host { name: "valgrind", probes: false, what: TRANSLATES, mark: Mark::Valgrind },
    Host { name: "qemu-user", probes: false, what: TRANSLATES, mark: Mark::QemuUser },
    Host { name: "Box64", probes: false, what: TRANSLATES, mark: Mark::Exe(&["box64", "box86"]) },
    Host {
        name: "FEX",
        probes: false,
        what: TRANSLATES,
        mark: Mark::Exe(&["FEXInterpreter", "FEXLoader", "FEX"]),
    },
    Host { name: "DynamoRIO", probes: false, what: TRANSLATES, mark: Mark::Mapped(&["libdynamorio.so"]) },
    Host {
        name: "Pin",
        probes: false,
        what: TRANSLATES,
        mark: Mark::Mapped(&["pinbin", "libpindwarf.so", "libpin3dwarf.so"]),
    },
    Host {
        name: "gVisor",
        probes: false,
        what: "runs the programs of a sandbox behind a kernel of its own",
        mark: Mark::Exe(&["runsc", "runsc-sandbox", "runsc-gofer"]),
    },
    Host {
        name: "rr",
        probes: false,
        what: "runs this program to record or replay it, one thread at a time; probes would spoil the recording",
        mark: Mark::Rr,
    },
    Host {
        name: "Wine",
        probes: true,
        what: "runs a Windows program on a heap of Wine's own, by code without unwind information for this system",
        mark: Mark::Exe(&["wine", "wine64", "wine-preloader", "wine64-preloader"]),
    },
];

/// What tells a host.
#[derive(Clone, Debug, Default)]
struct Traits<'a> {
    exe: Option<&'a Path>,
    /// Whether the program exports what only qemu's emulators of one process do.
    emulates: bool,
    tracer: Option<&'a str>,
    mapped: Vec<&'a str>,
}

impl Host {
    /// The host that the process is, if it is one.
    pub fn of(process: &Process, space: &AddressSpace) -> Option<&'static Self> {
        let mapped = space.modules().filter_map(|(_, module)| module.path.file_name()?.to_str()).collect();
        let exe = process.exe.as_deref();
        let program = space.modules().find(|(_, module)| Some(module.path.as_path()) == exe);
        let emulates =
            program.is_some_and(|(_, module)| module.elf.as_ref().is_ok_and(|elf| exports_emulator(elf)));
        Self::told_by(&Traits { exe, emulates, tracer: process.tracer.as_deref(), mapped })
    }

    /// The host of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        HOSTS.iter().find(|host| host.name == name)
    }

    fn told_by(traits: &Traits<'_>) -> Option<&'static Self> {
        let exe = traits.exe.and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
        let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
        let mapped = |start: &str| traits.mapped.iter().any(|name| name.starts_with(start));
        HOSTS.iter().find(|host| match &host.mark {
            Mark::Exe(names) => names.contains(&exe),
            Mark::Mapped(names) => names.iter().any(|name| exe == *name || mapped(name)),
            Mark::Valgrind => {
                let tool = ["-amd64-linux", "-x86-linux"].iter().any(|end| exe.ends_with(end));
                let installed = traits.exe.is_some_and(|path| path.iter().any(|part| part == "valgrind"));
                tool && (installed || mapped("vgpreload_"))
            }
            Mark::QemuUser => traits.emulates || is_qemu_user(exe),
            Mark::Rr => traits.tracer == Some("rr") || mapped("librrpreload") || mapped("librrpage"),
        })
    }

    /// What the user must know.
    pub fn sentence(&self) -> String {
        let Self { name, what, .. } = self;
        let probes = if self.probes { "" } else { " No allocator is probed." };
        match self.mark {
            Mark::Rr => format!("This process is under rr, which {what}. Its waits are rr's, too.{probes}"),
            _ => format!(
                "This process is {name}, which {what}. What runs inside is not seen: neither what it allocates nor \
                 what its threads wait for.{probes}"
            ),
        }
    }
}

/// Whether a program exports the memory map of a guest, as qemu's emulators of one process do for their
/// plugins, whatever they are called (qemu 7.2, linux-user/mmap.c). A static one exports nothing.
fn exports_emulator(elf: &ElfFile) -> bool {
    use object::{Object as _, ObjectSymbol as _};
    let Ok(parsed) = elf.parsed() else { return false };
    let exports = |name: &str| parsed.dynamic_symbols().any(|s| s.is_definition() && s.name() == Ok(name));
    ["guest_base", "target_mmap"].iter().all(|name| exports(name))
}

/// Whether it is one of qemu's emulators of one process: `qemu-aarch64`, `qemu-x86_64-static`.
fn is_qemu_user(name: &str) -> bool {
    /// `TARGET_ARCH` of configs/targets/*-linux-user.mak, qemu 10.
    #[rustfmt::skip]
    const TARGETS: &[&str] = &[
        "aarch64", "aarch64_be", "alpha", "arm", "armeb", "cris", "hexagon", "hppa", "i386", "loongarch64", "m68k",
        "microblaze", "microblazeel", "mips", "mips64", "mips64el", "mipsel", "mipsn32", "mipsn32el", "nios2",
        "or1k", "ppc", "ppc64", "ppc64le", "riscv32", "riscv64", "s390x", "sh4", "sh4eb", "sparc",
        "sparc32plus", "sparc64", "x86_64", "xtensa", "xtensaeb",
    ];
    let Some(target) = name.strip_prefix("qemu-") else { return false };
    TARGETS.contains(&target.strip_suffix("-static").unwrap_or(target))
}

/// The name of the process that traces `pid`, from the text of its status.
pub(super) fn tracer(status: &str) -> Option<String> {
    let pid = status.lines().find_map(|l| l.strip_prefix("TracerPid:"))?.trim();
    let name = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/comm"))).ok()?;
    (pid != "0").then(|| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(exe: &str, tracer: Option<&str>, mapped: &[&str]) -> Option<&'static str> {
        let traits = Traits { exe: Some(Path::new(exe)), emulates: false, tracer, mapped: mapped.to_vec() };
        Host::told_by(&traits).map(|host| host.name)
    }

    #[test]
    fn hosts_by_their_names() {
        let installed = "/usr/libexec/valgrind/memcheck-amd64-linux";
        assert_eq!(told(installed, None, &["libc.so.6"]), Some("valgrind"));
        let preload = ["vgpreload_core-amd64-linux.so"];
        assert_eq!(told("/opt/vg/none-amd64-linux", None, &preload), Some("valgrind"));
        for exe in ["/usr/bin/qemu-x86_64", "/usr/bin/qemu-aarch64-static", "/x/qemu-mips (deleted)"] {
            assert_eq!(told(exe, None, &[]), Some("qemu-user"), "{exe}");
        }
        assert_eq!(told("/usr/bin/runsc", None, &[]), Some("gVisor"));
        assert_eq!(told("/usr/bin/app", None, &["libdynamorio.so.11.0"]), Some("DynamoRIO"));
        assert_eq!(told("/opt/pin/intel64/bin/pinbin", None, &[]), Some("Pin"));
        assert_eq!(told("/usr/bin/FEXInterpreter", None, &[]), Some("FEX"));
        assert_eq!(told("/usr/bin/box64", None, &[]), Some("Box64"));
        assert_eq!(told("/usr/lib/wine/wine64-preloader", None, &[]), Some("Wine"));
        assert_eq!(told("/usr/bin/app", Some("rr"), &[]), Some("rr"));
        assert_eq!(told("/usr/bin/app", None, &["librrpreload.so"]), Some("rr"));
    }

    #[test]
    fn an_emulator_under_another_name() {
        let traits = Traits { exe: Some(Path::new("/tmp/x")), emulates: true, ..Traits::default() };
        assert_eq!(Host::told_by(&traits).map(|host| host.name), Some("qemu-user"));
    }

    #[test]
    fn others_are_none() {
        for exe in [
            "/usr/bin/qemu-system-x86_64",
            "/usr/bin/qemu-img",
            "/usr/bin/build-amd64-linux",
            "/usr/bin/winegrower",
            "/usr/bin/app",
        ] {
            assert_eq!(told(exe, Some("gdb"), &["libc.so.6", "libpinyin.so"]), None, "{exe}");
        }
    }

    #[test]
    fn what_is_said() {
        let valgrind = &HOSTS[0];
        let text = valgrind.sentence();
        assert!(text.starts_with("This process is valgrind") && text.contains("not seen"), "{text}");
    }
}
