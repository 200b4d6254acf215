// tcmalloc's own functions.
#include "fixture.h"

#include <gperftools/tcmalloc.h>

static void *grown;
SITE(site_tc_malloc, tc_malloc(size))
SITE(site_tc_calloc, tc_calloc(1, size))
SITE(site_tc_realloc, tc_realloc(grown, size))
SITE(site_tc_memalign, tc_memalign(64, size))

static FRAME void *aligned(size_t size) {
    void *block = NULL;
    return keep((void *)(size_t)tc_posix_memalign(&block, 32, size)) ? NULL : keep(block);
}
SITE(site_tc_posix_memalign, aligned(size))

static void all(void) {
    for (int i = 0; i < 20; i++) {
        void *block = site_tc_malloc(100);
        if (i % 2) tc_free(block), site_free(&site_tc_malloc_truth, 100);
        block = site_tc_calloc(200);
        if (i % 4 == 0) tc_free_sized(block, 200), site_free(&site_tc_calloc_truth, 200);
        keep(site_tc_memalign(640));
        block = site_tc_posix_memalign(96);
        if (i % 5 == 0) tc_cfree(block), site_free(&site_tc_posix_memalign_truth, 96);
        grown = site_tc_malloc(50);
        EXPECT(site_tc_realloc(5000));
        site_free(&site_tc_malloc_truth, 50);
    }
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"all", all, 0, TOTAL}, {0}};
    return fixture_main(argc, argv, scenarios);
}
