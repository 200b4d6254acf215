//! Names from the target for files that other programs read: without anything that steers a terminal or
//! breaks a format.

use crate::human::printable;
use crate::report::model::Frame;

/// `text` without control characters and without what XML does not know.
pub fn harmless(text: &str) -> String {
    let mut text = printable(text);
    if text.contains(['\u{fffe}', '\u{ffff}']) {
        text = text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    }
    text
}

/// The function of a frame; where there is none, its place and why: `libfoo.so+0x1234 (no symbols)`.
pub fn function(frame: &Frame) -> String {
    if let Some(function) = frame.function.as_deref().filter(|name| !name.trim().is_empty()) {
        return harmless(function);
    }
    let why = frame.why_unknown.as_deref();
    harmless(&match (frame.module.as_deref(), frame.offset.as_deref()) {
        (Some(module), offset) => {
            format!("{}+{} ({})", file_name(module), offset.unwrap_or("?"), why.unwrap_or("no symbols"))
        }
        (None, _) => format!("{} ({})", frame.address, why.unwrap_or("no code is mapped there")),
    })
}

/// A stack without the function that all goroutines begin in, which Go's own profiles leave out.
pub fn without_goexit(frames: &[Frame]) -> &[Frame] {
    match frames.split_last() {
        Some((last, rest)) if !rest.is_empty() && last.function.as_deref() == Some("runtime.goexit") => rest,
        _ => frames,
    }
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// A name that stands for frames that are not known: `[running]`.
pub fn bracketed(what: &str) -> String {
    format!("[{}]", harmless(what))
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

/// A number as reports write addresses; 0 for anything else.
pub fn hex(text: &str) -> u64 {
    text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}
