//! Single-steps a program of ours, whose calls and returns tell the true frame at each instruction, and
//! compares what the rows tell there.

use std::ffi::CString;
use std::path::Path;
use std::process::Command;

use iced_x86::{Decoder, DecoderOptions, Instruction};
use leakscope_common::unwind::{MappingEntry, ReadWord, Regs, StackEnd, cfa, find_row, step};

use crate::process::{ElfFile, MappingKind, maps};
use crate::unwind::{FileSlot, PendingReturns, UnwindTable, anonymous_entry, build, mapping_entry, walk};

/// Instructions that are stepped through at most.
const MOST: u32 = 3_000_000;

struct Memory(libc::pid_t);

impl Memory {
    fn read<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: N };
        let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: N };
        // SAFETY: the local vector is the array; the kernel checks the remote one.
        let read = unsafe { libc::process_vm_readv(self.0, &raw const local, 1, &raw const remote, 1, 0) };
        (read == N as isize).then_some(bytes)
    }
}

impl ReadWord for Memory {
    fn word(&mut self, addr: u64) -> Option<u64> {
        self.read(addr).map(u64::from_le_bytes)
    }
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
struct Frame {
    cfa: u64,
    return_address: u64,
    rbp: u64,
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    same: u32,
    no_rule: u32,
    signal_frames: u32,
    whole_stacks: u32,
}

struct Child(libc::pid_t);

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child; it may be gone already.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

impl Child {
    fn start(path: &Path) -> Self {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero");
        let arguments = [path.as_ptr(), std::ptr::null()];
        // SAFETY: between fork and exec only system calls are made.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; the strings were made before.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::close(1);
                libc::execv(path.as_ptr(), arguments.as_ptr());
                libc::_exit(127);
            }
        }
        let child = Self(pid);
        assert_eq!(child.wait(), Some(libc::SIGTRAP), "stopped at its first instruction");
        child
    }

    /// The signal that it stopped with; `None` at its end.
    fn wait(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        if libc::WIFSTOPPED(status) {
            return Some(libc::WSTOPSIG(status));
        }
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "it failed: {status:#x}");
        None
    }

    fn step(&self, signal: i32) -> Option<i32> {
        // SAFETY: our own child, which is stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, signal) }, 0);
        self.wait()
    }

    fn regs(&self) -> libc::user_regs_struct {
        // SAFETY: integers alone, and the kernel fills them.
        unsafe {
            let mut regs: libc::user_regs_struct = std::mem::zeroed();
            assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, &raw mut regs), 0);
            regs
        }
    }

    /// The rows of everything that it has mapped.
    fn table(&self) -> (UnwindTable, Vec<MappingEntry>) {
        let mut table = UnwindTable::new(u32::MAX, u32::MAX);
        let mut entries = Vec::new();
        for mapping in maps::executable(self.0 as u32).expect("its maps") {
            entries.push(match &mapping.kind {
                MappingKind::File { path, .. } => {
                    let elf = ElfFile::open(path).expect("a mapped file");
                    let slot = build(&elf, None)
                        .map_or(FileSlot::EMPTY, |rows| table.add_file(&rows).expect("fits"));
                    mapping_entry(&elf, slot, &mapping).expect("executable")
                }
                _ => anonymous_entry(&mapping),
            });
        }
        (table, entries)
    }
}

fn innermost(regs: &libc::user_regs_struct) -> Regs {
    Regs { ip: regs.rip, sp: regs.rsp, bp: regs.rbp, exact: Regs::INNERMOST }
}

struct Stepper {
    child: Child,
    memory: Memory,
    table: (UnwindTable, Vec<MappingEntry>),
    files: usize,
    frames: Vec<Frame>,
    /// What signals have interrupted, with the number of frames there.
    interrupted: Vec<(Regs, usize)>,
    tally: Tally,
}

impl Stepper {
    fn run(path: &Path) -> Tally {
        let child = Child::start(path);
        let (memory, table) = (Memory(child.0), child.table());
        let files = table.1.len();
        let mut stepper = Self {
            child,
            memory,
            table,
            files,
            frames: Vec::new(),
            interrupted: Vec::new(),
            tally: Tally::default(),
        };
        for n in 0..MOST {
            let regs = stepper.child.regs();
            let instruction = stepper.instruction(regs.rip);
            stepper.check(&regs, n);
            match stepper.child.step(0) {
                None => return stepper.tally,
                Some(libc::SIGTRAP) => stepper.follow(&regs, &instruction),
                Some(signal) => {
                    // About to be delivered: what is interrupted, and then the handler's first instruction.
                    stepper.follow(&regs, &instruction);
                    let before = stepper.child.regs();
                    assert_eq!(stepper.child.step(signal), Some(libc::SIGTRAP));
                    stepper.interrupted.push((innermost(&before), stepper.frames.len()));
                    let rsp = stepper.child.regs().rsp;
                    let return_address = stepper.memory.word(rsp).expect("a stack");
                    stepper.frames.push(Frame { cfa: rsp + 8, return_address, rbp: before.rbp });
                }
            }
        }
        panic!("it does not end");
    }

