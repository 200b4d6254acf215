use serde_json::json;

use super::*;

fn report(sites: &serde_json::Value, losses: &serde_json::Value, exact: bool) -> Report {
    Report::unchecked(json!({
        "heap": {
            "exact": exact,
            "totals": { "live_objects": 3, "live_bytes": 30, "unknown_frees": 0 },
            "sites": sites,
        },
        "losses": losses,
    }))
}

fn site(objects: i64, bytes: i64, functions: &[&str]) -> serde_json::Value {
    let frames: Vec<_> = functions.iter().map(|function| json!({ "function": function })).collect();
    json!({
        "live_objects": objects, "live_bytes": bytes, "alloc_objects": objects, "alloc_bytes": bytes,
        "frames": frames,
    })
}

fn truth() -> Truth {
    Truth {
        live: [("site_a".to_owned(), Amount { objects: 3, bytes: 30 })].into(),
        total: Some(Amount { objects: 3, bytes: 30 }),
        numbers: [("unknown_frees".to_owned(), 0)].into(),
        ..Truth::default()
    }
}

fn stacks() -> serde_json::Value {
    json!([site(1, 10, &["malloc", "site_a", "main", "_start"]), site(2, 20, &["site_a", "_start"])])
}

#[test]
fn what_is_equal_passes() {
    report(&stacks(), &json!({ "heap.live_full": 0 }), true).assert_exact(&truth());
}

#[test]
fn every_difference_is_named() {
    let short = json!([site(3, 29, &["site_a", "main"])]);
    let report = report(&short, &json!({ "heap.live_full": 2 }), false);
    let differences = report.compare(&truth(), Expect::default()).expect_err("it differs");
    for part in ["live at site_a", "reach the root", "heap.live_full 2", "call itself exact"] {
        assert!(differences.contains(part), "{part} is not in:\n{differences}");
    }
}

#[test]
fn a_loss_that_was_expected_passes() {
    let report = report(&stacks(), &json!({ "heap.call_abandoned": 2 }), false);
    let expect = Expect { exact: false, losses: &["heap.call_abandoned"], rooted: true };
    report.assert_matches(&truth(), expect);
}

#[test]
fn blocks_nobody_knows_of_are_a_difference() {
    let mut truth = truth();
    truth.total = Some(Amount { objects: 4, bytes: 30 });
    assert!(report(&stacks(), &json!({}), true).compare(&truth, Expect::default()).is_err());
}
