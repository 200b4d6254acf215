//! Where Go calls C.

use leakscope_tests::go::LEVELS;

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
        // The first goroutine was created by no statement.
        assert_eq!(
            (&site["goroutine"], &site["created_by"]),
            (&1.into(), &serde_json::Value::Null),
            "{program}"
        );
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

/// Go calls C calls Go calls C: each block is charged to who asked for it, by a stack that is whole.
#[test]
fn through_go_and_c_and_back() -> Result<()> {
    for (toolchain, variant) in [
        (OLDEST, Variant::Cgo),
        (OLDEST, Variant::CgoStatic),
        (GO_1_24, Variant::CgoStripped),
        (NEWEST, Variant::Cgo),
        (NEWEST, Variant::CgoStatic),
    ] {
        need!(toolchain);
        let program = LEVELS.with(toolchain).variant(variant);
        let mut fixture = program.start(&[])?;
        let scope = Leakscope::attach(fixture.pid()).start()?;
        fixture.ask("levels", "levels ")?;
        let report = scope.finish()?.report()?;
        let sites = report.at("/heap/sites").as_array().context("sites")?;
        for (bytes, chain) in [
            (100_000, &["main._Cfunc_level_one", "main.levelZero"][..]),
            (2_700, &["main._Cfunc_CString", "main.setName", "main.levelTwo", "runtime.cgocallback"]),
            (300_000, &["main._Cfunc_level_three", "main.levelTwo", "runtime.cgocallback"]),
        ] {
            let site = sites.iter().find(|site| site["live_bytes"] == bytes);
            let site = site.with_context(|| format!("{program}: {bytes} bytes in {sites:?}"))?;
            assert_eq!(
                (&site["live_objects"], &site["stack_end"]),
                (&100.into(), &"root".into()),
                "{program}"
            );
            let functions = functions(site);
            assert_leads(&functions, chain);
            assert_leads(&functions, &["runtime.asmcgocall", "main._Cfunc_level_one", "main.levelZero"]);
            assert_eq!(functions.last(), Some(&"runtime.goexit"), "{program}");
            let blamed = &site["frames"][site["blame"].as_u64().context("blame")? as usize]["function"];
            let name = blamed.as_str().unwrap_or_default();
            assert!(!name.contains("cgo") && !name.contains("_Cfunc_"), "{program}: {name}");
            if bytes == 2_700 {
                assert_eq!(name, "main.setName", "{program}");
            }
        }
        assert_eq!(report.losses().into_iter().collect::<Vec<_>>(), [], "{program}");
    }
    Ok(())
}

/// Whose goroutine C allocates for, and which statement created it.
#[test]
fn what_c_allocates_by_goroutine() -> Result<()> {
    for (toolchain, variant) in [
        (OLDEST, Variant::Cgo),
        (GO_1_24, Variant::CgoStripped),
        (NEWEST, Variant::Cgo),
        (NEWEST, Variant::CgoStatic),
    ] {
        need!(toolchain);
        let program = LEVELS.with(toolchain).variant(variant);
        let mut fixture = program.start(&[])?;
        for times in 1..3 {
            let scope = Leakscope::attach(fixture.pid()).start()?;
            let mut last = String::new();
            for _ in 0..times {
                last = fixture.ask("levels", "levels ")?;
            }
            let report = scope.finish()?.report()?;
            let number: u64 = last.split(' ').next_back().context("a number")?.parse()?;
            let sites = report.at("/heap/sites").as_array().context("sites")?;
            // The runtime's own threads are created by no goroutine.
            let sites = sites.iter().filter(|site| functions(site).contains(&"main.levelZero"));
            let sites: Vec<_> = sites.collect();
            ensure!(sites.len() >= 3, "{program}: {sites:?}");
            for site in sites {
                // Two goroutines of one statement: their stacks are one site, which neither made alone.
                let expected = if times == 1 { number.into() } else { serde_json::Value::Null };
                assert_eq!(site["goroutine"], expected, "{program}: {site}");
                assert_eq!(site["created_by"]["function"], "main.main.func1", "{program}: {site}");
            }
        }
    }
    Ok(())
}

/// A goroutine that waits in a function that C called, and the types that a generic function was made for.
#[test]
fn waits_in_a_callback_and_in_generic_code() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        let fixture = LEVELS.with(toolchain).variant(Variant::CgoStripped).start(&[])?;
        let report = dump(&fixture)?;
        let sites = report.at("/goroutines/sites").as_array().context("sites")?;
        let through = |function: &str| {
            let site = sites.iter().find(|site| functions(site).contains(&function));
            site.with_context(|| format!("{toolchain}: {function}"))
        };
        let site = through("main.levelHeld")?;
        assert_eq!((&site["blame"].is_u64(), &site["stack_end"]), (&true, &"root".into()), "{site}");
        let blamed = site["blame"].as_u64().unwrap_or_default() as usize;
        assert_eq!(site["frames"][blamed]["function"], "main.levelHeld");
        assert_leads(&functions(site), &["main.levelHeld", "runtime.cgocallback", "main.holdInCallback"]);
        // The tables have them since Go 1.21.
        let names: &[&str] = match toolchain {
            OLDEST => &["main.(*list[...]).wait"],
            _ => &["main.(*list[go.shape.int]).wait", "main.(*list[go.shape.string]).wait"],
        };
        for name in names {
            assert_eq!(through(name)?["count"], 1, "{toolchain}: {name}");
        }
    }
    Ok(())
}
