//! What follows from the facts: a pure function, so that kernels we do not run are tested too.

use std::io;

use super::capability::{self, AnyOf, BPF, PERFMON, SYS_ADMIN};
use super::facts::{Facts, Tried};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Heaps cannot be traced; threads can be looked at, and waits traced.
    NoProbes,
    /// Neither tracing nor looking is possible.
    Fatal,
}

/// One finding of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub what: &'static str,
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// What loading programs takes.
const LOAD: &[AnyOf] = &[&[BPF, SYS_ADMIN], &[PERFMON, SYS_ADMIN]];
/// What perf's uprobes take.
const PROBE: &[AnyOf] = &[&[SYS_ADMIN]];
/// Oldest kernel with all that is used: `bpf_loop` came with 5.17, `sched_switch` tells the state that a
/// thread leaves with since 5.18.
const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// Judges all facts; the order is the one to show.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    vec![
        kernel(facts),
        machine(facts),
        programs(facts),
        btf(facts),
        uprobes(facts),
        lockdown(facts),
        namespace(facts),
        tracefs(facts),
    ]
}

/// The first finding that forbids the work as one sentence. `probes` tells whether heaps are to be traced.
pub fn refusal(findings: &[Finding], probes: bool) -> Option<String> {
    let limit = if probes { Level::NoProbes } else { Level::Fatal };
    let f = findings.iter().find(|f| f.level >= limit)?;
    Some(format!("{}: {}; {}", f.what, f.found, f.advice))
}

fn finding(level: Level, what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level, what, found: found.into(), advice: advice.into() }
}

fn kernel(facts: &Facts) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    let level = match facts.version() {
        Some(version) if version >= OLDEST_KERNEL => Level::Fine,
        _ => Level::Fatal,
    };
    let advice = if level == Level::Fine {
        String::new()
    } else {
        format!("leakscope needs Linux {major}.{minor} or newer (bpf_loop, the state in sched_switch)")
    };
    finding(level, "kernel", format!("Linux {}", facts.release), advice)
}

fn machine(facts: &Facts) -> Finding {
    if facts.machine == "x86_64" {
        finding(Level::Fine, "machine", "x86_64", "")
    } else {
        finding(Level::Fatal, "machine", facts.machine.clone(), "leakscope runs on x86_64 only")
    }
}

fn programs(facts: &Facts) -> Finding {
    trial(
        facts,
        "BPF",
        "programs can be loaded",
        "to load BPF programs",
        &facts.load_program,
        LOAD,
        Level::Fatal,
    )
}

/// Judges something that was tried.
fn trial(
    facts: &Facts,
    what: &'static str,
    fine: &str,
    purpose: &str,
    tried: &Tried,
    needed: &[AnyOf],
    level: Level,
) -> Finding {
    let errno = match tried {
        Tried::Allowed => return finding(Level::Fine, what, fine, ""),
        Tried::Not => None,
        Tried::Refused { errno } => Some(*errno),
    };
    let error = errno.map_or_else(|| "not tried".to_owned(), |n| io::Error::from_raw_os_error(n).to_string());
    match capability::missing(facts.capabilities, needed) {
        None => finding(level, what, format!("refused {purpose}: {error}"), ELSEWHERE),
        Some(missing) => {
            let advice = if facts.euid == 0 { GIVE } else { "run with sudo" };
            finding(level, what, format!("missing {missing} {purpose}: {error}"), advice)
        }
    }
}

/// Advice where no capability is missing.
pub const ELSEWHERE: &str =
    "no capability is missing: a security module or a sandbox around leakscope forbids it";
/// Advice for a root that lacks capabilities.
pub const GIVE: &str =
    "root without these capabilities: give them to the container (docker run --cap-add … --pid=host)";

