// Threads that hold a lock each and want the next one's, and threads that queue up behind them.
#define _GNU_SOURCE
#include "waiters.h"

#include <stdlib.h>
#include <sys/syscall.h>

enum { MOST = 8 };
static pthread_mutex_t locks[MOST] = {[0 ... MOST - 1] = PTHREAD_MUTEX_INITIALIZER};
static pthread_rwlock_t rwlocks[MOST] = {[0 ... MOST - 1] = PTHREAD_RWLOCK_INITIALIZER};
static int members, holding;

static void await_all_holding(void) {
    __atomic_add_fetch(&holding, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&holding, __ATOMIC_ACQUIRE) < members) {}
}

// Two functions, so that the stacks of a cycle differ.
static FRAME void take_from_even(struct waiter *w) {
    ARRIVE(w), pthread_mutex_lock(&locks[(w->index + 1) % members]);
    keep(w);
}
static FRAME void take_from_odd(struct waiter *w) {
    ARRIVE(w), pthread_mutex_lock(&locks[(w->index + 1) % members]);
    keep(w);
}
static FRAME void member(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&locks[w->index]) == 0);
    await_all_holding();
    if (w->index % 2) take_from_odd(w);
    else take_from_even(w);
    pthread_mutex_unlock(&locks[w->index]);
}
static FRAME void take_rwlock(struct waiter *w) {
    ARRIVE(w), pthread_rwlock_wrlock(&rwlocks[(w->index + 1) % members]);
    keep(w);
}
static FRAME void rwlock_member(struct waiter *w) {
    EXPECT(pthread_rwlock_wrlock(&rwlocks[w->index]) == 0);
    await_all_holding();
    take_rwlock(w);
    pthread_rwlock_unlock(&rwlocks[w->index]);
}
// One joins the thread that waits for the lock which the first one holds.
static pthread_t joined;
static FRAME void take_join(struct waiter *w) {
    ARRIVE(w), pthread_join(joined, NULL);
    keep(w);
}
static FRAME void join_member(struct waiter *w) {
    if (w->index) {
        while (!__atomic_load_n(&holding, __ATOMIC_ACQUIRE)) {}
        ARRIVE(w), pthread_mutex_lock(&locks[0]);
        keep(w);
    } else {
        EXPECT(pthread_mutex_lock(&locks[0]) == 0);
        __atomic_store_n(&holding, 1, __ATOMIC_RELEASE);
        while (!__atomic_load_n(&joined, __ATOMIC_ACQUIRE)) {}
        take_join(w);
        pthread_mutex_unlock(&locks[0]);
    }
}
static void joining(void) {
    struct group dead = {"dead", "-", "futex", SYS_futex, join_member};
    struct waiter *waiters = launch_waiters(&dead, 2);
    __atomic_store_n(&joined, waiters[1].thread, __ATOMIC_RELEASE);
    await_waiters(&dead, waiters, 2);
    tell_group(&dead, waiters, 2);
    tell_cycle(&waiters[0], (void *)waiters[0].argument, &waiters[1]);
    tell_cycle(&waiters[1], &locks[0], &waiters[0]);
}
static FRAME void queue_up(struct waiter *w) {
    ARRIVE(w), pthread_mutex_lock(&locks[0]);
    keep(w);
}

static struct waiter *start_cycle(int length, void (*wait)(struct waiter *), void *first, size_t size,
                                  const char *kind) {
    struct group dead = {"dead", kind, "futex", SYS_futex, wait};
    members = length;
    struct waiter *waiters = start_waiters(&dead, length);
    tell_group(&dead, waiters, length);
    for (int i = 0; i < length; i++) {
        int next = (i + 1) % length;
        tell_cycle(&waiters[i], (char *)first + next * size, &waiters[next]);
    }
    return waiters;
}
static void mutexes(int length) { start_cycle(length, member, locks, sizeof *locks, "mutex"); }
static void self(void) { mutexes(1); }
static void two(void) { mutexes(2); }
static void three(void) { mutexes(3); }
static void rwlock_two(void) {
    start_cycle(2, rwlock_member, rwlocks, sizeof *rwlocks, "rwlock");
}
static void queue_behind(void) {
    mutexes(2);
    struct group queue = {"queue", "mutex", "futex", SYS_futex, queue_up};
    tell_group(&queue, start_waiters(&queue, waiters_wanted), waiters_wanted);
}
static void nothing(void) {}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {
        {"two", nothing, two},
        {"three", nothing, three},
        {"self", nothing, self},
        {"rwlock", nothing, rwlock_two},
        {"join", nothing, joining},
        {"queue", nothing, queue_behind},
        {0},
    };
    waiters_wanted = argc > 2 ? atoi(argv[2]) : 20;
    return fixture_main(argc, argv, scenarios);
}
