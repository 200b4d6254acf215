//! The capabilities that leakscope may need, and which of them are missing.

/// A capability (uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    pub number: u32,
    pub name: &'static str,
}

const fn capability(number: u32, name: &'static str) -> Capability {
    Capability { number, name }
}

/// Reads files and directories whatever their mode: the target's binaries and its private part of `/proc`.
pub const DAC_READ_SEARCH: Capability = capability(2, "CAP_DAC_READ_SEARCH");
/// Looks into processes of others, and those that are not dumpable.
pub const SYS_PTRACE: Capability = capability(19, "CAP_SYS_PTRACE");
/// Places uprobes by perf; opens mapped files; covers the next three.
pub const SYS_ADMIN: Capability = capability(21, "CAP_SYS_ADMIN");
/// Loads BPF programs that trace.
pub const PERFMON: Capability = capability(38, "CAP_PERFMON");
/// Loads BPF programs.
pub const BPF: Capability = capability(39, "CAP_BPF");
/// Opens mapped files.
pub const CHECKPOINT_RESTORE: Capability = capability(40, "CAP_CHECKPOINT_RESTORE");

/// The capabilities each of which suffices, the narrowest first.
pub type AnyOf = &'static [Capability];

/// Which of the `needed` are not among the `held` (bits by number): the narrowest, and in brackets what would
/// do in their place. `None` if nothing is missing.
pub fn missing(held: u64, needed: &[AnyOf]) -> Option<String> {
    let has = |one: &Capability| held >> one.number & 1 != 0;
    let lacking: Vec<AnyOf> = needed.iter().filter(|any| !any.iter().any(has)).copied().collect();
    let names: Vec<&str> = lacking.iter().filter_map(|any| Some(any.first()?.name)).collect();
    let mut others: Vec<&str> =
        lacking.iter().flat_map(|any| any.iter().skip(1)).map(|one| one.name).collect();
    others.dedup();
    let instead = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(" or ")) };
    (!names.is_empty()).then(|| format!("{}{instead}", names.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_would_do() {
        const NEEDED: &[AnyOf] = &[&[BPF, SYS_ADMIN], &[SYS_PTRACE]];
        let text = |held| missing(held, NEEDED);
        assert_eq!(text(0).as_deref(), Some("CAP_BPF and CAP_SYS_PTRACE (or CAP_SYS_ADMIN)"));
        assert_eq!(text(1 << 21).as_deref(), Some("CAP_SYS_PTRACE"));
        assert_eq!(text(1 << 39 | 1 << 19), None);
    }
}
