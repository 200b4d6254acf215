//! Code that is never to blame in C, C++ and Rust programs: allocators, C libraries, compilers' runtimes and
//! widely used frameworks, with where the names are from.

use crate::symbol::{BlameRules, CodeTable};

/// All of it.
pub(super) const RULES: BlameRules = BlameRules {
    allocators: CodeTable {
        names: ALLOCATOR_NAMES,
        prefixes: ALLOCATOR_PREFIXES,
        modules: ALLOCATOR_MODULES,
        ..CodeTable::NONE
    },
    runtime: CodeTable {
        names: RUNTIME_NAMES,
        prefixes: RUNTIME_PREFIXES,
        modules: RUNTIME_MODULES,
        sources: RUNTIME_SOURCES,
    },
    frameworks: CodeTable { prefixes: FRAMEWORK_PREFIXES, modules: FRAMEWORK_MODULES, ..CodeTable::NONE },
    rust_crates: RUST_RUNTIME_CRATES,
    ..BlameRules::NONE
};

/// Functions that hand out memory, besides those of the allocators in [`crate::probe::allocators`], whatever module they are in (allocators are linked statically,
/// and programs wrap them).
const ALLOCATOR_NAMES: &[&str] = &[
    // C11, POSIX and glibc: malloc(3), posix_memalign(3), strdup(3), asprintf(3), mmap(2).
    "malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "posix_memalign",
    "valloc", "pvalloc", "strdup", "strndup", "wcsdup", "asprintf", "vasprintf", "mmap", "mmap64",
    "mremap", "brk", "sbrk",
    // Rust library/alloc/src/alloc.rs and the shims that rustc generates.
    "__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc", "__rust_dealloc", "__rdl_alloc",
    "__rdl_alloc_zeroed", "__rdl_realloc", "__rg_alloc", "__rg_alloc_zeroed", "__rg_realloc",
    // GNU libiberty and gnulib: xmalloc and its kind.
    "xmalloc", "xcalloc", "xrealloc", "xstrdup", "xstrndup", "xzalloc", "xnmalloc", "xmemdup",
    "xmallocarray", "xreallocarray", "ximalloc", "xicalloc", "xirealloc", "x2realloc", "x2nrealloc",
    "xpalloc", "xasprintf", "xvasprintf", "emalloc", "ecalloc", "erealloc", "estrdup", "safe_malloc",
    "safe_calloc", "safe_realloc", "kmalloc", "kzalloc", "kvmalloc", "ckalloc", "my_malloc",
    "my_realloc", "my_strdup",
    // Redis and Valkey: src/zmalloc.c, src/sds.c.
    "zmalloc", "zcalloc", "zcalloc_num", "zrealloc", "zstrdup", "zfree", "zmalloc_usable",
    "zcalloc_usable", "zrealloc_usable", "ztrymalloc", "ztrycalloc", "ztryrealloc", "ztrymalloc_usable",
    "ztrycalloc_usable", "ztryrealloc_usable", "ztrymalloc_usable_internal",
    "ztrycalloc_usable_internal", "zmalloc_no_tcache", "ztryrealloc_usable_internal", "valkey_malloc",
    "valkey_calloc", "valkey_realloc", "sdsnew", "sdsnewlen", "_sdsnewlen", "sdstrynewlen", "sdsempty",
    "sdsdup", "sdsMakeRoomFor", "_sdsMakeRoomFor", "sdsMakeRoomForNonGreedy", "sdsgrowzero", "sdscat",
    "sdscatlen", "sdscatsds", "sdscatfmt", "sdscatprintf", "sdscatvprintf", "sdscpy", "sdscpylen",
    "sdsfromlonglong", "sdsRemoveFreeSpace", "sdsResize", "hi_malloc", "hi_calloc", "hi_realloc",
    "hi_strdup",
    // nginx: src/os/unix/ngx_alloc.c, src/core/ngx_palloc.c, ngx_buf.c, ngx_array.c, ngx_list.c.
    "ngx_alloc", "ngx_calloc", "ngx_memalign", "ngx_create_pool", "ngx_palloc", "ngx_pnalloc",
    "ngx_pcalloc", "ngx_pmemalign", "ngx_palloc_large", "ngx_palloc_small", "ngx_palloc_block",
    "ngx_prealloc", "ngx_pstrdup", "ngx_create_temp_buf", "ngx_alloc_chain_link",
    "ngx_create_chain_of_bufs", "ngx_array_create", "ngx_array_push", "ngx_array_push_n",
    "ngx_list_create", "ngx_list_push", "ngx_slab_alloc", "ngx_slab_alloc_locked", "ngx_slab_calloc",
    // APR: memory/unix/apr_pools.c, strings/apr_strings.c, tables/apr_tables.c.
    "apr_palloc", "apr_pcalloc", "apr_palloc_debug", "apr_pcalloc_debug", "apr_pstrdup", "apr_pstrndup",
    "apr_pstrmemdup", "apr_pstrcat", "apr_psprintf", "apr_pvsprintf", "apr_pmemdup",
    "apr_allocator_alloc", "allocator_alloc", "apr_pool_create_ex", "apr_array_make", "apr_array_push",
    "apr_table_make", "apr_bucket_alloc",
    // GLib: glib/gmem.c, gslice.c, gstrfuncs.c.
    "g_malloc", "g_malloc0", "g_malloc_n", "g_malloc0_n", "g_realloc", "g_realloc_n", "g_try_malloc",
    "g_try_malloc0", "g_try_malloc_n", "g_try_malloc0_n", "g_try_realloc", "g_try_realloc_n",
    "g_aligned_alloc", "g_aligned_alloc0", "g_slice_alloc", "g_slice_alloc0", "g_slice_copy",
    "g_strdup", "g_strndup", "g_strdup_printf", "g_strdup_vprintf", "g_strconcat", "g_memdup",
    "g_memdup2", "g_vasprintf", "g_new", "g_new0",
    // OpenSSL: crypto/mem.c, crypto/o_str.c; BoringSSL and LibreSSL alike.
    "CRYPTO_malloc", "CRYPTO_zalloc", "CRYPTO_realloc", "CRYPTO_clear_realloc", "CRYPTO_strdup",
    "CRYPTO_strndup", "CRYPTO_memdup", "CRYPTO_secure_malloc", "CRYPTO_secure_zalloc",
    "CRYPTO_aligned_alloc", "CRYPTO_malloc_array", "CRYPTO_calloc", "OPENSSL_malloc", "OPENSSL_zalloc",
    "OPENSSL_realloc", "OPENSSL_strdup", "OPENSSL_memdup",
    // SQLite: src/malloc.c, src/mem1.c, src/pcache1.c.
    "sqlite3MemMalloc", "sqlite3MemRealloc", "sqlite3Malloc", "sqlite3MallocZero", "sqlite3_malloc",
    "sqlite3_malloc64", "mallocWithAlarm", "sqlite3Realloc", "sqlite3_realloc", "sqlite3_realloc64",
    "sqlite3DbMallocRaw", "sqlite3DbMallocRawNN", "sqlite3DbMallocZero", "sqlite3DbRealloc",
    "sqlite3DbStrDup", "sqlite3DbStrNDup", "sqlite3PageMalloc", "pcache1Alloc", "dbMallocRawFinish",
    "dbReallocFinish",
    // PostgreSQL: src/backend/utils/mmgr.
    "palloc", "palloc0", "palloc_extended", "repalloc", "repalloc0", "pstrdup", "pnstrdup", "psprintf",
    "MemoryContextAlloc", "MemoryContextAllocZero", "MemoryContextAllocZeroAligned",
    "MemoryContextAllocExtended", "MemoryContextAllocHuge", "MemoryContextStrdup", "AllocSetAlloc",
    "AllocSetAllocLarge", "AllocSetAllocFromNewBlock", "AllocSetRealloc",
    "AllocSetContextCreateInternal", "GenerationAlloc", "SlabAlloc", "BumpAlloc", "pg_malloc",
    "pg_malloc0", "pg_realloc", "pg_strdup",
    // MySQL: mysys/my_malloc.cc. PHP: Zend/zend_alloc.c.
    "my_raw_malloc", "my_internal_malloc", "my_multi_malloc", "_emalloc", "_ecalloc", "_erealloc",
    "_estrdup", "_safe_malloc", "_safe_emalloc", "__zend_malloc", "__zend_calloc", "__zend_realloc",
    "zend_mm_chunk_alloc", "zend_mm_alloc_huge",
    // FFmpeg libavutil/mem.c, SDL, libuv src/uv-common.c, libxml2 xmlmemory.c, libcurl.
    "av_malloc", "av_mallocz", "av_calloc", "av_realloc", "av_realloc_f", "av_strdup",
    "av_malloc_array", "av_mallocz_array", "av_realloc_array", "av_fast_malloc", "av_memdup",
    "SDL_malloc", "SDL_calloc", "SDL_realloc", "SDL_strdup", "uv__malloc", "uv__calloc", "uv__realloc",
    "uv__strdup", "xmlMemMalloc", "xmlMallocLoc", "xmlStrdup", "xmlStrndup", "Curl_memdup",
    "curl_dbg_malloc",
    // Lua lauxlib.c, lmem.c; Perl util.c; Ruby gc.c; Tcl.
    "l_alloc", "luaM_realloc_", "luaM_malloc_", "luaM_growaux_", "luaM_saferealloc_",
    "Perl_safesysmalloc", "Perl_safesyscalloc", "Perl_safesysrealloc", "Perl_savepv", "Perl_savepvn",
    "ruby_xmalloc", "ruby_xcalloc", "ruby_xrealloc", "ruby_xmalloc2", "ruby_xrealloc2",
    "objspace_xmalloc0", "objspace_xcalloc", "objspace_xrealloc", "Tcl_Alloc", "TclpAlloc",
];

