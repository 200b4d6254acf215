//! Where members lie in the runtime's structures, by version of Go.
//!
//! `runtime.offsets` was made from the DWARF of a program of each version; a column is a version.

use std::collections::HashMap;

/// Offsets by structure, member and version, made from the DWARF of programs of each.
const TABLE: &str = include_str!("runtime.offsets");
/// Its columns: the N of Go 1.N.
pub const VERSIONS: [u32; 8] = [19, 21, 22, 23, 24, 25, 26, 27];

/// Offsets of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    members: HashMap<(String, String), usize>,
    /// The version that they are of.
    pub minor: u32,
}

impl Offsets {
    /// The offsets of Go 1.`minor`; of a version that the table does not have, those of the nearest one
    /// before it (or the first).
    pub fn of(minor: u32) -> Self {
        let column = VERSIONS.iter().rposition(|v| *v <= minor).unwrap_or(0);
        let mut members = HashMap::new();
        let mut structure = "";
        for line in TABLE.lines() {
            if let Some(name) = line.strip_prefix("== runtime.") {
                structure = name.trim();
                continue;
            }
            let mut fields = line.split_whitespace();
            if let (Some(member), Some(offset)) = (fields.next(), fields.nth(column))
                && let Ok(offset) = offset.parse()
            {
                members.insert((structure.to_owned(), member.to_owned()), offset);
            }
        }
        Self { members, minor: VERSIONS[column] }
    }

    /// Whether these are the offsets of Go 1.`minor` itself.
    pub fn is_of(&self, minor: u32) -> bool {
        self.minor == minor
    }

    /// Sets a member, as another source says.
    pub fn set(&mut self, structure: &str, member: &str, offset: usize) {
        self.members.insert((structure.to_owned(), member.to_owned()), offset);
    }

    /// The offset of a member that not all versions have. `__size` is the size of the structure.
    pub fn find(&self, structure: &str, member: &str) -> Option<usize> {
        self.members.get(&(structure.to_owned(), member.to_owned())).copied()
    }
}

/// Largest `g` and `m` that are believed; Go 1.27 has 456 and 1832 bytes.
const LARGEST: usize = 1 << 14;

/// Members of `runtime.g` and what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GLayout {
    /// Bytes of a `g`.
    pub size: usize,
    /// First address of the stack.
    pub stack_low: usize,
    /// The one after its last.
    pub stack_high: usize,
    /// The `m` that it runs on.
    pub m: usize,
    /// `sched.sp`: the stack pointer while it does not run.
    pub sched_sp: usize,
    /// Where it goes on.
    pub sched_pc: usize,
    /// `sched.g`: its own address, which makes a self-check.
    pub sched_g: usize,
    /// Stack pointer as it entered a system call; 0 in none.
    pub syscall_sp: usize,
    /// The same for the address.
    pub syscall_pc: usize,
    /// `atomicstatus`: one of the `_G…` constants.
    pub status: usize,
    /// `goid`: its number.
    pub id: usize,
    /// When a garbage collection saw it blocked; 0 before.
    pub wait_since: usize,
    /// Number of the reason to wait.
    pub wait_reason: usize,
    /// The `m` that it is bound to.
    pub locked_m: usize,
    /// Number of the creator.
    pub parent: Option<usize>,
    /// Address of the `go` statement.
    pub created_at: usize,
    /// `startpc`: the entry of its first function.
    pub start: usize,
    /// `labels`: those of the profiler.
    pub labels: usize,
    /// `waiting`: what it is parked on.
    pub waiting: Option<usize>,
    /// Of `runtime.m`: the thread's ID.
    pub m_thread: usize,
}

impl GLayout {
    /// `None` if a member that is needed is not known, or lies where it cannot: the program's own DWARF
    /// may say anything.
    pub fn new(offsets: &Offsets) -> Option<Self> {
        let size = offsets.find("g", "__size").filter(|size| *size <= LARGEST)?;
        let within = |at: &usize| at.checked_add(8).is_some_and(|end| end <= size);
        let g = |member: &str| offsets.find("g", member).filter(within);
        let sched = g("sched")?;
        let in_sched = |member: &str| sched.checked_add(offsets.find("gobuf", member)?).filter(within);
        Some(Self {
            size,
            stack_low: g("stack")?,
            stack_high: Some(g("stack")? + 8).filter(within)?,
            m: g("m")?,
            sched_sp: in_sched("sp")?,
            sched_pc: in_sched("pc")?,
            sched_g: in_sched("g")?,
            syscall_sp: g("syscallsp")?,
            syscall_pc: g("syscallpc")?,
            status: g("atomicstatus")?,
            id: g("goid")?,
            wait_since: g("waitsince")?,
            wait_reason: g("waitreason")?,
            locked_m: g("lockedm")?,
            parent: g("parentGoid"),
            created_at: g("gopc")?,
            start: g("startpc")?,
            labels: g("labels")?,
            waiting: g("waiting"),
            m_thread: offsets.find("m", "procid").filter(|at| *at < LARGEST)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_what_is_needed() {
        for minor in VERSIONS {
            let offsets = Offsets::of(minor);
            assert!(offsets.is_of(minor));
            let layout = GLayout::new(&offsets).expect("a layout");
            assert!(layout.size >= 392 && layout.labels < layout.size, "{minor}");
            assert!(offsets.find("moduledata", "gofunc").is_some(), "{minor}");
        }
        assert_eq!(GLayout::new(&Offsets::of(27)).map(|l| (l.id, l.start, l.labels)), Some((152, 304, 352)));
        assert_eq!(Offsets::of(19).find("g", "parentGoid"), None);
    }

    #[test]
    fn members_lie_within_their_structure() {
        for (structure, member) in
            [("g", "__size"), ("g", "stack"), ("g", "sched"), ("gobuf", "sp"), ("m", "procid")]
        {
            for lie in [usize::MAX, usize::MAX - 8, 1 << 40] {
                let mut offsets = Offsets::of(27);
                offsets.set(structure, member, lie);
                assert_eq!(GLayout::new(&offsets), None, "{structure}.{member} at {lie:#x}");
            }
        }
    }

    #[test]
    fn unknown_versions_get_the_nearest_before() {
        assert_eq!(Offsets::of(20).minor, 19);
        assert_eq!(Offsets::of(5).minor, 19);
        assert!(!Offsets::of(99).is_of(99));
        assert_eq!(Offsets::of(99).minor, 27);
    }
}
