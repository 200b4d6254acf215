//! What this process may do with the kernel, found by doing the smallest thing of its kind.
//!
//! Neither a list of capabilities nor a sysctl tells that for all kernels: perf's uprobes want CAP_SYS_ADMIN on
//! some and CAP_PERFMON on others, and a security module may refuse what the capabilities allow.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::MemfdFlags;

/// `BPF_PROG_LOAD` (uapi/linux/bpf.h, `enum bpf_cmd`).
const BPF_PROG_LOAD: libc::c_long = 5;
/// `BPF_PROG_TYPE_KPROBE`, the type of programs on probes.
const BPF_PROG_TYPE_KPROBE: u32 = 2;
/// `r0 = 0; exit`, in the kernel's encoding of instructions.
const RETURN_ZERO: [u64; 2] = [0xb7, 0x95];

/// First members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}
const _: () = assert!(size_of::<LoadAttr>() == 48);

/// Loads a program of the kind that probes run, and drops it.
pub(super) fn load_program() -> io::Result<()> {
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: RETURN_ZERO.len() as u32,
        insns: RETURN_ZERO.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attributes, the instructions and the license outlive the call; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    owned(fd).map(drop)
}

/// First members of `struct perf_event_attr` (uapi/linux/perf_event.h), up to the uprobe's place.
#[repr(C)]
#[derive(Default)]
struct EventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    uprobe_path: u64,
    probe_offset: u64,
}
const _: () = assert!(size_of::<EventAttr>() == 72);

/// `PERF_FLAG_FD_CLOEXEC`.
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// The flag `disabled` of `perf_event_attr`.
const DISABLED: u64 = 1;

/// Opens a uprobe event on a file of our own that nobody has mapped: no process is touched.
pub(super) fn open_uprobe() -> io::Result<()> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
    let kind = kind.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut file = code_file()?;
    // `nop`
    file.write_all(&[0x90; 64])?;
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let attr = EventAttr {
        kind,
        size: size_of::<EventAttr>() as u32,
        flags: DISABLED,
        uprobe_path: path.as_ptr() as u64,
        ..EventAttr::default()
    };
    const THIS_PROCESS: libc::pid_t = 0;
    const ANY_CPU: libc::c_int = -1;
    const NO_GROUP: libc::c_int = -1;
    // SAFETY: the attributes and the path outlive the call; the result is checked.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            THIS_PROCESS,
            ANY_CPU,
            NO_GROUP,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    owned(fd).map(drop)
}

fn code_file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create(c"leakscope-trial", MemfdFlags::CLOEXEC)?.into())
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
