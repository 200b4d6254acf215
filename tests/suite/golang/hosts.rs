//! Runtimes in programs of other languages, in plugins, and several in one process.

use std::path::Path;
use std::process::Command;

use leakscope_tests::go::{HOST, LIBRARY, PLUGIN};
use leakscope_tests::programs::directory;
use leakscope_tests::server::find_program;
use leakscope_tests::skip;
use serde_json::Value;

use super::*;

/// Python, with these libraries loaded, each with so many goroutines.
fn python(libraries: &[(&Path, u64)]) -> Result<Option<GoFixture>> {
    let Some(python) = find_program("python3") else { return Ok(None) };
    let mut command = Command::new(python);
    command.arg(directory().join("python/go_host.py"));
    for (library, count) in libraries {
        command.arg(library).arg(count.to_string());
    }
    Program::start_command(&mut command).map(Some)
}

/// The goroutines at a function, with the file that it is in.
fn waiting(report: &Report, function: &str) -> Vec<(u64, String)> {
    let sites = report.at("/goroutines/sites").as_array().cloned().unwrap_or_default();
    let blamed = |site: &Value| Some(site["frames"][site["blame"].as_u64()? as usize].clone());
    let of = sites.iter().filter_map(|site| {
        let frame = blamed(site).filter(|frame| frame["function"] == function)?;
        Some((site["count"].as_u64()?, frame["module"].as_str().unwrap_or_default().to_owned()))
    });
    let mut all: Vec<_> = of.collect();
    all.sort_unstable();
    all
}

fn runtimes(report: &Report) -> Vec<Value> {
    report.at("/target/go/runtimes").as_array().cloned().unwrap_or_default()
}

fn says(report: &Report, code: &str) -> Option<String> {
    let details = report.at("/summary/details").as_array().cloned().unwrap_or_default();
    let said = details.into_iter().find(|said| said["code"] == code)?;
    said["text"].as_str().map(ToOwned::to_owned)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The main goroutine of a library ends at once, and its place in the runtime's list is another's.
#[test]
fn a_library_in_python() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let library = LIBRARY.with(toolchain).build()?;
        let Some(fixture) = python(&[(&library, 50)])? else { skip!("python3 is not installed") };
        let report = dump(&fixture)?;
        assert_eq!(waiting(&report, "main.waitForGood"), [(50, text(&library))], "{toolchain}");
        assert_eq!(report.at("/target/runtime"), "python");
        let found = runtimes(&report);
        assert_eq!((found.len(), &found[0]["file"]), (1, &text(&library).into()), "{found:?}");
        let said = says(&report, "go_runtimes").context("where the runtime is")?;
        assert!(said.contains(&text(&library)), "{said}");
        assert!(report.number("/go_memory/heap_in_use_bytes") > 0, "{toolchain}");
    }
    Ok(())
}

/// Goroutines, heap and memory are those of both; neither is passed over in silence.
#[test]
fn two_runtimes_one_of_which_comes_later() -> Result<()> {
    need!(NEWEST);
    need!(OLDEST);
    let (first, second) = (LIBRARY.build()?, LIBRARY.with(OLDEST).build()?);
    let Some(mut fixture) = python(&[(&first, 30)])? else { skip!("python3 is not installed") };
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.ask(&format!("load {} 20", second.display()), "loaded ")?;
    let report = scope.finish()?.report()?;
    let found = runtimes(&report);
    let both = [(20, text(&second)), (30, text(&first))];
    assert_eq!(waiting(&report, "main.waitForGood"), both, "{found:?} {}", report.at("/summary"));
    let late =
        |file: &Path| found.iter().find(|one| one["file"] == text(file)).map(|one| one["late"] == true);
    assert_eq!((late(&first), late(&second)), (Some(false), Some(true)), "{found:?}");
    let sum: u64 = found.iter().filter_map(|one| one["goroutines"].as_u64()).sum();
    assert_eq!(report.number("/goroutines/total"), sum.cast_signed());
    let said = says(&report, "go_runtimes").context("that there are two")?;
    assert!(said.contains(&text(&first)) && said.contains(&text(&second)), "{said}");
    let sites = report.at("/goroutines/sites").as_array().context("sites")?;
    let ids: BTreeSet<String> = sites.iter().map(|site| site["site_id"].to_string()).collect();
    assert_eq!(ids.len(), sites.len(), "each site has a number of its own");

    let both = dump(&fixture)?;
    assert_eq!(waiting(&both, "main.waitForGood"), [(20, text(&second)), (30, text(&first))]);
    Ok(())
}

#[test]
fn a_main_goroutine_that_has_ended() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let fixture = HOST.with(toolchain).variant(Variant::CgoStripped).start(&["-end"])?;
        let report = dump(&fixture)?;
        let program = report.at("/target/exe").as_str().unwrap_or_default().to_owned();
        assert_eq!(waiting(&report, "main.waitInHost"), [(60, program)], "{toolchain}");
    }
    Ok(())
}

/// A plugin that comes while leakscope watches: its goroutines are in its file, and stacks go through it.
#[test]
fn a_plugin() -> Result<()> {
    need!(NEWEST);
    let plugin = PLUGIN.build()?;
    let mut fixture = HOST.start(&[])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.ask(&format!("load {}", plugin.display()), "loaded ")?;
    let report = scope.finish()?.report()?;
    let wait = |report: &Report| {
        let sites = report.at("/goroutines/sites").as_array().cloned().unwrap_or_default();
        let frames = sites.iter().flat_map(|site| site["frames"].as_array().cloned().unwrap_or_default());
        let name = |frame: &Value| frame["function"].as_str().unwrap_or_default().ends_with(".waitForGood");
        frames.filter(name).map(|frame| frame["module"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(wait(&report), [Value::from(text(&plugin))]);
    assert_eq!(runtimes(&report).len(), 1, "it has no runtime of its own");
    assert_eq!(says(&report, "go_runtimes"), None);
    assert_eq!(wait(&dump(&fixture)?), [Value::from(text(&plugin))]);
    Ok(())
}
