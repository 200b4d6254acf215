//! What holds the heap, by programs whose holders are known.

use std::time::Duration;

use leakscope_tests::go::HOLDERS;
use leakscope_tests::process::poll;
use serde_json::Value;

use super::*;

/// What moves between a look and what the program says: the answer itself is text on the heap.
const SLACK: u64 = 256 << 10;

fn memory(fixture: &GoFixture) -> Result<Report> {
    Leakscope::memory(fixture.pid()).run()?.report()
}

fn bytes(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no {field} in {value}"))
}

/// The holder whose container has so many entries.
fn with_entries(report: &Report, entries: u64) -> Result<&Value> {
    let sites = report.at("/holders/sites").as_array().context("holders")?;
    let found = sites.iter().find(|site| site["container"]["entries"] == entries);
    found.with_context(|| format!("none with {entries} entries: {sites:?}"))
}

fn expect(site: &Value, field: &str, wanted: &str) -> Result<()> {
    ensure!(site.pointer(field).and_then(Value::as_str) == Some(wanted), "{field} is not {wanted}: {site}");
    Ok(())
}

/// Whoever holds what is named, with as many entries and bytes as there are.
fn held(program: Program, named: bool) -> Result<()> {
    let mut fixture = program.start(&[])?;
    let report = memory(&fixture)?;
    let own: u64 = fixture.ask("stats", "stats ")?.parse()?;
    let heap = report.at("/holders/heap");
    let live = bytes(heap, "live_bytes")?;
    ensure!(live.abs_diff(own) < SLACK, "{program}: {live} live, the program says {own}");
    let parts = ["typed_bytes", "untyped_bytes", "unreached_bytes"];
    let sum: u64 = parts.iter().map(|part| bytes(heap, part)).sum::<Result<u64>>()?;
    ensure!(sum == live, "{program}: {heap}");
    ensure!(bytes(heap, "unreached_bytes")? < SLACK, "{program}: {heap}");

    let locks = with_entries(&report, 50_000)?;
    expect(locks, "/container/type_name", "map[string]*sync.Mutex")?;
    // A mutex, the bytes of the name, and its header in the map.
    ensure!((50_000 * 72..50_000 * 200).contains(&bytes(locks, "held_bytes")?), "{program}: {locks}");
    let first = locks["allocated"].as_array().context("places")?;
    ensure!(first.iter().any(|place| place["function"] == "main.getLock"), "{program}: {locks}");
    if named {
        expect(locks, "/name", "main.locks")?;
        let sessions = with_entries(&report, 20_000)?;
        expect(sessions, "/name", "main.sessions")?;
        expect(sessions, "/container/type_name", "[]*main.Session")?;
        ensure!(bytes(sessions, "held_objects")? > 40_000, "{program}: {sessions}");
        let queue = with_entries(&report, 3_000)?;
        expect(queue, "/name", "main.queue")?;
        expect(queue, "/container/type_name", "chan *main.Job")?;
        let shards = with_entries(&report, 16_000)?;
        expect(shards, "/container/path", "main.cache.shards[…].items")?;
        ensure!(bytes(&shards["container"], "objects")? == 8, "{program}: {shards}");
    } else {
        let users = locks["used_by"].as_array().context("users")?;
        ensure!(users.contains(&"main.getLock".into()), "{program}: {locks}");
    }
    let sites = report.at("/holders/sites").as_array().context("holders")?;
    let frame = sites.iter().find(|site| site["name"] == "main.keep").context("the frame")?;
    ensure!(frame["kind"] == "frame" && frame["tasks"] == 1, "{program}: {frame}");
    ensure!((2_000 * 1024..2_200 * 1024).contains(&bytes(frame, "held_bytes")?), "{program}: {frame}");
    Ok(())
}

#[test]
fn who_holds_the_heap() -> Result<()> {
    for toolchain in [OLDEST, NEWEST] {
        need!(toolchain);
        held(HOLDERS.with(toolchain), true)?;
    }
    held(HOLDERS.variant(Variant::Stripped), false)
}

/// So it is in reports that come while it grows.
#[test]
fn reports_in_between_tell_who_grows() -> Result<()> {
    need!(NEWEST);
    let mut fixture = HOLDERS.start(&[])?;
    let arguments = ["--only", "heap", "--format", "jsonl", "--interval", "500ms"];
    let mut running = Leakscope::attach_plain(fixture.pid()).args(arguments).start()?;
    ensure!(fixture.ask("grow 30000", "grown ")? == "80000");
    poll("the growth of the map", Duration::from_secs(60), || {
        let report = Report::parse(&running.output_line()?)?;
        let grown = |site: &Value| site["growth_bytes"].as_i64().is_some_and(|n| n > 30_000 * 72);
        Ok(with_entries(&report, 80_000).is_ok_and(grown).then_some(()))
    })?;
    running.finish()?;
    Ok(())
}

/// What grows while leakscope watches is told by its holder.
#[test]
fn a_map_that_grows_is_told_by_attach() -> Result<()> {
    need!(NEWEST);
    let mut fixture = HOLDERS.start(&[])?;
    let running = Leakscope::attach(fixture.pid()).start()?;
    ensure!(fixture.ask("grow 30000", "grown ")? == "80000");
    let report = running.finish()?.report()?;
    let locks = with_entries(&report, 80_000)?;
    let growth = locks["growth_bytes"].as_i64().context("growth")?;
    ensure!(growth > 30_000 * 72, "{locks}");
    let said = report.at("/summary").to_string();
    ensure!(said.contains("memory_held_grew"), "{said}");
    Ok(())
}
