//! Stacks: unwound to the root, named, and with their source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use leakscope_tests::process::run_ok;
use leakscope_tests::programs::{
    Allocator, CASES, COROUTINES, MOVES_TEXT, SITES_C, SITES_CPP, STACKS, THREADS,
};
use leakscope_tests::report::{Site, names};
use leakscope_tests::{Expect, Fixture, Leakscope, Report, skip};

use crate::{check, check_with};

/// The only site through that function.
fn the_site<'a>(report: &'a Report, function: &'a str) -> Site<'a> {
    let sites: Vec<_> = report.sites_through(function).collect();
    assert_eq!(
        sites.len(),
        1,
        "sites through {function}: {:#?}",
        sites.iter().map(Site::stack).collect::<Vec<_>>()
    );
    sites[0]
}

/// Asserts that the stack meets these functions in this order, others between them.
#[track_caller]
fn assert_passes(site: Site<'_>, functions: &[&str]) {
    let mut stack = site.functions();
    for function in functions {
        assert!(
            stack.any(|frame| names(frame, function)),
            "{function} is missing or misplaced in: {}",
            site.stack()
        );
    }
}

#[test]
fn plt_calls_and_frames_of_variable_size() -> Result<()> {
    let report = check(&STACKS, "plt")?;
    assert_passes(the_site(&report, "site_plain"), &["site_plain", "main"]);
    assert_passes(the_site(&report, "site_strdup"), &["site_strdup", "main"]);
    for site in report.sites_through("site_sized_frame") {
        assert_passes(site, &["site_sized_frame", "sized_frame", "main", "_start"]);
    }
    Ok(())
}

#[test]
fn hundred_frames_deep() -> Result<()> {
    let report = check(&STACKS, "deep100")?;
    let site = the_site(&report, "site_deep");
    assert_eq!(site.functions().filter(|function| names(function, "dive")).count(), 101, "{}", site.stack());
    assert_passes(site, &["site_deep", "dive", "main", "_start"]);
    Ok(())
}

/// 127 frames are kept, counted from the innermost; the account stays exact.
#[test]
fn two_hundred_frames_deep_are_cut() -> Result<()> {
    let report = check_with(
        &STACKS,
        "deep200",
        Expect { exact: false, losses: &["stacks.truncated"], rooted: false },
    )?;
    assert!(report.heap_exact(), "a stack cut short leaves the account exact");
    let site = the_site(&report, "site_deep");
    let physical = site.frames().filter(|frame| frame["inlined"] != true).count();
    assert!((120..=128).contains(&physical), "{physical} frames: {}", site.stack());
    assert!(!site.is_rooted());
    Ok(())
}

#[test]
fn signal_handler() -> Result<()> {
    let report = check(&STACKS, "signal")?;
    assert_passes(the_site(&report, "site_handler"), &["site_handler", "on_signal", "interrupted", "main"]);
    Ok(())
}

/// The handler's stack and the interrupted one lie far apart.
#[test]
fn signal_handler_on_an_alternate_stack_in_a_thread() -> Result<()> {
    let report = check(&STACKS, "signal-in-thread")?;
    let site = the_site(&report, "site_handler");
    assert_passes(site, &["site_handler", "on_signal", "interrupted", "with_alternate_stack"]);
    Ok(())
}

#[test]
fn through_a_function_of_libc() -> Result<()> {
    let report = check(&STACKS, "through-libc")?;
    assert_passes(the_site(&report, "site_compared"), &["site_compared", "compare", "through_libc", "main"]);
    Ok(())
}

/// Functions with buffers of 600 KiB, 4 MiB and 64 MiB on the stack: what allocates and what waits under them.
#[test]
fn frames_of_many_mib() -> Result<()> {
    let mut fixture = Fixture::start(&STACKS, &["huge-frames"])?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_matches(&truth, Expect::default());
    for (frame, root) in
        [("frame_of_600_kib", "main"), ("frame_of_4_mib", "main"), ("frame_of_64_mib", "on_a_large_stack")]
    {
        assert_passes(the_site(&report, frame), &["site_huge", frame, root]);
        let waits: Vec<_> = report.waits_through(frame).collect();
        assert_eq!(waits.len(), 1, "waits through {frame}");
        assert!(waits[0].is_rooted() && waits[0].passes(root), "{}", waits[0].describe());
    }
    Ok(())
}

