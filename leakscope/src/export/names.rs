//! Names from the target in files that other programs read: without anything that breaks a format.

use std::sync::Arc;

use crate::human::sanitize_for_files;
use crate::section::frame::Frame;

/// A stack without the function that all goroutines begin in, which Go's own profiles leave out.
pub fn without_goexit(frames: &[Arc<Frame>]) -> &[Arc<Frame>] {
    match frames.split_last() {
        Some((last, rest)) if !rest.is_empty() && last.function.as_deref() == Some("runtime.goexit") => rest,
        _ => frames,
    }
}

/// A name that stands for frames that are not known: `[running]`.
pub fn bracketed(what: &str) -> String {
    format!("[{}]", sanitize_for_files(what))
}

/// A frame of a folded stack: no semicolon, nothing at its end that looks like a count, and nothing at its
/// begin that makes the line a comment.
pub fn folded(name: &str) -> String {
    let mut name = name.trim().replace(';', ":");
    if name.starts_with('#') {
        name.insert(0, '_');
    }
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    match name.rsplit_once(' ') {
        Some((start, end)) if end.chars().all(digits) => format!("{start}_{end}"),
        _ => name,
    }
}
