// What the account in the kernel has to stand: blocks that keep their age, more blocks than its first map holds, and
// many stacks that are seen once each.
#define _GNU_SOURCE
#include "fixture.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static void *old;

SITE(site_first, malloc(size))
SITE(site_between, malloc(size))
SITE(site_grown, realloc(old, size))

static void grown(void) {
    old = site_first(100);
    keep(site_between(50));
    for (size_t size = 200; size <= 100000; size *= 2) {
        size_t before = size == 200 ? 100 : size / 2;
        old = site_grown(size);
        EXPECT(old);
        if (size == 200) site_free(&site_first_truth, before);
        else site_free(&site_grown_truth, before);
    }
}

// Blocks that are older than the account, and what becomes of them.
static void *older[6];

static void allocate_older(void) {
    for (int i = 0; i < 6; i++) EXPECT(older[i] = keep(malloc(100000)));
}

SITE(site_resized, realloc(old, size))

// The next size of a block; of what it had before only what was charged is freed.
static void resize(int which, size_t size, size_t charged, size_t to_be_charged) {
    old = older[which];
    older[which] = site_resized(size);
    EXPECT(older[which]);
    site_free(&site_resized_truth, size - to_be_charged);
    if (to_be_charged) site_resized_truth.live_objects++;
    if (charged) site_free(&site_resized_truth, charged);
}

static void older_blocks(void) {
    // Grows. What it had before it was first seen is not known.
    resize(0, 200000, 0, 0);
    resize(0, 250000, 0, 50000);
    resize(0, 3000000, 50000, 2800000);
    // Stays.
    resize(1, 100000, 0, 0);
    resize(1, 100000, 0, 0);
    // Shrinks, and grows again.
    resize(2, 80000, 0, 0);
    resize(2, 30000, 0, 0);
    resize(2, 35000, 0, 5000);
    // Moves away from what was put behind it, and is freed.
    void *before = older[3];
    resize(3, 10000000, 0, 0);
    EXPECT(older[3] != before);
    free(older[3]);
    // Cannot be resized; is freed by realloc.
    old = older[4];
    EXPECT(site_resized(opaque(SIZE_MAX / 2 - 4096)) == NULL);
    EXPECT(realloc(older[4], opaque(0)) == NULL);
    // Was never resized.
    free(older[5]);
    truth_number("unknown_frees", 2);
    truth_number("older_blocks", 3);
    truth_number("older_bytes", 200000 + 100000 + 30000);
}

enum { BLOCKS = 1300000 };

SITE(site_many, malloc(size))

static void blocks(void) {
    // Each of a pair that stays holds the one that goes.
    for (int i = 0; i < BLOCKS / 2; i++) {
        void **stays = site_many(sizeof(void *));
        *stays = site_many(sizeof(void *));
        *(void **)*stays = old;
        old = stays;
    }
    for (void **stays = old; stays;) {
        void *next = *(void **)*stays;
        FREE(site_many, *stays, sizeof(void *));
        stays = next;
    }
}

enum { TURNS = 14, FAR = 60 };

SITE(site_leaf, malloc(size))

static FRAME void left(unsigned depth, unsigned path);

static FRAME void right(unsigned depth, unsigned path) {
    if (depth == 0) keep(site_leaf(16));
    else if (depth <= TURNS && (path & 1)) left(depth - 1, path >> 1);
    else right(depth - 1, depth <= TURNS ? path >> 1 : path);
    keep(NULL);
}

static FRAME void left(unsigned depth, unsigned path) {
    if (depth == 0) keep(site_leaf(16));
    else if (path & 1) left(depth - 1, path >> 1);
    else right(depth - 1, path >> 1);
    keep(NULL);
}

static void stacks(void) {
    for (unsigned path = 0; path < 1u << TURNS; path++) right(FAR, path);
}

// A plugin that is loaded for a moment, again and again. leakscope is to look at the mappings meanwhile, and nothing
// here can be waited for instead.
static void plugins(void) {
    static struct site truth = {.name = "keep_by"};
    const char *path = getenv("FIXTURE_PLUGIN");
    EXPECT(path);
    for (int i = 0; i < 5; i++) {
        void *library = dlopen(path, RTLD_NOW);
        EXPECT(library);
        void (*work)(int) = (void (*)(int))dlsym(library, "plugin_work");
        EXPECT(work);
        work(1);
        struct timespec moment = {0, 30 * 1000 * 1000};
        nanosleep(&moment, NULL);
        EXPECT(dlclose(library) == 0);
        for (int j = 0; j < 50; j++) site_alloc(&truth, 160);
    }
}

// The same, each time somewhere else, and for so short a time that a look at the mappings mostly comes too late.
// Half of the times come when leakscope can have learnt the file's rows.
static void moments(void) {
    static struct site truth = {.name = "keep_by"};
    const char *path = getenv("FIXTURE_PLUGIN");
    EXPECT(path);
    for (int i = 0; i < 200; i++) {
        struct timespec while_learning = {0, 800 * 1000 * 1000};
        if (i == 100) nanosleep(&while_learning, NULL);
        EXPECT(mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
        void *library = dlopen(path, RTLD_NOW);
        EXPECT(library);
        void (*work)(void) = (void (*)(void))dlsym(library, "plugin_once");
        EXPECT(work);
        work();
        EXPECT(dlclose(library) == 0);
        site_alloc(&truth, 160);
    }
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"grown", grown, 0, TOTAL},
        {"older", older_blocks, allocate_older, TOTAL},
        {"blocks", blocks, 0, TOTAL},
        {"stacks", stacks, 0, TOTAL},
        {"plugins", plugins},
        {"moments", moments},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
