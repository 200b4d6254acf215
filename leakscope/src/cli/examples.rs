//! Examples that each subcommand's `--help` ends with.

/// Of all subcommands.
pub(super) const ALL: &str = "\
Examples:
  leakscope top                                  which process grows, live
  sudo leakscope attach PID --duration 30s       where its memory was allocated, and what its threads wait for
  sudo leakscope dump PID                        who is blocked where, right now
  sudo leakscope memory PID                      what holds its memory, whenever it was allocated (Go)
  leakscope report r.json --format flamegraph -o r.svg
  leakscope diff grown/                          what grew in a series (attach --interval 10s -o grown/)

A process is named by its PID, its name, its systemd unit or its container's ID. leakscope with a PID alone means attach.

Exit codes: 0 done, 1 failed or not traceable, 2 wrong usage, 3 a --fail-on was exceeded, 4 no permission or a kernel
without what is needed, 5 no such process.";

/// Of `attach`.
pub(super) const ATTACH: &str = "\
Examples:
  sudo leakscope attach PID                              until Ctrl-C or the target's end
  sudo leakscope attach PID --duration 30s --top 5       for 30 seconds, five sites
  sudo leakscope attach PID -d 1m --format json -o r.json
                                                         all there is, for `leakscope report` and `diff`
  sudo leakscope attach PID --interval 60s -o reports/ --keep 120
                                                         a report a minute, of the last two hours
  sudo leakscope attach PID -d 5m --fail-on 'heap.totals.live_bytes > 64MiB'
                                                         exit with 3 if it leaks, for scripts
  sudo leakscope attach PID --wrapper '^app_alloc'       charge what app_alloc… allocates to its callers
  sudo leakscope attach PID --only waits --min-wait 1s   waits over a second, and who ended them
  sudo leakscope attach PID -d 30 --format pprof -o heap.pb.gz && go tool pprof -top heap.pb.gz";

/// Of `dump`.
pub(super) const DUMP: &str = "\
Examples:
  sudo leakscope dump PID                                every thread or goroutine, by what it waits for
  sudo leakscope dump PID --format flamegraph -o blocked.svg
  sudo leakscope dump PID --format pprof --profile mutex -o m.pb.gz && go tool pprof -tags m.pb.gz
  sudo leakscope dump PID --fail-on 'count(waits.deadlocks) > 0' >/dev/null";

/// Of `memory`.
pub(super) const MEMORY: &str = "\
Examples:
  sudo leakscope memory PID                              who holds the heap, and of what types it is
  sudo leakscope memory PID --duration 30s               and how much more than 30 seconds before
  sudo leakscope memory PID --format json -o m.json      for `leakscope diff` with a later one
  sudo leakscope memory PID --format flamegraph -o m.svg
  sudo leakscope memory PID --fail-on 'max(holders.sites[*].held_bytes) > 1GiB' >/dev/null";

/// Of `top`.
pub(super) const TOP: &str = "\
Examples:
  leakscope top                                          all processes, those that grow first
  leakscope top --filter postgres --sort rss
  sudo leakscope top PID                                 the sites of one, live
  leakscope top --format json -n 3 -i 2                  three snapshots as one JSON array";

/// Of `report`.
pub(super) const REPORT: &str = "\
Examples:
  leakscope report r.json                                as a table
  leakscope report r.json --by function                  added up by function to blame
  leakscope report r.json --focus 'json_' --ignore test  a part of it
  leakscope report r.json --format pprof -o heap.pb.gz
  leakscope report reports/                              the last of a series, with its growth since the first
  leakscope report r.json --fail-on 'max(heap.places[*].live_bytes) > 10MB'";

/// Of `diff`.
pub(super) const DIFF: &str = "\
Examples:
  leakscope diff grown/                                  what grew in a series (attach --interval 10s -o grown/)
  leakscope diff before.json after.json                  two runs, or what each of two windows kept a second
  leakscope diff a.json b.json --format json --fail-on 'heap.totals.growth_bytes > 64MiB'
  leakscope diff a.json b.json --format pprof -o diff.pb.gz && go tool pprof -top diff.pb.gz
  go tool pprof -top -diff_base=a.pb.gz b.pb.gz          the same of two profiles, by pprof itself

Sites are the same if their stacks go through the same functions: addresses, lines and build IDs do not count, so a
program that was built anew or started again still matches.";

/// Of `doctor`.
pub(super) const DOCTOR: &str = "\
Examples:
  leakscope doctor                                       what this machine allows
  sudo leakscope doctor PID                              what can be traced of a process, and at what cost
  sudo leakscope doctor --facts                          the same of the machine in JSON, for a bug report";

/// Of `completions`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  leakscope completions bash > ~/.local/share/bash-completion/completions/leakscope
  leakscope completions zsh > ~/.zfunc/_leakscope        (with `fpath+=~/.zfunc` before compinit in ~/.zshrc)
  leakscope completions fish > ~/.config/fish/completions/leakscope.fish";

/// Of `man`.
pub(super) const MAN: &str = "\
Examples:
  leakscope man man1/ && man -l man1/leakscope-attach.1";
