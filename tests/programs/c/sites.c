// Every function of malloc's family that an allocator has to offer, in C. Runs under all of them.
#define _GNU_SOURCE
#include "fixture.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

static void *grown;

SITE(site_malloc, malloc(size))
SITE(site_calloc, calloc(size / 8, 8))
SITE(site_realloc, realloc(grown, size))
SITE(site_memalign, memalign(64, size))
SITE(site_aligned_alloc, aligned_alloc(128, size))
SITE(site_valloc, valloc(size))
SITE(site_thread, malloc(size))

static FRAME void *aligned(size_t size) {
    void *block = NULL;
    return keep((void *)(size_t)posix_memalign(&block, 32, size)) ? NULL : keep(block);
}
SITE(site_posix_memalign, aligned(size))

static inline __attribute__((always_inline)) void *inlined_helper(size_t size) {
    return site_malloc(opaque(size) + 1);
}

static FRAME void calls_inlined(void) { keep(inlined_helper(99)); }

static FRAME void *worker(void *argument) {
    void *last = NULL;
    for (int i = 0; i < 20000; i++) {
        void *block = site_thread(64);
        if (last && i % 100) FREE(site_thread, last, 64);
        last = block;
    }
    return keep(argument);
}

static void grow(void) {
    grown = NULL;
    size_t before = 0;
    for (size_t size = 16; size <= 1 << 20; size *= 2) {
        grown = site_realloc(size);
        EXPECT(grown);
        if (before) site_free(&site_realloc_truth, before);
        before = size;
    }
}

static void all(void) {
    for (int i = 1; i <= 100; i++) {
        void *block = site_malloc(i * 10);
        if (i % 3 == 0) FREE(site_malloc, block, i * 10);
        block = site_calloc(i * 8);
        if (i % 5 == 0) FREE(site_calloc, block, i * 8);
        block = site_memalign(i * 64);
        if (i % 7 == 0) FREE(site_memalign, block, i * 64);
        block = site_aligned_alloc(i * 128);
        if (i % 9 == 0) FREE(site_aligned_alloc, block, i * 128);
        block = site_posix_memalign(i * 3);
        if (i % 2 == 0) FREE(site_posix_memalign, block, i * 3);
    }
    // Not freed: where the allocator has no valloc, this comes from glibc's.
    for (int i = 0; i < 3; i++) keep(site_valloc(5000));
    grow();
    calls_inlined();
}

static void threaded(void) {
    all();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) EXPECT(pthread_create(&threads[i], NULL, worker, NULL) == 0);
    for (int i = 0; i < 4; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"threaded", threaded},
        {"all", all, 0, TOTAL},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
