//! Goroutines that look like waiting for work, and the rules that say so.

use crate::runtime::go::census::GoState;
use crate::section::model::GoroutineSite;

/// How many goroutines of a site a rule is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Most {
    /// As many as there are.
    Any,
    /// As many as there are, unless they pile up: one for each connection.
    Steady,
    /// [`FEW`], and not when they pile up.
    Few,
    /// One.
    One,
}

/// More than this are no background work.
const FEW: u64 = 100;

/// A rule: one of the wait reasons, one of the frames, one of the first functions. Empty lists take all.
/// In names of functions a trailing `*` stands for every ending.
#[derive(Debug)]
struct Rule {
    reasons: &'static [&'static str],
    /// Functions anywhere on the stack.
    frames: &'static [&'static str],
    /// A function that is not on the stack: what it calls is the user's.
    without: Option<&'static str>,
    /// First functions of goroutines that a library starts for itself. Its functions on a stack do not
    /// tell: the user's code calls them too.
    start: &'static [&'static str],
    most: Most,
    words: &'static str,
}

const fn rule(
    reasons: &'static [&'static str],
    frames: &'static [&'static str],
    most: Most,
    words: &'static str,
) -> Rule {
    Rule { reasons, frames, without: None, start: &[], most, words }
}

const IO: &[&str] = &["IO wait"];
const MESSAGES: &[&str] = &["chan receive", "select", "select (no cases)"];
const MAIN: &[&str] = &["chan receive", "select", "select (no cases)", "sync.WaitGroup.Wait", "sleep"];
const CLOCK: &[&str] = &["sleep", "select", "chan receive"];

const RUNTIME: &str = "a goroutine of the Go runtime waits for its next turn";
const NEXT_REQUEST: &str = "waits for the next request of a connection";
const MAIN_WAITS: &str = "the main goroutine waits while others work";

/// Sources: Go 1.19 to 1.27, `runtime/runtime2.go` (waitReasonStrings), `net`, `net/http/server.go` and
/// `transport.go`, `os/signal`, `database/sql/sql.go`; golang.org/x/net/http2; google.golang.org/grpc 1.6x
/// internal/transport and internal/grpcsync; go.opencensus.io 0.24; go.opentelemetry.io/otel 1; klog 2;
/// glog 1; lumberjack 2; quic-go 0.4x.
const RULES: &[Rule] = &[
    rule(
        &[
            "finalizer wait",
            "cleanup wait",
            "GC worker (idle)",
            "force gc (idle)",
            "GC sweep wait",
            "GC scavenge wait",
            "trace reader (blocked)",
        ],
        &[],
        Most::Any,
        RUNTIME,
    ),
    rule(&[], &["os/signal.signal_recv", "os/signal.loop"], Most::Any, "waits for signals"),
    rule(
        MESSAGES,
        &["os/signal.NotifyContext.func*"],
        Most::Few,
        "waits for a signal or the end of its context",
    ),
    rule(
        IO,
        &["internal/poll.(*FD).Accept", "net.(*TCPListener).Accept", "net.(*UnixListener).Accept"],
        Most::Few,
        "waits for connections",
    ),
    rule(
        IO,
        &["net/http.(*connReader).backgroundRead"],
        Most::Steady,
        "watches a connection while its request is answered",
    ),
    Rule {
        without: Some("net/http.serverHandler.ServeHTTP"),
        ..rule(IO, &["net/http.(*conn).serve"], Most::Steady, NEXT_REQUEST)
    },
    rule(
        IO,
        &["net/http.(*http2serverConn).readFrames", "golang.org/x/net/http2.(*serverConn).readFrames"],
        Most::Steady,
        NEXT_REQUEST,
    ),
    rule(
        &["select"],
        &["net/http.(*http2serverConn).serve", "golang.org/x/net/http2.(*serverConn).serve"],
        Most::Steady,
        NEXT_REQUEST,
    ),
    rule(
        IO,
        &[
            "net/http.(*persistConn).readLoop",
            "net/http.(*http2clientConnReadLoop).run",
            "golang.org/x/net/http2.(*clientConnReadLoop).run",
        ],
        Most::Steady,
        "waits for the answer to a request, or keeps the connection for the next one",
    ),
    rule(
        &["select"],
        &["net/http.(*persistConn).writeLoop"],
        Most::Few,
        "keeps a connection for the next request",
    ),
    rule(
        MESSAGES,
        &[
            "database/sql.(*DB).connectionOpener",
            "database/sql.(*DB).connectionResetter",
            "database/sql.(*DB).connectionCleaner",
        ],
        Most::Few,
        "keeps a pool of database connections",
    ),
    rule(
        IO,
        &[
            "google.golang.org/grpc/internal/transport.(*http2Client).reader",
            "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams",
        ],
        Most::Steady,
        "waits for the next message of a connection",
    ),
    Rule {
        start: &["google.golang.org/grpc/internal/*"],
        ..rule(MESSAGES, &[], Most::Few, "a goroutine of gRPC waits for work")
    },
    Rule {
        start: &[
            "go.opencensus.io/stats/view.(*worker).start*",
            "go.opentelemetry.io/otel/sdk/*",
            "k8s.io/klog/v2.*",
            "github.com/golang/glog.*",
            "gopkg.in/natefinch/lumberjack%2ev2.*",
            "github.com/quic-go/quic-go.(*Transport).*",
        ],
        ..rule(CLOCK, &[], Most::Few, "a library's own goroutine waits for work")
    },
    // Before Go 1.24 a WaitGroup has no reason of its own.
    Rule {
        start: &["runtime.main"],
        ..rule(&["semacquire"], &["sync.(*WaitGroup).Wait"], Most::One, MAIN_WAITS)
    },
    Rule { start: &["runtime.main"], ..rule(MAIN, &[], Most::One, MAIN_WAITS) },
    rule(&["sleep"], &[], Most::Few, "sleeps between two turns"),
];

