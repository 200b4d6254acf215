// Functions with names of 5,000 bytes and more, as templates and closures have them.
#include "fixture.h"

#include <stdlib.h>

#define TEN(text) text text text text text text text text text text
#define LONG TEN(TEN(TEN("aaaaa")))

// As C has it, and as C++ mangles `app::make<aaa…>(int)`.
FRAME void *site_plain(size_t size) __asm__("site_plain" LONG);
FRAME void *site_template(size_t size) __asm__("_ZN3app4makeI5000" LONG "EEvi");

void *site_plain(size_t size) { return keep(malloc(size)); }
void *site_template(size_t size) { return keep(malloc(size)); }

static void run(void) {
    for (int i = 0; i < 10; i++) keep(site_plain(1000));
    for (int i = 0; i < 10; i++) keep(site_template(2000));
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"long", run}, {0}};
    return fixture_main(argc, argv, scenarios);
}
