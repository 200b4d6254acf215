// Threads that one site creates and never ends, and threads of another that end again.
//
// Truth, by function that creates: FUNCTION.created, FUNCTION.exited.
#define _GNU_SOURCE
#include "waiters.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEAKED = 30, ENDED = 50 };

static void body(struct waiter *w) { hold_asleep(w); }
static const struct group leaked = {"leaked", "sleep", "clock_nanosleep", 230, body};

static FRAME void *nothing_to_do(void *argument) {
    *(pid_t *)argument = gettid();
    return keep(argument);
}

static FRAME struct waiter *spawn_leaked(int count) {
    return (struct waiter *)keep(launch_waiters(&leaked, count));
}

static FRAME pid_t spawn_ended(void) {
    pthread_t thread;
    pid_t tid = 0;
    EXPECT(pthread_create(&thread, NULL, nothing_to_do, &tid) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    return tid;
}

static void spawn(void) {
    for (int i = 0; i < ENDED; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d", (int)spawn_ended());
        // It wakes who joins it a moment before it is gone.
        while (access(path, F_OK) == 0) {}
    }
    await_waiters(&leaked, spawn_leaked(LEAKED), LEAKED);
    truth_number("spawn_leaked.created", LEAKED);
    truth_number("spawn_leaked.exited", 0);
    truth_number("spawn_ended.created", ENDED);
    truth_number("spawn_ended.exited", ENDED);
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"spawn", spawn}, {0}};
    return fixture_main(argc, argv, scenarios);
}
