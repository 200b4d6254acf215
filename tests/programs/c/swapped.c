// Blocked threads whose stacks are not in memory: at `go` they are paged out.
#define _GNU_SOURCE
#include "waiters.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, DEPTH = 6, THREADS = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static FRAME void with_mutex(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    hold_asleep(w);
}

// The part of its stack that a thread uses.
static uintptr_t lowest[THREADS], highest[THREADS];

// Frames of a page each, so that a stack lies in several.
static FRAME void at_depth(struct waiter *w, int depth) {
    char room[PAGE];
    memset(keep(room), depth, sizeof room);
    if (depth == 0) {
        // What it calls lies below.
        lowest[w->index] = (uintptr_t)__builtin_frame_address(0) - PAGE;
        ARRIVE(w), pthread_mutex_lock(&mutex);
    } else at_depth(w, depth - 1);
    keep(room);
}
static void deep(struct waiter *w) {
    highest[w->index] = (uintptr_t)__builtin_frame_address(0);
    at_depth(w, DEPTH);
    keep(w);
}

// Pages of the range that are in swap space (bit 62) and in memory (bit 63); pagemap.rst of the kernel.
static void look(int pagemap, uintptr_t start, uintptr_t end, long *swapped, long *there) {
    for (uintptr_t page = start / PAGE; page < end / PAGE; page++) {
        uint64_t entry;
        EXPECT(pread(pagemap, &entry, sizeof entry, page * sizeof entry) == sizeof entry);
        *swapped += entry >> 62 & 1, *there += entry >> 63;
    }
}

static void page_out(void) {
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    EXPECT(pagemap >= 0);
    long swapped = 0, there = 0;
    for (int i = 0; i < THREADS; i++) {
        uintptr_t start = lowest[i] & ~(uintptr_t)(PAGE - 1);
        uintptr_t end = (highest[i] + PAGE) & ~(uintptr_t)(PAGE - 1);
        // What was touched a moment ago may have to be asked for again.
        for (int again = 0; again < 1000; again++) {
            long in_swap = 0, in_memory = 0;
            EXPECT(madvise((void *)start, end - start, MADV_PAGEOUT) == 0 || errno == EAGAIN);
            look(pagemap, start, end, &in_swap, &in_memory);
            if (in_memory == 0) break;
            sched_yield();
        }
        look(pagemap, start, end, &swapped, &there);
    }
    truth_number("swapped", swapped);
    truth_number("there", there);
}

static void prepare(void) {
    struct waiter *owner = start_holder(with_mutex);
    struct group group = {"swapped", "mutex", "futex", SYS_futex, deep};
    tell_group(&group, start_waiters(&group, THREADS), THREADS);
    tell_lock("swapped", &mutex, owner, THREADS);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"stacks", page_out, prepare}, {0}};
    return fixture_main(argc, argv, scenarios);
}
