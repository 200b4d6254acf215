//! Names and source lines for addresses in the target's files.
//!
//! A [`CodeFile`] holds the file open from the moment when its first frame is seen, and finds its
//! debug files then ([`CodeFile::locate_debug`]): a target that exits, unloads or is upgraded still
//! symbolizes, because nothing is looked up by name later. [`Symbolizer::resolve`] turns a virtual
//! address of such a file into frames; [`Names`] makes the frames of a
//! stack of them; [`Owners::blame`] picks the frame that a stack is charged to.
//!
//! # Why blazesym never sees the target's files
//!
//! blazesym maps a file and trusts it: a file truncated under the mapping would kill us with SIGBUS,
//! a compressed section may claim any size, a debug link makes it search paths of our own mount
//! namespace, and a link that leads to a wrong file fails every address of the binary. So the sections that
//! names come from are copied, decompressed and size-checked, into an anonymous file of our own, a
//! *symbol image* (module `image`): one well-formed ELF file put together from the binary, its
//! debug file, its MiniDebugInfo and its dwz file. Only that is given to blazesym, by
//! `/proc/self/fd/N` at the moment of opening; the resolver owns its mapping from then on, so no
//! file number is remembered and none can be mistaken for another file's.
//!
//! What is inside those sections is still hostile, and blazesym's arithmetic is not hardened against
//! it (a symbol whose end wraps around panics where overflow checks are on). A panic is caught at
//! the call; the resolver that panicked is dropped and not asked again, which is also what makes
//! the catch sound. Memory is bounded by [`MAX_IMAGE_BYTES`] and [`MAX_TOTAL_BYTES`].
//!
//! # Limits
//!
//! Split DWARF (`.dwo`, `.dwp`) is not followed: such files give names without lines. A file
//! without section headers has no symbols. The nearest symbol is one that covers the address by its
//! size: a stripped library's exported `f` is not reported for code far behind it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

mod blame;
mod checksum;
mod code_file;
mod declared;
pub(crate) mod decompress;
mod demangle;
mod find;
mod image;
mod jit;
pub mod name;
mod names;
mod recorded;
mod resolver;

pub use blame::{
    BlameInput, BlameRules, Charging, CodeTable, FrameOwner, KnownFrame, Owners, blame_by, wrapper_name,
};
pub use checksum::NoChecksum;
pub use code_file::CodeFile;
pub use demangle::demangle;
pub use find::{DebugFiles, DebugRefusal, DebugSearch, RefusedDebugFile};
pub use image::{MAX_IMAGE_BYTES, MAX_TOTAL_BYTES};
pub use jit::is_jitdump;
pub use names::{NamedFrame, Names, NamesCode};
pub use recorded::RecordedFrame;
pub use resolver::Symbolizer;

/// Why an address has no name. The text completes `libfoo.so+0x1234 (…)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NoSymbol {
    /// The address lies in no mapping that was seen, or not in the code of the file.
    #[error("no code was seen mapped there")]
    Unmapped,
    /// The address lies in memory without a file.
    #[error("code made at run time")]
    Anonymous,
    /// The file has no symbol table, and no debug file was found.
    #[error("no symbols")]
    Stripped,
    /// The file has symbols, but none covers the address.
    #[error("no symbol covers it")]
    NotCovered,
    /// The code is of a language whose runtime names all its functions, and this is in none.
    #[error("it lies in no {0} function")]
    NotOf(Cow<'static, str>),
    /// The debug info or symbol table has an entry for the function, but no name in it.
    #[error("its entry has no name")]
    Nameless,
    /// The file or its symbols could not be read.
    #[error("symbols unreadable: {0}")]
    Unreadable(String),
}

/// One function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolFrame {
    /// Demangled name.
    pub function: Option<String>,
    /// Bytes from the function's start; absent for inlined functions.
    pub offset_in_function: Option<u64>,
    /// Source file, as the debug info names it.
    pub file: Option<String>,
    /// Line in `file`.
    pub line: Option<u32>,
    /// Line that the function is declared at.
    pub function_line: Option<u32>,
    /// Whether the function was inlined into the next frame.
    pub inlined: bool,
    /// Why there is no name.
    pub why_unknown: Option<NoSymbol>,
}

/// What is known about an address: at least one frame, the innermost inlined function first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub frames: Vec<SymbolFrame>,
}

impl Resolved {
    /// A nameless frame and its reason.
    pub fn unknown(why: NoSymbol) -> Self {
        Self { frames: vec![SymbolFrame { why_unknown: Some(why), ..SymbolFrame::default() }] }
    }
}

#[cfg(test)]
mod tests;
