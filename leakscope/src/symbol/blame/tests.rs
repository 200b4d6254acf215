//! Realistic stacks, innermost frame first, as `function @ module`.

use super::*;
use crate::runtime::rules;

fn blamed<'a>(stack: &[&'a str]) -> Option<&'a str> {
    let frames: Vec<BlameInput<'a>> = stack
        .iter()
        .map(|text| {
            let (function, module) = text.split_once(" @ ").unwrap_or((text, "/srv/app"));
            BlameInput {
                function: (function != "?").then_some(function),
                module: Some(module),
                ..BlameInput::default()
            }
        })
        .collect();
    rules().owners.blame(&frames).map(|index| stack[index])
}

#[track_caller]
fn check(expected: &str, stack: &[&str]) {
    assert_eq!(blamed(stack), Some(expected));
}

#[test]
fn c_wrappers() {
    check(
        "load_config",
        &[
            "malloc @ /lib/x86_64-linux-gnu/libc.so.6",
            "xmalloc",
            "xstrdup.part.0",
            "load_config",
            "main",
            "__libc_start_call_main @ /lib/x86_64-linux-gnu/libc.so.6",
            "_start",
        ],
    );
    check("read_all", &["realloc @ libc-2.31.so", "getdelim @ libc-2.31.so", "read_all", "main"]);
    check("main", &["malloc", "main", "__libc_start_main", "_start"]);
}

#[test]
fn cpp_containers() {
    check(
        "app::Cache::insert(int)",
        &[
            "malloc @ /lib/x86_64-linux-gnu/libc.so.6",
            "operator new(unsigned long) @ /usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
            "std::__new_allocator<int>::allocate(unsigned long, void const*)",
            "std::allocator_traits<std::allocator<int> >::allocate(std::allocator<int>&, unsigned long)",
            "std::_Vector_base<int, std::allocator<int> >::_M_allocate(unsigned long)",
            "void std::vector<int>::_M_realloc_insert<int const&>",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
            "app::Cache::insert(int)",
            "main",
        ]
        .map(|name| name.trim_start_matches("void ")),
    );
    check(
        "Widget::Widget()",
        &["je_malloc", "operator new(unsigned long)", "std::make_unique<Widget>()", "Widget::Widget()"],
    );
    check(
        "non-virtual thunk to app::Sink::run()",
        &[
            "operator new(unsigned long)",
            "non-virtual thunk to std::ostream::~ostream()",
            "non-virtual thunk to app::Sink::run()",
        ],
    );
}

#[test]
fn rust_boxes_and_vectors() {
    check(
        "myapp::store::Store::put",
        &[
            "malloc @ /lib/x86_64-linux-gnu/libc.so.6",
            "__rust_alloc",
            "alloc::alloc::Global::alloc_impl",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "alloc::raw_vec::RawVecInner<A>::try_allocate_in",
            "alloc::raw_vec::RawVec<T,A>::reserve::do_reserve_and_handle",
            "<alloc::vec::Vec<T,A> as alloc::vec::spec_extend::SpecExtend<T,I>>::spec_extend",
            "alloc::vec::Vec<T,A>::extend_desugared",
            "core::ops::function::FnOnce::call_once",
            "<&mut F as core::ops::function::FnOnce<A>>::call_once",
            "<T as alloc::slice::<impl [T]>::to_vec_in::ConvertVec>::to_vec",
            "hashbrown::raw::RawTable<T,A>::reserve_rehash",
            "myapp::store::Store::put",
            "std::rt::lang_start::{{closure}}",
            "main",
        ],
    );
    check(
        "<myapp::Key as core::clone::Clone>::clone",
        &[
            "__rdl_alloc",
            "alloc::alloc::exchange_malloc",
            "alloc::boxed::Box<T>::new",
            "<myapp::Key as core::clone::Clone>::clone",
        ],
    );
    check(
        "myapp::worker",
        &[
            "__rust_alloc",
            "<alloc::vec::Vec<myapp::Job>>::push",
            "<tokio::runtime::task::core::Core<T,S>>::poll",
            "myapp::worker",
            "std::sys::backtrace::__rust_begin_short_backtrace",
        ],
    );
    check(
        "myapp::main",
        &[
            "__rust_alloc",
            "<(A, B) as core::default::Default>::default",
            "<fn(u8) -> alloc::string::String as core::ops::function::Fn<(u8,)>>::call",
            "<dyn core::ops::function::Fn() as core::ops::function::Fn<()>>::call",
            "myapp::main",
        ],
    );
}

