//! Goroutines of one place that do now this, now that.

use leakscope_tests::go::ROUNDS;
use serde_json::Value;

use super::*;

/// As a whole they grow by as many as were created, whatever the state in which a look finds them.
pub(super) fn grown(program: Program) -> Result<()> {
    let mut fixture = program.start(&[])?;
    fixture.ask("grow 40", "grown ")?;
    let scope = Leakscope::attach_all(fixture.pid()).start()?;
    fixture.ask("grow 200", "grown ")?;
    let report = scope.finish()?.report()?;
    let places = report.at("/goroutines/places").as_array().context("no places")?;
    let place =
        places.iter().find(|place| place["frame"]["function"] == "main.poll").context("no main.poll")?;
    ensure!(place["count"] == 240 && place["growth_since_first"] == 200, "{place}");
    ensure!(place["piling_up"] == true && place["rank"] == 1, "{place}");
    ensure!(place["created"] == 200 && place["exited"] == 0, "{place}");
    ensure!(place["created_by"]["function"] == "main.handle", "{place}");
    let doing = place["doing"].as_array().context("doing")?;
    ensure!(doing.iter().filter_map(|doing| doing["count"].as_u64()).sum::<u64>() == 240, "{place}");
    ensure!(doing.len() > 1, "all of them do the same: {place}");
    let counted: u64 = report
        .at("/goroutines/sites")
        .as_array()
        .into_iter()
        .flatten()
        .filter(|site| place["site_ids"].as_array().is_some_and(|ids| ids.contains(&site["site_id"])))
        .filter_map(|site| site["count"].as_u64())
        .sum();
    ensure!(counted == 240, "the sites of {place} have {counted}");
    // Those that ended are no growth, and have no place.
    let short = |value: &&Value| value["frames"][0]["function"] == "main.pass";
    let creations = report.at("/goroutines/creations").as_array().context("creations")?;
    let passed = creations.iter().find(short).context("main.pass")?;
    ensure!(passed["created"] == 200 && passed["exited"] == 200, "{passed}");
    ensure!(places.iter().all(|place| place["frame"]["function"] != "main.short"), "{places:?}");
    Ok(())
}

#[test]
fn growth_by_place_whatever_they_do() -> Result<()> {
    for (toolchain, variant) in [(OLDEST, Variant::Normal), (NEWEST, Variant::Stripped)] {
        need!(toolchain);
        grown(ROUNDS.with(toolchain).variant(variant)).with_context(|| format!("{toolchain} {variant}"))?;
    }
    Ok(())
}
