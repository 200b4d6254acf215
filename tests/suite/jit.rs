//! Code that is made at run time, where the target tells its names.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::process::Guard;
use leakscope_tests::server::find_program;
use leakscope_tests::{Leakscope, programs, skip};
use serde_json::Value;

/// A file that is removed at the end.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A node that keeps compressors.
struct Node {
    guard: Guard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    map: Removed,
}

impl Node {
    fn start(node: &Path, arguments: &[&str], place: &Path) -> Result<Self> {
        let mut command = Command::new(node);
        command.args(arguments).arg("--interpreted-frames-native-stack");
        command.arg(programs::directory().join("node/leak.js")).current_dir(place);
        let mut guard = Guard::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = guard.child().stdin.take().context("stdin")?;
        let stdout = BufReader::new(guard.child().stdout.take().context("stdout")?);
        let map = Removed(format!("/tmp/perf-{}.map", guard.pid()).into());
        let mut node = Self { guard, stdin, stdout, map };
        node.expect("ready")?;
        Ok(node)
    }

    fn expect(&mut self, text: &str) -> Result<()> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(line.trim() == text, "node said {line:?}");
        Ok(())
    }

    /// The place that holds most of what it keeps, with its frame.
    fn largest(&mut self) -> Result<Value> {
        let scope = Leakscope::attach(self.guard.pid()).start()?;
        self.stdin.write_all(b"go\n")?;
        self.expect("done")?;
        let report = scope.finish()?.report()?;
        Ok(report.at("/heap/places/0").clone())
    }
}

/// JavaScript is charged by its names, whichever way node tells them; its own is not.
#[test]
fn javascript_by_perf_map_and_jitdump() -> Result<()> {
    let Some(node) = find_program("node") else { skip!("node is not installed") };
    for arguments in [&["--perf-basic-prof"][..], &["--perf-prof", "--no-write-protect-code-memory"]] {
        let place = tempfile::tempdir()?;
        let largest = Node::start(&node, arguments, place.path())?.largest()?;
        assert_eq!(largest["function"], "remember", "{arguments:?}: {largest}");
        let file = largest["file"].as_str().unwrap_or_default();
        ensure!(file.ends_with("/node/leak.js"), "{arguments:?}: {largest}");
        ensure!(largest["live_objects"].as_u64() >= Some(50), "{arguments:?}: {largest}");
    }
    Ok(())
}

/// Anybody can put a perf map into `/tmp`; one of another user's says nothing.
#[test]
fn a_map_of_another_user_is_not_used() -> Result<()> {
    let Some(node) = find_program("node") else { skip!("node is not installed") };
    let place = tempfile::tempdir()?;
    let mut node = Node::start(&node, &["--perf-basic-prof"], place.path())?;
    assert_eq!(node.largest()?["function"], "remember");
    std::os::unix::fs::chown(&node.map.0, Some(12_345), None)?;
    let largest = node.largest()?;
    assert_ne!(largest["function"], "remember", "{largest}");
    Ok(())
}