#[test]
fn coroutines_end_at_their_root() -> Result<()> {
    let report = check(&COROUTINES, "leak")?;
    let site = the_site(&report, "site_coroutine");
    assert_passes(site, &["site_coroutine", "leaks", "__start_context"]);
    assert_eq!(site.text("stack_end"), "root", "{}", site.stack());

    let fixture = Fixture::start(&COROUTINES, &["wait"])?;
    let report = Leakscope::dump(fixture.pid()).run()?.report()?;
    let waits: Vec<_> = report.waits_through("waits").collect();
    assert_eq!(waits.len(), 1, "{}", report.at("/waits/sites"));
    assert_eq!(waits[0].text("stack_end"), "root", "{}", report.at("/waits/sites"));
    assert!(waits[0].passes("__start_context"));
    Ok(())
}

/// Code that lies in memory without a file, in the place of a file's: names, rows and blame are the file's.
#[test]
fn code_moved_to_huge_pages() -> Result<()> {
    let report = check(&MOVES_TEXT, "moved")?;
    let site = the_site(&report, "site_moved");
    assert_passes(site, &["site_moved", "deeper", "run", "fixture_main", "main", "_start"]);
    let fixture = Fixture::start(&MOVES_TEXT, &["moved"])?;
    let report = Leakscope::dump(fixture.pid()).run()?.report()?;
    let waits: Vec<_> = report.waits_through("waits_in_moved_code").collect();
    assert_eq!(waits.len(), 1, "{}", report.at("/waits/sites"));
    assert_eq!(waits[0].text("stack_end"), "root");
    Ok(())
}

/// The allocator was moved, too: the kernel places no probe there, and the report does not call itself exact.
#[test]
fn allocator_moved_to_huge_pages() -> Result<()> {
    let mut fixture = Fixture::start(&MOVES_TEXT.allocator(Allocator::GlibcStatic), &["moved"])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    fixture.go()?;
    let finished = scope.finish()?;
    let report = finished.report_with(1)?;
    assert!(!report.heap_exact(), "{}", report.at("/heap"));
    assert!(
        report.losses().iter().any(|(name, n)| *name == "heap.probes_failed" && *n > 5),
        "{:?}",
        report.losses()
    );
    assert_ne!(report.answer(), "heap_nothing_allocated", "{}", report.headline());
    assert!(finished.stderr.contains("huge pages"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn threads_end_at_their_root() -> Result<()> {
    let report = check(&THREADS, "300")?;
    for site in report.sites_through("site_kept") {
        assert_passes(site, &["site_kept", "one_of_300"]);
        assert!(!site.functions().any(|function| names(function, "main")));
    }
    Ok(())
}

/// Calls in the moment after dlopen may be cut short, and are counted as such; later ones are not.
#[test]
fn library_loaded_while_traced() -> Result<()> {
    let expect = Expect { exact: false, losses: &["stacks.mapping_unknown"], rooted: true };
    let report = check_with(&STACKS, "dlopen", expect)?;
    assert!(report.heap_exact(), "stacks cut short leave the account exact");
    let site = the_site(&report, "plugin_keep");
    assert_passes(site, &["keep_by", "plugin_keep", "plugin_work", "main", "_start"]);
    let module = site.frames().next().map(|frame| frame["module"].as_str().unwrap_or_default().to_owned());
    assert!(
        site.frames().any(|frame| frame["module"].as_str().is_some_and(|m| m.ends_with("libplugin.so"))),
        "{module:?}"
    );
    let first: i64 = report.sites_through("keep_by").map(|site| site.live().objects).sum();
    assert_eq!(first, 100, "also the first 50 are in the account");
    Ok(())
}

/// A target with over a million rows: librustc_driver and libLLVM are mapped.
#[test]
fn target_with_a_million_rows() -> Result<()> {
    let sysroot = run_ok(Command::new("rustc").args(["--print", "sysroot"]), Duration::from_secs(60))?;
    let libraries = Path::new(sysroot.trim()).join("lib");
    let driver = fs::read_dir(&libraries)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("librustc_driver"))
    });
    let Some(driver) = driver else { skip!("no librustc_driver in {}", libraries.display()) };
    let driver = driver.to_str().context("the path is UTF-8")?;
    let mut fixture = Fixture::start_with(&CASES, &["one-site"], &[driver])?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    scope.finish()?.report()?.assert_exact(&truth);
    Ok(())
}

