//! What follows from the facts: a pure function, so that kernels we do not run are tested too.

use super::facts::Facts;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Tracing is impossible.
    Fatal,
}

/// One finding of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// CAP_SYS_PTRACE (uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;
/// CAP_SYS_ADMIN.
const CAP_SYS_ADMIN: u32 = 21;
/// CAP_PERFMON.
const CAP_PERFMON: u32 = 38;
/// CAP_BPF.
const CAP_BPF: u32 = 39;
/// Oldest kernel with all that is used: `bpf_loop` came with 5.17, `sched_switch` tells the state that a
/// thread leaves with since 5.18.
const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// Judges all facts; the order is the one to show.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    vec![
        kernel(facts),
        machine(facts),
        rights(facts),
        btf(facts),
        uprobes(facts),
        lockdown(facts),
        namespace(facts),
        tracefs(facts),
    ]
}

/// The first fatal finding as one sentence.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let f = findings.iter().find(|f| f.level == Level::Fatal)?;
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

fn rights(facts: &Facts) -> Finding {
    let admin = facts.has(CAP_SYS_ADMIN);
    let needed = [
        (CAP_BPF, "CAP_BPF", admin),
        (CAP_PERFMON, "CAP_PERFMON", admin),
        (CAP_SYS_PTRACE, "CAP_SYS_PTRACE", false),
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(number, _, covered)| !facts.has(*number) && !covered)
        .map(|(_, name, _)| *name)
        .collect();
    if missing.is_empty() {
        return finding(
            Level::Fine,
            "rights",
            format!("user {} with all capabilities that are needed", facts.euid),
            "",
        );
    }
    let advice = if facts.euid == 0 {
        "root without these capabilities: give them to the container (docker run --cap-add … --pid=host)"
    } else {
        "run with sudo"
    };
    finding(Level::Fatal, "rights", format!("missing {}", missing.join(", ")), advice)
}

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
    if facts.uprobe_pmu {
        finding(Level::Fine, "uprobes", "available through perf events", "")
    } else {
        finding(
            Level::Fatal,
            "uprobes",
            "no uprobe event source in /sys/bus/event_source/devices",
            "use a kernel built with CONFIG_UPROBE_EVENTS, or mount /sys",
        )
    }
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
            lockdown: Some("none".into()),
            perf_event_paranoid: Some(2),
            tracefs: None,
            initial_pid_namespace: true,
        }
    }

    fn refused(facts: &Facts) -> String {
        refusal(&judge(facts)).expect("refused")
    }

    #[test]
    fn a_good_machine_passes() {
        assert_eq!(refusal(&judge(&good())), None);
        assert_eq!(refusal(&judge(&Facts { release: "5.18.0".into(), ..good() })), None);
        // CAP_SYS_ADMIN covers the two finer ones.
        let old_style = Facts { capabilities: 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_PTRACE, ..good() };
        assert_eq!(refusal(&judge(&old_style)), None);
    }

    /// Facts as `leakscope doctor --facts` printed them.
    #[test]
    fn recorded_machines() {
        let verdict = |text: &str| {
            let facts: Facts = serde_json::from_str(text).expect("recorded facts");
            refusal(&judge(&facts))
        };
        assert_eq!(verdict(include_str!("recorded/linux-6.18-root.json")), None);
        let nobody = verdict(include_str!("recorded/linux-6.18-nobody.json")).expect("refused");
        assert!(nobody.contains("CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_SYS_ADMIN"), "{nobody}");
        assert!(nobody.contains("run with sudo"), "{nobody}");
        let container = verdict(include_str!("recorded/linux-6.18-own-pids.json")).expect("refused");
        assert!(container.contains("--pid=host"), "{container}");
    }

    #[test]
    fn each_missing_thing_is_named_with_its_cure() {
        let old = refused(&Facts { release: "5.15.0-91-generic".into(), ..good() });
        assert!(old.contains("5.15.0-91-generic") && old.contains("5.18"), "{old}");
        let user = refused(&Facts { euid: 1000, capabilities: 0, ..good() });
        assert!(user.contains("CAP_BPF") && user.contains("run with sudo"), "{user}");
        let container = refused(&Facts { capabilities: 0xa80425fb, ..good() });
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
