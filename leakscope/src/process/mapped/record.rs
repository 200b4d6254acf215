//! Records of the kernel's that tell of mapped code.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use perf_event_open_sys::bindings::{
    PERF_RECORD_LOST, PERF_RECORD_MISC_MMAP_BUILD_ID, PERF_RECORD_MMAP2, perf_event_header,
};

use super::super::maps::FileId;

/// Code that was mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedCode {
    /// When, CLOCK_MONOTONIC in ns.
    pub at_ns: u64,
    /// First address.
    pub start: u64,
    /// First address past it.
    pub end: u64,
    /// What it is of; `None` for memory without a file.
    pub file: Option<MappedFile>,
}

/// The file that code is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// As the target sees it.
    pub path: PathBuf,
    /// Whether that name was gone.
    pub deleted: bool,
    /// Offset in the file of the first address.
    pub offset: u64,
    pub identity: Identity,
}

/// What tells a file from others of its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    BuildId(Vec<u8>),
    /// Of one that has no build ID: as `/proc/PID/maps` prints it.
    Printed(FileId),
}

impl Identity {
    /// What the kernel prints of it; of a file that is told by its build ID, what it prints of none.
    pub(in super::super) const fn printed(&self) -> FileId {
        match self {
            Self::BuildId(_) => FileId { device: 0, inode: 0 },
            Self::Printed(printed) => *printed,
        }
    }
}

/// What a record tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A process has mapped code.
    Mapped(u32, MappedCode),
    /// So many records did not fit the ring.
    Lost(u64),
}

const HEADER: usize = size_of::<perf_event_header>();
/// Bytes before the name (perf_event_open(2)): pid, tid, address, length, offset, 24 bytes of identity, protection,
/// flags.
const BEFORE_NAME: usize = 64;
/// Bytes of the time behind it: all that `sample_id_all` adds where `sample_type` is PERF_SAMPLE_TIME.
const TIME: usize = 8;
/// Longest build ID that a record holds.
const LONGEST_BUILD_ID: usize = 20;

/// Hands each record to `take`. What is cut off or damaged ends it.
pub(super) fn each(mut bytes: &[u8], mut take: impl FnMut(Told)) {
    while let Some((kind, misc, record, rest)) = split(bytes) {
        let told = match kind {
            PERF_RECORD_MMAP2 => mapped(misc, record),
            PERF_RECORD_LOST => word(record, 8).map(Told::Lost),
            _ => None,
        };
        if let Some(told) = told {
            take(told);
        }
        bytes = rest;
    }
}

/// The first record: its kind, its flags and what follows its header; and the rest.
fn split(bytes: &[u8]) -> Option<(u32, u16, &[u8], &[u8])> {
    let size = usize::from(u16::from_ne_bytes(bytes.get(6..HEADER)?.try_into().ok()?));
    let misc = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((half(bytes, 0)?, misc, bytes.get(HEADER..size)?, bytes.get(size..)?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn mapped(misc: u16, record: &[u8]) -> Option<Told> {
    let end = record.len().checked_sub(TIME)?;
    let name = record.get(BEFORE_NAME..end)?;
    let name = &name[..name.iter().position(|&byte| byte == 0)?];
    let start = word(record, 8)?;
    let identity = if u32::from(misc) & PERF_RECORD_MISC_MMAP_BUILD_ID != 0 {
        let size = usize::from(*record.get(32)?).min(LONGEST_BUILD_ID);
        Identity::BuildId(record.get(36..36 + size)?.to_vec())
    } else {
        let device = u64::from(half(record, 32)?) << 32 | u64::from(half(record, 36)?);
        Identity::Printed(FileId { device, inode: word(record, 40)? })
    };
    let file = |path: &[u8], deleted| MappedFile {
        path: PathBuf::from(OsString::from_vec(path.to_vec())),
        deleted,
        offset: word(record, 24).unwrap_or(0),
        identity,
    };
    let code = MappedCode {
        at_ns: word(record, end)?,
        start,
        end: start.checked_add(word(record, 16)?)?,
        // The kernel has `//anon`, `[vdso]` and the like for memory without a file.
        file: match name.strip_suffix(b" (deleted)") {
            _ if !name.starts_with(b"/") || name.starts_with(b"//") => None,
            Some(path) => Some(file(path, true)),
            None => Some(file(name, false)),
        },
    };
    Some(Told::Mapped(half(record, 0)?, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(misc.to_ne_bytes());
        bytes.extend(u16::try_from(HEADER + body.len()).expect("short").to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn body(identity: [u8; 24], name: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(7u32.to_ne_bytes());
        body.extend(8u32.to_ne_bytes());
        [0x1000u64, 0x200, 0x3000].iter().for_each(|word| body.extend(word.to_ne_bytes()));
        body.extend(identity);
        body.extend([0; 8]);
        body.extend(name);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(99u64.to_ne_bytes());
        body
    }

    fn all(bytes: &[u8]) -> Vec<Told> {
        let mut all = Vec::new();
        each(bytes, |told| all.push(told));
        all
    }

    #[test]
    fn records_of_each_kind() {
        let mut by_id = [0; 24];
        (by_id[0], by_id[4], by_id[5]) = (2, 0xab, 0xcd);
        let mut by_inode = [0; 24];
        (by_inode[0], by_inode[4], by_inode[8]) = (8, 1, 42);
        let mut bytes =
            record(PERF_RECORD_MMAP2, PERF_RECORD_MISC_MMAP_BUILD_ID as u16, &body(by_id, b"/a\0"));
        bytes.extend(record(77, 0, &[0; 32]));
        bytes.extend(record(PERF_RECORD_MMAP2, 0, &body(by_inode, b"/b (deleted)\0")));
        bytes.extend(record(PERF_RECORD_MMAP2, 0, &body([0; 24], b"//anon\0")));
        bytes.extend(record(PERF_RECORD_LOST, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]));
        let file = |path: &str, deleted, identity| {
            Some(MappedFile { path: path.into(), deleted, offset: 0x3000, identity })
        };
        let code = |file| Told::Mapped(7, MappedCode { at_ns: 99, start: 0x1000, end: 0x1200, file });
        let printed = Identity::Printed(FileId { device: 8 << 32 | 1, inode: 42 });
        let expected = [
            code(file("/a", false, Identity::BuildId(vec![0xab, 0xcd]))),
            code(file("/b", true, printed)),
            code(None),
            Told::Lost(5),
        ];
        assert_eq!(all(&bytes), expected);
    }

    #[test]
    fn records_that_are_cut_or_damaged() {
        let whole = record(PERF_RECORD_MMAP2, 0, &body([0xff; 24], b"/name\0"));
        for length in 0..whole.len() {
            assert_eq!(all(&whole[..length]), [], "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            all(&damaged);
        }
        assert_eq!(all(&record(PERF_RECORD_MMAP2, 0, &[0xff; 16])), [], "no name");
        assert_eq!(all(&record(PERF_RECORD_MMAP2, 0, &[1; 120])), [], "a name without an end");
        assert_eq!(all(&[0; 64]), [], "a record of no size");
    }
}
