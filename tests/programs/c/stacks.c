// Stacks that are hard to unwind. Every site must still reach the root, except where it is too deep.
#define _GNU_SOURCE
#include "fixture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

SITE(site_deep, malloc(size))
SITE(site_handler, malloc(size))
SITE(site_compared, malloc(size))
SITE(site_plain, malloc(size))
SITE(site_sized_frame, malloc(size))
SITE(site_strdup, strdup("fifteen letters"))
SITE(site_huge, malloc(size))

static FRAME void *dive(int depth, size_t size) {
    void *block = depth ? dive(depth - 1, size) : site_deep(size);
    return keep(block);
}

static void deep100(void) { keep(dive(100, 48)); }
static void deep200(void) { keep(dive(200, 48)); }

static void on_signal(int number) {
    (void)number;
    keep(site_handler(72));
}

static FRAME void interrupted(void) {
    raise(SIGUSR1);
    keep(NULL);
}

static void in_signal_handler(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    // Not unrolled: all come from one call.
    for (size_t i = opaque(7); i; i--) interrupted();
}

static void on_signal_elsewhere(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    on_signal(number);
}

static FRAME void *interrupted_thread(void *unused) {
    interrupted();
    return keep(unused);
}

// On an alternate stack, in a thread.
static FRAME void *with_alternate_stack(void *unused) {
    static char stack[64 * 1024];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    EXPECT(sigaltstack(&alternate, NULL) == 0);
    return keep(interrupted_thread(unused));
}

static void in_signal_handler_of_thread(void) {
    struct sigaction action = {.sa_sigaction = on_signal_elsewhere, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, with_alternate_stack, NULL) == 0);
    pthread_join(thread, NULL);
}

static FRAME int compare(const void *a, const void *b) {
    keep(site_compared(8));
    return *(const int *)a - *(const int *)b;
}

// A frame of libc between two of ours.
static void through_libc(void) {
    int numbers[] = {2, 1};
    qsort(numbers, 2, sizeof *numbers, compare);
}

// A frame whose size is only known at run time: its CFA hangs on rbp.
static FRAME void *sized_frame(size_t size) {
    char *room = __builtin_alloca(opaque(size));
    keep(room);
    return keep(site_sized_frame(24));
}

static void plt(void) {
    for (size_t size = 100; size < 3000; size += 1000) sized_frame(size);
    for (int i = 0; i < 3; i++) keep(site_plain(16));
    // Two calls through PLTs: ours, and libc's own.
    for (int i = 0; i < 3; i++) keep(site_strdup(16));
}

static FRAME void sleep_a_moment(void) {
    struct timespec moment = {0, 2 * 1000 * 1000};
    nanosleep(&moment, NULL);
    keep(NULL);
}

// Ordinary buffers, but large ones.
#define HUGE_FRAME(NAME, BYTES)                                                                    \
    static FRAME void *NAME(void) {                                                                \
        char room[BYTES];                                                                          \
        keep(room);                                                                                \
        sleep_a_moment();                                                                          \
        void *block = keep(site_huge(56));                                                         \
        keep(room);                                                                                \
        return block;                                                                              \
    }
HUGE_FRAME(frame_of_600_kib, 600 << 10)
HUGE_FRAME(frame_of_4_mib, 4 << 20)
HUGE_FRAME(frame_of_64_mib, 64 << 20)

static FRAME void *on_a_large_stack(void *unused) {
    (void)unused;
    return keep(frame_of_64_mib());
}

static void huge_frames(void) {
    for (size_t i = opaque(5); i; i--) {
        keep(frame_of_600_kib());
        keep(frame_of_4_mib());
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstacksize(&attributes, 80 << 20) == 0);
    pthread_t thread;
    EXPECT(pthread_create(&thread, &attributes, on_a_large_stack, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
}

// Loaded after `go`. The first calls may come before the rows of the new mapping do; there is
// nothing here that could be waited for instead, so the rest comes half a second later.
static void plugin(void) {
    static struct site truth = {.name = "plugin_keep"};
    const char *path = getenv("FIXTURE_PLUGIN");
    EXPECT(path);
    void *library = dlopen(path, RTLD_NOW);
    EXPECT(library);
    void (*work)(int) = (void (*)(int))dlsym(library, "plugin_work");
    EXPECT(work);
    work(0);
    struct timespec settle = {0, 500 * 1000 * 1000};
    nanosleep(&settle, NULL);
    work(1);
    for (int i = 0; i < 50; i++) site_alloc(&truth, 160);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"deep100", deep100, 0, TOTAL},
        {"deep200", deep200, 0, TOTAL},
        {"signal", in_signal_handler, 0, TOTAL},
        {"signal-in-thread", in_signal_handler_of_thread},
        {"through-libc", through_libc, 0, TOTAL},
        {"plt", plt, 0, TOTAL},
        {"huge-frames", huge_frames},
        {"dlopen", plugin},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
