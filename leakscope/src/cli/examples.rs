//! What each subcommand's `--help` and its manual page end with: examples, and what its exit code means.

use std::fmt::Write as _;

/// What follows the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct More {
    /// Commands, and what they are for. No line is longer than 76 characters.
    pub examples: &'static [(&'static str, &'static str)],
    /// What else is to be known.
    pub notes: &'static [&'static str],
    /// Exit codes that there can be.
    pub exits: &'static [u8],
}

/// What exit codes mean.
const MEANINGS: [(u8, &str); 6] = [
    (0, "done"),
    (1, "failed, or the process cannot be traced"),
    (2, "wrong usage, or several processes match"),
    (3, "done, and a --fail-on was exceeded"),
    (4, "no permission, or a kernel without what is needed"),
    (5, "no such process"),
];

/// Those of subcommands that look at processes, that read reports, that write texts.
const LOOKS: &[u8] = &[0, 1, 2, 3, 4, 5];
const READS: &[u8] = &[0, 1, 2, 3];
const WATCHES: &[u8] = &[0, 1, 2, 4, 5];
const WRITES: &[u8] = &[0, 1, 2];

impl More {
    /// The exit codes that there can be, with what they mean.
    pub(super) fn exits(&self) -> impl Iterator<Item = (u8, &'static str)> {
        MEANINGS.into_iter().filter(|(code, _)| self.exits.contains(code))
    }

