// Creates threads that end at once, as fast as it can until its input ends, beside some that stay blocked.
// Each line of input is answered with the number of threads that have ended so far.
//
// glibc's threads are too slow for that: these are bare ones on stacks that are used again.
#define _GNU_SOURCE
#include "waiters.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATORS = 2, AT_ONCE = 32, STACK = 16 * 1024 };

struct creator {
    long ended;
    // The kernel clears it, and wakes who waits for that, once the thread does not use its stack any more.
    pid_t running[AT_ONCE];
    char *stacks;
} __attribute__((aligned(64)));
static struct creator creators[CREATORS];

static FRAME int brief(void *argument) {
    keep(argument);
    return 0;
}

static FRAME void *create_for_ever(void *argument) {
    struct creator *self = argument;
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    for (long created = 0;; created++) {
        int slot = created % AT_ONCE;
        pid_t *running = &self->running[slot];
        for (pid_t tid; (tid = __atomic_load_n(running, __ATOMIC_ACQUIRE)) != 0;)
            syscall(SYS_futex, running, FUTEX_WAIT, tid, NULL, NULL, 0);
        if (created >= AT_ONCE) __atomic_add_fetch(&self->ended, 1, __ATOMIC_RELAXED);
        char *top = self->stacks + (slot + 1) * STACK;
        EXPECT(clone(brief, top, flags, argument, running, NULL, running) > 0);
    }
    return argument;
}

static long ended(void) {
    long sum = 0;
    for (int i = 0; i < CREATORS; i++) sum += __atomic_load_n(&creators[i].ended, __ATOMIC_RELAXED);
    return sum;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static FRAME void with_mutex(struct waiter *w) {
    EXPECT(pthread_mutex_lock(&mutex) == 0);
    hold_asleep(w);
}
static FRAME void at_steady(struct waiter *w) {
    ARRIVE(w), pthread_mutex_lock(&mutex);
    keep(w);
}

int main(void) {
    struct waiter *owner = start_holder(with_mutex);
    struct group steady = {"steady", "mutex", "futex", SYS_futex, at_steady};
    tell_group(&steady, start_waiters(&steady, 5), 5);
    tell_lock("steady", &mutex, owner, 5);
    for (int i = 0; i < CREATORS; i++) {
        creators[i].stacks =
            mmap(NULL, AT_ONCE * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT(creators[i].stacks != MAP_FAILED);
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, create_for_ever, &creators[i]) == 0);
    }
    while (!ended()) sched_yield();
    char line[16];
    truth_number("ready", getpid());
    while (read_line(line, sizeof line)) truth_number("rounds", ended());
    _exit(0);
}