/// Beginnings of the names of functions that hand out memory, likewise.
const ALLOCATOR_PREFIXES: &[&str] = &[
    // C++: [new.delete]; libstdc++ bits/new_allocator.h, bits/alloc_traits.h, bits/allocator.h;
    // libc++ __memory/allocator.h.
    "operator new", "operator delete", "__gnu_cxx::new_allocator<", "std::__new_allocator<",
    "std::allocator_traits<", "std::allocator<", "__gnu_cxx::__alloc_traits<",
    "__gnu_cxx::malloc_allocator<", "std::__1::allocator<", "std::__1::allocator_traits<",
    "std::__1::__libcpp_allocate", "std::__1::__libcpp_operator_new", "std::pmr::",
    "std::__detail::_Hashtable_alloc<", "std::__allocate_guarded", "std::get_temporary_buffer<",
    // snmalloc, rpmalloc, the sanitizers.
    "snmalloc::", "rpmalloc", "rpcalloc", "rprealloc", "rpaligned", "__interceptor_", "___interceptor_",
    "__asan::", "__sanitizer::",
    // Rust: library/alloc/src/alloc.rs, library/std/src/{alloc,sys/alloc}, raw_vec; and crates that
    // are allocators.
    "alloc::alloc::", "alloc::raw_vec::", "<alloc::alloc::Global as ", "<alloc::raw_vec::RawVec",
    "<std::alloc::System as ", "std::alloc::", "std::sys::alloc::", "std::sys::pal::unix::alloc::",
    "std::sys::unix::alloc::", "__rustc::__r", "bumpalo::", "allocator_api2::",
];

