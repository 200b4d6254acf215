//! The README's and the guides' commands: each does what it is there for.
//!
//! A command is a line of a block in `sh`, or code in the table "I want to … / run this". Those of a page run one
//! after another, in one directory. Tasks of Cargo are left out: they build and test leakscope themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::NEWEST;
use leakscope_tests::process::run;
use leakscope_tests::programs::{BLOCKED, GROWS};
use leakscope_tests::scope::binary;
use leakscope_tests::server::find_program;
use leakscope_tests::tmux::Tmux;
use leakscope_tests::{Fixture, skip, workspace};
use tempfile::TempDir;

use super::export::cache;
use super::golang::need;

/// A command that goes on longer than this has failed.
const LONGEST: Duration = Duration::from_secs(600);
/// The page with the table.
const RECIPES: &str = "leakscope/docs/formats-and-pprof.md";

/// The README and the guides.
pub(super) fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![workspace().join("README.md")];
    for entry in fs::read_dir(workspace().join("leakscope/docs"))? {
        pages.push(entry?.path());
    }
    pages.sort();
    Ok(pages)
}

/// The commands of the table, in their order.
fn recipes() -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace().join(RECIPES))?;
    let (_, table) = text.split_once("| I want to … | run this |\n").context("the table")?;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut commands = Vec::new();
    for row in rows {
        let row = row.replace("\\|", "\u{0}");
        let run = row.split('|').nth(2).context("two columns")?;
        // Code stands between backticks: every other part.
        let code = run.split('`').skip(1).step_by(2);
        let whole = code.filter(|code| code.contains(' '));
        commands.extend(whole.map(|code| code.replace('\u{0}', "|")));
    }
    Ok(commands)
}

/// The lines of a page's blocks in `sh`, without comments and tasks of Cargo.
fn blocks(page: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(page)?;
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        let command = line.split_once(" # ").map_or(line, |(command, _)| command).trim_end();
        if inside && !command.split(' ').any(|word| word == "cargo") {
            commands.push(command.to_owned());
        }
    }
    Ok(commands)
}

/// A `leakscope` that gets Ctrl-C some seconds after it has attached, unless it ends by itself, and a `sudo` that
/// only runs.
fn shims(place: &Path) -> Result<()> {
    let leakscope = format!(
        r#"#!/bin/bash
case " $* " in " attach "*" --duration "*) ;; " attach "*) interrupt=1 ;; esac
[ "$interrupt" ] || exec '{0}' "$@"
said=$(mktemp)
'{0}' "$@" 2> >(tee "$said" >&2) &
until grep -q 'attached to PID' "$said" || ! kill -0 $!; do sleep 0.1; done
sleep 3
kill -INT $!
wait $!
"#,
        binary().display()
    );
    for (name, text) in [("leakscope", leakscope.as_str()), ("sudo", "#!/bin/sh\nexec \"$@\"\n")] {
        let path = place.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Processes to look at, and where commands run.
struct Stage {
    grows: Fixture,
    blocked: Fixture,
    tools: TempDir,
    place: TempDir,
    path: String,
}

impl Stage {
    /// `tools` come before those of `PATH`.
    fn set(tools: &[PathBuf]) -> Result<Self> {
        let mut grows = Fixture::start(&GROWS, &[])?;
        grows.say("grow 40")?;
        grows.expect("grow")?;
        let blocked = Fixture::start(&BLOCKED, &["mutex", "5"])?;
        let (shimmed, place) = (tempfile::tempdir()?, tempfile::tempdir()?);
        shims(shimmed.path())?;
        let mut path = shimmed.path().display().to_string();
        for tool in tools {
            path.push_str(&format!(":{}", tool.display()));
        }
        path.push_str(&format!(":{}", std::env::var("PATH")?));
        Ok(Self { grows, blocked, tools: shimmed, place, path })
    }

    /// The command with a process, and with times that a test can wait for.
    fn line(&self, command: &str) -> String {
        let pid = if command.contains(" dump ") { self.blocked.pid() } else { self.grows.pid() };
        command
            .replace("PID", &pid.to_string())
            .replace("--interval 10s", "--interval 1s")
            .replace("--interval 1m", "--interval 1s")
            .replace("--duration 30", "--duration 3")
            .replace("--duration 10", "--duration 3")
    }

    /// Runs a command, which must print or write something and end as it should.
    fn run(&mut self, recipe: &str) -> Result<()> {
        let line = self.line(recipe);
        if ["> later.json", "> after.json", "-o grown/"].iter().any(|to| line.contains(to)) {
            // More than in the report before.
            self.grows.say("grow 80")?;
            self.grows.expect("grow")?;
        }
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &line]).current_dir(self.place.path()).env("PATH", &self.path);
        command.env("HOME", cache()).env("GOCACHE", cache()).env("PPROF_TMPDIR", self.place.path());
        let output = run(&mut command, LONGEST).with_context(|| recipe.to_owned())?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = if recipe.contains("--fail-on") { 3 } else { 0 };
        ensure!(output.status.code() == Some(expected), "{recipe} ({}):\n{said}\n{errors}", output.status);
        let silent = recipe.contains("-o ") || recipe.contains('>') || recipe.starts_with("leakscope man ");
        if line.contains("jq ") {
            let numbers = said.lines().all(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
            ensure!(numbers, "{recipe}: {said}");
        }
        ensure!(silent || !said.trim().is_empty(), "{recipe} prints nothing:\n{errors}");
        Ok(())
    }

    /// Opens a screen, and leaves it once it shows something of the process, or of all.
    fn screen(&self, command: &str) -> Result<()> {
        let line = format!("PATH='{}' {}; echo code $?", self.path, self.line(command));
        let screen = Tmux::start(120, 30, &line)?;
        screen.wait_for(if command.contains("PID") { "probes" } else { "processes" })?;
        screen.keys(&["q"])?;
        screen.wait_for("code 0")?;
        Ok(())
    }
}

#[test]
fn every_recipe_runs() -> Result<()> {
    need!(NEWEST);
    if find_program("jq").is_none() {
        skip!("jq is not installed");
    }
    let go = NEWEST.root().context("the newest Go is installed")?.join("bin");
    let mut stage = Stage::set(&[go])?;
    let recipes = recipes()?;
    ensure!(recipes.len() > 15, "too few: {recipes:?}");
    recipes.iter().try_for_each(|recipe| stage.run(recipe))
}

#[test]
fn every_command_of_the_guides_runs() -> Result<()> {
    for program in ["tmux", "python3"] {
        if find_program(program).is_none() {
            skip!("{program} is not installed");
        }
    }
    let mut stage = Stage::set(&[])?;
    let mut count = 0;
    for page in pages()? {
        stage.place = tempfile::tempdir()?;
        for command in blocks(&page)? {
            let is_screen = command.contains("leakscope top") && !command.contains("--format");
            let done = if is_screen { stage.screen(&command) } else { stage.run(&command) };
            done.with_context(|| page.display().to_string())?;
            count += 1;
        }
    }
    ensure!(count > 15, "only {count} commands were found");
    ensure!(stage.tools.path().join("sudo").is_file(), "commands ran without the stand-ins");
    Ok(())
}
