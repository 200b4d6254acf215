// One stack that waits in many ways: every wait of this program is made by the same call of the same
// function, with other arguments.
//
// blocked: groups of threads that read a pipe, a socket, an eventfd and a timerfd, wait for two futexes, and
//          sleep, all through `enter`.
// crowd:   as many threads as the second argument says, each of which waits for a futex of its own.
// play:    threads whose reads of a pipe and of a socket, and whose futex, each end many times. Truth, by
//          kind: KIND.waits, made one by one, each after the thread was seen asleep.
#define _GNU_SOURCE
#include "waiters.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static char buffer[8];
static unsigned words[2];
static int pipe_ends[2], sockets[2];
static const struct timespec long_time = {.tv_sec = 100000};

struct call {
    const char *name;
    long number, first, second, third;
};
static struct call calls[8];

static FRAME void enter(struct waiter *waiter, const struct call *call) {
    ARRIVE(waiter); keep((void *)syscall(call->number, call->first, call->second, call->third, 0));
    keep(waiter);
}

static FRAME void at_call(struct waiter *waiter) {
    for (const struct call *call = calls; call->name; call++) {
        if (strcmp(call->name, waiter->group) == 0) enter(waiter, call);
    }
    keep(waiter);
}

static void prepare(void) {
    EXPECT(pipe(pipe_ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    long to = (long)buffer;
    struct call all[] = {
        {"pipe", SYS_read, pipe_ends[0], to, 1},
        {"socket", SYS_read, sockets[0], to, 1},
        {"eventfd", SYS_read, eventfd(0, 0), to, 8},
        {"timerfd", SYS_read, timerfd_create(CLOCK_MONOTONIC, 0), to, 8},
        {"futex-a", SYS_futex, (long)&words[0], FUTEX_WAIT_PRIVATE, 0},
        {"futex-b", SYS_futex, (long)&words[1], FUTEX_WAIT_PRIVATE, 0},
        {"sleep", SYS_nanosleep, (long)&long_time, 0, 0},
    };
    memcpy(calls, all, sizeof all);
}

static void group(const char *name, const char *kind, const char *operation, long number, int count) {
    const struct group group = {name, kind, operation, number, at_call};
    tell_group(&group, start_waiters(&group, count), count);
}

static void blocked(void) {
    prepare();
    group("pipe", "pipe", "read", SYS_read, 3);
    group("socket", "socket", "read", SYS_read, 2);
    group("eventfd", "poll", "read", SYS_read, 1);
    group("futex-a", "futex", "futex", SYS_futex, 2);
    group("sleep", "sleep", "nanosleep", SYS_nanosleep, 4);
}

static unsigned *own_words;

static FRAME void at_own_word(struct waiter *waiter) {
    const struct call call = {"crowd", SYS_futex, (long)&own_words[waiter->index], FUTEX_WAIT_PRIVATE, 0};
    enter(waiter, &call);
}

static void crowd(void) {
    own_words = calloc(waiters_wanted, sizeof *own_words);
    EXPECT(own_words);
    const struct group group = {"crowd", "futex", "futex", SYS_futex, at_own_word};
    tell_group(&group, start_waiters(&group, waiters_wanted), waiters_wanted);
}

// ---- Waits that end

enum { PIPE, SOCKET, FUTEX, KINDS };
static const int rounds[KINDS] = {300, 200, 100};
static struct waiter players[KINDS];
static int done[KINDS];

static FRAME void *player(void *argument) {
    struct waiter *waiter = (struct waiter *)argument;
    waiter->tid = (pid_t)syscall(SYS_gettid);
    for (int i = 0; i < rounds[waiter->index]; i++) {
        at_call(waiter);
        __atomic_store_n(&done[waiter->index], i + 1, __ATOMIC_RELEASE);
    }
    return keep(argument);
}

static void await_asleep(pid_t tid) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int stat = open(path, O_RDONLY);
    EXPECT(stat >= 0);
    for (;;) {
        ssize_t n = pread(stat, text, sizeof text - 1, 0);
        EXPECT(n > 0);
        text[n] = 0;
        char *name_end = strrchr(text, ')');
        if (name_end && name_end[2] == 'S') break;
    }
    close(stat);
}

static void end_wait(int kind) {
    if (kind == PIPE) EXPECT(write(pipe_ends[1], "x", 1) == 1);
    if (kind == SOCKET) EXPECT(write(sockets[1], "x", 1) == 1);
    if (kind == FUTEX) EXPECT(syscall(SYS_futex, &words[0], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 1);
}

static void play(void) {
    static const char *const names[KINDS] = {"pipe", "socket", "futex-a"};
    for (int kind = 0; kind < KINDS; kind++) {
        players[kind].index = kind;
        players[kind].group = names[kind];
        EXPECT(pthread_create(&players[kind].thread, NULL, player, &players[kind]) == 0);
        for (int i = 0; i < rounds[kind]; i++) {
            while (__atomic_load_n(&done[kind], __ATOMIC_ACQUIRE) < i) {}
            while (!__atomic_load_n(&players[kind].since, __ATOMIC_ACQUIRE)) {}
            await_asleep(players[kind].tid);
            end_wait(kind);
        }
        EXPECT(pthread_join(players[kind].thread, NULL) == 0);
        char key[64];
        snprintf(key, sizeof key, "%s.waits", kind == FUTEX ? "futex" : names[kind]);
        truth_number(key, rounds[kind]);
    }
}

static void nothing(void) {}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"blocked", nothing, blocked},
        {"crowd", nothing, crowd},
        {"play", play, prepare},
        {0},
    };
    waiters_wanted = argc > 2 ? atoi(argv[2]) : 1000;
    return fixture_main(argc, argv, scenarios);
}
