//! Goroutines while leakscope stays attached.

use std::time::Duration;

use leakscope_tests::process::{poll, run_ok};
use leakscope_tests::scope::read_report;

use super::*;

/// Few goroutines, so that the fixture is quick to check them.
const SMALL: [&str; 4] = ["-websockets", "500", "-total", "3000"];

fn stuck(report: &Report) -> Result<&serde_json::Value> {
    let sites = report.at("/goroutines/sites").as_array().context("sites")?;
    let here = |site: &&serde_json::Value| site["start_function"] == "main.serveWebSocket.func1";
    sites.iter().find(here).context("the site of the story")
}

/// What piles up comes first, with how many came since leakscope did.
#[test]
fn goroutines_that_pile_up_come_first() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.variant(Variant::Stripped).start(&SMALL)?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    assert_eq!(fixture.ask("connect 700", "connected ")?, "1200");
    let report = scope.finish()?.report()?;
    let sites = report.at("/goroutines/sites").as_array().context("sites")?;
    // Those that can never run again come before it, if that was shown in time.
    let first = sites.iter().find(|site| site["leaked"] == 0 && site["stuck"] == 0).context("a site")?;
    assert_eq!(first["start_function"], "main.serveWebSocket.func1");
    assert_eq!((&first["count"], &first["growth"]), (&1200.into(), &700.into()));
    assert_eq!(report.number("/goroutines/total"), 3700);
    assert_eq!(report.number("/goroutines/growth"), 700);
    let statement = report.at("/goroutines/creations/0");
    assert_eq!((&statement["created"], &statement["exited"]), (&700.into(), &0.into()));
    assert_eq!(statement["frames"][0]["function"], "main.serveWebSocket");
    let headline = report.at("/summary/headline").as_str().unwrap_or_default();
    for part in ["1,200 of 3,700", "websocket.go:156", "700"] {
        assert!(headline.contains(part), "{part:?} is not in: {headline}");
    }
    Ok(())
}

/// Whatever is traced, goroutines are looked at: at the attach and at the end.
#[test]
fn goroutines_whatever_is_traced() -> Result<()> {
    need!(NEWEST);
    for only in ["heap", "waits"] {
        let mut fixture = STORY.start(&SMALL)?;
        let scope = Leakscope::attach_all(fixture.pid()).args(["--only", only]).start()?;
        fixture.ask("connect 20", "connected ")?;
        let report = scope.finish()?.report()?;
        assert_eq!(stuck(&report)?["growth"], 20, "--only {only}");
    }
    Ok(())
}

/// Each report tells the growth since the one before, and since the attach.
#[test]
fn growth_from_report_to_report() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&SMALL)?;
    let scope =
        Leakscope::attach_all(fixture.pid()).args(["--interval", "200ms", "--only", "waits"]).start()?;
    let file = scope.file("report.json");
    let next = |what: &str, wanted: &dyn Fn(&Report) -> bool| {
        poll(what, Duration::from_secs(30), || Ok(read_report(&file).ok().filter(wanted)))
    };
    fixture.ask("connect 40", "connected ")?;
    let report = next("all of them", &|report| report.number("/goroutines/total") == 3040)?;
    assert_eq!(report.number("/goroutines/growth_since_first"), 40);
    // Nothing happens any more.
    let report = next("no more", &|report| report.number("/goroutines/growth") == 0)?;
    assert_eq!(report.number("/goroutines/growth_since_first"), 40);
    scope.finish()?.assert_done();
    Ok(())
}

/// What was seen last is told where the target has ended, and that it was.
#[test]
fn the_last_look_at_a_program_that_ended() -> Result<()> {
    need!(NEWEST);
    let mut fixture = STORY.start(&SMALL)?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.kill()?;
    let report = scope.wait()?.report()?;
    assert_eq!(report.at("/window/ended_by"), "target_exit");
    assert_eq!(report.number("/goroutines/total"), 3000);
    assert_eq!(stuck(&report)?["count"], 500);
    assert!(report.findings().contains(&"goroutines_old"), "{:?}", report.findings());
    Ok(())
}

/// Where neither the table nor the program's DWARF is used, the layout is found by what must hold.
#[test]
fn layouts_by_debug_info_and_by_calibration() -> Result<()> {
    for toolchain in [OLDEST, GO_1_21, GO_1_24, NEWEST] {
        need!(toolchain);
        for (layouts, variant) in [("debug-info", Variant::Normal), ("calibration", Variant::Stripped)] {
            let program = STORY.with(toolchain).variant(variant);
            let mut fixture = program.start(&SMALL)?;
            let report = Leakscope::dump(fixture.pid()).args(["--go-layouts", layouts]).run()?.report()?;
            let own = fixture.dump()?;
            compare_stacks(report.value(), &own.stacks).with_context(|| format!("{program}, {layouts}"))?;
        }
    }
    Ok(())
}

/// On a terminal what the goroutines do is told at once, not only at the end.
#[test]
fn goroutines_at_once_on_a_terminal() -> Result<()> {
    need!(NEWEST);
    let fixture = STORY.start(&SMALL)?;
    let leakscope = leakscope_tests::scope::binary();
    let line = format!("{} attach {} --only waits --duration 100ms", leakscope.display(), fixture.pid());
    let mut script = std::process::Command::new("script");
    script
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null());
    let text = run_ok(&mut script, Duration::from_secs(120))?;
    let heads: Vec<&str> = text.lines().filter(|line| line.contains("(PID ")).collect();
    assert_eq!(heads.len(), 2, "{text}");
    assert!(heads[0].contains("looked at") && heads[1].contains("watched for"), "{text}");
    let (attached, rest) = text.split_once(" probes").context("the line")?;
    assert!(!attached.contains("websocket.go") && rest.matches("websocket.go:156").count() >= 2, "{text}");
    Ok(())
}
