// Convoys: one thread holds a lock for long, and others queue behind it, of which each holds it for a moment.
//
// A round: the holder takes the lock, waits until all others sleep on it, and holds back for a while.
//
// Truth: slow.ns and quick.ns, the time that the others waited for the lock until the holder released it, and
// from then on; by the program's clock around the calls. ROUNDS * QUICK waits in all.
#define _GNU_SOURCE
#include "waiters.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { QUICK = 6 };
static long rounds = 40, span_ns = 10 * 1000 * 1000;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int by_rwlock;
static pthread_barrier_t begin, end;
static long released_at;
static struct quick {
    pthread_t thread;
    pid_t tid;
    int stat;
    long slow_ns, quick_ns;
} quick[QUICK];

static FRAME void take(void) {
    EXPECT((by_rwlock ? pthread_rwlock_wrlock(&rwlock) : pthread_mutex_lock(&mutex)) == 0);
    keep(NULL);
}
static FRAME void release(void) {
    EXPECT((by_rwlock ? pthread_rwlock_unlock(&rwlock) : pthread_mutex_unlock(&mutex)) == 0);
    keep(NULL);
}

static int is_asleep(int stat) {
    char text[256];
    ssize_t n = pread(stat, text, sizeof text - 1, 0);
    EXPECT(n > 0);
    text[n] = 0;
    char *name_end = strrchr(text, ')');
    return name_end && name_end[2] == 'S';
}

static FRAME void slow_step(void) {
    take();
    pthread_barrier_wait(&begin);
    for (int i = 0; i < QUICK; i++)
        while (!is_asleep(quick[i].stat)) sched_yield();
    struct timespec span = {0, span_ns};
    nanosleep(&span, NULL);
    __atomic_store_n(&released_at, now_ns(), __ATOMIC_RELEASE);
    release();
    keep(NULL);
}

static FRAME void quick_step(struct quick *q) {
    pthread_barrier_wait(&begin);
    long start = now_ns();
    take();
    long taken = now_ns(), passed = __atomic_load_n(&released_at, __ATOMIC_ACQUIRE);
    release();
    q->slow_ns += passed - start;
    q->quick_ns += taken - passed;
    keep(q);
}

static FRAME void *quick_thread(void *argument) {
    struct quick *q = (struct quick *)argument;
    __atomic_store_n(&q->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    for (long i = 0; i < rounds; i++) {
        quick_step(q);
        pthread_barrier_wait(&end);
    }
    return keep(argument);
}

static void play(void) {
    EXPECT(pthread_barrier_init(&begin, NULL, QUICK + 1) == 0);
    EXPECT(pthread_barrier_init(&end, NULL, QUICK + 1) == 0);
    for (int i = 0; i < QUICK; i++) {
        EXPECT(pthread_create(&quick[i].thread, NULL, quick_thread, &quick[i]) == 0);
        while (!__atomic_load_n(&quick[i].tid, __ATOMIC_ACQUIRE)) sched_yield();
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)quick[i].tid);
        EXPECT((quick[i].stat = open(path, O_RDONLY)) >= 0);
    }
    for (long i = 0; i < rounds; i++) {
        slow_step();
        pthread_barrier_wait(&end);
    }
    long slow_ns = 0, quick_ns = 0;
    for (int i = 0; i < QUICK; i++) {
        EXPECT(pthread_join(quick[i].thread, NULL) == 0);
        slow_ns += quick[i].slow_ns, quick_ns += quick[i].quick_ns;
    }
    truth_number("slow.ns", slow_ns);
    truth_number("quick.ns", quick_ns);
    truth_number("waits", rounds * QUICK);
}

static void play_rwlock(void) {
    by_rwlock = 1;
    play();
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"mutex", play}, {"rwlock", play_rwlock}, {0}};
    if (argc > 2) rounds = atol(argv[2]);
    return fixture_main(argc, argv, scenarios);
}