/// Modules that are allocators, likewise.
const ALLOCATOR_MODULES: &[&str] = &[
    "libsnmallocshim", "librpmalloc", "libhoard", "libasan", "libtsan", "libmsan", "liblsan",
];

/// First segments of the paths of Rust's own crates, and of those that std is built from
/// (library/std/Cargo.toml).
const RUST_RUNTIME_CRATES: &[&str] = &[
    "core", "alloc", "std", "hashbrown", "compiler_builtins", "std_detect", "panic_unwind",
    "proc_macro", "__rustc", "memchr",
];

/// Functions of the runtime that a program holds itself, and of libc where it is linked statically.
const RUNTIME_NAMES: &[&str] = &[
    // Start-up: glibc sysdeps/x86_64/start.S, csu/libc-start.c, nptl; musl crt.
    "_start", "_start_c", "__libc_start_main", "__libc_start_main_impl", "__libc_start_call_main",
    "__libc_start_main_stage2", "libc_start_main_stage2", "__libc_csu_init", "_init", "_fini",
    "call_init", "_dl_init", "_dl_start_user", "_dl_runtime_resolve", "start_thread", "__clone",
    "clone3", "__clone3", "__clone_internal", "pthread_create", "pthread_once", "__pthread_once_slow",
    "pthread_mutex_lock", "pthread_cond_wait", "__restore_rt", "frame_dummy", "__libc_csu_fini",
    // stdio, strings and directories that allocate on their caller's behalf.
    "fopen", "fopen64", "fdopen", "__fopen_internal", "_IO_file_doallocate", "_IO_doallocbuf",
    "_IO_file_overflow", "_IO_file_underflow", "_IO_file_xsputn", "_IO_setb", "getline", "getdelim",
    "_IO_getline", "getcwd", "realpath", "opendir", "fdopendir", "scandir", "setlocale",
    "open_memstream", "getaddrinfo", "qsort", "qsort_r", "tsearch", "regcomp", "setenv", "putenv",
    "vfprintf", "fprintf", "printf", "puts", "vsnprintf", "fwrite", "fputs", "dprintf", "vdprintf",
    "__vfprintf_internal", "__vdprintf_internal", "__vsnprintf_internal", "__vasprintf_internal",
    "__getdelim", "__opendir", "__opendirat", "__alloc_dir",
    // Unwinding: libgcc unwind-dw2.c.
    "_Unwind_RaiseException", "_Unwind_Resume", "_Unwind_Backtrace",
    // Rust: library/std/src/rt.rs, library/panic_unwind.
    "rust_begin_unwind", "__rust_begin_short_backtrace", "__rust_try", "rust_panic",
    "__rust_start_panic", "rust_eh_personality",
    // libffi: src/x86.
    "ffi_call", "ffi_call_int", "ffi_call_unix64",
];