#[test]
fn inlined_runtime_is_known_by_its_source() {
    let frames = [
        BlameInput {
            function: Some("new<app::Thing>"),
            file: Some("/rustc/59807616e/library/alloc/src/boxed.rs"),
            module: Some("/srv/app"),
            ..BlameInput::default()
        },
        BlameInput {
            function: Some("make"),
            file: Some("/home/u/src/main.rs"),
            module: Some("/srv/app"),
            ..BlameInput::default()
        },
    ];
    assert_eq!(rules().owners.blame(&frames), Some(1));
}

#[test]
fn redis() {
    check(
        "createStringObject @ /usr/bin/redis-server",
        &[
            "je_malloc @ /usr/bin/redis-server",
            "ztrymalloc_usable_internal @ /usr/bin/redis-server",
            "zmalloc @ /usr/bin/redis-server",
            "createStringObject @ /usr/bin/redis-server",
            "setCommand @ /usr/bin/redis-server",
        ],
    );
    check(
        "processInlineBuffer",
        &["malloc @ libc.so.6", "zmalloc_usable", "_sdsnewlen", "sdsnewlen", "processInlineBuffer", "main"],
    );
}

#[test]
fn nginx_and_apr() {
    check(
        "ngx_http_create_request",
        &["posix_memalign @ libc.so.6", "ngx_memalign", "ngx_create_pool", "ngx_http_create_request"],
    );
    check(
        "ngx_http_upstream_init",
        &["malloc", "ngx_alloc", "ngx_palloc_large", "ngx_pcalloc", "ngx_http_upstream_init"],
    );
    check(
        "mod_leaky_handler @ /usr/lib/apache2/modules/mod_leaky.so",
        &[
            "malloc @ libc.so.6",
            "allocator_alloc @ /usr/lib/x86_64-linux-gnu/libapr-1.so.0.7.2",
            "apr_palloc @ /usr/lib/x86_64-linux-gnu/libapr-1.so.0.7.2",
            "mod_leaky_handler @ /usr/lib/apache2/modules/mod_leaky.so",
        ],
    );
}

#[test]
fn python_with_ctypes() {
    check(
        "leak_it @ /srv/libleaky.so",
        &[
            "malloc @ libc.so.6",
            "leak_it @ /srv/libleaky.so",
            "? @ /usr/lib/x86_64-linux-gnu/libffi.so.8.1.2",
            "ffi_call @ /usr/lib/x86_64-linux-gnu/libffi.so.8.1.2",
            "_call_function_pointer @ /usr/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so",
            "_PyEval_EvalFrameDefault @ /usr/bin/python3.11",
        ],
    );
    // Pure Python: everything is the interpreter's; the first function that is no allocator.
    check(
        "list_resize @ /usr/lib/libpython3.11.so.1.0",
        &[
            "malloc @ libc.so.6",
            "_PyMem_RawMalloc @ /usr/lib/libpython3.11.so.1.0",
            "PyObject_Malloc @ /usr/lib/libpython3.11.so.1.0",
            "list_resize @ /usr/lib/libpython3.11.so.1.0",
            "_PyEval_EvalFrameDefault @ /usr/lib/libpython3.11.so.1.0",
        ],
    );
    check(
        "array_new @ /srv/_fast.cpython-311-x86_64-linux-gnu.so",
        &[
            "malloc @ libc.so.6",
            "array_new @ /srv/_fast.cpython-311-x86_64-linux-gnu.so",
            "cfunction_call @ python3.11",
        ],
    );
}

