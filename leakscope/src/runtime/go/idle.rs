//! Goroutines that look like waiting for work, and the rules that say so.

use super::goroutine::GoState;

/// How many goroutines of a site a rule is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Most {
    /// As many as there are.
    Any,
    /// As many as there are, unless they pile up: one for each connection.
    Steady,
    /// [`FEW`], and not when they pile up.
    Few,
    /// One alone: the main goroutine waits for the others, a second one of its kind does not.
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
    /// A function that calls another one directly: one of these pairs.
    calls: &'static [(&'static str, &'static str)],
    /// What wakes them; empty: it does not matter.
    woken_by: &'static [&'static str],
    /// First functions of goroutines that a library starts for itself. Its functions on a stack do not
    /// tell: the user's code calls them too.
    start: &'static [&'static str],
    most: Most,
    words: &'static str,
}

const fn row(
    reasons: &'static [&'static str],
    frames: &'static [&'static str],
    most: Most,
    words: &'static str,
) -> Rule {
    Rule { reasons, frames, without: None, calls: &[], woken_by: &[], start: &[], most, words }
}

const IO: &[&str] = &["IO wait"];
const MESSAGES: &[&str] = &["chan receive", "select", "select (no cases)"];
const MAIN: &[&str] = &["chan receive", "select", "select (no cases)", "sync.WaitGroup.Wait", "sleep"];
const CLOCK: &[&str] = &["sleep", "select", "chan receive"];

const RUNTIME: &str = "a goroutine of the Go runtime waits for its next turn";
const NEXT_REQUEST: &str = "waits for the next request of a connection";
const MAIN_WAITS: &str = "the main goroutine waits for the others";

/// Sources: Go 1.19 to 1.27, `runtime/runtime2.go` (waitReasonStrings), `net`, `net/http/server.go` and
/// `transport.go`, `os/signal`, `database/sql/sql.go`; golang.org/x/net/http2; google.golang.org/grpc 1.6x
/// internal/transport and internal/grpcsync; go.opencensus.io 0.24; go.opentelemetry.io/otel 1; klog 2;
/// glog 1; lumberjack 2; quic-go 0.4x.
const RULES: &[Rule] = &[
    row(
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
    row(&[], &["os/signal.signal_recv", "os/signal.loop"], Most::Any, "waits for signals"),
    row(
        MESSAGES,
        &["os/signal.NotifyContext.func*"],
        Most::Few,
        "waits for a signal or the end of its context",
    ),
    row(
        IO,
        &["internal/poll.(*FD).Accept", "net.(*TCPListener).Accept", "net.(*UnixListener).Accept"],
        Most::Few,
        "waits for connections",
    ),
    row(
        IO,
        &["net/http.(*connReader).backgroundRead"],
        Most::Steady,
        "watches a connection while its request is answered",
    ),
    // It peeks before the next request, and reads the first line of a new connection's first one. In the headers or
    // the body, it waits for the rest of a request.
    Rule {
        calls: &[("net/http.(*conn).serve", "bufio.(*Reader).Peek")],
        ..row(IO, &[], Most::Steady, NEXT_REQUEST)
    },
    Rule {
        without: Some("net/http.serverHandler.ServeHTTP"),
        calls: &[
            ("net/http.readRequest", "net/textproto.(*Reader).ReadLine"),
            ("net/http.readRequestLimit", "net/textproto.(*Reader).ReadLine"),
        ],
        ..row(IO, &["net/http.(*conn).serve"], Most::Steady, "waits for the first line of a request")
    },
    row(
        IO,
        &["net/http.(*http2serverConn).readFrames", "golang.org/x/net/http2.(*serverConn).readFrames"],
        Most::Steady,
        NEXT_REQUEST,
    ),
    row(
        &["select"],
        &["net/http.(*http2serverConn).serve", "golang.org/x/net/http2.(*serverConn).serve"],
        Most::Steady,
        NEXT_REQUEST,
    ),
    row(
        IO,
        &[
            "net/http.(*persistConn).readLoop",
            "net/http.(*http2clientConnReadLoop).run",
            "golang.org/x/net/http2.(*clientConnReadLoop).run",
        ],
        Most::Steady,
        "waits for the answer to a request, or keeps the connection for the next one",
    ),
    row(
        &["select"],
        &["net/http.(*persistConn).writeLoop"],
        Most::Few,
        "keeps a connection for the next request",
    ),
    row(
        MESSAGES,
        &[
            "database/sql.(*DB).connectionOpener",
            "database/sql.(*DB).connectionResetter",
            "database/sql.(*DB).connectionCleaner",
        ],
        Most::Few,
        "keeps a pool of database connections",
    ),
    row(
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
        ..row(MESSAGES, &[], Most::Few, "a goroutine of gRPC waits for work")
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
        ..row(CLOCK, &[], Most::Few, "a library's own goroutine waits for work")
    },
    // Before Go 1.24 a WaitGroup has no reason of its own.
    Rule {
        start: &["runtime.main"],
        ..row(&["semacquire"], &["sync.(*WaitGroup).Wait"], Most::One, MAIN_WAITS)
    },
    Rule { start: &["runtime.main"], ..row(MAIN, &[], Most::One, MAIN_WAITS) },
    Rule {
        woken_by: &["ticker"],
        ..row(&["chan receive", "select"], &[], Most::Steady, "waits for its ticker")
    },
    Rule { woken_by: &["timer"], ..row(&["chan receive"], &[], Most::Steady, "waits for a timer") },
    row(&["sleep"], &[], Most::Steady, "sleeps between two turns"),
];

/// Goroutines that do the same in the same place, as far as the rules ask. `F` gives the functions of their stack.
#[derive(Clone, Copy, Debug)]
pub struct IdleSite<'a, F> {
    /// What they do; `None` where a report of another version names a state that this one does not know.
    pub state: Option<GoState>,
    /// Why they wait, in the program's own words.
    pub wait_reason: Option<&'a str>,
    /// Functions of the stack.
    pub functions: F,
    /// The function of their `go` statement.
    pub start_function: Option<&'a str>,
    /// What can wake them, in a word.
    pub woken_by: Option<&'a str>,
    /// How many there are.
    pub count: u64,
    /// Whether they are the runtime's own.
    pub system: bool,
}

