//! Tables of reports made by hand, as people see them.

mod folding;
mod goroutines;
pub(crate) mod samples;

use expect_test::expect_file;

use super::*;
use crate::human::columns;
use crate::report::model::{Cut, StackEnd, WaitKind};

/// The table.
fn styled(report: &Report, style: &TableStyle) -> String {
    let mut out = Vec::new();
    write(report, style, &mut out).expect("a Vec takes everything");
    String::from_utf8(out).expect("UTF-8")
}

/// The table without colour, with the limits that are the default.
fn shown(report: &Report, width: usize) -> String {
    styled(report, &TableStyle::plain(width))
}

/// Compares with a file beside the tests, where a missing one fails; UPDATE_EXPECT=1 writes it.
#[track_caller]
fn assert_shown(name: &str, text: &str) {
    let path = format!("{}/src/export/table/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    assert!(!text.is_empty(), "an empty text would be taken for a missing file");
    expect_file![path].assert_eq(text);
}

#[test]
fn a_heap_alone() {
    for width in [80, 120] {
        assert_shown(&format!("heap-{width}"), &shown(&samples::heap(), width));
    }
}

#[test]
fn a_deadlock_comes_first() {
    for width in [40, 80, 120] {
        assert_shown(&format!("deadlock-{width}"), &shown(&samples::deadlock(), width));
    }
}

#[test]
fn one_lock_and_who_holds_it() {
    for width in [40, 80, 120] {
        assert_shown(&format!("hot-mutex-{width}"), &shown(&samples::hot_mutex(), width));
    }
}

#[test]
fn what_is_idle_is_called_so() {
    for width in [40, 80, 120] {
        assert_shown(&format!("idle-{width}"), &shown(&samples::idle(), width));
    }
}

#[test]
fn all_that_attach_tells() {
    for width in [40, 80, 120] {
        assert_shown(&format!("attached-{width}"), &shown(&samples::attached(), width));
    }
}

/// Few sites and frames: the holder's own site is not among them, so its stack stands by the lock.
#[test]
fn limits() {
    let style = TableStyle { top: 1, frames: Some(1), ..TableStyle::plain(80) };
    assert_shown("limits-hot-mutex", &styled(&samples::hot_mutex(), &style));
    assert_shown("limits-deadlock", &styled(&samples::deadlock(), &style));
}

/// The stack of a holder that stands by its lock says why it ends, as any other does.
#[test]
fn a_holders_stack_that_is_cut() {
    let style = TableStyle { top: 1, ..TableStyle::plain(120) };
    let mut report = samples::hot_mutex();
    let end = |report: &mut Report, why: Option<Cut>| {
        let waits = report.waits.as_mut().expect("waits");
        let locks = waits.sites.iter_mut().flat_map(|site| &mut site.locks);
        for stack in locks.filter_map(|lock| lock.owner_stack.as_mut()) {
            stack.end = why.map(StackEnd::Cut);
        }
    };
    assert!(!styled(&report, &style).contains("ends here"), "a whole stack has no note");
    end(&mut report, Some(Cut::NoRows));
    let text = styled(&report, &style);
    assert!(text.contains("… the stack ends here: code without unwind information"), "{text}");
    // A report of a version that did not note it.
    end(&mut report, None);
    let text = styled(&report, &style);
    assert!(text.contains("… why the stack ends here was not noted"), "{text}");
}

#[test]
fn an_inferred_owner_is_called_so() {
    let mut report = samples::deadlock();
    let waits = report.waits.as_mut().expect("waits");
    waits.deadlocks[0].certain = false;
    let lock = &mut waits.sites[1].locks[0];
    lock.owner_inferred = true;
    lock.owner_method = Some("inferred: the only thread whose stack points to it".to_owned());
    let text = shown(&report, 160);
    assert!(text.contains("Probably a deadlock of 2 threads; an owner was inferred; 1 more"), "{text}");
    let inferred = "held by 4711 \"a\" (inferred), in refund";
    assert!(text.contains(inferred), "{text}");
    assert!(text.contains("perhaps held by thread 4711 \"a\" (mutex), inferred: the only"), "{text}");
}

fn all() -> [Report; 5] {
    [samples::heap(), samples::deadlock(), samples::hot_mutex(), samples::idle(), samples::attached()]
}

/// `text` without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').expect("a colour ends").1)
}

#[test]
fn colours_change_nothing_else() {
    for report in all() {
        for width in [40, 80, 120] {
            let colored = styled(&report, &TableStyle { color: true, ..TableStyle::plain(width) });
            assert_ne!(colored, plain(&colored));
            assert_eq!(plain(&colored), shown(&report, width));
        }
    }
    let style = TableStyle { color: true, ..TableStyle::plain(80) };
    let visible = styled(&samples::deadlock(), &style).replace('\x1b', "^[");
    assert_shown("deadlock-colour", &visible);
}

/// Who waits for a thread's end waits for no lock.
#[test]
fn a_thread_that_is_joined() {
    let mut report = samples::deadlock();
    report.waits.as_mut().expect("waits").sites[0].kind = WaitKind::Join;
    let text = shown(&report, 160);
    assert!(text.contains("thread 4711 \"a\" waits for the end of thread 4712 \"b\", in pay"), "{text}");
    assert!(text.contains("thread 4711 \"a\": wants the end of 4712, holds 0x7f3a10000a40\n"), "{text}");
    let joined = "end of a thread: 1 waiter, for thread 4712 \"b\" (mutex), in refund (bank.c:31), see #2";
    assert!(text.contains(joined), "{text}");
}

