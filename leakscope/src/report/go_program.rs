//! What there is to say of a Go program before its numbers: how it was built, and where its runtimes are.

use super::model::{GoProgram, GoRuntime, Target};
use super::words::ReportSaid;
use crate::human::cut;

/// Settings of a build (`cmd/go`, `runtime/debug.BuildSetting`) by which memory, stacks or names are others, where
/// they have another value than this, and what to call them.
const SETTINGS: [(&str, &str, &str); 9] = [
    ("-race", "false", "with the race detector (-race)"),
    ("-asan", "false", "with the address sanitizer (-asan)"),
    ("-msan", "false", "with the memory sanitizer (-msan)"),
    ("-cover", "false", "with coverage (-cover)"),
    ("-gcflags", "", "-gcflags="),
    ("-tags", "", "-tags="),
    ("GOEXPERIMENT", "", "GOEXPERIMENT="),
    ("CGO_ENABLED", "0", "with cgo"),
    ("DefaultGODEBUG", "", "GODEBUG="),
];
/// Settings of GODEBUG (`runtime/extern.go`; go.dev/doc/godebug) by which what is seen of memory, goroutines or
/// profiles is something else.
#[rustfmt::skip]
const GODEBUG: [&str; 16] = [
    "adaptivestackstart", "asyncpreemptoff", "asynctimerchan", "cgocheck", "checkfinalizers", "clobberfree",
    "disablethp", "efence", "gccheckmark", "gcshrinkstackoff", "gcstoptheworld",
    "madvdontneed", "memprofilerate", "profstackdepth", "sbrk", "tracebackancestors",
];
/// Columns of a value, and digits of a revision.
const LONGEST: usize = 60;
const REVISION: usize = 12;

/// How it was built and is run, as far as that changes what its numbers mean; `None` if it is as usual.
pub fn made(go: &GoProgram) -> Option<String> {
    let setting = |name: &str| go.settings.get(name).map(String::as_str);
    let mut told: Vec<String> = Vec::new();
    // A library for C is never built without it.
    let for_c = setting("-buildmode").is_some_and(|mode| mode.starts_with("c-"));
    for (name, usual, called) in SETTINGS {
        let Some(value) = setting(name).filter(|value| *value != usual) else { continue };
        if for_c && name == "CGO_ENABLED" {
            continue;
        }
        let value = if name == "DefaultGODEBUG" { of_godebug(value) } else { value.to_owned() };
        match called.ends_with('=') {
            true if value.is_empty() => {}
            true => told.push(format!("{called}{}", cut(&value, LONGEST))),
            false => told.push(called.to_owned()),
        }
    }
    if let Some(revision) = setting("vcs.revision") {
        let revision: String = revision.chars().take(REVISION).collect();
        let modified = if setting("vcs.modified") == Some("true") { ", modified" } else { "" };
        told.push(format!("revision {revision}{modified}"));
    }
    let godebug = go.godebug.as_deref().map(of_godebug).filter(|settings| !settings.is_empty());
    let run = godebug.map(|settings| format!("run with GODEBUG={}", cut(&settings, LONGEST)));
    let built = (!told.is_empty()).then(|| format!("built {}", told.join(", ")));
    let all: Vec<String> = built.into_iter().chain(run).collect();
    let of = match &go.runtimes[..] {
        [first, _, ..] => format!(" in {}", first.file),
        _ => String::new(),
    };
    (!all.is_empty()).then(|| format!("Go{of}: {}", all.join("; ")))
}

/// The settings that matter.
fn of_godebug(all: &str) -> String {
    let matters = |one: &&str| one.split_once('=').is_some_and(|(name, _)| GODEBUG.contains(&name.trim()));
    all.split(',').filter(matters).collect::<Vec<_>>().join(",")
}

/// Where the runtimes are, unless the one is the program's own, as a reader expects.
pub(super) fn elsewhere(target: &Target) -> Option<ReportSaid> {
    let runtimes = &target.go.as_ref()?.runtimes;
    let expected = |one: &GoRuntime| Some(&one.file) == target.exe.as_ref() && !one.late;
    let told = match &runtimes[..] {
        [] => false,
        [one] => !expected(one),
        _ => true,
    };
    told.then(|| ReportSaid::GoRuntimes { runtimes: runtimes.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::finding::Said as _;

    fn built(settings: &[(&str, &str)], godebug: Option<&str>) -> Option<String> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        made(&GoProgram {
            settings: settings.collect(),
            godebug: godebug.map(ToOwned::to_owned),
            ..GoProgram::default()
        })
    }

    #[test]
    fn what_is_as_usual_is_not_told() {
        let usual = [("-compiler", "gc"), ("CGO_ENABLED", "0"), ("GOAMD64", "v1"), ("-trimpath", "true")];
        assert_eq!(built(&usual, None), None);
        assert_eq!(built(&[], Some("http2client=0,gctrace=1")), None);
        assert_eq!(built(&[("DefaultGODEBUG", "httplaxcontentlength=1,panicnil=1")], None), None);
    }

    #[test]
    fn what_changes_the_numbers_is_told_in_one_line() {
        let settings = [
            ("-race", "true"),
            ("-gcflags", "all=-N -l"),
            ("CGO_ENABLED", "1"),
            ("DefaultGODEBUG", "asynctimerchan=1,panicnil=1"),
            ("vcs.revision", "0123456789abcdef0123456789abcdef01234567"),
            ("vcs.modified", "true"),
        ];
        assert_eq!(
            built(&settings, Some("gctrace=1,madvdontneed=0")).as_deref(),
            Some(
                "Go: built with the race detector (-race), -gcflags=all=-N -l, with cgo, GODEBUG=asynctimerchan=1, \
                 revision 0123456789ab, modified; run with GODEBUG=madvdontneed=0"
            )
        );
        assert_eq!(built(&[("-tags", "netgo")], None).as_deref(), Some("Go: built -tags=netgo"));
    }

    fn runtime(file: &str, late: bool, sampled: bool) -> GoRuntime {
        GoRuntime {
            file: file.to_owned(),
            version: "go1.21.4".to_owned(),
            late,
            goroutines: Some(40),
            memory_bytes: None,
            sampled,
        }
    }

    #[test]
    fn where_runtimes_are() {
        let told = |runtimes: &[GoRuntime]| ReportSaid::GoRuntimes { runtimes: runtimes.to_vec() }.text();
        assert_eq!(
            told(&[runtime("/lib/one.so", false, false)]),
            "The Go runtime is that of /lib/one.so (go1.21.4)."
        );
        let late = told(&[runtime("/lib/one.so", true, false)]);
        assert!(late.contains("loaded while leakscope watched") && late.contains("not sampled"), "{late}");
        let two = told(&[runtime("/lib/one.so", false, true), runtime("/lib/two.so", true, false)]);
        for part in [
            "2 Go runtimes",
            "/lib/two.so (go1.21.4, 40 goroutines, loaded",
            "estimated by place of /lib/one.so",
        ] {
            assert!(two.contains(part), "{two}");
        }
        let none = told(&[runtime("/lib/one.so", false, false), runtime("/lib/two.so", false, false)]);
        assert!(!none.contains("by place"), "{none}");
    }

    #[test]
    fn a_library_for_c_is_built_with_cgo() {
        assert_eq!(built(&[("-buildmode", "c-shared"), ("CGO_ENABLED", "1")], None), None);
        assert_eq!(built(&[("CGO_ENABLED", "1")], None).as_deref(), Some("Go: built with cgo"));
    }
}
