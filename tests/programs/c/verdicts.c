// Programs of which leakscope must not say more than it sees, nor less. Usage: verdicts SCENARIO
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both_hold;

NOINLINE static void pay(pthread_mutex_t *own, pthread_mutex_t *other) {
    struct timespec until;
    pthread_mutex_lock(own);
    pthread_barrier_wait(&both_hold);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3600;
    pthread_mutex_timedlock(other, &until);
}

static void *transfer(void *unused) {
    pay(&first, &second);
    return unused;
}

static void *refund(void *unused) {
    pay(&second, &first);
    return unused;
}

// Two threads that take two locks in opposite order, and give up after an hour.
static void timed(void) {
    pthread_t threads[2];
    pthread_barrier_init(&both_hold, 0, 2);
    pthread_create(&threads[0], 0, transfer, 0);
    pthread_create(&threads[1], 0, refund, 0);
    for (;;) pause();
}

static void *volatile block;

NOINLINE static void on_alarm(int unused) {
    (void)unused;
    block = malloc(4000);
    free(block);
}

NOINLINE static void allocate(void) {
    for (;;) {
        void *volatile own = malloc(5000);
        free(own);
    }
}

static void *sleeps(void *unused) {
    for (;;) pause();
    return unused;
}

// A signal handler that allocates while it has interrupted malloc.
static void handler(void) {
    struct itimerval every = {{0, 100}, {0, 100}};
    pthread_t other;
    sigset_t alarms;
    // With one thread alone malloc takes no lock.
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, 0);
    pthread_create(&other, 0, sleeps, 0);
    pthread_sigmask(SIG_UNBLOCK, &alarms, 0);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every, 0);
    allocate();
}

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs = PTHREAD_COND_INITIALIZER;

static void *worker(void *unused) {
    pthread_mutex_lock(&jobs_lock);
    for (;;) pthread_cond_wait(&jobs, &jobs_lock);
    return unused;
}

// Eight workers without a job.
static void pool(void) {
    pthread_t thread;
    for (int n = 0; n < 8; n++) pthread_create(&thread, 0, worker, 0);
    for (;;) pause();
}

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "timed")) timed();
    if (count > 1 && !strcmp(arguments[1], "handler")) handler();
    if (count > 1 && !strcmp(arguments[1], "pool")) pool();
    return 2;
}
