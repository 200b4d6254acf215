//! The same stacks as gdb.

use super::*;

fn compare_with_gdb(program: &Program, arguments: &[&str]) -> Result<()> {
    let Some(gdb) = find_program("gdb") else { skip!("gdb is not installed") };
    let fixture = Fixture::start(program, arguments)?;
    let truth = fixture.blocked()?;
    let report = Snapshot::of(fixture.pid())?.report;
    // Only now: gdb stops the process, and some system calls begin anew after that.
    let theirs = gdb::backtraces(&gdb, fixture.pid())?;
    assert!(theirs.len() > truth.threads(), "gdb shows {} threads", theirs.len());
    let mut differences = BTreeSet::new();
    for (tid, frames) in &theirs {
        let site = report.wait_site_of(*tid).with_context(|| format!("{tid} is in no site"))?;
        differences.extend(gdb::compare(site, frames).err());
    }
    assert!(differences.is_empty(), "{} of {} threads: {differences:#?}", differences.len(), theirs.len());
    Ok(())
}

#[test]
fn stacks_as_in_gdb_many_kinds() -> Result<()> {
    compare_with_gdb(&BLOCKED, &["zoo", "5"])
}

/// Through a signal handler on an alternate stack, and a hundred frames of sizes known only at run time.
#[test]
fn stacks_as_in_gdb_hard_to_unwind() -> Result<()> {
    compare_with_gdb(&BLOCKED, &["signal-handler", "3"])?;
    compare_with_gdb(&BLOCKED, &["deep", "3"])
}

#[test]
fn stacks_as_in_gdb_cpp() -> Result<()> {
    compare_with_gdb(&DEADLOCK_CPP, &["shared"])?;
    compare_with_gdb(&DEADLOCK_CPP, &["primitives"])
}

#[test]
fn stacks_as_in_gdb_rust() -> Result<()> {
    compare_with_gdb(&DEADLOCK_RUST, &["three"])?;
    compare_with_gdb(&DEADLOCK_RUST, &["primitives"])
}

#[test]
fn stacks_as_in_gdb_without_debug_info() -> Result<()> {
    compare_with_gdb(&BLOCKED.debug(false), &["zoo", "3"])
}
