//! Names of running processes in completions: what clap generates knows of words that are always the same.

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
    local cur="${{COMP_WORDS[COMP_CWORD]}}"
    case "${{COMP_WORDS[1]}}" in
        {takers})
            if [[ "$cur" != -* && "${{COMP_WORDS[COMP_CWORD-1]}}" != -* && "$COMP_CWORD" -gt 1 ]]; then
                COMPREPLY=( $(compgen -W "$(cat /proc/[0-9]*/comm 2>/dev/null | tr ' ' '\n' | sort -u)" -- "$cur") )
            fi
            ;;
    esac
}}
complete -F _leakscope_and_processes -o nosort -o bashdefault -o default leakscope
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
