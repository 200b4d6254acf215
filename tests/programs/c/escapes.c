// Calls of an allocator that never return. Linked against hook.c's malloc.
#define _GNU_SOURCE
#include "fixture.h"
#include "hook.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

SITE(site_shallow, malloc(size))
SITE(site_deep, malloc(size))
SITE(site_thread, malloc(size))
SITE(site_calloc, calloc(1, size))
SITE(site_lost, malloc(size))
SITE(site_handler, malloc(size))

static FRAME void *deeper(int depth, size_t size) {
    void *block = depth ? deeper(depth - 1, size) : site_deep(size);
    return keep(block);
}

static FRAME void *lost_at(int depth, size_t size) {
    void *block = depth ? lost_at(depth - 1, size) : site_lost(size);
    return keep(block);
}

static void allocate_everywhere(void) {
    for (int i = 0; i < 10; i++) {
        keep(site_shallow(40));
        keep(deeper(i * 5, 60));
        free(keep(malloc(100)));
    }
}

// What follows is recorded rightly both above and below the stack depth of the lost call.
static void longjmp_out(void) {
    for (volatile int depth = 0; depth < 30; depth += 3) {
        jmp_buf here;
        if (!setjmp(here)) {
            hook_target = &here;
            lost_at(depth, HOOK_LONGJMP);
        }
        allocate_everywhere();
    }
}

static FRAME void *leave(void *how) {
    for (int i = 0; i < 5; i++) keep(site_thread(16));
    keep(lost_at(3, (size_t)how));
    return NULL;
}

static void in_threads(size_t how) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, leave, (void *)how) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
    allocate_everywhere();
}

static void thread_exit(void) { in_threads(HOOK_PTHREAD_EXIT); }
static void thread_exit_raw(void) { in_threads(HOOK_SYS_EXIT); }

// The hook's calloc calls the hook's malloc, which calls glibc's: one block.
static void nested(void) {
    for (int i = 0; i < 100; i++) {
        void *block = site_calloc(88);
        if (i % 4) FREE(site_calloc, block, 88);
    }
    allocate_everywhere();
}

static void on_signal(int number) {
    (void)number;
    keep(site_handler(33));
    keep(site_handler(34));
}

// A signal interrupts malloc, and its handler allocates: both blocks are live.
static void interrupted(void) {
    signal(SIGUSR1, on_signal);
    for (size_t i = opaque(20); i; i--) {
        keep(site_shallow(HOOK_RAISE));
        keep(site_shallow(40));
    }
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"longjmp", longjmp_out},
        {"thread-exit", thread_exit},
        {"thread-exit-raw", thread_exit_raw},
        {"nested", nested, 0, TOTAL},
        {"interrupted", interrupted, 0, TOTAL},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
