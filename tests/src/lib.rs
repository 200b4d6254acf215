//! Harness of the integration tests.
//!
//! A test starts a [`Fixture`], attaches a [`Leakscope`] to it, lets the fixture [`go`](Fixture::go)
//! and compares the report with the [`Truth`] that the fixture printed:
//!
//! ```no_run
//! # use leakscope_tests::{Fixture, Leakscope, programs};
//! # fn main() -> anyhow::Result<()> {
//! let mut fixture = Fixture::start(&programs::CASES, &["nested"])?;
//! let scope = Leakscope::attach(fixture.pid()).start()?;
//! let truth = fixture.go()?;
//! scope.finish()?.report()?.assert_exact(&truth);
//! # Ok(())
//! # }
//! ```
//!
//! Threads that are blocked before anyone looks tell their [truth](Blocked) before they are ready; a
//! [`Snapshot`] is compared with it:
//!
//! ```no_run
//! # use leakscope_tests::{Snapshot, Fixture, programs};
//! # fn main() -> anyhow::Result<()> {
//! let fixture = Fixture::start(&programs::BLOCKED, &["mutex", "1000"])?;
//! let truth = fixture.blocked()?;
//! Snapshot::of(fixture.pid())?.assert_group(&truth, "waiters");
//! # Ok(())
//! # }
//! ```
//!
//! Whatever a test starts ends with it: every child is killed and waited for when its guard is
//! dropped. Nothing sleeps to let something happen; there is a handshake, or a poll with a deadline
//! where the kernel offers nothing better. The tests need root, as attaching does.
//!
//! Environment: `LEAKSCOPE_BIN` names the binary under test (default: `release/leakscope` in the
//! target directory); with `LEAKSCOPE_TESTS_COMPLETE=1` a test that would skip fails instead;
//! `LEAKSCOPE_KILLS` says how often leakscope is killed under load (default 5).

pub mod blocked;
pub mod compare;
pub mod fixture;
pub mod gdb;
pub mod go;
pub mod lines;
pub mod machine_code;
pub mod mounts;
pub mod process;
pub mod programs;
pub mod report;
pub mod scope;
pub mod server;
pub mod snapshot;
pub mod swap;
pub mod tables;
pub mod text;
pub mod tmux;
pub mod waits;

pub use blocked::Blocked;
pub use compare::Expect;
pub use fixture::{Fixture, Truth};
pub use report::Report;
pub use scope::{Finished, Leakscope};
pub use snapshot::Snapshot;

use std::path::{Path, PathBuf};

/// Ends the test as skipped, with the reason why it can't run here. Fails it where the run must be
/// complete (`LEAKSCOPE_TESTS_COMPLETE=1`). For tests that return a `Result<()>`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(&format!($($reason)*));
        return Ok(());
    }};
}

/// What [`skip!`] does before it leaves the test.
///
/// # Panics
/// Where the run must be complete.
#[track_caller]
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    assert!(
        std::env::var_os("LEAKSCOPE_TESTS_COMPLETE").is_none_or(|value| value != "1"),
        "{name} would be skipped, but nothing may be: {reason}"
    );
    println!("SKIPPED {name}: {reason}");
}

/// The target directory that this test binary was built in.
///
/// # Panics
/// If the test binary does not lie in one.
pub fn target_directory() -> PathBuf {
    let exe = std::env::current_exe().expect("the test binary has a path");
    // target/debug/deps/suite-0123
    exe.ancestors().nth(3).expect("the test binary lies in target/PROFILE/deps").to_owned()
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}
