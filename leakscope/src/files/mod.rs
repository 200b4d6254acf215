//! Opening, creating and renaming where others have a say.
//!
//! leakscope mostly runs as root, and others may choose what its paths lead to: they can own a directory on
//! the way, plant links, FIFOs and old files in one that they may write to, and the program under
//! observation names files that it cannot read itself. Every path that is not the kernel's own (`/proc` and
//! `/sys`, by numbers that we put in) goes through here; a test of this module reads the sources for that.
//!
//! # Whose files are trusted
//!
//! Ours are those of our effective user. Root's are trusted too, and under sudo those of the user who
//! called it (`SUDO_UID`): whoever may run leakscope as root with any `-o` gains nothing by a link. All
//! others are strangers. A directory that a trusted user owns and that neither its group nor others may write
//! to is *sheltered*: what it holds was put there by trusted users, whoever owns it.
//!
//! # What is written (`create`, `directory`)
//!
//! - Paths are walked name by name, each opened from the directory before it without following links
//!   (`place`). A symbolic link is followed if a trusted user owns it or it lies in a sheltered directory.
//!   That is stricter than the kernel's `fs.protected_symlinks`, and does not depend on it.
//! - The directory that was found stays open; files are made, renamed and removed from there, so whatever
//!   happens to the path in the meantime changes nothing.
//! - A file is always a new one (`O_EXCL`), written and renamed over the old name; a stranger's old file, a
//!   hard link or a symbolic link in its place is never written to. It is 0600 less the umask, and belongs to
//!   who runs leakscope: under sudo to root. An old file's permission bits (never set-user-ID, set-group-ID or
//!   sticky) and group are kept if it is a regular file of our own with one name.
//! - FIFOs, devices and what `/proc/self/fd` leads to are written to as they are, if a trusted user owns
//!   them or they lie in a sheltered directory. They are opened by the descriptor that was looked at, without
//!   waiting; for the reader of a FIFO the caller waits if it wants to.
//!
//! # What is read of our own (`saved`)
//!
//! Saved reports are found by the same walk. Of a directory only regular files are opened. What tells leakscope what
//! to do (its configuration) must be a regular file that, as root, only trusted users can write to.
//!
//! # What is read of the target (`target`, `reader`, `linked`)
//!
//! Debug files and sources have names that the target's files tell; files that were mapped for a moment, and are gone
//! as one looks, have names that the kernel tells. They are looked up below the target's root
//! directory, which neither links nor `..` leave, and opened by a thread that has taken on the user and
//! groups of the target: the kernel itself tells what that user may read. Only regular files are opened, and
//! none of the kernel's own file systems, where reading may do something. What the target has mapped or
//! executes is opened through the kernel's own link to it, again if it is a regular file.
//!
//! Debug files below our own `/usr/lib/debug` are ours to read: whoever may put files there is root. They
//! are found by what the target's file says of itself, but never outside of that directory.

mod create;
mod directory;
mod linked;
mod place;
mod reader;
mod saved;
mod target;
mod trust;

pub use create::{Fresh, Output, Waiting, output};
pub use directory::Directory;
pub use linked::linked;
pub use place::is_directory;
pub use saved::{Saved, saved, trusted};
pub use target::{DebugDirectory, TargetFiles};

#[cfg(test)]
mod tests;