#[test]
fn node_and_go() {
    check(
        "addon::Make(v8::FunctionCallbackInfo<v8::Value> const&) @ /srv/addon.node",
        &[
            "malloc @ libc.so.6",
            "operator new(unsigned long) @ /usr/bin/node",
            "node::Buffer::New(v8::Isolate*, unsigned long) @ /usr/bin/node",
            "addon::Make(v8::FunctionCallbackInfo<v8::Value> const&) @ /srv/addon.node",
            "v8::internal::Builtin_HandleApiCall(int, unsigned long*, v8::internal::Isolate*) @ /usr/bin/node",
        ],
    );
    check(
        "main.(*server).handle",
        &[
            "runtime.mallocgc",
            "runtime.growslice",
            "bytes.(*Buffer).grow",
            "main.(*server).handle",
            "net/http.(*conn).serve",
            "runtime.goexit",
        ],
    );
    check("example.com/app/store.Put", &["runtime.newobject", "example.com/app/store.Put", "runtime.goexit"]);
}

/// What cgo makes of `C.CString(name)`.
#[test]
fn code_that_cgo_made() {
    let frame = |function, file| BlameInput { function: Some(function), file, ..BlameInput::default() };
    let stack = [
        frame("malloc", None),
        frame("_cgo_42d040ba841c_Cfunc__Cmalloc", Some("/tmp/b001/_cgo_export.c")),
        frame("runtime.asmcgocall", None),
        frame("runtime.cgocall", None),
        frame("main._cgo_cmalloc", Some("_cgo_gotypes.go")),
        frame("main._Cfunc_CString", Some("_cgo_gotypes.go")),
        frame("main.SendName", Some("/srv/main.go")),
    ];
    assert_eq!(rules().owners.blame(&stack), Some(6));
}

#[test]
fn code_made_at_run_time() {
    let frame = |function| BlameInput { function, module: Some("/usr/bin/node"), ..BlameInput::default() };
    let stack = [
        frame(Some("malloc")),
        frame(Some("node::Buffer::New(v8::Isolate*, unsigned long)")),
        frame(Some("node::Buffer::CreateUnsafeArrayBuffer(int)")),
        frame(Some("Builtins_CallApiCallback")),
        BlameInput::default(),
        frame(Some("Builtins_JSEntry")),
        frame(Some("main")),
    ];
    assert_eq!(rules().owners.blame(&stack), Some(2), "what it called");
    let mut by_api = stack;
    by_api[3].function =
        Some("v8::internal::Builtin_HandleApiCall(int, unsigned long*, v8::internal::Isolate*)");
    assert_eq!(rules().owners.blame(&by_api), Some(2), "what it called");
    let mut named = stack;
    named[4].function = Some("Cache.insert");
    assert_eq!(rules().owners.blame(&named), Some(4), "somebody wrote a map of it");
    assert_eq!(rules().owners.blame(&[stack[0], stack[4], stack[6]]), Some(1), "nothing else has a name");
}

#[test]
fn frames_without_names_count_by_module() {
    check("? @ /srv/libclosed.so", &["malloc @ libc.so.6", "? @ libc.so.6", "? @ /srv/libclosed.so", "main"]);
    check("? @ [anonymous]", &["malloc @ libc.so.6", "? @ [anonymous]"]);
    assert_eq!(rules().owners.blame(&[BlameInput::default()]), Some(0));
}

#[test]
fn fallbacks() {
    check(
        "tokio::runtime::Builder::build",
        &["__rust_alloc", "std::thread::spawn", "tokio::runtime::Builder::build", "std::rt::lang_start"],
    );
    check("fopen @ libc.so.6", &["malloc @ libc.so.6", "fopen @ libc.so.6", "clone3 @ libc.so.6"]);
    check("zmalloc", &["malloc", "zmalloc"]);
    assert_eq!(rules().owners.blame(&[]), None);
}

