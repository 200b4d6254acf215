// Two threads that hand a word back and forth through two pipes, for the time given in milliseconds;
// prints the picoseconds a round trip took. Waits for a line on standard input before each of the
// rounds. Both threads stay on the processor that the program started on.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int there[2], back[2];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *echo(void *unused) {
    uint32_t word;
    (void)unused;
    while (read(there[0], &word, sizeof word) == sizeof word) {
        if (write(back[1], &word, sizeof word) != sizeof word) break;
    }
    return NULL;
}

int main(int argc, char **argv) {
    uint64_t span = (argc > 1 ? (uint64_t)atoi(argv[1]) : 1000u) * 1000000u;
    char line[64], out[64];
    pthread_t thread;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return 1;
    if (pipe(there) != 0 || pipe(back) != 0) return 1;
    if (pthread_create(&thread, NULL, echo, NULL) != 0) return 1;
    int len = snprintf(out, sizeof out, "ready %d\n", (int)getpid());
    if (write(1, out, (size_t)len) != len) return 1;
    while (read(0, line, sizeof line) > 0) {
        uint64_t begin = now(), n = 0, ns;
        do {
            for (uint32_t i = 0; i < 64; i++) {
                if (write(there[1], &i, sizeof i) != sizeof i) return 1;
                if (read(back[0], &i, sizeof i) != sizeof i) return 1;
            }
            n += 64;
            ns = now() - begin;
        } while (ns < span);
        len = snprintf(out, sizeof out, "%llu\n", (unsigned long long)(ns * 1000 / n));
        if (write(1, out, (size_t)len) != len) return 1;
    }
    return 0;
}
