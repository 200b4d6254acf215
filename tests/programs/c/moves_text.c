// Moves its own code to memory without a file, as programs do that want it on huge pages.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

SITE(site_moved, malloc(size))

// mremap puts the copy in the place of the code in one step, so this goes on in the copy.
static void move_text(void) {
    char line[512];
    unsigned long start = 0, end = 0, here = (unsigned long)&move_text;
    FILE *maps = fopen("/proc/self/maps", "r");
    EXPECT(maps != NULL);
    while (fgets(line, sizeof line, maps)) {
        EXPECT(sscanf(line, "%lx-%lx", &start, &end) == 2);
        if (start <= here && here < end) break;
    }
    fclose(maps);
    size_t size = end - start;
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(copy != MAP_FAILED);
    memcpy(copy, (void *)start, size);
    EXPECT(mprotect(copy, size, PROT_READ | PROT_EXEC) == 0);
    EXPECT(mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start) == (void *)start);
}

static sem_t never;
static FRAME void *waits_in_moved_code(void *unused) {
    while (sem_wait(&never) != 0) {}
    return keep(unused);
}

static void prepare(void) {
    pthread_t thread;
    move_text();
    EXPECT(sem_init(&never, 0, 0) == 0);
    EXPECT(pthread_create(&thread, NULL, waits_in_moved_code, NULL) == 0);
}

static FRAME void deeper(void) {
    for (int i = 0; i < 100; i++) keep(site_moved(64));
}

static void run(void) {
    deeper();
    keep(NULL);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"moved", run, .prepare = prepare}, {0}};
    return fixture_main(argc, argv, scenarios);
}