    /// As `--help` says it.
    pub(super) fn text(&self) -> String {
        let mut text = "Examples:\n".to_owned();
        for (command, what) in self.examples {
            let _ = writeln!(text, "  {}", command.replace('\n', "\n    "));
            let _ = writeln!(text, "      {what}");
        }
        for note in self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text.push_str("\nExit status:\n");
        for (code, meaning) in self.exits() {
            let _ = writeln!(text, "  {code}  {meaning}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// What follows the options of a subcommand; of leakscope itself for all other names.
pub(super) fn of(subcommand: &str) -> &'static More {
    match subcommand {
        "attach" => &ATTACH,
        "dump" => &DUMP,
        "memory" => &MEMORY,
        "top" => &TOP,
        "report" => &REPORT,
        "diff" => &DIFF,
        "doctor" => &DOCTOR,
        "completions" => &COMPLETIONS,
        "man" => &MAN,
        _ => &ALL,
    }
}

const ALL: More = More {
    examples: &[
        ("leakscope top", "which process grows, live"),
        (
            "sudo leakscope attach PID --duration 30s",
            "where its memory was allocated, and what its threads wait for",
        ),
        ("sudo leakscope dump PID", "who is blocked where, right now"),
        ("sudo leakscope memory PID", "what holds its memory, whenever it was allocated (Go)"),
        ("leakscope report r.json --format html -o r.html", "a saved report as a page for a browser"),
        ("leakscope diff grown/", "what grew in a series (attach --interval 10s -o grown/)"),
    ],
    notes: &["A process is named by its PID, its name, its systemd unit or its container's ID.\n\
         leakscope with a PID alone means attach."],
    exits: LOOKS,
};

const ATTACH: More = More {
    examples: &[
        ("sudo leakscope attach PID", "until Ctrl-C or the target's end"),
        (
            "sudo leakscope attach redis-server --duration 30s --top 5",
            "by its name, for 30 seconds, five places",
        ),
        (
            "sudo leakscope attach PID -d 1m --format json -o r.json",
            "all there is, for `leakscope report` and `diff`",
        ),
        (
            "sudo leakscope attach PID --interval 60s -o reports/ --keep 120",
            "a report a minute, of the last two hours",
        ),
        (
            "sudo leakscope attach PID -d 5m \\\n--fail-on 'heap.totals.live_bytes > 64MiB'",
            "exit with 3 if it leaks, for scripts",
        ),
        (
            "sudo leakscope attach PID --wrapper '^app_alloc'",
            "charge what app_alloc… allocates to its callers",
        ),
        ("sudo leakscope attach PID --only waits --min-wait 1s", "waits over a second, and who ended them"),
        (
            "sudo leakscope attach PID -d 30 --format pprof -o heap.pb.gz &&\ngo tool pprof -top heap.pb.gz",
            "for pprof",
        ),
    ],
    notes: &[],
    exits: LOOKS,
};

const DUMP: More = More {
    examples: &[
        ("sudo leakscope dump PID", "every thread or goroutine, by what it waits for"),
        ("sudo leakscope dump PID --format flamegraph -o blocked.svg", "the same as a picture"),
        (
            "sudo leakscope dump PID --format pprof --profile mutex -o m.pb.gz &&\ngo tool pprof -tags m.pb.gz",
            "who waits for which lock",
        ),
        (
            "sudo leakscope dump PID --fail-on 'count(waits.deadlocks) > 0' >/dev/null",
            "exit with 3 if there is a deadlock",
        ),
    ],
    notes: &[],
    exits: LOOKS,
};

const MEMORY: More = More {
    examples: &[
        ("sudo leakscope memory PID", "who holds the heap, and of what types it is"),
        ("sudo leakscope memory PID --duration 30s", "and how much more than 30 seconds before"),
        ("sudo leakscope memory PID --format json -o m.json", "for `leakscope diff` with a later one"),
        ("sudo leakscope memory PID --format flamegraph -o m.svg", "the ways to it as a picture"),
        (
            "sudo leakscope memory PID \\\n--fail-on 'max(holders.sites[*].held_bytes) > 1GiB' >/dev/null",
            "exit with 3 if one holder has over 1 GiB",
        ),
    ],
    notes: &[],
    exits: LOOKS,
};

const TOP: More = More {
    examples: &[
        ("leakscope top", "all processes, those that grow first"),
        ("leakscope top --filter postgres --sort rss", "some of them, the largest first"),
        ("sudo leakscope top PID", "the sites of one, live"),
        ("leakscope top --format json -n 3 -i 2", "three snapshots as one JSON array"),
    ],
    notes: &[],
    exits: WATCHES,
};

const REPORT: More = More {
    examples: &[
        ("leakscope report r.json", "as a table"),
        ("leakscope report r.json --by function", "added up by function to blame"),
        ("leakscope report r.json --focus 'json_' --ignore test", "a part of it"),
        ("leakscope report r.json --format pprof -o heap.pb.gz", "for pprof"),
        ("leakscope report r.json --format html -o r.html", "as a page for a browser"),
        ("leakscope report reports/", "the last of a series, with its growth since the first"),
        (
            "leakscope report r.json --fail-on 'max(heap.places[*].live_bytes) > 10MB'",
            "exit with 3 if one place holds over 10 MB",
        ),
    ],
    notes: &[],
    exits: READS,
};

const DIFF: More = More {
    examples: &[
        ("leakscope diff grown/", "what grew in a series (attach --interval 10s -o grown/)"),
        ("leakscope diff before.json after.json", "two runs, or what each of two windows kept a second"),
        (
            "leakscope diff a.json b.json --format json \\\n--fail-on 'heap.totals.growth_bytes > 64MiB'",
            "exit with 3 if memory grew by more",
        ),
        (
            "leakscope diff a.json b.json --format html -o diff.html",
            "as a page, with a flame graph of what is more",
        ),
        (
            "leakscope diff a.json b.json --format pprof -o diff.pb.gz &&\ngo tool pprof -top diff.pb.gz",
            "for pprof",
        ),
        ("go tool pprof -top -diff_base=a.pb.gz b.pb.gz", "the same of two profiles, by pprof itself"),
    ],
    notes: &["Sites are the same if their stacks go through the same functions: addresses,\n\
         lines and build IDs do not count, so a program that was built anew or started\n\
         again still matches."],
    exits: READS,
};

const DOCTOR: More = More {
    examples: &[
        ("leakscope doctor", "what this machine allows"),
        ("sudo leakscope doctor PID", "what can be traced of a process, and at what cost"),
        ("sudo leakscope doctor --facts", "the same of the machine in JSON, for a bug report"),
    ],
    notes: &[],
    exits: WATCHES,
};

const COMPLETIONS: More = More {
    examples: &[
        (
            "leakscope completions bash \\\n> ~/.local/share/bash-completion/completions/leakscope",
            "for bash, from the next shell on",
        ),
        (
            "leakscope completions zsh > ~/.zfunc/_leakscope",
            "for zsh, with `fpath+=~/.zfunc` before compinit in ~/.zshrc",
        ),
        ("leakscope completions fish \\\n> ~/.config/fish/completions/leakscope.fish", "for fish"),
    ],
    notes: &[],
    exits: WRITES,
};

const MAN: More = More {
    examples: &[("leakscope man man1/ && man -l man1/leakscope-attach.1", "write the pages, and read one")],
    notes: &[],
    exits: WRITES,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_fit_a_narrow_terminal() {
        for name in ["", "attach", "dump", "memory", "top", "report", "diff", "doctor", "completions", "man"]
        {
            let text = of(name).text();
            assert!(text.contains("Examples:\n") && text.contains("Exit status:\n  0  done"), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }
}
