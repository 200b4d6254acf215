//! Debug files: where they are, and whether they belong to the binary.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _};

use super::image::has_section;
use crate::target::{ElfError, ElfFile};

/// Largest file whose checksum is computed, and that symbols are read from.
pub(super) const MAX_FILE_BYTES: u64 = 8 << 30;
/// Largest link section: a path and a checksum or build ID.
const MAX_LINK_SECTION: u64 = 8 << 10;
/// Where distributions put debug files.
const DEBUG_DIR: &str = "/usr/lib/debug";

/// Why a debug file is not used.
#[derive(Debug, thiserror::Error)]
pub enum DebugRefusal {
    /// Its build ID is another one, or it has none.
    #[error("belongs to another build")]
    OtherBuild,
    /// Its checksum is not the one in the debug link.
    #[error("checksum is not the one in the debug link")]
    Checksum,
    /// It is larger than this reader accepts.
    #[error("implausibly large")]
    TooLarge,
    /// It has no debug info and no symbols.
    #[error("holds no symbols")]
    Empty,
    /// It cannot be used as an ELF file.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// A file that looked like the debug file of a binary and was not used.
#[derive(Debug)]
pub struct RefusedDebugFile {
    /// Its name in the target's mount namespace or in ours.
    pub path: PathBuf,
    /// The reason.
    pub why: DebugRefusal,
}

/// The debug files of a binary, held open.
#[derive(Debug, Default)]
pub struct DebugFiles {
    pub(super) debug: Option<ElfFile>,
    pub(super) supplement: Option<ElfFile>,
    path: Option<PathBuf>,
    refused: Vec<RefusedDebugFile>,
}

impl DebugFiles {
    /// Name of the separate debug file, if one is used.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Files that were found and not used.
    pub fn refused(&self) -> &[RefusedDebugFile] {
        &self.refused
    }
}

/// Finds the debug files of `elf`: by build ID, then by debug link; in the target's root, then in
/// ours; and the file that dwz moved common parts into.
pub(super) fn locate(elf: &ElfFile, path: &Path, root: Option<&Path>) -> DebugFiles {
    let mut found = DebugFiles::default();
    let roots: Vec<File> =
        root.into_iter().chain([Path::new("/")]).filter_map(|root| open_root(root).ok()).collect();
    if !has_section(elf, ".debug_info") {
        find_debug(elf, path, &roots, &mut found);
    }
    let holder = found.debug.as_ref().unwrap_or(elf);
    let holder_path = found.path.as_deref().unwrap_or(path);
    if let Some((link, id)) = supplement_link(holder) {
        let by_id = by_build_id(&id);
        let by_name = holder_path.parent().map(|dir| dir.join(&link));
        let check = |file: &ElfFile| match file.build_id() {
            Some(other) if other == id => Ok(()),
            _ => Err(DebugRefusal::OtherBuild),
        };
        let candidates: Vec<PathBuf> = by_id.into_iter().chain(by_name).collect();
        found.supplement = first_fit(&roots, &candidates, &mut found.refused, check).map(|(file, _)| file);
    }
    found
}

fn find_debug(elf: &ElfFile, path: &Path, roots: &[File], found: &mut DebugFiles) {
    let useful = |file: &ElfFile| {
        if has_section(file, ".debug_info") || has_section(file, ".symtab") {
            Ok(())
        } else {
            Err(DebugRefusal::Empty)
        }
    };
    let mut debug = None;
    if let Some(id) = elf.build_id() {
        let candidates: Vec<PathBuf> = by_build_id(id).into_iter().collect();
        debug = first_fit(roots, &candidates, &mut found.refused, |file| match file.build_id() {
            Some(other) if other == id => useful(file),
            _ => Err(DebugRefusal::OtherBuild),
        });
    }
    if debug.is_none()
        && let Some((name, checksum)) = debug_link(elf)
    {
        debug = first_fit(roots, &by_link(path, &name), &mut found.refused, |file| {
            if file.build_id().is_some_and(|other| elf.build_id().is_some_and(|id| id != other)) {
                return Err(DebugRefusal::OtherBuild);
            }
            if crc32(file.file()).map_err(ElfError::Io)? != checksum {
                return Err(DebugRefusal::Checksum);
            }
            useful(file)
        });
    }
    if let Some((file, path)) = debug {
        found.debug = Some(file);
        found.path = Some(path);
    }
}

/// The first of `candidates` that exists in one of `roots` and passes `check`.
fn first_fit(
    roots: &[File],
    candidates: &[PathBuf],
    refused: &mut Vec<RefusedDebugFile>,
    check: impl Fn(&ElfFile) -> Result<(), DebugRefusal>,
) -> Option<(ElfFile, PathBuf)> {
    for root in roots {
        for path in candidates {
            let Ok(file) = open_in_root(root, path) else { continue };
            let checked = match file.metadata() {
                Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Err(DebugRefusal::TooLarge),
                _ => ElfFile::from_file(file).map_err(DebugRefusal::Elf).and_then(|elf| {
                    check(&elf)?;
                    Ok(elf)
                }),
            };
            match checked {
                Ok(elf) => return Some((elf, path.clone())),
                Err(why) => refused.push(RefusedDebugFile { path: path.clone(), why }),
            }
        }
    }
    None
}

/// `/usr/lib/debug/.build-id/ab/cdef….debug`.
fn by_build_id(id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_first().filter(|(_, rest)| !rest.is_empty() && rest.len() < 64)?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(format!("{DEBUG_DIR}/.build-id/{first:02x}/{rest}.debug")))
}

