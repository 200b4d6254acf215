use super::*;
use crate::processes::model::tests::process;
use crate::processes::model::{Machine, SCHEMA, Unseen};
use crate::tui::samples::heap_report;

/// A machine with these processes: PID, name, MiB, growth in MiB a minute.
pub(crate) fn snapshot(processes: &[(u32, &str, u64, i64)]) -> Snapshot {
    let processes = processes.iter().map(|&(pid, comm, mib, growth)| {
        let mut process = process(pid, comm);
        process.rss_bytes = mib << 20;
        process.growth_bytes_per_min = Some(growth << 20);
        process
    });
    Snapshot {
        schema: SCHEMA.to_owned(),
        leakscope_version: "0".to_owned(),
        at: "2026-11-23T09:43:44Z".to_owned(),
        machine: Machine {
            memory_total_bytes: 8 << 30,
            memory_available_bytes: 3 << 30,
            ..Machine::default()
        },
        unseen: Unseen::default(),
        processes: processes.collect(),
    }
}

fn app(processes: &[(u32, &str, u64, i64)]) -> App {
    let mut app = App::default();
    app.list.resize(3);
    app.on_snapshot(snapshot(processes));
    app
}

fn pids(app: &App) -> Vec<u32> {
    (0..app.list.len()).filter_map(|row| Some(app.list.process(row)?.pid)).collect()
}

fn press(app: &mut App, keys: &[KeyCode]) -> Option<Action> {
    keys.iter().fold(None, |_, key| app.on_key(KeyEvent::from(*key)))
}

fn typed(app: &mut App, text: &str) -> Option<Action> {
    press(app, &text.chars().map(KeyCode::Char).collect::<Vec<_>>())
}

const FOUR: &[(u32, &str, u64, i64)] =
    &[(1, "init", 10, 0), (20, "redis", 500, 5), (30, "leaky", 100, 3000), (40, "nginx", 50, -2)];

#[test]
fn what_grows_fastest_comes_first() {
    let mut app = app(FOUR);
    assert_eq!(pids(&app), [30, 20, 1, 40]);
    typed(&mut app, "M");
    assert_eq!(pids(&app), [20, 30, 40, 1]);
    typed(&mut app, "I");
    assert_eq!(pids(&app), [1, 40, 30, 20]);
    typed(&mut app, "6");
    assert_eq!(pids(&app), [1, 30, 40, 20]);
    typed(&mut app, "1");
    assert_eq!(pids(&app), [30, 20, 1, 40]);
    typed(&mut app, "ssssssS");
    assert_eq!(app.list.order, Order::Name);
}

#[test]
fn a_filter_is_typed() {
    let mut app = app(FOUR);
    typed(&mut app, "/RED");
    assert_eq!(pids(&app), [20]);
    press(&mut app, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Backspace]);
    typed(&mut app, "n");
    assert_eq!(pids(&app), [1, 40]);
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!((app.prompt.as_deref(), pids(&app)), (None, vec![1, 40]));
    app.on_snapshot(snapshot(&FOUR[..2]));
    assert_eq!(pids(&app), [1], "it holds for what comes");
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(pids(&app), [20, 1]);
    typed(&mut app, "/q");
    assert!(app.list.is_empty() && app.prompt.is_some(), "q is a letter there");
}

#[test]
fn the_choice_follows_its_process() {
    let mut app = app(FOUR);
    typed(&mut app, "j");
    assert_eq!(app.list.selected().map(|p| p.pid), Some(20));
    app.on_snapshot(snapshot(&[(1, "init", 10, 0), (20, "redis", 500, -9), (30, "leaky", 100, 1)]));
    assert_eq!((app.list.at(), app.list.selected().map(|p| p.pid)), (2, Some(20)));
    // It ends: the choice stays where it was.
    app.on_snapshot(snapshot(&[(1, "init", 10, 0), (30, "leaky", 100, 1)]));
    assert_eq!((app.list.at(), app.list.selected().map(|p| p.pid)), (1, Some(1)));
    app.on_snapshot(snapshot(&[]));
    assert!(app.list.selected().is_none() && press(&mut app, &[KeyCode::Enter]).is_none());
}

