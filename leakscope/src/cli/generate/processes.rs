//! Names of running processes in completions: what clap generates knows of words that are always the same.
//!
//! Anybody can give a process any name: only plain ones are offered, and none is ever expanded.

use clap_complete::Shell;

/// Subcommands that take a process.
const TAKERS: [&str; 5] = ["attach", "dump", "memory", "top", "doctor"];

/// What follows the completions of a shell. Nothing for shells that are rarely met on servers.
pub(super) fn completed(shell: Shell) -> String {
    let takers = TAKERS.join("|");
    match shell {
        Shell::Bash => format!(
            r#"
_leakscope_and_processes() {{
    _leakscope "$@"
    local cur="${{COMP_WORDS[COMP_CWORD]}}" name
    case "${{COMP_WORDS[1]}}" in
        {takers})
            if [[ "$cur" != -* && "${{COMP_WORDS[COMP_CWORD-1]}}" != -* && "$COMP_CWORD" -gt 1 ]]; then
                COMPREPLY=()
                while IFS= read -r name; do
                    [[ "$name" == "$cur"* ]] && COMPREPLY+=("$name")
                done < <(cat /proc/[0-9]*/comm 2>/dev/null | grep -xE '[A-Za-z0-9_.@+:-]+' | sort -u)
            fi
            ;;
    esac
}}
if [[ "${{BASH_VERSINFO[0]}}" -eq 4 && "${{BASH_VERSINFO[1]}}" -ge 4 || "${{BASH_VERSINFO[0]}}" -gt 4 ]]; then
    complete -F _leakscope_and_processes -o nosort -o bashdefault -o default leakscope
else
    complete -F _leakscope_and_processes -o bashdefault -o default leakscope
fi
"#
        ),
        Shell::Fish => TAKERS.map(|taker| {
            format!(
                "complete -c leakscope -n \"__fish_leakscope_using_subcommand {taker}\" -f -a \"(__fish_complete_proc)\"\n"
            )
        }).concat(),
        _ => String::new(),
    }
}
