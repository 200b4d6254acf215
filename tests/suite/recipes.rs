//! The README's recipes: every command of the table "I want to … / run this" does what it is there for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use leakscope_tests::go::NEWEST;
use leakscope_tests::process::run;
use leakscope_tests::programs::{BLOCKED, GROWS};
use leakscope_tests::scope::binary;
use leakscope_tests::server::find_program;
use leakscope_tests::{Fixture, skip, workspace};

use super::export::cache;
use super::golang::need;

/// A command that goes on longer than this has failed.
const LONGEST: Duration = Duration::from_secs(600);

/// The commands of the table, in their order.
fn recipes() -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace().join("README.md"))?;
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

/// A `leakscope` that gets Ctrl-C some seconds after it has attached, unless it ends by itself, and a `sudo` that
/// only runs.
fn shims(place: &Path) -> Result<()> {
    let leakscope = format!(
        r#"#!/bin/bash
case " $* " in *" --duration "* | *" report "* | *" diff "* | *" dump "*) exec '{0}' "$@" ;; esac
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

#[test]
fn every_recipe_runs() -> Result<()> {
    need!(NEWEST);
    if find_program("jq").is_none() {
        skip!("jq is not installed");
    }
    let mut fixture = Fixture::start(&GROWS, &[])?;
    fixture.say("grow 40")?;
    fixture.expect("grow")?;
    let blocked = Fixture::start(&BLOCKED, &["mutex", "5"])?;
    let place = tempfile::tempdir()?;
    let tools = tempfile::tempdir()?;
    shims(tools.path())?;
    let go = NEWEST.root().context("the newest Go is installed")?.join("bin");
    let path = format!("{}:{}:{}", tools.path().display(), go.display(), std::env::var("PATH")?);
    let recipes = recipes()?;
    ensure!(recipes.len() > 15, "too few: {recipes:?}");
    for recipe in recipes {
        // A minute is too long to wait for.
        let pid = if recipe.contains(" dump ") { blocked.pid() } else { fixture.pid() };
        let line = recipe.replace("PID", &pid.to_string());
        let line = line.replace("--interval 10s", "--interval 1s").replace("--interval 1m", "--interval 1s");
        let line = line.replace("--duration 30", "--duration 3");
        if line.contains("-o later.json") {
            // More than in the report before.
            fixture.say("grow 80")?;
            fixture.expect("grow")?;
        }
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &line]).current_dir(place.path()).env("PATH", &path);
        command.env("HOME", cache()).env("GOCACHE", cache()).env("PPROF_TMPDIR", place.path());
        let output = run(&mut command, LONGEST).with_context(|| recipe.clone())?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = if recipe.contains("--fail-on") { 3 } else { 0 };
        ensure!(output.status.code() == Some(expected), "{recipe} ({}):\n{said}\n{errors}", output.status);
        let silent = recipe.contains("-o ") || recipe.contains('>');
        if line.contains("jq ") {
            let numbers = said.lines().all(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
            ensure!(numbers, "{recipe}: {said}");
        }
        ensure!(silent || !said.trim().is_empty(), "{recipe} prints nothing:\n{errors}");
    }
    Ok(())
}
