//! What a frame is called: in a line of its own, in a sentence, in a profile.

use super::frame::Frame;
use super::stack::Stack;
use crate::human::{cut, file_name, sanitize_for_files};
use crate::runtime::go::named::without_path;

/// Characters of a function's name in a sentence.
pub const LONGEST_NAME: usize = 100;

/// The last part of a frame's module.
fn module(frame: &Frame) -> Option<&str> {
    frame.module.as_deref().map(file_name)
}

/// What stands for a function that has no name, and why: `libfoo.so+0x1234 (no symbols)`.
fn nameless(frame: &Frame) -> String {
    let why = frame.why_unknown.as_deref();
    match module(frame) {
        Some(module) => {
            let offset = frame.offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
            format!("{module}+{offset} ({})", why.unwrap_or("no symbols"))
        }
        None => {
            let address = frame.address.map(|address| address.to_string()).unwrap_or_default();
            format!("{address} ({})", why.unwrap_or("no code was seen mapped there")).trim_start().to_owned()
        }
    }
}

/// File and line: `pool.c:88`.
pub fn line(frame: &Frame) -> Option<String> {
    Some(format!("{}:{}", frame.file.as_deref().map(last_part)?, frame.line?))
}

/// What follows the last slash.
fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The function alone, harmless in any file; where there is none, its place and why.
pub fn function(frame: &Frame) -> String {
    match frame.function.as_deref().filter(|name| !name.trim().is_empty()) {
        Some(function) => sanitize_for_files(function),
        None => sanitize_for_files(&nameless(frame)),
    }
}

/// A frame in a line: `take pool.c:88`.
pub fn name(frame: &Frame) -> String {
    let text = match (&frame.function, line(frame)) {
        (Some(function), Some(line)) => format!("{function} {line}"),
        // Of a function as a whole: others can have its name.
        (Some(function), None) if frame.offset.is_none() && frame.file.is_some() => {
            let file = frame.file.as_deref().map_or("", last_part);
            // Code made at run time: of other functions the lines themselves are known, or none.
            let from = frame.function_line.filter(|_| frame.module.is_none());
            let from = from.map(|line| format!(", from line {line}")).unwrap_or_default();
            format!("{function} ({file}{from})")
        }
        (Some(function), None) => {
            let offset = frame.function_offset.map(|o| format!("+{o:#x}")).unwrap_or_default();
            let module = frame.module.as_deref().map(|m| format!(" ({})", last_part(m))).unwrap_or_default();
            format!("{function}{offset}{module}")
        }
        (None, _) => nameless(frame),
    };
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    format!("{text}{inlined}")
}

/// The same where there is little room: of Go's functions without the path of their package.
pub fn short_name(frame: &Frame) -> String {
    let is_go = frame.file.as_deref().is_some_and(|file| file.ends_with(".go"));
    if is_go { name(&short(frame)) } else { name(frame) }
}

/// A frame of Go code whose function has no path before it.
pub fn short(frame: &Frame) -> Frame {
    let function = frame.function.as_deref().map(|function| without_path(function).into());
    Frame { function, ..frame.clone() }
}

/// A frame in brackets of a sentence: `pay (bank.c:24)`.
pub fn bracketed_line(frame: &Frame) -> String {
    match (&frame.function, line(frame)) {
        (Some(function), Some(line)) => format!("{function} ({line})"),
        _ => name(frame),
    }
}

/// What is long is cut; none where neither function nor file is known.
fn short_function(frame: &Frame) -> Option<String> {
    match &frame.function {
        Some(function) => Some(cut(function, LONGEST_NAME)),
        None => Some(cut(&format!("{}+{}", module(frame)?, frame.offset?), LONGEST_NAME)),
    }
}

/// A frame in a sentence: `take at pool.c:88`.
pub fn place(frame: &Frame) -> Option<String> {
    let name = short_function(frame)?;
    Some(line(frame).map_or(name.clone(), |line| format!("{name} at {line}")))
}

/// The same where a sentence names several: `take (pool.c:88)`.
pub fn place_in_list(frame: &Frame) -> Option<String> {
    let name = short_function(frame)?;
    Some(line(frame).map_or(name.clone(), |line| format!("{name} ({line})")))
}

/// The same with the line first, where a function was named before: `pool.c:88 (take)`.
pub fn line_first(frame: &Frame) -> Option<String> {
    match (&frame.function, line(frame)) {
        (Some(function), Some(line)) => Some(format!("{line} ({})", cut(function, LONGEST_NAME))),
        _ => place(frame),
    }
}

impl Stack {
    /// The frame to blame, or the innermost one, called as `tell` does; why there is no frame, if there is none.
    pub fn told(&self, tell: impl Fn(&Frame) -> String) -> String {
        self.shown().map_or_else(|| self.why_empty(), tell)
    }

    fn why_empty(&self) -> String {
        self.end.as_ref().map_or_else(|| "(stack not captured)".to_owned(), ToString::to_string)
    }
}
