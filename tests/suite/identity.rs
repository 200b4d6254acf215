//! Two files that look alike in `/proc/PID/maps`: an allocator and the program that it is loaded into. The device
//! and the inode number printed there are the same for both, and only stat(2) tells them apart.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leakscope_tests::mounts::Mounts;
use leakscope_tests::process::{copy_program, run_ok};
use leakscope_tests::programs::{Allocator, Library, SITES_C};
use leakscope_tests::{Expect, Fixture, Leakscope};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The program and the allocator, copied into these directories as the first file of each.
fn copied(program: &Path, allocator: &Path) -> Result<()> {
    let built = SITES_C.allocator(Allocator::Preloaded(Library::Jemalloc)).build()?;
    copy_program(&built.path, program)?;
    copy_program(built.preload.context("a library to preload")?, allocator)?;
    Ok(())
}

/// Device and inode number of the mappings of a file, as the maps print them.
fn printed(pid: u32, path: &Path) -> Result<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let path = path.to_str().context("a name in UTF-8")?;
    let line = maps.lines().find(|line| line.ends_with(path)).context("a mapping")?;
    Ok(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" "))
}

/// Runs the program with the allocator, and compares its heap with the truth.
fn check(program: &Path, allocator: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("threaded").env("LD_PRELOAD", allocator);
    let mut fixture = Fixture::start_command(&mut command)?;
    assert_eq!(printed(fixture.pid(), program)?, printed(fixture.pid(), allocator)?, "they look alike");
    assert_ne!(fs::metadata(program)?.dev(), fs::metadata(allocator)?.dev(), "but are none");
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, Expect::default());
    let modules: Vec<&str> = report
        .sites()
        .flat_map(|site| site.frames().filter_map(|frame| frame["module"].as_str()).collect::<Vec<_>>())
        .collect();
    for file in [program, allocator] {
        assert!(modules.iter().any(|module| Path::new(module) == file), "{} in {modules:?}", file.display());
    }
    assert!(fixture.end()?.success());
    Ok(())
}

/// Layers of overlayfs on different file systems, as containers have them.
#[test]
fn layers_of_an_overlay() -> Result<()> {
    let mut mounts = Mounts::new()?;
    let upper = mounts.mount("upper", &["-t", "tmpfs", "none"])?;
    let lower = mounts.mount("lower", &["-t", "tmpfs", "none"])?;
    copied(&upper.join("program"), &lower.join("allocator.so"))?;
    let layers = format!("lowerdir={}:{}", upper.display(), lower.display());
    let merged = mounts.mount("merged", &["-t", "overlay", "overlay", "-o", &layers])?;
    check(&merged.join("program"), &merged.join("allocator.so"))
}

/// Subvolumes of btrfs.
#[test]
fn subvolumes_of_btrfs() -> Result<()> {
    let mut mounts = Mounts::new()?;
    let image = mounts.path().join("image");
    fs::File::create_new(&image)?.set_len(300 << 20)?;
    run_ok(Command::new("mkfs.btrfs").arg("--quiet").arg(&image), TIMEOUT)?;
    let image = image.to_str().context("a name in UTF-8")?.to_owned();
    let volume = mounts.mount("volume", &["-o", "loop", &image])?;
    let subvolume = |name: &str| -> Result<PathBuf> {
        let at = volume.join(name);
        run_ok(Command::new("btrfs").args(["--quiet", "subvolume", "create"]).arg(&at), TIMEOUT)?;
        Ok(at)
    };
    let (home, root) = (subvolume("home")?, subvolume("root")?);
    copied(&home.join("program"), &root.join("allocator.so"))?;
    check(&home.join("program"), &root.join("allocator.so"))
}
