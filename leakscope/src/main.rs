//! The `leakscope` command: maps errors to exit codes, and nothing else.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match leakscope::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.broken_pipe {
                return ExitCode::SUCCESS;
            }
            // A closed standard error must not turn the exit code into that of a panic.
            let mut stderr = std::io::stderr();
            let message = format!("leakscope: {failure}");
            for line in std::iter::once(&message).chain(&failure.lines) {
                let _ = writeln!(stderr, "{}", leakscope::human::sanitize(line));
            }
            ExitCode::from(failure.code)
        }
    }
}
