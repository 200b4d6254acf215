//! `leakscope completions SHELL` and `leakscope man DIR`: made of the command line's definition.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

mod processes;

use super::Failure;
use super::args::Cli;
use super::examples::{self, More};
use super::output::{Destination, Output};
use crate::files::Directory;

/// Writes the completions of a shell to standard output.
pub fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "leakscope", &mut text);
    text.extend_from_slice(processes::completed(shell).as_bytes());
    let mut output = Output::open(&Destination::Stdout, "txt", false)?;
    output.write(&text).map(|()| 0).or_else(Failure::broken_pipe_is_success)
}

/// The command without what its help does not show.
fn shown(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned()).propagate_version(true);
    }
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    shown.args(arguments.cloned()).subcommands(subcommands.map(self::shown))
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
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    more(examples::of(command.get_name()), &mut text)?;
    man.render_version_section(&mut text)?;
    Ok((man.get_filename(), text))
}

/// Examples line by line, and what exit codes mean.
fn more(more: &More, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH EXAMPLES")?;
    for (command, what) in more.examples {
        let lines: Vec<String> = command.lines().map(roff).collect();
        writeln!(page, ".TP\n{}:\n.EX\n{}\n.EE", roff(what), lines.join("\n"))?;
    }
    for note in more.notes {
        let lines: Vec<String> = note.lines().map(roff).collect();
        writeln!(page, ".SH NOTES\n{}", lines.join("\n"))?;
    }
    writeln!(page, ".SH \"EXIT STATUS\"")?;
    for (code, meaning) in more.exits() {
        writeln!(page, ".TP\n.B {code}\n{}", roff(meaning))?;
    }
    Ok(())
}

/// A line of text for roff.
fn roff(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('…', "...");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
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
            assert!(text.contains(".TH ") && text.contains(".SH EXAMPLES\n"), "{text}");
            assert!(text.contains(".SH \"EXIT STATUS\"\n.TP\n.B 0\ndone\n"), "{text}");
            assert!(!text.contains("leakscope\\-help"), "{text}");
        }
    }

    #[test]
    fn completions_offer_what_the_help_shows() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut shown(&Cli::command()), "leakscope", &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            assert!(text.contains("max-live"), "{shell}");
            for hidden in hidden(&Cli::command()) {
                assert!(!text.contains(&hidden), "{shell}: {hidden}");
            }
        }
    }

    /// Names of what no help shows.
    fn hidden(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter(|argument| argument.is_hide_set());
        let mut all: Vec<String> =
            own.filter_map(|argument| argument.get_long().map(str::to_owned)).collect();
        for subcommand in command.get_subcommands() {
            all.extend(hidden(subcommand));
        }
        assert!(command.get_name() != "leakscope" || !all.is_empty());
        all
    }
}