/// The rule by which a site is idle; `None` if it may be stuck. `all` are the goroutines of the program.
pub(super) fn idle(site: &GoroutineSite, all: u64, piles_up: bool) -> Option<&'static str> {
    let waiting = site.state == GoState::Waiting.name();
    if !waiting && site.state != GoState::Syscall.name() {
        return None;
    }
    let functions = || site.stack.frames.iter().filter_map(|frame| frame.function.as_deref());
    let on_stack = |table: &[&str]| functions().any(|function| is_one(function, table));
    let reason = site.wait_reason.as_deref();
    let found = RULES.iter().find(|rule| {
        (rule.reasons.is_empty() || reason.is_some_and(|reason| rule.reasons.contains(&reason)))
            && (rule.frames.is_empty() || on_stack(rule.frames))
            && rule.without.is_none_or(|function| !on_stack(&[function]))
            && (rule.start.is_empty()
                || site.start_function.as_deref().is_some_and(|f| is_one(f, rule.start)))
            && rule.most.takes(site.count, all, piles_up)
    });
    found.map(|rule| rule.words).or((site.system && waiting).then_some(RUNTIME))
}

impl Most {
    fn takes(self, count: u64, all: u64, piles_up: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Steady => !piles_up,
            // Half of a program that has few is not much.
            Self::Few => !piles_up && count <= FEW && (count <= all / 2 || count <= FEW / 10),
            Self::One => count == 1,
        }
    }
}

