// Creates and joins threads as fast as it can until its input ends, beside some that stay blocked.
// Each line of input is answered with the number of threads that were created so far.
#define _GNU_SOURCE
#include "waiters.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long created;

static FRAME void *brief(void *argument) { return keep(argument); }

static FRAME void *create_and_join(void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (;;) {
        enum { AT_ONCE = 16 };
        pthread_t threads[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
            EXPECT(pthread_create(&threads[i], &attributes, brief, NULL) == 0);
        for (int i = 0; i < AT_ONCE; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
        __atomic_add_fetch(&created, AT_ONCE, __ATOMIC_RELAXED);
    }
    return argument;
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
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) EXPECT(pthread_create(&threads[i], NULL, create_and_join, NULL) == 0);
    while (!__atomic_load_n(&created, __ATOMIC_RELAXED)) {}
    char line[16];
    truth_number("ready", getpid());
    while (read_line(line, sizeof line)) truth_number("rounds", __atomic_load_n(&created, __ATOMIC_RELAXED));
    _exit(0);
}