#[test]
fn files_and_lines_with_debug_info() -> Result<()> {
    let report = check(&SITES_C, "all")?;
    let site = report.sites_through("grow").next().context("grow is in the report")?;
    let frame = site.frames().find(|frame| frame["function"] == "grow").context("a frame of grow")?;
    assert!(frame["file"].as_str().is_some_and(|file| file.ends_with("sites.c")), "{frame}");
    assert!(frame["line"].as_u64().is_some_and(|line| line > 1), "{frame}");
    Ok(())
}

#[test]
fn inlined_frames_with_debug_info() -> Result<()> {
    let report = check(&SITES_C, "all")?;
    let site = the_site(&report, "calls_inlined");
    assert_passes(site, &["site_malloc", "inlined_helper", "calls_inlined", "main"]);
    let inlined = site.frames().find(|frame| frame["function"] == "inlined_helper").context("the frame")?;
    assert_eq!(inlined["inlined"], true, "{inlined}");
    Ok(())
}

#[test]
fn names_without_debug_info() -> Result<()> {
    let report = check(&SITES_C.debug(false), "all")?;
    let site = the_site(&report, "calls_inlined");
    assert_passes(site, &["site_malloc", "calls_inlined", "main", "_start"]);
    let frame = site.frames().find(|frame| frame["function"] == "calls_inlined").context("the frame")?;
    assert!(frame["file"].is_null() && frame["line"].is_null(), "{frame}");
    Ok(())
}

#[test]
fn demangled_names() -> Result<()> {
    let report = check(&SITES_CPP.debug(false).allocator(Allocator::Glibc), "all")?;
    let site = report.sites_through("Pool::grow").next().context("Pool::grow is in the report")?;
    assert!(site.functions().any(|function| function.ends_with("Pool::grow(int)")), "{}", site.stack());
    assert!(!site.functions().any(|function| function.starts_with("_Z")), "{}", site.stack());
    Ok(())
}

/// A stripped copy of the fixture, with its debug info beside it or without any.
fn stripped(place: &Path, with_debug_file: bool) -> Result<PathBuf> {
    let built = CASES.build()?.path;
    let stripped = place.join("cases");
    let debug = place.join("cases.debug");
    let objcopy = |arguments: &[&std::ffi::OsStr]| {
        run_ok(Command::new("objcopy").args(arguments), Duration::from_secs(60)).map(drop)
    };
    objcopy(&["--only-keep-debug".as_ref(), built.as_ref(), debug.as_ref()])?;
    objcopy(&["--strip-all".as_ref(), built.as_ref(), stripped.as_ref()])?;
    if with_debug_file {
        let link = format!("--add-gnu-debuglink={}", debug.display());
        objcopy(&[link.as_ref(), stripped.as_ref()])?;
    } else {
        fs::remove_file(debug)?;
    }
    Ok(stripped)
}

#[test]
fn names_from_a_separate_debug_file() -> Result<()> {
    let place = tempfile::tempdir()?;
    let program = stripped(place.path(), true)?;
    let mut fixture = Fixture::start_command(Command::new(program).arg("one-site"))?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    report.assert_exact(&truth);
    let site = the_site(&report, "site_malloc");
    let frame = site.frames().find(|frame| frame["function"] == "site_malloc").context("the frame")?;
    assert!(frame["file"].as_str().is_some_and(|file| file.ends_with("cases.c")), "{frame}");
    Ok(())
}

/// Nothing names the frames of the program, but they are there, with the reason.
#[test]
fn stripped_program() -> Result<()> {
    let place = tempfile::tempdir()?;
    let program = stripped(place.path(), false)?;
    let mut fixture = Fixture::start_command(Command::new(program).arg("one-site"))?;
    let scope = Leakscope::attach(fixture.pid()).start()?;
    let truth = fixture.go()?;
    let report = scope.finish()?.report()?;
    let total = truth.total.context("the fixture knows the total")?;
    assert_eq!(report.number("/heap/totals/live_objects"), total.objects);
    assert_eq!(report.number("/heap/totals/live_bytes"), total.bytes);
    let site = report.sites().next().context("a site")?;
    let nameless: Vec<_> = site.frames().filter(|frame| frame["function"].is_null()).collect();
    assert!(nameless.len() >= 3, "{}", site.stack());
    for frame in nameless {
        assert!(frame["module"].as_str().is_some_and(|module| module.ends_with("cases")), "{frame}");
        assert!(frame["why_unknown"].as_str().is_some_and(|why| !why.is_empty()), "{frame}");
        assert!(frame["offset"].is_string(), "{frame}");
    }
    Ok(())
}