/// The rule by which a site is idle; `None` if it may be stuck. `all` are the goroutines of the program.
pub fn rule<'a, F>(site: &IdleSite<'a, F>, all: u64, piles_up: bool) -> Option<&'static str>
where
    F: Iterator<Item = &'a str> + Clone,
{
    let waiting = site.state == Some(GoState::Waiting);
    if !waiting && site.state != Some(GoState::Syscall) {
        return None;
    }
    let on_stack = |table: &[&str]| site.functions.clone().any(|function| is_one(function, table));
    let found = RULES.iter().find(|rule| {
        (rule.reasons.is_empty() || site.wait_reason.is_some_and(|reason| rule.reasons.contains(&reason)))
            && (rule.frames.is_empty() || on_stack(rule.frames))
            && rule.without.is_none_or(|function| !on_stack(&[function]))
            && (rule.calls.is_empty()
                || rule.calls.iter().any(|call| has_call(site.functions.clone(), *call)))
            && (rule.woken_by.is_empty() || site.woken_by.is_some_and(|by| rule.woken_by.contains(&by)))
            && (rule.start.is_empty() || site.start_function.is_some_and(|f| is_one(f, rule.start)))
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

/// Whether the first of two functions called the second one; `stack` begins with the innermost.
fn has_call<'a>(stack: impl Iterator<Item = &'a str> + Clone, (caller, callee): (&str, &str)) -> bool {
    stack.clone().zip(stack.skip(1)).any(|(inner, outer)| inner == callee && outer == caller)
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
    use crate::runtime::go::aggregate::goroutine_sites::GoSite;
    use crate::runtime::go::aggregate::goroutine_sites::tests::{stack, waiting};
    use crate::runtime::go::goroutine::{GoroutineSnapshot, Wakes};

    fn site(reason: &str, functions: &[&str], count: u64) -> GoSite {
        let frames: Vec<(&str, u32)> = functions.iter().map(|function| (*function, 1)).collect();
        let snapshot = GoroutineSnapshot {
            goroutines: (0..count).map(|id| waiting(id, reason)).collect(),
            stacks: vec![stack(&frames)],
            ..GoroutineSnapshot::default()
        };
        GoroutineAggregate::default().sites(&snapshot).sites.remove(0)
    }

    fn idle(site: &GoSite, all: u64, piles_up: bool) -> Option<&'static str> {
        let site = IdleSite {
            state: Some(site.state),
            wait_reason: site.wait_reason.as_deref(),
            functions: site.frames.iter().map(|frame| &*frame.function),
            start_function: site.start_function.as_deref(),
            woken_by: site.wakes.name(),
            count: site.count,
            system: site.system,
        };
        rule(&site, all, piles_up)
    }

    #[track_caller]
    fn assert_idle(site: &GoSite, all: u64, words: &str) {
        let rule = idle(site, all, false);
        assert!(rule.is_some_and(|rule| rule.contains(words)), "{rule:?} instead of {words}");
    }

    #[test]
    fn what_waits_for_work() {
        let accept = ["internal/poll.(*FD).Accept", "net.(*netFD).accept", "main.main"];
        assert_idle(&site("IO wait", &accept, 1), 1, "connections");
        let keep_alive = ["internal/poll.(*FD).Read", "bufio.(*Reader).Peek", "net/http.(*conn).serve"];
        assert_idle(&site("IO wait", &keep_alive, 5_000), 5_001, "next request");
        let new = [
            "bufio.(*Reader).ReadLine",
            "net/textproto.(*Reader).ReadLine",
            "net/http.readRequest",
            "net/http.(*conn).readRequest",
            "net/http.(*conn).serve",
        ];
        assert_idle(&site("IO wait", &new, 5_000), 5_001, "first line");
        let woken = |reason, wakes| GoSite { wakes, ..site(reason, &["main.loop"], 300) };
        assert_idle(&woken("chan receive", Wakes::Ticker), 300, "ticker");
        assert_idle(&woken("select", Wakes::Ticker), 300, "ticker");
        assert_idle(&woken("chan receive", Wakes::Timer), 300, "timer");
        assert_idle(&site("sleep", &["time.Sleep", "main.loop"], 300), 301, "sleeps");
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
        let not = |site: &GoSite, all, piles_up| assert_eq!(idle(site, all, piles_up), None);
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
        // The rest of a request that has begun, or an answer before a timeout.
        let headers =
            ["net/textproto.(*Reader).ReadMIMEHeader", "net/http.readRequest", "net/http.(*conn).serve"];
        not(&site("IO wait", &headers, 3), 9, false);
        let peek = ["bufio.(*Reader).Peek", "net/http.(*conn).readRequest", "net/http.(*conn).serve"];
        not(&site("IO wait", &peek, 3), 9, false);
        not(&GoSite { wakes: Wakes::Timer, ..site("select", &["main.call"], 1) }, 9, false);
        // Many, more than half, or ever more of what is idle else.
        let opens = |n| site("select", &["database/sql.(*DB).connectionOpener"], n);
        not(&opens(101), 9_999, false);
        not(&opens(60), 100, false);
        let sleeps = |n| site("sleep", &["time.Sleep", "main.loop"], n);
        not(&sleeps(9), 100, true);
        let keep_alive = ["bufio.(*Reader).Peek", "net/http.(*conn).serve"];
        not(&site("IO wait", &keep_alive, 5_000), 5_001, true);
        let main = GoSite { start_function: Some("runtime.main".into()), ..site("sync.Mutex.Lock", &[], 1) };
        not(&main, 9, false);
        not(&GoSite { state: GoState::Leaked, ..sleeps(1) }, 9, false);
    }
}
