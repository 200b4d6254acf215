//! Whether a target under seccomp survives a return probe.
//!
//! From Linux 6.11 on a return probe ends in a system call of the target's own (`uretprobe`), which
//! a strict filter may answer with a kill; later kernels pass that call through unfiltered. Which of
//! the two this kernel does is tried out on a child of ours under such a filter.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::path::PathBuf;

use leakscope_common::config::RunState;
use leakscope_common::counter::Tally;
use leakscope_common::probe::{Cookie, Effect, NO_REGISTER};

use crate::bpf::attach::{Attached, Links, ProbeSite};
use crate::bpf::object::{Load, Object};
use crate::collect::heap::probes::ALLOC_RETURN;
use crate::failure::Failure;
use crate::process::{Process, maps};

/// Refuses a target that a return probe could kill.
pub fn check(process: &Process) -> Result<(), Failure> {
    if process.seccomp == 0 {
        return Ok(());
    }
    match prove() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::failed(anyhow::anyhow!(
            "process {} ({}) runs under a seccomp filter, and on this kernel a return probe could make that filter \
             kill it (tried on a child of leakscope's own); use Linux 6.14 or newer, or start the program without \
             the filter",
            process.pid,
            process.comm
        ))),
        Err(failure) => Err(failure),
    }
}

/// The function that the child calls under a return probe.
#[inline(never)]
extern "C" fn probed(value: u64) -> u64 {
    std::hint::black_box(value).wrapping_add(1)
}

/// Lets a child of ours return through a return probe under a filter that kills on every system
/// call it does not need. `false`: it was killed.
fn prove() -> Result<bool, Failure> {
    let offset = own_offset(probed as *const () as u64).ok_or_else(|| {
        Failure::failed(anyhow::anyhow!("cannot find leakscope's own code in /proc/self/maps"))
    })?;
    let (reader, mut writer) = pipe().map_err(Failure::failed)?;
    // SAFETY: the child runs only async-signal-safe code (`run_child`) until it ends.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(Failure::failed(io::Error::last_os_error()));
    }
    if pid == 0 {
        run_child(reader.as_raw_fd());
    }
    let child = Child(pid);
    drop(reader);
    let load = Load { probes: vec![ALLOC_RETURN], ..Load::default() };
    let mut object = Object::load(pid.cast_unsigned(), &load, Links::Perf, false)?;
    let mut attached = Attached::new(Links::Perf);
    let site = ProbeSite {
        program: ALLOC_RETURN,
        function: "probed".to_owned(),
        path: PathBuf::from("/proc/self/exe"),
        file: "leakscope itself".to_owned(),
        offset,
        cookie: Cookie::new(
            Effect::Allocate,
            NO_REGISTER,
            NO_REGISTER,
            NO_REGISTER,
            NO_REGISTER,
            NO_REGISTER,
            1,
        ),
    };
    attached.add(&mut object, pid.cast_unsigned(), &site)?;
    object.set_run_state(RunState::Recording)?;
    writer.write_all(b"g").map_err(Failure::failed)?;
    drop(writer);
    let survived = child.wait().map_err(Failure::failed)?;
    let returns = object.counters()?.get(Tally::AllocReturns as usize).copied().unwrap_or(0);
    if survived && returns == 0 {
        return Err(Failure::failed(anyhow::anyhow!(
            "the target runs under seccomp, and it cannot be proven that return probes are safe there: the trial's \
             probe did not fire"
        )));
    }
    Ok(survived)
}

/// A child that is waited for on every way out.
struct Child(libc::pid_t);

impl Child {
    /// Waits for its end; whether it ended by itself.
    fn wait(self) -> io::Result<bool> {
        let pid = self.0;
        std::mem::forget(self);
        let mut status = 0;
        // SAFETY: waits for a child of ours; the pointer is valid.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
            return Err(io::Error::last_os_error());
        }
        Ok(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of ours that was not waited for yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Offset in our own file of the code at `address`.
pub(super) fn own_offset(address: u64) -> Option<u64> {
    let mappings = maps::executable(std::process::id()).ok()?;
    let mapping = mappings.iter().find(|m| m.start <= address && address < m.end)?;
    Some(address - mapping.start + mapping.offset)
}

fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: the array takes two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: two fresh descriptors that nobody else owns.
    Ok(unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) })
}

/// Waits for a byte, calls the probed function, ends: all under a filter that allows just that.
fn run_child(wait_for: libc::c_int) -> ! {
    const fn statement(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
    }
    const fn allow(nr: libc::c_long, steps_to_allow: u8) -> libc::sock_filter {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        libc::sock_filter { code: code as u16, jt: steps_to_allow, jf: 0, k: nr as u32 }
    }
    let mut filter = [
        // The system call's number is the first member of `struct seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        allow(libc::SYS_read, 3),
        allow(libc::SYS_exit_group, 2),
        allow(libc::SYS_rt_sigreturn, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let mut byte = 0u8;
    // SAFETY: plain system calls with valid pointers; nothing allocates after the fork.
    unsafe {
        let ready = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
            && libc::read(wait_for, (&raw mut byte).cast(), 1) == 1;
        let failed = !ready || probed(41) != 42;
        libc::syscall(libc::SYS_exit_group, libc::c_int::from(failed));
    }
    unreachable!("exit_group does not return")
}
