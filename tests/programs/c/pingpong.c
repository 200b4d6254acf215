// 100,000 waits of known length: four pairs of threads, in each of which one waits for the other, who
// first makes sure that it really sleeps and then holds back for a while.
//
// Truth, by function that waits:  FUNCTION.waits (as the program counts), FUNCTION.switches (as the
// kernel counts), FUNCTION.wait_ns (by the program's clock around the call).
#define _GNU_SOURCE
#include "waiters.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAIRS = 4 };
static long rounds = 12500, span_ns = 500 * 1000;

struct pair {
    pthread_t waiter, waker;
    int by_futex;
    sem_t semaphore;
    unsigned word;
    pid_t tid;     // of the waiter
    long finished; // rounds
    long waiter_ns, waker_ns, waiter_switches, waker_switches;
} __attribute__((aligned(128)));
static struct pair pairs[PAIRS];

static long switches(void) {
    struct rusage usage;
    EXPECT(getrusage(RUSAGE_THREAD, &usage) == 0);
    return usage.ru_nvcsw;
}

static FRAME void wait_semaphore(struct pair *p) {
    while (sem_wait(&p->semaphore) != 0) {}
    keep(p);
}
static FRAME void wait_futex(struct pair *p) {
    while (!__atomic_load_n(&p->word, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &p->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    __atomic_store_n(&p->word, 0, __ATOMIC_RELEASE);
    keep(p);
}
static FRAME void wake_semaphore(struct pair *p) {
    sem_post(&p->semaphore);
    keep(p);
}
static FRAME void wake_futex(struct pair *p) {
    __atomic_store_n(&p->word, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &p->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    keep(p);
}
static FRAME void hold_back(void) {
    struct timespec span = {0, span_ns};
    nanosleep(&span, NULL);
    keep(NULL);
}

static FRAME void *waiter(void *argument) {
    struct pair *p = (struct pair *)argument;
    long before = switches(), sum = 0;
    __atomic_store_n(&p->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    for (long i = 0; i < rounds; i++) {
        long start = now_ns();
        if (p->by_futex) wait_futex(p);
        else wait_semaphore(p);
        sum += now_ns() - start;
        __atomic_store_n(&p->finished, i + 1, __ATOMIC_RELEASE);
    }
    p->waiter_ns = sum;
    p->waiter_switches = switches() - before;
    return keep(argument);
}

static void await_asleep(int stat) {
    for (;;) {
        char text[256];
        ssize_t n = pread(stat, text, sizeof text - 1, 0);
        EXPECT(n > 0);
        text[n] = 0;
        char *name_end = strrchr(text, ')');
        if (name_end && name_end[2] == 'S') return;
    }
}

static FRAME void *waker(void *argument) {
    struct pair *p = (struct pair *)argument;
    pid_t tid;
    while (!(tid = __atomic_load_n(&p->tid, __ATOMIC_ACQUIRE))) {}
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int stat = open(path, O_RDONLY);
    EXPECT(stat >= 0);
    long before = switches(), sum = 0;
    for (long i = 0; i < rounds; i++) {
        while (__atomic_load_n(&p->finished, __ATOMIC_ACQUIRE) < i) {}
        await_asleep(stat);
        long start = now_ns();
        hold_back();
        sum += now_ns() - start;
        if (p->by_futex) wake_futex(p);
        else wake_semaphore(p);
    }
    p->waker_ns = sum;
    p->waker_switches = switches() - before;
    close(stat);
    return keep(argument);
}

static void tell(const char *function, const char *what, long number) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", function, what);
    truth_number(key, number);
}

static void play(void) {
    for (int i = 0; i < PAIRS; i++) {
        pairs[i].by_futex = i % 2;
        sem_init(&pairs[i].semaphore, 0, 0);
        EXPECT(pthread_create(&pairs[i].waiter, NULL, waiter, &pairs[i]) == 0);
        EXPECT(pthread_create(&pairs[i].waker, NULL, waker, &pairs[i]) == 0);
    }
    long ns[3] = {0}, counted[3] = {0};
    for (int i = 0; i < PAIRS; i++) {
        struct pair *p = &pairs[i];
        EXPECT(pthread_join(p->waiter, NULL) == 0 && pthread_join(p->waker, NULL) == 0);
        ns[p->by_futex] += p->waiter_ns, counted[p->by_futex] += p->waiter_switches;
        ns[2] += p->waker_ns, counted[2] += p->waker_switches;
    }
    static const char *const functions[] = {"wait_semaphore", "wait_futex", "hold_back"};
    for (int i = 0; i < 3; i++) {
        tell(functions[i], "waits", rounds * (i == 2 ? PAIRS : PAIRS / 2));
        tell(functions[i], "switches", counted[i]);
        tell(functions[i], "wait_ns", ns[i]);
    }
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"play", play}, {0}};
    if (argc > 2) rounds = atol(argv[2]);
    if (argc > 3) span_ns = atol(argv[3]);
    return fixture_main(argc, argv, scenarios);
}
