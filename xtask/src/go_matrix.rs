//! `cargo xtask go-matrix`: programs in Go against their own profiles, for every release and variant.

use anyhow::{Result, bail};

use crate::{
    run, setup,
    workspace::{Workspace, is_root},
};

/// The test that prints the table.
const TEST: &str = "golang::matrix::every_release_and_variant";

/// Installs every toolchain that is missing, then compares goroutines, and heaps unless they are left
/// out.
pub(crate) fn run(workspace: &Workspace, heap: bool) -> Result<()> {
    if !is_root() {
        bail!("reading other processes needs root: run `sudo -E cargo xtask go-matrix`");
    }
    setup::run(workspace, &setup::Options { tests: true, rustc: None })?;
    setup::go::provide(workspace, true)?;
    run::visibly("release build", workspace.cargo().args(["build", "--release", "--package", "leakscope"]))?;
    let mut test = workspace.cargo();
    test.args(["test", "--quiet", "--package", "leakscope-tests", "--test", "suite"]);
    test.args(["--", "--exact", "--nocapture", TEST]);
    test.env("LEAKSCOPE_BIN", workspace.release("leakscope"));
    test.env("LEAKSCOPE_GO_MATRIX", if heap { "all" } else { "goroutines" });
    // A release that is missing fails.
    test.env("LEAKSCOPE_TESTS_COMPLETE", "1");
    run::visibly("the matrix", &mut test)
}
