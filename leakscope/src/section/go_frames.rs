//! Go frames as frames of the report, and which of them a stack is charged to.

use crate::runtime::go::census::GoFrame;
use crate::section::frame::{Code, Frame, Name};
use crate::symbol::name::bounded;
use crate::symbol::{BlameInput, FrameOwner, owner};

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

/// The program that Go frames are of.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoCode<'a> {
    /// Path of its file, as the target names it.
    pub file: Option<&'a str>,
    /// Build ID of that file, in hex.
    pub build_id: Option<&'a str>,
    /// Runtime address minus virtual address of the file.
    pub bias: u64,
    /// Addresses of its Go code: the first, and the one after the last. Plugins have code elsewhere.
    pub text: (u64, u64),
    /// Path of its main module, whose code is the user's whatever it is called.
    pub main_module: Option<&'a str>,
}

impl GoCode<'_> {
    /// Whether code at an address is of the file. A return address may be the one after the last.
    fn holds(&self, address: u64) -> bool {
        (self.text.0..=self.text.1).contains(&address) && self.text.0 < self.text.1
    }
}

/// A frame of the program. What lies outside of its own code has no file.
pub(crate) fn frame(go: &GoFrame, code: GoCode<'_>) -> Frame {
    let file = code.file.filter(|_| code.holds(go.address));
    let offset = go.address.wrapping_sub(code.bias);
    let place = file.map(|module| Code { module, build_id: code.build_id, offset });
    Frame::new(go.address, place, name(go))
}

/// What a frame is called by the program's own tables.
pub(crate) fn name(go: &GoFrame) -> Name {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Name {
        function: known(&bounded(&go.function)),
        function_offset: go.function_offset,
        file: known(&go.file),
        line: (go.line > 0).then_some(go.line),
        function_line: (go.start_line > 0).then_some(go.start_line),
        inlined: go.inlined,
        why_unknown: go.function.is_empty().then(|| "it lies in no Go function".to_owned()),
    }
}

/// The frame that stands for a goroutine's stack: the one that it is charged to. Where all are the standard
/// library's, that is the outermost one outside of the runtime, which tells what the goroutine is for.
pub(crate) fn blame_goroutine(frames: &[GoFrame], main_module: Option<&str>) -> Option<u64> {
    let standard = |frame: &GoFrame| of(&frame.function, main_module) == FrameOwner::Runtime;
    let outermost = frames.iter().rposition(|frame| !frame.function.starts_with("runtime."));
    match outermost {
        Some(at) if frames.iter().all(standard) => Some(at as u64),
        _ => blame(frames, main_module),
    }
}

/// The frame that a stack is charged to, by the rule of [`crate::symbol::blame()`]. `main_module` is the
/// path of the program's own module, whose code is the user's whatever it is called.
pub(crate) fn blame(frames: &[GoFrame], main_module: Option<&str>) -> Option<u64> {
    let owners: Vec<FrameOwner> = frames.iter().map(|frame| of(&frame.function, main_module)).collect();
    let first = |is: fn(&FrameOwner) -> bool| owners.iter().position(is);
    first(|owner| *owner == FrameOwner::User)
        .or_else(|| first(|owner| *owner == FrameOwner::Framework))
        .or_else(|| first(|owner| *owner != FrameOwner::Allocator))
        .or_else(|| frames.len().checked_sub(1))
        .map(|at| at as u64)
}

fn of(function: &str, main_module: Option<&str>) -> FrameOwner {
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
        owner(&BlameInput { function: Some(function), module: None, file: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::aggregate::goroutines::tests::frame as go;
    use crate::section::frame::Address;

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
    fn what_stands_for_a_goroutine() {
        let stands = |functions: &[&str]| {
            let frames: Vec<GoFrame> = functions.iter().map(|function| go(function, 1)).collect();
            blame_goroutine(&frames, None)
        };
        let keep_alive = [
            "runtime.gopark",
            "internal/poll.(*FD).Read",
            "bufio.(*Reader).Peek",
            "net/http.(*conn).serve",
            "runtime.goexit",
        ];
        assert_eq!(stands(&keep_alive), Some(3));
        assert_eq!(stands(&["runtime.gopark", "shop/cart.Add", "net/http.(*conn).serve"]), Some(1));
        assert_eq!(stands(&["runtime.gopark", "runtime.goexit"]), Some(0));
        assert_eq!(stands(&[]), None);
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let unknown = GoFrame { function: "".into(), file: "".into(), line: 0, ..go("", 0) };
        let code = GoCode {
            file: Some("/srv/bin/shop"),
            build_id: Some("beef"),
            bias: 0x40_0000,
            text: (0x46_0000, 0x46_1000),
            main_module: None,
        };
        let frame = frame(&unknown, code);
        assert_eq!((&frame.function, &frame.file, frame.line), (&None, &None, None));
        assert!(frame.why_unknown.is_some());
        let place = |frame: &Frame| (frame.module.clone(), frame.build_id.clone(), frame.offset);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(place(&frame), (text("/srv/bin/shop"), text("beef"), Some(Address(0x6_0000))));
        // Code of a plugin, or of C.
        let elsewhere = super::frame(&go("main.f", 0x2000), code);
        assert_eq!(place(&elsewhere), (None, None, None));
    }
}