    fn instruction(&self, at: u64) -> Instruction {
        let code = self.memory.read::<15>(at).map(Vec::from).unwrap_or_default();
        Decoder::with_ip(64, &code, at, DecoderOptions::NONE).decode()
    }

    /// Follows the stack over the instruction that was run.
    fn follow(&mut self, before: &libc::user_regs_struct, ran: &Instruction) {
        let now = self.child.regs();
        if now.rip == before.rip {
            // A signal came first.
            return;
        }
        if ran.is_call_near() || ran.is_call_near_indirect() {
            self.frames.push(Frame { cfa: now.rsp + 8, return_address: ran.next_ip(), rbp: before.rbp });
            return;
        }
        if ran.mnemonic() == iced_x86::Mnemonic::Ret {
            self.frames.pop();
        }
        if let Some((regs, frames)) = self.interrupted.last()
            && (regs.ip, regs.sp) == (now.rip, now.rsp)
        {
            assert_eq!(self.frames.len(), *frames, "the handler has returned");
            self.interrupted.pop();
        }
        // longjmp, and the dynamic linker that leaves for the program, take the return address off too.
        let leaves = ran.is_jmp_near_indirect();
        while self.frames.last().is_some_and(|frame| now.rsp > frame.cfa || leaves && now.rsp == frame.cfa) {
            self.frames.pop();
        }
    }

    fn check(&mut self, regs: &libc::user_regs_struct, n: u32) {
        let from = innermost(regs);
        let Some(mapping) = self.table.1.iter().find(|m| (m.start..m.end).contains(&regs.rip)).copied()
        else {
            // Mapped since.
            self.table = self.child.table();
            assert!(self.table.1.len() > self.files, "code in no mapping at {:#x}", regs.rip);
            self.files = self.table.1.len();
            return;
        };
        let row = mapping.relative(regs.rip).and_then(|relative| find_row(&self.table.0, &mapping, relative));
        let Some(row) = row.filter(|row| row.cfa_kind() != cfa::NO_INFO) else {
            self.tally.no_rule += 1;
            return;
        };
        let at = format!("{:#x} ({row:?}), instruction {n}", regs.rip - mapping.bias);
        let mut caller = from;
        let stepped = step(&mut caller, row, &self.table.0, &mut self.memory);
        if row.cfa_kind() == cfa::SIGNAL {
            let (interrupted, _) = self.interrupted.last().expect("a handler returns");
            assert_eq!(
                (caller.ip, caller.sp, caller.bp),
                (interrupted.ip, interrupted.sp, interrupted.bp),
                "{at}"
            );
            self.tally.signal_frames += 1;
            return;
        }
        let Some(frame) = self.frames.last() else {
            assert_eq!(stepped, Err(StackEnd::Root), "{at}");
            return;
        };
        assert_eq!(stepped, Ok(()), "{at}, {frame:x?}");
        assert_eq!((caller.ip, caller.sp), (frame.return_address, frame.cfa), "{at}");
        if row.rbp_kind() != leakscope_common::unwind::rbp::UNSUPPORTED {
            assert_eq!(caller.bp, frame.rbp, "{at}");
        }
        self.tally.same += 1;
        // From time to time the whole stack.
        if n.is_multiple_of(61) && self.interrupted.is_empty() {
            let walked =
                walk(from, &self.table.1, &self.table.0, &mut self.memory, PendingReturns::default());
            let seen: Vec<u64> = walked.frames[1..].iter().map(|frame| frame.address).collect();
            let truth: Vec<u64> = self.frames.iter().rev().map(|frame| frame.return_address).collect();
            assert_eq!((walked.end, seen), (StackEnd::Root, truth), "{at}");
            self.tally.whole_stacks += 1;
        }
    }
}

fn compile(compiler: &str, flags: &[&str], to: &Path) -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/unwind/tests/stepping.c");
    let Ok(status) = Command::new(compiler).args(flags).arg("-o").arg(to).arg(source).status() else {
        assert!(
            std::env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_none_or(|v| v != "1"),
            "{compiler} is missing"
        );
        eprintln!("skipped: {compiler} is not installed");
        return false;
    };
    assert!(status.success(), "{compiler} {flags:?}");
    true
}

fn check(flags: &[&str]) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let program = folder.path().join("stepping");
    if !compile("musl-gcc", flags, &program) {
        return;
    }
    let tally = Stepper::run(&program);
    println!("{flags:?}: {tally:?}");
    assert!(tally.same > 30_000, "{tally:?}");
    assert!(tally.no_rule < tally.same / 200, "{tally:?}");
    assert!(tally.signal_frames >= 2 && tally.whole_stacks > 300, "{tally:?}");
}

#[test]
fn static_musl() {
    check(&["-O2", "-static"]);
}

#[test]
fn static_musl_without_symbols() {
    check(&["-O2", "-static", "-s"]);
}

#[test]
fn dynamic_musl() {
    check(&["-O2"]);
}

/// The program's own functions too.
#[test]
fn static_musl_without_any_unwind_information() {
    check(&["-O2", "-static", "-fno-asynchronous-unwind-tables"]);
    check(&["-O0", "-static", "-fno-asynchronous-unwind-tables"]);
}
