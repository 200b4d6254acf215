//! Where Go calls C.

use super::*;

/// The functions of a site's frames, innermost first.
fn functions(site: &serde_json::Value) -> Vec<&str> {
    let frames = site["frames"].as_array().into_iter().flatten();
    frames.filter_map(|frame| frame["function"].as_str()).collect()
}

fn assert_leads(functions: &[&str], chain: &[&str]) {
    let mut rest = functions.iter();
    for wanted in chain {
        assert!(rest.any(|function| function == wanted), "{wanted} is not in its place: {functions:?}");
    }
}

/// What C allocates is charged through to the Go code that called it, on the goroutine's own stack.
#[test]
fn what_c_allocates_for_go() -> Result<()> {
    for (toolchain, variant) in [
        (OLDEST, Variant::Cgo),
        (GO_1_24, Variant::Cgo),
        (NEWEST, Variant::Cgo),
        (NEWEST, Variant::CgoStripped),
    ] {
        need!(toolchain);
        let program = STORY.with(toolchain).variant(variant);
        let mut fixture = program.start(&["-websockets", "10", "-total", "3000"])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        fixture.ask("native", "native ")?;
        let report = scope.finish()?.report()?;
        let sites = report.at("/heap/sites").as_array().context("sites")?;
        let site = sites.iter().find(|site| site["source"] == "malloc").context("a site of malloc's")?;
        assert_eq!(
            (&site["live_objects"], &site["live_bytes"]),
            (&1000.into(), &1_024_000.into()),
            "{program}"
        );
        assert_eq!(site["stack_end"], "root", "{program}: {site}");
        let chain = [
            "runtime.asmcgocall",
            "runtime.cgocall",
            "main._Cfunc_native_leak",
            "main.leakNatively",
            "main.main",
        ];
        assert_leads(&functions(site), &chain);
        assert_eq!(report.losses().into_iter().collect::<Vec<_>>(), [], "{program}");
    }
    Ok(())
}

/// A thread that is blocked in C shows the Go code that it was called from.
#[test]
fn blocked_in_c_for_go() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let program = STORY.with(toolchain).variant(Variant::CgoStripped);
        let fixture = program.start(&["-websockets", "10", "-total", "3000"])?;
        let report = dump(&fixture)?;
        let sites = report.at("/waits/sites").as_array().context("sites")?;
        let through = |site: &&serde_json::Value| functions(site).contains(&"main._Cfunc_native_block");
        let site = sites.iter().find(through).with_context(|| format!("{program}: blocked in C"))?;
        assert_eq!((&site["kind"], &site["stack_end"]), (&"pipe".into(), &"root".into()), "{program}");
        assert_leads(
            &functions(site),
            &["runtime.asmcgocall", "runtime.cgocall", "main.blockedInC", "runtime.goexit"],
        );
    }
    Ok(())
}
