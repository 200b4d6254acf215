//! Swap space for as long as a test needs it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::target_directory;

const PAGE: usize = 4096;
const PAGES: u32 = 8192;

/// Swap space in a file of the target directory; taken away when dropped.
#[derive(Debug)]
pub struct Swap {
    path: PathBuf,
    name: CString,
}

impl Swap {
    /// Adds it.
    ///
    /// # Errors
    /// If the file cannot be written, or the kernel refuses.
    pub fn on() -> io::Result<Self> {
        let path = target_directory().join("swap-space");
        let name = CString::new(path.as_os_str().as_bytes())?;
        let swap = Self { path, name };
        // A test that was killed may have left it.
        swap.off();
        let mut file = File::create(&swap.path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&header())?;
        // No holes: the kernel maps the file's blocks once.
        for _ in 1..PAGES {
            file.write_all(&[0; PAGE])?;
        }
        file.sync_all()?;
        // SAFETY: the name ends in a zero byte.
        if unsafe { libc::swapon(swap.name.as_ptr(), 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(swap)
    }

    fn off(&self) {
        // SAFETY: the name ends in a zero byte. It fails where the space is not in use.
        unsafe { libc::swapoff(self.name.as_ptr()) };
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        self.off();
    }
}

/// The first page: `union swap_header` of include/linux/swap.h, version 1.
fn header() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&(PAGES - 1).to_le_bytes());
    page[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}
