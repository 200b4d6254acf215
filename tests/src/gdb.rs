//! A second opinion on stacks: what gdb shows of the same process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::blocked::hex;
use crate::process::run_ok;
use crate::waits::WaitSite;

/// A frame as gdb prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its address. There is one for each frame of the machine, at the innermost function there, not at
    /// those that this one is inlined into.
    pub address: Option<u64>,
    /// Its function; `??` where gdb knows none.
    pub function: String,
}

/// The stacks of all threads, by thread ID, innermost frame first. This stops the process for a moment.
///
/// # Errors
/// If gdb fails, or prints what is not understood.
pub fn backtraces(gdb: &Path, pid: u32) -> Result<BTreeMap<u32, Vec<Frame>>> {
    let mut command = Command::new(gdb);
    command.args(["-nx", "-batch", "-p", &pid.to_string()]);
    command.env_remove("DEBUGINFOD_URLS");
    for setting in [
        "pagination off",
        "width 0",
        "print address on",
        "print frame-arguments none",
        "backtrace limit 1000",
        "backtrace past-main on",
    ] {
        command.args(["-iex", &format!("set {setting}")]);
    }
    command.args(["-ex", "thread apply all bt", "-ex", "thread apply all p/x $pc"]);
    parse(&run_ok(&mut command, Duration::from_secs(120))?)
}

fn parse(said: &str) -> Result<BTreeMap<u32, Vec<Frame>>> {
    let mut threads: BTreeMap<u32, Vec<Frame>> = BTreeMap::new();
    let mut current = None;
    for line in said.lines() {
        if let Some(rest) = line.strip_prefix("Thread ") {
            // Thread 2 (Thread 0x7f… (LWP 123) "name"):, or (process 123)
            let after = ["(LWP ", "(process "].iter().find_map(|mark| Some(rest.split_once(mark)?.1));
            let Some(tid) = after.and_then(|after| after.split_once(')')) else { continue };
            current = Some(tid.0.parse()?);
        } else if let Some(rest) = line.strip_prefix('#') {
            let frame = frame(rest).with_context(|| line.to_owned())?;
            // What comes before the first thread is where gdb stopped it.
            if let Some(tid) = current {
                threads.entry(tid).or_default().push(frame);
            }
        } else if let (Some(tid), Some((_, pc))) = (current, line.split_once(" = 0x")) {
            // Of the innermost frame gdb prints no address where a line of the source begins.
            let pc = u64::from_str_radix(pc.trim(), 16).with_context(|| line.to_owned())?;
            if let Some(frame) = threads.get_mut(&tid).and_then(|frames| frames.first_mut()) {
                frame.address = Some(pc);
            }
        } else if line.is_empty() {
            current = None;
        }
    }
    if threads.is_empty() {
        bail!("gdb shows no thread:\n{said}");
    }
    Ok(threads)
}

/// `1  0x00007f… in name (…) at file:12`, or without the address.
fn frame(text: &str) -> Result<Frame> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let (address, rest) = match rest.split_once(" in ") {
        Some((address, rest)) if address.starts_with("0x") => (Some(hex(address)?), rest),
        _ => (None, rest),
    };
    if rest == SIGNAL {
        return Ok(Frame { address, function: rest.to_owned() });
    }
    // A C++ name may hold blanks and brackets; the arguments are the last thing in brackets.
    let end = rest.rfind(" (").context("no arguments")?;
    Ok(Frame { address, function: rest[..end].to_owned() })
}

