// Mallocs and frees in pairs, ten frames deep, for the time given in milliseconds; prints the
// nanoseconds a pair took. Waits for a line on standard input before each of the rounds.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noinline)) static uint64_t pairs(uint64_t until) {
    uint64_t n = 0;
    do {
        for (int i = 0; i < 1000; i++) {
            void *p = malloc(64);
            __asm__ volatile("" : : "r"(p) : "memory");
            free(p);
        }
        n += 1000;
    } while (now() < until);
    return n;
}

#define FRAME(name, next)                                        \
    __attribute__((noinline)) static uint64_t name(uint64_t u) { \
        uint64_t n = next(u);                                    \
        __asm__ volatile("" : "+r"(n));                          \
        return n;                                                \
    }
FRAME(f8, pairs) FRAME(f7, f8) FRAME(f6, f7) FRAME(f5, f6) FRAME(f4, f5) FRAME(f3, f4) FRAME(f2, f3) FRAME(f1, f2)

int main(int argc, char **argv) {
    uint64_t span = (argc > 1 ? (uint64_t)atoi(argv[1]) : 1000u) * 1000000u;
    char line[64], out[64];
    // No stdio buffers: nothing else allocates while leakscope watches.
    int len = snprintf(out, sizeof out, "ready %d\n", (int)getpid());
    if (write(1, out, (size_t)len) != len) return 1;
    while (read(0, line, sizeof line) > 0) {
        uint64_t begin = now();
        uint64_t n = f1(begin + span);
        uint64_t ns = now() - begin;
        len = snprintf(out, sizeof out, "%llu\n", (unsigned long long)(ns * 1000 / n));
        if (write(1, out, (size_t)len) != len) return 1;
    }
    return 0;
}
