// The calls of malloc's family that only glibc (and not every allocator) has.
#define _GNU_SOURCE
#include "fixture.h"

#include <malloc.h>
#include <stdlib.h>

SITE(site_pvalloc, pvalloc(size))
SITE(site_reallocarray, reallocarray(keep(NULL), size / 10, 10))
SITE(site_valloc, valloc(size))

static void all(void) {
    for (int i = 0; i < 5; i++) {
        void *block = site_pvalloc(100); // takes a page, but 100 were asked for
        if (i) FREE(site_pvalloc, block, 100);
        keep(site_reallocarray(100));
        block = site_valloc(200);
        if (i) FREE(site_valloc, block, 200);
    }
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"all", all, 0, TOTAL}, {0}};
    return fixture_main(argc, argv, scenarios);
}