/// Where gdb looks for the file of a debug link.
fn by_link(binary: &Path, name: &OsStr) -> Vec<PathBuf> {
    let Some(dir) = binary.parent() else { return Vec::new() };
    let global = Path::new(DEBUG_DIR).join(dir.strip_prefix("/").unwrap_or(dir));
    [dir.join(name), dir.join(".debug").join(name), global.join(name)]
        .into_iter()
        .filter(|path| path != binary)
        .collect()
}

/// The debug link: a file name, without directories, and the file's checksum.
fn debug_link(elf: &ElfFile) -> Option<(std::ffi::OsString, u32)> {
    let parsed = elf.parsed().ok()?;
    parsed.section_by_name(".gnu_debuglink").filter(|section| section.size() <= MAX_LINK_SECTION)?;
    let (name, checksum) = parsed.gnu_debuglink().ok()??;
    let plain = !name.is_empty() && name.len() <= 255 && !name.contains(&b'/') && name != b"..";
    plain.then(|| (OsStr::from_bytes(name).to_owned(), checksum))
}

/// The link to a dwz file: a path and a build ID.
fn supplement_link(elf: &ElfFile) -> Option<(PathBuf, Vec<u8>)> {
    let parsed = elf.parsed().ok()?;
    parsed.section_by_name(".gnu_debugaltlink").filter(|section| section.size() <= MAX_LINK_SECTION)?;
    let (name, id) = parsed.gnu_debugaltlink().ok()??;
    Some((PathBuf::from(OsStr::from_bytes(name)), id.to_vec()))
}

/// The checksum of a debug link: CRC-32 of the whole file.
fn crc32(file: &File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut offset = 0;
    while offset < MAX_FILE_BYTES {
        let count = file.read_at(&mut buffer, offset)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
    Ok(hasher.finalize())
}

fn open_root(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

/// Opens a regular file below `root`, which symbolic links and `..` cannot leave.
///
/// The target may own that tree: a link out of it, a device or a FIFO must not be opened.
fn open_in_root(root: &File, path: &Path) -> io::Result<File> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let name = CString::new(relative.as_os_str().as_bytes())?;
    // SAFETY: `open_how` is plain integers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `name` and `how` live through the call, and the size is that of `how`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            name.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, so nobody else owns it.
    let place = unsafe { File::from_raw_fd(fd) };
    if !place.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(format!("/proc/self/fd/{fd}"))
}
