//! `/proc/PID/maps`, as far as code is concerned.
//!
//! Not by the crate `procfs`: it refuses the whole text for one name that is not UTF-8, which any program can map, and
//! leaves the kernel's escapes in names.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A file, whatever its name: device and inode number.
///
/// Those that stat(2) tells are one file's alone. Those in `/proc/PID/maps` are not: it prints the device of the
/// whole file system where stat tells that of a subvolume (btrfs) or of a layer (overlayfs), so that two files
/// can look alike there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl FileId {
    /// What stat(2) has told.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What lies behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MappingKind {
    /// A file; the path is the one in the target's mount namespace.
    File {
        /// As `/proc/PID/maps` prints it, which is no identity.
        printed: FileId,
        /// Path as `/proc/PID/maps` shows it, without ` (deleted)`.
        #[serde(serialize_with = "super::recorded::lossy_path")]
        path: PathBuf,
        /// Whether the name is gone.
        deleted: bool,
    },
    /// The kernel's `[vdso]`.
    Vdso,
    /// Memory without a file: code made at run time.
    Anonymous,
    /// Another special mapping (`[vsyscall]`, `[uprobes]`, …), by its name.
    Special(String),
}

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address past it.
    pub end: u64,
    /// Offset in the file of `start`.
    pub offset: u64,
    pub kind: MappingKind,
}

impl Mapping {
    /// The target's view of this mapping: opens the mapped file itself, even if its name is gone or
    /// means something else in this mount namespace. Needs CAP_SYS_ADMIN or
    /// CAP_CHECKPOINT_RESTORE.
    pub fn map_files_path(&self, pid: u32) -> PathBuf {
        PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end))
    }

    /// A name for people: the path, or the kind of mapping.
    pub fn name(&self) -> String {
        match &self.kind {
            MappingKind::File { path, .. } => path.display().to_string(),
            MappingKind::Vdso => "[vdso]".to_owned(),
            MappingKind::Anonymous => "[anonymous]".to_owned(),
            MappingKind::Special(name) => name.clone(),
        }
    }
}

/// Reads the executable mappings of `pid`, sorted by address.
///
/// A process that has ended (or a kernel thread) has none; reading then gives an empty list or an
/// error, as the kernel likes.
pub fn executable(pid: u32) -> io::Result<Vec<Mapping>> {
    Ok(all(pid)?.into_iter().filter(|(_, executable)| *executable).map(|(m, _)| m).collect())
}

/// Reads all mappings of `pid`, sorted by address; the flag tells whether the mapping is executable.
pub fn all(pid: u32) -> io::Result<Vec<(Mapping, bool)>> {
    Ok(parse(&std::fs::read(format!("/proc/{pid}/maps"))?))
}

/// Parses the text of a maps file; the flag tells whether the mapping is executable.
pub fn parse(text: &[u8]) -> Vec<(Mapping, bool)> {
    text.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<(Mapping, bool)> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (head, tail) = rest.split_at(end);
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
        std::str::from_utf8(head).ok().filter(|s| !s.is_empty())
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    let offset = u64::from_str_radix(field()?, 16).ok()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode: u64 = field()?.parse().ok()?;
    let name = rest.trim_ascii_start();
    let device = u64::from_str_radix(major, 16).ok()? << 32 | u64::from_str_radix(minor, 16).ok()?;
    let kind = match name {
        b"" => MappingKind::Anonymous,
        b"[vdso]" => MappingKind::Vdso,
        // The kernel gives huge pages of nobody a file of its own (fs/hugetlbfs, `HUGETLB_ANON_FILE`).
        b"/anon_hugepage (deleted)" => MappingKind::Anonymous,
        _ if name.starts_with(b"[anon") || name.starts_with(b"//anon") => MappingKind::Anonymous,
        _ if name.starts_with(b"/") && inode != 0 => {
            let (path, deleted) = match name.strip_suffix(b" (deleted)") {
                Some(path) => (path, true),
                None => (name, false),
            };
            let path = PathBuf::from(std::ffi::OsString::from_vec(unescape(path)));
            MappingKind::File { printed: FileId { device, inode }, path, deleted }
        }
        _ => MappingKind::Special(String::from_utf8_lossy(name).into_owned()),
    };
    let mapping = Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset,
        kind,
    };
    Some((mapping, permissions.as_bytes().get(2) == Some(&b'x')))
}

/// The kernel writes a newline in a name as `\012`, and nothing else escaped.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = tail;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let text = b"55d0-55e0 r-xp 00001000 fd:01 42   /usr/bin/a b (deleted)\n\
7f00-7f10 r-xp 00000000 00:00 0 \n\
7ffc-7ffd r-xp 00000000 00:00 0                          [vdso]\n\
ffff-fffff --xp 00000000 00:00 0                  [vsyscall]\n\
1000-2000 rw-p 00000000 fd:01 7 /lib/x\\012y\n\
2000-3000 r-xp 00000000 00:0f 9 /anon_hugepage (deleted)\n\
nonsense\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 6);
        assert_eq!(
            parsed[0].0.kind,
            MappingKind::File {
                printed: FileId { device: 0xfd << 32 | 1, inode: 42 },
                path: "/usr/bin/a b".into(),
                deleted: true
            }
        );
        assert_eq!((parsed[0].0.start, parsed[0].0.end, parsed[0].0.offset), (0x55d0, 0x55e0, 0x1000));
        assert_eq!(parsed[1].0.kind, MappingKind::Anonymous);
        assert_eq!(parsed[2].0.kind, MappingKind::Vdso);
        assert_eq!(parsed[3].0.kind, MappingKind::Special("[vsyscall]".into()));
        assert!(!parsed[4].1);
        assert_eq!(parsed[4].0.name(), "/lib/x\ny");
        assert_eq!(parsed[5].0.kind, MappingKind::Anonymous);
    }

    #[test]
    fn own_maps_hold_this_function() {
        let here = own_maps_hold_this_function as *const () as u64;
        let maps = executable(std::process::id()).expect("own maps");
        assert!(maps.iter().any(|m| m.start <= here && here < m.end));
        assert!(maps.windows(2).all(|w| w[0].end <= w[1].start), "sorted, without overlap");
    }
}
