//! Thresholds over reports made by hand.

use proptest::prelude::*;

use super::*;
use crate::export::table::tests::samples;

fn outcome(text: &str, report: &crate::report::Report) -> Outcome {
    Threshold::new(text, Subject::Report).unwrap_or_else(|bad| panic!("{bad}")).check(report)
}

#[test]
fn what_holds() {
    // A heap with sites of 1,000,000, 40,000 and 10 live bytes.
    let heap = samples::heap();
    for (text, value) in [
        ("heap.totals.live_bytes > 1MB", "1048576"),
        ("heap.totals.live_bytes>1048575", "1048576"),
        (" heap . totals . live_bytes >= 1048576B ", "1048576"),
        ("heap.sites[0].live_bytes == 1000000", "1000000"),
        ("max(heap.sites[*].live_bytes) >= 1000kB", "1000000"),
        ("min(heap.sites[*].live_bytes) < 1KiB", "10"),
        ("sum(heap.sites[*].live_objects) > 10k", "10400"),
        ("any(heap.sites[*].live_bytes) < 0.5MB", "40000"),
        ("all(heap.sites[*].live_bytes) < 1.5MB", "1000000"),
        ("count(heap.sites) == 3", "3"),
        ("len(heap.sites[*].frames) > 1", "3"),
        ("heap.exact == false", "false"),
        ("heap.exact != true", "false"),
        ("any(heap.sources[*].name) == \"malloc\"", "\"malloc\""),
        ("losses[\"heap.live_full\"] > 2", "3"),
        ("losses[\"stacks.ring_full\"] == 0", "0"),
        ("count(heap.sites[*]) == 3", "3"),
        ("count(heap.sites[*].frames) == 3", "3"),
        ("count(heap.sites[*].frames[*]) > 3", "12"),
        ("count(losses) > 0", "1"),
        ("count(losses[*]) > 0", "1"),
        ("window.duration_ns >= 10s", "10000000000"),
        ("window.duration_ns < 0.5m", "10000000000"),
        ("target.comm == \"bank\"", "\"bank\""),
        ("heap.totals.growth_bytes > -1MiB", "0"),
    ] {
        match outcome(text, &heap) {
            Outcome::Exceeded(why) => assert!(why.ends_with(&format!("({value})")), "{why}: {value}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_does_not() {
    let heap = samples::heap();
    for text in [
        "heap.totals.live_bytes > 1048576",
        "heap.totals.live_bytes != 1048576",
        "any(heap.sites[*].live_bytes) > 1MiB",
        "all(heap.sites[*].live_bytes) > 1kB",
        "count(heap.sites) > 3",
        "heap.totals.live_bytes > 18446744073709551615",
        "target.comm != \"bank\"",
        "max(heap.go_size_classes[*].bytes) > 0",
    ] {
        let outcome = outcome(text, &heap);
        assert!(!matches!(outcome, Outcome::Exceeded(_)), "{text}: {outcome:?}");
    }
    let mut whole = samples::heap();
    whole.losses.clear();
    for text in ["count(losses[*]) > 0", "any(losses[*]) == 0", "count(losses) > 0"] {
        let outcome = outcome(text, &whole);
        assert!(!matches!(outcome, Outcome::Exceeded(_)), "{text}: {outcome:?}");
    }
    let kept = outcome("count(waits.deadlocks) > 0", &samples::attached());
    assert_eq!(kept, Outcome::Kept);
    let found = outcome("count(waits.deadlocks) > 0", &samples::deadlock());
    assert!(matches!(found, Outcome::Exceeded(_)), "{found:?}");
    let found = outcome("any(waits.sites[*].kind) == \"mutex\"", &samples::deadlock());
    assert!(matches!(found, Outcome::Exceeded(_)), "{found:?}");
}

#[test]
fn what_is_null_exceeds_nothing() {
    let heap = samples::heap();
    for (text, path) in [
        ("goroutines.total >= 0", "goroutines.total"),
        ("any(waits.sites[*].blocked_now) >= 0", "waits.sites[*].blocked_now"),
        ("count(waits.sites) >= 0", "waits.sites"),
        ("heap.go_in_use_bytes >= 0", "heap.go_in_use_bytes"),
        ("heap.sites[99].live_bytes >= 0", "heap.sites[99].live_bytes"),
    ] {
        assert_eq!(outcome(text, &heap), Outcome::Unknown(path.to_owned()), "{text}");
    }
}

#[test]
fn what_is_refused() {
    for (text, why) in [
        ("", "a field of the JSON comes first"),
        ("> 5", "a field of the JSON comes first"),
        ("heap.totals.live_byte > 5", "do you mean `heap.totals.live_bytes`"),
        ("heap.live_bytes > 5", "`heap.totals.live_bytes`"),
        ("growth_bytes > 5", "`heap.totals.growth_bytes`"),
        ("heep.totals.live_bytes > 5", "do you mean `heap`"),
        ("xyzzy > 5", "the report has no field `xyzzy`; it has"),
        ("heap.totals.live_bytes", "a comparison (> >= < <= == !=)"),
        ("heap.totals.live_bytes = 5", "a comparison"),
        ("heap.totals.live_bytes >", "here is the end"),
        ("heap.totals.live_bytes > 5 5", "unit"),
        ("heap.totals.live_bytes > 5XB", "unknown unit `XB`"),
        ("heap.totals.live_bytes > 5%", "percentages are not known"),
        ("heap.totals.live_bytes > 5s", "is no time"),
        ("heap.totals.live_bytes > 0.5", "not whole"),
        ("heap.totals.live_bytes > 999999999999999999999", "more than 20 digits"),
        ("heap.totals.live_bytes > true", "is a number"),
        ("heap.totals.live_objects > 5MiB", "is not in bytes"),
        ("window.duration_ns > 5MiB", "is not in bytes"),
        ("count(heap.sites[*].live_bytes) > 5MiB", "is not in bytes"),
        ("heap.totals > 5", "one of its fields"),
        ("heap.sites > 5", "count(heap.sites)"),
        ("losses > 5", "count(losses)"),
        ("heap.sites.live_bytes > 5", "has no fields"),
        ("heap.sites[*].live_bytes > 5", "say any("),
        ("max(heap.totals.live_bytes) > 5", "is one value"),
        ("sum(heap.sites[*].source) > 5", "are no numbers"),
        ("count(heap.exact) > 5", "nothing to count"),
        ("most(heap.sites[*].live_bytes) > 5", "no function `most`"),
        ("max(heap.sites[*].live_bytes > 5", "`)` is missing"),
        ("heap.sites[x].live_bytes > 5", "in brackets"),
        ("heap.sites[0.live_bytes > 5", "`]` is missing"),
        ("heap.totals[0].live_bytes > 5", "is no list"),
        ("losses[0] > 5", "is no list"),
        ("losses[\"heap.live_ful\"] > 0", "losses[\"heap.live_full\"]"),
        ("losses.heap.live_full > 0", "losses[\"heap."),
        ("losses.xyzzy > 0", "count(losses) > 0"),
        ("losses[\"a] > 5", "not closed"),
        ("heap.exact > true", "== true"),
        ("target.comm > \"a\"", "== \"…\""),
        ("heap.exact == 1", "true or false"),
    ] {
        let bad = Threshold::new(text, Subject::Report).expect_err(text).to_string();
        assert!(bad.contains(why) && bad.starts_with("--fail-on '"), "{text}: {bad}");
    }
    let bad = Threshold::new(&"x".repeat(2000), Subject::Report).expect_err("too long").to_string();
    assert!(bad.contains("longer than") && bad.len() < 400, "{bad}");
}

#[test]
fn differences_have_fields_of_their_own() {
    let threshold = |text| Threshold::new(text, Subject::Diff);
    assert!(threshold("heap.totals.growth_bytes > 64MiB").is_ok());
    assert!(threshold("any(waits.sites[*].growth_blocked) > 3").is_ok());
    assert!(
        threshold("heap.totals.live_bytes > 1")
            .expect_err("of a report")
            .to_string()
            .contains("new_live_bytes")
    );
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,60}") {
        let _ = Threshold::new(&text, Subject::Report);
    }

    /// Texts that nearly are thresholds.
    #[test]
    fn any_tokens_are_taken_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "heap", "sites", "totals", "live_bytes", ".", "[", "]", "[*]", "*", "0", "9999999999999999999", "(", ")",
            "max", "any", "count", "sum", ">", ">=", "==", "!=", "64", "MiB", "s", "\"", "\"a\"", "true", "-", " ", "é",
        ]), 0..14)
    ) {
        if let Ok(threshold) = Threshold::new(&tokens.concat(), Subject::Report) {
            let _ = threshold.check(&samples::heap());
        }
    }

    #[test]
    fn numbers_compare_as_they_are(limit in any::<u64>()) {
        prop_assume!(limit < 10_u64.pow(19));
        let live = samples::heap().heap.expect("heap").totals.live_bytes;
        let exceeded = outcome(&format!("heap.totals.live_bytes > {limit}"), &samples::heap());
        prop_assert_eq!(matches!(exceeded, Outcome::Exceeded(_)), live > limit);
    }
}
