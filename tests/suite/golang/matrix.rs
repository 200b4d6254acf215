//! Every release in every usual variant; `cargo xtask go-matrix` asks for it.

use leakscope_tests::go::{GARBAGE, LEAKS, MEMORY, WAITS};

use super::heap::{profiled, sampled};
use super::leaks::found;
use super::memory::as_it_says;
use super::waits::as_in_its_own_profiles;
use super::*;

/// With `LEAKSCOPE_GO_MATRIX=goroutines` or `all` (heaps, too) it prints a row for each build; without,
/// the tests of single releases do what a usual run needs.
#[test]
fn every_release_and_variant() -> Result<()> {
    let Some(asked) = std::env::var_os("LEAKSCOPE_GO_MATRIX") else { return Ok(()) };
    let with_heap = asked == "all";
    let mut wrong = Vec::new();
    let mut verdict = |result: Result<()>| match result {
        Ok(()) => "same",
        Err(error) => {
            wrong.push(format!("{error:#}"));
            "DIFFERS"
        }
    };
    println!(
        "| release | variant | goroutines | leaked | waits | memory | heap | dump ms | heap without the profiler, of the truth |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for program in programs(STORY) {
        need!(program.toolchain);
        let mut fixture = program.start(&[])?;
        let started = Instant::now();
        let alone = dump(&fixture);
        let took = started.elapsed().as_millis();
        let result = alone.and_then(|_| compare(&mut fixture)).with_context(|| program.to_string());
        drop(fixture);
        let goroutines = verdict(result.map(drop));
        let memory = MEMORY.with(program.toolchain).variant(program.variant);
        let memory = verdict(as_it_says(memory).map(drop));
        let leaked = found(LEAKS.with(program.toolchain).variant(program.variant));
        let leaked = leaked.unwrap_or_else(|error| verdict(Err(error)).to_owned());
        let waits = WAITS.with(program.toolchain).variant(program.variant);
        let waits = verdict(as_in_its_own_profiles(waits));
        let heap = if with_heap { verdict(profiled(program)) } else { "-" };
        // Once a release: what is sampled does not depend on how it was linked.
        let sampled = if with_heap && program.variant == Variant::Normal {
            let off = sampled(GARBAGE.with(program.toolchain)).with_context(|| program.to_string());
            off.unwrap_or_else(|error| verdict(Err(error)).to_owned())
        } else {
            "-".to_owned()
        };
        let (release, variant) = (program.toolchain, program.variant);
        println!(
            "| {release} | {variant} | {goroutines} | {leaked} | {waits} | {memory} | {heap} | {took} | {sampled} |"
        );
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
