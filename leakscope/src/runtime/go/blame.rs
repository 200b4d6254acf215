//! Which frame a stack of Go code is charged to: more is known of it than a name tells.

use super::goroutine::GoFrame;
use super::rules;
use crate::runtime;
use crate::symbol::{BlameInput, FrameOwner, blame_by};

/// Packages of Go's standard library that the tables for all languages leave out, because a C function
/// of such a name can have a suffix that looks like one (`hash.part.0`). Go 1.27, `go list std`.
#[rustfmt::skip]
const STANDARD: &[&str] = &[
    "cmp.", "crypto.", "debug/", "embed.", "expvar.", "flag.", "go/", "hash.", "html.", "image.", "image/",
    "index/", "iter.", "mime.", "path.", "plugin.", "testing/", "unique.", "unsafe.", "weak.",
];

/// Modules that run the user's code or carry its messages.
#[rustfmt::skip]
const FRAMEWORKS: &[&str] = &[
    // The Go project's own additions to its library.
    "golang.org/x/", "google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/api",
    // Servers, routers and sockets, from pkg.go.dev by importers.
    "github.com/gin-gonic/gin", "github.com/labstack/echo", "github.com/gorilla/", "github.com/go-chi/chi",
    "github.com/gofiber/fiber", "github.com/valyala/fasthttp", "github.com/julienschmidt/httprouter",
    "github.com/urfave/negroni", "github.com/emicklei/go-restful", "github.com/grpc-ecosystem/",
    "github.com/soheilhy/cmux", "nhooyr.io/websocket", "github.com/coder/websocket", "github.com/gobwas/ws",
    "github.com/quic-go/quic-go", "connectrpc.com/connect", "github.com/twitchtv/twirp", "go.uber.org/",
    // Clients and drivers.
    "github.com/go-sql-driver/mysql", "github.com/lib/pq", "github.com/jackc/pgx", "github.com/mattn/go-sqlite3",
    "github.com/redis/go-redis", "github.com/go-redis/redis", "github.com/gomodule/redigo",
    "go.mongodb.org/mongo-driver", "gorm.io/", "github.com/jmoiron/sqlx", "github.com/IBM/sarama",
    "github.com/Shopify/sarama", "github.com/segmentio/kafka-go", "github.com/nats-io/nats.go",
    "github.com/rabbitmq/amqp091-go", "github.com/streadway/amqp", "github.com/aws/aws-sdk-go",
    "github.com/prometheus/client_golang", "go.opentelemetry.io/", "github.com/spf13/cobra",
    "github.com/sirupsen/logrus", "github.com/rs/zerolog", "k8s.io/klog", "github.com/oklog/run",
];

/// The frame that stands for a goroutine's stack: the one that it is charged to. Where all are the standard
/// library's, that is the outermost one outside of the runtime, which tells what the goroutine is for.
pub fn blame_goroutine(frames: &[GoFrame], main_module: Option<&str>) -> Option<u64> {
    let standard = |frame: &GoFrame| of(frame, main_module) == FrameOwner::Runtime;
    let outermost = frames.iter().rposition(|frame| !frame.function.starts_with("runtime."));
    match outermost {
        Some(at) if frames.iter().all(standard) => Some(at as u64),
        _ => blame(frames, main_module),
    }
}

/// The frame that a stack is charged to, by the rule of [`crate::symbol::Owners::blame`]. `main_module` is the
/// path of the program's own module, whose code is the user's whatever it is called.
pub fn blame(frames: &[GoFrame], main_module: Option<&str>) -> Option<u64> {
    let owners: Vec<FrameOwner> = frames.iter().map(|frame| of(frame, main_module)).collect();
    blame_by(&owners).map(|at| at as u64)
}

/// Whether a function is the user's own, as far as its name tells.
pub fn is_users(function: &str) -> bool {
    by_name(function, None) == FrameOwner::User
}

fn of(frame: &GoFrame, main_module: Option<&str>) -> FrameOwner {
    if rules::CGO.iter().any(|part| frame.file.contains(part)) {
        return FrameOwner::Runtime;
    }
    by_name(&frame.function, main_module)
}

fn by_name(function: &str, main_module: Option<&str>) -> FrameOwner {
    let begins = |table: &[&str]| table.iter().any(|prefix| function.starts_with(prefix));
    let own = |module: &str| {
        !module.is_empty() && function.strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '/']))
    };
    if function.starts_with("main.") || main_module.is_some_and(own) {
        FrameOwner::User
    } else if begins(STANDARD) {
        FrameOwner::Runtime
    } else if begins(FRAMEWORKS) {
        FrameOwner::Framework
    } else {
        runtime::rules().owners.owner(&BlameInput { function: Some(function), ..BlameInput::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::aggregate::goroutine_sites::tests::frame as go;

    #[test]
    fn the_first_frame_of_the_users() {
        let blamed = |functions: &[&str], module| {
            let frames: Vec<GoFrame> = functions.iter().map(|function| go(function, 1)).collect();
            blame(&frames, module)
        };
        let receive = ["runtime.gopark", "runtime.chanrecv1", "main.(*WebSocket).notifyFxn", "main.main"];
        assert_eq!(blamed(&receive, None), Some(2));
        let http = ["runtime.gopark", "image/png.Decode", "golang.org/x/net/http2.f", "shop/cart.Add"];
        assert_eq!(blamed(&http, None), Some(3));
        assert_eq!(blamed(&http[..3], None), Some(2), "a framework's, if there is no other");
        assert_eq!(blamed(&http[..2], None), Some(0));
        assert_eq!(blamed(&["runtime.newobject", "runtime.mallocgc"], None), Some(1));
        assert_eq!(blamed(&[], None), None);
        // A module may be called as a package of the standard library is.
        assert_eq!(blamed(&["log/sink.Write", "main.main"], None), Some(1));
        assert_eq!(blamed(&["log/sink.Write", "main.main"], Some("log/sink")), Some(0));
        assert_eq!(blamed(&["log/sinks.Write", "main.main"], Some("log/sink")), Some(1));
    }

    #[test]
    fn what_cgo_makes_is_never_to_blame() {
        let cgos = |function: &str| GoFrame { file: "_cgo_gotypes.go".into(), ..go(function, 51) };
        let frames = [
            go("runtime.cgocall", 157),
            cgos("main._Cfunc_CString"),
            go("main.setName", 27),
            cgos("_cgoexp_6ba9_goCallback"),
            go("runtime.cgocallback", 1042),
            go("main.main", 60),
        ];
        assert_eq!(blame(&frames, None), Some(2));
        assert_eq!(blame(&frames[3..], Some("main")), Some(2));
        let all: Vec<GoFrame> = frames.iter().take(2).cloned().collect();
        assert_eq!(blame(&all, None), Some(0), "nobody's");
    }

    #[test]
    fn what_stands_for_a_goroutine() {
        let stands = |functions: &[&str]| {
            let frames: Vec<GoFrame> = functions.iter().map(|function| go(function, 1)).collect();
            blame_goroutine(&frames, None)
        };
        let keep_alive = [
            "runtime.gopark",
            "internal/poll.(*FD).Read",
            "bufio.(*GoroutineReader).Peek",
            "net/http.(*conn).serve",
            "runtime.goexit",
        ];
        assert_eq!(stands(&keep_alive), Some(3));
        assert_eq!(stands(&["runtime.gopark", "shop/cart.Add", "net/http.(*conn).serve"]), Some(1));
        assert_eq!(stands(&["runtime.gopark", "runtime.goexit"]), Some(0));
        assert_eq!(stands(&[]), None);
    }
}