#[test]
fn who_stays_at_the_top_sees_what_comes_there() {
    let mut app = app(FOUR);
    app.on_snapshot(snapshot(&[(1, "init", 10, 9), (30, "leaky", 100, 1)]));
    assert_eq!(app.list.selected().map(|p| p.pid), Some(1));
}

#[test]
fn the_list_scrolls() {
    let many: Vec<(u32, &str, u64, i64)> = (1..=50).map(|pid| (pid, "x", u64::from(51 - pid), 0)).collect();
    let mut app = app(&many);
    press(&mut app, &[KeyCode::End]);
    assert_eq!((app.list.at(), app.list.first), (49, 47));
    assert_eq!(app.list.shown(), [48, 49, 50]);
    press(&mut app, &[KeyCode::PageUp]);
    assert_eq!((app.list.at(), app.list.first), (47, 47));
    press(&mut app, &[KeyCode::Home, KeyCode::PageDown, KeyCode::Down]);
    assert_eq!((app.list.at(), app.list.first), (3, 1));
    app.list.resize(20);
    assert_eq!(app.list.first, 1);
    app.list.resize(0);
    assert_eq!(app.list.first, 3);
}

#[test]
fn a_pause_holds_the_list() {
    let mut app = app(FOUR);
    typed(&mut app, "p");
    app.on_snapshot(snapshot(&[]));
    assert_eq!(app.list.len(), 4);
    typed(&mut app, "p");
    app.on_snapshot(snapshot(&[]));
    assert!(app.list.is_empty());
}

#[test]
fn ways_out() {
    let mut app = app(FOUR);
    assert_eq!(typed(&mut app, "?"), None);
    assert!(app.help);
    assert_eq!(typed(&mut app, "q"), None, "leaves the help");
    assert!(!app.help);
    assert_eq!(typed(&mut app, "q"), Some(Action::Quit));
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    typed(&mut app, "/");
    assert_eq!(app.on_key(control('c')), Some(Action::Quit), "from everywhere");
    assert_eq!(app.on_key(control('z')), Some(Action::Suspend));
    assert_eq!(app.on_key(control('l')), Some(Action::Redraw));
}

/// A look at process 30 with a report.
fn inside() -> App {
    let mut app = app(FOUR);
    assert_eq!(press(&mut app, &[KeyCode::Enter]), Some(Action::Attach(30)));
    app.on_attached(7);
    app.on_report(heap_report(1, &[("a", 1000), ("b", 500), ("c", 100)]));
    app
}

/// The functions in the rows.
fn sites(app: &App) -> Vec<&str> {
    let process = app.process.as_ref().expect("a process");
    let view = process.view().expect("a section");
    let stacks = (0..process.len()).filter_map(|row| view.stack(process.site(row)?));
    stacks.filter_map(|stack| stack.shown()?.function.as_deref()).collect()
}

#[test]
fn sites_of_one_process() {
    let mut app = inside();
    assert_eq!(app.process.as_ref().map(|p| p.phase.clone()), Some(Phase::Attached { probes: 7 }));
    assert_eq!(sites(&app), ["a", "b", "c"]);
    app.on_report(heap_report(2, &[("a", 1000), ("b", 600), ("c", 900)]));
    assert_eq!(sites(&app), ["a", "c", "b"]);
    typed(&mut app, "s");
    assert_eq!(sites(&app), ["c", "b", "a"]);
    let process = app.process.as_ref().expect("a process");
    let fastest = process.site_id(0).expect("a site");
    assert_eq!(process.growth_per_min(fastest), Some(800 * 60));
    assert_eq!(press(&mut app, &[KeyCode::Esc]), Some(Action::Detach));
    assert!(app.process.is_none());
}

