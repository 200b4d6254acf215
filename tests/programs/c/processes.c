// What other processes and other programs do must not enter the account, and what shares the
// address space must.
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

SITE(site_parent, malloc(size))
SITE(site_child, malloc(size))
SITE(site_after, malloc(size))

enum { BLOCKS = 100 };
static void *blocks[BLOCKS];

static void fill(void) {
    for (int i = 0; i < BLOCKS; i++) blocks[i] = site_parent(256);
}

static void reap(pid_t child) {
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void then_go_on(void) {
    for (int i = 0; i < 10; i++) keep(site_after(32));
    FREE(site_parent, blocks[0], 256);
}

// The child's copies of the truth go with it, so its calls need no undoing here.
static void forked(void) {
    fill();
    pid_t child = fork();
    EXPECT(child >= 0);
    if (!child) {
        for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
        for (int i = 0; i < 5000; i++) keep(site_child(1000));
        _exit(0);
    }
    reap(child);
    then_go_on();
}

static FRAME void vfork_once(int how) {
    pid_t child = vfork();
    if (!child) {
        if (how) {
            // Shares the parent's memory: these two are the parent's.
            FREE(site_parent, blocks[1], 256);
            blocks[1] = site_child(333);
        }
        _exit(0);
    }
    EXPECT(child > 0);
    reap(child);
}

static void vforked(void) {
    fill();
    for (int i = 0; i < 5; i++) vfork_once(0);
    then_go_on();
}

static void vforked_busy(void) {
    fill();
    vfork_once(1);
    then_go_on();
}

static void spawned(void) {
    fill();
    for (int i = 0; i < 5; i++) {
        pid_t child;
        char *const arguments[] = {"true", NULL};
        EXPECT(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
        reap(child);
    }
    then_go_on();
}

// The blocks stay; the test then says `exec` or `exit`.
static void ended(void) {
    fill();
    then_go_on();
}

static FRAME void *thread_that_keeps(void *unused) {
    for (int i = 0; i < 20; i++) keep(site_child(64));
    return keep(unused);
}

// Threads come and go before the process ends.
static void ended_after_threads(void) {
    fill();
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, thread_that_keeps, NULL) == 0);
    pthread_join(thread, NULL);
    then_go_on();
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"fork", forked},
        {"vfork", vforked, 0, TOTAL},
        {"vfork-busy", vforked_busy, 0, TOTAL},
        {"posix-spawn", spawned},
        {"ended", ended, 0, TOTAL},
        {"ended-after-threads", ended_after_threads},
        {0},
    };
    return fixture_main(argc, argv, scenarios);
}
