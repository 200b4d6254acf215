// mimalloc's own functions.
#include "fixture.h"

#include <mimalloc.h>

static void *grown;
SITE(site_mi_malloc, mi_malloc(size))
SITE(site_mi_zalloc, mi_zalloc(size))
SITE(site_mi_calloc, mi_calloc(2, size / 2))
SITE(site_mi_malloc_small, mi_malloc_small(size))
SITE(site_mi_malloc_aligned, mi_malloc_aligned(size, 64))
SITE(site_mi_realloc, mi_realloc(grown, size))
SITE(site_mi_new, mi_new(size))

static void all(void) {
    for (int i = 0; i < 20; i++) {
        void *block = site_mi_malloc(100);
        if (i % 2) mi_free(block), site_free(&site_mi_malloc_truth, 100);
        block = site_mi_zalloc(200);
        if (i % 4 == 0) mi_free_size(block, 200), site_free(&site_mi_zalloc_truth, 200);
        block = site_mi_malloc_aligned(640);
        if (i % 5 == 0) mi_free_aligned(block, 64), site_free(&site_mi_malloc_aligned_truth, 640);
        keep(site_mi_calloc(300));
        keep(site_mi_malloc_small(64));
        keep(site_mi_new(77));
        grown = site_mi_malloc(50);
        EXPECT(site_mi_realloc(5000));
        site_free(&site_mi_malloc_truth, 50);
    }
    // mimalloc gives a block for 0 bytes where others free and return NULL.
    grown = site_mi_malloc(60);
    EXPECT(site_mi_realloc(opaque(0)));
    site_free(&site_mi_malloc_truth, 60);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"all", all, 0, TOTAL}, {0}};
    return fixture_main(argc, argv, scenarios);
}
