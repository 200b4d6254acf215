//! `leakscope completions SHELL` and `leakscope man DIR`: made of the command line's definition.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::Failure;
use super::args::Cli;
use super::output::{Destination, Output};
use crate::files::Directory;

/// Writes the completions of a shell to standard output.
pub fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leakscope", &mut text);
    let mut output = Output::open(&Destination::Stdout, "txt", false)?;
    output.write(&text).map(|()| 0).or_else(Failure::broken_pipe_is_success)
}

/// Writes the manual pages into a directory: one of leakscope, and one a subcommand.
pub fn man(directory: &Path) -> Result<u8, Failure> {
    let name = directory.display().to_string();
    let failed = |error| Failure::output(&name, error);
    let pages = Directory::for_everybody(directory).map_err(failed)?;
    // `help` has no page of its own.
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    let subcommands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    for command in std::iter::once(&whole).chain(subcommands) {
        let (file, text) = page(command).map_err(|error| Failure::output("the manual page", error))?;
        pages.public(file.as_ref()).and_then(|page| page.write(&text)).map_err(failed)?;
    }
    Ok(0)
}

/// A manual page: its file's name and its text.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let man = clap_mangen::Man::new(command.clone()).manual("leakscope manual");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page() {
        let place = tempfile::tempdir().expect("a directory");
        man(place.path()).expect("pages");
        for name in
            ["leakscope", "leakscope-attach", "leakscope-diff", "leakscope-report", "leakscope-completions"]
        {
            let text = std::fs::read_to_string(place.path().join(format!("{name}.1"))).expect(name);
            assert!(text.contains(".TH ") && text.contains("Examples:"), "{text}");
            assert!(!text.contains("leakscope\\-help"), "{text}");
        }
    }
}
