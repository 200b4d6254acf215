//! An emulated machine that boots a kernel with this machine's files and runs a script.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{archive::Archive, packages::Kernel};
use crate::{run, workspace::find_in_path};

const QEMU: &str = "qemu-system-x86_64";

/// What a kernel needs to see this machine's files, where it is not built in.
const MODULES: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "fscache",
    "netfs",
    "9pnet",
    "9pnet_virtio",
    "9p",
];

/// Modules are tried until each has found those that it needs.
const INIT: &str = r"#!/bin/busybox sh
alias bb=/bin/busybox
bb mount -t proc proc /proc
bb mount -t sysfs sys /sys
bb mount -t devtmpfs dev /dev
for f in /modules/*.xz; do [ -e $f ] && bb unxz $f; done
for pass in 1 2 3 4 5; do
    for f in /modules/*.ko; do bb insmod $f 2>/dev/null; done
done
bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /root || bb poweroff -f
for d in proc sys dev; do bb mount --move /$d /root/$d; done
bb mount -t tmpfs run /root/run
bb cp /script /root/run/script
exec /bin/busybox switch_root /root /bin/sh /run/script
";

const BEGIN: &str = "\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp NO_COLOR=1
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 group /sys/fs/cgroup
echo machine: $(uname -srvm)
cd /tmp
";
const END: &str = "sync\nbusybox poweroff -f\n";

/// Whether this machine has what is needed.
pub(super) fn check() -> Result<()> {
    for (program, package) in [(QEMU, "qemu-system-x86"), ("busybox", "busybox-static")] {
        if find_in_path(program).is_none() {
            bail!(
                "there is no {program}: run `sudo apt-get install --no-install-recommends {package}` or the like"
            );
        }
    }
    Ok(())
}

/// Boots, runs the script as root and switches off; the console goes to a file.
pub(super) fn boot(kernel: &Kernel, script: &str, console: &Path, limit: Duration) -> Result<()> {
    let initial = console.with_extension("cpio");
    fs::write(&initial, archive(kernel, script)?)
        .with_context(|| format!("cannot write {}", initial.display()))?;
    let mut qemu = Command::new(QEMU);
    qemu.args(["-accel", accelerator(), "-cpu", "max", "-smp", "2", "-m", "3072"]);
    qemu.args(["-nographic", "-no-reboot", "-nic", "none"]);
    qemu.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initial);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
    run::logged(&format!("running {}", kernel.package), &mut qemu, console, limit)
}

/// What is there before this machine's files are.
fn archive(kernel: &Kernel, script: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "root", "modules"] {
        archive.directory(directory);
    }
    let busybox = find_in_path("busybox").context("there is no busybox")?;
    archive.file("bin/busybox", &fs::read(&busybox).context("cannot read busybox")?);
    archive.file("init", INIT.as_bytes());
    archive.file("script", [BEGIN, script, END].concat().as_bytes());
    for path in &kernel.modules {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.split_once(".ko").is_some_and(|(stem, _)| MODULES.contains(&stem)) {
            let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            archive.file(&format!("modules/{name}"), &content);
        }
    }
    Ok(archive.finish())
}

/// `kvm` where the processor has what it takes, and the user may.
fn accelerator() -> &'static str {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = processor.split_whitespace().any(|word| word == "vmx" || word == "svm");
    let allowed = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if able && allowed { "kvm" } else { "tcg" }
}
