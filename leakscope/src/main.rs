//! The `leakscope` command: maps errors to exit codes, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    match leakscope::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.broken_pipe {
                return ExitCode::SUCCESS;
            }
            eprintln!("leakscope: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
