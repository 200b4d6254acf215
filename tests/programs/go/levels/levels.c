#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

static void grab(int times, size_t size) {
    for (int i = 0; i < times; i++) {
        memset(malloc(size), 1, size);
    }
}

void level_one(int times) {
    grab(times, 1000);
    levelTwo(times);
}

void level_three(int times) { grab(times, 3000); }

void level_hold(void) { levelHeld(); }