#[test]
fn after_a_mark_only_what_grows_is_shown() {
    let mut app = inside();
    typed(&mut app, "m");
    assert!(sites(&app).is_empty());
    app.on_report(heap_report(2, &[("a", 1000), ("b", 400), ("c", 150), ("new", 20)]));
    assert_eq!(sites(&app), ["c", "new"]);
    typed(&mut app, "m");
    assert_eq!(sites(&app), ["a", "b", "c", "new"]);
}

/// What a place has grows as stacks get their names; that is no growth of the place.
#[test]
fn names_that_come_later_are_no_growth() {
    let unnamed =
        |seconds, sites: &[(&str, u64)]| Report { unnamed_stacks: 3, ..heap_report(seconds, sites) };
    let mut app = app(FOUR);
    press(&mut app, &[KeyCode::Enter]);
    app.on_report(unnamed(1, &[("a", 100)]));
    typed(&mut app, "m");
    assert!(app.message.take().expect("a message").contains("still being read"));
    app.on_report(heap_report(2, &[("a", 1000), ("b", 100)]));
    app.on_report(heap_report(3, &[("a", 1000), ("b", 200)]));
    typed(&mut app, "m");
    app.on_report(unnamed(4, &[("a", 10), ("b", 90_000)]));
    let growth = |app: &App| -> Vec<Option<i64>> {
        let process = app.process.as_ref().expect("a process");
        let ids = (0..process.len()).filter_map(|row| process.site_id(row));
        ids.map(|id| process.growth_per_min(id)).collect()
    };
    assert_eq!(growth(&app), [Some(6000), Some(0)], "b and a, whatever they have now");
    app.on_report(heap_report(5, &[("a", 1000), ("b", 400), ("new", 50)]));
    assert_eq!(sites(&app), ["b", "new"]);
    assert_eq!(growth(&app)[1], Some(25 * 60), "nothing before, and two seconds later there is something");
}

#[test]
fn details_stay_with_their_site() {
    let mut app = inside();
    let action = press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(action, Some(Action::Read(vec![("/src/b.c".to_owned(), 7)])));
    app.on_sources(vec![(("/src/b.c".to_owned(), 7), "p = malloc(n);".to_owned())]);
    app.on_report(heap_report(2, &[("b", 5000), ("a", 1000)]));
    let process = app.process.as_ref().expect("a process");
    assert_eq!((process.at, process.detail), (0, Some(0)));
    typed(&mut app, "q");
    assert_eq!(app.process.as_ref().map(|p| p.detail), Some(None), "q goes back from there");
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    app.on_report(heap_report(3, &[("b", 5000)]));
    assert_eq!(app.process.as_ref().map(|p| p.detail), Some(None), "it is gone");
    assert_eq!(typed(&mut app, "q"), Some(Action::Quit));
}

#[test]
fn an_end_is_told() {
    let mut app = inside();
    app.on_ended(Some("no such process".to_owned()));
    assert_eq!(
        app.process.as_ref().map(|p| p.phase.clone()),
        Some(Phase::Ended("no such process".to_owned()))
    );
    assert_eq!(typed(&mut app, "w"), Some(Action::Save), "what it was can still be kept");
    press(&mut app, &[KeyCode::Esc]);
    app.on_report(heap_report(9, &[]));
    assert!(app.process.is_none(), "a late report opens nothing");
}

#[test]
fn who_may_not_trace_can_ask_for_root() {
    let mut app = inside();
    app.unprivileged = true;
    assert_eq!(typed(&mut app, "S"), None, "not while it is attaching");
    app.on_ended(Some("no such process".to_owned()));
    assert_eq!(typed(&mut app, "S"), None, "root would see no more");
    app.on_denied("it takes root".to_owned());
    let pid = app.process.as_ref().map(|p| p.pid);
    assert_eq!(typed(&mut app, "S"), pid.map(Action::Sudo));
    app.unprivileged = false;
    assert_eq!(typed(&mut app, "S"), None, "root is refused for another reason");
}
