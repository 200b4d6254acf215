// What each allocator call does to the account, one scenario a case. Single-threaded.
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void *grown; // the block that the sites with a realloc work on
static size_t count, align;

SITE(site_malloc, malloc(size))
SITE(site_calloc, calloc(count, size / count))
SITE(site_realloc, realloc(grown, size))
SITE(site_reallocarray, reallocarray(grown, count, size / count))

// A block outlives its scenario only through this, so that the optimiser sees it escape.
static void *volatile held[64];

// glibc's calloc and reallocarray use the same code as malloc and realloc; other allocators call
// their own malloc. One call makes one block.
static void nested(void) {
    count = 10;
    for (int i = 0; i < 20; i++) held[i] = site_calloc(1000);
    for (int i = 0; i < 5; i++) FREE(site_calloc, held[i], 1000);
    grown = NULL;
    held[20] = site_reallocarray(640);
    grown = held[20];
    held[20] = site_reallocarray(6400);
    site_free(&site_reallocarray_truth, 640);
    grown = site_malloc(77);
    held[21] = site_reallocarray(70000);
    site_free(&site_malloc_truth, 77);
}

static void realloc_in_place(void) {
    grown = site_malloc(1000);
    void *before = grown;
    held[0] = site_realloc(malloc_usable_size(grown));
    EXPECT(held[0] == before);
    site_free(&site_malloc_truth, 1000);
}

static void realloc_moved(void) {
    for (int i = 0; i < 10; i += 2) {
        grown = held[i] = site_malloc(64);
        held[i + 1] = site_malloc(32); // in the way
        void *before = grown;
        held[i] = site_realloc(100000);
        EXPECT(held[i] != before);
        site_free(&site_malloc_truth, 64);
    }
}

static void realloc_shrinking(void) {
    grown = site_malloc(100000);
    held[0] = site_realloc(10);
    site_free(&site_malloc_truth, 100000);
}

static void realloc_of_null(void) {
    grown = NULL;
    held[0] = site_realloc(123);
}

static void realloc_to_zero(void) {
    grown = site_malloc(500);
    held[0] = site_malloc(50);
    EXPECT(realloc(grown, opaque(0)) == NULL);
    site_free(&site_malloc_truth, 500);
    // The address is used again: the old entry must be gone, not merely overwritten.
    held[1] = site_malloc(500);
}

// The old block stays live, at the site and with the size that it had.
static void realloc_failing(void) {
    grown = held[0] = site_malloc(700);
    EXPECT(site_realloc(opaque(SIZE_MAX / 2 - 4096)) == NULL);
    EXPECT(errno == ENOMEM);
    count = SIZE_MAX / 64;
    EXPECT(reallocarray(grown, opaque(count), opaque(1024)) == NULL); // overflows
    grown = held[1] = site_malloc(70);
    EXPECT(site_realloc(opaque(SIZE_MAX / 2 - 4096)) == NULL);
    FREE(site_malloc, held[1], 70); // and can still be freed
}

static void failed(void) {
    for (int i = 0; i < 10; i++) {
        EXPECT(site_malloc(opaque(SIZE_MAX / 2 - 4096)) == NULL);
        EXPECT(calloc(opaque(SIZE_MAX / 2), opaque(16)) == NULL);
        held[i] = site_malloc(11);
    }
}

static void free_of_null(void) {
    held[0] = site_malloc(40);
    for (int i = 0; i < 1000; i++) free(keep(NULL));
    truth_number("unknown_frees", 0);
}

static FRAME void *aligned(size_t size) {
    void *block = NULL;
    return keep((void *)(size_t)posix_memalign(&block, align, size)) ? NULL : keep(block);
}
SITE(site_posix_memalign, aligned(size))

static void posix_memalign_out(void) {
    align = 256;
    for (int i = 0; i < 30; i++) held[i] = site_posix_memalign(300);
    for (int i = 0; i < 10; i++) FREE(site_posix_memalign, held[i], 300);
}

// A failing call leaves the out-parameter alone: what it happens to hold is not a new block.
static void posix_memalign_failing(void) {
    void *block = held[0] = site_malloc(90);
    EXPECT(posix_memalign(&block, opaque(3), 64) == EINVAL);
    EXPECT(posix_memalign(&block, 64, opaque(SIZE_MAX / 2 - 4096)) == ENOMEM);
    EXPECT(block == held[0]);
    align = 64;
    held[1] = site_posix_memalign(64);
}

static void before(void) {
    for (int i = 0; i < 40; i++) held[i] = keep(malloc(128));
}

static void frees_from_before(void) {
    for (int i = 0; i < 30; i++) free(held[i]);
    held[0] = site_malloc(128); // very likely at an address of before
    grown = held[39];
    held[39] = site_realloc(256); // what was there before is no one's
    site_free(&site_realloc_truth, 256);
    truth_number("older_blocks", 1);
    truth_number("older_bytes", 256);
    truth_number("unknown_frees", 30);
}

static void one_site(void) {
    for (int i = 0; i < 40; i++) held[i] = site_malloc(1024);
    for (int i = 0; i < 10; i++) FREE(site_malloc, held[i], 1024);
}

// Its part of /proc is root's then.
static void not_dumpable(void) { EXPECT(prctl(PR_SET_DUMPABLE, 0) == 0); }

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"one-site", one_site, 0, TOTAL},
        {"not-dumpable", one_site, not_dumpable, TOTAL},
        {"nested", nested, 0, TOTAL},
        {"realloc-in-place", realloc_in_place, 0, TOTAL},
        {"realloc-moved", realloc_moved, 0, TOTAL},
        {"realloc-shrinking", realloc_shrinking, 0, TOTAL},
        {"realloc-of-null", realloc_of_null, 0, TOTAL},
        {"realloc-to-zero", realloc_to_zero, 0, TOTAL},
        {"realloc-failing", realloc_failing, 0, TOTAL},
        {"failed", failed, 0, TOTAL},
        {"free-of-null", free_of_null, 0, TOTAL},
        {"posix-memalign", posix_memalign_out, 0, TOTAL},
        {"posix-memalign-failing", posix_memalign_failing, 0, TOTAL},
        {"frees-from-before", frees_from_before, before, TOTAL},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
