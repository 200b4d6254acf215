//! A second opinion on stacks: what gdb shows of the same process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::blocked::hex;
use crate::process::run_ok;
use crate::waits::WaitSite;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A function's.
    Normal,
    /// The kernel's call of a signal handler.
    Signal,
    /// Of a function that is inlined into the next one.
    Inline,
    /// Of a function that left by a jump: gdb infers it, nothing of it is on the stack.
    Tail,
}

/// A frame as gdb prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Its address: of callers, the return address.
    pub address: u64,
    /// Its function; `??` where gdb knows none.
    pub function: String,
}

/// The stacks of all threads, by thread ID, innermost frame first. This stops the process for a moment.
///
/// # Errors
/// If gdb fails, or prints what is not understood.
pub fn backtraces(gdb: &Path, pid: u32) -> Result<BTreeMap<u32, Vec<Frame>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backtraces.py");
    let mut command = Command::new(gdb);
    command.args(["-nx", "-batch", "-p", &pid.to_string()]).env_remove("DEBUGINFOD_URLS");
    for setting in ["width 0", "backtrace past-main on", "auto-load python-scripts off"] {
        command.args(["-iex", &format!("set {setting}")]);
    }
    parse(&run_ok(command.arg("-x").arg(script), Duration::from_secs(120))?)
}

fn parse(said: &str) -> Result<BTreeMap<u32, Vec<Frame>>> {
    let mut threads: BTreeMap<u32, Vec<Frame>> = BTreeMap::new();
    for line in said.lines() {
        // A name may hold blanks.
        let Some(rest) = line.strip_prefix("frame ") else { continue };
        let mut words = rest.splitn(4, ' ');
        let mut word = || words.next().with_context(|| line.to_owned());
        let tid = word()?.parse()?;
        let (kind, address) = (word()?.parse()?, hex(word()?)?);
        threads.entry(tid).or_default().push(Frame { kind, address, function: word()?.to_owned() });
    }
    if threads.is_empty() {
        bail!("gdb shows no thread:\n{said}");
    }
    Ok(threads)
}

impl FromStr for FrameKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "normal" => Self::Normal,
            "signal" => Self::Signal,
            "inline" => Self::Inline,
            "tail" => Self::Tail,
            other => bail!("{other:?} is no kind of frame"),
        })
    }
}

/// Compares a stack: the same addresses, and the same names where both know one.
///
/// # Errors
/// What differs.
pub fn compare(site: WaitSite<'_>, gdb: &[Frame]) -> Result<(), String> {
    // Inlined frames are known only where there is debug info that both find, so what is compared is
    // the frames of the machine and the functions that they belong to.
    let machine = |frame: &&Frame| matches!(frame.kind, FrameKind::Normal | FrameKind::Signal);
    let theirs: Vec<_> = gdb.iter().filter(machine).collect();
    let addresses: Vec<_> = theirs.iter().map(|frame| frame.address).collect();
    if site.addresses() != addresses {
        return Err(format!("addresses {:x?}, gdb has {theirs:x?}: {}", site.addresses(), site.describe()));
    }
    let ours = site.frames().filter(|frame| frame["inlined"] != true);
    for (ours, theirs) in ours.zip(&theirs) {
        let Some(function) = ours["function"].as_str() else { continue };
        let compared = theirs.kind == FrameKind::Normal && theirs.function != "??";
        if compared && bare(function) != bare(&theirs.function) {
            return Err(format!("{function} is {} to gdb: {}", theirs.function, site.describe()));
        }
    }
    Ok(())
}

/// A name without what differs between symbol tables and debug info: glibc's aliases, arguments,
/// paths of C++ and Rust.
fn bare(function: &str) -> String {
    let mut depth = 0_usize;
    let mut name = String::new();
    for c in function.split('@').next().unwrap_or(function).chars() {
        match c {
            '<' | '(' | '{' => depth += 1,
            '>' | ')' | '}' => depth = depth.saturating_sub(1),
            c if depth == 0 => name.push(c),
            _ => {}
        }
    }
    let name = name.trim_end_matches("::").rsplit("::").next().unwrap_or_default().trim_start_matches('_');
    let name = name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_');
    name.strip_suffix("64").or_else(|| name.strip_suffix("_impl")).unwrap_or(name).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_thread() -> Result<()> {
        let said = "\
[New LWP 4712]
frame 4712 inline 0x401000 inlined_one
frame 4712 normal 0x401000 (anonymous namespace)::Table<std::shared_mutex>::update(waiter*)
frame 4712 signal 0x402000 ??
[Inferior 1 (process 4711) detached]
";
        let threads = parse(said)?;
        let stack = &threads[&4712];
        assert_eq!((stack.len(), stack[0].kind, stack[0].address), (3, FrameKind::Inline, 0x40_1000));
        assert_eq!(bare(&stack[1].function), "update");
        assert_eq!((stack[2].kind, &*stack[2].function), (FrameKind::Signal, "??"));
        assert!(parse("[New LWP 4712]").is_err());
        Ok(())
    }

    #[test]
    fn names_of_symbols_and_of_debug_info() {
        for (ours, theirs) in [
            ("___pthread_mutex_lock", "pthread_mutex_lock"),
            ("__futex_abstimed_wait_common64", "__futex_abstimed_wait_common"),
            ("<std::sys::fd::unix::FileDesc>::read_buf", "std::sys::fd::unix::FileDesc::read_buf"),
            ("std::io::read_until::<std::io::Stdin>", "std::io::read_until<std::io::Stdin>"),
            ("std::rt::lang_start::{{closure}}", "std::rt::lang_start::{closure#0}<()>"),
        ] {
            assert_eq!(bare(ours), bare(theirs));
        }
        assert_ne!(bare("at_mutex"), bare("at_mutex_timed"));
    }
}
