//! The machine code that the kernel made of a process's BPF programs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// `BPF_PROG_GET_FD_BY_ID`, `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const GET_FD_BY_ID: libc::c_long = 13;
const GET_INFO_BY_FD: libc::c_long = 15;
/// Room for a program's machine code.
const ROOM: usize = 1 << 20;
/// `add r9, gs:[…]`: what the compiler of programs (arch/x86/net/bpf_jit_comp.c, since Linux 6.13) begins one
/// with whose stack is the CPU's, not the thread's.
const STACK_OF_THE_CPU: [u8; 5] = [0x65, 0x4c, 0x03, 0x0c, 0x25];

/// A BPF program.
#[derive(Clone)]
pub struct Program {
    /// `BPF_PROG_TYPE_…`
    pub kind: u32,
    /// Its name, as far as the kernel keeps it.
    pub name: String,
    code: Vec<u8>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Program {
    /// `BPF_PROG_TYPE_KPROBE`: uprobes, too.
    pub const KPROBE: u32 = 2;
    /// `BPF_PROG_TYPE_TRACING`: those on tracepoints with BTF.
    pub const TRACING: u32 = 26;

    /// Whether its stack belongs to the CPU: then another program of its kind may run on the same one while
    /// this one is preempted.
    pub fn has_the_stack_of_the_cpu(&self) -> bool {
        self.code.windows(STACK_OF_THE_CPU.len()).any(|bytes| bytes == STACK_OF_THE_CPU)
    }

    fn read(id: u32, kind: u32) -> Result<Self> {
        let mut by_id = [0u32; 16];
        by_id[0] = id;
        let fd = call(GET_FD_BY_ID, by_id.as_mut_ptr().cast(), size_of_val(&by_id))
            .with_context(|| format!("open program {id}"))?;
        let mut code = vec![0u8; ROOM];
        let mut info = ProgramInfo {
            jited_length: u32::try_from(code.len())?,
            jited: code.as_mut_ptr() as u64,
            ..ProgramInfo::default()
        };
        let mut request = InfoRequest {
            fd: u32::try_from(fd)?,
            length: u32::try_from(size_of::<ProgramInfo>())?,
            info: (&raw mut info) as u64,
        };
        let told = call(GET_INFO_BY_FD, (&raw mut request).cast(), size_of_val(&request));
        // SAFETY: a descriptor of our own that nobody else knows.
        unsafe { libc::close(i32::try_from(fd)?) };
        told.with_context(|| format!("read program {id}"))?;
        // Where the kernel hides addresses it tells the length, but no code.
        ensure!(info.jited != 0, "the machine code of program {id} is kept secret");
        let length = info.jited_length as usize;
        ensure!((1..=ROOM).contains(&length), "program {id} has {length} bytes of machine code");
        code.truncate(length);
        let name = info.name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
        Ok(Self { kind, name, code })
    }
}

/// The programs that a process holds.
pub fn programs(pid: u32) -> Result<Vec<Program>> {
    let mut ids = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u32>().ok())
        };
        // Links of programs have their number, too, but no length.
        if let (Some(id), Some(kind)) = (value("prog_id"), value("prog_type")) {
            ids.insert(id, kind);
        }
    }
    ids.into_iter().map(|(id, kind)| Program::read(id, kind)).collect()
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// `bpf_attr.info`
#[repr(C)]
struct InfoRequest {
    fd: u32,
    length: u32,
    info: u64,
}

fn call(command: libc::c_long, attributes: *mut libc::c_void, size: usize) -> Result<libc::c_long> {
    // SAFETY: the attributes have that size, and the kernel checks what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    ensure!(result >= 0, std::io::Error::last_os_error());
    Ok(result)
}
