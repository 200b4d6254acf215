// A server: threads that allocate and free at full speed, and workers that it forks meanwhile.
//
//   fixture: worker PID   for each, once it has made its calls
//   test:    any line     the threads stop, the workers make their calls again and end
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

SITE(site_before, malloc(size))
SITE(site_churned, malloc(size))
SITE(site_kept, malloc(size))

enum { BEFORE = 100, WORKERS = 50, THREADS = 2, CALLS = 1000 };
static void *blocks[BEFORE];
static int stop;

static FRAME void *serve(void *argument) {
    for (long i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        void *block = site_churned(200);
        FREE(site_churned, block, 200);
        if (i % 256 == 0) keep(site_kept(48));
    }
    return keep(argument);
}

static void call(void) {
    for (int i = 0; i < CALLS; i++) free(keep(malloc(500)));
}

// Its copies of the truth go with it.
static void work(int ready, int quit) {
    char c = 0;
    call();
    EXPECT(write(ready, &c, 1) == 1);
    EXPECT(read(quit, &c, 1) == 0);
    for (int i = 0; i < BEFORE; i++) free(blocks[i]);
    call();
    _exit(0);
}

static void workers(void) {
    int ready[2], quit[2];
    pid_t pids[WORKERS];
    pthread_t threads[THREADS];
    EXPECT(pipe(ready) == 0 && pipe(quit) == 0);
    for (int i = 0; i < BEFORE; i++) blocks[i] = site_before(256);
    for (int i = 0; i < THREADS; i++) EXPECT(pthread_create(&threads[i], NULL, serve, NULL) == 0);
    for (int i = 0; i < WORKERS; i++) {
        char c;
        pids[i] = fork();
        EXPECT(pids[i] >= 0);
        if (!pids[i]) {
            close(quit[1]);
            work(ready[1], quit[0]);
        }
        EXPECT(read(ready[0], &c, 1) == 1);
        truth_number("worker", pids[i]);
    }
    char line[16];
    read_line(line, sizeof line);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < THREADS; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
    close(quit[1]);
    for (int i = 0; i < WORKERS; i++) {
        int status;
        EXPECT(waitpid(pids[i], &status, 0) == pids[i]);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int i = 0; i < 10; i++) FREE(site_before, blocks[i], 256);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"workers", workers, 0, 0}, {0}};
    return fixture_main(argc, argv, scenarios);
}
