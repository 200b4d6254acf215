// Allocates and frees at full speed until its input ends. Each line of input is answered with the
// number of rounds that were made so far.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long rounds;

static FRAME void *site_load(size_t size) { return keep(malloc(size)); }

static FRAME void *load(void *argument) {
    for (size_t i = 0;; i++) {
        unsigned char *block = site_load(64 + i % 512);
        // Wrong arguments, results or a lost instruction would show here.
        memset(block, 0x5a, 64);
        EXPECT(block[0] == 0x5a && block[63] == 0x5a);
        free(block);
        if (i % 1024 == 0) keep(site_load(16)); // what it leaks
        __atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED);
    }
    return argument;
}

int main(int argc, char **argv) {
    pthread_t threads[8];
    int number = argc > 1 ? atoi(argv[1]) : 2;
    for (int i = 0; i < number && i < 8; i++) EXPECT(pthread_create(&threads[i], NULL, load, NULL) == 0);
    char line[16];
    truth_number("ready", getpid());
    while (read_line(line, sizeof line)) truth_number("rounds", __atomic_load_n(&rounds, __ATOMIC_RELAXED));
    _exit(0);
}
