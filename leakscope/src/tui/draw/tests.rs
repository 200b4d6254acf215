//! The screens as people see them.

use crossterm::event::{KeyCode, KeyEvent};
use expect_test::expect_file;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::export::table::tests::samples::deadlock;
use crate::processes::model::{Limit, LimitKind};
use crate::runtime::{Java, RuntimeName, go::Go};
use crate::tui::app::tests::snapshot;
use crate::tui::samples::heap_report;

/// The text of the screen.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(app, Theme { color: true }, frame)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with a file beside the tests, where a missing one fails; UPDATE_EXPECT=1 writes it.
#[track_caller]
fn assert_shown(name: &str, text: &str) {
    let path = format!("{}/src/tui/draw/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    assert!(!text.is_empty(), "an empty text would be taken for a missing file");
    expect_file![path].assert_eq(text);
}

fn list() -> App {
    let mut snapshot = snapshot(&[
        (812, "redis-server", 512, 12),
        (4711, "leaky", 1536, 3000),
        (31337, "java", 2048, 0),
        (5, "evil\x1b[2J", 3, 0),
        (90_000, "nginx", 12, -1),
    ]);
    snapshot.machine.growth_bytes_per_min = Some(3000 << 20);
    snapshot.machine.full_in_ns = Some(64_000_000_000);
    let leaky = &mut snapshot.processes[1];
    leaky.history = (0..20).map(|i| (1036 + i * 25) << 20).collect();
    leaky.full_in_ns = Some(10_000_000_000);
    leaky.memory_share = 0.19;
    leaky.cmdline = Some("/srv/bin/leaky --cache 100".to_owned());
    leaky.place = Some("leaky.service".to_owned());
    leaky.limit = Some(Limit {
        kind: LimitKind::CgroupMax,
        cgroup: Some("/system.slice/leaky.service".to_owned()),
        used_bytes: 1536 << 20,
        limit_bytes: 2 << 30,
        growth_bytes_per_min: Some(3000 << 20),
    });
    (leaky.threads, leaky.blocked) = (16, Some(3));
    (leaky.blocked_uninterruptible, leaky.blocked_locks) = (Some(1), Some(2));
    leaky.runtime = Some(RuntimeName::from(&Go));
    let java = &mut snapshot.processes[2];
    (java.memory_share, java.threads, java.runtime) = (0.25, 41, Some(RuntimeName::from(&Java)));
    java.history = vec![2 << 30; 30];
    java.blocked_uninterruptible = Some(1);
    let mut app = App { interval_s: 2.0, ..App::default() };
    app.on_snapshot(snapshot);
    app
}

#[test]
fn the_list_on_many_terminals() {
    for (width, height) in [(80, 24), (120, 30), (60, 12), (40, 8), (20, 5)] {
        assert_shown(&format!("list-{width}x{height}"), &screen(&mut list(), width, height));
    }
    for (width, height) in [(1, 1), (3, 2), (0, 0), (300, 2), (5, 40)] {
        screen(&mut list(), width, height);
    }
}

#[test]
fn the_list_without_root() {
    let mut app = list();
    app.unprivileged = true;
    let mut snapshot = app.list.snapshot().cloned().expect("a snapshot");
    snapshot.unseen.runtimes = 4;
    snapshot.unseen.lock_waits = 3;
    app.on_snapshot(snapshot);
    assert_shown("list-unprivileged", &screen(&mut app, 80, 16));
}

#[test]
fn help_and_filter() {
    let mut app = list();
    app.on_key(KeyEvent::from(KeyCode::Char('?')));
    assert_shown("help", &screen(&mut app, 80, 24));
    app.on_key(KeyEvent::from(KeyCode::Char('q')));
    for c in "/nothing".chars() {
        app.on_key(KeyEvent::from(KeyCode::Char(c)));
    }
    assert_shown("filter", &screen(&mut app, 80, 12));
}

fn inside(reports: &[crate::report::Report]) -> App {
    let mut app = list();
    app.open(4711);
    app.on_attached(14);
    reports.iter().for_each(|report| app.on_report(report.clone()));
    app
}

#[test]
fn one_process() {
    let mut app = inside(&[]);
    assert_shown("attaching", &screen(&mut app, 80, 8));
    let reports = [
        heap_report(1, &[("grow", 5 << 20), ("still", 300_000)]),
        heap_report(2, &[("grow", 9 << 20), ("still", 300_000)]),
    ];
    let mut app = inside(&reports);
    for (width, height) in [(80, 24), (120, 20), (20, 5)] {
        assert_shown(&format!("heap-{width}x{height}"), &screen(&mut app, width, height));
    }
    app.on_key(KeyEvent::from(KeyCode::Enter));
    app.on_sources(vec![(("/src/grow.c".to_owned(), 7), "item->next = malloc(size);".to_owned())]);
    assert_shown("heap-detail", &screen(&mut app, 80, 24));
    app.on_ended(Some("it has ended".to_owned()));
    assert_shown("heap-ended", &screen(&mut app, 80, 24));
}

#[test]
fn a_process_that_takes_root() {
    let mut app = inside(&[]);
    app.unprivileged = true;
    app.on_denied("no permission to trace: run leakscope as root (sudo)".to_owned());
    assert_shown("takes-root", &screen(&mut app, 80, 8));
}

#[test]
fn blocked_threads() {
    let mut app = inside(&[deadlock()]);
    app.on_key(KeyEvent::from(KeyCode::Tab));
    assert_shown("threads-100x24", &screen(&mut app, 100, 24));
    app.on_key(KeyEvent::from(KeyCode::Enter));
    assert_shown("threads-detail", &screen(&mut app, 100, 24));
}

#[test]
fn without_colour_nothing_is_coloured() {
    let mut app = list();
    let mut terminal = Terminal::new(TestBackend::new(120, 30)).expect("a terminal");
    terminal.draw(|frame| draw(&mut app, Theme { color: false }, frame)).expect("drawn");
    for cell in &terminal.backend().buffer().content {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
}
