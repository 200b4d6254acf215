// Grows at the rate that it is told: `grow MIB`, in MiB a second; `stop`. It answers with the same word.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20 };
static int rate;

static FRAME void *site_grow(size_t size) { return keep(malloc(size)); }

static void *grow(void *argument) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        int now = __atomic_load_n(&rate, __ATOMIC_RELAXED);
        if (now > 0) {
            char *block = site_grow(BLOCK);
            EXPECT(block);
            memset(block, 1, BLOCK);
        } else {
            clock_gettime(CLOCK_MONOTONIC, &next);
        }
        next.tv_nsec += 1000000000 / (now > 0 ? now : 100);
        if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return argument;
}

int main(void) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, grow, NULL) == 0);
    truth_number("ready", getpid());
    char line[32];
    while (read_line(line, sizeof line)) {
        int wanted = 0;
        sscanf(line, "grow %d", &wanted);
        __atomic_store_n(&rate, wanted, __ATOMIC_RELAXED);
        say(wanted ? "grow\n" : "stop\n");
    }
    _exit(0);
}
