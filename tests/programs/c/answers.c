// Heaps of which one sentence must say the right thing.
#include "fixture.h"

#include <stdlib.h>

enum { RING = 2000, LINES_EACH = 50 };

static void *ring[RING];

SITE(site_ring, malloc(size))

static void fill(void) {
    for (int i = 0; i < RING; i++) ring[i] = keep(malloc(400));
}

// A ring that was full before: each new block takes the place of an older one.
static void turn(void) {
    for (int i = 0; i < RING; i++) {
        free(ring[i]);
        ring[i] = site_ring(400);
    }
}

static struct site many_lines_truth = {.name = "many_lines"};

static void *entered(void *block, size_t size) {
    EXPECT(block);
    site_alloc(&many_lines_truth, size);
    return block;
}

// clang-format off
static FRAME void many_lines(size_t size) {
    keep(entered(malloc(2 * size), 2 * size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(entered(malloc(size), size));
    keep(NULL);
}
// clang-format on

static void lines(void) {
    for (int i = 0; i < LINES_EACH; i++) many_lines(100);
}

// What makes the same for two.
static struct site make_truth = {.name = "make"};

static FRAME void *make(size_t size) {
    void *block = keep(malloc(size));
    EXPECT(block);
    site_alloc(&make_truth, size);
    return block;
}

static FRAME void for_orders(void) {
    for (int i = 0; i < 60; i++) keep(make(100));
    keep(NULL);
}

static FRAME void for_users(void) {
    for (int i = 0; i < 40; i++) keep(make(100));
    keep(NULL);
}

static void callers(void) {
    for_orders();
    for_users();
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"ring", turn, fill, TOTAL},
        {"lines", lines, 0, TOTAL},
        {"callers", callers, 0, TOTAL},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
