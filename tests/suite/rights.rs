//! Which capabilities are needed for what: each dropped in turn, against targets of several owners.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use leakscope_tests::process::{copy_program, run_ok};
use leakscope_tests::programs::{CASES, PLUGIN};
use leakscope_tests::scope::{Finished, Invocation, binary};
use leakscope_tests::{Fixture, Leakscope, Report, skip};
use tempfile::TempDir;

/// The README's capabilities for `attach` and `top PID`.
const ATTACH: [&str; 3] = ["sys_admin", "sys_ptrace", "dac_read_search"];
/// Those for `dump`, which places no probe.
const DUMP: [&str; 5] = ["bpf", "perfmon", "checkpoint_restore", "sys_ptrace", "dac_read_search"];
const NOBODY: u32 = 65534;
const OTHER: u32 = 1;

/// leakscope as nobody with these capabilities.
fn holding(capabilities: &[&str], arguments: &[&str]) -> Result<Invocation> {
    let invocation = Leakscope::command("setpriv");
    let copy = readable_copy(&invocation)?;
    let list = capabilities.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(",");
    let list = if list.is_empty() { "-all".to_owned() } else { list };
    Ok(as_user(invocation, NOBODY)
        .args(["--inh-caps", &list, "--ambient-caps", &list, "--"])
        .arg(copy)
        .args(arguments.iter().copied()))
}

fn readable_copy(invocation: &Invocation) -> Result<PathBuf> {
    let copy = invocation.file("leakscope");
    copy_program(binary(), &copy)?;
    for path in [copy.as_path(), copy.parent().unwrap_or(&copy)] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(copy)
}

fn as_user(invocation: Invocation, user: u32) -> Invocation {
    let user = user.to_string();
    invocation.args(["--reuid", &user, "--regid", &user, "--clear-groups"])
}

/// A fixture of a user, and where its program lies.
struct Target {
    fixture: Fixture,
    place: TempDir,
}

impl Target {
    /// `mode` is that of the program, which belongs to `owner`.
    fn start(user: u32, owner: u32, mode: u32) -> Result<Self> {
        Self::start_scenario(user, owner, mode, "one-site", None)
    }

    fn start_scenario(
        user: u32,
        owner: u32,
        mode: u32,
        scenario: &str,
        library: Option<&str>,
    ) -> Result<Self> {
        let place = tempfile::tempdir()?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let program = place.path().join("cases");
        copy_program(CASES.build()?.path, &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(mode))?;
        chown(&program, Some(owner), Some(owner))?;
        let id = user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(&program).arg(scenario);
        if let Some(library) = library {
            let copy = place.path().join(library);
            copy_program(PLUGIN.build()?.path, &copy)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
            command.env("LD_PRELOAD", &copy);
        }
        Ok(Self { fixture: Fixture::start_command(&mut command)?, place })
    }

    fn pid(&self) -> String {
        self.fixture.pid().to_string()
    }
}

/// Targets into which one may look only by capabilities: another user's with a private program, root's, and one
/// that has made itself not dumpable.
fn private_targets() -> Result<[(&'static str, Target); 3]> {
    Ok([
        ("of another user", Target::start(OTHER, OTHER, 0o700)?),
        ("of root", Target::start(0, 0, 0o700)?),
        ("not dumpable", Target::start_scenario(NOBODY, NOBODY, 0o700, "not-dumpable", None)?),
    ])
}

/// Attaches to a target, lets it do its work, and compares.
fn attach_exactly(capabilities: &[&str], target: &mut Target) -> Result<()> {
    let pid = target.pid();
    let scope = holding(capabilities, &["attach", &pid, "--only", "heap", "--format", "json"])?.start()?;
    let truth = target.fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    Report::parse(&finished.stdout)?.assert_exact(&truth);
    Ok(())
}

#[track_caller]
fn assert_lacks(finished: &Finished, capability: &str, what: &str) {
    let name = format!("CAP_{}", capability.to_uppercase());
    assert_eq!(finished.code(), Some(4), "{what} without {name}: {}{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains(&name), "{what}: {name} is not in:\n{}", finished.stderr);
    assert!(!finished.stderr.contains("attached to PID"), "{what}: {}", finished.stderr);
}

fn without<'a>(all: &[&'a str], one: &str) -> Vec<&'a str> {
    all.iter().copied().filter(|name| *name != one).collect()
}

#[test]
fn the_documented_capabilities_suffice_to_attach() -> Result<()> {
    for (what, mut target) in private_targets()? {
        attach_exactly(&ATTACH, &mut target).with_context(|| what.to_owned())?;
    }
    Ok(())
}

