//! placeholder
use crate::failure::Failure;
use crate::target::Process;
/// Checks.
pub fn check(_process: &Process) -> Result<(), Failure> { Ok(()) }
