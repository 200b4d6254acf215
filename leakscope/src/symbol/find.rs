//! Debug files: where they are, and whether they belong to the binary.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSection as _};

use super::checksum::{Allowance, NoChecksum};
use super::image::has_section;
use crate::files::{DebugDirectory, TargetFiles};
use crate::process::{ElfError, ElfFile};

/// Largest file that symbols are read from.
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
    /// Its checksum is not known.
    #[error(transparent)]
    NoChecksum(#[from] NoChecksum),
    /// It may not be opened: the target's user may not read it, or cannot be taken on.
    #[error("not opened: {0}")]
    Denied(io::Error),
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

/// Where debug files are looked for, and what may be spent on that.
#[derive(Debug, Default)]
pub struct DebugSearch {
    /// The target's file system, as its user may read it. Nothing there is found without.
    pub(super) target: Option<TargetFiles>,
    ours: DebugDirectory,
    allowance: Allowance,
}

impl DebugSearch {
    /// First in the target's file system, then in our own `/usr/lib/debug`.
    pub fn new(target: Option<TargetFiles>) -> Self {
        Self { target, ..Self::default() }
    }

    /// The first of `candidates` that exists and passes `check`: all in the target's file system, then in
    /// ours.
    fn first_fit(
        &self,
        candidates: &[PathBuf],
        refused: &mut Vec<RefusedDebugFile>,
        check: impl Fn(&ElfFile) -> Result<(), DebugRefusal>,
    ) -> Option<(ElfFile, PathBuf)> {
        let target = |path: &Path| self.target.as_ref().map(|target| target.open(path));
        let ours = |path: &Path| Some(self.ours.open(path));
        for open in [&target as &dyn Fn(&Path) -> Option<io::Result<File>>, &ours] {
            for path in candidates {
                let file = match open(path) {
                    Some(Ok(file)) => file,
                    Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                        refused
                            .push(RefusedDebugFile { path: path.clone(), why: DebugRefusal::Denied(error) });
                        continue;
                    }
                    _ => continue,
                };
                match checked(file, &check) {
                    Ok(elf) => return Some((elf, path.clone())),
                    Err(why) => refused.push(RefusedDebugFile { path: path.clone(), why }),
                }
            }
        }
        None
    }

    /// Finds the debug files of `elf`: by build ID, then by debug link; and the file that dwz moved common
    /// parts into.
    pub(super) fn locate(&self, elf: &ElfFile, path: &Path) -> DebugFiles {
        let mut found = DebugFiles::default();
        if !has_section(elf, ".debug_info") {
            self.find_debug(elf, path, &mut found);
        }
        let holder = found.debug.as_ref().unwrap_or(elf);
        let holder_path = found.path.as_deref().unwrap_or(path);
        if let Some((link, id)) = supplement_link(holder) {
            let by_id = by_build_id(&id);
            let by_name = holder_path.parent().map(|dir| plain(&dir.join(&link)));
            let check = |file: &ElfFile| match file.build_id() {
                Some(other) if other == id => Ok(()),
                _ => Err(DebugRefusal::OtherBuild),
            };
            let candidates: Vec<PathBuf> = by_id.into_iter().chain(by_name).collect();
            found.supplement = self.first_fit(&candidates, &mut found.refused, check).map(|(file, _)| file);
        }
        found
    }

    fn find_debug(&self, elf: &ElfFile, path: &Path, found: &mut DebugFiles) {
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
            debug = self.first_fit(&candidates, &mut found.refused, |file| match file.build_id() {
                Some(other) if other == id => useful(file),
                _ => Err(DebugRefusal::OtherBuild),
            });
        }
        if debug.is_none()
            && let Some((name, checksum)) = debug_link(elf)
        {
            debug = self.first_fit(&by_link(path, &name), &mut found.refused, |file| {
                useful(file)?;
                let ids = (file.build_id(), elf.build_id());
                let same = matches!(ids, (Some(of_file), Some(id)) if of_file == id);
                if !same && let (Some(_), Some(_)) = ids {
                    return Err(DebugRefusal::OtherBuild);
                }
                match self.allowance.crc32(file.file()) {
                    Ok(sum) if sum == checksum => Ok(()),
                    Ok(_) => Err(DebugRefusal::Checksum),
                    // A build ID tells as much.
                    Err(NoChecksum::TooMuch | NoChecksum::TooLong) if same => Ok(()),
                    Err(why) => Err(why.into()),
                }
            });
        }
        if let Some((file, path)) = debug {
            found.debug = Some(file);
            found.path = Some(path);
        }
    }
}

fn checked(
    file: File,
    check: impl Fn(&ElfFile) -> Result<(), DebugRefusal>,
) -> Result<ElfFile, DebugRefusal> {
    if file.metadata().map_err(ElfError::Io)?.len() > MAX_FILE_BYTES {
        return Err(DebugRefusal::TooLarge);
    }
    let elf = ElfFile::from_file(file)?;
    check(&elf)?;
    Ok(elf)
}

/// A path without `..`, as if none of its directories were a link.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
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
