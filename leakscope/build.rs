//! Builds the BPF programs with the toolchain that `cargo xtask setup` recorded, and lays them where
//! the crate embeds them from: `$OUT_DIR/leakscope.bpf.o`.
//!
//! The nested build has a target directory of its own, `bpf` in this workspace's. It is the same for
//! all profiles and tools, so `core` is compiled once, and neither build waits for the other's lock.
//!
//! The crate `aya-build` does not fit: it takes toolchains by their names in rustup alone, lets no one choose the linker
//! or the instruction set, keeps the environment of the outer build, and compiles `core` again for each profile.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// What setup recorded.
const RECORD: &str = ".bpf-toolchain";

/// What the programs are made of, below the workspace's root.
const SOURCES: &[&str] = &[
    RECORD,
    "Cargo.toml",
    "Cargo.lock",
    "leakscope-ebpf/Cargo.toml",
    "leakscope-ebpf/src",
    "leakscope-common/Cargo.toml",
    "leakscope-common/src",
];

const TARGET: &str = "bpfel-unknown-none";

fn main() -> ExitCode {
    match build() {
        Ok(outcome) => outcome,
        Err(error) => {
            // Reported by cargo as one line; a failure would print all this program's output.
            println!("cargo::error={error}");
            ExitCode::SUCCESS
        }
    }
}

/// Fails where the BPF programs do not compile: cargo then shows the compiler's messages.
fn build() -> Result<ExitCode, String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest.parent().ok_or("the crate lies in no workspace")?;
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let toolchain = Toolchain::recorded(root)?;
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not inside a target directory")?.join("bpf");
    let status = cargo(&toolchain, root, &target).status();
    if !status.map_err(|error| format!("cannot run {}: {error}", toolchain.cargo))?.success() {
        println!("cargo::error=the BPF programs do not compile");
        return Ok(ExitCode::FAILURE);
    }
    let object = target.join(TARGET).join("release/leakscope-ebpf");
    fs::copy(&object, out.join("leakscope.bpf.o"))
        .map_err(|error| format!("cannot copy {}: {error}", object.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The compiler and linker for BPF.
struct Toolchain {
    cargo: String,
    rustc: String,
    linker: String,
}

impl Toolchain {
    /// Reads the record and checks that it still tells the truth.
    fn recorded(root: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(root.join(RECORD))
            .map_err(|_| "the BPF toolchain is not set up: run `cargo xtask setup`")?;
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned())
                .ok_or(format!("{RECORD} names no {key}: run `cargo xtask setup`"))
        };
        let toolchain = Self { cargo: value("cargo")?, rustc: value("rustc")?, linker: value("linker")? };
        let version = value("rustc_version")?;
        let now = Command::new(&toolchain.rustc).arg("-V").env_remove("LD_LIBRARY_PATH").output();
        let same = now.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == version);
        if !same || !Path::new(&toolchain.linker).is_file() {
            return Err("the BPF toolchain has changed: run `cargo xtask setup`".into());
        }
        Ok(toolchain)
    }
}

/// The nested build. `RUSTC_BOOTSTRAP` lets any compiler use what `core` needs; `v3` is the first
/// instruction set with atomic exchange.
fn cargo(toolchain: &Toolchain, root: &Path, target: &Path) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    for (name, _) in env::vars_os() {
        if is_outer(&name) {
            command.env_remove(name);
        }
    }
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Ctarget-cpu=v3",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        &format!("-Clinker={}", toolchain.linker),
    ]
    .join("\x1f");
    command
        .args(["build", "--release", "--locked", "-Z", "build-std=core"])
        .args(["--package", "leakscope-ebpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false")
        .env("CARGO_TERM_COLOR", "never");
    command
}

/// Whether a variable tells of the build around this one. What configures downloads and the job
/// server goes through.
fn is_outer(name: &OsString) -> bool {
    const KEPT: &[&str] = &["CARGO_HOME", "CARGO_MAKEFLAGS"];
    const KEPT_PREFIXES: &[&str] = &["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    const DROPPED: &[&str] =
        &["LD_LIBRARY_PATH", "OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG"];
    const DROPPED_PREFIXES: &[&str] =
        &["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "CLIPPY_"];
    let Some(name) = name.to_str() else { return false };
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if KEPT.contains(&name) || starts(KEPT_PREFIXES) {
        return false;
    }
    DROPPED.contains(&name) || starts(DROPPED_PREFIXES)
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or(format!("cargo sets no {name}"))
}