fn is_one(function: &str, table: &[&str]) -> bool {
    table.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => function.starts_with(prefix),
        None => function == *entry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::aggregate::GoroutineAggregate;
    use crate::runtime::go::aggregate::goroutines::GoSite;
    use crate::runtime::go::aggregate::goroutines::tests::{stack, waiting};
    use crate::runtime::go::census::GoCensus;

    fn site(reason: &str, functions: &[&str], count: u64) -> GoSite {
        let frames: Vec<(&str, u32)> = functions.iter().map(|function| (*function, 1)).collect();
        let census = GoCensus {
            goroutines: (0..count).map(|id| waiting(id, reason)).collect(),
            stacks: vec![stack(&frames)],
            ..GoCensus::default()
        };
        GoroutineAggregate::default().snapshot(&census).sites.remove(0)
    }

    fn whole(site: &GoSite) -> GoroutineSite {
        super::super::build::site(site, crate::section::go_frames::GoCode::default())
    }

    #[track_caller]
    fn assert_idle(site: &GoSite, all: u64, words: &str) {
        let rule = idle(&whole(site), all, false);
        assert!(rule.is_some_and(|rule| rule.contains(words)), "{rule:?} instead of {words}");
    }

    #[test]
    fn what_waits_for_work() {
        let accept = ["internal/poll.(*FD).Accept", "net.(*netFD).accept", "main.main"];
        assert_idle(&site("IO wait", &accept, 1), 1, "connections");
        let keep_alive = ["internal/poll.(*FD).Read", "bufio.(*Reader).Peek", "net/http.(*conn).serve"];
        assert_idle(&site("IO wait", &keep_alive, 5_000), 5_001, "next request");
        assert_idle(&site("IO wait", &["net/http.(*connReader).backgroundRead"], 900), 1_000, "watches");
        assert_idle(&site("select", &["database/sql.(*DB).connectionOpener"], 1), 9, "database");
        assert_idle(&site("sleep", &["time.Sleep", "main.loop"], 3), 9, "sleeps");
        assert_idle(&site("finalizer wait", &["runtime.runfinq"], 1), 9, "runtime");
        let grpc = "google.golang.org/grpc/internal/grpcsync.(*CallbackSerializer).run";
        let library = GoSite { start_function: Some(grpc.into()), ..site("select", &[grpc], 2) };
        assert_idle(&library, 9, "gRPC");
        let recv = GoSite { state: GoState::Syscall, ..site("", &["os/signal.signal_recv"], 1) };
        assert_idle(&GoSite { wait_reason: None, ..recv }, 9, "signals");
        for reason in ["chan receive", "select (no cases)", "sync.WaitGroup.Wait"] {
            let main =
                GoSite { start_function: Some("runtime.main".into()), ..site(reason, &["main.main"], 1) };
            assert_idle(&main, 9, "main goroutine");
        }
        let waits = site("semacquire", &["sync.runtime_Semacquire", "sync.(*WaitGroup).Wait"], 1);
        let main = GoSite { start_function: Some("runtime.main".into()), ..waits };
        assert_idle(&main, 9, "main goroutine");
        assert_idle(&GoSite { system: true, ..site("new reason", &["runtime.f"], 1) }, 9, "runtime");
    }

    #[test]
    fn what_may_be_stuck() {
        let not = |site: &GoSite, all, piles_up| assert_eq!(idle(&whole(site), all, piles_up), None);
        for reason in ["chan receive", "chan send", "select", "sync.Mutex.Lock", "chan receive (nil chan)"] {
            not(&site(reason, &["runtime.gopark", "main.work"], 101), 500, false);
            not(&site(reason, &["runtime.gopark", "main.work"], 1), 500, false);
        }
        // A handler that waits is not a connection that waits, nor is a call of a library one of its own
        // goroutines.
        let upstream =
            ["net.(*conn).Read", "main.handle", "net/http.serverHandler.ServeHTTP", "net/http.(*conn).serve"];
        not(&site("IO wait", &upstream, 3), 9, false);
        let call = ["google.golang.org/grpc/internal/transport.(*Stream).waitOnHeader", "main.call"];
        not(&site("select", &call, 3), 9, false);
        not(&site("chan receive", &["main.handle", "net/http.(*conn).serve"], 3), 9, false);
        // Many, more than half, or ever more of what is idle else.
        let sleeps = |n| site("sleep", &["time.Sleep", "main.loop"], n);
        not(&sleeps(101), 9_999, false);
        not(&sleeps(60), 100, false);
        not(&sleeps(9), 100, true);
        not(&site("IO wait", &["net/http.(*conn).serve"], 5_000), 5_001, true);
        let main = GoSite { start_function: Some("runtime.main".into()), ..site("sync.Mutex.Lock", &[], 1) };
        not(&main, 9, false);
        not(&GoSite { state: GoState::Leaked, ..sleeps(1) }, 9, false);
    }
}