#[test]
fn modules_match_with_versions_only() {
    for (name, module) in [
        ("libc.so.6", "libc"),
        ("libc-2.31.so", "libc"),
        ("python3.11", "python"),
        ("libstdc++.so.6.0.30", "libstdc++"),
        ("ld-linux-x86-64.so.2", "ld-linux-x86-64"),
        ("libpython3.11.so.1.0", "libpython"),
        ("libglib-2.0.so.0.7400.6", "libglib"),
    ] {
        assert!(is_module(name, module), "{name}");
    }
    for (name, module) in [
        ("libcurl.so.4", "libc"),
        ("libcrypto.so.3", "libc"),
        ("python-agent", "python"),
        ("nodectl", "node"),
        ("libmy.so", "libm"),
        ("ldap", "ld"),
    ] {
        assert!(!is_module(name, module), "{name}");
    }
}

#[test]
fn any_text_is_safe() {
    for name in [
        "",
        "<",
        "<>",
        "<<",
        "< as ",
        "<a as ",
        "<é as core::x",
        ".",
        "@",
        "<&mut ",
        "<(->>) as core::",
        "operator",
    ] {
        let frame = BlameInput {
            function: Some(name),
            module: Some(name),
            file: Some(name),
            ..BlameInput::default()
        };
        assert!(rules().owners.blame(&[frame]).is_some());
    }
}

#[test]
fn a_class_with_operators_and_allocators_of_its_own() {
    check(
        "app::leak_nodes()",
        &["malloc @ libc.so.6", "app::Node::operator new(unsigned long)", "app::leak_nodes()", "main"],
    );
    check(
        "app::load()",
        &[
            "malloc @ libc.so.6",
            "app::MyAlloc<int>::allocate(unsigned long)",
            "std::allocator_traits<app::MyAlloc<int> >::allocate(app::MyAlloc<int>&, unsigned long)",
            "std::vector<int, app::MyAlloc<int> >::_M_realloc_insert<int const&>(int const&)",
            "app::load()",
            "main",
        ],
    );
    // Its name tells nothing, but a container asks it.
    let arena = "app::Arena<int>::allocate(unsigned long)";
    let vector = "std::vector<int, app::Arena<int> >::reserve(unsigned long)";
    check("app::load()", &["malloc @ libc.so.6", arena, vector, "app::load()", "main"]);
    check(arena, &["malloc @ libc.so.6", arena, "app::load()", "main"]);
}

#[test]
fn rust_allocators_and_strings_for_c() {
    for callee in [
        "<app::Counting as core::alloc::global::GlobalAlloc>::alloc",
        "<&str as <alloc::ffi::c_str::CString>::new::SpecNewImpl>::spec_new_impl",
        "<&str as alloc::ffi::c_str::CString::new::SpecNewImpl>::spec_new_impl",
        "<T as alloc::ffi::c_str::CString::new::SpecNewImpl>::spec_new_impl",
        "alloc::ffi::c_str::CString::new::<&str>",
    ] {
        check("app::name_for_c", &["malloc @ libc.so.6", callee, "app::name_for_c", "app::main"]);
    }
}

#[test]
fn functions_that_are_probed_are_no_users() {
    let frame =
        |function, allocator| BlameInput { function: Some(function), allocator, ..BlameInput::default() };
    let blamed = |allocator| {
        rules().owners.blame(&[
            frame("app_get_memory", allocator),
            frame("leak", false),
            frame("main", false),
        ])
    };
    assert_eq!((blamed(true), blamed(false)), (Some(1), Some(0)));
}

