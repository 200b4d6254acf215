// jemalloc's own functions.
#include "fixture.h"

#include <jemalloc/jemalloc.h>

SITE(site_mallocx, mallocx(size, 0))
SITE(site_mallocx_aligned, mallocx(size, MALLOCX_ALIGN(256) | MALLOCX_ZERO))

static void *grown;
SITE(site_rallocx, rallocx(grown, size, 0))

// Older than the account, and resized in place.
static void *older;

static void allocate_older(void) { EXPECT(older = keep(mallocx(100, 0))); }

static FRAME void site_xallocx(size_t size) { EXPECT(keep((void *)xallocx(older, size, 0, 0)) >= (void *)size); }

static void all(void) {
    void *blocks[30];
    for (int i = 0; i < 30; i++) blocks[i] = site_mallocx(100);
    for (int i = 0; i < 10; i++) dallocx(blocks[i], 0), site_free(&site_mallocx_truth, 100);
    for (int i = 10; i < 15; i++) sdallocx(blocks[i], 100, 0), site_free(&site_mallocx_truth, 100);
    for (int i = 0; i < 9; i++) keep(site_mallocx_aligned(1000));

    grown = blocks[20];
    EXPECT(site_rallocx(40000));
    site_free(&site_mallocx_truth, 100);

    // In place: the block stays that of its site. 112 is the size class of 100, so 110 fits in it,
    // and growing far beyond does not.
    EXPECT(xallocx(blocks[21], 110, 0, 0) >= 110);
    site_mallocx_truth.live_bytes += 110 - 100;
    site_mallocx_truth.alloc_bytes += 110 - 100;
    EXPECT(xallocx(blocks[22], 4000, 0, 0) < 4000);

    static struct site xallocx_truth = {.name = "site_xallocx"};
    site_xallocx(105);
    site_xallocx(110);
    site_alloc(&xallocx_truth, 110);
    xallocx_truth.live_bytes -= 105;
    truth_number("older_blocks", 1);
    truth_number("older_bytes", 105);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"all", all, allocate_older, TOTAL}, {0}};
    return fixture_main(argc, argv, scenarios);
}