/// Compares a stack: the same addresses, and the same names where both know one.
///
/// # Errors
/// What differs.
pub fn compare(site: WaitSite<'_>, gdb: &[Frame]) -> Result<(), String> {
    let theirs = outermost(gdb);
    // Inlined frames are known only where there is debug info that both find, so names are compared
    // of the functions that they are inlined into.
    let ours: Vec<_> = site.frames().filter(|frame| frame["inlined"] != true).collect();
    let addresses = site.addresses();
    let same = |(ours, theirs): (&u64, &Physical)| theirs.0.is_none_or(|address| address == *ours);
    if addresses.len() != theirs.len() || !addresses.iter().zip(&theirs).all(same) {
        return Err(format!("addresses {addresses:x?}, gdb has {theirs:x?}: {}", site.describe()));
    }
    for (ours, (_, theirs)) in ours.iter().zip(&theirs) {
        let Some(function) = ours["function"].as_str() else { continue };
        if theirs != "??" && theirs != SIGNAL && bare(function) != bare(theirs) {
            return Err(format!("{function} is {theirs} to gdb: {}", site.describe()));
        }
    }
    Ok(())
}

/// What gdb calls the kernel's call of a signal handler.
const SIGNAL: &str = "<signal handler called>";

/// A frame of the machine: its address, unless gdb keeps that to itself, and its function.
type Physical = (Option<u64>, String);

/// The frames of the machine: of those at one address, the one that the others are inlined into.
fn outermost(gdb: &[Frame]) -> Vec<Physical> {
    let mut all: Vec<Physical> = Vec::new();
    for frame in gdb {
        let signal = |name: &str| name == SIGNAL;
        match all.last_mut() {
            // What a signal interrupts has no address either where a line of the source begins.
            Some(last) if frame.address.is_none() && !signal(&last.1) && !signal(&frame.function) => {
                last.1.clone_from(&frame.function);
            }
            _ => all.push((frame.address, frame.function.clone())),
        }
    }
    all
}

/// A name without what differs between symbol tables and debug info: glibc's aliases, arguments,
/// paths of C++ and Rust.
fn bare(function: &str) -> String {
    let mut depth = 0_usize;
    let mut name = String::new();
    for c in function.split('@').next().unwrap_or(function).chars() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => name.push(c),
            _ => {}
        }
    }
    let name = name.rsplit("::").next().unwrap_or_default().trim_start_matches('_');
    let name = name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_');
    name.strip_suffix("64").or_else(|| name.strip_suffix("_impl")).unwrap_or(name).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_thread() -> Result<()> {
        let said = "\
0x00007f0000000001 in read () from /lib/libc.so.6

Thread 2 (Thread 0x7f12 (LWP 4712) \"flush\"):
#0  0x00007f0000000001 in __futex_abstimed_wait_common64 (private=0) at ./nptl/futex-internal.c:57
#1  0x0000000000401000 in inlined_one (w=...) at a.c:1
#2  outer (w=...) at a.c:2
#3  0x0000000000402000 in Table<std::shared_mutex>::update(waiter*) (this=..., w=...) at b.cpp:3
#4  <signal handler called>
#5  __pthread_kill_implementation (threadid=...) at ./nptl/pthread_kill.c:44
#6  0x0000000000403000 in __GI_raise (sig=...) at raise.c:26

Thread 1 (Thread 0x7f13 (LWP 4711) \"main\"):
#0  __GI___libc_read (fd=...) at read.c:24

Thread 2 (Thread 0x7f12 (LWP 4712) \"flush\"):
$1 = 0x7f0000000001

Thread 1 (Thread 0x7f13 (LWP 4711) \"main\"):
$2 = 0x7f0000000002
[Inferior 1 (process 4711) detached]
";
        let threads = parse(said)?;
        assert_eq!(threads.keys().copied().collect::<Vec<_>>(), [4711, 4712]);
        let all = outermost(&threads[&4712]);
        let names: Vec<_> = all.iter().map(|(address, name)| (address.unwrap_or(0), bare(name))).collect();
        let expected =
            [(0x7f00_0000_0001, "futex_abstimed_wait_common"), (0x40_1000, "outer"), (0x40_2000, "update")];
        assert_eq!(names, expected.map(|(address, name)| (address, name.to_owned())));
        assert_eq!(outermost(&threads[&4711]), [(Some(0x7f00_0000_0002), "__GI___libc_read".to_owned())]);
        Ok(())
    }
}
