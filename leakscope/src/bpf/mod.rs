//! The kernel side as userspace sees it: the only module that imports aya.
//!
//! It knows how things are loaded, attached and read, and of no domain what is in them: names of programs and
//! maps, sizes and types come from the [collectors](crate::collect). `object` loads the embedded BPF object;
//! `attach` places the probes and takes them away in parallel; `tables` writes unwind rows and mappings into
//! mapped arrays; `maps` reads and writes the other maps, `growing` adds further ones to one that fills, `iterator` reads what a BPF iterator lists, `events`
//! takes the ring buffer's records, which wait in a `queue`; `btf` reads member offsets of kernel structures; `facts` and `verdict` tell
//! what this kernel allows, by what `trials` tries and by whether `capability` says why it failed; `sys` holds
//! the raw system calls that aya does not offer.

pub mod attach;
pub mod btf;
pub mod capability;
pub mod events;
pub mod facts;
pub mod go;
pub mod go_waits;
pub mod growing;
pub mod iterator;
pub mod maps;
pub mod object;
mod queue;
mod sys;
pub mod tables;
mod trials;
pub mod verdict;

pub use aya::Pod;

/// The bytes of a value of the kernel side.
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    sys::bytes_of(value)
}

/// A value of the kernel side from its bytes, if they are as many as it has.
pub fn value_of<T: Pod>(bytes: &[u8]) -> Option<T> {
    sys::value_of(bytes)
}

/// Why the kernel side failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The object could not be loaded.
    #[error("cannot load the BPF programs: {0}")]
    Load(String),
    /// A program or map that must be in the object is not.
    #[error("the embedded BPF object has no {0}: this build of leakscope is broken")]
    Missing(&'static str),
    /// A probe could not be attached.
    #[error("cannot attach a probe to {function} in {file}: {error}")]
    Attach {
        function: String,
        file: String,
        /// What the kernel said.
        error: String,
    },
    /// The target went away.
    #[error("the process ended while probes were being attached")]
    TargetGone,
    /// A map operation failed.
    #[error("cannot {what}: {error}")]
    Map {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// The error chain in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let part = inner.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = inner.source();
    }
    text
}
