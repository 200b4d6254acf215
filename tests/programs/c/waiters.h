// Threads that are blocked before `ready`, and the truth about them, printed before it:
//
//   fixture: blocked GROUP count=N kind=KIND operation=SYSCALL function=NAME line=N …
//            thread GROUP TID SINCE_NS ARGUMENT   (CLOCK_MONOTONIC; the system call's first argument)
//            lock GROUP ADDRESS OWNER_TID WAITERS OWNER_NAME
//            cycle TID ADDRESS HELD_BY FUNCTION   (a deadlock, a line a thread, in its order)
//            ready PID
//
// A group is ready when the kernel says of each of its threads that it sleeps in the system call
// that the group is about.
#pragma once
#include "fixture.h"

#include <pthread.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct waiter {
    pthread_t thread;
    int index;
    const char *group;
    void (*wait)(struct waiter *);
    // Set by the thread itself; `since` last.
    pid_t tid;
    const char *function;
    int line;
    long since;
    // The first argument of the system call it sleeps in.
    unsigned long argument;
};

// What is true of a group of threads.
struct group {
    const char *name;
    const char *kind;      // as leakscope calls it
    const char *operation; // the system call, or "-" in none
    long number;           // its number, or -1
    void (*wait)(struct waiter *);
};

// The threads of this program were asked to be so many (its second argument).
extern int waiters_wanted;

// Notes where and when the calling thread blocks: directly before the call, on the same line.
#define ARRIVE(waiter) waiter_arrive(waiter, __func__, __LINE__)
void waiter_arrive(struct waiter *waiter, const char *function, int line);

// Starts threads that block, and returns when they all do.
struct waiter *start_waiters(const struct group *group, int count);
// Starts them only.
struct waiter *launch_waiters(const struct group *group, int count);
// Waits until they sleep.
void await_waiters(const struct group *group, struct waiter *waiters, int count);
// Starts one thread that takes locks in `wait` and then sleeps; its name is the group's.
struct waiter *start_holder(void (*wait)(struct waiter *));

void tell_group(const struct group *group, const struct waiter *waiters, int count);
void tell_lock(const char *group, const void *lock, const struct waiter *owner, int waiters);
void tell_cycle(const struct waiter *waiter, const void *lock, const struct waiter *owner);

long now_ns(void);
// Sleeps for ever in clock_nanosleep, as group "holder".
void hold_asleep(struct waiter *waiter);

#ifdef __cplusplus
}
#endif
