//! What is said of waits of which little is known: no more than is seen.

use leakscope_tests::programs::{VERDICTS_C, VERDICTS_RUST};
use serde_json::Value;

use super::*;

/// A dump of a scenario, once its headline holds every part.
fn said(program: &Program, scenario: &str, parts: &[&str]) -> Result<Report> {
    let child = Guard::spawn(Command::new(program.build()?.path).arg(scenario))?;
    let report = Snapshot::with_headline(child.pid(), parts)?.report;
    println!("{}", report.headline());
    Ok(report)
}

/// The owners of all locks that are told.
fn owners(report: &Report) -> Vec<&Value> {
    let sites = report.at("/waits/sites").as_array().into_iter().flatten();
    sites
        .flat_map(|site| site["locks"].as_array().into_iter().flatten())
        .map(|lock| &lock["owner_tid"])
        .collect()
}

#[test]
fn a_thread_that_runs_may_hold_it() -> Result<()> {
    let parts = ["holder unknown", "1 thread runs and it may hold it", "\"busy\" sampled at"];
    let report = said(&VERDICTS_RUST, "holder-runs", &parts)?;
    assert_eq!(owners(&report), [&Value::Null]);
    let running = report.at("/waits/running/0");
    assert_eq!((&running["name"], &running["sampled"]), (&"busy".into(), &true.into()));
    let frames = running["frames"].as_array().context("frames")?;
    let busy = |frame: &Value| {
        frame["function"].as_str().is_some_and(|function| names(function, "rust_verdicts::busy"))
    };
    assert!(frames.iter().any(busy), "{frames:#?}");
    Ok(())
}

#[test]
fn who_lends_a_lock_is_no_holder() -> Result<()> {
    for scenario in ["forgotten", "locked-twice"] {
        let report = said(&VERDICTS_RUST, scenario, &["holder unknown", "which need not hold it"])?;
        assert_eq!(owners(&report), [&Value::Null], "{scenario}");
        assert_eq!(report.at("/waits/deadlocks"), &serde_json::json!([]), "{scenario}");
    }
    Ok(())
}

#[test]
fn locks_that_wait_for_themselves() -> Result<()> {
    for (program, scenario) in [(&VERDICTS_RUST, "once"), (&VERDICTS_C, "handler")] {
        let report =
            said(program, scenario, &["Probable deadlock", "waits for a lock that it holds itself"])?;
        assert_eq!(report.at("/waits/deadlocks/0/certain"), false, "{scenario}");
        assert!(report.number("/waits/stuck_now") > 0, "{scenario}");
    }
    Ok(())
}

#[test]
fn a_circle_that_ends_by_itself_is_no_deadlock() -> Result<()> {
    let report = said(&VERDICTS_C, "timed", &["each waits for the other until a timeout ("])?;
    assert_eq!(report.at("/waits/deadlocks"), &serde_json::json!([]));
    let circle = report.at("/waits/mutual_waits/0");
    assert_eq!((&circle["certain"], circle["cycle"].as_array().map(Vec::len)), (&true.into(), Some(2)));
    let limit_s = circle["cycle"][0]["limit_ns"].as_u64().map(|ns| ns / 1_000_000_000);
    assert!(limit_s.is_some_and(|limit| (3500..=3600).contains(&limit)), "{circle}");
    assert_eq!(report.answer(), "mutual_wait");
    Ok(())
}

#[test]
fn what_is_not_visible_is_not_called_stuck() -> Result<()> {
    let parts = ["No thread waits for a lock", "std::sync::mpsc::Receiver::recv"];
    let report = said(&VERDICTS_RUST, "kept-sender", &parts)?;
    assert_eq!(report.at("/waits/sites/0/verdict"), "unknown");
    assert!(report.at("/waits/longest_stuck_ns").is_null());
    assert_eq!(report.number("/waits/unknown_now"), 1);
    Ok(())
}

/// Who reads a lock is not stored: at most the one that waits is named, never another one.
#[test]
fn readers_that_wait_for_themselves() -> Result<()> {
    for scenario in ["upgrade", "read-twice"] {
        let report = said(&VERDICTS_RUST, scenario, &["std::sync::RwLock::"])?;
        let sites = || report.at("/waits/sites").as_array().into_iter().flatten();
        let waiters: BTreeSet<u64> = sites()
            .filter(|site| site["kind"] == "rwlock")
            .flat_map(|site| site["threads"].as_array().into_iter().flatten())
            .filter_map(|thread| thread["tid"].as_u64())
            .collect();
        assert!(!waiters.is_empty(), "{scenario}");
        let locks: Vec<&Value> = sites()
            .filter(|site| site["kind"] == "rwlock")
            .flat_map(|site| site["locks"].as_array().into_iter().flatten())
            .collect();
        assert!(!locks.is_empty(), "{scenario}");
        for lock in locks {
            let why = lock["owner_unknown"].as_str().unwrap_or_default();
            let own = lock["owner_tid"].as_u64().is_some_and(|owner| waiters.contains(&owner));
            assert!(own || why.contains("may hold it itself"), "{scenario}: {lock}");
        }
    }
    Ok(())
}

#[test]
fn workers_without_a_job_are_idle() -> Result<()> {
    let report = said(&VERDICTS_C, "pool", &["No thread waits for a lock", "all 9 are idle"])?;
    let idle: Vec<_> =
        report.wait_sites().filter(WaitSite::is_idle).map(|site| site.text("idle_rule").to_owned()).collect();
    assert!(idle.len() == 2 && idle.iter().all(|rule| rule.len() > 5), "{idle:?}");
    assert!(report.answer().starts_with("threads_calm"), "{}", report.headline());
    assert_eq!(report.number("/waits/stuck_now"), 0);
    Ok(())
}

/// Workers that share the receiver of a channel queue at its lock.
#[test]
fn workers_that_take_turns_to_receive_are_not_stuck() -> Result<()> {
    let report =
        said(&VERDICTS_RUST, "receivers", &["No thread is known to wait for a lock", "3 of 5 threads wait"])?;
    assert_eq!(report.number("/waits/stuck_now"), 0);
    assert!(report.at("/waits/longest_stuck_ns").is_null());
    Ok(())
}