fn btf(facts: &Facts) -> Finding {
    if facts.btf {
        finding(Level::Fine, "BTF", "/sys/kernel/btf/vmlinux", "")
    } else {
        finding(
            Level::Fatal,
            "BTF",
            "/sys/kernel/btf/vmlinux cannot be read",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF (all big distributions' are), or mount /sys",
        )
    }
}

fn uprobes(facts: &Facts) -> Finding {
    if !facts.uprobe_pmu {
        return finding(
            Level::NoProbes,
            "uprobes",
            "no uprobe event source in /sys/bus/event_source/devices",
            "use a kernel built with CONFIG_UPROBE_EVENTS, or mount /sys; `dump` and `--only waits` do without",
        );
    }
    let fine = match facts.multi_links {
        Some(true) => "available through perf events; multi links select a process",
        Some(false) => {
            "available through perf events; no multi links that select a process (Linux 6.10): removing takes about 0.1 s a probe"
        }
        None => "available through perf events",
    };
    let purpose = "to place uprobes by perf events";
    let mut found = trial(facts, "uprobes", fine, purpose, &facts.open_uprobe, PROBE, Level::NoProbes);
    if found.level != Level::Fine {
        found.advice.push_str("; `dump` and `--only waits` do without");
    }
    found
}

fn lockdown(facts: &Facts) -> Finding {
    match facts.lockdown.as_deref() {
        Some("confidentiality") => finding(
            Level::Fatal,
            "lockdown",
            "confidentiality",
            "this mode forbids BPF programs to read memory; boot with lockdown=integrity or without Secure Boot",
        ),
        Some(mode) => finding(Level::Fine, "lockdown", mode, ""),
        None => finding(Level::Fine, "lockdown", "not in this kernel", ""),
    }
}

fn namespace(facts: &Facts) -> Finding {
    if facts.initial_pid_namespace {
        return finding(Level::Fine, "PIDs", "the machine's own namespace", "");
    }
    finding(
        Level::Fatal,
        "PIDs",
        "a container's own namespace, whose numbers are not the kernel's",
        "run leakscope on the host, or in a container with the host's PIDs (docker run --pid=host)",
    )
}

fn tracefs(facts: &Facts) -> Finding {
    match &facts.tracefs {
        Some(at) => finding(Level::Fine, "tracefs", at.clone(), ""),
        None => finding(Level::Fine, "tracefs", "not mounted; not needed", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.18.44-fc".into(),
            machine: "x86_64".into(),
            euid: 0,
            capabilities: u64::MAX,
            btf: true,
            uprobe_pmu: true,
            multi_links: Some(true),
            lockdown: Some("none".into()),
            perf_event_paranoid: Some(2),
            tracefs: None,
            load_program: Tried::Allowed,
            open_uprobe: Tried::Allowed,
            initial_pid_namespace: true,
        }
    }

    fn refused(facts: &Facts) -> String {
        refusal(&judge(facts), true).expect("refused")
    }

    #[test]
    fn a_good_machine_passes() {
        assert_eq!(refusal(&judge(&good()), true), None);
        assert_eq!(refusal(&judge(&Facts { release: "5.18.0".into(), ..good() }), true), None);
    }

    /// Tried and refused with EPERM, holding these capabilities.
    fn refusing(capabilities: u64) -> Facts {
        let refused = Tried::Refused { errno: libc::EPERM };
        Facts { euid: 1000, capabilities, load_program: refused.clone(), open_uprobe: refused, ..good() }
    }

    #[test]
    fn only_what_was_refused_is_missing() {
        // Whatever the capabilities say: it was allowed.
        assert_eq!(refusal(&judge(&Facts { capabilities: 0, ..good() }), true), None);
        let no_probes =
            Facts { load_program: Tried::Allowed, ..refusing(1 << PERFMON.number | 1 << BPF.number) };
        assert_eq!(refusal(&judge(&no_probes), false), None, "nothing is probed");
        let text = refused(&no_probes);
        assert!(text.contains("CAP_SYS_ADMIN to place uprobes") && text.contains("--only waits"), "{text}");
        let half = refusal(&judge(&refusing(1 << BPF.number)), false).expect("refused");
        assert!(half.contains("CAP_PERFMON") && !half.contains("CAP_BPF"), "{half}");
        let all_held = refused(&refusing(u64::MAX));
        assert!(!all_held.contains("CAP_") && all_held.contains("security module"), "{all_held}");
    }

    /// Facts as `leakscope doctor --facts` printed them.
    #[test]
    fn recorded_machines() {
        let verdict = |text: &str| {
            let facts: Facts = serde_json::from_str(text).expect("recorded facts");
            refusal(&judge(&facts), true)
        };
        assert_eq!(verdict(include_str!("recorded/linux-6.18-root.json")), None);
        let nobody = verdict(include_str!("recorded/linux-6.18-nobody.json")).expect("refused");
        assert!(nobody.contains("CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)"), "{nobody}");
        assert!(nobody.contains("run with sudo"), "{nobody}");
        let container = verdict(include_str!("recorded/linux-6.18-own-pids.json")).expect("refused");
        assert!(container.contains("--pid=host"), "{container}");
    }

    #[test]
    fn each_missing_thing_is_named_with_its_cure() {
        let old = refused(&Facts { release: "5.15.0-91-generic".into(), ..good() });
        assert!(old.contains("5.15.0-91-generic") && old.contains("5.18"), "{old}");
        let user = refused(&refusing(0));
        assert!(user.contains("CAP_BPF") && user.contains("run with sudo"), "{user}");
        let container = refused(&Facts { euid: 0, ..refusing(0xa80425fb) });
        assert!(container.contains("CAP_SYS_ADMIN") && container.contains("--cap-add"), "{container}");
        assert!(refused(&Facts { btf: false, ..good() }).contains("CONFIG_DEBUG_INFO_BTF"));
        assert!(refused(&Facts { uprobe_pmu: false, ..good() }).contains("CONFIG_UPROBE_EVENTS"));
        let locked = refused(&Facts { lockdown: Some("confidentiality".into()), ..good() });
        assert!(locked.contains("lockdown=integrity"), "{locked}");
        assert!(refused(&Facts { initial_pid_namespace: false, ..good() }).contains("--pid=host"));
        assert!(refused(&Facts { machine: "aarch64".into(), ..good() }).contains("x86_64 only"));
        assert!(refused(&Facts { release: "weird".into(), ..good() }).contains("weird"));
    }
}