/// Beginnings of the paths of runtime functions.
const RUNTIME_PREFIXES: &[&str] = &[
    // glibc where it is linked statically: libio, elf, nptl, locale, iconv, nss.
    "_IO_", "_dl_", "_nl_", "__libc_", "__pthread_", "__nptl_", "__gconv", "__nss_",
    // libstdc++, libc++, libsupc++; the Itanium C++ ABI's helpers.
    "std::", "__gnu_cxx::", "__gnu_debug::", "__cxxabiv1::", "__cxa_", "__gnu_internal::", "__pstl::",
    "__gnu_parallel::",
];

/// Modules that are a language's runtime.
const RUNTIME_MODULES: &[&str] = &[
    // glibc, musl.
    "libc", "libm", "libpthread", "libdl", "librt", "libresolv", "libanl", "libutil", "libnss_files",
    "libnss_dns", "ld-linux-x86-64", "ld", "ld-musl-x86_64", "libc.musl-x86_64",
    // GCC and LLVM.
    "libstdc++", "libc++", "libc++abi", "libgcc_s", "libgomp", "libomp", "libatomic", "libunwind",
    "libunwind-x86_64", "libitm", "libubsan", "libgfortran", "libquadmath",
    // Rust's shared std has a hash in its name: names tell.
    "libffi",
    // The kernel's.
    "[vdso]", "[vsyscall]", "[uprobes]",
];

/// Parts of the names of source files that belong to a runtime.
const RUNTIME_SOURCES: &[&str] = &[

    // Node: its own JavaScript (lib/internal/bootstrap/realm.js names it so), where the target tells names of run-time code.
    "^node:",
    // Rust: std is built with --remap-path-prefix.
    "/rustc/", "/rust/deps/", "/rustlib/src/rust/library/",
    // libstdc++ and libc++ headers and sources.
    "/include/c++/", "/libstdc++-v3/", "/libcxx/",
    // libgcc.
    "/libgcc/",
];

/// Beginnings of the paths of layers that run the user's code or hold its data.
const FRAMEWORK_PREFIXES: &[&str] = &[
    // Rust: executors, servers and their plumbing, from crates.io by downloads.
    "tokio::", "<tokio::", "tokio_util::", "<tokio_util::", "async_std::", "<async_std::", "smol::",
    "async_executor::", "async_task::", "futures::", "<futures::", "futures_util::", "<futures_util::",
    "futures_core::", "<futures_core::", "rayon::", "<rayon::", "rayon_core::", "<rayon_core::",
    "crossbeam", "<crossbeam", "parking_lot", "<parking_lot", "hyper::", "<hyper::", "hyper_util::",
    "<hyper_util::", "h2::", "<h2::", "tower::", "<tower::", "tower_http::", "<tower_http::",
    "tower_service::", "<tower_service::", "axum::", "<axum::", "axum_core::", "<axum_core::", "actix_",
    "<actix_", "tonic::", "<tonic::", "warp::", "<warp::", "mio::", "<mio::", "tracing::", "<tracing::",
    "tracing_core::", "<tracing_core::", "bytes::", "<bytes::", "serde::", "<serde::", "serde_core::",
    "<serde_core::", "serde_json::", "<serde_json::", "smallvec::", "<smallvec::", "indexmap::",
    "<indexmap::", "once_cell::", "<once_cell::", "lazy_static::", "pyo3::", "<pyo3::", "pyo3_ffi::",
    // C++: Boost, Abseil, Folly, gRPC, Protocol Buffers, oneTBB, Qt, fmt, spdlog, Eigen.
    "boost::", "absl::", "folly::", "grpc::", "grpc_core::", "google::protobuf::", "tbb::", "fmt::",
    "spdlog::", "Eigen::", "QArrayData::", "QString::", "QList<", "QMetaObject::", "QCoreApplication::",
    "QtPrivate::", "testing::internal::", "pybind11::", "nlohmann::",
    // C: libevent, libev, gRPC core.
    "event_base_", "evbuffer_", "bufferevent_", "ev_run", "ev_invoke", "grpc_",
];

/// Modules that are such layers.
const FRAMEWORK_MODULES: &[&str] = &[
    "libglib", "libgobject", "libgio", "libgthread", "libapr", "libaprutil", "libuv", "libevent",
    "libevent_core", "libev", "libssl", "libcrypto", "libsqlite3", "libgrpc", "libgrpc++",
    // Interpreters and virtual machines without a runtime of their own here: what they run is the user's, but
    // has no frames of its own.
    "deno", "bun", "ruby", "libruby", "perl", "libperl", "php", "php-fpm", "libphp", "lua", "luajit",
    "liblua", "libluajit", "libmonosgen", "libmono", "guile", "libguile",
    "libprotobuf", "libtbb", "libtbbmalloc", "libQt5Core", "libQt6Core", "libfolly", "libz", "libzstd",
    "liblzma",
];