/// By the rules of a program that lies at `exe`.
#[track_caller]
fn check_of(exe: &str, expected: &str, stack: &[&str]) {
    let frames: Vec<_> = stack.iter().map(|text| text.split_once(" @ ").expect("a module")).collect();
    let inputs = frames.iter().map(|&(function, module)| BlameInput {
        function: (function != "?").then_some(function),
        module: Some(module),
        ..BlameInput::default()
    });
    let charging = Charging::default().of(Some(std::path::Path::new(exe)));
    let blamed = rules().owners.charge(&inputs.collect::<Vec<_>>(), &charging);
    assert_eq!(blamed.map(|index| stack[index]), Some(expected), "{exe}");
}

#[test]
fn libraries_of_the_system_do_what_they_are_told() {
    let xml = "? @ /usr/lib/x86_64-linux-gnu/libxml2.so.2.9.14";
    let read = "xmlReadMemory @ /usr/lib/x86_64-linux-gnu/libxml2.so.2.9.14";
    let malloc = "malloc @ /usr/lib/x86_64-linux-gnu/libc.so.6";
    let start = "__libc_start_call_main @ /usr/lib/x86_64-linux-gnu/libc.so.6";
    check_of(
        "/srv/app",
        "leak_doc @ /srv/app",
        &[malloc, xml, read, "leak_doc @ /srv/app", "main @ /srv/app", start],
    );
    check_of("/srv/app", "? @ /srv/app", &[malloc, xml, read, "? @ /srv/app", "? @ /srv/app", start]);
    check_of(
        "/srv/app",
        "load @ /srv/libown.so",
        &[malloc, xml, "load @ /srv/libown.so", "main @ /srv/app", start],
    );
    // A program whose `main` alone is its own says nothing: its loop runs all there is.
    check_of("/srv/app", xml, &[malloc, xml, read, "main @ /srv/app", start]);
    check_of("/srv/app", xml, &[malloc, xml, read, "? @ /srv/app", start]);
    check_of("/srv/app", xml, &[malloc, xml, read, "app::main @ /srv/app", start]);
    // What the library calls is the program's.
    let callback = "on_element @ /srv/app";
    check_of("/srv/app", callback, &[malloc, callback, xml, "parse @ /srv/app", "main @ /srv/app", start]);
    check_of(
        "/srv/app",
        callback,
        &[malloc, xml, callback, read, "parse @ /srv/app", "main @ /srv/app", start],
    );
    // An interpreter's code is none of the user's.
    let python = "/usr/bin/python3.11";
    check_of(python, xml, &[malloc, xml, read, "_PyEval_EvalFrameDefault @ /usr/bin/python3.11", start]);
    // A thread of the library's own.
    check_of("/srv/app", xml, &[malloc, xml, "start_thread @ /usr/lib/x86_64-linux-gnu/libc.so.6"]);
}

#[test]
fn wrappers_that_are_named() {
    let named = Charging::new(regex::RegexSet::new(["^get_mem$", "Pool<.*>::get"]).expect("expressions"));
    let frame = |function| BlameInput { function: Some(function), ..BlameInput::default() };
    let blamed = |stack: &[&'static str]| {
        let frames: Vec<_> = stack.iter().map(|&function| frame(function)).collect();
        rules().owners.charge(&frames, &named).map(|index| stack[index])
    };
    assert_eq!(blamed(&["malloc", "get_mem.part.0", "load", "main"]), Some("load"));
    assert_eq!(blamed(&["malloc", "get_memory", "load", "main"]), Some("get_memory"));
    assert_eq!(blamed(&["malloc", "app::Pool<int>::get(int)", "load", "main"]), Some("load"));
    assert_eq!(blamed(&["malloc", "get_mem"]), Some("get_mem"), "nothing else is there");
    let frames = ["malloc", "get_mem", "load", "main"].map(frame);
    assert_eq!(rules().owners.charge_beyond(&frames, 2, &named), 3);
    assert_eq!(rules().owners.charge_beyond(&frames, 3, &named), 3);
    assert_eq!(rules().owners.charge_beyond(&frames, usize::MAX, &named), usize::MAX);
}