/// Sites that are idle come after all others, whatever their rank, and have what room is left.
#[test]
fn idle_sites_come_last() {
    let mut report = samples::hot_mutex();
    let waits = report.waits.as_mut().expect("waits");
    waits.sites.rotate_right(1);
    let sites = |text: &str| -> Vec<char> {
        text.lines().filter_map(|l| l.strip_prefix('#')).filter_map(|l| l.chars().next()).collect()
    };
    let top = |top| styled(&report, &TableStyle { top, all: true, ..TableStyle::plain(120) });
    assert_eq!(sites(&top(10)), ['1', '2', '3']);
    assert_eq!(sites(&top(2)), ['1', '2']);
    assert!(top(2).contains("and 1 site more, 1 of them idle"), "{}", top(2));
    assert!(!top(2).contains("rule: "), "{}", top(2));
}

/// Of an idle stack the frames that lead to the one to blame are enough.
#[test]
fn idle_stacks_are_short() {
    let mut report = samples::idle();
    let site = &mut report.waits.as_mut().expect("waits").sites[0];
    site.stack.frames =
        (0..20).map(|n| samples::frame(&format!("f{n}"), (n > 7).then_some(("pool.c", n)))).collect();
    site.stack.blame = Some(8);
    let frames = |text: &str| -> Vec<String> {
        let of_stack =
            |l: &&str| l.starts_with("  ▶ f") || l.starts_with("    f") || l.contains("(--frames)");
        text.lines().filter(of_stack).map(|l| l.trim().to_owned()).collect()
    };
    let style = TableStyle { all: true, ..TableStyle::plain(120) };
    let text = styled(&report, &style);
    assert_eq!(frames(&shown(&report, 120)), [""; 0]);
    assert_eq!(
        frames(&text),
        [
            "… 3 more frames (--frames)",
            "f3+0x1d (libc.so.6)",
            "f4+0x1d (libc.so.6)",
            "f5+0x1d (libc.so.6)",
            "f6+0x1d (libc.so.6)",
            "f7+0x1d (libc.so.6)",
            "▶ f8 pool.c:8",
            "… 11 more frames (--frames)"
        ]
    );
    // A limit that is given is the limit.
    let limited = |n| styled(&report, &TableStyle { frames: Some(n), all: true, ..TableStyle::plain(120) });
    assert_eq!(frames(&limited(127)).len(), 20);
    assert_eq!(
        frames(&limited(1)),
        ["… 8 more frames (--frames)", "▶ f8 pool.c:8", "… 11 more frames (--frames)"]
    );
    // What is not idle is told at length.
    report.waits.as_mut().expect("waits").sites[0].idle = false;
    assert_eq!(frames(&shown(&report, 120)).len(), 17);
}

/// Threads of a deadlock at one site have one stack between them.
#[test]
fn a_stack_is_shown_once() {
    let mut report = samples::deadlock();
    let waits = report.waits.as_mut().expect("waits");
    waits.deadlocks[0].cycle[1].site_id = "s1".to_owned();
    let text = shown(&report, 120);
    assert!(text.contains("    (the same stack as thread 4711)\n"), "{text}");
    assert_eq!(text.matches("▶ pay bank.c:24").count(), 1, "{text}");
}

/// Every line of a grid is as wide as the others, and none is wider than the terminal.
#[track_caller]
fn assert_fits(text: &str, width: usize) {
    let mut grid = None;
    for line in text.lines() {
        if line.starts_with(['┌', '│', '├', '└']) {
            assert!(columns(line) <= width, "{width}: {line}");
            assert_eq!(columns(line), *grid.get_or_insert(columns(line)), "{width}: {line}");
        } else {
            grid = None;
        }
    }
}

#[test]
fn grids_fit_every_terminal() {
    for report in all() {
        for width in 40..160 {
            assert_fits(&shown(&report, width), width);
        }
    }
}

#[test]
fn what_comes_from_the_target_steers_no_terminal() {
    let evil = "\x1b[2J\u{202e}漢字\r\n\u{9b}31m│\u{200f}";
    let mut report = samples::attached();
    let waits = report.waits.as_mut().expect("waits");
    waits.deadlocks = samples::deadlock().waits.expect("waits").deadlocks;
    let mut json = serde_json::to_value(&report).expect("JSON");
    poison(&mut json, evil);
    let hostile: Report = serde_json::from_value(json).expect("a report");
    for width in [40, 80, 120] {
        let text = shown(&hostile, width);
        assert_fits(&text, width);
        assert!(text.contains("漢字"), "{text}");
        let steers = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{200f}'));
        assert!(!text.contains(steers), "{text:?}");
    }
    // Wide enough for everything, there is no line that was not there before.
    assert_eq!(shown(&hostile, 1000).lines().count(), shown(&report, 1000).lines().count());
}

/// Appends to every text of a report that is free.
fn poison(json: &mut serde_json::Value, evil: &str) {
    const FREE: [&str; 20] = [
        "comm",
        "container",
        "headline",
        "function",
        "module",
        "file",
        "name",
        "operation",
        "primitive",
        "idle_rule",
        "owner_name",
        "owner_state",
        "owner_method",
        "owner_unknown",
        "method",
        "runtime_version",
        "wait_reason",
        "state",
        "start_function",
        "go_agreement",
    ];
    match json {
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| poison(value, evil)),
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value {
                    serde_json::Value::String(text) if FREE.contains(&key.as_str()) => text.push_str(evil),
                    _ => poison(value, evil),
                }
            }
        }
        _ => {}
    }
}