#[test]
fn each_of_them_is_needed_to_attach() -> Result<()> {
    for (what, target) in private_targets()? {
        let pid = target.pid();
        for dropped in ATTACH {
            let held = without(&ATTACH, dropped);
            assert_lacks(&holding(&held, &["attach", &pid, "--duration", "1"])?.run()?, dropped, what);
            let top = ["top", &pid, "--format", "json", "--iterations", "1"];
            assert_lacks(&holding(&held, &top)?.run()?, dropped, what);
            let doctor = holding(&held, &["doctor", &pid])?.run()?;
            assert_lacks(&doctor, dropped, what);
            let name = format!("CAP_{}", dropped.to_uppercase());
            let told = doctor.stdout.lines().any(|line| line.contains("MISSING") && line.contains(&name));
            assert!(told, "{what}: no line on {name} in:\n{}", doctor.stdout);
        }
    }
    Ok(())
}

/// Nothing is asked for that is not needed: a process of one's own is read without the other two.
#[test]
fn an_own_process_needs_less() -> Result<()> {
    let mut target = Target::start(NOBODY, NOBODY, 0o700)?;
    attach_exactly(&["sys_admin"], &mut target)?;
    let target = Target::start(NOBODY, NOBODY, 0o700)?;
    let dump = ["dump", &target.pid(), "--format", "json"];
    holding(&["bpf", "perfmon", "checkpoint_restore"], &dump)?.run()?.assert_done();
    Ok(())
}

#[test]
fn a_dump_needs_no_sys_admin() -> Result<()> {
    for (what, target) in private_targets()? {
        let pid = target.pid();
        let arguments = ["dump", &pid, "--format", "json"];
        let finished = holding(&DUMP, &arguments)?.run()?;
        finished.assert_done();
        let report = Report::parse(&finished.stdout)?;
        assert_eq!(report.at("/waits/exact"), true, "{what}: {}", report.at("/waits"));
        let waits: Vec<_> = report.waits_through("main").collect();
        assert_eq!(waits.len(), 1, "{what}: {}", report.at("/waits/sites"));
        assert_eq!(waits[0].text("kind"), "pipe", "{what}: its descriptor could be looked at");
        for dropped in DUMP {
            assert_lacks(&holding(&without(&DUMP, dropped), &arguments)?.run()?, dropped, what);
        }
    }
    Ok(())
}

#[test]
fn capabilities_of_the_file() -> Result<()> {
    let mut target = Target::start(OTHER, OTHER, 0o700)?;
    let invocation = Leakscope::command("setpriv");
    let copy = readable_copy(&invocation)?;
    let names = ATTACH.map(|name| format!("cap_{name}")).join(",");
    if run_ok(
        Command::new("setcap").arg(format!("{names}+ep")).arg(&copy),
        std::time::Duration::from_secs(60),
    )
    .is_err()
    {
        skip!("files in the temporary directory cannot have capabilities, or there is no setcap");
    }
    let pid = target.pid();
    let scope = as_user(invocation, NOBODY)
        .arg("--")
        .arg(&copy)
        .args(["attach", &pid, "--only", "heap", "--format", "json"])
        .start()?;
    let truth = target.fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    Report::parse(&finished.stdout)?.assert_exact(&truth);
    Ok(())
}

/// What cannot be read is named, and the report is not called exact.
#[test]
fn a_part_that_cannot_be_read() -> Result<()> {
    let mut target = Target::start_scenario(NOBODY, NOBODY, 0o755, "one-site", Some("libsecret.so"))?;
    close_to_others(&target.place.path().join("libsecret.so"))?;
    let pid = target.pid();
    let doctor = holding(&["sys_admin"], &["doctor", &pid])?.run()?;
    doctor.assert_done();
    let told = |line: &str| line.contains("libsecret.so") && line.contains("CAP_DAC_READ_SEARCH");
    assert!(doctor.stdout.lines().any(told), "{}", doctor.stdout);

    let scope = holding(&["sys_admin"], &["attach", &pid, "--only", "heap", "--format", "json"])?.start()?;
    target.fixture.go()?;
    let finished = scope.finish()?;
    finished.assert_done();
    let report = Report::parse(&finished.stdout)?;
    assert!(!report.heap_exact(), "{}", report.at("/heap"));
    assert_eq!(report.losses(), [("heap.files_unread", 1)]);
    let findings = report.at("/summary/findings").to_string();
    assert!(findings.contains("libsecret.so"), "{findings}");
    Ok(())
}

/// The target has it mapped already.
fn close_to_others(path: &Path) -> Result<()> {
    chown(path, Some(0), Some(0))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
